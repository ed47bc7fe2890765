"""The store on PostgreSQL and SQLite: one transaction for all records of a turn, or none of them.

Rules:
1. There is one writer connection, under a lock. Readers have their own connections and never wait for it.
2. A record that is a latest state (query, parent, order, position, cost, haircut) is put by its key; facts
   are only added. A fact that is there already is a broken promise of the caller, except a nonce: that is a
   replayed request.
3. A connection lost before COMMIT was sent means nothing happened: the work is done once more. Lost during
   COMMIT means nobody knows: a fact of the batch is looked up by its key before the work is done once more,
   also when the same batch is committed again later.
4. Time is an argument.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Engine,
    Row,
    Table,
    and_,
    case,
    delete,
    func,
    literal,
    or_,
    select,
    tuple_,
    union,
    update,
)
from sqlalchemy import exc as sql_errors
from sqlalchemy.dialects import postgresql, sqlite

from ems.core import errors
from ems.core.breaker import RECENT
from ems.core.messages import Liquidity, NonceUse
from ems.core.notifications import News, news_of
from ems.core.records import (
    BalanceBase,
    Cost,
    Fill,
    Haircut,
    Halt,
    HaltLift,
    HistoryEntry,
    Notice,
    Order,
    Parent,
    Position,
    PositionSnapshot,
    Query,
    QueryStatus,
    Record,
    RiskLimit,
    Slice,
    SliceChange,
    SnapshotDay,
    Transfer,
    VenueOrder,
)
from ems.core.risk_ledger import DAY, MINUTE, Traded, traded_usd
from ems.core.risk_limits import Scope
from ems.core.snapshots import Snapshot
from ems.core.spans import Span
from ems.store import (
    Earned,
    KeptHalt,
    ListedOrder,
    NonceUsed,
    OrderFilter,
    SnapshotFilter,
    StoreUnavailable,
    Subject,
    Unfinished,
    VenueFilter,
    page_key,
)
from server.store import histories, mapping, snapshots, tables
from server.store.columns import EXACT, money_sum, money_sum_product, plain, utc_day
from server.store.connect import database_url, open_engine, sqlite_file
from server.store.mapping import Account, Values
from server.store.notifications import NotificationRows
from server.store.owner import AlreadyOwned, FileOwner, OwnershipLost, lock_session
from server.store.tables import (
    UNSENT_NOTICE,
    UNSETTLED_ORDER,
    WORKING_PARENT,
    WORKING_QUERY,
    accounts,
    balance_bases,
    costs,
    fills,
    haircuts,
    halt_lifts,
    halts,
    nonces,
    notices,
    notification_news,
    order_history,
    orders,
    parents,
    portfolio,
    queries,
    risk_limits,
    slice_changes,
    slices,
    snapshot_days,
)

ARCHIVE_KEEPS_UNRECORDED = timedelta(hours=24)
IDS_PER_STATEMENT = 500  # SQLite took 999 bound values until 3.32


class CommitInDoubt(StoreUnavailable):
    """The connection broke during COMMIT and the database cannot be asked: nobody knows whether it was done.

    Committing the same records again is safe, and settles it.
    """


@dataclass(slots=True)
class _Batch:
    """The records of one commit as rows, in the order in which tables depend on each other."""

    nonces: list[Values] = field(default_factory=list)
    queries: dict[str, Values] = field(default_factory=dict)
    parents: dict[str, Values] = field(default_factory=dict)
    orders: dict[str, Values] = field(default_factory=dict)
    history: list[Values] = field(default_factory=list)
    fills: list[Values] = field(default_factory=list)
    notices: list[Values] = field(default_factory=list)
    costs: dict[str, Values] = field(default_factory=dict)
    haircuts: dict[tuple[str, ...], Values] = field(default_factory=dict)
    positions: dict[tuple[str, ...], Values] = field(default_factory=dict)
    slices: dict[tuple[str, ...], Values] = field(default_factory=dict)
    bases: dict[tuple[str, str], Values] = field(default_factory=dict)
    slice_changes: list[Values] = field(default_factory=list)
    snapshot_days: list[Values] = field(default_factory=list)
    snapshots: list[Values] = field(default_factory=list)
    halts: list[Values] = field(default_factory=list)
    halt_lifts: list[Values] = field(default_factory=list)
    news: dict[News, Values] = field(default_factory=dict)
    risk_limits: list[Values] = field(default_factory=list)


class SqlStore:
    """Implements `ems.store.Store`; `migrate.upgrade` has to have made the tables."""

    def __init__(self, url: str | None) -> None:
        self.url = database_url(url)
        self._writer: Engine = open_engine(self.url, writes=True)
        self._reader: Engine = open_engine(self.url, writes=False)
        self._writing = threading.Lock()
        self._connection: Connection | None = None  # the writer's
        self._doubtful: set[_Fact] = set()  # of batches whose COMMIT nobody could answer for
        self._owner_file: FileOwner | None = None
        self._owns = False
        self._session: int | None = None  # PostgreSQL's id of the session that holds the owner lock
        self._statements = _Statements(self.url.get_backend_name())
        self.notifications = NotificationRows(self._write, self._reading)

    # --- The protocol ----------------------------------------------------------------------------

    def commit(
        self, records: Sequence[Record], beside: Callable[[Connection], None] = lambda _: None
    ) -> None:
        """Write all records in one transaction, and what is done `beside` them.

        Raises StoreUnavailable; NonceUsed when a nonce is taken.
        """
        if not records:
            return
        batch = _sort(records)

        def work(connection: Connection) -> None:
            self._put(connection, batch)
            beside(connection)

        try:
            self._write(work, _fact_of(batch))
        except NonceUsed as clash:
            raise NonceUsed(self._nonce_used(batch.nonces)) from clash

    def load(self, ended_since: datetime, now: datetime | None = None) -> Unfinished:
        wanted = union(
            select(parents.c.parent_id).where(WORKING_PARENT),
            select(parents.c.parent_id).where(parents.c.closed_at >= ended_since),
            select(orders.c.parent_id).where(UNSETTLED_ORDER),
        )
        in_order = (parents.c.created_at, parents.c.parent_id)
        with self._reading() as connection:
            rows = connection.execute(
                select(parents).where(parents.c.parent_id.in_(wanted)).order_by(*in_order)
            )
            found_parents = [mapping.PARENT.record(row) for row in rows]
            found_orders = self._orders(connection, orders.c.parent_id, [p.parent_id for p in found_parents])
            found_fills = self._fills(connection, [order.order_id for order in found_orders])
            found_queries = {
                row.query_id: mapping.QUERY.record(row)
                for ids in _slices([parent.query_id for parent in found_parents])
                for row in connection.execute(select(queries).where(queries.c.query_id.in_(ids)))
            }
            for row in connection.execute(select(queries).where(WORKING_QUERY)):
                found_queries[row.query_id] = mapping.QUERY.record(row)
            fresh = select(nonces).where(nonces.c.expires_at >= ended_since)
            found_nonces = [mapping.NONCE.record(row) for row in connection.execute(fresh)]
            learned = select(haircuts).order_by(*haircuts.primary_key)
            found_haircuts = [mapping.HAIRCUT.record(row) for row in connection.execute(learned)]
            in_force = select(halts).where(halts.c.halt_id.not_in(select(halt_lifts.c.halt_id)))
            in_force = in_force.order_by(halts.c.set_at, halts.c.halt_id)
            found_halts = [mapping.HALT.record(row) for row in connection.execute(in_force)]
            held = connection.execute(select(portfolio).order_by(*portfolio.primary_key))
            found_positions = [mapping.POSITION.record(row) for row in held]
            own = select(slices).where(slices.c.ended_at.is_(None)).order_by(*slices.primary_key)
            found_slices = [mapping.SLICE.record(row) for row in connection.execute(own)]
            booked = connection.execute(select(func.max(fills.c.booking))).scalar()
            found_days = snapshots.last_days(connection)
            found_bases = [
                mapping.BALANCE_BASE.record(row) for row in connection.execute(select(balance_bases))
            ]
            found_since = self._since_base(connection)
            as_set = select(risk_limits).order_by(risk_limits.c.set_at, risk_limits.c.change_id)
            found_limits = [mapping.RISK_LIMIT.record(row) for row in connection.execute(as_set)]
            found_traded = [] if now is None else self._traded(connection, now)
            found_day = [] if now is None else self._day_fills(connection, now)
            found_changes = [] if now is None else self._changes(connection)
            tripped = select(halts).where(halts.c.source == errors.VENUE_BREAKER)
            found_trips = [mapping.HALT.record(row) for row in connection.execute(tripped)]
        return Unfinished(
            queries=tuple(sorted(found_queries.values(), key=lambda q: (q.accepted_at, q.query_id))),
            parents=tuple(found_parents),
            orders=tuple(sorted(found_orders, key=lambda o: (o.created_at, o.order_id))),
            fills=tuple(found_fills),
            nonces=tuple(found_nonces),
            haircuts=tuple(found_haircuts),
            halts=tuple(found_halts),
            positions=tuple(found_positions),
            booking=booked or 0,
            snapshot_days=found_days,
            bases=tuple(found_bases),
            base_fills=tuple(found_since),
            slices=tuple(found_slices),
            risk_limits=tuple(found_limits),
            traded=tuple(found_traded),
            day_fills=tuple(found_day),
            changes=tuple(found_changes),
            breaker_halts=tuple(found_trips),
        )

    @staticmethod
    def _traded(connection: Connection, now: datetime) -> list[Traded]:
        """Return what orders that ended within 24 hours traded, for the risk controls."""
        o = orders.c
        asked = select(
            o.user_id,
            o.bot,
            o.exchange,
            o.account,
            o.symbol,
            o.usd_value,
            o.filled_quantity,
            o.quantity,
            o.closed_at,
        ).where(o.closed_at >= now - DAY - MINUTE, o.filled_quantity > Decimal(0))
        return [
            Traded(
                where=Scope(row.user_id, row.bot, row.exchange, row.account, row.symbol),
                usd=traded_usd(row.usd_value or Decimal(0), row.filled_quantity, row.quantity),
                closed_at=row.closed_at,
            )
            for row in connection.execute(asked)
        ]

    @staticmethod
    def _changes(connection: Connection) -> list[tuple[Scope, HistoryEntry]]:
        """Return the latest changes of orders that exchanges know of, oldest first."""
        o = orders.c
        asked = (
            select(o.user_id, o.bot, o.exchange, o.account, o.symbol, order_history)
            .join(order_history, order_history.c.order_id == o.order_id)
            .where(o.cross_id.is_(None))
            .order_by(order_history.c.history_id.desc())
            .limit(RECENT)
        )
        found = [
            (Scope(row.user_id, row.bot, row.exchange, row.account, row.symbol), mapping.HISTORY.record(row))
            for row in connection.execute(asked)
        ]
        return found[::-1]

    @staticmethod
    def _since_base(connection: Connection) -> list[Fill]:
        """Return what traded at the exchanges since shortly before the balances they are compared with."""
        found: list[Fill] = []
        for base in connection.execute(
            select(balance_bases.c.exchange, balance_bases.c.account, balance_bases.c.asked_at)
        ):
            asked = select(fills).where(
                fills.c.exchange == base.exchange,
                fills.c.account == base.account,
                fills.c.cross_id.is_(None),
                fills.c.timestamp >= base.asked_at - MINUTE,
            )
            found += [mapping.FILL.record(row) for row in connection.execute(asked)]
        return found

    @staticmethod
    def _day_fills(connection: Connection, now: datetime) -> list[Fill]:
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        asked = select(fills).where(fills.c.timestamp >= midnight).order_by(fills.c.timestamp)
        return [mapping.FILL.record(row) for row in connection.execute(asked)]

    def risk_changes(self, limit: int) -> list[RiskLimit]:
        """Return the latest changes of limits, newest first."""
        newest = (risk_limits.c.set_at.desc(), risk_limits.c.change_id.desc())
        with self._reading() as connection:
            rows = connection.execute(select(risk_limits).order_by(*newest).limit(limit))
            return [mapping.RISK_LIMIT.record(row) for row in rows]

    def query(self, user: str, query_id: str) -> Query | None:
        return self._one_query(and_(queries.c.query_id == query_id, queries.c.user_id == user))

    def query_by_key(self, user: str, idempotency_key: str) -> Query | None:
        if not idempotency_key:
            return None
        return self._one_query(and_(queries.c.user_id == user, queries.c.idempotency_key == idempotency_key))

    def order(self, user: str, order_id: str) -> Order | None:
        return self._one_order(and_(orders.c.order_id == order_id, orders.c.user_id == user))

    def orders_of_query(self, query_id: str) -> list[Order]:
        with self._reading() as connection:
            found = self._orders(connection, orders.c.query_id, [query_id])
        return sorted(found, key=lambda order: (order.attempt, order.order_id))

    def past_orders(self, wanted: OrderFilter) -> tuple[list[Order], str | None]:
        """Return one page of orders and the cursor of the next page, or None."""
        asked = select(orders).where(*_matching(wanted))
        if wanted.cursor is not None:
            moment, _, order_id = wanted.cursor.partition("|")
            try:
                before = datetime.fromisoformat(moment).astimezone(UTC)
            except ValueError:
                raise ValueError("cursor: not one of ours; send the previous page's back as it is") from None
            after_page = tuple_(
                literal(before, orders.c.timestamp.type), literal(order_id, orders.c.order_id.type)
            )
            asked = asked.where(tuple_(orders.c.timestamp, orders.c.order_id) < after_page)
        newest_first = asked.order_by(orders.c.timestamp.desc(), orders.c.order_id.desc())
        with self._reading() as connection:
            rows = connection.execute(newest_first.limit(wanted.limit + 1)).all()
            found = self._with_fill_ids(connection, rows)
        page = found[: wanted.limit]
        return page, page_key(page[-1]) if len(found) > wanted.limit else None

    def fills(self, order_ids: Iterable[str]) -> list[Fill]:
        with self._reading() as connection:
            return self._fills(connection, list(order_ids))

    def history(self, order_id: str) -> list[HistoryEntry]:
        asked = select(order_history).where(order_history.c.order_id == order_id)
        with self._reading() as connection:
            rows = connection.execute(asked.order_by(order_history.c.version))
            return [mapping.HISTORY.record(row) for row in rows]

    def order_by_venue_id(self, exchange: str, account: str, client_order_id: str) -> Order | None:
        return self._one_order(
            and_(
                orders.c.exchange == exchange,
                orders.c.account == account,
                orders.c.client_order_id == client_order_id,
            )
        )

    def halts(self, limit: int) -> list[KeptHalt]:
        """Return the halts in force, and after them those that were lifted, newest first, up to the limit."""
        lifted = halts.outerjoin(halt_lifts, halts.c.halt_id == halt_lifts.c.halt_id)
        asked = select(halts, halt_lifts.c.lifted_by, halt_lifts.c.lifted_at, halt_lifts.c.lift_reason)
        in_force_first = case((halt_lifts.c.halt_id.is_(None), 0), else_=1)
        newest_first = (in_force_first, halts.c.set_at.desc(), halts.c.halt_id.desc())
        with self._reading() as connection:
            rows = connection.execute(asked.select_from(lifted).order_by(*newest_first).limit(limit)).all()
            reports = {
                row.query_id: mapping.QUERY.record(row)
                for ids in _slices([row.halt_id for row in rows])
                for row in connection.execute(select(queries).where(queries.c.query_id.in_(ids)))
            }
        return [
            KeptHalt(
                halt=mapping.HALT.record(row),
                lift=None if row.lifted_at is None else mapping.HALT_LIFT.record(row),
                query=reports.get(row.halt_id),
            )
            for row in rows
        ]

    # --- For people and reports ------------------------------------------------------------------

    def costs(
        self,
        user: str,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        exchange: str | None = None,
        algo: str | None = None,
        limit: int = 1000,
    ) -> list[Cost]:
        """Return a user's costs that ended from `since` to before `until`, newest first up to the limit.

        `exchange` finds what traded there, also beside others.
        """
        asked = select(costs).where(costs.c.user_id == user)
        if since is not None:
            asked = asked.where(costs.c.ended_at >= since)
        if until is not None:
            asked = asked.where(costs.c.ended_at < until)
        if exchange is not None:
            names = literal(",").concat(costs.c.exchange).concat(",")
            asked = asked.where(names.contains(f",{exchange},", autoescape=True))
        if algo is not None:
            asked = asked.where(costs.c.algo == algo)
        newest_first = asked.order_by(costs.c.ended_at.desc(), costs.c.parent_id.desc())
        with self._reading() as connection:
            return [mapping.COST.record(row) for row in connection.execute(newest_first.limit(limit))]

    def earned(
        self,
        user: str,
        currency: str,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        bot: str | None = None,
        exchange: str | None = None,
        account: str | None = None,
    ) -> list[Earned]:
        """Sum up what a user's fills from `since` to before `until` have earned, for each day (UTC), bot,
        account and symbol."""
        by = (utc_day(fills.c.timestamp), fills.c.bot, fills.c.exchange, fills.c.account, fills.c.symbol)
        unvalued = or_(fills.c.value_currency.is_(None), fills.c.value.is_(None), fills.c.fee_value.is_(None))
        ours = [
            fills.c.user_id == user,
            or_(fills.c.value_currency == currency, fills.c.value_currency.is_(None)),
        ]
        for column, value in ((fills.c.bot, bot), (fills.c.exchange, exchange), (fills.c.account, account)):
            if value is not None:
                ours.append(column == value)
        if since is not None:
            ours.append(fills.c.timestamp >= since)
        if until is not None:
            ours.append(fills.c.timestamp < until)
        sums = (money_sum(fills.c.realised), money_sum(fills.c.fee_cost), money_sum(fills.c.value))
        asked = select(*by, func.count(), func.sum(case((unvalued, 1), else_=0)), *sums)
        with self._reading() as connection:
            rows = connection.execute(asked.where(*ours).group_by(*by).order_by(*by)).all()
        return [
            Earned(
                day=date.fromisoformat(day),
                bot=bot_,
                exchange=exchange_,
                account=account_,
                symbol=symbol,
                fills=count,
                unvalued_fills=int(missing),
                realised=realised or Decimal(0),
                fees=fees or Decimal(0),
                turnover=turnover or Decimal(0),
            )
            for day, bot_, exchange_, account_, symbol, count, missing, realised, fees, turnover in rows
        ]

    def snapshots(self, wanted: SnapshotFilter) -> tuple[list[Snapshot], Snapshot | None, str | None]:
        """Return a page of snapshots, newest first, the one before the page's oldest, and the next cursor.

        Raises ValueError for a cursor that is none of ours.
        """
        with self._reading() as connection:
            return snapshots.page(connection, wanted)

    def recent_queries(self, user: str | None, limit: int = 20) -> list[Query]:
        """Return the newest queries first; of every user when `user` is None."""
        newest_first = (queries.c.accepted_at.desc(), queries.c.query_id.desc())
        asked = select(queries).where(queries.c.erased_at.is_(None)).order_by(*newest_first).limit(limit)
        if user is not None:
            asked = asked.where(queries.c.user_id == user)
        with self._reading() as connection:
            return [mapping.QUERY.record(row) for row in connection.execute(asked)]

    def order_stats(self, user: str, wanted: OrderFilter) -> dict[str, object]:
        """Sum up a user's orders that a filter names (its limit and cursor are ignored), as JSON values.

        `fill_ratio` (symbol -> filled quantity / quantity) counts the orders that were sent to a venue;
        `crossed` is of what met inside. Amounts are by quote currency, for amounts of different currencies do
        not add up.
        """
        ours = _matching(replace(wanted, user=user))
        sent = and_(*ours, orders.c.sent_at.is_not(None))
        with self._reading() as connection:
            by_status = connection.execute(
                select(orders.c.status, func.count()).where(*ours).group_by(orders.c.status)
            ).all()
            by_symbol = connection.execute(
                select(orders.c.symbol, money_sum(orders.c.quantity), money_sum(orders.c.filled_quantity))
                .where(sent)
                .group_by(orders.c.symbol)
            ).all()
            joined = fills.join(orders, fills.c.order_id == orders.c.order_id)
            traded = connection.execute(
                select(
                    fills.c.symbol,
                    fills.c.liquidity,
                    func.count(),
                    money_sum_product(fills.c.price, fills.c.quantity),
                )
                .select_from(joined)
                .where(*ours)
                .group_by(fills.c.symbol, fills.c.liquidity)
            ).all()
            paid = connection.execute(
                select(fills.c.fee_currency, money_sum(fills.c.fee))
                .select_from(joined)
                .where(*ours)
                .group_by(fills.c.fee_currency)
            ).all()
            inside = connection.execute(
                select(
                    orders.c.symbol,
                    func.count(),
                    money_sum(orders.c.quote_filled),
                    money_sum(orders.c.fee_saved),
                )
                .where(*ours, orders.c.cross_id.is_not(None))
                .group_by(orders.c.symbol)
            ).all()
        notional: dict[str, Decimal] = {}
        made: dict[str, Decimal] = {}
        for symbol, liquidity, _, amount in traded:
            quote = symbol.partition(":")[0].partition("/")[2]
            notional[quote] = notional.get(quote, Decimal(0)) + amount
            if liquidity == Liquidity.MAKER.value:
                made[quote] = made.get(quote, Decimal(0)) + amount
        crossed: dict[str, Decimal] = {}
        saved: dict[str, Decimal] = {}
        for symbol, _, amount, fees in inside:
            quote = symbol.partition(":")[0].partition("/")[2]
            crossed[quote] = crossed.get(quote, Decimal(0)) + amount
            saved[quote] = saved.get(quote, Decimal(0)) + fees
        return {
            "orders": sum(count for _, count in by_status),
            "by_status": dict(sorted(map(tuple, by_status))),
            "fills": sum(count for _, _, count, _ in traded),
            "notional": {quote: plain(amount) for quote, amount in sorted(notional.items())},
            "maker_share": {
                quote: _ratio(made.get(quote, Decimal(0)), amount)
                for quote, amount in sorted(notional.items())
            },
            "fees": {currency: plain(amount) for currency, amount in sorted(map(tuple, paid))},
            "fill_ratio": {
                symbol: _ratio(filled, asked) for symbol, asked, filled in sorted(map(tuple, by_symbol))
            },
            "crossed": {
                "orders": sum(count for _, count, _, _ in inside),
                "notional": {quote: plain(amount) for quote, amount in sorted(crossed.items())},
                "fees_saved": {quote: plain(amount) for quote, amount in sorted(saved.items())},
            },
        }

    # --- Copies of exchanges' lists ----------------------------------------------------------------

    def covered(self, subject: Subject) -> list[Span]:
        with self._reading() as connection:
            return histories.covered(connection, subject)

    def keep(self, subject: Subject, rows: Sequence[VenueOrder | Transfer], covered: Sequence[Span]) -> None:
        self._write(lambda connection: histories.keep(connection, subject, rows, covered))

    def unended_orders(self, subject: Subject, span: Span) -> list[VenueOrder]:
        with self._reading() as connection:
            return histories.unended_orders(connection, subject, span)

    def listed_orders(self, wanted: VenueFilter) -> tuple[list[ListedOrder], str | None]:
        with self._reading() as connection:
            return histories.listed_orders(connection, wanted)

    def listed_transfers(self, wanted: VenueFilter) -> tuple[list[Transfer], str | None]:
        with self._reading() as connection:
            return histories.listed_transfers(connection, wanted)

    # --- The mail outbox -------------------------------------------------------------------------

    def unsent_notices(self, due_before: datetime, limit: int = 200) -> list[tuple[Notice, int]]:
        """Return the letters that wait and are due, oldest first, each with its number of failed attempts."""
        asked = select(notices).where(UNSENT_NOTICE, notices.c.next_attempt_at <= due_before)
        with self._reading() as connection:
            rows = connection.execute(asked.order_by(notices.c.created_at, notices.c.notice_id).limit(limit))
            return [(mapping.NOTICE.record(row), row.attempts) for row in rows]

    def notices_of(self, group: str, since: datetime) -> int:
        """Count the letters of a group that were written since."""
        asked = select(func.count()).select_from(notices)
        asked = asked.where(notices.c.letter_group == group, notices.c.created_at >= since)
        with self._reading() as connection:
            return int(connection.execute(asked).scalar_one())

    def query_of_notice(self, query_id: str) -> Query | None:
        """Return a query whoever asked it: only for letters to the operators."""
        return self._one_query(queries.c.query_id == query_id)

    def notices_sent(self, notice_ids: Sequence[str], now: datetime, remark: str | None = None) -> None:
        """Mark letters as sent; `remark` keeps what was not perfect about it."""
        self._mark(notice_ids, {"sent_at": now, "last_error": remark})

    def notices_failed(self, notice_ids: Sequence[str], error: str, next_attempt_at: datetime) -> None:
        """Count a failed attempt and say when to try again."""
        again = {"attempts": notices.c.attempts + 1, "last_error": error, "next_attempt_at": next_attempt_at}
        self._mark(notice_ids, again)

    def notices_put_off(self, until: Mapping[str, datetime]) -> None:
        """Say when letters are due: notice id -> when. It is no failed attempt."""
        for moment in sorted(set(until.values())):
            ids = [notice_id for notice_id, due in until.items() if due == moment]
            self._mark(ids, {"next_attempt_at": moment})

    def notices_undeliverable(self, notice_ids: Sequence[str], error: str) -> None:
        """Keep letters that nobody is going to send, with the reason; they are not asked for again."""
        self._mark(notice_ids, {"last_error": error, "next_attempt_at": None})

    def _mark(self, notice_ids: Sequence[str], values: Mapping[str, Any]) -> None:
        if not notice_ids:
            return
        marks = [
            update(notices).where(notices.c.notice_id.in_(ids), notices.c.sent_at.is_(None)).values(**values)
            for ids in _slices(list(notice_ids))
        ]

        def work(connection: Connection) -> None:
            for mark in marks:
                connection.execute(mark)

        self._write(work)

    # --- Accounts and housekeeping ---------------------------------------------------------------

    def remember_account(self, account: Account) -> Account:
        """Keep an account as first seen and return what is kept, so that its client id tag never changes."""
        asked = select(accounts).where(
            accounts.c.exchange == account.exchange,
            accounts.c.account == account.account,
            accounts.c.mode == account.mode,
        )

        def work(connection: Connection) -> None:
            connection.execute(self._statements.new_account, mapping.ACCOUNT.row(account))

        self._write(work)
        with self._reading() as connection:
            return mapping.ACCOUNT.record(connection.execute(asked).one())

    def purge(self, now: datetime) -> tuple[int, int]:
        """Remove expired nonces and erase finished queries nobody wants archived; return how many of each.

        What is erased are the words. The row, its idempotency key and its digest stay: a request repeated
        after a month must still not be traded twice. A query with an order at a venue is not finished.
        """
        old_nonces = delete(nonces).where(nonces.c.expires_at < now)
        old_queries = (
            update(queries)
            .where(
                queries.c.record_in_db.is_(False),
                queries.c.erased_at.is_(None),
                queries.c.status != QueryStatus.WORKING.value,
                queries.c.finished_at < now - ARCHIVE_KEEPS_UNRECORDED,
                queries.c.query_id.not_in(select(orders.c.query_id).where(UNSETTLED_ORDER)),
                queries.c.query_id.not_in(select(parents.c.query_id).where(WORKING_PARENT)),
            )
            .values(
                parameters={},
                result=None,
                error_message="",
                error_details={},
                error_venue_code=None,
                error_venue_message=None,
                erased_at=now,
            )
        )

        removed = (0, 0)

        def work(connection: Connection) -> None:
            nonlocal removed
            removed = (connection.execute(old_nonces).rowcount, connection.execute(old_queries).rowcount)

        self._write(work)
        return removed

    def ping(self) -> None:
        """Raise StoreUnavailable unless the database can be written to now."""

        def work(connection: Connection) -> None:
            connection.execute(delete(nonces).where(nonces.c.key_id == ""))

        self._write(work)

    # --- Ownership -------------------------------------------------------------------------------

    def acquire_owner(self) -> None:
        """Make this process the one that may run the engine on this database; raise AlreadyOwned."""
        if self.url.drivername == "sqlite":
            self._owner_file = self._owner_file or FileOwner(sqlite_file(self.url))
            self._owner_file.acquire()
            return
        with self._writing:
            self._drop_connection()
            self._owns = True
            try:
                self._connect()
            except AlreadyOwned:
                self._owns = False
                raise
            except sql_errors.DBAPIError as error:
                self._owns = False
                raise _unavailable(error) from error

    def close(self) -> None:
        """Close every connection and let the ownership go."""
        with self._writing:
            self._drop_connection()
            self._owns = False
            if self._owner_file is not None:
                self._owner_file.release()
        self._writer.dispose()
        self._reader.dispose()

    # --- Writing ---------------------------------------------------------------------------------

    def _write(self, work: Callable[[Connection], None], fact: _Fact | None = None) -> None:
        """Do the work in a transaction, once more when the connection is lost; `fact` shows it was done."""
        with self._writing:
            in_doubt = fact in self._doubtful
            for again in (True, False):
                committing = False
                try:
                    connection = self._connect()
                    if in_doubt and _is_there(connection, fact):
                        break
                    with connection.begin() as transaction:
                        work(connection)
                        committing = True
                        transaction.commit()
                    break
                except (NonceUsed, sql_errors.IntegrityError) as error:
                    if in_doubt and self._was_done(fact):
                        break  # the lost COMMIT arrived after we had looked
                    if isinstance(error, NonceUsed):
                        raise
                    raise AssertionError(f"a record breaks a promise of the store: {error.orig}") from error
                except AlreadyOwned as error:
                    if in_doubt and fact is not None:
                        self._doubtful.add(fact)
                    raise OwnershipLost(str(error)) from error
                except sql_errors.DBAPIError as error:
                    self._drop_connection()
                    lost = error.connection_invalidated
                    # SQLite may have written the end of a transaction before the disk failed it.
                    in_doubt = in_doubt or (committing and (lost or self.url.drivername == "sqlite"))
                    if again and lost:
                        continue
                    if in_doubt and self._was_done(fact):
                        break
                    raise _unavailable(error) from error
                except sql_errors.StatementError as error:
                    # A value that a column refuses: say it in the column's words.
                    raise (error.orig if isinstance(error.orig, TypeError | ValueError) else error) from error
            if fact is not None:
                self._doubtful.discard(fact)

    def _was_done(self, fact: _Fact | None) -> bool:
        """Look up a fact of a batch in doubt; raise CommitInDoubt when the database cannot be asked."""
        try:
            return _is_there(self._connect(), fact)
        except (sql_errors.DBAPIError, AlreadyOwned) as error:
            self._drop_connection()
            if fact is not None:
                self._doubtful.add(fact)
            raise CommitInDoubt(f"the database was lost during a commit: {error}") from error

    def _nonce_used(self, rows: list[Values]) -> str:
        """Say which nonce of a batch was there before; else one is twice in the batch itself."""
        pairs: list[tuple[str, str]] = [(row["key_id"], row["nonce"]) for row in rows]
        with self._reading() as connection:
            for key_id, nonce in pairs:
                asked = select(literal(1)).where(nonces.c.key_id == key_id, nonces.c.nonce == nonce)
                if connection.execute(asked).first() is not None:
                    return nonce
        return next((nonce for key_id, nonce in pairs if pairs.count((key_id, nonce)) > 1), pairs[0][1])

    def _put(self, connection: Connection, batch: _Batch) -> None:
        prepared = self._statements
        if batch.nonces:
            try:
                connection.execute(prepared.new_nonce, batch.nonces)
            except sql_errors.IntegrityError as error:
                raise NonceUsed(batch.nonces[0]["nonce"]) from error
        for statement, rows in (
            (prepared.put_query, list(batch.queries.values())),
            (prepared.put_parent, list(batch.parents.values())),
            (prepared.put_order, list(batch.orders.values())),
            (prepared.new_history, batch.history),
            (prepared.new_fill, batch.fills),
            (prepared.new_notice, batch.notices),
            (prepared.put_cost, list(batch.costs.values())),
            (prepared.put_haircut, list(batch.haircuts.values())),
            (prepared.put_position, list(batch.positions.values())),
            (prepared.put_slice, list(batch.slices.values())),
            (prepared.put_base, list(batch.bases.values())),
            (prepared.new_slice_change, batch.slice_changes),
            (prepared.new_snapshot_day, batch.snapshot_days),
            (prepared.new_snapshot, batch.snapshots),
            (prepared.new_halt, batch.halts),
            (prepared.new_halt_lift, batch.halt_lifts),
            (prepared.new_news, list(batch.news.values())),
            (prepared.new_risk_limit, batch.risk_limits),
        ):
            if rows:
                connection.execute(statement, rows)

    def _connect(self) -> Connection:
        """Return the writer's connection; with the owner lock on it, where we own the database."""
        if self._connection is None:
            connection = self._writer.connect()
            try:
                if self._owns:
                    self._session = lock_session(connection, self._session)
            except BaseException:
                connection.invalidate()
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _drop_connection(self) -> None:
        """Close the connection for good, so that what was locked on it is not kept by a pool."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate()
            connection.close()

    # --- Reading ---------------------------------------------------------------------------------

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        """Give a connection that sees one moment of the database."""
        try:
            with self._reader.connect() as connection:
                yield connection
        except (sql_errors.DBAPIError, sql_errors.TimeoutError) as error:
            raise _unavailable(error) from error

    def _one_query(self, condition: ColumnElement[bool]) -> Query | None:
        with self._reading() as connection:
            row = connection.execute(select(queries).where(condition)).first()
        return None if row is None else mapping.QUERY.record(row)

    def _one_order(self, condition: ColumnElement[bool]) -> Order | None:
        with self._reading() as connection:
            found = self._with_fill_ids(connection, connection.execute(select(orders).where(condition)).all())
        return found[0] if found else None

    def _orders(self, connection: Connection, column: Column[str], ids: list[str]) -> list[Order]:
        """Return the orders with one of these ids in a column, in no order."""
        rows: list[Row[Any]] = []
        for some in _slices(ids):
            rows += connection.execute(select(orders).where(column.in_(some)))
        return self._with_fill_ids(connection, rows)

    def _with_fill_ids(self, connection: Connection, rows: Sequence[Row[Any]]) -> list[Order]:
        fill_ids: dict[str, list[str]] = {}
        for ids in _slices([row.order_id for row in rows]):
            pairs = select(fills.c.order_id, fills.c.fill_id).where(fills.c.order_id.in_(ids))
            for order_id, fill_id in connection.execute(pairs):
                fill_ids.setdefault(order_id, []).append(fill_id)
        return [mapping.ORDER.record(row, fill_ids=frozenset(fill_ids.get(row.order_id, ()))) for row in rows]

    def _fills(self, connection: Connection, order_ids: list[str]) -> list[Fill]:
        found = [
            mapping.FILL.record(row)
            for ids in _slices(order_ids)
            for row in connection.execute(select(fills).where(fills.c.order_id.in_(ids)))
        ]
        return sorted(found, key=lambda fill: (fill.timestamp, fill.fill_id))


class _Statements:
    """The statements of the order path, built once."""

    def __init__(self, backend: str) -> None:
        insert: Any = postgresql.insert if backend == "postgresql" else sqlite.insert

        def put(table: Table) -> Any:
            statement = insert(table)
            key = [column.name for column in table.primary_key]
            new = {
                column.name: statement.excluded[column.name] for column in table.c if column.name not in key
            }
            return statement.on_conflict_do_update(index_elements=key, set_=new)

        self.put_query = put(queries)
        self.put_parent = put(parents)
        self.put_order = put(orders)
        self.put_cost = put(costs)
        self.put_haircut = put(haircuts)
        self.put_position = put(portfolio)
        self.put_slice = put(slices)
        self.put_base = put(balance_bases)
        self.new_slice_change = slice_changes.insert()
        self.new_snapshot_day = snapshot_days.insert()
        self.new_snapshot = tables.snapshots.insert()
        self.new_history = order_history.insert()
        self.new_fill = fills.insert()
        self.new_nonce = nonces.insert()
        self.new_notice = notices.insert()
        self.new_halt = halts.insert()
        self.new_halt_lift = halt_lifts.insert()
        self.new_risk_limit = risk_limits.insert()
        self.new_account = insert(accounts).on_conflict_do_nothing()
        self.new_news = insert(notification_news).on_conflict_do_nothing()


def _sort(records: Sequence[Record]) -> _Batch:
    """Turn records into rows by table; of several versions of one thing the last is kept."""
    batch = _Batch()
    for record in records:
        if isinstance(record, Order):
            batch.orders[record.order_id] = mapping.ORDER.row(record)
        elif isinstance(record, HistoryEntry):
            batch.history.append(mapping.HISTORY.row(record))
        elif isinstance(record, Fill):
            batch.fills.append(mapping.FILL.row(record))
        elif isinstance(record, Parent):
            batch.parents[record.parent_id] = mapping.PARENT.row(record)
        elif isinstance(record, Query):
            batch.queries[record.query_id] = mapping.QUERY.row(record)
        elif isinstance(record, NonceUse):
            batch.nonces.append(mapping.NONCE.row(record))
        elif isinstance(record, Notice):
            batch.notices.append(mapping.NOTICE.row(record))
        elif isinstance(record, Cost):
            batch.costs[record.parent_id] = mapping.COST.row(record)
        elif isinstance(record, Haircut):
            place = (record.exchange, record.account, record.currency, record.side.value)
            batch.haircuts[place] = mapping.HAIRCUT.row(record)
        elif isinstance(record, Position):
            batch.positions[record.key] = mapping.POSITION.row(record)
        elif isinstance(record, Slice):
            batch.slices[record.key] = mapping.SLICE.row(record)
        elif isinstance(record, SliceChange):
            batch.slice_changes.append(mapping.SLICE_CHANGE.row(record))
        elif isinstance(record, BalanceBase):
            batch.bases[record.exchange, record.account] = mapping.BALANCE_BASE.row(record)
        elif isinstance(record, SnapshotDay):
            batch.snapshot_days.append(mapping.SNAPSHOT_DAY.row(record))
        elif isinstance(record, PositionSnapshot):
            batch.snapshots.append(mapping.POSITION_SNAPSHOT.row(record))
        elif isinstance(record, Halt):
            batch.halts.append(mapping.HALT.row(record))
        elif isinstance(record, HaltLift):
            batch.halt_lifts.append(mapping.HALT_LIFT.row(record))
        elif isinstance(record, RiskLimit):
            batch.risk_limits.append(mapping.RISK_LIMIT.row(record))
        news = news_of(record)
        if news is not None:
            batch.news[news] = {"kind": news.kind, "subject": news.subject, "status": news.status}
    return batch


@dataclass(frozen=True, slots=True)
class _Fact:
    """The key of a row that is in the database if and only if its batch is."""

    table: Table
    key: tuple[tuple[str, object], ...]  # (column, value)


def _fact_of(batch: _Batch) -> _Fact | None:
    """Return a fact of the batch.

    A batch of latest states alone has none and needs none: putting it twice is putting it once.
    """
    for table, rows, key in (
        (order_history, batch.history, ("order_id", "version")),
        (fills, batch.fills, ("exchange", "account", "symbol", "fill_id", "side")),
        (notices, batch.notices, ("notice_id",)),
        (nonces, batch.nonces, ("key_id", "nonce")),
        (slice_changes, batch.slice_changes, ("change_id",)),
        (snapshot_days, batch.snapshot_days, ("day", "currency")),
        (halts, batch.halts, ("halt_id",)),
        (halt_lifts, batch.halt_lifts, ("halt_id",)),
        (risk_limits, batch.risk_limits, ("change_id",)),
    ):
        if rows:
            return _Fact(table, tuple((name, rows[0][name]) for name in key))
    return None


def _is_there(connection: Connection, fact: _Fact | None) -> bool:
    if fact is None:
        return False
    asked = select(literal(1)).where(*(fact.table.c[name] == value for name, value in fact.key))
    with connection.begin():
        return connection.execute(asked).first() is not None


def _matching(wanted: OrderFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [orders.c.user_id == wanted.user]
    for column, value in ((orders.c.bot, wanted.bot), (orders.c.exchange, wanted.exchange)):
        if value is not None:
            conditions.append(column == value)
    if wanted.symbol is not None:
        conditions.append(orders.c.symbol == wanted.symbol)
    if wanted.since is not None:
        conditions.append(orders.c.timestamp >= wanted.since)
    if wanted.until is not None:
        conditions.append(orders.c.timestamp < wanted.until)
    return conditions


def _slices(ids: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(ids), IDS_PER_STATEMENT):
        yield ids[start : start + IDS_PER_STATEMENT]


def _ratio(part: Decimal, whole: Decimal) -> str | None:
    return plain(EXACT.divide(part, whole).quantize(Decimal("0.000001"))) if whole else None


def _unavailable(error: sql_errors.SQLAlchemyError) -> StoreUnavailable:
    cause = getattr(error, "orig", None) or error
    return StoreUnavailable(f"the database does not answer as it should: {str(cause).strip()}")
