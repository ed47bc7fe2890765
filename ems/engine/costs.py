"""What parents cost: facts gathered while they work, written when they end (EXECUTION.md 7)."""

from __future__ import annotations

from datetime import datetime

from ems.core.records import Order, Parent
from ems.engine.turn import Out
from ems.engine.work import Work


class Costs:
    """Writes the cost of every parent that ends, and completes it once its markouts are known."""

    def __init__(self, out: Out, work: Work):
        self._out = out
        self._work = work

    def ended(self, parent: Parent, orders: list[Order], now: datetime) -> dict[str, object]:
        return {}
