"""Bybit's conditional and TP/SL orders on spot, and its amending: REST, streams, and through ccxt.

https://bybit-exchange.github.io/docs/v5/order/create-order, .../order/amend-order, .../order/cancel-all,
.../order/open-order, .../enum#orderstatus.
"""

import asyncio

import pytest

from simulator.dialects import dialect
from simulator.dialects.bybit_words import PRIVATE_PATH, TRADE_PATH
from tests.simulator.test_bybit import NOW, UUID, D, Desk, Socket
from tests.simulator.test_bybit_ccxt import ETH, World, told, until

PAIR = "ETH/USDT"
STOP = {"side": "Sell", "orderType": "Market", "marketUnit": "baseCoin", "qty": "1", "price": None,
        "triggerPrice": "1950", "orderFilter": "tpslOrder"}  # fmt: skip


@pytest.fixture
def desk() -> Desk:
    made = Desk()
    made.exchange.public_trade(PAIR, D("2000"), D("0.1"), "buy", NOW)
    return made


def stop(desk: Desk, **changes) -> str:
    return desk.place(**{n: v for n, v in (STOP | changes).items() if v is not None})


def prints(made: Desk, price: str) -> None:
    made.exchange.public_trade(PAIR, D(price), D("0.01"), "buy", made.now)


def locked(desk: Desk) -> dict[str, str]:
    return {c: str(amounts[1].normalize()) for c, amounts in desk.exchange.balances(desk.account).items()}


TYPES = [
    # filter, side, type, trigger, limit, a trade that does not fire it, one that does, held while it waits
    ("tpslOrder", "Sell", "Market", "1950", None, "1951", "1950", {"USDT": "0", "ETH": "1"}),
    ("tpslOrder", "Sell", "Limit", "2050", "1990", "2049", "2050", {"USDT": "0", "ETH": "1"}),
    ("tpslOrder", "Buy", "Market", "2050", None, "2049", "2051", {"USDT": "2.05E+3", "ETH": "0"}),
    ("tpslOrder", "Buy", "Limit", "1950", "2001", "1951", "1949", {"USDT": "2001", "ETH": "0"}),
    ("StopOrder", "Sell", "Market", "1950", None, "1951", "1950", {"USDT": "0", "ETH": "0"}),
    ("StopOrder", "Buy", "Limit", "2050", "2001", "2049", "2050", {"USDT": "0", "ETH": "0"}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "side", "order_type", "at", "limit", "near", "fires", "held"), TYPES,
                         ids=[" ".join(row[:3]) for row in TYPES])  # fmt: skip
def test_an_order_waits_is_listed_and_fires(desk, kind, side, order_type, at, limit, near, fires, held):
    own = Socket(desk, PRIVATE_PATH)
    own.login()
    own.say(op="subscribe", args=["order", "execution"])
    unit = "baseCoin" if limit is None else None
    name = stop(desk, side=side, orderType=order_type, triggerPrice=at, price=limit, orderFilter=kind,
                orderLinkId=UUID, marketUnit=unit)  # fmt: skip
    assert locked(desk) == held
    [listed] = desk.asked("/v5/order/realtime", symbol="ETHUSDT")["list"]
    assert listed == desk.record(name)
    word = "tpslOrder" if kind == "tpslOrder" else "Stop"
    facts = ("orderStatus", "triggerPrice", "stopOrderType", "orderLinkId", "orderType", "leavesQty")
    assert [listed[fact] for fact in facts] == ["Untriggered", at, word, UUID, order_type, "1"]
    for chosen, found in ((kind, 1), ("Order", 0)):
        rows = desk.asked("/v5/order/realtime", symbol="ETHUSDT", orderFilter=chosen)["list"]
        assert len(rows) == found
    prints(desk, near)
    assert desk.record(name)["orderStatus"] == "Untriggered"
    prints(desk, fires)
    after = desk.record(name)
    assert (after["orderStatus"], after["cumExecQty"], after["triggerPrice"]) == ("Filled", "1", at)
    told_of = [row["data"][0] for row in own.take("order")]
    assert [row["orderStatus"] for row in told_of] == ["Untriggered", "Triggered", "New", "Filled"]
    assert {(row["orderId"], row["orderLinkId"]) for row in told_of} == {(name, UUID)}
    assert desk.exchange.imbalance() == {}


def test_a_market_buy_of_money_waits_too(desk):
    name = stop(desk, side="Buy", marketUnit="quoteCoin", qty="100", triggerPrice="2050")
    assert locked(desk) == {"USDT": "1E+2", "ETH": "0"}
    prints(desk, "2050")
    record = desk.record(name)
    assert record["qty"] == "100" and D(record["cumExecQty"]) == D("0.04999")


REFUSED = [
    ("a trigger without a kind", {"orderFilter": None}, 170202),
    ("a kind without a trigger", {"triggerPrice": None}, 170203),
    ("a kind there is not", {"orderFilter": "OcoOrder"}, 170202),
    ("a trigger between two steps", {"triggerPrice": "1950.001"}, 170134),
    ("no number", {"triggerPrice": "low"}, 170130),
    ("more than there is", {"qty": "4"}, 170131),
]


@pytest.mark.parametrize(("changes", "code"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_bybit_refuses_changes_nothing(desk, changes, code):
    before = desk.exchange.ledger(desk.account)
    fields = {n: v for n, v in (STOP | changes).items() if v is not None}
    assert desk.post("/v5/order/create", **fields)["retCode"] == code
    assert desk.exchange.ledger(desk.account) == before


def test_one_that_reserves_late_may_find_nothing_left(desk):
    name = stop(desk, orderFilter="StopOrder", qty="3")
    desk.place(side="Sell", price="3000", qty="1")
    prints(desk, "1950")
    record = desk.record(name)
    assert (record["orderStatus"], record["cumExecQty"]) == ("Rejected", "0")
    assert desk.exchange.imbalance() == {}


def test_a_waiting_order_is_cancelled_under_its_own_name(desk):
    name = stop(desk, orderLinkId=UUID)
    for wrong in (None, "Order", "StopOrder"):
        fields = {"orderLinkId": UUID} | ({} if wrong is None else {"orderFilter": wrong})
        assert desk.post("/v5/order/cancel", **fields)["retCode"] == 170213
    answer = desk.post("/v5/order/cancel", orderLinkId=UUID, orderFilter="tpslOrder")
    assert answer["result"] == {"orderId": name, "orderLinkId": UUID}
    record = desk.record(name)
    assert (record["orderStatus"], record["cancelType"]) == ("Deactivated", "CancelByUser")
    prints(desk, "1900")
    assert not desk.account.fills
    # Once triggered it is an order like any other.
    late = stop(desk, side="Buy", triggerPrice="1800", orderType="Limit", price="1700", marketUnit=None)
    prints(desk, "1800")
    assert desk.record(late)["orderStatus"] == "New"
    assert desk.post("/v5/order/cancel", orderId=late)["retCode"] == 0


def test_all_are_cancelled_kind_by_kind(desk):
    names = {
        "Order": desk.place(),
        "tpslOrder": stop(desk),
        "StopOrder": stop(desk, orderFilter="StopOrder"),
    }
    for kind, name in names.items():
        fields = {} if kind == "Order" else {"orderFilter": kind}
        answer = desk.post("/v5/order/cancel-all", **fields)
        assert [row["orderId"] for row in answer["result"]["list"]] == [name]
    assert desk.asked("/v5/order/realtime")["list"] == []
    assert desk.post("/v5/order/cancel-all", orderFilter="Some")["retCode"] == 170202


# --- Amending ---


def test_an_amended_order_keeps_its_ids(desk):
    own = Socket(desk, PRIVATE_PATH)
    own.login()
    own.say(op="subscribe", args=["order"])
    name = desk.place(orderLinkId=UUID)
    answer = desk.post("/v5/order/amend", orderLinkId=UUID, qty="0.4", price="1980")
    assert answer["result"] == {"orderId": name, "orderLinkId": UUID}
    record = desk.record(name)
    assert (record["qty"], record["price"], record["orderStatus"]) == ("0.4", "1980", "New")
    rows = [row["data"][0] for row in own.take("order")]
    assert [(row["orderStatus"], row["qty"]) for row in rows][-1] == ("New", "0.4")
    name = stop(desk)
    assert desk.post("/v5/order/amend", orderId=name, triggerPrice="1900")["retCode"] == 0
    prints(desk, "1940")
    assert desk.record(name)["orderStatus"] == "Untriggered"


AMENDS = [
    ("of no order", {"qty": "0.4"}, 10001),
    ("of another", {"orderLinkId": "nobody", "qty": "0.4"}, 170213),
    ("nothing", {"orderLinkId": UUID}, 10001),
    ("as it is", {"orderLinkId": UUID, "qty": "0.5", "price": "1990"}, 10001),
    ("worth too little", {"orderLinkId": UUID, "qty": "0.001"}, 170140),
    ("between two steps", {"orderLinkId": UUID, "qty": "0.4000001"}, 170137),
    ("a price between two steps", {"orderLinkId": UUID, "price": "1990.001"}, 170134),
    ("more than can be paid", {"orderLinkId": UUID, "qty": "50"}, 170131),
    ("a trigger it does not have", {"orderLinkId": UUID, "triggerPrice": "1900"}, 10001),
]


@pytest.mark.parametrize(("fields", "code"), [row[1:] for row in AMENDS], ids=[row[0] for row in AMENDS])
def test_an_amendment_bybit_refuses_changes_nothing(desk, fields, code):
    desk.place(orderLinkId=UUID)
    before = desk.exchange.ledger(desk.account)
    assert desk.post("/v5/order/amend", **fields)["retCode"] == code
    assert desk.exchange.ledger(desk.account) == before


def test_an_amendment_below_what_is_filled_and_one_after_the_end(desk):
    name = desk.place(qty="2", price="2000.1")  # takes the 1 that is there
    assert desk.post("/v5/order/amend", orderId=name, qty="1")["retCode"] == 170136
    assert desk.post("/v5/order/amend", orderId=name, qty="1.5")["retCode"] == 0
    desk.post("/v5/order/cancel", orderId=name)
    assert desk.post("/v5/order/amend", orderId=name, qty="1.2")["retCode"] == 170213
    assert desk.order(name).quantity == D("1.5")


def test_amending_by_socket(desk):
    name = desk.place(orderLinkId=UUID)
    socket = Socket(desk, TRADE_PATH)
    socket.login()
    header = {"X-BAPI-TIMESTAMP": str(int(desk.now * 1000)), "X-BAPI-RECV-WINDOW": "5000"}
    fields = {"category": "spot", "symbol": "ETHUSDT", "orderId": name, "qty": "0.3"}
    answer = socket.say(op="order.amend", reqId="1", args=[fields], header=header)
    assert (answer["retCode"], answer["data"]) == (0, {"orderId": name, "orderLinkId": UUID})
    assert desk.order(name).quantity == D("0.3")
    assert socket.session.kind('{"op": "order.amend"}') == dialect.AMEND
    assert desk.bybit.kind(desk.request("POST", "/v5/order/amend", "", "{}")) == dialect.AMEND


# --- Through ccxt ---


@pytest.mark.parametrize("price", [None, 900])
@pytest.mark.parametrize(
    ("kind", "at"), [("stopLossPrice", 1000), ("takeProfitPrice", 9000), ("triggerPrice", 1000)]
)
def test_ccxt_places_sees_and_cancels_a_waiting_order(kind, at, price):
    async def story(world: World, bybit) -> None:
        await bybit.load_markets()
        terms = {kind: at, "clientOrderId": UUID}
        order_type = "market" if price is None else "limit"
        placed = await bybit.create_order(ETH, order_type, "sell", 0.5, price, terms)
        [seen] = await bybit.fetch_open_orders(ETH)
        assert (seen["id"], seen["status"], seen["triggerPrice"]) == (placed["id"], "open", at)
        early = kind != "triggerPrice"
        assert (await bybit.fetch_balance())["ETH"]["used"] == (0.5 if early else 0)
        name = "tpslOrder" if early else "StopOrder"
        await bybit.cancel_order(None, ETH, {"orderLinkId": UUID, "orderFilter": name})
        assert await bybit.fetch_open_orders(ETH) == []
        [gone] = await bybit.fetch_canceled_and_closed_orders(ETH)
        assert gone["status"] == "canceled"

    told(story)


def test_ccxt_amends_and_watches_it():
    async def story(world: World, bybit) -> None:
        await bybit.load_markets()
        seen = []

        async def watch() -> None:
            while True:
                seen.extend((o["status"], o["amount"], o["price"]) for o in await bybit.watch_orders())

        watching = asyncio.create_task(watch())
        await asyncio.sleep(0.5)
        placed = await bybit.create_order(ETH, "limit", "buy", 0.5, 1000)
        edited = await bybit.edit_order(placed["id"], ETH, "limit", "buy", 0.4, 1001)
        assert edited["id"] == placed["id"]
        await until(lambda: ("open", 0.4, 1001) in seen)
        await bybit.cancel_all_orders(ETH)
        await until(lambda: ("canceled", 0.4, 1001) in seen)
        watching.cancel()

    told(story)
