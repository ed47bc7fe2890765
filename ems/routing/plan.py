"""The words router and planner share: what may be traded where, and what they propose.

A node is (exchange, account, currency): the same currency at two accounts is two nodes, because nothing
moves between accounts while a plan is carried out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from ems.core.instrument import Market
from ems.core.messages import Side

Levels = tuple[tuple[Decimal, Decimal], ...]  # ((price, quantity), ...), best first
Node = tuple[str, str, str]  # (exchange, account, currency)


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """One market at one exchange account, with its book as last seen."""

    exchange: str
    account: str
    market: Market  # carries this account's own fees
    bids: Levels
    asks: Levels
    at: datetime  # when the book reached us


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedLeg:
    """One market's share of a plan, rounded to what the venue accepts."""

    exchange: str
    account: str
    symbol: str
    side: Side
    source: str
    target: str
    quantity: Decimal  # base, floored to the lot
    price: Decimal  # the worst level used, quote per base: the limit of an order that sweeps at once
    spend: Decimal  # of `source`, fee included where it is charged there
    receive: Decimal  # of `target`, net of a fee charged there
    level: int = 0  # 0: funded by what is held; n: by legs of lower levels


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposal:
    """What router or planner would do now, in the order in which money flows (legs by level)."""

    legs: tuple[PlannedLeg, ...]
    spent: Mapping[Node, Decimal]  # of what was given, how much the legs use
    received: Decimal  # of the end currency, over all accounts, after rounding (router)
    continuous: Decimal  # the same before rounding: the optimum of the displayed books
    gap_bp: Decimal  # certificate: the optimum over all edges is at most this much better
    scope: str = "hub"  # "hub" | "all": which edges were solved over
    arbitrage: bool = False  # the books allowed profit in a circle; its flow is not part of the legs
    curve: tuple[tuple[Decimal, Decimal], ...] = ()  # (spent, received) at each augmentation, whole curve
    left_out: Mapping[str, str] = field(default_factory=dict)  # currency or symbol -> why it is not traded
    reason: str = ""  # why there is no leg at all
