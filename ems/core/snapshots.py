"""What was held when a day began, and what was earned from one such moment to the next.

A snapshot is every position as it stood, each with its price where one was known. From one to the next

    pnl = realised - fees + price_change

`realised` and `fees` are the sums over the fills booked between the two, to the last digit; `price_change` is
what is unrealised in the later less what was unrealised in the earlier. Since all costs together are capital
brought in + realised - fees, the pnl of all bots is also what their value has grown by, less what was brought
in.

A position without a price in one of the two is left out of `price_change`, and named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from ems.core.positions import EXACT, STEP, ZERO
from ems.core.records import Position, PositionSnapshot, SnapshotDay


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """One day's snapshot: its mark, and the positions that were asked for."""

    day: SnapshotDay
    positions: tuple[PositionSnapshot, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """What came to pass from one snapshot to the next, in the reporting currency."""

    realised: Decimal
    fees: Decimal
    price_change: Decimal
    brought_in: Decimal  # capital: what was given without having been bought here
    unpriced: tuple[str, ...]  # left out of the price change

    @property
    def pnl(self) -> Decimal:
        return EXACT.add(EXACT.subtract(self.realised, self.fees), self.price_change)


def worth_of(quantity: Decimal, price: Decimal) -> Decimal:
    """Return what a quantity is worth, to 18 decimals."""
    return EXACT.quantize(EXACT.multiply(quantity, price), STEP)


def unrealised(position: Position, price: Decimal | None) -> Decimal | None:
    """Return what a position is worth above its cost; None where it has no price."""
    if not position.quantity:
        return ZERO
    return None if price is None else EXACT.subtract(worth_of(position.quantity, price), position.cost)


def change(before: Snapshot, after: Snapshot) -> Change:
    """Return what was earned from one snapshot to a later one. Positions never go: `after` has them all."""
    earlier = {row.position.key: row for row in before.positions}
    realised = fees = prices = brought = ZERO
    unpriced = []
    for row in after.positions:
        position, was = row.position, earlier.get(row.position.key)
        gained: Decimal | None = unrealised(position, row.price)
        then: Decimal | None = ZERO
        realised, fees = EXACT.add(realised, position.realised), EXACT.add(fees, position.fees)
        brought = EXACT.add(brought, position.opened_value)
        if was is not None:
            realised = EXACT.subtract(realised, was.position.realised)
            fees = EXACT.subtract(fees, was.position.fees)
            brought = EXACT.subtract(brought, was.position.opened_value)
            then = unrealised(was.position, was.price)
        if gained is None or then is None:
            unpriced.append(f"{position.asset} at {position.exchange}/{position.account}")
        else:
            prices = EXACT.add(prices, EXACT.subtract(gained, then))
    return Change(
        realised=realised,
        fees=fees,
        price_change=prices,
        brought_in=brought,
        unpriced=tuple(sorted(set(unpriced))),
    )


def changes(snapshots: Sequence[Snapshot]) -> list[Change | None]:
    """Return the change of each against the one that follows it, newest first; the last has None."""
    following = [*snapshots[1:], None]
    return [None if b is None else change(b, a) for a, b in zip(snapshots, following, strict=True)]
