"""Does an account hold what its last balances and all that moved since say it should? (R14, control 20)

An exchange's answer is the truth of some moment between `SLACK` before it was asked and `SLACK` after it
came: answers lag, clocks differ. So a movement near a snapshot may or may not be in it, and what an account
should hold is a range. Only what lies outside of the range is a difference; hence balances that are older
than fills, or fills that are heard of late, are never taken for one.

Nothing is said of a currency while a fill of it may have happened of which nobody has told us (`unsure`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal

ZERO = Decimal(0)
SLACK = timedelta(seconds=20)  # R5's 15 s for what a venue may hide, and clocks apart by a few
ROUNDING = Decimal("1e-8")  # exchanges keep eight decimals, and may round once for each movement


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """What an exchange says an account holds, free and used together; or what `advanced` made of that."""

    totals: Mapping[str, Decimal]  # currency -> amount
    asked_at: datetime
    came_at: datetime
    movements: int = 0  # added to it since: each may be rounded
    more: Mapping[str, Decimal] = field(default_factory=dict)  # currency -> how much more it may be


@dataclass(frozen=True, kw_only=True, slots=True)
class Movement:
    """Something that moved an account: a fill of ours or of others, a deposit, a withdrawal."""

    kind: str  # "ours" | "others" | "transfer"
    at: datetime
    amounts: Mapping[str, Decimal]  # currency -> what came (+) or went (-)
    doubtful: Mapping[str, Decimal] | None = None  # currency -> what may have moved beside: a fee, say


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """What an account holds of a currency, and should not, or the reverse."""

    currency: str
    held: Decimal
    least: Decimal  # it should hold at least this
    most: Decimal

    @property
    def unexplained(self) -> Decimal:
        """Return what is too much (+) or missing (-), beyond the range."""
        return self.held - (self.most if self.held > self.most else self.least)


def compare(
    base: Snapshot,
    latest: Snapshot,
    movements: Iterable[Movement],
    unsure: Collection[str] = (),
) -> list[Difference]:
    """Return every currency whose balance nothing we know of explains, in alphabetical order."""
    low, high, count = _add_all(base, ((m, _part(base, latest, m.at)) for m in movements))
    count += 1
    room = ROUNDING * count
    found = []
    for currency in sorted(low.keys() | latest.totals.keys()):
        if currency in unsure:
            continue
        held = latest.totals.get(currency, ZERO)
        least_held, most_held = low.get(currency, ZERO) - room, high.get(currency, ZERO) + room
        if not least_held <= held <= most_held:
            found.append(Difference(currency=currency, held=held, least=least_held, most=most_held))
    return found


def settled(base: Snapshot, seen: Snapshot, movements: Iterable[Movement]) -> tuple[Snapshot, list[Movement]]:
    """Add to `base` what is surely in `seen` and all later, and surely not in `base`; return what is left.

    What is surely in `base` is forgotten. So the list stays short however much is traded.
    """
    totals, count, left = dict(base.totals), base.movements, []
    for movement in movements:
        if movement.at < base.asked_at - SLACK:
            continue
        if base.came_at + SLACK < movement.at < seen.asked_at - SLACK and not movement.doubtful:
            count += 1
            for currency, amount in movement.amounts.items():
                totals[currency] = totals.get(currency, ZERO) + amount
        else:
            left.append(movement)
    return replace(base, totals=totals, movements=count), left


def advanced(
    base: Snapshot,
    seen: Snapshot,
    movements: Iterable[Movement],
    until: datetime,
    unsure: Collection[str] = (),
    anew: Collection[str] = (),
) -> tuple[Snapshot, list[Movement]]:
    """Bring `base` forward to the moment `until`, more than `SLACK` before `seen`; return what is left.

    It becomes what the account held at `until`: what moved before is in it, all later is not. What may or may
    not have been in the old base makes it a range. `seen` has to agree with all that moved, and narrows the
    range, except of what is unsure: so neither ranges nor roundings add up, however long an account is busy.
    Of the currencies `anew` the old base says nothing: they are as `seen` has them.
    """
    assert base.came_at + SLACK < until < seen.asked_at - SLACK
    kept = list(movements)
    before, left = [m for m in kept if m.at < until], [m for m in kept if m.at >= until]
    low, high, count = _add_all(base, ((m, _part(base, seen, m.at)) for m in before))
    start = Snapshot(totals={}, asked_at=until + SLACK, came_at=until - SLACK)  # exact: nothing is near it
    least, most, later = _add_all(start, ((m, _part(start, seen, m.at)) for m in left))
    totals, more = {}, {}
    for currency in low.keys() | seen.totals.keys():
        lowest = low.get(currency, ZERO) - ROUNDING * count
        highest = high.get(currency, ZERO) + ROUNDING * count
        if currency not in unsure:
            room = ROUNDING * (later + 1)
            held = seen.totals.get(currency, ZERO)
            from_seen = held - most.get(currency, ZERO) - room, held - least.get(currency, ZERO) + room
            if currency in anew:
                lowest, highest = from_seen
            else:
                lowest, highest = max(lowest, from_seen[0]), min(highest, from_seen[1])
        totals[currency], more[currency] = lowest, highest - lowest
    return replace(start, totals=totals, more=more), left


def change(
    base: Snapshot, latest: Snapshot, movements: Iterable[Movement], currency: str
) -> tuple[Decimal, Decimal]:
    """Return by how much, at least and at most, movements explain that a currency changed."""
    low = high = ZERO
    for movement in movements:
        least, most = _part(base, latest, movement.at)
        amount = movement.amounts.get(currency, ZERO)
        low, high = low + min(least * amount, most * amount), high + max(least * amount, most * amount)
    return low, high


def quiet(snapshot: Snapshot, movements: Iterable[Movement]) -> bool:
    """Say whether nothing moved near a snapshot: then it is exact."""
    return not any(snapshot.asked_at - SLACK <= m.at <= snapshot.came_at + SLACK for m in movements)


def _add_all(
    base: Snapshot, parts: Iterable[tuple[Movement, tuple[int, int]]]
) -> tuple[dict[str, Decimal], dict[str, Decimal], int]:
    """Return the least and the most that is held once movements are added, each so often at least and at
    most; and how many amounts may have been rounded."""
    low = dict(base.totals)
    high = {c: low.get(c, ZERO) + base.more.get(c, ZERO) for c in low.keys() | base.more.keys()}
    count = base.movements
    for movement, (least, most) in parts:
        if (least, most) == (0, 0):
            continue
        count += 1
        for currency, amount in movement.amounts.items():
            low[currency] = low.get(currency, ZERO) + min(least * amount, most * amount)
            high[currency] = high.get(currency, ZERO) + max(least * amount, most * amount)
        for currency, amount in (movement.doubtful or {}).items():
            low[currency] = low.get(currency, ZERO) + min(least * amount, most * amount, ZERO)
            high[currency] = high.get(currency, ZERO) + max(least * amount, most * amount, ZERO)
    return low, high, count


def _part(base: Snapshot, latest: Snapshot, at: datetime) -> tuple[int, int]:
    """Return how often, at least and at most, a movement counts towards the difference of two snapshots."""
    surely_in_base, maybe_in_base = at < base.asked_at - SLACK, at <= base.came_at + SLACK
    surely_in_latest, maybe_in_latest = at < latest.asked_at - SLACK, at <= latest.came_at + SLACK
    least = int(surely_in_latest) - int(maybe_in_base)
    most = int(maybe_in_latest) - int(surely_in_base)
    return min(least, most), max(least, most)
