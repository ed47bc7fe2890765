"""The switchboard: every event reaches the part it is for; exchange accounts are kept here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from ems.core import errors
from ems.core.child import AskCancel, Child, Doubted, Lookup, Tick
from ems.core.contracts import is_contract
from ems.core.instrument import Market
from ems.core.messages import (
    Acked,
    Amended,
    AmendRefused,
    Appraise,
    Archive,
    Balances,
    Barred,
    BookUpdate,
    CancelAcked,
    CancelRefused,
    ContractRead,
    DayRead,
    Event,
    EverythingCancelled,
    FillReport,
    FromFeed,
    FromVenue,
    HaltTrading,
    LeverageAnswered,
    LookupFailed,
    MarketsLoaded,
    OpenOrders,
    OrderStatus,
    OutcomeUnknown,
    PriceBounds,
    PublicTrade,
    QueryBalances,
    QueryContract,
    QueryOpenOrders,
    Rejected,
    StreamDown,
    StreamUp,
    Submit,
    Timer,
    TradeHistoryRead,
    TradesAnswer,
    TransfersRead,
    UnwatchBook,
)
from ems.core.records import (
    ENDED_PARENT,
    Notice,
    Phase,
    Status,
)
from ems.engine.account import Account, Readiness
from ems.engine.cancels import Cancels
from ems.engine.concentration import Concentration
from ems.engine.contracts import Contracts
from ems.engine.costs import Costs
from ems.engine.crossings import Crossings
from ems.engine.edits import Edits
from ems.engine.halts import Halts
from ems.engine.orders import Orders
from ems.engine.parents import Parents
from ems.engine.plans import Plans
from ems.engine.portfolio import Portfolio
from ems.engine.position_check import PositionCheck
from ems.engine.queries import Queries, micros
from ems.engine.reconciliation import Reconciliation
from ems.engine.references import References
from ems.engine.replans import Replans
from ems.engine.risk import Risk
from ems.engine.sight import Sight
from ems.engine.slices import Slices
from ems.engine.snapshots import Snapshots
from ems.engine.submissions import NONCE_KEPT, Submissions
from ems.engine.turn import Out, Turn
from ems.engine.waiting import Waiting
from ems.engine.work import Work
from ems.store import Unfinished

ZERO = Decimal(0)


HOUSEKEEPING_S = 60.0  # balances and open orders are compared with the venue this often (R11, drop copy)
RETRY_S = 2.0  # a reconciliation question that failed is asked again
WATCH_IDLE_S = 300.0


class Engine:
    """All trading state of this process."""

    def __init__(self, accounts: Iterable[Account], *, mark: str, currency: str = "USDT", release: str = ""):
        """`mark`: eight hex digits that start every client order id of this installation.

        `currency`: in which positions and what they earned are kept. `release`: what runs, for the record of
        every order.
        """
        assert len(mark) == 8 and int(mark, 16) >= 0
        self.work = Work(accounts, mark)
        self.work.release = release
        self._out = Out()
        self._waiting = Waiting(self._out)
        self._queries = Queries(self._out, self.work)
        self.portfolio = Portfolio(self._out, self.work, currency)
        self.reconciliation = Reconciliation(self._out, self.work)
        self.snapshots = Snapshots(self._out, self.portfolio)
        self.slices = Slices(self._out, self.work, self._queries, self.portfolio)
        self.risk = Risk(self._out, self.work, self._queries)
        self.concentration = Concentration(self._out, self.work, self.risk)
        self.reconciliation.on_mismatch = self.risk.mismatch
        self.positions = PositionCheck(self._out, self.work)
        self.positions.on_mismatch = self.risk.position_mismatch
        self.contracts = Contracts(self._out, self.work, self._queries, self.risk)
        self.orders = Orders(
            self._out,
            self.work,
            self._queries,
            self.portfolio,
            self.reconciliation,
            self.slices,
            self.risk,
            self.positions,
            self.contracts,
        )
        self.costs = Costs(self._out, self.work)
        self.references = References(self._out, self.work)
        sight = Sight(self._out, self.work)
        plans = Plans(self.work, sight)
        crossings = Crossings(self._out, self.work, self.orders)
        self.parents = Parents(
            self._out,
            self.work,
            self._queries,
            self.orders,
            crossings,
            Replans(self._out, self.work, sight),
            sight,
            self.costs,
            self.risk,
            self._something_ended,
        )
        self.orders.listener = self.parents
        self.cancels = Cancels(self._out, self.work, self._queries, self.orders, self.parents, self._waiting)
        self.edits = Edits(self._out, self.work, self._queries, self.orders, self.cancels, self.risk)
        self.halts = Halts(self._out, self.work, self._queries, self.orders, self.parents, self._waiting)
        self.submissions = Submissions(
            self._out,
            self.work,
            self._queries,
            self.orders,
            self.parents,
            self.cancels,
            self.edits,
            crossings,
            self.halts,
            self.slices,
            self._waiting,
            sight,
            plans,
            self.costs,
            self.risk,
            self.contracts,
        )

    def handle(self, event: Event, now: datetime) -> Turn:
        """Let one thing happen; return what to record and what to do."""
        turn = self._out.begin(now)
        match event:
            case FromVenue():
                account = self.work.accounts[event.exchange, event.account]
                self._from_venue(account, event.report, now)
            case FromFeed():
                for account in self.references.opinion(event.provider, event.exchange, event.book):
                    self._judge(account, event.book.symbol, now)
            case Submit() | Archive() if self.submissions.replayed(event.ticket):
                problem = errors.problem(errors.AUTH_REPLAYED, "this signed request was received before")
                self._out.reply(event.token, problem)
            case Submit():
                self.submissions.submit(event, now, patient=True)
            case Archive():
                query = self.submissions.archive(event, now)
                self._out.reply(event.token, query)
            case Appraise():
                self.portfolio.follow(event.held, now)
            case Timer():
                self._timer(event.key, now)
        return turn

    def restore(self, unfinished: Unfinished, now: datetime) -> Turn:
        """Pick up what the store has not finished. Venues are reconciled before anything trades (R12)."""
        turn = self._out.begin(now)
        self.portfolio.restore(unfinished)
        self.slices.restore(unfinished.slices)
        self.snapshots.restore(unfinished.snapshot_days, now)
        self.reconciliation.restore(unfinished.bases, unfinished.base_fills)
        self.submissions.nonces = {(n.key_id, n.nonce): n.expires_at for n in unfinished.nonces}
        for haircut in unfinished.haircuts:
            known = self.work.accounts.get((haircut.exchange, haircut.account))
            if known is not None:  # else its keys were taken away; they may come back
                known.haircuts[haircut.currency, haircut.side] = haircut
        for query in unfinished.queries:
            self.work.remember(query)
            self.cancels.take_up(query)
            self.edits.take_up(query)
            self.contracts.take_up(query, now)
        for parent in unfinished.parents:
            self.work.add_parent(parent)
            if parent.state not in ENDED_PARENT:
                self.costs.follow(parent, now)
        for order in sorted(unfinished.orders, key=lambda o: (o.parent_id, o.attempt)):
            seen_at = None if order.status in (Status.PENDING, Status.UNKNOWN) else now
            self.work.index(Child(order=order, lookup=Lookup(seen_at=seen_at)))
            if order.expires_at is not None and order.phase is not Phase.SETTLED:
                self._out.wake(("expiry", order.order_id), max(order.expires_at, now))
        for fill in unfinished.fills:
            self.work.fills.setdefault(fill.order_id, []).append(fill)
        self.risk.restore(unfinished, now)
        for account in self.work.accounts.values():
            self._out.wake(("account", *account.key), now + timedelta(seconds=HOUSEKEEPING_S))
        self.halts.restore(unfinished.halts, now)
        return turn

    def halted(self, order_id: str) -> bool:
        """Say whether an order that was decided on, and not sent yet, must not be sent any more."""
        return self.work.halt_of(self.work.children[order_id].order) is not None

    def _something_ended(self, now: datetime) -> None:
        self.cancels.check(now)
        self.edits.check(now)
        self.halts.check(now)
        if self._waiting.held:
            self.submissions.retry_settled(now)

    def account_of(self, event: Event) -> tuple[str, str] | None:
        """Return the exchange account an event comes from; None for callers and for our own clock."""
        match event:
            case FromVenue():
                return event.exchange, event.account
            case Timer(key=("order" | "expiry", order_id)) if order_id in self.work.children:
                order = self.work.children[order_id].order
                return order.exchange, order.account
            case Timer(key=("parent", parent_id, *_)) if parent_id in self.work.parents:
                leg = self.work.parents[parent_id].legs[0]
                return leg.exchange, leg.account
        return None

    def strangers(self, event: Event) -> list[tuple[str, str, str]]:
        """Return (exchange, account, client order id) of reported orders of ours that are not in memory.

        Whoever has the store looks them up and has them recalled before the event is handled: an order may
        have ended long ago and live all the same, or get a fill of which nobody had heard.
        """
        if not isinstance(event, FromVenue):
            return []
        report = event.report
        named: Iterable[object] = (report,)
        if isinstance(report, OpenOrders):
            named = report.orders
        elif isinstance(report, TradeHistoryRead):
            named = report.fills
        ids = [r.client_order_id for r in named if isinstance(r, OrderStatus | FillReport)]
        return [
            (event.exchange, event.account, client_id)
            for client_id in ids
            if client_id is not None
            and self.work.is_ours(client_id)
            and client_id not in self.work.by_client_id
        ]

    def _from_venue(self, account: Account, report: object, now: datetime) -> None:
        match report:
            case BookUpdate():
                self._book(account, report, now)
            case FillReport():
                order_id = self.work.find(account, report)
                if order_id is not None:
                    self.orders.event(order_id, report, now)
                elif not self.work.is_ours(report.client_order_id):
                    self.reconciliation.traded_by_others(account, report)
                    if is_contract(report.symbol):
                        self.contracts.filled(account, report, now)
                        self.positions.filled(account, report, now)
            case OrderStatus():
                order_id = self.work.find(account, report)
                if order_id is not None:
                    self.orders.event(order_id, report, now)
            case Rejected():
                self.orders.rejected(account, report, now)
            case (
                Acked()
                | CancelAcked()
                | CancelRefused()
                | Amended()
                | AmendRefused()
                | OutcomeUnknown()
                | TradesAnswer()
            ):
                if report.order_id in self.work.children:
                    self.orders.event(report.order_id, report, now)
            case LookupFailed():
                self._lookup_failed(account, report, now)
            case Balances():
                self._balances(account, report, now)
            case ContractRead():
                self.contracts.read(account, report, now)
                self.positions.read(account, report, now)
                self.submissions.contract_came(account, report, now)
            case LeverageAnswered():
                self.contracts.answered(account, report, now)
            case DayRead():
                account.days[report.symbol] = report
                if self._waiting.held:
                    self.submissions.retry_held(account, now, symbol=report.symbol)
            case TransfersRead():
                self.reconciliation.transfers_read(account, report)
            case TradeHistoryRead():
                for fill in self.reconciliation.history_read(account, report):
                    self._from_venue(account, fill, now)
            case OpenOrders():
                self._open_orders(account, report, now)
            case EverythingCancelled():
                self.halts.emptied(account, report, now)
            case PublicTrade():
                account.tape(report.symbol).trade(report)
                self.costs.trade(account, report)
            case MarketsLoaded():
                account.list_markets(m for m in report.markets if isinstance(m, Market))
                self.parents.markets_came(account, now)
            case PriceBounds():
                account.bounds[report.symbol] = report
            case StreamUp():
                account.streaming = True
                self._contact(account, now)
            case StreamDown():
                account.streaming = False
                account.trouble = account.barred or report.message
            case Barred():
                self._bar(account, report.reason, now)
            case _:
                raise AssertionError(f"unknown report {report!r}")

    def _book(self, account: Account, report: BookUpdate, now: datetime) -> None:
        report = self.references.own(account, report, now)
        account.books[report.symbol] = report
        if not report.unfit:
            account.dark.pop(report.symbol, None)
            account.tape(report.symbol).book(report)
            self.costs.book(account, report)
        if self._waiting.held:
            self.submissions.retry_held(account, now, symbol=report.symbol)
        self.parents.book_came(account, report.symbol, now)

    def _judge(self, account: Account, symbol: str, now: datetime) -> None:
        """Look at a book again, because the others say something else now or for longer."""
        book = account.books.get(symbol)
        if book is None:
            return
        judged = self.references.judged(account, symbol, now)
        if judged.unfit != book.unfit:
            account.books[symbol] = judged
            self.parents.book_came(account, symbol, now)

    def _contact(self, account: Account, now: datetime) -> None:
        """Believe nothing until open orders and balances have been read (R11, R12)."""
        account.readiness = Readiness.BARRED if account.barred else Readiness.RECONCILING
        account.trouble = account.barred or "reconciling"
        account.since = now
        account.awaits = {"open_orders", "balances"}
        self.reconciliation.lost_contact(account)
        self.positions.lost_contact(account)
        self._out.send(account, QueryOpenOrders())
        self._out.send(account, QueryBalances())
        for symbol in self.portfolio.contracts_held(account):
            self._out.send(account, QueryContract(symbol=symbol))
        for child in list(self.work.children.values()):
            order = child.order
            if (order.exchange, order.account) == account.key and order.phase is not Phase.SETTLED:
                self.orders.event(order.order_id, Doubted(), now)

    def _bar(self, account: Account, reason: str, now: datetime) -> None:
        """Stop placing on an account, or begin again by reconciling it. Cancels and look-ups go on."""
        began, account.barred = not account.barred and bool(reason), reason
        if reason:
            account.readiness, account.trouble = Readiness.BARRED, reason
        elif account.since is not None:
            self._contact(account, now)
        else:
            account.readiness, account.trouble = Readiness.STARTING, ""
        where = f"{account.exchange}/{account.account}"
        self._out.publish("account", where, {"readiness": str(account.readiness), "reason": reason})
        if began:
            self._out.record(
                Notice(
                    notice_id=f"barred-{where}-{micros(now)}",
                    query_id=None,
                    severity="critical",
                    subject=f"{where} does not trade",
                    failed=f"Nothing is placed on {where}.",
                    why=reason,
                    done="Orders that rest there stay, and can be canceled.",
                    todo="Mend it at the exchange or in the settings, then restart the server.",
                    created_at=now,
                    group=f"barred/{where}",
                    event="account_barred",
                )
            )

    def _reconciled(self, account: Account, what: str, sent_at: datetime, now: datetime) -> None:
        if account.readiness is not Readiness.RECONCILING or account.since is None or sent_at < account.since:
            return
        account.awaits.discard(what)
        if account.awaits:
            return
        account.readiness = Readiness.READY
        account.ready_at = now
        account.trouble = ""
        self._out.publish("account", f"{account.exchange}/{account.account}", {"readiness": "ready"})
        for parent in self.work.parents_at(account):
            for leg in parent.legs:
                if leg.closed_at is None and (leg.exchange, leg.account) == account.key:
                    self._out.watch(account, leg.symbol, now)
            self.parents.work(parent.parent_id, now)

    def _balances(self, account: Account, report: Balances, now: datetime) -> None:
        account.holdings.refresh(report, self.work.held_by_orders(account))
        self.concentration.judge(account, now)
        self.reconciliation.balances(account, report, now)
        self._reconciled(account, "balances", report.query_sent_at, now)
        self.submissions.retry_held(account, now)
        self.parents.balances_came(account, report.query_sent_at, now)

    def _open_orders(self, account: Account, report: OpenOrders, now: datetime) -> None:
        for status in report.orders:
            order_id = self.work.find(account, status)
            if order_id is not None:
                self.orders.event(order_id, replace(status, query_sent_at=report.query_sent_at), now)
            elif self.work.is_ours(status.client_order_id):
                self.orders.adopt(account, status, now)
        self._reconciled(account, "open_orders", report.query_sent_at, now)
        self.halts.open_orders(account, report, now)

    def _lookup_failed(self, account: Account, report: LookupFailed, now: datetime) -> None:
        if report.order_id is not None and report.order_id in self.work.children:
            self.orders.event(report.order_id, report, now)
        elif report.request in ("balances", "open_orders"):
            if account.readiness is Readiness.RECONCILING:
                account.trouble = f"reconciling: {report.message}"
            self._out.wake(("ask", report.request, *account.key), now + timedelta(seconds=RETRY_S))
            if report.request == "open_orders":
                self.halts.failed(account, report.message, now)
        elif report.request == "everything":
            failed = EverythingCancelled(cancelled=0, problems=(report.message,))
            self.halts.emptied(account, failed, now)

    def _timer(self, key: tuple[str, ...], now: datetime) -> None:
        match key:
            case ("order", order_id):
                child = self.work.children.get(order_id)
                if child is not None and (child.order.phase is not Phase.SETTLED or child.lookup.haunted):
                    self.orders.event(order_id, Tick(), now)
            case ("expiry", order_id):
                if order_id in self.work.children:
                    self.orders.event(order_id, AskCancel(expired=True), now)
            case ("parent", parent_id, *_):
                if parent_id in self.work.parents:
                    self.parents.work(parent_id, now)
            case ("held", token):
                held = self._waiting.held.pop(int(token), None)
                if held is not None:
                    self.submissions.submit(held.event, now, patient=False)
            case ("trip", code, exchange, account, user, symbol, why):
                scope = HaltTrading(
                    exchange=exchange or None,
                    account=account or None,
                    user=user or None,
                    symbol=symbol or None,
                    reason=why,
                )
                self.halts.trip(code, scope, now)
            case ("halt", halt_id):
                self.halts.timer(halt_id, now)
            case ("snapshot", step):
                self.snapshots.timer(step, now)
            case ("cost", parent_id):
                self.costs.complete(parent_id, now)
            case ("reconcile", exchange, account):
                self.reconciliation.ask(self.work.accounts[exchange, account])
            case ("ask", "balances", exchange, account):
                self._out.send(self.work.accounts[exchange, account], QueryBalances())
            case ("ask", "open_orders", exchange, account):
                self._out.send(self.work.accounts[exchange, account], QueryOpenOrders())
            case ("contract", exchange, account, symbol):
                self.contracts.look(self.work.accounts[exchange, account], symbol, now)
            case ("position", exchange, account, symbol):
                self.positions.ask(self.work.accounts[exchange, account], symbol)
            case ("opinion", exchange, account, symbol):
                self._judge(self.work.accounts[exchange, account], symbol, now)
            case ("account", exchange, account):
                self._housekeep(self.work.accounts[exchange, account], now)
            case _:
                raise AssertionError(f"unknown timer {key!r}")

    def _housekeep(self, account: Account, now: datetime) -> None:
        self._out.wake(("account", *account.key), now + timedelta(seconds=HOUSEKEEPING_S))
        if account.readiness in (Readiness.READY, Readiness.BARRED):
            self._out.send(account, QueryBalances())
            self._out.send(account, QueryOpenOrders())
            for symbol in sorted(account.contracts):
                self._out.send(account, QueryContract(symbol=symbol))
        busy = {
            leg.symbol
            for parent in self.work.parents_at(account)
            for leg in parent.legs
            if leg.closed_at is None and (leg.exchange, leg.account) == account.key
        }
        busy |= {symbol for *key, symbol in self.costs.watched() if tuple(key) == account.key}
        for symbol, needed_at in list(account.watched.items()):
            if symbol not in busy and (now - needed_at).total_seconds() > WATCH_IDLE_S:
                del account.watched[symbol]
                account.books.pop(symbol, None)
                account.tapes.pop(symbol, None)
                self.references.forget(account, symbol)
                self._out.send(account, UnwatchBook(symbol=symbol))
        self.submissions.nonces = {
            key: expires for key, expires in self.submissions.nonces.items() if expires >= now - NONCE_KEPT
        }
        self.references.prune(now)
        self.work.evict(now)
        self.orders.forget_pictures()
