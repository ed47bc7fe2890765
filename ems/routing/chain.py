"""The shortest chain of markets from one currency to another.

Breadth first over active markets; among chains of equal length the one over the deepest hub currencies
wins, so the answer is the same every time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from ems.core.instrument import Market
from ems.core.messages import Side

MAX_HOPS = 3

# Currencies most others trade against, deepest first.
HUBS = ("USDT", "USD", "USDC", "BTC", "ETH", "EUR", "BNB")

Levels = tuple[tuple[Decimal, Decimal], ...]  # ((price, quantity), ...), best first


@dataclass(frozen=True, kw_only=True, slots=True)
class Hop:
    """One market of a chain: spend `source`, receive `target`."""

    symbol: str
    side: Side
    source: str
    target: str


def shortest_chain(markets: Iterable[Market], start: str, end: str) -> tuple[Hop, ...]:
    """Return the hops from `start` to `end`, or an empty tuple when at most three markets cannot do it."""
    edges: dict[str, list[Hop]] = {}
    for market in markets:
        if market.active:
            base, quote = market.base, market.quote
            sell = Hop(symbol=market.symbol, side=Side.SELL, source=base, target=quote)
            buy = Hop(symbol=market.symbol, side=Side.BUY, source=quote, target=base)
            edges.setdefault(base, []).append(sell)
            edges.setdefault(quote, []).append(buy)
    for hops in edges.values():
        hops.sort(key=lambda hop: (_hub_rank(hop.target), hop.symbol))
    chains: list[tuple[Hop, ...]] = [()]
    reached = {start}
    for _ in range(MAX_HOPS):
        longer: list[tuple[Hop, ...]] = []
        for chain in chains:
            here = chain[-1].target if chain else start
            for hop in edges.get(here, ()):
                if hop.target == end:
                    return (*chain, hop)
                if hop.target not in reached:
                    reached.add(hop.target)
                    longer.append((*chain, hop))
        chains = longer
    return ()


def _hub_rank(currency: str) -> int:
    return HUBS.index(currency) if currency in HUBS else len(HUBS)


def sweep(side: Side, amount: Decimal, levels: Levels, market: Market) -> tuple[Decimal, Decimal]:
    """Take `amount` of the source currency at once from the displayed levels.

    Returns (received, spent) net of the taker fee. What the levels cannot fill stays unspent.
    Gains per level as in EXECUTION.md 2.1.
    """
    fee = market.taker_fee
    received = spent = Decimal(0)
    left = amount
    for price, quantity in levels:
        if left <= 0:
            break
        if side is Side.BUY:
            unit = price * (1 + fee) if market.fee_mode == "quote" else price
            taken = min(quantity, left / unit)
            spent += taken * unit
            left -= taken * unit
            received += taken if market.fee_mode == "quote" else taken * (1 - fee)
        else:
            unit = 1 + fee if market.fee_mode == "base" else Decimal(1)
            taken = min(quantity, left / unit)
            spent += taken * unit
            left -= taken * unit
            received += taken * price if market.fee_mode == "base" else taken * price * (1 - fee)
    return received, spent
