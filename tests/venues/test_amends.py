"""Changing an order in one step, through the gateway: yes, no, or don't know.

Every story is told of every exchange that does it; what is true is read from the simulated exchange's ledger.
"""

from __future__ import annotations

import time
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from ems.core.messages import (
    Acked,
    Amended,
    AmendRefused,
    AmendRequest,
    FillReport,
    Found,
    NewOrder,
    OrderStatus,
    OrderType,
    OutcomeUnknown,
    Refusal,
    Side,
    StreamUp,
)
from ems.venues.dialects import DIALECTS
from simulator.faults import Rule
from tests.venues.gateways import look_up, new_order, opened
from tests.venues.simulated import Simulated, simulated
from tests.venues.stories import D, run
from tests.venues.test_waiting_orders import LAST, prints, spied, stop

ALL = sorted(name for name, one in DIALECTS.items() if not one.paper_only)
AMENDING = [name for name in ALL if DIALECTS[name].amending is not None]
each_amending = pytest.mark.parametrize("exchange", AMENDING)
WHOLE = [name for name in AMENDING if DIALECTS[name].amending.whole]  # type: ignore[union-attr]
NEVER = [name for name in ALL if DIALECTS[name].amending is None]


def can(exchange: str, term: str) -> bool:
    amending = DIALECTS[exchange].amending
    return amending is not None and term in amending.terms


PRICED = [name for name in AMENDING if can(name, "price")]
STOPPED = [name for name in AMENDING if can(name, "stop_price")]


def amend_of(order: NewOrder, number: str | None = None, **changes: Any) -> AmendRequest:
    return AmendRequest(
        order_id=order.order_id,
        client_order_id=order.client_order_id,
        exchange_order_id=number,
        symbol=order.symbol,
        side=order.side,
        order_type=order.order_type,
        was_quantity=order.quantity,
        **changes,
    )


def in_ledger(venue: Simulated) -> Any:
    """The only order there is: nothing may place a second one."""
    [order] = venue.exchange.orders.values()
    return order


async def resting(gateway: Any, reports: Any, order: NewOrder) -> str:
    await reports.next(StreamUp)
    gateway.send(order)
    return str((await reports.next(Acked)).exchange_order_id)


async def answer(gateway: Any, reports: Any, request: AmendRequest) -> Any:
    gateway.send(request)
    kinds = (Amended, AmendRefused, OutcomeUnknown)
    return await reports.next(object, lambda one: isinstance(one, kinds), within_s=8)


async def traded(reports: Any, order: NewOrder, quantity: Decimal) -> None:
    """Wait until the stream has told of so much, by fills or by how much is filled."""

    def told(one: Any) -> bool:
        if isinstance(one, FillReport):
            return True
        return isinstance(one, OrderStatus) and one.query_sent_at is None and bool(one.filled_quantity)

    fills, most = D("0"), D("0")
    while max(fills, most) < quantity:
        one = await reports.next(object, told)
        assert one.order_id == order.order_id
        if isinstance(one, FillReport):
            fills += one.quantity
        else:
            most = one.filled_quantity
    assert max(fills, most) == quantity


def resting_order(exchange: str) -> NewOrder:
    return new_order(exchange, 1, quantity="0.2", price="19990")


# --- Yes ---


@each_amending
@pytest.mark.parametrize("by", ["their id", "our id"])
def test_it_becomes_smaller_where_it_is(exchange: str, by: str) -> None:
    async def story() -> None:
        async with (
            simulated(exchange) as venue,
            opened(exchange, venue.url, venue.keys, shapes=()) as (gateway, reports),
        ):
            order = resting_order(exchange)
            number = await resting(gateway, reports, order)
            there = in_ledger(venue)
            before = (there.order_id, there.client_order_id, there.price, there.status)
            seen = spied(venue)
            asked = amend_of(order, number if by == "their id" else None, quantity=D("0.1"))
            assert await answer(gateway, reports, asked) == Amended(
                order_id=order.order_id, quantity=D("0.1"), price=None, stop_price=None
            )
            assert [kind for _, kind, _ in seen if kind in ("amend", "create", "cancel")] == ["amend"]
            there = in_ledger(venue)
            assert (there.order_id, there.client_order_id, there.price, there.status) == before
            assert (there.quantity, there.reserved) == (D("0.1"), there.reserved) and there.reserved < 2100
            assert not venue.exchange.imbalance()
            gateway.send(look_up(order, number))
            found = await reports.next(OrderStatus, lambda one: one.query_sent_at is not None)
            assert (found.found, found.exchange_order_id, found.price) == (Found.OPEN, number, order.price)
            # It is still followed: what it trades is told under the same name.
            venue.set_book(bid="19970", ask="19980")
            await traded(reports, order, D("0.1"))
            assert there.status == "filled"

    run(story())


@pytest.mark.parametrize("exchange", PRICED)
@pytest.mark.parametrize(
    "changes",
    [{"price": D("19980")}, {"quantity": D("0.3")}, {"quantity": D("0.15"), "price": D("19985.5")}],
    ids=["price", "larger", "both"],
)
def test_it_gets_another_price_or_size(exchange: str, changes: dict[str, Decimal]) -> None:
    async def story() -> None:
        async with (
            simulated(exchange) as venue,
            opened(exchange, venue.url, venue.keys, shapes=()) as (gateway, reports),
        ):
            order = resting_order(exchange)
            number = await resting(gateway, reports, order)
            told = await answer(gateway, reports, amend_of(order, number, **changes))
            assert isinstance(told, Amended), told
            there = in_ledger(venue)
            assert there.open and there.quantity == changes.get("quantity", order.quantity)
            assert there.price == changes.get("price", order.price)
            gateway.send(look_up(order, number))
            found = await reports.next(OrderStatus, lambda one: one.query_sent_at is not None)
            assert (found.found, found.price) == (Found.OPEN, there.price)
            assert not venue.exchange.imbalance()

    run(story())


@pytest.mark.parametrize("exchange", PRICED)
def test_a_price_that_meets_the_market_trades_at_once(exchange: str) -> None:
    async def story() -> None:
        async with (
            simulated(exchange) as venue,
            opened(exchange, venue.url, venue.keys, shapes=()) as (gateway, reports),
        ):
            order = resting_order(exchange)
            number = await resting(gateway, reports, order)
            told = await answer(gateway, reports, amend_of(order, number, price=D("20050")))
            assert isinstance(told, Amended), told
            await traded(reports, order, D("0.2"))
            assert in_ledger(venue).filled_quantity == D("0.2") and not venue.exchange.imbalance()

    run(story())


@pytest.mark.parametrize("exchange", STOPPED)
@pytest.mark.parametrize("by", ["their id", "our id"])
def test_one_that_waits_waits_for_another_price(exchange: str, by: str) -> None:
    async def story() -> None:
        async with (
            simulated(exchange) as venue,
            opened(exchange, venue.url, venue.keys, shapes=()) as (gateway, reports),
        ):
            prints(venue, LAST)
            order = stop(exchange, OrderType.STOP_LOSS_LIMIT)
            number = await resting(gateway, reports, order)
            asked = amend_of(
                order, number if by == "their id" else None, stop_price=D("19700"), price=D("19600")
            )
            told = await answer(gateway, reports, asked)
            assert isinstance(told, Amended), told
            there = in_ledger(venue)
            assert there.waiting and (there.trigger.price, there.price) == (D("19700"), D("19600"))
            gateway.send(look_up(order, number))
            found = await reports.next(OrderStatus, lambda one: one.query_sent_at is not None)
            assert (found.found, found.stop_price, found.price) == (Found.OPEN, D("19700"), D("19600"))
            prints(venue, "19800")
            assert there.waiting
            prints(venue, "19700")
            fill = await reports.next(FillReport)
            assert (fill.order_id, there.filled_quantity) == (order.order_id, D("0.1"))

    run(story())


# --- No ---


@each_amending
@pytest.mark.parametrize("end", ["filled", "cancelled", "never there"])
def test_what_is_not_open_is_refused_as_unknown(exchange: str, end: str) -> None:
    async def story() -> None:
        async with (
            simulated(exchange) as venue,
            opened(exchange, venue.url, venue.keys, shapes=()) as (gateway, reports),
        ):
            order = resting_order(exchange)
            number: str | None = None
            if end == "never there":
                await reports.next(StreamUp)
            else:
                number = await resting(gateway, reports, order)
                there = in_ledger(venue)
                if end == "filled":
                    venue.set_book(bid="19970", ask="19980")
                    assert there.status == "filled"
                else:
                    venue.exchange.cancel_order(venue.account, order_id=there.order_id, now=time.time())
            was = [replace(one) for one in venue.exchange.orders.values()]
            told = await answer(gateway, reports, amend_of(order, number, quantity=D("0.1")))
            # Where it is looked up first, nothing is sent.
            assert isinstance(told, AmendRefused) and told.sent == (exchange not in WHOLE), told
            assert (told.order_id, told.refusal) == (order.order_id, Refusal.UNKNOWN_ORDER)
            assert list(venue.exchange.orders.values()) == was

    run(story())


@each_amending
def test_what_breaks_a_rule_is_refused_and_nothing_changes(exchange: str) -> None:
    async def story() -> None:
        async with (
            simulated(exchange) as venue,
            opened(exchange, venue.url, venue.keys, shapes=()) as (gateway, reports),
        ):
            order = resting_order(exchange)
            number = await resting(gateway, reports, order)
            there = in_ledger(venue)
            asked: list[dict[str, Decimal]] = [{"quantity": D("0.10001")}]
            if exchange in PRICED:
                asked += [{"price": D("19990.05")}, {"quantity": D("5000")}]
            for changes in asked:
                told = await answer(gateway, reports, amend_of(order, number, **changes))
                assert isinstance(told, AmendRefused) and told.sent, (changes, told)
                assert told.message and told.refusal is not Refusal.UNKNOWN_ORDER
                assert (there.open, there.quantity, there.price) == (True, order.quantity, order.price)
            assert in_ledger(venue) is there and not venue.exchange.imbalance()

    run(story())


@each_amending
def test_below_what_is_filled_nothing_is_left_to_be_done(exchange: str) -> None:
    """Refused; or cancelled with what it has, where an exchange says that it does that (Kraken)."""

    async def story() -> None:
        async with (
            simulated(exchange) as venue,
            opened(exchange, venue.url, venue.keys, shapes=()) as (gateway, reports),
        ):
            order = new_order(exchange, 1, side=Side.SELL, quantity="0.7", price="20000")
            # 0.5 of it trades, 0.2 rests.
            number = await resting(gateway, reports, order)
            there = in_ledger(venue)
            assert there.open and there.filled_quantity == D("0.5")
            told = await answer(gateway, reports, amend_of(order, number, quantity=D("0.3")))
            assert there.filled_quantity == D("0.5") and not venue.exchange.imbalance()
            if isinstance(told, AmendRefused):
                assert there.open and there.quantity == D("0.7")
            else:
                assert exchange == "kraken" and isinstance(told, Amended)
                assert not there.open and not there.reserved

    run(story())


@pytest.mark.parametrize("exchange", NEVER)
def test_where_it_is_not_one_step_nothing_is_sent(exchange: str) -> None:
    async def story() -> None:
        async with (
            simulated(exchange) as venue,
            opened(exchange, venue.url, venue.keys, shapes=()) as (gateway, reports),
        ):
            order = resting_order(exchange)
            number = await resting(gateway, reports, order)
            seen = spied(venue)
            told = await answer(gateway, reports, amend_of(order, number, quantity=D("0.1")))
            assert (told.sent, told.refusal) == (False, Refusal.PERMANENT)
            assert "in one step" in told.message and exchange in told.message
            assert not seen and in_ledger(venue).quantity == order.quantity

    run(story())


def unsent(exchange: str) -> list[tuple[dict[str, Any], str]]:
    """What an exchange that amends does not amend: (changes, words of the refusal)."""
    amending = DIALECTS[exchange].amending
    assert amending is not None
    rows: list[tuple[dict[str, Any], str]] = [
        ({}, "nothing to change"),
        ({"stop_price": D("19000")}, "stop"),  # of an order that has none
    ]
    if amending.shrinks_only:
        rows += [({"quantity": D("0.3")}, "never larger"), ({"quantity": D("0.2")}, "never larger")]
    rows += [
        ({term: D("19000")}, f"changes {' and '.join(sorted(amending.terms))} in one step")
        for term in ("price", "stop_price")
        if term not in amending.terms
    ]
    return rows


@each_amending
def test_what_it_does_not_change_in_one_step_is_refused_unsent(exchange: str) -> None:
    async def story() -> None:
        async with (
            simulated(exchange) as venue,
            opened(exchange, venue.url, venue.keys, shapes=()) as (gateway, reports),
        ):
            order = resting_order(exchange)
            number = await resting(gateway, reports, order)
            seen = spied(venue)
            for changes, words in unsent(exchange):
                told = await answer(gateway, reports, amend_of(order, number, **changes))
                assert isinstance(told, AmendRefused), (changes, told)
                assert (told.sent, told.refusal) == (False, Refusal.PERMANENT)
                assert words in told.message, told.message
            assert not [kind for _, kind, _ in seen if kind in ("amend", "create", "cancel")]
            assert in_ledger(venue).quantity == order.quantity

    run(story())


# --- Don't know ---


WRONG = {
    **{
        action: Rule(action=action, kinds=("amend",))
        for action in ("hang", "refuse", "reset", "truncate", "empty", "html", "null", "object", "half")
    },
    **{
        f"status {status}": Rule(action="status", kinds=("amend",), status=status)
        for status in (302, 404, 500, 504)
    },
}


@each_amending
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("fault", list(WRONG))
def test_a_lost_answer_is_unknown_and_not_asked_again(exchange: str, fault: str, when: Any) -> None:
    async def story() -> None:
        async with (
            simulated(exchange) as venue,
            opened(exchange, venue.url, venue.keys, shapes=()) as (gateway, reports),
        ):
            order = resting_order(exchange)
            number = await resting(gateway, reports, order)
            there = in_ledger(venue)
            seen = spied(venue)
            venue.strike(replace(WRONG[fault], when=when))
            told = await answer(gateway, reports, amend_of(order, number, quantity=D("0.1")))
            assert isinstance(told, OutcomeUnknown), told
            assert (told.order_id, told.request) == (order.order_id, "amend")
            venue.strike()
            # Once at most at the exchange, and whoever does not know looks it up.
            assert [kind for _, kind, _ in seen].count("amend") == (1 if when == "after" else 0)
            gateway.send(look_up(order, number))
            found = await reports.next(OrderStatus, lambda one: one.query_sent_at is not None)
            assert found.found is Found.OPEN and in_ledger(venue) is there
            assert there.quantity == (D("0.1") if when == "after" else D("0.2"))
            assert not venue.exchange.imbalance()

    run(story())


@pytest.mark.parametrize("exchange", PRICED)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_look_up_tells_which_price_it_has(exchange: str, when: Any) -> None:
    async def story() -> None:
        async with (
            simulated(exchange) as venue,
            opened(exchange, venue.url, venue.keys, shapes=()) as (gateway, reports),
        ):
            order = resting_order(exchange)
            number = await resting(gateway, reports, order)
            venue.strike(Rule(action="hang", when=when, kinds=("amend",)))
            told = await answer(gateway, reports, amend_of(order, number, price=D("19980")))
            assert isinstance(told, OutcomeUnknown), told
            venue.strike()
            gateway.send(look_up(order, number))
            found = await reports.next(OrderStatus, lambda one: one.query_sent_at is not None)
            assert found.price == (D("19980") if when == "after" else D("19990"))

    run(story())


@pytest.mark.parametrize("exchange", [name for name in AMENDING if name not in ("kraken", *WHOLE)])
def test_an_answer_about_another_order_is_no_answer(exchange: str) -> None:
    """Kraken tells no number but the amendment's own."""
    amending = DIALECTS[exchange].amending
    assert amending is not None
    order = resting_order(exchange)
    by_number, by_name = amend_of(order, "17", quantity=D("0.1")), amend_of(order, None, quantity=D("0.1"))

    def told(number: str, name: str) -> dict[str, Any]:
        return {
            "binance": {"amendedOrder": {"orderId": int(number), "clientOrderId": name, "qty": "0.1"}},
            "bybit": {"retCode": 0, "result": {"orderId": number, "orderLinkId": name}},
            "okx": {"code": "0", "data": [{"ordId": number, "clOrdId": name, "sCode": "0"}]},
        }[exchange]

    assert amending.done(told("17", "whatever"), by_number)
    assert amending.done(told("18", order.client_order_id), by_name)
    assert not amending.done(told("18", order.client_order_id), by_number)
    assert not amending.done(told("17", "another"), by_name)
    for body in ({}, [], None, "yes", {"data": []}, {"result": {}}):
        assert not amending.done(body, by_number)


@each_amending
def test_both_sides_amend(exchange: str) -> None:
    async def story() -> None:
        async with (
            simulated(exchange) as venue,
            opened(exchange, venue.url, venue.keys, shapes=()) as (gateway, reports),
        ):
            order = new_order(exchange, 1, side=Side.SELL, quantity="0.2", price="20100")
            number = await resting(gateway, reports, order)
            told = await answer(gateway, reports, amend_of(order, number, quantity=D("0.05")))
            assert isinstance(told, Amended), told
            there = in_ledger(venue)
            assert (there.quantity, there.reserved) == (D("0.05"), D("0.05"))
            assert not venue.exchange.imbalance()

    run(story())


# --- Where all terms are told anew ---


@pytest.mark.parametrize("exchange", WHOLE)
def test_what_is_not_to_change_is_looked_up_and_said_again(exchange: str) -> None:
    async def story() -> None:
        async with (
            simulated(exchange) as venue,
            opened(exchange, venue.url, venue.keys, shapes=()) as (gateway, reports),
        ):
            order = resting_order(exchange)
            number = await resting(gateway, reports, order)
            seen = spied(venue)
            for changes in ({"price": D("19980")}, {"quantity": D("0.1")}):
                assert isinstance(await answer(gateway, reports, amend_of(order, number, **changes)), Amended)
            sent = [fields for _, kind, fields in seen if kind == "amend"]
            assert [(one["order_id"], one["size"], one["price"]) for one in sent] == [
                (number, "0.2", "19980"), (number, "0.1", "19980"),
            ]  # fmt: skip
            # Nothing goes out on what cannot be read, or is another's.
            venue.strike(Rule(action="status", kinds=("fetch",), status=503))
            told = await answer(gateway, reports, amend_of(order, number, price=D("19970")))
            assert isinstance(told, AmendRefused) and not told.sent and told.refusal is Refusal.RATE_LIMIT
            venue.strike(Rule(action="hang", kinds=("fetch",)))
            told = await answer(gateway, reports, amend_of(order, number, price=D("19970")))
            assert isinstance(told, AmendRefused) and not told.sent
            venue.strike()
            assert len([kind for _, kind, _ in seen if kind == "amend"]) == 2
            assert in_ledger(venue).price == D("19980")

    run(story())


@pytest.mark.parametrize("exchange", WHOLE)
def test_the_limit_of_one_that_waits_is_changed_and_its_stop_price_is_not(exchange: str) -> None:
    async def story() -> None:
        async with (
            simulated(exchange) as venue,
            opened(exchange, venue.url, venue.keys, shapes=()) as (gateway, reports),
        ):
            prints(venue, LAST)
            order = stop(exchange, OrderType.STOP_LOSS_LIMIT)
            number = await resting(gateway, reports, order)
            told = await answer(gateway, reports, amend_of(order, number, price=D("19600")))
            assert isinstance(told, Amended), told
            there = in_ledger(venue)
            assert there.waiting and (there.trigger.price, there.price) == (D("19800"), D("19600"))
            told = await answer(gateway, reports, amend_of(order, number, stop_price=D("19700")))
            assert isinstance(told, AmendRefused) and not told.sent
            prints(venue, "19800")
            assert there.filled_quantity == D("0.1")

    run(story())


def test_an_edit_of_coinbase_that_names_another_order_is_no_answer() -> None:
    amending = DIALECTS["coinbase"].amending
    assert amending is not None
    asked = amend_of(resting_order("coinbase"), "17", quantity=D("0.1"))
    assert amending.done({"success": True, "errors": []}, asked)
    assert amending.done({"success": True, "success_response": {"order_id": "17"}}, asked)
    assert not amending.done({"success": True, "success_response": {"order_id": "18"}}, asked)
    for body in ({}, [], None, "yes", {"success": False}, {"success": "true"}):
        assert not amending.done(body, asked)
