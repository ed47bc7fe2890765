"""Every contract's position is compared with our fills: what two readings hold that nothing explains is told.

As with balances (`ems.core.reconcile`): answers lag, clocks differ. So a fill near a reading may or may not
be in it, and what should be held is a range; only what lies outside of it is a difference. The first reading
is believed, and what was filled since explains the next. What differs, is not explained by fills that are
told later, and is repeated by another reading, is an incident; from there on the exchange's position is taken
as true. While an order is in doubt nothing is said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from ems.core.codec import plain
from ems.core.contracts import signed
from ems.core.messages import ContractRead, FillReport, QueryContract
from ems.core.reconcile import SLACK, Movement, Snapshot, change, quiet, settled
from ems.core.records import Fill, Notice, Phase
from ems.engine.account import Account
from ems.engine.queries import micros
from ems.engine.reconciliation import AFTER_FILL_S, LEDGER_MISMATCH
from ems.engine.turn import Out
from ems.engine.work import Work

ZERO = Decimal(0)

NAMES_KEPT = timedelta(hours=1)  # a fill is told twice within less

Place = tuple[str, str, str]  # (exchange, account, symbol)
Name = tuple[str, str]  # (fill id, side)


@dataclass
class Comparison:
    """One contract on one account."""

    base: Snapshot | None = None  # believed
    moves: list[Movement] = field(default_factory=list)  # which the base does not surely contain
    names: dict[Name, datetime] = field(default_factory=dict)  # fill -> when it happened
    differed: Snapshot | None = None  # a reading that nothing explained when it came
    due: bool = False  # a reading will be asked for


class PositionCheck:
    """Compares; tells what nothing explains."""

    def __init__(self, out: Out, work: Work):
        self._out = out
        self._work = work
        # Told what nothing explains: (account, symbol, base quantity too much or missing, now).
        self.on_mismatch: Callable[[Account, str, Decimal, datetime], None] = _nothing_more
        self._of: dict[Place, Comparison] = {}

    def lost_contact(self, account: Account) -> None:
        """Begin anew."""
        self._of = {place: one for place, one in self._of.items() if place[:2] != account.key}

    def filled(self, account: Account, fill: Fill | FillReport, now: datetime) -> None:
        """Take a fill, ours or another's; have the position read once it is surely in."""
        comparison = self._of.setdefault((*account.key, fill.symbol), Comparison())
        at = fill.timestamp if isinstance(fill, Fill) else fill.at
        name = fill.fill_id, str(fill.side)
        if name not in comparison.names:
            comparison.names[name] = at
            amounts = {fill.symbol: signed(fill.side, fill.quantity)}
            comparison.moves.append(Movement(kind="fill", at=at, amounts=amounts))
        if not comparison.due:
            comparison.due = True
            self._out.wake(("position", *account.key, fill.symbol), now + 2 * SLACK)

    def ask(self, account: Account, symbol: str) -> None:
        """Have a position read now."""
        self._of.setdefault((*account.key, symbol), Comparison()).due = False
        self._out.send(account, QueryContract(symbol=symbol))

    def read(self, account: Account, report: ContractRead, now: datetime) -> None:
        """Judge a reading."""
        sent_at = report.query_sent_at
        if report.problem or sent_at is None:
            return
        comparison, symbol = self._of.setdefault((*account.key, report.symbol), Comparison()), report.symbol
        seen = Snapshot(totals={symbol: report.quantity}, asked_at=sent_at, came_at=now)
        base = comparison.base
        if base is not None and sent_at < base.asked_at:
            return
        if self._in_doubt(account, symbol):
            return
        if base is None:
            self._believe(comparison, seen)
            return
        differs = _unexplained(base, seen, comparison.moves, symbol)
        if not differs:
            self._agreed(comparison, base, seen)
            return
        first = comparison.differed
        if first is None or _unexplained(base, first, comparison.moves, symbol) * differs <= ZERO:
            comparison.differed = seen  # a fill may be told later
        elif sent_at >= first.came_at + timedelta(seconds=AFTER_FILL_S):
            self._tell(account, symbol, differs, now)
            self.on_mismatch(account, symbol, differs, now)
            self._believe(comparison, seen)
            return
        self._out.wake(("position", *account.key, symbol), now + timedelta(seconds=AFTER_FILL_S))

    def _agreed(self, comparison: Comparison, base: Snapshot, seen: Snapshot) -> None:
        """Forget what is not needed any more for comparing with the next reading."""
        if quiet(seen, comparison.moves):
            self._believe(comparison, seen)
            return
        comparison.base, comparison.moves = settled(base, seen, comparison.moves)
        comparison.differed = None
        self._forget(comparison, seen)

    def _believe(self, comparison: Comparison, seen: Snapshot) -> None:
        comparison.base, comparison.differed = seen, None
        comparison.moves = [move for move in comparison.moves if move.at >= seen.asked_at - SLACK]
        self._forget(comparison, seen)

    @staticmethod
    def _forget(comparison: Comparison, seen: Snapshot) -> None:
        since = seen.asked_at - NAMES_KEPT
        comparison.names = {name: at for name, at in comparison.names.items() if at >= since}

    def _in_doubt(self, account: Account, symbol: str) -> bool:
        """Say whether an order may have traded of which we have not heard."""
        for child in self._work.children.values():
            order = child.order
            if (order.exchange, order.account, order.symbol) != (*account.key, symbol):
                continue
            if self._work.said_filled.get(order.order_id, ZERO) > order.filled_quantity:
                return True
            if order.phase not in (Phase.SETTLED, Phase.LIVE, Phase.PENDING_CANCEL):
                return True
        return False

    def _tell(self, account: Account, symbol: str, differs: Decimal, now: datetime) -> None:
        where = f"{account.exchange}/{account.account}"
        words = f"{plain(differs)} {symbol}"
        self._out.publish("incident", where, {"incident": f"{LEDGER_MISMATCH}: {words}"})
        self._out.record(
            Notice(
                notice_id=f"mismatch-{where}-{symbol}-{micros(now)}",
                query_id=None,
                severity="critical",
                subject=f"{where} does not hold what it should ({LEDGER_MISMATCH})",
                failed=f"Position of {where}: {words} that nothing explains.",
                why="Neither our fills nor others' that we were told of come to this, twice in a row.",
                done="The exchange's position is taken as true from here on.",
                todo="Look at the account's history at the exchange: a liquidation, another hand.",
                created_at=now,
                group=f"mismatch/{where}",
                event="ledger_mismatch",
            )
        )


def _unexplained(base: Snapshot, seen: Snapshot, moves: Iterable[Movement], symbol: str) -> Decimal:
    """Return what a reading holds too much (+) or too little (-), beyond what fills explain."""
    low, high = change(base, seen, moves, symbol)
    changed = seen.totals[symbol] - base.totals[symbol]
    return max(changed - high, ZERO) + min(changed - low, ZERO)


def _nothing_more(_account: Account, _symbol: str, _differs: Decimal, _now: datetime) -> None: ...
