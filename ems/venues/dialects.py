"""How exchanges differ, as data: what ccxt is told, what an answer means, how an order is found again.

A new exchange reached through ccxt is a new entry in `DIALECTS`, with its error lists in `errors`. What each
entry says was measured against ccxt 4.5.90 or is taken from the exchange's documentation, cited beside it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, Protocol

from ems.core.messages import (
    Ending,
    FillReport,
    Found,
    Liquidity,
    OrderStatus,
    PublicTrade,
    Side,
)
from ems.venues.errors import (
    BINANCE_ABSENT,
    BINANCE_ANY,
    BINANCE_CANCEL,
    BINANCE_CREATE,
    BYBIT_ABSENT,
    BYBIT_ANY,
    BYBIT_CANCEL,
    BYBIT_CREATE,
    KRAKEN_ABSENT,
    KRAKEN_ANY,
    KRAKEN_CANCEL,
    KRAKEN_CREATE,
    OKX_ABSENT,
    OKX_ANY,
    OKX_CANCEL,
    OKX_CREATE,
    Refusals,
    Said,
    binance_said,
    bybit_said,
    kraken_said,
    okx_said,
)
from ems.venues.gateway import VenueUnavailable
from ems.venues.limiter import Shape
from ems.venues.translation import fill_of, from_ms


@dataclass(frozen=True, kw_only=True, slots=True)
class Lookup:
    """One way to ask for an order by our id; a list must be a list that was really read."""

    method: str  # of ccxt
    parameter: str = "clientOrderId"  # as ccxt wants it here
    gives_list: bool = False
    cost: str = "order"


async def _open_orders_at_once(ccxt_exchange: Any) -> list[Any]:
    """Read all open orders where one answer holds them."""
    orders: list[Any] = await ccxt_exchange.fetch_open_orders()
    return orders


# Fraction of every trade: symbol -> (maker, taker).
Fees = dict[str, tuple[Decimal, Decimal]]


class Ask(Protocol):
    """One paid question, `what` naming its cost and check; None when the venue says: no such order."""

    async def __call__(self, what: str, question: Callable[[], Awaitable[Any]]) -> Any: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Dialect:
    """One exchange."""

    exchange: str
    ccxt_id: str
    options: Mapping[str, object]
    fee_mode: str  # which currency a fee is taken from: see `Market`
    client_id_style: str
    recv_window_s: float
    expiry: Callable[
        [datetime, float], Mapping[str, object]
    ]  # (now by the venue's clock, seconds left) -> params
    said: Callable[[int, object], tuple[Said, ...]]
    refusals: Refusals  # of anything asked
    create_refusals: Refusals
    cancel_refusals: Refusals
    absent: frozenset[tuple[str, str]]  # the words for "no such order"
    by_client_id: tuple[Lookup, ...]
    # What is asked -> is this body an answer to it? A list that was not really read must not pass for an
    # empty one.
    whole: Mapping[str, Callable[[object], bool]]
    cancelled: Callable[[object], bool]  # does this body say that a cancel was done?
    # (ask, ccxt, symbol, exchange order id); None: no such order
    fills_of: Callable[[Ask, Any, str, str], Awaitable[FillsRead | None]]
    # (ask, ccxt, symbol, since ms, now ms) -> ccxt's trades of this symbol, all of them; or raise CannotSay
    history_of: Callable[[Ask, Any, str, int, int], Awaitable[list[Any]]]
    # (ask, ccxt, symbol, exchange order ids) -> {id: client order id}, perhaps not of all
    names_of: Callable[[Ask, Any, str, Collection[str]], Awaitable[dict[str, str | None]]]
    fees: Callable[[Any], Awaitable[Fees]]
    read_stream: Callable[[Any, Any], Iterator[FillReport | OrderStatus]]  # (ccxt, frame)
    is_private: Callable[[Any], bool]  # this frame tells of the account; ccxt need not see it
    stream_subscribed: Callable[[Any], bool]  # this frame says: the private stream is on
    stream_over: Callable[[Any], bool]  # this frame says: the venue ends the private stream
    private_ws: Callable[[Any], str]  # where ccxt keeps it
    is_trades: Callable[[Any], bool]  # this frame tells public trades; ccxt need not see it
    read_trades: Callable[[Any, Any, datetime], Iterator[PublicTrade]]  # (ccxt, frame, now)
    trades_apart: bool  # books and public trades have one URL: see `Wire`
    book_depth: int  # levels to ask for; some venues know only a few depths
    shapes: tuple[Shape, ...]
    costs: Mapping[str, Mapping[str, float]]  # what is asked -> {bucket: cost}; `{symbol}` is filled in
    weight_header: tuple[str, str, float] | None = None  # header, bucket, the venue's own limit
    limit_words: Mapping[str, str | float] = field(
        default_factory=dict
    )  # code -> bucket to drain, or s to pause
    fetches_currencies: bool = True
    numbers_per_symbol: bool = False  # an order's number is unique in its market only
    nonce_lane: bool = False
    ws_paths: Mapping[str, str] = field(default_factory=dict)  # ccxt's name of a URL -> path when repointed
    tick_key: str | None = None  # where the venue tells a price step coarser than its decimals
    time_resolution_s: float = 0.001  # how coarse the venue tells its time
    by_exchange_id: tuple[Lookup, ...] = (Lookup(method="fetch_order"),)  # a list takes its id as `parameter`
    cancel_parameter: str = "clientOrderId"  # what ccxt calls our id when it cancels by it
    # ccxt's open orders in all markets, to the last page; one that may be incomplete raises
    open_orders: Callable[[Any], Awaitable[list[Any]]] = _open_orders_at_once
    watch_orders: Mapping[str, object] = field(default_factory=dict)  # what ccxt's method is called with
    transfers_page: int = 1000  # deposits or withdrawals in one answer, at most

    def costs_of(self, what: str, symbol: str = "") -> dict[str, float]:
        return {name.format(symbol=symbol): cost for name, cost in self.costs[what].items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class FillsRead:
    """ccxt's trades of one order; `expected` is the filled quantity where the same reading told it."""

    trades: list[Any]
    expected: Decimal | None = None


class CannotSay(VenueUnavailable):
    """There is more to read than we read in one go, or what was read does not add up."""


# What one question may read: beyond it the answer is that we cannot say, never the part that was read.
PAGES_MAX = 20


def _has(body: object, **parts: type) -> bool:
    """Say whether a body is an object with these parts, of these kinds."""
    return isinstance(body, dict) and all(isinstance(body.get(name), kind) for name, kind in parts.items())


# --- Binance spot ---------------------------------------------------------------------------------

_DAY_MS = 24 * 3600 * 1000
_PAGE = 1000  # https://developers.binance.com/docs/binance-spot-api-docs/rest-api/account-endpoints


async def _binance_fills(
    ask: Ask, ccxt_exchange: Any, symbol: str, exchange_order_id: str
) -> FillsRead | None:
    trades: list[Any] = []
    # Without a number to begin at, Binance gives the newest page and no way to those before it.
    params: dict[str, object] = {"orderId": exchange_order_id, "fromId": 0}
    for _ in range(PAGES_MAX):
        page = await ask("fills", partial(ccxt_exchange.fetch_my_trades, symbol, None, _PAGE, dict(params)))
        if page is None:
            return None
        trades.extend(page)
        if len(page) < _PAGE:
            return FillsRead(trades=trades)
        params["fromId"] = _after(page)
    raise CannotSay(f"order {exchange_order_id} has more than {len(trades)} trades")


async def _binance_history(
    ask: Ask, ccxt_exchange: Any, symbol: str, since_ms: int, now_ms: int
) -> list[Any]:
    """Read day by day, for no question may span more; once a page is full, on by trade number to the end."""

    async def span(start: int, end: int) -> list[Any]:
        method = ccxt_exchange.fetch_my_trades
        page: list[Any] = await ask("history", partial(method, symbol, start, _PAGE, {"until": end}))
        return page

    trades: list[Any] = []
    start, from_id = since_ms, None
    for _ in range(PAGES_MAX):
        if from_id is None:
            page = await span(start, start + _DAY_MS - 1)
        else:
            method = ccxt_exchange.fetch_my_trades
            page = await ask("history", partial(method, symbol, None, _PAGE, {"fromId": from_id}))
        trades.extend(page)
        if len(page) >= _PAGE:
            first = min(int(trade["timestamp"]) for trade in page)
            # It is nowhere promised that a full page has the oldest trades of its span.
            if from_id is None and first > start and await span(start, first - 1):
                break
            from_id = _after(page)
        elif from_id is not None or start + _DAY_MS > now_ms:
            return trades
        else:
            start += _DAY_MS
    raise CannotSay(f"{symbol} was traded too much or asked about too late: {len(trades)} trades read")


async def _binance_names(
    ask: Ask, ccxt_exchange: Any, symbol: str, exchange_order_ids: Collection[str]
) -> dict[str, str | None]:
    """Read `allOrders` from the lowest number that is missing, again and again."""
    names: dict[str, str | None] = {}
    missing = {int(one) for one in exchange_order_ids}
    for _ in range(PAGES_MAX):
        if not missing:
            break
        first = min(missing)
        page = await ask(
            "orders", partial(ccxt_exchange.fetch_orders, symbol, None, _PAGE, {"orderId": first})
        )
        names.update((one["id"], one.get("clientOrderId")) for one in page)
        if str(first) not in names:
            break
        missing = {one for one in missing if str(one) not in names}
    return names


def _after(page: list[Any]) -> int:
    return max(int(trade["id"]) for trade in page) + 1


async def _unified_fees(ccxt_exchange: Any) -> Fees:
    fees = await ccxt_exchange.fetch_trading_fees()
    return {
        symbol: (Decimal(fee["maker"]), Decimal(fee["taker"]))
        for symbol, fee in fees.items()
        if isinstance(fee, dict) and fee.get("maker") is not None and fee.get("taker") is not None
    }


_BINANCE_ENDINGS = {
    "FILLED": Ending.FILLED,
    "CANCELED": Ending.CANCELED,
    "EXPIRED": Ending.EXPIRED,
    "EXPIRED_IN_MATCH": Ending.EXPIRED,  # self-trade prevention
    "REJECTED": Ending.REJECTED,
}
_BINANCE_OPEN = {"NEW", "PARTIALLY_FILLED", "PENDING_NEW", "PENDING_CANCEL"}


def _binance_event(frame: Any) -> Mapping[str, Any]:
    event = frame.get("event") if isinstance(frame, dict) else None
    return event if isinstance(event, dict) else {}


def _binance_stream(ccxt_exchange: Any, frame: Any) -> Iterator[FillReport | OrderStatus]:
    """Read `executionReport`.

    https://developers.binance.com/docs/binance-spot-api-docs/user-data-stream#order-update
    """
    event = _binance_event(frame)
    if event.get("e") != "executionReport":
        return
    symbol = ccxt_exchange.safe_symbol(event["s"], None, None, "spot")
    exchange_order_id = str(event["i"])
    # A cancel has its own id in `c`; the order's own is then in `C`.
    client_order_id = event.get("C") or event["c"]
    if event["x"] == "TRADE":
        yield FillReport(
            fill_id=str(event["t"]),
            exchange_order_id=exchange_order_id,
            client_order_id=client_order_id,
            symbol=symbol,
            side=Side(event["S"].lower()),
            price=Decimal(event["L"]),
            quantity=Decimal(event["l"]),
            fee=Decimal(event["n"]),
            fee_currency=ccxt_exchange.safe_currency_code(event["N"]),
            liquidity=Liquidity.MAKER if event["m"] else Liquidity.TAKER,
            at=from_ms(event["T"]),
        )
    status = event["X"]
    ending = _BINANCE_ENDINGS.get(status)
    if ending is None and status not in _BINANCE_OPEN:
        return
    yield OrderStatus(
        order_id=None,
        found=Found.OPEN if ending is None else Found.CLOSED,
        exchange_order_id=exchange_order_id,
        client_order_id=client_order_id,
        symbol=symbol,
        filled_quantity=Decimal(event["z"]),
        ending=ending,
        side=Side(event["S"].lower()),
        quantity=Decimal(event["q"]),
        reason=None if event.get("r") in (None, "NONE") else str(event["r"]),
    )


def _is_binance_trade(frame: Any) -> bool:
    return isinstance(frame, dict) and frame.get("e") == "trade"


def _binance_trades(ccxt_exchange: Any, frame: Any, now: datetime) -> Iterator[PublicTrade]:
    """Read `<symbol>@trade`; `m` says that the buyer was the maker.

    https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams#trade-streams
    """
    yield PublicTrade(
        symbol=ccxt_exchange.safe_symbol(frame["s"], None, None, "spot"),
        price=Decimal(frame["p"]),
        quantity=Decimal(frame["q"]),
        side=Side.SELL if frame["m"] else Side.BUY,
        at=now,
    )


def _binance_subscribed(frame: Any) -> bool:
    return (
        isinstance(frame, dict)
        and frame.get("status") == 200
        and isinstance(frame.get("result"), dict)
        and frame["result"].get("subscriptionId") is not None
    )


def _binance_expiry(venue_now: datetime, seconds: float) -> Mapping[str, object]:
    return {"recvWindow": max(1, min(5000, int(seconds * 1000)))}


def _binance_cancelled(body: object) -> bool:
    return isinstance(body, dict) and _has(body, orderId=int) and body.get("status") == "CANCELED"


BINANCE = Dialect(
    exchange="binance",
    ccxt_id="binance",
    options={
        "defaultType": "spot",
        "fetchMarkets": {"types": ["spot"]},
        "fetchMargins": False,
        "warnOnFetchOpenOrdersWithoutSymbol": False,
        "recvWindow": 5000,
    },
    fetches_currencies=False,
    # The order queries take a symbol beside the number, which counts up for each market apart.
    # https://developers.binance.com/docs/binance-spot-api-docs/rest-api/account-endpoints
    numbers_per_symbol=True,
    fee_mode="received",
    client_id_style="uuid",
    recv_window_s=5.0,
    expiry=_binance_expiry,
    said=binance_said,
    refusals=BINANCE_ANY,
    create_refusals=BINANCE_CREATE,
    cancel_refusals=BINANCE_CANCEL,
    absent=BINANCE_ABSENT,
    by_client_id=(Lookup(method="fetch_order"),),
    whole={
        **dict.fromkeys(
            ("open_orders", "fills", "history", "orders", "transfers", "fees"),
            lambda body: isinstance(body, list),
        ),
        "order": lambda body: _has(body, orderId=int, status=str),
        "balances": lambda body: _has(body, balances=list),
        "markets": lambda body: _has(body, symbols=list),
        "book": lambda body: _has(body, bids=list, asks=list),
        "time": lambda body: _has(body, serverTime=int),
    },
    cancelled=_binance_cancelled,
    fills_of=_binance_fills,
    history_of=_binance_history,
    names_of=_binance_names,
    fees=_unified_fees,
    read_stream=_binance_stream,
    is_private=lambda frame: bool(_binance_event(frame)),
    stream_subscribed=_binance_subscribed,
    stream_over=lambda frame: _binance_event(frame).get("e") in ("eventStreamTerminated", "serverShutdown"),
    private_ws=lambda ccxt_exchange: ccxt_exchange.urls["api"]["ws"]["ws-api"]["spot"],
    is_trades=_is_binance_trade,
    read_trades=_binance_trades,
    trades_apart=False,  # ccxt opens a connection for each subscription
    book_depth=500,
    # 6,000 weight a minute and 100 orders per 10 s, in fixed windows: half as a bucket and half as its refill
    # never exceeds either. https://developers.binance.com/docs/binance-spot-api-docs/rest-api/limits
    shapes=(
        Shape(name="weight", capacity=3000, per_s=50, reserve=200),
        Shape(name="orders", capacity=50, per_s=5),
    ),
    costs={
        "create": {"weight": 1, "orders": 1},
        "cancel": {"weight": 1},
        "order": {"weight": 4},
        "fills": {"weight": 20},
        "history": {"weight": 20},
        "orders": {"weight": 20},
        "open_orders": {"weight": 80},
        "balances": {"weight": 20},
        "markets": {"weight": 20},
        "fees": {"weight": 1},
        "transfers": {"weight": 1},
        "time": {"weight": 1},
        "book": {"weight": 25},
    },
    weight_header=("X-MBX-USED-WEIGHT-1M", "weight", 6000),
    limit_words={"-1015": "orders"},
)


# --- Kraken spot ----------------------------------------------------------------------------------


def _kraken_result(body: object, kind: Any, part: str | None = None) -> bool:
    """Say whether a body has no errors and a result of this kind, or a part of it that is a dict."""
    if not isinstance(body, dict) or body.get("error") != [] or not isinstance(body.get("result"), kind):
        return False
    return part is None or isinstance(body["result"].get(part), dict)


_IDS_AT_ONCE = 20  # orders or trades in one question
_HISTORY_PAGE = 50


async def _kraken_fills(
    ask: Ask, ccxt_exchange: Any, symbol: str, exchange_order_id: str
) -> FillsRead | None:
    """Kraken lists an order's trade ids in the order itself, and their details apart."""
    order = await ask("order", partial(ccxt_exchange.fetch_order, exchange_order_id, symbol))
    if order is None:
        return None
    trade_ids = [trade["id"] for trade in order["trades"]]
    if len(trade_ids) > PAGES_MAX * _IDS_AT_ONCE:
        raise CannotSay(f"order {exchange_order_id} has {len(trade_ids)} trades")
    trades: list[Any] = []
    for start in range(0, len(trade_ids), _IDS_AT_ONCE):
        some = {"trades": trade_ids[start : start + _IDS_AT_ONCE]}
        ask_for = partial(ccxt_exchange.fetch_order_trades, exchange_order_id, symbol, None, None, some)
        trades.extend(await ask("fills", ask_for) or ())
    return FillsRead(trades=trades, expected=order["filled"])


async def _kraken_history(ask: Ask, ccxt_exchange: Any, symbol: str, since_ms: int, now_ms: int) -> list[Any]:
    """Read 50 at a time, newest first; `count` tells how many there are, in all markets.

    What is traded meanwhile moves the rest down: a trade may be on two pages, none falls between them.
    https://docs.kraken.com/api/docs/rest-api/get-trade-history
    """
    found: dict[str, Any] = {}
    there: int | None = None  # so many when the first question was answered
    offset = 0
    for _ in range(PAGES_MAX):
        request = {"start": since_ms // 1000, "ofs": offset}
        answer = await ask("history", partial(ccxt_exchange.privatePostTradesHistory, request))
        page, count = answer["result"]["trades"], answer["result"].get("count")
        found.update(page)
        offset += len(page)
        if there is None and isinstance(count, int):
            there = count
        if len(page) < _HISTORY_PAGE or (isinstance(count, int) and offset >= count):
            if there is not None and len(found) < there:
                raise CannotSay(f"{len(found)} of {there} trades were to be had")
            rows = [{**trade, "id": trade_id} for trade_id, trade in found.items()]
            # A pair that ccxt cannot name may be this one.
            return [one for one in ccxt_exchange.parse_trades(rows) if one["symbol"] in (symbol, None)]
    raise CannotSay(f"the account has traded too much: {len(found)} of {there} trades read")


async def _kraken_names(
    ask: Ask, ccxt_exchange: Any, symbol: str, exchange_order_ids: Collection[str]
) -> dict[str, str | None]:
    wanted = sorted(exchange_order_ids)[: PAGES_MAX * _IDS_AT_ONCE]
    names: dict[str, str | None] = {}
    for start in range(0, len(wanted), _IDS_AT_ONCE):
        some = wanted[start : start + _IDS_AT_ONCE]
        orders = await ask("order", partial(ccxt_exchange.fetch_orders_by_ids, some, symbol))
        names.update((one["id"], one.get("clientOrderId")) for one in orders or ())
    return names


async def _kraken_fees(ccxt_exchange: Any) -> Fees:
    """Ask for the account's own fees of many pairs at a time.

    https://docs.kraken.com/api/docs/rest-api/get-trade-volume
    """
    markets = [market for market in ccxt_exchange.markets.values() if market["spot"]]
    fees: Fees = {}
    for start in range(0, len(markets), 250):
        some = markets[start : start + 250]
        answer = await ccxt_exchange.privatePostTradeVolume(
            {"pair": ",".join(market["id"] for market in some)}
        )
        takers = answer["result"].get("fees") or {}
        makers = answer["result"].get("fees_maker") or {}
        for market in some:
            taker = takers.get(market["id"])
            if taker is None:
                continue
            maker = makers.get(market["id"], taker)  # pairs without a maker schedule have one fee for both
            fees[market["symbol"]] = (Decimal(maker["fee"]) / 100, Decimal(taker["fee"]) / 100)
    return fees


_KRAKEN_ENDINGS = {
    "filled": Ending.FILLED,
    "canceled": Ending.CANCELED,
    "expired": Ending.EXPIRED,
}
_KRAKEN_OPEN = {"pending_new", "new", "partially_filled"}


def _kraken_stream(ccxt_exchange: Any, frame: Any) -> Iterator[FillReport | OrderStatus]:
    """Read the rows of `executions`; ccxt sorts whole frames by their first row, so it is read here.

    https://docs.kraken.com/api/docs/websocket-v2/executions
    """
    if not isinstance(frame, dict) or frame.get("channel") != "executions":
        return
    for row in frame.get("data") or ():
        exchange_order_id = row["order_id"]
        client_order_id = row.get("cl_ord_id") or None
        symbol = row.get("symbol")
        if row.get("exec_type") == "trade":
            fee, fee_currency = Decimal(0), symbol.partition("/")[2]
            for part in row.get("fees") or ():
                fee += Decimal(str(part["qty"]))
                fee_currency = ccxt_exchange.safe_currency_code(part["asset"])
            yield FillReport(
                fill_id=row["exec_id"],
                exchange_order_id=exchange_order_id,
                client_order_id=client_order_id,
                symbol=symbol,
                side=Side(row["side"]),
                price=Decimal(str(row["last_price"])),
                quantity=Decimal(str(row["last_qty"])),
                fee=fee,
                fee_currency=fee_currency,
                liquidity=Liquidity.MAKER if row.get("liquidity_ind") == "m" else Liquidity.TAKER,
                at=datetime.fromisoformat(row["timestamp"]),
            )
        status = row.get("order_status")
        ending = _KRAKEN_ENDINGS.get(status)
        if ending is None and status not in _KRAKEN_OPEN:
            continue
        side, quantity, filled = row.get("side"), row.get("order_qty"), row.get("cum_qty")
        yield OrderStatus(
            order_id=None,
            found=Found.OPEN if ending is None else Found.CLOSED,
            exchange_order_id=exchange_order_id,
            client_order_id=client_order_id,
            symbol=symbol,
            filled_quantity=None if filled is None else Decimal(str(filled)),
            ending=ending,
            side=None if side is None else Side(side),
            quantity=None if quantity is None else Decimal(str(quantity)),
            reason=row.get("reason") or None,
        )


def _is_kraken_trades(frame: Any) -> bool:
    return isinstance(frame, dict) and frame.get("channel") == "trade"


def _kraken_trades(ccxt_exchange: Any, frame: Any, now: datetime) -> Iterator[PublicTrade]:
    """Read the rows of `trade`; a snapshot is the past, some of it told before.

    https://docs.kraken.com/api/docs/websocket-v2/trade
    """
    if frame.get("type") != "update":
        return
    for row in frame.get("data") or ():
        yield PublicTrade(
            symbol=row["symbol"],
            price=Decimal(str(row["price"])),
            quantity=Decimal(str(row["qty"])),
            side=Side(row["side"]),
            at=now,
        )


def _kraken_subscribed(frame: Any) -> bool:
    return (
        isinstance(frame, dict)
        and frame.get("method") == "subscribe"
        and frame.get("success") is True
        and isinstance(frame.get("result"), dict)
        and frame["result"].get("channel") == "executions"
    )


def _kraken_expiry(venue_now: datetime, seconds: float) -> Mapping[str, object]:
    """Kraken's matching engine drops what reaches it later: RFC 3339, 2 to 60 s ahead.

    https://docs.kraken.com/api/docs/rest-api/add-order
    """
    deadline = venue_now + timedelta(seconds=max(2.0, seconds))
    return {"deadline": deadline.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")}


def _kraken_cancelled(body: object) -> bool:
    """Read `{"count": 1}`; nought is no cancel."""
    return isinstance(body, dict) and _kraken_result(body, dict) and (body["result"].get("count") or 0) > 0


KRAKEN = Dialect(
    exchange="kraken",
    ccxt_id="kraken",
    # ccxt cuts trade ids by itself and asks for no id at all after a full batch; we cut them.
    options={"fetchOrderTrades": {"batchSize": 1000}},
    fee_mode="quote",
    client_id_style="uuid",
    recv_window_s=5.0,
    expiry=_kraken_expiry,
    said=kraken_said,
    refusals=KRAKEN_ANY,
    create_refusals=KRAKEN_CREATE,
    cancel_refusals=KRAKEN_CANCEL,
    absent=KRAKEN_ABSENT,
    # fetch_order(None, ..., clientOrderId) sends `txid=None&userref=<id>` (VENUES.md 1.3).
    by_client_id=(
        Lookup(method="fetch_open_orders", gives_list=True, cost="open_orders"),
        Lookup(method="fetch_closed_orders", gives_list=True, cost="closed_orders"),
    ),
    whole={
        **dict.fromkeys(
            ("order", "fills", "balances", "markets", "fees", "book", "time"),
            lambda body: _kraken_result(body, dict),
        ),
        "open_orders": lambda body: _kraken_result(body, dict, "open"),
        "closed_orders": lambda body: _kraken_result(body, dict, "closed"),
        "history": lambda body: _kraken_result(body, dict, "trades"),
        "transfers": lambda body: _kraken_result(body, list | dict),
    },
    cancelled=_kraken_cancelled,
    fills_of=_kraken_fills,
    history_of=_kraken_history,
    names_of=_kraken_names,
    fees=_kraken_fees,
    read_stream=_kraken_stream,
    is_private=lambda frame: isinstance(frame, dict) and frame.get("channel") == "executions",
    stream_subscribed=_kraken_subscribed,
    stream_over=lambda frame: False,
    private_ws=lambda ccxt_exchange: ccxt_exchange.urls["api"]["ws"]["privateV2"],
    is_trades=_is_kraken_trades,
    read_trades=_kraken_trades,
    trades_apart=True,
    book_depth=100,
    # An account of the intermediate level; the lowest has 15 at 0.33/s and 60 at 1/s, and says so.
    # Adding and cancelling have a counter of their own, per pair.
    # https://docs.kraken.com/api/docs/guides/spot-rest-ratelimits and .../spot-ratelimits
    shapes=(
        Shape(name="counter", capacity=20, per_s=0.5, reserve=2),
        Shape(name="engine", capacity=125, per_s=2.34, cancels_wait=False),
        Shape(name="public", capacity=5, per_s=1),
    ),
    costs={
        "create": {"engine:{symbol}": 1},
        # A cancel counts 8 when the order is younger than 5 s, less later.
        "cancel": {"engine:{symbol}": 8},
        "order": {"counter": 1},
        "closed_orders": {"counter": 1},
        "fills": {"counter": 2},
        "history": {"counter": 2},
        "open_orders": {"counter": 1},
        "balances": {"counter": 1},
        "markets": {"public": 2},
        "fees": {"counter": 1},
        "transfers": {"counter": 2},
        "time": {"public": 1},
        "book": {"public": 1},
    },
    limit_words={
        "EAPI:Rate limit exceeded": "counter",
        "EOrder:Rate limit exceeded": "engine:{symbol}",
        "EGeneral:Temporary lockout": 900.0,
    },
    nonce_lane=True,
    # Two hosts with the same path would become one connection on one host.
    ws_paths={"publicV2": "/pub/v2", "privateV2": "/auth/v2"},
    tick_key="tick_size",
    time_resolution_s=1.0,  # `unixtime` is in whole seconds
)


# --- OKX spot -------------------------------------------------------------------------------------


def _okx_rows(body: object, **parts: type) -> bool:
    """Say whether a body is a list of OKX's without an error, whose rows have these parts, of these kinds."""
    if not isinstance(body, dict) or body.get("code") != "0" or not isinstance(body.get("data"), list):
        return False
    return all(_has(row, **parts) for row in body["data"])


def _okx_some(body: object, **parts: type) -> bool:
    """The same, and there is a row."""
    return isinstance(body, dict) and bool(body.get("data")) and _okx_rows(body, **parts)


def _okx_cancelled(body: object) -> bool:
    """Read a row without an error code; it says that the cancel was taken on."""
    return isinstance(body, dict) and _okx_some(body, ordId=str) and body["data"][0].get("sCode") == "0"


_OKX_PAGE = 100


async def _okx_pages(
    ask: Ask, what: str, question: Callable[[Any], Awaitable[Any]], request: Mapping[str, object], number: str
) -> list[Any]:
    """Read 100 rows at a time, newest first, until a page is not full; `number` is what pages go by.

    https://www.okx.com/docs-v5/en/#overview-pagination
    """
    found: dict[str, Any] = {}
    asked = {**request, "limit": _OKX_PAGE}
    for _ in range(PAGES_MAX):
        answer = await ask(what, partial(question, dict(asked)))
        rows = answer["data"]
        found.update((row[number], row) for row in rows)
        if len(rows) < _OKX_PAGE:
            return list(found.values())
        asked["after"] = rows[-1][number]
    raise CannotSay(f"there is more than the {len(found)} rows of {what} that were read")


def _okx_market(ccxt_exchange: Any, symbol: str) -> dict[str, object]:
    return {"instType": "SPOT", "instId": ccxt_exchange.market(symbol)["id"]}


def _okx_read(ccxt_exchange: Any, symbol: str, rows: list[Any]) -> list[Any]:
    """Read rows of fills as ccxt's trades; where nothing was charged, both parts of a fee may be empty."""
    base, _, quote = symbol.partition("/")
    received = {"buy": base, "sell": quote}
    whole = [
        {**row, "fee": row["fee"] or "0", "feeCcy": row["feeCcy"] or received[row["side"]]} for row in rows
    ]
    trades: list[Any] = ccxt_exchange.parse_trades(whole)
    return trades


async def _okx_fills(ask: Ask, ccxt_exchange: Any, symbol: str, exchange_order_id: str) -> FillsRead | None:
    """Read the order for what is filled, then its fills: those of three days are listed first, and apart.

    https://www.okx.com/docs-v5/en/#order-book-trading-trade-get-transaction-details-last-3-days
    """
    order = await ask("order", partial(ccxt_exchange.fetch_order, exchange_order_id, symbol))
    if order is None:
        return None
    trades: list[Any] = []
    request = {**_okx_market(ccxt_exchange, symbol), "ordId": exchange_order_id}
    for what, method in (
        ("fills", ccxt_exchange.privateGetTradeFills),
        ("history", ccxt_exchange.privateGetTradeFillsHistory),
    ):
        if sum((trade["amount"] for trade in trades), Decimal(0)) < order["filled"]:
            rows = await _okx_pages(ask, what, method, request, "billId")
            trades = _okx_read(ccxt_exchange, symbol, rows)
    return FillsRead(trades=trades, expected=order["filled"])


async def _okx_history(ask: Ask, ccxt_exchange: Any, symbol: str, since_ms: int, now_ms: int) -> list[Any]:
    request = {**_okx_market(ccxt_exchange, symbol), "begin": since_ms}
    recent = now_ms - since_ms < 2 * _DAY_MS
    what, method = (
        ("fills", ccxt_exchange.privateGetTradeFills)
        if recent
        else ("history", ccxt_exchange.privateGetTradeFillsHistory)
    )
    return _okx_read(ccxt_exchange, symbol, await _okx_pages(ask, what, method, request, "billId"))


async def _okx_names(
    ask: Ask, ccxt_exchange: Any, symbol: str, exchange_order_ids: Collection[str]
) -> dict[str, str | None]:
    """Read the open orders, then the ended ones of a week, beginning with the newest that is wanted."""
    request = {**_okx_market(ccxt_exchange, symbol), "after": max(map(int, exchange_order_ids)) + 1}
    names: dict[str, str | None] = {}
    for what, method in (
        ("orders_open", ccxt_exchange.privateGetTradeOrdersPending),
        ("orders", ccxt_exchange.privateGetTradeOrdersHistory),
    ):
        if set(exchange_order_ids) - names.keys():
            rows = await _okx_pages(ask, what, method, request, "ordId")
            names.update((row["ordId"], row.get("clOrdId") or None) for row in rows)
    return names


async def _okx_fees(ccxt_exchange: Any) -> Fees:
    """Ask once for the fees of all groups of markets; what is charged is below zero.

    https://www.okx.com/docs-v5/en/#trading-account-rest-api-get-fee-rates
    """
    answer = await ccxt_exchange.privateGetAccountTradeFee({"instType": "SPOT"})
    listed = answer["data"][0]
    groups = {group["groupId"]: group for group in listed.get("feeGroup") or ()}
    fees: Fees = {}
    for market in ccxt_exchange.markets.values():
        if market["spot"]:
            group = groups.get(market["info"].get("groupId"), listed)
            fees[market["symbol"]] = (-Decimal(group["maker"]), -Decimal(group["taker"]))
    return fees


_OKX_ENDINGS = {"filled": Ending.FILLED, "canceled": Ending.CANCELED, "mmp_canceled": Ending.CANCELED}
_OKX_OPEN = {"live", "partially_filled"}


def _okx_channel(frame: Any, channel: str) -> bool:
    """Say whether a frame brings data of this channel."""
    return (
        isinstance(frame, dict)
        and isinstance(frame.get("data"), list)
        and isinstance(frame.get("arg"), dict)
        and frame["arg"].get("channel") == channel
    )


def _okx_stream(ccxt_exchange: Any, frame: Any) -> Iterator[FillReport | OrderStatus]:
    """Read the rows of `orders`; one row tells a fill and where the order is after it.

    https://www.okx.com/docs-v5/en/#order-book-trading-trade-ws-order-channel
    """
    for row in frame["data"]:
        if row.get("instType") != "SPOT":
            continue
        symbol = ccxt_exchange.safe_symbol(row["instId"], None, "-", "spot")
        client_order_id = row.get("clOrdId") or None
        side = Side(row["side"])
        if row.get("tradeId"):
            yield FillReport(
                fill_id=row["tradeId"],
                exchange_order_id=row["ordId"],
                client_order_id=client_order_id,
                symbol=symbol,
                side=side,
                price=Decimal(row["fillPx"]),
                quantity=Decimal(row["fillSz"]),
                # Empty where nothing was charged.
                fee=-Decimal(row["fillFee"] or 0),
                fee_currency=ccxt_exchange.safe_currency_code(
                    row["fillFeeCcy"] or symbol.split("/")[side is Side.SELL]
                ),
                liquidity=Liquidity.MAKER if row["execType"] == "M" else Liquidity.TAKER,
                at=from_ms(row["fillTime"]),
            )
        ending = _OKX_ENDINGS.get(row["state"])
        if ending is None and row["state"] not in _OKX_OPEN:
            continue
        yield OrderStatus(
            order_id=None,
            found=Found.OPEN if ending is None else Found.CLOSED,
            exchange_order_id=row["ordId"],
            client_order_id=client_order_id,
            symbol=symbol,
            filled_quantity=Decimal(row["accFillSz"]),
            ending=ending,
            side=side,
            # The size of an order by its cost is an amount of the other currency.
            quantity=None if row.get("tgtCcy") == "quote_ccy" else Decimal(row["sz"]),
            reason=row.get("cancelSourceReason") or None,
        )


def _okx_trades(ccxt_exchange: Any, frame: Any, now: datetime) -> Iterator[PublicTrade]:
    """Read the rows of `trades`; `side` is the taker's.

    https://www.okx.com/docs-v5/en/#order-book-trading-market-data-ws-trades-channel
    """
    for row in frame["data"]:
        yield PublicTrade(
            symbol=ccxt_exchange.safe_symbol(row["instId"], None, "-", "spot"),
            price=Decimal(row["px"]),
            quantity=Decimal(row["sz"]),
            side=Side(row["side"]),
            at=now,
        )


def _okx_subscribed(frame: Any) -> bool:
    return (
        isinstance(frame, dict)
        and frame.get("event") == "subscribe"
        and isinstance(frame.get("arg"), dict)
        and frame["arg"].get("channel") == "orders"
    )


def _okx_over(frame: Any) -> bool:
    """Read the notice that the connection will soon be closed for a service upgrade."""
    return isinstance(frame, dict) and frame.get("event") == "notice" and frame.get("code") == "64008"


def _okx_expiry(venue_now: datetime, seconds: float) -> Mapping[str, object]:
    """Say nothing of an expiry: OKX takes the time that a request is signed with for 30 s, and no longer.

    `expTime` would be sooner, but it is a header, and ccxt sends headers of its own only.
    What is said is that a market order which cannot be paid is to be refused, not made smaller.
    https://www.okx.com/docs-v5/en/#order-book-trading-trade-post-place-order
    """
    return {"banAmend": True}


OKX = Dialect(
    exchange="okx",
    ccxt_id="okx",
    options={
        "defaultType": "spot",
        "fetchMarkets": {"types": ["spot"]},
        "createOrder": "privatePostTradeOrder",  # the default sends a list of one
        "tgtCcy": "base_ccy",  # a market buy counts in the quote currency otherwise
    },
    fetches_currencies=False,
    fee_mode="received",
    client_id_style="hex32",  # letters and digits, at most 32
    # https://www.okx.com/docs-v5/en/#overview-rest-authentication-making-requests
    recv_window_s=30.0,
    expiry=_okx_expiry,
    said=okx_said,
    refusals=OKX_ANY,
    create_refusals=OKX_CREATE,
    cancel_refusals=OKX_CANCEL,
    absent=OKX_ABSENT,
    by_client_id=(Lookup(method="fetch_order"),),
    whole={
        "order": lambda body: _okx_some(body, ordId=str, state=str, accFillSz=str),
        **dict.fromkeys(
            ("fills", "history"),
            lambda body: _okx_rows(body, ordId=str, tradeId=str, billId=str, side=str, fee=str, feeCcy=str),
        ),
        **dict.fromkeys(("orders", "orders_open", "open_orders"), lambda body: _okx_rows(body, ordId=str)),
        "balances": lambda body: _okx_some(body, details=list),
        "markets": lambda body: _okx_some(body, instId=str, tickSz=str, lotSz=str),
        "fees": lambda body: _okx_some(body, maker=str, taker=str),
        "transfers": _okx_rows,
        "book": lambda body: _okx_some(body, bids=list, asks=list),
        "time": lambda body: _okx_some(body, ts=str),
    },
    cancelled=_okx_cancelled,
    fills_of=_okx_fills,
    history_of=_okx_history,
    names_of=_okx_names,
    fees=_okx_fees,
    read_stream=_okx_stream,
    is_private=lambda frame: _okx_channel(frame, "orders"),
    stream_subscribed=_okx_subscribed,
    stream_over=_okx_over,
    private_ws=lambda ccxt_exchange: ccxt_exchange.urls["api"]["ws"] + "/private",
    is_trades=lambda frame: _okx_channel(frame, "trades"),
    read_trades=_okx_trades,
    trades_apart=False,
    book_depth=400,  # the channel `books`
    transfers_page=100,
    # Calls of each kind in 2 s (transfers: 1 s), in fixed windows: half as a bucket and half as its refill
    # never exceeds them. Orders are counted for each market. Each call's page says its limit:
    # https://www.okx.com/docs-v5/en/#order-book-trading-trade
    shapes=(
        Shape(name="place", capacity=30, per_s=15),
        Shape(name="cancel", capacity=30, per_s=15),
        Shape(name="order", capacity=30, per_s=15),
        Shape(name="pending", capacity=30, per_s=15),
        Shape(name="closed", capacity=20, per_s=10),
        Shape(name="fills", capacity=30, per_s=15),
        Shape(name="history", capacity=5, per_s=2.5),
        Shape(name="balance", capacity=5, per_s=2.5),
        Shape(name="fees", capacity=2, per_s=1.25),
        Shape(name="transfers", capacity=3, per_s=3),
        Shape(name="instruments", capacity=10, per_s=5),
        Shape(name="books", capacity=20, per_s=10),
        Shape(name="time", capacity=5, per_s=2.5),
    ),
    costs={
        "create": {"place:{symbol}": 1},
        "cancel": {"cancel:{symbol}": 1},
        "order": {"order": 1},
        "open_orders": {"pending": 1},
        "orders_open": {"pending": 1},
        "orders": {"closed": 1},
        "fills": {"fills": 1},
        "history": {"history": 1},
        "balances": {"balance": 1},
        "markets": {"instruments": 1},
        "fees": {"fees": 1},
        "transfers": {"transfers": 1},
        "time": {"time": 1},
        "book": {"books": 1},
    },
    limit_words={"50011": 2.0, "50061": "place:{symbol}"},
)


# --- Bybit spot, unified account ------------------------------------------------------------------

_BYBIT_EXECUTIONS = 100  # https://bybit-exchange.github.io/docs/v5/order/execution
_BYBIT_ORDERS = 50  # https://bybit-exchange.github.io/docs/v5/order/open-order
_BYBIT_SPAN_MS = 7 * _DAY_MS
# Our subscription to the private stream; its acknowledgement repeats the name and says nothing else.
_BYBIT_PRIVATE = "private"


def _bybit_result(body: object, part: str) -> bool:
    """Say whether a body has no error and a result with this list."""
    return (
        isinstance(body, dict)
        and body.get("retCode") == 0
        and isinstance(body.get("result"), dict)
        and isinstance(body["result"].get(part), list)
    )


async def _bybit_pages(
    question: Callable[[dict[str, object]], Awaitable[Any]], request: Mapping[str, object], pages: int
) -> tuple[list[Any], int]:
    """Read to the page without a next one; return the rows, raw, and how many pages that took.

    A next page is named even when it is empty.
    """
    rows: list[Any] = []
    cursor: dict[str, object] = {}
    for page in range(1, pages + 1):
        body = await question({**request, **cursor})
        if not _bybit_result(body, "list"):
            raise CannotSay(f"no list in {body!r:.200}")
        found, after = body["result"]["list"], body["result"].get("nextPageCursor")
        rows.extend(found)
        if not after or len(found) < int(str(request["limit"])):
            return rows, page
        cursor = {"cursor": after}
    raise CannotSay(f"more than {len(rows)} rows")


async def _bybit_executions(
    ask: Ask, what: str, ccxt_exchange: Any, request: Mapping[str, object], start: int, end: int
) -> list[Any]:
    """Read seven days at a time, for no question may span more, each to its last page; the rows are raw."""

    async def page(request: dict[str, object]) -> Any:
        return await ask(what, partial(ccxt_exchange.privateGetV5ExecutionList, request))

    rows: dict[str, Any] = {}  # an execution on the border of two spans is in both
    pages = PAGES_MAX
    while pages > 0:
        until = min(start + _BYBIT_SPAN_MS, end)
        span = {"startTime": start, "endTime": until, "limit": _BYBIT_EXECUTIONS}
        found, taken = await _bybit_pages(page, {"category": "spot", **request, **span}, pages)
        rows.update((row["execId"], row) for row in found)
        pages -= taken
        if until >= end:
            return list(rows.values())
        start = until
    raise CannotSay(f"traded too much or asked about too late: {len(rows)} trades read")


async def _bybit_fills(ask: Ask, ccxt_exchange: Any, symbol: str, exchange_order_id: str) -> FillsRead | None:
    """Read the order for what is filled and when, then its executions of that time."""
    order = await ask("order", partial(ccxt_exchange.fetch_order, exchange_order_id, symbol))
    if order is None:  # not among the open and the last 500
        closed, name = ccxt_exchange.fetch_canceled_and_closed_orders, {"orderId": exchange_order_id}
        found = await ask("closed_orders", partial(closed, symbol, None, None, name))
        order = next((one for one in found if one["id"] == exchange_order_id), None)
    if order is None:
        return None
    # An order of last month may have been filled then, and no question without times reaches so far.
    start, end = order["timestamp"], order["lastUpdateTimestamp"] + 1000
    rows = await _bybit_executions(ask, "fills", ccxt_exchange, {"orderId": exchange_order_id}, start, end)
    trades = ccxt_exchange.parse_trades(rows, ccxt_exchange.market(symbol))
    return FillsRead(trades=trades, expected=order["filled"])


async def _bybit_history(ask: Ask, ccxt_exchange: Any, symbol: str, since_ms: int, now_ms: int) -> list[Any]:
    market = ccxt_exchange.market(symbol)
    request = {"symbol": market["id"], "execType": "Trade"}
    rows = await _bybit_executions(ask, "history", ccxt_exchange, request, since_ms, now_ms)
    names = {row["orderId"]: row.get("orderLinkId") or None for row in rows}
    trades = ccxt_exchange.parse_trades(rows, market)
    return [{**trade, "clientOrderId": names[trade["order"]]} for trade in trades]


async def _bybit_names(
    ask: Ask, ccxt_exchange: Any, symbol: str, exchange_order_ids: Collection[str]
) -> dict[str, str | None]:
    """Learn nothing more: each trade of the history has its order's client id."""
    return {}


async def _bybit_open_orders(ccxt_exchange: Any) -> list[Any]:
    rows, _ = await _bybit_pages(
        ccxt_exchange.privateGetV5OrderRealtime, {"category": "spot", "limit": _BYBIT_ORDERS}, PAGES_MAX
    )
    orders: list[Any] = ccxt_exchange.parse_orders(rows)
    return orders


async def _bybit_fees(ccxt_exchange: Any) -> Fees:
    """Ask for the account's own fees of all pairs; ccxt's method refuses to for spot.

    https://bybit-exchange.github.io/docs/v5/account/fee-rate
    """
    answer = await ccxt_exchange.privateGetV5AccountFeeRate({"category": "spot"})
    return {
        ccxt_exchange.safe_symbol(row["symbol"], None, None, "spot"): (
            Decimal(row["makerFeeRate"]),
            Decimal(row["takerFeeRate"]),
        )
        for row in answer["result"]["list"]
    }


_BYBIT_ENDINGS = {
    "Filled": Ending.FILLED,
    "Cancelled": Ending.CANCELED,
    "PartiallyFilledCanceled": Ending.CANCELED,
    "Deactivated": Ending.CANCELED,
    "Rejected": Ending.REJECTED,
}
_BYBIT_OPEN = {"New", "PartiallyFilled", "Untriggered", "Triggered"}


def _is_bybit_private(frame: Any) -> bool:
    return isinstance(frame, dict) and frame.get("topic") in ("order", "execution")


def _bybit_stream(ccxt_exchange: Any, frame: Any) -> Iterator[FillReport | OrderStatus]:
    """Read the rows of `order` and `execution`.

    https://bybit-exchange.github.io/docs/v5/websocket/private/order and .../private/execution
    """
    for row in frame["data"]:
        if row["category"] != "spot":
            continue
        symbol = ccxt_exchange.safe_symbol(row["symbol"], None, None, "spot")
        client_order_id = row.get("orderLinkId") or None
        if frame["topic"] == "execution":
            if row["execType"] == "Trade":
                trade = ccxt_exchange.parse_trade(row, ccxt_exchange.market(symbol))
                yield fill_of(trade, order_id=None, client_order_id=client_order_id)
            continue
        status = row["orderStatus"]
        ending = _BYBIT_ENDINGS.get(status)
        if ending is None and status not in _BYBIT_OPEN:
            continue
        side = Side(row["side"].lower())
        # The quantity of a market order may be an amount of money; without a word for it, a buy's is.
        unit = row.get("marketUnit") or ("quoteCoin" if side is Side.BUY else "baseCoin")
        in_quote = row["orderType"] == "Market" and unit == "quoteCoin"
        reason = row.get("rejectReason")
        yield OrderStatus(
            order_id=None,
            found=Found.OPEN if ending is None else Found.CLOSED,
            exchange_order_id=row["orderId"],
            client_order_id=client_order_id,
            symbol=symbol,
            filled_quantity=Decimal(row["cumExecQty"] or "0"),
            ending=ending,
            side=side,
            quantity=None if in_quote else Decimal(row["qty"]),
            reason=None if reason in (None, "", "EC_NoError") else reason,
        )


def _is_bybit_trades(frame: Any) -> bool:
    return isinstance(frame, dict) and str(frame.get("topic")).startswith("publicTrade.")


def _bybit_trades(ccxt_exchange: Any, frame: Any, now: datetime) -> Iterator[PublicTrade]:
    """Read `publicTrade`, every message of which is called a snapshot; none tells of the past.

    https://bybit-exchange.github.io/docs/v5/websocket/public/trade
    """
    for row in frame["data"]:
        yield PublicTrade(
            symbol=ccxt_exchange.safe_symbol(row["s"], None, None, "spot"),
            price=Decimal(row["p"]),
            quantity=Decimal(row["v"]),
            side=Side(row["S"].lower()),
            at=now,
        )


def _bybit_subscription(frame: Any) -> bool | None:
    """Say whether our subscription to the private stream was taken; None when this is about another."""
    if not isinstance(frame, dict) or frame.get("op") != "subscribe" or frame.get("req_id") != _BYBIT_PRIVATE:
        return None
    return frame.get("success") is True


def _bybit_cancelled(body: object) -> bool:
    return isinstance(body, dict) and body.get("retCode") == 0 and _has(body.get("result"), orderId=str)


BYBIT = Dialect(
    exchange="bybit",
    ccxt_id="bybit",
    options={
        "defaultType": "spot",
        "fetchMarkets": {"types": ["spot"]},
        # What else the first private call of an account would ask for (VENUES.md 2).
        "enableUnifiedMargin": False,
        "enableUnifiedAccount": True,
        "unifiedMarginStatus": 6,
        "fetchOrder": {"acknowledged": True},  # we know that it sees the last 500 only
        "recvWindow": 3000,
    },
    fetches_currencies=False,
    fee_mode="received",
    client_id_style="uuid",
    # ccxt draws the timestamp when it signs, up to two seconds after `send`; three more from there, and one
    # that a timestamp may be ahead. https://bybit-exchange.github.io/docs/v5/guide
    recv_window_s=6.0,
    expiry=lambda venue_now, seconds: {},
    said=bybit_said,
    refusals=BYBIT_ANY,
    create_refusals=BYBIT_CREATE,
    cancel_refusals=BYBIT_CANCEL,
    absent=BYBIT_ABSENT,
    # The open ones and the last 500 of the others; then the rest. ccxt's fetch_order knows the first only.
    by_client_id=(
        Lookup(method="fetch_open_orders", parameter="orderLinkId", gives_list=True),
        Lookup(
            method="fetch_canceled_and_closed_orders",
            parameter="orderLinkId",
            gives_list=True,
            cost="closed_orders",
        ),
    ),
    by_exchange_id=(
        Lookup(method="fetch_order"),
        Lookup(
            method="fetch_canceled_and_closed_orders",
            parameter="orderId",
            gives_list=True,
            cost="closed_orders",
        ),
    ),
    cancel_parameter="orderLinkId",
    open_orders=_bybit_open_orders,
    whole={
        **dict.fromkeys(
            ("order", "open_orders", "closed_orders", "fills", "history", "balances", "markets", "fees"),
            lambda body: _bybit_result(body, "list"),
        ),
        "transfers": lambda body: _bybit_result(body, "rows"),
        "book": lambda body: _bybit_result(body, "b") and _bybit_result(body, "a"),
        "time": lambda body: _has(body, retCode=int, time=int),
    },
    cancelled=_bybit_cancelled,
    fills_of=_bybit_fills,
    history_of=_bybit_history,
    names_of=_bybit_names,
    fees=_bybit_fees,
    read_stream=_bybit_stream,
    is_private=_is_bybit_private,
    # ccxt subscribes to the orders alone; the fills are a topic of their own.
    watch_orders={"params": {"args": ["order", "execution"], "req_id": _BYBIT_PRIVATE}},
    stream_subscribed=lambda frame: _bybit_subscription(frame) is True,
    stream_over=lambda frame: _bybit_subscription(frame) is False,
    private_ws=lambda ccxt_exchange: ccxt_exchange.implode_hostname(
        ccxt_exchange.urls["api"]["ws"]["private"]["contract"]
    ),
    is_trades=_is_bybit_trades,
    read_trades=_bybit_trades,
    trades_apart=False,  # ccxt could not unsubscribe them on a connection of their own
    book_depth=50,  # ccxt unsubscribes from this depth, whatever was subscribed
    # So many a second for each account and path: half as a bucket and half as its refill never exceeds that.
    # An address has 600 in five seconds. https://bybit-exchange.github.io/docs/v5/rate-limit
    shapes=(
        Shape(name="create", capacity=10, per_s=10),
        Shape(name="cancel", capacity=10, per_s=10),
        Shape(name="realtime", capacity=25, per_s=25),
        Shape(name="closed", capacity=25, per_s=25),
        Shape(name="executions", capacity=25, per_s=25),
        Shape(name="wallet", capacity=25, per_s=25),
        Shape(name="slow", capacity=2, per_s=1),
        Shape(name="address", capacity=300, per_s=60, reserve=20),
    ),
    costs={
        "create": {"create": 1, "address": 1},
        "cancel": {"cancel": 1, "address": 1},
        "order": {"realtime": 1, "address": 1},
        "open_orders": {"realtime": 2, "address": 2},
        "closed_orders": {"closed": 1, "address": 1},
        "fills": {"executions": 1, "address": 1},
        "history": {"executions": 1, "address": 1},
        "balances": {"wallet": 1, "address": 1},
        "fees": {"slow": 1, "address": 1},
        "transfers": {"slow": 1, "address": 1},
        "markets": {"address": 1},
        "time": {"address": 1},
        "book": {"address": 1},
    },
    # Ten minutes without a request is what lifts the ban of an address.
    limit_words={"10006": 1.0, "10018": 600.0, "403": 600.0},
    transfers_page=50,
)


DIALECTS: dict[str, Dialect] = {dialect.exchange: dialect for dialect in (BINANCE, KRAKEN, BYBIT, OKX)}
