"""Orders that take the place of another of the same parent: what is left of it, on other terms.

A stop that is refused when the old one has gone would leave nothing to guard what the old one guarded. So
that one is placed again as it was, and people are told. A no to that ends it, but for one that passes: it is
placed again after a wait, as often as any order is tried.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

from ems.core import retries
from ems.core.child import NEVER_ARRIVED
from ems.core.messages import OrderType, Rejected
from ems.core.order import worth
from ems.core.records import Notice, Order, Parent, ParentState, Status
from ems.core.rest import rest_of
from ems.engine.account import Account, Readiness
from ems.engine.order_types import taken_at
from ems.engine.orders import Orders, sent_type
from ems.engine.refusals import AGAIN_S, PASSING
from ems.engine.risk import Clearance
from ems.engine.turn import Out
from ems.engine.work import Run, Work

ZERO = Decimal(0)
REFUSED_AS_WELL = "The old one, placed again, was refused as well: nothing stands any more."


class Successors:
    """Places the rest of an order that was let go to be replaced."""

    def __init__(self, out: Out, work: Work, orders: Orders):
        self._out = out
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

    # --- A stop whose successor was refused ----------------------------------------------------------------

    def learn_refusal(self, order: Order, report: Rejected, run: Run, now: datetime) -> bool:
        """Take note of a no to what was to take a stop's place; say whether the old one is placed again."""
        if order.leaving or run.problem is not None:
            return False
        found = self._guarding(order)
        if found is None:
            return False
        tries, passing = found[1], report.refusal in PASSING
        if tries and not passing:
            self._tell(order, report.message, REFUSED_AS_WELL, now)
            return False
        if passing:
            wait = retries.ORDERS.wait(tries, order.order_id) if tries else timedelta(seconds=AGAIN_S)
            run.resting.until = now + wait
            self._out.wake(("parent", order.parent_id), run.resting.until)
        return True

    def put_back(self, parent: Parent, order: Order, run: Run, now: datetime) -> bool:
        """Place a stop again, as it was, where what was to take its place was refused, or itself for now; say
        whether the parent goes on."""
        if order.status is not Status.REJECTED or run.problem is not None:
            return False
        found = self._guarding(order)
        if found is None:
            return False
        old, tries = found
        if tries >= retries.ORDERS.tries:
            self._tell(order, order.reason, REFUSED_AS_WELL, now)
            return False
        account = self._work.accounts[old.exchange, old.account]
        market = account.markets.get(old.symbol)
        if account.readiness is not Readiness.READY or market is None or run.resting.waits(now):
            return True
        rest = market.floor_quantity(old.quantity - old.filled_quantity)
        assert old.stop_price is not None
        halted = self._work.halted(*account.key, old.symbol, old.user)
        if halted is not None or not market.order_ok(rest, old.price or old.stop_price):
            self._tell(
                order, order.reason, "The old one cannot be placed again: nothing stands any more.", now
            )
            return False
        paid = old.price or taken_at(old.stop_price)
        order_id = succeed(
            self._orders,
            parent,
            account,
            old,
            now,
            order_type=old.order_type,
            quantity=rest,
            price=old.price,
            stop_price=old.stop_price,
            reserved=market.reserve(old.side, rest, paid, post_only=old.post_only),
            replaces=order.order_id,
        )
        self._orders.send(order_id, now)
        done = f"The old one was placed again, as it was: it is order {order_id} now."
        self._tell(order, order.reason, done, now)
        return True

    def _guarding(self, order: Order) -> tuple[Order, int] | None:
        """Return the stop that was let go for what is refused now, and how often it has been placed again:
        by the records, so that a restart counts on."""
        if order.reason.startswith(f"{NEVER_ARRIVED}, "):
            return None  # its owner let it go
        tries, at = 0, order
        while (old := self._stop_before(at)) is None:
            child = self._work.children.get(at.replaces or "")
            if child is None or child.order.status is not Status.REJECTED or not at.order_type.waits:
                return None
            tries, at = tries + 1, child.order
        return old, tries

    def _stop_before(self, order: Order) -> Order | None:
        """Return the stop that was let go for this one to take its place; None where it was none."""
        child = self._work.children.get(order.replaces or "")
        if child is None or order.emulated or not order.order_type.waits:
            return None
        old = child.order
        return old if old.edit is not None and not old.edit.in_place else None

    def _tell(self, order: Order, why: str, done: str, now: datetime) -> None:
        self._out.record(
            Notice(
                notice_id=f"{order.order_id}-edit-refused",
                query_id=order.query_id,
                severity="critical",
                subject=f"the new {order.order_type} of an edit was refused on {order.exchange}",
                failed=f"order {order.order_id} ({order.order_type} to {order.side} {order.symbol} on "
                f"{order.exchange}) of bot {order.bot} (user {order.user})",
                why=f"{order.exchange} said: {why}",
                done=done,
                todo="Look at what it was to protect, and whether what stands now does.",
                created_at=now,
                group=f"{order.user}/{order.bot}/edit-refused",
                event="edit_refused",
            )
        )


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
