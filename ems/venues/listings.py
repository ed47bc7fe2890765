"""What an exchange lists of an account's past: orders, deposits and withdrawals."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

import ccxt

from ems.core.records import Transfer, VenueOrder
from ems.venues.asking import Asking, Reading
from ems.venues.dialects.dialect import Dialect, Listing
from ems.venues.gateway import Offer, VenueRefused, VenueUnavailable
from ems.venues.limiter import Priority
from ems.venues.translation import Unreadable, to_ms

log = logging.getLogger(__name__)

Row = TypeVar("Row", VenueOrder, Transfer)


def offer_of(listing: Listing | None) -> Offer | None:
    """Say what a list offers to whoever asks for it."""
    if listing is None:
        return None
    return Offer(
        at_once=listing.at_once,
        reach=listing.reach,
        per_market=listing.per_market,
        misses=listing.misses,
        ended_apart=listing.ended_apart,
    )


async def read_rows(
    listing: Listing,
    dialect: Dialect,
    ccxt_exchange: Any,
    asking: Asking,
    translate: Callable[[Any], Row],
    *,
    symbol: str | None,
    since: datetime,
    until: datetime,
) -> list[Row]:
    """Read the rows of a list; venues count in ms, some in s: the caller cuts what is too much."""
    if symbol is not None and symbol not in ccxt_exchange.markets:
        raise VenueRefused(f"{dialect.exchange} has no market {symbol}")
    reading = Reading(partial(asking.ask, priority=Priority.HISTORY))
    try:
        rows = await listing.read(reading, ccxt_exchange, symbol, to_ms(since), to_ms(until) + 1)
        return [translate(row) for row in rows]
    except (Unreadable, ccxt.BaseError, LookupError, TypeError, ValueError, ArithmeticError) as error:
        log.warning("%s: a list is unreadable: %r", dialect.exchange, error)
        raise VenueUnavailable(f"a row of the list cannot be read: {error}") from error
