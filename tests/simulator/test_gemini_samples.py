"""Every key path of Gemini's recorded messages and answers is in ours with the same JSON type."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from simulator.dialects.gemini import MARKETS
from tests.simulator.gemini_client import NOW, D, Desk
from tests.simulator.test_gemini import level_2, market_data

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def paths(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Every path in a JSON value with its type."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from paths(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        yield path, "list"
        for item in value:
            yield from paths(item, f"{path}[]")
    else:
        kinds = {bool: "boolean", int: "number", float: "number", str: "string", type(None): "null"}
        yield path, kinds[type(value)]


def recorded() -> Iterator[dict]:
    file = DATA / "raw_ws" / "gemini.jsonl.gz"
    if not file.is_file():
        pytest.skip("no recorded streams here")
    with gzip.open(file, "rt") as lines:
        for line in lines:
            yield json.loads(line)


def by_kind(messages: Iterator[dict]) -> dict[str, set[tuple[str, str]]]:
    """Kind of message -> its paths; the first of a symbol is a kind of its own."""
    found: dict[str, set[tuple[str, str]]] = {}
    for message in messages:
        kind = message["type"] + (" first" if "trades" in message else "")
        found.setdefault(kind, set()).update(paths(message))
    return found


def test_the_stream_has_all_that_was_recorded():
    theirs = by_kind(json.loads(one["data"]) for one in recorded() if one["t"] == "recv")
    desk = Desk()
    desk.exchange.public_trade("ETH/USDT", D(60), D(1), "buy", NOW)
    heard, session = market_data(desk, level_2("ETHUSDT"))
    desk.show(bids=((51, 3),))
    desk.exchange.public_trade("ETH/USDT", D(60), D(1), "buy", NOW)
    session.tick(NOW)
    session.tick(NOW + 5)
    ours = by_kind(iter(json.loads(json.dumps(heard))))
    assert set(theirs) == {"l2_updates", "l2_updates first", "trade", "heartbeat"}
    missing = {
        (kind, path, type_)
        for kind, found in theirs.items()
        for path, type_ in found
        if (path, type_) not in ours[kind]
    }
    assert missing == set()
    assert all(ours[kind] == found for kind, found in theirs.items()), "and nothing else"


def test_what_the_recorder_asked_for_is_understood():
    (asked,) = [json.loads(one["data"]) for one in recorded() if one["t"] == "send"]
    heard, _ = market_data(Desk(), asked)
    symbols = [message["symbol"] for message in heard]
    assert set(symbols) == {"BTCUSDT", "ETHUSDT", "BTCUSD", "ETHUSD", "SOLUSD"}
    assert symbols == [name for name in asked["subscriptions"][0]["symbols"] if name in symbols]


def test_the_details_of_our_markets_are_those_of_the_recording():
    details = {
        json.loads(one["data"])["symbol"]: one["data"]
        for one in recorded()
        if one["t"] == "http" and "/details/" in one["url"]
    }
    desk = Desk()
    for market in MARKETS:
        name = f"{market.base}{market.quote}"
        ours = desk.gemini.handle(desk.request("GET", f"/v1/symbols/details/{name.lower()}", "", {})).body
        # To the character: ccxt reads the steps from them.
        assert json.loads(ours, parse_float=str) == json.loads(details[name], parse_float=str)


def test_prices_and_sizes_are_written_as_they_were_recorded():
    """With a point, also where they are whole; an exponent never."""
    desk = Desk()
    heard, _ = market_data(desk, level_2("ETHUSDT"))
    desk.show(bids=((51, 3), ("50.5", "0.000001")))
    theirs = [json.loads(one["data"]) for one in recorded() if one["t"] == "recv"]
    for message in (*theirs, *heard):
        for _, price, size in message.get("changes", ()):
            assert "." in price and "." in size and "e" not in (price + size).lower()
