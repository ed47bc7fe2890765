"""Bybit's WebSockets, v5: market data, an account's events, and order entry, each on a path of its own.

What a reader of these streams has to know:

1. A book begins with a snapshot; each delta has the next `u`. Size 0 removes a level, and a level pushed out
   of the depth by better ones is removed in the same way (seen in recordings). There is no checksum.
2. Depth 1 sends snapshots only.
3. Trades are told as they happen; what was before the subscription is not.
4. `order` tells where an order is, `execution` each fill, `wallet` the whole account: three subscriptions.
5. The acknowledgement of a subscription names no topic; it repeats the `req_id`.
6. An answer to `ping` is spelled differently on the public and on the other paths.

https://bybit-exchange.github.io/docs/v5/ws/connect and the pages under v5/websocket.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from simulator import records
from simulator.dialects import dialect
from simulator.dialects.bybit_words import (
    INVALID_KEY,
    LINEAR,
    NO_PERMISSION,
    SPOT,
    Refused,
    category_of,
    check_time,
    fill_name,
    market_name,
    ms,
    named,
    refusal_of,
    signature,
    status_of,
)
from simulator.dialects.dialect import Request, Send
from simulator.records import (
    ZERO,
    BalanceChange,
    BookChange,
    Fill,
    Key,
    Levels,
    Market,
    OrderUpdate,
    PositionChange,
    PublicTrade,
    Reject,
    text,
)

if TYPE_CHECKING:
    from simulator.dialects.bybit import Bybit

BOOK_DEPTHS = (1, 50, 200, 1000)
TOPICS_MAX = 10  # in one request on the spot path: https://bybit-exchange.github.io/docs/v5/ws/connect
BAD_OP = 10404
PRIVATE_TOPICS = frozenset(("wallet", "position", "position.linear")) | {
    topic
    for channel in ("order", "execution")
    for topic in (channel, f"{channel}.{SPOT}", f"{channel}.{LINEAR}")
}


class Streams:
    """What all connections have in common: operations, answers, pings."""

    def __init__(self, bybit: Bybit, send: Send, request: Request) -> None:
        self.bybit = bybit
        self.exchange = bybit.exchange
        self.connection = bybit.connection_id(request)
        self._send = send
        self._snapshots: list[Callable[[], None]] = []  # to send when the acknowledgement is out
        self.operations: dict[str, Callable[[dict[str, Any], Request], Mapping[str, Any]]] = {}

    def kind(self, text: str) -> str:
        return OPERATION_KINDS.get(str(_parsed(text).get("op")), dialect.OTHER)

    def receive(self, text: str, request: Request) -> None:
        message = _parsed(text)
        operation = str(message.get("op"))
        if operation == "ping":
            answer = self.pong(message, request)
        elif operation in self.operations:
            answer = self.operations[operation](message, request)
        else:
            answer = self.unknown(message)
        self._send(answer, dialect.REPLY)
        snapshots, self._snapshots = self._snapshots, []
        for send_snapshot in snapshots:
            send_snapshot()

    def pong(self, message: Mapping[str, Any], request: Request) -> Mapping[str, Any]:
        """Answer a ping as the private paths do."""
        return {
            "req_id": _request_id(message),
            "op": "pong",
            "args": [str(ms(request.clock))],
            "conn_id": self.connection,
        }

    def unknown(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        """Answer an operation there is not."""
        return self.acknowledged(message, "error:invalid op")

    def acknowledged(
        self, message: Mapping[str, Any], error: str | None, words: str = ""
    ) -> Mapping[str, Any]:
        """Say that something was done, or why not."""
        return {
            "success": error is None,
            "ret_msg": words if error is None else error,
            "conn_id": self.connection,
            "req_id": _request_id(message),
            "op": str(message.get("op")),
        }

    def on_event(self, event: records.Event) -> None:
        """Most connections hear nothing unasked."""

    def tick(self, now: float) -> None:
        """Nothing is due by time."""


class PublicStreams(Streams):
    """Market data of spot."""

    category = SPOT

    def __init__(self, bybit: Bybit, send: Send, request: Request) -> None:
        super().__init__(bybit, send, request)
        self._books: dict[tuple[str, int], tuple[Levels, Levels]] = {}
        # (symbol, depth) -> (bids, asks) as the subscriber knows them
        self._updates: dict[tuple[str, int], int] = {}  # (symbol, depth) -> last `u`
        self._trades: set[str] = set()
        self._tickers: set[str] = set()
        self.operations = {"subscribe": self._subscribe, "unsubscribe": self._unsubscribe}

    def pong(self, message: Mapping[str, Any], request: Request) -> Mapping[str, Any]:
        return self.acknowledged(message, None, "pong")

    def on_event(self, event: records.Event) -> None:
        if isinstance(event, BookChange):
            for symbol, depth in list(self._books):
                if symbol == event.symbol:
                    self._send_book(symbol, depth, event.now)
        elif isinstance(event, PublicTrade):
            if event.symbol in self._trades:
                self._send_trade(event)
            if event.symbol in self._tickers:
                self._send_ticker(event.symbol, event.now)

    def _subscribe(self, message: dict[str, Any], request: Request) -> Mapping[str, Any]:
        topics = message.get("args")
        if not isinstance(topics, list) or not 0 < len(topics) <= TOPICS_MAX:
            return self.acknowledged(message, "error:args size > 10" if topics else "error:args is empty")
        read = [self._topic(str(topic)) for topic in topics]
        for topic, found in zip(topics, read, strict=True):
            if found is None:
                return self.acknowledged(message, f"Invalid topic: {topic}")
        for found in read:
            assert found is not None
            channel, market, depth = found
            if channel == "publicTrade":
                self._trades.add(market.symbol)
            elif channel == "tickers":
                self._tickers.add(market.symbol)
                self._later(self._send_ticker, market.symbol, request.now)
            else:
                self._later(self._begin_book, market.symbol, depth, request.now)
        return self.acknowledged(message, None, "subscribe")

    def _unsubscribe(self, message: dict[str, Any], request: Request) -> Mapping[str, Any]:
        topics = message.get("args")
        for topic in topics if isinstance(topics, list) else []:
            found = self._topic(str(topic))
            if found is None:
                return self.acknowledged(message, f"Invalid topic: {topic}")
            channel, market, depth = found
            if channel == "publicTrade":
                self._trades.discard(market.symbol)
            elif channel == "tickers":
                self._tickers.discard(market.symbol)
            else:
                self._books.pop((market.symbol, depth), None)
        return self.acknowledged(message, None)

    def _later(self, send: Callable[..., None], *arguments: Any) -> None:
        self._snapshots.append(lambda: send(*arguments))

    def _topic(self, topic: str) -> tuple[str, Market, int] | None:
        match topic.split("."):
            case ["orderbook", depth, name] if depth in map(str, BOOK_DEPTHS):
                channel = "orderbook"
            case ["publicTrade" | "tickers" as channel, name]:
                depth = "0"
            case _:
                return None
        for market in self.bybit.markets(self.category):
            if market_name(market) == name:
                return channel, market, int(depth)
        return None

    def _begin_book(self, symbol: str, depth: int, now: float) -> None:
        self._books.pop((symbol, depth), None)
        self._send_book(symbol, depth, now)

    def _send_book(self, symbol: str, depth: int, now: float) -> None:
        name, known = (symbol, depth), self._books.get((symbol, depth))
        shown = self.exchange.depth(symbol, depth, now=now)
        self._books[name] = (shown.bids, shown.asks)
        if known is None or depth == 1:
            if known == (shown.bids, shown.asks):
                return
            kind, bids, asks = "snapshot", shown.bids, shown.asks
        else:
            kind, bids, asks = "delta", _changes(known[0], shown.bids), _changes(known[1], shown.asks)
            if not bids and not asks:
                return
        self._updates[name] = self._updates.get(name, shown.sequence) + 1
        market = market_name(self.exchange.markets[symbol])
        self._send(
            {
                "topic": f"orderbook.{depth}.{market}",
                "ts": ms(now),
                "type": kind,
                "data": {
                    "s": market,
                    "b": [[text(price), text(size)] for price, size in bids],
                    "a": [[text(price), text(size)] for price, size in asks],
                    "u": self._updates[name],
                    "seq": shown.sequence,
                },
                "cts": ms(now),
            },
            dialect.BOOK,
        )

    def _send_trade(self, trade: PublicTrade) -> None:
        market = market_name(self.exchange.markets[trade.symbol])
        row = {
            "T": ms(trade.now),
            "s": market,
            "S": trade.taker_side.capitalize(),
            "v": text(trade.quantity),
            "p": text(trade.price),
            "i": fill_name(trade.trade_id),
            **self.trade_fields(trade),
            "BT": False,
            "RPI": False,
            "seq": trade.trade_id,
        }
        message = {"topic": f"publicTrade.{market}", "ts": ms(trade.now), "type": "snapshot", "data": [row]}
        self._send(message, dialect.TRADES)

    def trade_fields(self, trade: PublicTrade) -> dict[str, Any]:
        """What a trade of this category tells more."""
        return {}

    def ticker(self, market: Market, now: float) -> dict[str, str]:
        """The figures of a market."""
        return self.bybit.figures(market, now)

    def _send_ticker(self, symbol: str, now: float) -> None:
        market = self.exchange.markets[symbol]
        message = {
            "topic": f"tickers.{market_name(market)}",
            "ts": ms(now),
            "type": "snapshot",
            "cs": self.exchange.depth(symbol, 1, now=now).sequence,
            "data": self.ticker(market, now),
        }
        self._send(message, dialect.TICKER)


class LinearStreams(PublicStreams):
    """Market data of contracts: https://bybit-exchange.github.io/docs/v5/websocket/public/ticker."""

    category = LINEAR

    def on_event(self, event: records.Event) -> None:
        super().on_event(event)
        # Mark price and quotes move without trades; spot's ticker knows neither.
        if isinstance(event, BookChange) and event.symbol in self._tickers:
            self._send_ticker(event.symbol, event.now)

    def trade_fields(self, trade: PublicTrade) -> dict[str, Any]:
        return {"L": "PlusTick" if trade.taker_side == "buy" else "MinusTick"}

    def ticker(self, market: Market, now: float) -> dict[str, str]:
        figures = self.bybit.figures(market, now) | self.bybit.linear.ticker(market, now)
        del figures["usdIndexPrice"]
        return figures


class KeyedStreams(Streams):
    """A connection that has to say whose it is."""

    def __init__(self, bybit: Bybit, send: Send, request: Request) -> None:
        super().__init__(bybit, send, request)
        self._api_key: str | None = None
        self.operations = {"auth": self._auth}

    def key(self) -> Key | None:
        """Whose connection it is, unless the key has been revoked since."""
        key = None if self._api_key is None else self.exchange.keys.get(self._api_key)
        return None if key is None or key.revoked else key

    def _auth(self, message: dict[str, Any], request: Request) -> Mapping[str, Any]:
        """Check `[key, expires, signature of GET/realtime and expires]`: v5/ws/connect#authentication."""
        arguments = message.get("args")
        parts = [str(part) for part in arguments] if isinstance(arguments, list) else []
        if len(parts) != 3:
            return self._refused_login("Params Error")
        api_key, expires, sign = parts
        key = self.exchange.keys.get(api_key)
        if key is None or key.revoked:
            return self._refused_login("Invalid apikey")
        expected = signature(key.secret, f"GET/realtime{expires}")
        if not hmac.compare_digest(expected.encode(), sign.encode()):
            return self._refused_login("Invalid sign")
        if not expires.isascii() or not expires.isdigit() or int(expires) <= ms(request.clock):
            return self._refused_login("Request expired")
        self._api_key = api_key
        return self.logged_in()

    def logged_in(self) -> Mapping[str, Any]:
        """Say that the login is good."""
        return {"success": True, "ret_msg": "", "op": "auth", "conn_id": self.connection}

    def _refused_login(self, words: str) -> Mapping[str, Any]:
        # Both spellings, as recorded answers have either.
        return {
            "success": False,
            "ret_msg": words,
            "op": "auth",
            "conn_id": self.connection,
            "retCode": INVALID_KEY,
            "retMsg": words,
            "connId": self.connection,
        }


class PrivateStreams(KeyedStreams):
    """An account's orders, fills and balances."""

    def __init__(self, bybit: Bybit, send: Send, request: Request) -> None:
        super().__init__(bybit, send, request)
        self._topics: set[str] = set()
        self._messages = 0
        self.operations |= {"subscribe": self._subscribe, "unsubscribe": self._unsubscribe}

    def on_event(self, event: records.Event) -> None:
        key = self.key()
        if key is None or not self._topics:
            return
        if isinstance(event, OrderUpdate) and event.order.account == key.account:
            category = category_of(event.order.symbol)
            if event.fill is not None:
                row = self._execution(event, event.fill)
                self._tell("execution", row, dialect.FILLS, event.now, category)
            for row in self._orders(event):
                self._tell("order", row, dialect.ORDERS, event.now, category)
        elif isinstance(event, BalanceChange) and event.account == key.account:
            # An event carries what changed; the topic tells of these coins, and of the account.
            account = self.exchange.accounts[event.account]
            wallet = self.bybit.wallet(account, event.balances)
            self._tell("wallet", wallet, dialect.BALANCES, event.now)
        elif isinstance(event, PositionChange) and event.account == key.account:
            account = self.exchange.accounts[event.account]
            row = self.bybit.linear.stream_position(account, event.symbol)
            self._tell("position", row, dialect.BALANCES, event.now, LINEAR)

    def _subscribe(self, message: dict[str, Any], request: Request) -> Mapping[str, Any]:
        key, topics = self.key(), message.get("args")
        if key is None:
            return self.acknowledged(message, "Request not authorized")
        if not isinstance(topics, list) or not topics:
            return self.acknowledged(message, "error:args is empty")
        for topic in topics:
            if topic not in PRIVATE_TOPICS:
                return self.acknowledged(message, f"Invalid topic: {topic}")
        if "read" not in key.permissions:
            return self.acknowledged(message, "Permission denied")
        self._topics.update(topics)
        return self.acknowledged(message, None)

    def _unsubscribe(self, message: dict[str, Any], request: Request) -> Mapping[str, Any]:
        topics = message.get("args")
        self._topics.difference_update(topics if isinstance(topics, list) else [])
        return self.acknowledged(message, None)

    def _tell(
        self, channel: str, row: Mapping[str, Any], stream: str, now: float, category: str = ""
    ) -> None:
        for topic in (channel, f"{channel}.{category}"):
            if topic in self._topics:
                self._messages += 1
                message = {
                    "id": f"{self.connection}_{self._messages}",
                    "topic": topic,
                    "creationTime": ms(now),
                    "data": [row],
                }
                self._send(message, stream)

    def _orders(self, event: OrderUpdate) -> list[Mapping[str, Any]]:
        """What is said of one change; being triggered is a state of a moment."""
        order = event.order
        if event.kind == "new" and order.trigger is not None:
            return [self._order(event, "Untriggered")]
        if event.kind == "triggered":
            return [self._order(event, status) for status in ("Triggered", "New")]
        return [self._order(event, status_of(order, event.status, event.filled_quantity))]

    def _order(self, event: OrderUpdate, status: str) -> Mapping[str, Any]:
        order = event.order
        fills = [] if event.kind == "new" else order.fills
        if event.fill is not None:
            fills = order.fills[: order.fills.index(event.fill) + 1]
        row = self.bybit.record_at(order, status, event.filled_quantity, event.filled_quote, fills, event.now)
        coin = fills[-1].fee_currency if fills else ""
        earned = sum((fill.realised for fill in fills), ZERO)
        return {
            "category": category_of(order.symbol),
            **row,
            "feeCurrency": coin,
            "closedPnl": text(earned),
        }

    def _execution(self, event: OrderUpdate, fill: Fill) -> Mapping[str, Any]:
        row = self.bybit.execution(event.order, fill)
        return {
            "category": category_of(fill.symbol),
            **row,
            "feeCoin": fill.fee_currency,
            "isLeverage": "0",
            "execPnl": text(fill.realised),
        }


class TradeStream(KeyedStreams):
    """Order entry: https://bybit-exchange.github.io/docs/v5/websocket/trade/guideline."""

    def __init__(self, bybit: Bybit, send: Send, request: Request) -> None:
        super().__init__(bybit, send, request)
        self.operations |= {
            "order.create": self._create,
            "order.cancel": self._cancel,
            "order.amend": self._amend,
        }

    def logged_in(self) -> Mapping[str, Any]:
        return {"retCode": 0, "retMsg": "OK", "op": "auth", "connId": self.connection}

    def pong(self, message: Mapping[str, Any], request: Request) -> Mapping[str, Any]:
        return {**super().pong(message, request), "retCode": 0, "retMsg": "OK", "connId": self.connection}

    def unknown(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        return self._result(message, {}, Refused(BAD_OP, "op type is not found"), {})

    def _create(self, message: dict[str, Any], request: Request) -> Mapping[str, Any]:
        return self._act(
            message,
            request,
            "/v5/order/create",
            lambda fields, key: named(self.bybit.place(fields, key, request.now)),
        )

    def _cancel(self, message: dict[str, Any], request: Request) -> Mapping[str, Any]:
        return self._act(
            message,
            request,
            "/v5/order/cancel",
            lambda fields, key: named(self.bybit.cancel(fields, key, request.now)),
        )

    def _amend(self, message: dict[str, Any], request: Request) -> Mapping[str, Any]:
        return self._act(
            message,
            request,
            "/v5/order/amend",
            lambda fields, key: named(self.bybit.amend(fields, key, request.now)),
        )

    def _act(
        self,
        message: dict[str, Any],
        request: Request,
        path: str,
        act: Callable[[Mapping[str, Any], Key], Mapping[str, Any]],
    ) -> Mapping[str, Any]:
        head: dict[str, str] = {}
        try:
            key, arguments, header = self.key(), message.get("args"), message.get("header")
            if key is None:
                raise Refused(INVALID_KEY)
            if not isinstance(arguments, list) or len(arguments) != 1 or not isinstance(arguments[0], dict):
                raise Refused(BAD_OP, "args is wrong")
            times = header if isinstance(header, dict) else {}
            check_time(
                str(times.get("X-BAPI-TIMESTAMP", "")),
                str(times.get("X-BAPI-RECV-WINDOW", "")),
                request.clock,
            )
            self.bybit.count(key, path, request.now, head)
            if "trade" not in key.permissions:
                raise Refused(NO_PERMISSION)
            return self._result(message, act(arguments[0], key), None, head)
        except Reject as reject:
            return self._result(message, {}, refusal_of(reject), head)
        except Refused as refusal:
            return self._result(message, {}, refusal, head)

    def _result(
        self,
        message: Mapping[str, Any],
        data: Mapping[str, Any],
        refusal: Refused | None,
        head: Mapping[str, str],
    ) -> Mapping[str, Any]:
        return {
            "reqId": str(message.get("reqId", "")),
            "retCode": 0 if refusal is None else refusal.code,
            "retMsg": "OK" if refusal is None else refusal.message,
            "op": str(message.get("op")),
            "data": data,
            "header": head,
            "connId": self.connection,
        }


OPERATION_KINDS = {
    "order.create": dialect.CREATE,
    "order.cancel": dialect.CANCEL,
    "order.amend": dialect.AMEND,
    "auth": dialect.STREAM,
    "subscribe": dialect.STREAM,
    "unsubscribe": dialect.STREAM,
}


def _parsed(text: str) -> dict[str, Any]:
    try:
        message = json.loads(text, parse_float=str)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}


def _request_id(message: Mapping[str, Any]) -> str:
    return str(message.get("req_id", ""))


def _changes(known: Levels, now: Levels) -> Levels:
    """What a subscriber has to hear to get from one book side to the next; gone or pushed out is 0."""
    before, after = dict(known), dict(now)
    changed = [(price, size) for price, size in now if before.get(price) != size]
    return changed + [(price, ZERO) for price, _ in known if price not in after]
