"""Orders that wait: for the price of a trade, or for the end of their time.

Rules:

1. What counts is the price of every public trade, in the sequence in which they happened, not only the last
   one of a call: a price that was touched and left has fired what waited for it.
2. Due orders are carried out when the trades that fired them are done, oldest first. What they trade may fire
   others, which come after all that were due before.
3. This file knows what waits and what is due. Money and matching belong to `simulator.exchange`.
"""

from collections import deque
from decimal import Decimal
from heapq import heappop, heappush
from typing import Literal

from ems.core.book import Side
from simulator.records import Order, Trigger


def met(trigger: Trigger, price: Decimal) -> bool:
    """Whether a trade at this price fires the trigger."""
    return price >= trigger.price if trigger.rising else price <= trigger.price


def stop_or_profit(kind: Literal["stop_loss", "take_profit"], side: Side, price: Decimal) -> Trigger:
    """Make a trigger whose direction follows from its kind, as Binance, Kraken and others define it.

    A stop loss gets worse with the market: it sells below and buys above. A take profit is the reverse.
    """
    return Trigger(kind=kind, price=price, rising=(kind == "stop_loss") == (side == "buy"))


class Triggers:
    """All that waits at one exchange."""

    def __init__(self) -> None:
        self._waiting: dict[str, dict[int, Order]] = {}  # symbol -> order id -> order, oldest first
        self._due: deque[Order] = deque()
        self._ends: list[tuple[float, int, Order]] = []  # heap of (when, order id, order)

    def add(self, order: Order) -> None:
        """Let an order wait for its trigger."""
        self._waiting.setdefault(order.symbol, {})[order.order_id] = order

    def discard(self, order: Order) -> None:
        """Forget an order that is over; one that is due already is skipped when its turn comes."""
        self._waiting.get(order.symbol, {}).pop(order.order_id, None)

    def printed(self, symbol: str, price: Decimal) -> None:
        """Take note of a public trade: what waited for it is due."""
        waiting = self._waiting.get(symbol)
        if not waiting:
            return
        for order in [one for one in waiting.values() if one.trigger is not None and met(one.trigger, price)]:
            del waiting[order.order_id]
            self._due.append(order)

    def next_due(self) -> Order | None:
        """Take the next order to carry out; None when nothing is due."""
        while self._due:
            order = self._due.popleft()
            if order.waiting:
                return order
        return None

    def end_at(self, order: Order, when: float) -> None:
        """Remember that an order is good till then."""
        heappush(self._ends, (when, order.order_id, order))

    def next_ended(self, now: float) -> Order | None:
        """Take the next open order whose time is over; None when there is none."""
        while self._ends and self._ends[0][0] <= now:
            when, _, order = heappop(self._ends)
            if order.open and order.expires_at == when:
                return order
        return None
