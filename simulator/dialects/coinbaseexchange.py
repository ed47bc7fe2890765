"""Coinbase Exchange (once GDAX, then Pro): names, signatures, limits and the REST API.

The WebSocket is in `coinbaseexchange_streams`. What is true here and elsewhere surprises:

1. Nothing has an error code: a status and `{"message": words}`. The words are all there is to read.
2. `client_oid` must be a UUID and is only a name: the same one twice is two orders.
3. An order that ends without a fill is purged: asked for, it is 404, as one that never was. A stop order is
   `active` until a trade meets it.
4. A new order is answered with `pending` and nothing filled, whatever became of it meanwhile. One that would
   break its `post_only` is answered with 200, too: `status` is `rejected`, and it never was in the book.
5. What is open or unsettled is listed by default; the header `CB-AFTER` leads to older rows and is missing
   where there are none. All lists are newest first.
6. Fees are paid in the quote currency, on top of what an order costs, by one rate of the account's.
7. The `side` of a public trade is that of the order that waited.
8. The limits are buckets: public ones an address's, private ones a profile's, and fills have their own.

Not here: margin, conversions, reports, loans, profiles, candles, `level=3`, `max_floor`, and stops of market
orders, which the exchange no longer takes. They are refused by name.

Pages: https://docs.cdp.coinbase.com/exchange/rest-api/requests and those beside it. Where the words of
errors come from is said in `coinbaseexchange_words`.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, TypeVar
from urllib.parse import parse_qsl

from ems.core.book import TimeInForce
from simulator import records
from simulator.dialects import coinbaseexchange_streams as streams
from simulator.dialects import dialect
from simulator.dialects.coinbaseexchange_words import (
    WORDS,
    Bucket,
    Refused,
    digits,
    is_uuid,
    iso,
    maker_side,
    named,
    order_name,
    order_number,
    product_name,
    profile_of,
    refusal_of,
    user_of,
    utc,
    verify,
    wallet_of,
)
from simulator.dialects.dialect import Request, Response, Send
from simulator.exchange import Exchange
from simulator.records import (
    ZERO,
    Account,
    Fill,
    Key,
    Market,
    Order,
    Reject,
    SelfTradeRule,
    Transfer,
    Trigger,
    text,
)

PAGE_MAX = 1000  # and the default: https://docs.cdp.coinbase.com/exchange/rest-api/pagination
DIGITS_MAX = 18
CANCEL_AFTER_S = {"min": 60.0, "hour": 3600.0, "day": 86_400.0}

# Requests a second, and at most at once: https://docs.cdp.coinbase.com/exchange/rest-api/rate-limits
PUBLIC_LIMIT, PRIVATE_LIMIT, FILLS_LIMIT = (10.0, 15), (15.0, 30), (10.0, 20)

# What a new order may ask for that is not simulated, or not sold here.
NOT_SIMULATED = ("stop_limit_price", "max_floor", "overdraft_enabled", "funding_amount")

# `stp`: https://docs.cdp.coinbase.com/exchange/concepts/matching-engine
SELF_TRADES: dict[str, SelfTradeRule] = {
    "dc": "decrement", "co": "expire_maker", "cn": "expire_taker", "cb": "expire_both",
}  # fmt: skip

# Rules as /products gives them, fees of the lowest tier: https://www.coinbase.com/advanced-fees
MARKETS = [
    Market(
        symbol=f"{base}/{quote}",
        base=base,
        quote=quote,
        tick=Decimal(tick),
        lot=Decimal("0.00000001"),
        min_qty=Decimal("0.00000001"),
        min_notional=Decimal(funds),
        maker_fee=Decimal("0.004"),
        taker_fee=Decimal("0.006"),
        fee_mode="quote",
        max_orders=500,  # https://docs.cdp.coinbase.com/exchange/concepts/trading
    )
    for base, quote, tick, funds in (
        ("BTC", "USDT", "0.01", "1"),
        ("ETH", "USDT", "0.01", "1"),
        ("ETH", "BTC", "0.00001", "0.000016"),
    )
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A new order, read from a request."""

    market: Market
    side: Literal["buy", "sell"]
    order_type: Literal["market", "limit"]
    size: Decimal | None
    funds: Decimal | None
    price: Decimal | None
    time_in_force: TimeInForce
    good_for_s: float | None  # of a GTT order
    stop: Trigger | None
    post_only: bool
    stp: str
    client_oid: str


T = TypeVar("T")


# --- The dialect ---------------------------------------------------------------------------------


class CoinbaseExchange:
    """One Coinbase Exchange, or one that speaks its wire. Keeps the limits."""

    def __init__(self, exchange: Exchange, *, limited: bool = True) -> None:
        exchange.client_ids = "none"
        self.exchange = exchange
        self.limited = limited
        self.feed = streams.Feed(exchange)
        self._buckets: dict[tuple[str, str], Bucket] = {}  # (whose, which) -> bucket
        self._public: list[tuple[re.Pattern[str], Callable[..., Any]]] = [
            (re.compile(pattern), act)
            for pattern, act in (
                (r"/time", self._time),
                (r"/currencies", self._currencies),
                (r"/currencies/([^/]+)", self._currency),
                (r"/products", self._products),
                (r"/products/([^/]+)", self._product),
                (r"/products/([^/]+)/book", self._book),
                (r"/products/([^/]+)/ticker", self._ticker),
                (r"/products/([^/]+)/stats", self._stats),
                (r"/products/([^/]+)/trades", self._trades),
            )
        ]
        # (method, path) -> (permission, what answers)
        self._private: list[tuple[str, re.Pattern[str], str, Callable[..., Any]]] = [
            (method, re.compile(pattern), permission, act)
            for method, pattern, permission, act in (
                ("GET", r"/accounts", "read", self._accounts),
                ("GET", r"/accounts/([^/]+)", "read", self._account),
                ("GET", r"/accounts/([^/]+)/transfers", "read", self._account_transfers),
                ("GET", r"/transfers", "read", self._transfers),
                ("GET", r"/fees", "read", self._fees),
                ("GET", r"/fills", "read", self._fills),
                ("GET", r"/orders", "read", self._orders),
                ("GET", r"/orders/([^/]+)", "read", self._order),
                ("POST", r"/orders", "trade", self._create),
                ("DELETE", r"/orders", "trade", self._cancel_all),
                ("DELETE", r"/orders/([^/]+)", "trade", self._cancel),
            )
        ]

    # What the wire calls

    def kind(self, request: Request) -> str:
        path, method = request.path, request.method
        if path.startswith("/orders/"):
            return dialect.CANCEL if method == "DELETE" else dialect.FETCH
        if path == "/orders":
            if method == "GET":
                wanted = {value for name, value in parse_qsl(request.query) if name == "status"}
                return dialect.CLOSED_ORDERS if wanted & {"done", "all"} else dialect.OPEN_ORDERS
            return dialect.CREATE if method == "POST" else dialect.CANCEL_ALL
        if path.startswith("/products/"):
            return dialect.MARKET_DATA
        return dialect.TRANSFERS if path.endswith("/transfers") else KINDS.get(path, dialect.OTHER)

    def handle(self, request: Request) -> Response:
        head: dict[str, str] = {}
        try:
            answer = self._route(request, head)
            # An id alone is an answer, too, and JSON like any other.
            return Response(body=json.dumps(answer) if isinstance(answer, str) else answer, headers=head)
        except Refused as refusal:
            return _refusal(refusal)
        except Reject as reject:
            return _refusal(refusal_of(reject))

    def open_session(self, request: Request, send: Send) -> dialect.Session | None:
        return streams.Session(self, send) if request.path in ("", "/") else None

    def rate_limited(self, request: Request, banned: bool) -> Response:
        if banned:  # the front's own page; Coinbase documents no ban
            return Response(status=403, body="Forbidden", headers={"Content-Type": "text/html"})
        return _refusal(self._too_many(request.headers.get("cb-access-key") is None))

    def failure(self, status: int) -> Response:
        return _refusal(Refused(status, FAILURES.get(status, "Internal server error")))

    def _too_many(self, public: bool) -> Refused:
        return Refused(429, f"{'Public' if public else 'Private'} rate limit exceeded")

    def _route(self, request: Request, head: dict[str, str]) -> Any:
        for pattern, act in self._public:
            found = pattern.fullmatch(request.path)
            if found is not None and request.method == "GET":
                self._count(request.remote, "public", PUBLIC_LIMIT, request.now)
                if request.path != "/time":
                    self._check_open()
                return act(request, *found.groups())
        for method, pattern, permission, act in self._private:
            found = pattern.fullmatch(request.path)
            if found is None or method != request.method:
                continue
            key = self._authenticated(request)
            limit = FILLS_LIMIT if request.path == "/fills" else PRIVATE_LIMIT
            self._count(key.account, "fills" if limit is FILLS_LIMIT else "private", limit, request.now)
            if permission not in key.permissions:
                raise Refused(403, "Forbidden")
            self._check_open()
            return act(request, self.exchange.accounts[key.account], head, *found.groups())
        raise Refused(404, "NotFound")

    def _check_open(self) -> None:
        if self.exchange.mode == records.MAINTENANCE_MODE:
            raise Refused(*WORDS[records.MAINTENANCE])

    def _count(self, whose: str, which: str, limit: tuple[float, int], now: float) -> None:
        bucket = self._buckets.setdefault((whose, which), Bucket(*limit))
        if self.limited and not bucket.take(now):
            raise self._too_many(which == "public")

    def _authenticated(self, request: Request) -> Key:
        path = request.path + (f"?{request.query}" if request.query else "")
        names = ("key", "sign", "timestamp", "passphrase")
        given = [request.headers.get(f"cb-access-{name}", "") for name in names]
        return verify(self.exchange, given, request.method + path + request.form, request.clock)

    # Public answers

    def _time(self, request: Request) -> Any:
        milliseconds = round(request.clock * 1000)
        at = utc(milliseconds / 1000).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return {"iso": at, "epoch": milliseconds / 1000}

    def _currencies(self, request: Request) -> Any:
        listed = sorted({c for market in self.exchange.markets.values() for c in (market.base, market.quote)})
        return [
            {
                "id": currency,
                "name": currency,
                "min_size": "0.00000001",
                "status": "online",
                "message": "",
                "max_precision": "0.00000001",
                "convertible_to": [],
                "details": {
                    "type": "crypto",
                    "symbol": None,
                    "network_confirmations": 1,
                    "sort_order": number,
                    "crypto_address_link": "",
                    "crypto_transaction_link": "",
                    "push_payment_methods": [],
                    "group_types": [],
                    "display_name": None,
                    "processing_time_seconds": None,
                    "min_withdrawal_amount": 1e-08,
                    "max_withdrawal_amount": 20_000_000,
                },
                "default_network": currency.lower(),
                "supported_networks": [],
                "display_name": currency,
            }
            for number, currency in enumerate(listed)
        ]

    def _currency(self, request: Request, name: str) -> Any:
        for row in self._currencies(request):
            if row["id"] == name:
                return row
        raise Refused(404, "NotFound")

    def _products(self, request: Request) -> Any:
        return [self.product(market) for market in self.exchange.markets.values()]

    def _product(self, request: Request, name: str) -> Any:
        return self.product(self._market(name))

    def product(self, market: Market) -> dict[str, Any]:
        """A market's rules.

        https://docs.cdp.coinbase.com/api-reference/exchange-api/rest-api/products/get-all-trading-pairs
        """
        mode = self.exchange.mode_of(market.symbol)
        return {
            "id": product_name(market),
            "base_currency": market.base,
            "quote_currency": market.quote,
            "quote_increment": text(market.tick),
            "base_increment": text(market.lot),
            "display_name": product_name(market),
            "min_market_funds": text(market.min_notional),
            "margin_enabled": False,
            "post_only": mode == records.POST_ONLY_ONLY_MODE,
            "limit_only": False,
            "cancel_only": mode == records.CANCEL_ONLY_MODE,
            "status": "online",
            "status_message": "",
            "trading_disabled": mode == records.HALT,
            "fx_stablecoin": False,
            "max_slippage_percentage": "0.02000000",
            "auction_mode": False,
            "high_bid_limit_percentage": "",
        }

    def _book(self, request: Request, name: str) -> Any:
        market = self._market(name)
        level = request.parameters().get("level", "1")
        if level not in ("1", "2"):
            raise Refused(400, "Invalid level")  # 3 is not simulated
        depth = self.exchange.depth(market.symbol, 1 if level == "1" else None, now=request.now)
        return {
            **{
                side: [[text(price), text(size), 1] for price, size in levels]
                for side, levels in (("bids", depth.bids), ("asks", depth.asks))
            },
            "sequence": self.feed.sequence(market.symbol),
            "auction_mode": False,
            "auction": None,
            "time": iso(request.now),
        }

    def _ticker(self, request: Request, name: str) -> Any:
        market = self._market(name)
        trades = self.exchange.recent_trades(market.symbol, 1)
        if not trades:
            raise Refused(404, "NotFound")
        best = self.feed.best(market.symbol, request.now)
        return {
            "ask": best["ask"],
            "bid": best["bid"],
            "volume": self.feed.figures(market.symbol)["volume"],
            "trade_id": trades[-1].trade_id,
            "price": text(trades[-1].price),
            "size": text(trades[-1].quantity),
            "time": iso(trades[-1].now),
            "rfq_volume": "0",
        }

    def _stats(self, request: Request, name: str) -> Any:
        return self.feed.figures(self._market(name).symbol)

    def _trades(self, request: Request, name: str) -> Any:
        market = self._market(name)
        limit = _count(request.parameters(), "limit", 100, PAGE_MAX)
        return [
            {
                "trade_id": trade.trade_id,
                "side": maker_side(trade.taker_side),
                "size": digits(trade.quantity, 8),
                "price": digits(trade.price, 8),
                "time": iso(trade.now),
            }
            for trade in reversed(self.exchange.recent_trades(market.symbol, limit))
        ]

    def market_named(self, name: object) -> Market | None:
        """Find a market by Coinbase's name."""
        for market in self.exchange.markets.values():
            if product_name(market) == name:
                return market
        return None

    def _market(self, name: str) -> Market:
        market = self.market_named(name)
        if market is None:
            raise Refused(404, "NotFound")
        return market

    # Money

    def _accounts(self, request: Request, account: Account, head: dict[str, str]) -> Any:
        return self._wallets(request, account)

    def _wallets(self, request: Request, account: Account) -> list[dict[str, Any]]:
        owned = self.exchange.balances(account, request.view.balances_as_of)
        listed = {c for market in self.exchange.markets.values() for c in (market.base, market.quote)}
        rows = []
        for currency in sorted(listed | owned.keys()):
            free, locked = owned.get(currency, (ZERO, ZERO))
            rows.append(
                {
                    "id": wallet_of(account.name, currency),
                    "currency": currency,
                    "balance": digits(free + locked, 16),
                    "hold": digits(locked, 16),
                    "available": text(free),
                    "profile_id": profile_of(account.name),
                    "trading_enabled": True,
                    "pending_deposit": "0.0000000000000000",
                    "display_name": currency,
                }
            )
        return rows

    def _account(self, request: Request, account: Account, head: dict[str, str], name: str) -> Any:
        for row in self._wallets(request, account):
            if row["id"] == name:
                return row
        raise Refused(404, "NotFound")

    def _fees(self, request: Request, account: Account, head: dict[str, str]) -> Any:
        # One pair of rates for the whole account, of which the markets here are an example.
        market = next(iter(self.exchange.markets.values()))
        volume = sum((fill.quote_quantity for fill in account.fills), ZERO)
        return {
            "taker_fee_rate": text(market.taker_fee),
            "maker_fee_rate": text(market.maker_fee),
            "usd_volume": digits(volume, 2),
        }

    def _transfers(self, request: Request, account: Account, head: dict[str, str]) -> Any:
        return self._moved(request, account, head, None)

    def _account_transfers(self, request: Request, account: Account, head: dict[str, str], name: str) -> Any:
        listed = {wallet_of(account.name, one.currency): one.currency for one in account.transfers}
        known = {row["id"] for row in self._wallets(request, account)}
        if name not in known:
            raise Refused(404, "NotFound")
        return self._moved(request, account, head, listed.get(name, ""))

    def _moved(self, request: Request, account: Account, head: dict[str, str], currency: str | None) -> Any:
        wanted = request.parameters()
        kinds = {"deposit": "deposit", "withdraw": "withdrawal"}
        if "type" in wanted and wanted["type"] not in kinds:
            raise Refused(400, "Invalid type")  # neither
        kind = kinds.get(wanted.get("type", ""))
        chosen = [
            one for one in account.transfers if kind in (None, one.kind) and currency in (None, one.currency)
        ]
        return [
            self._transfer(account, one) for one in _page(chosen, lambda one: one.transfer_id, wanted, head)
        ]

    def _transfer(self, account: Account, one: Transfer) -> dict[str, Any]:
        # https://docs.cdp.coinbase.com/api-reference/exchange-api/rest-api/transfers/get-all-transfers
        at = f"{utc(one.time):%Y-%m-%d %H:%M:%S.%f}+00"
        away = one.kind == "withdrawal"
        details: dict[str, Any] = {
            "network": one.currency.lower(),
            "crypto_address": one.address,
            "crypto_transaction_hash": one.txid,
            "coinbase_account_id": wallet_of(account.name, one.currency),
        }
        if away:
            details |= {"sent_to_address": one.address, "fee": text(one.fee), "subtotal": text(one.amount)}
        return {
            "id": named(f"transfer {one.transfer_id}"),
            "type": "withdraw" if away else "deposit",
            "created_at": at,
            "completed_at": at,
            "canceled_at": None,
            "processed_at": at,
            "account_id": wallet_of(account.name, one.currency),
            "user_id": user_of(account.name),
            "amount": digits(one.amount + one.fee, 8),  # a withdrawal's includes its fee
            "details": details,
            "user_nonce": None,
            "idem": None,
            "profile_id": profile_of(account.name),
            "currency": one.currency,
        }

    # New orders

    def _create(self, request: Request, account: Account, head: dict[str, str]) -> Any:
        # https://docs.cdp.coinbase.com/api-reference/exchange-api/rest-api/orders/create-new-order
        try:
            fields = json.loads(request.form, parse_float=str, parse_int=str)
        except ValueError:
            raise Refused(400, "Bad Request") from None
        if not isinstance(fields, dict):
            raise Refused(400, "Bad Request")
        wanted = self._wanted(fields)
        market = wanted.market
        self._check_amounts(wanted, request.now)
        try:
            order = self.exchange.create_order(
                account,
                market.symbol,
                wanted.side,
                wanted.order_type,
                wanted.size,
                wanted.price,
                quote_quantity=wanted.funds,
                time_in_force=wanted.time_in_force,
                post_only=wanted.post_only,
                client_order_id=wanted.client_oid,
                trigger=wanted.stop,
                expires_at=None if wanted.good_for_s is None else request.now + wanted.good_for_s,
                self_trade=SELF_TRADES[wanted.stp],
                now=request.now,
            )
        except Reject as reject:
            if reject.reason == records.POST_ONLY_WOULD_CROSS:
                return self._rejected(wanted, account, request.now)
            if reject.reason == records.MIN_NOTIONAL:
                raise self._too_small(wanted, request.now) from reject
            raise
        return self._as_received(order, wanted, request.now)

    def _wanted(self, fields: Mapping[str, Any]) -> Wanted:
        kind, side = fields.get("type", "limit"), fields.get("side")
        market = self.market_named(fields.get("product_id"))
        if market is None:
            raise Refused(404, "Product not found")
        for name in NOT_SIMULATED:
            if fields.get(name) not in (None, "", False):
                raise Refused(400, f"{name} is not supported")
        if kind not in ("limit", "market"):
            raise Refused(400, "Invalid type")
        if side not in ("buy", "sell"):
            raise Refused(400, "Invalid side")
        stp = fields.get("stp", "dc")
        if not isinstance(stp, str) or stp not in SELF_TRADES:
            raise Refused(400, "Invalid stp")
        client_oid = fields.get("client_oid") or ""
        if client_oid and not is_uuid(client_oid):
            raise Refused(400, "Invalid client_oid")  # neither
        force, after = fields.get("time_in_force", "GTC"), fields.get("cancel_after")
        if force not in ("GTC", "GTT", "IOC", "FOK"):
            raise Refused(400, "Invalid time_in_force")
        post_only = fields.get("post_only") is True
        if kind == "limit":
            if post_only and force in ("IOC", "FOK"):
                raise Refused(400, "Invalid post_only")
            if (force == "GTT") != (str(after) in CANCEL_AFTER_S):
                raise Refused(400, "Invalid cancel_after")
        by_funds = kind == "market" and "size" not in fields
        if kind == "market" and ("size" in fields) == ("funds" in fields):
            raise Refused(400, "size or funds is required")
        immediate: TimeInForce = "FOK" if force == "FOK" else "IOC"
        return Wanted(
            market=market,
            side="buy" if side == "buy" else "sell",
            order_type="limit" if kind == "limit" else "market",
            size=None if by_funds else _amount(fields, "size"),
            funds=_amount(fields, "funds") if by_funds else None,
            price=_amount(fields, "price") if kind == "limit" else None,
            time_in_force="GTC" if kind == "market" or force in ("GTC", "GTT") else immediate,
            good_for_s=CANCEL_AFTER_S[str(after)] if kind == "limit" and force == "GTT" else None,
            stop=self._stop(fields, kind),
            post_only=kind == "limit" and post_only,
            stp=stp,
            client_oid=client_oid,
        )

    def _stop(self, fields: Mapping[str, Any], kind: str) -> Trigger | None:
        """Read what a stop order waits for: a trade at or below (`loss`), or at or above (`entry`)."""
        if fields.get("stop") is None and fields.get("stop_price") is None:
            return None
        if fields.get("stop") not in ("loss", "entry") or kind != "limit":
            raise Refused(400, "Invalid stop")  # neither
        entry = fields["stop"] == "entry"
        price = _amount(fields, "stop_price")
        return Trigger(kind="trigger" if entry else "stop_loss", price=price, rising=entry)

    def _check_amounts(self, wanted: Wanted, now: float) -> None:
        market = wanted.market
        for name, value, step in (
            ("size", wanted.size, market.lot),
            ("funds", wanted.funds, market.tick),
            ("price", wanted.price, market.tick),
            ("stop_price", None if wanted.stop is None else wanted.stop.price, market.tick),
        ):
            if value is not None and value % step:
                raise Refused(400, f"{name} is too accurate. Smallest unit is {digits(step, 8)}")
        if wanted.size is not None and wanted.size > market.max_qty:
            raise Refused(400, f"size is too large. Maximum size is {digits(market.max_qty, 8)}")
        if wanted.size is not None and wanted.size < market.min_qty:
            raise self._too_small(wanted, now)

    def _too_small(self, wanted: Wanted, now: float) -> Refused:
        """Say how little is too little; since June 2022 that is an amount of the quote currency for all.

        https://docs.cdp.coinbase.com/exchange/changes/changelog (2022-JUN-02)
        """
        market = wanted.market
        if wanted.funds is not None:
            return Refused(400, f"funds is too small. Minimum size is {digits(market.min_notional, 8)}")
        price = wanted.price or self.exchange.last_price(market.symbol) or market.tick
        least = max(market.min_qty, market.min_notional / price)
        return Refused(400, f"size is too small. Minimum size is {digits(least, 8)}")

    def _as_received(self, order: Order, wanted: Wanted, now: float) -> dict[str, Any]:
        row = self.record(order)
        for name in ("done_at", "done_reason"):
            row.pop(name, None)
        nothing = {"fill_fees": digits(ZERO, 16), "filled_size": digits(ZERO, 8)}
        return (
            row
            | nothing
            | {
                "executed_value": digits(ZERO, 16),
                "status": "pending",
                "settled": False,
                "stp": wanted.stp,
            }
        )

    def _rejected(self, wanted: Wanted, account: Account, now: float) -> dict[str, Any]:
        """Answer an order that was taken in and thrown away, which is no error of the request."""
        assert wanted.size is not None and wanted.price is not None
        row = {
            "id": named(f"rejected {account.name} {now} {wanted.client_oid}"),
            "price": digits(wanted.price, 8),
            "size": digits(wanted.size, 8),
            "product_id": product_name(wanted.market),
            "profile_id": profile_of(account.name),
            "side": wanted.side,
            "type": "limit",
            "time_in_force": "GTC" if wanted.good_for_s is None else "GTT",
            "post_only": True,
            "created_at": iso(now),
            "reject_reason": "post only",
            "fill_fees": "0",
            "filled_size": "0",
            "executed_value": "0",
            "status": "rejected",
            "settled": True,
        }
        return row | ({"client_oid": wanted.client_oid} if wanted.client_oid else {})

    # Cancelling

    def _cancel(self, request: Request, account: Account, head: dict[str, str], name: str) -> Any:
        # https://docs.cdp.coinbase.com/api-reference/exchange-api/rest-api/orders/cancel-order
        order = self._find(account, name)
        product = parse_qsl(request.query)
        if order is None or _purged(order):
            raise Refused(404, "order not found")
        for wanted in (value for field, value in product if field == "product_id"):
            if wanted != product_name(self.exchange.markets[order.symbol]):
                raise Refused(404, "order not found")
        self.exchange.cancel_order(account, order.order_id, now=request.now)
        return order_name(order.order_id)

    def _cancel_all(self, request: Request, account: Account, head: dict[str, str]) -> Any:
        wanted = dict(parse_qsl(request.query)).get("product_id")
        market = self.market_named(wanted)
        if wanted is not None and market is None:
            raise Refused(404, "Product not found")
        symbol = None if market is None else market.symbol
        return [
            order_name(order.order_id) for order in self.exchange.cancel_all(account, symbol, now=request.now)
        ]

    # Asking for orders and fills

    def _find(self, account: Account, name: str, as_of: float | None = None) -> Order | None:
        """Find by Coinbase's id, or by `client:` and ours; of several with one name, an open one."""
        if name.startswith("client:"):
            if not is_uuid(name.removeprefix("client:")):
                raise Refused(400, "Invalid order id")
            return self.exchange.find_order(account, None, name.removeprefix("client:"), as_of=as_of)
        return self.exchange.find_order(account, order_number(name), as_of=as_of)

    def _order(self, request: Request, account: Account, head: dict[str, str], name: str) -> Any:
        order = self._find(account, name, request.view.orders_as_of)
        if order is None or _purged(order) or (request.view.hide_closed and not order.open):
            raise Refused(404, "NotFound")
        return self.record(order)

    def _orders(self, request: Request, account: Account, head: dict[str, str]) -> Any:
        # https://docs.cdp.coinbase.com/api-reference/exchange-api/rest-api/orders/get-all-orders
        wanted = dict(parse_qsl(request.query))
        statuses = {value for name, value in parse_qsl(request.query) if name == "status"}
        if statuses - {"open", "pending", "active", "received", "rejected", "done", "all"}:
            raise Refused(400, "Invalid status")
        symbol = self._symbol(wanted)
        start, end = _span(wanted)
        chosen = [
            order
            for order in self.exchange.all_orders(account, symbol, as_of=request.view.orders_as_of)
            if start <= order.created_at <= end
            and not _purged(order)
            and (order.open or not request.view.hide_closed)
            and ("all" in statuses or status_of(order) in (statuses or {"open", "active"}))
        ]
        return [self.record(order) for order in _page(chosen, lambda one: one.order_id, wanted, head)]

    def record(self, order: Order) -> dict[str, Any]:
        """An order as it stands."""
        market = self.exchange.markets[order.symbol]
        row: dict[str, Any] = {
            "id": order_name(order.order_id),
            "product_id": product_name(market),
            "profile_id": profile_of(order.account),
            "side": order.side,
            "type": order.order_type,
            "post_only": order.post_only,
            "created_at": iso(order.created_at),
            "fill_fees": digits(sum((fill.fee for fill in order.fills), ZERO), 16),
            "filled_size": digits(order.filled_quantity, 8),
            "executed_value": digits(order.filled_quote, 16),
            "market_type": "spot",
            "status": status_of(order),
            "settled": not order.open,
        }
        if order.price is not None:
            row |= {"price": digits(order.price, 8), "time_in_force": order.time_in_force}
        if order.expires_at is not None:
            row |= {"time_in_force": "GTT", "expire_time": iso(order.expires_at)}
        if order.trigger is not None:
            stop = "entry" if order.trigger.rising else "loss"
            row |= {"stop": stop, "stop_price": digits(order.trigger.price, 8)}
        if order.quote_quantity is None:
            row["size"] = digits(order.quantity, 8)
        else:
            row |= {
                "funds": digits(order.quote_quantity, 16),
                "specified_funds": digits(order.quote_quantity, 16),
            }
        if order.client_order_id:
            row["client_oid"] = order.client_order_id
        if not order.open:
            reason = "filled" if order.status == records.FILLED else "canceled"
            row |= {"done_at": iso(order.updated_at), "done_reason": reason}
        return row

    def _fills(self, request: Request, account: Account, head: dict[str, str]) -> Any:
        # https://docs.cdp.coinbase.com/api-reference/exchange-api/rest-api/orders/get-all-fills
        wanted = request.parameters()
        if "order_id" not in wanted and "product_id" not in wanted:
            raise Refused(400, "either order_id or product_id is required")  # neither
        symbol = self._symbol(wanted)
        number = order_number(wanted["order_id"]) if "order_id" in wanted else None
        start, end = _span(wanted)
        chosen = [
            fill
            for fill in self.exchange.my_trades(account, symbol, number, as_of=request.view.orders_as_of)
            if start <= fill.time <= end
        ]
        return [self.fill(fill) for fill in _page(chosen, lambda one: one.trade_id, wanted, head)]

    def fill(self, fill: Fill) -> dict[str, Any]:
        """One fill."""
        return {
            "created_at": iso(fill.time),
            "trade_id": fill.trade_id,
            "product_id": product_name(self.exchange.markets[fill.symbol]),
            "order_id": order_name(fill.order_id),
            "user_id": user_of(fill.account),
            "profile_id": profile_of(fill.account),
            "liquidity": "M" if fill.liquidity == "maker" else "T",
            "price": digits(fill.price, 8),
            "size": digits(fill.quantity, 8),
            "fee": digits(fill.fee, 16),
            "side": fill.side,
            "settled": True,
            "usd_volume": digits(fill.quote_quantity, 16),
            "market_type": "spot",
            "funding_currency": None,
        }

    def _symbol(self, wanted: Mapping[str, str]) -> str | None:
        if "product_id" not in wanted:
            return None
        market = self.market_named(wanted["product_id"])
        if market is None:
            raise Refused(404, "Product not found")
        return market.symbol


FAILURES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    429: "Private rate limit exceeded",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}

KINDS = {
    "/time": dialect.TIME,
    "/products": dialect.MARKETS,
    "/currencies": dialect.MARKETS,
    "/accounts": dialect.BALANCE,
    "/fees": dialect.FEES,
    "/fills": dialect.MY_TRADES,
}


def status_of(order: Order) -> str:
    """Coinbase's status of an order; why it is done is told beside."""
    if order.waiting:
        return "active"
    return "open" if order.open else "done"


def _purged(order: Order) -> bool:
    return not order.open and not order.filled_quantity


def _amount(fields: Mapping[str, Any], name: str) -> Decimal:
    """Read a positive amount, or refuse it by name."""
    try:
        value = Decimal(str(fields.get(name, "")))
    except InvalidOperation:
        raise Refused(400, f"Invalid {name}") from None
    # Beyond so many digits either way it is no amount of anything.
    if not value.is_finite() or value <= 0 or abs(value.adjusted()) > DIGITS_MAX:
        raise Refused(400, f"Invalid {name}")
    return value


def _count(wanted: Mapping[str, str], name: str, default: int, most: int) -> int:
    given = wanted.get(name, str(default))
    if not given.isascii() or not given.isdigit() or int(given) < 1:
        raise Refused(400, f"Invalid {name}")
    return min(int(given), most)


def _span(wanted: Mapping[str, str]) -> tuple[float, float]:
    """The time asked for, in seconds; without an end, all of it."""
    span = {"start_date": 0.0, "end_date": float("inf")}
    for name in span.keys() & wanted.keys():
        try:
            moment = datetime.fromisoformat(wanted[name])
        except ValueError:
            raise Refused(400, f"Invalid {name}") from None
        span[name] = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return span["start_date"], span["end_date"]


def _page(
    rows: Iterable[T], place: Callable[[T], int], wanted: Mapping[str, str], head: dict[str, str]
) -> list[T]:
    """One page, newest first, its ends told in the answer's head."""
    limit = _count(wanted, "limit", PAGE_MAX, PAGE_MAX)
    ordered = sorted(rows, key=place, reverse=True)
    for name, further in (("after", int.__lt__), ("before", int.__gt__)):
        if name in wanted:
            if not wanted[name].isascii() or not wanted[name].isdigit():
                raise Refused(400, f"Invalid {name}")
            ordered = [row for row in ordered if further(place(row), int(wanted[name]))]
    page = ordered[:limit]
    if page:
        head["CB-BEFORE"] = str(place(page[0]))
    if len(ordered) > limit:
        head["CB-AFTER"] = str(place(page[-1]))
    return page


def _refusal(refusal: Refused) -> Response:
    return Response(status=refusal.status, body={"message": refusal.message})
