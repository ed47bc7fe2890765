"""Keep the balances that an account is compared with, so that a restart goes on from them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def utc_time() -> TypeEngine[Any]:
    return sa.Text().with_variant(sa.TIMESTAMP(timezone=True), "postgresql")


def json_doc() -> TypeEngine[Any]:
    return sa.Text().with_variant(JSONB(), "postgresql")


def key() -> TypeEngine[Any]:
    return sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "balance_bases",
        *(sa.Column(name, key(), nullable=False) for name in ("exchange", "account", "identity")),
        sa.Column("totals", json_doc(), nullable=False),
        sa.Column("asked_at", utc_time(), nullable=False),
        sa.Column("came_at", utc_time(), nullable=False),
        sa.Column("transfers", json_doc(), nullable=False),
        sa.PrimaryKeyConstraint("exchange", "account", name=op.f("pk_balance_bases")),
    )


def downgrade() -> None:
    op.drop_table("balance_bases")
