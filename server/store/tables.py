"""The tables, and how each record becomes a row and back.

Columns carry the words of DESIGN.md 3, because people query them by hand; a record's `user` is the column
`user_id` (USER is a reserved word of SQL), and an order's `created_at` is `timestamp`.
A change here is a new migration.

Rules:
1. `queries`, `parents`, `orders`, `portfolio`, `costs` and `haircuts` are the latest state, overwritten by
   key. `order_history`, `fills`, `halts`, `halt_lifts`, `risk_limits` and `nonces` are facts and only
   added. `orders` is a cache of the fold of `order_history`, `portfolio` of that of `fills`.
2. The database itself keeps single what must never be double: the idempotency key of a query, the client
   order id at an account, a fill.
3. An order's fill ids are not a column: they are the rows of `fills`, written in the same transaction.
4. A query nobody wants archived is erased, not deleted: its row keeps the idempotency key bound for ever.
5. A trade between two of our own orders has one id and two sides: a fill's key holds the side too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Row,
    Table,
    UniqueConstraint,
    false,
    text,
)

from ems.core.messages import Liquidity, NonceUse, OrderType, Problem, Side, TimeInForce
from ems.core.order import edit_from_json, edit_to_json
from ems.core.records import (
    Asked,
    Cost,
    Fill,
    Grant,
    Haircut,
    Halt,
    HaltLift,
    HistoryEntry,
    Leg,
    Notice,
    Order,
    Parent,
    ParentState,
    Phase,
    Position,
    Query,
    QueryStatus,
    RiskLimit,
    Slice,
    SliceChange,
    Status,
    Transfer,
    VenueOrder,
)
from server.store.columns import JsonDoc, Key, Money, UtcTime, Words, plain

MANY = 36  # decimals of a product of two amounts

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# The unfinished rows, which every start reads. Written out, not bound: a partial index is only used when the
# database can see that the question implies its condition.
WORKING_QUERY = text("status = 'working'")
WORKING_PARENT = text("state NOT IN ('done', 'dust_done', 'aborted')")
UNSETTLED_ORDER = text("phase <> 'settled'")
UNSENT_NOTICE = text("sent_at IS NULL AND next_attempt_at IS NOT NULL")
NO_MESSAGE_YET = text("message_id IS NULL")
WAITING_MESSAGE = text("state = 'waiting'")
REPEATED_MESSAGE = text("repeat_at IS NOT NULL")

queries = Table(
    "queries",
    metadata,
    Column("query_id", Key, nullable=False),
    Column("user_id", Key, nullable=False),
    Column("bot", Key, nullable=False),
    Column("verb", Words, nullable=False),
    Column("exchange", Words),
    Column("parameters", JsonDoc, nullable=False),
    Column("mode", Words, nullable=False),
    Column("status", Words, nullable=False),
    Column("accepted_at", UtcTime, nullable=False),
    Column("finished_at", UtcTime),
    Column("result", JsonDoc),
    Column("error_code", Words),
    Column("error_message", Words),
    Column("error_hint", Words),
    Column("error_retry_safe", Boolean),
    Column("error_details", JsonDoc),
    Column("error_venue_code", Words),
    Column("error_venue_message", Words),
    Column("idempotency_key", Key, nullable=False),
    Column("body_digest", Words, nullable=False),
    Column("record_in_db", Boolean, nullable=False),
    Column("send_fail_email", Boolean, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("erased_at", UtcTime),  # when the words of a query with record_in_db false were taken out
    PrimaryKeyConstraint("query_id"),
    # A request refused before it had a key is recorded too; those do not collide.
    Index(
        "uq_queries_user_id_idempotency_key",
        "user_id",
        "idempotency_key",
        unique=True,
        sqlite_where=text("idempotency_key <> ''"),
        postgresql_where=text("idempotency_key <> ''"),
    ),
    Index(None, "user_id", "accepted_at"),
    Index("ix_queries_working", "query_id", sqlite_where=WORKING_QUERY, postgresql_where=WORKING_QUERY),
)

parents = Table(
    "parents",
    metadata,
    Column("parent_id", Key, nullable=False),
    Column("query_id", Key, nullable=False),
    Column("user_id", Key, nullable=False),
    Column("bot", Key, nullable=False),
    Column("exchange", Words, nullable=False),
    Column("account", Words, nullable=False),
    Column("algo", Words, nullable=False),
    Column("params", JsonDoc, nullable=False),
    Column("legs", JsonDoc, nullable=False),
    Column("grants", JsonDoc, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("start_amount", Money(MANY), nullable=False),
    Column("time_limit", Money, nullable=False),
    Column("on_timeout", Words, nullable=False),
    Column("max_slippage_bps", Money),
    Column("goal", JsonDoc, nullable=False),
    Column("state", Words, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("planned_at", UtcTime),
    Column("reason", Words, nullable=False),
    Column("arrival", JsonDoc, nullable=False),
    Column("closed_at", UtcTime),
    PrimaryKeyConstraint("parent_id"),
    Index(None, "query_id"),
    Index(None, "closed_at"),
    Index("ix_parents_working", "parent_id", sqlite_where=WORKING_PARENT, postgresql_where=WORKING_PARENT),
)

orders = Table(
    "orders",
    metadata,
    Column("order_id", Key, nullable=False),
    Column("query_id", Key, nullable=False),
    Column("parent_id", Key, nullable=False),
    Column("user_id", Key, nullable=False),
    Column("bot", Key, nullable=False),
    Column("exchange", Key, nullable=False),
    Column("account", Key, nullable=False),
    Column("symbol", Key, nullable=False),
    Column("side", Words, nullable=False),
    Column("order_type", Words, nullable=False),
    Column("time_in_force", Words, nullable=False),
    Column("post_only", Boolean, nullable=False),
    Column("status", Words, nullable=False),
    Column("price", Money),
    Column("quantity", Money, nullable=False),
    Column("filled_quantity", Money, nullable=False),
    Column("quote_filled", Money(MANY), nullable=False),
    Column("fees", JsonDoc, nullable=False),  # currency -> amount as a string
    Column("timestamp", UtcTime, nullable=False),
    Column("sent_at", UtcTime),
    Column("updated_at", UtcTime),
    Column("closed_at", UtcTime),
    Column("client_order_id", Key, nullable=False),
    Column("exchange_order_id", Key),
    Column("purpose", Words, nullable=False),
    Column("leg", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("asked", Words, nullable=False),
    Column("phase", Words, nullable=False),
    Column("final_quantity", Money),
    Column("ending", Words),
    Column("reserved", Money(MANY), nullable=False),
    Column("reason", Words, nullable=False),
    Column("version", Integer, nullable=False),
    Column("stop_price", Money),
    Column("expires_at", UtcTime),
    Column("reduce_only", Boolean, nullable=False, server_default=false()),
    Column("emulated", Boolean, nullable=False, server_default=false()),
    Column("replaces", Key),
    Column("cross_id", Key),
    Column("fee_saved", Money(MANY)),
    Column("edit", JsonDoc),
    Column("usd_value", Money(MANY)),
    Column("release", Words),
    PrimaryKeyConstraint("order_id"),
    Index(None, "query_id"),
    Index(None, "parent_id"),
    Index(None, "closed_at"),
    Index(None, "user_id", "timestamp", "order_id"),
    # An order refused before it was named at a venue has no client order id.
    Index(
        "uq_orders_exchange_account_client_order_id",
        "exchange",
        "account",
        "client_order_id",
        unique=True,
        sqlite_where=text("client_order_id <> ''"),
        postgresql_where=text("client_order_id <> ''"),
    ),
    Index("ix_orders_unsettled", "order_id", sqlite_where=UNSETTLED_ORDER, postgresql_where=UNSETTLED_ORDER),
)

order_history = Table(
    "order_history",
    metadata,
    Column("history_id", BigInteger().with_variant(Integer, "sqlite"), autoincrement=True, nullable=False),
    Column("order_id", Key, ForeignKey("orders.order_id"), nullable=False),
    Column("version", Integer, nullable=False),
    Column("status", Words, nullable=False),
    Column("timestamp", UtcTime, nullable=False),
    Column("message", Words, nullable=False),
    Column("report", JsonDoc, nullable=False),
    Column("code", Words),
    Column("venue_code", Words),
    Column("venue_message", Words),
    PrimaryKeyConstraint("history_id"),
    UniqueConstraint("order_id", "version"),
)

fills = Table(
    "fills",
    metadata,
    Column("fill_id", Key, nullable=False),
    Column("order_id", Key, ForeignKey("orders.order_id"), nullable=False),
    Column("query_id", Key, nullable=False),
    Column("parent_id", Key, nullable=False),
    Column("user_id", Key, nullable=False),
    Column("bot", Key, nullable=False),
    Column("exchange", Key, nullable=False),
    Column("account", Key, nullable=False),
    Column("symbol", Key, nullable=False),
    Column("side", Words, nullable=False),
    Column("price", Money, nullable=False),
    Column("quantity", Money, nullable=False),
    Column("fee", Money(MANY), nullable=False),
    Column("fee_currency", Words, nullable=False),
    Column("liquidity", Words, nullable=False),
    Column("timestamp", UtcTime, nullable=False),
    Column("mid", Money(MANY)),  # of the book just before it; null where no book was at hand
    Column("touch", Money(MANY)),
    Column("cross_id", Key),
    # How it moved the books; all null where it was booked before there were any.
    Column("booking", BigInteger),  # their order
    Column("value_currency", Key),
    Column("value", Money(MANY)),  # null: nobody knew
    Column("fee_value", Money(MANY)),  # null: nobody knew
    Column("fee_cost", Money(MANY)),
    Column("realised", Money(MANY)),
    PrimaryKeyConstraint("exchange", "account", "symbol", "fill_id", "side"),
    Index(None, "order_id"),
    Index(None, "booking"),
    Index(None, "timestamp"),
    Index(None, "user_id", "timestamp"),
)

# The part of an account that is one bot's own, as its fills have moved it.
slices = Table(
    "slices",
    metadata,
    Column("user_id", Key, nullable=False),
    Column("bot", Key, nullable=False),
    Column("exchange", Key, nullable=False),
    Column("account", Key, nullable=False),
    Column("amounts", JsonDoc, nullable=False),  # currency -> amount as a string
    Column("set_by", Words, nullable=False),
    Column("set_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    Column("ended_at", UtcTime),
    PrimaryKeyConstraint("user_id", "bot", "exchange", "account"),
)

# Who set which slice to what; only added.
slice_changes = Table(
    "slice_changes",
    metadata,
    Column("change_id", Key, nullable=False),
    Column("user_id", Key, nullable=False),
    Column("bot", Key, nullable=False),
    Column("exchange", Key, nullable=False),
    Column("account", Key, nullable=False),
    Column("amounts", JsonDoc, nullable=False),
    Column("in_force", Boolean, nullable=False),  # false: the slice ended
    Column("reason", Words, nullable=False),
    Column("set_by", Words, nullable=False),
    Column("set_at", UtcTime, nullable=False),
    Column("booking", BigInteger, nullable=False),  # of the last fill before
    PrimaryKeyConstraint("change_id"),
)

# What each bot holds and has earned: the sum of its fills, in one currency.
portfolio = Table(
    "portfolio",
    metadata,
    Column("user_id", Key, nullable=False),
    Column("bot", Key, nullable=False),
    Column("exchange", Key, nullable=False),
    Column("account", Key, nullable=False),
    Column("asset", Key, nullable=False),
    Column("currency", Key, nullable=False),  # of everything below but quantities
    Column("quantity", Money(MANY), nullable=False),
    Column("average_price", Money),  # cost / quantity; null where nothing is held
    Column("cost", Money(MANY), nullable=False),
    Column("realised", Money(MANY), nullable=False),
    Column("fees", Money(MANY), nullable=False),
    Column("opened", Money(MANY), nullable=False),  # quantity brought in from outside of the books, ever
    Column("opened_value", Money(MANY), nullable=False),
    Column("unvalued", Money(MANY), nullable=False),  # quantity that moved when nobody knew its worth, ever
    Column("updated_at", UtcTime, nullable=False),
    PrimaryKeyConstraint("user_id", "bot", "exchange", "account", "asset", "currency"),
)

# What each finished parent cost. The figures are in the body, as the report reads them.
costs = Table(
    "costs",
    metadata,
    Column("parent_id", Key, nullable=False),
    Column("query_id", Key, nullable=False),
    Column("user_id", Key, nullable=False),
    Column("bot", Key, nullable=False),
    Column("verb", Words, nullable=False),
    Column("exchange", Words, nullable=False),  # several: joined by commas
    Column("algo", Words, nullable=False),
    Column("pair", Words, nullable=False),
    Column("mode", Words, nullable=False),
    Column("started_at", UtcTime, nullable=False),
    Column("ended_at", UtcTime, nullable=False),
    Column("body", JsonDoc, nullable=False),
    Column("complete", Boolean, nullable=False),
    PrimaryKeyConstraint("parent_id"),
    Index(None, "query_id"),
    Index(None, "user_id", "ended_at", "parent_id"),
)

# What a venue has taught us to leave over when a currency is spent.
haircuts = Table(
    "haircuts",
    metadata,
    Column("exchange", Key, nullable=False),
    Column("account", Key, nullable=False),
    Column("currency", Key, nullable=False),
    Column("side", Key, nullable=False),
    Column("step", Integer, nullable=False),  # on the ladder ems.core.instrument.HAIRCUTS
    Column("clean_orders", Integer, nullable=False),  # since the last step
    PrimaryKeyConstraint("exchange", "account", "currency", "side"),
)

# Where people stopped trading. In force until a row of halt_lifts has its id; its report is the query's.
halts = Table(
    "halts",
    metadata,
    Column("halt_id", Key, nullable=False),
    Column("exchange", Key),  # null in all four: everything
    Column("account", Key),
    Column("user_id", Key),
    Column("symbol", Key),
    Column("reason", Words, nullable=False),
    Column("everything", Boolean, nullable=False),  # orders that are not ours as well
    Column("source", Words, nullable=False),  # api, file, command
    Column("set_by", Words, nullable=False),
    Column("set_at", UtcTime, nullable=False),
    PrimaryKeyConstraint("halt_id"),
)

halt_lifts = Table(
    "halt_lifts",
    metadata,
    Column("halt_id", Key, ForeignKey("halts.halt_id"), nullable=False),
    Column("lifted_by", Words, nullable=False),
    Column("lifted_at", UtcTime, nullable=False),
    Column("lift_reason", Words, nullable=False),
    PrimaryKeyConstraint("halt_id"),
)

# Limits of the risk controls, as they were set; the last row of a setting and scope is in force.
risk_limits = Table(
    "risk_limits",
    metadata,
    Column("change_id", Key, nullable=False),
    Column("setting", Key, nullable=False),
    Column("user_id", Key),
    Column("bot", Key),
    Column("exchange", Key),
    Column("account", Key),
    Column("symbol", Key),
    Column("old_value", Words, nullable=False),
    Column("new_value", Words, nullable=False),
    Column("set_by", Words, nullable=False),
    Column("set_at", UtcTime, nullable=False),
    Column("reason", Words, nullable=False),
    PrimaryKeyConstraint("change_id"),
)

nonces = Table(
    "nonces",
    metadata,
    Column("key_id", Key, nullable=False),
    Column("nonce", Key, nullable=False),
    Column("expires_at", UtcTime, nullable=False),
    PrimaryKeyConstraint("key_id", "nonce"),
    Index(None, "expires_at"),
)

# The mail outbox. A letter waits while sent_at is null and next_attempt_at is not.
notices = Table(
    "notices",
    metadata,
    Column("notice_id", Key, nullable=False),
    Column("query_id", Key),
    Column("severity", Words, nullable=False),
    Column("subject", Words, nullable=False),
    Column("failed", Words, nullable=False),
    Column("why", Words, nullable=False),
    Column("done", Words, nullable=False),
    Column("todo", Words, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("letter_group", Words, nullable=False),
    Column("event", Words),  # null: from before there were names
    Column("sent_at", UtcTime),
    Column("attempts", Integer, nullable=False),
    Column("next_attempt_at", UtcTime),
    Column("last_error", Words),
    PrimaryKeyConstraint("notice_id"),
    Index("ix_notices_unsent", "next_attempt_at", sqlite_where=UNSENT_NOTICE, postgresql_where=UNSENT_NOTICE),
)

# Copies of exchanges' own lists; they can be read again at any time.
venue_orders = Table(
    "venue_orders",
    metadata,
    Column("exchange", Key, nullable=False),
    Column("account", Key, nullable=False),
    Column("mode", Key, nullable=False),
    Column("symbol", Key, nullable=False),
    Column("exchange_order_id", Key, nullable=False),
    Column("client_order_id", Key),
    Column("side", Words, nullable=False),
    Column("order_type", Words, nullable=False),
    Column("status", Words, nullable=False),
    Column("price", Money(MANY)),
    Column("quantity", Money),
    Column("filled_quantity", Money, nullable=False),
    Column("quote_filled", Money(MANY)),
    Column("fees", JsonDoc, nullable=False),  # currency -> amount as a string
    Column("timestamp", UtcTime, nullable=False),
    Column("updated_at", UtcTime),
    Column("final", Boolean, nullable=False),
    PrimaryKeyConstraint("exchange", "account", "mode", "symbol", "exchange_order_id"),
    Index("ix_venue_orders_newest", "exchange", "account", "mode", "timestamp", "exchange_order_id"),
)

transfers = Table(
    "transfers",
    metadata,
    Column("exchange", Key, nullable=False),
    Column("account", Key, nullable=False),
    Column("mode", Key, nullable=False),
    Column("kind", Key, nullable=False),
    Column("transfer_id", Key, nullable=False),
    Column("currency", Key, nullable=False),
    Column("amount", Money(MANY), nullable=False),
    Column("fee", Money(MANY)),
    Column("status", Words, nullable=False),
    Column("txid", Words),
    Column("timestamp", UtcTime, nullable=False),
    Column("final", Boolean, nullable=False),
    PrimaryKeyConstraint("exchange", "account", "mode", "kind", "transfer_id"),
    Index("ix_transfers_newest", "exchange", "account", "mode", "timestamp", "transfer_id"),
)

# Which stretches of time of these lists were read whole.
history_spans = Table(
    "history_spans",
    metadata,
    Column("exchange", Key, nullable=False),
    Column("account", Key, nullable=False),
    Column("mode", Key, nullable=False),
    Column("what", Key, nullable=False),
    Column("symbol", Key, nullable=False),  # empty: every market
    Column("since", UtcTime, nullable=False),
    Column("until", UtcTime, nullable=False),
    PrimaryKeyConstraint("exchange", "account", "mode", "what", "symbol", "since"),
)

accounts = Table(
    "accounts",
    metadata,
    Column("exchange", Key, nullable=False),
    Column("account", Key, nullable=False),
    Column("mode", Words, nullable=False),
    Column("client_id_tag", Words, nullable=False),  # how our order ids at this account begin
    Column("first_seen_at", UtcTime, nullable=False),
    PrimaryKeyConstraint("exchange", "account", "mode"),
)

# What happened that somebody may want to be told of, until the notifier has looked at it.
notification_news = Table(
    "notification_news",
    metadata,
    Column("kind", Key, nullable=False),
    Column("subject", Key, nullable=False),
    Column("status", Key, nullable=False),
    PrimaryKeyConstraint("kind", "subject", "status"),
)

notification_rules = Table(
    "notification_rules",
    metadata,
    Column("user_id", Key, nullable=False),
    Column("name", Key, nullable=False),
    Column("channel", Words, nullable=False),
    Column("address", Words, nullable=False),
    Column("events", JsonDoc, nullable=False),
    Column("severity", Words, nullable=False),
    Column("exchange", Words),
    Column("of_bot", Words),
    Column("everyone", Boolean, nullable=False),
    Column("digest_minutes", Integer),
    Column("digest_at", Words),
    Column("quiet_from", Words),
    Column("quiet_until", Words),
    Column("time_zone", Words, nullable=False),
    Column("suppress_s", Integer, nullable=False),
    Column("repeat_s", Integer, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    PrimaryKeyConstraint("user_id", "name"),
)

# One event for one rule; part of a message once it was due.
notifications = Table(
    "notifications",
    metadata,
    Column("notification_id", Key, nullable=False),
    Column("user_id", Key, nullable=False),  # who is told
    Column("rule", Key, nullable=False),
    Column("due_at", UtcTime, nullable=False),
    Column("message_id", Key),
    Column("event", Words, nullable=False),
    Column("event_key", Key, nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("severity", Words, nullable=False),
    Column("subject", Words, nullable=False),
    Column("owner", Words),  # whose event it is
    Column("bot", Words),
    Column("exchange", Words),
    Column("order_id", Key),
    Column("query_id", Key),
    Column("event_group", Key, nullable=False),
    Column("facts", JsonDoc, nullable=False),
    PrimaryKeyConstraint("notification_id"),
    Index(None, "message_id"),
    Index(None, "user_id", "event_key"),
    Index(None, "user_id", "rule", "event_group"),
    Index("ix_notifications_due", "due_at", sqlite_where=NO_MESSAGE_YET, postgresql_where=NO_MESSAGE_YET),
)

# What people are sent, and their inbox. A message waits for its channel, was sent, or was dropped.
notification_messages = Table(
    "notification_messages",
    metadata,
    Column("message_id", Key, nullable=False),
    Column("user_id", Key, nullable=False),
    Column("rule", Key, nullable=False),
    Column("channel", Words, nullable=False),
    Column("address", Words, nullable=False),
    Column("severity", Words, nullable=False),
    Column("event", Words, nullable=False),
    Column("subject", Words, nullable=False),
    Column("text", Words, nullable=False),
    Column("event_group", Key, nullable=False),
    Column("times", Integer, nullable=False),
    Column("order_id", Key),
    Column("query_id", Key),
    Column("created_at", UtcTime, nullable=False),
    Column("state", Words, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_attempt_at", UtcTime),
    Column("sent_at", UtcTime),
    Column("answer", Words, nullable=False),
    Column("repeats", Integer, nullable=False),
    Column("repeat_at", UtcTime),
    Column("acknowledged_at", UtcTime),
    Column("acknowledged_by", Words),
    PrimaryKeyConstraint("message_id"),
    Index(None, "user_id", "created_at"),
    Index(
        "ix_notification_messages_waiting",
        "next_attempt_at",
        sqlite_where=WAITING_MESSAGE,
        postgresql_where=WAITING_MESSAGE,
    ),
    Index(
        "ix_notification_messages_repeat",
        "repeat_at",
        sqlite_where=REPEATED_MESSAGE,
        postgresql_where=REPEATED_MESSAGE,
    ),
)

Values = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """A named set of keys at an exchange, as first seen; the keys themselves are never stored."""

    exchange: str
    account: str
    mode: str  # "live" | "paper"
    client_id_tag: str
    first_seen_at: datetime


# --- Records to rows -----------------------------------------------------------------------------


def query_to_row(query: Query) -> Values:
    error = query.error
    return {
        "query_id": query.query_id,
        "user_id": query.user,
        "bot": query.bot,
        "verb": query.verb,
        "exchange": query.exchange,
        "parameters": query.parameters,
        "mode": query.mode,
        "status": query.status.value,
        "accepted_at": query.accepted_at,
        "finished_at": query.finished_at,
        "result": query.result,
        "error_code": error and error.code,
        "error_message": error and error.message,
        "error_hint": error and error.hint,
        "error_retry_safe": error and error.retry_safe,
        "error_details": error and error.details,
        "error_venue_code": error and error.venue_code,
        "error_venue_message": error and error.venue_message,
        "idempotency_key": query.idempotency_key,
        "body_digest": query.body_digest,
        "record_in_db": query.record_in_db,
        "send_fail_email": query.send_fail_email,
        "seq": query.seq,
    }


def query_from_row(row: Row[Any]) -> Query:
    return Query(
        query_id=row.query_id,
        user=row.user_id,
        bot=row.bot,
        verb=row.verb,
        exchange=row.exchange,
        parameters=row.parameters,
        mode=row.mode,
        status=QueryStatus(row.status),
        accepted_at=row.accepted_at,
        finished_at=row.finished_at,
        result=row.result,
        error=None if row.error_code is None else _problem_from_row(row),
        idempotency_key=row.idempotency_key,
        body_digest=row.body_digest,
        record_in_db=row.record_in_db,
        send_fail_email=row.send_fail_email,
        seq=row.seq,
    )


def _problem_from_row(row: Row[Any]) -> Problem:
    return Problem(
        code=row.error_code,
        message=row.error_message,
        hint=row.error_hint,
        retry_safe=row.error_retry_safe,
        details=row.error_details,
        venue_code=row.error_venue_code,
        venue_message=row.error_venue_message,
    )


def parent_to_row(parent: Parent) -> Values:
    return {
        "parent_id": parent.parent_id,
        "query_id": parent.query_id,
        "user_id": parent.user,
        "bot": parent.bot,
        "exchange": parent.exchange,
        "account": parent.account,
        "algo": parent.algo,
        "params": parent.params,
        "legs": [_leg_to_json(leg) for leg in parent.legs],
        "grants": [
            {
                "exchange": grant.exchange,
                "account": grant.account,
                "currency": grant.currency,
                "amount": format(grant.amount, "f"),
            }
            for grant in parent.grants
        ],
        "generation": parent.generation,
        "start_amount": parent.start_amount,
        "time_limit": parent.time_limit,
        "state": parent.state.value,
        "created_at": parent.created_at,
        "on_timeout": parent.on_timeout,
        "max_slippage_bps": parent.max_slippage_bps,
        "goal": parent.goal,
        "planned_at": parent.planned_at,
        "reason": parent.reason,
        "arrival": parent.arrival,
        "closed_at": parent.closed_at,
    }


_LEG_TEXTS = ("exchange", "account", "symbol", "source", "target", "code", "why")
_LEG_AMOUNTS = ("amount", "receive", "limit", "quantity", "goal")
_LEG_TIMES = ("ends_at", "started_at", "closed_at")
_LEG_PLAIN = ("level", "generation", "capped", "blocked")


def _leg_to_json(leg: Leg) -> dict[str, object]:
    body: dict[str, object] = {name: getattr(leg, name) for name in (*_LEG_TEXTS, *_LEG_PLAIN)}
    body["side"] = leg.side.value
    for name in _LEG_AMOUNTS:
        amount = getattr(leg, name)
        body[name] = None if amount is None else format(amount, "f")
    for name in _LEG_TIMES:
        when = getattr(leg, name)
        body[name] = None if when is None else when.isoformat()
    return body


def _leg_from_json(body: Mapping[str, Any]) -> Leg:
    values: dict[str, Any] = {name: body[name] for name in (*_LEG_TEXTS, *_LEG_PLAIN)}
    for name in _LEG_AMOUNTS:
        values[name] = None if body[name] is None else Decimal(body[name])
    for name in _LEG_TIMES:
        values[name] = None if body[name] is None else datetime.fromisoformat(body[name])
    return Leg(side=Side(body["side"]), **values)


def parent_from_row(row: Row[Any]) -> Parent:
    return Parent(
        parent_id=row.parent_id,
        query_id=row.query_id,
        user=row.user_id,
        bot=row.bot,
        exchange=row.exchange,
        account=row.account,
        algo=row.algo,
        params=row.params,
        legs=tuple(_leg_from_json(leg) for leg in row.legs),
        grants=tuple(
            Grant(
                exchange=grant["exchange"],
                account=grant["account"],
                currency=grant["currency"],
                amount=Decimal(grant["amount"]),
            )
            for grant in row.grants
        ),
        generation=row.generation,
        start_amount=row.start_amount,
        time_limit=row.time_limit,
        state=ParentState(row.state),
        created_at=row.created_at,
        on_timeout=row.on_timeout,
        max_slippage_bps=row.max_slippage_bps,
        goal=row.goal,
        planned_at=row.planned_at,
        reason=row.reason,
        arrival=row.arrival,
        closed_at=row.closed_at,
    )


def order_to_row(order: Order) -> Values:
    return {
        "order_id": order.order_id,
        "query_id": order.query_id,
        "parent_id": order.parent_id,
        "user_id": order.user,
        "bot": order.bot,
        "exchange": order.exchange,
        "account": order.account,
        "symbol": order.symbol,
        "side": order.side.value,
        "order_type": order.order_type.value,
        "time_in_force": order.time_in_force.value,
        "post_only": order.post_only,
        "status": order.status.value,
        "price": order.price,
        "quantity": order.quantity,
        "filled_quantity": order.filled_quantity,
        "quote_filled": order.quote_filled,
        "fees": {currency: format(amount, "f") for currency, amount in order.fees.items()},
        "timestamp": order.created_at,
        "sent_at": order.sent_at,
        "updated_at": order.updated_at,
        "closed_at": order.closed_at,
        "client_order_id": order.client_order_id,
        "exchange_order_id": order.exchange_order_id,
        "purpose": order.purpose,
        "leg": order.leg,
        "attempt": order.attempt,
        "asked": order.asked.value,
        "phase": order.phase.value,
        "final_quantity": order.final_quantity,
        "ending": order.ending and order.ending.value,
        "reserved": order.reserved,
        "reason": order.reason,
        "version": order.version,
        "stop_price": order.stop_price,
        "expires_at": order.expires_at,
        "reduce_only": order.reduce_only,
        "emulated": order.emulated,
        "replaces": order.replaces,
        "cross_id": order.cross_id,
        "fee_saved": order.fee_saved,
        "edit": None if order.edit is None else edit_to_json(order.edit),
        "usd_value": order.usd_value,
        "release": order.release,
    }


def order_from_row(row: Row[Any], fill_ids: Iterable[str]) -> Order:
    return Order(
        order_id=row.order_id,
        query_id=row.query_id,
        parent_id=row.parent_id,
        user=row.user_id,
        bot=row.bot,
        exchange=row.exchange,
        account=row.account,
        symbol=row.symbol,
        side=Side(row.side),
        order_type=OrderType(row.order_type),
        time_in_force=TimeInForce(row.time_in_force),
        post_only=row.post_only,
        status=Status(row.status),
        price=row.price,
        quantity=row.quantity,
        filled_quantity=row.filled_quantity,
        quote_filled=row.quote_filled,
        fees={currency: Decimal(amount) for currency, amount in row.fees.items()},
        fill_ids=frozenset(fill_ids),
        created_at=row.timestamp,
        sent_at=row.sent_at,
        updated_at=row.updated_at,
        closed_at=row.closed_at,
        client_order_id=row.client_order_id,
        exchange_order_id=row.exchange_order_id,
        purpose=row.purpose,
        leg=row.leg,
        attempt=row.attempt,
        asked=Asked(row.asked),
        phase=Phase(row.phase),
        final_quantity=row.final_quantity,
        ending=None if row.ending is None else Status(row.ending),
        reserved=row.reserved,
        reason=row.reason,
        version=row.version,
        stop_price=row.stop_price,
        expires_at=row.expires_at,
        reduce_only=row.reduce_only,
        emulated=row.emulated,
        replaces=row.replaces,
        cross_id=row.cross_id,
        fee_saved=row.fee_saved,
        edit=None if row.edit is None else edit_from_json(row.edit),
        usd_value=row.usd_value or Decimal(0),
        release=row.release or "",
    )


def history_to_row(entry: HistoryEntry) -> Values:
    return {
        "order_id": entry.order_id,
        "version": entry.version,
        "status": entry.status.value,
        "timestamp": entry.timestamp,
        "message": entry.message,
        "report": entry.report,
        "code": entry.code,
        "venue_code": entry.venue_code,
        "venue_message": entry.venue_message,
    }


def history_from_row(row: Row[Any]) -> HistoryEntry:
    return HistoryEntry(
        order_id=row.order_id,
        version=row.version,
        status=Status(row.status),
        timestamp=row.timestamp,
        message=row.message,
        report=row.report,
        code=row.code,
        venue_code=row.venue_code,
        venue_message=row.venue_message,
    )


def fill_to_row(fill: Fill) -> Values:
    return {
        "fill_id": fill.fill_id,
        "order_id": fill.order_id,
        "query_id": fill.query_id,
        "parent_id": fill.parent_id,
        "user_id": fill.user,
        "bot": fill.bot,
        "exchange": fill.exchange,
        "account": fill.account,
        "symbol": fill.symbol,
        "side": fill.side.value,
        "price": fill.price,
        "quantity": fill.quantity,
        "fee": fill.fee,
        "fee_currency": fill.fee_currency,
        "liquidity": fill.liquidity.value,
        "timestamp": fill.timestamp,
        "mid": fill.mid,
        "touch": fill.touch,
        "cross_id": fill.cross_id,
        "booking": fill.booking or None,
        "value_currency": fill.value_currency or None,
        "value": fill.value,
        "fee_value": fill.fee_value,
        "fee_cost": fill.fee_cost if fill.booking else None,
        "realised": fill.realised if fill.booking else None,
    }


def fill_from_row(row: Row[Any]) -> Fill:
    return Fill(
        fill_id=row.fill_id,
        order_id=row.order_id,
        query_id=row.query_id,
        parent_id=row.parent_id,
        user=row.user_id,
        bot=row.bot,
        exchange=row.exchange,
        account=row.account,
        symbol=row.symbol,
        side=Side(row.side),
        price=row.price,
        quantity=row.quantity,
        fee=row.fee,
        fee_currency=row.fee_currency,
        liquidity=Liquidity(row.liquidity),
        timestamp=row.timestamp,
        mid=row.mid,
        touch=row.touch,
        cross_id=row.cross_id,
        booking=row.booking or 0,
        value_currency=row.value_currency or "",
        value=row.value,
        fee_value=row.fee_value,
        fee_cost=row.fee_cost or Decimal(0),
        realised=row.realised or Decimal(0),
    )


def slice_to_row(one: Slice) -> Values:
    return {
        "user_id": one.user,
        "bot": one.bot,
        "exchange": one.exchange,
        "account": one.account,
        "amounts": {currency: plain(amount) for currency, amount in one.amounts.items()},
        "set_by": one.set_by,
        "set_at": one.set_at,
        "updated_at": one.updated_at,
        "ended_at": one.ended_at,
    }


def slice_from_row(row: Row[Any]) -> Slice:
    return Slice(
        user=row.user_id,
        bot=row.bot,
        exchange=row.exchange,
        account=row.account,
        amounts={currency: Decimal(amount) for currency, amount in row.amounts.items()},
        set_by=row.set_by,
        set_at=row.set_at,
        updated_at=row.updated_at,
        ended_at=row.ended_at,
    )


def slice_change_to_row(change: SliceChange) -> Values:
    return {
        "change_id": change.change_id,
        "user_id": change.user,
        "bot": change.bot,
        "exchange": change.exchange,
        "account": change.account,
        "amounts": {currency: plain(amount) for currency, amount in change.amounts.items()},
        "in_force": change.in_force,
        "reason": change.reason,
        "set_by": change.set_by,
        "set_at": change.set_at,
        "booking": change.booking,
    }


def position_to_row(position: Position) -> Values:
    return {
        "user_id": position.user,
        "bot": position.bot,
        "exchange": position.exchange,
        "account": position.account,
        "asset": position.asset,
        "currency": position.currency,
        "quantity": position.quantity,
        "average_price": position.average_price,
        "cost": position.cost,
        "realised": position.realised,
        "fees": position.fees,
        "opened": position.opened,
        "opened_value": position.opened_value,
        "unvalued": position.unvalued,
        "updated_at": position.updated_at,
    }


def position_from_row(row: Row[Any]) -> Position:
    return Position(
        user=row.user_id,
        bot=row.bot,
        exchange=row.exchange,
        account=row.account,
        asset=row.asset,
        currency=row.currency,
        quantity=row.quantity,
        cost=row.cost,
        realised=row.realised,
        fees=row.fees,
        opened=row.opened,
        opened_value=row.opened_value,
        unvalued=row.unvalued,
        updated_at=row.updated_at,
    )


def cost_to_row(cost: Cost) -> Values:
    return {
        "parent_id": cost.parent_id,
        "query_id": cost.query_id,
        "user_id": cost.user,
        "bot": cost.bot,
        "verb": cost.verb,
        "exchange": cost.exchange,
        "algo": cost.algo,
        "pair": cost.pair,
        "mode": cost.mode,
        "started_at": cost.started_at,
        "ended_at": cost.ended_at,
        "body": cost.body,
        "complete": cost.complete,
    }


def cost_from_row(row: Row[Any]) -> Cost:
    return Cost(
        parent_id=row.parent_id,
        query_id=row.query_id,
        user=row.user_id,
        bot=row.bot,
        verb=row.verb,
        exchange=row.exchange,
        algo=row.algo,
        pair=row.pair,
        mode=row.mode,
        started_at=row.started_at,
        ended_at=row.ended_at,
        body=row.body,
        complete=row.complete,
    )


def haircut_to_row(haircut: Haircut) -> Values:
    return {
        "exchange": haircut.exchange,
        "account": haircut.account,
        "currency": haircut.currency,
        "side": haircut.side.value,
        "step": haircut.step,
        "clean_orders": haircut.clean_orders,
    }


def haircut_from_row(row: Row[Any]) -> Haircut:
    return Haircut(
        exchange=row.exchange,
        account=row.account,
        currency=row.currency,
        side=Side(row.side),
        step=row.step,
        clean_orders=row.clean_orders,
    )


def halt_to_row(halt: Halt) -> Values:
    return {
        "halt_id": halt.halt_id,
        "exchange": halt.exchange,
        "account": halt.account,
        "user_id": halt.user,
        "symbol": halt.symbol,
        "reason": halt.reason,
        "everything": halt.everything,
        "source": halt.source,
        "set_by": halt.set_by,
        "set_at": halt.set_at,
    }


def halt_from_row(row: Row[Any]) -> Halt:
    return Halt(
        halt_id=row.halt_id,
        exchange=row.exchange,
        account=row.account,
        user=row.user_id,
        symbol=row.symbol,
        reason=row.reason,
        everything=row.everything,
        source=row.source,
        set_by=row.set_by,
        set_at=row.set_at,
    )


def halt_lift_to_row(lift: HaltLift) -> Values:
    return {
        "halt_id": lift.halt_id,
        "lifted_by": lift.lifted_by,
        "lifted_at": lift.lifted_at,
        "lift_reason": lift.reason,
    }


def halt_lift_from_row(row: Row[Any]) -> HaltLift:
    return HaltLift(
        halt_id=row.halt_id, lifted_by=row.lifted_by, lifted_at=row.lifted_at, reason=row.lift_reason
    )


def risk_limit_to_row(limit: RiskLimit) -> Values:
    return {
        "change_id": limit.change_id,
        "setting": limit.setting,
        "user_id": limit.user,
        "bot": limit.bot,
        "exchange": limit.exchange,
        "account": limit.account,
        "symbol": limit.symbol,
        "old_value": limit.old,
        "new_value": limit.new,
        "set_by": limit.set_by,
        "set_at": limit.set_at,
        "reason": limit.reason,
    }


def risk_limit_from_row(row: Row[Any]) -> RiskLimit:
    return RiskLimit(
        change_id=row.change_id,
        setting=row.setting,
        user=row.user_id,
        bot=row.bot,
        exchange=row.exchange,
        account=row.account,
        symbol=row.symbol,
        old=row.old_value,
        new=row.new_value,
        set_by=row.set_by,
        set_at=row.set_at,
        reason=row.reason,
    )


def nonce_to_row(use: NonceUse) -> Values:
    return {"key_id": use.key_id, "nonce": use.nonce, "expires_at": use.expires_at}


def nonce_from_row(row: Row[Any]) -> NonceUse:
    return NonceUse(key_id=row.key_id, nonce=row.nonce, expires_at=row.expires_at)


def notice_to_row(notice: Notice) -> Values:
    return {
        "notice_id": notice.notice_id,
        "query_id": notice.query_id,
        "severity": notice.severity,
        "subject": notice.subject,
        "failed": notice.failed,
        "why": notice.why,
        "done": notice.done,
        "todo": notice.todo,
        "created_at": notice.created_at,
        "letter_group": notice.group,
        "event": notice.event,
        "attempts": 0,
        "next_attempt_at": notice.created_at,
    }


def notice_from_row(row: Row[Any]) -> Notice:
    return Notice(
        notice_id=row.notice_id,
        query_id=row.query_id,
        severity=row.severity,
        subject=row.subject,
        failed=row.failed,
        why=row.why,
        done=row.done,
        todo=row.todo,
        created_at=row.created_at,
        group=row.letter_group,
        event=row.event or "alert",
    )


def account_to_row(account: Account) -> Values:
    return {
        "exchange": account.exchange,
        "account": account.account,
        "mode": account.mode,
        "client_id_tag": account.client_id_tag,
        "first_seen_at": account.first_seen_at,
    }


def account_from_row(row: Row[Any]) -> Account:
    return Account(
        exchange=row.exchange,
        account=row.account,
        mode=row.mode,
        client_id_tag=row.client_id_tag,
        first_seen_at=row.first_seen_at,
    )


def venue_order_to_row(order: VenueOrder) -> Values:
    return {
        "exchange": order.exchange,
        "account": order.account,
        "mode": order.mode,
        "symbol": order.symbol,
        "exchange_order_id": order.exchange_order_id,
        "client_order_id": order.client_order_id,
        "side": order.side.value,
        "order_type": order.order_type,
        "status": order.status,
        "price": order.price,
        "quantity": order.quantity,
        "filled_quantity": order.filled_quantity,
        "quote_filled": order.quote_filled,
        "fees": {currency: format(amount, "f") for currency, amount in order.fees.items()},
        "timestamp": order.created_at,
        "updated_at": order.updated_at,
        "final": order.final,
    }


def venue_order_from_row(row: Row[Any]) -> VenueOrder:
    return VenueOrder(
        exchange=row.exchange,
        account=row.account,
        mode=row.mode,
        symbol=row.symbol,
        exchange_order_id=row.exchange_order_id,
        client_order_id=row.client_order_id,
        side=Side(row.side),
        order_type=row.order_type,
        status=row.status,
        price=row.price,
        quantity=row.quantity,
        filled_quantity=row.filled_quantity,
        quote_filled=row.quote_filled,
        fees={currency: Decimal(amount) for currency, amount in row.fees.items()},
        created_at=row.timestamp,
        updated_at=row.updated_at,
        final=row.final,
    )


def transfer_to_row(transfer: Transfer) -> Values:
    return {
        "exchange": transfer.exchange,
        "account": transfer.account,
        "mode": transfer.mode,
        "kind": transfer.kind,
        "transfer_id": transfer.transfer_id,
        "currency": transfer.currency,
        "amount": transfer.amount,
        "fee": transfer.fee,
        "status": transfer.status,
        "txid": transfer.txid,
        "timestamp": transfer.at,
        "final": transfer.final,
    }


def transfer_from_row(row: Row[Any]) -> Transfer:
    return Transfer(
        exchange=row.exchange,
        account=row.account,
        mode=row.mode,
        kind=row.kind,
        transfer_id=row.transfer_id,
        currency=row.currency,
        amount=row.amount,
        fee=row.fee,
        status=row.status,
        txid=row.txid,
        at=row.timestamp,
        final=row.final,
    )
