"""What an order would take at once, and what it holds of its account's money while it is open.

Nothing here changes anything.
"""

from decimal import Decimal

from ems.core.book import Side
from simulator.displayed import MarketState
from simulator.records import ZERO, Market, Order, SelfTradeRule, Step, Trigger


def planned(
    state: MarketState,
    side: Side,
    limit: Decimal | None,
    quantity: Decimal | None,
    quote_quantity: Decimal | None,
    account: str,
    own_rule: SelfTradeRule,
    now: float,
) -> list[Step]:
    """What the order would take at once; own makers are in it with quantity 0, to be ended on the way.

    Where they are to become smaller, the quantity is by how much, below zero.
    """
    market = state.market
    plan: list[Step] = []
    left = quantity
    quote_left = quote_quantity
    if quote_left is not None and side == "buy" and market.fee_mode == "quote":
        quote_left = quote_left / (1 + max(ZERO, market.taker_fee))
    for price, size, maker_id in state.walk(side, limit, now):
        if maker_id is not None and _owner(state, maker_id) == account:
            if own_rule in ("expire_taker", "expire_both"):
                plan.append((price, ZERO, maker_id))
                break
            if own_rule == "expire_maker":
                plan.append((price, ZERO, maker_id))
                continue
            if own_rule == "decrement":
                if quote_left is not None:
                    cut = min(size, quote_left / price // market.lot * market.lot)
                    quote_left -= cut * price
                else:
                    assert left is not None
                    cut = min(size, left)
                    left -= cut
                if cut:
                    plan.append((price, -cut, maker_id))
                if cut < size or (left is not None and not left):
                    break
                continue
        if quote_left is not None:
            take = min(size, quote_left / price // market.lot * market.lot)
            quote_left -= take * price
        else:
            assert left is not None
            take = min(size, left)
            left -= take
        if not take:
            break
        plan.append((price, take, maker_id))
        if take < size or (left is not None and not left):
            break
    return plan


def reserve_for(
    market: Market,
    side: Side,
    quantity: Decimal,
    price: Decimal | None,
    plan: list[Step],
) -> Decimal:
    if market.settled_in is not None:
        return ZERO  # margin is a requirement, not an amount set aside
    fee = max(ZERO, market.maker_fee, market.taker_fee)
    if side == "sell":
        return quantity * (1 + fee) if market.fee_mode == "base" else quantity
    cost = quantity * price if price is not None else sum((p * q for p, q, _ in plan if q > 0), ZERO)
    return cost * (1 + fee) if market.fee_mode == "quote" else cost


def reserve_waiting(
    market: Market,
    side: Side,
    quantity: Decimal,
    price: Decimal | None,
    quote_quantity: Decimal | None,
    trigger: Trigger,
) -> Decimal:
    """What an order holds while it waits; one without a limit is valued at its trigger."""
    if quote_quantity is not None:
        return quote_quantity
    limit = trigger.price if price is None else price
    return reserve_for(market, side, quantity, limit, [])


def still_reserved(market: Market, order: Order, paid: Decimal) -> Decimal:
    remaining = order.quantity - order.filled_quantity
    if not remaining:
        return ZERO
    fee = max(ZERO, market.maker_fee, market.taker_fee)
    if order.side == "sell":
        return remaining * (1 + fee) if market.fee_mode == "base" else remaining
    if order.price is not None:
        cost = remaining * order.price
        return cost * (1 + fee) if market.fee_mode == "quote" else cost
    # A market order reserved what its plan costs; each fill releases its own part.
    return max(ZERO, order.reserved - (paid * (1 + fee) if market.fee_mode == "quote" else paid))


def _owner(state: MarketState, order_id: int) -> str:
    resting = state.book.get(order_id)
    assert resting is not None, "a plan is made of what waits"
    return resting.owner
