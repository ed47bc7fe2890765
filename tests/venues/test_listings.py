"""What an exchange lists of the past, read through the real gateway and kept: whole, once, gaps named."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from ems.core.messages import StreamUp
from ems.histories import Histories, NotListed, Page
from ems.store import MemoryStore
from ems.venues.ccxt_gateway import CcxtGateway
from ems.venues.dialects import DIALECTS
from ems.venues.gateway import VenueUnavailable
from simulator.faults import Rule
from simulator.triggers import stop_or_profit
from tests.venues.gateways import client_id, opened
from tests.venues.simulated import Simulated, simulated
from tests.venues.stories import run

LIST_ORDERS = sorted(name for name, dialect in DIALECTS.items() if dialect.past_orders is not None)
LIST_TRANSFERS = sorted(name for name, dialect in DIALECTS.items() if dialect.transfers is not None)
lists_orders = pytest.mark.parametrize("exchange", LIST_ORDERS)
lists_transfers = pytest.mark.parametrize("exchange", LIST_TRANSFERS)
D = Decimal
HOUR = timedelta(hours=1)


@dataclass
class World:
    venue: Simulated
    gateway: CcxtGateway
    store: MemoryStore
    histories: Histories
    ahead: timedelta = timedelta()  # how much later it is for us than for the exchange

    async def ask(self, what: Callable[..., Page], **wanted: Any) -> Page:
        """Ask as a Flask thread does, while the loop goes on."""
        wanted = {"since": None, "until": None, "limit": 100, "cursor": None, **wanted}
        return await asyncio.to_thread(what, self.gateway.exchange, "default", **wanted)

    async def orders(self, **wanted: Any) -> Page:
        return await self.ask(self.histories.orders, **{"user": None, "symbol": self.venue.symbol, **wanted})

    async def transfers(self, **wanted: Any) -> Page:
        return await self.ask(self.histories.transfers, **{"currency": None, **wanted})


@asynccontextmanager
async def world_of(exchange: str, *, limited: bool = False) -> AsyncIterator[World]:
    options: dict[str, Any] = {"shapes": None if limited else (), "request_timeout_s": 5}
    async with simulated(exchange) as venue:
        async with opened(exchange, venue.url, venue.keys, **options) as (gateway, reports):
            await reports.next(StreamUp, within_s=10)
            loop = asyncio.get_running_loop()

            def wait(work: Coroutine[Any, Any, Any], timeout_s: float) -> Any:
                return asyncio.run_coroutine_threadsafe(work, loop).result(timeout_s)

            store = MemoryStore()
            gateways = {(exchange, "default"): gateway}
            histories = Histories(store, gateways, wait, lambda: datetime.now(UTC) + world.ahead)
            world = World(venue, gateway, store, histories)
            yield world


def place(
    venue: Simulated,
    ago: timedelta,
    *,
    side: str = "buy",
    price: str = "15000",
    quantity: str = "0.01",
    cancel: bool = False,
    client_order_id: str = "",
) -> Any:
    """Have an order that was placed some time ago, by hand: not through us."""
    now = venue.server.now()
    order = venue.exchange.create_order(
        venue.account,
        venue.symbol,
        side,  # type: ignore[arg-type]
        "limit",
        D(quantity),
        D(price),
        client_order_id=client_order_id,
        now=now,
    )
    if cancel:
        venue.exchange.cancel_order(venue.account, order.order_id, now=now)
    before = now - ago.total_seconds()
    order.created_at = order.updated_at = before
    order.history = [(before, *entry[1:]) for entry in order.history]
    return order


def truth(order: Any) -> tuple[Any, ...]:
    words = {"submitted": "submitted", "partially_filled": "partially_filled"}
    return (
        order.side,
        order.price,
        order.quantity,
        order.filled_quantity,
        words.get(order.status, order.status),
    )


def told(page: Page) -> list[tuple[Any, ...]]:
    return [
        (
            str(one.order.side),
            one.order.price,
            one.order.quantity,
            one.order.filled_quantity,
            one.order.status,
        )
        for one in page.rows
    ]


@lists_orders
def test_orders_of_anybody_are_listed_as_they_are(exchange: str) -> None:
    async def story() -> None:
        async with world_of(exchange) as world:
            canceled = place(world.venue, 3 * HOUR, cancel=True, price="14000")
            filled = place(world.venue, 2 * HOUR, side="sell", price="20000", quantity="0.1")
            resting = place(world.venue, HOUR, price="15000")
            assert filled.status == "filled"
            page = await world.orders()
            assert page.complete
            listed = told(page)
            expected = [truth(resting), truth(filled), truth(canceled)]
            # What an exchange does not list of orders without a fill is said, never passed over in silence.
            if listed != expected:
                assert page.notes, listed
                expected = [one for one in expected if one[3] or one[4] == "submitted"]
            assert listed == expected
            sold = next(one.order for one in page.rows if one.order.status == "filled")
            assert sold.quote_filled == sum(fill.quote_quantity for fill in filled.fills)
            assert abs((sold.created_at - (datetime.now(UTC) - 2 * HOUR)).total_seconds()) < 60

    run(story())


@lists_orders
def test_pages_follow_one_another_without_gap_or_repeat(exchange: str) -> None:
    async def story() -> None:
        async with world_of(exchange) as world:
            orders = [
                place(world.venue, number * HOUR, side="sell", price="20000", quantity=f"0.0{number:02d}")
                for number in range(1, 8)
            ]
            quantities: list[Decimal] = []
            cursor = None
            for _ in range(4):
                page = await world.orders(limit=3, cursor=cursor)
                quantities += [one.order.quantity for one in page.rows]
                cursor = page.next_cursor
                if cursor is None:
                    break
            assert quantities == [order.quantity for order in orders]
            with pytest.raises(ValueError, match="cursor"):
                await world.orders(cursor="page two")

    run(story())


@lists_orders
def test_what_was_read_whole_is_not_read_again(exchange: str) -> None:
    async def story() -> None:
        async with world_of(exchange) as world:
            place(world.venue, 5 * HOUR, side="sell", price="20000", quantity="0.1")
            until = datetime.now(UTC) - HOUR
            first = await world.orders(since=until - 6 * HOUR, until=until)
            world.venue.strike(Rule(action="status", status=503))
            again = await world.orders(since=until - 6 * HOUR, until=until)
            assert (again.complete, told(again)) == (True, told(first)) and len(told(first)) == 1
            # The newest minutes are asked for every time; when that fails it is said, and the rest is shown.
            now = await world.orders(since=until - 6 * HOUR)
            assert not now.complete and told(now) == told(first)
            assert any("not read before" in note for note in now.notes)

    run(story())


@lists_orders
def test_an_order_that_was_open_is_read_again_until_it_has_ended(exchange: str) -> None:
    async def story() -> None:
        async with world_of(exchange) as world:
            order = place(world.venue, 3 * HOUR)
            assert [one[4] for one in told(await world.orders())] == ["submitted"]
            world.venue.exchange.cancel_order(
                world.venue.account, order.order_id, now=world.venue.server.now()
            )
            page = await world.orders()
            assert [one[4] for one in told(page)] == ["canceled"] or page.notes

    run(story())


@lists_orders
def test_an_exchange_that_cannot_be_asked_and_nothing_kept_is_an_error(exchange: str) -> None:
    async def story() -> None:
        async with world_of(exchange) as world:
            world.venue.strike(Rule(action="status", status=503))
            with pytest.raises(VenueUnavailable):
                await world.orders()

    run(story())


@lists_orders
def test_whose_order_it_was_is_known_where_it_was_ours(exchange: str) -> None:
    async def story() -> None:
        async with world_of(exchange) as world:
            named = {
                "client_order_id": f"{7:032x}"
                if exchange == "okx"
                else "00000000-0000-4000-8000-000000000007"
            }
            place(world.venue, HOUR, side="sell", price="20000", quantity="0.1", **named)
            from tests.builders import order as ours

            kept = ours(
                order_id="q1.1.1",
                user="bob",
                bot="bot-7",
                exchange=exchange,
                symbol=world.venue.symbol,
                **named,
            )
            world.store.orders[kept.order_id] = kept
            everything = await world.orders()
            assert [(one.order_id, one.user, one.bot) for one in everything.rows] == [
                ("q1.1.1", "bob", "bot-7")
            ]
            assert (await world.orders(user="alice")).rows == []
            assert len((await world.orders(user="bob")).rows) == 1

    run(story())


def test_a_market_must_be_named_where_the_exchange_lists_one_at_a_time() -> None:
    async def story() -> None:
        async with world_of("binance") as world:
            with pytest.raises(NotListed, match="symbol"):
                await world.orders(symbol=None)

    run(story())


@lists_transfers
def test_deposits_and_withdrawals_are_listed_and_paged(exchange: str) -> None:
    async def story() -> None:
        async with world_of(exchange) as world:
            venue = world.venue
            now = venue.server.now()
            for number in range(1, 5):
                venue.exchange.deposit(
                    venue.account, "BTC", D(number) / 10, now, address="a", txid=f"in-{number}"
                )
            venue.exchange.withdraw(venue.account, "BTC", D("0.25"), now, address="b", txid="out-1")
            for ago, transfer in enumerate(reversed(venue.account.transfers)):
                object.__setattr__(transfer, "time", now - 3600 * (ago + 1))
            rows: list[Any] = []
            cursor = None
            for _ in range(5):
                page = await world.transfers(limit=3, cursor=cursor)
                assert page.complete
                rows += page.rows
                cursor = page.next_cursor
                if cursor is None:
                    break
            assert [(row.kind, row.currency, row.amount) for row in rows] == [
                (one.kind, one.currency, one.amount) for one in reversed(venue.account.transfers)
            ]
            assert all(row.at.tzinfo is UTC and row.status == "ok" and row.final for row in rows)
            only = await world.transfers(currency="BTC")
            assert {row.currency for row in only.rows} == {"BTC"}
            venue.strike(Rule(action="status", status=503))
            until = datetime.now(UTC) - HOUR / 2
            kept = await world.transfers(since=until - timedelta(days=20), until=until)
            assert len(kept.rows) == len(rows) and kept.complete

    run(story())


def test_a_full_page_is_asked_for_in_halves() -> None:
    """OKX gives a hundred deposits at a time."""

    async def story() -> None:
        async with world_of("okx", limited=True) as world:
            venue = world.venue
            now = venue.server.now()
            for number in range(230):
                venue.exchange.deposit(venue.account, "BTC", D("0.001"), now, txid=f"in-{number}")
            for ago, transfer in enumerate(reversed(venue.account.transfers)):
                object.__setattr__(transfer, "time", now - 3000 * (ago + 1))
            page = await world.transfers(limit=1000, currency="BTC")
            within = [
                one
                for one in venue.account.transfers
                if one.currency == "BTC" and one.time > now - 28 * 86400
            ]
            assert page.complete and len(page.rows) == len(within) > 200

    run(story())


@pytest.mark.parametrize(
    "exchange", sorted(name for name, dialect in DIALECTS.items() if dialect.tier is not None)
)
def test_the_tier_is_told(exchange: str) -> None:
    async def story() -> None:
        async with world_of(exchange) as world:
            tier = await world.gateway.fetch_tier()
            assert tier is not None and (tier["name"] or tier["volume_30d"] is not None)

    run(story())


# --- Orders that wait, among the past ones ---


def stopped(venue: Simulated, ago: timedelta, number: int, stop_price: str, price: str) -> Any:
    """Have an order that waits, placed some time ago."""
    now = venue.server.now()
    order = venue.exchange.create_order(
        venue.account,
        venue.symbol,
        "sell",
        "limit",
        D("0.01"),
        D(price),
        client_order_id=client_id(number, DIALECTS[venue.exchange.name].client_id_style),
        trigger=stop_or_profit("stop_loss", "sell", D(stop_price)),
        now=now,
    )
    order.created_at = now - ago.total_seconds()
    return order


@pytest.mark.parametrize("exchange", [one for one in LIST_ORDERS if DIALECTS[one].triggers is not None])
def test_orders_that_wait_fired_or_never_did_are_listed(exchange: str) -> None:
    async def story() -> None:
        async with world_of(exchange) as world:
            venue = world.venue
            venue.exchange.public_trade(venue.symbol, D("20005"), D("0.001"), "buy", venue.server.now())
            waits = stopped(venue, 4 * HOUR, 1, "15000", "14900")
            fired = stopped(venue, 3 * HOUR, 2, "19990", "19900")
            never = stopped(venue, 2 * HOUR, 3, "15000", "14900")
            early = stopped(venue, 30 * HOUR, 4, "15000", "14900")
            for order in (never, early):
                venue.exchange.cancel_order(venue.account, order.order_id, now=venue.server.now())
            venue.exchange.public_trade(venue.symbol, D("19990"), D("0.001"), "sell", venue.server.now())
            assert (waits.waiting, fired.status, never.status) == (True, "filled", "canceled")
            now = datetime.now(UTC)
            # At OKX one that fired began when it did, which is a moment ago.
            told = await world.gateway.fetch_past_orders(venue.symbol, now - 22 * HOUR, now + HOUR)
            found = sorted((one.client_order_id, one.status, one.filled_quantity) for one in told)
            expected = [
                (waits.client_order_id, "submitted", D("0")),
                (fired.client_order_id, "filled", D("0.01")),
                (never.client_order_id, "canceled", D("0")),
            ]
            if DIALECTS[exchange].purges:
                del expected[2]
            assert found == expected
            assert {one.quantity for one in told} == {D("0.01")}

    run(story())
