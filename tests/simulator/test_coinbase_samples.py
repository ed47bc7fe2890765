"""Every key path of a recorded answer of Coinbase is in ours, with its JSON type, or there is a reason."""

import gzip
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from random import Random
from urllib.parse import urlencode

import ccxt
import pytest

from simulator.dialects.coinbase import MARKETS, V3, Coinbase
from simulator.dialects.coinbase_tokens import new_keys
from simulator.dialects.dialect import Request
from simulator.exchange import Exchange

DATA = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
NAME, PEM, _ = new_keys(Random(1).randbytes)
NOW = 1_700_000_000.0
D = Decimal

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="no recorded answers here")

CCXTS = "ccxt writes the list's cursor into a row of it; the exchange does not"

# sample -> (what we answer, {path we leave out: reason})
ANSWERS: dict[str, tuple[str, dict[str, str]]] = {
    "http_accounts.json": ("accounts", {}),
    "http_fills.json": ("fills", {}),
    "http_order.json": ("order", {}),
    "http_orders_list.json": ("orders", {}),
    "http_product.json": ("product", {}),
    "http_product_book.json": ("book", {}),
    "http_products.json": ("products", {}),
    "http_ticker.json": ("trades", {}),
    "ws_heartbeats.json": ("ws heartbeats", {}),
    "ws_l2_data_snapshot.json": ("ws l2_data", {}),
    "ws_l2_data_update.json": ("ws l2_data", {}),
    "ws_market_trades.json": ("ws market_trades", {}),
    "ws_subscriptions.json": ("ws subscriptions", {}),
    "ws_ticker.json": ("ws ticker", {}),
    "ws_user.json": ("ws user", {}),
    "GET /api/v3/brokerage/products/{id}/ticker": ("trades", {}),
    "GET /api/v3/brokerage/orders/historical/fills": ("fills", {"fills[].cursor": CCXTS}),
    "GET /api/v3/brokerage/orders/historical/batch FILLED market": ("orders", {"orders[].cursor": CCXTS}),
}
NOT_SERVED = {
    **dict.fromkeys(("http_candles.json", "ws_candles.json"), "candles are not simulated"),
    **dict.fromkeys(
        (
            "http_cfm_balance_summary.json",
            "http_cfm_position.json",
            "http_cfm_positions.json",
            "http_products_future.json",
        ),
        "futures are not simulated",
    ),
}
# Paths below which keys are names: what is there is compared as one of them.
NAMES = ("events[].subscriptions", "orders[].order_configuration", "order.order_configuration")
# A page that has no alias shows an empty list; its own has one.
EMPTY_LISTS = ("alias_to[]", "products[].alias_to[]")


def samples() -> dict[str, object]:
    folder = DATA / "api_samples"
    with gzip.open(folder / "venue_api_samples.jsonl.gz", "rt") as lines:
        rows = [json.loads(line) for line in lines]
    rows += [json.loads(line) for line in (folder / "venue_live_responses.jsonl").read_text().splitlines()]
    return {row["name"]: row["payload"] for row in rows if row["venue"] == "coinbase"}


def paths(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Every path in a JSON value with its type; keys that are names become `*`."""
    if isinstance(value, dict):
        for key, item in value.items():
            name = "*" if path in NAMES else key
            yield from paths(item, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        yield path, "list"
        for item in value:
            yield from paths(item, f"{path}[]")
    else:
        kinds = {bool: "boolean", int: "number", float: "number", str: "string", type(None): "null"}
        yield path, kinds[type(value)]


@pytest.fixture(scope="module")
def answers() -> dict[str, list[object]]:
    """Ours: a few of each kind, so that all states of everything occur."""
    exchange = Exchange("coinbase", MARKETS)
    coinbase = Coinbase(exchange, limited=False)
    account = exchange.open_account(NAME, PEM, name="desk")
    for currency in ("USDT", "ETH", "BTC"):
        exchange.deposit(account, currency, D(10_000), NOW)
    for symbol in exchange.markets:
        exchange.set_book(symbol, [(D(50), D(5)), (D(40), D(5))], [(D(60), D(5)), (D(70), D(5))], NOW)
    exchange.public_trade("ETH/USDT", D(60), D("0.5"), "buy", NOW)
    signer = ccxt.coinbase({"apiKey": NAME, "secret": PEM})

    def ask(method: str, path: str, query: str = "", body: bytes = b"") -> object:
        token = signer.create_auth_token(int(NOW), method, f"https://api.coinbase.com{V3}{path}")
        request = Request(
            method=method, path=V3 + path, query=query, body=body, now=NOW, clock=NOW,
            headers={"authorization": f"Bearer {token}", "host": "127.0.0.1:1"},
        )  # fmt: skip
        answer = coinbase.handle(request)
        assert answer.status == 200, answer
        return json.loads(json.dumps(answer.body))

    def order(number: int, side: str, **configuration: object) -> dict:
        body = {
            "client_order_id": f"mine-{number}", "product_id": "ETH-USDT", "side": side,
            "order_configuration": configuration,
        }  # fmt: skip
        return ask("POST", "/orders", "", json.dumps(body).encode())

    heard: list[dict] = []
    upgrade = Request(method="GET", path="/", query="", headers={}, now=NOW, clock=NOW)
    session = coinbase.open_session(upgrade, lambda message, stream: heard.append(message))
    assert session is not None
    exchange.subscribe(session.on_event)
    resting = order(1, "BUY", limit_limit_gtc={"base_size": "0.5", "limit_price": "45", "post_only": False})
    for channel in ("level2", "market_trades", "ticker", "heartbeats"):
        message = {"type": "subscribe", "channel": channel, "product_ids": ["ETH-USDT"]}
        session.receive(json.dumps(message), upgrade)
    user = {"type": "subscribe", "channel": "user", "jwt": signer.create_auth_token(int(NOW))}
    session.receive(json.dumps(user), upgrade)
    session.tick(NOW + 1)
    made = [
        resting,
        order(2, "SELL", market_market_ioc={"base_size": "0.5"}),
        order(3, "BUY", market_market_ioc={"quote_size": "100"}),
        order(4, "BUY", sor_limit_ioc={"base_size": "7", "limit_price": "60"}),
    ]
    assert all(one["success"] for one in made)
    exchange.public_trade("ETH/USDT", D(60), D("0.1"), "buy", NOW)
    result: dict[str, list[object]] = {
        "accounts": [ask("GET", "/accounts")],
        "fills": [ask("GET", "/orders/historical/fills")],
        "order": [ask("GET", f"/orders/historical/{one['order_id']}") for one in made],
        "orders": [ask("GET", "/orders/historical/batch")],
        "product": [ask("GET", "/products/ETH-USDT")],
        "products": [ask("GET", "/products")],
        "book": [ask("GET", "/product_book", urlencode({"product_id": "ETH-USDT"}))],
        "trades": [ask("GET", "/products/ETH-USDT/ticker")],
    }
    for message in heard:
        result.setdefault(f"ws {message['channel']}", []).append(json.loads(json.dumps(message)))
    return result


def missing_from(
    recorded: object, ours: list[object], left_out: dict[str, str]
) -> tuple[list[str], set[str]]:
    have: dict[str, set[str]] = {}
    for answer in ours:
        for path, kind in paths(answer):
            have.setdefault(path, set()).add(kind)
    seen, missing = set(), []
    for path, kind in paths(recorded):
        seen.add(path)
        if path not in left_out and path not in EMPTY_LISTS and kind not in have.get(path, ()):
            missing.append(f"{path}: {kind} recorded, ours is {sorted(have.get(path, ())) or 'absent'}")
    return missing, seen


@pytest.mark.parametrize("sample", ANSWERS)
def test_our_answer_has_every_key_path_of_the_recorded_one(sample, answers):
    name, left_out = ANSWERS[sample]
    assert answers[name], "there is an answer of ours to compare with"
    missing, seen = missing_from(samples()[sample], answers[name], left_out)
    assert not missing
    assert set(left_out) <= seen, "an exception that is none"


def test_every_recorded_answer_is_compared_or_has_a_reason():
    assert set(samples()) == set(ANSWERS) | set(NOT_SERVED)


def recorded_frames() -> dict[str, object]:
    """The first frame of each kind that Coinbase really sent."""
    found: dict[str, object] = {}
    with gzip.open(DATA / "raw_ws" / "coinbase.jsonl.gz", "rt") as lines:
        for line in lines:
            row = json.loads(line)
            if row.get("t") == "recv":
                frame = json.loads(row["data"])
                kind = frame["events"][0].get("type", "")
                found.setdefault(f"{frame['channel']} {kind}".strip(), frame)
    return found


def test_our_frames_have_every_key_path_of_those_that_coinbase_sent(answers):
    for kind, frame in recorded_frames().items():
        channel = kind.split()[0]
        if channel != "candles":  # they are not simulated
            missing, _ = missing_from(frame, answers[f"ws {channel}"], {})
            assert not missing, kind
    kinds = {name.split()[0] for name in recorded_frames()}
    assert kinds == {"market_trades", "subscriptions", "candles", "ticker", "l2_data", "heartbeats"}


def test_the_markets_rules_are_those_coinbase_lists():
    with gzip.open(DATA / "metadata" / "coinbase_products_20260809.json.gz", "rt") as file:
        listed = {row["product_id"]: row for row in json.load(file)["products"]}
    for market in MARKETS:
        rules = listed[f"{market.base}-{market.quote}"]
        assert (market.tick, market.lot) == (D(rules["price_increment"]), D(rules["base_increment"]))
        assert (market.min_qty, market.max_qty) == (D(rules["base_min_size"]), D(rules["base_max_size"]))
        assert market.min_notional == D(rules["quote_min_size"])
        assert D(rules["quote_increment"]) == market.tick
