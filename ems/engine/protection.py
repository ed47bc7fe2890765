"""How far a market order may trade: the limit that it goes out with (RELIABILITY.md E, 3).

Rules:
1. With a `slippage_limit` a market order is sent as a limit order that takes at once or not at all, at that
   much beyond the best price. The book may move between the look and the arrival: beyond the bound nothing
   trades, and what is left ends at once.
2. The bound is rounded inward, so that it is never beyond the limit, and kept within what the exchange takes.
3. Where the money does not reach to the bound, the bound is where the money reaches, as long as that is
   enough for all of the order as the book stands.
4. Without a `slippage_limit` it goes as a market order; at an exchange that has none, as a limit that reaches
   all that is wanted.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from ems.core.fitness import mid_of
from ems.core.instrument import Market
from ems.core.messages import BookUpdate, PriceBounds, Side
from ems.core.validation import Picture, within_limits
from ems.engine.plans import TAKE_THROUGH

ZERO = Decimal(0)
ONE = Decimal(1)
HUNDRED = Decimal(100)


def protection(
    market: Market,
    side: Side,
    book: BookUpdate,
    quantity: Decimal,
    guard: Decimal | None,
    money: Decimal,
    taken: PriceBounds,
) -> Decimal | None:
    """Return the limit of a market order; None: it goes without one.

    `guard`: percent beyond the best price. `money`: quote currency that a purchase may take. `taken`: the
    prices that the exchange takes just now.
    """
    seen = Picture(
        mid=mid_of(book),
        reference=taken.reference,
        highest_buy=taken.highest_buy,
        lowest_sell=taken.lowest_sell,
    )
    far = within_limits(market, side, limit_to_take(market, side, book, quantity), seen)
    if guard is None:
        return None if market.market_orders else far
    buys = side is Side.BUY
    best = (book.asks if buys else book.bids)[0][0]
    away = guard / HUNDRED
    bound = market.passive_price(side, best * (ONE + away if buys else ONE - away))
    bound = within_limits(market, side, bound, seen)
    if not buys:
        return bound
    unit = market.reserve(side, quantity, ONE, post_only=False)
    paid = market.passive_price(side, money / unit) if unit > ZERO else bound
    return min(bound, max(paid, far))


def limit_to_take(market: Market, side: Side, book: BookUpdate, quantity: Decimal) -> Decimal:
    """Return the limit with which an order reaches all that it wants, and a little further."""
    far = reaching(book.asks if side is Side.BUY else book.bids, quantity)
    return market.taker_price(side, far * (ONE + TAKE_THROUGH if side is Side.BUY else ONE - TAKE_THROUGH))


def reaching(levels: Sequence[tuple[Decimal, Decimal]], quantity: Decimal) -> Decimal:
    """Return the price of the level with which this much is reached; the last one where there is less."""
    reached = ZERO
    for price, size in levels:
        reached += size
        if reached >= quantity:
            return price
    return levels[-1][0]
