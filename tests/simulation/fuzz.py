"""Fuzz the machine of one order: `./oms fuzz --runs 100000 --seed 1`, and `--run k` to replay one run.

A run is one small parent: one to four orders, each sized by what the ledger says is left over, against a
venue that loses, repeats, delays and reorders whatever it is told and whatever it says. Under test is the
production `ems.core.child.step`; time is virtual, and (seed, run) says everything that happens.

What the venue may do, and no more (the promises the machine is built on, `Patience`):

* a create is refused when it arrives more than 5 s after it was sent;
* orders and fills may stay invisible to queries for up to 15 s; a closed order may vanish for ever, its
  fills may not;
* what it says of an end is true: a final quantity is final;
* an amendment is answered once and within `Patience.answer_s`, or not at all, and nobody asks for another
  one before that.

Judged: over-fills (the venue's fills exceed the parent), ledger (ours differs from the venue's), orphans (an
order open at the venue that we think over), termination, and on every step I1 to I4 of EXECUTION.md 3.
`--naive` plays what a simple bot believes, for comparison; `--machine` plays a machine broken on purpose.

The last line is `runs=... overfills=... ...`; the exit status is 1 when anything was found.
"""

from __future__ import annotations

import argparse
import decimal
import gc
import heapq
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random

from ems.core.child import (
    AskCancel,
    AskReplace,
    Child,
    ChildEvent,
    Do,
    Doubted,
    Lookup,
    Patience,
    Sent,
    Step,
    Tick,
    exposure,
    step,
)
from ems.core.messages import (
    Acked,
    Amended,
    AmendRefused,
    CancelAcked,
    CancelRefused,
    Ending,
    FillReport,
    Found,
    Liquidity,
    LookupFailed,
    OrderStatus,
    OutcomeUnknown,
    Refusal,
    Rejected,
    Side,
    TradesAnswer,
)
from ems.core.order import IllegalTransition, created, fold
from ems.core.records import Asked, Edit, HistoryEntry, Order, Phase, Status
from tests.builders import order as an_order
from tests.simulation.machines import MACHINES, StepFunction

START = datetime(2026, 1, 1, tzinfo=UTC)
PATIENCE = Patience()
NEVER = float("inf")

RECV_WINDOW_S = 5.0
INVISIBLE_S = 15.0
CANCEL_ALL_S = 45.0  # by then every order has been asked to go
CALM_S = 70.0  # then nothing is lost any more, and everything must resolve
LIMIT_S = 240.0

LIMIT_CENTS = 200_000  # every order's price
UNIT_MAX = 2000  # of a parent, in units of 0.0001
QUANTITIES = [Decimal(n).scaleb(-4) for n in range(UNIT_MAX + 1)]  # units -> quantity
PRICE = Decimal(LIMIT_CENTS).scaleb(-2)
ZERO = Decimal(0)

FAULTS = ("overfills", "ledger", "orphans", "unterminated", "invariants")


# --- Weather and venue -----------------------------------------------------------------------------------


class Weather:
    """How badly one run is treated: each fault absent, mild or severe (swarm testing)."""

    __slots__ = (
        "acks_late",
        "cumulative_only",
        "fail_look",
        "fill_on_cancel",
        "fill_s",
        "late_answer",
        "late_look",
        "late_request",
        "latency_s",
        "lose_answer",
        "lose_request",
        "lose_stream",
        "order_lag_s",
        "outage_from_s",
        "outage_to_s",
        "refuse",
        "repeat",
        "restart",
        "silent",
        "steady_lag",
        "stream_delay_s",
        "trade_lag_s",
        "vanish",
    )

    def __init__(self, draw: Callable[[], float]):
        self.latency_s = (0.02, 0.1, 0.8)[int(draw() * 3)]
        self.order_lag_s = (0.0, 0.0, 2.0, 7.0, INVISIBLE_S)[int(draw() * 5)]
        self.trade_lag_s = (0.0, 0.0, 2.0, 7.0, INVISIBLE_S)[int(draw() * 5)]
        self.steady_lag = draw() < 0.5  # always that long, else anything up to it
        self.fill_s = (2.0, 8.0, 30.0)[int(draw() * 3)]
        self.stream_delay_s = (0.05, 0.5, 6.0)[int(draw() * 3)]
        self.lose_stream = (0.0, 0.1, 0.5, 1.0)[int(draw() * 4)]
        self.lose_request = (0.0, 0.05, 0.25)[int(draw() * 3)]
        self.lose_answer = (0.0, 0.05, 0.3)[int(draw() * 3)]
        self.late_request = (0.0, 0.03, 0.15)[int(draw() * 3)]
        self.late_answer = (0.0, 0.05, 0.3)[int(draw() * 3)]  # of a write
        self.late_look = (0.0, 0.1, 0.6)[int(draw() * 3)]  # of a query: true when it was looked up
        self.refuse = (0.0, 0.03, 0.15)[int(draw() * 3)]
        self.fail_look = (0.0, 0.1, 0.6)[int(draw() * 3)]
        self.repeat = (0.0, 0.1, 0.5)[int(draw() * 3)]
        self.silent = (0.0, 0.1, 0.5)[int(draw() * 3)]  # an end is told without the final quantity
        self.acks_late = (0.0, 0.1, 0.4)[int(draw() * 3)]  # a cancel is acknowledged, and done seconds later
        self.fill_on_cancel = (0.0, 0.1, 0.5)[int(draw() * 3)]  # the cancel loses the race
        self.cumulative_only = draw() < 0.25  # streams and acks tell the filled quantity, never a fill
        outage = draw() < 0.3
        self.outage_from_s = draw() * 30.0 if outage else NEVER
        self.outage_to_s = self.outage_from_s + draw() * 40.0  # meanwhile streams and queries say nothing
        self.vanish = draw() < 0.3  # closed orders cannot be looked up
        self.restart = draw() < 0.1  # our process dies once
        # Faults that only hurt together meet too rarely by chance.
        luck = draw()
        if luck < 0.05:  # an order fills while nobody looks, is forgotten, and its fills show later
            self.vanish, self.steady_lag, self.order_lag_s, self.trade_lag_s = True, True, 0.0, INVISIBLE_S
            self.lose_stream, self.fill_s, self.refuse = 1.0, 30.0, 0.0
            self.outage_from_s, self.outage_to_s = draw() * 5.0, 15.0 + draw() * 20.0
        elif luck < 0.1:  # what was true of an order not yet there is heard when it is
            self.steady_lag, self.order_lag_s, self.trade_lag_s = True, INVISIBLE_S, INVISIBLE_S
            self.lose_stream, self.lose_answer, self.late_look = 1.0, 0.6, 0.8
            self.outage_from_s, self.outage_to_s = 5.0 + draw() * 10.0, 25.0 + draw() * 20.0

    def calm(self) -> None:
        """Lose nothing any more; what is invisible for a while stays so."""
        self.lose_stream = self.lose_request = self.lose_answer = self.late_request = 0.0
        self.late_answer = self.late_look = self.refuse = self.fail_look = self.repeat = self.silent = (
            self.acks_late
        ) = 0.0


class VenueOrder:
    """An order as the venue has it."""

    __slots__ = ("closed_at", "created_at", "ending", "fills", "filled", "terms", "units")

    def __init__(self, units: int, now: float):
        self.units = units
        self.terms = [(now, units)]  # from when it has had which quantity
        self.created_at = now
        self.fills: list[tuple[float, int, FillReport]] = []  # when, units, what
        self.filled = 0
        self.closed_at = NEVER
        self.ending: Ending | None = None

    def units_at(self, moment: float) -> int:
        """Return the quantity it had then."""
        return [units for since, units in self.terms if since <= moment or since == self.created_at][-1]


@dataclass(slots=True)
class Outcome:
    """What one run showed."""

    seed: int
    run: int
    orders: int = 0
    steps: int = 0
    units: int = 0  # of the parent
    filled: int = 0  # units the venue has filled
    ended_s: float = 0.0
    faults: dict[str, str] = field(default_factory=dict)  # kind -> the first one's words


class Run:
    """One parent, its orders, and the venue between them."""

    def __init__(
        self,
        seed: int,
        run: int,
        *,
        machine: StepFunction = step,
        timings: list[int] | None = None,
        tell: Callable[[str], None] | None = None,
    ):
        self.outcome = Outcome(seed=seed, run=run)
        self.random = Random(seed << 40 | run).random
        self.weather = Weather(self.random)
        self.machine = machine
        self.timings = timings
        self.tell = tell
        self.now = 0.0
        self.heap: list[tuple[float, int, Callable[..., None], tuple[object, ...]]] = []
        self.pushed = 0
        self.life = 0  # of our process: answers to an earlier one are lost
        self.units = 1 + int(self.random() * UNIT_MAX)
        self.outcome.units = self.units
        self.quantity = QUANTITIES[self.units]
        self.funds = self.quantity * PRICE
        self.orders_max = 1 + int(self.random() * 4)
        self.cancel_s = (6.0, 6.0, 40.0)[int(self.random() * 3)]  # orders are asked to go within
        self.children: list[Child] = []
        self.history: list[list[HistoryEntry]] = []
        self.committed: list[Decimal] = []  # filled + may still fill, of each child
        self.wakes: list[int] = []  # the wake-up that counts, of each child
        self.venue: list[VenueOrder | None] = []
        # In some runs orders are changed while they rest; the others go on as they would without that.
        self.edits = Random(seed << 40 | run | 1 << 80) if run % 2 else None

    # --- The clock -----------------------------------------------------------------------------------------

    def after(self, seconds: float, call: Callable[..., None], *arguments: object) -> None:
        self.pushed += 1
        heapq.heappush(self.heap, (self.now + seconds, self.pushed, call, arguments))

    def play(self) -> Outcome:
        outcome, heap = self.outcome, self.heap
        self.after(CANCEL_ALL_S, self.cancel_all)
        self.after(CALM_S, self.calm)
        if self.weather.restart:
            self.after(self.random() * 40.0, self.restart)
        self.place()
        while heap:
            self.now, _, call, arguments = heapq.heappop(heap)
            if self.now > LIMIT_S:
                self.now = LIMIT_S
                break
            call(*arguments)
        outcome.ended_s = self.now
        self.judge()
        return outcome

    def calm(self) -> None:
        self.weather.calm()

    def fault(self, kind: str, words: str) -> None:
        self.outcome.faults.setdefault(kind, f"at {self.now:.3f} s: {words}")
        if self.tell is not None:
            self.tell(f"{self.now:9.3f}  *** {kind}: {words}")

    # --- Our side: a walker, reduced to what it does to orders ----------------------------------------------

    def place(self) -> None:
        """Send the next order, sized by what the ledger says is left of the parent and of its funds."""
        number = len(self.children)
        if number >= self.orders_max or self.now > CANCEL_ALL_S:
            return
        left = self.quantity - sum(self.committed)
        left = min(left, (self.funds - self._tied()) / PRICE)
        units = int(left.scaleb(4))
        if units <= 0:
            return
        if number + 1 < self.orders_max and self.random() < 0.5:
            units = 1 + int(self.random() * units)
        quantity = QUANTITIES[units]
        order = _order(number, quantity)
        self.children.append(Child(order=order))
        self.history.append([created(order)])
        self.committed.append(quantity)
        self.wakes.append(0)
        self.venue.append(None)
        self.deliver(number, self.life, Sent())
        self._carry(number, "create", self._create, units)
        self.after(self.random() * self.cancel_s, self.cancel, number)
        if self.edits is not None:
            for _ in range(self.edits.randint(1, 3)):
                self.after(self.edits.random() * self.cancel_s, self.edit, number)

    def edit(self, number: int) -> None:
        """Ask for another quantity, within what is left of the parent and of its funds."""
        order, draw = self.children[number].order, self.edits
        assert draw is not None
        if order.phase is not Phase.LIVE or order.asked is not Asked.NOTHING:
            return
        answer_by = self.children[number].lookup.amend_answer_by
        if answer_by is not None and START + timedelta(seconds=self.now) < answer_by:
            return  # the last one may still be answered
        left = min(self.quantity - sum(self.committed), (self.funds - self._tied()) / PRICE)
        least = int(order.filled_quantity.scaleb(4)) + 1
        most = int((order.quantity + max(left, ZERO)).scaleb(4))
        if least > most:
            return
        units = draw.randint(least, most)
        edit = Edit(
            query_id="e1",
            asked_at=START + timedelta(seconds=self.now),
            in_place=draw.random() < 0.8,
            quantity=QUANTITIES[units],
            reserved=QUANTITIES[units] * PRICE,
        )
        self.deliver(number, self.life, AskReplace(edit=edit))

    def cancel(self, number: int) -> None:
        if self.children[number].order.phase is not Phase.SETTLED:
            self.deliver(number, self.life, AskCancel())

    def cancel_all(self) -> None:
        for number in range(len(self.children)):
            self.cancel(number)

    def restart(self) -> None:
        """Lose what is in memory: orders are folded from their history, and looked at again."""
        self.life += 1
        now = START + timedelta(seconds=self.now)
        for number, child in enumerate(self.children):
            order = fold(self.history[number])
            if order != child.order:
                self.fault("invariants", f"order {number} is not the fold of its history")
            seen_at = None if order.status in (Status.PENDING, Status.UNKNOWN) else now
            self.children[number] = Child(order=order, lookup=Lookup(seen_at=seen_at))
            self.wakes[number] += 1
            if order.phase is not Phase.SETTLED:
                self.after(self.random() * 2.0, self.deliver, number, self.life, Doubted())

    def deliver(self, number: int, life: int, event: ChildEvent) -> None:
        """Let the machine take one step, judge it, and do what it asks for."""
        if life != self.life:
            return
        child = self.children[number]
        now = START + timedelta(seconds=self.now)
        started = time.perf_counter_ns()
        try:
            done = self.machine(child, event, now, PATIENCE)
        except (AssertionError, IllegalTransition) as error:
            self.fault("invariants", f"order {number} at {type(event).__name__}: {error!r}")
            return
        taken = time.perf_counter_ns() - started
        if self.timings is not None:
            self.timings[min(taken >> 9, len(self.timings) - 1)] += 1
        self.outcome.steps += 1
        self.children[number] = after = done.child
        if self.tell is not None:
            self._tell_step(number, event, done)
        if done.entries:
            self.history[number] += done.entries
        if after.order is not child.order:
            self._changed(number, child.order, after.order, done)
        if done.incidents:
            self._incident(number, done)
        self.wakes[number] += 1
        if done.wake_at is not None:
            seconds = (done.wake_at - now).total_seconds()
            if seconds <= 0:
                self.fault("invariants", f"I3: order {number} would wake in the past")
            self.after(seconds, self._wake, number, self.wakes[number])
        elif after.order.phase is not Phase.SETTLED:
            self.fault("invariants", f"I3: order {number} is {after.order.phase} and nothing wakes it")
        for action in done.actions:
            if action is Do.CANCEL:
                self._carry(number, "cancel", self._cancel)
            elif action is Do.AMEND:
                assert after.order.edit is not None and after.order.edit.quantity is not None
                self._carry(number, "amend", self._amend, int(after.order.edit.quantity.scaleb(4)))
            else:
                self._ask(number, action)
        if after.order is not child.order:
            self.place()

    def _changed(self, number: int, before: Order, order: Order, done: Step) -> None:
        """Judge a changed order by I1 and I2, and by what an order never does."""
        if order.version != before.version + len(done.entries):
            self.fault("invariants", f"order {number} changed without an entry")
        if order.filled_quantity < before.filled_quantity:
            self.fault("invariants", f"the filled quantity of order {number} decreased")
        if before.phase is Phase.SETTLED and order.phase is not Phase.SETTLED:
            self.fault("invariants", f"order {number} came back from its end")
        self.committed[number] = order.filled_quantity + exposure(order)
        if sum(self.committed) > self.quantity:
            self.fault("invariants", f"I1: {self.committed} exceed {self.quantity}")
        if self._tied() > self.funds:
            self.fault("invariants", f"I2: {self._tied()} tied up of {self.funds}")

    def _incident(self, number: int, done: Step) -> None:
        """Judge an alarm: this venue keeps its word, so whatever comes after the end is our own fault."""
        order = self.venue[number]
        if done.fills or order is None or order.ending is None:
            self.fault("invariants", f"order {number}: {done.incidents[0]}")
        # Else an answer half a minute late told of an order that had come and gone unseen: a true alarm.

    def _tied(self) -> Decimal:
        """Return the funds that orders hold or have spent."""
        tied = ZERO
        for child in self.children:
            order = child.order
            tied += order.quote_filled if order.phase is Phase.SETTLED else order.reserved
        return tied

    def _wake(self, number: int, wake: int) -> None:
        if wake == self.wakes[number]:
            self.deliver(number, self.life, Tick())

    # --- The wire -------------------------------------------------------------------------------------------

    def _answer(self, number: int, life: int, event: ChildEvent, late: float) -> None:
        """Bring an answer back, perhaps late, perhaps twice."""
        draw, weather = self.random, self.weather
        if draw() < late:
            self.after(draw() * 30.0, self.deliver, number, life, event)
        else:
            self.after(draw() * weather.latency_s, self.deliver, number, life, event)
        if draw() < weather.repeat:
            self.after(draw() * 20.0, self.deliver, number, life, event)

    def _carry(self, number: int, request: str, do: Callable[..., ChildEvent], *arguments: object) -> None:
        """Bring a create or cancel to the venue, perhaps late, perhaps not at all."""
        draw, weather = self.random, self.weather
        if draw() < weather.lose_request:
            self._no_answer(number, self.life, request)
            return
        delay = draw() * (40.0 if draw() < weather.late_request else weather.latency_s)
        self.after(delay, self._arrive, number, self.life, request, self.now, do, arguments)

    def _arrive(
        self,
        number: int,
        life: int,
        request: str,
        sent: float,
        do: Callable[..., ChildEvent],
        arguments: tuple[object, ...],
    ) -> None:
        draw, weather = self.random, self.weather
        if draw() < weather.refuse:
            # Refused, and said so: this much a venue may be believed about a create, never about a cancel.
            refused = {"create": Rejected, "amend": AmendRefused}.get(request, CancelRefused)
            event = refused(order_id=_id(number), refusal=Refusal.RATE_LIMIT, message="slow down")
        else:
            event = do(number, sent, *arguments)
        if request == "amend":
            self._answer_once(number, life, event, sent)
        elif draw() < weather.lose_answer:
            self._no_answer(number, life, request)
        else:
            self._answer(number, life, event, weather.late_answer)

    def _answer_once(self, number: int, life: int, event: ChildEvent, sent: float) -> None:
        """Bring the answer to an amendment in time, or say in time that nobody knows, or say nothing."""
        assert self.edits is not None
        draw, weather = self.edits.random, self.weather
        if draw() < weather.lose_answer:
            event = OutcomeUnknown(order_id=_id(number), request="amend", message="502")
        late = self.now + draw() * (30.0 if draw() < weather.late_answer else weather.latency_s)
        if late < sent + PATIENCE.answer_s:
            self.after(late - self.now, self.deliver, number, life, event)

    def _no_answer(self, number: int, life: int, request: str) -> None:
        """Say that nobody knows (timeout, 5xx), or not even that."""
        if self.random() < 0.8:
            event = OutcomeUnknown(order_id=_id(number), request=request, message="502")
            self.after(self.random() * 10.0, self.deliver, number, life, event)

    def _ask(self, number: int, action: Do) -> None:
        draw, weather = self.random, self.weather
        if draw() < weather.lose_request:
            return
        self.after(draw() * weather.latency_s, self._look, number, self.life, action, self.now)

    def _look(self, number: int, life: int, action: Do, sent: float) -> None:
        """Answer a query with what is visible now; the answer may arrive much later."""
        draw, weather = self.random, self.weather
        if draw() < weather.fail_look or weather.outage_from_s < self.now < weather.outage_to_s:
            failed = LookupFailed(request=str(action), order_id=_id(number), message="502")
            self._answer(number, life, failed, weather.late_look)
            return
        sent_at = START + timedelta(seconds=sent)
        seen = self.now - self._lag(weather.order_lag_s)
        order = self.venue[number]
        if action is Do.TRADES:
            fills: tuple[FillReport, ...] = ()
            if order is not None:
                # Each fill becomes visible in its own time.
                fills = tuple(
                    f for at, _, f in order.fills if at <= self.now - self._lag(weather.trade_lag_s)
                )
            event: ChildEvent = TradesAnswer(order_id=_id(number), fills=fills, query_sent_at=sent_at)
        elif order is None or order.created_at > seen or (weather.vanish and order.closed_at <= seen):
            event = OrderStatus(order_id=_id(number), found=Found.NOT_FOUND, query_sent_at=sent_at)
        else:
            event = self._status(number, order, seen, sent_at)
        self._answer(number, life, event, weather.late_look)

    def _lag(self, most: float) -> float:
        return most if self.weather.steady_lag else self.random() * most

    def _status(self, number: int, order: VenueOrder, seen: float, sent_at: datetime | None) -> OrderStatus:
        """Return the order as it was at a moment."""
        closed = order.closed_at <= seen
        told = not closed or self.random() >= self.weather.silent
        filled = sum(units for at, units, _ in order.fills if at <= seen)
        return OrderStatus(
            order_id=_id(number),
            found=Found.CLOSED if closed else Found.OPEN,
            exchange_order_id=f"X{number}",
            filled_quantity=QUANTITIES[filled] if told else None,
            ending=order.ending if closed else None,
            quantity=None if self.edits is None else QUANTITIES[order.units_at(seen)],
            query_sent_at=sent_at,
        )

    def _stream(self, number: int, fill: FillReport | None) -> None:
        """Tell what happened, as far as the weather lets it through."""
        draw, weather = self.random, self.weather
        order = self.venue[number]
        assert order is not None
        if draw() < weather.lose_stream or weather.outage_from_s < self.now < weather.outage_to_s:
            return
        event: ChildEvent
        if fill is not None and not weather.cumulative_only:
            event = fill
        else:
            event = self._status(number, order, self.now, None)
        self.after(draw() * weather.stream_delay_s, self.deliver, number, self.life, event)
        if draw() < weather.repeat:
            self.after(draw() * 20.0, self.deliver, number, self.life, event)

    # --- What the venue does --------------------------------------------------------------------------------

    def _create(self, number: int, sent: float, units: int) -> ChildEvent:
        draw, weather = self.random, self.weather
        if self.now - sent > RECV_WINDOW_S:
            return Rejected(order_id=_id(number), refusal=Refusal.CLOCK, message="outside the receive window")
        if draw() < 0.03:
            return Rejected(
                order_id=_id(number), refusal=Refusal.POST_ONLY_WOULD_CROSS, message="would cross"
            )
        order = self.venue[number] = VenueOrder(units, self.now)
        luck = draw()
        if luck < 0.15:  # at once, in whole or in part
            self._fill(number, 1.0 if luck < 0.05 else draw())
        for _ in range(int(draw() * 4)):
            self.after(draw() * weather.fill_s, self._fill, number, min(1.0, draw() * 1.5))
        if 0.2 < luck < 0.3 and order.ending is None:  # immediate-or-cancel, or self-trade prevention
            self._close(number, Ending.EXPIRED if luck < 0.25 else Ending.CANCELED)
        elif luck > 0.9:
            self.after(draw() * weather.fill_s, self._close, number, Ending.EXPIRED)
        over = order.ending is not None
        silent = over and draw() < weather.silent
        fills = () if weather.cumulative_only or draw() < 0.3 else tuple(f for _, _, f in order.fills)
        return Acked(
            order_id=_id(number),
            exchange_order_id=f"X{number}",
            filled_quantity=None if silent else QUANTITIES[order.filled],
            ending=order.ending,
            fills=fills,
        )

    def _fill(self, number: int, share: float) -> None:
        """Fill a share of what is left of an open order, one unit at least."""
        order = self.venue[number]
        if order is None or order.ending is not None:
            return
        left = order.units - order.filled
        units = min(left, 1 + int(left * share))
        cents = LIMIT_CENTS - int(self.random() * 10)
        quantity = QUANTITIES[units]
        fill = FillReport(
            fill_id=f"{number}-{len(order.fills)}",
            exchange_order_id=f"X{number}",
            symbol="ETH/USDT",
            side=Side.BUY,
            price=Decimal(cents).scaleb(-2),
            quantity=quantity,
            fee=quantity.scaleb(-3),
            fee_currency="ETH",
            liquidity=Liquidity.MAKER,
            at=START,
            order_id=_id(number),
        )
        order.fills.append((self.now, units, fill))
        order.filled += units
        if order.filled == order.units:
            order.ending, order.closed_at = Ending.FILLED, self.now
        self._stream(number, fill)

    def _close(self, number: int, ending: Ending) -> None:
        order = self.venue[number]
        if order is not None and order.ending is None:
            order.ending, order.closed_at = ending, self.now
            self._stream(number, None)

    def _cancel(self, number: int, sent: float) -> ChildEvent:
        draw, weather = self.random, self.weather
        order = self.venue[number]
        if order is not None and order.ending is None and draw() < weather.fill_on_cancel:
            self._fill(number, draw())
        if order is None or order.ending is not None:
            # Many venues say "unknown order" for one that has just filled: it proves nothing.
            return CancelRefused(order_id=_id(number), refusal=Refusal.UNKNOWN_ORDER, message="unknown order")
        if draw() < weather.acks_late:
            self.after(draw() * 15.0, self._close, number, Ending.CANCELED)
            return CancelAcked(order_id=_id(number))
        self._close(number, Ending.CANCELED)
        silent = draw() < weather.silent
        return CancelAcked(order_id=_id(number), filled_quantity=None if silent else QUANTITIES[order.filled])

    def _amend(self, number: int, sent: float, units: int) -> ChildEvent:
        order = self.venue[number]
        why = None
        if self.now - sent > RECV_WINDOW_S:
            why = Refusal.CLOCK
        elif order is None or order.ending is not None:
            why = Refusal.UNKNOWN_ORDER
        elif units <= order.filled:
            why = Refusal.MIN_SIZE
        if why is not None:
            return AmendRefused(order_id=_id(number), refusal=why, message="not amended")
        assert order is not None
        order.units = units
        order.terms.append((self.now, units))
        self._stream(number, None)
        return Amended(order_id=_id(number))

    # --- Judging --------------------------------------------------------------------------------------------

    def judge(self) -> None:
        """Compare both ledgers when everything is quiet, or the time is up."""
        outcome = self.outcome
        outcome.orders = len(self.children)
        for number, child in enumerate(self.children):
            ours, theirs = child.order, self.venue[number]
            if ours.phase is not Phase.SETTLED:
                self.fault("unterminated", f"order {number} is still {ours.phase} ({ours.status})")
            if child.lookup.haunted:
                self.fault("unterminated", f"order {number} is still followed after its end")
            if theirs is None:
                if ours.filled_quantity or ours.quote_filled or ours.fees:
                    self.fault("ledger", f"order {number} never reached the venue and has fills")
                continue
            outcome.filled += theirs.filled
            if theirs.ending is None and ours.phase is Phase.SETTLED:
                self.fault("orphans", f"order {number} is open at the venue and {ours.status} here")
            fills = [fill for _, _, fill in theirs.fills]
            quote = sum((fill.quantity * fill.price for fill in fills), ZERO)
            fees = sum((fill.fee for fill in fills), ZERO)
            booked = (ours.filled_quantity, ours.quote_filled, ours.fees.get("ETH", ZERO))
            happened = (QUANTITIES[theirs.filled], quote, fees)
            if booked != happened:
                self.fault(
                    "ledger", f"order {number}: {_texts(booked)} booked, {_texts(happened)} at the venue"
                )
            if ours.phase is Phase.SETTLED and ours.reserved:
                self.fault("invariants", f"I2: order {number} is over and still holds {ours.reserved}")
        if outcome.filled > outcome.units:
            self.fault("overfills", f"{outcome.filled} units filled of {outcome.units}")

    def _tell_step(self, number: int, event: ChildEvent, done: Step) -> None:
        order = done.child.order
        said = type(event).__name__
        match event:
            case OrderStatus():
                said += f"({event.found}, filled {event.filled_quantity}, asked {_s(event.query_sent_at)})"
            case FillReport():
                said += f"({event.fill_id}, {event.quantity})"
            case TradesAnswer():
                ids = [fill.fill_id for fill in event.fills]
                said += f"({ids}, asked {_s(event.query_sent_at)})"
            case Acked() | CancelAcked():
                said += f"(filled {event.filled_quantity})"
            case OutcomeUnknown():
                said += f"({event.request})"
        asks = " ".join(done.actions)
        assert self.tell is not None
        self.tell(
            f"{self.now:9.3f}  order {number}  {said:58} -> {order.phase:14} {order.status:16}"
            f" {order.filled_quantity}/{order.quantity}  {asks}"
        )


def _texts(amounts: tuple[Decimal, ...]) -> str:
    return ", ".join(str(amount) for amount in amounts)


def _s(at: datetime | None) -> str:
    return "stream" if at is None else f"{(at - START).total_seconds():.3f}"


def _id(number: int) -> str:
    return f"q1.1.{number + 1}"


_TEMPLATE = an_order(price=str(PRICE), created_at=START)


def _order(number: int, quantity: Decimal) -> Order:
    return replace(
        _TEMPLATE,
        order_id=_id(number),
        client_order_id=f"c{number}",
        attempt=number + 1,
        quantity=quantity,
        reserved=quantity * PRICE,
    )


# --- Many runs ----------------------------------------------------------------------------------------------

BUCKET_NS = 512  # of the histogram of step times
BUCKETS = 1 << 15  # the last one, 16.8 ms, takes whatever is longer


@dataclass(slots=True)
class Tally:
    """What many runs showed."""

    runs: int = 0
    orders: int = 0
    steps: int = 0
    excess: list[float] = field(default_factory=list)  # of each over-filled run, as a share of its parent
    faults: Counter[str] = field(default_factory=Counter)
    first: dict[str, Outcome] = field(default_factory=dict)  # kind -> the first run that showed it
    timings: list[int] = field(default_factory=lambda: [0] * BUCKETS)

    def add(self, outcome: Outcome) -> None:
        self.runs += 1
        self.orders += outcome.orders
        self.steps += outcome.steps
        if outcome.filled > outcome.units:
            self.excess.append(outcome.filled / outcome.units - 1)
        for kind in outcome.faults:
            self.faults[kind] += 1
            self.first.setdefault(kind, outcome)

    def step_us(self, share: float) -> float:
        """Return the time, in microseconds, within which this share of the steps was done."""
        left = share * sum(self.timings)
        for bucket, count in enumerate(self.timings):
            left -= count
            if left <= 0:
                return (bucket + 1) * BUCKET_NS / 1000
        return BUCKETS * BUCKET_NS / 1000

    def summary(self) -> str:
        found = " ".join(f"{kind}={self.faults[kind]}" for kind in FAULTS)
        return (
            f"runs={self.runs} {found} orders={self.orders} steps={self.steps}"
            f" step_p50_us={self.step_us(0.5):.1f} step_p99_us={self.step_us(0.99):.1f}"
        )


def fuzz(
    runs: int,
    seed: int,
    *,
    machine: StepFunction = step,
    seconds: float | None = None,
    until_found: bool = False,
    report: Callable[[str], None] = print,
) -> Tally:
    """Play runs 0, 1, 2, ... of a seed; stop early after `seconds`, or at the first fault when asked to."""
    decimal.getcontext().prec = 50
    tally = Tally()
    started = told = time.monotonic()
    for run in range(runs):
        outcome = Run(seed, run, machine=machine, timings=tally.timings).play()
        tally.add(outcome)
        if outcome.faults and until_found:
            break
        if run % 100 == 99:
            now = time.monotonic()
            if now - told > 10:
                told = now
                report(f"{tally.runs} runs in {now - started:.0f} s, {sum(tally.faults.values())} faults")
            if seconds is not None and now - started > seconds:
                break
    return tally


def replay(seed: int, run: int, machine: StepFunction = step) -> Outcome:
    """Play one run again and tell everything about it."""
    decimal.getcontext().prec = 50
    played = Run(seed, run, machine=machine, tell=print)
    for name in Weather.__slots__:
        print(f"  {name} = {getattr(played.weather, name)}")
    return played.play()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="oms fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=10_000, help="how many runs to play")
    parser.add_argument("--seed", type=int, default=0, help="of all runs")
    parser.add_argument("--seconds", type=float, help="stop after this long")
    parser.add_argument("--run", type=int, help="play this one run again and tell everything about it")
    parser.add_argument("--naive", action="store_true", help="play what a simple bot believes, to compare")
    parser.add_argument("--machine", choices=MACHINES, default="production", help="play a broken machine")
    chosen = parser.parse_args(arguments)
    name = "naive" if chosen.naive else chosen.machine
    if chosen.run is not None:
        outcome = replay(chosen.seed, chosen.run, MACHINES[name])
        for kind, words in outcome.faults.items():
            print(f"{kind}: {words}")
        return 1 if outcome.faults else 0
    started, collections = time.monotonic(), sum(s["collections"] for s in gc.get_stats())
    tally = fuzz(chosen.runs, chosen.seed, machine=MACHINES[name], seconds=chosen.seconds)
    took, collections = (
        time.monotonic() - started,
        sum(s["collections"] for s in gc.get_stats()) - collections,
    )
    choice = "" if name == "production" else f" --machine {name}"
    for kind, outcome in tally.first.items():
        print(f"first of {kind}: --seed {outcome.seed} --run {outcome.run}{choice}: {outcome.faults[kind]}")
    if tally.excess:
        share, mean = len(tally.excess) / tally.runs, sum(tally.excess) / len(tally.excess)
        print(f"over-filled: {share:.1%} of the runs, by a mean {mean:.0%}")
    longest = max((n for n, count in enumerate(tally.timings) if count), default=0)
    over = "" if longest < BUCKETS - 1 else "more than "
    print(
        f"{tally.runs / took:.0f} runs/s; {collections} garbage collections, included in the times of the"
        f" steps; longest step {over}{(longest + (not over)) * BUCKET_NS / 1000:.0f} us"
    )
    print(f"machine={name} seed={chosen.seed} {tally.summary()}")
    return 1 if tally.faults else 0


if __name__ == "__main__":
    sys.exit(main())
