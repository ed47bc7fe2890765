"""Whether a book may be traded on; one rule for plans, algorithms and second opinions."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from ems.core.messages import BookUpdate

BOOK_AGE_S = 5.0  # RELIABILITY.md C.3 #56: an older book is not traded on


def unfit(book: BookUpdate | None, now: datetime, age_s: float = BOOK_AGE_S) -> str:
    """Return why a book may not be traded on; nothing when it may: both sides, not crossed, fresh."""
    if book is None:
        return "no book of it has come"
    if book.unfit:
        return book.unfit
    if not book.bids or not book.asks:
        return "its book has one side, or none"
    if book.bids[0][0] >= book.asks[0][0]:
        return "its book is crossed"
    age = (now - book.at).total_seconds()
    if age > age_s:
        return f"its book is {age:.0f} s old; {age_s:g} s is the most"
    return ""


def mid_of(book: BookUpdate) -> Decimal:
    """Return the middle between the best prices of a book that has both."""
    return (book.bids[0][0] + book.asks[0][0]) / 2
