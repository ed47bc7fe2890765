"""Orders attached to an entry: a stop loss, a take profit, or both, for exactly what the entry has filled.

Rules:
1. The first of them, the stop loss where there is one, is the guard: it rests at the exchange, where that
   waits for its price itself, and guards while this server is down. The other waits here: two orders there
   would each hold the money of one.
2. What they may trade is what the entry has brought, less what they have traded. What waits has that
   quantity, and follows every fill: here in the transaction of the fill, there by one step, or as another
   order once the end of the old one is proven.
3. Never two of them out at once. When the price of the take profit comes, the guard is let go, what it traded
   is proven, and only then the take profit goes, with the rest. A stop loss takes over from a take profit in
   the same way. What is let go comes back when it is needed again.
4. Where the exchange takes no guard, or ends it unasked, it waits here, and people are told. One that its
   owner cancels does not come back.

They are the orders of a parent of their own, beside the entry's, so that they outlive it. All of it is
derived from orders, but for three facts in the parent's goal: `bought`, what the entry had brought when it
ended; `here`, the purposes the exchange would not wait with; `off`, those their owner cancelled there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from ems.algos import ledger
from ems.core import retries
from ems.core.child import AskCancel, AskReplace, exposure
from ems.core.codec import plain
from ems.core.fitness import mid_of
from ems.core.instrument import Market
from ems.core.messages import Exit, OrderType, PlaceOrder, Refusal, Rejected, Side, TimeInForce
from ems.core.records import (
    ENDED_PARENT,
    Asked,
    Edit,
    Leg,
    Notice,
    Order,
    Parent,
    ParentState,
    Phase,
    Status,
)
from ems.core.triggers import met
from ems.core.validation import stop_on_tick
from ems.engine.account import Account, Readiness
from ems.engine.order_types import in_one_step, native, sellable, taken_at
from ems.engine.orders import Orders
from ems.engine.refusals import AGAIN_S, PASSING
from ems.engine.risk import Clearance
from ems.engine.sight import usable
from ems.engine.triggers import Triggers
from ems.engine.turn import Out
from ems.engine.work import Run, Work

ZERO = Decimal(0)
KIND = "attached"
PURPOSES = ("stop_loss", "take_profit")  # the first takes over from the second
GROW_S = 10.0  # an exchange without amendments is asked for a larger guard no sooner: meanwhile there is none


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


@dataclass(frozen=True, slots=True)
class _Scene:
    """What the orders of one parent are worked in."""

    parent: Parent
    account: Account
    market: Market
    run: Run
    over: bool  # nothing more comes of the entry
    rest: Decimal  # base; what it has brought, and they have not traded
    left: Decimal  # of that, what none that is out may be trading
    now: datetime

    @property
    def guard(self) -> str:
        """Return the purpose that may rest at the exchange, and for which the money is held."""
        return next(p for p in PURPOSES if p in _terms(self.parent))


class Attached:
    """Works every parent of attached orders."""

    def __init__(
        self, out: Out, work: Work, orders: Orders, triggers: Triggers, save: Callable[[Parent], None]
    ):
        self._out = out
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
        scene = self._scene(parent, run, now)
        if scene is None:
            return
        if run.problem is None:
            purposes = [purpose for purpose in PURPOSES if purpose in _terms(parent)]
            for purpose in purposes:  # all of them, before one is judged by what the other waits for
                self._wait_again(scene, purpose)
            for purpose in purposes:
                self._follow(scene, purpose)
            self._send_due(scene)
        self._wind_up(scene)

    # --- What has happened -------------------------------------------------------------------------------

    def order_changed(self, parent: Parent, before: Order, order: Order, run: Run, now: datetime) -> None:
        """Take note of how one that rested at the exchange came to its end, or would not be changed."""
        if order.emulated:
            return
        if order.phase is not Phase.SETTLED:
            if order.phase is Phase.LIVE and before.phase is not Phase.LIVE:
                run.resting.refusals = 0
            if before.asked is Asked.REPLACE and order.asked is Asked.NOTHING:
                run.leg(0).size_refusals += order.quantity == before.quantity
            return
        if before.phase is Phase.SETTLED:
            return
        if before.asked in (Asked.CANCEL, Asked.EXPIRE):
            self._save(_with(parent, "off", order.purpose))
        elif order.status in (Status.CANCELED, Status.EXPIRED) and not before.leaving:
            self._stays_here(parent, order, f"{order.exchange} ended it: {order.reason or order.status}", now)

    def learn_refusal(self, parent: Parent, order: Order, report: Rejected, run: Run, now: datetime) -> None:
        """Decide what becomes of one that was refused: the other goes on in any case."""
        if order.emulated:
            self._triggers.learn_refusal(order, report, run, now)
            return
        tries = run.resting
        tries.refusals += 1
        # What a fill brought may not be there to be sold at once.
        passing = report.refusal in PASSING or report.refusal is Refusal.INSUFFICIENT_FUNDS
        if passing and tries.refusals < retries.ORDERS.tries:
            tries.until = now + retries.ORDERS.wait(tries.refusals, order.order_id)
            self._out.wake(("parent", parent.parent_id), tries.until)
            # Should its price come meanwhile it goes from here, though not in the moment of the no.
            self._triggers.pause(order, run, tries.refusals, now)
        elif not order.leaving:
            self._stays_here(parent, order, f"{order.exchange} said: {report.message}", now)

    def _stays_here(self, parent: Parent, order: Order, why: str, now: datetime) -> None:
        self._save(_with(parent, "here", order.purpose))
        self._out.record(
            Notice(
                notice_id=f"{order.order_id}-not-resting",
                query_id=order.query_id,
                severity="error",
                subject=f"an attached {order.purpose} does not rest on {order.exchange}",
                failed=f"order {order.order_id} ({order.order_type} to {order.side} {order.symbol} on "
                f"{order.exchange}) of bot {order.bot} (user {order.user})",
                why=why,
                done="This server waits for its price instead: it guards only while the server runs.",
                todo="Nothing, if that is enough; to be without it, cancel the order that waits here.",
                created_at=now,
                group=f"{order.user}/{order.bot}/not-resting",
                event="guard_not_resting",
            )
        )

    # --- How much ----------------------------------------------------------------------------------------

    def _scene(self, parent: Parent, run: Run, now: datetime) -> _Scene | None:
        """Look at one parent; None: nothing is known of its market yet."""
        leg = parent.legs[0]
        account = self._work.accounts[leg.exchange, leg.account]
        market = account.markets.get(leg.symbol)
        if market is None:
            return None
        bought, over = self._bought(parent)
        if over and parent.goal.get("bought") != plain(bought):
            parent = replace(parent, goal={**parent.goal, "bought": plain(bought)})
            self._save(parent)
        orders = self._work.orders_of_parent(parent.parent_id)
        # Whatever is out may still fill, and counts in full.
        out = sum((exposure(order) for order in orders if order.status is not Status.CREATED), ZERO)
        if leg.side is Side.SELL:
            rest = bought - ledger.spent(orders, market.base)
            return _Scene(
                parent, account, market, run, over, sellable(market, rest), sellable(market, rest - out), now
            )
        rest = max(bought - sum((order.filled_quantity for order in orders), ZERO), ZERO)
        left = market.floor_quantity(max(rest - out, ZERO))
        return _Scene(parent, account, market, run, over, market.floor_quantity(rest), left, now)

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

    # --- What waits --------------------------------------------------------------------------------------

    def _last(self, scene: _Scene, purpose: str) -> Order | None:
        own = [o for o in self._work.orders_of_parent(scene.parent.parent_id) if o.purpose == purpose]
        return own[-1] if own else None

    def _wait_again(self, scene: _Scene, purpose: str) -> None:
        """Let another wait in the place of one that was refused when its price had come."""
        last = self._last(scene, purpose)
        if last is not None and last.phase is Phase.SETTLED and not _comes_back(scene.parent, last):
            self._triggers.waits_again(scene.parent, last, scene.run, scene.now)

    def _follow(self, scene: _Scene, purpose: str) -> None:
        """See that one of this purpose waits, with all that is to be got out of."""
        last = self._last(scene, purpose)
        if last is not None and _is_out(last):
            self._resize(scene, last)
            return
        waits = last is not None and last.status is Status.CREATED
        if last is not None and not waits and not _comes_back(scene.parent, last):
            return
        stop, price = _prices(scene.parent, purpose, last)
        if not scene.market.order_ok(scene.rest, price or stop):
            return  # too little: more fills may come, or it is the end
        there = self._may_rest(scene, purpose, stop, price)
        if last is not None and waits:
            if not there:
                self._keep_up(scene, last, self._held(scene, purpose, stop, price))
                return
            self._orders.event(last.order_id, AskCancel(), scene.now)  # the one there takes its place
        elif last is not None and last.emulated and last.status is not Status.FILLED:
            scene.run.fire(purpose).until = scene.now + timedelta(seconds=AGAIN_S)
            there = False
        self._create(scene, purpose, stop, price, last, there=there)

    def _may_rest(self, scene: _Scene, purpose: str, stop: Decimal, price: Decimal | None) -> bool:
        """Say whether the exchange may be asked to wait with an order now."""
        kind, leg = _kind(purpose, price), scene.parent.legs[0]
        if purpose != scene.guard or not native(scene.market, kind, TimeInForce.GTC):
            return False
        if purpose in _named(scene.parent, "here") or scene.account.readiness is not Readiness.READY:
            return False
        if not scene.market.active or scene.run.resting.waits(scene.now):
            return False
        if self._work.halted(*scene.account.key, leg.symbol, scene.parent.user):
            return False
        orders = self._work.orders_of_parent(scene.parent.parent_id)
        if any(_is_out(o) or self._triggers.come(o, scene.now) for o in orders if _unsettled(o)):
            return False
        return not self._met(scene, kind, stop)

    def _met(self, scene: _Scene, kind: OrderType, stop: Decimal) -> bool:
        """Say whether a stop price is met already, as far as we see."""
        book = scene.account.books.get(scene.market.symbol)
        if book is None or not usable(book, scene.now):
            return False
        return met(kind, scene.parent.legs[0].side, stop, mid_of(book))

    def _held(self, scene: _Scene, purpose: str, stop: Decimal, price: Decimal | None) -> Decimal:
        """Return what is held for one that waits: two wait for one sum of money, which is held once."""
        if purpose != scene.guard:
            return ZERO
        paid = price if price is not None else taken_at(stop)
        return scene.market.reserve(scene.parent.legs[0].side, scene.rest, paid, post_only=False)

    def _keep_up(self, scene: _Scene, order: Order, held: Decimal) -> None:
        """Give one that waits here the quantity it is to have."""
        if (order.quantity, order.reserved) != (scene.rest, held):
            edit = Edit(
                query_id=order.query_id,
                asked_at=scene.now,
                in_place=True,
                quantity=scene.rest,
                reserved=held,
            )
            self._orders.event(order.order_id, AskReplace(edit=edit), scene.now)

    def _resize(self, scene: _Scene, order: Order) -> None:
        """Give one that waits at the exchange the quantity it is to have, not with every crumb at once."""
        if order.emulated or scene.rest == order.quantity or not self._may_change(scene, order):
            return
        assert order.stop_price is not None
        if self._met(scene, order.order_type, order.stop_price):
            return  # it is about to trade; what it lacks follows it
        price = order.price or order.stop_price
        if not scene.market.order_ok(scene.rest, price):
            return
        one_step = in_one_step(scene.market, order, {"quantity": scene.rest})
        one_step = one_step and not scene.run.leg(0).size_refusals
        pause = timedelta(seconds=AGAIN_S if one_step else GROW_S)
        due = (order.updated_at or order.created_at) + pause
        if not scene.over and scene.now < due:
            self._out.wake(("parent", order.parent_id), due)
            return
        if not one_step:
            self._let_go(scene, order)
            return
        held = self._held(scene, order.purpose, order.stop_price, order.price)
        edit = Edit(
            query_id=order.query_id,
            asked_at=scene.now,
            in_place=True,
            quantity=scene.rest,
            reserved=held,
        )
        self._orders.event(order.order_id, AskReplace(edit=edit), scene.now)

    def _may_change(self, scene: _Scene, order: Order) -> bool:
        """Say whether the exchange shows it standing, and is asked nothing about it."""
        answer_by = self._work.children[order.order_id].lookup.amend_answer_by
        if order.phase is not Phase.LIVE or order.asked is not Asked.NOTHING or order.filled_quantity:
            return False
        return answer_by is None or scene.now >= answer_by

    def _let_go(self, scene: _Scene, order: Order) -> None:
        """Cancel one at the exchange: to be placed anew, there or here, once its end is proven."""
        edit = Edit(query_id=order.query_id, asked_at=scene.now, in_place=False)
        self._orders.event(order.order_id, AskReplace(edit=edit), scene.now)

    def _create(
        self,
        scene: _Scene,
        purpose: str,
        stop: Decimal,
        price: Decimal | None,
        last: Order | None,
        *,
        there: bool,
    ) -> None:
        replaces = last is not None and last.status is not Status.FILLED
        order_id = self._orders.create(
            scene.parent,
            0,
            scene.account,
            order_type=_kind(purpose, price),
            time_in_force=TimeInForce.GTC,
            post_only=False,
            quantity=scene.rest,
            price=price,
            purpose=purpose,
            reserved=self._held(scene, purpose, stop, price),
            # It sells what its own order has bought: what only reduces is never held up.
            cleared=Clearance(quantity=scene.rest, usd_value=ZERO),
            now=scene.now,
            stop_price=stop,
            emulated=not there,
            replaces=last.order_id if last is not None and replaces else None,
        )
        if there:
            self._orders.send(order_id, scene.now)

    # --- What goes ---------------------------------------------------------------------------------------

    def _send_due(self, scene: _Scene) -> None:
        """Send the one whose price has come, if none is out."""
        orders = self._work.orders_of_parent(scene.parent.parent_id)
        out = [o for o in orders if _is_out(o)]
        for purpose in PURPOSES:
            waiting = next((o for o in orders if o.purpose == purpose and o.status is Status.CREATED), None)
            if waiting is None or not self._triggers.due(waiting, scene.run, scene.now):
                continue
            if not out and waiting.quantity <= scene.left:
                self._triggers.work(waiting, scene.run, scene.now)
            for order in out:
                self._make_way(scene, order, purpose)
            return

    def _make_way(self, scene: _Scene, order: Order, purpose: str) -> None:
        """Take one down that is out when the price of the other has come."""
        if order.leaving:
            return
        if purpose == "stop_loss" and order.purpose == "take_profit":
            self._orders.event(order.order_id, AskCancel(), scene.now)
        elif order.purpose == "stop_loss" and not order.emulated and self._may_change(scene, order):
            self._let_go(scene, order)

    def _wind_up(self, scene: _Scene) -> None:
        """End what waits for nothing any more, and then the parent."""
        parent, problem = scene.parent, scene.run.problem
        orders = self._work.orders_of_parent(parent.parent_id)
        if any(_is_out(o) for o in orders) or (not scene.over and problem is None):
            return
        for order in [o for o in orders if o.status is Status.CREATED]:
            assert order.stop_price is not None
            too_little = not scene.market.order_ok(scene.left, order.price or order.stop_price)
            if problem is not None or too_little:
                self._orders.event(order.order_id, AskCancel(), scene.now)
        orders = self._work.orders_of_parent(parent.parent_id)
        if all(o.phase is Phase.SETTLED for o in orders):
            state = ParentState.DONE if problem is None else ParentState.ABORTED
            reason = "" if problem is None else problem.message
            self._work.runs.pop(parent.parent_id, None)
            self._save(
                replace(self._work.parents[parent.parent_id], state=state, reason=reason, closed_at=scene.now)
            )


def _terms(parent: Parent) -> Mapping[str, Mapping[str, str | None]]:
    terms = parent.goal["exits"]
    assert isinstance(terms, dict)
    return terms


def _named(parent: Parent, fact: str) -> list[str]:
    """Return the purposes of which a fact is on record."""
    named = parent.goal.get(fact, [])
    assert isinstance(named, list)
    return named


def _with(parent: Parent, fact: str, purpose: str) -> Parent:
    """Return the parent with a fact about one purpose."""
    return replace(parent, goal={**parent.goal, fact: sorted({*_named(parent, fact), purpose})})


def _kind(purpose: str, price: Decimal | None) -> OrderType:
    return OrderType(purpose if price is None else f"{purpose}_limit")


def _unsettled(order: Order) -> bool:
    return order.phase is not Phase.SETTLED


def _is_out(order: Order) -> bool:
    """Say whether an order is at the exchange, or may be."""
    return order.status is not Status.CREATED and order.phase is not Phase.SETTLED


def _prices(parent: Parent, purpose: str, last: Order | None) -> tuple[Decimal, Decimal | None]:
    """Return stop price and price of what is to wait: as its owner last left them."""
    if last is not None:
        stop, price = last.stop_price, last.price if last.order_type.limited else None
        if last.edit is not None and not last.edit.in_place:
            stop, price = last.edit.stop_price or stop, last.edit.price or price
        assert stop is not None
        return stop, price
    terms = _terms(parent)[purpose]
    price_told = terms["price"]
    return Decimal(str(terms["stop_price"])), None if price_told is None else Decimal(price_told)


def _comes_back(parent: Parent, last: Order) -> bool:
    """Say whether another waits after this one: for later fills, or for what a market could not take."""
    if last.status is Status.FILLED:
        return True
    if not last.emulated:
        return last.purpose not in _named(parent, "off")
    sent = last.sent_at is not None
    return sent and not last.order_type.limited and last.status in (Status.CANCELED, Status.EXPIRED)
