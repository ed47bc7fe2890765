"""What an exchange takes, told before anything is sent: its own data first, and ccxt's `features` beside it.

ccxt passes words it does not know on to the venue, and drops others: a stop that is not understood goes out
as a market order (VENUES.md 0.7). So an order goes out only when both agree that it means what it says.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from ems.core.messages import AmendRequest, NewOrder, OrderType, Side, TimeInForce
from ems.core.triggers import met
from ems.venues.dialects.dialect import Dialect

_ALWAYS = (OrderType.MARKET, OrderType.LIMIT)


def unsupported(order: NewOrder, dialect: Dialect, ccxt_exchange: Any) -> str | None:
    """Say in words what this exchange does not take of an order, and what it does; None: it takes it."""
    name, kind, triggers = dialect.exchange, order.order_type, dialect.triggers
    if kind is OrderType.MARKET and not dialect.market_orders:
        return f"{name} has no market orders; send a limit order, with IOC to take at once"
    if kind.limited != (order.price is not None):
        return f"a {kind} order {'needs a' if kind.limited else 'has no'} price"
    if kind.waits != (order.stop_price is not None):
        return f"a {kind} order {'needs a' if kind.waits else 'has no'} stop price"
    if not kind.waits:
        return None
    if triggers is None or kind not in triggers.types:
        taken = [one for one in OrderType if one in _takes(dialect)]
        return f"{name} has no {kind} orders; it takes {', '.join(taken)}"
    if order.post_only:
        return f"a {kind} order may take when its price comes; {name} has none that is post-only"
    if kind.limited and order.time_in_force not in triggers.times_in_force:
        forces = [one for one in TimeInForce if one in triggers.times_in_force]
        return f"a {kind} order of {name} is {' or '.join(forces)}, never {order.time_in_force}"
    if not ccxt_exchange.feature_value(order.symbol, "createOrder", triggers.features(order)):
        return f"{kind} orders of {name} are not known to ccxt in {order.symbol}; send another type"
    return None


def _takes(dialect: Dialect) -> frozenset[OrderType]:
    plain = frozenset(one for one in _ALWAYS if one is not OrderType.MARKET or dialect.market_orders)
    return plain | (dialect.triggers.types if dialect.triggers is not None else frozenset())


def native_stops(symbol: str, dialect: Dialect, ccxt_exchange: Any) -> frozenset[OrderType]:
    """Return the types that this exchange waits with itself."""
    price = Decimal(1)
    return frozenset(
        kind
        for kind in (dialect.triggers.types if dialect.triggers is not None else ())
        if unsupported(
            NewOrder(
                order_id="",
                client_order_id="",
                symbol=symbol,
                side=Side.SELL,
                order_type=kind,
                quantity=Decimal(1),
                price=price if kind.limited else None,
                time_in_force=TimeInForce.GTC,
                post_only=False,
                stop_price=price,
            ),
            dialect,
            ccxt_exchange,
        )
        is None
    )


def wrong_side(order: NewOrder, last: Decimal) -> str | None:
    """Say that a stop price is met already; None: it is still to come."""
    assert order.stop_price is not None
    if not met(order.order_type, order.side, order.stop_price, last):
        return None
    return (
        f"the last price is {last}: a {order.order_type} to {order.side} at {order.stop_price} would not wait"
    )


def unamendable(amend: AmendRequest, dialect: Dialect) -> str | None:
    """Say in words why an order cannot be changed in one step like this; None: it can."""
    name, amending = dialect.exchange, dialect.amending
    if amending is None:
        return f"{name} changes no order in one step; cancel it, and place another when that is certain"
    asked = {
        term: value
        for term in ("quantity", "price", "stop_price")
        if (value := getattr(amend, term)) is not None
    }
    if not asked:
        return "nothing to change: give a quantity, a price or a stop price"
    beyond = sorted(asked.keys() - amending.terms)
    if beyond:
        return f"{name} changes {' and '.join(sorted(amending.terms))} in one step, not {' or '.join(beyond)}"
    if "stop_price" in asked and not amend.order_type.waits:
        return f"a {amend.order_type} order has no stop price"
    if "price" in asked and not amend.order_type.limited:
        return f"a {amend.order_type} order has no price"
    if amending.shrinks_only and amend.quantity is not None and amend.quantity >= amend.was_quantity:
        return f"{name} makes an order smaller in one step, never larger: it is {amend.was_quantity} now"
    return None
