"""Contracts where an exchange has them: positions, their leverage, and quantities in base currency."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from ems.core.instrument import Market
from ems.core.messages import ChooseLeverage, ContractRead, LeverageAnswered
from ems.venues.asking import ASK_PATIENCE_S, Asking, Reading
from ems.venues.dialects import DIALECTS
from ems.venues.dialects.dialect import Derivatives, Dialect, Pair
from ems.venues.gateway import FundingPayment, NoContracts, Position, VenueRefused, VenueUnavailable
from ems.venues.translation import to_ms

log = logging.getLogger(__name__)

_LINEAR = re.compile(r"(?P<base>[^/:]+)/(?P<quote>[^/:]+):(?P=quote)")  # settled in its quote currency


def derivatives_of(dialect: Dialect) -> Derivatives:
    """Return how an exchange is asked about contracts; raise NoContracts where it has none for us."""
    if dialect.derivatives is not None:
        return dialect.derivatives
    those = ", ".join(name for name, one in sorted(DIALECTS.items()) if one.derivatives is not None)
    raise NoContracts(
        f"no positions and no leverage at {dialect.exchange}: only spot is reached; see {those}"
    )


def linear(dialect: Dialect, symbol: str) -> Pair:
    """Read the name of a linear contract of this exchange; raise VenueRefused for any other."""
    derivatives = derivatives_of(dialect)
    named = _LINEAR.fullmatch(symbol)
    if named is None or named["quote"] not in (derivatives.settled_in or {named["quote"]}):
        raise VenueRefused(f"{symbol!r:.40} is no linear contract of {dialect.exchange}, as BTC/USDT:USDT is")
    return Pair(**named.groupdict())


def in_base(market: Market, size: Decimal) -> Market:
    """Return a contract's market with quantities in base currency, one contract being so much of it."""
    rules = market.rules

    def times(quantity: Decimal | None) -> Decimal | None:
        return None if quantity is None else quantity * size

    return replace(
        market,
        lot=market.lot * size,
        min_quantity=market.min_quantity * size,
        max_quantity=times(market.max_quantity),
        rules=replace(
            rules,
            max_market_quantity=times(rules.max_market_quantity),
            max_post_only_quantity=times(rules.max_post_only_quantity),
        ),
        contract_size=size,
    )


class Contracts:
    """One account's positions and leverage."""

    def __init__(
        self,
        dialect: Dialect,
        ccxt_exchange: Any,
        asking: Asking,
        *,
        wait_ready: Callable[[float], Awaitable[None]],
    ):
        self._dialect = dialect
        self._ccxt = ccxt_exchange
        self._asking = asking
        self._wait_ready = wait_ready

    async def positions(self) -> list[Position]:
        """Read what is held."""
        derivatives = derivatives_of(self._dialect)
        await self._wait_ready(ASK_PATIENCE_S)
        return await derivatives.positions(Reading(self._asking.ask), self._ccxt)

    async def funding(self, since: datetime, until: datetime) -> list[FundingPayment]:
        """Read what positions received and paid."""
        derivatives = derivatives_of(self._dialect)
        await self._wait_ready(ASK_PATIENCE_S)
        reading = Reading(self._asking.ask)
        found = await derivatives.funding(reading, self._ccxt, to_ms(since), to_ms(until))
        return sorted(found, key=lambda one: (one.at, one.payment_id), reverse=True)

    async def set_leverage(self, symbol: str, leverage: Decimal) -> None:
        """Choose a contract's leverage; that it is so already is no trouble."""
        derivatives, pair = derivatives_of(self._dialect), linear(self._dialect, symbol)
        if not leverage.is_finite() or leverage <= 0:
            raise VenueRefused(f"leverage must be greater than 0, not {leverage}")
        await self._wait_ready(ASK_PATIENCE_S)
        try:
            await derivatives.set_leverage(Reading(self._asking.ask), self._ccxt, pair, leverage)
        except VenueRefused as refused:
            if refused.code not in derivatives.unchanged:
                raise

    async def read(self, symbol: str) -> ContractRead:
        """Report how the account stands in a contract, or why that is not known."""
        try:
            derivatives = derivatives_of(self._dialect)
            await self._wait_ready(ASK_PATIENCE_S)
            reading = Reading(self._asking.ask)
            standing = await derivatives.stand(reading, self._ccxt, symbol)
        except (VenueRefused, VenueUnavailable) as error:
            return ContractRead(symbol=symbol, problem=str(error) or "no usable answer")
        except Exception as error:  # whatever it is, somebody waits for an answer
            log.exception("contract %s at %s", symbol, self._dialect.exchange)
            return ContractRead(symbol=symbol, problem=repr(error))
        return ContractRead(
            symbol=symbol,
            quantity=standing.quantity,
            leverage=standing.leverage,
            query_sent_at=reading.began_at(),
        )

    async def choose(self, request: ChooseLeverage) -> LeverageAnswered:
        """Send a choice of leverage. Only a coded no is one; all else is found out by reading."""
        answer = LeverageAnswered(query_id=request.query_id, symbol=request.symbol)
        try:
            await self.set_leverage(request.symbol, request.leverage)
        except VenueRefused as refused:
            return replace(answer, refused=str(refused) or "no reason given", venue_code=refused.code)
        except VenueUnavailable as error:
            log.info("leverage of %s at %s: %s", request.symbol, self._dialect.exchange, error)
        except Exception:  # it may have been set all the same
            log.exception("leverage of %s at %s", request.symbol, self._dialect.exchange)
        return answer
