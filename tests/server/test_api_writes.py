"""Writes over HTTP: what reaches the desk, what is answered, and that a bad request trades nothing."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from ems.core import errors
from ems.core.codec import Options, digest
from ems.core.messages import (
    CancelAllOrders,
    CancelOrder,
    ExecuteQuote,
    HaltTrading,
    LimitOrder,
    Liquidate,
    MarketOrder,
    NonceUse,
    Quote,
    Rebalance,
    Share,
    Side,
    SmartOrder,
    Style,
    Ticket,
    TimeInForce,
)
from ems.core.records import QueryStatus
from server.api.answers import HTTP_STATUS
from tests.server.api_world import (
    BODIES,
    HOST,
    MARKET_ORDER,
    SMART_ORDER,
    Caller,
    StubDesk,
    key,
    make_app,
    signed,
)


@pytest.fixture
def desk() -> StubDesk:
    return StubDesk()


@pytest.fixture
def alice(desk: StubDesk) -> Caller:
    return Caller(make_app(desk).test_client())


COMMANDS = {  # name -> (verb, body, command)
    "market order": (
        "market_order",
        MARKET_ORDER,
        MarketOrder(exchange="kraken", side=Side.BUY, symbol="ETH/USDT", quantity=Decimal("0.25")),
    ),
    "names in another case": (
        "market_order",
        {"exchange": "Kraken", "side": "BUY", "symbol": "eth/usdt", "quantity": 2},
        MarketOrder(exchange="kraken", side=Side.BUY, symbol="ETH/USDT", quantity=Decimal(2)),
    ),
    "gdax is Coinbase Exchange": (
        "market_order",
        {**MARKET_ORDER, "exchange": "gdax"},
        MarketOrder(exchange="coinbaseexchange", side=Side.BUY, symbol="ETH/USDT", quantity=Decimal("0.25")),
    ),
    "limit order": (
        "limit_order",
        {**MARKET_ORDER, "price": "2450.10", "time_in_force": "ioc", "post_only": False, "account": "second"},
        LimitOrder(
            exchange="kraken",
            side=Side.BUY,
            symbol="ETH/USDT",
            quantity=Decimal("0.25"),
            price=Decimal("2450.1"),
            time_in_force=TimeInForce.IOC,
            account="second",
        ),
    ),
    "smart order": (
        "smart_order",
        {**SMART_ORDER, "time_limit": "2.5"},
        SmartOrder(
            exchange="kraken",
            start_currency="USDT",
            end_currency="ETH",
            start_amount=Decimal(1000),
            style=Style(algo="adaptive", time_limit=Decimal("2.5")),
        ),
    ),
    "a share of what is free, anywhere": (
        "smart_order",
        {**SMART_ORDER, "exchange": ["kraken", "binance"], "start_amount": "35%", "algo": "twap"},
        SmartOrder(
            exchange="binance,kraken",
            start_currency="USDT",
            end_currency="ETH",
            start_amount=Share(percent=Decimal(35)),
            style=Style(algo="twap"),
        ),
    ),
    "an amount to receive": (
        "smart_order",
        {**SMART_ORDER, "start_amount": None, "end_amount": "0.4"},
        SmartOrder(exchange="kraken", start_currency="USDT", end_currency="ETH", end_amount=Decimal("0.4")),
    ),
    "liquidate": (
        "liquidate",
        {"exchange": "kraken", "end_currency": "usdt", "exclude": ["ZEN"]},
        Liquidate(exchange="kraken", end_currency="USDT", exclude=("ZEN",)),
    ),
    "rebalance": (
        "rebalance",
        {"exchange": "all", "targets": {"BTC": "60%", "USDT": "0.4"}, "keep": ["ZEN"]},
        Rebalance(exchange="all", targets={"BTC": Decimal("0.6"), "USDT": Decimal("0.4")}, keep=("ZEN",)),
    ),
    "quote": (
        "quote",
        {"verb": "liquidate", "exchange": "kraken", "end_currency": "USDT"},
        Quote(command=Liquidate(exchange="kraken", end_currency="USDT")),
    ),
    "a quote carried out": (
        "smart_order",
        {"quote_id": "qt-1"},
        ExecuteQuote(verb="smart_order", quote_id="qt-1"),
    ),
    "cancel by our id": ("cancel_order", {"order_id": "o-1"}, CancelOrder(order_id="o-1")),
    "cancel by the bot's key": (
        "cancel_order",
        {"client_order_id": "key-9", "order_id": None},
        CancelOrder(client_order_id="key-9"),
    ),
    "halt everything": ("halt", {"all": True}, HaltTrading(all=True)),
    "halt an account": (
        "halt",
        {"exchange": "Kraken", "account": "second", "reason": "odd fills"},
        HaltTrading(exchange="kraken", account="second", reason="odd fills"),
    ),
    "halt a user's work in a market": (
        "halt",
        {"user": "bob", "symbol": "eth/usdt"},
        HaltTrading(user="bob", symbol="ETH/USDT"),
    ),
    "cancel all": ("cancel_all_orders", {}, CancelAllOrders()),
    "cancel all of the user in one market": (
        "cancel_all_orders",
        {"exchange": "kraken", "symbol": "ETH/USDT", "scope": "user"},
        CancelAllOrders(exchange="kraken", symbol="ETH/USDT", scope="user"),
    ),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_body_becomes_its_command(desk: StubDesk, alice: Caller, name: str) -> None:
    verb, body, command = COMMANDS[name]
    response = alice.post(verb, body)
    assert response.status_code == 202
    (call,) = desk.calls
    assert call[0] == "submit"
    assert call[2] == command


def test_the_ticket_says_who_asks_and_how(desk: StubDesk) -> None:
    alice = Caller(make_app(desk).test_client())
    body = {**MARKET_ORDER, "record_in_db": False, "send_fail_email": False, "dry_run": True, "bot": "Köln 1"}
    alice.post("market_order", body, idempotency_key="my key")
    _, ticket, command = desk.calls[0]
    assert isinstance(ticket, Ticket)
    nonce = ticket.nonce
    assert nonce is not None
    options = Options(bot="Köln 1", record_in_db=False, send_fail_email=False, dry_run=True)
    assert ticket == Ticket(
        user="alice",
        bot="Köln 1",
        idempotency_key="my key",
        body_digest=digest(command, options),  # type: ignore[arg-type]
        record_in_db=False,
        send_fail_email=False,
        dry_run=True,
        nonce=NonceUse(key_id=key("alice").keyid, nonce=nonce.nonce, expires_at=nonce.expires_at),
    )
    assert nonce.expires_at.tzinfo is not None


def test_the_answer_is_the_query_in_the_envelope(alice: Caller) -> None:
    response = alice.post("smart_order", SMART_ORDER, idempotency_key="key-1")
    assert response.status_code == 202
    assert response.get_json() == {
        "status": "ok",
        "mode": "paper",
        "request_id": "r-1",
        "data": {
            "query_id": "q-1",
            "user": "alice",
            "bot": "bot-1",
            "verb": "smart_order",
            "exchange": "kraken",
            "status": "working",
            "seq": 1,
            "accepted_at": "2026-11-21T06:30:00.000000Z",
            "finished_at": None,
            "duplicate": False,
            "parameters": {
                "exchange": "kraken",
                "start_currency": "USDT",
                "end_currency": "ETH",
                "start_amount": "1000",
                "algo": "adaptive",
                "time_limit": "60",
                "on_timeout": "take",
                "account": "default",
            },
            "progress": None,
            "result": None,
            "error": None,
            "orders": [],
        },
    }


def test_the_mode_is_that_of_the_exchange(desk: StubDesk, alice: Caller) -> None:
    desk.live = {"binance"}
    assert alice.post("smart_order", {**SMART_ORDER, "exchange": "binance"}).get_json()["mode"] == "live"
    assert alice.post("smart_order", SMART_ORDER).get_json()["mode"] == "paper"
    desk.problem = errors.problem(errors.AMOUNT_TOO_SMALL, "too small")
    for exchange, mode in (("kraken", "paper"), (["binance", "kraken"], "live"), ("all", "live")):
        refused = alice.post("smart_order", {**SMART_ORDER, "exchange": exchange})
        assert (refused.status_code, refused.get_json()["mode"]) == (422, mode)


def test_the_same_key_again_is_the_same_query(desk: StubDesk, alice: Caller) -> None:
    first = alice.post("smart_order", SMART_ORDER, idempotency_key="key-1")
    again = alice.post("smart_order", {**SMART_ORDER, "start_amount": 1000}, idempotency_key="key-1")
    assert (first.status_code, again.status_code) == (202, 200)
    assert again.get_json()["data"] == {**first.get_json()["data"], "duplicate": True}
    tickets = [call[1] for call in desk.calls]
    assert tickets[0].body_digest == tickets[1].body_digest  # type: ignore[attr-defined]


def test_a_query_finished_at_once_answers_200(desk: StubDesk, alice: Caller) -> None:
    desk.status = QueryStatus.DONE
    assert alice.post("cancel_all_orders", {}).status_code == 200
    quoted = alice.post("quote", {"verb": "liquidate", "exchange": "kraken", "end_currency": "USDT"})
    assert quoted.status_code == 200
    assert quoted.get_json()["data"]["verb"] == "quote"
    assert quoted.get_json()["data"]["parameters"]["verb"] == "liquidate"


def test_a_query_that_failed_answers_its_error(desk: StubDesk, alice: Caller) -> None:
    desk.query_error = errors.problem(
        errors.VENUE_REJECTED, "no", venue_code="-2010", venue_message="<b>no</b>"
    )
    response = alice.post("market_order", MARKET_ORDER)
    assert response.status_code == 422
    assert response.get_json()["error"] == {
        "code": "VENUE_REJECTED",
        "message": "no",
        "hint": errors.CODES["VENUE_REJECTED"].hint,
        "retry_safe": False,
        "details": {"query_id": "q-1", "duplicate": False},
        "venue_code": "-2010",
        "venue_message": "<b>no</b>",
    }


@pytest.mark.parametrize("code", errors.CODES)
def test_every_problem_of_the_desk_has_its_http_status(desk: StubDesk, alice: Caller, code: str) -> None:
    desk.problem = errors.problem(code, "because")
    response = alice.post("market_order", MARKET_ORDER)
    assert response.status_code == HTTP_STATUS[code]
    assert response.get_json()["error"]["code"] == code
    assert response.get_json()["error"]["hint"]
    assert ("Retry-After" in response.headers) == (response.status_code in (429, 503))


def test_a_mistake_of_ours_is_a_500_that_tells_nothing(desk: StubDesk, alice: Caller) -> None:
    desk.failure = RuntimeError("password=hunter2")
    response = alice.post("market_order", MARKET_ORDER)
    assert response.status_code == 500
    assert response.get_json()["error"]["code"] == errors.INTERNAL_ERROR
    assert response.get_json()["request_id"] == "r-1"
    assert "hunter2" not in response.text


BAD = {  # name -> (verb, body, code, field named)
    "negative amount": (
        "smart_order",
        {**SMART_ORDER, "start_amount": "-5"},
        "REQUEST_FIELD_INVALID",
        "start_amount",
    ),
    "1e400": (
        "smart_order",
        {**SMART_ORDER, "start_amount": "1e400"},
        "REQUEST_FIELD_INVALID",
        "start_amount",
    ),
    "zero": ("market_order", {**MARKET_ORDER, "quantity": "0"}, "REQUEST_FIELD_INVALID", "quantity"),
    "float": ("market_order", {**MARKET_ORDER, "quantity": 0.1}, "REQUEST_FIELD_INVALID", "quantity"),
    "bool": ("market_order", {**MARKET_ORDER, "quantity": True}, "REQUEST_FIELD_INVALID", "quantity"),
    "NaN": ("market_order", b'{"quantity": NaN}', "REQUEST_FIELD_MISSING", "exchange"),
    "no amount": (
        "smart_order",
        {k: v for k, v in SMART_ORDER.items() if k != "start_amount"},
        "REQUEST_FIELD_MISSING",
        "start_amount",
    ),
    "unknown field": ("market_order", {**MARKET_ORDER, "leverage": 5}, "REQUEST_FIELD_UNKNOWN", "leverage"),
    "somebody else's name": (
        "market_order",
        {**MARKET_ORDER, "user": "bob"},
        "REQUEST_FIELD_UNKNOWN",
        "user",
    ),
    "side": ("market_order", {**MARKET_ORDER, "side": "hold"}, "REQUEST_FIELD_INVALID", "side"),
    "symbol": ("market_order", {**MARKET_ORDER, "symbol": "ETHUSDT"}, "REQUEST_FIELD_INVALID", "symbol"),
    "exchange": ("market_order", {**MARKET_ORDER, "exchange": "../x"}, "REQUEST_FIELD_INVALID", "exchange"),
    "flag as text": ("market_order", {**MARKET_ORDER, "dry_run": "true"}, "REQUEST_FIELD_INVALID", "dry_run"),
    "bot with a line break": (
        "market_order",
        {**MARKET_ORDER, "bot": "a\nb"},
        "REQUEST_FIELD_INVALID",
        "bot",
    ),
    "same currency": (
        "smart_order",
        {**SMART_ORDER, "end_currency": "usdt"},
        "REQUEST_FIELD_INVALID",
        "end_currency",
    ),
    "both amounts": (
        "smart_order",
        {**SMART_ORDER, "end_amount": "1"},
        "REQUEST_FIELD_INVALID",
        "end_amount",
    ),
    "targets that are not the whole": (
        "rebalance",
        {"exchange": "kraken", "targets": {"BTC": "0.6"}},
        "REQUEST_FIELD_INVALID",
        "targets",
    ),
    "a target twice": (
        "rebalance",
        b'{"exchange": "kraken", "targets": {"BTC": "0.5", "BTC": "0.5"}}',
        "REQUEST_MALFORMED",
        "BTC",
    ),
    "a quote and more": (
        "smart_order",
        {"quote_id": "qt-1", "exchange": "kraken"},
        "REQUEST_FIELD_INVALID",
        "exchange",
    ),
    "both names": (
        "cancel_order",
        {"order_id": "a", "client_order_id": "b"},
        "REQUEST_FIELD_INVALID",
        "order_id",
    ),
    "neither name": ("cancel_order", {}, "REQUEST_FIELD_MISSING", "order_id"),
    "a list": ("cancel_order", [], "REQUEST_MALFORMED", None),
    "no JSON": ("cancel_order", b"order_id=1", "REQUEST_MALFORMED", None),
    "empty": ("cancel_order", b"", "REQUEST_MALFORMED", None),
    "twice": ("cancel_order", b'{"order_id": "a", "order_id": "b"}', "REQUEST_MALFORMED", "order_id"),
    "deep": ("cancel_order", b'{"order_id": ' + b"[" * 60_000, "REQUEST_MALFORMED", "order_id"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_body_is_recorded_and_never_submitted(desk: StubDesk, alice: Caller, name: str) -> None:
    verb, body, code, field = BAD[name]
    response = alice.post(verb, body)
    assert response.status_code == 400
    error = response.get_json()["error"]
    assert error["code"] == code
    assert error["hint"]
    assert error["details"].get("field") == field
    assert error["details"]["query_id"] == "q-1"
    (call,) = desk.calls
    assert call[:1] + call[2:3] == ("refuse", verb)
    assert call[5].code == code  # type: ignore[attr-defined]
    json.dumps(call[4])  # what is recorded is plain JSON


def test_every_problem_of_a_body_is_told_at_once(desk: StubDesk, alice: Caller) -> None:
    body = {"exchange": "kraken", "side": "up", "quantity": "-1", "amountt": 1, "api_secret": "hunter2"}
    response = alice.post("market_order", body, idempotency_key=None)
    error = response.get_json()["error"]
    said = [(p["code"], p.get("field")) for p in error["details"]["problems"]]
    assert said == [
        ("REQUEST_KEY_MISSING", None),
        ("REQUEST_FIELD_INVALID", "side"),
        ("REQUEST_FIELD_MISSING", "symbol"),
        ("REQUEST_FIELD_INVALID", "quantity"),
        ("REQUEST_FIELD_UNKNOWN", "amountt"),
        ("REQUEST_FIELD_UNKNOWN", "api_secret"),
    ]
    assert error["message"].startswith("the header Idempotency-Key is missing (and 5 more")
    assert "hunter2" not in response.text
    parameters = desk.calls[0][4]
    assert parameters == {
        "exchange": "kraken",
        "side": "up",
        "quantity": "-1",
        "amountt": "(unknown field)",
        "api_secret": "(unknown field)",
    }


def test_a_refused_body_still_says_how_its_failure_is_told(desk: StubDesk, alice: Caller) -> None:
    alice.post(
        "market_order", {"bot": "bot-7", "send_fail_email": False, "exchange": "kraken"}, idempotency_key="k"
    )
    _, ticket, _, exchange, _, _ = desk.calls[0]
    assert isinstance(ticket, Ticket)
    assert (exchange, ticket.user, ticket.bot) == ("kraken", "alice", "bot-7")
    assert (ticket.send_fail_email, ticket.record_in_db, ticket.idempotency_key) == (False, True, "k")


def test_a_mistake_is_told_even_when_it_cannot_be_recorded(desk: StubDesk, alice: Caller) -> None:
    desk.problem = errors.problem(errors.STORE_UNAVAILABLE, "the disk is full")
    response = alice.post("market_order", {**MARKET_ORDER, "quantity": "-1"})
    assert response.status_code == 400
    assert response.get_json()["error"]["code"] == errors.REQUEST_FIELD_INVALID


KEYS = {
    "absent": (None, False),
    "spaces only": (" ", False),
    "256 characters": ("k" * 256, False),
    "not ASCII": ("schlüssel", False),
    "tab": ("a\tb", False),
    "one character": ("k", True),
    "255 characters": ("k" * 255, True),
    "UUID": ("0193a5b2-7c1e-7d7a-9a53-3f2f6b1f0c11", True),
    "quoted": ('"abc"', True),
}


@pytest.mark.parametrize("name", KEYS)
def test_idempotency_keys(desk: StubDesk, alice: Caller, name: str) -> None:
    text, good = KEYS[name]
    response = alice.post("market_order", MARKET_ORDER, idempotency_key=text)
    if good:
        assert response.status_code == 202
        assert desk.calls[0][1].idempotency_key == text  # type: ignore[attr-defined]
    else:
        assert response.status_code == 400
        assert response.get_json()["error"]["code"] == errors.REQUEST_KEY_MISSING
        assert desk.calls[0][0] == "refuse"


def test_a_key_changed_on_the_way_is_refused(desk: StubDesk, alice: Caller) -> None:
    body = {**MARKET_ORDER, "idempotency_key": "key-1"}
    response = alice.post("market_order", body, idempotency_key="key-2")  # the signature does not cover this
    assert response.status_code == 400
    assert response.get_json()["error"]["details"]["field"] == "idempotency_key"
    assert [call[0] for call in desk.calls] == ["refuse"]
    assert alice.post("market_order", body, idempotency_key="key-1").status_code == 202


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
)
def test_other_content_types_are_refused(desk: StubDesk, alice: Caller, content_type: str) -> None:
    response = alice.post("market_order", MARKET_ORDER, **{"Content-Type": content_type})
    assert response.status_code == 415
    assert response.get_json()["error"]["code"] == errors.REQUEST_MALFORMED
    assert [call[0] for call in desk.calls] == ["refuse"]


def test_a_query_string_on_a_write_is_refused_rather_than_ignored(desk: StubDesk, alice: Caller) -> None:
    response = alice.post("/api/market_order?dry_run=true", MARKET_ORDER)
    assert response.status_code == 400
    assert "query string" in response.get_json()["error"]["message"]
    assert [call[0] for call in desk.calls] == ["refuse"]


def test_a_huge_body_is_refused_before_anything_looks_at_it(desk: StubDesk, alice: Caller) -> None:
    response = alice.post("market_order", b" " * 65_537)
    assert response.status_code == 413
    assert response.get_json()["error"]["code"] == errors.REQUEST_TOO_LARGE
    assert desk.calls == []


FOR_READERS = {"acknowledge_notification"}  # what one was told oneself


@pytest.mark.parametrize("verb", BODIES)
def test_nobody_writes_unsigned_or_with_a_read_key(desk: StubDesk, verb: str) -> None:
    client = make_app(desk).test_client()
    unsigned = client.post(f"/api/{verb}", json=BODIES[verb], headers={"Host": HOST, "Idempotency-Key": "k"})
    assert unsigned.status_code == 401
    assert unsigned.get_json()["error"]["code"] == errors.AUTH_MISSING
    assert isinstance(unsigned.get_json()["error"]["details"]["server_time_ms"], int)
    assert desk.calls == []
    reader = Caller(client, "rita").post(verb, BODIES[verb])
    if verb in FOR_READERS:
        assert reader.status_code == 200
        return
    assert reader.status_code == 403
    assert reader.get_json()["error"]["code"] == errors.AUTH_FORBIDDEN
    assert desk.calls == []


def test_a_changed_body_does_not_fit_its_signature(desk: StubDesk) -> None:
    client = make_app(desk).test_client()
    body, other = json.dumps(MARKET_ORDER).encode(), json.dumps({**MARKET_ORDER, "quantity": "9"}).encode()
    headers = {"Host": HOST, "Content-Type": "application/json", "Idempotency-Key": "k"}
    response = client.post(
        "/api/market_order",
        data=other,
        headers={**headers, **signed("alice", "POST", "/api/market_order", body)},
    )
    assert response.status_code == 401
    assert response.get_json()["error"]["code"] == errors.AUTH_BAD_DIGEST
    assert desk.calls == []


# --- Halts

VAGUE = {  # body -> the field that is wrong
    "nothing named": ({}, "all"),
    "all and something": ({"all": True, "exchange": "kraken"}, "all"),
    "an account of no exchange": ({"account": "second"}, "exchange"),
    "orders that are not ours, of a user": ({"user": "bob", "everything": True}, "everything"),
    "a scope mistyped": ({"exchnage": "kraken"}, "exchnage"),
}


@pytest.mark.parametrize("name", VAGUE)
def test_a_halt_must_say_what_it_means(desk: StubDesk, name: str) -> None:
    body, field = VAGUE[name]
    adam = Caller(make_app(desk).test_client(), "adam")
    response = adam.post("halt", body)
    problems = response.get_json()["error"]["details"]
    assert response.status_code == 400
    assert field in [problems.get("field"), *(p["field"] for p in problems.get("problems", ()))]
    assert [call[0] for call in desk.calls] == ["refuse"]


def test_only_an_admin_may_have_orders_canceled_that_are_not_ours(desk: StubDesk, alice: Caller) -> None:
    body = {"exchange": "kraken", "everything": True}
    response = alice.post("halt", body)
    assert response.status_code == 403
    assert response.get_json()["error"]["code"] == errors.AUTH_FORBIDDEN
    assert desk.calls == []
    assert Caller(make_app(desk).test_client(), "adam").post("halt", body).status_code == 202
