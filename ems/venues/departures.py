"""What waits for its turn to be sent: until a byte of it has left, it can be called back."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from ems.venues.limiter import Turn
from ems.venues.transport import Call, Withdrawn


class Departures:
    """One account's new orders and amendments on their way out; of an order there is one at a time."""

    def __init__(self) -> None:
        self._calls: dict[str, Call] = {}  # order id -> what is to carry it
        self._waiting: dict[str, asyncio.Task[Turn]] = {}  # order id -> its wait for a turn

    def begin(self, order_id: str, call: Call) -> None:
        self._calls[order_id] = call

    def end(self, order_id: str, call: Call) -> None:
        """Forget a call that has its answer; not another that has begun for this order since."""
        if self._calls.get(order_id) is call:
            del self._calls[order_id]

    async def turn(self, order_id: str, call: Call, acquire: Coroutine[Any, Any, Turn]) -> Turn:
        """Wait for a turn; raise Withdrawn as soon as it is not wanted any more."""
        waiting = self._waiting[order_id] = asyncio.ensure_future(acquire)
        try:
            return await waiting
        except asyncio.CancelledError:
            if call.withdrawn:
                raise Withdrawn from None
            raise
        finally:
            del self._waiting[order_id]

    def withdraw(self, order_id: str) -> None:
        """Let it not leave any more, if it has not; whoever sends it hears `Withdrawn`."""
        call, waiting = self._calls.get(order_id), self._waiting.get(order_id)
        if call is not None:
            call.withdrawn = True
        if waiting is not None:
            waiting.cancel()
