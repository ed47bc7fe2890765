"""Gemini's dialect without sockets: signatures, nonces, sessions, orders, errors, limits, streams."""

import base64
import json

import pytest

from simulator.dialects.dialect import Response, View
from simulator.dialects.gemini_words import signature
from tests.simulator.gemini_client import KEY, NOW, SECRET, D, Desk

UUID = "d15708c1-dbb6-465d-b77d-47258319cc90"


def reason(answer):
    status, body = answer
    assert body["result"] == "error" and body["message"]
    return status, body["reason"]


# --- Keys, signatures, nonces ---


def test_the_signature_of_a_fixed_request():
    """The vector was computed by `openssl dgst -sha384 -hmac`, not by this code."""
    payload = base64.b64encode(b'{"request":"/v1/order/status","nonce":1700000000000}').decode()
    assert payload == "eyJyZXF1ZXN0IjoiL3YxL29yZGVyL3N0YXR1cyIsIm5vbmNlIjoxNzAwMDAwMDAwMDAwfQ=="
    assert signature("1234abcd", payload) == VECTOR


VECTOR = "d8f86610fc44cb4d007132c85d36561720ee7ce2724891fb44b2d313fe990cbf1923e62b29c19879ae627499f26f0e2b"


@pytest.mark.parametrize(
    ("case", "changes", "expected"),
    [
        ("no key", {"leave_out": ("x-gemini-apikey",)}, (400, "MissingApikeyHeader")),
        ("no payload", {"leave_out": ("x-gemini-payload",)}, (400, "MissingPayloadHeader")),
        ("no signature", {"leave_out": ("x-gemini-signature",)}, (400, "MissingSignatureHeader")),
        ("another secret", {"secret": "guess"}, (400, "InvalidSignature")),
        ("a signature of other bytes", {"signature": "00" * 48}, (400, "InvalidSignature")),
        ("not base64", {"payload": "@@@"}, (400, "InvalidJson")),
        ("not JSON", {"payload": base64.b64encode(b"{").decode()}, (400, "InvalidJson")),
        ("a list", {"payload": base64.b64encode(b"[]").decode()}, (400, "InvalidJson")),
        ("another path", {"request": "/v1/orders"}, (400, "EndpointMismatch")),
        ("no nonce", {"nonce": ...}, (400, "MissingNonce")),
        ("a nonce of letters", {"nonce": "soon"}, (400, "InvalidNonce")),
        ("an old nonce", {"nonce": 1}, (400, "InvalidNonce")),
        ("an account that has no master", {"account": "desk"}, (400, "AccountsOnGroupOnlyApi")),
    ],
)
def test_a_private_request_that_is_none(case, changes, expected):
    desk = Desk()
    assert desk.post("/v1/balances")[0] == 200
    assert reason(desk.post("/v1/balances", **changes)) == expected
    assert desk.post("/v1/balances")[0] == 200, "the next good one is answered"


def test_a_nonce_is_used_up_by_whatever_comes_of_it_and_only_if_the_signature_is_right():
    desk = Desk()
    status, body = desk.post("/v1/balances", nonce=1000)
    assert status == 200
    _, body = desk.post("/v1/balances", nonce=1000)
    assert body["message"] == "Nonce '1000' has not increased since your last call to the Gemini API."
    assert reason(desk.post("/v1/balances", nonce=2000, secret="guess"))[1] == "InvalidSignature"
    assert desk.post("/v1/balances", nonce=1500)[0] == 200, "nobody's nonce was used up"
    assert reason(desk.order(nonce=1600, side="hold"))[1] == "InvalidSide"
    assert reason(desk.order(nonce=1600))[1] == "InvalidNonce"
    assert not desk.account.orders


def test_nonces_are_a_keys_own():
    desk = Desk()
    desk.post("/v1/balances", nonce=10**9)
    desk.exchange.open_account("account-OTHER", SECRET, name="desk")
    desk.key = "account-OTHER"
    assert desk.post("/v1/balances", nonce=5)[0] == 200


def test_a_master_key_names_its_account():
    desk = Desk(key="master-KEY")
    assert reason(desk.post("/v1/balances")) == (400, "MissingAccounts")
    assert reason(desk.post("/v1/balances", account="other")) == (400, "InvalidAccountName")
    assert desk.post("/v1/balances", account="desk")[0] == 200


@pytest.mark.parametrize(
    ("permissions", "roles", "allowed"),
    [
        (("read",), {"isAuditor"}, {"/v1/orders", "/v1/mytrades", "/v1/balances"}),
        (("withdraw",), {"isFundManager"}, {"/v1/balances", "/v1/transfers"}),
        (
            ("trade",),
            {"isTrader"},
            {"/v1/orders", "/v1/mytrades", "/v1/balances", "/v1/transfers", "/v1/order/cancel/all"},
        ),
    ],
)
def test_roles(permissions, roles, allowed):
    desk = Desk(permissions=permissions)
    assert {name for name, has in desk.post("/v1/roles")[1].items() if has} == roles
    for path in ("/v1/orders", "/v1/mytrades", "/v1/balances", "/v1/transfers", "/v1/order/cancel/all"):
        status, body = desk.post(path)
        if path in allowed:
            assert status == 200
        elif path != "/v1/transfers":  # an auditor may see them
            assert (status, body["reason"]) == (403, "MissingRole")
            assert KEY in body["message"]


def test_a_revoked_key():
    desk = Desk()
    desk.exchange.revoke_key(KEY)
    assert reason(desk.post("/v1/balances")) == (400, "InvalidApiKey")


# --- Orders ---


def test_an_orders_life():
    desk = Desk()
    status, placed = desk.order(client_order_id=UUID)
    assert (status, placed) == (
        200,
        {
            "order_id": "1000",
            "id": "1000",
            "symbol": "ethusdt",
            "exchange": "gemini",
            "avg_execution_price": "0.00",
            "side": "buy",
            "type": "exchange limit",
            "timestamp": "1700000000",
            "timestampms": 1700000000000,
            "is_live": True,
            "is_cancelled": False,
            "is_hidden": False,
            "was_forced": False,
            "executed_amount": "0",
            "options": [],
            "price": "45.00",
            "original_amount": "1",
            "remaining_amount": "1",
            "client_order_id": UUID,
        },
    )
    assert desk.post("/v1/order/status", order_id=1000)[1] == placed
    assert desk.post("/v1/order/status", order_id="1000")[1] == placed
    assert desk.post("/v1/order/status", client_order_id=UUID)[1] == placed
    assert desk.post("/v1/orders")[1] == [placed]
    _, balances = desk.post("/v1/balances")
    (money,) = [row for row in balances if row["currency"] == "USDT"]
    # 45, and the taker's fee on top of it.
    assert (money["amount"], money["available"]) == ("100000", "99954.82")
    _, cancelled = desk.post("/v1/order/cancel", order_id=1000)
    expected = placed | {"is_live": False, "is_cancelled": True, "reason": "Requested"}
    assert cancelled == expected
    assert desk.post("/v1/order/cancel", order_id=1000) == (200, expected), "again, to no effect"
    assert desk.post("/v1/orders")[1] == []
    assert desk.post("/v1/orders/history")[1] == [expected | {"trades": []}]
    assert desk.exchange.imbalance() == {}


def test_a_fill_costs_a_fee_on_top_and_is_told_with_the_order():
    desk = Desk()
    _, placed = desk.order(price="70.00", amount="7", client_order_id="mine", options=["immediate-or-cancel"])
    assert (placed["is_live"], placed["is_cancelled"], placed["executed_amount"]) == (False, False, "7")
    assert placed["avg_execution_price"] == str((D(5) * 60 + D(2) * 70) / 7)
    _, told = desk.post("/v1/order/status", order_id=placed["order_id"], include_trades=True)
    assert [
        (row["price"], row["amount"], row["fee_amount"], row["fee_currency"], row["aggressor"], row["type"])
        for row in told["trades"]
    ] == [("60.00", "5", "1.2", "USDT", True, "Buy"), ("70.00", "2", "0.56", "USDT", True, "Buy")]
    _, mine = desk.post("/v1/mytrades", symbol="ETHUSDT")
    assert [row["tid"] for row in mine] == [row["tid"] for row in reversed(told["trades"])]
    assert {row["client_order_id"] for row in mine} == {"mine"}
    assert "trades" not in desk.post("/v1/order/status", order_id=placed["order_id"])[1]
    assert desk.account.free["USDT"] == 100_000 - 440 - D("1.76")
    assert desk.account.free["ETH"] == 17
    _, again = desk.post("/v1/order/cancel", order_id=placed["order_id"])
    assert (again["is_cancelled"], again["is_live"], "reason" in again) == (False, False, False)


@pytest.mark.parametrize(
    ("case", "changes", "filled", "why"),
    [
        (
            "maker or cancel",
            {"price": "60.00", "options": ["maker-or-cancel"]},
            "0",
            "MakerOrCancelWouldTake",
        ),
        (
            "immediate or cancel",
            {"price": "60.00", "amount": "6", "options": ["immediate-or-cancel"]},
            "5",
            "ImmediateOrCancelWouldPost",
        ),
        (
            "fill or kill",
            {"price": "60.00", "amount": "6", "options": ["fill-or-kill"]},
            "0",
            "FillOrKillWouldNotFill",
        ),
    ],
)
def test_an_option_that_cannot_be_kept_cancels_an_accepted_order(case, changes, filled, why):
    desk = Desk()
    status, placed = desk.order(client_order_id=UUID, **changes)
    assert (status, placed["is_live"], placed["is_cancelled"], placed["reason"]) == (200, False, True, why)
    assert (placed["executed_amount"], placed["options"]) == (filled, changes["options"])
    assert desk.post("/v1/order/status", client_order_id=UUID)[1] == placed
    assert [row["order_id"] for row in desk.post("/v1/orders/history")[1]] == [placed["order_id"]]
    assert desk.account.locked["USDT"] == 0


def test_a_post_only_order_that_rests():
    _, placed = Desk().order(options=["maker-or-cancel"])
    assert (placed["is_live"], placed["options"]) == (True, ["maker-or-cancel"])


def test_an_order_that_would_meet_ones_own_is_cancelled_itself():
    desk = Desk()
    _, resting = desk.order(price="55.00")
    _, met = desk.order(side="sell", price="55.00")
    assert (met["is_cancelled"], met["reason"], met["executed_amount"]) == (True, "SelfCrossPrevented", "0")
    assert desk.post("/v1/order/status", order_id=resting["order_id"])[1]["is_live"] is True
    assert desk.order(side="sell", price="55.01")[1]["is_live"] is True


def test_numbers_of_orders_grow_also_of_those_that_never_reached_the_book():
    desk = Desk()
    numbers = []
    for options in ([], ["maker-or-cancel"], ["maker-or-cancel"], [], ["maker-or-cancel"]):
        numbers.append(int(desk.order(price="60.00" if options else "45.00", options=options)[1]["order_id"]))
    assert numbers == sorted(set(numbers))


def test_a_client_id_is_not_unique():
    desk = Desk()
    first, second = (desk.order(client_order_id="same")[1]["order_id"] for _ in range(2))
    assert first != second
    desk.post("/v1/order/cancel", order_id=second)
    assert desk.post("/v1/order/status", client_order_id="same")[1]["order_id"] == first, "the open one"
    desk.post("/v1/order/cancel", order_id=first)
    away = desk.order(client_order_id="same", price="60.00", options=["maker-or-cancel"])[1]["order_id"]
    assert desk.post("/v1/order/status", client_order_id="same")[1]["order_id"] == away, "the newest"


@pytest.mark.parametrize(
    ("case", "changes", "expected", "words"),
    [
        ("a market order", {"type": "market buy"}, (400, "InvalidOrderType"), "'market buy'"),
        ("a bare market order", {"type": "exchange market"}, (400, "InvalidOrderType"), "ETHUSDT"),
        ("no type", {"type": ...}, (400, "InvalidOrderType"), "'None'"),
        ("no side", {"side": "hold"}, (400, "InvalidSide"), "Invalid side for symbol ETHUSDT: 'hold'"),
        ("no market", {"symbol": "abc"}, (400, "InvalidSymbol"), "Received unsupported symbol 'abc'"),
        ("a negative price", {"price": "-1.00"}, (400, "InvalidPrice"), "ETHUSDT: -1.00"),
        ("no price", {"price": ...}, (400, "InvalidPrice"), "None"),
        ("off quote_increment", {"price": "45.001"}, (400, "InvalidPrice"), "45.001"),
        ("off tick_size", {"amount": "1.0000001"}, (400, "InvalidQuantity"), "1.0000001"),
        ("below min_order_size", {"amount": "0.0009"}, (400, "InvalidQuantity"), "0.0009"),
        ("nothing", {"amount": "0"}, (400, "InvalidQuantity"), "0"),
        ("not a number", {"amount": "NaN"}, (400, "InvalidQuantity"), "NaN"),
        (
            "no money",
            {"amount": "10000"},
            (406, "InsufficientFunds"),
            "for price 45.00 USDT and quantity 10000 ETH due to insufficient funds",
        ),
        ("options of text", {"options": "maker-or-cancel"}, (400, "OptionsMustBeArray"), "array"),
        ("an auction", {"options": ["auction-only"]}, (400, "UnsupportedOption"), '"auction-only"'),
        (
            "two options",
            {"options": ["maker-or-cancel", "fill-or-kill"]},
            (400, "ConflictingOptions"),
            "at most one",
        ),
        ("an id that is a number", {"client_order_id": 7}, (400, "ClientOrderIdMustBeString"), "string"),
        ("an id too long", {"client_order_id": "x" * 101}, (400, "ClientOrderIdTooLong"), "100"),
        ("an id of other letters", {"client_order_id": "a b"}, (400, "InvalidJson"), "client_order_id"),
        ("an id of 37", {"client_order_id": "x" * 37}, (400, "InvalidJson"), "36"),
    ],
)
def test_an_order_that_is_refused_changes_nothing(case, changes, expected, words):
    desk = Desk()
    before = desk.exchange.ledger(desk.account)
    answer = desk.order(**changes)
    assert reason(answer) == expected
    assert words in answer[1]["message"]
    assert desk.exchange.ledger(desk.account) == before


@pytest.mark.parametrize("client_id", ["a", UUID, "a:b-c_d.e#F9", "x" * 36])
def test_client_ids_that_are_taken(client_id):
    assert Desk().order(client_order_id=client_id)[1]["client_order_id"] == client_id


def test_orders_that_cannot_be_found():
    desk = Desk()
    assert reason(desk.post("/v1/order/status", order_id=999)) == (404, "OrderNotFound")
    assert reason(desk.post("/v1/order/status", client_order_id="none")) == (404, "OrderNotFound")
    assert reason(desk.post("/v1/order/cancel", order_id=999)) == (404, "OrderNotFound")
    assert reason(desk.post("/v1/order/status")) == (400, "MissingOrderField")
    both = {"order_id": 1, "client_order_id": "x"}
    assert reason(desk.post("/v1/order/status", **both)) == (400, "MissingOrderField")
    desk.order(client_order_id="mine")
    assert reason(desk.post("/v1/order/cancel", client_order_id="mine")) == (400, "MissingOrderField")
    desk.exchange.open_account("account-OTHER", SECRET, name="other")
    desk.key = "account-OTHER"
    assert reason(desk.post("/v1/order/status", client_order_id="mine")) == (404, "OrderNotFound")


def test_cancelling_many():
    desk = Desk()
    ours = [int(desk.order()[1]["order_id"]) for _ in range(2)]
    desk.exchange.open_account("account-SECOND", SECRET, name="desk")
    desk.key = "account-SECOND"
    theirs = int(desk.order()[1]["order_id"])
    done = {"result": "ok", "details": {"cancelledOrders": [theirs], "cancelRejects": []}}
    assert desk.post("/v1/order/cancel/session") == (200, done)
    assert {row["order_id"] for row in desk.post("/v1/orders")[1]} == {str(one) for one in ours}
    _, rest = desk.post("/v1/order/cancel/all")
    assert rest["details"]["cancelledOrders"] == ours
    assert desk.post("/v1/orders")[1] == []


# --- Stops ---


def test_a_stop_limit_waits_for_its_price_and_is_a_limit_order_then():
    desk = Desk()
    _, placed = desk.order(type="exchange stop limit", stop_price="60.00", price="70.00")
    assert (placed["type"], placed["stop_price"], placed["is_live"]) == ("stop-limit", "60.00", True)
    desk.exchange.public_trade("ETH/USDT", D("59.99"), D(1), "buy", NOW)
    assert desk.post("/v1/order/status", order_id=placed["order_id"])[1]["type"] == "stop-limit"
    desk.exchange.public_trade("ETH/USDT", D(60), D(1), "buy", NOW)
    _, told = desk.post("/v1/order/status", order_id=placed["order_id"], include_trades=True)
    assert (told["type"], told["executed_amount"], told["trades"][0]["price"]) == (
        "exchange limit",
        "1",
        "60.00",
    )


@pytest.mark.parametrize(
    ("case", "changes", "expected"),
    [
        ("no price to wait for", {}, "InvalidStopPrice"),
        ("off the increment", {"stop_price": "40.001"}, "InvalidStopPrice"),
        ("a buy above its limit", {"stop_price": "46.00"}, "InvalidStopPriceBuy"),
        ("a sale below its limit", {"side": "sell", "stop_price": "44.00"}, "InvalidStopPriceSell"),
        ("far from its limit", {"stop_price": "20.00"}, "InvalidStopPriceRatio"),
        ("an option", {"stop_price": "44.00", "options": ["fill-or-kill"]}, "UnsupportedOption"),
    ],
)
def test_a_stop_limit_that_is_refused(case, changes, expected):
    desk = Desk()
    assert reason(desk.order(type="exchange stop limit", **changes)) == (400, expected)
    assert not desk.account.orders


# --- Reading ---


def test_past_trades_are_read_forward_from_a_time():
    desk = Desk()
    for number in range(7):
        desk.now = NOW + number
        desk.show()
        desk.order(price="60.00", amount="0.001", options=["immediate-or-cancel"])
    _, newest = desk.post("/v1/mytrades", symbol="ethusdt", limit_trades=3)
    assert [row["timestamp"] - int(NOW) for row in newest] == [6, 5, 4]
    _, oldest = desk.post("/v1/mytrades", symbol="ethusdt", limit_trades=3, timestamp=0)
    assert [row["timestamp"] - int(NOW) for row in oldest] == [2, 1, 0]
    for stamp in (int(NOW) + 2, (int(NOW) + 2) * 1000):  # seconds or milliseconds
        _, some = desk.post("/v1/mytrades", symbol="ethusdt", limit_trades=3, timestamp=stamp)
        assert [row["timestamp"] - int(NOW) for row in some] == [4, 3, 2]
    _, orders = desk.post("/v1/orders/history", limit_orders=2, timestamp=int(NOW) + 5)
    assert [row["timestamp"] for row in orders] == [str(int(NOW) + 6), str(int(NOW) + 5)]
    assert reason(desk.post("/v1/mytrades", timestamp="yesterday")) == (400, "InvalidTimestampInPayload")
    assert len(desk.post("/v1/mytrades")[1]) == 7, "without a symbol, of all"


def test_fees_and_transfers():
    desk = Desk()
    _, fees = desk.post("/v1/notionalvolume")
    assert (fees["api_maker_fee_bps"], fees["api_taker_fee_bps"], fees["date"]) == (20, 40, "2023-11-14")
    _, moved = desk.post("/v1/transfers")
    assert [(row["type"], row["status"], row["currency"], row["amount"]) for row in moved] == [
        ("Deposit", "Advanced", "BTC", "2"),
        ("Deposit", "Advanced", "ETH", "10"),
        ("Deposit", "Advanced", "USDT", "100000"),
    ]
    desk.now += 10
    desk.exchange.withdraw(desk.account, "ETH", D(1), desk.now, fee=D("0.01"), address="there")
    (last,) = desk.post("/v1/transfers", timestamp=int(desk.now * 1000))[1]
    assert (last["type"], last["status"], last["destination"], last["feeAmount"]) == (
        "Withdrawal",
        "Complete",
        "there",
        "0.01",
    )


def test_markets_and_prices():
    desk = Desk()
    assert desk.public("/v1/symbols") == (
        200,
        ["btcusd", "btcusdt", "ethbtc", "ethusd", "ethusdt", "solusd"],
    )
    assert desk.public("/v1/symbols/details/ETHUSDT") == (
        200,
        {
            "symbol": "ETHUSDT",
            "quote_currency": "USDT",
            "tick_size": 0.000001,
            "quote_increment": 0.01,
            "min_order_size": "0.001",
            "status": "open",
            "wrap_enabled": False,
            "product_type": "spot",
            "contract_type": "vanilla",
            "contract_price_currency": "USDT",
            "base_currency": "ETH",
        },
    )
    _, book = desk.public("/v1/book/ethusdt", limit_bids=1, limit_asks=0)
    assert book["bids"] == [{"price": "50.00", "amount": "5", "timestamp": "1700000000"}]
    assert [row["price"] for row in book["asks"]] == ["60.00", "70.00"]
    desk.exchange.public_trade("ETH/USDT", D(60), D("0.5"), "buy", NOW)
    _, ticker = desk.public("/v1/pubticker/ethusdt")
    assert (ticker["bid"], ticker["ask"], ticker["last"]) == ("50.00", "60.00", "60.00")
    assert ticker["volume"] == {"ETH": "0.5", "USDT": "30", "timestamp": 1700000000000}
    (trade,) = desk.public("/v1/trades/ethusdt")[1]
    assert (trade["price"], trade["amount"], trade["type"]) == ("60.00", "0.5", "buy")
    assert desk.public("/v1/trades/ethusdt", timestamp=int(NOW) + 1)[1] == []
    assert reason(desk.public("/v1/book/abc")) == (400, "InvalidSymbol")
    assert reason(desk.public("/v1/nothing")) == (404, "EndpointNotFound")
    assert reason(desk.public("/v1/book")) == (404, "EndpointNotFound")


@pytest.mark.parametrize(
    ("mode", "status"),
    [("halted", "closed"), ("cancel_only", "cancel_only"), ("post_only", "post_only")],
)
def test_a_market_that_is_not_open(mode, status):
    desk = Desk()
    _, placed = desk.order()
    desk.exchange.set_mode(mode, NOW, "ETH/USDT")
    assert desk.public("/v1/symbols/details/ethusdt")[1]["status"] == status
    assert reason(desk.order(options=[])) == (400, "MarketNotOpen")
    assert desk.post("/v1/order/cancel", order_id=placed["order_id"])[1]["is_cancelled"] is True


def test_maintenance():
    desk = Desk()
    desk.exchange.set_mode("maintenance", NOW)
    for answer in (desk.public("/v1/symbols"), desk.order(), desk.post("/v1/balances")):
        assert reason(answer) == (503, "Maintenance")
        assert answer[1]["message"].startswith("The Gemini Exchange is currently undergoing maintenance.")


def test_an_answer_may_show_the_past():
    desk = Desk()
    desk.order(client_order_id="mine")
    desk.now += 10
    desk.post("/v1/order/cancel", order_id=1000)
    headers = desk.headers("/v1/order/status", client_order_id="mine")
    request = desk.request("POST", "/v1/order/status", "", headers)
    past = type(request)(
        **{name: getattr(request, name) for name in ("method", "path", "query", "headers", "now", "clock")},
        view=View(orders_as_of=NOW + 5),
    )
    assert desk.answer(past)[1]["is_live"] is True


def test_every_answer_tells_its_time():
    desk = Desk()
    response = desk.gemini.handle(desk.request("POST", "/v1/heartbeat", "", desk.headers("/v1/heartbeat")))
    assert (response.body, response.headers["Date"]) == ({"result": "ok"}, "Tue, 14 Nov 2023 22:13:20 GMT")


# --- Limits and sessions ---


def test_ten_a_second_and_five_more_are_answered_and_then_a_second_is_waited():
    desk = Desk(limited=True)
    statuses = [desk.post("/v1/balances")[0] for _ in range(17)]
    assert statuses == [200] * 15 + [429] * 2
    answer = desk.gemini.handle(desk.request("POST", "/v1/balances", "", desk.headers("/v1/balances")))
    assert (answer.status, answer.body["reason"], answer.headers["Retry-After"]) == (429, "RateLimit", "1")
    desk.now += 1
    assert [desk.post("/v1/balances")[0] for _ in range(11)] == [200] * 10 + [429]


def test_public_questions_are_counted_by_address_and_the_lists_of_symbols_are_not():
    desk = Desk(limited=True)
    assert [desk.public("/v1/book/ethusdt")[0] for _ in range(9)] == [200] * 7 + [429] * 2
    assert {desk.public("/v1/symbols/details/ethusdt")[0] for _ in range(50)} == {200}
    assert desk.post("/v1/balances")[0] == 200, "private ones have a count of their own"
    desk.now += 60
    assert desk.public("/v1/book/ethusdt")[0] == 200


def test_a_refused_request_uses_up_no_nonce():
    desk = Desk(limited=True)
    for _ in range(15):
        desk.post("/v1/balances")
    assert desk.post("/v1/balances", nonce=10**6)[0] == 429
    desk.now += 1
    assert desk.post("/v1/balances", nonce=10**6)[0] == 200


def test_a_session_that_falls_silent_loses_its_orders():
    desk = Desk(require_heartbeat=(KEY,))
    _, placed = desk.order()
    desk.now += 29
    assert desk.post("/v1/heartbeat") == (200, {"result": "ok"})
    desk.now += 29
    desk.public("/v1/symbols")
    assert desk.account.open, "it was heard 29 s ago"
    desk.now += 2
    desk.public("/v1/symbols")
    assert not desk.account.open
    assert desk.post("/v1/order/status", order_id=placed["order_id"])[1]["reason"] == "Requested"


def test_a_session_that_needs_no_heartbeat_keeps_them():
    desk = Desk()
    desk.order()
    desk.now += 3600
    desk.public("/v1/symbols")
    assert desk.account.open


# --- Order events ---


def kinds(heard):
    return [
        [row["type"] for row in message] if isinstance(message, list) else message["type"]
        for message in heard
    ]


def test_order_events_begin_with_an_acknowledgement_and_what_is_open():
    desk = Desk()
    for _ in range(2):
        desk.order(client_order_id="mine")
    heard, _ = desk.events("heartbeat=true&eventTypeFilter=initial&eventTypeFilter=fill")
    acknowledgement, active = heard
    assert (acknowledgement["type"], acknowledgement["eventTypeFilter"]) == (
        "subscription_ack",
        ["initial", "fill"],
    )
    assert "socket_sequence" not in acknowledgement
    assert [(row["type"], row["order_id"], row["socket_sequence"]) for row in active] == [
        ("initial", "1000", 0),
        ("initial", "2000", 0),
    ]
    assert all("event_id" not in row for row in active)


@pytest.mark.parametrize(
    ("case", "changes", "expected"),
    [
        ("it rests", {}, ["accepted", "booked"]),
        ("it is filled", {"price": "60.00"}, ["accepted", "fill", "closed"]),
        (
            "a part is filled and the rest is booked",
            {"price": "60.00", "amount": "6"},
            ["accepted", "fill", "booked"],
        ),
        (
            "a part is filled and the rest is not wanted",
            {"price": "70.00", "amount": "11", "options": ["immediate-or-cancel"]},
            ["accepted", "fill", "fill", "cancelled", "closed"],
        ),
        (
            "it would take",
            {"price": "60.00", "options": ["maker-or-cancel"]},
            ["accepted", "cancelled", "closed"],
        ),
        ("it waits", {"type": "exchange stop limit", "stop_price": "44.00"}, ["accepted"]),
    ],
)
def test_order_events(case, changes, expected):
    desk = Desk()
    heard, _ = desk.events()
    _, placed = desk.order(client_order_id="mine", **changes)
    rows = [row for message in heard[1:] for row in message]
    assert [row["type"] for row in rows] == expected
    assert [row["socket_sequence"] for row in rows] == list(range(len(rows)))
    assert {(row["order_id"], row["client_order_id"], row["api_session"]) for row in rows} == {
        (placed["order_id"], "mine", KEY)
    }
    last = rows[-1]
    if len(expected) > 1:
        assert (last["executed_amount"], last["remaining_amount"]) == (
            placed["executed_amount"],
            placed["remaining_amount"],
        )
    assert (last["is_live"], last["is_cancelled"]) == (placed["is_live"], placed["is_cancelled"])


def test_a_fill_event_names_its_trade_by_another_number_than_rest_does():
    desk = Desk()
    heard, _ = desk.events()
    _, placed = desk.order(price="60.00")
    (event,) = [message[0] for message in heard[1:] if message[0]["type"] == "fill"]
    assert event["fill"] == {
        "trade_id": event["fill"]["trade_id"],
        "liquidity": "Taker",
        "price": "60.00",
        "amount": "1",
        "fee": "0.24",
        "fee_currency": "USDT",
    }
    (trade,) = desk.post("/v1/order/status", order_id=placed["order_id"], include_trades=True)[1]["trades"]
    assert str(trade["tid"]) != event["fill"]["trade_id"]


def test_filters_of_order_events():
    desk = Desk()
    heard, _ = desk.events("eventTypeFilter=cancelled&symbolFilter=ethusdt")
    desk.order()
    desk.order(symbol="btcusdt")
    desk.post("/v1/order/cancel/all")
    assert kinds(heard[1:]) == [["cancelled"]]
    others, _ = desk.events("apiSessionFilter=account-OTHER")
    desk.order()
    assert others[1:] == []


def test_heartbeats_are_counted_with_the_events():
    desk = Desk()
    heard, session = desk.events()
    desk.order()
    for _ in range(3):
        desk.now += 5
        session.tick(desk.now)
    assert kinds(heard[1:]) == [["accepted"], ["booked"], "heartbeat", "heartbeat", "heartbeat"]
    beats = heard[3:]
    assert [(beat["sequence"], beat["socket_sequence"]) for beat in beats] == [(0, 2), (1, 3), (2, 4)]
    assert heard[0]["subscriptionId"].endswith(beats[0]["trace_id"])
    quiet, session = desk.events("heartbeat=false")
    desk.now += 60
    session.tick(desk.now)
    assert "heartbeat" not in kinds(quiet)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"secret": "guess"}, "InvalidSignature"),
        ({"leave_out": ("x-gemini-apikey",)}, "MissingApikeyHeader"),
        ({"nonce": 0}, "InvalidNonce"),
        ({"request": "/v1/orders"}, "EndpointMismatch"),
    ],
)
def test_an_upgrade_that_is_not_signed_is_refused(changes, expected):
    desk = Desk()
    desk.post("/v1/balances")
    refused, session = desk.events(**changes)
    assert session is None and isinstance(refused, Response)
    assert (refused.status, refused.body["reason"]) == (400, expected)


def test_a_revoked_key_hears_nothing_more():
    desk = Desk()
    heard, _ = desk.events()
    desk.exchange.revoke_key(KEY)
    desk.exchange.create_order(desk.account, "ETH/USDT", "buy", "limit", D(1), D(45), now=NOW)
    assert len(heard) == 1


# --- Market data ---


def market_data(desk, *messages):
    heard = []
    upgrade = desk.request("GET", "/v2/marketdata", "", {})
    session = desk.gemini.open_session(upgrade, lambda message, stream: heard.append(message))
    desk.exchange.subscribe(session.on_event)
    for message in messages:
        session.receive(message if isinstance(message, str) else json.dumps(message), upgrade)
    return heard, session


def level_2(*symbols, kind="subscribe"):
    return {"type": kind, "subscriptions": [{"name": "l2", "symbols": list(symbols)}]}


def test_level_2_begins_with_the_book_and_its_trades_and_goes_on_with_changes():
    desk = Desk()
    desk.exchange.public_trade("ETH/USDT", D(60), D("0.5"), "buy", NOW)
    heard, _ = market_data(desk, level_2("ETHUSDT"))
    (first,) = heard
    assert (first["type"], first["symbol"], first["auction_events"]) == ("l2_updates", "ETHUSDT", [])
    assert first["changes"] == [
        ["buy", "50.0", "5.0"],
        ["buy", "40.0", "5.0"],
        ["sell", "60.0", "5.0"],
        ["sell", "70.0", "5.0"],
    ]
    assert [(trade["price"], trade["quantity"], trade["side"]) for trade in first["trades"]] == [
        ("60.0", "0.5", "buy")
    ]
    desk.show(bids=((51, 3), (40, 5)))
    changed = heard[1]
    assert set(changed) == {"type", "symbol", "changes"}
    assert sorted(changed["changes"]) == [["buy", "50.0", "0.0"], ["buy", "51.0", "3.0"]]
    desk.exchange.public_trade("ETH/USDT", D(60), D("0.25"), "sell", NOW)
    trade = heard[2]
    assert (trade["type"], trade["quantity"], trade["side"]) == ("trade", "0.25", "sell")
    assert trade["event_id"] != trade["tid"]
    desk.show("BTC/USDT", bids=((51, 3),))
    assert len(heard) == 3, "another market"


def test_level_2_ends_when_asked_to_and_begins_anew():
    desk = Desk()
    heard, _ = market_data(
        desk, level_2("ETHUSDT"), level_2("ETHUSDT"), level_2("ETHUSDT", kind="unsubscribe")
    )
    assert len(heard) == 1
    desk.show(bids=((51, 3),))
    assert len(heard) == 1


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("{", "InvalidJson"),
        ([], "InvalidJson"),
        ({"type": "ping"}, "InvalidJson"),
        ({"type": "subscribe", "subscriptions": "l2"}, "InvalidJson"),
        (level_2("ABC"), "NoValidTradingPairs"),
        (
            {"type": "subscribe", "subscriptions": [{"name": "candles_1m", "symbols": ["ETHUSDT"]}]},
            "NoValidTradingPairs",
        ),
    ],
)
def test_a_subscription_that_is_none(message, expected):
    heard, _ = market_data(Desk(), message)
    assert heard == [{"result": "error", "reason": expected}]


def test_market_data_beats():
    desk = Desk()
    heard, session = market_data(desk)
    for second in range(12):
        session.tick(NOW + second)
    assert heard == [
        {"timestamp": 1700000005000, "type": "heartbeat"},
        {"timestamp": 1700000010000, "type": "heartbeat"},
    ]


def test_there_is_no_other_socket():
    desk = Desk()
    assert desk.gemini.open_session(desk.request("GET", "/v1/elsewhere", "", {}), print) is None
