"""How far an exchange's clock is from ours, and until when an order may still be taken."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from ems.venues.asking import Asking, call_sent_at
from ems.venues.dialects.dialect import Dialect
from ems.venues.gateway import VenueRefused, VenueUnavailable
from ems.venues.limiter import Budget, TooBusy
from ems.venues.transport import Call

log = logging.getLogger(__name__)

CLOCK_WARN_S = 1.0
CLOCK_USELESS_S = 300.0  # lists of the past are believed but for their last ten minutes


class VenueClock:
    """One account's view of its exchange's clock; what is wrong with it goes to `trouble`."""

    def __init__(
        self,
        dialect: Dialect,
        ccxt_exchange: Any,
        asking: Asking,
        *,
        limits: Budget,
        now: Callable[[], datetime],
        trouble: dict[str, str],
    ):
        self._dialect = dialect
        self._ccxt = ccxt_exchange
        self._asking = asking
        self._limits = limits
        self._now = now
        self._trouble = trouble
        # Venue minus us, what cannot be explained by delay and coarse clocks.
        self.skew_s: float | None = None
        self.latency_s: float | None = None

    async def keep_clock(self) -> None:
        while True:
            try:
                await self.measure()
            except Exception as error:  # whatever it is, the next try may go better
                if not isinstance(error, VenueRefused | VenueUnavailable | TooBusy):
                    log.exception("clock of %s", self._dialect.exchange)
                    self._trouble["clock"] = f"the venue's time is unreadable: {error}"
            await asyncio.sleep(self._dialect.clock_every_s if self.skew_s is not None else 5.0)

    async def measure(self) -> None:
        """Ask for the venue's time and compare."""
        call = Call()
        answer = await self._asking.ask("time", self._ccxt.fetch_time, call=call)
        took = self._limits.limiter.clock() - call.began_at
        before = call_sent_at(call)
        if not isinstance(answer.value, int):
            raise VenueUnavailable("the venue's time is unreadable")
        middle = before.timestamp() + took / 2
        # What delay and a coarse clock could explain is not held against anybody.
        coarse = self._dialect.time_resolution_s / 2
        difference = answer.value / 1000 + coarse - middle
        slack = took / 2 + coarse
        self.skew_s = 0.0 if abs(difference) <= slack else difference - (slack if difference > 0 else -slack)
        self.latency_s = took
        self._limits.venue_clock(
            answer.value / 1000 + coarse - (call.began_at + took / 2), doubt_s=took / 2 + coarse
        )
        if abs(self.skew_s) > CLOCK_WARN_S:
            self._trouble["clock"] = f"the venue's clock is {self.skew_s:+.1f} s from ours; set ours right"
            log.warning("%s: %s", self._dialect.exchange, self._trouble["clock"])
        else:
            self._trouble.pop("clock", None)

    def check(self) -> None:
        """Raise VenueUnavailable while our clock is too wrong to say of what time a list was read."""
        if self.skew_s is not None and abs(self.skew_s) > CLOCK_USELESS_S:
            raise VenueUnavailable(
                f"our clock and {self._dialect.exchange}'s differ by {self.skew_s:+.0f} s; set ours right"
            )

    async def recheck(self) -> None:
        with suppress(VenueRefused, VenueUnavailable, TooBusy):
            await self.measure()

    def now(self) -> datetime:
        """Return the venue's time as far as we know it."""
        return self._now() + timedelta(seconds=self.skew_s or 0.0)

    def expiry(self, waited_s: float) -> dict[str, object]:
        """Return the venue's own expiry: `recv_window_s` after `send`, in the venue's time."""
        left_s = self._dialect.recv_window_s - waited_s
        return dict(self._dialect.expiry(self.now(), left_s + min(0.0, self.skew_s or 0.0)))
