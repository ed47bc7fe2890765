"""One exchange account through ccxt: REST for orders and questions, streams for hints and books.

The same code reaches the live exchange or a simulator on loopback; only the base URL differs. Everything
happens on the runner's event loop: `send` starts a task and returns, reports are delivered on the loop.

What is done is beside this file: `creates`, `cancels`, `amends` send and judge; `lookups` and `listings` read
what became of orders; `markets`, `clock` and `safety` are upkeep; `asking` is how anything is asked.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any

from ems.core.messages import (
    AmendRequest,
    Balances,
    CancelEverything,
    CancelRequest,
    ChooseLeverage,
    EverythingCancelled,
    FillReport,
    LookupFailed,
    Moved,
    NewOrder,
    OrderStatus,
    QueryBalances,
    QueryContract,
    QueryDay,
    QueryMarkets,
    QueryOpenOrders,
    QueryOrder,
    QueryTradeHistory,
    QueryTrades,
    QueryTransfers,
    Refusal,
    Request,
    StreamDown,
    TransfersRead,
    UnwatchBook,
    VenueReport,
    WatchBook,
    Withdraw,
)
from ems.core.records import Transfer, VenueOrder
from ems.venues.amends import Amends
from ems.venues.asking import ASK_PATIENCE_S, Asking
from ems.venues.bounds import BoundsKeeper
from ems.venues.cancels import Cancels
from ems.venues.clock import VenueClock
from ems.venues.connection import VenueKeys, connection
from ems.venues.contracts import Contracts
from ems.venues.creates import Creates
from ems.venues.days import read_day
from ems.venues.departures import Departures
from ems.venues.dialects import DIALECTS
from ems.venues.dialects.dialect import Dialect
from ems.venues.errors import Said, refusal_of
from ems.venues.feedback import learn
from ems.venues.gateway import CancelledAll, FundingPayment, Position, VenueRefused, VenueUnavailable
from ems.venues.known import KnownOrders
from ems.venues.limiter import Lane, Limit, Limiter, Priority, TooBusy
from ems.venues.listings import offer_of, read_rows
from ems.venues.lookups import Lookups
from ems.venues.markets import Markets
from ems.venues.safety import Safety
from ems.venues.streams import Streams
from ems.venues.translation import (
    Unreadable,
    checked_fill,
    checked_holding,
    checked_status,
    holdings_of,
    listed_order,
    listed_transfer,
)
from ems.venues.transport import Attempt, current_call

log = logging.getLogger(__name__)


def _utc_now() -> datetime:
    return datetime.now(UTC)


class CcxtGateway:
    """Implements `Gateway` for every exchange in `DIALECTS`.

    `base_url` and `ws_url` point all of it elsewhere; a paper account must have them. `limiter` is shared by
    all accounts that reach the same exchange from here; without one this account counts for itself. `shapes`
    replaces the venue's rate limits where the other side has none (a simulator under measurement).
    `may_withdraw` lets a key trade that may also withdraw; `exclusive` says that nobody else trades on the
    account, so that the exchange's dead-man's switch may cancel everything there. `swaps` trades perpetual
    contracts beside spot.
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
        swaps: bool = False,
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
        self.identity = hashlib.sha256(f"{mode} {base_url} {keys.public}".encode()).hexdigest()[:16]
        self.dialect: Dialect = DIALECTS[exchange]
        self.recv_window_s = self.dialect.recv_window_s
        self.client_id_style = self.dialect.client_id_style
        self.past_orders_offer = offer_of(self.dialect.past_orders)
        self.transfers_offer = offer_of(self.dialect.transfers)
        self._clock = clock
        self._timeout_s = request_timeout_s
        limiter = limiter or Limiter(self.dialect.limits.shapes if shapes is None else shapes)
        self._limits = limiter.of(keys.public)
        self._asking = Asking(self.dialect, limits=self._limits, now=clock, timeout_s=request_timeout_s)
        self._may_withdraw = may_withdraw
        self._exclusive = exclusive
        self._ccxt = connection(self.dialect, keys, base_url, ws_url, swaps=swaps)
        self._ccxt.request_timeout_s = request_timeout_s
        self._ccxt.timeout = int(request_timeout_s * 1000)
        self._ccxt.steady = limiter.clock
        self._ccxt.on_attempt = self._learn_from
        self._ccxt.trades_apart = self.dialect.tape.apart
        self._tasks: set[asyncio.Task[None]] = set()
        self._reading: set[str] = set()  # our ids of orders whose trades are being read
        self._closed = False
        self._trouble: dict[str, str] = {}  # subject -> what is wrong with it now

    # --- The protocol ---

    def open(self, deliver: Callable[[VenueReport], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._deliver = deliver
        if self.dialect.nonce_lane:
            self._ccxt.lane = Lane()
        venue = self.dialect, self._ccxt
        asking, limits, now, timeout_s = self._asking, self._limits, self._clock, self._timeout_s
        known = self._known = KnownOrders(self.dialect, limits.limiter.clock)
        self._venue_clock = VenueClock(*venue, asking, limits=limits, now=now, trouble=self._trouble)
        markets = self._markets = Markets(*venue, asking, deliver=deliver, trouble=self._trouble)
        self._lookups = Lookups(*venue, asking, known=known, markets=markets, now=now)
        self._bounds = BoundsKeeper(*venue, asking, deliver=deliver, trouble=self._trouble)
        self._departures = Departures()
        self._creates = Creates(
            *venue,
            asking,
            known=known,
            departures=self._departures,
            markets=markets,
            clock=self._venue_clock,
            limits=limits,
            now=now,
            timeout_s=timeout_s,
        )
        self._cancels = Cancels(
            *venue,
            asking,
            known=known,
            markets=markets,
            lookups=self._lookups,
            limits=limits,
            timeout_s=timeout_s,
        )
        self._amends = Amends(
            *venue,
            known=known,
            departures=self._departures,
            lookups=self._lookups,
            limits=limits,
            wait_ready=markets.wait_ready,
            timeout_s=timeout_s,
        )
        self._contracts = Contracts(*venue, asking, wait_ready=markets.wait_ready)
        self._streams = Streams(
            self._ccxt, self.dialect, deliver=self._hint, now=now, fetch_book=self._fetch_book
        )
        self._ccxt.on_frame = self._streams.on_frame
        self._safety = Safety(
            *venue,
            ask=self._ask_safely,
            tell=deliver,
            now=now,
            may_withdraw=self._may_withdraw,
            exclusive=self._exclusive,
        )
        self._start(self._safety.keep_key())
        self._start(self._safety.keep_switch())
        self._start(markets.keep_markets(self._start_streams))
        self._start(self._venue_clock.keep_clock())

    async def _start_streams(self) -> None:
        await self._safety.looked.wait()  # before contact, after which the engine trades
        self._streams.start()

    def send(self, request: Request) -> None:
        if self._closed:
            return
        match request:
            case NewOrder():
                self._start(self._report(self._creates.create(request, self._loop.time())))
            case CancelRequest():
                self._start(self._report(self._cancels.cancel(request)))
            case Withdraw():
                self._departures.withdraw(request.order_id)
            case AmendRequest():
                self._start(self._report(self._amends.amend(request)))
            case QueryOrder():
                self._start(self._answer("order", request.order_id, partial(self._look_up, request)))
            case QueryTrades():
                self._start(self._query_trades(request))
            case QueryBalances():
                self._start(self._answer("balances", None, self._read_balances))
            case QueryContract():
                self._start(self._report(self._contracts.read(request.symbol)))
            case ChooseLeverage():
                self._start(self._report(self._contracts.choose(request)))
            case QueryDay():
                self._start(self._tell_day(request.symbol))
            case QueryTransfers():
                self._start(self._tell_transfers(request.since))
            case QueryTradeHistory():
                self._start(self._report(self._lookups.trade_history(request)))
            case QueryOpenOrders():
                priority = Priority.CANCEL if request.urgent else Priority.QUERY
                read = partial(self._lookups.open_orders, priority)
                self._start(self._answer("open_orders", None, read))
            case CancelEverything():
                self._start(self._answer("everything", None, partial(self._empty, request.symbol)))
            case QueryMarkets():
                self._start(self._answer("markets", None, self._markets.ask_again))
            case WatchBook():
                self._start(self._watch(request.symbol))
            case UnwatchBook():
                self._bounds.unwatch(request.symbol)
                self._start(self._streams.unwatch(request.symbol))

    async def close(self, *, planned: bool = True) -> None:
        """Stop everything; what was under way stays unanswered and is looked up after the next start."""
        self._closed = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if hasattr(self, "_streams"):  # it was opened
            self._bounds.close()
            await self._streams.close()
            if planned:
                await self._safety.disarm()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._ccxt.timeout_on_exit = 0
        await self._ccxt.close()

    async def fetch_balances(self) -> dict[str, dict[str, Decimal]]:
        answer = await self._asking.ask("balances", self._ccxt.fetch_balance)
        nothing = Decimal(0)
        return {
            currency: {part: amounts.get(part) or nothing for part in ("free", "used", "total")}
            for currency, amounts in holdings_of(answer.value)
        }

    async def fetch_fees(self, symbol: str | None) -> list[dict[str, object]]:
        await self._markets.wait_ready(ASK_PATIENCE_S)
        answer = await self._asking.ask("fees", lambda: self.dialect.fees(self._ccxt))
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
        await self._markets.wait_ready(ASK_PATIENCE_S)
        tier = (await self._asking.ask("tier", lambda: read(self._ccxt))).value
        return {"name": tier.name, "volume_30d": tier.volume_30d, "currency": tier.currency}

    async def fetch_past_orders(
        self, symbol: str | None, since: datetime, until: datetime
    ) -> list[VenueOrder]:
        assert self.dialect.past_orders is not None, "ask the offer first"
        await self._markets.wait_ready(ASK_PATIENCE_S)
        self._venue_clock.check()
        translate = partial(listed_order, self.exchange, self.account, self.mode)
        found = await read_rows(
            self.dialect.past_orders,
            self.dialect,
            self._ccxt,
            self._asking,
            translate,
            symbol=symbol,
            since=since,
            until=until,
        )
        return [one for one in found if since <= one.created_at < until and symbol in (None, one.symbol)]

    async def fetch_transfers(self, since: datetime, until: datetime) -> list[Transfer]:
        assert self.dialect.transfers is not None, "ask the offer first"
        await self._markets.wait_ready(ASK_PATIENCE_S)
        self._venue_clock.check()
        translate = partial(listed_transfer, self.exchange, self.account, self.mode)
        found = await read_rows(
            self.dialect.transfers,
            self.dialect,
            self._ccxt,
            self._asking,
            translate,
            symbol=None,
            since=since,
            until=until,
        )
        return [one for one in found if since <= one.at < until]

    async def _tell_day(self, symbol: str) -> None:
        self._deliver(await read_day(self.dialect, self._ccxt, self._asking, symbol, self._clock))

    async def _tell_transfers(self, since: datetime) -> None:
        """Report deposits and withdrawals; where they are not to be had, why."""
        offer = self.transfers_offer
        if offer is None:
            self._deliver(TransfersRead(problem=f"{self.exchange} lists none"))
            return
        try:
            rows = await self.fetch_transfers(since, self._clock())
        except (VenueRefused, VenueUnavailable, TooBusy) as error:
            self._deliver(TransfersRead(problem=str(error) or "no usable answer"))
            return
        moved = (
            Moved(
                transfer_id=f"{row.kind}/{row.transfer_id}",
                kind=row.kind,
                currency=row.currency,
                amount=row.amount,
                fee=row.fee,
                status=row.status,
                at=row.at,
            )
            for row in rows
        )
        self._deliver(TransfersRead(transfers=tuple(moved)))

    async def fetch_health(self) -> dict[str, object]:
        reachable = True
        try:
            if self._limits.paused_s() > 0:
                # Who asks wants to know now.
                raise TooBusy(self._limits.paused_s(), self._limits.why_paused())
            await self._venue_clock.measure()
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
        clock = self._venue_clock
        return {
            "reachable": reachable,
            "latency_ms": None if clock.latency_s is None else Decimal(round(clock.latency_s * 1000)),
            "clock_skew_ms": None if clock.skew_s is None else Decimal(round(clock.skew_s * 1000)),
            "stream_up": self._streams.up,
            "markets": sum(market.active for market in self._markets.listed),
            **self._safety.health(),
            "problems": [f"{subject}: {words}" for subject, words in sorted(wrong.items())],
        }

    async def fetch_order_fills(self, symbol: str, exchange_order_id: str) -> list[FillReport]:
        await self._markets.wait_ready(ASK_PATIENCE_S)
        fills, _ = await self._lookups.read_fills(symbol, exchange_order_id)
        return list(fills)

    async def fetch_positions(self) -> list[Position]:
        return await self._contracts.positions()

    async def fetch_funding(self, since: datetime, until: datetime) -> list[FundingPayment]:
        return await self._contracts.funding(since, until)

    async def set_leverage(self, symbol: str, leverage: Decimal) -> None:
        await self._contracts.set_leverage(symbol, leverage)

    async def cancel_all(self, symbol: str | None) -> CancelledAll:
        return await self._cancels.cancel_all(symbol)

    async def _empty(self, symbol: str | None) -> EverythingCancelled:
        done = await self._cancels.cancel_all(symbol)
        unproven = (f"{one.symbol} {one.exchange_order_id}: not proven" for one in done.unproven)
        return EverythingCancelled(cancelled=len(done.cancelled), problems=(*done.problems, *unproven))

    # --- Requests ---

    async def _report(self, acting: Awaitable[VenueReport]) -> None:
        self._deliver(await acting)

    async def _look_up(self, query: QueryOrder) -> OrderStatus:
        return await self._lookups.look_up(
            query.order_id, query.symbol, query.exchange_order_id, query.client_order_id, query.since
        )

    async def _query_trades(self, query: QueryTrades) -> None:
        if query.order_id in self._reading:
            return  # many pages take their time, and the answer to the first question answers this one
        self._reading.add(query.order_id)
        try:
            await self._answer("trades", query.order_id, partial(self._lookups.trades_of, query))
        finally:
            self._reading.discard(query.order_id)

    async def _read_balances(self) -> Balances:
        answer = await self._asking.ask("balances", self._ccxt.fetch_balance)
        nothing = Decimal(0)
        holdings = [checked_holding(*one) for one in holdings_of(answer.value)]
        return Balances(
            free={currency: amounts.get("free") or nothing for currency, amounts in holdings},
            used={currency: amounts.get("used") or nothing for currency, amounts in holdings},
            query_sent_at=answer.sent_at,
        )

    async def _answer(
        self, request: str, order_id: str | None, ask: Callable[[], Awaitable[VenueReport]]
    ) -> None:
        """Deliver what a question brought, or that it brought nothing."""
        refusal: Refusal | None = None
        try:
            self._deliver(await ask())
            return
        except TooBusy as error:
            refusal, message = Refusal.RATE_LIMIT, str(error)
        except VenueRefused as error:
            refusal = refusal_of((Said(error.code or "", str(error)),), self.dialect.words.refusals)
            message = f"{error.code}: {error}"
        except (VenueUnavailable, Unreadable) as error:
            message = str(error)
        except Exception as error:
            log.exception("%s question at %s", request, self.exchange)
            message = f"{type(error).__name__}: {error}"
        self._deliver(LookupFailed(request=request, order_id=order_id, message=message, refusal=refusal))

    async def _ask_safely(self, what: str, question: Callable[[], Awaitable[Any]]) -> Any:
        priority = Priority.CANCEL if what == "dead_man" else Priority.QUERY
        return (await self._asking.ask(what, question, priority=priority)).value

    # --- Hints ---

    def _hint(self, report: VenueReport) -> None:
        if isinstance(report, OrderStatus):
            report = self._known.named(checked_status(report))
        elif isinstance(report, FillReport):
            checked_fill(report)
            order_id, client_order_id = self._known.names_of(report.symbol, report.exchange_order_id)
            report = replace(
                report, order_id=order_id, client_order_id=report.client_order_id or client_order_id
            )
        elif isinstance(report, StreamDown):
            self._trouble["stream"] = report.message
        if self._streams.up:
            self._trouble.pop("stream", None)
        if not self._closed:
            self._deliver(report)

    async def _watch(self, symbol: str) -> None:
        await self._markets.ready.wait()
        if symbol not in self._ccxt.markets:
            log.warning("%s has no market %s to watch", self.exchange, symbol)
            return
        self._streams.watch(symbol)
        if self._ccxt.markets[symbol]["spot"]:
            self._bounds.watch(symbol)

    async def _fetch_book(self, symbol: str) -> Any:
        answer = await self._asking.ask(
            "book",
            lambda: self._ccxt.fetch_order_book(symbol, self.dialect.book_depth),
            priority=Priority.BOOK,
        )
        return answer.value

    def _learn_from(self, attempt: Attempt) -> None:
        """Take what an answer tells about the venue's limits."""
        call = current_call.get()
        if call is None and "unasked" in self.dialect.limits.costs:  # ccxt asks for a stream's sake
            self._limits.count(self.dialect.limits.costs_of("unasked"))
        venue_now_s = self._venue_clock.now().timestamp()
        for one in learn(attempt, call, self.dialect, self._limits, venue_now_s):
            if refusal_of((one,), self.dialect.words.refusals) is Refusal.CLOCK:
                self._start(self._venue_clock.recheck())

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        if self._closed:
            work.close()
            return
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
