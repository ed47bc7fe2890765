"""Binance's stops and take-profits, its cancel-replace and its amending, as documented and through ccxt.

https://developers.binance.com/docs/binance-spot-api-docs/rest-api/trading-endpoints, .../errors, .../filters,
.../user-data-stream and .../faqs/order_amend_keep_priority.
"""

import asyncio
import json

import pytest

from tests.simulator.builders import SYMBOL, D, account, exchange, funds, market, owns
from tests.simulator.test_binance_ccxt import SYMBOL as CCXT_SYMBOL
from tests.simulator.test_binance_ccxt import run
from tests.simulator.wire_client import frames, served

ORDER = "/api/v3/order"
REPLACE = "/api/v3/order/cancelReplace"
KEEP = "/api/v3/order/amend/keepPriority"
OPEN = "/api/v3/openOrders"


def stop(kind="STOP_LOSS", side="SELL", stop_price="98", price=None, client_id="s-1", **more):
    parameters = {
        "symbol": "BTCUSDT",
        "side": side,
        "type": kind,
        "quantity": "1",
        "stopPrice": stop_price,
        "newClientOrderId": client_id,
        "price": price,
        "timeInForce": None if price is None else "GTC",
    }
    return {name: value for name, value in (parameters | more).items() if value is not None}


def prints(client, price, quantity="0.001"):
    made = client.server.exchange
    client.server.call(made.public_trade, SYMBOL, D(price), D(quantity), "buy", client.server.now())


def ledger(client):
    return client.server.call(client.server.exchange.ledger, client.server.exchange.accounts["bot"])


def bot(client):
    return client.server.exchange.accounts["bot"]


TYPES = [
    # type, side, stop, limit, trade that fires it, what it holds, the price it trades at
    ("STOP_LOSS", "SELL", "98", None, "97.9", {"USDT": "10000 0", "BTC": "9 1"}, "99"),
    ("STOP_LOSS_LIMIT", "SELL", "98", "97", "98", {"USDT": "10000 0", "BTC": "9 1"}, "99"),
    ("TAKE_PROFIT", "SELL", "102", None, "102", {"USDT": "10000 0", "BTC": "9 1"}, "99"),
    ("TAKE_PROFIT_LIMIT", "SELL", "102", "99", "103", {"USDT": "10000 0", "BTC": "9 1"}, "99"),
    ("STOP_LOSS", "BUY", "102", None, "102", {"USDT": "9898 102", "BTC": "10 0"}, "101"),
    ("STOP_LOSS_LIMIT", "BUY", "102", "103", "102", {"USDT": "9897 103", "BTC": "10 0"}, "101"),
    ("TAKE_PROFIT", "BUY", "98", None, "98", {"USDT": "9902 98", "BTC": "10 0"}, "101"),
    ("TAKE_PROFIT_LIMIT", "BUY", "98", "101", "98", {"USDT": "9899 101", "BTC": "10 0"}, "101"),
]


@pytest.mark.parametrize(("kind", "side", "at", "price", "fires", "holds", "trades"), TYPES,
                         ids=[f"{row[0]} {row[1]}" for row in TYPES])  # fmt: skip
def test_an_order_waits_is_listed_and_fires(kind, side, at, price, fires, holds, trades):
    with served() as client:
        prints(client, "100")
        stream = client.user_stream()
        status, placed = client.call("POST", ORDER, **stop(kind, side, at, price))
        assert (status, placed) == (
            200,
            {
                "symbol": "BTCUSDT",
                "orderId": 1,
                "orderListId": -1,
                "clientOrderId": "s-1",
                "transactTime": placed["transactTime"],
            },
        )
        assert owns(client.server.exchange, bot(client)) == funds(**holds)
        _, listed = client.call("GET", OPEN, symbol="BTCUSDT")
        _, fetched = client.call("GET", ORDER, symbol="BTCUSDT", origClientOrderId="s-1")
        assert listed == [fetched]
        facts = ("type", "status", "stopPrice", "isWorking", "workingTime", "executedQty")
        assert [fetched[name] for name in facts] == [kind, "NEW", f"{D(at):.8f}", False, -1, "0.00000000"]
        prints(client, fires)
        _, after = client.call("GET", ORDER, symbol="BTCUSDT", orderId=1)
        assert (after["status"], after["isWorking"], after["executedQty"]) == ("FILLED", True, "1.00000000")
        assert D(after["cummulativeQuoteQty"]) == D(trades) and after["workingTime"] > 0
        events = [frame["event"] for frame in frames(stream, 9, 0.3)]
        reports = [event for event in events if event["e"] == "executionReport"]
        assert [(r["x"], r["X"], r["o"], r["P"], r["w"]) for r in reports] == [
            ("NEW", "NEW", kind, f"{D(at):.8f}", False),
            ("NEW", "NEW", kind, f"{D(at):.8f}", price is not None),
            ("TRADE", "FILLED", kind, f"{D(at):.8f}", False),
        ]
        assert {(r["i"], r["c"]) for r in reports} == {(1, "s-1")}
        assert client.server.exchange.imbalance() == {}


REFUSED = [
    ("a stop that would trigger at once", stop(stop_price="100"), -2010,
     "Stop price would trigger immediately."),
    ("a take profit that would", stop("TAKE_PROFIT", stop_price="99"), -2010,
     "Stop price would trigger immediately."),
    ("no stop price", stop(stop_price=None), -1102,
     "Mandatory parameter 'stopPrice' was not sent, was empty/null, or malformed."),
    ("a stop price of nothing", stop(stop_price="0"), -1013, "Invalid stop price."),
    ("a stop price between two steps", stop(stop_price="98.001"), -1013, "Filter failure: PRICE_FILTER"),
    ("a limit without a price", stop("STOP_LOSS_LIMIT", timeInForce="GTC"), -1102,
     "Mandatory parameter 'price' was not sent, was empty/null, or malformed."),
    ("a price without a limit", stop(price="97", timeInForce=None), -1106,
     "Parameter 'price' sent when not required."),
    ("a time in force without a limit", stop(timeInForce="GTC"), -1106,
     "Parameter 'timeInForce' sent when not required."),
    ("a stop price without a stop", stop("MARKET"), -1106, "Parameter 'stopPrice' sent when not required."),
    ("more than there is", stop(quantity="11"), -2010,
     "Account has insufficient balance for requested action."),
    ("a trailing stop", stop(trailingDelta="100"), -2010,
     "Trailing stop orders are not supported for this symbol."),
]  # fmt: skip


@pytest.mark.parametrize(("parameters", "code", "message"), [row[1:] for row in REFUSED],
                         ids=[row[0] for row in REFUSED])  # fmt: skip
def test_what_binance_refuses(parameters, code, message):
    with served() as client:
        prints(client, "100")
        before = ledger(client)
        assert client.call("POST", ORDER, **parameters) == (400, {"code": code, "msg": message})
        assert ledger(client) == before


def test_a_market_says_that_it_takes_them_and_five_may_wait():
    with served() as client:
        _, info = client.get("/api/v3/exchangeInfo", symbol="BTCUSDT")
        (symbol,) = info["symbols"]
        assert symbol["orderTypes"] == [
            "LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT",
            "TAKE_PROFIT_LIMIT",
        ]  # fmt: skip
        assert symbol["cancelReplaceAllowed"] is symbol["amendAllowed"] is True
        limits = {one["filterType"]: one for one in symbol["filters"]}
        assert limits["MAX_NUM_ALGO_ORDERS"]["maxNumAlgoOrders"] == 5
        for number in range(5):
            assert client.call("POST", ORDER, **stop(client_id=f"s-{number}", quantity="0.1"))[0] == 200
        refused = client.call("POST", ORDER, **stop(client_id="s-6", quantity="0.1"))
        assert refused == (400, {"code": -1013, "msg": "Filter failure: MAX_NUM_ALGO_ORDERS"})
        assert client.place(client_id="plain")[0] == 200


def test_waiting_orders_are_cancelled_one_by_one_and_all_at_once():
    with served() as client:
        client.call("POST", ORDER, **stop())
        status, gone = client.call("DELETE", ORDER, symbol="BTCUSDT", origClientOrderId="s-1")
        assert (status, gone["status"], gone["stopPrice"]) == (200, "CANCELED", "98.00000000")
        client.call("POST", ORDER, **stop(client_id="s-2"))
        client.place(client_id="plain")
        status, all_gone = client.call("DELETE", OPEN, symbol="BTCUSDT")
        assert status == 200
        assert [(row["origClientOrderId"], row["type"], row["status"]) for row in all_gone] == [
            ("s-2", "STOP_LOSS", "CANCELED"),
            ("plain", "LIMIT", "CANCELED"),
        ]
        prints(client, "90")
        assert not ledger(client)["fills"]
        assert client.call("DELETE", OPEN, symbol="BTCUSDT") == (
            400,
            {"code": -2011, "msg": "Unknown order sent."},
        )


def test_one_that_cannot_be_paid_when_it_fires_expires():
    made = exchange(market(), bids=(("99", "1"),), asks=(("150", "5"),))
    account(made, USDT="110")
    with served(made=made) as client:
        stream = client.user_stream()
        client.call("POST", ORDER, **stop(side="BUY", stop_price="105"))
        prints(client, "105")
        reports = [f["event"] for f in frames(stream, 9, 0.3) if f["event"]["e"] == "executionReport"]
        assert [(r["x"], r["X"], r["z"]) for r in reports] == [
            ("NEW", "NEW", "0.00000000"),
            ("NEW", "NEW", "0.00000000"),
            ("EXPIRED", "EXPIRED", "0.00000000"),
        ]
        assert owns(made, bot(client)) == funds(USDT="110 0")


# --- Cancel-replace ---


def replacing(mode, old="c-1", **changes):
    new = {
        "symbol": "BTCUSDT",
        "side": "BUY",
        "type": "LIMIT",
        "timeInForce": "GTC",
        "quantity": "0.2",
        "price": "60",
        "newClientOrderId": "c-2",
        "cancelReplaceMode": mode,
        "cancelOrigClientOrderId": old,
    }
    return new | changes


def test_a_replaced_order_is_another_one():
    with served() as client:
        client.place(client_id="c-1")
        status, body = client.call("POST", REPLACE, **replacing("STOP_ON_FAILURE"))
        assert status == 200
        assert (body["cancelResult"], body["newOrderResult"]) == ("SUCCESS", "SUCCESS")
        cancel, new = body["cancelResponse"], body["newOrderResponse"]
        assert (cancel["orderId"], cancel["origClientOrderId"], cancel["status"]) == (1, "c-1", "CANCELED")
        assert (new["orderId"], new["clientOrderId"], new["status"]) == (2, "c-2", "NEW")
        assert [(o["client_order_id"], o["status"]) for o in ledger(client)["orders"]] == [
            ("c-1", "canceled"),
            ("c-2", "submitted"),
        ]


UNKNOWN = {"code": -2011, "msg": "Unknown order sent."}
POOR = {"code": -2010, "msg": "Account has insufficient balance for requested action."}
HALVES = [
    # name, parameters, status, code, message, cancel's and order's result, what the ledger has at the end
    ("no such order, stop", replacing("STOP_ON_FAILURE", "none"), 400, -2022, "Order cancel-replace failed.",
     "FAILURE", "NOT_ATTEMPTED", {"c-1": "submitted"}),
    ("no such order, go on", replacing("ALLOW_FAILURE", "none"), 409, -2021,
     "Order cancel-replace partially failed.", "FAILURE", "SUCCESS",
     {"c-1": "submitted", "c-2": "submitted"}),
    ("the new one cannot be paid", replacing("STOP_ON_FAILURE", quantity="99", price="150"), 409, -2021,
     "Order cancel-replace partially failed.", "SUCCESS", "FAILURE", {"c-1": "canceled"}),
    ("neither", replacing("ALLOW_FAILURE", "none", quantity="99", price="150"), 400, -2022,
     "Order cancel-replace failed.", "FAILURE", "FAILURE", {"c-1": "submitted"}),
    ("part-filled only", replacing("STOP_ON_FAILURE", cancelRestrictions="ONLY_PARTIALLY_FILLED"), 400, -2022,
     "Order cancel-replace failed.", "FAILURE", "NOT_ATTEMPTED", {"c-1": "submitted"}),
]  # fmt: skip


@pytest.mark.parametrize(("parameters", "status", "code", "message", "cancel", "order", "left"),
                         [row[1:] for row in HALVES], ids=[row[0] for row in HALVES])  # fmt: skip
def test_the_halves_of_a_replacement_may_part(parameters, status, code, message, cancel, order, left):
    with served() as client:
        client.place(client_id="c-1")
        answer, body = client.call("POST", REPLACE, **parameters)
        assert (answer, body["code"], body["msg"]) == (status, code, message)
        data = body["data"]
        assert (data["cancelResult"], data["newOrderResult"]) == (cancel, order)
        if cancel == "FAILURE":
            assert data["cancelResponse"]["code"] == -2011
        if order == "FAILURE":
            assert data["newOrderResponse"] == POOR
        if order == "NOT_ATTEMPTED":
            assert data["newOrderResponse"] is None
        assert {o["client_order_id"]: o["status"] for o in ledger(client)["orders"]} == left


def test_what_is_wrong_with_the_new_order_is_said_before_the_old_one_is_touched():
    with served() as client:
        client.place(client_id="c-1")
        before = ledger(client)
        wrong = client.call("POST", REPLACE, **replacing("STOP_ON_FAILURE", side="HOLD"))
        assert wrong == (400, {"code": -1117, "msg": "Invalid side."})
        unsaid = client.call("POST", REPLACE, **replacing("PERHAPS"))
        assert unsaid[1]["code"] == -1100
        assert ledger(client) == before


# --- Amending ---


def test_an_amended_order_is_the_same_one_and_keeps_its_place():
    made = exchange(market())
    account(made, USDT="1000"), account(made, "other", USDT="1000"), account(made, "seller", BTC="5")
    with served(made=made) as client:
        client.place(quantity="2", price="50", client_id="mine")
        other = made.accounts["other"]
        client.server.call(
            made.create_order, other, SYMBOL, "buy", "limit", D("2"), D("50"), now=client.server.now()
        )
        stream = client.user_stream()
        parameters = {"symbol": "BTCUSDT", "origClientOrderId": "mine", "newQty": "1.5"}
        status, body = client.call("PUT", KEEP, **parameters, newClientOrderId="mine")
        assert (status, set(body)) == (200, {"transactTime", "executionId", "amendedOrder"})
        amended = body["amendedOrder"]
        assert (amended["orderId"], amended["origClientOrderId"], amended["clientOrderId"]) == (
            1,
            "mine",
            "mine",
        )
        assert (amended["qty"], amended["status"]) == ("1.50000000", "NEW")
        (report,) = [f["event"] for f in frames(stream, 9, 0.3) if f["event"]["e"] == "executionReport"]
        assert [report[name] for name in "xXicCq"] == ["REPLACED", "NEW", 1, "mine", "mine", "1.50000000"]
        assert owns(made, bot(client)) == funds(USDT="925 75")
        seller = made.accounts["seller"]
        client.server.call(
            made.create_order, seller, SYMBOL, "sell", "limit", D("1.5"), D("50"), now=client.server.now()
        )
        filled = {o.account: o.filled_quantity for o in made.orders.values()}
        assert filled == {"bot": D("1.5"), "other": D(0), "seller": D("1.5")}


def test_without_a_name_it_gets_one_that_nobody_knows():
    with served() as client:
        client.place(quantity="2", client_id="mine")
        _, body = client.call("PUT", KEEP, symbol="BTCUSDT", orderId=1, newQty="1")
        name = body["amendedOrder"]["clientOrderId"]
        assert name != "mine" and body["amendedOrder"]["origClientOrderId"] == "mine"
        missing = client.call("GET", ORDER, symbol="BTCUSDT", origClientOrderId="mine")
        assert missing == (400, {"code": -2013, "msg": "Order does not exist."})
        _, rows = client.call("GET", "/api/v3/order/amendments", symbol="BTCUSDT", orderId=1)
        assert [(r["origClientOrderId"], r["newClientOrderId"], r["origQty"], r["newQty"]) for r in rows] == [
            ("mine", name, "2.00000000", "1.00000000")
        ]


AMENDS = [
    ("larger", {"newQty": "3"}, -2038, "Order amend (quantity increase) is not supported."),
    ("the same", {"newQty": "2"}, -2038, "The requested action would change no state; rejecting."),
    ("between two steps", {"newQty": "1.0001"}, -1013, "Filter failure: LOT_SIZE"),
    ("another order", {"origClientOrderId": "none"}, -2038, "Unknown order sent."),
    ("a name in use", {"newClientOrderId": "taken"}, -2010, "Duplicate order sent."),
    ("no quantity", {"newQty": None}, -1102,
     "Mandatory parameter 'newQty' was not sent, was empty/null, or malformed."),
]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "code", "message"), [row[1:] for row in AMENDS], ids=[r[0] for r in AMENDS]
)
def test_an_amendment_binance_refuses_changes_nothing(changes, code, message):
    with served() as client:
        client.place(quantity="2", client_id="mine")
        client.place(quantity="1", client_id="taken")
        before = ledger(client)
        parameters = {"symbol": "BTCUSDT", "origClientOrderId": "mine", "newQty": "1"} | changes
        answer = client.call("PUT", KEEP, **{n: v for n, v in parameters.items() if v is not None})
        assert answer == (400, {"code": code, "msg": message})
        assert ledger(client) == before


def test_ten_amendments_are_enough():
    with served() as client:
        client.place(quantity="2", client_id="mine")
        names = {"symbol": "BTCUSDT", "orderId": 1, "newClientOrderId": "mine"}
        for number in range(10):
            assert client.call("PUT", KEEP, **names, newQty=f"1.{9 - number}")[0] == 200
        assert client.call("PUT", KEEP, **names, newQty="0.5") == (
            400,
            {"code": -2038, "msg": "Filter failure: MAX_NUM_ORDER_AMENDS"},
        )


def test_the_same_by_the_websocket_api():
    with served() as client:
        client.place(quantity="2", client_id="mine")
        socket = client.socket("/ws-api/v3")
        parameters = {
            "symbol": "BTCUSDT",
            "origClientOrderId": "mine",
            "newQty": "1",
            "newClientOrderId": "mine",
        }
        socket.send(client.api_text("order.amend.keepPriority", **parameters))
        answer = json.loads(socket.recv())
        assert (answer["status"], answer["result"]["amendedOrder"]["qty"]) == (200, "1.00000000")
        socket.send(client.api_text("order.cancelReplace", **replacing("STOP_ON_FAILURE", "none")))
        answer = json.loads(socket.recv())
        assert (answer["status"], answer["error"]["code"]) == (400, -2022)
        assert answer["error"]["data"]["cancelResult"] == "FAILURE"


# --- Through ccxt ---


@pytest.mark.parametrize("kind", ["stopLossPrice", "takeProfitPrice"])
@pytest.mark.parametrize("price", [None, 59000])
def test_ccxt_places_sees_and_cancels_a_waiting_order(kind, price):
    async def story(client, made, server):
        await client.load_markets()
        made.public_trade(CCXT_SYMBOL, D("60000"), D("0.1"), "buy", server.now())
        at = 58000 if (kind == "stopLossPrice") else 62000
        made.deposit(made.accounts["bot"], "BTC", D(1), server.now())
        parameters = {kind: at, "clientOrderId": "waits"}
        placed = await client.create_order(
            CCXT_SYMBOL, "market" if price is None else "limit", "sell", 0.1, price, parameters
        )
        (listed,) = await client.fetch_open_orders(CCXT_SYMBOL)
        assert (listed["id"], listed["status"], listed["triggerPrice"]) == (placed["id"], "open", at)
        assert (await client.fetch_balance())["BTC"]["used"] == 0.1
        gone = await client.cancel_order(None, CCXT_SYMBOL, {"clientOrderId": "waits"})
        assert gone["status"] == "canceled"

    run(story)


def test_ccxt_watches_a_stop_fire():
    async def story(client, made, server):
        await client.load_markets()
        made.deposit(made.accounts["bot"], "BTC", D(1), server.now())
        made.public_trade(CCXT_SYMBOL, D("60000"), D("0.1"), "buy", server.now())
        watching = asyncio.ensure_future(client.watch_orders(CCXT_SYMBOL))
        await asyncio.sleep(0.3)
        await client.create_order(CCXT_SYMBOL, "market", "sell", 0.1, None, {"stopLossPrice": 58000})
        (seen,) = await asyncio.wait_for(watching, 5)
        assert (seen["status"], seen["filled"]) == ("open", 0)
        made.public_trade(CCXT_SYMBOL, D("57000"), D("0.1"), "sell", server.now())
        while seen["status"] == "open":
            (seen, *_) = await asyncio.wait_for(client.watch_orders(CCXT_SYMBOL), 5)
        assert (seen["status"], seen["filled"]) == ("closed", 0.1)

    run(story)


def test_ccxt_edits_by_replacing_and_cancels_all():
    async def story(client, made, server):
        await client.load_markets()
        placed = await client.create_order(CCXT_SYMBOL, "limit", "buy", 0.01, 50000)
        edited = await client.edit_order(placed["id"], CCXT_SYMBOL, "limit", "buy", 0.02, 49000)
        assert edited["id"] != placed["id"] and (edited["amount"], edited["price"]) == (0.02, 49000)
        assert [o["id"] for o in await client.fetch_open_orders(CCXT_SYMBOL)] == [edited["id"]]
        gone = await client.cancel_all_orders(CCXT_SYMBOL)
        assert [(o["id"], o["status"]) for o in gone] == [(edited["id"], "canceled")]
        assert await client.fetch_open_orders(CCXT_SYMBOL) == []

    run(story)
