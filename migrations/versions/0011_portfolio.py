"""Keep what each fill was worth and earned, and what each bot holds."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.types import TypeEngine

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def money(decimals: int = 18) -> TypeEngine[Any]:
    return sa.Text(collation="DECIMAL").with_variant(sa.Numeric(20 + decimals, decimals), "postgresql")


def utc_time() -> TypeEngine[Any]:
    return sa.Text().with_variant(sa.TIMESTAMP(timezone=True), "postgresql")


def key() -> TypeEngine[Any]:
    return sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("fills", sa.Column("booking", sa.BigInteger(), nullable=True))
    op.add_column("fills", sa.Column("value_currency", key(), nullable=True))
    for name in ("value", "fee_value", "fee_cost", "realised"):
        op.add_column("fills", sa.Column(name, money(36), nullable=True))
    op.create_index(op.f("ix_fills_booking"), "fills", ["booking"])
    op.create_index(op.f("ix_fills_user_id_timestamp"), "fills", ["user_id", "timestamp"])
    op.create_table(
        "portfolio",
        sa.Column("user_id", key(), nullable=False),
        sa.Column("bot", key(), nullable=False),
        sa.Column("exchange", key(), nullable=False),
        sa.Column("account", key(), nullable=False),
        sa.Column("asset", key(), nullable=False),
        sa.Column("currency", key(), nullable=False),
        sa.Column("quantity", money(36), nullable=False),
        sa.Column("average_price", money(), nullable=True),
        sa.Column("cost", money(36), nullable=False),
        sa.Column("realised", money(36), nullable=False),
        sa.Column("fees", money(36), nullable=False),
        sa.Column("opened", money(36), nullable=False),
        sa.Column("opened_value", money(36), nullable=False),
        sa.Column("unvalued", money(36), nullable=False),
        sa.Column("updated_at", utc_time(), nullable=False),
        sa.PrimaryKeyConstraint(
            "user_id", "bot", "exchange", "account", "asset", "currency", name=op.f("pk_portfolio")
        ),
    )


def downgrade() -> None:
    op.drop_table("portfolio")
    op.drop_index(op.f("ix_fills_user_id_timestamp"), "fills")
    op.drop_index(op.f("ix_fills_booking"), "fills")
    for name in ("realised", "fee_cost", "fee_value", "value", "value_currency", "booking"):
        op.drop_column("fills", name)
