"""Gemini spot: what ccxt is told, what an answer means, how an order is found again.

Where ccxt 4.5.90 is wrong about Gemini, `GeminiWire` stands in front of it:

* it takes every spot market for a perpetual since Gemini tells of spot markets what they are priced in;
* it forgets the signature of the order events before it connects;
* it knows no time of Gemini's, and deposits and withdrawals only together;
* it asks for an order by its client id beside an `order_id` of null;
* it does not read what a stop-limit order waits for.

The order events tell of a fill by the number of an event, and REST by the number of the trade: two numbers
since 2025, as market data shows them both. Booked from both sources a fill would count twice. So the stream
says only how much is filled, and the fills themselves are always read from the order.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any

import ccxt

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
    KeyPowers,
    Listing,
    Lookup,
    PrivateStream,
    RateLimits,
    Tape,
    Tier,
    Triggers,
    Words,
    has,
    unified_fees,
)
from ems.venues.errors import Refusals, Said, of_orders
from ems.venues.limiter import Priority, Scope, Shape
from ems.venues.translation import plain
from ems.venues.transport import Call, Wire, current_call

ORDER_EVENTS = "/v1/order/events"
_MARKET_DATA = "/v2/marketdata"
_LEVEL_2 = "l2:"  # ccxt's names of subscriptions begin so
_DETAILS_AT_ONCE = 5
_DETAILS_KEPT_S = 600.0
_TRADES_PAGE = 500  # https://docs.gemini.com/rest/orders#list-past-trades
_ORDERS_PAGE = 500  # https://docs.gemini.com/rest/orders#list-past-orders
_TRANSFERS_PAGE = 50  # https://docs.gemini.com/rest/fund-management#list-past-transfers


class GeminiWire(Wire):
    """Our wire, and what has to be different in ccxt's class."""

    # symbol in Gemini's spelling -> (loop time when it was read, what was answered)
    _details: dict[str, tuple[float, Any]]

    async def fetch_markets(self, params: Any = None) -> list[Any]:
        """Read the spot markets with their rules; ccxt's own method makes perpetuals of them.

        There is one question per symbol, 347 on 2026-08-09, and all of them were answered within six seconds
        (recorded). What was read is kept for ten minutes, and also when a later question fails; markets that
        do not trade or whose book we watch are always asked about.
        """
        ex: Any = self
        known = self.__dict__.setdefault("_details", {})
        now = asyncio.get_running_loop().time()
        symbols = [name for name in await ex.publicGetV1Symbols() if not name.endswith("perp")]
        watched = self._watched()
        turns = asyncio.Semaphore(_DETAILS_AT_ONCE)

        async def read(symbol: str) -> None:
            async with turns:
                answer = await ex.publicGetV1SymbolsDetailsSymbol({"symbol": symbol})
            if not has(answer, symbol=str, status=str, product_type=str):
                raise ccxt.BadResponse(f"no details of {symbol}")
            known[symbol] = now, answer

        def due(symbol: str) -> bool:
            at, details = known.get(symbol, (None, {}))
            fresh = at is not None and now - at < _DETAILS_KEPT_S
            return not fresh or symbol in watched or details["status"] != "open"

        await asyncio.gather(*(read(symbol) for symbol in symbols if due(symbol)))
        spot = [known[symbol][1] for symbol in symbols if known[symbol][1]["product_type"] == "spot"]
        return [self._market(details) for details in spot]

    def _watched(self) -> set[str]:
        """Return Gemini's names of the markets whose books are subscribed to."""
        ex: Any = self
        names = (name for client in (ex.clients or {}).values() for name in client.subscriptions)
        symbols = (name.removeprefix(_LEVEL_2) for name in names if name.startswith(_LEVEL_2))
        return {ex.market(symbol)["id"] for symbol in symbols}

    def _market(self, details: Mapping[str, Any]) -> Any:
        ex: Any = self
        # To ccxt a price currency means a perpetual.
        named = {name: value for name, value in details.items() if name != "contract_price_currency"}
        # A market that only takes cancels, or only makers, is none to trade in.
        return {
            **ex.parse_market(named),
            "active": details["status"] in ("open", "limit_only"),
            "info": details,
        }

    async def fetch_time(self, params: Any = None) -> int:
        """Tell when Gemini answered a heartbeat, which also keeps the orders of a session that needs one."""
        ex: Any = self
        call = current_call.get() or Call()
        token = current_call.set(call)
        try:
            await ex.privatePostV1Heartbeat()
        finally:
            current_call.reset(token)
        answered = parsedate_to_datetime(call.attempts[-1].headers["Date"])
        return int(answered.timestamp() * 1000)

    async def fetch_order_named(self, exchange_order_id: None, symbol: str, params: Mapping[str, Any]) -> Any:
        """Find an order by its client id; the newest, should there be several."""
        ex: Any = self
        answer = await ex.privatePostV1OrderStatus(dict(params))
        rows = answer if isinstance(answer, list) else [answer]
        return max(ex.parse_orders(rows), key=lambda order: order["timestamp"] or 0)

    def parse_order(self, order: Any, market: Any = None) -> Any:
        parsed = super().parse_order(order, market)  # type: ignore[misc]
        stop_price = order.get("stop_price")
        return {**parsed, "triggerPrice": Decimal(str(stop_price))} if stop_price else parsed

    async def watch_trades(self, symbol: str, *_: Any) -> Any:
        """Subscribe to nothing: the trades of a market come with its book."""
        return await asyncio.get_running_loop().create_future()

    async def authenticate(self, params: Any = None) -> None:
        """Draw no nonce yet: the signature is made when the connection is."""

    def client(self, url: str) -> Any:
        """Return ccxt's WebSocket client, which signs its upgrade where one is to be signed."""
        client = super().client(url)
        if ORDER_EVENTS in url and "create_connection" not in vars(client):
            client.create_connection = partial(self._connect_signed, client, client.create_connection)
        return client

    async def _connect_signed(self, client: Any, connect: Any, session: Any) -> Any:
        # In the lane, because the nonce of an upgrade counts with those of the requests.
        ex: Any = self
        leave = await ex.lane.enter(Priority.QUERY, 5.0) if ex.lane is not None else None
        try:
            payload = ex.string_to_base64(
                ex.json({"request": ORDER_EVENTS, "nonce": str(ex.incrementing_nonce())})
            )
            signature = ex.hmac(ex.encode(payload), ex.encode(ex.secret), hashlib.sha384, "hex")
            headers = {
                "X-GEMINI-APIKEY": ex.apiKey,
                "X-GEMINI-PAYLOAD": payload,
                "X-GEMINI-SIGNATURE": signature,
            }
            client.options = {**client.options, "headers": headers}
            return await connect(session)
        finally:
            if leave is not None:
                leave()


def gemini_said(status: int, body: object) -> tuple[Said, ...]:
    """Read `{"result": "error", "reason": "InvalidPrice", "message": "..."}`, which comes with a 4xx.

    https://docs.gemini.com/error-codes
    """
    if not 400 <= status < 500 or not isinstance(body, dict) or body.get("result") != "error":
        return ()
    reason, message = body.get("reason"), body.get("message")
    if not isinstance(reason, str) or not reason:
        return ()
    return (Said(reason, message if isinstance(message, str) else reason),)


def _reasons(*reasons: str) -> list[tuple[str, str | None]]:
    return [(reason, None) for reason in reasons]


# Too little to call an order refused: see `errors.of_orders`. Said of a request that something on the way
# repeated, InvalidNonce would mean that the first one had arrived.
_OF_THE_FRONT = frozenset({"RateLimit", "InvalidNonce"})

# https://docs.gemini.com/error-codes; the messages carry numbers and names, the reasons are exact.
# Not here, so unknown: System and Maintenance (they come with a 5xx), and every reason new to us.
GEMINI_ANY: Refusals = {
    **dict.fromkeys(
        _reasons(
            *("InvalidApiKey", "InvalidSignature", "MissingApikeyHeader", "MissingPayloadHeader"),
            *("MissingSignatureHeader", "MissingRole", "MissingAccounts", "MissingAccountName"),
            *("InvalidAccountName", "AccountsOnGroupOnlyApi", "NotGroupApiCompatible", "NoSSL"),
        ),
        Refusal.AUTH,
    ),
    **dict.fromkeys(_reasons("InvalidNonce", "MissingNonce"), Refusal.CLOCK),
    **dict.fromkeys(_reasons("RateLimit"), Refusal.RATE_LIMIT),
    **dict.fromkeys(
        _reasons("InvalidJson", "InvalidSymbol", "EndpointMismatch", "EndpointNotFound", "MissingPayloadKey"),
        Refusal.PERMANENT,
    ),
}

GEMINI_CREATE: Refusals = {
    **of_orders(GEMINI_ANY, _OF_THE_FRONT),
    **dict.fromkeys(_reasons("InsufficientFunds"), Refusal.INSUFFICIENT_FUNDS),
    # Too small or off its step, with one reason for both.
    **dict.fromkeys(_reasons("InvalidQuantity", "InvalidPrice"), Refusal.LOT_TICK),
    **dict.fromkeys(_reasons("MarketNotOpen", "MarketClosed"), Refusal.MARKET_CLOSED),
    **dict.fromkeys(
        _reasons(
            *("InvalidSide", "InvalidOrderType", "ConflictingOptions", "UnsupportedOption"),
            *("OptionsMustBeArray", "MissingOrderField", "ClientOrderIdTooLong", "ClientOrderIdMustBeString"),
            *("InvalidStopPrice", "InvalidStopPriceBuy", "InvalidStopPriceSell", "InvalidStopPriceRatio"),
        ),
        Refusal.PERMANENT,
    ),
}

# To cancel an order that has been cancelled succeeds; of one that was filled its status is told.
GEMINI_CANCEL: Refusals = {**GEMINI_ANY, ("OrderNotFound", None): Refusal.UNKNOWN_ORDER}

GEMINI_ABSENT = frozenset(_reasons("OrderNotFound"))


def _is_order(body: object) -> bool:
    return has(body, order_id=str, executed_amount=str, original_amount=str, is_live=bool, is_cancelled=bool)


def _are_rows(body: object, **parts: type) -> bool:
    return isinstance(body, list) and all(has(row, **parts) for row in body)


def _are_orders(body: object) -> bool:
    return isinstance(body, list) and all(map(_is_order, body))


def _trades(ccxt_exchange: Any, rows: list[Any], symbol: str) -> list[Any]:
    """Translate trades; ccxt leaves out who made them and whose order it was."""
    market = ccxt_exchange.market(symbol)
    trades = []
    for row in rows:
        trade = ccxt_exchange.parse_trade(row, market)
        trade["takerOrMaker"] = "taker" if row["aggressor"] is True else "maker"
        if row.get("client_order_id"):
            trade["clientOrderId"] = row["client_order_id"]
        trades.append(trade)
    return trades


async def _gemini_fills(
    ask: Ask, ccxt_exchange: Any, symbol: str, exchange_order_id: str
) -> FillsRead | None:
    """Read the order with its trades: one answer tells both how much is filled and by what."""
    request = {"order_id": exchange_order_id, "include_trades": True}
    order = await ask("fills", partial(ccxt_exchange.privatePostV1OrderStatus, request))
    if order is None:
        return None
    rows = order.get("trades")
    if not _are_rows(rows, tid=int, order_id=str, aggressor=bool):
        raise CannotSay(f"order {exchange_order_id} came without its trades")
    return FillsRead(
        trades=_trades(ccxt_exchange, rows, symbol), expected=Decimal(str(order["executed_amount"]))
    )


async def _gemini_history(ask: Ask, ccxt_exchange: Any, symbol: str, since_ms: int, now_ms: int) -> list[Any]:
    """Read forward from a time; a page has the oldest trades from there on, newest first.

    https://docs.gemini.com/rest/orders#list-past-trades
    """
    market = ccxt_exchange.market(symbol)
    found: dict[int, Any] = {}
    for _ in range(PAGES_MAX):
        request = {"symbol": market["id"], "timestamp": since_ms, "limit_trades": _TRADES_PAGE}
        page = await ask("history", partial(ccxt_exchange.privatePostV1Mytrades, request))
        new = [row for row in page if row["tid"] not in found]
        found.update((row["tid"], row) for row in page)
        if len(page) < _TRADES_PAGE:
            return _trades(ccxt_exchange, list(found.values()), symbol)
        if not new:
            raise CannotSay(f"more than {len(page)} trades in a millisecond")
        # Of the last millisecond some may be missing: it is read again.
        since_ms = max(int(row["timestampms"]) for row in page)
    raise CannotSay(f"traded too much: {len(found)} trades read")


async def _gemini_names(
    ask: Ask, ccxt_exchange: Any, symbol: str, exchange_order_ids: Collection[str]
) -> dict[str, str | None]:
    """Ask for each order whose trades did not say what we called it."""
    names: dict[str, str | None] = {}
    for exchange_order_id in sorted(exchange_order_ids)[:PAGES_MAX]:
        order = await ask("order", partial(ccxt_exchange.fetch_order, exchange_order_id, symbol))
        names[exchange_order_id] = order.get("clientOrderId")
    return names


async def _gemini_past_orders(
    ask: Ask, ccxt_exchange: Any, symbol: str | None, since: int, until: int
) -> list[Any]:
    """Read what is open, then what ended, forward from a time: ccxt has no method for it.

    https://docs.gemini.com/rest/orders#list-past-orders
    """
    market = None if symbol is None else ccxt_exchange.market(symbol)
    rows = {row["order_id"]: row for row in await ask("open_orders", ccxt_exchange.privatePostV1Orders)}
    start = since
    for _ in range(PAGES_MAX):
        request = {"timestamp": start, "limit_orders": _ORDERS_PAGE}
        if market is not None:
            request["symbol"] = market["id"]
        page = await ask(
            "past_orders", partial(ccxt_exchange.request, "v1/orders/history", ["private"], "POST", request)
        )
        new = [row for row in page if row["order_id"] not in rows or row["is_live"] is False]
        rows.update((row["order_id"], row) for row in page)
        times = [int(row["timestampms"]) for row in page]
        if len(page) < _ORDERS_PAGE or min(times) > until:
            break
        if not new or max(times) == start:
            raise CannotSay(f"more than {len(page)} orders in a millisecond")
        start = max(times)  # of the last millisecond some may be missing: it is read again
    else:
        raise CannotSay(f"more than {len(rows)} orders since then")
    # Their symbols have come in either case.
    orders: list[Any] = ccxt_exchange.parse_orders(
        [{**row, "symbol": row["symbol"].lower()} for row in rows.values()]
    )
    return orders


async def _gemini_transfers(
    ask: Ask, ccxt_exchange: Any, symbol: str | None, since: int, until: int
) -> list[Any]:
    """Read forward from a time to the end.

    https://docs.gemini.com/rest/fund-management#list-past-transfers
    """
    found: dict[str, Any] = {}
    start = since
    for _ in range(PAGES_MAX):
        question = partial(ccxt_exchange.fetch_deposits_withdrawals, None, start, _TRANSFERS_PAGE)
        page = await ask("transfers", question)
        new = [one for one in page if one["id"] not in found]
        found.update((one["id"], one) for one in page)
        if len(page) < _TRANSFERS_PAGE:
            return list(found.values())
        if not new:
            raise CannotSay(f"more than {len(page)} transfers in a millisecond")
        start = max(one["timestamp"] for one in page)
    raise CannotSay(f"more than {len(found)} transfers since then")


async def _gemini_tier(ccxt_exchange: Any) -> Tier:
    """https://docs.gemini.com/rest/orders#get-notional-trading-volume"""
    told = await ccxt_exchange.privatePostV1Notionalvolume()
    volume = told.get("notional_30d_volume")
    return Tier(volume_30d=None if volume is None else Decimal(str(volume)), currency="USD")


async def _gemini_powers(ccxt_exchange: Any) -> KeyPowers:
    """Read the roles of the key; Gemini tells nothing of addresses and ends.

    https://docs.gemini.com/roles
    """
    roles = await ccxt_exchange.privatePostV1Roles()
    return KeyPowers(trade=roles["isTrader"], withdraw=roles["isFundManager"])


async def _gemini_open_orders(ccxt_exchange: Any) -> list[Any]:
    """Read all of them, in all markets: there are no pages. Their symbols have come in either case."""
    rows = await ccxt_exchange.privatePostV1Orders()
    orders: list[Any] = ccxt_exchange.parse_orders([{**row, "symbol": row["symbol"].lower()} for row in rows])
    return orders


def _is_gemini_private(frame: Any) -> bool:
    """Say whether a frame is of the order events: a list, or their heartbeat, which is counted with them."""
    return isinstance(frame, list) or has(frame, type=str, socket_sequence=int)


def _gemini_sequence(frame: Any) -> tuple[int, ...] | None:
    """Return the numbers of a frame; all events of one message may have the same."""
    if not _is_gemini_private(frame):
        return None
    rows = frame if isinstance(frame, list) else [frame]
    return tuple(dict.fromkeys(row["socket_sequence"] for row in rows))


def _gemini_stream(ccxt_exchange: Any, frame: Any) -> Iterator[FillReport | OrderStatus]:
    """Read order events: how much is filled, and whether it is over.

    https://docs.gemini.com/websocket/order-events/event-types
    """
    for row in frame if isinstance(frame, list) else ():
        kind = row["type"]
        if kind not in ("initial", "accepted", "booked", "fill", "cancelled", "closed", "rejected"):
            continue
        quantity = Decimal(row["original_amount"])
        filled = Decimal(row.get("executed_amount") or "0")
        ending: Ending | None = None
        if kind == "rejected":
            ending = Ending.REJECTED
        elif kind in ("fill", "cancelled", "closed") and filled == quantity:
            ending = Ending.FILLED
        elif kind in ("cancelled", "closed"):
            ending = Ending.CANCELED
        yield OrderStatus(
            order_id=None,
            found=Found.OPEN if ending is None else Found.CLOSED,
            exchange_order_id=row["order_id"],
            client_order_id=row.get("client_order_id") or None,
            symbol=ccxt_exchange.safe_symbol(row["symbol"].lower()),
            filled_quantity=filled,
            ending=ending,
            side=Side(row["side"]),
            quantity=quantity,
            reason=row.get("reason") or None,
        )


def _is_gemini_trades(frame: Any) -> bool:
    return isinstance(frame, dict) and frame.get("type") == "trade"


def _gemini_trades(ccxt_exchange: Any, frame: Any, now: datetime) -> Iterator[PublicTrade]:
    """Read `trade`; those in the first message of a symbol are the past.

    https://docs.gemini.com/websocket/market-data/v2/level-2-data
    """
    yield PublicTrade(
        symbol=ccxt_exchange.safe_symbol(frame["symbol"].lower()),
        price=Decimal(frame["price"]),
        quantity=Decimal(frame["quantity"]),
        side=Side(frame["side"]),
        at=now,
    )


def _gemini_book(ccxt_exchange: Any, frame: Any, url: str) -> Iterator[tuple[str, Change]]:
    """Read `l2_updates`. The first of a symbol is the whole book; nothing in them can be counted or summed.

    https://docs.gemini.com/websocket/market-data/v2/level-2-data
    """
    sides: dict[str, list[list[str]]] = {"buy": [], "sell": []}
    for side, price, size in frame["changes"]:
        sides[side].append([price, size])
    yield (
        ccxt_exchange.safe_symbol(frame["symbol"].lower()),
        Change(bids=rows(sides["buy"]), asks=rows(sides["sell"]), snapshot="trades" in frame),
    )


async def _gemini_unsubscribe_book(ccxt_exchange: Any, symbol: str) -> None:
    client = ccxt_exchange.client(ccxt_exchange.urls["api"]["ws"] + _MARKET_DATA)
    name = ccxt_exchange.market(symbol)["id"].upper()
    await client.send({"type": "unsubscribe", "subscriptions": [{"name": "l2", "symbols": [name]}]})
    client.subscriptions.pop(_LEVEL_2 + symbol, None)
    waiting = f"orderbook:{symbol}"
    if waiting in client.futures:
        client.reject(ccxt.UnsubscribeError(f"{waiting} unsubscribed"), waiting)


def _gemini_private_ws(ccxt_exchange: Any) -> str:
    """Return the URL as ccxt writes it, with the events it asks for."""
    events = ("initial", "accepted", "rejected", "fill", "cancelled", "booked")
    filters = "&".join(f"eventTypeFilter={event}" for event in events)
    return f"{ccxt_exchange.urls['api']['ws']}{ORDER_EVENTS}?{filters}"


async def _gemini_cancel_all(
    ask: Ask, ccxt_exchange: Any, orders: tuple[OrderStatus, ...], symbol: str | None
) -> None:
    """Cancel all in all markets; those of one market go one by one.

    https://docs.gemini.com/rest/orders#cancel-all-active-orders
    """
    if symbol is None:
        await ask("cancel_all", ccxt_exchange.privatePostV1OrderCancelAll)


def _gemini_stop_words(order: NewOrder) -> Mapping[str, object]:
    """Ask for an `exchange stop limit`: to sell at or below the price, to buy at or above.

    https://docs.gemini.com/rest/orders#create-new-order
    """
    assert order.stop_price is not None
    return {"triggerPrice": plain(order.stop_price)}


_GEMINI_STATUS = {  # https://docs.gemini.com/rest/market-data#get-symbol-details
    "open": MarketStatus.OPEN,
    "limit_only": MarketStatus.LIMIT_ONLY,
    "post_only": MarketStatus.POST_ONLY,
    "cancel_only": MarketStatus.CANCEL_ONLY,
}


def _gemini_rules(info: Mapping[str, Any]) -> Rules:
    """Read a symbol's details."""
    return Rules(status=_GEMINI_STATUS.get(info["status"], MarketStatus.HALTED))


GEMINI = Dialect(
    exchange="gemini",
    ccxt_id="gemini",
    options={},
    wire=GeminiWire,
    fetches_currencies=False,
    fee_mode="quote",
    rules=_gemini_rules,
    client_id_style="uuid",
    # Gemini takes no expiry with an order. Two things end a late one all the same: a nonce of a time-based
    # key is refused when it is 30 s old (https://docs.gemini.com/error-codes), and any nonce when a later one
    # has been used, as that of each look-up is.
    recv_window_s=30.0,
    expiry=lambda venue_now, seconds: {},
    words=Words(
        said=gemini_said,
        refusals=GEMINI_ANY,
        create_refusals=GEMINI_CREATE,
        cancel_refusals=GEMINI_CANCEL,
        absent=GEMINI_ABSENT,
    ),
    by_client_id=(Lookup(method="fetch_order_named", parameter="client_order_id"),),
    cancel_parameter=None,
    market_orders=False,
    open_orders=_gemini_open_orders,
    whole={
        "order": lambda body: _is_order(body) or (_are_orders(body) and body != []),
        "fills": _is_order,
        **dict.fromkeys(("open_orders", "past_orders"), _are_orders),
        "history": lambda body: _are_rows(body, tid=int, order_id=str, aggressor=bool, timestampms=int),
        "balances": lambda body: _are_rows(body, currency=str, amount=str, available=str),
        "markets": lambda body: isinstance(body, list) or has(body, symbol=str, status=str),
        **dict.fromkeys(
            ("fees", "tier"),
            lambda body: isinstance(body, dict) and {"api_maker_fee_bps", "api_taker_fee_bps"} <= body.keys(),
        ),
        "transfers": lambda body: _are_rows(body, type=str, currency=str, amount=str),
        "book": lambda body: has(body, bids=list, asks=list),
        "time": lambda body: has(body, result=str),
        "cancel_all": lambda body: has(body, result=str, details=dict),
        "powers": lambda body: has(body, isTrader=bool, isFundManager=bool),
    },
    triggers=Triggers(
        types=frozenset({OrderType.STOP_LOSS_LIMIT}),
        times_in_force=frozenset({TimeInForce.GTC}),  # no options with a stop
        words=_gemini_stop_words,
        features=lambda order: "triggerPrice",
    ),
    cancel_all=_gemini_cancel_all,
    cancelled=lambda body: _is_order(body) and isinstance(body, dict) and body["is_cancelled"] is True,
    fills_of=_gemini_fills,
    history_of=_gemini_history,
    names_of=_gemini_names,
    fees=unified_fees,
    stream=PrivateStream(
        read=_gemini_stream,
        is_private=_is_gemini_private,
        subscribed=lambda frame: isinstance(frame, dict) and frame.get("type") == "subscription_ack",
        over=lambda frame: False,
        url=_gemini_private_ws,
        heartbeat_s=15.0,  # one comes every 5 s
    ),
    sequence=_gemini_sequence,
    tape=Tape(
        is_trades=_is_gemini_trades,
        read=_gemini_trades,
        apart=False,
    ),
    book_depth=50,
    book=BookFeed(
        is_book=lambda frame: isinstance(frame, dict) and frame.get("type") == "l2_updates",
        read=_gemini_book,
        audited=True,
        unsubscribe=_gemini_unsubscribe_book,
    ),
    limits=RateLimits(
        # 600 private requests a minute and 120 public ones, as ten and two a second; five more are queued.
        # https://docs.gemini.com/rate-limit
        shapes=(
            Shape(name="private", capacity=10, per_s=10, reserve=3, reserve_orders=2),
            Shape(name="public", capacity=5, per_s=2, scope=Scope.IP),
        ),
        costs={
            **{
                what: {"private": 1}
                for what in (
                    *("create", "cancel", "order", "fills", "history", "open_orders", "balances"),
                    *("fees", "tier", "past_orders", "transfers", "time", "powers", "cancel_all"),
                )
            },
            "markets": {"public": 1},
            "book": {"public": 1},
        },
    ),
    nonce_lane=True,
    time_resolution_s=1.0,  # the Date of an answer is in whole seconds
    clock_every_s=10.0,  # a session that needs a heartbeat needs one every 30 s
    past_orders=Listing(
        read=_gemini_past_orders,
        misses="fees are not listed with orders",
        at_once=timedelta(days=30),
        ended_apart=True,
    ),
    transfers=Listing(read=_gemini_transfers, at_once=timedelta(days=3650)),
    tier=_gemini_tier,
    powers=_gemini_powers,
)
