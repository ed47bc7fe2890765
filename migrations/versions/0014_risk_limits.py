"""Keep what limits the risk controls, what each order was worth when it was sent, and by which release."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.types import TypeEngine

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def money(decimals: int = 18) -> TypeEngine[Any]:
    return sa.Text(collation="DECIMAL").with_variant(sa.Numeric(20 + decimals, decimals), "postgresql")


def utc_time() -> TypeEngine[Any]:
    return sa.Text().with_variant(sa.TIMESTAMP(timezone=True), "postgresql")


def key() -> TypeEngine[Any]:
    return sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("orders", sa.Column("usd_value", money(36), nullable=True))
    op.add_column("orders", sa.Column("release", sa.Text(), nullable=True))
    op.create_index(op.f("ix_orders_closed_at"), "orders", ["closed_at"])
    op.create_index(op.f("ix_fills_timestamp"), "fills", ["timestamp"])
    op.create_table(
        "risk_limits",
        sa.Column("change_id", key(), nullable=False),
        sa.Column("setting", key(), nullable=False),
        sa.Column("user_id", key(), nullable=True),
        sa.Column("bot", key(), nullable=True),
        sa.Column("exchange", key(), nullable=True),
        sa.Column("account", key(), nullable=True),
        sa.Column("symbol", key(), nullable=True),
        sa.Column("old_value", sa.Text(), nullable=False),
        sa.Column("new_value", sa.Text(), nullable=False),
        sa.Column("set_by", sa.Text(), nullable=False),
        sa.Column("set_at", utc_time(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("change_id", name=op.f("pk_risk_limits")),
    )


def downgrade() -> None:
    op.drop_table("risk_limits")
    op.drop_index(op.f("ix_fills_timestamp"), "fills")
    op.drop_index(op.f("ix_orders_closed_at"), "orders")
    op.drop_column("orders", "release")
    op.drop_column("orders", "usd_value")
