"""Orders attached to an entry: a stop loss, a take profit, or both, for exactly what the entry has filled.

Rules:
1. They wait here, never at the exchange: two orders there would each hold the money of one.
2. What they may trade is what the entry has brought, less what they have traded, less what of theirs is out.
   A waiting one has that quantity, and changes with every fill, in the transaction of the fill.
3. Never two of them out at once. The stop loss takes over from a take profit that is out: it is cancelled,
   what it traded is proven, and only then the stop loss goes, with the rest.
4. One that its owner cancels does not come back. One whose rest the market could not take waits again.

They are the orders of a parent of their own, beside the entry's, so that they outlive it. All of it is
derived from orders; `bought` in the parent's goal is what the entry had brought when it ended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from ems.algos import ledger
from ems.core.child import AskCancel, AskReplace, exposure
from ems.core.codec import plain
from ems.core.instrument import Market
from ems.core.messages import Exit, OrderType, PlaceOrder, Side, TimeInForce
from ems.core.records import (
    ENDED_PARENT,
    Edit,
    Leg,
    Order,
    Parent,
    ParentState,
    Phase,
    Status,
)
from ems.core.validation import stop_on_tick
from ems.engine.account import Account
from ems.engine.order_types import sellable, taken_at
from ems.engine.orders import Orders
from ems.engine.risk import Clearance
from ems.engine.triggers import AGAIN_S, Triggers
from ems.engine.work import Run, Work

ZERO = Decimal(0)
KIND = "attached"
PURPOSES = ("stop_loss", "take_profit")  # the first takes over from the second


def exits_of(command: object) -> dict[str, Exit]:
    """Return what is to be attached, by purpose."""
    if not isinstance(command, PlaceOrder):
        return {}
    return {name: wanted for name in PURPOSES if (wanted := getattr(command, name)) is not None}


def attached_to(entry: Parent, exits: Mapping[str, Exit], market: Market, now: datetime) -> Parent:
    """Return the parent of what is attached to an entry."""
    leg = entry.legs[0]
    side = Side.SELL if leg.side is Side.BUY else Side.BUY
    terms = {}
    for purpose, wanted in exits.items():
        stop = stop_on_tick(market, OrderType(purpose), side, wanted.stop_price)
        price = None if wanted.price is None else market.passive_price(side, wanted.price)
        terms[purpose] = {"stop_price": plain(stop), "price": None if price is None else plain(price)}
    return Parent(
        parent_id=f"{entry.query_id}.2",
        query_id=entry.query_id,
        user=entry.user,
        bot=entry.bot,
        exchange=entry.exchange,
        account=entry.account,
        algo="direct",
        legs=(
            Leg(
                exchange=leg.exchange,
                account=leg.account,
                symbol=leg.symbol,
                side=side,
                source=leg.target,
                target=leg.source,
                amount=ZERO,
                started_at=now,
            ),
        ),
        goal={"kind": KIND, "entry": entry.parent_id, "exits": terms},
        start_amount=ZERO,
        time_limit=ZERO,
        state=ParentState.WORKING,
        created_at=now,
        planned_at=now,
    )


class Attached:
    """Works every parent of attached orders."""

    def __init__(self, work: Work, orders: Orders, triggers: Triggers, save: Callable[[Parent], None]):
        self._work = work
        self._orders = orders
        self._triggers = triggers
        self._save = save

    def beside(self, parent: Parent) -> list[str]:
        """Return the ids of the parents whose orders are attached to this one's."""
        return [
            other
            for other in self._work.parents_of.get(parent.query_id, ())
            if self._work.parents[other].goal.get("entry") == parent.parent_id
        ]

    def work(self, parent: Parent, run: Run, now: datetime) -> None:
        """Let what waits follow the fills, send what is due, and end the parent when nothing is left."""
        leg = parent.legs[0]
        account = self._work.accounts[leg.exchange, leg.account]
        market = account.markets.get(leg.symbol)
        if market is None:
            return
        bought, over = self._bought(parent)
        if over and parent.goal.get("bought") != plain(bought):
            parent = replace(parent, goal={**parent.goal, "bought": plain(bought)})
            self._save(parent)
        left = self._left(parent, market, bought)
        if run.problem is None:
            for purpose in PURPOSES:
                if purpose in _terms(parent):
                    self._follow(parent, account, market, purpose, left, run, now)
            self._send_due(parent, left, run, now)
        self._wind_up(parent, market, over, left, run, now)

    def _bought(self, parent: Parent) -> tuple[Decimal, bool]:
        """Return how much base the entry has moved, net of fees in it, and whether it is over."""
        entry = self._work.parents.get(str(parent.goal["entry"]))
        if entry is None:
            return Decimal(str(parent.goal.get("bought", "0"))), True
        orders = self._work.orders_of_parent(entry.parent_id)
        buys = entry.legs[0].side is Side.BUY
        moved = (
            ledger.received(orders, entry.legs[0].target)
            if buys
            else sum((order.filled_quantity for order in orders), ZERO)
        )
        return moved, entry.state in ENDED_PARENT

    def _left(self, parent: Parent, market: Market, bought: Decimal) -> Decimal:
        """Return the quantity that may still be sent: whatever is out may still fill, and counts in full."""
        orders = self._work.orders_of_parent(parent.parent_id)
        out = sum((exposure(order) for order in orders if order.status is not Status.CREATED), ZERO)
        if parent.legs[0].side is Side.SELL:
            return sellable(market, bought - ledger.spent(orders, market.base) - out)
        traded = sum((order.filled_quantity for order in orders), ZERO)
        return market.floor_quantity(max(bought - traded - out, ZERO))

    def _follow(
        self,
        parent: Parent,
        account: Account,
        market: Market,
        purpose: str,
        left: Decimal,
        run: Run,
        now: datetime,
    ) -> None:
        """Give the one that waits the quantity that is left, or let one wait."""
        own = [o for o in self._work.orders_of_parent(parent.parent_id) if o.purpose == purpose]
        last = own[-1] if own else None
        stop, price = _prices(parent, purpose, last)
        if not market.order_ok(left, price or stop):
            return  # too little: more fills may come, or it is the end
        paid = price if price is not None else taken_at(stop)
        first = next(p for p in PURPOSES if p in _terms(parent))
        # Two wait for one sum of money: it is held once.
        held = market.reserve(parent.legs[0].side, left, paid, post_only=False) if purpose == first else ZERO
        if last is not None and last.status is Status.CREATED:
            if (last.quantity, last.reserved) != (left, held):
                edit = Edit(
                    query_id=parent.query_id, asked_at=now, in_place=True, quantity=left, reserved=held
                )
                self._orders.event(last.order_id, AskReplace(edit=edit), now)
            return
        if last is not None and not _comes_back(last):
            self._triggers.waits_again(parent, last, run, now)
            return
        if last is not None and last.status is not Status.FILLED:
            run.leg(0).wait_until = now + timedelta(seconds=AGAIN_S)
        kind = OrderType(purpose if price is None else f"{purpose}_limit")
        self._orders.create(
            parent,
            0,
            account,
            order_type=kind,
            time_in_force=TimeInForce.GTC,
            post_only=False,
            quantity=left,
            price=price,
            purpose=purpose,
            reserved=held,
            # It sells what its own order has bought: what only reduces is never held up.
            cleared=Clearance(quantity=left, usd_value=ZERO),
            now=now,
            stop_price=stop,
            emulated=True,
        )

    def _send_due(self, parent: Parent, left: Decimal, run: Run, now: datetime) -> None:
        """Send the one whose price has come, if none is out."""
        orders = self._work.orders_of_parent(parent.parent_id)
        out = [o for o in orders if o.status is not Status.CREATED and o.phase is not Phase.SETTLED]
        for purpose in PURPOSES:
            waiting = next((o for o in orders if o.purpose == purpose and o.status is Status.CREATED), None)
            if waiting is None or not self._triggers.due(waiting, run, now):
                continue
            if not out and waiting.quantity <= left:
                self._triggers.work(waiting, run, now)
            for order in out:
                if purpose == "stop_loss" and order.purpose == "take_profit" and not order.leaving:
                    self._orders.event(order.order_id, AskCancel(), now)
            return

    def _wind_up(
        self, parent: Parent, market: Market, over: bool, left: Decimal, run: Run, now: datetime
    ) -> None:
        """End what waits for nothing any more, and then the parent."""
        orders = self._work.orders_of_parent(parent.parent_id)
        waiting = [o for o in orders if o.status is Status.CREATED]
        out = any(o.status is not Status.CREATED and o.phase is not Phase.SETTLED for o in orders)
        if out or not over and run.problem is None:
            return
        for order in waiting:
            assert order.stop_price is not None
            if run.problem is not None or not market.order_ok(left, order.price or order.stop_price):
                self._orders.event(order.order_id, AskCancel(), now)
        orders = self._work.orders_of_parent(parent.parent_id)
        if all(o.phase is Phase.SETTLED for o in orders):
            state = ParentState.DONE if run.problem is None else ParentState.ABORTED
            reason = "" if run.problem is None else run.problem.message
            self._work.runs.pop(parent.parent_id, None)
            self._save(replace(parent, state=state, reason=reason, closed_at=now))


def _terms(parent: Parent) -> Mapping[str, Mapping[str, str | None]]:
    terms = parent.goal["exits"]
    assert isinstance(terms, dict)
    return terms


def _prices(parent: Parent, purpose: str, last: Order | None) -> tuple[Decimal, Decimal | None]:
    """Return stop price and price of what is to wait: as its owner last left them."""
    if last is not None:
        assert last.stop_price is not None
        return last.stop_price, last.price if last.order_type.limited else None
    terms = _terms(parent)[purpose]
    price = terms["price"]
    return Decimal(str(terms["stop_price"])), None if price is None else Decimal(price)


def _comes_back(last: Order) -> bool:
    """Say whether another waits after this one: for later fills, or for what a market could not take."""
    if last.status is Status.FILLED:
        return True
    sent = last.sent_at is not None
    return sent and not last.order_type.limited and last.status in (Status.CANCELED, Status.EXPIRED)
