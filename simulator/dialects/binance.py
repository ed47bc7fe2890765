"""Binance spot: REST, market streams, WebSocket API and user data stream.

Facts are from Binance's own documentation, https://developers.binance.com/docs/binance-spot-api-docs (pages
rest-api, web-socket-streams, websocket-api, user-data-stream, filters, errors). Both doors, REST and
WebSocket API, lead to the same calls in this file; they differ in how a request is signed and an answer
wrapped.

Stops and take-profits hold their money while they wait, and are open orders like any other; one that would
trigger at once is refused. Changing an order is in `binance_amend`.

Not simulated, and refused in Binance's words: trailing, iceberg and pegged orders, order lists, klines,
Ed25519 and RSA keys.
"""

import hashlib
import hmac
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal
from urllib.parse import parse_qsl, urlencode

from ems.core.book import Side, TimeInForce
from simulator.dialects import dialect
from simulator.dialects.dialect import Request, Response, Send, Session, View
from simulator.exchange import (
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
    MAINTENANCE_MODE,
    MAX_ORDERS,
    MIN_NOTIONAL,
    ORDER_CLOSED,
    PARTIALLY_FILLED,
    PERMISSION_DENIED,
    POST_ONLY_MODE,
    POST_ONLY_WOULD_CROSS,
    PRICE_FILTER,
    SUBMITTED,
    TRADING,
    UNKNOWN_ORDER,
    UNKNOWN_SYMBOL,
    Account,
    BalanceChange,
    BookChange,
    Event,
    Exchange,
    Fill,
    Key,
    Levels,
    Market,
    Order,
    OrderType,
    OrderUpdate,
    PublicTrade,
    Reject,
    Trigger,
)
from simulator.triggers import met, stop_or_profit

ZERO = Decimal(0)
DAY_MS = 24 * 3600 * 1000

# Tick, lot and smallest order of September 2024 (GET /api/v3/exchangeInfo); 10 bp is the regular fee.
MARKETS = [
    Market(
        symbol=f"{base}/{quote}",
        base=base,
        quote=quote,
        tick=Decimal(tick),
        lot=Decimal(lot),
        min_qty=Decimal(lot),
        max_qty=Decimal(largest),
        min_notional=Decimal(smallest),
    )
    for base, quote, tick, lot, largest, smallest in (
        ("BTC", "USDT", "0.01", "0.00001", "9000", "5"),
        ("ETH", "USDT", "0.01", "0.0001", "9000", "5"),
        ("ETH", "BTC", "0.00001", "0.0001", "100000", "0.0001"),
        ("NEXO", "USDT", "0.001", "0.01", "92141578", "5"),
        ("NEXO", "BTC", "0.00000001", "0.01", "92141578", "0.0001"),
    )
]

STATUS = {
    SUBMITTED: "NEW",
    PARTIALLY_FILLED: "PARTIALLY_FILLED",
    FILLED: "FILLED",
    CANCELED: "CANCELED",
    EXPIRED: "EXPIRED",
}

CLIENT_ID = re.compile(r"[a-zA-Z0-9-_]{1,36}")
CLIENT_ID_RANGE = "^[a-zA-Z0-9-_]{1,36}$"
# type -> what it waits for:
# https://developers.binance.com/docs/binance-spot-api-docs/rest-api/trading-endpoints
TRIGGERS: dict[str, Literal["stop_loss", "take_profit"]] = {
    "STOP_LOSS": "stop_loss",
    "STOP_LOSS_LIMIT": "stop_loss",
    "TAKE_PROFIT": "take_profit",
    "TAKE_PROFIT_LIMIT": "take_profit",
}
ORDER_TYPES = ("LIMIT", "LIMIT_MAKER", "MARKET", *TRIGGERS)
ALGO_ORDERS_MAX = (
    5  # waiting orders of one market: the filter MAX_NUM_ALGO_ORDERS of GET /api/v3/exchangeInfo
)

NUMBER = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?")
NUMBER_RANGE = r"^([0-9]{1,20})(\.[0-9]{1,20})?$"
WHOLE = re.compile(r"[0-9]{1,20}")
WHOLE_RANGE = "^[0-9]{1,20}$"

# Levels of a book, at most -> weight.
DEPTH_WEIGHTS = ((100, 5), (500, 25), (1000, 50), (5000, 250))
WARNINGS = 20  # so many 429 in a minute; the next is a ban
BAN_MAX_S = 3 * 86400

ORDER_PARAMETERS = frozenset(
    "symbol side type timeInForce quantity quoteOrderQty price newClientOrderId strategyId strategyType "
    "stopPrice trailingDelta icebergQty newOrderRespType selfTradePreventionMode "
    "pegPriceType pegOffsetValue pegOffsetType recvWindow timestamp signature".split()
)

# Reason of a Reject -> HTTP status, code, message:
# https://developers.binance.com/docs/binance-spot-api-docs/errors
REJECTS = {
    UNKNOWN_SYMBOL: (400, -1121, "Invalid symbol."),
    LOT_SIZE: (400, -1013, "Filter failure: LOT_SIZE"),
    PRICE_FILTER: (400, -1013, "Filter failure: PRICE_FILTER"),
    MIN_NOTIONAL: (400, -1013, "Filter failure: NOTIONAL"),
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

# Binance's own answers for the fault of that name. "Execution status unknown" is theirs.
FAILURES = {
    500: (-1000, "An unknown error occurred while processing the request."),
    502: (-1001, "Internal error; unable to process your request. Please try again."),
    503: (-1008, "Server is currently overloaded with other requests. Please try again in a few minutes."),
    504: (
        -1007,
        "Timeout waiting for response from backend server. Send status unknown; execution status unknown.",
    ),
}
UNEXPECTED = (-1006, "An unexpected response was received from the message bus. Execution status unknown.")


class BinanceError(Exception):
    """An error as Binance says it."""

    def __init__(self, status: int, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.data = data
        self.status = status
        self.code = code
        self.message = message


def _mandatory(name: str) -> BinanceError:
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
            raise _mandatory(name)
        return value

    def number(self, name: str) -> Decimal | None:
        """A decimal parameter, or None."""
        value = self.parameters.get(name)
        if value is None:
            return None
        if not value:
            raise BinanceError(400, -1105, f"Parameter '{name}' was empty.")
        if not NUMBER.fullmatch(value):
            raise _illegal(name, NUMBER_RANGE)
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
            raise _illegal(name, WHOLE_RANGE)
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


def _not_required(name: str) -> BinanceError:
    return BinanceError(400, -1106, f"Parameter '{name}' sent when not required.")


def _illegal(name: str, legal: str) -> BinanceError:
    return BinanceError(
        400, -1100, f"Illegal characters found in parameter '{name}'; legal range is '{legal}'."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A new order as it was asked for."""

    market: Market
    side: Side
    order_type: OrderType
    quantity: Decimal | None
    quote_quantity: Decimal | None
    price: Decimal | None
    time_in_force: TimeInForce
    post_only: bool
    trigger: Trigger | None
    client_id: str  # empty: Binance makes one
    respond: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where a call is reached, what it weighs, and who may make it."""

    kind: str
    act: Callable[["Binance", Call], Any]
    weight: int = 1
    weight_of_all: int | None = None  # without a symbol
    signed: bool = False
    trade: bool = False  # needs the permission to trade


class Binance:
    """Binance spot on top of an exchange."""

    def __init__(
        self,
        exchange: Exchange,
        *,
        weight_per_minute: int = 6000,
        orders_per_10s: int = 100,
        orders_per_day: int = 200_000,
        ban_s: int = 120,
    ) -> None:
        self.exchange = exchange
        self.weight_per_minute = weight_per_minute
        self.orders_per_10s = orders_per_10s
        self.orders_per_day = orders_per_day
        self.ban_s = ban_s
        self.cancel_ids: dict[int, str] = {}  # order id -> client id of the request that cancelled it
        self.amendments: dict[int, list[dict[str, Any]]] = {}  # order id -> rows, oldest first
        self._weights: dict[str, tuple[int, int]] = {}  # address -> (minute, weight used in it)
        self._orders: dict[tuple[str, int], tuple[int, int]] = {}
        # (account, length of window in s) -> (window, orders placed in it)
        self._warned: dict[str, tuple[int, int]] = {}  # address -> (minute, 429 answers in it)
        self._banned: dict[str, tuple[float, int]] = {}  # address -> (until, how often it was)

    # The dialect protocol

    def kind(self, request: Request) -> str:
        route = ROUTES.get((request.method, request.path))
        return route.kind if route else dialect.OTHER

    def handle(self, request: Request) -> Response:
        route = ROUTES.get((request.method, request.path))
        headers = dict(self.spend(request, _weight(route, request.parameters())))
        limited = self.limited(request)
        if limited is not None:
            return replace(limited, headers={**limited.headers, **headers})
        if route is None:
            # Distinctive, because callers take a bare 404 for an outage.
            message = f"the simulated Binance does not serve {request.method} {request.path}"
            return Response(status=404, body={"code": -5000, "msg": message}, headers=headers)
        try:
            if self.exchange.mode == MAINTENANCE_MODE and route.kind != dialect.OTHER:
                raise Reject(MAINTENANCE, "the exchange is under maintenance")
            parameters = self._read(request)
            account = None
            if route.signed:
                key = self._signed_by(request, parameters, route)
                account = self.exchange.accounts[key.account]
            call = Call(
                parameters=parameters,
                account=account,
                now=request.now,
                clock=request.clock,
                view=request.view,
            )
            if request.path == "/api/v3/order" and request.method == "POST":
                _check_all_read(parameters)
            result = route.act(self, call)
            if account is not None:
                headers |= self._order_counts(account, request.now)
            return Response(body=result, headers=headers)
        except (BinanceError, Reject) as error:
            status, code, message = _said(error)
            return Response(status=status, body=_error(code, message, error), headers=headers)

    def open_session(self, request: Request, send: Send) -> Session | None:
        if request.path.startswith("/ws-api/"):
            return ApiSession(self, request, send)
        if re.fullmatch(r"(/stream)?/ws(/.*)?|/stream", request.path):
            return StreamSession(self, request, send)
        return None

    def rate_limited(self, request: Request, banned: bool) -> Response:
        if banned:
            left_s = self.ban_left_s(request) or self.ban_s
            until = _ms(request.clock + left_s)
            message = (
                f"Way too much request weight used; IP banned until {until}. Please use WebSocket Streams "
            )
            status, wait = 418, math.ceil(left_s)
        else:
            message = (
                f"Too much request weight used; current limit is {self.weight_per_minute} request weight per "
                "1 MINUTE. Please use WebSocket Streams "
            )
            status, wait = 429, max(1, 60 - int(request.now) % 60)
        message += (
            "for live updates to avoid bans." if banned else "for live updates to avoid polling the API."
        )
        return Response(
            status=status, body={"code": -1003, "msg": message}, headers={"Retry-After": str(wait)}
        )

    def failure(self, status: int) -> Response:
        code, message = FAILURES.get(status, UNEXPECTED)
        return Response(status=status, body={"code": code, "msg": message})

    # Limits: https://developers.binance.com/docs/binance-spot-api-docs/rest-api/limits

    def spend(self, request: Request, weight: int) -> Mapping[str, str]:
        minute, used = self._weights.get(request.remote, (0, 0))
        this_minute = int(request.now // 60)
        used = (used if minute == this_minute else 0) + weight
        self._weights[request.remote] = (this_minute, used)
        return {"X-MBX-USED-WEIGHT": str(used), "X-MBX-USED-WEIGHT-1M": str(used)}

    def limited(self, request: Request) -> Response | None:
        if self.ban_left_s(request) > 0:
            return self.rate_limited(request, banned=True)
        if self._weights[request.remote][1] <= self.weight_per_minute:
            return None
        # Who goes on after a 429 is banned, longer each time, from two minutes to three days.
        minute, times = self._warned.get(request.remote, (0, 0))
        this_minute = int(request.now // 60)
        times = (times if minute == this_minute else 0) + 1
        self._warned[request.remote] = (this_minute, times)
        if times > WARNINGS:
            _, before = self._banned.get(request.remote, (0.0, 0))
            lasts_s = min(self.ban_s * 2**before, BAN_MAX_S)
            self._banned[request.remote] = (request.now + lasts_s, before + 1)
            self._warned.pop(request.remote)
            return self.rate_limited(request, banned=True)
        return self.rate_limited(request, banned=False)

    def ban_left_s(self, request: Request) -> float:
        """Return how long this address is banned for."""
        return max(0.0, self._banned.get(request.remote, (0.0, 0))[0] - request.now)

    def count_order(self, account: Account, now: float) -> None:
        for length, limit, words in (
            (10, self.orders_per_10s, "10 SECOND"),
            (86400, self.orders_per_day, "1 DAY"),
        ):
            window, used = self._orders.get((account.name, length), (0, 0))
            this = int(now // length)
            used = (used if window == this else 0) + 1
            if used > limit:
                message = f"Too many new orders; current limit is {limit} orders per {words}."
                raise BinanceError(429, -1015, message)
            self._orders[account.name, length] = (this, used)

    def _order_counts(self, account: Account, now: float) -> dict[str, str]:
        counts = {}
        for length, name in ((10, "10S"), (86400, "1D")):
            window, used = self._orders.get((account.name, length), (0, 0))
            counts[f"X-MBX-ORDER-COUNT-{name}"] = str(used if window == int(now // length) else 0)
        return counts

    def rate_limits(self, request: Request, account: Account | None) -> list[dict[str, Any]]:
        """The counters as the WebSocket API reports them."""
        minute, used = self._weights.get(request.remote, (0, 0))
        limits = [_limit("REQUEST_WEIGHT", "MINUTE", 1, self.weight_per_minute) | {"count": used}]
        if account is not None:
            counts = self._order_counts(account, request.now)
            limits += [
                _limit("ORDERS", "SECOND", 10, self.orders_per_10s)
                | {"count": int(counts["X-MBX-ORDER-COUNT-10S"])},
                _limit("ORDERS", "DAY", 1, self.orders_per_day)
                | {"count": int(counts["X-MBX-ORDER-COUNT-1D"])},
            ]
        return limits

    # Security: https://developers.binance.com/docs/binance-spot-api-docs/rest-api/endpoint-security-type

    def _read(self, request: Request) -> dict[str, str]:
        pairs = parse_qsl(request.query, keep_blank_values=True)
        pairs += parse_qsl(request.form, keep_blank_values=True)
        parameters = dict(pairs)
        if len(parameters) != len(pairs):
            raise BinanceError(400, -1101, "Duplicate values for a parameter detected.")
        return parameters

    def _signed_by(self, request: Request, parameters: Mapping[str, str], route: Route) -> Key:
        raw = [
            "&".join(part for part in text.split("&") if not part.startswith("signature="))
            for text in (request.query, request.form)
        ]
        return self.verify(
            request.headers.get("x-mbx-apikey", ""),
            parameters,
            ["".join(raw)],
            "trade" if route.trade else "read",
            request.clock,
        )

    def verify(
        self,
        api_key: str,
        parameters: Mapping[str, str],
        payloads: list[str],
        permission: str,
        clock: float,
    ) -> Key:
        """Check key, time and signature; the signature must fit one of the payloads."""
        if not api_key:
            raise BinanceError(401, -2014, "API-key format invalid.")
        key = self.exchange.authenticate(api_key, permission)
        stamp, window = parameters.get("timestamp", ""), parameters.get("recvWindow", "5000")
        if not stamp:
            raise _mandatory("timestamp")
        if not WHOLE.fullmatch(stamp):
            raise _illegal("timestamp", WHOLE_RANGE)
        if not NUMBER.fullmatch(window):
            raise _illegal("recvWindow", NUMBER_RANGE)
        if Decimal(window) > 60000:
            raise BinanceError(400, -1131, "recvWindow must be less than 60000.")
        server = _ms(clock)
        if int(stamp) >= server + 1000:
            message = "Timestamp for this request was 1000ms ahead of the server's time."
            raise BinanceError(400, -1021, message)
        if server - int(stamp) > Decimal(window):
            raise BinanceError(400, -1021, "Timestamp for this request is outside of the recvWindow.")
        signature = parameters.get("signature", "")
        if not signature:
            raise _mandatory("signature")
        for payload in payloads:
            wanted = hmac.new(key.secret.encode(), payload.encode(), hashlib.sha256).hexdigest()
            if hmac.compare_digest(wanted, signature.lower().encode("ascii", "replace").decode()):
                return key
        raise BinanceError(400, -1022, "Signature for this request is not valid.")

    # Names

    def market(self, call: Call) -> Market:
        return self.market_named(call.text("symbol"))

    def market_named(self, name: str) -> Market:
        for market in self.exchange.markets.values():
            if market.base + market.quote == name:
                return market
        raise BinanceError(400, -1121, "Invalid symbol.")

    def name(self, symbol: str) -> str:
        return symbol.replace("/", "")

    def new_client_id(self) -> str:
        letters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
        return "".join(self.exchange.rng.choices(letters, k=22))

    # General

    def ping(self, call: Call) -> Any:
        return {}

    def time(self, call: Call) -> Any:
        return {"serverTime": _ms(call.clock)}

    def system_status(self, call: Call) -> Any:
        if self.exchange.mode == MAINTENANCE_MODE:
            return {"status": 1, "msg": "system_maintenance"}
        return {"status": 0, "msg": "normal"}

    def exchange_info(self, call: Call) -> Any:
        markets = list(self.exchange.markets.values())
        if "symbol" in call.parameters:
            markets = [self.market(call)]
        elif "symbols" in call.parameters:
            try:
                markets = [self.market_named(str(name)) for name in json.loads(call.parameters["symbols"])]
            except (ValueError, TypeError) as error:
                raise BinanceError(
                    400, -1100, "Illegal characters found in parameter 'symbols'; legal range is a JSON list."
                ) from error
        return {
            "timezone": "UTC",
            "serverTime": _ms(call.clock),
            "rateLimits": [
                _limit("REQUEST_WEIGHT", "MINUTE", 1, self.weight_per_minute),
                _limit("ORDERS", "SECOND", 10, self.orders_per_10s),
                _limit("ORDERS", "DAY", 1, self.orders_per_day),
            ],
            "exchangeFilters": [],
            "symbols": [self._symbol_info(market) for market in markets],
            "sors": [],
        }

    def _symbol_info(self, market: Market) -> dict[str, Any]:
        mode = self.exchange.mode_of(market.symbol)
        return {
            "symbol": self.name(market.symbol),
            "status": "TRADING" if mode == TRADING else "BREAK",
            "baseAsset": market.base,
            "baseAssetPrecision": 8,
            "quoteAsset": market.quote,
            "quotePrecision": 8,
            "quoteAssetPrecision": 8,
            "baseCommissionPrecision": 8,
            "quoteCommissionPrecision": 8,
            "orderTypes": list(ORDER_TYPES),
            "icebergAllowed": False,
            "ocoAllowed": False,
            "otoAllowed": False,
            "opoAllowed": False,
            "quoteOrderQtyMarketAllowed": True,
            "allowTrailingStop": False,
            "cancelReplaceAllowed": True,
            "amendAllowed": True,
            "pegInstructionsAllowed": False,
            "isSpotTradingAllowed": True,
            "isMarginTradingAllowed": False,
            "filters": [
                {
                    "filterType": "PRICE_FILTER",
                    "minPrice": _fixed(market.tick),
                    "maxPrice": _fixed(Decimal(1000000)),
                    "tickSize": _fixed(market.tick),
                },
                {
                    "filterType": "LOT_SIZE",
                    "minQty": _fixed(market.min_qty),
                    "maxQty": _fixed(market.max_qty),
                    "stepSize": _fixed(market.lot),
                },
                {
                    "filterType": "MARKET_LOT_SIZE",
                    "minQty": _fixed(ZERO),
                    "maxQty": _fixed(market.max_qty),
                    "stepSize": _fixed(ZERO),
                },
                {
                    "filterType": "NOTIONAL",
                    "minNotional": _fixed(market.min_notional),
                    "applyMinToMarket": True,
                    "maxNotional": _fixed(Decimal(9000000)),
                    "applyMaxToMarket": False,
                    "avgPriceMins": 5,
                },
                {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": market.max_orders},
                {"filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": ALGO_ORDERS_MAX},
                {"filterType": "MAX_NUM_ORDER_AMENDS", "maxNumOrderAmends": 10},
            ],
            "permissions": [],
            "permissionSets": [["SPOT"]],
            "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
            "allowedSelfTradePreventionModes": ["EXPIRE_MAKER"],
        }

    def no_symbols(self, call: Call) -> Any:
        # Callers that have not been told to load spot markets only also ask the futures exchanges.
        return {"timezone": "UTC", "serverTime": _ms(call.clock), "rateLimits": [], "symbols": []}

    def nothing(self, call: Call) -> Any:
        return []

    # Market data

    def depth(self, call: Call) -> Any:
        market = self.market(call)
        book = self.exchange.depth(market.symbol, call.limit(100, 5000), now=call.now)
        return {"lastUpdateId": book.sequence, "bids": _levels(book.bids), "asks": _levels(book.asks)}

    def trades(self, call: Call) -> Any:
        market = self.market(call)
        return [
            {
                "id": trade.trade_id,
                "price": _fixed(trade.price),
                "qty": _fixed(trade.quantity),
                "quoteQty": _fixed(trade.price * trade.quantity),
                "time": _ms(trade.now),
                "isBuyerMaker": trade.taker_side == "sell",
                "isBestMatch": True,
            }
            for trade in self.exchange.recent_trades(market.symbol, call.limit(500, 1000))
        ]

    def _for_markets(self, call: Call, answer: Callable[[Market, float], dict[str, Any]]) -> Any:
        if "symbol" in call.parameters:
            return answer(self.market(call), call.now)
        markets = list(self.exchange.markets.values())
        if "symbols" in call.parameters:
            try:
                markets = [self.market_named(str(name)) for name in json.loads(call.parameters["symbols"])]
            except (ValueError, TypeError) as error:
                raise BinanceError(
                    400, -1100, "Illegal characters found in parameter 'symbols'; legal range is a JSON list."
                ) from error
        return [answer(market, call.now) for market in markets]

    def book_ticker(self, call: Call) -> Any:
        return self._for_markets(call, self._book_ticker)

    def _book_ticker(self, market: Market, now: float) -> dict[str, Any]:
        bid = self.exchange.best(market.symbol, "buy", now) or (ZERO, ZERO)
        ask = self.exchange.best(market.symbol, "sell", now) or (ZERO, ZERO)
        return {
            "symbol": self.name(market.symbol),
            "bidPrice": _fixed(bid[0]),
            "bidQty": _fixed(bid[1]),
            "askPrice": _fixed(ask[0]),
            "askQty": _fixed(ask[1]),
        }

    def price_ticker(self, call: Call) -> Any:
        return self._for_markets(
            call,
            lambda market, now: {
                "symbol": self.name(market.symbol),
                "price": _fixed(self.exchange.last_price(market.symbol) or ZERO),
            },
        )

    def average_price(self, call: Call) -> Any:
        market = self.market(call)
        trades = [t for t in self.exchange.recent_trades(market.symbol) if t.now > call.now - 300]
        volume = sum((t.quantity for t in trades), ZERO)
        cost = sum((t.quantity * t.price for t in trades), ZERO)
        price = cost / volume if volume else self.exchange.last_price(market.symbol) or ZERO
        return {
            "mins": 5,
            "price": _fixed(price),
            "closeTime": _ms(trades[-1].now) if trades else _ms(call.now),
        }

    def day_ticker(self, call: Call) -> Any:
        return self._for_markets(call, self._day_ticker)

    def _day_ticker(self, market: Market, now: float) -> dict[str, Any]:
        # Statistics over the trades the exchange still remembers, at most a day back.
        trades = [t for t in self.exchange.recent_trades(market.symbol, 10**6) if t.now > now - 86400]
        prices = [t.price for t in trades] or [self.exchange.last_price(market.symbol) or ZERO]
        volume = sum((t.quantity for t in trades), ZERO)
        cost = sum((t.quantity * t.price for t in trades), ZERO)
        change = prices[-1] - prices[0]
        quotes = self._book_ticker(market, now)
        return {
            "symbol": quotes["symbol"],
            "priceChange": _fixed(change),
            "priceChangePercent": f"{change * 100 / prices[0]:.3f}" if prices[0] else "0.000",
            "weightedAvgPrice": _fixed(cost / volume if volume else ZERO),
            "prevClosePrice": _fixed(prices[0]),
            "lastPrice": _fixed(prices[-1]),
            "lastQty": _fixed(trades[-1].quantity if trades else ZERO),
            "bidPrice": quotes["bidPrice"],
            "bidQty": quotes["bidQty"],
            "askPrice": quotes["askPrice"],
            "askQty": quotes["askQty"],
            "openPrice": _fixed(prices[0]),
            "highPrice": _fixed(max(prices)),
            "lowPrice": _fixed(min(prices)),
            "volume": _fixed(volume),
            "quoteVolume": _fixed(cost),
            "openTime": _ms(now - 86400),
            "closeTime": _ms(now),
            "firstId": trades[0].trade_id if trades else -1,
            "lastId": trades[-1].trade_id if trades else -1,
            "count": len(trades),
        }

    # Orders

    def create(self, call: Call) -> Any:
        wanted = self.wanted(call)
        self.count_order(call.owner, call.now)
        if wanted.trigger is not None:
            self._check_trigger(call.owner, wanted)
        order = self.exchange.create_order(
            call.owner,
            wanted.market.symbol,
            wanted.side,
            wanted.order_type,
            wanted.quantity,
            wanted.price,
            quote_quantity=wanted.quote_quantity,
            time_in_force=wanted.time_in_force,
            post_only=wanted.post_only,
            client_order_id=wanted.client_id or self.new_client_id(),
            trigger=wanted.trigger,
            now=call.now,
        )
        return self._placed(order, wanted.respond)

    def wanted(self, call: Call) -> "Wanted":
        """Read a new order; raise what is wrong with it whatever the market says."""
        market = self.market(call)
        side, kind = call.text("side"), call.text("type")
        if side not in ("BUY", "SELL"):
            raise BinanceError(400, -1117, "Invalid side.")
        if kind not in ORDER_TYPES:
            raise BinanceError(400, -1116, "Invalid orderType.")
        for name, words in (("icebergQty", "Iceberg"), ("trailingDelta", "Trailing stop")):
            if name in call.parameters:
                raise BinanceError(400, -2010, f"{words} orders are not supported for this symbol.")
        respond = call.parameters.get("newOrderRespType", "FULL" if kind in ("LIMIT", "MARKET") else "ACK")
        if respond not in ("ACK", "RESULT", "FULL"):
            raise _illegal("newOrderRespType", "ACK, RESULT, FULL")
        in_force, quantity, quote_quantity, price, stop = self._terms(call, kind)
        client_id = call.parameters.get("newClientOrderId", "")
        if client_id and not CLIENT_ID.fullmatch(client_id):
            raise _illegal("newClientOrderId", CLIENT_ID_RANGE)
        ours: Side = "buy" if side == "BUY" else "sell"
        return Wanted(
            market=market,
            side=ours,
            order_type="market" if kind in ("MARKET", "STOP_LOSS", "TAKE_PROFIT") else "limit",
            quantity=quantity,
            quote_quantity=quote_quantity,
            price=price,
            time_in_force="IOC" if in_force == "IOC" else "FOK" if in_force == "FOK" else "GTC",
            post_only=kind == "LIMIT_MAKER",
            trigger=None if stop is None else stop_or_profit(TRIGGERS[kind], ours, stop),
            client_id=client_id,
            respond=respond,
        )

    def _terms(
        self, call: Call, kind: str
    ) -> tuple[str, Decimal | None, Decimal | None, Decimal | None, Decimal | None]:
        """timeInForce, quantity, quoteOrderQty, price, stopPrice: each type asks for some, refuses others."""
        limited = kind in ("LIMIT", "STOP_LOSS_LIMIT", "TAKE_PROFIT_LIMIT")
        in_force = call.parameters.get("timeInForce")
        if limited and not in_force:
            raise _mandatory("timeInForce")
        if not limited and in_force is not None:
            raise _not_required("timeInForce")
        if in_force not in (None, "GTC", "IOC", "FOK"):
            raise BinanceError(400, -1115, "Invalid timeInForce.")
        quantity = call.number("quantity")
        quote_quantity = call.number("quoteOrderQty")
        price, stop = call.number("price"), call.number("stopPrice")
        if price is not None and kind != "LIMIT_MAKER" and not limited:
            raise _not_required("price")
        if stop is not None and kind not in TRIGGERS:
            raise _not_required("stopPrice")
        if quote_quantity is not None and kind != "MARKET":
            raise _not_required("quoteOrderQty")
        if quantity is not None and quote_quantity is not None:
            raise BinanceError(400, -1128, "Combination of optional parameters invalid.")
        if quantity is None and quote_quantity is None:
            raise _mandatory("quantity")
        if price is None and (limited or kind == "LIMIT_MAKER"):
            raise _mandatory("price")
        if stop is None and kind in TRIGGERS:
            raise _mandatory("stopPrice")
        if price == 0:
            raise BinanceError(400, -1013, "Invalid price.")
        if stop == 0:
            raise BinanceError(400, -1013, "Invalid stop price.")
        if quantity == 0:
            raise BinanceError(400, -1013, "Invalid quantity.")
        if quote_quantity == 0:
            raise BinanceError(400, -1013, "Invalid quote order quantity.")
        return in_force or "GTC", quantity, quote_quantity, price, stop

    def _check_trigger(self, account: Account, wanted: "Wanted") -> None:
        symbol, trigger = wanted.market.symbol, wanted.trigger
        last = self.exchange.last_price(symbol)
        if trigger is not None and last is not None and met(trigger, last):
            raise BinanceError(400, -2010, "Stop price would trigger immediately.")
        if sum(order.waiting for order in self.exchange.open_orders(account, symbol)) >= ALGO_ORDERS_MAX:
            raise BinanceError(400, -1013, "Filter failure: MAX_NUM_ALGO_ORDERS")

    def _placed(self, order: Order, respond: str) -> dict[str, Any]:
        answer = {
            "symbol": self.name(order.symbol),
            "orderId": order.order_id,
            "orderListId": -1,
            "clientOrderId": order.client_order_id,
            "transactTime": _ms(order.created_at),
        }
        if respond == "ACK":
            return answer
        answer |= {
            "price": _fixed(order.price or ZERO),
            "origQty": _fixed(order.quantity),
            "executedQty": _fixed(order.filled_quantity),
            "origQuoteOrderQty": _fixed(order.quote_quantity or ZERO),
            "cummulativeQuoteQty": _fixed(order.filled_quote),
            "status": _status(order),
            "timeInForce": order.time_in_force,
            "type": _type(order),
            "side": order.side.upper(),
            "workingTime": _working_ms(order),
            "selfTradePreventionMode": "EXPIRE_MAKER",
        }
        if order.trigger is not None:
            answer["stopPrice"] = _fixed(order.trigger.price)
        if respond == "FULL":
            answer["fills"] = [
                {
                    "price": _fixed(fill.price),
                    "qty": _fixed(fill.quantity),
                    "commission": _fixed(fill.fee),
                    "commissionAsset": fill.fee_currency,
                    "tradeId": fill.trade_id,
                }
                for fill in order.fills
            ]
        return answer

    def sought(self, call: Call) -> tuple[int | None, str | None]:
        order_id, client_id = call.whole("orderId"), call.parameters.get("origClientOrderId") or None
        if order_id is None and client_id is None:
            message = "Param 'origClientOrderId' or 'orderId' must be sent, but both were empty/null!"
            raise BinanceError(400, -1102, message)
        return order_id, client_id

    def fetch(self, call: Call) -> Any:
        market = self.market(call)
        order_id, client_id = self.sought(call)
        order = self.exchange.find_order(
            call.owner, order_id, client_id, symbol=market.symbol, as_of=call.view.orders_as_of
        )
        if order is None or (call.view.hide_closed and not order.open):
            raise BinanceError(400, -2013, "Order does not exist.")
        return self._order(order)

    def _order(self, order: Order) -> dict[str, Any]:
        return {
            "symbol": self.name(order.symbol),
            "orderId": order.order_id,
            "orderListId": -1,
            "clientOrderId": order.client_order_id,
            "price": _fixed(order.price or ZERO),
            "origQty": _fixed(order.quantity),
            "executedQty": _fixed(order.filled_quantity),
            "cummulativeQuoteQty": _fixed(order.filled_quote),
            "status": _status(order),
            "timeInForce": order.time_in_force,
            "type": _type(order),
            "side": order.side.upper(),
            "stopPrice": _fixed(order.trigger.price if order.trigger else ZERO),
            "icebergQty": _fixed(ZERO),
            "time": _ms(order.created_at),
            "updateTime": _ms(order.updated_at),
            "isWorking": not order.waiting,
            "workingTime": _working_ms(order),
            "origQuoteOrderQty": _fixed(order.quote_quantity or ZERO),
            "selfTradePreventionMode": "EXPIRE_MAKER",
        }

    def cancel(self, call: Call) -> Any:
        market = self.market(call)
        order_id, client_id = self.sought(call)
        as_of = call.view.orders_as_of
        if as_of is not None:
            seen = self.exchange.find_order(
                call.owner, order_id, client_id, symbol=market.symbol, as_of=as_of
            )
            if seen is None:
                raise BinanceError(400, -2011, "Unknown order sent.")
        return self.cancel_one(call, market, order_id, client_id, call.parameters.get("newClientOrderId", ""))

    def cancel_one(
        self, call: Call, market: Market, order_id: int | None, client_id: str | None, name: str
    ) -> dict[str, Any]:
        """Cancel an order; `name` is that of the request, or empty."""
        cancel_id = name or self.new_client_id()
        order = self.exchange.find_order(call.owner, order_id, client_id, symbol=market.symbol)
        if order is not None and order.open:
            self.cancel_ids[order.order_id] = cancel_id
        canceled = self.exchange.cancel_order(
            call.owner, order_id, client_id, symbol=market.symbol, now=call.now
        )
        return self._canceled(canceled)

    def cancel_all(self, call: Call) -> Any:
        market = self.market(call)
        orders = self.exchange.open_orders(call.owner, market.symbol)
        if not orders:
            raise BinanceError(400, -2011, "Unknown order sent.")
        cancel_id = self.new_client_id()
        for order in orders:
            self.cancel_ids[order.order_id] = cancel_id
        self.exchange.cancel_all(call.owner, market.symbol, now=call.now)
        return [self._canceled(order) for order in orders]

    def _canceled(self, order: Order) -> dict[str, Any]:
        return {
            "symbol": self.name(order.symbol),
            "origClientOrderId": order.client_order_id,
            "orderId": order.order_id,
            "orderListId": -1,
            "clientOrderId": self.cancel_ids[order.order_id],
            "transactTime": _ms(order.updated_at),
            "price": _fixed(order.price or ZERO),
            "origQty": _fixed(order.quantity),
            "executedQty": _fixed(order.filled_quantity),
            "origQuoteOrderQty": _fixed(order.quote_quantity or ZERO),
            "cummulativeQuoteQty": _fixed(order.filled_quote),
            "status": _status(order),
            "timeInForce": order.time_in_force,
            "type": _type(order),
            "side": order.side.upper(),
            "selfTradePreventionMode": "EXPIRE_MAKER",
        } | ({} if order.trigger is None else {"stopPrice": _fixed(order.trigger.price)})

    def open_orders(self, call: Call) -> Any:
        symbol = self.market(call).symbol if "symbol" in call.parameters else None
        orders = self.exchange.open_orders(call.owner, symbol, as_of=call.view.orders_as_of)
        return [self._order(order) for order in orders]

    def all_orders(self, call: Call) -> Any:
        market = self.market(call)
        start, end = call.span()
        limit, from_id = call.limit(500, 1000), call.whole("orderId")
        orders = [
            order
            for order in self.exchange.all_orders(
                call.owner, market.symbol, since=start, as_of=call.view.orders_as_of
            )
            if order.created_at <= end and (order.open or not call.view.hide_closed)
        ]
        if from_id is not None:
            orders = [order for order in orders if order.order_id >= from_id]
        forward = from_id is not None or start > 0
        return [self._order(order) for order in (orders[:limit] if forward else orders[-limit:])]

    def my_trades(self, call: Call) -> Any:
        market = self.market(call)
        start, end = call.span()
        limit, from_id = call.limit(500, 1000), call.whole("fromId")
        fills = [
            fill
            for fill in self.exchange.my_trades(
                call.owner, market.symbol, call.whole("orderId"), start, as_of=call.view.orders_as_of
            )
            if fill.time <= end and (from_id is None or fill.trade_id >= from_id)
        ]
        forward = from_id is not None or start > 0
        return [self._fill(fill) for fill in (fills[:limit] if forward else fills[-limit:])]

    def _fill(self, fill: Fill) -> dict[str, Any]:
        return {
            "symbol": self.name(fill.symbol),
            "id": fill.trade_id,
            "orderId": fill.order_id,
            "orderListId": -1,
            "price": _fixed(fill.price),
            "qty": _fixed(fill.quantity),
            "quoteQty": _fixed(fill.quote_quantity),
            "commission": _fixed(fill.fee),
            "commissionAsset": fill.fee_currency,
            "time": _ms(fill.time),
            "isBuyer": fill.side == "buy",
            "isMaker": fill.liquidity == "maker",
            "isBestMatch": True,
        }

    # Account

    def account(self, call: Call) -> Any:
        balances = self.exchange.balances(call.owner, call.view.balances_as_of)
        if call.parameters.get("omitZeroBalances") == "true":
            balances = {c: amounts for c, amounts in balances.items() if any(amounts)}
        markets = list(self.exchange.markets.values())
        maker = max((market.maker_fee for market in markets), default=ZERO)
        taker = max((market.taker_fee for market in markets), default=ZERO)
        moved = [entries[-1][0] for entries in call.owner.journal.values() if entries]
        return {
            "makerCommission": int(maker * 10000),
            "takerCommission": int(taker * 10000),
            "buyerCommission": 0,
            "sellerCommission": 0,
            "commissionRates": {
                "maker": _fixed(maker),
                "taker": _fixed(taker),
                "buyer": _fixed(ZERO),
                "seller": _fixed(ZERO),
            },
            "canTrade": True,
            "canWithdraw": True,
            "canDeposit": True,
            "brokered": False,
            "requireSelfTradePrevention": False,
            "preventSor": False,
            "updateTime": _ms(max(moved, default=0.0)),
            "accountType": "SPOT",
            "balances": [
                {"asset": currency, "free": _fixed(free), "locked": _fixed(locked)}
                for currency, (free, locked) in balances.items()
            ],
            "permissions": ["SPOT"],
            "uid": 100000001 + list(self.exchange.accounts).index(call.owner.name),
        }

    def api_restrictions(self, call: Call) -> Any:
        keys = [key for key in self.exchange.keys.values() if key.account == call.owner.name]
        permissions = keys[0].permissions if keys else frozenset()
        return {
            "ipRestrict": bool(keys and keys[0].ips),
            "createTime": 1698645219000,
            "enableReading": "read" in permissions,
            "enableWithdrawals": "withdraw" in permissions,
            "enableInternalTransfer": False,
            "enableMargin": False,
            "enableFutures": False,
            "permitsUniversalTransfer": False,
            "enableVanillaOptions": False,
            "enableFixApiTrade": False,
            "enableFixReadOnly": False,
            "enableSpotAndMarginTrading": "trade" in permissions,
            "enablePortfolioMarginTrading": False,
        }

    def account_info(self, call: Call) -> Any:
        # https://developers.binance.com/docs/wallet/account/account-info
        return {
            "vipLevel": 0,
            "isMarginEnabled": False,
            "isFutureEnabled": False,
            "isOptionsEnabled": False,
            "isPortfolioMarginRetailEnabled": False,
        }

    def trade_fee(self, call: Call) -> Any:
        markets = [self.market(call)] if "symbol" in call.parameters else self.exchange.markets.values()
        return [
            {
                "symbol": self.name(market.symbol),
                "makerCommission": _plain(market.maker_fee),
                "takerCommission": _plain(market.taker_fee),
            }
            for market in markets
        ]

    def deposits(self, call: Call) -> Any:
        return [
            {
                "id": str(transfer.transfer_id),
                "amount": _plain(transfer.amount),
                "coin": transfer.currency,
                "network": transfer.currency,
                "status": 1,
                "address": transfer.address,
                "addressTag": "",
                "txId": transfer.txid or f"simulated-{transfer.transfer_id}",
                "insertTime": _ms(transfer.time),
                "completeTime": _ms(transfer.time),
                "transferType": 0,
                "confirmTimes": "1/1",
                "unlockConfirm": 0,
                "walletType": 0,
            }
            for transfer in self._transfers(call, "deposit")
        ]

    def withdrawals(self, call: Call) -> Any:
        return [
            {
                "id": str(transfer.transfer_id),
                "amount": _plain(transfer.amount),
                "transactionFee": _plain(transfer.fee),
                "coin": transfer.currency,
                "status": 6,
                "address": transfer.address,
                "txId": transfer.txid or f"simulated-{transfer.transfer_id}",
                "applyTime": _utc(transfer.time),
                "network": transfer.currency,
                "transferType": 0,
                "info": "",
                "confirmNo": 1,
                "walletType": 0,
                "txKey": "",
                "completeTime": _utc(transfer.time),
            }
            for transfer in self._transfers(call, "withdrawal")
        ]

    def _transfers(self, call: Call, kind: str) -> list[Any]:
        start, end = call.whole("startTime"), call.whole("endTime")
        coin, limit = call.parameters.get("coin"), call.limit(1000, 1000)
        offset = call.whole("offset") or 0
        found = [
            transfer
            for transfer in reversed(call.owner.transfers)
            if transfer.kind == kind
            and coin in (None, transfer.currency)
            and (start is None or _ms(transfer.time) >= start)
            and (end is None or _ms(transfer.time) <= end)
        ]
        return found[offset : offset + limit]

    def coins(self, call: Call) -> Any:
        markets = self.exchange.markets.values()
        currencies = sorted({m.base for m in markets} | {m.quote for m in markets} | set(call.owner.free))
        balances = self.exchange.balances(call.owner, call.view.balances_as_of)
        return [
            {
                "coin": coin,
                "depositAllEnable": True,
                "withdrawAllEnable": True,
                "name": coin,
                "free": _plain(balances.get(coin, (ZERO, ZERO))[0]),
                "locked": _plain(balances.get(coin, (ZERO, ZERO))[1]),
                "freeze": "0",
                "withdrawing": "0",
                "ipoing": "0",
                "ipoable": "0",
                "storage": "0",
                "isLegalMoney": coin in ("EUR", "USD", "GBP"),
                "trading": True,
                "networkList": [
                    {
                        "network": coin,
                        "coin": coin,
                        "withdrawIntegerMultiple": "0.00000001",
                        "isDefault": True,
                        "depositEnable": True,
                        "withdrawEnable": True,
                        "depositDesc": "",
                        "withdrawDesc": "",
                        "name": coin,
                        "resetAddressStatus": False,
                        "withdrawFee": "0",
                        "withdrawMin": "0.00000001",
                        "withdrawMax": "1000000",
                        "minConfirm": 1,
                        "unLockConfirm": 0,
                    }
                ],
            }
            for coin in currencies
        ]


def _changing(name: str) -> Callable[[Binance, Call], Any]:
    """Act as `binance_amend` says, which is built on this file and so imported when it is needed."""

    def act(binance: Binance, call: Call) -> Any:
        from simulator.dialects import binance_amend

        return getattr(binance_amend, name)(binance, call)

    return act


# (HTTP method, path) -> route. Weights: the "Weight" of each call on the pages of rest-api.
ROUTES: dict[tuple[str, str], Route] = {
    ("GET", "/api/v3/ping"): Route(kind=dialect.TIME, act=Binance.ping),
    ("GET", "/api/v3/time"): Route(kind=dialect.TIME, act=Binance.time),
    ("GET", "/sapi/v1/system/status"): Route(kind=dialect.OTHER, act=Binance.system_status),
    ("GET", "/api/v3/exchangeInfo"): Route(kind=dialect.MARKETS, act=Binance.exchange_info, weight=20),
    ("GET", "/fapi/v1/exchangeInfo"): Route(kind=dialect.MARKETS, act=Binance.no_symbols),
    ("GET", "/dapi/v1/exchangeInfo"): Route(kind=dialect.MARKETS, act=Binance.no_symbols),
    ("GET", "/sapi/v1/margin/allPairs"): Route(kind=dialect.MARKETS, act=Binance.nothing),
    ("GET", "/sapi/v1/margin/isolated/allPairs"): Route(kind=dialect.MARKETS, act=Binance.nothing),
    ("GET", "/api/v3/depth"): Route(kind=dialect.MARKET_DATA, act=Binance.depth, weight=5),
    ("GET", "/api/v3/trades"): Route(kind=dialect.MARKET_DATA, act=Binance.trades, weight=25),
    ("GET", "/api/v3/avgPrice"): Route(kind=dialect.MARKET_DATA, act=Binance.average_price, weight=2),
    ("GET", "/api/v3/ticker/24hr"): Route(
        kind=dialect.MARKET_DATA, act=Binance.day_ticker, weight=2, weight_of_all=80
    ),
    ("GET", "/api/v3/ticker/price"): Route(
        kind=dialect.MARKET_DATA, act=Binance.price_ticker, weight=2, weight_of_all=4
    ),
    ("GET", "/api/v3/ticker/bookTicker"): Route(
        kind=dialect.MARKET_DATA, act=Binance.book_ticker, weight=2, weight_of_all=4
    ),
    ("POST", "/api/v3/order"): Route(kind=dialect.CREATE, act=Binance.create, signed=True, trade=True),
    ("DELETE", "/api/v3/order"): Route(kind=dialect.CANCEL, act=Binance.cancel, signed=True, trade=True),
    ("POST", "/api/v3/order/cancelReplace"): Route(
        kind=dialect.AMEND, act=_changing("cancel_replace"), signed=True, trade=True
    ),
    ("PUT", "/api/v3/order/amend/keepPriority"): Route(
        kind=dialect.AMEND, act=_changing("amend"), weight=4, signed=True, trade=True
    ),
    ("GET", "/api/v3/order/amendments"): Route(
        kind=dialect.CLOSED_ORDERS, act=_changing("amendments"), weight=4, signed=True
    ),
    ("DELETE", "/api/v3/openOrders"): Route(
        kind=dialect.CANCEL_ALL, act=Binance.cancel_all, signed=True, trade=True
    ),
    ("GET", "/api/v3/order"): Route(kind=dialect.FETCH, act=Binance.fetch, weight=4, signed=True),
    ("GET", "/api/v3/openOrders"): Route(
        kind=dialect.OPEN_ORDERS, act=Binance.open_orders, weight=6, weight_of_all=80, signed=True
    ),
    ("GET", "/api/v3/allOrders"): Route(
        kind=dialect.CLOSED_ORDERS, act=Binance.all_orders, weight=20, signed=True
    ),
    ("GET", "/api/v3/myTrades"): Route(kind=dialect.MY_TRADES, act=Binance.my_trades, weight=20, signed=True),
    ("GET", "/api/v3/account"): Route(kind=dialect.BALANCE, act=Binance.account, weight=20, signed=True),
    ("GET", "/sapi/v1/account/apiRestrictions"): Route(
        kind=dialect.OTHER, act=Binance.api_restrictions, signed=True
    ),
    ("GET", "/sapi/v1/account/info"): Route(kind=dialect.FEES, act=Binance.account_info, signed=True),
    ("GET", "/sapi/v1/asset/tradeFee"): Route(kind=dialect.FEES, act=Binance.trade_fee, signed=True),
    ("GET", "/sapi/v1/capital/deposit/hisrec"): Route(
        kind=dialect.TRANSFERS, act=Binance.deposits, signed=True
    ),
    ("GET", "/sapi/v1/capital/withdraw/history"): Route(
        kind=dialect.TRANSFERS, act=Binance.withdrawals, signed=True
    ),
    ("GET", "/sapi/v1/capital/config/getall"): Route(
        kind=dialect.MARKETS, act=Binance.coins, weight=10, signed=True
    ),
}

# Method of the WebSocket API -> the same call by REST.
METHODS: dict[str, Route] = {
    "ping": ROUTES["GET", "/api/v3/ping"],
    "time": ROUTES["GET", "/api/v3/time"],
    "exchangeInfo": ROUTES["GET", "/api/v3/exchangeInfo"],
    "depth": ROUTES["GET", "/api/v3/depth"],
    "trades.recent": ROUTES["GET", "/api/v3/trades"],
    "ticker.book": ROUTES["GET", "/api/v3/ticker/bookTicker"],
    "ticker.price": ROUTES["GET", "/api/v3/ticker/price"],
    "ticker.24hr": ROUTES["GET", "/api/v3/ticker/24hr"],
    "order.place": ROUTES["POST", "/api/v3/order"],
    "order.cancel": ROUTES["DELETE", "/api/v3/order"],
    "order.cancelReplace": ROUTES["POST", "/api/v3/order/cancelReplace"],
    "order.amend.keepPriority": ROUTES["PUT", "/api/v3/order/amend/keepPriority"],
    "order.amendments": ROUTES["GET", "/api/v3/order/amendments"],
    "order.status": ROUTES["GET", "/api/v3/order"],
    "openOrders.status": ROUTES["GET", "/api/v3/openOrders"],
    "openOrders.cancelAll": ROUTES["DELETE", "/api/v3/openOrders"],
    "allOrders": ROUTES["GET", "/api/v3/allOrders"],
    "myTrades": ROUTES["GET", "/api/v3/myTrades"],
    "account.status": ROUTES["GET", "/api/v3/account"],
}
EXECUTION_TYPES = {
    "new": "NEW",
    "trade": "TRADE",
    "canceled": "CANCELED",
    "expired": "EXPIRED",
    "triggered": "NEW",
    "amended": "REPLACED",
}
SUBSCRIBE_USER = "userDataStream.subscribe.signature"
UNSUBSCRIBE_USER = "userDataStream.unsubscribe"


class ApiSession:
    """The WebSocket API at /ws-api/v3, with the user data stream on the same connection."""

    def __init__(self, binance: Binance, request: Request, send: Send) -> None:
        self._binance = binance
        self._send = send
        self._users: dict[int, Key] = {}  # subscription id -> whose events
        self._next_subscription = 0

    def kind(self, text: str) -> str:
        method = str(_json(text).get("method", ""))
        if method in (SUBSCRIBE_USER, UNSUBSCRIBE_USER):
            return dialect.STREAM
        return METHODS[method].kind if method in METHODS else dialect.OTHER

    def receive(self, text: str, request: Request) -> None:
        message = _json(text)
        request_id, method = message.get("id"), message.get("method")
        raw = message.get("params") or {}
        account: Account | None = None
        answer: dict[str, Any] = {"id": request_id}
        try:
            if not isinstance(method, str) or not isinstance(raw, dict):
                raise BinanceError(400, -1135, "Invalid JSON Request")
            route = METHODS.get(method)
            key: Key | None = None
            parameters = {name: _written(value) for name, value in raw.items() if value is not None}
            if method == SUBSCRIBE_USER or (route is not None and route.signed):
                key = self._signed_by(parameters, request, route)
                account = self._binance.exchange.accounts[key.account]
            if method == SUBSCRIBE_USER:
                assert key is not None
                answer |= {"status": 200, "result": {"subscriptionId": self._subscribe(key)}}
            elif method == UNSUBSCRIBE_USER:
                self._users.clear()
                answer |= {"status": 200, "result": {}}
            elif route is None:
                raise BinanceError(400, -1020, "This operation is not supported.")
            else:
                self._binance.spend(request, _weight(route, parameters))
                limited = self._binance.limited(request)
                if limited is not None:
                    raise BinanceError(limited.status, limited.body["code"], limited.body["msg"])
                if self._binance.exchange.mode == MAINTENANCE_MODE:
                    raise Reject(MAINTENANCE, "the exchange is under maintenance")
                call = Call(
                    parameters=parameters,
                    account=account,
                    now=request.now,
                    clock=request.clock,
                    view=request.view,
                )
                answer |= {"status": 200, "result": route.act(self._binance, call)}
        except (BinanceError, Reject) as error:
            status, code, words = _said(error)
            answer |= {"status": status, "error": _error(code, words, error)}
        if isinstance(raw, dict) and raw.get("returnRateLimits") is not False:
            answer["rateLimits"] = self._binance.rate_limits(request, account)
        self._send(answer, dialect.REPLY)

    def _signed_by(self, parameters: dict[str, str], request: Request, route: Route | None) -> Key:
        # All parameters but the signature, sorted by name, joined as they are:
        # https://developers.binance.com/docs/binance-spot-api-docs/websocket-api/request-security
        signed = sorted((name, value) for name, value in parameters.items() if name != "signature")
        return self._binance.verify(
            parameters.get("apiKey", ""),
            parameters,
            ["&".join(f"{name}={value}" for name, value in signed), urlencode(signed)],
            "trade" if route is not None and route.trade else "read",
            request.clock,
        )

    def _subscribe(self, key: Key) -> int:
        if any(user.account == key.account for user in self._users.values()):
            raise BinanceError(400, -2035, "User Data Stream subscription already active.")
        self._users[self._next_subscription] = key
        self._next_subscription += 1
        return self._next_subscription - 1

    def on_event(self, event: Event) -> None:
        if isinstance(event, OrderUpdate):
            name = event.order.account
        elif isinstance(event, BalanceChange):
            name = event.account
        else:
            return
        for subscription, key in self._users.items():
            if key.account != name or key.revoked:
                continue
            if isinstance(event, OrderUpdate):
                stream = dialect.FILLS if event.fill else dialect.ORDERS
                self._push(subscription, self.execution_report(event), stream)
            else:
                for message in _balance_messages(event):
                    self._push(subscription, message, dialect.BALANCES)

    def tick(self, now: float) -> None:
        pass

    def _push(self, subscription: int, event: dict[str, Any], stream: str) -> None:
        self._send({"subscriptionId": subscription, "event": event}, stream)

    def execution_report(self, update: OrderUpdate) -> dict[str, Any]:
        """https://developers.binance.com/docs/binance-spot-api-docs/user-data-stream#order-update

        An order that is triggered is new a second time, and on the book (`w`) then.
        """
        order, fill = update.order, update.fill
        amended = self._binance.amendments.get(order.order_id, []) if update.kind == "amended" else []
        canceled = update.kind == "canceled"
        cancel_id = self._binance.cancel_ids.get(order.order_id, order.client_order_id)
        report: dict[str, Any] = {
            "e": "executionReport",
            "E": _ms(update.now),
            "s": self._binance.name(order.symbol),
            "c": cancel_id if canceled else order.client_order_id,
            "S": order.side.upper(),
            "o": _type(order),
            "f": order.time_in_force,
            "q": _fixed(order.quantity),
            "p": _fixed(order.price or ZERO),
            "P": _fixed(order.trigger.price if order.trigger else ZERO),
            "F": _fixed(ZERO),
            "g": -1,
            "C": order.client_order_id if canceled else amended[-1]["origClientOrderId"] if amended else "",
            "x": EXECUTION_TYPES[update.kind],
            "X": "EXPIRED_IN_MATCH"
            if update.status == EXPIRED and order.reason == "SELF_TRADE"
            else STATUS[update.status],
            "r": "NONE",
            "i": order.order_id,
            "l": _fixed(fill.quantity if fill else ZERO),
            "z": _fixed(update.filled_quantity),
            "L": _fixed(fill.price if fill else ZERO),
            "n": _fixed(fill.fee) if fill else "0",
            "N": fill.fee_currency if fill else None,
            "T": _ms(update.now),
            "t": fill.trade_id if fill else -1,
            "I": 2 * (fill.trade_id if fill else order.order_id) + (0 if fill else 1),
            "w": update.status in (SUBMITTED, PARTIALLY_FILLED)
            and order.order_type == "limit"
            and not (order.trigger is not None and update.kind == "new"),
            "m": fill.liquidity == "maker" if fill else False,
            "M": fill is not None,
            "O": _ms(order.created_at),
            "Z": _fixed(update.filled_quote),
            "Y": _fixed(fill.quote_quantity if fill else ZERO),
            "Q": _fixed(order.quote_quantity or ZERO),
            "W": _ms(order.created_at),
            "V": "EXPIRE_MAKER",
        }
        if update.kind == "expired":
            report["eR"] = "INSUFFICIENT_LIQUIDITY" if order.reason == "NO_LIQUIDITY" else order.reason
        return report


@dataclass(slots=True)
class _Batch:
    """Book changes of one market waiting to be sent together."""

    first: int
    last: int
    bids: dict[Decimal, Decimal] = field(default_factory=dict)
    asks: dict[Decimal, Decimal] = field(default_factory=dict)


class StreamSession:
    """Market streams at /ws and /stream: <symbol>@depth[@100ms], @trade, @aggTrade, @bookTicker."""

    def __init__(self, binance: Binance, request: Request, send: Send) -> None:
        self._binance = binance
        self._send = send
        self._wrapped = request.path == "/stream"
        self._streams: dict[str, None] = {}  # stream name, in the sequence of subscription
        self._batches: dict[str, _Batch] = {}  # depth stream -> changes not sent yet
        self._sent: dict[str, float] = {}  # depth stream -> when it was sent last
        self._quoted: dict[str, tuple[Any, Any]] = {}  # bookTicker stream -> what was sent last
        names = dict(parse_qsl(request.query)).get("streams", "").split("/")
        names += request.path.partition("/ws/")[2].split("/")
        for name in names:
            if "@" in name and self._known(name):
                self._streams[name] = None

    def kind(self, text: str) -> str:
        return dialect.STREAM

    def receive(self, text: str, request: Request) -> None:
        message = _json(text)
        method, names = message.get("method"), message.get("params") or []
        if not isinstance(names, list):
            self._refuse(message, 2, "Invalid request: params must be an array")
        elif method == "LIST_SUBSCRIPTIONS":
            self._send({"result": list(self._streams), "id": message.get("id")}, dialect.REPLY)
        elif method not in ("SUBSCRIBE", "UNSUBSCRIBE"):
            self._refuse(message, 2, f"Invalid request: unknown variant `{method}`")
        elif not all(isinstance(name, str) and self._known(name) for name in names):
            self._refuse(message, 2, "Invalid request: invalid stream")
        else:
            for name in names:
                if method == "SUBSCRIBE":
                    self._streams[name] = None
                else:
                    self._streams.pop(name, None)
                    self._batches.pop(name, None)
            self._send({"result": None, "id": message.get("id")}, dialect.REPLY)

    def on_event(self, event: Event) -> None:
        if isinstance(event, PublicTrade):
            prefix = self._binance.name(event.symbol).lower()
            for channel in ("trade", "aggTrade"):
                if f"{prefix}@{channel}" in self._streams:
                    self._push(f"{prefix}@{channel}", self._trade(event, channel), dialect.TRADES)
        elif isinstance(event, BookChange):
            prefix = self._binance.name(event.symbol).lower()
            for name in self._streams:
                if name.startswith(prefix + "@depth"):
                    self._collect(name, event)
            if f"{prefix}@bookTicker" in self._streams:
                self._quote(f"{prefix}@bookTicker", event)

    def tick(self, now: float) -> None:
        for name, batch in list(self._batches.items()):
            interval = 0.1 if name.endswith("@100ms") else 1.0
            # Ticks come about every 100 ms, so half of one is tolerated.
            if now - self._sent.get(name, 0.0) < interval - 0.05:
                continue
            del self._batches[name]
            self._sent[name] = now
            message = {
                "e": "depthUpdate",
                "E": _ms(now),
                "s": name.partition("@")[0].upper(),
                "U": batch.first,
                "u": batch.last,
                "b": _levels(list(batch.bids.items())),
                "a": _levels(list(batch.asks.items())),
            }
            self._push(name, message, dialect.BOOK)

    def _known(self, name: str) -> bool:
        symbol, _, channel = name.partition("@")
        if channel not in ("depth", "depth@100ms", "depth@1000ms", "trade", "aggTrade", "bookTicker"):
            return False
        return any(self._binance.name(known).lower() == symbol for known in self._binance.exchange.markets)

    def _refuse(self, message: dict[str, Any], code: int, words: str) -> None:
        self._send({"error": {"code": code, "msg": words}, "id": message.get("id")}, dialect.REPLY)

    def _push(self, name: str, message: dict[str, Any], stream: str) -> None:
        self._send({"stream": name, "data": message} if self._wrapped else message, stream)

    def _collect(self, name: str, change: BookChange) -> None:
        batch = self._batches.get(name)
        if batch is None:
            batch = self._batches[name] = _Batch(first=change.sequence, last=change.sequence)
        batch.last = change.sequence
        batch.bids.update(change.bids)
        batch.asks.update(change.asks)

    def _quote(self, name: str, change: BookChange) -> None:
        exchange = self._binance.exchange
        bid = exchange.best(change.symbol, "buy", change.now) or (ZERO, ZERO)
        ask = exchange.best(change.symbol, "sell", change.now) or (ZERO, ZERO)
        if self._quoted.get(name) == (bid, ask):
            return
        self._quoted[name] = (bid, ask)
        message = {
            "u": change.sequence,
            "s": self._binance.name(change.symbol),
            "b": _fixed(bid[0]),
            "B": _fixed(bid[1]),
            "a": _fixed(ask[0]),
            "A": _fixed(ask[1]),
        }
        self._push(name, message, dialect.TICKER)

    def _trade(self, trade: PublicTrade, channel: str) -> dict[str, Any]:
        message: dict[str, Any] = {
            "e": channel,
            "E": _ms(trade.now),
            "s": self._binance.name(trade.symbol),
            "p": _fixed(trade.price),
            "q": _fixed(trade.quantity),
            "T": _ms(trade.now),
            "m": trade.taker_side == "sell",
            "M": True,
        }
        if channel == "trade":
            return message | {"t": trade.trade_id}
        return message | {"a": trade.trade_id, "f": trade.trade_id, "l": trade.trade_id}


def _said(error: BinanceError | Reject) -> tuple[int, int, str]:
    if isinstance(error, BinanceError):
        return error.status, error.code, error.message
    return REJECTS.get(error.reason, (400, -1013, error.message))


def _error(code: int, message: str, error: BinanceError | Reject) -> dict[str, Any]:
    data = error.data if isinstance(error, BinanceError) else None
    return {"code": code, "msg": message} | ({} if data is None else {"data": data})


def _check_all_read(parameters: Mapping[str, str]) -> None:
    read = sum(1 for name in parameters if name in ORDER_PARAMETERS)
    if read != len(parameters):
        message = (
            f"Not all sent parameters were read; read '{read}' parameter(s) but was sent '{len(parameters)}'."
        )
        raise BinanceError(400, -1104, message)


def _balance_messages(change: BalanceChange) -> list[dict[str, Any]]:
    now = _ms(change.now)
    messages: list[dict[str, Any]] = []
    if change.delta is not None:
        currency, delta = change.delta
        messages.append({"e": "balanceUpdate", "E": now, "a": currency, "d": _fixed(delta), "T": now})
    balances = [
        {"a": currency, "f": _fixed(free), "l": _fixed(locked)}
        for currency, (free, locked) in change.balances.items()
    ]
    messages.append({"e": "outboundAccountPosition", "E": now, "u": now, "B": balances})
    return messages


def _json(text: str) -> dict[str, Any]:
    try:
        message = json.loads(text)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _weight(route: Route | None, parameters: Mapping[str, str]) -> int:
    """What a call weighs: more for more of the book, and for every market at once."""
    if route is None:
        return 1
    if route.act is Binance.depth:
        levels = int(parameters["limit"]) if parameters.get("limit", "").isdecimal() else 100
        return next(weight for most, weight in DEPTH_WEIGHTS if levels <= most or most == 5000)
    everything = route.weight_of_all is not None and "symbol" not in parameters
    return route.weight_of_all if everything and route.weight_of_all else route.weight


def _limit(kind: str, interval: str, number: int, limit: int) -> dict[str, Any]:
    return {"rateLimitType": kind, "interval": interval, "intervalNum": number, "limit": limit}


def _status(order: Order) -> str:
    if order.status == EXPIRED and order.reason == "SELF_TRADE":
        return "EXPIRED_IN_MATCH"
    return STATUS[order.status]


def _type(order: Order) -> str:
    if order.trigger is not None:
        return order.trigger.kind.upper() + ("_LIMIT" if order.order_type == "limit" else "")
    if order.order_type == "market":
        return "MARKET"
    return "LIMIT_MAKER" if order.post_only else "LIMIT"


def _working_ms(order: Order) -> int:
    """When the order came onto the book; an order that waits has not."""
    if order.waiting:
        return -1
    return _ms(order.created_at if order.triggered_at is None else order.triggered_at)


def _ms(seconds: float) -> int:
    return int(seconds * 1000)


def _fixed(value: Decimal) -> str:
    return f"{value:.8f}"


def _plain(value: Decimal) -> str:
    return format(value.normalize(), "f") if value else "0"


def _levels(levels: Levels) -> list[list[str]]:
    return [[_fixed(price), _fixed(size)] for price, size in levels]


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
