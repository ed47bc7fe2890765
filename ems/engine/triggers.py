"""Orders that wait here for their price, because their exchange does not: watched, and sent when it comes.

Rules:
1. The price is the middle of best bid and ask of a book fit to trade on. An old, crossed or one-sided book,
   or one that others contradict, triggers nothing.
2. What is sent is an order like any other: intent on disk first, looked up when in doubt. One that provably
   did not arrive, or that nobody took for want of a turn, waits again as a new order of the same parent.
3. A refusal of what it is ends it, and people are told: somebody counted on it.
4. Each purpose waits for itself after a no that passes: what holds up a take profit holds up no stop loss. A
   stop whose price has come waits about 2 s at the longest.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

from ems.core import retries
from ems.core.child import NEVER_ARRIVED, Drop
from ems.core.codec import plain
from ems.core.fitness import mid_of
from ems.core.instrument import Market
from ems.core.messages import BookUpdate, OrderType, Rejected
from ems.core.records import Notice, Order, Parent, Status
from ems.core.risk_ledger import place_of
from ems.core.triggers import met, rising
from ems.engine.account import Account, Readiness
from ems.engine.order_types import sellable, taken_at
from ems.engine.orders import Orders
from ems.engine.protection import limit_to_take, protection
from ems.engine.refusals import AGAIN_S, PASSING
from ems.engine.risk import Delay, Risk, reduces
from ems.engine.sight import bounds_of, usable
from ems.engine.successors import succeed
from ems.engine.turn import Out
from ems.engine.work import Run, Work

ZERO = Decimal(0)
STOPS = frozenset({OrderType.STOP_LOSS, OrderType.STOP_LOSS_LIMIT})
TAKEN = frozenset(
    {Status.SUBMITTED, Status.PARTIALLY_FILLED, Status.FILLED, Status.CANCELED, Status.EXPIRED}
)  # of an order that was sent: the exchange had it


class Triggers:
    """Every order that waits with us."""

    def __init__(self, out: Out, work: Work, orders: Orders, risk: Risk):
        self._out = out
        self._work = work
        self._orders = orders
        self._risk = risk

    def work(self, order: Order, run: Run, now: datetime) -> None:
        """Send an order if its price has come."""
        if self.due(order, run, now):
            account = self._work.accounts[order.exchange, order.account]
            market, book = account.markets[order.symbol], account.books[order.symbol]
            self._fire(account, market, book, order, run, now)

    def due(self, order: Order, run: Run, now: datetime) -> bool:
        """Say whether the price of an order has come, and it may be sent now."""
        waits = run.fire(order.purpose).waits(now)
        return not waits and run.problem is None and self.come(order, now)

    def come(self, order: Order, now: datetime) -> bool:
        """Say whether the price of an order has come, where it can be traded at all."""
        account = self._work.accounts[order.exchange, order.account]
        market, book = account.markets.get(order.symbol), account.books.get(order.symbol)
        if account.readiness is not Readiness.READY:
            return False
        if market is None or not market.active or book is None or not usable(book, now):
            return False
        if self._work.halted(*account.key, order.symbol, order.user):
            return False
        assert order.stop_price is not None
        return met(order.order_type, order.side, order.stop_price, mid_of(book))

    def _fire(
        self, account: Account, market: Market, book: BookUpdate, order: Order, run: Run, now: datetime
    ) -> None:
        quantity = order.quantity
        if order.reduce_only:
            quantity = min(quantity, sellable(market, self._held(account, market.base, order)))
        price = order.price
        if price is None:
            # What only reduces gets out at any price: a bound would hold it in when it is needed most.
            guard = None if reduces(order) else self._risk.guard(place_of(order))
            money = self._held(account, market.quote, order)
            taken = bounds_of(account, order.symbol, now)
            price = protection(market, order.side, book, quantity, guard, money, taken)
        if quantity < order.quantity and not market.order_ok(quantity, price or book.bids[0][0]):
            why = f"only {plain(quantity)} {market.base} is held when its price came: too little to sell"
            self._orders.event(order.order_id, Drop(message=why), now)
            self._tell_lost(order, why, now)
            return
        no = self._risk.triggered(account, order, quantity, now)
        if isinstance(no, Delay):
            self._wait(order, run, no.until)
            return
        if no is not None:
            self._orders.event(order.order_id, Drop(message=no.message, code=no.code), now)
            self._tell_lost(order, f"{no.code}: {no.message}", now)
            return
        assert order.stop_price is not None
        where = "at or above" if rising(order.order_type, order.side) else "at or below"
        why = f"triggered: the price is {plain(mid_of(book))}, {where} {plain(order.stop_price)}"
        reserved = _holds(market, book, order, quantity, price)
        self._orders.send(order.order_id, now, message=why, price=price, quantity=quantity, reserved=reserved)

    def _held(self, account: Account, currency: str, order: Order) -> Decimal:
        """Return what is held of the currency that it spends, and not claimed by others than this order."""
        whose = (order.user, order.bot)
        claimed = self._work.claims(account, whose).get(currency, ZERO) - order.reserved
        return account.holdings.usable(currency) - claimed

    def learn_refusal(self, order: Order, report: Rejected, run: Run, now: datetime) -> bool:
        """Take note of a no; say whether the order waits again: not one that was to go."""
        if not order.emulated or order.leaving:
            return False
        if report.refusal in PASSING and run.problem is None:
            tries = run.fire(order.purpose)
            tries.refusals += 1
            again_at = self.pause(order, run, tries.refusals, now)
            if tries.refusals == retries.ORDERS.tries:
                self._tell_tried(order, f"{order.exchange} said: {report.message}", again_at, now)
            return True
        self._tell_lost(order, f"{order.exchange} said: {report.message}", now)
        return False

    def pause(self, order: Order, run: Run, refusals: int, now: datetime) -> datetime:
        """Send none of this purpose for as long as so many refusals in a row ask for; return until when."""
        patience = retries.PROTECTIVE if order.order_type in STOPS else retries.ORDERS
        return self._wait(order, run, now + patience.wait(refusals, order.order_id))

    def _wait(self, order: Order, run: Run, until: datetime) -> datetime:
        run.fire(order.purpose).until = until
        self._out.wake(("parent", order.parent_id, order.purpose), until)
        return until

    @staticmethod
    def learn_success(order: Order, run: Run) -> None:
        """Forget refusals once the exchange has taken an order that waited here."""
        if order.emulated and order.sent_at is not None and order.status in TAKEN:
            run.fire(order.purpose).refusals = 0

    def waits_again(self, parent: Parent, order: Order, run: Run, now: datetime) -> bool:
        """Let an order that provably did not arrive wait again, as a new one."""
        if not order.emulated or order.status is not Status.REJECTED or run.problem is not None:
            return False
        passing = run.fire(order.purpose).waits(now)
        if not passing and order.reason != NEVER_ARRIVED:
            return False
        account = self._work.accounts[order.exchange, order.account]
        succeed(
            self._orders,
            parent,
            account,
            order,
            now,
            order_type=order.order_type,
            quantity=order.quantity,
            price=order.price if order.order_type.limited else None,
            stop_price=order.stop_price,
            emulated=True,
        )
        if not passing:
            self._wait(order, run, now + timedelta(seconds=AGAIN_S))
        return True

    def tell_left(self, order: Order, now: datetime) -> None:
        """Tell people when the bound of its price left something of an order that had none."""
        bounded = order.emulated and not order.order_type.limited and order.price is not None
        left = order.quantity - order.filled_quantity
        if (
            bounded
            and left > ZERO
            and order.status in (Status.CANCELED, Status.EXPIRED)
            and not order.leaving
        ):
            assert order.price is not None
            self._tell_lost(order, f"{plain(left)} were not to be had up to {plain(order.price)}", now)

    def _tell_lost(self, order: Order, why: str, now: datetime) -> None:
        self._tell(
            order,
            f"a {order.order_type} on {order.exchange} was not placed when its price came",
            why,
            "The order has ended; nothing was sent again.",
            "Look at what it was to protect, and place another order if that still stands.",
            now,
        )

    def _tell_tried(self, order: Order, why: str, again_at: datetime, now: datetime) -> None:
        self._tell(
            order,
            f"a {order.order_type} on {order.exchange} waits to be placed though its price has come",
            why,
            f"It was tried {retries.ORDERS.tries} times in a row; the next try is {again_at:%H:%M:%S} UTC.",
            "Look at what it is to protect; if that cannot wait, cancel it and place one by hand.",
            now,
        )

    def _tell(self, order: Order, subject: str, why: str, done: str, todo: str, now: datetime) -> None:
        self._out.record(
            Notice(
                notice_id=f"{order.order_id}-not-triggered",
                query_id=order.query_id,
                severity="critical",
                subject=subject,
                failed=f"order {order.order_id} ({order.order_type} to {order.side} {order.symbol} on "
                f"{order.exchange}) of bot {order.bot} (user {order.user})",
                why=why,
                done=done,
                todo=todo,
                created_at=now,
                group=f"{order.user}/{order.bot}/not-triggered",
                event="not_triggered",
            )
        )


def _holds(
    market: Market, book: BookUpdate, order: Order, quantity: Decimal, price: Decimal | None
) -> Decimal:
    """Return what an order holds as it goes out: it was counted for its stop price, and the market may be
    beyond that."""
    if not order.reserved:
        return ZERO  # another holds the money for both, or it only closes
    paid = price or limit_to_take(market, order.side, book, quantity)
    if market.contract_size is None:
        return market.reserve(order.side, quantity, paid, post_only=order.post_only)
    assert order.stop_price is not None
    counted = order.quantity * (order.price or taken_at(order.stop_price))
    return order.reserved * quantity * paid / counted
