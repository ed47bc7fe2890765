"""Every account is compared with what we know of it, after every fill and every minute (R14, control 20).

An answer is judged with hindsight: `HINDSIGHT` later, when every fill that could be in it has been heard of,
or its order is still in doubt. What two answers in a row hold and nothing explains is an incident. Deposits
and withdrawals are read once something is not explained; fills of others come by the account's stream.

Contact lost means that fills of others may have been missed: the comparison begins anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from ems.core.child import Child
from ems.core.contracts import is_contract
from ems.core.jsontext import plain
from ems.core.messages import Balances, FillReport, QueryBalances, QueryTransfers, Side, TransfersRead
from ems.core.positions import traded
from ems.core.reconcile import SLACK, Difference, Movement, Snapshot, compare, quiet, settled
from ems.core.records import Fill, Notice, Phase
from ems.engine.account import Account
from ems.engine.queries import micros
from ems.engine.turn import Out
from ems.engine.work import Work

ZERO = Decimal(0)
HINDSIGHT = timedelta(seconds=45)
MARGIN = timedelta(seconds=15)  # R5: an order seen alive this much later hides no fill of before
AFTER_FILL_S = 10.0  # balances are asked for this long after a fill, once for all that came meanwhile
TRANSFERS_BACK = timedelta(days=1)  # they are listed when they begin, and arrive when they are confirmed
KEPT = 20  # mismatches shown
LEDGER_MISMATCH = "LEDGER_MISMATCH"  # control 20 of RELIABILITY.md E


@dataclass
class Comparison:
    """What is known of one account since `base`."""

    base: Snapshot | None = None
    waiting: Snapshot | None = None  # to be judged with hindsight
    movements: list[Movement] = field(default_factory=list)
    judged_at: datetime | None = None  # when the last judged answer was asked for
    differences: list[Difference] = field(default_factory=list)  # of the last judged answer
    unsure: set[str] = field(default_factory=set)  # currencies it said nothing about
    # (symbol, fill id, side) -> a fill of an order that is not ours, as far as we know
    others: dict[tuple[str, str, str], Movement] = field(default_factory=dict)
    others_seen: int = 0  # since contact was made
    offered: set[str] = field(default_factory=set)  # ids of transfers among the movements
    used: set[str] = field(default_factory=set)  # ids of transfers that have explained something
    transfers: str = ""  # why they could not be read
    due: bool = False  # balances will be asked for
    mismatches: list[dict[str, object]] = field(default_factory=list)


class Reconciliation:
    """Compares; tells what nothing explains."""

    def __init__(self, out: Out, work: Work):
        self._out = out
        self._work = work
        # Told what two answers in a row hold that nothing explains.
        self.on_mismatch: Callable[[Account, list[Difference], datetime], None] = _nothing_more
        self._of: dict[tuple[str, str], Comparison] = {}  # (exchange, account) -> comparison

    def of(self, account: Account) -> Comparison:
        return self._of.setdefault(account.key, Comparison())

    def lost_contact(self, account: Account) -> None:
        """Begin anew; what was found stays to be seen."""
        self._of[account.key] = Comparison(mismatches=self.of(account).mismatches)

    def booked(self, account: Account, fill: Fill, now: datetime) -> None:
        """Take a fill of ours; have the balances read soon."""
        comparison = self.of(account)
        mistaken = comparison.others.pop((fill.symbol, fill.fill_id, str(fill.side)), None)
        if mistaken is not None:  # it came before we knew the order's number
            comparison.movements = [m for m in comparison.movements if m is not mistaken]
        self._moved(comparison, Movement(kind="ours", at=fill.timestamp, amounts=_amounts(fill)))
        if not comparison.due:
            comparison.due = True
            self._out.wake(("reconcile", *account.key), now + timedelta(seconds=AFTER_FILL_S))

    def ask(self, account: Account) -> None:
        """Have the balances read now."""
        self.of(account).due = False
        self._out.send(account, QueryBalances())

    def traded_by_others(self, account: Account, report: FillReport) -> None:
        """Take a fill of an order that is not ours, once."""
        name = (report.symbol, report.fill_id, str(report.side))
        comparison = self.of(account)
        if name not in comparison.others:
            moved = Movement(kind="others", at=report.at, amounts=_amounts(report))
            comparison.others[name] = moved
            comparison.others_seen += 1
            self._moved(comparison, moved)

    def transfers_read(self, account: Account, report: TransfersRead) -> None:
        """Take deposits and withdrawals. When each arrived is not said: it may count or not."""
        comparison = self.of(account)
        comparison.transfers = report.problem
        if comparison.base is None:
            return
        for one in report.transfers:
            if one.transfer_id in comparison.offered | comparison.used or one.status in (
                "failed",
                "canceled",
            ):
                continue
            comparison.offered.add(one.transfer_id)
            sign = 1 if one.kind == "deposit" else -1
            doubtful = {one.currency: -one.fee} if one.fee else None
            moved = Movement(
                kind="transfer",
                at=comparison.base.came_at,
                amounts={one.currency: sign * one.amount},
                doubtful=doubtful,
            )
            comparison.movements.append(moved)

    def balances(self, account: Account, report: Balances, now: datetime) -> None:
        """Take an answer: judge the one before, if that is long enough ago."""
        comparison = self.of(account)
        currencies = report.free.keys() | report.used.keys()
        latest = Snapshot(
            totals={c: report.free.get(c, ZERO) + report.used.get(c, ZERO) for c in currencies},
            asked_at=report.query_sent_at,
            came_at=now,
        )
        if comparison.base is None:
            comparison.base = latest
        elif comparison.waiting is None:
            comparison.waiting = latest
        elif latest.asked_at >= comparison.waiting.came_at + HINDSIGHT:
            self._judge(account, comparison, comparison.base, comparison.waiting, now)
            comparison.waiting = latest

    def view(self, account: Account) -> dict[str, object]:
        """Show how an account compares, for health."""
        comparison = self.of(account)
        state = "differs" if comparison.differences else "agrees"
        if comparison.judged_at is None:
            state = "not compared yet"
        return {
            "state": state,
            "compared_at": comparison.judged_at,
            "differences": [_difference_view(d) for d in comparison.differences],
            "unsure": sorted(comparison.unsure),
            "others_fills": comparison.others_seen,
            "mismatches": comparison.mismatches[-KEPT:],
        }

    @staticmethod
    def _moved(comparison: Comparison, movement: Movement) -> None:
        if comparison.base is not None:
            comparison.movements.append(movement)

    def _judge(
        self, account: Account, comparison: Comparison, base: Snapshot, seen: Snapshot, now: datetime
    ) -> None:
        unsure = self._unsure(account, seen)
        before = {d.currency for d in comparison.differences}
        # Funding and profits of contracts, which no fill tells, move the currencies they are settled in:
        # there the positions themselves are compared.
        found = compare(base, seen, comparison.movements, unsure | account.margin_currencies())
        twice = [d for d in found if d.currency in before]
        comparison.judged_at, comparison.unsure, comparison.differences = seen.asked_at, unsure, found
        if twice:
            self._tell(account, comparison, twice, now)
            self.on_mismatch(account, twice, now)
        if twice or (not found and not unsure and quiet(seen, comparison.movements)):
            comparison.base = seen
            comparison.differences = []
            # Older ones are in it: told once more, they count for nothing.
            since = seen.asked_at - SLACK
            comparison.movements = [m for m in comparison.movements if m.at >= since]
            comparison.others = {name: m for name, m in comparison.others.items() if m.at >= since}
            comparison.used |= comparison.offered
            comparison.offered = set()
        elif found:
            self._out.send(account, QueryTransfers(since=base.asked_at - TRANSFERS_BACK))
        else:
            comparison.base, comparison.movements = settled(base, seen, comparison.movements)

    def _unsure(self, account: Account, seen: Snapshot) -> set[str]:
        """Return the currencies that a fill of which we have not heard may have moved before an answer."""
        unsure: set[str] = set()
        for child in self._work.children.values():
            order = child.order
            if (order.exchange, order.account) == account.key and self._in_doubt(child, seen):
                unsure |= {*traded(order.symbol), *order.fees}
        return unsure

    def _in_doubt(self, child: Child, seen: Snapshot) -> bool:
        order = child.order
        if order.sent_at is None or order.sent_at > seen.came_at + SLACK:
            return False
        if self._work.said_filled.get(order.order_id, ZERO) > order.filled_quantity:
            return True
        if order.phase is Phase.SETTLED:
            return False
        seen_at = child.lookup.seen_at
        sure = order.phase in (Phase.LIVE, Phase.PENDING_CANCEL)
        return not (sure and seen_at is not None and seen_at >= seen.came_at + MARGIN)

    def _tell(
        self, account: Account, comparison: Comparison, found: Iterable[Difference], now: datetime
    ) -> None:
        where = f"{account.exchange}/{account.account}"
        rows = [_difference_view(d) for d in found]
        comparison.mismatches.append({"at": now, "differences": rows})
        words = ", ".join(f"{row['unexplained']} {row['currency']}" for row in rows)
        unread = ""
        if comparison.transfers:
            unread = f" Deposits and withdrawals could not be read: {comparison.transfers}."
        self._out.publish("incident", where, {"incident": f"{LEDGER_MISMATCH}: {words}"})
        self._out.record(
            Notice(
                notice_id=f"mismatch-{where}-{micros(now)}",
                query_id=None,
                severity="critical",
                subject=f"{where} does not hold what it should ({LEDGER_MISMATCH})",
                failed=f"Balances of {where}: {words} that nothing explains.",
                why="Neither our fills, nor others' that we were told of, nor deposits and withdrawals come "
                f"to this, twice in a row.{unread}",
                done="The exchange's balance is taken as true from here on.",
                todo="Look at the account's history at the exchange: a conversion, a reward, another hand.",
                created_at=now,
                group=f"mismatch/{where}",
                event="ledger_mismatch",
            )
        )


def _nothing_more(_account: Account, _found: list[Difference], _now: datetime) -> None: ...


def _amounts(fill: Fill | FillReport) -> dict[str, Decimal]:
    if is_contract(fill.symbol):
        return {fill.fee_currency: -fill.fee}
    base, quote = traded(fill.symbol)
    sign = 1 if fill.side is Side.BUY else -1
    amounts: dict[str, Decimal] = {}
    for currency, amount in (
        (base, sign * fill.quantity),
        (quote, -sign * fill.quantity * fill.price),
        (fill.fee_currency, -fill.fee),
    ):
        amounts[currency] = amounts.get(currency, ZERO) + amount
    return amounts


def _difference_view(difference: Difference) -> dict[str, object]:
    return {
        "currency": difference.currency,
        "held": plain(difference.held),
        "least": plain(difference.least),
        "most": plain(difference.most),
        "unexplained": plain(difference.unexplained),
    }
