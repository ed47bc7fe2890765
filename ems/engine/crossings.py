"""Internal crossing: opposite orders of different bots or users meet inside before they go out.

Rules:
1. Only on accounts that ask for it, on a book fit to trade on, at the price of `ems.core.crossing`. A bot
   never meets itself.
2. What meets is an order about to go out, and what another parent has not placed: the rest of a leg, or of
   an order that was called back. What may be at the exchange counts as being there, so nothing is executed
   twice (R10).
3. A resting order is called back by being cancelled "to be replaced": its rest goes out again by itself,
   after a restart too, unless it has met somebody by then. Nothing of it meets before its end and its final
   quantity are proven.
4. Both sides of a cross are orders of their own, made, filled and recorded in one turn: the whole of it is
   on disk, or nothing. They carry one `cross_id`, cost no fee, and no exchange knows of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from ems.algos import ledger
from ems.core.child import AskCancel, AskReplace, exposure
from ems.core.contracts import is_contract
from ems.core.crossing import cross_price, cross_quantity
from ems.core.fitness import mid_of
from ems.core.instrument import Market, ceil_to, floor_to
from ems.core.messages import BookUpdate, FillReport, Liquidity, OrderType, Side, TimeInForce
from ems.core.records import (
    Asked,
    Edit,
    Leg,
    Order,
    Parent,
    ParentState,
    Phase,
)
from ems.core.rest import rest_of
from ems.engine.account import Account
from ems.engine.orders import Orders
from ems.engine.risk import Clearance
from ems.engine.sight import usable
from ems.engine.turn import Out
from ems.engine.work import LegRun, Work

ZERO = Decimal(0)

# A resting order that was called back goes out again by then: longer than a submission waits to be judged.
CALLED_BACK_S = 6.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Intent:
    """An order about to go out."""

    user: str
    bot: str
    symbol: str
    side: Side
    quantity: Decimal  # base
    limit: Decimal | None  # None: at market
    whole: bool = False  # all of it or nothing (FOK)


@dataclass(frozen=True, kw_only=True, slots=True)
class Match:
    """Half of a cross that is planned: what another parent would do."""

    parent_id: str
    leg: int
    price: Decimal
    quantity: Decimal


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """A side of a cross that is booked: whoever works its parent is to be told."""

    before: Order
    order: Order


class Crossings:
    """Finds who may meet, and lets them."""

    def __init__(self, out: Out, work: Work, orders: Orders):
        self._out = out
        self._work = work
        self._orders = orders

    # --- Who may meet ------------------------------------------------------------------------------------

    def plan(self, account: Account, intent: Intent, now: datetime) -> tuple[Match, ...]:
        """Return whom an order would meet now. Nothing is done yet."""
        market, book = account.markets[intent.symbol], account.books.get(intent.symbol)
        if not account.internal_matching or is_contract(intent.symbol):
            return ()  # what two bots hold of a contract is one position at the exchange
        if book is None or not usable(book, now):
            return ()
        matches: list[Match] = []
        left = intent.quantity
        for parent, index, limit in self._waiting(account, intent, mid_of(book)):
            match = self._match(market, book, intent, left, parent, index, limit)
            if match is not None:
                matches.append(match)
                left -= match.quantity
            if left <= ZERO:
                break
        return () if intent.whole and left > ZERO else tuple(matches)

    def _match(
        self,
        market: Market,
        book: BookUpdate,
        intent: Intent,
        left: Decimal,
        parent: Parent,
        index: int,
        limit: Decimal,
    ) -> Match | None:
        buys = intent.side is Side.BUY
        price = cross_price(
            book.bids[0][0],
            book.asks[0][0],
            market.taker_fee,
            buy_limit=intent.limit if buys else limit,
            sell_limit=limit if buys else intent.limit,
        )
        if price is None:
            return None
        there = self._quantity(parent, index, market, price)
        smallest = market.smallest_order(min(price, book.bids[0][0], intent.limit or price))
        quantity = cross_quantity(left, there, market.lot, smallest)
        if quantity <= ZERO:
            return None
        return Match(parent_id=parent.parent_id, leg=index, price=price, quantity=quantity)

    def _waiting(
        self, account: Account, intent: Intent, mid: Decimal
    ) -> Iterator[tuple[Parent, int, Decimal]]:
        """Yield (parent, place of leg, limit) of what others have not placed: called back orders first.

        A leg gives the middle or better: it might have rested for more, and would have taken in the end.
        """
        legs: list[tuple[Parent, int, Decimal]] = []
        tighter = max if intent.side is Side.BUY else min
        for parent in self._work.parents_at(account):
            if (parent.user, parent.bot) == (intent.user, intent.bot):
                continue
            run = self._work.runs.get(parent.parent_id)
            if run is None or run.problem is not None:
                continue
            for index in ledger.current(parent):
                leg = parent.legs[index]
                if not _opposite(leg, account, intent) or leg.closed_at is not None:
                    continue
                if self._work.halted(*account.key, leg.symbol, parent.user) is not None:
                    continue
                if parent.algo != "direct":
                    if _may_meet(parent, leg, run.leg(index)):
                        legs.append((parent, index, mid if leg.limit is None else tighter(mid, leg.limit)))
                elif parent.parent_id in self._work.called_back:
                    rest = rest_of(self._work.orders_of_parent(parent.parent_id))
                    if rest is not None and rest.price is not None:
                        yield parent, index, _worth(account.markets[leg.symbol], leg.side, rest.price)
        yield from legs

    def _quantity(self, parent: Parent, index: int, market: Market, price: Decimal) -> Decimal:
        """Return how much of a parent is neither done nor placed: what may meet at this price."""
        orders = self._work.orders_of_parent(parent.parent_id)
        if parent.algo == "direct":
            rest = rest_of(orders)
            return ZERO if rest is None else rest.quantity
        own = ledger.by_leg(parent, orders)
        leg = parent.legs[index]
        money = ledger.budget(parent, own, index) - ledger.committed(own[index])
        quantity = money / price if leg.side is Side.BUY else money
        wanted = ledger.wanted(leg, market, own[index], price)
        if wanted is not None:
            done = sum((o.filled_quantity + exposure(o) for o in own[index]), ZERO)
            quantity = min(quantity, wanted - done)
        return market.floor_quantity(max(quantity, ZERO))

    # --- Calling back what rests -------------------------------------------------------------------------

    def may_call_back(self, order: Order, intent: Intent) -> bool:
        """Say whether an order rests at the exchange and may be called back to meet this one."""
        parent = self._work.parents.get(order.parent_id)
        account = self._work.accounts[order.exchange, order.account]
        if parent is None or not account.internal_matching or is_contract(order.symbol):
            return False
        if parent.algo != "direct":
            run = self._work.runs.get(parent.parent_id)
            leg = parent.legs[order.leg]
            if run is None or run.problem is not None or leg.closed_at is not None:
                return False
            if not _may_meet(parent, leg, run.leg(order.leg)):
                return False
        return (
            (order.user, order.bot) != (intent.user, intent.bot)
            and order.time_in_force.rests
            and order.order_type is OrderType.LIMIT
            and order.phase is Phase.LIVE
            and order.asked is Asked.NOTHING
            and self._work.halted(order.exchange, order.account, order.symbol, order.user) is None
        )

    def call_back(self, orders: Iterable[Order], query_id: str, now: datetime) -> None:
        """Let resting orders go; their rest waits here for a while, then goes out again."""
        until = now + timedelta(seconds=CALLED_BACK_S)
        for order in orders:
            parent = self._work.parents[order.parent_id]
            self._out.wake(("parent", order.parent_id), until)
            if parent.algo != "direct":
                self._work.runs[order.parent_id].leg(order.leg).held = (query_id, until)
                self._orders.event(order.order_id, AskCancel(), now)
                continue
            self._work.called_back[order.parent_id] = until
            edit = Edit(query_id=query_id, asked_at=now, in_place=False, reserved=order.reserved)
            self._orders.event(order.order_id, AskReplace(edit=edit), now)

    def let_go(self, query_id: str, now: datetime) -> None:
        """Send out again what was called back for this query and has met nobody."""
        for parent_id in list(self._work.called_back):
            orders = self._work.orders_of_parent(parent_id)
            if any(order.edit is not None and order.edit.query_id == query_id for order in orders):
                self._work.called_back.pop(parent_id, None)
                self._orders.listener.work(parent_id, now)
        for parent_id, run in list(self._work.runs.items()):
            for known in list(run.legs.values()):
                if known.held is not None and known.held[0] == query_id:
                    known.held = None
                    self._orders.listener.work(parent_id, now)

    # --- Meeting -----------------------------------------------------------------------------------------

    def meet(
        self, matches: Iterable[Match], parent: Parent, index: int, account: Account, now: datetime
    ) -> list[Told]:
        """Make both orders of every match, filled. `tell` follows when the rest of both is seen to."""
        told: list[Told] = []
        for match in matches:
            other = self._work.parents[match.parent_id]
            cross_id = f"cross-{parent.parent_id}.{len(self._work.orders_of[parent.parent_id]) + 1}"
            sides = ((parent, index, Liquidity.TAKER), (other, match.leg, Liquidity.MAKER))
            told += [self._side(account, match, cross_id, *side, now) for side in sides]
        return told

    def _side(
        self,
        account: Account,
        match: Match,
        cross_id: str,
        parent: Parent,
        index: int,
        liquidity: Liquidity,
        now: datetime,
    ) -> Told:
        leg = parent.legs[index]
        market = account.markets[leg.symbol]
        rate = market.taker_fee if liquidity is Liquidity.TAKER else market.maker_fee
        earlier = self._work.orders_of_parent(parent.parent_id)
        order_id = self._orders.create(
            parent,
            index,
            account,
            order_type=OrderType.LIMIT,
            time_in_force=TimeInForce.IOC,
            post_only=False,
            quantity=match.quantity,
            price=match.price,
            purpose="cross",
            reserved=ZERO,
            cleared=Clearance(quantity=match.quantity, usd_value=ZERO),
            now=now,
            replaces=earlier[-1].order_id if parent.algo == "direct" and earlier else None,
            cross_id=cross_id,
            fee_saved=rate * match.price * match.quantity,
        )
        before = self._work.children[order_id].order
        report = FillReport(
            fill_id=cross_id,
            exchange_order_id="",
            symbol=leg.symbol,
            side=leg.side,
            price=match.price,
            quantity=match.quantity,
            fee=ZERO,
            fee_currency=market.quote,
            liquidity=liquidity,
            at=now,
            order_id=order_id,
        )
        self._orders.fill_inside(account, order_id, report, now)
        return Told(before=before, order=self._work.children[order_id].order)

    def tell(self, told: Iterable[Told], account: Account, now: datetime) -> None:
        """Let both parents go on."""
        for side in told:
            self._work.called_back.pop(side.order.parent_id, None)
            self._orders.listener.order_changed(account, side.before, side.order, now)


def _may_meet(parent: Parent, leg: Leg, known: LegRun) -> bool:
    """Say whether a leg at work may have some of its rest done inside, rather than take it in the end."""
    if parent.state not in (ParentState.WORKING, ParentState.WAITING) or parent.on_timeout != "take":
        return False
    return leg.started_at is not None and known.problem is None and known.balance_after is None


def _opposite(leg: Leg, account: Account, intent: Intent) -> bool:
    here = (leg.exchange, leg.account, leg.symbol) == (*account.key, intent.symbol)
    return here and leg.side is not intent.side


def _worth(market: Market, side: Side, price: Decimal) -> Decimal:
    """Return the price at which a resting order is as well off inside: where resting is paid for, better."""
    rebate = max(-market.maker_fee, ZERO)
    if not rebate:
        return price
    if side is Side.BUY:
        return floor_to(price * (1 - rebate), market.tick)
    return ceil_to(price * (1 + rebate), market.tick)
