"""Simple ways to trade, to be beaten: EXECUTION.md 8. All of them pay the market at T for what is left.

Each is what a well-known project does, or what a person would do by hand:

    market        everything at once
    join          rest everything at the touch, once
    twap          twelve market orders, evenly spaced (nautilus_trader's TWAP)
    limit-twap    twelve limit orders at the far touch; what does not trade at once waits until the next
                  (vnpy's TwapAlgo)
    chase         rest everything at the touch and follow it (hummingbot's limit chaser, vnpy's BestLimit)
"""

from __future__ import annotations

from tests.bench.replay.feed import SECOND
from tests.bench.replay.trader import Trader
from tests.bench.replay.venue import Answer

SLICES = 12
FOLLOW_S = 0.25  # how often a chaser looks at the touch


class Simple(Trader):
    """What the baselines share: counting what is done and out, and the market order at T."""

    def begin(self) -> None:
        self.done = 0  # lots we know to be filled
        self.out: dict[str, list[int]] = {}  # key -> [lots, known filled]
        self.asked: set[str] = set()
        self.prices: dict[str, int] = {}
        self.count = 0
        self.ending = False
        self.play.at(self.ends_at, self.end)
        self.work()

    def work(self) -> None:
        """Do what is to be done now and wake for the rest."""

    def on_wake(self) -> None:
        if not self.ending:
            self.work()

    @property
    def left(self) -> int:
        """Lots that are neither known to be filled nor out."""
        return self.task.lots - self.done - sum(lots - filled for lots, filled in self.out.values())

    def place(self, price: int | None, lots: int, *, rests: bool = False, post_only: bool = False) -> None:
        if lots <= 0:
            return
        self.count += 1
        key = str(self.count)
        self.out[key] = [lots, 0]
        if price is not None:
            self.prices[key] = price
        self.send_new(key, price, lots, rests=rests, post_only=post_only)

    def take_back(self) -> None:
        for key in self.out:
            if key in self.prices and key not in self.asked:
                self.asked.add(key)
                self.send_cancel(key)

    def end(self) -> None:
        """Time is up: take back what waits, then pay the market."""
        if self.over:
            return
        self.ending = True
        self.take_back()
        self.place(None, self.left)
        self._finish()

    def touch(self, *, far: bool = False) -> int | None:
        levels = self.levels()
        if levels is None or not levels[0] or not levels[1]:
            return None
        return levels[1 if self.task.is_buy is far else 0][0][0]

    def _finish(self) -> None:
        if self.done >= self.task.lots:
            self.stop()
        elif self.ending and not self.out:
            self.place(None, self.left)

    def _book(self, key: str, filled: int) -> None:
        if key in self.out:
            self.out[key][1] += filled
            self.done += filled
            if self.out[key][1] >= self.out[key][0]:
                del self.out[key]

    def on_new(self, key: str, answer: Answer) -> None:
        self._book(key, sum(trade.quantity for trade in answer.trades))
        if not answer.resting and key in self.out:
            lots, filled = self.out.pop(key)
            if answer.crossed:
                self.on_wake()
        self._finish()

    def on_fill(self, key: str, number: int, over: bool) -> None:
        self._book(key, self.history[key][number].quantity)
        self._finish()

    def on_cancel(self, key: str, filled: int | None) -> None:
        if filled is not None and key in self.out:  # fills on their way are in its word already
            lots, known = self.out.pop(key)
            self.done += filled - known
            if self.ending:
                self.place(None, self.left)
            else:
                self.on_wake()
        elif filled is None:
            self.asked.discard(key)  # it filled before, or has not arrived: the stream will say
            if self.ending and key in self.out and not self.history.get(key):
                self.take_back()
        self._finish()


class AtMarket(Simple):
    def work(self) -> None:
        if not self.out:
            self.place(None, self.left)


class Join(Simple):
    def work(self) -> None:
        touch = self.touch()
        if touch is None:
            self.wake(self.play.now + SECOND // 4)
        elif not self.out:
            self.place(touch, self.left, rests=True, post_only=True)


class Sliced(Simple):
    """Twelve slices, evenly spaced from the start."""

    def begin(self) -> None:
        self.slice = 0
        super().begin()

    def work(self) -> None:
        now, seconds = self.play.now, self.task.seconds
        while self.slice < SLICES and now >= self.starts_at + int(self.slice * seconds / SLICES * SECOND):
            self.slice += 1
            due = self.task.lots * self.slice // SLICES - self.done
            self.trade(due)
        if self.slice < SLICES:
            self.wake(self.starts_at + int(self.slice * seconds / SLICES * SECOND))

    def trade(self, due: int) -> None:
        """Trade so much that the schedule is met."""
        out = sum(lots - filled for lots, filled in self.out.values())
        self.place(None, min(due - out, self.left))


class LimitSliced(Sliced):
    def trade(self, due: int) -> None:
        self.take_back()
        out = sum(lots - filled for key, (lots, filled) in self.out.items() if key not in self.asked)
        self.place(self.touch(far=True), min(due - out, self.left), rests=True)


class Chase(Simple):
    def work(self) -> None:
        touch = self.touch()
        if touch is not None:
            if not self.out:
                self.place(touch, self.left, rests=True, post_only=True)
            else:
                for key in self.out:
                    price = self.prices.get(key, touch)
                    if key not in self.asked and (touch > price if self.task.is_buy else touch < price):
                        self.take_back()
        self.wake(self.play.now + int(FOLLOW_S * SECOND))


BASELINES = {
    "market": AtMarket,
    "join": Join,
    "twap": Sliced,
    "limit-twap": LimitSliced,
    "chase": Chase,
}
