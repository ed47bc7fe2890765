"""Binance's rules: who may call, what is refused and in which words, what is counted."""

import hashlib
import hmac
import json
import time

import pytest

from simulator.dialects.binance_words import NUMBER_RANGE
from simulator.records import CANCEL_ONLY_MODE, HALT, MAINTENANCE_MODE
from tests.simulator.builders import D, account, exchange, market
from tests.simulator.wire_client import SYMBOL, Client, frames, order_parameters, served

SECURITY = [
    # name, key, secret, parameters (timestamp: milliseconds from now), HTTP status, code, message
    ("no key", "", "secret-bot", {}, 401, -2014, "API-key format invalid."),
    (
        "an unknown key",
        "nobody",
        "secret-bot",
        {},
        401,
        -2015,
        "Invalid API-key, IP, or permissions for action.",
    ),
    (
        "a key that may only read",
        "reader",
        "secret-reader",
        {},
        401,
        -2015,
        "Invalid API-key, IP, or permissions for action.",
    ),
    (
        "a wrong secret",
        "key-bot",
        "other",
        {},
        400,
        -1022,
        "Signature for this request is not valid.",
    ),
    (
        "too late",
        "key-bot",
        "secret-bot",
        {"timestamp": -6000},
        400,
        -1021,
        "Timestamp for this request is outside of the recvWindow.",
    ),
    (
        "too late for a short window",
        "key-bot",
        "secret-bot",
        {"timestamp": -1500, "recvWindow": "1000"},
        400,
        -1021,
        "Timestamp for this request is outside of the recvWindow.",
    ),
    (
        "from the future",
        "key-bot",
        "secret-bot",
        {"timestamp": 2000},
        400,
        -1021,
        "Timestamp for this request was 1000ms ahead of the server's time.",
    ),
    (
        "a window too wide",
        "key-bot",
        "secret-bot",
        {"recvWindow": "60001"},
        400,
        -1131,
        "recvWindow must be less than 60000.",
    ),
    (
        "no time",
        "key-bot",
        "secret-bot",
        {"timestamp": ""},
        400,
        -1102,
        "Mandatory parameter 'timestamp' was not sent, was empty/null, or malformed.",
    ),
]


@pytest.mark.parametrize("door", ["rest", "websocket"])
@pytest.mark.parametrize(
    ("key", "secret", "parameters", "status", "code", "message"),
    [case[1:] for case in SECURITY],
    ids=[case[0] for case in SECURITY],
)
def test_security(door, key, secret, parameters, status, code, message):
    made = exchange()
    account(made, USDT="10000")
    made.open_account("reader", "secret-reader", name="bot", permissions=frozenset(("read",)))
    parameters = dict(parameters)
    if isinstance(parameters.get("timestamp"), int):
        parameters["timestamp"] = int(time.time() * 1000) + parameters["timestamp"]
    with served(made=made) as client:
        caller = Client(client.server, key, secret)
        if door == "rest":
            answer = caller.place(**parameters)
        else:
            socket = caller.socket("/ws-api/v3")
            socket.send(caller.api_text("order.place", **order_parameters() | parameters))
            reply = frames(socket, 1)[0]
            answer = reply["status"], reply["error"]
        assert answer == (status, {"code": code, "msg": message})
        assert made.orders == {}


def test_a_window_that_is_wide_enough_admits_the_same_request():
    with served() as client:
        late = int(time.time() * 1000) - 6000
        assert client.place(timestamp=late, recvWindow=10000)[0] == 200


def test_a_changed_request_is_not_the_signed_one():
    with served() as client:
        text = client.signed_text(**order_parameters()).replace("quantity=0.1", "quantity=0.2")
        status, body, _ = client.send("POST", "/api/v3/order", {"X-MBX-APIKEY": client.key}, text)
        assert (status, json.loads(body)["code"]) == (400, -1022)


def test_a_signature_over_query_and_body_together():
    with served() as client:
        whole = order_parameters() | {"timestamp": int(time.time() * 1000)}
        names = list(whole)
        query = "&".join(f"{n}={whole[n]}" for n in names[:4])
        body = "&".join(f"{n}={whole[n]}" for n in names[4:])
        signature = hmac.new(b"secret-bot", (query + body).encode(), hashlib.sha256).hexdigest()
        status, answer, _ = client.send(
            "POST", f"/api/v3/order?{query}", {"X-MBX-APIKEY": client.key}, f"{body}&signature={signature}"
        )
        assert status == 200, answer


def test_a_revoked_key_is_refused_and_its_stream_falls_silent():
    with served() as client:
        stream = client.user_stream()
        client.place()
        assert len(frames(stream, 2)) == 2
        client.server.call(client.server.exchange.revoke_key, "key-bot")
        assert client.place(client_id="c-2")[1]["code"] == -2015
        other = client.server.exchange.accounts["bot"]
        client.server.call(client.server.exchange.cancel_all, other, now=client.server.now())
        assert frames(stream, 1, 0.3) == []


CREATES = [
    # name, changed parameters (None: left out), code, message
    ("unknown symbol", {"symbol": "XXXUSDT"}, -1121, "Invalid symbol."),
    (
        "no symbol",
        {"symbol": None},
        -1102,
        "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.",
    ),
    ("wrong side", {"side": "HOLD"}, -1117, "Invalid side."),
    ("wrong type", {"type": "WISH"}, -1116, "Invalid orderType."),
    (
        "no time in force",
        {"timeInForce": None},
        -1102,
        "Mandatory parameter 'timeInForce' was not sent, was empty/null, or malformed.",
    ),
    ("wrong time in force", {"timeInForce": "GTX"}, -1115, "Invalid timeInForce."),
    (
        "no price",
        {"price": None},
        -1102,
        "Mandatory parameter 'price' was not sent, was empty/null, or malformed.",
    ),
    ("price zero", {"price": "0"}, -1013, "Invalid price."),
    ("quantity zero", {"quantity": "0.0"}, -1013, "Invalid quantity."),
    (
        "an exponent",
        {"quantity": "1e-1"},
        -1100,
        f"Illegal characters found in parameter 'quantity'; legal range is '{NUMBER_RANGE}'.",
    ),
    (
        "a negative quantity",
        {"quantity": "-1"},
        -1100,
        f"Illegal characters found in parameter 'quantity'; legal range is '{NUMBER_RANGE}'.",
    ),
    ("nine decimals", {"quantity": "0.123456789"}, -1111, "Parameter 'quantity' has too much precision."),
    ("off the tick", {"price": "50.001"}, -1013, "Filter failure: PRICE_FILTER"),
    ("off the lot", {"quantity": "0.1001"}, -1013, "Filter failure: LOT_SIZE"),
    ("worth too little", {"quantity": "0.001"}, -1013, "Filter failure: NOTIONAL"),
    (
        "beyond the funds",
        {"quantity": "100", "price": "101"},
        -2010,
        "Account has insufficient balance for requested action.",
    ),
    (
        "post-only at the ask",
        {"type": "LIMIT_MAKER", "timeInForce": None, "price": "101"},
        -2010,
        "Order would immediately match and take.",
    ),
    ("a client id in use", {"newClientOrderId": "used"}, -2010, "Duplicate order sent."),
    (
        "a client id with a dot",
        {"newClientOrderId": "a.b"},
        -1100,
        "Illegal characters found in parameter 'newClientOrderId'; legal range is '^[a-zA-Z0-9-_]{1,36}$'.",
    ),
    (
        "a client id of 37",
        {"newClientOrderId": "x" * 37},
        -1100,
        "Illegal characters found in parameter 'newClientOrderId'; legal range is '^[a-zA-Z0-9-_]{1,36}$'.",
    ),
    (
        "a market order with a price",
        {"type": "MARKET", "timeInForce": None},
        -1106,
        "Parameter 'price' sent when not required.",
    ),
    (
        "a market order with a time in force",
        {"type": "MARKET", "price": None},
        -1106,
        "Parameter 'timeInForce' sent when not required.",
    ),
    (
        "something nobody reads",
        {"triggerPrice": "40"},
        -1104,
        "Not all sent parameters were read; read '9' parameter(s) but was sent '10'.",
    ),
]


@pytest.mark.parametrize(
    ("changes", "code", "message"), [c[1:] for c in CREATES], ids=[c[0] for c in CREATES]
)
def test_orders_binance_refuses(changes, code, message):
    with served() as client:
        assert client.place(client_id="used")[0] == 200
        before = client.server.call(client.server.exchange.ledger, client.server.exchange.accounts["bot"])
        parameters = {n: v for n, v in (order_parameters() | changes).items() if v is not None}
        assert client.call("POST", "/api/v3/order", **parameters) == (400, {"code": code, "msg": message})
        after = client.server.call(client.server.exchange.ledger, client.server.exchange.accounts["bot"])
        assert after == before


def test_a_parameter_sent_twice():
    with served() as client:
        text = client.signed_text(**order_parameters())
        status, body, _ = client.send("POST", "/api/v3/order?side=SELL", {"X-MBX-APIKEY": client.key}, text)
        assert (status, json.loads(body)["code"]) == (400, -1101)


def test_client_ids_are_unique_among_open_orders_only():
    with served() as client:
        assert client.place()[0] == 200
        assert client.place()[1] == {"code": -2010, "msg": "Duplicate order sent."}
        assert client.call("DELETE", "/api/v3/order", symbol="BTCUSDT", origClientOrderId="c-1")[0] == 200
        assert client.place()[0] == 200
        found = client.call("GET", "/api/v3/order", symbol="BTCUSDT", origClientOrderId="c-1")[1]
        assert (found["orderId"], found["status"]) == (2, "NEW")


LOOKUPS = [
    ("GET", {"orderId": 77}, -2013, "Order does not exist."),
    ("GET", {"origClientOrderId": "else"}, -2013, "Order does not exist."),
    (
        "GET",
        {},
        -1102,
        "Param 'origClientOrderId' or 'orderId' must be sent, but both were empty/null!",
    ),
    ("DELETE", {"orderId": 77}, -2011, "Unknown order sent."),
    ("DELETE", {"orderId": 1}, -2011, "Unknown order sent."),  # it is filled already
    (
        "DELETE",
        {"orderId": "x"},
        -1100,
        "Illegal characters found in parameter 'orderId'; legal range is '^[0-9]{1,20}$'.",
    ),
]


@pytest.mark.parametrize(("method", "parameters", "code", "message"), LOOKUPS)
def test_looking_up_and_cancelling_what_is_not_there(method, parameters, code, message):
    with served() as client:
        assert client.place(price="101")[1]["status"] == "FILLED"
        answer = client.call(method, "/api/v3/order", symbol="BTCUSDT", **parameters)
        assert answer == (400, {"code": code, "msg": message})


def test_cancelling_everything_and_then_nothing():
    with served() as client:
        client.place()
        client.place(client_id="c-2")
        status, canceled = client.call("DELETE", "/api/v3/openOrders", symbol="BTCUSDT")
        assert [(o["origClientOrderId"], o["status"]) for o in canceled] == [
            ("c-1", "CANCELED"),
            ("c-2", "CANCELED"),
        ]
        assert client.call("DELETE", "/api/v3/openOrders", symbol="BTCUSDT")[1]["code"] == -2011


@pytest.mark.parametrize(
    ("mode", "status", "code"),
    [(HALT, 400, -2010), (CANCEL_ONLY_MODE, 400, -2010), (MAINTENANCE_MODE, 503, -1016)],
)
def test_halts(mode, status, code):
    with served() as client:
        client.place()
        client.server.call(client.server.exchange.set_mode, mode, client.server.now())
        answer = client.place(client_id="c-2")
        assert (answer[0], answer[1]["code"]) == (status, code)
        allowed = 503 if mode == MAINTENANCE_MODE else 200
        assert client.call("DELETE", "/api/v3/order", symbol="BTCUSDT", orderId=1)[0] == allowed
        maintenance = mode == MAINTENANCE_MODE
        assert client.get("/sapi/v1/system/status")[1]["status"] == int(maintenance)
        if not maintenance:
            assert client.get("/api/v3/exchangeInfo")[1]["symbols"][0]["status"] == "BREAK"


# Orders that are accepted


def test_a_filled_order_says_what_it_cost():
    made = exchange(market(taker_fee="0.001"), asks=(("101", "1"), ("102", "5")))
    with served(made=made) as client:
        status, order = client.call(
            "POST", "/api/v3/order", symbol="BTCUSDT", side="BUY", type="MARKET", quantity="1.5"
        )
        assert status == 200
        assert (order["status"], order["executedQty"], order["cummulativeQuoteQty"]) == (
            "FILLED",
            "1.50000000",
            "152.00000000",
        )
        assert [(f["price"], f["qty"], f["commission"], f["commissionAsset"]) for f in order["fills"]] == [
            ("101.00000000", "1.00000000", "0.00100000", "BTC"),
            ("102.00000000", "0.50000000", "0.00050000", "BTC"),
        ]
        trades = client.call("GET", "/api/v3/myTrades", symbol="BTCUSDT", orderId=1)[1]
        assert [t["id"] for t in trades] == [f["tradeId"] for f in order["fills"]]
        assert len(order["clientOrderId"]) == 22  # Binance makes one when none is sent


@pytest.mark.parametrize(
    ("kind", "asked", "extra"),
    [
        ("LIMIT", None, {"fills", "status"}),
        ("LIMIT_MAKER", None, set()),
        ("LIMIT", "ACK", set()),
        ("LIMIT", "RESULT", {"status"}),
        ("LIMIT_MAKER", "FULL", {"fills", "status"}),
    ],
)
def test_how_much_the_answer_says(kind, asked, extra):
    with served() as client:
        parameters = order_parameters() | {"type": kind}
        if kind == "LIMIT_MAKER":
            del parameters["timeInForce"]
        if asked:
            parameters["newOrderRespType"] = asked
        answer = client.call("POST", "/api/v3/order", **parameters)[1]
        assert {"symbol", "orderId", "orderListId", "clientOrderId", "transactTime"} <= set(answer)
        assert {"fills", "status"} & set(answer) == extra


def test_an_order_by_quote_amount_and_one_without_liquidity():
    with served() as client:
        bought = client.call(
            "POST", "/api/v3/order", symbol="BTCUSDT", side="BUY", type="MARKET", quoteOrderQty="50"
        )[1]
        assert (bought["status"], bought["executedQty"]) == ("FILLED", "0.49500000")  # 50 / 101, whole lots
        rest = client.call(
            "POST", "/api/v3/order", symbol="BTCUSDT", side="BUY", type="MARKET", quantity="3"
        )[1]
        assert (rest["status"], rest["executedQty"]) == ("EXPIRED", "0.50500000")
        none = client.call(
            "POST", "/api/v3/order", symbol="BTCUSDT", side="BUY", type="LIMIT", timeInForce="FOK",
            quantity="9", price="101",
        )[1]  # fmt: skip
        assert (none["status"], none["executedQty"]) == ("EXPIRED", "0.00000000")


def test_meeting_oneself_expires_the_older_order():
    with served() as client:
        client.place("SELL", price="100")
        client.place("BUY", price="100", client_id="c-2")
        first = client.call("GET", "/api/v3/order", symbol="BTCUSDT", orderId=1)[1]
        assert first["status"] == "EXPIRED_IN_MATCH"


# Counting


def test_weights_and_orders_are_counted_in_headers():
    with served() as client:
        _, _, headers = client.send("GET", "/api/v3/depth?symbol=BTCUSDT")
        assert headers["X-MBX-USED-WEIGHT-1M"] == "5"
        _, _, headers = client.raw("POST", "/api/v3/order", **order_parameters())
        assert headers["X-MBX-USED-WEIGHT-1M"] == "6"
        assert (headers["X-MBX-ORDER-COUNT-10S"], headers["X-MBX-ORDER-COUNT-1D"]) == ("1", "1")


def test_too_much_weight_is_429_and_going_on_is_a_ban():
    minute = 60 - time.time() % 60  # so that the minute does not end during the test
    with served(weight_per_minute=30, clock=lambda: time.time() + minute) as client:
        for _ in range(6):
            assert client.send("GET", "/api/v3/depth?symbol=BTCUSDT")[0] == 200
        status, body, headers = client.send("GET", "/api/v3/time")
        assert (status, json.loads(body)["code"]) == (429, -1003)
        assert 1 <= int(headers["Retry-After"]) <= 60
        statuses = [client.send("GET", "/api/v3/time")[0] for _ in range(21)]
        assert statuses == [429] * 19 + [418] * 2
        status, body, headers = client.send("GET", "/api/v3/time")
        assert (status, headers["Retry-After"]) == (418, "120")
        assert "IP banned until" in json.loads(body)["msg"]


def test_too_many_orders():
    with served(orders_per_10s=2) as client:
        statuses = []
        for number in range(6):  # six orders within two windows of ten seconds hold at least one refusal
            statuses.append(client.place(client_id=f"c-{number}"))
        refused = [answer for answer in statuses if answer[0] != 200]
        assert 2 <= len(refused) <= 4
        assert refused[0] == (
            429,
            {"code": -1015, "msg": "Too many new orders; current limit is 2 orders per 10 SECOND."},
        )
        assert len(client.server.exchange.orders) == 6 - len(refused)


def test_a_call_that_is_not_simulated_says_so():
    with served() as client:
        status, answer = client.get("/api/v3/klines", symbol="BTCUSDT")
        assert status == 404
        assert "does not serve GET /api/v3/klines" in answer["msg"]


# Streams


def test_market_streams_subscribe_list_and_refuse():
    with served() as client:
        socket = client.socket("/ws")
        socket.send('{"method": "SUBSCRIBE", "params": ["btcusdt@trade", "btcusdt@bookTicker"], "id": 1}')
        socket.send('{"method": "LIST_SUBSCRIPTIONS", "id": 2}')
        socket.send('{"method": "SUBSCRIBE", "params": ["xxxusdt@trade"], "id": 3}')
        socket.send('{"method": "UNSUBSCRIBE", "params": ["btcusdt@trade"], "id": 4}')
        socket.send("nonsense")
        answers = frames(socket, 5)
        assert answers[0] == {"result": None, "id": 1}
        assert answers[1] == {"result": ["btcusdt@trade", "btcusdt@bookTicker"], "id": 2}
        assert answers[2]["error"]["msg"] == "Invalid request: invalid stream"
        assert answers[3] == {"result": None, "id": 4}
        assert answers[4]["error"]["code"] == 2


def test_depth_stream_continues_the_snapshot():
    with served() as client:
        socket = client.socket("/ws/btcusdt@depth@100ms")
        client.place(price="98")
        snapshot = client.get("/api/v3/depth", symbol="BTCUSDT")[1]
        client.place(price="97", client_id="c-2")
        client.place(price="101", client_id="c-3")
        book = {
            "b": {D(p): D(q) for p, q in snapshot["bids"]},
            "a": {D(p): D(q) for p, q in snapshot["asks"]},
        }
        last = snapshot["lastUpdateId"]
        for change in frames(socket, 4, 0.35):
            if change["u"] <= last:
                continue
            assert change["U"] <= last + 1  # no gap
            for side in book:
                for price, quantity in change[side]:
                    book[side][D(price)] = D(quantity)
            last = change["u"]
        final = client.server.call(client.server.exchange.depth, SYMBOL, now=client.server.now())
        assert {p: q for p, q in book["b"].items() if q} == dict(final.bids)
        assert set(book["b"]) >= {D(97), D(98)}


def test_streams_in_one_connection_name_themselves():
    with served() as client:
        socket = client.socket("/stream?streams=btcusdt@trade/btcusdt@bookTicker")
        client.place(price="101")
        by_stream = {frame["stream"]: frame["data"] for frame in frames(socket, 2)}
        assert by_stream["btcusdt@trade"]["m"] is False
        assert by_stream["btcusdt@bookTicker"]["A"].startswith("0.9")


def test_a_user_hears_of_its_own_orders_only():
    made = exchange(asks=(("101", "1"),))
    account(made, "bot", USDT="1000")
    account(made, "other", USDT="1000")
    with served(made=made) as client:
        mine = client.user_stream()
        Client(client.server, "key-other", "secret-other").place()
        assert frames(mine, 1, 0.3) == []
        client.place(client_id="mine")
        assert frames(mine, 1)[0]["event"]["c"] == "mine"


def test_a_cancel_has_a_client_id_of_its_own():
    with served() as client:
        stream = client.user_stream()
        client.place()
        answer = client.call(
            "DELETE", "/api/v3/order", symbol="BTCUSDT", origClientOrderId="c-1", newClientOrderId="stop-1"
        )[1]
        assert (answer["clientOrderId"], answer["origClientOrderId"]) == ("stop-1", "c-1")
        reports = [f["event"] for f in frames(stream, 4) if f["event"]["e"] == "executionReport"]
        assert [(r["x"], r["c"], r["C"]) for r in reports] == [
            ("NEW", "c-1", ""),
            ("CANCELED", "stop-1", "c-1"),
        ]


def test_orders_by_websocket():
    with served() as client:
        socket = client.socket("/ws-api/v3")
        socket.send(client.api_text("order.place", "p", **order_parameters()))
        socket.send(client.api_text("order.status", "s", symbol="BTCUSDT", origClientOrderId="c-1"))
        socket.send(client.api_text("order.cancel", "c", symbol="BTCUSDT", orderId=1))
        socket.send(client.api_text("order.status", "t", symbol="BTCUSDT", orderId=2))
        socket.send(client.api_text("order.dance", "d"))
        placed, status, canceled, missing, unknown = frames(socket, 5)
        assert (placed["id"], placed["status"], placed["result"]["status"]) == ("p", 200, "NEW")
        assert (status["id"], status["result"]["orderId"]) == ("s", 1)
        assert (canceled["id"], canceled["result"]["status"]) == ("c", "CANCELED")
        assert (missing["status"], missing["error"]["code"]) == (400, -2013)
        assert unknown["error"]["code"] == -1020
        assert [limit["rateLimitType"] for limit in placed["rateLimits"]] == [
            "REQUEST_WEIGHT",
            "ORDERS",
            "ORDERS",
        ]


def test_subscribing_twice_is_refused():
    with served() as client:
        stream = client.user_stream()
        stream.send(client.api_text("userDataStream.subscribe.signature", "again"))
        assert frames(stream, 1)[0]["error"]["code"] == -2035
