"""The production clock and loop: the one place of the heart where real time and a real thread come in."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from ems.runner import Handle

T = TypeVar("T")


class AsyncScheduler:
    """The runner's view of an asyncio loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop):
        self._loop = loop
        self._anchor = (datetime.now(UTC), time.monotonic())

    def now(self) -> datetime:
        """Return the time: it follows the wall clock forward, and goes on where the wall clock steps back."""
        wall, steady = datetime.now(UTC), time.monotonic()
        anchor, since = self._anchor
        now = max(wall, anchor + timedelta(seconds=steady - since))
        self._anchor = (now, steady)
        return now

    def call_at(self, when: datetime, call: Callable[[], None]) -> Handle:
        delay = (when - self.now()).total_seconds()
        return self._loop.call_later(max(delay, 0.0), call)

    def call_soon(self, call: Callable[[], None]) -> None:
        self._loop.call_soon(call)


class LoopThread:
    """One thread with one event loop, on which the runner and the gateways live."""

    def __init__(self, new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop):
        self.loop = new_loop()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def call(self, function: Callable[[], T], timeout_s: float = 5.0) -> T:
        """Run a function on the loop's thread and return what it returns."""
        assert threading.current_thread() is not self._thread, "the loop must not wait for itself"
        future: Future[T] = Future()

        def run() -> None:
            try:
                future.set_result(function())
            except BaseException as error:
                future.set_exception(error)

        self.loop.call_soon_threadsafe(run)
        return future.result(timeout_s)

    def wait(self, coroutine: Coroutine[Any, Any, T], timeout_s: float) -> T:
        """Run a coroutine on the loop and wait for it. Raises TimeoutError."""
        assert threading.current_thread() is not self._thread, "the loop must not wait for itself"
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        try:
            return future.result(timeout_s)
        except TimeoutError:
            future.cancel()
            raise

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(timeout=10)
