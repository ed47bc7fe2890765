"""A server with a data provider beside its exchanges: endpoints fail and come back, orders go on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import app
from oms_client import OMSClient
from oms_client.errors import OMSError
from simulator.coinapi import CoinApiServer
from tests.e2e.processes import ServerProcess

D = Decimal
KEY = "73034021-sample-key"
SYMBOL, NAME = "ETH/USDT", "BINANCE_SPOT_ETH_USDT"


@dataclass
class Beside:
    """A simulated exchange of this process, as a server process is told of it."""

    exchange: str
    running: app.SimulatedExchange

    @property
    def url(self) -> str:
        return self.running.venue.url

    @property
    def keys(self) -> str:
        return f"{self.running.venue.keys.public},{self.running.venue.keys.private}"

    def orders(self) -> int:
        """Count the orders that the exchange has ever seen."""
        server = self.running.server
        return server.call(lambda: len(server.exchange.accounts["paper"].orders))


@dataclass
class World:
    """What a test needs of it."""

    binance: Beside
    first: CoinApiServer
    second: CoinApiServer
    server: ServerProcess
    client: OMSClient
    stop_following: list[Callable[[], None]]

    def feed(self) -> dict[str, Any]:
        [feed] = self.client.check_health()["market_data"]["feeds"]
        return dict(feed)

    def source(self, name: str) -> dict[str, Any] | None:
        for market in self.client.check_health()["market_data"]["markets"]:
            for source in market["sources"]:
                if (market["symbol"], source["source"]) == (SYMBOL, name):
                    return dict(source)
        return None

    def buy(self) -> Any:
        return self.client.market_order("binance", "buy", SYMBOL, "0.01")


def until(true: Callable[[], Any], within_s: float = 30) -> None:
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end, "it did not come to be"
        time.sleep(0.1)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    running = app.start_simulator("binance", limits=False)
    binance = Beside("binance", running)
    with (
        CoinApiServer([KEY], clock=time.time) as first,
        CoinApiServer([KEY], clock=time.time) as second,
    ):
        following = [one.follow(running.server, SYMBOL, NAME) for one in (first, second)]
        server = ServerProcess(
            [binance],  # type: ignore[list-item]
            f"sqlite:///{tmp_path / 'oms.sqlite'}",
            tmp_path / "server.log",
            environment={"COIN_API_KEY": KEY, "COIN_API_WS_ENDPOINTS": f"{first.url},{second.url}"},
        )
        server.start()
        client = OMSClient("alice", server.url, "bot", key=server.keys.private)
        yield World(binance, first, second, server, client, following)
        assert server.stop() == 0
        assert KEY not in (tmp_path / "server.log").read_text()
    running.stop()


@pytest.mark.timeout(180)
def test_endpoints_fail_and_come_back_and_orders_go_on(world: World) -> None:
    assert world.feed()["connected"] is False and not world.first.hellos  # nothing is watched yet
    assert world.buy().status == "filled"
    until(lambda: world.source("coinapi"))
    assert world.feed() == {
        "source": "coinapi", "connected": True, "endpoint": world.first.url, "problem": "",
    }  # fmt: skip
    until(lambda: (world.source("coinapi") or {}).get("problem") == "")
    stream = world.source("account default")
    assert stream is not None and stream["problem"] == "" and D(stream["age_s"]) < 5

    world.first.go_down()  # killed; the next one takes over, and meanwhile the exchange's own books do
    assert world.buy().status == "filled"
    until(lambda: world.feed()["endpoint"] == world.second.url)

    world.second.go_down()
    until(lambda: world.feed()["connected"] is False)
    assert world.feed()["problem"]
    assert world.buy().status == "filled"

    world.first.go_up()
    until(lambda: world.feed()["endpoint"] == world.first.url)
    until(lambda: (world.source("coinapi") or {}).get("problem") == "")
    assert world.buy().status == "filled"
    assert world.binance.orders() == 4


@pytest.mark.timeout(180)
def test_a_book_that_the_provider_contradicts_is_not_traded_on(world: World) -> None:
    assert world.buy().status == "filled"
    until(lambda: (world.source("coinapi") or {}).get("problem") == "")
    for stop in world.stop_following:
        stop()
    server = world.binance.running.server
    shown = server.call(lambda: server.exchange.depth(SYMBOL, 20, now=server.now()))
    half = [[(price / 2, size) for price, size in side] for side in (shown.bids, shown.asks)]

    agreeing = threading.Event()

    def contradict() -> None:
        """Again and again, a little different, as a live book is: an old opinion is none."""
        while not agreeing.wait(0.2):
            half[0][0] = (half[0][0][0], half[0][0][1] + D("0.001"))
            world.first.show(NAME, *half)

    contradicting = threading.Thread(target=contradict)
    contradicting.start()
    try:
        until(
            lambda: "off what others show" in ((world.source("account default") or {}).get("problem") or "")
        )
        with pytest.raises(OMSError) as refused:
            world.buy()
    finally:
        agreeing.set()
        contradicting.join()
    assert refused.value.code == "EXCHANGE_UNAVAILABLE"
    assert "off what others show" in str(refused.value)
    assert world.binance.orders() == 1

    world.first.follow(server, SYMBOL, NAME)  # the provider comes to agree
    until(lambda: (world.source("account default") or {}).get("problem") == "")
    assert world.buy().status == "filled"
    assert world.binance.orders() == 2


@pytest.mark.timeout(120)
def test_a_wrong_key_is_said_and_trading_goes_on(world: World) -> None:
    world.first.keys.clear()
    world.second.keys.clear()
    assert world.buy().status == "filled"
    until(lambda: world.feed()["problem"] == "refused: Invalid API key")
    assert world.buy().status == "filled"
    log = world.server.log.read_text()
    assert log.count("Invalid API key") == 1 and "COIN_API_KEY" in log
    assert len(world.first.hellos) + len(world.second.hellos) == 1
