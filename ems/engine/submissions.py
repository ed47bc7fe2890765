"""Submissions: repeats recognised, looked at before they are refused, started or archived."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from ems.algos import classic
from ems.core import errors
from ems.core.codec import encode_command, plain, verb_of
from ems.core.messages import (
    Archive,
    CancelAllOrders,
    CancelOrder,
    LimitOrder,
    MarketOrder,
    Problem,
    QueryBalances,
    SmartOrder,
    Submit,
    Ticket,
)
from ems.core.records import (
    Parent,
    ParentState,
    Query,
    QueryStatus,
)
from ems.engine.account import Account
from ems.engine.admission import Need, Plan, admit
from ems.engine.cancels import Cancels
from ems.engine.orders import Orders
from ems.engine.parents import Parents
from ems.engine.queries import Queries, micros
from ems.engine.turn import Out
from ems.engine.waiting import Held, Waiting
from ems.engine.work import Work

ZERO = Decimal(0)


LOOK_FIRST_S = 5.0  # a submission waits this long for a balance or a book, then it is judged on what is known
NONCE_KEPT = timedelta(seconds=30)  # past its expiry: no server accepts it any more by then
UNBOUND = "unbound:"  # starts the key of a query that does not hold its caller's idempotency key


class Submissions:
    """The way in for commands."""

    def __init__(
        self,
        out: Out,
        work: Work,
        queries: Queries,
        orders: Orders,
        parents: Parents,
        cancels: Cancels,
        waiting: Waiting,
    ):
        self._out = out
        self._work = work
        self._queries = queries
        self._orders = orders
        self._parents = parents
        self._cancels = cancels
        self._waiting = waiting
        self.nonces: dict[tuple[str, str], datetime] = {}  # (key id, nonce) -> when it expires

    def replayed(self, ticket: Ticket) -> bool:
        """Say whether a signed request was here before, and remember it."""
        nonce = ticket.nonce
        if nonce is None:
            return False
        key = (nonce.key_id, nonce.nonce)
        if key in self.nonces:
            return True
        self.nonces[key] = nonce.expires_at
        return False

    def submit(self, event: Submit, now: datetime, *, patient: bool) -> None:
        ticket = event.ticket
        known = self._work.keys.get((ticket.user, ticket.idempotency_key))
        if known is not None:
            self._answer_repeat(event, known)
            return
        for token, held in self._waiting.held.items():
            if token != event.token and (held.event.ticket.user, held.event.ticket.idempotency_key) == (
                ticket.user,
                ticket.idempotency_key,
            ):
                problem = errors.problem(
                    errors.ENGINE_BUSY, "the first request with this key is being judged"
                )
                self._out.reply(event.token, problem)
                return
        command = event.command
        match command:
            case CancelOrder() | CancelAllOrders():
                answer: Query | Problem | None = self._cancels.submit(event, command, now)
            case _:
                answer = self._submit_trade(event, command, now, patient)
        if answer is None:
            return  # held
        if isinstance(answer, Problem):
            if not ticket.dry_run and not answer.retry_safe:
                answer = replace(answer, details={**answer.details, "query_id": event.query_id})
                self.archive(
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
        self._out.reply(event.token, answer)

    def _answer_repeat(self, event: Submit, query_id: str) -> None:
        if self._work.digests.get(query_id) != event.ticket.body_digest:
            text = "this idempotency key was used for a different request"
            self._out.reply(event.token, errors.problem(errors.IDEMPOTENCY_CONFLICT, text))
        else:
            self._out.reply(event.token, self._work.queries[query_id])

    def _submit_trade(
        self, event: Submit, command: MarketOrder | LimitOrder | SmartOrder, now: datetime, patient: bool
    ) -> Query | Problem | None:
        account = self._work.accounts.get((command.exchange, command.account))
        if account is None:
            return self._work.no_account(command.exchange, command.account)
        judged = admit(command, account, self._work.claims(account), now, patient=patient)
        if isinstance(judged, Problem):
            return judged
        if isinstance(judged, Need):
            self._hold(event, account, judged, now)
            return None
        if event.ticket.dry_run:
            return self._dry_run(event, account, judged, now)
        return self._start(event, account, judged, now)

    def _hold(self, event: Submit, account: Account, need: Need, now: datetime) -> None:
        until = now + timedelta(seconds=LOOK_FIRST_S)
        self._waiting.held[event.token] = Held(
            event=event, until=until, balance_after=now if need.balances else None, symbols=need.books
        )
        if need.balances:
            self._out.send(account, QueryBalances())
        for symbol in sorted(need.books):
            self._out.watch(account, symbol, now)
        self._out.wake(("held", str(event.token)), until)

    def retry_held(self, account: Account, now: datetime, *, symbol: str | None = None) -> None:
        """Judge waiting submissions again when what they wait for has come."""
        for token, held in list(self._waiting.held.items()):
            command = held.event.command
            if (getattr(command, "exchange", None), getattr(command, "account", None)) != account.key:
                continue
            if symbol is not None and symbol not in held.symbols:
                continue
            as_of = account.holdings.as_of
            balances_in = held.balance_after is None or (as_of is not None and as_of >= held.balance_after)
            books_in = all(classic.usable(account.books.get(s), now) for s in held.symbols)
            if balances_in and books_in:
                del self._waiting.held[token]
                self.submit(held.event, now, patient=held.balance_after is None)

    def _start(self, event: Submit, account: Account, plan: Plan, now: datetime) -> Query:
        ticket, command = event.ticket, event.command
        query = self._queries.new(
            event.query_id, ticket, verb_of(command), account, encode_command(command), now
        )
        if ticket.nonce is not None:
            self._out.record(ticket.nonce)
        if not plan.hops:
            result: dict[str, object] = {
                "outcome": "nothing",
                "reason": plan.reason,
                "spent": "0",
                "received": "0",
            }
            return self._queries.finish(query, QueryStatus.DONE, result, None, now)
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
        self._queries.save(query)
        self._work.add_parent(parent)
        self._out.record(parent)
        if plan.algo == "direct":
            self._orders.place(
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
                self._out.watch(account, hop.symbol, now)
            self._parents.work(parent.parent_id, now)
        return self._work.queries[query.query_id]

    def _dry_run(self, event: Submit, account: Account, plan: Plan, now: datetime) -> Query:
        query = self._queries.make(
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

    def archive(self, event: Archive, now: datetime) -> Query:
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
            mode=self._work.mode_of(event.exchange),
            status=QueryStatus.DONE if event.error is None else QueryStatus.FAILED,
            accepted_at=now,
            finished_at=now,
            result=event.result,
            error=event.error,
            seq=micros(now),
        )
        if ticket.record_in_db:
            self._out.record(query)
        if ticket.nonce is not None:
            self._out.record(ticket.nonce)
        if event.error is not None:
            self._queries.tell_failure(query, event.error, "No order was sent.", now)
        return query
