"""Every account is compared with what we know of it, after every fill and every minute (R14, control 20).

An answer is judged with hindsight: `HINDSIGHT` later, when every fill that could be in it has been heard of,
or its order is still in doubt. What two answers in a row hold and nothing explains is an incident. Fills of
others come by the account's stream; once something is not explained, deposits, withdrawals and the trades of
the markets in question are read from the exchange's own lists, which also tell what the stream did not while
contact was lost or the server was down.

The balances that all is compared with are kept in the store. What moved since is not: our fills are there
anyway, and the rest is read from those lists again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from ems.core.child import Child
from ems.core.contracts import is_contract
from ems.core.jsontext import plain
from ems.core.messages import (
    Balances,
    FillReport,
    QueryBalances,
    QueryTradeHistory,
    QueryTransfers,
    Side,
    TradeHistoryRead,
    TransfersRead,
)
from ems.core.positions import traded
from ems.core.reconcile import SLACK, Difference, Movement, Snapshot, advanced, compare, quiet, settled
from ems.core.records import BalanceBase, Fill, Notice, Phase
from ems.engine.account import Account
from ems.engine.queries import micros
from ems.engine.turn import Out
from ems.engine.work import Work

ZERO = Decimal(0)
HINDSIGHT = timedelta(seconds=45)
MARGIN = timedelta(seconds=15)  # R5: an order seen alive this much later hides no fill of before
AFTER_FILL_S = 10.0  # balances are asked for this long after a fill, once for all that came meanwhile
BASE_BACK = timedelta(minutes=5)  # a base is brought forward to this long ago: fills may be heard of later
BASE_STEP = timedelta(minutes=5)  # and by at least so much
TRANSFERS_BACK = timedelta(days=1)  # they are listed when they begin, and arrive when they are confirmed
KEPT = 20  # mismatches and others' trades shown
LISTS_PATIENCE = timedelta(seconds=60)  # nothing is told before the lists have come, or this is over
MARKETS_MAX = 4  # whose trades are read for one difference: at some exchanges such a list is dear
TRANSFERS_KEPT = 200  # ids of transfers that explain nothing more
LEDGER_MISMATCH = "LEDGER_MISMATCH"  # control 20 of RELIABILITY.md E


Trade = tuple[str, str, str]  # symbol, fill id, side


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
    others: dict[Trade, Movement] = field(default_factory=dict)
    others_seen: int = 0  # since the start
    ours: dict[Trade, datetime] = field(default_factory=dict)  # our fills since the base, and when they were
    flat_since: datetime | None = (
        None  # no contract has been open since, as far as is known; None: one may be
    )
    fresh: bool = False  # what was paid in and out before the first base is not known yet
    offered: dict[str, Movement] = field(default_factory=dict)  # ids of transfers among the movements
    arrived: set[str] = field(default_factory=set)  # those of them that the exchange calls done
    used: dict[str, None] = field(default_factory=dict)  # ids of transfers that have explained something
    reading: set[str] = field(default_factory=set)  # lists that were asked for, and have not come
    read_since: datetime | None = None  # when they were asked for
    unread: dict[str, str] = field(default_factory=dict)  # list -> why it could not be read
    due: bool = False  # balances will be asked for
    mismatches: list[dict[str, object]] = field(default_factory=list)
    foreign: list[dict[str, object]] = field(default_factory=list)  # others' trades, for people
    explained: list[dict[str, object]] = field(default_factory=list)  # differences, and what they were


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

    def restore(self, bases: Iterable[BalanceBase], fills: Iterable[Fill]) -> None:
        """Go on from the balances that agreed last, and our fills since."""
        for base in bases:
            account = self._work.accounts.get((base.exchange, base.account))
            if account is not None and account.identity == base.identity:
                comparison = self.of(account)
                comparison.base = Snapshot(totals=base.totals, asked_at=base.asked_at, came_at=base.came_at)
                comparison.used = dict.fromkeys(base.transfers)
        for fill in fills:
            known = self._of.get((fill.exchange, fill.account))
            if known is not None:
                self._ours(known, fill)

    def lost_contact(self, account: Account) -> None:
        """Judge nothing that was asked before: what moved meanwhile is found in the exchange's own lists."""
        comparison = self.of(account)
        comparison.waiting = None
        comparison.due = False
        comparison.flat_since = None

    def booked(self, account: Account, fill: Fill, now: datetime) -> None:
        """Take a fill of ours; have the balances read soon."""
        comparison = self.of(account)
        mistaken = comparison.others.pop((fill.symbol, fill.fill_id, str(fill.side)), None)
        if mistaken is not None:  # it came before we knew the order's number
            comparison.movements = [m for m in comparison.movements if m is not mistaken]
        self._ours(comparison, fill)
        if not comparison.due:
            comparison.due = True
            self._out.wake(("reconcile", *account.key), now + timedelta(seconds=AFTER_FILL_S))

    def ask(self, account: Account) -> None:
        """Have the balances read now."""
        self.of(account).due = False
        self._out.send(account, QueryBalances())

    def traded_by_others(self, account: Account, report: FillReport) -> None:
        """Take a fill of an order that is not ours, once."""
        name = _name(report)
        comparison = self.of(account)
        if name in comparison.others or name in comparison.ours:
            return
        if is_contract(report.symbol):
            comparison.flat_since = None
        moved = Movement(kind="others", at=report.at, amounts=_amounts(report))
        comparison.others[name] = moved
        comparison.others_seen += 1
        comparison.foreign.append(_foreign_view(report))
        del comparison.foreign[:-KEPT]
        self._moved(comparison, moved)

    def history_read(self, account: Account, report: TradeHistoryRead) -> list[FillReport]:
        """Take what an exchange lists of trades; return those of orders of ours that we know nothing of."""
        comparison = self.of(account)
        comparison.unread["trades"] = report.problem
        comparison.reading.discard("trades")
        base, unheard = comparison.base, []
        for fill in report.fills:
            if base is None or fill.at < base.asked_at - SLACK or _name(fill) in comparison.ours:
                continue  # it is in the base, or was booked
            if self._work.find(account, fill) is not None or self._work.is_ours(fill.client_order_id):
                unheard.append(fill)
            else:
                self.traded_by_others(account, fill)
        return unheard

    def transfers_read(self, account: Account, report: TransfersRead) -> None:
        """Take deposits and withdrawals. When each arrived is not said: it may count or not."""
        comparison = self.of(account)
        comparison.unread["deposits and withdrawals"] = report.problem
        comparison.reading.discard("deposits and withdrawals")
        if comparison.base is None:
            return
        for one in report.transfers:
            known = one.transfer_id in comparison.offered or one.transfer_id in comparison.used
            if known or one.status in ("failed", "canceled"):
                continue
            arrived = one.status == "ok"
            if comparison.fresh and arrived and one.at is not None and one.at < comparison.base.came_at:
                comparison.used[one.transfer_id] = None  # it is in the first base
                continue
            sign = 1 if one.kind == "deposit" else -1
            doubtful = {one.currency: -one.fee} if one.fee else None
            moved = Movement(
                kind="transfer",
                at=comparison.base.asked_at - SLACK,
                amounts={one.currency: sign * one.amount},
                doubtful=doubtful,
            )
            comparison.offered[one.transfer_id] = moved
            if arrived:
                comparison.arrived.add(one.transfer_id)
            comparison.movements.append(moved)
        if comparison.fresh and not report.problem:
            comparison.fresh = False
            if comparison.base.movements == 0:  # nothing was added to it since it was written down
                self._keep(account, comparison, comparison.base)

    def balances(self, account: Account, report: Balances, now: datetime) -> None:
        """Take an answer: judge the one before, if that is long enough ago."""
        comparison = self.of(account)
        if self._contract_may_be_open(account, report):
            comparison.flat_since = None
        elif comparison.flat_since is None:
            comparison.flat_since = report.query_sent_at
        currencies = report.free.keys() | report.used.keys()
        latest = Snapshot(
            totals={c: report.free.get(c, ZERO) + report.used.get(c, ZERO) for c in currencies},
            asked_at=report.query_sent_at,
            came_at=now,
        )
        if comparison.base is None:
            comparison.fresh = True
            self._begin_from(account, comparison, latest)
            self._out.send(account, QueryTransfers(since=latest.asked_at - TRANSFERS_BACK))
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
            "foreign": list(comparison.foreign),
            "explained": comparison.explained[-KEPT:],
            "mismatches": comparison.mismatches[-KEPT:],
        }

    def _ours(self, comparison: Comparison, fill: Fill) -> None:
        comparison.ours[_name(fill)] = fill.timestamp
        if is_contract(fill.symbol):
            comparison.flat_since = None
        self._moved(comparison, Movement(kind="ours", at=fill.timestamp, amounts=_amounts(fill)))

    def _begin_from(self, account: Account, comparison: Comparison, seen: Snapshot) -> None:
        """Compare with these balances from now on, also after a restart."""
        comparison.differences = []
        since = seen.asked_at - SLACK
        self._rebase(comparison, seen, [m for m in comparison.movements if m.at >= since])
        self._keep(account, comparison, seen)

    def _bring_forward(
        self, account: Account, comparison: Comparison, base: Snapshot, seen: Snapshot, moved: set[str]
    ) -> None:
        """Leave long ago behind on an account that never rests, once all that moved then is known."""
        until = min([seen.asked_at - BASE_BACK, *self._known_until(account)])
        if until < base.came_at + SLACK + BASE_STEP:
            return
        forward = advanced(base, seen, comparison.movements, until, comparison.unsure, anew=moved)
        self._rebase(comparison, *forward)
        if not comparison.unsure:
            self._keep(account, comparison, seen)

    @staticmethod
    def _rebase(comparison: Comparison, base: Snapshot, movements: list[Movement]) -> None:
        comparison.base, comparison.movements = base, movements
        # Older ones are in it: told once more, they count for nothing.
        since = base.asked_at - SLACK
        comparison.others = {name: m for name, m in comparison.others.items() if m.at >= since}
        comparison.ours = {name: at for name, at in comparison.ours.items() if at >= since}
        # What is still on its way may explain something when it arrives.
        comparison.used |= dict.fromkeys(name for name in comparison.offered if name in comparison.arrived)
        comparison.offered, comparison.arrived = {}, set()

    def _keep(self, account: Account, comparison: Comparison, base: Snapshot) -> None:
        self._out.record(
            BalanceBase(
                exchange=account.exchange,
                account=account.account,
                identity=account.identity,
                totals=dict(base.totals),
                asked_at=base.asked_at,
                came_at=base.came_at,
                transfers=tuple(comparison.used)[-TRANSFERS_KEPT:],
            )
        )

    @staticmethod
    def _moved(comparison: Comparison, movement: Movement) -> None:
        if comparison.base is not None:
            comparison.movements.append(movement)

    def _judge(
        self, account: Account, comparison: Comparison, base: Snapshot, seen: Snapshot, now: datetime
    ) -> None:
        unsure = self._unsure(account, seen)
        moved = _moved_by_contracts(account, comparison, base)
        apart = unsure | moved
        earlier = comparison.differences
        before = {d.currency for d in earlier}
        found = compare(base, seen, comparison.movements, apart)
        twice = [d for d in found if d.currency in before]
        gone = [d for d in earlier if d.currency not in apart | {d.currency for d in found}]
        if gone:
            by = _what_explains(comparison, base, seen, apart, {d.currency for d in gone})
            rows = [_difference_view(d) for d in gone]
            comparison.explained.append({"at": seen.asked_at, "differences": rows, "by": by})
        comparison.judged_at, comparison.unsure, comparison.differences = seen.asked_at, unsure, found
        if twice and self._lists_may_come(comparison, now):
            return
        if twice:
            self._tell(account, comparison, twice, now)
            self.on_mismatch(account, twice, now)
        if twice or (not found and not unsure and quiet(seen, comparison.movements)):
            self._begin_from(account, comparison, seen)
        elif found:
            self._read_lists(account, comparison, base, found, now)
        else:
            base, comparison.movements = settled(base, seen, comparison.movements)
            comparison.base = base
            self._bring_forward(account, comparison, base, seen, moved)

    @staticmethod
    def _lists_may_come(comparison: Comparison, now: datetime) -> bool:
        since = comparison.read_since
        return bool(comparison.reading) and since is not None and now - since < LISTS_PATIENCE

    def _read_lists(
        self,
        account: Account,
        comparison: Comparison,
        base: Snapshot,
        found: list[Difference],
        now: datetime,
    ) -> None:
        """Have the exchange's own lists read that may explain a difference."""
        comparison.reading, comparison.read_since = {"deposits and withdrawals"}, now
        self._out.send(account, QueryTransfers(since=base.asked_at - TRANSFERS_BACK))
        symbols = self._markets_of(account, base, {d.currency for d in found} | comparison.unsure)
        if symbols:
            comparison.reading.add("trades")
            self._out.send(account, QueryTradeHistory(symbols=symbols, since=base.asked_at - SLACK))

    @staticmethod
    def _markets_of(account: Account, base: Snapshot, moved: set[str]) -> tuple[str, ...]:
        """Return the markets whose trades may have moved these currencies: both sides, unless a round trip
        moved only one."""
        held = moved | base.totals.keys() | account.holdings.total.keys()
        spot = (m for m in account.markets.values() if not is_contract(m.symbol))
        markets = sorted(spot, key=lambda m: m.symbol)
        both = [m.symbol for m in markets if {m.base, m.quote} <= moved]
        one = [m.symbol for m in markets if {m.base, m.quote} & moved and {m.base, m.quote} <= held]
        return tuple((both or one)[:MARKETS_MAX])

    def _unsure(self, account: Account, seen: Snapshot) -> set[str]:
        """Return the currencies that a fill of which we have not heard may have moved before an answer."""
        unsure: set[str] = set()
        for child in self._work.children.values():
            order = child.order
            if (order.exchange, order.account) == account.key and self._in_doubt(child, seen):
                unsure |= {*traded(order.symbol), *order.fees}
        return unsure

    def _contract_may_be_open(self, account: Account, report: Balances) -> bool:
        """Say whether a position is known, or something is held for one: more than our orders need."""
        currencies = account.margin_currencies()
        if not currencies:
            return False
        if any(known.quantity for known in account.contracts.values()):
            return True
        ours = self._work.held_by_orders(account)
        return any(report.used.get(c, ZERO) > ours.get(c, ZERO) for c in currencies)

    def _known_until(self, account: Account) -> list[datetime]:
        """Return for each order at work since when a fill may have happened of which we have not heard."""
        until = []
        for child in self._work.children.values():
            order = child.order
            if (order.exchange, order.account) != account.key or order.sent_at is None:
                continue
            said_more = self._work.said_filled.get(order.order_id, ZERO) > order.filled_quantity
            if said_more or order.phase is not Phase.SETTLED:
                seen_at = None if said_more else child.lookup.seen_at
                until.append((seen_at or order.sent_at) - SLACK)
        return until

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
        unread = "".join(f" Not read, {name}: {why}." for name, why in comparison.unread.items() if why)
        self._out.publish("incident", where, {"incident": f"{LEDGER_MISMATCH}: {words}"})
        self._out.record(
            Notice(
                notice_id=f"mismatch-{where}-{micros(now)}",
                query_id=None,
                severity="critical",
                subject=f"{where} does not hold what it should ({LEDGER_MISMATCH})",
                failed=f"Balances of {where}: {words} that nothing explains.",
                why="Neither our fills, nor others' trades, nor deposits and withdrawals come to this, twice "
                f"in a row.{unread}",
                done="The exchange's balance is taken as true from here on.",
                todo="Look at the account's history at the exchange: a conversion, a reward, another hand.",
                created_at=now,
                group=f"mismatch/{where}",
                event="ledger_mismatch",
            )
        )


def _moved_by_contracts(account: Account, comparison: Comparison, base: Snapshot) -> set[str]:
    """Return the currencies that contracts may have moved since the base: all they are settled in, unless
    none was open. No fill tells of funding, profits and liquidations: positions are compared meanwhile."""
    flat = comparison.flat_since is not None and comparison.flat_since <= base.asked_at - SLACK
    return set() if flat else account.margin_currencies()


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


def _name(fill: Fill | FillReport) -> Trade:
    return fill.symbol, fill.fill_id, str(fill.side)


def _foreign_view(report: FillReport) -> dict[str, object]:
    return {
        "symbol": report.symbol,
        "side": str(report.side),
        "quantity": plain(report.quantity),
        "price": plain(report.price),
        "at": report.at,
        "fill_id": report.fill_id,
        "exchange_order_id": report.exchange_order_id,
    }


def _what_explains(
    comparison: Comparison, base: Snapshot, seen: Snapshot, apart: set[str], currencies: set[str]
) -> list[str]:
    """Name the movements of others, and in and out, without which these currencies would differ."""
    named = [
        (f"others' trade {fill_id} in {symbol}", m) for (symbol, fill_id, _), m in comparison.others.items()
    ]
    named += [(name.replace("/", " ", 1), m) for name, m in comparison.offered.items()]
    needed = []
    for name, moved in named:
        without = [m for m in comparison.movements if m is not moved]
        if currencies & moved.amounts.keys() & {d.currency for d in compare(base, seen, without, apart)}:
            needed.append(name)
    return needed or ["a fill heard of late"]


def _difference_view(difference: Difference) -> dict[str, object]:
    return {
        "currency": difference.currency,
        "held": plain(difference.held),
        "least": plain(difference.least),
        "most": plain(difference.most),
        "unexplained": plain(difference.unexplained),
    }
