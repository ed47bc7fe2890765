"""Several sources' books of one market side by side, and what they say of one another.

Rules:

1. A source that is old, crossed or broken is left out, with the reason. What is left may be crossed between
   sources: somebody bids more on one exchange than another asks. That is allowed, and visible.
2. A second opinion only ever takes trust away. It is no price to trade at, and no reason to trade.
3. An opinion on a book counts when it is of that very book, or when most of several others agree. Two
   exchanges that contradict each other prove nothing of either.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from ems.core.fitness import BOOK_AGE_S, mid_of, unfit
from ems.core.messages import BookUpdate

FAR = Decimal("0.02")  # from the others for longer than a moment: not traded on (RELIABILITY.md C.3 #57)
WILD = Decimal("0.1")  # from the others: not traded on from the first moment
MOMENT_S = 1.0
OPINION_AGE_S = 10.0  # an older one is no opinion


@dataclass(frozen=True, kw_only=True, slots=True)
class SourcedLevel:
    """One level as one source shows it."""

    price: Decimal
    quantity: Decimal
    source: str
    age_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Consolidated:
    """One market over all its sources, best level first."""

    bids: tuple[SourcedLevel, ...]
    asks: tuple[SourcedLevel, ...]
    mids: Mapping[str, Decimal] = field(default_factory=dict)  # source -> middle of its own book
    left_out: Mapping[str, str] = field(default_factory=dict)  # source -> why it does not count

    @property
    def crossed(self) -> bool:
        """Say whether one source bids at least what another asks."""
        return bool(self.bids and self.asks and self.bids[0].price >= self.asks[0].price)

    @property
    def mid(self) -> Decimal | None:
        """Return the median of the sources' own middles: one wrong source does not move it far."""
        return median(self.mids.values()) if self.mids else None


def consolidate(
    books: Mapping[str, BookUpdate], now: datetime, *, age_s: float = BOOK_AGE_S, levels: int = 50
) -> Consolidated:
    """Put the books of one market together: source -> its book."""
    left_out = {source: why for source, book in books.items() if (why := unfit(book, now, age_s))}
    good = {source: book for source, book in sorted(books.items()) if source not in left_out}

    def side(rows: Iterable[tuple[str, Sequence[tuple[Decimal, Decimal]]]]) -> list[SourcedLevel]:
        return [
            SourcedLevel(
                price=price,
                quantity=quantity,
                source=source,
                age_s=max((now - good[source].at).total_seconds(), 0.0),
            )
            for source, shown in rows
            for price, quantity in shown
        ]

    bids = side((source, book.bids) for source, book in good.items())
    asks = side((source, book.asks) for source, book in good.items())
    return Consolidated(
        bids=tuple(sorted(bids, key=lambda level: -level.price)[:levels]),
        asks=tuple(sorted(asks, key=lambda level: level.price)[:levels]),
        mids={source: mid_of(book) for source, book in good.items()},
        left_out=left_out,
    )


def reference(mids: Mapping[str, Decimal], same: str | None = None) -> Decimal | None:
    """Return the middle that a book is to be compared with; None where nothing sound can be said (rule 3).

    `mids`: of the other sources; `same`: the one among them that shows the very book in question.
    """
    if not mids:
        return None
    mid = median(mids.values())
    if len(mids) == 1:
        return mid if same in mids else None
    agreeing = sum(1 for one in mids.values() if abs(one - mid) <= mid * FAR)
    return mid if agreeing >= 2 and agreeing * 2 > len(mids) else None


def median(values: Iterable[Decimal]) -> Decimal:
    """Return the middle one of some numbers; of two in the middle, what lies between them."""
    ordered = sorted(values)
    half, odd = divmod(len(ordered), 2)
    return ordered[half] if odd else (ordered[half - 1] + ordered[half]) / 2


def distance(book: BookUpdate, mid: Decimal) -> Decimal:
    """Return how far outside a book's own spread a middle lies, as a share of that middle."""
    bid, ask = book.bids[0][0], book.asks[0][0]
    return max(bid - mid, mid - ask, Decimal(0)) / mid
