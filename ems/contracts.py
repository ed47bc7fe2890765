"""What accounts hold in contracts, read from their exchanges and shown.

Positions belong to accounts, not to bots: an exchange nets what everybody trades there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Context, Decimal

from ems.appraisals import Marked
from ems.core import errors
from ems.core.messages import Problem
from ems.venues.gateway import (
    FundingPayment,
    Gateway,
    HedgeMode,
    NoContracts,
    Position,
    VenueRefused,
    VenueUnavailable,
)

EXACT = Context(prec=100)
FUNDING_OF = timedelta(days=7)  # so much is told unless somebody asks for more
FUNDING_MAX = timedelta(days=89)
ASK_S = 12.0  # an exchange that takes longer does not keep the answers of others back


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """What one account holds in contracts, or why that is not known."""

    exchange: str
    account: str
    mode: str
    positions: tuple[Position, ...] = ()
    problem: Problem | None = None

    @property
    def offers_none(self) -> bool:
        """Say whether there are no contracts for us at this exchange."""
        return self.problem is not None and self.problem.code == errors.EXCHANGE_OFFERS_NONE


async def read_positions(gateways: Sequence[Gateway]) -> list[Held]:
    """Ask all of them at once; what went wrong at one is its problem alone."""
    return list(await asyncio.gather(*map(_read, gateways)))


async def _read(gateway: Gateway) -> Held:
    positions: tuple[Position, ...] = ()
    problem = None
    try:
        async with asyncio.timeout(ASK_S):
            positions = tuple(await gateway.fetch_positions())
    except NoContracts as none:
        problem = errors.problem(errors.EXCHANGE_OFFERS_NONE, str(none))
    except HedgeMode as hedged:
        problem = errors.problem(
            errors.POSITION_MODE_UNSUPPORTED, f"{gateway.exchange}/{gateway.account}: {hedged}"
        )
    except VenueRefused as refused:
        problem = errors.problem(
            errors.VENUE_REJECTED,
            f"{gateway.exchange} refused: {refused}",
            venue_code=refused.code,
            venue_message=str(refused),
        )
    except (VenueUnavailable, TimeoutError) as error:
        problem = errors.problem(
            errors.VENUE_UNAVAILABLE, f"{gateway.exchange} gave no usable answer: {error or 'timeout'}"
        )
    return Held(
        exchange=gateway.exchange,
        account=gateway.account,
        mode=gateway.mode,
        positions=positions,
        problem=problem,
    )


def marked(found: Sequence[Held]) -> list[Marked]:
    """Return what was read as a portfolio counts it."""
    return [
        Marked(
            exchange=held.exchange,
            account=held.account,
            symbol=one.symbol,
            quantity=one.quantity,
            mark=one.mark_price,
            unrealised=one.unrealised_pnl,
            currency=one.currency,
        )
        for held in found
        for one in held.positions
    ]


def positions_view(found: Sequence[Held]) -> dict[str, object]:
    """Show positions, and of every account whether they are all of its own."""
    return {
        "positions": [_position_view(held, one) for held in found for one in held.positions],
        "accounts": [
            {
                "exchange": held.exchange,
                "account": held.account,
                "mode": held.mode,
                "read": held.problem is None,
                "problem": None if held.problem is None else _problem_view(held.problem),
            }
            for held in found
        ],
    }


def _position_view(held: Held, one: Position) -> dict[str, object]:
    return {
        "exchange": held.exchange,
        "account": held.account,
        "symbol": one.symbol,
        "side": "long" if one.quantity > 0 else "short",
        "quantity": one.quantity,
        "entry_price": one.average_entry_price,
        "mark_price": one.mark_price,
        "value": EXACT.multiply(one.quantity, one.mark_price),
        "leverage": one.leverage,
        "margin_mode": one.margin_mode,
        "margin": one.margin,
        "liquidation_price": one.liquidation_price,
        "unrealised": one.unrealised_pnl,
        "currency": one.currency,
    }


def funding_problem(since: datetime, until: datetime) -> Problem | None:
    """Refuse a time that no exchange tells in one go."""
    if since < until <= since + FUNDING_MAX:
        return None
    return errors.problem(
        errors.REQUEST_FIELD_INVALID,
        f"since: {since.isoformat()} is not before until, or more than {FUNDING_MAX.days} days before it",
        hint=f"Ask for at most {FUNDING_MAX.days} days at once.",
        details={"field": "since", "value": since.isoformat()},
    )


def funding_view(payments: Sequence[FundingPayment]) -> dict[str, object]:
    """Show payments, newest first, and what they come to by currency."""
    totals: dict[str, Decimal] = {}
    for one in payments:
        totals[one.currency] = EXACT.add(totals.get(one.currency, Decimal(0)), one.amount)
    return {
        "totals": dict(sorted(totals.items())),
        "payments": [
            {
                "id": one.payment_id,
                "symbol": one.symbol,
                "at": one.at,
                "amount": one.amount,
                "currency": one.currency,
            }
            for one in payments
        ],
    }


def _problem_view(problem: Problem) -> Mapping[str, object]:
    return {"code": problem.code, "message": problem.message, "hint": problem.hint}
