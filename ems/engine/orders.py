"""Orders at venues: placed, followed step by step, adopted.

The machine of one order is `ems.core.child`; this room keeps its records, its requests and its timers, and
reports every change to whoever works the parent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Protocol

from ems.core.child import AskCancel, Child, ChildEvent, Crossed, Do, Sent, Step, step
from ems.core.contracts import is_contract
from ems.core.messages import (
    Acked,
    AmendRequest,
    BookUpdate,
    CancelRequest,
    FillReport,
    Liquidity,
    NewOrder,
    OrderStatus,
    OrderType,
    OutcomeUnknown,
    QueryOrder,
    QueryTrades,
    Rejected,
    Request,
    Side,
    TimeInForce,
)
from ems.core.order import USD_STEP, Kind, created, fill_record
from ems.core.positions import result_of
from ems.core.records import (
    ENDED,
    HistoryEntry,
    Leg,
    Notice,
    Order,
    Parent,
    ParentState,
    Phase,
    Query,
    QueryStatus,
    Status,
)
from ems.core.risk_ledger import place_of
from ems.engine.account import Account
from ems.engine.contracts import Contracts
from ems.engine.portfolio import Portfolio
from ems.engine.position_check import PositionCheck
from ems.engine.queries import Queries, micros
from ems.engine.reconciliation import Reconciliation
from ems.engine.risk import Clearance, Risk
from ems.engine.slices import Slices
from ems.engine.turn import Out
from ems.engine.work import Run, Work

ZERO = Decimal(0)
SETTLED = timedelta(seconds=1)  # after a fill a contract's profit and margin are in the balances


ADOPTER = "oms"  # user of orders found at a venue that carry our mark but are not in our ledger


class Listener(Protocol):
    """Whom changes of orders are reported to."""

    def order_changed(self, account: Account, before: Order, order: Order, now: datetime) -> None: ...

    def learn_refusal(
        self, account: Account, order: Order, report: Rejected, run: Run, now: datetime
    ) -> None: ...

    def freeze(self, order: Order, done: Step, incident: str) -> None: ...

    def work(self, parent_id: str, now: datetime) -> None: ...


class Orders:
    """Every order we have out, or had out lately."""

    listener: Listener  # set once, when the engine is put together

    def __init__(
        self,
        out: Out,
        work: Work,
        queries: Queries,
        portfolio: Portfolio,
        reconciliation: Reconciliation,
        slices: Slices,
        risk: Risk,
        positions: PositionCheck,
        contracts: Contracts,
    ):
        self._out = out
        self._positions = positions
        self._contracts = contracts
        self._portfolio = portfolio
        self._reconciliation = reconciliation
        self._slices = slices
        self._work = work
        self._queries = queries
        self._risk = risk
        self.incidents = 0  # told by this process
        # order id -> (mid, touch) when it was sent
        self._pictures: dict[str, tuple[Decimal | None, Decimal | None]] = {}

    def rejected(self, account: Account, report: Rejected, now: datetime) -> None:
        child = self._work.children.get(report.order_id)
        if child is None:
            return
        before = child.order
        run = self._work.runs.get(before.parent_id)
        after_step = step(child, report, now, account.patience_now)
        rejected = after_step.child.order.status is Status.REJECTED and before.phase is not Phase.SETTLED
        if rejected and run is not None:
            self.listener.learn_refusal(account, before, report, run, now)
        if rejected:
            self._risk.answered(account.exchange, report, now)
        self._after_step(account, after_step, now)

    def event(self, order_id: str, event: ChildEvent, now: datetime) -> None:
        child = self._work.children[order_id]
        account = self._work.accounts[child.order.exchange, child.order.account]
        if isinstance(event, Acked):
            place = (*account.key, child.order.symbol, event.exchange_order_id)
            other = self._work.by_exchange_id.get(place, order_id)
            if other != order_id:
                # One number for two orders: an answer that was meant for the other. Nothing is known of ours.
                event = OutcomeUnknown(
                    order_id=order_id, request="create", message=f"the answer is about another order, {other}"
                )
        if isinstance(event, OrderStatus) and event.filled_quantity is not None:
            self._work.said_filled[order_id] = event.filled_quantity
        if isinstance(event, OutcomeUnknown):
            if event.request == "create" and child.order.status is not Status.UNKNOWN:
                self._risk.unclear(account.exchange, now)
        elif isinstance(event, Acked):
            self._risk.answered(account.exchange, None, now)
        self._after_step(account, step(child, event, now, account.patience_now), now)

    def _after_step(self, account: Account, done: Step, now: datetime) -> None:
        before = self._work.children[done.child.order.order_id].order
        order = done.child.order
        self._take_in(account, done, now)
        for action in done.actions:
            self._out.send(account, self._request(order, action))
        if done.wake_at is not None:
            self._out.wake(("order", order.order_id), done.wake_at)
        for incident in done.incidents:
            self._tell_incident(order, incident, now)
            self.listener.freeze(order, done, incident)
        if done.entries and order is not before:
            self.listener.order_changed(account, before, order, now)

    def _take_in(self, account: Account, done: Step, now: datetime) -> None:
        """Keep and write down what a step made of an order."""
        order = done.child.order
        self._work.keep(done.child)
        if order.exchange_order_id is not None:
            self._work.by_exchange_id[(*account.key, order.symbol, order.exchange_order_id)] = order.order_id
        if any(entry.report["kind"] == Kind.ASK_CANCEL for entry in done.entries):
            self._risk.ledger.canceling(place_of(order), now)
        market = account.markets.get(order.symbol)
        for report in done.fills:
            mid, touch = self._picture(account, order, report.liquidity)
            if order.cross_id is not None:
                touch = report.price  # there was no other
            else:
                account.tape(order.symbol).own_fill(
                    order.side,
                    float(report.price),
                    maker=report.liquidity is Liquidity.MAKER,
                    at=report.at,
                )
            fill = replace(fill_record(order, report), mid=mid, touch=touch)
            fill = self._portfolio.book(account, fill, now)
            if fill.cross_id is None:
                self._reconciliation.booked(account, fill, now)
            self._slices.booked(fill, now)
            self._work.fills.setdefault(order.order_id, []).append(fill)
            self._out.record(fill)
            self._risk.filled(fill, now, self._portfolio.held(fill))
            if is_contract(order.symbol):
                account.holdings.charge(report)
                self._contracts.filled(account, report, now, order.created_at)
                self._positions.filled(account, fill, now)
                # What it has realised, and the margin that is free now, is the exchange's to say.
                self._out.wake(("ask", "balances", *account.key), now + SETTLED)
            elif market is not None:
                account.holdings.book(report, market.base, market.quote)
        for entry in self._with_result(order, done.entries):
            self._out.record(entry)
        if order.phase is Phase.SETTLED:
            self._risk.ended(order)
        else:
            self._risk.repriced(order)
        if done.entries:
            self._out.record(order)
            self._out.turn.touched.add(order.query_id)

    def _with_result(self, order: Order, entries: Sequence[HistoryEntry]) -> list[HistoryEntry]:
        """Write what an order earned beside the last of its entries, once it has ended: late fills correct
        it."""
        if not entries or order.status not in ENDED:
            return list(entries)
        result = result_of(self._work.fills.get(order.order_id, ()), self._portfolio.currency)
        return [*entries[:-1], replace(entries[-1], pnl=result)]

    def fill_inside(self, account: Account, order_id: str, report: FillReport, now: datetime) -> None:
        """Book the fill of an order that was made for a cross. It is sent to nobody, and nobody is told yet:
        both sides are booked first."""
        for event in (Sent(message="crossed inside"), Crossed(fill=report)):
            child = self._work.children[order_id]
            self._take_in(account, step(child, event, now, account.patience_now), now)

    def _picture(
        self, account: Account, order: Order, liquidity: Liquidity
    ) -> tuple[Decimal | None, Decimal | None]:
        """Return (mid, touch) just before a fill: for a take as it was sent, for a maker as last seen.

        The touch is the price a fill of this kind is measured against: its own side's best for a maker, the
        other side's for a taker (EXECUTION.md 7).
        """
        if liquidity is Liquidity.MAKER:
            return picture(account.books.get(order.symbol), order.side, maker=True)
        known = self._pictures.get(order.order_id)
        return known or picture(account.books.get(order.symbol), order.side, maker=False)

    @staticmethod
    def _request(order: Order, action: Do) -> Request:
        if action is Do.CANCEL:
            return CancelRequest(
                order_id=order.order_id,
                client_order_id=order.client_order_id,
                exchange_order_id=order.exchange_order_id,
                symbol=order.symbol,
            )
        if action is Do.AMEND:
            assert order.edit is not None
            return AmendRequest(
                order_id=order.order_id,
                client_order_id=order.client_order_id,
                exchange_order_id=order.exchange_order_id,
                symbol=order.symbol,
                side=order.side,
                order_type=sent_type(order),
                was_quantity=order.quantity,
                quantity=order.edit.quantity,
                price=order.edit.price,
                stop_price=order.edit.stop_price,
            )
        kind = QueryOrder if action is Do.LOOK else QueryTrades
        return kind(
            order_id=order.order_id,
            client_order_id=order.client_order_id,
            exchange_order_id=order.exchange_order_id,
            symbol=order.symbol,
            since=order.sent_at or order.created_at,
        )

    def create(
        self,
        parent: Parent,
        index: int,
        account: Account,
        *,
        order_type: OrderType,
        time_in_force: TimeInForce,
        post_only: bool,
        quantity: Decimal,
        price: Decimal | None,
        purpose: str,
        reserved: Decimal,
        cleared: Clearance,
        now: datetime,
        stop_price: Decimal | None = None,
        protection_price: Decimal | None = None,
        expires_at: datetime | None = None,
        reduce_only: bool = False,
        emulated: bool = False,
        replaces: str | None = None,
        cross_id: str | None = None,
        fee_saved: Decimal | None = None,
    ) -> str:
        """Write down one order of the leg at `index`; return its id. Nothing is sent yet.

        `cleared`: the risk controls' word on this very order, of this very turn.
        """
        assert cleared.quantity == quantity, "an order is placed as it was cleared"
        siblings = self._work.orders_of[parent.parent_id]
        attempt = len(siblings) + 1
        leg = parent.legs[index]
        order_id = f"{parent.parent_id}.{attempt}"
        order = Order(
            order_id=order_id,
            query_id=parent.query_id,
            parent_id=parent.parent_id,
            user=parent.user,
            bot=parent.bot,
            exchange=account.exchange,
            account=account.account,
            symbol=leg.symbol,
            side=leg.side,
            order_type=order_type,
            time_in_force=time_in_force,
            post_only=post_only,
            quantity=quantity,
            price=price,
            client_order_id=client_order_id(self._work.mark, order_id, account.id_style),
            created_at=now,
            purpose=purpose,
            leg=index,
            attempt=attempt,
            reserved=reserved,
            stop_price=stop_price,
            protection_price=protection_price,
            expires_at=expires_at,
            reduce_only=reduce_only,
            emulated=emulated,
            replaces=replaces,
            cross_id=cross_id,
            fee_saved=fee_saved,
            usd_value=cleared.usd_value.quantize(USD_STEP),  # a division may stand behind it
            release=self._work.release,
        )
        self._risk.placed(order)
        self._out.record(created(order))
        self._out.record(order)
        self._out.turn.touched.add(order.query_id)
        self._work.index(Child(order=order))
        if expires_at is not None:
            self._out.wake(("expiry", order_id), expires_at)
        return order_id

    def send(
        self,
        order_id: str,
        now: datetime,
        *,
        message: str = "",
        price: Decimal | None = None,
        quantity: Decimal | None = None,
        reserved: Decimal | None = None,
    ) -> None:
        """Write the intent of an order that was created, and send it; `price`, `quantity` and what is
        `reserved` for it as it goes out, where that differs."""
        child = self._work.children[order_id]
        order = child.order
        account = self._work.accounts[order.exchange, order.account]
        assert not self._work.halt_of(order), "nothing is placed under a halt"
        going = Sent(message=message, price=price, quantity=quantity, reserved=reserved)
        sent = step(child, going, now, account.patience_now)
        order = sent.child.order
        self._work.keep(sent.child)
        self._risk.repriced(order)
        for entry in sent.entries:
            self._out.record(entry)
        self._out.record(order)
        self._out.turn.touched.add(order.query_id)
        self._out.send(account, _as_sent(order))
        self._portfolio.expect(account, order.symbol, now)
        self._pictures[order_id] = picture(account.books.get(order.symbol), order.side, maker=False)
        assert sent.wake_at is not None
        self._out.wake(("order", order_id), sent.wake_at)

    def forget_pictures(self) -> None:
        """Drop what is only needed while an order is in memory."""
        self._pictures = {k: v for k, v in self._pictures.items() if k in self._work.children}

    def adopt(self, account: Account, status: OrderStatus, now: datetime) -> None:
        """Take in an open order of ours that the ledger lacks (an old backup): cancel it, import its
        fills."""
        market = account.markets.get(status.symbol or "")
        if market is None or status.client_order_id is None:
            return
        query_id = f"adopted-{status.client_order_id}"
        query = Query(
            query_id=query_id,
            user=ADOPTER,
            bot=ADOPTER,
            verb="adopt_order",
            exchange=account.exchange,
            parameters={"client_order_id": status.client_order_id, "symbol": market.symbol},
            idempotency_key=query_id,
            body_digest="",
            record_in_db=True,
            send_fail_email=True,
            mode=account.mode,
            status=QueryStatus.WORKING,
            accepted_at=now,
            seq=micros(now),
        )
        side = status.side or Side.BUY
        buys = side is Side.BUY
        leg = Leg(
            exchange=account.exchange,
            account=account.account,
            symbol=market.symbol,
            side=side,
            source=market.quote if buys else market.base,
            target=market.base if buys else market.quote,
            amount=ZERO,
            started_at=now,
        )
        parent = Parent(
            parent_id=f"{query_id}.1",
            query_id=query_id,
            user=ADOPTER,
            bot=ADOPTER,
            exchange=account.exchange,
            account=account.account,
            algo="direct",
            legs=(leg,),
            start_amount=ZERO,
            time_limit=ZERO,
            state=ParentState.CANCELLING,
            created_at=now,
        )
        order = Order(
            order_id=f"{parent.parent_id}.1",
            query_id=query_id,
            parent_id=parent.parent_id,
            user=ADOPTER,
            bot=ADOPTER,
            exchange=account.exchange,
            account=account.account,
            symbol=market.symbol,
            side=side,
            order_type=OrderType.LIMIT,
            time_in_force=TimeInForce.GTC,
            post_only=False,
            quantity=status.quantity or market.max_quantity or Decimal(10) ** 12,
            price=None,
            client_order_id=status.client_order_id,
            created_at=now,
            purpose="direct",
            attempt=1,
        )
        self._queries.save(query)
        self._work.add_parent(parent)
        self._out.record(parent)
        self._out.record(created(order))
        self._work.index(Child(order=order))
        self.event(order.order_id, Sent(), now)
        self.event(order.order_id, status, now)
        self.event(order.order_id, AskCancel(), now)
        self._tell_incident(
            order, "an open order with our mark was missing from the ledger; it is being cancelled", now
        )

    def _tell_incident(self, order: Order, incident: str, now: datetime) -> None:
        self.incidents += 1
        self._out.publish("incident", order.order_id, {"incident": incident})
        self._out.record(
            Notice(
                notice_id=f"{order.order_id}-{micros(now)}-{self.incidents}",
                query_id=order.query_id,
                severity="critical",
                subject=f"incident on {order.exchange}: order {order.order_id}",
                failed=f"order {order.order_id} ({order.side} {order.symbol} on {order.exchange})",
                why=incident,
                done="What the exchange reported was booked as it is; nothing was sent again.",
                todo="Compare the account at the exchange with get_balances and get_order before trading on.",
                created_at=now,
                group=f"incident/{order.exchange}",
                event="incident",
            )
        )


def _as_sent(order: Order) -> NewOrder:
    """Return what the exchange is told of an order: of an emulated one, what remains once it has waited."""
    kind, duration = sent_type(order), order.time_in_force.sent
    if order.emulated and not order.order_type.limited:
        duration = TimeInForce.IOC  # it takes what it can now: as a limit where there are no market orders
    return NewOrder(
        order_id=order.order_id,
        client_order_id=order.client_order_id,
        symbol=order.symbol,
        side=order.side,
        order_type=kind,
        quantity=order.quantity,
        price=order.protection_price if order.price is None else order.price,
        time_in_force=duration,
        post_only=order.post_only,
        stop_price=order.stop_price if kind.waits else None,
        reduce_only=order.reduce_only and is_contract(order.symbol),
    )


def sent_type(order: Order) -> OrderType:
    """Return the type that the exchange knows the order by."""
    if order.protection_price is not None:
        return OrderType.LIMIT
    if not order.emulated:
        return order.order_type
    return OrderType.MARKET if order.price is None else OrderType.LIMIT


def picture(book: BookUpdate | None, side: Side, *, maker: bool) -> tuple[Decimal | None, Decimal | None]:
    """Return (mid, touch) of a book for a maker or taker of this side."""
    if book is None or not book.bids or not book.asks:
        return None, None
    bid, ask = book.bids[0][0], book.asks[0][0]
    own, other = (bid, ask) if side is Side.BUY else (ask, bid)
    return (bid + ask) / 2, own if maker else other


def client_order_id(mark: str, order_id: str, style: str) -> str:
    """Return the id a venue knows our order by: uuid4-shaped, from the order id alone, starting with our
    mark (R2).

    A dashed uuid satisfies every venue of VENUES.md 1.3 but OKX, which wants the 32 hex digits.
    """
    digest = hashlib.sha256(order_id.encode()).hexdigest()
    bits = mark + digest[8:12] + "4" + digest[13:16] + "a" + digest[17:32]
    if style == "hex32":
        return bits
    return f"{bits[:8]}-{bits[8:12]}-{bits[12:16]}-{bits[16:20]}-{bits[20:]}"
