"""What an account holds, as far as we know between two looks at the venue (RELIABILITY.md R14).

The venue's snapshot is the base; fills booked since move it; what others' orders hold is theirs. The venue
stays the judge: this only decides what is worth asking it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

from ems.core.messages import Balances, FillReport, Side

ZERO = Decimal(0)


class Holdings:
    """Totals per currency of one exchange account."""

    def __init__(self) -> None:
        self.as_of: datetime | None = None  # when the last snapshot was asked for
        self.total: dict[str, Decimal] = {}  # currency -> free + used, moved by fills since
        self.free: dict[str, Decimal] = {}  # currency -> free, as the venue last said
        self.foreign: dict[str, Decimal] = {}  # currency -> held by orders that are not ours

    def refresh(self, snapshot: Balances, ours: Mapping[str, Decimal]) -> None:
        """Take over a snapshot; `ours` is what our own open orders hold of each currency."""
        if self.as_of is not None and snapshot.query_sent_at < self.as_of:
            return  # an older answer that came late
        self.as_of = snapshot.query_sent_at
        self.free = dict(snapshot.free)
        currencies = snapshot.free.keys() | snapshot.used.keys()
        self.total = {c: snapshot.free.get(c, ZERO) + snapshot.used.get(c, ZERO) for c in currencies}
        self.foreign = {c: max(snapshot.used.get(c, ZERO) - ours.get(c, ZERO), ZERO) for c in currencies}

    def book(self, fill: FillReport, base: str, quote: str) -> None:
        """Move the totals by a fill that the last snapshot did not contain yet."""
        if self.as_of is None or fill.at <= self.as_of:
            return
        notional = fill.price * fill.quantity
        sign = 1 if fill.side is Side.BUY else -1
        self._move(base, sign * fill.quantity)
        self._move(quote, -sign * notional)
        self._move(fill.fee_currency, -fill.fee)

    def charge(self, fill: FillReport) -> None:
        """Take the fee of a contract's fill; nothing else of it is paid before the position is reduced."""
        if self.as_of is not None and fill.at > self.as_of:
            self._move(fill.fee_currency, -fill.fee)

    def usable(self, currency: str) -> Decimal:
        """Return what is ours to spend: the total less what others' orders hold."""
        return max(self.total.get(currency, ZERO) - self.foreign.get(currency, ZERO), ZERO)

    def _move(self, currency: str, amount: Decimal) -> None:
        self.total[currency] = self.total.get(currency, ZERO) + amount
