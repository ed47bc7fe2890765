"""What public data says about a market: estimates, as floats in bp and seconds, never an amount of money."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ems.core.messages import BookUpdate, PublicTrade, Side


@dataclass(frozen=True, kw_only=True, slots=True)
class Signals:
    """A snapshot for one side of one market; the defaults are those of EXECUTION.md 4.2."""


class Tape:
    """Mutable; one per exchange, account and symbol, fed with public data in order of arrival."""

    def book(self, update: BookUpdate) -> None: ...

    def trade(self, trade: PublicTrade) -> None: ...

    def own_fill(self, side: Side, price: float, *, maker: bool, at: datetime) -> None: ...

    def look(self, side: Side, now: datetime) -> Signals:
        return Signals()
