"""Perpetual contracts: what the calls return, and how that looks on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from .answers import Answer, _Outcome
from .portfolio_text import money
from .tables import clean, short, table


class ContractPosition(Answer):
    """What an account holds of a contract, as the exchange tells it."""

    exchange: str
    account: str
    symbol: str
    side: str  # long or short
    quantity: Decimal  # in base currency; below zero: short
    entry_price: Decimal
    mark_price: Decimal
    value: Decimal  # quantity x mark_price, in `currency`
    leverage: Decimal
    margin_mode: str
    margin: Decimal | None  # what it requires; None: not told
    liquidation_price: Decimal | None  # None: there is none
    unrealised: Decimal  # in `currency`
    currency: str


class PositionsRead(Answer):
    """Whether an account's positions are known."""

    exchange: str
    account: str
    mode: str
    read: bool
    problem: dict[str, Any] | None  # code, message, hint


class Positions(Answer):
    """Net positions in contracts, and the accounts that were asked."""

    positions: list[ContractPosition]
    accounts: list[PositionsRead]

    def __str__(self) -> str:
        return positions_text(self)


class FundingPayment(Answer):
    """What one position received at one funding time."""

    id: str
    symbol: str
    at: datetime
    amount: Decimal  # below zero: paid
    currency: str


class Funding(Answer):
    """What an account's positions received and paid, newest first."""

    exchange: str
    account: str
    since: datetime
    until: datetime
    totals: dict[str, Decimal]  # currency -> amount
    payments: list[FundingPayment]

    def __str__(self) -> str:
        return funding_text(self)


class LeverageSet(_Outcome):
    """A choice of leverage, and the leverage as it was read back from the exchange."""

    exchange: str
    account: str
    symbol: str
    asked: Decimal
    leverage: Decimal | None  # None: a dry run


def funding_text(answer: Mapping[str, Any]) -> str:
    """Show payments and what they come to."""
    columns = ("at", "symbol", "amount", "currency")
    rows = [[row.get(name) for name in columns] for row in answer.get("payments") or []]
    lines = [table(columns, rows, empty="no funding in that time")]
    lines += [f"in all: {amount} {clean(name)}" for name, amount in (answer.get("totals") or {}).items()]
    return "\n".join(lines)


def positions_text(answer: Mapping[str, Any]) -> str:
    """Show positions, and which accounts could not be read."""
    titles = ("account", "symbol", "side", "quantity", "entry", "mark", "leverage", "margin", "liquidation")
    rows = [
        [
            f"{row.get('exchange')}/{row.get('account')}",
            row.get("symbol"),
            row.get("side"),
            *(short(str(row.get(name))) for name in ("quantity", "entry_price", "mark_price")),
            f"{row.get('leverage')} {row.get('margin_mode')}",
            money(row.get("margin")),
            money(row.get("liquidation_price")) or "none",
            f"{money(row.get('unrealised'))} {row.get('currency')}",
        ]
        for row in answer.get("positions") or []
    ]
    lines = [table((*titles, "unrealised"), rows, empty="no positions")]
    for row in answer.get("accounts") or []:
        if not row.get("read"):
            problem = row.get("problem") or {}
            where = f"{clean(row.get('exchange'))}/{clean(row.get('account'))}"
            lines.append(f"note: {where} could not be read: {clean(problem.get('message'))}")
    return "\n".join(lines)
