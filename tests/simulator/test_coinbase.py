"""A simulated Coinbase's own rules: tokens, kinds of orders, ids, refusals, lists, limits, frames."""

import base64
import json
from decimal import Decimal
from random import Random
from urllib.parse import urlencode

import ccxt
import pytest

from simulator.dialects.coinbase import V2, V3, Coinbase
from simulator.dialects.coinbase_tokens import new_keys
from simulator.dialects.dialect import Request, View
from simulator.exchange import Exchange
from simulator.records import Market

NAME, PEM, _ = new_keys(Random(1).randbytes)
OTHER_NAME, OTHER_PEM, _ = new_keys(Random(2).randbytes)
NOW = 1_800_000_000.0
D = Decimal
MARKET = Market(
    symbol="ETH/USD", base="ETH", quote="USD", tick=D("0.01"), lot=D("0.001"), min_qty=D("0.01"),
    max_qty=D("100"), min_notional=D("1"), maker_fee=D("0.006"), taker_fee=D("0.012"), fee_mode="quote",
    max_orders=500,
)  # fmt: skip


class World:
    """One account with money, a book, and somebody who signs."""

    def __init__(self, *, limited: bool = True, permissions: tuple[str, ...] = ("read", "trade")) -> None:
        self.exchange = Exchange("coinbase", [MARKET])
        self.coinbase = Coinbase(self.exchange, limited=limited)
        self.account = self.exchange.open_account(NAME, PEM, name="desk", permissions=frozenset(permissions))
        self.exchange.deposit(self.account, "USD", D(10_000), NOW)
        self.exchange.deposit(self.account, "ETH", D(10), NOW)
        self.exchange.set_book("ETH/USD", [(D(50), D(5))], [(D(60), D(5)), (D(70), D(5))], NOW)
        self.exchange.public_trade("ETH/USD", D(55), D("0.5"), "buy", NOW)
        self.heard: list[dict] = []
        self.now = NOW
        self._made = 0

    def token(self, method: str = "GET", path: str = f"{V3}/accounts", **claims: object) -> str:
        signer = ccxt.coinbase({"apiKey": NAME, "secret": PEM})
        return signer.create_auth_token(int(self.now), method, f"https://api.coinbase.com{path}")

    def ask(self, path, method="GET", body=None, *, token=None, view=None, remote="1.1.1.1", **fields):
        request = Request(
            method=method, path=path, query=urlencode(fields, doseq=True), now=self.now, clock=self.now,
            body=b"" if body is None else json.dumps(body).encode(), remote=remote, view=view or View(),
            headers={"authorization": f"Bearer {token or self.token(method, path)}", "host": "127.0.0.1:9"},
        )  # fmt: skip
        return self.coinbase.handle(request)

    def order(self, side="BUY", client_id=None, product="ETH-USD", **configuration):
        self._made += 1
        body = {
            "client_order_id": client_id or f"order-{self._made}", "product_id": product, "side": side,
            "order_configuration": configuration,
        }  # fmt: skip
        return self.ask(f"{V3}/orders", "POST", body).body

    def limit(self, price: str, size: str = "0.1", side: str = "BUY", **more):
        parts = {"base_size": size, "limit_price": price, **more}
        return self.order(side, limit_limit_gtc=parts)

    def told(self, answer) -> dict:
        return self.ask(f"{V3}/orders/historical/{answer['order_id']}").body["order"]

    def connect(self):
        upgrade = Request(method="GET", path="/", query="", headers={}, now=self.now, clock=self.now)
        session = self.coinbase.open_session(upgrade, lambda message, stream: self.heard.append(message))
        assert session is not None
        self.exchange.subscribe(session.on_event)
        return session, lambda **message: session.receive(json.dumps(message), upgrade)


def signed(header: dict, claims: dict, pem: str = PEM) -> str:
    """A token with anything in it, and a good signature of some key."""
    head, body = (
        base64.urlsafe_b64encode(json.dumps(one).encode()).rstrip(b"=").decode() for one in (header, claims)
    )
    raw = ccxt.Exchange.ecdsa(f"{head}.{body}", pem, "p256", "sha256")
    both = bytes.fromhex(raw["r"].rjust(64, "0") + raw["s"].rjust(64, "0"))
    return f"{head}.{body}.{base64.urlsafe_b64encode(both).rstrip(b'=').decode()}"


HEADER = {"alg": "ES256", "kid": NAME, "nonce": "1", "typ": "JWT"}
CLAIMS = {
    "iss": "cdp", "sub": NAME, "nbf": int(NOW), "exp": int(NOW) + 120,
    "uri": f"GET api.coinbase.com{V3}/accounts",
}  # fmt: skip

TOKENS = {
    "as the official client signs": (HEADER, CLAIMS, PEM, True),
    "as ccxt signs for http": (HEADER, {**CLAIMS, "uri": f"GET http://127.0.0.1:9{V3}/accounts"}, PEM, True),
    "as ccxt signs for https": (HEADER, {**CLAIMS, "uri": f"GET 127.0.0.1:9{V3}/accounts"}, PEM, True),
    "by the former issuer": (HEADER, {**CLAIMS, "iss": "coinbase-cloud"}, PEM, True),
    "of a shorter life": (HEADER, {**CLAIMS, "nbf": int(NOW) - 100, "exp": int(NOW) + 5}, PEM, True),
    "by another key": (HEADER, CLAIMS, OTHER_PEM, False),
    "of a key that is not known": (
        {**HEADER, "kid": OTHER_NAME}, {**CLAIMS, "sub": OTHER_NAME}, OTHER_PEM, False,
    ),
    "naming two keys": ({**HEADER, "kid": OTHER_NAME}, CLAIMS, PEM, False),
    "by no algorithm": ({**HEADER, "alg": "none"}, CLAIMS, PEM, False),
    "by another algorithm": ({**HEADER, "alg": "HS256"}, CLAIMS, PEM, False),
    "for another path": (HEADER, {**CLAIMS, "uri": f"GET api.coinbase.com{V3}/orders"}, PEM, False),
    "for another method": (HEADER, {**CLAIMS, "uri": f"POST api.coinbase.com{V3}/accounts"}, PEM, False),
    "for another host": (HEADER, {**CLAIMS, "uri": f"GET api.kraken.com{V3}/accounts"}, PEM, False),
    "for no request": (HEADER, {k: v for k, v in CLAIMS.items() if k != "uri"}, PEM, False),
    "of yesterday": (HEADER, {**CLAIMS, "nbf": int(NOW) - 120, "exp": int(NOW)}, PEM, False),
    "of tomorrow": (HEADER, {**CLAIMS, "nbf": int(NOW) + 1, "exp": int(NOW) + 100}, PEM, False),
    "of a longer life": (HEADER, {**CLAIMS, "exp": int(NOW) + 121}, PEM, False),
    "without an end": (HEADER, {k: v for k, v in CLAIMS.items() if k != "exp"}, PEM, False),
    "by nobody": (HEADER, {**CLAIMS, "iss": "me"}, PEM, False),
}  # fmt: skip


@pytest.mark.parametrize("case", TOKENS)
def test_a_token_opens_what_it_is_for_and_nothing_else(case):
    header, claims, pem, good = TOKENS[case]
    world = World()
    answer = world.ask(f"{V3}/accounts", token=signed(header, claims, pem))
    assert answer.status == (200 if good else 401)
    if not good:
        assert answer.body == "Unauthorized\n"


@pytest.mark.parametrize("token", ["", "x", "a.b", "a.b.c", "a.b.c.d", "\N{SNOWMAN}.b.c", "e30.e30.e30"])
def test_what_is_no_token_opens_nothing(token):
    assert World().ask(f"{V3}/accounts", token=token or " ").status == 401


def test_a_changed_signature_a_revoked_key_and_a_missing_permission():
    world = World(permissions=("read",))
    good = signed(HEADER, CLAIMS)
    changed = good[:-4] + ("AAAA" if good[-4:] != "AAAA" else "BBBB")
    assert world.ask(f"{V3}/accounts", token=changed).status == 401
    refused = world.ask(f"{V3}/orders", "POST", {"client_order_id": "1"})
    assert (refused.status, refused.body["error"]) == (403, "PERMISSION_DENIED")
    assert world.ask(f"{V3}/key_permissions").body["can_trade"] is False
    world.exchange.revoke_key(NAME)
    assert world.ask(f"{V3}/accounts", token=good).status == 401
    old = world.ask(f"{V2}/accounts")
    assert (old.status, old.body["errors"][0]["id"]) == (401, "authentication_error")


def test_keys_are_made_of_the_bytes_given_and_stay_whole_on_one_line():
    assert new_keys(Random(1).randbytes) == (NAME, PEM, None) != new_keys(Random(2).randbytes)
    assert NAME.startswith("organizations/") and "/apiKeys/" in NAME and "," not in NAME + PEM
    assert PEM.startswith("-----BEGIN EC PRIVATE KEY-----\n")
    assert PEM.replace("\n", "\\n").replace("\\n", "\n") == PEM and "\\" not in PEM


# --- Orders --------------------------------------------------------------------------------------

KINDS = {
    "market by base": (
        {"market_market_ioc": {"base_size": "0.1"}}, "FILLED", "IMMEDIATE_OR_CANCEL", "MARKET",
    ),
    "market by quote": (
        {"market_market_ioc": {"quote_size": "60"}}, "FILLED", "IMMEDIATE_OR_CANCEL", "MARKET",
    ),
    "till cancelled": (
        {"limit_limit_gtc": {"base_size": "0.1", "limit_price": "40"}},
        "OPEN", "GOOD_UNTIL_CANCELLED", "LIMIT",
    ),
    "maker only": (
        {"limit_limit_gtc": {"base_size": "0.1", "limit_price": "40", "post_only": True}},
        "OPEN", "GOOD_UNTIL_CANCELLED", "LIMIT",
    ),
    "till a date": (
        {"limit_limit_gtd": {"base_size": "0.1", "limit_price": "40", "end_time": "2027-01-15T08:01:00Z"}},
        "OPEN", "GOOD_UNTIL_DATE_TIME", "LIMIT",
    ),
    "immediate, too cheap": (
        {"sor_limit_ioc": {"base_size": "0.1", "limit_price": "40"}},
        "CANCELLED", "IMMEDIATE_OR_CANCEL", "LIMIT",
    ),
    "whole or nothing": (
        {"limit_limit_fok": {"base_size": "7", "limit_price": "60"}}, "CANCELLED", "FILL_OR_KILL", "LIMIT",
    ),
    "behind a stop": (
        {"stop_limit_stop_limit_gtc": {
            "base_size": "0.1", "limit_price": "66", "stop_price": "65",
            "stop_direction": "STOP_DIRECTION_STOP_UP",
        }},
        "OPEN", "GOOD_UNTIL_CANCELLED", "STOP_LIMIT",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", KINDS)
def test_every_kind_of_order_is_told_as_it_was_asked_for(case):
    configuration, status, time_in_force, order_type = KINDS[case]
    world = World()
    answer = world.order(**configuration)
    assert answer["success"], answer
    told = world.told(answer)
    assert (told["status"], told["time_in_force"], told["order_type"]) == (status, time_in_force, order_type)
    ((kind, parts),) = configuration.items()
    ((told_kind, told_parts),) = told["order_configuration"].items()
    assert told_kind == kind and parts.keys() <= told_parts.keys()
    assert told["size_in_quote"] == ("quote_size" in parts)
    assert not world.exchange.imbalance()


REFUSED = {
    "too little": ({"base_size": "0.001", "limit_price": "40"}, "PREVIEW_INVALID_BASE_SIZE_TOO_SMALL"),
    "too much": ({"base_size": "101", "limit_price": "40"}, "PREVIEW_INVALID_BASE_SIZE_TOO_LARGE"),
    "worth too little": ({"base_size": "0.01", "limit_price": "40"}, "PREVIEW_INVALID_QUOTE_SIZE_TOO_SMALL"),
    "off the lot": ({"base_size": "0.1001", "limit_price": "40"}, "PREVIEW_INVALID_SIZE_PRECISION"),
    "off the tick": ({"base_size": "0.1", "limit_price": "40.001"}, "PREVIEW_INVALID_PRICE_PRECISION"),
    "more than there is": ({"base_size": "90", "limit_price": "200"}, "PREVIEW_INSUFFICIENT_FUND"),
    "would take": (
        {"base_size": "0.1", "limit_price": "60", "post_only": True}, "PREVIEW_INVALID_LIMIT_PRICE_POST_ONLY",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_leaves_no_trace_and_says_why(case):
    parts, reason = REFUSED[case]
    world = World()
    answer = world.order(limit_limit_gtc=parts)
    assert (answer["success"], answer["order_id"]) == (False, "")
    assert answer["error_response"]["preview_failure_reason"] == reason
    assert not world.exchange.orders
    assert world.exchange.balances(world.account)["USD"] == (D(10_000), D(0))


def test_what_cannot_be_done_here_is_refused_by_name():
    world = World()
    for configuration in (
        {"trigger_bracket_gtc": {"base_size": "1"}},
        {"twap_limit_gtd": {"base_size": "1"}},
        {"limit_limit_gtc": {"quote_size": "10", "limit_price": "40"}},
    ):
        response = world.order(**configuration)["error_response"]
        assert response["error"] == "UNSUPPORTED_ORDER_CONFIGURATION"
        assert next(iter(configuration)) in response["message"]
    assert world.order(product="ETH-EUR", market_market_ioc={"base_size": "1"})["error_response"][
        "error"
    ] == ("INVALID_PRODUCT_ID")
    bad = world.ask(f"{V3}/orders", "POST", {"client_order_id": "1", "order_configuration": {}})
    assert bad.body["error_response"]["error"] == "INVALID_PRODUCT_ID"
    assert world.ask(f"{V3}/orders", "POST", {"product_id": "ETH-USD"}).status == 400
    assert world.ask(f"{V3}/nothing").status == 404


def test_the_same_client_id_is_the_same_order_open_or_over():
    world = World()
    first = world.order(client_id="mine", limit_limit_gtc={"base_size": "0.1", "limit_price": "40"})
    again = world.order(client_id="mine", market_market_ioc={"base_size": "5"})
    assert again["success"] and again["order_id"] == first["order_id"]
    world.ask(f"{V3}/orders/batch_cancel", "POST", {"order_ids": [first["order_id"]]})
    over = world.order("SELL", client_id="mine", market_market_ioc={"base_size": "5"})
    assert (over["order_id"], over["success_response"]["side"]) == (first["order_id"], "BUY")
    assert len(world.exchange.orders) == 1
    # A refusal leaves nothing behind: the id is as good as new.
    refused = world.order(client_id="other", limit_limit_gtc={"base_size": "0.001", "limit_price": "40"})
    assert not refused["success"]
    assert world.order(client_id="other", limit_limit_gtc={"base_size": "1", "limit_price": "40"})["success"]


def test_fees_are_on_top_in_the_quote_currency():
    world = World()
    answer = world.order(market_market_ioc={"base_size": "0.1"})
    (fill,) = world.ask(f"{V3}/orders/historical/fills", order_ids=answer["order_id"]).body["fills"]
    assert (fill["size"], fill["price"], fill["commission"]) == ("0.1", "60", "0.072")
    assert (fill["liquidity_indicator"], fill["size_in_quote"]) == ("TAKER", False)
    free = world.exchange.balances(world.account)
    assert (free["USD"][0], free["ETH"][0]) == (D("9993.928"), D("10.1"))
    by_quote = world.order(market_market_ioc={"quote_size": "60"})
    (fill,) = world.ask(f"{V3}/orders/historical/fills", order_ids=by_quote["order_id"]).body["fills"]
    # What is spent is all that is spent: the fee is in it. 0.988 lots of 60, and 1.2 % on top.
    assert (fill["size"], fill["size_in_quote"]) == ("59.28", True)
    told = world.told(by_quote)
    assert (told["filled_size"], told["filled_value"], told["total_fees"]) == ("0.988", "59.28", "0.71136")
    assert (told["total_value_after_fees"], told["size_inclusive_of_fees"]) == ("59.99136", True)


def test_a_stop_waits_for_its_price_and_a_date_ends_an_order():
    world = World()
    stop = world.order(
        stop_limit_stop_limit_gtc={
            "base_size": "0.1", "limit_price": "70", "stop_price": "58",
            "stop_direction": "STOP_DIRECTION_STOP_UP",
        }
    )  # fmt: skip
    assert world.told(stop)["trigger_status"] == "STOP_PENDING"
    world.exchange.public_trade("ETH/USD", D(58), D("0.1"), "buy", NOW)
    assert (world.told(stop)["trigger_status"], world.told(stop)["status"]) == ("STOP_TRIGGERED", "FILLED")
    met = world.order(
        stop_limit_stop_limit_gtc={
            "base_size": "0.1", "limit_price": "70", "stop_price": "57",
            "stop_direction": "STOP_DIRECTION_STOP_UP",
        }
    )  # fmt: skip
    assert met["error_response"]["preview_failure_reason"] == "PREVIEW_STOP_PRICE_BELOW_LAST_TRADE_PRICE"
    last = world.exchange.last_price("ETH/USD")
    assert last is not None
    for side, limit, reason in (
        ("BUY", str(last), "PREVIEW_STOP_PRICE_ABOVE_LIMIT_PRICE"),
        ("SELL", str(last + 2), "PREVIEW_STOP_PRICE_BELOW_LIMIT_PRICE"),
    ):
        near = world.order(
            side=side,
            stop_limit_stop_limit_gtc={
                "base_size": "0.1", "limit_price": limit, "stop_price": str(last + 1),
                "stop_direction": "STOP_DIRECTION_STOP_UP",
            },
        )  # fmt: skip
        assert near["error_response"]["preview_failure_reason"] == reason
    end = "2027-01-15T08:00:10Z"  # ten seconds from now
    dated = world.order(limit_limit_gtd={"base_size": "0.1", "limit_price": "40", "end_time": end})
    world.now = NOW + 11
    world.exchange.advance("ETH/USD", world.now)
    assert world.told(dated)["status"] == "EXPIRED"
    past = world.order(limit_limit_gtd={"base_size": "0.1", "limit_price": "40", "end_time": end})
    assert past["error_response"]["preview_failure_reason"] == "PREVIEW_INVALID_END_TIME"


def test_an_order_is_edited_in_one_step_or_not_at_all():
    world = World()
    resting = world.limit("40", "1")

    def edit(order_id, **fields):
        return world.ask(f"{V3}/orders/edit", "POST", {"order_id": order_id, **fields}).body

    assert edit(resting["order_id"], size="0.5", price="41")["success"]
    told = world.told(resting)
    assert told["order_configuration"]["limit_limit_gtc"]["base_size"] == "0.5"
    assert told["order_configuration"]["limit_limit_gtc"]["limit_price"] == "41"
    assert [one["size"] for one in told["edit_history"]] == ["1"]
    for order_id, fields, reason in (
        ("nothing", {"size": "1", "price": "41"}, "ORDER_NOT_FOUND"),
        (resting["order_id"], {"size": "0.5", "price": "41.001"}, "INVALID_EDITED_PRICE"),
        (resting["order_id"], {"size": "0.0001", "price": "41"}, "INVALID_EDITED_SIZE"),
        (resting["order_id"], {"price": "42"}, "INVALID_EDITED_SIZE"),  # what is left out is nothing
        (resting["order_id"], {"size": "0.4"}, "INVALID_EDITED_PRICE"),
        (resting["order_id"], {"size": "0.5", "price": "41"}, "EDIT_REQUEST_EQUAL_TO_ORIGINAL_REQUEST"),
        (world.order(market_market_ioc={"base_size": "1"})["order_id"], {"size": "2", "price": "41"},
         "ONLY_LIMIT_ORDER_EDITS_SUPPORTED"),
        (world.limit("70", "0.1")["order_id"], {"size": "0.2", "price": "70"},
         "ONLY_OPEN_ORDERS_CAN_BE_EDITED"),
    ):  # fmt: skip
        answer = edit(order_id, **fields)
        assert not answer["success"] and answer["errors"][0]["edit_failure_reason"] == reason
    assert world.told(resting)["order_configuration"]["limit_limit_gtc"]["limit_price"] == "41"


def test_cancels_are_answered_one_by_one():
    world = World()
    resting, filled = world.limit("40"), world.order(market_market_ioc={"base_size": "1"})
    names = [resting["order_id"], filled["order_id"], "nothing"]
    answer = world.ask(f"{V3}/orders/batch_cancel", "POST", {"order_ids": names})
    assert [(one["success"], one["order_id"]) for one in answer.body["results"]] == [
        (True, names[0]), (False, names[1]), (False, names[2]),
    ]  # fmt: skip
    assert {one["failure_reason"] for one in answer.body["results"][1:]} == {"UNKNOWN_CANCEL_ORDER"}
    assert world.told(resting)["status"] == "CANCELLED"
    assert world.ask(f"{V3}/orders/batch_cancel", "POST", {"order_ids": ["x"] * 101}).status == 400
    assert world.ask(f"{V3}/orders/batch_cancel", "POST", {"order_ids": []}).status == 400
    missing = world.ask(f"{V3}/orders/historical/nothing")
    assert (missing.status, missing.body["message"]) == (404, "order with this orderID was not found")


def test_lists_go_page_by_page_newest_first():
    world = World(limited=False)
    made = []
    for number in range(7):
        world.now = NOW + number
        made.append(world.limit("40")["order_id"])
    world.ask(f"{V3}/orders/batch_cancel", "POST", {"order_ids": made[:3]})

    def listed(**fields):
        rows, cursor = [], None
        for _ in range(9):
            body = world.ask(
                f"{V3}/orders/historical/batch", **fields, **({"cursor": cursor} if cursor else {})
            ).body
            rows += [row["order_id"] for row in body["orders"]]
            cursor = body["cursor"]
            assert body["has_next"] == bool(cursor)
            if not cursor:
                return rows
        raise AssertionError("it never ends")

    assert listed(limit=2) == listed(limit=7) == listed() == made[::-1]
    assert listed(limit=2, order_status="OPEN") == made[:2:-1]
    assert listed(order_status=["CANCELLED", "FILLED"]) == made[2::-1]
    assert listed(order_ids=[made[1], made[5]]) == [made[5], made[1]]
    assert listed(product_ids="BTC-USD") == []
    # From the start on, up to the end without it.
    assert listed(start_date="2027-01-15T08:00:02Z", end_date="2027-01-15T08:00:05Z") == made[4:1:-1]
    paired = world.ask(f"{V3}/orders/historical/batch", order_status=["OPEN", "FILLED"])
    assert (paired.status, paired.body["error"]) == (400, "INVALID_ARGUMENT")
    assert world.ask(f"{V3}/orders/historical/batch", limit="0").status == 400
    assert world.ask(f"{V3}/orders/historical/batch", start_date="yesterday").status == 400
    # Behind fills there is always a cursor, even if it leads to nothing.
    world.order(market_market_ioc={"base_size": "7"})  # two levels, two fills
    first = world.ask(f"{V3}/orders/historical/fills", limit=2).body
    assert len(first["fills"]) == 2 and first["cursor"]
    assert world.ask(f"{V3}/orders/historical/fills", cursor=first["cursor"]).body == {
        "fills": [],
        "cursor": "",
    }


def test_limits_are_told_and_kept():
    world = World()
    for left in range(29, -1, -1):
        answer = world.ask(f"{V3}/accounts")
        assert answer.headers["x-ratelimit-remaining"] == str(left)
    refused = world.ask(f"{V3}/accounts")
    assert (refused.status, refused.body["error"]) == (429, "rate_limit_exceeded")
    assert (refused.headers["x-ratelimit-limit"], refused.headers["x-ratelimit-remaining"]) == ("30", "0")
    for _ in range(10):
        assert world.ask(f"{V3}/time").status == 200
    assert world.ask(f"{V3}/time").status == 429
    assert world.ask(f"{V3}/time", remote="2.2.2.2").status == 200  # counted by address
    assert world.ask(f"{V2}/accounts").status == 200  # counted apart
    world.now += 1
    assert world.ask(f"{V3}/accounts").status == world.ask(f"{V3}/time").status == 200
    assert World(limited=False).coinbase.limited is False


# --- Frames --------------------------------------------------------------------------------------


def test_every_frame_of_a_connection_has_the_next_number():
    world = World()
    session, say = world.connect()
    say(type="subscribe", channel="heartbeats")
    say(type="subscribe", channel="level2", product_ids=["ETH-USD"])
    say(
        type="subscribe",
        channel="user",
        jwt=ccxt.coinbase({"apiKey": NAME, "secret": PEM}).create_auth_token(int(NOW)),
    )
    world.limit("45", "1")
    world.order(market_market_ioc={"base_size": "7"})
    session.tick(NOW + 1.0)
    session.tick(NOW + 1.5)
    session.tick(NOW + 2.0)
    numbers = [frame["sequence_num"] for frame in world.heard]
    assert numbers == list(range(len(numbers)))
    channels = [frame["channel"] for frame in world.heard]
    assert channels[:5] == ["subscriptions", "l2_data", "subscriptions", "user", "subscriptions"]
    assert channels.count("heartbeats") == 2
    counters = [
        frame["events"][0]["heartbeat_counter"] for frame in world.heard if frame["channel"] == "heartbeats"
    ]
    assert counters == [1, 2]
    assert set(world.heard[4]["events"][0]["subscriptions"]) == {"heartbeats", "level2", "user"}


def test_the_book_that_is_told_is_the_book_there_is():
    world = World()
    _, say = world.connect()
    say(type="subscribe", channel="level2", product_ids=["ETH-USD"])
    random = Random(3)
    for step in range(60):
        if random.random() < 0.5:
            bids = [(D(random.randint(40, 54)), D(random.randint(0, 3)))]
            world.exchange.update_book(
                "ETH/USD", bids, [(D(random.randint(56, 70)), D(random.randint(0, 3)))], NOW + step
            )
        else:
            side = random.choice(("BUY", "SELL"))
            world.order(side, sor_limit_ioc={"base_size": "0.5", "limit_price": random.choice(("50", "60"))})
    books: dict = {"bid": {}, "offer": {}}
    for frame in world.heard:
        if frame["channel"] == "l2_data":
            (event,) = frame["events"]
            if event["type"] == "snapshot":
                books = {"bid": {}, "offer": {}}
            for row in event["updates"]:
                books[row["side"]][D(row["price_level"])] = D(row["new_quantity"])
    depth = world.exchange.depth("ETH/USD", 10**6, now=NOW + 60)
    shown = {side: {price: size for price, size in levels.items() if size} for side, levels in books.items()}
    assert shown["bid"].keys() == dict(depth.bids).keys() and shown["offer"].keys() == dict(depth.asks).keys()


def test_the_account_is_told_to_its_owner_alone_and_until_the_key_is_revoked():
    world = World()
    signer = ccxt.coinbase({"apiKey": NAME, "secret": PEM})
    _, say = world.connect()
    say(type="subscribe", channel="user")
    say(type="subscribe", channel="user", jwt="no.such.token")
    assert [frame["message"] for frame in world.heard] == ["authentication failure"] * 2
    for number in range(60):
        world.exchange.create_order(
            world.account, "ETH/USD", "buy", "limit", D("0.1"), D(40), client_order_id=f"c{number}", now=NOW
        )
    world.heard.clear()
    say(type="subscribe", channel="user", jwt=signer.create_auth_token(int(NOW)))
    batches = [frame["events"][0] for frame in world.heard if frame["channel"] == "user"]
    assert [(one["type"], len(one["orders"])) for one in batches] == [("snapshot", 50), ("snapshot", 10)]
    world.heard.clear()
    world.order(client_id="taken", sor_limit_ioc={"base_size": "7", "limit_price": "60"})
    rows = [row for frame in world.heard for row in frame["events"][0]["orders"]]
    figures = [(row["status"], row["cumulative_quantity"], row["leaves_quantity"]) for row in rows]
    assert figures == [("OPEN", "0", "7"), ("OPEN", "5", "2"), ("CANCELLED", "5", "0")]
    assert {row["client_order_id"] for row in rows} == {"taken"}
    assert rows[-1]["total_fees"] == "3.6"
    world.heard.clear()
    world.exchange.revoke_key(NAME)
    world.exchange.cancel_all(world.account, now=NOW)
    assert world.heard == []


def test_who_says_too_much_is_told_and_what_is_unsubscribed_is_still():
    world = World()
    _, say = world.connect()
    for _ in range(8):
        say(type="subscribe", channel="level2", product_ids=["ETH-USD"])
    say(type="subscribe", channel="ticker", product_ids=["ETH-USD"])
    assert world.heard[-1] == {"type": "error", "message": "rate limit exceeded"}
    other = World()
    _, say = other.connect()
    say(type="subscribe", channel="market_trades", product_ids=["ETH-USD"])
    say(type="unsubscribe", channel="market_trades", product_ids=["ETH-USD"])
    assert other.heard[-1]["events"] == [{"subscriptions": {}}]
    say(type="subscribe", channel="candles", product_ids=["ETH-USD"])
    say(type="subscribe", channel="level2", product_ids=["ETH-EUR"])
    say(type="nonsense")
    assert [frame["type"] for frame in other.heard[-3:]] == ["error"] * 3
    other.heard.clear()
    other.exchange.public_trade("ETH/USD", D(55), D("0.1"), "buy", NOW)
    assert other.heard == []
