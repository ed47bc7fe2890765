"""Kraken's words: names, numbers, errors and statuses as it writes and reads them.

https://docs.kraken.com/api-reference and https://docs.kraken.com/exchange/guides
"""

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, Literal

from simulator import records
from simulator.dialects import dialect
from simulator.dialects.dialect import Response
from simulator.records import ZERO, Market, Order, Reject, SelfTradeRule, Trigger

# Two paths on one port: ccxt keeps one connection for each URL, and Kraken has two hosts with the same path.
PUBLIC_PATH = "/pub/v2"
PRIVATE_PATH = "/auth/v2"

PAGE = 50  # orders or trades in one answer
TOKEN_S = 900  # https://docs.kraken.com/exchange/guides/websockets/authentication

# Asset -> (id, alternative name). The first assets carry X or Z in front, later ones do not, and BTC is XBT:
# https://docs.kraken.com/api-reference/market-data/get-asset-info
ASSETS = {
    "BTC": ("XXBT", "XBT"),
    "ETH": ("XETH", "ETH"),
    "LTC": ("XLTC", "LTC"),
    "XRP": ("XXRP", "XRP"),
    "DOGE": ("XXDG", "XDG"),
    "XLM": ("XXLM", "XLM"),
    "ETC": ("XETC", "ETC"),
    "XMR": ("XXMR", "XMR"),
    "ZEC": ("XZEC", "ZEC"),
    "USD": ("ZUSD", "USD"),
    "EUR": ("ZEUR", "EUR"),
    "GBP": ("ZGBP", "GBP"),
    "CAD": ("ZCAD", "CAD"),
    "JPY": ("ZJPY", "JPY"),
}
FIAT = frozenset(("USD", "EUR", "GBP", "CAD", "JPY"))
DOLLARS = frozenset(("USD", "USDT", "USDC"))
COST_DECIMALS = 5
DIGITS_MAX = 18

# tier -> calls per key, orders per account and pair; each (limit, decay per second).
# https://docs.kraken.com/exchange/guides/rest/ratelimits
# https://docs.kraken.com/exchange/guides/general/ratelimits
TIERS = {
    "starter": ((15.0, 0.33), (60.0, 1.0)),
    "intermediate": ((20.0, 0.5), (125.0, 2.34)),
    "pro": ((20.0, 1.0), (180.0, 3.75)),
    "unlimited": ((1e9, 1e9), (1e9, 1e9)),  # no tier of Kraken's; for measuring what else takes time
}
CALL_COST = {
    "TradesHistory": 2.0,
    **dict.fromkeys(("AddOrder", "CancelOrder", "AmendOrder", "EditOrder"), 0.0),
}  # everything else: 1
ADD_COST = 1.0
# Age of a cancelled order in seconds -> what its cancellation adds.
CANCEL_COSTS = ((5.0, 8.0), (10.0, 6.0), (15.0, 5.0), (45.0, 4.0), (90.0, 2.0), (300.0, 1.0))
DEADLINE_MAX_S = 60.0
SWITCH_MAX_S = 86_400  # CancelAllOrdersAfter

# cl_ord_id: https://docs.kraken.com/exchange/guides/general/clordid
CL_ORD_ID = re.compile(
    r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|[0-9a-fA-F]{32}|[\x21-\x7e]{1,18}", re.ASCII
)
TXID = re.compile(r"O[A-Z0-9]{5}-[A-Z0-9]{5}-[A-Z0-9]{6}")

# ordertype -> what it waits for: https://docs.kraken.com/api-reference/trading/add-order
# `stptype`, the first is the default: https://docs.kraken.com/api-reference/trading/add-order
SELF_TRADES: dict[str, SelfTradeRule] = {
    "cancel-newest": "expire_taker", "cancel-oldest": "expire_maker", "cancel-both": "expire_both",
}  # fmt: skip
TRIGGERED: dict[str, Literal["stop_loss", "take_profit"]] = {
    "stop-loss": "stop_loss",
    "stop-loss-limit": "stop_loss",
    "take-profit": "take_profit",
    "take-profit-limit": "take_profit",
}

# Reason of a Reject -> Kraken's words: https://docs.kraken.com/exchange/guides/general/errors and
# https://support.kraken.com/hc/en-us/articles/360001491786-API-error-messages.
# The words "not unique" were seen on the wire.
ERRORS = {
    records.INVALID_KEY: "EAPI:Invalid key",
    records.PERMISSION_DENIED: "EGeneral:Permission denied",
    records.UNKNOWN_SYMBOL: "EQuery:Unknown asset pair",
    records.UNKNOWN_ORDER: "EOrder:Unknown order",
    records.ORDER_CLOSED: "EOrder:Unknown order",
    records.BAD_PARAMETER: "EGeneral:Invalid arguments",
    records.LOT_SIZE: "EGeneral:Invalid arguments:volume",
    records.PRICE_FILTER: "EOrder:Invalid price",
    records.MIN_NOTIONAL: "EOrder:Cost minimum not met",
    records.MAX_ORDERS: "EOrder:Orders limit exceeded",
    records.INSUFFICIENT_FUNDS: "EOrder:Insufficient funds",
    records.POST_ONLY_WOULD_CROSS: "EOrder:Post only order",
    records.NO_CHANGE: "EGeneral:Invalid arguments",
    records.DUPLICATE_CLIENT_ID: "EGeneral:Invalid arguments:cl_ord_id not unique",
    records.HALTED: "EService:Market in cancel_only mode",
    records.CANCEL_ONLY: "EService:Market in cancel_only mode",
    records.POST_ONLY_MODE: "EService:Market in post_only mode",
    records.MAINTENANCE: "EService:Unavailable",
}
ORDER_MINIMUM = "EOrder:Order minimum not met"
COST_MINIMUM = ERRORS[records.MIN_NOTIONAL]
UNAVAILABLE = "EService:Unavailable"
UNKNOWN_METHOD = "EGeneral:Unknown method"
INVALID_ORDER = "EOrder:Invalid order"
UNKNOWN_ORDER = "EOrder:Unknown order"
UNKNOWN_PAIR = ERRORS[records.UNKNOWN_SYMBOL]
INVALID_SESSION = "ESession:Invalid session"

# Mode of the exchange or a market -> Kraken's status of it.
STATUS = {
    records.TRADING: "online",
    records.HALT: "cancel_only",
    records.CANCEL_ONLY_MODE: "cancel_only",
    records.POST_ONLY_ONLY_MODE: "post_only",
    records.MAINTENANCE_MODE: "maintenance",
}

# Our permissions -> Kraken's names of them, as GetApiKeyInfo lists them.
PERMISSIONS = {
    "read": ("query-funds", "query-open-trades", "query-closed-trades", "query-ledger", "create-ws-token"),
    "trade": ("modify-trades", "close-trades"),
    "withdraw": ("withdraw-funds",),
}

# Why an order ended -> Kraken's words for it.
END_REASONS = {
    records.CANCELED: "User requested",
    "CANCELED": "User requested",
    records.CANCEL_ALL_AFTER: "Cancel all orders after timeout",
    "NO_LIQUIDITY": "Insufficient market depth",
    "UNFILLABLE": "Insufficient market depth",
    records.INSUFFICIENT_FUNDS: "Insufficient funds",
    "SELF_TRADE": "Self trade prevention",
}


class Refused(Exception):
    """Kraken says no, in these words."""


def invalid(argument: str) -> Refused:
    """Make the refusal that names a wrong argument."""
    return Refused(f"EGeneral:Invalid arguments:{argument}")


def words(reject: Reject, market: Market | None = None) -> str:
    """Say why the exchange refused, as Kraken does."""
    if reject.reason == records.PRICE_FILTER and market is not None:
        name, decimals = Pair(market).altname, places(market.tick)
        return f"EOrder:Invalid price:{name} price can only be specified up to {decimals} decimals."
    if reject.reason == records.BAD_PARAMETER and "parameter" in reject.details:
        return f"{ERRORS[reject.reason]}:{reject.details['parameter']}"
    return ERRORS.get(reject.reason, "EGeneral:Internal error")


@dataclass(frozen=True, slots=True)
class Pair:
    """The names of one market."""

    market: Market

    @property
    def key(self) -> str:
        """The name under which AssetPairs lists it: XXBTZUSD, but XBTUSDT."""
        (base, base_alt), (quote, quote_alt) = asset(self.market.base), asset(self.market.quote)
        old = base in _OLD and quote in _OLD
        # USDT/USD is listed as USDTZUSD although USDT has no X.
        return base + quote if old or (base, quote) == ("USDT", "ZUSD") else base_alt + quote_alt

    @property
    def altname(self) -> str:
        return asset(self.market.base)[1] + asset(self.market.quote)[1]

    @property
    def wsname(self) -> str:
        return f"{asset(self.market.base)[1]}/{asset(self.market.quote)[1]}"

    def price(self, value: Decimal) -> str:
        return fixed(value, places(self.market.tick))


_OLD = frozenset(identifier for identifier, _ in ASSETS.values())


def asset(currency: str) -> tuple[str, str]:
    """Kraken's id and alternative name of a currency."""
    return ASSETS.get(currency, (currency, currency))


def decimals_of(currency: str) -> int:
    """How many decimals balances of a currency are written with, at least."""
    return 4 if currency in FIAT else 8 if currency in DOLLARS else 10


def places(step: Decimal) -> int:
    """Count the decimals of a price or quantity step."""
    exponent = step.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def fixed(value: Decimal, decimals: int) -> str:
    """Write an amount with at least so many decimals, and more when it has more: nothing is rounded away."""
    return f"{value.normalize():.{max(decimals, places(value))}f}"


@lru_cache(maxsize=200_000)
def code(kind: str, of: str) -> str:
    """Make an id such as OUF4EM-FRGI2-MQMWZD, always the same for the same thing."""
    letters = base64.b32encode(hashlib.sha256(f"{kind}:{of}".encode()).digest()).decode()
    return f"{kind}{letters[:5]}-{letters[5:10]}-{letters[10:16]}"


def write(value: Any) -> str:
    """Write JSON in which a Decimal is a number with all its decimals, as Kraken's streams have it."""
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{json.dumps(key)}:{write(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(write, value)) + "]"
    return json.dumps(value)


def iso(seconds: float) -> str:
    """Write a time as the streams do."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def number(values: Mapping[str, Any], name: str) -> Decimal:
    """Read a positive amount, or refuse it by name."""
    try:
        value = Decimal(str(values[name]))
    except (KeyError, InvalidOperation) as error:
        raise invalid(name) from error
    # Beyond so many digits either way it is no amount of anything.
    if not value.is_finite() or value <= 0 or abs(value.adjusted()) > DIGITS_MAX:
        raise invalid(name)
    return value


def signature(secret: str, path: str, nonce: str, body: str) -> str:
    """API-Sign: https://docs.kraken.com/exchange/guides/rest/authentication, which has a worked example."""
    digest = hashlib.sha256((nonce + body).encode()).digest()
    return base64.b64encode(
        hmac.new(base64.b64decode(secret), path.encode() + digest, hashlib.sha512).digest()
    ).decode()


@dataclass(slots=True)
class Counter:
    """A counter that falls with time; a call adds to it and is refused when that would pass the limit."""

    limit: float
    decay: float  # per second
    value: float = 0.0
    at: float = 0.0

    def add(self, cost: float, now: float) -> bool:
        """Count a call and say whether it is allowed. Refused calls count too, but not without end."""
        self.value = max(0.0, self.value - max(0.0, now - self.at) * self.decay)
        self.at = max(self.at, now)
        if not cost:
            return True
        allowed = self.value + cost <= self.limit
        self.value = min(self.value + cost, self.limit + 10 * cost)
        return allowed


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A new order, read from a form or from a stream."""

    symbol: str
    side: Literal["buy", "sell"]
    order_type: Literal["market", "limit"]
    volume: Decimal
    in_quote: bool  # the volume is an amount of the quote currency
    price: Decimal | None
    time_in_force: Literal["GTC", "IOC", "FOK"]
    post_only: bool
    cl_ord_id: str
    userref: int
    deadline: str | None
    validate: bool
    trigger: Trigger | None = None
    expires_at: float | None = None
    self_trade: SelfTradeRule = "expire_taker"


# Last part of a path -> kind of request.
KINDS = {
    "Time": dialect.TIME,
    "SystemStatus": dialect.TIME,
    "Assets": dialect.MARKETS,
    "AssetPairs": dialect.MARKETS,
    "Ticker": dialect.MARKET_DATA,
    "Depth": dialect.MARKET_DATA,
    "Trades": dialect.MARKET_DATA,
    "Balance": dialect.BALANCE,
    "BalanceEx": dialect.BALANCE,
    "OpenOrders": dialect.OPEN_ORDERS,
    "ClosedOrders": dialect.CLOSED_ORDERS,
    "QueryOrders": dialect.FETCH,
    "TradesHistory": dialect.MY_TRADES,
    "QueryTrades": dialect.MY_TRADES,
    "TradeVolume": dialect.FEES,
    "DepositStatus": dialect.TRANSFERS,
    "WithdrawStatus": dialect.TRANSFERS,
    "GetWebSocketsToken": dialect.STREAM,
    "AddOrder": dialect.CREATE,
    "CancelOrder": dialect.CANCEL,
    "CancelOrderBatch": dialect.CANCEL,
    "CancelAll": dialect.CANCEL_ALL,
    "CancelAllOrdersAfter": dialect.CANCEL_ALL,
    "AmendOrder": dialect.AMEND,
    "EditOrder": dialect.AMEND,
}


def whole_seconds(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, slots=True)
class Summary:
    """Figures over recent trades; zeros when there were none."""

    first: Decimal
    low: Decimal
    high: Decimal
    volume: Decimal
    vwap: Decimal


def summary(trades: list[records.PublicTrade]) -> Summary:
    """Sum up trades for a ticker."""
    if not trades:
        return Summary(ZERO, ZERO, ZERO, ZERO, ZERO)
    prices = [trade.price for trade in trades]
    volume = sum((trade.quantity for trade in trades), ZERO)
    cost = sum((trade.price * trade.quantity for trade in trades), ZERO)
    return Summary(prices[0], min(prices), max(prices), volume, (cost / volume).quantize(Decimal("0.00001")))


def status_of(order: Order) -> str:
    """Kraken's status of an order, which is not cleverer than this: a part-filled open order is open."""
    if order.open:
        return "open"
    if order.status == records.FILLED:
        return "closed"
    return "expired" if order.status == records.EXPIRED and order.reason not in END_REASONS else "canceled"


def order_word(order: Order) -> str:
    """Kraken's word for the type of an order."""
    if order.trigger is None:
        return order.order_type
    return order.trigger.kind.replace("_", "-") + ("-limit" if order.order_type == "limit" else "")


def misc(order: Order) -> str:
    """Say that an order was triggered, and by which kind of price."""
    if order.trigger is None or order.triggered_at is None:
        return ""
    return "stopped" if order.trigger.kind == "stop_loss" else "touched"


def end_reason(order: Order) -> str | None:
    """Say why an order ended, when that was not by being filled."""
    if order.open or order.status == records.FILLED:
        return None
    return END_REASONS.get(order.reason, order.reason)


def average(order: Order, pair: Pair) -> str:
    """The average price so far; zero before the first fill."""
    mean = order.average_price
    if mean is None:
        return fixed(ZERO, COST_DECIMALS)
    return pair.price(mean.quantize(Decimal(1).scaleb(-max(COST_DECIMALS, places(pair.market.tick)))))


def volume_of(order: Order) -> Decimal:
    return order.quantity if order.quote_quantity is None or not order.open else order.quote_quantity


def touch_of(pair: Pair, price: Decimal, size: Decimal) -> list[str]:
    return [pair.price(price), str(int(size)), fixed(size, 3)]


def fee_record(fraction: Decimal) -> dict[str, Any]:
    percent = fixed(fraction * 100, 4)
    return {
        "fee": percent,
        "minfee": percent,
        "maxfee": percent,
        "nextfee": None,
        "nextvolume": None,
        "tiervolume": "0.0000",
    }


def expiry_of(form: Mapping[str, Any], clock: float) -> float:
    """Read expiretm: a time, or seconds from now with a plus sign before them."""
    written = str(form.get("expiretm", ""))
    seconds = written.removeprefix("+").removeprefix("%2b")
    if not seconds.isascii() or not seconds.isdigit():
        raise invalid("expiretm")
    at = float(seconds) if written == seconds else clock + float(seconds)
    if at <= clock:
        raise invalid("expiretm")
    return at


def time_in(form: Mapping[str, Any], name: str, default: float) -> float:
    if name not in form:
        return default
    try:
        return float(Decimal(str(form[name])))
    except InvalidOperation as error:
        raise invalid(name) from error


def offset_of(form: Mapping[str, Any]) -> int:
    text = str(form.get("ofs", "0"))
    if not text.isdigit():
        raise invalid("ofs")
    return int(text)


def answer_of(*, result: Any = None, error: str | None = None, status: int = 200) -> Response:
    body = {"error": []} | {"result": result} if error is None else {"error": [error]}
    return Response(status=status, body=write(body))
