"""A book as a stream tells it: a snapshot, then changes; believed only while everything in it adds up.

Rules:

1. A change that does not follow the one before, or a checksum that does not fit, and there is no book any
   more: no half of it, no old picture of it. Only a new snapshot begins one.
2. What was told before is told twice at times; it changes nothing.
3. Levels keep the characters they came in: checksums are made of those.
4. A level of quantity zero is gone. Where an exchange tells only the changes within a depth, the book is cut
   to it after each of them: what falls out is not mentioned.

What is checked is what the exchange tells with a change: numbers (`first` to `last`, or the number it
`follows`), the time it was told, a checksum. An exchange that tells none of these can only be seen crossed.
"""

from __future__ import annotations

import binascii
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

Level = tuple[Decimal, Decimal]  # (price, quantity)
Row = tuple[str, str]  # the same in the exchange's own characters
Checksum = Callable[[list[Row], list[Row]], int]  # (bids, asks), best first

GAP = "a message of its stream is missing"
ORDER = "the messages of its stream came out of order"
CHECKSUM = "its checksum does not fit"

DELAY_WINDOW_S = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One message about a book."""

    bids: tuple[Row, ...]
    asks: tuple[Row, ...]
    snapshot: bool = False  # these are all levels
    first: int | None = None  # the numbers of the changes in it; None: not numbered, or by `follows`
    last: int | None = None
    follows: int | None = None  # the `last` of the message before
    checksum: int | None = None  # of the book after it
    told_at: datetime | None = None  # by the exchange's clock


class _Side:
    """The levels of one side, by price."""

    __slots__ = ("_best_first", "_levels", "_prices")

    def __init__(self, *, bids: bool):
        self._best_first = -1 if bids else 1
        self._prices: list[Decimal] = []  # ascending
        self._levels: dict[Decimal, tuple[Decimal, Row]] = {}

    def put(self, row: Row) -> None:
        price, quantity = Decimal(row[0]), Decimal(row[1])
        known = price in self._levels
        if quantity == 0:
            if known:
                del self._levels[price]
                del self._prices[bisect_left(self._prices, price)]
            return
        self._levels[price] = (quantity, row)
        if not known:
            insort(self._prices, price)

    def fill(self, rows: Iterable[Row]) -> None:
        """Begin with these levels; a whole book may have tens of thousands."""
        self._levels = {
            Decimal(row[0]): (quantity, row) for row in rows if (quantity := Decimal(row[1])) != 0
        }
        self._prices = sorted(self._levels)

    def cut(self, depth: int) -> None:
        while len(self._prices) > depth:
            del self._levels[self._prices.pop(0 if self._best_first < 0 else -1)]

    def best(self, count: int) -> list[Decimal]:
        if self._best_first > 0:
            return self._prices[:count]
        return self._prices[: -count - 1 : -1]

    def levels(self, count: int) -> tuple[Level, ...]:
        return tuple((price, self._levels[price][0]) for price in self.best(count))

    def rows(self, count: int) -> list[Row]:
        return [self._levels[price][1] for price in self.best(count)]


class Depth:
    """One book. `apply` alone changes it."""

    def __init__(
        self, *, levels_max: int | None = None, checksum: Checksum | None = None, levels_summed: int = 0
    ):
        """`levels_max`: rule 4; `levels_summed`: how many levels a side `checksum` is made of."""
        self._levels_max = levels_max
        self._checksum = checksum
        self._levels_summed = levels_summed
        self.whole = False  # there is a book, and nothing speaks against it
        self._bids, self._asks = _Side(bids=True), _Side(bids=False)
        self._number: int | None = None  # of the last change
        self._joined = False  # a change has followed the snapshot
        self._told_at: datetime | None = None

    def drop(self) -> None:
        """Forget everything, until the next snapshot."""
        self.whole = False
        self._bids, self._asks = _Side(bids=True), _Side(bids=False)
        self._number, self._joined, self._told_at = None, False, None

    def apply(self, change: Change) -> str:
        """Take one message in; return why the book is no longer to be believed, or nothing.

        Before the first snapshot a change is nothing to add to, and nothing to worry about.
        """
        if change.snapshot:
            self.drop()
        elif not self.whole:
            return ""
        else:
            wrong, known = self._follows(change)
            if wrong:
                self.drop()
                return wrong
            if known:
                return ""
            self._joined = True
        for side, told in ((self._bids, change.bids), (self._asks, change.asks)):
            if change.snapshot:
                side.fill(told)
                continue
            for row in told:
                side.put(row)
        if self._levels_max is not None:
            self._bids.cut(self._levels_max)
            self._asks.cut(self._levels_max)
        if change.last is not None:
            self._number = change.last
        self._told_at = change.told_at or self._told_at
        if change.checksum is not None and self._checksum is not None:
            count = self._levels_summed
            if self._checksum(self._bids.rows(count), self._asks.rows(count)) != change.checksum:
                self.drop()
                return CHECKSUM
        self.whole = True
        return ""

    def _follows(self, change: Change) -> tuple[str, bool]:
        """Return (what is wrong with the order of things, whether this was told before)."""
        number, last = self._number, change.last
        if change.follows is not None:
            # Its own number again, and nothing new: a sign of life, or the same message twice.
            if change.follows == number:
                return "", False
            return ("", True) if last == number else (GAP, False)
        if change.first is not None and last is not None and number is not None:
            if last <= number:
                return "", True
            # A snapshot that came by another way may end in the middle of a message.
            if change.first == number + 1 or (not self._joined and change.first <= number + 1):
                return "", False
            return GAP, False
        if change.told_at is not None and self._told_at is not None and change.told_at < self._told_at:
            return ORDER, False
        return "", False

    def bids(self, count: int) -> tuple[Level, ...]:
        """Return the best levels, best first."""
        return self._bids.levels(count)

    def asks(self, count: int) -> tuple[Level, ...]:
        return self._asks.levels(count)

    @property
    def crossed(self) -> bool:
        """Say whether somebody would buy for more than somebody sells for: no book to trade on."""
        bid, ask = self._bids.best(1), self._asks.best(1)
        return bool(bid and ask and bid[0] >= ask[0])


# --- How late a message is --------------------------------------------------------------------------------


class Delays:
    """How much later than the quickest of late a message is."""

    def __init__(self) -> None:
        self._least: timedelta | None = None  # of this window and the one before
        self._lately: timedelta | None = None  # of this window
        self._since: datetime | None = None

    def late(self, told_at: datetime | None, now: datetime) -> timedelta:
        """Return how late a message is that was told at `told_at` by another's clock; nothing if unknown."""
        if told_at is None:
            return timedelta()
        took = now - told_at
        if self._since is None or (now - self._since).total_seconds() > DELAY_WINDOW_S:
            self._least, self._lately, self._since = self._lately, None, now
        self._lately = took if self._lately is None else min(took, self._lately)
        self._least = self._lately if self._least is None else min(self._least, self._lately)
        return took - self._least


# --- The exchanges' checksums -----------------------------------------------------------------------------


def digits_checksum(bids: list[Row], asks: list[Row]) -> int:
    """Return Kraken's CRC32: asks, then bids, each number without its point and its leading zeros.

    https://docs.kraken.com/exchange/guides/websockets/book-checksum-v2 ; the v1 rule is the same.
    """
    text = "".join(part.replace(".", "").lstrip("0") for row in (*asks, *bids) for part in row)
    return binascii.crc32(text.encode())


def alternating_checksum(bids: list[Row], asks: list[Row]) -> int:
    """Return OKX's CRC32, signed: bid, ask, next bid, next ask, joined by colons.

    https://www.okx.com/docs-v5/en/#order-book-trading-market-data-ws-order-book-channel
    """
    parts: list[str] = []
    for place in range(max(len(bids), len(asks))):
        for side in (bids, asks):
            if place < len(side):
                parts += side[place]
    value = binascii.crc32(":".join(parts).encode())
    return value - 2**32 if value >= 2**31 else value


def rows(levels: Iterable[Iterable[object]]) -> tuple[Row, ...]:
    """Return (price, quantity) of levels written as lists; what else stands in them is left away."""
    found = []
    for level in levels:
        price, quantity, *_ = level
        found.append((str(price), str(quantity)))
    return tuple(found)
