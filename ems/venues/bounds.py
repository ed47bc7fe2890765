"""Between which prices an exchange takes orders just now, kept up to date for the markets that are watched.

Read every few seconds beside the orders, never for one of them: an order is judged by what was read last, if
that is young enough, else by the exchange.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from decimal import InvalidOperation
from typing import Any

from ems.core.messages import VenueReport
from ems.venues.asking import Asking
from ems.venues.dialects.dialect import Dialect
from ems.venues.gateway import VenueRefused, VenueUnavailable
from ems.venues.limiter import TooBusy

log = logging.getLogger(__name__)

EVERY_S = 5.0


class BoundsKeeper:
    """One account's readings. All methods run on the event loop."""

    def __init__(
        self,
        dialect: Dialect,
        ccxt_exchange: Any,
        asking: Asking,
        *,
        deliver: Callable[[VenueReport], None],
        trouble: dict[str, str],
    ):
        self._dialect = dialect
        self._ccxt = ccxt_exchange
        self._asking = asking
        self._deliver = deliver
        self._trouble = trouble
        self._kept: dict[str, asyncio.Task[None]] = {}  # symbol -> who reads it

    def watch(self, symbol: str) -> None:
        """Read them from now on, where the exchange tells them."""
        if self._dialect.bounds is not None and symbol not in self._kept:
            self._kept[symbol] = asyncio.get_running_loop().create_task(self._keep(symbol))

    def unwatch(self, symbol: str) -> None:
        """Read them no more."""
        kept = self._kept.pop(symbol, None)
        if kept is not None:
            kept.cancel()

    def close(self) -> None:
        """Stop."""
        for symbol in list(self._kept):
            self.unwatch(symbol)

    async def _keep(self, symbol: str) -> None:
        read = self._dialect.bounds
        assert read is not None
        while True:
            try:
                answer = await self._asking.ask("bounds", lambda: read(self._ccxt, symbol))
            except (VenueRefused, VenueUnavailable, TooBusy, InvalidOperation, KeyError) as error:
                # The exchange judges alone meanwhile: nothing is refused by what is not known.
                self._trouble["bounds"] = f"{symbol}: {error}"
                log.info("bounds %s %s: %r", self._dialect.exchange, symbol, error)
            else:
                self._trouble.pop("bounds", None)
                self._deliver(replace(answer.value, query_sent_at=answer.sent_at))
            await asyncio.sleep(EVERY_S)
