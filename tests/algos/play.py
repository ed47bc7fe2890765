"""A tiny venue and a loop that lets `decide` work a leg in it, checking each order as the engine would."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal

from ems.algos import ledger
from ems.algos.params import PROFILES, Params
from ems.algos.view import CancelChild, Decision, Done, GiveUp, Place, View, Wait
from ems.algos.walker import decide
from ems.core.child import exposure
from ems.core.instrument import Market
from ems.core.messages import BookUpdate, Side, TimeInForce
from ems.core.records import Asked, Order, Phase, Status
from tests import builders
from tests.builders import at

ZERO = Decimal(0)
Quotes = Callable[[float], tuple[str, str]]  # seconds -> bid, ask


def steady(_: float) -> tuple[str, str]:
    return "2000", "2000.5"


@dataclass
class Play:
    """One leg, one market. Seconds are simulated; every step the market moves, then the leg decides."""

    algo: str | Params = "adaptive"
    side: Side = Side.BUY
    amount: str = "10000"  # source currency
    quantity: str | None = None
    seconds: float = 60
    quotes: Quotes = steady
    size: str = "10"
    fill_makers: float = 1.0  # share of a resting order that fills once the market touches its price
    touched: Callable[[float], bool] = lambda _: False  # when sellers (for a buy) come to our price
    cancel_s: float = 0.1
    market: Market = field(default_factory=builders.market)
    view_fields: dict[str, object] = field(default_factory=dict)
    orders: list[Order] = field(default_factory=list)
    now: datetime = at(0)
    log: list[tuple[float, Decision]] = field(default_factory=list)
    end: Done | GiveUp | None = None
    cancels: dict[str, datetime] = field(default_factory=dict)
    refuse: Callable[[Place, float], bool] = lambda *_: False
    lose: Callable[[Place, float], bool] = lambda *_: False  # becomes unknown and stays so

    @property
    def clock(self) -> float:
        return (self.now - at(0)).total_seconds()

    @property
    def params(self) -> Params:
        return PROFILES[self.algo] if isinstance(self.algo, str) else self.algo

    @property
    def source(self) -> str:
        return self.market.quote if self.side is Side.BUY else self.market.base

    @property
    def filled(self) -> Decimal:
        return sum((order.filled_quantity for order in self.orders), ZERO)

    @property
    def available(self) -> Decimal:
        return Decimal(self.amount) - ledger.spent(self.orders, self.source)

    @property
    def takes(self) -> list[tuple[float, Place]]:
        return [(t, d) for t, d in self.log if isinstance(d, Place) and d.purpose == "take"]

    @property
    def makes(self) -> list[tuple[float, Place]]:
        return [(t, d) for t, d in self.log if isinstance(d, Place) and d.purpose == "make"]

    def book(self) -> BookUpdate:
        bid, ask = self.quotes(self.clock)
        return builders.book(bid, ask, size=self.size, when=self.clock)

    def view(self) -> View:
        fields: dict[str, object] = {
            "params": self.params,
            "side": self.side,
            "market": self.market,
            "orders": tuple(self.orders),
            "book": self.book(),
            "total": Decimal(self.amount),
            "available": self.available,
            "quantity": None if self.quantity is None else Decimal(self.quantity),
            "started_at": at(0),
            "ends_at": at(self.seconds),
            "seed": "q1.1",
            **self.view_fields,
        }
        return View(**fields)  # type: ignore[arg-type]

    def run(self, until: float | None = None, *, step: float = 0.25) -> Play:
        """Play until the leg ends, or up to a moment; a leg that never ends fails the test."""
        limit = self.seconds + 200 if until is None else until
        while self.end is None and self.clock < limit:
            self._market_moves()
            self._decide()
            self.now += timedelta(seconds=step)
        assert until is not None or self.end is not None, f"still at work after {self.clock} s"
        return self

    def _decide(self) -> None:
        for _ in range(50):
            view = self.view()
            decision = decide(view, self.now)
            assert decision == decide(view, self.now), "the same view gives the same decision"
            if not isinstance(decision, Wait):
                self.log.append((self.clock, decision))
            match decision:
                case Wait():
                    assert decision.until > self.now
                    return
                case Done() | GiveUp():
                    if isinstance(decision, Done):
                        assert not view_out(view), "done with orders out"
                    self.end = decision
                    return
                case CancelChild():
                    self._cancel(decision.order_id)
                case Place():
                    self._place(view, decision)
        raise AssertionError("it decides without end")

    def _cancel(self, order_id: str) -> None:
        number = next(k for k, o in enumerate(self.orders) if o.order_id == order_id)
        order = self.orders[number]
        assert order.asked is Asked.NOTHING and order.phase is not Phase.SETTLED
        phase = Phase.PENDING_CANCEL if order.phase is Phase.LIVE else order.phase
        self.orders[number] = replace(order, asked=Asked.CANCEL, phase=phase, updated_at=self.now)
        self.cancels[order_id] = self.now + timedelta(seconds=self.cancel_s)

    def _place(self, view: View, place: Place) -> None:
        market = self.market
        reserved = market.reserve(self.side, place.quantity, place.price, post_only=place.post_only)
        assert ledger.committed(view.orders) + reserved <= view.available, "beyond the funds"
        if view.quantity is not None:
            out = sum((exposure(o) for o in view.orders), ZERO)
            assert self.filled + out + place.quantity <= view.quantity, "beyond the quantity"
        assert market.order_ok(place.quantity, place.price), f"not a legal order: {place}"
        assert place.quantity % market.lot == 0 and place.price % market.tick == 0
        if view.limit is not None:
            within = place.price <= view.limit if self.side is Side.BUY else place.price >= view.limit
            assert within, "beyond the limit"
        recent = [o for o in self.orders if self.now - o.created_at < timedelta(seconds=1)]
        assert len(recent) < self.params.max_requests_per_s
        order = builders.order(
            order_id=f"q1.1.{len(self.orders)}",
            attempt=len(self.orders),
            side=self.side,
            quantity=place.quantity,
            price=place.price,
            post_only=place.post_only,
            time_in_force=place.time_in_force,
            purpose=place.purpose,
            created_at=self.now,
            updated_at=self.now,
            reserved=reserved,
            status=Status.SUBMITTED,
            phase=Phase.LIVE,
        )
        if self.refuse(place, self.clock):
            order = replace(order, status=Status.REJECTED, phase=Phase.SETTLED, reserved=ZERO)
        elif self.lose(place, self.clock):
            order = replace(order, status=Status.UNKNOWN, phase=Phase.UNKNOWN)
        elif place.time_in_force is TimeInForce.IOC:
            order = self._ended(self._match(order), Status.EXPIRED)
        self.orders.append(order)

    def _match(self, order: Order) -> Order:
        book = self.book()
        assert order.price is not None
        left = order.quantity - order.filled_quantity
        for price, size in book.asks if self.side is Side.BUY else book.bids:
            beyond = price > order.price if self.side is Side.BUY else price < order.price
            if beyond or left <= ZERO:
                break
            order = _fill(order, min(left, size), price)
            left = order.quantity - order.filled_quantity
        return order

    def _ended(self, order: Order, status: Status) -> Order:
        if order.filled_quantity == order.quantity:
            status = Status.FILLED
        return replace(order, status=status, phase=Phase.SETTLED, reserved=ZERO, updated_at=self.now)

    def _market_moves(self) -> None:
        bid, ask = (Decimal(text) for text in self.quotes(self.clock))
        for number, order in enumerate(self.orders):
            if order.phase not in (Phase.LIVE, Phase.PENDING_CANCEL):
                continue
            assert order.price is not None
            buy = self.side is Side.BUY
            crossed = order.price >= ask if buy else order.price <= bid
            best = order.price >= bid if buy else order.price <= ask
            if crossed or (best and self.touched(self.clock)):
                share = Decimal(1) if crossed else Decimal(str(self.fill_makers))
                left = order.quantity - order.filled_quantity
                part = min(left, max(self.market.floor_quantity(left * share), self.market.lot))
                order = _fill(order, part, order.price)
            if order.filled_quantity == order.quantity:
                order = self._ended(order, Status.FILLED)
            elif order.order_id in self.cancels and self.cancels[order.order_id] <= self.now:
                order = self._ended(order, Status.CANCELED)
            self.orders[number] = order


def _fill(order: Order, quantity: Decimal, price: Decimal) -> Order:
    filled = order.filled_quantity + quantity
    status = Status.PARTIALLY_FILLED
    return replace(
        order, filled_quantity=filled, quote_filled=order.quote_filled + quantity * price, status=status
    )


def view_out(view: View) -> list[Order]:
    return [order for order in view.orders if order.phase is not Phase.SETTLED]
