"""What a parent has spent and received, derived from its orders: never a second counter."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from ems.core.child import exposure
from ems.core.messages import Side
from ems.core.records import Order, Parent, Phase

ZERO = Decimal(0)


def spent(orders: Iterable[Order], currency: str) -> Decimal:
    """Return how much of the hop's source currency is gone, fees in that currency included."""
    total = ZERO
    for order in orders:
        total += order.quote_filled if order.side is Side.BUY else order.filled_quantity
        total += order.fees.get(currency, ZERO)
    return total


def received(orders: Iterable[Order], currency: str) -> Decimal:
    """Return how much of the hop's target currency came in, net of fees in that currency."""
    total = ZERO
    for order in orders:
        total += order.filled_quantity if order.side is Side.BUY else order.quote_filled
        total -= order.fees.get(currency, ZERO)
    return total


def budget(parent: Parent, orders: Iterable[Order]) -> Decimal:
    """Return what the current hop may still spend of its source currency, open orders not deducted.

    The first hop may spend the start amount; a later hop only what the hop before it really received.
    """
    own = [order for order in orders if order.hop == parent.hop]
    if parent.hop == 0:
        given = parent.start_amount
    else:
        before = parent.hops[parent.hop - 1]
        given = received((o for o in orders if o.hop == parent.hop - 1), before.target)
    return given - spent(own, parent.hops[parent.hop].source)


def committed(orders: Iterable[Order]) -> Decimal:
    """Return what unsettled orders may still take of their source currency (unknown ones count in full)."""
    total = ZERO
    for order in orders:
        if order.phase is not Phase.SETTLED:
            share = exposure(order) / order.quantity if order.quantity else ZERO
            total += order.reserved * share
    return total
