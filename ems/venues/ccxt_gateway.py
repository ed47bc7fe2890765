"""One exchange account through ccxt: REST for orders and questions, streams for hints and books.

The same code reaches the live exchange or a simulator on loopback; only the base URL differs. Everything
happens on the runner's event loop: `send` starts a task and returns, reports are delivered on the loop.

What may become a `Rejected` is decided in `_judge_create`, and nowhere else.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, TypeVar

import ccxt

from ems.core.instrument import Market
from ems.core.messages import (
    Acked,
    AmendRequest,
    Balances,
    CancelAcked,
    CancelRefused,
    CancelRequest,
    Ending,
    FillReport,
    Found,
    LookupFailed,
    MarketsLoaded,
    NewOrder,
    OpenOrders,
    OrderStatus,
    OrderType,
    OutcomeUnknown,
    QueryBalances,
    QueryMarkets,
    QueryOpenOrders,
    QueryOrder,
    QueryTrades,
    Refusal,
    Rejected,
    Request,
    StreamDown,
    TimeInForce,
    TradesAnswer,
    UnwatchBook,
    VenueReport,
    WatchBook,
)
from ems.core.records import Transfer, VenueOrder
from ems.venues.amends import Amends
from ems.venues.dialects import DIALECTS
from ems.venues.dialects.dialect import Derivatives, Dialect, Fees, Listing, Pair
from ems.venues.errors import Said, refusal_of
from ems.venues.feedback import learn
from ems.venues.gateway import CancelledAll, Offer, Position, VenueRefused, VenueUnavailable
from ems.venues.limiter import Lane, Limit, Limiter, Priority, TooBusy
from ems.venues.safety import Safety
from ems.venues.streams import Streams
from ems.venues.supported import unsupported, wrong_side
from ems.venues.sweep import cancel_everything
from ems.venues.translation import (
    Unreadable,
    checked_fill,
    checked_holding,
    checked_status,
    fill_of,
    holdings_of,
    listed_order,
    listed_transfer,
    market_of,
    order_params,
    plain,
    status_of,
    with_details,
)
from ems.venues.transport import Attempt, Call, current_call, exchange_class, repoint

log = logging.getLogger(__name__)

Row = TypeVar("Row", VenueOrder, Transfer)

CREATE_PATIENCE_S = (
    2.0  # a create older than this is refused unsent: its price is no longer the one decided on
)
ASK_PATIENCE_S = 10.0
MARKETS_EVERY_S = 600.0
MARKETS_AGAIN_S = 30.0  # no sooner than this after a refusal that smells of other rules than those we know
MARKETS_HALTED_S = 30.0  # how often while a market is halted that traded before
HALT_WATCHED_S = 3600.0  # and for how long; after that it is one of the many that trade no more
RULES_MAY_BE_OLD = frozenset({Refusal.LOT_TICK, Refusal.MIN_SIZE, Refusal.MARKET_CLOSED})
CLOCK_WARN_S = 1.0
HISTORY_OVERLAP = timedelta(seconds=5)
_LINEAR = re.compile(r"(?P<base>[^/:]+)/(?P<quote>[^/:]+):(?P=quote)")  # settled in its quote currency
REMEMBERED_ORDERS = 20_000
STRANGERS_ASKED = 5  # orders of others looked up one by one to prove that a trade is not ours; more, in bulk


@dataclass(frozen=True, kw_only=True, slots=True)
class VenueKeys:
    """What an exchange knows us by; `repr` shows nothing."""

    public: str
    private: str
    passphrase: str | None = None

    def __repr__(self) -> str:
        return "VenueKeys(...)"


class OrderForgotten(VenueUnavailable):
    """The venue says that it has no such order: not yet, or no longer."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """A reading that succeeded."""

    value: Any
    body: object
    sent_at: datetime


class _Reading:
    """The `Ask` of a reading that may take several questions, and when the first of them was sent."""

    def __init__(self, ask: Callable[[str, Callable[[], Awaitable[Any]]], Awaitable[_Answer]]):
        self._ask = ask
        self._began_at: datetime | None = None

    async def __call__(self, what: str, question: Callable[[], Awaitable[Any]]) -> Any:
        answer = await self._ask(what, question)
        self._began_at = self._began_at or answer.sent_at
        return answer.value

    def began_at(self) -> datetime:
        assert self._began_at is not None, "nothing was asked"
        return self._began_at


def _utc_now() -> datetime:
    return datetime.now(UTC)


class CcxtGateway:
    """Implements `Gateway` for every exchange in `DIALECTS`.

    `base_url` and `ws_url` point all of it elsewhere; a paper account must have them. `limiter` is shared by
    all accounts that reach the same exchange from here; without one this account counts for itself. `shapes`
    replaces the venue's rate limits where the other side has none (a simulator under measurement).
    `may_withdraw` lets a key trade that may also withdraw; `exclusive` says that nobody else trades on the
    account, so that the exchange's dead-man's switch may cancel everything there.
    """

    def __init__(
        self,
        exchange: str,
        account: str,
        keys: VenueKeys,
        *,
        mode: str,
        base_url: str | None = None,
        ws_url: str | None = None,
        clock: Callable[[], datetime] = _utc_now,
        request_timeout_s: float = 10.0,
        limiter: Limiter | None = None,
        shapes: tuple[Limit, ...] | None = None,
        may_withdraw: bool = False,
        exclusive: bool = False,
    ):
        if exchange not in DIALECTS:
            raise ValueError(f"exchange {exchange!r} is not among {', '.join(sorted(DIALECTS))}")
        if mode not in ("live", "paper"):
            raise ValueError(f"mode {mode!r} is neither 'live' nor 'paper'")
        if mode == "live" and DIALECTS[exchange].paper_only:
            raise ValueError(f"{exchange} exists on paper only")
        if mode == "paper" and base_url is None:
            raise ValueError(
                f"{exchange}: a paper account needs base_url; it never reaches the live exchange"
            )
        self.exchange = exchange
        self.account = account
        self.mode = mode
        self.dialect: Dialect = DIALECTS[exchange]
        self.recv_window_s = self.dialect.recv_window_s
        self.client_id_style = self.dialect.client_id_style
        self.past_orders_offer = _offer(self.dialect.past_orders)
        self.transfers_offer = _offer(self.dialect.transfers)
        self._clock = clock
        self._timeout_s = request_timeout_s
        limiter = limiter or Limiter(self.dialect.shapes if shapes is None else shapes)
        self._limits = limiter.of(keys.public)
        self._may_withdraw = may_withdraw
        self._exclusive = exclusive
        self._ccxt = _build(self.dialect, keys, base_url, ws_url)
        self._ccxt.request_timeout_s = request_timeout_s
        self._ccxt.timeout = int(request_timeout_s * 1000)
        self._ccxt.steady = limiter.clock
        self._ccxt.on_attempt = self._learn_from
        self._ccxt.trades_apart = self.dialect.trades_apart
        self._tasks: set[asyncio.Task[None]] = set()
        self._reading: set[str] = set()  # our ids of orders whose trades are being read
        self._closed = False
        self._sent_ids: OrderedDict[str, datetime] = OrderedDict()  # client order ids that went out, and when
        # client order id -> when the venue's answer to the create was there, by the limiter's clock
        self._answered_at: OrderedDict[str, float] = OrderedDict()
        # (symbol or "", exchange order id) -> (our order id or None, client order id)
        self._orders: OrderedDict[tuple[str, str], tuple[str | None, str | None]] = OrderedDict()
        self._waiting: OrderedDict[str, bool] = OrderedDict()  # client order id -> it waits, or did
        self._markets: tuple[Market, ...] = ()
        self._fees: Fees = {}  # the account's own, as last read
        self._halted_since: dict[str, float] = {}  # symbol -> loop time, of those that traded before
        self._skew_s: float | None = (
            None  # venue minus us, what cannot be explained by delay and coarse clocks
        )
        self._latency_s: float | None = None
        self._trouble: dict[str, str] = {}  # subject -> what is wrong with it now

    # --- The protocol ---

    def open(self, deliver: Callable[[VenueReport], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._deliver = deliver
        self._ready = asyncio.Event()
        self._loading = asyncio.Lock()
        self._markets_doubted = asyncio.Event()
        self._opened_at = self._limits.limiter.clock()
        if self.dialect.nonce_lane:
            self._ccxt.lane = Lane()
        self._streams = Streams(
            self._ccxt, self.dialect, deliver=self._hint, now=self._clock, fetch_book=self._fetch_book
        )
        self._ccxt.on_frame = self._streams.on_frame
        self._safety = Safety(
            self.dialect,
            self._ccxt,
            ask=self._ask_safely,
            tell=self._deliver,
            now=self._clock,
            may_withdraw=self._may_withdraw,
            exclusive=self._exclusive,
        )
        self._amends = Amends(
            self.dialect,
            self._ccxt,
            limits=self._limits,
            wait_ready=self._wait_ready,
            timeout_s=self._timeout_s,
        )
        self._start(self._safety.keep_key())
        self._start(self._safety.keep_switch())
        self._start(self._keep_markets())
        self._start(self._keep_clock())

    def send(self, request: Request) -> None:
        match request:
            case NewOrder():
                self._start(self._create(request, self._loop.time()))
            case CancelRequest():
                self._start(self._cancel(request))
            case AmendRequest():
                self._start(self._amend(request))
            case QueryOrder():
                self._start(self._query_order(request))
            case QueryTrades():
                self._start(self._query_trades(request))
            case QueryBalances():
                self._start(self._query_balances())
            case QueryOpenOrders():
                self._start(self._query_open_orders())
            case QueryMarkets():
                self._start(self._query_markets())
            case WatchBook():
                self._start(self._watch(request.symbol))
            case UnwatchBook():
                self._start(self._streams.unwatch(request.symbol))

    async def close(self) -> None:
        """Stop everything; what was under way stays unanswered and is looked up after the next start."""
        self._closed = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if hasattr(self, "_streams"):
            await self._streams.close()
            await self._safety.disarm()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._ccxt.timeout_on_exit = 0
        await self._ccxt.close()

    async def fetch_balances(self) -> dict[str, dict[str, Decimal]]:
        answer = await self._ask("balances", self._ccxt.fetch_balance)
        nothing = Decimal(0)
        return {
            currency: {part: amounts.get(part) or nothing for part in ("free", "used", "total")}
            for currency, amounts in holdings_of(answer.value)
        }

    async def fetch_fees(self, symbol: str | None) -> list[dict[str, object]]:
        await self._wait_ready(ASK_PATIENCE_S)
        answer = await self._ask("fees", lambda: self.dialect.fees(self._ccxt))
        if symbol is not None and symbol not in answer.value:
            raise VenueRefused(f"{self.exchange} lists no fees for {symbol}")
        return [
            {"symbol": name, "maker": maker, "taker": taker}
            for name, (maker, taker) in sorted(answer.value.items())
            if symbol is None or name == symbol
        ]

    async def fetch_tier(self) -> dict[str, object] | None:
        read = self.dialect.tier
        if read is None:
            return None
        await self._wait_ready(ASK_PATIENCE_S)
        tier = (await self._ask("tier", lambda: read(self._ccxt))).value
        return {"name": tier.name, "volume_30d": tier.volume_30d, "currency": tier.currency}

    async def fetch_past_orders(
        self, symbol: str | None, since: datetime, until: datetime
    ) -> list[VenueOrder]:
        found = await self._listed(self.dialect.past_orders, listed_order, symbol, since, until)
        return [one for one in found if since <= one.created_at < until and symbol in (None, one.symbol)]

    async def fetch_transfers(self, since: datetime, until: datetime) -> list[Transfer]:
        found = await self._listed(self.dialect.transfers, listed_transfer, None, since, until)
        return [one for one in found if since <= one.at < until]

    async def _listed(
        self,
        listing: Listing | None,
        translate: Callable[[str, str, str, Any], Row],
        symbol: str | None,
        since: datetime,
        until: datetime,
    ) -> list[Row]:
        """Read the rows of a list; venues count in ms, some in s: the caller cuts what is too much."""
        assert listing is not None, "ask the offer first"
        await self._wait_ready(ASK_PATIENCE_S)
        if symbol is not None and symbol not in self._ccxt.markets:
            raise VenueRefused(f"{self.exchange} has no market {symbol}")
        reading = _Reading(partial(self._ask, priority=Priority.HISTORY))
        try:
            rows = await listing.read(reading, self._ccxt, symbol, _to_ms(since), _to_ms(until) + 1)
            return [translate(self.exchange, self.account, self.mode, row) for row in rows]
        except (Unreadable, ccxt.BaseError, LookupError, TypeError, ValueError, ArithmeticError) as error:
            log.warning("%s: a list is unreadable: %r", self.exchange, error)
            raise VenueUnavailable(f"a row of the list cannot be read: {error}") from error

    async def fetch_health(self) -> dict[str, object]:
        reachable = True
        try:
            if self._limits.paused_s() > 0:
                raise TooBusy(
                    self._limits.paused_s(), self._limits.why_paused()
                )  # who asks wants to know now
            await self._measure_clock()
        except (VenueRefused, VenueUnavailable, TooBusy) as error:
            reachable = False
            self._trouble["reach"] = str(error)
        else:
            self._trouble.pop("reach", None)
        wrong = {**self._trouble, **self._safety.problems()}
        if not self._streams.up:
            wrong.setdefault("stream", "the private stream is down")
        paused_s = self._limits.paused_s()
        if paused_s > 0:
            why = self._limits.why_paused()
            wrong["rate limit"] = f"paused for another {paused_s:.0f} s at the venue's wish ({why})"
        return {
            "reachable": reachable,
            "latency_ms": None if self._latency_s is None else Decimal(round(self._latency_s * 1000)),
            "clock_skew_ms": None if self._skew_s is None else Decimal(round(self._skew_s * 1000)),
            "stream_up": self._streams.up,
            "markets": sum(market.active for market in self._markets),
            **self._safety.health(),
            "problems": [f"{subject}: {words}" for subject, words in sorted(wrong.items())],
        }

    async def fetch_order_fills(self, symbol: str, exchange_order_id: str) -> list[FillReport]:
        await self._wait_ready(ASK_PATIENCE_S)
        fills, _ = await self._read_fills(symbol, exchange_order_id)
        return list(fills)

    async def fetch_positions(self) -> list[Position]:
        derivatives = self._derivatives()
        await self._wait_ready(ASK_PATIENCE_S)
        return await derivatives.positions(_Reading(self._ask), self._ccxt)

    async def set_leverage(self, symbol: str, leverage: Decimal) -> None:
        derivatives = self._derivatives()
        named = _LINEAR.fullmatch(symbol)
        if named is None or named["quote"] not in (derivatives.settled_in or {named["quote"]}):
            raise VenueRefused(
                f"{symbol!r:.40} is no linear contract of {self.exchange}, as BTC/USDT:USDT is"
            )
        if not leverage.is_finite() or leverage <= 0:
            raise VenueRefused(f"leverage must be greater than 0, not {leverage}")
        await self._wait_ready(ASK_PATIENCE_S)
        reading = _Reading(self._ask)
        try:
            await derivatives.set_leverage(reading, self._ccxt, Pair(**named.groupdict()), leverage)
        except VenueRefused as refused:
            if refused.code not in derivatives.unchanged:
                raise

    def _derivatives(self) -> Derivatives:
        if self.dialect.derivatives is not None:
            return self.dialect.derivatives
        those = ", ".join(name for name, one in sorted(DIALECTS.items()) if one.derivatives is not None)
        raise VenueRefused(
            f"no positions and no leverage at {self.exchange}: only spot is reached; see {those}"
        )

    # --- Orders ---

    async def _create(self, order: NewOrder, asked_at: float) -> None:
        call = Call(_priority_of(order), symbol=order.symbol)
        try:
            report = await self._try_create(order, asked_at, call)
            if isinstance(report, Rejected) and report.sent and report.refusal in RULES_MAY_BE_OLD:
                self._markets_doubted.set()
            self._deliver(report)
        except Exception as error:  # a fault of ours must not lose an order that may exist
            log.exception("create %s at %s", order.order_id, self.exchange)
            self._deliver(OutcomeUnknown(order_id=order.order_id, request="create", message=repr(error)))

    async def _try_create(self, order: NewOrder, asked_at: float, call: Call) -> VenueReport:
        def unsent(refusal: Refusal, message: str) -> Rejected:
            return Rejected(order_id=order.order_id, refusal=refusal, message=message, sent=False)

        if order.client_order_id in self._sent_ids:
            return OutcomeUnknown(
                order_id=order.order_id, request="create", message="this client order id was sent before"
            )
        if self._skew_s is not None and abs(self._skew_s) > self.recv_window_s / 2:
            return unsent(Refusal.CLOCK, f"our clock and {self.exchange}'s differ by {self._skew_s:+.1f} s")
        give_up_at = asked_at + CREATE_PATIENCE_S
        try:
            await self._wait_ready(give_up_at - self._loop.time())
            why = await self._why_not(order)
            if why is not None:
                return unsent(Refusal.PERMANENT, why)
            call.costs = self._create_costs(order)
            turn = await self._limits.acquire(call.priority, call.costs, give_up_at - self._loop.time())
        except (VenueUnavailable, TooBusy) as error:
            return unsent(Refusal.RATE_LIMIT, str(error))
        waited_s = self._loop.time() - asked_at
        call.lane_wait_s = CREATE_PATIENCE_S - waited_s
        params = self._params(order, waited_s)
        _remember(self._waiting, order.client_order_id, order.order_type.waits)
        _remember(self._sent_ids, order.client_order_id, self._clock())
        current_call.set(call)
        failure: BaseException | None = None
        answer: Any = None
        try:
            async with asyncio.timeout(self._timeout_s + CREATE_PATIENCE_S):
                answer = await self._ccxt.create_order(
                    order.symbol,
                    "limit" if order.order_type.limited else "market",
                    str(order.side),
                    plain(order.quantity),
                    None if order.price is None else plain(order.price),
                    params,
                )
        except TooBusy as error:
            failure = error
        except Exception as error:
            failure = error
        finally:
            turn.over(sent=any(attempt.sent for attempt in call.attempts))
        _remember(self._answered_at, order.client_order_id, self._limits.limiter.clock())
        return self._judge_create(order, call.attempts, answer, failure)

    async def _why_not(self, order: NewOrder) -> str | None:
        """Say why the venue would not take this order for what it means; None: it would."""
        if order.symbol not in self._ccxt.markets:
            return None  # ccxt says so
        why = unsupported(order, self.dialect, self._ccxt)
        triggers = self.dialect.triggers
        if why is not None or not order.order_type.waits or triggers is None or triggers.last_price is None:
            return why
        read = triggers.last_price
        try:
            answer = await self._ask("last", lambda: read(self._ccxt, order.symbol))
        except (VenueRefused, Unreadable) as error:
            raise VenueUnavailable(f"the last price is not known: {error}") from error
        return None if answer.value is None else wrong_side(order, answer.value)

    def _create_costs(self, order: NewOrder) -> dict[str, float]:
        what = (
            "create_waiting"
            if order.order_type.waits and "create_waiting" in self.dialect.costs
            else "create"
        )
        return self.dialect.costs_of(what, order.symbol)

    def _params(self, order: NewOrder, waited_s: float) -> dict[str, object]:
        """Return what ccxt is told beside type, side, quantity and price."""
        params = order_params(order, self.dialect.create_parameter)
        params.update(self.dialect.create_words(order))
        params.update(self._expiry(waited_s))
        if order.order_type.waits and self.dialect.triggers is not None:
            params.update(self.dialect.triggers.words(order))
        return {name: value for name, value in params.items() if value is not None}

    def _judge_create(
        self, order: NewOrder, attempts: list[Attempt], answer: Any, failure: BaseException | None
    ) -> VenueReport:
        """Decide what became of a create from what went over the wire."""

        def unknown(message: str) -> OutcomeUnknown:
            return OutcomeUnknown(order_id=order.order_id, request="create", message=message)

        if not any(attempt.sent for attempt in attempts):
            self._sent_ids.pop(order.client_order_id, None)
            if attempts:
                return self._not_sent(order, Refusal.RATE_LIMIT, attempts[-1].error or "could not connect")
            if isinstance(failure, TooBusy | TimeoutError):
                return self._not_sent(order, Refusal.RATE_LIMIT, str(failure) or "no turn in time")
            refusal = Refusal.AUTH if isinstance(failure, ccxt.AuthenticationError) else Refusal.PERMANENT
            return self._not_sent(order, refusal, f"{type(failure).__name__}: {failure}")
        attempt = attempts[-1]
        if attempt.status is None or not attempt.sent:
            return unknown(attempt.error or "no answer")
        body = attempt.body
        said = self.dialect.said(attempt.status, body)
        refusal_said = refusal_of(said, self.dialect.create_refusals) if said else None
        if refusal_said is not None:
            return Rejected(
                order_id=order.order_id,
                refusal=refusal_said,
                message="; ".join(one.message for one in said),
                venue_code=said[0].code,
            )
        if said or failure is not None or not 200 <= attempt.status < 300 or not isinstance(body, dict):
            return unknown(_words(attempt, said, failure))
        exchange_order_id = answer.get("id") if isinstance(answer, dict) else None
        if not isinstance(exchange_order_id, str) or not exchange_order_id:
            return unknown(f"HTTP {attempt.status} without an order id: {attempt.text!r:.200}")
        echoed = answer.get("clientOrderId")
        if echoed is not None and echoed != order.client_order_id:
            return unknown(f"the answer is about another order, {echoed!r:.60}")
        known_as = self._known(order.symbol, exchange_order_id)[0]
        if known_as is not None and known_as != order.order_id:  # Kraken's answer echoes no client id
            return unknown(f"the answer is about another order, {known_as}")
        self._know(order.symbol, exchange_order_id, order.order_id, order.client_order_id)
        acked = Acked(order_id=order.order_id, exchange_order_id=exchange_order_id)
        try:
            return with_details(acked, order, answer)
        except (Unreadable, ValueError, TypeError, KeyError, ArithmeticError) as error:
            log.warning("%s: an accepted order's details are unreadable: %s", self.exchange, error)
            return acked

    def _not_sent(self, order: NewOrder, refusal: Refusal, message: str) -> Rejected:
        return Rejected(order_id=order.order_id, refusal=refusal, message=message, sent=False)

    async def _cancel(self, cancel: CancelRequest) -> None:
        def refused(refusal: Refusal, message: str, code: str | None = None) -> CancelRefused:
            return CancelRefused(order_id=cancel.order_id, refusal=refusal, message=message, venue_code=code)

        try:
            self._deliver(await self._try_cancel(cancel, refused))
        except (TooBusy, VenueUnavailable) as error:
            self._deliver(refused(Refusal.RATE_LIMIT, str(error)))
        except VenueRefused as error:  # to tell us the order's id; no cancel went out
            said = (Said(error.code or "", str(error)),)
            why = refusal_of(said, self.dialect.refusals) or Refusal.RATE_LIMIT
            self._deliver(refused(why, str(error), error.code))
        except Exception as error:
            log.exception("cancel %s at %s", cancel.order_id, self.exchange)
            self._deliver(OutcomeUnknown(order_id=cancel.order_id, request="cancel", message=repr(error)))

    async def _try_cancel(
        self, cancel: CancelRequest, refused: Callable[[Refusal, str, str | None], CancelRefused]
    ) -> VenueReport:
        await self._wait_ready(ASK_PATIENCE_S)
        exchange_order_id, params = cancel.exchange_order_id, {}
        if exchange_order_id is None and self.dialect.cancel_parameter is not None:
            params = {self.dialect.cancel_parameter: cancel.client_order_id}
        elif exchange_order_id is None:
            status = await self._look_up(
                cancel.order_id,
                cancel.symbol,
                None,
                cancel.client_order_id,
                self._sent_ids.get(cancel.client_order_id),
            )
            if status.found is not Found.OPEN:
                return refused(Refusal.UNKNOWN_ORDER, f"looked up first: {status.found}", None)
            exchange_order_id = status.exchange_order_id
        report: VenueReport = refused(Refusal.UNKNOWN_ORDER, "nothing was asked", None)
        for waiting in self._ways_to_cancel(cancel):
            call = Call(Priority.CANCEL, symbol=cancel.symbol)
            report = await self._cancel_once(cancel, exchange_order_id, params, call, refused, waiting)
            if not (isinstance(report, CancelRefused) and report.refusal is Refusal.UNKNOWN_ORDER):
                break
        return report

    def _ways_to_cancel(self, cancel: CancelRequest) -> tuple[bool, ...]:
        """Return whether to cancel it as an order that waits, or not, or the one after the other."""
        triggers = self.dialect.triggers
        if triggers is None or triggers.cancel_words is None:
            return (False,)
        waits = self._waiting.get(cancel.client_order_id)
        if waits is None and cancel.order_type is not None:
            waits = cancel.order_type.waits
        # One that waits may have been triggered since; one that never did cannot begin to.
        return (False,) if waits is False else (True, False) if waits else (False, True)

    async def _cancel_once(
        self,
        cancel: CancelRequest,
        exchange_order_id: str | None,
        params: Mapping[str, object],
        call: Call,
        refused: Callable[[Refusal, str, str | None], CancelRefused],
        waiting: bool,
    ) -> VenueReport:
        triggers, cancelled = self.dialect.triggers, self.dialect.cancelled
        if waiting and triggers is not None:
            params = {**params, **(triggers.cancel_words or {})}
            cancelled = triggers.cancelled or cancelled
        if waiting and "cancel_waiting" in self.dialect.costs:
            call.costs = self.dialect.costs_of("cancel_waiting", cancel.symbol)
        else:
            call.costs = self.dialect.cancel_costs_of(cancel.symbol, self._age_s(cancel.client_order_id))
        turn = await self._limits.acquire(Priority.CANCEL, call.costs, ASK_PATIENCE_S)
        current_call.set(call)
        failure: BaseException | None = None
        answer: Any = None
        try:
            async with asyncio.timeout(self._timeout_s + ASK_PATIENCE_S):
                answer = await self._ccxt.cancel_order(exchange_order_id, cancel.symbol, dict(params))
        except TooBusy:
            raise
        except Exception as error:
            failure = error
        finally:
            turn.over(sent=any(attempt.sent for attempt in call.attempts))
        attempt = call.attempts[-1] if call.attempts else None
        body = attempt.body if attempt else None
        status = attempt.status if attempt else None
        said = self.dialect.said(status, body) if status is not None else ()
        refusal = refusal_of(said, self.dialect.cancel_refusals) if said else None
        if refusal is not None:
            return refused(refusal, "; ".join(one.message for one in said), said[0].code)
        understood = status is not None and 200 <= status < 300 and not said and cancelled(body)
        if failure is not None or not understood or not isinstance(answer, dict):
            message = _words(attempt, said, failure) if attempt else f"{type(failure).__name__}: {failure}"
            return OutcomeUnknown(order_id=cancel.order_id, request="cancel", message=message)
        told_of = body if isinstance(body, str) else answer.get("id")  # Coinbase Exchange answers an id alone
        if cancel.exchange_order_id is not None and told_of not in (None, "", cancel.exchange_order_id):
            message = f"the answer is about another order, {told_of!r:.60}"
            return OutcomeUnknown(order_id=cancel.order_id, request="cancel", message=message)
        filled = answer.get("filled") if answer.get("status") in ("canceled", "expired", "closed") else None
        return CancelAcked(order_id=cancel.order_id, filled_quantity=filled)

    async def _amend(self, request: AmendRequest) -> None:
        try:
            self._deliver(await self._amends.amend(request))
        except Exception as error:  # a fault of ours must not pass for an answer
            log.exception("amend %s at %s", request.order_id, self.exchange)
            self._deliver(OutcomeUnknown(order_id=request.order_id, request="amend", message=repr(error)))

    async def cancel_all(self, symbol: str | None) -> CancelledAll:
        await self._wait_ready(ASK_PATIENCE_S)

        async def ask(what: str, question: Callable[[], Awaitable[Any]]) -> Any:
            return (await self._ask(what, question, priority=Priority.CANCEL)).value

        async def read(symbol: str | None) -> tuple[OrderStatus, ...]:
            orders = (await self._open_orders()).orders
            return tuple(one for one in orders if symbol in (None, one.symbol))

        async def cancel(request: CancelRequest) -> VenueReport:
            def refused(refusal: Refusal, message: str, code: str | None = None) -> CancelRefused:
                return CancelRefused(
                    order_id=request.order_id, refusal=refusal, message=message, venue_code=code
                )

            return await self._try_cancel(request, refused)

        async def look_up(one: OrderStatus) -> OrderStatus:
            assert one.symbol is not None
            assert one.exchange_order_id is not None
            name = one.client_order_id or ""
            status = await self._look_up(one.order_id or "", one.symbol, one.exchange_order_id, name, None)
            self._know(one.symbol, one.exchange_order_id, one.order_id, one.client_order_id)
            if status.found is Found.NOT_FOUND and self.dialect.purges and not one.filled_quantity:
                status = replace(
                    status, found=Found.CLOSED, ending=Ending.CANCELED, filled_quantity=Decimal(0)
                )
            return replace(status, order_id=one.order_id, client_order_id=one.client_order_id)

        try:
            return await cancel_everything(
                self.dialect,
                self._ccxt,
                symbol,
                ask=ask,
                read=read,
                cancel=cancel,
                look_up=look_up,
            )
        except (VenueRefused, TooBusy, Unreadable) as error:
            raise VenueUnavailable(f"the open orders cannot be read: {error}") from error

    # --- Questions ---

    async def _query_order(self, query: QueryOrder) -> None:
        await self._answer(
            "order",
            query.order_id,
            self._look_up(
                query.order_id, query.symbol, query.exchange_order_id, query.client_order_id, query.since
            ),
        )

    async def _look_up(
        self,
        order_id: str,
        symbol: str,
        exchange_order_id: str | None,
        client_order_id: str,
        since: datetime | None,
    ) -> OrderStatus:
        """Find one order; NOT_FOUND only from the venue's own words or from lists that were really read."""
        await self._wait_ready(ASK_PATIENCE_S)
        first_sent_at: datetime | None = None
        orders: list[Any] = []
        if exchange_order_id is not None:
            for lookup in self.dialect.by_exchange_id:
                method = getattr(self._ccxt, lookup.method)
                if lookup.gives_list:
                    params = {lookup.parameter: exchange_order_id}
                    answer = await self._ask(lookup.cost, partial(method, symbol, None, None, params))
                    orders = [one for one in answer.value if one.get("id") == exchange_order_id]
                    if answer.value and not orders:
                        raise Unreadable(
                            f"asked for order {exchange_order_id}, told of {answer.value[0].get('id')!r:.60}"
                        )
                else:
                    answer = await self._ask_or_absent(
                        lookup.cost, partial(method, exchange_order_id, symbol)
                    )
                    orders = [] if answer.value is None else [answer.value]
                first_sent_at = first_sent_at or answer.sent_at
                if orders:
                    break
        elif self.dialect.find is not None:
            reading = _Reading(self._ask)
            since_ms = None if since is None else _to_ms(since - HISTORY_OVERLAP)
            found = await self.dialect.find(reading, self._ccxt, symbol, client_order_id, since_ms)
            first_sent_at = reading.began_at()
            orders = [one for one in found if one.get("clientOrderId") == client_order_id]
        else:
            for lookup in self.dialect.by_client_id:
                method = getattr(self._ccxt, lookup.method)
                params = {lookup.parameter: client_order_id}
                if lookup.gives_list:
                    answer = await self._ask(lookup.cost, partial(method, symbol, None, None, params))
                    found = answer.value
                else:
                    answer = await self._ask_or_absent(lookup.cost, partial(method, None, symbol, params))
                    found = [] if answer.value is None else [answer.value]
                # The earliest question counts: what arrived after it was sent may have been missed by it.
                first_sent_at = first_sent_at or answer.sent_at
                # A filter the venue ignored must not hand us somebody else's order; and it proves nothing.
                orders = [one for one in found if one.get("clientOrderId") == client_order_id]
                if found and not orders:
                    raise Unreadable(
                        f"asked for {client_order_id}, told of {found[0].get('clientOrderId')!r:.60}"
                    )
                if orders:
                    break
        if not orders:
            return OrderStatus(
                order_id=order_id,
                found=Found.NOT_FOUND,
                exchange_order_id=exchange_order_id,
                client_order_id=client_order_id,
                symbol=symbol,
                query_sent_at=first_sent_at,
            )
        status = status_of(orders[0], order_id=order_id, query_sent_at=first_sent_at)
        assert status.exchange_order_id is not None
        if exchange_order_id is not None and status.exchange_order_id != exchange_order_id:
            raise Unreadable(f"asked for order {exchange_order_id}, told of {status.exchange_order_id}")
        self._know(symbol, status.exchange_order_id, order_id, client_order_id)
        return replace(status, client_order_id=client_order_id, symbol=symbol)

    async def _query_trades(self, query: QueryTrades) -> None:
        if query.order_id in self._reading:
            return  # many pages take their time, and the answer to the first question answers this one
        self._reading.add(query.order_id)
        try:
            await self._answer("trades", query.order_id, self._trades_of(query))
        finally:
            self._reading.discard(query.order_id)

    async def _trades_of(self, query: QueryTrades) -> TradesAnswer:
        await self._wait_ready(ASK_PATIENCE_S)
        exchange_order_id = query.exchange_order_id
        if exchange_order_id is None:
            status = await self._look_up(
                query.order_id, query.symbol, None, query.client_order_id, query.since
            )
            exchange_order_id = status.exchange_order_id
        if exchange_order_id is None:
            assert status.query_sent_at is not None
            fills, sent_at = await self._fills_in_history(query)
            return TradesAnswer(
                order_id=query.order_id, fills=fills, query_sent_at=min(sent_at, status.query_sent_at)
            )
        try:
            fills, sent_at = await self._read_fills(query.symbol, exchange_order_id)
        except OrderForgotten:
            # It was acknowledged once; what it did before it was forgotten is in the account's history.
            fills, sent_at = await self._fills_in_history(query)
        fills = tuple(
            replace(fill, order_id=query.order_id, client_order_id=query.client_order_id) for fill in fills
        )
        return TradesAnswer(order_id=query.order_id, fills=fills, query_sent_at=sent_at)

    async def _read_fills(
        self, symbol: str, exchange_order_id: str
    ) -> tuple[tuple[FillReport, ...], datetime]:
        reading = _Reading(self._ask_or_absent)
        read = await self.dialect.fills_of(reading, self._ccxt, symbol, exchange_order_id)
        if read is None:
            raise OrderForgotten(f"order {exchange_order_id} is not known (yet)")
        order_id, client_order_id = self._known(symbol, exchange_order_id)
        fills = tuple(
            fill_of(trade, order_id=order_id, client_order_id=client_order_id)
            for trade in read.trades
            if trade["order"] == exchange_order_id
        )
        if read.expected is not None and sum((fill.quantity for fill in fills), Decimal(0)) != read.expected:
            raise VenueUnavailable(f"{read.expected} filled, but not all of its trades are listed yet")
        return fills, reading.began_at()

    async def _fills_in_history(self, query: QueryTrades) -> tuple[tuple[FillReport, ...], datetime]:
        """Read the account's trades since the order was sent and find those of its client id."""
        reading = _Reading(self._ask)
        since_ms, now_ms = _to_ms(query.since - HISTORY_OVERLAP), _to_ms(self._clock() + HISTORY_OVERLAP)
        trades = await self.dialect.history_of(reading, self._ccxt, query.symbol, since_ms, now_ms)
        known_or_not = {trade["order"] for trade in trades} - {query.exchange_order_id}
        strangers = {order for order in known_or_not if self._place(query.symbol, order) not in self._orders}
        # Some venues tell the client id with each trade.
        names: dict[str, str | None] = {
            trade["order"]: trade["clientOrderId"] for trade in trades if "clientOrderId" in trade
        }
        unnamed = strangers - names.keys()
        if len(unnamed) > STRANGERS_ASKED:
            names |= await self.dialect.names_of(reading, self._ccxt, query.symbol, unnamed)
        else:
            for order in unnamed:
                one = await self._ask("order", partial(self._ccxt.fetch_order, order, query.symbol))
                names[order] = one.value.get("clientOrderId")
        for exchange_order_id in strangers & names.keys():
            self._know(query.symbol, exchange_order_id, None, names[exchange_order_id])
        if strangers - names.keys():
            # What was learned is kept: the next time there is less to ask.
            raise VenueUnavailable(f"{len(strangers)} unknown orders traded since {query.since}")
        fills = tuple(
            fill_of(trade, order_id=query.order_id, client_order_id=query.client_order_id)
            for trade in trades
            if trade["order"] == query.exchange_order_id
            or self._known(query.symbol, trade["order"])[1] == query.client_order_id
        )
        return fills, reading.began_at()

    async def _query_balances(self) -> None:
        async def balances() -> Balances:
            answer = await self._ask("balances", self._ccxt.fetch_balance)
            nothing = Decimal(0)
            holdings = [checked_holding(*one) for one in holdings_of(answer.value)]
            return Balances(
                free={currency: amounts.get("free") or nothing for currency, amounts in holdings},
                used={currency: amounts.get("used") or nothing for currency, amounts in holdings},
                query_sent_at=answer.sent_at,
            )

        await self._answer("balances", None, balances())

    async def _query_open_orders(self) -> None:
        await self._answer("open_orders", None, self._open_orders())

    async def _open_orders(self) -> OpenOrders:
        await self._wait_ready(ASK_PATIENCE_S)
        answer = await self._ask("open_orders", lambda: self.dialect.open_orders(self._ccxt))
        orders = tuple(
            self._named(status_of(one, order_id=None, query_sent_at=answer.sent_at)) for one in answer.value
        )
        return OpenOrders(orders=orders, query_sent_at=answer.sent_at)

    async def _query_markets(self) -> None:
        async def markets() -> MarketsLoaded:
            await self._load_markets()
            if self._markets_again_s() < MARKETS_EVERY_S:
                self._markets_doubted.set()  # the upkeep sleeps until much later
            return MarketsLoaded(markets=self._markets)

        await self._answer("markets", None, markets())

    async def _answer(self, request: str, order_id: str | None, asking: Awaitable[VenueReport]) -> None:
        """Deliver what a question brought, or that it brought nothing."""
        refusal: Refusal | None = None
        try:
            self._deliver(await asking)
            return
        except TooBusy as error:
            refusal, message = Refusal.RATE_LIMIT, str(error)
        except VenueRefused as error:
            refusal = refusal_of((Said(error.code or "", str(error)),), self.dialect.refusals)
            message = f"{error.code}: {error}"
        except (VenueUnavailable, Unreadable) as error:
            message = str(error)
        except Exception as error:
            log.exception("%s question at %s", request, self.exchange)
            message = f"{type(error).__name__}: {error}"
        self._deliver(LookupFailed(request=request, order_id=order_id, message=message, refusal=refusal))

    async def _ask_or_absent(self, what: str, ask: Callable[[], Awaitable[Any]]) -> _Answer:
        """Ask for one order; the value is None when the venue says in its own words that there is none."""
        call = Call(Priority.QUERY)
        try:
            return await self._ask(what, ask, call=call)
        except VenueRefused as error:
            if {(error.code, str(error)), (error.code, None)} & self.dialect.absent:
                return _Answer(None, None, call_sent_at(call))
            raise

    async def _ask(
        self,
        what: str,
        ask: Callable[[], Awaitable[Any]],
        *,
        priority: Priority = Priority.QUERY,
        call: Call | None = None,
    ) -> _Answer:
        """Ask something; raise VenueRefused for a coded no, VenueUnavailable for anything unclear."""
        call = call or Call(priority)
        call.costs = self.dialect.costs_of(what)
        turn = await self._limits.acquire(priority, call.costs, ASK_PATIENCE_S)
        call.sent_at = sent_at = self._clock()
        call.began_at = self._limits.limiter.clock()
        token = current_call.set(call)
        failure: Exception | None = None
        value: Any = None
        try:
            async with asyncio.timeout(self._timeout_s + ASK_PATIENCE_S):
                value = await ask()
        except TooBusy:
            raise
        except Exception as error:
            failure = error
        finally:
            current_call.reset(token)
            turn.over(sent=any(attempt.sent for attempt in call.attempts))
        attempt = call.attempts[-1] if call.attempts else None
        if attempt is None:
            if failure is None:
                return _Answer(value, None, sent_at)
            raise VenueUnavailable(f"{type(failure).__name__}: {failure}") from failure
        body = attempt.body
        said = self.dialect.said(attempt.status, body) if attempt.status is not None else ()
        if said:
            raise VenueRefused("; ".join(one.message for one in said), said[0].code) from failure
        empty = isinstance(failure, ccxt.OrderNotFound) and attempt.status == 200
        if empty and self.dialect.whole[what](body):
            return _Answer(None, body, sent_at)
        if failure is not None or attempt.status is None or not 200 <= attempt.status < 300 or body is None:
            raise VenueUnavailable(_words(attempt, said, failure)) from failure
        if not self.dialect.whole[what](body):
            raise VenueUnavailable(f"no answer to this question: {_words(attempt, said, failure)}")
        return _Answer(value, body, sent_at)

    async def _ask_safely(self, what: str, question: Callable[[], Awaitable[Any]]) -> Any:
        priority = Priority.CANCEL if what == "dead_man" else Priority.QUERY
        return (await self._ask(what, question, priority=priority)).value

    # --- Hints ---

    def _hint(self, report: VenueReport) -> None:
        if isinstance(report, OrderStatus):
            report = self._named(checked_status(report))
        elif isinstance(report, FillReport):
            checked_fill(report)
            order_id, client_order_id = self._known(report.symbol, report.exchange_order_id)
            report = replace(
                report, order_id=order_id, client_order_id=report.client_order_id or client_order_id
            )
        elif isinstance(report, StreamDown):
            self._trouble["stream"] = report.message
        if self._streams.up:
            self._trouble.pop("stream", None)
        if not self._closed:
            self._deliver(report)

    def _named(self, status: OrderStatus) -> OrderStatus:
        order_id, client_order_id = self._known(status.symbol, status.exchange_order_id or "")
        return replace(status, order_id=order_id, client_order_id=status.client_order_id or client_order_id)

    async def _watch(self, symbol: str) -> None:
        await self._ready.wait()
        if symbol not in self._ccxt.markets:
            log.warning("%s has no market %s to watch", self.exchange, symbol)
            return
        self._streams.watch(symbol)

    async def _fetch_book(self, symbol: str) -> Any:
        answer = await self._ask(
            "book",
            lambda: self._ccxt.fetch_order_book(symbol, self.dialect.book_depth),
            priority=Priority.BOOK,
        )
        return answer.value

    # --- Upkeep ---

    async def _keep_markets(self) -> None:
        wait_s = 1.0
        while True:
            try:
                await self._load_markets()
            except Exception as error:  # whatever it is, the next try may go better
                if not isinstance(error, VenueRefused | VenueUnavailable | TooBusy | Unreadable):
                    log.exception("markets of %s", self.exchange)
                self._trouble["markets"] = str(error)
                if not self._ready.is_set():
                    self._deliver(StreamDown(message=f"could not load markets: {error}"))
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, 30.0)
                continue
            wait_s = 1.0
            self._trouble.pop("markets", None)
            self._deliver(MarketsLoaded(markets=self._markets))
            if not self._ready.is_set():
                self._ready.set()
                await self._safety.looked.wait()  # before contact, after which the engine trades
                self._streams.start()
            loaded_at = self._loop.time()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._markets_again_s()):
                    await self._markets_doubted.wait()
                    await asyncio.sleep(loaded_at + MARKETS_AGAIN_S - self._loop.time())
            self._markets_doubted.clear()

    def _markets_again_s(self) -> float:
        """Return how soon to look again: nobody tells that a halt is over, and until then nothing trades."""
        now = self._loop.time()
        watched = any(now - since < HALT_WATCHED_S for since in self._halted_since.values())
        return min(MARKETS_HALTED_S, MARKETS_EVERY_S) if watched else MARKETS_EVERY_S

    async def _load_markets(self) -> None:
        """Load the markets with their rules and status, and the account's fees; one load at a time."""
        async with self._loading:
            await self._load_markets_now()

    async def _load_markets_now(self) -> None:
        await self._ask("markets", self._ccxt.read_markets)
        try:
            self._fees = (await self._ask("fees", lambda: self.dialect.fees(self._ccxt))).value
        except (VenueRefused, VenueUnavailable, TooBusy) as error:
            # Trading on the listed fees is right for planning and wrong by a tier at most; say so.
            used = "those read before" if self._fees else "the listed ones"
            self._trouble["fees"] = f"own fees unknown, {used} are used: {error}"
        else:
            self._trouble.pop("fees", None)
        traded = {market.symbol for market in self._markets if market.active}
        markets = tuple(
            market
            for raw in self._ccxt.markets.values()
            if raw["spot"]
            if (market := self._market(raw)) is not None
        )
        if not markets:
            raise Unreadable("no market in the venue's list")
        self._markets = markets
        for market in markets:
            if market.active:
                self._halted_since.pop(market.symbol, None)
            elif market.symbol in traded:
                self._halted_since[market.symbol] = self._loop.time()

    def _market(self, raw: Any) -> Market | None:
        return market_of(
            self.exchange,
            raw,
            fees=self._fees.get(raw["symbol"]),
            fee_mode=self.dialect.fee_mode,
            tick_key=self.dialect.tick_key,
            market_orders=self.dialect.market_orders,
            precision_mode=self._ccxt.precisionMode,
        )

    async def _keep_clock(self) -> None:
        while True:
            try:
                await self._measure_clock()
            except Exception as error:  # whatever it is, the next try may go better
                if not isinstance(error, VenueRefused | VenueUnavailable | TooBusy):
                    log.exception("clock of %s", self.exchange)
                    self._trouble["clock"] = f"the venue's time is unreadable: {error}"
            await asyncio.sleep(self.dialect.clock_every_s if self._skew_s is not None else 5.0)

    async def _measure_clock(self) -> None:
        call = Call()
        answer = await self._ask("time", self._ccxt.fetch_time, call=call)
        took = self._limits.limiter.clock() - call.began_at
        before = call_sent_at(call)
        if not isinstance(answer.value, int):
            raise VenueUnavailable("the venue's time is unreadable")
        middle = before.timestamp() + took / 2
        # What delay and a coarse clock could explain is not held against anybody.
        coarse = self.dialect.time_resolution_s / 2
        difference = answer.value / 1000 + coarse - middle
        slack = took / 2 + coarse
        self._skew_s = 0.0 if abs(difference) <= slack else difference - (slack if difference > 0 else -slack)
        self._latency_s = took
        self._limits.venue_clock(
            answer.value / 1000 + coarse - (call.began_at + took / 2), doubt_s=took / 2 + coarse
        )
        if abs(self._skew_s) > CLOCK_WARN_S:
            self._trouble["clock"] = f"the venue's clock is {self._skew_s:+.1f} s from ours; set ours right"
            log.warning("%s: %s", self.exchange, self._trouble["clock"])
        else:
            self._trouble.pop("clock", None)

    def _expiry(self, waited_s: float) -> dict[str, object]:
        """Return the venue's own expiry: `recv_window_s` after `send`, in the venue's time."""
        skew_s = self._skew_s or 0.0
        left_s = self.recv_window_s - waited_s
        venue_now = self._clock() + timedelta(seconds=skew_s)
        return dict(self.dialect.expiry(venue_now, left_s + min(0.0, skew_s)))

    def _learn_from(self, attempt: Attempt) -> None:
        """Take what an answer tells about the venue's limits."""
        call = current_call.get()
        if call is None and "unasked" in self.dialect.costs:  # ccxt asks for a stream's sake
            self._limits.count(self.dialect.costs_of("unasked"))
        venue_now_s = self._clock().timestamp() + (self._skew_s or 0.0)
        for one in learn(attempt, call, self.dialect, self._limits, venue_now_s):
            if refusal_of((one,), self.dialect.refusals) is Refusal.CLOCK:
                self._start(self._recheck_clock())

    def _age_s(self, client_order_id: str) -> float:
        """Return how old an order is at least, by the answer that it was placed."""
        not_before = self._answered_at.get(client_order_id)
        if not_before is None and client_order_id in self._sent_ids:
            return 0.0
        return self._limits.limiter.clock() - (self._opened_at if not_before is None else not_before)

    async def _recheck_clock(self) -> None:
        with suppress(VenueRefused, VenueUnavailable, TooBusy):
            await self._measure_clock()

    async def _wait_ready(self, max_wait_s: float) -> None:
        if self._ready.is_set():
            return
        try:
            async with asyncio.timeout(max(0.0, max_wait_s)):
                await self._ready.wait()
        except TimeoutError:
            reason = self._trouble.get("markets", "the markets are not loaded yet")
            raise VenueUnavailable(f"{self.exchange} is not ready: {reason}") from None

    def _know(
        self, symbol: str, exchange_order_id: str, order_id: str | None, client_order_id: str | None
    ) -> None:
        _remember(self._orders, self._place(symbol, exchange_order_id), (order_id, client_order_id))

    def _known(self, symbol: str | None, exchange_order_id: str) -> tuple[str | None, str | None]:
        return self._orders.get(self._place(symbol, exchange_order_id), (None, None))

    def _place(self, symbol: str | None, exchange_order_id: str) -> tuple[str, str]:
        """Return what an exchange's number is unique in; Kraken's rows may lack the symbol."""
        return (symbol or "") if self.dialect.numbers_per_symbol else "", exchange_order_id

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        if self._closed:
            work.close()
            return
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _offer(listing: Listing | None) -> Offer | None:
    if listing is None:
        return None
    return Offer(
        at_once=listing.at_once,
        reach=listing.reach,
        per_market=listing.per_market,
        misses=listing.misses,
        ended_apart=listing.ended_apart,
    )


def call_sent_at(call: Call) -> datetime:
    assert call.sent_at is not None
    return call.sent_at


def _build(dialect: Dialect, keys: VenueKeys, base_url: str | None, ws_url: str | None) -> Any:
    config: dict[str, object] = {
        "apiKey": keys.public,
        "secret": keys.private,
        "enableRateLimit": False,
        "options": dict(dialect.options),
    }
    if keys.passphrase is not None:
        config["password"] = keys.passphrase
    exchange = exchange_class(dialect.ccxt_id, dialect.wire)(config)
    # A silent stream shows itself by two unanswered pings.
    exchange.streaming = {**exchange.streaming, "keepAlive": 10_000, "maxPingPongMisses": 2}
    if not dialect.fetches_currencies:
        exchange.has["fetchCurrencies"] = False
    if base_url is not None:
        repoint(exchange, base_url, ws_url, dialect.ws_paths)
    assert not exchange.enableRateLimit
    # ccxt would repeat a create after a lost answer (RELIABILITY R16).
    assert exchange.options.get("maxRetriesOnFailure", 0) == 0, "ccxt must not retry writes"
    return exchange


def _priority_of(order: NewOrder) -> Priority:
    """Return whose turn it is: what does not rest goes first, for it may be somebody's way out."""
    takes = order.order_type is OrderType.MARKET or order.time_in_force in (TimeInForce.IOC, TimeInForce.FOK)
    return Priority.TAKE if takes else Priority.CREATE


def _words(attempt: Attempt, said: tuple[Said, ...], failure: BaseException | None) -> str:
    """Say what came back, in the venue's words where there are any."""
    if attempt.status is None:
        return attempt.error or "no answer"
    if said:
        return f"HTTP {attempt.status}: " + "; ".join(f"{one.code} {one.message}" for one in said)
    failed = f" ({type(failure).__name__})" if failure is not None else ""
    return f"HTTP {attempt.status}{failed}: {(attempt.text or '')!r:.200}"


def _remember(known: OrderedDict[Any, Any], key: object, value: object) -> None:
    known[key] = value
    known.move_to_end(key)
    while len(known) > REMEMBERED_ORDERS:
        known.popitem(last=False)


def _to_ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
