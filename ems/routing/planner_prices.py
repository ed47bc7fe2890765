"""One price for every currency, from the mids of the books at hand.

All amounts of a plan are compared in one currency, the numeraire: the deepest hub the books know. A currency
is valued along the chain of mids that loses least to spreads, so the answer is the same every time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from heapq import heappop, heappush

from ems.routing.chain import HUBS
from ems.routing.plan import Listing

# Currencies that are worth one dollar, near enough to say how small a trade may be.
DOLLARS = ("USDT", "USD", "USDC", "FDUSD", "TUSD", "USDP", "PYUSD", "DAI", "USDE")

# What makes a chain of mids worse, as fractions of the price, beside half of each spread.
HOP = 0.0001  # a shorter chain wins among equals
ONE_SIDED = 0.5  # bids without asks, or the reverse: better than nothing
HALTED = 1.0  # the last book of a halted market


def choose_numeraire(listings: Iterable[Listing]) -> str:
    """Return the deepest hub the books know, or else the currency most markets are quoted in."""
    currencies: set[str] = set()
    quoted: dict[str, int] = {}
    for listing in listings:
        currencies.update((listing.market.base, listing.market.quote))
        quoted[listing.market.quote] = quoted.get(listing.market.quote, 0) + 1
    for hub in HUBS:
        if hub in currencies:
            return hub
    return min(quoted, key=lambda quote: (-quoted[quote], quote), default=HUBS[0])


def dollar_value(numeraire: str, usd: Mapping[str, Decimal]) -> Decimal | None:
    """Return what one unit of the numeraire is worth in USD, or None where nobody says."""
    return usd.get(numeraire, Decimal(1) if numeraire in DOLLARS else None)


def mid_price(listing: Listing) -> Decimal | None:
    """Return the mid, the only side there is, or None for an empty book."""
    if listing.bids and listing.asks:
        return (listing.bids[0][0] + listing.asks[0][0]) / 2
    side = listing.bids or listing.asks
    return side[0][0] if side else None


def mid_prices(
    listings: Iterable[Listing], numeraire: str, usd: Mapping[str, Decimal] | None = None
) -> dict[str, Decimal]:
    """Return currency -> price in the numeraire; a currency no chain reaches is missing.

    `usd` (currency -> USD) joins currencies that no chain of books connects with the numeraire.
    """
    edges: dict[str, list[tuple[float, str, str, Decimal, bool]]] = {}
    for listing in listings:
        mid = mid_price(listing)
        if mid is None or mid <= 0:
            continue
        market = listing.market
        cost = HOP if market.active else HALTED
        if listing.bids and listing.asks:
            cost += abs(float((listing.asks[0][0] - listing.bids[0][0]) / mid)) / 2
        else:
            cost += ONE_SIDED
        key = f"{market.symbol} {listing.exchange} {listing.account}"
        edges.setdefault(market.quote, []).append((cost, key, market.base, mid, True))
        edges.setdefault(market.base, []).append((cost, key, market.quote, mid, False))
    prices: dict[str, Decimal] = {}
    starts = [(numeraire, Decimal(1))]
    unit = dollar_value(numeraire, usd or {})
    if unit:
        starts += [(currency, value / unit) for currency, value in sorted((usd or {}).items()) if value > 0]
    # Every start takes what its chains reach; what an earlier one has reached keeps its price.
    for start, value in starts:
        queue: list[tuple[float, str, str, Decimal]] = [(0.0, "", start, value)]
        while queue:
            cost, _, currency, price = heappop(queue)
            if currency in prices:
                continue
            prices[currency] = price
            for more, key, neighbour, mid, to_base in edges.get(currency, ()):
                if neighbour not in prices:
                    heappush(queue, (cost + more, key, neighbour, price * mid if to_base else price / mid))
    return prices
