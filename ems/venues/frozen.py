"""An exchange account that is left alone: it broke the engine more than once (RELIABILITY.md R19)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import NoReturn

from ems.core.messages import FillReport, Request, VenueReport
from ems.core.records import Transfer, VenueOrder
from ems.venues.gateway import CancelledAll, FundingPayment, Gateway, Position, VenueUnavailable


class FrozenGateway:
    """Stands in front of a gateway that is not to be opened: nothing goes out, and readers are told why."""

    def __init__(self, kept_shut: Gateway, why: str):
        self._kept_shut = kept_shut
        self._why = why
        self.exchange = kept_shut.exchange
        self.account = kept_shut.account
        self.mode = kept_shut.mode
        self.identity = kept_shut.identity
        self.recv_window_s = kept_shut.recv_window_s
        self.client_id_style = kept_shut.client_id_style
        self.past_orders_offer = kept_shut.past_orders_offer
        self.transfers_offer = kept_shut.transfers_offer

    def open(self, deliver: Callable[[VenueReport], None]) -> None:
        """Stay shut: without markets and contact the engine places nothing here."""

    def send(self, request: Request) -> None:
        """Leave a cancel or look-up unanswered: it is on record, and asked again once the account is open."""

    async def close(self, *, planned: bool = True) -> None:
        await self._kept_shut.close(planned=planned)

    async def fetch_balances(self) -> dict[str, dict[str, Decimal]]:
        self._refuse()

    async def fetch_fees(self, symbol: str | None) -> list[dict[str, object]]:
        self._refuse()

    async def fetch_tier(self) -> dict[str, object] | None:
        self._refuse()

    async def fetch_past_orders(
        self, symbol: str | None, since: datetime, until: datetime
    ) -> list[VenueOrder]:
        self._refuse()

    async def fetch_transfers(self, since: datetime, until: datetime) -> list[Transfer]:
        self._refuse()

    async def fetch_health(self) -> dict[str, object]:
        self._refuse()

    async def cancel_all(self, symbol: str | None) -> CancelledAll:
        self._refuse()

    async def fetch_order_fills(self, symbol: str, exchange_order_id: str) -> list[FillReport]:
        self._refuse()

    async def fetch_funding(self, since: datetime, until: datetime) -> list[FundingPayment]:
        self._refuse()

    async def fetch_positions(self) -> list[Position]:
        self._refuse()

    async def set_leverage(self, symbol: str, leverage: Decimal) -> None:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise VenueUnavailable(f"{self.exchange}/{self.account} is {self._why}")
