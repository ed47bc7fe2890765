"""What is asked about contracts where an exchange has them: positions, and their leverage."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from ems.venues.asking import Asking, Reading
from ems.venues.dialects import DIALECTS
from ems.venues.dialects.dialect import Derivatives, Dialect, Pair
from ems.venues.gateway import NoContracts, VenueRefused

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


async def set_leverage(
    dialect: Dialect, ccxt_exchange: Any, asking: Asking, pair: Pair, leverage: Decimal
) -> None:
    """Choose a contract's leverage; that it is so already is no trouble."""
    derivatives = derivatives_of(dialect)
    try:
        await derivatives.set_leverage(Reading(asking.ask), ccxt_exchange, pair, leverage)
    except VenueRefused as refused:
        if refused.code not in derivatives.unchanged:
            raise
