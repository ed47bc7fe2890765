"""Coinbase Exchange's WebSocket: one address, market data and an account's own events as channels of it.

What a reader of these channels has to know:

1. Each product has one sequence; every message of `full` takes the next number. `user` has those of `full`
   that are about the account, so its numbers have gaps, and a lost message cannot be told from them.
2. An order is told as `received`, then `open` where a rest waits, `match` for each trade, `done` at the end.
   Only `received` has the client's id and the size; a `match` names both orders. A stop order is `activate`
   at first, to its owner alone, and `received` when it is triggered. `change` is an order that became
   smaller because it met one of its own account.
3. A `match` tells the side of the order that waited. Who is a party is told its fee's rate, and no fee.
4. `level2` begins with the whole book; size 0 removes a level. `level2_batch` is the same, now and then.
5. `matches` begins with the last trade, as `last_match`.
6. `full`, `user` and `level2` have to be signed, as `GET /users/self/verify` is; whoever signs once is known
   on this connection from then on.
7. There is no `status` channel here, and nobody is thrown out for subscribing to nothing within 5 s.

https://docs.cdp.coinbase.com/exchange/websocket-feed/channels and the pages beside it
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from ems.core.book import SELF_TRADE, Side
from simulator import records
from simulator.dialects import dialect
from simulator.dialects.coinbaseexchange_words import (
    Refused,
    digits,
    iso,
    maker_side,
    named,
    order_name,
    product_name,
    profile_of,
    user_of,
    verify,
)
from simulator.dialects.dialect import Request, Send
from simulator.exchange import Exchange
from simulator.records import ZERO, BookChange, Fill, Order, OrderUpdate, PublicTrade, text

if TYPE_CHECKING:
    from simulator.dialects.coinbaseexchange import CoinbaseExchange

CHANNELS = frozenset(
    ("heartbeat", "ticker", "ticker_batch", "matches", "full", "user", "level2", "level2_batch")
)
SIGNED = frozenset(("full", "user", "level2"))
HEARTBEAT_S = 1.0
TICKER_BATCH_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A message of `full`; `parties` have more in theirs."""

    symbol: str
    message: Mapping[str, Any]
    stream: str
    parties: Mapping[str, Mapping[str, Any]] = field(
        default_factory=dict
    )  # account -> what it is told beside
    private: bool = False  # nobody else hears of it, and it has no number

    def to(self, account: str | None) -> Mapping[str, Any]:
        """The message as this account gets it."""
        if account is None or account not in self.parties:
            return self.message
        more = {"user_id": user_of(account), "profile_id": profile_of(account)}
        return {**self.message, **more, **self.parties[account]}


class Feed:
    """What happens at the exchange as messages of `full`, each with its number."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._sequences: dict[str, int] = {}  # symbol -> of its last message
        self._fills: dict[int, list[OrderUpdate]] = {}  # trade id -> fills whose trade has not been told yet
        self._to_rest: dict[int, int] = {}  # order id -> immediate fills to tell before its rest is open
        self._changes: dict[int, int] = {}  # order id -> how many changes of it were told
        self._event: records.Event | None = None
        self._told: list[Told] = []
        exchange.subscribe(self._count)

    def sequence(self, symbol: str) -> int:
        """The number of the product's last message."""
        return self._sequences.get(symbol, 1)

    def _count(self, event: records.Event) -> None:
        self.of(event)  # also when nobody is connected, so that the numbers go on

    def of(self, event: records.Event) -> list[Told]:
        """The messages about an event; it gets its numbers when it is first asked about."""
        if event is not self._event:
            self._event, self._told = event, []
            if isinstance(event, OrderUpdate):
                self._on_order(event)
            elif isinstance(event, PublicTrade):
                self._on_trade(event)
        return self._told

    def _tell(
        self,
        symbol: str,
        message: Mapping[str, Any],
        stream: str,
        now: float,
        parties: Mapping[str, Mapping[str, Any]],
    ) -> None:
        self._sequences[symbol] = self.sequence(symbol) + 1
        whole = {
            **message,
            "product_id": product_name(self._exchange.markets[symbol]),
            "sequence": self._sequences[symbol],
            "time": iso(now),
        }
        self._told.append(Told(symbol=symbol, message=whole, stream=stream, parties=parties))

    def _tell_order(self, order: Order, kind: str, now: float, **more: Any) -> None:
        message = {"type": kind, "order_id": order_name(order.order_id), "side": order.side, **more}
        self._tell(order.symbol, message, dialect.ORDERS, now, {order.account: {}})

    def _on_order(self, event: OrderUpdate) -> None:
        order = event.order
        if event.fill is not None:
            self._fills.setdefault(event.fill.trade_id, []).append(event)
        elif event.kind == "new" and order.trigger is not None:
            self._on_activated(order, event.now)
        elif event.kind in ("new", "triggered"):
            self._on_received(order, event.now)
        elif event.kind == "amended":
            self._on_changed(event)
        else:
            self._done(order, "canceled", order.quantity - event.filled_quantity, event.now)

    def _on_activated(self, order: Order, now: float) -> None:
        assert order.trigger is not None
        message = {
            "type": "activate",
            "product_id": product_name(self._exchange.markets[order.symbol]),
            "timestamp": f"{now:.6f}",
            "order_id": order_name(order.order_id),
            "stop_type": "entry" if order.trigger.rising else "loss",
            "side": order.side,
            "stop_price": text(order.trigger.price),
            "size": text(_size(order)),
            "private": True,
        }
        told = Told(
            symbol=order.symbol,
            message=message,
            stream=dialect.ORDERS,
            parties={order.account: {}},
            private=True,
        )
        self._told.append(told)

    def _on_changed(self, event: OrderUpdate) -> None:
        order = event.order
        told = self._changes.get(order.order_id, 0)
        self._changes[order.order_id] = told + 1
        sizes = [quantity for _, quantity, _, _ in order.amendments] + [order.quantity]
        self._tell_order(
            order,
            "change",
            event.now,
            reason="STP",
            old_size=text(sizes[told] - event.filled_quantity),
            new_size=text(sizes[told + 1] - event.filled_quantity),
            price=text(order.price or ZERO),
        )

    def _on_received(self, order: Order, now: float) -> None:
        more: dict[str, Any] = {"order_type": order.order_type}
        if order.quote_quantity is None:
            more["size"] = text(_size(order))
        else:
            more["funds"] = text(order.quote_quantity)
        if order.price is not None:
            more["price"] = text(order.price)
        if order.client_order_id:
            more["client_oid"] = order.client_order_id
        self._tell_order(order, "received", now, **more)
        immediate = sum(fill.liquidity == "taker" for fill in order.fills)
        self._to_rest[order.order_id] = immediate
        if not immediate:
            self._rest(order, _size(order), now)

    def _rest(self, order: Order, remaining: Decimal, now: float) -> None:
        """Tell that a rest waits in the book, if it does."""
        del self._to_rest[order.order_id]
        waits = order.order_type == "limit" and order.time_in_force == "GTC"
        if waits and remaining and order.reason != SELF_TRADE:
            self._tell_order(
                order, "open", now, price=text(order.price or ZERO), remaining_size=text(remaining)
            )

    def _done(self, order: Order, reason: str, remaining: Decimal, now: float) -> None:
        more = {"price": text(order.price), "remaining_size": text(remaining)} if order.price else {}
        self._to_rest.pop(order.order_id, None)
        self._tell_order(order, "done", now, reason=reason, **more)

    def _on_trade(self, trade: PublicTrade) -> None:
        events = self._fills.pop(trade.trade_id, [])
        fills: dict[str, Fill] = {one.fill.liquidity: one.fill for one in events if one.fill is not None}
        market = self._exchange.markets[trade.symbol]
        orders: dict[str, str] = {}
        parties: dict[str, dict[str, Any]] = {}
        for liquidity, rate in (("maker", market.maker_fee), ("taker", market.taker_fee)):
            fill = fills.get(liquidity)
            if fill is None:  # somebody without an account here
                orders[liquidity] = named(f"{liquidity} of {trade.trade_id}")
                continue
            orders[liquidity] = order_name(fill.order_id)
            parties.setdefault(fill.account, {}).update(
                {
                    f"{liquidity}_user_id": user_of(fill.account),
                    f"{liquidity}_profile_id": profile_of(fill.account),
                    f"{liquidity}_fee_rate": text(rate),
                }
            )
        message = {
            "type": "match",
            "trade_id": trade.trade_id,
            "maker_order_id": orders["maker"],
            "taker_order_id": orders["taker"],
            "size": text(trade.quantity),
            "price": text(trade.price),
            "side": maker_side(trade.taker_side),
        }
        self._tell(trade.symbol, message, dialect.FILLS if parties else dialect.TRADES, trade.now, parties)
        for event in events:
            self._after(event, trade.now)

    def _after(self, event: OrderUpdate, now: float) -> None:
        """Tell what a fill made of its order: done, or a rest in the book."""
        order, fill = event.order, event.fill
        assert fill is not None
        so_far = order.fills.index(fill) + 1
        if event.status == records.FILLED:
            self._done(order, "filled", ZERO, now)
        elif fill.liquidity == "taker" and self._to_rest.get(order.order_id) == so_far:
            self._rest(order, order.quantity - event.filled_quantity, now)

    # Figures

    def best(self, symbol: str, now: float) -> dict[str, str]:
        """The best prices and what is there; nothing where nothing is."""
        found: dict[str, str] = {}
        sides: tuple[tuple[str, Side], ...] = (("bid", "buy"), ("ask", "sell"))
        for name, side in sides:
            price, size = self._exchange.best(symbol, side, now) or (ZERO, ZERO)
            found |= {name: text(price), f"{name}_size": text(size)}
        return found

    def figures(self, symbol: str) -> dict[str, str]:
        """Figures over recent trades, where Coinbase looks back 24 hours and 30 days."""
        trades = self._exchange.recent_trades(symbol, 1000)
        prices = [trade.price for trade in trades] or [ZERO]
        volume = text(sum((trade.quantity for trade in trades), ZERO))
        return {
            "open": text(prices[0]),
            "high": text(max(prices)),
            "low": text(min(prices)),
            "last": text(prices[-1]),
            "volume": volume,
            "volume_30day": volume,
        }


class Session:
    """One connection: who is behind it, and what was subscribed."""

    def __init__(self, coinbase: CoinbaseExchange, send: Send) -> None:
        self.coinbase = coinbase
        self.exchange = coinbase.exchange
        self.feed = coinbase.feed
        self._send = send
        self._api_key: str | None = None
        self._products: dict[str, list[str]] = {}  # channel -> symbols, in the order they were asked for
        self._batched: dict[str, tuple[dict[Decimal, Decimal], dict[Decimal, Decimal]]] = {}
        # symbol -> (bids, asks) that changed since the last batch
        self._beaten_at = 0.0
        self._ticked_at = 0.0
        self._ticked: dict[str, int] = {}  # symbol -> trade id of its last batched ticker

    def kind(self, text: str) -> str:
        known = _parsed(text).get("type") in ("subscribe", "unsubscribe")
        return dialect.STREAM if known else dialect.OTHER

    def receive(self, text: str, request: Request) -> None:
        message = _parsed(text)
        try:
            if message.get("type") not in ("subscribe", "unsubscribe"):
                raise _Failed("Malformed JSON" if not message else "Invalid message type", "")
            asked = self._asked(message)
            if message["type"] == "unsubscribe":
                self._drop(asked)
                self._send(self._subscriptions(self._products), dialect.REPLY)
                return
            self._sign_in(message, request)
            self._check(asked)
        except _Failed as failed:
            self._send(failed.message, dialect.REPLY)
            return
        fresh = [(channel, symbol) for channel, symbols in asked for symbol in symbols]
        wanted = {channel: list(symbols) for channel, symbols in self._products.items()}
        for channel, symbol in fresh:
            if symbol not in wanted.setdefault(channel, []):
                wanted[channel].append(symbol)
        self._send(self._subscriptions(wanted), dialect.REPLY)
        for channel, symbol in fresh:
            # A book's changes are told from its snapshot on, so that is made before.
            self._begin(channel, symbol, request.now)
            held = self._products.setdefault(channel, [])
            held += [symbol] if symbol not in held else []

    def _asked(self, message: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
        """Read channels with their products; a plain name has those of the whole message."""
        every = message.get("product_ids")
        channels = message.get("channels")
        if not isinstance(channels, list) or not channels:
            raise _Failed("Failed to subscribe", "channels is required")
        asked = []
        for channel in channels:
            name, products = channel, every
            if isinstance(channel, dict):
                name, products = channel.get("name"), channel.get("product_ids", every)
            if name not in CHANNELS:
                raise _Failed("Failed to subscribe", f"{name} is not a valid channel")
            symbols = []
            for product in products if isinstance(products, list) else []:
                market = self.coinbase.market_named(product)
                if market is None:
                    raise _Failed("Failed to subscribe", f"{product} is not a valid product")
                symbols.append(market.symbol)
            if not symbols and message.get("type") == "subscribe":
                raise _Failed("Failed to subscribe", f"{name} requires product_ids")
            asked.append((str(name), symbols))
        return asked

    def _sign_in(self, message: Mapping[str, Any], request: Request) -> None:
        """Check a signature where there is one: exchange/websocket-feed/authentication."""
        if "signature" not in message:
            return
        given = [str(message.get(name, "")) for name in ("key", "signature", "timestamp", "passphrase")]
        try:
            key = verify(self.exchange, given, "GET/users/self/verify", request.clock)
        except Refused as refusal:
            reason = json.dumps({"message": refusal.message}, separators=(",", ":"))
            raise _Failed("Authentication Failed", reason) from None
        if "read" not in key.permissions:
            raise _Failed("Authentication Failed", '{"message":"Forbidden"}')
        self._api_key = key.api_key

    def _check(self, asked: list[tuple[str, list[str]]]) -> None:
        for channel, _ in asked:
            if channel in SIGNED and self.account() is None:
                raise _Failed("Failed to subscribe", f"{channel} channel requires authentication")

    def account(self) -> str | None:
        """Whose connection it is, unless the key has been revoked since."""
        key = None if self._api_key is None else self.exchange.keys.get(self._api_key)
        return None if key is None or key.revoked else key.account

    def _drop(self, asked: list[tuple[str, list[str]]]) -> None:
        for channel, symbols in asked:
            held = self._products.get(channel, [])
            self._products[channel] = [one for one in held if one not in (symbols or held)]
            if not self._products[channel]:
                del self._products[channel]

    def _subscriptions(self, products: Mapping[str, list[str]]) -> Mapping[str, Any]:
        markets = self.exchange.markets
        return {
            "type": "subscriptions",
            "channels": [
                {
                    "name": channel,
                    "product_ids": [product_name(markets[symbol]) for symbol in symbols],
                    "account_ids": None,
                }
                for channel, symbols in products.items()
            ],
        }

    def _begin(self, channel: str, symbol: str, now: float) -> None:
        if channel in ("level2", "level2_batch"):
            shown = self.exchange.depth(symbol, now=now)
            self._batched.pop(symbol, None)
            message = {
                "type": "snapshot",
                "product_id": product_name(self.exchange.markets[symbol]),
                "asks": [[text(price), digits(size, 8)] for price, size in shown.asks],
                "bids": [[text(price), digits(size, 8)] for price, size in shown.bids],
                "time": iso(now),
            }
            self._send(message, dialect.BOOK)
        elif channel == "matches":
            for trade in self.exchange.recent_trades(symbol, 1):
                last = {
                    "type": "last_match",
                    "trade_id": trade.trade_id,
                    "maker_order_id": named(f"maker of {trade.trade_id}"),
                    "taker_order_id": named(f"taker of {trade.trade_id}"),
                    "side": maker_side(trade.taker_side),
                    "size": text(trade.quantity),
                    "price": text(trade.price),
                    "product_id": product_name(self.exchange.markets[symbol]),
                    "sequence": self.feed.sequence(symbol),
                    "time": iso(trade.now),
                }
                self._send(last, dialect.TRADES)
        elif channel in ("ticker", "ticker_batch"):
            self._send_ticker(symbol, now)

    # What is told unasked

    def on_event(self, event: records.Event) -> None:
        account = self.account()
        for told in self.feed.of(event):
            message = told.to(account)
            mine = account in told.parties
            if self._has("full", told.symbol) and account is not None and (mine or not told.private):
                self._send(message, told.stream)
            if self._has("user", told.symbol) and mine:
                self._send(message, told.stream)
            if self._has("matches", told.symbol) and message["type"] == "match":
                self._send(message, dialect.TRADES)
        if isinstance(event, BookChange):
            self._on_book(event)
        elif isinstance(event, PublicTrade) and self._has("ticker", event.symbol):
            self._send_ticker(event.symbol, event.now)

    def _has(self, channel: str, symbol: str) -> bool:
        return symbol in self._products.get(channel, ())

    def _on_book(self, event: BookChange) -> None:
        if self._has("level2", event.symbol) and self.account() is not None:
            self._send_changes(event.symbol, dict(event.bids), dict(event.asks), event.now)
        if self._has("level2_batch", event.symbol):
            bids, asks = self._batched.setdefault(event.symbol, ({}, {}))
            bids.update(event.bids)
            asks.update(event.asks)

    def _send_changes(
        self, symbol: str, bids: Mapping[Decimal, Decimal], asks: Mapping[Decimal, Decimal], now: float
    ) -> None:
        changes = [
            [side, text(price), digits(size, 8)]
            for side, levels in (("buy", bids), ("sell", asks))
            for price, size in levels.items()
        ]
        name = product_name(self.exchange.markets[symbol])
        message = {"type": "l2update", "product_id": name, "changes": changes, "time": iso(now)}
        self._send(message, dialect.BOOK)

    def _send_ticker(self, symbol: str, now: float) -> None:
        trades = self.exchange.recent_trades(symbol, 1)
        if not trades:
            return
        figures, best = self.feed.figures(symbol), self.feed.best(symbol, now)
        message = {
            "type": "ticker",
            "sequence": self.feed.sequence(symbol),
            "product_id": product_name(self.exchange.markets[symbol]),
            "price": text(trades[-1].price),
            "open_24h": figures["open"],
            "volume_24h": figures["volume"],
            "low_24h": figures["low"],
            "high_24h": figures["high"],
            "volume_30d": figures["volume_30day"],
            "best_bid": best["bid"],
            "best_bid_size": best["bid_size"],
            "best_ask": best["ask"],
            "best_ask_size": best["ask_size"],
            "side": trades[-1].taker_side,
            "time": iso(trades[-1].now),
            "trade_id": trades[-1].trade_id,
            "last_size": text(trades[-1].quantity),
        }
        self._send(message, dialect.TICKER)

    def tick(self, now: float) -> None:
        for symbol, (bids, asks) in self._batched.items():
            self._send_changes(symbol, bids, asks, now)
        self._batched = {}
        if now - self._beaten_at >= HEARTBEAT_S:
            self._beaten_at = now
            for symbol in self._products.get("heartbeat", ()):
                self._beat(symbol, now)
        if now - self._ticked_at >= TICKER_BATCH_S:
            self._ticked_at = now
            for symbol in self._products.get("ticker_batch", ()):
                trades = self.exchange.recent_trades(symbol, 1)
                if trades and self._ticked.get(symbol) != trades[-1].trade_id:
                    self._ticked[symbol] = trades[-1].trade_id
                    self._send_ticker(symbol, now)

    def _beat(self, symbol: str, now: float) -> None:
        trades = self.exchange.recent_trades(symbol, 1)
        message = {
            "type": "heartbeat",
            "last_trade_id": trades[-1].trade_id if trades else 0,
            "product_id": product_name(self.exchange.markets[symbol]),
            "sequence": self.feed.sequence(symbol),
            "time": iso(now),
        }
        self._send(message, dialect.TICKER)


def _size(order: Order) -> Decimal:
    """The size an order came with, whatever it has met since."""
    return order.amendments[0][1] if order.amendments else order.quantity


class _Failed(Exception):
    """A frame was refused: what the answer says."""

    def __init__(self, words: str, reason: str) -> None:
        super().__init__(words)
        self.message = {"type": "error", "message": words, "reason": reason}


def _parsed(text: str) -> dict[str, Any]:
    try:
        message = json.loads(text)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}
