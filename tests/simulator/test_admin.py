"""The operator's door: it needs its token, says what is wrong, and tells the truth."""

import json

import pytest

from simulator.positions import Positions
from tests.simulator.test_positions import contract
from tests.simulator.wire_client import D, frames, served


def admin(client, method, path, token=None, **data):
    headers = {"Authorization": f"Bearer {token or client.server.admin_token}"}
    body = json.dumps(data) if data else None
    status, answer, _ = client.send(method, f"/admin/{path}", headers, body)
    return status, json.loads(answer)


def test_no_token_no_answer():
    with served() as client:
        for token in ("wrong", "ключ".encode().decode("latin-1")):
            assert admin(client, "GET", "truth", token=token)[0] == 401
        assert client.send("GET", "/admin/truth")[0] == 401
        assert admin(client, "GET", "truth")[0] == 200


def test_a_story_of_an_operator():
    with served() as client:
        admin(client, "POST", "accounts", name="new", api_key="key-new", secret="secret-new")
        assert admin(client, "POST", "deposit", account="new", currency="USDT", amount="250.5")[0] == 200
        new = type(client)(client.server, "key-new", "secret-new")
        assert new.place(price="90", quantity="2")[0] == 200
        assert (
            admin(client, "POST", "book", symbol="BTC/USDT", bids=[["91", "1"]], asks=[["92", "1"]])[0] == 200
        )
        traded = admin(
            client, "POST", "trade", symbol="BTC/USDT", price="89", quantity="0.5", taker_side="sell"
        )
        assert traded[0] == 200
        status, answer = admin(client, "GET", "truth")
        truth = answer["data"]
        assert truth["imbalance"] == {}
        ledger = truth["accounts"]["new"]
        assert [(o["status"], o["filled_quantity"]) for o in ledger["orders"]] == [
            ("partially_filled", "0.5")
        ]
        assert ledger["balances"]["USDT"] == {"free": "70.5", "locked": "135"}
        assert [fill["price"] for fill in ledger["fills"]] == ["90"]
        orders = admin(client, "GET", "orders?account=new&open=true")[1]["data"]
        assert [order["order_id"] for order in orders] == [1]
        assert admin(client, "POST", "expire", order_id=1, reason="RISK")[0] == 200
        assert admin(client, "GET", "orders?open=true")[1]["data"] == []
        assert admin(client, "POST", "withdraw", account="new", currency="USDT", amount="200")[0] == 200
        assert admin(client, "GET", "truth")[1]["data"]["imbalance"] == {}


def test_halt_resume_and_revoke():
    with served() as client:
        admin(client, "POST", "mode", mode="halted", symbol="BTC/USDT")
        assert client.place()[1]["msg"] == "Market is closed."
        assert admin(client, "GET", "health")[1]["data"]["markets"] == {"BTC/USDT": "halted"}
        admin(client, "POST", "mode", mode="trading", symbol="BTC/USDT")
        admin(client, "POST", "mode", mode="maintenance")
        assert client.place()[0] == 503
        admin(client, "POST", "mode", mode="trading")
        admin(client, "POST", "keys", api_key="key-bot", revoked=True)
        assert client.place()[1]["code"] == -2015
        admin(client, "POST", "keys", api_key="key-bot", revoked=False)
        assert client.place()[0] == 200


def test_faults_are_set_shown_and_cleared():
    with served() as client:
        assert (
            admin(client, "POST", "faults", rules=[{"action": "status", "kinds": "create"}], seed=3)[0] == 200
        )
        assert client.send("POST", "/api/v3/order")[0] == 500
        shown = admin(client, "GET", "faults")[1]["data"]
        assert [rule["action"] for rule in shown["rules"]] == ["status"]
        assert [(s["action"], s["target"]) for s in shown["struck"]] == [("status", "create")]
        admin(client, "DELETE", "faults")
        assert client.place()[0] == 200
        assert admin(client, "POST", "faults", profile="brutal")[1]["data"]["rules"] > 20


WRONG = [
    ("deposit", {"account": "nobody", "currency": "USDT", "amount": "1"}, "account: use one of bot"),
    ("deposit", {"account": "bot", "currency": "USDT", "amount": 1.5}, "amount: send a decimal string"),
    ("deposit", {"account": "bot", "currency": "USDT", "amount": "NaN"}, "amount: send a decimal string"),
    ("deposit", {"account": "bot", "currency": "USDT", "amount": "-1"}, "amount: send a decimal string"),
    ("deposit", {"account": "bot", "currency": "USDT", "amount": "0"}, "amount: must be more than zero"),
    ("deposit", {"account": "bot", "amount": "1"}, "currency: send a text"),
    ("mode", {"mode": "sleeping"}, "mode must be one of"),
    ("mode", {"mode": "halted", "symbol": "XXX/USDT"}, "no market 'XXX/USDT'"),
    ("keys", {"api_key": "key-bot", "revoked": "yes"}, "revoked: use true or false"),
    ("faults", {"rules": [{"action": "explode"}]}, "action: 'explode' is unknown"),
    ("faults", {"profile": "gentle"}, "profile: use one of mild"),
    ("book", {"symbol": "BTC/USDT", "bids": [["1"]], "asks": []}, "bids: send a list of"),
    (
        "trade",
        {"symbol": "BTC/USDT", "price": "1", "quantity": "1", "taker_side": "up"},
        "taker_side: use buy or sell",
    ),
    ("expire", {"order_id": 99}, "no such open order"),
    ("accounts", {"name": "bot", "api_key": "key-bot", "secret": "x"}, "exists already"),
]


@pytest.mark.parametrize(("path", "data", "words"), WRONG)
def test_wrong_input_names_the_field(path, data, words):
    with served() as client:
        status, answer = admin(client, "POST", path, **data)
        assert status == 400
        assert words in answer["error"]["message"]
        assert client.server.call(client.server.exchange.balances, client.server.exchange.accounts["bot"])[
            "USDT"
        ] == (D(10000), D(0))
        assert client.server.faults.rules == ()


def test_an_unknown_call_lists_those_there_are():
    with served() as client:
        status, answer = admin(client, "GET", "secrets")
        assert status == 404
        assert "GET /admin/truth" in answer["error"]["message"]


def test_faults_do_not_strike_the_operator():
    with served({"action": "hang"}) as client:
        assert admin(client, "GET", "health")[0] == 200


def test_deposits_reach_the_users_stream():
    with served() as client:
        stream = client.user_stream()
        admin(client, "POST", "deposit", account="bot", currency="USDT", amount="5")
        events = [frame["event"] for frame in frames(stream, 2)]
        assert [event["e"] for event in events] == ["balanceUpdate", "outboundAccountPosition"]
        assert events[0]["d"] == "5.00000000"


def test_a_contracts_mark_and_funding_are_chosen_and_its_truth_is_told():
    with served() as client:
        exchange = client.server.exchange
        assert admin(client, "POST", "contract", symbol="BTC/USDT")[0] == 400
        swap = contract()
        positions = Positions(exchange, [swap])
        exchange.set_book(swap.symbol, [(D(99), D(9))], [(D(101), D(9))], client.server.now())
        account = exchange.open_account("key-desk", "secret-desk", name="desk")
        exchange.deposit(account, "USDT", D(100), client.server.now())
        exchange.create_order(account, swap.symbol, "buy", "market", D(2), now=client.server.now())
        for wrong in ({"mark": "0"}, {"mark": "-5"}, {"funding_rate": "much"}, {"funding_rate": 0.1}):
            assert admin(client, "POST", "contract", symbol=swap.symbol, **wrong)[0] == 400, wrong
        assert positions.mark(swap.symbol) == 100
        status, answer = admin(
            client, "POST", "contract", symbol=swap.symbol, mark="105", funding_rate="-0.002"
        )
        assert (status, answer["data"]["mark"], answer["data"]["funding_rate"]) == (200, "105", "-0.002")
        assert positions.unrealised(positions.position(account, swap.symbol)) == D("0.8")
        truth = admin(client, "GET", "truth")[1]["data"]
        assert truth["imbalance"] == {}
        [held] = truth["accounts"]["desk"]["positions"]
        assert (held["symbol"], held["quantity"], held["cost"]) == (swap.symbol, "2", "20.2")
        assert admin(client, "POST", "contract", symbol=swap.symbol, mark=None)[1]["data"]["mark"] == "100"
