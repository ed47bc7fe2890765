"""What an exchange looks at before it takes an order: the market's mode, the order's form, its price band.

A refusal is a `Reject`; nothing here changes anything.
"""

from collections.abc import Iterable
from decimal import Decimal

from ems.core.book import Side
from simulator.displayed import MarketState
from simulator.records import (
    BAD_PARAMETER,
    CANCEL_ONLY,
    CANCEL_ONLY_MODE,
    HALT,
    HALTED,
    LOT_SIZE,
    MAINTENANCE_MODE,
    MAX_NOTIONAL,
    MIN_NOTIONAL,
    POST_ONLY_MODE,
    POST_ONLY_ONLY_MODE,
    PRICE_BAND,
    PRICE_FILTER,
    ZERO,
    OrderType,
    Reject,
    Trigger,
)


def check_mode(modes: Iterable[str], state: MarketState, order_type: OrderType, post_only: bool) -> None:
    """Refuse an order while one of these modes, of the exchange and of the market, does not take it."""
    for mode in modes:
        if mode in (HALT, MAINTENANCE_MODE):
            raise Reject(HALTED, f"{state.market.symbol} is not trading")
        if mode == CANCEL_ONLY_MODE:
            raise Reject(CANCEL_ONLY, f"{state.market.symbol} accepts cancellations only")
        if mode == POST_ONLY_ONLY_MODE and not (order_type == "limit" and post_only):
            raise Reject(POST_ONLY_MODE, f"{state.market.symbol} accepts post-only orders only")


def check_shape(
    state: MarketState,
    side: Side,
    order_type: OrderType,
    quantity: Decimal | None,
    price: Decimal | None,
    quote_quantity: Decimal | None,
    trigger: Trigger | None = None,
    reduce_only: bool = False,
) -> None:
    """Refuse an order that breaks its market's rules of form, size and worth."""
    market = state.market
    if reduce_only and market.settled_in is None:
        raise Reject(BAD_PARAMETER, "only orders in contracts reduce a position", parameter="reduce_only")
    if market.settled_in is not None and quantity is None:
        raise Reject(BAD_PARAMETER, "contracts are ordered by quantity", parameter="quote_quantity")
    if side not in ("buy", "sell"):
        raise Reject(BAD_PARAMETER, "side must be buy or sell", parameter="side")
    if order_type not in ("market", "limit"):
        raise Reject(BAD_PARAMETER, "order_type must be market or limit", parameter="order_type")
    if (quantity is None) == (quote_quantity is None):
        raise Reject(BAD_PARAMETER, "give either quantity or quote_quantity", parameter="quantity")
    if order_type == "limit":
        if price is None or quantity is None:
            raise Reject(BAD_PARAMETER, "a limit order needs price and quantity", parameter="price")
        if not price.is_finite() or price <= 0 or price % market.tick:
            raise Reject(PRICE_FILTER, f"price must be a positive multiple of {market.tick}")
        if market.max_price is not None and price > market.max_price:
            raise Reject(PRICE_FILTER, f"price must be at most {market.max_price}")
    elif price is not None:
        raise Reject(BAD_PARAMETER, "a market order has no price", parameter="price")
    if quantity is not None:
        if not quantity.is_finite() or quantity <= 0 or quantity % market.lot:
            raise Reject(LOT_SIZE, f"quantity must be a positive multiple of {market.lot}")
        if not market.min_qty <= quantity <= market.max_qty:
            raise Reject(LOT_SIZE, f"quantity must be from {market.min_qty} to {market.max_qty}")
    elif quote_quantity is None or not quote_quantity.is_finite() or quote_quantity <= 0:
        raise Reject(BAD_PARAMETER, "quote_quantity must be positive", parameter="quote_quantity")
    if trigger is not None:
        if not trigger.price.is_finite() or trigger.price <= 0 or trigger.price % market.tick:
            raise Reject(PRICE_FILTER, f"the trigger must be a positive multiple of {market.tick}")
        if quote_quantity is not None and side == "sell":
            raise Reject(BAD_PARAMETER, "a sale that waits has a quantity", parameter="quantity")
    waits_for = None if trigger is None else trigger.price
    reference = price or waits_for or state.reference_price()
    notional = quote_quantity if quantity is None else quantity * reference if reference else None
    if notional is not None and notional < market.min_notional and not reduce_only:
        raise Reject(MIN_NOTIONAL, f"the order is worth less than {market.min_notional} {market.quote}")
    most = market.max_notional if order_type == "limit" else market.max_market_notional
    if most is not None and notional is not None and notional > most:
        words = f"the order is worth more than {most} {market.quote}"
        raise Reject(MAX_NOTIONAL, words, limited=order_type == "limit")


def check_band(state: MarketState, side: Side, price: Decimal | None, now: float) -> None:
    """Refuse a limit outside its band of prices; where nothing was traded, measured from the mid."""
    band, average = state.market.band, average_price(state, now)
    if band is None or price is None or average is None:
        return
    low, high = band.buy if side == "buy" else band.sell
    if not average * low <= price <= average * high:
        words = f"price must be from {average * low} to {average * high}"
        raise Reject(PRICE_BAND, words, side=side, limit=average * (high if side == "buy" else low))


def average_price(state: MarketState, now: float) -> Decimal | None:
    """The price that a market's band is drawn around."""
    minutes = 5 if state.market.band is None else state.market.band.minutes
    traded = [t for t in state.trades if now - t.now <= minutes * 60]
    volume = sum((t.quantity for t in traded), ZERO)
    value = sum((t.price * t.quantity for t in traded), ZERO)
    return value / volume if volume else state.reference_price()
