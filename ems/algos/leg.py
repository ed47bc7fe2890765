"""One look at a leg: what its orders say, what the market says, and the orders it could place now.

Made for one decision and thrown away: nothing in here outlives it. Shares of the whole are floats; what is
placed is Decimal, cut to the lot and to what the funds, the quantity asked for and the venue allow.
"""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from ems.algos.ledger import committed
from ems.algos.signals import slope_of
from ems.algos.view import CancelChild, Decision, Place, View, Wait
from ems.core.fitness import unfit
from ems.core.instrument import ceil_to, floor_to
from ems.core.messages import BookUpdate, OrderType, Side, TimeInForce
from ems.core.records import Asked, Order, Phase, Status

ZERO = Decimal(0)
SECOND = timedelta(seconds=1)
RECENT = 8  # orders that are looked at for requests of the last second
REFUSAL_S = 5.0  # a refused quote this young is answered with one further back


def usable(book: BookUpdate | None, now: datetime, age_s: float) -> bool:
    """Say whether a book may be traded on: both sides, not crossed, fresh, nothing against it."""
    return not unfit(book, now, age_s)


class Leg:
    """One look at a leg: what its orders and the book say. Made for one decision and thrown away."""

    __slots__ = (
        "_rests",
        "_smallest",
        "ask",
        "bid",
        "buy",
        "elapsed",
        "far",
        "final",
        "funds",
        "left",
        "makers",
        "market",
        "near",
        "now",
        "out",
        "params",
        "reachable",
        "room",
        "shown",
        "size",
        "take_price",
        "time",
        "tradable",
        "view",
        "wanted",
    )

    def __init__(self, view: View, now: datetime):
        self.view = view
        self.now = now
        self.params = view.params
        self.market = view.market
        self.buy = view.side is Side.BUY
        settled = Phase.SETTLED
        self.out = [order for order in view.orders if order.phase is not settled]
        self.makers = [order for order in self.out if order.purpose == "make"]
        self.time = (view.ends_at - view.started_at).total_seconds()
        self.elapsed = (now - view.started_at).total_seconds()
        self.final = view.on_timeout == "take" and self.elapsed >= self.final_s()
        self._rests: bool | None = None

    def final_s(self) -> float:
        """Return when all that is left is taken: at the last slice of the tail."""
        params = self.params
        if params.plan == "now":
            return 0.0
        return self.time * (1.0 - params.tail / params.tail_slices)

    def book(self) -> BookUpdate | None:
        """Return the book; where the other side already stands at an order of ours, without that order.

        Its fill is on its way: the two sides of the picture are of two moments.
        """
        book = self.view.book
        if book is None or not self.makers or not book.bids or not book.asks:
            return book
        if book.bids[0][0] < book.asks[0][0]:
            return book
        ours = {order.price for order in self.makers}
        if self.buy:
            return replace(book, bids=tuple(level for level in book.bids if level[0] not in ours))
        return replace(book, asks=tuple(level for level in book.asks if level[0] not in ours))

    def read(self, book: BookUpdate) -> None:
        """Work out prices and what may be placed at them."""
        self.shown = book
        view, market = self.view, self.market
        bid, ask = book.bids[0][0], book.asks[0][0]
        self.near, self.far = (bid, ask) if self.buy else (ask, bid)
        self.bid, self.ask = float(bid), float(ask)
        through = self.params.take_through
        if self.final and self.params.widening > 1:
            through = min(through * self.params.widening ** len(self.vain()), self.params.widest)
        price = market.taker_price(view.side, self.far * (1 + through if self.buy else 1 - through))
        self.reachable = True
        if view.limit is not None:
            if self.buy:
                price = min(price, floor_to(view.limit, market.tick))
                self.reachable = self.far <= price
            else:
                price = max(price, ceil_to(view.limit, market.tick))
                self.reachable = self.far >= price
        self.take_price = price
        funds = view.available - committed(self.out) if self.out else view.available
        if view.free is not None and view.free < funds:
            funds = view.free
        self.funds = funds
        self.wanted: Decimal | None = None  # base, beside what is filled and what is out
        if view.quantity is not None:
            filled = sum((order.filled_quantity for order in view.orders), ZERO)
            self.wanted = view.quantity - filled
            for order in self.out:  # with all they were sent for, whatever the venue says of their end
                self.wanted -= order.quantity - order.filled_quantity
            self.size = float(view.quantity)
            self.left = float(view.quantity - filled) / self.size if self.size > 0.0 else 0.0
        else:
            total = float(view.total)
            self.size = total / float(price) if self.buy else total
            self.left = float(view.available) / total if total > 0.0 else 0.0
        self.room = self.room_at(price, post_only=False)
        worst = price if price < bid else bid
        self._smallest: Decimal | None = None
        self.tradable = market.order_ok(self.room, worst)

    # --- Sizes ------------------------------------------------------------------------------------

    def room_at(self, price: Decimal, *, post_only: bool) -> Decimal:
        """Return the largest quantity one order may have: funds, what is wanted, the market's maximum."""
        view, market = self.view, self.market
        if self.funds <= ZERO:
            return ZERO
        if self.buy:
            quantity = market.largest_buy(self.funds, price, haircut=view.haircut, post_only=post_only)
        else:
            quantity = market.largest_sell(self.funds, haircut=view.haircut, post_only=post_only)
        if self.wanted is not None and self.wanted < quantity:
            quantity = market.floor_quantity(max(self.wanted, ZERO))
        if view.refused_quantity is not None and quantity >= view.refused_quantity:
            quantity = view.refused_quantity - market.lot
        return max(quantity, ZERO)

    def smallest(self) -> Decimal:
        """Return the smallest quantity that is legal as a take, and as anything else at these prices."""
        if self._smallest is None:
            self._smallest = self.market.smallest_order(min(self.near, self.take_price))
        return self._smallest

    def fitted(self, wanted: Decimal, room: Decimal, smallest: Decimal) -> Decimal:
        """Cut a quantity to the lot and leave either nothing or a legal order; zero where none is legal."""
        market = self.market
        quantity = min(market.floor_quantity(wanted), room)
        if room < smallest:
            return ZERO
        quantity = max(quantity, smallest)
        if market.max_quantity is not None and room >= market.floor_quantity(market.max_quantity):
            return quantity  # more than one order's worth is left: the last of them sees to the remainder
        rest = room - quantity
        return room if rest < smallest else quantity

    def base(self, share: float) -> Decimal:
        """Return a share of the whole as a quantity; the noise of floats stays below any lot."""
        return Decimal(f"{max(share, 0.0) * self.size:.12g}")

    # --- Orders -----------------------------------------------------------------------------------

    def take(self, wanted: Decimal | None = None) -> Decision | None:
        """Return a take of this much, of all where nothing is said; None where none is possible now."""
        if not (self.reachable and self.tradable):
            return None
        if wanted is None:
            quantity = self._all()
        else:
            quantity = self.fitted(wanted, self.room, self.smallest())
        if not self.market.order_ok(quantity, min(self.take_price, self.near, self.far)):
            return None
        return self.when_allowed(
            Place(
                order_type=OrderType.LIMIT,
                time_in_force=TimeInForce.IOC,
                post_only=False,
                quantity=quantity,
                price=self.take_price,
                purpose="take",
            )
        )

    def _all(self) -> Decimal:
        """Return everything, or so much of it that the last of several orders is a legal one."""
        market, room = self.market, self.room
        most = market.max_quantity
        if most is None or room < market.floor_quantity(most):
            return room
        rest = (self.funds / self.take_price if self.buy else self.funds) - room
        if self.wanted is not None:
            rest = min(rest, self.wanted - room)
        smallest = self.smallest()
        if ZERO < rest < smallest and room - smallest >= smallest:
            return market.floor_quantity(room - smallest)
        return room

    def make(self, wanted: Decimal, price: Decimal) -> Decision | None:
        """Return a resting order of about this much; None where none is legal."""
        room = self.room_at(price, post_only=self.params.post_only)
        # What stays unplaced must be legal to take, what is placed legal where it rests.
        quantity = self.fitted(wanted, room, max(self.smallest(), self.market.smallest_order(price)))
        if not self.market.order_ok(quantity, price):
            return None
        return self.when_allowed(
            Place(
                order_type=OrderType.LIMIT,
                time_in_force=TimeInForce.GTC,
                post_only=self.params.post_only,
                quantity=quantity,
                price=price,
                purpose="make",
            )
        )

    def stay(self, wanted: Decimal) -> Decision | None:
        """Return an order at the price of the other side: what it does not take at once waits there."""
        quantity = self.fitted(wanted, self.room, self.smallest())
        if not self.market.order_ok(quantity, min(self.near, self.far)):
            return None
        return self.when_allowed(
            Place(
                order_type=OrderType.LIMIT,
                time_in_force=TimeInForce.GTC,
                post_only=False,
                quantity=quantity,
                price=self.far,
                purpose="make",
            )
        )

    def in_tail(self) -> bool:
        params = self.params
        return self.view.on_timeout == "take" and self.elapsed >= self.time * (1.0 - params.tail)

    def cancel(self, order: Order) -> Decision:
        return self.when_allowed(CancelChild(order_id=order.order_id))

    def when_allowed(self, wish: Place | CancelChild) -> Decision:
        """Return the wish, or wait while the last second has seen its requests."""
        since = self.now - SECOND
        seen, oldest = 0, self.now
        for order in self.view.orders[-RECENT:]:
            if order.created_at > since:
                seen, oldest = seen + 1, min(oldest, order.created_at)
            if order.purpose == "make" and (order.asked is Asked.CANCEL or order.status is Status.CANCELED):
                changed = order.updated_at
                if changed is not None and changed > since:
                    seen, oldest = seen + 1, min(oldest, changed)
        if seen < self.params.max_requests_per_s:
            return wish
        return Wait(until=oldest + SECOND, why="between requests")

    # --- What the orders say ----------------------------------------------------------------------

    def last_take(self) -> Order | None:
        for order in reversed(self.view.orders):
            if order.purpose == "take":
                return order
        return None

    def vain(self) -> list[Order]:
        """Return the takes since all that is left is taken that did not fill wholly."""
        since = self.view.started_at + timedelta(seconds=self.final_s())
        found = []
        for order in reversed(self.view.orders):
            if order.created_at < since:
                break
            if order.purpose == "take" and order.phase is Phase.SETTLED and order.status is not Status.FILLED:
                found.append(order)
        return found

    def may_take_at(self) -> datetime | None:
        """Return from when the next take is allowed; None: now."""
        last = self.last_take()
        if last is None:
            return None
        due = last.created_at + timedelta(seconds=self.params.take_gap_s)
        return due if self.now < due else None

    def filled(self) -> float:
        return float(sum((order.filled_quantity for order in self.view.orders), ZERO))

    def refusals(self) -> int:
        """Return how many quotes in a row the venue has just refused: each wants a tick more distance."""
        count = 0
        for order in reversed(self.view.orders):
            if order.purpose != "make" or order.status is not Status.REJECTED:
                break
            if (self.now - order.created_at).total_seconds() > REFUSAL_S:
                break
            count += 1
        return count

    # --- What the market says ---------------------------------------------------------------------

    def leaning(self) -> float:
        """Return the imbalance of the touch, > 0 where it foretells a move against us (4.2, 5)."""
        bids, asks = float(self.shown.bids[0][1]), float(self.shown.asks[0][1])
        if bids + asks <= 0.0:
            return 0.0
        leaning = (bids - asks) / (bids + asks)
        return leaning if self.buy else -leaning

    def offered(self, within: Decimal | None = None) -> Decimal:
        """Return what is shown at the touch we would take from, or within a share of its price."""
        levels = self.shown.asks if self.buy else self.shown.bids
        if within is None:
            return levels[0][1]
        worst = self.far * (1 + within if self.buy else 1 - within)
        total = ZERO
        for price, size in levels:
            if price > worst if self.buy else price < worst:
                break
            total += size
        return total

    def slope(self) -> float:
        """Return how the price worsens with the quantity taken, in bp per base: as learned, or as shown."""
        if self.view.signals.cost_slope > 0.0:
            return self.view.signals.cost_slope
        return slope_of(self.shown.asks if self.buy else self.shown.bids)

    def gain(self, quantity: float) -> float:
        """Return what resting saves once filled, in bp: h + imp(q) + f_t - f_m - AS (4.2, 3)."""
        signals, market = self.view.signals, self.market
        half = (self.ask - self.bid) / (self.ask + self.bid) * 1e4
        fees = float(market.taker_fee - market.maker_fee) * 1e4
        return half + self.slope() * quantity / 2.0 + fees - signals.adverse

    def rests(self) -> bool:
        """Say whether orders rest now: by the kind of leg, or by the make or take rule (4.2, 3)."""
        if self._rests is None:
            params = self.params
            if params.rest != "rule":
                self._rests = params.rest == "always"
            else:
                least = -params.hysteresis if self.makers else 0.0
                self._rests = self.gain(params.child * self.left * self.size) > least
                if params.plan == "curve":
                    self._rests = self._rests and self.patience() > 0.0
        return self._rests

    def costly(self) -> bool:
        """Say whether taking the whole at once would cost much more than its touch."""
        return self.slope() * self.size / 2.0 >= self.params.costly

    def slots(self) -> int:
        """Return how many slots there are: more of them take less depth, and leave less to wait for a better
        fee."""
        params, market = self.params, self.market
        if not self.costly():
            return params.slots
        saved = float(market.taker_fee - market.maker_fee) * 1e4
        return params.slots if saved >= params.worth else params.slots * 2

    def patience(self) -> float:
        """Return how well waiting pays, 0 to 1.

        It pays while taking the whole at once would cost less than what resting gains. Where it would cost
        more, what is not traded evenly over the time is paid for in depth at the end.
        """
        gain = self.gain(0.0)
        if gain <= 0.0:
            return 0.0
        at_once = self.slope() * self.size / 2.0
        return max(1.0 - at_once / (self.params.calm * gain), 0.0)

    def planned(self, share: float) -> float:
        """Return x*: the share that should be left when this share of the time is over (4.2)."""
        if share >= 1.0:
            return 0.0
        kappa = self.kappa()
        if kappa < 1e-3:
            return 1.0 - share
        return math.sinh(kappa * (1.0 - share)) / math.sinh(kappa)

    def kappa(self) -> float:
        """Return the urgency: as given, or Almgren-Chriss's T sqrt(lambda sigma^2 / eta) (4.2; 6: IS).

        sigma in bp per root second; eta = cost of depth for the whole, in bp, over the rate at which depth
        comes back: bp x seconds.
        """
        params, signals = self.params, self.view.signals
        if params.risk is None:
            return params.urgency if self.costly() else params.urgency * params.deep
        eta = self.slope() * self.size / signals.resilience
        sigma = signals.sigma_5s / 5.0**0.5
        if eta <= 0.0 or sigma <= 0.0:
            return params.urgency
        kappa = self.time * math.sqrt(params.risk * sigma * sigma / eta)
        return min(max(kappa, params.urgency_min), params.urgency_max)
