"""What passes a halt beside cancels: an order that only reduces, and of which nothing stays at the exchange.

A person with the role admin may ask for it: a bot that runs amok may do so by selling, too. It is
`reduce_only` and takes at once; so a halt that was proven flat stays so. What was let pass has the purpose
"reduce", on record with the order: everything else that has not left when a halt comes is called back.
"""

from __future__ import annotations

from ems.core.messages import Command, OrderType, PlaceOrder, TimeInForce
from ems.core.records import REDUCE, Order

AT_ONCE = (TimeInForce.IOC, TimeInForce.FOK)


def may_reduce(command: Command, role: str) -> bool:
    """Say whether a halt lets this request pass, of a key with this role."""
    return (
        role == "admin"
        and isinstance(command, PlaceOrder)
        and command.reduce_only
        and (command.order_type is OrderType.MARKET or command.time_in_force in AT_ONCE)
    )


def let_pass(order: Order) -> bool:
    """Say whether an order was let pass under a halt."""
    return order.purpose == REDUCE
