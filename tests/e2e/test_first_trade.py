"""From a call of a bot to the exchange and back, over every border there is."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from decimal import Decimal

import pytest
import requests

from oms_client import OMSClient, signing
from oms_client.errors import AuthError, NotFound, OMSError, QueryFailed, Rejected

D = Decimal
EXCHANGES = ("binance", "kraken")


def rows(world, sql, *values):
    with sqlite3.connect(f"file:{world.database}?mode=ro", uri=True) as database:
        database.row_factory = sqlite3.Row
        return database.execute(sql, values).fetchall()


# --- What is asked for happens


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_a_smart_order_converts_and_every_ledger_agrees(world, truth, exchange):
    before = truth.balances(exchange)
    seen = []
    client = world.client(f"smart-{exchange}", seen.append)
    result = client.smart_order(exchange, "USDT", "ETH", 200, time_limit=4)
    assert result.outcome == "done" and result.spent <= 200
    after = truth.balances(exchange)
    assert after["ETH"] - before["ETH"] == result.received
    assert before["USDT"] - after["USDT"] == result.spent
    assert result.spent + result.unspent == 200
    assert D(199) < result.spent, "it buys as much as the money can buy"
    assert result.taking_at_once.received > 0 and result.saved_bps is not None
    assert truth.open(exchange) == []
    tries = {q["progress"]["try"] for q in seen if q.get("progress")}
    assert len(tries) >= 1 and seen[-1]["status"] == "done"


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_a_smart_order_over_two_markets(world, truth, exchange):
    before = truth.balances(exchange)
    result = world.client("two-hops").smart_order(exchange, "ETH", "BTC", "0.05", time_limit=2)
    after = truth.balances(exchange)
    assert [hop["symbol"] for hop in result["path"]] in (["ETH/BTC"], ["ETH/USDT", "BTC/USDT"])
    assert before["ETH"] - after["ETH"] == result.spent
    assert after["BTC"] - before["BTC"] == result.received > 0


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_limit_order_stands_is_found_and_is_cancelled(world, truth, exchange):
    client = world.client(f"limit-{exchange}")
    price = (truth.price(exchange, "ETH/USDT") * D("0.97")).quantize(D("0.01"))
    order = client.limit_order(exchange, "buy", "ETH/USDT", "0.01", price, post_only=True)
    assert order.status == "submitted"
    (theirs,) = [o for o in truth.open(exchange) if o.client_order_id == order["client_order_id"]]
    assert (theirs.price, theirs.quantity, theirs.post_only) == (price, D("0.01"), True)
    assert client.get_order(order.order_id)["exchange_order_id"]
    cancelled = client.cancel_order(order.order_id)
    assert cancelled["canceled"] == [order.order_id]
    assert client.get_order(order.order_id).status == "canceled"
    assert not theirs.open
    with pytest.raises(Rejected) as closed:
        client.cancel_order(order.order_id)
    assert closed.value.code == "ORDER_CLOSED"


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_market_order_is_filled_and_its_fills_are_the_exchanges_own(world, truth, exchange):
    client = world.client("market")
    order = client.market_order(exchange, "sell", "ETH/USDT", "0.01")
    assert order.status == "filled" and order.filled_quantity == D("0.01")
    (theirs,) = [o for o in truth.orders(exchange) if o.client_order_id == order["client_order_id"]]
    mine = rows(
        world, "SELECT price, quantity, fee, fee_currency FROM fills WHERE order_id = ?", order.order_id
    )
    assert sorted((D(f["price"]), D(f["quantity"]), D(f["fee"]), f["fee_currency"]) for f in mine) == sorted(
        (f.price, f.quantity, f.fee, f.fee_currency) for f in theirs.fills
    )


def test_cancel_all_takes_only_the_bots_own(world, truth):
    mine, other = world.client("mine"), world.client("other")
    price = (truth.price("binance", "ETH/USDT") * D("0.95")).quantize(D("0.01"))
    first = mine.limit_order("binance", "buy", "ETH/USDT", "0.01", price)
    second = other.limit_order("binance", "buy", "ETH/USDT", "0.01", price)
    result = mine.cancel_all_orders("binance")
    assert result["canceled"] == [first.order_id] and second.order_id in result["left"]
    assert [o.client_order_id for o in truth.open("binance")] == [second["client_order_id"]]
    assert other.cancel_all_orders()["canceled"] == [second.order_id]


def test_the_questions_have_answers(world, truth):
    client = world.client("asker")
    for exchange in EXCHANGES:
        held = client.get_balances(exchange)["balances"]
        assert {c: D(b["total"]) for c, b in held.items() if D(b["total"])} == {
            c: total for c, total in truth.balances(exchange).items() if total
        }
        fees = client.get_fees(exchange, symbol="ETH/USDT")["fees"]
        assert [f["symbol"] for f in fees] == ["ETH/USDT"] and D(fees[0]["taker"]) > 0
        history = client.get_withdrawal_deposit_history(exchange)["transfers"]
        assert {h["currency"] for h in history} >= {"USDT", "ETH"}
        assert all(h["kind"] == "deposit" for h in history)
    assert client.check_health()["ready"] is True
    market = world.client("market")
    page = market.get_past_orders("binance", bot="market")
    assert page["orders"] and {o["bot"] if "bot" in o else "market" for o in page["orders"]} == {"market"}
    assert market.get_order_stats("binance")


def test_dry_run_has_the_shape_and_changes_nothing(world, truth):
    before = truth.count()
    query = world.client("dry").smart_order("binance", "USDT", "ETH", 100, dry_run=True)
    assert query["dry_run"] is True
    assert truth.count() == before
    assert rows(world, "SELECT 1 FROM queries WHERE bot = 'dry'") == []


# --- What cannot be is refused, with a code and a hint


def smart(world, *arguments, **options):
    return lambda: world.client("wrong").smart_order(*arguments, **options)


REFUSALS = {
    "unknown exchange": (("krakenn", "USDT", "ETH", 100), "EXCHANGE_UNKNOWN", "kraken"),
    "bittrex": (("bittrex", "USDT", "ETH", 100), "EXCHANGE_CLOSED", "December 2023"),
    "unknown currency": (("kraken", "USDT", "ETHH", 100), "CURRENCY_UNKNOWN", "ETH"),
    "too small": (("binance", "USDT", "ETH", "1"), "AMOUNT_TOO_SMALL", "at least"),
    "insufficient funds": (("binance", "USDT", "ETH", "99999999"), "FUNDS_INSUFFICIENT", "available"),
    "negative": (("binance", "USDT", "ETH", "-5"), "REQUEST_FIELD_INVALID", "start_amount"),
    "1e400": (("binance", "USDT", "ETH", "1e400"), "REQUEST_FIELD_INVALID", "start_amount"),
}


@pytest.mark.parametrize("case", REFUSALS, ids=str)
def test_refusals(world, truth, case):
    arguments, code, words = REFUSALS[case]
    before, orders = truth.count(), len(rows(world, "SELECT 1 FROM orders"))
    exchange, start, end, amount = arguments
    status, body = post(
        world,
        "smart_order",
        {"exchange": exchange, "start_currency": start, "end_currency": end, "start_amount": str(amount)},
    )
    error = body["error"]
    assert (body["status"], error["code"]) == ("error", code) and 400 <= status < 500
    assert words in error["message"] + error["hint"] and error["hint"]
    assert (truth.count(), len(rows(world, "SELECT 1 FROM orders"))) == (before, orders)


def test_an_absent_amount(world, truth):
    before = truth.count()
    status, body = post(
        world, "smart_order", {"exchange": "kraken", "start_currency": "USDT", "end_currency": "ETH"}
    )
    assert (status, body["error"]["code"]) == (400, "REQUEST_FIELD_MISSING")
    assert "start_amount" in body["error"]["message"]
    assert truth.count() == before


def test_the_client_raises_what_the_server_says(world):
    with pytest.raises(Rejected) as refused:
        world.client("wrong").smart_order("bittrex", "USDT", "ETH", 100)
    assert refused.value.code == "EXCHANGE_CLOSED" and refused.value.hint


def post(world, verb, body, *, key=None, now=None, nonce=None, host=None, idempotency_key=None):
    """Sign and send one request by hand; return the status and the envelope."""
    content = json.dumps({"bot": "by-hand", **body}).encode()
    headers = signed(world, "POST", f"/api/{verb}", content, key=key, now=now, nonce=nonce, host=host)
    headers["Idempotency-Key"] = idempotency_key or os.urandom(8).hex()
    headers["Content-Type"] = "application/json"
    answer = requests.post(f"{world.url}/api/{verb}", data=content, headers=headers, timeout=30)
    return answer.status_code, answer.json()


def signed(world, method, target, content, *, key=None, now=None, nonce=None, host=None):
    private = signing.parse_private_key(key or world.private_key)
    return signing.sign(
        private,
        method,
        host or world.url.removeprefix("http://"),
        target,
        content,
        now=int(now or time.time()),
        nonce=nonce or signing.make_nonce(os.urandom(16)),
    )


SMALL = {"exchange": "kraken", "start_currency": "USDT", "end_currency": "ETH", "start_amount": "50"}


def test_a_wrong_key(world, truth):
    before = truth.count()
    status, body = post(world, "smart_order", SMALL, key=signing.generate_keys().private)
    assert (status, body["error"]["code"]) == (401, "AUTH_UNKNOWN_KEY")
    assert "OMS_KEYS" in body["error"]["hint"] and truth.count() == before


@pytest.mark.parametrize(("off_by", "code"), [(-400, "AUTH_EXPIRED"), (400, "AUTH_CLOCK_AHEAD")])
def test_a_wrong_clock(world, truth, off_by, code):
    before = truth.count()
    status, body = post(world, "smart_order", SMALL, now=time.time() + off_by)
    assert status == 401 and body["error"]["code"] in (code, "AUTH_RESTARTED")
    assert body["error"]["hint"] and truth.count() == before


def test_a_replayed_request(world, truth):
    content = json.dumps({"bot": "by-hand", **SMALL, "dry_run": True}).encode()
    headers = signed(world, "POST", "/api/smart_order", content)
    headers |= {"Idempotency-Key": "replayed", "Content-Type": "application/json"}
    first = requests.post(f"{world.url}/api/smart_order", data=content, headers=headers, timeout=30)
    assert first.status_code == 200
    again = requests.post(f"{world.url}/api/smart_order", data=content, headers=headers, timeout=30)
    assert (again.status_code, again.json()["error"]["code"]) == (401, "AUTH_REPLAYED")


def test_a_request_signed_for_another_host(world):
    status, body = post(world, "smart_order", SMALL, host="oms.example.com")
    assert (status, body["error"]["code"]) == (401, "AUTH_BAD_SIGNATURE")


def test_a_clock_that_is_a_little_wrong_is_corrected_by_the_client(world):
    slow = OMSClient("alice", world.url, "slow-clock", key=world.private_key)
    slow._transport._clock = lambda: time.time() - 45
    assert slow.check_health()["ready"] is True


def test_another_users_key_sees_nothing_of_ours(world):
    client = world.client("mine")
    with pytest.raises(NotFound):
        client.get_query("000000000000000000000000")
    with pytest.raises(AuthError):
        OMSClient("bob", world.url, "x", key=signing.generate_keys().private).check_health()


# --- Records and mail


def test_a_failed_query_mails_and_send_fail_email_false_does_not(world):
    silent = OMSClient("alice", world.url, "silent", True, False, key=world.private_key)
    loud = OMSClient("alice", world.url, "loud", key=world.private_key)
    for client in (silent, loud):
        with pytest.raises(OMSError):
            client.smart_order("kraken", "USDT", "ETH", "88888888")
    deadline = time.monotonic() + 30
    while not (told := [m for m in world.sink.messages if "of bot loud " in m.get_content()]):
        assert time.monotonic() < deadline, "no letter came"
        time.sleep(0.2)
    assert "FUNDS_INSUFFICIENT" in told[0]["Subject"] and told[0]["To"] == "alice@example.com"
    assert not any("of bot silent " in m.get_content() for m in world.sink.messages)


def test_every_query_is_recorded_with_who_what_when_and_what_came_of_it(world):
    world.client("recorded").smart_order("kraken", "USDT", "ETH", 60, time_limit=1)
    (query,) = rows(world, "SELECT * FROM queries WHERE bot = 'recorded'")
    assert (query["user_id"], query["verb"], query["exchange"], query["status"]) == (
        "alice",
        "smart_order",
        "kraken",
        "done",
    )
    assert json.loads(query["parameters"])["start_amount"] == "60"
    assert json.loads(query["result"])["outcome"] == "done"
    assert query["accepted_at"] < query["finished_at"]
    orders = rows(world, "SELECT * FROM orders WHERE query_id = ?", query["query_id"])
    fills = rows(world, "SELECT * FROM fills WHERE query_id = ?", query["query_id"])
    assert orders and fills
    for order in orders:
        history = rows(
            world, "SELECT status FROM order_history WHERE order_id = ? ORDER BY version", order["order_id"]
        )
        assert [h["status"] for h in history][:2] == ["created", "pending"]
        assert history[-1]["status"] == order["status"]


def test_record_in_db_false_leaves_the_archive_but_not_the_ledger(world):
    quiet = OMSClient("alice", world.url, "quiet", False, True, key=world.private_key)
    result = quiet.smart_order("binance", "USDT", "ETH", 60, time_limit=1)
    assert result.outcome == "done"
    (query,) = rows(world, "SELECT record_in_db FROM queries WHERE bot = 'quiet'")
    assert not query["record_in_db"], "kept for a day for repeats of its key, then purged"
    assert rows(world, "SELECT 1 FROM fills WHERE bot = 'quiet'"), "money that moved is never forgotten"


# --- Far-fetched but normal

BOT = """
import sys
from oms_client import OMSClient
client = OMSClient("alice", sys.argv[1], "mortal", key=sys.argv[2])
client.on_event = None
result = client.smart_order("kraken", "USDT", "ETH", 120, time_limit=6, idempotency_key="mortal-1")
print(result.query_id if hasattr(result, "query_id") else "", result["received"], result["spent"])
"""


def test_a_bot_that_dies_and_comes_back_gets_the_same_query_and_its_result(world, truth):
    before = truth.balances("kraken")
    command = [sys.executable, "-c", BOT, world.url, world.private_key]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 20
    while not (asked := rows(world, "SELECT query_id FROM queries WHERE bot = 'mortal'")):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    first.send_signal(signal.SIGKILL)
    first.wait()
    second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    received, spent = second.stdout.split()[-2:]
    after = truth.balances("kraken")
    assert len(rows(world, "SELECT 1 FROM queries WHERE bot = 'mortal'")) == 1 == len(asked)
    assert (after["ETH"] - before["ETH"], before["USDT"] - after["USDT"]) == (D(received), D(spent))
    third = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert third.stdout == second.stdout, "asked again long after, the same answer"
    assert truth.balances("kraken") == after


def test_the_same_key_for_something_else_is_a_conflict(world):
    client = world.client("conflict")
    client.smart_order("binance", "USDT", "ETH", 60, time_limit=1, idempotency_key="conflict-1")
    with pytest.raises(OMSError) as conflict:
        client.smart_order("binance", "USDT", "ETH", 61, time_limit=1, idempotency_key="conflict-1")
    assert conflict.value.code == "IDEMPOTENCY_CONFLICT"


def test_a_venue_that_halts_fails_the_query_in_its_own_words(world):
    (kraken,) = [e for e in world.exchanges if e.venue.exchange == "kraken"]
    kraken.server.call(lambda: kraken.server.exchange.set_mode("halted", kraken.server.now(), "BTC/USDT"))
    try:
        with pytest.raises(QueryFailed) as failed:
            world.client("halted").smart_order("kraken", "USDT", "BTC", 100, time_limit=2)
        assert failed.value.code in ("VENUE_REJECTED", "VENUE_UNAVAILABLE") and failed.value.venue_message
    finally:
        kraken.server.call(
            lambda: kraken.server.exchange.set_mode("trading", kraken.server.now(), "BTC/USDT")
        )


def test_no_secret_is_in_anything_that_was_written(world):
    secrets = [world.private_key, "demo-password"]
    for exchange in world.exchanges:
        secrets += [exchange.venue.keys.private]
    written = b"".join(path.read_bytes() for path in world.database.parent.iterdir() if path.is_file())
    written += b"".join(m.as_bytes() for m in world.sink.messages)
    for secret in secrets:
        assert secret.encode() not in written
