"""OKX's dialect without a wire: signatures, refusals, orders, pages, limits."""

import json
from dataclasses import replace
from decimal import Decimal

import pytest

from simulator import records
from simulator.dialects import dialect
from simulator.dialects.dialect import View
from simulator.dialects.okx import MARKETS
from simulator.dialects.okx_words import ERRORS, signature
from tests.simulator.okx_client import BTC, ETH, NOW, SECRET, WORDS, Desk

D = Decimal


# --- Signatures ---


def test_a_signature_worked_out_apart():
    """By: printf PREHASH | openssl dgst -sha256 -hmac SECRET -binary | base64."""
    prehash = "2020-12-08T09:08:57.715ZGET/api/v5/account/balance?ccy=BTC"
    expected = "HiZhvSfMtWJA3uUIVXV3a/bSXNPCWvYFXoGCVS8V4zY="
    assert signature("22582BD0CFF14C41EDBF1AB98506286D", prehash) == expected


@pytest.mark.parametrize(
    "case, options, status, code",
    [
        ("no key", {"ok_access_key": None}, 401, "50103"),
        ("no passphrase", {"ok_access_passphrase": None}, 401, "50104"),
        ("no signature", {"ok_access_sign": None}, 401, "50106"),
        ("no time", {"ok_access_timestamp": None}, 401, "50107"),
        ("an unknown key", {"ok_access_key": "NOBODY"}, 401, "50111"),
        ("a wrong passphrase", {"ok_access_passphrase": "other words"}, 401, "50105"),
        ("a wrong secret", {"secret": "another"}, 401, "50113"),
        ("a time that is none", {"timestamp": "yesterday"}, 401, "50112"),
        ("a time in seconds", {"timestamp": str(int(NOW))}, 401, "50112"),
        ("too old", {"at": NOW - 31}, 401, "50102"),
        ("too far ahead", {"at": NOW + 31}, 401, "50102"),
    ],
)
def test_a_request_that_is_not_signed_as_it_should_be(case, options, status, code):
    desk = Desk()
    answered, body = desk.answer(desk.signed("GET", "/api/v5/account/balance", "ccy=BTC", **options))
    assert (answered, body["code"], body["msg"]) == (status, code, ERRORS[code][1])


def test_a_signature_covers_time_method_path_query_and_body():
    desk = Desk()
    good = desk.signed("POST", "/api/v5/trade/order", "", '{"instId":"ETH-USDT"}')
    assert desk.answer(good)[1]["code"] == "1"  # read, and refused for what it lacks
    for change in (
        {"body": b'{"instId":"BTC-USDT"}'},
        {"path": "/api/v5/trade/cancel-order"},
        {"query": "a=1"},
    ):
        assert desk.answer(replace(good, **change))[1]["code"] == "50113"
    assert desk.answer(desk.signed("GET", "/api/v5/account/balance", at=NOW - 29))[1]["code"] == "0"


def test_a_revoked_key_and_one_that_may_only_read():
    desk = Desk()
    desk.exchange.keys["KEY"].permissions = frozenset(("read",))
    assert desk.post("trade/order", {"instId": ETH})[1]["code"] == "50120"
    assert desk.get("account/config")[1]["data"][0]["perm"] == "read_only"
    desk.exchange.revoke_key("KEY")
    assert desk.get("account/balance")[1]["code"] == "50119"


@pytest.mark.parametrize(
    "case, method, path, body, headers, status, code",
    [
        ("no body", "POST", "trade/order", "", {}, 400, "50000"),
        ("no JSON", "POST", "trade/order", "{", {}, 400, "50002"),
        ("a form", "POST", "trade/order", "a=1", {"content_type": "text/plain"}, 400, "50006"),
        ("a list where one order belongs", "POST", "trade/order", "[]", {}, 400, "50002"),
        ("an order where a list belongs", "POST", "trade/batch-orders", "{}", {}, 400, "50002"),
        ("another method", "DELETE", "trade/order", "", {}, 405, "50115"),
        ("nowhere", "GET", "trade/nothing", "", {}, 404, "404"),
    ],
)  # fmt: skip
def test_a_request_that_is_none(case, method, path, body, headers, status, code):
    desk = Desk()
    answered, told = desk.answer(desk.signed(method, f"/api/v5/{path}", "", body, **headers))
    assert (answered, told["code"]) == (status, code)
    assert not desk.account.orders


# --- Placing orders ---


@pytest.mark.parametrize(
    "case, changes, code, words",
    [
        ("no market", {"instId": None}, "50014", "Parameter instId can not be empty."),
        ("an unknown market", {"instId": "ETH-XYZ"}, "51001", None),
        ("no mode", {"tdMode": None}, "50014", "Parameter tdMode can not be empty."),
        ("on margin", {"tdMode": "cross"}, "51010", None),
        ("no side", {"side": None}, "50014", "Parameter side can not be empty."),
        ("a wrong side", {"side": "long"}, "51000", "Parameter side error"),
        ("a type of futures only", {"ordType": "optimal_limit_ioc"}, "51000", "Parameter ordType error"),
        ("no size", {"sz": None}, "50014", "Parameter sz can not be empty."),
        ("a size below zero", {"sz": "-1"}, "51000", "Parameter sz error"),
        ("a size that is none", {"sz": "many"}, "51000", "Parameter sz error"),
        ("not a number", {"sz": "NaN"}, "51000", "Parameter sz error"),
        ("no price", {"px": None}, "50014", "Parameter px can not be empty."),
        ("off the tick", {"px": "45.001"}, "51000", "Parameter px error"),
        ("off the lot", {"sz": "1.0000001"}, "51121", None),
        ("too small", {"sz": "0.00009"}, "51020", None),
        ("too large", {"sz": "10000000000"}, "51005", None),
        ("no money", {"sz": "5000"}, "51008", "Order failed. Insufficient USDT balance in account."),
        ("nothing to sell", {"side": "sell", "px": "80", "sz": "11"}, "51008",
         "Order failed. Insufficient ETH balance in account."),
        ("a dash in the client id", {"clOrdId": "a-b"}, "51000", "Parameter clOrdId error"),
        ("a client id of 33", {"clOrdId": "a" * 33}, "51000", "Parameter clOrdId error"),
        ("a tag of 17", {"tag": "a" * 17}, "51000", "Parameter tag error"),
        ("a stop beside it", {"attachAlgoOrds": [{}]}, "51000", "Parameter attachAlgoOrds error"),
        ("another currency", {"ordType": "market", "tgtCcy": "BTC"}, "51000", "Parameter tgtCcy error"),
    ],
)  # fmt: skip
def test_an_order_that_is_refused(case, changes, code, words):
    desk = Desk()
    row = desk.order(**changes)
    assert (row["sCode"], row["sMsg"], row["ordId"]) == (code, words or ERRORS[code][1], "")
    assert not desk.account.orders and desk.account.open == {}
    assert desk.exchange.imbalance() == {}


@pytest.mark.parametrize(
    "mode, order, code",
    [
        (records.HALT, {}, "51022"),
        (records.CANCEL_ONLY_MODE, {}, "51022"),
        (records.POST_ONLY_ONLY_MODE, {}, "51124"),
        (records.POST_ONLY_ONLY_MODE, {"ordType": "post_only"}, "0"),
    ],
)
def test_a_market_that_does_not_trade(mode, order, code):
    desk = Desk()
    desk.exchange.set_mode(mode, NOW, "ETH/USDT")
    assert desk.order(**order)["sCode"] == code
    [state] = [
        row["state"] for row in desk.public("public/instruments", instType="SPOT", instId=ETH)[1]["data"]
    ]
    assert state == ("live" if mode == records.POST_ONLY_ONLY_MODE else "suspend")


def test_maintenance_is_said_by_the_front_and_the_time_is_still_told():
    desk = Desk()
    desk.exchange.set_mode(records.MAINTENANCE_MODE, NOW)
    status, body = desk.post("trade/order", {"instId": ETH})
    assert (status, body["code"]) == (503, "50001")
    assert desk.public("public/time")[1]["data"] == [{"ts": "1700000000000"}]


def test_too_many_open_orders():
    small = [market for market in MARKETS if market.symbol == "ETH/USDT"]

    desk = Desk([replace(small[0], max_orders=2)])
    assert [desk.order()["sCode"] for _ in range(3)] == ["0", "0", "51102"]


@pytest.mark.parametrize(
    "case, changes, filled, state, source",
    [
        ("resting", {}, "0", "live", ""),
        ("taking", {"px": "60"}, "1", "filled", ""),
        ("taking what there is", {"px": "60", "sz": "6"}, "5", "partially_filled", ""),
        ("immediate", {"ordType": "ioc", "px": "60", "sz": "6"}, "5", "canceled", "14"),
        ("all or nothing", {"ordType": "fok", "px": "60", "sz": "6"}, "0", "canceled", "13"),
        ("all of it", {"ordType": "fok", "px": "60", "sz": "5"}, "5", "filled", ""),
        ("a market order in the base currency", {"ordType": "market", "px": None, "tgtCcy": "base_ccy"}, "1",
         "filled", ""),
        # The default: a market buy counts in the quote currency, a sell in the base currency.
        ("a market buy", {"ordType": "market", "px": None, "sz": "120"}, "2", "filled", ""),
        ("a market sell", {"ordType": "market", "px": None, "side": "sell"}, "1", "filled", ""),
        ("a market sell for an amount",
         {"ordType": "market", "side": "sell", "tgtCcy": "quote_ccy", "sz": "100"}, "2", "filled", ""),
    ],
)  # fmt: skip
def test_what_becomes_of_an_order(case, changes, filled, state, source):
    desk = Desk()
    row = desk.order(**changes, clOrdId="mine1", tag="t1")
    assert (row["sCode"], row["clOrdId"], row["tag"]) == ("0", "mine1", "t1")
    [found] = desk.get("trade/order", instId=ETH, ordId=row["ordId"])[1]["data"]
    assert (found["accFillSz"], found["state"], found["cancelSource"], found["tag"]) == (
        filled,
        state,
        source,
        "t1",
    )
    assert found == desk.get("trade/order", instId=ETH, clOrdId="mine1")[1]["data"][0]
    assert found["sz"] == changes.get("sz", "1")
    fills = desk.get("trade/fills", ordId=row["ordId"])[1]["data"]
    assert sum(D(fill["fillSz"]) for fill in fills) == D(filled)
    assert sum(D(fill["fee"]) for fill in fills) == D(found["fee"]) <= 0
    assert {fill["feeCcy"] for fill in fills} <= {"USDT" if changes.get("side") == "sell" else "ETH"}
    assert desk.exchange.imbalance() == {}


@pytest.mark.parametrize(
    "side, target, size, filled",
    [
        ("buy", "base_ccy", "8", "5"),  # 320 would be needed, 300 are there: five lots of 60
        ("buy", "quote_ccy", "900", "5"),
        ("sell", "base_ccy", "12", "10"),
    ],
)
def test_a_market_order_that_cannot_be_paid_is_made_smaller_unless_that_is_banned(side, target, size, filled):
    desk = Desk()
    desk.exchange.withdraw(desk.account, "USDT", D(99_700), NOW)
    order = {"ordType": "market", "px": None, "side": side, "tgtCcy": target, "sz": size}
    assert desk.order(**order, banAmend=True)["sCode"] == "51008"
    assert not desk.account.orders
    row = desk.order(**order)
    [found] = desk.get("trade/order", instId=ETH, ordId=row["ordId"])[1]["data"]
    assert (found["accFillSz"], found["state"]) == (filled, "filled")
    assert desk.exchange.imbalance() == {}


def test_a_post_only_order_that_would_take_is_accepted_and_cancelled():
    desk = Desk()
    before = desk.exchange.balances(desk.account)
    socket = desk.socket()
    socket.login()
    socket.subscribe(channel="orders", instType="ANY")
    first = desk.order()
    row = desk.order(ordType="post_only", px="60", clOrdId="maker1")
    second = desk.order(ordType="post_only", px="61")
    last = desk.order()
    assert [one["sCode"] for one in (first, row, second, last)] == ["0"] * 4
    # Its number lies where it belongs, and is given once.
    assert int(first["ordId"]) < int(row["ordId"]) < int(second["ordId"]) < int(last["ordId"])
    for asked in ({"ordId": row["ordId"]}, {"clOrdId": "maker1"}):
        [found] = desk.get("trade/order", instId=ETH, **asked)[1]["data"]
        assert (found["state"], found["cancelSource"], found["accFillSz"], found["px"]) == (
            "canceled",
            "31",
            "0",
            "60",
        )
        assert found["ordType"] == "post_only"
    history = desk.get("trade/orders-history", instType="SPOT")[1]["data"]
    assert [one["ordId"] for one in history] == [second["ordId"], row["ordId"]]
    pushed = [(one["ordId"], one["state"], one["cancelSource"]) for one in socket.data("orders")]
    assert pushed == [
        (first["ordId"], "live", ""),
        (row["ordId"], "live", ""),
        (row["ordId"], "canceled", "31"),
        (second["ordId"], "live", ""),
        (second["ordId"], "canceled", "31"),
        (last["ordId"], "live", ""),
    ]
    assert desk.exchange.balances(desk.account)["USDT"] == (before["USDT"][0] - 90, D(90))
    cancelled = desk.post("trade/cancel-order", {"instId": ETH, "ordId": row["ordId"]})[1]
    assert cancelled["data"][0]["sCode"] == "51400"


def test_a_client_id_is_unique_among_pending_orders_and_finds_the_latest():
    desk = Desk()
    first = desk.order(clOrdId="same")
    assert desk.order(clOrdId="same")["sCode"] == "51016"
    assert desk.post("trade/cancel-order", {"instId": ETH, "clOrdId": "same"})[1]["code"] == "0"
    second = desk.order(clOrdId="same", px="60")  # fills
    turned = desk.order(clOrdId="same", px="70", ordType="post_only")
    latest = desk.get("trade/order", instId=ETH, clOrdId="same")[1]["data"][0]["ordId"]
    assert latest == turned["ordId"] and len({first["ordId"], second["ordId"], turned["ordId"]}) == 3
    third = desk.order(clOrdId="same")
    assert desk.get("trade/order", instId=ETH, clOrdId="same")[1]["data"][0]["ordId"] == third["ordId"]


def test_a_request_that_says_when_it_expires():
    desk = Desk()
    order = {"instId": ETH, "tdMode": "cash", "side": "buy", "ordType": "limit", "px": "45", "sz": "1"}
    assert desk.post("trade/order", order, exptime=str(int(NOW * 1000) - 1))[1]["code"] == "50036"
    assert desk.post("trade/order", order, exptime="soon")[1]["code"] == "51000"
    assert not desk.account.orders
    assert desk.post("trade/order", order, exptime=str(int(NOW * 1000) + 1))[1]["code"] == "0"


def test_many_orders_at_once_have_a_row_each():
    desk = Desk()
    order = {"instId": ETH, "tdMode": "cash", "side": "buy", "ordType": "limit", "px": "45", "sz": "1"}
    status, body = desk.post("trade/batch-orders", [order, order | {"sz": "0"}, order | {"clOrdId": "third"}])
    assert (status, body["code"], [row["sCode"] for row in body["data"]]) == (200, "2", ["0", "51000", "0"])
    assert desk.post("trade/batch-orders", [order | {"sz": "0"}])[1]["code"] == "1"
    assert desk.post("trade/batch-orders", [order] * 21)[1]["code"] == "51111"
    assert len(desk.account.orders) == 2
    numbers = [{"instId": ETH, "ordId": row["ordId"]} for row in body["data"] if row["ordId"]]
    body = desk.post("trade/cancel-batch-orders", [*numbers, {"instId": ETH, "ordId": "7"}])[1]
    assert (body["code"], [row["sCode"] for row in body["data"]]) == ("2", ["0", "0", "51400"])


@pytest.mark.parametrize(
    "case, values, code",
    [
        ("no id", {"instId": ETH}, "51407"),
        ("no market", {"ordId": "1"}, "50014"),
        ("another market", {"instId": BTC, "clOrdId": "mine"}, "51400"),
        ("never there", {"instId": ETH, "clOrdId": "theirs"}, "51400"),
        ("no number", {"instId": ETH, "ordId": "abc"}, "51400"),
        ("there", {"instId": ETH, "clOrdId": "mine"}, "0"),
    ],
)
def test_a_cancel(case, values, code):
    desk = Desk()
    desk.order(clOrdId="mine")
    row = desk.post("trade/cancel-order", values)[1]["data"][0]
    assert row["sCode"] == code
    assert bool(desk.account.open) == (code != "0")


def test_a_switch_cancels_all_orders_of_those_who_fall_silent():
    desk = Desk()
    socket = desk.socket()
    socket.login()
    socket.subscribe(channel="orders", instType="ANY")
    first, second = desk.order(), desk.order(instId=BTC, px="45")
    for seconds, code in (("9", "51000"), ("121", "51000"), ("", "50014"), ("soon", "51000"), ("20", "0")):
        assert desk.post("trade/cancel-all-after", {"timeOut": seconds})[1]["code"] == code
        desk.now += 1
    desk.now += 15
    assert (
        desk.post("trade/cancel-all-after", {"timeOut": "20"})[1]["data"][0]["triggerTime"] == "1700000040000"
    )
    socket.tick(19)
    assert len(desk.account.open) == 2
    socket.tick(1)
    assert desk.account.open == {}
    assert [(one["ordId"], one["state"], one["cancelSource"]) for one in socket.data("orders")[2:]] == [
        (first["ordId"], "canceled", "20"),
        (second["ordId"], "canceled", "20"),
    ]
    desk.order()
    desk.post("trade/cancel-all-after", {"timeOut": "10"})
    desk.now += 5
    assert desk.post("trade/cancel-all-after", {"timeOut": "0"})[1]["data"][0]["triggerTime"] == "0"
    desk.now += 60
    assert len(desk.get("trade/orders-pending")[1]["data"]) == 1


# --- Asking ---


@pytest.mark.parametrize(
    "query, code",
    [
        ({"instId": ETH}, "51003"),
        ({"ordId": "1"}, "50014"),
        ({"instId": "X-Y", "ordId": "1"}, "51001"),
        ({"instId": ETH, "ordId": "1"}, "51603"),
        ({"instId": ETH, "clOrdId": "nobody"}, "51603"),
    ],
)
def test_an_order_that_is_not_there(query, code):
    desk = Desk()
    assert desk.get("trade/order", **query)[1]["code"] == code


def test_a_cancelled_order_without_fills_is_forgotten_after_two_hours():
    desk = Desk()
    empty, part = desk.order(clOrdId="empty"), desk.order(clOrdId="part", px="60", sz="6")
    for row in (empty, part):
        desk.post("trade/cancel-order", {"instId": ETH, "ordId": row["ordId"]})
    desk.now += 7190
    assert len(desk.get("trade/orders-history", instType="SPOT")[1]["data"]) == 2
    desk.now += 20
    assert desk.get("trade/order", instId=ETH, clOrdId="empty")[1]["code"] == "51603"
    assert desk.get("trade/order", instId=ETH, clOrdId="part")[1]["data"][0]["accFillSz"] == "5"
    for path in ("trade/orders-history", "trade/orders-history-archive"):
        [left] = desk.get(path, instType="SPOT")[1]["data"]
        assert left["clOrdId"] == "part"
    desk.now += 4 * 86_400
    assert desk.get("trade/fills", instType="SPOT")[1]["data"] == []
    assert len(desk.get("trade/fills-history", instType="SPOT")[1]["data"]) == 1
    desk.now += 4 * 86_400
    assert desk.get("trade/orders-history", instType="SPOT")[1]["data"] == []
    assert len(desk.get("trade/orders-history-archive", instType="SPOT")[1]["data"]) == 1


def test_lists_are_read_page_by_page_in_both_directions():
    desk = Desk(limited=False)
    numbers = [desk.order(px="60", sz="0.01")["ordId"] for _ in range(130)]
    numbers.reverse()  # newest first
    page = [row["ordId"] for row in desk.get("trade/orders-history", instType="SPOT")[1]["data"]]
    assert page == numbers[:100]
    rest = desk.get("trade/orders-history", instType="SPOT", after=page[-1])[1]["data"]
    assert [row["ordId"] for row in rest] == numbers[100:]
    newer = desk.get("trade/orders-history", instType="SPOT", before=numbers[9], limit=5)[1]["data"]
    assert [row["ordId"] for row in newer] == numbers[4:9]
    fills = desk.get("trade/fills-history", instType="SPOT")[1]["data"]
    more = desk.get("trade/fills-history", instType="SPOT", after=fills[-1]["billId"])[1]["data"]
    assert [row["ordId"] for row in fills + more] == numbers
    for bad in ({"limit": "0"}, {"limit": "101"}, {"after": "x"}):
        assert desk.get("trade/orders-history", instType="SPOT", **bad)[1]["code"] == "51000"


def test_lists_are_filtered():
    desk = Desk()
    desk.order(clOrdId="open")
    desk.order(clOrdId="filled", px="60")
    desk.now += 10
    desk.order(clOrdId="late", px="60")
    desk.order(clOrdId="btc", instId=BTC, px="45", ordType="post_only")

    def ids(path, **query):
        return [row["clOrdId"] for row in desk.get(path, **query)[1]["data"]]

    assert ids("trade/orders-pending") == ["btc", "open"]
    assert ids("trade/orders-pending", instId=ETH) == ["open"]
    assert ids("trade/orders-pending", ordType="post_only") == ["btc"]
    assert ids("trade/orders-pending", instType="SWAP") == []
    assert ids("trade/orders-history", instType="SPOT") == ["late", "filled"]
    assert ids("trade/orders-history", instType="SPOT", begin=int(NOW * 1000) + 1) == ["late"]
    assert ids("trade/orders-history", instType="SPOT", end=int(NOW * 1000)) == ["filled"]
    assert ids("trade/orders-history", instType="SPOT", state="canceled") == []
    assert desk.get("trade/orders-history")[1]["code"] == "50014"
    assert ids("trade/fills", begin=int(NOW * 1000) + 1) == ["late"]
    assert desk.get("trade/fills-history")[1]["code"] == "50014"


def test_an_answer_may_be_of_the_past():
    desk = Desk()
    row = desk.order(clOrdId="mine")
    desk.now += 10
    desk.post("trade/cancel-order", {"instId": ETH, "ordId": row["ordId"]})
    desk.order(clOrdId="turned", ordType="post_only", px="60")

    def seen(view, path, query):
        asked = desk.signed("GET", f"/api/v5/{path}", query)
        return desk.answer(replace(asked, view=view))[1]

    then = View(orders_as_of=NOW + 5, balances_as_of=NOW + 5)
    query = f"instId={ETH}&clOrdId="
    assert seen(then, "trade/order", query + "mine")["data"][0]["state"] == "live"
    assert seen(View(orders_as_of=NOW - 5), "trade/order", query + "mine")["code"] == "51603"
    assert seen(then, "trade/order", query + "turned")["code"] == "51603"
    assert seen(then, "trade/orders-history", "instType=SPOT")["data"] == []
    [details] = [row["details"] for row in seen(then, "account/balance", "ccy=USDT")["data"]]
    assert [(one["availBal"], one["frozenBal"], one["eq"]) for one in details] == [("99955", "45", "100000")]
    hidden = View(hide_closed=True)
    assert seen(hidden, "trade/order", query + "mine")["code"] == "51603"
    assert seen(hidden, "trade/orders-history", "instType=SPOT")["data"] == []


def test_market_data():
    desk = Desk()
    desk.exchange.public_trade("ETH/USDT", D(60), D("0.5"), "buy", NOW)
    [book] = desk.public("market/books", instId=ETH, sz=1)[1]["data"]
    assert book == {"asks": [["60", "5", "0", "1"]], "bids": [["50", "5", "0", "1"]], "ts": "1700000000000"}
    assert desk.public("market/books", instId=ETH, sz=401)[1]["code"] == "51000"
    assert desk.public("market/books", instId="A-B")[1]["code"] == "51001"
    [trade] = desk.public("market/trades", instId=ETH)[1]["data"]
    assert (trade["px"], trade["sz"], trade["side"]) == ("60", "0.5", "buy")
    [ticker] = desk.public("market/ticker", instId=ETH)[1]["data"]
    assert (ticker["last"], ticker["bidPx"]) == ("60", "50")
    assert len(desk.public("market/tickers", instType="SPOT")[1]["data"]) == len(MARKETS)
    assert desk.public("public/instruments", instType="SWAP")[1]["data"] == []
    assert desk.public("public/instruments")[1]["code"] == "50014"


def test_fees_are_told_by_groups_of_markets_below_zero():

    cheap = replace(MARKETS[1], maker_fee=D("-0.0001"), taker_fee=D("0.0005"))
    desk = Desk([MARKETS[0], cheap])
    [fees] = desk.get("account/trade-fee", instType="SPOT")[1]["data"]
    assert [(group["groupId"], group["maker"], group["taker"]) for group in fees["feeGroup"]] == [
        ("1", "-0.0008", "-0.001"),
        ("2", "0.0001", "-0.0005"),
    ]
    listed = desk.public("public/instruments", instType="SPOT")[1]["data"]
    assert [(row["instId"], row["groupId"]) for row in listed] == [(BTC, "1"), (ETH, "2")]
    [one] = desk.get("account/trade-fee", instType="SPOT", instId=ETH)[1]["data"]
    assert (one["maker"], one["taker"]) == ("0.0001", "-0.0005")


# --- Limits ---


def test_a_limit_counts_in_windows_of_its_own():
    desk = Desk()
    codes = [desk.order(px="45")["sCode"] for _ in range(60)]
    assert set(codes) == {"0"}
    order = {"instId": ETH, "tdMode": "cash", "side": "buy", "ordType": "limit", "px": "45", "sz": "1"}
    status, body = desk.post("trade/order", order)
    assert (status, body["code"], body["msg"]) == (429, "50011", "Too Many Requests")
    assert desk.post("trade/order", order | {"instId": BTC, "sz": "0.01"})[1]["code"] == "0"  # another market
    assert desk.post("trade/cancel-order", {"instId": ETH, "ordId": "1"})[0] == 200  # another call
    desk.now += 2
    assert desk.post("trade/order", order)[1]["code"] == "0"
    assert len(desk.account.orders) == 62


def test_public_calls_are_counted_by_address():
    desk = Desk()
    answers = [desk.public("public/time")[0] for _ in range(11)]
    assert answers == [200] * 10 + [429]


def test_faults_speak_okxs_words():
    desk = Desk()
    request = desk.request("POST", "/api/v5/trade/order")
    assert desk.okx.rate_limited(request, False).status == 429
    assert desk.okx.rate_limited(request, True).status == 403
    for status, code in ((500, "50026"), (503, "50001"), (504, "50004"), (429, "50011")):
        response = desk.okx.failure(status)
        assert (response.status, response.body["code"]) == (status, code)


@pytest.mark.parametrize(
    "method, path, kind",
    [
        ("POST", "trade/order", dialect.CREATE),
        ("GET", "trade/order", dialect.FETCH),
        ("POST", "trade/cancel-batch-orders", dialect.CANCEL),
        ("GET", "trade/orders-pending", dialect.OPEN_ORDERS),
        ("GET", "trade/fills-history", dialect.MY_TRADES),
        ("GET", "nothing", dialect.OTHER),
    ],
)
def test_requests_have_a_kind_that_faults_choose_by(method, path, kind):
    desk = Desk()
    assert desk.okx.kind(desk.request(method, f"/api/v5/{path}")) == kind


def test_nothing_is_told_that_is_no_json():
    desk = Desk()
    desk.order(px="60", sz="3")
    desk.order()
    for path in (
        "account/balance",
        "account/config",
        "asset/currencies",
        "asset/balances",
        "trade/orders-pending",
    ):
        status, body = desk.get(path)
        assert (status, body["code"]) == (200, "0") and json.dumps(body)
    assert (SECRET in json.dumps(body), WORDS in json.dumps(body)) == (False, False)
