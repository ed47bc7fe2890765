"""Kraken's REST dialect, request by request, without a socket."""

import base64
import json
from decimal import Decimal
from urllib.parse import urlencode

import pytest

from simulator.dialects import dialect
from simulator.dialects.dialect import Request, View
from simulator.dialects.kraken import MARKETS, Kraken
from simulator.dialects.kraken_words import Pair, code, fixed, signature
from simulator.exchange import Exchange
from simulator.records import CANCEL_ONLY_MODE, HALT, MAINTENANCE_MODE, POST_ONLY_ONLY_MODE, TRADING, Market

SECRET = base64.b64encode(b"a secret of Kraken's shape").decode()
UUID = "d15708c1-dbb6-465d-b77d-47258319cc90"
NOW = 1_700_000_000.0
D = Decimal


class Desk:
    """A Kraken with a book, an account with money, and a caller who signs."""

    def __init__(self, **settings) -> None:
        # An exchange that has lived before goes on with its ids: they are large and do not begin at 1.
        self.exchange = Exchange("kraken", MARKETS, first_id=1_700_000_000_000)
        self.kraken = Kraken(self.exchange, **settings)
        self.now = NOW
        self.nonce = 1000
        self.account = self.exchange.open_account("KEY", SECRET, name="desk")
        self.exchange.deposit(self.account, "USDT", D(10_000), NOW)
        self.exchange.deposit(self.account, "ETH", D(3), NOW)
        self.book()

    def book(self) -> None:
        self.exchange.set_book(
            "ETH/USDT",
            [(D("2000.00"), D("5")), (D("1999.50"), D("7"))],
            [(D("2000.10"), D("1")), (D("2000.50"), D("9"))],
            self.now,
        )

    def send(self, name: str, form=(), *, view: View = View(), clock: float | None = None, **changes) -> dict:
        """Send one private request; `changes` replaces parts of it."""
        self.nonce += 1
        nonce = str(changes.pop("nonce", self.nonce))
        path = f"/0/private/{name}"
        body = changes.pop("body", urlencode({"nonce": nonce, **dict(form)}))
        headers = {
            "api-key": changes.pop("key", "KEY"),
            "api-sign": changes.pop("sign", signature(changes.pop("secret", SECRET), path, nonce, body)),
            "content-type": changes.pop("content_type", "application/x-www-form-urlencoded"),
        }
        request = Request(
            method=changes.pop("method", "POST"),
            path=path,
            query="",
            headers=headers,
            body=body.encode(),
            now=self.now,
            clock=self.now if clock is None else clock,
            view=view,
        )
        assert not changes
        response = self.kraken.handle(request)
        assert response.status == 200
        return json.loads(response.body)

    def ask(self, name: str, **form) -> dict:
        answer = self.send(name, form)
        assert answer["error"] == [], answer
        return answer["result"]

    def refused(self, name: str, **form) -> str:
        answer = self.send(name, form)
        assert "result" not in answer, answer
        [error] = answer["error"]
        return error

    def public(self, name: str, query: str = "", clock: float | None = None) -> dict:
        request = Request(
            method="GET",
            path=f"/0/public/{name}",
            query=query,
            headers={},
            now=self.now,
            clock=self.now if clock is None else clock,
        )
        return json.loads(self.kraken.handle(request).body)

    def order(self, **changes) -> dict:
        """A limit order that rests."""
        order = {"pair": "ETHUSDT", "type": "buy", "ordertype": "limit", "volume": "1", "price": "1900"}
        return {name: value for name, value in {**order, **changes}.items() if value is not None}

    def place(self, **changes) -> str:
        [txid] = self.ask("AddOrder", **self.order(**changes))["txid"]
        return txid


@pytest.fixture
def desk() -> Desk:
    return Desk()


# --- Signature, nonce, permissions ---


def test_the_signature_is_the_one_of_the_documentation():
    # The worked example of https://docs.kraken.com/exchange/guides/rest/authentication
    secret = "kQH5HW/8p1uGOVjbgWA7FunAmGO8lsSUXNsu3eow76sz84Q18fWxnyRzBHCd3pd5nE9qa99HAZtuZuj6F1huXg=="
    body = "nonce=1616492376594&ordertype=limit&pair=XBTUSD&price=37500&type=buy&volume=1.25"
    assert signature(secret, "/0/private/AddOrder", "1616492376594", body) == (
        "4/dpxb3iT4tp/ZCVEwSnEsLxx0bqyhLpdfOpc6fn7OR8+UClSV5n9E6aSS8MPtnRfp32bAb0nmbRn6H8ndwLUQ=="
    )


@pytest.mark.parametrize(
    "wrong, error",
    [
        ({"key": "SOMEBODY"}, "EAPI:Invalid key"),
        ({"key": ""}, "EAPI:Invalid key"),
        ({"sign": ""}, "EAPI:Invalid signature"),
        ({"sign": "Zm9v"}, "EAPI:Invalid signature"),
        ({"sign": "größe"}, "EAPI:Invalid signature"),
        ({"secret": base64.b64encode(b"another").decode()}, "EAPI:Invalid signature"),
        ({"nonce": "1000"}, "EAPI:Invalid nonce"),  # used
        ({"nonce": "999"}, "EAPI:Invalid nonce"),  # older
        ({"nonce": ""}, "EAPI:Invalid nonce"),
        ({"nonce": "-5"}, "EAPI:Invalid nonce"),
        ({"nonce": "1e9"}, "EAPI:Invalid nonce"),
        ({"nonce": str(2**64)}, "EAPI:Invalid nonce"),
        ({"body": "nonce=2000", "nonce": "2001"}, "EAPI:Invalid signature"),  # signed with another nonce
        ({"body": "{", "content_type": "application/json"}, "EGeneral:Invalid arguments"),
        ({"body": "[]", "content_type": "application/json"}, "EGeneral:Invalid arguments"),
        ({"method": "GET"}, "EGeneral:Unknown method"),
    ],
)
def test_a_request_that_is_not_properly_signed_changes_nothing(desk, wrong, error):
    desk.nonce = 999
    desk.ask("Balance")
    before = desk.exchange.ledger(desk.account)
    assert desk.send("AddOrder", desk.order(), **wrong) == {"error": [error]}
    assert desk.exchange.ledger(desk.account) == before


def test_a_nonce_is_used_up_even_when_the_order_is_refused(desk):
    assert desk.send("AddOrder", desk.order(volume="99"), nonce=5000)["error"] == [
        "EOrder:Insufficient funds"
    ]
    assert desk.send("AddOrder", desk.order(), nonce=5000)["error"] == ["EAPI:Invalid nonce"]
    assert desk.send("AddOrder", desk.order(), nonce=5001)["error"] == []


def test_a_wrong_signature_uses_up_no_nonce(desk):
    assert desk.send("Balance", nonce=9000, sign="x")["error"] == ["EAPI:Invalid signature"]
    assert desk.send("Balance", nonce=8000)["error"] == []


def test_each_key_counts_its_own_nonces(desk):
    desk.exchange.open_account("SECOND", SECRET, name="desk")
    assert desk.send("Balance", nonce=9000)["error"] == []
    assert desk.send("Balance", nonce=100, key="SECOND")["error"] == []


def test_json_bodies_are_signed_like_forms(desk):
    txid = desk.place()
    body = json.dumps({"nonce": "5000", "orders": [txid, "OZZZZZ-ZZZZZ-ZZZZZZ"]})
    answer = desk.send("CancelOrderBatch", body=body, nonce="5000", content_type="application/json")
    assert answer == {"error": [], "result": {"count": 1}}
    desk.nonce = 5000
    assert desk.ask("OpenOrders") == {"open": {}}


@pytest.mark.parametrize(
    "permissions, allowed, forbidden",
    [
        ({"read"}, ["Balance", "OpenOrders", "GetApiKeyInfo"], ["AddOrder", "CancelAll"]),
        ({"trade"}, ["CancelAll", "GetApiKeyInfo"], ["BalanceEx", "ClosedOrders", "GetWebSocketsToken"]),
        (set(), ["GetApiKeyInfo"], ["Balance", "AddOrder"]),
    ],
)
def test_a_key_may_do_what_it_was_given(desk, permissions, allowed, forbidden):
    desk.exchange.open_account("LIMITED", SECRET, name="desk", permissions=frozenset(permissions))
    for name in allowed:
        assert desk.send(name, desk.order(), key="LIMITED")["error"] == [], name
    for name in forbidden:
        assert desk.send(name, desk.order(), key="LIMITED")["error"] == ["EGeneral:Permission denied"], name


def test_a_key_says_what_it_may_do(desk):
    info = desk.ask("GetApiKeyInfo")
    assert info["apiKey"] == "KEY" and "modify-trades" in info["permissions"]
    assert "withdraw-funds" not in info["permissions"]


def test_a_revoked_key_is_an_unknown_key(desk):
    desk.exchange.revoke_key("KEY")
    assert desk.refused("Balance") == "EAPI:Invalid key"


# --- Names ---


@pytest.mark.parametrize(
    "symbol, names",
    [
        ("BTC/USDT", ("XBTUSDT", "XBTUSDT", "XBT/USDT")),
        ("ETH/USDT", ("ETHUSDT", "ETHUSDT", "ETH/USDT")),
        ("BTC/USD", ("XXBTZUSD", "XBTUSD", "XBT/USD")),
        ("ETH/BTC", ("XETHXXBT", "ETHXBT", "ETH/XBT")),
        ("USDT/USD", ("USDTZUSD", "USDTUSD", "USDT/USD")),
        ("SOL/USD", ("SOLUSD", "SOLUSD", "SOL/USD")),
    ],
)
def test_a_pair_has_three_names(symbol, names):
    base, quote = symbol.split("/")
    pair = Pair(Market(symbol=symbol, base=base, quote=quote, tick=D("0.1"), lot=D("0.1")))
    assert (pair.key, pair.altname, pair.wsname) == names


def test_ids_have_krakens_shape_and_never_change():
    assert code("O", "kraken:1") == code("O", "kraken:1") != code("O", "kraken:2")
    assert [len(part) for part in code("T", "x").split("-")] == [6, 5, 6]
    assert code("T", "x").startswith("T")


@pytest.mark.parametrize(
    "value, decimals, text",
    [
        ("1", 8, "1.00000000"),
        ("1.50", 1, "1.5"),
        ("0.123456789", 5, "0.123456789"),
        ("1E+3", 2, "1000.00"),
        ("0", 0, "0"),
    ],
)
def test_amounts_are_padded_and_never_rounded(value, decimals, text):
    assert fixed(D(value), decimals) == text


def test_money_is_listed_under_krakens_names(desk):
    desk.place()
    assert desk.ask("BalanceEx") == {
        "USDT": {"balance": "10000.00000000", "hold_trade": "1907.60000000"},  # 1900 and its fee of 0.4 %
        "XETH": {"balance": "3.0000000000", "hold_trade": "0.0000000000"},
    }
    assert desk.ask("Balance") == {"USDT": "10000.00000000", "XETH": "3.0000000000"}


# --- Public ---


def test_public_answers(desk):
    desk.exchange.public_trade("ETH/USDT", D("2000.10"), D("0.25"), "buy", NOW - 1)
    assert desk.public("Time", clock=1762820224.9)["result"] == {
        "unixtime": 1762820224,
        "rfc1123": "Tue, 11 Nov 25 00:17:04 +0000",
    }
    assert desk.public("SystemStatus", clock=1762820224)["result"] == {
        "status": "online",
        "timestamp": "2025-11-11T00:17:04Z",
    }
    assert set(desk.public("Assets")["result"]) == {"XXBT", "XETH", "USDT"}
    assert set(desk.public("Assets", "asset=XBT")["result"]) == {"XXBT"}
    pairs = desk.public("AssetPairs")["result"]
    assert set(pairs) == {"XBTUSDT", "ETHUSDT", "XETHXXBT"}
    assert pairs["ETHUSDT"]["fees"] == [[0, 0.4]] and pairs["ETHUSDT"]["fees_maker"] == [[0, 0.25]]
    assert (pairs["XBTUSDT"]["pair_decimals"], pairs["XBTUSDT"]["lot_decimals"]) == (1, 8)
    depth = desk.public("Depth", "pair=ETHUSDT&count=1")["result"]["ETHUSDT"]
    assert depth == {"asks": [["2000.10", "1.000", int(NOW)]], "bids": [["2000.00", "5.000", int(NOW)]]}
    ticker = desk.public("Ticker", "pair=ETH/USDT")["result"]["ETHUSDT"]
    assert ticker["a"] == ["2000.10", "1", "1.000"] and ticker["c"] == ["2000.10", "0.25000000"]
    trades = desk.public("Trades", "pair=ETHUSDT")["result"]
    assert [row[:2] + row[3:5] for row in trades["ETHUSDT"]] == [["2000.10", "0.25000000", "b", "l"]]
    assert desk.public("Trades", f"pair=ETHUSDT&since={trades['last']}")["result"]["ETHUSDT"] == []


@pytest.mark.parametrize(
    "name, query, error",
    [
        ("Ticker", "pair=DOGEUSD", "EQuery:Unknown asset pair"),
        ("AssetPairs", "pair=ETHUSDT,NOPE", "EQuery:Unknown asset pair"),
        ("Assets", "asset=NOPE", "EQuery:Unknown asset"),
        ("Depth", "", "EGeneral:Invalid arguments:pair"),
        ("Depth", "pair=ETHUSDT&count=501", "EGeneral:Invalid arguments:count"),
        ("Depth", "pair=ETHUSDT&count=x", "EGeneral:Invalid arguments:count"),
        ("Trades", "pair=ETHUSDT&since=x", "EGeneral:Invalid arguments:since"),
        ("OHLC", "pair=ETHUSDT", "EGeneral:Unknown method"),
    ],
)
def test_public_refusals(desk, name, query, error):
    assert desk.public(name, query) == {"error": [error]}


# --- Orders ---


def test_an_order_is_placed_found_and_cancelled(desk):
    answer = desk.ask("AddOrder", **desk.order(cl_ord_id=UUID, oflags="post"))
    [txid] = answer["txid"]
    assert answer == {"descr": {"order": "buy 1.00000000 ETHUSDT @ limit 1900.00"}, "txid": [txid]}
    record = desk.ask("OpenOrders")["open"][txid]
    assert record == {
        "refid": None,
        "userref": 0,
        "status": "open",
        "reason": None,
        "opentm": NOW,
        "starttm": 0,
        "expiretm": 0,
        "descr": {
            "pair": "ETHUSDT",
            "type": "buy",
            "ordertype": "limit",
            "price": "1900.00",
            "price2": "0",
            "leverage": "none",
            "order": "buy 1.00000000 ETHUSDT @ limit 1900.00",
            "close": "",
        },
        "vol": "1.00000000",
        "vol_exec": "0.00000000",
        "cost": "0.00000",
        "fee": "0.00000",
        "price": "0.00000",
        "stopprice": "0.00000",
        "limitprice": "0.00000",
        "misc": "",
        "oflags": "post,fciq",
        "cl_ord_id": UUID,
    }
    assert desk.ask("QueryOrders", txid=txid) == {txid: record}
    desk.now += 60
    assert desk.ask("CancelOrder", cl_ord_id=UUID) == {"count": 1}
    assert desk.ask("OpenOrders") == {"open": {}}
    closed = {**record, "status": "canceled", "reason": "User requested", "closetm": NOW + 60}
    assert desk.ask("ClosedOrders") == {"closed": {txid: closed}, "count": 1}
    assert desk.ask("BalanceEx")["USDT"]["hold_trade"] == "0.00000000"


def test_a_market_order_takes_what_is_there_and_pays_in_quote(desk):
    txid = desk.place(ordertype="market", price=None, volume="2")
    record = desk.ask("QueryOrders", txid=txid, trades="True")[txid]
    # 1 at 2000.10 and 1 at 2000.50; 0.4 % of each.
    assert record["status"] == "closed" and record["reason"] is None
    assert (record["vol_exec"], record["cost"], record["fee"], record["price"]) == (
        "2.00000000",
        "4000.60000",
        "16.00240",
        "2000.30",
    )
    assert (record["oflags"], record["descr"]["price"]) == ("fciq", "0")
    history = desk.ask("TradesHistory", ledgers="true")
    assert history["count"] == 2 and set(history["trades"]) == set(record["trades"])
    trade = history["trades"][record["trades"][0]]
    assert {name: trade[name] for name in ("ordertxid", "pair", "type", "price", "vol", "fee", "maker")} == {
        "ordertxid": txid,
        "pair": "ETHUSDT",
        "type": "buy",
        "price": "2000.10",
        "vol": "1.00000000",
        "fee": "8.00040",
        "maker": False,
    }
    assert len(trade["ledgers"]) == 2
    del trade["ledgers"]
    assert desk.ask("QueryTrades", txid=record["trades"][0]) == {record["trades"][0]: trade}
    assert desk.ask("BalanceEx") == {
        "USDT": {"balance": "5983.39760000", "hold_trade": "0.00000000"},
        "XETH": {"balance": "5.0000000000", "hold_trade": "0.0000000000"},
    }
    assert desk.exchange.imbalance() == {}


def test_a_market_buy_by_cost(desk):
    txid = desk.place(ordertype="market", price=None, volume="1000.05", oflags="viqc")
    record = desk.ask("QueryOrders", txid=txid)[txid]
    assert (record["status"], record["oflags"]) == ("closed", "fciq,viqc")
    # The fee stays inside the amount, to the last lot.
    spent = D(record["cost"]) + D(record["fee"])
    assert D("1000.05") - D("0.0001") < spent <= D("1000.05")
    assert D(record["vol_exec"]) * D("2000.10") == D(record["cost"])


@pytest.mark.parametrize(
    "force, volume, status, executed",
    [
        ("IOC", "1.2", "canceled", "1.00000000"),
        ("IOC", "0.4", "closed", "0.40000000"),
        ("FOK", "1.2", "canceled", "0.00000000"),
    ],
)
def test_time_in_force(desk, force, volume, status, executed):
    txid = desk.place(price="2000.10", volume=volume, timeinforce=force)
    record = desk.ask("QueryOrders", txid=txid)[txid]
    assert (record["status"], record["vol_exec"]) == (status, executed)
    assert record["reason"] == (None if status == "closed" else "Insufficient market depth")
    assert desk.ask("OpenOrders") == {"open": {}}


@pytest.mark.parametrize(
    "wrong, error",
    [
        ({"pair": None}, "EGeneral:Invalid arguments:pair"),
        ({"type": None}, "EGeneral:Invalid arguments:type"),
        ({"volume": None}, "EGeneral:Invalid arguments:volume"),
        ({"price": None}, "EGeneral:Invalid arguments:price"),
        ({"pair": "ETHEUR"}, "EQuery:Unknown asset pair"),
        ({"type": "hold"}, "EGeneral:Invalid arguments:type"),
        ({"ordertype": "trailing-stop"}, "EGeneral:Invalid arguments:ordertype"),
        ({"volume": "0"}, "EGeneral:Invalid arguments:volume"),
        ({"volume": "-1"}, "EGeneral:Invalid arguments:volume"),
        ({"volume": "NaN"}, "EGeneral:Invalid arguments:volume"),
        ({"volume": "1e400"}, "EGeneral:Invalid arguments:volume"),
        ({"volume": "1e18"}, "EGeneral:Invalid arguments:volume"),
        ({"volume": "1e-30"}, "EGeneral:Invalid arguments:volume"),
        ({"price": "1e400"}, "EGeneral:Invalid arguments:price"),
        ({"volume": "a lot"}, "EGeneral:Invalid arguments:volume"),
        ({"volume": "0.123456789"}, "EGeneral:Invalid arguments:volume"),
        ({"price": "0"}, "EGeneral:Invalid arguments:price"),
        ({"price": "Infinity"}, "EGeneral:Invalid arguments:price"),
        ({"price": "1900.001"}, "EOrder:Invalid price:ETHUSDT price can only be specified up to 2 decimals."),
        ({"volume": "0.00199999"}, "EOrder:Order minimum not met"),
        ({"volume": "0.002", "price": "0.01"}, "EOrder:Cost minimum not met"),
        ({"volume": "5.3"}, "EOrder:Insufficient funds"),
        ({"type": "sell", "price": "2100", "volume": "3.00000001"}, "EOrder:Insufficient funds"),
        ({"price": "2000.10", "oflags": "post"}, "EOrder:Post only order"),
        ({"oflags": "fcib,fciq"}, "EGeneral:Invalid arguments:oflags"),
        ({"oflags": "posst"}, "EGeneral:Invalid arguments:oflags"),
        ({"oflags": "post", "timeinforce": "IOC"}, "EGeneral:Invalid arguments:oflags"),
        ({"oflags": "viqc"}, "EGeneral:Invalid arguments:viqc"),
        ({"timeinforce": "DAY"}, "EGeneral:Invalid arguments:timeinforce"),
        ({"leverage": "3"}, "EGeneral:Invalid arguments:leverage"),
        ({"expiretm": "+60"}, "EGeneral:Invalid arguments:expiretm"),
        ({"cl_ord_id": UUID[:-1]}, "EGeneral:Invalid arguments:cl_ord_id"),
        ({"cl_ord_id": "nineteen-characters"}, "EGeneral:Invalid arguments:cl_ord_id"),
        ({"cl_ord_id": "g" * 32}, "EGeneral:Invalid arguments:cl_ord_id"),
        ({"cl_ord_id": "bad\n"}, "EGeneral:Invalid arguments:cl_ord_id"),
        ({"userref": "x"}, "EGeneral:Invalid arguments:userref"),
        ({"userref": str(2**31)}, "EGeneral:Invalid arguments:userref"),
        ({"userref": "5", "cl_ord_id": "abc"}, "EGeneral:Invalid arguments:userref"),
        ({"deadline": "soon"}, "EGeneral:Invalid arguments:deadline"),
        ({"deadline": "2023-11-14T22:13:20"}, "EGeneral:Invalid arguments:deadline"),  # no zone
        ({"deadline": "2023-11-14T22:14:21Z"}, "EGeneral:Invalid arguments:deadline"),  # in 61 s
        ({"deadline": "2023-11-14T22:13:20Z"}, "EService:Deadline elapsed"),  # now
        ({"deadline": "2023-11-14T22:13:19.999Z"}, "EService:Deadline elapsed"),
    ],
)
def test_an_order_that_is_refused_changes_nothing(desk, wrong, error):
    before = desk.exchange.ledger(desk.account)
    assert desk.refused("AddOrder", **desk.order(**wrong)) == error
    assert desk.exchange.ledger(desk.account) == before
    assert desk.exchange.imbalance() == {}


@pytest.mark.parametrize(
    "right",
    [
        {"cl_ord_id": UUID},
        {"cl_ord_id": UUID.replace("-", "")},
        {"cl_ord_id": "eighteen-chars-ok!"},
        {"userref": "-7"},
        {"oflags": "post,fciq,nompp"},
        {"timeinforce": "GTC", "leverage": "none", "starttm": "0"},
        {"volume": "0.002"},
        {"deadline": "2023-11-14T22:14:20Z"},
        {"deadline": "2023-11-14T23:13:30.5+01:00"},
    ],
)
def test_an_order_at_the_limit_of_the_rules_is_taken(desk, right):
    desk.place(**right)
    assert len(desk.ask("OpenOrders")["open"]) == 1


def test_an_order_that_only_is_validated_is_not_placed(desk):
    assert desk.ask("AddOrder", **desk.order(validate="true")) == {
        "descr": {"order": "buy 1.00000000 ETHUSDT @ limit 1900.00"}
    }
    assert desk.refused("AddOrder", **desk.order(validate="true", price="1900.001")).startswith(
        "EOrder:Invalid price"
    )
    assert desk.ask("OpenOrders") == {"open": {}}


def test_a_client_id_is_unique_among_open_orders_and_may_be_used_again(desk):
    first = desk.place(cl_ord_id=UUID)
    assert desk.refused("AddOrder", **desk.order(cl_ord_id=UUID)) == (
        "EGeneral:Invalid arguments:cl_ord_id not unique"
    )
    desk.ask("CancelOrder", txid=first)
    second = desk.place(cl_ord_id=UUID)
    desk.place(cl_ord_id="another")
    assert set(desk.ask("OpenOrders", cl_ord_id=UUID)["open"]) == {second}
    assert set(desk.ask("ClosedOrders", cl_ord_id=UUID)["closed"]) == {first}
    desk.ask("CancelOrder", cl_ord_id=UUID)
    assert desk.ask("ClosedOrders", cl_ord_id=UUID)["count"] == 2
    assert desk.ask("OpenOrders", cl_ord_id=UUID) == {"open": {}}


@pytest.mark.parametrize(
    "by, error",
    [
        ({"txid": "OZZZZZ-ZZZZZ-ZZZZZZ"}, "EOrder:Invalid order"),  # never given out
        ({"txid": "None"}, "EOrder:Invalid order"),
        ({"cl_ord_id": "unheard-of"}, "EOrder:Unknown order"),
        ({}, "EGeneral:Invalid arguments:txid"),
        ({"txid": "5"}, "EOrder:Unknown order"),  # no order of this userref
    ],
)
def test_cancelling_what_is_not_there(desk, by, error):
    txid = desk.place()
    assert desk.refused("CancelOrder", **by) == error
    assert set(desk.ask("OpenOrders")["open"]) == {txid}


@pytest.mark.parametrize("ending", ["filled", "canceled"])
def test_cancelling_what_has_ended(desk, ending):
    txid = desk.place(cl_ord_id=UUID, price="2000.10" if ending == "filled" else "1900")
    if ending == "canceled":
        desk.ask("CancelOrder", txid=txid)
    before = desk.exchange.ledger(desk.account)
    assert desk.refused("CancelOrder", txid=txid) == "EOrder:Unknown order"
    assert desk.refused("CancelOrder", cl_ord_id=UUID) == "EOrder:Unknown order"
    assert desk.exchange.ledger(desk.account) == before


def test_orders_are_grouped_by_userref(desk):
    mine = {desk.place(userref="7"), desk.place(userref="7")}
    other = desk.place(userref="8")
    assert set(desk.ask("OpenOrders", userref="7")["open"]) == mine
    assert desk.ask("OpenOrders")["open"][other]["userref"] == 8
    assert desk.ask("CancelOrder", txid="7") == {"count": 2}
    assert set(desk.ask("OpenOrders")["open"]) == {other}
    # What ccxt sends when asked for an order by client id is nothing Kraken understands.
    assert desk.refused("QueryOrders", txid="None", userref=UUID) == "EOrder:Invalid order"
    assert desk.refused("OpenOrders", userref=UUID) == "EGeneral:Invalid arguments:userref"


def test_cancelling_everything_is_the_own_account_only(desk):
    other = desk.exchange.open_account("OTHER", SECRET, name="other")
    desk.exchange.deposit(other, "USDT", D(1000), NOW)
    [theirs] = desk.send("AddOrder", desk.order(volume="0.1"), key="OTHER")["result"]["txid"]
    desk.place(), desk.place()
    assert desk.ask("CancelAll") == {"count": 2}
    assert desk.ask("CancelAll") == {"count": 0}
    assert len(other.open) == 1
    assert desk.refused("CancelOrder", txid=theirs) == "EOrder:Invalid order"
    assert desk.refused("QueryOrders", txid=theirs) == "EOrder:Invalid order"
    assert desk.send("OpenOrders", key="OTHER")["result"]["open"].keys() == {theirs}


def test_closed_orders_come_newest_first_in_pages(desk):
    txids = []
    for number in range(53):
        desk.now = NOW + 100 * number
        txids.append(desk.place(volume="0.002"))
        desk.ask("CancelOrder", txid=txids[-1])
    first = desk.ask("ClosedOrders")
    assert (list(first["closed"]), first["count"]) == (txids[:2:-1], 53)
    assert list(desk.ask("ClosedOrders", ofs="50")["closed"]) == txids[2::-1]
    assert list(desk.ask("ClosedOrders", start=NOW + 5000)["closed"]) == txids[:50:-1]  # later than start
    assert list(desk.ask("ClosedOrders", end=NOW + 100)["closed"]) == txids[1::-1]  # up to and with end
    assert list(desk.ask("ClosedOrders", start=txids[51])["closed"]) == [txids[52]]
    assert desk.refused("ClosedOrders", ofs="x") == "EGeneral:Invalid arguments:ofs"
    assert desk.refused("ClosedOrders", start="x") == "EGeneral:Invalid arguments:start"


def test_trades_come_newest_first_in_pages(desk):
    for number in range(52):
        desk.now = NOW + 10 * number
        desk.book()
        desk.place(price="2000.10", volume="0.002")
    history = desk.ask("TradesHistory")
    times = [trade["time"] for trade in history["trades"].values()]
    assert history["count"] == 52 and times == [NOW + 10 * n for n in range(51, 1, -1)]
    assert [t["time"] for t in desk.ask("TradesHistory", ofs="50")["trades"].values()] == [NOW + 10, NOW]
    newer = desk.ask("TradesHistory", start=list(history["trades"])[1])
    assert [t["time"] for t in newer["trades"].values()] == [NOW + 510]
    assert [t["time"] for t in desk.ask("TradesHistory", end=NOW + 10)["trades"].values()] == [NOW + 10, NOW]
    assert desk.refused("QueryTrades", txid="TZZZZZ-ZZZZZ-ZZZZZZ") == "EQuery:Unknown trade"
    assert desk.refused("QueryTrades") == "EGeneral:Invalid arguments:txid"


def test_the_past_is_shown_when_a_fault_wants_it(desk):
    resting = desk.place(cl_ord_id="older")
    desk.now += 10
    filled = desk.place(price="2000.10", cl_ord_id="newer")
    desk.ask("CancelOrder", txid=resting)
    past = View(orders_as_of=NOW + 5, balances_as_of=NOW + 5)
    assert set(desk.send("OpenOrders", view=past)["result"]["open"]) == {resting}
    assert desk.send("ClosedOrders", view=past)["result"] == {"closed": {}, "count": 0}
    assert desk.send("QueryOrders", {"txid": filled}, view=past) == {"error": [], "result": {}}
    assert desk.send("TradesHistory", view=past)["result"] == {"trades": {}, "count": 0}
    assert desk.send("BalanceEx", view=past)["result"]["XETH"]["balance"] == "3.0000000000"
    hidden = View(hide_closed=True)
    assert desk.send("ClosedOrders", view=hidden)["result"]["count"] == 0
    assert desk.send("QueryOrders", {"txid": f"{resting},{filled}"}, view=hidden)["result"] == {}
    assert desk.send("TradesHistory", view=hidden)["result"]["count"] == 1


def test_a_deadline_is_measured_by_the_exchanges_clock(desk):
    form = desk.order(deadline="2023-11-14T22:13:25Z")
    assert desk.send("AddOrder", form, clock=NOW + 6)["error"] == ["EService:Deadline elapsed"]
    assert desk.send("AddOrder", form, clock=NOW)["error"] == []


# --- Money in and out, fees ---


def test_deposits_and_withdrawals(desk):
    exchange = desk.exchange
    exchange.withdraw(desk.account, "ETH", D("0.5"), NOW + 10, fee=D("0.001"), address="0xabc", txid="0xdef")
    deposits = desk.ask("DepositStatus")
    assert [(row["asset"], row["amount"], row["time"], row["status"]) for row in deposits] == [
        ("XETH", "3.0000000000", int(NOW), "Success"),
        ("USDT", "10000.00000000", int(NOW), "Success"),
    ]
    assert [row["asset"] for row in desk.ask("DepositStatus", asset="XETH")] == ["XETH"]
    assert desk.ask("DepositStatus", start=NOW + 1) == []
    [withdrawal] = desk.ask("WithdrawStatus")
    assert (withdrawal["asset"], withdrawal["amount"], withdrawal["fee"]) == (
        "XETH",
        "0.5000000000",
        "0.0010000000",
    )
    assert (withdrawal["info"], withdrawal["txid"]) == ("0xabc", "0xdef")


def test_fees_are_said_in_percent(desk):
    desk.place(price="2000.10")
    answer = desk.ask("TradeVolume", pair="ETHUSDT")
    assert answer["volume"] == "2000.1000"
    assert answer["fees"]["ETHUSDT"]["fee"] == "0.4000"
    assert answer["fees_maker"]["ETHUSDT"]["fee"] == "0.2500"
    assert desk.ask("TradeVolume") == {"currency": "ZUSD", "volume": "2000.1000"}


# --- Limits ---


def test_calls_are_counted_by_key_and_forgotten_with_time(desk):
    for _ in range(20):
        desk.ask("Balance")
    assert desk.refused("Balance") == "EAPI:Rate limit exceeded"
    assert desk.send("Balance", key="KEY")["error"] == ["EAPI:Rate limit exceeded"]
    desk.exchange.open_account("SECOND", SECRET, name="desk")
    assert desk.send("Balance", key="SECOND")["error"] == []
    # Orders are counted elsewhere.
    txid = desk.place()
    assert desk.ask("CancelOrder", txid=txid) == {"count": 1}
    desk.now += 4  # two refused calls counted as well: 22, less 0.5 a second, is still above 19
    assert desk.refused("Balance") == "EAPI:Rate limit exceeded"
    desk.now += 10
    desk.ask("Balance")


def test_the_history_of_trades_costs_double(desk):
    for _ in range(10):
        desk.ask("TradesHistory")
    assert desk.refused("Balance") == "EAPI:Rate limit exceeded"


@pytest.mark.parametrize("tier, calls", [("starter", 15), ("intermediate", 20), ("pro", 20)])
def test_tiers(tier, calls):
    desk = Desk(tier=tier)
    answers = [desk.send("Balance")["error"] for _ in range(calls + 1)]
    assert answers == [[]] * calls + [["EAPI:Rate limit exceeded"]]
    with pytest.raises(ValueError, match="tier"):
        Desk(tier="whale")


def test_orders_are_counted_by_pair_and_quick_cancels_cost_most(desk):
    def place_and_cancel() -> None:
        desk.ask("CancelOrder", txid=desk.place(volume="0.002"))

    for _ in range(13):  # 9 each: 117
        place_and_cancel()
    for _ in range(8):
        desk.place(volume="0.002")
    assert desk.refused("AddOrder", **desk.order(volume="0.002")) == "EOrder:Rate limit exceeded"
    # Another pair has its own counter; cancelling is always possible.
    desk.exchange.set_book("BTC/USDT", [(D(50000), D(1))], [(D(50001), D(1))], desk.now)
    desk.place(pair="XBTUSDT", price="40000", volume="0.001")
    assert desk.ask("CancelAll") == {"count": 9}
    assert desk.refused("AddOrder", **desk.order(volume="0.002")) == "EOrder:Rate limit exceeded"
    desk.now += 60
    desk.place(volume="0.002")


def test_an_old_order_costs_nothing_to_cancel(desk):
    for _ in range(100):
        txid = desk.place(volume="0.002")
        desk.now += 301
        desk.ask("CancelOrder", txid=txid)
    for _ in range(80):
        desk.place(volume="0.002")
    assert desk.refused("AddOrder", **desk.order(volume="0.002")) == "EOrder:Orders limit exceeded"


# --- The exchange's own troubles ---


@pytest.mark.parametrize(
    "mode, error, status",
    [
        (HALT, "EService:Market in cancel_only mode", "cancel_only"),
        (CANCEL_ONLY_MODE, "EService:Market in cancel_only mode", "cancel_only"),
        (POST_ONLY_ONLY_MODE, "EService:Market in post_only mode", "post_only"),
    ],
)
def test_a_market_that_is_not_fully_open(desk, mode, error, status):
    txid = desk.place()
    desk.exchange.set_mode(mode, desk.now, "ETH/USDT")
    assert desk.refused("AddOrder", **desk.order()) == error
    assert desk.public("AssetPairs", "pair=ETHUSDT")["result"]["ETHUSDT"]["status"] == status
    assert desk.public("AssetPairs", "pair=XBTUSDT")["result"]["XBTUSDT"]["status"] == "online"
    if mode == POST_ONLY_ONLY_MODE:
        desk.place(oflags="post")
    assert desk.ask("CancelOrder", txid=txid) == {"count": 1}


def test_maintenance_answers_the_time_and_nothing_else(desk):
    desk.exchange.set_mode(MAINTENANCE_MODE, desk.now)
    assert desk.public("SystemStatus")["result"]["status"] == "maintenance"
    assert desk.public("Time")["error"] == []
    assert desk.public("Depth", "pair=ETHUSDT") == {"error": ["EService:Unavailable"]}
    assert desk.refused("Balance") == desk.refused("CancelAll") == "EService:Unavailable"
    desk.exchange.set_mode(TRADING, desk.now)
    desk.ask("Balance")


@pytest.mark.parametrize(
    "path", ["/", "/0/private/Nonsense", "/0/public/AddOrder", "/1/public/Time", "/0/private"]
)
def test_other_paths_are_unknown_methods(desk, path):
    request = Request(method="GET", path=path, query="", headers={}, now=NOW, clock=NOW)
    assert json.loads(desk.kraken.handle(request).body) == {"error": ["EGeneral:Unknown method"]}


def test_faults_speak_krakens_words(desk):
    request = Request(method="POST", path="/0/private/AddOrder", query="", headers={}, now=NOW, clock=NOW)
    assert desk.kraken.kind(request) == dialect.CREATE
    limited, banned = desk.kraken.rate_limited(request, False), desk.kraken.rate_limited(request, True)
    assert (limited.status, json.loads(limited.body)) == (200, {"error": ["EAPI:Rate limit exceeded"]})
    assert json.loads(banned.body) == {"error": ["EGeneral:Temporary lockout"]}
    assert desk.kraken.failure(503).status == 503
    assert json.loads(desk.kraken.failure(500).body) == {"error": ["EGeneral:Internal error"]}


def test_every_answered_path_has_a_kind():
    kraken = Kraken(Exchange("kraken", MARKETS))
    for name in [*kraken._public, *kraken._private]:
        request = Request(method="POST", path=f"/0/x/{name}", query="", headers={}, now=NOW, clock=NOW)
        assert kraken.kind(request) in dialect.KINDS
        assert kraken.kind(request) != dialect.OTHER or name in ("GetApiKeyInfo", "CancelAllOrdersAfter")
