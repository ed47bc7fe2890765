"""One simulated exchange: markets, accounts, orders, money.

Rules:

1. Nothing is lost or made. For every currency: all accounts + fees collected + the outside world = 0, to the
   last unit. `imbalance()` names what breaks this, and is empty. Where contracts are traded there is one
   purse more: `simulator.positions` says what stands in it.
2. Time is the argument `now`, in seconds since 1970. There is no clock, no socket and no randomness here.
3. A refusal is a `Reject` with a reason of `records`; dialects turn it into an exchange's own code and words.
4. Events are delivered after the call has finished its work, oldest first; a listener never sees half of it.
5. Liquidity is of two kinds. Orders of accounts wait in `ems.core.book`. What a recording (or a test) shows
   is the *displayed* book, and our waiting orders stand in its queue by the model below.
6. An order with a trigger is open and in no book until a trade meets its trigger (`simulator.triggers`). Then
   it is placed like a new one, under its own id; one that cannot be paid for ends there.
7. An amendment is one step or none. A smaller order at the same price keeps its place; any other change puts
   it behind the others, and may trade at once.

The queue model for a waiting order at price P with `front` displayed ahead of it:

    join            front = what is displayed at P, 0 when the order improves the best price
    trade at P      uses up `front` first, then fills the order, then what is behind
    trade beyond P  fills the order, up to the size of the trade
    size shrinks    what trades do not explain is cancellations. `probable`: the share (front/total)**3 of
                    them was ahead of us; `risk_averse`: all behind us; `optimistic`: all ahead of us
    opposite quote  at or through P fills the order once for each newly shown size
    our own takes   deplete the displayed levels, which refill exponentially (`refill_s`)
"""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import replace
from decimal import ROUND_DOWN, Decimal
from random import Random
from typing import Any, Literal

from ems.core.book import SELF_TRADE, Closed, SelfTrade, Side, TimeInForce, Traded, crosses
from ems.core.instrument import ceil_to, floor_to
from simulator.admission import average_price, check_band, check_mode, check_shape
from simulator.contracts import Contracts
from simulator.displayed import MarketState
from simulator.intents import planned, reserve_for, reserve_waiting, still_reserved
from simulator.records import (
    BAD_PARAMETER,
    BELOW_FILLED,
    CANCEL_ALL_AFTER,
    CANCELED,
    DUPLICATE_CLIENT_ID,
    EXPIRED,
    FEE_QUANTUM,
    FILLED,
    INSUFFICIENT_FUNDS,
    INVALID_KEY,
    MAINTENANCE,
    MAINTENANCE_MODE,
    MAX_ORDERS,
    MIN_NOTIONAL,
    MODES,
    NO_CHANGE,
    ORDER_CLOSED,
    PARTIALLY_FILLED,
    PERMISSION_DENIED,
    POST_ONLY_WOULD_CROSS,
    SUBMITTED,
    TIME_OVER,
    TRADING,
    UNKNOWN_ORDER,
    UNKNOWN_SYMBOL,
    ZERO,
    Account,
    BalanceChange,
    Before,
    BookChange,
    ClientIdRule,
    Depth,
    Event,
    Fill,
    Key,
    Levels,
    Market,
    ModeChange,
    Order,
    OrderType,
    OrderUpdate,
    PublicTrade,
    QueueModel,
    Reject,
    SelfTradeRule,
    Step,
    Transfer,
    Trigger,
    UpdateKind,
    fill_record,
    order_record,
    text,
    transfer_record,
)
from simulator.triggers import Triggers, met

SIDES: tuple[Side, Side] = ("buy", "sell")


class Exchange:
    """A whole exchange in memory."""

    def __init__(
        self,
        name: str,
        markets: list[Market],
        rng: Random | None = None,
        *,
        client_ids: ClientIdRule = "open",
        self_trade: SelfTrade = "expire_maker",
        queue_model: QueueModel = "probable",
        refill_s: float = 5.0,
        trades_kept: int = 1000,
        first_id: int = 1,
    ) -> None:
        self.name = name
        self.rng = rng or Random(0)
        self.client_ids = client_ids
        self._queue_model: QueueModel = queue_model
        self.refill_s = refill_s
        self.trades_kept = trades_kept
        self.before: dict[str, Before] = {}  # symbol -> what was traded before this began
        self.mode = TRADING
        self.markets: dict[str, Market] = {}  # symbol -> market
        self.accounts: dict[str, Account] = {}  # name -> account
        self.keys: dict[str, Key] = {}  # api key -> key
        self.orders: dict[int, Order] = {}  # order id -> order
        self.fees_collected: dict[str, Decimal] = {}  # currency -> amount
        self.outside: dict[str, Decimal] = {}  # currency -> net of everybody who has no account here
        self.clearing: dict[str, Decimal] = {}  # currency -> below zero: profits whose losses are on paper
        self.contracts: Contracts | None = None
        self._self_trade: SelfTrade = self_trade
        self._states: dict[str, MarketState] = {}
        self._touched: dict[str, MarketState] = {}  # symbol -> market with something to publish
        self._listeners: list[Callable[[Event], None]] = []
        self._events: list[Event] = []
        self._delivering = False
        self._changed: dict[str, dict[str, tuple[Decimal, Decimal]]] = {}
        # account -> currency -> (free, locked)
        self._triggers = Triggers()
        self._cancel_all_at: dict[str, float] = {}  # account -> when its orders end if nobody says more
        self._next_order_id = first_id
        self._next_trade_id = first_id
        self._next_transfer_id = 1
        for market in markets:
            self.add_market(market)

    # Set-up and administration

    def add_market(self, market: Market) -> None:
        """List a market, or change its rules; books and orders stay."""
        if market.settled_in is not None and self.contracts is None:
            raise ValueError(f"market {market.symbol}: contracts are listed by simulator.positions.Positions")
        self.markets[market.symbol] = market
        state = self._states.get(market.symbol)
        if state is None:
            self._states[market.symbol] = MarketState(
                market, self._self_trade, self.refill_s, self._queue_model, self._touched
            )
        else:
            state.market = market

    def remove_market(self, symbol: str, now: float) -> None:
        """Delist a market; its open orders expire."""
        self._state(symbol)
        for order in [order for order in self.orders.values() if order.open and order.symbol == symbol]:
            self._end(order, EXPIRED, "DELISTED", now)
        del self.markets[symbol], self._states[symbol]
        self._touched.pop(symbol, None)
        self._deliver(now)

    def open_account(
        self,
        api_key: str,
        secret: str,
        *,
        name: str | None = None,
        passphrase: str | None = None,
        permissions: frozenset[str] = frozenset(("read", "trade")),
        ips: tuple[str, ...] = (),
    ) -> Account:
        """Open an account, or add a further key to the account of that name."""
        if api_key in self.keys:
            raise ValueError(f"api key {api_key!r} exists already: choose another")
        name = name or f"account-{len(self.accounts) + 1}"
        account = self.accounts.setdefault(name, Account(name))
        self.keys[api_key] = Key(
            api_key=api_key,
            secret=secret,
            account=name,
            passphrase=passphrase,
            permissions=permissions,
            ips=ips,
        )
        return account

    def authenticate(self, api_key: str, permission: str = "read") -> Key:
        """Find a key that is alive and allowed to do this."""
        key = self.keys.get(api_key)
        if key is None or key.revoked:
            raise Reject(INVALID_KEY, "unknown or revoked API key")
        if permission not in key.permissions:
            raise Reject(PERMISSION_DENIED, f"the key lacks the permission {permission!r}")
        return key

    def revoke_key(self, api_key: str, revoked: bool = True) -> None:
        """Make a key useless, or useful again; open orders stay."""
        if api_key not in self.keys:
            raise Reject(INVALID_KEY, "unknown API key")
        self.keys[api_key].revoked = revoked

    def set_mode(self, mode: str, now: float, symbol: str | None = None) -> None:
        """Halt, restrict or resume one market or the whole exchange."""
        if mode not in MODES:
            raise Reject(BAD_PARAMETER, f"mode must be one of {', '.join(MODES)}")
        if symbol is None:
            self.mode = mode
        else:
            self._state(symbol).mode = mode
        self._events.append(ModeChange(symbol=symbol, mode=mode, now=now))
        self._deliver(now)

    def mode_of(self, symbol: str) -> str:
        """What a market allows now."""
        return self.mode if self.mode != TRADING else self._state(symbol).mode

    def subscribe(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        """Call `listener` with every event from now on; the returned function ends it."""
        self._listeners.append(listener)

        def stop() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return stop

    # Money

    def deposit(
        self,
        account: Account,
        currency: str,
        amount: Decimal,
        now: float,
        *,
        address: str = "",
        txid: str = "",
    ) -> Transfer:
        """Bring money in from outside."""
        if not amount.is_finite() or amount <= 0:
            raise Reject(BAD_PARAMETER, "amount must be positive")
        return self._transfer(account, "deposit", currency, amount, ZERO, now, address, txid)

    def withdraw(
        self,
        account: Account,
        currency: str,
        amount: Decimal,
        now: float,
        *,
        fee: Decimal = ZERO,
        address: str = "",
        txid: str = "",
    ) -> Transfer:
        """Take money out; the fee is paid on top."""
        if not amount.is_finite() or amount <= 0:
            raise Reject(BAD_PARAMETER, "amount must be positive")
        if self.free(account, currency) < amount + fee:
            raise Reject(INSUFFICIENT_FUNDS, f"free {currency} is less than {amount + fee}")
        return self._transfer(account, "withdrawal", currency, amount, fee, now, address, txid)

    def free(self, account: Account, currency: str) -> Decimal:
        """What the account may spend or withdraw of a currency: less than is free, where it is margin."""
        free = account.free.get(currency, ZERO)
        return free if self.contracts is None else min(free, self.contracts.free(account, currency))

    def pay(
        self, account: Account, currency: str, amount: Decimal, purse: dict[str, Decimal], now: float
    ) -> None:
        """Move money between an account and `outside`, `clearing` or `fees_collected`, either way."""
        if amount:
            self._move(account, currency, amount, ZERO, now)
            purse[currency] = purse.get(currency, ZERO) - amount

    def announce(self, event: Event) -> None:
        """Have an event told with those of the call under way."""
        self._events.append(event)

    def settled(self, now: float) -> None:
        """Tell what was announced outside any call."""
        self._deliver(now)

    def balances(self, account: Account, as_of: float | None = None) -> dict[str, tuple[Decimal, Decimal]]:
        """What the account owns, currency -> (free, locked); with `as_of`, what it owned then."""
        if as_of is None:
            return {c: (account.free[c], account.locked.get(c, ZERO)) for c in account.free}
        result = {}
        for currency, journal in account.journal.items():
            position = bisect_right(journal, as_of, key=lambda entry: entry[0])
            if position:
                result[currency] = journal[position - 1][1:]
        return result

    # Orders

    def create_order(
        self,
        account: Account,
        symbol: str,
        side: Side,
        order_type: OrderType,
        quantity: Decimal | None = None,
        price: Decimal | None = None,
        *,
        quote_quantity: Decimal | None = None,
        time_in_force: TimeInForce = "GTC",
        post_only: bool = False,
        client_order_id: str = "",
        trigger: Trigger | None = None,
        reserve_early: bool = True,
        expires_at: float | None = None,
        reduce_only: bool = False,
        self_trade: SelfTradeRule | None = None,
        now: float,
    ) -> Order:
        """Place an order; raises Reject and changes nothing when it is refused.

        With a `trigger` it waits for one, holding its money meanwhile unless told otherwise. One that is met
        already fires at once; exchanges that call this a mistake say so before they come here. A
        `reduce_only` order for more than there is to reduce becomes smaller when it reaches the book.
        """
        state = self._state(symbol)
        market = state.market
        own_rule = self._self_trade if self_trade is None else self_trade
        self._catch_up(now)
        self._check_mode(state, order_type, post_only)
        check_shape(state, side, order_type, quantity, price, quote_quantity, trigger, reduce_only)
        check_band(state, side, price, now)
        self._check_client_id(account, client_order_id)
        if expires_at is not None and expires_at <= now:
            raise Reject(BAD_PARAMETER, "the order's time is over already", parameter="expires_at")
        if sum(1 for order in account.open.values() if order.symbol == symbol) >= market.max_orders:
            raise Reject(MAX_ORDERS, f"more than {market.max_orders} open orders in {symbol}")
        if trigger is not None and market.max_waiting is not None:
            waiting = sum(1 for o in account.open.values() if o.symbol == symbol and o.waiting)
            if waiting >= market.max_waiting:
                raise Reject(MAX_ORDERS, f"more than {market.max_waiting} orders wait in {symbol}")
        plan: list[Step] = []
        if trigger is not None:
            wanted = ZERO if quantity is None else quantity
            reserve = reserve_waiting(market, side, wanted, price, quote_quantity, trigger)
            reserve = reserve if reserve_early else ZERO
        else:
            wanted, reserve, plan = self._intend(
                state,
                account,
                side,
                quantity,
                price,
                quote_quantity,
                time_in_force,
                post_only,
                reduce_only,
                own_rule,
                now,
            )
        self._check_funds(account, market, side, reserve)

        order = Order(
            order_id=self._next_order_id,
            client_order_id=client_order_id,
            account=account.name,
            symbol=symbol,
            side=side,
            order_type=order_type,
            time_in_force=time_in_force,
            post_only=post_only,
            quantity=wanted,
            quote_quantity=quote_quantity,
            price=price,
            created_at=now,
            updated_at=now,
            trigger=trigger,
            reserve_early=reserve_early,
            expires_at=expires_at,
            reduce_only=reduce_only,
            self_trade=own_rule,
        )
        self._next_order_id += 1
        self.orders[order.order_id] = account.orders[order.order_id] = account.open[order.order_id] = order
        if client_order_id:
            account.by_client_id.setdefault(client_order_id, []).append(order)
        order.history.append((now, SUBMITTED, ZERO, ZERO))
        self._hold(order, reserve, now)
        if expires_at is not None:
            self._triggers.end_at(order, expires_at)
        self._report(order, "new", None, now)
        if trigger is None:
            stopped = self._execute(state, order, plan, now)
            if order.open:
                self._settle_remainder(state, order, stopped, now)
        else:
            self._triggers.add(order)
            if state.last_price is not None and met(trigger, state.last_price):
                self._triggers.printed(symbol, state.last_price)
        self._deliver(now)
        return order

    def amend_order(
        self,
        account: Account,
        order_id: int | None = None,
        client_order_id: str | None = None,
        *,
        symbol: str | None = None,
        quantity: Decimal | None = None,
        price: Decimal | None = None,
        trigger_price: Decimal | None = None,
        new_client_order_id: str | None = None,
        now: float,
    ) -> Order:
        """Change an open order's whole quantity, price or trigger price in one step; None leaves as it is.

        Raises Reject and changes nothing when the order is not open, the new terms break a rule or cannot be
        paid for, or would take although it is post-only; BELOW_FILLED when nothing would remain of it.
        """
        self._catch_up(now)
        self._check_reachable()
        order = self.find_order(account, order_id, client_order_id, symbol=symbol)
        if order is None:
            raise Reject(UNKNOWN_ORDER, "no such order of this account")
        if not order.open:
            raise Reject(ORDER_CLOSED, f"the order is {order.status}", order=order)
        state = self._state(order.symbol)
        market = state.market
        self._check_mode(state, order.order_type, order.post_only)
        for name, value, present in (
            ("price", price, order.price),
            ("trigger_price", trigger_price, order.trigger if order.waiting else None),
            ("quantity", quantity, None if order.quote_quantity is not None else order.quantity),
        ):
            if value is not None and present is None:
                raise Reject(BAD_PARAMETER, f"this order has no {name} to amend", parameter=name)
        new_quantity = order.quantity if quantity is None else quantity
        new_price = order.price if price is None else price
        trigger = order.trigger
        if trigger is not None and trigger_price is not None:
            trigger = replace(trigger, price=trigger_price)
        if (new_quantity, new_price, trigger) == (order.quantity, order.price, order.trigger):
            raise Reject(NO_CHANGE, "the order is so already")
        counted = new_quantity if order.quote_quantity is None else None
        check_shape(
            state, order.side, order.order_type, counted, new_price, order.quote_quantity,
            trigger if order.waiting else None, order.reduce_only,
        )  # fmt: skip
        if order.quote_quantity is None and new_quantity <= order.filled_quantity:
            raise Reject(BELOW_FILLED, f"{order.filled_quantity} of the order is filled already")
        if new_client_order_id and new_client_order_id != order.client_order_id:
            self._check_client_id(account, new_client_order_id)
        left = new_quantity - order.filled_quantity
        in_book = state.book.get(order.order_id) is not None
        keeps_place = in_book and new_price == order.price and new_quantity <= order.quantity
        plan: list[Step] = []
        if order.waiting:
            assert trigger is not None
            reserve = reserve_waiting(market, order.side, left, new_price, order.quote_quantity, trigger)
            reserve = reserve if order.reserve_early else ZERO
        elif keeps_place:
            reserve = reserve_for(market, order.side, left, new_price, plan)
        else:
            wanted, reserve, plan = self._intend(
                state,
                account,
                order.side,
                left,
                new_price,
                None,
                "GTC",
                order.post_only,
                order.reduce_only,
                order.self_trade,
                now,
                but=order,
            )
            new_quantity -= left - wanted
        self._check_funds(account, market, order.side, reserve - order.reserved)

        order.amendments.append((now, order.quantity, order.price, order.trigger))
        shrunk_by, old_price = order.quantity - new_quantity, order.price
        order.quantity, order.price, order.trigger, order.updated_at = new_quantity, new_price, trigger, now
        if new_client_order_id and new_client_order_id != order.client_order_id:
            account.by_client_id[order.client_order_id].remove(order)
            account.by_client_id.setdefault(new_client_order_id, []).append(order)
            order.client_order_id = new_client_order_id
        self._hold(order, reserve - order.reserved, now)
        order.history.append((now, order.status, order.filled_quantity, order.filled_quote))
        self._report(order, "amended", None, now)
        if order.waiting:
            if state.last_price is not None:
                self._triggers.printed(order.symbol, state.last_price)
        elif keeps_place:
            if shrunk_by:
                state.book.reduce(order.order_id, shrunk_by)
        else:
            if in_book:
                state.book.cancel(order.order_id)
                state.front.pop(order.order_id, None)
            stopped = self._execute(state, order, plan, now)
            if order.open:
                self._settle_remainder(state, order, stopped, now)
        if old_price is not None:
            state.touch(order.side, old_price)
        self._deliver(now)
        return order

    def cancel_order(
        self,
        account: Account,
        order_id: int | None = None,
        client_order_id: str | None = None,
        *,
        symbol: str | None = None,
        now: float,
    ) -> Order:
        """Cancel an open order of this account."""
        self._check_reachable()
        order = self.find_order(account, order_id, client_order_id, symbol=symbol)
        if order is None:
            raise Reject(UNKNOWN_ORDER, "no such order of this account")
        if not order.open:
            raise Reject(ORDER_CLOSED, f"the order is {order.status}", order=order)
        self._end(order, CANCELED, "CANCELED", now)
        self._deliver(now)
        return order

    def cancel_all(self, account: Account, symbol: str | None = None, *, now: float) -> list[Order]:
        """Cancel every open order of this account, in one market or in all."""
        self._check_reachable()
        if symbol is not None:
            self._state(symbol)
        orders = [order for order in account.open.values() if symbol in (None, order.symbol)]
        for order in orders:
            self._end(order, CANCELED, "CANCELED", now)
        self._deliver(now)
        return orders

    def cancel_all_at(self, account: Account, at: float | None) -> None:
        """Set the dead-man's switch of an account: at `at` its orders end unless somebody sets it again.

        None takes it back. Once it has struck, it stays off.
        """
        self._cancel_all_at.pop(account.name, None)
        if at is not None:
            self._cancel_all_at[account.name] = at

    def wake(self, now: float) -> None:
        """Carry out what is due by time; called with every request and about every 100 ms."""
        if self.contracts is not None:
            self.contracts.wake(now)
        for name in [name for name, at in self._cancel_all_at.items() if now >= at]:
            del self._cancel_all_at[name]
            for order in list(self.accounts[name].open.values()):
                self.expire_order(order.order_id, CANCEL_ALL_AFTER, now)

    def expire_order(self, order_id: int, reason: str, now: float) -> None:
        """End an order as the exchange itself does, for whatever reason."""
        order = self.orders.get(order_id)
        if order is None or not order.open:
            raise Reject(UNKNOWN_ORDER, "no such open order")
        self._end(order, EXPIRED, reason, now)
        self._deliver(now)

    def shrink_order(self, order: Order, quantity: Decimal, now: float) -> None:
        """Make a waiting order smaller by less than what remains of it; it keeps its place."""
        assert order.open and order.price is not None and ZERO < quantity < order.remaining_quantity
        state = self._states[order.symbol]
        state.book.reduce(order.order_id, quantity)
        order.amendments.append((now, order.quantity, order.price, order.trigger))
        order.quantity -= quantity
        order.updated_at = now
        order.history.append((now, order.status, order.filled_quantity, order.filled_quote))
        self._report(order, "amended", None, now)
        state.touch(order.side, order.price)

    def find_order(
        self,
        account: Account,
        order_id: int | None = None,
        client_order_id: str | None = None,
        *,
        symbol: str | None = None,
        as_of: float | None = None,
    ) -> Order | None:
        """Find an order by either id; among several with one client id the open one, else the newest."""
        found: Order | None = None
        if order_id is not None:
            found = account.orders.get(order_id)
        elif client_order_id:
            same = account.by_client_id.get(client_order_id, [])
            found = next((order for order in same if order.open), same[-1] if same else None)
        if found is None or symbol not in (None, found.symbol):
            return None
        return found.as_of(as_of)

    def open_orders(
        self, account: Account, symbol: str | None = None, *, as_of: float | None = None
    ) -> list[Order]:
        """The account's open orders, oldest first."""
        if as_of is None:
            return [order for order in account.open.values() if symbol in (None, order.symbol)]
        return [order for order in self.all_orders(account, symbol, as_of=as_of) if order.open]

    def closed_orders(
        self, account: Account, symbol: str | None = None, *, since: float = 0.0, as_of: float | None = None
    ) -> list[Order]:
        """The account's ended orders, oldest first."""
        return [o for o in self.all_orders(account, symbol, since=since, as_of=as_of) if not o.open]

    def all_orders(
        self, account: Account, symbol: str | None = None, *, since: float = 0.0, as_of: float | None = None
    ) -> list[Order]:
        """Every order of the account created since a time, oldest first."""
        seen = (o.as_of(as_of) for o in account.orders.values() if symbol in (None, o.symbol))
        return [order for order in seen if order is not None and order.created_at >= since]

    def my_trades(
        self,
        account: Account,
        symbol: str | None = None,
        order_id: int | None = None,
        since: float = 0.0,
        *,
        as_of: float | None = None,
    ) -> list[Fill]:
        """The account's fills, oldest first."""
        return [
            fill
            for fill in account.fills
            if symbol in (None, fill.symbol)
            and order_id in (None, fill.order_id)
            and fill.time >= since
            and (as_of is None or fill.time <= as_of)
        ]

    # Market data

    def set_book(self, symbol: str, bids: Levels, asks: Levels, now: float) -> None:
        """Replace the whole displayed book of a market."""
        state = self._state(symbol)
        new_bids, new_asks = dict(bids), dict(asks)
        gone_bids = [(p, ZERO) for p in state.displayed["buy"].sizes if p not in new_bids]
        gone_asks = [(p, ZERO) for p in state.displayed["sell"].sizes if p not in new_asks]
        self.update_book(symbol, gone_bids + list(bids), gone_asks + list(asks), now)

    def update_book(self, symbol: str, bids: Levels, asks: Levels, now: float) -> None:
        """Change some levels of the displayed book; size 0 removes a level."""
        state = self._state(symbol)
        self._catch_up(now)
        grown: dict[Side, Levels] = {"buy": [], "sell": []}
        changes: tuple[tuple[Side, Levels], ...] = (("buy", bids), ("sell", asks))
        for side, levels in changes:
            displayed = state.displayed[side]
            for price, size in levels:
                old = displayed.set(price, size)
                traded = displayed.traded.pop(price, ZERO)
                if size < old:
                    if state.front:
                        state.cancel_ahead(side, price, old, max(ZERO, old - size - traded))
                elif size > old:
                    grown[side].append((price, size - old))
                state.touch(side, price)
        for side, other in (("sell", "buy"), ("buy", "sell")):
            if state.book.best(other) is None:  # nothing of ours waits there
                continue
            for price, size in sorted(grown[side], reverse=side == "buy"):
                self._cross(state, side, price, size, now)
        self._deliver(now)

    def public_trade(
        self, symbol: str, price: Decimal, quantity: Decimal, taker_side: Side, now: float
    ) -> None:
        """A trade of others happened: show it, and fill our waiting orders it would have met.

        What our orders got is shown as trades of its own, with the ids and prices of their fills, and the
        rest as it came: everybody sees the same quantity trade, whoever was hit.
        """
        state = self._state(symbol)
        self._catch_up(now)
        side: Side = "sell" if taker_side == "buy" else "buy"
        left = unmet = quantity
        passed: dict[Decimal, Decimal] = {}  # price -> displayed size the trade has used there
        for resting in list(state.book.orders(side)):
            if not left or not crosses(side, resting.price, price):
                break
            if resting.price == price:
                ahead = max(ZERO, state.front.get(resting.order_id, ZERO) - passed.get(price, ZERO))
                if left <= ahead:
                    break
                left -= ahead
                passed[price] = passed.get(price, ZERO) + ahead
            filled = min(left, resting.remaining)
            left -= filled
            unmet -= filled
            trade_id = self._fill_resting(state, self.orders[resting.order_id], filled, now)
            self._publish_trade(state, trade_id, resting.price, filled, taker_side, now)
        if unmet:
            self._publish_trade(state, self._take_trade_id(), price, unmet, taker_side, now)
        used = passed.get(price, ZERO) + left
        if used and price in state.displayed[side].sizes:
            state.shrink_fronts(side, price, used)
            traded = state.displayed[side].traded
            traded[price] = traded.get(price, ZERO) + used
        self._deliver(now)

    def price_bounds(self, symbol: str, now: float) -> tuple[Decimal, Decimal] | None:
        """The highest price of a buy and the lowest of a sell; None where there is no band, or no price."""
        state = self._state(symbol)
        average = average_price(state, now)
        if state.market.band is None or average is None:
            return None
        tick, band = state.market.tick, state.market.band
        return floor_to(average * band.buy[1], tick), ceil_to(average * band.sell[0], tick)

    def depth(self, symbol: str, limit: int | None = None, *, now: float) -> Depth:
        """The book as everybody sees it: displayed size plus the accounts' waiting orders."""
        state = self._state(symbol)
        self.advance(symbol, now)
        shown = state.shown
        bids = sorted(shown["buy"].items(), reverse=True)[:limit]
        asks = sorted(shown["sell"].items())[:limit]
        return Depth(symbol, state.sequence, bids, asks)

    def advance(self, symbol: str, now: float) -> None:
        """Publish the levels that have refilled since; call it now and then when nothing else happens."""
        state = self._state(symbol)
        state.touch_taken()
        self._deliver(now)

    def best(self, symbol: str, side: Side, now: float) -> tuple[Decimal, Decimal] | None:
        """Best price of one side and what is there."""
        state = self._state(symbol)
        price = state.best_price(side, now)
        if price is None:
            return None
        return price, state.visible(side, price, now) + state.book.size_at(side, price)

    def displayed_middle(self, symbol: str) -> Decimal | None:
        """The middle of the displayed book, whatever accounts took from it; None while a side is empty."""
        displayed = self._state(symbol).displayed
        bid, ask = (next(iter(displayed[side].best_first()), None) for side in SIDES)
        return None if bid is None or ask is None else (bid + ask) / 2

    def recent_trades(self, symbol: str, limit: int = 500) -> list[PublicTrade]:
        """Public trades, oldest first."""
        return self._state(symbol).trades[-limit:]

    def last_price(self, symbol: str) -> Decimal | None:
        """Price of the last public trade."""
        return self._state(symbol).last_price

    # Truth, for tests and the admin API

    def ledger(self, account: Account) -> dict[str, Any]:
        """Everything that happened to an account; amounts as decimal strings."""
        positions = {} if self.contracts is None else {"positions": self.contracts.records(account)}
        return positions | {
            "account": account.name,
            "balances": {
                c: {"free": text(free), "locked": text(locked)}
                for c, (free, locked) in self.balances(account).items()
            },
            "orders": [order_record(order) for order in account.orders.values()],
            "fills": [fill_record(fill) for fill in account.fills],
            "transfers": [transfer_record(transfer) for transfer in account.transfers],
        }

    def imbalance(self) -> dict[str, Decimal]:
        """Currencies whose sum over accounts and purses is not zero; empty when all is well."""
        total: dict[str, Decimal] = {}
        parts = [self.fees_collected, self.outside, self.clearing]
        for account in self.accounts.values():
            parts += [account.free, account.locked]
        for part in parts:
            for currency, amount in part.items():
                total[currency] = total.get(currency, ZERO) + amount
        return {currency: amount for currency, amount in total.items() if amount}

    # Checks

    def _state(self, symbol: str) -> MarketState:
        state = self._states.get(symbol)
        if state is None:
            raise Reject(UNKNOWN_SYMBOL, f"no market {symbol!r}")
        return state

    def _check_reachable(self) -> None:
        if self.mode == MAINTENANCE_MODE:
            raise Reject(MAINTENANCE, "the exchange is under maintenance")

    def _check_mode(self, state: MarketState, order_type: OrderType, post_only: bool) -> None:
        self._check_reachable()
        check_mode((self.mode, state.mode), state, order_type, post_only)

    def _check_client_id(self, account: Account, client_order_id: str) -> None:
        same = account.by_client_id.get(client_order_id) if client_order_id else None
        if not same or self.client_ids == "none":
            return
        if self.client_ids == "forever" or any(order.open for order in same):
            raise Reject(DUPLICATE_CLIENT_ID, f"client order id {client_order_id} is in use")

    # Matching

    def _intend(
        self,
        state: MarketState,
        account: Account,
        side: Side,
        quantity: Decimal | None,
        price: Decimal | None,
        quote_quantity: Decimal | None,
        time_in_force: TimeInForce,
        post_only: bool,
        reduce_only: bool,
        own_rule: SelfTradeRule,
        now: float,
        *,
        but: Order | None = None,
    ) -> tuple[Decimal, Decimal, list[Step]]:
        """Say how much an order that reaches the book wants, what it holds, and what it takes at once.

        `but` is the same order as it is counted among the open ones.
        """
        market, contracts = state.market, self.contracts
        if reduce_only and contracts is not None and quantity is not None:
            quantity = contracts.allowed(account, market, side, quantity, but)
        plan = planned(state, side, price, quantity, quote_quantity, account.name, own_rule, now)
        if post_only and plan:
            raise Reject(POST_ONLY_WOULD_CROSS, "the order would trade at once")
        at_once = sum((step[1] for step in plan if step[1] > 0), ZERO)
        if quantity is None:
            assert quote_quantity is not None
            if (
                not planned
                and plan == []
                and state.best_price("sell" if side == "buy" else "buy", now) is not None
            ):
                raise Reject(MIN_NOTIONAL, "the quote amount buys less than one lot")
        wanted = at_once if quantity is None else quantity
        if time_in_force == "FOK" and at_once < wanted:
            plan = []
        if market.settled_in is not None and contracts is not None and not reduce_only:
            contracts.check_margin(account, market, side, wanted, price, plan, but)
        return wanted, reserve_for(market, side, wanted, price, plan), plan

    def _fire_due(self, now: float) -> None:
        """Place the orders whose triggers were met, and those that these meet in turn."""
        while (order := self._triggers.next_due()) is not None:
            state, account = self._states[order.symbol], self.accounts[order.account]
            order.triggered_at = order.updated_at = now
            order.history.append((now, order.status, order.filled_quantity, order.filled_quote))
            self._report(order, "triggered", None, now)
            self._hold(order, -order.reserved, now)
            quantity = None if order.quote_quantity is not None else order.quantity
            try:
                self._check_mode(state, order.order_type, order.post_only)
                order.quantity, reserve, plan = self._intend(
                    state, account, order.side, quantity, order.price, order.quote_quantity,
                    order.time_in_force, order.post_only, order.reduce_only, order.self_trade, now, but=order,
                )  # fmt: skip
                self._check_funds(account, state.market, order.side, reserve)
            except Reject as reject:
                self._end(order, EXPIRED, reject.reason, now)
                continue
            self._hold(order, reserve, now)
            stopped = self._execute(state, order, plan, now)
            if order.open:
                self._settle_remainder(state, order, stopped, now)

    def _end_expired(self, now: float) -> bool:
        """End the orders that were good till now; True when there was one."""
        ended = False
        while (order := self._triggers.next_ended(now)) is not None:
            self._end(order, EXPIRED, TIME_OVER, now)
            ended = True
        return ended

    def _catch_up(self, now: float) -> None:
        """Do and tell what was due before whatever comes now."""
        if self._end_expired(now):
            self._deliver(now)

    def _execute(self, state: MarketState, order: Order, plan: list[Step], now: float) -> bool:
        """Carry out the plan; True when meeting an own order ended the taker."""
        for price, quantity, maker_id in plan:
            if quantity < 0:
                assert maker_id is not None
                self._meet_own(state, order, self.orders[maker_id], -quantity, now)
            elif not quantity:
                if order.self_trade == "expire_taker":
                    return True
                assert maker_id is not None
                self._end(self.orders[maker_id], EXPIRED, SELF_TRADE, now)
                if order.self_trade == "expire_both":
                    return True
            elif maker_id is None:
                trade_id = self._take_trade_id()
                other: Side = "sell" if order.side == "buy" else "buy"
                state.displayed[other].take(price, quantity, now)
                state.shrink_fronts(other, price, quantity)
                state.touch(other, price)
                self._apply_fill(state, order, price, quantity, "taker", trade_id, now)
                self._outsider(state.market, order.side, price, quantity, now)
                self._publish_trade(state, trade_id, price, quantity, order.side, now)
            else:
                events = state.book.add(
                    order.order_id, order.side, quantity, price, time_in_force="IOC", owner=order.account
                )
                traded = [event for event in events if isinstance(event, Traded)]
                met = [(trade.maker_id, trade.quantity) for trade in traded]
                assert met == [(maker_id, quantity)], "plan and book differ"
                trade_id = self._take_trade_id()
                maker = self.orders[maker_id]
                self._apply_fill(state, order, price, quantity, "taker", trade_id, now)
                self._apply_fill(state, maker, price, quantity, "maker", trade_id, now)
                if any(isinstance(e, Closed) and e.order_id == maker_id for e in events):
                    state.front.pop(maker_id, None)
                state.touch(maker.side, price)
                self._publish_trade(state, trade_id, price, quantity, order.side, now)
        return False

    def _meet_own(self, state: MarketState, taker: Order, maker: Order, cut: Decimal, now: float) -> None:
        """Make two orders of one account smaller by as much; the one of which nothing is left ends."""
        smaller = [maker] if taker.quote_quantity is not None else [maker, taker]
        for order in smaller:
            if cut == order.remaining_quantity:
                self._end(order, EXPIRED, SELF_TRADE, now)
                continue
            if order is maker:
                state.book.reduce(order.order_id, cut)
                state.touch(order.side, order.price or ZERO)
            order.amendments.append((now, order.quantity, order.price, order.trigger))
            order.quantity -= cut
            order.updated_at = now
            order.history.append((now, order.status, order.filled_quantity, order.filled_quote))
            self._hold(order, still_reserved(state.market, order, ZERO) - order.reserved, now)
            self._report(order, "amended", None, now)

    def _settle_remainder(self, state: MarketState, order: Order, stopped: bool, now: float) -> None:
        if stopped:
            self._end(order, EXPIRED, SELF_TRADE, now)
        elif order.order_type == "market" or order.time_in_force != "GTC":
            self._end(order, EXPIRED, "NO_LIQUIDITY", now)
        else:
            assert order.price is not None
            displayed = state.displayed[order.side]
            state.front[order.order_id] = displayed.available(order.price, now)
            state.book.add(
                order.order_id, order.side, order.remaining_quantity, order.price, owner=order.account
            )
            state.touch(order.side, order.price)

    def _cross(self, state: MarketState, side: Side, price: Decimal, size: Decimal, now: float) -> None:
        """Newly displayed size of `side` that reaches our waiting orders on the other side fills them."""
        other: Side = "sell" if side == "buy" else "buy"
        left = size
        for resting in list(state.book.orders(other)):
            if not left or not crosses(other, resting.price, price):
                return
            filled = min(left, resting.remaining)
            left -= filled
            order = self.orders[resting.order_id]
            state.displayed[side].take(price, filled, now)
            trade_id = self._fill_resting(state, order, filled, now)
            self._publish_trade(state, trade_id, resting.price, filled, side, now)

    def _fill_resting(self, state: MarketState, order: Order, quantity: Decimal, now: float) -> int:
        """Fill a waiting order from outside, at its own price."""
        assert order.price is not None
        trade_id = self._take_trade_id()
        events = state.book.reduce(order.order_id, quantity)
        if isinstance(events[0], Closed):
            state.front.pop(order.order_id, None)
        self._apply_fill(state, order, order.price, quantity, "maker", trade_id, now)
        self._outsider(state.market, order.side, order.price, quantity, now)
        state.touch(order.side, order.price)
        return trade_id

    # Money movements

    def _check_funds(self, account: Account, market: Market, side: Side, needed: Decimal) -> None:
        currency = market.settled_in or (market.quote if side == "buy" else market.base)
        free = self.free(account, currency)
        if needed > 0 and free < needed:
            raise Reject(INSUFFICIENT_FUNDS, f"{currency}: {free} free, {needed} needed")

    def _hold(self, order: Order, amount: Decimal, now: float) -> None:
        """Reserve more of an account's money for an order, or give some back."""
        market = self._states[order.symbol].market
        currency = market.settled_in or (market.quote if order.side == "buy" else market.base)
        order.reserved += amount
        self._move(self.accounts[order.account], currency, -amount, amount, now)

    def _apply_fill(
        self,
        state: MarketState,
        order: Order,
        price: Decimal,
        quantity: Decimal,
        liquidity: Literal["maker", "taker"],
        trade_id: int,
        now: float,
    ) -> None:
        market = state.market
        account = self.accounts[order.account]
        cost = price * quantity
        rate = market.maker_fee if liquidity == "maker" else market.taker_fee
        fee, fee_currency = self._fee(market, order, cost, quantity, rate)
        closed, realised = ZERO, ZERO

        order.filled_quantity += quantity
        order.filled_quote += cost
        order.updated_at = now
        done = order.filled_quantity == order.quantity
        order.status = FILLED if done else PARTIALLY_FILLED
        if market.settled_in is not None:
            assert self.contracts is not None, "a contract is listed by Positions"
            closed, realised = self.contracts.settle(account, market, order.side, price, quantity, fee, now)
        else:
            paid_currency, paid = (market.quote, cost) if order.side == "buy" else (market.base, quantity)
            got_currency, got = (market.base, quantity) if order.side == "buy" else (market.quote, cost)
            released = order.reserved - still_reserved(market, order, paid)
            order.reserved -= released
            self._move(account, paid_currency, released - paid, -released, now)
            self._move(account, got_currency, got, ZERO, now)
        self.pay(account, fee_currency, -fee, self.fees_collected, now)

        fill = Fill(
            trade_id=trade_id,
            order_id=order.order_id,
            client_order_id=order.client_order_id,
            account=order.account,
            symbol=order.symbol,
            side=order.side,
            price=price,
            quantity=quantity,
            quote_quantity=cost,
            fee=fee,
            fee_currency=fee_currency,
            liquidity=liquidity,
            time=now,
            closed=closed,
            realised=realised,
        )
        order.fills.append(fill)
        account.fills.append(fill)
        if done:
            account.open.pop(order.order_id, None)
        order.history.append((now, order.status, order.filled_quantity, order.filled_quote))
        self._report(order, "trade", fill, now)

    def _fee(
        self, market: Market, order: Order, cost: Decimal, quantity: Decimal, rate: Decimal
    ) -> tuple[Decimal, str]:
        """Say what a fill costs, in which currency: rounded towards zero, so that many small fills never cost
        more than was reserved."""
        account = self.accounts[order.account]
        coin = account.fee_coin
        if coin and market.settled_in is None and coin not in (market.base, market.quote):
            pair = f"{coin}/{market.quote}"
            price = self.displayed_middle(pair) if pair in self.markets else None
            fee = ZERO if price is None else (cost * rate / price).quantize(FEE_QUANTUM, ROUND_DOWN)
            if price is not None and self.free(account, coin) >= fee:
                return fee, coin
        pays_quote = market.fee_mode == "quote" or (market.fee_mode == "received" and order.side == "sell")
        charged = cost * market.contract_size if pays_quote else quantity
        fee = (charged * rate).quantize(FEE_QUANTUM, ROUND_DOWN)
        return fee, market.quote if pays_quote else market.base

    def _outsider(self, market: Market, side: Side, price: Decimal, quantity: Decimal, now: float) -> None:
        if market.settled_in is not None:
            assert self.contracts is not None, "a contract is listed by Positions"
            other: Side = "sell" if side == "buy" else "buy"
            self.contracts.settle(None, market, other, price, quantity, ZERO, now)
            return
        sign = 1 if side == "sell" else -1
        self.outside[market.base] = self.outside.get(market.base, ZERO) + sign * quantity
        self.outside[market.quote] = self.outside.get(market.quote, ZERO) - sign * price * quantity

    def _end(self, order: Order, status: str, reason: str, now: float) -> None:
        state = self._states[order.symbol]
        account = self.accounts[order.account]
        if state.book.get(order.order_id) is not None:
            state.book.cancel(order.order_id)
        state.front.pop(order.order_id, None)
        self._triggers.discard(order)
        if order.price is not None:
            state.touch(order.side, order.price)
        self._hold(order, -order.reserved, now)
        order.status = status
        order.reason = reason
        order.updated_at = now
        account.open.pop(order.order_id, None)
        order.history.append((now, status, order.filled_quantity, order.filled_quote))
        self._report(order, "canceled" if status == CANCELED else "expired", None, now)

    def _transfer(
        self,
        account: Account,
        kind: Literal["deposit", "withdrawal"],
        currency: str,
        amount: Decimal,
        fee: Decimal,
        now: float,
        address: str,
        txid: str,
    ) -> Transfer:
        transfer = Transfer(
            transfer_id=self._next_transfer_id,
            kind=kind,
            currency=currency,
            amount=amount,
            fee=fee,
            time=now,
            address=address,
            txid=txid,
        )
        self._next_transfer_id += 1
        account.transfers.append(transfer)
        delta = amount if kind == "deposit" else -(amount + fee)
        self._move(account, currency, delta, ZERO, now)
        self.outside[currency] = self.outside.get(currency, ZERO) - delta - fee
        if fee:
            self.fees_collected[currency] = self.fees_collected.get(currency, ZERO) + fee
        self._changed.pop(account.name, None)
        balances = {currency: (account.free[currency], account.locked.get(currency, ZERO))}
        self._events.append(
            BalanceChange(account=account.name, balances=balances, delta=(currency, delta), now=now)
        )
        self._deliver(now)
        return transfer

    def _move(self, account: Account, currency: str, free: Decimal, locked: Decimal, now: float) -> None:
        new_free = account.free.get(currency, ZERO) + free
        new_locked = account.locked.get(currency, ZERO) + locked
        account.free[currency] = new_free
        account.locked[currency] = new_locked
        assert new_locked >= 0, f"{account.name}: {currency} locked below zero"
        account.journal.setdefault(currency, []).append((now, new_free, new_locked))
        self._changed.setdefault(account.name, {})[currency] = (new_free, new_locked)

    # Events

    def _take_trade_id(self) -> int:
        self._next_trade_id += 1
        return self._next_trade_id - 1

    def _report(
        self,
        order: Order,
        kind: UpdateKind,
        fill: Fill | None,
        now: float,
    ) -> None:
        self._events.append(
            OrderUpdate(
                order=order,
                kind=kind,
                status=order.status,
                filled_quantity=order.filled_quantity,
                filled_quote=order.filled_quote,
                fill=fill,
                now=now,
            )
        )

    def _publish_trade(
        self,
        state: MarketState,
        trade_id: int,
        price: Decimal,
        quantity: Decimal,
        taker_side: Side,
        now: float,
    ) -> None:
        trade = PublicTrade(
            symbol=state.market.symbol,
            trade_id=trade_id,
            price=price,
            quantity=quantity,
            taker_side=taker_side,
            now=now,
        )
        state.last_price = price
        self._triggers.printed(state.market.symbol, price)
        state.trades.append(trade)
        if len(state.trades) > 2 * self.trades_kept:
            del state.trades[: -self.trades_kept]
        self._events.append(trade)

    def _publish_books(self, now: float) -> None:
        touched = list(self._touched.values())
        self._touched.clear()
        for state in touched:
            bids, asks = state.changed("buy", now), state.changed("sell", now)
            if bids or asks:
                state.sequence += 1
                self._events.append(
                    BookChange(
                        symbol=state.market.symbol,
                        sequence=state.sequence,
                        bids=bids,
                        asks=asks,
                        now=now,
                    )
                )

    def _deliver(self, now: float) -> None:
        self._fire_due(now)
        self._end_expired(now)
        if self.contracts is not None and not self.contracts.tidy(now):
            return
        for name, balances in self._changed.items():
            self._events.append(BalanceChange(account=name, balances=balances, delta=None, now=now))
        self._changed = {}
        self._publish_books(now)
        if self._delivering:
            return  # a listener called us: the outer call delivers, in order
        self._delivering = True
        try:
            position = 0
            while position < len(self._events):
                event = self._events[position]
                position += 1
                for listener in list(self._listeners):
                    listener(event)
        finally:
            self._events = []
            self._delivering = False
