"""Kraken spot: what ccxt is told, what an answer means, how an order is found again."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import ccxt

from ems.core.depth import Change, Row, digits_checksum
from ems.core.instrument import MarketStatus, Rules
from ems.core.messages import (
    AmendRequest,
    Ending,
    FillReport,
    Found,
    Liquidity,
    NewOrder,
    OrderStatus,
    PublicTrade,
    Refusal,
    Side,
)
from ems.venues.dialects.dialect import (
    PAGES_MAX,
    STOPS,
    Amending,
    Ask,
    BookFeed,
    CannotSay,
    DeadMan,
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
    Triggers,
    Words,
    each,
    has,
    named,
    stop_word,
    stop_words,
    terms,
    transfers_by_page,
)
from ems.venues.dialects.tickers import ticker_day
from ems.venues.errors import Refusals, Said, of_orders
from ems.venues.limiter import Places, Scope, Shape


def kraken_said(status: int, body: object) -> tuple[Said, ...]:
    """Read `{"error": ["EOrder:Insufficient funds"]}`; it comes with a 200.

    https://docs.kraken.com/api/docs/guides/spot-errors
    """
    if not (200 <= status < 300 or 400 <= status < 500) or not isinstance(body, dict):
        return ()
    errors = body.get("error")
    if not isinstance(errors, list) or not all(isinstance(one, str) for one in errors):
        return ()
    if body.get("result"):
        return ()  # an error beside a result: something was done, so this is no clean no
    return tuple(Said(_kraken_code(one), one) for one in errors)


# Too little to call an order refused: see `errors.of_orders`.
_OF_THE_FRONT = frozenset(
    {"EAPI:Rate limit exceeded", "EGeneral:Too many requests", "EGeneral:Temporary lockout"}
)


def _exactly(words: str) -> tuple[str, str]:
    return _kraken_code(words), words


def _kraken_code(words: str) -> str:
    return ":".join(words.split(":")[:2])


# https://docs.kraken.com/api/docs/guides/spot-errors
# Not here, so unknown: EService:Unavailable, EService:Busy, EGeneral:Internal error, EService:Throttled,
# whatever is said about a cl_ord_id in use, and EService:Deadline elapsed ("the request timed out": that says
# that the answer was late, not whether the order was).
KRAKEN_ANY: Refusals = {
    _exactly("EAPI:Invalid key"): Refusal.AUTH,
    _exactly("EAPI:Invalid signature"): Refusal.AUTH,
    _exactly("EGeneral:Permission denied"): Refusal.AUTH,
    _exactly("ESession:Invalid session"): Refusal.AUTH,
    _exactly("ETrade:User Locked"): Refusal.AUTH,
    _exactly("EAPI:Invalid nonce"): Refusal.CLOCK,
    _exactly("EAPI:Rate limit exceeded"): Refusal.RATE_LIMIT,
    _exactly("EGeneral:Too many requests"): Refusal.RATE_LIMIT,
    _exactly("EGeneral:Temporary lockout"): Refusal.RATE_LIMIT,
    _exactly("EGeneral:Invalid arguments"): Refusal.PERMANENT,
    _exactly("EQuery:Unknown asset pair"): Refusal.PERMANENT,
    _exactly("EQuery:Invalid asset pair"): Refusal.PERMANENT,
}

# Adding an order does not count against the REST counter: only the matching engine's own limit refuses one.
KRAKEN_CREATE: Refusals = {
    **of_orders(KRAKEN_ANY, _OF_THE_FRONT),
    _exactly("EOrder:Insufficient funds"): Refusal.INSUFFICIENT_FUNDS,
    _exactly("EOrder:Order minimum not met"): Refusal.MIN_SIZE,
    _exactly("EOrder:Cost minimum not met"): Refusal.MIN_SIZE,
    _exactly("EGeneral:Invalid arguments:volume minimum not met"): Refusal.MIN_SIZE,
    _exactly("EGeneral:Invalid arguments:volume"): Refusal.LOT_TICK,
    _exactly("EGeneral:Invalid arguments:price"): Refusal.LOT_TICK,
    ("EOrder:Invalid price", None): Refusal.LOT_TICK,  # goes on with the pair and its decimals
    _exactly("EOrder:Tick size check failed"): Refusal.LOT_TICK,
    _exactly("EOrder:Post only order"): Refusal.POST_ONLY_WOULD_CROSS,
    _exactly("EOrder:Rate limit exceeded"): Refusal.RATE_LIMIT,
    _exactly("EOrder:Orders limit exceeded"): Refusal.PERMANENT,
    _exactly("EOrder:Trading agreement required"): Refusal.PERMANENT,
    _exactly("EGeneral:Invalid arguments:ordertype"): Refusal.PERMANENT,
    _exactly("EGeneral:Invalid arguments:cl_ord_id"): Refusal.PERMANENT,
    _exactly("EGeneral:Invalid arguments:deadline"): Refusal.CLOCK,
    _exactly("EService:Market in cancel_only mode"): Refusal.MARKET_CLOSED,
    _exactly("EService:Market in post_only mode"): Refusal.MARKET_CLOSED,
    _exactly("EService:Market in limit_only mode"): Refusal.MARKET_CLOSED,
}

KRAKEN_AMEND: Refusals = {
    **KRAKEN_CREATE,
    _exactly("EOrder:Unknown order"): Refusal.UNKNOWN_ORDER,
    _exactly("EOrder:Invalid order"): Refusal.UNKNOWN_ORDER,
    _exactly("EGeneral:Invalid arguments:order_qty"): Refusal.LOT_TICK,
    _exactly("EGeneral:Invalid arguments:limit_price"): Refusal.LOT_TICK,
    _exactly("EGeneral:Invalid arguments:trigger_price"): Refusal.LOT_TICK,
    _exactly("EGeneral:Invalid arguments:txid"): Refusal.PERMANENT,
}

KRAKEN_CANCEL: Refusals = {
    **KRAKEN_ANY,
    _exactly("EOrder:Unknown order"): Refusal.UNKNOWN_ORDER,
    _exactly("EOrder:Invalid order"): Refusal.UNKNOWN_ORDER,
    _exactly("EOrder:Rate limit exceeded"): Refusal.RATE_LIMIT,
}

# "Invalid order" is said of an id that Kraken never gave out.
KRAKEN_ABSENT = frozenset((words, words) for words in ("EOrder:Unknown order", "EOrder:Invalid order"))


def _kraken_result(body: object, kind: Any, part: str | None = None) -> bool:
    """Say whether a body has no errors and a result of this kind, or a part of it that is a dict."""
    if not isinstance(body, dict) or body.get("error") != [] or not isinstance(body.get("result"), kind):
        return False
    return part is None or isinstance(body["result"].get(part), dict)


_BATCH = 50  # https://docs.kraken.com/api-reference/trading/cancel-order-batch
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


_BOOK_DEPTH = 100


def _kraken_book(ccxt_exchange: Any, frame: Any, url: str) -> Iterator[tuple[str, Change]]:
    """Read the rows of `book`. No number, but a checksum with each, made of the digits as they are written.

    https://docs.kraken.com/exchange/api-reference/spot-websocket-v2/book
    """
    for row in frame["data"]:
        told_at = row.get("timestamp")  # not in every snapshot
        yield (
            row["symbol"],
            Change(
                bids=_kraken_rows(row["bids"]),
                asks=_kraken_rows(row["asks"]),
                snapshot=frame["type"] == "snapshot",
                checksum=row["checksum"],
                told_at=None if told_at is None else datetime.fromisoformat(told_at),
            ),
        )


def _kraken_rows(levels: Any) -> tuple[Row, ...]:
    return tuple((_digits(level["price"]), _digits(level["qty"])) for level in levels)


def _digits(number: object) -> str:
    text = str(number)
    return format(Decimal(text), "f") if "e" in text.lower() else text


async def _kraken_unsubscribe_book(ccxt_exchange: Any, symbol: str) -> None:
    client = ccxt_exchange.client(ccxt_exchange.urls["api"]["ws"]["publicV2"])
    asked = {"channel": "book", "symbol": [symbol], "depth": _BOOK_DEPTH}
    await client.send({"method": "unsubscribe", "params": asked})
    name = ccxt_exchange.get_message_hash("orderbook", None, symbol)
    client.subscriptions.pop(name, None)
    if name in client.futures:
        client.reject(ccxt.UnsubscribeError(f"{name} unsubscribed"), name)


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

    https://docs.kraken.com/api-reference/trading/add-order
    """
    deadline = venue_now + timedelta(seconds=max(2.0, seconds))
    return {"deadline": deadline.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")}


def _kraken_cancelled(body: object) -> bool:
    """Read `{"count": 1}`; nought is no cancel."""
    return isinstance(body, dict) and _kraken_result(body, dict) and (body["result"].get("count") or 0) > 0


async def _kraken_powers(ccxt_exchange: Any) -> KeyPowers:
    """https://docs.kraken.com/api-reference/account-data/get-api-key-info"""
    told = (await ccxt_exchange.privatePostGetApiKeyInfo())["result"]
    until = int(told.get("validUntil") or 0)
    return KeyPowers(
        trade="modify-trades" in told["permissions"],
        withdraw="withdraw-funds" in told["permissions"],
        ip_restricted=bool(told.get("ipAllowlist")),
        expires_at=datetime.fromtimestamp(until, UTC) if until else None,
    )


async def _kraken_arm(ccxt_exchange: Any, seconds: int) -> Any:
    """https://docs.kraken.com/api-reference/trading/cancel-all-orders-after : 60 s, said every 15 to 30 s."""
    return await ccxt_exchange.privatePostCancelAllOrdersAfter({"timeout": seconds})


async def _kraken_past_orders(
    ask: Ask, ccxt_exchange: Any, symbol: str | None, since: int, until: int
) -> list[Any]:
    """Read what is open, then what ended, 50 at a time, by the time it was opened.

    In this order: what ends in between is in both, not in neither.
    https://docs.kraken.com/api-reference/account-data/get-closed-orders : `start` is exclusive.
    """
    body = await ask("open_orders", ccxt_exchange.privatePostOpenOrders)
    rows: dict[str, Any] = body["result"]["open"]
    span = {"start": since // 1000 - 1, "end": until // 1000 + 1, "closetime": "open"}
    ended: dict[str, Any] = {}
    offset = 0
    while True:
        asked = {**span, "ofs": offset}
        body = await ask("past_orders", partial(ccxt_exchange.privatePostClosedOrders, asked))
        page, count = body["result"]["closed"], int(body["result"]["count"])
        if count > PAGES_MAX * _HISTORY_PAGE:  # a page costs seconds: none is read to be thrown away
            raise CannotSay(f"{count} orders in all markets")
        ended.update(page)
        offset += len(page)
        if offset >= count or not page:
            break
    if len(ended) < count:
        raise CannotSay(f"{len(ended)} of {count} orders were to be had")
    rows = {**rows, **ended}
    orders: list[Any] = ccxt_exchange.parse_orders([{**row, "id": txid} for txid, row in rows.items()])
    return orders


async def _kraken_tier(ccxt_exchange: Any) -> Tier:
    """https://docs.kraken.com/api-reference/account-data/get-trade-volume"""
    told = (await ccxt_exchange.privatePostTradeVolume())["result"]
    return Tier(
        volume_30d=Decimal(told["volume"]), currency=ccxt_exchange.safe_currency_code(told["currency"])
    )


async def _kraken_amend(ccxt_exchange: Any, request: AmendRequest) -> Any:
    """Amend an order where it is. One that is to be no larger than what it has traded is cancelled by that.

    https://docs.kraken.com/api-reference/trading/amend-order
    """
    names = {"quantity": "order_qty", "price": "limit_price", "stop_price": "trigger_price"}
    asked = {**named(request, "cl_ord_id", "txid"), **terms(request, **names)}
    return await ccxt_exchange.privatePostAmendOrder(asked)


async def _kraken_cancel_all(
    ask: Ask, ccxt_exchange: Any, orders: tuple[OrderStatus, ...], symbol: str | None
) -> None:
    """Cancel all in all markets by one call; those of one market by name, 50 at a time."""
    if symbol is None:
        await ask("cancel_all", ccxt_exchange.privatePostCancelAll)
        return
    names = [one.exchange_order_id for one in orders]
    batches = [names[start : start + _BATCH] for start in range(0, len(names), _BATCH)]
    await each(ask("cancel_all", partial(ccxt_exchange.cancel_orders, some, symbol)) for some in batches)


def _kraken_create_words(order: NewOrder) -> Mapping[str, object]:
    """End a new order that would meet one of this account's (`stptype`), and leave that one alone.

    https://docs.kraken.com/api-reference/trading/add-order
    """
    return {"stptype": "cancel-newest"}


_KRAKEN_STATUS = {  # https://docs.kraken.com/api/docs/rest-api/get-tradable-asset-pairs
    "online": MarketStatus.OPEN,
    "limit_only": MarketStatus.LIMIT_ONLY,
    "post_only": MarketStatus.POST_ONLY,
    "cancel_only": MarketStatus.CANCEL_ONLY,
}


def _kraken_rules(info: Mapping[str, Any]) -> Rules:
    """Read an asset pair; `reduce_only` is for margin, and to spot it is closed.

    How many orders may be open depends on the account's level, which is not told: 60, 80 or 225 in each pair.
    More than the most are refused here; for the other levels Kraken says so itself.
    https://docs.kraken.com/exchange/guides/general/ratelimits : Open Order Limits
    """
    return Rules(status=_KRAKEN_STATUS.get(info["status"], MarketStatus.HALTED), max_open_orders=225)


KRAKEN = Dialect(
    exchange="kraken",
    ccxt_id="kraken",
    create_words=_kraken_create_words,
    # ccxt cuts trade ids by itself and asks for no id at all after a full batch; we cut them.
    options={"fetchOrderTrades": {"batchSize": 1000}},
    fee_mode="quote",
    rules=_kraken_rules,
    client_id_style="uuid",
    recv_window_s=5.0,
    expiry=_kraken_expiry,
    words=Words(
        said=kraken_said,
        refusals=KRAKEN_ANY,
        create_refusals=KRAKEN_CREATE,
        cancel_refusals=KRAKEN_CANCEL,
        absent=KRAKEN_ABSENT,
    ),
    # fetch_order(None, ..., clientOrderId) sends `txid=None&userref=<id>` (VENUES.md 1.3).
    by_client_id=(
        Lookup(method="fetch_open_orders", gives_list=True, cost="open_orders"),
        Lookup(method="fetch_closed_orders", gives_list=True, cost="closed_orders"),
    ),
    whole={
        **dict.fromkeys(
            ("order", "fills", "balances", "markets", "fees", "book", "time", "day", "cancel_all"),
            lambda body: _kraken_result(body, dict),
        ),
        "open_orders": lambda body: _kraken_result(body, dict, "open"),
        "past_orders": lambda body: _kraken_result(body, dict, "closed"),
        "tier": lambda body: _kraken_result(body, dict) and has(body["result"], volume=str, currency=str),
        "closed_orders": lambda body: _kraken_result(body, dict, "closed"),
        "history": lambda body: _kraken_result(body, dict, "trades"),
        "transfers": lambda body: _kraken_result(body, list | dict),
        "powers": lambda body: _kraken_result(body, dict) and has(body["result"], permissions=list),
        "dead_man": lambda body: _kraken_result(body, dict) and has(body["result"], triggerTime=str),
    },
    cancelled=_kraken_cancelled,
    # https://docs.kraken.com/api/docs/rest-api/get-ticker-information
    day=ticker_day,
    triggers=Triggers(types=STOPS, words=stop_words, features=stop_word),
    amending=Amending(
        terms=frozenset({"quantity", "price", "stop_price"}),
        send=_kraken_amend,
        # It tells only its own number, not the order's.
        done=lambda body, request: (
            isinstance(body, dict) and _kraken_result(body, dict) and has(body["result"], amend_id=str)
        ),
        refusals=KRAKEN_AMEND,
    ),
    cancel_all=_kraken_cancel_all,
    fills_of=_kraken_fills,
    history_of=_kraken_history,
    names_of=_kraken_names,
    fees=_kraken_fees,
    past_orders=Listing(read=_kraken_past_orders, at_once=timedelta(days=30), ended_apart=True),
    transfers=Listing(read=transfers_by_page(500), at_once=timedelta(days=90)),
    tier=_kraken_tier,
    powers=_kraken_powers,
    dead_man=DeadMan(arm=_kraken_arm, timeout_s=60, every_s=15),
    stream=PrivateStream(
        read=_kraken_stream,
        is_private=lambda frame: isinstance(frame, dict) and frame.get("channel") == "executions",
        subscribed=_kraken_subscribed,
        over=lambda frame: False,
        url=lambda ccxt_exchange: ccxt_exchange.urls["api"]["ws"]["privateV2"],
    ),
    tape=Tape(
        is_trades=_is_kraken_trades,
        read=_kraken_trades,
        apart=True,
    ),
    book_depth=_BOOK_DEPTH,
    book=BookFeed(
        is_book=lambda frame: isinstance(frame, dict) and frame.get("channel") == "book",
        read=_kraken_book,
        levels_max=_BOOK_DEPTH,
        checksum=digits_checksum,
        levels_summed=10,
        unsubscribe=_kraken_unsubscribe_book,
    ),
    limits=RateLimits(
        # An account of the intermediate level; the lowest has 15 at 0.33/s and 60 at 1/s, and says so.
        # Adding and cancelling have a counter of their own, per pair.
        # https://docs.kraken.com/api/docs/guides/spot-rest-ratelimits and .../spot-ratelimits
        shapes=(
            Shape(name="counter", capacity=20, per_s=0.5),
            Shape(name="engine", capacity=125, per_s=2.34, cancels_wait=False),
            # A cancel is never refused and may count eight: none may overtake an order that was let through.
            # Signed requests go one by one anyway (`nonce_lane`), and wait as long for one that hangs.
            Places(name="trading", capacity=1, hold_s=1.0),
            Shape(name="public", capacity=5, per_s=1, scope=Scope.IP),
        ),
        costs={
            "day": {"public": 1},
            "create": {"engine:{symbol}": 1, "trading": 1},
            "cancel": {"engine:{symbol}": 8, "trading": 1},
            "cancel_all": {"counter": 1},
            # One, and three more for an order younger than 5 s.
            "amend": {"engine:{symbol}": 4, "trading": 1},
            "order": {"counter": 1},
            "closed_orders": {"counter": 1},
            "past_orders": {"counter": 1},
            "tier": {"counter": 1},
            "fills": {"counter": 2},
            "history": {"counter": 2},
            "open_orders": {"counter": 1},
            "balances": {"counter": 1},
            "markets": {"public": 2},
            "fees": {"counter": 1},
            "transfers": {"counter": 2},
            "powers": {"counter": 1},
            "dead_man": {"counter": 1},
            "time": {"public": 1},
            "book": {"public": 1},
            "unasked": {"counter": 1},  # the token of the private stream, whenever ccxt wants one
        },
        cancel_ages={"engine": ((5, 8), (10, 6), (15, 5), (45, 4), (90, 2), (300, 1))},
        words={
            "EAPI:Rate limit exceeded": "counter",
            "EOrder:Rate limit exceeded": "engine:{symbol}",
            "EGeneral:Temporary lockout": Pause(seconds=900.0, scope=Scope.ACCOUNT),
        },
    ),
    nonce_lane=True,
    # Two hosts with the same path would become one connection on one host.
    ws_paths={"publicV2": "/pub/v2", "privateV2": "/auth/v2"},
    tick_key="tick_size",
    time_resolution_s=1.0,  # `unixtime` is in whole seconds
)
