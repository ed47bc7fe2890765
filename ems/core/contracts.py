"""Linear perpetual contracts: what a position is, what a trade makes of it, what an order needs.

Rules:
1. Quantities are in base currency, below zero for a short position; prices are in the quote currency, in
   which the contract is settled: nobody delivers anything.
2. One position for each contract (net mode). `cost` is what it was entered for, signed as the quantity. What
   adds to it adds its value; what takes from it takes its share of the cost along and earns the difference
   at once. What goes through zero closes all of it and opens the rest at its own price.
3. A share of the cost is rounded half-even to `STEP`; the last of a position takes all that is left of it.
   Nothing else is rounded. Hence, whatever is traded: sum of cash = realised - fees, and
   realised + value of what is open - its cost = value sold - value bought + value of what is open.
4. An order opens what it does not close; beside it count the open orders of its side, the earlier first.
5. A position that was read is the truth of some moment between the question and its answer. A fill of that
   time may or may not be in it: then what is held is a range.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Context, Decimal

from ems.core.messages import Side

ZERO = Decimal(0)
STEP = Decimal(1).scaleb(-18)
EXACT = Context(prec=150, rounding=ROUND_HALF_EVEN)
UPWARDS = Context(prec=150, rounding=ROUND_CEILING)
NEAR = timedelta(milliseconds=500)  # clocks apart, and what an answer may lag


def is_contract(symbol: str) -> bool:
    """Say whether a symbol names a contract: BTC/USDT:USDT, settled in USDT."""
    return ":" in symbol


def settled_in(symbol: str) -> str:
    """Return the currency in which a contract is settled."""
    return symbol.partition(":")[2]


def signed(side: Side, quantity: Decimal) -> Decimal:
    """Return what a trade adds to a position."""
    return quantity if side is Side.BUY else -quantity


@dataclass(frozen=True, kw_only=True, slots=True)
class Traded:
    """A position after a trade, and what that has realised."""

    quantity: Decimal
    cost: Decimal
    realised: Decimal  # before fees


def traded(quantity: Decimal, cost: Decimal, side: Side, amount: Decimal, price: Decimal) -> Traded:
    """Trade so much at a price: rules 2 and 3."""
    change = signed(side, amount)
    after = EXACT.add(quantity, change)
    if quantity * change >= ZERO:
        return Traded(quantity=after, cost=EXACT.add(cost, EXACT.multiply(change, price)), realised=ZERO)
    if abs(change) < abs(quantity):
        share = EXACT.quantize(EXACT.divide(EXACT.multiply(cost, -change), quantity), STEP)
        earned = EXACT.subtract(EXACT.multiply(-change, price), share)
        return Traded(quantity=after, cost=EXACT.subtract(cost, share), realised=earned)
    earned = EXACT.subtract(EXACT.multiply(quantity, price), cost)
    return Traded(quantity=after, cost=EXACT.multiply(after, price), realised=earned)


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """How an account stands in a contract: it holds `least`, `most`, or something between."""

    symbol: str
    least: Decimal  # base; below zero: short
    most: Decimal
    leverage: Decimal

    @property
    def unsure(self) -> bool:
        """Say whether it is not known what is held."""
        return self.least != self.most


@dataclass(frozen=True, kw_only=True, slots=True)
class Move:
    """A fill of a contract."""

    at: datetime  # by the exchange's clock
    moved: Decimal
    heard_at: datetime  # by ours: a question sent after it finds the fill in the position
    ordered_at: datetime | None  # by ours: it was not before that; None: somebody else's


def held(
    quantity: Decimal, asked_at: datetime, came_at: datetime, moves: Iterable[Move]
) -> tuple[Decimal, Decimal]:
    """Return the least and the most that is held, by what was read and the fills since: rule 5."""
    least = most = quantity
    for move in moves:
        ordered_later = move.ordered_at is not None and move.ordered_at >= came_at
        if ordered_later or move.at > came_at + NEAR:
            least, most = least + move.moved, most + move.moved
        elif move.heard_at > asked_at and move.at >= asked_at - NEAR:
            least, most = least + min(move.moved, ZERO), most + max(move.moved, ZERO)
    return least, most


def opened(held: Decimal, side: Side, beside: Decimal, quantity: Decimal) -> Decimal:
    """Return how much of an order opens or adds to a position, `beside` being open of its side: rule 4."""
    closable = max(-signed(side, held), ZERO)
    return min(quantity, max(beside + quantity - closable, ZERO))


def margin(opening: Decimal, quantity: Decimal, price: Decimal, leverage: Decimal, fee: Decimal) -> Decimal:
    """Return what an order needs of the settlement currency: margin for what it opens, fee for all of it.

    Rounded up to 18 decimals, which is what a record holds.
    """
    wanted = EXACT.divide(EXACT.multiply(opening, price), leverage)
    charged = EXACT.multiply(EXACT.multiply(quantity, price), max(fee, ZERO))
    return UPWARDS.quantize(EXACT.add(wanted, charged), STEP)
