"""Coinbase Exchange's dialect, request by request, without a socket."""

import base64
import hashlib
import hmac
import json
from decimal import Decimal
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.dialects import dialect
from simulator.dialects.coinbaseexchange import MARKETS, CoinbaseExchange
from simulator.dialects.coinbaseexchange_words import is_uuid, order_name, order_number
from simulator.dialects.dialect import Request, View
from simulator.exchange import Exchange
from simulator.records import CANCEL_ONLY_MODE, HALT, MAINTENANCE_MODE, POST_ONLY_ONLY_MODE

SECRET = base64.b64encode(b"a secret of Coinbase's shape").decode()
UUID = "d15708c1-dbb6-465d-b77d-47258319cc90"
OTHER_UUID = "9c3f6a34-33c2-4b5e-8f0d-2d1a1c1d5a11"
NOW = 1_700_000_000.0
D = Decimal
LIMIT = {"type": "limit", "side": "buy", "product_id": "ETH-USDT", "size": "0.5", "price": "1990"}


def sign(secret: str, text: str) -> str:
    """The signature as the exchange's page describes it, made without the simulator's help."""
    return base64.b64encode(
        hmac.new(base64.b64decode(secret), text.encode(), hashlib.sha256).digest()
    ).decode()


class Desk:
    """An exchange with a book, an account with money, and a caller who signs."""

    def __init__(self, **settings) -> None:
        # An exchange that has lived before goes on with its ids: they are large and do not begin at 1.
        self.exchange = Exchange("coinbaseexchange", MARKETS, first_id=1_700_000_000_000)
        self.coinbase = CoinbaseExchange(self.exchange, **settings)
        self.now = NOW
        self.account = self.exchange.open_account("KEY", SECRET, name="desk", passphrase="phrase")
        self.exchange.deposit(self.account, "USDT", D(10_000), NOW)
        self.exchange.deposit(self.account, "ETH", D(3), NOW)
        self.exchange.set_book(
            "ETH/USDT",
            [(D("2000.00"), D("5")), (D("1999.50"), D("7"))],
            [(D("2000.10"), D("1")), (D("2000.50"), D("9"))],
            NOW,
        )

    def request(self, method, path, body="", clock=None, **changes) -> Request:
        clock = self.now if clock is None else clock
        stamp = str(changes.pop("stamp", int(clock)))
        signed = changes.pop("signed", f"{method}{path}{body}")
        headers = {
            "cb-access-key": changes.pop("key", "KEY"),
            "cb-access-timestamp": stamp,
            "cb-access-sign": sign(changes.pop("secret", SECRET), stamp + signed),
            "cb-access-passphrase": changes.pop("passphrase", "phrase"),
        }
        for name in changes.pop("without", ()):
            del headers[name]
        view, remote = changes.pop("view", View()), changes.pop("remote", "127.0.0.1")
        assert not changes
        where, _, query = path.partition("?")
        return Request(
            method=method,
            path=where,
            query=query,
            headers=headers,
            body=body.encode(),
            remote=remote,
            now=self.now,
            clock=clock,
            view=view,
        )

    def call(self, method, path, changes=None, body=None, **fields):
        """Send one signed request; fields go into the query of a GET and the body of a POST."""
        if fields and method != "POST":
            path += "?" + urlencode(fields, doseq=True)
        text = json.dumps(fields) if method == "POST" and body is None else body or ""
        return self.coinbase.handle(self.request(method, path, text, **(changes or {})))

    def asked(self, path, **fields):
        answer = self.call("GET", path, **fields)
        assert answer.status == 200, answer
        return answer.body

    def place(self, **fields):
        answer = self.call("POST", "/orders", **LIMIT | fields)
        assert answer.status == 200, answer
        return answer.body

    def refused(self, **fields):
        before = len(self.exchange.orders)
        wanted = {name: value for name, value in (LIMIT | fields).items() if value is not None}
        answer = self.call("POST", "/orders", **wanted)
        assert len(self.exchange.orders) == before
        return answer.status, answer.body["message"]

    def order(self, name):
        return self.account.orders[order_number(name)]


@pytest.fixture
def desk():
    return Desk()


def owned(desk, currency):
    free, locked = desk.exchange.balances(desk.account)[currency]
    return free, locked


# --- Signatures ---

BAD_SIGNATURES = {
    "no key": ({"without": ["cb-access-key"]}, 401, "CB-ACCESS-KEY header is required"),
    "no signature": ({"without": ["cb-access-sign"]}, 401, "CB-ACCESS-SIGN header is required"),
    "no time": ({"without": ["cb-access-timestamp"]}, 401, "CB-ACCESS-TIMESTAMP header is required"),
    "no passphrase": ({"without": ["cb-access-passphrase"]}, 401, "CB-ACCESS-PASSPHRASE header is required"),
    "another key": ({"key": "OTHER"}, 401, "Invalid API Key"),
    "another secret": ({"secret": base64.b64encode(b"other").decode()}, 401, "invalid signature"),
    "another passphrase": ({"passphrase": "other"}, 401, "Invalid Passphrase"),
    "another path": ({"signed": "GET/fills"}, 401, "invalid signature"),
    "another method": ({"signed": "POST/accounts"}, 401, "invalid signature"),
    "31 s ago": ({"stamp": int(NOW) - 31}, 401, "request timestamp expired"),
    "31 s ahead": ({"stamp": int(NOW) + 31}, 401, "request timestamp expired"),
    "milliseconds": ({"stamp": int(NOW * 1000)}, 401, "invalid timestamp"),
    "words": ({"stamp": "now"}, 401, "invalid timestamp"),
}


@pytest.mark.parametrize("case", BAD_SIGNATURES)
def test_a_request_that_is_not_signed_as_it_should_is_refused(desk, case):
    changes, status, words = BAD_SIGNATURES[case]
    answer = desk.call("GET", "/accounts", changes)
    assert (answer.status, answer.body) == (status, {"message": words})


@pytest.mark.parametrize("stamp", [int(NOW) - 30, int(NOW) + 30, f"{NOW:.3f}", str(int(NOW))])
def test_a_time_is_in_seconds_and_good_for_thirty(desk, stamp):
    assert desk.call("GET", "/accounts", {"stamp": stamp}).status == 200


def test_the_query_and_the_body_are_signed(desk):
    assert desk.call("GET", "/fills?product_id=ETH-USDT", {"signed": "GET/fills"}).status == 401
    answer = desk.call("POST", "/orders", {"signed": 'POST/orders{"size": "9"}'}, **LIMIT)
    assert (answer.status, desk.exchange.orders) == (401, {})


def test_a_revoked_key_and_one_without_rights(desk):
    desk.exchange.keys["KEY"].permissions = frozenset(("read",))
    assert desk.refused() == (403, "Forbidden")
    assert desk.call("GET", "/accounts").status == 200
    desk.exchange.revoke_key("KEY")
    assert desk.call("GET", "/accounts").body == {"message": "Invalid API Key"}


# --- New orders ---

REFUSALS = {
    "no such product": ({"product_id": "ETH-NONE"}, 404, "Product not found"),
    "no side": ({"side": None}, 400, "Invalid side"),
    "another type": ({"type": "stop"}, 400, "Invalid type"),
    "no price": ({"price": None}, 400, "Invalid price"),
    "a price of nothing": ({"price": "0"}, 400, "Invalid price"),
    "a price below zero": ({"price": "-1"}, 400, "Invalid price"),
    "a size that is none": ({"size": "NaN"}, 400, "Invalid size"),
    "a size beyond all": ({"size": "1e400"}, 400, "Invalid size"),
    "off the tick": ({"price": "1990.001"}, 400, "price is too accurate. Smallest unit is 0.01000000"),
    "off the lot": ({"size": "0.123456789"}, 400, "size is too accurate. Smallest unit is 0.00000001"),
    "worth too little": ({"size": "0.0004"}, 400, "size is too small. Minimum size is 0.00050251"),
    "funds too small": (
        {"type": "market", "size": None, "price": None, "funds": "0.99"},
        400,
        "funds is too small. Minimum size is 1.00000000",
    ),
    "funds off the tick": (
        {"type": "market", "size": None, "price": None, "funds": "10.001"},
        400,
        "funds is too accurate. Smallest unit is 0.01000000",
    ),
    "size and funds": ({"type": "market", "funds": "10"}, 400, "size or funds is required"),
    "neither": ({"type": "market", "size": None}, 400, "size or funds is required"),
    "more than there is": ({"size": "6"}, 400, "Insufficient funds"),
    "more with the fee": ({"size": "5.0251"}, 400, "Insufficient funds"),  # 9,999.95 and 60 for the fee
    "an id that is no UUID": ({"client_oid": "order-1"}, 400, "Invalid client_oid"),
    "an id of 32 digits": ({"client_oid": UUID.replace("-", "")}, 400, "Invalid client_oid"),
    "good till a date": ({"time_in_force": "GTD"}, 400, "Invalid time_in_force"),
    "good till time without one": ({"time_in_force": "GTT"}, 400, "Invalid cancel_after"),
    "a time without GTT": ({"cancel_after": "min"}, 400, "Invalid cancel_after"),
    "an hour and a half": ({"time_in_force": "GTT", "cancel_after": "90min"}, 400, "Invalid cancel_after"),
    "post only at once": ({"post_only": True, "time_in_force": "IOC"}, 400, "Invalid post_only"),
    "a stop without a price": ({"stop": "loss"}, 400, "Invalid stop_price"),
    "a stop price alone": ({"stop_price": "1900"}, 400, "Invalid stop"),
    "a stop of a market order": (
        {"type": "market", "price": None, "stop": "loss", "stop_price": "1900"},
        400,
        "Invalid stop",
    ),
    "a stop off the tick": (
        {"stop": "entry", "stop_price": "2100.001"},
        400,
        "stop_price is too accurate. Smallest unit is 0.01000000",
    ),
    "an iceberg": ({"max_floor": "0.1"}, 400, "max_floor is not supported"),
    "another way not to trade with oneself": ({"stp": "xx"}, 400, "Invalid stp"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_an_order_that_cannot_be_is_refused_in_the_exchanges_words(desk, case):
    fields, status, words = REFUSALS[case]
    before = desk.exchange.balances(desk.account)
    assert desk.refused(**fields) == (status, words)
    assert desk.exchange.balances(desk.account) == before


@pytest.mark.parametrize("body", ["", "[]", "null", '"order"', "{", "5"])
def test_a_body_that_is_no_order(desk, body):
    answer = desk.call("POST", "/orders", body=body)
    assert (answer.status, answer.body) == (400, {"message": "Bad Request"})


MODES = {
    HALT: "Trading pair not available",
    CANCEL_ONLY_MODE: "Cancel only mode",
    POST_ONLY_ONLY_MODE: "Post only mode",
}


@pytest.mark.parametrize("mode", MODES)
def test_a_market_that_does_not_trade_says_so_and_cancels_all_the_same(desk, mode):
    placed = desk.place()
    desk.exchange.set_mode(mode, desk.now, "ETH/USDT")
    assert desk.refused() == (400, MODES[mode])
    product = desk.asked("/products/ETH-USDT")
    told = {HALT: "trading_disabled", CANCEL_ONLY_MODE: "cancel_only", POST_ONLY_ONLY_MODE: "post_only"}
    assert {name for name in told.values() if product[name]} == {told[mode]}
    assert json.loads(desk.call("DELETE", f"/orders/{placed['id']}").body) == placed["id"]


def test_in_maintenance_nothing_is_answered_but_the_time(desk):
    desk.exchange.set_mode(MAINTENANCE_MODE, desk.now)
    assert desk.call("GET", "/accounts").status == 503
    assert desk.call("GET", "/products").status == 503
    assert desk.asked("/time")["epoch"] == NOW


def test_a_new_order_is_pending_whatever_became_of_it(desk):
    placed = desk.place(price="2000.10", client_oid=UUID)
    assert (placed["status"], placed["settled"], placed["filled_size"]) == ("pending", False, "0.00000000")
    assert (placed["client_oid"], placed["stp"], is_uuid(placed["id"])) == (UUID, "dc", True)
    assert "done_at" not in placed
    now = desk.asked(f"/orders/{placed['id']}")
    assert (now["status"], now["done_reason"], now["settled"]) == ("done", "filled", True)
    assert (D(now["filled_size"]), D(now["executed_value"])) == (D("0.5"), D("1000.05"))
    # 0.6 % on top of what it cost.
    assert D(now["fill_fees"]) == D("6.0003")
    assert owned(desk, "USDT") == (D(10_000) - D("1000.05") - D("6.0003"), 0)


def test_a_post_only_order_that_would_take_is_rejected_with_a_200(desk):
    answer = desk.call(
        "POST", "/orders", **LIMIT | {"price": "2000.10", "post_only": True, "client_oid": UUID}
    )
    assert answer.status == 200
    assert (answer.body["status"], answer.body["reject_reason"]) == ("rejected", "post only")
    assert desk.exchange.orders == {} and owned(desk, "USDT") == (D(10_000), 0)
    for name in (answer.body["id"], f"client:{UUID}"):
        gone = desk.call("GET", f"/orders/{name}")
        assert (gone.status, gone.body) == (404, {"message": "NotFound"})


def test_one_client_id_twice_is_two_orders(desk):
    first, second = desk.place(client_oid=UUID), desk.place(client_oid=UUID)
    assert first["id"] != second["id"]
    assert [order.client_order_id for order in desk.exchange.open_orders(desk.account)] == [UUID, UUID]
    found = desk.asked(f"/orders/client:{UUID}")
    assert found["id"] in (first["id"], second["id"]) and found["client_oid"] == UUID


@pytest.mark.parametrize(
    ("fields", "filled", "reason"),
    [
        ({"time_in_force": "IOC", "price": "2000.10", "size": "3"}, "1", "canceled"),
        ({"time_in_force": "FOK", "price": "2000.10", "size": "3"}, None, None),
        ({"time_in_force": "FOK", "price": "2000.50", "size": "3"}, "3", "filled"),
        ({"type": "market", "size": "3"}, "3", "filled"),
        ({"type": "market", "side": "sell", "size": "3"}, "3", "filled"),
    ],
)
def test_an_immediate_order(desk, fields, filled, reason):
    placed = desk.place(**fields)
    answer = desk.call("GET", f"/orders/{placed['id']}")
    if filled is None:
        assert answer.status == 404  # it ended without a fill, and is purged
    else:
        assert (D(answer.body["filled_size"]), answer.body["done_reason"]) == (D(filled), reason)
    assert desk.exchange.open_orders(desk.account) == [] and desk.exchange.imbalance() == {}


def test_a_market_order_by_funds_spends_them_with_the_fee_in_them(desk):
    answer = desk.call(
        "POST", "/orders", type="market", side="buy", product_id="ETH-USDT", funds="1000", client_oid=UUID
    )
    assert answer.status == 200 and "size" not in answer.body
    row = desk.asked(f"/orders/{answer.body['id']}")
    spent = D(row["executed_value"]) + D(row["fill_fees"])
    assert D(999) < spent <= D(1000) and D(row["specified_funds"]) == 1000
    assert owned(desk, "USDT") == (10_000 - spent, 0)


def test_an_order_good_for_a_minute_is_gone_after_it(desk):
    placed = desk.place(time_in_force="GTT", cancel_after="min")
    row = desk.asked(f"/orders/{placed['id']}")
    assert (row["time_in_force"], row["expire_time"]) == ("GTT", "2023-11-14T22:14:20.000000Z")
    desk.now += 59
    assert desk.asked(f"/orders/{placed['id']}")["status"] == "open"
    desk.now += 1
    desk.exchange.advance("ETH/USDT", desk.now)
    assert desk.call("GET", f"/orders/{placed['id']}").status == 404
    assert owned(desk, "USDT") == (D(10_000), 0)


@pytest.mark.parametrize(
    ("side", "stop", "stop_price", "quiet", "fires"),
    [
        ("sell", "loss", "1990", "1990.01", "1990"),
        ("buy", "entry", "2010", "2009.99", "2010"),
        ("buy", "loss", "1990", "1990.01", "1989"),  # take profit, as Coinbase calls neither
    ],
)
def test_a_stop_order_is_active_until_a_trade_meets_it(desk, side, stop, stop_price, quiet, fires):
    price = "1980" if side == "sell" else "2020"
    placed = desk.place(side=side, price=price, stop=stop, stop_price=stop_price)
    row = desk.asked(f"/orders/{placed['id']}")
    assert (row["status"], row["stop"], D(row["stop_price"])) == ("active", stop, D(stop_price))
    assert [one["id"] for one in desk.asked("/orders")] == [placed["id"]]  # listed by default
    assert [one["id"] for one in desk.asked("/orders", status="open")] == []
    desk.exchange.public_trade("ETH/USDT", D(quiet), D("0.1"), "buy", desk.now)
    assert desk.asked(f"/orders/{placed['id']}")["status"] == "active"
    desk.exchange.public_trade("ETH/USDT", D(fires), D("0.1"), "buy", desk.now)
    row = desk.asked(f"/orders/{placed['id']}")
    assert (row["status"], D(row["filled_size"])) == ("done", D("0.5"))
    assert desk.exchange.imbalance() == {}


# --- Trading with oneself ---

# (stp, size of an order to buy) that meets one to sell 1 at 2000.05 -> (rest of the old, rest of the new)
OWN = {
    ("dc", "0.4"): ("0.6", None),
    ("dc", "1"): (None, None),
    ("dc", "1.5"): (None, "0.5"),
    ("co", "0.4"): (None, "0.4"),
    ("cn", "0.4"): ("1", None),
    ("cb", "0.4"): (None, None),
}


@pytest.mark.parametrize(("stp", "size"), OWN)
def test_two_orders_of_one_account_never_trade(desk, stp, size):
    waits = desk.place(side="sell", price="2000.05", size="1")
    comes = desk.place(price="2000.05", size=size, stp=stp)
    assert desk.asked("/fills", product_id="ETH-USDT") == []
    rests = []
    for placed in (waits, comes):
        answer = desk.call("GET", f"/orders/{placed['id']}")
        rests.append(None if answer.status == 404 else answer.body["size"])
    assert [None if rest is None else D(rest) for rest in rests] == [
        None if rest is None else D(rest) for rest in OWN[stp, size]
    ]
    # What waits holds what it needs, and nothing else does.
    sold, bought = (D(rest or 0) for rest in OWN[stp, size])
    assert owned(desk, "ETH") == (3 - sold, sold)
    assert owned(desk, "USDT")[1] == bought * D("2000.05") * D("1.006")
    assert desk.exchange.imbalance() == {}


def test_what_is_displayed_before_the_own_order_is_taken_first(desk):
    waits = desk.place(side="sell", price="2000.30", size="1")
    comes = desk.place(price="2000.50", size="4")
    # 1 displayed at 2000.10 is bought, 1 is cut against the own order, 2 displayed at 2000.50 are bought.
    fills = desk.asked("/fills", order_id=comes["id"])
    assert sorted((D(fill["price"]), D(fill["size"])) for fill in fills) == [
        (D("2000.10"), D("1")),
        (D("2000.50"), D("2")),
    ]
    assert desk.call("GET", f"/orders/{waits['id']}").status == 404
    row = desk.asked(f"/orders/{comes['id']}")
    assert (D(row["size"]), D(row["filled_size"]), row["done_reason"]) == (D("3"), D("3"), "filled")
    assert owned(desk, "ETH") == (D(6), 0) and desk.exchange.imbalance() == {}


# --- Cancelling ---


def test_a_cancel_answers_with_the_id_and_the_order_is_forgotten(desk):
    placed = desk.place(client_oid=UUID)
    answer = desk.call("DELETE", f"/orders/client:{UUID}?product_id=ETH-USDT")
    assert answer.body == f'"{placed["id"]}"'
    assert owned(desk, "USDT") == (D(10_000), 0)
    for name in (placed["id"], f"client:{UUID}"):
        gone = desk.call("GET", f"/orders/{name}")
        assert (gone.status, gone.body) == (404, {"message": "NotFound"})
        again = desk.call("DELETE", f"/orders/{name}")
        assert (again.status, again.body) == (404, {"message": "order not found"})
    assert desk.asked("/orders", status="all") == []


def test_a_cancel_of_what_is_done_or_never_was(desk):
    done = desk.place(price="2000.10")
    answer = desk.call("DELETE", f"/orders/{done['id']}")
    assert (answer.status, answer.body) == (400, {"message": "Order already done"})
    never = desk.call("DELETE", f"/orders/{OTHER_UUID}")
    assert (never.status, never.body) == (404, {"message": "order not found"})
    wrong = desk.call("DELETE", "/orders/17")
    assert (wrong.status, wrong.body) == (400, {"message": "Invalid order id"})


def test_a_cancel_that_names_another_product_misses(desk):
    placed = desk.place()
    assert desk.call("DELETE", f"/orders/{placed['id']}?product_id=BTC-USDT").status == 404
    assert desk.order(placed["id"]).open
    # ccxt's body with its own symbol is signed and otherwise not looked at.
    body = '{"product_id":"ETH/USDT"}'
    assert json.loads(desk.call("DELETE", f"/orders/{placed['id']}", body=body).body) == placed["id"]


def test_cancelling_all_of_a_product_leaves_the_others(desk):
    eth, btc = desk.place(), desk.place(product_id="BTC-USDT", price="20000", size="0.1")
    assert desk.call("DELETE", "/orders?product_id=ETH-USDT").body == [eth["id"]]
    assert [one["id"] for one in desk.asked("/orders")] == [btc["id"]]
    assert desk.call("DELETE", "/orders?product_id=NO-NE").status == 404
    assert desk.call("DELETE", "/orders").body == [btc["id"]]


def test_anothers_order_is_not_there(desk):
    placed = desk.place(client_oid=UUID)
    desk.exchange.open_account("KEY2", SECRET, name="other", passphrase="phrase")
    for method in ("GET", "DELETE"):
        for name in (placed["id"], f"client:{UUID}"):
            assert desk.call(method, f"/orders/{name}", {"key": "KEY2"}).status == 404
    assert desk.order(placed["id"]).open


# --- Lists ---


def test_lists_are_newest_first_and_the_head_leads_to_older_rows(desk):
    names = [desk.place(size="0.01")["id"] for _ in range(5)]
    pages, after = [], None
    for _ in range(3):
        answer = desk.call("GET", "/orders", limit=2, **({} if after is None else {"after": after}))
        pages.append([row["id"] for row in answer.body])
        after = answer.headers.get("CB-AFTER")
        assert answer.headers["CB-BEFORE"] == str(order_number(pages[-1][0]))
    assert pages == [[names[4], names[3]], [names[2], names[1]], [names[0]]] and after is None
    newer = desk.call("GET", "/orders", before=order_number(names[3]))
    assert [row["id"] for row in newer.body] == [names[4]]
    empty = desk.call("GET", "/orders", before=order_number(names[4]))
    assert (empty.body, dict(empty.headers)) == ([], {})


def test_orders_are_listed_by_status_product_and_time(desk):
    old = desk.place()
    desk.now += 100
    done = desk.place(price="2000.10")
    other = desk.place(product_id="BTC-USDT", price="20000", size="0.01")
    listed = {
        "by default": ({}, [other, old]),
        "open": ({"status": "open"}, [other, old]),
        "done": ({"status": "done"}, [done]),
        "all": ({"status": "all"}, [other, done, old]),
        "two of them": ({"status": ["open", "done"]}, [other, done, old]),
        "a product": ({"status": "all", "product_id": "ETH-USDT"}, [done, old]),
        "since": ({"status": "all", "start_date": "2023-11-14T22:14:00Z"}, [other, done]),
        "until": ({"status": "all", "end_date": "2023-11-14T22:14:00.000Z"}, [old]),
    }
    for case, (fields, wanted) in listed.items():
        assert [row["id"] for row in desk.asked("/orders", **fields)] == [row["id"] for row in wanted], case
    for fields in ({"status": "lost"}, {"start_date": "today"}, {"limit": "0"}, {"after": "x"}):
        assert desk.call("GET", "/orders", **fields).status == 400
    assert desk.call("GET", "/orders", product_id="NO-NE").status == 404


def test_fills_are_of_an_order_or_a_product_and_have_the_fee_in_quote(desk):
    taker = desk.place(price="2000.10")
    maker = desk.place(price="2000.05", size="0.2")
    desk.exchange.public_trade("ETH/USDT", D("2000.05"), D("0.2"), "sell", desk.now)
    second, first = desk.asked("/fills", product_id="ETH-USDT")
    assert [(row["order_id"], row["liquidity"], row["side"]) for row in (first, second)] == [
        (taker["id"], "T", "buy"),
        (maker["id"], "M", "buy"),
    ]
    assert D(first["fee"]) == D("1000.05") * D("0.006") and D(second["fee"]) == D("400.01") * D("0.004")
    assert [row["trade_id"] for row in desk.asked("/fills", order_id=maker["id"])] == [second["trade_id"]]
    assert desk.call("GET", "/fills").status == 400
    page = desk.call("GET", "/fills", product_id="ETH-USDT", limit=1)
    assert page.headers["CB-AFTER"] == str(second["trade_id"])
    rest = desk.call("GET", "/fills", product_id="ETH-USDT", limit=1, after=second["trade_id"])
    assert (rest.body, "CB-AFTER" in rest.headers) == ([first], False)


def test_the_past_can_be_shown_and_the_closed_be_hidden(desk):
    done = desk.place(price="2000.10", client_oid=UUID)
    hidden = {"view": View(hide_closed=True)}
    assert desk.call("GET", f"/orders/client:{UUID}", hidden).status == 404
    assert desk.call("GET", "/orders?status=all", hidden).body == []
    assert len(desk.call("GET", f"/fills?order_id={done['id']}", hidden).body) == 1
    past = {"view": View(orders_as_of=NOW - 1, balances_as_of=NOW - 1)}
    assert desk.call("GET", f"/orders/{done['id']}", past).status == 404
    assert all(D(row["balance"]) == 0 for row in desk.call("GET", "/accounts", past).body)


# --- Money ---


def test_accounts_are_of_every_currency(desk):
    desk.place()
    rows = {row["currency"]: row for row in desk.asked("/accounts")}
    assert set(rows) == {"BTC", "ETH", "USDT"}
    held = D("995") * D("1.006")
    usdt = rows["USDT"]
    assert (D(usdt["balance"]), D(usdt["hold"]), D(usdt["available"])) == (10_000, held, 10_000 - held)
    assert D(rows["BTC"]["balance"]) == 0
    assert desk.asked(f"/accounts/{usdt['id']}") == usdt
    assert desk.call("GET", f"/accounts/{OTHER_UUID}").status == 404


def test_transfers_tell_their_kind_and_a_withdrawals_fee(desk):
    desk.exchange.withdraw(
        desk.account, "ETH", D("0.5"), NOW + 1, fee=D("0.01"), address="somewhere", txid="7"
    )
    rows = desk.asked("/transfers")
    assert [(row["type"], row["currency"], D(row["amount"])) for row in rows] == [
        ("withdraw", "ETH", D("0.51")),
        ("deposit", "ETH", D("3")),
        ("deposit", "USDT", D("10000")),
    ]
    assert rows[0]["details"]["fee"] == "0.01" and rows[0]["details"]["sent_to_address"] == "somewhere"
    assert [row["type"] for row in desk.asked("/transfers", type="withdraw")] == ["withdraw"]
    [usdt] = [row["id"] for row in desk.asked("/accounts") if row["currency"] == "USDT"]
    assert [row["currency"] for row in desk.asked(f"/accounts/{usdt}/transfers")] == ["USDT"]
    assert desk.call("GET", "/transfers", type="gift").status == 400


def test_the_fees_are_the_accounts(desk):
    desk.place(price="2000.10")
    assert desk.asked("/fees") == {
        "taker_fee_rate": "0.006",
        "maker_fee_rate": "0.004",
        "usd_volume": "1000.05",
    }


# --- Limits ---


@pytest.mark.parametrize(
    ("path", "burst", "per_s", "words"),
    [
        ("/products", 15, 10, "Public rate limit exceeded"),
        ("/accounts", 30, 15, "Private rate limit exceeded"),
        ("/fills?product_id=ETH-USDT", 20, 10, "Private rate limit exceeded"),
    ],
)
def test_a_bucket_is_full_at_first_and_refills(desk, path, burst, per_s, words):
    assert [desk.call("GET", path).status for _ in range(burst)] == [200] * burst
    answer = desk.call("GET", path)
    assert (answer.status, answer.body) == (429, {"message": words})
    desk.now += 1
    assert [desk.call("GET", path).status for _ in range(per_s + 1)] == [200] * per_s + [429]
    desk.now += 100  # it holds no more than the burst, however long nobody asked
    assert [desk.call("GET", path).status for _ in range(burst + 1)] == [200] * burst + [429]


def test_public_limits_are_an_addresss_and_private_ones_a_profiles(desk):
    for _ in range(15):
        desk.call("GET", "/products")
    assert desk.call("GET", "/products").status == 429
    assert desk.call("GET", "/products", {"remote": "10.0.0.1"}).status == 200
    assert desk.call("GET", "/accounts").status == 200
    for _ in range(30):
        desk.call("GET", "/accounts")
    assert desk.call("GET", "/accounts", {"remote": "10.0.0.1"}).status == 429
    assert desk.call("GET", "/fills?product_id=ETH-USDT").status == 200  # a bucket of its own
    desk.exchange.open_account("KEY2", SECRET, name="other", passphrase="phrase")
    assert desk.call("GET", "/accounts", {"key": "KEY2"}).status == 200
    desk.exchange.open_account("KEY3", SECRET, name="desk", passphrase="phrase")
    assert desk.call("GET", "/accounts", {"key": "KEY3"}).status == 429  # the same profile


def test_without_limits_nothing_is_counted():
    desk = Desk(limited=False)
    assert {desk.call("GET", "/products").status for _ in range(100)} == {200}


# --- What the wire asks of a dialect ---


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("POST", "/orders", dialect.CREATE),
        ("DELETE", "/orders/1", dialect.CANCEL),
        ("DELETE", "/orders/client:1", dialect.CANCEL),
        ("DELETE", "/orders", dialect.CANCEL_ALL),
        ("GET", "/orders/1", dialect.FETCH),
        ("GET", "/orders/client:1", dialect.FETCH),
        ("GET", "/orders", dialect.OPEN_ORDERS),
        ("GET", "/orders?status=done", dialect.CLOSED_ORDERS),
        ("GET", "/orders?status=all&limit=3", dialect.CLOSED_ORDERS),
        ("GET", "/fills?order_id=1", dialect.MY_TRADES),
        ("GET", "/accounts", dialect.BALANCE),
        ("GET", "/accounts/1/transfers", dialect.TRANSFERS),
        ("GET", "/transfers", dialect.TRANSFERS),
        ("GET", "/fees", dialect.FEES),
        ("GET", "/products", dialect.MARKETS),
        ("GET", "/currencies", dialect.MARKETS),
        ("GET", "/products/ETH-USDT/book", dialect.MARKET_DATA),
        ("GET", "/time", dialect.TIME),
        ("GET", "/profiles", dialect.OTHER),
    ],
)
def test_the_fault_rules_name_for_a_request(desk, method, path, kind):
    assert desk.coinbase.kind(desk.request(method, path)) == kind


@pytest.mark.parametrize("path", ["/", "/products/ETH-USDT/candles", "/profiles", "/loans", "/orders/1/2"])
def test_what_is_not_served_says_so(desk, path):
    answer = desk.call("GET", path)
    assert (answer.status, answer.body) == (404, {"message": "NotFound"})


def test_names_of_orders_are_uuids_and_lead_back():
    for number in (1, 1_700_000_000_000, 2**48 - 1):
        assert is_uuid(order_name(number)) and order_number(order_name(number)) == number
    assert order_number(OTHER_UUID) == 0


nonsense = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12) | st.sampled_from(("buy", "NaN")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)
FIELDS = (
    *("type", "side", "product_id", "size", "price", "funds", "client_oid", "time_in_force", "cancel_after"),
    *("stop", "stop_price", "stp", "post_only", "limit", "after", "status", "order_id", "start_date"),
)


@settings(max_examples=60, deadline=None)
@given(changes=st.dictionaries(st.sampled_from(FIELDS), nonsense, max_size=4), body=st.none() | nonsense)
def test_nonsense_is_answered(changes, body):
    desk = Desk(limited=False)
    text = json.dumps(LIMIT | changes if body is None else body)
    answer = desk.call("POST", "/orders", body=text)
    assert answer.status in (200, 400, 404) and ("id" in answer.body or "message" in answer.body)
    query = urlencode({name: str(value) for name, value in changes.items()})
    for path in ("/orders", "/fills", "/transfers", "/products/ETH-USDT/book", "/products/ETH-USDT/trades"):
        asked = f"{path}?{query}" if query else path
        assert desk.call("GET", asked).status in (200, 400, 404)
    for method in ("GET", "DELETE"):
        assert desk.call(method, f"/orders/{urlencode({'x': str(body)})}").status in (400, 404)
    assert desk.exchange.imbalance() == {}
