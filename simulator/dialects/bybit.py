"""Bybit, API v5: names, signatures, limits and the REST API. The WebSocket is in `bybit_streams`.

What is true here and elsewhere surprises:

1. HTTP is nearly always 200; `retCode` says no. Only an address that asks too often gets a 403, without JSON.
2. Placing and cancelling answer with two ids. What became of the order is asked for, or read on the streams.
3. `orderLinkId` counts for 360 days after its order ended: asking by it finds one order at most.
4. `order/realtime` knows open orders, and by id or link id the 500 last ended ones too; `order/history` knows
   only ended ones. Both go newest first, and name a next page even when it will be empty.
5. A market order without `marketUnit` buys for an amount of quote currency and sells an amount of base.
6. An immediate order whose rest was dropped is `PartiallyFilledCanceled`, or `Cancelled` without any fill.
7. Limits are so many requests a second for each account and path; each answer's head says what is left.
8. An order with a trigger names its kind in `orderFilter`, and is cancelled under that name only: one of
   `tpslOrder` holds its money while it waits, one of `StopOrder` does not. Which way the price has to go
   follows from the last price when it was placed. Cancelled while it waited, it is `Deactivated`.
9. Amending answers with two ids as well, and keeps them.

Perpetual contracts, where they are listed, are in `bybit_linear`; the rules above are those of spot.

Not here: other categories, margin, brackets, trailing stops, batches, candles. They are refused by name. A
post-only order of spot that would trade is refused at once (170218), where a unified account
may also see it accepted and then rejected with `EC_PostOnlyWillTakeLiquidity`: no order is kept for it here.

Pages: https://bybit-exchange.github.io/docs/v5/guide and those beside it. Facts that come from elsewhere say
so.
"""

import hashlib
import hmac
import json
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, Literal

from simulator import records
from simulator.day import day_trades
from simulator.dialects import bybit_streams as streams
from simulator.dialects import dialect
from simulator.dialects.bybit_linear import Linear
from simulator.dialects.bybit_words import (
    AMOUNT_DECIMALS,
    BAD_FILTER,
    BAD_REQUEST,
    BAD_SIDE,
    BAD_SIGNATURE,
    BAD_SYMBOL,
    BAD_TIME_IN_FORCE,
    BAD_TYPE,
    BAN_S,
    CLOSED_KEPT,
    DOLLARS,
    ENDINGS,
    FILTERS,
    HISTORY_S,
    INVALID_KEY,
    IP_LIMIT,
    IP_WINDOW_S,
    KINDS,
    LIMITS,
    LINEAR,
    LINEAR_PATH,
    LINK_ID,
    LINK_ID_KEPT_S,
    NO_ORDER,
    NO_PERMISSION,
    NO_ROUTE,
    NO_TRIGGER,
    NOT_SIMULATED,
    NOT_SUPPORTED,
    PERMISSIONS,
    PRIVATE_PATH,
    PUBLIC_PATH,
    QUANTITY_DECIMALS,
    QUANTITY_LARGE,
    QUANTITY_SMALL,
    SERVER_ERROR,
    SMP_TYPES,
    SMP_WORDS,
    SPOT,
    TOO_MANY,
    TOO_MANY_FROM_ADDRESS,
    TRADE_PATH,
    TRANSFERS_S,
    UNCHANGED,
    WORDS,
    Refused,
    Wanted,
    Window,
    amount_of,
    answer_of,
    category_of,
    check_time,
    count_of,
    fill_name,
    filter_of,
    forbidden_of,
    force_of,
    invalid,
    market_name,
    market_unit,
    ms,
    named,
    order_name,
    order_number,
    page_of,
    quote_step,
    refusal_of,
    refused_answer,
    signature,
    span_of,
    status_of,
    stop_type,
    time_in_force,
)
from simulator.dialects.dialect import Request, Response, Send
from simulator.exchange import Exchange
from simulator.records import ZERO, Account, Band, Fill, Key, Market, Order, Reject, Trigger, text

# How high a buy and how low a sell may be, as multiples of an index; here of the average of two minutes. How
# wide it is differs by market and hour, mostly a few percent; this one leaves room for stories.
# https://bybit-exchange.github.io/docs/v5/account/set-price-limit
BAND = Band(buy=(ZERO, Decimal(5)), sell=(Decimal("0.2"), Decimal(1000)), minutes=2)

# Rules as instruments-info gives them, fees of the lowest tier:
# https://www.bybit.com/en/help-center/article/Trading-Fee-Structure
MARKETS = [
    Market(
        symbol=f"{base}/{quote}",
        base=base,
        quote=quote,
        tick=Decimal(tick),
        lot=Decimal(lot),
        min_qty=Decimal(lot),
        max_qty=Decimal(largest),
        min_notional=Decimal(value),
        maker_fee=Decimal("0.001"),
        taker_fee=Decimal("0.001"),
        max_orders=500,
        max_waiting=30,
        band=BAND,
    )
    for base, quote, tick, lot, largest, value in (
        ("BTC", "USDT", "0.1", "0.000001", "230", "5"),
        ("ETH", "USDT", "0.01", "0.00001", "8118", "5"),
        ("ETH", "BTC", "0.000001", "0.00001", "1542.6", "0.000065"),
    )
]


class Bybit:
    """One Bybit. Keeps the limits, and when an order was placed at which price."""

    def __init__(self, exchange: Exchange, *, limited: bool = True, ban_s: float = BAN_S) -> None:
        self.exchange = exchange
        self.limited = limited
        self.ban_s = ban_s
        self.prices: dict[int, Decimal] = {}  # order id -> last price when it was placed
        self._windows: dict[tuple[str, str], Window] = {}  # (account, path) -> its limit
        self._addresses: dict[str, Window] = {}  # remote -> its limit
        self._banned: dict[str, float] = {}  # remote -> until
        self._connections = 0
        self.linear = Linear(self)
        self._public: dict[str, Callable[[Request, dict[str, str]], Any]] = {
            "/v5/market/time": self._time,
            "/v5/market/instruments-info": self._instruments,
            "/v5/market/tickers": self._tickers,
            "/v5/market/price-limit": self._price_limit,
            "/v5/market/orderbook": self._orderbook,
            "/v5/market/recent-trade": self._recent_trades,
            **self.linear.public,
        }
        # (method, path) -> (permission, what answers)
        self._private: dict[tuple[str, str], tuple[str, Callable[[Request, dict[str, Any], Key], Any]]] = {
            ("POST", "/v5/order/create"): ("trade", self._create),
            ("POST", "/v5/order/cancel"): ("trade", self._cancel),
            ("POST", "/v5/order/amend"): ("trade", self._amend),
            ("POST", "/v5/order/cancel-all"): ("trade", self._cancel_all),
            ("GET", "/v5/order/realtime"): ("read", self._realtime),
            ("GET", "/v5/order/history"): ("read", self._history),
            ("GET", "/v5/execution/list"): ("read", self._executions),
            ("GET", "/v5/account/wallet-balance"): ("read", self._wallet_balance),
            ("GET", "/v5/account/fee-rate"): ("read", self._fee_rate),
            ("GET", "/v5/account/info"): ("read", self._account_info),
            ("GET", "/v5/user/query-api"): ("", self._key_info),
            ("GET", "/v5/asset/coin/query-info"): ("read", self._coins),
            ("GET", "/v5/asset/deposit/query-record"): ("read", self._deposits),
            ("GET", "/v5/asset/withdraw/query-record"): ("read", self._withdrawals),
            **self.linear.private,
        }

    # What the wire calls

    def kind(self, request: Request) -> str:
        by_id = "orderId=" in request.query or "orderLinkId=" in request.query
        if request.path == "/v5/order/realtime" and by_id:
            return dialect.FETCH
        return KINDS.get(request.path, dialect.OTHER)

    def handle(self, request: Request) -> Response:
        if self.limited:
            if self._banned.get(request.remote, 0.0) > request.now:
                return forbidden_of()
            address = self._addresses.setdefault(request.remote, Window(IP_LIMIT, IP_WINDOW_S))
            if not address.add(request.now):
                self._banned[request.remote] = request.now + self.ban_s
                return forbidden_of()
        head: dict[str, str] = {}
        try:
            return answer_of(request, self._route(request, head), head)
        except Refused as refusal:
            status = 404 if refusal.code == NO_ROUTE else 200
            return refused_answer(request, refusal, head, status)
        except Reject as reject:
            return refused_answer(request, refusal_of(reject), head)

    def open_session(self, request: Request, send: Send) -> dialect.Session | None:
        sessions: dict[str, type[streams.Streams]] = {
            PUBLIC_PATH: streams.PublicStreams,
            PRIVATE_PATH: streams.PrivateStreams,
            TRADE_PATH: streams.TradeStream,
        }
        if self.exchange.contracts is not None:
            sessions[LINEAR_PATH] = streams.LinearStreams
        session = sessions.get(request.path.rstrip("/"))
        return None if session is None else session(self, send, request)

    def rate_limited(self, request: Request, banned: bool) -> Response:
        return forbidden_of() if banned else refused_answer(request, Refused(TOO_MANY), {})

    def failure(self, status: int) -> Response:
        # Codes for the statuses that Bybit explains; the others carry its general one.
        code = {401: INVALID_KEY, 403: TOO_MANY_FROM_ADDRESS, 404: NO_ROUTE, 429: 429}.get(
            status, SERVER_ERROR
        )
        words = "The trading service is experiencing a high server load." if code == 429 else WORDS[code]
        body = {"retCode": code, "retMsg": words, "result": {}, "retExtInfo": {}}
        return Response(status=status, body=body)

    def connection_id(self, request: Request) -> str:
        """Name a new connection."""
        self._connections += 1
        digest = hashlib.sha256(f"{request.remote}{request.now}{self._connections}".encode()).hexdigest()
        return f"{digest[:20]}-{self._connections}"

    def _route(self, request: Request, head: dict[str, str]) -> Any:
        path = request.path
        if path in self._public:
            if request.method != "GET":
                raise Refused(NO_ROUTE)
            if path != "/v5/market/time":
                self._check_open()
            return self._public[path](request, request.parameters())
        if (request.method, path) not in self._private:
            raise Refused(NO_ROUTE)
        key, fields = self._authenticated(request)
        self.count(key, path, request.now, head)
        permission, act = self._private[request.method, path]
        if permission and permission not in key.permissions:
            raise Refused(NO_PERMISSION)
        self._check_open()
        return act(request, fields, key)

    def _check_open(self) -> None:
        if self.exchange.mode == records.MAINTENANCE_MODE:
            raise Refused(SERVER_ERROR)

    def _authenticated(self, request: Request) -> tuple[Key, dict[str, Any]]:
        """Check the four headers: https://bybit-exchange.github.io/docs/v5/guide#authentication."""
        names = ("x-bapi-timestamp", "x-bapi-api-key", "x-bapi-sign")
        timestamp, api_key, sign = (request.headers.get(name, "") for name in names)
        if not (timestamp and api_key and sign):
            # Seen on the wire, by ccxt.
            empty = f"apiTimestamp[{timestamp}] apiKey[{api_key}] apiSignature[{sign}]"
            raise Refused(BAD_REQUEST, f"empty value: {empty}: openapi sign params error!")
        window = request.headers.get("x-bapi-recv-window", "")
        key = self.exchange.keys.get(api_key)
        if key is None or key.revoked:
            raise Refused(INVALID_KEY)
        content = request.form if request.method == "POST" else request.query
        origin = f"{timestamp}{api_key}{window}{content}"
        if not hmac.compare_digest(signature(key.secret, origin).encode(), sign.encode()):
            raise Refused(BAD_SIGNATURE, f"error sign! origin_string[{origin}]")
        check_time(timestamp, window, request.clock)
        if request.method == "GET":
            return key, dict(request.parameters())
        try:
            fields = json.loads(request.form, parse_float=str, parse_int=str)
        except ValueError as error:
            raise Refused(BAD_REQUEST) from error
        if not isinstance(fields, dict):
            raise Refused(BAD_REQUEST)
        return key, fields

    def count(self, key: Key, path: str, now: float, head: dict[str, str]) -> None:
        """Count a request of an account, and say in the answer's head how many are left."""
        window = self._windows.setdefault((key.account, path), Window(LIMITS[path], 1.0))
        allowed = not self.limited or window.add(now)
        head["X-Bapi-Limit"] = str(window.limit)
        head["X-Bapi-Limit-Status"] = str(window.left())
        head["X-Bapi-Limit-Reset-Timestamp"] = str(ms(window.free_at(now)))
        if not allowed:
            raise Refused(TOO_MANY)

    def account(self, key: Key) -> Account:
        """The account of a key."""
        return self.exchange.accounts[key.account]

    # Public answers

    def _time(self, request: Request, fields: Mapping[str, str]) -> Any:
        return {"timeSecond": str(int(request.clock)), "timeNano": str(ms(request.clock) * 1_000_000)}

    def _instruments(self, request: Request, fields: Mapping[str, str]) -> Any:
        category = self.category(fields)
        row = self._instrument if category == SPOT else self.linear.instrument
        rows = [
            row(number, market)
            for number, market in enumerate(self.markets(category), 1)
            if fields.get("symbol", market_name(market)) == market_name(market)
        ]
        if "symbol" in fields and not rows:
            raise Refused(BAD_REQUEST, "Not supported symbols")
        if "status" in fields:
            rows = [row for row in rows if row["status"] == fields["status"]]
        return {"category": category, "nextPageCursor": "", "list": rows}

    def _instrument(self, number: int, market: Market) -> dict[str, Any]:
        mode = self.exchange.mode_of(market.symbol)
        largest = text(market.max_qty)
        return {
            "symbolId": number,
            "symbol": market_name(market),
            "baseCoin": market.base,
            "quoteCoin": market.quote,
            "innovation": "0",
            "status": "Trading" if mode in (records.TRADING, records.POST_ONLY_ONLY_MODE) else "Closed",
            "marginTrading": "none",
            "stTag": "0",
            "lotSizeFilter": {
                "basePrecision": text(market.lot),
                "quotePrecision": text(quote_step(market)),
                "minOrderQty": text(market.min_qty),
                "maxOrderQty": largest,
                "minOrderAmt": text(market.min_notional),
                "maxOrderAmt": "8000000",
                "maxLimitOrderQty": largest,
                "maxMarketOrderQty": largest,
                "postOnlyMaxLimitOrderSize": largest,
            },
            "priceFilter": {"tickSize": text(market.tick)},
            "riskParameters": {"priceLimitRatioX": "0.005", "priceLimitRatioY": "0.01"},
            "symbolType": "",
            "xstockMultiplier": "1",
        }

    def _price_limit(self, request: Request, fields: Mapping[str, str]) -> Any:
        market = self.market(fields)
        bounds = self.exchange.price_bounds(market.symbol, request.now)
        highest, lowest = ("", "") if bounds is None else (text(one) for one in bounds)
        return {
            "symbol": market_name(market),
            "buyLmt": highest,
            "sellLmt": lowest,
            "ts": str(ms(request.now)),
        }

    def _tickers(self, request: Request, fields: Mapping[str, str]) -> Any:
        category = self.category(fields)
        markets = [self.market(fields)] if "symbol" in fields else self.markets(category)
        rows = []
        for market in markets:
            bid = self.exchange.best(market.symbol, "buy", request.now) or (ZERO, ZERO)
            ask = self.exchange.best(market.symbol, "sell", request.now) or (ZERO, ZERO)
            figures = self.figures(market, request.now)
            if category == LINEAR:
                figures |= self.linear.ticker(market, request.now)
            rows.append(
                {
                    "bid1Price": text(bid[0]),
                    "bid1Size": text(bid[1]),
                    "ask1Price": text(ask[0]),
                    "ask1Size": text(ask[1]),
                    **figures,
                }
            )
        return {"category": category, "list": rows}

    def figures(self, market: Market, now: float) -> dict[str, str]:
        """Figures over recent trades, where Bybit looks back 24 hours."""
        trades = day_trades(self.exchange, market.symbol, now)
        prices = [trade.price for trade in trades] or [ZERO]
        volume = sum((trade.quantity for trade in trades), ZERO)
        turnover = sum((trade.price * trade.quantity for trade in trades), ZERO)
        change = (prices[-1] / prices[0] - 1).quantize(Decimal("0.0001")) if prices[0] else ZERO
        return {
            "symbol": market_name(market),
            "lastPrice": text(prices[-1]),
            "prevPrice24h": text(prices[0]),
            "price24hPcnt": text(change),
            "highPrice24h": text(max(prices)),
            "lowPrice24h": text(min(prices)),
            "turnover24h": text(turnover),
            "volume24h": text(volume),
            "usdIndexPrice": text(self.dollars(market.base)),
        }

    def _orderbook(self, request: Request, fields: Mapping[str, str]) -> Any:
        market = self.market(fields)
        depth = self.exchange.depth(market.symbol, count_of(fields, "limit", 1, 200), now=request.now)
        return {
            "s": market_name(market),
            "b": [[text(price), text(size)] for price, size in depth.bids],
            "a": [[text(price), text(size)] for price, size in depth.asks],
            "ts": ms(request.now),
            "u": depth.sequence,
            "seq": depth.sequence,
            "cts": ms(request.now),
        }

    def _recent_trades(self, request: Request, fields: Mapping[str, str]) -> Any:
        category, market = self.category(fields), self.market(fields)
        # https://bybit-exchange.github.io/docs/v5/market/recent-trade
        default, most = (60, 60) if category == SPOT else (500, 1000)
        limit = count_of(fields, "limit", default, most)
        rows = [
            {
                "execId": fill_name(trade.trade_id),
                "symbol": market_name(market),
                "price": text(trade.price),
                "size": text(trade.quantity),
                "side": trade.taker_side.capitalize(),
                "time": str(ms(trade.now)),
                "isBlockTrade": False,
                "isRPITrade": False,
                "seq": str(trade.trade_id),
            }
            for trade in reversed(self.exchange.recent_trades(market.symbol, limit))
        ]
        return {"category": category, "list": rows}

    def market(self, fields: Mapping[str, Any]) -> Market:
        """Find the market a request names, in its category."""
        category = self.category(fields)
        for market in self.markets(category):
            if market_name(market) == fields.get("symbol"):
                return market
        raise (
            Refused(BAD_SYMBOL)
            if category == SPOT
            else refusal_of(Reject(records.UNKNOWN_SYMBOL, ""), category)
        )

    def markets(self, category: str) -> list[Market]:
        """What is listed in a category."""
        return [one for one in self.exchange.markets.values() if category_of(one.symbol) == category]

    def category(self, fields: Mapping[str, Any]) -> str:
        """The category a request is about; contracts are one where some are listed."""
        category = str(fields.get("category"))
        if category != SPOT and (category != LINEAR or self.exchange.contracts is None):
            raise Refused(BAD_REQUEST, "params error: Category is invalid")
        return category

    def amount(self, fields: Mapping[str, Any], name: str) -> Decimal:
        """Read a positive amount, or refuse it by name."""
        return amount_of(fields, name)

    # Money

    def _wallet_balance(self, request: Request, fields: Mapping[str, Any], key: Key) -> Any:
        if fields.get("accountType") != "UNIFIED":
            raise Refused(BAD_REQUEST, "accountType only support UNIFIED.")
        account = self.account(key)
        owned = self.exchange.balances(account, request.view.balances_as_of)
        if fields.get("coin"):
            wanted = str(fields["coin"]).split(",")
            owned = {currency: owned.get(currency, (ZERO, ZERO)) for currency in wanted}
        return {"list": [self.wallet(account, owned)]}

    def wallet(self, account: Account, owned: Mapping[str, tuple[Decimal, Decimal]]) -> dict[str, Any]:
        """A unified account: https://bybit-exchange.github.io/docs/v5/account/wallet-balance.

        What may be withdrawn is not told for such an account any more: the field is empty.
        """
        coins, total = [], ZERO
        for currency, (free, locked) in owned.items():
            whole = free + locked
            value = (whole * self.dollars(currency)).quantize(Decimal("0.00000001"))
            total += value
            coins.append(
                {
                    "coin": currency,
                    "equity": text(whole),
                    "usdValue": text(value),
                    "walletBalance": text(whole),
                    "locked": text(locked),
                    "availableToWithdraw": "",
                    "availableToBorrow": "",
                    "borrowAmount": "0",
                    "accruedInterest": "0",
                    "totalOrderIM": "0",
                    "totalPositionIM": "0",
                    "totalPositionMM": "0",
                    "unrealisedPnl": "0",
                    "cumRealisedPnl": "0",
                    "bonus": "0",
                    "spotBorrow": "0",
                    "spotHedgingQty": "0",
                    "collateralSwitch": True,
                    "marginCollateral": True,
                }
            )
        wallet = {
            "accountType": "UNIFIED",
            "totalEquity": text(total),
            "totalWalletBalance": text(total),
            "totalMarginBalance": text(total),
            "totalAvailableBalance": text(total),
            "totalPerpUPL": "0",
            "totalInitialMargin": "0",
            "totalMaintenanceMargin": "0",
            "accountIMRate": "0",
            "accountMMRate": "0",
            "accountLTV": "0",
            "coin": coins,
        }
        return self.linear.wallet(account, wallet)

    def dollars(self, currency: str) -> Decimal:
        """What one of it was worth when last traded for dollars; nothing when it never was."""
        if currency in DOLLARS:
            return Decimal(1)
        for market in self.markets(SPOT):
            if market.base == currency and market.quote in DOLLARS:
                return self.exchange.last_price(market.symbol) or ZERO
        return ZERO

    def _fee_rate(self, request: Request, fields: Mapping[str, Any], key: Key) -> Any:
        category = self.category(fields)
        markets = [self.market(fields)] if "symbol" in fields else self.markets(category)
        return {
            "list": [
                {
                    "symbol": market_name(market),
                    "takerFeeRate": text(market.taker_fee),
                    "makerFeeRate": text(market.maker_fee),
                    "baseCoin": "",
                }
                for market in markets
            ]
        }

    def _account_info(self, request: Request, fields: Mapping[str, Any], key: Key) -> Any:
        return {
            "marginMode": "REGULAR_MARGIN",
            "updatedTime": "0",
            "unifiedMarginStatus": 6,  # a unified account, second version, pro
            "dcpStatus": "OFF",
            "timeWindow": 0,
            "smpGroup": 0,
            "isMasterTrader": False,
            "spotHedgingStatus": "OFF",
        }

    def _key_info(self, request: Request, fields: Mapping[str, Any], key: Key) -> Any:
        # https://bybit-exchange.github.io/docs/v5/user/apikey-info
        granted: dict[str, list[str]] = {product: [] for product in PERMISSIONS}
        if "trade" in key.permissions:
            granted["Spot"] = ["SpotTrade"]
            if self.exchange.contracts is not None:
                granted["ContractTrade"] = ["Order", "Position"]
        if "withdraw" in key.permissions:
            granted["Wallet"] = ["AccountTransfer", "Withdraw"]
        return {
            "id": "1",
            "note": key.account,
            "apiKey": key.api_key,
            "readOnly": 0 if "trade" in key.permissions else 1,
            "secret": "",
            "permissions": granted,
            "ips": list(key.ips) or ["*"],
            "type": 1,
            "deadlineDay": -2,
            "expiredAt": "1970-01-01T00:00:00Z",
            "createdAt": "1970-01-01T00:00:00Z",
            "unified": 0,
            "uta": 1,
            "userID": 1,
            "inviterID": 0,
            "vipLevel": "No VIP",
            "mktMakerLevel": "0",
            "affiliateID": 0,
            "rsaPublicKey": "",
            "isMaster": True,
            "parentUid": "0",
            "kycLevel": "LEVEL_1",
            "kycRegion": "",
            "userIDInt64": "0",
            "inviterIDInt64": "0",
            "affiliateIDInt64": "0",
        }

    def _coins(self, request: Request, fields: Mapping[str, Any], key: Key) -> Any:
        # https://bybit-exchange.github.io/docs/v5/asset/coin-info
        listed = sorted({c for market in self.exchange.markets.values() for c in (market.base, market.quote)})
        return {
            "rows": [
                {
                    "name": currency,
                    "coin": currency,
                    "remainAmount": "1000000",
                    "chains": [
                        {
                            "chainType": currency,
                            "confirmation": "1",
                            "withdrawFee": "0",
                            "depositMin": "0",
                            "withdrawMin": "0",
                            "chain": currency,
                            "chainDeposit": "1",
                            "chainWithdraw": "1",
                            "minAccuracy": "8",
                        }
                    ],
                }
                for currency in listed
                if fields.get("coin", currency) == currency
            ]
        }

    def _deposits(self, request: Request, fields: Mapping[str, Any], key: Key) -> Any:
        # https://bybit-exchange.github.io/docs/v5/asset/deposit/deposit-record
        def row(transfer: records.Transfer) -> dict[str, Any]:
            return {
                "id": str(transfer.transfer_id),
                "coin": transfer.currency,
                "chain": transfer.currency,
                "amount": text(transfer.amount),
                "txID": transfer.txid,
                "status": 3,  # success
                "toAddress": transfer.address,
                "tag": "",
                "depositFee": text(transfer.fee) if transfer.fee else "",
                "successAt": str(ms(transfer.time)),
                "confirmations": "1",
                "txIndex": "",
                "blockHash": "",
            }

        return self._transfers("deposit", row, request, fields, key)

    def _withdrawals(self, request: Request, fields: Mapping[str, Any], key: Key) -> Any:
        # https://bybit-exchange.github.io/docs/v5/asset/withdraw/withdraw-record
        def row(transfer: records.Transfer) -> dict[str, Any]:
            return {
                "withdrawId": str(transfer.transfer_id),
                "coin": transfer.currency,
                "chain": transfer.currency,
                "amount": text(transfer.amount),
                "txID": transfer.txid,
                "status": "success",
                "toAddress": transfer.address,
                "tag": "",
                "withdrawFee": text(transfer.fee),
                "createTime": str(ms(transfer.time)),
                "updateTime": str(ms(transfer.time)),
                "withdrawType": 0,
            }

        return self._transfers("withdrawal", row, request, fields, key)

    def _transfers(
        self,
        kind: str,
        row: Callable[[records.Transfer], dict[str, Any]],
        request: Request,
        fields: Mapping[str, Any],
        key: Key,
    ) -> Any:
        start, end = span_of(fields, request.clock, TRANSFERS_S)
        chosen = [
            transfer
            for transfer in self.account(key).transfers
            if transfer.kind == kind
            and start <= ms(transfer.time) <= end
            and fields.get("coin", transfer.currency) == transfer.currency
        ]
        page, cursor = page_of(chosen, lambda one: (ms(one.time), one.transfer_id), fields, 50, 50)
        return {"rows": [row(transfer) for transfer in page], "nextPageCursor": cursor}

    # New orders

    def _create(self, request: Request, fields: Mapping[str, Any], key: Key) -> Any:
        return named(self.place(fields, key, request.now))

    def place(self, fields: Mapping[str, Any], key: Key, now: float) -> Order:
        """Place an order, from REST or a frame.

        https://bybit-exchange.github.io/docs/v5/order/create-order
        """
        wanted = self._wanted(fields)
        account, market = self.account(key), wanted.market
        category = category_of(market.symbol)
        self._check_link_id(account, wanted.link_id, now, category)
        if category == LINEAR:
            self.linear.check_order(market, wanted.order_type, wanted.quantity, fields)
        elif wanted.in_quote:
            if wanted.quantity % quote_step(market):
                raise Refused(AMOUNT_DECIMALS)
        elif wanted.quantity % market.lot:
            raise Refused(QUANTITY_DECIMALS)
        elif wanted.quantity < market.min_qty:
            raise Refused(QUANTITY_SMALL)
        elif wanted.quantity > market.max_qty:
            raise Refused(QUANTITY_LARGE)
        last = self.exchange.last_price(market.symbol) or ZERO
        trigger = None
        if wanted.trigger_price is not None:
            now_at = last or self.exchange.displayed_middle(market.symbol) or ZERO
            rising = wanted.trigger_price > now_at
            if category == LINEAR:
                rising = self.linear.rising(fields, wanted.trigger_price, now_at)
            trigger = Trigger(kind="trigger", price=wanted.trigger_price, rising=rising)
        try:
            order = self.exchange.create_order(
                account,
                market.symbol,
                wanted.side,
                wanted.order_type,
                None if wanted.in_quote else wanted.quantity,
                wanted.price,
                quote_quantity=wanted.quantity if wanted.in_quote else None,
                time_in_force=wanted.time_in_force,
                post_only=wanted.post_only,
                client_order_id=wanted.link_id,
                trigger=trigger,
                reserve_early=FILTERS.get(wanted.order_filter, (True, ""))[0],
                reduce_only=wanted.reduce_only,
                self_trade=wanted.self_trade,
                now=now,
            )
        except Reject as reject:
            if (
                category == LINEAR
                and reject.reason == records.POST_ONLY_WOULD_CROSS
                and wanted.price is not None
            ):
                return self.linear.turn_away(
                    account, market, wanted.side, wanted.quantity, wanted.price, wanted.link_id, now
                )
            raise refusal_of(reject, category) from reject
        self.prices[order.order_id] = last
        return order

    def _wanted(self, fields: Mapping[str, Any]) -> Wanted:
        market = self.market(fields)
        for name in NOT_SIMULATED:
            if str(fields.get(name, "")) not in ("", "0", "None", "UNKNOWN"):
                raise Refused(NOT_SUPPORTED)
        if str(fields.get("isLeverage", "0")) != "0":
            raise Refused(NOT_SUPPORTED)
        order_filter = str(fields.get("orderFilter") or "Order")
        if order_filter != "Order" and order_filter not in FILTERS:
            raise Refused(BAD_FILTER)
        given = str(fields.get("triggerPrice", "")) not in ("", "0")
        if given and market.settled_in is not None:
            order_filter = "StopOrder"  # the only kind there is of contracts, whatever it is called
        if given != (order_filter in FILTERS):
            raise Refused(BAD_FILTER if given else NO_TRIGGER)
        if fields.get("side") not in ("Buy", "Sell"):
            raise Refused(BAD_SIDE)
        if fields.get("orderType") not in ("Market", "Limit"):
            raise Refused(BAD_TYPE)
        side: Literal["buy", "sell"] = "buy" if fields["side"] == "Buy" else "sell"
        at_market = fields["orderType"] == "Market"
        force = str(fields.get("timeInForce", "GTC"))
        if force not in ("GTC", "IOC", "FOK", "PostOnly"):
            raise Refused(BAD_TIME_IN_FORCE)
        unit = fields.get("marketUnit", "") or ("quoteCoin" if side == "buy" else "baseCoin")
        if unit not in ("baseCoin", "quoteCoin"):
            raise invalid("marketUnit")
        link_id = fields.get("orderLinkId", "") or ""
        if link_id and not (isinstance(link_id, str) and LINK_ID.fullmatch(link_id)):
            raise invalid("orderLinkId")
        smp = str(fields.get("smpType") or "None")
        if smp not in SMP_TYPES:
            raise invalid("smpType")
        return Wanted(
            market=market,
            side=side,
            order_type="market" if at_market else "limit",
            quantity=amount_of(fields, "qty"),
            in_quote=at_market and unit == "quoteCoin" and market.settled_in is None,
            # A market order's price and timeInForce are ignored.
            price=None if at_market else amount_of(fields, "price"),
            time_in_force="GTC" if at_market or force in ("GTC", "PostOnly") else force_of(force),
            post_only=not at_market and force == "PostOnly",
            link_id=link_id,
            trigger_price=amount_of(fields, "triggerPrice") if given else None,
            order_filter=order_filter,
            reduce_only=market.settled_in is not None and fields.get("reduceOnly") in (True, "true"),
            self_trade=SMP_TYPES[smp],
        )

    def _check_link_id(self, account: Account, link_id: str, now: float, category: str) -> None:
        for order in account.by_client_id.get(link_id, []) if link_id else []:
            if order.open or now - order.updated_at < LINK_ID_KEPT_S:
                raise refusal_of(Reject(records.DUPLICATE_CLIENT_ID, ""), category)

    # Cancelling

    def _cancel(self, request: Request, fields: Mapping[str, Any], key: Key) -> Any:
        return named(self.cancel(fields, key, request.now))

    def cancel(self, fields: Mapping[str, Any], key: Key, now: float) -> Order:
        """Cancel an order, from REST or a frame.

        https://bybit-exchange.github.io/docs/v5/order/cancel-order
        """
        market = self.market(fields)
        number, link_id = self._named(fields)
        account = self.account(key)
        order = self.exchange.find_order(account, number, link_id, symbol=market.symbol)
        of_spot = market.settled_in is None  # contracts are cancelled under any name
        if order is not None and of_spot and filter_of(order) != (fields.get("orderFilter") or "Order"):
            raise Refused(NO_ORDER)
        try:
            return self.exchange.cancel_order(account, number, link_id, symbol=market.symbol, now=now)
        except Reject as reject:
            raise refusal_of(reject, category_of(market.symbol)) from reject

    def _amend(self, request: Request, fields: Mapping[str, Any], key: Key) -> Any:
        return named(self.amend(fields, key, request.now))

    def amend(self, fields: Mapping[str, Any], key: Key, now: float) -> Order:
        """Amend an order, from REST or a frame.

        https://bybit-exchange.github.io/docs/v5/order/amend-order
        """
        market = self.market(fields)
        category = category_of(market.symbol)
        number, link_id = self._named(fields)
        terms = {
            ours: amount_of(fields, theirs)
            for ours, theirs in (("quantity", "qty"), ("price", "price"), ("trigger_price", "triggerPrice"))
            if str(fields.get(theirs, "")) not in ("", "0")
        }
        if not terms:
            raise Refused(BAD_REQUEST, "params error: nothing to amend")
        quantity = terms.get("quantity")
        if category == LINEAR and quantity is not None:
            self.linear.check_quantity(market, "limit", quantity)
        elif quantity is not None and quantity % market.lot:
            raise Refused(QUANTITY_DECIMALS)
        if quantity is not None and not market.min_qty <= quantity <= market.max_qty:
            raise Refused(QUANTITY_SMALL if quantity < market.min_qty else QUANTITY_LARGE)
        try:
            return self.exchange.amend_order(
                self.account(key),
                number,
                link_id,
                symbol=market.symbol,
                quantity=quantity,
                price=terms.get("price"),
                trigger_price=terms.get("trigger_price"),
                now=now,
            )
        except Reject as reject:
            if reject.reason == records.NO_CHANGE:
                raise Refused(BAD_REQUEST, UNCHANGED) from reject
            raise refusal_of(reject, category) from reject

    def _named(self, fields: Mapping[str, Any]) -> tuple[int | None, str]:
        """Which order a request is about: its number, or our id of it."""
        number = order_number(str(fields.get("orderId", "")))
        link_id = str(fields.get("orderLinkId", ""))
        if number is None and not link_id:
            raise (
                refusal_of(Reject(records.UNKNOWN_ORDER, ""), self.category(fields))
                if fields.get("orderId")
                else Refused(BAD_REQUEST, "params error: OrderId or orderLinkId is required")
            )
        return number, link_id

    def _cancel_all(self, request: Request, fields: Mapping[str, Any], key: Key) -> Any:
        # https://bybit-exchange.github.io/docs/v5/order/cancel-all
        category, account = self.category(fields), self.account(key)
        symbol = self.market(fields).symbol if fields.get("symbol") else None
        kind = fields.get("orderFilter") or (None if category == LINEAR else "Order")
        if kind not in (None, "Order", *FILTERS):
            raise Refused(BAD_FILTER)
        orders = [
            one
            for one in self.exchange.open_orders(account, symbol)
            if kind in (None, filter_of(one)) and category_of(one.symbol) == category
        ]
        for order in orders:
            self.exchange.cancel_order(account, order.order_id, now=request.now)
        return {"list": [named(order) for order in orders], "success": "1"}

    # Asking for orders and trades

    def _realtime(self, request: Request, fields: Mapping[str, Any], key: Key) -> Any:
        # https://bybit-exchange.github.io/docs/v5/order/open-order
        account, as_of = self.account(key), request.view.orders_as_of
        closed = [] if request.view.hide_closed else self._closed(account, as_of)
        recent = sorted(closed, key=lambda order: (order.updated_at, order.order_id))[-CLOSED_KEPT:]
        live = self.exchange.open_orders(account, as_of=as_of)
        if fields.get("orderId") or fields.get("orderLinkId"):
            chosen = self._chosen(live + recent, fields)
        else:
            chosen = self._chosen(recent if str(fields.get("openOnly", "0")) != "0" else live, fields)
        return self._order_page(chosen, fields)

    def _history(self, request: Request, fields: Mapping[str, Any], key: Key) -> Any:
        # https://bybit-exchange.github.io/docs/v5/order/order-list
        closed = self._closed(self.account(key), request.view.orders_as_of)
        chosen = self._chosen([] if request.view.hide_closed else closed, fields)
        if not fields.get("orderId") and not fields.get("orderLinkId"):
            start, end = span_of(fields, request.clock, HISTORY_S)
            chosen = [order for order in chosen if start <= ms(order.created_at) <= end]
        if fields.get("orderStatus"):
            chosen = [order for order in chosen if status_of(order) == fields["orderStatus"]]
        return self._order_page(chosen, fields)

    def _closed(self, account: Account, as_of: float | None) -> list[Order]:
        return self.exchange.closed_orders(account, as_of=as_of) + self.linear.turned_away(account, as_of)

    def _chosen(self, orders: Iterable[Order], fields: Mapping[str, Any]) -> list[Order]:
        """Those asked for, of the category: by id, else by link id, else by symbol, else all."""
        category = self.category(fields)
        orders = [order for order in orders if category_of(order.symbol) == category]
        if fields.get("orderId"):
            number = order_number(str(fields["orderId"]))
            return [order for order in orders if order.order_id == number]
        if fields.get("orderLinkId"):
            return [order for order in orders if order.client_order_id == fields["orderLinkId"]]
        symbol = self.market(fields).symbol if fields.get("symbol") else None
        # Without a filter a unified account sees all kinds.
        kind = fields.get("orderFilter") or None
        return [o for o in orders if symbol in (None, o.symbol) and kind in (None, filter_of(o))]

    def _order_page(self, orders: list[Order], fields: Mapping[str, Any]) -> Any:
        page, cursor = page_of(orders, lambda one: (ms(one.created_at), abs(one.order_id)), fields, 20, 50)
        rows = [self.record(order) for order in page]
        return {"category": fields["category"], "nextPageCursor": cursor, "list": rows}

    def record(self, order: Order) -> dict[str, Any]:
        """The order as it stands, as REST and the stream tell it."""
        return self.record_at(
            order, status_of(order), order.filled_quantity, order.filled_quote, order.fills, order.updated_at
        )

    def record_at(
        self, order: Order, status: str, filled: Decimal, cost: Decimal, fills: list[Fill], at: float
    ) -> dict[str, Any]:
        """The order as it stood after some of its fills."""
        live = status in ("New", "PartiallyFilled", "Untriggered", "Triggered")
        rest = order.quantity - filled if live else ZERO
        fees: dict[str, Decimal] = {}
        for fill in fills:
            fees[fill.fee_currency] = fees.get(fill.fee_currency, ZERO) + fill.fee
        canceled = status in ("Cancelled", "PartiallyFilledCanceled", "Deactivated", "Rejected")
        cancel_type, reason = (
            ENDINGS.get(order.reason, ("UNKNOWN", "EC_NoError")) if canceled else ("UNKNOWN", "EC_NoError")
        )
        quantity = order.quantity if order.quote_quantity is None else order.quote_quantity
        mean = (cost / filled).quantize(Decimal("0.0000000001")) if filled else None
        contract = self.linear.order(order) if category_of(order.symbol) == LINEAR else {}
        row = {
            "orderId": order_name(order.order_id, order.symbol),
            "orderLinkId": order.client_order_id,
            "blockTradeId": "",
            "symbol": market_name(self.exchange.markets[order.symbol]),
            "price": text(order.price) if order.price is not None else "0",
            "qty": text(quantity),
            "side": order.side.capitalize(),
            "isLeverage": "0",
            "positionIdx": 0,
            "orderStatus": status,
            "createType": "CreateByUser",
            "cancelType": cancel_type,
            "rejectReason": reason,
            "avgPrice": "" if mean is None else text(mean),
            "leavesQty": text(rest),
            "leavesValue": text(rest * order.price) if order.price is not None else "0",
            "cumExecQty": text(filled),
            "cumExecValue": text(cost),
            "cumExecFee": text(sum(fees.values(), ZERO)),
            "cumFeeDetail": {currency: text(fee) for currency, fee in fees.items()},
            "timeInForce": time_in_force(order),
            "orderType": order.order_type.capitalize(),
            "marketUnit": market_unit(order),
            "stopOrderType": stop_type(order),
            "orderIv": "",
            "triggerPrice": "0" if order.trigger is None else text(order.trigger.price),
            "takeProfit": "",
            "stopLoss": "",
            "tpTriggerBy": "",
            "slTriggerBy": "",
            "triggerDirection": 0,
            "triggerBy": "",
            "lastPriceOnCreated": text(self.prices.get(order.order_id, ZERO)),
            "reduceOnly": False,
            "closeOnTrigger": False,
            "smpType": SMP_WORDS[order.self_trade],
            "smpGroup": 0,
            "smpOrderId": "",
            "tpslMode": "",
            "tpLimitPrice": "",
            "slLimitPrice": "",
            "placeType": "",
            "slippageToleranceType": "UNKNOWN",
            "slippageTolerance": "",
            "ocoTriggerBy": "",
            "extraFees": "",
            "createdTime": str(ms(order.created_at)),
            "updatedTime": str(ms(at)),
        }
        return row | contract

    def _executions(self, request: Request, fields: Mapping[str, Any], key: Key) -> Any:
        # https://bybit-exchange.github.io/docs/v5/order/execution
        category, account = self.category(fields), self.account(key)
        if category == LINEAR and fields.get("execType") == "Funding":
            paid, cursor = self.linear.funding(fields, account, request.clock)
            return {"category": category, "nextPageCursor": cursor, "list": paid}
        fills = self.exchange.my_trades(account, as_of=request.view.orders_as_of)
        fills = [fill for fill in fills if category_of(fill.symbol) == category]
        if fields.get("execType"):
            fills = [fill for fill in fills if self.exec_type(fill) == fields["execType"]]
        if fields.get("orderId"):
            number = order_number(str(fields["orderId"]))
            fills = [fill for fill in fills if fill.order_id == number]
        elif fields.get("orderLinkId"):
            fills = [fill for fill in fills if fill.client_order_id == fields["orderLinkId"]]
        else:
            symbol = self.market(fields).symbol if fields.get("symbol") else None
            fills = [fill for fill in fills if symbol in (None, fill.symbol)]
        start, end = span_of(fields, request.clock, HISTORY_S)
        fills = [fill for fill in fills if start <= ms(fill.time) <= end]
        page, cursor = page_of(fills, lambda one: (ms(one.time), one.trade_id), fields, 50, 100)
        rows = [self.execution(account.orders[fill.order_id], fill) for fill in page]
        return {"category": category, "nextPageCursor": cursor, "list": rows}

    def exec_type(self, fill: Fill) -> str:
        """What kind of execution it was."""
        contract = category_of(fill.symbol) == LINEAR
        return "BustTrade" if contract and self.linear.forced(fill.order_id) else "Trade"

    def execution(self, order: Order, fill: Fill) -> dict[str, Any]:
        """One execution, as REST and the stream tell it."""
        market = self.exchange.markets[fill.symbol]
        so_far = order.fills[: order.fills.index(fill) + 1]
        quantity = order.quantity if order.quote_quantity is None else order.quote_quantity
        row = {
            "symbol": market_name(market),
            "orderId": order_name(fill.order_id, fill.symbol),
            "orderLinkId": fill.client_order_id,
            "side": fill.side.capitalize(),
            "orderPrice": text(order.price) if order.price is not None else "0",
            "orderQty": text(quantity),
            "leavesQty": text(order.quantity - sum((one.quantity for one in so_far), ZERO)),
            "createType": "CreateByUser",
            "orderType": order.order_type.capitalize(),
            "stopOrderType": stop_type(order),
            "execFee": text(fill.fee),
            "execId": fill_name(fill.trade_id),
            "execPrice": text(fill.price),
            "execQty": text(fill.quantity),
            "execType": "Trade",
            "execValue": text(fill.quote_quantity),
            "execTime": str(ms(fill.time)),
            "feeCurrency": fill.fee_currency,
            "isMaker": fill.liquidity == "maker",
            "feeRate": text(market.maker_fee if fill.liquidity == "maker" else market.taker_fee),
            "tradeIv": "",
            "markIv": "",
            "markPrice": "",
            "indexPrice": "",
            "underlyingPrice": "",
            "blockTradeId": "",
            "closedSize": "",
            "seq": fill.trade_id,
            "extraFees": "",
        }
        return row | (self.linear.execution(fill) if category_of(fill.symbol) == LINEAR else {})
