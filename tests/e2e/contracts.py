"""Simulated exchanges with contracts, whose books stand still, for a server in a process of its own."""

from __future__ import annotations

import secrets
import time
from decimal import Decimal

from simulator.dialects import LISTED
from simulator.exchange import Exchange
from simulator.faults import Faults
from simulator.positions import FundingPayment, Position, Positions
from simulator.records import Order
from simulator.wire import SimulatorServer

BTC, ETH = "BTC/USDT:USDT", "ETH/USDT:USDT"
D = Decimal


class ContractVenue:
    """One exchange and its account `desk`, with 10,000 USDT. What `ServerProcess` wants of a simulator."""

    def __init__(self, name: str) -> None:
        listed = LISTED[name]
        self.exchange = name
        self.house = Exchange(name, list(listed.markets))
        self.positions = Positions(self.house, listed.swaps)
        public, private, passphrase = listed.keys(secrets.token_bytes)
        self.keys = ",".join(part for part in (public, private, passphrase) if part)
        self.account = self.house.open_account(public, private, name="desk", passphrase=passphrase)
        self.house.deposit(self.account, "USDT", D(10_000), time.time())
        dialect = listed.dialect(self.house, **listed.unlimited)
        self.server = SimulatorServer(self.house, dialect, faults=Faults())
        self.server.start()
        self.show(BTC, "59999", "60001")
        self.show(ETH, "2999", "3001")
        self.show("BTC/USDT", "59999", "60001")
        self.show("ETH/USDT", "2999", "3001")

    @property
    def url(self) -> str:
        return self.server.url

    def show(self, symbol: str, bid: str, ask: str) -> None:
        """Let the book have one price on each side, with more than anybody wants."""
        bids, asks = [(D(bid), D(1_000_000))], [(D(ask), D(1_000_000))]
        self.server.call(lambda: self.house.set_book(symbol, bids, asks, time.time()))

    def trade(self, symbol: str, side: str, base: str, price: str | None = None) -> None:
        """Trade by hand at the exchange, past the server: at the market, or resting at a price."""
        quantity = D(base) / self.house.markets[symbol].contract_size

        def place() -> None:
            kind, limit = ("market", None) if price is None else ("limit", D(price))
            order = self.house.create_order(
                self.account, symbol, side, kind, quantity, price=limit, now=time.time()
            )
            assert order.status == ("filled" if price is None else "submitted")

        self.server.call(place)

    def leverage(self, symbol: str) -> Decimal:
        return self.server.call(lambda: self.positions.leverage(self.account, symbol))

    def balance(self) -> Decimal:
        """What the account has in cash, profits that were realised and fees included."""
        free, locked = self.server.call(lambda: self.house.balances(self.account))["USDT"]
        return free + locked

    def open_orders(self) -> list[Order]:
        return self.server.call(lambda: [one for one in self.account.orders.values() if one.open])

    def fund(self, times: int) -> list[FundingPayment]:
        """Let funding times pass; return what the account received and paid."""

        def pass_on() -> list[FundingPayment]:
            known = len(self.positions.payments)
            self.positions.wake(time.time() + times * 8 * 3600)
            return self.positions.payments[known:]

        return self.server.call(pass_on)

    def held(self, symbol: str) -> Position:
        return self.server.call(lambda: self.positions.position(self.account, symbol))

    def base(self, symbol: str) -> Decimal:
        """What the account holds of a contract, in base currency."""
        return self.held(symbol).quantity * self.house.markets[symbol].contract_size

    def stop(self) -> None:
        self.server.stop()
