"""Where records live: the protocol, and the one in memory that ships with the product.

The durable truth is the order ledger. A store commits all records of one turn in one transaction or none of
them, and can hand back everything that is not finished, so that a restart is a replay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Protocol, TypeVar

from ems.core import errors
from ems.core.breaker import RECENT
from ems.core.messages import NonceUse
from ems.core.records import (
    ENDED_PARENT,
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
    Phase,
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
from ems.core.risk_ledger import DAY, MINUTE, Traded, place_of, traded_usd
from ems.core.risk_limits import Scope
from ems.core.spans import Span


class StoreUnavailable(Exception):
    """The store could not commit or read; nothing of the attempt is in it."""


class NonceUsed(Exception):
    """A nonce is already in the store. The engine refuses replays before they get here: a broken promise."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Unfinished:
    """Everything a restart must pick up again, and what ended so recently that late news may still come."""

    queries: tuple[Query, ...]  # working, and the query of every parent below
    parents: tuple[Parent, ...]  # not ended, or ended since, or with an order below
    orders: tuple[Order, ...]  # not settled, and every order of the parents above; fill_ids included
    fills: tuple[Fill, ...]  # of those orders
    nonces: tuple[NonceUse, ...] = ()  # not expired by then
    haircuts: tuple[Haircut, ...] = ()  # all of them
    halts: tuple[Halt, ...] = ()  # not lifted
    positions: tuple[Position, ...] = ()  # all of them
    booking: int = 0  # the last one
    snapshot_days: Mapping[str, date] = field(default_factory=dict)  # currency -> the last that was taken
    slices: tuple[Slice, ...] = ()  # in force
    bases: tuple[BalanceBase, ...] = ()  # all of them
    base_fills: tuple[Fill, ...] = ()  # at the exchanges, since shortly before the base of their account
    risk_limits: tuple[RiskLimit, ...] = ()  # all of them, in the order in which they were set
    traded: tuple[Traded, ...] = ()  # by orders that ended within the last 24 hours
    day_fills: tuple[Fill, ...] = ()  # since midnight UTC, oldest first
    # (whose order and where, a change of it): the latest that exchanges know of, oldest first
    changes: tuple[tuple[Scope, HistoryEntry], ...] = ()
    breaker_halts: tuple[Halt, ...] = ()  # every one that the breaker has set, lifted or not


@dataclass(frozen=True, kw_only=True, slots=True)
class OrderFilter:
    """Which past orders are wanted; `cursor` continues a previous page. Newest first."""

    user: str
    bot: str | None = None
    exchange: str | None = None
    symbol: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    limit: int = 100
    cursor: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class SnapshotFilter:
    """Which snapshots are wanted, and what of them. Newest first; `cursor` is the last day seen."""

    user: str
    currency: str
    bot: str | None = None
    exchange: str | None = None
    account: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    limit: int = 31
    cursor: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptHalt:
    """A halt as it stands: in force while nobody has lifted it."""

    halt: Halt
    lift: HaltLift | None
    query: Query | None  # what came of it; its result is the report


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """What an exchange lists: the orders of an account, in one market or all, or what moved in and out."""

    exchange: str
    account: str
    mode: str
    what: str  # "orders" | "transfers"
    symbol: str = ""  # only where the exchange lists one market at a time


@dataclass(frozen=True, kw_only=True, slots=True)
class VenueFilter:
    """Which rows of an exchange's own lists are wanted. Newest first; `cursor` continues a previous page."""

    exchange: str
    account: str
    mode: str
    user: str | None  # orders that other users placed through us are left out; None: all are shown
    since: datetime
    until: datetime
    limit: int = 100
    symbol: str | None = None
    currency: str | None = None
    cursor: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ListedOrder:
    """An order of an exchange's list, and whose it is if it was placed through us."""

    order: VenueOrder
    order_id: str | None = None
    user: str | None = None
    bot: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Earned:
    """What the fills of one day (UTC), bot, account and symbol have earned, in the reporting currency."""

    day: date
    bot: str
    exchange: str
    account: str
    symbol: str
    fills: int
    unvalued_fills: int  # whose value, or that of whose fee, nobody knew
    realised: Decimal
    fees: Decimal
    turnover: Decimal


class HistoryStore(Protocol):
    """Keeps copies of exchanges' own lists, and which stretches of time were read whole."""

    def covered(self, subject: Subject) -> list[Span]: ...

    def keep(self, subject: Subject, rows: Sequence[VenueOrder | Transfer], covered: Sequence[Span]) -> None:
        """Put rows in place of those of the same number, and say what is covered now, in one transaction."""

    def unended_orders(self, subject: Subject, span: Span) -> list[VenueOrder]:
        """Return the kept orders placed in this time that were still open when they were last read."""

    def listed_orders(self, wanted: VenueFilter) -> tuple[list[ListedOrder], str | None]:
        """Return one page and the cursor of the next. Raises ValueError for a cursor that is none of ours."""

    def listed_transfers(self, wanted: VenueFilter) -> tuple[list[Transfer], str | None]: ...


class Store(Protocol):
    """What the runner and the desk need of a database."""

    def commit(self, records: Sequence[Record]) -> None:
        """Write all records in one transaction. Raises StoreUnavailable; NonceUsed when a nonce is taken."""

    def load(self, ended_since: datetime, now: datetime | None = None) -> Unfinished:
        """Return what is unfinished or has ended since; with `now` also what was traded lately."""

    def query(self, user: str, query_id: str) -> Query | None: ...

    def query_by_key(self, user: str, idempotency_key: str) -> Query | None: ...

    def order(self, user: str, order_id: str) -> Order | None: ...

    def orders_of_query(self, query_id: str) -> list[Order]: ...

    def past_orders(self, wanted: OrderFilter) -> tuple[list[Order], str | None]:
        """Return one page of orders and the cursor of the next page, or None."""

    def fills(self, order_ids: Iterable[str]) -> list[Fill]: ...

    def history(self, order_id: str) -> list[HistoryEntry]: ...

    def order_by_venue_id(self, exchange: str, account: str, client_order_id: str) -> Order | None: ...

    def risk_changes(self, limit: int) -> list[RiskLimit]:
        """Return the latest changes of limits, newest first."""

    def halts(self, limit: int) -> list[KeptHalt]:
        """Return the halts in force, and after them those that were lifted, newest first, up to the limit."""


class MemoryStore:
    """The store of tests and simulations: a dictionary per table, and the same promises."""

    def __init__(self) -> None:
        self.queries: dict[str, Query] = {}
        self.parents: dict[str, Parent] = {}
        self.orders: dict[str, Order] = {}
        # (exchange, account, symbol, fill id, side) -> fill: both sides of a trade with ourselves have one id
        self.fill_rows: dict[tuple[str, str, str, str, str], Fill] = {}
        self.history_rows: dict[str, dict[int, HistoryEntry]] = {}  # order id -> version -> entry
        self.nonces: dict[tuple[str, str], NonceUse] = {}  # (key id, nonce) -> its use
        self.notices: list[Notice] = []
        self.cost_rows: dict[str, Cost] = {}  # parent id -> what it cost
        # (exchange, account, currency, side) -> haircut
        self.haircuts: dict[tuple[str, str, str, str], Haircut] = {}
        self.keys: dict[tuple[str, str], str] = {}  # (user, idempotency key) -> query id
        self.positions: dict[tuple[str, ...], Position] = {}
        self.snapshot_days: dict[tuple[str, date], SnapshotDay] = {}  # (currency, day) -> its mark
        self.snapshots: list[PositionSnapshot] = []
        self.bases: dict[tuple[str, str], BalanceBase] = {}  # (exchange, account) -> base
        self.slices: dict[tuple[str, ...], Slice] = {}
        self.slice_changes: list[SliceChange] = []
        self.halt_rows: dict[str, Halt] = {}  # halt id -> halt
        self.halt_lifts: dict[str, HaltLift] = {}  # halt id -> who lifted it
        self.risk_limits: list[RiskLimit] = []
        self.spans: dict[Subject, list[Span]] = {}  # what was read of exchanges' own lists
        # (exchange, account, mode, symbol, number) -> order
        self.venue_orders: dict[tuple[str, str, str, str, str], VenueOrder] = {}
        # (exchange, account, mode, kind, number) -> transfer
        self.transfer_rows: dict[tuple[str, str, str, str, str], Transfer] = {}

    def commit(self, records: Sequence[Record]) -> None:
        for record in records:
            if isinstance(record, NonceUse) and (record.key_id, record.nonce) in self.nonces:
                raise NonceUsed(record.nonce)
        for record in records:
            self._put(record)

    def _put(self, record: Record) -> None:
        if isinstance(record, Order):
            self.orders[record.order_id] = record
        elif isinstance(record, HistoryEntry):
            entries = self.history_rows.setdefault(record.order_id, {})
            assert record.version not in entries, (
                f"history is append-only: {record.order_id} {record.version}"
            )
            entries[record.version] = record
        elif isinstance(record, Fill):
            key = (record.exchange, record.account, record.symbol, record.fill_id, str(record.side))
            assert key not in self.fill_rows, f"a fill is booked once: {key}"
            self.fill_rows[key] = record
        elif isinstance(record, Parent):
            self.parents[record.parent_id] = record
        elif isinstance(record, Query):
            self.queries[record.query_id] = record
            self.keys[record.user, record.idempotency_key] = record.query_id
        elif isinstance(record, NonceUse):
            self.nonces[record.key_id, record.nonce] = record
        elif isinstance(record, Notice):
            self.notices.append(record)
        elif isinstance(record, Cost):
            self.cost_rows[record.parent_id] = record
        elif isinstance(record, Haircut):
            place = (record.exchange, record.account, record.currency, str(record.side))
            self.haircuts[place] = record
        elif isinstance(record, Position):
            self.positions[record.key] = record
        elif isinstance(record, BalanceBase):
            self.bases[record.exchange, record.account] = record
        elif isinstance(record, SnapshotDay):
            day = (record.currency, record.day)
            assert day not in self.snapshot_days, f"a snapshot is taken once a day: {day}"
            self.snapshot_days[day] = record
        elif isinstance(record, PositionSnapshot):
            self.snapshots.append(record)
        elif isinstance(record, Slice):
            self.slices[record.key] = record
        elif isinstance(record, SliceChange):
            self.slice_changes.append(record)
        elif isinstance(record, Halt):
            assert record.halt_id not in self.halt_rows, f"a halt is set once: {record.halt_id}"
            self.halt_rows[record.halt_id] = record
        elif isinstance(record, HaltLift):
            assert record.halt_id not in self.halt_lifts, f"a halt is lifted once: {record.halt_id}"
            self.halt_lifts[record.halt_id] = record
        elif isinstance(record, RiskLimit):
            self.risk_limits.append(record)

    def load(self, ended_since: datetime, now: datetime | None = None) -> Unfinished:
        unsettled = {o.parent_id for o in self.orders.values() if o.phase is not Phase.SETTLED}
        parents = tuple(
            p
            for p in self.parents.values()
            if p.state not in ENDED_PARENT
            or p.parent_id in unsettled
            or (p.closed_at is not None and p.closed_at >= ended_since)
        )
        wanted = {p.parent_id for p in parents}
        asked = {p.query_id for p in parents}
        orders = tuple(o for o in self.orders.values() if o.parent_id in wanted)
        ids = {o.order_id for o in orders}
        return Unfinished(
            queries=tuple(
                q for q in self.queries.values() if q.status is QueryStatus.WORKING or q.query_id in asked
            ),
            parents=parents,
            orders=orders,
            fills=tuple(f for f in self.fill_rows.values() if f.order_id in ids),
            nonces=tuple(n for n in self.nonces.values() if n.expires_at >= ended_since),
            haircuts=tuple(self.haircuts[place] for place in sorted(self.haircuts)),
            halts=tuple(h for h in self.halt_rows.values() if h.halt_id not in self.halt_lifts),
            positions=tuple(self.positions[key] for key in sorted(self.positions)),
            slices=tuple(one for _, one in sorted(self.slices.items()) if one.ended_at is None),
            bases=tuple(base for _, base in sorted(self.bases.items())),
            base_fills=tuple(f for f in self.fill_rows.values() if self._since_base(f)),
            booking=max((f.booking for f in self.fill_rows.values()), default=0),
            snapshot_days=dict(sorted(self.snapshot_days)),
            risk_limits=tuple(self.risk_limits),
            traded=() if now is None else self._traded(now),
            day_fills=() if now is None else self._day_fills(now),
            changes=() if now is None else self._changes(),
            breaker_halts=tuple(h for h in self.halt_rows.values() if h.source == errors.VENUE_BREAKER),
        )

    def _since_base(self, fill: Fill) -> bool:
        base = self.bases.get((fill.exchange, fill.account))
        return base is not None and fill.cross_id is None and fill.timestamp >= base.asked_at - MINUTE

    def _traded(self, now: datetime) -> tuple[Traded, ...]:
        return tuple(
            Traded(
                where=place_of(o),
                usd=traded_usd(o.usd_value, o.filled_quantity, o.quantity),
                closed_at=o.closed_at,
            )
            for o in self.orders.values()
            if o.closed_at is not None and o.closed_at >= now - DAY - MINUTE and o.filled_quantity > 0
        )

    def _changes(self) -> tuple[tuple[Scope, HistoryEntry], ...]:
        outside = (i for i, order in self.orders.items() if order.cross_id is None)
        entries = (entry for i in outside for entry in self.history_rows.get(i, {}).values())
        newest = sorted(entries, key=lambda e: (e.timestamp, e.order_id, e.version))[-RECENT:]
        return tuple((place_of(self.orders[e.order_id]), e) for e in newest)

    def _day_fills(self, now: datetime) -> tuple[Fill, ...]:
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        found = (f for f in self.fill_rows.values() if f.timestamp >= midnight)
        return tuple(sorted(found, key=lambda f: f.timestamp))

    def risk_changes(self, limit: int) -> list[RiskLimit]:
        return sorted(self.risk_limits, key=lambda r: (r.set_at, r.change_id), reverse=True)[:limit]

    def halts(self, limit: int) -> list[KeptHalt]:
        kept = [
            KeptHalt(halt=h, lift=self.halt_lifts.get(h.halt_id), query=self.queries.get(h.halt_id))
            for h in sorted(self.halt_rows.values(), key=lambda h: (h.set_at, h.halt_id), reverse=True)
        ]
        return sorted(kept, key=lambda one: one.lift is not None)[:limit]

    def query(self, user: str, query_id: str) -> Query | None:
        found = self.queries.get(query_id)
        return found if found is not None and found.user == user else None

    def query_by_key(self, user: str, idempotency_key: str) -> Query | None:
        return self.queries.get(self.keys.get((user, idempotency_key), ""))

    def order(self, user: str, order_id: str) -> Order | None:
        found = self.orders.get(order_id)
        return found if found is not None and found.user == user else None

    def orders_of_query(self, query_id: str) -> list[Order]:
        return sorted((o for o in self.orders.values() if o.query_id == query_id), key=lambda o: o.attempt)

    def past_orders(self, wanted: OrderFilter) -> tuple[list[Order], str | None]:
        rows = sorted(
            (o for o in self.orders.values() if _matches(o, wanted)),
            key=lambda o: (o.created_at, o.order_id),
            reverse=True,
        )
        if wanted.cursor is not None:
            rows = [o for o in rows if page_key(o) < wanted.cursor]
        page = rows[: wanted.limit]
        return page, page_key(page[-1]) if len(rows) > wanted.limit else None

    def fills(self, order_ids: Iterable[str]) -> list[Fill]:
        ids = set(order_ids)
        return sorted((f for f in self.fill_rows.values() if f.order_id in ids), key=lambda f: f.timestamp)

    def history(self, order_id: str) -> list[HistoryEntry]:
        entries = self.history_rows.get(order_id, {})
        return [entries[version] for version in sorted(entries)]

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
        rows = [
            cost
            for cost in self.cost_rows.values()
            if cost.user == user
            and (since is None or cost.ended_at >= since)
            and (until is None or cost.ended_at < until)
            and (exchange is None or exchange in cost.exchange.split(","))
            and (algo is None or cost.algo == algo)
        ]
        return sorted(rows, key=lambda cost: (cost.ended_at, cost.parent_id), reverse=True)[:limit]

    def order_by_venue_id(self, exchange: str, account: str, client_order_id: str) -> Order | None:
        for order in self.orders.values():
            if (order.exchange, order.account, order.client_order_id) == (exchange, account, client_order_id):
                return order
        return None

    # --- Copies of exchanges' lists

    def covered(self, subject: Subject) -> list[Span]:
        return list(self.spans.get(subject, ()))

    def keep(self, subject: Subject, rows: Sequence[VenueOrder | Transfer], covered: Sequence[Span]) -> None:
        for row in rows:
            if isinstance(row, VenueOrder):
                number = (row.exchange, row.account, row.mode, row.symbol, row.exchange_order_id)
                self.venue_orders[number] = row
            else:
                self.transfer_rows[row.exchange, row.account, row.mode, row.kind, row.transfer_id] = row
        self.spans[subject] = list(covered)

    def unended_orders(self, subject: Subject, span: Span) -> list[VenueOrder]:
        return [
            row
            for row in self.venue_orders.values()
            if (row.exchange, row.account, row.mode) == (subject.exchange, subject.account, subject.mode)
            and subject.symbol in ("", row.symbol)
            and span[0] <= row.created_at < span[1]
            and not row.final
        ]

    def listed_orders(self, wanted: VenueFilter) -> tuple[list[ListedOrder], str | None]:
        found = []
        for row in self.venue_orders.values():
            ours = None
            if row.client_order_id:
                ours = self.order_by_venue_id(row.exchange, row.account, row.client_order_id)
            whose = ListedOrder(order=row)
            if ours is not None:
                whose = ListedOrder(order=row, order_id=ours.order_id, user=ours.user, bot=ours.bot)
            fits = (row.exchange, row.account, row.mode) == (wanted.exchange, wanted.account, wanted.mode)
            fits = fits and wanted.since <= row.created_at < wanted.until
            fits = fits and wanted.symbol in (None, row.symbol)
            if fits and (wanted.user is None or whose.user in (None, wanted.user)):
                found.append(whose)
        return _page(found, lambda one: list_key(one.order.created_at, one.order.exchange_order_id), wanted)

    def listed_transfers(self, wanted: VenueFilter) -> tuple[list[Transfer], str | None]:
        found = [
            row
            for row in self.transfer_rows.values()
            if (row.exchange, row.account, row.mode) == (wanted.exchange, wanted.account, wanted.mode)
            and wanted.since <= row.at < wanted.until
            and wanted.currency in (None, row.currency)
        ]
        return _page(found, lambda row: list_key(row.at, row.transfer_id), wanted)


Row = TypeVar("Row")


def _page(rows: list[Row], key: Callable[[Row], str], wanted: VenueFilter) -> tuple[list[Row], str | None]:
    if wanted.cursor is not None:
        read_list_key(wanted.cursor)
    newest_first = sorted(rows, key=key, reverse=True)
    if wanted.cursor is not None:
        newest_first = [row for row in newest_first if key(row) < wanted.cursor]
    page = newest_first[: wanted.limit]
    return page, key(page[-1]) if len(newest_first) > wanted.limit else None


def list_key(at: datetime, number: str) -> str:
    """Return the cursor of a row of an exchange's list: sorts as (time, number) does."""
    return f"{at.astimezone(UTC).isoformat(timespec='microseconds')}|{number}"


def read_list_key(cursor: str) -> tuple[datetime, str]:
    """Read a cursor back; raise ValueError for one that is none of ours."""
    moment, separator, number = cursor.partition("|")
    try:
        at = datetime.fromisoformat(moment)
    except ValueError:
        separator = ""
    if not separator or at.tzinfo is None:
        raise ValueError("cursor: not one of ours; send the previous page's back as it is")
    return at.astimezone(UTC), number


def page_key(order: Order) -> str:
    """Return the cursor of an order: sorts as (created_at, order_id) does."""
    return f"{order.created_at.isoformat(timespec='microseconds')}|{order.order_id}"


def _matches(order: Order, wanted: OrderFilter) -> bool:
    return (
        order.user == wanted.user
        and (wanted.bot is None or order.bot == wanted.bot)
        and (wanted.exchange is None or order.exchange == wanted.exchange)
        and (wanted.symbol is None or order.symbol == wanted.symbol)
        and (wanted.since is None or order.created_at >= wanted.since)
        and (wanted.until is None or order.created_at < wanted.until)
    )
