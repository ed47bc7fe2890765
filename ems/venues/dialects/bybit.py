"""Bybit v5 spot, unified account: what ccxt is told, what an answer means, how an order is found again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

from ems.core.depth import Change, rows
from ems.core.instrument import MarketStatus, Rules
from ems.core.messages import (
    AmendRequest,
    Ending,
    FillReport,
    Found,
    NewOrder,
    OrderStatus,
    PriceBounds,
    PublicTrade,
    Refusal,
    Side,
)
from ems.venues.dialects.bybit_linear import BYBIT_LINEAR, LINEAR, LINEAR_SETTLED
from ems.venues.dialects.dialect import (
    DAY_MS,
    PAGES_MAX,
    STOPS,
    Amending,
    Ask,
    BookFeed,
    CannotSay,
    Dialect,
    Fees,
    FillsRead,
    KeyPowers,
    Listing,
    Lookup,
    Pause,
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
    with_swaps,
)
from ems.venues.dialects.tickers import ticker_day
from ems.venues.errors import Refusals, Said, coded, of_orders
from ems.venues.limiter import Scope, Shape, Window
from ems.venues.translation import fill_of, from_ms


def bybit_said(status: int, body: object) -> tuple[Said, ...]:
    """Read `{"retCode": 170131, "retMsg": "..."}`; it comes with a 200, and 0 is no error.

    A 403 without JSON is Bybit's front, which has heard too much of this address.
    https://bybit-exchange.github.io/docs/v5/error and .../v5/rate-limit
    """
    if status == 403 and body is None:
        return (Said("403", "access too frequent"),)
    if not (200 <= status < 300 or 400 <= status < 500) or not isinstance(body, dict):
        return ()
    code, message, result = body.get("retCode"), body.get("retMsg"), body.get("result")
    if not isinstance(code, int) or isinstance(code, bool) or code == 0 or not isinstance(message, str):
        return ()
    if isinstance(result, dict) and result.get("orderId"):
        return ()  # an error that names an order: something was done, so this is no clean no
    return (Said(str(code), message),)


# Too little to call an order refused: see `errors.of_orders`.
_OF_THE_FRONT = frozenset({"10006", "10018", "403"})

# https://bybit-exchange.github.io/docs/v5/error; its messages vary, its codes are exact.
# Not here, so unknown: 10000 10016 170001 170007 170032 170146 170149 170234 (not finished), 429 and 10429
# (overload), 10014 (a request seen before), and 110072 170141, duplicate ids: the first one arrived.
BYBIT_ANY: Refusals = {
    **dict.fromkeys(coded(10003, 10004, 10005, 10007, 10008, 10010, 10024, 10027, 33004), Refusal.AUTH),
    **dict.fromkeys(coded(10006, 10018, 403), Refusal.RATE_LIMIT),
    **dict.fromkeys(coded(10002), Refusal.CLOCK),
    **dict.fromkeys(coded(10001, 10017, 10029, 170105, 170121, 170130, 170227), Refusal.PERMANENT),
}

BYBIT_CREATE: Refusals = {
    **of_orders(BYBIT_ANY, _OF_THE_FRONT),
    **dict.fromkeys(coded(170005, 170222), Refusal.RATE_LIMIT),
    **dict.fromkeys(coded(110004, 110007, 110012, 170033, 170131), Refusal.INSUFFICIENT_FUNDS),
    **dict.fromkeys(coded(110094, 170136, 170140), Refusal.MIN_SIZE),
    **dict.fromkeys(coded(110017), Refusal.PERMANENT),  # reduce-only, and nothing to reduce
    **dict.fromkeys(coded(170134, 170137, 170148), Refusal.LOT_TICK),
    **dict.fromkeys(coded(170218), Refusal.POST_ONLY_WOULD_CROSS),
    **dict.fromkeys(coded(170151, 170217), Refusal.MARKET_CLOSED),
    # Type, side and time in force; too large; a price too far away; what this account or pair may not do.
    **dict.fromkeys(coded(170115, 170116, 170117, 170124, 170135), Refusal.PERMANENT),
    **dict.fromkeys(coded(110003, 170132, 170133, 170192, 170193, 170194), Refusal.PERMANENT),
    **dict.fromkeys(coded(170197, 170198, 170228, 170229, 170371, 170372), Refusal.PERMANENT),
    **dict.fromkeys(coded(170202, 170203, 170204, 170206), Refusal.PERMANENT),  # of triggers
    **dict.fromkeys(coded(110020, 170157, 170201, 170209, 170210, 170810), Refusal.PERMANENT),
}

BYBIT_AMEND: Refusals = {
    **of_orders(BYBIT_ANY, _OF_THE_FRONT),
    **dict.fromkeys(coded(110001, 170139, 170142, 170143, 170190, 170213), Refusal.UNKNOWN_ORDER),
    **dict.fromkeys(coded(110004, 110007, 110012, 170033, 170131), Refusal.INSUFFICIENT_FUNDS),
    **dict.fromkeys(coded(110094, 170136, 170140), Refusal.MIN_SIZE),
    **dict.fromkeys(coded(170134, 170137), Refusal.LOT_TICK),
    **dict.fromkeys(coded(170218), Refusal.POST_ONLY_WOULD_CROSS),
    **dict.fromkeys(coded(170151, 170217), Refusal.MARKET_CLOSED),
    **dict.fromkeys(coded(170124, 170132, 170133, 170135, 170192, 170193, 170194), Refusal.PERMANENT),
}

BYBIT_CANCEL: Refusals = {
    **BYBIT_ANY,
    # Not there, filled, cancelled before, finished: who wants to know which asks for the order.
    **dict.fromkeys(coded(110001, 170139, 170142, 170143, 170190, 170213), Refusal.UNKNOWN_ORDER),
}

# An order that is not there is an empty list; Bybit has no words for it when it is asked.
BYBIT_ABSENT: frozenset[tuple[str, str]] = frozenset()


_BYBIT_EXECUTIONS = 100  # https://bybit-exchange.github.io/docs/v5/order/execution
_BYBIT_ORDERS = 50  # https://bybit-exchange.github.io/docs/v5/order/open-order
_BYBIT_SPAN_MS = 7 * DAY_MS
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


def _bybit_category(ccxt_exchange: Any, symbol: str) -> str:
    return LINEAR if ccxt_exchange.market(symbol)["swap"] else "spot"


def _bybit_categories(ccxt_exchange: Any) -> list[dict[str, object]]:
    """Return how all orders of this connection are asked for."""
    spot: dict[str, object] = {"category": "spot"}
    return [spot, dict(LINEAR_SETTLED)] if with_swaps(ccxt_exchange) else [spot]


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
        found, taken = await _bybit_pages(page, {**request, **span}, pages)
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
    request = {"category": _bybit_category(ccxt_exchange, symbol), "orderId": exchange_order_id}
    rows = await _bybit_executions(ask, "fills", ccxt_exchange, request, start, end)
    trades = ccxt_exchange.parse_trades(rows, ccxt_exchange.market(symbol))
    return FillsRead(trades=trades, expected=order["filled"])


async def _bybit_history(ask: Ask, ccxt_exchange: Any, symbol: str, since_ms: int, now_ms: int) -> list[Any]:
    market = ccxt_exchange.market(symbol)
    category = _bybit_category(ccxt_exchange, symbol)
    request = {"category": category, "symbol": market["id"], "execType": "Trade"}
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
    orders: list[Any] = []
    for category in _bybit_categories(ccxt_exchange):
        asked = {**category, "limit": _BYBIT_ORDERS}
        rows, _ = await _bybit_pages(ccxt_exchange.privateGetV5OrderRealtime, asked, PAGES_MAX)
        kind = "spot" if category["category"] == "spot" else "swap"
        orders += [
            ccxt_exchange.parse_order(row, ccxt_exchange.safe_market(row["symbol"], None, None, kind))
            for row in rows
        ]
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
        spot = row["category"] == "spot"
        if not spot and not (row["category"] == LINEAR and with_swaps(ccxt_exchange)):
            continue
        symbol = ccxt_exchange.safe_symbol(row["symbol"], None, None, "spot" if spot else "swap")
        if symbol not in ccxt_exchange.markets:
            continue  # of a kind that is not traded here
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
        in_quote = spot and row["orderType"] == "Market" and unit == "quoteCoin"
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
        # Only trades of contracts say in which direction they moved the price.
        kind = "swap" if "L" in row else "spot"
        yield PublicTrade(
            symbol=ccxt_exchange.safe_symbol(row["s"], None, None, kind),
            price=Decimal(row["p"]),
            quantity=Decimal(row["v"]),
            side=Side(row["S"].lower()),
            at=now,
        )


def _bybit_book(ccxt_exchange: Any, frame: Any, url: str) -> Iterator[tuple[str, Change]]:
    """Read `orderbook`: its messages count up by one. A snapshot in between begins the book anew.

    https://bybit-exchange.github.io/docs/v5/websocket/public/orderbook
    """
    data = frame["data"]
    yield (
        ccxt_exchange.safe_symbol(data["s"], None, None, "swap" if url.endswith(LINEAR) else "spot"),
        Change(
            bids=rows(data["b"]),
            asks=rows(data["a"]),
            # After a restart of the service the count begins again, with a snapshot.
            snapshot=frame["type"] == "snapshot" or data["u"] == 1,
            first=data["u"],
            last=data["u"],
            told_at=from_ms(frame["ts"]),
        ),
    )


def _bybit_subscription(frame: Any) -> bool | None:
    """Say whether our subscription to the private stream was taken; None when this is about another."""
    if not isinstance(frame, dict) or frame.get("op") != "subscribe" or frame.get("req_id") != _BYBIT_PRIVATE:
        return None
    return frame.get("success") is True


def _bybit_cancelled(body: object) -> bool:
    return isinstance(body, dict) and body.get("retCode") == 0 and has(body.get("result"), orderId=str)


async def _bybit_powers(ccxt_exchange: Any) -> KeyPowers:
    """https://bybit-exchange.github.io/docs/v5/user/apikey-info ; 1970 is a key without an end."""
    told = (await ccxt_exchange.privateGetV5UserQueryApi())["result"]
    granted = told["permissions"]
    until = datetime.fromisoformat(told["expiredAt"])
    return KeyPowers(
        trade=told["readOnly"] == 0 and "SpotTrade" in (granted.get("Spot") or ()),
        withdraw="Withdraw" in (granted.get("Wallet") or ()),
        ip_restricted="*" not in told["ips"],
        expires_at=until if until.year > 1970 else None,
    )


async def _bybit_past_orders(
    ask: Ask, ccxt_exchange: Any, symbol: str | None, since: int, until: int
) -> list[Any]:
    """Read what is open, then what ended, of seven days at most.

    https://bybit-exchange.github.io/docs/v5/order/order-list
    """
    rows: dict[str, Any] = {}  # what ends in between is in both
    for what, method, span in (
        ("open_orders", ccxt_exchange.privateGetV5OrderRealtime, {"openOnly": 0}),
        ("closed_orders", ccxt_exchange.privateGetV5OrderHistory, {"startTime": since, "endTime": until}),
    ):
        page = partial(_bybit_asked, ask, what, method)
        found, _ = await _bybit_pages(page, {"category": "spot", "limit": _BYBIT_ORDERS, **span}, PAGES_MAX)
        rows.update((row["orderId"], row) for row in found)
    orders: list[Any] = ccxt_exchange.parse_orders(list(rows.values()))
    return orders


async def _bybit_asked(ask: Ask, what: str, method: Any, request: dict[str, object]) -> Any:
    return await ask(what, partial(method, request))


async def _bybit_tier(ccxt_exchange: Any) -> Tier:
    """https://bybit-exchange.github.io/docs/v5/user/apikey-info"""
    return Tier(name=(await ccxt_exchange.privateGetV5UserQueryApi())["result"]["vipLevel"])


async def _bybit_amend(ccxt_exchange: Any, request: AmendRequest) -> Any:
    """Amend an order. https://bybit-exchange.github.io/docs/v5/order/amend-order"""
    asked = {
        "category": "spot",
        "symbol": ccxt_exchange.market(request.symbol)["id"],
        **named(request, "orderLinkId", "orderId"),
        **terms(request, quantity="qty", price="price", stop_price="triggerPrice"),
    }
    return await ccxt_exchange.privatePostV5OrderAmend(asked)


async def _bybit_cancel_all(
    ask: Ask, ccxt_exchange: Any, orders: tuple[OrderStatus, ...], symbol: str | None
) -> None:
    """Cancel kind by kind: without a filter only those that do not wait are cancelled.

    https://bybit-exchange.github.io/docs/v5/order/cancel-all
    """
    where = {} if symbol is None else {"symbol": ccxt_exchange.market(symbol)["id"]}
    method = ccxt_exchange.privatePostV5OrderCancelAll
    contract = symbol is not None and _bybit_category(ccxt_exchange, symbol) == LINEAR
    kinds: list[dict[str, object]] = []
    if not contract:
        kinds += [
            {"category": "spot", "orderFilter": kind, **where} for kind in ("Order", "tpslOrder", "StopOrder")
        ]
    if contract or (symbol is None and with_swaps(ccxt_exchange)):
        kinds.append({**LINEAR_SETTLED, **where})  # all kinds at once
    await each(ask("cancel_all", partial(method, kind)) for kind in kinds)


async def _bybit_last_price(ccxt_exchange: Any, symbol: str) -> Decimal | None:
    last: Decimal | None = (await ccxt_exchange.fetch_ticker(symbol))["last"]
    return last or None


def _bybit_create_words(order: NewOrder) -> Mapping[str, object]:
    """End a new order that would meet one of this account's, and leave that one alone.

    https://bybit-exchange.github.io/docs/v5/smp
    """
    return {"smpType": "CancelTaker"}


def _bybit_rules(info: Mapping[str, Any]) -> Rules:
    """Read an instrument. The band of prices is drawn around an index, every moment anew: `_bybit_bounds`.

    https://bybit-exchange.github.io/docs/v5/market/instrument ; 500 spot orders in all, and 30 of each kind
    that waits in each market, of which ours are all of one: TP/SL orders.
    https://bybit-exchange.github.io/docs/v5/order/create-order
    """
    sizes = info["lotSizeFilter"]
    return Rules(
        status=MarketStatus.OPEN if info["status"] == "Trading" else MarketStatus.HALTED,
        max_market_quantity=limit_in(sizes, "maxMarketOrderQty"),
        max_post_only_quantity=limit_in(sizes, "postOnlyMaxLimitOrderSize"),
        max_open_orders=500,
        max_waiting_orders=30,
    )


async def _bybit_bounds(ccxt_exchange: Any, symbol: str) -> PriceBounds:
    """Read the highest price of a buy and the lowest of a sell.

    https://bybit-exchange.github.io/docs/v5/market/order-price-limit
    """
    told = await ccxt_exchange.public_get_v5_market_price_limit(
        {"category": "spot", "symbol": ccxt_exchange.market(symbol)["id"]}
    )
    row = told["result"]
    return PriceBounds(
        symbol=symbol, highest_buy=limit_in(row, "buyLmt"), lowest_sell=limit_in(row, "sellLmt")
    )


BYBIT = Dialect(
    exchange="bybit",
    ccxt_id="bybit",
    create_words=_bybit_create_words,
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
    rules=_bybit_rules,
    bounds=_bybit_bounds,
    client_id_style="uuid",
    # ccxt draws the timestamp when it signs, up to two seconds after `send`; three more from there, and one
    # that a timestamp may be ahead. https://bybit-exchange.github.io/docs/v5/guide
    recv_window_s=6.0,
    expiry=lambda venue_now, seconds: {},
    words=Words(
        said=bybit_said,
        refusals=BYBIT_ANY,
        create_refusals=BYBIT_CREATE,
        cancel_refusals=BYBIT_CANCEL,
        absent=BYBIT_ABSENT,
    ),
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
        "day": lambda body: _bybit_result(body, "list"),
        **dict.fromkeys(
            ("order", "open_orders", "closed_orders", "fills", "history", "balances", "markets", "fees"),
            lambda body: _bybit_result(body, "list"),
        ),
        "last": lambda body: _bybit_result(body, "list"),
        "funding": lambda body: _bybit_result(body, "list"),
        "bounds": lambda body: has(body, result=dict) and has(body["result"], buyLmt=str, sellLmt=str),
        "cancel_all": lambda body: _bybit_result(body, "list"),
        "transfers": lambda body: _bybit_result(body, "rows"),
        "tier": lambda body: has(body, result=dict) and has(body["result"], vipLevel=str),
        "powers": lambda body: (
            has(body, result=dict) and has(body["result"], permissions=dict, readOnly=int, ips=list)
        ),
        **dict.fromkeys(("positions", "contracts"), lambda body: _bybit_result(body, "list")),
        "account": lambda body: isinstance(body, dict) and has(body.get("result"), marginMode=str),
        "leverage": lambda body: has(body, retCode=int, result=dict),
        "book": lambda body: _bybit_result(body, "b") and _bybit_result(body, "a"),
        "time": lambda body: has(body, retCode=int, time=int),
    },
    cancelled=_bybit_cancelled,
    # https://bybit-exchange.github.io/docs/v5/market/tickers
    day=ticker_day,
    triggers=Triggers(
        types=STOPS,
        # ccxt makes a `tpslOrder` of these, which holds its money while it waits.
        words=stop_words,
        features=stop_word,
        cancel_words={"orderFilter": "tpslOrder"},
        # On spot the direction is not told: it is from the last price to the trigger, wherever that is.
        # https://bybit-exchange.github.io/docs/v5/order/create-order
        last_price=_bybit_last_price,
    ),
    amending=Amending(
        terms=frozenset({"quantity", "price", "stop_price"}),
        send=_bybit_amend,
        done=lambda body, request: (
            isinstance(body, dict)
            and _bybit_cancelled(body)
            and about(body["result"], request, "orderLinkId", "orderId")
        ),
        refusals=BYBIT_AMEND,
    ),
    cancel_all=_bybit_cancel_all,
    fills_of=_bybit_fills,
    history_of=_bybit_history,
    names_of=_bybit_names,
    fees=_bybit_fees,
    past_orders=Listing(
        read=_bybit_past_orders,
        ended_apart=True,
        at_once=timedelta(days=6),
        reach=timedelta(days=729),
        misses="orders that ended without a fill are listed for a day",
    ),
    transfers=Listing(
        read=transfers_by_page(50),
        at_once=timedelta(days=29),
        misses="moves between own accounts are not listed",
    ),
    tier=_bybit_tier,
    powers=_bybit_powers,
    stream=PrivateStream(
        # `dead_man` needs the private stream's topic `dcp`, and an account manager to enable it.
        # https://bybit-exchange.github.io/docs/v5/order/dcp
        read=_bybit_stream,
        is_private=_is_bybit_private,
        # ccxt subscribes to the orders alone; the fills are a topic of their own.
        watch_orders={"params": {"args": ["order", "execution"], "req_id": _BYBIT_PRIVATE}},
        subscribed=lambda frame: _bybit_subscription(frame) is True,
        over=lambda frame: _bybit_subscription(frame) is False,
        url=lambda ccxt_exchange: ccxt_exchange.implode_hostname(
            ccxt_exchange.urls["api"]["ws"]["private"]["contract"]
        ),
    ),
    tape=Tape(
        is_trades=_is_bybit_trades,
        read=_bybit_trades,
        apart=False,  # ccxt could not unsubscribe them on a connection of their own
    ),
    book=BookFeed(
        is_book=lambda frame: isinstance(frame, dict) and str(frame.get("topic")).startswith("orderbook."),
        read=_bybit_book,
    ),
    book_depth=50,  # ccxt unsubscribes from this depth, whatever was subscribed
    limits=RateLimits(
        # So many for each account and path in any second, and 600 for an address in any five: they roll.
        # https://bybit-exchange.github.io/docs/v5/rate-limit
        shapes=(
            Window(name="create", capacity=20, window_s=1),
            Window(name="cancel", capacity=20, window_s=1),
            Window(name="amend", capacity=20, window_s=1),
            Window(name="realtime", capacity=50, window_s=1),
            Window(name="closed", capacity=50, window_s=1),
            Window(name="executions", capacity=50, window_s=1),
            Window(name="wallet", capacity=50, window_s=1),
            Window(name="fees", capacity=5, window_s=1),
            Window(name="positions", capacity=50, window_s=1),
            Window(name="account", capacity=50, window_s=1),
            Window(name="leverage", capacity=10, window_s=1),
            Shape(name="slow", capacity=2, per_s=1),
            Window(name="address", capacity=600, window_s=5, reserve=50, reserve_orders=150, scope=Scope.IP),
        ),
        costs={
            "day": {"address": 1},
            "create": {"create": 1, "address": 1},
            "cancel": {"cancel": 1, "address": 1},
            "cancel_all": {"cancel": 1, "address": 1},
            "amend": {"amend": 1, "address": 1},
            "last": {"address": 1},
            "bounds": {"address": 1},
            "order": {"realtime": 1, "address": 1},
            "open_orders": {"realtime": 2, "address": 2},
            "closed_orders": {"closed": 1, "address": 1},
            "fills": {"executions": 1, "address": 1},
            "history": {"executions": 1, "address": 1},
            "balances": {"wallet": 1, "address": 1},
            "fees": {"fees": 1, "address": 1},
            "transfers": {"slow": 1, "address": 1},
            "tier": {"slow": 1, "address": 1},
            "powers": {"slow": 1, "address": 1},
            "positions": {"positions": 1, "address": 1},
            "account": {"account": 1, "address": 1},
            "contracts": {"address": 1},
            "leverage": {"leverage": 1, "address": 1},
            "funding": {"executions": 1, "address": 1},
            "markets": {"address": 1},
            "time": {"address": 1},
            "book": {"address": 1},
        },
        told=(Told(header="X-Bapi-Limit-Status", counts="left"),),
        reset_header="X-Bapi-Limit-Reset-Timestamp",
        # Ten minutes without a request is what lifts the ban of an address.
        words={
            "10006": "",
            "10018": Pause(seconds=600.0, scope=Scope.IP),
            "403": Pause(seconds=600.0, scope=Scope.IP),
        },
    ),
    derivatives=BYBIT_LINEAR,
)
