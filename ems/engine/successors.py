"""Orders that take the place of another of the same parent: what is left of it, on other terms."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from ems.core.messages import OrderType
from ems.core.order import worth
from ems.core.records import Order, Parent, ParentState
from ems.core.rest import rest_of
from ems.engine.account import Account, Readiness
from ems.engine.orders import Orders, sent_type
from ems.engine.risk import Clearance
from ems.engine.work import Run, Work

ZERO = Decimal(0)


class Successors:
    """Places the rest of an order that was let go to be replaced."""

    def __init__(self, work: Work, orders: Orders):
        self._work = work
        self._orders = orders

    def take_over(self, parent: Parent, run: Run, now: datetime) -> bool:
        """Place what is left of an order that has settled for that; say whether the parent goes on."""
        found = rest_of(self._work.orders_of_parent(parent.parent_id))
        if found is None or run.problem is not None or parent.state is ParentState.CANCELLING:
            return False
        order, edit = found.order, found.edit
        account = self._work.accounts[order.exchange, order.account]
        market = account.markets.get(order.symbol)
        if self._work.halted(*account.key, order.symbol, order.user):
            return False
        if account.readiness is not Readiness.READY or market is None:
            return True
        until = self._work.called_back.get(parent.parent_id)
        if until is not None and now < until:
            return True  # another order is to meet it first
        self._work.called_back.pop(parent.parent_id, None)
        price = found.price
        stop_price = order.stop_price if edit.stop_price is None else edit.stop_price
        whole = order.quantity if edit.quantity is None else edit.quantity
        rest = market.floor_quantity(found.quantity)
        if not market.order_ok(rest, price or stop_price or ZERO):
            return False
        order_id = succeed(
            self._orders,
            parent,
            account,
            order,
            now,
            order_type=sent_type(order),
            quantity=rest,
            price=price,
            stop_price=stop_price if sent_type(order).waits else None,
            reserved=edit.reserved * rest / whole,
            replaces=found.last.order_id,
        )
        self._orders.send(order_id, now)
        return True


def succeed(
    orders: Orders,
    parent: Parent,
    account: Account,
    order: Order,
    now: datetime,
    *,
    order_type: OrderType,
    quantity: Decimal,
    price: Decimal | None,
    stop_price: Decimal | None,
    emulated: bool = False,
    reserved: Decimal | None = None,
    replaces: str | None = None,
) -> str:
    """Write down an order in the place of another; what is not said is as it was. Return its id."""
    usd_value = worth(order, quantity, price, stop_price)  # judged when the edit was asked for
    return orders.create(
        parent,
        order.leg,
        account,
        order_type=order_type,
        time_in_force=order.time_in_force,
        post_only=order.post_only,
        quantity=quantity,
        price=price,
        purpose=order.purpose,
        reserved=parent.legs[order.leg].amount if reserved is None else reserved,
        cleared=Clearance(quantity=quantity, usd_value=usd_value),
        now=now,
        stop_price=stop_price,
        expires_at=order.expires_at,
        reduce_only=order.reduce_only,
        emulated=emulated,
        replaces=replaces or order.order_id,
    )
