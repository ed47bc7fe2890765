"""Answers that prove nothing, at every exchange: `./oms ambiguity`.

Each case is one request (a create, a cancel, an amendment, a look-up) that is answered wrongly, either
instead of the exchange acting on it or after it has. The product's own engine, runner and gateway talk to the
simulated exchange over loopback; what they believe is compared with the exchange's ledger at every record
they write and at the end:

    never REJECTED while the exchange has, or had, the order       never NOT_FOUND while it has it
    never a second order for one intention                         never a cancel reported done that was not
    never an amendment reported done or refused that was not       never a second one
    never an order lost: each one is found again, cancelled, and its fills are the ledger's

Private streams lose every message meanwhile (but `NUMBERED`): they would tell what the answer hides. Windows
and margins are shortened by the arguments of `Patience` and of the gateway; a simulator on loopback hides
nothing longer.
Where an answer makes the gateway keep silent for minutes (a ban), the engine is started afresh on its
records, as an operator would: the order must be found again all the same.

The last line is `cases=... wrong=...`; the exit status is 1 when something is wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from random import Random
from typing import Any

from ems.core.child import Patience
from ems.core.messages import (
    Amended,
    AmendRefused,
    AmendRequest,
    CancelAcked,
    CancelOrder,
    Found,
    LimitOrder,
    OrderStatus,
    OrderType,
    OutcomeUnknown,
    QueryOrder,
    Rejected,
    Request,
    Side,
    Submit,
    Ticket,
    TimeInForce,
    VenueReport,
)
from ems.core.records import ENDED, Order, Phase, Query, Record, Status
from ems.engine import Engine
from ems.engine.account import Account
from ems.loop import AsyncScheduler
from ems.runner import Runner
from ems.store import MemoryStore
from ems.venues.ccxt_gateway import CcxtGateway
from ems.venues.dialects import DIALECTS
from simulator.faults import Rule
from tests.limits import opened
from tests.venues.listed import ASK, BID, EXCHANGES, ListedVenue

REQUEST_TIMEOUT_S = 1.5
LATER_S = 6.0  # an answer slower than this comes too late
MARGIN_S = 0.5
WINDOW_S = 1.0
RESOLVE_S = 60.0
UNCLEAR_S = 2.0  # after this it is asked whether the exchange wished for silence
PLAYED_MAX = 3
LOOKED_S = 3.0  # how long look-ups go wrong: longer than all that "not found" would have to prove
LOOK_UPS = ("fetch", "open_orders", "closed_orders", "my_trades")
SILENCE = Rule(action="lost", kinds=("orders", "fills", "balances"))
LANES = 8  # worlds that share an exchange's cases
QUANTITY = Decimal("0.01")
PART = Decimal("0.004")  # of it filled before a cancel
RESTING = BID + 5  # the best price: nobody is ahead of us
MARK = "0e5a51b2"


@dataclass(frozen=True)
class Response:
    """One wrong answer: the fault that gives it."""

    action: str
    status: int = 500


HTML = (201, 204, 302, 400, 401, 403, 404, 408, 409, 418, 429)
HTML += (500, 502, 503, 504, 520, 521, 522, 523, 524, 530, 599)
RESPONSES: dict[str, Response] = {
    "closed without a byte": Response("refuse"),
    "connection reset": Response("reset"),
    "no answer": Response("hang"),
    "cut in the head": Response("header"),
    "cut in the body": Response("truncate"),
    "a body too slow": Response("slow"),
    "200 half of the JSON": Response("half"),
    "200 of nothing": Response("empty"),
    "200 of HTML": Response("html"),
    "200 null": Response("null"),
    "200 {}": Response("object"),
    "200 garbage": Response("garbage"),
    "the answer twice": Response("twice"),
    "another order's answer": Response("other"),
    **{f"{status} of HTML": Response("status", status) for status in HTML},
    "429 in its own words": Response("rate_limit"),
    "418 in its own words": Response("ban"),
    **{
        f"{status} in its own words": Response("failure", status)
        for status in (400, 401, 403, 404, 500, 502, 503, 504)
    },
}

# What is asked -> when the answer goes wrong.
ASKED: dict[str, tuple[str, ...]] = {
    "create": ("before", "after, resting", "after, taken"),
    "cancel": ("before", "after"),
    "amend": ("before", "after"),
    "fetch": ("unacknowledged", "acknowledged"),
}
# An exchange's own no is what we must believe: after it has acted it would be a lie, not an ambiguity.
OWN_NO = tuple(f"{status} in its own words" for status in (400, 401, 403, 404))
# Exchanges whose answers may name no order, so that another order's answer cannot be told from them. What the
# engine makes of it is judged all the same.
NAMES_NO_ORDER = {"kraken": "CancelOrder answers with a count, and an empty list of orders is anybody's"}
# Exchanges that find an order without a number only in lists: one of another moment, without ours, is like a
# true one. Only the gateway's word is let pass; what the engine makes of it is judged.
LISTS_ONLY = {"coinbase": "no look-up by client_order_id: open orders, then all since it was sent"}
# Exchanges that number what they tell: a message lost is a stream begun anew, never a silent one.
NUMBERED = {"coinbase": "sequence_num of a connection", "gemini": "socket_sequence"}
# Exchange -> answers to a look-up that are its own words for an order that is not there.
SAYS_ABSENT = dict.fromkeys(("coinbaseexchange", "bittrex"), "404 in its own words")

# Exchanges that forget an order cancelled without a fill, and say that there is none: so they document it.
FORGETS_UNFILLED = {
    "coinbaseexchange": "purged at once, GET /orders/:id answers 404",
    "bittrex": "on paper it speaks Coinbase Exchange's wire",
}


@dataclass(frozen=True)
class Case:
    exchange: str
    asked: str
    variant: str
    response: str

    @property
    def name(self) -> str:
        return f"{self.exchange} {self.asked} ({self.variant}): {self.response}"


@dataclass(frozen=True)
class Outcome:
    """What one case showed; `wrong` is empty when all is well."""

    case: Case
    wrong: tuple[str, ...]
    first: str  # the first report about the request, by its kind
    seconds: float


def cases(exchanges: Sequence[str] = EXCHANGES) -> list[Case]:
    return [
        Case(exchange, asked, variant, response)
        for exchange in exchanges
        for asked, variants in ASKED.items()
        for variant in variants
        for response in RESPONSES
        if not (RESPONSES[response].action == "twice" and variant == "before")  # there is nothing to repeat
        and not (SAYS_ABSENT.get(exchange) == response and asked == "fetch")
        and not (response in OWN_NO and asked in ("create", "amend") and variant.startswith("after"))
        and not (asked == "amend" and DIALECTS[exchange].amending is None)
        and not (asked == "amend" and RESPONSES[response].action == "other" and exchange in NAMES_NO_ORDER)
    ]


# --- The product, watched ---


class Witness:
    """Compares what is believed with the ledger, whenever something is believed."""

    def __init__(self, venue: ListedVenue):
        self.venue = venue
        self.wrong: list[str] = []
        self.told: list[VenueReport] = []
        self.store: MemoryStore
        self.names_orders: bool = True
        self.told_of_now: bool = True  # a list without the order is no list of another moment
        self.believed_wrongly = False  # something was said or written that is not so

    def truth(self, client_order_id: str) -> list[Any]:
        return list(self.venue.account.by_client_id.get(client_order_id, ()))

    def heard(self, report: VenueReport) -> None:
        """Judge a report of the gateway before the engine sees it."""
        order = self.store.orders.get(getattr(report, "order_id", None) or "")
        if order is None:
            return
        self.told.append(report)
        truth = self.truth(order.client_order_id)
        match report:
            case Rejected() if truth:
                self.wrong.append(f"the gateway said REJECTED ({report.message:.60}) of an order that exists")
            case OrderStatus(found=Found.NOT_FOUND) if (
                self.names_orders and self.told_of_now and any(map(self._remembered, truth))
            ):
                self.wrong.append("the gateway said NOT_FOUND of an order that exists")
            case OrderStatus(found=Found.CLOSED) if any(one.open for one in truth):
                self.wrong.append("the gateway said CLOSED of an open order")
            case CancelAcked(filled_quantity=filled) if any(one.open for one in truth):
                if self.names_orders or filled is not None:
                    self.wrong.append("the gateway said CANCELED of an open order")

    def _remembered(self, order: Any) -> bool:
        return order.open or order.filled_quantity > 0 or self.venue.name not in FORGETS_UNFILLED

    def written(self, order: Order) -> None:
        """Judge an order as the engine records it."""
        truth = self.truth(order.client_order_id)
        if len(truth) > 1:
            self.wrong.append(f"{len(truth)} orders for one intention")
        if order.status is Status.REJECTED and truth:
            self.wrong.append(f"REJECTED ({order.reason:.60}) while the exchange has the order")
        elif order.status in ENDED and any(one.open for one in truth):
            self.wrong.append(f"{order.status} while the exchange has it open")
        elif order.phase is Phase.SETTLED and truth:
            filled = sum((one.filled_quantity for one in truth), Decimal(0))
            if filled != order.filled_quantity:
                self.wrong.append(f"settled with {order.filled_quantity} filled; the ledger has {filled}")


class WatchedStore(MemoryStore):
    def __init__(self, witness: Witness):
        super().__init__()
        self._witness = witness
        witness.store = self

    def commit(self, records: Sequence[Record]) -> None:
        super().commit(records)
        for record in records:
            if isinstance(record, Order):
                self._witness.written(record)


class WatchedGateway:
    """The product's gateway; the witness hears its reports first."""

    def __init__(self, gateway: CcxtGateway, witness: Witness):
        self._gateway = gateway
        self._witness = witness

    def open(self, deliver: Callable[[VenueReport], None]) -> None:
        def watched(report: VenueReport) -> None:
            self._witness.heard(report)
            if not _of_an_amendment(report):  # the engine asks for none
                deliver(report)

        self._gateway.open(watched)

    def send(self, request: Request) -> None:
        self._gateway.send(request)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._gateway, name)


def _of_an_amendment(report: VenueReport) -> bool:
    if isinstance(report, OutcomeUnknown):
        return report.request == "amend"
    return isinstance(report, Amended | AmendRefused)


class World:
    """One exchange and one life of the engine; cases are played one after another."""

    def __init__(self, exchange: str, build: Callable[..., CcxtGateway] = CcxtGateway):
        self.exchange = exchange
        self.venue = ListedVenue(exchange)
        self.witness = Witness(self.venue)
        self.witness.store = self.store = opened(WatchedStore(self.witness))
        self._build = build
        self._asked = 0
        self.answers: dict[int, object] = {}  # token -> what was answered to a command

    async def __aenter__(self) -> World:
        await self.venue.server.open()
        self.calm()
        await self.start()
        # An earlier order, so that there is another order's answer to give.
        first = await self.place("first")
        if DIALECTS[self.exchange].amending is not None:
            await self.amended(first)
        await self.end(first)
        return self

    def calm(self, *but: Rule) -> None:
        """Let everything work but this, and the streams say nothing."""
        self.venue.strike(*() if self.exchange in NUMBERED else (SILENCE,), *but)

    async def start(self) -> None:
        """Begin a life of the engine: with what its records say, as after any start."""
        scheduler = AsyncScheduler(asyncio.get_running_loop())
        self.now = scheduler.now
        self.gateway = WatchedGateway(
            self._build(
                self.exchange,
                "default",
                self.venue.keys,
                mode="paper",
                base_url=self.venue.url,
                clock=scheduler.now,
                request_timeout_s=REQUEST_TIMEOUT_S,
                shapes=(),
            ),
            self.witness,
        )
        patience = Patience(
            recv_window_s=WINDOW_S,
            margin_s=MARGIN_S,
            not_found_gap_s=0.2,
            answer_s=REQUEST_TIMEOUT_S + LATER_S,
            poll_s=1.0,
            recancel_s=REQUEST_TIMEOUT_S + 0.5,  # not before the first cancel is answered, or is not
        )
        account = Account(
            self.exchange,
            "default",
            mode="paper",
            patience=patience,
            id_style=DIALECTS[self.exchange].client_id_style,
        )
        engine = Engine([account], mark=MARK)
        gateways: dict[tuple[str, str], Any] = {account.key: self.gateway}
        self.account = account
        self.runner = Runner(engine, self.store, gateways, scheduler, answered=self.answers.__setitem__)
        self.runner.start()
        deadline = time.monotonic() + RESOLVE_S
        while account.readiness != "ready":
            if time.monotonic() > deadline:
                raise Unresolved(f"the exchange did not get ready: {account.trouble}")
            await asyncio.sleep(0.02)

    async def silenced(self) -> bool:
        """Say whether the exchange wished that nothing be sent for so long that nobody would wait."""
        problems = (await self.gateway.fetch_health())["problems"]
        return any(words.startswith("rate limit: paused") for words in problems)

    async def start_afresh(self) -> None:
        self.runner.halted = True  # this life is over: nothing of it is handled any more
        await self.gateway.close()
        await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.gateway.close()
        await self.venue.server.close()

    async def until(self, holds: Callable[[], bool], seconds: float, otherwise: str) -> None:
        deadline = time.monotonic() + seconds
        asked = time.monotonic()
        while not holds():
            now = time.monotonic()
            if now > deadline:
                raise Unresolved(otherwise)
            if now > asked + UNCLEAR_S:
                asked = now
                if await self.silenced():
                    await self.start_afresh()
            await asyncio.sleep(0.02)

    def ask(self, command: Any) -> str:
        """Submit a command as the desk does and return its query id."""
        self._asked += 1
        self.answers[self._asked] = None
        name = f"q{self._asked}"
        ticket = Ticket(
            user="alice", bot="bot", idempotency_key=f"key-{name}", body_digest=name, send_fail_email=False
        )
        self.runner.feed(Submit(token=self._asked, query_id=name, ticket=ticket, command=command))
        return name

    def order(self, order_id: str) -> Order:
        return self.store.orders[order_id]

    def truth(self, order_id: str) -> list[Any]:
        return self.witness.truth(self.order(order_id).client_order_id)

    async def place(self, why: str, *, taken: bool = False) -> str:
        """Place an order and wait until it rests, or return at once where that may go wrong (`why` empty)."""
        command = LimitOrder(
            exchange=self.exchange,
            side=Side.BUY,
            symbol=self.venue.symbol,
            quantity=QUANTITY,
            price=ASK + 4 if taken else RESTING,
            time_in_force=TimeInForce.IOC if taken else TimeInForce.GTC,
        )
        query_id, answer = "", None
        deadline = time.monotonic() + RESOLVE_S
        while not isinstance(answer, Query):
            # Streams that lose messages notice it and begin anew; meanwhile an exchange is not traded on.
            if time.monotonic() > deadline:
                raise Unresolved(f"no order was made: {answer}")
            await self.until(
                lambda: self.account.readiness == "ready", RESOLVE_S, "the exchange is not ready"
            )
            query_id = self.ask(command)
            await self.until(lambda: self.answers[self._asked] is not None, RESOLVE_S, "nobody answers")
            answer = self.answers[self._asked]
        (order_id,) = (one.order_id for one in self.store.orders.values() if one.query_id == query_id)
        if why:
            await self.until(
                lambda: self.order(order_id).phase is Phase.LIVE, RESOLVE_S, f"the {why} order did not rest"
            )
        return order_id

    async def amended(self, order_id: str) -> VenueReport:
        """Ask the gateway to make an order smaller, and return what it says of that."""
        order = self.order(order_id)
        heard = len(self.witness.told)
        self.gateway.send(
            AmendRequest(
                order_id=order_id,
                client_order_id=order.client_order_id,
                exchange_order_id=order.exchange_order_id,
                symbol=order.symbol,
                side=order.side,
                order_type=OrderType.LIMIT,
                was_quantity=QUANTITY,
                quantity=PART,
            )
        )
        found: list[VenueReport] = []

        def answered() -> bool:
            found[:] = filter(_of_an_amendment, self.witness.told[heard:])
            return bool(found)

        await self.until(answered, RESOLVE_S, "an amendment was not answered")
        return found[0]

    async def looked_up(self, order_id: str) -> OrderStatus:
        """Ask until the exchange tells of an order; start afresh where it wishes for silence."""
        order, heard, asked_at = self.order(order_id), len(self.witness.told), self.now()
        deadline = time.monotonic() + RESOLVE_S
        while time.monotonic() < deadline:
            self.gateway.send(
                QueryOrder(
                    order_id=order_id,
                    client_order_id=order.client_order_id,
                    exchange_order_id=order.exchange_order_id,
                    symbol=order.symbol,
                )
            )
            await asyncio.sleep(0.5)
            for one in self.witness.told[heard:]:
                if not isinstance(one, OrderStatus) or one.quantity is None or one.query_sent_at is None:
                    continue
                if one.query_sent_at >= asked_at:  # the engine asks, too, and may have asked before
                    return one
            if await self.silenced():
                await self.start_afresh()
        raise Unresolved(f"lost: not looked up after {RESOLVE_S:g} s")

    def cancel(self, order_id: str) -> None:
        self.ask(CancelOrder(order_id=order_id))

    async def end(self, order_id: str) -> None:
        """Cancel an order, and wait until the engine is sure."""
        if self.order(order_id).phase is not Phase.SETTLED:
            self.cancel(order_id)
        await self.settled(order_id)

    async def settled(self, order_id: str) -> None:
        await self.until(
            lambda: self.order(order_id).phase is Phase.SETTLED,
            RESOLVE_S,
            f"lost: not settled after {RESOLVE_S:g} s",
        )

    def strike(self, response: Response, kinds: tuple[str, ...], *, when: str, once: bool = True) -> Rule:
        return Rule(
            action=response.action,
            kinds=kinds,
            when="before" if when.startswith("before") else "after",
            status=response.status,
            count=1 if once else None,
            seconds=(LATER_S, LATER_S),
        )


class Unresolved(Exception):
    """What should have become clear did not."""


# --- The cases ---


async def play(world: World, case: Case) -> Outcome:
    """Play one case and judge it; again, where a busy machine let its order go stale before it was sent."""
    for _ in range(PLAYED_MAX):
        outcome = await _play_once(world, case)
        unsent = any(isinstance(one, Rejected | AmendRefused) and not one.sent for one in world.witness.told)
        if outcome.wrong and unsent and not world.witness.believed_wrongly:
            continue
        return outcome
    return outcome


async def _play_once(world: World, case: Case) -> Outcome:
    witness = world.witness
    witness.wrong, witness.told, witness.believed_wrongly = [], [], False
    other = RESPONSES[case.response].action == "other"
    witness.names_orders = not (other and case.exchange in NAMES_NO_ORDER)
    witness.told_of_now = not (other and case.exchange in LISTS_ONLY)
    began = time.monotonic()
    world.calm()
    try:
        if await world.silenced():
            await world.start_afresh()
        await PLAYS[case.asked](world, case)
    except Unresolved as error:
        witness.believed_wrongly = bool(witness.wrong)
        witness.wrong.append(str(error))
    except Exception as error:  # a case that breaks is a case that shows nothing
        witness.wrong.append(f"{type(error).__name__}: {error}")
    if world.runner.halted:
        witness.wrong.append(f"the engine broke: {world.runner.trouble}")
    first = next((_told(report) for report in witness.told), "nothing")
    return Outcome(case, tuple(dict.fromkeys(witness.wrong)), first, time.monotonic() - began)


def _told(report: VenueReport) -> str:
    words = getattr(report, "message", "")
    return type(report).__name__ + (f": {words:.120}" if words else "")


async def _create(world: World, case: Case) -> None:
    before = case.variant == "before"
    taken = case.variant.endswith("taken")
    known = len(world.venue.orders())
    response = RESPONSES[case.response]
    world.calm(world.strike(response, ("create",), when=case.variant))
    order_id = await world.place("", taken=taken)
    if before or taken:
        await world.settled(order_id)
    else:
        await world.until(
            lambda: world.order(order_id).phase in (Phase.LIVE, Phase.SETTLED),
            RESOLVE_S,
            f"lost: not found after {RESOLVE_S:g} s",
        )
    made = len(world.venue.orders()) - known
    _expect(
        made == (0 if before else 1), f"{made} orders at the exchange, {world.order(order_id).status} here"
    )
    if before:
        _expect(world.order(order_id).status is Status.REJECTED, "an order that is nowhere is not rejected")
    elif taken:
        _expect(world.order(order_id).status is Status.FILLED, "a filled order is not filled")
    world.calm()
    await world.end(order_id)
    _compare(world, order_id)
    _expect(len(world.venue.orders()) - known == (0 if before else 1), "an order more, later")


async def _cancel(world: World, case: Case) -> None:
    order_id = await world.place("tested")
    world.venue.sell_into(RESTING, PART)
    response = RESPONSES[case.response]
    world.calm(world.strike(response, ("cancel",), when=case.variant))
    await world.end(order_id)
    _expect(world.order(order_id).status is Status.CANCELED, "a cancelled order is not canceled")
    _expect(world.order(order_id).filled_quantity == PART, "what had filled is not booked")
    _compare(world, order_id)


async def _amend(world: World, case: Case) -> None:
    """Make an order smaller: what is said of it, and what a look-up says then, is so."""
    order_id = await world.place("tested")
    (kept,) = world.truth(order_id)
    world.calm(world.strike(RESPONSES[case.response], ("amend",), when=case.variant))
    told = await world.amended(order_id)
    changed = kept.quantity == PART
    _expect(changed == (case.variant == "after"), f"its quantity is {kept.quantity} at the exchange")
    _expect(changed or not isinstance(told, Amended), "the gateway said AMENDED of an order that is not")
    _expect(not (changed and isinstance(told, AmendRefused)), "the gateway said no to what was done")
    world.calm()
    status = await world.looked_up(order_id)
    _expect(status.found is Found.OPEN, f"the gateway said {status.found} of an open order")
    _expect(status.quantity == kept.quantity, f"looked up with {status.quantity}, it is {kept.quantity}")
    await world.end(order_id)
    _expect(world.order(order_id).status is Status.CANCELED, "a cancelled order is not canceled")
    _compare(world, order_id)
    _expect(len(kept.amendments) == (1 if changed else 0), f"amended {len(kept.amendments)} times")


async def _fetch(world: World, case: Case) -> None:
    """Doubt an order that rests at the exchange, and let every look-up go wrong for a while."""
    wrong = world.strike(RESPONSES[case.response], LOOK_UPS, when="after", once=False)
    if case.variant == "unacknowledged":
        lost = Rule(action="empty", kinds=("create",), when="after", count=1)
        world.calm(lost, wrong)
        order_id = await world.place("")
    else:
        order_id = await world.place("tested")
        lost = Rule(action="empty", kinds=("cancel",), when="before")
        world.calm(lost, wrong)
        world.cancel(order_id)
    await asyncio.sleep(LOOKED_S)
    world.venue.sell_into(RESTING, PART)
    world.calm()
    await world.end(order_id)
    _expect(world.order(order_id).status is Status.CANCELED, "an order that rested is not found again")
    _compare(world, order_id)


PLAYS: Mapping[str, Callable[[World, Case], Awaitable[None]]] = {
    "create": _create,
    "cancel": _cancel,
    "amend": _amend,
    "fetch": _fetch,
}


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Unresolved(otherwise)


def _compare(world: World, order_id: str) -> None:
    """Compare an order that is over with the ledger: its fills and fees to the last unit."""
    truth = world.truth(order_id)
    _expect(not any(one.open for one in truth), "open at the exchange")
    ledger = sorted((fill.quantity, fill.price, fill.fee) for one in truth for fill in one.fills)
    booked = sorted((fill.quantity, fill.price, fill.fee) for fill in world.store.fills([order_id]))
    _expect(booked == ledger, f"fills {booked} are not the ledger's {ledger}")


# --- All of them ---


def lanes(wanted: Sequence[Case], rng: Random) -> list[list[Case]]:
    """Share the cases out among worlds, in an order drawn."""
    shared: list[list[Case]] = []
    for exchange in dict.fromkeys(case.exchange for case in wanted):
        rest = [case for case in wanted if case.exchange == exchange]
        rng.shuffle(rest)
        shared += [part for part in (rest[start::LANES] for start in range(LANES)) if part]
    return shared


async def play_lane(
    lane: Sequence[Case], report: Callable[[Outcome], None], build: Callable[..., CcxtGateway] = CcxtGateway
) -> None:
    left = list(lane)
    while left:
        async with World(left[0].exchange, build) as world:
            while left:
                outcome = await play(world, left.pop(0))
                report(outcome)
                if outcome.wrong:
                    break  # what went wrong must not be held against the next case


async def play_lanes(
    chosen: Iterable[Sequence[Case]],
    *,
    at_once: int = 16,
    build: Callable[..., CcxtGateway] = CcxtGateway,
    report: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    turn = asyncio.Semaphore(at_once)
    outcomes: list[Outcome] = []

    def keep(outcome: Outcome) -> None:
        outcomes.append(outcome)
        report(outcome)

    async def one(lane: Sequence[Case]) -> None:
        async with turn:
            await play_lane(lane, keep, build)

    await asyncio.gather(*(one(lane) for lane in chosen))
    return outcomes


def _work(chosen: list[list[Case]]) -> list[Outcome]:
    logging.disable(logging.CRITICAL)
    return asyncio.run(play_lanes(chosen, at_once=32))


def table(outcomes: Sequence[Outcome]) -> str:
    """Show for every answer and exchange how many cases went right, of how many."""
    exchanges = list(dict.fromkeys(outcome.case.exchange for outcome in outcomes))
    played = Counter((o.case.response, o.case.exchange) for o in outcomes)
    right = Counter((o.case.response, o.case.exchange) for o in outcomes if not o.wrong)
    width = max(map(len, RESPONSES))
    lines = [f"{'answer':<{width}}" + "".join(f"{name:>18}" for name in exchanges)]
    for response in RESPONSES:
        cells = [f"{right[response, name]}/{played[response, name]}" for name in exchanges]
        lines.append(f"{response:<{width}}" + "".join(f"{cell:>18}" for cell in cells))
    return "\n".join(lines)


def summary(outcomes: Sequence[Outcome]) -> str:
    return f"cases={len(outcomes)} wrong={sum(bool(outcome.wrong) for outcome in outcomes)}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="oms ambiguity", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--exchange", action="append", choices=EXCHANGES, help="only this one (again for more)"
    )
    parser.add_argument("--asked", choices=list(ASKED), help="only these requests")
    parser.add_argument("--cases", type=int, help="only so many, drawn by --seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--all", action="store_true", help="show every case, not only the wrong ones")
    chosen = parser.parse_args(arguments)
    rng = Random(chosen.seed)
    wanted = [case for case in cases(chosen.exchange or EXCHANGES) if chosen.asked in (None, case.asked)]
    if chosen.cases is not None:
        wanted = rng.sample(wanted, min(chosen.cases, len(wanted)))
    shared = lanes(wanted, rng)
    processes = max(1, min(os.cpu_count() or 1, len(shared)))
    began = time.monotonic()
    with ProcessPoolExecutor(processes) as pool:
        parts = pool.map(_work, [shared[start::processes] for start in range(processes)])
        outcomes = [outcome for part in parts for outcome in part]
    for outcome in sorted(outcomes, key=lambda outcome: outcome.case.name):
        if outcome.wrong:
            print(f"WRONG {outcome.case.name}: {'; '.join(outcome.wrong)} (first told: {outcome.first})")
        elif chosen.all:
            print(f"right {outcome.case.name}: first {outcome.first}, {outcome.seconds:.1f} s")
    print(table(outcomes))
    print(
        f"{len(RESPONSES)} answers, {len({case.exchange for case in wanted})} exchanges, "
        f"{time.monotonic() - began:.0f} s"
    )
    print(summary(outcomes))
    return 1 if any(outcome.wrong for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
