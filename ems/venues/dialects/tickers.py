"""What the public tickers of most exchanges say alike, as ccxt reads them."""

from __future__ import annotations

from typing import Any


async def ticker_day(ccxt_exchange: Any, symbol: str) -> tuple[Any, Any, Any]:
    """Return (volume in base, lowest price, highest price) of the last 24 hours; None where not told."""
    ticker = await ccxt_exchange.fetch_ticker(symbol)
    return ticker["baseVolume"], ticker["low"], ticker["high"]
