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
from ems.engine.account import Account
from ems.engine.admission import Admitted, reaching
from ems.engine.plans import TAKE_THROUGH
from ems.engine.work import Work


def facing(work: Work, account: Account, symbol: str, side: Side) -> Order | None:
    """Return the order of ours that one of this side would meet first."""
    other = Side.SELL if side is Side.BUY else Side.BUY
    orders = [work.children[i].order for i in work.out.get((*account.key, symbol, other), ())]
    priced = [(o.price, o) for o in orders if o.price is not None and _in_book(o)]
    if not priced:
        return None
    nearest = min if side is Side.BUY else max
    return nearest(priced, key=lambda one: one[0])[1]


def _in_book(order: Order) -> bool:
    """Say whether it may be in the book: of those that wait, one that we have triggered ourselves."""
    return not order.order_type.waits or (order.emulated and order.sent_at is not None)


def bound(work: Work, account: Account, market: Market, side: Side) -> Decimal | None:
    """Return the furthest price at which an order of this side meets none of ours; None: any."""
    met = facing(work, account, market.symbol, side)
    if met is None or met.price is None:
        return None
    return met.price - market.tick if side is Side.BUY else met.price + market.tick


def reach(admitted: Admitted, account: Account) -> Decimal:
    """Return the furthest price a plain order may trade at: its own, or where the book has what it wants."""
    if admitted.price is not None:
        return admitted.price
    leg = admitted.leg
    book = account.books[leg.symbol]
    far = reaching(book.asks if leg.side is Side.BUY else book.bids, admitted.quantity)
    through = 1 + TAKE_THROUGH if leg.side is Side.BUY else 1 - TAKE_THROUGH
    return account.markets[leg.symbol].taker_price(leg.side, far * through)


def refusal(work: Work, account: Account, admitted: Admitted, user: str) -> Problem | None:
    """Refuse a plain order that would meet one of ours.

    Another user's order is not named by its id: an id is its owner's.
    """
    side, symbol, limited = admitted.leg.side, admitted.leg.symbol, admitted.price is not None
    met = None if admitted.order_type.waits else facing(work, account, symbol, side)
    if met is None or met.price is None:
        return None
    price = reach(admitted, account)
    if price < met.price if side is Side.BUY else price > met.price:
        return None
    passes = bound(work, account, account.markets[symbol], side)
    assert passes is not None
    own = met.user == user
    field = "price" if limited else "quantity"
    details: dict[str, object] = {
        "field": field,
        "value": plain(price if limited else admitted.quantity),
        "limit": plain(passes),
        "resting_side": str(met.side),
        "resting_price": plain(met.price),
    }
    if own:
        details["resting_order_id"] = met.order_id
    whose = f"your order {met.order_id}" if own else "another user's order"
    can_be = "A price" if limited else "A limit order with a price"
    cancel = f"cancel {met.order_id} first" if own else "wait until that order is gone"
    return errors.problem(
        errors.SELF_MATCH,
        f"{field}: this {side} reaches {plain(price)} and would trade with {whose}, which {met.side}s "
        f"{symbol} at {plain(met.price)} on the same account",
        hint=f"{can_be} {'up to' if side is Side.BUY else 'from'} {plain(passes)} passes; or {cancel}.",
        details=details,
    )
