"""What an algorithm sees, and what it may answer.

Rules:
1. `decide(view, now)` is pure and keeps nothing: everything it needs is in the view, the clock and the
   orders, so that a restart in the middle goes on where the old process stopped, and a replay decides as the
   live machine would.
2. It is called on every event of its leg and at least at each `Wait.until`, again and again until it answers
   `Wait`, `Done` or `GiveUp`.
3. It works one leg: one market at one exchange account. Several of its orders may be out at once; each
   unsettled one counts with all it may still take (`ems.core.child.exposure`, `ledger.committed`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from ems.algos.params import Params
from ems.algos.signals import Signals
from ems.core.instrument import Market
from ems.core.messages import BookUpdate, OrderType, Side, TimeInForce
from ems.core.records import Order


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Place one order of the leg."""

    order_type: OrderType
    time_in_force: TimeInForce
    post_only: bool
    quantity: Decimal  # base
    price: Decimal
    purpose: str  # "make" | "take"


@dataclass(frozen=True, kw_only=True, slots=True)
class CancelChild:
    order_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Wait:
    """Nothing to do before `until`, unless something happens."""

    until: datetime
    why: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Done:
    """The leg is over: nothing of it is out, and it has what it was to get, or what is left is too small, or
    its time is up and it was not to take."""

    left: Decimal  # of the source currency
    why: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class GiveUp:
    code: str  # a constant of ems.core.errors
    why: str


Decision = Place | CancelChild | Wait | Done | GiveUp


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """All that a decision may depend on, beside the clock."""

    params: Params  # which algorithm, with its numbers
    side: Side
    market: Market
    orders: Sequence[Order]  # of this leg, oldest first, ended ones included
    book: BookUpdate | None
    total: Decimal  # source currency the leg is to spend in all, what is spent included; may grow with `more`
    available: Decimal  # source currency it may still spend; what open orders may take is NOT deducted
    quantity: Decimal | None = None  # base to trade in all, what is filled included; None: spend `total`
    more: bool = False  # other legs may still bring in funds: never Done for lack of them
    started_at: datetime
    ends_at: datetime  # T is over here
    on_timeout: str = "take"  # at `ends_at`: "take" what is left | "cancel": leave it
    limit: Decimal | None = None  # never buy above, never sell below
    haircut: Decimal = Decimal(0)  # share of the source currency left over for the venue's rounding
    free: Decimal | None = None  # what the venue said is free, when it has just refused for lack of funds
    refused_quantity: Decimal | None = None  # never offer this much again
    ready_at: datetime | None = None  # since when the exchange may be traded on: a restart, a reconnect
    signals: Signals = field(default_factory=Signals)
    seed: str = ""  # what random-looking slots are derived from: the same leg decides the same again
