"""Keep where people stopped trading, and who let it go on."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.types import TypeEngine

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def utc_time() -> TypeEngine[Any]:
    return sa.Text().with_variant(sa.TIMESTAMP(timezone=True), "postgresql")


def key() -> TypeEngine[Any]:
    return sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "halts",
        sa.Column("halt_id", key(), nullable=False),
        sa.Column("exchange", key(), nullable=True),
        sa.Column("account", key(), nullable=True),
        sa.Column("user_id", key(), nullable=True),
        sa.Column("symbol", key(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("everything", sa.Boolean(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("set_by", sa.Text(), nullable=False),
        sa.Column("set_at", utc_time(), nullable=False),
        sa.PrimaryKeyConstraint("halt_id", name=op.f("pk_halts")),
    )
    op.create_table(
        "halt_lifts",
        sa.Column("halt_id", key(), nullable=False),
        sa.Column("lifted_by", sa.Text(), nullable=False),
        sa.Column("lifted_at", utc_time(), nullable=False),
        sa.Column("lift_reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["halt_id"], ["halts.halt_id"], name=op.f("fk_halt_lifts_halt_id_halts")),
        sa.PrimaryKeyConstraint("halt_id", name=op.f("pk_halt_lifts")),
    )


def downgrade() -> None:
    op.drop_table("halt_lifts")
    op.drop_table("halts")
