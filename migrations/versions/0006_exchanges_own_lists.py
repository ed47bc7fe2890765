"""Keep copies of what exchanges list themselves: orders, deposits, withdrawals, and which times were read."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def money(decimals: int = 18) -> TypeEngine[Any]:
    return sa.Text(collation="DECIMAL").with_variant(sa.Numeric(20 + decimals, decimals), "postgresql")


def utc_time() -> TypeEngine[Any]:
    return sa.Text().with_variant(sa.TIMESTAMP(timezone=True), "postgresql")


def json_doc() -> TypeEngine[Any]:
    return sa.Text().with_variant(JSONB(), "postgresql")


def key() -> TypeEngine[Any]:
    return sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "venue_orders",
        sa.Column("exchange", key(), nullable=False),
        sa.Column("account", key(), nullable=False),
        sa.Column("mode", key(), nullable=False),
        sa.Column("symbol", key(), nullable=False),
        sa.Column("exchange_order_id", key(), nullable=False),
        sa.Column("client_order_id", key(), nullable=True),
        sa.Column("side", sa.Text(), nullable=False),
        sa.Column("order_type", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("price", money(36), nullable=True),
        sa.Column("quantity", money(), nullable=True),
        sa.Column("filled_quantity", money(), nullable=False),
        sa.Column("quote_filled", money(36), nullable=True),
        sa.Column("fees", json_doc(), nullable=False),
        sa.Column("timestamp", utc_time(), nullable=False),
        sa.Column("updated_at", utc_time(), nullable=True),
        sa.Column("final", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint(
            "exchange", "account", "mode", "symbol", "exchange_order_id", name=op.f("pk_venue_orders")
        ),
    )
    op.create_index(
        "ix_venue_orders_newest",
        "venue_orders",
        ["exchange", "account", "mode", "timestamp", "exchange_order_id"],
    )
    op.create_table(
        "transfers",
        sa.Column("exchange", key(), nullable=False),
        sa.Column("account", key(), nullable=False),
        sa.Column("mode", key(), nullable=False),
        sa.Column("kind", key(), nullable=False),
        sa.Column("transfer_id", key(), nullable=False),
        sa.Column("currency", key(), nullable=False),
        sa.Column("amount", money(36), nullable=False),
        sa.Column("fee", money(36), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("txid", sa.Text(), nullable=True),
        sa.Column("timestamp", utc_time(), nullable=False),
        sa.Column("final", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint(
            "exchange", "account", "mode", "kind", "transfer_id", name=op.f("pk_transfers")
        ),
    )
    op.create_index(
        "ix_transfers_newest",
        "transfers",
        ["exchange", "account", "mode", "timestamp", "transfer_id"],
    )
    op.create_table(
        "history_spans",
        sa.Column("exchange", key(), nullable=False),
        sa.Column("account", key(), nullable=False),
        sa.Column("mode", key(), nullable=False),
        sa.Column("what", key(), nullable=False),
        sa.Column("symbol", key(), nullable=False),
        sa.Column("since", utc_time(), nullable=False),
        sa.Column("until", utc_time(), nullable=False),
        sa.PrimaryKeyConstraint(
            "exchange", "account", "mode", "what", "symbol", "since", name=op.f("pk_history_spans")
        ),
    )


def downgrade() -> None:
    op.drop_table("history_spans")
    op.drop_table("transfers")
    op.drop_table("venue_orders")
