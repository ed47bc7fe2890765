"""Who trades: the wire to the venue, what every parent has, and the production machine on it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from random import Random

from ems.algos.ledger import committed, spent
from ems.algos.params import Params
from ems.algos.view import CancelChild, Decision, Done, GiveUp, Place, View, Wait
from ems.core.child import AskCancel, Child, ChildEvent, Do, Patience, Sent, Tick, step
from ems.core.instrument import Market
from ems.core.messages import (
    Acked,
    BookUpdate,
    CancelAcked,
    CancelRefused,
    Ending,
    FillReport,
    Found,
    Liquidity,
    OrderStatus,
    Refusal,
    Rejected,
    Side,
    TimeInForce,
    TradesAnswer,
)
from ems.core.records import Order, Phase
from tests.bench.replay.feed import SECOND
from tests.bench.replay.play import Feed, Latency, Levels, Play, microseconds, moment
from tests.bench.replay.venue import Answer, Line, Trade

GRACE = 5 * SECOND  # EXECUTION.md 9.3: completion by T + 5 s
PATIENCE = Patience()
ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be traded, and under which rules of the world."""

    starts_at: int
    seconds: float
    is_buy: bool
    lots: int
    market: Market
    model: str
    latency_ms: int
    refill_s: float
    seed: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it."""

    starts_at: int
    is_buy: bool
    lots: int
    arrival: float  # mid price in ticks
    trades: tuple[Trade, ...]
    requests: int
    took_s: float
    forced: int  # lots the bench had to trade at the end, because the parent had not
    left: int  # lots never traded
    problem: str = ""


class Trader:
    """A parent: what it wants, its wire, and what it knows of the market."""

    def __init__(self, play: Play, task: Task) -> None:
        self.play, self.task = play, task
        self.starts_at = task.starts_at
        self.ends_at = task.starts_at + int(task.seconds * SECOND)
        self.feed: Feed = play.feed(task.latency_ms)
        self.latency = Latency(task.latency_ms)
        self.line = Line(
            model=task.model, refill_s=task.refill_s, seed=task.seed, on_fill=self._at_venue_filled
        )
        self.over = False
        self.requests = 0
        self.problem = ""
        self.outcome: Outcome | None = None
        self._random = Random(task.seed + 1)
        self._stream_due = 0
        self._gone: dict[str, tuple[int, bool]] = {}  # key -> filled, canceled
        self.history: dict[str, list[Trade]] = {}  # key -> its trades, as the venue knows them
        self._wake_at = 0
        # What the public book shows of us: (when, key, is bid, price, lots), and what of it was delivered.
        self._changes: deque[tuple[int, str, bool, int, int]] = deque()
        self._visible: dict[str, tuple[bool, int, int]] = {}

    # --- For the play ---

    def start(self) -> None:
        self.arrival = self.play.venue.mid
        self.play.at(self.ends_at + GRACE, self.stop)
        self.begin()

    def begin(self) -> None: ...

    def on_book(self) -> None: ...

    def on_wake(self) -> None: ...

    def on_new(self, key: str, answer: Answer) -> None: ...

    def on_cancel(self, key: str, filled: int | None) -> None: ...

    def on_fill(self, key: str, number: int, over: bool) -> None:
        """Trade `number` of this order has come back."""

    def wake(self, at: int) -> None:
        """Wake at this time; a later wish replaces an earlier one."""
        at = max(at, self.play.now)
        if at != self._wake_at:
            self._wake_at = at
            self.play.at(at, self._woken, at)

    def _woken(self, at: int) -> None:
        if not self.over and at == self._wake_at:
            self._wake_at = 0
            self.on_wake()

    def filled(self) -> int:
        return sum(trade.quantity for trade in self.line.trades)

    def stop(self) -> None:
        """Time is up: trade what is left at once and at any price, and count it as forced."""
        if self.over:
            return
        self.over = True
        line, venue, task = self.line, self.play.venue, self.task
        for key in list(line.orders):
            venue.cancel(line, key)
        left = task.lots - self.filled()
        forced = 0
        if left > 0 and venue.usable:
            answer = venue.new(
                line,
                "forced",
                is_buy=task.is_buy,
                price=None,
                quantity=left,
                rests=False,
                post_only=False,
                now=self.play.now,
            )
            forced = sum(trade.quantity for trade in answer.trades)
        self.outcome = Outcome(
            starts_at=task.starts_at,
            is_buy=task.is_buy,
            lots=task.lots,
            arrival=self.arrival,
            trades=tuple(line.trades),
            requests=self.requests,
            took_s=(self.play.now - task.starts_at) / SECOND,
            forced=forced,
            left=task.lots - self.filled(),
            problem=self.problem,
        )
        self.play.finished(self)

    # --- The wire ---

    def _answer(self, what: Callable[..., None], *arguments: object) -> None:
        self.play.at(self.play.now + self.latency.draw(self._random), self._unless_over, what, arguments)

    def _unless_over(self, what: Callable[..., None], arguments: tuple[object, ...]) -> None:
        if not self.over:
            what(*arguments)

    def send_new(self, key: str, price: int | None, lots: int, *, rests: bool, post_only: bool) -> None:
        self.requests += 1
        self._answer(self._at_venue_new, key, price, lots, rests, post_only)

    def send_cancel(self, key: str) -> None:
        self.requests += 1
        self._answer(self._at_venue_cancel, key)

    def _at_venue_new(self, key: str, price: int | None, lots: int, rests: bool, post_only: bool) -> None:
        is_buy = self.task.is_buy
        answer = self.play.venue.new(
            self.line,
            key,
            is_buy=is_buy,
            price=price,
            quantity=lots,
            rests=rests,
            post_only=post_only,
            now=self.play.now,
        )
        self.history[key] = list(answer.trades)
        if answer.resting:
            self._show(key)
        elif not answer.crossed:
            self._gone[key] = (sum(trade.quantity for trade in answer.trades), True)
        self._answer(self.on_new, key, answer)

    def _at_venue_cancel(self, key: str) -> None:
        filled = self.play.venue.cancel(self.line, key)
        if filled is not None:
            self._gone[key] = (filled, True)
            self._changes.append((self.play.now, key, self.task.is_buy, 0, 0))
        self._answer(self.on_cancel, key, filled)

    def _at_venue_filled(self, key: str, trade: Trade, over: bool) -> None:
        if over:
            self._gone[key] = (0, False)
            self._changes.append((self.play.now, key, self.task.is_buy, 0, 0))
        else:
            self._show(key)
        self.history[key].append(trade)
        number = len(self.history[key]) - 1
        # The private stream keeps its order.
        self._stream_due = max(self._stream_due, self.play.now + self.latency.draw(self._random))
        self.play.at(self._stream_due, self._unless_over, self.on_fill, (key, number, over))

    def _show(self, key: str) -> None:
        order = self.line.orders[key]
        self._changes.append((self.play.now, key, order.is_bid, order.price, order.left))

    # --- What we know ---

    def levels(self) -> Levels | None:
        """Return the book as delivered, with our own waiting orders in it and without what we took."""
        public, line = self.feed.levels, self.line
        seen = self.play.now - self.latency.one_way
        changes, visible = self._changes, self._visible
        while changes and changes[0][0] <= seen:
            _, key, is_bid, price, lots = changes.popleft()
            if lots:
                visible[key] = (is_bid, price, lots)
            else:
                visible.pop(key, None)
        if public is None or not (visible or line.eaten or line.met):
            return public
        bids, asks = public
        if line.eaten or line.met:
            bids, asks = self._without_taken(bids, False, seen), self._without_taken(asks, True, seen)
        for is_bid, price, lots in visible.values():
            if is_bid:
                bids = _with(bids, price, lots, -1)
                if asks and asks[0][0] <= price:  # they would have met us: no book shows that
                    asks = tuple([level for level in asks if level[0] > price])
            else:
                asks = _with(asks, price, lots, 1)
                if bids and bids[0][0] >= price:
                    bids = tuple([level for level in bids if level[0] < price])
        return bids, asks

    def _without_taken(
        self, side: tuple[tuple[int, int], ...], is_ask: bool, seen: int
    ) -> tuple[tuple[int, int], ...]:
        line = self.line
        touched = {
            price
            for (ask, price), held in (*line.eaten.items(), *line.met.items())
            if ask is is_ask and held[1] <= seen
        }
        if not touched:
            return side
        left = []
        for price, lots in side:
            if price in touched:
                lots -= int(line.missing(is_ask, price, lots, seen))
                if lots <= 0:
                    continue
            left.append((price, lots))
        return tuple(left)


def _with(side: tuple[tuple[int, int], ...], price: int, lots: int, sign: int) -> tuple[tuple[int, int], ...]:
    for index, (level, size) in enumerate(side):
        if level == price:
            return (*side[:index], (level, size + lots), *side[index + 1 :])
        if sign * level > sign * price:
            return (*side[:index], (price, lots), *side[index:])
    return side


class Machine(Trader):
    """The production machine: what `decide` answers goes through `ems.core.child.step`, and every answer of
    the venue comes back as the report the gateway would make of it."""

    def __init__(
        self,
        play: Play,
        task: Task,
        *,
        decide: Callable[[View, datetime], Decision],
        params: Params,
    ) -> None:
        super().__init__(play, task)
        self._decide = decide
        self._params = params
        self._side = Side.BUY if task.is_buy else Side.SELL
        self._children: dict[str, Child] = {}  # oldest first
        self._orders: tuple[Order, ...] = ()
        self._wakes: dict[str, datetime | None] = {}
        self._spent = ZERO
        self._waits_for_book = False

    def begin(self) -> None:
        task, amounts = self.task, self.play.amounts
        self._quantity = amounts.quantity(task.lots)
        mid = Decimal(str(self.arrival)) * amounts.tick
        self._total = self._quantity * mid * 2 if task.is_buy else self._quantity
        self._source = task.market.quote if task.is_buy else task.market.base
        self.on_wake()

    def on_book(self) -> None:
        if self._waits_for_book:
            self.on_wake()

    def on_wake(self) -> None:
        if self.over:
            return
        now = moment(self.play.now)
        for _ in range(50):
            decision = self._decide(self._view(now), now)
            match decision:
                case Wait(until=until, why=why):
                    self._waits_for_book = why.startswith("waiting for")
                    self.wake(microseconds(until))
                    return
                case Place():
                    if not self._place(decision, now):
                        return
                case CancelChild(order_id=order_id):
                    self._event(order_id, AskCancel(), now)
                case Done():
                    self.stop()
                    return
                case GiveUp(code=code, why=why):
                    self.problem = f"{code}: {why}"
                    self.stop()
                    return
        raise AssertionError(f"it does not come to rest: {decision}")

    def _view(self, now: datetime) -> View:
        levels = self.levels()
        feed, task = self.feed, self.task
        book = feed.book
        if book is not None and levels is not None and levels is not feed.levels:
            amounts, public = self.play.amounts, feed.levels
            assert public is not None
            book = BookUpdate(
                symbol=book.symbol,
                bids=book.bids if levels[0] is public[0] else amounts.levels(levels[0]),
                asks=book.asks if levels[1] is public[1] else amounts.levels(levels[1]),
                at=book.at,
            )
        return View(
            params=self._params,
            side=self._side,
            market=task.market,
            orders=self._orders,
            book=book,
            total=self._total,
            available=self._total - self._spent,
            quantity=self._quantity,
            started_at=moment(self.starts_at),
            ends_at=moment(self.ends_at),
            signals=feed.look(self._side, now),
            seed=str(task.seed),
        )

    def _place(self, place: Place, now: datetime) -> bool:
        market, amounts = self.task.market, self.play.amounts
        reserved = market.reserve(self._side, place.quantity, place.price, post_only=place.post_only)
        out = sum((order.quantity - order.filled_quantity for order in self._unsettled()), ZERO)
        done = sum((order.filled_quantity for order in self._orders), ZERO)
        beyond = committed(self._orders) + reserved > self._total - self._spent
        if beyond or done + out + place.quantity > self._quantity:
            self.problem = "an order beyond the amount asked for"
            self.stop()
            return False
        attempt = len(self._children) + 1
        key = str(attempt)
        order = Order(
            order_id=key,
            query_id="",
            parent_id="",
            user="",
            bot="",
            exchange=market.exchange,
            account="default",
            symbol=market.symbol,
            side=self._side,
            order_type=place.order_type,
            time_in_force=place.time_in_force,
            post_only=place.post_only,
            quantity=place.quantity,
            price=place.price,
            client_order_id=key,
            created_at=now,
            purpose=place.purpose,
            attempt=attempt,
            reserved=reserved,
        )
        self._children[key] = Child(order=order)
        self._event(key, Sent(), now, then_decide=False)
        self.send_new(
            key,
            amounts.ticks(place.price),
            amounts.lots(place.quantity),
            rests=place.time_in_force is TimeInForce.GTC,
            post_only=place.post_only,
        )
        return True

    def _unsettled(self) -> list[Order]:
        return [order for order in self._orders if order.phase is not Phase.SETTLED]

    def _event(self, key: str, event: ChildEvent, now: datetime, *, then_decide: bool = False) -> None:
        done = step(self._children[key], event, now, PATIENCE)
        self._children[key] = done.child
        if done.entries:
            self._orders = tuple(child.order for child in self._children.values())
        if done.fills:
            self._spent = spent(self._orders, self._source)
        if done.incidents:
            self.problem = "; ".join(done.incidents)
        for action in done.actions:
            if action is Do.CANCEL:
                self.send_cancel(key)
            else:
                self._answer(self._at_venue_query, key, action, now)
        if done.wake_at != self._wakes.get(key):
            self._wakes[key] = done.wake_at
            if done.wake_at is not None:
                self.play.at(microseconds(done.wake_at), self._tick, key, done.wake_at)
        if then_decide:
            self.on_wake()

    def _tick(self, key: str, due: datetime) -> None:
        if not self.over and self._wakes.get(key) == due:
            self._wakes[key] = None
            self._event(key, Tick(), moment(self.play.now), then_decide=True)

    # --- Reports, as a gateway makes them ---

    def on_new(self, key: str, answer: Answer) -> None:
        if answer.crossed:
            report: ChildEvent = Rejected(
                order_id=key, refusal=Refusal.POST_ONLY_WOULD_CROSS, message="would match at once"
            )
        elif answer.resting:
            report = Acked(order_id=key, exchange_order_id=key)
        else:
            fills = tuple(self._report(key, number) for number in range(len(answer.trades)))
            filled = sum((fill.quantity for fill in fills), ZERO)
            whole = filled == self._children[key].order.quantity
            report = Acked(
                order_id=key,
                exchange_order_id=key,
                filled_quantity=filled,
                ending=Ending.FILLED if whole else Ending.EXPIRED,
                fills=fills,
            )
        self._event(key, report, moment(self.play.now), then_decide=True)

    def on_fill(self, key: str, number: int, over: bool) -> None:
        self._event(key, self._report(key, number), moment(self.play.now), then_decide=True)

    def on_cancel(self, key: str, filled: int | None) -> None:
        if filled is None:
            report: ChildEvent = CancelRefused(
                order_id=key, refusal=Refusal.UNKNOWN_ORDER, message="no such order"
            )
        else:
            report = CancelAcked(order_id=key, filled_quantity=self.play.amounts.quantity(filled))
        self._event(key, report, moment(self.play.now), then_decide=True)

    def _report(self, key: str, number: int) -> FillReport:
        task, amounts, trade = self.task, self.play.amounts, self.history[key][number]
        market = task.market
        price, quantity = amounts.price(trade.price), amounts.quantity(trade.quantity)
        rate = market.maker_fee if trade.maker else market.taker_fee
        in_base = task.is_buy and market.fee_mode == "received"
        return FillReport(
            fill_id=f"{key}.{number}",
            exchange_order_id=key,
            symbol=market.symbol,
            side=self._side,
            price=price,
            quantity=quantity,
            fee=quantity * rate if in_base else quantity * price * rate,
            fee_currency=market.base if in_base else market.quote,
            liquidity=Liquidity.MAKER if trade.maker else Liquidity.TAKER,
            at=moment(trade.at),
            order_id=key,
        )

    def _at_venue_query(self, key: str, action: Do, sent_at: datetime) -> None:
        """A look-up: what the venue knows now comes back."""
        fills = tuple(self._report(key, number) for number in range(len(self.history.get(key, ()))))
        if action is Do.TRADES:
            answer: ChildEvent = TradesAnswer(order_id=key, fills=fills, query_sent_at=sent_at)
        elif (order := self.line.orders.get(key)) is not None:
            answer = OrderStatus(
                order_id=key,
                found=Found.OPEN,
                exchange_order_id=key,
                filled_quantity=self.play.amounts.quantity(order.taken),
                query_sent_at=sent_at,
            )
        elif key in self._gone:
            filled, canceled = self._gone[key]
            quantity = self.play.amounts.quantity(filled)
            answer = OrderStatus(
                order_id=key,
                found=Found.CLOSED,
                exchange_order_id=key,
                filled_quantity=quantity if canceled else self._children[key].order.quantity,
                ending=Ending.CANCELED if canceled else Ending.FILLED,
                query_sent_at=sent_at,
            )
        else:
            answer = OrderStatus(order_id=key, found=Found.NOT_FOUND, query_sent_at=sent_at)
        self._answer(self._looked_up, key, answer)

    def _looked_up(self, key: str, answer: ChildEvent) -> None:
        self._event(key, answer, moment(self.play.now), then_decide=True)
