"""Who may send when: buckets fill steadily, cancels go first, and the venue's own count is believed."""

from __future__ import annotations

import asyncio

import pytest

from ems.venues.gateway import VenueUnavailable
from ems.venues.limiter import Buckets, Lane, Limiter, Priority, Shape, TooBusy

ORDERS = Shape(name="orders", capacity=4, per_s=2)
WEIGHT = Shape(name="weight", capacity=10, per_s=1, reserve=3)
ENGINE = Shape(name="engine", capacity=2, per_s=1, cancels_wait=False)


@pytest.mark.parametrize(
    ("name", "costs", "priority", "drawn", "waits"),
    [
        ("a full bucket", {"orders": 1}, Priority.CREATE, {}, 0),
        ("an empty one fills steadily", {"orders": 1}, Priority.CREATE, {"orders": 4}, 0.5),
        ("what is kept for cancels is not for creates", {"weight": 1}, Priority.CREATE, {"weight": 7}, 1),
        ("nor for questions", {"weight": 2}, Priority.QUERY, {"weight": 7}, 2),
        ("but for cancels", {"weight": 3}, Priority.CANCEL, {"weight": 7}, 0),
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
    ],
)
def test_how_long_to_wait(
    name: str, costs: dict[str, float], priority: Priority, drawn: dict[str, float], waits: float
) -> None:
    buckets = Buckets([ORDERS, WEIGHT, ENGINE])
    buckets.take(drawn, now=100)
    assert buckets.wait_s(costs, priority, now=100) == pytest.approx(waits)
    assert buckets.wait_s(costs, priority, now=100 + waits) == pytest.approx(0)


def test_a_bucket_never_holds_more_than_it_can() -> None:
    buckets = Buckets([ORDERS])
    buckets.take({"orders": 4}, now=0)
    buckets.take({"orders": 4}, now=1000)
    assert buckets.wait_s({"orders": 1}, Priority.CREATE, now=1000) == pytest.approx(0.5)


def test_the_venue_counts_more_than_we_do() -> None:
    buckets = Buckets([WEIGHT])
    buckets.used("weight", used=18, now=0, window=20)
    assert buckets.wait_s({"weight": 1}, Priority.CREATE, now=0) == pytest.approx(2)
    buckets.used("weight", used=0, now=0, window=20)  # a lower count gives nothing back
    assert buckets.wait_s({"weight": 1}, Priority.CREATE, now=0) == pytest.approx(2)


def test_a_pause_holds_everybody_even_cancels() -> None:
    buckets = Buckets([ORDERS])
    buckets.pause(30, now=0)
    buckets.pause(10, now=5)  # a shorter one does not shorten it
    for priority in Priority:
        assert buckets.wait_s({"orders": 1}, priority, now=10) == pytest.approx(20)
    assert buckets.wait_s({}, Priority.CANCEL, now=30) == 0


def test_what_cannot_go_in_time_is_told_at_once() -> None:
    async def story() -> float:
        loop = asyncio.get_running_loop()
        limiter = Limiter([Shape(name="orders", capacity=1, per_s=0.1)], loop.time)
        await limiter.acquire(Priority.CREATE, {"orders": 1}, 2)
        started = loop.time()
        with pytest.raises(TooBusy):
            await limiter.acquire(Priority.CREATE, {"orders": 1}, 2)
        return loop.time() - started

    assert asyncio.run(story()) < 0.5


def test_a_cancel_overtakes_and_creates_keep_their_order() -> None:
    async def story() -> list[str]:
        loop = asyncio.get_running_loop()
        limiter = Limiter([Shape(name="orders", capacity=1, per_s=20)], loop.time)
        went: list[str] = []

        async def go(name: str, priority: Priority) -> None:
            await limiter.acquire(priority, {"orders": 1}, 5)
            went.append(name)

        tasks = []
        for name, priority in [
            ("first create", Priority.CREATE),
            ("book", Priority.BOOK),
            ("question", Priority.QUERY),
            ("second create", Priority.CREATE),
            ("third create", Priority.CREATE),
            ("cancel", Priority.CANCEL),
        ]:
            tasks.append(asyncio.create_task(go(name, priority)))
            await asyncio.sleep(0)
        await asyncio.gather(*tasks)
        return went

    assert asyncio.run(story()) == [
        "first create",
        "cancel",
        "second create",
        "third create",
        "question",
        "book",
    ]


def test_a_dear_question_is_not_starved_by_cheap_ones() -> None:
    async def story() -> list[str]:
        loop = asyncio.get_running_loop()
        limiter = Limiter([Shape(name="weight", capacity=4, per_s=40)], loop.time)
        await limiter.acquire(Priority.QUERY, {"weight": 4}, 1)
        went: list[str] = []

        async def go(name: str, cost: int) -> None:
            await limiter.acquire(Priority.QUERY, {"weight": cost}, 5)
            went.append(name)

        tasks = []
        for name, cost in [("dear", 4), ("cheap", 1), ("cheap too", 1)]:
            tasks.append(asyncio.create_task(go(name, cost)))
            await asyncio.sleep(0)
        await asyncio.gather(*tasks)
        return went

    assert asyncio.run(story()) == ["dear", "cheap", "cheap too"]


def test_who_gives_up_leaves_the_place_to_others() -> None:
    async def story() -> list[str]:
        loop = asyncio.get_running_loop()
        limiter = Limiter([Shape(name="orders", capacity=1, per_s=10)], loop.time)
        await limiter.acquire(Priority.CREATE, {"orders": 1}, 1)
        waiting = asyncio.create_task(limiter.acquire(Priority.CREATE, {"orders": 1}, 1))
        after = asyncio.create_task(limiter.acquire(Priority.CREATE, {"orders": 1}, 1))
        await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.wait_for(after, 0.25)  # one token's time, not two
        return ["after"]

    assert asyncio.run(story()) == ["after"]


def test_the_lane_lets_one_through_at_a_time_cancels_first() -> None:
    async def story() -> list[str]:
        lane = Lane(hold_s=5)
        log: list[str] = []

        async def go(name: str, priority: Priority) -> None:
            leave = await lane.enter(priority, 1)
            log.append(f"{name} in")
            await asyncio.sleep(0.01)
            log.append(f"{name} out")
            leave()
            leave()  # twice does no harm

        tasks = []
        for name, priority in [
            ("query", Priority.QUERY),
            ("book", Priority.QUERY),
            ("cancel", Priority.CANCEL),
        ]:
            tasks.append(asyncio.create_task(go(name, priority)))
            await asyncio.sleep(0)
        await asyncio.gather(*tasks)
        return log

    assert asyncio.run(story()) == ["query in", "query out", "cancel in", "cancel out", "book in", "book out"]


def test_a_hanging_request_does_not_hold_the_lane() -> None:
    async def story() -> None:
        lane = Lane(hold_s=0.05)
        await lane.enter(Priority.CREATE, 1)  # never leaves
        leave = await lane.enter(Priority.CANCEL, 1)
        with pytest.raises(TooBusy):
            await lane.enter(Priority.CREATE, 0.01)
        leave()
        (await lane.enter(Priority.CREATE, 0.01))()

    asyncio.run(story())


def test_a_reading_for_which_there_is_no_turn_is_an_unavailable_venue_to_its_caller():
    buckets = Limiter((Shape(name="w", capacity=1, per_s=0.01),), lambda: 0.0)

    async def ask_twice() -> None:
        await buckets.acquire(Priority.QUERY, {"w": 1}, 1.0)
        await buckets.acquire(Priority.QUERY, {"w": 1}, 1.0)

    with pytest.raises(VenueUnavailable, match="rate limit"):
        asyncio.run(ask_twice())
