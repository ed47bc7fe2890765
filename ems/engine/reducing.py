"""What passes a halt beside cancels: an order that only reduces, and of which nothing stays at the exchange.

A person with the role admin may ask for it: a bot that runs amok may do so by selling, too. It is
`reduce_only` and takes at once; so a halt that was proven flat stays so.
"""

from __future__ import annotations

from ems.core.messages import Command, OrderType, PlaceOrder, TimeInForce
from ems.core.records import Order

AT_ONCE = (TimeInForce.IOC, TimeInForce.FOK)


def may_reduce(command: Command, role: str) -> bool:
    """Say whether a halt lets this request pass, of a key with this role."""
    return (
        role == "admin"
        and isinstance(command, PlaceOrder)
        and command.reduce_only
        and (command.order_type is OrderType.MARKET or command.time_in_force in AT_ONCE)
    )


def reduces_at_once(order: Order) -> bool:
    """Say the same of an order that was let pass, or was on its way when the halt came."""
    return order.reduce_only and not order.emulated and order.time_in_force in AT_ONCE
