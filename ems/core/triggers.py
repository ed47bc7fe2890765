"""When an order that waits for a price has waited long enough."""

from __future__ import annotations

from decimal import Decimal

from ems.core.messages import OrderType, Side


def rising(order_type: OrderType, side: Side) -> bool:
    """Say whether the price has to rise to its stop price; else it has to fall.

    A stop loss to buy and a take profit to sell wait above the market, the other two below it.
    """
    stop_loss = order_type in (OrderType.STOP_LOSS, OrderType.STOP_LOSS_LIMIT)
    return stop_loss == (side is Side.BUY)


def met(order_type: OrderType, side: Side, stop_price: Decimal, price: Decimal) -> bool:
    """Say whether this price is at the stop price, or past it."""
    return price >= stop_price if rising(order_type, side) else price <= stop_price
