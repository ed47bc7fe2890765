"""Where records live: the protocol, and the one in memory that ships with the product.

The durable truth is the order ledger. A store commits all records of one turn in one transaction or none of
them, and can hand back everything that is not finished, so that a restart is a replay.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from ems.core.messages import NonceUse
from ems.core.records import (
    ENDED_PARENT,
    Cost,
    Fill,
    Haircut,
    HistoryEntry,
    Notice,
    Order,
    Parent,
    Phase,
    Query,
    QueryStatus,
    Record,
)


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


class Store(Protocol):
    """What the runner and the desk need of a database."""

    def commit(self, records: Sequence[Record]) -> None:
        """Write all records in one transaction. Raises StoreUnavailable; NonceUsed when a nonce is taken."""

    def load(self, ended_since: datetime) -> Unfinished: ...

    def query(self, user: str, query_id: str) -> Query | None: ...

    def query_by_key(self, user: str, idempotency_key: str) -> Query | None: ...

    def order(self, user: str, order_id: str) -> Order | None: ...

    def orders_of_query(self, query_id: str) -> list[Order]: ...

    def past_orders(self, wanted: OrderFilter) -> tuple[list[Order], str | None]:
        """Return one page of orders and the cursor of the next page, or None."""

    def fills(self, order_ids: Iterable[str]) -> list[Fill]: ...

    def history(self, order_id: str) -> list[HistoryEntry]: ...

    def order_by_venue_id(self, exchange: str, account: str, client_order_id: str) -> Order | None: ...


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

    def load(self, ended_since: datetime) -> Unfinished:
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
        )

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
