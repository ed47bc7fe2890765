"""OKX's WebSocket without a wire: login, books by sequence and checksum, orders, balances, order entry."""

import zlib
from decimal import Decimal

import pytest

from simulator.dialects import dialect
from simulator.dialects.dialect import Cut
from simulator.dialects.okx_streams import checksum
from simulator.dialects.okx_words import PRIVATE_PATH, PUBLIC_PATH
from tests.simulator.okx_client import ETH, NOW, Desk

D = Decimal


@pytest.mark.parametrize(
    "case, bids, asks, written",
    [
        ("both sides", [["3366.1", "7", "0", "3"], ["3366", "6", "3", "4"]],
         [["3366.8", "9", "10", "3"], ["3368", "8", "3", "4"]], "3366.1:7:3366.8:9:3366:6:3368:8"),
        ("one side shorter", [["3366.1", "7", "0", "3"]],
         [["3366.8", "9", "10", "3"], ["3368", "8", "3", "4"], ["3372", "8", "3", "4"]],
         "3366.1:7:3366.8:9:3368:8:3372:8"),
    ],
)  # fmt: skip
def test_the_checksum_of_the_page(case, bids, asks, written):
    assert checksum(bids, asks) & 0xFFFFFFFF == zlib.crc32(written.encode())
    assert -(2**31) <= checksum(bids, asks) < 2**31


@pytest.mark.parametrize(
    "case, options, code",
    [
        ("right", {}, "0"),
        ("a wrong secret", {"secret": "another"}, "60007"),
        ("a wrong passphrase", {"passphrase": "other words"}, "60024"),
        ("an unknown key", {"apiKey": "NOBODY"}, "60005"),
        ("too old", {"at": NOW - 31}, "60006"),
        ("a time that is none", {"timestamp": "now"}, "60004"),
    ],
)
def test_a_login(case, options, code):
    desk = Desk()
    socket = desk.socket()
    answer = socket.login(**options)
    assert (answer["event"], answer["code"]) == ("login" if code == "0" else "error", code)
    [again] = socket.subscribe(channel="orders", instType="ANY")
    assert again.get("code") == (None if code == "0" else "60011")


@pytest.mark.parametrize(
    "path, message, code",
    [
        (PUBLIC_PATH, "hello", "60012"),
        (PUBLIC_PATH, {"op": "subscribe"}, "60012"),
        (PUBLIC_PATH, {"op": "subscribe", "args": ["books"]}, "60013"),
        (PUBLIC_PATH, {"op": "dance", "args": [{}]}, "60019"),
        (PUBLIC_PATH, {"op": "subscribe", "args": [{"channel": "nothing", "instId": ETH}]}, "60018"),
        (PUBLIC_PATH, {"op": "subscribe", "args": [{"channel": "books", "instId": "A-B"}]}, "60018"),
        (PUBLIC_PATH, {"op": "subscribe", "args": [{"channel": "books-l2-tbt", "instId": ETH}]}, "64003"),
        (PRIVATE_PATH, {"op": "subscribe", "args": [{"channel": "orders", "instType": "ANY"}]}, "60011"),
        (PRIVATE_PATH, {"id": "1", "op": "order", "args": [{}]}, "60011"),
    ],
)
def test_a_frame_that_is_refused(path, message, code):
    desk = Desk()
    [answer] = desk.socket(path).say(message)
    assert (answer["event"], answer["code"]) == ("error", code)


def test_there_are_two_paths():
    desk = Desk()
    assert desk.okx.open_session(desk.request("GET", "/ws/v5/rubric"), lambda *_: None) is None


def test_a_text_ping_and_thirty_seconds_of_silence():
    desk = Desk()
    socket = desk.socket(PUBLIC_PATH)
    assert socket.say("ping") == ["pong"]
    socket.tick(29)
    assert socket.say("ping") == ["pong"]
    socket.tick(29)
    assert not [one for _, one in socket.heard if isinstance(one, Cut)]
    socket.tick(2)
    assert isinstance(socket.heard[-1][1], Cut)


def rebuilt(rows):
    """The book that messages make, each checked for its sequence and its checksum."""
    sides: dict[str, dict[Decimal, str]] = {"bids": {}, "asks": {}}
    last = -1
    for row in rows:
        assert row["prevSeqId"] == last
        last = row["seqId"]
        for side, known in sides.items():
            for price, size, *_ in row[side]:
                known[D(price)] = size
                if not D(size):
                    del known[D(price)]
        bids = [[f"{price}", size] for price, size in sorted(sides["bids"].items(), reverse=True)]
        asks = [[f"{price}", size] for price, size in sorted(sides["asks"].items())]
        assert checksum(bids, asks) == row["checksum"]
    return sides


def test_a_book_is_a_snapshot_and_then_what_changed():
    desk = Desk()
    socket = desk.socket(PUBLIC_PATH)
    [answer, first] = socket.subscribe(channel="books", instId=ETH)
    assert (answer["event"], first["action"]) == ("subscribe", "snapshot")
    desk.show("ETH/USDT", bids=((51, 1), (50, 5)), asks=((60, 4),))
    desk.show("ETH/USDT", bids=((52, 1), (50, 5)), asks=((60, 3),))
    assert len(socket.data("books")) == 1  # it waits for the tick
    socket.tick()
    socket.tick()  # nothing changed: nothing is said
    assert len(socket.data("books")) == 2
    assert socket.data("books")[1]["bids"] == [["52", "1", "0", "1"], ["40", "0", "0", "0"]]
    desk.order(px="49")
    socket.tick()
    sides = rebuilt(socket.data("books"))
    shown = desk.exchange.depth("ETH/USDT", now=desk.now)
    assert sides == {
        "bids": {price: f"{size}" for price, size in shown.bids},
        "asks": {price: f"{size}" for price, size in shown.asks},
    }
    socket.tick(25)
    socket.say("ping")
    socket.tick(25)
    socket.say("ping")
    socket.tick(25)
    quiet = socket.data("books")[-1]
    assert (quiet["bids"], quiet["asks"], quiet["prevSeqId"]) == ([], [], quiet["seqId"])


def test_a_deep_book_is_cut_and_what_falls_out_of_it_is_removed():
    desk = Desk()
    desk.show("ETH/USDT", bids=[(900 - step, 1) for step in range(450)], asks=((1000, 1),))
    socket = desk.socket(PUBLIC_PATH)
    socket.subscribe(channel="books", instId=ETH)
    desk.show("ETH/USDT", bids=[(901 - step, 1) for step in range(450)], asks=((1000, 1),))
    socket.tick()
    sides = rebuilt(socket.data("books"))
    assert len(sides["bids"]) == 400 and (max(sides["bids"]), min(sides["bids"])) == (901, 502)


def test_best_prices_tickers_and_trades():
    desk = Desk()
    socket = desk.socket(PUBLIC_PATH)
    for channel in ("bbo-tbt", "books5", "tickers", "trades"):
        socket.subscribe(channel=channel, instId=ETH)
    desk.show("ETH/USDT", bids=((51, 1),))
    desk.show("ETH/USDT", bids=((51, 1), (30, 1)))  # no news of the best price
    assert [row["bids"][0][0] for row in socket.data("bbo-tbt")] == ["50", "51"]
    socket.tick()
    assert [len(row["bids"]) for row in socket.data("books5")] == [2, 2]
    desk.exchange.public_trade("ETH/USDT", D(60), D("0.5"), "buy", desk.now)
    [trade] = socket.data("trades")
    assert (trade["px"], trade["sz"], trade["side"], trade["count"]) == ("60", "0.5", "buy", "1")
    assert socket.data("tickers")[-1]["last"] == "60"
    socket.say({"op": "unsubscribe", "args": [{"channel": "trades", "instId": ETH}]})
    desk.exchange.public_trade("ETH/USDT", D(60), D("0.5"), "buy", desk.now)
    assert len(socket.data("trades")) == 1


def test_an_order_is_told_at_each_step_and_a_fill_is_told_with_it():
    desk = Desk()
    socket = desk.socket()
    socket.login()
    [answer] = socket.subscribe(channel="orders", instType="SPOT")
    assert answer["event"] == "subscribe" and socket.data("orders") == []
    row = desk.order(px="70", sz="11", clOrdId="mine")
    desk.post("trade/cancel-order", {"instId": ETH, "clOrdId": "mine"})
    told = [
        tuple(
            one[name]
            for name in ("state", "accFillSz", "fillSz", "fillPx", "tradeId", "execType", "cancelSource")
        )
        for one in socket.data("orders")
    ]
    assert told == [
        ("live", "0", "0", "", "", "", ""),
        ("partially_filled", "5", "5", "60", "1", "T", ""),
        ("partially_filled", "10", "5", "70", "2", "T", ""),
        ("canceled", "10", "0", "", "", "", "1"),
    ]
    fees = [(one["fee"], one["fillFee"], one["fillFeeCcy"]) for one in socket.data("orders")]
    assert fees == [
        ("0", "0", ""),
        ("-0.005", "-0.005", "ETH"),
        ("-0.01", "-0.005", "ETH"),
        ("-0.01", "0", ""),
    ]
    assert {one["ordId"] for one in socket.data("orders")} == {row["ordId"]}
    streams = [stream for stream, one in socket.heard if isinstance(one, dict) and "data" in one]
    assert streams == [dialect.ORDERS, dialect.FILLS, dialect.FILLS, dialect.ORDERS]


def test_other_accounts_and_other_markets_are_not_told_of():
    desk = Desk()
    other = desk.exchange.open_account("OTHER", "s", name="other", passphrase="p")
    desk.exchange.deposit(other, "USDT", D(1000), NOW)
    socket, narrow, futures = desk.socket(), desk.socket(), desk.socket()
    for one in (socket, narrow, futures):
        one.login()
    socket.subscribe(channel="orders", instType="ANY")
    narrow.subscribe(channel="orders", instType="SPOT", instId="BTC-USDT")
    futures.subscribe(channel="orders", instType="SWAP")
    desk.exchange.create_order(other, "ETH/USDT", "buy", "limit", D(1), D(45), now=NOW)
    assert socket.data("orders") == []
    desk.order()
    assert [len(one.data("orders")) for one in (socket, narrow, futures)] == [1, 0, 0]


def test_balances_are_told_at_first_and_when_they_change():
    desk = Desk()
    socket = desk.socket()
    socket.login()
    socket.subscribe(channel="account")
    [first] = socket.data("account")
    assert {one["ccy"]: one["eq"] for one in first["details"]} == {"USDT": "100000", "ETH": "10", "BTC": "2"}
    desk.order()
    [changed] = socket.data("account")[-1]["details"]
    assert (changed["ccy"], changed["availBal"], changed["frozenBal"], changed["eq"]) == (
        "USDT",
        "99955",
        "45",
        "100000",
    )


def test_orders_are_placed_and_cancelled_on_the_stream():
    desk = Desk()
    socket = desk.socket()
    socket.login()
    code = desk.public("public/instruments", instType="SPOT", instId=ETH)[1]["data"][0]["instIdCode"]
    order = {"instIdCode": code, "tdMode": "cash", "side": "buy", "ordType": "limit", "px": "45", "sz": "1"}
    [answer] = socket.say({"id": "1", "op": "order", "args": [order | {"clOrdId": "mine"}]})
    assert (answer["id"], answer["op"], answer["code"]) == ("1", "order", "0")
    [late] = socket.say({"id": "2", "op": "order", "expTime": str(int(NOW * 1000) - 1), "args": [order]})
    assert late["code"] == "50036"
    [refused] = socket.say({"id": "3", "op": "batch-orders", "args": [order | {"sz": "0"}]})
    assert (refused["code"], refused["data"][0]["sCode"]) == ("1", "51000")
    cancel = {"instIdCode": code, "ordId": answer["data"][0]["ordId"]}
    [gone] = socket.say({"id": "4", "op": "cancel-order", "args": [cancel]})
    [again] = socket.say({"id": "5", "op": "batch-cancel-orders", "args": [cancel]})
    assert (gone["code"], again["code"], again["data"][0]["sCode"]) == ("0", "1", "51400")
    assert [one.status for one in desk.account.orders.values()] == ["canceled"]
    kinds = [socket.session.kind(f'{{"op": "{op}"}}') for op in ("order", "cancel-order", "login", "other")]
    assert kinds == [dialect.CREATE, dialect.CANCEL, dialect.STREAM, dialect.OTHER]


def test_a_key_that_may_only_read_places_nothing_on_the_stream():
    desk = Desk()
    desk.exchange.keys["KEY"].permissions = frozenset(("read",))
    socket = desk.socket()
    socket.login()
    [answer] = socket.say({"id": "1", "op": "order", "args": [{"instId": ETH}]})
    assert answer["code"] == "50120" and not desk.account.orders


def test_the_limit_of_orders_is_shared_with_rest():
    desk = Desk()
    socket = desk.socket()
    socket.login()
    code = desk.public("public/instruments", instType="SPOT", instId=ETH)[1]["data"][0]["instIdCode"]
    order = {"instIdCode": code, "tdMode": "cash", "side": "buy", "ordType": "limit", "px": "45", "sz": "1"}
    answers = [socket.say({"id": "1", "op": "order", "args": [order]})[0]["code"] for _ in range(40)]
    assert set(answers) == {"0"}
    assert {desk.order()["sCode"] for _ in range(20)} == {"0"}
    assert socket.say({"id": "1", "op": "order", "args": [order]})[0]["code"] == "50011"
    # Asking for orders is counted apart from placing them.
    assert desk.get("trade/order", instId=ETH, clOrdId="nobody")[1]["code"] == "51603"
    assert len(desk.account.orders) == 60
