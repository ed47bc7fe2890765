"""The displayed book of one market beside the orders that wait in it.

What a recording shows is external size by price; what we took from it refills with time. `simulator.exchange`
matches against both; this file only knows what is there and what people see of it.
"""

import math
from bisect import bisect_left, insort
from collections.abc import Iterator
from decimal import ROUND_DOWN, Decimal

from ems.core.book import Book, SelfTrade, Side, crosses
from simulator.records import FEE_QUANTUM, TRADING, ZERO, Market, PublicTrade, QueueModel, Step


class Displayed:
    """One side of the displayed book: external size by price, what we took from it, and how that refills."""

    def __init__(self, side: Side, lot: Decimal, refill_s: float) -> None:
        self.side = side
        self.lot = lot
        self.refill_s = refill_s
        self.prices: list[Decimal] = []  # ascending
        self.sizes: dict[Decimal, Decimal] = {}  # price -> displayed by the source
        self.taken: dict[Decimal, tuple[Decimal, float]] = {}  # price -> (amount we took, when)
        self.traded: dict[Decimal, Decimal] = {}  # price -> size of trades since the source last spoke

    def set(self, price: Decimal, size: Decimal) -> Decimal:
        """Replace the size of a level and return the old one."""
        old = self.sizes.get(price)
        if size:
            if old is None:
                insort(self.prices, price)
            self.sizes[price] = size
        elif old is not None:
            del self.sizes[price]
            del self.prices[bisect_left(self.prices, price)]
            self.taken.pop(price, None)
        return old or ZERO

    def available(self, price: Decimal, now: float) -> Decimal:
        """What can be traded at a price now: displayed, less our takes that have not refilled."""
        size = self.sizes.get(price, ZERO)
        if price not in self.taken or not (taken := self._still_taken(price, now)):
            return size
        left = size - taken
        return left // self.lot * self.lot if left > 0 else ZERO

    def take(self, price: Decimal, quantity: Decimal, now: float) -> None:
        """Use up displayed size."""
        already = self._still_taken(price, now) if price in self.taken else ZERO
        self.taken[price] = (min(already + quantity, self.sizes.get(price, ZERO)), now)

    def _still_taken(self, price: Decimal, now: float) -> Decimal:
        amount, at = self.taken[price]
        left = amount * Decimal(math.exp(-max(0.0, now - at) / self.refill_s)) if self.refill_s > 0 else ZERO
        left = left.quantize(FEE_QUANTUM)
        if left < self.lot:
            del self.taken[price]
            return ZERO
        return left

    def best_first(self) -> Iterator[Decimal]:
        return reversed(self.prices) if self.side == "buy" else iter(self.prices)


class MarketState:
    """All that moves in one market."""

    def __init__(
        self,
        market: Market,
        self_trade: SelfTrade,
        refill_s: float,
        queue_model: QueueModel,
        changed: "dict[str, MarketState]",
    ) -> None:
        self.market = market
        self.queue_model: QueueModel = queue_model
        self._changed = changed
        self.book = Book(self_trade)
        self.displayed: dict[Side, Displayed] = {
            "buy": Displayed("buy", market.lot, refill_s),
            "sell": Displayed("sell", market.lot, refill_s),
        }
        self.front: dict[int, Decimal] = {}  # order id -> displayed size ahead of it
        self.shown: dict[Side, dict[Decimal, Decimal]] = {"buy": {}, "sell": {}}  # as last published
        self.touched: dict[Side, set[Decimal]] = {"buy": set(), "sell": set()}  # prices to publish again
        self.hidden: dict[Side, set[Decimal]] = {"buy": set(), "sell": set()}  # see visible()
        self.sequence = 1
        self.mode = TRADING
        self.last_price: Decimal | None = None
        self.trades: list[PublicTrade] = []

    def touch(self, side: Side, price: Decimal) -> None:
        """Have a price published again; the exchange looks at the markets that say so, not at all of them."""
        self.touched[side].add(price)
        self._changed[self.market.symbol] = self

    def touch_taken(self) -> None:
        """Have published what refills with time."""
        for side, displayed in self.displayed.items():
            if displayed.taken:
                self.touched[side].update(displayed.taken)
                self._changed[self.market.symbol] = self

    def changed(self, side: Side, now: float) -> list[tuple[Decimal, Decimal]]:
        """Take the levels of a side that look otherwise than when they were last published."""
        prices = self.touched[side] | self.hidden[side]
        self.touched[side], self.hidden[side] = set(), set()
        shown, own = self.shown[side], self.book
        changes = []
        for price in prices:
            size = self.visible(side, price, now)
            if own:
                size += own.size_at(side, price)
            if size == shown.get(price, ZERO):
                continue
            changes.append((price, size))
            if size:
                shown[price] = size
            else:
                del shown[price]
        return changes

    def visible(self, side: Side, price: Decimal, now: float) -> Decimal:
        """The displayed size people see at a price.

        What an order waiting here has already met is not shown behind it: nobody publishes a crossed book.
        """
        size = self.displayed[side].available(price, now)
        if size:
            waiting = self.book.best("sell" if side == "buy" else "buy")
            if waiting is not None and crosses(side, price, waiting):
                self.hidden[side].add(price)
                return ZERO
        return size

    def best_price(self, side: Side, now: float) -> Decimal | None:
        """The best price of a side, ours or displayed."""
        own = self.book.best(side)
        displayed = self.displayed[side]
        for price in displayed.best_first():
            if own is not None and crosses(side, own, price):
                return own
            if self.visible(side, price, now):
                return price
        return own

    def reference_price(self) -> Decimal | None:
        """What an order without a limit is valued at: the last trade, without one the displayed quotes."""
        if self.last_price is not None:
            return self.last_price
        quotes = [p for half in self.displayed.values() for p in list(half.best_first())[:1]]
        return sum(quotes, ZERO) / len(quotes) if quotes else None

    def walk(self, side: Side, limit: Decimal | None, now: float) -> Iterator[Step]:
        """The liquidity a taker of `side` meets, best price first; changes nothing."""
        other: Side = "sell" if side == "buy" else "buy"
        displayed, book = self.displayed[other], self.book
        # Descending bids or ascending asks, each price once, without building the whole list.
        ours = iter([price for price, _ in book.levels(other)]) if len(book) else iter(())
        theirs = displayed.best_first()
        own, ext = next(ours, None), next(theirs, None)
        while own is not None or ext is not None:
            if own is None or (ext is not None and own != ext and not crosses(other, own, ext)):
                assert ext is not None
                price = ext
            else:
                price = own
            if limit is not None and not crosses(side, limit, price):
                return
            available = displayed.available(price, now) if price == ext else ZERO
            if price == own:
                passed = ZERO
                for resting in book.at(other, price):
                    ahead = min(self.front.get(resting.order_id, ZERO), available) - passed
                    if ahead > 0:
                        yield price, ahead, None
                        passed += ahead
                    yield price, resting.remaining, resting.order_id
                available -= passed
            if available > 0:
                yield price, available, None
            at_own, at_ext = price == own, price == ext
            own = next(ours, None) if at_own else own
            ext = next(theirs, None) if at_ext else ext

    def cancel_ahead(self, side: Side, price: Decimal, total: Decimal, canceled: Decimal) -> None:
        """Move our orders at a price forward for displayed size that was cancelled, not traded."""
        left = self.displayed[side].sizes.get(price, ZERO)
        for resting in self.book.at(side, price):
            front = self.front.get(resting.order_id, ZERO)
            if not front:
                continue
            if self.queue_model == "risk_averse":
                ahead = ZERO
            elif self.queue_model == "optimistic":
                ahead = canceled
            else:
                ahead = (canceled * (min(front, total) / total) ** 3).quantize(FEE_QUANTUM, ROUND_DOWN)
            # What is ahead can never exceed what is still displayed.
            self.front[resting.order_id] = max(ZERO, min(front - ahead, left))

    def shrink_fronts(self, side: Side, price: Decimal, used: Decimal) -> None:
        """Move our orders at a price forward for displayed size that was traded."""
        for resting in self.book.at(side, price):
            front = self.front.get(resting.order_id, ZERO)
            if front:
                self.front[resting.order_id] = max(ZERO, front - used)
