"""Cancel calls: which orders they mean, and when everything they asked for has ended."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from ems.algos.ledger import current
from ems.core import errors
from ems.core.child import AskCancel
from ems.core.codec import encode_command, verb_of
from ems.core.messages import (
    CancelAllOrders,
    CancelOrder,
    Problem,
    Submit,
    Ticket,
)
from ems.core.records import (
    ENDED_PARENT,
    Order,
    Parent,
    Phase,
    Query,
    QueryStatus,
    Status,
)
from ems.engine.orders import Orders
from ems.engine.parents import Parents
from ems.engine.queries import Queries
from ems.engine.turn import Out
from ems.engine.waiting import Waiting
from ems.engine.work import Work

ZERO = Decimal(0)


class Cancels:
    """A cancel is a question: its query is done when every order and parent it named has ended."""

    def __init__(
        self, out: Out, work: Work, queries: Queries, orders: Orders, parents: Parents, waiting: Waiting
    ):
        self._out = out
        self._work = work
        self._queries = queries
        self._orders = orders
        self._parents = parents
        self._waiting = waiting
        self.cancels: dict[
            str, dict[str, object]
        ] = {}  # query id -> {"orders", "parents", "left"} it waits for

    def submit(self, event: Submit, command: CancelOrder | CancelAllOrders, now: datetime) -> Query | Problem:
        ticket = event.ticket
        if isinstance(command, CancelAllOrders) and self._work.has_slice(ticket.user, ticket.bot):
            command = replace(command, scope="bot")  # it sees its slice only
        if not ticket.dry_run:
            self._parents.drop_resubmissions(lambda parent: self._means(ticket, command, parent), now)
        left: list[str] = []
        if isinstance(command, CancelOrder):
            if self._waiting.drop_key(ticket, command):
                found: list[Order] | Problem = []
            else:
                found = self.orders_named(ticket.user, command)
            if isinstance(found, Problem):
                return found
            orders = found
            exchange = orders[0].exchange if orders else None
        else:
            if command.exchange is not None and not any(
                name == command.exchange for name, _ in self._work.accounts
            ):
                return self._work.no_account(command.exchange, "default")
            exchange = command.exchange
            orders, left = self._orders_in_scope(ticket, command)
        mode = self._work.mode_of(exchange)
        query = self._queries.make(
            event.query_id, ticket, verb_of(command), exchange, mode, encode_command(command), now
        )
        parents = []
        for parent_id in dict.fromkeys(o.parent_id for o in orders):
            parent = self._work.parents.get(parent_id)
            if parent is not None and (parent.algo != "direct" or parent_id in self._work.called_back):
                parents.append(parent_id)
        if isinstance(command, CancelAllOrders):
            named = self._parents_in_scope(ticket, command)
        else:
            named = self._parents_named(ticket.user, command)
        parents += [p for p in named if p not in parents]
        left = [order_id for order_id in left if self._work.children[order_id].order.parent_id not in parents]
        if ticket.dry_run:
            result: dict[str, object] = {
                "dry_run": True,
                "would_cancel": [o.order_id for o in orders],
                "would_stop": parents,
                "left": left,
            }
            return replace(query, status=QueryStatus.DONE, result=result, finished_at=now)
        if ticket.nonce is not None:
            self._out.record(ticket.nonce)
        if isinstance(command, CancelAllOrders):
            self._waiting.drop(ticket, command)
        waits_for: dict[str, object] = {
            "orders": [o.order_id for o in orders],
            "parents": parents,
            "left": left,
        }
        query = replace(query, result={"waits_for": waits_for})
        self.cancels[query.query_id] = waits_for
        self._queries.save(query)
        for parent_id in parents:
            self._parents.stop(parent_id, "canceled by its owner", now)
        for order in orders:
            self._orders.event(order.order_id, AskCancel(), now)
        self.check(now)
        return self._work.queries[query.query_id]

    def _means(self, ticket: Ticket, command: CancelOrder | CancelAllOrders, parent: Parent) -> bool:
        """Say whether a cancel is about the one order of this parent, also where it is none just now."""
        if parent.user != ticket.user:
            return False
        if isinstance(command, CancelAllOrders):
            leg = parent.legs[0]
            fits = command.exchange in (None, leg.exchange) and command.symbol in (None, leg.symbol)
            return fits and (command.scope == "user" or parent.bot == ticket.bot)
        named = command.client_order_id or ""
        orders = self._work.orders_of_parent(parent.parent_id)
        by_key = self._work.keys.get((ticket.user, named)) == parent.query_id
        return by_key or any(command.order_id == o.order_id or named == o.client_order_id for o in orders)

    def orders_named(self, user: str, command: CancelOrder) -> list[Order] | Problem:
        """Return the open orders of the user that are named so."""
        named = command.order_id or command.client_order_id
        if command.order_id is not None:
            child = self._work.children.get(command.order_id)
            orders = [child.order] if child is not None and child.order.user == user else []
            if orders and orders[0].phase is Phase.SETTLED:
                orders = self._in_its_place(orders[0])
        else:
            query_id = self._work.keys.get((user, command.client_order_id or ""))
            orders = self._work.orders_of_query(query_id) if query_id is not None else []
            if not orders:
                order_id = self._work.by_client_id.get(command.client_order_id or "")
                child = self._work.children.get(order_id) if order_id else None
                orders = [child.order] if child is not None and child.order.user == user else []
        if not orders and self._parents_named(user, command):
            return []  # it works, and has no order yet
        if not orders:
            return errors.problem(errors.ORDER_NOT_FOUND, f"there is no open order {named!r} of yours")
        open_orders = [o for o in orders if o.phase is not Phase.SETTLED]
        parent = self._work.parents.get(orders[-1].parent_id)
        walking = (
            parent is not None
            and parent.state not in ENDED_PARENT
            and (parent.algo != "direct" or parent.parent_id in self._work.called_back)
        )
        if not open_orders and not walking:
            return errors.problem(
                errors.ORDER_CLOSED,
                f"order {named!r} has already ended: {orders[-1].status}",
                details={"status": str(orders[-1].status)},
            )
        return open_orders or [orders[-1]]

    def _in_its_place(self, order: Order) -> list[Order]:
        """Return what goes on where this order ended: it was called back, and its rest went out again."""
        parent = self._work.parents.get(order.parent_id)
        if parent is None or parent.algo != "direct":
            return [order]
        return [order, *self._work.orders_of_parent(parent.parent_id)[order.attempt :]]

    def _parents_named(self, user: str, command: CancelOrder) -> list[str]:
        """Return the ids of what an algorithm works under this key of the user's."""
        query_id = self._work.keys.get((user, command.client_order_id or ""), "")
        return [
            parent_id
            for parent_id in self._work.parents_of.get(query_id, ())
            if (parent := self._work.parents[parent_id]).algo != "direct" and parent.state not in ENDED_PARENT
        ]

    def _orders_in_scope(self, ticket: Ticket, command: CancelAllOrders) -> tuple[list[Order], list[str]]:
        """Return the caller's open orders, and the ids of open orders of the same user that are left
        alone."""
        wanted, left = [], []
        for child in self._work.children.values():
            order = child.order
            if order.phase is Phase.SETTLED or order.user != ticket.user:
                continue
            if command.exchange is not None and order.exchange != command.exchange:
                continue
            mine = command.scope == "user" or order.bot == ticket.bot
            if mine and (command.symbol is None or order.symbol == command.symbol):
                wanted.append(order)
            else:
                left.append(order.order_id)
        return wanted, left

    def _parents_in_scope(self, ticket: Ticket, command: CancelAllOrders) -> list[str]:
        return [
            p.parent_id
            for p in self._work.parents.values()
            if p.state not in ENDED_PARENT
            and (p.algo != "direct" or p.parent_id in self._work.called_back)
            and p.user == ticket.user
            and any(
                command.exchange in (None, leg.exchange) and command.symbol in (None, leg.symbol)
                # With all of them closed it waits for its next plan: those of the last one stand for it.
                for leg in [x for x in p.legs if x.closed_at is None] or map(p.legs.__getitem__, current(p))
            )
            and (command.scope == "user" or p.bot == ticket.bot)
        ]

    def take_up(self, query: Query) -> None:
        """Wait again for what a cancel of before the restart was waiting for."""
        waits_for = (query.result or {}).get("waits_for")
        if query.status is QueryStatus.WORKING and isinstance(waits_for, dict):
            self.cancels[query.query_id] = dict(waits_for)

    def check(self, now: datetime) -> None:
        """Finish the cancel queries whose orders and parents have all ended."""
        for query_id, waits_for in list(self.cancels.items()):
            order_ids: list[str] = list(waits_for["orders"])  # type: ignore[call-overload]
            parent_ids: list[str] = list(waits_for["parents"])  # type: ignore[call-overload]
            children = [self._work.children[i] for i in order_ids if i in self._work.children]
            if any(c.order.phase is not Phase.SETTLED for c in children):
                continue
            if any(
                self._work.parents[p].state not in ENDED_PARENT for p in parent_ids if p in self._work.parents
            ):
                continue
            del self.cancels[query_id]
            ended: dict[str, list[str]] = {"canceled": [], "filled": [], "other": []}
            for child in children:
                status = child.order.status
                where = {Status.CANCELED: "canceled", Status.FILLED: "filled"}.get(status, "other")
                ended[where].append(child.order.order_id)
            query = self._work.queries[query_id]
            result = {**ended, "stopped": parent_ids, "left": waits_for["left"]}
            self._queries.finish(query, QueryStatus.DONE, result, None, now)
