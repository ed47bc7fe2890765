"""How Gemini says things: names, numbers, options, refusals, and the parameters of a private request.

Pages: https://docs.gemini.com/rest/orders and https://docs.gemini.com/error-codes. The words of refusals were
seen on the wire (in tests that others published) where the pages have none of their own.
"""

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

from ems.core.book import Side
from simulator import records
from simulator.dialects.dialect import Response
from simulator.records import Fill, Market, Order, Reject, Trigger, text
from simulator.triggers import stop_or_profit

CLIENT_ORDER_ID = re.compile(r"[:\-_.#a-zA-Z0-9]{1,36}", re.ASCII)


PAGE = 500  # trades or orders in one answer: https://docs.gemini.com/rest/orders


OPTIONS: dict[str, tuple[Literal["GTC", "IOC", "FOK"], bool]] = {  # option -> (time in force, post only)
    "maker-or-cancel": ("GTC", True),
    "immediate-or-cancel": ("IOC", False),
    "fill-or-kill": ("FOK", False),
}


WOULD_TAKE = "MakerOrCancelWouldTake"


SELF_CROSS = "SelfCrossPrevented"


UNFILLED = {"IOC": "ImmediateOrCancelWouldPost", "FOK": "FillOrKillWouldNotFill"}


MAINTENANCE = (
    "The Gemini Exchange is currently undergoing maintenance."
    " Please check https://status.gemini.com/ for more information."
)


TROUBLE = (
    "We are investigating technical issues with the Gemini Exchange."
    " Please check https://status.gemini.com/ for more information."
)


class Refused(Exception):
    """Gemini says no: a reason of its list, and a sentence."""

    def __init__(self, reason: str, message: str, status: int = 400) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message
        self.status = status


def error(refused: Refused, headers: Mapping[str, str] | None = None) -> Response:
    """Write a refusal: https://docs.gemini.com/error-codes."""
    body = {"result": "error", "reason": refused.reason, "message": refused.message}
    return Response(status=refused.status, body=body, headers=headers or {})


def unavailable() -> Refused:
    return Refused("Maintenance", MAINTENANCE, 503)


def too_often() -> Refused:
    return Refused("RateLimit", "Requests were made too frequently", 429)


def name_of(market: Market) -> str:
    """Gemini's name of a market where it answers; it takes either case."""
    return f"{market.base}{market.quote}".lower()


def places(step: Decimal) -> int:
    exponent = step.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def priced(value: Decimal, market: Market) -> str:
    """Write a price with all decimals of its market."""
    return f"{value:.{places(market.tick)}f}"


def ms(seconds: float) -> int:
    return int(seconds * 1000)


def tid(fill: Fill) -> int:
    """Gemini's number of a trade, the same for both sides."""
    return fill.trade_id


def event_id(trade_id: int) -> int:
    """Its number among all events, which is another one."""
    return trade_id * 10 + 7


def signature(secret: str, payload: str) -> str:
    """X-GEMINI-SIGNATURE: https://docs.gemini.com/authentication/api-key#private-api-invocation."""
    return hmac.new(secret.encode(), payload.encode(), hashlib.sha384).hexdigest()


@dataclass(slots=True)
class Bucket:
    """What may still be asked; a refused request takes nothing."""

    capacity: float
    per_s: float
    level: float
    at: float = 0.0

    def take(self, now: float) -> bool:
        self.level = min(self.capacity, self.level + max(0.0, now - self.at) * self.per_s)
        self.at = max(self.at, now)
        if self.level < 1.0:
            return False
        self.level -= 1.0
        return True


def options_of(order: Order) -> list[str]:
    """The option an order was placed with."""
    wanted = (order.time_in_force, order.post_only)
    return [name for name, meaning in OPTIONS.items() if meaning == wanted]


def cancel_reason(order: Order) -> str:
    """Why an order was cancelled, in Gemini's words: https://docs.gemini.com/rest/orders#cancel-order."""
    if order.reason in (WOULD_TAKE, SELF_CROSS):
        return order.reason
    if order.reason == "SELF_TRADE":
        return SELF_CROSS
    if order.reason == "CANCELED":
        return "Requested"
    return UNFILLED.get(order.time_in_force, "TradingClosed")


def average(quote: Decimal, base: Decimal) -> str:
    """The average price so far, as exact as it can be; "0.00" before the first fill."""
    return text(quote / base) if base else "0.00"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A new order, as it was asked for."""

    market: Market
    side: Side
    quantity: Decimal
    price: Decimal
    time_in_force: Literal["GTC", "IOC", "FOK"]
    post_only: bool
    client_order_id: str
    stop: Trigger | None


def wanted_of(payload: Mapping[str, Any], market: Market) -> Wanted:
    """Read https://docs.gemini.com/rest/orders#create-new-order."""
    name, side, kind = name_of(market).upper(), payload.get("side"), payload.get("type")
    if kind not in ("exchange limit", "exchange stop limit"):
        raise Refused("InvalidOrderType", f"Invalid order type for symbol {name}: '{kind}'")
    if side not in ("buy", "sell"):
        raise Refused("InvalidSide", f"Invalid side for symbol {name}: '{side}'")
    client_order_id = client_order_id_of(payload)
    time_in_force, post_only = option_of(payload)
    quantity, price = amount_of(payload, "amount"), amount_of(payload, "price")
    if quantity is None or quantity <= 0 or quantity % market.lot or quantity < market.min_qty:
        raise Refused("InvalidQuantity", f"Invalid quantity for symbol {name}: {payload.get('amount')}")
    if price is None or price <= 0 or price % market.tick:
        raise Refused("InvalidPrice", f"Invalid price for symbol {name}: {payload.get('price')}")
    stop = None
    if kind == "exchange stop limit":
        if payload.get("options"):
            raise Refused("UnsupportedOption", "No options can be applied to stop-limit orders")
        stop = stop_or_profit("stop_loss", side, _stop_price(payload, market, side, price))
    return Wanted(
        market=market,
        side=side,
        quantity=quantity,
        price=price,
        time_in_force=time_in_force,
        post_only=post_only,
        client_order_id=client_order_id,
        stop=stop,
    )


def _stop_price(payload: Mapping[str, Any], market: Market, side: Side, price: Decimal) -> Decimal:
    """Read the price that is waited for; it is on the near side of the limit, and not far from it."""
    name, stop = name_of(market).upper(), amount_of(payload, "stop_price")
    if stop is None or stop <= 0 or stop % market.tick:
        raise Refused(
            "InvalidStopPrice", f"Invalid stop price for symbol {name}: {payload.get('stop_price')}"
        )
    if side == "buy" and stop >= price:
        raise Refused("InvalidStopPriceBuy", f"The stop price must be below the price for symbol {name}")
    if side == "sell" and stop <= price:
        raise Refused("InvalidStopPriceSell", f"The stop price must be above the price for symbol {name}")
    if abs(price - stop) > stop / 2:
        raise Refused("InvalidStopPriceRatio", "The price was not within 50% of the stop price")
    return stop


def refusal(reject: Reject, wanted: Wanted) -> Refused:
    """Say why the exchange refused a new order."""
    market = wanted.market
    name = name_of(market).upper()
    if reject.reason == records.INSUFFICIENT_FUNDS:
        return Refused(
            "InsufficientFunds",
            f"Failed to place {wanted.side} order on symbol '{name}' for price {wanted.price:,f}"
            f" {market.quote} and quantity {text(wanted.quantity)} {market.base} due to insufficient funds",
            406,
        )
    if reject.reason in (records.HALTED, records.CANCEL_ONLY, records.POST_ONLY_MODE):
        return Refused("MarketNotOpen", f"The market is not accepting new orders for symbol {name}")
    if reject.reason in (records.LOT_SIZE, records.MIN_NOTIONAL):
        return Refused("InvalidQuantity", f"Invalid quantity for symbol {name}: {text(wanted.quantity)}")
    if reject.reason == records.MAINTENANCE:
        return unavailable()
    return Refused("System", TROUBLE, 500)


def option_of(payload: Mapping[str, Any]) -> tuple[Literal["GTC", "IOC", "FOK"], bool]:
    options = payload.get("options", [])
    if not isinstance(options, list):
        raise Refused("OptionsMustBeArray", "The options parameter must be an array.")
    for option in options:
        if option not in OPTIONS:
            raise Refused("UnsupportedOption", f'Option "{option}" is not supported.')
    if len(options) > 1:
        named = ", ".join(f"'{name}'" for name in OPTIONS)
        raise Refused(
            "ConflictingOptions", f"A single order supports at most one of these options: [{named}]"
        )
    return OPTIONS[options[0]] if options else ("GTC", False)


def client_order_id_of(payload: Mapping[str, Any]) -> str:
    """Read https://docs.gemini.com/websocket/overview/client-order-id/about."""
    told = payload.get("client_order_id")
    if told is None:
        return ""
    if not isinstance(told, str):
        raise Refused("ClientOrderIdMustBeString", "The Client Order ID must be a string")
    if len(told) > 100:
        raise Refused("ClientOrderIdTooLong", "The Client Order ID must be under 100 characters")
    if not CLIENT_ORDER_ID.fullmatch(told):
        raise Refused("InvalidJson", f"client_order_id must match {CLIENT_ORDER_ID.pattern}")
    return told


def amount_of(payload: Mapping[str, Any], name: str) -> Decimal | None:
    try:
        value = Decimal(str(payload[name]))
    except (KeyError, InvalidOperation):
        return None
    return value if value.is_finite() and abs(value.adjusted()) <= 18 else None


def is_true(value: object) -> bool:
    return value is True or str(value).lower() == "true"


def count_of(payload: Mapping[str, Any], name: str, default: int, most: int = PAGE) -> int:
    told = str(payload.get(name, default))
    if not told.isdigit():
        raise Refused("InvalidJson", f"{name}: '{told}' is not a number")
    return min(int(told), most)


def time_of(payload: Mapping[str, Any]) -> float | None:
    """Read a time in seconds or in milliseconds: https://docs.gemini.com/data-types#timestamps."""
    if payload.get("timestamp") is None:
        return None
    try:
        told = float(Decimal(str(payload["timestamp"])))
    except InvalidOperation as mistake:
        raise Refused(
            "InvalidTimestampInPayload", f"Unsupported timestamp: '{payload['timestamp']}'"
        ) from mistake
    return told / 1000 if told >= 10**11 else told


def page(rows: list[Any], since: float | None, limit: int, time_of: Callable[[Any], float]) -> list[Any]:
    """Cut a page out of rows, oldest first: the newest, or from a time on the oldest; told newest first."""
    if since is None:
        rows = rows[-limit:] if limit else []
    else:
        # To the millisecond, as times are told.
        rows = [row for row in rows if ms(time_of(row)) >= ms(since)][:limit]
    return rows[::-1]


def bps_of(fee: Decimal) -> int | float:
    bps = fee * 10_000
    return int(bps) if bps == bps.to_integral_value() else float(bps)
