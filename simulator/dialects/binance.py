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
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Literal
from urllib.parse import parse_qsl

from ems.core.book import Side, TimeInForce
from simulator.day import day_trades
from simulator.dialects import binance_amend, binance_wallet, dialect
from simulator.dialects.binance_streams import ApiSession, StreamSession
from simulator.dialects.binance_words import (
    CLIENT_ID,
    CLIENT_ID_RANGE,
    NUMBER,
    NUMBER_RANGE,
    SELF_TRADE_MODES,
    SELF_TRADES,
    WHOLE,
    WHOLE_RANGE,
    BinanceError,
    Call,
    Route,
    bands,
    error_body,
    fixed,
    illegal,
    levels,
    mandatory,
    ms,
    not_required,
    said,
    status_of,
    type_of,
    working_ms,
)
from simulator.dialects.dialect import Request, Response, Send, Session
from simulator.exchange import Exchange
from simulator.records import (
    MAINTENANCE,
    MAINTENANCE_MODE,
    TRADING,
    Account,
    Band,
    Fill,
    Key,
    Market,
    Order,
    OrderType,
    Reject,
    SelfTradeRule,
    Trigger,
)
from simulator.triggers import met, stop_or_profit

ZERO = Decimal(0)
DAY_MS = 24 * 3600 * 1000

FIVEFOLD = Band(buy=(Decimal("0.2"), Decimal(5)), sell=(Decimal("0.2"), Decimal(5)))

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
        max_notional=Decimal(9_000_000),
        max_price=Decimal(1_000_000),
        band=FIVEFOLD,
    )
    for base, quote, tick, lot, largest, smallest in (
        ("BTC", "USDT", "0.01", "0.00001", "9000", "5"),
        ("ETH", "USDT", "0.01", "0.0001", "9000", "5"),
        ("ETH", "BTC", "0.00001", "0.0001", "100000", "0.0001"),
        ("NEXO", "USDT", "0.001", "0.01", "92141578", "5"),
        ("NEXO", "BTC", "0.00000001", "0.01", "92141578", "0.0001"),
    )
]

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

WARNINGS = 20  # so many 429 in a minute; the next is a ban
BAN_MAX_S = 3 * 86400

ORDER_PARAMETERS = frozenset(
    "symbol side type timeInForce quantity quoteOrderQty price newClientOrderId strategyId strategyType "
    "stopPrice trailingDelta icebergQty newOrderRespType selfTradePreventionMode "
    "pegPriceType pegOffsetValue pegOffsetType recvWindow timestamp signature".split()
)

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
    self_trade: SelfTradeRule


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
        self.methods = METHODS
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
        headers = dict(self.spend(request, 1 if route is None else route.weigh(request.parameters())))
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
            status, code, message = said(error)
            return Response(status=status, body=error_body(code, message, error), headers=headers)

    def open_session(self, request: Request, send: Send) -> Session | None:
        if request.path.startswith("/ws-api/"):
            return ApiSession(self, request, send)
        if re.fullmatch(r"(/stream)?/ws(/.*)?|/stream", request.path):
            return StreamSession(self, request, send)
        return None

    def rate_limited(self, request: Request, banned: bool) -> Response:
        if banned:
            left_s = self.ban_left_s(request) or self.ban_s
            until = ms(request.clock + left_s)
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
            raise mandatory("timestamp")
        if not WHOLE.fullmatch(stamp):
            raise illegal("timestamp", WHOLE_RANGE)
        if not NUMBER.fullmatch(window):
            raise illegal("recvWindow", NUMBER_RANGE)
        if Decimal(window) > 60000:
            raise BinanceError(400, -1131, "recvWindow must be less than 60000.")
        server = ms(clock)
        if int(stamp) >= server + 1000:
            message = "Timestamp for this request was 1000ms ahead of the server's time."
            raise BinanceError(400, -1021, message)
        if server - int(stamp) > Decimal(window):
            raise BinanceError(400, -1021, "Timestamp for this request is outside of the recvWindow.")
        signature = parameters.get("signature", "")
        if not signature:
            raise mandatory("signature")
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
        return {"serverTime": ms(call.clock)}

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
            "serverTime": ms(call.clock),
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
                    "minPrice": fixed(market.tick),
                    "maxPrice": fixed(market.max_price or ZERO),
                    "tickSize": fixed(market.tick),
                },
                {
                    "filterType": "LOT_SIZE",
                    "minQty": fixed(market.min_qty),
                    "maxQty": fixed(market.max_qty),
                    "stepSize": fixed(market.lot),
                },
                {
                    "filterType": "MARKET_LOT_SIZE",
                    "minQty": fixed(ZERO),
                    "maxQty": fixed(market.max_qty),
                    "stepSize": fixed(ZERO),
                },
                {
                    "filterType": "NOTIONAL",
                    "minNotional": fixed(market.min_notional),
                    "applyMinToMarket": True,
                    "maxNotional": fixed(market.max_notional or Decimal(9_000_000_000)),
                    "applyMaxToMarket": False,
                    "avgPriceMins": 5,
                },
                *bands(market),
                {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": market.max_orders},
                {"filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": ALGO_ORDERS_MAX},
                {"filterType": "MAX_NUM_ORDER_AMENDS", "maxNumOrderAmends": 10},
            ],
            "permissions": [],
            "permissionSets": [["SPOT"]],
            "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
            "allowedSelfTradePreventionModes": list(SELF_TRADES),
        }

    def no_symbols(self, call: Call) -> Any:
        # Callers that have not been told to load spot markets only also ask the futures exchanges.
        return {"timezone": "UTC", "serverTime": ms(call.clock), "rateLimits": [], "symbols": []}

    def nothing(self, call: Call) -> Any:
        return []

    # Market data

    def depth(self, call: Call) -> Any:
        market = self.market(call)
        book = self.exchange.depth(market.symbol, call.limit(100, 5000), now=call.now)
        return {"lastUpdateId": book.sequence, "bids": levels(book.bids), "asks": levels(book.asks)}

    def trades(self, call: Call) -> Any:
        market = self.market(call)
        return [
            {
                "id": trade.trade_id,
                "price": fixed(trade.price),
                "qty": fixed(trade.quantity),
                "quoteQty": fixed(trade.price * trade.quantity),
                "time": ms(trade.now),
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
            "bidPrice": fixed(bid[0]),
            "bidQty": fixed(bid[1]),
            "askPrice": fixed(ask[0]),
            "askQty": fixed(ask[1]),
        }

    def price_ticker(self, call: Call) -> Any:
        return self._for_markets(
            call,
            lambda market, now: {
                "symbol": self.name(market.symbol),
                "price": fixed(self.exchange.last_price(market.symbol) or ZERO),
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
            "price": fixed(price),
            "closeTime": ms(trades[-1].now) if trades else ms(call.now),
        }

    def day_ticker(self, call: Call) -> Any:
        return self._for_markets(call, self._day_ticker)

    def _day_ticker(self, market: Market, now: float) -> dict[str, Any]:
        # Statistics over the trades the exchange still remembers, at most a day back.
        trades = day_trades(self.exchange, market.symbol, now)
        prices = [t.price for t in trades] or [self.exchange.last_price(market.symbol) or ZERO]
        volume = sum((t.quantity for t in trades), ZERO)
        cost = sum((t.quantity * t.price for t in trades), ZERO)
        change = prices[-1] - prices[0]
        quotes = self._book_ticker(market, now)
        return {
            "symbol": quotes["symbol"],
            "priceChange": fixed(change),
            "priceChangePercent": f"{change * 100 / prices[0]:.3f}" if prices[0] else "0.000",
            "weightedAvgPrice": fixed(cost / volume if volume else ZERO),
            "prevClosePrice": fixed(prices[0]),
            "lastPrice": fixed(prices[-1]),
            "lastQty": fixed(trades[-1].quantity if trades else ZERO),
            "bidPrice": quotes["bidPrice"],
            "bidQty": quotes["bidQty"],
            "askPrice": quotes["askPrice"],
            "askQty": quotes["askQty"],
            "openPrice": fixed(prices[0]),
            "highPrice": fixed(max(prices)),
            "lowPrice": fixed(min(prices)),
            "volume": fixed(volume),
            "quoteVolume": fixed(cost),
            "openTime": ms(now - 86400),
            "closeTime": ms(now),
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
            self_trade=wanted.self_trade,
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
            raise illegal("newOrderRespType", "ACK, RESULT, FULL")
        in_force, quantity, quote_quantity, price, stop = self._terms(call, kind)
        client_id = call.parameters.get("newClientOrderId", "")
        if client_id and not CLIENT_ID.fullmatch(client_id):
            raise illegal("newClientOrderId", CLIENT_ID_RANGE)
        stp = call.parameters.get("selfTradePreventionMode", "EXPIRE_MAKER")
        if stp not in SELF_TRADES:
            raise illegal("selfTradePreventionMode", ", ".join(SELF_TRADES))
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
            self_trade=SELF_TRADES[stp],
        )

    def _terms(
        self, call: Call, kind: str
    ) -> tuple[str, Decimal | None, Decimal | None, Decimal | None, Decimal | None]:
        """timeInForce, quantity, quoteOrderQty, price, stopPrice: each type asks for some, refuses others."""
        limited = kind in ("LIMIT", "STOP_LOSS_LIMIT", "TAKE_PROFIT_LIMIT")
        in_force = call.parameters.get("timeInForce")
        if limited and not in_force:
            raise mandatory("timeInForce")
        if not limited and in_force is not None:
            raise not_required("timeInForce")
        if in_force not in (None, "GTC", "IOC", "FOK"):
            raise BinanceError(400, -1115, "Invalid timeInForce.")
        quantity = call.number("quantity")
        quote_quantity = call.number("quoteOrderQty")
        price, stop = call.number("price"), call.number("stopPrice")
        if price is not None and kind != "LIMIT_MAKER" and not limited:
            raise not_required("price")
        if stop is not None and kind not in TRIGGERS:
            raise not_required("stopPrice")
        if quote_quantity is not None and kind != "MARKET":
            raise not_required("quoteOrderQty")
        if quantity is not None and quote_quantity is not None:
            raise BinanceError(400, -1128, "Combination of optional parameters invalid.")
        if quantity is None and quote_quantity is None:
            raise mandatory("quantity")
        if price is None and (limited or kind == "LIMIT_MAKER"):
            raise mandatory("price")
        if stop is None and kind in TRIGGERS:
            raise mandatory("stopPrice")
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
            "transactTime": ms(order.created_at),
        }
        if respond == "ACK":
            return answer
        answer |= {
            "price": fixed(order.price or ZERO),
            "origQty": fixed(order.quantity),
            "executedQty": fixed(order.filled_quantity),
            "origQuoteOrderQty": fixed(order.quote_quantity or ZERO),
            "cummulativeQuoteQty": fixed(order.filled_quote),
            "status": status_of(order),
            "timeInForce": order.time_in_force,
            "type": type_of(order),
            "side": order.side.upper(),
            "workingTime": working_ms(order),
            "selfTradePreventionMode": SELF_TRADE_MODES[order.self_trade],
        }
        if order.trigger is not None:
            answer["stopPrice"] = fixed(order.trigger.price)
        if respond == "FULL":
            answer["fills"] = [
                {
                    "price": fixed(fill.price),
                    "qty": fixed(fill.quantity),
                    "commission": fixed(fill.fee),
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
            "price": fixed(order.price or ZERO),
            "origQty": fixed(order.quantity),
            "executedQty": fixed(order.filled_quantity),
            "cummulativeQuoteQty": fixed(order.filled_quote),
            "status": status_of(order),
            "timeInForce": order.time_in_force,
            "type": type_of(order),
            "side": order.side.upper(),
            "stopPrice": fixed(order.trigger.price if order.trigger else ZERO),
            "icebergQty": fixed(ZERO),
            "time": ms(order.created_at),
            "updateTime": ms(order.updated_at),
            "isWorking": not order.waiting,
            "workingTime": working_ms(order),
            "origQuoteOrderQty": fixed(order.quote_quantity or ZERO),
            "selfTradePreventionMode": SELF_TRADE_MODES[order.self_trade],
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
            "transactTime": ms(order.updated_at),
            "price": fixed(order.price or ZERO),
            "origQty": fixed(order.quantity),
            "executedQty": fixed(order.filled_quantity),
            "origQuoteOrderQty": fixed(order.quote_quantity or ZERO),
            "cummulativeQuoteQty": fixed(order.filled_quote),
            "status": status_of(order),
            "timeInForce": order.time_in_force,
            "type": type_of(order),
            "side": order.side.upper(),
            "selfTradePreventionMode": SELF_TRADE_MODES[order.self_trade],
        } | ({} if order.trigger is None else {"stopPrice": fixed(order.trigger.price)})

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
            "price": fixed(fill.price),
            "qty": fixed(fill.quantity),
            "quoteQty": fixed(fill.quote_quantity),
            "commission": fixed(fill.fee),
            "commissionAsset": fill.fee_currency,
            "time": ms(fill.time),
            "isBuyer": fill.side == "buy",
            "isMaker": fill.liquidity == "maker",
            "isBestMatch": True,
        }


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
    ("GET", "/api/v3/depth"): Route(kind=dialect.MARKET_DATA, act=Binance.depth, by_levels=True),
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
        kind=dialect.AMEND, act=binance_amend.cancel_replace, signed=True, trade=True
    ),
    ("PUT", "/api/v3/order/amend/keepPriority"): Route(
        kind=dialect.AMEND, act=binance_amend.amend, weight=4, signed=True, trade=True
    ),
    ("GET", "/api/v3/order/amendments"): Route(
        kind=dialect.CLOSED_ORDERS, act=binance_amend.amendments, weight=4, signed=True
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
    ("GET", "/api/v3/account"): Route(
        kind=dialect.BALANCE, act=binance_wallet.account, weight=20, signed=True
    ),
    ("GET", "/sapi/v1/account/apiRestrictions"): Route(
        kind=dialect.OTHER, act=binance_wallet.api_restrictions, signed=True
    ),
    ("GET", "/sapi/v1/account/info"): Route(kind=dialect.FEES, act=binance_wallet.account_info, signed=True),
    ("GET", "/sapi/v1/asset/tradeFee"): Route(kind=dialect.FEES, act=binance_wallet.trade_fee, signed=True),
    ("GET", "/sapi/v1/capital/deposit/hisrec"): Route(
        kind=dialect.TRANSFERS, act=binance_wallet.deposits, signed=True
    ),
    ("GET", "/sapi/v1/capital/withdraw/history"): Route(
        kind=dialect.TRANSFERS, act=binance_wallet.withdrawals, signed=True
    ),
    ("GET", "/sapi/v1/capital/config/getall"): Route(
        kind=dialect.MARKETS, act=binance_wallet.coins, weight=10, signed=True
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


def _check_all_read(parameters: Mapping[str, str]) -> None:
    read = sum(1 for name in parameters if name in ORDER_PARAMETERS)
    if read != len(parameters):
        message = (
            f"Not all sent parameters were read; read '{read}' parameter(s) but was sent '{len(parameters)}'."
        )
        raise BinanceError(400, -1104, message)


def _limit(kind: str, interval: str, number: int, limit: int) -> dict[str, Any]:
    return {"rateLimitType": kind, "interval": interval, "intervalNum": number, "limit": limit}
