"""OKX's WebSocket: market data on one path, an account's events and orders on the other.

What a reader of these streams has to know:

1. The text `ping` is answered with the text `pong`. A connection that hears nothing for 30 s is closed.
2. `books` sends 400 levels at once and then what changed, every 100 ms. `prevSeqId` names the message before:
   where it is not the last one received, one was lost, and only a new subscription heals that.
3. `orders` sends nothing at first, `positions` and `account` all there is. One row of `orders` tells both a
   fill and where the order is after it.
4. A private connection logs in first, with the time in seconds and a signature over `/users/self/verify`.

#overview-websocket and the channels' pages of https://www.okx.com/docs-v5/en/.
"""

from __future__ import annotations

import hmac
import json
import zlib
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from simulator import records
from simulator.dialects import dialect
from simulator.dialects.dialect import Cut, Request, Send
from simulator.dialects.okx_algos import state_of as algo_state
from simulator.dialects.okx_words import (
    BOOK_MAX,
    CLOCK_MAX_S,
    Refused,
    execution,
    failed,
    inst_id,
    inst_type,
    is_order,
    levels,
    ms,
    signature,
    signed,
    state_of,
    symbol_of,
    uid,
)
from simulator.records import (
    ZERO,
    Account,
    BalanceChange,
    BookChange,
    Levels,
    OrderUpdate,
    PositionChange,
    PublicTrade,
    text,
)

if TYPE_CHECKING:
    from simulator.dialects.okx import Okx

CHECKSUM_LEVELS = 25
IDLE_MAX_S = 30.0
QUIET_BOOK_S = 60.0  # a book that does not change says so this often

# Code -> words: #error-code-websocket-public
ERRORS = {
    "60004": "Invalid timestamp",
    "60005": "Invalid apiKey",
    "60006": "Timestamp request expired",
    "60007": "Invalid sign",
    "60009": "Login failure",
    "60011": "Please log in",
    "60012": "Invalid request: {0}",
    "60013": "Invalid args",
    "60018": "Wrong URL or channel:{0},instId:{1} doesn't exist. Please use the correct URL, channel and "
    "parameters referring to API document.",
    "60019": "Invalid op: {0}",
    "60024": "Wrong passphrase",
    "64003": "Your trading fee tier doesn't meet the requirement to access this channel",
}


class Failed(Exception):
    """The stream says no: a code, and its words."""

    def __init__(self, code: str, *details: object) -> None:
        self.code = code
        self.message = ERRORS[code].format(*details)
        super().__init__(f"{code} {self.message}")


def checksum(bids: list[list[str]], asks: list[list[str]]) -> int:
    """The book's CRC32, signed, over the 25 best levels of each side in turn, as they were written.

    #order-book-trading-market-data-ws-order-book-channel
    """
    parts: list[str] = []
    for place in range(CHECKSUM_LEVELS):
        for side in (bids, asks):
            if place < len(side):
                parts += side[place][:2]
    value = zlib.crc32(":".join(parts).encode())
    return value - 2**32 if value >= 2**31 else value


class Streams:
    """What both kinds of connection have in common: operations, answers, silence."""

    def __init__(self, okx: Okx, send: Send, request: Request) -> None:
        self.okx = okx
        self.exchange = okx.exchange
        self._send = send
        self._heard_at = request.now  # when something last went out
        self.connection = f"{zlib.crc32(f'{request.remote}{request.now}{id(self)}'.encode()):08x}"

    def send(self, message: Any, stream: str, now: float) -> None:
        """Send one message of a stream."""
        self._heard_at = now
        self._send(message, stream)

    def event(self, event: str, now: float, message: Mapping[str, Any], **values: Any) -> None:
        """Answer an operation."""
        head = {"id": message["id"]} if isinstance(message.get("id"), str) else {}
        self.send(head | {"event": event} | values | {"connId": self.connection}, dialect.REPLY, now)

    def kind(self, message: str) -> str:
        return OPERATIONS.get(str(_parsed(message).get("op")), dialect.OTHER)

    def receive(self, message: str, request: Request) -> None:
        if message == "ping":
            self.send("pong", dialect.REPLY, request.now)
            return
        asked = _parsed(message)
        arguments = asked.get("args")
        try:
            if not asked or not isinstance(arguments, list) or not arguments:
                raise Failed("60012", message)
            self.operate(str(asked.get("op")), arguments, asked, request)
        except Failed as failed:
            self.event("error", request.now, asked, code=failed.code, msg=failed.message)

    def operate(self, op: str, arguments: list[Any], asked: Mapping[str, Any], request: Request) -> None:
        """Carry out one operation; raise Failed for what this connection has not."""
        if op not in ("subscribe", "unsubscribe"):
            raise Failed("60019", op)
        for argument in arguments:
            if not isinstance(argument, dict):
                raise Failed("60013")
            act = self.subscribe if op == "subscribe" else self.unsubscribe
            begin = act(argument, request)
            self.event(op, request.now, asked, arg=argument)
            if begin is not None:
                begin()

    def subscribe(self, argument: dict[str, Any], request: Request) -> Callable[[], None] | None:
        """Begin a channel; what is returned sends its first message, after the answer."""
        raise NotImplementedError

    def unsubscribe(self, argument: dict[str, Any], request: Request) -> Callable[[], None] | None:
        raise NotImplementedError

    def tick(self, now: float) -> None:
        self.okx.exchange.wake(now)
        if now - self._heard_at > IDLE_MAX_S:
            self._heard_at = now
            self._send(Cut(), dialect.TICKER)


class _Book:
    """One subscribed book as the subscriber knows it."""

    def __init__(self) -> None:
        self.bids: Levels = []
        self.asks: Levels = []
        self.sequence = -1
        self.told_at = 0.0
        self.changed = False


class PublicStreams(Streams):
    """Market data."""

    def __init__(self, okx: Okx, send: Send, request: Request) -> None:
        super().__init__(okx, send, request)
        self._books: dict[tuple[str, str], _Book] = {}  # (channel, symbol) -> book
        self._trades: set[str] = set()
        self._tickers: set[str] = set()
        self._told: dict[
            tuple[str, str], dict[str, str]
        ] = {}  # (channel, contract) -> what was last said of it

    def on_event(self, event: records.Event) -> None:
        if isinstance(event, BookChange):
            for channel in DEPTHS:
                book = self._books.get((channel, event.symbol))
                if book is not None:
                    book.changed = True
            if ("bbo-tbt", event.symbol) in self._books:
                self._snapshot("bbo-tbt", event.symbol, event.now)
        elif isinstance(event, PublicTrade):
            if event.symbol in self._trades:
                row = self.okx.trade(event) | {"count": "1", "seqId": event.trade_id}
                self._push("trades", event.symbol, [row], dialect.TRADES, event.now)
            if event.symbol in self._tickers:
                self._ticker(event.symbol, event.now)

    def tick(self, now: float) -> None:
        super().tick(now)
        for (channel, symbol), book in self._books.items():
            if symbol not in self.exchange.markets:
                continue
            if channel == "books" and (book.changed or now - book.told_at >= QUIET_BOOK_S):
                self._update(symbol, book, now)
            elif channel == "books5" and book.changed:
                self._snapshot(channel, symbol, now)
        for channel, symbol in self._told:
            self._tell_contract(channel, symbol, now)

    def subscribe(self, argument: dict[str, Any], request: Request) -> Callable[[], None] | None:
        channel, symbol = str(argument.get("channel")), self._symbol(argument)
        now = request.now
        if channel in ("books-l2-tbt", "books50-l2-tbt"):
            raise Failed("64003")
        if channel == "books":
            self._books[channel, symbol] = _Book()
            return lambda: self._begin(symbol, now)
        if channel in DEPTHS:
            self._books[channel, symbol] = _Book()
            return lambda: self._snapshot(channel, symbol, now, first=True)
        if channel in ("mark-price", "funding-rate") and inst_type(symbol) == "SWAP":
            self._told[channel, symbol] = {}
            return lambda: self._tell_contract(channel, symbol, now)
        if channel == "trades":
            self._trades.add(symbol)
            return None
        if channel == "tickers":
            self._tickers.add(symbol)
            return lambda: self._ticker(symbol, now)
        raise Failed("60018", channel, argument.get("instId"))

    def unsubscribe(self, argument: dict[str, Any], request: Request) -> Callable[[], None] | None:
        channel, symbol = str(argument.get("channel")), self._symbol(argument)
        self._books.pop((channel, symbol), None)
        self._told.pop((channel, symbol), None)
        for name, held in (("trades", self._trades), ("tickers", self._tickers)):
            if channel == name:
                held.discard(symbol)
        return None

    def _symbol(self, argument: Mapping[str, Any]) -> str:
        symbol = symbol_of(argument.get("instId"))
        if symbol not in self.exchange.markets:
            raise Failed("60018", argument.get("channel"), argument.get("instId"))
        return symbol

    def _push(self, channel: str, symbol: str, rows: list[Any], stream: str, now: float, **more: str) -> None:
        argument = {"channel": channel, "instId": inst_id(symbol)}
        self.send({"arg": argument} | more | {"data": rows}, stream, now)

    def _begin(self, symbol: str, now: float) -> None:
        book = self._books.get(("books", symbol))
        if book is None:
            return
        depth = self.exchange.depth(symbol, BOOK_MAX, now=now)
        self._tell(symbol, book, depth.bids, depth.asks, depth.sequence, now, action="snapshot")

    def _update(self, symbol: str, book: _Book, now: float) -> None:
        depth = self.exchange.depth(symbol, BOOK_MAX, now=now)
        self._tell(symbol, book, depth.bids, depth.asks, depth.sequence, now, action="update")

    def _tell(
        self, symbol: str, book: _Book, bids: Levels, asks: Levels, sequence: int, now: float, *, action: str
    ) -> None:
        row = {
            "asks": levels(_changes(book.asks, asks)),
            "bids": levels(_changes(book.bids, bids)),
            "ts": ms(now),
            "checksum": checksum(levels(bids[:CHECKSUM_LEVELS]), levels(asks[:CHECKSUM_LEVELS])),
            "prevSeqId": book.sequence,
            "seqId": sequence,
        }
        book.bids, book.asks, book.sequence = bids, asks, sequence
        book.told_at, book.changed = now, False
        self._push("books", symbol, [row], dialect.BOOK, now, action=action)

    def _snapshot(self, channel: str, symbol: str, now: float, *, first: bool = False) -> None:
        book = self._books.get((channel, symbol))
        if book is None:
            return
        depth = self.exchange.depth(symbol, DEPTHS[channel], now=now)
        book.changed = False
        if (depth.bids, depth.asks) == (book.bids, book.asks) and not first:
            return
        book.bids, book.asks = depth.bids, depth.asks
        row: dict[str, Any] = {"asks": levels(depth.asks), "bids": levels(depth.bids)}
        if channel == "books5":
            row["instId"] = inst_id(symbol)
        row |= {"ts": ms(now), "seqId": depth.sequence}
        self._push(channel, symbol, [row], dialect.BOOK, now)

    def _tell_contract(self, channel: str, symbol: str, now: float) -> None:
        """Say a contract's mark price or funding rate when it is not what it was."""
        market = self.exchange.markets.get(symbol)
        if market is None or (channel, symbol) not in self._told:
            return
        swaps = self.okx.swaps
        row = swaps.mark_row(market, now) if channel == "mark-price" else swaps.funding_row(market, now)
        if {**row, "ts": ""} != {**self._told[channel, symbol], "ts": ""}:
            self._told[channel, symbol] = row
            self._push(channel, symbol, [row], dialect.TICKER, now)

    def _ticker(self, symbol: str, now: float) -> None:
        row = self.okx.ticker(self.exchange.markets[symbol], now)
        self._push("tickers", symbol, [row], dialect.TICKER, now)


class PrivateStreams(Streams):
    """An account's orders and balances, and order entry."""

    def __init__(self, okx: Okx, send: Send, request: Request) -> None:
        super().__init__(okx, send, request)
        self._account: Account | None = None
        self._permissions: frozenset[str] = frozenset()
        self._subscribed: dict[str, dict[str, Any]] = {}  # text of an argument -> argument

    def on_event(self, event: records.Event) -> None:
        if self._account is None:
            return
        if isinstance(event, OrderUpdate) and event.order.account == self._account.name:
            if _of_an_algo(event):
                return  # there is no order yet, or none will be
            for argument in self._of("orders", inst_type(event.order.symbol)):
                if argument.get("instId") in (None, "", inst_id(event.order.symbol)):
                    stream = dialect.ORDERS if event.fill is None else dialect.FILLS
                    self._push(argument, [self._row(event)], stream, event.now)
        elif isinstance(event, BalanceChange) and event.account == self._account.name:
            self._tell_balances(event.balances, event.now, "event_update")
        elif isinstance(event, PositionChange) and event.account == self._account.name:
            for argument in self._of("positions"):
                if argument.get("instId") in (None, "", inst_id(event.symbol)):
                    self._tell_positions(argument, [event.symbol], event.now, "event_update")

    def operate(self, op: str, arguments: list[Any], asked: Mapping[str, Any], request: Request) -> None:
        if op == "login":
            self._login(arguments[0], request)
            self.event("login", request.now, asked, code="0", msg="")
            return
        if self._account is None:
            raise Failed("60011")
        if op not in ORDER_PATHS:
            super().operate(op, arguments, asked, request)
            return
        acts = {"cancel": self.okx.cancel, "amend": self.okx.algos.amend}
        act = next((acts[word] for word in acts if word in op), self.okx.place)
        try:
            if "trade" not in self._permissions:
                raise Refused("50120")
            # Limits are shared with REST, where the market is named and not numbered.
            market = self.okx.market(arguments[0]) if isinstance(arguments[0], dict) else None
            instrument = "" if market is None else inst_id(market.symbol)
            self.okx.count(ORDER_PATHS[op], self._account.name, instrument, request.now, len(arguments))
            answer = self.okx.act(act, arguments, self._account, request, asked.get("expTime"))
            answer["msg"] = ""  # here only the rows say why: #order-book-trading-trade-ws-place-order
        except Refused as refused:
            answer = {"code": refused.code, "data": [], "msg": refused.message}
        times = {"inTime": ms(request.clock) + "000", "outTime": ms(request.clock) + "000"}
        self.send({"id": asked.get("id", ""), "op": op} | answer | times, dialect.REPLY, request.now)

    def _login(self, argument: Any, request: Request) -> None:
        """Check who this is: #overview-websocket-login."""
        if not isinstance(argument, dict):
            raise Failed("60013")
        written = str(argument.get("timestamp", ""))
        if not written.isascii() or not written.isdigit():
            raise Failed("60004")
        if abs(request.clock - int(written)) > CLOCK_MAX_S:
            raise Failed("60006")
        key = self.exchange.keys.get(str(argument.get("apiKey")))
        if key is None or key.revoked:
            raise Failed("60005")
        if not hmac.compare_digest(str(argument.get("passphrase")).encode(), (key.passphrase or "").encode()):
            raise Failed("60024")
        expected = signature(key.secret, f"{written}GET/users/self/verify")
        if not hmac.compare_digest(expected.encode(), str(argument.get("sign")).encode()):
            raise Failed("60007")
        if "read" not in key.permissions:
            raise Failed("60009")
        self._account = self.exchange.accounts[key.account]
        self._permissions = key.permissions

    def subscribe(self, argument: dict[str, Any], request: Request) -> Callable[[], None] | None:
        channel = argument.get("channel")
        if channel == "orders":
            if argument.get("instType") not in ("SPOT", "MARGIN", "SWAP", "FUTURES", "OPTION", "ANY"):
                raise Failed("60018", channel, argument.get("instId"))
            self._subscribed[json.dumps(argument, sort_keys=True)] = argument
            return None
        if channel == "account":
            self._subscribed[json.dumps(argument, sort_keys=True)] = argument
            account = self._account
            assert account is not None, "only those who are logged in get here"
            owned = self.exchange.balances(account, request.view.balances_as_of)
            return lambda: self._tell_balances(owned, request.now, "snapshot", argument)
        if channel == "positions":
            if argument.get("instType") not in ("MARGIN", "SWAP", "FUTURES", "OPTION", "ANY"):
                raise Failed("60018", channel, argument.get("instId"))
            self._subscribed[json.dumps(argument, sort_keys=True)] = argument
            return lambda: self._tell_positions(argument, None, request.now, "snapshot")
        raise Failed("60018", channel, argument.get("instId"))

    def unsubscribe(self, argument: dict[str, Any], request: Request) -> Callable[[], None] | None:
        self._subscribed.pop(json.dumps(argument, sort_keys=True), None)
        return None

    def _of(self, channel: str, kind: str = "SWAP") -> list[dict[str, Any]]:
        """The subscriptions to a channel that hear of a kind of market."""
        here = [one for one in self._subscribed.values() if one["channel"] == channel]
        return [one for one in here if one.get("instType", "ANY") in ("ANY", kind)]

    def _push(
        self, argument: Mapping[str, Any], rows: list[Any], stream: str, now: float, **more: Any
    ) -> None:
        assert self._account is not None
        named = {**argument, "uid": uid(self._account.name)}
        self.send({"arg": named} | more | {"data": rows}, stream, now)

    def _row(self, update: OrderUpdate) -> dict[str, Any]:
        """The order after one change: #order-book-trading-trade-ws-order-channel."""
        order, fill = update.order, update.fill
        fills = order.fills.index(fill) + 1 if fill is not None else len(order.fills)
        if update.kind in ("new", "triggered"):
            fills = 0
        row = self.okx.record(order, filled=update.filled_quantity, quote=update.filled_quote, fills=fills)
        ended = update.kind in ("canceled", "expired")
        fee = fill.fee if fill is not None else ZERO
        row |= {
            "state": state_of(update.status),
            "uTime": ms(update.now),
            "cancelSource": row["cancelSource"] if ended else "",
            "cancelSourceReason": row["cancelSourceReason"] if ended else "",
            "avgPx": row["avgPx"] or "0",
            "fillPx": text(fill.price) if fill is not None else "",
            "fillSz": text(fill.quantity) if fill is not None else "0",
            "fillTime": ms(fill.time) if fill is not None else "",
            "fillFee": signed(fee),
            "fillFeeCcy": fill.fee_currency if fill is not None else "",
            "fillNotionalUsd": "",
            "fillPnl": text(fill.realised) if fill is not None else "0",
            "tradeId": str(fill.trade_id) if fill is not None else "",
            "execType": execution(fill) if fill is not None else "",
            "notionalUsd": "",
            "lastPx": text(self.exchange.last_price(order.symbol) or ZERO),
            "amendResult": "0" if update.kind == "amended" else "",
            "amendSource": "1" if update.kind == "amended" else "",
            "reqId": self.okx.requests.get(order.order_id, "") if update.kind == "amended" else "",
            "code": "0",
            "msg": "",
        }
        return row

    def _tell_balances(
        self,
        balances: Mapping[str, tuple[Decimal, Decimal]],
        now: float,
        event: str,
        only: Mapping[str, Any] | None = None,
    ) -> None:
        for argument in self._of("account") if only is None else [only]:
            currency = argument.get("ccy")
            rows = {name: amounts for name, amounts in balances.items() if currency in (None, "", name)}
            if rows or event == "snapshot":
                assert self._account is not None
                data = [self.okx.holdings(self._account, rows, now)]
                more = {"eventType": event, "curPage": 1, "lastPage": True}
                self._push(argument, data, dialect.BALANCES, now, **more)

    def _tell_positions(
        self, argument: Mapping[str, Any], symbols: list[str] | None, now: float, event: str
    ) -> None:
        """Positions as they are (one that was closed has `pos` 0): .../websocket-positions-channel."""
        positions = self.okx.swaps.positions
        assert self._account is not None
        if positions is None or argument.get("instType") not in ("SWAP", "ANY"):
            rows = []
        else:
            held = {one.symbol: one for one in positions.held(self._account)}
            wanted = list(held) if symbols is None else symbols
            rows = [
                self.okx.swaps.position_row(self._account, positions.position(self._account, symbol), now)
                for symbol in wanted
                if argument.get("instId") in (None, "", inst_id(symbol))
            ]
        if rows or event == "snapshot":
            more = {"eventType": event, "curPage": 1, "lastPage": True}
            self._push(argument, rows, dialect.BALANCES, now, **more)


class BusinessStreams(PrivateStreams):
    """An account's algo orders: #order-book-trading-algo-trading-ws-algo-orders-channel."""

    def on_event(self, event: records.Event) -> None:
        if self._account is None or not isinstance(event, OrderUpdate):
            return
        order = event.order
        if order.trigger is None or order.account != self._account.name:
            return
        state = None
        if event.kind == "new" or (event.kind == "amended" and order.triggered_at is None):
            state = "live"
        elif event.kind == "triggered" and not failed(order):
            state = "effective"
        elif event.kind in ("canceled", "expired") and not is_order(order):
            state = algo_state(order)
        if state is None:
            return
        for argument in self._of("orders-algo", inst_type(order.symbol)):
            if argument.get("instId") in (None, "", inst_id(order.symbol)):
                row = self.okx.algos.record(order, state)
                self._push(argument, [row | {"uTime": ms(event.now)}], dialect.ORDERS, event.now)

    def subscribe(self, argument: dict[str, Any], request: Request) -> Callable[[], None] | None:
        channel = argument.get("channel")
        if channel != "orders-algo" or argument.get("instType") not in ("SPOT", "MARGIN", "SWAP", "ANY"):
            raise Failed("60018", channel, argument.get("instId"))
        self._subscribed[json.dumps(argument, sort_keys=True)] = argument
        return None


def _of_an_algo(event: OrderUpdate) -> bool:
    """Whether a change is one of an algo order, not of the order that it places."""
    order = event.order
    if order.trigger is None:
        return False
    if event.kind == "new" or order.triggered_at is None or failed(order):
        return True
    return event.kind == "amended" and event.now < order.triggered_at


# Channel of whole books -> how deep; `books` sends changes.
DEPTHS = {"books": BOOK_MAX, "books5": 5, "bbo-tbt": 1}

# Operation -> the REST call that shares its limit.
ORDER_PATHS = {
    "order": ("POST", "trade/order"),
    "batch-orders": ("POST", "trade/batch-orders"),
    "cancel-order": ("POST", "trade/cancel-order"),
    "batch-cancel-orders": ("POST", "trade/cancel-batch-orders"),
    "amend-order": ("POST", "trade/amend-order"),
}

OPERATIONS = {
    "login": dialect.STREAM,
    "subscribe": dialect.STREAM,
    "unsubscribe": dialect.STREAM,
    "order": dialect.CREATE,
    "batch-orders": dialect.CREATE,
    "cancel-order": dialect.CANCEL,
    "batch-cancel-orders": dialect.CANCEL,
    "amend-order": dialect.AMEND,
}


def _parsed(message: str) -> dict[str, Any]:
    try:
        parsed = json.loads(message, parse_float=str)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _changes(known: Levels, now: Levels) -> Levels:
    """What a subscriber has to hear to get from one book side to the next; size 0: the level is gone."""
    before, after = dict(known), dict(now)
    changed = [(price, size) for price, size in now if before.get(price) != size]
    return changed + [(price, ZERO) for price, _ in known if price not in after]
