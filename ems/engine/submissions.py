"""Submissions: repeats recognised, looked at before they are refused, started or archived."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from ems.algos.params import with_overrides
from ems.core import errors
from ems.core.codec import encode_command, plain, verb_of
from ems.core.messages import (
    Archive,
    CancelAllOrders,
    CancelOrder,
    Command,
    ContractRead,
    EditOrder,
    ExecuteQuote,
    HaltTrading,
    LimitOrder,
    Liquidate,
    MarketOrder,
    NotificationCommand,
    PlaceOrder,
    Problem,
    Quote,
    Rebalance,
    ResumeTrading,
    SetLeverage,
    SetLimit,
    SetSlice,
    SmartOrder,
    Style,
    Submit,
    Ticket,
    TimeInForce,
)
from ems.core.records import (
    REDUCE,
    Order,
    Parent,
    ParentState,
    Phase,
    Query,
    QueryStatus,
)
from ems.core.risk import Proposal
from ems.core.risk_limits import Scope
from ems.engine import selfmatch
from ems.engine.account import Account, Readiness
from ems.engine.admission import Admitted, admit
from ems.engine.attached import attached_to, exits_of
from ems.engine.cancels import Cancels
from ems.engine.contracts import Contracts
from ems.engine.costs import Costs
from ems.engine.crossings import Crossings, Intent
from ems.engine.drafts import Draft
from ems.engine.edits import Edits
from ems.engine.halts import Halts
from ems.engine.order_types import admit_any
from ems.engine.orders import Orders
from ems.engine.parents import Parents
from ems.engine.plans import Plans
from ems.engine.queries import Queries, micros
from ems.engine.quotes import Quotes
from ems.engine.reducing import may_reduce
from ems.engine.refusals import halted, not_ready
from ems.engine.risk import Clearance, Risk
from ems.engine.room import without_room
from ems.engine.shortages import explained
from ems.engine.sight import Need, Sight, usable
from ems.engine.slices import Slices
from ems.engine.standing import contract_refused
from ems.engine.turn import Out
from ems.engine.waiting import Held, Waiting
from ems.engine.work import Work

ZERO = Decimal(0)


LOOK_FIRST_S = 5.0  # a submission waits this long for a balance or a book, then it is judged on what is known
HOLDS = 3  # looks a submission may wait for
NONCE_KEPT = timedelta(seconds=30)  # past its expiry: no server accepts it any more by then
UNBOUND = "unbound:"  # starts the key of a query that does not hold its caller's idempotency key


Plain = MarketOrder | LimitOrder | PlaceOrder
Tradeable = Plain | SmartOrder | Liquidate | Rebalance | Quote | ExecuteQuote
Answer = Query | Problem | None


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
        edits: Edits,
        crossings: Crossings,
        halts: Halts,
        slices: Slices,
        waiting: Waiting,
        sight: Sight,
        plans: Plans,
        costs: Costs,
        risk: Risk,
        contracts: Contracts,
    ):
        self._risk = risk
        self._contracts = contracts
        self._sight = sight
        self._plans = plans
        self._quotes = Quotes(work, plans)
        self._costs = costs
        self._out = out
        self._work = work
        self._queries = queries
        self._orders = orders
        self._parents = parents
        self._cancels = cancels
        self._edits = edits
        self._crossings = crossings
        self._halts = halts
        self._slices = slices
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
        """Judge a command, on what is the asking bot's to spend."""
        with self._work.asking(event.ticket.user, event.ticket.bot):
            self._submit(event, now, patient=patient)

    def _submit(self, event: Submit, now: datetime, *, patient: bool) -> None:
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
        assert not isinstance(command, NotificationCommand), "these are carried out at the server's face"
        match command:
            case CancelOrder() | CancelAllOrders():
                answer: Query | Problem | Need | None = self._cancels.submit(event, command, now)
            case EditOrder():
                answer = self._edits.submit(event, command, now, patient=patient)
                if isinstance(answer, Need):
                    self._hold(event, answer, now)
                    return
            case HaltTrading() | ResumeTrading():
                answer = self._halts.submit(event, command, now)
            case SetSlice():
                answer = self._slices.submit(event, command, now)
            case SetLimit():
                answer = self._risk.submit(event, command, now)
            case SetLeverage():
                answer = self._contracts.submit(event, command, now)
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
                        exchange=exchange_of(command),
                        parameters=encode_command(command),
                        error=answer,
                    ),
                    now,
                )
        self._out.reply(event.token, answer)
        if not patient:
            self._crossings.let_go(event.query_id, now)

    def _answer_repeat(self, event: Submit, query_id: str) -> None:
        if self._work.digests.get(query_id) != event.ticket.body_digest:
            text = "this idempotency key was used for a different request"
            self._out.reply(event.token, errors.problem(errors.IDEMPOTENCY_CONFLICT, text))
        else:
            self._out.reply(event.token, self._work.queries[query_id])

    def _submit_trade(self, event: Submit, command: Tradeable, now: datetime, patient: bool) -> Answer:
        """Judge a command; None: it is held until what it needs has been looked at."""
        refused = self._halts.refusal(command, event.ticket)
        if refused is not None:
            return refused
        style = _style_of(command)
        if style is not None:
            try:
                with_overrides(style.algo, style.params)
            except ValueError as wrong:
                return errors.problem(
                    errors.REQUEST_FIELD_INVALID,
                    f"algo_params: {wrong}",
                    hint="The manual lists what each algorithm takes, with its range.",
                    details={"field": "algo_params", "value": ", ".join(sorted(style.params))},
                )
        match command:
            case MarketOrder() | LimitOrder() | PlaceOrder():
                judged = self._judge_order(event, command, now, patient)
                asked: Tradeable = command
            case Quote():
                judged = self._plans.draft(command.command, now, patient=patient)
                asked = command
            case ExecuteQuote():
                taken = self._quotes.take(event.ticket.user, command, now, patient=patient)
                if isinstance(taken, Need | Problem):
                    judged, asked = taken, command
                else:
                    asked, judged = taken
            case _:
                judged = self._plans.draft(command, now, patient=patient)
                asked = command
        if isinstance(judged, Problem):
            judged = self._with_holders(judged, event)
            return self._halts.on_the_way(command, event.ticket.user) or judged
        if isinstance(judged, Need):
            self._hold(event, judged, now)
            return None
        legs = (judged.leg,) if isinstance(judged, Admitted) else judged.legs
        for leg in legs:
            halt = self._work.halted(leg.exchange, leg.account, leg.symbol, event.ticket.user)
            if halt is not None and not may_reduce(command, event.ticket.role):
                return halted(halt)
        if isinstance(judged, Admitted):
            assert isinstance(command, Plain)
            cleared = self._cleared(event, command, judged, now, patient)
            if isinstance(cleared, Problem):
                return cleared
            if isinstance(cleared, Need):
                self._hold(event, cleared, now)
                return None
            if event.ticket.dry_run:
                return self._dry_run_order(event, command, judged, now)
            return self._start_order(event, command, judged, cleared, now)
        if isinstance(command, Quote):
            return self._quote(event, command, judged, now)
        ticket = event.ticket
        crowded = without_room(self._work, self._risk, judged, asked, ticket.user, ticket.bot, now)
        if crowded is not None:
            return crowded
        if event.ticket.dry_run:
            return self._dry_run(event, asked, judged, now)
        query = self._start(event, judged, now)
        if isinstance(command, ExecuteQuote):
            self._quotes.used(command.quote_id, query.query_id)
        return query

    def _with_holders(self, problem: Problem, event: Submit) -> Problem:
        """Tell who holds the money that a plan was short of; an order's refusal has it already."""
        exchanges = problem.details.get("exchanges")
        if not isinstance(exchanges, list):
            return problem
        asked = event.command.command if isinstance(event.command, Quote) else event.command
        named = getattr(asked, "account", "default")
        accounts = [a for name in exchanges if (a := self._work.accounts.get((name, named))) is not None]
        return explained(problem, self._work, accounts, event.ticket.user)

    def _judge_order(
        self, event: Submit, command: Plain, now: datetime, patient: bool
    ) -> Admitted | Draft | Need | Problem:
        account = self._work.accounts.get((command.exchange, command.account))
        if account is None:
            return self._work.no_account(command.exchange, command.account)
        if account.readiness is not Readiness.READY:
            return not_ready(account)
        sliced = (event.ticket.user, event.ticket.bot, *account.key) in self._work.slices
        no = contract_refused(account, command, sliced=sliced)
        if no is not None:
            return no
        user = event.ticket.user
        guard = self._risk.guard(Scope(user, event.ticket.bot, *account.key, command.symbol))
        if isinstance(command, PlaceOrder):
            admitted = admit_any(command, account, self._work, user, now, patient=patient, guard=guard)
        elif command.style is None:
            admitted = admit(command, account, self._work, user, now, patient=patient, guard=guard)
        else:
            return self._plans.order(command, account, now, patient=patient)
        if not isinstance(admitted, Admitted) or admitted.order_type.waits:
            return admitted
        return self._meet(event, admitted, account, now, patient)

    def _meet(
        self, event: Submit, admitted: Admitted, account: Account, now: datetime, patient: bool
    ) -> Admitted | Need | Problem:
        """Let an order meet others of ours inside where it may; see that it meets none outside."""
        ticket = event.ticket
        intent = Intent(
            user=ticket.user,
            bot=ticket.bot,
            symbol=admitted.leg.symbol,
            side=admitted.leg.side,
            quantity=admitted.quantity,
            limit=admitted.price,
            whole=admitted.time_in_force is TimeInForce.FOK,
        )
        crosses = self._crossings.plan(account, intent, now)
        outside = admitted.quantity - sum((cross.quantity for cross in crosses), ZERO)
        exhausted = {cross.parent_id for cross in crosses}  # else nothing would be left of ours for outside
        if outside <= ZERO:
            return replace(admitted, crosses=crosses)
        reach = selfmatch.reach(admitted, account, outside)
        met = [
            order
            for order in selfmatch.met(self._work, account, intent.symbol, intent.side, reach)
            if order.phase is not Phase.SETTLED or order.parent_id not in exhausted
        ]
        if not met:
            return replace(admitted, crosses=crosses)
        if patient and all(self._crossings.may_call_back(order, intent) for order in met):
            if ticket.dry_run:
                return admitted
            self._crossings.call_back(met, event.query_id, now)
            return Need(settled=frozenset(order.order_id for order in met))
        return selfmatch.refused(self._work, account, met[0], ticket.user, reach, admitted)

    def _cleared(
        self,
        event: Submit,
        command: Plain,
        admitted: Admitted,
        now: datetime,
        patient: bool,
    ) -> Clearance | Need | Problem:
        """Ask the risk controls about a plain order."""
        ticket, leg = event.ticket, admitted.leg
        account = self._work.accounts[leg.exchange, leg.account]
        proposal = Proposal(
            where=Scope(ticket.user, ticket.bot, leg.exchange, leg.account, leg.symbol),
            parent_id=f"{event.query_id}.1",
            side=leg.side,
            order_type=admitted.order_type,
            quantity=admitted.quantity,
            price=admitted.price,
            stop_price=admitted.stop_price,
            allow_duplicate=command.allow_duplicate,
            reduce_only=admitted.reduce_only,
            at=now,
        )
        need = self._risk.missing(account, leg.symbol, proposal.where, now) if patient else None
        return need or self._risk.judge(account, proposal, dry_run=ticket.dry_run)

    def _hold(self, event: Submit, need: Need, now: datetime) -> None:
        until = now + timedelta(seconds=LOOK_FIRST_S)
        times = self._waiting.times.pop(event.token, 0) + 1
        self._waiting.held[event.token] = Held(event=event, until=until, asked_at=now, need=need, times=times)
        self._sight.look(need, now)
        self._out.wake(("held", str(event.token)), until)

    def retry_settled(self, now: datetime) -> None:
        """Judge waiting submissions again when the orders they wait for have ended for certain."""
        for token, held in list(self._waiting.held.items()):
            ids = held.need.settled
            gone = all(i not in self._work.children or _settled(self._work.children[i].order) for i in ids)
            if ids and gone and token in self._waiting.held:
                del self._waiting.held[token]
                self.submit(held.event, now, patient=False)

    def retry_held(self, account: Account, now: datetime, *, symbol: str | None = None) -> None:
        """Judge waiting submissions again when what they wait for has come."""
        for token, held in list(self._waiting.held.items()):
            need = held.need
            if symbol is None and account.key not in need.balances:
                continue
            if symbol is not None and (*account.key, symbol) not in need.books | need.days:
                continue
            accounts = self._work.accounts
            balances_in = all(
                (as_of := accounts[key].holdings.as_of) is not None and as_of >= held.asked_at
                for key in need.balances
            )
            books_in = all(usable(accounts[e, a].books.get(s), now) for e, a, s in need.books)
            days_in = all(accounts[e, a].day(s, now) is not None for e, a, s in need.days)
            if balances_in and books_in and days_in and token in self._waiting.held:
                del self._waiting.held[token]
                self._waiting.times = {token: held.times}
                # A plan may need books only after it has seen balances: it may be held once more for those.
                self.submit(held.event, now, patient=held.times < HOLDS)

    def contract_came(self, account: Account, report: ContractRead, now: datetime) -> None:
        """Judge waiting submissions again when it is told how a contract stands, or that nobody can tell."""
        place = (*account.key, report.symbol)
        for token, held in list(self._waiting.held.items()):
            if place not in held.need.contracts:
                continue
            del self._waiting.held[token]
            self._waiting.times = {token: held.times}
            patient = held.times < HOLDS and not report.problem
            self.submit(held.event, now, patient=patient)

    def _query(
        self, event: Submit, command: Command, exchange: str | None, mode: str, now: datetime
    ) -> Query:
        return self._queries.new(
            event.query_id, event.ticket, verb_of(command), exchange, mode, encode_command(command), now
        )

    def _parent(self, query: Query, **fields: object) -> Parent:
        return Parent(
            parent_id=f"{query.query_id}.1",
            query_id=query.query_id,
            user=query.user,
            bot=query.bot,
            state=ParentState.WORKING,
            created_at=query.accepted_at,
            planned_at=query.accepted_at,
            **fields,  # type: ignore[arg-type]
        )

    def _start_order(
        self,
        event: Submit,
        command: Plain,
        admitted: Admitted,
        cleared: Clearance,
        now: datetime,
    ) -> Query:
        leg = admitted.leg
        account = self._work.accounts[leg.exchange, leg.account]
        query = self._query(event, command, leg.exchange, account.mode, now)
        if admitted.corrections:
            query = replace(query, result={"corrections": list(admitted.corrections)})
        if event.ticket.nonce is not None:
            self._out.record(event.ticket.nonce)
        parent = self._parent(
            query,
            exchange=leg.exchange,
            account=leg.account,
            algo="direct",
            legs=(leg,),
            start_amount=admitted.quantity,
            time_limit=ZERO,
            # What waits for a price was not to trade at the present one: no benchmark says what it cost.
            arrival={} if admitted.order_type.waits else self._plans.benchmark(leg, account, now),
        )
        self._queries.save(query)
        self._work.add_parent(parent)
        self._out.record(parent)
        if parent.arrival:
            self._costs.follow(parent, now)
        exits = exits_of(command)
        if exits:
            attached = attached_to(parent, exits, account.markets[leg.symbol], now)
            self._work.add_parent(attached)
            self._out.record(attached)
            self._out.watch(account, leg.symbol, now)
        told = self._crossings.meet(admitted.crosses, parent, 0, account, now)
        outside = admitted.quantity - sum((cross.quantity for cross in admitted.crosses), ZERO)
        if outside <= ZERO:
            self._crossings.tell(told, account, now)
            return self._work.queries[query.query_id]
        halt = self._work.halted(leg.exchange, leg.account, leg.symbol, event.ticket.user)
        order_id = self._orders.create(
            parent,
            0,
            account,
            order_type=admitted.order_type,
            time_in_force=admitted.time_in_force,
            post_only=admitted.post_only,
            quantity=outside,
            price=admitted.price,
            purpose="direct" if halt is None else REDUCE,
            reserved=admitted.reserved * outside / admitted.quantity,
            cleared=Clearance(quantity=outside, usd_value=cleared.usd_value * outside / admitted.quantity),
            now=now,
            stop_price=admitted.stop_price,
            protection_price=admitted.protection_price,
            expires_at=admitted.expires_at,
            reduce_only=admitted.reduce_only,
            emulated=admitted.emulated,
            replaces=told[-2].order.order_id if told else None,
        )
        if admitted.emulated:
            self._out.watch(account, leg.symbol, now)
            self._parents.work(parent.parent_id, now)
        else:
            self._orders.send(order_id, now)
        self._crossings.tell(told, account, now)
        return self._work.queries[query.query_id]

    def _start(self, event: Submit, draft: Draft, now: datetime) -> Query:
        mode = self._mode(draft)
        query = self._query(event, event.command, draft.exchange, mode, now)
        if event.ticket.nonce is not None:
            self._out.record(event.ticket.nonce)
        if not draft.legs:
            result: dict[str, object] = {
                "outcome": "nothing",
                "reason": draft.reason,
                "spent": "0",
                "received": "0",
                "left_out": dict(draft.left_out),
            }
            return self._queries.finish(query, QueryStatus.DONE, result, None, now)
        parent = self._parent(
            query,
            exchange=draft.exchange,
            account=draft.account,
            algo=draft.style.algo,
            params=draft.style.params,
            legs=draft.legs,
            grants=draft.grants,
            start_amount=draft.start_amount,
            time_limit=draft.style.time_limit,
            on_timeout=draft.style.on_timeout,
            max_slippage_bps=draft.style.max_slippage_bps,
            goal=draft.goal,
            arrival=draft.arrival,
        )
        self._queries.save(query)
        self._work.add_parent(parent)
        self._out.record(parent)
        self._costs.follow(parent, now)
        for leg in draft.legs:
            self._out.watch(self._work.accounts[leg.exchange, leg.account], leg.symbol, now)
        self._parents.work(parent.parent_id, now)
        return self._work.queries[query.query_id]

    def _mode(self, draft: Draft) -> str:
        modes = {
            self._work.accounts[name, draft.account].mode
            for name in draft.exchange.split(",")
            if (name, draft.account) in self._work.accounts
        }
        return modes.pop() if len(modes) == 1 else self._work.mode_of(None)

    def _quote(self, event: Submit, command: Quote, draft: Draft, now: datetime) -> Query:
        """Answer a quote at once. It trades nothing, so it does not bind its key."""
        body = self._quotes.keep(event.query_id, event.ticket.user, command.command, draft, now)
        if event.ticket.dry_run:
            query = self._queries.make(
                event.query_id,
                event.ticket,
                verb_of(command),
                draft.exchange,
                self._mode(draft),
                encode_command(command),
                now,
            )
            return replace(query, status=QueryStatus.DONE, result=body, finished_at=now)
        return self.archive(
            Archive(
                query_id=event.query_id,
                ticket=event.ticket,
                verb=verb_of(command),
                exchange=draft.exchange,
                parameters=encode_command(command),
                result=body,
            ),
            now,
        )

    def _dry_run_order(self, event: Submit, command: Plain, admitted: Admitted, now: datetime) -> Query:
        leg = admitted.leg
        account = self._work.accounts[leg.exchange, leg.account]
        result: dict[str, object] = {
            "dry_run": True,
            "path": [{"exchange": leg.exchange, "symbol": leg.symbol, "side": str(leg.side)}],
            "amount": plain(admitted.quantity),
            "price": None if admitted.price is None else plain(admitted.price),
            "protection_price": None
            if admitted.protection_price is None
            else plain(admitted.protection_price),
            "emulated": admitted.emulated,
            "corrections": list(admitted.corrections),
            "taking_at_once": None,
            "outcome": "nothing",
            "reason": "dry run: nothing was recorded or sent",
        }
        query = self._queries.make(
            event.query_id,
            event.ticket,
            verb_of(command),
            account.exchange,
            account.mode,
            encode_command(command),
            now,
        )
        return replace(query, status=QueryStatus.DONE, result=result, finished_at=now)

    def _dry_run(self, event: Submit, command: Command, draft: Draft, now: datetime) -> Query:
        result: dict[str, object] = {
            "dry_run": True,
            "path": [
                {"exchange": leg.exchange, "symbol": leg.symbol, "side": str(leg.side)} for leg in draft.legs
            ],
            "amount": plain(draft.start_amount),
            "taking_at_once": None,
            "outcome": "nothing",
            "reason": draft.reason or "dry run: nothing was recorded or sent",
        }
        if isinstance(command, SmartOrder | Liquidate | Rebalance):
            result = {**self._quotes.body(command, draft), **result}
        query = self._queries.make(
            event.query_id,
            event.ticket,
            verb_of(event.command),
            draft.exchange,
            self._mode(draft),
            encode_command(event.command),
            now,
        )
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


def _settled(order: Order) -> bool:
    return order.phase is Phase.SETTLED


def exchange_of(command: Command) -> str | None:
    """Return the exchange a command names, for its record."""
    asked = command.command if isinstance(command, Quote) else command
    return getattr(asked, "exchange", None)


def _style_of(command: Tradeable) -> Style | None:
    """Return how a command is to be worked; a quote was looked at when it was made."""
    if isinstance(command, ExecuteQuote | PlaceOrder):
        return None
    return command.command.style if isinstance(command, Quote) else command.style
