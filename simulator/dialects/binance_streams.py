"""Binance's WebSockets: the API with the user data stream on the same connection, and the market streams.

https://developers.binance.com/docs/binance-spot-api-docs (pages websocket-api, user-data-stream,
web-socket-streams)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

from simulator.dialects import dialect
from simulator.dialects.binance_words import (
    SELF_TRADE_MODES,
    STATUS,
    BinanceError,
    Call,
    Route,
    error_body,
    fixed,
    levels,
    ms,
    object_of,
    said,
    type_of,
    written,
)
from simulator.dialects.dialect import Request, Send
from simulator.records import (
    EXPIRED,
    MAINTENANCE,
    MAINTENANCE_MODE,
    PARTIALLY_FILLED,
    SUBMITTED,
    Account,
    BalanceChange,
    BookChange,
    Event,
    Key,
    OrderUpdate,
    PublicTrade,
    Reject,
)

if TYPE_CHECKING:
    from simulator.dialects.binance import Binance

ZERO = Decimal(0)

EXECUTION_TYPES = {
    "new": "NEW",
    "trade": "TRADE",
    "canceled": "CANCELED",
    "expired": "EXPIRED",
    "triggered": "NEW",
    "amended": "REPLACED",
}
SUBSCRIBE_USER = "userDataStream.subscribe.signature"
UNSUBSCRIBE_USER = "userDataStream.unsubscribe"


class ApiSession:
    """The WebSocket API at /ws-api/v3, with the user data stream on the same connection."""

    def __init__(self, binance: Binance, request: Request, send: Send) -> None:
        self._binance = binance
        self._send = send
        self._users: dict[int, Key] = {}  # subscription id -> whose events
        self._next_subscription = 0

    def kind(self, text: str) -> str:
        method = str(object_of(text).get("method", ""))
        if method in (SUBSCRIBE_USER, UNSUBSCRIBE_USER):
            return dialect.STREAM
        return self._binance.methods[method].kind if method in self._binance.methods else dialect.OTHER

    def receive(self, text: str, request: Request) -> None:
        message = object_of(text)
        request_id, method = message.get("id"), message.get("method")
        raw = message.get("params") or {}
        account: Account | None = None
        answer: dict[str, Any] = {"id": request_id}
        try:
            if not isinstance(method, str) or not isinstance(raw, dict):
                raise BinanceError(400, -1135, "Invalid JSON Request")
            route = self._binance.methods.get(method)
            key: Key | None = None
            parameters = {name: written(value) for name, value in raw.items() if value is not None}
            if method == SUBSCRIBE_USER or (route is not None and route.signed):
                key = self._signed_by(parameters, request, route)
                account = self._binance.exchange.accounts[key.account]
            if method == SUBSCRIBE_USER:
                assert key is not None
                answer |= {"status": 200, "result": {"subscriptionId": self._subscribe(key)}}
            elif method == UNSUBSCRIBE_USER:
                self._users.clear()
                answer |= {"status": 200, "result": {}}
            elif route is None:
                raise BinanceError(400, -1020, "This operation is not supported.")
            else:
                self._binance.spend(request, route.weigh(parameters))
                limited = self._binance.limited(request)
                if limited is not None:
                    raise BinanceError(limited.status, limited.body["code"], limited.body["msg"])
                if self._binance.exchange.mode == MAINTENANCE_MODE:
                    raise Reject(MAINTENANCE, "the exchange is under maintenance")
                call = Call(
                    parameters=parameters,
                    account=account,
                    now=request.now,
                    clock=request.clock,
                    view=request.view,
                )
                answer |= {"status": 200, "result": route.act(self._binance, call)}
        except (BinanceError, Reject) as error:
            status, code, words = said(error)
            answer |= {"status": status, "error": error_body(code, words, error)}
        if isinstance(raw, dict) and raw.get("returnRateLimits") is not False:
            answer["rateLimits"] = self._binance.rate_limits(request, account)
        self._send(answer, dialect.REPLY)

    def _signed_by(self, parameters: dict[str, str], request: Request, route: Route | None) -> Key:
        # All parameters but the signature, sorted by name, joined as they are:
        # https://developers.binance.com/docs/binance-spot-api-docs/websocket-api/request-security
        signed = sorted((name, value) for name, value in parameters.items() if name != "signature")
        return self._binance.verify(
            parameters.get("apiKey", ""),
            parameters,
            ["&".join(f"{name}={value}" for name, value in signed), urlencode(signed)],
            "trade" if route is not None and route.trade else "read",
            request.clock,
        )

    def _subscribe(self, key: Key) -> int:
        if any(user.account == key.account for user in self._users.values()):
            raise BinanceError(400, -2035, "User Data Stream subscription already active.")
        self._users[self._next_subscription] = key
        self._next_subscription += 1
        return self._next_subscription - 1

    def on_event(self, event: Event) -> None:
        if isinstance(event, OrderUpdate):
            name = event.order.account
        elif isinstance(event, BalanceChange):
            name = event.account
        else:
            return
        for subscription, key in self._users.items():
            if key.account != name or key.revoked:
                continue
            if isinstance(event, OrderUpdate):
                stream = dialect.FILLS if event.fill else dialect.ORDERS
                self._push(subscription, self.execution_report(event), stream)
            else:
                for message in _balance_messages(event):
                    self._push(subscription, message, dialect.BALANCES)

    def tick(self, now: float) -> None:
        pass

    def _push(self, subscription: int, event: dict[str, Any], stream: str) -> None:
        self._send({"subscriptionId": subscription, "event": event}, stream)

    def execution_report(self, update: OrderUpdate) -> dict[str, Any]:
        """https://developers.binance.com/docs/binance-spot-api-docs/user-data-stream#order-update

        An order that is triggered is new a second time, and on the book (`w`) then.
        """
        order, fill = update.order, update.fill
        amended = self._binance.amendments.get(order.order_id, []) if update.kind == "amended" else []
        canceled = update.kind == "canceled"
        cancel_id = self._binance.cancel_ids.get(order.order_id, order.client_order_id)
        report: dict[str, Any] = {
            "e": "executionReport",
            "E": ms(update.now),
            "s": self._binance.name(order.symbol),
            "c": cancel_id if canceled else order.client_order_id,
            "S": order.side.upper(),
            "o": type_of(order),
            "f": order.time_in_force,
            "q": fixed(order.quantity),
            "p": fixed(order.price or ZERO),
            "P": fixed(order.trigger.price if order.trigger else ZERO),
            "F": fixed(ZERO),
            "g": -1,
            "C": order.client_order_id if canceled else amended[-1]["origClientOrderId"] if amended else "",
            "x": EXECUTION_TYPES[update.kind],
            "X": "EXPIRED_IN_MATCH"
            if update.status == EXPIRED and order.reason == "SELF_TRADE"
            else STATUS[update.status],
            "r": "NONE",
            "i": order.order_id,
            "l": fixed(fill.quantity if fill else ZERO),
            "z": fixed(update.filled_quantity),
            "L": fixed(fill.price if fill else ZERO),
            "n": fixed(fill.fee) if fill else "0",
            "N": fill.fee_currency if fill else None,
            "T": ms(update.now),
            "t": fill.trade_id if fill else -1,
            "I": 2 * (fill.trade_id if fill else order.order_id) + (0 if fill else 1),
            "w": update.status in (SUBMITTED, PARTIALLY_FILLED)
            and order.order_type == "limit"
            and not (order.trigger is not None and update.kind == "new"),
            "m": fill.liquidity == "maker" if fill else False,
            "M": fill is not None,
            "O": ms(order.created_at),
            "Z": fixed(update.filled_quote),
            "Y": fixed(fill.quote_quantity if fill else ZERO),
            "Q": fixed(order.quote_quantity or ZERO),
            "W": ms(order.created_at),
            "V": SELF_TRADE_MODES[order.self_trade],
        }
        if update.kind == "expired":
            report["eR"] = "INSUFFICIENT_LIQUIDITY" if order.reason == "NO_LIQUIDITY" else order.reason
        return report


@dataclass(slots=True)
class _Batch:
    """Book changes of one market waiting to be sent together."""

    first: int
    last: int
    bids: dict[Decimal, Decimal] = field(default_factory=dict)
    asks: dict[Decimal, Decimal] = field(default_factory=dict)


class StreamSession:
    """Market streams at /ws and /stream: <symbol>@depth[@100ms], @trade, @aggTrade, @bookTicker."""

    def __init__(self, binance: Binance, request: Request, send: Send) -> None:
        self._binance = binance
        self._send = send
        self._wrapped = request.path == "/stream"
        self._streams: dict[str, None] = {}  # stream name, in the sequence of subscription
        self._batches: dict[str, _Batch] = {}  # depth stream -> changes not sent yet
        self._sent: dict[str, float] = {}  # depth stream -> when it was sent last
        self._quoted: dict[str, tuple[Any, Any]] = {}  # bookTicker stream -> what was sent last
        names = dict(parse_qsl(request.query)).get("streams", "").split("/")
        names += request.path.partition("/ws/")[2].split("/")
        for name in names:
            if "@" in name and self._known(name):
                self._streams[name] = None

    def kind(self, text: str) -> str:
        return dialect.STREAM

    def receive(self, text: str, request: Request) -> None:
        message = object_of(text)
        method, names = message.get("method"), message.get("params") or []
        if not isinstance(names, list):
            self._refuse(message, 2, "Invalid request: params must be an array")
        elif method == "LIST_SUBSCRIPTIONS":
            self._send({"result": list(self._streams), "id": message.get("id")}, dialect.REPLY)
        elif method not in ("SUBSCRIBE", "UNSUBSCRIBE"):
            self._refuse(message, 2, f"Invalid request: unknown variant `{method}`")
        elif not all(isinstance(name, str) and self._known(name) for name in names):
            self._refuse(message, 2, "Invalid request: invalid stream")
        else:
            for name in names:
                if method == "SUBSCRIBE":
                    self._streams[name] = None
                else:
                    self._streams.pop(name, None)
                    self._batches.pop(name, None)
            self._send({"result": None, "id": message.get("id")}, dialect.REPLY)

    def on_event(self, event: Event) -> None:
        if isinstance(event, PublicTrade):
            prefix = self._binance.name(event.symbol).lower()
            for channel in ("trade", "aggTrade"):
                if f"{prefix}@{channel}" in self._streams:
                    self._push(f"{prefix}@{channel}", self._trade(event, channel), dialect.TRADES)
        elif isinstance(event, BookChange):
            prefix = self._binance.name(event.symbol).lower()
            for name in self._streams:
                if name.startswith(prefix + "@depth"):
                    self._collect(name, event)
            if f"{prefix}@bookTicker" in self._streams:
                self._quote(f"{prefix}@bookTicker", event)

    def tick(self, now: float) -> None:
        for name, batch in list(self._batches.items()):
            interval = 0.1 if name.endswith("@100ms") else 1.0
            # Ticks come about every 100 ms, so half of one is tolerated.
            if now - self._sent.get(name, 0.0) < interval - 0.05:
                continue
            del self._batches[name]
            self._sent[name] = now
            message = {
                "e": "depthUpdate",
                "E": ms(now),
                "s": name.partition("@")[0].upper(),
                "U": batch.first,
                "u": batch.last,
                "b": levels(list(batch.bids.items())),
                "a": levels(list(batch.asks.items())),
            }
            self._push(name, message, dialect.BOOK)

    def _known(self, name: str) -> bool:
        symbol, _, channel = name.partition("@")
        if channel not in ("depth", "depth@100ms", "depth@1000ms", "trade", "aggTrade", "bookTicker"):
            return False
        return any(self._binance.name(known).lower() == symbol for known in self._binance.exchange.markets)

    def _refuse(self, message: dict[str, Any], code: int, words: str) -> None:
        self._send({"error": {"code": code, "msg": words}, "id": message.get("id")}, dialect.REPLY)

    def _push(self, name: str, message: dict[str, Any], stream: str) -> None:
        self._send({"stream": name, "data": message} if self._wrapped else message, stream)

    def _collect(self, name: str, change: BookChange) -> None:
        batch = self._batches.get(name)
        if batch is None:
            batch = self._batches[name] = _Batch(first=change.sequence, last=change.sequence)
        batch.last = change.sequence
        batch.bids.update(change.bids)
        batch.asks.update(change.asks)

    def _quote(self, name: str, change: BookChange) -> None:
        exchange = self._binance.exchange
        bid = exchange.best(change.symbol, "buy", change.now) or (ZERO, ZERO)
        ask = exchange.best(change.symbol, "sell", change.now) or (ZERO, ZERO)
        if self._quoted.get(name) == (bid, ask):
            return
        self._quoted[name] = (bid, ask)
        message = {
            "u": change.sequence,
            "s": self._binance.name(change.symbol),
            "b": fixed(bid[0]),
            "B": fixed(bid[1]),
            "a": fixed(ask[0]),
            "A": fixed(ask[1]),
        }
        self._push(name, message, dialect.TICKER)

    def _trade(self, trade: PublicTrade, channel: str) -> dict[str, Any]:
        message: dict[str, Any] = {
            "e": channel,
            "E": ms(trade.now),
            "s": self._binance.name(trade.symbol),
            "p": fixed(trade.price),
            "q": fixed(trade.quantity),
            "T": ms(trade.now),
            "m": trade.taker_side == "sell",
            "M": True,
        }
        if channel == "trade":
            return message | {"t": trade.trade_id}
        return message | {"a": trade.trade_id, "f": trade.trade_id, "l": trade.trade_id}


def _balance_messages(change: BalanceChange) -> list[dict[str, Any]]:
    now = ms(change.now)
    messages: list[dict[str, Any]] = []
    if change.delta is not None:
        currency, delta = change.delta
        messages.append({"e": "balanceUpdate", "E": now, "a": currency, "d": fixed(delta), "T": now})
    balances = [
        {"a": currency, "f": fixed(free), "l": fixed(locked)}
        for currency, (free, locked) in change.balances.items()
    ]
    messages.append({"e": "outboundAccountPosition", "E": now, "u": now, "B": balances})
    return messages
