"""What a market traded within 24 hours: the trades an exchange remembers, and what is said to have been
before.

A simulator plays minutes. What went before it began may be told to it, so that its tickers speak of a whole
day: as two trades of half the volume, at the lowest price and at the highest.
"""

from __future__ import annotations

from simulator.exchange import Exchange
from simulator.records import PublicTrade

DAY_S = 86400.0
REMEMBERED = 10**6  # trades: all that the exchange has kept


def day_trades(exchange: Exchange, symbol: str, now: float) -> list[PublicTrade]:
    """Return what was traded within 24 hours, oldest first."""
    trades = [t for t in exchange.recent_trades(symbol, REMEMBERED) if t.now > now - DAY_S]
    before = exchange.before.get(symbol)
    if before is None:
        return trades
    here = exchange.displayed_middle(symbol) or exchange.last_price(symbol)
    prices = [here if price is None else price for price in (before.low, before.high)]
    return [
        PublicTrade(
            symbol=symbol,
            trade_id=0,
            price=price,
            quantity=before.volume / 2,
            taker_side="buy",
            now=now - DAY_S,
        )
        for price in prices
        if price is not None
    ] + trades
