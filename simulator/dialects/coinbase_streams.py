"""Coinbase's WebSocket: market data and an account's orders, all on one path, subscribed channel by channel.

What a reader of it has to know:

1. Every frame of a connection has the next `sequence_num`, whatever its channel; the first is 0.
2. `level2` is subscribed and `l2_data` arrives: a snapshot of the whole book, then new sizes, 0 for a level
   that is gone.
3. A snapshot comes before the frame that confirms the subscription, which lists all there are.
4. `user` tells where an order is, with cumulative figures, and never a single fill.
5. The side of a public trade is the maker's.
6. `heartbeats` come every second; without them a quiet connection is closed.
7. Whoever is not signed in may say eight things a second (from one address).

Not here: candles, status, futures; the hosts for market data and for users are one; nobody is disconnected
for subscribing late or for being quiet.

https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/websocket/websocket-overview and
.../websocket-channels
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from simulator import records
from simulator.dialects import coinbase_orders as orders
from simulator.dialects import dialect
from simulator.dialects.coinbase_tokens import Unauthorized
from simulator.dialects.coinbase_words import BOTH, product_name, stamp, trade_row
from simulator.dialects.dialect import Request, Send
from simulator.records import BookChange, Key, Levels, Market, OrderUpdate, PublicTrade, text

if TYPE_CHECKING:
    from simulator.dialects.coinbase import Coinbase

MESSAGES_PER_S = 8
HEARTBEAT_S = 1.0
BATCH_S = 5.0  # of `ticker_batch`
ORDERS_AT_ONCE = 50  # in one snapshot of `user`
TRADES_AT_ONCE = 100
SIDES = {"buy": "bid", "sell": "offer"}
CHANNELS = ("level2", "market_trades", "ticker", "ticker_batch", "heartbeats", "user")
NO_POSITIONS = {"perpetual_futures_positions": [], "expiring_futures_positions": []}


class Streams:
    """One connection."""

    def __init__(self, coinbase: Coinbase, send: Send, request: Request) -> None:
        self.coinbase = coinbase
        self.exchange = coinbase.exchange
        self._send = send
        self._sequence = 0
        self._began = request.now
        self._subscribed: dict[str, set[str]] = {}  # channel -> products, or whose it is
        self._api_key: str | None = None
        self._beats = 0
        self._batched_at = request.now

    def kind(self, text: str) -> str:
        return dialect.STREAM

    def receive(self, text: str, request: Request) -> None:
        message = _parsed(text)
        what, channel = message.get("type"), message.get("channel")
        if "jwt" not in message:
            heard = self.coinbase.allowed("messages", request.remote, MESSAGES_PER_S, 1.0, request.now)
            if heard is None:
                return self._error("rate limit exceeded")
        if what not in ("subscribe", "unsubscribe"):
            return self._error("failed to parse message: type is invalid")
        if channel not in CHANNELS:
            return self._error(f"channel {channel} is not simulated")
        named = message.get("product_ids") or []
        markets = {product_name(market): market for market in self.exchange.markets.values()}
        unknown = [name for name in named if name not in markets] if isinstance(named, list) else [named]
        if unknown:
            return self._error(f"{unknown[0]} is not a valid product")
        if what == "unsubscribe":
            self._unsubscribe(channel, named)
        elif channel == "user":
            if not self._sign_in(message, request):
                return self._error("authentication failure")
            self._begin_user(named, request.now)
        elif channel == "heartbeats":
            self._subscribed[channel] = {"heartbeats"}
        else:
            chosen = [markets[name] for name in named] or list(markets.values())
            self._subscribed.setdefault(channel, set()).update(product_name(market) for market in chosen)
            for market in chosen:
                self._begin(channel, market, request.now)
        self._tell(
            "subscriptions",
            [{"subscriptions": {name: sorted(listed) for name, listed in self._subscribed.items()}}],
            dialect.REPLY,
            request.now,
        )

    def on_event(self, event: records.Event) -> None:
        if isinstance(event, BookChange):
            market = self.exchange.markets[event.symbol]
            if self._follows("level2", market):
                self._tell_book("update", market, event.bids, event.asks, event.now)
        elif isinstance(event, PublicTrade):
            market = self.exchange.markets[event.symbol]
            if self._follows("market_trades", market):
                self._tell_trades("update", [trade_row(market, event)], event.now)
            if self._follows("ticker", market):
                self._tell_ticker("ticker", "update", market, event.now)
        elif isinstance(event, OrderUpdate):
            self._tell_order(event)

    def tick(self, now: float) -> None:
        if "heartbeats" in self._subscribed and now - self._began >= (self._beats + 1) * HEARTBEAT_S:
            self._beats = int((now - self._began) / HEARTBEAT_S)
            moment = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
            beat = {
                "current_time": f"{moment} +0000 UTC m=+{now - self._began:.9f}",
                "heartbeat_counter": self._beats,
            }
            self._tell("heartbeats", [beat], dialect.TICKER, now)
        if self._subscribed.get("ticker_batch") and now - self._batched_at >= BATCH_S:
            self._batched_at = now
            for market in self.exchange.markets.values():
                if self._follows("ticker_batch", market):
                    self._tell_ticker("ticker_batch", "update", market, now)

    # Subscribing

    def _follows(self, channel: str, market: Market) -> bool:
        return product_name(market) in self._subscribed.get(channel, ())

    def _sign_in(self, message: Mapping[str, Any], request: Request) -> bool:
        """Check the token; that of a stream is for no address."""
        try:
            key = self.coinbase.tokens.check(str(message.get("jwt", "")), request.clock, None)
        except Unauthorized:
            return False
        self._api_key = key.api_key if "read" in key.permissions else None
        return self._api_key is not None

    def _key(self) -> Key | None:
        """Whose connection it is, unless the key has been revoked since."""
        key = None if self._api_key is None else self.exchange.keys.get(self._api_key)
        return None if key is None or key.revoked else key

    def _unsubscribe(self, channel: str, named: Iterable[str]) -> None:
        left = self._subscribed.get(channel, set()) - set(named)
        if left and named:
            self._subscribed[channel] = left
        else:
            self._subscribed.pop(channel, None)

    def _begin(self, channel: str, market: Market, now: float) -> None:
        if channel == "level2":
            depth = self.exchange.depth(market.symbol, 10**6, now=now)
            self._tell_book("snapshot", market, depth.bids, depth.asks, now)
        elif channel == "market_trades":
            recent = self.exchange.recent_trades(market.symbol, TRADES_AT_ONCE)
            self._tell_trades("snapshot", [trade_row(market, trade) for trade in reversed(recent)], now)
        else:
            self._tell_ticker(channel, "snapshot", market, now)

    def _begin_user(self, named: list[str], now: float) -> None:
        key = self._key()
        assert key is not None
        self._subscribed["user"] = {self.coinbase.owner_name(key.account)}
        rows = [
            orders.row(
                order,
                self.exchange.markets[order.symbol],
                status=order.status,
                filled=order.filled_quantity,
                cost=order.filled_quote,
                fills=order.fills,
            )
            for order in self.exchange.open_orders(self.coinbase.account(key))
            if not named or product_name(self.exchange.markets[order.symbol]) in named
        ]
        for start in range(0, max(1, len(rows)), ORDERS_AT_ONCE):
            part = rows[start : start + ORDERS_AT_ONCE]
            event = {"type": "snapshot", "orders": part, "positions": NO_POSITIONS}
            self._tell("user", [event], dialect.ORDERS, now)

    # Telling

    def _tell(self, channel: str, events: list[Any], stream: str, now: float) -> None:
        message = {
            "channel": channel,
            "client_id": "",
            "timestamp": stamp(now),
            "sequence_num": self._sequence,
            "events": events,
        }
        self._sequence += 1
        self._send(message, stream)

    def _error(self, words: str) -> None:
        self._send({"type": "error", "message": words}, dialect.REPLY)

    def _tell_book(self, kind: str, market: Market, bids: Levels, asks: Levels, now: float) -> None:
        updates = [
            {
                "side": SIDES[side],
                "event_time": stamp(now),
                "price_level": text(price),
                "new_quantity": text(size),
            }
            for side, levels in zip(SIDES, (bids, asks), strict=True)
            for price, size in levels
        ]
        event = {"type": kind, "product_id": product_name(market), "updates": updates}
        self._tell("l2_data", [event], dialect.BOOK, now)

    def _tell_trades(self, kind: str, rows: list[dict[str, Any]], now: float) -> None:
        self._tell("market_trades", [{"type": kind, "trades": rows}], dialect.TRADES, now)

    def _tell_ticker(self, channel: str, kind: str, market: Market, now: float) -> None:
        figures = self.coinbase.figures(market)
        bid, ask = (self.exchange.best(market.symbol, side, now) for side in BOTH)
        ticker = {
            "type": "ticker",
            "product_id": product_name(market),
            "price": figures["price"],
            "volume_24_h": figures["volume"],
            "low_24_h": figures["low"],
            "high_24_h": figures["high"],
            "low_52_w": figures["low"],
            "high_52_w": figures["high"],
            "price_percent_chg_24_h": figures["change"],
            "best_bid": text(bid[0]) if bid else "",
            "best_ask": text(ask[0]) if ask else "",
            "best_bid_quantity": text(bid[1]) if bid else "",
            "best_ask_quantity": text(ask[1]) if ask else "",
        }
        self._tell(channel, [{"type": kind, "tickers": [ticker]}], dialect.TICKER, now)

    def _tell_order(self, event: OrderUpdate) -> None:
        key, order = self._key(), event.order
        if key is None or "user" not in self._subscribed or order.account != key.account:
            return
        fills = [] if event.kind == "new" else order.fills
        if event.fill is not None:
            fills = order.fills[: order.fills.index(event.fill) + 1]
        row = orders.row(
            order,
            self.exchange.markets[order.symbol],
            status=event.status,
            filled=event.filled_quantity,
            cost=event.filled_quote,
            fills=fills,
        )
        self._tell(
            "user",
            [{"type": "update", "orders": [row], "positions": NO_POSITIONS}],
            dialect.ORDERS,
            event.now,
        )


def _parsed(text: str) -> dict[str, Any]:
    try:
        message = json.loads(text, parse_float=str)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}
