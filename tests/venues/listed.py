"""Every exchange that can be simulated, each with its own markets and rules and one funded account.

What is here asks only `simulator.dialects.LISTED`, so that a new exchange is covered by being listed.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from random import Random

from ems.venues.ccxt_gateway import VenueKeys
from ems.venues.dialects import DIALECTS
from simulator.dialects import LISTED
from simulator.exchange import Exchange
from simulator.faults import Faults, Rule
from simulator.positions import Positions
from simulator.records import Account, Market, Order
from simulator.wire import SimulatorServer

EXCHANGES = sorted(LISTED.keys() & DIALECTS.keys())
DOLLARS = ("USDT", "USD", "USDC")
BID, ASK = Decimal(20000), Decimal(20010)
DEEP = Decimal(5)  # on each level of the book


class ListedVenue:
    """One exchange on loopback; `limits` False lifts its rate limits, `swaps` lists its contracts too."""

    def __init__(self, name: str, *, limits: bool = False, swaps: bool = False, faults: Faults | None = None):
        listed = LISTED[name]
        self.name = name
        self.exchange = Exchange(name, list(listed.markets), first_id=7_000_000)
        self.positions = Positions(self.exchange, listed.swaps) if swaps and listed.swaps else None
        self.market: Market = next(
            market for quote in DOLLARS for market in listed.markets if market.symbol == f"BTC/{quote}"
        )
        self.symbol = self.market.symbol
        public, private, passphrase = listed.keys(Random(name).randbytes)
        self.keys = VenueKeys(public=public, private=private, passphrase=passphrase)
        self.account: Account = self.exchange.open_account(
            public, private, name="trader", passphrase=passphrase
        )
        now = time.time()
        self.exchange.deposit(self.account, self.market.quote, Decimal(200_000), now)
        self.exchange.deposit(self.account, self.market.base, Decimal(5), now)
        self.show_book()
        dialect = listed.dialect(self.exchange, **({} if limits else listed.unlimited))
        self.server = SimulatorServer(self.exchange, dialect, faults=faults or Faults())

    @property
    def url(self) -> str:
        return self.server.url

    def show_book(self) -> None:
        bids = [(BID - level, DEEP) for level in range(5)]
        asks = [(ASK + level, DEEP) for level in range(5)]
        self.exchange.set_book(self.symbol, bids, asks, time.time())

    def sell_into(self, price: Decimal, quantity: Decimal) -> None:
        """Let somebody sell to whoever buys at this price."""
        self.exchange.public_trade(self.symbol, price, quantity, "sell", self.server.now())

    def strike(self, *rules: Rule) -> None:
        self.server.faults.set(rules)

    def orders(self) -> list[Order]:
        return list(self.account.orders.values())


@asynccontextmanager
async def listed(name: str, *, limits: bool = False) -> AsyncIterator[ListedVenue]:
    venue = ListedVenue(name, limits=limits)
    await venue.server.open()
    try:
        yield venue
    finally:
        await venue.server.close()
