"""One small world for the end-to-end tests: two exchanges, a mail server, the server itself."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import pytest

import app
import demo
from oms_client import OMSClient
from tests.limits import take_away


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[demo.DemoWorld]:
    opened = demo.open_world(app, tmp_path_factory.mktemp("world"))
    take_away(OMSClient("adam", opened.url, "desk", key=opened.admin_key))
    yield opened
    opened.close()


class Truth:
    """What the exchanges themselves say: the judge of every story."""

    def __init__(self, world: demo.DemoWorld):
        self._exchanges = {e.venue.exchange: e.server for e in world.exchanges}

    def orders(self, exchange: str):
        server = self._exchanges[exchange]
        return server.call(lambda: list(server.exchange.accounts["paper"].orders.values()))

    def count(self) -> int:
        return sum(len(self.orders(name)) for name in self._exchanges)

    def open(self, exchange: str):
        return [order for order in self.orders(exchange) if order.open]

    def balances(self, exchange: str) -> dict[str, Decimal]:
        server = self._exchanges[exchange]
        held = server.call(lambda: server.exchange.balances(server.exchange.accounts["paper"]))
        return {currency: free + locked for currency, (free, locked) in held.items()}

    def price(self, exchange: str, symbol: str) -> Decimal:
        server = self._exchanges[exchange]
        return server.call(lambda: server.exchange.best(symbol, "buy", server.now())[0])


@pytest.fixture
def truth(world: demo.DemoWorld) -> Truth:
    return Truth(world)
