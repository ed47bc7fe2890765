"""The feed against a provider that speaks the real wire on loopback, and does what goes wrong there."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest

from ems.core.depth import GAP, Depth
from ems.core.messages import BookUpdate
from ems.feeds.coinapi import CoinApi
from ems.feeds.coinapi_messages import BookMessage, read
from simulator.coinapi import CoinApiServer, recorded

D = Decimal
KEY = "73034021-THIS-IS-SAMPLE-KEY"
BTC = "BINANCE_SPOT_BTC_USDT"
DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "coinapi"


class Heard:
    """What the feed delivered, in order."""

    def __init__(self) -> None:
        self.books: list[tuple[str, BookUpdate]] = []

    def deliver(self, exchange: str, book: BookUpdate) -> None:
        self.books.append((exchange, book))

    def last(self) -> tuple[str, BookUpdate]:
        return self.books[-1]


def until(true: Callable[[], Any], within_s: float = 10) -> None:
    """Wait for something to be so."""
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end, "it did not come to be"
        time.sleep(0.01)


@contextmanager
def provider(**options: Any) -> Iterator[CoinApiServer]:
    with CoinApiServer([KEY], clock=time.time, heartbeat_s=0.1, **options) as server:
        server.show(BTC, levels("99:1 98:2"), levels("101:1 102:2"))
        yield server


@contextmanager
def feed(*endpoints: str, key: str = KEY, **options: Any) -> Iterator[tuple[CoinApi, Heard]]:
    heard = Heard()
    options = {"silence_s": 0.6, "backoff_s": (0.1, 0.2), **options}
    one = CoinApi(
        key,
        endpoints,
        deliver=heard.deliver,
        now=lambda: datetime.now(UTC),
        monotonic=time.monotonic,
        rng=Random(5),
        **options,
    )
    one.start()
    try:
        yield one, heard
    finally:
        one.stop()
        assert not any(thread.name == "coinapi" for thread in threading.enumerate())


def levels(text: str) -> list[tuple[Decimal, Decimal]]:
    pairs = (word.split(":") for word in text.split())
    return [(D(price), D(size)) for price, size in pairs]


def shows(heard: Heard, bids: str, asks: str) -> Callable[[], bool]:
    wanted = (tuple(levels(bids)), tuple(levels(asks)))
    return lambda: bool(heard.books) and (heard.last()[1].bids, heard.last()[1].asks) == wanted


def test_a_book_is_asked_for_told_and_followed() -> None:
    with provider() as server, feed(server.url) as (coinapi, heard):
        time.sleep(0.3)
        assert server.connections == 0  # nothing is watched: no connection, and no hello without a filter
        coinapi.watch("binance", "BTC/USDT")
        coinapi.watch("binance", "BTC/USDT:USDT")
        until(shows(heard, "99:1 98:2", "101:1 102:2"))
        exchange, book = heard.last()
        assert (exchange, book.symbol, book.unfit) == ("binance", "BTC/USDT", "")
        assert (datetime.now(UTC) - book.at).total_seconds() < 2
        assert [h["subscribe_filter_symbol_id"] for h in server.hellos] == [[f"{BTC}$"]]
        server.show(BTC, levels("99:3 97:1"), levels("100.5:0.00000001 101:1"))
        until(shows(heard, "99:3 97:1", "100.5:0.00000001 101:1"))
        assert coinapi.health() == {
            "source": "coinapi",
            "connected": True,
            "endpoint": server.url,
            "problem": "",
        }


def test_more_and_less_is_watched_on_one_connection() -> None:
    with provider() as server, feed(server.url) as (coinapi, heard):
        server.show("COINBASE_SPOT_ETH_USD", levels("9:1"), levels("11:1"))
        coinapi.watch("binance", "BTC/USDT")
        until(lambda: heard.books)
        coinapi.watch("coinbase", "ETH/USD")
        coinapi.watch("coinbaseexchange", "ETH/USD")
        until(lambda: {"coinbase", "coinbaseexchange"} <= {exchange for exchange, _ in heard.books})
        coinapi.unwatch("binance", "BTC/USDT")
        until(lambda: heard.last()[1].unfit)
        assert heard.last()[0] == "binance"
        before = len(heard.books)
        server.show(BTC, levels("50:1"), levels("51:1"))
        time.sleep(0.4)
        assert (len(heard.books), server.connections) == (before, 1)
        assert [h["type"] for h in server.hellos] == ["hello", "subscribe", "unsubscribe"]


def test_a_lost_message_is_noticed_and_the_book_begun_anew() -> None:
    with provider() as server, feed(server.url) as (coinapi, heard):
        coinapi.watch("binance", "BTC/USDT")
        until(lambda: heard.books)
        heard.books.clear()
        server.losing = 1
        server.show(BTC, levels("99:5"), levels("101:1"))
        time.sleep(0.3)
        assert not heard.books
        server.show(BTC, levels("98:5"), levels("101:2"))
        until(shows(heard, "98:5", "101:2"))
        assert [book.unfit for _, book in heard.books] == [GAP, ""]
        assert server.connections == 1


@pytest.mark.parametrize("trouble", ["silent", "cut", "garbage", "buffer full"])
def test_a_connection_that_is_of_no_use_is_replaced(trouble: str) -> None:
    with provider() as server, feed(server.url) as (coinapi, heard):
        coinapi.watch("binance", "BTC/USDT")
        until(lambda: heard.books)
        heard.books.clear()
        match trouble:
            case "silent":
                server.silent = True
            case "cut":
                server.cut()
            case "garbage":
                server.tell("<html>")
            case _:
                server.tell('{"message":"Reached maximum allowed buffered messages.","type":"error"}')
        until(lambda: heard.books and heard.last()[1].unfit)
        assert heard.last()[1].bids == ()
        server.silent = False
        until(shows(heard, "99:1 98:2", "101:1 102:2"))
        assert server.connections >= 2
        assert coinapi.health()["problem"] == ""


def test_endpoints_are_tried_in_order() -> None:
    with provider() as first, provider() as second:
        first.go_down()
        with feed(first.url, second.url) as (coinapi, heard):
            coinapi.watch("binance", "BTC/USDT")
            until(lambda: heard.books)
            assert coinapi.health()["endpoint"] == second.url
            first.go_up()
            second.go_down()
            until(lambda: heard.last()[1].unfit)
            until(lambda: coinapi.health()["endpoint"] == first.url)
            until(lambda: not heard.last()[1].unfit)


def test_while_all_are_down_the_wait_grows() -> None:
    with provider() as server:
        server.go_down()
        with feed(server.url, backoff_s=(0.2, 5.0)) as (coinapi, heard):
            coinapi.watch("binance", "BTC/USDT")
            until(lambda: "refused" in str(coinapi.health()["problem"]).lower())
            time.sleep(0.8)
            server.go_up()
            time.sleep(0.5)
            assert not heard.books  # it waits for two and a half seconds at least
            until(lambda: heard.books)


def test_a_wrong_key_is_said_once_and_not_hammered(caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.INFO),
        provider() as server,
        feed(server.url, key="wrong", refused_s=0.3) as (coinapi, heard),
    ):
        coinapi.watch("binance", "BTC/USDT")
        until(lambda: coinapi.health()["problem"] == "refused: Invalid API key")
        time.sleep(0.8)  # two more tries
        assert 2 <= server.connections <= 4 and not heard.books
        said = [record for record in caplog.records if "Invalid API key" in record.getMessage()]
        assert [(one.levelname, "COIN_API_KEY" in one.getMessage()) for one in said] == [("ERROR", True)]
        assert not any("wrong" in record.getMessage() for record in caplog.records)  # the key itself
        server.keys.add("wrong")  # it has been paid for
        until(lambda: heard.books)
        assert coinapi.health()["connected"]


def test_a_notice_of_a_restart_is_followed_at_once() -> None:
    with provider() as server, feed(server.url) as (coinapi, heard):
        coinapi.watch("binance", "BTC/USDT")
        until(lambda: heard.books)
        server.ask_to_reconnect(5)
        until(lambda: server.connections == 2)
        until(shows(heard, "99:1 98:2", "101:1 102:2"))
        assert coinapi.health()["problem"] == ""


def test_it_stops_at_once_whatever_it_is_doing() -> None:
    with provider() as server:
        for down in (False, True):
            if down:
                server.go_down()
            with feed(server.url, backoff_s=(60.0,), silence_s=30.0) as (coinapi, heard):
                coinapi.watch("binance", "BTC/USDT")
                until(lambda: heard.books if not down else coinapi.health()["problem"])  # noqa: B023
                began = time.monotonic()
                coinapi.stop()
                assert time.monotonic() - began < 2


@pytest.mark.skipif(not DATA.is_dir(), reason="no recordings here")
def test_a_recording_over_the_wire() -> None:
    """Three minutes of BTC/USDT in the provider's own characters, as fast as they go."""
    lines = list(recorded(DATA / f"derived_{BTC}_180s.jsonl.gz"))
    judge = Depth()
    for line in lines:
        message = read(line)
        assert isinstance(message, BookMessage)
        judge.apply(message.change)
    with CoinApiServer([KEY], clock=time.time, heartbeat_s=0.1) as server:
        with feed(server.url, silence_s=5) as (coinapi, heard):
            coinapi.watch("binance", "BTC/USDT")
            until(lambda: server.hellos)
            for line in lines:
                server.tell(line)
            wanted = (judge.bids(50), judge.asks(50))
            until(lambda: heard.books and (heard.last()[1].bids, heard.last()[1].asks) == wanted, 30)
            assert all(not book.unfit for _, book in heard.books)
            assert all(book.bids[0][0] < book.asks[0][0] for _, book in heard.books)
