"""Keep what each account has taught us to leave over when a currency is spent."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.types import TypeEngine

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def key() -> TypeEngine[Any]:
    return sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "haircuts",
        sa.Column("exchange", key(), nullable=False),
        sa.Column("account", key(), nullable=False),
        sa.Column("currency", key(), nullable=False),
        sa.Column("side", key(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("clean_orders", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("exchange", "account", "currency", "side", name=op.f("pk_haircuts")),
    )


def downgrade() -> None:
    op.drop_table("haircuts")
