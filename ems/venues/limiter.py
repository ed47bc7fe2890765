"""Who may send next, and when: cancels first, books last; and a lane where nonces arrive in order.

One `Limiter` serves all accounts of one exchange in this process, because the exchange counts some things by
address; each account acts through its `Budget`. What is counted how is in `buckets`. A cancel goes before an
order, an order that takes before one that rests, an order before a question, a question before a picture of a
book, whichever account they are of.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from ems.venues.buckets import Buckets, Key, Limit, Places, Priority, Scope, Shape, Window
from ems.venues.gateway import VenueUnavailable

__all__ = [
    "Budget",
    "Lane",
    "Limit",
    "Limiter",
    "Places",
    "Priority",
    "Scope",
    "Shape",
    "TooBusy",
    "Turn",
    "Window",
]


class TooBusy(VenueUnavailable):
    """Our own limits would not let this go out in time; nothing was sent."""

    def __init__(self, wait_s: float, why: str = ""):
        super().__init__(f"rate limit: {wait_s:.1f} s to wait" + (f" ({why})" if why else ""))
        self.wait_s = wait_s


class Turn:
    """The right to send one thing, paid for. `over` says that the answer is here, or never will be."""

    __slots__ = ("_costs", "_limiter", "_over", "_priority")

    def __init__(self, limiter: Limiter, costs: Mapping[Key, float], priority: Priority):
        self._limiter = limiter
        self._costs = costs
        self._priority = priority
        self._over = False

    def over(self, *, sent: bool = True) -> None:
        """End it; what was certainly not sent costs nothing. Calling that twice does no harm."""
        if not self._over:
            self._over = True
            self._limiter.ended(self._costs, self._priority, sent)


@dataclass(slots=True)
class _Waiter:
    account: str
    priority: Priority
    arrival: int
    costs: Mapping[Key, float]
    turn: asyncio.Future[None]


# Those who wait for the same buckets with the same right are one queue.
_Queue = tuple[Priority, str, tuple[Key, ...]]


class Limiter:
    """Let callers through in order of priority as their buckets fill.

    `clock` is steady and in seconds, the event loop's where none is given: all of it happens on one loop.
    """

    def __init__(self, limits: Iterable[Limit], clock: Callable[[], float] | None = None):
        self.buckets = Buckets(limits)
        self.clock = clock or _loop_time
        self._order = itertools.count()
        self._queues: dict[_Queue, deque[_Waiter]] = {}
        self._pumping: asyncio.Handle | None = None

    def of(self, account: str) -> Budget:
        """Return what one account may use; two that are one to the exchange have one name here."""
        return Budget(self, account)

    async def acquire(
        self, account: str, priority: Priority, costs: Mapping[str, float], max_wait_s: float
    ) -> Turn:
        """Return when the costs are paid; raise TooBusy as soon as that would clearly take too long."""
        drawn = self.buckets.keys(account, costs)
        now = self.clock()
        wait = self.buckets.wait_s(account, drawn, priority, now)
        if wait > max_wait_s:
            raise TooBusy(wait, self.buckets.why_paused(account, now))
        if wait <= 0 and not self._queues:
            self.buckets.take(drawn, now, priority)
            return Turn(self, drawn, priority)
        loop = asyncio.get_running_loop()
        waiter = _Waiter(account, priority, next(self._order), drawn, loop.create_future())
        queue = (priority, account, tuple(sorted(drawn)))
        self._queues.setdefault(queue, deque()).append(waiter)
        self._pump()
        try:
            async with asyncio.timeout(max_wait_s):
                await waiter.turn
        except BaseException as error:
            if waiter.turn.done() and not waiter.turn.cancelled():
                self.ended(drawn, priority, sent=False)  # it became ours in the moment we gave up
            waiter.turn.cancel()
            self._soon()  # whoever stood behind need not wait for our sake
            if isinstance(error, TimeoutError):
                now = self.clock()
                wait = self.buckets.wait_s(account, drawn, priority, now)
                raise TooBusy(wait, self.buckets.why_paused(account, now)) from None
            raise
        return Turn(self, drawn, priority)

    def ended(self, costs: Mapping[Key, float], priority: Priority, sent: bool) -> None:
        """Hear that a turn is over; for `Turn`."""
        if sent:
            self.buckets.landed(costs, self.clock(), priority)
        else:
            self.buckets.give_back(costs, self.clock(), priority)
        self._soon()

    def _soon(self) -> None:
        """Look again once the loop has done what it is doing; many turns may end in one go."""
        if self._queues:
            self._again(0.0)

    def _again(self, delay_s: float) -> None:
        if self._pumping is not None:
            self._pumping.cancel()
        loop = asyncio.get_running_loop()
        self._pumping = loop.call_later(delay_s, self._pump) if delay_s > 0 else loop.call_soon(self._pump)

    def _pump(self) -> None:
        """Let through whoever can pay. Who cannot holds the place in the bucket that is short against those
        behind, and what will be needed of the others is not theirs either."""
        if self._pumping is not None:
            self._pumping.cancel()
            self._pumping = None
        now = self.clock()
        heads: list[tuple[Priority, int, _Queue]] = []
        for queue in list(self._queues):
            self._offer(queue, heads)
        held: set[Key] = set()
        spoken_for: dict[Key, float] = {}
        soonest: float | None = None
        while heads:
            _, _, queue = heapq.heappop(heads)
            waiter = self._queues[queue][0]
            costs, priority = waiter.costs, waiter.priority
            wait = self.buckets.wait_s(waiter.account, costs, priority, now, spoken_for)
            if wait <= 0 and held.isdisjoint(costs):
                self.buckets.take(costs, now, priority)
                waiter.turn.set_result(None)
                self._queues[queue].popleft()
                self._offer(queue, heads)
                continue
            for key, cost in costs.items():
                if self.buckets.wait_at(key, cost, priority, now, spoken_for) > 0:
                    held.add(key)
                else:
                    spoken_for[key] = spoken_for.get(key, 0.0) + cost
            if wait > 0:
                soonest = wait if soonest is None else min(soonest, wait)
        if soonest is not None:
            self._again(max(soonest, 0.001))

    def _offer(self, queue: _Queue, heads: list[tuple[Priority, int, _Queue]]) -> None:
        """Put the first who still waits in a queue among those who may go next."""
        waiting = self._queues[queue]
        while waiting and waiting[0].turn.done():
            waiting.popleft()
        if waiting:
            heapq.heappush(heads, (waiting[0].priority, waiting[0].arrival, queue))
        else:
            del self._queues[queue]


def _loop_time() -> float:
    return asyncio.get_running_loop().time()


class Budget:
    """What one account may use of its exchange's limits, and what it learns about them."""

    def __init__(self, limiter: Limiter, account: str):
        self.limiter = limiter
        self.account = account

    async def acquire(self, priority: Priority, costs: Mapping[str, float], max_wait_s: float) -> Turn:
        """Return when the costs are paid; raise TooBusy as soon as that would clearly take too long."""
        return await self.limiter.acquire(self.account, priority, costs, max_wait_s)

    def wait_s(self, costs: Mapping[str, float], priority: Priority) -> float:
        """Return how long these costs would have to wait now if nobody else drew."""
        buckets = self.limiter.buckets
        return buckets.wait_s(self.account, buckets.keys(self.account, costs), priority, self.limiter.clock())

    def count(self, costs: Mapping[str, float]) -> None:
        """Count what went out without asking for its turn."""
        buckets = self.limiter.buckets
        buckets.count(buckets.keys(self.account, costs), self.limiter.clock())

    def believe(
        self, name: str, *, asked_at: float, used: float | None = None, left: float | None = None
    ) -> None:
        """Take the venue's own count of a bucket, made since `asked_at`, where it is worse than ours."""
        buckets, now = self.limiter.buckets, self.limiter.clock()
        for key in buckets.keys(self.account, {name: 1.0}):
            if used is not None:
                buckets.used(key, used, now, asked_at)
            if left is not None:
                buckets.left(key, left, now, asked_at)

    def full(self, name: str, for_s: float | None = None) -> None:
        """Hear that a bucket is full on the venue's side, for so long where it says that."""
        buckets = self.limiter.buckets
        for key in buckets.keys(self.account, {name: 1.0}):
            buckets.fill(key, self.limiter.clock(), for_s)

    def own(self, costs: Mapping[str, float]) -> list[str]:
        """Return those of these buckets that no other account shares."""
        buckets = self.limiter.buckets
        return [key[1] for key in buckets.keys(self.account, costs) if buckets.is_of(key, Scope.ACCOUNT)]

    def capacity(self, name: str) -> float | None:
        """Return how much a bucket holds."""
        return self.limiter.buckets.capacity(name)

    def pause(self, seconds: float, scope: Scope, why: str) -> None:
        """Send nothing at all for so long: this account, or everybody behind our address."""
        who = "" if scope is Scope.IP else self.account
        self.limiter.buckets.pause(who, seconds, why, self.limiter.clock())

    def paused_s(self) -> float:
        return self.limiter.buckets.paused_s(self.account, self.limiter.clock())

    def why_paused(self) -> str:
        return self.limiter.buckets.why_paused(self.account, self.limiter.clock())

    def venue_clock(self, ahead_s: float, doubt_s: float) -> None:
        """Hear how far the venue's wall clock is ahead of ours, which is steady, and how far that may err."""
        self.limiter.buckets.clock.ahead_s = ahead_s
        self.limiter.buckets.clock.doubt_s = doubt_s


class Lane:
    """One signed request at a time, so that growing nonces arrive growing.

    The next one may go when the answer is there, or `hold_s` after sending: a hanging request has long
    reached the venue by then, or never will, and a cancel must not wait for it.
    """

    def __init__(self, hold_s: float = 1.0):
        self._hold_s = hold_s
        self._order = itertools.count()
        self._busy = False
        self._waiting: list[tuple[Priority, int, asyncio.Future[None]]] = []

    async def enter(self, priority: Priority, max_wait_s: float) -> Callable[[], None]:
        """Wait for the turn and return what ends it; calling that twice does no harm."""
        if self._busy:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            heapq.heappush(self._waiting, (priority, next(self._order), turn))
            try:
                async with asyncio.timeout(max_wait_s):
                    await turn
            except BaseException as error:
                if turn.done() and not turn.cancelled():
                    self._next()  # it became ours in the moment we gave up
                turn.cancel()
                if isinstance(error, TimeoutError):
                    raise TooBusy(max_wait_s) from None
                raise
        self._busy = True
        over = False

        def leave() -> None:
            nonlocal over
            if not over:
                over = True
                timer.cancel()
                self._next()

        timer = asyncio.get_running_loop().call_later(self._hold_s, leave)
        return leave

    def _next(self) -> None:
        while self._waiting:
            _, _, turn = heapq.heappop(self._waiting)
            if not turn.done():
                turn.set_result(None)  # stays busy: the lane passes from hand to hand
                return
        self._busy = False
