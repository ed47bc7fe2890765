"""A market's rules, and rounding to the safe side (EXECUTION.md 1).

Quantities are always floored to the lot. A passive price moves away from the touch (buy down, sell up), a
taker price moves through it (buy up, sell down): rounding never crosses by accident and never falls short
by accident.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from enum import StrEnum

from ems.core.messages import OrderType, Side, TimeInForce

ZERO = Decimal(0)
ONE = Decimal(1)

# Haircut ladder: one step up per INSUFFICIENT_FUNDS after a balance refresh, one down after 50 clean orders.
HAIRCUTS = tuple(Decimal(step) for step in ("0", "1e-5", "5e-5", "1e-4", "5e-4", "1e-3", "2e-3"))

# order_ok keeps 2 % above the minimum notional, so that a small price move does not make a legal order
# illegal.
NOTIONAL_MARGIN = Decimal("1.02")


class MarketStatus(StrEnum):
    """Which orders a market takes just now. Cancels always go."""

    OPEN = "open"
    LIMIT_ONLY = "limit_only"  # none without a price
    POST_ONLY = "post_only"  # none that would trade at once
    CANCEL_ONLY = "cancel_only"
    HALTED = "halted"


@dataclass(frozen=True, kw_only=True, slots=True)
class PriceBand:
    """How far from the market a price may be, as multiples of a reference price of the exchange."""

    buy_low: Decimal
    buy_high: Decimal
    sell_low: Decimal
    sell_high: Decimal

    def of(self, side: Side) -> tuple[Decimal, Decimal]:
        return (self.buy_low, self.buy_high) if side is Side.BUY else (self.sell_low, self.sell_high)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """What an exchange says of a market beside its steps and sizes; None: no such rule, or not told."""

    status: MarketStatus = MarketStatus.OPEN
    min_price: Decimal | None = None
    max_price: Decimal | None = None
    band: PriceBand | None = None
    max_market_quantity: Decimal | None = None  # of orders without a price, instead of `Market.max_quantity`
    max_post_only_quantity: Decimal | None = None  # likewise of those that only wait in the book
    market_min_notional: bool = True  # the least notional holds for orders without a price too
    max_notional: Decimal | None = None  # quote currency
    market_max_notional: bool = True
    max_market_notional: Decimal | None = None  # quote currency; of orders without a price, instead of that
    max_open_orders: int | None = None  # of an account in this market, those that wait for a price among them
    max_waiting_orders: int | None = None  # of those that wait for a price


NO_RULES = Rules()


@dataclass(frozen=True, kw_only=True, slots=True)
class Market:
    """One symbol at one exchange, with this account's fees."""

    exchange: str
    symbol: str
    base: str
    quote: str
    tick: Decimal  # price step
    lot: Decimal  # quantity step
    min_quantity: Decimal
    max_quantity: Decimal | None
    min_notional: Decimal
    maker_fee: Decimal  # fraction: 0.001 is 10 bp
    taker_fee: Decimal
    fee_mode: str  # "received" | "quote" | "base" | "third"
    active: bool = True
    market_orders: bool = True  # False: what is to be taken needs a limit
    stops: frozenset[OrderType] = frozenset()  # what the exchange itself waits with
    stop_times: frozenset[TimeInForce] = frozenset()  # of the limits among them
    amends: frozenset[str] = frozenset()  # of "quantity", "price", "stop_price": what it changes in one step
    amends_shrink_only: bool = False
    rules: Rules = NO_RULES
    # Of a perpetual contract: how much base one of the exchange's contracts is. All quantities are in base,
    # and it is settled in its quote currency. None: a spot market.
    contract_size: Decimal | None = None

    @property
    def status(self) -> MarketStatus:
        """Return what it takes; one that no plan may use and of which no more is known takes nothing."""
        unsaid = not self.active and self.rules.status is MarketStatus.OPEN
        return MarketStatus.HALTED if unsaid else self.rules.status

    def floor_quantity(self, quantity: Decimal) -> Decimal:
        return floor_to(quantity, self.lot)

    def passive_price(self, side: Side, price: Decimal) -> Decimal:
        return floor_to(price, self.tick) if side is Side.BUY else ceil_to(price, self.tick)

    def taker_price(self, side: Side, price: Decimal) -> Decimal:
        return ceil_to(price, self.tick) if side is Side.BUY else floor_to(price, self.tick)

    def order_ok(self, quantity: Decimal, price: Decimal) -> bool:
        """Say whether the venue would accept this size; for takers give the worse of limit and mid."""
        if quantity < self.min_quantity or quantity <= ZERO:
            return False
        if self.max_quantity is not None and quantity > self.max_quantity:
            return False
        return quantity * price >= NOTIONAL_MARGIN * self.min_notional

    def smallest_order(self, price: Decimal) -> Decimal:
        """Return the smallest legal quantity at this price."""
        by_notional = ceil_to(NOTIONAL_MARGIN * self.min_notional / price, self.lot) if price > ZERO else ZERO
        return max(ceil_to(self.min_quantity, self.lot), by_notional, self.lot)

    def largest_buy(self, budget: Decimal, price: Decimal, *, haircut: Decimal, post_only: bool) -> Decimal:
        """Return the largest quantity that `budget` quote can pay for at limit `price`."""
        fee = ZERO
        if self.fee_mode in ("quote", "third"):  # the third currency may be the very one that is spent
            fee = self.maker_fee if post_only else self.taker_fee
        quantity = self.floor_quantity(budget * (ONE - haircut) / (price * (ONE + fee)))
        return self._capped(quantity)

    def largest_sell(self, holding: Decimal, *, haircut: Decimal, post_only: bool) -> Decimal:
        """Return the largest quantity that `holding` base can deliver."""
        if self.fee_mode in ("base", "third"):
            haircut = haircut + (self.maker_fee if post_only else self.taker_fee)
        return self._capped(self.floor_quantity(holding * (ONE - haircut)))

    def reserve(self, side: Side, quantity: Decimal, price: Decimal, *, post_only: bool) -> Decimal:
        """Return what the venue may take of the source currency for this order, fee included."""
        fee = self.maker_fee if post_only else self.taker_fee
        if side is Side.BUY:
            return quantity * price * (ONE + fee) if self.fee_mode == "quote" else quantity * price
        return quantity * (ONE + fee) if self.fee_mode == "base" else quantity

    def _capped(self, quantity: Decimal) -> Decimal:
        if self.max_quantity is not None and quantity > self.max_quantity:
            return self.floor_quantity(self.max_quantity)
        return max(quantity, ZERO)


def floor_to(value: Decimal, step: Decimal) -> Decimal:
    """Round down to a multiple of `step`."""
    return (value / step).to_integral_value(ROUND_FLOOR) * step


def ceil_to(value: Decimal, step: Decimal) -> Decimal:
    """Round up to a multiple of `step`."""
    return (value / step).to_integral_value(ROUND_CEILING) * step
