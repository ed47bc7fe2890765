"""Work a parent as legs over several markets and accounts.

A parent of before was a chain of markets worked one after the other: each becomes a leg, those already done
are closed, and the start amount becomes the grant. An unfinished one goes on after the upgrade.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def money(decimals: int = 18) -> TypeEngine[Any]:
    return sa.Text(collation="DECIMAL").with_variant(sa.Numeric(20 + decimals, decimals), "postgresql")


def utc_time() -> TypeEngine[Any]:
    return sa.Text().with_variant(sa.TIMESTAMP(timezone=True), "postgresql")


def json_doc() -> TypeEngine[Any]:
    return sa.Text().with_variant(JSONB(), "postgresql")


SAME = (
    "parent_id",
    "query_id",
    "user_id",
    "bot",
    "exchange",
    "account",
    "algo",
    "start_amount",
    "time_limit",
    "state",
    "created_at",
    "reason",
    "arrival",
    "closed_at",
)
WORKING = "state NOT IN ('done', 'dust_done', 'aborted')"


def key() -> TypeEngine[Any]:
    return sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def _table(*more: sa.Column[Any], decimals: int) -> sa.Table:
    """Make the table anew: SQLite cannot take a default off a column."""
    table = op.create_table(
        "parents",
        sa.Column("parent_id", key(), nullable=False),
        sa.Column("query_id", key(), nullable=False),
        sa.Column("user_id", key(), nullable=False),
        sa.Column("bot", key(), nullable=False),
        sa.Column("exchange", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("algo", sa.Text(), nullable=False),
        sa.Column("start_amount", money(decimals), nullable=False),
        sa.Column("time_limit", money(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("created_at", utc_time(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("arrival", json_doc(), nullable=False),
        sa.Column("closed_at", utc_time()),
        *more,
        sa.PrimaryKeyConstraint("parent_id", name=op.f("pk_parents")),
    )
    op.create_index(op.f("ix_parents_query_id"), "parents", ["query_id"])
    op.create_index(op.f("ix_parents_closed_at"), "parents", ["closed_at"])
    op.create_index(
        op.f("ix_parents_working"),
        "parents",
        ["parent_id"],
        sqlite_where=sa.text(WORKING),
        postgresql_where=sa.text(WORKING),
    )
    return table


def _rows() -> list[Any]:
    rows = list(op.get_bind().execute(sa.text("select * from parents")).all())
    op.drop_table("parents")
    return rows


def _put(table: sa.Table, rows: list[dict[str, Any]]) -> None:
    """Insert as stored: a document is text on SQLite and an object on PostgreSQL."""
    if not rows:
        return
    as_text = op.get_bind().dialect.name != "postgresql"
    documents = {"arrival", "legs", "grants", "goal", "params", "hops"} & set(table.columns.keys())
    for row in rows:
        for name in documents:
            if as_text and not isinstance(row[name], str):
                row[name] = json.dumps(row[name])
            elif not as_text and isinstance(row[name], str):
                row[name] = json.loads(row[name])
    op.bulk_insert(table, rows)


def upgrade() -> None:
    rows = _rows()
    table = _table(
        sa.Column("params", json_doc(), nullable=False),
        sa.Column("legs", json_doc(), nullable=False),
        sa.Column("grants", json_doc(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("on_timeout", sa.Text(), nullable=False),
        sa.Column("max_slippage_bps", money()),
        sa.Column("goal", json_doc(), nullable=False),
        sa.Column("planned_at", utc_time()),
        decimals=36,
    )
    converted = []
    for row in rows:
        legs, grants, goal = _converted(row)
        converted.append(
            {name: getattr(row, name) for name in SAME}
            | {"params": {}, "legs": legs, "grants": grants, "generation": 0, "on_timeout": "take"}
            | {"max_slippage_bps": None, "goal": goal, "planned_at": row.created_at}
        )
    _put(table, converted)
    op.alter_column("orders", "hop", new_column_name="leg")


def downgrade() -> None:
    """Go back to chains. A parent over several accounts fits none: its legs are listed all the same."""
    rows = _rows()
    table = _table(
        sa.Column("hops", json_doc(), nullable=False),
        sa.Column("hop", sa.Integer(), nullable=False),
        sa.Column("hop_started_at", utc_time()),
        decimals=18,
    )
    converted = []
    for row in rows:
        legs = json.loads(row.legs) if isinstance(row.legs, str) else row.legs
        hops = [{name: leg[name] for name in ("symbol", "side", "source", "target")} for leg in legs]
        done = sum(1 for leg in legs if leg["closed_at"] is not None)
        hop = max(min(done, len(hops) - 1), 0)
        started = legs[hop]["started_at"] if legs else None
        since = row.created_at if started is None else _moment(started)
        converted.append(
            {name: getattr(row, name) for name in SAME} | {"hops": hops, "hop": hop, "hop_started_at": since}
        )
    _put(table, converted)
    op.alter_column("orders", "leg", new_column_name="hop")


def _converted(row: Any) -> tuple[list[dict[str, Any]], list[dict[str, str]], dict[str, Any]]:
    hops = json.loads(row.hops) if isinstance(row.hops, str) else row.hops
    amount = format(row.start_amount, "f") if not isinstance(row.start_amount, str) else row.start_amount
    since = _when(row.hop_started_at) or _when(row.created_at)
    direct = row.algo == "direct"
    legs = [
        {
            "exchange": row.exchange,
            "account": row.account,
            "symbol": hop["symbol"],
            "side": hop["side"],
            "source": hop["source"],
            "target": hop["target"],
            "amount": amount if index == 0 and not direct else "0",
            "receive": "0",
            "limit": None,
            "quantity": amount if direct else None,
            "goal": None,
            "level": index,
            "generation": 0,
            "capped": False,
            "blocked": False,
            "ends_at": None,
            "started_at": since if index <= row.hop else None,
            "closed_at": since if index < row.hop else None,
            "code": "",
            "why": "",
        }
        for index, hop in enumerate(hops)
    ]
    if direct or not hops:
        return legs, [], {}
    start, end = hops[0]["source"], hops[-1]["target"]
    grant = {"exchange": row.exchange, "account": row.account, "currency": start, "amount": amount}
    accounts = [[row.exchange, row.account]]
    return legs, [grant], {"kind": "convert", "start": start, "end": end, "accounts": accounts}


def _moment(text: str) -> str:
    """Write a time of a document as the columns of SQLite have it; PostgreSQL reads it too."""
    return datetime.fromisoformat(text).astimezone(UTC).isoformat(timespec="microseconds")


def _when(found: Any) -> str | None:
    if found is None:
        return None
    return found.isoformat() if hasattr(found, "isoformat") else str(found).replace("Z", "+00:00")
