"""Linear perpetual contracts: net positions, cross margin, funding, liquidation.

A contract is a market with `settled_in`: nobody delivers anything, profits and losses are paid in that
currency. One of `quantity` stands for `contract_size` of the base currency; prices are per base currency.

Positions. One for each account and contract, long or short. What is added moves the average entry price, what
is taken away earns (price - entry) x quantity at once, to the last unit: `cost` is kept, not the average.
What is still open earns (mark - entry) x quantity on paper. A fee is paid in the settlement currency.

Who pays a profit. One side of a contract closes while the other stays, so a profit is paid before the loss
is: out of `Exchange.clearing`, which holds the difference. It is always the negative of what all open
positions were entered for, and nothing when nobody holds any. For each contract the positions of all
accounts and of the outside add up to nothing. `imbalance()` names what breaks either.

Margin. Cross: one equity per settlement currency, `free + locked + unrealised`, stands behind all contracts
settled in it; other currencies do not count. Nothing is set aside, there is a requirement:

    initial      of a contract: the largest of |position|, |position + its buy orders| and
                 |position - its sell orders|, valued at the mark and the orders' prices, over the leverage
    maintenance  |position| at the mark x `maintenance_rate`, one tier however large
    a new order  must find, beyond the initial margin it adds, its taker fee and what it loses against the
                 mark at once; one that only reduces needs nothing
    spending     spot orders and withdrawals get what is free beyond the initial margin

Reduce-only orders never turn a position round: with the other orders of their side they are no more than the
position. What is too much is taken from the newest, or the order expires (POSITION_GONE), when the call that
made it too much ends.

Funding. Every `funding_interval_s`, counted from midnight UTC, a long position pays `rate` x its value at the
mark to the short ones, or gets it where the rate is below zero. The rate is set, not computed. `wake` pays
what is due.

Liquidation. When equity falls below the maintenance margin, the account's orders in these contracts expire
(LIQUIDATION), then its positions are closed as a taker at whatever the book shows; what finds no book waits
for one. A debt that is left is paid from outside, as an insurance fund would.

Mark. The middle of the displayed book, which orders of accounts do not move, or what `set_mark` says; without
either the last price.

Not here: isolated margin, hedge mode, tiers, collateral in other currencies, contracts that expire.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from typing import Any

from ems.core.book import Side
from simulator.exchange import SIDES, Exchange
from simulator.records import (
    BAD_PARAMETER,
    FEE_QUANTUM,
    INSUFFICIENT_FUNDS,
    LEVERAGE,
    REDUCE_ONLY,
    UNKNOWN_SYMBOL,
    ZERO,
    Account,
    Market,
    Order,
    PositionChange,
    Reject,
    text,
)

# Why an order ended.
LIQUIDATION = "LIQUIDATION"
POSITION_GONE = "POSITION_GONE"  # it was to reduce one that others have reduced
OUTSIDE = ""  # the name of everybody who has no account here


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapMarket(Market):
    """A linear perpetual contract. Rates are fractions."""

    max_leverage: Decimal = Decimal(100)
    leverage: Decimal = Decimal(10)  # of an account that never chose
    maintenance_rate: Decimal = Decimal("0.005")
    funding_rate: Decimal = Decimal("0.0001")  # until another one is set
    funding_interval_s: int = 8 * 3600

    def __post_init__(self) -> None:
        if self.settled_in != self.quote or self.fee_mode != "quote":
            raise ValueError(f"market {self.symbol}: a linear contract is settled and charged in its quote")
        if not 0 < self.maintenance_rate < 1 / self.max_leverage:
            raise ValueError(f"market {self.symbol}: maintenance margin is less than the initial one")


@dataclass(slots=True, kw_only=True)
class Position:
    """What an account holds of a contract; only `Positions` changes it."""

    symbol: str
    quantity: Decimal = ZERO  # below zero: short
    cost: Decimal = ZERO  # what it was entered for, in the settlement currency; signed as the quantity
    opened_at: float = 0.0
    updated_at: float = 0.0
    realised: Decimal = ZERO  # since it was opened, before fees and funding
    fees: Decimal = ZERO  # paid since then
    funding: Decimal = ZERO  # received since then; below zero: paid
    number: int = 0  # a new one each time it is opened


@dataclass(frozen=True, slots=True, kw_only=True)
class Margin:
    """How an account stands in one settlement currency."""

    wallet: Decimal  # free + locked
    unrealised: Decimal
    position_initial: Decimal
    order_initial: Decimal  # what open orders require beyond it
    maintenance: Decimal
    available: Decimal  # for new orders

    @property
    def equity(self) -> Decimal:
        return self.wallet + self.unrealised

    @property
    def initial(self) -> Decimal:
        return self.position_initial + self.order_initial


@dataclass(frozen=True, slots=True, kw_only=True)
class FundingPayment:
    """What one position received at one funding time; below zero: paid."""

    payment_id: int
    account: str
    symbol: str
    quantity: Decimal
    mark: Decimal
    rate: Decimal
    amount: Decimal
    balance: Decimal  # of the settlement currency, afterwards
    time: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Funded:
    """A funding time that has passed, whoever held anything."""

    symbol: str
    mark: Decimal
    rate: Decimal
    time: float


class Positions:
    """The contracts of one exchange and who holds them. Lists them there."""

    def __init__(self, exchange: Exchange, markets: Iterable[SwapMarket]) -> None:
        if exchange.contracts is not None:
            raise ValueError(f"{exchange.name}: this exchange has its contracts already")
        exchange.contracts = self
        self.exchange = exchange
        self.markets: dict[str, SwapMarket] = {}  # symbol -> contract
        self.payments: list[FundingPayment] = []  # oldest first
        self.funded: list[Funded] = []  # oldest first
        self.liquidations: set[int] = set()  # order ids
        self._held: dict[str, dict[str, Position]] = {OUTSIDE: {}}  # account -> symbol -> position
        self._leverage: dict[tuple[str, str], Decimal] = {}  # (account, symbol) -> as chosen
        self._marks: dict[str, Decimal] = {}  # symbol -> as set
        self._rates: dict[str, Decimal] = {}  # symbol -> as set
        self._funding_at: dict[str, float] = {}  # symbol -> when the next payment is due
        self._moved: set[tuple[str, str]] = set()  # (account, symbol) with reduce-only orders to look at
        self._tidying = False
        self._opened = 0
        for market in markets:
            self.markets[market.symbol] = market
            exchange.add_market(market)

    # Asking

    def market(self, symbol: str) -> SwapMarket:
        """Find a contract."""
        market = self.markets.get(symbol)
        if market is None:
            raise Reject(UNKNOWN_SYMBOL, f"no contract {symbol!r}")
        return market

    def position(self, account: Account, symbol: str) -> Position:
        """What the account holds of a contract; one of quantity 0 when nothing."""
        return self._of(account.name, symbol)

    def held(self, account: Account) -> list[Position]:
        """The account's positions that are not nothing, in the order of the contracts' listing."""
        return [one for symbol in self.markets if (one := self._of(account.name, symbol)).quantity]

    def entry_price(self, position: Position) -> Decimal:
        """Its average entry price; the position must not be nothing."""
        return position.cost / (position.quantity * self.market(position.symbol).contract_size)

    def mark(self, symbol: str) -> Decimal | None:
        """The price positions are valued at; None when nobody ever named one."""
        if symbol in self._marks:
            return self._marks[symbol]
        return self.exchange.displayed_middle(symbol) or self.exchange.last_price(symbol)

    def value(self, position: Position) -> Decimal:
        """What the position is worth at the mark; below zero when short."""
        mark = self.mark(position.symbol) or ZERO
        return position.quantity * self.market(position.symbol).contract_size * mark

    def unrealised(self, position: Position) -> Decimal:
        """What closing it at the mark would earn."""
        return self.value(position) - position.cost if position.quantity else ZERO

    def leverage(self, account: Account, symbol: str) -> Decimal:
        """What the account chose for a contract."""
        return self._leverage.get((account.name, symbol), self.market(symbol).leverage)

    def initial_margin(self, account: Account, symbol: str) -> tuple[Decimal, Decimal]:
        """What a contract requires: for the position, and for its orders beyond that."""
        leverage = self.leverage(account, symbol)
        alone = abs(self.value(self._of(account.name, symbol)))
        return alone / leverage, (self._exposure(account, symbol) - alone) / leverage

    def maintenance_margin(self, position: Position) -> Decimal:
        """What keeps the position from being liquidated."""
        return abs(self.value(position)) * self.market(position.symbol).maintenance_rate

    def margin(self, account: Account, currency: str) -> Margin:
        """How the account stands in a settlement currency."""
        unrealised = position = orders = maintenance = ZERO
        for symbol, market in self.markets.items():
            if market.settled_in == currency:
                held = self._of(account.name, symbol)
                unrealised += self.unrealised(held)
                maintenance += self.maintenance_margin(held)
                for_position, for_orders = self.initial_margin(account, symbol)
                position, orders = position + for_position, orders + for_orders
        free, locked = account.free.get(currency, ZERO), account.locked.get(currency, ZERO)
        return Margin(
            wallet=free + locked,
            unrealised=unrealised,
            position_initial=position,
            order_initial=orders,
            maintenance=maintenance,
            available=free + unrealised - position - orders,
        )

    def liquidation_price(self, account: Account, symbol: str) -> Decimal | None:
        """The mark at which the maintenance margin is just covered, all else as it is, if there is one."""
        market, position = self.market(symbol), self._of(account.name, symbol)
        if not position.quantity or market.settled_in is None:
            return None
        margin = self.margin(account, market.settled_in)
        base = position.quantity * market.contract_size
        others = margin.maintenance - self.maintenance_margin(position)
        # equity + base x (price - mark) = others + |base| x price x rate, solved for the price.
        price = (self.value(position) - margin.equity + others) / (base - abs(base) * market.maintenance_rate)
        return price if price > 0 else None

    def largest(self, account: Account, symbol: str, side: Side, price: Decimal | None) -> Decimal:
        """The largest order the margin allows, in whole lots; at the mark when no price is given."""
        market = self.market(symbol)
        at = price or self.mark(symbol)
        if at is None or market.settled_in is None:
            return ZERO
        sign = 1 if side == "buy" else -1
        held = self._of(account.name, symbol)
        buys, sells = self._waiting(account, symbol)
        already = sign * self.value(held) + (buys if side == "buy" else sells)
        room = self._exposure(account, symbol) - already  # what may be added without adding to the margin
        available = max(ZERO, self.margin(account, market.settled_in).available)
        # (worth - room) / leverage + worth x fee = available, solved for what the order may be worth.
        share = 1 / self.leverage(account, symbol)
        worth = (available + room * share) / (share + max(ZERO, market.taker_fee))
        lots = worth / (at * market.contract_size) // market.lot * market.lot
        return max(lots, self._closable(account, symbol, side))

    def open_interest(self, symbol: str) -> Decimal:
        """How much of a contract is held long, the outside's part included."""
        held = (positions[symbol].quantity for positions in self._held.values() if symbol in positions)
        return sum((quantity for quantity in held if quantity > 0), ZERO)

    def funding_rate(self, symbol: str) -> Decimal:
        """What a long position pays at the next funding time, as a fraction of its value."""
        return self._rates.get(symbol, self.market(symbol).funding_rate)

    def next_funding(self, symbol: str, now: float) -> float:
        """When that is."""
        interval = self.market(symbol).funding_interval_s
        return self._funding_at.get(symbol, (now // interval + 1) * interval)

    def records(self, account: Account) -> list[dict[str, Any]]:
        """The account's positions as JSON, amounts as decimal strings."""
        return [
            {
                "symbol": one.symbol,
                "quantity": text(one.quantity),
                "cost": text(one.cost),
                "realised": text(one.realised),
                "fees": text(one.fees),
                "funding": text(one.funding),
                "leverage": text(self.leverage(account, one.symbol)),
            }
            for one in self.held(account)
        ]

    def imbalance(self) -> dict[str, Decimal]:
        """Contracts of which not everything sold was bought, and currencies whose clearing is not what it
        owes; empty when all is well."""
        wrong: dict[str, Decimal] = {}
        for held in self._held.values():
            for symbol, position in held.items():
                currency = self.markets[symbol].settled_in or ""
                wrong[symbol] = wrong.get(symbol, ZERO) + position.quantity
                wrong[currency] = wrong.get(currency, ZERO) + position.cost
        for currency, amount in self.exchange.clearing.items():
            wrong[currency] = wrong.get(currency, ZERO) + amount
        return {name: amount for name, amount in wrong.items() if amount}

    # Setting

    def set_leverage(self, account: Account, symbol: str, leverage: Decimal, now: float) -> None:
        """Choose the leverage of a contract; refused when the margin this takes is not there."""
        market = self.market(symbol)
        if not leverage.is_finite() or not 1 <= leverage <= market.max_leverage:
            raise Reject(LEVERAGE, f"leverage must be from 1 to {market.max_leverage}")
        before = self.leverage(account, symbol)
        self._leverage[account.name, symbol] = leverage
        if leverage < before and market.settled_in is not None:
            if self.margin(account, market.settled_in).available < 0:
                self._leverage[account.name, symbol] = before
                raise Reject(INSUFFICIENT_FUNDS, f"too little {market.settled_in} for this leverage")
        position = self._of(account.name, symbol)
        if position.quantity:
            self._announce(account.name, position, now)
        self.exchange.settled(now)

    def set_mark(self, symbol: str, price: Decimal | None, now: float) -> None:
        """Fix the mark price, or (None) let it follow the book again."""
        if price is not None and not (price.is_finite() and price > 0):
            raise Reject(BAD_PARAMETER, "a mark price is positive", parameter="price")
        self._marks.pop(self.market(symbol).symbol, None)
        if price is not None:
            self._marks[symbol] = price
        self.exchange.settled(now)

    def set_funding_rate(self, symbol: str, rate: Decimal) -> None:
        """Choose what is paid from the next funding time on."""
        self._rates[self.market(symbol).symbol] = rate

    def wake(self, now: float) -> None:
        """Pay the funding that is due."""
        for symbol, market in self.markets.items():
            due = self._funding_at.setdefault(symbol, self.next_funding(symbol, now))
            while due <= now:
                self._fund(market, due, now)
                due += market.funding_interval_s
                self._funding_at[symbol] = due

    # What the exchange calls

    def free(self, account: Account, currency: str) -> Decimal:
        """What an account may spend or withdraw of a currency."""
        if not any(market.settled_in == currency for market in self.markets.values()):
            return account.free.get(currency, ZERO)
        return self.margin(account, currency).available

    def allowed(
        self, account: Account, market: Market, side: Side, quantity: Decimal, but: Order | None
    ) -> Decimal:
        """How much of a reduce-only order there is to reduce, beside the other orders than `but`."""
        others = [one for one in self._orders(account, market.symbol, side) if one is not but]
        left = self._closable(account, market.symbol, side)
        left -= sum((one.remaining_quantity for one in others), ZERO)
        if left <= 0:
            raise Reject(REDUCE_ONLY, f"no position in {market.symbol} is left to be reduced by a {side}")
        return min(quantity, left)

    def check_margin(
        self,
        account: Account,
        market: Market,
        side: Side,
        quantity: Decimal,
        price: Decimal | None,
        plan: list[tuple[Decimal, Decimal, int | None]],
        but: Order | None,
    ) -> None:
        """Refuse an order for which the margin is missing; `but` is what it was before."""
        self._moved.add((account.name, market.symbol))
        plain = self._orders(account, market.symbol, side, reduce_only=False)
        waiting = sum((one.remaining_quantity for one in plain if one is not but), ZERO)
        if quantity + waiting <= self._closable(account, market.symbol, side):
            return
        assert market.settled_in is not None
        size, sign = market.contract_size, 1 if side == "buy" else -1
        taken = sum((one for _, one, _ in plan), ZERO)
        worth = sum((at * one for at, one, _ in plan), ZERO) * size
        if price is not None:
            worth += (quantity - taken) * price * size
        mark = self.mark(market.symbol) or price or ZERO
        lost = sum((max(ZERO, sign * (at - mark)) * one for at, one, _ in plan), ZERO) * size
        after = self._exposure(account, market.symbol, {side: worth}, but)
        before = self._exposure(account, market.symbol)
        leverage = self.leverage(account, market.symbol)
        needed = (after - before) / leverage + lost + worth * max(ZERO, market.taker_fee)
        available = self.margin(account, market.settled_in).available
        if available < needed:
            raise Reject(INSUFFICIENT_FUNDS, f"{market.settled_in}: {available} available, {needed} needed")

    def settle(
        self,
        account: Account | None,
        market: Market,
        side: Side,
        price: Decimal,
        quantity: Decimal,
        fee: Decimal,
        now: float,
    ) -> tuple[Decimal, Decimal]:
        """Book one side of a trade (None: outside) and return what of it closed, and what that earned."""
        assert market.settled_in is not None
        name = OUTSIDE if account is None else account.name
        position = self._held.setdefault(name, {}).setdefault(market.symbol, Position(symbol=market.symbol))
        signed = quantity if side == "buy" else -quantity
        each = price * market.contract_size
        closed = min(quantity, abs(position.quantity)) if position.quantity * signed < 0 else ZERO
        realised = ZERO
        if closed:
            share = position.cost  # of what it was entered for
            if closed < abs(position.quantity):
                share = (share * closed / abs(position.quantity)).quantize(FEE_QUANTUM, ROUND_DOWN)
            realised = (closed if signed < 0 else -closed) * each - share
            position.quantity += closed if signed > 0 else -closed
            position.cost -= share
            position.realised += realised
        opened = signed - (closed if signed > 0 else -closed)
        position.fees += fee
        if opened:
            if not position.quantity:
                self._opened += 1
                self._held[name][market.symbol] = position = Position(
                    symbol=market.symbol, opened_at=now, fees=fee if not closed else ZERO, number=self._opened
                )
            position.quantity += opened
            position.cost += opened * each
        position.updated_at = now
        if account is None:
            self._take(self.exchange.clearing, market.settled_in, -realised)
            self._take(self.exchange.outside, market.settled_in, realised)
        else:
            self.exchange.pay(account, market.settled_in, realised, self.exchange.clearing, now)
            self._moved.add((name, market.symbol))
            self._announce(name, position, now)
        return closed, realised

    def tidy(self, now: float) -> bool:
        """Trim reduce-only orders, and liquidate who cannot hold what he has; False while that is done."""
        if self._tidying:
            return False
        self._tidying = True
        try:
            while True:
                while self._moved:
                    name, symbol = self._moved.pop()
                    self._trim(self.exchange.accounts[name], symbol, now)
                for name in [name for name, held in self._held.items() if name != OUTSIDE and held]:
                    self._check_maintenance(self.exchange.accounts[name], now)
                if not self._moved:
                    break
        finally:
            self._tidying = False
        return True

    # Inside

    def _of(self, name: str, symbol: str) -> Position:
        return self._held.get(name, {}).get(symbol) or Position(symbol=symbol)

    def _orders(
        self, account: Account, symbol: str, side: Side | None = None, *, reduce_only: bool | None = None
    ) -> Iterator[Order]:
        """Open orders in the book; what waits for a trigger counts once it is there."""
        for order in account.open.values():
            if order.symbol == symbol and side in (None, order.side) and not order.waiting:
                if reduce_only in (None, order.reduce_only):
                    yield order

    def _closable(self, account: Account, symbol: str, side: Side) -> Decimal:
        """How much of the position orders of this side can close."""
        quantity = self._of(account.name, symbol).quantity
        return max(ZERO, -quantity if side == "buy" else quantity)

    def _waiting(self, account: Account, symbol: str, but: Order | None = None) -> tuple[Decimal, Decimal]:
        """What the open orders that may add to the position are worth: (buys, sells)."""
        size = self.market(symbol).contract_size
        worth: dict[str, Decimal] = {"buy": ZERO, "sell": ZERO}
        for order in self._orders(account, symbol, reduce_only=False):
            if order is not but:
                worth[order.side] += order.remaining_quantity * (order.price or ZERO) * size
        return worth["buy"], worth["sell"]

    def _exposure(
        self,
        account: Account,
        symbol: str,
        more: dict[Side, Decimal] | None = None,
        but: Order | None = None,
    ) -> Decimal:
        """The most the position may be worth once orders are filled, `more` among them instead of `but`."""
        value = self.value(self._of(account.name, symbol))
        buys, sells = self._waiting(account, symbol, but)
        more = more or {}
        buys, sells = buys + more.get("buy", ZERO), sells + more.get("sell", ZERO)
        return max(abs(value), abs(value + buys), abs(value - sells))

    def _announce(self, name: str, position: Position, now: float) -> None:
        self.exchange.announce(
            PositionChange(account=name, symbol=position.symbol, quantity=position.quantity, now=now)
        )

    @staticmethod
    def _take(purse: dict[str, Decimal], currency: str, amount: Decimal) -> None:
        purse[currency] = purse.get(currency, ZERO) + amount

    def _trim(self, account: Account, symbol: str, now: float) -> None:
        for side in SIDES:
            plain = self._orders(account, symbol, side, reduce_only=False)
            left = self._closable(account, symbol, side)
            left -= sum((order.remaining_quantity for order in plain), ZERO)
            for order in list(self._orders(account, symbol, side, reduce_only=True)):
                if left <= 0:
                    self.exchange.expire_order(order.order_id, POSITION_GONE, now)
                elif order.remaining_quantity > left:
                    self.exchange.shrink_order(order, order.remaining_quantity - left, now)
                left -= order.remaining_quantity

    def _fund(self, market: SwapMarket, due: float, now: float) -> None:
        mark, rate = self.mark(market.symbol), self.funding_rate(market.symbol)
        if mark is None or market.settled_in is None:
            return
        self.funded.append(Funded(symbol=market.symbol, mark=mark, rate=rate, time=due))
        for name, account in self.exchange.accounts.items():
            position = self._of(name, market.symbol)
            if not position.quantity or not rate:
                continue
            amount = -(self.value(position) * rate).quantize(FEE_QUANTUM, ROUND_DOWN)
            # The other side is another account or the outside; what rounding leaves is the outside's.
            self.exchange.pay(account, market.settled_in, amount, self.exchange.outside, now)
            position.funding += amount
            position.updated_at = now
            self.payments.append(
                FundingPayment(
                    payment_id=len(self.payments) + 1,
                    account=name,
                    symbol=market.symbol,
                    quantity=position.quantity,
                    mark=mark,
                    rate=rate,
                    amount=amount,
                    balance=account.free[market.settled_in] + account.locked[market.settled_in],
                    time=due,
                )
            )
            self._announce(name, position, now)
        self.exchange.settled(now)

    def _check_maintenance(self, account: Account, now: float) -> None:
        currencies = {self.markets[one.symbol].settled_in for one in self.held(account)}
        for currency in currencies - {None}:
            assert currency is not None
            margin = self.margin(account, currency)
            if margin.equity < margin.maintenance:
                self._liquidate(account, currency, now)

    def _liquidate(self, account: Account, currency: str, now: float) -> None:
        symbols = [symbol for symbol, market in self.markets.items() if market.settled_in == currency]
        for order in [one for one in account.open.values() if one.symbol in symbols]:
            self.exchange.expire_order(order.order_id, LIQUIDATION, now)
        for symbol in symbols:
            self._close(account, symbol, now)
        margin = self.margin(account, currency)
        if margin.equity < 0 and not margin.maintenance:
            self.exchange.pay(account, currency, -margin.equity, self.exchange.outside, now)

    def _close(self, account: Account, symbol: str, now: float) -> None:
        """Close a position at the book, as far as there is one."""
        while quantity := self._of(account.name, symbol).quantity:
            side: Side = "sell" if quantity > 0 else "buy"
            if self.exchange.best(symbol, "buy" if side == "sell" else "sell", now) is None:
                return
            try:
                order = self.exchange.create_order(
                    account,
                    symbol,
                    side,
                    "market",
                    min(abs(quantity), self.market(symbol).max_qty),
                    reduce_only=True,
                    now=now,
                )
            except Reject:
                return  # halted: it is tried again when something moves
            self.liquidations.add(order.order_id)
            if not order.filled_quantity:
                return
