"""What waits for its turn to be sent: until a byte of it has left, it can be called back."""

from __future__ import annotations

from ems.venues.transport import Call


class Departures:
    """One account's new orders and amendments on their way out; of an order there is one at a time."""

    def __init__(self) -> None:
        self._calls: dict[str, Call] = {}  # order id -> what is to carry it

    def begin(self, order_id: str, call: Call) -> None:
        self._calls[order_id] = call

    def end(self, order_id: str) -> None:
        self._calls.pop(order_id, None)

    def withdraw(self, order_id: str) -> None:
        """Let it not leave any more, if it has not; whoever sends it hears `Withdrawn`."""
        call = self._calls.get(order_id)
        if call is not None:
            call.withdrawn = True
