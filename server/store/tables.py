"""The tables; `rows` says how each record becomes a row and back.

Columns carry the words of DESIGN.md 3, because people query them by hand; a record's `user` is the column
`user_id` (USER is a reserved word of SQL), and an order's `created_at` is `timestamp`.
A change here is a new migration.

Rules:
1. `queries`, `parents`, `orders`, `portfolio`, `balance_bases`, `costs` and `haircuts` are the latest state,
   overwritten by key. `order_history`, `fills`, `snapshot_days`, `snapshots`, `halts`, `halt_lifts`,
   `risk_limits` and `nonces` are facts and only added. `orders` is a cache of the fold of `order_history`,
   `portfolio` of that of `fills`.
2. The database itself keeps single what must never be double: the idempotency key of a query, the client
   order id at an account, a fill.
3. An order's fill ids are not a column: they are the rows of `fills`, written in the same transaction.
4. A query nobody wants archived is erased, not deleted: its row keeps the idempotency key bound for ever.
5. A trade between two of our own orders has one id and two sides: a fill's key holds the side too.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
    false,
    text,
)

from server.store.columns import JsonDoc, Key, Money, UtcTime, Words

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
    Column("protection_price", Money),
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
    Column("pnl", JsonDoc),
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

# What balances are compared with: the last that agreed, or were taken as true.
balance_bases = Table(
    "balance_bases",
    metadata,
    *(Column(name, Key, nullable=False) for name in ("exchange", "account", "identity")),
    Column("totals", JsonDoc, nullable=False),  # currency -> amount as a string
    Column("asked_at", UtcTime, nullable=False),
    Column("came_at", UtcTime, nullable=False),
    Column("transfers", JsonDoc, nullable=False),  # ids of deposits and withdrawals that are in them
    PrimaryKeyConstraint("exchange", "account"),
)

# On which days all positions were taken down, and how they stood; only added. Days are of UTC, ISO 8601.
snapshot_days = Table(
    "snapshot_days",
    metadata,
    Column("day", Key, nullable=False),
    Column("currency", Key, nullable=False),
    Column("taken_at", UtcTime, nullable=False),
    Column("booking", BigInteger, nullable=False),  # of the last fill in it
    Column("positions", Integer, nullable=False),
    PrimaryKeyConstraint("day", "currency"),
)

snapshots = Table(
    "snapshots",
    metadata,
    Column("user_id", Key, nullable=False),
    Column("currency", Key, nullable=False),
    Column("day", Key, nullable=False),
    *(Column(name, Key, nullable=False) for name in ("bot", "exchange", "account", "asset")),
    Column("quantity", Money(MANY), nullable=False),
    Column("average_price", Money),
    Column("cost", Money(MANY), nullable=False),
    Column("price", Money),  # null: nobody knew it, or nothing was held
    Column("value", Money(MANY)),  # quantity x price
    Column("realised", Money(MANY), nullable=False),  # this and those below: ever, until then
    Column("fees", Money(MANY), nullable=False),
    Column("opened", Money(MANY), nullable=False),
    Column("opened_value", Money(MANY), nullable=False),
    Column("unvalued", Money(MANY), nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    PrimaryKeyConstraint("user_id", "currency", "day", "bot", "exchange", "account", "asset"),
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
