"""Coinbase Exchange's WebSocket, frame by frame, without a socket."""

import json
from decimal import Decimal

import pytest

from simulator.dialects import dialect
from simulator.dialects.dialect import Request
from tests.simulator.test_coinbaseexchange import NOW, SECRET, UUID, Desk, sign

D = Decimal


class Socket:
    """One connection of a desk's exchange, and what was sent on it with its stream."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.sent: list[tuple[dict, str]] = []
        self.session = desk.coinbase.open_session(
            self.upgrade(), lambda message, stream: self.sent.append((message, stream))
        )
        assert self.session is not None
        desk.exchange.subscribe(self.session.on_event)

    def upgrade(self) -> Request:
        return Request(method="GET", path="/", query="", headers={}, now=self.desk.now, clock=self.desk.now)

    def say(self, **message) -> dict:
        """Send a frame and return the answer to it."""
        before = len(self.sent)
        self.session.receive(json.dumps(message), self.upgrade())
        answer, stream = self.sent.pop(before)
        assert stream == dialect.REPLY
        return answer

    def signed(self, secret=SECRET, passphrase="phrase", key="KEY", stamp=None) -> dict:
        stamp = str(int(self.desk.now) if stamp is None else stamp)
        return {
            "signature": sign(secret, f"{stamp}GET/users/self/verify"),
            "key": key,
            "passphrase": passphrase,
            "timestamp": stamp,
        }

    def subscribe(self, *channels, product_ids=("ETH-USDT",), **more) -> dict:
        return self.say(type="subscribe", product_ids=list(product_ids), channels=list(channels), **more)

    def take(self, *types) -> list[dict]:
        """What came of these types since the last look."""
        found = [message for message, _ in self.sent if message["type"] in types or not types]
        self.sent = [entry for entry in self.sent if entry[0] not in found]
        return found


@pytest.fixture
def desk():
    return Desk()


@pytest.fixture
def user(desk):
    """The account's own connection, subscribed to `user`."""
    socket = Socket(desk)
    assert socket.subscribe("user", **socket.signed())["type"] == "subscriptions"
    return socket


def facts(messages):
    names = ("type", "reason", "size", "remaining_size", "price", "side")
    return [tuple(message.get(name) for name in names) for message in messages]


def test_there_is_one_address(desk):
    for path in ("", "/"):
        request = Request(method="GET", path=path, query="", headers={}, now=NOW, clock=NOW)
        assert desk.coinbase.open_session(request, lambda message, stream: None) is not None
    other = Request(method="GET", path="/ws", query="", headers={}, now=NOW, clock=NOW)
    assert desk.coinbase.open_session(other, lambda message, stream: None) is None


# --- Subscribing ---


def test_a_subscription_is_answered_with_all_of_them(desk):
    socket = Socket(desk)
    assert socket.subscribe("matches") == {
        "type": "subscriptions",
        "channels": [{"name": "matches", "product_ids": ["ETH-USDT"], "account_ids": None}],
    }
    answer = socket.say(
        type="subscribe", channels=[{"name": "heartbeat", "product_ids": ["BTC-USDT", "ETH-USDT"]}]
    )
    assert [(one["name"], one["product_ids"]) for one in answer["channels"]] == [
        ("matches", ["ETH-USDT"]),
        ("heartbeat", ["BTC-USDT", "ETH-USDT"]),
    ]
    answer = socket.say(type="unsubscribe", channels=["matches"])
    assert [one["name"] for one in answer["channels"]] == ["heartbeat"]


WRONG = {
    "no channels": ({"type": "subscribe", "product_ids": ["ETH-USDT"]}, "channels is required"),
    "another channel": (
        {"type": "subscribe", "product_ids": ["ETH-USDT"], "channels": ["gossip"]},
        "gossip is not a valid channel",
    ),
    "another product": (
        {"type": "subscribe", "product_ids": ["NO-NE"], "channels": ["ticker"]},
        "NO-NE is not a valid product",
    ),
    "no products": ({"type": "subscribe", "channels": ["ticker"]}, "ticker requires product_ids"),
    "unsigned": (
        {"type": "subscribe", "product_ids": ["ETH-USDT"], "channels": ["user"]},
        "user channel requires authentication",
    ),
    "an unsigned book": (
        {"type": "subscribe", "product_ids": ["ETH-USDT"], "channels": ["level2"]},
        "level2 channel requires authentication",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_subscription_is_refused_and_subscribes_to_nothing(desk, case):
    message, reason = WRONG[case]
    socket = Socket(desk)
    assert socket.say(**message) == {"type": "error", "message": "Failed to subscribe", "reason": reason}
    desk.place(price="2000.10")
    assert socket.sent == []


LOGINS = {
    "another secret": ({"secret": "b3RoZXI="}, "invalid signature"),
    "another passphrase": ({"passphrase": "other"}, "Invalid Passphrase"),
    "another key": ({"key": "OTHER"}, "Invalid API Key"),
    "an old time": ({"stamp": int(NOW) - 31}, "request timestamp expired"),
}


@pytest.mark.parametrize("case", LOGINS)
def test_a_wrong_signature_is_told_in_json_within_json(desk, case):
    changes, words = LOGINS[case]
    socket = Socket(desk)
    answer = socket.subscribe("user", **socket.signed(**changes))
    assert (answer["type"], answer["message"]) == ("error", "Authentication Failed")
    assert json.loads(answer["reason"]) == {"message": words}
    desk.place()
    assert socket.sent == []


def test_what_is_no_message_is_answered(desk):
    socket = Socket(desk)
    for text in ("hello", "[]", "{}", '{"type": "shout"}'):
        socket.session.receive(text, socket.upgrade())
        assert socket.sent.pop()[0]["type"] == "error"


# --- The account's orders ---


def test_an_order_that_waits_and_is_cancelled(desk, user):
    placed = desk.place(client_oid=UUID)
    received, opened = user.take()
    assert (received["type"], received["client_oid"], received["order_id"]) == (
        "received",
        UUID,
        placed["id"],
    )
    assert (received["size"], received["price"], received["order_type"]) == ("0.5", "1990", "limit")
    assert (opened["type"], opened["remaining_size"], "client_oid" in opened) == ("open", "0.5", False)
    assert opened["sequence"] == received["sequence"] + 1
    assert received["user_id"] == opened["user_id"] and received["profile_id"]
    desk.call("DELETE", f"/orders/{placed['id']}")
    [done] = user.take()
    assert (done["type"], done["reason"], done["remaining_size"]) == ("done", "canceled", "0.5")


def test_an_order_that_takes_and_then_waits(desk, user):
    placed = desk.place(price="2000.10", size="1.5")
    assert facts(user.take()) == [
        ("received", None, "1.5", None, "2000.1", "buy"),
        ("match", None, "1", None, "2000.1", "sell"),  # the side is the maker's
        ("open", None, None, "0.5", "2000.1", "buy"),
    ]
    desk.exchange.public_trade("ETH/USDT", D("2000.10"), D("0.5"), "sell", desk.now)
    match, done = user.take()
    assert (match["maker_order_id"], match["maker_fee_rate"], match["side"]) == (placed["id"], "0.004", "buy")
    assert "taker_fee_rate" not in match and "fee" not in match
    assert (done["reason"], done["remaining_size"]) == ("filled", "0")


def test_an_immediate_order_and_one_at_market(desk, user):
    desk.place(price="2000.10", size="1.5", time_in_force="IOC")
    assert facts(user.take()) == [
        ("received", None, "1.5", None, "2000.1", "buy"),
        ("match", None, "1", None, "2000.1", "sell"),
        ("done", "canceled", None, "0.5", "2000.1", "buy"),
    ]
    desk.call("POST", "/orders", type="market", side="sell", product_id="ETH-USDT", size="4")
    received, first, *_ = user.take()
    assert (received["order_type"], received["size"], "price" in received) == ("market", "4", False)
    assert (first["taker_fee_rate"], first["side"]) == ("0.006", "buy")


def test_an_order_by_funds_tells_them(desk, user):
    desk.call("POST", "/orders", type="market", side="buy", product_id="ETH-USDT", funds="100")
    received, match, done = user.take()
    assert (received["funds"], "size" in received) == ("100", False)
    assert (match["type"], done["type"], done["reason"]) == ("match", "done", "filled")
    assert "remaining_size" not in done


def test_a_stop_order_is_told_to_its_owner_and_received_when_it_is_due(desk, user):
    stranger = Socket(desk)
    desk.exchange.open_account("KEY2", SECRET, name="other", passphrase="phrase")
    stranger.subscribe("full", **stranger.signed(key="KEY2"))
    placed = desk.place(side="sell", price="1980", stop="loss", stop_price="1990")
    [activate] = user.take()
    assert (activate["type"], activate["stop_type"], activate["stop_price"], activate["private"]) == (
        "activate",
        "loss",
        "1990",
        True,
    )
    assert stranger.take() == []
    desk.exchange.public_trade("ETH/USDT", D("1990"), D("0.1"), "sell", desk.now)
    told = user.take()
    assert [message["type"] for message in told] == ["received", "match", "done"]
    assert {message.get("order_id", placed["id"]) for message in told} == {placed["id"]}
    assert "received" in {message["type"] for message in stranger.take()}


def test_an_order_made_smaller_by_another_of_its_account(desk, user):
    waits = desk.place(side="sell", price="2000.05", size="1")
    user.take()
    comes = desk.place(price="2000.05", size="0.4")
    received, change, done = user.take()
    assert (received["order_id"], received["size"]) == (comes["id"], "0.4")
    assert (change["type"], change["order_id"], change["reason"]) == ("change", waits["id"], "STP")
    assert (change["old_size"], change["new_size"]) == ("1", "0.6")
    assert (done["order_id"], done["reason"], done["remaining_size"]) == (comes["id"], "canceled", "0.4")
    larger = desk.place(price="2000.05", size="1")
    received, gone, change, opened = user.take()
    assert (received["order_id"], received["size"]) == (larger["id"], "1")
    told = {message["type"]: message for message in (gone, change, opened)}
    assert (told["done"]["order_id"], told["done"]["remaining_size"]) == (waits["id"], "0.6")
    assert (told["change"]["old_size"], told["change"]["new_size"]) == ("1", "0.4")
    assert told["open"]["order_id"] == larger["id"]


def test_user_has_only_what_is_ones_own_and_full_everything(desk, user):
    desk.exchange.open_account("KEY2", SECRET, name="other", passphrase="phrase")
    other = desk.exchange.accounts["other"]
    desk.exchange.deposit(other, "USDT", D(10_000), desk.now)
    full = Socket(desk)
    full.subscribe("full", **full.signed())
    desk.call("POST", "/orders", {"key": "KEY2"}, type="limit", side="buy", product_id="ETH-USDT",
              size="1", price="2000.05")  # fmt: skip
    assert user.take() == []
    theirs = full.take()
    assert [message["type"] for message in theirs] == ["received", "open"]
    assert not any("user_id" in message for message in theirs)
    desk.place(side="sell", price="2000.05", size="0.4")
    everything = full.take()
    assert [message["type"] for message in everything] == ["received", "match", "done"]
    assert [message for message in everything if "user_id" in message] == user.take()
    numbers = [message["sequence"] for message in theirs + everything]
    assert numbers == list(range(numbers[0], numbers[0] + 5)), "full has no gap"
    assert desk.asked("/products/ETH-USDT/book")["sequence"] == numbers[-1]


def test_a_revoked_key_hears_nothing_more(desk, user):
    desk.exchange.revoke_key("KEY")
    desk.exchange.public_trade("ETH/USDT", D("2000"), D("0.1"), "sell", desk.now)
    desk.exchange.cancel_all(desk.account, now=desk.now)
    assert user.take() == []


# --- Market data ---


def test_a_book_is_kept_by_its_snapshot_and_its_changes(desk):
    socket = Socket(desk)
    socket.subscribe("level2", **socket.signed())
    book: dict[str, dict[Decimal, Decimal]] = {"buy": {}, "sell": {}}

    def keep() -> None:
        for message in socket.take("snapshot", "l2update"):
            if message["type"] == "snapshot":
                book["buy"] = {D(price): D(size) for price, size in message["bids"]}
                book["sell"] = {D(price): D(size) for price, size in message["asks"]}
            for side, price, size in message.get("changes", ()):
                if D(size):
                    book[side][D(price)] = D(size)
                else:
                    del book[side][D(price)]  # what is removed was there
        shown = desk.exchange.depth("ETH/USDT", now=desk.now)
        assert book == {"buy": dict(shown.bids), "sell": dict(shown.asks)}

    keep()
    desk.exchange.update_book("ETH/USDT", [(D("2000"), D(0)), (D("1998"), D(3))], [], desk.now)
    keep()
    placed = desk.place(price="1999")
    keep()
    desk.place(price="2000.50", size="2")
    keep()
    desk.call("DELETE", f"/orders/{placed['id']}")
    keep()
    socket.say(type="unsubscribe", product_ids=["ETH-USDT"], channels=["level2"])
    desk.place()
    assert socket.take("l2update") == []


def test_a_batched_book_comes_unsigned_and_at_ticks(desk):
    socket = Socket(desk)
    socket.subscribe("level2_batch")
    assert [message["type"] for message in socket.take()] == ["snapshot"]
    desk.exchange.update_book("ETH/USDT", [(D("1998"), D(3))], [], desk.now)
    desk.exchange.update_book("ETH/USDT", [(D("1998"), D(4)), (D("1997"), D(1))], [], desk.now)
    assert socket.take() == []
    socket.session.tick(desk.now)
    [message] = socket.take()
    assert sorted(message["changes"]) == [["buy", "1997", "1.00000000"], ["buy", "1998", "4.00000000"]]
    socket.session.tick(desk.now)
    assert socket.take() == []


def test_matches_begin_with_the_last_one_and_tell_the_makers_side(desk):
    desk.exchange.public_trade("ETH/USDT", D("2000.1"), D("0.2"), "buy", desk.now)
    socket = Socket(desk)
    socket.subscribe("matches")
    [last] = socket.take()
    assert (last["type"], last["price"], last["size"], last["side"]) == (
        "last_match",
        "2000.1",
        "0.2",
        "sell",
    )
    desk.exchange.public_trade("ETH/USDT", D("2000"), D("0.3"), "sell", desk.now)
    [match] = socket.take()
    assert (match["type"], match["price"], match["side"]) == ("match", "2000", "buy")
    assert match["trade_id"] > last["trade_id"] and "user_id" not in match
    [row, _] = desk.asked("/products/ETH-USDT/trades")
    assert (row["trade_id"], row["side"], D(row["size"])) == (match["trade_id"], "buy", D("0.3"))


def test_the_ticker_and_the_heartbeat(desk):
    socket = Socket(desk)
    socket.subscribe("ticker", "heartbeat")
    assert socket.take() == []  # nothing was traded yet
    desk.exchange.public_trade("ETH/USDT", D("2000.1"), D("0.2"), "buy", desk.now)
    [ticker] = socket.take("ticker")
    assert (ticker["price"], ticker["best_bid"], ticker["best_ask"]) == ("2000.1", "2000", "2000.1")
    assert (ticker["side"], ticker["last_size"]) == ("buy", "0.2")
    socket.session.tick(desk.now)
    socket.session.tick(desk.now + 0.5)
    [beat] = socket.take("heartbeat")
    assert (beat["last_trade_id"], beat["product_id"]) == (ticker["trade_id"], "ETH-USDT")
    assert beat["sequence"] == ticker["sequence"]
    socket.session.tick(desk.now + 1)
    assert len(socket.take("heartbeat")) == 1
    shown = desk.asked("/products/ETH-USDT/ticker")
    assert (shown["price"], shown["bid"], shown["trade_id"]) == ("2000.1", "2000", ticker["trade_id"])
