"""The desk: the one door for callers, and the one place where threads meet the loop.

Every method blocks, may be called from any thread, and raises `DeskRefused` when the answer is no. A
submission is answered only after its records are on disk.
"""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any, Protocol, TypeVar

from ems.appraisals import pnl_view, portfolio_view, snapshots_view, unpriced
from ems.contracts import (
    FUNDING_OF,
    Held,
    funding_problem,
    funding_view,
    marked,
    positions_view,
    read_positions,
)
from ems.core import errors
from ems.core.codec import exchange_problem, jsonable, nearest, printable
from ems.core.messages import (
    Appraise,
    Archive,
    CancelAllOrders,
    CancelOrder,
    Command,
    HaltTrading,
    Problem,
    ResumeTrading,
    Submit,
    Ticket,
)
from ems.core.records import Cost, Fill, HistoryEntry, Order, Phase, Query, QueryStatus
from ems.core.snapshots import Snapshot
from ems.engine.portfolio import Appraisal
from ems.engine.risk import change_view
from ems.histories import Histories, NotListed, Page
from ems.loop import LoopThread
from ems.runner import QueryState, Runner
from ems.store import Earned, KeptHalt, OrderFilter, SnapshotFilter, Store, StoreUnavailable
from ems.tca.report import report
from ems.venues.gateway import Gateway, NoContracts, VenueRefused, VenueUnavailable

Listed = TypeVar("Listed")

HALT_S = 3.0  # while the database is away a halt is in force long before it is on record
SUBMIT_S = 20.0  # longer than the engine waits for a look at balances and books
READ_S = 15.0
STATES_KEPT = 2_000
LOOK_AGAIN_S = 0.1
LOOKS_FOR_BOOKS = 20  # this often a portfolio is looked at again until every price is there


class DeskRefused(Exception):
    """The desk says no; the problem is for the caller."""

    def __init__(self, problem: Problem):
        super().__init__(problem.message)
        self.problem = problem


class Archives(Store, Protocol):
    """A store that can also count."""

    def order_stats(self, user: str, wanted: OrderFilter) -> dict[str, object]: ...

    def costs(
        self,
        user: str,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        exchange: str | None = None,
        algo: str | None = None,
        limit: int = 1000,
    ) -> list[Cost]: ...

    def earned(
        self,
        user: str,
        currency: str,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        bot: str | None = None,
        exchange: str | None = None,
        account: str | None = None,
    ) -> list[Earned]: ...

    def snapshots(self, wanted: SnapshotFilter) -> tuple[list[Snapshot], Snapshot | None, str | None]: ...


class Desk:
    """Serves the API, the command line and every later author of orders."""

    def __init__(
        self,
        loop: LoopThread,
        runner: Runner,
        store: Archives,
        gateways: Mapping[tuple[str, str], Gateway],
        new_id: Callable[[], str],
        histories: Histories,
        draw: Callable[[Mapping[str, object]], bytes] | None = None,  # a report of costs -> PNG
        feeds: Callable[[], list[dict[str, object]]] = list,  # how the providers of market data are
        still_there: Callable[[], str] = str,  # the name of the file that halts, while it is there
    ):
        self._still_there = still_there
        self._feeds = feeds
        self._draw = draw
        self._loop = loop
        self._runner = runner
        self._store = store
        self._gateways = gateways
        self._new_id = new_id
        self._histories = histories
        self._tokens = itertools.count(1)
        self._waiting: dict[int, Future[object]] = {}  # token -> answer
        self._states: OrderedDict[str, QueryState] = OrderedDict()  # query id -> latest picture
        self._news = threading.Condition()
        self._pause = threading.Event()  # set when there is nothing more to wait for
        self.stopping = False

    # --- Called by the runner, on the loop ---------------------------------------------------------

    def changed(self, state: QueryState) -> None:
        """Take the new picture of a query and wake who waits for it."""
        query = state.query
        with self._news:
            before = self._states.get(query.query_id)
            seq = query.seq if before is None else max(query.seq, before.query.seq + 1)
            self._states[query.query_id] = replace(state, query=replace(query, seq=seq))
            self._states.move_to_end(query.query_id)
            while len(self._states) > STATES_KEPT:
                oldest = next(iter(self._states))
                if self._states[oldest].query.status is QueryStatus.WORKING:
                    self._states.move_to_end(oldest)
                    break
                del self._states[oldest]
            self._news.notify_all()

    def answered(self, token: int, answer: object) -> None:
        """Hand an answer to the thread that asked."""
        future = self._waiting.pop(token, None)
        if future is not None:
            future.set_result(answer)

    # --- Writing -----------------------------------------------------------------------------------

    def submit(self, ticket: Ticket, command: Command, source: str = "api") -> QueryState:
        """Submit a command. Returns when its intent is on disk; the work goes on after that."""
        cancels = isinstance(command, CancelOrder | CancelAllOrders | HaltTrading)
        if isinstance(command, ResumeTrading) and self._still_there():
            raise DeskRefused(
                errors.problem(
                    errors.TRADING_HALTED,
                    f"the file {self._still_there()} is there and would halt again at once",
                    hint="Remove the file first, then resume.",
                )
            )
        if not ticket.dry_run:
            try:
                stored = self._stored_repeat(ticket)
            except DeskRefused as refused:
                # Cancels and halts are the last to stop: they go out even when the database is gone.
                if not cancels or refused.problem.code != errors.STORE_UNAVAILABLE:
                    raise
                stored = None
            if stored is not None:
                return stored
        query_id = self._new_id()
        answer = self._ask_engine(
            lambda token: Submit(
                token=token, query_id=query_id, ticket=ticket, command=command, source=source
            ),
            without_store=cancels,
            patience_s=HALT_S if isinstance(command, HaltTrading) and self._runner.trouble else SUBMIT_S,
        )
        if isinstance(answer, Problem):
            if (
                isinstance(command, HaltTrading)
                and self._runner.trouble
                and query_id in self._halts_in_force()
            ):
                answer = errors.problem(
                    errors.STORE_UNAVAILABLE,
                    f"halted [halt {query_id}], and cancels go out, but the database cannot be written: the "
                    "halt is not on record yet",
                    hint="It holds while this server runs, and is recorded once the database is back. Until "
                    "then make the halt file, by which the next start would begin halted.",
                    details={"halt_id": query_id, "in_force": True},
                )
            raise DeskRefused(answer)
        assert isinstance(answer, Query)
        with self._news:
            state = self._states.get(answer.query_id)
        if state is None:
            state = QueryState(query=answer, orders=[], fills={}, progress=None)
        return replace(state, duplicate=answer.query_id != query_id)

    def refuse(
        self, ticket: Ticket, verb: str, exchange: str | None, parameters: dict[str, object], problem: Problem
    ) -> QueryState | None:
        """Record a request that could not be read, and have its letter sent."""
        query_id = self._new_id()
        try:
            answer = self._ask_engine(
                lambda token: Archive(
                    token=token,
                    query_id=query_id,
                    ticket=ticket,
                    verb=verb,
                    exchange=exchange,
                    parameters=parameters,
                    error=problem,
                )
            )
        except DeskRefused:
            return None  # the caller hears of the first problem, not of ours
        return (
            QueryState(query=answer, orders=[], fills={}, progress=None)
            if isinstance(answer, Query)
            else None
        )

    def halted_by(self, source: str) -> bool:
        """Say whether a halt that came this way is in force."""
        work = self._runner.engine.work
        return self._loop.call(lambda: any(halt.source == source for halt in work.halts.values()))

    def _halts_in_force(self) -> set[str]:
        return self._loop.call(lambda: set(self._runner.engine.work.halts))

    def halts(self, *, user: str, bot: str, limit: int) -> Mapping[str, object]:
        """Return every halt with its report, those in force first; from memory while there is no database."""
        engine = self._runner.engine
        in_force, reports = self._loop.call(
            lambda: (list(engine.work.halts.values()), engine.halts.working())
        )
        complete = True
        try:
            kept = self._store.halts(limit)
        except StoreUnavailable:
            kept, complete = [], False
        recorded = {one.halt.halt_id for one in kept}
        fresh = [KeptHalt(halt=h, lift=None, query=None) for h in in_force if h.halt_id not in recorded]
        rows = [_halt_view(one, reports, one.halt.halt_id in recorded) for one in [*fresh, *kept]]
        self._record(user, bot, "get_halts", None, {"limit": limit}, {"halts": len(rows)})
        return {"halts": rows, "complete": complete}

    def limits(self, *, user: str, bot: str, everybody: bool, limit: int) -> Mapping[str, object]:
        """Return the controls, what is set, and the latest changes; of others only to `everybody`."""
        risk = self._runner.engine.risk
        seen = None if everybody else user
        controls = self._loop.call(lambda: risk.settings(seen))
        changes = self._read(lambda: self._store.risk_changes(limit))
        rows = [change_view(row) for row in changes if everybody or row.user in (None, user)]
        self._record(user, bot, "get_limits", None, {"limit": limit}, {"changes": len(rows)})
        return {"controls": controls, "changes": rows}

    def risk(self, *, user: str, bot: str, everybody: bool) -> Mapping[str, object]:
        """Return what of each counted limit is used and left, and how many cancels were asked for lately; of
        others only to `everybody`."""
        engine = self._runner.engine
        now = self._runner.scheduler.now
        whose = None if everybody else user
        rows, cancels = self._loop.call(
            lambda: (engine.risk.used(whose, now()), engine.risk.cancels(whose, now()))
        )
        self._record(user, bot, "get_risk", None, {}, {"limits": len(rows)})
        return {"limits": rows, "cancels": cancels}

    def _ask_engine(
        self,
        event: Callable[[int], Submit | Archive],
        *,
        without_store: bool = False,
        patience_s: float = SUBMIT_S,
    ) -> object:
        if self.stopping or self._runner.halted:
            raise DeskRefused(errors.problem(errors.ENGINE_STOPPED, "the server is stopping"))
        if self._runner.trouble and not without_store:
            raise DeskRefused(
                errors.problem(
                    errors.STORE_UNAVAILABLE, "the database cannot be written; nothing new is started"
                )
            )
        token = next(self._tokens)
        future: Future[object] = Future()
        self._waiting[token] = future
        asked = event(token)
        self._loop.loop.call_soon_threadsafe(self._runner.feed, asked)
        try:
            return future.result(patience_s)
        except TimeoutError:
            self._waiting.pop(token, None)
            return errors.problem(errors.ENGINE_BUSY, "the engine did not answer in time")

    def _stored_repeat(self, ticket: Ticket) -> QueryState | None:
        """Return the stored answer of a key that was used before; for ever, restarts included."""
        query = self._read(lambda: self._store.query_by_key(ticket.user, ticket.idempotency_key))
        if query is None:
            return None
        if query.body_digest != ticket.body_digest:
            text = "this idempotency key was used for a different request"
            raise DeskRefused(errors.problem(errors.IDEMPOTENCY_CONFLICT, text))
        state = self.wait(ticket.user, query.query_id, after_seq=-1, timeout_s=0)
        return None if state is None else replace(state, duplicate=True)

    # --- Looking at queries and orders ---------------------------------------------------------------

    def wait(self, user: str, query_id: str, after_seq: int, timeout_s: float) -> QueryState | None:
        """Return a query as soon as its seq exceeds `after_seq` or it is over, or as it is after
        `timeout_s`."""

        def worth_telling() -> bool:
            state = self._states.get(query_id)
            return (
                state is None
                or state.query.status is not QueryStatus.WORKING
                or state.query.seq > after_seq
                or self.stopping
            )

        with self._news:
            if query_id in self._states and timeout_s > 0:
                self._news.wait_for(worth_telling, timeout_s)
            state = self._states.get(query_id)
        if state is None:
            return self._stored_state(user, query_id)
        return state if state.query.user == user else None

    def _stored_state(self, user: str, query_id: str) -> QueryState | None:
        query = self._read(lambda: self._store.query(user, query_id))
        if query is None:
            return None
        orders = self._read(lambda: self._store.orders_of_query(query_id))
        return QueryState(query=query, orders=orders, fills=self._fills(orders), progress=None)

    def order(self, user: str, order_id: str) -> tuple[Order, Sequence[Fill], Sequence[HistoryEntry]] | None:
        """Return an order of the user, its fills and its history, oldest first; None: there is none."""
        order = self._read(lambda: self._store.order(user, order_id))
        if order is None:
            return None
        return order, self._fills([order])[order_id], self._read(lambda: self._store.history(order_id))

    def past_orders(
        self, *, user: str, bot: str, wanted: OrderFilter
    ) -> tuple[Sequence[Order], Mapping[str, Sequence[Fill]], str | None]:
        try:
            orders, cursor = self._read(lambda: self._store.past_orders(wanted))
        except ValueError as wrong:
            raise DeskRefused(_bad_cursor(str(wrong), wanted.cursor)) from wrong
        self._record(user, bot, "get_past_orders", wanted.exchange, _asked(wanted), {"orders": len(orders)})
        return orders, self._fills(orders), cursor

    def order_stats(self, *, user: str, bot: str, wanted: OrderFilter) -> Mapping[str, object]:
        stats = self._read(lambda: self._store.order_stats(user, wanted))
        self._record(user, bot, "get_order_stats", wanted.exchange, _asked(wanted), stats)
        return stats

    def costs(
        self,
        *,
        user: str,
        bot: str,
        since: datetime | None,
        until: datetime | None,
        exchange: str | None,
        algo: str | None,
        limit: int,
    ) -> Mapping[str, object]:
        """Return what the user's parents cost, as ems.tca.report.report tells it."""
        found = self._read(
            lambda: self._store.costs(
                user, since=since, until=until, exchange=exchange, algo=algo, limit=limit
            )
        )
        asked = {"since": since, "until": until, "exchange": exchange, "algo": algo, "limit": limit}
        given = {name: value for name, value in asked.items() if value is not None}
        self._record(user, bot, "tca", exchange, given, {"parents": len(found)})
        return report(found)

    def portfolio(
        self, *, user: str, bot: str, exchange: str | None, account: str | None, of_bot: str | None
    ) -> Mapping[str, object]:
        """Return the user's positions and what the accounts hold, at middle prices of now.

        Books that are not at hand are asked for, and waited for a little.
        """
        engine, now = self._runner.engine, self._runner.scheduler.now
        of_bot = self._own_slice_only(user, bot, of_bot)
        self._known_exchange(exchange)

        def look() -> tuple[Appraisal, bool]:
            found = engine.portfolio.appraise(user, exchange, account, of_bot, now())
            return found, any(engine.portfolio.path(*held) for held in unpriced(found))

        found, may_come = self._loop.call(look)
        if may_come:
            wanted = Appraise(held=unpriced(found))
            self._loop.loop.call_soon_threadsafe(self._runner.feed, wanted)
        looks = LOOKS_FOR_BOOKS
        while may_come and looks and not self._pause.wait(LOOK_AGAIN_S):
            looks -= 1
            found, may_come = self._loop.call(look)
        modes = {key: a.mode for key, a in engine.work.accounts.items()}
        held = self._held(exchange, account, swaps=True)
        unread = {(one.exchange, one.account) for one in held if one.problem is not None}
        body = portfolio_view(found, modes, marked(held), unread)
        asked = {"exchange": exchange, "account": account, "of_bot": of_bot}
        self._record(user, bot, "get_portfolio", exchange, asked, {"positions": len(found.positions)})
        return body

    def pnl(
        self,
        *,
        user: str,
        bot: str,
        since: datetime | None,
        until: datetime | None,
        by: str,
        of_bot: str | None,
        exchange: str | None,
        account: str | None,
    ) -> Mapping[str, object]:
        """Return what the user's fills of this time have earned, fees and all, in groups."""
        currency = self._runner.engine.portfolio.currency
        of_bot = self._own_slice_only(user, bot, of_bot)
        self._known_exchange(exchange)
        rows = self._read(
            lambda: self._store.earned(
                user, currency, since=since, until=until, bot=of_bot, exchange=exchange, account=account
            )
        )
        body = {**pnl_view(rows, by, currency), "since": since, "until": until}
        asked: dict[str, object] = {"since": since, "until": until, "by": by, "of_bot": of_bot}
        asked |= {"exchange": exchange, "account": account}
        self._record(user, bot, "get_pnl", exchange, asked, {"groups": len(rows)})
        return body

    def snapshots(self, *, user: str, bot: str, of_bot: str | None, **asked: Any) -> Mapping[str, object]:
        """Return a page of daily snapshots of the user's positions; `asked` as `ems.store.SnapshotFilter`."""
        exchange, cursor = asked["exchange"], asked["cursor"]
        currency = self._runner.engine.portfolio.currency
        self._known_exchange(exchange)
        wanted = SnapshotFilter(
            user=user, currency=currency, bot=self._own_slice_only(user, bot, of_bot), **asked
        )
        try:
            page, before, following = self._read(lambda: self._store.snapshots(wanted))
        except ValueError as wrong:
            raise DeskRefused(_bad_cursor(str(wrong), cursor)) from wrong
        given = {name: value for name, value in {**asked, "of_bot": of_bot}.items() if value is not None}
        self._record(user, bot, "get_snapshots", exchange, given, {"snapshots": len(page)})
        return snapshots_view(page, before, currency, following)

    def slices(self, *, user: str, bot: str, everyone: bool) -> Mapping[str, object]:
        """Return bots' slices, and how each account's come out with what it holds."""
        engine = self._runner.engine
        body: dict[str, object] = self._loop.call(lambda: engine.slices.listed(None if everyone else user))
        self._record(user, bot, "get_slices", None, {}, {"slices": len(engine.work.slices)})
        return body

    def _own_slice_only(self, user: str, bot: str, of_bot: str | None) -> str | None:
        """Return whose figures are shown: a bot with a slice sees its own unless it names another."""
        return bot if of_bot is None and self._runner.engine.work.has_slice(user, bot) else of_bot

    def _known_exchange(self, exchange: str | None) -> None:
        if exchange is None:
            return
        problem = exchange_problem(exchange, {name for name, _ in self._gateways})
        if problem is not None:
            raise DeskRefused(problem)

    def cost_plot(self, **wanted: Any) -> bytes:
        """Return the same as a picture (PNG)."""
        assert self._draw is not None
        return self._draw(self.costs(**wanted))

    def _fills(self, orders: Sequence[Order]) -> dict[str, list[Fill]]:
        found: dict[str, list[Fill]] = {order.order_id: [] for order in orders}
        if found:
            for fill in self._read(lambda: self._store.fills(found.keys())):
                found[fill.order_id].append(fill)
        return found

    # --- Asking the exchanges --------------------------------------------------------------------------

    def balances(self, *, user: str, bot: str, exchange: str, account: str) -> Mapping[str, object]:
        gateway = self._gateway(user, bot, "get_balances", exchange, account)
        asked = {"exchange": exchange, "account": account}
        own = self._loop.call(lambda: self._runner.engine.slices.balances(user, bot, exchange, account))
        found = own
        if own is None:
            found = self._from_venue(user, bot, "get_balances", exchange, asked, gateway.fetch_balances())
        body = {"exchange": exchange, "account": account, "slice": own is not None, "balances": found}
        self._record(user, bot, "get_balances", exchange, asked, body)
        return body

    def positions(
        self, *, user: str, bot: str, exchange: str | None, account: str | None
    ) -> Mapping[str, object]:
        """Return what accounts hold in contracts, as their exchanges tell it.

        An account that was asked for and cannot say is a refusal; among several it is told beside the others.
        """
        verb, asked = "get_positions", {"exchange": exchange, "account": account}
        self._known_exchange(exchange)
        if exchange is not None and account is not None:
            self._gateway(user, bot, verb, exchange, account)
        found = self._held(exchange, account)
        only = found[0] if len(found) == 1 and exchange is not None else None
        if only is not None and only.problem is not None:
            self._record(user, bot, verb, exchange, asked, None, only.problem)
            raise DeskRefused(only.problem)
        body = positions_view([held for held in found if not held.offers_none])
        self._record(user, bot, verb, exchange, asked, body)
        return body

    def funding(
        self,
        *,
        user: str,
        bot: str,
        exchange: str,
        account: str,
        symbol: str | None,
        since: datetime | None,
        until: datetime | None,
    ) -> Mapping[str, object]:
        """Return what an account's positions in contracts received and paid, of a week unless told."""
        verb = "get_funding"
        gateway = self._gateway(user, bot, verb, exchange, account)
        end = until or self._runner.scheduler.now()
        start = since or end - FUNDING_OF
        asked = {"exchange": exchange, "account": account, "symbol": symbol, "since": start, "until": end}
        problem = funding_problem(start, end)
        if problem is not None:
            self._record(user, bot, verb, exchange, asked, None, problem)
            raise DeskRefused(problem)
        found = self._from_venue(user, bot, verb, exchange, asked, gateway.fetch_funding(start, end))
        payments = [one for one in found if symbol in (None, one.symbol)]
        body = {"exchange": exchange, "account": account, "since": start, "until": end}
        body |= funding_view(payments)
        self._record(user, bot, verb, exchange, asked, {"payments": len(payments)})
        return body

    def _held(self, exchange: str | None, account: str | None, *, swaps: bool = False) -> list[Held]:
        """Read positions in contracts; with `swaps` only where they may be traded."""
        asked = [
            gateway
            for key, gateway in sorted(self._gateways.items())
            if exchange in (None, key[0])
            and account in (None, key[1])
            and (not swaps or self._runner.engine.work.accounts[key].swaps)
        ]
        if not asked:
            return []
        found: list[Held] = self._loop.wait(read_positions(asked), READ_S)
        return found

    def exchange_orders(
        self,
        *,
        user: str,
        bot: str,
        everyone: bool,
        exchange: str,
        account: str,
        symbol: str | None,
        since: datetime | None,
        until: datetime | None,
        limit: int,
        cursor: str | None,
    ) -> Page:
        """List an account's orders as the exchange has them; those of other users only for `everyone`."""
        verb = "get_exchange_orders"
        self._gateway(user, bot, verb, exchange, account)
        self._check_market(user, bot, verb, exchange, account, symbol)
        asked: dict[str, object] = {"exchange": exchange, "account": account}
        asked |= {"symbol": symbol, "since": since, "until": until, "limit": limit, "cursor": cursor}
        page = self._listed(
            user,
            bot,
            verb,
            exchange,
            asked,
            lambda: self._histories.orders(
                exchange,
                account,
                user=None if everyone else user,
                symbol=symbol,
                since=since,
                until=until,
                limit=limit,
                cursor=cursor,
            ),
        )
        self._record(user, bot, verb, exchange, asked, {"orders": len(page.rows)})
        return page

    def exchange_stats(
        self, *, user: str, bot: str, everyone: bool, account: str, wanted: OrderFilter
    ) -> Mapping[str, object]:
        """Count an account's orders as the exchange lists them; `complete` says whether all was read."""
        assert wanted.exchange is not None
        exchange, verb = wanted.exchange, "get_order_stats"
        self._gateway(user, bot, verb, exchange, account)
        self._check_market(user, bot, verb, exchange, account, wanted.symbol)
        asked = {"source": "exchange", "account": account, **_asked(wanted)}
        stats = self._listed(
            user,
            bot,
            verb,
            exchange,
            asked,
            lambda: self._histories.stats(
                exchange,
                account,
                user=None if everyone else user,
                symbol=wanted.symbol,
                since=wanted.since,
                until=wanted.until,
            ),
        )
        self._record(user, bot, verb, exchange, asked, stats)
        return stats

    def transfers(
        self,
        *,
        user: str,
        bot: str,
        exchange: str,
        account: str,
        currency: str | None,
        since: datetime | None,
        until: datetime | None,
        limit: int,
        cursor: str | None,
    ) -> Page:
        verb = "get_withdrawal_deposit_history"
        self._gateway(user, bot, verb, exchange, account)
        asked: dict[str, object] = {"exchange": exchange, "account": account, "currency": currency}
        asked |= {"since": since, "until": until, "limit": limit, "cursor": cursor}
        page = self._listed(
            user,
            bot,
            verb,
            exchange,
            asked,
            lambda: self._histories.transfers(
                exchange,
                account,
                currency=currency,
                since=since,
                until=until,
                limit=limit,
                cursor=cursor,
            ),
        )
        self._record(user, bot, verb, exchange, asked, {"transfers": len(page.rows)})
        return page

    def _listed(
        self,
        user: str,
        bot: str,
        verb: str,
        exchange: str,
        asked: Mapping[str, object],
        reading: Callable[[], Listed],
    ) -> Listed:
        """Read an exchange's list; turn what it cannot give into a refusal that says how to ask."""
        try:
            found: Listed = self._read(reading)
            return found
        except NotListed as no:
            problem = errors.problem(errors.EXCHANGE_OFFERS_NONE, str(no))
        except ValueError as wrong:
            problem = _bad_cursor(str(wrong), asked.get("cursor"))
        except VenueUnavailable as error:
            problem = errors.problem(errors.VENUE_UNAVAILABLE, f"{exchange} gave no usable answer: {error}")
        self._record(user, bot, verb, exchange, asked, None, problem)
        raise DeskRefused(problem)

    def fees(
        self, *, user: str, bot: str, exchange: str, account: str, symbol: str | None
    ) -> Mapping[str, object]:
        gateway = self._gateway(user, bot, "get_fees", exchange, account)
        self._check_market(user, bot, "get_fees", exchange, account, symbol)
        asked = {"exchange": exchange, "account": account, "symbol": symbol}
        found = self._from_venue(user, bot, "get_fees", exchange, asked, gateway.fetch_fees(symbol))
        tier = self._from_venue(user, bot, "get_fees", exchange, asked, gateway.fetch_tier())
        self._record(user, bot, "get_fees", exchange, asked, {"fees": len(found)})
        return {"exchange": exchange, "account": account, "fees": found, "tier": tier}

    def health(self) -> Mapping[str, object]:
        """Return what is well and what is not, per account."""
        accounts = []
        reconciliation = self._runner.engine.reconciliation
        for (exchange, name), gateway in self._gateways.items():
            account = self._runner.engine.work.accounts[exchange, name]
            try:
                venue: object = self._loop.wait(gateway.fetch_health(), READ_S)
            except (TimeoutError, VenueUnavailable, VenueRefused) as error:
                venue = {"reachable": False, "wrong": [str(error) or "no answer in time"]}
            accounts.append(
                {
                    "exchange": exchange,
                    "account": name,
                    "mode": account.mode,
                    "readiness": str(account.readiness),
                    "trouble": account.trouble,
                    "internal_matching": account.internal_matching,
                    "venue": venue,
                    "ledger": self._loop.call(partial(reconciliation.view, account)),
                    "slices": self._loop.call(partial(self._runner.engine.slices.view, account)),
                }
            )
        missing = self.not_ready()
        return {
            "ready": not missing,
            "missing": missing,
            "accounts": accounts,
            **self._counts(),
            "market_data": {"feeds": self._feeds(), "markets": self._loop.call(self._markets)},
        }

    def _markets(self) -> list[dict[str, object]]:
        return self._runner.engine.references.markets(self._runner.scheduler.now())

    def _counts(self) -> dict[str, object]:
        engine = self._runner.engine

        def count() -> dict[str, object]:
            open_orders = [
                c.order for c in engine.work.children.values() if c.order.phase is not Phase.SETTLED
            ]
            return {
                "open_orders": len(open_orders),
                "unknown_orders": sum(1 for o in open_orders if o.phase is Phase.UNKNOWN),
                "working_queries": sum(
                    1 for q in engine.work.queries.values() if q.status is QueryStatus.WORKING
                ),
            }

        return self._loop.call(count)

    def not_ready(self) -> list[str]:
        """Say what is missing before this server takes orders; nothing when it is ready."""
        missing = []
        if self.stopping:
            missing.append("the server is stopping")
        if self._runner.trouble:
            missing.append(f"database: {self._runner.trouble}")
        accounts = self._runner.engine.work.accounts.values()
        waiting = [a for a in accounts if a.readiness != "ready"]
        # One exchange in trouble does not make the others wait; none at all does.
        if len(waiting) == len(accounts):
            missing += [f"{a.exchange}/{a.account}: {a.trouble or a.readiness}" for a in waiting]
        return missing

    def mode(self, exchange: str | None = None) -> str:
        """Say "live" or "paper"; without an exchange "live" as soon as any account is live."""
        modes = {a.mode for a in self._runner.engine.work.accounts.values() if exchange in (None, a.exchange)}
        return "live" if "live" in modes else "paper"

    def stop(self) -> None:
        """Take no new work and let every waiting reader go."""
        self.stopping = True
        self._pause.set()
        with self._news:
            self._news.notify_all()
        text = "the server stopped before it had judged this"
        for token in list(self._waiting):
            self.answered(token, errors.problem(errors.ENGINE_STOPPED, text))

    # --- Inside ------------------------------------------------------------------------------------------

    def _gateway(self, user: str, bot: str, verb: str, exchange: str, account: str) -> Gateway:
        gateway = self._gateways.get((exchange, account))
        if gateway is not None:
            return gateway
        problem = exchange_problem(exchange, {name for name, _ in self._gateways}) or errors.problem(
            errors.EXCHANGE_UNKNOWN, f"account: {exchange} has no account {account!r} here"
        )
        self._record(user, bot, verb, exchange, {"exchange": exchange, "account": account}, None, problem)
        raise DeskRefused(problem)

    def _check_market(
        self, user: str, bot: str, verb: str, exchange: str, account: str, symbol: str | None
    ) -> None:
        """Refuse a market that an exchange does not have, as far as its markets are known yet."""
        known = self._runner.engine.work.accounts[exchange, account].markets
        if symbol is not None and known and symbol not in known:
            close = nearest(symbol, sorted(known))
            problem = errors.problem(
                errors.SYMBOL_UNKNOWN,
                f"symbol: {exchange} has no market {symbol}",
                hint=f"Did you mean {close}?" if close else errors.CODES[errors.SYMBOL_UNKNOWN].hint,
                details={"field": "symbol", "value": symbol},
            )
            self._record(user, bot, verb, exchange, {"symbol": symbol}, None, problem)
            raise DeskRefused(problem)

    def _from_venue(
        self,
        user: str,
        bot: str,
        verb: str,
        exchange: str,
        asked: Mapping[str, object],
        reading: Coroutine[Any, Any, Any],
    ) -> Any:
        try:
            return self._loop.wait(reading, READ_S)
        except NoContracts as none:
            problem = errors.problem(errors.EXCHANGE_OFFERS_NONE, str(none))
        except VenueRefused as error:
            problem = errors.problem(
                errors.VENUE_REJECTED,
                f"{exchange} refused: {error}",
                venue_code=error.code,
                venue_message=str(error),
            )
        except (VenueUnavailable, TimeoutError) as error:
            problem = errors.problem(
                errors.VENUE_UNAVAILABLE, f"{exchange} gave no usable answer: {error or 'timeout'}"
            )
        self._record(user, bot, verb, exchange, asked, None, problem)
        raise DeskRefused(problem)

    def _record(
        self,
        user: str,
        bot: str,
        verb: str,
        exchange: str | None,
        asked: Mapping[str, object],
        result: Mapping[str, object] | None,
        problem: Problem | None = None,
    ) -> None:
        """Write a reading down as a query; nobody waits for that."""
        ticket = Ticket(
            user=user, bot=bot, idempotency_key="", body_digest="", send_fail_email=problem is not None
        )
        event = Archive(
            query_id=self._new_id(),
            ticket=ticket,
            verb=verb,
            exchange=exchange,
            parameters=_json_object({k: v for k, v in asked.items() if v is not None}),
            result=None if result is None else _json_object(result),
            error=problem,
        )
        self._loop.loop.call_soon_threadsafe(self._runner.feed, event)

    def _read(self, reading: Callable[[], Any]) -> Any:
        try:
            return reading()
        except StoreUnavailable as error:
            raise DeskRefused(
                errors.problem(errors.STORE_UNAVAILABLE, f"the database cannot be read: {error}")
            ) from error


def _halt_view(one: KeptHalt, working: Mapping[str, object], recorded: bool) -> dict[str, object]:
    halt, lift, query = one.halt, one.lift, one.query
    return {
        "halt_id": halt.halt_id,
        "in_force": lift is None,
        "where": halt.where,
        "exchange": halt.exchange,
        "account": halt.account,
        "user": halt.user,
        "symbol": halt.symbol,
        "reason": halt.reason,
        "everything": halt.everything,
        "source": halt.source,
        "set_by": halt.set_by,
        "set_at": halt.set_at,
        "lifted_by": None if lift is None else lift.lifted_by,
        "lifted_at": None if lift is None else lift.lifted_at,
        "lift_reason": None if lift is None else lift.reason,
        "recorded": recorded,
        "proof": "working" if query is None else str(query.status),
        "report": working.get(halt.halt_id) or (None if query is None else query.result),
    }


def _bad_cursor(words: str, cursor: object) -> Problem:
    return errors.problem(
        errors.REQUEST_FIELD_INVALID,
        words,
        hint="Send the cursor of the previous page unchanged, or none for the first page.",
        details={"field": "cursor", "value": printable(str(cursor or ""))},
    )


def _json_object(body: Mapping[str, object]) -> dict[str, object]:
    value = jsonable(dict(body))
    assert isinstance(value, dict)
    return value


def _asked(wanted: OrderFilter) -> dict[str, object]:
    names = ("exchange", "symbol", "since", "until", "limit", "cursor")
    return {name: value for name in names if (value := getattr(wanted, name)) is not None}
