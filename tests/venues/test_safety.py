"""What a key may do is looked at before trading, and an exchange is told that we are still here."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from ems.core.messages import Acked, Barred, CancelAcked, Found, MarketsLoaded, OrderStatus, StreamUp
from ems.venues import safety
from ems.venues.ccxt_gateway import CcxtGateway
from ems.venues.dialects import DIALECTS
from simulator.faults import Rule
from tests.venues.gateways import Reports, cancel_of, look_up, new_order, opened
from tests.venues.simulated import simulated
from tests.venues.stories import run

TELLS = sorted(name for name, dialect in DIALECTS.items() if dialect.powers is not None)
SWITCHES = sorted(name for name, dialect in DIALECTS.items() if dialect.dead_man is not None)
every_teller = pytest.mark.parametrize("exchange", TELLS)
every_switch = pytest.mark.parametrize("exchange", SWITCHES)


async def key_of(gateway: CcxtGateway) -> dict[str, Any]:
    key = (await gateway.fetch_health())["key"]
    assert isinstance(key, dict)
    return {name: value for name, value in key.items() if name != "checked_at"}


@every_teller
def test_an_ordinary_key_trades_and_is_told_about(exchange: str) -> None:
    async def story() -> None:
        async with simulated(exchange) as venue:
            async with opened(exchange, venue.url, venue.keys, shapes=(), request_timeout_s=5) as (
                gateway,
                reports,
            ):
                await reports.next(StreamUp, within_s=10)
                assert reports.of(Barred) == []
                told = await key_of(gateway)
                assert (told["trade"], told["withdraw"], told["expires_at"]) == (True, False, None)
                health = await gateway.fetch_health()
                assert health["problems"] == []

    run(story())


@every_teller
def test_a_key_that_may_withdraw_is_told_before_there_is_contact(exchange: str) -> None:
    async def story() -> None:
        async with simulated(exchange) as venue:
            venue.permit("read", "trade", "withdraw")
            async with opened(exchange, venue.url, venue.keys, shapes=(), request_timeout_s=5) as (
                gateway,
                reports,
            ):
                await reports.next(StreamUp, where=lambda _: bool(reports.of(Barred)), within_s=10)
                (barred,) = reports.of(Barred)
                assert f"OMS_ALLOW_WITHDRAW_KEYS={exchange}" in barred.reason
                assert (await key_of(gateway))["withdraw"] is True
                problems = (await gateway.fetch_health())["problems"]
                assert isinstance(problems, list) and any("may withdraw" in one for one in problems)

    run(story())


@every_teller
def test_where_the_operator_allows_it_such_a_key_trades(exchange: str) -> None:
    async def story() -> None:
        async with simulated(exchange) as venue:
            venue.permit("read", "trade", "withdraw")
            async with opened(
                exchange, venue.url, venue.keys, shapes=(), may_withdraw=True, request_timeout_s=5
            ) as (gateway, reports):
                await reports.next(StreamUp, within_s=10)
                assert reports.of(Barred) == []
                advice = (await gateway.fetch_health())["advice"]
                assert isinstance(advice, list) and any("may withdraw" in one for one in advice)

    run(story())


@every_teller
def test_a_key_that_may_only_read_is_barred(exchange: str) -> None:
    async def story() -> None:
        async with simulated(exchange) as venue:
            venue.permit("read")
            async with opened(exchange, venue.url, venue.keys, shapes=(), request_timeout_s=5) as (
                _,
                reports,
            ):
                barred = await reports.next(Barred, within_s=10)
                assert "may not trade" in barred.reason

    run(story())


def test_a_key_nobody_can_ask_about_trades_and_health_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safety, "LOOK_RETRY_S", 0.01)

    async def story() -> None:
        async with simulated("binance") as venue:
            venue.strike(Rule(action="status", kinds=("other",), status=503))
            async with opened("binance", venue.url, venue.keys, shapes=()) as (gateway, reports):
                await reports.next(StreamUp)
                problems = (await gateway.fetch_health())["problems"]
                assert isinstance(problems, list) and any("could not be asked" in one for one in problems)

    run(story())


def test_the_look_at_the_key_comes_before_contact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Contact is what the engine waits for: after it, it trades."""

    async def story() -> None:
        async with simulated("binance") as venue:
            venue.strike(Rule(action="delay", kinds=("other",), seconds=(0.6, 0.6)))
            async with opened("binance", venue.url, venue.keys, shapes=(), request_timeout_s=5) as (
                _,
                reports,
            ):
                with pytest.raises(TimeoutError):
                    await reports.next(StreamUp, within_s=0.3)
                await reports.next(StreamUp)

    run(story())


async def _resting(exchange: str, gateway: CcxtGateway, reports: Reports) -> tuple[Any, str]:
    order = new_order(exchange, 1, quantity="0.01", price="15000")
    gateway.send(order)
    acked = await reports.answer_to(order.order_id)
    assert isinstance(acked, Acked), acked
    return order, acked.exchange_order_id


@every_switch
def test_when_we_fall_silent_the_exchange_cancels_what_rests(exchange: str) -> None:
    async def story() -> None:
        async with simulated(exchange) as venue:
            gateway = CcxtGateway(
                exchange, "default", venue.keys, mode="paper", base_url=venue.url, shapes=(), exclusive=True
            )
            reports = Reports()
            gateway.open(reports.deliver)
            await reports.next(MarketsLoaded)
            await reports.next(StreamUp)
            order, _ = await _resting(exchange, gateway, reports)
            health = await gateway.fetch_health()
            switch = health["dead_man"]
            assert isinstance(switch, dict) and switch["offered"] is True
            left = switch["armed_until"] - datetime.now(UTC)
            assert timedelta(seconds=50) < left <= timedelta(seconds=60)
            # As a killed process does: no word is said, nothing is disarmed.
            for task in list(gateway._tasks):
                task.cancel()
            await gateway._streams.close()
            await gateway._ccxt.close()
            venue.exchange.wake(venue.server.now() + 59)
            assert [one.open for one in venue.exchange.orders.values()] == [True]
            venue.exchange.wake(venue.server.now() + 61)
            assert [one.open for one in venue.exchange.orders.values()] == [False]
            # And the next owner finds it ended.
            async with opened(exchange, venue.url, venue.keys, shapes=()) as (again, later):
                again.send(look_up(order))
                status = await later.next(OrderStatus)
                assert (status.found, status.filled_quantity) == (Found.CLOSED, Decimal(0))

    run(story())


@every_switch
def test_a_planned_stop_leaves_orders_resting(exchange: str) -> None:
    async def story() -> None:
        async with simulated(exchange) as venue:
            async with opened(exchange, venue.url, venue.keys, shapes=(), exclusive=True) as (
                gateway,
                reports,
            ):
                await reports.next(StreamUp)
                await _resting(exchange, gateway, reports)
            venue.exchange.wake(venue.server.now() + 3600)
            assert [one.open for one in venue.exchange.orders.values()] == [True]

    run(story())


@every_switch
def test_a_stop_while_the_first_arming_is_unanswered_leaves_orders_resting(exchange: str) -> None:
    """The exchange heard it, we did not hear that it had."""

    async def story() -> None:
        async with simulated(exchange) as venue:
            async with opened(exchange, venue.url, venue.keys, shapes=()) as (gateway, reports):
                await reports.next(StreamUp)
                await _resting(exchange, gateway, reports)
            venue.strike(Rule(action="reset", kinds=("cancel_all",), when="after", count=1))
            async with opened(exchange, venue.url, venue.keys, shapes=(), exclusive=True) as (
                gateway,
                reports,
            ):
                async with asyncio.timeout(5):
                    while "not armed" not in str((await gateway.fetch_health())["problems"]):
                        await asyncio.sleep(0.05)
            venue.exchange.wake(venue.server.now() + 3600)
            assert [one.open for one in venue.exchange.orders.values()] == [True]

    run(story())


@every_switch
def test_a_stop_that_nobody_planned_leaves_the_switch_armed(exchange: str) -> None:
    """A broken engine may not come back: then nobody looks after what rests."""

    async def story() -> None:
        async with simulated(exchange) as venue:
            gateway = CcxtGateway(
                exchange, "default", venue.keys, mode="paper", base_url=venue.url, shapes=(), exclusive=True
            )
            reports = Reports()
            gateway.open(reports.deliver)
            await reports.next(StreamUp)
            await _resting(exchange, gateway, reports)
            await gateway.close(planned=False)
            venue.exchange.wake(venue.server.now() + 61)
            assert [one.open for one in venue.exchange.orders.values()] == [False]

    run(story())


@every_switch
def test_without_a_word_of_the_operator_nothing_is_armed(exchange: str) -> None:
    async def story() -> None:
        async with (
            simulated(exchange) as venue,
            opened(exchange, venue.url, venue.keys, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            order, exchange_order_id = await _resting(exchange, gateway, reports)
            venue.exchange.wake(venue.server.now() + 3600)
            assert [one.open for one in venue.exchange.orders.values()] == [True]
            switch = (await gateway.fetch_health())["dead_man"]
            assert isinstance(switch, dict) and switch["armed_until"] is None
            gateway.send(cancel_of(order, exchange_order_id))
            assert await reports.next(CancelAcked)

    run(story())


def test_where_there_is_no_switch_asking_for_one_is_told() -> None:
    async def story() -> None:
        async with simulated("binance") as venue:
            async with opened("binance", venue.url, venue.keys, shapes=(), exclusive=True) as (
                gateway,
                reports,
            ):
                await reports.next(StreamUp)
                problems = (await gateway.fetch_health())["problems"]
                assert isinstance(problems, list) and any("dead-man's switch" in one for one in problems)

    run(story())
