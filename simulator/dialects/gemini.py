"""Gemini spot: names, signatures, limits and the REST API. The WebSockets are in `gemini_streams`.

What is true here and elsewhere surprises:

1. A private request carries nothing in its body. Its parameters are base64 JSON in a header, together with
   the path and a nonce, and the signature is of that text.
2. A nonce is used up when the signature is right, whatever the answer. A later request with a smaller one is
   refused, so a request that was held up on its way does no harm once another has been answered.
3. There are no market orders. An order is `exchange limit` with at most one option, or a stop-limit with
   none. An option that cannot be kept is no refusal: the order is accepted, and the answer says that it has
   been cancelled.
4. `client_order_id` is not unique: the same one twice is two orders.
5. `tick_size` is the step of a quantity, `quote_increment` that of a price.
6. To cancel an order that was cancelled before succeeds. One that was filled is shown as it is.
7. An order that would meet one of its own account is cancelled itself (`SelfCrossPrevented`).
8. `event_id` and `tid` of a trade are two numbers, and order events name the former.

Not here: auctions, perpetuals, margin, clearing, candles, the 5 % price limits, and the
newer WebSocket of ws.gemini.com. Five requests too many a second are answered at once, not queued.

Pages: https://docs.gemini.com/rest/orders, /rest/market-data, /authentication/api-key, /rate-limit,
/error-codes.
"""

import base64
import hmac
import json
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import formatdate
from typing import Any, Literal
from urllib.parse import parse_qs
from weakref import WeakSet

from ems.core.book import crosses
from simulator import records
from simulator.dialects import dialect
from simulator.dialects.dialect import Request, Response, Send
from simulator.dialects.gemini_streams import MarketData, OrderEvents
from simulator.dialects.gemini_words import (
    SELF_CROSS,
    TROUBLE,
    WOULD_TAKE,
    Bucket,
    Refused,
    Wanted,
    average,
    bps_of,
    cancel_reason,
    count_of,
    error,
    is_true,
    ms,
    name_of,
    options_of,
    page,
    priced,
    refusal,
    signature,
    tid,
    time_of,
    too_often,
    unavailable,
    wanted_of,
)
from simulator.exchange import Exchange
from simulator.records import ZERO, Account, Fill, Key, Market, Order, Reject, text

ORDER_EVENTS = "/v1/order/events"
MARKET_DATA = "/v2/marketdata"

HEARTBEAT_S = 30.0  # https://docs.gemini.com/authentication/api-key#require-heartbeat

# Requests per second, and as many more that Gemini queues: https://docs.gemini.com/rate-limit
PUBLIC_RATE = 2.0
PRIVATE_RATE = 10.0
QUEUED = 5.0
RETRY_AFTER_S = 1
# Answered 348 times within six seconds without a refusal (recorded on 2026-08-09).
UNLIMITED = ("/v1/symbols",)


# Our permission -> Gemini's role: https://docs.gemini.com/roles
ROLES = {"read": "Auditor", "trade": "Trader", "withdraw": "FundManager"}

# Mode of the exchange or a market -> what the details of a symbol say.
STATUS = {
    records.TRADING: "open",
    records.HALT: "closed",
    records.CANCEL_ONLY_MODE: "cancel_only",
    records.POST_ONLY_ONLY_MODE: "post_only",
    records.MAINTENANCE_MODE: "closed",
}


# Steps and smallest orders as /v1/symbols/details listed them on 2026-08-09; the lowest tier's fees of the
# API: https://www.gemini.com/fees/api-fee-schedule
MARKETS = [
    Market(
        symbol=f"{base}/{quote}",
        base=base,
        quote=quote,
        tick=Decimal(tick),
        lot=Decimal(lot),
        min_qty=Decimal(smallest),
        maker_fee=Decimal("0.002"),
        taker_fee=Decimal("0.004"),
        fee_mode="quote",
        max_orders=10**6,  # no limit is documented
    )
    for base, quote, tick, lot, smallest in (
        ("BTC", "USD", "0.01", "0.00000001", "0.00001"),
        ("BTC", "USDT", "0.01", "0.00000001", "0.00001"),
        ("ETH", "USD", "0.01", "0.000001", "0.001"),
        ("ETH", "USDT", "0.01", "0.000001", "0.001"),
        ("ETH", "BTC", "0.00001", "0.000001", "0.001"),
        ("SOL", "USD", "0.001", "0.000001", "0.001"),
    )
]


class Gemini:
    """One Gemini. Keeps nonces, limits, sessions, and the orders that never reached the book.

    `require_heartbeat` names the API keys whose orders are cancelled when nothing is heard of them for 30 s.
    """

    def __init__(
        self, exchange: Exchange, *, limited: bool = True, require_heartbeat: Collection[str] = ()
    ) -> None:
        self.exchange = exchange
        exchange.client_ids = "none"
        self.limited = limited
        self.require_heartbeat = frozenset(require_heartbeat)
        self.listeners: WeakSet[dialect.Session] = WeakSet()  # private sessions
        self._nonces: dict[str, int] = {}  # api key -> last nonce used
        self._heard: dict[str, float] = {}  # api key -> when it last said anything
        self._buckets: dict[tuple[str, str], Bucket] = {}  # ("public", address) or ("private", api key)
        self._sessions: dict[int, str] = {}  # order id -> api key that placed it
        self._placing: str | None = None  # api key of the order being placed, told of before it has an id
        self._events = 0
        self._turned_away: dict[str, list[Order]] = {}  # account -> orders cancelled before they could trade
        self._numbers: dict[int, int] = {}  # id of such an order -> its number
        self._public: dict[str, Callable[[Request, dict[str, str], str], Any]] = {
            "v1/symbols": self._symbols,
            "v1/symbols/details": self._details,
            "v1/book": self._book,
            "v1/pubticker": self._pubticker,
            "v2/ticker": self._ticker,
            "v1/trades": self._trades,
            "v1/pricefeed": self._pricefeed,
        }
        # path -> (roles one of which is needed, what answers)
        either = ("Trader", "Auditor")
        self._private: dict[str, tuple[tuple[str, ...], Callable[[Request, dict[str, Any], Key], Any]]] = {
            "/v1/order/new": (("Trader",), self._new_order),
            "/v1/order/status": (("Trader",), self._order_status),
            "/v1/order/cancel": (("Trader",), self._cancel),
            "/v1/order/cancel/all": (("Trader",), self._cancel_all),
            "/v1/order/cancel/session": (("Trader",), self._cancel_session),
            "/v1/orders": (either, self._active_orders),
            "/v1/orders/history": (either, self._past_orders),
            "/v1/mytrades": (either, self._my_trades),
            "/v1/notionalvolume": (either, self._notional_volume),
            "/v1/balances": ((*either, "FundManager"), self._balances),
            "/v1/transfers": ((*either, "FundManager"), self._transfers),
            "/v1/heartbeat": ((*either, "FundManager"), self._heartbeat),
            "/v1/roles": ((*either, "FundManager"), self._roles),
        }

    # What the wire calls

    def kind(self, request: Request) -> str:
        path = request.path.rstrip("/")
        if path in KINDS:
            return KINDS[path]
        return next((kind for start, kind in KINDS_BY_START if path.startswith(start)), dialect.OTHER)

    def handle(self, request: Request) -> Response:
        self.expire_sessions(request.now)
        try:
            response = Response(body=self._route(request))
        except Refused as refused:
            limits = {"Retry-After": str(RETRY_AFTER_S)} if refused.status == 429 else {}
            response = error(refused, limits)
        dated = {"Date": formatdate(request.clock, usegmt=True), **response.headers}
        return Response(status=response.status, body=response.body, headers=dated)

    def open_session(self, request: Request, send: Send) -> dialect.Session | Response | None:
        path = request.path.rstrip("/")
        if path == MARKET_DATA:
            return MarketData(self, send)
        if path != ORDER_EVENTS:
            return None
        try:
            key, _ = self.authenticated(request, ("Trader", "Auditor"))
        except Refused as refused:
            return error(refused)
        return OrderEvents(self, send, request, key)

    def rate_limited(self, request: Request, banned: bool) -> Response:
        return error(too_often(), {"Retry-After": str(RETRY_AFTER_S)})

    def failure(self, status: int) -> Response:
        known = {
            400: Refused("InvalidJson", "The JSON provided is invalid", 400),
            403: Refused("MissingRole", "The API key lacks a role", 403),
            404: Refused("EndpointNotFound", "API entry point was not found", 404),
            406: Refused("InsufficientFunds", "Insufficient funds", 406),
            429: too_often(),
            503: unavailable(),
        }
        return error(known.get(status, Refused("System", TROUBLE, status)))

    def _route(self, request: Request) -> Any:
        path = request.path.rstrip("/")
        if path in self._private:
            roles, act = self._private[path]
            key, payload = self.authenticated(request, roles)
            return act(request, payload, key)
        start, _, symbol = path.strip("/").rpartition("/")
        name, symbol = (start, symbol) if start in self._public else (path.strip("/"), "")
        if name not in self._public or (symbol == "") != (name in ("v1/symbols", "v1/pricefeed")):
            raise Refused("EndpointNotFound", f"API entry point `{path}` was not found", 404)
        if not path.startswith(UNLIMITED):
            self._count("public", request.remote, PUBLIC_RATE, request.now)
        self._check_open()
        query = {key: values[-1] for key, values in parse_qs(request.query, keep_blank_values=True).items()}
        return self._public[name](request, query, symbol)

    def _count(self, group: str, who: str, rate: float, now: float) -> None:
        if not self.limited:
            return
        full = rate + QUEUED
        if not self._buckets.setdefault((group, who), Bucket(full, rate, full, now)).take(now):
            raise too_often()

    def _check_open(self) -> None:
        if self.exchange.mode == records.MAINTENANCE_MODE:
            raise unavailable()

    # Keys and sessions

    def authenticated(self, request: Request, roles: tuple[str, ...]) -> tuple[Key, dict[str, Any]]:
        """Check who asks, from the headers of a request or of an upgrade."""
        for header, reason in (
            ("x-gemini-apikey", "MissingApikeyHeader"),
            ("x-gemini-payload", "MissingPayloadHeader"),
            ("x-gemini-signature", "MissingSignatureHeader"),
        ):
            if not request.headers.get(header):
                raise Refused(reason, f"Must provide '{header.upper()}' header")
        key = self.exchange.keys.get(request.headers["x-gemini-apikey"])
        if key is None or key.revoked:
            raise Refused("InvalidApiKey", "Invalid API key")
        self._count("private", key.api_key, PRIVATE_RATE, request.now)
        text = request.headers["x-gemini-payload"]
        if not hmac.compare_digest(
            signature(key.secret, text).encode(), request.headers["x-gemini-signature"].lower().encode()
        ):
            raise Refused("InvalidSignature", "InvalidSignature")
        try:
            payload = json.loads(base64.b64decode(text, validate=True))
        except ValueError as mistake:
            raise Refused("InvalidJson", "The JSON provided is invalid") from mistake
        if not isinstance(payload, dict):
            raise Refused("InvalidJson", "The JSON provided is invalid")
        path = request.path.rstrip("/")
        if payload.get("request") != path:
            told = payload.get("request")
            raise Refused("EndpointMismatch", f"EndpointMismatch: {told!r} is not {path!r}")
        self._check_nonce(key, payload)
        self._heard[key.api_key] = request.now
        self._check_account(key, payload)
        granted = [ROLES[ours] for ours in sorted(key.permissions) if ours in ROLES]
        if not set(roles) & set(granted):
            raise Refused(
                "MissingRole",
                "To access this endpoint, you need to log in to the website and go to the settings page to"
                f" assign one of these roles [{', '.join(roles)}] to API key {key.api_key} which currently"
                f" has roles [{', '.join(granted)}]",
                403,
            )
        self._check_open()
        return key, payload

    def _check_nonce(self, key: Key, payload: Mapping[str, Any]) -> None:
        told = payload.get("nonce")
        if told is None:
            raise Refused("MissingNonce", "A nonce was not provided in the payload")
        digits = str(told)
        if isinstance(told, bool) or not digits.isascii() or not digits.isdigit():
            raise Refused("InvalidNonce", f"Nonce '{digits}' is not a number")
        if int(digits) <= self._nonces.get(key.api_key, -1):
            raise Refused(
                "InvalidNonce", f"Nonce '{digits}' has not increased since your last call to the Gemini API."
            )
        self._nonces[key.api_key] = int(digits)

    def _check_account(self, key: Key, payload: Mapping[str, Any]) -> None:
        """A master key says for which account it speaks, an account key may not."""
        account = payload.get("account")
        if key.api_key.startswith("master-"):
            if account is None:
                raise Refused("MissingAccounts", "Expected a JSON payload with accounts")
            if account != key.account:
                raise Refused("InvalidAccountName", f"The specified name did not match any: '{account}'")
        elif account is not None:
            raise Refused("AccountsOnGroupOnlyApi", "The account field was specified on a non-master API key")

    def expire_sessions(self, now: float) -> None:
        """Cancel the orders of sessions that were to be heard of and were not."""
        for api_key in self.require_heartbeat:
            if now - self._heard.get(api_key, now) > HEARTBEAT_S:
                del self._heard[api_key]
                self._cancel_orders(api_key, now)

    def _cancel_orders(self, api_key: str, now: float) -> list[int]:
        account = self._account(self.exchange.keys[api_key])
        orders = [one for one in account.open.values() if self._sessions.get(one.order_id) == api_key]
        for order in orders:
            self.exchange.cancel_order(account, order.order_id, now=now)
        return [self.number(order) for order in orders]

    def _account(self, key: Key) -> Account:
        return self.exchange.accounts[key.account]

    def _heartbeat(self, request: Request, payload: Mapping[str, Any], key: Key) -> Any:
        return {"result": "ok"}

    def _roles(self, request: Request, payload: Mapping[str, Any], key: Key) -> Any:
        return {f"is{role}": ours in key.permissions for ours, role in ROLES.items()}

    # Public answers

    def market(self, name: object) -> Market | None:
        """Find a market by Gemini's name of it, in either case."""
        wanted = str(name).lower()
        return next((one for one in self.exchange.markets.values() if name_of(one) == wanted), None)

    def _listed(self, symbol: str) -> Market:
        market = self.market(symbol)
        if market is None:
            raise Refused("InvalidSymbol", f"Supplied value '{symbol}' is not a valid symbol")
        return market

    def _symbols(self, request: Request, query: Mapping[str, str], symbol: str) -> Any:
        return sorted(map(name_of, self.exchange.markets.values()))

    def _details(self, request: Request, query: Mapping[str, str], symbol: str) -> Any:
        market = self._listed(symbol)
        # The two steps are numbers, not texts; written out, as recorded.
        return (
            "{"
            f'"symbol":"{name_of(market).upper()}","quote_currency":"{market.quote}",'
            f'"tick_size":{text(market.lot)},"quote_increment":{text(market.tick)},'
            f'"min_order_size":"{text(market.min_qty)}",'
            f'"status":"{STATUS[self.exchange.mode_of(market.symbol)]}","wrap_enabled":false,'
            f'"product_type":"spot","contract_type":"vanilla","contract_price_currency":"{market.quote}",'
            f'"base_currency":"{market.base}"'
            "}"
        )

    def _book(self, request: Request, query: Mapping[str, str], symbol: str) -> Any:
        market = self._listed(symbol)
        limits = {}
        for side in ("bids", "asks"):
            told = query.get(f"limit_{side}", "50")
            if not told.isdigit():
                raise Refused("InvalidJson", f"limit_{side}: '{told}' is not a number")
            limits[side] = int(told) or None  # nought is all of it
        depth = self.exchange.depth(market.symbol, now=request.now)
        return {
            side: [
                {"price": priced(price, market), "amount": text(size), "timestamp": str(int(request.clock))}
                for price, size in levels[: limits[side]]
            ]
            for side, levels in (("bids", depth.bids), ("asks", depth.asks))
        }

    def _pubticker(self, request: Request, query: Mapping[str, str], symbol: str) -> Any:
        market = self._listed(symbol)
        trades = self.exchange.recent_trades(market.symbol, 1000)
        base = sum((trade.quantity for trade in trades), ZERO)
        quote = sum((trade.quantity * trade.price for trade in trades), ZERO)
        last = self.exchange.last_price(market.symbol)
        return {
            **self._touch(market, request.now),
            "last": priced(last or ZERO, market),
            "volume": {market.base: text(base), market.quote: text(quote), "timestamp": ms(request.clock)},
        }

    def _ticker(self, request: Request, query: Mapping[str, str], symbol: str) -> Any:
        market = self._listed(symbol)
        prices = [trade.price for trade in self.exchange.recent_trades(market.symbol, 1000)] or [ZERO]
        figures = {"open": prices[0], "high": max(prices), "low": min(prices), "close": prices[-1]}
        # The simulator keeps recent trades, not those of 24 hours.
        return {
            "symbol": name_of(market).upper(),
            **{name: priced(price, market) for name, price in figures.items()},
            "changes": [],
            **self._touch(market, request.now),
        }

    def _touch(self, market: Market, now: float) -> dict[str, str]:
        bid = self.exchange.best(market.symbol, "buy", now)
        ask = self.exchange.best(market.symbol, "sell", now)
        return {
            "bid": priced(bid[0] if bid else ZERO, market),
            "ask": priced(ask[0] if ask else ZERO, market),
        }

    def _trades(self, request: Request, query: Mapping[str, str], symbol: str) -> Any:
        market = self._listed(symbol)
        limit, since = count_of(query, "limit_trades", 50), time_of(query)
        rows = self.exchange.recent_trades(market.symbol, 1000)
        if since is not None:
            rows = [trade for trade in rows if trade.now > since]
        return [
            {
                "timestamp": int(trade.now),
                "timestampms": ms(trade.now),
                "tid": trade.trade_id,
                "price": priced(trade.price, market),
                "amount": text(trade.quantity),
                "exchange": "gemini",
                "type": trade.taker_side,
            }
            for trade in reversed(rows[-limit:] if limit else [])
        ]

    def _pricefeed(self, request: Request, query: Mapping[str, str], symbol: str) -> Any:
        rows = []
        for market in self.exchange.markets.values():
            trades = self.exchange.recent_trades(market.symbol, 1000)
            first, last = (trades[0].price, trades[-1].price) if trades else (ZERO, ZERO)
            change = (last - first) / first if first else ZERO
            rows.append(
                {
                    "pair": name_of(market).upper(),
                    "price": priced(last, market),
                    "percentChange24h": f"{change:.4f}",
                }
            )
        return rows

    # Money

    def _balances(self, request: Request, payload: Mapping[str, Any], key: Key) -> Any:
        owned = self.exchange.balances(self._account(key), request.view.balances_as_of)
        return [
            {
                "type": "exchange",
                "currency": currency,
                "amount": text(free + locked),
                "available": text(free),
                "availableForWithdrawal": text(free),
            }
            for currency, (free, locked) in owned.items()
        ]

    def _notional_volume(self, request: Request, payload: Mapping[str, Any], key: Key) -> Any:
        """Tell the account's fees: one tier for all markets, or of the one asked for."""
        market = next(iter(self.exchange.markets.values()))
        if payload.get("symbol") is not None:
            market = self._listed(str(payload["symbol"]))
        maker, taker = (bps_of(fee) for fee in (market.maker_fee, market.taker_fee))
        day = datetime.fromtimestamp(request.clock, UTC).strftime("%Y-%m-%d")
        dollars = ("USD", "USDT", "USDC", "GUSD")
        volume = sum(
            (
                fill.quote_quantity
                for fill in self._account(key).fills
                if self.exchange.markets[fill.symbol].quote in dollars
            ),
            ZERO,
        )
        by_door = {
            f"{door}_{part}_fee_bps" for door in ("web", "api", "fix") for part in ("maker", "auction")
        }
        return {
            **dict.fromkeys(sorted(by_door), maker),
            **{f"{door}_taker_fee_bps": taker for door in ("web", "api", "fix")},
            "notional_30d_volume": float(volume),
            "api_notional_30d_volume": float(volume),
            "last_updated_ms": ms(request.clock),
            "date": day,
            "notional_1d_volume": [{"date": day, "notional_volume": float(volume)}],
            "fee_tier": {"tier": "base", "api_maker_fee_bps": maker, "api_taker_fee_bps": taker},
        }

    def _transfers(self, request: Request, payload: Mapping[str, Any], key: Key) -> Any:
        since, limit = time_of(payload), count_of(payload, "limit_transfers", 10, 50)
        currency = payload.get("currency")
        found = [
            one
            for one in self._account(key).transfers
            if (since is None or one.time >= since) and currency in (None, one.currency)
        ]
        rows = []
        # Newest first; from a time on, the oldest of them.
        for one in reversed(found[-limit:] if since is None else found[:limit]):
            row: dict[str, Any] = {
                "type": "Deposit" if one.kind == "deposit" else "Withdrawal",
                "status": "Advanced" if one.kind == "deposit" else "Complete",
                "timestampms": ms(one.time),
                "eid": one.transfer_id,
                "currency": one.currency,
                "amount": text(one.amount),
            }
            if one.txid:
                row["txHash"] = one.txid
            if one.kind == "withdrawal":
                row |= {
                    "destination": one.address,
                    "feeAmount": text(one.fee),
                    "feeCurrency": one.currency,
                }
            rows.append(row)
        return rows

    # Orders

    def session_of(self, order: Order) -> str | None:
        """The API key an order was placed with."""
        return self._sessions.get(order.order_id, self._placing)

    def event_number(self) -> int:
        """Number the next order event."""
        self._events += 1
        return self._events

    def number(self, order: Order) -> int:
        """Gemini's number of an order; those that never reached the exchange have numbers between."""
        return self._numbers.get(order.order_id, order.order_id * 1000)

    def _new_order(self, request: Request, payload: Mapping[str, Any], key: Key) -> Any:
        market = self.market(payload.get("symbol"))
        if market is None:
            raise Refused("InvalidSymbol", f"Received unsupported symbol '{payload.get('symbol')}'")
        wanted = wanted_of(payload, market)
        self._placing = key.api_key
        try:
            order = self._placed(wanted, self._account(key), request.now)
            self._sessions[order.order_id] = key.api_key
        finally:
            self._placing = None
        return self.record(order)

    def _placed(self, wanted: Wanted, account: Account, now: float) -> Order:
        if wanted.stop is None and self._meets_own(wanted, account):
            return self._turn_away(wanted, account, SELF_CROSS, now)
        try:
            return self.exchange.create_order(
                account,
                wanted.market.symbol,
                wanted.side,
                "limit",
                wanted.quantity,
                wanted.price,
                time_in_force=wanted.time_in_force,
                post_only=wanted.post_only,
                client_order_id=wanted.client_order_id,
                trigger=wanted.stop,
                now=now,
            )
        except Reject as reject:
            if reject.reason == records.POST_ONLY_WOULD_CROSS:
                return self._turn_away(wanted, account, WOULD_TAKE, now)
            raise refusal(reject, wanted) from reject

    def _meets_own(self, wanted: Wanted, account: Account) -> bool:
        return any(
            one.symbol == wanted.market.symbol
            and one.side != wanted.side
            and not one.waiting
            and one.price is not None
            and crosses(wanted.side, wanted.price, one.price)
            for one in account.open.values()
        )

    def _turn_away(self, wanted: Wanted, account: Account, reason: str, now: float) -> Order:
        """Keep and tell of an order that is accepted and cancelled in one breath."""
        order = Order(
            order_id=-1 - len(self._numbers),
            client_order_id=wanted.client_order_id,
            account=account.name,
            symbol=wanted.market.symbol,
            side=wanted.side,
            order_type="limit",
            time_in_force=wanted.time_in_force,
            post_only=wanted.post_only,
            quantity=wanted.quantity,
            quote_quantity=None,
            price=wanted.price,
            created_at=now,
            updated_at=now,
            status=records.CANCELED,
            reason=reason,
            history=[(now, records.CANCELED, ZERO, ZERO)],
        )
        last = next(reversed(self.exchange.orders), 0) * 1000
        newest = max((number for number in self._numbers.values() if number > last), default=last)
        self._numbers[order.order_id] = newest + 1
        self._turned_away.setdefault(order.account, []).append(order)
        kinds: tuple[tuple[Literal["new", "canceled"], str], ...] = (
            ("new", records.SUBMITTED),
            ("canceled", records.CANCELED),
        )
        for kind, status in kinds:
            update = records.OrderUpdate(
                order=order,
                kind=kind,
                status=status,
                filled_quantity=ZERO,
                filled_quote=ZERO,
                fill=None,
                now=order.created_at,
            )
            for session in list(self.listeners):
                session.on_event(update)
        return order

    def _find(
        self, payload: Mapping[str, Any], key: Key, *, by_client_id: bool, as_of: float | None = None
    ) -> Order:
        account, told = self._account(key), payload.get("order_id")
        client_id = payload.get("client_order_id") if by_client_id else None
        if (told is None) == (client_id is None):
            raise Refused("MissingOrderField", "Expected one of 'order_id' and 'client_order_id'")
        away = self._turned_away.get(account.name, [])
        found: Order | None
        if client_id is not None:
            same = [*account.by_client_id.get(str(client_id), ()), *away]
            same = [one for one in same if one.client_order_id == client_id]
            found = next((one for one in same if one.open), None)
            found = found or max(same, key=self.number, default=None)
        else:
            number = int(str(told)) if str(told).isdigit() else -1
            found = account.orders.get(number // 1000) if number % 1000 == 0 else None
            found = found or next((one for one in away if self.number(one) == number), None)
        shown = None if found is None else found.as_of(as_of)
        if shown is None:
            raise Refused("OrderNotFound", f"Order {client_id if told is None else told} not found", 404)
        return shown

    def _order_status(self, request: Request, payload: Mapping[str, Any], key: Key) -> Any:
        order = self._find(payload, key, by_client_id=True, as_of=request.view.orders_as_of)
        if not order.open and request.view.hide_closed:
            raise Refused("OrderNotFound", f"Order {self.number(order)} not found", 404)
        return self.record(order, with_trades=is_true(payload.get("include_trades")))

    def _cancel(self, request: Request, payload: Mapping[str, Any], key: Key) -> Any:
        order = self._find(payload, key, by_client_id=False)
        if order.open:
            self.exchange.cancel_order(self._account(key), order.order_id, now=request.now)
        return self.record(order)

    def _cancel_all(self, request: Request, payload: Mapping[str, Any], key: Key) -> Any:
        orders = self.exchange.cancel_all(self._account(key), now=request.now)
        return _cancelled([self.number(order) for order in orders])

    def _cancel_session(self, request: Request, payload: Mapping[str, Any], key: Key) -> Any:
        return _cancelled(self._cancel_orders(key.api_key, request.now))

    def _active_orders(self, request: Request, payload: Mapping[str, Any], key: Key) -> Any:
        orders = self.exchange.open_orders(self._account(key), as_of=request.view.orders_as_of)
        return [self.record(order) for order in reversed(orders)]

    def _past_orders(self, request: Request, payload: Mapping[str, Any], key: Key) -> Any:
        account, since = self._account(key), time_of(payload)
        limit = count_of(payload, "limit_orders", 50)
        symbol = None if payload.get("symbol") is None else self._listed(str(payload["symbol"])).symbol
        closed = self.exchange.closed_orders(account, symbol, as_of=request.view.orders_as_of)
        closed += [one for one in self._turned_away.get(account.name, ()) if symbol in (None, one.symbol)]
        if request.view.hide_closed:
            closed = []
        closed.sort(key=lambda order: (order.created_at, self.number(order)))
        return [self.record(one, with_trades=True) for one in page(closed, since, limit, _made_at)]

    def _my_trades(self, request: Request, payload: Mapping[str, Any], key: Key) -> Any:
        symbol = None if payload.get("symbol") is None else self._listed(str(payload["symbol"])).symbol
        since, limit = time_of(payload), count_of(payload, "limit_trades", 50)
        fills = self.exchange.my_trades(self._account(key), symbol, as_of=request.view.orders_as_of)
        return [
            {
                **self.trade(fill),
                "is_auction_fill": False,
                "is_clearing_fill": False,
                "symbol": name_of(self.exchange.markets[fill.symbol]).upper(),
                **({"client_order_id": fill.client_order_id} if fill.client_order_id else {}),
            }
            for fill in page(fills, since, limit, _filled_at)
        ]

    def trade(self, fill: Fill) -> dict[str, Any]:
        """One fill, as it is in the status of an order."""
        return {
            "price": priced(fill.price, self.exchange.markets[fill.symbol]),
            "amount": text(fill.quantity),
            "timestamp": int(fill.time),
            "timestampms": ms(fill.time),
            "type": fill.side.capitalize(),
            "aggressor": fill.liquidity == "taker",
            "fee_currency": fill.fee_currency,
            "fee_amount": text(fill.fee),
            "tid": tid(fill),
            "order_id": str(fill.order_id * 1000),
            "exchange": "gemini",
        }

    def record(self, order: Order, *, with_trades: bool = False) -> dict[str, Any]:
        """One order, as every endpoint shows it."""
        market, number = self.exchange.markets[order.symbol], str(self.number(order))
        assert order.price is not None
        row: dict[str, Any] = {
            "order_id": number,
            "id": number,
            "symbol": name_of(market),
            "exchange": "gemini",
            "avg_execution_price": average(order.filled_quote, order.filled_quantity),
            "side": order.side,
            "type": "stop-limit" if order.waiting else "exchange limit",
            "timestamp": str(int(order.created_at)),
            "timestampms": ms(order.created_at),
            "is_live": order.open,
            "is_cancelled": not order.open and order.status != records.FILLED,
            "is_hidden": False,
            "was_forced": False,
            "executed_amount": text(order.filled_quantity),
            "options": options_of(order),
            "price": priced(order.price, market),
            "original_amount": text(order.quantity),
            "remaining_amount": text(order.quantity - order.filled_quantity),
        }
        if order.trigger is not None:
            row["stop_price"] = priced(order.trigger.price, market)
        if row["is_cancelled"]:
            row["reason"] = cancel_reason(order)
        if order.client_order_id:
            row["client_order_id"] = order.client_order_id
        if with_trades:
            row["trades"] = [self.trade(fill) for fill in order.fills]
        return row


KINDS = {
    "/v1/symbols": dialect.MARKETS,
    "/v1/order/new": dialect.CREATE,
    "/v1/order/status": dialect.FETCH,
    "/v1/order/cancel": dialect.CANCEL,
    "/v1/order/cancel/all": dialect.CANCEL_ALL,
    "/v1/order/cancel/session": dialect.CANCEL_ALL,
    "/v1/orders": dialect.OPEN_ORDERS,
    "/v1/orders/history": dialect.CLOSED_ORDERS,
    "/v1/mytrades": dialect.MY_TRADES,
    "/v1/balances": dialect.BALANCE,
    "/v1/notionalvolume": dialect.FEES,
    "/v1/transfers": dialect.TRANSFERS,
    "/v1/heartbeat": dialect.TIME,  # the only one without side effects that every key may ask
}
KINDS_BY_START = (
    ("/v1/symbols/details/", dialect.MARKETS),
    ("/v1/book/", dialect.MARKET_DATA),
    ("/v1/pubticker/", dialect.MARKET_DATA),
    ("/v2/ticker/", dialect.MARKET_DATA),
    ("/v1/trades/", dialect.MARKET_DATA),
    ("/v1/pricefeed", dialect.MARKET_DATA),
)


def _made_at(order: Order) -> float:
    return order.created_at


def _filled_at(fill: Fill) -> float:
    return fill.time


def _cancelled(numbers: list[int]) -> dict[str, Any]:
    return {"result": "ok", "details": {"cancelledOrders": numbers, "cancelRejects": []}}
