"""OKX's words: names, numbers, errors and states as it writes and reads them.

https://www.okx.com/docs-v5/en/
"""

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from operator import itemgetter
from typing import Any, Literal

from simulator import records
from simulator.dialects.dialect import Request, Response
from simulator.positions import LIQUIDATION
from simulator.records import Fill, Market, Order, Reject, SelfTradeRule, text

PREFIX = "/api/v5/"
PUBLIC_PATH = "/ws/v5/public"
PRIVATE_PATH = "/ws/v5/private"
BUSINESS_PATH = "/ws/v5/business"

CLOCK_MAX_S = 30.0  # #overview-rest-authentication-making-requests
FORGOTTEN_AFTER_S = 2 * 3600.0  # #order-book-trading-trade-get-order-details
RECENT_DAYS = {"orders-history": 7, "orders-history-archive": 90, "fills": 3, "fills-history": 90}
PAGE = 100
BATCH_MAX = 20
# Orders of an account in all its markets: https://www.okx.com/help/fill-ratio-sub-account-rate-limit
ORDERS_MAX, ORDERS_WINDOW_S = 1000, 2.0
BOOK_MAX = 400
DIGITS_MAX = 18

# Numbers of orders look like OKX's; those between two orders are of orders that never reached the book.
FIRST_ORDER = 2_500_000_000_000_000_000
BETWEEN = 1_000
FIRST_ALGO = 2_400_000_000_000_000_000
FIRST_BILL = 1_700_000_000_000_000_000
FIRST_INSTRUMENT_CODE = 10_000

CL_ORD_ID = re.compile(r"[A-Za-z0-9]{1,32}", re.ASCII)
TAG = re.compile(r"[A-Za-z0-9]{0,16}", re.ASCII)
STP_MODES: dict[str, SelfTradeRule] = {
    "cancel_maker": "expire_maker", "cancel_taker": "expire_taker", "cancel_both": "expire_both",
}  # fmt: skip
STP_WORDS = {rule: mode for mode, rule in STP_MODES.items()}
ORDER_TYPES: dict[str, tuple[Literal["market", "limit"], Literal["GTC", "IOC", "FOK"], bool]] = {
    # word -> (order type, time in force, post only)
    "market": ("market", "GTC", False),
    "limit": ("limit", "GTC", False),
    "post_only": ("limit", "GTC", True),
    "fok": ("limit", "FOK", False),
    "ioc": ("limit", "IOC", False),
}

# Code -> (HTTP status, words): #error-code-rest-api
ERRORS = {
    "50000": (400, "Body for POST request cannot be empty."),
    "50001": (503, "Service temporarily unavailable. Please try again later."),
    "50002": (400, "JSON syntax error"),
    "50004": (400, "API endpoint request timeout. (does not mean that the request was successful or failed, "
                   "please check the request result)."),
    "50006": (400, 'Invalid Content-Type. Please use "application/JSON".'),
    "50011": (429, "Too Many Requests"),
    "50013": (429, "Systems are busy. Please try again later."),
    "50014": (400, "Parameter {0} can not be empty."),
    "50026": (500, "System error. Try again later"),
    "50036": (200, "The expTime can't be earlier than the current system time. "
                   "Please adjust the expTime and try again."),
    "50061": (200, "You've reached the maximum order rate limit for this account."),
    "50062": (200, "This feature is currently unavailable."),
    "50102": (401, "Timestamp request expired."),
    "50103": (401, 'Request header "OK-ACCESS-KEY" cannot be empty.'),
    "50104": (401, 'Request header "OK-ACCESS-PASSPHRASE" cannot be empty.'),
    "50105": (401, 'Request header "OK-ACCESS-PASSPHRASE" incorrect.'),
    "50106": (401, 'Request header "OK-ACCESS-SIGN" cannot be empty.'),
    "50107": (401, 'Request header "OK-ACCESS-TIMESTAMP" cannot be empty.'),
    "50111": (401, "Invalid OK-ACCESS-KEY."),
    "50112": (401, "Invalid OK-ACCESS-TIMESTAMP."),
    "50113": (401, "Invalid signature."),
    "50114": (401, "Invalid authorization."),
    "50115": (405, "Invalid request method."),
    "50119": (200, "API key doesn't exist"),
    "50120": (200, "This API key doesn't have permission to use this function"),
    "51000": (400, "Parameter {0} error"),
    "51001": (200, "Instrument ID, Instrument ID code or Spread ID doesn't exist."),
    "51003": (200, "Either client order ID or order ID is required."),
    "51005": (200, "Your order amount exceeds the max order amount."),
    "51008": (200, "Order failed. Insufficient {0} balance in account."),
    "51010": (200, "You can't complete this request under your current account mode."),
    "51016": (200, "Client order ID already exists."),
    "51020": (200, "Your order should meet or exceed the minimum order amount."),
    "51022": (200, "Contract suspended."),
    "51102": (200, "Order failed, the number of pending orders for this instId can’t be more than {0} "
                   "(orders)"),
    "51169": (200, "Order failed because you don't have any positions in this direction for this contract to "
                   "reduce or close."),
    "51065": (200, "algoClOrdId already exists."),
    "51277": (200, "TP trigger price cannot be higher than the last price"),
    "51278": (200, "SL trigger price cannot be lower than the last price"),
    "51279": (200, "TP trigger price cannot be lower than the last price"),
    "51280": (200, "SL trigger price cannot be higher than the last price"),
    "51500": (200, "You must enter a price, quantity, or TP/SL"),
    "51502": (200, "Order failed. Insufficient balance in account."),
    "51503": (200, "Order modification failed as the order has been filled, canceled or does not exist."),
    "51509": (200, "Modification failed as the order has been canceled."),
    "51510": (200, "Modification failed as the order has been completed."),
    "51511": (200, "Modification failed as the order price did not meet the requirement for Post Only."),
    "51137": (200, "The highest price limit for buy orders is {0}"),
    "51138": (200, "The lowest price limit for sell orders is {0}"),
    "51202": (200, "The market order amount exceeds the max amount."),
    "51203": (200, "The order amount exceeds the limit."),
    "51111": (200, "Maximum {0} orders can be placed in bulk."),
    "51121": (200, "Order quantity must be a multiple of the lot size."),
    "51124": (200, "You can only place limit orders during call auction."),
    "51400": (200, "Order cancellation failed as the order has been filled, canceled or does not exist."),
    "51407": (200, "Either order ID or client order ID is required."),
    "51603": (200, "Order does not exist."),
    "59102": (200, "Leverage exceeds the maximum leverage. Please lower the leverage."),
    "59103": (200, "Leverage is too low and no sufficient margin in your account. Please adjust the "
                   "leverage."),
    "59105": (200, "Leverage can’t be less than {0}. Please adjust the leverage."),
}  # fmt: skip

# Why an order ended -> OKX's number of it: #order-book-trading-trade-ws-order-channel, cancelSource
CANCEL_SOURCES = {
    records.CANCELED: "1",
    "CANCELED": "1",
    LIQUIDATION: "3",
    "CANCEL_ALL_AFTER": "20",
    "POST_ONLY": "31",
    "SELF_TRADE": "32",
}
CANCEL_WORDS = {
    "0": "",
    "1": "",
    "3": "Risk cancellation. Order was canceled due to insufficient maintenance margin ratio and "
    "forced-liquidation risk.",
    "13": "FOK order was canceled due to incompletely filled.",
    "14": "IOC order was partially canceled due to incompletely filled.",
    "20": "Cancel all after triggered",
    "31": "The post-only order will take liquidity in taker orders",
    "32": "Self trade prevention",
}

# Our permissions -> OKX's names of them: #trading-account-rest-api-get-account-configuration
PERMISSIONS = {"read": "read_only", "trade": "trade", "withdraw": "withdraw"}


class Refused(Exception):
    """OKX says no: a code, and its words."""

    def __init__(self, code: str, *details: object) -> None:
        self.code = code
        self.status, words = ERRORS[code]
        self.message = words.format(*details)
        super().__init__(f"{code} {self.message}")


def inst_id(symbol: str) -> str:
    """OKX's name of a market: BTC-USDT, and of a contract: BTC-USDT-SWAP."""
    pair, _, settled_in = symbol.partition(":")
    return pair.replace("/", "-") + ("-SWAP" if settled_in else "")


def symbol_of(name: object) -> str:
    """Our name of a market, from OKX's."""
    match str(name).split("-"):
        case [base, quote, "SWAP"]:
            return f"{base}/{quote}:{quote}"
        case parts:
            return "/".join(parts)


def inst_type(symbol: str) -> str:
    """What kind of market it is, in OKX's words."""
    return "SWAP" if ":" in symbol else "SPOT"


def ms(seconds: float) -> str:
    """Write a time as all of OKX's answers do: milliseconds, as text."""
    return str(round(seconds * 1000))


def signed(fee: Decimal) -> str:
    """Write a fee as OKX does: what is charged is below zero."""
    return text(-fee)


def positive(values: Mapping[str, Any], name: str) -> Decimal:
    """Read a positive amount, or refuse it by name."""
    if values.get(name) in (None, ""):
        raise Refused("50014", name)
    try:
        value = Decimal(str(values[name]))
    except InvalidOperation as error:
        raise Refused("51000", name) from error
    # Beyond so many digits either way it is no amount of anything.
    if not value.is_finite() or value <= 0 or abs(value.adjusted()) > DIGITS_MAX:
        raise Refused("51000", name)
    return value


def whole(values: Mapping[str, Any], name: str, default: int | None = None) -> int | None:
    """Read a number without decimals, or refuse it by name."""
    if values.get(name) in (None, ""):
        return default
    written = str(values[name])
    if not written.isascii() or not written.isdigit():
        raise Refused("51000", name)
    return int(written)


def refusal(reject: Reject, market: Market, side: str) -> Refused:
    """Say why the exchange refused an order, as OKX does."""
    match reject.reason:
        case records.INSUFFICIENT_FUNDS:
            return Refused("51008", market.settled_in or (market.quote if side == "buy" else market.base))
        case records.REDUCE_ONLY:
            return Refused("51169")
        case records.PRICE_FILTER:
            return Refused("51000", "px")
        case records.PRICE_BAND:
            return Refused("51137" if side == "buy" else "51138", reject.details["limit"])
        case records.MAX_NOTIONAL:
            return Refused("51203" if reject.details["limited"] else "51202")
        case records.LOT_SIZE:
            return Refused("51121")
        case records.MIN_NOTIONAL:
            return Refused("51020")
        case records.MAX_ORDERS:
            return Refused("51102", market.max_orders)
        case records.DUPLICATE_CLIENT_ID:
            return Refused("51016")
        case records.HALTED | records.CANCEL_ONLY:
            return Refused("51022")
        case records.POST_ONLY_MODE:
            return Refused("51124")
        case records.UNKNOWN_SYMBOL:
            return Refused("51001")
        case records.MAINTENANCE:
            return Refused("50001")
        case _:
            return Refused("51000", reject.details.get("parameter", "ordType"))


def signature(secret: str, prehash: str) -> str:
    """OK-ACCESS-SIGN: #overview-rest-authentication-signature."""
    return base64.b64encode(hmac.new(secret.encode(), prehash.encode(), hashlib.sha256).digest()).decode()


# Why a triggered order could not be placed; any other end is one of an order that was.
NOT_PLACED = frozenset(
    (
        records.INSUFFICIENT_FUNDS,
        records.REDUCE_ONLY,
        records.HALTED,
        records.CANCEL_ONLY,
        records.POST_ONLY_MODE,
        records.MIN_NOTIONAL,
        records.MAINTENANCE,
    )
)


def failed(order: Order) -> bool:
    """Whether an algo order was triggered and no order could be placed."""
    return order.triggered_at is not None and not order.open and order.reason in NOT_PLACED


def is_order(order: Order) -> bool:
    """Whether there is an order with an ordId: always, unless an algo order has placed none."""
    return order.trigger is None or (order.triggered_at is not None and not failed(order))


def uid(account: str) -> str:
    """A user's number, always the same for the same account."""
    return str(int.from_bytes(hashlib.sha256(account.encode()).digest()[:6], "big"))


def levels(side: Iterable[tuple[Decimal, Decimal]]) -> list[list[str]]:
    """Write book levels: price, size, a zero, and how many orders; the last is not known here."""
    return [[text(price), text(size), "0", "1" if size else "0"] for price, size in side]


def state_of(status: str) -> str:
    """OKX's word for where an order is; it knows no expiry of spot orders."""
    words = {
        records.SUBMITTED: "live",
        records.PARTIALLY_FILLED: "partially_filled",
        records.FILLED: "filled",
    }
    return words.get(status, "canceled")


def order_word(order: Order) -> str:
    """OKX's word for the type of an order."""
    if order.order_type == "market":
        return "market"
    if order.post_only:
        return "post_only"
    return {"IOC": "ioc", "FOK": "fok"}.get(order.time_in_force, "limit")


def cancel_source(order: Order) -> str:
    """Say who or what ended an order; nothing while it is open or when it was filled."""
    if order.open or order.status == records.FILLED:
        return ""
    if order.reason == "NO_LIQUIDITY":
        return "13" if order.time_in_force == "FOK" else "14"
    return CANCEL_SOURCES.get(order.reason, "0")


def execution(fill: Fill) -> str:
    """T for taker, M for maker."""
    return fill.liquidity[0].upper()


def bill_id(fill: Fill) -> int:
    """The number of one side of a trade."""
    return FIRST_BILL + fill.trade_id * 2 + (fill.liquidity == "maker")


def is_said(values: Mapping[str, Any], name: str) -> bool:
    return values.get(name) in (True, "true")


def page_of(found: list[tuple[int, Any]], query: Mapping[str, str]) -> list[Any]:
    """Return, newest first, those older than `after` and newer than `before`, and `limit` of them.

    With `before` alone they are the oldest of these: #overview-pagination.
    """
    limit = whole(query, "limit", PAGE)
    if limit is None or not 1 <= limit <= PAGE:
        raise Refused("51000", "limit")
    after, before = whole(query, "after"), whole(query, "before")
    rows = sorted(found, key=itemgetter(0), reverse=True)
    if after is not None:
        rows = [row for row in rows if row[0] < after]
    if before is not None:
        rows = [row for row in rows if row[0] > before]
        return [row for _, row in (rows if after is not None else rows[-limit:])][:limit]
    return [row for _, row in rows[:limit]]


def body_of(request: Request) -> Any:
    if not request.form:
        raise Refused("50000")
    if "json" not in request.headers.get("content-type", "").lower():
        raise Refused("50006")
    try:
        values = json.loads(request.form, parse_float=str)
    except ValueError as error:
        raise Refused("50002") from error
    if not isinstance(values, dict | list):
        raise Refused("50002")
    return values


def envelope_of(code: str, message: str, data: Any = None) -> dict[str, Any]:
    return {"code": code, "data": [] if data is None else data, "msg": message}


def refused_answer(refused: Refused) -> Response:
    return Response(status=refused.status, body=envelope_of(refused.code, refused.message))
