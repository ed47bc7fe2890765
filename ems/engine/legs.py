"""Legs at work: each asks its algorithm, which is checked against what the leg may do (R10)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from ems.algos import ledger, view, walker
from ems.algos.params import Params, with_overrides
from ems.core import errors, retries
from ems.core.child import AskCancel, exposure
from ems.core.codec import plain
from ems.core.instrument import HAIRCUTS, Market
from ems.core.messages import (
    Problem,
    QueryBalances,
    QueryMarkets,
    Refusal,
    Rejected,
    Side,
)
from ems.core.records import Asked, Leg, Order, Parent, ParentState, Phase, Status
from ems.core.risk import Proposal
from ems.core.risk_limits import Scope
from ems.core.validation import Terms, judge
from ems.engine import selfmatch
from ems.engine.account import Account, Readiness
from ems.engine.admission import picture_of
from ems.engine.crossings import Crossings, Intent
from ems.engine.orders import Orders
from ems.engine.refusals import halted
from ems.engine.risk import Delay, Risk
from ems.engine.turn import Out
from ems.engine.work import LegRun, Run, Work

ZERO = Decimal(0)

FUNDS_REFUSALS = 3  # in a row, then the leg gives up
SIZE_REFUSALS = 2  # the venue's rules were read again in between
MARKETS_S = 10.0  # wait this long for the venue's rules, then go on with the old ones
DECISIONS = 50  # of one leg at one moment; more is a loop of our own making
BOOK_PACE_S = 0.1  # a new book wakes a leg at most this often
CHUNK = Decimal("0.1")  # a leg fed by others starts on at least this part of its whole (EXECUTION.md 5.2)
CHUNK_NOTIONAL = Decimal("1.2")  # and at least this many times the smallest notional
FEEDING_S = 0.5  # a leg waiting for money looks again this often; fills wake it at once


class Legs:
    """Works the legs of a parent."""

    def __init__(
        self,
        out: Out,
        work: Work,
        orders: Orders,
        crossings: Crossings,
        risk: Risk,
        save: Callable[[Parent], None],
    ):
        self._crossings = crossings
        self._out = out
        self._work = work
        self._orders = orders
        self._risk = risk
        self._save = save
        self._params: dict[tuple[str, str], Params] = {}  # (algo, its overrides) -> parameters

    # --- What the venues tell us -------------------------------------------------------------------------

    def learn_refusal(
        self, account: Account, parent: Parent, order: Order, report: Rejected, run: LegRun, now: datetime
    ) -> None:
        """Decide what a leg does about a venue's no."""
        leg = parent.legs[order.leg]
        refusal = report.refusal
        if refusal is Refusal.INSUFFICIENT_FUNDS:
            run.funds_refusals += 1
            run.refused_quantity = order.quantity  # never the same quantity twice
            run.balance_after = now
            self._out.record(account.funds_refused(leg.paid_in, leg.side))
            self._out.send(account, QueryBalances())
            if run.funds_refusals >= FUNDS_REFUSALS:
                run.problem = self.refusal_problem(order, report)
        elif refusal is Refusal.POST_ONLY_WOULD_CROSS:
            pass  # the walker quotes one tick further back
        elif refusal is Refusal.RATE_LIMIT:
            run.rate_refusals += 1
            run.note = "the venue limits our rate"
            if run.rate_refusals >= retries.ORDERS.tries:
                run.problem = self.refusal_problem(order, report)
        elif refusal in (Refusal.LOT_TICK, Refusal.MIN_SIZE) and run.size_refusals < SIZE_REFUSALS:
            run.size_refusals += 1  # its rules have changed (C.3 #45): read them, then size again
            run.markets_after = now
            self._out.send(account, QueryMarkets())
        else:
            run.problem = self.refusal_problem(order, report)
            if refusal is Refusal.MARKET_CLOSED:
                self._out.send(account, QueryMarkets())  # so that no new plan goes there

    def refusal_problem(self, order: Order, report: Rejected) -> Problem:
        """Return a venue's no as a problem, in the venue's own words."""
        what = f"an order of {plain(order.quantity)} {order.symbol}"
        if report.sent:
            text = f"{order.exchange} refused {what}: {report.message}"
        else:
            text = f"{what} was not sent to {order.exchange}: {report.message}"
        return errors.problem(
            errors.refusal_code(report.refusal),
            text,
            venue_code=report.venue_code,
            venue_message=report.message,
            details={"refusal": str(report.refusal), "order_id": order.order_id},
        )

    @staticmethod
    def learn_success(run: LegRun) -> None:
        """Forget refusals once an order has traded."""
        run.funds_refusals = run.rate_refusals = run.size_refusals = 0
        run.refused_quantity = run.free = None

    def learn_free(self, account: Account, parent: Parent, run: Run, sent_at: datetime) -> bool:
        """Take note of what is free where a leg waits for that; say whether one did."""
        news = False
        for index, known in run.legs.items():
            leg = parent.legs[index]
            if (leg.exchange, leg.account) != account.key or known.balance_after is None:
                continue
            if sent_at >= known.balance_after:
                known.balance_after = None
                known.free = account.holdings.free.get(leg.source, ZERO)
                news = True
        return news

    @staticmethod
    def learn_markets(account: Account, parent: Parent, run: Run) -> bool:
        """Take note that the market's rules have been read again; say whether a leg waited for that."""
        news = False
        for index, known in run.legs.items():
            leg = parent.legs[index]
            if (leg.exchange, leg.account) == account.key and known.markets_after is not None:
                known.markets_after = None
                news = True
        return news

    @staticmethod
    def wants_book(run: LegRun, now: datetime) -> bool:
        """Say whether a new book is worth a decision."""
        return run.decided_at is None or (now - run.decided_at).total_seconds() >= BOOK_PACE_S

    # --- Working -----------------------------------------------------------------------------------------

    def work(self, parent_id: str, run: Run, now: datetime) -> None:
        """Let every open leg of the current plan decide."""
        parent = self._work.parents[parent_id]
        for index in ledger.current(parent):
            if self._work.parents[parent_id].legs[index].closed_at is None:
                self._work_leg(parent_id, index, run.leg(index), now)

    def _work_leg(self, parent_id: str, index: int, run: LegRun, now: datetime) -> None:
        run.wait_until = None
        for _ in range(DECISIONS):
            parent = self._work.parents[parent_id]
            leg = parent.legs[index]
            if leg.closed_at is not None:
                return
            own = ledger.by_leg(parent, self._work.orders_of_parent(parent_id))
            if run.problem is not None:
                self._stop(parent, index, own[index], run, now)
                return
            halt = self._work.halted(leg.exchange, leg.account, leg.symbol, parent.user)
            if halt is not None:
                run.problem = halted(halt)
                continue
            account = self._work.accounts[leg.exchange, leg.account]
            if self._blocked(account, own[index], run, now):
                return
            market = account.markets.get(leg.symbol)
            if market is None:
                run.problem = errors.problem(
                    errors.VENUE_UNAVAILABLE, f"{account.exchange} no longer lists {leg.symbol}"
                )
                continue
            self._out.watch(account, leg.symbol, now)
            if self._unfed(parent, index, own, account, market, run, now):
                return
            parent = self._work.parents[parent_id]  # it may just have been started
            run.decided_at = now
            decision, kept = self._decide(parent, index, own, account, market, run, now)
            match decision:
                case None:
                    continue
                case view.Wait() as wait:
                    run.note, run.wait_until = wait.why + kept, max(wait.until, now)
                    return
                case view.CancelChild() as cancel:
                    self._orders.event(cancel.order_id, AskCancel(), now)
                case view.GiveUp() as stop:
                    run.problem = errors.problem(stop.code, stop.why)
                case view.Done() as done:
                    problem = self._short(account, leg, run, done, own[index])
                    if problem is not None:
                        run.problem = problem
                        continue
                    self._close(parent, index, done.why + kept if done.why else "", now)
                    return
                case view.Place() as place:
                    if not self._place(parent, index, account, market, place, own, run, now):
                        return
        raise AssertionError(f"leg {index} of {parent_id} decides for ever")

    def _decide(
        self,
        parent: Parent,
        index: int,
        own: list[list[Order]],
        account: Account,
        market: Market,
        run: LegRun,
        now: datetime,
    ) -> tuple[view.Decision | None, str]:
        """Ask the algorithm; return what it wants, and what to say where another order of ours kept it off.

        Outside it never reaches another order of ours. None: some of it has met others inside instead.
        """
        leg = parent.legs[index]
        seen = self._view(parent, index, own, account, market, run)
        wanted = walker.decide(seen, now)
        bound = selfmatch.bound(self._work, account, market, leg.side)
        if not isinstance(wanted, view.Place) or bound is None:
            return wanted, ""
        if wanted.price <= bound if leg.side is Side.BUY else wanted.price >= bound:
            return wanted, ""
        if self._met_inside(parent, index, account, market, wanted, own, now):
            return None, ""
        return walker.decide(replace(seen, limit=bound), now), "; an order of ours is in the way"

    def _blocked(self, account: Account, own: list[Order], run: LegRun, now: datetime) -> bool:
        """Wait while nothing can be decided about this leg."""
        if account.readiness is not Readiness.READY or run.balance_after is not None:
            self._wait(run, "waiting for the exchange", now + timedelta(seconds=1))
            return True
        if run.markets_after is not None:
            due = run.markets_after + timedelta(seconds=MARKETS_S)
            if now < due:
                self._wait(run, "waiting for the exchange's rules", due)
                return True
            run.markets_after = None
        if run.held is not None:
            if now < run.held[1]:
                self._wait(run, "waiting for an order to meet inside", run.held[1])
                return True
            run.held = None
        if run.rate_refusals and own and own[-1].status is Status.REJECTED:
            due = own[-1].created_at + retries.ORDERS.wait(run.rate_refusals, own[-1].order_id)
            if now < due:
                self._wait(run, "the venue limits our rate", due)
                return True
        return False

    def _unfed(
        self,
        parent: Parent,
        index: int,
        own: list[list[Order]],
        account: Account,
        market: Market,
        run: LegRun,
        now: datetime,
    ) -> bool:
        """Hold a leg back until the legs before it have brought in enough to be worth an order."""
        leg = parent.legs[index]
        if leg.level > 0 and ledger.feeds(parent, own, index):
            there = ledger.budget(parent, own, index) - ledger.committed(own[index])
            book = account.books.get(leg.symbol)
            price = book.bids[0][0] if book is not None and book.bids else ZERO
            least = CHUNK_NOTIONAL * market.min_notional / (price if leg.side is Side.SELL and price else 1)
            chunk = max(least, CHUNK * ledger.whole(parent, own, index))
            if there < chunk and all(o.phase is Phase.SETTLED for o in own[index]):
                due = now + timedelta(seconds=FEEDING_S)
                self._wait(run, f"waiting for {leg.source} of the legs before", due)
                return True
        if leg.started_at is None:
            self._change(parent, index, started_at=now)
        return False

    def _wait(self, run: LegRun, why: str, until: datetime) -> None:
        run.note, run.wait_until = why, until

    def _view(
        self,
        parent: Parent,
        index: int,
        own: list[list[Order]],
        account: Account,
        market: Market,
        run: LegRun,
    ) -> view.View:
        leg = parent.legs[index]
        assert leg.started_at is not None
        book = account.books.get(leg.symbol)
        return view.View(
            params=self.params(parent),
            side=leg.side,
            market=market,
            orders=own[index],
            book=book,
            total=ledger.whole(parent, own, index),
            available=ledger.budget(parent, own, index),
            quantity=ledger.wanted(leg, market, own[index], view_price(leg.side, book)),
            more=ledger.feeds(parent, own, index),
            started_at=leg.started_at,
            ends_at=leg.ends_at or leg.started_at + timedelta(seconds=float(parent.time_limit)),
            on_timeout=parent.on_timeout,
            limit=leg.limit,
            haircut=self._haircut(account, parent, index, own),
            free=run.free,
            refused_quantity=run.refused_quantity,
            ready_at=account.ready_at,
            signals=account.tape(leg.symbol).look(leg.side, self._out.turn.at, since=leg.started_at),
            seed=f"{parent.parent_id}/{index}",
        )

    def params(self, parent: Parent) -> Params:
        """Return the numbers of a parent's algorithm."""
        key = (parent.algo, repr(sorted(parent.params.items())))
        if key not in self._params:
            self._params[key] = with_overrides(parent.algo, parent.params)
        return self._params[key]

    def steps(self, parent: Parent, index: int, own: list[Order]) -> tuple[int, int | None]:
        """Return which of how many steps a leg is at, for people."""
        return len(own), None

    def _haircut(self, account: Account, parent: Parent, index: int, own: list[list[Order]]) -> Decimal:
        """Return the share left over for the venue's rounding; .99999 of a sale of everything there is."""
        leg = parent.legs[index]
        haircut = account.haircut(leg.source, leg.side)
        if leg.side is Side.SELL and leg.level == 0:
            everything = account.holdings.usable(leg.source)
            if ledger.budget(parent, own, index) >= everything:
                haircut = max(haircut, HAIRCUTS[1])
        return haircut

    def _short(
        self, account: Account, leg: Leg, run: LegRun, done: view.Done, own: list[Order]
    ) -> Problem | None:
        """Say when a leg is over only because the venue holds less than it was to spend."""
        if run.free is None or run.free >= done.left or ledger.received(own, leg.target) > ZERO:
            return None  # what was bought goes on
        return errors.problem(
            errors.FUNDS_INSUFFICIENT,
            f"{account.exchange} holds {plain(run.free)} {leg.source} free "
            f"of the {plain(done.left)} this still needed",
        )

    def _place(
        self,
        parent: Parent,
        index: int,
        account: Account,
        market: Market,
        place: view.Place,
        own: list[list[Order]],
        run: LegRun,
        now: datetime,
    ) -> bool:
        """Place what the algorithm decided, as far as the risk controls let it; False: it has to wait."""
        leg = parent.legs[index]
        fitted = self._within_rules(leg, account, market, place)
        if isinstance(fitted, Problem):
            run.problem = fitted
            return True
        place = fitted
        proposal = Proposal(
            where=Scope(parent.user, parent.bot, *account.key, leg.symbol),
            parent_id=parent.parent_id,
            side=leg.side,
            order_type=place.order_type,
            quantity=place.quantity,
            price=place.price,
            worked=True,
            at=now,
        )
        ends_at = leg.ends_at or parent.created_at + timedelta(seconds=float(parent.time_limit))
        cleared = self._risk.fit(account, leg, proposal, ends_at)
        if isinstance(cleared, Delay):
            self._wait(run, cleared.why, cleared.until)
            return False
        if isinstance(cleared, Problem):
            run.problem = cleared
            return True
        place = replace(place, quantity=cleared.quantity)
        reserved = market.reserve(leg.side, place.quantity, place.price, post_only=place.post_only)
        if self._beyond(parent, index, place, own, reserved):
            run.problem = errors.problem(
                errors.OVEREXECUTION_GUARD,
                "an order beyond what was asked for was stopped before it was sent",
            )
            return True
        if parent.state is not ParentState.WORKING:
            self._save(replace(parent, state=ParentState.WORKING))
        run.note = ""
        if self._met_inside(parent, index, account, market, place, own, now):
            return True  # what is left of the leg is decided on anew
        order_id = self._orders.create(
            self._work.parents[parent.parent_id],
            index,
            account,
            order_type=place.order_type,
            time_in_force=place.time_in_force,
            post_only=place.post_only,
            quantity=place.quantity,
            price=place.price,
            purpose=place.purpose,
            reserved=reserved,
            cleared=cleared,
            now=now,
        )
        self._orders.send(order_id, now)
        return True

    def _within_rules(
        self, leg: Leg, account: Account, market: Market, place: view.Place
    ) -> view.Place | Problem:
        """Judge an order by the exchange's rules; one that is too large is cut, the rest comes after it."""
        asked = Terms(
            side=leg.side,
            order_type=place.order_type,
            quantity=place.quantity,
            price=place.price if place.order_type.limited else None,
            post_only=place.post_only,
        )
        book = account.books.get(leg.symbol)
        picture = picture_of(self._work, account, market, book, place.price, self._out.turn.at)
        judged = judge(market, asked, picture)
        if all(p.code == errors.AMOUNT_TOO_LARGE for p in judged.problems):
            return replace(place, quantity=judged.terms.quantity)
        return errors.combined(judged.problems)

    def _beyond(
        self, parent: Parent, index: int, place: view.Place, own: list[list[Order]], reserved: Decimal
    ) -> bool:
        """Say whether what is done, out and unknown, and this, is more than the leg may do (R10, Knight)."""
        leg = parent.legs[index]
        if ledger.committed(own[index]) + reserved > ledger.budget(parent, own, index):
            return True
        if leg.quantity is not None:
            done = sum((o.filled_quantity + exposure(o) for o in own[index]), ZERO)
            if done + place.quantity > leg.quantity:
                return True
        if leg.limit is None:
            return False
        return place.price > leg.limit if leg.side is Side.BUY else place.price < leg.limit

    def _met_inside(
        self,
        parent: Parent,
        index: int,
        account: Account,
        market: Market,
        place: view.Place,
        own: list[list[Order]],
        now: datetime,
    ) -> bool:
        """Let a take meet others of ours inside, as far as it may; say whether it has."""
        if not account.internal_matching or place.purpose != "take":
            return False
        leg = parent.legs[index]
        reserved = market.reserve(leg.side, place.quantity, place.price, post_only=False)
        if self._beyond(parent, index, place, own, reserved):
            return False
        intent = Intent(
            user=parent.user,
            bot=parent.bot,
            symbol=leg.symbol,
            side=leg.side,
            quantity=place.quantity,
            limit=place.price,
        )
        crosses = self._crossings.plan(account, intent, now)
        if not crosses:
            return False
        told = self._crossings.meet(crosses, parent, index, account, now)
        self._crossings.tell(told, account, now)
        return True

    def _stop(self, parent: Parent, index: int, own: list[Order], run: LegRun, now: datetime) -> None:
        """Cancel what a leg has out, wait until it has settled, then close it."""
        assert run.problem is not None
        out = [o for o in own if o.phase is not Phase.SETTLED]
        for order in out:
            if order.asked is Asked.NOTHING:
                self._orders.event(order.order_id, AskCancel(), now)
        if out:
            self._wait(run, "its orders are settling", now + timedelta(seconds=1))
            return
        problem = run.problem
        self._change(parent, index, closed_at=now, blocked=True, code=problem.code, why=problem.message)

    def _close(self, parent: Parent, index: int, why: str, now: datetime) -> None:
        leg = parent.legs[index]
        self._change(parent, index, started_at=leg.started_at or now, closed_at=now, why=why)

    def _change(self, parent: Parent, index: int, **fields: object) -> None:
        legs = list(self._work.parents[parent.parent_id].legs)
        legs[index] = replace(legs[index], **fields)  # type: ignore[arg-type]
        self._save(replace(self._work.parents[parent.parent_id], legs=tuple(legs)))


def view_price(side: Side, book: object) -> Decimal | None:
    """Return the price a taker of this side would meet first."""
    levels = getattr(book, "asks" if side is Side.BUY else "bids", ())
    return levels[0][0] if levels else None
