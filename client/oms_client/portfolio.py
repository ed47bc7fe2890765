"""What is held and was earned, as the calls return it."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from .answers import Answer
from .portfolio_text import pnl_text, portfolio_text, snapshots_text


class Figures(Answer):
    """Positions added up, in the reporting currency; what has no price is named and left out."""

    cost: Decimal
    value: Decimal
    unrealised: Decimal
    realised: Decimal
    fees: Decimal
    pnl: Decimal  # realised + unrealised - fees
    unpriced: list[str]


class Position(Answer):
    """What a bot holds of an asset at an account, by average cost, and what it earned with it."""

    bot: str
    exchange: str
    account: str
    asset: str
    quantity: Decimal
    average_price: Decimal | None
    cost: Decimal
    price: Decimal | None
    value: Decimal | None
    unrealised: Decimal | None
    realised: Decimal
    fees: Decimal
    opened: Decimal
    opened_value: Decimal
    unvalued: Decimal
    updated_at: datetime


class ContractHolding(Answer):
    """What a bot holds of a contract, by average cost, in the currency in which it is settled."""

    bot: str
    exchange: str
    account: str
    symbol: str
    quantity: Decimal  # in base currency; below zero: short
    average_price: Decimal | None
    cost: Decimal
    price: Decimal | None
    unrealised: Decimal | None
    realised: Decimal
    fees: Decimal
    currency: str
    updated_at: datetime


class ContractExposure(Answer):
    """The net position of all accounts together in a contract."""

    quantity: Decimal
    value: Decimal
    unrealised: Decimal


class Exposure(Answer):
    """What all accounts together hold of an asset."""

    quantity: Decimal
    value: Decimal | None
    share: Decimal | None  # of the total value


class AccountValue(Answer):
    """What one account is worth."""

    exchange: str
    account: str
    mode: str
    read_at: datetime | None
    value: Decimal
    contracts_unrealised: Decimal | None  # beside `value`; None: not known
    unpriced: list[str]


class Portfolio(Answer):
    """Your bots' positions with their sums, and what all accounts hold, in one currency."""

    currency: str
    at: datetime
    total: Figures
    positions: list[Position]
    contracts: list[ContractHolding]
    by_bot: dict[str, Figures]
    by_exchange: dict[str, Figures]
    by_account: dict[str, Figures]
    by_asset: dict[str, Figures]
    accounts: list[AccountValue]
    total_value: Decimal
    total_mode: str
    exposure: dict[str, Exposure]
    contract_exposure: dict[str, ContractExposure]

    def __str__(self) -> str:
        return portfolio_text(self)


class Earned(Answer):
    """What fills have earned: one row of get_pnl."""

    realised: Decimal
    fees: Decimal
    pnl: Decimal  # realised - fees
    turnover: Decimal
    fills: int
    unvalued_fills: int


class Pnl(Answer):
    """What trading earned in a time, a row for each day, bot, exchange, account or symbol."""

    currency: str
    by: str
    since: datetime | None
    until: datetime | None
    total: Earned
    rows: list[Earned]

    def __str__(self) -> str:
        return pnl_text(self)


class DayChange(Answer):
    """What came to pass from one snapshot to the next, in the reporting currency."""

    realised: Decimal
    fees: Decimal
    price_change: Decimal
    pnl: Decimal  # realised - fees + price_change
    brought_in: Decimal
    unpriced: list[str]


class Snapshot(Answer):
    """How your positions stood when a day began (UTC)."""

    day: str  # 2026-11-22
    taken_at: datetime
    booking: int
    total: Figures
    change: DayChange | None  # since the snapshot before
    positions: list[Position]


class SnapshotPage(Answer):
    """Daily snapshots, newest first; give `next_cursor` back as `cursor` for the next page."""

    currency: str
    snapshots: list[Snapshot]
    next_cursor: str | None

    def __str__(self) -> str:
        return snapshots_text(self)
