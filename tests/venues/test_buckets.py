"""How limits are counted: never more than any venue allows, at any phase and however long things take."""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from itertools import pairwise
from random import Random

import pytest

from ems.venues.buckets import CLOCKS_APART_S, FADES, Buckets, Limit, Places, Priority, Scope, Shape, Window
from ems.venues.dialects import DIALECTS

ORDERS = Shape(name="orders", capacity=4, per_s=2)
WEIGHT = Shape(name="weight", capacity=10, per_s=1, reserve=3, reserve_orders=2)
ENGINE = Shape(name="engine", capacity=2, per_s=1, cancels_wait=False)
CALLS = Window(name="calls", capacity=4, window_s=10, reserve=1)
LIMITS = (ORDERS, WEIGHT, ENGINE, CALLS)


def wait_s(buckets: Buckets, costs: dict[str, float], priority: Priority, now: float, of: str = "a") -> float:
    return buckets.wait_s(of, buckets.keys(of, costs), priority, now)


def draw(buckets: Buckets, costs: dict[str, float], now: float, of: str = "a") -> None:
    """Send something that is answered at once."""
    keys = buckets.keys(of, costs)
    buckets.take(keys, now)
    buckets.landed(keys, now)


@pytest.mark.parametrize(
    ("name", "costs", "priority", "drawn", "waits"),
    [
        ("a full bucket", {"orders": 1}, Priority.CREATE, {}, 0),
        ("an empty one fills steadily", {"orders": 1}, Priority.CREATE, {"orders": 4}, 0.5),
        ("what is kept for cancels is not for creates", {"weight": 1}, Priority.CREATE, {"weight": 7}, 1),
        ("nor for what takes", {"weight": 1}, Priority.TAKE, {"weight": 7}, 1),
        ("and less of it is for questions", {"weight": 1}, Priority.QUERY, {"weight": 5}, 1),
        ("and for books", {"weight": 1}, Priority.BOOK, {"weight": 5}, 1),
        ("and half is not for what was", {"orders": 1}, Priority.HISTORY, {"orders": 2}, 0.5),
        ("than for orders", {"weight": 1}, Priority.CREATE, {"weight": 5}, 0),
        ("all of it is for cancels", {"weight": 3}, Priority.CANCEL, {"weight": 7}, 0),
        (
            "the slowest of several decides",
            {"orders": 1, "weight": 5},
            Priority.CREATE,
            {"weight": 5, "orders": 4},
            3,
        ),
        ("more than fits waits for a full bucket", {"orders": 9}, Priority.CREATE, {"orders": 1}, 0.5),
        ("a venue without this limit", {"unknown": 99}, Priority.CREATE, {}, 0),
        ("each pair has its own", {"engine:A/B": 1}, Priority.CREATE, {"engine:C/D": 2}, 0),
        ("a pair's own counts", {"engine:A/B": 1}, Priority.CREATE, {"engine:A/B": 2}, 1),
        ("a venue that never refuses a cancel", {"engine:A/B": 8}, Priority.CANCEL, {"engine:A/B": 2}, 0),
        ("a window with room", {"calls": 1}, Priority.CREATE, {"calls": 2}, 0),
        ("a window that is full is empty at once, later", {"calls": 1}, Priority.CREATE, {"calls": 3}, 10),
        ("but for a cancel", {"calls": 1}, Priority.CANCEL, {"calls": 3}, 0),
        ("and for it too", {"calls": 1}, Priority.CANCEL, {"calls": 4}, 10),
    ],
)
def test_how_long_to_wait(
    name: str, costs: dict[str, float], priority: Priority, drawn: dict[str, float], waits: float
) -> None:
    buckets = Buckets(LIMITS)
    draw(buckets, drawn, now=100)
    assert wait_s(buckets, costs, priority, now=100) == pytest.approx(waits / FADES)
    assert wait_s(buckets, costs, priority, now=100 + waits / FADES) == pytest.approx(0, abs=1e-9)


def test_a_bucket_never_holds_more_than_it_can() -> None:
    buckets = Buckets(LIMITS)
    draw(buckets, {"orders": 4}, now=0)
    draw(buckets, {"orders": 4}, now=1000)
    assert wait_s(buckets, {"orders": 1}, Priority.CREATE, now=1000) == pytest.approx(0.5 / FADES)


@pytest.mark.parametrize("name", ["orders", "calls"])
def test_what_is_under_way_does_not_fade(name: str) -> None:
    buckets = Buckets(LIMITS)
    one = buckets.keys("a", {name: 1})
    for _ in range(4):
        buckets.take(one, now=0)
    assert wait_s(buckets, {name: 1}, Priority.CANCEL, now=10**6) > 0
    buckets.landed(one, now=10**6)
    assert wait_s(buckets, {name: 1}, Priority.CANCEL, now=10**6 + 20) == 0


@pytest.mark.parametrize("name", ["orders", "calls"])
def test_what_was_never_sent_costs_nothing(name: str) -> None:
    buckets = Buckets(LIMITS)
    one = buckets.keys("a", {name: 4})
    buckets.take(one, now=0)
    assert wait_s(buckets, {name: 1}, Priority.CANCEL, now=0) > 0
    buckets.give_back(one, now=0)
    assert wait_s(buckets, {name: 4}, Priority.CANCEL, now=0) == 0


@pytest.mark.parametrize(
    ("name", "used", "after", "waits"),
    [
        ("weight", 10, 0, 1),
        ("weight", 0, 0, 0),  # a lower count gives nothing back
        ("calls", 4, 0, 10),
        ("calls", 4, 9, 1),
        ("calls", 99, 0, 10),
    ],
)
def test_the_venue_counts_more_than_we_do(name: str, used: float, after: float, waits: float) -> None:
    buckets = Buckets(LIMITS)
    (key,) = buckets.keys("a", {name: 1})
    buckets.used(key, used, now=0, asked_at=0)
    found = wait_s(buckets, {name: 1}, Priority.CANCEL, now=after)
    assert found == pytest.approx(waits, rel=0.02, abs=1e-6)
    draw(buckets, {name: 2}, now=100)
    free = {"weight": 8, "calls": 2}[name]
    buckets.used(key, used=1, now=100, asked_at=100)
    assert wait_s(buckets, {name: free}, Priority.CANCEL, now=100) == 0


def test_what_cancels_have_used_of_a_window_is_no_longer_kept_for_them() -> None:
    buckets = Buckets([Window(name="calls", capacity=4, window_s=10, reserve=2)])
    one = buckets.keys("a", {"calls": 1})
    for _ in range(2):
        buckets.take(one, now=0, priority=Priority.CANCEL)
    buckets.landed(one, now=1, priority=Priority.CANCEL)
    assert wait_s(buckets, {"calls": 2}, Priority.CREATE, now=1) == 0
    assert wait_s(buckets, {"calls": 3}, Priority.CREATE, now=1) > 0
    buckets.give_back(one, now=1, priority=Priority.CANCEL)
    assert wait_s(buckets, {"calls": 2}, Priority.CREATE, now=1) == 0
    assert wait_s(buckets, {"calls": 3}, Priority.CREATE, now=1) > 0  # one is kept again
    assert wait_s(buckets, {"calls": 3}, Priority.CANCEL, now=1) == 0
    draw(buckets, {"calls": 1}, now=12)  # when that is over, two are kept again
    assert wait_s(buckets, {"calls": 1}, Priority.CREATE, now=12) == 0
    assert wait_s(buckets, {"calls": 2}, Priority.CREATE, now=12) > 0


def test_a_count_that_was_made_before_ours_faded_is_no_news() -> None:
    """The answer was under way while a window ended: what it counts is what we sent ourselves."""
    buckets = Buckets([CALLS])
    (key,) = buckets.keys("a", {"calls": 1})
    draw(buckets, {"calls": 4}, now=0)
    buckets.used(key, used=4, now=10.1, asked_at=9.9)
    assert wait_s(buckets, {"calls": 4}, Priority.CANCEL, now=10.1) == 0
    buckets.used(key, used=3, now=10.2, asked_at=10.15)  # this one was asked after, so others are at it
    assert wait_s(buckets, {"calls": 1}, Priority.CANCEL, now=10.2) == 0
    assert wait_s(buckets, {"calls": 2}, Priority.CANCEL, now=10.2) == pytest.approx(10 / FADES)


def test_a_bucket_that_is_full_over_there_is_full_for_as_long_as_is_said() -> None:
    buckets = Buckets(LIMITS)
    (key,) = buckets.keys("a", {"calls": 1})
    buckets.fill(key, now=0, for_s=3)
    assert wait_s(buckets, {"calls": 1}, Priority.CANCEL, now=1) == pytest.approx(2)
    assert wait_s(buckets, {"orders": 1}, Priority.CREATE, now=1) == 0
    buckets.fill(key, now=10)
    assert wait_s(buckets, {"calls": 1}, Priority.CANCEL, now=10) == pytest.approx(10 / FADES)


def test_a_pause_holds_everybody_even_cancels() -> None:
    buckets = Buckets(LIMITS)
    buckets.pause("a", 30, "banned", now=0)
    buckets.pause("a", 10, "slow down", now=5)  # a shorter one does not shorten it
    for priority in Priority:
        assert wait_s(buckets, {"orders": 1}, priority, now=10) == pytest.approx(20)
        assert wait_s(buckets, {"orders": 1}, priority, now=10, of="another") == 0
    assert buckets.why_paused("a", now=10) == "banned"
    assert wait_s(buckets, {}, Priority.CANCEL, now=30) == 0
    assert buckets.why_paused("a", now=30) == ""
    buckets.pause("", 60, "address banned", now=30)
    assert wait_s(buckets, {}, Priority.CANCEL, now=40, of="another") == pytest.approx(50)
    assert buckets.why_paused("a", now=40) == "address banned"


def test_what_the_address_is_counted_by_is_shared_and_the_rest_is_not() -> None:
    buckets = Buckets([Window(name="weight", capacity=5, window_s=60, scope=Scope.IP), ORDERS])
    draw(buckets, {"weight": 3, "orders": 4}, now=0, of="first")
    assert wait_s(buckets, {"weight": 3}, Priority.CREATE, now=1, of="second") == pytest.approx(
        60 / FADES - 1
    )
    assert wait_s(buckets, {"weight": 2, "orders": 4}, Priority.CREATE, now=1, of="second") == 0
    assert wait_s(buckets, {"orders": 4}, Priority.CREATE, now=0, of="first") > 0


def test_windows_of_the_venues_clock_are_new_with_it() -> None:
    buckets = Buckets([Window(name="orders", capacity=2, window_s=10, aligned=True)])
    draw(buckets, {"orders": 2}, now=3)
    assert wait_s(buckets, {"orders": 1}, Priority.CREATE, now=3) == pytest.approx(
        10 / FADES
    )  # where is unknown
    buckets = Buckets([Window(name="orders", capacity=2, window_s=10, aligned=True)])
    buckets.clock.ahead_s, buckets.clock.doubt_s = 1000.0, 0.1
    draw(buckets, {"orders": 2}, now=3)
    assert wait_s(buckets, {"orders": 1}, Priority.CREATE, now=3) == pytest.approx(7 + CLOCKS_APART_S + 0.1)
    # so near to the end that it may have been counted in the next
    draw(buckets, {"orders": 2}, now=19.9)
    assert wait_s(buckets, {"orders": 1}, Priority.CREATE, now=19.9) == pytest.approx(10 / FADES)


def test_places_are_taken_until_the_answer_and_not_for_ever() -> None:
    buckets = Buckets([Places(name="adding", capacity=1, hold_s=1.0)])
    one = buckets.keys("a", {"adding": 1})
    buckets.take(one, now=0)
    assert wait_s(buckets, {"adding": 1}, Priority.CREATE, now=0.4) == pytest.approx(0.6)
    assert wait_s(buckets, {"adding": 1}, Priority.CREATE, now=0.4, of="another") == 0
    buckets.landed(one, now=0.5)
    assert wait_s(buckets, {"adding": 1}, Priority.CREATE, now=0.5) == 0
    buckets.take(one, now=0.5)  # this one hangs
    assert wait_s(buckets, {"adding": 1}, Priority.CREATE, now=1.6) == 0
    buckets.take(one, now=1.6)
    buckets.landed(one, now=1.7)  # of either: the second place is free in a second at the latest
    assert wait_s(buckets, {"adding": 1}, Priority.CREATE, now=2.6) == 0


# --- No interleaving exceeds a limit ---------------------------------------------------------------------


def play(limit: Limit, random: Random, clock_error_s: float = 0.0) -> list[tuple[float, float]]:
    """Send as soon as it is allowed, with every kind of delay; return when what arrived at the venue."""
    buckets = Buckets([limit])
    if isinstance(limit, Window) and limit.aligned:
        buckets.clock.ahead_s = 500.0 + clock_error_s
        buckets.clock.doubt_s = abs(clock_error_s)
    length = limit.window_s if isinstance(limit, Window) else limit.capacity / limit.per_s
    slow = random.choice([0.0, 0.001, 0.05, 0.3, 2.0]) * length
    now, arrived = random.uniform(0, 100), []
    answers: list[tuple[float, int, dict[tuple[str, str], float]]] = []
    for number in range(250):
        cost = random.choice([1, 1, 1, 2, 5])
        keys = buckets.keys("a", {limit.name: min(cost, limit.capacity)})
        if random.random() < 0.05:
            now += random.uniform(0, 2 * length)
        for _ in range(10_000):
            while answers and answers[0][0] <= now:
                at, _, landed = heapq.heappop(answers)
                buckets.landed(landed, at)
            wait = buckets.wait_s("a", keys, Priority.CANCEL, now)
            if wait <= 0:
                break
            # Whatever comes first: what was promised, or an answer.
            now = min(now + max(wait, 1e-4), answers[0][0] if answers else math.inf)
        else:
            raise AssertionError("it never was its turn")
        buckets.take(keys, now)
        arrives = now + random.uniform(0, slow)
        arrived.append((arrives, sum(keys.values())))
        heapq.heappush(answers, (arrives + random.uniform(0, slow), number, keys))
        now += random.expovariate(4 * limit.capacity / length)
    return sorted(arrived)


WINDOWS = {
    (dialect.exchange, limit.name): limit
    for dialect in DIALECTS.values()
    for limit in dialect.limits.shapes
    if isinstance(limit, Window)
} | {("none", "small"): CALLS}
COUNTERS = {
    (dialect.exchange, limit.name): limit
    for dialect in DIALECTS.values()
    for limit in dialect.limits.shapes
    if isinstance(limit, Shape)
} | {("none", "small"): ORDERS}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", list(WINDOWS), ids="/".join)
def test_no_window_at_any_phase_is_ever_exceeded(name: tuple[str, str], seed: int) -> None:
    """Whatever moment the venue's windows begin at, and where they roll: every stretch holds the limit."""
    limit = WINDOWS[name]
    small = Window(name="w", capacity=min(limit.capacity, 60), window_s=limit.window_s)
    arrived = play(small, Random(f"{name}{seed}"))
    first = 0
    held = 0.0
    for at, cost in arrived:
        held += cost
        while arrived[first][0] <= at - small.window_s:
            held -= arrived[first][1]
            first += 1
        assert held <= small.capacity, f"{held} within {small.window_s} s"


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("clock_error_s", [0.0, 0.2, -0.2])
def test_no_window_of_the_venues_clock_is_ever_exceeded(clock_error_s: float, seed: int) -> None:
    limit = Window(name="w", capacity=30, window_s=10, aligned=True)
    windows: dict[int, float] = defaultdict(float)
    arrived = play(limit, Random(f"aligned {seed}"), clock_error_s)
    for at, cost in arrived:
        windows[math.floor((at + 500.0) / limit.window_s)] += cost
    assert max(windows.values()) <= limit.capacity
    assert len(windows) > 3


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", list(COUNTERS), ids="/".join)
def test_no_counter_is_ever_exceeded(name: tuple[str, str], seed: int) -> None:
    limit = COUNTERS[name]
    arrived = play(limit, Random(f"{name}{seed}"))
    value = arrived[0][1]
    for (before, _), (at, cost) in pairwise(arrived):
        value = max(0.0, value - (at - before) * limit.per_s) + cost
        assert value <= limit.capacity, f"{value} of {limit.capacity}"


@pytest.mark.parametrize("limit", [CALLS, ORDERS, Window(name="w", capacity=20, window_s=1)])
def test_nothing_is_wasted_either(limit: Limit) -> None:
    """With quick answers, as much goes out as the limit allows."""
    buckets = Buckets([limit])
    keys = buckets.keys("a", {limit.name: 1})
    now, sent = 0.0, 0
    length = limit.window_s if isinstance(limit, Window) else limit.capacity / limit.per_s
    while now < 20 * length:
        wait = buckets.wait_s("a", keys, Priority.CANCEL, now)
        if wait > 0:
            now += max(wait, 1e-6)
            continue
        buckets.take(keys, now)
        buckets.landed(keys, now)
        sent += 1
    most = 20 * limit.capacity if isinstance(limit, Window) else 21 * limit.capacity
    assert sent >= 0.97 * most
