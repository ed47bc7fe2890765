"""Orders that wait for a price, through the gateway: what goes out, how they are found, fire and end.

Every story is told of every exchange; what is true is read from the simulated exchange's own ledger.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

import pytest

from ems.core.messages import (
    Acked,
    CancelAcked,
    CancelRefused,
    Ending,
    FillReport,
    Found,
    NewOrder,
    OpenOrders,
    OrderStatus,
    OrderType,
    OutcomeUnknown,
    QueryOpenOrders,
    Refusal,
    Rejected,
    Side,
    StreamUp,
    TimeInForce,
    TradesAnswer,
)
from ems.venues.dialects import DIALECTS
from simulator.dialects.dialect import Request
from simulator.faults import Rule
from tests.venues.gateways import cancel_of, look_up, new_order, opened, trades_of
from tests.venues.simulated import Simulated, simulated
from tests.venues.stories import D, run

ALL = sorted(name for name, one in DIALECTS.items() if not one.paper_only)
WAITING = [name for name in ALL if DIALECTS[name].triggers is not None]
each_waiting = pytest.mark.parametrize("exchange", WAITING)
LAST = "20005"


def stop(exchange: str, kind: OrderType, number: int = 1, side: Side = Side.SELL, **changes: Any) -> NewOrder:
    """An order of 0.1 that waits for a price two hundred away, in the direction of its kind."""
    loss = kind in (OrderType.STOP_LOSS, OrderType.STOP_LOSS_LIMIT)
    up = loss == (side is Side.BUY)
    stop_price = D("20200") if up else D("19800")
    # A limit that trades when it is triggered: on the far side of both books.
    price = None if not kind.limited else D("20300") if side is Side.BUY else D("19700")
    order = new_order(exchange, number, side=side, quantity="0.1")
    return replace(order, **({"order_type": kind, "stop_price": stop_price, "price": price} | changes))


def prints(venue: Simulated, price: str) -> None:
    """Somebody trades there."""
    venue.exchange.public_trade(venue.symbol, D(price), D("0.0001"), "buy", time.time())


def only_order(venue: Simulated) -> Any:
    [order] = venue.exchange.orders.values()
    return order


async def status_of(gateway: Any, reports: Any, order: NewOrder, number: str | None = None) -> OrderStatus:
    gateway.send(look_up(order, number))
    found: OrderStatus = await reports.next(OrderStatus, lambda one: one.query_sent_at is not None)
    return found


# --- Placing ---


def kinds_of(exchange: str) -> list[OrderType]:
    triggers = DIALECTS[exchange].triggers
    return [] if triggers is None else [kind for kind in OrderType if kind in triggers.types]


KINDS = [(exchange, kind) for exchange in WAITING for kind in kinds_of(exchange)]


@pytest.mark.parametrize("side", [Side.SELL, Side.BUY])
@pytest.mark.parametrize(("exchange", "kind"), KINDS, ids=[f"{name} {kind}" for name, kind in KINDS])
def test_it_waits_fires_at_its_price_and_tells_its_fills(exchange: str, kind: OrderType, side: Side) -> None:
    async def story() -> None:
        async with (
            simulated(exchange) as venue,
            opened(exchange, venue.url, venue.keys, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            prints(venue, LAST)
            began = datetime.now(UTC) - timedelta(seconds=1)
            order = stop(exchange, kind, side=side)
            gateway.send(order)
            acked = await reports.next(Acked)
            assert (acked.order_id, acked.ending, acked.fills) == (order.order_id, None, ())
            there = only_order(venue)
            up = there.trigger.rising
            assert there.waiting and there.client_order_id == order.client_order_id
            assert (there.trigger.price, there.price, there.quantity, there.side) == (
                order.stop_price, order.price, D("0.1"), str(side),
            )  # fmt: skip
            assert up == ((kind in (OrderType.STOP_LOSS, OrderType.STOP_LOSS_LIMIT)) == (side is Side.BUY))

            for number in (None, acked.exchange_order_id):
                found = await status_of(gateway, reports, order, number)
                assert (found.found, found.filled_quantity, found.exchange_order_id) == (
                    Found.OPEN, D("0"), acked.exchange_order_id,
                )  # fmt: skip
                assert (found.order_id, found.stop_price) == (order.order_id, order.stop_price)
            gateway.send(QueryOpenOrders())
            [listed] = (await reports.next(OpenOrders)).orders
            assert (listed.found, listed.order_id, listed.client_order_id, listed.exchange_order_id) == (
                Found.OPEN, order.order_id, order.client_order_id, acked.exchange_order_id,
            )  # fmt: skip

            prints(venue, "20199.9" if up else "19800.1")
            assert there.waiting
            prints(venue, "20200" if up else "19799.9")
            assert there.filled_quantity == D("0.1")
            ended = await reports.next(
                OrderStatus, lambda one: one.found is Found.CLOSED and one.query_sent_at is None
            )
            assert (ended.ending, ended.order_id, ended.exchange_order_id) == (
                Ending.FILLED, order.order_id, acked.exchange_order_id,
            )  # fmt: skip
            for number in (None, acked.exchange_order_id):
                found = await status_of(gateway, reports, order, number)
                assert (found.found, found.ending, found.filled_quantity) == (
                    Found.CLOSED, Ending.FILLED, D("0.1"),
                )  # fmt: skip
                gateway.send(trades_of(order, began, number))
                fills = (await reports.next(TradesAnswer)).fills
                assert [(fill.quantity, fill.price, fill.order_id) for fill in fills] == [
                    (one.quantity, one.price, order.order_id) for one in there.fills
                ]
                assert {fill.exchange_order_id for fill in fills} == {acked.exchange_order_id}
            streamed = reports.of(FillReport)
            assert all(fill.exchange_order_id == acked.exchange_order_id for fill in streamed)
            gateway.send(QueryOpenOrders())
            assert (await reports.next(OpenOrders)).orders == ()
            assert venue.exchange.imbalance() == {}

    run(story())


@each_waiting
def test_one_that_waits_is_cancelled_by_either_id_and_one_that_fired_too(exchange: str) -> None:
    async def story() -> None:
        async with (
            simulated(exchange) as venue,
            opened(exchange, venue.url, venue.keys, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            prints(venue, LAST)
            kind = OrderType.STOP_LOSS_LIMIT
            for number in (1, 2):
                order = stop(exchange, kind, number)
                gateway.send(order)
                acked = await reports.next(Acked)
                gateway.send(cancel_of(order, acked.exchange_order_id if number == 1 else None))
                await reports.next(CancelAcked)
                ended = await reports.next(OrderStatus, lambda one: one.found is Found.CLOSED)
                assert (ended.ending, ended.order_id, ended.filled_quantity) == (
                    Ending.CANCELED, order.order_id, D("0"),
                )  # fmt: skip
                gateway.send(cancel_of(order, acked.exchange_order_id))
                gone = await reports.next((CancelRefused, CancelAcked))  # type: ignore[arg-type]
                assert isinstance(gone, CancelAcked) or gone.refusal is Refusal.UNKNOWN_ORDER
            # It fires and rests far away.
            order = stop(exchange, kind, 3, price=D("19790"), stop_price=D("19800"))
            venue.exchange.set_book(venue.symbol, [(D("19000"), D("5"))], [(D("21000"), D("5"))], time.time())
            gateway.send(order)
            acked = await reports.next(Acked)
            prints(venue, "19795")
            there = list(venue.exchange.orders.values())[-1]
            assert there.open and not there.waiting
            found = await status_of(gateway, reports, order)
            assert (found.found, found.exchange_order_id) == (Found.OPEN, acked.exchange_order_id)
            gateway.send(cancel_of(order, acked.exchange_order_id))
            await reports.next(CancelAcked)
            assert not there.open and venue.exchange.imbalance() == {}

    run(story())


@each_waiting
def test_another_gateway_that_never_saw_it_finds_and_cancels_it(exchange: str) -> None:
    """After a restart nothing is remembered; the types are."""

    async def story() -> None:
        async with simulated(exchange) as venue:
            prints(venue, LAST)
            orders = [stop(exchange, OrderType.STOP_LOSS_LIMIT, number) for number in (1, 2)]
            async with opened(exchange, venue.url, venue.keys, shapes=()) as (gateway, reports):
                await reports.next(StreamUp)
                numbers = []
                for order in orders:
                    gateway.send(order)
                    numbers.append((await reports.next(Acked)).exchange_order_id)
            async with opened(exchange, venue.url, venue.keys, shapes=()) as (gateway, reports):
                await reports.next(StreamUp)
                for order, number, known in zip(
                    orders, numbers, (None, OrderType.STOP_LOSS_LIMIT), strict=True
                ):
                    found = await status_of(gateway, reports, order)
                    assert (found.found, found.exchange_order_id) == (Found.OPEN, number)
                    gateway.send(replace(cancel_of(order, number), order_type=known))
                    await reports.next(CancelAcked)
            assert [one.status for one in venue.exchange.orders.values()] == ["canceled", "canceled"]

    run(story())


@each_waiting
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_lost_answer_is_looked_up_and_never_sent_again(exchange: str, when: str) -> None:
    async def story() -> None:
        async with (
            simulated(exchange) as venue,
            opened(exchange, venue.url, venue.keys, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            prints(venue, LAST)
            venue.strike(Rule(action="hang", when=when, kinds=("create",)))  # type: ignore[arg-type]
            order = stop(exchange, OrderType.STOP_LOSS_LIMIT)
            gateway.send(order)
            unknown = await reports.next(OutcomeUnknown)
            assert (unknown.order_id, unknown.request) == (order.order_id, "create")
            venue.strike()
            found = await status_of(gateway, reports, order)
            there = len(venue.exchange.orders)
            assert (there, found.found) == ((0, Found.NOT_FOUND) if when == "before" else (1, Found.OPEN))
            gateway.send(order)
            again = await reports.next(OutcomeUnknown)
            assert "sent before" in again.message and len(venue.exchange.orders) == there

    run(story())


@pytest.mark.parametrize("exchange", [name for name in WAITING if OrderType.STOP_LOSS in kinds_of(name)])
def test_what_cannot_be_paid_when_it_fires_ends_without_a_fill(exchange: str) -> None:
    async def story() -> None:
        async with (
            simulated(exchange) as venue,
            opened(exchange, venue.url, venue.keys, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            prints(venue, LAST)
            order = stop(exchange, OrderType.STOP_LOSS, side=Side.BUY)
            gateway.send(order)
            acked = await reports.next(Acked)
            held = sum(one.reserved for one in venue.exchange.orders.values())
            free = venue.account.free[venue.symbol.split("/")[1]]
            venue.exchange.withdraw(venue.account, venue.symbol.split("/")[1], free, time.time())
            # Much dearer than it was expected to be.
            venue.exchange.set_book(venue.symbol, [], [(D("40000"), D("5"))], time.time())
            prints(venue, "20200")
            ended = await reports.next(OrderStatus, lambda one: one.found is Found.CLOSED)
            assert ended.ending in (Ending.REJECTED, Ending.EXPIRED, Ending.CANCELED)
            assert (ended.order_id, ended.filled_quantity) == (order.order_id, D("0"))
            found = await status_of(gateway, reports, order, acked.exchange_order_id)
            assert (found.found, found.filled_quantity) == (Found.CLOSED, D("0"))
            there = only_order(venue)
            assert not there.open and not there.fills and not there.reserved
            assert held in (0, venue.account.free[venue.symbol.split("/")[1]])

    run(story())


# --- What is not sent ---


def unsent(exchange: str) -> list[tuple[str, NewOrder, str]]:
    plain = new_order(exchange, 1)
    rows = [
        ("a limit order without a price", replace(plain, price=None), "needs a price"),
        ("a limit order with a stop price", replace(plain, stop_price=D("19000")), "has no stop price"),
    ]
    waiting = DIALECTS[exchange].triggers
    for kind in (one for one in OrderType if one.waits):
        order = stop(exchange, kind)
        if waiting is None or kind not in waiting.types:
            rows.append(
                (f"{kind}, which it does not have", order, f"{exchange} has no {kind} orders; it takes")
            )
            continue
        rows.append((f"{kind} without a stop price", replace(order, stop_price=None), "needs a stop price"))
        if kind.limited:
            rows.append((f"{kind} without a price", replace(order, price=None), "needs a price"))
            rows.append((f"{kind}, post-only", replace(order, post_only=True), "post-only"))
            for force in sorted(set(TimeInForce) - waiting.times_in_force):
                rows.append((f"{kind}, {force}", replace(order, time_in_force=force), f"never {force}"))
        else:
            rows.append((f"{kind} with a price", replace(order, price=D("1")), "has no price"))
    return rows


UNSENT = [(exchange, *row) for exchange in ALL for row in unsent(exchange)]


@pytest.mark.parametrize(
    ("exchange", "order", "words"),
    [(exchange, order, words) for exchange, _, order, words in UNSENT],
    ids=[f"{exchange}: {name}" for exchange, name, *_ in UNSENT],
)
def test_what_is_not_supported_is_refused_unsent_in_words(exchange: str, order: NewOrder, words: str) -> None:
    from ems.venues.supported import unsupported

    class Ccxt:
        """Says yes to everything, so that only the dialect's own data refuse."""

        def feature_value(self, symbol: str, method: str, name: str) -> object:
            return True

    why = unsupported(order, DIALECTS[exchange], Ccxt())
    assert why is not None and words in why


@pytest.mark.parametrize("exchange", ALL)
def test_an_unsupported_order_never_reaches_the_wire(exchange: str) -> None:
    async def story() -> None:
        async with (
            simulated(exchange) as venue,
            opened(exchange, venue.url, venue.keys, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            seen = spied(venue)
            for _, order, words in unsent(exchange):
                gateway.send(order)
                rejected = await reports.next(Rejected)
                assert (rejected.sent, rejected.refusal) == (False, Refusal.PERMANENT)
                assert words in rejected.message
            assert [path for path, kind, _ in seen if kind == "create"] == []
            assert not venue.exchange.orders

    run(story())


@each_waiting
def test_what_ccxt_does_not_know_is_not_sent_either(exchange: str) -> None:
    async def story() -> None:
        async with (
            simulated(exchange) as venue,
            opened(exchange, venue.url, venue.keys, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            prints(venue, LAST)
            order = stop(exchange, OrderType.STOP_LOSS_LIMIT)
            word = DIALECTS[exchange].triggers.features(order)  # type: ignore[union-attr]
            gateway._ccxt.features["spot"]["createOrder"][word] = False
            gateway.send(order)
            rejected = await reports.next(Rejected)
            assert rejected.sent is False and "not known to ccxt" in rejected.message
            assert not venue.exchange.orders

    run(story())


@each_waiting
def test_a_stop_on_the_wrong_side_never_waits_for_the_way_back(exchange: str) -> None:
    """The market is there already: refused by us or by the venue, or triggered at once."""

    async def story() -> None:
        async with (
            simulated(exchange) as venue,
            opened(exchange, venue.url, venue.keys, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            prints(venue, LAST)
            order = stop(exchange, OrderType.STOP_LOSS_LIMIT, stop_price=D("20050"), price=D("19700"))
            gateway.send(order)
            answer = await reports.answer_to(order.order_id)
            if isinstance(answer, Rejected):
                assert answer.refusal is Refusal.PERMANENT and not venue.exchange.orders
            else:
                assert isinstance(answer, Acked)
                assert not only_order(venue).waiting

    run(story())


# --- The wire ---


def spied(venue: Simulated) -> list[tuple[str, str, dict[str, Any]]]:
    """Every request from now on, as (path, kind, what was asked)."""
    seen: list[tuple[str, str, dict[str, Any]]] = []
    handle = venue.dialect.handle

    def watch(request: Request) -> Any:
        seen.append((request.path, venue.dialect.kind(request), asked(request)))
        return handle(request)

    venue.dialect.handle = watch  # type: ignore[method-assign]
    return seen


def asked(request: Request) -> dict[str, Any]:
    fields: dict[str, Any] = dict(parse_qsl(request.query))
    if request.form.startswith(("{", "[")):
        body = json.loads(request.form)
        return fields | (body[0] if isinstance(body, list) else body)
    return fields | dict(parse_qsl(request.form))


# Exchange -> how a market order for 0.1 is told to be 0.1 of the base currency. A price is in none of them.
IN_BASE: dict[str, dict[str, Any]] = {
    "binance": {"type": "MARKET", "quantity": "0.1"},
    "kraken": {"ordertype": "market", "volume": "0.1"},
    "okx": {"ordType": "market", "sz": "0.1", "tgtCcy": "base_ccy"},
    "bybit": {"orderType": "Market", "qty": "0.1", "marketUnit": "baseCoin"},
    "coinbase": {"order_configuration": {"market_market_ioc": {"base_size": "0.1"}}},
    "coinbaseexchange": {"type": "market", "size": "0.1"},
}
PRICES = ("price", "px", "quoteOrderQty", "price2", "funds", "quote_size", "limit_price")


@pytest.mark.parametrize("side", [Side.BUY, Side.SELL])
@pytest.mark.parametrize("exchange", sorted(IN_BASE))
def test_a_market_order_counts_in_base_currency_and_has_no_price(exchange: str, side: Side) -> None:
    async def story() -> None:
        async with (
            simulated(exchange) as venue,
            opened(exchange, venue.url, venue.keys, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            seen = spied(venue)
            gateway.send(new_order(exchange, 1, side=side, quantity="0.1", price=None))
            await reports.next(Acked)
            [(_, _, sent)] = [row for row in seen if row[1] == "create"]
            assert {name: sent.get(name) for name in IN_BASE[exchange]} == IN_BASE[exchange]
            assert not any(name in sent for name in PRICES) and "viqc" not in str(sent.get("oflags"))
            assert only_order(venue).filled_quantity == D("0.1")

    run(story())


# What tells an order that waits from one that does not: (exchange, kind) -> fields of the request.
STOPS_ON_THE_WIRE: list[tuple[str, OrderType, dict[str, Any]]] = [
    ("binance", OrderType.STOP_LOSS, {"type": "STOP_LOSS", "stopPrice": "19800"}),
    ("binance", OrderType.TAKE_PROFIT_LIMIT,
     {"type": "TAKE_PROFIT_LIMIT", "stopPrice": "20200", "price": "19700", "timeInForce": "GTC"}),
    ("kraken", OrderType.STOP_LOSS, {"ordertype": "stop-loss", "price": "19800"}),
    ("kraken", OrderType.STOP_LOSS_LIMIT,
     {"ordertype": "stop-loss-limit", "price": "19800", "price2": "19700"}),
    ("okx", OrderType.STOP_LOSS,
     {"ordType": "conditional", "slTriggerPx": "19800", "slOrdPx": "-1", "tdMode": "cash"}),
    ("okx", OrderType.TAKE_PROFIT_LIMIT,
     {"ordType": "conditional", "tpTriggerPx": "20200", "tpOrdPx": "19700"}),
    ("bybit", OrderType.STOP_LOSS,
     {"orderType": "Market", "orderFilter": "tpslOrder", "triggerPrice": "19800", "marketUnit": "baseCoin"}),
    ("bybit", OrderType.TAKE_PROFIT_LIMIT,
     {"orderType": "Limit", "orderFilter": "tpslOrder", "triggerPrice": "20200", "price": "19700"}),
    ("coinbase", OrderType.STOP_LOSS_LIMIT,
     {"order_configuration": {"stop_limit_stop_limit_gtc": {
         "base_size": "0.1", "limit_price": "19700", "stop_price": "19800",
         "stop_direction": "STOP_DIRECTION_STOP_DOWN"}}}),
    ("coinbase", OrderType.TAKE_PROFIT_LIMIT,
     {"order_configuration": {"stop_limit_stop_limit_gtc": {
         "base_size": "0.1", "limit_price": "19700", "stop_price": "20200",
         "stop_direction": "STOP_DIRECTION_STOP_UP"}}}),
    ("coinbaseexchange", OrderType.STOP_LOSS_LIMIT,
     {"type": "limit", "stop": "loss", "stop_price": "19800", "price": "19700"}),
    ("gemini", OrderType.STOP_LOSS_LIMIT,
     {"type": "exchange stop limit", "stop_price": "19800", "price": "19700", "amount": "0.1"}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("exchange", "kind", "fields"), STOPS_ON_THE_WIRE, ids=[f"{row[0]} {row[1]}" for row in STOPS_ON_THE_WIRE]
)
def test_what_goes_out_for_an_order_that_waits(
    exchange: str, kind: OrderType, fields: dict[str, Any]
) -> None:
    async def story() -> None:
        async with (
            simulated(exchange) as venue,
            opened(exchange, venue.url, venue.keys, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            prints(venue, LAST)
            seen = spied(venue)
            gateway.send(stop(exchange, kind))
            await reports.next(Acked)
            [(_, _, sent)] = [row for row in seen if row[1] == "create"]
            assert {name: sent.get(name) for name in fields} == fields
            if exchange == "okx":
                assert "banAmend" not in sent and "px" not in sent
            if not kind.limited and exchange != "kraken":
                assert not any(name in sent for name in PRICES)

    run(story())


@pytest.mark.parametrize("force", [TimeInForce.IOC, TimeInForce.FOK])
@each_waiting
def test_time_in_force_of_a_limit_that_waits(exchange: str, force: TimeInForce) -> None:
    async def story() -> None:
        async with (
            simulated(exchange) as venue,
            opened(exchange, venue.url, venue.keys, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            prints(venue, LAST)
            order = stop(exchange, OrderType.STOP_LOSS_LIMIT, time_in_force=force)
            gateway.send(order)
            answer = await reports.answer_to(order.order_id)
            if force in DIALECTS[exchange].triggers.times_in_force:  # type: ignore[union-attr]
                assert isinstance(answer, Acked) and only_order(venue).time_in_force == str(force)
            else:
                assert isinstance(answer, Rejected) and not answer.sent and not venue.exchange.orders

    run(story())
