"""What is left to be placed of a plain order that was let go to be replaced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from ems.core.records import Edit, Order, Phase, Status

ZERO = Decimal(0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rest:
    """What is left of an order that has settled to be replaced."""

    order: Order  # the one that was let go
    last: Order  # of what has come in its place, the newest
    edit: Edit
    quantity: Decimal

    @property
    def reserved(self) -> Decimal:
        """Return what of its source currency it may still spend."""
        whole = self.order.quantity if self.edit.quantity is None else self.edit.quantity
        return self.edit.reserved * self.quantity / whole

    @property
    def price(self) -> Decimal | None:
        return self.order.price if self.edit.price is None else self.edit.price


def rest_of(orders: Sequence[Order]) -> Rest | None:
    """Return what is left to be placed of a plain order, oldest order first; None where nothing is to be.

    What it filled is proven, to the last fill, before anything takes its place. What has met another order
    inside since is no part of the rest.
    """
    inside, place = ZERO, len(orders) - 1
    while place > 0 and orders[place].cross_id is not None:
        inside += orders[place].filled_quantity
        place -= 1
    order = orders[place]
    edit = order.edit
    if edit is None or edit.in_place or order.phase is not Phase.SETTLED:
        return None
    if order.status not in (Status.CANCELED, Status.FILLED):
        return None  # the exchange ended it by itself: nobody asked for another
    whole = order.quantity if edit.quantity is None else edit.quantity
    left = max(whole - order.filled_quantity - inside, ZERO)
    return Rest(order=order, last=orders[-1], edit=edit, quantity=left)
