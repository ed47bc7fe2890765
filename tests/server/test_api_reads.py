"""Reads over HTTP: strict parameters, own things only, exact shapes, and waiting that starves nobody."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from urllib.parse import quote

import pytest

import oms_client
from ems.core import errors
from ems.core.codec import jsonable
from ems.core.records import Query, QueryStatus, Status
from ems.runner import QueryState
from ems.store import OrderFilter
from server.api.lanes import (
    LIST_READS_MAX,
    LONG_POLLS_MAX,
    NEW_ORDERS_MAX,
    PICTURES_MAX,
    VENUE_READS_MAX,
    Lane,
)
from server.api.queries import MAX_WAIT_S
from server.api.views import order_view
from server.release import VERSION, configuration
from server.settings import Settings
from tests.server.api_world import FILL, NOW, SMART_ORDER, Caller, StubDesk, make_app, make_order


@pytest.fixture
def desk() -> StubDesk:
    return StubDesk(orders={"o-1": make_order(), "o-2": make_order(order_id="o-2", user="bob")})


@pytest.fixture
def alice(desk: StubDesk) -> Caller:
    return Caller(make_app(desk).test_client(), "alice")


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
    "reduce_only": False,
    "price": "2450.1",
    "stop_price": None,
    "emulated": False,
    "expires_at": None,
    "expires_by": None,
    "replaces": None,
    "protection_price": None,
    "cross_id": None,
    "fee_saved": None,
    "purpose": "direct",
    "quantity": "0.3",
    "filled_quantity": "0.1",
    "remaining_quantity": "0.2",
    "average_price": "2450.1",
    "status": "partially_filled",
    "reason": "",
    "fees": {"ETH": "0.0001"},
    "created_at": "2026-11-21T06:30:00.000000Z",
    "updated_at": None,
    "closed_at": None,
    "pnl": None,
    "fills": [
        {
            "fill_id": "81236",
            "price": "2450.1",
            "quantity": "0.1",
            "fee": "0.0001",
            "fee_currency": "ETH",
            "liquidity": "maker",
            "timestamp": "2026-11-21T06:30:00.000000Z",
        }
    ],
}


CHANGE = {
    "timestamp": "2026-11-21T06:30:01.250000Z",
    "status": "rejected",
    "what": "reject",
    "message": "no",
    "code": "VENUE_REJECTED",
    "venue_code": "-2010",
    "venue_message": "No.",
    "pnl": {"currency": "USDT", "realised": "0", "fees": "0", "pnl": "0", "fills": 0, "unvalued_fills": 0},
}


def test_an_order_with_its_fills(alice: Caller) -> None:
    response = alice.get("/api/get_order?order_id=o-1")
    assert response.status_code == 200
    assert response.get_json() == {
        "status": "ok",
        "mode": "paper",
        "request_id": "r-1",
        "data": {**ORDER, "history": [CHANGE]},
    }


def test_what_remains_of_an_ended_order_is_nothing() -> None:
    ended = order_view(make_order(status=Status.CANCELED), [])
    assert jsonable(ended["remaining_quantity"]) == "0"
    untouched = order_view(make_order(filled_quantity=Decimal(0), quote_filled=Decimal(0), price=None), [])
    assert (untouched["average_price"], untouched["price"]) == (None, None)


OTHERS = {
    "order of another user": ("/api/get_order?order_id=o-2", "ORDER_NOT_FOUND"),
    "order that never was": ("/api/get_order?order_id=o-99", "ORDER_NOT_FOUND"),
    "query that never was": ("/api/get_query?query_id=q-99", "QUERY_NOT_FOUND"),
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("user", ["alice", "rita", "adam"])
def test_what_is_not_yours_does_not_exist(desk: StubDesk, name: str, user: str) -> None:
    target, code = OTHERS[name]
    response = Caller(make_app(desk).test_client(), user).get(target)
    assert response.status_code == 404
    assert response.get_json()["error"]["code"] == code


def test_another_users_query_does_not_exist(desk: StubDesk) -> None:
    client = make_app(desk).test_client()
    query_id = Caller(client, "alice").post("smart_order", SMART_ORDER).get_json()["data"]["query_id"]
    assert Caller(client, "alice").get(f"/api/get_query?query_id={query_id}").status_code == 200
    assert Caller(client, "bob").get(f"/api/get_query?query_id={query_id}").status_code == 404
    assert Caller(client, "adam").get(f"/api/get_query?query_id={query_id}").status_code == 404


def test_a_failed_query_is_told_as_a_query(desk: StubDesk, alice: Caller) -> None:
    desk.query_error = errors.problem(errors.FUNDS_INSUFFICIENT, "too little", details={"needed": "5"})
    alice.post("smart_order", SMART_ORDER)
    response = alice.get("/api/get_query?query_id=q-1")
    assert response.status_code == 200
    data = response.get_json()["data"]
    assert (data["status"], data["error"]["code"], data["error"]["details"]) == (
        "failed",
        "FUNDS_INSUFFICIENT",
        {"needed": "5"},
    )


def test_a_query_shows_progress_result_and_orders(desk: StubDesk, alice: Caller) -> None:
    query = Query(
        query_id="q-7",
        user="alice",
        bot="bot-1",
        verb="smart_order",
        exchange="kraken",
        parameters={},
        idempotency_key="k",
        body_digest="d",
        record_in_db=True,
        send_fail_email=True,
        mode="live",
        status=QueryStatus.DONE,
        accepted_at=NOW,
        finished_at=NOW,
        result={"received": "0.4"},
        seq=7,
    )
    desk.states["q-7"] = QueryState(
        query=query, orders=[make_order()], fills={"o-1": [FILL]}, progress={"try": 2}
    )
    answer = alice.get("/api/get_query?query_id=q-7").get_json()
    assert answer["mode"] == "live"
    assert answer["data"]["orders"] == [ORDER]
    assert (answer["data"]["progress"], answer["data"]["result"], answer["data"]["seq"]) == (
        {"try": 2},
        {"received": "0.4"},
        7,
    )


def test_past_orders_are_filtered_and_paged(desk: StubDesk, alice: Caller) -> None:
    target = (
        "/api/get_past_orders?exchange=GDAX&symbol=eth/usdt&of_bot=bot-9&since=2026-11-21T07:00:00%2B02:00"
        f"&until=2026-11-22T00:00:00Z&limit=7&cursor={quote('a|b')}&bot=asker"
    )
    response = alice.get(target)
    assert response.get_json()["data"] == {"orders": [ORDER], "next_cursor": "next|1"}
    assert desk.calls == [
        (
            "past_orders",
            "alice",
            "asker",
            OrderFilter(
                user="alice",
                bot="bot-9",
                exchange="coinbaseexchange",
                symbol="ETH/USDT",
                since=datetime(2026, 11, 21, 5, 0, tzinfo=UTC),
                until=datetime(2026, 11, 22, tzinfo=UTC),
                limit=7,
                cursor="a|b",
            ),
        )
    ]


def test_without_filters_the_whole_user_is_meant(desk: StubDesk, alice: Caller) -> None:
    alice.get("/api/get_past_orders")
    assert desk.calls == [("past_orders", "alice", "default", OrderFilter(user="alice", limit=100))]


PASSED_ON: dict[str, tuple[str, dict[str, object]]] = {  # target -> what the desk is asked
    "/api/get_balances?exchange=Kraken": ("balances", {"exchange": "kraken", "account": "default"}),
    "/api/get_positions?account=one": ("positions", {"exchange": None, "account": "one"}),
    "/api/get_positions?exchange=OKX&account=two": ("positions", {"exchange": "okx", "account": "two"}),
    "/api/get_fees?exchange=kraken&account=two&symbol=eth/usdt": (
        "fees",
        {"exchange": "kraken", "account": "two", "symbol": "ETH/USDT"},
    ),
    "/api/get_withdrawal_deposit_history?exchange=kraken&currency=usdt&since=2026-11-21T00:00:00Z&limit=5": (
        "transfers",
        {
            "exchange": "kraken",
            "account": "default",
            "currency": "USDT",
            "since": datetime(2026, 11, 21, tzinfo=UTC),
            "until": None,
            "limit": 5,
            "cursor": None,
        },
    ),
    "/api/get_exchange_orders?exchange=kraken&symbol=eth/usdt&until=2026-11-21T00:00:00Z&cursor=c-1": (
        "exchange_orders",
        {
            "everyone": False,
            "exchange": "kraken",
            "account": "default",
            "symbol": "ETH/USDT",
            "since": None,
            "until": datetime(2026, 11, 21, tzinfo=UTC),
            "limit": 100,
            "cursor": "c-1",
        },
    ),
}


COSTS: dict[str, dict[str, object]] = {  # query string -> what the desk is asked, beside who asks
    "": {"since": None, "until": None, "exchange": None, "algo": None, "limit": 100},
    "?since=2026-11-21T00:00:00Z&until=2026-11-22T00:00:00Z&exchange=GDAX&algo=TWAP&limit=7&bot=b": {
        "since": datetime(2026, 11, 21, tzinfo=UTC),
        "until": datetime(2026, 11, 22, tzinfo=UTC),
        "exchange": "coinbaseexchange",
        "algo": "twap",
        "limit": 7,
        "bot": "b",
    },
}


@pytest.mark.parametrize("target", COSTS)
def test_costs_are_asked_as_figures_and_as_a_picture(desk: StubDesk, alice: Caller, target: str) -> None:
    asked = {"user": "alice", "bot": "default", **COSTS[target]}
    figures = alice.get(f"/api/tca{target}")
    assert figures.get_json()["data"] == {"summary": {"n": 0}, "groups": {"algo": []}, "rows": []}
    picture = alice.get(f"/api/tca.png{target}")
    assert (picture.status_code, picture.mimetype) == (200, "image/png")
    assert picture.get_data() == desk.cost_plot()
    assert desk.calls[:2] == [("costs", asked), ("cost_plot", asked)]


def test_drawing_does_not_hold_every_thread(desk: StubDesk, alice: Caller) -> None:
    lane = make_lane_full(alice, "pictures", PICTURES_MAX)
    busy = alice.get("/api/tca.png")
    assert (busy.status_code, busy.get_json()["error"]["code"]) == (503, errors.ENGINE_BUSY)
    assert desk.calls == []
    assert alice.get("/api/tca").status_code == 200
    lane.release()
    desk.problem = errors.problem(errors.STORE_UNAVAILABLE, "the database is away")
    for _ in range(3):
        assert alice.get("/api/tca.png").get_json()["error"]["code"] == errors.STORE_UNAVAILABLE


@pytest.mark.parametrize("target", PASSED_ON)
def test_questions_about_accounts_are_passed_on(desk: StubDesk, alice: Caller, target: str) -> None:
    name, asked = PASSED_ON[target]
    assert alice.get(f"{target}&bot=b").status_code == 200
    assert desk.calls == [(name, {"user": "alice", "bot": "b", **asked})]


def test_amounts_in_answers_are_strings(alice: Caller) -> None:
    assert alice.get("/api/get_balances?exchange=kraken").get_json()["data"] == {
        "exchange": "kraken",
        "balances": {"USDT": {"free": "1000.5"}},
    }
    assert alice.get("/api/get_order_stats").get_json()["data"] == {"orders": 1, "volume": {"USDT": "2.5"}}


def test_a_refusal_of_the_desk_is_passed_on_with_the_mode_of_the_exchange(
    desk: StubDesk, alice: Caller
) -> None:
    desk.live = {"kraken"}
    desk.problem = errors.problem(errors.VENUE_UNAVAILABLE, "kraken is silent")
    response = alice.get("/api/get_balances?exchange=kraken")
    assert response.status_code == 502
    assert response.get_json()["mode"] == "live"
    assert response.get_json()["error"]["retry_safe"] is True


BAD = {  # target -> (code, field)
    "/api/get_balances": ("REQUEST_FIELD_MISSING", "exchange"),
    "/api/get_balances?exchange=": ("REQUEST_FIELD_INVALID", "exchange"),
    "/api/get_balances?exchange=kraken&exchange=binance": ("REQUEST_FIELD_INVALID", "exchange"),
    "/api/get_balances?exchange=kraken&user=bob": ("REQUEST_FIELD_UNKNOWN", "user"),
    "/api/get_balances?exchange=kraken&account=a%00b": ("REQUEST_FIELD_INVALID", "account"),
    "/api/get_balances?exchange=kraken%ff": ("REQUEST_FIELD_INVALID", "exchange"),
    "/api/get_past_orders?limit=0": ("REQUEST_FIELD_INVALID", "limit"),
    "/api/get_past_orders?limit=1001": ("REQUEST_FIELD_INVALID", "limit"),
    "/api/get_past_orders?limit=1e9": ("REQUEST_FIELD_INVALID", "limit"),
    "/api/get_past_orders?limit=-1": ("REQUEST_FIELD_INVALID", "limit"),
    "/api/get_past_orders?limit=%D9%A3": ("REQUEST_FIELD_INVALID", "limit"),
    "/api/get_past_orders?since=yesterday": ("REQUEST_FIELD_INVALID", "since"),
    "/api/get_past_orders?since=2026-11-21T00:00:00": ("REQUEST_FIELD_INVALID", "since"),
    "/api/get_past_orders?since=2026-02-30T00:00:00Z": ("REQUEST_FIELD_INVALID", "since"),
    "/api/get_past_orders?since=0001-01-01T00:00:00%2B23:59": ("REQUEST_FIELD_INVALID", "since"),
    "/api/get_past_orders?sort=price": ("REQUEST_FIELD_UNKNOWN", "sort"),
    "/api/get_query?query_id=q-1&wait_s=26": ("REQUEST_FIELD_INVALID", "wait_s"),
    "/api/get_query?query_id=q-1&wait_s=0.5": ("REQUEST_FIELD_INVALID", "wait_s"),
    "/api/get_query?query_id=q-1&after_seq=99999999999999999999": ("REQUEST_FIELD_INVALID", "after_seq"),
    "/api/get_query?query_id=q%0A1": ("REQUEST_FIELD_INVALID", "query_id"),
    "/api/tca?algo=magic": ("REQUEST_FIELD_INVALID", "algo"),
    "/api/tca?exchange=all,kraken": ("REQUEST_FIELD_INVALID", "exchange"),
    "/api/tca.png?since=7d": ("REQUEST_FIELD_INVALID", "since"),
    "/api/tca.png?width=5": ("REQUEST_FIELD_UNKNOWN", "width"),
    "/api/check_health?verbose=1": ("REQUEST_FIELD_UNKNOWN", "verbose"),
}


@pytest.mark.parametrize("target", BAD)
def test_bad_parameters_ask_nothing_of_the_desk(desk: StubDesk, alice: Caller, target: str) -> None:
    code, field = BAD[target]
    response = alice.get(target)
    assert response.status_code == 400
    error = response.get_json()["error"]
    assert (error["code"], error["details"]["field"]) == (code, field)
    assert error["hint"]
    assert desk.calls == []


def test_seq_in_microseconds_can_be_waited_for(desk: StubDesk, alice: Caller) -> None:
    seq = int(NOW.timestamp() * 1_000_000)
    desk.release.set()
    alice.get(f"/api/get_query?query_id=q-1&after_seq={seq}&wait_s={MAX_WAIT_S}")
    assert desk.calls == [("wait", "alice", "q-1", seq, 25.0)]


def test_many_waiting_callers_do_not_hold_every_thread(desk: StubDesk) -> None:
    app = make_app(desk)
    started = time.monotonic()
    waiting = [
        threading.Thread(
            target=lambda: Caller(app.test_client()).get("/api/get_query?query_id=q-1&wait_s=25")
        )
        for _ in range(LONG_POLLS_MAX)
    ]
    for thread in waiting:
        thread.start()
    while sum(1 for call in list(desk.calls) if call[0] == "wait") < LONG_POLLS_MAX:
        assert time.monotonic() - started < 10
        time.sleep(0.005)
    one_more = Caller(app.test_client()).get("/api/get_query?query_id=q-1&wait_s=25")
    assert one_more.status_code == 404  # it answered at once, there is no such query
    assert desk.calls[-1] == ("wait", "alice", "q-1", 0, 0.0)
    desk.release.set()
    for thread in waiting:
        thread.join(5)
    # The places are free again.
    Caller(app.test_client()).get("/api/get_query?query_id=q-1&wait_s=25")
    assert desk.calls[-1] == ("wait", "alice", "q-1", 0, 25.0)
    assert time.monotonic() - started < 15


def test_health_is_told_to_those_who_sign(desk: StubDesk, alice: Caller) -> None:
    desk.missing = ["kraken/default: reconciling"]
    assert alice.get("/api/check_health").get_json()["data"] == {
        "ready": False,
        "missing": ["kraken/default: reconciling"],
        "notifications": {"channels": ["in_app"], "waiting": {}, "trouble": {"channels": "in trouble"}},
        "accounts": [],
        "server_time": "2026-11-21T06:30:00.000000Z",
        "loop_lag_ms": 0,
    }
    trouble = Caller(alice.client, "adam").get("/api/check_health").get_json()["data"]["notifications"]
    assert trouble["trouble"] == {"desk@example.org": "away"}, "addresses are for admins"


def test_a_silent_exchange_does_not_hold_every_thread(desk: StubDesk, alice: Caller) -> None:
    lane = make_lane_full(alice, "venue_reads", VENUE_READS_MAX)
    lists = make_lane_full(alice, "list_reads", LIST_READS_MAX)
    for target in PASSED_ON:
        response = alice.get(target)
        assert (response.status_code, response.get_json()["error"]["code"]) == (503, errors.ENGINE_BUSY)
        assert response.headers["Retry-After"] == "1"
    assert desk.calls == []
    lists.release()
    assert alice.get("/api/get_order?order_id=o-1").status_code == 200
    lane.release()
    for _ in range(3):  # a place is given back every time
        assert alice.get("/api/get_balances?exchange=kraken").status_code == 200


def test_whoever_reads_a_long_past_keeps_nobody_from_the_balances(desk: StubDesk, alice: Caller) -> None:
    make_lane_full(alice, "list_reads", LIST_READS_MAX)
    for target in (
        "get_exchange_orders?exchange=kraken",
        "get_withdrawal_deposit_history?exchange=kraken",
        "get_order_stats?exchange=kraken&source=exchange",
    ):
        assert alice.get(f"/api/{target}").get_json()["error"]["code"] == errors.ENGINE_BUSY, target
    assert desk.calls == []
    for target in ("get_balances?exchange=kraken", "get_fees?exchange=kraken", "check_health"):
        assert alice.get(f"/api/{target}").status_code == 200, target


def test_cancels_find_a_thread_when_new_orders_do_not(desk: StubDesk, alice: Caller) -> None:
    lane = make_lane_full(alice, "new_orders", NEW_ORDERS_MAX)
    busy = alice.post("smart_order", SMART_ORDER)
    assert (busy.status_code, busy.get_json()["error"]["retry_safe"]) == (503, True)
    assert desk.calls == []
    assert alice.post("cancel_order", {"order_id": "o-1"}).status_code == 202
    assert alice.post("cancel_all_orders", {}).status_code == 202
    lane.release()
    desk.failure = RuntimeError("broken")
    assert alice.post("smart_order", SMART_ORDER).status_code == 500
    desk.failure = None
    assert alice.post("smart_order", SMART_ORDER).status_code == 202


def make_lane_full(caller: Caller, name: str, places: int) -> Lane:
    """Take every place of a lane, as callers that wait would."""
    lane: Lane = getattr(caller.client.application.extensions["oms"].lanes, name)
    for _ in range(places):
        assert lane.acquire(blocking=False)
    return lane


def test_what_runs_is_told_and_changes_with_a_setting(alice: Caller) -> None:
    told = alice.get("/version").get_json()["data"]
    assert told["release"] == f"{told['version']}+{told['configuration']}"
    one, other = Settings(port=8888), Settings(port=8889)
    assert configuration(one) == configuration(Settings(port=8888)) != configuration(other)
    assert configuration(replace(one, db_url="postgres://user:secret@host/name")) == configuration(one)
    assert VERSION == oms_client.__version__
