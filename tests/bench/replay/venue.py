"""The recorded market with our orders in it: EXECUTION.md 8.

Rules:

1. The recording does not know of us. Each parent has its own `Line` to the venue; what it took is missing
   from its book only, and comes back exponentially (`refill_s`). Parents never meet each other.
2. A waiting order joins behind what is displayed at its price, or behind nothing when it improves.
       trade at our price      uses up what is in front, then fills us
       trade beyond our price  fills us, up to its size
       opposite quote through  fills us, once for each newly shown size
       size shrinks without a trade   the queue model says how much of it was in front of us:
           risk-averse: none, as far as what is left still holds it; optimistic: all;
           probable: (front / (front + back))**3 of it, hftbacktest's reading of EXECUTION.md 8's
           prob = 1 - (front / (front + back))**3, which is the chance that it left from behind us
   Where every order was recorded, what was in front is known exactly and the model is not asked.
3. A waiting order larger than a fifth of its level is undercut: 0.3 to 1 s later a competitor of its size
   stands one tick better, if there is room, and trades first.
4. A take above 1 % of a minute's volume moves the market for good: 0.1 sigma_day sqrt(taken / volume of a
   day) is paid on top by everything the parent trades afterwards.

Quantities are lots, prices ticks, times microseconds.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from tests.bench.replay.feed import BOOK, ORDERS, QUOTE, SECOND, TOP, TRADE, Event, Recording, Sides

RISK_AVERSE, PROBABLE, OPTIMISTIC = "risk-averse", "probable", "optimistic"
MODELS = (RISK_AVERSE, PROBABLE, OPTIMISTIC)

BIG_SHARE = 0.2  # of its level: a larger waiting order is undercut
UNDERCUT_S = (0.3, 1.0)
MET_S = 30  # who has filled us at a crossing is still displayed, at most this long
IMPACT_FROM = 0.01  # of a minute's volume
IMPACT = 0.1
RUNGS = 12  # assumed levels behind a recorded best price, half a median spread apart, mean touch size each
DEEPEST = 1000  # times that size at the last rung

# front of an order that waits behind what was not recorded
UNSEEN = math.inf


@dataclass(slots=True, eq=False)
class Resting:
    """A waiting order at the venue."""

    line: Line
    key: str
    is_bid: bool
    price: int
    left: int
    front: float
    joined: int  # number of the last recorded order then
    undercut: float = 0.0  # of a competitor one tick better
    big: bool = False
    taken: int = 0  # filled so far


@dataclass(slots=True)
class Trade:
    """A fill of ours."""

    at: int
    price: int
    quantity: int
    maker: bool
    shift: float  # permanent impact paid on top, as a fraction of the price


class Line:
    """One parent's connection: its orders, what it took, what it got."""

    __slots__ = (
        "eaten",
        "met",
        "model",
        "on_change",
        "on_fill",
        "orders",
        "random",
        "refill_us",
        "seen_trade",
        "shift",
        "taken",
        "trade_left",
        "trades",
    )

    def __init__(
        self,
        *,
        model: str = RISK_AVERSE,
        refill_s: float = 5.0,
        seed: int = 0,
        on_fill: Callable[[str, Trade, bool], None] | None = None,
    ) -> None:
        self.model = model
        self.refill_us = refill_s * SECOND
        self.random = Random(seed)
        self.on_fill = on_fill  # (key, trade, order is over)
        self.orders: dict[str, Resting] = {}
        self.eaten: dict[tuple[bool, int], tuple[float, int]] = {}  # (is ask, price) -> missing lots, when
        self.met: dict[tuple[bool, int], tuple[float, int]] = {}  # shown lots that have filled us, when
        self.shift = 0.0
        self.taken = 0
        self.trades: list[Trade] = []
        self.seen_trade = -1  # the public trade that was last shared among our orders, and what is left of it
        self.trade_left = 0

    def taken_from(self, is_ask: bool, price: int, now: int) -> float:
        """Return how much of a level our own takes have left empty."""
        held = self.eaten.get((is_ask, price))
        if held is None:
            return 0.0
        lots, at = held
        left = lots * math.exp(-(now - at) / self.refill_us)
        if left < 0.5:
            del self.eaten[is_ask, price]
            return 0.0
        return left

    def missing(self, is_ask: bool, price: int, shown: int, now: int) -> float:
        """Return how much of what a level shows is no longer there for us: taken, or already met."""
        missing = self.taken_from(is_ask, price, now) if self.eaten else 0.0
        if self.met and (held := self.met.get((is_ask, price))) is not None:
            lots, at = held
            if now - at > MET_S * SECOND:
                del self.met[is_ask, price]
            else:
                if lots > shown:  # who has left the display will be new when shown again
                    lots = float(shown)
                    self.met[is_ask, price] = (lots, at)
                missing += lots
        return missing


@dataclass(frozen=True, slots=True)
class Answer:
    """What the venue says to a new order."""

    trades: list[Trade] = field(default_factory=list)
    resting: bool = False
    crossed: bool = False  # post-only, refused


class Venue:
    """One recorded market, played event by event."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.book = Sides()
        self.now = recording.begins
        self.number = 0  # of the last recorded order
        self.trade_count = 0
        self._exact = recording.detail == "orders"
        self._top_only = recording.detail == "top"
        # Waiting orders by price, prices ascending.
        self._bids: dict[int, list[Resting]] = {}
        self._asks: dict[int, list[Resting]] = {}
        self._bid_prices: list[int] = []
        self._ask_prices: list[int] = []
        self._undercuts: list[tuple[int, int, Resting]] = []

    @property
    def mid(self) -> float:
        """The true mid price in ticks."""
        return (self.book.bids[-1] + self.book.asks[0]) / 2

    @property
    def usable(self) -> bool:
        book = self.book
        return bool(book.bids and book.asks and book.bids[-1] < book.asks[0])

    # --- The recording ---

    def play(self, event: Event) -> None:
        """Let one recorded event happen."""
        self.now = event[0]
        kind = event[1]
        if kind == TRADE:
            self._trade(event[2], event[3], event[4], event[5])
        elif kind == BOOK:
            for is_ask, price, quantity in event[2]:
                self._level(is_ask, price, quantity)
            self._crossings()
        elif kind == ORDERS:
            self.number = event[4]
            for is_ask, price, quantity, number in event[3]:
                self._departed(is_ask, price, quantity, number)
            for is_ask, price, quantity in event[2]:
                self.book.put(is_ask, price, quantity)
            self._crossings()
        elif kind == QUOTE:
            self._quote(event[2], event[3], event[4], event[5])
            self._crossings()
        elif kind == TOP:
            self._top(event[2], event[3], event[4], event[5])
            self._crossings()

    def _level(self, is_ask: bool, price: int, quantity: int) -> None:
        """A level shows another size; trades have already been taken off it."""
        book = self.book
        waiting = (self._asks if is_ask else self._bids).get(price)
        if waiting:
            before = (book.ask if is_ask else book.bid).get(price, 0)
            if quantity < before:
                for order in waiting:
                    order.front = front_after(order.line.model, order.front, before, quantity)
        book.put(is_ask, price, quantity)

    def _quote(self, bid: int, bid_size: int, ask: int, ask_size: int) -> None:
        book = self.book
        while book.bids and book.bids[-1] > bid:
            self._level(False, book.bids[-1], 0)
        while book.asks and book.asks[0] < ask:
            self._level(True, book.asks[0], 0)
        self._level(False, bid, bid_size)
        self._level(True, ask, ask_size)

    def _departed(self, is_ask: bool, price: int, quantity: int, number: int) -> None:
        for order in (self._asks if is_ask else self._bids).get(price, ()):
            if number <= order.joined:
                order.front = max(0.0, order.front - quantity)

    def _top(self, bid: int, bid_size: int, ask: int, ask_size: int) -> None:
        """Best prices only: the levels behind them are assumed, our orders there wait unseen."""
        step, size = self.recording.half_spread, self.recording.touch_size
        before = self.book
        for is_ask, best, best_size in ((False, bid, bid_size), (True, ask, ask_size)):
            old = before.ask if is_ask else before.bid
            old_prices = before.asks if is_ask else before.bids
            old_best = (old_prices[0] if is_ask else old_prices[-1]) if old_prices else 0
            for price, waiting in (self._asks if is_ask else self._bids).items():
                better = price < best if is_ask else price > best
                for order in waiting:
                    if better:
                        order.front = 0.0  # nobody else is there, or it would be the best price
                    elif price == best:
                        if order.front == UNSEEN:
                            order.front = 0.0 if order.line.model == OPTIMISTIC else float(best_size)
                        elif old_best == best:
                            shown = old.get(best, 0)
                            order.front = front_after(order.line.model, order.front, shown, best_size)
                        order.front = min(order.front, float(best_size))
            sign = 1 if is_ask else -1
            rungs = {best + sign * step * rung: size for rung in range(1, RUNGS)}
            rungs[best + sign * step * RUNGS] = size * DEEPEST
            rungs[best] = best_size
            prices = sorted(price for price in rungs if price > 0)
            if is_ask:
                before.ask, before.asks = rungs, prices
            else:
                before.bid, before.bids = rungs, prices

    def _trade(self, price: int, quantity: int, buys: bool, maker: int) -> None:
        """A public trade: fills those of our orders that it would have met first."""
        self.trade_count += 1
        self._undercut()
        if buys:
            reached = self._ask_prices[: bisect.bisect_right(self._ask_prices, price)]
            side = self._asks
        else:
            reached = self._bid_prices[bisect.bisect_left(self._bid_prices, price) :]
            reached.reverse()
            side = self._bids
        for level in reached:
            for order in list(side[level]):
                self._meet(order, price, quantity, maker)
        if not self._exact:
            self._consume(price, quantity, buys)

    def _meet(self, order: Resting, price: int, quantity: int, maker: int) -> None:
        line = order.line
        if line.seen_trade != self.trade_count:
            line.seen_trade, line.trade_left = self.trade_count, quantity
        left = float(line.trade_left)
        if order.undercut > 0:
            first = min(left, order.undercut)
            order.undercut -= first
            left -= first
        if order.price == price:
            if self._exact:
                if maker <= order.joined and order.front > 0:
                    return  # it met somebody in front of us
            elif order.front > 0:
                first = min(left, order.front)
                order.front -= first
                left -= first
        filled = min(order.left, int(left))
        if filled > 0:
            line.trade_left -= filled
            self._fill(order, filled)

    def _consume(self, price: int, quantity: int, buys: bool) -> None:
        """Take a public trade off the displayed book at once; the next book row then explains the rest."""
        book = self.book
        if self._top_only and price not in (book.bids[-1], book.asks[0]):
            return  # the best prices are up to a second old, those behind them assumed
        if buys:
            while book.asks and book.asks[0] < price:
                book.put(True, book.asks[0], 0)
            if price in book.ask:
                book.put(True, price, book.ask[price] - quantity)
        else:
            while book.bids and book.bids[-1] > price:
                book.put(False, book.bids[-1], 0)
            if price in book.bid:
                book.put(False, price, book.bid[price] - quantity)

    def _crossings(self) -> None:
        """The opposite side is shown at or through our price: it fills us, once for each newly shown size."""
        book = self.book
        if book.asks and self._bid_prices and self._bid_prices[-1] >= book.asks[0]:
            best = book.asks[0]
            for price in self._bid_prices[bisect.bisect_left(self._bid_prices, best) :][::-1]:
                for order in list(self._bids[price]):
                    self._crossed(order, [p for p in book.asks[:50] if p <= price], True)
        if book.bids and self._ask_prices and self._ask_prices[0] <= book.bids[-1]:
            best = book.bids[-1]
            for price in self._ask_prices[: bisect.bisect_right(self._ask_prices, best)]:
                for order in list(self._asks[price]):
                    self._crossed(order, [p for p in book.bids[:-51:-1] if p >= price], False)

    def _crossed(self, order: Resting, prices: list[int], is_ask: bool) -> None:
        self._undercut()
        line, shown = order.line, self.book.ask if is_ask else self.book.bid
        for price in prices:
            fresh = shown[price] - line.missing(is_ask, price, shown[price], self.now)
            first = min(max(fresh, 0.0), order.undercut)
            order.undercut -= first
            filled = max(0, min(order.left, int(fresh - first)))
            if first + filled > 0:
                before = line.met.get((is_ask, price), (0.0, 0))[0]
                line.met[is_ask, price] = (before + first + filled, self.now)
            if filled > 0:
                self._fill(order, filled)
            if order.left == 0:
                return

    # --- Our orders ---

    def new(
        self,
        line: Line,
        key: str,
        *,
        is_buy: bool,
        price: int | None,
        quantity: int,
        rests: bool,
        post_only: bool,
        now: int,
    ) -> Answer:
        """Take an order: sweep what it crosses (`price` None: at any price), then let the rest wait or
        expire."""
        if post_only and price is not None and self._would_cross(line, is_buy, price, now):
            return Answer(crossed=True)
        trades = [] if post_only else self._sweep(line, is_buy, price, quantity, now)
        left = quantity - sum(trade.quantity for trade in trades)
        if not rests or left <= 0 or price is None:
            return Answer(trades=trades)
        self._rest(line, key, is_buy, price, quantity, left, now)
        return Answer(trades=trades, resting=True)

    def cancel(self, line: Line, key: str) -> int | None:
        """Take a waiting order back and return what it had filled; None when it no longer waits."""
        order = line.orders.get(key)
        if order is None:
            return None
        self._remove(order)
        return order.taken

    def _would_cross(self, line: Line, is_buy: bool, price: int, now: int) -> bool:
        book = self.book
        if is_buy:
            for level in book.asks:
                if level > price:
                    return False
                if book.ask[level] - line.missing(True, level, book.ask[level], now) >= 1:
                    return True
            return False
        for level in reversed(book.bids):
            if level < price:
                return False
            if book.bid[level] - line.missing(False, level, book.bid[level], now) >= 1:
                return True
        return False

    def _sweep(self, line: Line, is_buy: bool, price: int | None, quantity: int, now: int) -> list[Trade]:
        book = self.book
        levels = book.asks if is_buy else book.bids[::-1]
        sizes = book.ask if is_buy else book.bid
        left, trades = quantity, []
        for level in levels:
            if left <= 0 or (price is not None and (level > price if is_buy else level < price)):
                break
            got = min(left, int(sizes[level] - line.missing(is_buy, level, sizes[level], now)))
            if got <= 0:
                continue
            line.eaten[is_buy, level] = (line.taken_from(is_buy, level, now) + got, now)
            trades.append(Trade(now, level, got, False, line.shift))
            left -= got
        if trades:
            took = quantity - left
            line.taken += took
            line.trades += trades
            if took > IMPACT_FROM * self.recording.lots_per_minute:
                of_day = line.taken / self.recording.lots_per_day
                line.shift = IMPACT * self.recording.sigma_day * math.sqrt(of_day)
        return trades

    def _rest(
        self, line: Line, key: str, is_buy: bool, price: int, quantity: int, left: int, now: int
    ) -> None:
        book = self.book
        shown = (book.bid if is_buy else book.ask).get(price, 0)
        front = float(shown)
        if self._top_only:
            best = book.bids[-1] if is_buy else book.asks[0]
            if price < best if is_buy else price > best:
                front = UNSEEN
        order = Resting(line, key, is_buy, price, left, front, self.number, taken=quantity - left)
        side, prices = (self._bids, self._bid_prices) if is_buy else (self._asks, self._ask_prices)
        if price not in side:
            side[price] = []
            bisect.insort(prices, price)
        side[price].append(order)
        line.orders[key] = order
        room = bool(book.bids and book.asks) and (
            price + 1 < book.asks[0] if is_buy else price - 1 > book.bids[-1]
        )
        order.big = left > BIG_SHARE * shown
        if order.big and room:
            due = now + int(line.random.uniform(*UNDERCUT_S) * SECOND)
            bisect.insort(self._undercuts, (due, id(order), order))

    def _undercut(self) -> None:
        """Let the competitors in whose time has come."""
        while self._undercuts and self._undercuts[0][0] <= self.now:
            order = self._undercuts.pop(0)[2]
            if order.line.orders.get(order.key) is order:
                order.undercut = float(order.left)

    def _fill(self, order: Resting, quantity: int) -> None:
        line = order.line
        order.left -= quantity
        order.taken += quantity
        trade = Trade(self.now, order.price, quantity, True, line.shift)
        line.trades.append(trade)
        if order.left == 0:
            self._remove(order)
        if line.on_fill is not None:
            line.on_fill(order.key, trade, order.left == 0)

    def _remove(self, order: Resting) -> None:
        side, prices = (self._bids, self._bid_prices) if order.is_bid else (self._asks, self._ask_prices)
        side[order.price].remove(order)
        if not side[order.price]:
            del side[order.price]
            del prices[bisect.bisect_left(prices, order.price)]
        del order.line.orders[order.key]


def front_after(model: str, front: float, before: int, after: int) -> float:
    """Return what is in front of us when a level shrinks by cancellations from `before` to `after` lots."""
    gone = before - after
    if gone <= 0:
        return min(front, float(after)) if after < front else front
    if model == OPTIMISTIC:
        front -= gone
    elif model == PROBABLE:
        back = before - front
        behind = 1.0 - (front / before) ** 3 if before > 0 else 0.0
        front = front - (1.0 - behind) * gone + min(back - behind * gone, 0.0)
    return max(0.0, min(front, float(after)))
