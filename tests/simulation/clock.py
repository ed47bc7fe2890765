"""A virtual clock: the runner's scheduler, and everybody else's, without waiting."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

START = datetime(2026, 1, 1, tzinfo=UTC)


class Pending:
    """A call that will happen unless cancelled."""

    __slots__ = ("call", "live")

    def __init__(self, call: Callable[[], None]):
        self.call = call
        self.live = True

    def cancel(self) -> None:
        self.live = False


class VirtualClock:
    """Runs calls in order of time; equal times in order of asking."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._heap: list[tuple[float, int, Pending]] = []
        self._order = itertools.count()

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)

    def after(self, seconds: float, call: Callable[[], None]) -> Pending:
        pending = Pending(call)
        heapq.heappush(self._heap, (self.seconds + max(seconds, 0.0), next(self._order), pending))
        return pending

    def call_at(self, when: datetime, call: Callable[[], None]) -> Pending:
        return self.after((when - START).total_seconds() - self.seconds, call)

    def call_soon(self, call: Callable[[], None]) -> None:
        self.after(0.0, call)

    def run_until(self, seconds: float) -> None:
        """Let everything happen that is due by then."""
        while self._heap and self._heap[0][0] <= seconds:
            at, _, pending = heapq.heappop(self._heap)
            self.seconds = max(self.seconds, at)
            if pending.live:
                pending.call()
        self.seconds = seconds
