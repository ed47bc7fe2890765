"""OKX's algo orders of one trigger, and its amending: REST, streams, and through ccxt.

#order-book-trading-algo-trading and #order-book-trading-trade-post-amend-order of
https://www.okx.com/docs-v5/en/.
"""

import asyncio

import ccxt
import pytest

from simulator.dialects import dialect
from simulator.dialects.okx_words import BUSINESS_PATH
from tests.simulator.okx_client import ETH, D, Desk
from tests.simulator.test_okx_ccxt import ETH as CCXT_ETH
from tests.simulator.test_okx_ccxt import CheckingOkx, World, told

PAIR = "ETH/USDT"
STOP = {"instId": ETH, "tdMode": "cash", "side": "sell", "ordType": "conditional", "sz": "1",
        "slTriggerPx": "48", "slOrdPx": "-1", "algoClOrdId": "stop1"}  # fmt: skip


@pytest.fixture
def desk() -> Desk:
    made = Desk()
    prints(made, "55")
    return made


def prints(desk: Desk, price: str) -> None:
    desk.exchange.public_trade(PAIR, D(price), D("0.01"), "buy", desk.now)


def algo(desk: Desk, **changes) -> dict:
    """Place an algo order; the row of the answer."""
    values = {k: v for k, v in (STOP | changes).items() if v is not None}
    return desk.post("trade/order-algo", values)[1]["data"][0]


def rows(desk: Desk, path: str, **query) -> list[dict]:
    status, body = desk.get(path, **query)
    assert (status, body["code"]) == (200, "0"), body
    return body["data"]


NONE = {"slTriggerPx": None, "slOrdPx": None}
TYPES = [
    # name, changes, a trade that does not fire it, one that does, the source of the order, its type
    ("a stop loss sells when it falls", {}, "49", "48", "7", "market"),
    ("a stop loss with a limit", {"slOrdPx": "45"}, "49", "47", "7", "limit"),
    ("a take profit sells when it rises", NONE | {"tpTriggerPx": "58", "tpOrdPx": "-1"}, "57", "58", "7",
     "market"),
    ("a stop loss buys when it rises", {"side": "buy", "slTriggerPx": "58", "tgtCcy": "base_ccy"}, "57", "59",
     "7", "market"),
    ("a take profit buys when it falls",
     NONE | {"side": "buy", "tpTriggerPx": "50", "tpOrdPx": "61"}, "51", "50", "7", "limit"),
    ("a trigger below", NONE | {"ordType": "trigger", "triggerPx": "50", "orderPx": "-1"}, "51", "50", "6",
     "market"),
    ("a trigger above", NONE | {"ordType": "trigger", "triggerPx": "57", "orderPx": "45"}, "56", "57", "6",
     "limit"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "near", "fires", "source", "kind"), [row[1:] for row in TYPES],
                         ids=[row[0] for row in TYPES])  # fmt: skip
def test_an_algo_order_waits_apart_and_places_an_order(desk, changes, near, fires, source, kind):
    own, business = desk.socket(), desk.socket(BUSINESS_PATH)
    for socket, channel in ((own, "orders"), (business, "orders-algo")):
        socket.login()
        socket.subscribe(channel=channel, instType="SPOT")
    before = desk.exchange.balances(desk.account)
    row = algo(desk, **changes)
    number, word = row["algoId"], (STOP | changes)["ordType"]
    assert (row["sCode"], row["algoClOrdId"]) == ("0", "stop1") and number
    assert desk.exchange.balances(desk.account) == before  # it holds nothing
    assert rows(desk, "trade/orders-pending") == []
    [waits] = rows(desk, "trade/orders-algo-pending", ordType=word)
    assert rows(desk, "trade/order-algo", algoClOrdId="stop1") == [waits]
    assert (waits["state"], waits["algoId"], waits["ordId"], waits["sz"]) == ("live", number, "", "1")
    other = {"conditional": "trigger", "trigger": "conditional"}[word]
    assert rows(desk, "trade/orders-algo-pending", ordType=other) == []
    # Neither number nor name is one of an order.
    for name in ({"ordId": number}, {"clOrdId": "stop1"}):
        assert desk.get("trade/order", instId=ETH, **name)[1]["code"] == "51603"
    prints(desk, near)
    assert own.data("orders") == [] and len(business.data("orders-algo")) == 1
    prints(desk, fires)
    [done] = rows(desk, "trade/order-algo", algoId=number)
    assert (done["state"], done["ordIdList"]) == ("effective", [done["ordId"]]) and done["triggerTime"]
    assert rows(desk, "trade/orders-algo-pending", ordType=word) == []
    assert rows(desk, "trade/orders-algo-history", ordType=word, state="effective") == [done]
    [order] = rows(desk, "trade/order", instId=ETH, ordId=done["ordId"])
    facts = ("state", "ordType", "clOrdId", "algoId", "algoClOrdId", "source", "accFillSz")
    assert [order[fact] for fact in facts] == ["filled", kind, "", number, "stop1", source, "1"]
    [fill] = rows(desk, "trade/fills", instType="SPOT")
    assert (fill["ordId"], fill["clOrdId"]) == (done["ordId"], "")
    assert [(r["state"], r["ordId"]) for r in own.data("orders")] == [
        ("live", done["ordId"]),
        ("filled", done["ordId"]),
    ]
    assert [(r["state"], r["ordId"]) for r in business.data("orders-algo")] == [
        ("live", ""),
        ("effective", done["ordId"]),
    ]
    assert desk.exchange.imbalance() == {}


def test_one_that_cannot_be_paid_when_it_fires_has_failed(desk):
    own, business = desk.socket(), desk.socket(BUSINESS_PATH)
    for socket, channel in ((own, "orders"), (business, "orders-algo")):
        socket.login()
        socket.subscribe(channel=channel, instType="SPOT")
    row = algo(desk, sz="10")
    desk.order(side="sell", px="99", sz="9")
    told_before = len(own.data("orders"))
    prints(desk, "48")
    [failed] = rows(desk, "trade/order-algo", algoId=row["algoId"])
    assert (failed["state"], failed["ordId"], failed["failCode"]) == ("order_failed", "", "51008")
    assert len(own.data("orders")) == told_before
    assert [r["state"] for r in business.data("orders-algo")] == ["live", "order_failed"]
    assert len(rows(desk, "trade/orders-pending")) == 1
    assert rows(desk, "trade/orders-history", instType="SPOT") == []


REFUSED = [
    ("a stop loss above the last price", {"slTriggerPx": "56"}, "51280"),
    ("a take profit below it", NONE | {"tpTriggerPx": "54", "tpOrdPx": "-1"}, "51279"),
    ("a buying stop loss below it", {"side": "buy", "slTriggerPx": "54"}, "51278"),
    ("a buying take profit above it", NONE | {"side": "buy", "tpTriggerPx": "56", "tpOrdPx": "-1"}, "51277"),
    ("two triggers", {"tpTriggerPx": "58", "tpOrdPx": "-1"}, "51000"),
    ("no trigger", NONE, "50014"),
    ("no price", {"slOrdPx": None}, "50014"),
    ("by the mark price", {"slTriggerPxType": "mark"}, "51000"),
    ("one of the others", {"ordType": "move_order_stop"}, "51000"),
    ("borrowing", {"tdMode": "cross"}, "51000"),
    ("a trigger between two steps", {"slTriggerPx": "48.001"}, "51000"),
    ("too little", {"sz": "0.00001"}, "51020"),
    ("a name with a dash", {"algoClOrdId": "stop-1"}, "51000"),
    ("a name in use", {"algoClOrdId": "used"}, "51065"),
]


@pytest.mark.parametrize(("changes", "code"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_okx_refuses_changes_nothing(desk, changes, code):
    algo(desk, algoClOrdId="used")
    before = desk.exchange.ledger(desk.account)
    row = algo(desk, **changes)
    assert (row["sCode"], row["algoId"]) == (code, "")
    assert desk.exchange.ledger(desk.account) == before


def test_cancelling_by_either_name_and_many_at_once(desk):
    first, second = algo(desk)["algoId"], algo(desk, algoClOrdId="stop2")["algoId"]
    plain = desk.order()["ordId"]
    # An order's call does not know them.
    assert desk.post("trade/cancel-order", {"instId": ETH, "ordId": first})[1]["data"][0]["sCode"] == "51400"
    status, body = desk.post(
        "trade/cancel-algos",
        [{"instId": ETH, "algoId": first}, {"instId": ETH, "algoClOrdId": "none"},
         {"instId": ETH, "algoClOrdId": "stop2"}],
    )  # fmt: skip
    assert (status, body["code"]) == (200, "2")
    assert [(r["algoId"], r["sCode"]) for r in body["data"]] == [
        (first, "0"),
        ("", "51400"),
        (second, "0"),
    ]
    assert rows(desk, "trade/orders-algo-pending", ordType="conditional,trigger") == []
    assert {
        r["state"] for r in rows(desk, "trade/orders-algo-history", ordType="conditional", state="canceled")
    } == {"canceled"}
    assert [r["ordId"] for r in rows(desk, "trade/orders-pending")] == [plain]
    too_many = [{"instId": ETH, "algoId": first}] * 11
    assert desk.post("trade/cancel-algos", too_many)[1]["code"] == "51111"
    assert desk.post("trade/cancel-algos", {"instId": ETH, "algoId": first})[1]["code"] == "50002"


# --- Amending ---


def amended(desk: Desk, path: str = "trade/amend-order", **values) -> dict:
    return desk.post(path, {"instId": ETH, **values})[1]["data"][0]


def test_an_amended_order_keeps_its_numbers(desk):
    own = desk.socket()
    own.login()
    own.subscribe(channel="orders", instType="SPOT")
    number = desk.order(clOrdId="mine")["ordId"]
    row = amended(desk, clOrdId="mine", newSz="2", newPx="46", reqId="r1")
    assert (row["sCode"], row["ordId"], row["clOrdId"], row["reqId"]) == ("0", number, "mine", "r1")
    [order] = rows(desk, "trade/orders-pending")
    assert (order["ordId"], order["sz"], order["px"], order["state"]) == (number, "2", "46", "live")
    told = own.data("orders")[-1]
    assert (told["amendResult"], told["reqId"], told["sz"], told["px"]) == ("0", "r1", "2", "46")
    assert amended(desk, ordId=number, newSz="2")["sCode"] == "0"  # as it is
    assert len(own.data("orders")) == 2


AMENDS = [
    ("of no order", {"newSz": "2"}, "51003"),
    ("of another", {"ordId": "1", "newSz": "2"}, "51503"),
    ("nothing", {"clOrdId": "mine"}, "51500"),
    ("nothing at all", {"clOrdId": "mine", "newSz": "0"}, "51000"),
    ("too little", {"clOrdId": "mine", "newSz": "0.00001"}, "51121"),
    ("more than can be paid", {"clOrdId": "mine", "newSz": "9000"}, "51502"),
    ("a price between two steps", {"clOrdId": "mine", "newPx": "45.001"}, "51000"),
    ("through the other side although post-only", {"clOrdId": "post", "newPx": "70"}, "51511"),
    ("less than is filled", {"clOrdId": "part", "newSz": "4"}, "51000"),
    ("one that was cancelled", {"clOrdId": "gone", "newSz": "2"}, "51509"),
    ("one that is filled", {"clOrdId": "full", "newSz": "2"}, "51510"),
]


@pytest.mark.parametrize(("values", "code"), [row[1:] for row in AMENDS], ids=[row[0] for row in AMENDS])
def test_an_amendment_okx_refuses_changes_nothing(desk, values, code):
    desk.order(clOrdId="mine")
    desk.order(clOrdId="post", ordType="post_only")
    desk.order(clOrdId="full", px="60", sz="1")
    desk.order(clOrdId="part", px="60", sz="6")
    desk.order(clOrdId="gone")
    desk.post("trade/cancel-order", {"instId": ETH, "clOrdId": "gone"})
    before = desk.exchange.ledger(desk.account)
    assert amended(desk, **values)["sCode"] == code
    assert desk.exchange.ledger(desk.account) == before


def test_an_algo_order_is_amended_apart(desk):
    number = algo(desk)["algoId"]
    row = amended(desk, "trade/amend-algos", algoId=number, newSz="2", newSlTriggerPx="45", newSlOrdPx="-1")
    assert (row["sCode"], row["algoId"], row["algoClOrdId"]) == ("0", number, "stop1")
    [waits] = rows(desk, "trade/orders-algo-pending", ordType="conditional")
    assert (waits["sz"], waits["slTriggerPx"], waits["slOrdPx"]) == ("2", "45", "-1")
    prints(desk, "47")
    assert len(rows(desk, "trade/orders-algo-pending", ordType="conditional")) == 1
    assert amended(desk, "trade/amend-algos", algoId="1", newSz="2")["sCode"] == "51503"
    assert amended(desk, ordId=number, newSz="1")["sCode"] == "51503"


def test_amending_by_socket_and_kinds_for_faults(desk):
    own = desk.socket()
    own.login()
    number = desk.order()["ordId"]
    [answer] = own.say(
        {"id": "1", "op": "amend-order", "args": [{"instId": ETH, "ordId": number, "newSz": "2"}]}
    )
    assert (answer["code"], answer["data"][0]["ordId"]) == ("0", number)
    kinds = {
        path: desk.okx.kind(desk.request("POST", f"/api/v5/trade/{path}"))
        for path in ("amend-order", "amend-algos", "order-algo", "cancel-algos")
    }
    assert kinds == {
        "amend-order": dialect.AMEND,
        "amend-algos": dialect.AMEND,
        "order-algo": dialect.CREATE,
        "cancel-algos": dialect.CANCEL,
    }


def test_the_two_paths_have_a_channel_each(desk):
    own, business = desk.socket(), desk.socket(BUSINESS_PATH)
    own.login(), business.login()
    assert own.subscribe(channel="orders-algo", instType="SPOT")[0]["code"] == "60018"
    assert business.subscribe(channel="orders", instType="SPOT")[0]["code"] == "60018"
    desk.order()
    assert business.data("orders") == []


# --- Through ccxt ---


@pytest.mark.parametrize("price", [None, 900])
@pytest.mark.parametrize(("kind", "at", "word"), [
    ("stopLossPrice", 1000, "conditional"),
    ("takeProfitPrice", 9000, "conditional"),
    ("triggerPrice", 1000, "trigger"),
])  # fmt: skip
def test_ccxt_places_sees_and_cancels_a_waiting_order(kind, at, word, price):
    async def story(world: World, okx: CheckingOkx) -> None:
        order_type = "market" if price is None else "limit"
        # ccxt says `cross` for a conditional order unless told what the account can do.
        terms = {kind: at, "algoClOrdId": "waits", "clientOrderId": "waits", "tdMode": "cash"}
        placed = await okx.create_order(CCXT_ETH, order_type, "sell", 0.5, price, terms)
        [seen] = await okx.fetch_open_orders(CCXT_ETH, params={"ordType": word})
        assert (seen["id"], seen["status"], seen[kind]) == (placed["id"], "open", at)
        assert await okx.fetch_open_orders(CCXT_ETH) == []
        found = await okx.fetch_order(None, CCXT_ETH, {"trigger": True, "clientOrderId": "waits"})
        assert found["id"] == placed["id"]
        await okx.cancel_order(placed["id"], CCXT_ETH, {"trigger": True})
        with pytest.raises(ccxt.OrderNotFound):
            await okx.cancel_order(placed["id"], CCXT_ETH, {"trigger": True})
        assert not world.account.open

    told(story)


def test_ccxt_watches_an_algo_order_place_an_order():
    async def story(world: World, okx: CheckingOkx) -> None:
        await okx.load_markets()
        waits = asyncio.ensure_future(okx.watch_orders(CCXT_ETH, params={"trigger": True}))
        orders = asyncio.ensure_future(okx.watch_orders(CCXT_ETH))
        await asyncio.sleep(0.5)
        terms = {"stopLossPrice": 1000, "algoClOrdId": "waits", "clientOrderId": "waits", "tdMode": "cash"}
        placed = await okx.create_order(CCXT_ETH, "market", "sell", 0.5, None, terms)
        [seen] = await asyncio.wait_for(waits, 5)
        assert (seen["id"], seen["status"]) == (placed["id"], "open")
        world.exchange.public_trade(PAIR, D("999"), D("0.1"), "sell", world.server.now())
        [seen, *_] = await asyncio.wait_for(orders, 5)
        # For ccxt the algo order's number goes before the order's own.
        assert seen["id"] == seen["info"]["algoId"] == placed["id"] != seen["info"]["ordId"]

    told(story)


def test_ccxt_amends():
    async def story(world: World, okx: CheckingOkx) -> None:
        placed = await okx.create_order(CCXT_ETH, "limit", "buy", 0.5, 1000, {"clientOrderId": "mine"})
        edited = await okx.edit_order(None, CCXT_ETH, "limit", "buy", 0.4, 1001, {"clientOrderId": "mine"})
        assert edited["id"] == placed["id"]
        [order] = world.account.open.values()
        assert (order.quantity, order.price, order.client_order_id) == (D("0.4"), D("1001"), "mine")

    told(story)
