"""Looking up: what may be believed, and when "not there" is an answer."""

from __future__ import annotations

import asyncio
from collections import deque
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from ems.core.messages import (
    Ending,
    Found,
    LookupFailed,
    OrderStatus,
    QueryBalances,
    QueryOpenOrders,
    Refusal,
    TradesAnswer,
)
from ems.venues.dialects import binance
from simulator.faults import Rule
from tests.venues.gateways import client_id, look_up, new_order, opened, trades_of
from tests.venues.scripted import Reply, ScriptedVenue
from tests.venues.simulated import KEYS, simulated

ORDER = ("GET", "/api/v3/order")
MY_TRADES = ("GET", "/api/v3/myTrades")


def binance_order(number: int, **change: object) -> dict[str, object]:
    return {
        "symbol": "BTCUSDT",
        "orderId": 100 + number,
        "orderListId": -1,
        "clientOrderId": client_id(number),
        "price": "20000.00",
        "origQty": "0.00100000",
        "executedQty": "0.00000000",
        "cummulativeQuoteQty": "0.00",
        "status": "NEW",
        "timeInForce": "GTC",
        "type": "LIMIT",
        "side": "BUY",
        "time": 1507725176595,
        "updateTime": 1507725176595,
        **change,
    }


def binance_trade(trade_id: int, order_id: int, **change: object) -> dict[str, object]:
    return {
        "symbol": "BTCUSDT",
        "id": trade_id,
        "orderId": order_id,
        "price": "20000.00",
        "qty": "0.00010000",
        "quoteQty": "2.00",
        "commission": "0.0000001",
        "commissionAsset": "BTC",
        "time": 1800000000000,
        "isBuyer": True,
        "isMaker": False,
        "isBestMatch": True,
        **change,
    }


def kraken_order(number: int, **change: object) -> dict[str, object]:
    return {
        "status": "open",
        "cl_ord_id": client_id(number),
        "opentm": 1688148493.7708,
        "descr": {"pair": "XBTUSD", "type": "buy", "ordertype": "limit", "price": "20000.0", "price2": "0"},
        "vol": "0.00100000",
        "vol_exec": "0.00000000",
        "cost": "0.00000",
        "fee": "0.00000",
        "price": "0.00000",
        "oflags": "fciq",
        **change,
    }


def kraken_trade(order_id: str, **change: object) -> dict[str, object]:
    return {
        "ordertxid": order_id,
        "pair": "XXBTZUSD",
        "time": 1688667796.8802,
        "type": "buy",
        "ordertype": "limit",
        "price": "20000.00000",
        "cost": "12.00000",
        "fee": "0.04800",
        "vol": "0.00060000",
        "maker": True,
        **change,
    }


def kraken_result(result: object) -> Reply:
    return Reply(body={"error": [], "result": result})


async def answer(
    exchange: str, replies: dict[tuple[str, str], Reply | deque[Reply]], ask: Any
) -> tuple[Any, ScriptedVenue]:
    async with ScriptedVenue(exchange) as venue:
        venue.replies.update(replies)
        async with opened(exchange, venue.base_url, shapes=()) as (gateway, reports):
            gateway.send(ask)
            kinds = (OrderStatus, TradesAnswer, LookupFailed)
            return await reports.next(object, lambda report: isinstance(report, kinds)), venue


BINANCE_LOOKUPS = [
    ("open", Reply(body=binance_order(1)), Found.OPEN),
    (
        "no such order",
        Reply(status=400, body={"code": -2013, "msg": "Order does not exist."}),
        Found.NOT_FOUND,
    ),
    ("almost those words", Reply(status=400, body={"code": -2013, "msg": "Order does not exist"}), None),
    ("archived", Reply(status=400, body={"code": -2026, "msg": "Order was canceled or expired ..."}), None),
    ("another order", Reply(body=binance_order(2)), None),
    ("an order in a state of next year", Reply(body=binance_order(1, status="FROZEN")), None),
    ("without an id", Reply(body=binance_order(1, orderId=None)), None),
    ("a list", Reply(body=[]), None),
    ("nothing", Reply(body={}), None),
    ("a page", Reply(status=404, body="<html>not found</html>"), None),
]


@pytest.mark.parametrize(("case", "reply", "found"), BINANCE_LOOKUPS)
def test_a_look_up_by_client_id_at_binance(case: str, reply: Reply, found: Found | None) -> None:
    order = new_order("binance")
    report, venue = asyncio.run(answer("binance", {ORDER: reply}, look_up(order)))
    (asked,) = venue.requests(*ORDER)
    assert asked.fields["origClientOrderId"] == order.client_order_id
    if found is None:
        assert isinstance(report, LookupFailed), (case, report)
        assert (report.request, report.order_id) == ("order", order.order_id)
    else:
        assert isinstance(report, OrderStatus), (case, report)
        assert (report.found, report.client_order_id) == (found, order.client_order_id)


OPEN, CLOSED, QUERY = (
    ("POST", "/0/private/OpenOrders"),
    ("POST", "/0/private/ClosedOrders"),
    ("POST", "/0/private/QueryOrders"),
)
NO_OPEN, NO_CLOSED = kraken_result({"open": {}}), kraken_result({"closed": {}, "count": 0})
KRAKEN_LOOKUPS: list[tuple[str, Reply, Reply, Found | None]] = [
    ("open", kraken_result({"open": {"O-1": kraken_order(1)}}), NO_CLOSED, Found.OPEN),
    (
        "closed",
        NO_OPEN,
        kraken_result({"closed": {"O-1": kraken_order(1, status="canceled")}, "count": 1}),
        Found.CLOSED,
    ),
    ("nowhere", NO_OPEN, NO_CLOSED, Found.NOT_FOUND),
    (
        "a filter that was ignored",
        kraken_result({"open": {"O-2": kraken_order(2)}}),
        NO_CLOSED,
        None,  # a list that is not of our order does not say that there is none: closed ones come in pages
    ),
    ("closed could not be read", NO_OPEN, Reply(status=502, body=""), None),
    ("open could not be read", Reply(body={"error": ["EService:Busy"]}), NO_CLOSED, None),
    ("no list of the open ones", kraken_result({}), NO_CLOSED, None),
    ("no list of the closed ones", NO_OPEN, Reply(body={"error": []}), None),
    ("a list of errors missing", Reply(body={"result": {"open": {}}}), NO_CLOSED, None),
]


@pytest.mark.parametrize(("case", "open_orders", "closed_orders", "found"), KRAKEN_LOOKUPS)
def test_a_look_up_by_client_id_at_kraken(
    case: str, open_orders: Reply, closed_orders: Reply, found: Found | None
) -> None:
    order = new_order("kraken")
    report, venue = asyncio.run(answer("kraken", {OPEN: open_orders, CLOSED: closed_orders}, look_up(order)))
    assert {asked.fields["cl_ord_id"] for asked in venue.requests(*OPEN) + venue.requests(*CLOSED)} == {
        order.client_order_id
    }
    if found is None:
        assert isinstance(report, LookupFailed), (case, report)
    else:
        assert isinstance(report, OrderStatus), (case, report)
        assert (report.found, report.client_order_id) == (found, order.client_order_id)
        assert report.exchange_order_id == (None if found is Found.NOT_FOUND else "O-1")


@pytest.mark.parametrize(
    ("case", "reply", "found"),
    [
        ("there", kraken_result({"O-1": kraken_order(1)}), Found.OPEN),
        ("a whole answer without it", kraken_result({}), Found.NOT_FOUND),
        ("an id never given out", Reply(body={"error": ["EOrder:Invalid order"]}), Found.NOT_FOUND),
        ("no answer", Reply(body={"error": ["EService:Unavailable"]}), None),
        ("half an answer", Reply(body={"error": []}), None),
        ("nothing", Reply(body={}), None),
    ],
)
def test_a_look_up_by_exchange_id_at_kraken(case: str, reply: Reply, found: Found | None) -> None:
    report, _ = asyncio.run(answer("kraken", {QUERY: reply}, look_up(new_order("kraken"), "O-1")))
    if found is None:
        assert isinstance(report, LookupFailed), (case, report)
    else:
        assert isinstance(report, OrderStatus), (case, report)
        assert report.found is found


@pytest.mark.parametrize(
    ("status", "executed", "ending"),
    [
        ("closed", "0.00100000", Ending.FILLED),
        ("closed", "0.00040000", Ending.CANCELED),  # an immediate order whose rest was dropped
        ("canceled", "0.00040000", Ending.CANCELED),
        ("expired", "0.00000000", Ending.EXPIRED),
    ],
)
def test_how_an_order_ended_and_how_much_of_it_was_filled(status: str, executed: str, ending: Ending) -> None:
    reply = kraken_result({"O-1": kraken_order(1, status=status, vol_exec=executed)})
    report, _ = asyncio.run(answer("kraken", {QUERY: reply}, look_up(new_order("kraken"), "O-1")))
    assert isinstance(report, OrderStatus), report
    assert (report.found, report.ending, report.filled_quantity) == (Found.CLOSED, ending, Decimal(executed))


def test_a_look_up_is_dated_by_its_first_question() -> None:
    """What arrived after that question may have been missed by it, however late the answers were."""

    async def story() -> None:
        async with simulated("kraken") as venue:
            async with opened("kraken", venue.url, KEYS, shapes=(), request_timeout_s=2) as (
                gateway,
                reports,
            ):
                venue.strike(Rule(action="delay", seconds=(0.3, 0.3), kinds=("open_orders", "closed_orders")))
                before = datetime.now(UTC)
                gateway.send(look_up(new_order("kraken")))
                status = await reports.next(OrderStatus)
                assert status.query_sent_at is not None
                assert status.query_sent_at - before < timedelta(seconds=0.2)
                assert datetime.now(UTC) - before >= timedelta(seconds=0.6)

    asyncio.run(story())


# --- Fills ---


def test_all_pages_of_an_orders_fills_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binance, "_PAGE", 2)
    pages = deque(
        [
            Reply(body=[binance_trade(7, 101), binance_trade(8, 101)]),
            Reply(body=[binance_trade(9, 101), binance_trade(11, 101)]),
            Reply(body=[binance_trade(12, 101, isMaker=True)]),
        ]
    )
    order = new_order("binance")
    report, venue = asyncio.run(
        answer("binance", {MY_TRADES: pages}, trades_of(order, datetime.now(UTC), "101"))
    )
    assert isinstance(report, TradesAnswer), report
    assert {fill.fill_id for fill in report.fills} == {"7", "8", "9", "11", "12"}
    assert [fill.fill_id for fill in report.fills if fill.liquidity == "maker"] == ["12"]
    assert len(report.fills) == 5
    assert [asked.fields.get("fromId") for asked in venue.requests(*MY_TRADES)] == ["0", "9", "12"]
    assert {asked.fields["orderId"] for asked in venue.requests(*MY_TRADES)} == {"101"}


def test_a_fill_without_its_fee_is_not_made_up() -> None:
    reply = Reply(body=[binance_trade(7, 101, commission=None)])
    report, _ = asyncio.run(
        answer("binance", {MY_TRADES: reply}, trades_of(new_order("binance"), datetime.now(UTC), "101"))
    )
    assert isinstance(report, LookupFailed) and "incomplete" in report.message


@pytest.mark.parametrize(
    ("case", "listed", "complete"),
    [("all there", ["T-1", "T-2"], True), ("one not visible yet", ["T-1"], False), ("none", [], False)],
)
def test_krakens_fills_must_add_up_to_what_it_says_is_filled(
    case: str, listed: list[str], complete: bool
) -> None:
    order = new_order("kraken")
    volumes = {"T-1": "0.00060000", "T-2": "0.00040000"}
    replies: dict[tuple[str, str], Reply | deque[Reply]] = {
        QUERY: kraken_result({"O-1": kraken_order(1, status="closed", vol_exec="0.00100000", trades=listed)}),
        ("POST", "/0/private/QueryTrades"): kraken_result(
            {trade_id: kraken_trade("O-1", vol=volumes[trade_id]) for trade_id in listed}
        ),
    }
    report, _ = asyncio.run(answer("kraken", replies, trades_of(order, datetime.now(UTC), "O-1")))
    if not complete:
        assert isinstance(report, LookupFailed), (case, report)
        return
    assert isinstance(report, TradesAnswer), (case, report)
    assert {
        (fill.fill_id, fill.quantity, fill.fee, fill.fee_currency, fill.liquidity) for fill in report.fills
    } == {
        ("T-1", Decimal("0.0006"), Decimal("0.048"), "USD", "maker"),
        ("T-2", Decimal("0.0004"), Decimal("0.048"), "USD", "maker"),
    }


ABSENT = Reply(status=400, body={"code": -2013, "msg": "Order does not exist."})


@pytest.mark.parametrize(
    ("case", "history", "strangers", "fills"),
    [
        ("nothing traded", Reply(body=[]), [], 0),
        ("others traded", Reply(body=[binance_trade(7, 102)]), [Reply(body=binance_order(2))], 0),
        ("it traded after all", Reply(body=[binance_trade(7, 101)]), [Reply(body=binance_order(1))], 1),
        ("the history is not to be had", Reply(status=503, body=""), [], None),
        ("the history is no list", Reply(body={}), [], None),
        ("whose trade it was is not to be had", Reply(body=[binance_trade(7, 102)]), [ABSENT], None),
    ],
)
def test_no_fills_of_an_unknown_order_only_after_reading_the_history(
    case: str, history: Reply, strangers: list[Reply], fills: int | None
) -> None:
    order = new_order("binance")
    since = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    replies: dict[tuple[str, str], Reply | deque[Reply]] = {
        ORDER: deque([ABSENT, *strangers]),
        MY_TRADES: history,
    }
    report, venue = asyncio.run(answer("binance", replies, trades_of(order, since)))
    (asked,) = venue.requests(*MY_TRADES)
    # A little earlier than asked: our clock may be ahead of the venue's.
    assert int(asked.fields["startTime"]) == since.timestamp() * 1000 - 5000
    if fills is None:
        assert isinstance(report, LookupFailed), (case, report)
    else:
        assert isinstance(report, TradesAnswer), (case, report)
        assert [fill.client_order_id for fill in report.fills] == [order.client_order_id] * fills


# --- Everything of the account ---


@pytest.mark.parametrize(
    ("exchange", "path", "question", "request_name"),
    [
        ("binance", ("GET", "/api/v3/account"), QueryBalances(), "balances"),
        ("binance", ("GET", "/api/v3/openOrders"), QueryOpenOrders(), "open_orders"),
        ("kraken", ("POST", "/0/private/BalanceEx"), QueryBalances(), "balances"),
        ("kraken", ("POST", "/0/private/OpenOrders"), QueryOpenOrders(), "open_orders"),
    ],
)
@pytest.mark.parametrize(
    "reply",
    [Reply(body={}), Reply(body=""), Reply(body=None), Reply(body={"error": []}), Reply(status=500, body="")],
)
def test_nothing_read_is_not_nothing_there(
    exchange: str, path: tuple[str, str], question: Any, request_name: str, reply: Reply
) -> None:
    report, _ = asyncio.run(answer(exchange, {path: reply}, question))
    assert isinstance(report, LookupFailed), report
    assert (report.request, report.order_id, report.refusal) == (request_name, None, None)


def test_a_venue_that_is_tired_of_questions_is_left_alone() -> None:
    async def story() -> None:
        async with ScriptedVenue("kraken") as venue, opened("kraken", venue.base_url) as (gateway, reports):
            path = ("POST", "/0/private/BalanceEx")
            venue.replies[path] = Reply(body={"error": ["EAPI:Rate limit exceeded"]})
            gateway.send(QueryBalances())
            failed = await reports.next(LookupFailed)
            assert failed.refusal is Refusal.RATE_LIMIT
            venue.replies[path] = kraken_result({"ZUSD": {"balance": "1.0", "hold_trade": "0"}})
            gateway.send(QueryBalances())
            await asyncio.sleep(0.3)
            assert len(venue.requests(*path)) == 1  # the second waits for the counter to fall

    asyncio.run(story())
