"""The gateway against a simulated Coinbase: what every exchange is held to, and what only Coinbase does."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from urllib.parse import parse_qsl

import pytest

from ems.core.messages import (
    Acked,
    Balances,
    BookUpdate,
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
    QueryBalances,
    QueryOpenOrders,
    QueryOrder,
    Refusal,
    Rejected,
    Side,
    StreamDown,
    StreamUp,
    TimeInForce,
    TradesAnswer,
    UnwatchBook,
    WatchBook,
)
from ems.venues.ccxt_gateway import CcxtGateway
from ems.venues.dialects import DIALECTS
from ems.venues.errors import refusal_of
from ems.venues.lookups import CLOCK_DOUBT_S
from simulator.dialects.coinbase import Coinbase
from simulator.exchange import Exchange
from simulator.faults import Rule
from simulator.records import Market
from simulator.wire import SimulatorServer
from tests.venues.gateways import cancel_of, client_id, look_up, new_order, opened, trades_of
from tests.venues.simulated import Simulated, keys_of, simulated
from tests.venues.stories import D, run

COINBASE = DIALECTS["coinbase"]
KEYS = keys_of("coinbase")
X = "coinbase"


def asked(status: OrderStatus) -> bool:
    return status.query_sent_at is not None


def closed(status: OrderStatus) -> bool:
    return status.found is Found.CLOSED


def watch_requests(venue: Simulated, path: str) -> list[Any]:
    """Keep every request to a path from now on."""
    seen: list[Any] = []
    handle = venue.server.dialect.handle

    def watched(request: Any) -> Any:
        if request.path.endswith(path):
            seen.append(request)
        return handle(request)

    venue.server.dialect.handle = watched  # type: ignore[method-assign]
    return seen


# --- Markets, money, an order's life: the figures are Coinbase's ---


def test_markets_come_with_rules_and_the_accounts_own_fees() -> None:
    async def story() -> None:
        async with simulated(X) as venue, opened(X, venue.url, KEYS, wait=False, shapes=()) as (_, reports):
            (market,) = (await reports.next(MarketsLoaded)).markets
            assert (market.symbol, market.tick, market.lot, market.min_quantity, market.min_notional) == (
                "BTC/USDT", D("0.1"), D("0.0001"), D("0.0001"), D("5"),
            )  # fmt: skip
            assert (market.maker_fee, market.taker_fee, market.fee_mode, market.active) == (
                D("0.001"), D("0.002"), "quote", True,
            )  # fmt: skip

    run(story())


def test_what_people_read() -> None:
    async def story() -> None:
        async with simulated(X) as venue, opened(X, venue.url, KEYS, shapes=()) as (gateway, reports):
            await reports.next(StreamUp)
            gateway.send(new_order(X, 1, quantity="0.1", price="19000"))
            assert isinstance(await reports.answer_to("order-1"), Acked)
            held = D("1900") * D("1.002")  # the fee is on top, and may be a taker's
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
            now = datetime.now(UTC)
            transfers = await gateway.fetch_transfers(now - timedelta(hours=1), now + timedelta(minutes=1))
            assert sorted((str(one.kind), one.currency, one.amount, one.fee) for one in transfers) == [
                ("deposit", "BTC", D("2"), None),
                ("deposit", "USDT", D("10000"), None),
                ("withdrawal", "BTC", D("0.5"), D("0.01")),
            ]
            assert all(one.at.tzinfo is UTC for one in transfers)
            later = now + timedelta(seconds=5)
            assert await gateway.fetch_transfers(later, later + timedelta(hours=1)) == []
            health = await gateway.fetch_health()
            assert (health["reachable"], health["stream_up"], health["problems"]) == (True, True, [])

    run(story())


def test_balances_of_many_wallets_are_read_to_the_last_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulator.dialects.coinbase_wallets._limit", lambda given, most: 10)

    async def story() -> None:
        async with simulated(X) as venue:
            for number in range(35):
                venue.exchange.deposit(venue.account, f"C{number:02d}", D("1"), time.time())
            async with opened(X, venue.url, KEYS, shapes=()) as (gateway, _):
                held = await gateway.fetch_balances()
                assert {name for name in held if name.startswith("C")} == {f"C{n:02d}" for n in range(35)}

    run(story())


@pytest.mark.parametrize("side", [Side.BUY, Side.SELL])
def test_the_stream_tells_what_is_filled_and_a_look_up_tells_the_fills(side: Side) -> None:
    async def story() -> None:
        async with simulated(X) as venue, opened(X, venue.url, KEYS, shapes=()) as (gateway, reports):
            await reports.next(StreamUp)
            venue.set_book(size="0.1")
            began = datetime.now(UTC)
            price = "20011" if side is Side.BUY else "19999"  # two levels: 0.2 of the 0.3 wanted
            order = new_order(X, 1, side=side, quantity="0.3", price=price, time_in_force=TimeInForce.IOC)
            gateway.send(order)
            acked = await reports.next(Acked)
            ended = await reports.next(OrderStatus, closed)
            assert (ended.ending, ended.filled_quantity, ended.client_order_id, ended.quantity) == (
                Ending.CANCELED, D("0.2"), client_id(1), None,
            )  # fmt: skip
            assert not reports.of(FillReport)
            gateway.send(trades_of(order, began))
            by_client_id = (await reports.next(TradesAnswer)).fills
            gateway.send(trades_of(order, began, acked.exchange_order_id))
            by_exchange_id = (await reports.next(TradesAnswer)).fills
            for_people = tuple(await gateway.fetch_order_fills(venue.symbol, acked.exchange_order_id))
            assert by_client_id == by_exchange_id == for_people
            truth = sorted(
                (fill.price, fill.quantity, fill.fee)
                for fill in next(iter(venue.exchange.orders.values())).fills
            )
            assert sorted((fill.price, fill.quantity, fill.fee) for fill in by_exchange_id) == truth
            for fill in by_exchange_id:
                assert (fill.fee_currency, fill.liquidity) == ("USDT", Liquidity.TAKER)
                assert (fill.fee, fill.side) == (fill.price * fill.quantity * D("0.002"), side)
            assert len({fill.fill_id for fill in by_exchange_id}) == 2

    run(story())


def test_a_resting_order_fills_as_maker() -> None:
    async def story() -> None:
        async with simulated(X) as venue, opened(X, venue.url, KEYS, shapes=()) as (gateway, reports):
            await reports.next(StreamUp)
            order = new_order(X, 1, quantity="0.1", price="20005", post_only=True)
            gateway.send(order)
            acked = await reports.next(Acked)
            venue.set_book("19990", "20005")  # an offer at our price takes us
            ended = await reports.next(OrderStatus, closed)
            assert (ended.ending, ended.filled_quantity, ended.quantity) == (
                Ending.FILLED,
                D("0.1"),
                D("0.1"),
            )
            (fill,) = await gateway.fetch_order_fills(venue.symbol, acked.exchange_order_id)
            assert (fill.price, fill.quantity, fill.liquidity, fill.fee) == (
                D("20005"), D("0.1"), Liquidity.MAKER, D("2.0005"),
            )  # fmt: skip

    run(story())


@pytest.mark.parametrize("side", [Side.BUY, Side.SELL])
def test_a_market_order_is_of_the_base_currency_and_names_no_price(side: Side) -> None:
    async def story() -> None:
        async with simulated(X) as venue:
            sent = watch_requests(venue, "/orders")
            async with opened(X, venue.url, KEYS, shapes=()) as (gateway, reports):
                await reports.next(StreamUp)
                gateway.send(new_order(X, 1, side=side, quantity="0.25", price=None))
                await reports.next(Acked)
                ended = await reports.next(OrderStatus, closed)
                assert (ended.ending, ended.filled_quantity) == (Ending.FILLED, D("0.25"))
                gateway.send(new_order(X, 2, quantity="0.1", price="19000", post_only=True))
                gateway.send(new_order(X, 3, quantity="0.1", price="100", time_in_force=TimeInForce.FOK))
                for _ in range(2):
                    await reports.next(Acked)
        bodies = {one["client_order_id"]: one for one in (json.loads(request.form) for request in sent)}
        assert bodies[client_id(1)] == {
            "client_order_id": client_id(1), "product_id": "BTC-USDT", "side": str(side).upper(),
            "order_configuration": {"market_market_ioc": {"base_size": "0.25"}},
        }  # fmt: skip
        assert bodies[client_id(2)]["order_configuration"] == {
            "limit_limit_gtc": {"base_size": "0.1", "limit_price": "19000", "post_only": True}
        }
        assert bodies[client_id(3)]["order_configuration"] == {
            "limit_limit_fok": {"base_size": "0.1", "limit_price": "100"}
        }

    run(story())


# --- What only Coinbase does ---


def test_a_client_id_in_use_answers_with_the_order_there_is() -> None:
    async def story() -> None:
        async with simulated(X) as venue:
            order = new_order(X, 1, quantity="0.1", price="19000")
            async with opened(X, venue.url, KEYS, shapes=()) as (gateway, reports):
                gateway.send(order)
                first = await reports.next(Acked)
            # A restart that knows nothing of the first sending.
            async with opened(X, venue.url, KEYS, shapes=()) as (gateway, reports):
                gateway.send(order)
                again = await reports.next(Acked)
                assert again.exchange_order_id == first.exchange_order_id
            assert len(venue.orders()) == 1

    run(story())


def test_an_order_whose_answer_was_lost_is_cancelled_by_what_the_list_says() -> None:
    async def story() -> None:
        async with simulated(X) as venue, opened(X, venue.url, KEYS, shapes=()) as (gateway, reports):
            await reports.next(StreamUp)
            venue.strike(Rule(action="refuse", when="after", kinds=("create",)))
            order = new_order(X, 1, quantity="0.1", price="19000")
            gateway.send(order)
            await reports.next(OutcomeUnknown)
            venue.strike()
            listed, cancels = (watch_requests(venue, path) for path in ("/batch", "/batch_cancel"))
            gateway.send(cancel_of(order))
            assert (await reports.next(CancelAcked)).order_id == order.order_id
            assert (await reports.next(OrderStatus, closed)).ending is Ending.CANCELED
            assert len(listed) == len(cancels) == 1
            gateway.send(cancel_of(order))  # found, and over
            refused = await reports.next(CancelRefused)
            assert refused.refusal is Refusal.UNKNOWN_ORDER
            gateway.send(cancel_of(new_order(X, 2)))  # not found at all
            assert (await reports.next(CancelRefused)).refusal is Refusal.UNKNOWN_ORDER
            assert len(cancels) == 1  # neither went to be cancelled
            venue.strike(Rule(action="status", status=503, kinds=("open_orders",)))
            gateway.send(cancel_of(new_order(X, 3)))  # nobody knows
            assert (await reports.next(CancelRefused)).refusal is Refusal.RATE_LIMIT
            venue.strike()
            venue.exchange.revoke_key(KEYS.public)
            gateway.send(cancel_of(new_order(X, 4)))
            assert (await reports.next(CancelRefused)).refusal is Refusal.AUTH

    run(story())


def place(venue: Simulated, number: int, *, price: str = "100", at: float | None = None) -> Any:
    return venue.exchange.create_order(
        venue.account, venue.symbol, "buy", "limit", D("0.1"), D(price),
        client_order_id=client_id(number), now=venue.server.now() if at is None else at,
    )  # fmt: skip


def test_lists_are_read_to_the_page_with_the_order_and_no_further_back_than_it_was_sent() -> None:
    async def story() -> None:
        async with simulated(X) as venue:
            now = time.time()
            for number in range(600):
                one = place(venue, number, at=now - 600 + number)
                venue.exchange.cancel_order(venue.account, one.order_id, now=now - 600 + number)
            listed = watch_requests(venue, "/batch")
            async with opened(X, venue.url, KEYS, shapes=(), request_timeout_s=5) as (gateway, reports):

                async def seen(number: int, since: datetime | None) -> tuple[Found, list[dict[str, str]]]:
                    listed.clear()
                    gateway.send(
                        QueryOrder(
                            order_id=f"order-{number}",
                            client_order_id=client_id(number),
                            exchange_order_id=None,
                            symbol=venue.symbol,
                            since=since,
                        )
                    )
                    status = await reports.next(OrderStatus, asked)
                    return status.found, [dict(parse_qsl(request.query)) for request in listed]

                found, questions = await seen(590, None)  # on the first page of all orders
                assert (found, [one.get("order_status") for one in questions]) == (
                    Found.CLOSED,
                    ["OPEN", None],
                )
                found, questions = await seen(20, None)  # on the last one
                assert (found, len(questions)) == (Found.CLOSED, 4)
                found, questions = await seen(9999, None)
                assert (found, len(questions)) == (Found.NOT_FOUND, 4)
                since = datetime.fromtimestamp(now - 60, UTC)
                found, questions = await seen(9999, since)  # 65 orders at most, with what clocks may differ
                assert (found, len(questions)) == (Found.NOT_FOUND, 2)
                doubt = timedelta(seconds=COINBASE.skew_max_s + CLOCK_DOUBT_S)
                assert datetime.fromisoformat(questions[1]["start_date"]) >= since - doubt - timedelta(
                    seconds=1
                )
                assert datetime.fromisoformat(questions[1]["start_date"]) < since

    run(story())


def test_a_list_with_a_broken_second_page_is_not_an_empty_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ems.venues.dialects.coinbase._ORDERS_PAGE", 50)

    async def story() -> None:
        async with simulated(X) as venue:
            for number in range(120):
                place(venue, number, price="50")
            async with opened(X, venue.url, KEYS, shapes=(), request_timeout_s=5) as (gateway, reports):
                venue.strike(Rule(action="object", kinds=("open_orders",), skip=1))
                gateway.send(QueryOpenOrders())
                assert (await reports.next(LookupFailed)).request == "open_orders"
                venue.strike(Rule(action="object", kinds=("open_orders",), skip=1))
                gateway.send(look_up(new_order(X, 9999)))
                assert (await reports.next(LookupFailed)).request == "order"
                venue.strike()
                gateway.send(QueryOpenOrders())
                orders = (await reports.next(OpenOrders)).orders
                assert {order.client_order_id for order in orders} == {client_id(n) for n in range(120)}

    run(story())


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        ("open_orders", "product_id", "DOGE-USDC"),
        ("closed_orders", "product_id", "DOGE-USDC"),
        ("closed_orders", "created_time", "2020-01-01T00:00:00.000Z"),
    ],
)
def test_a_list_that_answers_another_question_proves_no_absence(
    kind: str, field: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = Coinbase.record

    async def story() -> None:
        async with simulated(X) as venue:
            other = place(venue, 1, price="50")
            if kind == "closed_orders":
                venue.exchange.cancel_order(venue.account, other.order_id, now=venue.server.now())
            question = replace(look_up(new_order(X, 9999)), since=datetime.now(UTC) - timedelta(seconds=5))
            async with opened(X, venue.url, KEYS, shapes=(), request_timeout_s=5) as (gateway, reports):
                gateway.send(question)
                assert (await reports.next(OrderStatus)).found is Found.NOT_FOUND
                monkeypatch.setattr(
                    Coinbase, "record", lambda self, order: written(self, order) | {field: value}
                )
                gateway.send(question)
                assert (await reports.next(LookupFailed)).request == "order"

    run(story())


def test_many_strangers_in_the_history_are_told_apart_in_one_question() -> None:
    async def story() -> None:
        async with simulated(X) as venue:
            venue.set_book(size="10")
            began = datetime.now(UTC)
            for number in range(30):
                venue.exchange.create_order(
                    venue.account, venue.symbol, "buy", "market", D("0.001"),
                    client_order_id=client_id(number), now=venue.server.now(),
                )  # fmt: skip
            async with opened(X, venue.url, KEYS, shapes=()) as (gateway, reports):
                venue.strike(Rule(action="hide_closed"))
                gateway.send(trades_of(new_order(X, 7), began))
                failed = await reports.next(LookupFailed)
                assert "unknown orders" in failed.message  # hidden ones have no name
                # One question about the order itself is behind the lists: its fills are in the history.
                venue.strike(Rule(action="lag_orders", kinds=("fetch",), seconds=(60, 60)))
                listed = watch_requests(venue, "/batch")
                gateway.send(trades_of(new_order(X, 7), began))
                fills = (await reports.next(TradesAnswer)).fills
                assert [fill.quantity for fill in fills] == [D("0.001")]
                named = [parse_qsl(one.query) for one in listed if "order_ids" in one.query]
                assert [len([1 for name, _ in query if name == "order_ids"]) for query in named] == [29]

    run(story())


def test_a_lost_update_is_a_gap_that_breaks_the_stream_and_a_doubled_one_is_nothing() -> None:
    async def story() -> None:
        async with simulated(X) as venue, opened(X, venue.url, KEYS, shapes=()) as (gateway, reports):
            await reports.next(StreamUp)
            venue.strike(Rule(action="duplicate", kinds=("orders",)))
            doubled = new_order(X, 1, quantity="0.1", price="20010", time_in_force=TimeInForce.IOC)
            gateway.send(doubled)
            ended = await reports.next(OrderStatus, closed)
            await asyncio.sleep(0.1)
            assert ended not in reports.all and not reports.of(StreamDown)
            venue.strike(Rule(action="lost", kinds=("orders",)))
            began = datetime.now(UTC)
            lost = new_order(X, 2, quantity="0.1", price="20010", time_in_force=TimeInForce.IOC)
            gateway.send(lost)
            await reports.next(Acked, lambda acked: acked.order_id == "order-2")
            venue.strike()  # the next heartbeat has a number too many
            down = await reports.next(StreamDown)
            assert "are missing" in down.message
            await reports.next(StreamUp)
            gateway.send(trades_of(lost, began))
            assert [fill.quantity for fill in (await reports.next(TradesAnswer)).fills] == [D("0.1")]

    run(story())


def test_a_stream_that_falls_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulator.dialects.coinbase_streams.HEARTBEAT_S", 3600.0)
    object.__setattr__(COINBASE.stream, "heartbeat_s", 0.5)

    async def story() -> None:
        async with simulated(X) as venue, opened(X, venue.url, KEYS, shapes=()) as (_, reports):
            await reports.next(StreamUp)
            assert "nothing was heard for 0.5 s" in (await reports.next(StreamDown)).message
            await reports.next(StreamUp)

    try:
        run(story())
    finally:
        object.__setattr__(COINBASE.stream, "heartbeat_s", 10.0)


def test_a_refused_token_is_a_stream_that_is_down_and_says_why() -> None:
    async def story() -> None:
        async with simulated(X) as venue:
            venue.exchange.revoke_key(KEYS.public)
            gateway = CcxtGateway(X, "default", KEYS, mode="paper", base_url=venue.url, shapes=())
            try:
                with pytest.raises(Exception, match="authentication failure"):
                    gateway._ccxt.set_markets([])
                    await gateway._ccxt.watch_orders()
            finally:
                await gateway._ccxt.close()

    run(story())


def test_sixty_books_at_once_are_asked_for_within_what_may_be_said() -> None:
    async def story() -> None:
        rules = {"tick": D("0.01"), "lot": D("0.0001"), "min_notional": D("1"), "fee_mode": "quote"}
        markets = [
            Market(symbol=f"C{n:02d}/USD", base=f"C{n:02d}", quote="USD", **rules)  # type: ignore[arg-type]
            for n in range(60)
        ]
        exchange = Exchange(X, markets)
        exchange.open_account(KEYS.public, KEYS.private)
        for market in markets:
            exchange.set_book(market.symbol, [(D("10"), D("1"))], [(D("11"), D("1"))], time.time())
        server = SimulatorServer(exchange, Coinbase(exchange))
        await server.open()
        try:
            async with opened(X, server.url, KEYS, shapes=(), request_timeout_s=5) as (gateway, reports):
                await reports.next(StreamUp)
                for market in markets:
                    gateway.send(WatchBook(symbol=market.symbol))
                for market in markets:
                    await reports.next(
                        BookUpdate, lambda book, market=market: book.symbol == market.symbol, within_s=5
                    )
                client = gateway._ccxt.clients[gateway._ccxt.urls["api"]["ws"]]
                for market in markets[:59]:
                    gateway.send(UnwatchBook(symbol=market.symbol))
                await asyncio.sleep(1.5)
                reports.all.clear()
                for market in markets:
                    exchange.set_book(market.symbol, [(D("9"), D("1"))], [(D("11"), D("1"))], server.now())
                await reports.next(BookUpdate, lambda book: book.symbol == "C59/USD")
                assert {book.symbol for book in reports.of(BookUpdate)} <= {"C59/USD"}
                assert not [name for name in client.subscriptions if "C00" in name]
                assert client.error is None  # nobody was told that this was too much
        finally:
            await server.close()

    run(story())


def test_a_burst_keeps_within_the_limits_that_coinbase_has() -> None:
    """Thirty private requests a second are the limit; these wait their turn, and none is refused for it."""

    async def story() -> None:
        async with (
            simulated(X) as venue,
            opened(X, venue.url, KEYS, request_timeout_s=5) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            for number in range(45):
                gateway.send(new_order(X, number, quantity="0.001", price="10000"))
            answers = [await reports.answer_to(f"order-{number}", within_s=10) for number in range(45)]
            assert {type(answer) for answer in answers} == {Acked}
            assert len(venue.orders()) == 45

    run(story())


def test_a_request_lives_ten_seconds_and_a_subscription_gets_its_own_token() -> None:
    async def story() -> None:
        async with simulated(X) as venue:
            sent = watch_requests(venue, "/orders")
            async with opened(X, venue.url, KEYS, shapes=()) as (gateway, reports):
                await reports.next(StreamUp)
                gateway.send(new_order(X, 1, quantity="0.1", price="19000"))
                await reports.next(Acked)
                first, second = (gateway._ccxt.create_ws_auth("user", [])["jwt"] for _ in range(2))
                assert first != second
        token = sent[0].headers["authorization"].removeprefix("Bearer ")
        claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
        assert 8 <= claims["exp"] - time.time() + 1 <= 12
        assert claims["exp"] - claims["nbf"] == 120
        assert COINBASE.recv_window_s == 13.0

    run(story())


def test_live_the_account_has_a_host_of_its_own() -> None:
    async def story() -> None:
        gateway = CcxtGateway(X, "default", KEYS, mode="live")
        urls = gateway._ccxt.urls["api"]
        assert COINBASE.stream.url(gateway._ccxt) == "wss://advanced-trade-ws-user.coinbase.com/"
        assert (urls["ws"], urls["rest"]) == (
            "wss://advanced-trade-ws.coinbase.com",
            "https://api.coinbase.com",
        )
        await gateway._ccxt.close()

    run(story())


ROW = {
    "order_id": "1", "client_order_id": "mine", "cumulative_quantity": "0.2", "leaves_quantity": "0.3",
    "avg_price": "20000", "total_fees": "1", "status": "OPEN", "product_id": "BTC-USDT", "order_side": "BUY",
    "order_type": "Limit", "cancel_reason": "", "reject_reason": "", "product_type": "SPOT",
}  # fmt: skip


def test_rows_of_the_private_stream_that_the_simulator_does_not_send() -> None:
    async def story() -> None:
        async with simulated(X) as venue, opened(X, venue.url, KEYS, shapes=()) as (gateway, _):

            def read(**change: object) -> list[Any]:
                frame = {"channel": "user", "events": [{"type": "update", "orders": [{**ROW, **change}]}]}
                return list(COINBASE.stream.read(gateway._ccxt, frame))

            for status, found, ending, quantity in (
                ("OPEN", Found.OPEN, None, D("0.5")),
                ("PENDING", Found.OPEN, None, D("0.5")),
                ("QUEUED", Found.OPEN, None, D("0.5")),
                ("CANCEL_QUEUED", Found.OPEN, None, D("0.5")),
                ("EXPIRED", Found.CLOSED, Ending.EXPIRED, None),
                ("FAILED", Found.CLOSED, Ending.REJECTED, None),
                ("CANCELLED", Found.CLOSED, Ending.CANCELED, None),
            ):
                (told,) = read(status=status)
                assert (told.found, told.ending, told.quantity, told.filled_quantity) == (
                    found, ending, quantity, D("0.2"),
                )  # fmt: skip
            (failed,) = read(status="FAILED", reject_reason="HOLD_FAILURE")
            assert (failed.reason, failed.client_order_id, failed.side) == ("HOLD_FAILURE", "mine", Side.BUY)
            (nameless,) = read(client_order_id="")
            assert nameless.client_order_id is None
            assert read(product_type="FUTURE") == [] and read(status="OF_NEXT_YEAR") == []

    run(story())


def test_products_that_share_a_book_are_told_of_it_by_either_name() -> None:
    async def story() -> None:
        gateway = CcxtGateway(X, "default", KEYS, mode="live")
        common = {
            "base_currency_id": "BTC",
            "product_type": "SPOT",
            "base_increment": "1",
            "price_increment": "1",
        }
        ex = gateway._ccxt
        ex.set_markets(
            [
                ex.parse_spot_market(
                    {**common, "product_id": f"BTC-{q}", "quote_currency_id": q, "alias_to": a}, {}
                )
                for q, a in (("USD", ["BTC-USDC"]), ("USDC", []), ("EUR", []))
            ]
        )
        update = {"side": "bid", "price_level": "10", "new_quantity": "1"}
        frame = {
            "channel": "l2_data", "timestamp": "2026-08-09T21:05:48.228568804Z", "sequence_num": 3,
            "events": [{"type": "update", "product_id": "BTC-USD", "updates": [update]}],
        }  # fmt: skip
        assert COINBASE.book is not None
        assert [symbol for symbol, _ in COINBASE.book.read(ex, frame, "")] == ["BTC/USD", "BTC/USDC"]
        row = {"product_id": "BTC-USD", "price": "10", "size": "1", "side": "BUY"}
        trades = {"channel": "market_trades", "events": [{"type": "update", "trades": [row]}]}
        read = list(COINBASE.tape.read(ex, trades, datetime.now(UTC)))
        assert [(trade.symbol, trade.side) for trade in read] == [
            ("BTC/USD", Side.SELL),
            ("BTC/USDC", Side.SELL),
        ]
        await ex.close()

    run(story())


@pytest.mark.parametrize("seed", [1, 2])
def test_in_a_storm_no_order_is_denied_that_exists_nor_placed_twice(seed: int) -> None:
    async def story() -> None:
        async with simulated(X) as venue:
            venue.server.faults.rng = Random(seed)
            wrong = ("reset", "hang", "truncate", "empty", "html", "null", "object", "half", "failure")
            storm = [
                Rule(action=action, when=when, kinds=("create",), probability=0.07)
                for action in wrong
                for when in ("before", "after")
            ]
            said: dict[int, object] = {}
            async with opened(X, venue.url, KEYS, shapes=(), request_timeout_s=0.3) as (gateway, reports):
                await reports.next(StreamUp)
                venue.strike(*storm)
                for number in range(24):
                    gateway.send(new_order(X, number, quantity="0.001", price="19000"))
                    said[number] = await reports.next(
                        object, lambda report: isinstance(report, Acked | Rejected | OutcomeUnknown)
                    )
            venue.strike()
            placed = {order.client_order_id for order in venue.exchange.orders.values()}
            assert len(placed) == len(venue.orders())
            assert {type(answer) for answer in said.values()} == {Acked, OutcomeUnknown}
            async with opened(X, venue.url, KEYS, request_timeout_s=5) as (gateway, reports):
                for number, answer in said.items():
                    gateway.send(look_up(new_order(X, number, quantity="0.001", price="19000")))
                    seen = await reports.answer_to(f"order-{number}")
                    exists = client_id(number) in placed
                    assert seen.found is (Found.OPEN if exists else Found.NOT_FOUND)
                    assert exists or isinstance(answer, OutcomeUnknown)

    run(story())


# --- What an answer means ---


def failed(error: str, preview: str = "UNKNOWN_PREVIEW_FAILURE_REASON", **more: object) -> tuple[int, object]:
    response = {"error": error, "message": "words", "error_details": "", "preview_failure_reason": preview}
    return 200, {"success": False, "order_id": "", "error_response": response, **more}


def not_cancelled(reason: object) -> tuple[int, object]:
    return 200, {"results": [{"success": False, "failure_reason": reason, "order_id": "1"}]}


def plain(status: int, error: object) -> tuple[int, object]:
    return status, {"error": error, "error_details": "words", "message": "words"}


VAGUE = "UNKNOWN_FAILURE_REASON"
MEANINGS = [
    # answer, as the answer to a create, as that to a cancel (None: unknown)
    (failed("INSUFFICIENT_FUND", "PREVIEW_INSUFFICIENT_FUND"), "INSUFFICIENT_FUNDS", None),
    (failed(VAGUE, "PREVIEW_INVALID_BASE_SIZE_TOO_SMALL"), "MIN_SIZE", None),
    (failed(VAGUE, "PREVIEW_INVALID_QUOTE_SIZE_TOO_SMALL"), "MIN_SIZE", None),
    (failed("INVALID_SIZE_PRECISION"), "LOT_TICK", None),
    (failed("INVALID_PRICE_PRECISION"), "LOT_TICK", None),
    (failed("INVALID_LIMIT_PRICE_POST_ONLY"), "POST_ONLY_WOULD_CROSS", None),
    (failed("ORDER_ENTRY_DISABLED"), "MARKET_CLOSED", None),
    (failed("UNSUPPORTED_ORDER_CONFIGURATION"), "PERMANENT", None),
    (failed("INVALID_PRODUCT_ID"), "PERMANENT", None),
    (plain(400, "INVALID_ARGUMENT"), "PERMANENT", "PERMANENT"),
    (plain(401, "Unauthorized"), "AUTH", "AUTH"),
    (plain(403, "PERMISSION_DENIED"), "AUTH", "AUTH"),
    ((401, {"errors": [{"id": "authentication_error", "message": "no"}]}), "AUTH", "AUTH"),
    # What the front says about too much may be about a repetition.
    (plain(429, "rate_limit_exceeded"), None, "RATE_LIMIT"),
    (plain(429, "resource_exhausted"), None, "RATE_LIMIT"),
    (not_cancelled("UNKNOWN_CANCEL_ORDER"), None, "UNKNOWN_ORDER"),
    (not_cancelled("ORDER_IS_FULLY_FILLED"), None, "UNKNOWN_ORDER"),
    (not_cancelled("INVALID_CANCEL_REQUEST"), None, "UNKNOWN_ORDER"),
    # Not a no: the first one is under way, or nobody says why.
    (not_cancelled("DUPLICATE_CANCEL_REQUEST"), None, None),
    (not_cancelled("COMMANDER_REJECTED_CANCEL_ORDER"), None, None),
    (not_cancelled("UNKNOWN_CANCEL_FAILURE_REASON"), None, None),
    (not_cancelled(None), None, None),
    # Not a no: it does not say why, or the engine behind the front said it.
    (failed(VAGUE, ""), None, None),
    (failed(VAGUE), None, None),
    (failed("COMMANDER_REJECTED_NEW_ORDER"), None, None),
    (failed("DUPLICATE_CLIENT_ORDER_ID"), None, None),
    (failed("OF_NEXT_YEAR"), None, None),
    # Not a no: an order beside the error, a gateway's words, the wrong shape, success.
    (failed("INSUFFICIENT_FUND", order_id="1"), None, None),
    (failed("INSUFFICIENT_FUND", success_response={"order_id": "1"}), None, None),
    ((502, failed("INSUFFICIENT_FUND")[1]), None, None),
    (plain(500, "INVALID_ARGUMENT"), None, None),
    (plain(200, "INVALID_ARGUMENT"), None, None),
    (plain(400, 7), None, None),
    ((200, {"success": False}), None, None),
    ((200, []), None, None),
    ((401, None), None, None),
    ((200, {"success": True, "order_id": "1", "success_response": {"order_id": "1"}}), None, None),
]


@pytest.mark.parametrize(("answer", "create", "cancel"), MEANINGS)
def test_what_an_answer_means(answer: tuple[int, object], create: str | None, cancel: str | None) -> None:
    words = COINBASE.words.said(*answer)
    for refusals, meaning in (
        (COINBASE.words.create_refusals, create),
        (COINBASE.words.cancel_refusals, cancel),
    ):
        assert refusal_of(words, refusals) == (None if meaning is None else Refusal(meaning))
