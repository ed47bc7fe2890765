"""A simulated exchange in the same process, reached through the same Gateway protocol as a real one.

The exchange is `simulator.exchange.Exchange`. What lies between it and the engine is weather: requests are
lost, late or refused, answers vanish, queries show the past, streams lose and repeat. Requests that have
left survive a crash of the process that sent them; answers to a dead process are lost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from random import Random

from ems.core.instrument import Market
from ems.core.messages import (
    Acked,
    Amended,
    AmendRefused,
    AmendRequest,
    Balances,
    BookUpdate,
    CancelAcked,
    CancelRefused,
    CancelRequest,
    Ending,
    FillReport,
    Found,
    Liquidity,
    LookupFailed,
    MarketsLoaded,
    NewOrder,
    OpenOrders,
    OrderStatus,
    OrderType,
    OutcomeUnknown,
    QueryBalances,
    QueryOpenOrders,
    QueryOrder,
    QueryTrades,
    Refusal,
    Rejected,
    Request,
    Side,
    StreamDown,
    StreamUp,
    TimeInForce,
    TradesAnswer,
    UnwatchBook,
    VenueReport,
    WatchBook,
)
from ems.core.triggers import rising
from simulator.exchange import Exchange
from simulator.records import (
    DUPLICATE_CLIENT_ID,
    INSUFFICIENT_FUNDS,
    LOT_SIZE,
    MIN_NOTIONAL,
    ORDER_CLOSED,
    POST_ONLY_WOULD_CROSS,
    PRICE_FILTER,
    UNKNOWN_ORDER,
    BookChange,
    Fill,
    Order,
    OrderUpdate,
    Reject,
    Trigger,
)
from tests.simulation.clock import START, VirtualClock
from tests.simulation.faults import Weather

ACCOUNT = "desk"
REQUEST_TIMEOUT_S = 10.0
BOOK_EVERY_S = 0.5

STOPS = frozenset(kind for kind in OrderType if kind.waits)
TERMS = frozenset({"quantity", "price", "stop_price"})
REFUSALS = {
    INSUFFICIENT_FUNDS: Refusal.INSUFFICIENT_FUNDS,
    LOT_SIZE: Refusal.LOT_TICK,
    PRICE_FILTER: Refusal.LOT_TICK,
    MIN_NOTIONAL: Refusal.MIN_SIZE,
    POST_ONLY_WOULD_CROSS: Refusal.POST_ONLY_WOULD_CROSS,
}
ENDINGS = {"filled": Ending.FILLED, "canceled": Ending.CANCELED, "expired": Ending.EXPIRED}


class Venue:
    """The exchange's side: survives every crash of ours."""

    def __init__(
        self, exchange: Exchange, clock: VirtualClock, rng: Random, weather: Weather, recv_window_s: float
    ):
        self.exchange = exchange
        self.account = exchange.accounts[ACCOUNT]
        self.clock = clock
        self.rng = rng
        self.weather = weather
        self.recv_window_s = recv_window_s
        self.creates: dict[str, int] = {}  # client order id -> creates that reached the matching engine
        self.gateway: VenueGateway | None = None  # of the process that lives now
        exchange.subscribe(self._happened)

    def _happened(self, event: object) -> None:
        if isinstance(event, OrderUpdate) and event.order.account == ACCOUNT and self.gateway is not None:
            self.gateway.stream(event)
        elif isinstance(event, BookChange) and self.gateway is not None:
            self.gateway.book_changed(event.symbol)

    def lagged(self) -> float | None:
        """Return the moment as of which a query sees the account, or None for now."""
        lag = self.rng.uniform(0, self.weather.visibility_lag_s) + self.rng.uniform(0, self.weather.stale_s)
        return self.clock.seconds - lag if lag > 0 else None


class VenueGateway:
    """One process's connection to a venue: implements ems.venues.gateway.Gateway."""

    def __init__(self, venue: Venue, *, fee_mode: str, able: bool, amends: bool):
        self.venue = venue
        self.exchange = venue.exchange.name
        self.account = "default"
        self.mode = "paper"
        self.recv_window_s = venue.recv_window_s
        self.client_id_style = "uuid"
        self.alive = True
        self.watching: set[str] = set()
        self.streaming = False
        self._fee_mode = fee_mode
        self._able = able  # waits for a stop price itself
        self._amends = amends  # changes orders in one step
        self._book_due: set[str] = set()
        self._deliver_now: Callable[[VenueReport], None] = lambda report: None

    # --- The Gateway protocol ----------------------------------------------------------------------

    def open(self, deliver: Callable[[VenueReport], None]) -> None:
        self._deliver_now = deliver
        self.venue.gateway = self
        markets = tuple(
            Market(
                exchange=self.exchange,
                symbol=m.symbol,
                base=m.base,
                quote=m.quote,
                tick=m.tick,
                lot=m.lot,
                min_quantity=m.min_qty,
                max_quantity=m.max_qty,
                min_notional=m.min_notional,
                maker_fee=m.maker_fee,
                taker_fee=m.taker_fee,
                fee_mode=self._fee_mode,
                stops=STOPS if self._able else frozenset(),
                stop_times=frozenset({TimeInForce.GTC}),
                amends=TERMS if self._amends else frozenset(),
            )
            for m in self.venue.exchange.markets.values()
        )
        self._answer(MarketsLoaded(markets=markets), 0.1)
        self._connect(0.2)

    async def close(self) -> None:
        self.alive = False

    def send(self, request: Request) -> None:
        assert self.alive, "a dead process sends nothing"
        match request:
            case NewOrder():
                self._carry(request, self._create, "create")
            case CancelRequest():
                self._carry(request, self._cancel, "cancel")
            case AmendRequest():
                assert self._amends, "asked of a venue that does not do it"
                self._carry(request, self._amend, "amend")
            case QueryOrder():
                self._ask(lambda: self._order_status(request), "order", request.order_id)
            case QueryTrades():
                self._ask(lambda: self._trades(request), "trades", request.order_id)
            case QueryBalances():
                self._ask(self._balances, "balances", None)
            case QueryOpenOrders():
                self._ask(self._open_orders, "open_orders", None)
            case WatchBook():
                self.watching.add(request.symbol)
                self.book_changed(request.symbol)
            case UnwatchBook():
                self.watching.discard(request.symbol)

    # --- Weather -----------------------------------------------------------------------------------

    def _delay(self) -> float:
        return self.venue.rng.expovariate(1 / self.venue.weather.latency_s)

    def _answer(self, report: VenueReport, after: float | None = None) -> None:
        def arrive() -> None:
            if self.alive:
                self._deliver_now(report)

        self.venue.clock.after(self._delay() if after is None else after, arrive)

    def _carry(self, request: NewOrder | CancelRequest | AmendRequest, do: Callable, kind: str) -> None:
        """Carry a write to the venue; its sender hears something within the timeout, or that nobody knows."""
        venue, weather, rng = self.venue, self.venue.weather, self.venue.rng
        sent_at = venue.clock.seconds
        answered = [False]

        def answer(report: VenueReport) -> None:
            if not answered[0]:
                answered[0] = True
                self._answer(report)

        def nobody_knows() -> None:
            if not answered[0] and self.alive:
                answered[0] = True
                self._deliver_now(
                    OutcomeUnknown(order_id=request.order_id, request=kind, message="no answer in time")
                )

        venue.clock.after(REQUEST_TIMEOUT_S, nobody_knows)
        if rng.random() < weather.drop_request:
            return
        if rng.random() < weather.refuse_rate:
            refused = {"cancel": CancelRefused, "amend": AmendRefused}.get(kind, Rejected)
            answer(refused(order_id=request.order_id, refusal=Refusal.RATE_LIMIT, message="slow down"))
            return
        delay = rng.uniform(5, 40) if rng.random() < weather.late_request else self._delay()

        def arrive() -> None:
            report = do(request, sent_at)
            luck = rng.random()
            if luck < weather.drop_answer:
                return
            if luck < weather.drop_answer + weather.garbage_answer:
                report = OutcomeUnknown(order_id=request.order_id, request=kind, message="200 with no body")
            answer(report)

        venue.clock.after(delay, arrive)

    def _ask(self, look: Callable[[], VenueReport], request: str, order_id: str | None) -> None:
        venue = self.venue
        sent_at = venue.clock.now()

        def arrive() -> None:
            if venue.rng.random() < venue.weather.fail_lookup:
                self._answer(LookupFailed(request=request, order_id=order_id, message="502"))
                return
            report = look()
            self._answer(_with_time(report, sent_at))

        venue.clock.after(self._delay(), arrive)

    # --- What the venue does -------------------------------------------------------------------------

    def _create(self, request: NewOrder, sent_at: float) -> VenueReport:
        venue = self.venue
        now = venue.clock.seconds
        if now - sent_at > venue.recv_window_s:
            return Rejected(
                order_id=request.order_id, refusal=Refusal.CLOCK, message="outside the receive window"
            )
        try:
            order = venue.exchange.create_order(
                venue.account,
                request.symbol,
                str(request.side),
                "limit" if request.order_type.limited else "market",
                request.quantity,
                request.price,
                time_in_force=str(request.time_in_force) if request.price is not None else "IOC",
                trigger=trigger_of(request),
                post_only=request.post_only,
                client_order_id=request.client_order_id,
                now=now,
            )
        except Reject as no:
            if no.reason == DUPLICATE_CLIENT_ID:
                return OutcomeUnknown(
                    order_id=request.order_id, request="create", message="duplicate client id"
                )
            refusal = REFUSALS.get(no.reason, Refusal.PERMANENT)
            return Rejected(
                order_id=request.order_id, refusal=refusal, message=no.message, venue_code=no.reason
            )
        venue.creates[request.client_order_id] = venue.creates.get(request.client_order_id, 0) + 1
        return Acked(
            order_id=request.order_id,
            exchange_order_id=str(order.order_id),
            filled_quantity=order.filled_quantity,
            ending=ENDINGS.get(order.status),
            fills=tuple(fill_report(fill) for fill in order.fills),
        )

    def _amend(self, request: AmendRequest, sent_at: float) -> VenueReport:
        venue = self.venue
        now = venue.clock.seconds
        refusal = Refusal.CLOCK if now - sent_at > venue.recv_window_s else None
        try:
            if refusal is None:
                venue.exchange.amend_order(
                    venue.account,
                    int(request.exchange_order_id) if request.exchange_order_id else None,
                    request.client_order_id,
                    quantity=request.quantity,
                    price=request.price,
                    trigger_price=request.stop_price,
                    now=now,
                )
        except Reject as no:
            refusal = REFUSALS.get(no.reason, Refusal.PERMANENT)
        if refusal is not None:
            return AmendRefused(order_id=request.order_id, refusal=refusal, message="not amended")
        return Amended(order_id=request.order_id)

    def _cancel(self, request: CancelRequest, _sent_at: float) -> VenueReport:
        venue = self.venue
        if venue.rng.random() < venue.weather.cancel_acks_late:
            venue.clock.after(venue.rng.uniform(1, 15), lambda: self._cancel_now(request))
            return CancelAcked(order_id=request.order_id)
        return self._cancel_now(request)

    def _cancel_now(self, request: CancelRequest) -> VenueReport:
        venue = self.venue
        order_id = int(request.exchange_order_id) if request.exchange_order_id else None
        try:
            order = venue.exchange.cancel_order(
                venue.account, order_id, request.client_order_id, now=venue.clock.seconds
            )
        except Reject as no:
            assert no.reason in (UNKNOWN_ORDER, ORDER_CLOSED)
            # Many venues say "unknown order" for one that has just filled: it proves nothing.
            return CancelRefused(
                order_id=request.order_id, refusal=Refusal.UNKNOWN_ORDER, message="unknown order"
            )
        silent = venue.rng.random() < venue.weather.cancel_says_nothing
        return CancelAcked(
            order_id=request.order_id, filled_quantity=None if silent else order.filled_quantity
        )

    def _order_status(self, request: QueryOrder) -> VenueReport:
        venue = self.venue
        order_id = int(request.exchange_order_id) if request.exchange_order_id else None
        order = venue.exchange.find_order(
            venue.account, order_id, request.client_order_id, as_of=venue.lagged()
        )
        if order is None:
            return OrderStatus(order_id=request.order_id, found=Found.NOT_FOUND)
        return order_status(order, request.order_id)

    def _trades(self, request: QueryTrades) -> VenueReport:
        venue = self.venue
        fills = venue.exchange.my_trades(
            venue.account, request.symbol, since=(request.since - START).total_seconds(), as_of=venue.lagged()
        )
        mine = tuple(fill_report(f) for f in fills if f.client_order_id == request.client_order_id)
        return TradesAnswer(order_id=request.order_id, fills=mine, query_sent_at=START)

    def _balances(self) -> VenueReport:
        balances = self.venue.exchange.balances(self.venue.account, self.venue.lagged())
        return Balances(
            free={c: free for c, (free, _) in balances.items()},
            used={c: used for c, (_, used) in balances.items()},
            query_sent_at=START,
        )

    def _open_orders(self) -> VenueReport:
        orders = self.venue.exchange.open_orders(self.venue.account, as_of=self.venue.lagged())
        return OpenOrders(orders=tuple(order_status(o, None) for o in orders), query_sent_at=START)

    # --- Streams -------------------------------------------------------------------------------------

    def _connect(self, after: float) -> None:
        def up() -> None:
            if self.alive:
                self.streaming = True
                self._deliver_now(StreamUp())

        self.venue.clock.after(after, up)

    def stream(self, event: OrderUpdate) -> None:
        """Pass an order event on, as far as the weather lets it."""
        weather, rng = self.venue.weather, self.venue.rng
        if not (self.alive and self.streaming):
            return
        if rng.random() < weather.cut_stream:
            self.streaming = False
            self._answer(StreamDown(message="connection reset"), 0.0)
            self._connect(rng.uniform(0.5, 8))
            return
        if rng.random() < weather.lose_stream:
            return
        report: VenueReport
        if event.fill is not None:
            report = fill_report(event.fill)
        else:
            report = order_status(event.order, None, status=event.status, filled=event.filled_quantity)
        for _ in range(1 + (rng.random() < weather.repeat_stream)):
            self._answer(report, rng.uniform(0, weather.delay_stream_s))

    def book_changed(self, symbol: str) -> None:
        """Send the book soon; changes in between are conflated."""
        if symbol not in self.watching or symbol in self._book_due or not self.alive:
            return
        self._book_due.add(symbol)

        def send() -> None:
            self._book_due.discard(symbol)
            if not self.alive:
                return
            depth = self.venue.exchange.depth(symbol, 20, now=self.venue.clock.seconds)
            self._deliver_now(
                BookUpdate(
                    symbol=symbol,
                    bids=tuple((p, q) for p, q in depth.bids),
                    asks=tuple((p, q) for p, q in depth.asks),
                    at=self.venue.clock.now(),
                )
            )

        self.venue.clock.after(BOOK_EVERY_S, send)


def trigger_of(request: NewOrder) -> Trigger | None:
    if request.stop_price is None:
        return None
    up = rising(request.order_type, request.side)
    return Trigger(kind="trigger", price=request.stop_price, rising=up)


def fill_report(fill: Fill) -> FillReport:
    return FillReport(
        fill_id=str(fill.trade_id),
        exchange_order_id=str(fill.order_id),
        client_order_id=fill.client_order_id,
        symbol=fill.symbol,
        side=Side(fill.side),
        price=fill.price,
        quantity=fill.quantity,
        fee=fill.fee,
        fee_currency=fill.fee_currency,
        liquidity=Liquidity(fill.liquidity),
        at=START + timedelta(seconds=fill.time),
    )


def order_status(
    order: Order, order_id: str | None, *, status: str | None = None, filled: Decimal | None = None
) -> OrderStatus:
    ending = ENDINGS.get(order.status if status is None else status)
    return OrderStatus(
        order_id=order_id,
        found=Found.OPEN if ending is None else Found.CLOSED,
        exchange_order_id=str(order.order_id),
        client_order_id=order.client_order_id,
        symbol=order.symbol,
        side=Side(order.side),
        quantity=order.quantity,
        price=order.price,
        stop_price=None if order.trigger is None else order.trigger.price,
        filled_quantity=order.filled_quantity if filled is None else filled,
        ending=ending,
    )


def _with_time(report: VenueReport, sent_at: object) -> VenueReport:
    return replace(report, query_sent_at=sent_at)  # type: ignore[call-arg, type-var, arg-type]
