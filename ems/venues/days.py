"""What was traded in a market within 24 hours, as the exchange's public ticker says."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

from ems.core.messages import DayRead
from ems.venues.asking import Asking
from ems.venues.dialects.dialect import Dialect
from ems.venues.gateway import VenueRefused, VenueUnavailable
from ems.venues.limiter import TooBusy


async def read_day(
    dialect: Dialect, ccxt_exchange: Any, asking: Asking, symbol: str, now: Callable[[], datetime]
) -> DayRead:
    """Ask once; what is not told, or not to be understood, is not known."""
    read = dialect.day
    if read is None or ":" in symbol:  # of contracts the volume comes in other units
        return DayRead(symbol=symbol, at=now())
    try:
        answer = await asking.ask("day", lambda: read(ccxt_exchange, symbol))
    except (VenueRefused, VenueUnavailable, TooBusy):
        return DayRead(symbol=symbol, at=now())
    volume, low, high = answer.value
    fit = all(isinstance(one, Decimal) and one.is_finite() and one >= 0 for one in (volume, low, high))
    if not fit or not 0 < low <= high:
        return DayRead(symbol=symbol, at=answer.sent_at)
    return DayRead(symbol=symbol, at=answer.sent_at, volume=volume, low=low, high=high)
