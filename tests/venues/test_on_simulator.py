"""The gateway against exchanges that speak the real wire: orders, questions, streams and books."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from ems.core.messages import (
    Acked,
    Balances,
    BookUpdate,
    CancelAcked,
    CancelRefused,
    DayRead,
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
    QueryDay,
    QueryOpenOrders,
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
from ems.venues import books
from ems.venues.gateway import VenueRefused, VenueUnavailable
from simulator.faults import Rule
from simulator.records import Before
from tests.venues.gateways import SYMBOLS, cancel_of, look_up, new_order, opened, trades_of
from tests.venues.simulated import simulated
from tests.venues.stories import EXCHANGES, D, each_exchange, rests_and_is_found, run

# --- Markets, money, health ---

DAY_IS_TOLD = ("binance", "bybit", "kraken", "okx")


@each_exchange
def test_what_was_traded_in_24_hours_is_read_from_the_ticker(exchange: str) -> None:
    async def story() -> None:
        async with (
            simulated(exchange) as venue,
            opened(exchange, venue.url, venue.keys, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            venue.exchange.before[venue.symbol] = Before(volume=D(300), low=D(18000), high=D(25000))
            venue.exchange.public_trade(venue.symbol, D(20010), D("0.4"), "buy", venue.server.now())
            gateway.send(QueryDay(symbol=venue.symbol))
            day = await reports.next(DayRead)
            told = (day.symbol, day.volume, day.low, day.high)
            known = (D("300.4"), D(18000), D(25000)) if exchange in DAY_IS_TOLD else (None, None, None)
            assert told == (venue.symbol, *known)
            gateway.send(QueryDay(symbol="NO/SUCH"))
            day = await reports.next(DayRead)
            assert (day.symbol, day.volume) == ("NO/SUCH", None), "told all the same"
            venue.strike(Rule(action="status", status=503))
            gateway.send(QueryDay(symbol=venue.symbol))
            assert (await reports.next(DayRead)).volume is None

    run(story())


@each_exchange
def test_markets_come_with_rules_and_the_accounts_own_fees(exchange: str) -> None:
    async def story() -> None:
        async with simulated(exchange) as venue:
            async with opened(exchange, venue.url, venue.keys, wait=False, shapes=()) as (_, reports):
                loaded = await reports.next(MarketsLoaded)
                await reports.next(StreamUp)
                (market,) = loaded.markets
                assert market.symbol == SYMBOLS[exchange]  # type: ignore[attr-defined]
                facts = {
                    name: getattr(market, name)
                    for name in (
                        "tick",
                        "lot",
                        "min_quantity",
                        "min_notional",
                        "maker_fee",
                        "taker_fee",
                        "fee_mode",
                    )
                }
                assert facts == {
                    "tick": D("0.1"),
                    "lot": D("0.0001"),
                    "min_quantity": D("0.0001"),
                    "min_notional": D("5"),
                    "maker_fee": D("0.001"),
                    "taker_fee": D("0.002"),
                    "fee_mode": "received" if exchange == "binance" else "quote",
                }
                assert all(isinstance(fact, Decimal) for name, fact in facts.items() if name != "fee_mode")

    run(story())


@each_exchange
def test_what_people_read(exchange: str) -> None:
    async def story() -> None:
        async with (
            simulated(exchange) as venue,
            opened(exchange, venue.url, venue.keys, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            base, quote = venue.symbol.split("/")
            order = new_order(exchange, 1, quantity="0.1", price="19000")
            gateway.send(order)
            assert isinstance(await reports.answer_to(order.order_id), Acked)
            reserved = D("1900") if exchange == "binance" else D("1903.8")
            assert await gateway.fetch_balances() == {
                base: {"free": D("2"), "used": D("0"), "total": D("2")},
                quote: {"free": 10_000 - reserved, "used": reserved, "total": D("10000")},
            }
            gateway.send(QueryBalances())
            balances = await reports.next(Balances)
            assert balances.free == {base: D("2"), quote: 10_000 - reserved}
            assert balances.used == {base: D("0"), quote: reserved}
            fees = [{"symbol": venue.symbol, "maker": D("0.001"), "taker": D("0.002")}]
            assert await gateway.fetch_fees(None) == fees
            assert await gateway.fetch_fees(venue.symbol) == fees
            with pytest.raises(VenueRefused, match="NO/SUCH"):
                await gateway.fetch_fees("NO/SUCH")
            begun = datetime.now(UTC) - timedelta(minutes=5)
            transfers = await gateway.fetch_transfers(begun, begun + timedelta(minutes=10))
            assert sorted((row.kind, row.currency, row.amount) for row in transfers) == [
                ("deposit", base, D("2")),
                ("deposit", quote, D("10000")),
            ]
            assert all(row.at.tzinfo is UTC for row in transfers)
            health = await gateway.fetch_health()
            assert (health["reachable"], health["stream_up"], health["markets"], health["problems"]) == (
                True,
                True,
                1,
                [],
            )

    run(story())


@each_exchange
def test_readings_tell_a_refusal_from_a_silence(exchange: str) -> None:
    async def story() -> None:
        async with (
            simulated(exchange) as venue,
            opened(exchange, venue.url, venue.keys, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            venue.strike(Rule(action="status", status=502, kinds=("balance",)))
            with pytest.raises(VenueUnavailable, match="502"):
                await gateway.fetch_balances()
            gateway.send(QueryBalances())
            failed = await reports.next(LookupFailed)
            assert (failed.request, failed.refusal) == ("balances", None)
            venue.strike()
            venue.exchange.revoke_key(venue.keys.public)
            with pytest.raises(VenueRefused) as refused:
                await gateway.fetch_balances()
            assert refused.value.code
            gateway.send(QueryBalances())
            failed = await reports.next(LookupFailed)
            assert (failed.request, failed.refusal) == ("balances", Refusal.AUTH)
            order = new_order(exchange)
            gateway.send(order)
            rejected = await reports.answer_to(order.order_id)
            assert isinstance(rejected, Rejected) and rejected.refusal is Refusal.AUTH and rejected.sent
            assert not venue.orders()

    run(story())


# --- An order's life ---


@each_exchange
def test_an_order_rests_is_found_three_ways_and_is_cancelled(exchange: str) -> None:
    async def story() -> None:
        async with (
            simulated(exchange) as venue,
            opened(exchange, venue.url, venue.keys, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            order = new_order(exchange, 1, quantity="0.1", price="19000", post_only=True)
            acked = await rests_and_is_found(venue.symbol, gateway, reports, order)
            gateway.send(cancel_of(order, acked.exchange_order_id if exchange == "binance" else None))
            cancelled = await reports.next(CancelAcked)
            assert cancelled.filled_quantity == (D("0") if exchange == "binance" else None)
            closed = await reports.next(OrderStatus, lambda status: status.found is Found.CLOSED)
            assert (closed.ending, closed.filled_quantity, closed.order_id) == (
                Ending.CANCELED,
                D("0"),
                order.order_id,
            )
            gateway.send(cancel_of(order))
            refused = await reports.next(CancelRefused)
            assert (refused.refusal, refused.order_id) == (Refusal.UNKNOWN_ORDER, order.order_id)
            gateway.send(look_up(order))
            gone = await reports.next(OrderStatus, lambda status: status.query_sent_at is not None)
            assert (gone.found, gone.ending, gone.filled_quantity) == (Found.CLOSED, Ending.CANCELED, D("0"))
            gateway.send(QueryOpenOrders())
            assert (await reports.next(OpenOrders)).orders == ()

    run(story())


@each_exchange
@pytest.mark.parametrize("side", [Side.BUY, Side.SELL])
def test_an_immediate_order_tells_its_fills_the_same_every_way(exchange: str, side: Side) -> None:
    async def story() -> None:
        async with (
            simulated(exchange) as venue,
            opened(exchange, venue.url, venue.keys, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            venue.set_book(size="0.1")
            began = datetime.now(UTC)
            price = "20011" if side is Side.BUY else "19999"  # two levels: 0.2 of the 0.3 wanted
            order = new_order(
                exchange, 1, side=side, quantity="0.3", price=price, time_in_force=TimeInForce.IOC
            )
            gateway.send(order)
            acked = await reports.next(Acked)
            ended = await reports.next(OrderStatus, lambda status: status.found is Found.CLOSED)
            assert (ended.ending, ended.filled_quantity) in (
                (Ending.EXPIRED, D("0.2")),
                (Ending.CANCELED, D("0.2")),
            )
            if exchange == "binance":
                assert (acked.ending, acked.filled_quantity) == (Ending.EXPIRED, D("0.2"))
            streamed = reports.of(FillReport)
            gateway.send(trades_of(order, began))
            by_client_id = (await reports.next(TradesAnswer)).fills
            gateway.send(trades_of(order, began, acked.exchange_order_id))
            by_exchange_id = (await reports.next(TradesAnswer)).fills
            for_people = tuple(await gateway.fetch_order_fills(venue.symbol, acked.exchange_order_id))

            def facts(fills: Any) -> list[tuple[object, ...]]:
                return sorted(
                    (
                        *(
                            fill.fill_id,
                            fill.exchange_order_id,
                            fill.symbol,
                            fill.side,
                            fill.price,
                            fill.quantity,
                        ),
                        *(fill.fee, fill.fee_currency, fill.liquidity, fill.order_id, fill.client_order_id),
                    )
                    for fill in fills
                )

            base, quote = venue.symbol.split("/")
            received = base if side is Side.BUY else quote
            expected = []
            for fill in by_exchange_id:
                cost = fill.price * fill.quantity
                in_base = exchange == "binance" and side is Side.BUY
                fee = (fill.quantity if in_base else cost) * D("0.002")
                currency = received if exchange == "binance" else quote
                assert (fill.fee, fill.fee_currency, fill.liquidity) == (fee, currency, Liquidity.TAKER)
                assert began.timestamp() - 1 < fill.at.timestamp() < datetime.now(UTC).timestamp() + 1
                expected.append((fill.price, fill.quantity))
            levels = ["20010", "20011"] if side is Side.BUY else ["20000", "19999"]
            assert sorted(expected) == sorted((D(level), D("0.1")) for level in levels)
            assert len({fill.fill_id for fill in by_exchange_id}) == 2
            assert facts(by_client_id) == facts(by_exchange_id) == facts(for_people) == facts(streamed)
            if exchange == "binance":
                assert facts(acked.fills) == facts(streamed)

    run(story())


@each_exchange
def test_a_resting_order_fills_as_maker(exchange: str) -> None:
    async def story() -> None:
        async with (
            simulated(exchange) as venue,
            opened(exchange, venue.url, venue.keys, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            order = new_order(exchange, 1, quantity="0.1", price="20005", post_only=True)
            gateway.send(order)
            await reports.next(Acked)
            venue.set_book("19990", "20005")  # an offer at our price takes us
            fill = await reports.next(FillReport)
            assert (fill.price, fill.quantity, fill.liquidity, fill.order_id) == (
                D("20005"),
                D("0.1"),
                Liquidity.MAKER,
                order.order_id,
            )
            ended = await reports.next(OrderStatus, lambda status: status.found is Found.CLOSED)
            assert (ended.ending, ended.filled_quantity) == (Ending.FILLED, D("0.1"))

    run(story())


# case -> what is ordered, how it is refused, and where it is not: exchange -> why
NOES: dict[str, tuple[dict[str, Any], Refusal, dict[str, str]]] = {
    "more than there is": ({"quantity": "5", "price": "19000"}, Refusal.INSUFFICIENT_FUNDS, {}),
    "worth too little": ({"quantity": "0.0002", "price": "19000"}, Refusal.MIN_SIZE, {}),
    "post only that would take": (
        {"price": "20010", "post_only": True},
        Refusal.POST_ONLY_WOULD_CROSS,
        {"okx": "such an order is taken, and cancelled at once"},
    ),
    "off the tick": ({"quantity": "0.1", "price": "19000.05"}, Refusal.LOT_TICK, {}),
    "off the lot": ({"quantity": "0.10005", "price": "19000"}, Refusal.LOT_TICK, {}),
}


@pytest.mark.parametrize(
    ("exchange", "case"),
    [
        (exchange, case)
        for exchange in EXCHANGES
        if exchange != "gemini"  # it has codes and words of its own
        for case, (_, _, otherwise) in NOES.items()
        if exchange not in otherwise
    ],
)
def test_a_venues_own_no(exchange: str, case: str) -> None:
    options, refusal, _ = NOES[case]

    async def story() -> None:
        async with (
            simulated(exchange) as venue,
            opened(exchange, venue.url, venue.keys, shapes=()) as (gateway, reports),
        ):
            order = new_order(exchange, 1, **options)
            gateway.send(order)
            rejected = await reports.answer_to(order.order_id)
            assert isinstance(rejected, Rejected), rejected
            assert (rejected.refusal, rejected.sent) == (refusal, True)
            assert rejected.message and rejected.venue_code
            gateway.send(look_up(order))
            assert (await reports.answer_to(order.order_id)).found is Found.NOT_FOUND

    run(story())


@each_exchange
def test_a_halted_market_says_so(exchange: str) -> None:
    async def story() -> None:
        async with (
            simulated(exchange) as venue,
            opened(exchange, venue.url, venue.keys, shapes=()) as (gateway, reports),
        ):
            venue.exchange.set_mode("halted", venue.server.now(), venue.symbol)
            gateway.send(new_order(exchange))
            rejected = await reports.answer_to("order-1")
            assert isinstance(rejected, Rejected) and rejected.refusal is Refusal.MARKET_CLOSED

    run(story())


@each_exchange
def test_a_client_id_in_use_is_a_reason_to_look_not_a_no(exchange: str) -> None:
    async def story() -> None:
        async with simulated(exchange) as venue:
            order = new_order(exchange, 1, quantity="0.1", price="19000")
            async with opened(exchange, venue.url, venue.keys, shapes=()) as (gateway, reports):
                gateway.send(order)
                acked = await reports.next(Acked)
            # A restart that knows nothing of the first sending.
            async with opened(exchange, venue.url, venue.keys, shapes=()) as (gateway, reports):
                gateway.send(order)
                assert isinstance(await reports.answer_to(order.order_id), OutcomeUnknown)
                gateway.send(look_up(order))
                found = await reports.next(OrderStatus, lambda status: status.query_sent_at is not None)
                assert (found.found, found.exchange_order_id) == (Found.OPEN, acked.exchange_order_id)
            assert len(venue.orders()) == 1

    run(story())


# --- Streams ---


@each_exchange
def test_a_cut_stream_comes_back_and_says_so(exchange: str) -> None:
    async def story() -> None:
        async with (
            simulated(exchange) as venue,
            opened(exchange, venue.url, venue.keys, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            for _ in range(2):
                await venue.server.cut()
                await reports.next(StreamDown)
                await reports.next(StreamUp)
            order = new_order(exchange, 1, quantity="0.1", price="19000")
            gateway.send(order)
            await reports.next(OrderStatus, lambda status: status.client_order_id == order.client_order_id)

    run(story())


@each_exchange
def test_a_venue_that_falls_over_and_gets_up(exchange: str) -> None:
    async def story() -> None:
        async with simulated(exchange) as venue:
            # No kept-alive connection: the next request needs a new one, and that cannot come about.
            async with opened(exchange, venue.url, venue.keys, shapes=()) as (gateway, reports):
                await reports.next(StreamUp)
                await venue.server.go_down()
                await reports.next(StreamDown)
                await gateway._ccxt.session.close()  # what the keep-alive limit does a little later
                gateway._ccxt.session = None
                gateway.send(new_order(exchange))
                rejected = await reports.answer_to("order-1")
                assert isinstance(rejected, Rejected)
                assert (rejected.refusal, rejected.sent) == (Refusal.RATE_LIMIT, False)
                health = await gateway.fetch_health()
                assert (health["reachable"], health["stream_up"]) == (False, False)
                # Some exchanges do not tell what a key may do, which is a problem of its own.
                known = [one for one in health["problems"] if not one.startswith("key: ")]  # type: ignore
                assert [one.partition(":")[0] for one in known] == ["reach", "stream"]
                await venue.server.go_up()
                await reports.next(StreamUp)
                assert not venue.orders()
                gateway.send(new_order(exchange, 2))
                assert isinstance(await reports.answer_to("order-2"), Acked)

    run(story())


@each_exchange
def test_lost_and_doubled_events_change_no_facts(exchange: str) -> None:
    async def story() -> None:
        async with (
            simulated(exchange) as venue,
            opened(exchange, venue.url, venue.keys, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            venue.strike(Rule(action="lost", kinds=("orders", "fills")))
            lost = new_order(exchange, 1, quantity="0.1", price="20010", time_in_force=TimeInForce.IOC)
            began = datetime.now(UTC)
            gateway.send(lost)
            await reports.next(Acked)
            gateway.send(trades_of(lost, began))
            assert [fill.quantity for fill in (await reports.next(TradesAnswer)).fills] == [D("0.1")]
            assert not reports.of(FillReport) and not reports.of(OrderStatus)
            venue.strike(Rule(action="duplicate", kinds=("orders", "fills")))
            doubled = new_order(exchange, 2, quantity="0.1", price="20010", time_in_force=TimeInForce.IOC)
            gateway.send(doubled)
            first = await reports.next(FillReport)
            second = await reports.next(FillReport)
            assert first == second
            gateway.send(trades_of(doubled, began))
            assert [fill.fill_id for fill in (await reports.next(TradesAnswer)).fills] == [first.fill_id]

    run(story())


def test_a_frame_nobody_can_read_breaks_the_stream_in_the_open() -> None:
    async def story() -> None:
        async with (
            simulated("kraken") as venue,
            opened("kraken", venue.url, venue.keys, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            url = gateway.dialect.stream.url(gateway._ccxt)
            client = gateway._ccxt.clients[url]
            client.handle_text_or_binary_message(
                '{"channel": "executions", "data": [{"exec_type": "trade"}]}'
            )
            down = await reports.next(StreamDown)
            assert "unreadable" in down.message
            await reports.next(StreamUp)

    run(story())


# --- Books ---


@each_exchange
def test_a_book_follows_the_venue(exchange: str) -> None:
    async def story() -> None:
        async with (
            simulated(exchange) as venue,
            opened(exchange, venue.url, venue.keys, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            gateway.send(WatchBook(symbol=venue.symbol))
            gateway.send(WatchBook(symbol=venue.symbol))  # twice is once
            book = await reports.next(BookUpdate)
            assert book.symbol == venue.symbol
            assert book.bids[:2] == ((D("20000"), D("0.5")), (D("19999"), D("0.5")))
            assert book.asks[:2] == ((D("20010"), D("0.5")), (D("20011"), D("0.5")))
            venue.set_book("20003", "20004", "0.25")
            moved = await reports.next(BookUpdate, begins("20003"))
            assert (moved.bids[0], moved.asks[0]) == ((D("20003"), D("0.25")), (D("20004"), D("0.25")))
            assert all(isinstance(part, Decimal) for level in moved.bids + moved.asks for part in level)
            gateway.send(UnwatchBook(symbol=venue.symbol))
            await asyncio.sleep(0.2)
            reports.all.clear()
            venue.set_book("20005", "20006")
            await asyncio.sleep(0.3)
            assert not reports.of(BookUpdate)

    run(story())


def begins(bid: str) -> Callable[[BookUpdate], bool]:
    """Say of a book whether its best bid is this one; one that was withdrawn has none."""
    return lambda book: bool(book.bids) and book.bids[0][0] == D(bid)


@each_exchange
def test_a_book_comes_back_after_a_cut(exchange: str) -> None:
    async def story() -> None:
        async with (
            simulated(exchange) as venue,
            opened(exchange, venue.url, venue.keys, shapes=()) as (gateway, reports),
        ):
            gateway.send(WatchBook(symbol=venue.symbol))
            await reports.next(BookUpdate)
            await venue.server.cut()
            venue.set_book("20003", "20004")
            await reports.next(BookUpdate, begins("20003"), within_s=3)
            await asyncio.sleep(0.2)  # the stream is back, not only one picture by REST
            venue.set_book("20005", "20006")
            await reports.next(BookUpdate, begins("20005"), within_s=2)

    run(story())


@each_exchange
def test_many_changes_become_few_books_and_the_last_one_wins(exchange: str) -> None:
    async def story() -> None:
        async with (
            simulated(exchange) as venue,
            opened(exchange, venue.url, venue.keys, shapes=()) as (gateway, reports),
        ):
            gateway.send(WatchBook(symbol=venue.symbol))
            await reports.next(BookUpdate)
            reports.all.clear()
            for step in range(100):
                venue.set_book(str(19_000 + step), "20010")
                await asyncio.sleep(0.005)
            await reports.next(BookUpdate, begins("19099"))
            assert len(reports.of(BookUpdate)) <= 15

    run(story())


@each_exchange
def test_a_silent_book_is_asked_for(exchange: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(books, "BOOK_SILENCE_S", 0.4)
    monkeypatch.setattr(books, "BOOK_POLL_S", 0.1)

    async def story() -> None:
        async with (
            simulated(exchange) as venue,
            opened(exchange, venue.url, venue.keys, shapes=()) as (gateway, reports),
        ):
            gateway.send(WatchBook(symbol=venue.symbol))
            await reports.next(BookUpdate)
            venue.strike(Rule(action="lost", kinds=("book",)))
            for bid in ("20003", "20005"):  # again and again, not once
                venue.set_book(bid, "20010")
                await reports.next(BookUpdate, begins(bid))

    run(story())
