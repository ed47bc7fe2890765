"""OKX v5 spot: what ccxt is told, what an answer means, how an order is found again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

from ems.core.depth import Change, alternating_checksum, rows
from ems.core.instrument import MarketStatus, Rules
from ems.core.messages import (
    AmendRequest,
    Ending,
    FillReport,
    Found,
    Liquidity,
    NewOrder,
    OrderStatus,
    OrderType,
    PriceBounds,
    PublicTrade,
    Refusal,
    Side,
    TimeInForce,
)
from ems.venues.dialects.dialect import (
    DAY_MS,
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
    PrivateStream,
    RateLimits,
    Tape,
    Tier,
    Triggers,
    Words,
    about,
    contract_size,
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
from ems.venues.dialects.okx_swaps import (
    OKX_SWAPS,
    ContractWire,
    in_base,
    kind_of,
    symbol_of,
)
from ems.venues.dialects.tickers import ticker_day
from ems.venues.errors import Refusals, Said, of_orders
from ems.venues.limiter import Scope, Window
from ems.venues.translation import from_ms


def okx_said(status: int, body: object) -> tuple[Said, ...]:
    """Read `{"code": "1", "data": [{"sCode": "51008", "sMsg": "..."}], "msg": ""}`.

    Code 1 is that of refused rows, any other one above 2 is of the request as a whole and has no rows.
    https://www.okx.com/docs-v5/en/#error-code-rest-api
    """
    if not (200 <= status < 300 or 400 <= status < 500) or not isinstance(body, dict):
        return ()
    code, message, rows = body.get("code"), body.get("msg"), body.get("data")
    if not isinstance(code, str) or not isinstance(message, str):
        return ()
    told = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    codes = [row["sCode"] for row in told if isinstance(row.get("sCode"), str)]
    if codes and all(one != "0" for one in codes):
        return tuple(Said(row["sCode"], str(row.get("sMsg"))) for row in told if "sCode" in row)
    # Code 2, something done beside something refused, is on no list: that is no clean no.
    return () if code == "0" else (Said(code, message),)


# Too little to call an order refused: see `errors.of_orders`.
_OF_THE_FRONT = frozenset({"50011"})

# https://www.okx.com/docs-v5/en/#error-code-rest-api . An error is known by its code; the words carry numbers
# and names, and were changed more than once. Not here, so unknown: 1 and 2 without a row, 50001 50004 50005
# 50013 50026 51054 51149 (busy, broken, timed out), and 51016, a client id in use.
OKX_ANY: Refusals = {
    **{
        (str(code), None): Refusal.AUTH
        for code in (
            *(50007, 50008, 50009, 50012, 50027, 50029, 50030, 50035, 50100, 50101),
            *(50103, 50104, 50105, 50106, 50107, 50110, 50111, 50113, 50114, 50119),
            *(50120, 50121, 51024),
        )
    },
    ("50102", None): Refusal.CLOCK,
    ("50112", None): Refusal.CLOCK,
    ("50011", None): Refusal.RATE_LIMIT,
    **{
        (str(code), None): Refusal.PERMANENT
        for code in (50000, 50002, 50006, 50014, 50015, 50016, 50024, 50025, 50115, 51000, 51001, 51003)
    },
}

OKX_CREATE: Refusals = {
    **of_orders(OKX_ANY, _OF_THE_FRONT),
    ("50036", None): Refusal.CLOCK,  # the `expTime` had passed
    ("50061", None): Refusal.RATE_LIMIT,  # of the account's orders, said for the order itself
    ("51000", "Parameter px error"): Refusal.LOT_TICK,
    ("51121", None): Refusal.LOT_TICK,
    ("51020", None): Refusal.MIN_SIZE,
    ("51120", None): Refusal.MIN_SIZE,
    ("50122", None): Refusal.MIN_SIZE,
    ("51008", None): Refusal.INSUFFICIENT_FUNDS,
    ("51127", None): Refusal.INSUFFICIENT_FUNDS,
    ("51131", None): Refusal.INSUFFICIENT_FUNDS,
    **{(str(code), None): Refusal.MARKET_CLOSED for code in (51021, 51022, 51087, 51110, 51124)},
    **{
        (str(code), None): Refusal.PERMANENT
        for code in (
            *(51277, 51278, 51279, 51280),  # a trigger on the wrong side of the last price
            *(50028, 50032, 50033, 50052, 51005, 51006, 51010, 51025, 51033, 51056, 51102, 51109),
            *(51116, 51122, 51137, 51138, 51174, 51201, 51202, 51203, 51204),
            *(51112, 51113, 51169, 51170, 51205),  # reduce-only, and nothing or too little to reduce
        )
    },
}

OKX_AMEND: Refusals = {
    **of_orders(OKX_ANY, _OF_THE_FRONT),
    ("50061", None): Refusal.RATE_LIMIT,
    **{(str(code), None): Refusal.UNKNOWN_ORDER for code in (51503, 51509, 51510, 51527, 51603)},
    ("51502", None): Refusal.INSUFFICIENT_FUNDS,
    ("51511", None): Refusal.POST_ONLY_WOULD_CROSS,
    ("51000", "Parameter newPx error"): Refusal.LOT_TICK,
    ("51000", "Parameter newSz error"): Refusal.LOT_TICK,
    ("51121", None): Refusal.LOT_TICK,
    ("51020", None): Refusal.MIN_SIZE,
    ("51120", None): Refusal.MIN_SIZE,
    **{(str(code), None): Refusal.MARKET_CLOSED for code in (51021, 51022, 51124, 51508)},
    **{(str(code), None): Refusal.PERMANENT for code in (51005, 51500, 51501, 51506)},
}

# 51410 (being cancelled already, or settled) says nothing of how that ends.
OKX_CANCEL: Refusals = {
    **OKX_ANY,
    # 51603: asked about before it is cancelled, an algo order is not there.
    **{(str(code), None): Refusal.UNKNOWN_ORDER for code in (51400, 51401, 51402, 51603)},
    ("51407", None): Refusal.PERMANENT,
}

# Written with a full stop on the page, and without one on the wire.
OKX_ABSENT = frozenset((("51603", "Order does not exist"), ("51603", "Order does not exist.")))


def _okx_rows(body: object, **parts: type) -> bool:
    """Say whether a body is a list of OKX's without an error, whose rows have these parts, of these kinds."""
    if not isinstance(body, dict) or body.get("code") != "0" or not isinstance(body.get("data"), list):
        return False
    return all(has(row, **parts) for row in body["data"])


def _okx_some(body: object, **parts: type) -> bool:
    """The same, and there is a row."""
    return isinstance(body, dict) and bool(body.get("data")) and _okx_rows(body, **parts)


def _okx_cancelled(body: object) -> bool:
    """Read a row without an error code; it says that the cancel was taken on."""
    return isinstance(body, dict) and _okx_some(body, ordId=str) and body["data"][0].get("sCode") == "0"


_OKX_PAGE = 100
_OKX_ALGOS = ("conditional", "trigger")  # the kinds that we place, and that anybody may have


async def _okx_pages(
    ask: Ask,
    what: str,
    question: Callable[[Any], Awaitable[Any]],
    request: Mapping[str, object],
    number: str,
    enough: Callable[[list[Any]], bool] = lambda rows: False,
) -> list[Any]:
    """Read 100 rows at a time, newest first, until a page is not full or enough; pages go by `number`.

    https://www.okx.com/docs-v5/en/#overview-pagination
    """
    found: dict[str, Any] = {}
    asked = {**request, "limit": _OKX_PAGE}
    for _ in range(PAGES_MAX):
        answer = await ask(what, partial(question, dict(asked)))
        rows = answer["data"]
        found.update((row[number], row) for row in rows)
        if len(rows) < _OKX_PAGE or enough(rows):
            return list(found.values())
        asked["after"] = rows[-1][number]
    raise CannotSay(f"there is more than the {len(found)} rows of {what} that were read")


def _okx_market(ccxt_exchange: Any, symbol: str) -> dict[str, object]:
    inst_id = ccxt_exchange.market(symbol)["id"]
    return {"instType": kind_of(inst_id).upper(), "instId": inst_id}


def _okx_kinds(ccxt_exchange: Any) -> tuple[str, ...]:
    """Return the kinds of instruments that are traded on this connection."""
    return ("SPOT", "SWAP") if with_swaps(ccxt_exchange) else ("SPOT",)


def _okx_read(ccxt_exchange: Any, symbol: str, rows: list[Any]) -> list[Any]:
    """Read rows of fills as ccxt's trades; where nothing was charged, both parts of a fee may be empty."""
    base, _, quote = symbol.partition(":")[0].partition("/")
    received = {"buy": base, "sell": quote}
    whole = [
        {**row, "fee": row["fee"] or "0", "feeCcy": row["feeCcy"] or received[row["side"]]} for row in rows
    ]
    trades: list[Any] = ccxt_exchange.parse_trades(whole)
    return trades


class OkxWire(ContractWire):
    """ccxt's OKX, for which an algo order and the order it places are one, under the algo order's number.

    ccxt reads that number first wherever there is one, so that what was told when the order was sent stays
    true when it is triggered. What it does not know: their names, that nothing of one is filled while it
    waits, and how one is found and cancelled whichever it is just now.
    """

    def parse_trading_balance(self, response: Any) -> Any:
        """Count the cash of a currency: ccxt counts its equity, in which unrealised profits are.

        https://www.okx.com/docs-v5/en/#trading-account-rest-api-get-balance
        """
        parsed = super().parse_trading_balance(response)  # type: ignore[misc]
        ex: Any = self
        for row in response["data"][0]["details"]:
            code = ex.safe_currency_code(row["ccy"])
            total = Decimal(row.get("cashBal") or row["eq"])
            free = min(Decimal(row.get("availBal") or row.get("availEq") or total), total)
            parsed[code] |= {"total": total, "free": free, "used": total - free}
            for part in ("total", "free", "used"):
                parsed[part][code] = parsed[code][part]
        return parsed

    def parse_order(self, order: Any, market: Any = None) -> Any:
        parsed = super().parse_order(order, market)
        if order.get("algoClOrdId"):
            parsed["clientOrderId"] = order["algoClOrdId"]
        if order.get("algoId") and "accFillSz" not in order and order.get("state") is not None:
            parsed["filled"] = Decimal(0)
            parsed["status"] = _OKX_WAITING.get(order["state"])
            limits = (order.get(f"{kind}OrdPx") for kind in ("sl", "tp"))
            parsed["price"] = next((Decimal(one) for one in limits if one and one != "-1"), None)
        return parsed

    async def fetch_algo_order(self, id: str | None, symbol: str, params: Any = None) -> Any:
        """Return an algo order, or the order that it has placed."""
        ex: Any = self
        name = (params or {}).get("algoClOrdId")
        row = await self._algo(id, name)
        if row["state"] != "effective":
            return ex.parse_order(row, ex.market(symbol))
        placed = {"instId": row["instId"], "ordId": row["ordId"]}
        answer = await ex.privateGetTradeOrder(placed)
        return ex.parse_order(answer["data"][0], ex.market(symbol))

    async def cancel_order(self, id: str | None, symbol: str | None = None, params: Any = None) -> Any:
        ex: Any = self
        asked = dict(params or {})
        if not asked.pop("algo", False):
            return await super().cancel_order(id, symbol, asked)  # type: ignore[misc]
        row = await self._algo(id, asked.get("clientOrderId"))
        if row["state"] == "effective":
            gone = await super().cancel_order(row["ordId"], symbol)  # type: ignore[misc]
            return {**gone, "id": row["algoId"]} if gone["id"] == row["ordId"] else gone
        answer = await ex.privatePostTradeCancelAlgos([{"instId": row["instId"], "algoId": row["algoId"]}])
        return ex.parse_order(answer["data"][0], ex.market(symbol))

    async def _algo(self, algo_id: str | None, name: str | None) -> Any:
        ex: Any = self
        which = {"algoId": algo_id} if algo_id is not None else {"algoClOrdId": name}
        answer = await ex.privateGetTradeOrderAlgo(which)
        return answer["data"][0]


async def _okx_fills(ask: Ask, ccxt_exchange: Any, symbol: str, exchange_order_id: str) -> FillsRead | None:
    """Read the order for what is filled, then its fills: those of three days are listed first, and apart.

    https://www.okx.com/docs-v5/en/#order-book-trading-trade-get-transaction-details-last-3-days
    """
    order = await ask("order", partial(ccxt_exchange.fetch_order, exchange_order_id, symbol))
    if order is None:
        order = await ask("algo", partial(ccxt_exchange.fetch_algo_order, exchange_order_id, symbol))
    if order is None:
        return None
    trades: list[Any] = []
    number = order["info"].get("ordId")
    if not number:
        return FillsRead(trades=[], expected=order["filled"])  # it waits, or placed no order
    request = {**_okx_market(ccxt_exchange, symbol), "ordId": number}
    for what, method in (
        ("fills", ccxt_exchange.privateGetTradeFills),
        ("history", ccxt_exchange.privateGetTradeFillsHistory),
    ):
        if sum((trade["amount"] for trade in trades), Decimal(0)) < order["filled"]:
            rows = await _okx_pages(ask, what, method, request, "billId")
            trades = _okx_read(ccxt_exchange, symbol, rows)
    trades = [{**trade, "order": exchange_order_id} for trade in trades if trade["order"] == number]
    return FillsRead(trades=trades, expected=order["filled"])


async def _okx_history(ask: Ask, ccxt_exchange: Any, symbol: str, since_ms: int, now_ms: int) -> list[Any]:
    request = {**_okx_market(ccxt_exchange, symbol), "begin": since_ms}
    recent = now_ms - since_ms < 2 * DAY_MS
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
            names.update((row["ordId"], row.get("clOrdId") or row.get("algoClOrdId") or None) for row in rows)
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
# State of an algo order -> ccxt's word: one that has placed an order is as open as that.
_OKX_WAITING = {
    "live": "open",
    "pause": "open",
    "partially_effective": "open",
    "effective": "open",
    "canceled": "canceled",
    "order_failed": "rejected",
}


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
    if _okx_channel(frame, "orders-algo"):
        yield from _okx_algos(ccxt_exchange, frame)
        return
    for row in frame["data"]:
        if row.get("instType") not in _okx_kinds(ccxt_exchange):
            continue
        symbol = symbol_of(ccxt_exchange, row["instId"])
        size = contract_size(ccxt_exchange, symbol)
        client_order_id = row.get("clOrdId") or row.get("algoClOrdId") or None
        number = row.get("algoId") or row["ordId"]  # as `OkxWire` has it
        side = Side(row["side"])
        # What the exchange itself closes is no fill of anybody: the position shows it, and the alarm is due.
        forced = row.get("category") in ("full_liquidation", "partial_liquidation", "adl")
        if row.get("tradeId") and not forced:
            yield FillReport(
                fill_id=row["tradeId"],
                exchange_order_id=number,
                client_order_id=client_order_id,
                symbol=symbol,
                side=side,
                price=Decimal(row["fillPx"]),
                quantity=Decimal(row["fillSz"]) * size,
                # Empty where nothing was charged.
                fee=-Decimal(row["fillFee"] or 0),
                fee_currency=ccxt_exchange.safe_currency_code(
                    row["fillFeeCcy"] or symbol.partition(":")[0].split("/")[side is Side.SELL]
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
            exchange_order_id=number,
            client_order_id=client_order_id,
            symbol=symbol,
            filled_quantity=Decimal(row["accFillSz"]) * size,
            ending=ending,
            side=side,
            # The size of an order by its cost is an amount of the other currency.
            quantity=None if row.get("tgtCcy") == "quote_ccy" else Decimal(row["sz"]) * size,
            reason=row.get("cancelSourceReason") or None,
            price=Decimal(row["px"]) if row.get("px") else None,
        )


def _okx_algos(ccxt_exchange: Any, frame: Any) -> Iterator[OrderStatus]:
    """Read the rows of `orders-algo`. What one that was triggered has placed is told by `orders`.

    https://www.okx.com/docs-v5/en/#order-book-trading-algo-trading-ws-algo-orders-channel
    """
    for row in frame["data"]:
        status = _OKX_WAITING.get(row["state"])
        if row.get("instType") != "SPOT" or row["state"] == "effective" or status is None:
            continue
        ending = {"canceled": Ending.CANCELED, "rejected": Ending.REJECTED}.get(status)
        stop_price = row.get("slTriggerPx") or row.get("tpTriggerPx") or row.get("triggerPx")
        yield OrderStatus(
            order_id=None,
            found=Found.OPEN if ending is None else Found.CLOSED,
            exchange_order_id=row["algoId"],
            client_order_id=row.get("algoClOrdId") or None,
            symbol=ccxt_exchange.safe_symbol(row["instId"], None, "-", "spot"),
            filled_quantity=Decimal(0),
            ending=ending,
            side=Side(row["side"]),
            quantity=None if row.get("tgtCcy") == "quote_ccy" else Decimal(row["sz"]),
            reason=row.get("failCode") or None,
            stop_price=Decimal(stop_price) if stop_price else None,
        )


def _okx_trades(ccxt_exchange: Any, frame: Any, now: datetime) -> Iterator[PublicTrade]:
    """Read the rows of `trades`; `side` is the taker's.

    https://www.okx.com/docs-v5/en/#order-book-trading-market-data-ws-trades-channel
    """
    for row in frame["data"]:
        symbol = symbol_of(ccxt_exchange, row["instId"])
        yield PublicTrade(
            symbol=symbol,
            price=Decimal(row["px"]),
            quantity=Decimal(row["sz"]) * contract_size(ccxt_exchange, symbol),
            side=Side(row["side"]),
            at=now,
        )


def _okx_book(ccxt_exchange: Any, frame: Any, url: str) -> Iterator[tuple[str, Change]]:
    """Read the rows of `books`. A message names the one before it.

    The checksum is nought where there is none: so on today's wire, while the recordings of 2022 and their
    page have one. https://www.okx.com/docs-v5/en/#order-book-trading-market-data-ws-order-book-channel
    """
    symbol = symbol_of(ccxt_exchange, frame["arg"]["instId"])
    size = contract_size(ccxt_exchange, symbol)
    for row in frame["data"]:
        yield (
            symbol,
            Change(
                bids=in_base(rows(row["bids"]), size),
                asks=in_base(rows(row["asks"]), size),
                snapshot=frame["action"] == "snapshot",
                follows=row.get("prevSeqId"),
                last=row.get("seqId"),
                # It is of the quantities as they were written.
                checksum=None if size != 1 else row.get("checksum") or None,
                told_at=from_ms(row["ts"]),
            ),
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


async def _okx_powers(ccxt_exchange: Any) -> KeyPowers:
    """https://www.okx.com/docs-v5/en/#trading-account-rest-api-get-account-configuration"""
    told = (await ccxt_exchange.privateGetAccountConfig())["data"][0]
    allowed = told["perm"].split(",")
    return KeyPowers(
        trade="trade" in allowed, withdraw="withdraw" in allowed, ip_restricted=bool(told.get("ip"))
    )


async def _okx_arm(ccxt_exchange: Any, seconds: int) -> Any:
    """https://www.okx.com/docs-v5/en/#order-book-trading-trade-post-cancel-all-after ; 10 to 120 s, or 0."""
    return await ccxt_exchange.privatePostTradeCancelAllAfter({"timeOut": str(seconds)})


async def _okx_past_orders(
    ask: Ask, ccxt_exchange: Any, symbol: str | None, since: int, until: int
) -> list[Any]:
    """Read what waits, what is open, and what ended: of a week where that is told soonest, or of 3 months.

    An algo order that has placed one is told by that; those that never did have a list of their own, by kind
    and state and without times.
    https://www.okx.com/docs-v5/en/#order-book-trading-trade-get-order-history-last-7-days and
    .../#order-book-trading-algo-trading-get-algo-order-history
    """
    recent = ccxt_exchange.milliseconds() - since < 6 * DAY_MS
    listed = (
        ccxt_exchange.privateGetTradeOrdersHistory
        if recent
        else ccxt_exchange.privateGetTradeOrdersHistoryArchive
    )
    spot = {"instType": "SPOT"}
    span = {**spot, "begin": since, "end": until}
    algos = partial(_okx_pages, ask, "past_algos", number="algoId")

    def too_old(rows: list[Any]) -> bool:
        return int(rows[-1]["cTime"]) < since

    read: list[Any] = []
    for kind in _OKX_ALGOS:
        read += await algos(ccxt_exchange.privateGetTradeOrdersAlgoPending, {**spot, "ordType": kind})
    read += await _okx_pages(ask, "orders_open", ccxt_exchange.privateGetTradeOrdersPending, spot, "ordId")
    read += await _okx_pages(ask, "past_orders", listed, span, "ordId")
    for kind in _OKX_ALGOS:
        for state in ("canceled", "order_failed"):
            request = {**spot, "ordType": kind, "state": state}
            read += await algos(ccxt_exchange.privateGetTradeOrdersAlgoHistory, request, enough=too_old)
    # What changed in between is in two of them, and the later one has it as it is.
    rows = {row.get("algoId") or row["ordId"]: row for row in read}
    orders: list[Any] = ccxt_exchange.parse_orders(list(rows.values()))
    return orders


async def _okx_tier(ccxt_exchange: Any) -> Tier:
    """https://www.okx.com/docs-v5/en/#trading-account-rest-api-get-fee-rates"""
    told = (await ccxt_exchange.privateGetAccountTradeFee({"instType": "SPOT"}))["data"][0]
    return Tier(name=told["level"])


def _okx_stop_words(order: NewOrder) -> Mapping[str, object]:
    """Ask for a `conditional` order, which is refused on the wrong side of the last price.

    ccxt would call its account's mode `cross`, and its client id by the name of an order's.
    https://www.okx.com/docs-v5/en/#order-book-trading-algo-trading-post-place-algo-order
    """
    return {
        **stop_words(order),
        "tdMode": "cash",
        "algoClOrdId": order.client_order_id,
        "banAmend": None,
    }


async def _okx_amend(ccxt_exchange: Any, request: AmendRequest) -> Any:
    """Amend an order, or an algo order that waits; one that was triggered is refused as not there.

    https://www.okx.com/docs-v5/en/#order-book-trading-trade-post-amend-order and
    .../#order-book-trading-algo-trading-post-amend-algo-order
    """
    asked: dict[str, object] = {"instId": ccxt_exchange.market(request.symbol)["id"]}
    if not request.order_type.waits:
        asked |= named(request, "clOrdId", "ordId") | terms(request, quantity="newSz", price="newPx")
        return await ccxt_exchange.privatePostTradeAmendOrder(asked)
    loss = request.order_type in (OrderType.STOP_LOSS, OrderType.STOP_LOSS_LIMIT)
    kind = "newSl" if loss else "newTp"
    names = {"quantity": "newSz", "price": f"{kind}OrdPx", "stop_price": f"{kind}TriggerPx"}
    asked |= named(request, "algoClOrdId", "algoId") | terms(request, **names)
    return await ccxt_exchange.privatePostTradeAmendAlgos(asked)


def _okx_amended(body: object, request: AmendRequest) -> bool:
    if not isinstance(body, dict) or not _okx_some(body, sCode=str) or body["data"][0]["sCode"] != "0":
        return False
    names = ("algoClOrdId", "algoId") if request.order_type.waits else ("clOrdId", "ordId")
    return about(body["data"][0], request, *names)


async def _okx_open(
    question: Callable[[Any], Awaitable[Any]], request: Mapping[str, object], number: str
) -> list[Any]:
    """Read a list of open orders to its end, 100 rows at a time; the rows are raw."""
    found: dict[str, Any] = {}
    asked = {**request, "limit": _OKX_PAGE}
    for _ in range(PAGES_MAX):
        answer = await question(dict(asked))
        if not _okx_rows(answer, **{number: str}):
            raise CannotSay(f"no list in {answer!r:.200}")
        rows = answer["data"]
        found.update((row[number], row) for row in rows)
        if len(rows) < _OKX_PAGE:
            return list(found.values())
        asked["after"] = rows[-1][number]
    raise CannotSay(f"more than {len(found)} open orders")


async def _okx_all_open(
    ccxt_exchange: Any, where: Mapping[str, object], kinds: Collection[str]
) -> tuple[list[Any], list[Any]]:
    """Return the open orders and the algo orders that wait, which are listed apart and by kind."""
    orders: list[Any] = []
    algos: list[Any] = []
    for kind in kinds:
        asked = {"instType": kind, **where}
        orders += await _okx_open(ccxt_exchange.privateGetTradeOrdersPending, asked, "ordId")
        for algo in _OKX_ALGOS:
            request = {**asked, "ordType": algo}
            algos += await _okx_open(ccxt_exchange.privateGetTradeOrdersAlgoPending, request, "algoId")
    return orders, algos


async def _okx_open_orders(ccxt_exchange: Any) -> list[Any]:
    orders, algos = await _okx_all_open(ccxt_exchange, {}, _okx_kinds(ccxt_exchange))
    found: list[Any] = ccxt_exchange.parse_orders([*algos, *orders])
    return found


async def _okx_cancel_all(
    ask: Ask, ccxt_exchange: Any, orders: tuple[OrderStatus, ...], symbol: str | None
) -> None:
    """Cancel what is listed, 20 orders and 10 algo orders at a time: there is no call for all of them.

    https://www.okx.com/docs-v5/en/#order-book-trading-trade-post-cancel-multiple-orders
    """
    where: dict[str, object] = {} if symbol is None else {"instId": ccxt_exchange.market(symbol)["id"]}
    kinds = _okx_kinds(ccxt_exchange) if symbol is None else (kind_of(str(where["instId"])).upper(),)
    plain_orders, algos = await ask("open_orders", partial(_okx_all_open, ccxt_exchange, where, kinds))
    batches = [
        (method, [{"instId": row["instId"], number: row[number]} for row in rows[start : start + most]])
        for method, rows, number, most in (
            (ccxt_exchange.privatePostTradeCancelAlgos, algos, "algoId", 10),
            (ccxt_exchange.privatePostTradeCancelBatchOrders, plain_orders, "ordId", 20),
        )
        for start in range(0, len(rows), most)
    ]
    await each(ask("cancel_all", partial(method, rows)) for method, rows in batches)


def _okx_create_words(order: NewOrder) -> Mapping[str, object]:
    """End a new order that would meet one of this account's (`stpMode`), and leave that one alone.

    Orders that wait for a price are another endpoint's, which ignores it; the account's own mode holds.
    https://www.okx.com/docs-v5/en/#order-book-trading-trade-post-place-order
    """
    return {} if order.order_type.waits else {"selfTradePrevention": "EXPIRE_TAKER"}


DOLLARS = frozenset({"USD", "USDT", "USDC"})  # of which one is a dollar, near enough for a largest order


def _okx_rules(info: Mapping[str, Any]) -> Rules:
    """Read an instrument. Its largest orders are told in US dollars, and read where it is traded for these.

    https://www.okx.com/docs-v5/en/#public-data-rest-api-get-instruments ; 500 orders in each:
    https://www.okx.com/help/adjustment-to-pending-order-limit-for-okx-trading-symbols . The band of prices is
    drawn around an index that no book shows, every moment anew: `_okx_bounds`.
    """
    # `post_only` is a state of swaps; a spot market is live, or it takes nothing.
    status = MarketStatus.OPEN if info["state"] == "live" else MarketStatus.HALTED
    in_dollars = info["quoteCcy"] in DOLLARS
    return Rules(
        status=status,
        max_open_orders=500,
        max_notional=limit_in(info, "maxLmtAmt") if in_dollars else None,
        max_market_notional=limit_in(info, "maxMktAmt") if in_dollars else None,
    )


async def _okx_bounds(ccxt_exchange: Any, symbol: str) -> PriceBounds:
    """Read the highest price of a buy and the lowest of a sell; OKX may have none in force.

    https://www.okx.com/docs-v5/en/#public-data-rest-api-get-limit-price ; drawn as on
    https://www.okx.com/help/iii-price-limit-rules
    """
    told = await ccxt_exchange.public_get_public_price_limit({"instId": ccxt_exchange.market(symbol)["id"]})
    row = told["data"][0]
    if not row["enabled"]:
        return PriceBounds(symbol=symbol)
    return PriceBounds(
        symbol=symbol, highest_buy=limit_in(row, "buyLmt"), lowest_sell=limit_in(row, "sellLmt")
    )


OKX = Dialect(
    exchange="okx",
    ccxt_id="okx",
    create_words=_okx_create_words,
    wire=OkxWire,
    options={
        "defaultType": "spot",
        "fetchMarkets": {"types": ["spot"]},
        "createOrder": "privatePostTradeOrder",  # the default sends a list of one
        "tgtCcy": "base_ccy",  # a market buy counts in the quote currency otherwise
    },
    fetches_currencies=False,
    fee_mode="received",
    rules=_okx_rules,
    bounds=_okx_bounds,
    has_passphrase=True,
    client_id_style="hex32",  # letters and digits, at most 32
    # https://www.okx.com/docs-v5/en/#overview-rest-authentication-making-requests
    recv_window_s=30.0,
    expiry=_okx_expiry,
    words=Words(
        said=okx_said,
        refusals=OKX_ANY,
        create_refusals=OKX_CREATE,
        cancel_refusals=OKX_CANCEL,
        absent=OKX_ABSENT,
    ),
    by_client_id=(
        Lookup(method="fetch_order"),
        Lookup(method="fetch_algo_order", parameter="algoClOrdId", cost="algo"),
    ),
    by_exchange_id=(Lookup(method="fetch_order"), Lookup(method="fetch_algo_order", cost="algo")),
    open_orders=_okx_open_orders,
    # https://www.okx.com/docs-v5/en/#order-book-trading-market-data-get-ticker
    day=ticker_day,
    triggers=Triggers(
        types=STOPS,
        times_in_force=frozenset({TimeInForce.GTC}),
        words=_okx_stop_words,
        features=stop_word,
        cancel_words={"algo": True},
        cancelled=lambda body: (
            _okx_cancelled(body) or (isinstance(body, dict) and _okx_some(body, algoId=str, sCode=str))
        ),
        follow=lambda ccxt_exchange: ccxt_exchange.watch_orders(params={"trigger": True}),
    ),
    amending=Amending(
        terms=frozenset({"quantity", "price", "stop_price"}),
        send=_okx_amend,
        done=_okx_amended,
        refusals=OKX_AMEND,
    ),
    cancel_all=_okx_cancel_all,
    whole={
        "day": lambda body: _okx_some(body, vol24h=str, low24h=str, high24h=str),
        "order": lambda body: _okx_some(body, ordId=str, state=str, accFillSz=str),
        "algo": lambda body: (
            _okx_some(body, algoId=str, state=str, sz=str) or _okx_some(body, ordId=str, accFillSz=str)
        ),
        "cancel_all": lambda body: _okx_some(body, sCode=str),
        **dict.fromkeys(
            ("fills", "history"),
            lambda body: _okx_rows(body, ordId=str, tradeId=str, billId=str, side=str, fee=str, feeCcy=str),
        ),
        **dict.fromkeys(
            ("orders", "orders_open", "open_orders", "past_orders"), lambda body: _okx_rows(body, ordId=str)
        ),
        "past_algos": lambda body: _okx_rows(body, algoId=str, state=str, cTime=str),
        "tier": lambda body: _okx_some(body, level=str),
        "bounds": lambda body: _okx_some(body, instId=str, buyLmt=str, sellLmt=str, enabled=bool),
        "balances": lambda body: _okx_some(body, details=list),
        "markets": lambda body: _okx_some(body, instId=str, tickSz=str, lotSz=str),
        "fees": lambda body: _okx_some(body, maker=str, taker=str),
        "transfers": _okx_rows,
        "powers": lambda body: _okx_some(body, perm=str),
        "dead_man": lambda body: _okx_some(body, triggerTime=str),
        "positions": lambda body: _okx_rows(body, instId=str, posSide=str, pos=str, mgnMode=str),
        "contracts": lambda body: _okx_some(body, instId=str, ctVal=str, ctType=str, settleCcy=str),
        "leverage": lambda body: _okx_some(body, instId=str, lever=str),
        "funding": lambda body: _okx_rows(body, billId=str, instId=str, ts=str, balChg=str, ccy=str),
        "book": lambda body: _okx_some(body, bids=list, asks=list),
        "time": lambda body: _okx_some(body, ts=str),
    },
    cancelled=_okx_cancelled,
    fills_of=_okx_fills,
    history_of=_okx_history,
    names_of=_okx_names,
    fees=_okx_fees,
    past_orders=Listing(
        read=_okx_past_orders,
        ended_apart=True,
        at_once=timedelta(days=5),
        reach=timedelta(days=89),
        misses="orders canceled without a fill are listed for two hours",
    ),
    transfers=Listing(
        read=transfers_by_page(100),
        at_once=timedelta(days=30),
        misses="moves between own accounts are not listed",
    ),
    tier=_okx_tier,
    powers=_okx_powers,
    dead_man=DeadMan(arm=_okx_arm, timeout_s=60, every_s=15),
    stream=PrivateStream(
        read=_okx_stream,
        is_private=lambda frame: _okx_channel(frame, "orders") or _okx_channel(frame, "orders-algo"),
        subscribed=_okx_subscribed,
        over=_okx_over,
        url=lambda ccxt_exchange: ccxt_exchange.urls["api"]["ws"] + "/private",
    ),
    tape=Tape(
        is_trades=lambda frame: _okx_channel(frame, "trades"),
        read=_okx_trades,
        apart=False,
    ),
    book_depth=400,  # the channel `books`
    book=BookFeed(
        is_book=lambda frame: _okx_channel(frame, "books"),
        read=_okx_book,
        checksum=alternating_checksum,
        levels_summed=25,
    ),
    limits=RateLimits(
        # Calls of each kind in 2 s (transfers: 1 s), wherever these begin. Orders are counted by market,
        # and all of an account's together; public calls by address. Each call's page says its limit:
        # https://www.okx.com/docs-v5/en/#order-book-trading-trade; an account's orders in all markets:
        # https://www.okx.com/help/fill-ratio-sub-account-rate-limit
        shapes=(
            Window(name="place", capacity=60, window_s=2),
            Window(name="orders", capacity=1000, window_s=2),
            Window(name="cancel", capacity=60, window_s=2),
            Window(name="cancels", capacity=300, window_s=2),
            Window(name="amend", capacity=60, window_s=2),
            Window(name="algo", capacity=20, window_s=2),
            Window(name="algos", capacity=20, window_s=2),
            Window(name="algo_lists", capacity=20, window_s=2),
            Window(name="algo_cancels", capacity=20, window_s=2),
            Window(name="algo_amends", capacity=20, window_s=2),
            Window(name="order", capacity=60, window_s=2),
            Window(name="pending", capacity=60, window_s=2),
            Window(name="closed", capacity=40, window_s=2),
            Window(name="fills", capacity=60, window_s=2),
            Window(name="history", capacity=10, window_s=2),
            Window(name="balance", capacity=10, window_s=2),
            Window(name="fees", capacity=5, window_s=2),
            Window(name="transfers", capacity=6, window_s=1),
            Window(name="instruments", capacity=20, window_s=2, scope=Scope.IP),
            Window(name="ticker", capacity=20, window_s=2, scope=Scope.IP),
            Window(name="bounds", capacity=20, window_s=2, scope=Scope.IP),
            Window(name="books", capacity=40, window_s=2, scope=Scope.IP),
            Window(name="time", capacity=10, window_s=2, scope=Scope.IP),
            Window(name="config", capacity=5, window_s=2),
            Window(name="switch", capacity=1, window_s=1),
            Window(name="positions", capacity=10, window_s=2),
            Window(name="leverage", capacity=40, window_s=2),
            Window(name="bills", capacity=5, window_s=2),
        ),
        costs={
            "day": {"ticker": 1},
            "create": {"place:{symbol}": 1, "orders": 1},
            "create_waiting": {"algo": 1},
            "cancel": {"cancel:{symbol}": 1},
            "cancel_waiting": {"algos": 1, "algo_cancels": 1},
            "cancel_all": {"cancels": 20, "algo_cancels": 1},
            "amend": {"amend:{symbol}": 1, "orders": 1, "algo_amends": 1},
            "order": {"order": 1},
            "algo": {"algos": 1, "order": 1},
            "open_orders": {"pending": 1, "algo_lists": 2},
            "orders_open": {"pending": 1},
            "orders": {"closed": 1},
            "past_orders": {"closed": 1},
            "past_algos": {"algo_lists": 1},
            "tier": {"fees": 1},
            "bounds": {"bounds": 1},
            "fills": {"fills": 1},
            "history": {"history": 1},
            "balances": {"balance": 1},
            "markets": {"instruments": 1},
            "fees": {"fees": 1},
            "transfers": {"transfers": 1},
            "powers": {"config": 1},
            "dead_man": {"switch": 1},
            "positions": {"positions": 1},
            "contracts": {"instruments": 1},
            "leverage": {"leverage": 1},
            "funding": {"bills": 1},
            "time": {"time": 1},
            "book": {"books": 1},
        },
        words={"50011": "", "50061": "orders"},
    ),
    derivatives=OKX_SWAPS,
)
