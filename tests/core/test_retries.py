"""Waits between tries: twice as long each time, up to a longest, a little by chance, the same for a seed."""

from __future__ import annotations

import pytest

from ems.core.retries import ORDERS, SPREAD, Retries

POLICY = Retries(first_s=1.0, longest_s=30.0, tries=6)


def seconds(failures: int, seed: str) -> float:
    return POLICY.wait(failures, seed).total_seconds()


@pytest.mark.parametrize(
    ("failures", "steady"), [(1, 1), (2, 2), (3, 4), (4, 8), (5, 16), (6, 30), (7, 30), (10_000, 30)]
)
def test_it_doubles_up_to_the_longest_and_stays_within_its_spread(failures: int, steady: float) -> None:
    waits = [seconds(failures, f"q{number}.1.1") for number in range(400)]
    assert steady * (1 - SPREAD) <= min(waits) < steady * (1 - 0.9 * SPREAD)
    assert steady * (1 + 0.9 * SPREAD) < max(waits) <= steady * (1 + SPREAD)
    assert abs(sum(waits) / len(waits) - steady) < 0.03 * steady, "on average it is what it says"


def test_a_seed_waits_the_same_every_time_and_others_differ() -> None:
    assert seconds(3, "q1.1.1") == seconds(3, "q1.1.1")
    assert len({seconds(3, f"q{number}.1.1") for number in range(100)}) == 100
    third, fourth = seconds(3, "q1.1.1") / 4, seconds(4, "q1.1.1") / 8
    assert abs(third - fourth) > 0.001, "each wait is a draw of its own"


def test_what_orders_are_tried_with_is_what_the_manual_says() -> None:
    assert (ORDERS.first_s, ORDERS.longest_s, ORDERS.tries, SPREAD) == (1.0, 30.0, 6, 0.25)
