"""A price-time order book.

Rules:

1. Better price first, then older first. A trade happens at the price of the order that waited.
2. Every call returns the events it caused, in order, after the book has reached its new state. Nothing is
   called back, so a caller can never see the book half way through a match.
3. The book knows ids, owners, sides, prices and quantities. Money, fees and status belong to its caller.

Which events follow each outcome:

    add, refused                 Rejected                       (and the book has not changed)
    add, rests untouched         Accepted, Rested
    add, trades and rests        Accepted, Traded+, Rested
    add, trades completely       Accepted, Traded+, Closed(FILLED)
    add, remainder not kept      Accepted, Traded*, Closed(NO_LIQUIDITY)      market and IOC
    add, FOK cannot be filled    Accepted, Closed(UNFILLABLE)
    a maker that was used up     Closed(FILLED) directly after its Traded
    add meets its own owner      Closed(SELF_TRADE) for the maker or the taker, as the book was told
    cancel                       Closed(CANCELED)   or Rejected(UNKNOWN_ORDER)
    reduce                       Reduced            or Rejected(...);  priority is kept
"""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

Side = Literal["buy", "sell"]
TimeInForce = Literal["GTC", "IOC", "FOK"]
SelfTrade = Literal["allow", "expire_maker", "expire_taker"]

FILLED = "FILLED"
CANCELED = "CANCELED"
NO_LIQUIDITY = "NO_LIQUIDITY"
UNFILLABLE = "UNFILLABLE"
SELF_TRADE = "SELF_TRADE"

DUPLICATE_ORDER = "DUPLICATE_ORDER"
UNKNOWN_ORDER = "UNKNOWN_ORDER"
BAD_QUANTITY = "BAD_QUANTITY"
BAD_PRICE = "BAD_PRICE"
POST_ONLY_WOULD_CROSS = "POST_ONLY_WOULD_CROSS"

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The order passed the book's checks."""

    order_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """The call changed nothing."""

    order_id: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Traded:
    """Two orders met, at the price of the maker."""

    maker_id: int
    taker_id: int
    taker_side: Side
    price: Decimal
    quantity: Decimal
    maker_remaining: Decimal
    taker_remaining: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Rested:
    """The remainder waits in the book."""

    order_id: int
    price: Decimal
    remaining: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Reduced:
    """A waiting order became smaller and kept its place."""

    order_id: int
    remaining: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """The order is no longer in the book; `remaining` was not executed."""

    order_id: int
    reason: str
    remaining: Decimal


Event = Accepted | Rejected | Traded | Rested | Reduced | Closed


@dataclass(slots=True, kw_only=True)
class Resting:
    """One waiting order. Read it; only the book changes it."""

    order_id: int
    owner: str
    side: Side
    price: Decimal
    remaining: Decimal


class _Half:
    """One side of the book: prices in ascending order, oldest order first at each price."""

    def __init__(self, side: Side) -> None:
        self.side: Side = side
        self.prices: list[Decimal] = []
        self.levels: dict[Decimal, dict[int, Resting]] = {}  # price -> order id -> order, oldest first

    def best(self) -> Decimal | None:
        if not self.prices:
            return None
        return self.prices[-1] if self.side == "buy" else self.prices[0]

    def add(self, order: Resting) -> None:
        level = self.levels.get(order.price)
        if level is None:
            level = self.levels[order.price] = {}
            self.prices.insert(bisect_left(self.prices, order.price), order.price)
        level[order.order_id] = order

    def remove(self, order: Resting) -> None:
        level = self.levels[order.price]
        del level[order.order_id]
        if not level:
            del self.levels[order.price]
            del self.prices[bisect_left(self.prices, order.price)]

    def best_first(self) -> Iterator[Resting]:
        for price in reversed(self.prices) if self.side == "buy" else self.prices:
            yield from self.levels[price].values()


class Book:
    """The waiting orders of one market, and the rule by which new ones meet them."""

    def __init__(self, self_trade: SelfTrade = "allow") -> None:
        self.self_trade: SelfTrade = self_trade
        self._halves: dict[Side, _Half] = {"buy": _Half("buy"), "sell": _Half("sell")}
        self._orders: dict[int, Resting] = {}  # order id -> waiting order

    def add(
        self,
        order_id: int,
        side: Side,
        quantity: Decimal,
        price: Decimal | None = None,
        *,
        time_in_force: TimeInForce = "GTC",
        post_only: bool = False,
        owner: str = "",
    ) -> list[Event]:
        """Match a new order and keep its remainder; without a price it is a market order and never rests."""
        refused = self._refusal(order_id, side, quantity, price, post_only)
        if refused is not None:
            return [Rejected(order_id=order_id, reason=refused)]
        events: list[Event] = [Accepted(order_id=order_id)]
        if time_in_force == "FOK" and self._available(side, price, owner) < quantity:
            events.append(Closed(order_id=order_id, reason=UNFILLABLE, remaining=quantity))
            return events
        remaining, stopped = self._match(order_id, side, quantity, price, owner, events)
        if not remaining:
            events.append(Closed(order_id=order_id, reason=FILLED, remaining=ZERO))
        elif stopped:
            events.append(Closed(order_id=order_id, reason=SELF_TRADE, remaining=remaining))
        elif price is None or time_in_force != "GTC":
            events.append(Closed(order_id=order_id, reason=NO_LIQUIDITY, remaining=remaining))
        else:
            resting = Resting(order_id=order_id, owner=owner, side=side, price=price, remaining=remaining)
            self._halves[side].add(resting)
            self._orders[order_id] = resting
            events.append(Rested(order_id=order_id, price=price, remaining=remaining))
        return events

    def cancel(self, order_id: int) -> list[Event]:
        """Take a waiting order out."""
        order = self._orders.get(order_id)
        if order is None:
            return [Rejected(order_id=order_id, reason=UNKNOWN_ORDER)]
        return [self._close(order, CANCELED)]

    def reduce(self, order_id: int, quantity: Decimal) -> list[Event]:
        """Make a waiting order smaller by `quantity`; it keeps its place. All of it: Closed(FILLED).

        The caller uses this for what the order traded outside this book, so using it up means filled.
        """
        order = self._orders.get(order_id)
        if order is None:
            return [Rejected(order_id=order_id, reason=UNKNOWN_ORDER)]
        if not quantity.is_finite() or quantity <= 0 or quantity > order.remaining:
            return [Rejected(order_id=order_id, reason=BAD_QUANTITY)]
        order.remaining -= quantity
        if not order.remaining:
            return [self._close(order, FILLED)]
        return [Reduced(order_id=order_id, remaining=order.remaining)]

    def get(self, order_id: int) -> Resting | None:
        """Find a waiting order."""
        return self._orders.get(order_id)

    def best(self, side: Side) -> Decimal | None:
        """The best price of one side: the highest bid or the lowest ask."""
        return self._halves[side].best()

    def at(self, side: Side, price: Decimal) -> list[Resting]:
        """The orders waiting at one price, oldest first."""
        level = self._halves[side].levels.get(price)
        return list(level.values()) if level else []

    def size_at(self, side: Side, price: Decimal) -> Decimal:
        """How much waits at one price."""
        level = self._halves[side].levels.get(price)
        return sum((order.remaining for order in level.values()), ZERO) if level else ZERO

    def orders(self, side: Side) -> Iterator[Resting]:
        """The waiting orders in the sequence in which they would trade."""
        return self._halves[side].best_first()

    def levels(self, side: Side) -> list[tuple[Decimal, Decimal]]:
        """Price and total quantity, best price first."""
        half = self._halves[side]
        prices = reversed(half.prices) if side == "buy" else half.prices
        return [(p, sum((o.remaining for o in half.levels[p].values()), ZERO)) for p in prices]

    def __len__(self) -> int:
        return len(self._orders)

    def _refusal(
        self, order_id: int, side: Side, quantity: Decimal, price: Decimal | None, post_only: bool
    ) -> str | None:
        if order_id in self._orders:
            return DUPLICATE_ORDER
        if not quantity.is_finite() or quantity <= 0:
            return BAD_QUANTITY
        if price is not None and (not price.is_finite() or price <= 0):
            return BAD_PRICE
        if post_only:
            best = self._halves[_opposite(side)].best()
            if price is None or (best is not None and crosses(side, price, best)):
                return POST_ONLY_WOULD_CROSS
        return None

    def _available(self, side: Side, price: Decimal | None, owner: str) -> Decimal:
        total = ZERO
        for order in self._halves[_opposite(side)].best_first():
            if price is not None and not crosses(side, price, order.price):
                break
            if self.self_trade != "allow" and owner and order.owner == owner:
                if self.self_trade == "expire_taker":
                    break
                continue
            total += order.remaining
        return total

    def _match(
        self,
        taker_id: int,
        side: Side,
        remaining: Decimal,
        price: Decimal | None,
        owner: str,
        events: list[Event],
    ) -> tuple[Decimal, bool]:
        half = self._halves[_opposite(side)]
        while remaining:
            best = half.best()
            if best is None or (price is not None and not crosses(side, price, best)):
                break
            maker = next(iter(half.levels[best].values()))
            if self.self_trade != "allow" and owner and maker.owner == owner:
                if self.self_trade == "expire_taker":
                    return remaining, True
                events.append(self._close(maker, SELF_TRADE))
                continue
            quantity = min(remaining, maker.remaining)
            remaining -= quantity
            maker.remaining -= quantity
            events.append(
                Traded(
                    maker_id=maker.order_id,
                    taker_id=taker_id,
                    taker_side=side,
                    price=best,
                    quantity=quantity,
                    maker_remaining=maker.remaining,
                    taker_remaining=remaining,
                )
            )
            if not maker.remaining:
                events.append(self._close(maker, FILLED))
        return remaining, False

    def _close(self, order: Resting, reason: str) -> Closed:
        self._halves[order.side].remove(order)
        del self._orders[order.order_id]
        return Closed(order_id=order.order_id, reason=reason, remaining=order.remaining)


def crosses(side: Side, price: Decimal, opposite_price: Decimal) -> bool:
    """Whether an order of `side` at `price` would trade with a waiting order at `opposite_price`."""
    return price >= opposite_price if side == "buy" else price <= opposite_price


def _opposite(side: Side) -> Side:
    return "sell" if side == "buy" else "buy"
