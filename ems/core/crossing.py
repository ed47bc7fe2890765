"""Internal crossing: the fair price and quantity at which two orders of one account meet inside.

Rules:
1. The price lies between the best bid and the best ask, these included. It is the middle, or as near to it as
   both limits let it be.
2. Both sides do strictly better than by taking outside, fees counted: the buyer pays less than ask (1 + fee),
   the seller gets more than bid (1 - fee).
3. What is left of either side is nothing, or enough to be an order.

The book is the caller's to judge (`ems.core.fitness`): on one that is not fit to trade on nothing crosses.
"""

from __future__ import annotations

from decimal import Decimal

from ems.core.instrument import floor_to

ZERO = Decimal(0)


def cross_price(
    bid: Decimal,
    ask: Decimal,
    taker_fee: Decimal,
    *,
    buy_limit: Decimal | None = None,
    sell_limit: Decimal | None = None,
) -> Decimal | None:
    """Return the price, quote per base; None where no price is fair to both. No limit: any price."""
    if not ZERO < bid < ask:
        return None
    least = bid if sell_limit is None else max(bid, sell_limit)
    most = ask if buy_limit is None else min(ask, buy_limit)
    if least > most:
        return None
    price = min(max((bid + ask) / 2, least), most)
    better = bid * (1 - taker_fee) < price < ask * (1 + taker_fee)
    return price if better else None


def cross_quantity(buy: Decimal, sell: Decimal, lot: Decimal, smallest: Decimal) -> Decimal:
    """Return how much of two quantities may meet; zero where nothing may.

    `smallest`: the least that may be left of either, if anything is.
    """
    quantity = floor_to(min(buy, sell), lot)
    for _ in range(2):  # what the one leaves may cut into what the other may leave
        for whole in (buy, sell):
            rest = whole - quantity
            if lot <= rest < smallest:
                quantity = floor_to(whole - smallest, lot)
    return max(quantity, ZERO)
