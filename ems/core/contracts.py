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
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Context, Decimal

from ems.core.messages import Side

ZERO = Decimal(0)
STEP = Decimal(1).scaleb(-18)
EXACT = Context(prec=150, rounding=ROUND_HALF_EVEN)
UPWARDS = Context(prec=150, rounding=ROUND_CEILING)


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
