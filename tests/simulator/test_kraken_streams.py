"""Kraken's WebSocket v2 sessions, message by message, without a socket."""

import base64
import json
import random
from decimal import Decimal

import pytest

from simulator.dialects import dialect
from simulator.dialects.dialect import Request
from simulator.dialects.kraken import MARKETS, Kraken
from simulator.dialects.kraken_streams import PrivateStreams, PublicStreams, checksum
from simulator.dialects.kraken_words import PRIVATE_PATH, PUBLIC_PATH, signature
from simulator.exchange import Exchange

SECRET = base64.b64encode(b"a secret of Kraken's shape").decode()
NOW = 1_700_000_000.0
D = Decimal

# https://docs.kraken.com/exchange/guides/websockets/book-checksum-v2 has this book and its checksum.
DOCUMENTED_ASKS = [
    ("45285.2", "0.00100000"),
    ("45286.4", "1.54571953"),
    ("45286.6", "1.54571109"),
    ("45289.6", "1.54560911"),
    ("45290.2", "0.15890660"),
    ("45291.8", "1.54553491"),
    ("45294.7", "0.04454749"),
    ("45296.1", "0.35380000"),
    ("45297.5", "0.09945542"),
    ("45299.5", "0.18772827"),
]
DOCUMENTED_BIDS = [
    ("45283.5", "0.10000000"),
    ("45283.4", "1.54582015"),
    ("45282.1", "0.10000000"),
    ("45281.0", "0.10000000"),
    ("45280.3", "1.54592586"),
    ("45279.0", "0.07990000"),
    ("45277.6", "0.03310103"),
    ("45277.5", "0.30000000"),
    ("45277.3", "1.54602737"),
    ("45276.6", "0.15445238"),
]
DOCUMENTED_CHECKSUM = 3310070434


class World:
    """A Kraken, an account, and connections that keep what they hear."""

    def __init__(self) -> None:
        self.exchange = Exchange("kraken", MARKETS)
        self.kraken = Kraken(self.exchange)
        self.now = NOW
        self.nonce = 0
        self.account = self.exchange.open_account("KEY", SECRET, name="desk")
        self.exchange.deposit(self.account, "USDT", D(10_000), NOW)
        self.exchange.deposit(self.account, "ETH", D(3), NOW)
        self.set_book()

    def set_book(self, bid: str = "2000.00", ask: str = "2000.10") -> None:
        self.exchange.set_book(
            "ETH/USDT", [(D(bid), D("5")), (D("1990"), D(7))], [(D(ask), D("1")), (D("2010"), D(9))], self.now
        )

    def rest(self, name: str, key: str = "KEY") -> dict:
        self.nonce += 1
        path, body = f"/0/private/{name}", f"nonce={self.nonce}"
        headers = {"api-key": key, "api-sign": signature(SECRET, path, str(self.nonce), body)}
        request = Request(
            method="POST",
            path=path,
            query="",
            headers=headers,
            body=body.encode(),
            now=self.now,
            clock=self.now,
        )
        return json.loads(self.kraken.handle(request).body)

    def token(self) -> str:
        return self.rest("GetWebSocketsToken")["result"]["token"]

    def connect(self, path: str = PUBLIC_PATH) -> "Connection":
        return Connection(self, path)


class Connection:
    def __init__(self, world: World, path: str) -> None:
        self.world = world
        self.heard: list[tuple[dict, str]] = []
        self.texts: list[str] = []
        self.request = Request(method="GET", path=path, query="", headers={}, now=world.now, clock=world.now)
        session = world.kraken.open_session(self.request, self._keep)
        assert session is not None
        self.session = session
        world.exchange.subscribe(session.on_event)

    def _keep(self, message: str, stream: str) -> None:
        self.texts.append(message)
        self.heard.append((json.loads(message, parse_float=Decimal), stream))

    def say(self, method: str, req_id: int | None = None, **params) -> list[dict]:
        """Send a request and return what came back at once."""
        self.heard.clear()
        message = {"method": method, "params": params} | ({} if req_id is None else {"req_id": req_id})
        request = Request(
            method="GET",
            path=self.request.path,
            query="",
            headers={},
            now=self.world.now,
            clock=self.world.now,
        )
        self.session.receive(json.dumps(message), request)
        return [each for each, _ in self.heard]

    def reply(self, method: str, **params) -> dict:
        [answer] = [
            each for each, stream in (self.say(method, **params) and self.heard) if stream == dialect.REPLY
        ]
        return {name: value for name, value in answer.items() if name not in ("time_in", "time_out")}

    def news(self) -> list[dict]:
        """What has come since the last request."""
        messages = [message for message, _ in self.heard]
        self.heard.clear()
        return messages


@pytest.fixture
def world() -> World:
    return World()


# --- Both kinds ---


def test_the_checksum_is_the_one_of_the_documentation():
    assert checksum(DOCUMENTED_ASKS, DOCUMENTED_BIDS) == DOCUMENTED_CHECKSUM
    # More than ten levels do not matter, one wrong digit does.
    assert checksum([*DOCUMENTED_ASKS, ("45300.0", "1.00000000")], DOCUMENTED_BIDS) == DOCUMENTED_CHECKSUM
    assert checksum([("45285.2", "0.0010000"), *DOCUMENTED_ASKS[1:]], DOCUMENTED_BIDS) != DOCUMENTED_CHECKSUM


def test_two_paths_two_kinds(world):
    assert type(world.connect(PUBLIC_PATH).session) is PublicStreams
    assert type(world.connect(PRIVATE_PATH).session) is PrivateStreams
    assert type(world.connect("/v2").session) is PublicStreams
    request = Request(method="GET", path="/v1", query="", headers={}, now=NOW, clock=NOW)
    assert world.kraken.open_session(request, lambda message, stream: None) is None


@pytest.mark.parametrize("path", [PUBLIC_PATH, PRIVATE_PATH])
def test_a_connection_is_greeted_and_answers_pings(world, path):
    connection = world.connect(path)
    [status] = connection.news()
    assert (status["channel"], status["data"][0]["system"]) == ("status", "online")
    [pong] = connection.say("ping", req_id=7)
    assert (pong["method"], pong["req_id"]) == ("pong", 7)
    assert connection.session.kind('{"method":"ping"}') == dialect.OTHER


@pytest.mark.parametrize("text", ["", "no json", "[]", "1", '{"method":5}', '{"method":"levitate"}'])
def test_nonsense_is_answered_and_does_no_harm(world, text):
    connection = world.connect()
    connection.news()
    connection.session.receive(text, connection.request)
    [answer] = connection.news()
    assert answer["success"] is False and answer["error"] == "Unsupported method"


def test_a_silent_subscription_beats_once_a_second(world):
    connection = world.connect()
    connection.session.tick(NOW + 5)
    connection.news()
    connection.session.tick(NOW + 5)
    assert connection.news() == []  # nothing subscribed
    connection.say("subscribe", channel="book", symbol=["ETH/USDT"])
    connection.news()
    connection.session.tick(NOW + 0.9)
    assert connection.news() == []
    connection.session.tick(NOW + 1.0)
    assert connection.news() == [{"channel": "heartbeat"}]
    connection.session.tick(NOW + 1.9)
    assert connection.news() == []


# --- Market data ---


def test_a_book_begins_with_a_snapshot_of_exact_numbers(world):
    connection = world.connect()
    acknowledged, snapshot = connection.say("subscribe", 3, channel="book", symbol=["ETH/USDT"])
    assert acknowledged["result"] == {"channel": "book", "symbol": "ETH/USDT", "snapshot": True, "depth": 10}
    assert (acknowledged["success"], acknowledged["req_id"]) == (True, 3)
    assert snapshot == {
        "channel": "book",
        "type": "snapshot",
        "data": [
            {
                "symbol": "ETH/USDT",
                "bids": [{"price": D(2000), "qty": D(5)}, {"price": D(1990), "qty": D(7)}],
                "asks": [{"price": D("2000.10"), "qty": D(1)}, {"price": D(2010), "qty": D(9)}],
                "checksum": checksum(
                    [("2000.10", "1.00000000"), ("2010.00", "9.00000000")],
                    [("2000.00", "5.00000000"), ("1990.00", "7.00000000")],
                ),
                "timestamp": "2023-11-14T22:13:20.000000Z",
            }
        ],
    }
    # The digits are on the wire.
    assert '{"price":2000.10,"qty":1.00000000}' in connection.texts[-1]


def test_a_book_update_names_what_changed(world):
    connection = world.connect()
    connection.say("subscribe", channel="book", symbol=["ETH/USDT"])
    connection.news()
    world.now += 1
    world.set_book(ask="2000.20")
    [update] = connection.news()
    [book] = update["data"]
    assert (update["type"], book["bids"]) == ("update", [])
    assert book["asks"] == [{"price": D("2000.20"), "qty": D(1)}, {"price": D("2000.10"), "qty": D(0)}]
    world.set_book(ask="2000.20")
    assert connection.news() == []  # nothing changed
    world.exchange.set_book("BTC/USDT", [(D(50000), D(1))], [], world.now)
    assert connection.news() == []  # not subscribed


def test_a_level_pushed_out_of_the_depth_is_not_mentioned_and_one_that_comes_back_is(world):
    bids = [(D(1000 - n), D(1)) for n in range(12)]
    world.exchange.set_book("ETH/USDT", bids, [(D(1100), D(1))], world.now)
    connection = world.connect()
    connection.say("subscribe", channel="book", symbol=["ETH/USDT"], depth=10)
    connection.news()

    def heard(changes: list[tuple[int, int]]) -> list[tuple[int, int]]:
        world.exchange.update_book("ETH/USDT", [(D(p), D(q)) for p, q in changes], [], world.now)
        return [(level["price"], level["qty"]) for m in connection.news() for level in m["data"][0]["bids"]]

    assert heard([(1001, 2)]) == [(1001, 2)]  # 991 is out now, and nobody says so
    assert heard([(991, 5)]) == []  # beyond the depth
    assert heard([(1001, 0)]) == [(991, 5), (1001, 0)]


@pytest.mark.parametrize("depth", [10, 25])
@pytest.mark.parametrize("seed", range(4))
def test_a_reader_who_cuts_the_book_always_has_the_right_checksum(world, depth, seed):
    rng = random.Random(seed)
    connection = world.connect()
    connection.say("subscribe", channel="book", symbol=["ETH/USDT"], depth=depth)
    book: dict[str, dict] = {"bids": {}, "asks": {}}
    checked = 0
    for step in range(150):
        world.now += 0.25
        sides = []
        for low, high in ((1, 40), (41, 80)):
            prices = rng.sample(range(low, high + 1), rng.randint(0 if step % 20 == 7 else 5, 38))
            sides.append([(D(p) / 10, D(rng.randint(1, 10**9)).scaleb(-8)) for p in prices])
        world.exchange.set_book("ETH/USDT", sides[0], sides[1], world.now)
        for message in connection.news():
            if message.get("channel") != "book":
                continue
            [data] = message["data"]
            if message["type"] == "snapshot":
                book = {"bids": {}, "asks": {}}
            for side in ("bids", "asks"):
                for level in data[side]:
                    if level["qty"]:
                        book[side][level["price"]] = level["qty"]
                    else:
                        del book[side][level["price"]]  # what is removed was there
                kept = sorted(book[side], reverse=side == "bids")[:depth]
                book[side] = {price: book[side][price] for price in kept}
            texts = {s: [(f"{p:.2f}", f"{q:.8f}") for p, q in book[s].items()] for s in book}
            assert checksum(texts["asks"], texts["bids"]) == data["checksum"]
            checked += 1
    assert checked > 140
    shown = world.exchange.depth("ETH/USDT", depth, now=world.now)
    assert list(book["bids"].items()) == shown.bids and list(book["asks"].items()) == shown.asks


def test_trades_and_tickers(world):
    connection = world.connect()
    world.exchange.public_trade("ETH/USDT", D("2000"), D("0.5"), "sell", world.now)
    _, snapshot = connection.say("subscribe", channel="trade", symbol=["ETH/USDT"], snapshot=True)
    assert (snapshot["type"], len(snapshot["data"])) == ("snapshot", 1)
    assert len(connection.say("subscribe", channel="trade", symbol=["ETH/USDT"])) == 1  # without a snapshot
    _, ticker = connection.say("subscribe", channel="ticker", symbol=["ETH/USDT"])
    assert ticker["data"][0]["bid"] == D("2000.00")
    connection.news()
    world.exchange.public_trade("ETH/USDT", D("2000.10"), D("0.25"), "buy", world.now)
    trade, ticker = connection.news()
    [printed] = trade["data"]
    assert {name: printed[name] for name in ("symbol", "side", "price", "qty", "ord_type")} == {
        "symbol": "ETH/USDT",
        "side": "buy",
        "price": D("2000.10"),
        "qty": D("0.25"),
        "ord_type": "limit",
    }
    assert ticker["data"][0]["last"] == D("2000.10")
    assert ticker["data"][0]["volume"] == D("0.75") and ticker["data"][0]["change"] == D("0.10")


def test_a_bbo_ticker_speaks_when_the_touch_moves(world):
    connection = world.connect()
    connection.say("subscribe", channel="ticker", symbol=["ETH/USDT"], event_trigger="bbo")
    connection.news()
    world.exchange.update_book("ETH/USDT", [(D("1990"), D(8))], [], world.now)
    assert connection.news() == []
    world.set_book(bid="2000.05")
    [ticker] = connection.news()
    assert ticker["data"][0]["bid"] == D("2000.05")


def test_instruments(world):
    _, message = world.connect().say("subscribe", channel="instrument")
    pairs = {pair["symbol"]: pair for pair in message["data"]["pairs"]}
    assert pairs["BTC/USDT"]["price_precision"] == 1 and pairs["ETH/USDT"]["qty_min"] == D("0.002")


@pytest.mark.parametrize(
    "params, error",
    [
        ({}, "Channel is required"),
        ({"channel": "weather", "symbol": ["ETH/USDT"]}, "Unsupported channel: weather"),
        ({"channel": "executions"}, "Unsupported channel: executions"),
        ({"channel": "book"}, "Symbol(s) is required"),
        ({"channel": "book", "symbol": "ETH/USDT"}, "Symbol(s) is required"),
        ({"channel": "book", "symbol": ["ETH/USDT"], "depth": 20}, "Subscription depth not supported"),
        ({"channel": "book", "symbol": ["ETH/EUR"]}, "Currency pair not supported ETH/EUR"),
        ({"channel": "ticker", "symbol": ["ETH/USDT"], "event_trigger": "x"}, "Event trigger not supported"),
    ],
)
def test_subscriptions_that_are_refused(world, params, error):
    connection = world.connect()
    answer = connection.reply("subscribe", **params)
    assert (answer["success"], answer["error"]) == (False, error)
    connection.news()
    world.set_book(ask="2000.30")
    assert connection.news() == []


def test_unsubscribing(world):
    connection = world.connect()
    connection.say("subscribe", channel="book", symbol=["ETH/USDT"])
    assert connection.reply("unsubscribe", channel="book", symbol=["ETH/USDT"])["success"] is True
    connection.news()
    world.set_book(ask="2000.30")
    assert connection.news() == []
    assert connection.reply("unsubscribe", channel="book", symbol=["ETH/USDT"])["success"] is False


# --- An account's own ---


@pytest.fixture
def private(world) -> Connection:
    return world.connect(PRIVATE_PATH)


def order(world: World, **changes):
    wanted = {"symbol": "ETH/USDT", "side": "buy", "quantity": D(1), "price": D("1900"), **changes}
    return world.exchange.create_order(
        world.account,
        wanted["symbol"],
        wanted["side"],
        "limit" if wanted["price"] is not None else "market",
        wanted["quantity"],
        wanted["price"],
        client_order_id=wanted.get("client_order_id", ""),
        now=world.now,
    )


def test_the_first_report_is_whole_and_later_ones_name_the_change(world, private):
    private.say("subscribe", channel="executions", token=world.token())
    private.news()
    placed = order(world, client_order_id="mine")
    txid = world.kraken.txid(placed.order_id)
    pending, live = private.news()
    assert pending == {
        "channel": "executions",
        "type": "update",
        "data": [
            {
                "timestamp": "2023-11-14T22:13:20.000000Z",
                "order_status": "pending_new",
                "exec_type": "pending_new",
                "order_userref": 0,
                "order_id": txid,
                "cl_ord_id": "mine",
                "symbol": "ETH/USDT",
                "cum_cost": 0,
                "time_in_force": "GTC",
                "side": "buy",
                "order_type": "limit",
                "limit_price_type": "static",
                "stop_price": 0,
                "fee_usd_equiv": 0,
                "fee_ccy_pref": "fciq",
                "order_qty": D(1),
                "limit_price": D("1900.00"),
            }
        ],
        "sequence": 2,
    }
    assert live["sequence"] == 3
    assert live["data"] == [
        {
            "timestamp": "2023-11-14T22:13:20.000000Z",
            "order_status": "new",
            "exec_type": "new",
            "order_userref": 0,
            "order_id": txid,
            "cl_ord_id": "mine",
        }
    ]
    world.now += 1
    world.exchange.cancel_order(world.account, placed.order_id, now=world.now)
    [ended] = private.news()
    assert "symbol" not in ended["data"][0]
    assert {name: ended["data"][0][name] for name in ("exec_type", "order_status", "cum_qty", "reason")} == {
        "exec_type": "canceled",
        "order_status": "canceled",
        "cum_qty": 0,
        "reason": "User requested",
    }


def test_fills_are_trades_and_then_a_report_that_all_is_filled(world, private):
    private.say("subscribe", channel="executions", token=world.token())
    private.heard.clear()
    taken = order(world, quantity=D("3"), price=D("2010"))
    reports = [(message["data"][0], stream) for message, stream in private.heard]
    assert [(r["exec_type"], r["order_status"], s) for r, s in reports] == [
        ("pending_new", "pending_new", "orders"),
        ("new", "new", "orders"),
        ("trade", "partially_filled", "fills"),
        ("trade", "partially_filled", "fills"),
        ("filled", "filled", "orders"),
    ]
    first, second, filled = (report for report, _ in reports[2:])
    assert first["exec_id"] == world.kraken.trade_txid(taken.fills[0])
    assert {n: first[n] for n in ("symbol", "side", "last_qty", "last_price", "liquidity_ind", "cost")} == {
        "symbol": "ETH/USDT",
        "side": "buy",
        "last_qty": D(1),
        "last_price": D("2000.10"),
        "liquidity_ind": "t",
        "cost": D("2000.10"),
    }
    assert first["fees"] == [{"asset": "USDT", "qty": D("8.0004")}]
    assert (first["cum_qty"], second["cum_qty"], filled["cum_qty"]) == (1, 3, 3)
    assert (second["cum_cost"], filled["avg_price"]) == (D("6020.10"), D("2006.7"))
    assert filled["fee_usd_equiv"] == D("24.0804")


def test_a_fill_while_waiting_is_a_makers(world, private):
    private.say("subscribe", channel="executions", token=world.token())
    order(world, price=D("2000.05"))
    private.news()
    world.exchange.public_trade("ETH/USDT", D("2000.05"), D("0.4"), "sell", world.now)
    [part] = private.news()
    [report] = part["data"]
    assert (report["exec_type"], report["liquidity_ind"], report["last_qty"]) == ("trade", "m", D("0.4"))


def test_a_snapshot_shows_open_orders_and_if_asked_trades(world, private):
    open_order = order(world, client_order_id="open", price=D("2000.05"))
    world.exchange.public_trade("ETH/USDT", D("2000.05"), D("0.4"), "sell", world.now)
    closed = order(world, price=D("2010"), quantity=D("0.1"))
    acknowledged, snapshot = private.say("subscribe", channel="executions", token=world.token())
    assert acknowledged["result"]["snap_orders"] is True
    assert (snapshot["type"], snapshot["sequence"], len(snapshot["data"])) == ("snapshot", 1, 1)
    [report] = snapshot["data"]
    assert (report["order_id"], report["order_status"]) == (
        world.kraken.txid(open_order.order_id),
        "partially_filled",
    )
    assert (report["cum_qty"], report["order_qty"], report["limit_price"]) == (D("0.4"), D(1), D("2000.05"))
    _, snapshot = private.say(
        "subscribe", channel="executions", token=world.token(), snap_orders=False, snap_trades=True
    )
    assert [(r["exec_type"], r["order_id"]) for r in snapshot["data"]] == [
        ("trade", world.kraken.txid(open_order.order_id)),
        ("trade", world.kraken.txid(closed.order_id)),
    ]


def test_without_order_status_only_openings_and_endings_are_told(world, private):
    private.say("subscribe", channel="executions", token=world.token(), order_status=False)
    private.news()
    order(world)
    assert [message["data"][0]["exec_type"] for message in private.news()] == ["new"]


def test_other_accounts_hear_nothing(world):
    world.exchange.open_account("OTHER", SECRET, name="other")
    spy = world.connect(PRIVATE_PATH)
    token = world.rest("GetWebSocketsToken", key="OTHER")["result"]["token"]
    spy.say("subscribe", channel="executions", token=token)
    spy.say("subscribe", channel="balances", token=token)
    spy.news()
    order(world, price=D("2010"))
    assert spy.news() == []


def test_balances_are_totals_and_change_with_trades_not_with_holds(world, private):
    _, snapshot = private.say("subscribe", channel="balances", token=world.token())
    assert {row["asset"]: row["balance"] for row in snapshot["data"]} == {"USDT": D(10000), "ETH": D(3)}
    private.news()
    order(world)
    assert private.news() == []  # held, still owned
    order(world, price=D("2000.10"))
    [update] = private.news()
    rows = {row["asset"]: (row["type"], row["amount"], row["balance"]) for row in update["data"]}
    assert rows == {
        "USDT": ("trade", D("-2008.1004"), D("7991.8996")),
        "ETH": ("trade", D("1"), D("4")),
    }
    assert (update["type"], update["sequence"]) == ("update", 2)
    world.exchange.deposit(world.account, "BTC", D(1), world.now)
    [update] = private.news()
    assert [(r["asset"], r["type"], r["amount"]) for r in update["data"]] == [("BTC", "deposit", D(1))]


def test_orders_are_entered_and_cancelled(world, private):
    token = world.token()
    answer = private.reply(
        "add_order",
        order_type="limit", side="buy", symbol="ETH/USDT", order_qty=0.5, limit_price=1900.5,
        cl_ord_id="ws-1", post_only=True, time_in_force="gtc", token=token,
    )  # fmt: skip
    [placed] = world.account.open.values()
    txid = world.kraken.txid(placed.order_id)
    assert answer == {
        "method": "add_order",
        "result": {"order_id": txid, "cl_ord_id": "ws-1", "order_userref": 0},
        "success": True,
    }
    assert (placed.price, placed.quantity, placed.post_only) == (D("1900.5"), D("0.5"), True)
    assert private.reply("cancel_order", cl_ord_id=["ws-1"], token=token) == {
        "method": "cancel_order",
        "result": {"order_id": txid, "cl_ord_id": "ws-1"},
        "success": True,
    }
    assert not world.account.open
    order(world), order(world)
    assert private.reply("cancel_all", token=token)["result"] == {"count": 2}


def test_each_cancelled_order_is_answered(world, private):
    token = world.token()
    txid = world.kraken.txid(order(world).order_id)
    answers = private.say("cancel_order", 9, order_id=[txid, txid, "OZZZZZ-ZZZZZ-ZZZZZZ"], token=token)
    assert [(a["success"], a.get("error"), a["req_id"]) for a in answers] == [
        (True, None, 9),
        (False, "EOrder:Unknown order", 9),
        (False, "EOrder:Invalid order", 9),
    ]


@pytest.mark.parametrize(
    "changes, error",
    [
        ({"order_qty": 50}, "EOrder:Insufficient funds"),
        ({"order_qty": 0.001}, "EOrder:Order minimum not met"),
        ({"order_qty": -1}, "EGeneral:Invalid arguments:order_qty"),
        ({"limit_price": 2000.1, "post_only": True}, "EOrder:Post only order"),
        ({"limit_price": "x"}, "EGeneral:Invalid arguments:limit_price"),
        ({"symbol": "ETH/EUR"}, "Currency pair not supported ETH/EUR"),
        ({"side": "hold"}, "EGeneral:Invalid arguments:side"),
        ({"order_type": "iceberg"}, "EGeneral:Invalid arguments:order_type"),
        ({"price": 1900}, "Unsupported field: 'price' for the given msg type: add order"),
        ({"cl_ord_id": "x" * 19}, "EGeneral:Invalid arguments:cl_ord_id"),
        ({"time_in_force": "day"}, "EGeneral:Invalid arguments:time_in_force"),
        ({"deadline": "2023-11-14T22:13:19Z"}, "EService:Deadline elapsed"),
        ({"margin": True}, "EGeneral:Invalid arguments:margin"),
        ({"token": "stolen"}, "ESession:Invalid session"),
    ],
)
def test_orders_that_are_refused_change_nothing(world, private, changes, error):
    token = world.token()
    before = world.exchange.ledger(world.account)
    wanted = {
        "order_type": "limit", "side": "buy", "symbol": "ETH/USDT", "order_qty": 0.5, "limit_price": 1900,
        "token": token,
    } | changes  # fmt: skip
    answer = private.reply("add_order", **wanted)
    assert (answer["success"], answer["error"]) == (False, error)
    assert world.exchange.ledger(world.account) == before


def test_a_token_expires_unless_its_connection_lives_on(world, private):
    token = world.token()
    private.say("subscribe", channel="executions", token=token)
    world.now += 901
    assert private.reply("cancel_all", token=token)["success"] is True
    late = world.connect(PRIVATE_PATH)
    assert late.reply("subscribe", channel="executions", token=token)["error"] == "ESession:Invalid session"
    assert late.reply("subscribe", channel="executions")["error"] == "ESession:Invalid session"
    world.exchange.revoke_key("KEY")
    assert private.reply("cancel_all", token=token)["error"] == "ESession:Invalid session"


def test_a_reading_key_cannot_trade(world, private):
    world.exchange.open_account("READER", SECRET, name="desk", permissions=frozenset({"read"}))
    token = world.rest("GetWebSocketsToken", key="READER")["result"]["token"]
    assert private.reply("cancel_all", token=token)["error"] == "EGeneral:Permission denied"
    assert private.reply("subscribe", channel="balances", token=token)["success"] is True


def test_frames_have_kinds(world, private):
    for method, kind in (
        ("add_order", dialect.CREATE),
        ("cancel_order", dialect.CANCEL),
        ("cancel_all", dialect.CANCEL_ALL),
        ("subscribe", dialect.STREAM),
    ):
        assert private.session.kind(json.dumps({"method": method})) == kind
