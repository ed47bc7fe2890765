"""One pass over a recording with many parents at once.

Everything that happens is one of three: a recorded event at the venue, a public message that reaches our
side, or something of a parent (a wake-up, a request that arrives, an answer that comes back). The earliest
comes first. Parents see nothing but what was delivered to them: public data is late by one way of their
latency, and so is every answer.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any, Protocol

from ems.algos.signals import Signals, Tape
from ems.core.messages import BookUpdate, PublicTrade, Side
from tests.bench.replay.feed import QUOTE, SECOND, TRADE, Recording
from tests.bench.replay.venue import Line, Venue

# As the gateway delivers: ems/venues/streams.py.
BOOK_EVERY = 100_000
BOOK_SILENCE = 5 * SECOND
BOOK_POLL = 2 * SECOND
BOOK_LEVELS = 20

REMEMBERED = 400_000  # levels whose decimals are kept

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
NEVER = math.inf

Levels = tuple[
    tuple[tuple[int, int], ...], tuple[tuple[int, int], ...]
]  # bids, asks: (price, lots), best first


def moment(at: int) -> datetime:
    return EPOCH + timedelta(microseconds=at)


def microseconds(when: datetime) -> int:
    return (when - EPOCH) // MICROSECOND


@dataclass(frozen=True, slots=True)
class Latency:
    """How long messages take: half of it out, half of it back. Four fifths of each are fixed, the rest is a
    lognormal tail that keeps the mean."""

    total_ms: int

    @property
    def one_way(self) -> int:
        return self.total_ms * 500

    def draw(self, random: Random) -> int:
        return int(self.one_way * (0.8 + 0.2 * random.lognormvariate(-0.5, 1.0)))


class Parent(Protocol):
    """Somebody with a quantity to trade."""

    starts_at: int
    feed: Feed
    line: Line
    over: bool

    def start(self) -> None: ...

    def on_book(self) -> None: ...

    def stop(self) -> None: ...


class Amounts:
    """Ticks and lots as decimals, converted once each."""

    def __init__(self, recording: Recording) -> None:
        self.tick, self.lot = recording.tick, recording.lot
        self._levels = _Converted(recording.tick, recording.lot)

    def price(self, ticks: int) -> Decimal:
        return ticks * self.tick

    def quantity(self, lots: int) -> Decimal:
        return lots * self.lot

    def ticks(self, price: Decimal) -> int:
        return int(price / self.tick)

    def lots(self, quantity: Decimal) -> int:
        return int(quantity / self.lot)

    def levels(self, side: Sequence[tuple[int, int]]) -> tuple[tuple[Decimal, Decimal], ...]:
        converted = self._levels
        if len(converted) > REMEMBERED:
            converted.clear()
        return tuple([converted[level] for level in side])


class _Converted(dict[tuple[int, int], tuple[Decimal, Decimal]]):
    """(ticks, lots) -> (price, quantity)."""

    def __init__(self, tick: Decimal, lot: Decimal) -> None:
        self._tick, self._lot = tick, lot

    def __missing__(self, level: tuple[int, int]) -> tuple[Decimal, Decimal]:
        self[level] = pair = (level[0] * self._tick, level[1] * self._lot)
        return pair


class Feed:
    """Public data as it reaches everybody of one latency."""

    def __init__(self, play: Play, latency: Latency, seed: int) -> None:
        self._play = play
        self.latency = latency
        self._random = Random(seed)
        # Books and trades come in two streams; each keeps its order.
        self._books: deque[tuple[int, Levels, Any]] = deque()
        self._trades: deque[tuple[int, PublicTrade]] = deque()
        self.open: list[Parent] = []
        self.reset()

    def reset(self) -> None:
        """Forget everything, as a process does that has just started."""
        self.tape = Tape()
        self.book: BookUpdate | None = None
        self.levels: Levels | None = None
        self._books.clear()
        self._trades.clear()
        self._looks: dict[Side, tuple[datetime, int, Signals]] = {}
        self._version = 0

    @property
    def due(self) -> float:
        book = self._books[0][0] if self._books else NEVER
        return min(book, self._trades[0][0]) if self._trades else book

    def post_book(self, now: int, levels: Levels, decimals: Any) -> None:
        due = now + self.latency.draw(self._random)
        self._books.append((max(due, self._books[-1][0]) if self._books else due, levels, decimals))

    def post_trade(self, now: int, price: Decimal, quantity: Decimal, side: Side) -> None:
        due = now + self.latency.draw(self._random)
        due = max(due, self._trades[-1][0]) if self._trades else due
        symbol = self._play.recording.symbol
        trade = PublicTrade(symbol=symbol, price=price, quantity=quantity, side=side, at=moment(due))
        self._trades.append((due, trade))

    def deliver(self) -> None:
        """Let the next message in."""
        self._version += 1
        if self._trades and self._trades[0][0] == self.due:
            self.tape.trade(self._trades.popleft()[1])
            return
        at, self.levels, (bids, asks) = self._books.popleft()
        symbol = self._play.recording.symbol
        self.book = BookUpdate(symbol=symbol, bids=bids, asks=asks, at=moment(at))
        self.tape.book(self.book)
        for parent in tuple(self.open):
            parent.on_book()

    def look(self, side: Side, now: datetime) -> Signals:
        """Return the shared signals: public data only, nobody's own fills."""
        held = self._looks.get(side)
        if held is not None and held[0] == now and held[1] == self._version:
            return held[2]
        signals = self.tape.look(side, now)
        self._looks[side] = (now, self._version, signals)
        return signals


class Play:
    """A recording, its venue, and everybody who trades there."""

    def __init__(self, recording: Recording, *, warm_up_s: float = 300.0, seed: int = 0) -> None:
        self.recording = recording
        self.venue = Venue(recording)
        self.amounts = Amounts(recording)
        self.now = recording.begins
        self.feeds: dict[int, Feed] = {}
        self._seed = seed
        self._warm_up = int(warm_up_s * SECOND)
        self._todo: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = itertools.count()
        self._parents: list[Parent] = []
        self._unfinished = 0
        self._to_start: deque[int] = deque()
        self._published = False
        self._shown: Levels | None = None
        self._shown_at = 0  # of the last book that was published
        self._dirty = False

    def feed(self, total_ms: int) -> Feed:
        if total_ms not in self.feeds:
            self.feeds[total_ms] = Feed(self, Latency(total_ms), self._seed + total_ms)
        return self.feeds[total_ms]

    def add(self, parent: Parent) -> None:
        self._parents.append(parent)

    def at(self, when: int, what: Callable[..., None], *arguments: Any) -> None:
        heapq.heappush(self._todo, (when, next(self._count), what, arguments))

    def run(self, tell: Callable[[float], None] | None = None) -> None:
        """Play until every parent is over, or the recording is."""
        waiting = deque(sorted(self._parents, key=lambda parent: parent.starts_at))
        self._unfinished = len(waiting)
        for parent in waiting:
            self.at(parent.starts_at, self._start, parent)
        self._to_start = deque(parent.starts_at for parent in waiting)
        events = self.recording.events
        index, todo, feeds = 0, self._todo, list(self.feeds.values())
        tell_at = 0.02
        while self._unfinished:
            at_event = events[index][0] if index < len(events) else NEVER
            at_todo = todo[0][0] if todo else NEVER
            at_feed = min(feed.due for feed in feeds)
            at_show = self._show_due() if self._published else NEVER
            first = min(at_event, at_todo, at_feed, at_show)
            if first == NEVER:
                break
            self.now = int(first)
            if first == at_show:
                self._show()
            elif first == at_feed:
                next(feed for feed in feeds if feed.due == at_feed).deliver()
            elif first == at_todo:
                _, _, what, arguments = heapq.heappop(todo)
                what(*arguments)
            else:
                event = events[index]
                index += 1
                self.venue.play(event)
                if event[1] == TRADE:
                    if self._published:
                        self._publish_trade(event)
                elif event[1] != QUOTE:  # the gateway follows the book, which has them a little later
                    self._dirty = True
                self._turn_on_or_off()
                if tell is not None and index / len(events) >= tell_at:
                    tell(index / len(events))
                    tell_at += 0.02
        for parent in self._parents:  # the recording is over before they are
            if not parent.over:
                parent.stop()

    def _start(self, parent: Parent) -> None:
        self._to_start.popleft()
        if not self.venue.usable:  # no arrival price: nobody starts here
            parent.over = True
            self._unfinished -= 1
            return
        parent.feed.open.append(parent)
        parent.start()

    def finished(self, parent: Parent) -> None:
        self._unfinished -= 1
        parent.feed.open.remove(parent)

    def _turn_on_or_off(self) -> None:
        """Public data is delivered while somebody trades, and for the warm-up before."""
        wanted = any(feed.open for feed in self.feeds.values()) or (
            bool(self._to_start) and self.now >= self._to_start[0] - self._warm_up
        )
        if wanted and not self._published:
            for feed in self.feeds.values():
                feed.reset()
            self._shown, self._shown_at, self._dirty = None, 0, True
        self._published = wanted

    def _show_due(self) -> float:
        if self._dirty:
            return max(self.now, self._shown_at + BOOK_EVERY)
        return self._shown_at + BOOK_SILENCE

    def _show(self) -> None:
        book = self.venue.book
        if not self.venue.usable:
            self._dirty = False
            self._shown_at = self.now
            return
        bids, asks = book.bid, book.ask
        levels = (
            tuple([(price, bids[price]) for price in book.bids[: -BOOK_LEVELS - 1 : -1]]),
            tuple([(price, asks[price]) for price in book.asks[:BOOK_LEVELS]]),
        )
        if self._dirty:
            self._dirty = False
            self._shown_at = self.now
            if levels == self._shown:
                return
        else:
            self._shown_at = self.now - BOOK_SILENCE + BOOK_POLL  # silence: asked for again, every so often
        self._shown = levels
        decimals = (self.amounts.levels(levels[0]), self.amounts.levels(levels[1]))
        for feed in self.feeds.values():
            feed.post_book(self.now, levels, decimals)

    def _publish_trade(self, event: tuple[Any, ...]) -> None:
        side = Side.BUY if event[4] else Side.SELL
        price, quantity = self.amounts.price(event[2]), self.amounts.quantity(event[3])
        for feed in self.feeds.values():
            feed.post_trade(event[6], price, quantity, side)
