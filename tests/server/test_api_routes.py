"""Every route: who may call it, what it is described as, and that nothing else answers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from flask import Blueprint, Response
from openapi_spec_validator import validate

from ems.core import errors
from ems.core.codec import VERBS, read_command
from server.api import openapi
from server.api.answers import HTTP_STATUS
from server.api.routes import PUBLIC, Api, Call, Noun, RoleMissing
from tests.server.api_world import BODIES, HOST, USERS, Caller, StubDesk, make_app, make_order

APP = make_app(StubDesk())
CALLS = {call.name: call for call in APP.calls()}
SIGNED = [call for call in CALLS.values() if call.role != PUBLIC]
DOCUMENT: dict[str, Any] = json.loads(json.dumps(openapi.document(APP.calls())))
RANK = ["read", "trade", "admin"]

EXPECTED = {  # "METHOD path" -> role
    "POST /api/market_order": "trade",
    "POST /api/limit_order": "trade",
    "POST /api/order": "trade",
    "POST /api/edit_order": "trade",
    "POST /api/smart_order": "trade",
    "POST /api/liquidate": "trade",
    "POST /api/rebalance": "trade",
    "POST /api/quote": "trade",
    "POST /api/cancel_order": "trade",
    "POST /api/cancel_all_orders": "trade",
    "POST /api/halt": "trade",
    "POST /api/resume": "admin",
    "GET /api/get_halts": "read",
    "POST /api/set_notification_rule": "trade",
    "POST /api/delete_notification_rule": "trade",
    "POST /api/acknowledge_notification": "read",
    "POST /api/test_notification": "trade",
    "GET /api/get_notification_rules": "read",
    "GET /api/get_notifications": "read",
    "POST /api/set_leverage": "trade",
    "POST /api/set_limit": "trade",
    "GET /api/get_limits": "read",
    "GET /api/get_risk": "read",
    "GET /api/get_order": "read",
    "GET /api/get_past_orders": "read",
    "GET /api/get_order_stats": "read",
    "GET /api/get_query": "read",
    "GET /api/get_balances": "read",
    "GET /api/get_positions": "read",
    "GET /api/get_funding": "read",
    "GET /api/get_exchange_orders": "read",
    "GET /api/get_withdrawal_deposit_history": "read",
    "GET /api/get_fees": "read",
    "GET /api/get_portfolio": "read",
    "GET /api/get_pnl": "read",
    "GET /api/get_snapshots": "read",
    "GET /api/get_slices": "read",
    "POST /api/set_slice": "admin",
    "GET /api/tca": "read",
    "GET /api/tca.png": "read",
    "GET /api/check_health": "read",
    "GET /api/openapi.json": PUBLIC,
    "GET /api/docs": PUBLIC,
    "GET /livez": PUBLIC,
    "GET /readyz": PUBLIC,
    "GET /version": "read",
}

TARGETS = {  # reads with required parameters
    "get_order": "/api/get_order?order_id=o-1",
    "get_query": "/api/get_query?query_id=q-1",
    "get_balances": "/api/get_balances?exchange=kraken",
    "get_funding": "/api/get_funding?exchange=okx",
    "get_exchange_orders": "/api/get_exchange_orders?exchange=kraken",
    "get_withdrawal_deposit_history": "/api/get_withdrawal_deposit_history?exchange=kraken",
    "get_fees": "/api/get_fees?exchange=kraken",
    "get_portfolio": "/api/get_portfolio",
    "get_pnl": "/api/get_pnl?by=bot",
    "get_slices": "/api/get_slices",
}


def test_the_routes_are_exactly_these() -> None:
    assert {f"{call.method} {call.path}": call.role for call in APP.calls()} == EXPECTED
    rules = {
        f"{method} {rule.rule}"
        for rule in APP.url_map.iter_rules()
        for method in rule.methods or ()
        if method != "HEAD"  # answered as GET, without the body
    }
    assert rules == set(EXPECTED)


def test_the_description_has_exactly_the_routes() -> None:
    described = {
        f"{method.upper()} {path}": operation["x-role"]
        for path, operations in DOCUMENT["paths"].items()
        for method, operation in operations.items()
    }
    assert described == EXPECTED


@pytest.mark.parametrize("name", [call.name for call in SIGNED])
@pytest.mark.parametrize("user", [*USERS, None])
def test_who_may_call_what(name: str, user: str | None) -> None:
    call = CALLS[name]
    desk = StubDesk(orders={"o-1": make_order()})
    client = make_app(desk).test_client()
    if user is None:
        response = client.open(call.path, method=call.method, headers={"Host": HOST})
    elif call.method == "POST":
        response = Caller(client, user).post(call.name, BODIES[call.name])
    else:
        response = Caller(client, user).get(TARGETS.get(call.name, call.path))
    if user is None:
        assert response.status_code == 401
        assert response.get_json()["error"]["code"] == errors.AUTH_MISSING
    elif RANK.index(USERS[user]) < RANK.index(call.role):
        assert response.status_code == 403
        assert response.get_json()["error"]["code"] == errors.AUTH_FORBIDDEN
    else:
        assert response.status_code not in (401, 403)
    if response.status_code in (401, 403):
        assert desk.calls == []


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/api/docs", "/api/openapi.json"])
def test_public_routes_need_no_signature(path: str) -> None:
    assert make_app(StubDesk()).test_client().get(path).status_code == 200


def nothing() -> Response:
    return Response()


UNDECLARED: dict[str, Callable[[Api], object]] = {
    "app.route": lambda app: app.route("/api/hole")(nothing),
    "add_url_rule": lambda app: app.add_url_rule("/api/hole", "hole", nothing),
    "foreign blueprint": lambda app: app.register_blueprint(_foreign()),
    "unknown role": lambda app: app.register_blueprint(_with_role("root")),
    "empty role": lambda app: app.register_blueprint(_with_role("")),
}


def _foreign() -> Blueprint:
    blueprint = Blueprint("foreign", __name__)
    blueprint.add_url_rule("/api/hole", "hole", nothing)
    return blueprint


def _with_role(role: str) -> Noun:
    def view() -> Response:
        return Response()

    noun = Noun("holes", __name__)
    noun.call(Call(name="hole", method="GET", path="/api/hole", role=role, summary=""))(view)
    return noun


@pytest.mark.parametrize("name", UNDECLARED)
def test_a_route_without_a_role_cannot_be_registered(name: str) -> None:
    app = Api("test")
    with pytest.raises(RoleMissing, match="/api/hole"):
        UNDECLARED[name](app)
    assert app.calls() == []
    assert list(app.url_map.iter_rules()) == []


NOWHERE = {  # (method, path) -> (status, code)
    ("GET", "/"): (404, "REQUEST_NOT_FOUND"),
    ("GET", "/api"): (404, "REQUEST_NOT_FOUND"),
    ("GET", "/api/docs/"): (404, "REQUEST_NOT_FOUND"),
    ("GET", "/api//docs"): (404, "REQUEST_NOT_FOUND"),
    ("GET", "/API/docs"): (404, "REQUEST_NOT_FOUND"),
    ("GET", "/static/x"): (404, "REQUEST_NOT_FOUND"),
    ("POST", "/api/market_orders"): (404, "REQUEST_NOT_FOUND"),
    ("GET", "/api/market_order"): (405, "REQUEST_METHOD"),
    ("OPTIONS", "/api/market_order"): (405, "REQUEST_METHOD"),
    ("DELETE", "/api/get_query"): (405, "REQUEST_METHOD"),
    ("TRACE", "/api/docs"): (405, "REQUEST_METHOD"),
}


@pytest.mark.parametrize("name", NOWHERE, ids=" ".join)
def test_what_is_not_a_route_says_so_in_the_envelope(name: tuple[str, str]) -> None:
    method, path = name
    status, code = NOWHERE[name]
    response = make_app(StubDesk()).test_client().open(path, method=method)
    assert response.status_code == status
    assert response.headers.get("Location") is None
    body = response.get_json()
    assert set(body) == {"status", "mode", "request_id", "error"}
    assert (body["status"], body["error"]["code"]) == ("error", code)
    assert ("Allow" in response.headers) == (status == 405)


def test_a_misspelt_path_gets_a_hint() -> None:
    response = make_app(StubDesk()).test_client().post("/api/market_orders")
    assert response.get_json()["error"]["hint"] == "Did you mean /api/market_order?"


@pytest.mark.parametrize("path", ["/livez", "/api/openapi.json", "/api/docs", "/nowhere", "/api/get_fees"])
def test_every_answer_carries_the_security_headers(path: str) -> None:
    headers = make_app(StubDesk()).test_client().get(path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Frame-Options"] == "DENY"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "Access-Control-Allow-Origin" not in headers
    assert "Set-Cookie" not in headers


def test_alive_and_ready_are_two_questions() -> None:
    lag = [3]
    desk = StubDesk()
    client = make_app(desk, loop_lag_ms=lambda: lag[0]).test_client()
    assert (client.get("/livez").status_code, client.get("/livez").get_json()) == (
        200,
        {"alive": True, "loop_lag_ms": 3},
    )
    assert client.get("/readyz").get_json() == {"ready": True, "missing": []}
    desk.missing = ["database: password=hunter2 refused", "kraken/default: markets not loaded"]
    assert client.get("/livez").status_code == 200
    ready = client.get("/readyz")
    assert (ready.status_code, ready.headers["Retry-After"]) == (503, "1")
    assert ready.get_json() == {"ready": False, "missing": ["database", "kraken/default"]}
    lag[0] = 1500
    assert client.get("/livez").status_code == 503


def test_the_description_is_valid_openapi() -> None:
    validate(DOCUMENT)
    served = make_app(StubDesk()).test_client().get("/api/openapi.json")
    assert served.mimetype == "application/json"
    assert served.get_json() == DOCUMENT


def _resolved(schema: dict[str, Any]) -> dict[str, Any]:
    return {**schema, "components": DOCUMENT["components"]}


@pytest.mark.parametrize("name", CALLS)
def test_examples_fit_their_schemas(name: str) -> None:
    call = CALLS[name]
    operation = DOCUMENT["paths"][call.path][call.method.lower()]
    for response in operation["responses"].values():
        for content in response["content"].values():
            if "example" in content:
                jsonschema.validate(content["example"], _resolved(content["schema"]))
    if call.verb is not None:
        content = operation["requestBody"]["content"]["application/json"]
        jsonschema.validate(content["example"], _resolved(content["schema"]))


@pytest.mark.parametrize("name", VERBS)
def test_the_example_body_is_a_body_that_works(name: str) -> None:
    reading = read_command(VERBS[name], json.dumps(openapi.body_example(CALLS[name])).encode())
    assert reading.problems == ()


@pytest.mark.parametrize("name", VERBS)
def test_what_a_write_answers_fits_its_schema(name: str) -> None:
    desk = StubDesk()
    answer = Caller(make_app(desk).test_client()).post(name, BODIES[name])
    operation = DOCUMENT["paths"][f"/api/{name}"]["post"]
    schema = operation["responses"][str(answer.status_code)]["content"]["application/json"]["schema"]
    jsonschema.validate(answer.get_json(), _resolved(schema))


@pytest.mark.parametrize("target", ["/api/get_order?order_id=o-1", "/api/get_past_orders"])
def test_what_a_read_answers_fits_its_schema(target: str) -> None:
    desk = StubDesk(orders={"o-1": make_order()})
    answer = Caller(make_app(desk).test_client()).get(target)
    operation = DOCUMENT["paths"][target.partition("?")[0]]["get"]
    jsonschema.validate(
        answer.get_json(), _resolved(operation["responses"]["200"]["content"]["application/json"]["schema"])
    )


def test_every_code_has_a_status_and_every_error_in_the_description_a_code() -> None:
    assert set(HTTP_STATUS) == set(errors.CODES)
    constants = {value for name, value in vars(errors).items() if name.isupper() and isinstance(value, str)}
    assert constants == set(errors.CODES)
    for row in errors.CODES.values():
        assert row.meaning.endswith(".") and row.hint.endswith(".")
    for call in SIGNED:
        assert set(openapi.error_codes(call)) <= set(errors.CODES)


def test_the_page_names_every_call_and_code_and_loads_nothing() -> None:
    response = make_app(StubDesk()).test_client().get("/api/docs")
    page = response.text
    assert response.mimetype == "text/html"
    for call in CALLS.values():
        assert f'id="{call.name}"' in page
    for code in errors.CODES:
        assert f'id="{code}"' in page
    for field in (field for call in CALLS.values() for field in call.fields):
        assert field.name in page
    assert not re.search(r"<script|src=|@import|url\(|\son\w+=|style=", page)
    assert all(link.startswith(("#", "/api/")) for link in re.findall(r'href="([^"]+)"', page))
    assert "style-src 'sha256-" in response.headers["Content-Security-Policy"]
