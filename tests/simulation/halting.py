"""A person who halts here and there, by call or into the database of a dead server, and lifts it again: later
than it is proven, sooner, or never. And what must hold of every halt."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from random import Random
from typing import TYPE_CHECKING

from ems.core.messages import (
    AmendRefused,
    AmendRequest,
    HaltTrading,
    LimitOrder,
    NewOrder,
    OrderType,
    PlaceOrder,
    Refusal,
    Rejected,
    Request,
    ResumeTrading,
    Side,
    TimeInForce,
    VenueReport,
    Withdraw,
)
from ems.core.records import Halt, Order, Query, QueryStatus
from server.halting import written_halt
from tests.simulation.clock import START

if TYPE_CHECKING:
    from tests.simulation.world import Ask, World

PERSON = "carol"
HALT_UNTIL_S = 85.0
HELD_S = 2.0  # so long an order may wait for its turn under an exchange's rate limit
SCOPES = (
    HaltTrading(all=True),
    HaltTrading(exchange="alpha"),
    HaltTrading(exchange="beta", account="default"),
    HaltTrading(user="alice"),
    HaltTrading(user="bob"),
    HaltTrading(symbol="ETH/USDT"),
    HaltTrading(exchange="alpha", symbol="BTC/USDT"),
    HaltTrading(user="alice", exchange="beta", symbol="ETH/USDT"),
)


class Desk:
    """Halts and lifts, with a randomness of its own: the rest of the seed goes on as it would."""

    def __init__(self, world: World):
        self._world = world
        self.rng = Random(world.seed * 7919 + 1)
        self.placed_under: list[str] = []  # what went out where a halt held
        self.written = 0  # halts put on record while no server ran

    def begin(self) -> None:
        rng, clock = self.rng, self._world.clock
        for _ in range(rng.randint(1, 3)):
            at = rng.uniform(5, HALT_UNTIL_S)
            clock.after(at, self._halt)
            for _ in range(rng.randint(0, 8)):  # bots are busy just then
                clock.after(at + rng.uniform(-4, 2), self._rest)

    def _rest(self) -> None:
        """Let a bot place an order that rests, or nearly so."""
        world, rng = self._world, self.rng
        exchange = rng.choice(list(world.fee_modes))
        price = world.prices[exchange, "ETH/USDT"] * (1 - Decimal(rng.randint(0, 20)) / 10000)
        order = LimitOrder(
            exchange=exchange,
            side=Side.BUY,
            symbol="ETH/USDT",
            quantity=Decimal(rng.randint(100, 2000)) / 10000,
            price=price.quantize(Decimal("0.01")),
        )
        world.ask(order, rng.choice(("bot1", "bot2")))

    def _halt(self) -> None:
        world, scope = self._world, self.rng.choice(SCOPES)
        if world.process is None and self.rng.random() < 0.5:
            self.written += 1
            halt_id, now = f"written-{self.written}", world.clock.now()
            world.disk.commit(written_halt(scope, query_id=halt_id, by=PERSON, mode="paper", now=now))
            lift = partial(self._lift_named, halt_id)
        else:
            lift = partial(self._lift, world.ask(scope, "desk", user=PERSON))
        if self.rng.random() < 0.7:
            world.clock.after(self.rng.uniform(0.1, 40), lift)
        if self.rng.random() < 0.4:
            world.clock.after(self.rng.uniform(0, 10), self._way_out)

    def _way_out(self) -> None:
        """Let the person sell under the halt, and a bot try to."""
        world, rng = self._world, self.rng
        order = PlaceOrder(
            exchange=rng.choice(list(world.fee_modes)),
            side=Side.SELL,
            symbol="ETH/USDT",
            quantity=Decimal(rng.randint(100, 1000)) / 10000,
            order_type=OrderType.MARKET,
            reduce_only=True,
        )
        world.ask(order, "desk", user=PERSON, role="admin")
        world.ask(order, rng.choice(("bot1", "bot2")))

    def _lift(self, ask: Ask) -> None:
        if isinstance(ask.answer, Query):
            self._lift_named(ask.answer.query_id)
        elif ask.answer is None:
            self._world.clock.after(1.0, partial(self._lift, ask))

    def _lift_named(self, halt_id: str) -> None:
        self._world.ask(ResumeTrading(halt_id=halt_id), "desk", user=PERSON)
        if self._world.clock.seconds < HALT_UNTIL_S and self.rng.random() < 0.5:
            self._world.clock.after(self.rng.uniform(0.01, 5), self._halt)

    def leaves(self, request: NewOrder | AmendRequest) -> None:
        """Look whether an order that goes to an exchange now may go."""
        order = self._world.disk.orders[request.order_id]
        for halt in _in_force(self._world):
            if _covers(halt, order):
                self.placed_under.append(f"{order.order_id} left under {halt.halt_id} ({halt.where})")


class Queue:
    """An exchange's rate limit, as a gateway keeps it: an order may wait a while, and be called back."""

    def __init__(self, rng: Random):
        self._rng = rng
        self._waiting: dict[str, NewOrder | AmendRequest] = {}

    def wait_s(self, request: Request) -> float:
        """Return how long a request has to wait; from then on it can be withdrawn."""
        if not isinstance(request, NewOrder | AmendRequest) or self._rng.random() < 0.6:
            return 0.0
        self._waiting[request.order_id] = request
        return self._rng.uniform(0, HELD_S)

    def goes(self, request: Request) -> bool:
        """Say whether its turn is still wanted."""
        return self._waiting.pop(request.order_id, None) is not None  # type: ignore[union-attr]

    def withdraw(self, withdrawn: Withdraw) -> VenueReport | None:
        """Return the answer to what does not go any more."""
        request = self._waiting.pop(withdrawn.order_id, None)
        if request is None:
            return None
        if isinstance(request, AmendRequest):
            return AmendRefused(
                order_id=request.order_id, refusal=Refusal.RATE_LIMIT, message="withdrawn", sent=False
            )
        return Rejected(
            order_id=request.order_id, refusal=Refusal.RATE_LIMIT, message="withdrawn", sent=False
        )


def broken_halts(world: World) -> list[str]:
    """Return what does not hold of the halts there were.

    H1 Where a halt holds nothing goes out, and not even an intent is written.
    H2 When it is called flat nothing of ours is open there by the exchange's own ledger, nor is until it is
       lifted; and that was read after the last order had ended.
    H3 Every halt ends: proven flat, or lifted before; once. A restart forgets none.
    H4 The letters say that it was set, and the one that it is flat comes exactly when it is.
    """
    if world.desk is None:
        return []
    found = [f"H1: {what}" for what in world.desk.placed_under]
    for halt in world.disk.halt_rows.values():
        lift = world.disk.halt_lifts.get(halt.halt_id)
        until = lift.lifted_at if lift is not None else world.clock.now()
        found += _intents(world, halt, until)
        query = world.disk.queries[halt.halt_id]
        proven = query.status is QueryStatus.DONE and bool((query.result or {}).get("flat"))
        if query.status is not QueryStatus.DONE or not (proven or lift):
            found.append(f"H3: {halt.halt_id} is {query.status}, {query.result}")
        if proven and query.finished_at is not None:
            found += _open_after(world, halt, query.finished_at, until)
            found += _unread(world, halt, query)
        letters = [n.subject for n in world.disk.notices if n.query_id == halt.halt_id]
        flat = sum(subject.startswith("flat:") for subject in letters)
        if flat != proven or not any("is halted" in subject for subject in letters) and not proven:
            found.append(f"H4: {halt.halt_id}, flat {proven}, has the letters {letters}")
    if world.process is not None:
        known = set(world.process.runner.engine.work.halts)
        on_record = {halt.halt_id for halt in _in_force(world)}
        if known != on_record:
            found.append(f"H3: in force in memory {known}, on record {on_record}")
    return found


def _intents(world: World, halt: Halt, until: datetime) -> list[str]:
    return [
        f"H1: {order.order_id} was {what} under {halt.halt_id} ({halt.where})"
        for order in world.disk.orders.values()
        if _covers(halt, order)
        for what, at in (("created", order.created_at), ("sent", order.sent_at))
        if at is not None and halt.set_at < at < until
    ]


def _open_after(world: World, halt: Halt, proven_at: datetime, until: datetime) -> list[str]:
    """Return what was open at an exchange between the proof and the lift."""
    found = []
    for venue in world.venues:
        ours = {o.client_order_id: o for o in world.disk.orders.values() if o.exchange == venue.exchange.name}
        for theirs in venue.account.orders.values():
            order = ours.get(theirs.client_order_id)
            if order is None or not _covers(halt, order):
                continue
            opened = START + timedelta(seconds=theirs.created_at)
            closed = world.clock.now() if theirs.open else START + timedelta(seconds=theirs.updated_at)
            if opened < until and closed > proven_at:
                found.append(f"H2: {order.order_id} was open from {opened} to {closed}, flat at {proven_at}")
    return found


def _unread(world: World, halt: Halt, query: Query) -> list[str]:
    """Return where nothing was read after the last order had ended: what is believed is not proven."""
    found = []
    for row in (query.result or {})["accounts"]:  # type: ignore[attr-defined]
        ends = [
            order.closed_at
            for order_id in (*row["canceled"], *row["filled"], *row["other"])
            if (order := world.disk.orders[order_id]).closed_at is not None
        ]
        read_at = None if row["read_at"] is None else datetime.fromisoformat(row["read_at"])
        if read_at is None or read_at < max([halt.set_at, *ends]):
            found.append(f"H2: {row['exchange']} was last read at {read_at}, {halt.halt_id} calls it flat")
    return found


def _in_force(world: World) -> list[Halt]:
    return [h for h in world.disk.halt_rows.values() if h.halt_id not in world.disk.halt_lifts]


def _covers(halt: Halt, order: Order) -> bool:
    if order.user == PERSON and order.reduce_only and order.time_in_force is TimeInForce.IOC:
        return False  # the way out that is left to a person
    # By the words of the halt alone: what the product makes of them is on trial.
    named = (halt.exchange, halt.account, halt.symbol, halt.user)
    has = (order.exchange, order.account, order.symbol, order.user)
    return all(wanted in (None, given) for wanted, given in zip(named, has, strict=True))
