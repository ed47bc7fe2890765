"""What the risk controls count: orders open and traded, messages, executions, wins and losses.

Rules:
1. Every number here can be counted again from records of orders and fills: `restored` does.
2. An open order counts with all of its value, an ended one with what it traded, in the minute it ended, for
   24 hours. So an order that rests for days counts for as long as it rests.
3. Sums are exact; the work for an order is a few dictionary look-ups, however much was traded before.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from ems.core.contracts import is_contract, settled_in, traded
from ems.core.messages import Side
from ems.core.order import USD_STEP, worth
from ems.core.records import AS_ASKED, Fill, Order, Phase
from ems.core.risk import Proposal
from ems.core.risk_limits import SETTINGS, Limits, Scope

ZERO = Decimal(0)
MINUTE = timedelta(seconds=60)
DAY = timedelta(hours=24)
MICRO = timedelta(microseconds=1)
MILLION = 1_000_000

CREDITS = ("credit_limit", "global_credit_limit")
MESSAGES = ("orders_per_second", "orders_per_minute")
OPENS = ("max_open_orders", "max_open_orders_per_symbol")
COUNTED = tuple(setting.name for setting in SETTINGS if setting.counted)

Bucket = tuple[str, Scope]  # (setting, what is counted together)
Purchase = tuple[str, str, str]  # (exchange, account, base currency)
Twin = tuple[object, ...]  # what makes two plain orders the same


@dataclass(frozen=True, kw_only=True, slots=True)
class Traded:
    """What an ended order traded: all that is kept of it here."""

    where: Scope
    usd: Decimal
    closed_at: datetime


@dataclass(kw_only=True, slots=True)
class Bought:
    """What of an asset came since midnight, and what of that is still there."""

    left: Decimal = ZERO  # what came less what went; below zero: some that was held before went too
    came: Decimal = ZERO
    paid: Decimal = ZERO  # for what came, in the reporting currency

    def receive(self, amount: Decimal, value: Decimal) -> None:
        self.left, self.came, self.paid = self.left + amount, self.came + amount, self.paid + value


@dataclass(kw_only=True, slots=True)
class Opened:
    """What was traded in a contract since midnight, as if nothing had been held before."""

    symbol: str
    quantity: Decimal = ZERO  # base; below zero: short
    cost: Decimal = ZERO  # of it, in the settlement currency
    held: Decimal = ZERO  # by the books, with what was held before

    def trade(self, fill: Fill) -> Decimal:
        """Trade, and return what that realised of the day's own."""
        after = traded(self.quantity, self.cost, fill.side, fill.quantity, fill.price)
        self.quantity, self.cost = after.quantity, after.cost
        return after.realised

    @property
    def left(self) -> Decimal:
        """Return what of the position is of today: nothing where today's trades only closed older ones."""
        if self.quantity * self.held <= ZERO:
            return ZERO
        return min(self.quantity, self.held, key=abs)


@dataclass(kw_only=True, slots=True)
class Day:
    """What the fills of one place have done since midnight."""

    # Reporting currency -> realised less fees, by the books: what `get_pnl` says of the day.
    earned: dict[str, Decimal] = field(default_factory=dict)
    # (asset, reporting currency) -> what was bought
    bought: dict[tuple[str, str], Bought] = field(default_factory=dict)
    # Currency -> change by fills of which the books do not know what they were worth
    flows: dict[str, Decimal] = field(default_factory=dict)
    contract: Opened | None = None  # of a contract's place

    def add(self, fill: Fill, base: str, quote: str) -> None:
        if is_contract(fill.symbol):
            self._add_contract(fill)
            return
        buys, notional = fill.side is Side.BUY, fill.price * fill.quantity
        come, given = ((base, fill.quantity), (quote, notional))
        if not buys:
            come, given = given, come
        value, fee_value, currency = fill.value, fill.fee_value, fill.value_currency
        if value is None or fee_value is None or not currency:
            for asset, amount in (come, (given[0], -given[1]), (fill.fee_currency, -fill.fee)):
                self.flows[asset] = self.flows.get(asset, ZERO) + amount
            return
        self.earned[currency] = self.earned.get(currency, ZERO) + fill.realised - fill.fee_cost
        self._of(come[0], currency).receive(come[1], value)
        self._of(given[0], currency).left -= given[1]
        if fill.fee < ZERO:
            self._of(fill.fee_currency, currency).receive(-fill.fee, -fee_value)
        elif fill.fee:
            self._of(fill.fee_currency, currency).left -= fill.fee

    def _add_contract(self, fill: Fill) -> None:
        """Add what was settled; where the books do not know its worth, what the day's own trades realised."""
        if self.contract is None:
            self.contract = Opened(symbol=fill.symbol)
        realised, currency = self.contract.trade(fill), fill.value_currency
        if fill.value is not None and fill.fee_value is not None and currency:
            self.earned[currency] = self.earned.get(currency, ZERO) + fill.realised - fill.fee_cost
            return
        for asset, amount in ((settled_in(fill.symbol), realised), (fill.fee_currency, -fill.fee)):
            self.flows[asset] = self.flows.get(asset, ZERO) + amount

    def _of(self, asset: str, currency: str) -> Bought:
        return self.bought.setdefault((asset, currency), Bought())

    def result(self, usd: Callable[[str], Decimal | None]) -> Decimal | None:
        """Return realised less fees and what was bought or opened and is left at present prices, in USD.

        `usd`: of one of a currency, or of one base unit of a contract.
        """
        amounts = [*self.earned.items(), *self.flows.items()]
        for (asset, currency), one in self.bought.items():
            if asset != currency and one.left > ZERO and one.came > ZERO:
                amounts += [(asset, one.left), (currency, -one.paid * one.left / one.came)]
        swap = self.contract
        if swap is not None and swap.left:
            share = swap.cost * swap.left / swap.quantity
            amounts += [(swap.symbol, swap.left), (settled_in(swap.symbol), -share)]
        total = ZERO
        for currency, amount in amounts:
            price = usd(currency) if amount else ZERO
            if price is None:
                return None
            total += amount * price
        return total


def place_of(order: Order) -> Scope:
    return Scope(order.user, order.bot, order.exchange, order.account, order.symbol)


def outstanding(order: Order) -> Decimal:
    """Return what an open order may be worth in USD: an edit on its way may have arrived."""
    edit = order.edit
    if edit is None:
        return order.usd_value
    quantity = order.quantity if edit.quantity is None else edit.quantity
    price = order.price if edit.price is None else edit.price
    stop_price = order.stop_price if edit.stop_price is None else edit.stop_price
    return max(order.usd_value, worth(order, quantity, price, stop_price))


def traded_usd(usd_value: Decimal, filled: Decimal, quantity: Decimal) -> Decimal:
    """Return the share of an order's value that traded."""
    return usd_value if filled >= quantity else (usd_value * filled / quantity).quantize(USD_STEP)


class RiskLedger:
    """Mutable, owned by the engine alone; implements `ems.core.risk.Counts`."""

    def __init__(self, limits: Limits):
        self._limits = limits
        self._open: dict[str, tuple[Scope, Decimal]] = {}  # order id -> (place, USD)
        self._buying: dict[
            str, tuple[Purchase, Decimal]
        ] = {}  # order id -> what it buys, how much is left of it
        self._traded: OrderedDict[tuple[datetime, Scope], Decimal] = OrderedDict()  # (minute, place) -> USD
        self._recent: deque[tuple[datetime, Scope]] = deque()  # orders sent in the last minute
        self._executed: dict[str, None] = {}  # parent ids that traded, while they may trade more
        self._done: deque[tuple[datetime, Scope, Side]] = deque()  # executions of the last minute
        self._cancels: deque[tuple[datetime, Scope]] = deque()  # asked for in the last minute
        self._twins: dict[Twin, tuple[str, datetime]] = {}  # plain orders of the last minute
        self._days: dict[Scope, Day] = {}  # place -> what was done there since midnight
        self._midnight: datetime | None = None
        # Counted together, from the above:
        self._keys: dict[Scope, tuple[Bucket, ...]] = {}
        self._credit: dict[Bucket, Decimal] = {}
        self._opens: dict[Bucket, int] = {}
        self._bought: dict[Purchase, Decimal] = {}
        self._minute: dict[Bucket, deque[datetime]] = {}
        self._tokens: dict[Scope, tuple[Decimal, datetime]] = {}  # (millionths of orders saved up, when)
        self._executions: dict[tuple[Scope, Side], deque[datetime]] = {}

    # --- What happens -------------------------------------------------------------------------------------

    def sent(self, name: str, key: Scope, now: datetime) -> int:
        return len(self._within(self._minute.get((name, key)), now))

    def placed(self, order: Order, usd: Decimal, *, worked: bool) -> None:
        """Count an order whose intent is being recorded."""
        where, now = place_of(order), order.created_at
        self.expire(now)
        self._open[order.order_id] = where, usd
        self._buys(order)
        self._recent.append((now, where))
        if not worked:
            self._remember_twin(order)
        self._count_open(where, usd, 1)
        self._count_message(where, now)

    def repriced(self, order: Order) -> None:
        """Count an open order with what it is, or may be, worth now."""
        known = self._open.get(order.order_id)
        if known is None:
            return
        self._buys(order)
        if known[1] != outstanding(order):
            where, usd = known
            self._open[order.order_id] = where, outstanding(order)
            self._add_credit(where, outstanding(order) - usd)

    def ended(self, order: Order, usd: Decimal) -> None:
        """Count what an order traded in place of what it might have."""
        known = self._open.pop(order.order_id, None)
        if known is None:
            return
        where, whole = known
        self._buys(order)
        self._count_open(where, -whole, -1)
        if order.filled_quantity > ZERO:
            closed = order.closed_at or order.created_at
            usd = traded_usd(usd, order.filled_quantity, order.quantity)
            self._count_traded(Traded(where=where, usd=usd, closed_at=closed))

    def filled(self, fill: Fill, base: str, quote: str, now: datetime, held: Decimal = ZERO) -> None:
        """Count money that moved, and the execution if it is the parent's first.

        `held`: of a contract, what the bot holds with this fill.
        """
        where = Scope(fill.user, fill.bot, fill.exchange, fill.account, fill.symbol)
        if fill.parent_id not in self._executed:
            self._executed[fill.parent_id] = None
            self._done.append((now, where, fill.side))
            self._count_execution(where, fill.side, now)
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        if self._midnight != midnight:
            self._midnight = midnight
            self._days.clear()
        if fill.timestamp >= midnight:
            day = self._days.setdefault(where, Day())
            day.add(fill, base, quote)
            if day.contract is not None:
                day.contract.held = held

    def canceling(self, where: Scope, at: datetime) -> None:
        """Count a cancel that is asked for: it is never throttled."""
        self._cancels.append((at, where))

    def forget(self, parent_id: str) -> None:
        """Forget that a parent traded: it is over."""
        self._executed.pop(parent_id, None)

    # --- What is asked ------------------------------------------------------------------------------------

    def credit(self, name: str, key: Scope) -> Decimal:
        return self._credit.get((name, key), ZERO)

    def buying(self, exchange: str, account: str, base: str) -> Decimal:
        """Return how much of a currency open purchases may still bring."""
        return self._bought.get((exchange, account, base), ZERO)

    def open_orders(self, name: str, key: Scope) -> int:
        return self._opens.get((name, key), 0)

    def token_at(self, key: Scope, rate: Decimal, burst: Decimal, now: datetime) -> datetime:
        if rate == ZERO:
            return now + DAY
        missing = MILLION - self._saved(key, rate, burst, now)
        if missing <= ZERO:
            return now
        return now + MICRO * int((missing / rate).to_integral_value(rounding="ROUND_CEILING"))

    def minute_over(self, name: str, key: Scope, limit: Decimal, now: datetime) -> datetime:
        times = self._within(self._minute.get((name, key)), now)
        if limit < 1:
            return now + DAY
        return times[len(times) - int(limit)] + MINUTE + MICRO

    def executions(self, key: Scope, side: Side, now: datetime) -> int:
        return len(self._within(self._executions.get((key, side)), now))

    def has_executed(self, parent_id: str) -> bool:
        return parent_id in self._executed

    def twin(self, proposal: Proposal) -> tuple[str, datetime] | None:
        return self._twins.get(_twin(proposal.where, proposal))

    def result(self, key: Scope, now: datetime, usd: Callable[[str], Decimal | None]) -> Decimal | None:
        if self._midnight != now.replace(hour=0, minute=0, second=0, microsecond=0):
            return ZERO
        total = ZERO
        for where, day in self._days.items():
            if not key.covers(where):
                continue
            result = day.result(usd)
            if result is None:
                return None
            total += result
        return total.quantize(USD_STEP)

    def contracts_of_today(self, key: Scope) -> list[Scope]:
        """Return where contracts are open that were opened since midnight."""
        return [
            where
            for where, day in self._days.items()
            if key.covers(where) and day.contract is not None and day.contract.left
        ]

    def cancels(self, now: datetime) -> Counter[str]:
        """Return user -> cancels asked for within the last 60 seconds."""
        self.expire(now)
        return Counter(where.user or "" for _, where in self._cancels)

    def places(self) -> list[Scope]:
        """Return every place of which something is counted just now."""
        return sorted(self._keys)

    # --- From records -------------------------------------------------------------------------------------

    def restored(
        self,
        orders: Iterable[Order],
        traded: Iterable[Traded],
        fills: Iterable[tuple[Fill, str, str]],
        at_work: Iterable[str],
        now: datetime,
        held: Mapping[Scope, Decimal] | None = None,
    ) -> None:
        """Count again from records.

        `orders`: those that are open and those of the last minutes; `traded`: orders that ended within 24
        hours; `fills`: (fill, base, quote) since midnight, oldest first; `at_work`: parents not ended;
        `held`: what bots hold in contracts.
        """
        for order in sorted(orders, key=lambda o: (o.created_at, o.order_id)):
            if order.cross_id is not None:
                continue  # it went to no exchange
            where = place_of(order)
            if order.phase is not Phase.SETTLED:
                self._open[order.order_id] = where, outstanding(order)
                self._buys(order)
            if order.created_at > now - MINUTE:
                self._recent.append((order.created_at, where))
                if order.purpose in AS_ASKED:
                    self._remember_twin(order)
        for one in sorted(traded, key=lambda t: t.closed_at):
            self._count_traded(one)
        for fill, base, quote in fills:
            where = Scope(fill.user, fill.bot, fill.exchange, fill.account, fill.symbol)
            self.filled(fill, base, quote, fill.timestamp, (held or {}).get(where, ZERO))
        at_work = set(at_work)
        self._executed = {p: None for p in self._executed if p in at_work}
        self.recount(now)

    def recount(self, now: datetime) -> None:
        """Count together anew, because the limits say something else."""
        self.expire(now)
        self._keys.clear()
        self._credit.clear()
        self._opens.clear()
        self._minute.clear()
        self._tokens.clear()
        self._executions.clear()
        for where, usd in self._open.values():
            self._count_open(where, usd, 1)
        for (_, where), usd in self._traded.items():
            self._add_credit(where, usd)
        for at, where in self._recent:
            self._count_message(where, at)
        for at, where, side in self._done:
            self._count_execution(where, side, at)

    # --- Counting -----------------------------------------------------------------------------------------

    def _buckets(self, where: Scope) -> tuple[Bucket, ...]:
        known = self._keys.get(where)
        if known is None:
            rules = self._limits.rules(where)
            found = [(name, rule.key) for name in COUNTED for rule in rules[name]]
            known = self._keys[where] = tuple(dict.fromkeys(found))
        return known

    def _count_open(self, where: Scope, usd: Decimal, one: int) -> None:
        for bucket in self._buckets(where):
            if bucket[0] in OPENS:
                self._opens[bucket] = self._opens.get(bucket, 0) + one
        self._add_credit(where, usd)

    def _buys(self, order: Order) -> None:
        """Take note of what an order may still buy."""
        if order.side is not Side.BUY:
            return
        what, counted = self._buying.pop(order.order_id, (None, ZERO))
        if what is None:
            what = order.exchange, order.account, order.symbol.partition("/")[0]
        left = ZERO
        if order.phase is not Phase.SETTLED:
            left = max(order.most - order.filled_quantity, ZERO)
            self._buying[order.order_id] = what, left
        self._bought[what] = self._bought.get(what, ZERO) + left - counted

    def _add_credit(self, where: Scope, usd: Decimal) -> None:
        for bucket in self._buckets(where):
            if bucket[0] in CREDITS:
                self._credit[bucket] = self._credit.get(bucket, ZERO) + usd

    def _count_traded(self, traded: Traded) -> None:
        minute = traded.closed_at.replace(second=0, microsecond=0)
        known = self._traded.get((minute, traded.where), ZERO)
        self._traded[minute, traded.where] = known + traded.usd
        self._add_credit(traded.where, traded.usd)

    def _count_message(self, where: Scope, at: datetime) -> None:
        for bucket in self._buckets(where):
            name, key = bucket
            if name == "orders_per_minute":
                self._minute.setdefault(bucket, deque()).append(at)
            elif name == "orders_per_second":
                rules = self._limits.rules(where)
                rate = next(r.limit for r in rules[name] if r.key == key)
                assert isinstance(rate, Decimal)
                bursts = [r.limit for r in rules["order_burst"] if isinstance(r.limit, Decimal)]
                burst = min(bursts, default=max(rate, Decimal(1)))
                self._tokens[key] = self._saved(key, rate, burst, at) - MILLION, at

    def _saved(self, key: Scope, rate: Decimal, burst: Decimal, now: datetime) -> Decimal:
        """Return the millionths of orders that may be sent at once: exact, for time comes in microseconds."""
        most = burst * MILLION
        saved, since = self._tokens.get(key, (most, now))
        return min(saved + rate * max((now - since) // MICRO, 0), most)

    def _count_execution(self, where: Scope, side: Side, at: datetime) -> None:
        for name, key in self._buckets(where):
            if name == "executions_per_minute":
                self._executions.setdefault((key, side), deque()).append(at)

    def _remember_twin(self, order: Order) -> None:
        twin = _twin(place_of(order), order)
        self._twins.pop(twin, None)  # so that they stand in the order of time
        self._twins[twin] = order.order_id, order.created_at

    @staticmethod
    def _within(times: deque[datetime] | None, now: datetime) -> deque[datetime]:
        if times is None:
            return deque()
        while times and times[0] < now - MINUTE:
            times.popleft()
        return times

    def expire(self, now: datetime) -> None:
        """Drop what is too old to count."""
        while self._traded:
            (minute, where), usd = next(iter(self._traded.items()))
            if minute + MINUTE + DAY > now:
                break
            del self._traded[minute, where]
            self._add_credit(where, -usd)
        while self._recent and self._recent[0][0] < now - MINUTE:
            self._recent.popleft()
        while self._cancels and self._cancels[0][0] < now - MINUTE:
            self._cancels.popleft()
        while self._done and self._done[0][0] < now - MINUTE:
            self._done.popleft()
        while self._twins:
            twin, (_, at) = next(iter(self._twins.items()))
            if at >= now - MINUTE:
                break
            del self._twins[twin]


def _twin(where: Scope, order: Order | Proposal) -> Twin:
    return (
        *where._replace(bot=None),
        order.side,
        order.order_type,
        order.quantity,
        order.price,
        order.stop_price,
    )
