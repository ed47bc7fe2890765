"""Kraken spot: names, signatures, limits and the REST API. The WebSocket is in `kraken_streams`.

What is true here and elsewhere surprises:

1. HTTP is always 200; `{"error": [...]}` says no, in Kraken's words (`ERRORS`).
2. A private request counts when its signature is right: its nonce is used up then, whatever the answer.
3. `cl_ord_id` is unique among *open* orders only, so asking by it may find several ended orders. To cancel an
   order that has ended, or one that never was, is an error, but not the same one.
4. AddOrder answers with ids only. What became of the order is asked for, or read on the executions channel.
5. Two limits: calls per API key, and orders per account and pair. A limit counts refused orders as well.
6. Fees are taken in the quote currency, which `oflags` shows as `fciq`. `fcib` is a preference there, and is
   not followed here: a market's `fee_mode` decides for every order, and the answer names what was done.

7. Stops and take-profits are open orders from the start and say so; `misc` tells that one was triggered. That
   they hold their money while they wait is on no page: two of them for the same coins are refused.

Changing an order is in `kraken_amend`. Not here: margin, trailing stops, triggers by index price, conditional
closes. They are refused by name.

Pages: https://docs.kraken.com/api-reference (REST), https://docs.kraken.com/exchange/guides. Facts that come
from elsewhere say so.
"""

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from email.utils import format_datetime
from functools import partial
from itertools import islice
from typing import Any, Literal
from urllib.parse import parse_qsl

from simulator import records
from simulator.day import day_trades
from simulator.dialects import dialect, kraken_amend
from simulator.dialects.dialect import Request, Response, Send
from simulator.dialects.kraken_streams import PrivateStreams, PublicStreams
from simulator.dialects.kraken_words import (
    ADD_COST,
    CALL_COST,
    CANCEL_COSTS,
    CL_ORD_ID,
    COST_DECIMALS,
    COST_MINIMUM,
    DEADLINE_MAX_S,
    DOLLARS,
    ERRORS,
    FIAT,
    INVALID_ORDER,
    INVALID_SESSION,
    KINDS,
    ORDER_MINIMUM,
    PAGE,
    PERMISSIONS,
    PRIVATE_PATH,
    PUBLIC_PATH,
    SELF_TRADES,
    STATUS,
    SWITCH_MAX_S,
    TIERS,
    TOKEN_S,
    TRIGGERED,
    TXID,
    UNAVAILABLE,
    UNKNOWN_METHOD,
    UNKNOWN_ORDER,
    UNKNOWN_PAIR,
    Counter,
    Pair,
    Refused,
    Wanted,
    answer_of,
    asset,
    average,
    code,
    decimals_of,
    end_reason,
    expiry_of,
    fee_record,
    fixed,
    invalid,
    misc,
    number,
    offset_of,
    order_word,
    places,
    signature,
    status_of,
    summary,
    time_in,
    touch_of,
    volume_of,
    whole_seconds,
    words,
)
from simulator.exchange import Exchange
from simulator.records import ZERO, Account, Fill, Key, Market, Order, Reject
from simulator.triggers import stop_or_profit

# Rules from AssetPairs and the `instrument` channel, fees of the lowest tier:
# https://www.kraken.com/features/fee-schedule
MARKETS = [
    Market(
        symbol=f"{base}/{quote}",
        base=base,
        quote=quote,
        tick=Decimal(tick),
        lot=Decimal("0.00000001"),
        min_qty=Decimal(smallest),
        min_notional=Decimal(cost),
        maker_fee=Decimal("0.0025"),
        taker_fee=Decimal("0.004"),
        fee_mode="quote",
        max_orders=80,
    )
    for base, quote, tick, smallest, cost in (
        ("BTC", "USDT", "0.1", "0.00005", "0.5"),
        ("ETH", "USDT", "0.01", "0.002", "0.5"),
        ("ETH", "BTC", "0.00001", "0.002", "0.00002"),
    )
]


class Kraken:
    """One Kraken. Keeps nonces, counters, tokens, and what only Kraken knows of an order."""

    def __init__(self, exchange: Exchange, *, tier: str = "intermediate") -> None:
        if tier not in TIERS:
            raise ValueError(f"tier: {tier!r} is unknown; use one of {', '.join(TIERS)}")
        self.exchange = exchange
        self.call_limit, self.order_limit = TIERS[tier]
        self.refs: dict[int, int] = {}  # order id -> userref
        self._nonces: dict[str, int] = {}  # api key -> last nonce used
        self._used: dict[str, float] = {}  # api key -> when it was last used
        self._calls: dict[str, Counter] = {}  # api key -> counter
        self._orders: dict[tuple[str, str], Counter] = {}  # (account, symbol) -> counter
        self._tokens: dict[str, tuple[str, float]] = {}  # token -> (api key, when made)
        self._txids: dict[str, int] = {}  # txid -> order id
        self._mapped = 0  # so many orders are in _txids
        self._public: dict[str, Callable[[Request, dict[str, str]], Any]] = {
            "Time": self._time,
            "SystemStatus": self._system_status,
            "Assets": self._assets,
            "AssetPairs": self._asset_pairs,
            "Ticker": self._ticker,
            "Depth": self._depth,
            "Trades": self._trades,
        }
        # name -> (permission, what answers)
        self._private: dict[str, tuple[str, Callable[[Request, dict[str, Any], Key], Any]]] = {
            "Balance": ("read", self._balance),
            "BalanceEx": ("read", self._balance_ex),
            "OpenOrders": ("read", self._open_orders),
            "ClosedOrders": ("read", self._closed_orders),
            "QueryOrders": ("read", self._query_orders),
            "TradesHistory": ("read", self._trades_history),
            "QueryTrades": ("read", self._query_trades),
            "TradeVolume": ("read", self._trade_volume),
            "DepositStatus": ("read", self._deposit_status),
            "WithdrawStatus": ("read", self._withdraw_status),
            "GetWebSocketsToken": ("read", self._token),
            "GetApiKeyInfo": ("", self._key_info),
            "AddOrder": ("trade", self._add_order),
            "CancelOrder": ("trade", self._cancel_order),
            "CancelOrderBatch": ("trade", self._cancel_batch),
            "CancelAll": ("trade", self._cancel_all),
            "CancelAllOrdersAfter": ("trade", self.cancel_all_after),
            "AmendOrder": ("trade", partial(kraken_amend.amend_order, self)),
            "EditOrder": ("trade", partial(kraken_amend.edit_order, self)),
        }

    # What the wire calls

    def kind(self, request: Request) -> str:
        return KINDS.get(request.path.rpartition("/")[2], dialect.OTHER)

    def handle(self, request: Request) -> Response:
        self.exchange.wake(request.now)
        try:
            return answer_of(result=self._route(request))
        except Refused as refusal:
            return answer_of(error=str(refusal))
        except Reject as reject:
            return answer_of(error=words(reject))

    def open_session(self, request: Request, send: Send) -> dialect.Session | None:
        if request.path.rstrip("/") == PRIVATE_PATH:
            return PrivateStreams(self, send, request)
        if request.path.rstrip("/") in (PUBLIC_PATH, "/v2"):
            return PublicStreams(self, send, request)
        return None

    def rate_limited(self, request: Request, banned: bool) -> Response:
        # Kraken says it in the body; there is no 429 and no 418 of its own.
        return answer_of(error="EGeneral:Temporary lockout" if banned else "EAPI:Rate limit exceeded")

    def failure(self, status: int) -> Response:
        error = {
            400: "EGeneral:Invalid arguments",
            401: "EAPI:Invalid key",
            403: "EGeneral:Permission denied",
            404: UNKNOWN_METHOD,
            429: "EAPI:Rate limit exceeded",
            500: "EGeneral:Internal error",
        }.get(status, UNAVAILABLE)
        return answer_of(error=error, status=status)

    def _route(self, request: Request) -> Any:
        match request.path.strip("/").split("/"):
            case ["0", "public", name] if name in self._public:
                self._check_open(name)
                return self._public[name](request, request.parameters())
            case ["0", "private", name] if name in self._private:
                key, form = self._authenticated(request)
                if not self._count_call(key, name, request.now):
                    raise Refused("EAPI:Rate limit exceeded")
                permission, act = self._private[name]
                if permission and permission not in key.permissions:
                    raise Refused(ERRORS[records.PERMISSION_DENIED])
                self._check_open(name)
                return act(request, form, key)
            case _:
                raise Refused(UNKNOWN_METHOD)

    def _check_open(self, name: str) -> None:
        if self.exchange.mode == records.MAINTENANCE_MODE and name not in ("Time", "SystemStatus"):
            raise Refused(UNAVAILABLE)

    def _authenticated(self, request: Request) -> tuple[Key, dict[str, Any]]:
        key = self.exchange.keys.get(request.headers.get("api-key", ""))
        if key is None or key.revoked:
            raise Refused("EAPI:Invalid key")
        if request.method != "POST":
            raise Refused(UNKNOWN_METHOD)
        if "json" in request.headers.get("content-type", ""):
            try:
                form = json.loads(request.form, parse_float=str)
            except ValueError as error:
                raise Refused("EGeneral:Invalid arguments") from error
            if not isinstance(form, dict):
                raise Refused("EGeneral:Invalid arguments")
        else:
            form = dict(parse_qsl(request.form, keep_blank_values=True))
        nonce = str(form.pop("nonce", ""))
        try:
            expected = signature(key.secret, request.path, nonce, request.form)
        except ValueError as error:  # the secret is no base64, as Kraken's are
            raise Refused("EAPI:Invalid signature") from error
        if not hmac.compare_digest(expected.encode(), request.headers.get("api-sign", "").encode()):
            raise Refused("EAPI:Invalid signature")
        # An unsigned 64-bit number, greater than the last one used: the same page.
        if not nonce.isascii() or not nonce.isdigit() or int(nonce) >= 2**64:
            raise Refused("EAPI:Invalid nonce")
        if int(nonce) <= self._nonces.get(key.api_key, -1):
            raise Refused("EAPI:Invalid nonce")
        self._nonces[key.api_key] = int(nonce)
        self._used[key.api_key] = request.now
        return key, form

    def _count_call(self, key: Key, name: str, now: float) -> bool:
        counter = self._calls.setdefault(key.api_key, Counter(*self.call_limit))
        return counter.add(CALL_COST.get(name, 1.0), now)

    # Public answers

    def _time(self, request: Request, form: Mapping[str, str]) -> Any:
        at = datetime.fromtimestamp(int(request.clock), UTC)
        # The page writes a two-digit year: Tue, 11 Nov 25 00:17:04 +0000.
        date = format_datetime(at)
        return {"unixtime": int(request.clock), "rfc1123": date.replace(f"{at:%Y}", f"{at:%y}", 1)}

    def _system_status(self, request: Request, form: Mapping[str, str]) -> Any:
        return {"status": STATUS[self.exchange.mode], "timestamp": whole_seconds(request.clock)}

    def _assets(self, request: Request, form: Mapping[str, str]) -> Any:
        currencies = {c for market in self.exchange.markets.values() for c in (market.base, market.quote)}
        listed = {
            asset(currency)[0]: {
                "aclass": "currency",
                "altname": asset(currency)[1],
                "decimals": decimals_of(currency),
                "display_decimals": 2 if currency in FIAT else 5,
                "status": "enabled",
            }
            for currency in sorted(currencies)
        }
        if "asset" not in form:
            return listed
        chosen = {
            identifier: described
            for identifier, described in listed.items()
            if {identifier, described["altname"]} & set(form["asset"].split(","))
        }
        if not chosen:
            raise Refused("EQuery:Unknown asset")
        return chosen

    def _asset_pairs(self, request: Request, form: Mapping[str, str]) -> Any:
        return {pair.key: self._pair_record(pair) for pair in self._pairs(form)}

    def _pair_record(self, pair: Pair) -> dict[str, Any]:
        market = pair.market
        return {
            "altname": pair.altname,
            "wsname": pair.wsname,
            "aclass_base": "currency",
            "base": asset(market.base)[0],
            "aclass_quote": "currency",
            "quote": asset(market.quote)[0],
            "lot": "unit",
            "cost_decimals": COST_DECIMALS,
            "pair_decimals": places(market.tick),
            "lot_decimals": places(market.lot),
            "lot_multiplier": 1,
            "leverage_buy": [],
            "leverage_sell": [],
            # One tier, the account's own; percent.
            "fees": [[0, market.taker_fee * 100]],
            "fees_maker": [[0, market.maker_fee * 100]],
            "fee_volume_currency": "ZUSD",
            "margin_call": 80,
            "margin_stop": 40,
            "ordermin": records.text(market.min_qty),
            "costmin": records.text(market.min_notional),
            "tick_size": records.text(market.tick),
            "status": self._status(market.symbol),
        }

    def _status(self, symbol: str) -> str:
        status = STATUS[self.exchange.mode_of(symbol)]
        return "cancel_only" if status == "maintenance" else status

    def _ticker(self, request: Request, form: Mapping[str, str]) -> Any:
        result = {}
        for pair in self._pairs(form):
            symbol, now = pair.market.symbol, request.now
            trades = day_trades(self.exchange, symbol, now)
            figures = summary(trades)
            last = trades[-1] if trades else None
            best = {side: self.exchange.best(symbol, side, now) or (ZERO, ZERO) for side in ("buy", "sell")}
            # The page has "today" and "last 24 hours"; the simulator keeps recent trades and says it twice.
            result[pair.key] = {
                "a": touch_of(pair, *best["sell"]),
                "b": touch_of(pair, *best["buy"]),
                "c": [pair.price(last.price), fixed(last.quantity, 8)]
                if last
                else [pair.price(ZERO), fixed(ZERO, 8)],
                "v": [fixed(figures.volume, 8)] * 2,
                "p": [pair.price(figures.vwap)] * 2,
                "t": [len(trades)] * 2,
                "l": [pair.price(figures.low)] * 2,
                "h": [pair.price(figures.high)] * 2,
                "o": pair.price(figures.first),
            }
        return result

    def _depth(self, request: Request, form: Mapping[str, str]) -> Any:
        [pair] = self._pairs(form, single=True)
        count = form.get("count", "100")
        if not count.isdigit() or not 1 <= int(count) <= 500:
            raise invalid("count")
        depth = self.exchange.depth(pair.market.symbol, int(count), now=request.now)
        # Kraken writes three decimals of a quantity; the simulator writes them all.
        sides = {"asks": depth.asks, "bids": depth.bids}
        return {
            pair.key: {
                side: [[pair.price(price), fixed(size, 3), int(request.now)] for price, size in levels]
                for side, levels in sides.items()
            }
        }

    def _trades(self, request: Request, form: Mapping[str, str]) -> Any:
        [pair] = self._pairs(form, single=True)
        count, since = form.get("count", "1000"), form.get("since", "0")
        if not count.isdigit() or not 1 <= int(count) <= 1000:
            raise invalid("count")
        try:
            # Seconds, or the nanoseconds of "last".
            after = Decimal(since) / (10**9 if Decimal(since) > 10**12 else 1)
        except InvalidOperation as error:
            raise invalid("since") from error
        trades = [
            trade
            for trade in self.exchange.recent_trades(pair.market.symbol, 1000)
            if Decimal(str(trade.now)) > after
        ][-int(count) :]
        rows = [
            [
                pair.price(trade.price),
                fixed(trade.quantity, 8),
                round(trade.now, 7),
                trade.taker_side[0],
                "l",
                "",
                trade.trade_id,
            ]
            for trade in trades
        ]
        last = trades[-1].now if trades else request.now
        return {pair.key: rows, "last": str(int(last * 1_000_000) * 1000)}

    def _pairs(self, form: Mapping[str, str], *, single: bool = False) -> list[Pair]:
        if "pair" not in form:
            if single:
                raise invalid("pair")
            return [Pair(market) for market in self.exchange.markets.values()]
        return [Pair(self.market(name)) for name in form["pair"].split(",")]

    def market(self, name: str) -> Market:
        """Find a market by any of Kraken's names for it."""
        for market in self.exchange.markets.values():
            pair = Pair(market)
            if name in (pair.key, pair.altname, pair.wsname):
                return market
        raise Refused(UNKNOWN_PAIR)

    # Money

    def _balance(self, request: Request, form: Mapping[str, Any], key: Key) -> Any:
        return {name: row["balance"] for name, row in self._balance_ex(request, form, key).items()}

    def _balance_ex(self, request: Request, form: Mapping[str, Any], key: Key) -> dict[str, dict[str, str]]:
        owned = self.exchange.balances(self._account(key), request.view.balances_as_of)
        return {
            asset(currency)[0]: {
                "balance": fixed(free + locked, decimals_of(currency)),
                "hold_trade": fixed(locked, decimals_of(currency)),
            }
            for currency, (free, locked) in owned.items()
        }

    def _trade_volume(self, request: Request, form: Mapping[str, Any], key: Key) -> Any:
        account = self._account(key)
        volume = sum((f.quote_quantity for f in account.fills if f.symbol.split("/")[1] in DOLLARS), ZERO)
        answer: dict[str, Any] = {"currency": "ZUSD", "volume": fixed(volume, 4)}
        if "pair" in form:
            pairs = self._pairs({"pair": str(form["pair"])})
            for name, fee in (("fees", "taker_fee"), ("fees_maker", "maker_fee")):
                answer[name] = {pair.key: fee_record(getattr(pair.market, fee)) for pair in pairs}
        return answer

    def _deposit_status(self, request: Request, form: Mapping[str, Any], key: Key) -> Any:
        return self._transfers("deposit", form, key)

    def _withdraw_status(self, request: Request, form: Mapping[str, Any], key: Key) -> Any:
        return self._transfers("withdrawal", form, key)

    def _transfers(self, kind: str, form: Mapping[str, Any], key: Key) -> list[dict[str, Any]]:
        start, end = time_in(form, "start", 0.0), time_in(form, "end", float("inf"))
        rows = []
        for transfer in reversed(self._account(key).transfers):
            identifier, altname = asset(transfer.currency)
            if transfer.kind != kind or not start <= transfer.time <= end:
                continue
            if form.get("asset", identifier) not in (identifier, altname):
                continue
            row: dict[str, Any] = {
                "method": altname,
                "aclass": "currency",
                "asset": identifier,
                "refid": code(
                    "A" if kind == "withdrawal" else "Q", f"{self.exchange.name}:{transfer.transfer_id}"
                ),
                "txid": transfer.txid,
                "info": transfer.address,
                "amount": fixed(transfer.amount, decimals_of(transfer.currency)),
                "fee": fixed(transfer.fee, decimals_of(transfer.currency)),
                "time": int(transfer.time),
                "status": "Success",
            }
            if kind == "withdrawal":
                row["network"] = altname
            rows.append(row)
        return rows

    # Keys

    def _token(self, request: Request, form: Mapping[str, Any], key: Key) -> Any:
        count = len(self._tokens)
        secret = hmac.new(key.secret.encode(), f"{count}:{request.now}".encode(), hashlib.sha256).digest()
        token = base64.b64encode(secret).decode().rstrip("=")
        self._tokens[token] = (key.api_key, request.now)
        return {"token": token, "expires": TOKEN_S}

    def token_key(self, token: object, now: float, *, in_use: bool) -> Key:
        """Find whose token it is. One in use on its connection does not expire there."""
        api_key, made = self._tokens.get(str(token), ("", 0.0))
        key = self.exchange.keys.get(api_key)
        if key is None or key.revoked or (not in_use and now - made > TOKEN_S):
            raise Refused(INVALID_SESSION)
        return key

    def _key_info(self, request: Request, form: Mapping[str, Any], key: Key) -> Any:
        # https://docs.kraken.com/api-reference/account-data/get-api-key-info
        granted = [name for ours, names in PERMISSIONS.items() if ours in key.permissions for name in names]
        return {
            "apiKeyName": key.account,
            "apiKey": key.api_key,
            "nonce": str(self._nonces.get(key.api_key, 0)),
            "nonceWindow": 0,
            "permissions": granted,
            "ipAllowlist": list(key.ips),
            "validUntil": "0",
            "queryFrom": "0",
            "queryTo": "0",
            "createdTime": "0",
            "modifiedTime": "0",
            "lastUsed": str(int(self._used.get(key.api_key, request.now))),
        }

    def _account(self, key: Key) -> Account:
        return self.exchange.accounts[key.account]

    # New orders

    def _add_order(self, request: Request, form: Mapping[str, Any], key: Key) -> Any:
        wanted = self._wanted(form, request)
        order = self.place(wanted, key, request)
        answer: dict[str, Any] = {"descr": {"order": self.sentence(order if order is not None else wanted)}}
        if order is not None:
            answer["txid"] = [self.txid(order.order_id)]
        return answer

    def _wanted(self, form: Mapping[str, Any], request: Request) -> Wanted:
        """Read https://docs.kraken.com/api-reference/trading/add-order."""
        for name in ("pair", "type", "ordertype", "volume"):
            if name not in form:
                raise invalid(name)
        flags = {flag for flag in str(form.get("oflags", "")).split(",") if flag}
        if flags - {"post", "fcib", "fciq", "nompp", "viqc"} or {"fcib", "fciq"} <= flags:
            raise invalid("oflags")
        for name in ("leverage", "close[ordertype]", "displayvol", "starttm", "reduce_only"):
            if str(form.get(name, "0")) not in ("0", "none", "false", ""):
                raise invalid(name)
        order_type = str(form["ordertype"])
        if str(form.get("trigger", "last")) != "last":
            raise invalid("trigger")
        triggered = order_type in TRIGGERED
        in_force = str(form.get("timeinforce", "GTC"))
        if in_force.upper() != "GTD" and str(form.get("expiretm", "0")) not in ("0", ""):
            raise invalid("expiretm")
        stp = str(form.get("stptype", "cancel-newest"))
        if stp not in SELF_TRADES:
            raise invalid("stptype")
        wanted = self.checked(
            symbol=self.market(str(form["pair"])).symbol,
            side=str(form["type"]),
            side_name="type",
            order_type=order_type,
            type_name="ordertype",
            volume=number(form, "volume"),
            in_quote="viqc" in flags,
            price=number(form, "price2" if triggered else "price") if order_type.endswith("limit") else None,
            trigger_price=number(form, "price") if triggered else None,
            expires_at=expiry_of(form, request.clock) if in_force.upper() == "GTD" else None,
            time_in_force=in_force,
            tif_name="timeinforce",
            post_only="post" in flags,
            post_name="oflags",
            cl_ord_id=form.get("cl_ord_id", ""),
            userref=form.get("userref", 0),
            deadline=form.get("deadline"),
            validate=str(form.get("validate", "false")).lower() in ("true", "1"),
        )
        return replace(wanted, self_trade=SELF_TRADES[stp])

    def checked(
        self,
        *,
        symbol: str,
        side: str,
        side_name: str,
        order_type: str,
        type_name: str,
        volume: Decimal,
        in_quote: bool,
        price: Decimal | None,
        trigger_price: Decimal | None = None,
        expires_at: float | None = None,
        time_in_force: str,
        tif_name: str,
        post_only: bool,
        post_name: str,
        cl_ord_id: object,
        userref: object,
        deadline: object,
        validate: bool,
    ) -> Wanted:
        """Check what can be checked without the exchange; the names are those of the caller's arguments."""
        if side not in ("buy", "sell"):
            raise invalid(side_name)
        if order_type not in ("market", "limit") and order_type not in TRIGGERED:
            raise invalid(type_name)
        force = time_in_force.upper()
        if force not in ("GTC", "GTD", "IOC", "FOK") or (force == "GTD" and order_type == "market"):
            raise invalid(tif_name)
        # "not currently available for Take profit limit and Stop loss limit order types":
        # https://support.kraken.com/hc/en-us/articles/203053246-Other-order-options
        if post_only and (order_type != "limit" or force in ("IOC", "FOK")):
            raise invalid(post_name)
        if in_quote and order_type != "market":
            raise invalid("viqc")
        if cl_ord_id and not (isinstance(cl_ord_id, str) and CL_ORD_ID.fullmatch(cl_ord_id)):
            raise invalid("cl_ord_id")
        try:
            reference = int(str(userref))
        except ValueError as error:
            raise invalid("userref") from error
        if not -(2**31) <= reference < 2**31 or (reference and cl_ord_id):
            raise invalid("userref")  # the two are mutually exclusive
        ours: Literal["buy", "sell"] = "buy" if side == "buy" else "sell"
        trigger = None
        if trigger_price is not None:
            trigger = stop_or_profit(TRIGGERED[order_type], ours, trigger_price)
        return Wanted(
            symbol=symbol,
            side=ours,
            order_type="limit" if order_type.endswith("limit") else "market",
            trigger=trigger,
            expires_at=expires_at,
            volume=volume,
            in_quote=in_quote,
            price=price,
            time_in_force="IOC" if force == "IOC" else "FOK" if force == "FOK" else "GTC",
            post_only=post_only,
            cl_ord_id=str(cl_ord_id or ""),
            userref=reference,
            deadline=None if deadline is None else str(deadline),
            validate=validate,
        )

    def place(self, wanted: Wanted, key: Key, request: Request) -> Order | None:
        """Place an order, from REST or a stream; None when it was to be validated only."""
        market = self.exchange.markets[wanted.symbol]
        if not self.order_counter(key.account, wanted.symbol).add(ADD_COST, request.now):
            raise Refused("EOrder:Rate limit exceeded")
        self.check_deadline(wanted.deadline, request.clock)
        if not wanted.in_quote and wanted.volume < market.min_qty:
            raise Refused(ORDER_MINIMUM)
        if wanted.validate:
            self._check_steps(wanted, market)
            return None
        try:
            order = self.exchange.create_order(
                self._account(key),
                wanted.symbol,
                wanted.side,
                wanted.order_type,
                None if wanted.in_quote else wanted.volume,
                wanted.price,
                quote_quantity=wanted.volume if wanted.in_quote else None,
                time_in_force=wanted.time_in_force,
                post_only=wanted.post_only,
                client_order_id=wanted.cl_ord_id,
                trigger=wanted.trigger,
                expires_at=wanted.expires_at,
                self_trade=wanted.self_trade,
                now=request.now,
            )
        except Reject as reject:
            raise Refused(words(reject, market)) from reject
        if wanted.userref:
            self.refs[order.order_id] = wanted.userref
        return order

    def _check_steps(self, wanted: Wanted, market: Market) -> None:
        prices = (wanted.price, wanted.trigger.price if wanted.trigger else None)
        if any(price is not None and price % market.tick for price in prices):
            raise Refused(words(Reject(records.PRICE_FILTER, ""), market))
        if not wanted.in_quote and wanted.volume % market.lot:
            raise invalid("volume")
        if wanted.price is not None and wanted.price * wanted.volume < market.min_notional:
            raise Refused(COST_MINIMUM)

    def check_deadline(self, deadline: object, clock: float) -> None:
        """Refuse what comes after its deadline, or names one that is none."""
        if deadline is None:
            return
        try:
            until = datetime.fromisoformat(str(deadline).replace("Z", "+00:00"))
        except ValueError as error:
            raise invalid("deadline") from error
        if until.utcoffset() is None or until.timestamp() - clock > DEADLINE_MAX_S:
            raise invalid("deadline")
        if until.timestamp() <= clock:
            raise Refused("EService:Deadline elapsed")

    def order_counter(self, account: str, symbol: str) -> Counter:
        """The counter of an account's orders in one pair."""
        return self._orders.setdefault((account, symbol), Counter(*self.order_limit))

    # Cancelling

    def _cancel_order(self, request: Request, form: Mapping[str, Any], key: Key) -> Any:
        if form.get("cl_ord_id"):
            orders = [self.find(key, cl_ord_id=str(form["cl_ord_id"]))]
        elif "txid" in form:
            txid = str(form["txid"])
            by_userref = re.fullmatch(r"-?\d{1,10}", txid) is not None
            orders = self._open_by_userref(key, int(txid)) if by_userref else [self.find(key, txid=txid)]
        else:
            raise invalid("txid")
        if not orders:
            raise Refused(UNKNOWN_ORDER)
        for order in orders:
            self.cancel(order, request.now)
        return {"count": len(orders)}

    def _cancel_batch(self, request: Request, form: Mapping[str, Any], key: Key) -> Any:
        names = form.get("orders", [])
        cl_ord_ids = form.get("cl_ord_ids", [])
        if (
            not isinstance(names, list)
            or not isinstance(cl_ord_ids, list)
            or not 1 <= len(names + cl_ord_ids) <= 50
        ):
            raise invalid("orders")
        count = 0
        for name, by_client in [(n, False) for n in names] + [(n, True) for n in cl_ord_ids]:
            text = str(name.get("txid", "")) if isinstance(name, dict) else str(name)
            try:
                order = self.find(key, cl_ord_id=text) if by_client else self.find(key, txid=text)
                self.cancel(order, request.now)
                count += 1
            except Refused:
                continue  # those that exist are cancelled, the answer counts them
        if not count:
            raise Refused(UNKNOWN_ORDER)
        return {"count": count}

    def _cancel_all(self, request: Request, form: Mapping[str, Any], key: Key) -> Any:
        return {"count": self.cancel_all(key, request.now)}

    def cancel_all_after(self, request: Request, form: Mapping[str, Any], key: Key) -> Any:
        """Set the switch: https://docs.kraken.com/api-reference/trading/cancel-all-orders-after."""
        given = str(form.get("timeout", ""))
        if not given.isascii() or not given.isdigit() or int(given) > SWITCH_MAX_S:
            raise invalid("timeout")
        seconds = int(given)
        self.exchange.cancel_all_at(self._account(key), request.now + seconds if seconds else None)
        return {
            "currentTime": whole_seconds(request.clock),
            "triggerTime": whole_seconds(request.clock + seconds) if seconds else "0",
        }

    def cancel_all(self, key: Key, now: float) -> int:
        """Cancel all open orders of an account and count them."""
        orders = list(self._account(key).open.values())
        for order in orders:
            self.cancel(order, now)
        return len(orders)

    def find(self, key: Key, *, txid: str = "", cl_ord_id: str = "") -> Order:
        """Find an order of this account, as cancelling does.

        An id never given out is `Invalid order`, one whose order has ended `Unknown order`: seen on the wire.
        """
        account = self._account(key)
        if cl_ord_id:
            order = self.exchange.find_order(account, client_order_id=cl_ord_id)
            if order is None:
                raise Refused(UNKNOWN_ORDER)
            return order
        order_id = self.order_id(txid)
        if order_id is None or order_id not in account.orders:
            raise Refused(INVALID_ORDER)
        return account.orders[order_id]

    def _open_by_userref(self, key: Key, userref: int) -> list[Order]:
        return [o for o in self._account(key).open.values() if self.refs.get(o.order_id, 0) == userref]

    def cancel(self, order: Order, now: float) -> None:
        """Cancel one order, from REST or a stream. Cancelling is counted, and never refused for it."""
        account = self.exchange.accounts[order.account]
        try:
            self.exchange.cancel_order(account, order.order_id, now=now)
        except Reject as reject:
            raise Refused(words(reject)) from reject
        age = now - order.created_at
        cost = next((cost for limit, cost in CANCEL_COSTS if age < limit), 0.0)
        self.order_counter(order.account, order.symbol).add(cost, now)

    # Asking for orders and trades

    def _open_orders(self, request: Request, form: Mapping[str, Any], key: Key) -> Any:
        orders = self.exchange.open_orders(self._account(key), as_of=request.view.orders_as_of)
        return {"open": self._records(self._filtered(reversed(orders), form), form)}

    def _closed_orders(self, request: Request, form: Mapping[str, Any], key: Key) -> Any:
        # https://docs.kraken.com/api-reference/account-data/get-closed-orders
        which = str(form.get("closetime", "both"))
        if which not in ("open", "close", "both"):
            raise invalid("closetime")
        start = self._time_or_order(form, "start", 0.0)
        end = self._time_or_order(form, "end", float("inf"))
        closed = self.exchange.closed_orders(self._account(key), as_of=request.view.orders_as_of)
        if request.view.hide_closed:
            closed = []

        def within(order: Order) -> bool:
            times = {"open": [order.created_at], "close": [order.updated_at]}.get(
                which, [order.created_at, order.updated_at]
            )
            return any(start < time <= end for time in times)

        newest_first = sorted(closed, key=lambda order: (order.updated_at, order.order_id), reverse=True)
        found = [order for order in self._filtered(newest_first, form) if within(order)]
        page = found[offset_of(form) :][:PAGE]
        return {"closed": self._records(page, form), "count": len(found)}

    def _query_orders(self, request: Request, form: Mapping[str, Any], key: Key) -> Any:
        if not form.get("txid"):
            raise invalid("txid")
        account = self._account(key)
        found = []
        for txid in str(form["txid"]).split(",")[:PAGE]:
            order_id = self.order_id(txid)
            if order_id is None or order_id not in account.orders:
                raise Refused(INVALID_ORDER)
            order = self.exchange.find_order(account, order_id, as_of=request.view.orders_as_of)
            if order is not None and (order.open or not request.view.hide_closed):
                found.append(order)
        return self._records(self._filtered(found, form), form)

    def _filtered(self, orders: Iterable[Order], form: Mapping[str, Any]) -> list[Order]:
        chosen = list(orders)
        if "userref" in form:
            try:
                userref = int(str(form["userref"]))
            except ValueError as error:
                raise invalid("userref") from error
            chosen = [order for order in chosen if self.refs.get(order.order_id, 0) == userref]
        if form.get("cl_ord_id"):
            chosen = [order for order in chosen if order.client_order_id == str(form["cl_ord_id"])]
        return chosen

    def _records(self, orders: Iterable[Order], form: Mapping[str, Any]) -> dict[str, Any]:
        with_trades = str(form.get("trades", "false")).lower() in ("true", "1")
        return {self.txid(order.order_id): self._record(order, with_trades) for order in orders}

    def _record(self, order: Order, with_trades: bool) -> dict[str, Any]:
        pair = Pair(self.exchange.markets[order.symbol])
        limit = order.price if order.price is not None else ZERO
        first = limit if order.trigger is None else order.trigger.price
        fee = sum((fill.fee for fill in order.fills), ZERO)
        record: dict[str, Any] = {
            "refid": None,
            "userref": self.refs.get(order.order_id, 0),
            "status": status_of(order),
            "reason": end_reason(order),
            "opentm": round(order.created_at, 4),
            "starttm": 0,
            "expiretm": 0 if order.expires_at is None else int(order.expires_at),
            "descr": {
                "pair": pair.altname,
                "type": order.side,
                "ordertype": order_word(order),
                "price": pair.price(first) if first else "0",
                "price2": pair.price(limit) if limit and order.trigger is not None else "0",
                "leverage": "none",
                "order": self.sentence(order),
                "close": "",
            },
            "vol": fixed(volume_of(order), 8),
            "vol_exec": fixed(order.filled_quantity, 8),
            "cost": fixed(order.filled_quote, COST_DECIMALS),
            "fee": fixed(fee, COST_DECIMALS),
            "price": average(order, pair),
            # "trigger price", "triggered limit price": there are none before.
            "stopprice": pair.price(first) if order.triggered_at else fixed(ZERO, COST_DECIMALS),
            "limitprice": pair.price(limit) if order.triggered_at and limit else fixed(ZERO, COST_DECIMALS),
            "misc": misc(order),
            "oflags": self.flags(order),
        }
        if order.trigger is not None:
            record["trigger"] = "last"
        if order.client_order_id:
            record["cl_ord_id"] = order.client_order_id
        if not order.open:
            record["closetm"] = round(order.updated_at, 4)
        if with_trades and order.fills:
            record["trades"] = [self.trade_txid(fill) for fill in order.fills]
        return record

    def _trades_history(self, request: Request, form: Mapping[str, Any], key: Key) -> Any:
        account = self._account(key)
        start, end = (
            self._time_or_trade(form, "start", key, 0.0),
            self._time_or_trade(form, "end", key, float("inf")),
        )
        fills = self.exchange.my_trades(account, as_of=request.view.orders_as_of)
        found = [fill for fill in reversed(fills) if start < fill.time <= end]
        page = found[offset_of(form) :][:PAGE]
        with_ledgers = str(form.get("ledgers", "false")).lower() in ("true", "1")
        trades = {self.trade_txid(fill): self._trade_record(fill, account, with_ledgers) for fill in page}
        return {"trades": trades, "count": len(found)}

    def _query_trades(self, request: Request, form: Mapping[str, Any], key: Key) -> Any:
        if not form.get("txid"):
            raise invalid("txid")
        account = self._account(key)
        by_txid = {self.trade_txid(fill): fill for fill in account.fills}
        wanted = str(form["txid"]).split(",")[:20]
        if any(txid not in by_txid for txid in wanted):
            raise Refused("EQuery:Unknown trade")
        return {txid: self._trade_record(by_txid[txid], account, False) for txid in wanted}

    def _trade_record(self, fill: Fill, account: Account, with_ledgers: bool) -> dict[str, Any]:
        pair = Pair(self.exchange.markets[fill.symbol])
        record: dict[str, Any] = {
            "ordertxid": self.txid(fill.order_id),
            "postxid": code("T", f"{self.exchange.name}:position:{fill.order_id}"),
            "pair": pair.key,
            "time": round(fill.time, 4),
            "type": fill.side,
            "ordertype": order_word(account.orders[fill.order_id]),
            "price": pair.price(fill.price),
            "cost": fixed(fill.quote_quantity, COST_DECIMALS),
            "fee": fixed(fill.fee, COST_DECIMALS),
            "vol": fixed(fill.quantity, 8),
            "margin": fixed(ZERO, COST_DECIMALS),
            "misc": "",
            "trade_id": fill.trade_id,
            "maker": fill.liquidity == "maker",
        }
        if with_ledgers:
            record["ledgers"] = [
                code("L", f"{self.trade_txid(fill)}:{currency}")
                for currency in (pair.market.base, pair.market.quote)
            ]
        return record

    def _time_or_order(self, form: Mapping[str, Any], name: str, default: float) -> float:
        order_id = self.order_id(str(form.get(name, "")))
        return time_in(form, name, default) if order_id is None else self.exchange.orders[order_id].created_at

    def _time_or_trade(self, form: Mapping[str, Any], name: str, key: Key, default: float) -> float:
        text = str(form.get(name, ""))
        if text.startswith("T"):
            for fill in self._account(key).fills:
                if self.trade_txid(fill) == text:
                    return fill.time
        return time_in(form, name, default)

    # Ids and words of orders

    def txid(self, order_id: int) -> str:
        """Kraken's id of an order."""
        return code("O", f"{self.exchange.name}:{order_id}")

    def order_id(self, txid: str) -> int | None:
        """Find the order of a txid, of any account."""
        if not TXID.fullmatch(txid):
            return None
        if txid not in self._txids:
            # Orders are kept oldest first, and some are newer than the last look.
            for order_id in islice(self.exchange.orders, self._mapped, None):
                self._txids[self.txid(order_id)] = order_id
            self._mapped = len(self.exchange.orders)
        return self._txids.get(txid)

    def trade_txid(self, fill: Fill) -> str:
        """Kraken's id of one side of a trade."""
        return code("T", f"{self.exchange.name}:{fill.trade_id}:{fill.order_id}")

    def fee_flag(self, order: Order) -> str:
        """Say in which currency of the pair the order's fees are taken."""
        mode = self.exchange.markets[order.symbol].fee_mode
        in_base = mode == "base" or (mode == "received" and order.side == "buy")
        return "fcib" if in_base else "fciq"

    def flags(self, order: Order) -> str:
        """The order's oflags."""
        flags = [self.fee_flag(order)]
        if order.post_only:
            flags.insert(0, "post")
        if order.quote_quantity is not None:
            flags.append("viqc")
        return ",".join(flags)

    def sentence(self, order: Order | Wanted) -> str:
        """Describe an order as Kraken does."""
        pair = Pair(self.exchange.markets[order.symbol])
        volume = order.volume if isinstance(order, Wanted) else volume_of(order)
        words = f"{order.side} {fixed(volume, 8)} {pair.altname} @"
        if order.trigger is not None:
            words += f" {order.trigger.kind.replace('_', ' ')} {pair.price(order.trigger.price)}"
            return words if order.price is None else f"{words} -> limit {pair.price(order.price)}"
        words += f" {order.order_type}"
        return words if order.price is None else f"{words} {pair.price(order.price)}"
