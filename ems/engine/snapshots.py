"""Every position is taken down when a day begins (UTC), once for each day.

Midnight: the books stand still as they are then, prices are waited for a little, and all is written in one
turn. A server that was down at midnight does it at its first start of the day, with the positions as they
were left and the prices of the start: `taken_at` says when. What was decided and not written is decided anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

from ems.core.positions import EXACT, STEP
from ems.core.records import Position, PositionSnapshot, SnapshotDay
from ems.engine.portfolio import Portfolio
from ems.engine.turn import Out

AHEAD = timedelta(seconds=60)  # before midnight the books are asked for by which all will be priced
PATIENCE = timedelta(seconds=60)  # this long a price is waited for
LOOK_AGAIN = timedelta(seconds=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Taking:
    """A snapshot that waits for its prices."""

    day: SnapshotDay
    positions: tuple[Position, ...]
    until: datetime


class Snapshots:
    """Takes them."""

    def __init__(self, out: Out, portfolio: Portfolio):
        self._out = out
        self._portfolio = portfolio
        self._last: date | None = None
        self._taking: Taking | None = None

    def restore(self, last: Mapping[str, date], now: datetime) -> None:
        """Go on after the last day that was taken in this currency: today's is made up for."""
        self._last = last.get(self._portfolio.currency)
        self._begin(now)

    def timer(self, step: str, now: datetime) -> None:
        """Do the step that is due: "ahead" of midnight, "begin" at midnight, "price" as often as needed."""
        if step == "ahead":
            self._portfolio.follow(_held(self._portfolio.positions()), now)
        elif step == "begin":
            self._begin(now)
        else:
            self._price(now)

    def _begin(self, now: datetime) -> None:
        """Hold the positions of this moment, unless today's were taken; come back at the next midnight."""
        midnight = datetime.combine(now.date() + timedelta(days=1), time(), UTC)
        self._out.wake(("snapshot", "ahead"), max(midnight - AHEAD, now))
        self._out.wake(("snapshot", "begin"), midnight)
        if self._last is not None and self._last >= now.date():
            return
        positions = tuple(self._portfolio.positions())
        day = SnapshotDay(
            day=now.date(),
            currency=self._portfolio.currency,
            taken_at=now,
            booking=self._portfolio.booking,
            positions=len(positions),
        )
        self._taking = Taking(day=day, positions=positions, until=now + PATIENCE)
        self._last = day.day
        self._out.wake(("snapshot", "price"), now)

    def _price(self, now: datetime) -> None:
        """Write the snapshot once every price is there, or nobody waits for it any more."""
        taking = self._taking
        if taking is None:
            return
        prices = self._portfolio.prices(taking.positions, now)
        missing = _held(p for p in taking.positions if prices[p.key] is None)
        coming = [place for place in missing if self._portfolio.may_be_priced(*place)]
        if coming and now < taking.until:
            self._portfolio.follow(coming, now)
            self._out.wake(("snapshot", "price"), now + LOOK_AGAIN)
            return
        self._taking = None
        self._out.record(taking.day)
        for position in taking.positions:
            self._out.record(
                PositionSnapshot(day=taking.day.day, position=position, price=_kept(prices[position.key]))
            )


def _held(positions: Iterable[Position]) -> list[tuple[str, str, str]]:
    return [(p.exchange, p.account, p.asset) for p in positions if p.quantity]


def _kept(price: Decimal | None) -> Decimal | None:
    """Round a price to what a column holds: a division may stand behind it."""
    return None if price is None else EXACT.quantize(price, STEP)
