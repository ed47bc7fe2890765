"""The gateway against a simulated Coinbase Exchange: what all are held to, and what only this one does."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest

from ems.core.messages import (
    Acked,
    Balances,
    CancelAcked,
    CancelRefused,
    Ending,
    FillReport,
    Found,
    Liquidity,
    LookupFailed,
    MarketsLoaded,
    OpenOrders,
    OrderStatus,
    OutcomeUnknown,
    PublicTrade,
    QueryBalances,
    QueryOpenOrders,
    Refusal,
    Rejected,
    Side,
    StreamDown,
    StreamUp,
    TimeInForce,
    TradesAnswer,
    WatchBook,
)
from ems.venues.ccxt_gateway import CcxtGateway
from ems.venues.dialects import DIALECTS
from ems.venues.errors import refusal_of
from simulator.dialects import coinbaseexchange as simulator
from simulator.faults import Rule
from tests.venues import test_on_simulator as contract
from tests.venues.gateways import cancel_of, client_id, look_up, new_order, opened, trades_of
from tests.venues.simulated import KEYS, Simulated, simulated
from tests.venues.stories import D, rests_and_is_found, run

NAME = "coinbaseexchange"
COINBASE = DIALECTS[NAME]


# --- Markets, money, an order's life: the figures are Coinbase's ---


def test_what_people_read() -> None:
    async def story() -> None:
        async with (
            simulated(NAME) as venue,
            opened(NAME, venue.url, venue.keys, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            gateway.send(new_order(NAME, 1, quantity="0.1", price="19000"))
            assert isinstance(await reports.answer_to("order-1"), Acked)
            held = D("1900") * D("1.002")  # the fee is on top
            assert await gateway.fetch_balances() == {
                "BTC": {"free": D("2"), "used": D("0"), "total": D("2")},
                "USDT": {"free": 10_000 - held, "used": held, "total": D("10000")},
            }
            gateway.send(QueryBalances())
            balances = await reports.next(Balances)
            assert (balances.free["USDT"], balances.used["USDT"]) == (10_000 - held, held)
            fees = [{"symbol": "BTC/USDT", "maker": D("0.001"), "taker": D("0.002")}]
            assert await gateway.fetch_fees(None) == fees
            venue.exchange.withdraw(venue.account, "BTC", D("0.5"), venue.server.now(), fee=D("0.01"))
            begun = datetime.now(UTC) - timedelta(minutes=5)
            transfers = await gateway.fetch_transfers(begun, begun + timedelta(minutes=10))
            assert sorted((row.kind, row.currency, row.amount) for row in transfers) == [
                ("deposit", "BTC", D("2")),
                ("deposit", "USDT", D("10000")),
                ("withdrawal", "BTC", D("0.5")),
            ]
            assert all(row.at.tzinfo is UTC for row in transfers)
            health = await gateway.fetch_health()
            assert (health["reachable"], health["stream_up"]) == (True, True)

    run(story())


@pytest.mark.parametrize("by", ["our id", "Coinbase's id"])
def test_an_order_rests_is_found_three_ways_is_cancelled_and_forgotten(by: str) -> None:
    async def story() -> None:
        async with (
            simulated(NAME) as venue,
            opened(NAME, venue.url, venue.keys, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            began = datetime.now(UTC)
            order = new_order(NAME, 1, quantity="0.1", price="19000", post_only=True)
            acked = await rests_and_is_found(venue.symbol, gateway, reports, order)
            named = acked.exchange_order_id if by == "Coinbase's id" else None
            gateway.send(cancel_of(order, named))
            assert (await reports.next(CancelAcked)).filled_quantity is None
            # The only word about its end: the exchange forgets what was never filled.
            closed = await reports.next(OrderStatus, lambda status: status.found is Found.CLOSED)
            assert (closed.ending, closed.filled_quantity, closed.order_id) == (
                Ending.CANCELED,
                D("0"),
                order.order_id,
            )
            gateway.send(cancel_of(order, named))
            assert (await reports.next(CancelRefused)).refusal is Refusal.UNKNOWN_ORDER
            for exchange_order_id in (None, acked.exchange_order_id):
                gateway.send(look_up(order, exchange_order_id))
                gone = await reports.next(OrderStatus, lambda status: status.query_sent_at is not None)
                assert (gone.found, gone.filled_quantity) == (Found.NOT_FOUND, None)
            gateway.send(trades_of(order, began, acked.exchange_order_id))
            assert (await reports.next(TradesAnswer)).fills == ()
            gateway.send(QueryOpenOrders())
            assert (await reports.next(OpenOrders)).orders == ()

    run(story())


def facts(fills: Any) -> list[tuple[object, ...]]:
    names = (
        *("fill_id", "exchange_order_id", "symbol", "side", "price", "quantity", "fee", "fee_currency"),
        *("liquidity", "order_id", "client_order_id"),
    )
    return sorted(tuple(getattr(fill, name) for name in names) for fill in fills)


@pytest.mark.parametrize("side", [Side.BUY, Side.SELL])
def test_an_immediate_order_tells_its_end_by_stream_and_its_fills_when_asked(side: Side) -> None:
    async def story() -> None:
        async with (
            simulated(NAME) as venue,
            opened(NAME, venue.url, venue.keys, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            venue.set_book(size="0.1")
            began = datetime.now(UTC)
            price = "20011" if side is Side.BUY else "19999"  # two levels: 0.2 of the 0.3 wanted
            order = new_order(NAME, 1, side=side, quantity="0.3", price=price, time_in_force=TimeInForce.IOC)
            gateway.send(order)
            acked = await reports.next(Acked)
            # The answer says `pending` and nothing filled, whatever happened.
            assert (acked.ending, acked.filled_quantity, acked.fills) == (None, D("0"), ())
            ended = await reports.next(OrderStatus, lambda status: status.found is Found.CLOSED)
            assert (ended.ending, ended.filled_quantity, ended.quantity, ended.side) == (
                Ending.CANCELED,
                D("0.2"),
                D("0.3"),
                side,
            )
            # A match has no fee: it is a reason to ask and no fill.
            assert not reports.of(FillReport)
            told = {status.filled_quantity for status in reports.of(OrderStatus)}
            assert {D("0.1"), D("0.2")} <= told
            gateway.send(trades_of(order, began))
            by_client_id = (await reports.next(TradesAnswer)).fills
            gateway.send(trades_of(order, began, acked.exchange_order_id))
            by_exchange_id = (await reports.next(TradesAnswer)).fills
            for_people = await gateway.fetch_order_fills(venue.symbol, acked.exchange_order_id)
            assert facts(by_client_id) == facts(by_exchange_id) == facts(for_people)
            theirs = venue.account.fills
            assert sorted((f.price, f.quantity, f.fee) for f in by_exchange_id) == sorted(
                (f.price, f.quantity, f.fee) for f in theirs
            )
            for fill in by_exchange_id:
                assert (fill.fee, fill.fee_currency) == (fill.price * fill.quantity * D("0.002"), "USDT")
                assert (fill.liquidity, fill.side) == (Liquidity.TAKER, side)
                assert began.timestamp() - 1 < fill.at.timestamp() < datetime.now(UTC).timestamp() + 1

    run(story())


def test_an_immediate_order_without_a_fill_ends_by_the_stream_alone() -> None:
    async def story() -> None:
        async with (
            simulated(NAME) as venue,
            opened(NAME, venue.url, venue.keys, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            order = new_order(NAME, 1, quantity="0.1", price="19000", time_in_force=TimeInForce.IOC)
            gateway.send(order)
            acked = await reports.next(Acked)
            ended = await reports.next(OrderStatus, lambda status: status.found is Found.CLOSED)
            assert (ended.ending, ended.filled_quantity) == (Ending.CANCELED, D("0"))
            gateway.send(look_up(order, acked.exchange_order_id))
            gone = await reports.next(OrderStatus, lambda status: status.query_sent_at is not None)
            assert gone.found is Found.NOT_FOUND

    run(story())


@pytest.mark.parametrize("side", [Side.BUY, Side.SELL])
def test_a_market_order_is_of_the_base_currency(side: Side) -> None:
    async def story() -> None:
        async with (
            simulated(NAME) as venue,
            opened(NAME, venue.url, venue.keys, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            order = new_order(NAME, 1, side=side, quantity="0.25", price=None)
            gateway.send(order)
            await reports.next(Acked)
            ended = await reports.next(OrderStatus, lambda status: status.found is Found.CLOSED)
            assert (ended.ending, ended.filled_quantity, ended.quantity) == (
                Ending.FILLED,
                D("0.25"),
                D("0.25"),
            )
            gateway.send(look_up(order))
            seen = await reports.next(OrderStatus, lambda status: status.query_sent_at is not None)
            assert (seen.ending, seen.filled_quantity) == (Ending.FILLED, D("0.25"))

    run(story())


def test_a_resting_order_fills_as_maker_in_two_parts() -> None:
    async def story() -> None:
        async with (
            simulated(NAME) as venue,
            opened(NAME, venue.url, venue.keys, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            order = new_order(NAME, 1, quantity="0.1", price="20005", post_only=True)
            gateway.send(order)
            acked = await reports.next(Acked)
            venue.exchange.public_trade(venue.symbol, D("20005"), D("0.04"), "sell", venue.server.now())
            part = await reports.next(OrderStatus, lambda status: status.filled_quantity == D("0.04"))
            assert (part.found, part.order_id, part.side) == (Found.OPEN, order.order_id, Side.BUY)
            venue.exchange.public_trade(venue.symbol, D("20005"), D("0.06"), "sell", venue.server.now())
            await reports.next(
                OrderStatus,
                lambda status: status.found is Found.OPEN and status.filled_quantity == D("0.1"),
            )
            ended = await reports.next(OrderStatus, lambda status: status.found is Found.CLOSED)
            assert (ended.ending, ended.filled_quantity) == (Ending.FILLED, D("0.1"))
            fills = await gateway.fetch_order_fills(venue.symbol, acked.exchange_order_id)
            assert [(f.quantity, f.liquidity, f.fee) for f in sorted(fills, key=lambda f: f.quantity)] == [
                (D("0.04"), Liquidity.MAKER, D("0.8002")),
                (D("0.06"), Liquidity.MAKER, D("1.2003")),
            ]

    run(story())


# --- What only this exchange does ---


def watched(venue: Simulated, path: str) -> list[Any]:
    """Collect the requests whose path begins so, from now on."""
    seen: list[Any] = []
    handle = venue.dialect.handle

    def look(request: Any) -> Any:
        if request.path.startswith(path):
            seen.append(request)
        return handle(request)

    venue.dialect.handle = look  # type: ignore[method-assign]
    return seen


def test_a_client_id_is_never_sent_twice_for_the_exchange_would_take_it() -> None:
    async def story() -> None:
        async with simulated(NAME) as venue:
            order = new_order(NAME, 1, quantity="0.1", price="19000")
            async with opened(NAME, venue.url, venue.keys, shapes=()) as (gateway, reports):
                gateway.send(order)
                await reports.next(Acked)
                gateway.send(order)
                again = await reports.next(OutcomeUnknown)
                assert "sent before" in again.message
                assert len(venue.orders()) == 1
            # That it would: whoever restarts has to look, as the engine does.
            async with opened(NAME, venue.url, venue.keys, shapes=()) as (gateway, reports):
                gateway.send(order)
                await reports.next(Acked)
            assert len(venue.orders()) == 2

    run(story())


def test_a_cancel_names_the_product_in_its_query_and_by_the_exchanges_name() -> None:
    async def story() -> None:
        async with simulated(NAME) as venue:
            seen = watched(venue, "/orders/")
            async with opened(NAME, venue.url, venue.keys, shapes=()) as (gateway, reports):
                order = new_order(NAME, 1, quantity="0.1", price="19000")
                gateway.send(order)
                acked = await reports.next(Acked)
                gateway.send(cancel_of(order))
                await reports.next(CancelAcked)
                gateway.send(cancel_of(order, acked.exchange_order_id))
                await reports.next(CancelRefused)
        assert [(one.method, one.path, one.query, one.form) for one in seen] == [
            ("DELETE", f"/orders/client:{client_id(1)}", "product_id=BTC-USDT", ""),
            ("DELETE", f"/orders/{acked.exchange_order_id}", "product_id=BTC-USDT", ""),
        ]

    run(story())


def test_a_create_says_what_is_wanted_and_nothing_more() -> None:
    async def story() -> None:
        async with simulated(NAME) as venue:
            seen = watched(venue, "/orders")
            async with opened(NAME, venue.url, venue.keys, shapes=()) as (gateway, reports):
                for order in (
                    new_order(NAME, 1, quantity="0.1", price="19000", post_only=True),
                    new_order(NAME, 2, quantity="0.1", price="19000", time_in_force=TimeInForce.IOC),
                    new_order(NAME, 3, quantity="0.1", price=None, side=Side.SELL),
                ):
                    gateway.send(order)
                    await reports.next(Acked)
        same = {"product_id": "BTC-USDT", "size": "0.1", "stp": "cn"}
        limit = {**same, "type": "limit", "side": "buy", "price": "19000"}
        assert [json.loads(one.form) for one in seen] == [
            {**limit, "client_oid": client_id(1), "post_only": True},
            {**limit, "client_oid": client_id(2), "time_in_force": "IOC"},
            {**same, "type": "market", "side": "sell", "client_oid": client_id(3)},
        ]

    run(story())


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("fault", ["refuse", "hang", "empty", "html", "object", "status 503", "failure 500"])
def test_a_cancel_that_goes_wrong_proves_nothing(when: Any, fault: str) -> None:
    async def story() -> None:
        action, _, status = fault.partition(" ")
        async with simulated(NAME) as venue:
            async with opened(NAME, venue.url, venue.keys, shapes=(), request_timeout_s=0.3) as (
                gateway,
                reports,
            ):
                await reports.next(StreamUp)
                order = new_order(NAME, 1, quantity="0.1", price="19000")
                gateway.send(order)
                acked = await reports.next(Acked)
                venue.strike(Rule(action=action, when=when, kinds=("cancel",), status=int(status or 500)))
                gateway.send(cancel_of(order, acked.exchange_order_id))
                answer = await reports.next(
                    object, lambda report: isinstance(report, CancelAcked | CancelRefused | OutcomeUnknown)
                )
                # A DELETE goes out twice when a connection was closed; then the second finds it gone.
                if isinstance(answer, CancelRefused):
                    assert (fault, when, answer.refusal) == ("refuse", "after", Refusal.UNKNOWN_ORDER)
                else:
                    assert isinstance(answer, OutcomeUnknown) and answer.request == "cancel"
                venue.strike()
                gateway.send(look_up(order, acked.exchange_order_id))
                seen = await reports.next(OrderStatus, lambda status: status.query_sent_at is not None)
                assert seen.found is (Found.NOT_FOUND if when == "after" else Found.OPEN)
                ends = [status for status in reports.of(OrderStatus) if status.found is Found.CLOSED]
                assert len(ends) == (1 if when == "after" else 0)

    run(story())


def test_lost_doubled_and_reordered_events_change_no_facts() -> None:
    async def story() -> None:
        async with (
            simulated(NAME) as venue,
            opened(NAME, venue.url, venue.keys, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            began = datetime.now(UTC)
            for number, action in enumerate(("lost", "duplicate", "reorder"), 1):
                venue.strike(Rule(action=action, kinds=("orders", "fills")))
                order = new_order(NAME, number, quantity="0.1", price="20010", time_in_force=TimeInForce.IOC)
                gateway.send(order)
                acked = await reports.next(Acked)
                if action == "lost":
                    await asyncio.sleep(0.1)
                    assert not reports.of(OrderStatus)
                else:
                    ended = await reports.next(OrderStatus, lambda status: status.found is Found.CLOSED)
                    # Whatever came in whatever sequence: never more filled than was, and what is not known
                    # for sure is not said.
                    assert ended.filled_quantity in (D("0.1"), None)
                    await asyncio.sleep(0.1)
                    told = [status.filled_quantity or D(0) for status in reports.of(OrderStatus)]
                    assert max(told, default=D(0)) <= D("0.1")
                gateway.send(trades_of(order, began, acked.exchange_order_id))
                assert [fill.quantity for fill in (await reports.next(TradesAnswer)).fills] == [D("0.1")]
                reports.all.clear()

    run(story())


def test_after_a_break_the_end_of_an_order_is_told_without_a_quantity_that_nobody_knows() -> None:
    """Its size was told on the connection that broke, and it may have become smaller since."""

    async def story() -> None:
        async with (
            simulated(NAME) as venue,
            opened(NAME, venue.url, venue.keys, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            order = new_order(NAME, 1, quantity="0.1", price="19000")
            gateway.send(order)
            acked = await reports.next(Acked)
            await venue.server.cut()
            await reports.next(StreamDown)
            await reports.next(StreamUp)
            venue.exchange.cancel_all(venue.account, now=venue.server.now())
            ended = await reports.next(OrderStatus, lambda status: status.found is Found.CLOSED)
            assert (ended.exchange_order_id, ended.filled_quantity, ended.ending) == (
                acked.exchange_order_id,
                None,
                Ending.CANCELED,
            )

    run(story())


def test_an_order_made_smaller_by_another_of_the_account_ends_with_what_was_filled() -> None:
    async def story() -> None:
        async with (
            simulated(NAME) as venue,
            opened(NAME, venue.url, venue.keys, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            waits = new_order(NAME, 1, quantity="0.3", price="20005")
            gateway.send(waits)
            await reports.next(Acked)
            # Placed by hand, without our wish that the newer of two is cancelled: both get smaller.
            venue.exchange.create_order(
                venue.account, venue.symbol, "sell", "limit", D("0.1"), D("20005"),
                self_trade=simulator.SELF_TRADES["dc"], now=venue.server.now(),
            )  # fmt: skip
            gone = await reports.next(OrderStatus, lambda status: status.found is Found.CLOSED)
            assert (gone.order_id, gone.filled_quantity) == (None, D("0"))
            venue.exchange.public_trade(venue.symbol, D("20005"), D("0.2"), "sell", venue.server.now())
            ended = await reports.next(OrderStatus, lambda status: status.found is Found.CLOSED)
            assert (ended.order_id, ended.filled_quantity) == ("order-1", D("0.2"))
            assert [(fill.quantity, fill.side) for fill in venue.account.fills] == [(D("0.2"), "buy")]

    run(story())


USER = {
    "user_id": "u",
    "profile_id": "p",
    "product_id": "BTC-USDT",
    "side": "buy",
    "time": "2026-01-01T00:00:00Z",
}


def test_rows_of_the_stream_that_the_simulator_does_not_send() -> None:
    async def story() -> None:
        async with (
            simulated(NAME) as venue,
            opened(NAME, venue.url, venue.keys, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)

            def read(**frame: object) -> list[Any]:
                whole = {**USER, **frame}
                assert COINBASE.stream.is_private(whole)
                return list(COINBASE.stream.read(gateway._ccxt, whole))

            # `change` told twice makes an order smaller once.
            read(type="received", sequence=100, order_id="o-1", size="1", order_type="limit")
            change = {"type": "change", "order_id": "o-1", "old_size": "1", "new_size": "0.6"}
            assert read(sequence=101, **change) == read(sequence=101, **change) == []
            (done,) = read(type="done", sequence=102, order_id="o-1", reason="canceled", remaining_size="0.5")
            assert (done.filled_quantity, done.quantity) == (D("0.1"), D("0.6"))
            # A filled order whose size was not told here: who reads it has to look.
            (done,) = read(type="done", sequence=103, order_id="o-2", reason="filled", remaining_size="0")
            assert (done.found, done.ending, done.filled_quantity) == (Found.CLOSED, Ending.CANCELED, None)
            # A market order that did not find enough.
            read(type="received", sequence=104, order_id="o-3", size="1", order_type="market")
            (done,) = read(type="done", sequence=105, order_id="o-3", reason="canceled")
            assert (done.filled_quantity, done.ending) == (None, Ending.CANCELED)
            # Both sides of a trade told twice are one trade.
            match = {
                "type": "match", "trade_id": 7, "maker_order_id": "o-4", "taker_order_id": "x", "size": "0.2",
                "price": "20000", "maker_profile_id": "p", "maker_fee_rate": "0.004",
            }  # fmt: skip
            for sequence in (106, 106, 90):
                (status,) = read(sequence=sequence, **match)
                assert (status.exchange_order_id, status.filled_quantity, status.side) == (
                    "o-4",
                    D("0.2"),
                    Side.BUY,
                )
            (status,) = read(sequence=107, **{**match, "trade_id": 8, "size": "0.1"})
            assert status.filled_quantity == D("0.3")
            # What is old and says nothing new.
            assert read(type="open", sequence=50, order_id="o-5", remaining_size="1", price="1") == []
            assert not COINBASE.stream.is_private({**USER, "type": "status"})
            assert not COINBASE.stream.is_private({"type": "match", "product_id": "BTC-USDT"})

    run(story())


def test_a_refused_login_is_a_stream_that_is_down_and_says_why() -> None:
    async def story() -> None:
        async with simulated(NAME) as venue:
            venue.exchange.revoke_key(venue.keys.public)
            async with opened(NAME, venue.url, venue.keys, shapes=()) as (_, reports):
                assert "Invalid API Key" in (await reports.next(StreamDown)).message
                venue.exchange.revoke_key(venue.keys.public, False)
                await reports.next(StreamUp)

    run(story())


def test_the_live_stream_is_where_ccxt_opens_it() -> None:
    async def story() -> None:
        gateway = CcxtGateway(NAME, "default", KEYS, mode="live")
        assert COINBASE.stream.url(gateway._ccxt) == "wss://ws-feed.exchange.coinbase.com?"
        await gateway._ccxt.close()

    run(story())


def test_public_trades_are_told_with_the_takers_side_and_our_own_are_not_among_them() -> None:
    async def story() -> None:
        async with (
            simulated(NAME) as venue,
            opened(NAME, venue.url, venue.keys, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            gateway.send(WatchBook(symbol=venue.symbol))
            async with asyncio.timeout(5):
                while not reports.of(PublicTrade):
                    venue.exchange.public_trade(
                        venue.symbol, D("20010"), D("0.0003"), "buy", venue.server.now()
                    )
                    await asyncio.sleep(0.05)
            trade = reports.of(PublicTrade)[0]
            assert (trade.symbol, trade.price, trade.quantity, trade.side) == (
                venue.symbol,
                D("20010"),
                D("0.0003"),
                Side.BUY,
            )

    run(story())


def test_a_market_that_was_halted_is_not_active() -> None:
    async def story() -> None:
        async with simulated(NAME) as venue:
            venue.exchange.set_mode("cancel_only", venue.server.now(), venue.symbol)
            async with opened(NAME, venue.url, venue.keys, wait=False, shapes=()) as (_, reports):
                (market,) = (await reports.next(MarketsLoaded)).markets
                assert (market.active, market.tick) == (False, D("0.1"))

    run(story())


# --- Pages ---


def test_open_orders_fills_and_histories_are_read_to_the_last_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulator, "PAGE_MAX", 10)

    async def story() -> None:
        async with (
            simulated(NAME, limits=False) as venue,
            opened(NAME, venue.url, venue.keys, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            began = datetime.now(UTC)
            asks = [(D("20010") + D("0.1") * level, D("0.001")) for level in range(45)]
            venue.exchange.set_book(venue.symbol, [(D("20000"), D("1"))], asks, venue.server.now())
            order = new_order(NAME, 1, quantity="0.045", price="20040", time_in_force=TimeInForce.IOC)
            gateway.send(order)
            acked = await reports.next(Acked)
            fills = await gateway.fetch_order_fills(venue.symbol, acked.exchange_order_id)
            assert len({fill.fill_id for fill in fills}) == len(fills) == 45
            for number in range(25):
                venue.exchange.create_order(
                    venue.account, venue.symbol, "buy", "limit", D("0.001"), D("10000"),
                    client_order_id=client_id(100 + number), now=venue.server.now(),
                )  # fmt: skip
            # Others that traded since, of whom the gateway knows nothing.
            for number in range(12):
                venue.exchange.create_order(
                    venue.account, venue.symbol, "sell", "market", D("0.001"),
                    client_order_id=client_id(200 + number), now=venue.server.now(),
                )  # fmt: skip
            gateway.send(QueryOpenOrders())
            listed = (await reports.next(OpenOrders)).orders
            assert {one.client_order_id for one in listed} == {client_id(100 + n) for n in range(25)}
            venue.strike(Rule(action="hide_closed", kinds=("fetch",)))
            gateway.send(trades_of(order, began))
            by_history = (await reports.next(TradesAnswer)).fills
            assert {fill.fill_id for fill in by_history} == {fill.fill_id for fill in fills}

    run(story())


def test_fills_that_are_not_all_listed_yet_are_no_answer() -> None:
    async def story() -> None:
        async with (
            simulated(NAME) as venue,
            opened(NAME, venue.url, venue.keys, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            order = new_order(NAME, 1, quantity="0.1", price="20010", time_in_force=TimeInForce.IOC)
            gateway.send(order)
            acked = await reports.next(Acked)
            await reports.next(OrderStatus, lambda status: status.found is Found.CLOSED)
            venue.strike(Rule(action="lag_orders", kinds=("my_trades",), seconds=(60.0, 60.0)))
            gateway.send(trades_of(order, datetime.now(UTC), acked.exchange_order_id))
            failed = await reports.next(LookupFailed)
            assert "not all of its trades" in failed.message

    run(story())


# --- Limits and storms ---


def test_a_burst_keeps_within_the_limits_that_the_exchange_has() -> None:
    """Thirty at once and fifteen a second are the limits; forty at once wait their turn, none is refused."""

    async def story() -> None:
        async with simulated(NAME) as venue, opened(NAME, venue.url, venue.keys) as (gateway, reports):
            for number in range(40):
                gateway.send(new_order(NAME, number, quantity="0.001", price="10000"))
            answers = [await reports.answer_to(f"order-{number}") for number in range(40)]
            assert {type(answer) for answer in answers} == {Acked}
            assert len(venue.orders()) == 40

    run(story())


@pytest.mark.parametrize("seed", [1, 2])
def test_in_a_storm_no_order_is_denied_that_exists_nor_placed_twice(seed: int) -> None:
    async def story() -> None:
        async with simulated(NAME, limits=False) as venue:
            venue.server.faults.rng = Random(seed)
            wrong = (
                *("reset", "hang", "truncate", "empty", "html", "null", "object", "half", "rate_limit"),
                "failure",
            )
            storm = [
                Rule(action=action, when=when, kinds=("create",), probability=0.07)
                for action in wrong
                for when in ("before", "after")
            ]
            said: dict[int, object] = {}
            async with opened(NAME, venue.url, venue.keys, shapes=(), request_timeout_s=0.3) as (
                gateway,
                reports,
            ):
                await reports.next(StreamUp)
                venue.strike(*storm)
                for number in range(30):
                    gateway.send(new_order(NAME, number, quantity="0.001", price="19000"))
                    said[number] = await reports.next(
                        object, lambda report: isinstance(report, Acked | Rejected | OutcomeUnknown)
                    )
            venue.strike()
            placed = {order.client_order_id for order in venue.exchange.orders.values()}
            assert len(placed) == len(venue.orders())
            assert {type(answer) for answer in said.values()} == {Acked, OutcomeUnknown}
            async with opened(NAME, venue.url, venue.keys, shapes=()) as (gateway, reports):
                for number, answer in said.items():
                    gateway.send(look_up(new_order(NAME, number, quantity="0.001", price="19000")))
                    seen = await reports.answer_to(f"order-{number}")
                    exists = client_id(number) in placed
                    assert seen.found is (Found.OPEN if exists else Found.NOT_FOUND)
                    assert exists or isinstance(answer, OutcomeUnknown)

    run(story())


# --- What an answer means ---


def said(words: object, status: int = 400) -> tuple[int, object]:
    return status, {"message": words}


REJECTED = {"id": "1", "status": "rejected", "reject_reason": "post only", "filled_size": "0"}

MEANINGS = [
    # answer, as the answer to a create, as that to a cancel (None: unknown)
    (said("Insufficient funds"), "INSUFFICIENT_FUNDS", None),
    (said("size is too small. Minimum size is 0.001"), "MIN_SIZE", None),
    (said("funds is too small. Minimum size is 1.00000000"), "MIN_SIZE", None),
    (said("size is too accurate. Smallest unit is 0.00000001"), "LOT_TICK", None),
    (said("price is too accurate. Smallest unit is 0.01000000"), "LOT_TICK", None),
    (said("size is too large. Maximum size is 70"), "PERMANENT", None),
    (said("Trading pair not available"), "MARKET_CLOSED", None),
    (said("Cancel only mode"), "MARKET_CLOSED", None),
    (said("Post only mode"), "MARKET_CLOSED", None),
    (said("Product not found", 404), "PERMANENT", "PERMANENT"),
    (said("Invalid API Key", 401), "AUTH", "AUTH"),
    (said("invalid signature", 401), "AUTH", "AUTH"),
    (said("Invalid Passphrase", 401), "AUTH", "AUTH"),
    (said("Forbidden", 403), "AUTH", "AUTH"),
    (said("request timestamp expired", 401), "CLOCK", "CLOCK"),
    (said("request timestamp expired", 400), "CLOCK", "CLOCK"),  # so it was told in 2017
    (said("order not found", 404), None, "UNKNOWN_ORDER"),
    (said("NotFound", 404), None, "UNKNOWN_ORDER"),
    (said("Order already done"), None, "UNKNOWN_ORDER"),
    ((200, REJECTED), "POST_ONLY_WOULD_CROSS", None),
    # What the front says may be about a repetition.
    (said("Private rate limit exceeded", 429), None, "RATE_LIMIT"),
    (said("Public rate limit exceeded", 429), None, "RATE_LIMIT"),
    # Not a no: new words, nearly the same words, the wrong shape, a gateway's words, an order beside them.
    (said("Something else"), None, None),
    (said("Insufficient funds."), None, None),
    (said("insufficient funds"), None, None),
    (said("size is too small. Minimum size is unknown"), None, None),
    (said(""), None, None),
    (said(17), None, None),
    (said("Insufficient funds", 500), None, None),
    (said("Insufficient funds", 200), None, None),
    (said("under maintenance", 503), None, None),
    ((400, {"message": "Insufficient funds", "id": "1"}), None, None),
    ((400, ["Insufficient funds"]), None, None),
    ((400, None), None, None),
    ((200, {**REJECTED, "reject_reason": "of next year"}), None, None),
    ((200, {**REJECTED, "status": "pending"}), None, None),
    ((500, REJECTED), None, None),
]


@pytest.mark.parametrize(("answer", "create", "cancel"), MEANINGS)
def test_what_an_answer_means(answer: tuple[int, object], create: str | None, cancel: str | None) -> None:
    words = COINBASE.words.said(*answer)
    for refusals, meaning in (
        (COINBASE.words.create_refusals, create),
        (COINBASE.words.cancel_refusals, cancel),
    ):
        assert refusal_of(words, refusals) == (None if meaning is None else Refusal(meaning))


@pytest.mark.parametrize(
    ("body", "done"),
    [
        ("0c5e1a7e-5eed-4000-8000-000000000001", True),
        ("", False),
        ("ok", False),
        ([], False),
        ({}, False),
        (None, False),
    ],
)
def test_a_cancel_is_done_when_the_orders_id_comes_back(body: object, done: bool) -> None:
    assert COINBASE.cancelled(body) is done


def test_bittrex_speaks_the_same_and_has_no_live_one() -> None:
    contract.test_a_halted_market_says_so("bittrex")
    with pytest.raises(ValueError, match="on paper only"):
        CcxtGateway("bittrex", "default", KEYS, mode="live")
