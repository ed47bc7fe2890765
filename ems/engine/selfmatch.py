"""Self-match prevention: no order of ours meets another of ours on the same account (RELIABILITY.md E, 13).

Rules:
1. Every order of ours that is out, or may be (on its way, in doubt, its cancel not settled), counts at its
   price, whoever owns it. One that waits for a stop price is not in the book; the exchange's own prevention
   sees to it.
2. A plain order that would reach one is refused, with the price that would pass.
3. A leg at work never fails for it: it keeps a tick away, as it keeps to a limit, until the other is gone.

Orders on the account that are not ours are unknown here: the exchange's own prevention, which every order
asks for where it is offered (`ems.venues.dialects`), sees to those and to what crosses on the way.
"""

from __future__ import annotations

from decimal import Decimal

from ems.core import errors
from ems.core.codec import plain
from ems.core.instrument import Market
from ems.core.messages import Problem, Side
from ems.core.records import Order
from ems.core.rest import rest_of
from ems.engine.account import Account
from ems.engine.admission import Admitted
from ems.engine.plans import TAKE_THROUGH
from ems.engine.protection import reaching
from ems.engine.work import Work

ZERO = Decimal(0)


def facing(work: Work, account: Account, symbol: str, side: Side) -> list[tuple[Decimal, Order]]:
    """Return the orders of ours that one of this side could meet, each with its price, nearest first."""
    other = Side.SELL if side is Side.BUY else Side.BUY
    orders = [work.children[i].order for i in work.out.get((*account.key, symbol, other), ())]
    found = [(o.price, o) for o in orders if o.price is not None and _in_book(o)]
    for parent_id in work.called_back:  # they go out again
        rest = rest_of(work.orders_of_parent(parent_id))
        if rest is None or rest.price is None or rest.quantity <= ZERO:
            continue
        place = (rest.order.exchange, rest.order.account, rest.order.symbol, rest.order.side)
        if place == (*account.key, symbol, other):
            found.append((rest.price, rest.order))
    return sorted(found, key=lambda one: one[0], reverse=side is Side.SELL)


def _in_book(order: Order) -> bool:
    """Say whether it may be in the book: of those that wait, one that we have triggered ourselves."""
    return not order.order_type.waits or (order.emulated and order.sent_at is not None)


def bound(work: Work, account: Account, market: Market, side: Side) -> Decimal | None:
    """Return the furthest price at which an order of this side meets none of ours; None: any."""
    met = facing(work, account, market.symbol, side)
    if not met:
        return None
    nearest = met[0][0]
    return nearest - market.tick if side is Side.BUY else nearest + market.tick


def reach(admitted: Admitted, account: Account, quantity: Decimal) -> Decimal:
    """Return the furthest price a plain order may trade at: its own, or where the book has this much."""
    if admitted.price is not None:
        return admitted.price
    leg = admitted.leg
    book = account.books[leg.symbol]
    far = reaching(book.asks if leg.side is Side.BUY else book.bids, quantity)
    through = 1 + TAKE_THROUGH if leg.side is Side.BUY else 1 - TAKE_THROUGH
    return account.markets[leg.symbol].taker_price(leg.side, far * through)


def met(work: Work, account: Account, symbol: str, side: Side, price: Decimal) -> list[Order]:
    """Return the orders of ours that one reaching to this price would meet, nearest first."""
    found = facing(work, account, symbol, side)
    return [order for at, order in found if (price >= at if side is Side.BUY else price <= at)]


def refusal(work: Work, account: Account, admitted: Admitted, user: str) -> Problem | None:
    """Refuse a plain order that would meet another of ours."""
    if admitted.order_type.waits:
        return None
    price = reach(admitted, account, admitted.quantity)
    meets = met(work, account, admitted.leg.symbol, admitted.leg.side, price)
    return refused(work, account, meets[0], user, price, admitted) if meets else None


def refused(
    work: Work, account: Account, other: Order, user: str, price: Decimal, admitted: Admitted | None = None
) -> Problem:
    """Say what a plain order that reaches to this price would meet, and what would pass.

    One without a price of its own is named by `admitted`. Another user's order is not named by its id: an id
    is its owner's.
    """
    symbol, side = other.symbol, Side.SELL if other.side is Side.BUY else Side.BUY
    passes = bound(work, account, account.markets[symbol], side)
    assert passes is not None and other.price is not None
    at_market = admitted if admitted is not None and admitted.price is None else None
    field = "price" if at_market is None else "quantity"
    own = other.user == user
    details: dict[str, object] = {
        "field": field,
        "value": plain(price if at_market is None else at_market.quantity),
        "limit": plain(passes),
        "rule": "self_match",
        "nearest": plain(passes) if at_market is None else None,
        "resting_side": str(other.side),
        "resting_price": plain(other.price),
    }
    if own:
        details["resting_order_id"] = other.order_id
    whose = f"your order {other.order_id}" if own else "another user's order"
    can_be = "A price" if at_market is None else "A limit order with a price"
    cancel = f"cancel {other.order_id} first" if own else "wait until that order is gone"
    return errors.problem(
        errors.SELF_MATCH,
        f"{field}: this {side} reaches {plain(price)} and would trade with {whose}, which {other.side}s "
        f"{symbol} at {plain(other.price)} on the same account",
        hint=f"{can_be} {'up to' if side is Side.BUY else 'from'} {plain(passes)} passes; or {cancel}.",
        details=details,
    )
