"""OKX v5 spot: names, signatures, limits and the REST API. The WebSocket is in `okx_streams`.

What is true here and elsewhere surprises:

1. Every answer is `{"code", "msg", "data"}`. A refused order is HTTP 200 with code `1` and the reason in
   `sCode` and `sMsg` of its row; what is wrong with the request as a whole is a code of its own, often with a
   4xx.
2. A request is signed with its time, a passphrase goes along, and the time may be 30 s off: nothing older is
   taken. The header `expTime` says sooner.
3. `clOrdId` is letters and digits only, and unique among *pending* orders. Asking by it finds the latest.
4. A market buy counts in the quote currency unless `tgtCcy` says `base_ccy`. Without `banAmend` a market
   order that cannot be paid is made smaller, not refused.
5. A post-only order that would take is accepted, and cancelled at once (`cancelSource` 31). The exchange
   underneath refuses such an order; what became of it is kept here.
6. Fees are negative numbers, taken from what is received.
7. A cancelled order without fills is forgotten after two hours.
8. Perpetual contracts, where they are listed, are in `okx_swaps`; orders with a trigger, and amending, in
   `okx_algos`.

Not here: other derivatives, margin, other algo orders, the two order book channels of high tiers. They are
refused by name, or their lists are empty.

Pages: https://www.okx.com/docs-v5/en/ ; the sections are named where a rule comes from.
"""

import hmac
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal
from urllib.parse import parse_qsl
from weakref import WeakSet

from simulator import records
from simulator.day import day_trades
from simulator.dialects import dialect
from simulator.dialects.dialect import Request, Response, Send
from simulator.dialects.okx_algos import Algos
from simulator.dialects.okx_streams import BusinessStreams, PrivateStreams, PublicStreams
from simulator.dialects.okx_swaps import Swaps
from simulator.dialects.okx_words import (
    BATCH_MAX,
    BETWEEN,
    BOOK_MAX,
    BUSINESS_PATH,
    CANCEL_WORDS,
    CL_ORD_ID,
    CLOCK_MAX_S,
    FIRST_ALGO,
    FIRST_INSTRUMENT_CODE,
    FIRST_ORDER,
    FORGOTTEN_AFTER_S,
    ORDER_TYPES,
    ORDERS_MAX,
    ORDERS_WINDOW_S,
    PAGE,
    PERMISSIONS,
    PREFIX,
    PRIVATE_PATH,
    PUBLIC_PATH,
    RECENT_DAYS,
    STP_MODES,
    STP_WORDS,
    TAG,
    Refused,
    bill_id,
    body_of,
    cancel_source,
    envelope_of,
    execution,
    inst_id,
    inst_type,
    is_order,
    is_said,
    levels,
    ms,
    order_word,
    page_of,
    positive,
    refusal,
    refused_answer,
    signature,
    signed,
    state_of,
    symbol_of,
    uid,
    whole,
)
from simulator.exchange import Exchange
from simulator.records import (
    ZERO,
    Account,
    Band,
    Fill,
    Key,
    Market,
    Order,
    OrderUpdate,
    PublicTrade,
    Reject,
    Transfer,
    text,
)

# Rules of the instruments endpoint, fees of the lowest tier: https://www.okx.com/fees
# How high a buy and how low a sell may be, as multiples of an index; here of the average of two minutes. How
# wide it is differs by market and hour, mostly a few percent; this one leaves room for stories.
# https://www.okx.com/help/iii-price-limit-rules
BAND = Band(buy=(ZERO, Decimal(5)), sell=(Decimal("0.2"), Decimal(1000)), minutes=2)

MARKETS = [
    Market(
        symbol=f"{base}/{quote}",
        base=base,
        quote=quote,
        tick=Decimal(tick),
        lot=Decimal(lot),
        min_qty=Decimal(smallest),
        max_qty=Decimal("9999999999"),
        maker_fee=Decimal("0.0008"),
        taker_fee=Decimal("0.001"),
        fee_mode="received",
        max_orders=500,
        # So many US dollars: `maxLmtAmt` and `maxMktAmt`.
        max_notional=Decimal(20_000_000) if quote == "USDT" else None,
        max_market_notional=Decimal(1_000_000) if quote == "USDT" else None,
        band=BAND,
    )
    for base, quote, tick, lot, smallest in (
        ("BTC", "USDT", "0.1", "0.00000001", "0.00001"),
        ("ETH", "USDT", "0.01", "0.000001", "0.0001"),
        ("ETH", "BTC", "0.00001", "0.000001", "0.0001"),
    )
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One path: what it is, who may use it, and how often."""

    kind: str
    calls: int
    window_s: float = 2.0
    per: Literal["ip", "user", "instrument"] = "user"
    permission: str | None = "read"  # None: public


# (method, path) -> route. Limits are said on the page of each: `GET / Order details` and so on.
ROUTES = {
    ("GET", "public/time"): Route(kind=dialect.TIME, calls=10, per="ip", permission=None),
    ("GET", "public/price-limit"): Route(kind=dialect.MARKET_DATA, calls=20, per="ip", permission=None),
    ("GET", "public/instruments"): Route(kind=dialect.MARKETS, calls=20, per="ip", permission=None),
    ("GET", "system/status"): Route(kind=dialect.TIME, calls=1, window_s=5.0, per="ip", permission=None),
    ("GET", "market/ticker"): Route(kind=dialect.MARKET_DATA, calls=20, per="ip", permission=None),
    ("GET", "market/tickers"): Route(kind=dialect.MARKET_DATA, calls=20, per="ip", permission=None),
    ("GET", "market/books"): Route(kind=dialect.MARKET_DATA, calls=40, per="ip", permission=None),
    ("GET", "market/trades"): Route(kind=dialect.MARKET_DATA, calls=100, per="ip", permission=None),
    ("GET", "account/balance"): Route(kind=dialect.BALANCE, calls=10),
    ("GET", "account/config"): Route(kind=dialect.OTHER, calls=5),
    ("GET", "account/trade-fee"): Route(kind=dialect.FEES, calls=5),
    ("GET", "public/mark-price"): Route(kind=dialect.MARKET_DATA, calls=10, per="ip", permission=None),
    ("GET", "public/funding-rate"): Route(kind=dialect.MARKET_DATA, calls=10, per="ip", permission=None),
    ("GET", "public/funding-rate-history"): Route(
        kind=dialect.MARKET_DATA, calls=10, per="ip", permission=None
    ),
    ("GET", "account/positions"): Route(kind=dialect.BALANCE, calls=10),
    ("GET", "account/leverage-info"): Route(kind=dialect.OTHER, calls=20),
    ("GET", "account/max-size"): Route(kind=dialect.OTHER, calls=20),
    ("GET", "account/bills"): Route(kind=dialect.TRANSFERS, calls=5, window_s=1.0),
    ("GET", "account/bills-archive"): Route(kind=dialect.TRANSFERS, calls=5),
    ("POST", "account/set-leverage"): Route(kind=dialect.OTHER, calls=40, permission="trade"),
    ("POST", "account/set-position-mode"): Route(kind=dialect.OTHER, calls=5, permission="trade"),
    ("GET", "asset/currencies"): Route(kind=dialect.MARKETS, calls=6, window_s=1.0),
    ("GET", "asset/balances"): Route(kind=dialect.BALANCE, calls=6, window_s=1.0),
    ("GET", "asset/deposit-history"): Route(kind=dialect.TRANSFERS, calls=6, window_s=1.0),
    ("GET", "asset/withdrawal-history"): Route(kind=dialect.TRANSFERS, calls=6, window_s=1.0),
    ("GET", "trade/order"): Route(kind=dialect.FETCH, calls=60, per="instrument"),
    ("GET", "trade/orders-pending"): Route(kind=dialect.OPEN_ORDERS, calls=60),
    ("GET", "trade/orders-history"): Route(kind=dialect.CLOSED_ORDERS, calls=40),
    ("GET", "trade/orders-history-archive"): Route(kind=dialect.CLOSED_ORDERS, calls=20),
    ("GET", "trade/fills"): Route(kind=dialect.MY_TRADES, calls=60),
    ("GET", "trade/fills-history"): Route(kind=dialect.MY_TRADES, calls=10),
    ("POST", "trade/order"): Route(kind=dialect.CREATE, calls=60, per="instrument", permission="trade"),
    ("POST", "trade/batch-orders"): Route(kind=dialect.CREATE, calls=300, permission="trade"),
    ("POST", "trade/cancel-order"): Route(
        kind=dialect.CANCEL, calls=60, per="instrument", permission="trade"
    ),
    ("POST", "trade/cancel-batch-orders"): Route(kind=dialect.CANCEL, calls=300, permission="trade"),
    ("POST", "trade/cancel-all-after"): Route(
        kind=dialect.CANCEL_ALL, calls=1, window_s=1.0, permission="trade"
    ),
    ("POST", "trade/amend-order"): Route(kind=dialect.AMEND, calls=60, per="instrument", permission="trade"),
    ("POST", "trade/order-algo"): Route(kind=dialect.CREATE, calls=20, permission="trade"),
    ("POST", "trade/cancel-algos"): Route(kind=dialect.CANCEL, calls=20, permission="trade"),
    ("POST", "trade/amend-algos"): Route(kind=dialect.AMEND, calls=20, permission="trade"),
    ("GET", "trade/order-algo"): Route(kind=dialect.FETCH, calls=20),
    ("GET", "trade/orders-algo-pending"): Route(kind=dialect.OPEN_ORDERS, calls=20),
    ("GET", "trade/orders-algo-history"): Route(kind=dialect.CLOSED_ORDERS, calls=20),
}
PATHS = {path for _, path in ROUTES}


class Okx:
    """One OKX. Keeps limits, tags, and the orders that never reached the book."""

    def __init__(self, exchange: Exchange, *, limited: bool = True) -> None:
        self.exchange = exchange
        self.limited = limited
        self.listeners: WeakSet[dialect.Session] = WeakSet()  # private sessions
        self._tags: dict[int, tuple[str, str]] = {}  # order id -> (tag, tgtCcy)
        self._turned_away: dict[str, list[Order]] = {}  # account -> post-only orders that would have taken
        self._between: dict[int, int] = {}  # id of such an order -> its ordId
        self._windows: dict[tuple[str, str, str], tuple[int, int]] = {}
        # (method, path, who) -> (window, calls in it)
        self._order_windows: dict[str, tuple[int, int]] = {}  # account -> (window, orders in it)
        self.swaps = Swaps(self)
        self.algos = Algos(self)
        self.requests: dict[int, str] = {}  # order id -> reqId of its last amendment
        self._answers: dict[str, Callable[[Request, dict[str, str], Account], Any]] = self.swaps.answers | {
            "public/time": self._time,
            "public/instruments": self._instruments,
            "public/price-limit": self._price_limit,
            "system/status": lambda request, query, account: [],
            "market/ticker": self._ticker,
            "market/tickers": self._tickers,
            "market/books": self._books,
            "market/trades": self._trades,
            "account/balance": self._balance,
            "account/config": self._config,
            "account/trade-fee": self._trade_fee,
            "asset/currencies": self._currencies,
            "asset/balances": self._funding,
            "asset/deposit-history": self._deposits,
            "asset/withdrawal-history": self._withdrawals,
            "trade/order": self._order,
            "trade/orders-pending": self._pending,
            "trade/orders-history": self._history,
            "trade/orders-history-archive": self._history,
            "trade/fills": self._fills,
            "trade/fills-history": self._fills,
        }
        self._answers |= self.algos.answers

        # path -> (what does it, how many at a time; None: one, not in a list)
        self._order_acts: dict[
            str, tuple[Callable[[Mapping[str, Any], Account, Request], dict[str, str]], int | None]
        ] = {
            "trade/order": (self.place, None),
            "trade/batch-orders": (self.place, BATCH_MAX),
            "trade/cancel-order": (self.cancel, None),
            "trade/cancel-batch-orders": (self.cancel, BATCH_MAX),
        }

    # What the wire calls

    def kind(self, request: Request) -> str:
        route = ROUTES.get((request.method, request.path.removeprefix(PREFIX)))
        return dialect.OTHER if route is None else route.kind

    def handle(self, request: Request) -> Response:
        self.exchange.wake(request.now)
        try:
            return self._route(request)
        except Refused as refused:
            return refused_answer(refused)

    def open_session(self, request: Request, send: Send) -> dialect.Session | None:
        if request.path.rstrip("/") == BUSINESS_PATH:
            return BusinessStreams(self, send, request)
        if request.path.rstrip("/") == PRIVATE_PATH:
            session = PrivateStreams(self, send, request)
            self.listeners.add(session)
            return session
        if request.path.rstrip("/") == PUBLIC_PATH:
            return PublicStreams(self, send, request)
        return None

    def rate_limited(self, request: Request, banned: bool) -> Response:
        # There is no 418: who goes on meets the firewall, which does not speak JSON.
        if banned:
            return Response(
                status=403, body="<html>Access denied</html>", headers={"Content-Type": "text/html"}
            )
        return refused_answer(Refused("50011"))

    def failure(self, status: int) -> Response:
        codes = {400: "50002", 401: "50113", 405: "50115", 429: "50011", 500: "50026", 504: "50004"}
        refused = Refused(codes.get(status, "50001"))
        return Response(status=status, body=envelope_of(refused.code, refused.message))

    def _route(self, request: Request) -> Response:
        path = request.path.removeprefix(PREFIX)
        route = ROUTES.get((request.method, path))
        if route is None or not request.path.startswith(PREFIX):
            if path in PATHS and request.path.startswith(PREFIX):
                raise Refused("50115")
            words = {
                "code": "404",
                "data": {},
                "detailMsg": "",
                "error_code": "404",
                "error_message": "Not Found",
            }
            return Response(status=404, body=words | {"msg": "Not Found"})
        if self.exchange.mode == records.MAINTENANCE_MODE and route.kind != dialect.TIME:
            raise Refused("50001")
        query = dict(parse_qsl(request.query, keep_blank_values=True))
        if route.permission is None:
            self.count((request.method, path), request.remote, "", request.now)
            return Response(body=envelope_of("0", "", self._answers[path](request, query, Account(""))))
        key = self._authenticated(request)
        values = body_of(request) if request.method == "POST" else query
        instrument = values.get("instId", "") if isinstance(values, dict) else ""
        calls = len(values) if isinstance(values, list) else 1
        self.count((request.method, path), key.account, str(instrument), request.now, calls)
        if route.permission not in key.permissions:
            raise Refused("50120")
        account = self.exchange.accounts[key.account]
        if request.method == "POST":
            return Response(body=self._acted(path, values, account, request))
        return Response(body=envelope_of("0", "", self._answers[path](request, query, account)))

    def _cancel_after(self, values: Any, account: Account, request: Request) -> dict[str, Any]:
        """Set the switch that cancels all pending orders: #order-book-trading-trade-post-cancel-all-after."""
        if not isinstance(values, dict):
            raise Refused("50002")
        seconds = whole(values, "timeOut")
        if seconds is None:
            raise Refused("50014", "timeOut")
        if seconds and not 10 <= seconds <= 120:
            raise Refused("51000", "timeOut")
        self.exchange.cancel_all_at(account, request.now + seconds if seconds else None)
        trigger = ms(request.clock + seconds) if seconds else "0"
        return envelope_of("0", "", [{"triggerTime": trigger, "tag": "", "ts": ms(request.clock)}])

    def _acted(self, path: str, values: Any, account: Account, request: Request) -> Any:
        if path in self.swaps.acts:
            return envelope_of("0", "", self.swaps.acts[path](values, account, request))
        if path == "trade/cancel-all-after":
            return self._cancel_after(values, account, request)
        act, most = self._order_acts[path] if path in self._order_acts else self.algos.acts[path]
        batch = most is not None
        if isinstance(values, list) != batch:
            raise Refused("50002")
        expires = request.headers.get("exptime")
        times = {"inTime": ms(request.clock) + "000", "outTime": ms(request.clock) + "000"}
        rows = values if batch else [values]
        return self.act(act, rows, account, request, expires, most=most or 1) | times

    def act(
        self,
        act: Callable[[Mapping[str, Any], Account, Request], dict[str, str]],
        orders: list[Any],
        account: Account,
        request: Request,
        expires: object = None,
        *,
        most: int = BATCH_MAX,
    ) -> dict[str, Any]:
        """Place or cancel orders, from REST or a stream, and answer with a row for each.

        `expires` is a time in ms after which nothing is done any more: #overview-transaction-timeouts.
        """
        if expires is not None:
            if not str(expires).isdigit():
                raise Refused("51000", "expTime")
            if int(str(expires)) < request.clock * 1000:
                raise Refused("50036")
        if len(orders) > most:
            raise Refused("51111", most)
        rows = []
        for order in orders:
            values = order if isinstance(order, dict) else {}
            rows.append(act(values, account, request))
        failed = sum(row["sCode"] != "0" for row in rows)
        code, words = ("0", "") if not failed else ("2", "Bulk operation partially succeeded.")
        if failed == len(rows):
            code, words = "1", "All operations failed"
        return envelope_of(code, words, rows)

    def _authenticated(self, request: Request) -> Key:
        headers = request.headers
        for name, code in (
            ("key", "50103"),
            ("passphrase", "50104"),
            ("sign", "50106"),
            ("timestamp", "50107"),
        ):
            if not headers.get(f"ok-access-{name}"):
                raise Refused(code)
        written = headers["ok-access-timestamp"]
        try:
            at = datetime.strptime(written, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC).timestamp()
        except ValueError as error:
            raise Refused("50112") from error
        if abs(request.clock - at) > CLOCK_MAX_S:
            raise Refused("50102")
        key = self.exchange.keys.get(headers["ok-access-key"])
        if key is None:
            raise Refused("50111")
        if key.revoked:
            raise Refused("50119")
        if not hmac.compare_digest(headers["ok-access-passphrase"].encode(), (key.passphrase or "").encode()):
            raise Refused("50105")
        query = f"?{request.query}" if request.query else ""
        expected = signature(key.secret, f"{written}{request.method}{request.path}{query}{request.form}")
        if not hmac.compare_digest(expected.encode(), headers["ok-access-sign"].encode()):
            raise Refused("50113")
        return key

    def count(self, call: tuple[str, str], who: str, instrument: str, now: float, calls: int = 1) -> None:
        """Count calls by (method, path), from REST or a stream; refuse what is more than the limit."""
        if not self.limited:
            return
        route = ROUTES[call]
        window = int(now // route.window_s)
        counted = (*call, f"{who} {instrument}" if route.per == "instrument" else who)
        last, used = self._windows.get(counted, (window, 0))
        used = used if last == window else 0
        self._windows[counted] = (window, used + calls)
        if used + calls > route.calls:
            raise Refused("50011")

    def _count_order(self, account: Account, now: float) -> None:
        """Count an order of any market, whichever way it came."""
        window = int(now // ORDERS_WINDOW_S)
        last, used = self._order_windows.get(account.name, (window, 0))
        used = (used if last == window else 0) + 1
        self._order_windows[account.name] = (window, used)
        if self.limited and used > ORDERS_MAX:
            raise Refused("50061")

    # Public answers

    def _time(self, request: Request, query: Mapping[str, str], account: Account) -> Any:
        return [{"ts": ms(request.clock)}]

    def _price_limit(self, request: Request, query: Mapping[str, str], account: Account) -> Any:
        market = self.market(query)
        bounds = self.exchange.price_bounds(market.symbol, request.now)
        highest, lowest = ("", "") if bounds is None else (text(one) for one in bounds)
        return [
            {
                "instType": "SPOT" if market.settled_in is None else "SWAP",
                "instId": inst_id(market.symbol),
                "buyLmt": highest,
                "sellLmt": lowest,
                "ts": ms(request.now),
                "enabled": bounds is not None,
            }
        ]

    def _instruments(self, request: Request, query: Mapping[str, str], account: Account) -> Any:
        return [self._instrument(market) for market in self._listed_markets(query)]

    def _instrument(self, market: Market) -> dict[str, Any]:
        mode = self.exchange.mode_of(market.symbol)
        most = text(market.max_qty)
        nothing = (
            "alias", "auctionEndTime", "ctMult", "ctType", "ctVal", "ctValCcy", "contTdSwTime", "expTime",
            "instFamily", "lever", "maxPlatOILmt", "openType", "optType", "posLmtAmt", "posLmtPct",
            "preMktSwTime", "settleCcy", "stk", "uly",
        )  # fmt: skip
        contract = self.swaps.instrument(market) if market.settled_in is not None else {}
        row = dict.fromkeys(nothing, "") | {
            "baseCcy": market.base,
            "category": "1",
            "futureSettlement": False,
            "groupId": self.group(market),
            "instId": inst_id(market.symbol),
            "instIdCode": self.code_of(market.symbol),
            "instType": "SPOT",
            "listTime": "1548133413000",
            "lotSz": text(market.lot),
            "maxIcebergSz": most,
            "maxLmtAmt": text(market.max_notional or Decimal(20_000_000)),
            "maxLmtSz": most,
            "maxMktAmt": text(market.max_market_notional or Decimal(1_000_000)),
            "maxMktSz": "1000000",
            "maxStopSz": "1000000",
            "maxTriggerSz": most,
            "maxTwapSz": most,
            "minSz": text(market.min_qty),
            "quoteCcy": market.quote,
            "ruleType": "normal",
            "state": "live" if mode in (records.TRADING, records.POST_ONLY_ONLY_MODE) else "suspend",
            "tickSz": text(market.tick),
            "tradeQuoteCcyList": [market.quote],
        }
        return row | contract

    def group(self, market: Market) -> str:
        """The number of the group of markets that have these fees."""
        fees = list(dict.fromkeys((m.maker_fee, m.taker_fee) for m in self.exchange.markets.values()))
        return str(fees.index((market.maker_fee, market.taker_fee)) + 1)

    def code_of(self, symbol: str) -> int:
        """The number of a market, which orders on a WebSocket name instead of its name."""
        return FIRST_INSTRUMENT_CODE + list(self.exchange.markets).index(symbol)

    def _listed_markets(self, query: Mapping[str, str]) -> list[Market]:
        if not query.get("instType"):
            raise Refused("50014", "instType")
        if query["instType"] not in ("SPOT", "MARGIN", "SWAP", "FUTURES", "OPTION", "ANY"):
            raise Refused("51000", "instType")
        if query.get("instId"):
            found = [self.market(query)]
        else:
            found = list(self.exchange.markets.values())
        return [market for market in found if query["instType"] in ("ANY", inst_type(market.symbol))]

    def market(self, values: Mapping[str, Any]) -> Market:
        """Find the market that a request names."""
        if values.get("instIdCode") is not None:
            codes = {self.code_of(symbol): market for symbol, market in self.exchange.markets.items()}
            market = codes.get(values["instIdCode"]) if isinstance(values["instIdCode"], int) else None
        else:
            if not values.get("instId"):
                raise Refused("50014", "instId")
            market = self.exchange.markets.get(symbol_of(values["instId"]))
        if market is None:
            raise Refused("51001")
        return market

    def ticker(self, market: Market, now: float) -> dict[str, Any]:
        """The ticker of a market, over recent trades where OKX looks back 24 hours."""
        trades = day_trades(self.exchange, market.symbol, now)
        bid = self.exchange.best(market.symbol, "buy", now)
        ask = self.exchange.best(market.symbol, "sell", now)
        prices = [trade.price for trade in trades]
        first = text(prices[0]) if prices else ""
        contract = self.swaps.ticker(market) if market.settled_in is not None else {}
        row = {
            "instType": "SPOT",
            "instId": inst_id(market.symbol),
            "last": text(prices[-1]) if prices else "",
            "lastSz": text(trades[-1].quantity) if trades else "",
            "askPx": text(ask[0]) if ask else "",
            "askSz": text(ask[1]) if ask else "",
            "bidPx": text(bid[0]) if bid else "",
            "bidSz": text(bid[1]) if bid else "",
            "open24h": first,
            "high24h": text(max(prices)) if prices else "",
            "low24h": text(min(prices)) if prices else "",
            "volCcy24h": text(sum((t.price * t.quantity for t in trades), ZERO)),
            "vol24h": text(sum((t.quantity for t in trades), ZERO)),
            "sodUtc0": first,
            "sodUtc8": first,
            "ts": ms(now),
        }
        return row | contract

    def _ticker(self, request: Request, query: Mapping[str, str], account: Account) -> Any:
        return [self.ticker(self.market(query), request.now)]

    def _tickers(self, request: Request, query: Mapping[str, str], account: Account) -> Any:
        return [self.ticker(market, request.now) for market in self._listed_markets(query)]

    def _books(self, request: Request, query: Mapping[str, str], account: Account) -> Any:
        market = self.market(query)
        size = whole(query, "sz", 1) or 0
        if not 1 <= size <= BOOK_MAX:
            raise Refused("51000", "sz")
        depth = self.exchange.depth(market.symbol, size, now=request.now)
        return [{"asks": levels(depth.asks), "bids": levels(depth.bids), "ts": ms(request.now)}]

    def trade(self, trade: PublicTrade) -> dict[str, Any]:
        """A public trade."""
        return {
            "instId": inst_id(trade.symbol),
            "tradeId": str(trade.trade_id),
            "px": text(trade.price),
            "sz": text(trade.quantity),
            "side": trade.taker_side,
            "ts": ms(trade.now),
        }

    def _trades(self, request: Request, query: Mapping[str, str], account: Account) -> Any:
        market = self.market(query)
        limit = min(whole(query, "limit", PAGE) or 0, 500)
        return [self.trade(one) for one in reversed(self.exchange.recent_trades(market.symbol, limit))]

    # Money

    def _balance(self, request: Request, query: Mapping[str, str], account: Account) -> Any:
        owned = self.exchange.balances(account, request.view.balances_as_of)
        chosen = query["ccy"].split(",") if query.get("ccy") else owned
        rows = {currency: amounts for currency, amounts in owned.items() if currency in chosen}
        return [self.holdings(account, rows, request.now)]

    def holdings(
        self, account: Account, rows: Mapping[str, tuple[Decimal, Decimal]], now: float
    ) -> dict[str, Any]:
        """What an account holds of some currencies: #trading-account-rest-api-get-balance."""
        nothing = ("adjEq", "availEq", "borrowFroz", "delta", "imr", "mgnRatio", "mmr", "notionalUsd",
                   "notionalUsdForBorrow", "notionalUsdForFutures", "notionalUsdForOption",
                   "notionalUsdForSwap", "ordFroz", "upl")  # fmt: skip
        details = [
            self._holding(currency, free, locked, now)
            | self.swaps.holding(account, currency, free + locked, locked)
            for currency, (free, locked) in rows.items()
        ]
        # Only what is worth a dollar by name is counted; OKX values everything.
        named = [Decimal(row["eq"]) for row in details if row["ccy"] in ("USDT", "USDC", "USD")]
        dollars = sum(named, ZERO)
        return dict.fromkeys(nothing, "") | {
            "details": details,
            "isoEq": "0",
            "totalEq": text(Decimal(dollars)),
            "uTime": ms(now),
        }

    def _holding(self, currency: str, free: Decimal, locked: Decimal, now: float) -> dict[str, Any]:
        empty = ("accAvgPx", "borrowFroz", "clSpotInUseAmt", "coinUsdPrice", "crossLiab", "interest",
                 "isoLiab", "liab", "maxLoan", "maxSpotInUseAmt", "mgnRatio", "openAvgPx", "spotBal",
                 "spotInUseAmt", "spotUpl", "spotUplRatio", "totalPnl", "totalPnlRatio",
                 "uplLiab")  # fmt: skip
        zero = ("colBorrAutoConversion", "disEq", "fixedBal", "imr", "isoEq", "isoUpl", "mmr",
                "notionalLever", "rewardBal", "smtSyncEq", "spotCopyTradingEq", "spotIsoBal", "stgyEq",
                "twap", "upl")  # fmt: skip
        total = text(free + locked)
        return (
            dict.fromkeys(empty, "")
            | dict.fromkeys(zero, "0")
            | {
                "availBal": text(free),
                "availEq": text(free),
                "cashBal": total,
                "ccy": currency,
                "collateralEnabled": False,
                "collateralRestrict": False,
                "eq": total,
                "eqUsd": total,
                "frozenBal": text(locked),
                "ordFrozen": text(locked),
                "uTime": ms(now),
            }
        )

    def _config(self, request: Request, query: Mapping[str, str], account: Account) -> Any:
        key = self.exchange.keys[request.headers["ok-access-key"]]
        allowed = [words for name, words in PERMISSIONS.items() if name in key.permissions]
        return [
            {
                "uid": uid(account.name),
                "mainUid": uid(account.name),
                "acctLv": "1" if self.exchange.contracts is None else "2",
                "acctStpMode": "cancel_maker",
                "autoLoan": False,
                "greeksType": "PA",
                "level": "Lv1",
                "posMode": "net_mode",
                "label": account.name,
                "ip": ",".join(key.ips),
                "perm": ",".join(allowed),
                "kycLv": "3",
                "type": "0",
            }
        ]

    def _trade_fee(self, request: Request, query: Mapping[str, str], account: Account) -> Any:
        markets = self._listed_markets(query)
        groups = {self.group(market): market for market in markets}
        nothing = ("delivery", "exercise", "makerU", "makerUSDC", "takerU", "takerUSDC", "uly")
        if not markets:
            return []
        return [
            dict.fromkeys(nothing, "")
            | {
                "category": "1",
                "feeGroup": [
                    {
                        "groupId": group,
                        "maker": signed(m.maker_fee),
                        "taker": signed(m.taker_fee),
                        "elpMaker": "",
                    }
                    for group, m in groups.items()
                    if query.get("groupId") in (None, "", group)
                ],
                "fiat": [],
                "instType": query["instType"],
                "level": "Lv1",
                "maker": signed(markets[0].maker_fee),
                "taker": signed(markets[0].taker_fee),
                **self.swaps.fees(markets[0]),
                "ruleType": "normal",
                "ts": ms(request.now),
            }
        ]

    def _known_currencies(self) -> list[str]:
        return sorted({c for m in self.exchange.markets.values() for c in (m.base, m.quote)})

    def _currencies(self, request: Request, query: Mapping[str, str], account: Account) -> Any:
        return [
            {
                "ccy": currency,
                "name": currency,
                "chain": f"{currency}-{currency}",
                "canDep": True,
                "canWd": True,
                "canInternal": True,
                "fee": "0",
                "maxWd": "1000000",
                "minDep": "0.00000001",
                "minWd": "0.001",
                "wdTickSz": "8",
                "mainNet": True,
            }
            for currency in self._known_currencies()
        ]

    def _funding(self, request: Request, query: Mapping[str, str], account: Account) -> Any:
        # One account holds everything here; OKX has a second one that deposits reach first.
        return [
            {"availBal": "0", "bal": "0", "ccy": currency, "frozenBal": "0"}
            for currency in self._known_currencies()
        ]

    def _deposits(self, request: Request, query: Mapping[str, str], account: Account) -> Any:
        return [
            {
                "depId": str(one.transfer_id),
                "from": "",
                "to": one.address,
                "actualDepBlkConfirm": "2",
                **self._transfer(one),
            }
            for one in self._moved("deposit", query, account)
        ]

    def _withdrawals(self, request: Request, query: Mapping[str, str], account: Account) -> Any:
        return [
            {
                "wdId": str(one.transfer_id),
                "clientId": "",
                "from": account.name,
                "to": one.address,
                "fee": text(one.fee),
                "feeCcy": one.currency,
                **self._transfer(one),
            }
            for one in self._moved("withdrawal", query, account)
        ]

    def _transfer(self, one: Transfer) -> dict[str, str]:
        return {
            "ccy": one.currency,
            "chain": f"{one.currency}-{one.currency}",
            "amt": text(one.amount),
            "ts": ms(one.time),
            "txId": one.txid,
            "state": "2",
        }

    def _moved(self, kind: str, query: Mapping[str, str], account: Account) -> list[Transfer]:
        found = [
            (round(one.time * 1000), one)
            for one in account.transfers
            if one.kind == kind and query.get("ccy") in (None, "", one.currency)
        ]
        return page_of(found, query)

    # Orders

    def place(self, values: Mapping[str, Any], account: Account, request: Request) -> dict[str, str]:
        """Place one order, from REST or a stream; a refusal is a row too."""
        row = {
            "clOrdId": str(values.get("clOrdId") or ""),
            "ordId": "",
            "tag": str(values.get("tag") or ""),
            "ts": ms(request.clock),
            "sCode": "0",
            "sMsg": "Order placed",
            "subCode": "",
        }
        try:
            self._count_order(account, request.now)
            order = self._placed(values, account, request.now)
        except Refused as refused:
            return row | {"sCode": refused.code, "sMsg": refused.message}
        return row | {"ordId": str(self.ord_id(order.order_id))}

    def _placed(self, values: Mapping[str, Any], account: Account, now: float) -> Order:
        """Read and carry out #order-book-trading-trade-post-place-order."""
        market = self.market(values)
        for name in ("tdMode", "side", "ordType", "sz"):
            if values.get(name) in (None, ""):
                raise Refused("50014", name)
        if market.settled_in is not None:
            self.swaps.check_order(values)
        elif values["tdMode"] != "cash":
            raise Refused("51010")
        if values["side"] not in ("buy", "sell"):
            raise Refused("51000", "side")
        if values["ordType"] not in ORDER_TYPES:
            raise Refused("51000", "ordType")
        if values.get("attachAlgoOrds"):
            raise Refused("51000", "attachAlgoOrds")
        side: Literal["buy", "sell"] = values["side"]
        order_type, time_in_force, post_only = ORDER_TYPES[values["ordType"]]
        cl_ord_id, tag = str(values.get("clOrdId") or ""), str(values.get("tag") or "")
        if cl_ord_id and not CL_ORD_ID.fullmatch(cl_ord_id):
            raise Refused("51000", "clOrdId")
        if not TAG.fullmatch(tag):
            raise Refused("51000", "tag")
        stp = str(values.get("stpMode") or "cancel_maker")
        if stp not in STP_MODES:
            raise Refused("51000", "stpMode")
        size = positive(values, "sz")
        target = str(values.get("tgtCcy") or ("quote_ccy" if side == "buy" else "base_ccy"))
        if target not in ("base_ccy", "quote_ccy"):
            raise Refused("51000", "tgtCcy")
        in_quote = order_type == "market" and target == "quote_ccy" and market.settled_in is None
        reduce_only = market.settled_in is not None and is_said(values, "reduceOnly")
        price = positive(values, "px") if order_type == "limit" else None
        if not in_quote:
            if size < market.min_qty:
                raise Refused("51020")
            if size > market.max_qty:
                raise Refused("51005")

        def create(amount: Decimal, by_quote: bool) -> Order:
            return self.exchange.create_order(
                account,
                market.symbol,
                side,
                order_type,
                None if by_quote else amount,
                price,
                quote_quantity=amount if by_quote else None,
                time_in_force=time_in_force,
                post_only=post_only,
                client_order_id=cl_ord_id,
                reduce_only=reduce_only,
                self_trade=STP_MODES[stp],
                now=now,
            )

        try:
            order = create(size, in_quote)
        except Reject as reject:
            if reject.reason == records.POST_ONLY_WOULD_CROSS:
                assert price is not None
                order = self._turn_away(account, market, side, size, price, cl_ord_id, now)
            elif (
                reject.reason == records.INSUFFICIENT_FUNDS
                and order_type == "market"
                and market.settled_in is None
                and not is_said(values, "banAmend")
            ):
                order = self._smaller(create, market, account, side, reject)
                in_quote = order.quote_quantity is not None
            else:
                raise refusal(reject, market, side) from reject
        word = ("quote_ccy" if in_quote else "base_ccy") if order_type == "market" else ""
        self._tags[order.order_id] = (tag, word)
        return order

    def _smaller(
        self,
        create: Callable[[Decimal, bool], Order],
        market: Market,
        account: Account,
        side: str,
        reject: Reject,
    ) -> Order:
        """Place a market order for as much as can be paid: `banAmend` of the same page."""
        free = account.free.get(market.quote if side == "buy" else market.base, ZERO)
        amount = free if side == "buy" else free // market.lot * market.lot
        if amount <= 0:
            raise refusal(reject, market, side) from reject
        try:
            return create(amount, side == "buy")
        except Reject as again:
            raise refusal(again, market, side) from again

    def _turn_away(
        self,
        account: Account,
        market: Market,
        side: Literal["buy", "sell"],
        size: Decimal,
        price: Decimal,
        cl_ord_id: str,
        now: float,
    ) -> Order:
        """Keep and tell of a post-only order that is accepted and cancelled in one breath."""
        kept = self._turned_away.setdefault(account.name, [])
        last = self.ord_id(next(reversed(self.exchange.orders), 0))
        order = Order(
            order_id=-1 - len(self._between),
            client_order_id=cl_ord_id,
            account=account.name,
            symbol=market.symbol,
            side=side,
            order_type="limit",
            time_in_force="GTC",
            post_only=True,
            quantity=size,
            quote_quantity=None,
            price=price,
            created_at=now,
            updated_at=now,
            status=records.CANCELED,
            reason="POST_ONLY",
            history=[(now, records.CANCELED, ZERO, ZERO)],
        )
        newest = max((number for number in self._between.values() if number > last), default=last)
        self._between[order.order_id] = newest + 1
        kept.append(order)
        kinds: tuple[tuple[Literal["new", "canceled"], str], ...] = (
            ("new", records.SUBMITTED),
            ("canceled", records.CANCELED),
        )
        for kind, status in kinds:
            update = OrderUpdate(
                order=order,
                kind=kind,
                status=status,
                filled_quantity=ZERO,
                filled_quote=ZERO,
                fill=None,
                now=now,
            )
            for session in list(self.listeners):
                session.on_event(update)
        return order

    def cancel(self, values: Mapping[str, Any], account: Account, request: Request) -> dict[str, str]:
        """Cancel one order, from REST or a stream; a refusal is a row too."""
        row = {
            "clOrdId": str(values.get("clOrdId") or ""),
            "ordId": str(values.get("ordId") or ""),
            "ts": ms(request.clock),
            "sCode": "0",
            "sMsg": "",
        }
        try:
            market = self.market(values)
            if not row["ordId"] and not row["clOrdId"]:
                raise Refused("51407")
            order = self.find(account, market, values)
            if order is None or not order.open:
                raise Refused("51400")
            self.exchange.cancel_order(account, order.order_id, now=request.now)
        except Refused as refused:
            return row | {"sCode": refused.code, "sMsg": refused.message}
        except Reject as reject:
            # Only maintenance is left, and that is said by the front.
            raise Refused("50001") from reject
        return row | {"ordId": str(self.ord_id(order.order_id)), "clOrdId": self.name_of(order)}

    def find(
        self, account: Account, market: Market, values: Mapping[str, Any], as_of: float | None = None
    ) -> Order | None:
        """Find an order by ordId, or the latest of a clOrdId; an open one first."""
        if values.get("ordId"):
            number = str(values["ordId"])
            for order in self._turned_away.get(account.name, ()):
                if str(self._between[order.order_id]) == number and order.symbol == market.symbol:
                    return order.as_of(as_of)
            order_id, rest = divmod(int(number) - FIRST_ORDER, BETWEEN) if number.isdigit() else (0, 1)
            if rest:
                return None
            numbered = self.exchange.find_order(account, order_id, symbol=market.symbol, as_of=as_of)
            return numbered if numbered is not None and is_order(numbered) else None
        client_id = str(values.get("clOrdId") or "")
        found = self.exchange.find_order(account, None, client_id, symbol=market.symbol, as_of=as_of)
        if found is not None and found.trigger is not None:
            found = None  # its name is an algoClOrdId
        if found is not None and found.open:
            return found
        ended = [
            order
            for order in self._turned_away.get(account.name, ())
            if order.client_order_id == client_id and order.symbol == market.symbol and order.as_of(as_of)
        ]
        ended += [found] if found is not None else []
        return max(ended, key=lambda order: self.ord_id(order.order_id), default=None)

    def name_of(self, order: Order) -> str:
        """An order's clOrdId; what an algo order has placed has none."""
        return order.client_order_id if order.trigger is None else ""

    def ord_id(self, order_id: int) -> int:
        """OKX's number of an order."""
        return self._between[order_id] if order_id < 0 else FIRST_ORDER + order_id * BETWEEN

    # Asking for orders and trades

    def _order(self, request: Request, query: Mapping[str, str], account: Account) -> Any:
        market = self.market(query)
        if not query.get("ordId") and not query.get("clOrdId"):
            raise Refused("51003")
        order = self.find(account, market, query, request.view.orders_as_of)
        if order is None or self._forgotten(order, request):
            raise Refused("51603")
        return [self.record(order)]

    def _forgotten(self, order: Order, request: Request) -> bool:
        if order.open:
            return False
        old = request.now - order.updated_at > FORGOTTEN_AFTER_S and not order.filled_quantity
        return request.view.hide_closed or old

    def _pending(self, request: Request, query: Mapping[str, str], account: Account) -> Any:
        orders = self.exchange.open_orders(account, as_of=request.view.orders_as_of)
        return self._listed(orders, query)

    def _history(self, request: Request, query: Mapping[str, str], account: Account) -> Any:
        if not query.get("instType"):
            raise Refused("50014", "instType")
        path = request.path.rpartition("/")[2]
        since = request.now - RECENT_DAYS[path] * 86_400
        as_of = request.view.orders_as_of
        orders = self.exchange.closed_orders(account, as_of=as_of)
        orders += [order for order in self._turned_away.get(account.name, ()) if order.as_of(as_of)]
        kept = [o for o in orders if not self._forgotten(o, request) and o.updated_at >= since]
        if path.endswith("archive"):
            kept = [order for order in kept if order.filled_quantity]
        return self._listed(kept, query)

    def _listed(self, orders: Iterable[Order], query: Mapping[str, str]) -> list[dict[str, Any]]:
        symbol = self.market(query).symbol if query.get("instId") else None
        begin, end = whole(query, "begin", 0) or 0, whole(query, "end", 2**63) or 2**63
        kinds = (None, "", "ANY")
        found = [
            (self.ord_id(order.order_id), order)
            for order in orders
            if is_order(order)
            and symbol in (None, order.symbol)
            and query.get("instType") in (*kinds, inst_type(order.symbol))
            and begin <= round(order.created_at * 1000) <= end
            and query.get("state") in (None, "", state_of(order.status))
            and query.get("ordType") in (None, "", order_word(order))
        ]
        return [self.record(order) for order in page_of(found, query)]

    def record(
        self,
        order: Order,
        *,
        filled: Decimal | None = None,
        quote: Decimal | None = None,
        fills: int | None = None,
    ) -> dict[str, Any]:
        """The order as OKX tells of it: #order-book-trading-trade-get-order-details.

        `filled`, `quote` and `fills`: as it stood after so much was filled, for the stream.
        """
        done = order.fills[:fills] if fills is not None else order.fills
        filled = order.filled_quantity if filled is None else filled
        quote = order.filled_quote if quote is None else quote
        market = self.exchange.markets[order.symbol]
        last = done[-1] if done else None
        tag, target = self._tags.get(order.order_id, ("", "base_ccy" if order.order_type == "market" else ""))
        receives = market.base if order.side == "buy" else market.quote
        pays = market.quote if order.side == "buy" else market.base
        size = order.quote_quantity if order.quote_quantity is not None else order.quantity
        source = cancel_source(order)
        nothing = (
            "algoClOrdId", "algoId", "attachAlgoClOrdId", "ccy", "lever", "pxType", "pxUsd", "pxVol",
            "quickMgnType", "slOrdPx", "slTriggerPx", "slTriggerPxType", "source", "stpId", "tpOrdPx",
            "tpTriggerPx", "tpTriggerPxType",
        )  # fmt: skip
        contract = self.swaps.order(order, done) if market.settled_in is not None else {}
        row = dict.fromkeys(nothing, "") | {
            "accFillSz": text(filled),
            "attachAlgoOrds": [],
            "avgPx": text((quote / filled).quantize(Decimal(1).scaleb(-12))) if filled else "",
            "cTime": ms(order.created_at),
            "cancelSource": source,
            "cancelSourceReason": CANCEL_WORDS.get(source, ""),
            "category": "normal",
            "clOrdId": self.name_of(order),
            "fee": signed(sum((fill.fee for fill in done), ZERO)),
            "feeCcy": last.fee_currency if last else receives,
            "fillPx": text(last.price) if last else "",
            "fillSz": text(last.quantity) if last else "0",
            "fillTime": ms(last.time) if last else "",
            "instId": inst_id(order.symbol),
            "instType": "SPOT",
            "isTpLimit": "false",
            "linkedAlgoOrd": {"algoId": ""},
            "ordId": str(self.ord_id(order.order_id)),
            "ordType": order_word(order),
            "pnl": "0",
            "posSide": "net",
            "px": text(order.price) if order.price is not None else "",
            "rebate": "0",
            "rebateCcy": pays,
            "reduceOnly": "false",
            "side": order.side,
            "state": state_of(order.status),
            "stpMode": STP_WORDS.get(order.self_trade, "cancel_maker"),
            "sz": text(size),
            "tag": tag,
            "tdMode": "cash",
            "tgtCcy": target,
            "tradeId": str(last.trade_id) if last else "",
            "tradeQuoteCcy": market.quote,
            "uTime": ms(order.updated_at),
        }
        if order.trigger is not None:
            number = str(FIRST_ALGO + order.order_id)
            row |= {
                "algoId": number,
                "algoClOrdId": order.client_order_id,
                "linkedAlgoOrd": {"algoId": number},
                "source": "6" if order.trigger.kind == "trigger" else "7",
                "cTime": ms(order.triggered_at or order.created_at),
            }
        return row | contract

    def _fills(self, request: Request, query: Mapping[str, str], account: Account) -> Any:
        path = request.path.rpartition("/")[2]
        if path == "fills-history" and not query.get("instType"):
            raise Refused("50014", "instType")
        symbol = self.market(query).symbol if query.get("instId") else None
        since = request.now - RECENT_DAYS[path] * 86_400
        begin, end = whole(query, "begin", 0) or 0, whole(query, "end", 2**63) or 2**63
        fills = self.exchange.my_trades(account, symbol, since=since, as_of=request.view.orders_as_of)
        found = [
            (bill_id(fill), fill)
            for fill in fills
            if query.get("instType") in (None, "", "ANY", inst_type(fill.symbol))
            and query.get("ordId") in (None, "", str(self.ord_id(fill.order_id)))
            and begin <= round(fill.time * 1000) <= end
        ]
        return [self._fill(fill) for fill in page_of(found, query)]

    def _fill(self, fill: Fill) -> dict[str, Any]:
        """One fill: #order-book-trading-trade-get-transaction-details-last-3-days."""
        market = self.exchange.markets[fill.symbol]
        received = fill.quantity if fill.fee_currency == market.base else fill.quote_quantity
        row = {
            "instType": "SPOT",
            "instId": inst_id(fill.symbol),
            "tradeId": str(fill.trade_id),
            "ordId": str(self.ord_id(fill.order_id)),
            "clOrdId": self.name_of(self.exchange.orders[fill.order_id]),
            "billId": str(bill_id(fill)),
            "subType": "1" if fill.side == "buy" else "2",
            "tag": self._tags.get(fill.order_id, ("", ""))[0],
            "fillPx": text(fill.price),
            "fillSz": text(fill.quantity),
            "fillIdxPx": "",
            "fillPnl": "0",
            "fillPxVol": "",
            "fillPxUsd": "",
            "fillMarkVol": "",
            "fillFwdPx": "",
            "fillMarkPx": "",
            "side": fill.side,
            "posSide": "net",
            "execType": execution(fill),
            "feeCcy": fill.fee_currency,
            "fee": signed(fill.fee),
            "feeRate": signed((fill.fee / received).quantize(Decimal("0.00000001"))),
            "ts": ms(fill.time),
            "fillTime": ms(fill.time),
            "tradeQuoteCcy": market.quote,
        }
        return row | (self.swaps.fill(fill) if market.settled_in is not None else {})
