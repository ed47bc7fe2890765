"""Binance spot: what ccxt is told, what an answer means, how an order is found again."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

from ems.core.depth import Change, rows
from ems.core.instrument import MarketStatus, PriceBand, Rules
from ems.core.messages import (
    AmendRequest,
    Ending,
    FillReport,
    Found,
    Liquidity,
    NewOrder,
    OrderStatus,
    PriceBounds,
    PublicTrade,
    Refusal,
    Side,
)
from ems.venues.dialects.dialect import (
    DAY_MS,
    PAGES_MAX,
    STOPS,
    Amending,
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
    Told,
    Triggers,
    Words,
    about,
    each,
    has,
    limit_in,
    named,
    stop_word,
    stop_words,
    terms,
    transfers_by_page,
    unified_fees,
)
from ems.venues.dialects.tickers import ticker_day
from ems.venues.errors import Refusals, Said, of_orders
from ems.venues.limiter import Scope, Window
from ems.venues.translation import from_ms


def binance_said(status: int, body: object) -> tuple[Said, ...]:
    """Read `{"code": -2010, "msg": "..."}`; it comes with a 4xx, and a code above zero is no error.

    https://developers.binance.com/docs/binance-spot-api-docs/rest-api/general-api-information
    """
    if not 400 <= status < 500 or not isinstance(body, dict):
        return ()
    code, message = body.get("code"), body.get("msg")
    if not isinstance(code, int) or code >= 0 or not isinstance(message, str):
        return ()
    return (Said(str(code), message),)


# Too little to call an order refused: see `errors.of_orders`.
_OF_THE_FRONT = frozenset({"-1003"})

# https://developers.binance.com/docs/binance-spot-api-docs/errors
# Not here, so unknown: -1000 -1001 -1006 -1007 -1008 -1016 (not finished), "Duplicate order sent.".
BINANCE_ANY: Refusals = {
    ("-1002", None): Refusal.AUTH,
    ("-1022", None): Refusal.AUTH,
    ("-2014", None): Refusal.AUTH,
    ("-2015", None): Refusal.AUTH,
    ("-1003", None): Refusal.RATE_LIMIT,
    ("-1015", None): Refusal.RATE_LIMIT,
    ("-1021", None): Refusal.CLOCK,
    ("-1014", None): Refusal.PERMANENT,
    ("-1020", None): Refusal.PERMANENT,
    # The request was not understood: 11xx are checks of parameters, made before the matching engine.
    **{
        (str(-code), None): Refusal.PERMANENT
        for code in (
            1100,
            1101,
            1102,
            1103,
            1104,
            1105,
            1106,
            1108,
            1114,
            1115,
            1116,
            1117,
            1118,
            1119,
            1121,
            1128,
            1130,
        )
    },
    ("-1111", None): Refusal.LOT_TICK,
}

BINANCE_CREATE: Refusals = {
    **of_orders(BINANCE_ANY, _OF_THE_FRONT),
    ("-1112", "No orders on book for symbol."): Refusal.MARKET_CLOSED,
    ("-1013", "Filter failure: LOT_SIZE"): Refusal.LOT_TICK,
    ("-1013", "Filter failure: MARKET_LOT_SIZE"): Refusal.LOT_TICK,
    ("-1013", "Filter failure: PRICE_FILTER"): Refusal.LOT_TICK,
    ("-1013", "Invalid quantity."): Refusal.LOT_TICK,
    ("-1013", "Invalid price."): Refusal.LOT_TICK,
    ("-1013", "Filter failure: MIN_NOTIONAL"): Refusal.MIN_SIZE,
    ("-1013", "Filter failure: NOTIONAL"): Refusal.MIN_SIZE,
    ("-1013", "Price * QTY is zero or less."): Refusal.MIN_SIZE,
    ("-2010", "Price * QTY is zero or less."): Refusal.MIN_SIZE,
    ("-1013", "Filter failure: PERCENT_PRICE"): Refusal.PERMANENT,
    ("-1013", "Filter failure: PERCENT_PRICE_BY_SIDE"): Refusal.PERMANENT,
    ("-1013", "Filter failure: MAX_POSITION"): Refusal.PERMANENT,
    ("-1013", "Filter failure: MAX_NUM_ORDERS"): Refusal.PERMANENT,
    ("-1013", "Filter failure: EXCHANGE_MAX_NUM_ORDERS"): Refusal.PERMANENT,
    ("-1013", "Market is closed."): Refusal.MARKET_CLOSED,
    ("-2010", "Market is closed."): Refusal.MARKET_CLOSED,
    ("-2010", "Account has insufficient balance for requested action."): Refusal.INSUFFICIENT_FUNDS,
    ("-2010", "Order would immediately match and take."): Refusal.POST_ONLY_WOULD_CROSS,
    ("-2010", "Market orders are not supported for this symbol."): Refusal.PERMANENT,
    ("-2010", "Stop price would trigger immediately."): Refusal.PERMANENT,
    ("-2010", "Order would trigger immediately."): Refusal.PERMANENT,
    **{
        ("-2010", f"{kind} orders are not supported for this symbol."): Refusal.PERMANENT
        for kind in ("Stop loss", "Stop loss limit", "Take profit", "Take profit limit")
    },
    ("-1013", "Filter failure: MAX_NUM_ALGO_ORDERS"): Refusal.PERMANENT,
    ("-1013", "Invalid stop price."): Refusal.LOT_TICK,
    ("-2010", "Unsupported order combination"): Refusal.PERMANENT,
    ("-2010", "This action is disabled on this account."): Refusal.AUTH,
    ("-2010", "This account may not place or cancel orders."): Refusal.AUTH,
    ("-2010", "Rest API trading is not enabled."): Refusal.AUTH,
    ("-2010", "This symbol is not permitted for this account."): Refusal.PERMANENT,
    ("-2010", "This symbol is restricted for this account."): Refusal.PERMANENT,
}

# https://developers.binance.com/docs/binance-spot-api-docs/errors
BINANCE_AMEND: Refusals = {
    **of_orders(BINANCE_ANY, _OF_THE_FRONT),
    ("-2038", "Unknown order sent."): Refusal.UNKNOWN_ORDER,
    ("-2038", "Order amend (quantity increase) is not supported."): Refusal.PERMANENT,
    ("-2038", "Order amend is not supported for this symbol."): Refusal.PERMANENT,
    ("-2038", "The requested action would change no state; rejecting."): Refusal.PERMANENT,
    ("-2038", "The requested action would change no state; rejecting"): Refusal.PERMANENT,
    ("-2038", "Filter failure: MAX_NUM_ORDER_AMENDS"): Refusal.PERMANENT,
    ("-2038", "Filter failure: LOT_SIZE"): Refusal.LOT_TICK,
    ("-1013", "Filter failure: LOT_SIZE"): Refusal.LOT_TICK,
    ("-1013", "Filter failure: NOTIONAL"): Refusal.MIN_SIZE,
    ("-1013", "Filter failure: MIN_NOTIONAL"): Refusal.MIN_SIZE,
}

BINANCE_CANCEL: Refusals = {
    **BINANCE_ANY,
    ("-2011", "Unknown order sent."): Refusal.UNKNOWN_ORDER,
    ("-2011", "This action is disabled on this account."): Refusal.AUTH,
    ("-2011", "This account may not place or cancel orders."): Refusal.AUTH,
    ("-2011", "Market is closed."): Refusal.MARKET_CLOSED,
}

# The only answers that mean "there is no such order". -2026 (archived) is not one: that order existed.
BINANCE_ABSENT = frozenset({("-2013", "Order does not exist.")})


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
            page = await span(start, start + DAY_MS - 1)
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
        elif from_id is not None or start + DAY_MS > now_ms:
            return trades
        else:
            start += DAY_MS
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


def _binance_book(ccxt_exchange: Any, frame: Any, url: str) -> Iterator[tuple[str, Change]]:
    """Read `<symbol>@depth`: the numbers of the first and the last change in it.

    "How to manage a local order book correctly" on
    https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams
    """
    yield (
        ccxt_exchange.safe_symbol(frame["s"], None, None, "spot"),
        Change(
            bids=rows(frame["b"]),
            asks=rows(frame["a"]),
            first=frame["U"],
            last=frame["u"],
            told_at=from_ms(frame["E"]),
        ),
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
    return isinstance(body, dict) and has(body, orderId=int) and body.get("status") == "CANCELED"


async def _binance_powers(ccxt_exchange: Any) -> KeyPowers:
    """https://developers.binance.com/docs/wallet/account/api-key-permission"""
    told = await ccxt_exchange.sapiGetAccountApiRestrictions()
    moves = ("enableWithdrawals", "enableInternalTransfer", "permitsUniversalTransfer")
    expires = told.get("tradingAuthorityExpirationTime")
    return KeyPowers(
        trade=told["enableSpotAndMarginTrading"],
        withdraw=any(told.get(name) for name in moves),
        ip_restricted=told["ipRestrict"],
        expires_at=None if expires is None else from_ms(expires),
    )


async def _binance_past_orders(
    ask: Ask, ccxt_exchange: Any, symbol: str | None, since: int, until: int
) -> list[Any]:
    """Read `allOrders` of a day at most; once a page is full, on by order number to the end of the day."""
    market = ccxt_exchange.market(symbol)
    request: dict[str, object] = {"startTime": since, "endTime": until}
    rows: list[Any] = []
    for _ in range(PAGES_MAX):
        asked = {"symbol": market["id"], "limit": _PAGE, **request}
        page = await ask("past_orders", partial(ccxt_exchange.privateGetAllOrders, asked))
        rows.extend(row for row in page if since <= int(row["time"]) <= until)
        if len(page) < _PAGE or int(page[-1]["time"]) > until:
            orders: list[Any] = ccxt_exchange.parse_orders(rows, market)
            return orders
        request = {"orderId": int(page[-1]["orderId"]) + 1}
    raise CannotSay(f"more than {len(rows)} orders in {symbol}")


async def _binance_tier(ccxt_exchange: Any) -> Tier:
    """https://developers.binance.com/docs/wallet/account/account-info"""
    told = await ccxt_exchange.sapiGetAccountInfo()
    return Tier(name=f"VIP {told['vipLevel']}")


async def _binance_bounds(ccxt_exchange: Any, symbol: str) -> PriceBounds:
    """Read what the band of prices is measured from: the average of the last minutes.

    https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints
    """
    told = await ccxt_exchange.public_get_avgprice({"symbol": ccxt_exchange.market(symbol)["id"]})
    return PriceBounds(symbol=symbol, reference=Decimal(str(told["price"])) or None)


async def _binance_amend(ccxt_exchange: Any, request: AmendRequest) -> Any:
    """Make an order smaller; without a name of ours it would get one that nobody knows.

    https://developers.binance.com/docs/binance-spot-api-docs/faqs/order_amend_keep_priority; ccxt has no
    method for it, only its way of signing.
    """
    asked = {
        "symbol": ccxt_exchange.market(request.symbol)["id"],
        **named(request, "origClientOrderId", "orderId"),
        **terms(request, quantity="newQty"),
        "newClientOrderId": request.client_order_id,
    }
    return await ccxt_exchange.request("order/amend/keepPriority", ["private"], "PUT", asked)


async def _binance_cancel_all(
    ask: Ask, ccxt_exchange: Any, orders: tuple[OrderStatus, ...], symbol: str | None
) -> None:
    """Cancel market by market: there is no call for all of them. Those that wait are among them."""
    method = ccxt_exchange.privateDeleteOpenOrders
    names = sorted({ccxt_exchange.market(one.symbol)["id"] for one in orders})
    await each(ask("cancel_all", partial(method, {"symbol": name})) for name in names)


def _binance_create_words(order: NewOrder) -> Mapping[str, object]:
    """End a new order that would meet one of this account's, and leave that one alone.

    https://developers.binance.com/docs/binance-spot-api-docs/faqs/stp_faq
    """
    return {"selfTradePrevention": "EXPIRE_TAKER"}


_BINANCE_STATUS = {  # https://developers.binance.com/docs/binance-spot-api-docs/enums : Symbol status
    "TRADING": MarketStatus.OPEN,
}


def _binance_rules(info: Mapping[str, Any]) -> Rules:
    """Read the filters of exchangeInfo.

    https://developers.binance.com/docs/binance-spot-api-docs/filters ; the reference price of a band is the
    average of its last `avgPriceMins` minutes, which is asked for beside it (`_binance_bounds`).
    """
    filters: dict[str, Any] = {one["filterType"]: one for one in info["filters"]}
    prices, notional = filters.get("PRICE_FILTER", {}), filters.get("NOTIONAL", {})
    least = notional.get("applyMinToMarket", filters.get("MIN_NOTIONAL", {}).get("applyToMarket", True))
    orders = filters.get("MAX_NUM_ORDERS", {}).get("maxNumOrders")
    waiting = filters.get("MAX_NUM_ALGO_ORDERS", {}).get("maxNumAlgoOrders")
    return Rules(
        status=_BINANCE_STATUS.get(info["status"], MarketStatus.HALTED),
        min_price=limit_in(prices, "minPrice"),
        max_price=limit_in(prices, "maxPrice"),
        band=_binance_band(filters),
        max_market_quantity=_least_of(filters, "LOT_SIZE", "MARKET_LOT_SIZE"),
        market_min_notional=bool(least),
        max_notional=limit_in(notional, "maxNotional"),
        market_max_notional=bool(notional.get("applyMaxToMarket", True)),
        max_open_orders=None if orders is None else int(orders),
        max_waiting_orders=None if waiting is None else int(waiting),
    )


def _binance_band(filters: Mapping[str, Any]) -> PriceBand | None:
    by_side, both = filters.get("PERCENT_PRICE_BY_SIDE"), filters.get("PERCENT_PRICE")
    if by_side is not None:
        return PriceBand(
            buy_low=Decimal(by_side["bidMultiplierDown"]),
            buy_high=Decimal(by_side["bidMultiplierUp"]),
            sell_low=Decimal(by_side["askMultiplierDown"]),
            sell_high=Decimal(by_side["askMultiplierUp"]),
        )
    if both is None:
        return None
    low, high = Decimal(both["multiplierDown"]), Decimal(both["multiplierUp"])
    return PriceBand(buy_low=low, buy_high=high, sell_low=low, sell_high=high)


def _least_of(filters: Mapping[str, Any], *names: str) -> Decimal | None:
    found = [limit_in(filters.get(name, {}), "maxQty") for name in names]
    return min((one for one in found if one is not None), default=None)


BINANCE = Dialect(
    exchange="binance",
    ccxt_id="binance",
    create_words=_binance_create_words,
    options={
        "defaultType": "spot",
        "fetchMarkets": {"types": ["spot"]},
        "fetchMargins": False,
        "warnOnFetchOpenOrdersWithoutSymbol": False,
        "recvWindow": 5000,
    },
    fetches_currencies=False,
    rules=_binance_rules,
    bounds=_binance_bounds,
    # The order queries take a symbol beside the number, which counts up for each market apart.
    # https://developers.binance.com/docs/binance-spot-api-docs/rest-api/account-endpoints
    numbers_per_symbol=True,
    fee_mode="received",
    client_id_style="uuid",
    recv_window_s=5.0,
    expiry=_binance_expiry,
    words=Words(
        said=binance_said,
        refusals=BINANCE_ANY,
        create_refusals=BINANCE_CREATE,
        cancel_refusals=BINANCE_CANCEL,
        absent=BINANCE_ABSENT,
    ),
    by_client_id=(Lookup(method="fetch_order"),),
    whole={
        "day": lambda body: has(body, volume=str, lowPrice=str, highPrice=str),
        **dict.fromkeys(
            (
                *("open_orders", "fills", "history", "orders", "past_orders", "transfers", "fees"),
                "cancel_all",
            ),
            lambda body: isinstance(body, list),
        ),
        "order": lambda body: has(body, orderId=int, status=str),
        "balances": lambda body: has(body, balances=list),
        "markets": lambda body: has(body, symbols=list),
        "tier": lambda body: has(body, vipLevel=int),
        "bounds": lambda body: has(body, mins=int, price=str),
        "powers": lambda body: has(
            body, enableWithdrawals=bool, enableSpotAndMarginTrading=bool, ipRestrict=bool
        ),
        "book": lambda body: has(body, bids=list, asks=list),
        "time": lambda body: has(body, serverTime=int),
    },
    cancelled=_binance_cancelled,
    # https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints
    day=ticker_day,
    triggers=Triggers(types=STOPS, words=stop_words, features=stop_word),
    amending=Amending(
        terms=frozenset({"quantity"}),
        shrinks_only=True,
        send=_binance_amend,
        done=lambda body, request: (
            isinstance(body, dict)
            and has(body.get("amendedOrder"), orderId=int, qty=str)
            and about(body["amendedOrder"], request, "clientOrderId", "orderId")
        ),
        refusals=BINANCE_AMEND,
    ),
    cancel_all=_binance_cancel_all,
    fills_of=_binance_fills,
    history_of=_binance_history,
    names_of=_binance_names,
    fees=unified_fees,
    past_orders=Listing(
        read=_binance_past_orders,
        at_once=timedelta(hours=23),  # 24 at most between startTime and endTime
        per_market=True,
        misses="fees are not listed with orders",
    ),
    transfers=Listing(read=transfers_by_page(1000, "endTime"), at_once=timedelta(days=89)),
    tier=_binance_tier,
    powers=_binance_powers,
    stream=PrivateStream(
        read=_binance_stream,
        is_private=lambda frame: bool(_binance_event(frame)),
        subscribed=_binance_subscribed,
        over=lambda frame: _binance_event(frame).get("e") in ("eventStreamTerminated", "serverShutdown"),
        url=lambda ccxt_exchange: ccxt_exchange.urls["api"]["ws"]["ws-api"]["spot"],
    ),
    tape=Tape(
        is_trades=_is_binance_trade,
        read=_binance_trades,
        apart=False,  # ccxt opens a connection for each subscription
    ),
    book_depth=500,
    book=BookFeed(
        is_book=lambda frame: isinstance(frame, dict) and frame.get("e") == "depthUpdate",
        read=_binance_book,
        snapshot_by_rest=True,
    ),
    limits=RateLimits(
        # Every address 6,000 weight a minute; every account 100 orders per 10 s, 200,000 a day
        # (exchangeInfo). The windows begin with the minute, with second 00, 10, 20, with the day in UTC:
        # https://developers.binance.com/docs/binance-spot-api-docs/websocket-api/rate-limits
        shapes=(
            Window(
                name="weight",
                capacity=6000,
                window_s=60,
                aligned=True,
                reserve=200,
                reserve_orders=1000,
                scope=Scope.IP,
            ),
            Window(name="orders", capacity=100, window_s=10, aligned=True),
            Window(name="orders_day", capacity=200_000, window_s=86400, aligned=True),
        ),
        costs={
            "day": {"weight": 2},
            "create": {"weight": 1, "orders": 1, "orders_day": 1},
            "cancel": {"weight": 1},
            "cancel_all": {"weight": 1},
            "amend": {"weight": 4},
            "order": {"weight": 4},
            "fills": {"weight": 20},
            "history": {"weight": 20},
            "orders": {"weight": 20},
            "past_orders": {"weight": 20},
            "tier": {"weight": 1},
            "bounds": {"weight": 2},
            "open_orders": {"weight": 80},
            "balances": {"weight": 20},
            "markets": {"weight": 20},
            "fees": {"weight": 1},
            "transfers": {"weight": 1},
            "powers": {"weight": 1},
            "time": {"weight": 1},
            "book": {"weight": 25},
        },
        # https://developers.binance.com/docs/binance-spot-api-docs/rest-api/limits
        told=(
            Told(header="X-MBX-USED-WEIGHT-1M", bucket="weight"),
            Told(header="X-MBX-ORDER-COUNT-10S", bucket="orders"),
            Told(header="X-MBX-ORDER-COUNT-1D", bucket="orders_day"),
        ),
        words={"-1015": "orders"},
    ),
)
