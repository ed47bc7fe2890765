"""Halts: the kill switch. It stops, cancels, reads again until nothing is open, and says what it found.

    halt on record -> work that is covered stops -> its open orders are cancelled
    -> the exchange's list of open orders is read, again and again -> flat, or what is not

Rules:
1. From the event that brings it, nothing is placed where a halt holds: not by new work, not by work in
   progress, not by what was decided and not sent yet. What waits for an exchange's rate limit is called
   back. Cancels and look-ups go on, and what `reducing` lets pass.
2. An account is flat when every order of ours in scope has settled and a list that was asked for after that
   shows none of them. An exchange that does not answer is not flat: it is named, and asked again for ever.
3. Orders that are not ours are named and left alone, unless the halt says "everything".
4. A halt is lifted by a person, never by a restart or by time. What it ended stays ended.
5. The report is the query of the halt. A restart takes it up again; everything else here is learned anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal

from ems.algos.ledger import current
from ems.core import errors
from ems.core.child import AskCancel
from ems.core.codec import encode_command, plain, time_text, verb_of
from ems.core.messages import (
    CancelEverything,
    Command,
    EverythingCancelled,
    HaltTrading,
    OpenOrders,
    OrderStatus,
    Problem,
    QueryOpenOrders,
    Quote,
    ResumeTrading,
    SmartOrder,
    Submit,
    Ticket,
    Withdraw,
)
from ems.core.records import (
    ENDED_PARENT,
    Asked,
    Halt,
    HaltLift,
    Notice,
    Order,
    Parent,
    Phase,
    Query,
    QueryStatus,
    Status,
)
from ems.engine.account import Account
from ems.engine.orders import Orders
from ems.engine.parents import Parents
from ems.engine.queries import Queries, micros
from ems.engine.reducing import let_pass, may_reduce
from ems.engine.refusals import HALT_CODES, halted
from ems.engine.turn import Out
from ems.engine.waiting import Waiting, exchanges_of
from ems.engine.work import Work

ZERO = Decimal(0)

PROVE_S = 2.0  # what is not proven is looked at again this often
ANSWER_S = 15.0  # a list that has not come by then is asked for anew
SILENT_S = 5.0  # an exchange that has not answered for so long is reported as unreachable
BECAME = {Status.CANCELED: "canceled", Status.EXPIRED: "canceled", Status.FILLED: "filled"}
BY_PEOPLE = ("api", "file", "command")  # how people halt; a halt that came otherwise tripped by itself
BY_CONTROL = "oms"  # who halts for a risk control
FOREIGN_SHOWN = 50  # orders that are not ours, named in a report


@dataclass
class Round:
    """What is known of one exchange account since a halt."""

    since: datetime  # lists asked for earlier do not count
    asked_at: datetime | None = None  # a list is on its way
    read_at: datetime | None = None  # when the last list that came was asked for
    failed: str = ""  # why there is none
    listed: tuple[str, ...] = ()  # ours, in scope, in the last list: exchange ids
    foreign: tuple[OrderStatus, ...] = ()
    flat: bool = False
    emptying: bool = False  # the account is being emptied of what is not ours
    emptied_at: datetime | None = None
    problems: tuple[str, ...] = ()  # of emptying the account
    told: bool = False  # people know that it cannot be reached


@dataclass
class Pursuit:
    """A halt whose proof is still to come."""

    halt: Halt
    rounds: dict[tuple[str, str], Round]  # (exchange, account) -> round
    orders: dict[str, Decimal] = field(default_factory=dict)  # order id -> filled when the halt came
    parents: list[str] = field(default_factory=list)  # ids of what was stopped
    # order id -> (exchange, account, what became of it, filled since): what has settled may leave the memory
    became: dict[str, tuple[str, str, str, str]] = field(default_factory=dict)


class Halts:
    """Every halt in force, and the proofs that are still to come."""

    def __init__(
        self, out: Out, work: Work, queries: Queries, orders: Orders, parents: Parents, waiting: Waiting
    ):
        self._out = out
        self._work = work
        self._queries = queries
        self._orders = orders
        self._parents = parents
        self._waiting = waiting
        self._pursuits: dict[str, Pursuit] = {}  # halt id -> pursuit

    # --- Setting and lifting ------------------------------------------------------------------------------

    def submit(self, event: Submit, command: HaltTrading | ResumeTrading, now: datetime) -> Query | Problem:
        # What stood still, and by whom, is never left out of the archive.
        event = replace(event, ticket=replace(event.ticket, record_in_db=True))
        if isinstance(command, ResumeTrading):
            return self._resume(event, command, now)
        return self._halt(event, command, now)

    def _halt(self, event: Submit, command: HaltTrading, now: datetime) -> Query | Problem:
        ticket = event.ticket
        halt = Halt(
            halt_id=event.query_id,
            exchange=command.exchange,
            account=command.account,
            user=command.user,
            symbol=command.symbol,
            reason=command.reason or "",
            everything=command.everything,
            source=event.source,
            set_by=ticket.user,
            set_at=now,
        )
        wrong = self._nowhere(halt)
        if wrong is not None:
            return wrong
        query = self._queries.make(
            event.query_id,
            ticket,
            verb_of(command),
            halt.exchange,
            self._work.mode_of(halt.exchange),
            encode_command(command),
            now,
        )
        if ticket.dry_run:
            result: dict[str, object] = {
                "dry_run": True,
                "where": halt.where,
                "would_cancel": [o.order_id for o in self._open_orders_of(halt)],
                "would_stop": [p.parent_id for p in self._parents_of(halt)],
            }
            return replace(query, status=QueryStatus.DONE, result=result, finished_at=now)
        if ticket.nonce is not None:
            self._out.record(ticket.nonce)
        self._out.record(halt)
        self._work.halts[halt.halt_id] = halt
        self._queries.save(query)
        self._begin(halt, {}, now)
        self._drop_waiting(halt)
        self._pursue(self._pursuits[halt.halt_id], now)
        pursuit = self._pursuits.get(halt.halt_id)
        if pursuit is not None:
            self._tell(
                halt,
                "set",
                f"trading is halted: {halt.where}",
                failed=f"Nothing is placed any more: {halt.where}.",
                why=_by(halt),
                done=f"{len(pursuit.parents)} pieces of work were stopped, {len(pursuit.orders)} open orders "
                "are being canceled. What is open is read again until nothing is; another letter says when.",
                now=now,
            )
        return self._work.queries[halt.halt_id]

    def trip(self, code: str, scope: HaltTrading, now: datetime) -> None:
        """Halt for the reason of a risk control, unless its halt stands already."""
        for halt in self._work.halts.values():
            if halt.source == code and halt.covers(
                scope.exchange or "", scope.account or "", scope.symbol, scope.user
            ):
                return
        halt_id = f"halt-{code.lower().replace('_', '-')}-{micros(now)}"
        ticket = Ticket(user=BY_CONTROL, bot="risk", idempotency_key=halt_id, body_digest="")
        if halt_id in self._work.queries:
            return  # another of this very moment; what it does not cover trips again
        event = Submit(token=0, query_id=halt_id, ticket=ticket, command=scope, source=code)
        self.submit(event, scope, now)

    def _nowhere(self, halt: Halt) -> Problem | None:
        """Refuse a halt of what does not exist: a name mistyped in a hurry must not pass for safety."""
        accounts = list(self._accounts_of(halt))
        if not accounts:
            return self._work.no_account(halt.exchange or "", halt.account or "default")
        known = [a for a in accounts if a.markets]
        if (
            halt.symbol is not None
            and len(known) == len(accounts)
            and all(halt.symbol not in a.markets for a in known)
        ):
            names = ", ".join(a.exchange for a in accounts)
            return errors.problem(
                errors.SYMBOL_UNKNOWN,
                f"symbol: {names} have no market {halt.symbol}; nothing is halted",
                details={"field": "symbol", "value": halt.symbol},
            )
        return None

    def _resume(self, event: Submit, command: ResumeTrading, now: datetime) -> Query | Problem:
        halt = self._work.halts.get(command.halt_id)
        if halt is None:
            return errors.problem(errors.HALT_NOT_FOUND, f"no halt {command.halt_id!r} is in force")
        ticket = event.ticket
        query = self._queries.make(
            event.query_id,
            ticket,
            verb_of(command),
            halt.exchange,
            self._work.mode_of(halt.exchange),
            encode_command(command),
            now,
        )
        others = [other for other in self._work.halts.values() if other is not halt]
        result: dict[str, object] = {
            "halt_id": halt.halt_id,
            "lifted": halt.where,
            "still_halted": [{"halt_id": o.halt_id, "where": o.where} for o in others],
        }
        if ticket.dry_run:
            result["dry_run"] = True
            return replace(query, status=QueryStatus.DONE, result=result, finished_at=now)
        if ticket.nonce is not None:
            self._out.record(ticket.nonce)
        lift = HaltLift(
            halt_id=halt.halt_id, lifted_by=ticket.user, lifted_at=now, reason=command.reason or ""
        )
        self._out.record(lift)
        del self._work.halts[halt.halt_id]
        pursuit = self._pursuits.pop(halt.halt_id, None)
        if pursuit is not None:
            report = {**self._report(pursuit), "flat": False, "lifted_by": lift.lifted_by}
            self._queries.finish(self._work.queries[halt.halt_id], QueryStatus.DONE, report, None, now)
        self._tell(
            halt,
            "lifted",
            f"trading is resumed: {halt.where}",
            failed=f"The halt {halt.halt_id} was lifted: {halt.where}.",
            why=f"By {lift.lifted_by}" + (f": {lift.reason}." if lift.reason else "."),
            done="New work is taken again. What the halt ended stays ended."
            if pursuit is None
            else "New work is taken again, before it was proven that nothing is open.",
            now=now,
        )
        return self._queries.finish(query, QueryStatus.DONE, result, None, now)

    def restore(self, halts: Iterable[Halt], now: datetime) -> None:
        """Begin halted, and go on with the proofs that were still to come. Nothing is sent yet."""
        for halt in halts:
            self._work.halts[halt.halt_id] = halt
        for halt in self._work.halts.values():
            query = self._work.queries.get(halt.halt_id)
            if query is not None and query.status is QueryStatus.WORKING:
                self._begin(halt, query.result or {}, now)
                self._out.wake(("halt", halt.halt_id), now)
        for parent in self._work.parents.values():
            self._parents.remember_halt(parent)

    def _begin(self, halt: Halt, report: Mapping[str, object], now: datetime) -> None:
        pursuit = Pursuit(halt=halt, rounds={a.key: Round(since=now) for a in self._accounts_of(halt)})
        known = report.get("orders")
        if isinstance(known, dict):
            pursuit.orders = {str(order_id): Decimal(str(filled)) for order_id, filled in known.items()}
        stopped = report.get("stopped")
        if isinstance(stopped, list):
            pursuit.parents = [str(parent_id) for parent_id in stopped]
        rows = report.get("accounts")
        for row in rows if isinstance(rows, list) else ():
            for what in ("canceled", "filled", "other"):
                for order_id in row[what]:
                    filled = row["filled_meanwhile"].get(order_id, "0")
                    pursuit.became[order_id] = (row["exchange"], row["account"], what, filled)
        self._pursuits[halt.halt_id] = pursuit

    # --- What it is asked ---------------------------------------------------------------------------------

    def refusal(self, command: Command, ticket: Ticket) -> Problem | None:
        """Refuse work on what it names; "all" is planned around what is halted, and checked again then."""
        if not self._work.halts or may_reduce(command, ticket.role):
            return None
        user = ticket.user
        asked = command.command if isinstance(command, Quote) else command
        account = getattr(asked, "account", "default")
        symbol = getattr(asked, "symbol", None)
        for halt in self._work.halts.values():
            names = [name for name in exchanges_of(asked) if name != "all"]
            if not names:
                if halt.covers(halt.exchange or "", account, symbol, user) and halt.exchange is None:
                    return halted(halt)
                continue
            if any(halt.covers(name, account, symbol, user) for name in names):
                return halted(halt)
        return None

    def on_the_way(self, command: Command, user: str) -> Problem | None:
        """Return the halt of the very market between the two currencies of a command that found no way."""
        asked = command.command if isinstance(command, Quote) else command
        if not isinstance(asked, SmartOrder):
            return None
        ends = {asked.start_currency, asked.end_currency}
        places = [
            key for key in self._work.accounts if asked.exchange == "all" or key[0] in exchanges_of(asked)
        ]
        for halt in self._work.halts.values():
            between = halt.symbol is not None and set(halt.symbol.partition(":")[0].split("/")) == ends
            if between and any(halt.covers(*key, halt.symbol, user) for key in places):
                return halted(halt)
        return None

    def working(self) -> dict[str, dict[str, object]]:
        """Return the reports of the proofs that are still to come, by halt."""
        return {halt_id: self._report(pursuit) for halt_id, pursuit in self._pursuits.items()}

    # --- Pursuing it --------------------------------------------------------------------------------------

    def timer(self, halt_id: str, now: datetime) -> None:
        pursuit = self._pursuits.get(halt_id)
        if pursuit is not None:
            self._pursue(pursuit, now)

    def _pursue(self, pursuit: Pursuit, now: datetime) -> None:
        """Stop what is covered, cancel what is open, ask for lists, and say how it stands."""
        halt = pursuit.halt
        for parent in self._parents_of(halt):
            if parent.algo != "direct" and parent.parent_id not in pursuit.parents:
                pursuit.parents.append(parent.parent_id)
        for order in self._open_orders_of(halt):
            pursuit.orders.setdefault(order.order_id, order.filled_quantity)
        for parent in self._parents_of(halt):
            self._parents.halt(parent.parent_id, halted(halt), now)
        for order in self._open_orders_of(halt):
            if let_pass(order):
                continue
            # In whatever state it is here, it or its amendment may still wait for its turn at the gateway.
            account = self._work.accounts[order.exchange, order.account]
            self._out.send(account, Withdraw(order_id=order.order_id))
            if order.asked in (Asked.NOTHING, Asked.REPLACE):
                self._orders.event(order.order_id, AskCancel(), now)
        for key, known in pursuit.rounds.items():
            waits = known.asked_at is not None and (now - known.asked_at).total_seconds() < ANSWER_S
            if not known.flat and not waits:
                self._ask(self._work.accounts[key], known, now)
        self._judge(pursuit, now)
        if halt.halt_id in self._pursuits:
            self._out.wake(("halt", halt.halt_id), now + timedelta(seconds=PROVE_S))

    def _ask(self, account: Account, known: Round, now: datetime) -> None:
        known.asked_at = now
        self._out.send(account, QueryOpenOrders(urgent=True))

    def open_orders(self, account: Account, report: OpenOrders, now: datetime) -> None:
        """Take note of what an exchange lists as open."""
        for pursuit in list(self._pursuits.values()):
            known = pursuit.rounds.get(account.key)
            if known is None or report.query_sent_at < known.since:
                continue
            halt = pursuit.halt
            ours: list[str] = []
            foreign: list[OrderStatus] = []
            for status in report.orders:
                if halt.symbol not in (None, status.symbol):
                    continue
                order_id = self._work.find(account, status)
                if order_id is not None:
                    if halt.user in (None, self._work.children[order_id].order.user):
                        ours.append(order_id)
                elif self._work.is_ours(status.client_order_id):
                    ours.append(status.exchange_order_id or "")  # found by nobody: being adopted
                elif halt.user is None:
                    foreign.append(status)
            known.asked_at, known.failed, known.told = None, "", False
            known.read_at = report.query_sent_at
            known.listed, known.foreign = tuple(ours), tuple(foreign)
            due = known.emptied_at is None or (now - known.emptied_at).total_seconds() >= PROVE_S
            if foreign and halt.everything and due and not known.emptying:
                known.emptying = True
                self._out.send(account, CancelEverything(symbol=halt.symbol))
            self._judge(pursuit, now)

    def emptied(self, account: Account, report: EverythingCancelled, now: datetime) -> None:
        """Note what went wrong in emptying an account, and look at it again."""
        for pursuit in list(self._pursuits.values()):
            known = pursuit.rounds.get(account.key)
            if known is not None and pursuit.halt.everything:
                known.emptying, known.emptied_at, known.problems = False, now, report.problems
                if known.asked_at is None and not report.problems:  # else the timer asks, not at once
                    self._ask(account, known, now)
                self._judge(pursuit, now)

    def failed(self, account: Account, message: str, now: datetime) -> None:
        """Take note that an exchange could not be read; whoever asked asks again."""
        for pursuit in list(self._pursuits.values()):
            known = pursuit.rounds.get(account.key)
            if known is not None and not known.flat:
                known.failed, known.asked_at = message, now
                self._judge(pursuit, now)

    def check(self, now: datetime) -> None:
        """Ask for a list as soon as the last order of ours at an account has settled."""
        for pursuit in list(self._pursuits.values()):
            for key, known in pursuit.rounds.items():
                if not known.flat and known.asked_at is None and not self._unsettled(pursuit, key):
                    self._ask(self._work.accounts[key], known, now)

    def _judge(self, pursuit: Pursuit, now: datetime) -> None:
        """Say what is proven, and finish once all of it is."""
        halt = pursuit.halt
        for key, known in pursuit.rounds.items():
            known.flat = self._is_flat(pursuit, key, known)
            silent = known.read_at is None and (now - known.since).total_seconds() >= SILENT_S
            if not known.flat and (known.failed or silent) and not known.told:
                known.failed = known.failed or "no answer"
                known.told = True
                self._tell(
                    halt,
                    f"silent-{'-'.join(key)}",
                    f"{'/'.join(key)} cannot be reached and is not proven flat",
                    failed=f"The halt of {halt.where} is not proven at {'/'.join(key)}.",
                    why=known.failed,
                    done="Nothing is placed there. Cancels and look-ups are repeated until it answers.",
                    now=now,
                )
        report = self._report(pursuit)
        query = self._work.queries[halt.halt_id]
        working = any(
            self._work.parents[p].state not in ENDED_PARENT
            for p in pursuit.parents
            if p in self._work.parents
        )
        if working or not all(known.flat for known in pursuit.rounds.values()):
            if report != query.result:
                self._queries.save(replace(query, result=report, seq=micros(now)))
            return
        del self._pursuits[halt.halt_id]
        self._queries.finish(query, QueryStatus.DONE, report, None, now)
        foreign = sum(len(known.foreign) for known in pursuit.rounds.values())
        self._tell(
            halt,
            "flat",
            f"flat: nothing of ours is open any more: {halt.where}",
            failed=f"Trading is halted: {halt.where}.",
            why=_by(halt),
            done=f"{len(pursuit.orders)} orders are over, and lists read afterwards show none of ours at "
            + ", ".join("/".join(key) for key in pursuit.rounds)
            + (f"; {foreign} orders that are not ours rest there." if foreign else "."),
            now=now,
        )

    def _is_flat(self, pursuit: Pursuit, key: tuple[str, str], known: Round) -> bool:
        if known.read_at is None or known.failed or known.listed or self._unsettled(pursuit, key):
            return False
        if known.foreign and pursuit.halt.everything:
            return False
        ends = [
            child.order.closed_at
            for order_id in pursuit.orders
            if (child := self._work.children.get(order_id)) is not None
            and (child.order.exchange, child.order.account) == key
            and child.order.closed_at is not None
        ]
        return all(known.read_at >= end for end in ends)

    def _unsettled(self, pursuit: Pursuit, key: tuple[str, str]) -> bool:
        """Say whether an order is still open there; asked after every one that ends."""
        return any((o.exchange, o.account) == key for o in self._each_open_of(pursuit.halt))

    # --- What it covers -----------------------------------------------------------------------------------

    def _accounts_of(self, halt: Halt) -> Iterable[Account]:
        return [
            account
            for account in self._work.accounts.values()
            if halt.covers(*account.key, halt.symbol, halt.user)
        ]

    def _open_orders_of(self, halt: Halt) -> list[Order]:
        return list(self._each_open_of(halt))

    def _each_open_of(self, halt: Halt) -> Iterator[Order]:
        for child in self._work.children.values():
            order = child.order
            if order.phase is not Phase.SETTLED and halt.covers(
                order.exchange, order.account, order.symbol, order.user
            ):
                yield order

    def _parents_of(self, halt: Halt) -> list[Parent]:
        """Return what has not ended and still has something to do, or something out, where the halt holds."""
        return [
            parent
            for parent in self._work.parents.values()
            if parent.state not in ENDED_PARENT
            and not self._let_pass(parent)
            and any(
                halt.covers(leg.exchange, leg.account, leg.symbol, parent.user)
                # With all of them closed it waits for its next plan: those of the last one stand for it.
                for leg in [x for x in parent.legs if x.closed_at is None]
                or map(parent.legs.__getitem__, current(parent))
            )
        ]

    def _let_pass(self, parent: Parent) -> bool:
        orders = self._work.orders_of_parent(parent.parent_id) if parent.algo == "direct" else []
        return bool(orders) and all(let_pass(order) for order in orders)

    def _drop_waiting(self, halt: Halt) -> None:
        """Refuse what is still being judged: nothing asked for before a halt starts after it."""
        for token, held in list(self._waiting.held.items()):
            problem = self.refusal(held.event.command, held.event.ticket)
            if problem is not None:
                del self._waiting.held[token]
                self._out.reply(token, problem)

    # --- For people ---------------------------------------------------------------------------------------

    def _report(self, pursuit: Pursuit) -> dict[str, object]:
        halt = pursuit.halt
        return {
            "halt_id": halt.halt_id,
            "where": halt.where,
            "flat": all(known.flat for known in pursuit.rounds.values()),
            "accounts": [self._row(pursuit, key, known) for key, known in pursuit.rounds.items()],
            "stopped": list(pursuit.parents),
            "orders": {order_id: plain(filled) for order_id, filled in pursuit.orders.items()},
        }

    def _row(self, pursuit: Pursuit, key: tuple[str, str], known: Round) -> dict[str, object]:
        became: dict[str, list[str]] = {"canceled": [], "filled": [], "other": [], "still_open": []}
        traded: dict[str, str] = {}  # order id -> filled since the halt
        for order_id, before in pursuit.orders.items():
            child = self._work.children.get(order_id)
            if child is not None:
                order = child.order
                what = "still_open" if order.phase is not Phase.SETTLED else BECAME.get(order.status, "other")
                filled = plain(order.filled_quantity - before)
                pursuit.became[order_id] = (order.exchange, order.account, what, filled)
            exchange, account, what, filled = pursuit.became.get(order_id, ("", "", "", ""))
            if (exchange, account) == key:
                became[what].append(order_id)
                if filled != "0":
                    traded[order_id] = filled
        strays = [one for one in known.listed if one not in became["still_open"]]
        state = "flat" if known.flat else "unreachable" if known.failed else "open"
        if state == "open" and known.read_at is None:
            state = "reading"
        return {
            "exchange": key[0],
            "account": key[1],
            "state": state,
            "why": known.failed,
            "read_at": None if known.read_at is None else time_text(known.read_at),
            **became,
            "still_open": [*became["still_open"], *strays],
            "filled_meanwhile": traded,
            "not_ours": [
                {"symbol": one.symbol, "exchange_order_id": one.exchange_order_id}
                for one in known.foreign[:FOREIGN_SHOWN]
            ],
            "not_ours_count": len(known.foreign),
            "problems": list(known.problems),
        }

    def _tell(
        self, halt: Halt, what: str, subject: str, *, failed: str, why: str, done: str, now: datetime
    ) -> None:
        lift = (
            "It has been lifted."
            if what == "lifted"
            else f"An admin lifts it with: oms resume {halt.halt_id}"
        )
        self._out.publish("halt", halt.halt_id, {"what": what, "where": halt.where})
        self._out.record(
            Notice(
                notice_id=f"halt-{halt.halt_id}-{what}-{micros(now)}",
                query_id=halt.halt_id,
                severity="critical",
                subject=subject,
                failed=failed,
                why=why,
                done=done,
                todo=lift,
                created_at=now,
                group=f"halt/{halt.halt_id}/{what}",
                event="halt" if halt.source in BY_PEOPLE else "breaker",
            )
        )


def _by(halt: Halt) -> str:
    """Say who halted, how and why."""
    how = {"file": " by file", "command": " by command, with the server down"}.get(halt.source, "")
    if halt.source in HALT_CODES:
        how = f" for the risk control {halt.source}"
    return f"Set by {halt.set_by}{how}" + (f": {halt.reason}." if halt.reason else ".")
