"""Every contract's position is compared with our fills: what two readings hold that nothing explains is told.

As with balances (`ems.engine.reconciliation`): answers lag, clocks differ. So a reading counts only when
nothing was filled near it and no order is in doubt; the first one that counts is believed, and what was
filled since explains the next. A difference that the next reading repeats is an incident; from there on the
exchange's position is taken as true.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from ems.core.codec import plain
from ems.core.contracts import signed
from ems.core.messages import ContractRead, FillReport, QueryContract
from ems.core.reconcile import SLACK
from ems.core.records import Fill, Notice, Phase
from ems.engine.account import Account
from ems.engine.queries import micros
from ems.engine.reconciliation import AFTER_FILL_S, LEDGER_MISMATCH
from ems.engine.turn import Out
from ems.engine.work import Work

ZERO = Decimal(0)

Place = tuple[str, str, str]  # (exchange, account, symbol)


@dataclass
class Comparison:
    """One contract on one account."""

    base: ContractRead | None = None  # believed
    moves: dict[tuple[str, str], tuple[datetime, Decimal]] = field(default_factory=dict)  # fill -> (at, base)
    differs: Decimal = ZERO  # in the last reading, unexplained
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
        comparison.moves[fill.fill_id, str(fill.side)] = at, signed(fill.side, fill.quantity)
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
        comparison = self._of.setdefault((*account.key, report.symbol), Comparison())
        if comparison.base is not None and comparison.base.query_sent_at is not None:
            if sent_at < comparison.base.query_sent_at:
                return
        near = any(sent_at - SLACK <= at <= now + SLACK for at, _ in comparison.moves.values())
        if near or self._in_doubt(account, report.symbol):
            return
        if comparison.base is None:
            self._believe(comparison, report)
            return
        explained = sum((moved for _, moved in comparison.moves.values()), comparison.base.quantity)
        differs = report.quantity - explained
        if differs and differs != comparison.differs:
            comparison.differs = differs
            self._out.wake(("position", *account.key, report.symbol), now + timedelta(seconds=AFTER_FILL_S))
            return
        if differs:
            self._tell(account, report.symbol, differs, now)
            self.on_mismatch(account, report.symbol, differs, now)
        self._believe(comparison, report)

    @staticmethod
    def _believe(comparison: Comparison, report: ContractRead) -> None:
        comparison.base, comparison.moves, comparison.differs = report, {}, ZERO

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


def _nothing_more(_account: Account, _symbol: str, _differs: Decimal, _now: datetime) -> None: ...
