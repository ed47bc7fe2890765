"""Orders refused because their exchange's rules had changed: rounded by the new ones and sent once more.

Rules:
1. Only where the caller allowed it, and only after an exact no to an order that was never in doubt: what may
   have arrived is looked up, never sent again.
2. The rules are read again first. Where they change nothing about the order, the exchange's no stands.
3. Once. It is another order of the same parent with an id of its own, and `replaces` the refused one; it is
   judged as a new one is, money and self-match included; the bound of a market order is made anew, from the
   book as it is now. Without a book to trade on the exchange's no stands.
4. What waits for the rules is no order: a cancel or a halt ends it, and so does a restart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from ems.core.instrument import Market
from ems.core.messages import BookUpdate, OrderType, Problem, QueryMarkets, Refusal, Rejected
from ems.core.records import Order, Parent, Phase, Query, QueryStatus, Status
from ems.core.risk_ledger import place_of
from ems.core.validation import Terms, judge
from ems.engine import selfmatch
from ems.engine.account import Account, Readiness
from ems.engine.admission import Admitted, as_asked, concluded, picture_of
from ems.engine.order_types import taken_at
from ems.engine.orders import Orders
from ems.engine.protection import limit_to_take, protection
from ems.engine.queries import Queries
from ems.engine.risk import Clearance, Risk
from ems.engine.shortages import Shortages
from ems.engine.sight import bounds_of, usable
from ems.engine.turn import Out
from ems.engine.work import LegRun, Run, Work

OLD_RULES = frozenset({Refusal.LOT_TICK, Refusal.MIN_SIZE})
MARKETS_S = 10.0  # wait this long for the exchange's rules, then its no stands


class Resubmissions:
    """Every plain order that was refused and may be sent once more."""

    def __init__(self, out: Out, work: Work, queries: Queries, orders: Orders, risk: Risk):
        self._out = out
        self._work = work
        self._queries = queries
        self._orders = orders
        self._risk = risk

    def learn_refusal(
        self, account: Account, order: Order, report: Rejected, problem: Problem, run: Run, now: datetime
    ) -> bool:
        """Read the rules again after a no that smells of other ones; say whether the order waits for them."""
        if report.refusal not in OLD_RULES:
            return False
        self._out.send(account, QueryMarkets())
        query = self._work.queries.get(order.query_id)
        allowed = query is not None and query.parameters.get("resubmit") is True
        doubted = order.phase is not Phase.PENDING_NEW or order.emulated
        if not allowed or doubted or order.replaces is not None or run.problem is not None:
            return False
        leg = run.leg(order.leg)
        leg.problem, leg.markets_after, leg.note = problem, now, "waiting for the exchange's rules"
        self._out.wake(("parent", order.parent_id), now + timedelta(seconds=MARKETS_S))
        return True

    def goes_on(self, parent: Parent, order: Order, run: Run, now: datetime) -> bool:
        """Send a refused order once more when the rules are there; say whether its parent goes on."""
        leg = run.legs.get(order.leg)
        if order.status is not Status.REJECTED or leg is None or leg.problem is None:
            return False
        if run.problem is not None:
            return False
        if leg.markets_after is not None and now < leg.markets_after + timedelta(seconds=MARKETS_S):
            return True
        came, leg.markets_after = leg.markets_after is None, None
        judged = self._judge(order, leg, now) if came else leg.problem
        if isinstance(judged, Problem):
            run.problem = judged
            return False
        cleared = self._risk.again(
            self._work.accounts[order.exchange, order.account],
            order,
            judged.quantity,
            judged.price,
            judged.stop_price,
            now,
        )
        if isinstance(cleared, Problem):
            run.problem = cleared
            return False
        self._send_again(parent, order, judged, cleared, leg, now)
        return True

    def drop(self, meant: Callable[[Parent], bool]) -> list[str]:
        """Let go of what is meant of those that wait; return their parents, which are to be worked then."""
        dropped = []
        for parent_id, run in self._work.runs.items():
            parent = self._work.parents[parent_id]
            waits = [leg for leg in run.legs.values() if leg.markets_after is not None and leg.problem]
            if parent.algo == "direct" and waits and meant(parent):
                run.problem = waits[0].problem
                dropped.append(parent_id)
        return dropped

    def _judge(self, order: Order, leg: LegRun, now: datetime) -> Admitted | Problem:
        """Judge the refused order by the rules as they are now; its own refusal where they change nothing."""
        assert leg.problem is not None
        account = self._work.accounts[order.exchange, order.account]
        market = account.markets.get(order.symbol)
        query = self._work.queries.get(order.query_id)
        halted = self._work.halted(*account.key, order.symbol, order.user)
        if market is None or query is None or halted or account.readiness is not Readiness.READY:
            return leg.problem
        paid = self._paid(order, account, market, now)
        if paid is None:
            return leg.problem
        protected = order.protection_price is not None
        asked = Terms(
            side=order.side,
            order_type=OrderType.LIMIT if protected else order.order_type,
            quantity=order.quantity,
            price=order.protection_price if protected else order.price,
            stop_price=order.stop_price,
            post_only=order.post_only,
        )
        found = account.books.get(order.symbol)
        book = found if usable(found, now) else None
        picture = picture_of(self._work, account, market, book, paid, now)
        raises = query.parameters.get("raise_to_minimum") is True
        judged = judge(market, asked, picture, raise_to_minimum=raises)
        if not judged.problems and judged.terms == asked:
            return leg.problem
        if protected:
            # The book has moved since: the old bound would let it trade too far, or nowhere.
            paid = None if book is None else self._bound(order, account, market, book, now)
            if paid is None:
                return leg.problem
            picture = picture_of(self._work, account, market, book, paid, now)
            judged = judge(market, replace(asked, price=paid), picture, raise_to_minimum=raises)
        answer = concluded(
            judged,
            market,
            account,
            self._work,
            order.user,
            now,
            paid=judged.terms.price or paid,
            duration=order.time_in_force,
            patient=False,
        )
        if isinstance(answer, Admitted):
            answer = as_asked(answer) if protected else answer
            return selfmatch.refusal(self._work, account, answer, order.user) or answer
        assert isinstance(answer, Problem), "nothing is waited for"
        said = leg.problem
        return replace(answer, venue_code=said.venue_code, venue_message=said.venue_message)

    def _bound(
        self, order: Order, account: Account, market: Market, book: BookUpdate, now: datetime
    ) -> Decimal | None:
        """Return the limit of a market order as the book stands now; None: it would go without one."""
        return protection(
            market,
            order.side,
            book,
            order.quantity,
            self._risk.guard(place_of(order)),
            Shortages(self._work, account, order.user).available(market.quote),
            bounds_of(account, order.symbol, now),
        )

    def _paid(self, order: Order, account: Account, market: Market, now: datetime) -> Decimal | None:
        """Return the price its money is reckoned at; None: no book says."""
        if order.price is not None or order.protection_price is not None:
            return order.price or order.protection_price
        if order.stop_price is not None:
            return taken_at(order.stop_price)
        book = account.books.get(order.symbol)
        if book is None or not usable(book, now):
            return None
        return limit_to_take(market, order.side, book, order.quantity)

    def _send_again(
        self,
        parent: Parent,
        order: Order,
        admitted: Admitted,
        cleared: Clearance,
        leg: LegRun,
        now: datetime,
    ) -> None:
        account = self._work.accounts[order.exchange, order.account]
        said = leg.problem
        assert said is not None
        leg.problem, leg.note = None, ""
        order_id = self._orders.create(
            parent,
            order.leg,
            account,
            order_type=admitted.order_type,
            time_in_force=order.time_in_force,
            post_only=order.post_only,
            quantity=admitted.quantity,
            price=admitted.price,
            purpose=order.purpose,
            reserved=admitted.reserved,
            cleared=cleared,
            now=now,
            stop_price=admitted.stop_price,
            protection_price=admitted.protection_price,
            expires_at=order.expires_at,
            reduce_only=order.reduce_only,
            replaces=order.order_id,
        )
        self._orders.send(order_id, now)
        self._record(self._work.queries[order.query_id], order, admitted, said)

    def _record(self, query: Query, order: Order, admitted: Admitted, said: Problem) -> None:
        """Write into the query what was changed, and why."""
        if query.status is not QueryStatus.WORKING:
            return
        result = query.result or {}
        made = result.get("corrections", [])
        assert isinstance(made, list)
        sent_again: dict[str, object] = {
            "field": "order_id",
            "asked": order.order_id,
            "used": self._work.orders_of[order.parent_id][-1],
            "limit": None,
            "why": f"{order.exchange} refused it: {said.venue_message}",
        }
        changes = [*made, sent_again, *admitted.corrections]
        self._queries.save(replace(query, result={**result, "corrections": changes}))
