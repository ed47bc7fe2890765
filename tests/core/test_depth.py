"""A book as a stream tells it: what is believed, what is not, and what is left of it then."""

from __future__ import annotations

import zlib
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from ems.core.depth import (
    CHECKSUM,
    GAP,
    ORDER,
    Change,
    Delays,
    Depth,
    Row,
    alternating_checksum,
    digits_checksum,
    rows,
)

D = Decimal
NOW = datetime(2026, 1, 2, tzinfo=UTC)


def change(bids: str = "", asks: str = "", **more: Any) -> Change:
    """Make a change of `price:quantity` words."""
    return Change(bids=rows(_words(bids)), asks=rows(_words(asks)), **more)


def _words(text: str) -> list[list[str]]:
    return [word.split(":") for word in text.split()]


def shown(depth: Depth, count: int = 9) -> tuple[Any, Any]:
    return depth.bids(count), depth.asks(count)


def levels(text: str) -> tuple[tuple[Decimal, Decimal], ...]:
    return tuple((D(price), D(quantity)) for price, quantity in _words(text))


def test_levels_come_change_and_go() -> None:
    depth = Depth()
    assert not depth.whole and shown(depth) == ((), ())
    assert depth.apply(change("10:1")) == ""  # before the snapshot: nothing to add to
    assert not depth.whole and shown(depth) == ((), ())
    assert depth.apply(change("9:1 10:2 8:0", "11:1 12.5:3", snapshot=True)) == ""
    assert depth.whole and shown(depth) == (levels("10:2 9:1"), levels("11:1 12.5:3"))
    assert depth.apply(change("10.0:0 9.5:4", "11:0.25 99:0")) == ""
    assert shown(depth) == (levels("9.5:4 9:1"), levels("11:0.25 12.5:3"))
    assert shown(depth, 1) == (levels("9.5:4"), levels("11:0.25"))
    assert depth.apply(change("7:7", "8:8", snapshot=True)) == ""
    assert shown(depth) == (levels("7:7"), levels("8:8"))


def test_what_falls_out_of_the_depth_is_gone() -> None:
    depth = Depth(levels_max=2)
    depth.apply(change("10:1 9:1 8:1", "11:1 12:1 13:1", snapshot=True))
    assert shown(depth) == (levels("10:1 9:1"), levels("11:1 12:1"))
    depth.apply(change("9.5:1", "10.5:1"))
    depth.apply(change("10:0", "11:0"))  # 9 and 12 do not come back by themselves
    assert shown(depth) == (levels("9.5:1"), levels("10.5:1"))


# Case -> (numbers of the messages after a snapshot that ends with 10, what is wrong, which of them count)
BY_COUNT: dict[str, tuple[list[tuple[int, int]], str, list[int]]] = {
    "one after the other": ([(11, 11), (12, 15), (16, 16)], "", [0, 1, 2]),
    "the first one began before the snapshot": ([(8, 12), (13, 13)], "", [0, 1]),
    "told before the snapshot": ([(9, 10), (5, 7), (11, 11)], "", [2]),
    "told twice": ([(11, 12), (11, 12), (13, 13)], "", [0, 2]),
    "one is missing": ([(11, 11), (13, 13)], GAP, []),
    "the first one is missing": ([(12, 12)], GAP, []),
    "out of order": ([(12, 12), (11, 11)], GAP, []),
    "overlapping, not at the start": ([(11, 12), (12, 13)], GAP, []),
}


@pytest.mark.parametrize(("numbers", "wrong", "count"), BY_COUNT.values(), ids=BY_COUNT)
def test_numbers_that_count(numbers: list[tuple[int, int]], wrong: str, count: list[int]) -> None:
    depth = Depth()
    depth.apply(change("1:1", "1000:1", snapshot=True, last=10))
    told = [
        depth.apply(change(f"{2 + place}:1", first=first, last=last))
        for place, (first, last) in enumerate(numbers)
    ]
    assert [one for one in told if one] == ([wrong] if wrong else [])
    if wrong:
        assert not depth.whole and shown(depth) == ((), ())
    else:
        assert [int(price) - 2 for price, _ in reversed(depth.bids(99))][1:] == count


# Case -> ((follows, last) of the messages after a snapshot that is called 10, what is wrong)
BY_NAME: dict[str, tuple[list[tuple[int, int]], str]] = {
    "each names the one before": ([(10, 17), (17, 24)], ""),
    "told twice": ([(10, 17), (10, 17), (17, 24)], ""),
    "a sign of life": ([(10, 10), (10, 17), (17, 17)], ""),
    "the numbers begin anew": ([(10, 3), (3, 4)], ""),
    "one is missing": ([(10, 17), (24, 30)], GAP),
    "out of order": ([(17, 24), (10, 17)], GAP),
}


@pytest.mark.parametrize(("names", "wrong"), BY_NAME.values(), ids=BY_NAME)
def test_names_of_the_message_before(names: list[tuple[int, int]], wrong: str) -> None:
    depth = Depth()
    depth.apply(change("1:1", snapshot=True, follows=-1, last=10))
    told = [depth.apply(change("2:1", follows=follows, last=last)) for follows, last in names]
    assert [one for one in told if one] == ([wrong] if wrong else [])
    assert depth.whole is not bool(wrong)


def test_times_that_go_back() -> None:
    depth = Depth()
    depth.apply(change("1:1", snapshot=True))
    assert depth.apply(change("2:1", told_at=NOW)) == ""
    assert depth.apply(change("3:1", told_at=NOW)) == ""
    assert depth.apply(change("4:1", told_at=NOW - timedelta(microseconds=1))) == ORDER
    assert not depth.whole


def test_after_a_gap_only_a_snapshot_begins_a_book() -> None:
    depth = Depth()
    depth.apply(change("1:1", snapshot=True, last=10))
    assert depth.apply(change("2:1", first=12, last=12)) == GAP
    assert depth.apply(change("3:1", first=13, last=13)) == ""
    assert not depth.whole and shown(depth) == ((), ())
    assert depth.apply(change("4:1", snapshot=True, last=5)) == ""
    assert depth.whole and depth.apply(change("5:1", first=6, last=6)) == ""


def test_crossed_and_locked() -> None:
    depth = Depth()
    assert not depth.crossed
    depth.apply(change("10:1", "11:1", snapshot=True))
    assert not depth.crossed
    depth.apply(change("11:1"))
    assert depth.crossed  # one price on both sides is nothing to trade on either
    depth.apply(change("", "11:0"))
    assert not depth.crossed


# --- Checksums ---

# The worked example of https://docs.kraken.com/api/docs/guides/spot-ws-book-v2
KRAKEN_ASKS = (
    "45285.2:0.00100000 45286.4:1.54571953 45286.6:1.54571109 45289.6:1.54560911 45290.2:0.15890660"
    " 45291.8:1.54553491 45294.7:0.04454749 45296.1:0.35380000 45297.5:0.09945542 45299.5:0.18772827"
)
KRAKEN_BIDS = (
    "45283.5:0.10000000 45283.4:1.54582015 45282.1:0.10000000 45281.0:0.10000000 45280.3:1.54592586"
    " 45279.0:0.07990000 45277.6:0.03310103 45277.5:0.30000000 45277.3:1.54602737 45276.6:0.15445238"
)


def kraken() -> Depth:
    return Depth(levels_max=10, checksum=digits_checksum, levels_summed=10)


def test_krakens_worked_example() -> None:
    depth = kraken()
    assert depth.apply(change(KRAKEN_BIDS, KRAKEN_ASKS, snapshot=True, checksum=3310070434)) == ""
    assert depth.whole


@pytest.mark.parametrize(
    ("case", "bids", "asks"),
    [
        ("a digit", KRAKEN_BIDS.replace("0.15445238", "0.15445239"), KRAKEN_ASKS),
        ("a zero at the end", KRAKEN_BIDS, KRAKEN_ASKS.replace("0.00100000", "0.001")),
        ("a level", KRAKEN_BIDS, KRAKEN_ASKS.rpartition(" ")[0]),
        ("the sides", KRAKEN_ASKS, KRAKEN_BIDS),
    ],
)
def test_a_wrong_checksum_leaves_no_book(case: str, bids: str, asks: str) -> None:
    depth = kraken()
    assert depth.apply(change(bids, asks, snapshot=True, checksum=3310070434)) == CHECKSUM
    assert not depth.whole and shown(depth) == ((), ())


@pytest.mark.parametrize(
    ("bids", "asks", "written"),
    [  # the examples of OKX's page
        ("3366.1:7 3366:6", "3366.8:9 3368:8", "3366.1:7:3366.8:9:3366:6:3368:8"),
        ("3366.1:7", "3366.8:9 3368:8 3372:8", "3366.1:7:3366.8:9:3368:8:3372:8"),
    ],
)
def test_okxs_worked_examples(bids: str, asks: str, written: str) -> None:
    found = alternating_checksum(list(rows(_words(bids))), list(rows(_words(asks))))
    assert found & 0xFFFFFFFF == zlib.crc32(written.encode()) and -(2**31) <= found < 2**31


def test_against_a_plain_dictionary() -> None:
    """Ten thousand changes, seed 7: sorted, cut and summed as by somebody who does it the slow way."""
    rng = Random(7)
    depth = Depth(levels_max=30, checksum=alternating_checksum, levels_summed=25)
    depth.apply(Change(bids=(), asks=(), snapshot=True))
    plain: dict[str, dict[Decimal, Row]] = {"bids": {}, "asks": {}}
    for _ in range(10_000):
        side = rng.choice(("bids", "asks"))
        row = (f"{rng.randrange(1000) / 10:.{rng.choice((1, 2))}f}", rng.choice(("0", "0.00", "1", "2.50")))
        known = plain[side]
        known.pop(D(row[0]), None)
        if D(row[1]):
            known[D(row[0])] = row
        best = sorted(known, reverse=side == "bids")
        for price in best[30:]:
            del known[price]
        sums = [
            [known[price] for price in sorted(known, reverse=side == "bids")][:25]
            for side, known in plain.items()
        ]
        wrong = depth.apply(
            Change(
                bids=(row,) if side == "bids" else (),
                asks=(row,) if side == "asks" else (),
                checksum=alternating_checksum(*sums),
            )
        )
        assert wrong == ""
    assert [price for price, _ in depth.bids(99)] == sorted(plain["bids"], reverse=True)
    assert [price for price, _ in depth.asks(99)] == sorted(plain["asks"])


def test_how_late_a_message_is() -> None:
    """Against the quickest of late; the other's clock may be wrong by an hour, and may be set right."""
    delays = Delays()
    hour = timedelta(hours=1)

    def late(after_s: float, took_s: float, wrong: timedelta = hour) -> float:
        now = NOW + timedelta(seconds=after_s)
        return delays.late(now - timedelta(seconds=took_s) + wrong, now).total_seconds()

    assert late(0, 0.3) == 0
    assert late(1, 0.1) == 0
    assert late(2, 0.5) == pytest.approx(0.4)
    assert late(3, 8) == pytest.approx(7.9)
    assert delays.late(None, NOW) == timedelta()
    assert late(4, 0.2, timedelta()) == pytest.approx(3600.1)  # the other's clock was set right
    assert late(70, 0.2, timedelta()) == pytest.approx(3600.1)
    assert late(140, 0.2, timedelta()) == 0  # nobody remembers its old error
