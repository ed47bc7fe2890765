"""Edits: other terms for an order that is open, in one step where the exchange does it.

Rules:
1. Where it is not one step, the order is let go, what it filled is proven, and what is left becomes a new
   order of the same parent that `replaces` it (`successors`). Never both at once.
2. `quantity` is the whole of the order, with what is filled: less than that is never executed again.
3. One edit of an order at a time. A cancel overtakes it.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from ems.core import errors
from ems.core.child import AskReplace
from ems.core.codec import encode_command, plain, verb_of
from ems.core.contracts import is_contract
from ems.core.fitness import mid_of
from ems.core.instrument import Market
from ems.core.messages import CancelOrder, EditOrder, Problem, Submit
from ems.core.records import Asked, Edit, Order, Phase, Query, QueryStatus, Status
from ems.core.triggers import met
from ems.core.validation import Picture, Terms, judge
from ems.engine import selfmatch
from ems.engine.account import Account, Readiness
from ems.engine.attached import PURPOSES
from ems.engine.cancels import Cancels
from ems.engine.order_types import in_one_step, met_already, taken_at
from ems.engine.orders import Orders, sent_type
from ems.engine.queries import Queries
from ems.engine.refusals import halted, not_ready
from ems.engine.risk import Risk
from ems.engine.shortages import Shortages
from ems.engine.sight import Need, bounds_of, fresh, usable
from ems.engine.turn import Out
from ems.engine.work import Work

ZERO = Decimal(0)
TERMS = ("quantity", "price", "stop_price")


class Edits:
    """Every edit that is asked for, and not known to be done."""

    def __init__(self, out: Out, work: Work, queries: Queries, orders: Orders, cancels: Cancels, risk: Risk):
        self._risk = risk
        self._out = out
        self._work = work
        self._queries = queries
        self._orders = orders
        self._cancels = cancels
        self._pending: dict[str, str] = {}  # query id -> id of the order to be changed

    def submit(
        self, event: Submit, command: EditOrder, now: datetime, *, patient: bool
    ) -> Query | Problem | Need:
        ticket = event.ticket
        order = self._named(ticket.user, command, now)
        if isinstance(order, Problem):
            return order
        account = self._work.accounts[order.exchange, order.account]
        edit = self._judge(event, command, order, account, now, patient)
        if not isinstance(edit, Edit):
            return edit
        query = self._queries.make(
            event.query_id,
            ticket,
            verb_of(command),
            order.exchange,
            account.mode,
            encode_command(command),
            now,
        )
        if ticket.dry_run:
            result: dict[str, object] = {
                "dry_run": True,
                "order_id": order.order_id,
                "how": _how(order, edit),
            }
            return replace(query, status=QueryStatus.DONE, result=result, finished_at=now)
        if ticket.nonce is not None:
            self._out.record(ticket.nonce)
        terms = {name: plain(value) for name in TERMS if (value := getattr(edit, name)) is not None}
        query = replace(query, result={"edits": order.order_id, "how": _how(order, edit), "terms": terms})
        self._queries.save(query)
        self._pending[query.query_id] = order.order_id
        self._orders.event(order.order_id, AskReplace(edit=edit), now)
        self.check(now)
        return self._work.queries[query.query_id]

    def _named(self, user: str, command: EditOrder, now: datetime) -> Order | Problem:
        named = CancelOrder(order_id=command.order_id, client_order_id=command.client_order_id)
        found = self._cancels.orders_named(user, named)
        if isinstance(found, Problem):
            return found
        # A key names the order, and what is attached to it: the order is meant.
        order = min(found, key=lambda one: (one.parent_id, -one.attempt)) if found else None
        parent = None if order is None else self._work.parents.get(order.parent_id)
        if order is None or parent is None or parent.algo != "direct":
            return errors.problem(
                errors.ORDER_NOT_EDITABLE, "an algorithm works this order and decides about its terms"
            )
        if is_contract(order.symbol):
            return errors.problem(
                errors.ORDER_NOT_EDITABLE,
                f"order {order.order_id} is for a contract, whose orders are not edited",
                hint="Cancel it, and place another.",
            )
        stands = order.status in (Status.SUBMITTED, Status.PARTIALLY_FILLED) and order.phase is Phase.LIVE
        # The answer to an earlier one says nothing of which it is about: it must not be taken for the next's.
        answer_by = self._work.children[order.order_id].lookup.amend_answer_by
        stands = stands and (answer_by is None or now >= answer_by)
        if order.asked is not Asked.NOTHING or not (stands or order.status is Status.CREATED):
            return errors.problem(
                errors.ORDER_IN_FLIGHT,
                f"order {order.order_id} is {order.status} and "
                + (f"to {order.asked}" if order.asked is not Asked.NOTHING else "in doubt: it is looked up"),
            )
        return order

    # --- What it is to become ------------------------------------------------------------------------------

    def _judge(
        self,
        event: Submit,
        command: EditOrder,
        order: Order,
        account: Account,
        now: datetime,
        patient: bool,
    ) -> Edit | Problem | Need:
        halt = self._work.halted(*account.key, order.symbol, order.user)
        if halt is not None:
            return halted(halt)
        market = account.markets.get(order.symbol)
        if account.readiness is not Readiness.READY or market is None:
            return not_ready(account)
        terms = self._terms(command, order, market, account, now)
        if isinstance(terms, Problem):
            return terms
        quantity = terms.get("quantity", order.quantity)
        price = terms.get("price", order.price)
        if "price" in terms and not sent_type(order).waits and order.status is not Status.CREATED:
            meets = selfmatch.met(self._work, account, order.symbol, order.side, terms["price"])
            if meets:
                return selfmatch.refused(self._work, account, meets[0], order.user, terms["price"])
        stop_price = terms.get("stop_price", order.stop_price)
        if (order.status is Status.CREATED or "stop_price" in terms) and stop_price is not None:
            book = account.books.get(order.symbol)
            if book is not None and usable(book, now):
                mid = mid_of(book)
                if met(order.order_type, order.side, stop_price, mid):
                    return met_already(market, order.order_type, order.side, stop_price, mid)
        paid = taken_at(stop_price) if price is None and stop_price is not None else price
        assert paid is not None, "what has neither price does not rest"
        reserved = market.reserve(order.side, quantity, paid, post_only=order.post_only)
        source = self._work.leg_of(order).source
        more = (reserved - order.reserved) * (quantity - order.filled_quantity) / quantity
        shortages = Shortages(self._work, account, order.user)
        if more > ZERO and shortages.lacks(source, more):
            if patient and not fresh(account, now):
                return Need(balances=frozenset({account.key}))
            return shortages.of_money(source, more)
        no = self._risk.edited(
            account,
            order,
            quantity,
            price,
            stop_price,
            now,
            patient=patient,
            dry_run=event.ticket.dry_run,
        )
        if no is not None:
            return no
        return Edit(
            query_id=event.query_id,
            asked_at=now,
            in_place=in_one_step(market, order, terms),
            reserved=reserved,
            **terms,  # type: ignore[arg-type]  # its keys are TERMS
        )

    def _terms(
        self, command: EditOrder, order: Order, market: Market, account: Account, now: datetime
    ) -> dict[str, Decimal] | Problem:
        """Return what is to change, on the market's steps; or why it cannot."""
        if command.quantity is not None and order.purpose in PURPOSES:
            return errors.problem(
                errors.REQUEST_FIELD_INVALID,
                "quantity: of an attached order it follows the fills of what it is attached to",
                hint="Remove quantity, or change that order.",
                details={"field": "quantity"},
            )
        if command.price is not None and not order.order_type.limited:
            return _has_none(order, "price")
        waits = sent_type(order).waits or order.status is Status.CREATED
        if command.stop_price is not None and not waits:
            return _has_none(order, "stop_price")
        before = self._filled_before(order)
        quantity = order.quantity if command.quantity is None else command.quantity - before
        if market.floor_quantity(quantity) <= order.filled_quantity:
            filled = plain(before + order.filled_quantity)
            return errors.problem(
                errors.AMOUNT_TOO_SMALL,
                f"quantity: {filled} {market.base} of it is filled already",
                hint="It is the whole of the order, with what is filled. To leave the rest, cancel it.",
                details={"field": "quantity", "value": plain(quantity + before), "limit": filled},
            )
        asked = Terms(
            side=order.side,
            order_type=order.order_type,
            quantity=quantity - order.filled_quantity,
            price=order.price if command.price is None else command.price,
            stop_price=order.stop_price if command.stop_price is None else command.stop_price,
            post_only=order.post_only,
            emulated=order.status is Status.CREATED,
        )
        bounds = bounds_of(account, order.symbol, now)
        picture = Picture(
            mid=_mid(account, order.symbol, now),
            reference=bounds.reference,
            highest_buy=bounds.highest_buy,
            lowest_sell=bounds.lowest_sell,
        )
        judged = judge(market, asked, picture)
        # It is no further order, and what stays as it is has been taken once.
        wrong = [p for p in judged.problems if getattr(command, str(p.details["field"]), None) is not None]
        if wrong:
            return errors.combined(wrong)
        given = [name for name in TERMS if getattr(command, name) is not None]
        terms = {name: value for name in given if (value := getattr(judged.terms, name)) is not None}
        if "quantity" in terms:
            terms["quantity"] += order.filled_quantity
        terms = {name: value for name, value in terms.items() if value != getattr(order, name)}
        if not terms:
            return errors.problem(
                errors.REQUEST_FIELD_INVALID,
                f"nothing to change: order {order.order_id} has these terms",
                hint="Send a quantity, price or stop_price that differs.",
                details={"field": "quantity"},
            )
        return terms

    def _filled_before(self, order: Order) -> Decimal:
        """Return what the orders have filled that this one stands in the place of: part of the whole."""
        filled = ZERO
        while order.replaces is not None and order.replaces in self._work.children:
            order = self._work.children[order.replaces].order
            filled += order.filled_quantity
        return filled

    # --- What came of it -----------------------------------------------------------------------------------

    def take_up(self, query: Query) -> None:
        """Wait again for what an edit of before the restart was waiting for."""
        order_id = (query.result or {}).get("edits")
        if query.status is QueryStatus.WORKING and isinstance(order_id, str):
            self._pending[query.query_id] = order_id

    def check(self, now: datetime) -> None:
        """Finish the edits whose outcome is known."""
        for query_id, order_id in list(self._pending.items()):
            child = self._work.children.get(order_id)
            query = self._work.queries.get(query_id)
            if child is None or query is None:
                continue
            found = self._outcome(query, child.order)
            if found is None:
                continue
            del self._pending[query_id]
            order, problem = found
            shown: dict[str, object] = {**_shown(order), "how": (query.result or {}).get("how")}
            status = QueryStatus.DONE if problem is None else QueryStatus.FAILED
            self._queries.finish(query, status, shown, problem, now)

    def _successor(self, order: Order) -> Order | None:
        """Return the order that took the place of this one."""
        siblings = self._work.orders_of_parent(order.parent_id)
        return next((o for o in siblings if o.replaces == order.order_id), None)

    def _outcome(self, query: Query, order: Order) -> tuple[Order, Problem | None] | None:
        """Return the order that stands for it now, and why the edit failed, if it did; None: not known."""
        new = self._successor(order)
        if new is not None:
            if new.status is not Status.REJECTED:
                return None if new.status in (Status.PENDING, Status.UNKNOWN) else (new, None)
            why = f"{new.exchange} refused what was to take its place: {new.reason}"
            back = self._successor(new)
            while back is not None and back.status is Status.REJECTED and (further := self._successor(back)):
                back = further  # it was refused for now, and placed once more
            last = back or new
            if last.status is Status.REJECTED and last.order_type.waits and not last.emulated:
                if self._work.parents[new.parent_id].closed_at is None:
                    return None  # the old one is placed again
            if back is not None and back.status in (Status.PENDING, Status.UNKNOWN):
                return None
            if back is not None and back.status is not Status.REJECTED:
                why += f"; the old one was placed again, as it was, as order {back.order_id}"
                return back, errors.problem(errors.VENUE_REJECTED, why)
            return new, errors.problem(errors.VENUE_REJECTED, why)
        asked_of_it = (query.result or {}).get("terms")
        assert isinstance(asked_of_it, dict)
        if all(plain(getattr(order, name)) == value for name, value in asked_of_it.items()):
            return order, None
        if order.phase is not Phase.SETTLED:
            if order.asked is not Asked.NOTHING:
                return None
            why = f"{order.exchange} left it as it was: {order.reason}"
            return order, errors.problem(errors.VENUE_REJECTED, why)
        waits = order.edit is not None and not order.edit.in_place
        if waits and self._work.parents[order.parent_id].closed_at is None:
            return None  # its rest is placed once the account is ready
        return order, errors.problem(
            errors.ORDER_CLOSED, f"order {order.order_id} ended before it could be changed: {order.status}"
        )


def _how(order: Order, edit: Edit) -> str:
    """Say how it is done: by a new order, in one step, or by us alone, where the order still waits here."""
    if order.status is Status.CREATED:
        return "here"
    return "in_place" if edit.in_place else "replaced"


def _shown(order: Order) -> dict[str, object]:
    body: dict[str, object] = {
        "order_id": order.order_id,
        "replaces": order.replaces,
        "status": str(order.status),
        "filled_quantity": plain(order.filled_quantity),
    }
    amounts = {name: getattr(order, name) for name in TERMS}
    body.update({name: None if amount is None else plain(amount) for name, amount in amounts.items()})
    return body


def _has_none(order: Order, name: str) -> Problem:
    return errors.problem(
        errors.REQUEST_FIELD_INVALID,
        f"{name}: order {order.order_id} is a {sent_type(order)} order now and has none",
        hint=f"Remove {name}.",
        details={"field": name},
    )


def _mid(account: Account, symbol: str, now: datetime) -> Decimal | None:
    book = account.books.get(symbol)
    return mid_of(book) if book is not None and usable(book, now) else None
