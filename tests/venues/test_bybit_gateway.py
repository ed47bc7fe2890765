"""The gateway against a simulated Bybit: what every exchange is held to, and what only Bybit does."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from urllib.parse import parse_qs

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
from simulator.dialects.bybit_words import fill_name, order_name
from simulator.faults import Rule
from tests.venues.gateways import cancel_of, client_id, look_up, new_order, opened, trades_of
from tests.venues.simulated import KEYS, simulated
from tests.venues.stories import D, rests_and_is_found, run

BYBIT = DIALECTS["bybit"]


# --- Markets, money, an order's life: the figures are Bybit's ---


def test_markets_come_with_rules_and_the_accounts_own_fees() -> None:
    async def story() -> None:
        async with (
            simulated("bybit") as venue,
            opened("bybit", venue.url, KEYS, wait=False, shapes=()) as (_, reports),
        ):
            (market,) = (await reports.next(MarketsLoaded)).markets
            assert (market.symbol, market.tick, market.lot, market.min_quantity) == (
                "BTC/USDT",
                D("0.1"),
                D("0.0001"),
                D("0.0001"),
            )
            assert (market.min_notional, market.maker_fee, market.taker_fee) == (
                D("5"),
                D("0.001"),
                D("0.002"),
            )
            assert (market.fee_mode, market.active) == ("received", True)

    run(story())


def test_what_people_read() -> None:
    async def story() -> None:
        async with (
            simulated("bybit") as venue,
            opened("bybit", venue.url, KEYS, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            gateway.send(new_order("bybit", 1, quantity="0.1", price="19000"))
            assert isinstance(await reports.answer_to("order-1"), Acked)
            assert await gateway.fetch_balances() == {
                "BTC": {"free": D("2"), "used": D("0"), "total": D("2")},
                "USDT": {"free": D("8100"), "used": D("1900"), "total": D("10000")},
            }
            gateway.send(QueryBalances())
            balances = await reports.next(Balances)
            assert (balances.free, balances.used) == (
                {"BTC": D("2"), "USDT": D("8100")},
                {"BTC": D("0"), "USDT": D("1900")},
            )
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
            assert (health["reachable"], health["stream_up"], health["problems"]) == (True, True, [])

    run(story())


@pytest.mark.parametrize("by", ["our id", "Bybit's id"])
def test_an_order_rests_is_found_three_ways_and_is_cancelled(by: str) -> None:
    async def story() -> None:
        async with (
            simulated("bybit") as venue,
            opened("bybit", venue.url, KEYS, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            order = new_order("bybit", 1, quantity="0.1", price="19000", post_only=True)
            acked = await rests_and_is_found(venue.symbol, gateway, reports, order)
            named = acked.exchange_order_id if by == "Bybit's id" else None
            gateway.send(cancel_of(order, named))
            assert (await reports.next(CancelAcked)).filled_quantity is None
            closed = await reports.next(OrderStatus, lambda status: status.found is Found.CLOSED)
            assert (closed.ending, closed.filled_quantity, closed.reason) == (
                Ending.CANCELED,
                D("0"),
                "EC_PerCancelRequest",
            )
            gateway.send(cancel_of(order, named))
            assert (await reports.next(CancelRefused)).refusal is Refusal.UNKNOWN_ORDER
            gateway.send(look_up(order, named))
            gone = await reports.next(OrderStatus, lambda status: status.query_sent_at is not None)
            assert (gone.found, gone.ending, gone.filled_quantity) == (Found.CLOSED, Ending.CANCELED, D("0"))
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
def test_an_immediate_order_tells_its_fills_the_same_every_way(side: Side) -> None:
    async def story() -> None:
        async with (
            simulated("bybit") as venue,
            opened("bybit", venue.url, KEYS, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            venue.set_book(size="0.1")
            began = datetime.now(UTC)
            price = "20011" if side is Side.BUY else "19999"  # two levels: 0.2 of the 0.3 wanted
            order = new_order(
                "bybit", 1, side=side, quantity="0.3", price=price, time_in_force=TimeInForce.IOC
            )
            gateway.send(order)
            acked = await reports.next(Acked)
            ended = await reports.next(OrderStatus, lambda status: status.found is Found.CLOSED)
            assert (ended.ending, ended.filled_quantity) == (Ending.CANCELED, D("0.2"))
            streamed = reports.of(FillReport)
            gateway.send(trades_of(order, began))
            by_client_id = (await reports.next(TradesAnswer)).fills
            gateway.send(trades_of(order, began, acked.exchange_order_id))
            by_exchange_id = (await reports.next(TradesAnswer)).fills
            for_people = await gateway.fetch_order_fills(venue.symbol, acked.exchange_order_id)
            assert facts(by_client_id) == facts(by_exchange_id) == facts(for_people) == facts(streamed)
            for fill in by_exchange_id:
                received = fill.quantity if side is Side.BUY else fill.price * fill.quantity
                assert (fill.fee, fill.fee_currency) == (
                    received * D("0.002"),
                    "BTC" if side is Side.BUY else "USDT",
                )
                assert fill.liquidity is Liquidity.TAKER
            levels = ["20010", "20011"] if side is Side.BUY else ["19999", "20000"]
            assert sorted(fill.price for fill in by_exchange_id) == [D(level) for level in levels]

    run(story())


@pytest.mark.parametrize("side", [Side.BUY, Side.SELL])
def test_a_market_order_is_of_the_base_currency(side: Side) -> None:
    async def story() -> None:
        async with (
            simulated("bybit") as venue,
            opened("bybit", venue.url, KEYS, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            order = new_order("bybit", 1, side=side, quantity="0.25", price=None)
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


# --- What only Bybit does ---


def test_open_orders_are_read_to_the_last_page() -> None:
    async def story() -> None:
        async with (
            simulated("bybit") as venue,
            opened("bybit", venue.url, KEYS, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            for number in range(120):
                venue.exchange.create_order(
                    venue.account, venue.symbol, "buy", "limit", D("0.001"), D("10000"),
                    client_order_id=client_id(number), now=venue.server.now(),
                )  # fmt: skip
            gateway.send(QueryOpenOrders())
            orders = (await reports.next(OpenOrders)).orders
            assert {order.client_order_id for order in orders} == {client_id(n) for n in range(120)}

    run(story())


def test_an_order_no_longer_among_the_last_closed_is_found_in_the_history(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story() -> None:
        async with (
            simulated("bybit") as venue,
            opened("bybit", venue.url, KEYS, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            order = new_order("bybit", 1, quantity="0.1", price="20010", time_in_force=TimeInForce.IOC)
            gateway.send(order)
            acked = await reports.next(Acked)
            monkeypatch.setattr("simulator.dialects.bybit.CLOSED_KEPT", 1)
            gateway.send(new_order("bybit", 2, quantity="0.1", price="100", time_in_force=TimeInForce.IOC))
            await reports.next(Acked)
            for exchange_order_id in (None, acked.exchange_order_id):
                gateway.send(look_up(order, exchange_order_id))
                found = await reports.next(OrderStatus, lambda status: status.query_sent_at is not None)
                assert (found.ending, found.filled_quantity, found.exchange_order_id) == (
                    Ending.FILLED,
                    D("0.1"),
                    acked.exchange_order_id,
                )
            gateway.send(trades_of(order, datetime.now(UTC), acked.exchange_order_id))
            assert [fill.quantity for fill in (await reports.next(TradesAnswer)).fills] == [D("0.1")]

    run(story())


def test_fills_that_are_not_all_listed_yet_are_no_answer() -> None:
    async def story() -> None:
        async with (
            simulated("bybit") as venue,
            opened("bybit", venue.url, KEYS, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            order = new_order("bybit", 1, quantity="0.1", price="20010", time_in_force=TimeInForce.IOC)
            gateway.send(order)
            acked = await reports.next(Acked)
            venue.strike(Rule(action="lag_orders", kinds=("my_trades",), seconds=(60.0, 60.0)))
            gateway.send(trades_of(order, datetime.now(UTC), acked.exchange_order_id))
            failed = await reports.answer_to(order.order_id)
            while isinstance(failed, FillReport | OrderStatus):
                failed = await reports.answer_to(order.order_id)
            assert "not all of its trades" in failed.message

    run(story())


def test_many_executions_and_other_peoples_orders_are_read_page_by_page() -> None:
    """An order that nobody can find: its trades are in the account's history, among those of others."""

    async def story() -> None:
        async with (
            simulated("bybit") as venue,
            opened("bybit", venue.url, KEYS, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            began = datetime.now(UTC)
            order = new_order("bybit", 1, quantity="0.1", price="20010", time_in_force=TimeInForce.IOC)
            gateway.send(order)
            acked = await reports.next(Acked)
            for number in range(150):
                venue.exchange.create_order(
                    venue.account, venue.symbol, "buy" if number % 2 else "sell", "market", D("0.0005"),
                    client_order_id=f"other-{number}" if number % 3 else "", now=venue.server.now(),
                )  # fmt: skip
            venue.strike(Rule(action="hide_closed"))
            gateway.send(trades_of(order, began))
            fills = (await reports.next(TradesAnswer)).fills
            assert [(fill.exchange_order_id, fill.quantity) for fill in fills] == [
                (acked.exchange_order_id, D("0.1"))
            ]

    run(story())


def test_an_order_of_many_fills_is_read_to_the_last() -> None:
    async def story() -> None:
        async with (
            simulated("bybit") as venue,
            opened("bybit", venue.url, KEYS, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            asks = [(D("20010") + D("0.1") * level, D("0.001")) for level in range(250)]
            venue.exchange.set_book(venue.symbol, [(D("20000"), D("1"))], asks, venue.server.now())
            order = new_order("bybit", 1, quantity="0.25", price="20040", time_in_force=TimeInForce.IOC)
            gateway.send(order)
            acked = await reports.next(Acked)
            fills = await gateway.fetch_order_fills(venue.symbol, acked.exchange_order_id)
            assert len({fill.fill_id for fill in fills}) == len(fills) == 250
            assert sum(fill.quantity for fill in fills) == D("0.25")

    run(story())


def test_fills_of_last_month_are_read_where_they_happened() -> None:
    """An order that waited for weeks: without times, a question would not reach back to its early fills."""

    async def story() -> None:
        async with (
            simulated("bybit") as venue,
            opened("bybit", venue.url, KEYS, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            exchange, now = venue.exchange, venue.server.now()
            order = exchange.create_order(
                venue.account, venue.symbol, "buy", "limit", D("0.3"), D("20005"), now=now - 30 * 86_400
            )
            for days in (29, 15, 1):
                exchange.public_trade(venue.symbol, D("20005"), D("0.1"), "sell", now - days * 86_400)
            fills = await gateway.fetch_order_fills(venue.symbol, order_name(order.order_id))
            assert [fill.quantity for fill in fills] == [D("0.1")] * 3
            assert {fill.fill_id for fill in fills} == {fill_name(fill.trade_id) for fill in order.fills}

    run(story())


def test_three_weeks_of_history_are_read_a_week_at_a_time() -> None:
    async def story() -> None:
        asked: list[dict[str, list[str]]] = []
        async with simulated("bybit") as venue:
            handle = venue.server.dialect.handle

            def watched(request: Any) -> Any:
                if request.path == "/v5/execution/list":
                    asked.append(parse_qs(request.query))
                return handle(request)

            venue.server.dialect.handle = watched  # type: ignore[method-assign]
            async with opened("bybit", venue.url, KEYS, shapes=()) as (gateway, reports):
                await reports.next(StreamUp)
                order = new_order("bybit", 1, quantity="0.1", price="20010", time_in_force=TimeInForce.IOC)
                gateway.send(order)
                await reports.next(Acked)
                venue.strike(Rule(action="hide_closed"))
                gateway.send(trades_of(order, datetime.now(UTC) - timedelta(days=20)))
                assert [fill.quantity for fill in (await reports.next(TradesAnswer)).fills] == [D("0.1")]
        spans = [(int(one["startTime"][0]), int(one["endTime"][0])) for one in asked]
        assert len(spans) == 3
        assert all(end - start <= 7 * 86_400_000 for start, end in spans)
        assert [end for _, end in spans[:-1]] == [start for start, _ in spans[1:]]

    run(story())


ROW = {
    "category": "spot", "symbol": "BTCUSDT", "orderId": "1", "orderLinkId": "", "side": "Buy", "qty": "0.5",
    "orderType": "Limit", "orderStatus": "New", "cumExecQty": "", "rejectReason": "EC_NoError",
}  # fmt: skip
FILL = {
    "category": "spot", "symbol": "BTCUSDT", "orderId": "1", "orderLinkId": "mine", "side": "Buy",
    "execType": "Trade", "execId": "7", "execPrice": "20000", "execQty": "0.1", "execValue": "2000",
    "execFee": "0.0001", "feeRate": "0.001", "execTime": "1700000000000", "isMaker": True,
    "createType": "CreateByUser",
}  # fmt: skip


def test_rows_of_the_private_stream_that_the_simulator_does_not_send() -> None:
    async def story() -> None:
        async with simulated("bybit") as venue, opened("bybit", venue.url, KEYS, shapes=()) as (gateway, _):

            def read(topic: str, row: dict[str, object]) -> list[Any]:
                return list(BYBIT.stream.read(gateway._ccxt, {"topic": topic, "data": [row]}))

            # A post-only order that would have traded, as a unified account may see it.
            late = {"orderStatus": "Rejected", "rejectReason": "EC_PostOnlyWillTakeLiquidity"}
            (rejected,) = read("order", {**ROW, **late})
            assert (rejected.found, rejected.ending, rejected.reason, rejected.filled_quantity) == (
                Found.CLOSED,
                Ending.REJECTED,
                "EC_PostOnlyWillTakeLiquidity",
                D("0"),
            )
            # Somebody's market order for an amount of money has no quantity to speak of.
            for unit, side, quantity in (
                ("quoteCoin", "Sell", None),
                ("baseCoin", "Buy", D("0.5")),
                ("", "Buy", None),
                ("", "Sell", D("0.5")),
            ):
                (status,) = read(
                    "order",
                    {**ROW, "orderType": "Market", "marketUnit": unit, "side": side, "orderStatus": "Filled"},
                )
                assert (status.quantity, status.ending) == (quantity, Ending.FILLED)
            assert read("order", {**ROW, "category": "linear"}) == []
            assert read("order", {**ROW, "orderStatus": "PendingCancel"}) == []
            assert read("order", {**ROW, "orderStatus": "Of next year"}) == []
            (fill,) = read("execution", FILL)
            assert (fill.symbol, fill.client_order_id, fill.fee, fill.fee_currency, fill.liquidity) == (
                "BTC/USDT", "mine", D("0.0001"), "BTC", Liquidity.MAKER,
            )  # fmt: skip
            # A rebate is paid in the currency that was given.
            (rebate,) = read("execution", {**FILL, "execFee": "-0.2"})
            assert (rebate.fee, rebate.fee_currency) == (D("-0.2"), "USDT")
            assert read("execution", {**FILL, "execType": "Funding"}) == []
            assert read("execution", {**FILL, "category": "linear"}) == []

    run(story())


def test_a_refused_login_is_a_stream_that_is_down_and_says_why() -> None:
    async def story() -> None:
        async with simulated("bybit") as venue:
            venue.exchange.revoke_key(KEYS.public)
            async with opened("bybit", venue.url, KEYS, shapes=()) as (_, reports):
                assert "Invalid apikey" in (await reports.next(StreamDown)).message
                venue.exchange.revoke_key(KEYS.public, False)
                await reports.next(StreamUp)

    run(story())


def test_the_acknowledgement_of_a_book_is_not_that_of_the_account() -> None:
    ours = {"success": True, "ret_msg": "", "conn_id": "c", "req_id": "private", "op": "subscribe"}
    assert BYBIT.stream.subscribed(ours) and not BYBIT.stream.over(ours)
    assert not BYBIT.stream.subscribed({**ours, "req_id": "3"})
    refused = {**ours, "success": False, "ret_msg": "Request not authorized"}
    assert BYBIT.stream.over(refused) and not BYBIT.stream.subscribed(refused)
    assert not BYBIT.stream.over({**refused, "req_id": "3"})


def test_public_trades_are_told_beside_the_book() -> None:
    async def story() -> None:
        async with (
            simulated("bybit") as venue,
            opened("bybit", venue.url, KEYS, shapes=()) as (gateway, reports),
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


@pytest.mark.parametrize("seed", [1, 2])
def test_in_a_storm_no_order_is_denied_that_exists_nor_placed_twice(seed: int) -> None:
    async def story() -> None:
        async with simulated("bybit") as venue:
            venue.server.faults.rng = Random(seed)
            wrong = (
                "reset",
                "hang",
                "truncate",
                "empty",
                "html",
                "null",
                "object",
                "half",
                "rate_limit",
                "failure",
            )
            storm = [
                Rule(action=action, when=when, kinds=("create",), probability=0.07)
                for action in wrong
                for when in ("before", "after")
            ]
            said: dict[int, object] = {}
            async with opened("bybit", venue.url, KEYS, shapes=(), request_timeout_s=0.3) as (
                gateway,
                reports,
            ):
                await reports.next(StreamUp)
                venue.strike(*storm)
                for number in range(30):
                    gateway.send(new_order("bybit", number, quantity="0.001", price="19000"))
                    said[number] = await reports.next(
                        object, lambda report: isinstance(report, Acked | Rejected | OutcomeUnknown)
                    )
            venue.strike()
            placed = {order.client_order_id for order in venue.exchange.orders.values()}
            assert len(placed) == len(venue.orders())
            assert {type(answer) for answer in said.values()} == {Acked, OutcomeUnknown}
            async with opened("bybit", venue.url, KEYS, shapes=()) as (gateway, reports):
                for number, answer in said.items():
                    gateway.send(look_up(new_order("bybit", number, quantity="0.001", price="19000")))
                    seen = await reports.answer_to(f"order-{number}")
                    exists = client_id(number) in placed
                    assert seen.found is (Found.OPEN if exists else Found.NOT_FOUND)
                    assert exists or isinstance(answer, OutcomeUnknown)

    run(story())


def test_an_address_that_asked_too_often_keeps_still() -> None:
    async def story() -> None:
        async with (
            simulated("bybit") as venue,
            opened("bybit", venue.url, KEYS, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            venue.strike(Rule(action="ban", kinds=("create",)))
            gateway.send(new_order("bybit", 1))
            assert isinstance(await reports.answer_to("order-1"), OutcomeUnknown)
            health = await gateway.fetch_health()
            assert "paused for another" in str(health["problems"])

    run(story())


def test_a_burst_keeps_within_the_limits_that_bybit_has() -> None:
    """Twenty orders a second are Bybit's limit; 24 at once wait their turn, and none is refused for it."""

    async def story() -> None:
        async with simulated("bybit") as venue, opened("bybit", venue.url, KEYS) as (gateway, reports):
            for number in range(24):
                gateway.send(new_order("bybit", number, quantity="0.001", price="10000"))
            answers = [await reports.answer_to(f"order-{number}") for number in range(24)]
            assert {type(answer) for answer in answers} == {Acked}
            assert len(venue.orders()) == 24

    run(story())


def test_an_order_that_is_not_shown_yet_is_not_found_and_later_open() -> None:
    async def story() -> None:
        async with (
            simulated("bybit") as venue,
            opened("bybit", venue.url, KEYS, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            order = new_order("bybit", 1, quantity="0.1", price="19000")
            gateway.send(order)
            acked = await reports.next(Acked)
            kinds = ("fetch", "closed_orders")
            for by in (None, acked.exchange_order_id):
                for rules, found in (
                    ((Rule(action="lag_orders", kinds=kinds, seconds=(60, 60)),), Found.NOT_FOUND),
                    ((), Found.OPEN),
                ):
                    venue.strike(*rules)
                    gateway.send(look_up(order, by))
                    seen = await reports.next(OrderStatus, lambda status: status.query_sent_at is not None)
                    assert seen.found is found

    run(story())


def test_the_live_stream_is_where_ccxt_opens_it() -> None:
    async def story() -> None:
        gateway = CcxtGateway("bybit", "default", KEYS, mode="live")
        url = await gateway._ccxt.get_url_by_market_type(None, True, "watchOrders")
        assert BYBIT.stream.url(gateway._ccxt) == url == "wss://stream.bybit.com/v5/private"
        await gateway._ccxt.close()

    run(story())


def test_a_create_is_signed_for_three_seconds_and_carries_nothing_more() -> None:
    async def story() -> None:
        seen: list[Any] = []
        async with simulated("bybit") as venue:
            handle = venue.server.dialect.handle

            def watched(request: Any) -> Any:
                if request.path == "/v5/order/create":
                    seen.append((request.headers["x-bapi-recv-window"], request.form))
                return handle(request)

            venue.server.dialect.handle = watched  # type: ignore[method-assign]
            async with opened("bybit", venue.url, KEYS, shapes=()) as (gateway, reports):
                gateway.send(new_order("bybit", 1, quantity="0.1", price="19000", post_only=True))
                await reports.next(Acked)
                gateway.send(new_order("bybit", 2, quantity="0.1", price=None))
                await reports.next(Acked)
        assert [window for window, _ in seen] == ["3000", "3000"]
        limit, market = (json.loads(body) for _, body in seen)
        assert limit == {
            "symbol": "BTCUSDT", "side": "Buy", "orderType": "Limit", "timeInForce": "PostOnly",
            "orderLinkId": client_id(1), "price": "19000", "category": "spot", "qty": "0.1",
            "smpType": "CancelTaker",
        }  # fmt: skip
        assert market == {
            "symbol": "BTCUSDT", "side": "Buy", "orderType": "Market", "orderLinkId": client_id(2),
            "category": "spot", "marketUnit": "baseCoin", "qty": "0.1", "smpType": "CancelTaker",
        }  # fmt: skip

    run(story())


# --- What an answer means ---


def said(code: object, result: object = None, status: int = 200) -> tuple[int, object]:
    return status, {"retCode": code, "retMsg": "words that vary", "result": result or {}, "time": 1}


MEANINGS = [
    # answer, as the answer to a create, as that to a cancel (None: unknown)
    (said(170131), "INSUFFICIENT_FUNDS", None),
    (said(170140), "MIN_SIZE", None),
    (said(170136), "MIN_SIZE", None),
    (said(170134), "LOT_TICK", None),
    (said(170137), "LOT_TICK", None),
    (said(170218), "POST_ONLY_WOULD_CROSS", None),
    (said(170151), "MARKET_CLOSED", None),
    (said(170121), "PERMANENT", "PERMANENT"),
    (said(10001), "PERMANENT", "PERMANENT"),
    (said(10002), "CLOCK", "CLOCK"),
    (said(10003), "AUTH", "AUTH"),
    (said(10004), "AUTH", "AUTH"),
    (said(10005), "AUTH", "AUTH"),
    (said(170213), None, "UNKNOWN_ORDER"),
    (said(110001), None, "UNKNOWN_ORDER"),
    # Too many orders in Bybit's own count is a no; what its front says may be about a repetition.
    (said(170005), "RATE_LIMIT", None),
    (said(10006), None, "RATE_LIMIT"),
    ((403, None), None, "RATE_LIMIT"),
    # Not a no: the first one arrived.
    (said(170141), None, None),
    (said(110072), None, None),
    (said(10014), None, None),
    # Not a no: Bybit says itself that it does not know, or did not finish.
    (said(10000), None, None),
    (said(10016), None, None),
    (said(170007), None, None),
    (said(170146), None, None),
    (said(429), None, None),
    # Not a no: new codes, the wrong shape, a gateway's words, an order beside the error, success.
    (said(999999), None, None),
    (said("170131"), None, None),
    (said(True), None, None),
    (said(170131, status=502), None, None),
    (said(170131, {"orderId": "1"}), None, None),
    ((200, {"retCode": 170131}), None, None),
    ((200, [170131]), None, None),
    ((200, None), None, None),
    (said(0), None, None),
]


@pytest.mark.parametrize(("answer", "create", "cancel"), MEANINGS)
def test_what_an_answer_means(answer: tuple[int, object], create: str | None, cancel: str | None) -> None:
    words = BYBIT.words.said(*answer)
    for refusals, meaning in ((BYBIT.words.create_refusals, create), (BYBIT.words.cancel_refusals, cancel)):
        assert refusal_of(words, refusals) == (None if meaning is None else Refusal(meaning))
