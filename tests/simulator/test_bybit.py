"""Bybit's dialect, request by request and frame by frame, without a socket."""

import json
from decimal import Decimal
from urllib.parse import quote, unquote, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.dialects import bybit as dialect_of_bybit
from simulator.dialects import dialect
from simulator.dialects.bybit import MARKETS, Bybit
from simulator.dialects.bybit_words import (
    PRIVATE_PATH,
    PUBLIC_PATH,
    TRADE_PATH,
    order_name,
    order_number,
    signature,
)
from simulator.dialects.dialect import Request, View
from simulator.exchange import Exchange
from simulator.records import CANCEL_ONLY_MODE, HALT, MAINTENANCE_MODE, POST_ONLY_ONLY_MODE, TRADING

SECRET = "a secret of Bybit's shape"
UUID = "d15708c1-dbb6-465d-b77d-47258319cc90"
NOW = 1_700_000_000.0
DAY = 24 * 3600.0
D = Decimal
LIMIT = {"side": "Buy", "orderType": "Limit", "qty": "0.5", "price": "1990"}


class Desk:
    """A Bybit with a book, an account with money, and a caller who signs."""

    def __init__(self, **settings) -> None:
        # An exchange that has lived before goes on with its ids: they are large and do not begin at 1.
        self.exchange = Exchange("bybit", MARKETS, first_id=1_700_000_000_000)
        self.bybit = Bybit(self.exchange, **settings)
        self.now = NOW
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

    def request(self, method: str, path: str, query: str, body: str, clock=None, **changes) -> Request:
        clock = self.now if clock is None else clock
        stamp = str(changes.pop("stamp", int(clock * 1000)))
        key, window = changes.pop("key", "KEY"), changes.pop("window", "5000")
        signed = changes.pop("signed", body or query)
        sign = signature(changes.pop("secret", SECRET), f"{stamp}{key}{window}{signed}")
        headers = {
            "x-bapi-api-key": key,
            "x-bapi-timestamp": stamp,
            "x-bapi-recv-window": window,
            "x-bapi-sign": changes.pop("sign", sign),
        }
        for name in changes.pop("without", ()):
            del headers[name]
        view = changes.pop("view", View())
        assert not changes
        return Request(
            method=method,
            path=path,
            query=query,
            headers=headers,
            body=body.encode(),
            now=self.now,
            clock=clock,
            view=view,
        )

    def get(self, path: str, changes=None, **fields):
        """Send one signed GET and return the whole answer."""
        fields = {"category": "spot", **fields}
        query = urlencode({name: value for name, value in fields.items() if value is not None})
        return self.bybit.handle(self.request("GET", path, query, "", **(changes or {}))).body

    def post(self, path: str, changes=None, **fields):
        body = json.dumps({"category": "spot", "symbol": "ETHUSDT", **fields})
        return self.bybit.handle(self.request("POST", path, "", body, **(changes or {}))).body

    def asked(self, path: str, **fields):
        answer = self.get(path, **fields)
        assert answer["retCode"] == 0, answer
        return answer["result"]

    def place(self, **fields) -> str:
        answer = self.post("/v5/order/create", **LIMIT | fields)
        assert answer["retCode"] == 0, answer
        return answer["result"]["orderId"]

    def order(self, name: str):
        return self.account.orders[order_number(name)]

    def record(self, name: str) -> dict:
        [record] = self.asked("/v5/order/realtime", orderId=name)["list"]
        return record


class Socket:
    """One WebSocket of a desk's exchange, and what was sent on it with its stream."""

    def __init__(self, desk: Desk, path: str) -> None:
        self.desk = desk
        self.sent: list[tuple[dict, str]] = []
        self.session = desk.bybit.open_session(
            self.upgrade(path), lambda m, stream: self.sent.append((m, stream))
        )
        assert self.session is not None
        self.path = path
        desk.exchange.subscribe(self.session.on_event)

    def upgrade(self, path: str) -> Request:
        return Request(method="GET", path=path, query="", headers={}, now=self.desk.now, clock=self.desk.now)

    def say(self, **message) -> dict:
        """Send a frame and return the answer to it."""
        before = len(self.sent)
        self.session.receive(json.dumps(message), self.upgrade(self.path))
        answer, stream = self.sent.pop(before)
        assert stream == dialect.REPLY
        return answer

    def login(self, secret: str = SECRET, ahead_ms: int = 10_000, key: str = "KEY") -> dict:
        expires = str(int(self.desk.now * 1000) + ahead_ms)
        return self.say(op="auth", args=[key, expires, signature(secret, f"GET/realtime{expires}")])

    def take(self, topic: str) -> list[dict]:
        """What came of a topic since the last look."""
        found = [message for message, _ in self.sent if message.get("topic") == topic]
        self.sent = [entry for entry in self.sent if entry[0].get("topic") != topic]
        return found


@pytest.fixture
def desk() -> Desk:
    return Desk()


# --- Signature, time, limits ---


@pytest.mark.parametrize(
    "case, changes, code",
    [
        ("unknown key", {"key": "NOBODY"}, 10003),
        ("another secret", {"secret": "guess"}, 10004),
        ("signed something else", {"signed": "category=linear"}, 10004),
        ("signed in capitals", {"sign": "F" * 64}, 10004),
        ("not signed", {"without": ("x-bapi-sign",)}, 10001),
        ("no key", {"without": ("x-bapi-api-key",)}, 10001),
        ("no time", {"without": ("x-bapi-timestamp",)}, 10001),
        ("no time that is one", {"stamp": "yesterday"}, 10001),
        ("five seconds old", {"stamp": int(NOW * 1000) - 5000}, None),
        ("older than its window", {"stamp": int(NOW * 1000) - 5001}, 10002),
        ("older than a window of its own", {"stamp": int(NOW * 1000) - 1001, "window": "1000"}, 10002),
        ("a little ahead", {"stamp": int(NOW * 1000) + 999}, None),
        ("a second ahead", {"stamp": int(NOW * 1000) + 1000}, 10002),
        ("without a window of its own", {"window": "", "stamp": int(NOW * 1000) - 4000}, None),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_who_may_ask(desk, method, case, changes, code):
    if method == "GET":
        answer = desk.get("/v5/order/realtime", changes)
    else:
        answer = desk.post("/v5/order/create", changes, **LIMIT)
    assert answer["retCode"] == (code or 0)
    assert len(desk.account.orders) == (1 if method == "POST" and code is None else 0)


def test_the_signature_covers_the_query_as_it_is_written(desk):
    query = "category=spot&cursor=1%3A2"
    assert desk.bybit.handle(desk.request("GET", "/v5/order/realtime", query, "")).body["retCode"] == 0
    written = desk.request("GET", "/v5/order/realtime", query, "", signed="category=spot&cursor=1:2")
    assert desk.bybit.handle(written).body["retCode"] == 10004


def test_a_clock_that_is_wrong_refuses_what_is_right(desk):
    late = desk.request(
        "POST", "/v5/order/create", "", json.dumps(LIMIT), stamp=int(NOW * 1000), clock=NOW + 9
    )
    assert desk.bybit.handle(late).body["retCode"] == 10002


def test_permissions_and_revoked_keys(desk):
    desk.exchange.open_account("READER", SECRET, name="desk", permissions=frozenset(("read",)))
    reader = {"key": "READER"}
    assert desk.post("/v5/order/create", reader, **LIMIT)["retCode"] == 10005
    assert desk.get("/v5/order/realtime", reader)["retCode"] == 0
    assert desk.get("/v5/user/query-api", reader)["result"]["readOnly"] == 1
    desk.exchange.revoke_key("READER")
    assert desk.get("/v5/order/realtime", reader)["retCode"] == 10003


def test_twenty_orders_a_second_for_an_account_and_path(desk):
    answers = [desk.bybit.handle(desk.request("POST", "/v5/order/create", "", "{}")) for _ in range(21)]
    assert [answer.body["retCode"] for answer in answers] == [10001] * 20 + [10006]
    assert [answer.headers["X-Bapi-Limit-Status"] for answer in answers][:3] == ["19", "18", "17"]
    full = answers[-1].headers
    assert (full["X-Bapi-Limit"], full["X-Bapi-Limit-Status"]) == ("20", "0")
    assert int(full["X-Bapi-Limit-Reset-Timestamp"]) == int((NOW + 1) * 1000)
    # Another path has a limit of its own, a revoked key none; a second later all is well.
    assert desk.post("/v5/order/cancel", orderId=order_name(1))["retCode"] == 170213
    desk.now += 1
    assert desk.post("/v5/order/create", **LIMIT)["retCode"] == 0


def test_an_address_has_six_hundred_in_five_seconds(desk):
    request = desk.request("GET", "/v5/market/time", "", "")
    answers = [desk.bybit.handle(request) for _ in range(601)]
    assert [answer.status for answer in answers] == [200] * 600 + [403]
    assert answers[-1].body == "403, access too frequent"
    desk.now += 599
    assert desk.bybit.handle(desk.request("GET", "/v5/market/time", "", "")).status == 403
    desk.now += 1
    assert desk.bybit.handle(desk.request("GET", "/v5/market/time", "", "")).status == 200


# --- Orders: filters, types, ids ---


@pytest.mark.parametrize(
    "case, fields, code",
    [
        ("another category", {"category": "linear"}, 10001),
        ("no such pair", {"symbol": "NOSUCH"}, 170121),
        ("neither side", {"side": "buy"}, 170117),
        ("no type", {"orderType": "Stop"}, 170116),
        ("a time in force of its own", {"timeInForce": "GTX"}, 170115),
        ("no quantity", {"qty": ""}, 170105),
        ("no number", {"qty": "much"}, 170130),
        ("nothing", {"qty": "0"}, 170130),
        ("less than nothing", {"qty": "-1"}, 170130),
        ("no end", {"qty": "Infinity"}, 170130),
        ("no price", {"price": ""}, 170105),
        ("a price of nothing", {"price": "0"}, 170130),
        ("price off the tick", {"price": "1990.005"}, 170134),
        ("quantity off the step", {"qty": "0.000015"}, 170137),
        ("too much", {"qty": "9000"}, 170135),
        ("worth too little", {"qty": "0.0025"}, 170140),
        ("just worth it", {"qty": "0.00252"}, 0),
        ("more than there is", {"qty": "6"}, 170131),
        ("post only that would take", {"price": "2000.10", "timeInForce": "PostOnly"}, 170218),
        ("post only that would not", {"timeInForce": "PostOnly"}, 0),
        ("a link id too long", {"orderLinkId": "x" * 37}, 170130),
        ("a link id with a dot", {"orderLinkId": "a.b"}, 170130),
        ("a link id that is no text", {"orderLinkId": ["a"]}, 170130),
        ("a link id as long as may be", {"orderLinkId": "a_-" * 12}, 0),
        ("margin", {"isLeverage": 1}, 170227),
        ("a bracket", {"takeProfit": "2100"}, 170227),
        ("an unknown unit", {"orderType": "Market", "marketUnit": "lots"}, 170130),
        ("money off its step", {"orderType": "Market", "qty": "20.00000001"}, 170148),
        ("too little money", {"orderType": "Market", "qty": "4"}, 170140),
    ],
)
def test_what_an_order_may_be(desk, case, fields, code):
    answer = desk.post("/v5/order/create", **LIMIT | fields)
    assert answer["retCode"] == code, answer
    assert len(desk.account.orders) == (0 if code else 1)
    if code:
        assert answer["retMsg"] and answer["result"] == {}


@pytest.mark.parametrize(
    "case, fields, status, filled, words",
    [
        ("waits", {}, "New", "0", ("UNKNOWN", "EC_NoError")),
        ("takes all", {"price": "2000.10", "qty": "0.5"}, "Filled", "0.5", ("UNKNOWN", "EC_NoError")),
        (
            "takes a part, waits",
            {"price": "2000.10", "qty": "1.5"},
            "PartiallyFilled",
            "1",
            ("UNKNOWN", "EC_NoError"),
        ),
        (
            "takes a part, drops the rest",
            {"price": "2000.10", "qty": "1.5", "timeInForce": "IOC"},
            "PartiallyFilledCanceled",
            "1",
            ("UNKNOWN", "EC_NoImmediateQtyToFill"),
        ),
        (
            "finds nothing at once",
            {"timeInForce": "IOC"},
            "Cancelled",
            "0",
            ("UNKNOWN", "EC_NoImmediateQtyToFill"),
        ),
        (
            "all or nothing",
            {"price": "2000.10", "qty": "1.5", "timeInForce": "FOK"},
            "Cancelled",
            "0",
            ("UNKNOWN", "EC_NoImmediateQtyToFill"),
        ),
        (
            "at market, base",
            {"orderType": "Market", "marketUnit": "baseCoin"},
            "Filled",
            "0.5",
            ("UNKNOWN", "EC_NoError"),
        ),
        (
            "at market, money",
            {"orderType": "Market", "qty": "1000.05"},
            "Filled",
            "0.5",
            ("UNKNOWN", "EC_NoError"),
        ),
        ("a sale, base", {"side": "Sell", "orderType": "Market"}, "Filled", "0.5", ("UNKNOWN", "EC_NoError")),
        (
            "a sale, money",
            {"side": "Sell", "orderType": "Market", "qty": "1000", "marketUnit": "quoteCoin"},
            "Filled",
            "0.5",
            ("UNKNOWN", "EC_NoError"),
        ),
    ],
)
def test_what_becomes_of_an_order(desk, case, fields, status, filled, words):
    record = desk.record(desk.place(**fields, orderLinkId=UUID))
    assert (record["orderStatus"], record["cumExecQty"], record["orderLinkId"]) == (status, filled, UUID)
    assert (record["cancelType"], record["rejectReason"]) == words
    truth = next(iter(desk.account.orders.values()))
    assert D(record["cumExecValue"]) == truth.filled_quote
    assert D(record["leavesQty"]) == truth.remaining_quantity
    assert sum((D(fee) for fee in record["cumFeeDetail"].values()), D(0)) == D(record["cumExecFee"])
    assert desk.exchange.imbalance() == {}


def test_a_link_id_is_taken_for_360_days(desk):
    desk.place(orderLinkId=UUID)
    desk.post("/v5/order/cancel", orderLinkId=UUID)
    assert desk.post("/v5/order/create", **LIMIT, orderLinkId=UUID)["retCode"] == 170141
    desk.now += 359 * DAY
    assert desk.post("/v5/order/create", **LIMIT, orderLinkId=UUID)["retCode"] == 170141
    desk.now += 2 * DAY
    assert desk.post("/v5/order/create", **LIMIT, orderLinkId=UUID)["retCode"] == 0


def test_cancelling(desk):
    first, second, third = desk.place(), desk.place(orderLinkId=UUID), desk.place()
    assert desk.post("/v5/order/cancel", orderId=first)["result"] == {"orderId": first, "orderLinkId": ""}
    assert desk.post("/v5/order/cancel", orderLinkId=UUID)["result"]["orderId"] == second
    record = desk.record(first)
    assert (record["orderStatus"], record["cancelType"]) == ("Cancelled", "CancelByUser")
    for fields in ({"orderId": first}, {"orderLinkId": UUID}, {"orderId": "1"}, {"orderLinkId": "none"}):
        assert desk.post("/v5/order/cancel", **fields)["retCode"] == 170213
    assert desk.post("/v5/order/cancel", symbol="BTCUSDT", orderId=third)["retCode"] == 170213
    assert desk.post("/v5/order/cancel")["retCode"] == 10001
    assert desk.order(third).open
    answer = desk.post("/v5/order/cancel-all")["result"]
    assert answer == {"list": [{"orderId": third, "orderLinkId": ""}], "success": "1"}
    assert not desk.account.open


def test_nobody_cancels_or_sees_what_is_somebody_elses(desk):
    name = desk.place(orderLinkId=UUID)
    desk.exchange.open_account("OTHER", SECRET, name="other")
    other = {"key": "OTHER"}
    assert desk.post("/v5/order/cancel", other, orderId=name)["retCode"] == 170213
    assert desk.get("/v5/order/realtime", other, orderLinkId=UUID)["result"]["list"] == []
    assert desk.order(name).open


@pytest.mark.parametrize(
    "mode, create, post_only, cancel, status",
    [
        (TRADING, 0, 0, 0, "Trading"),
        (HALT, 170151, 170151, 0, "Closed"),
        (CANCEL_ONLY_MODE, 170151, 170151, 0, "Closed"),
        (POST_ONLY_ONLY_MODE, 170217, 0, 0, "Trading"),
    ],
)
def test_a_market_that_is_halted_or_restricted(desk, mode, create, post_only, cancel, status):
    name = desk.place()
    desk.exchange.set_mode(mode, desk.now, "ETH/USDT")
    assert desk.post("/v5/order/create", **LIMIT)["retCode"] == create
    assert desk.post("/v5/order/create", **LIMIT, timeInForce="PostOnly")["retCode"] == post_only
    assert desk.post("/v5/order/cancel", orderId=name)["retCode"] == cancel
    [row] = desk.asked("/v5/market/instruments-info", symbol="ETHUSDT")["list"]
    assert row["status"] == status


def test_maintenance_answers_nothing_but_the_time(desk):
    desk.exchange.set_mode(MAINTENANCE_MODE, desk.now)
    assert desk.get("/v5/market/time")["retCode"] == 0
    for path in ("/v5/order/realtime", "/v5/market/orderbook", "/v5/account/wallet-balance"):
        assert desk.get(path)["retCode"] == 10016
    assert desk.post("/v5/order/create", **LIMIT)["retCode"] == 10016


def test_an_order_that_meets_an_own_one_ends_itself_or_that_one_as_asked(desk):
    waiting = desk.place(price="2000.05", qty="0.5")
    newer = desk.place(side="Sell", price="2000.00", qty="0.5", smpType="CancelTaker")
    record = desk.record(newer)
    assert (record["orderStatus"], record["smpType"]) == ("Cancelled", "CancelTaker")
    taking = desk.place(side="Sell", price="2000.00", qty="0.5", smpType="CancelMaker")
    record = desk.record(waiting)
    assert (record["orderStatus"], record["cancelType"]) == ("Cancelled", "CancelBySmp")
    assert desk.record(taking)["orderStatus"] == "Filled"


# --- Questions ---


def test_open_and_closed_orders_are_told_apart(desk):
    live, gone = desk.place(), desk.place(orderLinkId=UUID)
    desk.post("/v5/order/cancel", orderId=gone)

    def names(path, **fields):
        return [row["orderId"] for row in desk.asked(path, **fields)["list"]]

    assert names("/v5/order/realtime") == [live]
    assert names("/v5/order/realtime", openOnly="1") == [gone]
    assert names("/v5/order/realtime", orderId=gone) == [gone]
    assert names("/v5/order/realtime", orderLinkId=UUID) == [gone]
    assert names("/v5/order/realtime", symbol="BTCUSDT") == []
    assert names("/v5/order/history") == [gone]
    assert names("/v5/order/history", orderStatus="Filled") == []
    assert names("/v5/order/history", orderLinkId=UUID) == [gone]
    assert names("/v5/order/history", orderId=live) == []
    # The id counts before the link id.
    assert names("/v5/order/realtime", orderId=live, orderLinkId=UUID) == [live]


def test_the_last_five_hundred_and_the_last_seven_days(desk, monkeypatch):
    old = desk.place(orderLinkId="old")
    desk.post("/v5/order/cancel", orderId=old)
    monkeypatch.setattr(dialect_of_bybit, "CLOSED_KEPT", 2)
    for _ in range(2):
        desk.post("/v5/order/cancel", orderId=desk.place())
    assert desk.asked("/v5/order/realtime", orderId=old)["list"] == []
    assert len(desk.asked("/v5/order/history")["list"]) == 3
    desk.now += 8 * DAY
    assert desk.asked("/v5/order/history")["list"] == []
    assert len(desk.asked("/v5/order/history", orderLinkId="old")["list"]) == 1
    start = int(NOW * 1000)
    assert len(desk.asked("/v5/order/history", startTime=start)["list"]) == 3
    assert desk.get("/v5/order/history", startTime=start, endTime=start + 8 * 86_400_000)["retCode"] == 10001
    assert desk.get("/v5/order/history", startTime=start, endTime=start - 1)["retCode"] == 10001


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 50])
def test_pages_lose_and_double_nothing_while_rows_are_added(desk, limit):
    names = []
    for _ in range(5):
        names.append(desk.place(qty="0.01"))
        desk.now += 1
    seen, cursor = [], None
    while True:
        answer = desk.asked("/v5/order/realtime", limit=limit, cursor=cursor)
        seen += [row["orderId"] for row in answer["list"]]
        if not answer["list"]:
            break
        # It is to be sent as it stands; urlencode would write it a second time.
        cursor = unquote(answer["nextPageCursor"])
        assert quote(cursor) == answer["nextPageCursor"] != cursor
        desk.place(qty="0.01")  # newer ones come in front
    assert answer["nextPageCursor"] == ""
    assert seen == names[::-1]


@pytest.mark.parametrize("fields", [{"cursor": "what"}, {"limit": "0"}, {"limit": "51"}, {"limit": "many"}])
def test_a_page_that_cannot_be(desk, fields):
    assert desk.get("/v5/order/realtime", **fields)["retCode"] == 10001


def test_executions_by_order_link_id_symbol_and_time(desk):
    mine = desk.place(price="2000.50", qty="1.5", orderLinkId=UUID)
    desk.now += 8 * DAY
    other = desk.place(orderType="Market", marketUnit="baseCoin", qty="0.1")

    def rows(**fields):
        return [
            (row["orderId"], row["execQty"]) for row in desk.asked("/v5/execution/list", **fields)["list"]
        ]

    start = int(NOW * 1000)
    assert rows() == [(other, "0.1")]
    assert rows(orderId=mine) == []  # older than the seven days that are asked for without times
    assert rows(orderId=mine, startTime=start) == [(mine, "0.5"), (mine, "1")]
    assert rows(orderLinkId=UUID, startTime=start) == [(mine, "0.5"), (mine, "1")]
    assert rows(symbol="BTCUSDT") == [] and rows(execType="Funding") == []
    [first] = desk.asked("/v5/execution/list", orderId=mine, startTime=start, limit=1)["list"]
    truth = desk.account.fills[1]
    assert (first["execPrice"], first["execFee"], first["feeCurrency"], first["isMaker"]) == (
        "2000.5", "0.0005", "ETH", False,
    )  # fmt: skip
    assert (first["execTime"], D(first["execValue"]), first["leavesQty"]) == (
        str(int(truth.time * 1000)),
        truth.quote_quantity,
        "0",
    )


def test_the_past_is_shown_where_a_fault_wants_it(desk):
    before = desk.now
    desk.now += 10
    name = desk.place(price="2000.10", qty="0.5", orderLinkId=UUID)
    as_it_was = {"view": View(orders_as_of=before)}
    assert desk.get("/v5/order/realtime", as_it_was, orderLinkId=UUID)["result"]["list"] == []
    assert desk.get("/v5/execution/list", as_it_was, orderId=name)["result"]["list"] == []
    hidden = {"view": View(hide_closed=True)}
    for path in ("/v5/order/realtime", "/v5/order/history"):
        assert desk.get(path, hidden, orderLinkId=UUID)["result"]["list"] == []
    assert len(desk.get("/v5/execution/list", hidden, orderId=name)["result"]["list"]) == 1
    wallet = {"view": View(balances_as_of=before)}
    [account] = desk.get("/v5/account/wallet-balance", wallet, accountType="UNIFIED")["result"]["list"]
    assert {row["coin"]: row["walletBalance"] for row in account["coin"]} == {"USDT": "10000", "ETH": "3"}


def test_a_wallet_tells_what_is_locked_and_leaves_the_rest_to_be_reckoned(desk):
    desk.place(price="1000", qty="1")
    assert desk.get("/v5/account/wallet-balance", accountType="SPOT")["retCode"] == 10001
    [account] = desk.asked("/v5/account/wallet-balance", accountType="UNIFIED", coin="USDT")["list"]
    [coin] = account["coin"]
    assert (coin["walletBalance"], coin["locked"], coin["availableToWithdraw"]) == ("10000", "1000", "")


def test_transfers_by_coin_time_and_page(desk):
    desk.exchange.withdraw(
        desk.account, "ETH", D("0.5"), desk.now, fee=D("0.01"), address="there", txid="t-1"
    )
    [row] = desk.asked("/v5/asset/withdraw/query-record")["rows"]
    assert (row["amount"], row["withdrawFee"], row["toAddress"], row["txID"], row["status"]) == (
        "0.5", "0.01", "there", "t-1", "success",
    )  # fmt: skip
    assert [row["coin"] for row in desk.asked("/v5/asset/deposit/query-record")["rows"]] == ["ETH", "USDT"]
    assert [row["coin"] for row in desk.asked("/v5/asset/deposit/query-record", coin="ETH")["rows"]] == [
        "ETH"
    ]
    page = desk.asked("/v5/asset/deposit/query-record", limit=1)
    cursor = unquote(page["nextPageCursor"])
    desk.now += 1
    assert [row["coin"] for row in desk.asked("/v5/asset/deposit/query-record", cursor=cursor)["rows"]] == [
        "USDT"
    ]
    desk.now += 31 * DAY
    assert desk.asked("/v5/asset/deposit/query-record")["rows"] == []


@pytest.mark.parametrize(
    "method, path, kind",
    [
        ("POST", "/v5/order/create", dialect.CREATE),
        ("POST", "/v5/order/cancel", dialect.CANCEL),
        ("POST", "/v5/order/cancel-all", dialect.CANCEL_ALL),
        ("GET", "/v5/order/realtime?category=spot&orderLinkId=a", dialect.FETCH),
        ("GET", "/v5/order/realtime?category=spot&orderId=1", dialect.FETCH),
        ("GET", "/v5/order/realtime?category=spot", dialect.OPEN_ORDERS),
        ("GET", "/v5/order/history", dialect.CLOSED_ORDERS),
        ("GET", "/v5/execution/list", dialect.MY_TRADES),
        ("GET", "/v5/account/wallet-balance", dialect.BALANCE),
        ("GET", "/v5/account/fee-rate", dialect.FEES),
        ("GET", "/v5/asset/deposit/query-record", dialect.TRANSFERS),
        ("GET", "/v5/market/time", dialect.TIME),
        ("GET", "/v5/market/orderbook", dialect.MARKET_DATA),
        ("GET", "/v5/market/instruments-info", dialect.MARKETS),
        ("GET", "/v5/user/query-api", dialect.OTHER),
    ],
)
def test_the_fault_rules_name_for_a_request(desk, method, path, kind):
    where, _, query = path.partition("?")
    assert desk.bybit.kind(desk.request(method, where, query, "")) == kind


@pytest.mark.parametrize(
    "path", ["/v5/order/amend-batch", "/v5/order/create-batch", "/v5/position/list", "/", "/v5"]
)
def test_what_is_not_served_says_so(desk, path):
    answer = desk.bybit.handle(desk.request("POST", path, "", "{}"))
    assert (answer.status, answer.body["retCode"]) == (404, 10017)


nonsense = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12) | st.sampled_from(("Buy", "NaN")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)  # fmt: skip
FIELDS = (
    "category", "symbol", "side", "orderType", "qty", "price", "timeInForce", "orderLinkId", "marketUnit",
    "orderId", "limit", "cursor", "startTime", "endTime", "orderFilter", "isLeverage", "coin",
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(changes=st.dictionaries(st.sampled_from(FIELDS), nonsense, max_size=4), body=st.none() | nonsense)
def test_nonsense_is_answered_and_changes_nothing_it_should_not(changes, body):
    desk = Desk(limited=False)
    for path in ("/v5/order/create", "/v5/order/cancel", "/v5/order/cancel-all"):
        text = json.dumps(LIMIT | changes if body is None else body)
        answer = desk.bybit.handle(desk.request("POST", path, "", text)).body
        assert isinstance(answer["retCode"], int) and isinstance(answer["retMsg"], str)
    for path in ("/v5/order/realtime", "/v5/order/history", "/v5/execution/list", "/v5/market/orderbook"):
        query = urlencode({"category": "spot", **{name: str(value) for name, value in changes.items()}})
        assert isinstance(desk.bybit.handle(desk.request("GET", path, query, "")).body["retCode"], int)
    for path in (PUBLIC_PATH, PRIVATE_PATH, TRADE_PATH):
        socket = Socket(desk, path)
        socket.session.receive(json.dumps(body), socket.upgrade(path))
        socket.session.receive(json.dumps({"op": "subscribe", "args": body, **changes}), socket.upgrade(path))
        socket.session.receive("not json", socket.upgrade(path))
    assert desk.exchange.imbalance() == {}


# --- Streams ---


def applied(book, message):
    """A book as a client keeps it: the whole of bybit's rule."""
    data = message["data"]
    if message["type"] == "snapshot":
        return {side: {D(p): D(q) for p, q in data[side]} for side in "ba"}
    for side in "ba":
        for price, size in data[side]:
            if D(size):
                book[side][D(price)] = D(size)
            else:
                del book[side][D(price)]  # what is removed was there
    return book


def test_a_book_is_kept_by_its_snapshot_and_deltas_and_the_update_ids_have_no_gap(desk):
    socket = Socket(desk, PUBLIC_PATH)
    bids = [(D(2000) - step, D(1)) for step in range(60)]
    desk.exchange.set_book("ETH/USDT", bids, [(D(2001) + step, D(1)) for step in range(60)], desk.now)
    answer = socket.say(op="subscribe", req_id="7", args=["orderbook.50.ETHUSDT"])
    assert (answer["success"], answer["req_id"], answer["op"]) == (True, "7", "subscribe")
    [snapshot] = socket.take("orderbook.50.ETHUSDT")
    book, last = applied(None, snapshot), snapshot["data"]["u"]
    assert len(book["b"]) == 50
    moves = [
        ([(D(2000), D(0))], []),  # one from below comes into the depth
        ([(D("2000.5"), D(3))], []),  # one at the end is pushed out
        ([(D(1999), D("0.5"))], [(D(2001), D(0)), (D(2002), D(7))]),
        ([(D(1930), D(9))], []),  # beyond the depth: nothing to tell
    ]
    for bids, asks in moves:
        desk.exchange.update_book("ETH/USDT", bids, asks, desk.now)
        for message in socket.take("orderbook.50.ETHUSDT"):
            assert message["type"] == "delta" and message["data"]["u"] == last + 1
            last = message["data"]["u"]
            book = applied(book, message)
        shown = desk.exchange.depth("ETH/USDT", 50, now=desk.now)
        assert book == {"b": dict(shown.bids), "a": dict(shown.asks)}
    assert last == snapshot["data"]["u"] + 3
    socket.say(op="unsubscribe", req_id="8", args=["orderbook.50.ETHUSDT"])
    desk.exchange.update_book("ETH/USDT", [(D(1999), D(8))], [], desk.now)
    assert socket.take("orderbook.50.ETHUSDT") == []


def test_depth_one_sends_snapshots_only(desk):
    socket = Socket(desk, PUBLIC_PATH)
    socket.say(op="subscribe", args=["orderbook.1.ETHUSDT"])
    desk.exchange.update_book("ETH/USDT", [(D("2000.05"), D(1))], [], desk.now)
    desk.exchange.update_book("ETH/USDT", [(D(1999), D(1))], [], desk.now)  # not the best
    messages = socket.take("orderbook.1.ETHUSDT")
    assert [(m["type"], m["data"]["b"]) for m in messages] == [
        ("snapshot", [["2000", "5"]]),
        ("snapshot", [["2000.05", "1"]]),
    ]


def test_public_trades_and_the_ticker(desk):
    socket = Socket(desk, PUBLIC_PATH)
    desk.exchange.public_trade("ETH/USDT", D("2000.1"), D("0.2"), "buy", desk.now)
    socket.say(op="subscribe", args=["publicTrade.ETHUSDT", "tickers.ETHUSDT"])
    assert socket.take("publicTrade.ETHUSDT") == []  # what was before is not told
    assert len(socket.take("tickers.ETHUSDT")) == 1
    desk.place(side="Sell", orderType="Market", qty="0.3")
    [message] = socket.take("publicTrade.ETHUSDT")
    [row] = message["data"]
    assert (row["S"], row["v"], row["p"], row["s"]) == ("Sell", "0.3", "2000", "ETHUSDT")
    assert socket.take("tickers.ETHUSDT")[0]["data"]["lastPrice"] == "2000"


@pytest.mark.parametrize(
    "topics, words",
    [
        ([], "error:args is empty"),
        (["orderbook.50.ETHUSDT"] * 11, "error:args size > 10"),
        (["orderbook.25.ETHUSDT"], "Invalid topic: orderbook.25.ETHUSDT"),
        (["orderbook.50.NOSUCH"], "Invalid topic: orderbook.50.NOSUCH"),
        (["publicTrade.ETHUSDT", "gossip.ETHUSDT"], "Invalid topic: gossip.ETHUSDT"),
    ],
)
def test_a_subscription_that_is_none(desk, topics, words):
    socket = Socket(desk, PUBLIC_PATH)
    answer = socket.say(op="subscribe", req_id="1", args=topics)
    assert (answer["success"], answer["ret_msg"], answer["req_id"]) == (False, words, "1")
    desk.exchange.public_trade("ETH/USDT", D("2000.1"), D("0.2"), "buy", desk.now)
    assert socket.sent == []


@pytest.mark.parametrize(
    "case, login, words",
    [
        ("another secret", {"secret": "guess"}, "Invalid sign"),
        ("unknown key", {"key": "NOBODY"}, "Invalid apikey"),
        ("too late", {"ahead_ms": 0}, "Request expired"),
    ],
)
@pytest.mark.parametrize("path", [PRIVATE_PATH, TRADE_PATH])
def test_a_login_that_is_refused(desk, path, case, login, words):
    socket = Socket(desk, path)
    answer = socket.login(**login)
    assert (answer["success"], answer["ret_msg"], answer["op"]) == (False, words, "auth")
    if path == PRIVATE_PATH:
        assert socket.say(op="subscribe", args=["order"])["ret_msg"] == "Request not authorized"
    else:
        now = {"X-BAPI-TIMESTAMP": str(int(desk.now * 1000))}
        placed = socket.say(op="order.create", reqId="1", args=[LIMIT], header=now)
        assert placed["retCode"] == 10003 and not desk.account.orders


def private(desk, *topics) -> Socket:
    socket = Socket(desk, PRIVATE_PATH)
    assert socket.login()["success"] is True
    assert socket.say(op="subscribe", req_id="private", args=list(topics))["success"] is True
    return socket


def test_each_change_of_an_order_is_told_as_it_was_then(desk):
    socket = private(desk, "order", "execution")
    name = desk.place(price="2000.50", qty="2.5", timeInForce="IOC", orderLinkId=UUID)
    rows = [row for message in socket.take("order") for row in message["data"]]
    assert [(row["orderStatus"], row["cumExecQty"], row["leavesQty"]) for row in rows] == [
        ("New", "0", "2.5"),
        ("PartiallyFilled", "1", "1.5"),
        ("Filled", "2.5", "0"),
    ]
    assert [row["cumExecFee"] for row in rows] == ["0", "0.001", "0.0025"]
    assert {(row["category"], row["orderId"], row["orderLinkId"]) for row in rows} == {("spot", name, UUID)}
    fills = [row for message in socket.take("execution") for row in message["data"]]
    assert [(row["execQty"], row["execPrice"], row["leavesQty"], row["feeCoin"]) for row in fills] == [
        ("1", "2000.1", "1.5", "ETH"),
        ("1.5", "2000.5", "0", "ETH"),
    ]
    asked = desk.asked("/v5/execution/list", orderId=name)["list"]
    assert [row["execId"] for row in fills] == [row["execId"] for row in reversed(asked)]


def test_streams_tell_of_what_was_subscribed_and_of_the_own_account_only(desk):
    orders, wallet = private(desk, "order"), private(desk, "wallet")
    other = desk.exchange.open_account("OTHER", SECRET, name="other")
    desk.exchange.deposit(other, "USDT", D(1000), desk.now)
    assert orders.sent == [] == wallet.sent
    desk.place(price="1000", qty="1")
    assert {message["topic"] for message, _ in orders.sent} == {"order"}
    [message] = wallet.take("wallet")
    [account] = message["data"]
    [coin] = account["coin"]
    assert (account["accountType"], coin["coin"], coin["walletBalance"], coin["locked"]) == (
        "UNIFIED", "USDT", "10000", "1000",
    )  # fmt: skip
    assert {stream for _, stream in orders.sent} == {dialect.ORDERS}
    desk.exchange.revoke_key("KEY")
    orders.sent.clear()
    desk.exchange.cancel_all(desk.account, now=desk.now)
    assert orders.sent == []


def test_orders_by_socket_are_counted_with_those_by_rest(desk):
    socket = Socket(desk, TRADE_PATH)
    assert socket.login() == {"retCode": 0, "retMsg": "OK", "op": "auth", "connId": socket.session.connection}

    def say(op, fields, **changes):
        header = {"X-BAPI-TIMESTAMP": str(int(desk.now * 1000)), "X-BAPI-RECV-WINDOW": "5000"}
        return socket.say(op=op, reqId="9", args=[fields], header=header | changes)

    order = {"category": "spot", "symbol": "ETHUSDT", **LIMIT, "orderLinkId": UUID}
    placed = say("order.create", order)
    assert (placed["retCode"], placed["reqId"], placed["op"]) == (0, "9", "order.create")
    assert placed["data"]["orderLinkId"] == UUID and placed["header"]["X-Bapi-Limit-Status"] == "19"
    assert say("order.create", order)["retCode"] == 170141
    assert say("order.create", order, **{"X-BAPI-TIMESTAMP": "1"})["retCode"] == 10002
    cancel = {"category": "spot", "symbol": "ETHUSDT", "orderLinkId": UUID}
    assert say("order.cancel", cancel)["data"] == placed["data"]
    assert say("order.cancel", cancel)["retCode"] == 170213
    assert say("order.wish", cancel)["retCode"] == 10404
    for _ in range(18):
        desk.post("/v5/order/create", **LIMIT)
    assert say("order.create", order | {"orderLinkId": "later"})["retCode"] == 10006
    assert socket.session.kind(json.dumps({"op": "order.create"})) == dialect.CREATE
    assert socket.session.kind(json.dumps({"op": "order.cancel"})) == dialect.CANCEL


def test_pings_are_answered_as_each_path_does(desk):
    public, own = Socket(desk, PUBLIC_PATH), Socket(desk, PRIVATE_PATH)
    answer = public.say(op="ping", req_id="5")
    assert (answer["success"], answer["ret_msg"], answer["op"], answer["req_id"]) == (
        True,
        "pong",
        "ping",
        "5",
    )
    answer = own.say(op="ping", req_id="5")
    assert (answer["op"], answer["args"], answer["req_id"]) == ("pong", [str(int(NOW * 1000))], "5")


def test_there_is_no_socket_elsewhere(desk):
    for path in ("/v5/public/linear", "/v5", "/"):
        request = Request(method="GET", path=path, query="", headers={}, now=NOW, clock=NOW)
        assert desk.bybit.open_session(request, lambda message, stream: None) is None
