"""Stretches of time: what is covered, what is missing."""

from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from ems.core.spans import common, merged, missing, without

DAY = datetime(2026, 3, 1, tzinfo=UTC)


def at(hour):
    return DAY + timedelta(hours=hour)


def spans(*pairs):
    return [(at(since), at(until)) for since, until in pairs]


@pytest.mark.parametrize(
    ("wanted", "covered", "gaps"),
    [
        ((0, 10), [], [(0, 10)]),
        ((0, 10), [(0, 10)], []),
        ((0, 10), [(-5, 20)], []),
        ((0, 10), [(2, 4)], [(4, 10), (0, 2)]),
        ((0, 10), [(2, 4), (6, 7)], [(7, 10), (4, 6), (0, 2)]),
        ((0, 10), [(-3, 2), (9, 12)], [(2, 9)]),
        ((0, 10), [(10, 12), (-2, 0)], [(0, 10)]),
        ((0, 10), [(5, 5)], [(0, 10)]),
    ],
)
def test_what_is_missing_comes_newest_first(wanted, covered, gaps):
    assert missing((at(wanted[0]), at(wanted[1])), spans(*covered)) == spans(*gaps)


def test_what_touches_is_one():
    assert merged(spans((3, 5), (0, 3), (7, 8), (4, 6))) == spans((0, 6), (7, 8))


def test_what_is_taken_away_is_missing_again():
    assert without(spans((0, 10)), (at(3), at(4))) == spans((0, 3), (4, 10))
    assert without(spans((0, 10)), (at(-3), at(4))) == spans((4, 10))
    assert without(spans((0, 10)), (at(20), at(30))) == spans((0, 10))


def test_what_is_in_both_is_common():
    assert common((at(2), at(9)), spans((0, 3), (5, 6), (8, 12), (10, 11))) == spans((2, 3), (5, 6), (8, 9))
    assert common((at(2), at(9)), spans((0, 2), (9, 12))) == []


def test_minute_by_minute_it_is_the_same():
    """Against the plain way: every minute of a day is covered or not."""
    rng = Random(7)
    for _ in range(200):
        covered = [tuple(sorted((rng.randrange(60), rng.randrange(60)))) for _ in range(rng.randrange(6))]
        low, high = sorted((rng.randrange(60), rng.randrange(60)))
        there = {m for since, until in covered for m in range(since, until)}
        gaps = missing((at(low), at(high)), spans(*covered))
        found = {m for m in range(60) if any(since <= at(m) < until for since, until in gaps)}
        assert found == set(range(low, high)) - there
        assert gaps == sorted(gaps, reverse=True)
