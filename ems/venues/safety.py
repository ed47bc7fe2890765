"""What keeps an account safe while nobody looks: what its key may do, and the switch for a silent owner.

* A key that may withdraw is worth stealing; this server has no use for it. Such a key does not trade unless
  the operator said so by name (RELIABILITY.md B).
* An exchange's dead-man's switch cancels every order of the account, also those of others and protective
  stops, when it has not heard from us for a while. So it is armed only where the operator says that the
  account is ours alone, and disarmed at a planned stop, which leaves orders resting (RELIABILITY.md G).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any, Protocol

from ems.core.messages import Barred
from ems.venues.dialects.dialect import Dialect, KeyPowers
from ems.venues.gateway import VenueRefused, VenueUnavailable

log = logging.getLogger(__name__)

LOOK_TRIES = 3  # before trading begins; then it begins, and health says that the key could not be checked
LOOK_RETRY_S = 2.0
LOOK_AGAIN_S = 600.0  # after a look that failed
LOOK_EVERY_S = 24 * 3600.0
EXPIRES_SOON = timedelta(days=14)
ARM_RETRY_S = 2.0
DISARM_S = 4.0  # the whole of a gateway's close has five
DISARM_RETRY_S = 0.5


class Ask(Protocol):
    """One paid question of `what`; raises VenueRefused or VenueUnavailable."""

    async def __call__(self, what: str, question: Callable[[], Awaitable[Any]]) -> Any: ...


class Safety:
    """Looks after one account. All methods run on the event loop."""

    def __init__(
        self,
        dialect: Dialect,
        ccxt_exchange: Any,
        *,
        ask: Ask,
        tell: Callable[[Barred], None],
        now: Callable[[], datetime],
        may_withdraw: bool,
        exclusive: bool,
    ):
        self._dialect = dialect
        self._ccxt = ccxt_exchange
        self._ask = ask
        self._tell = tell
        self._now = now
        self._may_withdraw = may_withdraw
        self._exclusive = exclusive
        self._barred = ""
        self._unchecked = ""  # why nobody knows what the key may do
        self._checked_at: datetime | None = None
        self.powers: KeyPowers | None = None
        self.looked = asyncio.Event()  # the key was looked at, or that was given up for now
        self._armed_until: datetime | None = None
        self._may_be_armed = False  # an arming whose answer was lost may have been heard
        self._arm_failed = ""

    # --- The key ---

    async def keep_key(self) -> None:
        """Look at the key now and daily."""
        if self._dialect.powers is None:
            self._unchecked = f"{self._dialect.exchange} tells nobody what a key may do; see to it by hand"
            self.looked.set()
            return
        failures = 0
        ask_powers = self._dialect.powers
        while True:
            try:
                powers = await self._ask("powers", lambda: ask_powers(self._ccxt))
            except (VenueRefused, VenueUnavailable) as error:
                failures += 1
                self._unchecked = f"what the key may do could not be asked: {error}"
                if failures >= LOOK_TRIES:
                    self.looked.set()
                await asyncio.sleep(LOOK_RETRY_S if failures < LOOK_TRIES else LOOK_AGAIN_S)
                continue
            failures, self._unchecked = 0, ""
            self._learn(powers)
            self.looked.set()
            await asyncio.sleep(LOOK_EVERY_S)

    def _learn(self, powers: KeyPowers) -> None:
        self.powers, self._checked_at = powers, self._now()
        name = self._dialect.exchange
        barred = ""
        if powers.withdraw and not self._may_withdraw:
            barred = (
                f"the key may withdraw, which is not needed here; make one at {name} that may not, "
                f"or set OMS_ALLOW_WITHDRAW_KEYS={name}"
            )
        elif powers.trade is False:
            barred = f"the key may not trade; allow it at {name}"
        if barred != self._barred:
            self._barred = barred
            log.warning("%s: %s", name, barred or "the key may trade again")
            self._tell(Barred(reason=barred))

    def problems(self) -> dict[str, str]:
        """Return what is wrong, by subject."""
        found: dict[str, str] = {}
        if self._barred or self._unchecked:
            found["key"] = self._barred or self._unchecked
        if self._exclusive and self._dialect.dead_man is None:
            found["dead-man's switch"] = f"{self._dialect.exchange} offers none that this server can use"
        elif self._arm_failed:
            found["dead-man's switch"] = f"not armed: {self._arm_failed}"
        return found

    def _advice(self) -> list[str]:
        """Say what nothing waits for, but somebody should see to."""
        powers, found = self.powers or KeyPowers(), []
        if powers.withdraw and self._may_withdraw:
            found.append("the key may withdraw, and the operator allowed that; it is not needed here")
        if powers.ip_restricted is False:
            found.append("the key works from any address: restrict it to this server's")
        if powers.expires_at is not None and powers.expires_at - self._now() < EXPIRES_SOON:
            found.append(f"the key expires on {powers.expires_at:%Y-%m-%d}: make a new one in time")
        return found

    def health(self) -> dict[str, object]:
        """Return what is known of the key and of the switch, for people."""
        powers = self.powers
        return {
            "key": {
                "trade": None if powers is None else powers.trade,
                "withdraw": None if powers is None else powers.withdraw,
                "ip_restricted": None if powers is None else powers.ip_restricted,
                "expires_at": None if powers is None else powers.expires_at,
                "checked_at": self._checked_at,
            },
            "dead_man": {
                "offered": self._dialect.dead_man is not None,
                "armed_until": self._armed_until,
            },
            "advice": self._advice(),
        }

    # --- The switch ---

    async def keep_switch(self) -> None:
        """Say again and again that we are here, where that was asked for and the exchange listens."""
        switch = self._dialect.dead_man
        if switch is None or not self._exclusive:
            return
        while True:
            asked_at = self._now()
            self._may_be_armed = True
            try:
                await self._ask("dead_man", lambda: switch.arm(self._ccxt, switch.timeout_s))
            except (VenueRefused, VenueUnavailable) as error:
                self._arm_failed = str(error)
                log.warning("%s: dead-man's switch: %s", self._dialect.exchange, error)
                await asyncio.sleep(ARM_RETRY_S)
                continue
            self._arm_failed = ""
            self._armed_until = asked_at + timedelta(seconds=switch.timeout_s)
            await asyncio.sleep(switch.every_s)

    async def disarm(self) -> None:
        """Take the switch back before a planned silence; what rests at the exchange stays."""
        switch = self._dialect.dead_man
        if switch is None or not self._may_be_armed:
            return
        reason = ""
        try:
            async with asyncio.timeout(DISARM_S):
                while True:
                    try:
                        await self._ask("dead_man", lambda: switch.arm(self._ccxt, 0))
                    except (VenueRefused, VenueUnavailable) as error:
                        reason = str(error)  # such as: too soon after it was armed
                        await asyncio.sleep(DISARM_RETRY_S)
                    else:
                        self._armed_until, self._may_be_armed = None, False
                        return
        except TimeoutError:
            log.warning(
                "%s: the dead-man's switch may be armed, until %s, and will then cancel every order: %s",
                self._dialect.exchange,
                self._armed_until or f"{switch.timeout_s} s after it was",
                reason or "no answer in time",
            )
