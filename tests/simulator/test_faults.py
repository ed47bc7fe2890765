"""Every fault can be seen from outside, and what the exchange did behind it is what the fault says."""

import http.client
import json
import socket as sockets
import time
from random import Random

import pytest
import websocket

from simulator.dialects.dialect import KINDS, STREAMS, Cut
from simulator.faults import ACTIONS, PROFILES, BadRule, Channel, Faults, Rule, profile, weather
from tests.simulator.wire_client import D, frames, order_parameters, served

# Requests, over the wire


def outcome(client):
    """What a caller sees of one new order."""
    try:
        status, body, headers = client.raw("POST", "/api/v3/order", timeout_s=0.4, **order_parameters())
    except http.client.RemoteDisconnected:  # a ConnectionResetError too, hence first
        return "closed"
    except ConnectionResetError:
        return "reset"
    except http.client.IncompleteRead:
        return "cut"
    except TimeoutError:
        return "silence"
    if status == 200 and b'"orderId":1' in body:
        try:
            json.loads(body)
        except ValueError:
            return "broken order"
        return "order"
    return status, body.decode()[:24]


SEEN = {
    "refuse": "closed",
    "reset": "reset",
    "hang": "silence",
    "header": (200, ""),  # the library of Python takes it for an answer
    "truncate": "cut",
    "slow": "silence",
    "other": "silence",
    "empty": (200, ""),
    "html": (200, "<html><head><title>Just "),
    "null": (200, "null"),
    "object": (200, "{}"),
    "garbage": (200, "\x1f\x8b not what you asked fo"),
    "status": (503, "<html>503</html>"),
    "failure": (503, '{"code":-1008,"msg":"Ser'),
    "rate_limit": (429, '{"code":-1003,"msg":"Too'),
    "ban": (418, '{"code":-1003,"msg":"Way'),
}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("action", [*SEEN, "half"])
def test_request_faults(action, when):
    rule = {"action": action, "when": when, "kinds": ["create"], "count": 1, "status": 503, "seconds": 2}
    with served(rule) as client:
        seen = outcome(client)
        if action == "half":
            assert seen == ((200, '{"sym') if when == "before" else "broken order")
        else:
            assert seen == SEEN[action]
        # The truth behind it: before, the exchange has never heard of the order; after, it is there.
        arrived = client.server.call(lambda: len(client.server.exchange.orders))
        assert arrived == (0 if when == "before" else 1)
        assert [strike.action for strike in client.server.faults.log] == [action]
        # Other kinds are not struck, and the next order is fine: the rule struck once.
        assert client.get("/api/v3/time")[0] == 200
        assert client.place(client_id="c-2")[0] == 200


def test_a_slow_answer_arrives_whole_for_whoever_waits():
    with served({"action": "slow", "when": "after", "kinds": ["create"], "seconds": 0.3}) as client:
        began = time.monotonic()
        status, body = client.place()
        assert (status, body["orderId"]) == (200, 1) and time.monotonic() - began >= 0.3


@pytest.mark.parametrize("when", ["before", "after"])
def test_the_answer_about_another_order(when):
    with served({"action": "other", "when": when, "kinds": ["create"], "skip": 1}) as client:
        first = client.place(client_id="c-1")
        assert client.place(client_id="c-2") == first
        assert len(client.server.exchange.orders) == (1 if when == "before" else 2)


def test_an_answer_that_comes_twice_is_the_same_twice():
    with served({"action": "twice", "when": "after", "kinds": ["time"]}) as client:
        raw = sockets.create_connection((client.server.host, client.server.port), 5)
        raw.sendall(b"GET /api/v3/time HTTP/1.1\r\nHost: x\r\n\r\n")
        raw.settimeout(1)
        told = b""
        while told.count(b"}") < 2:
            told += raw.recv(4096)
        first, second = (part.rpartition(b"\r\n")[2] for part in told.split(b"}")[:2])
        assert first == second and b"serverTime" in first
        raw.close()


def test_a_redirect_leads_nowhere_useful():
    rule = {"action": "status", "status": 302, "kinds": ["create"]}
    with served(rule) as client:
        status, _, headers = client.raw("POST", "/api/v3/order", **order_parameters())
        assert (status, headers["Location"], client.server.exchange.orders) == (302, "/", {})


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_delayed_request_acts_early_or_late(when):
    rule = {"action": "delay", "when": when, "kinds": ["create"], "seconds": 0.3}
    with served(rule) as client:
        began = client.server.now()
        assert client.place()[0] == 200
        order = client.server.call(lambda: client.server.exchange.orders[1])
        acted = order.created_at - began
        assert (acted >= 0.3) == (when == "before")
        assert client.server.now() - began >= 0.3


def test_a_request_that_arrives_after_its_window_is_refused():
    with served({"action": "delay", "kinds": ["create"], "seconds": 0.3}) as client:
        assert client.place(recvWindow=200) == (
            400,
            {"code": -1021, "msg": "Timestamp for this request is outside of the recvWindow."},
        )
        assert client.server.exchange.orders == {}


def test_a_caller_that_gave_up_has_ordered_all_the_same():
    with served({"action": "delay", "kinds": ["create"], "seconds": 0.5}) as client:
        assert outcome(client) == "silence"
        deadline = time.monotonic() + 2
        while not client.server.exchange.orders and time.monotonic() < deadline:
            time.sleep(0.02)
        assert len(client.server.exchange.orders) == 1


def test_an_exchange_that_is_down_refuses_connections_and_comes_back_on_its_port():
    with served() as client:
        server, port = client.server, client.server.port
        stream = client.user_stream()
        server.await_(server.go_down())
        with pytest.raises(ConnectionRefusedError):
            client.get("/api/v3/time")
        with pytest.raises((websocket.WebSocketConnectionClosedException, ConnectionResetError)):
            stream.recv()
        server.await_(server.go_up())
        assert server.port == port
        assert client.get("/api/v3/time")[0] == 200


# Views and clock, over the wire


def test_a_fresh_order_is_not_seen_at_once():
    rule = {
        "action": "lag_orders",
        "kinds": ["fetch", "open_orders", "closed_orders", "my_trades", "cancel"],
        "seconds": 60,
    }
    with served(rule) as client:
        assert client.place(price="101")[1]["status"] == "FILLED"
        client.place(client_id="c-2")
        assert (
            client.call("GET", "/api/v3/order", symbol="BTCUSDT", origClientOrderId="c-1")[1]["code"] == -2013
        )
        assert client.call("GET", "/api/v3/openOrders", symbol="BTCUSDT") == (200, [])
        assert client.call("GET", "/api/v3/allOrders", symbol="BTCUSDT") == (200, [])
        assert client.call("GET", "/api/v3/myTrades", symbol="BTCUSDT") == (200, [])
        assert client.call("DELETE", "/api/v3/order", symbol="BTCUSDT", orderId=2)[1]["code"] == -2011
        client.server.faults.clear()
        assert client.call("GET", "/api/v3/order", symbol="BTCUSDT", orderId=1)[1]["status"] == "FILLED"
        assert client.call("DELETE", "/api/v3/order", symbol="BTCUSDT", orderId=2)[0] == 200


def test_balances_lag_behind():
    with served({"action": "lag_balances", "kinds": ["balance"], "seconds": 0.3}) as client:

        def free():
            balances = client.call("GET", "/api/v3/account")[1]["balances"]
            return {b["asset"]: D(b["free"]) for b in balances}

        client.place(price="101")
        assert free()["USDT"] == D(10000)
        time.sleep(0.35)
        assert free()["USDT"] == D("9989.9")


def test_closed_orders_can_vanish():
    rule = {"action": "hide_closed", "kinds": ["fetch", "closed_orders"]}
    with served(rule) as client:
        client.place(price="101")
        client.place(client_id="c-2")
        assert client.call("GET", "/api/v3/order", symbol="BTCUSDT", orderId=1)[1]["code"] == -2013
        assert client.call("GET", "/api/v3/order", symbol="BTCUSDT", orderId=2)[0] == 200
        assert [o["orderId"] for o in client.call("GET", "/api/v3/allOrders", symbol="BTCUSDT")[1]] == [2]
        assert len(client.call("GET", "/api/v3/myTrades", symbol="BTCUSDT")[1]) == 1


@pytest.mark.parametrize(("skew", "words"), [(-3, "1000ms ahead"), (30, "outside of the recvWindow")])
def test_a_wrong_clock_of_the_exchange(skew, words):
    with served({"action": "skew", "seconds": skew}) as client:
        code = client.place()[1]
        assert (code["code"], words in code["msg"]) == (-1021, True)
        shown = client.get("/api/v3/time")[1]["serverTime"] / 1000
        assert shown - time.time() == pytest.approx(skew, abs=1)


# Streams, over the wire


def events_after_fill(client, stream):
    """The user stream's events of one order that is filled at once, as short words."""
    client.place(price="101")
    return [words(message) for message in frames(stream, 8, 0.5)]


def words(message):
    event = message["event"]
    return event["x"] if event["e"] == "executionReport" else "balance"


STREAM_FAULTS = [
    (None, ["NEW", "TRADE", "balance"]),
    ({"action": "lost", "kinds": ["fills"]}, ["NEW", "balance"]),
    ({"action": "duplicate", "kinds": ["fills"]}, ["NEW", "TRADE", "TRADE", "balance"]),
    ({"action": "late", "kinds": ["orders"], "seconds": 0.1}, ["TRADE", "balance", "NEW"]),
    ({"action": "reorder", "kinds": ["orders"]}, ["TRADE", "NEW", "balance"]),
    ({"action": "silence", "kinds": ["fills"], "seconds": 5}, ["NEW"]),
]


@pytest.mark.parametrize(
    ("rule", "seen"), STREAM_FAULTS, ids=[r["action"] if r else "none" for r, _ in STREAM_FAULTS]
)
def test_stream_faults(rule, seen):
    with served() as client:
        stream = client.user_stream()
        if rule:
            client.server.faults.add(Rule.read(rule))
        assert events_after_fill(client, stream) == seen
        stream.ping()  # the connection is alive in all these cases
        client.server.faults.clear()


def test_a_cut_stream_is_closed():
    with served() as client:
        stream = client.user_stream()
        client.server.faults.add(Rule(action="cut", kinds=("fills",)))
        assert events_after_fill(client, stream) == ["NEW"]
        stream.settimeout(1)
        with pytest.raises((websocket.WebSocketConnectionClosedException, OSError)):
            stream.recv()
        again = client.user_stream()  # and can be opened again
        client.server.faults.clear()
        client.place(client_id="c-2")
        assert words(frames(again, 1)[0]) == "NEW"


def test_a_message_nobody_overtakes_goes_out_in_the_end():
    with served() as client:
        stream = client.user_stream()
        client.server.faults.add(Rule(action="reorder", kinds=("balances",)))
        client.place()
        assert [words(m) for m in frames(stream, 2, 2)] == ["NEW", "balance"]


@pytest.mark.parametrize(
    ("action", "when", "arrives"),
    [
        ("hang", "before", 0),
        ("hang", "after", 1),
        ("half", "after", 1),
        ("refuse", "before", 0),
        ("reset", "after", 1),
        ("delay", "before", 1),
    ],
)
def test_faults_of_orders_placed_by_websocket(action, when, arrives):
    with served() as client:
        socket = client.socket("/ws-api/v3")
        client.server.faults.add(
            Rule.read({"action": action, "when": when, "kinds": "create", "seconds": 0.2})
        )
        socket.send(client.api_text("order.place", **order_parameters()))
        if action == "half":
            with pytest.raises(ValueError):
                json.loads(socket.recv())
        elif action == "delay":
            assert frames(socket, 1, 0.1) == []
            assert frames(socket, 1, 1)[0]["status"] == 200
        else:
            assert frames(socket, 1, 0.3) == []
        assert len(client.server.exchange.orders) == arrives


# Rules and the generator, without a wire


def test_the_same_seed_gives_the_same_faults():
    def run(seed):
        faults = profile("brutal", Random(seed))
        for step in range(300):
            faults.before("create", step)
            faults.view("fetch", step)
            faults.message("fills", step)
            faults.after("create", step)
        return [(s.action, s.target, s.seconds) for s in faults.log]

    assert run(7) == run(7)
    assert run(7) != run(8)


def test_probability_count_and_skip():
    faults = Faults([Rule(action="hang", kinds=("create",), skip=2, count=3)])
    struck = [bool(faults.before("create", step)) for step in range(8)]
    assert struck == [False, False, True, True, True, False, False, False]
    assert not faults.before("cancel", 0)
    often = Faults([Rule(action="hang", probability=0.3)], Random(1))
    assert 240 < sum(bool(often.before("create", 0)) for _ in range(1000)) < 360


def test_delays_come_first_and_one_other_fault_is_enough():
    faults = Faults(
        [Rule(action="hang"), Rule(action="reset"), Rule(action="delay", seconds=(2, 2))], Random(1)
    )
    assert [s.action for s in faults.before("create", 0)] == ["delay", "hang"]


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"action": "explode"}, "action"),
        ({"action": "hang", "kinds": ["creat"]}, "kinds"),
        ({"action": "hang", "when": "while"}, "when"),
        ({"action": "hang", "probability": 2}, "probability"),
        ({"action": "hang", "seconds": [3, 1]}, "seconds"),
        ({"action": "hang", "seconds": "3"}, "seconds"),
        ({"action": "delay", "seconds": -1}, "seconds"),
        ({"action": "hang", "probability": "0.5"}, "probability"),
        ({"action": "hang", "probability": True}, "probability"),
        ({"action": "hang", "count": 0}, "count"),
        ({"action": "hang", "skip": -1}, "skip"),
        ({"action": "hang", "kinds": 7}, "kinds"),
        ({"action": "status", "status": "503"}, "status"),
        ({"action": "status", "status": 99}, "status"),
        ({"action": "hang", "colour": "red"}, "colour"),
        ({"kinds": ["create"]}, "action"),
    ],
)
def test_an_impossible_rule_is_refused_by_the_field(data, field):
    with pytest.raises(BadRule) as refused:
        Rule.read(data)
    assert str(refused.value).startswith(f"{field}: ")


@pytest.mark.parametrize("name", PROFILES)
def test_profiles_are_rules_and_survive_writing(name):
    rules = profile(name).rules
    assert [Rule.read(rule.write()) for rule in rules] == list(rules)
    assert all(kind in KINDS + STREAMS + ("*",) for rule in rules for kind in rule.kinds)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[", "line 1: not JSON"),
        ("7", "rules: use a list of rules"),
        ('{"rules": [], "seed": 3}', "rules: use a list of rules"),
        ("[7]", "rule 1: use an object"),
        ('[{"action": "hang"}, {"action": "hnag"}]', "rule 2: action: 'hnag' is unknown; use one of refuse"),
        ('[{"action": "hang", "kind": "create"}]', "rule 1: kind: no such field; use action, kinds, when"),
    ],
)
def test_a_wrong_file_of_rules_is_refused_in_one_line_that_names_the_place(tmp_path, text, words):
    file = tmp_path / "weather.json"
    file.write_text(text)
    with pytest.raises(BadRule) as refused:
        weather(str(file))
    told = str(refused.value)
    assert told.startswith(f"{file}: {words}") and "\n" not in told


def test_the_weather_is_a_profile_or_a_file(tmp_path):
    file = tmp_path / "weather.json"
    rules = [{"action": "hang", "kinds": "create", "when": "after"}]
    for data in (rules, {"rules": rules}):
        file.write_text(json.dumps(data))
        assert weather(str(file)).rules == (Rule(action="hang", kinds=("create",), when="after"),)
    assert weather("rough").rules == profile("rough").rules
    with pytest.raises(BadRule, match="no such file, and no profile of that name; there is mild, rough"):
        weather(str(tmp_path / "absent.json"))


def test_every_action_is_tested_here():
    tested = set(SEEN) | {
        "twice",
        "half",
        "delay",
        "lag_orders",
        "lag_balances",
        "hide_closed",
        "skew",
        "cut",
    }
    tested |= {rule["action"] for rule, _ in STREAM_FAULTS if rule}
    assert tested == set(ACTIONS)


def test_a_channel_holds_a_message_until_the_next_overtakes_it():
    channel = Channel(Faults([Rule(action="reorder", kinds=("orders",), count=1)]))
    assert channel.push("first", "orders", 1.0) == []
    assert channel.due(1.5) == []
    assert channel.push("second", "orders", 1.6) == [(1.6, "second"), (1.6, "first")]
    assert channel.due(99.0) == []


def test_a_silent_channel_speaks_again():
    channel = Channel(Faults([Rule(action="silence", count=1, seconds=(5, 5))]))
    assert [channel.push(at, "orders", at) for at in (1.0, 5.9)] == [[], []]
    assert channel.push("again", "orders", 6.0) == [(6.0, "again")]
    cut = Channel(Faults([Rule(action="cut")]))
    assert cut.push("x", "orders", 1.0) == [(1.0, Cut())]


def test_stopping_ends_requests_that_hang():
    with served({"action": "hang"}) as client:
        raw = sockets.create_connection((client.server.host, client.server.port), 5)
        raw.sendall(b"GET /api/v3/time HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(0.1)
        began = time.monotonic()
    assert time.monotonic() - began < 3
    raw.close()
