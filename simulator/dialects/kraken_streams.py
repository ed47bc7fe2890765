"""Kraken's WebSocket API v2: market data on one path, an account's events and orders on the other.

What a reader of these streams has to know:

1. Numbers are JSON numbers with all their decimals (`0.00100000`). Read as floats they lose them, and the
   book's checksum, which is made of these digits, no longer fits.
2. A book subscriber hears of changes within its depth only. A level pushed out of it by better ones is not
   mentioned: cut the book to the depth after each message.
3. Only the first report of an order is complete. Later ones name the order and what changed, not its symbol.
4. A trade report says `partially_filled` even when it completes the order; a report `filled` follows.
5. `sequence` counts the messages of one private channel on one connection. A gap is a lost message.

https://docs.kraken.com/exchange/api-reference/spot-websocket-v2 and the guides beside it.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

from ems.core.book import Side
from simulator import records
from simulator.dialects import dialect, kraken_amend
from simulator.dialects.dialect import Request, Send
from simulator.dialects.kraken_words import (
    DOLLARS,
    FIAT,
    STATUS,
    TRIGGERED,
    Refused,
    Wanted,
    code,
    decimals_of,
    end_reason,
    iso,
    number,
    order_word,
    places,
    status_of,
    summary,
    write,
)
from simulator.records import (
    ZERO,
    BalanceChange,
    BookChange,
    Fill,
    Key,
    Levels,
    Market,
    Order,
    OrderUpdate,
    PublicTrade,
)

if TYPE_CHECKING:
    from simulator.dialects.kraken import Kraken

BOOK_DEPTHS = (10, 25, 100, 500, 1000)
CHECKSUM_LEVELS = 10
SNAPSHOT_TRADES = 50
HEARTBEAT_S = 1.0  # a connection with subscriptions hears something every second

# Fields that add_order understands here; Kraken refuses others by name.
ADD_FIELDS = frozenset(
    (
        "order_type", "side", "symbol", "order_qty", "cash_order_qty", "limit_price", "limit_price_type",
        "time_in_force", "post_only", "cl_ord_id", "order_userref", "deadline", "validate", "token",
        "fee_preference", "margin", "reduce_only", "no_mpp", "stp_type", "triggers", "expire_time",
    )
)  # fmt: skip


def checksum(asks: list[tuple[str, str]], bids: list[tuple[str, str]]) -> int:
    """The book's CRC32 over the ten best levels, best first, as (price, quantity) in full precision.

    https://docs.kraken.com/exchange/guides/websockets/book-checksum-v2
    """
    levels = asks[:CHECKSUM_LEVELS] + bids[:CHECKSUM_LEVELS]
    digits = "".join(part.replace(".", "").lstrip("0") for level in levels for part in level)
    return zlib.crc32(digits.encode())


def exact(value: Decimal, step: Decimal) -> Decimal:
    """The value with the decimals of its step, zeros included."""
    return value.quantize(Decimal(1).scaleb(-places(step)))


class Streams:
    """What both kinds of connection have in common: methods, answers, heartbeats."""

    def __init__(self, kraken: Kraken, send: Send, request: Request) -> None:
        self.kraken = kraken
        self.exchange = kraken.exchange
        self._send = send
        self._quiet_since = request.now
        self._subscribed = False
        self._snapshots: list[Callable[[], None]] = []  # to send when the acknowledgements are out
        self.methods: dict[str, Callable[[dict[str, Any], Request], Any]] = {
            "subscribe": self._subscribe,
            "unsubscribe": self._unsubscribe,
        }
        status = {
            "version": "2.0.10",
            "system": STATUS[self.exchange.mode],
            "api_version": "v2",
            "connection_id": zlib.crc32(f"{request.remote}{request.now}".encode()),
        }
        self.send({"channel": "status", "type": "update", "data": [status]}, dialect.TICKER, request.now)

    def send(self, message: Mapping[str, Any], stream: str, now: float) -> None:
        """Send one message of a stream."""
        self._quiet_since = now
        self._send(write(message), stream)

    def kind(self, text: str) -> str:
        method = _parsed(text).get("method")
        return METHOD_KINDS.get(str(method), dialect.OTHER)

    def receive(self, text: str, request: Request) -> None:
        message = _parsed(text)
        method, parameters = str(message.get("method")), message.get("params")
        params = parameters if isinstance(parameters, dict) else {}
        head = {"req_id": message["req_id"]} if isinstance(message.get("req_id"), int) else {}
        times = {"time_in": iso(request.clock), "time_out": iso(request.clock)}
        if method == "ping":
            self.send({"method": "pong", **head, **times}, dialect.REPLY, request.now)
            return
        if method not in self.methods:
            answers: list[dict[str, Any]] = [{"success": False, "error": "Unsupported method"}]
        else:
            try:
                answers = list(self.methods[method](params, request))
            except Refused as refusal:
                answers = [{"success": False, "error": str(refusal)}]
        for answer in answers:
            self.send({"method": method, **head, **answer, **times}, dialect.REPLY, request.now)
        snapshots, self._snapshots = self._snapshots, []
        for send_snapshot in snapshots:
            send_snapshot()

    def tick(self, now: float) -> None:
        if self._subscribed and now - self._quiet_since >= HEARTBEAT_S:
            self.send({"channel": "heartbeat"}, dialect.TICKER, now)

    def _subscribe(self, params: dict[str, Any], request: Request) -> list[dict[str, Any]]:
        raise NotImplementedError

    def _unsubscribe(self, params: dict[str, Any], request: Request) -> list[dict[str, Any]]:
        raise NotImplementedError


class PublicStreams(Streams):
    """Market data."""

    def __init__(self, kraken: Kraken, send: Send, request: Request) -> None:
        super().__init__(kraken, send, request)
        self._depths: dict[str, int] = {}  # symbol -> subscribed depth of its book
        self._sent: dict[
            str, tuple[Levels, Levels]
        ] = {}  # symbol -> (bids, asks) as the subscriber knows them
        self._trades: set[str] = set()
        self._tickers: dict[str, str] = {}  # symbol -> event that triggers: trades or bbo
        self._touches: dict[str, tuple[Any, Any]] = {}  # symbol -> best bid and ask as last sent

    def on_event(self, event: records.Event) -> None:
        if isinstance(event, BookChange):
            if event.symbol in self._depths:
                self._send_book(event.symbol, event.now)
            if self._tickers.get(event.symbol) == "bbo":
                self._send_ticker(event.symbol, "update", event.now)
        elif isinstance(event, PublicTrade):
            if event.symbol in self._trades:
                data = [self._trade(event)]
                self.send({"channel": "trade", "type": "update", "data": data}, dialect.TRADES, event.now)
            if self._tickers.get(event.symbol) == "trades":
                self._send_ticker(event.symbol, "update", event.now)

    def _subscribe(self, params: dict[str, Any], request: Request) -> list[dict[str, Any]]:
        channel = params.get("channel")
        if channel == "instrument":
            self._subscribed = True
            self._snapshots.append(partial(self._send_instruments, request.now))
            return [{"result": {"channel": "instrument", "snapshot": True}, "success": True}]
        if channel not in ("book", "trade", "ticker"):
            raise Refused(f"Unsupported channel: {channel}" if channel else "Channel is required")
        symbols = params.get("symbol")
        if not isinstance(symbols, list) or not symbols:
            raise Refused("Symbol(s) is required")
        depth = params.get("depth", 10)
        if channel == "book" and depth not in BOOK_DEPTHS:
            raise Refused("Subscription depth not supported")
        trigger = params.get("event_trigger", "trades")
        if trigger not in ("trades", "bbo"):
            raise Refused("Event trigger not supported")
        snapshot = params.get("snapshot", channel != "trade") is True
        answers = []
        for symbol in symbols:
            if symbol not in self.exchange.markets:
                error = f"Currency pair not supported {symbol}"
                answers.append({"success": False, "error": error, "symbol": symbol})
                continue
            self._subscribed = True
            result: dict[str, Any] = {"channel": channel, "symbol": symbol, "snapshot": snapshot}
            if channel == "book":
                result["depth"] = depth
                self._depths[symbol] = depth
            elif channel == "trade":
                self._trades.add(symbol)
            else:
                result["event_trigger"] = trigger
                self._tickers[symbol] = trigger
            answers.append({"result": result, "success": True})
            self._snapshots.append(partial(self._begin, channel, symbol, snapshot, request.now))
        return answers

    def _begin(self, channel: str, symbol: str, snapshot: bool, now: float) -> None:
        if channel == "book":
            self._sent.pop(symbol, None)
            if snapshot:
                self._send_book(symbol, now)
            else:
                self._sent[symbol] = self._levels(symbol, now)
        elif channel == "ticker":
            self._touches.pop(symbol, None)
            if snapshot:
                self._send_ticker(symbol, "snapshot", now)
        elif snapshot:
            recent = [self._trade(trade) for trade in self.exchange.recent_trades(symbol, SNAPSHOT_TRADES)]
            self.send({"channel": "trade", "type": "snapshot", "data": recent}, dialect.TRADES, now)

    def _unsubscribe(self, params: dict[str, Any], request: Request) -> list[dict[str, Any]]:
        channel, symbols = params.get("channel"), params.get("symbol")
        held: dict[str, Any] = {"book": self._depths, "trade": self._trades, "ticker": self._tickers}
        if channel not in held or not isinstance(symbols, list):
            raise Refused("Subscription not found")
        answers: list[dict[str, Any]] = []
        for symbol in symbols:
            if symbol not in held[channel]:
                answers.append({"success": False, "error": "Subscription Not Found", "symbol": symbol})
                continue
            if isinstance(held[channel], set):
                held[channel].discard(symbol)
            else:
                del held[channel][symbol]
            answers.append({"result": {"channel": channel, "symbol": symbol}, "success": True})
        return answers

    def _levels(self, symbol: str, now: float) -> tuple[Levels, Levels]:
        depth = self.exchange.depth(symbol, self._depths[symbol], now=now)
        return depth.bids, depth.asks

    def _send_book(self, symbol: str, now: float) -> None:
        market = self.exchange.markets[symbol]
        bids, asks = self._levels(symbol, now)
        known = self._sent.get(symbol)
        self._sent[symbol] = (bids, asks)
        if known is None:
            kind, changes = "snapshot", (bids, asks)
        else:
            depth = self._depths[symbol]
            kind, changes = (
                "update",
                (_changes("buy", known[0], bids, depth), _changes("sell", known[1], asks, depth)),
            )
            if not changes[0] and not changes[1]:
                return
        book = {
            "symbol": symbol,
            "bids": [_level(market, level) for level in changes[0]],
            "asks": [_level(market, level) for level in changes[1]],
            "checksum": checksum(_texts(market, asks), _texts(market, bids)),
            "timestamp": iso(now),
        }
        self.send({"channel": "book", "type": kind, "data": [book]}, dialect.BOOK, now)

    def _send_ticker(self, symbol: str, kind: str, now: float) -> None:
        market = self.exchange.markets[symbol]
        bid = self.exchange.best(symbol, "buy", now) or (ZERO, ZERO)
        ask = self.exchange.best(symbol, "sell", now) or (ZERO, ZERO)
        if self._tickers[symbol] == "bbo" and self._touches.get(symbol) == (bid, ask):
            return
        self._touches[symbol] = (bid, ask)
        trades = self.exchange.recent_trades(symbol, 1000)
        figures = summary(trades)
        last = trades[-1].price if trades else ZERO
        change = last - figures.first
        ticker = {
            "symbol": symbol,
            "bid": exact(bid[0], market.tick),
            "bid_qty": exact(bid[1], market.lot),
            "ask": exact(ask[0], market.tick),
            "ask_qty": exact(ask[1], market.lot),
            "last": exact(last, market.tick),
            # Over recent trades, where Kraken looks back 24 hours.
            "volume": figures.volume,
            "vwap": figures.vwap,
            "low": exact(figures.low, market.tick),
            "high": exact(figures.high, market.tick),
            "change": exact(change, market.tick),
            "change_pct": (change / figures.first * 100).quantize(Decimal("0.01")) if figures.first else ZERO,
            "timestamp": iso(now),
        }
        self.send({"channel": "ticker", "type": kind, "data": [ticker]}, dialect.TICKER, now)

    def _trade(self, trade: PublicTrade) -> dict[str, Any]:
        market = self.exchange.markets[trade.symbol]
        return {
            "symbol": trade.symbol,
            "side": trade.taker_side,
            "price": exact(trade.price, market.tick),
            "qty": exact(trade.quantity, market.lot),
            "ord_type": "limit",
            "trade_id": trade.trade_id,
            "timestamp": iso(trade.now),
        }

    def _send_instruments(self, now: float) -> None:
        markets = list(self.exchange.markets.values())
        currencies = sorted({currency for market in markets for currency in (market.base, market.quote)})
        assets = [
            {
                "id": currency,
                "status": "enabled",
                "precision": decimals_of(currency),
                "precision_display": 2 if currency in FIAT else 5,
                "borrowable": False,
                "collateral_value": ZERO,
                "margin_rate": ZERO,
            }
            for currency in currencies
        ]
        pairs = [
            {
                "symbol": market.symbol,
                "base": market.base,
                "quote": market.quote,
                "status": STATUS[self.exchange.mode_of(market.symbol)],
                "qty_precision": places(market.lot),
                "qty_increment": market.lot,
                "price_precision": places(market.tick),
                "cost_precision": 5,
                "marginable": False,
                "has_index": True,
                "cost_min": market.min_notional,
                "tick_size": market.tick,
                "price_increment": market.tick,
                "qty_min": market.min_qty,
            }
            for market in markets
        ]
        data = {"assets": assets, "pairs": pairs}
        self.send({"channel": "instrument", "type": "snapshot", "data": data}, dialect.TICKER, now)


class PrivateStreams(Streams):
    """An account's orders, fills and balances, and order entry."""

    def __init__(self, kraken: Kraken, send: Send, request: Request) -> None:
        super().__init__(kraken, send, request)
        self._token: str | None = None  # the one this connection has used
        self._account: str | None = None
        self._executions: dict[str, bool] | None = None  # options, once subscribed
        self._balances = False
        self._totals: dict[str, Decimal] = {}  # currency -> balance as last sent
        self._sequence = {"executions": 0, "balances": 0}
        self.methods |= {
            "add_order": self._add_order,
            "cancel_order": self._cancel_order,
            "cancel_all": self._cancel_all,
            "amend_order": self._amend_order,
            "cancel_all_orders_after": self._cancel_all_after,
        }

    def tick(self, now: float) -> None:
        self.exchange.wake(now)
        super().tick(now)

    def on_event(self, event: records.Event) -> None:
        if isinstance(event, OrderUpdate):
            if self._executions is not None and event.order.account == self._account:
                for report, stream in self._reports(event):
                    self._emit("executions", "update", [report], stream, event.now)
        elif isinstance(event, BalanceChange):
            if self._balances and event.account == self._account:
                self._send_balances(event)

    def _emit(self, channel: str, kind: str, data: list[Any], stream: str, now: float) -> None:
        self._sequence[channel] += 1
        message = {"channel": channel, "type": kind, "data": data, "sequence": self._sequence[channel]}
        self.send(message, stream, now)

    def _key(self, params: Mapping[str, Any], request: Request) -> Key:
        token = params.get("token")
        key = self.kraken.token_key(token, request.now, in_use=token is not None and token == self._token)
        self._token = str(token)
        return key

    def _subscribe(self, params: dict[str, Any], request: Request) -> list[dict[str, Any]]:
        channel = params.get("channel")
        if channel not in ("executions", "balances"):
            raise Refused(f"Unsupported channel: {channel}" if channel else "Channel is required")
        key = self._key(params, request)
        if "read" not in key.permissions:
            raise Refused("EGeneral:Permission denied")
        self._account, self._subscribed = key.account, True
        self._sequence[channel] = 0
        if channel == "balances":
            self._balances = True
            self._snapshots.append(partial(self._snapshot_balances, request))
            return [{"result": {"channel": channel, "snapshot": True}, "success": True}]
        options = {
            "snap_orders": params.get("snap_orders", True) is True,
            "snap_trades": params.get("snap_trades", False) is True,
            "order_status": params.get("order_status", True) is True,
        }
        self._executions = options
        self._snapshots.append(partial(self._snapshot_executions, options, request))
        result = {"channel": channel, "maxratecount": int(self.kraken.order_limit[0]), **options}
        return [{"result": result, "success": True}]

    def _unsubscribe(self, params: dict[str, Any], request: Request) -> list[dict[str, Any]]:
        channel = params.get("channel")
        self._key(params, request)
        if channel == "executions" and self._executions is not None:
            self._executions = None
        elif channel == "balances" and self._balances:
            self._balances = False
        else:
            raise Refused("Subscription Not Found")
        return [{"result": {"channel": channel}, "success": True}]

    # Executions

    def _snapshot_executions(self, options: Mapping[str, bool], request: Request) -> None:
        account = self.exchange.accounts[self._account or ""]
        reports: list[dict[str, Any]] = []
        if options["snap_orders"]:
            for order in self.exchange.open_orders(account, as_of=request.view.orders_as_of):
                status = "partially_filled" if order.filled_quantity else "new"
                report = self._whole(order, "new", status, order.filled_quote, order.created_at)
                reports.append(report | self._progress(order, len(order.fills)))
        if options["snap_trades"]:
            fills = self.exchange.my_trades(account, as_of=request.view.orders_as_of)
            reports += [self._trade(account.orders[fill.order_id], fill) for fill in fills[-SNAPSHOT_TRADES:]]
        self._emit("executions", "snapshot", reports, dialect.ORDERS, request.now)

    def _reports(self, update: OrderUpdate) -> list[tuple[dict[str, Any], str]]:
        """What is said about one change of an order, with the stream it belongs to."""
        order = update.order
        assert self._executions is not None
        if update.kind == "amended":
            whole = self._whole(order, "amended", _live(update.status), ZERO, update.now)
            return [(whole | {"amended": True} | self._progress(order, len(order.fills)), dialect.ORDERS)]
        if update.kind == "triggered":
            report = self._named(order, "status", "new", update.now)
            return [(report | {"triggers": self._triggers(order, "triggered")}, dialect.ORDERS)]
        if update.kind == "new":
            whole = self._whole(order, "pending_new", "pending_new", ZERO, update.now)
            live = self._named(order, "new", "new", update.now)
            # Without order_status only opening and ending are reported.
            reports = [whole, live] if self._executions["order_status"] else [live]
            return [(report, dialect.ORDERS) for report in reports]
        if update.fill is not None:
            so_far = order.fills.index(update.fill) + 1
            result = [(self._trade(order, update.fill), dialect.FILLS)]
            if update.status == records.FILLED:
                filled = self._named(order, "filled", "filled", update.now) | self._progress(order, so_far)
                result.append((filled, dialect.ORDERS))
            return result
        ended = status_of(order)
        report = self._named(order, ended, ended, update.now) | self._progress(order, len(order.fills))
        reason = end_reason(order) or ""
        return [(report | {"cancel_reason": reason, "reason": reason}, dialect.ORDERS)]

    def _named(self, order: Order, exec_type: str, status: str, now: float) -> dict[str, Any]:
        report: dict[str, Any] = {
            "timestamp": iso(now),
            "order_status": status,
            "exec_type": exec_type,
            "order_userref": self.kraken.refs.get(order.order_id, 0),
            "order_id": self.kraken.txid(order.order_id),
        }
        if order.client_order_id:
            report["cl_ord_id"] = order.client_order_id
        return report

    def _whole(self, order: Order, exec_type: str, status: str, cost: Decimal, now: float) -> dict[str, Any]:
        market = self.exchange.markets[order.symbol]
        report = self._named(order, exec_type, status, now) | {
            "symbol": order.symbol,
            "cum_cost": cost,
            "time_in_force": order.time_in_force,
            "side": order.side,
            "order_type": order_word(order),
            "limit_price_type": "static",
            "stop_price": exact(order.trigger.price, market.tick) if order.trigger else ZERO,
            "fee_usd_equiv": ZERO,
            "fee_ccy_pref": self.kraken.fee_flag(order),
        }
        if order.quote_quantity is not None:
            report["cash_order_qty"] = order.quote_quantity
        else:
            report["order_qty"] = order.quantity
        if order.price is not None:
            report["limit_price"] = exact(order.price, market.tick)
        if order.post_only:
            report["post_only"] = True
        if order.trigger is not None:
            report["triggers"] = self._triggers(order, "untriggered" if order.waiting else "triggered")
        if order.expires_at is not None:
            report |= {"time_in_force": "GTD", "expire_time": iso(order.expires_at)}
        return report

    def _triggers(self, order: Order, status: str) -> dict[str, Any]:
        """What an order waits for, or waited for."""
        assert order.trigger is not None
        tick = self.exchange.markets[order.symbol].tick
        price = exact(order.trigger.price, tick)
        last = self.exchange.last_price(order.symbol)
        triggers = {
            "reference": "last",
            "price": price,
            "price_type": "static",
            "actual_price": price,
            "status": status,
        }
        if last is not None:
            triggers["last_price"] = exact(last, tick)
        if order.triggered_at is not None:
            triggers["timestamp"] = iso(order.triggered_at)
        return triggers

    def _progress(self, order: Order, fills: int) -> dict[str, Any]:
        done = order.fills[:fills]
        quantity = sum((fill.quantity for fill in done), ZERO)
        cost = sum((fill.quote_quantity for fill in done), ZERO)
        mean = (cost / quantity).quantize(Decimal("0.0000000001")).normalize() if quantity else ZERO
        fee = sum((self._dollars(fill) for fill in done), ZERO)
        return {"cum_qty": quantity, "cum_cost": cost, "fee_usd_equiv": fee, "avg_price": mean}

    def _trade(self, order: Order, fill: Fill) -> dict[str, Any]:
        so_far = order.fills.index(fill) + 1
        return self._named(order, "trade", "partially_filled", fill.time) | {
            "exec_id": self.kraken.trade_txid(fill),
            "trade_id": fill.trade_id,
            "symbol": fill.symbol,
            "side": fill.side,
            "last_qty": fill.quantity,
            "last_price": fill.price,
            "liquidity_ind": fill.liquidity[0],
            "cost": fill.quote_quantity,
            "order_type": order_word(order),
            "fees": [{"asset": fill.fee_currency, "qty": fill.fee}] if fill.fee else [],
            **self._progress(order, so_far),
        }

    def _dollars(self, fill: Fill) -> Decimal:
        if fill.fee_currency in DOLLARS:
            return fill.fee
        return fill.fee * fill.price if fill.symbol.split("/")[1] in DOLLARS else ZERO

    # Balances

    def _snapshot_balances(self, request: Request) -> None:
        account = self.exchange.accounts[self._account or ""]
        owned = self.exchange.balances(account, request.view.balances_as_of)
        self._totals = {currency: free + locked for currency, (free, locked) in owned.items()}
        data = [
            {
                "asset": currency,
                "asset_class": "currency",
                "balance": total,
                "wallets": [{"type": "spot", "id": "main", "balance": total}],
            }
            for currency, total in self._totals.items()
        ]
        self._emit("balances", "snapshot", data, dialect.BALANCES, request.now)

    def _send_balances(self, event: BalanceChange) -> None:
        kind = "trade" if event.delta is None else "deposit" if event.delta[1] > 0 else "withdrawal"
        data = []
        for currency, (free, locked) in event.balances.items():
            total = free + locked
            amount = total - self._totals.get(currency, ZERO)
            if not amount:
                continue  # what an order holds is still the account's
            self._totals[currency] = total
            entry = f"{event.account}:{currency}:{event.now}:{self._sequence['balances']}"
            data.append(
                {
                    "ledger_id": code("L", entry),
                    "ref_id": code("T", entry),
                    "timestamp": iso(event.now),
                    "type": kind,
                    "subtype": "",
                    "asset": currency,
                    "asset_class": "currency",
                    "category": kind,
                    "wallet_type": "spot",
                    "wallet_id": "main",
                    "amount": amount,
                    # Amounts of trades are net of fees here.
                    "fee": ZERO,
                    "balance": total,
                }
            )
        if data:
            self._emit("balances", "update", data, dialect.BALANCES, event.now)

    # Order entry

    def _add_order(self, params: dict[str, Any], request: Request) -> list[dict[str, Any]]:
        key = self._trading_key(params, request)
        wanted = self._wanted(params, request)
        order = self.kraken.place(wanted, key, request)
        result: dict[str, Any] = {} if order is None else {"order_id": self.kraken.txid(order.order_id)}
        if wanted.cl_ord_id:
            result["cl_ord_id"] = wanted.cl_ord_id
        result["order_userref"] = wanted.userref
        return [{"result": result, "success": True}]

    def _wanted(self, params: dict[str, Any], request: Request) -> Wanted:
        """Read https://docs.kraken.com/exchange/api-reference/spot-websocket-v2/add_order."""
        for name in params:
            if name not in ADD_FIELDS:
                raise Refused(f"Unsupported field: '{name}' for the given msg type: add order")
        for name in ("order_type", "side", "symbol"):
            if not isinstance(params.get(name), str):
                raise Refused(f"EGeneral:Invalid arguments:{name}")
        if params["symbol"] not in self.exchange.markets:
            raise Refused(f"Currency pair not supported {params['symbol']}")
        if params.get("margin") or params.get("reduce_only"):
            raise Refused("EGeneral:Invalid arguments:margin")
        in_quote = "cash_order_qty" in params
        triggers = params.get("triggers")
        if params["order_type"] in TRIGGERED:
            if not isinstance(triggers, dict):
                raise Refused("EGeneral:Invalid arguments:triggers")
            if (
                triggers.get("reference", "last") != "last"
                or triggers.get("price_type", "static") != "static"
            ):
                raise Refused("EGeneral:Invalid arguments:triggers")
        elif triggers is not None:
            raise Refused("EGeneral:Invalid arguments:triggers")
        in_force = str(params.get("time_in_force", "gtc"))
        return self.kraken.checked(
            symbol=params["symbol"],
            side=params["side"],
            side_name="side",
            order_type=params["order_type"],
            type_name="order_type",
            volume=number(params, "cash_order_qty" if in_quote else "order_qty"),
            in_quote=in_quote,
            price=number(params, "limit_price") if params["order_type"].endswith("limit") else None,
            trigger_price=None if triggers is None else number(triggers, "price"),
            expires_at=_expire_time(params, request.clock) if in_force.upper() == "GTD" else None,
            time_in_force=in_force,
            tif_name="time_in_force",
            post_only=params.get("post_only") is True,
            post_name="post_only",
            cl_ord_id=params.get("cl_ord_id", ""),
            userref=params.get("order_userref", 0),
            deadline=params.get("deadline"),
            validate=params.get("validate") is True,
        )

    def _cancel_order(self, params: dict[str, Any], request: Request) -> list[dict[str, Any]]:
        key = self._trading_key(params, request)
        txids, cl_ord_ids = params.get("order_id", []), params.get("cl_ord_id", [])
        if not isinstance(txids, list) or not isinstance(cl_ord_ids, list) or not txids + cl_ord_ids:
            raise Refused("EGeneral:Invalid arguments:order_id")
        # One answer for each order.
        return [self._cancel(key, request, txid=str(txid)) for txid in txids] + [
            self._cancel(key, request, cl_ord_id=str(cl_ord_id)) for cl_ord_id in cl_ord_ids
        ]

    def _cancel(self, key: Key, request: Request, *, txid: str = "", cl_ord_id: str = "") -> dict[str, Any]:
        try:
            order = self.kraken.find(key, txid=txid, cl_ord_id=cl_ord_id)
            self.kraken.cancel(order, request.now)
        except Refused as refusal:
            return {"success": False, "error": str(refusal)}
        result = {"order_id": self.kraken.txid(order.order_id)}
        if order.client_order_id:
            result["cl_ord_id"] = order.client_order_id
        return {"result": result, "success": True}

    def _cancel_all(self, params: dict[str, Any], request: Request) -> list[dict[str, Any]]:
        key = self._trading_key(params, request)
        return [{"result": {"count": self.kraken.cancel_all(key, request.now)}, "success": True}]

    def _amend_order(self, params: dict[str, Any], request: Request) -> list[dict[str, Any]]:
        key = self._trading_key(params, request)
        amend_id, order = kraken_amend.amend(self.kraken, request, params, key, txid_name="order_id")
        result = {"amend_id": amend_id, "order_id": self.kraken.txid(order.order_id)}
        if order.client_order_id:
            result["cl_ord_id"] = order.client_order_id
        return [{"result": result, "success": True}]

    def _cancel_all_after(self, params: dict[str, Any], request: Request) -> list[dict[str, Any]]:
        key = self._trading_key(params, request)
        result = self.kraken.cancel_all_after(request, params, key)
        return [{"result": result, "success": True}]

    def _trading_key(self, params: Mapping[str, Any], request: Request) -> Key:
        key = self._key(params, request)
        if "trade" not in key.permissions:
            raise Refused("EGeneral:Permission denied")
        return key


METHOD_KINDS = {
    "add_order": dialect.CREATE,
    "cancel_order": dialect.CANCEL,
    "cancel_all": dialect.CANCEL_ALL,
    "cancel_all_orders_after": dialect.CANCEL_ALL,
    "amend_order": dialect.AMEND,
    "subscribe": dialect.STREAM,
    "unsubscribe": dialect.STREAM,
}


def _live(status: str) -> str:
    return "partially_filled" if status == records.PARTIALLY_FILLED else "new"


def _expire_time(params: Mapping[str, Any], clock: float) -> float:
    """Read the end of an order that is good till a date, RFC 3339."""
    try:
        until = datetime.fromisoformat(str(params.get("expire_time")).replace("Z", "+00:00"))
    except ValueError as error:
        raise Refused("EGeneral:Invalid arguments:expire_time") from error
    if until.utcoffset() is None or until.timestamp() <= clock:
        raise Refused("EGeneral:Invalid arguments:expire_time")
    return until.timestamp()


def _parsed(text: str) -> dict[str, Any]:
    try:
        message = json.loads(text, parse_float=Decimal)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}


def _changes(side: Side, known: Levels, now: Levels, depth: int) -> Levels:
    """What a subscriber of `depth` levels has to hear to get from one book side to the next."""
    before, after = dict(known), dict(now)
    changed = [(price, size) for price, size in now if before.get(price) != size]
    # With a full side, levels behind its last one left the depth without being removed.
    worst = now[-1][0] if len(now) == depth else None
    for price, _ in known:
        beyond = worst is not None and (price < worst if side == "buy" else price > worst)
        if price not in after and not beyond:
            changed.append((price, ZERO))
    return changed


def _level(market: Market, level: tuple[Decimal, Decimal]) -> dict[str, Decimal]:
    price, size = level
    return {"price": exact(price, market.tick), "qty": exact(size, market.lot)}


def _texts(market: Market, levels: Levels) -> list[tuple[str, str]]:
    return [
        (f"{exact(price, market.tick):f}", f"{exact(size, market.lot):f}")
        for price, size in levels[:CHECKSUM_LEVELS]
    ]
