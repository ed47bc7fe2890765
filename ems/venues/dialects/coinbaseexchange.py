"""Coinbase Exchange (once GDAX, then Pro): what ccxt is told, what an answer means, how an order is found.

The same is true of the simulated Bittrex: its own wire no longer exists, and it speaks this one.

A create has no expiry but that of its signature (30 s), a client id sent twice makes two orders, and an order
that ended without a fill is gone for good: its `done` on the stream is then the only word about it.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

from ems.core.depth import Change, rows
from ems.core.instrument import MarketStatus, Rules
from ems.core.messages import (
    Ending,
    FillReport,
    Found,
    NewOrder,
    OrderStatus,
    OrderType,
    PublicTrade,
    Refusal,
    Side,
    TimeInForce,
)
from ems.venues.dialects.dialect import (
    PAGES_MAX,
    Ask,
    BookFeed,
    CannotSay,
    Dialect,
    FillsRead,
    Listing,
    Lookup,
    PrivateStream,
    RateLimits,
    Tape,
    Tier,
    Triggers,
    Words,
    coinbase_status,
    has,
    unified_fees,
)
from ems.venues.errors import Refusals, Said, of_orders
from ems.venues.limiter import Scope, Shape
from ems.venues.translation import plain
from ems.venues.transport import Wire, current_call

# "size is too small. Minimum size is 0.001": what is wrong, without the amount it is wrong by.
_WITH_AMOUNT = re.compile(r"(.* is) [0-9.]+", re.ASCII)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
REJECTED = "rejected"


def coinbase_said(status: int, body: object) -> tuple[Said, ...]:
    """Read `{"message": "Insufficient funds"}`; there are no codes, so the words are theirs.

    An order that would break its `post_only` comes with a 200 and the status `rejected`.
    https://docs.cdp.coinbase.com/exchange/rest-api/requests
    """
    if not isinstance(body, dict):
        return ()
    if 200 <= status < 300 and body.get("status") == REJECTED:
        reason = body.get("reject_reason")
        return (Said(REJECTED, reason),) if reason == "post only" else ()
    message = body.get("message")
    if not 400 <= status < 500 or not isinstance(message, str) or not message or "id" in body:
        return ()
    found = _WITH_AMOUNT.fullmatch(message)
    return (Said(message if found is None else found[1], message),)


def _words(refusal: Refusal, *words: str) -> dict[tuple[str, str | None], Refusal]:
    return {(one, None): refusal for one in words}


# Too little to call an order refused: see `errors.of_orders`.
_OF_THE_FRONT = frozenset({"Public rate limit exceeded", "Private rate limit exceeded"})

# No page lists the words. These are what users of the API report and what ccxt 4.5.90 knows:
# https://github.com/ccxt/ccxt/issues/4991 and .../7170, https://github.com/whittlem/pycryptobot/issues/39,
# https://github.com/coinbase/coinbase-pro-node/issues/42, https://github.com/askmike/gekko/issues/2856.
# Anything else is unknown, also "NotFound" to a create.
COINBASE_ANY: Refusals = {
    **_words(
        Refusal.AUTH,
        *("Invalid API Key", "invalid signature", "Invalid Passphrase", "Forbidden"),
        *(f"CB-ACCESS-{part} header is required" for part in ("KEY", "SIGN", "TIMESTAMP", "PASSPHRASE")),
    ),
    **_words(Refusal.CLOCK, "request timestamp expired"),
    **_words(Refusal.RATE_LIMIT, *sorted(_OF_THE_FRONT)),
    **_words(Refusal.PERMANENT, "Product not found"),
}

COINBASE_CREATE: Refusals = {
    **of_orders(COINBASE_ANY, _OF_THE_FRONT),
    **_words(Refusal.INSUFFICIENT_FUNDS, "Insufficient funds"),
    **_words(
        Refusal.MIN_SIZE,
        *("size is too small. Minimum size is", "funds is too small. Minimum size is"),
        "Order size is too small. Minimum size is",
    ),
    **_words(
        Refusal.LOT_TICK,
        *(f"{what} is too accurate. Smallest unit is" for what in ("size", "price", "funds")),
    ),
    **_words(
        Refusal.MARKET_CLOSED,
        *("Trading pair not available", "Cancel only mode", "Post only mode", "Limit only mode"),
    ),
    **_words(Refusal.PERMANENT, "size is too large. Maximum size is"),
    (REJECTED, "post only"): Refusal.POST_ONLY_WOULD_CROSS,
}

COINBASE_CANCEL: Refusals = {
    **COINBASE_ANY,
    # Filled, cancelled, purged or never there: who wants to know which asks for the order.
    **_words(Refusal.UNKNOWN_ORDER, "Order already done", "order not found", "NotFound", "Invalid order id"),
}

# A rejected order never was one: whoever finds it has found nothing.
COINBASE_ABSENT = frozenset({("NotFound", "NotFound"), (REJECTED, "post only")})


class CoinbaseWire(Wire):
    """Puts right what ccxt 4.5.90 says wrongly here."""

    def sign(self, path: str, api: Any = "public", method: str = "GET", params: Any = None) -> Any:
        """Name the product of a cancel where the exchange reads it, and by the exchange's name.

        ccxt puts its own symbol into the body. Without a product, a cancel may miss an order that is new.
        https://docs.cdp.coinbase.com/api-reference/exchange-api/rest-api/orders/cancel-order
        """
        params = dict(params or {})
        if method == "DELETE" and "product_id" in params:
            ex: Any = self
            path += f"?product_id={ex.market_id(params.pop('product_id'))}"
        return super().sign(path, api, method, params)  # type: ignore[misc]

    def describe(self) -> Any:
        ex: Any = self
        has_too = {"unWatchOrderBook": True, "unWatchTrades": True}
        return ex.deep_extend(super().describe(), {"has": has_too})  # type: ignore[misc]

    async def fetch_markets(self, params: Any = None) -> Any:
        """Count a market in which nothing can be taken as one that does not trade; ccxt looks at `status`."""
        markets = await super().fetch_markets(params or {})  # type: ignore[misc]
        for market in markets:
            flags = ("trading_disabled", "cancel_only", "post_only", "auction_mode")
            if any(market["info"].get(flag) is True for flag in flags):
                market["active"] = False
        return markets

    async def un_watch_order_book(self, symbol: str) -> None:
        await self._unsubscribe("level2", "level2", symbol)

    async def un_watch_trades(self, symbol: str) -> None:
        await self._unsubscribe("matches", "matches", symbol)

    async def _unsubscribe(self, channel: str, prefix: str, symbol: str) -> None:
        ex: Any = self
        product = ex.market_id(symbol)
        client = (ex.clients or {}).get(ex.urls["api"]["ws"])
        if client is not None and client.subscriptions.pop(f"{prefix}:{product}", None) is not None:
            await client.send({"type": "unsubscribe", "product_ids": [product], "channels": [channel]})


async def _page(question: Callable[[Any], Awaitable[Any]], request: Mapping[str, object]) -> Any:
    """Ask for one page; return its rows, raw, and the cursor of the next, None after the last."""
    rows = await question(dict(request))
    call = current_call.get()
    assert call is not None and call.attempts, "a question outside of a call"
    return rows, call.attempts[-1].headers.get("CB-AFTER")


async def _rows(
    ask: Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]],
    question: Callable[[Any], Awaitable[Any]],
    request: Mapping[str, object],
    enough: Callable[[list[Any]], bool] = lambda rows: False,
) -> list[Any]:
    """Read pages, newest first, to the last one or until there are enough rows.

    https://docs.cdp.coinbase.com/exchange/rest-api/pagination
    """
    read: list[Any] = []
    cursor: dict[str, object] = {}
    for _ in range(PAGES_MAX):
        found, after = await ask(partial(_page, question, {**request, **cursor}))
        if not isinstance(found, list):
            raise CannotSay(f"no list in {found!r:.200}")
        read.extend(found)
        if not found or not after or enough(read):
            return read
        cursor = {"after": after}
    raise CannotSay(f"more than {len(read)} rows")


async def _coinbase_fills(
    ask: Ask, ccxt_exchange: Any, symbol: str, exchange_order_id: str
) -> FillsRead | None:
    order = await ask("order", partial(ccxt_exchange.fetch_order, exchange_order_id, symbol))
    if order is None:
        return None
    request = {"order_id": exchange_order_id}
    rows = await _rows(partial(ask, "fills"), ccxt_exchange.privateGetFills, request)
    trades = ccxt_exchange.parse_trades(rows, ccxt_exchange.market(symbol))
    return FillsRead(trades=trades, expected=order["filled"])


async def _coinbase_history(
    ask: Ask, ccxt_exchange: Any, symbol: str, since_ms: int, now_ms: int
) -> list[Any]:
    market = ccxt_exchange.market(symbol)

    def far_enough(rows: list[Any]) -> bool:
        return bool(ccxt_exchange.parse8601(rows[-1]["created_at"]) < since_ms)

    request = {"product_id": market["id"], "start_date": ccxt_exchange.iso8601(since_ms)}
    rows = await _rows(partial(ask, "history"), ccxt_exchange.privateGetFills, request, far_enough)
    trades = ccxt_exchange.parse_trades(rows, market)
    return [trade for trade in trades if trade["timestamp"] >= since_ms]


async def _coinbase_names(
    ask: Ask, ccxt_exchange: Any, symbol: str, exchange_order_ids: Collection[str]
) -> dict[str, str | None]:
    """Read the orders of the market until all of these have been seen; fills have no client ids."""
    wanted = set(exchange_order_ids)

    def all_of_them(rows: list[Any]) -> bool:
        return wanted <= {row["id"] for row in rows}

    request = {"status": "all", "product_id": ccxt_exchange.market(symbol)["id"]}
    rows = await _rows(partial(ask, "closed_orders"), ccxt_exchange.privateGetOrders, request, all_of_them)
    return {row["id"]: row.get("client_oid") for row in rows if row["id"] in wanted}


async def _coinbase_open_orders(ccxt_exchange: Any) -> list[Any]:
    """Read what is listed by default, which is what is open or unsettled, and leave out the latter."""

    async def ask(question: Callable[[], Awaitable[Any]]) -> Any:
        return await question()

    rows = await _rows(ask, ccxt_exchange.privateGetOrders, {})
    orders: list[Any] = ccxt_exchange.parse_orders([row for row in rows if row["status"] in _OPEN])
    return orders


async def _coinbase_past_orders(
    ask: Ask, ccxt_exchange: Any, symbol: str | None, since: int, until: int
) -> list[Any]:
    """https://docs.cdp.coinbase.com/api-reference/exchange-api/rest-api/orders/get-all-orders"""
    market = None if symbol is None else ccxt_exchange.market(symbol)
    span = {"start_date": ccxt_exchange.iso8601(since), "end_date": ccxt_exchange.iso8601(until)}
    request = {"status": "all", **span, **({} if market is None else {"product_id": market["id"]})}
    rows = await _rows(partial(ask, "closed_orders"), ccxt_exchange.privateGetOrders, request)
    orders: list[Any] = ccxt_exchange.parse_orders(rows, market)
    return orders


async def _coinbase_transfers(
    ask: Ask, ccxt_exchange: Any, symbol: str | None, since: int, until: int
) -> list[Any]:
    """Read back from now: pages go by transfers, not by times.

    https://docs.cdp.coinbase.com/api-reference/exchange-api/rest-api/transfers/get-all-transfers
    """

    def far_enough(rows: list[Any]) -> bool:
        return bool(ccxt_exchange.parse8601(rows[-1]["created_at"]) < since)

    rows = await _rows(partial(ask, "transfers"), ccxt_exchange.privateGetTransfers, {}, far_enough)
    found: list[Any] = ccxt_exchange.parse_transactions(rows)
    return found


async def _coinbase_tier(ccxt_exchange: Any) -> Tier:
    """https://docs.cdp.coinbase.com/api-reference/exchange-api/rest-api/fees/get-fees"""
    told = await ccxt_exchange.privateGetFees()
    volume = told.get("usd_volume")
    return Tier(volume_30d=None if volume is None else Decimal(str(volume)), currency="USD")


_OPEN = frozenset(("pending", "received", "open", "active"))


# --- The stream ---


@dataclass(slots=True)
class _Seen:
    """What one connection has told; after a break something may be missing, so the next begins anew."""

    sequences: dict[str, int] = field(default_factory=dict)  # product -> highest number
    sizes: dict[str, Decimal] = field(default_factory=dict)  # order id -> its size
    matched: dict[str, dict[str, Decimal]] = field(default_factory=dict)  # order id -> trade id -> size


_ACTIVATE = "activate"  # a stop order, told to its owner; it is received when it is triggered
_EVENTS = frozenset((_ACTIVATE, "received", "open", "match", "change", "done"))


def _private_ws(ccxt_exchange: Any) -> str:
    """Where ccxt keeps the signed stream: apart from the public one by a question mark."""
    return f"{ccxt_exchange.urls['api']['ws']}?"


def _is_private(frame: Any) -> bool:
    """Say whether this is about the account; `user_id` and `profile_id` are in what is about a reader.

    https://docs.cdp.coinbase.com/exchange/websocket-feed/authentication
    """
    if not isinstance(frame, dict) or frame.get("type") not in _EVENTS:
        return False
    return "profile_id" in frame or frame["type"] == _ACTIVATE


def _seen(ccxt_exchange: Any) -> _Seen:
    client = (ccxt_exchange.clients or {}).get(_private_ws(ccxt_exchange))
    if client is None:
        return _Seen()
    if not hasattr(client, "seen_orders"):
        client.seen_orders = _Seen()
    seen: _Seen = client.seen_orders
    return seen


def _stream(ccxt_exchange: Any, frame: Any) -> Iterator[FillReport | OrderStatus]:
    """Read an event of the `user` channel.

    A match tells the rate of its fee and not the fee, and how that is rounded is nowhere written: no fill is
    made of it. How much is filled at least is told instead, and the fills are looked up.

    The numbers have gaps, those of other people's events: a lost one cannot be told. An old one can, and says
    nothing new: https://docs.cdp.coinbase.com/exchange/websocket-feed/channels
    """
    seen, kind, product = _seen(ccxt_exchange), frame["type"], frame["product_id"]
    if kind == _ACTIVATE:  # outside of the sequence: it is in no book yet
        yield _activated(ccxt_exchange, seen, frame)
        return
    sequence = int(frame["sequence"])
    old = sequence <= seen.sequences.get(product, 0)
    seen.sequences[product] = max(sequence, seen.sequences.get(product, 0))
    symbol = ccxt_exchange.safe_symbol(product, None, "-")
    side = Side(frame["side"])
    if kind == "match":
        other = Side.SELL if side is Side.BUY else Side.BUY  # the frame has the maker's
        for role, ours in (("maker", side), ("taker", other)):
            if f"{role}_profile_id" in frame or f"{role}_fee_rate" in frame:
                order_id = frame[f"{role}_order_id"]
                matched = seen.matched.setdefault(order_id, {})
                matched[str(frame["trade_id"])] = Decimal(frame["size"])
                filled = sum(matched.values(), Decimal(0))
                yield replace(_status(order_id, symbol, ours), filled_quantity=filled)
        return
    order_id = frame["order_id"]
    status = _status(order_id, symbol, side)
    if kind == "done":
        yield _ended(seen, frame, status)
    elif old:
        return
    elif kind == "change":
        # Trading with oneself was prevented: https://docs.cdp.coinbase.com/exchange/concepts/matching-engine
        if order_id in seen.sizes and "new_size" in frame:
            seen.sizes[order_id] -= Decimal(frame["old_size"]) - Decimal(frame["new_size"])
    else:
        if kind == "received" and "size" in frame:
            seen.sizes[order_id] = Decimal(frame["size"])
        yield replace(
            status,
            client_order_id=frame.get("client_oid") or None,
            quantity=seen.sizes.get(order_id),
            filled_quantity=Decimal(0) if kind == "received" else None,
        )


def _status(order_id: str, symbol: str, side: Side) -> OrderStatus:
    return OrderStatus(order_id=None, found=Found.OPEN, exchange_order_id=order_id, symbol=symbol, side=side)


def _activated(ccxt_exchange: Any, seen: _Seen, frame: Any) -> OrderStatus:
    """Tell of an order that waits; what it is called by us comes when it is received."""
    order_id, symbol = frame["order_id"], ccxt_exchange.safe_symbol(frame["product_id"], None, "-")
    if "size" in frame:
        seen.sizes[order_id] = Decimal(frame["size"])
    return replace(
        _status(order_id, symbol, Side(frame["side"])),
        quantity=seen.sizes.get(order_id),
        filled_quantity=Decimal(0),
        stop_price=Decimal(frame["stop_price"]),
    )


def _ended(seen: _Seen, frame: Any, status: OrderStatus) -> OrderStatus:
    """Tell the end of an order, and its filled quantity where this connection knows the size.

    Where it does not, who reads this has to look: a `filled` order may have been made smaller before.
    """
    order_id = frame["order_id"]
    size = seen.sizes.pop(order_id, None)
    seen.matched.pop(order_id, None)
    filled: Decimal | None = None
    if size is not None and frame["reason"] == "filled":
        filled = size
    elif size is not None and frame.get("remaining_size") is not None:
        filled = size - Decimal(frame["remaining_size"])
    return replace(
        status,
        found=Found.CLOSED,
        ending=Ending.FILLED if filled is not None and filled == size else Ending.CANCELED,
        filled_quantity=filled,
        quantity=size,
        reason=frame["reason"],
    )


async def _follow(ccxt_exchange: Any) -> Any:
    """Subscribe to `user` for every product there is; it has to be told which."""
    symbols = [
        symbol for symbol, market in ccxt_exchange.markets.items() if market["info"].get("status") == "online"
    ]
    return await ccxt_exchange.watch_orders_for_symbols(symbols)


def _subscribed(frame: Any) -> bool:
    return (
        isinstance(frame, dict)
        and frame.get("type") == "subscriptions"
        and any(isinstance(one, dict) and one.get("name") == "user" for one in frame.get("channels") or ())
    )


def _is_trades(frame: Any) -> bool:
    return isinstance(frame, dict) and frame.get("type") in ("match", "last_match")


def _trades(ccxt_exchange: Any, frame: Any, now: datetime) -> Iterator[PublicTrade]:
    """Read a match; the last one is the past. Its side is that of the order that waited.

    https://docs.cdp.coinbase.com/exchange/websocket-feed/channels
    """
    if frame["type"] == "match":
        yield PublicTrade(
            symbol=ccxt_exchange.safe_symbol(frame["product_id"], None, "-"),
            price=Decimal(frame["price"]),
            quantity=Decimal(frame["size"]),
            side=Side.BUY if frame["side"] == "sell" else Side.SELL,
            at=now,
        )


def _book(ccxt_exchange: Any, frame: Any, url: str) -> Iterator[tuple[str, Change]]:
    """Read `level2`: the whole book, then what changed. It has times, and neither numbers nor checksums.

    https://docs.cdp.coinbase.com/exchange/websocket-feed/channels
    """
    if frame["type"] == "snapshot":
        bids, asks = rows(frame["bids"]), rows(frame["asks"])
    else:
        changed = {
            side: rows([change[1:] for change in frame["changes"] if change[0] == side])
            for side in ("buy", "sell")
        }
        bids, asks = changed["buy"], changed["sell"]
    yield (
        ccxt_exchange.safe_symbol(frame["product_id"], None, "-"),
        Change(
            bids=bids,
            asks=asks,
            snapshot=frame["type"] == "snapshot",
            told_at=datetime.fromisoformat(frame["time"]) if "time" in frame else None,
        ),
    )


async def _coinbase_cancel_all(
    ask: Ask, ccxt_exchange: Any, orders: tuple[OrderStatus, ...], symbol: str | None
) -> None:
    """Cancel as many as it can at once: "you may need to make the request more than once".

    https://docs.cdp.coinbase.com/api-reference/exchange-api/rest-api/orders/cancel-all-orders
    """
    where = {} if symbol is None else {"product_id": symbol}
    await ask("cancel_all", partial(ccxt_exchange.privateDeleteOrders, where))


def _stop_words(order: NewOrder) -> Mapping[str, object]:
    """Say which way the price goes, which ccxt does not: without `stop` the order is refused.

    `loss` waits for a trade at or below the price, `entry` for one at or above; the first is for selling and
    the second for buying. https://github.com/danpaquin/coinbasepro-python/pull/370
    """
    assert order.stop_price is not None
    stop = "loss" if order.side is Side.SELL else "entry"
    return {"triggerPrice": plain(order.stop_price), "stop": stop}


def _is_list(body: object) -> bool:
    return isinstance(body, list)


def _coinbaseexchange_create_words(order: NewOrder) -> Mapping[str, object]:
    """End a new order that would meet one of this account's, and leave that one alone.

    https://docs.cdp.coinbase.com/exchange/concepts/matching-engine
    """
    return {"stp": "cn"}


def _coinbaseexchange_rules(info: Mapping[str, Any]) -> Rules:
    """Read a product; 500 orders may be open in each.

    https://docs.cdp.coinbase.com/api-reference/exchange-api/rest-api/products/get-all-trading-pairs and
    https://docs.cdp.coinbase.com/api-reference/exchange-api/rest-api/orders/create-new-order
    """
    status = coinbase_status(info) if info["status"] == "online" else MarketStatus.HALTED
    return Rules(status=status, max_open_orders=500)


COINBASEEXCHANGE = Dialect(
    exchange="coinbaseexchange",
    ccxt_id="coinbaseexchange",
    create_words=_coinbaseexchange_create_words,
    wire=CoinbaseWire,
    options={},
    fetches_currencies=False,
    fee_mode="quote",
    rules=_coinbaseexchange_rules,
    has_passphrase=True,
    client_id_style="uuid",
    # A create has no expiry of its own. Its signature has one: 30 s around a time in whole seconds, drawn up
    # to two seconds after `send`. https://docs.cdp.coinbase.com/exchange/rest-api/authentication
    recv_window_s=33.0,
    expiry=lambda venue_now, seconds: {},
    words=Words(
        said=coinbase_said,
        refusals=COINBASE_ANY,
        create_refusals=COINBASE_CREATE,
        cancel_refusals=COINBASE_CANCEL,
        absent=COINBASE_ABSENT,
    ),
    by_client_id=(Lookup(method="fetch_order"),),  # GET /orders/client:...
    open_orders=_coinbase_open_orders,
    whole={
        "order": lambda body: has(body, id=str, status=str, filled_size=str),
        **dict.fromkeys(
            (
                *("open_orders", "closed_orders", "fills", "history", "balances", "markets", "transfers"),
                "cancel_all",
            ),
            _is_list,
        ),
        **dict.fromkeys(("fees", "tier"), lambda body: has(body, maker_fee_rate=str, taker_fee_rate=str)),
        "book": lambda body: has(body, bids=list, asks=list),
        "time": lambda body: has(body, iso=str),
    },
    triggers=Triggers(
        types=frozenset({OrderType.STOP_LOSS_LIMIT}),
        times_in_force=frozenset({TimeInForce.GTC}),  # what the others mean behind a stop, no page says
        words=_stop_words,
        features=lambda order: "triggerPrice",
    ),
    cancel_all=_coinbase_cancel_all,
    purges=True,  # https://docs.cdp.coinbase.com/api-reference/exchange-api/rest-api/orders/get-single-order
    cancelled=lambda body: isinstance(body, str) and _UUID.fullmatch(body) is not None,
    fills_of=_coinbase_fills,
    history_of=_coinbase_history,
    names_of=_coinbase_names,
    fees=unified_fees,
    past_orders=Listing(
        read=_coinbase_past_orders,
        at_once=timedelta(days=30),
        misses="orders canceled without a fill are forgotten by the exchange",
    ),
    transfers=Listing(read=_coinbase_transfers, at_once=timedelta(days=3650)),
    tier=_coinbase_tier,
    stream=PrivateStream(
        read=_stream,
        is_private=_is_private,
        follow=_follow,
        subscribed=_subscribed,
        over=lambda frame: False,  # an `error` ends what ccxt waits for
        url=_private_ws,
    ),
    tape=Tape(
        is_trades=_is_trades,
        read=_trades,
        apart=False,
    ),
    book=BookFeed(
        is_book=lambda frame: isinstance(frame, dict) and frame.get("type") in ("snapshot", "l2update"),
        read=_book,
        audited=True,
    ),
    book_depth=50,
    limits=RateLimits(
        # https://docs.cdp.coinbase.com/exchange/rest-api/rate-limits
        shapes=(
            Shape(name="private", capacity=30, per_s=15, reserve=4, reserve_orders=8),
            Shape(name="fills", capacity=20, per_s=10),
            Shape(name="public", capacity=15, per_s=10, scope=Scope.IP),
        ),
        costs={
            "create": {"private": 1},
            "cancel": {"private": 1},
            "cancel_all": {"private": 1},
            "order": {"private": 1},
            "open_orders": {"private": 1},
            "closed_orders": {"private": 1},
            "fills": {"fills": 1},
            "history": {"fills": 1},
            "balances": {"private": 1},
            "fees": {"private": 1},
            "transfers": {"private": 1},
            "tier": {"private": 1},
            "markets": {"public": 1},
            "time": {"public": 1},
            "book": {"public": 1},
        },
        words={"Private rate limit exceeded": "", "Public rate limit exceeded": ""},
    ),
)

# The exchange of that name closed in December 2023. It exists on paper only.
BITTREX = replace(COINBASEEXCHANGE, exchange="bittrex", paper_only=True)
