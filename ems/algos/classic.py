"""The classic walker: rest ever closer to the touch, then take (EXECUTION.md 4.1).

K = 6 post-only tries at offsets d_k = d_0 (1 - k/(K-1)), d_0 = 5 bp, each for 0.15 T; then IOC orders 5 bp
through the touch, one a second, until what remains is below the smallest legal order. It buys as much as
the money can buy, and sells .99999 of an amount that is everything the account has (the second step of the
haircut ladder).

`decide` is pure and keeps nothing: which try it is follows from the clock and the orders, so that a restart
in the middle goes on where the old process stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from ems.algos.ledger import budget
from ems.core.instrument import Market
from ems.core.messages import BookUpdate, OrderType, Side, TimeInForce
from ems.core.records import Asked, Order, Parent, Phase, Status

ZERO = Decimal(0)
TRIES = 6  # K
FIRST_OFFSET = Decimal("0.0005")  # d_0: 5 bp
DWELL = Decimal("0.15")  # share of T each try may rest
TAKE_THROUGH = Decimal("0.0005")  # a take's limit lies 5 bp beyond the touch
TAKE_GAP_S = 1.0
REQUOTES = 3  # post-only refusals answered with a new quote within one try
MAX_TAKES = 30
BOOK_AGE_S = 5.0  # RELIABILITY.md C.3 #56: an older book is not traded on
PATIENCE_S = 60.0  # beyond T without a usable book: give up


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Place one order of the current hop."""

    order_type: OrderType
    time_in_force: TimeInForce
    post_only: bool
    quantity: Decimal
    price: Decimal
    purpose: str  # "make" | "take"


@dataclass(frozen=True, kw_only=True, slots=True)
class CancelChild:
    order_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Wait:
    """Nothing to do before `until`, unless something happens."""

    until: datetime
    why: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class HopDone:
    """What remains of the hop's source currency is too small to trade."""

    left: Decimal


@dataclass(frozen=True, kw_only=True, slots=True)
class GiveUp:
    code: str  # a constant of ems.core.errors
    why: str


Decision = Place | CancelChild | Wait | HopDone | GiveUp


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """All that a decision may depend on."""

    parent: Parent
    orders: Sequence[Order]  # every order of the parent, oldest first
    market: Market
    book: BookUpdate | None
    haircut: Decimal
    free: Decimal | None  # what the venue last said is free, when it has just refused for lack of funds
    refused_quantity: Decimal | None  # never offer this much again in this hop
    ready_at: datetime | None = None  # since when the exchange may be traded on: a restart, a reconnect


def try_of(parent: Parent, now: datetime) -> int:
    """Return which try the clock is in: 0..5 rest, 6 takes."""
    started = parent.hop_started_at
    assert started is not None
    dwell = DWELL * parent.time_limit
    elapsed = Decimal(str((now - started).total_seconds()))
    return min(int(max(elapsed, ZERO) / dwell), TRIES) if dwell > ZERO else TRIES


def offset(number: int) -> Decimal:
    """Return d_k as a fraction of the price."""
    return FIRST_OFFSET * (1 - Decimal(number) / (TRIES - 1))


def decide(view: View, now: datetime) -> Decision:
    """Say what the parent should do now. Called on every event and at least at each `Wait.until`."""
    parent, market = view.parent, view.market
    hop = parent.hops[parent.hop]
    started = parent.hop_started_at
    assert started is not None
    own = [order for order in view.orders if order.hop == parent.hop]
    current = try_of(parent, now)

    for order in own:  # at most one is open
        if order.phase is not Phase.SETTLED:
            return _mind(parent, order, current, now)

    if not market.active:
        return GiveUp(code="VENUE_UNAVAILABLE", why=f"{market.symbol} is not trading")
    book = view.book
    if not usable(book, now):
        due = started + timedelta(seconds=float(parent.time_limit))
        waits_since = due if view.ready_at is None else max(due, view.ready_at)
        if (now - waits_since).total_seconds() > PATIENCE_S:
            return GiveUp(code="VENUE_UNAVAILABLE", why=f"no usable book of {market.symbol}")
        return Wait(until=now + timedelta(seconds=1), why="waiting for a fresh book")
    assert book is not None

    left = budget(parent, view.orders)
    if current >= TRIES:
        return _take(view, own, book, left, hop.side, now)
    return _make(view, own, book, left, hop.side, current, now)


def usable(book: BookUpdate | None, now: datetime) -> bool:
    """Say whether a book may be traded on: both sides, not crossed, fresh."""
    if book is None or not book.bids or not book.asks or book.bids[0][0] >= book.asks[0][0]:
        return False
    return (now - book.at).total_seconds() <= BOOK_AGE_S


def _mind(parent: Parent, order: Order, current: int, now: datetime) -> Decision:
    """An order is out: leave it until its try is over."""
    started = parent.hop_started_at
    assert started is not None
    if order.purpose == "make" and try_of(parent, order.created_at) < current:
        if order.asked is Asked.NOTHING:
            return CancelChild(order_id=order.order_id)
        return Wait(until=now + timedelta(seconds=1), why="its cancel is settling")
    if order.purpose == "make":
        return Wait(until=_try_ends(parent, current), why="resting")
    return Wait(until=now + timedelta(seconds=1), why="taking")


def _try_ends(parent: Parent, number: int) -> datetime:
    assert parent.hop_started_at is not None
    seconds = float(DWELL * parent.time_limit) * (number + 1)
    return parent.hop_started_at + timedelta(seconds=seconds, microseconds=1)


def _make(
    view: View, own: list[Order], book: BookUpdate, left: Decimal, side: Side, current: int, now: datetime
) -> Decision:
    parent, market = view.parent, view.market
    this_try = [o for o in own if o.purpose == "make" and try_of(parent, o.created_at) == current]
    refused = sum(1 for o in this_try if o.status is Status.REJECTED)
    if len(this_try) > refused or refused > REQUOTES:
        # It rested and ended early (filled in part and cancelled by the venue), or will not rest: next try.
        return _or_done(view, left, side, book, Wait(until=_try_ends(parent, current), why="next try"))
    touch = book.bids[0][0] if side is Side.BUY else book.asks[0][0]
    away = offset(current) if side is Side.SELL else -offset(current)
    price = market.passive_price(side, touch * (1 + away))
    if refused:  # it would have crossed: one tick further back for each refusal
        price += refused * (market.tick if side is Side.SELL else -market.tick)
    quantity = _quantity(view, left, side, price, post_only=True)
    place = Place(
        order_type=OrderType.LIMIT,
        time_in_force=TimeInForce.GTC,
        post_only=True,
        quantity=quantity,
        price=price,
        purpose="make",
    )
    return _or_done(view, left, side, book, place)


def _take(
    view: View, own: list[Order], book: BookUpdate, left: Decimal, side: Side, now: datetime
) -> Decision:
    takes = [o for o in own if o.purpose == "take"]
    if len(takes) >= MAX_TAKES:
        return GiveUp(
            code="VENUE_UNAVAILABLE", why=f"{MAX_TAKES} takes did not fill it: the book is too thin"
        )
    if takes:
        due = takes[-1].created_at + timedelta(seconds=TAKE_GAP_S)
        if now < due:
            return _or_done(view, left, side, book, Wait(until=due, why="between takes"))
    price = take_price(view.market, side, book)
    place = Place(
        order_type=OrderType.LIMIT,
        time_in_force=TimeInForce.IOC,
        post_only=False,
        quantity=_quantity(view, left, side, price, post_only=False),
        price=price,
        purpose="take",
    )
    return _or_done(view, left, side, book, place)


def take_price(market: Market, side: Side, book: BookUpdate) -> Decimal:
    """Return the limit of a take: 5 bp through the far touch, rounded so that it never falls short."""
    far = book.asks[0][0] if side is Side.BUY else book.bids[0][0]
    through = TAKE_THROUGH if side is Side.BUY else -TAKE_THROUGH
    return market.taker_price(side, far * (1 + through))


def _quantity(view: View, left: Decimal, side: Side, price: Decimal, *, post_only: bool) -> Decimal:
    market = view.market
    funds = left if view.free is None else min(left, view.free)
    if funds <= ZERO:
        return ZERO
    if side is Side.BUY:
        quantity = market.largest_buy(funds, price, haircut=view.haircut, post_only=post_only)
    else:
        quantity = market.largest_sell(funds, haircut=view.haircut, post_only=post_only)
    if view.refused_quantity is not None and quantity >= view.refused_quantity:
        quantity = view.refused_quantity - market.lot
    return quantity


def _or_done(view: View, left: Decimal, side: Side, book: BookUpdate, otherwise: Decision) -> Decision:
    """Finish when what is left could not make a legal order at the take price; else do `otherwise`."""
    market = view.market
    price = take_price(market, side, book)
    smallest = _quantity(view, left, side, price, post_only=False)
    worst = min(price, book.bids[0][0])
    if not market.order_ok(smallest, worst):
        return HopDone(left=left)
    if isinstance(otherwise, Place) and not market.order_ok(otherwise.quantity, otherwise.price):
        return HopDone(left=left)
    return otherwise
