"""Bybit's words: names, numbers, codes and statuses as it writes and reads them.

https://bybit-exchange.github.io/docs/v5/guide
"""

import hashlib
import hmac
import re
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, TypeVar
from urllib.parse import quote

from ems.core.book import SELF_TRADE, TimeInForce
from simulator import records
from simulator.dialects import bybit_linear_words as linear
from simulator.dialects import dialect
from simulator.dialects.dialect import Request, Response
from simulator.records import Market, Order, Reject, SelfTradeRule

PUBLIC_PATH = "/v5/public/spot"
LINEAR_PATH = "/v5/public/linear"
PRIVATE_PATH = "/v5/private"
TRADE_PATH = "/v5/trade"

SPOT = "spot"
LINEAR = "linear"
DAY_S = 24 * 3600.0
CLOSED_KEPT = 500  # https://bybit-exchange.github.io/docs/v5/order/open-order
LINK_ID_KEPT_S = 360 * DAY_S  # https://bybit-exchange.github.io/docs/fix-api/create-order
HISTORY_S = 7 * DAY_S  # between startTime and endTime, and before now without them
TRANSFERS_S = 30 * DAY_S
RECV_WINDOW_MS = 5000
AHEAD_MS = 1000  # a timestamp may be so far ahead
DIGITS_MAX = 18
DOLLARS = frozenset(("USDT", "USDC", "USD"))

# orderLinkId: https://bybit-exchange.github.io/docs/v5/order/create-order
LINK_ID = re.compile(r"[0-9A-Za-z_-]{1,36}", re.ASCII)

# Path -> requests a second and account: https://bybit-exchange.github.io/docs/v5/rate-limit. The records of
# deposits and withdrawals are limited by the minute, to 100 and 300; here by the second.
LIMITS = {
    "/v5/order/create": 20,
    "/v5/order/cancel": 20,
    "/v5/order/amend": 20,
    "/v5/order/cancel-all": 20,
    "/v5/order/realtime": 50,
    "/v5/order/history": 50,
    "/v5/execution/list": 50,
    "/v5/account/wallet-balance": 50,
    "/v5/account/fee-rate": 5,
    "/v5/account/info": 50,
    "/v5/user/query-api": 10,
    "/v5/position/list": 50,
    "/v5/position/set-leverage": 10,
    "/v5/position/switch-mode": 10,
    "/v5/asset/coin/query-info": 5,
    "/v5/asset/deposit/query-record": 5,
    "/v5/asset/withdraw/query-record": 5,
}
IP_LIMIT, IP_WINDOW_S = 600, 5.0
BAN_S = 600.0  # of an address that had more: the same page

# Code -> what it is about: https://bybit-exchange.github.io/docs/v5/error. Messages vary; codes decide.
BAD_REQUEST = 10001
EXPIRED = 10002
INVALID_KEY = 10003
BAD_SIGNATURE = 10004
NO_PERMISSION = 10005
TOO_MANY = 10006
SERVER_ERROR = 10016
NO_ROUTE = 10017
TOO_MANY_FROM_ADDRESS = 10018
EMPTY = 170105
BAD_TIME_IN_FORCE = 170115
BAD_TYPE = 170116
BAD_SIDE = 170117
BAD_SYMBOL = 170121
BAD_FILTER = 170202
NO_TRIGGER = 170203
BAD_DATA = 170130
NO_FUNDS = 170131
PRICE_DECIMALS = 170134
QUANTITY_LARGE = 170135
QUANTITY_SMALL = 170136
QUANTITY_DECIMALS = 170137
VALUE_SMALL = 170140
DUPLICATE = 170141
AMOUNT_DECIMALS = 170148
NOT_OPEN = 170151
BUY_HIGH = 170193
SELL_LOW = 170194
NO_ORDER = 170213
MAKER_ONLY = 170217
WOULD_TAKE = 170218
NOT_SUPPORTED = 170227
TOO_MANY_OPEN = 170810

WORDS = {
    BAD_REQUEST: "Request parameter error.",
    INVALID_KEY: "API key is invalid.",
    NO_PERMISSION: "Permission denied, please check your API key permissions.",
    TOO_MANY: "Too many visits. Exceeded the API Rate Limit.",
    SERVER_ERROR: "Server error.",
    NO_ROUTE: "Route not found.",
    TOO_MANY_FROM_ADDRESS: "Exceeded the IP Rate Limit.",
    BAD_TIME_IN_FORCE: "Invalid timeInForce.",
    BAD_TYPE: "Invalid orderType.",
    BAD_SIDE: "Invalid side.",
    BAD_SYMBOL: "Invalid symbol.",
    BAD_FILTER: "Invalid orderFilter parameter.",
    NO_TRIGGER: "Please enter the TP/SL price.",
    NO_FUNDS: "Insufficient balance.",
    PRICE_DECIMALS: "Order price has too many decimals.",
    QUANTITY_LARGE: "Order quantity exceeded upper limit.",
    QUANTITY_SMALL: "Order quantity exceeded lower limit.",
    QUANTITY_DECIMALS: "Order quantity has too many decimals.",
    VALUE_SMALL: "Order value exceeded lower limit.",
    DUPLICATE: "Duplicate clientOrderId.",
    AMOUNT_DECIMALS: "Market order amount decimal too long.",
    NOT_OPEN: "The trading pair is not open yet.",
    BUY_HIGH: "Buy order price cannot be higher than the limit.",
    SELL_LOW: "Sell order price cannot be lower than the limit.",
    NO_ORDER: "Order does not exist.",
    MAKER_ONLY: "Only LIMIT-MAKER order is supported for the current pair.",
    WOULD_TAKE: "The LIMIT-MAKER order is rejected due to invalid price.",
    NOT_SUPPORTED: "This feature is not supported.",
    TOO_MANY_OPEN: "Cannot exceed maximum of 500 conditional, TP/SL and active orders.",
}

# Reason of a Reject -> code. Steps and limits of the quantity are told apart before: see `place`.
CODES = {
    records.INVALID_KEY: INVALID_KEY,
    records.PERMISSION_DENIED: NO_PERMISSION,
    records.UNKNOWN_SYMBOL: BAD_SYMBOL,
    records.UNKNOWN_ORDER: NO_ORDER,
    records.ORDER_CLOSED: NO_ORDER,
    records.BAD_PARAMETER: BAD_REQUEST,
    records.BELOW_FILLED: QUANTITY_SMALL,
    records.LOT_SIZE: QUANTITY_DECIMALS,
    records.PRICE_FILTER: PRICE_DECIMALS,
    records.MIN_NOTIONAL: VALUE_SMALL,
    records.MAX_ORDERS: TOO_MANY_OPEN,
    records.INSUFFICIENT_FUNDS: NO_FUNDS,
    records.POST_ONLY_WOULD_CROSS: WOULD_TAKE,
    records.DUPLICATE_CLIENT_ID: DUPLICATE,
    records.HALTED: NOT_OPEN,
    records.CANCEL_ONLY: NOT_OPEN,
    records.POST_ONLY_MODE: MAKER_ONLY,
    records.MAINTENANCE: SERVER_ERROR,
}

# Why an order ended -> (cancelType, rejectReason): https://bybit-exchange.github.io/docs/v5/enum
ENDINGS = {
    "CANCELED": ("CancelByUser", "EC_PerCancelRequest"),
    "NO_LIQUIDITY": ("UNKNOWN", "EC_NoImmediateQtyToFill"),
    "UNFILLABLE": ("UNKNOWN", "EC_CancelForNoFullFill"),
    SELF_TRADE: ("CancelBySmp", "EC_NoError"),
    "DELISTED": ("CancelByDelistPreDelivery", "EC_NoError"),
    records.INSUFFICIENT_FUNDS: ("UNKNOWN", "EC_Others"),
}

# orderFilter of an order with a trigger -> whether it holds its money while it waits, its stopOrderType:
# https://bybit-exchange.github.io/docs/v5/order/create-order and .../docs/v5/enum#stopordertype
FILTERS = {"tpslOrder": (True, "tpslOrder"), "StopOrder": (False, "Stop")}
UNCHANGED = "The order remains unchanged as the parameters entered match the existing ones."

# Fields of a new order that ask for something that is not simulated.
NOT_SIMULATED = (
    "triggerBy", "takeProfit", "stopLoss", "tpLimitPrice", "slLimitPrice", "tpOrderType",
    "slOrderType", "slippageTolerance", "slippageToleranceType",
)  # fmt: skip
# https://bybit-exchange.github.io/docs/v5/smp
SMP_TYPES: dict[str, SelfTradeRule] = {
    "None": "allow", "CancelMaker": "expire_maker", "CancelTaker": "expire_taker",
    "CancelBoth": "expire_both",
}  # fmt: skip
SMP_WORDS = {rule: word for word, rule in SMP_TYPES.items()}

# Our permissions -> what query-api lists, by product.
PERMISSIONS = (
    "ContractTrade", "Spot", "Wallet", "Options", "Derivatives", "CopyTrading", "BlockTrade", "Exchange",
    "NFT", "Affiliate", "Earn", "FiatP2P", "FiatBybitPay", "FiatConvertBroker", "FiatGlobalPay", "FiatBitPay",
    "BitCard", "ByXPost",
)  # fmt: skip


class Refused(Exception):
    """Bybit says no: a code and words."""

    def __init__(self, code: int, message: str | None = None) -> None:
        self.code = code
        self.message = WORDS.get(code, "") if message is None else message
        super().__init__(f"{code} {self.message}")


# Of contracts, the reason of a Reject -> (code, words).
LINEAR_CODES = {
    records.PERMISSION_DENIED: (NO_PERMISSION, None),
    records.UNKNOWN_SYMBOL: (BAD_REQUEST, "params error: symbol invalid"),
    records.UNKNOWN_ORDER: (linear.NO_ORDER, None),
    records.ORDER_CLOSED: (linear.NO_ORDER, None),
    records.BAD_PARAMETER: (BAD_REQUEST, None),
    records.LOT_SIZE: (BAD_REQUEST, "Qty invalid"),
    records.PRICE_FILTER: (BAD_REQUEST, "Price invalid"),
    records.MIN_NOTIONAL: (linear.VALUE_SMALL, None),
    records.MAX_ORDERS: (linear.TOO_MANY_OPEN, None),
    records.INSUFFICIENT_FUNDS: (linear.NO_FUNDS, None),
    records.DUPLICATE_CLIENT_ID: (linear.DUPLICATE, None),
    records.HALTED: (linear.NOT_NOW, None),
    records.CANCEL_ONLY: (linear.NOT_NOW, None),
    records.POST_ONLY_MODE: (linear.NOT_NOW, None),
    records.REDUCE_ONLY: (linear.REDUCE_ONLY, None),
    records.MAINTENANCE: (SERVER_ERROR, None),
}


def invalid(name: str) -> Refused:
    """Make the refusal that names a wrong field."""
    return Refused(BAD_DATA, f"Data sent for paramter '{name}' is not valid.")  # Bybit's spelling


def refusal_of(reject: Reject, category: str = SPOT) -> Refused:
    """Say why the exchange refused, as Bybit does."""
    if category == LINEAR:
        code, words = LINEAR_CODES.get(reject.reason, (SERVER_ERROR, None))
        return Refused(code, words or linear.WORDS.get(code))
    if reject.reason == records.PRICE_BAND:
        return Refused(BUY_HIGH if reject.details["side"] == "buy" else SELL_LOW)
    return Refused(CODES.get(reject.reason, SERVER_ERROR))


def ms(seconds: float) -> int:
    """The time in milliseconds."""
    return round(seconds * 1000)


def category_of(symbol: str) -> str:
    """Bybit's category of a market."""
    return LINEAR if ":" in symbol else SPOT


def order_name(order_id: int, symbol: str = "") -> str:
    """Bybit's id of an order: nineteen digits of spot, a UUID of a contract."""
    if category_of(symbol) == LINEAR:
        return linear.uuid_of(linear.ID_SPACE, order_id)
    return str(1_900_000_000_000_000_000 + order_id)


def order_number(name: str) -> int | None:
    """Our number of an order, from Bybit's id."""
    if "-" in name:
        return linear.order_number(name)
    if not name.isascii() or not name.isdigit() or len(name) != 19:
        return None
    number = int(name) - 1_900_000_000_000_000_000
    return number if number > 0 else None


def fill_name(trade_id: int) -> str:
    """Bybit's id of an execution."""
    return str(2_290_000_000_000_000_000 + trade_id)


def market_name(market: Market) -> str:
    """Bybit's name of a market."""
    return f"{market.base}{market.quote}"


def quote_step(market: Market) -> Decimal:
    """What an amount of quote currency has to be a multiple of."""
    return market.tick * market.lot


def status_of(order: Order, status: str | None = None, filled: Decimal | None = None) -> str:
    """Bybit's status of an order, now or as an event tells it."""
    state = order.status if status is None else status
    untriggered = order.trigger is not None and order.triggered_at is None
    if state == records.SUBMITTED:
        return "Untriggered" if untriggered else "New"
    if state == records.PARTIALLY_FILLED:
        return "PartiallyFilled"
    if state == records.FILLED:
        return "Filled"
    if untriggered:
        return "Deactivated"
    if order.reason in (records.INSUFFICIENT_FUNDS, records.REDUCE_ONLY):
        return "Rejected"  # when it was triggered
    # Only spot knows the former: https://bybit-exchange.github.io/docs/v5/enum#orderstatus
    if category_of(order.symbol) == LINEAR:
        return "Cancelled"
    part = order.filled_quantity if filled is None else filled
    return "PartiallyFilledCanceled" if part else "Cancelled"


def filter_of(order: Order) -> str:
    """Under which name an order is cancelled; one that was triggered is like any other."""
    if not order.waiting:
        return "Order"
    return "tpslOrder" if order.reserve_early else "StopOrder"


def stop_type(order: Order) -> str:
    """Bybit's word for what kind of trigger an order has; nothing for those without."""
    if order.trigger is None:
        return ""
    return FILTERS["tpslOrder" if order.reserve_early else "StopOrder"][1]


def market_unit(order: Order) -> str:
    """Say in which currency the quantity of a market order counts; nothing for other orders."""
    if order.order_type != "market":
        return ""
    return "baseCoin" if order.quote_quantity is None else "quoteCoin"


def time_in_force(order: Order) -> str:
    """Bybit's word for how long the order stands."""
    if order.post_only:
        return "PostOnly"
    return "IOC" if order.order_type == "market" else order.time_in_force


def signature(secret: str, payload: str) -> str:
    """HMAC-SHA256 in hex: https://bybit-exchange.github.io/docs/v5/guide#authentication."""
    return hmac.new(secret.encode(), payload.encode(), hashlib.sha256).hexdigest()


class Window:
    """So many in a rolling time, refused ones not counted."""

    def __init__(self, limit: int, seconds: float) -> None:
        self.limit = limit
        self.seconds = seconds
        self._times: deque[float] = deque()

    def add(self, now: float) -> bool:
        """Count one and say whether it is allowed."""
        while self._times and now - self._times[0] >= self.seconds:
            self._times.popleft()
        if len(self._times) >= self.limit:
            return False
        self._times.append(now)
        return True

    def left(self) -> int:
        return self.limit - len(self._times)

    def free_at(self, now: float) -> float:
        """When the next one is allowed."""
        return self._times[0] + self.seconds if not self.left() and self._times else now


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A new order, read from a request or a frame."""

    market: Market
    side: Literal["buy", "sell"]
    order_type: Literal["market", "limit"]
    quantity: Decimal
    in_quote: bool  # the quantity is an amount of the quote currency
    price: Decimal | None
    time_in_force: TimeInForce
    post_only: bool
    link_id: str
    trigger_price: Decimal | None
    order_filter: str
    reduce_only: bool = False
    self_trade: SelfTradeRule = "allow"


T = TypeVar("T")

KINDS = {
    "/v5/market/time": dialect.TIME,
    "/v5/market/instruments-info": dialect.MARKETS,
    "/v5/asset/coin/query-info": dialect.MARKETS,
    "/v5/market/tickers": dialect.MARKET_DATA,
    "/v5/market/orderbook": dialect.MARKET_DATA,
    "/v5/market/recent-trade": dialect.MARKET_DATA,
    "/v5/order/create": dialect.CREATE,
    "/v5/order/cancel": dialect.CANCEL,
    "/v5/order/amend": dialect.AMEND,
    "/v5/order/cancel-all": dialect.CANCEL_ALL,
    "/v5/order/realtime": dialect.OPEN_ORDERS,
    "/v5/order/history": dialect.CLOSED_ORDERS,
    "/v5/execution/list": dialect.MY_TRADES,
    "/v5/account/wallet-balance": dialect.BALANCE,
    "/v5/position/list": dialect.BALANCE,
    "/v5/account/fee-rate": dialect.FEES,
    "/v5/asset/deposit/query-record": dialect.TRANSFERS,
    "/v5/asset/withdraw/query-record": dialect.TRANSFERS,
}


def named(order: Order) -> dict[str, str]:
    """The two ids of an order: all that placing and cancelling answer."""
    return {"orderId": order_name(order.order_id, order.symbol), "orderLinkId": order.client_order_id}


def check_time(timestamp: str, window: str, clock: float) -> None:
    """Refuse what is too old or from the future: https://bybit-exchange.github.io/docs/v5/guide."""
    try:
        sent, allowed = int(timestamp), int(window or RECV_WINDOW_MS)
    except ValueError as error:
        raise Refused(BAD_REQUEST) from error
    now = ms(clock)
    if not now - allowed <= sent < now + AHEAD_MS:
        raise Refused(
            EXPIRED,
            "invalid request, please check your server timestamp or recv_window param. "
            f"req_timestamp[{sent}],server_timestamp[{now}],recv_window[{allowed}]",
        )


def force_of(word: str) -> TimeInForce:
    return "FOK" if word == "FOK" else "IOC"


def amount_of(fields: Mapping[str, Any], name: str) -> Decimal:
    """Read a positive amount, or refuse it by name."""
    given = fields.get(name)
    if given is None or given == "":
        raise Refused(EMPTY, f"Parameter '{name}' was empty.")
    try:
        value = Decimal(str(given))
    except InvalidOperation as error:
        raise invalid(name) from error
    # Beyond so many digits either way it is no amount of anything.
    if not value.is_finite() or value <= 0 or abs(value.adjusted()) > DIGITS_MAX:
        raise invalid(name)
    return value


def count_of(fields: Mapping[str, Any], name: str, default: int, most: int) -> int:
    given = str(fields.get(name, default))
    if not given.isascii() or not given.isdigit() or not 1 <= int(given) <= most:
        raise Refused(BAD_REQUEST, f"params error: {name} invalid")
    return int(given)


def span_of(fields: Mapping[str, Any], clock: float, longest_s: float) -> tuple[int, int]:
    """The time asked for, in milliseconds; one end alone means the longest span from there."""
    times: dict[str, int | None] = {}
    for name in ("startTime", "endTime"):
        given = str(fields.get(name, "") or "")
        if given and not (given.isascii() and given.isdigit()):
            raise Refused(BAD_REQUEST, f"params error: {name} invalid")
        times[name] = int(given) if given else None
    start, end, longest = times["startTime"], times["endTime"], ms(longest_s)
    if start is None:
        end = ms(clock) if end is None else end
        return end - longest, end
    if end is None:
        return start, start + longest
    if not 0 <= end - start <= longest:
        raise Refused(BAD_REQUEST, "params error: the time range is too long or reversed")
    return start, end


def page_of(
    rows: list[T],
    place: Callable[[T], tuple[int, int]],
    fields: Mapping[str, Any],
    default: int,
    most: int,
) -> tuple[list[T], str]:
    """One page, newest first, and where the next begins; after any row there is a next page to ask for."""
    limit = count_of(fields, "limit", default, most)
    ordered = sorted(rows, key=place, reverse=True)
    if fields.get("cursor"):
        found = re.fullmatch(r"(\d+):(\d+)", str(fields["cursor"]), re.ASCII)
        if found is None:
            raise Refused(BAD_REQUEST, "params error: cursor invalid")
        last = (int(found[2]), int(found[1]))
        ordered = [row for row in ordered if place(row) < last]
    page = ordered[:limit]
    if not page:
        return page, ""
    at, identifier = place(page[-1])
    return page, quote(f"{identifier}:{at}")  # written as it is to stand in an address


def answer_of(request: Request, result: Any, head: Mapping[str, str]) -> Response:
    body = {
        "retCode": 0,
        "retMsg": "OK",
        "result": result,
        "retExtInfo": {},
        "time": ms(request.clock),
    }
    return Response(body=body, headers=head_of(request, head, 0))


def refused_answer(
    request: Request, refusal: Refused, head: Mapping[str, str], status: int = 200
) -> Response:
    body = {
        "retCode": refusal.code,
        "retMsg": refusal.message,
        "result": {},
        "retExtInfo": {},
        "time": ms(request.clock),
    }
    return Response(status=status, body=body, headers=head_of(request, head, refusal.code))


def head_of(request: Request, head: Mapping[str, str], code: int) -> dict[str, str]:
    return {**head, "Ret_code": str(code), "Timenow": str(ms(request.clock))}


def forbidden_of() -> Response:
    # The words are those of the page on limits; wait ten minutes, it says.
    return Response(status=403, body="403, access too frequent", headers={"Content-Type": "text/html"})
