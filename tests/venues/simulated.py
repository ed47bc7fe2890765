"""A simulated exchange on loopback with one account that has money and a book to trade against."""

from __future__ import annotations

import base64
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from random import Random

from ems.venues.ccxt_gateway import VenueKeys
from simulator.dialects import LISTED, plain_keys
from simulator.exchange import Exchange
from simulator.faults import Faults, Rule
from simulator.records import Account, Market
from simulator.wire import SimulatorServer
from tests.venues.gateways import SYMBOLS

KEYS = VenueKeys(public="trader-key", private=base64.b64encode(b"trader secret").decode())


def keys_of(name: str) -> VenueKeys:
    """Return the trader's keys at an exchange: always the same ones, in the shape it has them."""
    if LISTED[name].keys is plain_keys:
        return KEYS
    public, private, passphrase = LISTED[name].keys(Random(name).randbytes)
    return VenueKeys(public=public, private=private, passphrase=passphrase)


class Simulated:
    """What a test needs of it."""

    def __init__(self, name: str, *, limits: bool = True, **options: object):
        self.symbol = SYMBOLS[name]
        base, quote = self.symbol.split("/")
        market = Market(
            symbol=self.symbol,
            base=base,
            quote=quote,
            tick=Decimal("0.1"),
            lot=Decimal("0.0001"),
            min_qty=Decimal("0.0001"),
            min_notional=Decimal(5),
            maker_fee=Decimal("0.0010"),
            taker_fee=Decimal("0.0020"),
            fee_mode=LISTED[name].markets[0].fee_mode,
        )
        self.exchange = Exchange(name, [market])
        self.keys = keys_of(name)
        self.account: Account = self.exchange.open_account(
            self.keys.public, self.keys.private, name="trader", passphrase=self.keys.passphrase
        )
        now = time.time()
        self.exchange.deposit(self.account, quote, Decimal(10_000), now)
        self.exchange.deposit(self.account, base, Decimal(2), now)
        self.set_book()
        lifted = {} if limits else LISTED[name].unlimited
        self.dialect = LISTED[name].dialect(self.exchange, **{**lifted, **options})
        self.server = SimulatorServer(self.exchange, self.dialect, faults=Faults())
        self.url = ""

    def set_book(self, bid: str = "20000", ask: str = "20010", size: str = "0.5") -> None:
        bids = [(Decimal(bid) - level, Decimal(size)) for level in range(5)]
        asks = [(Decimal(ask) + level, Decimal(size)) for level in range(5)]
        self.exchange.set_book(self.symbol, bids, asks, time.time())

    def permit(self, *permissions: str) -> None:
        """Give the trader's key these rights, and no others."""
        self.exchange.keys[self.keys.public].permissions = frozenset(permissions)

    def strike(self, *rules: Rule) -> None:
        self.server.faults.set(rules)

    def orders(self) -> list[object]:
        return list(self.exchange.orders.values())


@asynccontextmanager
async def simulated(name: str, *, limits: bool = True, **options: object) -> AsyncIterator[Simulated]:
    """Run one. `limits` False lifts its rate limits, for a gateway that is told of none; `options` are the
    dialect's own."""
    venue = Simulated(name, limits=limits, **options)
    await venue.server.open()
    venue.url = venue.server.url
    try:
        yield venue
    finally:
        await venue.server.close()
