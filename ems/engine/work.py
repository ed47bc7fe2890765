"""The work in hand: every query, parent, order and fill that is not long over, and how to find them.

All of it can be rebuilt from the store. Nothing here decides anything.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from ems.algos import ledger
from ems.core import errors
from ems.core.child import Child
from ems.core.codec import exchange_problem
from ems.core.messages import (
    FillReport,
    OrderStatus,
    Problem,
    Side,
)
from ems.core.records import (
    ENDED_PARENT,
    Fill,
    Halt,
    Leg,
    Order,
    Parent,
    Phase,
    Query,
    QueryStatus,
    Slice,
    Status,
)
from ems.core.rest import rest_of
from ems.core.slices import claims_seen_by
from ems.engine.account import Account
from ems.engine.reducing import let_pass

ZERO = Decimal(0)


KEEP_ENDED_S = 600.0  # ended work stays in memory this long, so that late news finds it
KEYS_KEPT = 50_000


@dataclass
class LegRun:
    """What a leg at work knows beside its records."""

    funds_refusals: int = 0
    rate_refusals: int = 0
    size_refusals: int = 0  # for a step or a size we did not know of
    refused_quantity: Decimal | None = None
    free: Decimal | None = None
    balance_after: datetime | None = None  # waiting for a balance asked for after this
    markets_after: datetime | None = None  # waiting for the market's rules, asked for after this
    problem: Problem | None = None  # why it stops
    note: str = ""  # what it waits for, for people
    wait_until: datetime | None = None
    decided_at: datetime | None = None
    # (query id, until when): its order was called back to meet one of that query's, and nothing is placed
    held: tuple[str, datetime] | None = None


@dataclass
class Tries:
    """How often in a row one thing was refused for now, and until when it waits to be tried again."""

    refusals: int = 0
    until: datetime | None = None

    def waits(self, now: datetime) -> bool:
        return self.until is not None and now < self.until


@dataclass
class Run:
    """What a working parent knows beside its records; forgotten by a restart without harm."""

    problem: Problem | None = None  # why all of it stops
    note: str = ""
    legs: dict[int, LegRun] = field(default_factory=dict)  # place of the leg -> what it knows
    reviewed_at: datetime | None = None  # when the plan was last compared with a new one
    blocked: int = 0  # legs of the plan that had dropped out by then
    looking_since: datetime | None = None  # when a new plan first lacked books
    resting: Tries = field(default_factory=Tries)  # placing what is to wait at the exchange
    firing: dict[str, Tries] = field(default_factory=dict)  # purpose -> sending what has waited here

    def fire(self, purpose: str) -> Tries:
        return self.firing.setdefault(purpose, Tries())

    def leg(self, index: int) -> LegRun:
        return self.legs.setdefault(index, LegRun())


class Work:
    """The memory of the engine."""

    def __init__(self, accounts: Iterable[Account], mark: str):
        self.mark = mark  # eight hex digits that start every client order id of this installation
        self.release = ""  # version and hash of the settings, in every order
        self.accounts: dict[tuple[str, str], Account] = {
            a.key: a for a in accounts
        }  # (exchange, account) -> account
        self.halts: dict[str, Halt] = {}  # halt id -> halt in force
        self.slices: dict[tuple[str, str, str, str], Slice] = {}  # (user, bot, exchange, account) -> slice
        self._asker: tuple[str, str] | None = None  # (user, bot) whose command is being judged
        self.queries: dict[str, Query] = {}
        self.parents: dict[str, Parent] = {}
        self.children: dict[str, Child] = {}  # order id -> child
        self.fills: dict[str, list[Fill]] = {}  # order id -> fills
        self.runs: dict[str, Run] = {}  # parent id -> run
        self.orders_of: dict[str, list[str]] = {}  # parent id -> order ids, oldest first
        self.parents_of: dict[str, list[str]] = {}  # query id -> parent ids
        # parent id -> until when the rest of its order, called back from the exchange, waits for another
        self.called_back: dict[str, datetime] = {}
        # (exchange, account, symbol, side) -> ids of orders that are out, or may be
        self.out: dict[tuple[str, str, str, Side], dict[str, None]] = {}
        self.by_client_id: dict[str, str] = {}  # client order id -> order id
        # (exchange, account, symbol, exchange id) -> order id: some venues count ids per symbol
        self.by_exchange_id: dict[tuple[str, str, str, str], str] = {}
        self.keys: OrderedDict[tuple[str, str], str] = OrderedDict()  # (user, idempotency key) -> query id
        self.digests: dict[str, str] = {}  # query id -> digest of what was asked
        # (exchange, account) -> ids of parents not ended that have a leg there, oldest first
        self.at_work: dict[tuple[str, str], dict[str, None]] = {}
        # order id -> what the exchange last said has filled; more than is booked: fills are on their way
        self.said_filled: dict[str, Decimal] = {}
        self.recalled: dict[str, datetime] = {}  # order id -> when it was taken back into memory

    def orders_of_parent(self, parent_id: str) -> list[Order]:
        """Return the orders of a parent, oldest first."""
        return [self.children[order_id].order for order_id in self.orders_of[parent_id]]

    def recall(self, order: Order, fills: Iterable[Fill], now: datetime) -> None:
        """Take an ended order back into memory for a while, so that late news finds it."""
        self.index(Child(order=order))
        self.fills[order.order_id] = list(fills)
        self.recalled[order.order_id] = now

    def orders_of_query(self, query_id: str) -> list[Order]:
        """Return the orders of a query, oldest first."""
        return [
            self.children[order_id].order
            for parent_id in self.parents_of.get(query_id, ())
            for order_id in self.orders_of.get(parent_id, ())
        ]

    def halted(
        self, exchange: str, account: str, symbol: str | None = None, user: str | None = None
    ) -> Halt | None:
        """Return a halt that holds here; without a symbol or user only one that holds for all of them."""
        if not self.halts:
            return None
        return next((h for h in self.halts.values() if h.covers(exchange, account, symbol, user)), None)

    def halt_of(self, order: Order) -> Halt | None:
        """Return a halt that keeps an order from being sent."""
        if let_pass(order):
            return None
        return self.halted(order.exchange, order.account, order.symbol, order.user)

    def no_account(self, exchange: str, account: str) -> Problem:
        names = {name for name, _ in self.accounts}
        problem = exchange_problem(exchange, names)
        if problem is not None:
            return problem
        configured = sorted(a for name, a in self.accounts if name == exchange)
        return errors.problem(
            errors.EXCHANGE_UNKNOWN,
            f"account: {exchange} has no account {account!r} here; configured: {', '.join(configured)}",
            hint="Leave account out to use the default one.",
            details={"field": "account", "value": account},
        )

    def find(self, account: Account, report: FillReport | OrderStatus) -> str | None:
        """Find our order behind a report of a stream or a list; None for one that is not ours."""
        if report.order_id is not None:
            return report.order_id if report.order_id in self.children else None
        client_id, exchange_id = report.client_order_id, report.exchange_order_id
        if client_id and client_id in self.by_client_id:
            return self.by_client_id[client_id]
        if not exchange_id or (client_id and not self.is_ours(client_id)):
            return None
        if report.symbol is not None:
            return self.by_exchange_id.get((*account.key, report.symbol, exchange_id))
        for (exchange, name, _, known_id), order_id in self.by_exchange_id.items():
            if (exchange, name, known_id) == (*account.key, exchange_id):
                return order_id
        return None

    def evict(self, now: datetime) -> None:
        """Drop ended work from memory once no late news is expected; the store keeps it."""
        for query_id, query in list(self.queries.items()):
            if query.status is QueryStatus.WORKING or query.finished_at is None:
                continue
            if (now - query.finished_at).total_seconds() < KEEP_ENDED_S:
                continue
            parent_ids = self.parents_of.get(query_id, [])
            if any(self.parents[p].state not in ENDED_PARENT for p in parent_ids):
                continue  # a resting limit order outlives its query
            order_ids = [order_id for p in parent_ids for order_id in self.orders_of[p]]
            if any(self.children[order_id].lookup.haunted for order_id in order_ids):
                continue
            if any(
                (now - (self.parents[p].closed_at or now)).total_seconds() < KEEP_ENDED_S for p in parent_ids
            ):
                continue
            for parent_id in self.parents_of.pop(query_id, []):
                del self.parents[parent_id]
                self.runs.pop(parent_id, None)
                for order_id in self.orders_of.pop(parent_id):
                    self.forget_order(order_id)
            del self.queries[query_id]
            self.keys.pop((query.user, query.idempotency_key), None)
            self.digests.pop(query_id, None)

        for order_id, since in list(self.recalled.items()):
            if (now - since).total_seconds() > KEEP_ENDED_S and not self.children[order_id].lookup.haunted:
                del self.recalled[order_id]
                self.orders_of.pop(self.children[order_id].order.parent_id, None)
                self.forget_order(order_id)

    def forget_order(self, order_id: str) -> None:
        order = self.children.pop(order_id).order
        self.said_filled.pop(order_id, None)
        self.out.get((order.exchange, order.account, order.symbol, order.side), {}).pop(order_id, None)
        self.fills.pop(order_id, None)
        self.by_client_id.pop(order.client_order_id, None)
        if order.exchange_order_id is not None:
            key = (order.exchange, order.account, order.symbol, order.exchange_order_id)
            self.by_exchange_id.pop(key, None)

    def is_ours(self, client_id: str | None) -> bool:
        return client_id is not None and client_id.replace("-", "").startswith(self.mark)

    def remember(self, query: Query) -> None:
        self.queries[query.query_id] = query
        self.digests[query.query_id] = query.body_digest
        self.keys[query.user, query.idempotency_key] = query.query_id
        if len(self.keys) > KEYS_KEPT:
            self.keys.popitem(last=False)

    def add_parent(self, parent: Parent) -> None:
        self.save_parent(parent)
        self.orders_of.setdefault(parent.parent_id, [])
        self.runs[parent.parent_id] = Run()
        parents = self.parents_of.setdefault(parent.query_id, [])
        if parent.parent_id not in parents:
            parents.append(parent.parent_id)

    def index(self, child: Child) -> None:
        order = child.order
        self.keep(child)
        self.orders_of.setdefault(order.parent_id, []).append(order.order_id)
        self.by_client_id[order.client_order_id] = order.order_id
        if order.exchange_order_id is not None:
            key = (order.exchange, order.account, order.symbol, order.exchange_order_id)
            self.by_exchange_id[key] = order.order_id

    def keep(self, child: Child) -> None:
        """Keep the latest picture of an order, and whether it may trade."""
        order = child.order
        self.children[order.order_id] = child
        ids = self.out.setdefault((order.exchange, order.account, order.symbol, order.side), {})
        if order.phase is Phase.SETTLED and not child.lookup.haunted:
            ids.pop(order.order_id, None)
        else:
            ids[order.order_id] = None

    @contextmanager
    def asking(self, user: str, bot: str) -> Iterator[None]:
        """Say for whom `claims` are counted meanwhile: whose slice is theirs to spend, whose is not."""
        before, self._asker = self._asker, (user, bot)
        try:
            yield
        finally:
            self._asker = before

    def claims(self, account: Account, whose: tuple[str, str] | None = None) -> dict[str, Decimal]:
        """Return what is not to be spent, by currency: what work in progress may still spend, and what the
        slices leave out of reach of whoever asks, if somebody does."""
        claims: dict[str, Decimal] = {}
        for _, currency, amount in self.claimed(account):
            claims[currency] = claims.get(currency, ZERO) + amount
        slices, asker = self.slices_at(account), whose or self._asker
        if not slices or asker is None:
            return claims
        return claims_seen_by(
            self.slices.get((*asker, *account.key)),
            [(one, self.claims_of(account, one.user, one.bot)) for one in slices],
            {c: account.holdings.usable(c) for c in account.holdings.total},
            claims,
            self.claims_of(account, *asker),
        )

    def claims_of(self, account: Account, user: str, bot: str) -> dict[str, Decimal]:
        """Return what one bot's work may still spend, by currency."""
        claims: dict[str, Decimal] = {}
        for parent, currency, amount in self.claimed(account):
            if (parent.user, parent.bot) == (user, bot):
                claims[currency] = claims.get(currency, ZERO) + amount
        return claims

    def slices_at(self, account: Account) -> list[Slice]:
        """Return the slices of an account, in order of user and bot."""
        return [one for key, one in sorted(self.slices.items()) if key[2:] == account.key]

    def has_slice(self, user: str, bot: str) -> bool:
        """Say whether a bot has a slice anywhere."""
        return any(key[:2] == (user, bot) for key in self.slices)

    def claimed(self, account: Account) -> Iterator[tuple[Parent, str, Decimal]]:
        """Tell what each parent at work may still spend here: (parent, currency, amount), one by one."""
        for parent_id in self.at_work.get(account.key, ()):
            parent = self.parents[parent_id]
            orders = self.orders_of_parent(parent_id)
            if parent.algo == "direct":  # one leg; most of what is at work, so it is kept quick
                rest = rest_of(orders) if orders else None
                amount = ledger.committed(orders) + (ZERO if rest is None else rest.reserved)
                yield parent, parent.legs[0].paid_in, max(amount, ZERO)
                continue
            own = ledger.by_leg(parent, orders)
            if parent.goal.get("kind") in ("convert", "liquidate"):
                for (exchange, name, currency), amount in ledger.pools(parent, own).items():
                    if (exchange, name) == account.key and currency != parent.goal["end"]:
                        yield parent, currency, max(amount, ZERO)
                continue
            for index in ledger.current(parent):
                leg = parent.legs[index]
                if (leg.exchange, leg.account) != account.key:
                    continue
                yield parent, leg.source, max(ledger.budget(parent, own, index), ZERO)

    def count_open(self, account: Account, symbol: str) -> tuple[int, int]:
        """Count our orders at the exchange in a market: all, and those that wait for a price there."""
        ids = (order_id for side in Side for order_id in self.out.get((*account.key, symbol, side), ()))
        orders = [self.children[order_id].order for order_id in ids]
        there = [o for o in orders if o.status is not Status.CREATED]  # the others wait with us
        return len(there), sum(o.order_type.waits and not o.emulated for o in there)

    def leg_of(self, order: Order) -> Leg:
        return self.parents[order.parent_id].legs[order.leg]

    def held_by_orders(self, account: Account) -> dict[str, Decimal]:
        """Return what the venue holds for our open orders, by currency."""
        held: dict[str, Decimal] = {}
        for child in self.children.values():
            order = child.order
            if order.phase is Phase.SETTLED or (order.exchange, order.account) != account.key:
                continue
            if order.status is Status.CREATED:
                continue  # the venue has never heard of it
            source = self.leg_of(order).paid_in
            held[source] = held.get(source, ZERO) + ledger.committed([order])
        return held

    def interested(self, account: Account, symbol: str) -> list[tuple[str, int]]:
        """Return (parent id, place of leg) of the open legs that trade this market of this account."""
        return [
            (parent_id, index)
            for parent_id in self.at_work.get(account.key, ())
            for index in ledger.current(self.parents[parent_id])
            if (leg := self.parents[parent_id].legs[index]).symbol == symbol
            and leg.closed_at is None
            and (leg.exchange, leg.account) == account.key
        ]

    def parents_at(self, account: Account) -> list[Parent]:
        """Return the parents not ended that have a leg at this account."""
        return [self.parents[parent_id] for parent_id in self.at_work.get(account.key, ())]

    def save_parent(self, parent: Parent) -> None:
        """Keep the latest picture of a parent, and where it is at work."""
        self.parents[parent.parent_id] = parent
        for key in {(leg.exchange, leg.account) for leg in parent.legs}:
            ids = self.at_work.setdefault(key, {})
            if parent.state in ENDED_PARENT:
                ids.pop(parent.parent_id, None)
            else:
                ids[parent.parent_id] = None

    def mode_of(self, exchange: str | None) -> str:
        modes = {a.mode for a in self.accounts.values() if exchange is None or a.exchange == exchange}
        return "live" if "live" in modes else "paper"
