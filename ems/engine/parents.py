"""Parents at work: what to do next, when to stop, and what came of it.

An algo says what it wants; this room checks it against what was asked for (R10), and sees it through.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from ems import tca
from ems.algos import classic, ledger
from ems.core import errors
from ems.core.child import AskCancel, Step
from ems.core.codec import plain
from ems.core.instrument import HAIRCUTS, Market
from ems.core.messages import (
    Problem,
    QueryBalances,
    Refusal,
    Rejected,
    Side,
    TimeInForce,
)
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
from ems.engine.account import Account, Readiness
from ems.engine.orders import Orders
from ems.engine.queries import Queries
from ems.engine.turn import Out
from ems.engine.work import Run, Work

ZERO = Decimal(0)


RETRY_S = 2.0  # after a refusal for our rate
FUNDS_REFUSALS = 3  # in a row, then the parent gives up
RATE_REFUSALS = 20


class Parents:
    """Works every parent that has not ended."""

    def __init__(
        self, out: Out, work: Work, queries: Queries, orders: Orders, ended: Callable[[datetime], None]
    ):
        self._out = out
        self._work = work
        self._queries = queries
        self._orders = orders
        self._ended = ended  # told when an order or a parent has come to its end

    def progress(self, query_id: str, now: datetime) -> dict[str, object] | None:
        """Return how far a working query is, derived from its orders."""
        for parent_id in self._work.parents_of.get(query_id, ()):
            parent = self._work.parents[parent_id]
            if parent.state in ENDED_PARENT:
                continue
            return self._describe(parent, now)
        return None

    def learn_refusal(
        self, account: Account, order: Order, report: Rejected, run: Run, now: datetime
    ) -> None:
        """Decide what a parent does about a venue's no; `_work` then goes on from there."""
        parent = self._work.parents[order.parent_id]
        hop = parent.hops[order.hop]
        refusal = report.refusal
        if refusal is Refusal.INSUFFICIENT_FUNDS and parent.algo != "direct":
            run.funds_refusals += 1
            run.refused_quantity = order.quantity  # never the same quantity twice
            run.balance_after = now
            account.funds_refused(hop.source, hop.side)
            self._out.send(account, QueryBalances())
            if run.funds_refusals >= FUNDS_REFUSALS:
                run.problem = self._venue_problem(errors.FUNDS_INSUFFICIENT, order, report)
        elif refusal is Refusal.POST_ONLY_WOULD_CROSS and parent.algo != "direct":
            pass  # the walker quotes one tick further back
        elif refusal is Refusal.RATE_LIMIT and parent.algo != "direct":
            run.rate_refusals += 1
            run.note = "the venue limits our rate"
            if run.rate_refusals >= RATE_REFUSALS:
                run.problem = self._venue_problem(errors.VENUE_UNAVAILABLE, order, report)
        else:
            code = {
                Refusal.INSUFFICIENT_FUNDS: errors.FUNDS_INSUFFICIENT,
                Refusal.MIN_SIZE: errors.AMOUNT_TOO_SMALL,
                Refusal.RATE_LIMIT: errors.VENUE_UNAVAILABLE,
            }.get(refusal, errors.VENUE_REJECTED)
            run.problem = self._venue_problem(code, order, report)

    def _venue_problem(self, code: str, order: Order, report: Rejected) -> Problem:
        what = f"an order of {plain(order.quantity)} {order.symbol}"
        if report.sent:
            text = f"{order.exchange} refused {what}: {report.message}"
        else:
            text = f"{what} was not sent to {order.exchange}: {report.message}"
        return errors.problem(
            code,
            text,
            venue_code=report.venue_code,
            venue_message=report.message,
            details={"refusal": str(report.refusal), "order_id": order.order_id},
        )

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
        if (
            order.phase is Phase.SETTLED
            and before.phase is not Phase.SETTLED
            and order.filled_quantity > ZERO
        ):
            hop = parent.hops[order.hop]
            account.order_was_clean(hop.source, hop.side)
            run = self._work.runs.get(parent.parent_id)
            if run is not None:
                run.funds_refusals = run.rate_refusals = 0
                run.refused_quantity = run.free = None
        self.work(parent.parent_id, now)
        if order.phase is Phase.SETTLED:
            self._ended(now)

    def work(self, parent_id: str, now: datetime) -> None:
        """Let a parent decide, until it has nothing more to decide now."""
        parent = self._work.parents[parent_id]
        if parent.state in ENDED_PARENT:
            return
        account = self._work.accounts[parent.exchange, parent.account]
        run = self._work.runs.setdefault(parent_id, Run())
        orders = self._work.orders_of_parent(parent_id)
        if parent.algo == "direct":
            self._work_direct(parent, orders[0], run, now)
            return
        if run.problem is not None or parent.state is ParentState.CANCELLING:
            self._wind_down(parent, orders, run, now)
            return
        if account.readiness is not Readiness.READY or run.balance_after is not None:
            self._wait(parent, run, "waiting for the exchange", now + timedelta(seconds=1), now)
            return
        if run.rate_refusals and orders and orders[-1].status is Status.REJECTED:
            due = orders[-1].created_at + timedelta(seconds=RETRY_S)
            if now < due:
                self._wait(parent, run, "the venue limits our rate", due, now)
                return
        symbol = parent.hops[parent.hop].symbol
        market = account.markets.get(symbol)
        if market is None:
            run.problem = errors.problem(
                errors.VENUE_UNAVAILABLE, f"{account.exchange} no longer lists {symbol}"
            )
            self._wind_down(parent, orders, run, now)
            return
        self._out.watch(account, market.symbol, now)
        view = classic.View(
            parent=parent,
            orders=orders,
            market=market,
            book=account.books.get(market.symbol),
            haircut=self._haircut(account, parent),
            free=run.free,
            refused_quantity=run.refused_quantity,
            ready_at=account.ready_at,
        )
        match classic.decide(view, now):
            case classic.Wait() as wait:
                self._wait(parent, run, wait.why, wait.until, now)
            case classic.CancelChild() as cancel:
                self._orders.event(cancel.order_id, AskCancel(), now)
            case classic.GiveUp() as stop:
                run.problem = errors.problem(stop.code, stop.why)
                self._wind_down(parent, orders, run, now)
            case classic.HopDone() as done if (
                run.free is not None
                and run.free < done.left
                and self._received(parent, orders, parent.hop) <= ZERO  # else what was bought goes on
            ):
                run.problem = errors.problem(
                    errors.FUNDS_INSUFFICIENT,
                    f"{account.exchange} holds {plain(run.free)} {parent.hops[parent.hop].source} free "
                    f"of the {plain(done.left)} this still needed",
                )
                self._wind_down(parent, orders, run, now)
            case classic.HopDone():
                self._next_hop(parent, orders, now)
            case classic.Place() as place:
                self._place_walked(parent, account, market, place, orders, run, now)

    def _place_walked(
        self,
        parent: Parent,
        account: Account,
        market: Market,
        place: classic.Place,
        orders: list[Order],
        run: Run,
        now: datetime,
    ) -> None:
        side = parent.hops[parent.hop].side
        reserved = market.reserve(side, place.quantity, place.price, post_only=place.post_only)
        # R10, the Knight guard: what is done, out and unknown, and this order, within what the hop may spend.
        own = [o for o in orders if o.hop == parent.hop]
        if ledger.committed(own) + reserved > ledger.budget(parent, orders):
            run.problem = errors.problem(
                errors.INTERNAL_ERROR, "an order beyond the amount asked for was stopped before it was sent"
            )
            self._wind_down(parent, orders, run, now)
            return
        self._save(replace(parent, state=ParentState.WORKING))
        run.note = ""
        self._orders.place(
            parent,
            account,
            order_type=place.order_type,
            time_in_force=place.time_in_force,
            post_only=place.post_only,
            quantity=place.quantity,
            price=place.price,
            purpose=place.purpose,
            reserved=reserved,
            now=now,
        )
        self.work(parent.parent_id, now)  # now it waits for its order

    def _haircut(self, account: Account, parent: Parent) -> Decimal:
        """Return the share left over for the venue's rounding; .99999 of a sale of everything there is."""
        hop = parent.hops[parent.hop]
        haircut = account.haircut(hop.source, hop.side)
        if hop.side is Side.SELL and parent.hop == 0:
            everything = account.holdings.usable(hop.source)
            orders = self._work.orders_of_parent(parent.parent_id)
            if ledger.budget(parent, orders) >= everything:
                haircut = max(haircut, HAIRCUTS[1])
        return haircut

    def _work_direct(self, parent: Parent, order: Order, run: Run, now: datetime) -> None:
        """One order as the caller gave it: its query is answered when the venue has it, or has ended it."""
        query = self._work.queries.get(parent.query_id)  # None: purged while its order still rested
        if order.phase is Phase.SETTLED:
            self._work.runs.pop(parent.parent_id, None)
            reason = str(order.status)
            state = ParentState.ABORTED if order.status is Status.REJECTED else ParentState.DONE
            self._save(replace(parent, state=state, reason=reason, closed_at=now))
            problem = run.problem
            if problem is None and order.status is Status.REJECTED:
                problem = errors.problem(errors.VENUE_REJECTED, f"{order.exchange}: {order.reason}")
            if query is not None:
                self._close_direct(query, order, problem, now)
            return
        stands = order.status in (Status.SUBMITTED, Status.PARTIALLY_FILLED)
        if stands and order.time_in_force is TimeInForce.GTC and query is not None:
            self._close_direct(query, order, None, now)

    def _close_direct(self, query: Query, order: Order, problem: Problem | None, now: datetime) -> None:
        if query.status is not QueryStatus.WORKING:
            return
        result: dict[str, object] = {
            "order_id": order.order_id,
            "exchange_order_id": order.exchange_order_id,
            "status": str(order.status),
            "filled_quantity": plain(order.filled_quantity),
            "average_price": None
            if order.filled_quantity == ZERO
            else plain((order.quote_filled / order.filled_quantity).quantize(tca.SHOWN)),
            "fees": {currency: plain(fee) for currency, fee in order.fees.items()},
        }
        status = QueryStatus.DONE if problem is None else QueryStatus.FAILED
        self._queries.finish(query, status, result, problem, now)

    def _wait(self, parent: Parent, run: Run, why: str, until: datetime, now: datetime) -> None:
        waiting = why.startswith(("waiting for", "the venue"))
        state = ParentState.WAITING if waiting else ParentState.WORKING
        if parent.state is not state:
            self._save(replace(parent, state=state))
        run.note = why
        self._out.wake(("parent", parent.parent_id), max(until, now))

    def _next_hop(self, parent: Parent, orders: list[Order], now: datetime) -> None:
        if parent.hop + 1 < len(parent.hops) and self._received(parent, orders, parent.hop) > ZERO:
            moved = replace(parent, hop=parent.hop + 1, hop_started_at=now, state=ParentState.WORKING)
            self._save(moved)
            run = self._work.runs[parent.parent_id]
            run.refused_quantity = run.free = None
            run.funds_refusals = 0
            self.work(parent.parent_id, now)
            return
        left = ledger.budget(parent, orders)
        state = ParentState.DUST_DONE if left > ZERO else ParentState.DONE
        self._finish(parent, orders, state, None, now)

    @staticmethod
    def _received(parent: Parent, orders: list[Order], hop: int) -> Decimal:
        return ledger.received((o for o in orders if o.hop == hop), parent.hops[hop].target)

    def stop(self, parent_id: str, why: str, now: datetime) -> None:
        parent = self._work.parents[parent_id]
        if parent.state in ENDED_PARENT or parent.state is ParentState.CANCELLING:
            return
        parent = replace(parent, state=ParentState.CANCELLING, reason=why)
        self._save(parent)
        self.work(parent_id, now)

    def _wind_down(self, parent: Parent, orders: list[Order], run: Run, now: datetime) -> None:
        """Stop: cancel what is out, wait until it has settled, then end the parent."""
        out = [o for o in orders if o.phase is not Phase.SETTLED]
        asked = [o for o in out if o.asked is Asked.NOTHING]
        if asked:
            for order in asked:
                self._orders.event(order.order_id, AskCancel(), now)
            return
        if out:
            return
        self._finish(parent, orders, ParentState.ABORTED, run.problem, now)

    def _finish(
        self, parent: Parent, orders: list[Order], state: ParentState, problem: Problem | None, now: datetime
    ) -> None:
        if parent.state in ENDED_PARENT:
            return
        got = self._received(parent, orders, len(parent.hops) - 1)
        reason = problem.message if problem is not None else parent.reason
        if state is not ParentState.ABORTED:
            outcome = "done" if got > ZERO else "nothing"
        else:
            outcome = "partial" if any(o.filled_quantity > ZERO for o in orders) else "nothing"
        parent = replace(parent, state=state, reason=reason, closed_at=now)
        self._save(parent)
        self._work.runs.pop(parent.parent_id, None)
        body = tca.result(parent, orders, outcome=outcome, reason=reason, now=now)
        status = QueryStatus.DONE if problem is None else QueryStatus.FAILED
        self._queries.finish(self._work.queries[parent.query_id], status, body, problem, now)
        self._out.send(self._work.accounts[parent.exchange, parent.account], QueryBalances())
        self._ended(now)

    def _describe(self, parent: Parent, now: datetime) -> dict[str, object]:
        orders = self._work.orders_of_parent(parent.parent_id)
        hop = parent.hops[parent.hop]
        own = [o for o in orders if o.hop == parent.hop]
        out = next((o for o in own if o.phase is not Phase.SETTLED), None)
        last = out or (own[-1] if own else None)
        filled = sum((o.filled_quantity for o in own), ZERO)
        left = ledger.budget(parent, orders) if parent.algo != "direct" else ZERO
        gone = ledger.spent(own, hop.source)
        if parent.algo == "direct":
            share = own[0].filled_quantity / own[0].quantity if own else ZERO
        else:
            share = gone / (gone + left) if gone + left > ZERO else ZERO
        share = (parent.hop + min(share, Decimal(1))) / len(parent.hops)
        return {
            "phase": self._phase_word(parent, out),
            "hop": parent.hop + 1,
            "hops": len(parent.hops),
            "try": len(own),
            "tries": classic.TRIES + 1 if parent.algo == "classic" else 1,
            "symbol": hop.symbol,
            "side": str(hop.side),
            "price": None if last is None or last.price is None else plain(last.price),
            "filled_quantity": plain(filled),
            "quantity": plain(filled + (ZERO if out is None else remaining_quantity(out))),
            "percent": plain((share * 100).quantize(Decimal("0.1"))),
            "note": self._work.runs[parent.parent_id].note if parent.parent_id in self._work.runs else "",
        }

    @staticmethod
    def _phase_word(parent: Parent, out: Order | None) -> str:
        if parent.state is ParentState.WAITING:
            return "waiting"
        if out is None or out.phase in (Phase.UNKNOWN, Phase.PENDING_CANCEL):
            return "settling"
        return "taking" if out.purpose == "take" else "making"

    def _save(self, parent: Parent) -> None:
        self._work.parents[parent.parent_id] = parent
        self._out.record(parent)
        self._out.turn.touched.add(parent.query_id)
