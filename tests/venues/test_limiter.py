"""Who may send when: cancels go first, nobody is starved, and two accounts behind one address share."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from ems.venues.gateway import VenueUnavailable
from ems.venues.limiter import Budget, Lane, Limiter, Priority, Scope, Shape, TooBusy, Window


def budget(*limits: Shape | Window) -> Budget:
    return Limiter(limits).of("a")


def test_what_cannot_go_in_time_is_told_at_once() -> None:
    async def story() -> float:
        loop = asyncio.get_running_loop()
        limiter = budget(Shape(name="orders", capacity=1, per_s=0.1))
        (await limiter.acquire(Priority.CREATE, {"orders": 1}, 2)).over()
        started = loop.time()
        with pytest.raises(TooBusy):
            await limiter.acquire(Priority.CREATE, {"orders": 1}, 2)
        return loop.time() - started

    assert asyncio.run(story()) < 0.5


def test_a_cancel_overtakes_and_creates_keep_their_order() -> None:
    async def story() -> list[str]:
        limiter = budget(Shape(name="orders", capacity=1, per_s=20))
        went: list[str] = []

        async def go(name: str, priority: Priority) -> None:
            (await limiter.acquire(priority, {"orders": 1}, 5)).over()
            went.append(name)

        tasks = []
        for name, priority in [
            ("first create", Priority.CREATE),
            ("book", Priority.BOOK),
            ("question", Priority.QUERY),
            ("second create", Priority.CREATE),
            ("an order that takes", Priority.TAKE),
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
        "an order that takes",
        "second create",
        "third create",
        "question",
        "book",
    ]


def test_a_dear_question_is_not_starved_by_cheap_ones() -> None:
    async def story() -> list[str]:
        limiter = budget(Shape(name="weight", capacity=4, per_s=40))
        (await limiter.acquire(Priority.QUERY, {"weight": 4}, 1)).over()
        went: list[str] = []

        async def go(name: str, cost: int) -> None:
            (await limiter.acquire(Priority.QUERY, {"weight": cost}, 5)).over()
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
        limiter = budget(Shape(name="orders", capacity=1, per_s=10))
        (await limiter.acquire(Priority.CREATE, {"orders": 1}, 1)).over()
        waiting = asyncio.create_task(limiter.acquire(Priority.CREATE, {"orders": 1}, 1))
        after = asyncio.create_task(limiter.acquire(Priority.CREATE, {"orders": 1}, 1))
        await asyncio.sleep(0.01)
        waiting.cancel()
        (await asyncio.wait_for(after, 0.25)).over()  # one token's time, not two
        return ["after"]

    assert asyncio.run(story()) == ["after"]


def test_one_bucket_that_is_short_holds_nothing_else_up() -> None:
    """Orders wait for theirs; questions, which share the weight with them, go on."""

    async def story() -> None:
        limiter = budget(
            Shape(name="orders", capacity=1, per_s=0.1), Shape(name="weight", capacity=5, per_s=1)
        )
        (await limiter.acquire(Priority.CREATE, {"orders": 1, "weight": 1}, 1)).over()
        waiting = asyncio.create_task(limiter.acquire(Priority.CREATE, {"orders": 1, "weight": 1}, 30))
        await asyncio.sleep(0)
        for _ in range(3):
            (await limiter.acquire(Priority.QUERY, {"weight": 1}, 0.01)).over()
        with pytest.raises(TooBusy):  # the last one is what the order will need
            await limiter.acquire(Priority.QUERY, {"weight": 1}, 0.01)
        assert not waiting.done()
        waiting.cancel()

    asyncio.run(story())


def test_who_is_let_through_and_gives_up_in_that_moment_pays_nothing() -> None:
    async def story() -> None:
        limiter = budget(Window(name="orders", capacity=1, window_s=60))
        first = await limiter.acquire(Priority.CREATE, {"orders": 1}, 1)
        waiting = asyncio.create_task(limiter.acquire(Priority.CANCEL, {"orders": 1}, 100))
        await asyncio.sleep(0)
        first.over(sent=False)
        await asyncio.sleep(0)  # the place is given on
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        (await limiter.acquire(Priority.CREATE, {"orders": 1}, 0)).over()

    asyncio.run(story())


def test_two_accounts_behind_one_address_share_what_it_is_counted_by() -> None:
    async def story() -> None:
        weight = Window(name="weight", capacity=10, window_s=60, reserve=2, scope=Scope.IP)
        limiter = Limiter([weight, Window(name="orders", capacity=9, window_s=60)])
        first, second = limiter.of("first"), limiter.of("second")
        for _ in range(8):
            (await first.acquire(Priority.CREATE, {"weight": 1, "orders": 1}, 0)).over()
        with pytest.raises(TooBusy):
            await second.acquire(Priority.CREATE, {"weight": 1, "orders": 1}, 0)
        (await second.acquire(Priority.CANCEL, {"weight": 1}, 0)).over()
        (await second.acquire(Priority.CREATE, {"orders": 9}, 0)).over()
        second.believe("weight", used=10, asked_at=0.0)
        with pytest.raises(TooBusy):
            await first.acquire(Priority.CANCEL, {"weight": 1}, 0)

    asyncio.run(story())


def test_a_ban_of_the_address_stops_every_account_and_ends_by_itself() -> None:
    async def story() -> None:
        limiter = Limiter([])
        first, second = limiter.of("first"), limiter.of("second")
        first.pause(0.2, Scope.ACCOUNT, "locked out")
        (await second.acquire(Priority.CANCEL, {}, 0)).over()
        with pytest.raises(TooBusy, match="locked out"):
            await first.acquire(Priority.CANCEL, {}, 0)
        first.pause(0.3, Scope.IP, "address banned")
        with pytest.raises(TooBusy, match="address banned"):
            await second.acquire(Priority.CANCEL, {}, 0)
        assert 0 < second.paused_s() <= 0.3 and second.why_paused() == "address banned"
        (await second.acquire(Priority.CANCEL, {}, 5)).over()
        (await first.acquire(Priority.CREATE, {}, 0)).over()
        assert (second.paused_s(), second.why_paused()) == (0, "")

    asyncio.run(story())


def test_cancels_do_not_starve_under_ten_times_the_load() -> None:
    """RELIABILITY F 28: a flood of orders and questions, ten times what the limit lets through."""

    async def story() -> tuple[int, list[float], list[float]]:
        loop = asyncio.get_running_loop()
        limiter = budget(Shape(name="private", capacity=20, per_s=100, reserve=2))
        sent: list[float] = []
        waits: list[float] = []

        async def one(priority: Priority) -> None:
            asked_at = loop.time()
            turn = await limiter.acquire(priority, {"private": 1}, 30)
            sent.append(loop.time())
            if priority is Priority.CANCEL:
                waits.append(loop.time() - asked_at)
            await asyncio.sleep(0.005)  # the answer
            turn.over()

        flood = [asyncio.create_task(one(Priority.CREATE)) for _ in range(1500)]
        flood += [asyncio.create_task(one(Priority.QUERY)) for _ in range(500)]
        cancels = []
        for _ in range(40):
            cancels.append(asyncio.create_task(one(Priority.CANCEL)))
            await asyncio.sleep(0.05)
        await asyncio.gather(*cancels)
        for task in flood:
            task.cancel()
        return len(cancels), sent, waits

    cancels, sent, waits = asyncio.run(story())
    assert len(waits) == cancels
    assert max(waits) < 1.0, sorted(waits)[-5:]
    value = 1.0
    for before, at in pairwise(sent):
        value = max(0.0, value - (at - before) * 100) + 1
        assert value <= 20 + 1  # these are times of sending, a hair after they were allowed


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
    buckets = Limiter((Shape(name="w", capacity=1, per_s=0.01),), lambda: 0.0).of("a")

    async def ask_twice() -> None:
        await buckets.acquire(Priority.QUERY, {"w": 1}, 1.0)
        await buckets.acquire(Priority.QUERY, {"w": 1}, 1.0)

    with pytest.raises(VenueUnavailable, match="rate limit"):
        asyncio.run(ask_twice())
