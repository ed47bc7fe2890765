"""Several sources side by side: who counts, what they show together, what they say of one another."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from ems.core.consolidated import consolidate, distance, median, reference
from ems.core.fitness import BOOK_AGE_S, mid_of, unfit
from ems.core.messages import BookUpdate
from tests.builders import at, book

D = Decimal
GOOD = book("100", "101")
NOW = at(0)


@pytest.mark.parametrize(
    ("case", "one", "after_s", "why"),
    [
        ("good", GOOD, 0, ""),
        ("as old as may be", GOOD, BOOK_AGE_S, ""),
        ("too old", GOOD, BOOK_AGE_S + 1.5, "its book is 6 s old; 5 s is the most"),
        ("none", None, 0, "no book of it has come"),
        ("crossed", book("101", "100"), 0, "its book is crossed"),
        ("locked", book("100", "100"), 0, "its book is crossed"),
        ("one side", replace(GOOD, asks=()), 0, "its book has one side, or none"),
        ("empty", replace(GOOD, bids=(), asks=()), 0, "its book has one side, or none"),
        ("broken", replace(GOOD, unfit="a message is missing"), 0, "a message is missing"),
    ],
)
def test_why_a_book_may_not_be_traded_on(case: str, one: BookUpdate | None, after_s: float, why: str) -> None:
    assert unfit(one, at(after_s)) == why


def test_sources_side_by_side() -> None:
    books = {
        "a": book("100", "101", when=8),
        "b": book("100.25", "100.75", when=9.5),
        "old": book("500", "501", when=0),
        "broken": replace(book("500", "501", when=10), unfit="a gap"),
        "crossed": book("500", "499", when=10),
    }
    shown = consolidate(books, at(10), levels=3)
    assert [(level.price, level.source, level.age_s) for level in shown.bids] == [
        (D("100.25"), "b", 0.5),
        (D("100"), "a", 2.0),
        (D("99.75"), "b", 0.5),
    ]
    assert [(level.price, level.source) for level in shown.asks] == [
        (D("100.75"), "b"),
        (D("101"), "a"),
        (D("101.25"), "b"),
    ]
    assert set(shown.left_out) == {"old", "broken", "crossed"}
    assert (shown.mid, shown.crossed) == (D("100.5"), False)


def test_crossed_between_exchanges_is_allowed_and_visible() -> None:
    shown = consolidate({"a": book("100", "101"), "b": book("102", "103")}, NOW)
    assert shown.crossed and not shown.left_out
    assert (shown.bids[0].source, shown.asks[0].source) == ("b", "a")
    assert not consolidate({}, NOW).crossed and consolidate({}, NOW).mid is None


@pytest.mark.parametrize(
    ("case", "mids", "same", "expected"),
    [
        ("nobody", {}, None, None),
        ("another exchange alone", {"b": "100"}, None, None),
        ("the very book, by another way", {"a by p": "100"}, "a by p", "100"),
        ("two that agree", {"b": "100", "c": "101"}, None, "100.5"),
        ("two that do not", {"b": "100", "c": "110"}, None, None),
        ("the very book and another, apart", {"a by p": "100", "c": "110"}, "a by p", None),
        ("two of three", {"b": "100", "c": "101", "d": "900"}, None, "101"),
        ("two and two", {"b": "100", "c": "101", "d": "900", "e": "901"}, None, None),
    ],
)
def test_what_a_book_is_compared_with(
    case: str, mids: dict[str, str], same: str | None, expected: str | None
) -> None:
    found = reference({name: D(mid) for name, mid in mids.items()}, same)
    assert found == (None if expected is None else D(expected))


def test_how_far_off_a_book_is() -> None:
    assert mid_of(GOOD) == D("100.5")
    assert distance(GOOD, D("100.2")) == distance(GOOD, D("101")) == 0  # inside its own spread
    assert distance(GOOD, D("80")) == D("0.25") and distance(GOOD, D("202")) == D("0.5")


def test_the_middle_one() -> None:
    assert median([D(3)]) == 3 and median([D(3), D(1), D(2)]) == 2 and median([D(4), D(1)]) == D("2.5")
