"""Binance's words: errors, parameters, numbers and times as it writes and reads them.

https://developers.binance.com/docs/binance-spot-api-docs/errors and .../filters
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from simulator.dialects.dialect import View
from simulator.records import (
    CANCEL_ONLY,
    CANCELED,
    DUPLICATE_CLIENT_ID,
    EXPIRED,
    FILLED,
    HALTED,
    INSUFFICIENT_FUNDS,
    INVALID_KEY,
    LOT_SIZE,
    MAINTENANCE,
    MAX_NOTIONAL,
    MAX_ORDERS,
    MIN_NOTIONAL,
    ORDER_CLOSED,
    PARTIALLY_FILLED,
    PERMISSION_DENIED,
    POST_ONLY_MODE,
    POST_ONLY_WOULD_CROSS,
    PRICE_BAND,
    PRICE_FILTER,
    SUBMITTED,
    UNKNOWN_ORDER,
    UNKNOWN_SYMBOL,
    Account,
    Levels,
    Market,
    Order,
    Reject,
    SelfTradeRule,
    text,
)

DAY_MS = 24 * 3600 * 1000

STATUS = {
    SUBMITTED: "NEW",
    PARTIALLY_FILLED: "PARTIALLY_FILLED",
    FILLED: "FILLED",
    CANCELED: "CANCELED",
    EXPIRED: "EXPIRED",
}

# https://developers.binance.com/docs/binance-spot-api-docs/faqs/stp_faq; the first is the default
SELF_TRADES: dict[str, SelfTradeRule] = {
    "EXPIRE_MAKER": "expire_maker", "EXPIRE_TAKER": "expire_taker", "EXPIRE_BOTH": "expire_both",
}  # fmt: skip
SELF_TRADE_MODES = {rule: mode for mode, rule in SELF_TRADES.items()}

CLIENT_ID = re.compile(r"[a-zA-Z0-9-_]{1,36}")
CLIENT_ID_RANGE = "^[a-zA-Z0-9-_]{1,36}$"

NUMBER = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?")
NUMBER_RANGE = r"^([0-9]{1,20})(\.[0-9]{1,20})?$"
WHOLE = re.compile(r"[0-9]{1,20}")
WHOLE_RANGE = "^[0-9]{1,20}$"

# Levels of a book, at most -> weight.
DEPTH_WEIGHTS = ((100, 5), (500, 25), (1000, 50), (5000, 250))

# Reason of a Reject -> HTTP status, code, message:
# https://developers.binance.com/docs/binance-spot-api-docs/errors
REJECTS = {
    UNKNOWN_SYMBOL: (400, -1121, "Invalid symbol."),
    LOT_SIZE: (400, -1013, "Filter failure: LOT_SIZE"),
    PRICE_FILTER: (400, -1013, "Filter failure: PRICE_FILTER"),
    MIN_NOTIONAL: (400, -1013, "Filter failure: NOTIONAL"),
    MAX_NOTIONAL: (400, -1013, "Filter failure: NOTIONAL"),
    PRICE_BAND: (400, -1013, "Filter failure: PERCENT_PRICE_BY_SIDE"),
    MAX_ORDERS: (400, -1013, "Filter failure: MAX_NUM_ORDERS"),
    INSUFFICIENT_FUNDS: (400, -2010, "Account has insufficient balance for requested action."),
    POST_ONLY_WOULD_CROSS: (400, -2010, "Order would immediately match and take."),
    DUPLICATE_CLIENT_ID: (400, -2010, "Duplicate order sent."),
    HALTED: (400, -2010, "Market is closed."),
    CANCEL_ONLY: (400, -2010, "Market is closed."),
    POST_ONLY_MODE: (400, -2010, "Market is closed."),
    MAINTENANCE: (503, -1016, "System is under maintenance."),
    UNKNOWN_ORDER: (400, -2011, "Unknown order sent."),
    ORDER_CLOSED: (400, -2011, "Unknown order sent."),
    INVALID_KEY: (401, -2015, "Invalid API-key, IP, or permissions for action."),
    PERMISSION_DENIED: (401, -2015, "Invalid API-key, IP, or permissions for action."),
}


class BinanceError(Exception):
    """An error as Binance says it."""

    def __init__(self, status: int, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.data = data
        self.status = status
        self.code = code
        self.message = message


def mandatory(name: str) -> BinanceError:
    return BinanceError(
        400, -1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request, whichever door it came through."""

    parameters: Mapping[str, str]
    account: Account | None
    now: float
    clock: float
    view: View

    @property
    def owner(self) -> Account:
        assert self.account is not None, "only signed calls have an account"
        return self.account

    def text(self, name: str) -> str:
        """A parameter that must be there."""
        value = self.parameters.get(name, "")
        if not value:
            raise mandatory(name)
        return value

    def number(self, name: str) -> Decimal | None:
        """A decimal parameter, or None."""
        value = self.parameters.get(name)
        if value is None:
            return None
        if not value:
            raise BinanceError(400, -1105, f"Parameter '{name}' was empty.")
        if not NUMBER.fullmatch(value):
            raise illegal(name, NUMBER_RANGE)
        _, _, decimals = value.partition(".")
        if len(decimals.rstrip("0")) > 8:
            raise BinanceError(400, -1111, f"Parameter '{name}' has too much precision.")
        return Decimal(value)

    def whole(self, name: str) -> int | None:
        """A whole number, or None."""
        value = self.parameters.get(name)
        if value is None:
            return None
        if not WHOLE.fullmatch(value):
            raise illegal(name, WHOLE_RANGE)
        return int(value)

    def limit(self, usual: int, largest: int) -> int:
        """How many results are wanted."""
        limit = self.whole("limit")
        if limit is None:
            return usual
        if not 1 <= limit <= largest:
            raise BinanceError(400, -1130, "Data sent for parameter 'limit' is not valid.")
        return limit

    def span(self) -> tuple[float, float]:
        """startTime and endTime in seconds; Binance refuses more than a day between them."""
        start, end = self.whole("startTime"), self.whole("endTime")
        if start is not None and end is not None:
            if start > end:
                raise BinanceError(400, -1128, "Combination of optional parameters invalid.")
            if end - start > DAY_MS:
                raise BinanceError(400, -1127, "More than 24 hours between startTime and endTime.")
        return (start or 0) / 1000, float("inf") if end is None else end / 1000


def not_required(name: str) -> BinanceError:
    return BinanceError(400, -1106, f"Parameter '{name}' sent when not required.")


def illegal(name: str, legal: str) -> BinanceError:
    return BinanceError(
        400, -1100, f"Illegal characters found in parameter '{name}'; legal range is '{legal}'."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where a call is reached, what it weighs, and who may make it."""

    kind: str
    act: Callable[[Any, Call], Any]  # (the dialect, what is asked)
    weight: int = 1
    weight_of_all: int | None = None  # without a symbol
    signed: bool = False
    trade: bool = False  # needs the permission to trade
    by_levels: bool = False  # weighs more for more of the book

    def weigh(self, parameters: Mapping[str, str]) -> int:
        """What a call weighs: more for more of the book, and for every market at once."""
        if self.by_levels:
            levels = int(parameters["limit"]) if parameters.get("limit", "").isdecimal() else 100
            return next(weight for most, weight in DEPTH_WEIGHTS if levels <= most or most == 5000)
        everything = self.weight_of_all is not None and "symbol" not in parameters
        return self.weight_of_all if everything and self.weight_of_all else self.weight


def said(error: BinanceError | Reject) -> tuple[int, int, str]:
    if isinstance(error, BinanceError):
        return error.status, error.code, error.message
    return REJECTS.get(error.reason, (400, -1013, error.message))


def error_body(code: int, message: str, error: BinanceError | Reject) -> dict[str, Any]:
    data = error.data if isinstance(error, BinanceError) else None
    return {"code": code, "msg": message} | ({} if data is None else {"data": data})


def object_of(text: str) -> dict[str, Any]:
    try:
        message = json.loads(text)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}


def written(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def status_of(order: Order) -> str:
    if order.status == EXPIRED and order.reason == "SELF_TRADE":
        return "EXPIRED_IN_MATCH"
    return STATUS[order.status]


def type_of(order: Order) -> str:
    if order.trigger is not None:
        return order.trigger.kind.upper() + ("_LIMIT" if order.order_type == "limit" else "")
    if order.order_type == "market":
        return "MARKET"
    return "LIMIT_MAKER" if order.post_only else "LIMIT"


def working_ms(order: Order) -> int:
    """When the order came onto the book; an order that waits has not."""
    if order.waiting:
        return -1
    return ms(order.created_at if order.triggered_at is None else order.triggered_at)


def ms(seconds: float) -> int:
    return int(seconds * 1000)


def fixed(value: Decimal) -> str:
    return f"{value:.8f}"


def plain(value: Decimal) -> str:
    return format(value.normalize(), "f") if value else "0"


def levels(levels: Levels) -> list[list[str]]:
    return [[fixed(price), fixed(size)] for price, size in levels]


def utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def bands(market: Market) -> list[dict[str, Any]]:
    """The filter for a market's band of prices, where it has one."""
    band = market.band
    if band is None:
        return []
    return [
        {
            "filterType": "PERCENT_PRICE_BY_SIDE",
            "bidMultiplierUp": text(band.buy[1]),
            "bidMultiplierDown": text(band.buy[0]),
            "askMultiplierUp": text(band.sell[1]),
            "askMultiplierDown": text(band.sell[0]),
            "avgPriceMins": band.minutes,
        }
    ]
