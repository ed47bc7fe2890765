"""Book both sides of a trade with ourselves, and keep the key of a query whose words are erased."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.types import TypeEngine

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def money(decimals: int = 18) -> TypeEngine[Any]:
    return sa.Text(collation="DECIMAL").with_variant(sa.Numeric(20 + decimals, decimals), "postgresql")


def utc_time() -> TypeEngine[Any]:
    return sa.Text().with_variant(sa.TIMESTAMP(timezone=True), "postgresql")


def key() -> TypeEngine[Any]:
    return sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


QUERY_LOG = """
    CREATE VIEW query_log AS
    SELECT
        q.accepted_at, q.query_id, q.user_id, q.bot, q.verb, q.exchange, q.mode, q.status, q.finished_at,
        (SELECT count(*) FROM orders AS o WHERE o.query_id = q.query_id) AS orders,
        (SELECT count(*) FROM fills AS f JOIN orders AS o ON o.order_id = f.order_id
            WHERE o.query_id = q.query_id) AS fills,
        q.error_code, q.error_message, q.parameters, q.result
    FROM queries AS q{condition}
    ORDER BY q.accepted_at, q.query_id
"""
NOT_ERASED = "\n    WHERE q.erased_at IS NULL"


def upgrade() -> None:
    op.execute("DROP VIEW query_log")
    op.add_column("queries", sa.Column("erased_at", utc_time(), nullable=True))
    key_of_fills("exchange", "account", "symbol", "fill_id", "side")
    op.execute(QUERY_LOG.format(condition=NOT_ERASED))


def downgrade() -> None:
    # Fails, and changes nothing, where both sides of a trade are booked: the older key cannot hold them.
    op.execute("DROP VIEW query_log")
    key_of_fills("exchange", "account", "symbol", "fill_id")
    op.drop_column("queries", "erased_at")
    op.execute(QUERY_LOG.format(condition=""))


def key_of_fills(*columns: str) -> None:
    """Change the primary key of fills."""
    if op.get_bind().dialect.name == "postgresql":
        op.drop_constraint("pk_fills", "fills", type_="primary")
        op.create_primary_key("pk_fills", "fills", list(columns))
        return
    # SQLite has to copy the table. Written out, for a table made by reflection would lose its collations.
    op.create_table(
        "fills_copy",
        sa.Column("fill_id", key(), nullable=False),
        sa.Column("order_id", key(), nullable=False),
        sa.Column("query_id", key(), nullable=False),
        sa.Column("parent_id", key(), nullable=False),
        sa.Column("user_id", key(), nullable=False),
        sa.Column("bot", key(), nullable=False),
        sa.Column("exchange", key(), nullable=False),
        sa.Column("account", key(), nullable=False),
        sa.Column("symbol", key(), nullable=False),
        sa.Column("side", sa.Text(), nullable=False),
        sa.Column("price", money(18), nullable=False),
        sa.Column("quantity", money(18), nullable=False),
        sa.Column("fee", money(36), nullable=False),
        sa.Column("fee_currency", sa.Text(), nullable=False),
        sa.Column("liquidity", sa.Text(), nullable=False),
        sa.Column("timestamp", utc_time(), nullable=False),
        sa.PrimaryKeyConstraint(*columns, name=op.f("pk_fills")),
        sa.ForeignKeyConstraint(["order_id"], ["orders.order_id"], name=op.f("fk_fills_order_id_orders")),
    )
    op.execute("INSERT INTO fills_copy SELECT * FROM fills")
    op.drop_table("fills")
    op.rename_table("fills_copy", "fills")
    op.create_index("ix_fills_order_id", "fills", ["order_id"])
