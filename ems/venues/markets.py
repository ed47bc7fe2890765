"""The markets of an exchange with their rules, status and the account's fees, kept up to date."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from ems.core.instrument import Market
from ems.core.messages import MarketsLoaded, OrderType, StreamDown, VenueReport
from ems.venues.asking import Asking
from ems.venues.contracts import in_base
from ems.venues.dialects.dialect import Dialect, Fees, contract_size, with_swaps
from ems.venues.gateway import VenueRefused, VenueUnavailable
from ems.venues.limiter import TooBusy
from ems.venues.supported import native_stops
from ems.venues.translation import Unreadable, market_of

log = logging.getLogger(__name__)

EVERY_S = 600.0
AGAIN_S = 30.0  # no sooner than this after a refusal that smells of other rules than those we know
HALTED_S = 30.0  # how often while a market is halted that traded before
HALT_WATCHED_S = 3600.0  # and for how long; after that it is one of the many that trade no more


class Markets:
    """One account's markets. All methods run on the event loop; what is wrong goes to `trouble`."""

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
        self._loop = asyncio.get_running_loop()
        self._loading = asyncio.Lock()
        self._doubted = asyncio.Event()
        self._swaps = dialect.derivatives if with_swaps(ccxt_exchange) else None
        self._fees: Fees = {}  # the account's own, as last read
        self._halted_since: dict[str, float] = {}  # symbol -> loop time, of those that traded before
        self.ready = asyncio.Event()  # they were loaded once
        self.listed: tuple[Market, ...] = ()

    def doubt(self) -> None:
        """Hear that the rules may have changed; they are read again before long."""
        self._doubted.set()

    async def keep_markets(self, first: Callable[[], Awaitable[None]]) -> None:
        """Load them again and again; `first` is run when they are there for the first time."""
        wait_s = 1.0
        while True:
            try:
                await self.load()
            except Exception as error:  # whatever it is, the next try may go better
                if not isinstance(error, VenueRefused | VenueUnavailable | TooBusy | Unreadable):
                    log.exception("markets of %s", self._dialect.exchange)
                self._trouble["markets"] = str(error)
                if not self.ready.is_set():
                    self._deliver(StreamDown(message=f"could not load markets: {error}"))
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, 30.0)
                continue
            wait_s = 1.0
            self._trouble.pop("markets", None)
            self._deliver(MarketsLoaded(markets=self.listed))
            if not self.ready.is_set():
                self.ready.set()
                await first()
            loaded_at = self._loop.time()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._again_s()):
                    await self._doubted.wait()
                    await asyncio.sleep(loaded_at + AGAIN_S - self._loop.time())
            self._doubted.clear()

    def _again_s(self) -> float:
        """Return how soon to look again: nobody tells that a halt is over, and until then nothing trades."""
        now = self._loop.time()
        watched = any(now - since < HALT_WATCHED_S for since in self._halted_since.values())
        return min(HALTED_S, EVERY_S) if watched else EVERY_S

    async def load(self) -> None:
        """Load the markets with their rules and status, and the account's fees; one load at a time."""
        async with self._loading:
            await self._load_now()

    async def ask_again(self) -> MarketsLoaded:
        """Load them for somebody who asked."""
        await self.load()
        if self._again_s() < EVERY_S:
            self._doubted.set()  # the upkeep sleeps until much later
        return MarketsLoaded(markets=self.listed)

    async def _load_now(self) -> None:
        await self._asking.ask("markets", self._ccxt.read_markets)
        try:
            self._fees = (await self._asking.ask("fees", lambda: self._dialect.fees(self._ccxt))).value
        except (VenueRefused, VenueUnavailable, TooBusy) as error:
            # Trading on the listed fees is right for planning and wrong by a tier at most; say so.
            used = "those read before" if self._fees else "the listed ones"
            self._trouble["fees"] = f"own fees unknown, {used} are used: {error}"
        else:
            self._trouble.pop("fees", None)
        if self._swaps is not None:
            swaps = self._swaps
            self._fees |= (await self._asking.ask("fees", lambda: swaps.fees(self._ccxt))).value
        traded = {market.symbol for market in self.listed if market.active}
        listed = [raw for raw in self._ccxt.markets.values() if raw["spot"]]
        contracts = [raw for raw in self._ccxt.markets.values() if self._trades(raw)]
        # What ccxt knows of it, it knows of all spot markets alike.
        stops = native_stops(listed[0]["symbol"], self._dialect, self._ccxt) if listed else frozenset()
        markets = tuple(market for raw in listed if (market := self._market(raw, stops)) is not None)
        markets += tuple(one for raw in contracts if (one := self._contract(raw)) is not None)
        if not markets:
            raise Unreadable("no market in the venue's list")
        self.listed = markets
        for market in markets:
            if market.active:
                self._halted_since.pop(market.symbol, None)
            elif market.symbol in traded:
                self._halted_since[market.symbol] = self._loop.time()

    def _market(self, raw: Any, stops: frozenset[OrderType]) -> Market | None:
        market = market_of(
            self._dialect.exchange,
            raw,
            fees=self._fees.get(raw["symbol"]),
            fee_mode=self._dialect.fee_mode,
            tick_key=self._dialect.tick_key,
            market_orders=self._dialect.market_orders,
            precision_mode=self._ccxt.precisionMode,
            rules=self._dialect.rules(raw["info"]),
        )
        triggers, amending = self._dialect.triggers, self._dialect.amending
        if market is not None and triggers is not None:
            market = replace(market, stops=stops, stop_times=triggers.times_in_force)
        if market is not None and amending is not None:
            market = replace(market, amends=amending.terms, amends_shrink_only=amending.shrinks_only)
        return market

    def _trades(self, raw: Any) -> bool:
        """Say whether this is a contract that is traded here: linear, perpetual, settled in its quote."""
        if self._swaps is None or not raw["swap"] or not raw["linear"] or raw["settle"] != raw["quote"]:
            return False
        return raw["quote"] in (self._swaps.settled_in or {raw["quote"]})

    def _contract(self, raw: Any) -> Market | None:
        assert self._swaps is not None
        market = market_of(
            self._dialect.exchange,
            raw,
            fees=self._fees.get(raw["symbol"]),
            fee_mode="quote",
            tick_key=None,
            market_orders=self._dialect.market_orders,
            precision_mode=self._ccxt.precisionMode,
            rules=self._swaps.rules(raw["info"]),
        )
        return None if market is None else in_base(market, contract_size(self._ccxt, raw["symbol"]))

    async def wait_ready(self, max_wait_s: float) -> None:
        """Wait until they are there; raise VenueUnavailable when that takes too long."""
        if self.ready.is_set():
            return
        try:
            async with asyncio.timeout(max(0.0, max_wait_s)):
                await self.ready.wait()
        except TimeoutError:
            reason = self._trouble.get("markets", "the markets are not loaded yet")
            raise VenueUnavailable(f"{self._dialect.exchange} is not ready: {reason}") from None
