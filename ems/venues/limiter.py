"""Who may send next, and when: token buckets, priorities, and a lane where nonces arrive in order.

Exchanges count differently (weight per minute, orders per ten seconds, a counter that decays, a counter per
pair): all of them are buckets that fill at a steady rate, given as data in `dialects`. A cancel goes before a
create, a create before a question, a question before a picture of a book; a part of every bucket is kept for
cancels alone. Times are seconds of the event loop's clock.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum

from ems.venues.gateway import VenueUnavailable


class Priority(IntEnum):
    CANCEL = 0
    CREATE = 1
    QUERY = 2
    BOOK = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """One of a venue's limits. A bucket named `engine:BTC/USD` takes the shape named `engine`."""

    name: str
    capacity: float
    per_s: float  # what comes back each second
    reserve: float = 0.0  # only cancels may draw below this
    cancels_wait: bool = True  # False: the venue counts cancels but never refuses one


class TooBusy(VenueUnavailable):
    """Our own limits would not let this go out in time; nothing was sent."""

    def __init__(self, wait_s: float):
        super().__init__(f"rate limit: {wait_s:.1f} s to wait")
        self.wait_s = wait_s


class Buckets:
    """The counting, without any waiting; `now` is given, so that it can be tested without a clock."""

    def __init__(self, shapes: Iterable[Shape]):
        self._shapes = {shape.name: shape for shape in shapes}
        self._levels: dict[str, tuple[float, float]] = {}  # bucket -> (level, as of)
        self._paused_until = 0.0

    def wait_s(self, costs: Mapping[str, float], priority: Priority, now: float) -> float:
        """Return how long these costs would have to wait if nobody else drew; 0 means now."""
        wait = max(0.0, self._paused_until - now)
        for name, cost in costs.items():
            shape = self._shapes.get(name.partition(":")[0])
            if shape is None or (priority is Priority.CANCEL and not shape.cancels_wait):
                continue
            floor = 0.0 if priority is Priority.CANCEL else shape.reserve
            # A cost larger than the bucket could never be paid; let it go when the bucket is full.
            needed = min(cost + floor, shape.capacity)
            missing = needed - self._level(name, shape, now)
            if missing > 1e-9:
                wait = max(wait, missing / shape.per_s)
        return wait

    def take(self, costs: Mapping[str, float], now: float) -> None:
        for name, cost in costs.items():
            shape = self._shapes.get(name.partition(":")[0])
            if shape is not None:
                self._levels[name] = (self._level(name, shape, now) - cost, now)

    def used(self, name: str, used: float, now: float, *, window: float) -> None:
        """Believe the venue's own count where it is higher than ours; `window` is its limit."""
        shape = self._shapes.get(name)
        if shape is not None:
            left = max(0.0, window - used)
            self._levels[name] = (min(self._level(name, shape, now), left), now)

    def drain(self, name: str, now: float) -> None:
        """Empty a bucket: the venue says it was already full on its side."""
        if name.partition(":")[0] in self._shapes:
            self._levels[name] = (0.0, now)

    def pause(self, seconds: float, now: float) -> None:
        """Send nothing at all for so long; the venue asked for it, and asking on makes it longer."""
        self._paused_until = max(self._paused_until, now + seconds)

    def paused_s(self, now: float) -> float:
        return max(0.0, self._paused_until - now)

    def _level(self, name: str, shape: Shape, now: float) -> float:
        level, at = self._levels.get(name, (shape.capacity, now))
        return min(shape.capacity, level + (now - at) * shape.per_s)


class Limiter:
    """Let callers through in order of priority as their buckets fill."""

    def __init__(self, shapes: Iterable[Shape], clock: Callable[[], float]):
        self.buckets = Buckets(shapes)
        self._clock = clock
        self._order = itertools.count()
        # (priority, arrival, costs, who waits)
        self._waiting: list[tuple[Priority, int, Mapping[str, float], asyncio.Future[None]]] = []
        self._timer: asyncio.TimerHandle | None = None

    async def acquire(self, priority: Priority, costs: Mapping[str, float], max_wait_s: float) -> None:
        """Return when the costs are paid; raise TooBusy as soon as that would clearly take too long."""
        now = self._clock()
        wait = self.buckets.wait_s(costs, priority, now)
        if wait > max_wait_s:
            raise TooBusy(wait)
        if wait <= 0 and not self._someone_before(priority, costs):
            self.buckets.take(costs, now)
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (priority, next(self._order), costs, turn))
        self._pump()
        try:
            async with asyncio.timeout(max_wait_s):
                await turn
        except TimeoutError:
            raise TooBusy(self.buckets.wait_s(costs, priority, self._clock())) from None
        finally:
            if not turn.done():
                turn.cancel()

    def _someone_before(self, priority: Priority, costs: Mapping[str, float]) -> bool:
        return any(
            rank <= priority and not turn.done() and not costs.keys().isdisjoint(theirs)
            for rank, _, theirs, turn in self._waiting
        )

    def _pump(self) -> None:
        """Let through whoever can pay; who cannot holds the place in its buckets against those behind."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = self._clock()
        held: set[str] = set()
        left: list[tuple[Priority, int, Mapping[str, float], asyncio.Future[None]]] = []
        soonest: float | None = None
        while self._waiting:
            waiter = heapq.heappop(self._waiting)
            priority, _, costs, turn = waiter
            if turn.done():
                continue
            wait = self.buckets.wait_s(costs, priority, now)
            if wait <= 0 and held.isdisjoint(costs):
                self.buckets.take(costs, now)
                turn.set_result(None)
                continue
            held.update(costs)
            left.append(waiter)
            soonest = wait if soonest is None else min(soonest, wait)
        self._waiting = left  # popped in order, so it is a heap already
        if soonest is not None:
            delay = max(soonest, 0.001)
            self._timer = asyncio.get_running_loop().call_later(delay, self._pump)


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
