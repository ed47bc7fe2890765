"""The client against a real HTTP server that checks signatures: what it sends, retries, waits for, raises."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import inspect
import json
import pickle
import threading
import time
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pytest
import requests

import oms_client
from oms_client import (
    AuthError,
    ConfigError,
    ConnectionFailed,
    FundsRanOut,
    IdempotencyConflict,
    InsufficientFunds,
    InvalidRequest,
    NotFound,
    NotSent,
    OMSClient,
    OMSError,
    Order,
    OutcomeUnknown,
    PendingCalls,
    PortfolioResult,
    Query,
    QueryFailed,
    Quote,
    QuoteLapsed,
    RateLimited,
    Rejected,
    SmartOrderResult,
    Unavailable,
    signing,
)

KEY = signing.PrivateKey(b"\x01" * 32)

FILL = {
    "fill_id": "81236",
    "price": "2450.1",
    "quantity": "0.25",
    "fee": "0.00025",
    "fee_currency": "ETH",
    "liquidity": "maker",
    "timestamp": "2026-11-21T06:30:01.250000Z",
}
ORDER = {
    "order_id": "o-1",
    "client_order_id": "oms1",
    "exchange_order_id": "991827",
    "query_id": "q-1",
    "parent_id": "p-1",
    "exchange": "kraken",
    "account": "default",
    "symbol": "ETH/USDT",
    "side": "buy",
    "order_type": "limit",
    "time_in_force": "GTC",
    "post_only": False,
    "price": "2450.1",
    "quantity": "0.25",
    "filled_quantity": "0.25",
    "remaining_quantity": "0",
    "average_price": "2450.1",
    "status": "filled",
    "reason": "",
    "fees": {"ETH": "0.00025"},
    "created_at": "2026-11-21T06:30:00.100000Z",
    "updated_at": "2026-11-21T06:30:01.250000Z",
    "closed_at": None,
    "fills": [FILL],
}
RESULT = {
    "exchange": "kraken",
    "start_currency": "USDT",
    "end_currency": "ETH",
    "path": [{"symbol": "ETH/USDT", "side": "buy"}],
    "spent": "999.9",
    "received": "0.40771",
    "average_price": "2452.4785",
    "fees": {"ETH": "0.00040771"},
    "unspent": "0.1",
    "dust": {"USDT": "0.1"},
    "taking_at_once": {"spent": "1000", "received": "0.4071", "average_price": "2456.39", "cost_bps": "14.2"},
    "cost_bps": "-1.2",
    "saved_bps": "15.4",
    "tries": 3,
    "duration_s": "14.2",
    "outcome": "done",
    "reason": "",
}
PROGRESS = {
    "phase": "making",
    "hop": 1,
    "hops": 1,
    "try": 2,
    "tries": 6,
    "symbol": "ETH/USDT",
    "side": "buy",
    "price": "2450.1",
    "filled_quantity": "0.1",
    "quantity": "0.4",
    "percent": "25",
}
ORDER_STAGES = [{"orders": [{**ORDER, "status": "pending"}]}, {"status": "done", "orders": [ORDER]}]


def error_view(code, message="no", **fields):
    return {"code": code, "message": message, "hint": "", "retry_safe": False, "details": {}, **fields}


def heard(client):
    return client._on_event.states


# --- the manual's calls ---


def test_the_manuals_quick_start(oms, monkeypatch):
    monkeypatch.setenv("OMS_KEY", KEY.reveal())
    oms.stages = [{"status": "done", "result": RESULT}]
    userName, url, botName, recordInDb, sendFailEmail = "alice", oms.url, "bot-1", False, False
    omsClient = OMSClient(userName, url, botName, recordInDb, sendFailEmail)
    result = omsClient.smart_order("kraken", "USDT", "ETH", 1000)
    assert result["received"] == "0.40771" and result.received == Decimal("0.40771")
    [write] = oms.writes
    assert write.json == {
        "exchange": "kraken",
        "start_currency": "USDT",
        "end_currency": "ETH",
        "start_amount": "1000",
        "time_limit": "60",
        "bot": "bot-1",
        "record_in_db": False,
        "send_fail_email": False,
        "dry_run": False,
    }
    assert write.target == "/api/smart_order"
    assert write.headers["Content-Type"] == "application/json"
    assert write.headers["User-Agent"].startswith(f"oms-client/{oms_client.__version__} Python/")
    assert 1 <= len(write.key) <= 255


@pytest.mark.parametrize(
    "named",
    [
        {"startCurrency": "USDT", "endCurrency": "ETH", "startCurrencyAmount": "5"},
        {"start_currency": "USDT", "end_currency": "ETH", "start_currency_amount": "5"},
        {"startCurrency": "USDT", "end_currency": "ETH", "start_currency_amount": "5"},
    ],
)
def test_both_spellings_of_the_manuals_names(oms, client, named):
    client.smart_order("kraken", **named)
    assert oms.writes[0].json["start_amount"] == "5"
    assert oms.writes[0].json["end_currency"] == "ETH"


def test_both_spellings_at_once_are_a_mistake(oms, client):
    with pytest.raises(TypeError, match="both startCurrency and start_currency"):
        client.smart_order("kraken", startCurrency="USDT", start_currency="USDT", endCurrency="ETH")
    with pytest.raises(TypeError):
        client.smart_order("kraken", "USDT", "ETH", 5, start_currency="USDT")
    with pytest.raises(TypeError, match="both userName and user_name"):
        OMSClient(userName="a", user_name="a")
    with pytest.raises(InvalidRequest):
        client.smart_order("kraken", "USDT", "ETH")
    with pytest.raises(TypeError, match="needs startCurrency, endCurrency, or quote_id alone"):
        client.smart_order("kraken", startCurrencyAmount=5)
    assert oms.requests == []


def test_signatures_show_the_manuals_names():
    assert list(inspect.signature(OMSClient).parameters)[:5] == [
        "userName",
        "url",
        "botName",
        "recordInDb",
        "sendFailEmail",
    ]
    assert list(inspect.signature(OMSClient.smart_order).parameters)[1:5] == [
        "exchange",
        "startCurrency",
        "endCurrency",
        "startCurrencyAmount",
    ]


def test_the_constructor_takes_snake_case(oms):
    made = OMSClient(user_name="alice", url=oms.url, bot_name="b", record_in_db=False, key=KEY.reveal())
    assert (made.user_name, made.bot_name, made.record_in_db, made.send_fail_email) == (
        "alice",
        "b",
        False,
        True,
    )


# --- every call on the wire ---

WRITES = [
    pytest.param(
        lambda c: c.market_order("kraken", "buy", "ETH/USDT", 0.25),
        "market_order",
        {"exchange": "kraken", "side": "buy", "symbol": "ETH/USDT", "quantity": "0.25"},
        id="market_order",
    ),
    pytest.param(
        lambda c: c.limit_order("kraken", "sell", "ETH/USDT", Decimal("0.250"), "2450.10", post_only=True),
        "limit_order",
        {
            "exchange": "kraken",
            "side": "sell",
            "symbol": "ETH/USDT",
            "quantity": "0.250",
            "price": "2450.10",
            "post_only": True,
            "time_in_force": "GTC",
        },
        id="limit_order",
    ),
    pytest.param(lambda c: c.cancel_order("o-1"), "cancel_order", {"order_id": "o-1"}, id="cancel_order"),
    pytest.param(
        lambda c: c.cancel_order(client_order_id="k-1"),
        "cancel_order",
        {"client_order_id": "k-1"},
        id="cancel by the bot's id",
    ),
    pytest.param(
        lambda c: c.halt(exchange="kraken", reason="odd fills"),
        "halt",
        {"all": False, "exchange": "kraken", "reason": "odd fills", "everything": False},
        id="halt",
    ),
    pytest.param(lambda c: c.resume("h-1"), "resume", {"halt_id": "h-1"}, id="resume"),
    pytest.param(
        lambda c: c.cancel_all_orders("kraken", symbol="ETH/USDT"),
        "cancel_all_orders",
        {"exchange": "kraken", "symbol": "ETH/USDT", "scope": "bot"},
        id="cancel_all_orders",
    ),
    pytest.param(
        lambda c: c.smart_order(
            "kraken",
            "USDT",
            "ETH",
            1000,
            time_limit=2.5,
            record_in_db=False,
            send_fail_email=False,
            account="arb",
        ),
        "smart_order",
        {
            "exchange": "kraken",
            "start_currency": "USDT",
            "end_currency": "ETH",
            "start_amount": "1000",
            "time_limit": "2.5",
            "record_in_db": False,
            "send_fail_email": False,
            "account": "arb",
        },
        id="smart_order",
    ),
    pytest.param(
        lambda c: c.smart_order(
            ["okx", "kraken"],
            "USDT",
            "ETH",
            end_amount=0.5,
            algo="pov",
            algo_params={"participation": 0.1, "slots": 12, "curve": "3,1,2", "on": True},
            on_timeout="cancel",
            max_slippage_bps=Decimal("12.5"),
        ),
        "smart_order",
        {
            "exchange": ["okx", "kraken"],
            "start_currency": "USDT",
            "end_currency": "ETH",
            "end_amount": "0.5",
            "algo": "pov",
            "algo_params": {"participation": "0.1", "slots": "12", "curve": "3,1,2", "on": True},
            "time_limit": "60",
            "on_timeout": "cancel",
            "max_slippage_bps": "12.5",
        },
        id="smart_order with everything",
    ),
    pytest.param(
        lambda c: c.smart_order("all", "USDT", "ETH", "35%"),
        "smart_order",
        {
            "exchange": "all",
            "start_currency": "USDT",
            "end_currency": "ETH",
            "start_amount": "35%",
            "time_limit": "60",
        },
        id="a share",
    ),
    pytest.param(
        lambda c: c.smart_order(quote_id="qt-1"),
        "smart_order",
        {"quote_id": "qt-1"},
        id="a quote carried out",
    ),
    pytest.param(
        lambda c: c.liquidate("kraken", "USDT"),
        "liquidate",
        {"exchange": "kraken", "end_currency": "USDT"},
        id="liquidate",
    ),
    pytest.param(
        lambda c: c.liquidate(
            ("kraken", "okx"), "USDT", currencies=("BTC", "ETH"), exclude="ZEN", min_trade=25, time_limit=300
        ),
        "liquidate",
        {
            "exchange": ["kraken", "okx"],
            "end_currency": "USDT",
            "currencies": ["BTC", "ETH"],
            "exclude": ["ZEN"],
            "min_trade": "25",
            "time_limit": "300",
        },
        id="liquidate with everything",
    ),
    pytest.param(
        lambda c: c.rebalance("all", {"BTC": 0.6, "USDT": "40%"}, keep=["ZEN"], tolerance=0.01),
        "rebalance",
        {"exchange": "all", "targets": {"BTC": "0.6", "USDT": "40%"}, "keep": ["ZEN"], "tolerance": "0.01"},
        id="rebalance",
    ),
    pytest.param(
        lambda c: c.market_order("kraken", "buy", "ETH/USDT", 1, algo="twap", time_limit=600),
        "market_order",
        {
            "exchange": "kraken",
            "side": "buy",
            "symbol": "ETH/USDT",
            "quantity": "1",
            "algo": "twap",
            "time_limit": "600",
        },
        id="market_order worked",
    ),
    pytest.param(
        lambda c: c.limit_order("kraken", "buy", "ETH/USDT", 1, 2500, algo="iceberg", on_timeout="cancel"),
        "limit_order",
        {
            "exchange": "kraken",
            "side": "buy",
            "symbol": "ETH/USDT",
            "quantity": "1",
            "price": "2500",
            "post_only": False,
            "time_in_force": "GTC",
            "algo": "iceberg",
            "on_timeout": "cancel",
        },
        id="limit_order worked",
    ),
    pytest.param(
        lambda c: c.quote(exchange="kraken", startCurrency="USDT", end_currency="ETH", startCurrencyAmount=5),
        "quote",
        {
            "verb": "smart_order",
            "exchange": "kraken",
            "start_currency": "USDT",
            "end_currency": "ETH",
            "start_amount": "5",
        },
        id="quote in both spellings",
    ),
    pytest.param(
        lambda c: c.quote("rebalance", exchange=["okx"], targets={"BTC": 1}, algo_params={"slots": 3}),
        "quote",
        {"verb": "rebalance", "exchange": ["okx"], "targets": {"BTC": "1"}, "algo_params": {"slots": "3"}},
        id="quote of a rebalance",
    ),
]


@pytest.mark.parametrize(("call", "verb", "fields"), WRITES)
def test_what_a_write_sends(oms, client, call, verb, fields):
    oms.stages = [{"status": "done", "orders": [ORDER], "result": RESULT}]
    call(client)
    [write] = oms.writes
    common = {"bot": "bot-1", "record_in_db": True, "send_fail_email": True, "dry_run": False}
    assert (write.target, write.json) == (f"/api/{verb}", {**common, **fields})


SINCE = datetime(2026, 11, 21, 7, 0, tzinfo=timezone(timedelta(hours=1)))


@pytest.mark.parametrize(
    ("call", "target"),
    [
        (lambda c: c.get_balances("kraken"), "/api/get_balances?exchange=kraken&bot=bot-1"),
        (lambda c: c.get_past_orders(), "/api/get_past_orders?bot=bot-1"),
        (
            lambda c: c.get_past_orders(
                "kraken", symbol="ETH/USDT", bot="b2", since=SINCE, limit=5, cursor="x=y"
            ),
            "/api/get_past_orders?exchange=kraken&symbol=ETH%2FUSDT&of_bot=b2&since=2026-11-21T06%3A00%3A00Z"
            "&limit=5&cursor=x%3Dy&bot=bot-1",
        ),
        (
            lambda c: c.get_withdrawal_deposit_history("kraken", currency="USDT", limit=2),
            "/api/get_withdrawal_deposit_history?exchange=kraken&currency=USDT&limit=2&bot=bot-1",
        ),
        (
            lambda c: c.get_order_stats("kraken", bot="b2"),
            "/api/get_order_stats?exchange=kraken&of_bot=b2&bot=bot-1",
        ),
        (
            lambda c: c.get_fees("kraken", symbol="ETH/USDT"),
            "/api/get_fees?exchange=kraken&symbol=ETH%2FUSDT&bot=bot-1",
        ),
        (lambda c: c.get_positions(), "/api/get_positions?bot=bot-1"),
        (
            lambda c: c.get_funding("okx", symbol="BTC/USDT:USDT", since=SINCE, account="two"),
            "/api/get_funding?exchange=okx&symbol=BTC%2FUSDT%3AUSDT&since=2026-11-21T06%3A00%3A00Z"
            "&account=two&bot=bot-1",
        ),
        (
            lambda c: c.get_positions("okx", account="two"),
            "/api/get_positions?exchange=okx&account=two&bot=bot-1",
        ),
        (lambda c: c.tca(), "/api/tca?bot=bot-1"),
        (
            lambda c: c.tca(since=SINCE, exchange="kraken", algo="twap", limit=5),
            "/api/tca?since=2026-11-21T06%3A00%3A00Z&exchange=kraken&algo=twap&limit=5&bot=bot-1",
        ),
        (lambda c: c.check_health(), "/api/check_health"),
        (lambda c: c.get_order("o-1"), "/api/get_order?order_id=o-1"),
    ],
)
def test_what_a_question_sends(oms, client, call, target):
    call(client)
    [request] = oms.requests
    assert (request.method, request.target, request.body) == ("GET", target, b"")
    assert request.key is None


def test_a_picture_comes_as_bytes(oms, client):
    oms.answers["tca.png"] = b"\x89PNG\r\n"
    assert client.tca_plot(until=SINCE) == b"\x89PNG\r\n"
    assert oms.requests[0].target == "/api/tca.png?until=2026-11-21T06%3A00%3A00Z&bot=bot-1"
    oms.answers["tca.png"] = {}
    with pytest.raises(OMSError, match="no picture"):
        client.tca_plot()


MISUSES = {
    "a quote and more": (lambda c: c.smart_order("kraken", quote_id="q"), "quote_id and exchange"),
    "a quote and a time": (lambda c: c.liquidate(quote_id="q", time_limit=5), "quote_id and time_limit"),
    "no exchange": (lambda c: c.liquidate(end_currency="USDT"), "needs exchange, or quote_id alone"),
    "no targets": (lambda c: c.rebalance("kraken"), "needs targets"),
    "an id without its call": (lambda c: c.execute("qt-1"), "needs verb"),
    "a call that cannot be quoted": (lambda c: c.execute("qt-1", verb="cancel_order"), "needs verb"),
    "a plan without an id": (lambda c: c.execute(Quote(verb="rebalance", quote_id=None)), "nothing to carry"),
    "one field twice": (lambda c: c.quote(start_amount=1, startCurrencyAmount=1), "two spellings"),
}


@pytest.mark.parametrize("name", MISUSES)
def test_a_call_that_cannot_be_meant_is_not_sent(oms, client, name):
    call, words = MISUSES[name]
    with pytest.raises(TypeError, match=words):
        call(client)
    assert oms.requests == []


@pytest.mark.parametrize("bad", [{"BTC": True}, {"BTC": float("nan")}, "BTC", ["BTC"], {"BTC": None}])
def test_targets_that_are_none_are_refused_before_they_are_sent(oms, client, bad):
    with pytest.raises(InvalidRequest, match="^REQUEST_FIELD_INVALID: targets"):
        client.rebalance("kraken", bad)
    assert oms.requests == []


PLAN = {
    "quote_id": "qt-1",
    "verb": "liquidate",
    "exchange": "kraken",
    "legs": [{"leg": 1, "exchange": "kraken", "symbol": "BTC/USDT", "side": "sell", "share": "1"}],
    "expected": {"received": "5", "currency": "USDT", "average_price": None},
}


def test_a_quote_is_read_and_then_carried_out(oms, client):
    oms.stages = [{"status": "done", "result": PLAN}]
    quote = client.quote("liquidate", exchange="kraken", end_currency="USDT")
    assert isinstance(quote, Quote) and quote == PLAN and quote.query["query_id"] == "q-1"
    assert quote.expected.received == Decimal(5) and quote.legs[0].share == Decimal(1)
    oms.stages = [{"status": "done", "result": {"outcome": "done", "value_before": "5", "weights": {}}}]
    result = client.execute(quote, account=None, idempotency_key="k-9")
    assert isinstance(result, PortfolioResult) and result.value_before == Decimal(5)
    assert (oms.writes[1].target, oms.writes[1].key) == ("/api/liquidate", "k-9")
    assert oms.writes[1].json["quote_id"] == "qt-1" and "exchange" not in oms.writes[1].json
    assert isinstance(client.execute("qt-2", verb="smart_order", wait=False), Query)


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("QUOTE_UNKNOWN", 404, NotFound),
        ("QUOTE_EXPIRED", 410, QuoteLapsed),
        ("QUOTE_MOVED", 409, QuoteLapsed),
        ("AMOUNT_UNREACHABLE", 422, Rejected),
    ],
)
def test_a_quote_that_no_longer_holds(oms, client, code, status, kind):
    oms.refusals["smart_order"] = (status, error_view(code))
    with pytest.raises(kind) as caught:
        client.smart_order(quote_id="qt-1")
    assert caught.value.code == code and type(caught.value) is kind
    del oms.refusals["smart_order"]
    oms.stages = [{"status": "failed", "error": error_view(code)}]
    with pytest.raises(QueryFailed) as failed:
        client.smart_order(quote_id="qt-1")
    assert isinstance(failed.value, QuoteLapsed) == (kind is QuoteLapsed)


def test_what_an_algorithm_worked_comes_back_as_a_result(oms, client):
    oms.stages = [{"status": "done", "orders": [ORDER, ORDER], "result": {**RESULT, "algo": "twap"}}]
    result = client.market_order("kraken", "buy", "ETH/USDT", 1, algo="twap")
    assert isinstance(result, SmartOrderResult) and result.algo == "twap"
    assert client.limit_order("kraken", "buy", "ETH/USDT", 1, 2, algo="twap").received == Decimal("0.40771")


def test_a_time_without_a_zone_is_refused(oms, client):
    with pytest.raises(InvalidRequest, match="since: .* is not a time with a zone"):
        client.get_past_orders(since=datetime(2026, 11, 21))  # noqa: DTZ001
    assert oms.requests == []


# --- answers ---


def test_an_order_is_a_dictionary_with_types_beside(oms, client):
    oms.answers["get_order"] = ORDER
    order = client.get_order("o-1")
    assert isinstance(order, dict) and order == ORDER and order.raw == ORDER and type(order.raw) is dict
    assert json.loads(json.dumps(order)) == ORDER
    assert order.filled_quantity == Decimal("0.25") and order["filled_quantity"] == "0.25"
    assert order.fees == {"ETH": Decimal("0.00025")}
    assert order.created_at == datetime(2026, 11, 21, 6, 30, 0, 100000, tzinfo=UTC)
    assert order.closed_at is None
    assert order.fills[0].price == Decimal("2450.1") and order.fills[0].liquidity == "maker"
    assert order.is_closed and order.mode == "paper" and order.request_id == "r-1"
    assert "filled_quantity" in dir(order) and repr(order).startswith("Order({")
    with pytest.raises(AttributeError, match="no field 'filled'; it has order_id"):
        _ = order.filled


def test_answers_can_be_copied_and_pickled():
    order = Order(ORDER)
    assert copy.deepcopy(order) == pickle.loads(pickle.dumps(order)) == order


def test_a_smart_order_result(oms, client):
    oms.stages = [
        {"progress": PROGRESS},
        {"status": "done", "progress": None, "result": RESULT, "orders": [ORDER]},
    ]
    result = client.smart_order("kraken", "USDT", "ETH", "1000")
    assert isinstance(result, SmartOrderResult) and dict(result) == RESULT
    assert result.taking_at_once.received == Decimal("0.4071")
    assert (result.saved_bps, result.duration_s, result.tries) == (Decimal("15.4"), Decimal("14.2"), 3)
    assert result.path[0].symbol == "ETH/USDT" and result.dust == {"USDT": Decimal("0.1")}
    assert result.query.query_id == "q-1" and result.query.orders[0].status == "filled"
    assert result.mode == "paper"
    assert heard(client) == [("working", 1), ("working", 2), ("done", 3)]


def test_balances(oms, client):
    oms.answers["get_balances"] = {
        "exchange": "kraken",
        "account": "default",
        "balances": {"USDT": {"free": "10.5", "used": "1", "total": "11.5"}},
    }
    balances = client.get_balances("kraken")
    assert balances.balances["USDT"].used == Decimal("1")
    assert (balances.free("usdt"), balances.total("USDT"), balances.free("BTC")) == (
        Decimal("10.5"),
        Decimal("11.5"),
        Decimal("0"),
    )


def test_a_market_order_returns_its_order_when_it_has_ended(oms, client):
    oms.stages = ORDER_STAGES
    order = client.market_order("kraken", "buy", "ETH/USDT", "0.25")
    assert isinstance(order, Order) and order.status == "filled" and order.query.query_id == "q-1"


def test_a_limit_order_returns_as_soon_as_it_stands_in_the_book(oms, client):
    resting = {**ORDER, "status": "submitted", "filled_quantity": "0"}
    oms.stages = [
        {"orders": [{**ORDER, "status": "pending"}]},
        {"orders": [{**ORDER, "status": "unknown"}]},
        {"orders": [resting]},
        {"status": "done", "orders": [ORDER]},
    ]
    order = client.limit_order("kraken", "buy", "ETH/USDT", "0.25", "2450.1")
    assert order.status == "submitted" and not order.is_closed and order.query.status == "working"
    assert client.wait(order.query.query_id).orders[0].status == "filled"


def test_an_ioc_order_returns_when_it_has_ended(oms, client):
    oms.stages = [{"orders": [{**ORDER, "status": "submitted"}]}, {"status": "done", "orders": [ORDER]}]
    order = client.limit_order("kraken", "buy", "ETH/USDT", "0.25", "2450.1", time_in_force="ioc")
    assert order.status == "filled"


def test_a_dry_run_gives_the_plan(oms, client):
    oms.stages = [{"status": "done", "result": {"dry_run": True, "outcome": "nothing", "reason": "dry run"}}]
    assert client.market_order("kraken", "buy", "ETH/USDT", 1, dry_run=True)["dry_run"] is True
    assert client.smart_order("kraken", "USDT", "ETH", 1, dry_run=True).outcome == "nothing"
    assert [write.json["dry_run"] for write in oms.writes] == [True, True]


def test_without_waiting_the_query_comes_at_once(oms, client):
    query = client.smart_order("kraken", "USDT", "ETH", 1, wait=False)
    assert isinstance(query, Query) and query.status == "working" and not query.is_over
    assert len(oms.requests) == 1
    assert client.wait(query.query_id).status == "done"


# --- refusals ---


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (422, error_view("FUNDS_INSUFFICIENT"), InsufficientFunds),
        (422, error_view("AMOUNT_TOO_SMALL"), Rejected),
        (400, error_view("REQUEST_FIELD_INVALID", details={"field": "quantity"}), InvalidRequest),
        (404, error_view("ORDER_NOT_FOUND"), NotFound),
        (409, error_view("IDEMPOTENCY_CONFLICT"), IdempotencyConflict),
        (410, error_view("EXCHANGE_CLOSED", hint="Use another exchange."), Rejected),
        (403, error_view("AUTH_FORBIDDEN"), AuthError),
        (422, error_view("VENUE_REJECTED", venue_code="-1013", venue_message="LOT_SIZE"), Rejected),
        (502, error_view("VENUE_UNAVAILABLE", details={"query_id": "q-9"}), Unavailable),
    ],
)
def test_a_definite_no_is_raised_at_once(oms, client, status, error, kind):
    oms.refusals["market_order"] = (status, error)
    with pytest.raises(kind) as caught:
        client.market_order("kraken", "buy", "ETH/USDT", 1)
    raised = caught.value
    assert type(raised) is kind and isinstance(raised, OMSError)
    assert (raised.code, raised.http_status, raised.request_id, raised.mode) == (
        error["code"],
        status,
        "r-1",
        "paper",
    )
    assert raised.hint == error["hint"] and raised.hint in str(raised) and error["code"] in str(raised)
    if error.get("venue_message"):
        assert (raised.venue_code, raised.venue_message) == ("-1013", "LOT_SIZE") and "LOT_SIZE" in str(
            raised
        )
    if "field" in error["details"]:
        assert raised.field == "quantity" and isinstance(raised, ValueError)
    assert len(oms.requests) == 1


@pytest.mark.parametrize(
    ("code", "kind"), [("FUNDS_INSUFFICIENT", FundsRanOut), ("VENUE_REJECTED", QueryFailed)]
)
def test_a_query_that_fails_later_raises_with_what_was_done(oms, client, code, kind):
    oms.stages = [
        {"status": "failed", "error": error_view(code, "too little", hint="Add."), "orders": [ORDER]}
    ]
    with pytest.raises(QueryFailed) as caught:
        client.smart_order("kraken", "USDT", "ETH", 1, idempotency_key="k-1")
    raised = caught.value
    assert type(raised) is kind and isinstance(raised, InsufficientFunds) == (kind is FundsRanOut)
    assert raised.query.orders[0].filled_quantity == Decimal("0.25") and raised.query_id == "q-1"
    # The same call again, as a bot started again would make it, raises the same.
    with pytest.raises(kind) as again:
        client.smart_order("kraken", "USDT", "ETH", 1, idempotency_key="k-1")
    assert again.value.query.orders == raised.query.orders and len(oms.queries) == 1


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (float("nan"), "startCurrencyAmount: nan is not a finite number"),
        (float("inf"), "startCurrencyAmount: inf"),
        (Decimal("-Infinity"), "startCurrencyAmount"),
        ("NaN", "startCurrencyAmount: 'NaN' is not a finite"),
        (True, "startCurrencyAmount: True is not an amount"),
        (None, "startCurrencyAmount: None is not an amount"),
        ([1], "startCurrencyAmount: .* is a list"),
    ],
)
def test_what_is_no_amount_is_refused_before_it_is_sent(oms, client, value, says):
    with pytest.raises(InvalidRequest, match=says):
        client.smart_order("kraken", "USDT", "ETH", value)
    assert oms.requests == []


UNMEANT = {  # name -> (call, field)
    "an empty key": (
        lambda c: c.smart_order("kraken", "USDT", "ETH", 1, idempotency_key=""),
        "idempotency_key",
    ),
    "a key of two lines": (
        lambda c: c.market_order("kraken", "buy", "ETH/USDT", 1, idempotency_key="a\nb"),
        "idempotency_key",
    ),
    "a key with a space behind": (lambda c: c.quote(idempotency_key="a "), "idempotency_key"),
    "a key that is a number": (
        lambda c: c.rebalance("kraken", {"BTC": 1}, idempotency_key=7),
        "idempotency_key",
    ),
    "a number for an exchange": (lambda c: c.smart_order(5, "USDT", "ETH", 1), "exchange"),
    "no name in the list": (lambda c: c.smart_order([None], "USDT", "ETH", 1), "exchange"),
    "a quote at a number": (lambda c: c.quote(exchange=5), "exchange"),
    "a market order at a number": (lambda c: c.market_order(5, "buy", "ETH/USDT", 1), "exchange"),
    "a limit order at None": (lambda c: c.limit_order([None], "buy", "ETH/USDT", 1, 2), "exchange"),
    "a list of parameters": (lambda c: c.quote(algo="twap", algo_params=[1]), "algo_params"),
    "parameters in a text": (
        lambda c: c.market_order("kraken", "buy", "ETH/USDT", 1, algo="twap", algo_params="x"),
        "algo_params",
    ),
    "nothing to sell": (lambda c: c.liquidate("kraken", "USDT", currencies=[]), "currencies"),
    "nothing left to sell": (lambda c: c.liquidate("kraken", "USDT", currencies=iter(())), "currencies"),
    "a number to sell": (lambda c: c.liquidate("kraken", "USDT", currencies=[5]), "currencies"),
    "a number to keep": (lambda c: c.rebalance("kraken", {"BTC": 1}, keep=5), "keep"),
}


@pytest.mark.parametrize("name", UNMEANT)
def test_what_cannot_be_meant_is_refused_by_name_and_not_sent(oms, client, name):
    call, field = UNMEANT[name]
    with pytest.raises(InvalidRequest, match=f" {field}: ") as refused:
        call(client)
    assert refused.value.field == field and refused.value.hint
    assert oms.requests == []


# --- retries ---


def nonces(requests_):
    return [signing.parse_signature_input(r.headers["Signature-Input"]).nonce for r in requests_]


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param("cut", id="cut before anything was done"),
        pytest.param("lose", id="done, the answer lost"),
        pytest.param((503, "busy", {"Content-Type": "text/html"}), id="503 of a proxy"),
        pytest.param((502, "bad gateway", {}), id="502 of a proxy"),
        pytest.param((504, "", {}), id="504 of a proxy"),
        pytest.param((429, "{}", {"Retry-After": "0"}), id="429"),
    ],
)
def test_a_retry_is_signed_anew_and_keeps_its_key(oms, client, fault):
    oms.faults.append(fault)
    oms.stages = [{"status": "done", "result": RESULT}]
    result = client.smart_order("kraken", "USDT", "ETH", 1000)
    assert result.received == Decimal("0.40771")
    first, second = oms.writes
    assert first.key == second.key and first.body == second.body
    assert len(set(nonces(oms.writes))) == 2
    assert first.headers["Signature"] != second.headers["Signature"]
    assert len(oms.queries) == 1  # carried out once


@pytest.mark.parametrize("fault", ["cut", "lose", (504, "", {}), (502, "<html>", {})])
def test_a_write_never_answered_has_an_unknown_outcome_that_can_be_resolved(oms, client, fault):
    oms.faults.extend([fault] * 3)
    oms.stages = [{"status": "done", "result": RESULT}]
    with pytest.raises(OutcomeUnknown) as caught:
        client.smart_order("kraken", "USDT", "ETH", 1000)
    unknown = caught.value
    assert len(oms.writes) == 3 and unknown.idempotency_key == oms.writes[0].key
    assert "resolve()" in str(unknown) or "resolve()" in unknown.hint
    result = unknown.resolve(timeout=5)
    assert isinstance(result, SmartOrderResult) and result.received == Decimal("0.40771")
    assert len(oms.queries) == 1 and {write.key for write in oms.writes} == {unknown.idempotency_key}


def test_resolve_gives_up_when_told_to(oms, client):
    oms.faults.extend(["cut"] * 100)
    with pytest.raises(OutcomeUnknown) as caught:
        client.smart_order("kraken", "USDT", "ETH", 1000)
    with pytest.raises(OutcomeUnknown):
        caught.value.resolve(timeout=0.05)


def test_resolve_raises_the_refusal_the_call_would_have_raised(oms, client):
    oms.faults.extend(["cut"] * 3)
    with pytest.raises(OutcomeUnknown) as caught:
        client.market_order("kraken", "buy", "ETH/USDT", 1)
    oms.refusals["market_order"] = (422, error_view("AMOUNT_TOO_SMALL"))
    with pytest.raises(Rejected, match="AMOUNT_TOO_SMALL"):
        caught.value.resolve(timeout=5)


def test_a_question_never_answered_may_simply_be_asked_again(oms, client):
    oms.faults.extend(["cut"] * 3)
    with pytest.raises(ConnectionFailed) as caught:
        client.get_balances("kraken")
    assert not isinstance(caught.value, (NotSent, OutcomeUnknown)) and caught.value.retry_safe
    assert len(oms.requests) == 3


def test_a_server_that_is_not_there_was_not_reached(oms):
    oms.stop()
    made = OMSClient("alice", oms.url, "bot-1", key=KEY.reveal())
    with pytest.raises(NotSent, match="cannot be reached: .*refused") as caught:
        made.smart_order("kraken", "USDT", "ETH", 1)
    assert caught.value.retry_safe and not isinstance(caught.value, OutcomeUnknown)


def test_an_attempt_that_may_have_arrived_makes_the_outcome_unknown_whatever_comes_after(oms, client):
    """The first answer is lost, then the server is gone: not reaching it now says nothing about then."""
    oms.faults.append("lose")
    original = oms.submit

    def submit_and_vanish(request):
        threading.Thread(target=oms.stop).start()
        return original(request)

    oms.submit = submit_and_vanish
    time_was = oms.http.socket
    client._transport._sleep = lambda _: (oms.http.server_close(), time_was.close())
    with pytest.raises(OutcomeUnknown):
        client.smart_order("kraken", "USDT", "ETH", 1)


def test_retry_after_is_obeyed(oms, client):
    slept = []
    client._transport._sleep = slept.append
    oms.faults.append(
        (429, json.dumps({"status": "error", "error": error_view("RATE_LIMITED")}), {"Retry-After": "7"})
    )
    client.check_health()
    assert slept == [7.0]


def test_too_many_requests_in_the_end(oms, client):
    envelope = json.dumps(
        {
            "status": "error",
            "error": error_view("RATE_LIMITED", details={"retry_after_s": 3}),
            "request_id": "r",
        }
    )
    oms.faults.extend([(429, envelope, {"Retry-After": "0"})] * 3)
    with pytest.raises(RateLimited) as caught:
        client.check_health()
    assert caught.value.retry_after == 3.0 and len(oms.requests) == 3


def test_a_mistake_in_the_server_leaves_a_write_unknown_and_is_not_repeated(oms, client):
    oms.refusals["smart_order"] = (500, error_view("INTERNAL_ERROR", "a mistake"))
    with pytest.raises(OutcomeUnknown, match="INTERNAL_ERROR") as caught:
        client.smart_order("kraken", "USDT", "ETH", 1)
    assert len(oms.writes) == 1 and caught.value.request_id == "r-1"
    del oms.refusals["smart_order"]
    assert caught.value.resolve(5)["outcome"] == "done"


def test_another_web_server_is_recognised(oms, client):
    oms.faults.append((404, "<html>not found</html>", {"Content-Type": "text/html"}))
    with pytest.raises(ConfigError, match="404 with text/html, which is not an answer of this API"):
        client.check_health()


def test_a_redirect_is_not_followed(oms, client):
    oms.faults.append((308, "", {"Location": "https://oms.example.com/api"}))
    with pytest.raises(ConfigError, match="redirects to https://oms.example.com/api"):
        client.check_health()
    assert len(oms.requests) == 1


def test_no_retries_when_none_are_wanted(oms):
    oms.faults.append("cut")
    made = OMSClient("alice", oms.url, "b", key=KEY.reveal(), max_retries=0)
    with pytest.raises(OutcomeUnknown):
        made.smart_order("kraken", "USDT", "ETH", 1)
    assert len(oms.requests) == 1


# --- signatures, clocks and restarts ---


@pytest.mark.parametrize("ahead_s", [-55, -40, 20, 55])
def test_a_clock_off_by_less_than_a_minute_is_corrected_once_and_for_all(oms, client, ahead_s):
    client._transport._clock = lambda: time.time() + ahead_s
    client.check_health()
    assert len(oms.requests) == 2
    client.check_health()
    client.smart_order("kraken", "USDT", "ETH", 1)
    assert len(oms.requests) == 5  # one more for health, one write, one long-poll


@pytest.mark.parametrize(("ahead_s", "code"), [(-120, "AUTH_EXPIRED"), (120, "AUTH_CLOCK_AHEAD")])
def test_a_clock_further_off_is_the_owners_business(oms, client, ahead_s, code):
    client._transport._clock = lambda: time.time() + ahead_s
    with pytest.raises(AuthError, match="NTP") as caught:
        client.check_health()
    assert caught.value.code == code and len(oms.requests) == 1


@pytest.mark.parametrize("fraction", [0.0, 0.5, 0.99])
def test_a_server_that_has_just_restarted_is_asked_once_more(oms, client, fraction):
    oms.restart(at=int(time.time()) + fraction)
    started = time.monotonic()
    client.check_health()
    assert len(oms.requests) == 2 and time.monotonic() - started < 2


@pytest.mark.parametrize(("restarts", "answered"), [(4, True), (5, False)])
def test_a_server_that_restarts_again_while_a_call_waits_for_it_is_asked_again(
    oms, client, restarts, answered
):
    waits = []

    def restart(seconds=1.0):
        waits.append(seconds)
        if len(waits) <= restarts:
            oms.restart(at=oms.clock())

    client._transport._clock = oms.clock = lambda: 1.8e9 + sum(waits)
    client._transport._sleep = restart
    restart()
    with contextlib.nullcontext() if answered else pytest.raises(AuthError, match="AUTH_RESTARTED"):
        client.check_health()
    assert len(oms.requests) == 5


def test_an_unknown_key_is_not_tried_twice(oms):
    made = OMSClient("alice", oms.url, "b", key=signing.generate_keys().private)
    with pytest.raises(AuthError, match="AUTH_UNKNOWN_KEY.*OMS_KEYS"):
        made.check_health()
    assert len(oms.requests) == 1


def test_a_name_the_server_does_not_know_itself_by_is_explained(oms, client):
    oms.authenticator.hosts = ("oms.example.com",)
    with pytest.raises(AuthError) as caught:
        client.check_health()
    here = f"127.0.0.1:{oms.port}"
    expected = f"You signed for {here}, the server is oms.example.com: add {here} to OMS_HOSTS"
    assert expected in caught.value.hint


def test_a_signed_target_is_the_one_sent(oms):
    """Prefixes, escapes and odd queries survive: what is signed is what requests really sends."""
    oms.answers["get_order"] = ORDER
    made = OMSClient("alice", oms.url + "/some/../prefix/", "ä b/ü", key=KEY.reveal())
    made.get_order("../x?y=1&z#é %2F")
    assert oms.requests[0].target.startswith("/prefix/api/get_order?order_id=")


# --- waiting ---


def test_waiting_survives_a_server_that_goes_away_for_a_while(oms, client):
    oms.stages = [{"progress": PROGRESS}, {"status": "done", "result": RESULT}]
    query = client.smart_order("kraken", "USDT", "ETH", 1, wait=False)
    told = []
    client._on_event = told.append
    oms.faults.extend([None, "cut", (503, "", {}), "cut", None, None])
    assert client.wait(query.query_id).result == RESULT
    polls = [request.query["wait_s"] for request in oms.requests[2:]]
    told = [(query.unreachable is not None, query.silent_s is not None) for query in told]
    # Once when it goes away, once when it is back; then the ordinary changes.
    assert told[:3] == [(False, False), (True, False), (False, True)] and told.count((True, False)) == 1
    # After an outage the state is asked for at once: the server may have counted anew.
    assert polls == ["2", "0", "0", "0", "2", "2"]


def test_waiting_gives_up_after_its_patience_and_can_go_on_later(oms, client):
    query = client.smart_order("kraken", "USDT", "ETH", 1, wait=False)
    oms.faults.extend([None] + ["cut"] * 20)
    client.patience_s = 0.05
    with pytest.raises(OutcomeUnknown, match="has not answered") as caught:
        client.wait(query.query_id)
    assert caught.value.query_id == query.query_id
    oms.faults.clear()
    assert caught.value.resolve(5).status == "done"


def test_a_timeout_says_that_nothing_is_wrong(oms, client):
    query = client.smart_order("kraken", "USDT", "ETH", 1, wait=False)
    with pytest.raises(OutcomeUnknown, match="still being worked on.*Nothing is wrong") as caught:
        client.wait(query.query_id, timeout=0)
    assert caught.value.query.status == "working"


def test_a_key_revoked_while_waiting_leaves_the_outcome_unknown(oms, client):
    query = client.smart_order("kraken", "USDT", "ETH", 1, wait=False)
    oms.faults.extend(
        [None, (401, json.dumps({"status": "error", "error": error_view("AUTH_UNKNOWN_KEY")}), {})]
    )
    with pytest.raises(OutcomeUnknown, match="AUTH_UNKNOWN_KEY|no"):
        client.wait(query.query_id)


def test_a_query_nobody_knows(oms, client):
    with pytest.raises(NotFound):
        client.wait("q-404")


def test_long_polls_name_what_was_seen_and_do_not_spin(oms, client):
    """A busy server answers long-polls at once and unchanged; the client pauses then."""
    oms.stages = [{"seq": 1}] * 4 + [{"status": "done", "result": RESULT}]
    client.smart_order("kraken", "USDT", "ETH", 1)
    polls = [request.query for request in oms.requests if request.verb == "get_query"]
    assert [poll["after_seq"] for poll in polls] == ["1"] * 5
    assert {poll["wait_s"] for poll in polls} == {"2"}  # below the time-out of 7 s
    assert heard(client) == [("working", 1), ("done", 2)] or len(heard(client)) == 2


def test_a_mistake_in_the_bots_own_callback_does_not_lose_the_order(oms, caplog):
    def broken(query):
        raise RuntimeError("the bot's own mistake")

    made = OMSClient("alice", oms.url, "b", key=KEY.reveal(), on_event=broken)
    assert made.smart_order("kraken", "USDT", "ETH", 1)["outcome"] == "done"
    assert "on_event failed for query q-1" in caplog.text


def test_progress_is_printed_when_asked_for(oms, monkeypatch, capsys):
    monkeypatch.setenv("OMS_PROGRESS", "1")
    oms.stages = [
        {"progress": PROGRESS},
        {"progress": PROGRESS},
        {"status": "done", "progress": None, "result": RESULT},
    ]
    OMSClient("alice", oms.url, "b", key=KEY.reveal()).smart_order("kraken", "USDT", "ETH", 1000)
    lines = [line[9:] for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "smart_order kraken: accepted as q-1",
        "smart_order kraken: making, try 2/6, buy ETH/USDT at 2450.1, filled 0.1 of 0.4, 25 %",
        "smart_order kraken: done: spent 999.9 USDT, received 0.40771 ETH at 2452.4785, fees 0.00040771 ETH, "
        "15.4 bp better than taking at once, 14.2 s",
    ]


def test_nothing_is_printed_when_nobody_watches(oms, monkeypatch, capsys):
    monkeypatch.delenv("OMS_PROGRESS", raising=False)
    OMSClient("alice", oms.url, "b", key=KEY.reveal()).smart_order("kraken", "USDT", "ETH", 1000)
    assert capsys.readouterr().out == ""


# --- a bot that dies ---


def test_the_same_idempotency_key_is_the_same_query(oms):
    oms.stages = [{"status": "done", "result": RESULT}]
    results = [
        OMSClient("alice", oms.url, "b", key=KEY.reveal()).smart_order(
            "kraken", "USDT", "ETH", 1, idempotency_key="k-1"
        )
        for _ in range(2)
    ]
    assert results[0] == results[1] and len(oms.queries) == 1
    assert (results[0].query.duplicate, results[1].query.duplicate) == (False, True)
    with pytest.raises(IdempotencyConflict):
        OMSClient("alice", oms.url, "b", key=KEY.reveal()).smart_order(
            "kraken", "USDT", "ETH", 2, idempotency_key="k-1"
        )


def test_a_bot_that_died_finds_its_call_again_in_its_store(oms, tmp_path):
    """The machine dies while the order runs; started again, the bot calls again and gets the first result."""
    store = tmp_path / "calls.json"
    oms.hold.clear()
    oms.stages = [{"status": "done", "result": RESULT}]
    dead = OMSClient("alice", oms.url, "b", key=KEY.reveal(), idempotency_store=store)
    threading.Thread(target=lambda: dead.smart_order("kraken", "USDT", "ETH", 1), daemon=True).start()
    assert oms.polled.wait(5)
    reborn = OMSClient("alice", oms.url, "b", key=KEY.reveal(), idempotency_store=store)
    oms.hold.set()
    assert reborn.smart_order("kraken", "USDT", "ETH", 1).received == Decimal("0.40771")
    assert len(oms.queries) == 1
    # Over is over: the next call is a new intention.
    reborn.smart_order("kraken", "USDT", "ETH", 1)
    assert len(oms.queries) == 2


def test_a_newer_client_finds_the_calls_of_an_older_one(oms, tmp_path):
    """What is new in a call stays out of its body until it is used: the key kept for the call still fits."""
    body = {
        "exchange": "kraken",
        "start_currency": "USDT",
        "end_currency": "ETH",
        "start_amount": "1",
        "time_limit": "60",
        "account": None,
        "bot": "b",
        "record_in_db": True,
        "send_fail_email": True,
        "dry_run": False,
    }
    call = json.dumps({"verb": "smart_order", **body}, sort_keys=True)
    store = tmp_path / "calls.json"
    store.write_text(json.dumps({hashlib.sha256(call.encode()).hexdigest()[:32]: ["key-of-0.1.0"]}))
    made = OMSClient("alice", oms.url, "b", key=KEY.reveal(), idempotency_store=store)
    made.smart_order("kraken", "USDT", "ETH", 1)
    assert oms.writes[0].key == "key-of-0.1.0"


def test_a_quote_is_never_an_old_one(oms, tmp_path):
    oms.faults.extend(["lose"] * 3)
    made = OMSClient("alice", oms.url, "b", key=KEY.reveal(), idempotency_store=tmp_path / "calls.json")
    ask = {"exchange": "kraken", "end_currency": "USDT"}
    with pytest.raises(OutcomeUnknown):
        made.quote("liquidate", **ask)
    made.quote("liquidate", **ask)
    assert oms.writes[-1].key != oms.writes[0].key


def test_two_threads_that_ask_the_same_get_two_orders(oms, tmp_path):
    made = OMSClient("alice", oms.url, "b", key=KEY.reveal(), idempotency_store=tmp_path / "calls.json")
    threads = [threading.Thread(target=made.smart_order, args=("kraken", "USDT", "ETH", 1)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(oms.queries) == 4


@pytest.mark.parametrize(
    ("fault", "remembered"),
    [
        pytest.param(["cut"] * 3, True, id="unknown"),
        pytest.param(
            [(422, json.dumps({"status": "error", "error": error_view("AMOUNT_TOO_SMALL")}), {})],
            False,
            id="no",
        ),
    ],
)
def test_a_key_is_kept_exactly_as_long_as_its_outcome_is_unknown(oms, tmp_path, fault, remembered):
    store = tmp_path / "calls.json"
    oms.faults.extend(fault)
    made = OMSClient("alice", oms.url, "b", key=KEY.reveal(), idempotency_store=store)
    with pytest.raises(OMSError):
        made.market_order("kraken", "buy", "ETH/USDT", 1)
    keys = [key for keys in json.loads(store.read_text()).values() for key in keys]
    assert keys == ([oms.writes[0].key] if remembered else [])
    made.market_order("kraken", "buy", "ETH/USDT", 1)
    assert (oms.writes[-1].key == oms.writes[0].key) is remembered
    assert json.loads(store.read_text()) == {}


def test_a_spoiled_store_is_not_overwritten(tmp_path):
    path = tmp_path / "calls.json"
    path.write_text("precious")
    with pytest.raises(ConfigError, match="is not a file of this client"):
        PendingCalls(path)
    assert path.read_text() == "precious"


def test_idempotency_keys_are_version_7_uuids_in_order():
    import uuid

    keys = []
    for _ in range(3):
        keys.append(oms_client.connection.new_idempotency_key())
        time.sleep(0.002)
    assert keys == sorted(keys) and len(set(keys)) == 3
    assert {uuid.UUID(key).version for key in keys} == {7} and {uuid.UUID(key).variant for key in keys} == {
        uuid.RFC_4122
    }


# --- threads, sessions, set-up ---


def test_one_client_in_many_threads(oms):
    made = OMSClient("alice", oms.url, "b", key=KEY.reveal())
    failures = []

    def work():
        try:
            for _ in range(5):
                made.check_health()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made.close()
    assert failures == [] and len(oms.requests) == 30 and len(set(nonces(oms.requests))) == 30


def test_a_session_of_ones_own(oms):
    session = requests.Session()
    session.headers["X-Mine"] = "1"
    OMSClient("alice", oms.url, "b", key=KEY.reveal(), session=session).check_health()
    assert oms.requests[0].headers["X-Mine"] == "1"


def test_a_proxy_in_the_environment_does_not_swallow_this_machine(oms, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    OMSClient("alice", oms.url, "b", key=KEY.reveal()).check_health()
    assert len(oms.requests) == 1


def test_from_the_environment(oms, monkeypatch, tmp_path):
    monkeypatch.setenv("OMS_URL", oms.url)
    monkeypatch.setenv("OMS_USER", "alice")
    monkeypatch.setenv("OMS_BOT", "env-bot")
    monkeypatch.setenv("OMS_KEY", KEY.reveal())
    with OMSClient.from_env() as made:
        made.check_health()
    assert (made.user_name, made.bot_name, made.url) == ("alice", "env-bot", oms.url)
    monkeypatch.delenv("OMS_KEY")
    path = tmp_path / "key"
    path.write_text(f"# comment\nOMS_KEY={KEY.reveal()}\n")
    path.chmod(0o600)
    monkeypatch.setenv("OMS_KEY_FILE", str(path))
    assert OMSClient.from_env(botName="other").keyid == KEY.keyid


def test_a_key_file_others_can_read_is_used_with_a_warning(tmp_path, caplog):
    path = tmp_path / "key"
    path.write_text(KEY.reveal())
    path.chmod(0o644)
    assert OMSClient(key_file=path).keyid == KEY.keyid
    assert "chmod 600" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"key": ""}, "key is empty"),
        ({"key": "nonsense!"}, "key: a key is 32 bytes"),
        ({"key": str(KEY.public)}, "this is a PUBLIC key"),
        ({"key": KEY.reveal(), "key_file": "x"}, "both given"),
        ({"key_file": "/nowhere/key"}, "/nowhere/key cannot be read"),
        ({"key": KEY.reveal(), "url": "127.0.0.1:8888"}, "url: .* is not an address"),
        ({"key": KEY.reveal(), "url": "http://user:pass@host"}, "holds more than"),
        ({"key": KEY.reveal(), "timeout": None}, "timeout"),
        ({"key": KEY.reveal(), "timeout": 0}, "timeout"),
        ({"key": KEY.reveal(), "recordInDb": "no"}, "recordInDb: 'no' is neither True nor False"),
    ],
)
def test_a_wrong_set_up_is_explained(arguments, says):
    with pytest.raises(ConfigError, match=says):
        OMSClient(**arguments)


def test_without_a_key(monkeypatch):
    monkeypatch.delenv("OMS_KEY", raising=False)
    with pytest.raises(ConfigError, match="OMS_KEY is not set.*oms keygen"):
        OMSClient()


def test_a_client_does_not_show_its_key(oms):
    made = OMSClient("alice", oms.url, "b", key=KEY.reveal())
    assert repr(made) == f"OMSClient('alice', '{oms.url}', 'b', keyid='{KEY.keyid}')"
    assert KEY.reveal() not in repr(vars(made)) + repr(vars(made._transport))


def test_the_default_address():
    assert OMSClient(key=KEY.reveal()).url == "http://127.0.0.1:8888"


def test_the_package_says_it_is_typed():
    assert (Path(oms_client.__file__).parent / "py.typed").exists()
