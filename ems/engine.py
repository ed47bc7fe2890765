"""The engine: events in, effects out. It decides; it never does.

Rules:
1. `handle(event, now)` returns a `Turn`: what to write down, and what to do once that is on disk. Nothing
   else leaves.
2. An order reaches a venue only as a `Send` in the same turn as the record of its intent (R1).
3. Everything here can be rebuilt from the store: what is kept only in memory (look-ups, haircuts, books) is
   learned again after a restart. Progress is derived from orders, never counted.
4. A refusal is a value (`Problem`), not an exception. Exceptions mean that a promise inside our code is
   broken.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from ems import tca
from ems.account import Account, Readiness
from ems.admission import Need, Plan, admit
from ems.algos import classic, ledger
from ems.core import errors
from ems.core.child import AskCancel, Child, ChildEvent, Do, Doubted, Lookup, Sent, Step, Tick, step
from ems.core.codec import encode_command, exchange_problem, plain, verb_of
from ems.core.instrument import HAIRCUTS, Market
from ems.core.messages import (
    Acked,
    Archive,
    Balances,
    BookUpdate,
    CancelAcked,
    CancelAllOrders,
    CancelOrder,
    CancelRefused,
    CancelRequest,
    Event,
    FillReport,
    FromVenue,
    LimitOrder,
    LookupFailed,
    MarketOrder,
    MarketsLoaded,
    NewOrder,
    OpenOrders,
    OrderStatus,
    OrderType,
    OutcomeUnknown,
    Problem,
    Publish,
    QueryBalances,
    QueryOpenOrders,
    QueryOrder,
    QueryTrades,
    Refusal,
    Rejected,
    Reply,
    Request,
    Send,
    Side,
    SmartOrder,
    StreamDown,
    StreamUp,
    Submit,
    Ticket,
    TimeInForce,
    Timer,
    TradesAnswer,
    UnwatchBook,
    Wake,
    WatchBook,
)
from ems.core.order import created, fill_record, remaining_quantity
from ems.core.records import (
    ENDED_PARENT,
    Asked,
    Fill,
    Hop,
    Notice,
    Order,
    Parent,
    ParentState,
    Phase,
    Query,
    QueryStatus,
    Record,
    Status,
)
from ems.store import Unfinished

ZERO = Decimal(0)
LOOK_FIRST_S = (
    5.0  # a submission waits this long for a balance or a book before it is judged on what is known
)
HOUSEKEEPING_S = 60.0  # balances and open orders are compared with the venue this often (R11, drop copy)
RETRY_S = 2.0  # a reconciliation question that failed is asked again
KEEP_ENDED_S = 600.0  # ended work stays in memory this long, so that late news finds it
WATCH_IDLE_S = 300.0
FUNDS_REFUSALS = 3  # in a row, then the parent gives up
RATE_REFUSALS = 20
KEYS_KEPT = 50_000
NONCE_KEPT = timedelta(seconds=30)  # past its expiry: no server accepts it any more by then

UNBOUND = "unbound:"  # starts the key of a query that does not hold its caller's idempotency key
ADOPTER = "oms"  # user of orders found at a venue that carry our mark but are not in our ledger


@dataclass
class Turn:
    """What one event leads to. `records` go to disk in one transaction, then `effects` happen in order."""

    at: datetime
    records: list[Record] = field(default_factory=list)
    effects: list[Send | Wake | Reply | Publish] = field(default_factory=list)
    touched: set[str] = field(default_factory=set)  # ids of queries whose picture changed


@dataclass
class Run:
    """What a working parent knows beside its records; forgotten by a restart without harm."""

    funds_refusals: int = 0
    rate_refusals: int = 0
    refused_quantity: Decimal | None = None
    free: Decimal | None = None
    balance_after: datetime | None = None  # waiting for a balance asked for after this
    problem: Problem | None = None  # why it stops
    note: str = ""  # what it waits for, for people


@dataclass
class Held:
    """A submission waiting for a look at balances or books."""

    event: Submit
    until: datetime
    balance_after: datetime | None
    symbols: frozenset[str]


class Engine:
    """All trading state of this process."""

    def __init__(self, accounts: Iterable[Account], *, mark: str):
        """`mark`: eight hex digits that start every client order id of this installation."""
        assert len(mark) == 8 and int(mark, 16) >= 0
        self.mark = mark
        self.accounts: dict[tuple[str, str], Account] = {
            a.key: a for a in accounts
        }  # (exchange, account) -> account
        self.queries: dict[str, Query] = {}
        self.parents: dict[str, Parent] = {}
        self.children: dict[str, Child] = {}  # order id -> child
        self.fills: dict[str, list[Fill]] = {}  # order id -> fills
        self.runs: dict[str, Run] = {}  # parent id -> run
        self.orders_of: dict[str, list[str]] = {}  # parent id -> order ids, oldest first
        self.parents_of: dict[str, list[str]] = {}  # query id -> parent ids
        self.by_client_id: dict[str, str] = {}  # client order id -> order id
        # (exchange, account, symbol, exchange id) -> order id: some venues count ids per symbol
        self.by_exchange_id: dict[tuple[str, str, str, str], str] = {}
        self.keys: OrderedDict[tuple[str, str], str] = OrderedDict()  # (user, idempotency key) -> query id
        self.digests: dict[str, str] = {}  # query id -> digest of what was asked
        self.cancels: dict[
            str, dict[str, object]
        ] = {}  # query id of a cancel -> {"orders", "parents"} it waits for
        self.held: dict[int, Held] = {}  # token -> submission
        self.nonces: dict[tuple[str, str], datetime] = {}  # (key id, nonce) -> when it expires
        self.recalled: dict[str, datetime] = {}  # order id -> when it was taken back into memory
        self.incidents = 0  # told by this process
        self._turn = Turn(at=datetime.min.replace(tzinfo=UTC))

    # --- Entrances -------------------------------------------------------------------------------

    def handle(self, event: Event, now: datetime) -> Turn:
        """Let one thing happen; return what to record and what to do."""
        self._turn = turn = Turn(at=now)
        match event:
            case FromVenue():
                account = self.accounts[event.exchange, event.account]
                self._from_venue(account, event.report, now)
            case Submit() | Archive() if self._replayed(event.ticket):
                problem = errors.problem(errors.AUTH_REPLAYED, "this signed request was received before")
                self._reply(event.token, problem)
            case Submit():
                self._submit(event, now, patient=True)
            case Archive():
                query = self._archive(event, now)
                self._reply(event.token, query)
            case Timer():
                self._timer(event.key, now)
        return turn

    def restore(self, unfinished: Unfinished, now: datetime) -> Turn:
        """Pick up what the store has not finished. Venues are reconciled before anything trades (R12)."""
        self._turn = turn = Turn(at=now)
        self.nonces = {(n.key_id, n.nonce): n.expires_at for n in unfinished.nonces}
        for query in unfinished.queries:
            self._remember(query)
            if query.result is not None and "waits_for" in query.result:
                self.cancels[query.query_id] = dict(query.result["waits_for"])  # type: ignore[call-overload]
        for parent in unfinished.parents:
            self._adopt_parent(parent)
        for order in sorted(unfinished.orders, key=lambda o: (o.parent_id, o.attempt)):
            seen_at = None if order.status in (Status.PENDING, Status.UNKNOWN) else now
            self._index(Child(order=order, lookup=Lookup(seen_at=seen_at)))
        for fill in unfinished.fills:
            self.fills.setdefault(fill.order_id, []).append(fill)
        for account in self.accounts.values():
            self._wake(("account", *account.key), now + timedelta(seconds=HOUSEKEEPING_S))
        return turn

    def strangers(self, event: Event) -> list[tuple[str, str, str]]:
        """Return (exchange, account, client order id) of reported orders of ours that are not in memory.

        Whoever has the store looks them up and has them recalled before the event is handled: an order may
        have ended long ago and live all the same, or get a fill of which nobody had heard.
        """
        if not isinstance(event, FromVenue):
            return []
        report = event.report
        named = report.orders if isinstance(report, OpenOrders) else (report,)
        ids = [r.client_order_id for r in named if isinstance(r, OrderStatus | FillReport)]
        return [
            (event.exchange, event.account, client_id)
            for client_id in ids
            if client_id is not None and self._is_ours(client_id) and client_id not in self.by_client_id
        ]

    def recall(self, order: Order, fills: Iterable[Fill], now: datetime) -> None:
        """Take an ended order back into memory for a while, so that late news finds it."""
        self._index(Child(order=order))
        self.fills[order.order_id] = list(fills)
        self.recalled[order.order_id] = now

    # --- Pictures for readers --------------------------------------------------------------------

    def orders_of_query(self, query_id: str) -> list[Order]:
        """Return the orders of a query, oldest first."""
        return [
            self.children[order_id].order
            for parent_id in self.parents_of.get(query_id, ())
            for order_id in self.orders_of.get(parent_id, ())
        ]

    def progress(self, query_id: str, now: datetime) -> dict[str, object] | None:
        """Return how far a working query is, derived from its orders."""
        for parent_id in self.parents_of.get(query_id, ()):
            parent = self.parents[parent_id]
            if parent.state in ENDED_PARENT:
                continue
            return self._parent_progress(parent, now)
        return None

    def _replayed(self, ticket: Ticket) -> bool:
        """Say whether a signed request was here before, and remember it."""
        nonce = ticket.nonce
        if nonce is None:
            return False
        key = (nonce.key_id, nonce.nonce)
        if key in self.nonces:
            return True
        self.nonces[key] = nonce.expires_at
        return False

    # --- Submissions -----------------------------------------------------------------------------

    def _submit(self, event: Submit, now: datetime, *, patient: bool) -> None:
        ticket = event.ticket
        known = self.keys.get((ticket.user, ticket.idempotency_key))
        if known is not None:
            self._answer_repeat(event, known)
            return
        for token, held in self.held.items():
            if token != event.token and (held.event.ticket.user, held.event.ticket.idempotency_key) == (
                ticket.user,
                ticket.idempotency_key,
            ):
                problem = errors.problem(
                    errors.ENGINE_BUSY, "the first request with this key is being judged"
                )
                self._reply(event.token, problem)
                return
        command = event.command
        match command:
            case CancelOrder() | CancelAllOrders():
                answer: Query | Problem | None = self._submit_cancel(event, command, now)
            case _:
                answer = self._submit_trade(event, command, now, patient)
        if answer is None:
            return  # held
        if isinstance(answer, Problem):
            if not ticket.dry_run and not answer.retry_safe:
                self._archive(
                    Archive(
                        query_id=event.query_id,
                        ticket=ticket,
                        verb=verb_of(command),
                        exchange=getattr(command, "exchange", None),
                        parameters=encode_command(command),
                        error=answer,
                    ),
                    now,
                )
            self._reply(event.token, answer)
        else:
            self._reply(event.token, answer)

    def _answer_repeat(self, event: Submit, query_id: str) -> None:
        if self.digests.get(query_id) != event.ticket.body_digest:
            text = "this idempotency key was used for a different request"
            self._reply(event.token, errors.problem(errors.IDEMPOTENCY_CONFLICT, text))
        else:
            self._reply(event.token, self.queries[query_id])

    def _submit_trade(
        self, event: Submit, command: MarketOrder | LimitOrder | SmartOrder, now: datetime, patient: bool
    ) -> Query | Problem | None:
        account = self.accounts.get((command.exchange, command.account))
        if account is None:
            return self._no_account(command.exchange, command.account)
        judged = admit(command, account, self._claims(account), now, patient=patient)
        if isinstance(judged, Problem):
            return judged
        if isinstance(judged, Need):
            self._hold(event, account, judged, now)
            return None
        if event.ticket.dry_run:
            return self._dry_run(event, account, judged, now)
        return self._start(event, account, judged, now)

    def _no_account(self, exchange: str, account: str) -> Problem:
        names = {name for name, _ in self.accounts}
        problem = exchange_problem(exchange, names)
        if problem is not None:
            return problem
        configured = sorted(a for name, a in self.accounts if name == exchange)
        return errors.problem(
            errors.EXCHANGE_UNKNOWN,
            f"account: {exchange} has no account {account!r} here; configured: {', '.join(configured)}",
            hint="Leave account out to use the default one.",
            details={"field": "account", "value": account},
        )

    def _hold(self, event: Submit, account: Account, need: Need, now: datetime) -> None:
        until = now + timedelta(seconds=LOOK_FIRST_S)
        self.held[event.token] = Held(
            event=event, until=until, balance_after=now if need.balances else None, symbols=need.books
        )
        if need.balances:
            self._send(account, QueryBalances())
        for symbol in sorted(need.books):
            self._watch(account, symbol, now)
        self._wake(("held", str(event.token)), until)

    def _retry_held(self, account: Account, now: datetime, *, symbol: str | None = None) -> None:
        """Judge waiting submissions again when what they wait for has come."""
        for token, held in list(self.held.items()):
            command = held.event.command
            if (getattr(command, "exchange", None), getattr(command, "account", None)) != account.key:
                continue
            if symbol is not None and symbol not in held.symbols:
                continue
            as_of = account.holdings.as_of
            balances_in = held.balance_after is None or (as_of is not None and as_of >= held.balance_after)
            books_in = all(classic.usable(account.books.get(s), now) for s in held.symbols)
            if balances_in and books_in:
                del self.held[token]
                self._submit(held.event, now, patient=held.balance_after is None)

    def _start(self, event: Submit, account: Account, plan: Plan, now: datetime) -> Query:
        ticket, command = event.ticket, event.command
        query = self._new_query(
            event.query_id, ticket, verb_of(command), account, encode_command(command), now
        )
        if ticket.nonce is not None:
            self._record(ticket.nonce)
        if not plan.hops:
            result: dict[str, object] = {
                "outcome": "nothing",
                "reason": plan.reason,
                "spent": "0",
                "received": "0",
            }
            return self._finish_query(query, QueryStatus.DONE, result, None, now)
        parent = Parent(
            parent_id=f"{query.query_id}.1",
            query_id=query.query_id,
            user=query.user,
            bot=query.bot,
            exchange=account.exchange,
            account=account.account,
            algo=plan.algo,
            hops=plan.hops,
            start_amount=plan.amount,
            time_limit=plan.time_limit,
            state=ParentState.WORKING,
            created_at=now,
            hop_started_at=now,
            arrival=plan.arrival,
        )
        self._save_query(query)
        self._adopt_parent(parent)
        self._record(parent)
        if plan.algo == "direct":
            self._place(
                parent,
                account,
                order_type=plan.order_type,
                time_in_force=plan.time_in_force,
                post_only=plan.post_only,
                quantity=plan.amount,
                price=plan.price,
                purpose="direct",
                reserved=plan.reserved,
                now=now,
            )
        else:
            for hop in plan.hops:
                self._watch(account, hop.symbol, now)
            self._work(parent.parent_id, now)
        return self.queries[query.query_id]

    def _dry_run(self, event: Submit, account: Account, plan: Plan, now: datetime) -> Query:
        query = self._make_query(
            event.query_id, event.ticket, verb_of(event.command), account, encode_command(event.command), now
        )
        result: dict[str, object] = {
            "dry_run": True,
            "path": [{"symbol": hop.symbol, "side": str(hop.side)} for hop in plan.hops],
            "amount": plain(plan.amount),
            "price": None if plan.price is None else plain(plan.price),
            "taking_at_once": plan.arrival or None,
            "outcome": "nothing",
            "reason": plan.reason or "dry run: nothing was recorded or sent",
        }
        return replace(query, status=QueryStatus.DONE, result=result, finished_at=now)

    def _archive(self, event: Archive, now: datetime) -> Query:
        """Record a query that never traded. It does not bind its idempotency key: nothing happened."""
        ticket = event.ticket
        query = Query(
            query_id=event.query_id,
            user=ticket.user,
            bot=ticket.bot,
            verb=event.verb,
            exchange=event.exchange,
            parameters=event.parameters,
            idempotency_key=f"{UNBOUND}{event.query_id}",
            body_digest=ticket.body_digest,
            record_in_db=ticket.record_in_db,
            send_fail_email=ticket.send_fail_email,
            mode=self._mode_of(event.exchange),
            status=QueryStatus.DONE if event.error is None else QueryStatus.FAILED,
            accepted_at=now,
            finished_at=now,
            result=event.result,
            error=event.error,
            seq=_micros(now),
        )
        if ticket.record_in_db:
            self._record(query)
        if ticket.nonce is not None:
            self._record(ticket.nonce)
        if event.error is not None:
            self._tell_failure(query, event.error, "No order was sent.", now)
        return query

    # --- Cancels ---------------------------------------------------------------------------------

    def _submit_cancel(
        self, event: Submit, command: CancelOrder | CancelAllOrders, now: datetime
    ) -> Query | Problem:
        ticket = event.ticket
        left: list[str] = []
        if isinstance(command, CancelOrder):
            if self._drop_held_key(ticket, command):
                found: list[Order] | Problem = []
            else:
                found = self._orders_named(ticket.user, command)
            if isinstance(found, Problem):
                return found
            orders = found
            exchange = orders[0].exchange if orders else None
        else:
            if command.exchange is not None and not any(
                name == command.exchange for name, _ in self.accounts
            ):
                return self._no_account(command.exchange, "default")
            exchange = command.exchange
            orders, left = self._orders_in_scope(ticket, command)
        account = next((a for a in self.accounts.values() if a.exchange == exchange), None)
        query = self._make_query(
            event.query_id, ticket, verb_of(command), account, encode_command(command), now
        )
        parents = []
        for parent_id in dict.fromkeys(o.parent_id for o in orders):
            parent = self.parents.get(parent_id)
            if parent is not None and parent.algo != "direct":
                parents.append(parent_id)
        if isinstance(command, CancelAllOrders):
            parents += [p for p in self._parents_in_scope(ticket, command) if p not in parents]
        if ticket.dry_run:
            result: dict[str, object] = {
                "dry_run": True,
                "would_cancel": [o.order_id for o in orders],
                "would_stop": parents,
                "left": left,
            }
            return replace(query, status=QueryStatus.DONE, result=result, finished_at=now)
        if ticket.nonce is not None:
            self._record(ticket.nonce)
        if isinstance(command, CancelAllOrders):
            self._drop_held(ticket, command)
        waits_for: dict[str, object] = {
            "orders": [o.order_id for o in orders],
            "parents": parents,
            "left": left,
        }
        query = replace(query, result={"waits_for": waits_for})
        self.cancels[query.query_id] = waits_for
        self._save_query(query)
        for parent_id in parents:
            self._stop_parent(parent_id, "canceled by its owner", now)
        for order in orders:
            self._child_event(order.order_id, AskCancel(), now)
        self._check_cancels(now)
        return self.queries[query.query_id]

    def _orders_named(self, user: str, command: CancelOrder) -> list[Order] | Problem:
        named = command.order_id or command.client_order_id
        if command.order_id is not None:
            child = self.children.get(command.order_id)
            orders = [child.order] if child is not None and child.order.user == user else []
        else:
            query_id = self.keys.get((user, command.client_order_id or ""))
            orders = self.orders_of_query(query_id) if query_id is not None else []
            if not orders:
                order_id = self.by_client_id.get(command.client_order_id or "")
                child = self.children.get(order_id) if order_id else None
                orders = [child.order] if child is not None and child.order.user == user else []
        if not orders:
            return errors.problem(errors.ORDER_NOT_FOUND, f"there is no open order {named!r} of yours")
        open_orders = [o for o in orders if o.phase is not Phase.SETTLED]
        parent = self.parents.get(orders[-1].parent_id)
        walking = parent is not None and parent.algo != "direct" and parent.state not in ENDED_PARENT
        if not open_orders and not walking:
            return errors.problem(
                errors.ORDER_CLOSED,
                f"order {named!r} has already ended: {orders[-1].status}",
                details={"status": str(orders[-1].status)},
            )
        return open_orders or [orders[-1]]

    def _orders_in_scope(self, ticket: Ticket, command: CancelAllOrders) -> tuple[list[Order], list[str]]:
        """Return the caller's open orders, and the ids of open orders of the same user that are left
        alone."""
        wanted, left = [], []
        for child in self.children.values():
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

    def _drop_held_key(self, ticket: Ticket, command: CancelOrder) -> bool:
        """Refuse the submission of this key while it is still being judged; say whether there was one."""
        for token, held in list(self.held.items()):
            waiting = held.event.ticket
            if (waiting.user, waiting.idempotency_key) == (ticket.user, command.client_order_id):
                if not ticket.dry_run:
                    del self.held[token]
                    text = "cancel_order came before this had started"
                    self._reply(token, errors.problem(errors.QUERY_CANCELED, text))
                return True
        return False

    def _drop_held(self, ticket: Ticket, command: CancelAllOrders) -> None:
        """Refuse what is still being judged: nothing asked for before a cancel-all starts after it."""
        for token, held in list(self.held.items()):
            waiting, asked = held.event.ticket, held.event.command
            mine = waiting.user == ticket.user and (command.scope == "user" or waiting.bot == ticket.bot)
            here = command.exchange in (None, getattr(asked, "exchange", None))
            if mine and here and command.symbol in (None, getattr(asked, "symbol", command.symbol)):
                del self.held[token]
                text = "cancel_all_orders came before this had started"
                self._reply(token, errors.problem(errors.QUERY_CANCELED, text))

    def _parents_in_scope(self, ticket: Ticket, command: CancelAllOrders) -> list[str]:
        return [
            p.parent_id
            for p in self.parents.values()
            if p.state not in ENDED_PARENT
            and p.algo != "direct"
            and p.user == ticket.user
            and (command.exchange is None or p.exchange == command.exchange)
            and (command.scope == "user" or p.bot == ticket.bot)
            and (command.symbol is None or p.hops[p.hop].symbol == command.symbol)
        ]

    def _check_cancels(self, now: datetime) -> None:
        """Finish the cancel queries whose orders and parents have all ended."""
        for query_id, waits_for in list(self.cancels.items()):
            order_ids: list[str] = list(waits_for["orders"])  # type: ignore[call-overload]
            parent_ids: list[str] = list(waits_for["parents"])  # type: ignore[call-overload]
            children = [self.children[i] for i in order_ids if i in self.children]
            if any(c.order.phase is not Phase.SETTLED for c in children):
                continue
            if any(self.parents[p].state not in ENDED_PARENT for p in parent_ids if p in self.parents):
                continue
            del self.cancels[query_id]
            ended: dict[str, list[str]] = {"canceled": [], "filled": [], "other": []}
            for child in children:
                status = child.order.status
                where = {Status.CANCELED: "canceled", Status.FILLED: "filled"}.get(status, "other")
                ended[where].append(child.order.order_id)
            query = self.queries[query_id]
            result = {**ended, "stopped": parent_ids, "left": waits_for["left"]}
            self._finish_query(query, QueryStatus.DONE, result, None, now)

    # --- Reports from venues ---------------------------------------------------------------------

    def _from_venue(self, account: Account, report: object, now: datetime) -> None:
        match report:
            case BookUpdate():
                self._book(account, report, now)
            case FillReport():
                order_id = self._find(account, report)
                if order_id is not None:
                    self._child_event(order_id, report, now)
            case OrderStatus():
                order_id = self._find(account, report)
                if order_id is not None:
                    self._child_event(order_id, report, now)
            case Rejected():
                self._rejected(account, report, now)
            case Acked() | CancelAcked() | CancelRefused() | OutcomeUnknown() | TradesAnswer():
                if report.order_id in self.children:
                    self._child_event(report.order_id, report, now)
            case LookupFailed():
                self._lookup_failed(account, report, now)
            case Balances():
                self._balances(account, report, now)
            case OpenOrders():
                self._open_orders(account, report, now)
            case MarketsLoaded():
                account.markets = {m.symbol: m for m in report.markets if isinstance(m, Market)}
            case StreamUp():
                self._contact(account, now)
            case StreamDown():
                account.trouble = report.message
            case _:
                raise AssertionError(f"unknown report {report!r}")

    def _find(self, account: Account, report: FillReport | OrderStatus) -> str | None:
        """Find our order behind a report of a stream or a list; None for one that is not ours."""
        if report.order_id is not None:
            return report.order_id if report.order_id in self.children else None
        client_id, exchange_id = report.client_order_id, report.exchange_order_id
        if client_id and client_id in self.by_client_id:
            return self.by_client_id[client_id]
        if not exchange_id or (client_id and not self._is_ours(client_id)):
            return None
        if report.symbol is not None:
            return self.by_exchange_id.get((*account.key, report.symbol, exchange_id))
        for (exchange, name, _, known_id), order_id in self.by_exchange_id.items():
            if (exchange, name, known_id) == (*account.key, exchange_id):
                return order_id
        return None

    def _book(self, account: Account, report: BookUpdate, now: datetime) -> None:
        account.books[report.symbol] = report
        if self.held:
            self._retry_held(account, now, symbol=report.symbol)
        for parent in list(self.parents.values()):
            if (
                parent.state is ParentState.WAITING
                and (parent.exchange, parent.account) == account.key
                and parent.hops[parent.hop].symbol == report.symbol
            ):
                self._work(parent.parent_id, now)

    def _contact(self, account: Account, now: datetime) -> None:
        """The stream is up: nothing is believed until open orders and balances have been read (R11, R12)."""
        account.readiness = Readiness.RECONCILING
        account.trouble = "reconciling"
        account.since = now
        account.awaits = {"open_orders", "balances"}
        self._send(account, QueryOpenOrders())
        self._send(account, QueryBalances())
        for child in list(self.children.values()):
            order = child.order
            if (order.exchange, order.account) == account.key and order.phase is not Phase.SETTLED:
                self._child_event(order.order_id, Doubted(), now)

    def _reconciled(self, account: Account, what: str, sent_at: datetime, now: datetime) -> None:
        if account.readiness is not Readiness.RECONCILING or account.since is None or sent_at < account.since:
            return
        account.awaits.discard(what)
        if account.awaits:
            return
        account.readiness = Readiness.READY
        account.ready_at = now
        account.trouble = ""
        self._publish("account", f"{account.exchange}/{account.account}", {"readiness": "ready"})
        for parent in list(self.parents.values()):
            if (parent.exchange, parent.account) == account.key and parent.state not in ENDED_PARENT:
                for hop in parent.hops[parent.hop :]:
                    self._watch(account, hop.symbol, now)
                self._work(parent.parent_id, now)

    def _balances(self, account: Account, report: Balances, now: datetime) -> None:
        account.holdings.refresh(report, self._held_by_orders(account))
        self._reconciled(account, "balances", report.query_sent_at, now)
        self._retry_held(account, now)
        for parent_id, run in list(self.runs.items()):
            parent = self.parents[parent_id]
            if (parent.exchange, parent.account) != account.key or run.balance_after is None:
                continue
            if report.query_sent_at >= run.balance_after:
                run.balance_after = None
                run.free = report.free.get(parent.hops[parent.hop].source, ZERO)
                self._work(parent_id, now)

    def _open_orders(self, account: Account, report: OpenOrders, now: datetime) -> None:
        for status in report.orders:
            order_id = self._find(account, status)
            if order_id is not None:
                self._child_event(order_id, replace(status, query_sent_at=report.query_sent_at), now)
            elif self._is_ours(status.client_order_id):
                self._adopt_order(account, status, now)
        self._reconciled(account, "open_orders", report.query_sent_at, now)

    def _lookup_failed(self, account: Account, report: LookupFailed, now: datetime) -> None:
        if report.order_id is not None and report.order_id in self.children:
            self._child_event(report.order_id, report, now)
        elif report.request in ("balances", "open_orders"):
            if account.readiness is Readiness.RECONCILING:
                account.trouble = f"reconciling: {report.message}"
            self._wake(("ask", report.request, *account.key), now + timedelta(seconds=RETRY_S))

    def _rejected(self, account: Account, report: Rejected, now: datetime) -> None:
        child = self.children.get(report.order_id)
        if child is None:
            return
        before = child.order
        run = self.runs.get(before.parent_id)
        after_step = step(child, report, now, account.patience)
        rejected = after_step.child.order.status is Status.REJECTED and before.phase is not Phase.SETTLED
        if rejected and run is not None:
            self._learn_refusal(account, before, report, run, now)
        self._after_step(account, after_step, now)

    def _learn_refusal(
        self, account: Account, order: Order, report: Rejected, run: Run, now: datetime
    ) -> None:
        """Decide what a parent does about a venue's no; `_work` then goes on from there."""
        parent = self.parents[order.parent_id]
        hop = parent.hops[order.hop]
        refusal = report.refusal
        if refusal is Refusal.INSUFFICIENT_FUNDS and parent.algo != "direct":
            run.funds_refusals += 1
            run.refused_quantity = order.quantity  # never the same quantity twice
            run.balance_after = now
            account.funds_refused(hop.source, hop.side)
            self._send(account, QueryBalances())
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
        return errors.problem(
            code,
            f"{order.exchange} refused an order of {plain(order.quantity)} {order.symbol}: {report.message}",
            venue_code=report.venue_code,
            venue_message=report.message,
            details={"refusal": str(report.refusal), "order_id": order.order_id},
        )

    # --- Children --------------------------------------------------------------------------------

    def _child_event(self, order_id: str, event: ChildEvent, now: datetime) -> None:
        child = self.children[order_id]
        account = self.accounts[child.order.exchange, child.order.account]
        self._after_step(account, step(child, event, now, account.patience), now)

    def _after_step(self, account: Account, done: Step, now: datetime) -> None:
        before = self.children[done.child.order.order_id].order
        order = done.child.order
        self.children[order.order_id] = done.child
        if order.exchange_order_id is not None:
            self.by_exchange_id[(*account.key, order.symbol, order.exchange_order_id)] = order.order_id
        for entry in done.entries:
            self._record(entry)
        market = account.markets.get(order.symbol)
        for report in done.fills:
            fill = fill_record(order, report)
            self.fills.setdefault(order.order_id, []).append(fill)
            self._record(fill)
            if market is not None:
                account.holdings.book(report, market.base, market.quote)
        if done.entries:
            self._record(order)
            self._turn.touched.add(order.query_id)
        for action in done.actions:
            self._send(account, self._request(order, action))
        if done.wake_at is not None:
            self._wake(("order", order.order_id), done.wake_at)
        for incident in done.incidents:
            self._tell_incident(order, incident, now)
            self._freeze(order, done, incident)
        if done.entries and order is not before:
            self._order_changed(account, before, order, now)

    def _freeze(self, order: Order, done: Step, incident: str) -> None:
        """R5: a parent whose order was denied and lives after all places nothing more; people decide."""
        parent = self.parents.get(order.parent_id)
        if done.child.lookup.haunted and parent is not None and parent.state not in ENDED_PARENT:
            run = self.runs.setdefault(parent.parent_id, Run())
            run.problem = errors.problem(errors.VENUE_INCONSISTENT, f"{order.exchange}: {incident}")
            self._work(parent.parent_id, self._turn.at)

    @staticmethod
    def _request(order: Order, action: Do) -> Request:
        if action is Do.TRADES:
            return QueryTrades(
                order_id=order.order_id,
                client_order_id=order.client_order_id,
                exchange_order_id=order.exchange_order_id,
                symbol=order.symbol,
                since=order.sent_at or order.created_at,
            )
        kind = QueryOrder if action is Do.LOOK else CancelRequest
        return kind(
            order_id=order.order_id,
            client_order_id=order.client_order_id,
            exchange_order_id=order.exchange_order_id,
            symbol=order.symbol,
        )

    def _order_changed(self, account: Account, before: Order, order: Order, now: datetime) -> None:
        parent = self.parents.get(order.parent_id)
        if parent is None:
            return
        if (
            order.phase is Phase.SETTLED
            and before.phase is not Phase.SETTLED
            and order.filled_quantity > ZERO
        ):
            hop = parent.hops[order.hop]
            account.order_was_clean(hop.source, hop.side)
            run = self.runs.get(parent.parent_id)
            if run is not None:
                run.funds_refusals = run.rate_refusals = 0
                run.refused_quantity = run.free = None
        self._work(parent.parent_id, now)
        if order.phase is Phase.SETTLED:
            self._check_cancels(now)

    def _place(
        self,
        parent: Parent,
        account: Account,
        *,
        order_type: OrderType,
        time_in_force: TimeInForce,
        post_only: bool,
        quantity: Decimal,
        price: Decimal | None,
        purpose: str,
        reserved: Decimal,
        now: datetime,
    ) -> None:
        """Write the intent of one order and send it: one turn, one transaction, then the socket."""
        siblings = self.orders_of[parent.parent_id]
        attempt = len(siblings) + 1
        hop = parent.hops[parent.hop]
        order_id = f"{parent.parent_id}.{attempt}"
        order = Order(
            order_id=order_id,
            query_id=parent.query_id,
            parent_id=parent.parent_id,
            user=parent.user,
            bot=parent.bot,
            exchange=account.exchange,
            account=account.account,
            symbol=hop.symbol,
            side=hop.side,
            order_type=order_type,
            time_in_force=time_in_force,
            post_only=post_only,
            quantity=quantity,
            price=price,
            client_order_id=client_order_id(self.mark, order_id, account.id_style),
            created_at=now,
            purpose=purpose,
            hop=parent.hop,
            attempt=attempt,
            reserved=reserved,
        )
        self._record(created(order))
        child = Child(order=order)
        self._index(child)
        sent = step(child, Sent(), now, account.patience)
        order = sent.child.order
        self.children[order_id] = sent.child
        for entry in sent.entries:
            self._record(entry)
        self._record(order)
        self._turn.touched.add(order.query_id)
        self._send(
            account,
            NewOrder(
                order_id=order_id,
                client_order_id=order.client_order_id,
                symbol=order.symbol,
                side=order.side,
                order_type=order_type,
                quantity=quantity,
                price=price,
                time_in_force=time_in_force,
                post_only=post_only,
            ),
        )
        assert sent.wake_at is not None
        self._wake(("order", order_id), sent.wake_at)

    # --- Parents ---------------------------------------------------------------------------------

    def _work(self, parent_id: str, now: datetime) -> None:
        """Let a parent decide, until it has nothing more to decide now."""
        parent = self.parents[parent_id]
        if parent.state in ENDED_PARENT:
            return
        account = self.accounts[parent.exchange, parent.account]
        run = self.runs.setdefault(parent_id, Run())
        orders = [self.children[i].order for i in self.orders_of[parent_id]]
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
        self._watch(account, market.symbol, now)
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
                self._child_event(cancel.order_id, AskCancel(), now)
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
        self._set_parent(replace(parent, state=ParentState.WORKING))
        run.note = ""
        self._place(
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
        self._work(parent.parent_id, now)  # now it waits for its order

    def _haircut(self, account: Account, parent: Parent) -> Decimal:
        """Return the share left over for the venue's rounding; .99999 of a sale of everything there is."""
        hop = parent.hops[parent.hop]
        haircut = account.haircut(hop.source, hop.side)
        if hop.side is Side.SELL and parent.hop == 0:
            everything = account.holdings.usable(hop.source)
            orders = [self.children[i].order for i in self.orders_of[parent.parent_id]]
            if ledger.budget(parent, orders) >= everything:
                haircut = max(haircut, HAIRCUTS[1])
        return haircut

    def _work_direct(self, parent: Parent, order: Order, run: Run, now: datetime) -> None:
        """One order as the caller gave it: its query is answered when the venue has it, or has ended it."""
        query = self.queries.get(parent.query_id)  # None: purged while its order still rested
        if order.phase is Phase.SETTLED:
            self.runs.pop(parent.parent_id, None)
            reason = str(order.status)
            state = ParentState.ABORTED if order.status is Status.REJECTED else ParentState.DONE
            self._set_parent(replace(parent, state=state, reason=reason, closed_at=now))
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
        self._finish_query(query, status, result, problem, now)

    def _wait(self, parent: Parent, run: Run, why: str, until: datetime, now: datetime) -> None:
        waiting = why.startswith(("waiting for", "the venue"))
        state = ParentState.WAITING if waiting else ParentState.WORKING
        if parent.state is not state:
            self._set_parent(replace(parent, state=state))
        run.note = why
        self._wake(("parent", parent.parent_id), max(until, now))

    def _next_hop(self, parent: Parent, orders: list[Order], now: datetime) -> None:
        if parent.hop + 1 < len(parent.hops) and self._received(parent, orders, parent.hop) > ZERO:
            moved = replace(parent, hop=parent.hop + 1, hop_started_at=now, state=ParentState.WORKING)
            self._set_parent(moved)
            run = self.runs[parent.parent_id]
            run.refused_quantity = run.free = None
            run.funds_refusals = 0
            self._work(parent.parent_id, now)
            return
        left = ledger.budget(parent, orders)
        state = ParentState.DUST_DONE if left > ZERO else ParentState.DONE
        self._finish_parent(parent, orders, state, None, now)

    @staticmethod
    def _received(parent: Parent, orders: list[Order], hop: int) -> Decimal:
        return ledger.received((o for o in orders if o.hop == hop), parent.hops[hop].target)

    def _stop_parent(self, parent_id: str, why: str, now: datetime) -> None:
        parent = self.parents[parent_id]
        if parent.state in ENDED_PARENT or parent.state is ParentState.CANCELLING:
            return
        parent = replace(parent, state=ParentState.CANCELLING, reason=why)
        self._set_parent(parent)
        self._work(parent_id, now)

    def _wind_down(self, parent: Parent, orders: list[Order], run: Run, now: datetime) -> None:
        """Stop: cancel what is out, wait until it has settled, then end the parent."""
        out = [o for o in orders if o.phase is not Phase.SETTLED]
        asked = [o for o in out if o.asked is Asked.NOTHING]
        if asked:
            for order in asked:
                self._child_event(order.order_id, AskCancel(), now)
            return
        if out:
            return
        self._finish_parent(parent, orders, ParentState.ABORTED, run.problem, now)

    def _finish_parent(
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
        self._set_parent(parent)
        self.runs.pop(parent.parent_id, None)
        body = tca.result(parent, orders, outcome=outcome, reason=reason, now=now)
        status = QueryStatus.DONE if problem is None else QueryStatus.FAILED
        self._finish_query(self.queries[parent.query_id], status, body, problem, now)
        self._send(self.accounts[parent.exchange, parent.account], QueryBalances())
        self._check_cancels(now)

    def _parent_progress(self, parent: Parent, now: datetime) -> dict[str, object]:
        orders = [self.children[i].order for i in self.orders_of[parent.parent_id]]
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
            "note": self.runs[parent.parent_id].note if parent.parent_id in self.runs else "",
        }

    @staticmethod
    def _phase_word(parent: Parent, out: Order | None) -> str:
        if parent.state is ParentState.WAITING:
            return "waiting"
        if out is None or out.phase in (Phase.UNKNOWN, Phase.PENDING_CANCEL):
            return "settling"
        return "taking" if out.purpose == "take" else "making"

    # --- Time ------------------------------------------------------------------------------------

    def _timer(self, key: tuple[str, ...], now: datetime) -> None:
        match key:
            case ("order", order_id):
                child = self.children.get(order_id)
                if child is not None and (child.order.phase is not Phase.SETTLED or child.lookup.haunted):
                    self._child_event(order_id, Tick(), now)
            case ("parent", parent_id):
                if parent_id in self.parents:
                    self._work(parent_id, now)
            case ("held", token):
                held = self.held.pop(int(token), None)
                if held is not None:
                    self._submit(held.event, now, patient=False)
            case ("ask", "balances", exchange, account):
                self._send(self.accounts[exchange, account], QueryBalances())
            case ("ask", "open_orders", exchange, account):
                self._send(self.accounts[exchange, account], QueryOpenOrders())
            case ("account", exchange, account):
                self._housekeep(self.accounts[exchange, account], now)
            case _:
                raise AssertionError(f"unknown timer {key!r}")

    def _housekeep(self, account: Account, now: datetime) -> None:
        self._wake(("account", *account.key), now + timedelta(seconds=HOUSEKEEPING_S))
        if account.readiness is Readiness.READY:
            self._send(account, QueryBalances())
            self._send(account, QueryOpenOrders())
        busy = {h.symbol for p in self.parents.values() if p.state not in ENDED_PARENT for h in p.hops}
        for symbol, needed_at in list(account.watched.items()):
            if symbol not in busy and (now - needed_at).total_seconds() > WATCH_IDLE_S:
                del account.watched[symbol]
                account.books.pop(symbol, None)
                self._send(account, UnwatchBook(symbol=symbol))
        self.nonces = {key: expires for key, expires in self.nonces.items() if expires >= now - NONCE_KEPT}
        self._evict(now)

    def _evict(self, now: datetime) -> None:
        """Drop ended work from memory once no late news is expected; the store keeps it."""
        for query_id, query in list(self.queries.items()):
            if query.status is QueryStatus.WORKING or query.finished_at is None:
                continue
            if (now - query.finished_at).total_seconds() < KEEP_ENDED_S:
                continue
            parent_ids = self.parents_of.get(query_id, [])
            if any(self.parents[p].state not in ENDED_PARENT for p in parent_ids):
                continue  # a resting limit order outlives its query
            order_ids = [order_id for p in parent_ids for order_id in self.orders_of[p]]
            if any(self.children[order_id].lookup.haunted for order_id in order_ids):
                continue
            if any(
                (now - (self.parents[p].closed_at or now)).total_seconds() < KEEP_ENDED_S for p in parent_ids
            ):
                continue
            for parent_id in self.parents_of.pop(query_id, []):
                del self.parents[parent_id]
                self.runs.pop(parent_id, None)
                for order_id in self.orders_of.pop(parent_id):
                    self._forget_order(order_id)
            del self.queries[query_id]
            self.keys.pop((query.user, query.idempotency_key), None)
            self.digests.pop(query_id, None)

        for order_id, since in list(self.recalled.items()):
            if (now - since).total_seconds() > KEEP_ENDED_S and not self.children[order_id].lookup.haunted:
                del self.recalled[order_id]
                self.orders_of.pop(self.children[order_id].order.parent_id, None)
                self._forget_order(order_id)

    def _forget_order(self, order_id: str) -> None:
        order = self.children.pop(order_id).order
        self.fills.pop(order_id, None)
        self.by_client_id.pop(order.client_order_id, None)
        if order.exchange_order_id is not None:
            key = (order.exchange, order.account, order.symbol, order.exchange_order_id)
            self.by_exchange_id.pop(key, None)

    # --- Orders that carry our mark but are not in our ledger --------------------------------------

    def _is_ours(self, client_id: str | None) -> bool:
        return client_id is not None and client_id.replace("-", "").startswith(self.mark)

    def _adopt_order(self, account: Account, status: OrderStatus, now: datetime) -> None:
        """Take in an open order of ours that the ledger lacks (an old backup): cancel it, import its
        fills."""
        market = account.markets.get(status.symbol or "")
        if market is None or status.client_order_id is None:
            return
        query_id = f"adopted-{status.client_order_id}"
        query = Query(
            query_id=query_id,
            user=ADOPTER,
            bot=ADOPTER,
            verb="adopt_order",
            exchange=account.exchange,
            parameters={"client_order_id": status.client_order_id, "symbol": market.symbol},
            idempotency_key=query_id,
            body_digest="",
            record_in_db=True,
            send_fail_email=True,
            mode=account.mode,
            status=QueryStatus.WORKING,
            accepted_at=now,
            seq=_micros(now),
        )
        side = status.side or Side.BUY
        buys = side is Side.BUY
        hop = Hop(
            symbol=market.symbol,
            side=side,
            source=market.quote if buys else market.base,
            target=market.base if buys else market.quote,
        )
        parent = Parent(
            parent_id=f"{query_id}.1",
            query_id=query_id,
            user=ADOPTER,
            bot=ADOPTER,
            exchange=account.exchange,
            account=account.account,
            algo="direct",
            hops=(hop,),
            start_amount=ZERO,
            time_limit=ZERO,
            state=ParentState.CANCELLING,
            created_at=now,
            hop_started_at=now,
        )
        order = Order(
            order_id=f"{parent.parent_id}.1",
            query_id=query_id,
            parent_id=parent.parent_id,
            user=ADOPTER,
            bot=ADOPTER,
            exchange=account.exchange,
            account=account.account,
            symbol=market.symbol,
            side=side,
            order_type=OrderType.LIMIT,
            time_in_force=TimeInForce.GTC,
            post_only=False,
            quantity=status.quantity or market.max_quantity or Decimal(10) ** 12,
            price=None,
            client_order_id=status.client_order_id,
            created_at=now,
            purpose="direct",
            attempt=1,
        )
        self._save_query(query)
        self._adopt_parent(parent)
        self._record(parent)
        self._record(created(order))
        self._index(Child(order=order))
        self._child_event(order.order_id, Sent(), now)
        self._child_event(order.order_id, status, now)
        self._child_event(order.order_id, AskCancel(), now)
        self._tell_incident(
            order, "an open order with our mark was missing from the ledger; it is being cancelled", now
        )

    # --- Letters to people -------------------------------------------------------------------------

    def _tell_failure(self, query: Query, problem: Problem, done: str, now: datetime) -> None:
        if not query.send_fail_email:
            return
        why = f"{problem.code}: {problem.message}"
        if problem.venue_message:
            why += f" (the exchange said: {problem.venue_code or ''} {problem.venue_message})"
        where = f" on {query.exchange}" if query.exchange else ""
        self._record(
            Notice(
                notice_id=f"{query.query_id}-failed",
                query_id=query.query_id if query.record_in_db else None,
                severity="error",
                subject=f"{query.verb}{where} failed: {problem.code}",
                failed=f"{query.verb}{where} of bot {query.bot} (user {query.user}), query {query.query_id}",
                why=why,
                done=done,
                todo=problem.hint,
                created_at=now,
                group=f"{query.user}/{query.bot}/{query.verb}/{problem.code}",
            )
        )

    def _tell_incident(self, order: Order, incident: str, now: datetime) -> None:
        self.incidents += 1
        self._publish("incident", order.order_id, {"incident": incident})
        self._record(
            Notice(
                notice_id=f"{order.order_id}-{_micros(now)}-{self.incidents}",
                query_id=order.query_id,
                severity="critical",
                subject=f"incident on {order.exchange}: order {order.order_id}",
                failed=f"order {order.order_id} ({order.side} {order.symbol} on {order.exchange})",
                why=incident,
                done="What the exchange reported was booked as it is; nothing was sent again.",
                todo="Compare the account at the exchange with get_balances and get_order before trading on.",
                created_at=now,
                group=f"incident/{order.exchange}",
            )
        )

    # --- Bookkeeping -------------------------------------------------------------------------------

    def _make_query(
        self,
        query_id: str,
        ticket: Ticket,
        verb: str,
        account: Account | None,
        parameters: dict[str, object],
        now: datetime,
    ) -> Query:
        return Query(
            query_id=query_id,
            user=ticket.user,
            bot=ticket.bot,
            verb=verb,
            exchange=account.exchange if account is not None else None,
            parameters=parameters,
            idempotency_key=ticket.idempotency_key,
            body_digest=ticket.body_digest,
            record_in_db=ticket.record_in_db,
            send_fail_email=ticket.send_fail_email,
            mode=account.mode if account is not None else self._mode_of(None),
            status=QueryStatus.WORKING,
            accepted_at=now,
            seq=_micros(now),
        )

    def _new_query(
        self,
        query_id: str,
        ticket: Ticket,
        verb: str,
        account: Account,
        parameters: dict[str, object],
        now: datetime,
    ) -> Query:
        query = self._make_query(query_id, ticket, verb, account, parameters, now)
        self._remember(query)
        return query

    def _remember(self, query: Query) -> None:
        self.queries[query.query_id] = query
        self.digests[query.query_id] = query.body_digest
        self.keys[query.user, query.idempotency_key] = query.query_id
        if len(self.keys) > KEYS_KEPT:
            self.keys.popitem(last=False)

    def _save_query(self, query: Query) -> None:
        self._remember(query)
        self._record(query)
        self._turn.touched.add(query.query_id)

    def _finish_query(
        self,
        query: Query,
        status: QueryStatus,
        result: dict[str, object],
        problem: Problem | None,
        now: datetime,
    ) -> Query:
        if problem is not None:
            # Its key is bound and some of it may have been traded: sending it again is never the answer.
            problem = replace(problem, retry_safe=False)
        query = replace(query, status=status, result=result, error=problem, finished_at=now, seq=_micros(now))
        self._save_query(query)
        if problem is not None:
            spent_text = f"Done until then: {result.get('outcome', result.get('status', 'nothing'))}."
            self._tell_failure(query, problem, spent_text + " Open orders of it were cancelled.", now)
        self._publish("query", query.query_id, {"status": str(status)})
        return query

    def _adopt_parent(self, parent: Parent) -> None:
        self.parents[parent.parent_id] = parent
        self.orders_of.setdefault(parent.parent_id, [])
        self.runs[parent.parent_id] = Run()
        parents = self.parents_of.setdefault(parent.query_id, [])
        if parent.parent_id not in parents:
            parents.append(parent.parent_id)

    def _index(self, child: Child) -> None:
        order = child.order
        self.children[order.order_id] = child
        self.orders_of.setdefault(order.parent_id, []).append(order.order_id)
        self.by_client_id[order.client_order_id] = order.order_id
        if order.exchange_order_id is not None:
            key = (order.exchange, order.account, order.symbol, order.exchange_order_id)
            self.by_exchange_id[key] = order.order_id

    def _set_parent(self, parent: Parent) -> None:
        self.parents[parent.parent_id] = parent
        self._record(parent)
        self._turn.touched.add(parent.query_id)

    def _claims(self, account: Account) -> dict[str, Decimal]:
        """Return what work in progress may still spend, by currency."""
        claims: dict[str, Decimal] = {}
        for parent in self.parents.values():
            if parent.state in ENDED_PARENT or (parent.exchange, parent.account) != account.key:
                continue
            orders = [self.children[i].order for i in self.orders_of[parent.parent_id]]
            source = parent.hops[parent.hop].source
            if parent.algo == "direct":
                amount = ledger.committed(orders)
            else:
                amount = ledger.budget(parent, orders)
            claims[source] = claims.get(source, ZERO) + max(amount, ZERO)
        return claims

    def _held_by_orders(self, account: Account) -> dict[str, Decimal]:
        """Return what the venue holds for our open orders, by currency."""
        held: dict[str, Decimal] = {}
        for child in self.children.values():
            order = child.order
            if order.phase is Phase.SETTLED or (order.exchange, order.account) != account.key:
                continue
            hop = self.parents[order.parent_id].hops[order.hop]
            held[hop.source] = held.get(hop.source, ZERO) + ledger.committed([order])
        return held

    def _watch(self, account: Account, symbol: str, now: datetime) -> None:
        if symbol not in account.watched:
            self._send(account, WatchBook(symbol=symbol))
        account.watched[symbol] = now

    def _mode_of(self, exchange: str | None) -> str:
        modes = {a.mode for a in self.accounts.values() if exchange is None or a.exchange == exchange}
        return "live" if "live" in modes else "paper"

    def _record(self, record: Record) -> None:
        self._turn.records.append(record)

    def _send(self, account: Account, request: Request) -> None:
        self._turn.effects.append(Send(exchange=account.exchange, account=account.account, request=request))

    def _wake(self, key: tuple[str, ...], at: datetime) -> None:
        self._turn.effects.append(Wake(key=key, at=at))

    def _reply(self, token: int | None, answer: object) -> None:
        if token is None:
            return  # nobody waits
        self._turn.effects.append(Reply(token=token, answer=answer))

    def _publish(self, topic: str, key: str, body: dict[str, object]) -> None:
        self._turn.effects.append(Publish(topic=topic, key=key, body=body))


def client_order_id(mark: str, order_id: str, style: str) -> str:
    """Return the id a venue knows our order by: uuid4-shaped, from the order id alone, starting with our
    mark (R2).

    A dashed uuid satisfies every venue of VENUES.md 1.3 but OKX, which wants the 32 hex digits.
    """
    digest = hashlib.sha256(order_id.encode()).hexdigest()
    bits = mark + digest[8:12] + "4" + digest[13:16] + "a" + digest[17:32]
    if style == "hex32":
        return bits
    return f"{bits[:8]}-{bits[8:12]}-{bits[12:16]}-{bits[16:20]}-{bits[20:]}"


def _micros(now: datetime) -> int:
    return int(now.timestamp() * 1_000_000)
