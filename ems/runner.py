"""The runner performs what the engine asks for: record, send, wake, answer, publish: in that order.

Rules:
1. All records of a turn are committed in one transaction before anything of it happens (R1). Events that
   arrive together share a transaction; their order is kept.
2. While the store cannot be written, nothing that needs a record happens: no order goes out, nobody is
   answered. Reports are still taken in, and cancels and look-ups still go out (they can be repeated).
3. Everything runs on one thread. Other threads come in by `desk`.
4. An exception out of the engine is a broken promise of our own code: what was decided before it is
   written down, and nothing more is done. A corrupt state must not trade; a restart rebuilds a good one.

The loop is a seam: production gives asyncio's, the simulation a virtual one. Same runner, same engine.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Context, localcontext
from typing import Protocol

from ems.core.messages import (
    AmendRefused,
    AmendRequest,
    Event,
    FromVenue,
    LookupFailed,
    NewOrder,
    Publish,
    Refusal,
    Rejected,
    Reply,
    Send,
    Timer,
    UnwatchBook,
    VenueReport,
    Wake,
    WatchBook,
)
from ems.core.records import Fill, Order, Parent, Query, QueryStatus, Record
from ems.engine import KEEP_ENDED_S, Engine, Turn
from ems.store import Store, StoreUnavailable
from ems.venues.gateway import Gateway

log = logging.getLogger(__name__)

FROZEN = "frozen after it stopped the server more than once; see the log and the manual"
MONEY = Context(prec=50)  # 28 digits, the default, would round money

BATCH_MAX = 128  # events that may share one transaction
COMMIT_RETRY_S = 0.5
# An order whose record took longer than this is not sent any more: its price is no longer the one decided
# on, and what "not found" may prove is counted from the decision (rule N).
CREATE_PATIENCE_S = 2.0


class Handle(Protocol):
    def cancel(self) -> None: ...


class Scheduler(Protocol):
    """Time and turn-taking: the one clock of the process."""

    def now(self) -> datetime: ...

    def call_at(self, when: datetime, call: Callable[[], None]) -> Handle: ...

    def call_soon(self, call: Callable[[], None]) -> None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class QueryState:
    """A picture of a query for readers: made after the commit that changed it."""

    query: Query
    orders: list[Order]
    fills: dict[str, list[Fill]]  # order id -> fills
    progress: dict[str, object] | None
    duplicate: bool = False


class Runner:
    """Owns the engine; one per process."""

    def __init__(
        self,
        engine: Engine,
        store: Store,
        gateways: Mapping[tuple[str, str], Gateway],
        scheduler: Scheduler,
        *,
        publish: Callable[[Publish], None] = lambda _: None,
        changed: Callable[[QueryState], None] = lambda _: None,
        answered: Callable[[int, object], None] = lambda _token, _answer: None,
        watching: Callable[[str, str], None] = lambda _exchange, _symbol: None,
        broken: Callable[[Exception, tuple[str, str] | None], None] | None = None,
    ):
        self.engine = engine
        self.store = store
        self.gateways = gateways
        self.scheduler = scheduler
        self._publish = publish
        self._changed = changed
        self._answered = answered
        self._watching = watching  # told (exchange, symbol) when a book is watched, or no longer
        # Told (error, exchange account it came from, if any). None: the error goes to whoever runs the loop.
        self._broken = broken
        self._suspect: tuple[str, str] | None = None  # the exchange account whose event is being handled
        self.halted = False
        self._inbox: deque[Event] = deque()
        self._due = False  # a turn is scheduled
        self._unwritten: list[Turn] = []  # decided, not on disk yet
        self._stuck: tuple[list[Record], list[Turn]] | None = (
            None  # a commit that failed, and what waits for it
        )
        self._timers: dict[tuple[str, ...], Handle] = {}  # key -> pending wake-up
        self.trouble = ""  # why new work is refused; empty when all is well

    def start(self, frozen: Collection[tuple[str, str]] = ()) -> None:
        """Replay what is unfinished, then open the gateways; their reports lead to reconciliation.

        A frozen (exchange, account) is not opened: nothing of it is traded or touched, the others run (R19).
        """
        now = self.scheduler.now()
        unfinished = self.store.load(ended_since=now - timedelta(seconds=KEEP_ENDED_S), now=now)
        self._finish([self.engine.restore(unfinished, now)])
        for query in unfinished.queries:
            picture = self.picture(query.query_id)
            if picture is not None:
                self._changed(picture)
        for (exchange, account), gateway in self.gateways.items():
            if (exchange, account) in frozen:
                self.engine.work.accounts[exchange, account].trouble = FROZEN
            else:
                gateway.open(self._deliver(exchange, account))

    def feed(self, event: Event) -> None:
        """Take an event in; it is handled soon, in order."""
        if self.halted:
            return
        self._inbox.append(event)
        self._soon()

    def _soon(self) -> None:
        if not self._due:
            self._due = True
            self.scheduler.call_soon(self._guarded(self._turn))

    def _deliver(self, exchange: str, account: str) -> Callable[[VenueReport], None]:
        return lambda report: self.feed(FromVenue(exchange=exchange, account=account, report=report))

    def _guarded(self, work: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            if self.halted:
                return
            try:
                # A callback runs in a copy of the context of whoever asked for it, and with its precision.
                with localcontext(MONEY):
                    work()
            except Exception as error:
                self._halt(error)

        return run

    def _halt(self, error: Exception) -> None:
        self.halted = True
        self.trouble = "stopped by an internal error; restart it"
        self._inbox.clear()
        for pending in self._timers.values():
            pending.cancel()
        if self._broken is None:
            raise error
        self._broken(error, self._suspect)

    def _turn(self) -> None:
        self._due = False
        now = self.scheduler.now()
        poison: Exception | None = None
        taken = 0
        while self._inbox and taken < BATCH_MAX:
            taken += 1
            try:
                event = self._inbox.popleft()
                self._suspect = self.engine.account_of(event)
                turn = self.engine.handle(self._recall(event, now), now)
            except Exception as error:
                poison = error  # its neighbours before it are whole: they are written down all the same
                break
            if turn.records or turn.effects:
                self._unwritten.append(turn)
        self._write()
        if poison is not None:
            raise poison
        if self._inbox:
            self._soon()

    def _recall(self, event: Event, now: datetime) -> Event:
        """Fetch the ended orders an event speaks of; where the store cannot say, have it asked again."""
        for exchange, account, client_id in self.engine.strangers(event):
            try:
                order = self.store.order_by_venue_id(exchange, account, client_id)
                fills = [] if order is None else self.store.fills([order.order_id])
            except StoreUnavailable as error:
                unread = LookupFailed(request="open_orders", order_id=None, message=f"store: {error}")
                return FromVenue(exchange=exchange, account=account, report=unread)
            if order is not None:
                self.engine.work.recall(order, fills, now)
        return event

    def _write(self) -> None:
        """Write down what has been decided; then let it happen."""
        if self._stuck is not None:
            self._do_what_needs_no_record(self._unwritten)  # the retry writes it down when it can
            return
        turns, self._unwritten = self._unwritten, []
        self._commit(latest([record for turn in turns for record in turn.records]), turns)

    def _commit(self, records: list[Record], turns: list[Turn]) -> None:
        try:
            if records:
                self.store.commit(records)
        except StoreUnavailable as error:
            if not self.trouble:
                log.error("the store cannot be written, new work is refused: %s", error)
            self.trouble = str(error)
            self._stuck = (records, turns)
            self._do_what_needs_no_record(turns)
            when = self.scheduler.now() + timedelta(seconds=COMMIT_RETRY_S)
            self.scheduler.call_at(when, self._guarded(self._retry))
            return
        if self.trouble:
            log.warning("the store can be written again")
            self.trouble = ""
        self._finish(turns)

    def _retry(self) -> None:
        """Commit the very same records again: a store in doubt settles it by them."""
        assert self._stuck is not None
        (records, turns), self._stuck = self._stuck, None
        self._commit(records, turns)
        if self._stuck is None:
            self._write()

    def _do_what_needs_no_record(self, turns: list[Turn]) -> None:
        """Let cancels and look-ups go out while nothing can be written: repeating them does no harm."""
        for turn in turns:
            held: list[Send | Wake | Reply | Publish] = []
            for effect in turn.effects:
                match effect:
                    case Send() if not isinstance(effect.request, NewOrder | AmendRequest):
                        self._send(effect)
                    case Wake():
                        self._wake(effect)
                    case _:
                        held.append(effect)
            turn.effects = held

    def _finish(self, turns: list[Turn]) -> None:
        """The records are on disk: now things may happen."""
        for turn in turns:
            late = (self.scheduler.now() - turn.at).total_seconds() > CREATE_PATIENCE_S
            for effect in turn.effects:
                match effect:
                    case Send() if isinstance(effect.request, NewOrder | AmendRequest) and late:
                        self.feed(_unsent(effect, effect.request, "writing it down took too long"))
                    case Send() if isinstance(effect.request, NewOrder | AmendRequest) and self.engine.halted(
                        effect.request.order_id
                    ):
                        self.feed(_unsent(effect, effect.request, "trading was halted meanwhile"))
                    case Send():
                        self._send(effect)
                    case Wake():
                        self._wake(effect)
        touched = {query_id for turn in turns for query_id in turn.touched}
        for query_id in touched:
            picture = self.picture(query_id)
            if picture is not None:
                self._changed(picture)
        for turn in turns:
            for effect in turn.effects:
                match effect:
                    case Reply():
                        self._answered(effect.token, effect.answer)
                    case Publish():
                        self._publish(effect)

    def _send(self, effect: Send) -> None:
        self.gateways[effect.exchange, effect.account].send(effect.request)
        if isinstance(effect.request, WatchBook | UnwatchBook):
            self._watching(effect.exchange, effect.request.symbol)

    def _wake(self, wake: Wake) -> None:
        pending = self._timers.pop(wake.key, None)
        if pending is not None:
            pending.cancel()

        def ring() -> None:
            self._timers.pop(wake.key, None)
            self.feed(Timer(key=wake.key))

        self._timers[wake.key] = self.scheduler.call_at(wake.at, ring)

    def picture(self, query_id: str) -> QueryState | None:
        """Return the present picture of a query that is in memory."""
        query = self.engine.work.queries.get(query_id)
        if query is None:
            return None
        orders = self.engine.work.orders_of_query(query_id)
        progress = None
        if query.status is QueryStatus.WORKING:
            progress = self.engine.parents.progress(query_id, self.scheduler.now())
        return QueryState(
            query=query,
            orders=orders,
            fills={o.order_id: list(self.engine.work.fills.get(o.order_id, ())) for o in orders},
            progress=progress,
        )


def _unsent(effect: Send, request: NewOrder | AmendRequest, why: str) -> FromVenue:
    report = Rejected if isinstance(request, NewOrder) else AmendRefused
    return FromVenue(
        exchange=effect.exchange,
        account=effect.account,
        report=report(
            order_id=request.order_id,
            refusal=Refusal.RATE_LIMIT,
            message=f"not sent: {why}",
            sent=False,
        ),
    )


def latest(records: list[Record]) -> list[Record]:
    """Keep the last state of each query, parent and order, and every fact; queries first, so keys resolve."""
    states: dict[tuple[type, str], Record] = {}
    facts: list[Record] = []
    for record in records:
        match record:
            case Query():
                states[Query, record.query_id] = record
            case Parent():
                states[Parent, record.parent_id] = record
            case Order():
                states[Order, record.order_id] = record
            case _:
                facts.append(record)
    rank = {Query: 0, Parent: 1, Order: 2}
    ordered = sorted(states.items(), key=lambda item: rank[item[0][0]])
    return [record for _, record in ordered] + facts
