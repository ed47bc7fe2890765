"""The world of the tests with the real ccxt: an exchange on a port, a funded desk, clients pointed at it."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from simulator.exchange import Exchange
from simulator.faults import Faults, Rule
from simulator.records import Market
from simulator.replay import Replay, tracks
from simulator.wire import SimulatorServer

UUID = "d15708c1-dbb6-465d-b77d-47258319cc90"
ETH = "ETH/USDT"
WAIT_S = 10.0
D = Decimal


class World:
    """One exchange, and what was connected to it by `connect(server, ...)`, which says how ccxt is set up."""

    def __init__(self, exchange: Exchange, server: SimulatorServer, connect: Callable[..., Any]) -> None:
        self.exchange = exchange
        self.server = server
        self.account = exchange.accounts["desk"]
        self._connect = connect
        self._clients: list[Any] = []

    def client(self, *args: Any, **options: Any) -> Any:
        client = self._connect(self.server, *args, **options)
        self._clients.append(client)
        return client

    async def close(self) -> None:
        for client in self._clients:
            await client.close()


def here(server: SimulatorServer, urls: Any) -> Any:
    """Turn ccxt's addresses to the simulator; the paths stay."""
    if isinstance(urls, dict):
        return {name: here(server, url) for name, url in urls.items()}
    if not isinstance(urls, str) or "://" not in urls:
        return urls
    parts = urlsplit(urls.replace("{hostname}", "h"))
    return (server.ws_url if parts.scheme.startswith("ws") else server.url) + parts.path


Story = Callable[[World, Any], Awaitable[None]]


def told_of(
    name: str,
    dialect: Callable[[Exchange], Any],
    markets: Iterable[Market],
    keys: tuple[str, str, str | None],
    connect: Callable[..., Any],
) -> Callable[..., None]:
    """Return what runs a story, each in a world of its own. Only a `live` one has a moving book."""

    async def run(story: Story, live: bool, rules: tuple[Rule, ...]) -> None:
        exchange = Exchange(name, list(markets))
        public, private, passphrase = keys
        account = exchange.open_account(public, private, name="desk", passphrase=passphrase)
        exchange.deposit(account, "USDT", D(10_000), time.time())
        exchange.deposit(account, "ETH", D(2), time.time())
        server = SimulatorServer(exchange, dialect(exchange), faults=Faults(rules))
        await server.open()
        replay = Replay(exchange, tracks(exchange), start=server.now(), speed=4)
        replay.advance(server.now())
        playing = asyncio.create_task(replay.run(server.now)) if live else None
        world = World(exchange, server, connect)
        try:
            await asyncio.wait_for(story(world, world.client()), 3 * WAIT_S)
            assert exchange.imbalance() == {}
        finally:
            if playing is not None:
                playing.cancel()
                with suppress(asyncio.CancelledError):
                    await playing
            await world.close()
            await server.close()

    def told(story: Story, *, live: bool = False, rules: tuple[Rule, ...] = ()) -> None:
        asyncio.run(run(story, live, rules))

    return told


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(0.01)
