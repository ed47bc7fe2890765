"""What the runner needs of a venue: a handful of methods, the same for every exchange.

Trading goes by `send`, which returns at once; whatever comes of it is delivered as a report. A gateway
answers every request with a report in bounded time, tells *no* from *don't know* by an exact allow-list,
never sends an order twice, and never retries a write. Reading for people goes by the `fetch_` coroutines.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Protocol

from ems.core.messages import FillReport, OrderStatus, Request, VenueReport
from ems.core.records import Transfer, VenueOrder


class VenueUnavailable(Exception):
    """The venue did not answer a reading in time, or could not be understood."""


class VenueRefused(Exception):
    """The venue refused a reading; `code` is its own code and the message its own words."""

    def __init__(self, message: str, code: str | None = None):
        super().__init__(message)
        self.code = code


class NoContracts(VenueRefused):
    """There are no contracts for us at this exchange; it was not asked."""


class HedgeMode(VenueRefused):
    """The account keeps long and short positions of a contract apart; here they are one (net mode)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Position:
    """What an account holds of a linear contract, as the venue tells it."""

    symbol: str  # BTC/USDT:USDT
    quantity: Decimal  # in base currency; below zero: short
    average_entry_price: Decimal
    mark_price: Decimal
    unrealised_pnl: Decimal  # in `currency`, at the mark price
    currency: str  # in which the contract is settled
    leverage: Decimal
    margin_mode: str  # cross, isolated, or the venue's own word
    margin: Decimal | None  # in `currency`, what it requires; None: the venue does not tell
    liquidation_price: Decimal | None  # None: there is none


@dataclass(frozen=True, kw_only=True, slots=True)
class FundingPayment:
    """What one position received at one funding time."""

    payment_id: str
    symbol: str
    at: datetime
    amount: Decimal  # of `currency`; below zero: paid
    currency: str  # in which the contract is settled


class TooMuch(VenueUnavailable):
    """There is more to read than is read in one go; ask for less."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Offer:
    """What an exchange has to offer of a list of the past."""

    at_once: timedelta  # the longest time to ask for in one go
    reach: timedelta | None  # how far back it goes; None: to the beginning
    per_market: bool  # one market at a time
    misses: str  # what the list leaves out, for people
    ended_apart: bool = False  # just after its end an order may be neither among the open nor the ended


@dataclass(frozen=True, kw_only=True, slots=True)
class CancelledAll:
    """What became of every order that was open when all were to be cancelled, as the venue tells it."""

    cancelled: tuple[OrderStatus, ...]  # looked up, and over without being filled
    filled: tuple[OrderStatus, ...]  # looked up: they were filled before
    still_open: tuple[OrderStatus, ...]  # listed when all was done: not cancelled, or placed meanwhile
    unproven: tuple[OrderStatus, ...]  # no longer listed, and how they ended could not be learned
    problems: tuple[str, ...]  # what was refused or went unanswered on the way


class Gateway(Protocol):
    """One exchange account."""

    exchange: str
    account: str
    mode: str  # "live" | "paper"
    identity: str  # a digest of where the exchange is and of the public key
    recv_window_s: float  # how long after sending the venue may still accept a create; None of it is guessed
    client_id_style: str  # "uuid" | "hex32": the shape of client order ids legal here
    past_orders_offer: Offer | None  # None: the exchange lists none
    transfers_offer: Offer | None

    def open(self, deliver: Callable[[VenueReport], None]) -> None:
        """Start: load markets and fees, connect streams; report MarketsLoaded, then StreamUp."""

    def send(self, request: Request) -> None:
        """Carry a request out and deliver its report(s). Never blocks, never raises for the venue's sake.

        A watched book brings `BookUpdate`s and `PublicTrade`s, our own executions among the latter. Markets
        asked for come as `MarketsLoaded`, as they also do every ten minutes unasked.
        """

    async def close(self, *, planned: bool = True) -> None:
        """Stop everything. An unplanned stop leaves the dead-man's switch armed: nobody may come back."""

    async def fetch_balances(self) -> dict[str, dict[str, Decimal]]:
        """Return currency -> {"free", "used", "total"}; currencies with nothing are left out."""

    async def fetch_fees(self, symbol: str | None) -> list[dict[str, object]]:
        """Return [{"symbol", "maker", "taker"}], fractions as Decimal, for the account's own tier."""

    async def fetch_tier(self) -> dict[str, object] | None:
        """Return {"name", "volume_30d", "currency"} of the fee schedule; None: the exchange does not tell."""

    async def fetch_past_orders(
        self, symbol: str | None, since: datetime, until: datetime
    ) -> list[VenueOrder]:
        """Return every order placed in this time, of one market or all; raise TooMuch when it is too long."""

    async def fetch_transfers(self, since: datetime, until: datetime) -> list[Transfer]:
        """Return every deposit and withdrawal begun in this time; raise TooMuch when it is too long."""

    async def fetch_health(self) -> dict[str, object]:
        """Return {"reachable", "latency_ms", "clock_skew_ms", "stream_up", "markets"} and what is wrong."""

    async def cancel_all(self, symbol: str | None) -> CancelledAll:
        """Cancel every open order of the account, whoever placed it, in one market or in all.

        Nothing is taken for cancelled that was not looked up afterwards. Raise VenueUnavailable when the open
        orders cannot be read, before or after: then nothing is known, and it may be asked again.
        """

    async def fetch_order_fills(self, symbol: str, exchange_order_id: str) -> list[FillReport]:
        """Return the venue's own record of one order's fills."""

    async def fetch_positions(self) -> list[Position]:
        """Return the account's positions in contracts, one for each.

        NoContracts where the venue has none for us, HedgeMode where long and short are kept apart.
        """

    async def fetch_funding(self, since: datetime, until: datetime) -> list[FundingPayment]:
        """Return all funding of contracts in this time, newest first; NoContracts, TooMuch as above."""

    async def set_leverage(self, symbol: str, leverage: Decimal) -> None:
        """Choose the leverage of a contract, cross margin; harmless when repeated.

        VenueRefused where it is not to be had, VenueUnavailable where nobody knows: ask for the positions.
        """
