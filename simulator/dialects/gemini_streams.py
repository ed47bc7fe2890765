"""Gemini's WebSockets: market data of version 2, and an account's order events.

What a reader of these streams has to know:

1. The first `l2_updates` of a symbol has the whole book, its latest trades and auctions; the others have the
   levels that changed. Size 0 removes a level. There is no sequence number and no checksum: a lost message
   shows itself in a crossed book, or not at all.
2. Trades after that come one by one, as `trade`.
3. Order events are asked for by the upgrade itself, which is signed as a REST request is; a bad signature is
   an HTTP error. Filters are parameters of the URL.
4. An event message is a list. Each of its events has the `socket_sequence` of the message, as a heartbeat
   has; the acknowledgement, the first message, has none.
5. `accepted`, then `fill`s or `booked`, then `cancelled`, then `closed`. A filled order is only `closed`.
6. A fill names its trade by the number of an event, which is not the `tid` of REST.

https://docs.gemini.com/websocket/order-events/response and .../event-types, and recordings of 2026-08-09.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from simulator import records
from simulator.dialects import dialect
from simulator.dialects.dialect import Request, Send
from simulator.dialects.gemini_words import (
    average,
    cancel_reason,
    event_id,
    ms,
    name_of,
    options_of,
    priced,
)
from simulator.records import BookChange, Key, Levels, Market, Order, OrderUpdate, PublicTrade, text

if TYPE_CHECKING:
    from simulator.dialects.gemini import Gemini

HEARTBEAT_EVERY_S = 5.0
TRADES_FIRST = 100  # of a symbol, in its first message: recorded

EVENT_TYPES = frozenset(
    ("initial", "accepted", "rejected", "booked", "fill", "cancelled", "cancel_rejected", "closed")
)


class MarketData:
    """https://docs.gemini.com/websocket/market-data/v2/about"""

    def __init__(self, gemini: Gemini, send: Send) -> None:
        self.gemini = gemini
        self.exchange = gemini.exchange
        self._send = send
        self._symbols: set[str] = set()
        self._beat_at: float | None = None

    def kind(self, text: str) -> str:
        return dialect.STREAM

    def receive(self, text: str, request: Request) -> None:
        message = _parsed(text)
        subscriptions = message.get("subscriptions")
        if message.get("type") not in ("subscribe", "unsubscribe") or not isinstance(subscriptions, list):
            self._send({"result": "error", "reason": "InvalidJson"}, dialect.REPLY)
            return
        named = [
            market
            for one in subscriptions
            if isinstance(one, dict) and one.get("name") == "l2" and isinstance(one.get("symbols"), list)
            for symbol in one["symbols"]
            if (market := self.gemini.market(symbol)) is not None
        ]
        if not named:
            self._send({"result": "error", "reason": "NoValidTradingPairs"}, dialect.REPLY)
            return
        for market in named:
            if message["type"] == "unsubscribe":
                self._symbols.discard(market.symbol)
            elif market.symbol not in self._symbols:
                self._symbols.add(market.symbol)
                self._send(self._first(market, request.now), dialect.BOOK)

    def on_event(self, event: records.Event) -> None:
        if isinstance(event, BookChange) and event.symbol in self._symbols:
            changes = _levels("buy", event.bids) + _levels("sell", event.asks)
            self._send(self._updates(self.exchange.markets[event.symbol], changes), dialect.BOOK)
        elif isinstance(event, PublicTrade) and event.symbol in self._symbols:
            self._send(self._trade(event), dialect.TRADES)

    def tick(self, now: float) -> None:
        if self._beat_at is None or now - self._beat_at >= HEARTBEAT_EVERY_S:
            if self._beat_at is not None:
                self._send({"timestamp": ms(now), "type": "heartbeat"}, dialect.REPLY)
            self._beat_at = now

    def _first(self, market: Market, now: float) -> Mapping[str, Any]:
        depth = self.exchange.depth(market.symbol, now=now)
        trades = self.exchange.recent_trades(market.symbol, TRADES_FIRST)
        return {
            **self._updates(market, _levels("buy", depth.bids) + _levels("sell", depth.asks)),
            "trades": [self._trade(trade) for trade in trades],
            "auction_events": [],
        }

    def _updates(self, market: Market, changes: list[list[str]]) -> dict[str, Any]:
        return {"type": "l2_updates", "symbol": name_of(market).upper(), "changes": changes}

    def _trade(self, trade: PublicTrade) -> Mapping[str, Any]:
        return {
            "type": "trade",
            "symbol": name_of(self.exchange.markets[trade.symbol]).upper(),
            "event_id": event_id(trade.trade_id),
            "tid": trade.trade_id,
            "timestamp": ms(trade.now),
            "price": pointed(trade.price),
            "quantity": pointed(trade.quantity),
            "side": trade.taker_side,
        }


class OrderEvents:
    """An account's orders as they change: https://docs.gemini.com/websocket/order-events/about."""

    def __init__(self, gemini: Gemini, send: Send, request: Request, key: Key) -> None:
        self.gemini = gemini
        self.exchange = gemini.exchange
        self._send = send
        self._api_key = key.api_key
        self._sequence = 0
        self._beats = 0
        self._beat_at = request.now
        asked = parse_qs(request.query)
        self._symbols = [symbol.lower() for symbol in asked.get("symbolFilter", ())]
        self._sessions = asked.get("apiSessionFilter", [])
        self._types = [one for one in asked.get("eventTypeFilter", ()) if one in EVENT_TYPES]
        self._beating = asked.get("heartbeat", ["true"])[-1] != "false"
        self._trace = hashlib.sha256(f"{key.api_key}:{request.now}".encode()).hexdigest()[:32]
        gemini.listeners.add(self)
        account = self.exchange.accounts[key.account]
        acknowledgement = {
            "type": "subscription_ack",
            "accountId": 1 + list(self.exchange.accounts).index(account.name),
            "subscriptionId": f"orderevents-websocket-{self._trace}",
            "symbolFilter": self._symbols,
            "apiSessionFilter": self._sessions,
            "eventTypeFilter": self._types,
        }
        send(acknowledgement, dialect.REPLY)
        active = [
            self._event("initial", order, order.filled_quantity, order.filled_quote, order.created_at)
            for order in account.open.values()
            if self._wanted("initial", order)
        ]
        if active:
            self._tell(active)

    def kind(self, text: str) -> str:
        return dialect.OTHER

    def receive(self, text: str, request: Request) -> None:
        """Hear nothing: everything was said by the upgrade."""

    def on_event(self, event: records.Event) -> None:
        key = self.exchange.keys.get(self._api_key)
        if not isinstance(event, OrderUpdate) or key is None or key.revoked:
            return
        if event.order.account != key.account:
            return
        for kind in self._kinds(event):
            if self._wanted(kind, event.order):
                row = self._event(kind, event.order, event.filled_quantity, event.filled_quote, event.now)
                if kind == "fill":
                    row["fill"] = self._fill(event)
                if kind == "cancelled":
                    row["reason"] = cancel_reason(event.order)
                self._tell([row])

    def tick(self, now: float) -> None:
        self.gemini.expire_sessions(now)
        if self._beating and now - self._beat_at >= HEARTBEAT_EVERY_S:
            self._beat_at = now
            beat = {
                "type": "heartbeat",
                "timestampms": ms(now),
                "sequence": self._beats,
                "trace_id": self._trace,
                "socket_sequence": self._next(),
            }
            self._beats += 1
            self._send(beat, dialect.REPLY)

    def _kinds(self, event: OrderUpdate) -> tuple[str, ...]:
        """Name the events Gemini makes of one of ours."""
        order = event.order
        if event.kind in ("new", "triggered"):
            # What trades, ends or waits at once is not booked; the exchange has carried it out by now.
            booked = ("booked",) if order.open and not order.fills and not order.waiting else ()
            return ("accepted", *booked) if event.kind == "new" else booked
        if event.kind == "trade":
            if event.filled_quantity == order.quantity:
                return ("fill", "closed")
            # The rest goes on the book after the last of the fills an order began with.
            began = [fill for fill in order.fills if fill.time == order.created_at]
            last = began and event.fill is began[-1] and event.fill.liquidity == "taker"
            return ("fill", "booked") if last and order.open else ("fill",)
        return ("cancelled", "closed") if event.kind in ("canceled", "expired") else ()

    def _wanted(self, kind: str, order: Order) -> bool:
        name = name_of(self.exchange.markets[order.symbol])
        return (
            (not self._types or kind in self._types)
            and (not self._symbols or name in self._symbols)
            and (not self._sessions or self.gemini.session_of(order) in self._sessions)
        )

    def _event(self, kind: str, order: Order, filled: Decimal, quote: Decimal, now: float) -> dict[str, Any]:
        market = self.exchange.markets[order.symbol]
        assert order.price is not None
        ended = kind in ("cancelled", "closed")
        row: dict[str, Any] = {
            "type": kind,
            "order_id": str(self.gemini.number(order)),
            "api_session": self.gemini.session_of(order) or self._api_key,
            "symbol": name_of(market),
            "side": order.side,
            "order_type": "exchange limit",
            "timestamp": str(int(order.created_at)),
            "timestampms": ms(order.created_at),
            "is_live": not ended and filled < order.quantity,
            "is_cancelled": ended and filled < order.quantity,
            "is_hidden": False,
            "original_amount": text(order.quantity),
            "price": priced(order.price, market),
        }
        if kind != "initial":
            row["event_id"] = str(self.gemini.event_number())
        if kind != "accepted":
            row |= {
                "avg_execution_price": average(quote, filled),
                "executed_amount": text(filled),
                "remaining_amount": text(order.quantity - filled),
            }
        for behavior in options_of(order):
            row["behavior"] = behavior
        if order.client_order_id:
            row["client_order_id"] = order.client_order_id
        return row

    def _fill(self, event: OrderUpdate) -> Mapping[str, str]:
        fill = event.fill
        assert fill is not None
        return {
            "trade_id": str(event_id(fill.trade_id)),
            "liquidity": fill.liquidity.capitalize(),
            "price": priced(fill.price, self.exchange.markets[fill.symbol]),
            "amount": text(fill.quantity),
            "fee": text(fill.fee),
            "fee_currency": fill.fee_currency,
        }

    def _tell(self, rows: list[dict[str, Any]]) -> None:
        number = self._next()
        stream = dialect.FILLS if rows[0]["type"] == "fill" else dialect.ORDERS
        self._send([{**row, "socket_sequence": number} for row in rows], stream)

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence - 1


def pointed(value: Decimal) -> str:
    """Write an amount as market data does: 65317.0, but 0.0031."""
    plain = text(value)
    return plain if "." in plain else f"{plain}.0"


def _levels(side: str, levels: Levels) -> list[list[str]]:
    return [[side, pointed(price), pointed(size)] for price, size in levels]


def _parsed(text: str) -> dict[str, Any]:
    try:
        message = json.loads(text)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}
