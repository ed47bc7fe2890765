"""Coinbase's orders: what an `order_configuration` asks for, and how an order is told.

The kinds that are here: market, limit (till cancelled, till a date, immediate, whole or nothing), and limit
behind a stop price. Brackets, TWAP, scaled orders and sizes of a limit order in quote currency are not; they
are refused by name.

https://docs.cdp.coinbase.com/api-reference/advanced-trade-api/rest-api/orders/create-order
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

from ems.core.book import TimeInForce
from simulator import records
from simulator.dialects import coinbase_words as words
from simulator.dialects.coinbase_words import Failed, order_name, product_name, read_stamp, stamp
from simulator.records import ZERO, Fill, Market, Order, Trigger, text

DIGITS_MAX = 18

# Name of a configuration -> (order type, our time in force, Coinbase's word for it, parts that it needs)
_SIZED = ("base_size", "limit_price")
KINDS: dict[str, tuple[str, TimeInForce, str, tuple[str, ...]]] = {
    "market_market_ioc": ("MARKET", "IOC", "IMMEDIATE_OR_CANCEL", ()),
    "sor_limit_ioc": ("LIMIT", "IOC", "IMMEDIATE_OR_CANCEL", _SIZED),
    "limit_limit_gtc": ("LIMIT", "GTC", "GOOD_UNTIL_CANCELLED", _SIZED),
    "limit_limit_gtd": ("LIMIT", "GTC", "GOOD_UNTIL_DATE_TIME", (*_SIZED, "end_time")),
    "limit_limit_fok": ("LIMIT", "FOK", "FILL_OR_KILL", _SIZED),
    "stop_limit_stop_limit_gtc": (
        "STOP_LIMIT",
        "GTC",
        "GOOD_UNTIL_CANCELLED",
        (*_SIZED, "stop_price", "stop_direction"),
    ),
    "stop_limit_stop_limit_gtd": (
        "STOP_LIMIT",
        "GTC",
        "GOOD_UNTIL_DATE_TIME",
        (*_SIZED, "stop_price", "stop_direction", "end_time"),
    ),
}
DIRECTIONS = {"STOP_DIRECTION_STOP_UP": True, "STOP_DIRECTION_STOP_DOWN": False}  # -> rising


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A new order, read from its configuration."""

    order_type: Literal["market", "limit"]
    time_in_force: TimeInForce
    base_size: Decimal | None
    quote_size: Decimal | None  # of a market order
    price: Decimal | None
    post_only: bool
    trigger: Trigger | None
    expires_at: float | None


def wanted_of(configuration: object, market: Market) -> Wanted:
    """Read what an order asks for; raise Failed or Refused with Coinbase's words."""
    if not isinstance(configuration, dict) or len(configuration) != 1:
        raise words.invalid("order_configuration must hold one configuration")
    ((kind, parts),) = configuration.items()
    if kind not in KINDS:
        raise Failed(_unsupported(f"{kind} is not simulated"))
    if not isinstance(parts, dict):
        raise words.invalid(f"{kind} is not an object")
    word, time_in_force, _, needed = KINDS[kind]
    if "quote_size" in parts and word != "MARKET":
        raise Failed(_unsupported(f"{kind} by quote_size is not simulated"))
    for name in needed:
        if parts.get(name) in (None, ""):
            raise words.invalid(f"{kind}.{name} is required")
    base_size = _amount(parts, "base_size", words.SIZE_DECIMALS)
    quote_size = _amount(parts, "quote_size", words.QUOTE_DECIMALS)
    if word == "MARKET":
        if (base_size is None) == (quote_size is None):
            raise words.invalid("either base_size or quote_size is required")
    _check_size(base_size, market)
    if quote_size is not None and quote_size % words.quote_step(market):
        raise Failed(words.QUOTE_DECIMALS)
    if quote_size is not None and quote_size < market.min_notional:
        raise Failed(words.QUOTE_SMALL)
    expires_at = None
    if "end_time" in needed:
        expires_at = read_stamp(parts["end_time"])
        if expires_at is None:
            raise Failed(words.BAD_END)
    return Wanted(
        order_type="market" if word == "MARKET" else "limit",
        time_in_force="GTC" if word == "MARKET" else time_in_force,
        base_size=base_size,
        quote_size=quote_size,
        price=None if word == "MARKET" else _amount(parts, "limit_price", words.PRICE_DECIMALS),
        post_only=parts.get("post_only") is True,
        trigger=_trigger(parts) if word == "STOP_LIMIT" else None,
        expires_at=expires_at,
    )


def _unsupported(why: str) -> words.Failure:
    return ("UNSUPPORTED_ORDER_CONFIGURATION", why, "PREVIEW_INVALID_ORDER_CONFIG")


def _trigger(parts: Mapping[str, Any]) -> Trigger:
    price = _amount(parts, "stop_price", words.PRICE_DECIMALS)
    rising = DIRECTIONS.get(parts["stop_direction"])
    if price is None or rising is None:
        raise words.invalid("stop_direction is invalid")
    return Trigger(kind="trigger", price=price, rising=rising)


def _check_size(size: Decimal | None, market: Market) -> None:
    if size is None:
        return
    if size % market.lot:
        raise Failed(words.SIZE_DECIMALS)
    if size < market.min_qty:
        raise Failed(words.BASE_SMALL)
    if size > market.max_qty:
        raise Failed(words.BASE_LARGE)


def _amount(parts: Mapping[str, Any], name: str, failure: words.Failure) -> Decimal | None:
    """Read a positive amount where there is one; amounts are texts."""
    given = parts.get(name)
    if given in (None, ""):
        return None
    if not isinstance(given, str):
        raise words.invalid(f"{name} must be a string")
    try:
        value = Decimal(given)
    except InvalidOperation as error:
        raise words.invalid(f"{name} is not a number") from error
    if not value.is_finite() or value <= 0 or abs(value.adjusted()) > DIGITS_MAX:
        raise Failed(failure)
    return value


# --- Telling of an order -------------------------------------------------------------------------


def status_of(order: Order, status: str) -> str:
    """Coinbase's word for where an order is."""
    if status in (records.SUBMITTED, records.PARTIALLY_FILLED):
        return "OPEN"
    if status == records.FILLED:
        return "FILLED"
    # The rest of an immediate order is cancelled; only a date ends one as expired.
    return "EXPIRED" if status == records.EXPIRED and order.reason == records.TIME_OVER else "CANCELLED"


def configuration_of(order: Order) -> tuple[str, dict[str, Any]]:
    """What the order asks for, as it stands: the name of its kind and the parts."""
    if order.order_type == "market":
        if order.quote_quantity is not None:
            return "market_market_ioc", {"quote_size": text(order.quote_quantity)}
        return "market_market_ioc", {"base_size": text(order.quantity)}
    parts: dict[str, Any] = {"base_size": text(order.quantity), "limit_price": text(order.price or ZERO)}
    if order.time_in_force != "GTC":
        return ("sor_limit_ioc" if order.time_in_force == "IOC" else "limit_limit_fok"), parts
    dated = "gtc" if order.expires_at is None else "gtd"
    if order.expires_at is not None:
        parts["end_time"] = stamp(order.expires_at)
    if order.trigger is None:
        return f"limit_limit_{dated}", {**parts, "post_only": order.post_only}
    direction = next(name for name, rising in DIRECTIONS.items() if rising == order.trigger.rising)
    parts |= {"stop_price": text(order.trigger.price), "stop_direction": direction}
    return f"stop_limit_stop_limit_{dated}", parts


def trigger_status(order: Order) -> str:
    """Say whether an order's stop price was met."""
    if order.trigger is None:
        return "INVALID_ORDER_TYPE"
    return "STOP_PENDING" if order.triggered_at is None else "STOP_TRIGGERED"


def in_quote(order: Order) -> bool:
    return order.quote_quantity is not None


def fees_of(fills: list[Fill]) -> Decimal:
    return sum((fill.fee for fill in fills), ZERO)


def after_fees(order: Order, cost: Decimal, fees: Decimal) -> Decimal:
    """What the order cost or brought, all in."""
    return cost + fees if order.side == "buy" else cost - fees


def record(order: Order, market: Market, owner: str) -> dict[str, Any]:
    """The order as REST tells it."""
    kind, parts = configuration_of(order)
    word, _, time_in_force, _ = KINDS[kind]
    status = status_of(order, order.status)
    fees = fees_of(order.fills)
    asked = order.quote_quantity or order.quantity
    done = order.filled_quote if in_quote(order) else order.filled_quantity
    percent = Decimal(100) if order.status == records.FILLED else done * 100 / asked if asked else ZERO
    mean = order.average_price
    return {
        "order_id": order_name(order.order_id),
        "product_id": product_name(market),
        "user_id": owner,
        "order_configuration": {kind: parts},
        "side": order.side.upper(),
        "client_order_id": order.client_order_id,
        "status": status,
        "time_in_force": time_in_force,
        "created_time": stamp(order.created_at),
        "completion_percentage": text(percent.quantize(Decimal("0.01"))),
        "filled_size": text(order.filled_quantity),
        "average_filled_price": "0" if mean is None else text(mean),
        "fee": "",
        "number_of_fills": str(len(order.fills)),
        "filled_value": text(order.filled_quote),
        "pending_cancel": False,
        "size_in_quote": in_quote(order),
        "total_fees": text(fees),
        "size_inclusive_of_fees": in_quote(order) and order.side == "buy",
        "total_value_after_fees": text(after_fees(order, order.filled_quote, fees)),
        "trigger_status": trigger_status(order),
        "order_type": word,
        "reject_reason": "REJECT_REASON_UNSPECIFIED",
        "settled": not order.open and bool(order.fills),
        "product_type": "SPOT",
        "reject_message": "",
        "cancel_message": "User requested cancel" if order.reason == "CANCELED" else "",
        "order_placement_source": "RETAIL_ADVANCED",
        "outstanding_hold_amount": text(order.reserved),
        "is_liquidation": False,
        "last_fill_time": stamp(order.fills[-1].time) if order.fills else None,
        "edit_history": [
            {"price": text(price or ZERO), "size": text(size), "replace_accept_timestamp": stamp(at)}
            for at, size, price, _ in order.amendments
        ],
        "leverage": "",
        "margin_type": "UNKNOWN_MARGIN_TYPE",
        "retail_portfolio_id": "",
        "originating_order_id": "",
        "attached_order_id": "",
        "last_update_time": stamp(order.updated_at),
    }


def row(
    order: Order,
    market: Market,
    *,
    status: str,
    filled: Decimal,
    cost: Decimal,
    fills: list[Fill],
) -> dict[str, Any]:
    """The order as the `user` channel tells it, after some of its fills.

    What is left is nothing as soon as the order is over, whatever ended it.
    """
    word, _, time_in_force, _ = KINDS[configuration_of(order)[0]]
    told = status_of(order, status)
    live, fees = told == "OPEN", fees_of(fills)
    return {
        "order_id": order_name(order.order_id),
        "client_order_id": order.client_order_id,
        "cumulative_quantity": text(filled),
        "leaves_quantity": text(order.quantity - filled) if live else "0",
        "avg_price": text(cost / filled) if filled else "0",
        "total_fees": text(fees),
        "status": told,
        "product_id": product_name(market),
        "creation_time": stamp(order.created_at),
        "order_side": order.side.upper(),
        "order_type": word.replace("_", " ").title(),
        "cancel_reason": "User requested cancel"
        if told == "CANCELLED" and order.reason == "CANCELED"
        else "",
        "reject_reason": "",
        "total_value_after_fees": text(after_fees(order, cost, fees)),
        "contract_expiry_type": "UNKNOWN_CONTRACT_EXPIRY_TYPE",
        "product_type": "SPOT",
        "risk_managed_by": "UNKNOWN_RISK_MANAGEMENT_TYPE",
        "time_in_force": time_in_force,
        "trigger_status": trigger_status(order),
        "limit_price": text(order.price) if order.price is not None else "",
        "stop_price": text(order.trigger.price) if order.trigger is not None else "",
        "number_of_fills": str(len(fills)),
        "filled_value": text(cost),
        "outstanding_hold_amount": text(order.reserved),
        "post_only": "true" if order.post_only else "false",
    }
