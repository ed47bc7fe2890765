"""The ledger: what was asked, what became of it, what it cost, and whom to tell."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeEngine

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def money(decimals: int = 18) -> TypeEngine[Any]:
    return sa.Text(collation="DECIMAL").with_variant(sa.Numeric(20 + decimals, decimals), "postgresql")


def utc_time() -> TypeEngine[Any]:
    return sa.Text().with_variant(sa.TIMESTAMP(timezone=True), "postgresql")


def json_doc() -> TypeEngine[Any]:
    return sa.Text().with_variant(postgresql.JSONB(), "postgresql")


def key() -> TypeEngine[Any]:
    return sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


# For people at a prompt: one line for each query, newest last.
QUERY_LOG = """
    CREATE VIEW query_log AS
    SELECT
        q.accepted_at, q.query_id, q.user_id, q.bot, q.verb, q.exchange, q.mode, q.status, q.finished_at,
        (SELECT count(*) FROM orders AS o WHERE o.query_id = q.query_id) AS orders,
        (SELECT count(*) FROM fills AS f JOIN orders AS o ON o.order_id = f.order_id
            WHERE o.query_id = q.query_id) AS fills,
        q.error_code, q.error_message, q.parameters, q.result
    FROM queries AS q
    ORDER BY q.accepted_at, q.query_id
"""


def upgrade() -> None:
    op.create_table(
        "accounts",
        sa.Column("exchange", key(), nullable=False),
        sa.Column("account", key(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("client_id_tag", sa.Text(), nullable=False),
        sa.Column("first_seen_at", utc_time(), nullable=False),
        sa.PrimaryKeyConstraint("exchange", "account", "mode", name=op.f("pk_accounts")),
    )
    op.create_table(
        "nonces",
        sa.Column("key_id", key(), nullable=False),
        sa.Column("nonce", key(), nullable=False),
        sa.Column("expires_at", utc_time(), nullable=False),
        sa.PrimaryKeyConstraint("key_id", "nonce", name=op.f("pk_nonces")),
    )
    with op.batch_alter_table("nonces", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_nonces_expires_at"), ["expires_at"], unique=False)

    op.create_table(
        "notices",
        sa.Column("notice_id", key(), nullable=False),
        sa.Column("query_id", key(), nullable=True),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("failed", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("done", sa.Text(), nullable=False),
        sa.Column("todo", sa.Text(), nullable=False),
        sa.Column("created_at", utc_time(), nullable=False),
        sa.Column("letter_group", sa.Text(), nullable=False),
        sa.Column("sent_at", utc_time(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", utc_time(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("notice_id", name=op.f("pk_notices")),
    )
    with op.batch_alter_table("notices", schema=None) as batch_op:
        batch_op.create_index(
            "ix_notices_unsent",
            ["next_attempt_at"],
            unique=False,
            sqlite_where=sa.text("sent_at IS NULL AND next_attempt_at IS NOT NULL"),
            postgresql_where=sa.text("sent_at IS NULL AND next_attempt_at IS NOT NULL"),
        )

    op.create_table(
        "orders",
        sa.Column("order_id", key(), nullable=False),
        sa.Column("query_id", key(), nullable=False),
        sa.Column("parent_id", key(), nullable=False),
        sa.Column("user_id", key(), nullable=False),
        sa.Column("bot", key(), nullable=False),
        sa.Column("exchange", key(), nullable=False),
        sa.Column("account", key(), nullable=False),
        sa.Column("symbol", key(), nullable=False),
        sa.Column("side", sa.Text(), nullable=False),
        sa.Column("order_type", sa.Text(), nullable=False),
        sa.Column("time_in_force", sa.Text(), nullable=False),
        sa.Column("post_only", sa.Boolean(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("price", money(18), nullable=True),
        sa.Column("quantity", money(18), nullable=False),
        sa.Column("filled_quantity", money(18), nullable=False),
        sa.Column("quote_filled", money(36), nullable=False),
        sa.Column("fees", json_doc(), nullable=False),
        sa.Column("timestamp", utc_time(), nullable=False),
        sa.Column("sent_at", utc_time(), nullable=True),
        sa.Column("updated_at", utc_time(), nullable=True),
        sa.Column("closed_at", utc_time(), nullable=True),
        sa.Column("client_order_id", key(), nullable=False),
        sa.Column("exchange_order_id", key(), nullable=True),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("hop", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("asked", sa.Text(), nullable=False),
        sa.Column("phase", sa.Text(), nullable=False),
        sa.Column("final_quantity", money(18), nullable=True),
        sa.Column("ending", sa.Text(), nullable=True),
        sa.Column("reserved", money(36), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("order_id", name=op.f("pk_orders")),
    )
    with op.batch_alter_table("orders", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_orders_parent_id"), ["parent_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_orders_query_id"), ["query_id"], unique=False)
        batch_op.create_index(
            "ix_orders_unsettled",
            ["order_id"],
            unique=False,
            sqlite_where=sa.text("phase <> 'settled'"),
            postgresql_where=sa.text("phase <> 'settled'"),
        )
        batch_op.create_index(
            batch_op.f("ix_orders_user_id_timestamp_order_id"),
            ["user_id", "timestamp", "order_id"],
            unique=False,
        )
        batch_op.create_index(
            "uq_orders_exchange_account_client_order_id",
            ["exchange", "account", "client_order_id"],
            unique=True,
            sqlite_where=sa.text("client_order_id <> ''"),
            postgresql_where=sa.text("client_order_id <> ''"),
        )

    op.create_table(
        "parents",
        sa.Column("parent_id", key(), nullable=False),
        sa.Column("query_id", key(), nullable=False),
        sa.Column("user_id", key(), nullable=False),
        sa.Column("bot", key(), nullable=False),
        sa.Column("exchange", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("algo", sa.Text(), nullable=False),
        sa.Column("hops", json_doc(), nullable=False),
        sa.Column("start_amount", money(18), nullable=False),
        sa.Column("time_limit", money(18), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("created_at", utc_time(), nullable=False),
        sa.Column("hop", sa.Integer(), nullable=False),
        sa.Column("hop_started_at", utc_time(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("arrival", json_doc(), nullable=False),
        sa.Column("closed_at", utc_time(), nullable=True),
        sa.PrimaryKeyConstraint("parent_id", name=op.f("pk_parents")),
    )
    with op.batch_alter_table("parents", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_parents_closed_at"), ["closed_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_parents_query_id"), ["query_id"], unique=False)
        batch_op.create_index(
            "ix_parents_working",
            ["parent_id"],
            unique=False,
            sqlite_where=sa.text("state NOT IN ('done', 'dust_done', 'aborted')"),
            postgresql_where=sa.text("state NOT IN ('done', 'dust_done', 'aborted')"),
        )

    op.create_table(
        "queries",
        sa.Column("query_id", key(), nullable=False),
        sa.Column("user_id", key(), nullable=False),
        sa.Column("bot", key(), nullable=False),
        sa.Column("verb", sa.Text(), nullable=False),
        sa.Column("exchange", sa.Text(), nullable=True),
        sa.Column("parameters", json_doc(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("accepted_at", utc_time(), nullable=False),
        sa.Column("finished_at", utc_time(), nullable=True),
        sa.Column("result", json_doc(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("error_hint", sa.Text(), nullable=True),
        sa.Column("error_retry_safe", sa.Boolean(), nullable=True),
        sa.Column("error_details", json_doc(), nullable=True),
        sa.Column("error_venue_code", sa.Text(), nullable=True),
        sa.Column("error_venue_message", sa.Text(), nullable=True),
        sa.Column("idempotency_key", key(), nullable=False),
        sa.Column("body_digest", sa.Text(), nullable=False),
        sa.Column("record_in_db", sa.Boolean(), nullable=False),
        sa.Column("send_fail_email", sa.Boolean(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("query_id", name=op.f("pk_queries")),
    )
    with op.batch_alter_table("queries", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_queries_user_id_accepted_at"), ["user_id", "accepted_at"], unique=False
        )
        batch_op.create_index(
            "ix_queries_working",
            ["query_id"],
            unique=False,
            sqlite_where=sa.text("status = 'working'"),
            postgresql_where=sa.text("status = 'working'"),
        )
        batch_op.create_index(
            "uq_queries_user_id_idempotency_key",
            ["user_id", "idempotency_key"],
            unique=True,
            sqlite_where=sa.text("idempotency_key <> ''"),
            postgresql_where=sa.text("idempotency_key <> ''"),
        )

    op.create_table(
        "fills",
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
        sa.PrimaryKeyConstraint("exchange", "account", "symbol", "fill_id", name=op.f("pk_fills")),
        sa.ForeignKeyConstraint(["order_id"], ["orders.order_id"], name=op.f("fk_fills_order_id_orders")),
    )
    with op.batch_alter_table("fills", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_fills_order_id"), ["order_id"], unique=False)

    op.create_table(
        "order_history",
        sa.Column(
            "history_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("order_id", key(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("timestamp", utc_time(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("report", json_doc(), nullable=False),
        sa.PrimaryKeyConstraint("history_id", name=op.f("pk_order_history")),
        sa.UniqueConstraint("order_id", "version", name=op.f("uq_order_history_order_id_version")),
        sa.ForeignKeyConstraint(
            ["order_id"], ["orders.order_id"], name=op.f("fk_order_history_order_id_orders")
        ),
    )
    op.execute(QUERY_LOG)


def downgrade() -> None:
    op.execute("DROP VIEW query_log")
    for table in ("order_history", "fills", "queries", "parents", "orders", "notices", "nonces", "accounts"):
        op.drop_table(table)
