"""Every key path of a recorded answer of Kraken is in ours with the same JSON type, or there is a reason."""

import base64
import gzip
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlencode

import pytest

from simulator.dialects.dialect import Request
from simulator.dialects.kraken import MARKETS, Kraken
from simulator.dialects.kraken_words import PRIVATE_PATH, PUBLIC_PATH, signature
from simulator.exchange import Exchange

SAMPLES = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "api_samples"
SECRET = base64.b64encode(b"a secret of Kraken's shape").decode()
NOW = 1_700_000_000.0
D = Decimal

pytestmark = pytest.mark.skipif(not SAMPLES.is_dir(), reason="no recorded answers here")

# sample -> (what we answer, paths whose children are ids, {path we leave out: reason})
ANSWERS: dict[str, tuple[str, tuple[str, ...], dict[str, str]]] = {
    "http_add_order_spot.json": (
        "AddOrder",
        (),
        {
            f"result.descr.{name}": "the live answer has only descr.order, and so has the page"
            for name in ("pair", "type", "ordertype", "price", "price2", "leverage")
        },
    ),
    "http_asset_pairs.json": (
        "AssetPairs",
        ("result",),
        {
            "result.*.leverage_buy[]": "margin is not simulated: the list is empty",
            "result.*.leverage_sell[]": "margin is not simulated: the list is empty",
            "result.*.long_position_limit": "margin is not simulated",
            "result.*.short_position_limit": "margin is not simulated",
        },
    ),
    "http_cancel_order_spot.json": ("CancelOrder", (), {}),
    "http_closed_orders.json": ("ClosedOrders", ("result.closed",), {}),
    "http_open_orders.json": ("OpenOrders", ("result.open",), {}),
    "http_order_book.json": ("Depth", ("result",), {}),
    "http_server_time.json": ("Time", (), {}),
    "http_spot_balance.json": ("Balance", ("result",), {}),
    "http_system_status.json": ("SystemStatus", (), {}),
    "http_ticker.json": ("Ticker", ("result",), {}),
    "http_trades_history.json": ("TradesHistory", ("result.trades",), {}),
    "ws_add_order_response_failure.json": ("ws refused", (), {}),
    "ws_add_order_response_success.json": ("ws added", (), {}),
    "ws_book_snapshot.json": ("ws book snapshot", (), {}),
    "ws_book_update.json": ("ws book update", (), {}),
    "ws_pong.json": ("ws pong", (), {}),
    "ws_subscribe_response.json": ("ws subscribed", (), {}),
    "ws_ticker_snapshot.json": ("ws ticker", (), {}),
    "ws_trade_update.json": ("ws trade", (), {}),
    # Answers of the real exchange, kept by ccxt for its own tests.
    "POST /0/private/AddOrder market buy": ("AddOrder", (), {}),
    "POST /0/private/QueryOrders open post-only limit": ("QueryOrders", ("result",), {}),
    "POST /0/private/QueryOrders closed market, filled": ("QueryOrders", ("result",), {}),
    "POST /0/private/OpenOrders take-profit": ("OpenOrders", ("result.open",), {}),
}
# ccxt wrote these numbers down as text; the other samples have them as numbers.
NUMBERS_AS_TEXT = {"userref", "opentm", "closetm", "starttm", "expiretm"}

NOT_SERVED = {
    "http_asset_pairs_tokenized.json": "tokenised assets are not simulated",
    "http_spot_open_positions.json": "margin is not simulated",
    "http_spot_trade_balance.json": "margin is not simulated",
    "ws_batch_add_response_partial.json": "batches of orders are not simulated",
    "ws_l3_snapshot.json": "order-by-order data is not simulated",
    "ws_l3_update_add.json": "order-by-order data is not simulated",
    "ws_l3_update_delete.json": "order-by-order data is not simulated",
    "ws_l3_update_modify_price.json": "order-by-order data is not simulated",
    "ws_l3_update_modify_qty.json": "order-by-order data is not simulated",
    "ws_ohlc_update.json": "candles are not simulated",
}


def samples() -> dict[str, object]:
    with gzip.open(SAMPLES / "venue_api_samples.jsonl.gz", "rt") as lines:
        rows = [json.loads(line) for line in lines]
    rows += [json.loads(line) for line in (SAMPLES / "venue_live_responses.jsonl").read_text().splitlines()]
    return {row["name"]: row["payload"] for row in rows if row["venue"] == "kraken"}


def paths(value: object, ids: tuple[str, ...], path: str = "") -> Iterator[tuple[str, str]]:
    """Every path in a JSON value with its type; keys that are ids become `*`."""
    if isinstance(value, dict):
        for key, item in value.items():
            name = "*" if path in ids else key
            yield from paths(item, ids, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        yield path, "list"
        for item in value:
            yield from paths(item, ids, f"{path}[]")
    else:
        kinds = {bool: "boolean", int: "number", float: "number", str: "string", type(None): "null"}
        yield path, kinds[type(value)]


@pytest.fixture(scope="module")
def answers() -> dict[str, list[object]]:
    """Ours: a few of each kind, so that both states of everything occur."""
    exchange = Exchange("kraken", MARKETS)
    kraken = Kraken(exchange)
    account = exchange.open_account("KEY", SECRET, name="desk")
    for currency in ("USDT", "ETH", "BTC"):
        exchange.deposit(account, currency, D(10_000), NOW)
    for symbol in exchange.markets:
        exchange.set_book(symbol, [(D(50), D(5)), (D(40), D(5))], [(D(60), D(5)), (D(70), D(5))], NOW)
    exchange.public_trade("ETH/USDT", D(60), D("0.5"), "buy", NOW)
    nonce = 0

    def private(name: str, **form: str) -> object:
        nonlocal nonce
        nonce += 1
        path, body = f"/0/private/{name}", urlencode({"nonce": nonce, **form})
        headers = {"api-key": "KEY", "api-sign": signature(SECRET, path, str(nonce), body)}
        request = Request(
            method="POST", path=path, query="", headers=headers, body=body.encode(), now=NOW, clock=NOW
        )
        return json.loads(kraken.handle(request).body)

    def public(name: str, query: str = "") -> object:
        request = Request(method="GET", path=f"/0/public/{name}", query=query, headers={}, now=NOW, clock=NOW)
        return json.loads(kraken.handle(request).body)

    order = {"pair": "ETHUSDT", "type": "buy", "ordertype": "limit", "volume": "0.5", "price": "45"}
    added = [
        private("AddOrder", **order, oflags="post"),
        private("AddOrder", **order | {"price": "60"}),
        private("AddOrder", **order),
    ]
    txids = [each["result"]["txid"][0] for each in added]
    result: dict[str, list[object]] = {
        "AddOrder": added,
        "CancelOrder": [private("CancelOrder", txid=txids[2])],
        "OpenOrders": [private("OpenOrders", trades="true")],
        "ClosedOrders": [private("ClosedOrders", trades="true")],
        "QueryOrders": [private("QueryOrders", txid=",".join(txids), trades="true")],
        "TradesHistory": [private("TradesHistory", ledgers="true")],
        "Balance": [private("Balance")],
        "Time": [public("Time")],
        "SystemStatus": [public("SystemStatus")],
        "AssetPairs": [public("AssetPairs")],
        "Ticker": [public("Ticker", "pair=ETHUSDT")],
        "Depth": [public("Depth", "pair=ETHUSDT")],
    }

    heard: list[dict] = []

    def talk(path: str, *messages: dict) -> list[dict]:
        heard.clear()
        upgrade = Request(method="GET", path=path, query="", headers={}, now=NOW, clock=NOW)
        session = kraken.open_session(upgrade, lambda text, stream: heard.append(json.loads(text)))
        assert session is not None
        stop = exchange.subscribe(session.on_event)
        for message in messages:
            session.receive(json.dumps(message), upgrade)
        exchange.update_book("ETH/USDT", [(D(51), D(len(heard)))], [(D(60), D(9))], NOW)
        exchange.public_trade("ETH/USDT", D(60), D("0.5"), "buy", NOW)
        stop()
        return list(heard)

    token = private("GetWebSocketsToken")["result"]["token"]
    add = {
        "order_type": "limit", "side": "buy", "symbol": "ETH/USDT", "order_qty": 0.5, "limit_price": 45,
        "token": token,
    }  # fmt: skip
    replies = talk(
        PRIVATE_PATH,
        {"method": "add_order", "req_id": 1, "params": add | {"cl_ord_id": "mine"}},
        {"method": "add_order", "req_id": 2, "params": add | {"order_qty": 5000}},
    )
    result["ws added"] = [each for each in replies if each.get("success") is True]
    result["ws refused"] = [each for each in replies if each.get("success") is False]
    subscribe = [
        {"method": "subscribe", "req_id": 1, "params": {"channel": channel, "symbol": ["ETH/USDT"]}}
        for channel in ("book", "trade", "ticker")
    ]
    public_talk = talk(PUBLIC_PATH, *subscribe, {"method": "ping", "req_id": 4})
    result["ws pong"] = [each for each in public_talk if each.get("method") == "pong"]
    result["ws subscribed"] = [each for each in public_talk if each.get("method") == "subscribe"]
    for channel, kind, name in (
        ("book", "snapshot", "ws book snapshot"),
        ("book", "update", "ws book update"),
        ("trade", "update", "ws trade"),
        ("ticker", "snapshot", "ws ticker"),
    ):
        result[name] = [e for e in public_talk if (e.get("channel"), e.get("type")) == (channel, kind)]
    return result


@pytest.mark.parametrize("sample", ANSWERS)
def test_our_answer_has_every_key_path_of_the_recorded_one(sample, answers):
    ours_name, ids, left_out = ANSWERS[sample]
    assert answers[ours_name], "there is an answer of ours to compare with"
    ours: dict[str, set[str]] = {}
    for answer in answers[ours_name]:
        for path, kind in paths(answer, ids):
            ours.setdefault(path, set()).add(kind)
    recorded = samples()[sample]
    seen, missing = set(), []
    for path, kind in paths(recorded, ids):
        seen.add(path)
        if path in left_out:
            continue
        if sample.startswith("POST ") and path.rpartition(".")[2] in NUMBERS_AS_TEXT:
            kind = "number"
        if kind not in ours.get(path, ()):
            missing.append(f"{path}: {kind} recorded, ours is {sorted(ours.get(path, ())) or 'absent'}")
    assert not missing
    assert set(left_out) <= seen, "an exception that is none"


def test_every_recorded_spot_answer_is_compared_or_has_a_reason():
    recorded = {name for name in samples() if "futures" not in name and not name.endswith("_request.json")}
    assert recorded == set(ANSWERS) | set(NOT_SERVED)


def test_recorded_requests_are_understood():
    exchange = Exchange("kraken", MARKETS)
    kraken = Kraken(exchange)
    account = exchange.open_account("KEY", SECRET, name="desk")
    exchange.deposit(account, "USDT", D(10_000), NOW)
    heard: list[dict] = []
    upgrade = Request(method="GET", path=PRIVATE_PATH, query="", headers={}, now=NOW, clock=NOW)
    session = kraken.open_session(upgrade, lambda text, stream: heard.append(json.loads(text)))
    body = "nonce=1"
    headers = {"api-key": "KEY", "api-sign": signature(SECRET, "/0/private/GetWebSocketsToken", "1", body)}
    answer = kraken.handle(
        Request(
            method="POST",
            path="/0/private/GetWebSocketsToken",
            query="",
            headers=headers,
            body=body.encode(),
            now=NOW,
            clock=NOW,
        )  # fmt: skip
    )
    token = json.loads(answer.body)["result"]["token"]
    request = samples()["ws_add_order_request.json"]
    request["params"] |= {"token": token, "symbol": "BTC/USDT"}
    heard.clear()
    session.receive(json.dumps(request), upgrade)
    assert heard[0]["success"] is True and heard[0]["req_id"] == request["req_id"]
    request = samples()["ws_cancel_order_request.json"]
    request["params"] |= {"token": token, "order_id": [heard[0]["result"]["order_id"]]}
    heard.clear()
    session.receive(json.dumps(request), upgrade)
    assert heard[0]["success"] is True and not account.open
