"""Coinbase Advanced Trade, spot: signatures, limits and the REST API. The WebSocket is in `coinbase_streams`.

What is true here and elsewhere surprises:

1. An order that is not created is answered with HTTP 200 and `success: false`, and leaves no trace.
2. `client_order_id` is required. The same one again creates nothing and answers with the order there is.
3. Nothing is found or cancelled by `client_order_id`; the lists carry it, newest order first, page by page.
4. `OPEN` may not be asked for together with another status.
5. A fill tells neither the client id nor, of an order by quote size, a quantity: its size is then in quote.
6. Fees are on top, in the quote currency, at one rate for the whole account.
7. A token that opens nothing is answered with the bare word Unauthorized.

Not here: futures, margin, conversions, brackets and their like (`coinbase_orders`), previews, candles, and
the common books of USD and USDC pairs: each product has a book of its own.

https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/rest-api and the pages beside it.
"""

import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from simulator import records
from simulator.dialects import coinbase_orders as orders
from simulator.dialects import coinbase_wallets as wallets
from simulator.dialects import coinbase_words as words
from simulator.dialects import dialect
from simulator.dialects.coinbase_streams import Streams
from simulator.dialects.coinbase_tokens import Tokens, Unauthorized, uris_of
from simulator.dialects.coinbase_words import (
    BOTH,
    Failed,
    Refused,
    fill_name,
    invalid,
    order_name,
    order_number,
    product_name,
    read_stamp,
    stamp,
    trade_row,
)
from simulator.dialects.dialect import Request, Response, Send
from simulator.exchange import Exchange
from simulator.records import ZERO, Account, Fill, Key, Market, Order, Reject, text

V3 = "/api/v3/brokerage"
V2 = "/v2"

# https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/rest-api, "rate limits", and for the older
# addresses https://docs.cdp.coinbase.com/coinbase-app/api-architecture/rate-limiting
PRIVATE_PER_S = 30  # of a user
PUBLIC_PER_S = 10  # from an address
V2_PER_HOUR = 10_000  # of a key

CANCELS_MOST = 100  # in one request: .../rest-api/orders/cancel-orders
CLIENT_ID_MOST = 128
ORDERS_MOST = 1000
FILLS_DEFAULT = 100
DOLLARS = frozenset(("USD", "USDC", "USDT"))
STATUSES = ("PENDING", "OPEN", "FILLED", "CANCELLED", "EXPIRED", "FAILED", "QUEUED", "CANCEL_QUEUED")

# Steps and least amounts as the list of products gives them, fees of the lowest tier:
# https://www.coinbase.com/advanced-fees
MARKETS = [
    Market(
        symbol=f"{base}/{quote}",
        base=base,
        quote=quote,
        tick=Decimal(tick),
        lot=Decimal("0.00000001"),
        min_qty=Decimal("0.00000001"),
        max_qty=Decimal(largest),
        min_notional=Decimal(smallest),
        maker_fee=Decimal("0.006"),
        taker_fee=Decimal("0.012"),
        fee_mode="quote",
        max_orders=500,
    )
    for base, quote, tick, largest, smallest in (
        ("BTC", "USDT", "0.01", "400", "1"),
        ("ETH", "USDT", "0.01", "6200", "1"),
        ("ETH", "BTC", "0.000001", "6100", "0.00001"),
    )
]

T = TypeVar("T")
Fields = Mapping[str, str]


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

    def free_in_s(self, now: float) -> float:
        """How long until the oldest one counts no more."""
        return max(0.0, self._times[0] + self.seconds - now) if self._times else 0.0


class Coinbase:
    """One Coinbase. Keeps the limits."""

    def __init__(self, exchange: Exchange, *, limited: bool = True) -> None:
        self.exchange = exchange
        self.limited = limited
        self.tokens = Tokens(exchange.keys)
        self._windows: dict[tuple[str, str], Window] = {}  # (what is limited, whose) -> its limit
        get, post = "GET", "POST"
        self._public: dict[str, Callable[[Request, Fields], Any]] = {
            f"{V3}/time": self._time,
            f"{V3}/market/products": self._products,
            f"{V3}/market/product_book": self._book,
            f"{V2}/time": self._old_time,
            f"{V2}/currencies": self._fiat,
            f"{V2}/currencies/crypto": self._crypto,
            f"{V2}/exchange-rates": self._rates,
        }
        # (method, path) -> (permission, what answers)
        self._private: dict[tuple[str, str], tuple[str, Callable[[Request, Fields, Key], Any]]] = {
            (post, f"{V3}/orders"): ("trade", self._create),
            (post, f"{V3}/orders/batch_cancel"): ("trade", self._cancel),
            (post, f"{V3}/orders/edit"): ("trade", self._edit),
            (get, f"{V3}/orders/historical/batch"): ("read", self._orders),
            (get, f"{V3}/orders/historical/fills"): ("read", self._fills),
            (get, f"{V3}/accounts"): ("read", self._accounts),
            (get, f"{V3}/transaction_summary"): ("read", self._summary),
            (get, f"{V3}/key_permissions"): ("", self._powers),
            (get, f"{V3}/portfolios"): ("read", self._portfolios),
            (get, f"{V3}/products"): ("read", lambda request, fields, key: self._products(request, fields)),
            (get, f"{V3}/product_book"): ("read", lambda request, fields, key: self._book(request, fields)),
            (get, f"{V3}/best_bid_ask"): ("read", self._best),
            (get, f"{V2}/accounts"): ("read", self._old_accounts),
        }

    # What the wire calls

    def kind(self, request: Request) -> str:
        path = request.path
        if path in KINDS:
            if path == f"{V3}/orders/historical/batch":
                asked = dict(parse_qsl(request.query)).get("order_status")
                return dialect.OPEN_ORDERS if asked == "OPEN" else dialect.CLOSED_ORDERS
            return KINDS[path]
        if path.startswith(f"{V3}/orders/historical/"):
            return dialect.FETCH
        if path.startswith((f"{V3}/market/products/", f"{V3}/products/")):
            return dialect.MARKET_DATA
        return dialect.TRANSFERS if path.startswith(f"{V2}/accounts/") else dialect.OTHER

    def handle(self, request: Request) -> Response:
        head: dict[str, str] = {}
        old = request.path.startswith(f"{V2}/")
        try:
            return Response(body=self._route(request, head), headers=head)
        except Unauthorized:
            if old:
                return _refusal(Refused(401, "authentication_error", "invalid signature"), head, old)
            return Response(status=401, body="Unauthorized\n", headers={**head, "Content-Type": "text/plain"})
        except Refused as refusal:
            return _refusal(refusal, head, old)
        except Reject as reject:
            answer = words.failed(reject)
            refusal = answer if isinstance(answer, Refused) else invalid(reject.message)
            return _refusal(refusal, head, old)

    def open_session(self, request: Request, send: Send) -> dialect.Session | None:
        return Streams(self, send, request) if request.path in ("", "/") else None

    def rate_limited(self, request: Request, banned: bool) -> Response:
        # Coinbase is not known to ban; whoever goes on is told the same.
        return _refusal(_too_many(), {}, request.path.startswith(f"{V2}/"))

    def failure(self, status: int) -> Response:
        error = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND"}
        refusal = Refused(status, error.get(status, "INTERNAL"), "Internal server error")
        return _refusal(_too_many() if status == 429 else refusal, {}, False)

    def allowed(self, what: str, whose: str, limit: int, seconds: float, now: float) -> Window | None:
        """Count something that is limited; None when there was too much of it."""
        window = self._windows.setdefault((what, whose), Window(limit, seconds))
        return window if window.add(now) or not self.limited else None

    def _count(
        self, what: str, whose: str, limit: int, seconds: float, now: float, head: dict[str, str]
    ) -> None:
        window = self.allowed(what, whose, limit, seconds, now)
        counted = window or self._windows[what, whose]
        # The headers are those that the official client knows.
        head["x-ratelimit-limit"] = str(counted.limit)
        head["x-ratelimit-remaining"] = str(max(0, counted.left()))
        head["x-ratelimit-reset"] = str(int(counted.free_in_s(now)) + 1)
        if window is None:
            raise _too_many()

    def _route(self, request: Request, head: dict[str, str]) -> Any:
        path, method, now = request.path, request.method, request.now
        public = self._public.get(path) or self._public_of_product(path)
        if public is not None:
            if method != "GET":
                raise _no_route(request)
            if path.startswith(f"{V3}/"):
                self._count("public", request.remote, PUBLIC_PER_S, 1.0, now, head)
            if not path.endswith("/time"):
                self._check_open()
            return public(request, dict(parse_qsl(request.query)))
        permission, act = self._private.get((method, path)) or self._private_of_one(method, path)
        if act is None:
            raise _no_route(request)
        key = self._owner(request)
        if path.startswith(f"{V2}/"):
            self._count("old", key.api_key, V2_PER_HOUR, 3600.0, now, head)
        else:
            self._count("private", key.account, PRIVATE_PER_S, 1.0, now, head)
        if permission and permission not in key.permissions:
            raise Refused(403, "PERMISSION_DENIED", "Missing required scopes")
        self._check_open()
        return act(request, dict(parse_qsl(request.query)), key)

    def _public_of_product(self, path: str) -> Callable[[Request, Fields], Any] | None:
        match (
            path.removeprefix(f"{V3}/market/products/").split("/") if f"{V3}/market/products/" in path else []
        ):
            case [name]:
                return lambda request, fields: self.product(self.market(name), request.now)
            case [name, "ticker"]:
                return lambda request, fields: self._trades(self.market(name), request, fields)
        return None

    def _private_of_one(
        self, method: str, path: str
    ) -> tuple[str, Callable[[Request, Fields, Key], Any] | None]:
        """Find what answers where the path names a thing."""
        if method == "GET" and path.startswith((f"{V3}/", f"{V2}/")):
            match path.removeprefix(V3).removeprefix(V2).strip("/").split("/"):
                case ["orders", "historical", name]:
                    return "read", lambda request, fields, key: self._order(request, name, key)
                case ["products", name]:
                    return "read", lambda request, fields, key: self.product(self.market(name), request.now)
                case ["products", name, "ticker"]:
                    return "read", lambda request, fields, key: self._trades(
                        self.market(name), request, fields
                    )
                case ["accounts", name] if path.startswith(V3):
                    return "read", lambda request, fields, key: self._account(request, name, key)
                case ["accounts", name, "transactions" | "deposits" | "withdrawals" as what]:
                    return "read", lambda request, fields, key: self._moves(request, name, what, fields, key)
        return "", None

    def _check_open(self) -> None:
        if self.exchange.mode == records.MAINTENANCE_MODE:
            raise Refused(503, "UNAVAILABLE", "Service unavailable")

    def _owner(self, request: Request) -> Key:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer":
            raise Unauthorized
        uris = uris_of(request.method, request.headers.get("host", ""), request.path)
        return self.tokens.check(token, request.clock, uris)

    def account(self, key: Key) -> Account:
        """The account of a key."""
        return self.exchange.accounts[key.account]

    def owner_name(self, account: str) -> str:
        """Coinbase's id of a user: a UUID."""
        return words.wallet_name(account, "user")

    def market(self, name: object) -> Market:
        """Find the market of a product."""
        for market in self.exchange.markets.values():
            if product_name(market) == name:
                return market
        raise Refused(404, "NOT_FOUND", "valid product_id is required")

    # Public answers

    def _time(self, request: Request, fields: Fields) -> Any:
        return {
            "iso": words.whole_stamp(request.clock),
            "epochSeconds": str(int(request.clock)),
            "epochMillis": str(int(request.clock * 1000)),
        }

    def _old_time(self, request: Request, fields: Fields) -> Any:
        return {"data": {"iso": words.whole_stamp(request.clock), "epoch": int(request.clock)}}

    def _fiat(self, request: Request, fields: Fields) -> Any:
        listed = wallets.currencies(self.exchange, {})
        return {"data": [{"id": c, "name": c, "min_size": "0.01"} for c in listed if c in wallets.FIAT]}

    def _crypto(self, request: Request, fields: Fields) -> Any:
        rows = [
            {
                "asset_id": words.wallet_name("asset", currency),
                "code": currency,
                "name": currency,
                "color": "#000000",
                "sort_index": 100,
                "exponent": 8,
                "type": "crypto",
            }
            for currency in wallets.currencies(self.exchange, {})
            if currency not in wallets.FIAT
        ]
        return {"data": rows}

    def _rates(self, request: Request, fields: Fields) -> Any:
        rates = {}
        for currency in wallets.currencies(self.exchange, {}):
            value = self.dollars(currency)
            if value:
                rates[currency] = text((1 / value).quantize(Decimal("0.000000000001")))
        return {"data": {"currency": fields.get("currency", "USD"), "rates": rates}}

    def dollars(self, currency: str) -> Decimal:
        """What one of it was worth when last traded for dollars; nothing when it never was."""
        if currency in DOLLARS:
            return Decimal(1)
        for market in self.exchange.markets.values():
            if market.base == currency and market.quote in DOLLARS:
                return self.exchange.last_price(market.symbol) or ZERO
        return ZERO

    def _products(self, request: Request, fields: Fields) -> Any:
        """https://docs.cdp.coinbase.com/api-reference/advanced-trade-api/rest-api/products/list-products"""
        chosen = list(self.exchange.markets.values())
        if fields.get("product_type", "SPOT") != "SPOT":
            chosen = []
        named = [value for name, value in parse_qsl(request.query) if name == "product_ids"]
        if named:
            chosen = [market for market in chosen if product_name(market) in named]
        rows = [self.product(market, request.now) for market in chosen]
        return {"products": rows, "num_products": len(rows), "pagination": None}

    def product(self, market: Market, now: float) -> dict[str, Any]:
        """A market as the list of products tells it."""
        mode = self.exchange.mode_of(market.symbol)
        figures = self.figures(market)
        bid, ask = (self.exchange.best(market.symbol, side, now) for side in BOTH)
        name = product_name(market)
        return {
            "product_id": name,
            "price": figures["price"],
            "price_percentage_change_24h": figures["change"],
            "volume_24h": figures["volume"],
            "volume_percentage_change_24h": "0",
            "base_increment": text(market.lot),
            "quote_increment": text(words.quote_step(market)),
            "quote_min_size": text(market.min_notional),
            "quote_max_size": "10000000",
            "base_min_size": text(market.min_qty),
            "base_max_size": text(market.max_qty),
            "base_name": market.base,
            "quote_name": market.quote,
            "watched": False,
            "is_disabled": False,
            "new": False,
            "status": "online",
            "cancel_only": mode == records.CANCEL_ONLY_MODE,
            "limit_only": False,
            "post_only": mode == records.POST_ONLY_ONLY_MODE,
            "trading_disabled": mode in (records.HALT, records.CANCEL_ONLY_MODE, records.MAINTENANCE_MODE),
            "auction_mode": False,
            "product_type": "SPOT",
            "quote_currency_id": market.quote,
            "base_currency_id": market.base,
            "fcm_trading_session_details": None,
            "mid_market_price": text((bid[0] + ask[0]) / 2) if bid and ask else "",
            "alias": "",
            "alias_to": [],
            "base_display_symbol": market.base,
            "quote_display_symbol": market.quote,
            "view_only": False,
            "price_increment": text(market.tick),
            "display_name": name,
            "product_venue": "CBE",
            "approximate_quote_24h_volume": figures["turnover"],
            "new_at": "2023-01-01T00:00:00Z",
            "market_cap": "",
            "base_cbrn": "",
            "quote_cbrn": "",
            "product_cbrn": "",
            "icon_color": "",
            "icon_url": "",
            "display_name_overwrite": "",
            "is_alpha_testing": False,
            "about_description": "",
            "best_bid_price": text(bid[0]) if bid else "",
            "best_ask_price": text(ask[0]) if ask else "",
            "high_24h": figures["high"],
            "low_24h": figures["low"],
        }

    def figures(self, market: Market) -> dict[str, str]:
        """Figures over recent trades, where Coinbase looks back 24 hours."""
        trades = self.exchange.recent_trades(market.symbol, 1000)
        prices = [trade.price for trade in trades] or [ZERO]
        change = (prices[-1] / prices[0] - 1) * 100 if prices[0] else ZERO
        return {
            "price": text(prices[-1]) if trades else "",
            "change": text(change.quantize(Decimal("0.00000001"))),
            "high": text(max(prices)),
            "low": text(min(prices)),
            "volume": text(sum((trade.quantity for trade in trades), ZERO)),
            "turnover": text(sum((trade.price * trade.quantity for trade in trades), ZERO)),
        }

    def _book(self, request: Request, fields: Fields) -> Any:
        market = self.market(fields.get("product_id"))
        limit = _count(fields, "limit", 10**6, 10**6)
        depth = self.exchange.depth(market.symbol, limit, now=request.now)
        bid, ask = (levels[0][0] if levels else ZERO for levels in (depth.bids, depth.asks))
        mid, spread = (bid + ask) / 2, ask - bid
        last = self.exchange.last_price(market.symbol) or ZERO
        return {
            "pricebook": {
                "product_id": product_name(market),
                "bids": [{"price": text(price), "size": text(size)} for price, size in depth.bids],
                "asks": [{"price": text(price), "size": text(size)} for price, size in depth.asks],
                "time": stamp(request.now),
            },
            "last": text(last),
            "mid_market": text(mid),
            "spread_bps": text((spread / mid * 10000).quantize(Decimal("0.000000000001"))) if mid else "0",
            "spread_absolute": text(spread),
        }

    def _best(self, request: Request, fields: Fields, key: Key) -> Any:
        named = [value for name, value in parse_qsl(request.query) if name == "product_ids"]
        books = []
        for market in self.exchange.markets.values():
            if not named or product_name(market) in named:
                books.append(self._book(request, {"product_id": product_name(market), "limit": "1"}))
        return {"pricebooks": [book["pricebook"] for book in books]}

    def _trades(self, market: Market, request: Request, fields: Fields) -> Any:
        limit = _count(fields, "limit", 100, 1000)
        bid, ask = (self.exchange.best(market.symbol, side, request.now) for side in BOTH)
        rows = [
            {**trade_row(market, trade), "bid": "", "ask": "", "exchange": "coinbase"}
            for trade in reversed(self.exchange.recent_trades(market.symbol, limit))
        ]
        return {
            "trades": rows,
            "best_bid": text(bid[0]) if bid else "",
            "best_ask": text(ask[0]) if ask else "",
        }

    # Money

    def _accounts(self, request: Request, fields: Fields, key: Key) -> Any:
        return wallets.wallets(self.exchange, self.account(key), self._owned(request, key), fields)

    def _account(self, request: Request, name: str, key: Key) -> Any:
        account, owned = self.account(key), self._owned(request, key)
        currency = wallets.currency_of(self.exchange, account, owned, name)
        return {"account": wallets.wallet(account, currency, owned)}

    def _old_accounts(self, request: Request, fields: Fields, key: Key) -> Any:
        return wallets.old_wallets(self.exchange, self.account(key), self._owned(request, key), fields)

    def _moves(self, request: Request, name: str, what: str, fields: Fields, key: Key) -> Any:
        account, owned = self.account(key), self._owned(request, key)
        currency = wallets.currency_of(self.exchange, account, owned, name)
        return wallets.transactions(account, currency, what, fields, request.path)

    def _owned(self, request: Request, key: Key) -> wallets.Owned:
        return self.exchange.balances(self.account(key), request.view.balances_as_of)

    def _summary(self, request: Request, fields: Fields, key: Key) -> Any:
        """One tier for the whole account: .../rest-api/fees/get-transaction-summary"""
        fills = self.account(key).fills
        volume = sum((fill.quote_quantity for fill in fills), ZERO)
        fees = sum((fill.fee for fill in fills), ZERO)
        market = next(iter(self.exchange.markets.values()))
        return {
            "total_volume": float(volume),
            "total_fees": float(fees),
            "fee_tier": {
                "pricing_tier": "Advanced 1",
                "usd_from": "0",
                "usd_to": "1000",
                "taker_fee_rate": text(market.taker_fee),
                "maker_fee_rate": text(market.maker_fee),
                "aop_from": "",
                "aop_to": "",
            },
            "margin_rate": None,
            "goods_and_services_tax": None,
            "advanced_trade_only_volume": float(volume),
            "advanced_trade_only_fees": float(fees),
            "coinbase_pro_volume": 0,
            "coinbase_pro_fees": 0,
            "total_balance": "",
            "has_promo_fee": False,
        }

    def _powers(self, request: Request, fields: Fields, key: Key) -> Any:
        # .../rest-api/data-api/get-api-key-permissions
        return {
            "can_view": "read" in key.permissions,
            "can_trade": "trade" in key.permissions,
            "can_transfer": "withdraw" in key.permissions,
            "portfolio_uuid": words.wallet_name(key.account, "portfolio"),
            "portfolio_type": "DEFAULT",
        }

    def _portfolios(self, request: Request, fields: Fields, key: Key) -> Any:
        uuid = words.wallet_name(key.account, "portfolio")
        return {"portfolios": [{"name": "Default", "uuid": uuid, "type": "DEFAULT", "deleted": False}]}

    # New orders

    def _create(self, request: Request, fields: Fields, key: Key) -> Any:
        """https://docs.cdp.coinbase.com/api-reference/advanced-trade-api/rest-api/orders/create-order"""
        asked = _body(request)
        client_id = asked.get("client_order_id")
        if not isinstance(client_id, str) or not 0 < len(client_id) <= CLIENT_ID_MOST:
            raise invalid("client_order_id is invalid")
        there = self.account(key).by_client_id.get(client_id)
        try:
            order = there[-1] if there else self._place(asked, client_id, key, request.now)
        except Failed as failed:
            error, message, preview = failed.failure
            return {
                "success": False,
                "failure_reason": words.UNSPECIFIED,
                "order_id": "",
                "error_response": {
                    "error": error,
                    "message": message,
                    "error_details": failed.details,
                    "preview_failure_reason": preview,
                    "new_order_failure_reason": error,
                },
                "order_configuration": asked.get("order_configuration"),
            }
        return {
            "success": True,
            "failure_reason": words.UNSPECIFIED,
            "order_id": order_name(order.order_id),
            "success_response": {
                "order_id": order_name(order.order_id),
                "product_id": product_name(self.exchange.markets[order.symbol]),
                "side": order.side.upper(),
                "client_order_id": client_id,
                "attached_order_id": "",
            },
            "order_configuration": asked.get("order_configuration"),
        }

    def _place(self, asked: Mapping[str, Any], client_id: str, key: Key, now: float) -> Order:
        try:
            market = self.market(asked.get("product_id"))
        except Refused as error:
            raise Failed(words.BAD_PRODUCT) from error
        if asked.get("side") not in ("BUY", "SELL"):
            raise Failed(words.BAD_SIDE)
        side: records.Side = "buy" if asked["side"] == "BUY" else "sell"
        wanted = orders.wanted_of(asked.get("order_configuration"), market)
        last = self.exchange.last_price(market.symbol)
        if wanted.trigger is not None and last is not None:
            # A stop that is met already is a mistake, not an order.
            if wanted.trigger.rising and wanted.trigger.price <= last:
                raise Failed(words.STOP_BELOW)
            if not wanted.trigger.rising and wanted.trigger.price >= last:
                raise Failed(words.STOP_ABOVE)
        if wanted.trigger is not None and wanted.price is not None:
            # Nor is one whose limit is on the near side of its stop.
            if side == "buy" and wanted.trigger.price > wanted.price:
                raise Failed(words.STOP_ABOVE_LIMIT)
            if side == "sell" and wanted.trigger.price < wanted.price:
                raise Failed(words.STOP_BELOW_LIMIT)
        if wanted.expires_at is not None and wanted.expires_at <= now:
            raise Failed(words.BAD_END)
        if wanted.order_type == "market":
            opposite: records.Side = "sell" if side == "buy" else "buy"
            if self.exchange.best(market.symbol, opposite, now) is None:
                raise Failed(words.NO_LIQUIDITY)
        try:
            return self.exchange.create_order(
                self.account(key),
                market.symbol,
                side,
                wanted.order_type,
                wanted.base_size,
                wanted.price,
                quote_quantity=wanted.quote_size,
                time_in_force=wanted.time_in_force,
                post_only=wanted.post_only,
                client_order_id=client_id,
                trigger=wanted.trigger,
                expires_at=wanted.expires_at,
                now=now,
            )
        except Reject as reject:
            raise words.failed(reject) from reject

    def _edit(self, request: Request, fields: Fields, key: Key) -> Any:
        """Change a limit order that is good till cancelled; it keeps its numbers, and a history of this.

        Both size and price are said anew: one that is left out counts as nothing, and is refused as such.
        https://docs.cdp.coinbase.com/api-reference/advanced-trade-api/rest-api/orders/edit-order and, for
        what is left out, https://nautilustrader.io/docs/latest/integrations/coinbase (order modification)
        """
        asked = _body(request)
        number = order_number(asked.get("order_id"))
        order = None if number is None else self.account(key).orders.get(number)
        try:
            if order is None:
                raise Reject(records.UNKNOWN_ORDER, "no such order of this account")
            if not orders.configuration_of(order)[0].endswith("limit_gtc"):
                return _not_edited(("ONLY_LIMIT_ORDER_EDITS_SUPPORTED", words.PREVIEW_UNSPECIFIED))
            size, price = _decimal(asked, "size"), _decimal(asked, "price")
            if size is None or price is None:
                raise Reject(records.LOT_SIZE if size is None else records.PRICE_FILTER, "left out")
            self.exchange.amend_order(
                self.account(key), order.order_id, quantity=size, price=price, now=request.now
            )
        except Reject as reject:
            if reject.reason == records.MAINTENANCE:
                raise
            commander = ("COMMANDER_REJECTED_EDIT_ORDER", words.PREVIEW_UNSPECIFIED)
            return _not_edited(words.EDIT_FAILURES.get(reject.reason, commander))
        return {"success": True, "success_response": {"order_id": order_name(order.order_id)}, "errors": []}

    # Cancelling

    def _cancel(self, request: Request, fields: Fields, key: Key) -> Any:
        """https://docs.cdp.coinbase.com/api-reference/advanced-trade-api/rest-api/orders/cancel-orders"""
        names = _body(request).get("order_ids")
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise invalid("order_ids is required")
        if len(names) > CANCELS_MOST:
            raise invalid(f"number of order_ids must be at most {CANCELS_MOST}")
        return {"results": [self._cancel_one(name, key, request.now) for name in names]}

    def _cancel_one(self, name: str, key: Key, now: float) -> Any:
        number = order_number(name)
        try:
            if number is None:
                raise Reject(records.UNKNOWN_ORDER, "no such order of this account")
            self.exchange.cancel_order(self.account(key), number, now=now)
        except Reject as reject:
            if reject.reason == records.MAINTENANCE:
                raise
            return {"success": False, "failure_reason": "UNKNOWN_CANCEL_ORDER", "order_id": name}
        return {"success": True, "failure_reason": "UNKNOWN_CANCEL_FAILURE_REASON", "order_id": name}

    # Asking for orders and fills

    def record(self, order: Order) -> dict[str, Any]:
        """The order as REST tells it."""
        return orders.record(order, self.exchange.markets[order.symbol], self.owner_name(order.account))

    def _order(self, request: Request, name: str, key: Key) -> Any:
        number, view = order_number(name), request.view
        account = self.account(key)
        found = None
        if number is not None:
            found = self.exchange.find_order(account, number, as_of=view.orders_as_of)
        if found is None or (view.hide_closed and not found.open):
            raise Refused(404, "NOT_FOUND", "order with this orderID was not found")
        return {"order": self.record(found)}

    def _orders(self, request: Request, fields: Fields, key: Key) -> Any:
        """https://docs.cdp.coinbase.com/api-reference/advanced-trade-api/rest-api/orders/list-orders"""
        many = _many(request)
        statuses = many("order_status")
        if any(status not in STATUSES for status in statuses):
            raise invalid("order_status is invalid")
        if "OPEN" in statuses and len(set(statuses)) > 1:
            raise invalid("OPEN orders cannot be queried with other statuses")
        if fields.get("product_type", "SPOT") != "SPOT":
            return {"orders": [], "sequence": "0", "has_next": False, "cursor": ""}
        products = many("product_ids") + many("product_id")
        names = many("order_ids")
        start, end = _span(fields, "start_date", "end_date")
        chosen = [
            order
            for order in self.exchange.all_orders(self.account(key), as_of=request.view.orders_as_of)
            if (order.open or not request.view.hide_closed)
            and (not statuses or orders.status_of(order, order.status) in statuses)
            and (not products or product_name(self.exchange.markets[order.symbol]) in products)
            and (not names or order_name(order.order_id) in names)
            and fields.get("order_side", order.side.upper()) == order.side.upper()
            and start <= order.created_at < end
        ]
        page, more, cursor = _page(
            chosen, lambda order: (order.created_at, order.order_id), fields, ORDERS_MOST, ORDERS_MOST
        )
        return {
            "orders": [self.record(order) for order in page],
            "sequence": "0",
            "has_next": more,
            "cursor": cursor if more else "",
        }

    def _fills(self, request: Request, fields: Fields, key: Key) -> Any:
        """https://docs.cdp.coinbase.com/api-reference/advanced-trade-api/rest-api/orders/list-fills"""
        many = _many(request)
        products = many("product_ids") + many("product_id")
        names = many("order_ids") + many("order_id")
        account = self.account(key)
        start, end = _span(fields, "start_sequence_timestamp", "end_sequence_timestamp")
        chosen = [
            fill
            for fill in self.exchange.my_trades(account, as_of=request.view.orders_as_of)
            if (not products or product_name(self.exchange.markets[fill.symbol]) in products)
            and (not names or order_name(fill.order_id) in names)
            and start <= fill.time <= end
        ]
        # A page that is not the last one and one that is look the same: there is a cursor behind either.
        page, _, cursor = _page(
            chosen, lambda fill: (fill.time, fill.trade_id), fields, FILLS_DEFAULT, ORDERS_MOST
        )
        return {"fills": [self.fill_row(account.orders[one.order_id], one) for one in page], "cursor": cursor}

    def fill_row(self, order: Order, fill: Fill) -> dict[str, Any]:
        """One fill; the size of an order by quote size is in quote too."""
        by_quote = order.quote_quantity is not None
        return {
            "entry_id": fill_name(fill.trade_id, fill.order_id).replace("-", "") * 2,
            "trade_id": fill_name(fill.trade_id, fill.order_id),
            "order_id": order_name(fill.order_id),
            "trade_time": stamp(fill.time),
            "trade_type": "FILL",
            "price": text(fill.price),
            "size": text(fill.quote_quantity if by_quote else fill.quantity),
            "commission": text(fill.fee),
            "product_id": product_name(self.exchange.markets[fill.symbol]),
            "sequence_timestamp": stamp(fill.time),
            "liquidity_indicator": fill.liquidity.upper(),
            "size_in_quote": by_quote,
            "user_id": self.owner_name(fill.account),
            "side": fill.side.upper(),
            "retail_portfolio_id": "",
        }


KINDS = {
    f"{V3}/time": dialect.TIME,
    f"{V2}/time": dialect.TIME,
    f"{V3}/market/products": dialect.MARKETS,
    f"{V3}/products": dialect.MARKETS,
    f"{V2}/currencies": dialect.MARKETS,
    f"{V2}/currencies/crypto": dialect.MARKETS,
    f"{V3}/market/product_book": dialect.MARKET_DATA,
    f"{V3}/product_book": dialect.MARKET_DATA,
    f"{V3}/best_bid_ask": dialect.MARKET_DATA,
    f"{V3}/orders": dialect.CREATE,
    f"{V3}/orders/edit": dialect.AMEND,
    f"{V3}/orders/batch_cancel": dialect.CANCEL,
    f"{V3}/orders/historical/batch": dialect.CLOSED_ORDERS,
    f"{V3}/orders/historical/fills": dialect.MY_TRADES,
    f"{V3}/accounts": dialect.BALANCE,
    f"{V2}/accounts": dialect.BALANCE,
    f"{V3}/transaction_summary": dialect.FEES,
}


def _body(request: Request) -> Mapping[str, Any]:
    try:
        asked = json.loads(request.form, parse_float=str)
    except ValueError as error:
        raise invalid("the body is not JSON") from error
    if not isinstance(asked, dict):
        raise invalid("the body is not an object")
    return asked


def _decimal(asked: Mapping[str, Any], name: str) -> Decimal | None:
    given = asked.get(name)
    if given in (None, ""):
        return None
    try:
        value = Decimal(str(given))
    except ArithmeticError as error:
        raise invalid(f"{name} is not a number") from error
    if not value.is_finite() or value <= 0:
        raise invalid(f"{name} is not a number")
    return value


def _many(request: Request) -> Callable[[str], list[str]]:
    """Give what was said under a name, each time it was said."""
    pairs = parse_qsl(request.query)
    return lambda wanted: [value for name, value in pairs if name == wanted]


def _span(fields: Fields, first: str, last: str) -> tuple[float, float]:
    times = []
    for name, otherwise in ((first, 0.0), (last, float("inf"))):
        moment: float | None = otherwise
        if fields.get(name):
            moment = read_stamp(fields[name])
        if moment is None:
            raise invalid(f"{name} is not a time")
        times.append(moment)
    return times[0], times[1]


def _page(
    rows: Sequence[T],
    place: Callable[[T], tuple[float, int]],
    fields: Fields,
    default: int,
    most: int,
) -> tuple[list[T], bool, str]:
    """One page, newest first, whether there is more, and where that begins."""
    limit = _count(fields, "limit", default, most)
    ordered = sorted(rows, key=place, reverse=True)
    if fields.get("cursor"):
        if not fields["cursor"].isascii() or not fields["cursor"].isdigit():
            raise invalid("cursor is invalid")
        ordered = [row for row in ordered if place(row)[1] < int(fields["cursor"])]
    page = ordered[:limit]
    return page, len(ordered) > limit, str(place(page[-1])[1]) if page else ""


def _count(fields: Fields, name: str, default: int, most: int) -> int:
    given = fields.get(name, str(default))
    if not given.isascii() or not given.isdigit() or not 1 <= int(given) <= most:
        raise invalid(f"{name} is invalid")
    return int(given)


def _not_edited(reasons: tuple[str, str]) -> Any:
    edit, preview = reasons
    return {
        "success": False,
        "errors": [{"edit_failure_reason": edit, "preview_failure_reason": preview}],
    }


def _no_route(request: Request) -> Refused:
    return Refused(404, "NOT_FOUND", f"the simulator has nothing at {request.method} {request.path}")


def _too_many() -> Refused:
    return Refused(429, "rate_limit_exceeded", "Too many requests")


def _refusal(refusal: Refused, head: Mapping[str, str], old: bool) -> Response:
    body: dict[str, Any]
    if old:
        body = {"errors": [{"id": refusal.error.lower(), "message": refusal.message}]}
    else:
        body = {"error": refusal.error, "error_details": refusal.message, "message": refusal.message}
    return Response(status=refusal.status, body=body, headers=head)
