"""Kraken's stops and take-profits, good-till-date, amends, edits and the switch that cancels.

https://docs.kraken.com/api-reference/trading/add-order, .../amend-order, .../edit-order,
.../cancel-all-orders-after; https://docs.kraken.com/exchange/guides/general/amends and the pages of the
WebSocket v2.
"""

import asyncio

import pytest

from simulator.dialects.dialect import AMEND, CANCEL_ALL
from simulator.dialects.kraken_words import PRIVATE_PATH
from tests.simulator.test_kraken import NOW, UUID, D, Desk
from tests.simulator.test_kraken_ccxt import ETH, CheckingKraken, told
from tests.simulator.test_kraken_ccxt import World as Live
from tests.simulator.test_kraken_streams import World

PAIR = "ETH/USDT"


@pytest.fixture
def desk() -> Desk:
    made = Desk()
    made.exchange.public_trade(PAIR, D("2000"), D("0.1"), "buy", NOW)
    return made


def stop(desk: Desk, ordertype: str = "stop-loss", **changes) -> str:
    """A stop that waits; its txid."""
    terms = {"ordertype": ordertype, "type": "sell", "volume": "1", "price": "1950", "cl_ord_id": UUID}
    return desk.place(**{**terms, **changes})


def prints(made: Desk | World, price: str) -> None:
    made.exchange.public_trade(PAIR, D(price), D("0.01"), "buy", made.now)


TYPES = [
    # ordertype, side, trigger, limit, what fires it, misc after it, the sentence
    ("stop-loss", "sell", "1950", None, "1949", "stopped", "sell 1.00000000 ETHUSDT @ stop loss 1950.00"),
    ("stop-loss-limit", "sell", "1950", "1900", "1950", "stopped",
     "sell 1.00000000 ETHUSDT @ stop loss 1950.00 -> limit 1900.00"),
    ("take-profit", "sell", "2050", None, "2050", "touched",
     "sell 1.00000000 ETHUSDT @ take profit 2050.00"),
    ("take-profit-limit", "sell", "2050", "1990", "2060", "touched",
     "sell 1.00000000 ETHUSDT @ take profit 2050.00 -> limit 1990.00"),
    ("stop-loss", "buy", "2050", None, "2050", "stopped", "buy 1.00000000 ETHUSDT @ stop loss 2050.00"),
    ("take-profit-limit", "buy", "1950", "2001", "1950", "touched",
     "buy 1.00000000 ETHUSDT @ take profit 1950.00 -> limit 2001.00"),
]  # fmt: skip


@pytest.mark.parametrize(("ordertype", "side", "at", "limit", "fires", "misc", "sentence"), TYPES,
                         ids=[f"{row[0]} {row[1]}" for row in TYPES])  # fmt: skip
def test_an_order_waits_is_listed_and_fires(desk, ordertype, side, at, limit, fires, misc, sentence):
    txid = stop(desk, ordertype, type=side, price=at, price2=limit)
    [order] = desk.account.open.values()
    held = order.reserved
    assert order.waiting and held > 0
    record = desk.ask("OpenOrders")["open"][txid]
    descr = record["descr"]
    assert (record["status"], record["misc"], record["trigger"], record["cl_ord_id"]) == (
        "open",
        "",
        "last",
        UUID,
    )
    assert (descr["ordertype"], descr["price"], descr["order"]) == (ordertype, f"{D(at):.2f}", sentence)
    assert descr["price2"] == ("0" if limit is None else f"{D(limit):.2f}")
    assert (record["stopprice"], record["limitprice"]) == ("0.00000", "0.00000")
    prints(desk, fires)
    record = desk.ask("QueryOrders", txid=txid)[txid]
    assert (record["status"], record["misc"], record["vol_exec"]) == ("closed", misc, "1.00000000")
    assert record["stopprice"] == f"{D(at):.2f}"
    trades = desk.ask("TradesHistory")["trades"]
    assert [(row["ordertxid"], row["ordertype"]) for row in trades.values()] == [(txid, ordertype)]
    assert desk.exchange.imbalance() == {} and not any(
        l for _, l in desk.exchange.balances(desk.account).values()
    )


REFUSED = [
    ({"ordertype": "stop-loss", "price": None}, "EGeneral:Invalid arguments:price"),
    ({"ordertype": "stop-loss-limit"}, "EGeneral:Invalid arguments:price2"),
    ({"ordertype": "stop-loss", "trigger": "index"}, "EGeneral:Invalid arguments:trigger"),
    ({"ordertype": "stop-loss-limit", "price2": "1900", "oflags": "post"},
     "EGeneral:Invalid arguments:oflags"),
    ({"ordertype": "stop-loss", "price": "1950.001"},
     "EOrder:Invalid price:ETHUSDT price can only be specified up to 2 decimals."),
    ({"ordertype": "stop-loss", "volume": "0.0001"}, "EOrder:Order minimum not met"),
    ({"ordertype": "stop-loss", "volume": "4"}, "EOrder:Insufficient funds"),
    ({"timeinforce": "GTD"}, "EGeneral:Invalid arguments:expiretm"),
    ({"timeinforce": "GTD", "expiretm": "+0"}, "EGeneral:Invalid arguments:expiretm"),
    ({"timeinforce": "GTD", "expiretm": "1600000000"}, "EGeneral:Invalid arguments:expiretm"),
    ({"timeinforce": "GTD", "expiretm": "+9", "ordertype": "market", "price": None},
     "EGeneral:Invalid arguments:timeinforce"),
]  # fmt: skip


@pytest.mark.parametrize(("wrong", "error"), REFUSED)
def test_what_kraken_refuses_changes_nothing(desk, wrong, error):
    before = desk.exchange.ledger(desk.account)
    assert desk.refused("AddOrder", **desk.order(**{"type": "sell", "price": "1950", **wrong})) == error
    assert desk.exchange.ledger(desk.account) == before


def test_a_stop_and_a_take_profit_want_the_same_coins(desk):
    stop(desk, volume="2")
    terms = {"ordertype": "take-profit", "type": "sell", "volume": "2", "price": "2100"}
    assert desk.refused("AddOrder", **desk.order(**terms)) == "EOrder:Insufficient funds"


@pytest.mark.parametrize("expiretm", ["+60", str(int(NOW) + 60)])
def test_good_till_a_date(desk, expiretm):
    txid = desk.place(timeinforce="GTD", expiretm=expiretm)
    assert desk.ask("OpenOrders")["open"][txid]["expiretm"] == int(NOW) + 60
    desk.now = NOW + 60
    desk.exchange.advance(PAIR, desk.now)
    assert desk.ask("OpenOrders")["open"] == {}
    assert desk.ask("QueryOrders", txid=txid)[txid]["status"] == "expired"


# --- Amending, editing ---


def test_an_amended_order_keeps_its_ids(desk):
    txid = desk.place(cl_ord_id=UUID)
    answer = desk.ask("AmendOrder", cl_ord_id=UUID, order_qty="0.5", limit_price="1950")
    assert list(answer) == ["amend_id"] and answer["amend_id"].startswith("T")
    record = desk.ask("OpenOrders")["open"][txid]
    assert (record["vol"], record["descr"]["price"], record["cl_ord_id"]) == ("0.50000000", "1950.00", UUID)
    [order] = desk.account.orders.values()
    assert order.reserved == D("975") * D("1.004")


def test_a_trigger_is_amended(desk):
    txid = stop(desk)
    desk.ask("AmendOrder", txid=txid, trigger_price="1900")
    prints(desk, "1940")
    assert desk.ask("OpenOrders")["open"][txid]["descr"]["price"] == "1900.00"
    prints(desk, "1900")
    assert desk.ask("OpenOrders")["open"] == {}


def test_what_is_filled_already_ends_the_rest(desk):
    txid = desk.place(price="2000.10", volume="2")  # takes the 1 that is there
    answer = desk.ask("AmendOrder", txid=txid, order_qty="1")
    assert answer["amend_id"]
    record = desk.ask("QueryOrders", txid=txid)[txid]
    assert (record["status"], record["vol_exec"], record["vol"]) == ("canceled", "1.00000000", "2.00000000")


AMENDS = [
    ({"order_qty": "0.5"}, "EGeneral:Invalid arguments:txid"),  # of which order
    ({"txid": "this", "cl_ord_id": UUID, "order_qty": "1"}, "EGeneral:Invalid arguments:txid"),
    ({"txid": "OAAAAA-AAAAA-AAAAAA", "order_qty": "1"}, "EOrder:Invalid order"),
    ({"cl_ord_id": "nobody", "order_qty": "1"}, "EOrder:Unknown order"),
    ({"txid": "this"}, "EGeneral:Invalid arguments:order_qty"),
    ({"txid": "this", "order_qty": "1"}, "EGeneral:Invalid arguments"),  # as it is
    ({"txid": "this", "order_qty": "0.0001"}, "EOrder:Order minimum not met"),
    ({"txid": "this", "order_qty": "99"}, "EOrder:Insufficient funds"),
    ({"txid": "this", "limit_price": "1900.001"},
     "EOrder:Invalid price:ETHUSDT price can only be specified up to 2 decimals."),
    ({"txid": "this", "trigger_price": "1800"}, "EGeneral:Invalid arguments:trigger_price"),
    ({"txid": "this", "limit_price": "2001", "post_only": "true"}, "EOrder:Post only order"),
    ({"txid": "this", "order_qty": "0.5", "deadline": "2023-11-14T22:13:19Z"}, "EService:Deadline elapsed"),
]  # fmt: skip


@pytest.mark.parametrize(("terms", "error"), AMENDS)
def test_an_amendment_kraken_refuses_changes_nothing(desk, terms, error):
    txid = desk.place(cl_ord_id=UUID)
    before = desk.exchange.ledger(desk.account)
    named = {**terms, **({"txid": txid} if terms.get("txid") == "this" else {})}
    assert desk.refused("AmendOrder", **named) == error
    assert desk.exchange.ledger(desk.account) == before


def test_an_order_that_is_over_cannot_be_amended(desk):
    txid = desk.place()
    desk.ask("CancelOrder", txid=txid)
    assert desk.refused("AmendOrder", txid=txid, order_qty="0.5") == "EOrder:Invalid order"


def test_an_edited_order_is_another_one(desk):
    txid = desk.place(cl_ord_id=UUID)
    answer = desk.ask("EditOrder", txid=txid, pair="ETHUSDT", volume="0.5", price="1850")
    assert (answer["status"], answer["originaltxid"], answer["orders_cancelled"]) == ("ok", txid, 1)
    assert answer["descr"]["order"] == "buy 0.50000000 ETHUSDT @ limit 1850.00"
    orders = desk.ask("OpenOrders")["open"]
    assert list(orders) == [answer["txid"]] != [txid]
    assert "cl_ord_id" not in orders[answer["txid"]]
    assert desk.refused("EditOrder", txid=txid, pair="ETHUSDT", price="1") == "EOrder:Invalid order"


def test_changes_count_by_the_age_of_the_order(desk):
    """A new order is 1; amended at once 1 + 3, after 15 s 1: 125 is the limit of this tier."""
    txid = desk.place()
    counter = desk.kraken.order_counter("desk", PAIR)
    before = counter.value
    desk.ask("AmendOrder", txid=txid, order_qty="0.9")
    assert counter.value == before + 4
    counter.value, desk.now = 124.0, NOW
    assert desk.refused("AmendOrder", txid=txid, order_qty="0.8") == "EOrder:Rate limit exceeded"
    assert desk.account.orders[next(iter(desk.account.orders))].quantity == D("0.9")


# --- The switch ---


def test_orders_are_cancelled_when_nobody_says_otherwise(desk):
    desk.place()
    stop(desk)
    answer = desk.ask("CancelAllOrdersAfter", timeout="60")
    assert answer == {"currentTime": "2023-11-14T22:13:20Z", "triggerTime": "2023-11-14T22:14:20Z"}
    desk.now = NOW + 59
    desk.ask("CancelAllOrdersAfter", timeout="60")
    desk.now = NOW + 100
    assert len(desk.ask("OpenOrders")["open"]) == 2
    desk.now = NOW + 119
    assert desk.ask("OpenOrders")["open"] == {}
    desk.place()
    desk.ask("CancelAllOrdersAfter", timeout="60")
    assert desk.ask("CancelAllOrdersAfter", timeout="0")["triggerTime"] == "0"
    desk.now = NOW + 999
    assert len(desk.ask("OpenOrders")["open"]) == 1
    assert desk.refused("CancelAllOrdersAfter", timeout="soon") == "EGeneral:Invalid arguments:timeout"
    assert desk.refused("CancelAllOrdersAfter", timeout="86401") == "EGeneral:Invalid arguments:timeout"


def test_waiting_orders_are_cancelled_by_every_call_that_cancels(desk):
    for name, form in (
        ("CancelOrder", {"cl_ord_id": UUID}),
        ("CancelAll", {}),
    ):
        stop(desk)
        assert desk.ask(name, **form) == {"count": 1}
        assert desk.ask("OpenOrders")["open"] == {}


# --- Streams ---


def subscribed(world: World):
    world.exchange.public_trade(PAIR, D("2000"), D("0.1"), "buy", world.now)
    connection = world.connect(PRIVATE_PATH)
    token = world.token()
    connection.say("subscribe", channel="executions", token=token)
    connection.news()
    return connection, token


def rows(connection):
    return [row for message in connection.news() for row in message.get("data", []) if "exec_type" in row]


def test_a_stop_on_the_stream_waits_and_fires():
    world = World()
    connection, token = subscribed(world)
    placed = connection.say(
        "add_order",
        token=token,
        order_type="stop-loss-limit",
        side="sell",
        symbol=PAIR,
        order_qty=1,
        limit_price=1900,
        triggers={"price": 1950, "reference": "last"},
        cl_ord_id=UUID,
    )
    (order_id,) = [one["result"]["order_id"] for one in placed if one.get("method") == "add_order"]
    pending, new = [row for one in placed for row in one.get("data", [])]
    assert (pending["order_type"], pending["limit_price"], pending["stop_price"]) == (
        "stop-loss-limit", D("1900.00"), D("1950.00"),
    )  # fmt: skip
    assert (pending["triggers"]["status"], pending["triggers"]["price"]) == ("untriggered", D("1950.00"))
    assert (new["exec_type"], new["order_id"]) == ("new", order_id)
    connection.news()
    prints(world, "1950")
    seen = rows(connection)
    assert [(row["exec_type"], row["order_status"]) for row in seen] == [
        ("status", "new"),
        ("trade", "partially_filled"),
        ("filled", "filled"),
    ]
    assert (seen[0]["triggers"]["status"], seen[0]["cl_ord_id"]) == ("triggered", UUID)
    assert {row["order_id"] for row in seen} == {order_id}


def test_an_amendment_on_the_stream_is_answered_and_told():
    world = World()
    connection, token = subscribed(world)
    placed = connection.say(
        "add_order", token=token, order_type="limit", side="buy", symbol=PAIR, order_qty=1,
        limit_price=1900, time_in_force="gtd", expire_time="2023-11-14T22:23:20Z",
    )  # fmt: skip
    (order_id,) = [one["result"]["order_id"] for one in placed if one.get("method") == "add_order"]
    assert [row["expire_time"] for one in placed for row in one.get("data", []) if "expire_time" in row] == [
        "2023-11-14T22:23:20.000000Z"
    ]
    answers = connection.say("amend_order", token=token, order_id=order_id, order_qty=0.5)
    (answer,) = [one for one in answers if one.get("method") == "amend_order"]
    assert answer["success"] is True and answer["result"]["order_id"] == order_id
    (row,) = [row for one in answers for row in one.get("data", [])]
    assert (row["exec_type"], row["order_status"], row["order_qty"]) == ("amended", "new", D("0.5"))
    refused = connection.reply("amend_order", token=token, order_id=order_id, order_qty=0.0001)
    assert (refused["success"], refused["error"]) == (False, "EOrder:Order minimum not met")
    switched = connection.reply("cancel_all_orders_after", token=token, timeout=60)
    assert switched["result"]["triggerTime"] == "2023-11-14T22:14:20Z"
    connection.session.tick(NOW + 61)
    assert [row["exec_type"] for row in rows(connection)] == ["canceled"]


def test_the_kinds_that_faults_select_by():
    world = World()
    connection = world.connect(PRIVATE_PATH)
    assert connection.session.kind('{"method": "amend_order"}') == AMEND
    assert connection.session.kind('{"method": "cancel_all_orders_after"}') == CANCEL_ALL


# --- Through ccxt ---


@pytest.mark.parametrize("price", [None, 1800])
@pytest.mark.parametrize(("kind", "at"), [("stopLossPrice", 1000), ("takeProfitPrice", 9000)])
def test_ccxt_places_sees_and_cancels_a_waiting_order(kind, at, price):
    async def story(world: Live, kraken: CheckingKraken) -> None:
        order_type = "market" if price is None else "limit"
        placed = await kraken.create_order(
            ETH, order_type, "sell", 0.5, price, {kind: at, "clientOrderId": UUID}
        )
        [seen] = await kraken.fetch_open_orders(ETH)
        assert (seen["id"], seen["status"], seen[kind], seen["price"]) == (placed["id"], "open", at, price)
        assert (await kraken.fetch_balance())["ETH"]["used"] == 0.5
        await kraken.cancel_order(None, ETH, {"clientOrderId": UUID})
        assert await kraken.fetch_open_orders(ETH) == []

    told(story)


def test_ccxt_amends_and_watches_it():
    async def story(world: Live, kraken: CheckingKraken) -> None:
        await kraken.load_markets()
        watching = asyncio.ensure_future(kraken.watch_orders(ETH))
        await asyncio.sleep(0.5)
        placed = await kraken.create_order(ETH, "limit", "buy", 0.5, 1000, {"clientOrderId": UUID})
        await asyncio.wait_for(watching, 5)
        await kraken.edit_order(None, ETH, "limit", "buy", 0.4, 1001, {"clientOrderId": UUID})
        seen = await asyncio.wait_for(kraken.watch_orders(ETH), 5)
        [order] = world.account.open.values()
        assert (order.quantity, order.price, order.client_order_id) == (D("0.4"), D("1001"), UUID)
        while seen[-1]["amount"] != 0.4:
            seen = await asyncio.wait_for(kraken.watch_orders(ETH), 5)
        assert (seen[-1]["id"], seen[-1]["status"], seen[-1]["price"]) == (placed["id"], "open", 1001)
        await kraken.cancel_all_orders()
        assert not world.account.open

    told(story)
