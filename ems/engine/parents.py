"""Parents at work: what to do next, when to stop, and what came of it.

A parent's legs are worked by `legs`; this room decides what becomes of the parent as a whole: it goes on,
gets a new plan, winds down, ends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from ems import tca
from ems.algos import ledger
from ems.core import errors
from ems.core.child import AskCancel, Step
from ems.core.codec import plain
from ems.core.messages import Problem, QueryBalances, Rejected
from ems.core.order import remaining_quantity
from ems.core.records import (
    ENDED_PARENT,
    Asked,
    Order,
    Parent,
    ParentState,
    Phase,
    Query,
    QueryStatus,
    Status,
)
from ems.engine.account import Account
from ems.engine.attached import KIND as ATTACHED
from ems.engine.attached import Attached
from ems.engine.costs import Costs
from ems.engine.crossings import Crossings
from ems.engine.legs import Legs
from ems.engine.orders import Orders
from ems.engine.queries import Queries
from ems.engine.refusals import HALT_CODES, HALTED
from ems.engine.replans import Replans
from ems.engine.resubmissions import Resubmissions
from ems.engine.risk import Risk
from ems.engine.sight import Need, Sight
from ems.engine.successors import Successors
from ems.engine.triggers import Triggers
from ems.engine.turn import Out
from ems.engine.work import Run, Work

ZERO = Decimal(0)

# A leg that stops for one of these may be gone around: the money is still there, only not this market.
PASSABLE = frozenset(
    {
        errors.VENUE_UNAVAILABLE,
        errors.VENUE_REJECTED,
        errors.MARKET_NOT_OPEN,
        errors.ORDER_LIMIT_REACHED,
        errors.PRICE_INVALID,
    }
)
# Something is wrong with the parent or with us, or people halted it: nothing more is placed for its legs.
GRAVE = frozenset({errors.INTERNAL_ERROR, errors.OVEREXECUTION_GUARD, errors.VENUE_INCONSISTENT, *HALT_CODES})

GENERATIONS = 8  # plans of one parent; then what is left stays
REVIEW_S = 15.0  # EXECUTION.md 5.2: compare the plan with a new one this often
LOOK_S = 5.0  # a new plan waits this long for all its books; then it is made without those that stay away
PLAN_PATIENCE_S = 60.0  # how long a new plan may wait for books
ROUND_OFF_S = 10.0  # time for a clean-up after the time limit
TURNS = 200  # decisions of one parent at one moment; more is a loop of our own making


class Parents:
    """Works every parent that has not ended."""

    def __init__(
        self,
        out: Out,
        work: Work,
        queries: Queries,
        orders: Orders,
        crossings: Crossings,
        replans: Replans,
        sight: Sight,
        costs: Costs,
        risk: Risk,
        ended: Callable[[datetime], None],  # an order, a parent, or what was asked of an order
    ):
        self._out = out
        self._work = work
        self._queries = queries
        self._orders = orders
        self._replans = replans
        self._sight = sight
        self._costs = costs
        self._risk = risk
        self._ended = ended  # told when an order or a parent has come to its end
        self._legs = Legs(out, work, orders, crossings, risk, self._save)
        self._triggers = Triggers(out, work, orders, risk)
        self._successors = Successors(out, work, orders)
        self._resubmissions = Resubmissions(out, work, queries, orders, risk)
        self._attached = Attached(out, work, orders, self._triggers, self._save)
        self._busy: set[str] = set()  # parents being worked right now
        self._again: set[str] = set()  # of those, the ones to which something has happened meanwhile

    # --- What the orders tell us -------------------------------------------------------------------------

    def learn_refusal(
        self, account: Account, order: Order, report: Rejected, run: Run, now: datetime
    ) -> None:
        """Decide what a leg does about a venue's no; `work` then goes on from there."""
        parent = self._work.parents[order.parent_id]
        if parent.goal.get("kind") == ATTACHED:
            self._attached.learn_refusal(parent, order, report, run, now)
        elif parent.algo == "direct":
            if self._triggers.learn_refusal(order, report, run, now):
                return  # it waits again
            if self._successors.learn_refusal(order, report, run, now):
                return  # what it was to take the place of is placed again
            problem = self._legs.refusal_problem(order, report)
            if not self._resubmissions.learn_refusal(account, order, report, problem, run, now):
                run.problem = run.problem or problem
        else:
            self._legs.learn_refusal(account, parent, order, report, run.leg(order.leg), now)

    def freeze(self, order: Order, done: Step, incident: str) -> None:
        """R5: a parent whose order was denied and lives after all places nothing more; people decide."""
        parent = self._work.parents.get(order.parent_id)
        if done.child.lookup.haunted and parent is not None and parent.state not in ENDED_PARENT:
            run = self._work.runs.setdefault(parent.parent_id, Run())
            run.problem = errors.problem(errors.VENUE_INCONSISTENT, f"{order.exchange}: {incident}")
            self.work(parent.parent_id, self._out.turn.at)

    def order_changed(self, account: Account, before: Order, order: Order, now: datetime) -> None:
        parent = self._work.parents.get(order.parent_id)
        if parent is None:
            return
        settled = order.phase is Phase.SETTLED and before.phase is not Phase.SETTLED
        known = self._work.runs.get(parent.parent_id)
        if settled and known is not None:
            known.leg(order.leg).free = None  # it was what is free beside this order
        if settled and order.filled_quantity > ZERO:
            leg = parent.legs[order.leg]
            learned = account.order_was_clean(leg.paid_in, leg.side)
            if learned is not None:
                self._out.record(learned)
            run = self._work.runs.get(parent.parent_id)
            if run is not None:
                self._legs.learn_success(run.leg(order.leg))
        if parent.legs[order.leg].generation < parent.generation and parent.state not in ENDED_PARENT:
            # A late fill of an older plan: the money granted to this one was counted without it.
            self._save(ledger.with_late_fill(parent, before, order))
        if known is not None:
            self._triggers.learn_success(order, known)
        if parent.goal.get("kind") == ATTACHED and known is not None:
            self._attached.order_changed(parent, before, order, known, now)
        self.work(parent.parent_id, now)
        for beside in self._attached.beside(parent):
            self.work(beside, now)
        took_over = order.replaces is not None and order.status is not before.status
        if order.phase is Phase.SETTLED or order.asked is not before.asked or took_over:
            self._ended(now)

    # --- Working -----------------------------------------------------------------------------------------

    def work(self, parent_id: str, now: datetime) -> None:
        """Let a parent decide, until it has nothing more to decide now."""
        if parent_id in self._busy:
            self._again.add(parent_id)
            return
        self._busy.add(parent_id)
        try:
            for _ in range(TURNS):
                self._again.discard(parent_id)
                self._work_once(parent_id, now)
                if parent_id not in self._again:
                    return
            raise AssertionError(f"{parent_id} decides for ever")
        finally:
            self._busy.discard(parent_id)
            self._again.discard(parent_id)

    def _work_once(self, parent_id: str, now: datetime) -> None:
        parent = self._work.parents[parent_id]
        if parent.state in ENDED_PARENT:
            return
        run = self._work.runs.setdefault(parent_id, Run())
        orders = self._work.orders_of_parent(parent_id)
        if parent.goal.get("kind") == ATTACHED:
            self._attached.work(parent, run, now)
            return
        if parent.algo == "direct":
            self._work_direct(parent, orders, run, now)
            return
        if run.problem is not None or parent.state is ParentState.CANCELLING:
            self._wind_down(parent, orders, run, now)
            return
        if parent.state is ParentState.REPLANNING:
            self._replan(parent, orders, run, now)
            return
        self._legs.work(parent_id, run, now)
        parent = self._work.parents[parent_id]
        orders = self._work.orders_of_parent(parent_id)
        grave = next(
            (leg.problem for leg in run.legs.values() if leg.problem and leg.problem.code in GRAVE), None
        )
        if grave is not None:
            run.problem = grave
            self._wind_down(parent, orders, run, now)
        elif all(parent.legs[i].closed_at is not None for i in ledger.current(parent)):
            self._round_off(parent, orders, run, now)
        elif self._worth_a_new_plan(parent, orders, run, now):
            self._save(replace(parent, state=ParentState.REPLANNING))
            run.note = "a better plan was found"
            self._again.add(parent_id)
        else:
            self._state_and_wake(parent, run, now)

    def _state_and_wake(self, parent: Parent, run: Run, now: datetime) -> None:
        waits = [run.leg(i) for i in ledger.current(parent) if parent.legs[i].closed_at is None]
        idle = all(leg.note.startswith(("waiting for", "the venue")) for leg in waits)
        state = ParentState.WAITING if idle else ParentState.WORKING
        if parent.state is not state:
            self._save(replace(parent, state=state))
        run.note = next((leg.note for leg in waits if leg.note), "")
        due = min((leg.wait_until for leg in waits if leg.wait_until is not None), default=now)
        self._out.wake(("parent", parent.parent_id), max(due, now))

    def book_came(self, account: Account, symbol: str, now: datetime) -> None:
        """Let the legs that trade this market look at its new book."""
        for parent_id, index in self._work.interested(account, symbol):
            run = self._work.runs.get(parent_id)
            if run is None or self._legs.wants_book(run.leg(index), now):
                self.work(parent_id, now)

    def balances_came(self, account: Account, sent_at: datetime, now: datetime) -> None:
        """Go on with the legs that waited for what is free at this account."""
        for parent in self._work.parents_at(account):
            run = self._work.runs.get(parent.parent_id)
            if run is not None and self._legs.learn_free(account, parent, run, sent_at):
                self.work(parent.parent_id, now)

    def markets_came(self, account: Account, now: datetime) -> None:
        """Go on with the legs that waited for their market's rules."""
        for parent in self._work.parents_at(account):
            run = self._work.runs.get(parent.parent_id)
            if run is not None and self._legs.learn_markets(account, parent, run):
                self.work(parent.parent_id, now)

    # --- New plans ---------------------------------------------------------------------------------------

    def _worth_a_new_plan(self, parent: Parent, orders: list[Order], run: Run, now: datetime) -> bool:
        """Compare the plan with a new one, now and then, and when a market drops out; hysteresis is in the
        comparison."""
        since = run.reviewed_at or parent.planned_at or parent.created_at
        blocked = sum(1 for i in ledger.current(parent) if parent.legs[i].blocked)
        due = blocked > run.blocked or (now - since).total_seconds() >= REVIEW_S
        run.blocked = blocked
        if parent.generation + 1 >= GENERATIONS or not due:
            return False
        run.reviewed_at = now
        if self._time_is_up(parent, now):
            return False
        return self._replans.better(parent, orders, now)

    def _replan(self, parent: Parent, orders: list[Order], run: Run, now: datetime) -> None:
        """Cancel what is out; once all has settled, start the next generation with the money as it lies."""
        if self._cancel_open(orders, now):
            return
        legs = tuple(
            leg if leg.closed_at is not None else replace(leg, closed_at=now, why="a better plan was found")
            for leg in parent.legs
        )
        self._next_generation(replace(parent, legs=legs), orders, run, now)

    def _round_off(self, parent: Parent, orders: list[Order], run: Run, now: datetime) -> None:
        """Every leg is closed: use what is left if it can be used, else end the parent."""
        if any(o.phase is not Phase.SETTLED for o in orders):
            return  # a leg closes only after its orders: nothing to do but to wait for a late answer
        codes = {parent.legs[i].code for i in ledger.current(parent)} - {""}
        over = now > parent.created_at + timedelta(seconds=float(parent.time_limit) + ROUND_OFF_S)
        if codes - PASSABLE or parent.generation + 1 >= GENERATIONS or over:
            self._finish(parent, orders, run, now)
            return
        self._next_generation(parent, orders, run, now)

    def _next_generation(self, parent: Parent, orders: list[Order], run: Run, now: datetime) -> None:
        if parent.on_timeout == "cancel" and self._time_is_up(parent, now):
            self._finish(parent, orders, run, now)
            return
        proposal = self._replans.again(parent, orders, now)
        if isinstance(proposal, Need) and proposal.books:
            run.looking_since = run.looking_since or now
            if (now - run.looking_since).total_seconds() >= LOOK_S:
                without = self._replans.again(parent, orders, now, without=proposal.books)
                proposal = proposal if without is None else without
        if isinstance(proposal, Need):
            since = max(parent.planned_at or parent.created_at, self._replans.ready_since(parent))
            due = timedelta(seconds=float(parent.time_limit) + PLAN_PATIENCE_S)
            if now <= since + due:
                self._sight.look(proposal, now)
                if parent.state is not ParentState.REPLANNING:
                    parent = replace(parent, state=ParentState.REPLANNING)
                self._save(parent)
                run.note = "waiting for books to plan with"
                self._out.wake(("parent", parent.parent_id), now + timedelta(seconds=1))
                return
            proposal = None
        if proposal is None:
            self._finish(parent, orders, run, now)
            return
        parent = self._replans.begin_generation(parent, orders, proposal, now)
        self._save(parent)
        self._costs.follow(parent, now)
        run.legs.clear()
        run.looking_since = None
        self._again.add(parent.parent_id)

    @staticmethod
    def _time_is_up(parent: Parent, now: datetime) -> bool:
        return now >= parent.created_at + timedelta(seconds=float(parent.time_limit))

    # --- One plain order ---------------------------------------------------------------------------------

    def _work_direct(self, parent: Parent, orders: list[Order], run: Run, now: datetime) -> None:
        """One order as the caller gave it: its query is answered when the venue has it, or has ended it."""
        order = orders[-1]  # the others were replaced by it
        query = self._work.queries.get(parent.query_id)  # None: purged while its order still rested
        if order.status is Status.CREATED:
            self._triggers.work(order, run, now)
            order = self._work.children[order.order_id].order
        if order.phase is Phase.SETTLED and (
            self._triggers.waits_again(parent, order, run, now)
            or self._successors.take_over(parent, run, now)
            or self._successors.put_back(parent, order, run, now)
            or self._resubmissions.goes_on(parent, order, run, now)
        ):
            return
        if order.phase is Phase.SETTLED:
            self._work.runs.pop(parent.parent_id, None)
            self._triggers.tell_left(order, now)
            problem = run.problem
            halted = problem is not None and problem.code in HALT_CODES
            if halted and order.status is Status.FILLED:
                problem, halted = None, False  # it came too late
            stopped = halted or order.status is Status.REJECTED
            reason = problem.message if problem is not None and halted else str(order.status)
            state = ParentState.ABORTED if stopped else ParentState.DONE
            parent = replace(parent, state=state, reason=reason, closed_at=now)
            self._save(parent)
            cost = self._costs.ended(parent, orders, now)
            if problem is None and order.status is Status.REJECTED:
                problem = errors.problem(errors.VENUE_REJECTED, f"{order.exchange}: {order.reason}")
            if query is not None:
                self._close_direct(query, orders, problem, cost, now)
            return
        at_work = (Status.CREATED, Status.SUBMITTED, Status.PARTIALLY_FILLED)
        stands = order.status in at_work and run.problem is None
        rests = order.time_in_force.rests or order.status is Status.CREATED
        if stands and rests and query is not None:
            self._close_direct(query, orders, None, {}, now)

    def _close_direct(
        self,
        query: Query,
        orders: list[Order],
        problem: Problem | None,
        cost: Mapping[str, object],
        now: datetime,
    ) -> None:
        if query.status is not QueryStatus.WORKING:
            return
        order = orders[-1]
        result: dict[str, object] = {
            "order_id": order.order_id,
            "exchange_order_id": order.exchange_order_id,
            "status": str(order.status),
            "emulated": order.emulated,
            "filled_quantity": plain(order.filled_quantity),
            "average_price": None
            if order.filled_quantity == ZERO
            else plain((order.quote_filled / order.filled_quantity).quantize(tca.SHOWN)),
            "fees": {currency: plain(fee) for currency, fee in order.fees.items()},
            "cost": tca.cost_of(cost),
            "corrections": (query.result or {}).get("corrections", []),  # made before it was sent
            "crossed": crossed(orders),
        }
        status = QueryStatus.DONE if problem is None else QueryStatus.FAILED
        self._queries.finish(query, status, result, problem, now)

    # --- The end -----------------------------------------------------------------------------------------

    def stop(self, parent_id: str, why: str, now: datetime) -> None:
        parent = self._work.parents[parent_id]
        if parent.state in ENDED_PARENT or parent.state is ParentState.CANCELLING:
            return
        parent = replace(parent, state=ParentState.CANCELLING, reason=why)
        self._save(parent)
        self.work(parent_id, now)

    def drop_resubmissions(self, meant: Callable[[Parent], bool], now: datetime) -> None:
        """End what is meant of the refused orders that wait to be sent once more."""
        for parent_id in self._resubmissions.drop(meant):
            self.work(parent_id, now)

    def halt(self, parent_id: str, problem: Problem, now: datetime) -> None:
        """End a parent for the reason of a halt: nothing more is placed, what is out is cancelled."""
        parent = self._work.parents[parent_id]
        if parent.state in ENDED_PARENT or parent.state is ParentState.CANCELLING:
            return
        run = self._work.runs.setdefault(parent_id, Run())
        if run.problem is not None:
            return  # it is ending already
        run.problem = problem
        # On record, so that it ends for this reason after a restart, too.
        state = parent.state if parent.algo == "direct" else ParentState.CANCELLING
        self._save(replace(parent, state=state, reason=problem.message))
        self.work(parent_id, now)

    def remember_halt(self, parent: Parent) -> None:
        """Know again, after a restart, that a parent was ending because of a halt."""
        if parent.state not in ENDED_PARENT and parent.reason.startswith(HALTED):
            run = self._work.runs.setdefault(parent.parent_id, Run())
            run.problem = errors.problem(errors.TRADING_HALTED, parent.reason)

    def _cancel_open(self, orders: list[Order], now: datetime) -> bool:
        """Ask for the end of every order that is out; say whether any still is."""
        out = [o for o in orders if o.phase is not Phase.SETTLED]
        for order in out:
            if order.asked is Asked.NOTHING:
                self._orders.event(order.order_id, AskCancel(), now)
        return bool(out)

    def _wind_down(self, parent: Parent, orders: list[Order], run: Run, now: datetime) -> None:
        """Stop: cancel what is out, wait until it has settled, then end the parent."""
        if not self._cancel_open(orders, now):
            self._finish(parent, orders, run, now)

    def _finish(self, parent: Parent, orders: list[Order], run: Run, now: datetime) -> None:
        if parent.state in ENDED_PARENT:
            return
        own = ledger.by_leg(parent, orders)
        problem = run.problem
        stopped = problem is not None or parent.state is ParentState.CANCELLING
        left = self._replans.left_over(parent, own)
        if problem is None and not stopped and left:
            # What a leg could not do matters only if nothing else has done it since.
            known = {i: r.problem for i, r in run.legs.items()}
            problem = next(
                (
                    known.get(i) or errors.problem(parent.legs[i].code, parent.legs[i].why)
                    for i in ledger.current(parent)
                    if parent.legs[i].code
                ),
                None,
            )
        if stopped or problem is not None:
            state = ParentState.ABORTED
        else:
            state = ParentState.DUST_DONE if left else ParentState.DONE
        reason = problem.message if problem is not None else parent.reason
        if not reason and left:
            reason = next((parent.legs[i].why for i in ledger.current(parent) if parent.legs[i].why), "")
        got = any(o.filled_quantity > ZERO for o in orders)
        short = state is ParentState.ABORTED or self._replans.worth_telling(parent, left)
        outcome = "nothing" if not got else ("partial" if short else "done")
        legs = tuple(leg if leg.closed_at is not None else replace(leg, closed_at=now) for leg in parent.legs)
        parent = replace(parent, legs=legs, state=state, reason=reason, closed_at=now)
        parent = self._replans.handed_back(parent, own)
        self._save(parent)
        self._work.runs.pop(parent.parent_id, None)
        cost = self._costs.ended(parent, orders, now)
        body = tca.result(parent, orders, cost, outcome=outcome, reason=reason, now=now)
        body["left_out"] = parent.arrival.get("left_out", {})
        body["crossed"] = crossed(orders)
        status = QueryStatus.DONE if problem is None else QueryStatus.FAILED
        self._queries.finish(self._work.queries[parent.query_id], status, body, problem, now)
        for exchange, account in sorted({(leg.exchange, leg.account) for leg in parent.legs}):
            self._out.send(self._work.accounts[exchange, account], QueryBalances())
        self._ended(now)

    # --- For people --------------------------------------------------------------------------------------

    def progress(self, query_id: str, now: datetime) -> dict[str, object] | None:
        """Return how far a working query is, derived from its orders."""
        for parent_id in self._work.parents_of.get(query_id, ()):
            parent = self._work.parents[parent_id]
            if parent.state in ENDED_PARENT:
                continue
            return self._describe(parent, now)
        return None

    def _describe(self, parent: Parent, now: datetime) -> dict[str, object]:
        own = ledger.by_leg(parent, self._work.orders_of_parent(parent.parent_id))
        run = self._work.runs.get(parent.parent_id) or Run()
        rows: list[dict[str, object]] = []
        shares: list[Decimal] = []
        for index in ledger.current(parent):
            row, share = self._describe_leg(parent, index, own, run)
            rows.append(row)
            shares.append(share)
        open_rows = [
            row for row, i in zip(rows, ledger.current(parent), strict=True) if not parent.legs[i].closed_at
        ]
        now_at: Mapping[str, object] = (open_rows or rows)[0]
        ends = parent.created_at + timedelta(seconds=float(parent.time_limit))
        share = sum(shares, ZERO) / len(shares) if shares else ZERO
        before = self._replans.done_before(parent)
        share = before + (1 - before) * share
        return {
            "phase": now_at["phase"] if parent.state is not ParentState.WAITING else "waiting",
            "percent": plain((share * 100).quantize(Decimal("0.1"))),
            "note": run.note,
            "eta_s": None if parent.algo == "direct" else str(max(int((ends - now).total_seconds()), 0)),
            "legs": rows,
            "hop": rows.index(dict(now_at)) + 1,
            "hops": len(rows),
            "try": now_at["step"],
            "tries": now_at["steps"],
            "symbol": now_at["symbol"],
            "side": now_at["side"],
            "price": now_at["price"],
            "filled_quantity": now_at["filled_quantity"],
            "quantity": now_at["quantity"],
        }

    def _describe_leg(
        self, parent: Parent, index: int, own: list[list[Order]], run: Run
    ) -> tuple[dict[str, object], Decimal]:
        leg, orders = parent.legs[index], own[index]
        out = next((o for o in orders if o.phase is not Phase.SETTLED), None)
        last = out or (orders[-1] if orders else None)
        filled = sum((o.filled_quantity for o in orders), ZERO)
        if parent.algo == "direct":
            share = last.filled_quantity / last.quantity if last is not None else ZERO
        elif leg.quantity is not None:
            share = filled / leg.quantity
        else:
            whole = ledger.whole(parent, own, index)
            share = ledger.spent(orders, leg.source) / whole if whole > ZERO else ZERO
        share = Decimal(1) if leg.closed_at is not None else min(share, Decimal(1))
        step, steps = self._legs.steps(parent, index, orders)
        return {
            "leg": index + 1,
            "exchange": leg.exchange,
            "symbol": leg.symbol,
            "side": str(leg.side),
            "phase": self._phase_word(parent, index, out, run),
            "percent": plain((share * 100).quantize(Decimal("0.1"))),
            "filled_quantity": plain(filled),
            "quantity": plain(filled + (ZERO if out is None else remaining_quantity(out))),
            "price": None if last is None or last.price is None else plain(last.price),
            "step": step,
            "steps": steps,
            "note": run.leg(index).note,
        }, share

    @staticmethod
    def _phase_word(parent: Parent, index: int, out: Order | None, run: Run) -> str:
        if parent.legs[index].closed_at is not None:
            return "done"
        if out is None:
            return "waiting" if run.leg(index).note.startswith(("waiting", "the venue")) else "settling"
        if out.phase in (Phase.UNKNOWN, Phase.PENDING_CANCEL):
            return "settling"
        return "taking" if out.purpose == "take" else "making"

    def _save(self, parent: Parent) -> None:
        self._work.save_parent(parent)
        if parent.state in ENDED_PARENT:
            self._risk.parent_ended(parent)
        self._out.record(parent)
        self._out.turn.touched.add(parent.query_id)


def crossed(orders: list[Order]) -> list[dict[str, object]]:
    """Return what of these orders met others of ours inside, a row for each market, as JSON.

    `quantity` is base, `average_price` quote per base, `fee_saved` quote.
    """
    inside: dict[tuple[str, str], list[Order]] = {}
    for order in orders:
        if order.cross_id is not None:
            inside.setdefault((order.exchange, order.symbol), []).append(order)
    rows: list[dict[str, object]] = []
    for (exchange, symbol), met in inside.items():
        quantity = sum((o.filled_quantity for o in met), ZERO)
        amount = sum((o.quote_filled for o in met), ZERO)
        rows.append(
            {
                "exchange": exchange,
                "symbol": symbol,
                "orders": [o.order_id for o in met],
                "quantity": plain(quantity),
                "average_price": plain((amount / quantity).quantize(tca.SHOWN)),
                "fee_saved": plain(sum((o.fee_saved or ZERO for o in met), ZERO)),
            }
        )
    return rows
