"""The gateway against a simulated Gemini: the stories of every exchange, and what is Gemini's alone."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from ems.core.messages import (
    Acked,
    BookUpdate,
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
from ems.venues.creates import CREATE_PATIENCE_S
from ems.venues.dialects import DIALECTS
from ems.venues.errors import refusal_of
from simulator.faults import Rule
from tests.venues.gateways import cancel_of, client_id, look_up, new_order, opened, trades_of
from tests.venues.simulated import keys_of
from tests.venues.simulated import simulated as simulated_exchange
from tests.venues.stories import D, rests_and_is_found, run

SYMBOL = "BTC/USDT"
KEYS = keys_of("gemini")
simulated = partial(simulated_exchange, "gemini", limits=False)
order_of = partial(new_order, "gemini")


# --- Markets ---


def test_spot_markets_are_spot_markets_with_the_steps_where_they_belong() -> None:
    async def story() -> None:
        async with (
            simulated() as venue,
            opened("gemini", venue.url, KEYS, wait=False, shapes=()) as (gateway, reports),
        ):
            (market,) = (await reports.next(MarketsLoaded)).markets
            assert (market.symbol, market.base, market.quote, market.active) == (SYMBOL, "BTC", "USDT", True)
            assert (market.tick, market.lot, market.min_quantity) == (D("0.1"), D("0.0001"), D("0.0001"))
            assert (market.maker_fee, market.taker_fee, market.fee_mode) == (D("0.001"), D("0.002"), "quote")
            assert (market.min_notional, market.max_quantity, market.market_orders) == (0, None, False)
            await reports.next(StreamUp)

    run(story())


@pytest.mark.parametrize(
    ("mode", "active"),
    [("trading", True), ("halted", False), ("cancel_only", False), ("post_only", False)],
)
def test_a_market_that_takes_no_takers_is_not_active(mode: str, active: bool) -> None:
    async def story() -> None:
        async with simulated() as venue:
            venue.exchange.set_mode(mode, venue.server.now(), SYMBOL)
            async with opened("gemini", venue.url, KEYS, wait=False, shapes=()) as (_, reports):
                (market,) = (await reports.next(MarketsLoaded)).markets
                assert market.active is active

    run(story())


def test_details_are_kept_until_they_may_be_old() -> None:
    async def story() -> None:
        async with (
            simulated() as venue,
            opened("gemini", venue.url, KEYS, shapes=()) as (gateway, reports),
        ):
            venue.strike(Rule(action="delay", seconds=(0, 0), kinds=("markets",)))
            await gateway._markets.load()
            assert len(venue.server.faults.log) == 1  # the list; its details are fresh
            gateway._ccxt._details["btcusdt"] = (-1000.0, gateway._ccxt._details["btcusdt"][1])
            await gateway._markets.load()
            assert len(venue.server.faults.log) == 3
            gateway.send(WatchBook(symbol=SYMBOL))  # an order may go there
            await reports.next(BookUpdate)
            await gateway._markets.load()
            assert len(venue.server.faults.log) == 5

    run(story())


# --- Orders ---


def test_an_order_rests_is_found_three_ways_and_is_cancelled_by_its_number() -> None:
    async def story() -> None:
        async with (
            simulated() as venue,
            opened("gemini", venue.url, KEYS, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            order = order_of(quantity="0.1", price="19000", post_only=True)
            acked = await rests_and_is_found(SYMBOL, gateway, reports, order)
            venue.strike(Rule(action="delay", seconds=(0, 0), kinds=("fetch", "cancel")))
            gateway.send(cancel_of(order))  # without its number: looked up first
            assert (await reports.next(CancelAcked)).filled_quantity == 0
            assert [strike.target for strike in venue.server.faults.log] == ["fetch", "cancel"]
            closed = await reports.next(OrderStatus, lambda status: status.found is Found.CLOSED)
            assert (closed.ending, closed.filled_quantity, closed.reason) == (
                Ending.CANCELED,
                0,
                "Requested",
            )
            gateway.send(cancel_of(order))  # it is over, so no cancel goes out
            refused = await reports.next(CancelRefused)
            assert (refused.refusal, len(venue.server.faults.log)) == (Refusal.UNKNOWN_ORDER, 3)
            gateway.send(cancel_of(order, acked.exchange_order_id))  # a cancel of a cancelled one succeeds
            assert (await reports.next(CancelAcked)).filled_quantity == 0
            gateway.send(cancel_of(order_of(number=9)))
            assert (await reports.next(CancelRefused)).refusal is Refusal.UNKNOWN_ORDER
            gateway.send(cancel_of(order_of(number=9), "12345"))
            refused = await reports.next(CancelRefused)
            assert (refused.refusal, refused.venue_code) == (Refusal.UNKNOWN_ORDER, "OrderNotFound")

    run(story())


def test_a_cancel_that_comes_too_late_is_a_reason_to_look() -> None:
    async def story() -> None:
        async with (
            simulated() as venue,
            opened("gemini", venue.url, KEYS, shapes=()) as (gateway, reports),
        ):
            order = order_of(quantity="0.1", price="20010")
            gateway.send(order)
            acked = await reports.next(Acked)
            assert (acked.ending, acked.filled_quantity) == (Ending.FILLED, D("0.1"))
            gateway.send(cancel_of(order, acked.exchange_order_id))
            assert (await reports.next(OutcomeUnknown)).request == "cancel"

    run(story())


@pytest.mark.parametrize("side", [Side.BUY, Side.SELL])
def test_fills_are_read_from_the_order_and_never_from_the_stream(side: Side) -> None:
    """The stream names a fill by another number: taken from both, it would count twice."""

    async def story() -> None:
        async with (
            simulated() as venue,
            opened("gemini", venue.url, KEYS, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            venue.set_book(size="0.1")
            began = datetime.now(UTC)
            price = "20011" if side is Side.BUY else "19999"  # two levels: 0.2 of the 0.3 wanted
            order = order_of(side=side, quantity="0.3", price=price, time_in_force=TimeInForce.IOC)
            gateway.send(order)
            acked = await reports.next(Acked)
            assert (acked.ending, acked.filled_quantity, acked.fills) == (Ending.CANCELED, D("0.2"), ())
            told = []
            while not told or told[-1].found is not Found.CLOSED:
                told.append(await reports.next(OrderStatus))
            assert [(one.found, one.filled_quantity, one.ending) for one in told] == [
                (Found.OPEN, D("0"), None),
                (Found.OPEN, D("0.1"), None),
                (Found.OPEN, D("0.2"), None),
                (Found.CLOSED, D("0.2"), Ending.CANCELED),
            ]
            assert told[-1].reason == "ImmediateOrCancelWouldPost"
            assert not reports.of(FillReport)
            gateway.send(trades_of(order, began))
            by_client_id = (await reports.next(TradesAnswer)).fills
            gateway.send(trades_of(order, began, acked.exchange_order_id))
            by_number = (await reports.next(TradesAnswer)).fills
            for_people = tuple(await gateway.fetch_order_fills(SYMBOL, acked.exchange_order_id))
            assert by_client_id == by_number == for_people
            truth = venue.exchange.my_trades(venue.account)
            assert [(one.fill_id, one.price, one.quantity, one.fee) for one in by_number] == [
                (str(fill.trade_id), fill.price, fill.quantity, fill.fee) for fill in truth
            ]
            for fill in by_number:
                assert (fill.fee, fill.fee_currency) == (fill.price * fill.quantity * D("0.002"), "USDT")
                assert (fill.liquidity, fill.side, fill.symbol) == (Liquidity.TAKER, side, SYMBOL)
                assert (fill.order_id, fill.client_order_id) == (order.order_id, client_id(1))

    run(story())


def test_a_resting_order_fills_as_maker() -> None:
    async def story() -> None:
        async with (
            simulated() as venue,
            opened("gemini", venue.url, KEYS, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            order = order_of(quantity="0.1", price="20005", post_only=True)
            gateway.send(order)
            acked = await reports.next(Acked)
            venue.set_book("19990", "20005")  # an offer at our price takes us
            ended = await reports.next(OrderStatus, lambda status: status.found is Found.CLOSED)
            assert (ended.ending, ended.filled_quantity) == (Ending.FILLED, D("0.1"))
            (fill,) = await gateway.fetch_order_fills(SYMBOL, acked.exchange_order_id)
            assert (fill.price, fill.quantity, fill.liquidity, fill.fee) == (
                D("20005"),
                D("0.1"),
                Liquidity.MAKER,
                D("2.0005"),
            )

    run(story())


@pytest.mark.parametrize(
    ("case", "options", "reason"),
    [
        ("post only", {"price": "20010", "post_only": True}, "MakerOrCancelWouldTake"),
        ("at once", {"price": "20000", "time_in_force": TimeInForce.IOC}, "ImmediateOrCancelWouldPost"),
        (
            "all or nothing",
            {"quantity": "1", "price": "20010", "time_in_force": TimeInForce.FOK},
            "FillOrKillWouldNotFill",
        ),
    ],
)
def test_an_option_that_cannot_be_kept_is_an_order_that_was_cancelled(
    case: str, options: dict[str, Any], reason: str
) -> None:
    async def story() -> None:
        async with (
            simulated() as venue,
            opened("gemini", venue.url, KEYS, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            before = dict(venue.account.free)
            venue.exchange.deposit(venue.account, "USDT", D("90000"), venue.server.now())
            order = order_of(**{"quantity": "0.1", **options})
            gateway.send(order)
            acked = await reports.next(Acked)
            assert (acked.ending, acked.filled_quantity, acked.fills) == (Ending.CANCELED, 0, ())
            ended = await reports.next(OrderStatus, lambda status: status.found is Found.CLOSED)
            assert (ended.ending, ended.filled_quantity, ended.reason) == (Ending.CANCELED, 0, reason)
            gateway.send(look_up(order))
            found = await reports.next(OrderStatus, lambda status: status.query_sent_at is not None)
            assert (found.found, found.ending, found.exchange_order_id) == (
                Found.CLOSED,
                Ending.CANCELED,
                acked.exchange_order_id,
            )
            assert venue.account.free == before | {"USDT": before["USDT"] + 90000}

    run(story())


@pytest.mark.parametrize(
    ("case", "options", "refusal", "code"),
    [
        (
            "more than there is",
            {"quantity": "5", "price": "19000"},
            "INSUFFICIENT_FUNDS",
            "InsufficientFunds",
        ),
        ("too small", {"quantity": "0.00001", "price": "19000"}, "LOT_TICK", "InvalidQuantity"),
        ("off the lot", {"quantity": "0.10001", "price": "19000"}, "LOT_TICK", "InvalidQuantity"),
        ("off the tick", {"quantity": "0.1", "price": "19000.05"}, "LOT_TICK", "InvalidPrice"),
    ],
)
def test_geminis_own_no(case: str, options: dict[str, Any], refusal: str, code: str) -> None:
    async def story() -> None:
        async with (
            simulated() as venue,
            opened("gemini", venue.url, KEYS, shapes=()) as (gateway, reports),
        ):
            order = order_of(**options)
            gateway.send(order)
            rejected = await reports.answer_to(order.order_id)
            assert isinstance(rejected, Rejected), rejected
            assert (rejected.refusal, rejected.sent, rejected.venue_code) == (Refusal(refusal), True, code)
            gateway.send(look_up(order))
            assert (await reports.answer_to(order.order_id)).found is Found.NOT_FOUND
            assert not venue.orders()

    run(story())


def test_a_market_order_is_refused_before_it_is_sent() -> None:
    async def story() -> None:
        async with (
            simulated() as venue,
            opened("gemini", venue.url, KEYS, shapes=()) as (gateway, reports),
        ):
            venue.strike(Rule(action="delay", seconds=(0, 0), kinds=("create",)))
            gateway.send(order_of(price=None))
            rejected = await reports.answer_to("order-1")
            assert isinstance(rejected, Rejected)
            assert (rejected.refusal, rejected.sent) == (Refusal.PERMANENT, False)
            assert "no market orders" in rejected.message and "limit order" in rejected.message
            assert not venue.server.faults.log and not venue.orders()

    run(story())


def test_a_client_id_is_never_sent_twice_for_gemini_would_take_both() -> None:
    async def story() -> None:
        async with simulated() as venue:
            order = order_of(quantity="0.1", price="19000")
            async with opened("gemini", venue.url, KEYS, shapes=()) as (gateway, reports):
                gateway.send(order)
                await reports.next(Acked)
                gateway.send(order)
                again = await reports.answer_to(order.order_id)
                assert isinstance(again, OutcomeUnknown) and "sent before" in again.message
            assert len(venue.orders()) == 1
            # What Gemini itself would do with it.
            async with opened("gemini", venue.url, KEYS, shapes=()) as (gateway, reports):
                gateway.send(order)
                second = await reports.next(Acked)
                assert len(venue.orders()) == 2
                gateway.send(look_up(order, second.exchange_order_id))
                found = await reports.next(OrderStatus, lambda status: status.query_sent_at is not None)
                assert found.exchange_order_id == second.exchange_order_id

    run(story())


def test_history_is_read_to_its_end_also_where_a_page_ends_within_a_millisecond(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ems.venues.dialects.gemini._TRADES_PAGE", 3)

    async def story() -> None:
        async with (
            simulated() as venue,
            opened("gemini", venue.url, KEYS, shapes=()) as (gateway, reports),
        ):
            began = datetime.now(UTC)
            venue.set_book(size="0.01")
            orders = [
                order_of(number=number, quantity="0.02", price="20011", time_in_force=TimeInForce.IOC)
                for number in range(1, 5)
            ]
            for order in orders:
                gateway.send(order)
                await reports.next(Acked)
                venue.set_book(size="0")
                venue.set_book(size="0.01")
            venue.strike(Rule(action="hide_closed"))
            for order in orders:
                gateway.send(trades_of(order, began))
                fills = (await reports.next(TradesAnswer)).fills
                assert sum(fill.quantity for fill in fills) == D("0.02"), order

    run(story())


# --- The clock and the session ---


def test_the_clock_is_read_from_a_heartbeat() -> None:
    async def story() -> None:
        async with simulated() as venue:
            venue.strike(Rule(action="skew", seconds=(40.0, 40.0)))
            async with opened("gemini", venue.url, KEYS, shapes=()) as (gateway, reports):
                health = await gateway.fetch_health()
                assert 38_000 < health["clock_skew_ms"] < 41_000  # type: ignore[operator]
                gateway.send(order_of())
                rejected = await reports.answer_to("order-1")
                assert isinstance(rejected, Rejected)
                assert (rejected.refusal, rejected.sent) == (Refusal.CLOCK, False)

    run(story())


def test_a_session_that_needs_a_heartbeat_has_one() -> None:
    dialect = DIALECTS["gemini"]
    assert dialect.clock_every_s * 2 < 30.0  # one may be lost

    async def story() -> None:
        async with (
            simulated(require_heartbeat=(KEYS.public,)) as venue,
            opened("gemini", venue.url, KEYS, shapes=()) as (gateway, reports),
        ):
            gateway.send(order_of(quantity="0.1", price="19000"))
            await reports.next(Acked)
            heard = venue.dialect._heard[KEYS.public]
            await gateway._venue_clock.measure()
            assert venue.dialect._heard[KEYS.public] > heard
            assert [order.open for order in venue.exchange.orders.values()] == [True]

    run(story())


def test_a_nonce_that_was_overtaken_refuses_a_create_but_is_no_proof_that_it_did_not_arrive() -> None:
    dialect = DIALECTS["gemini"]
    body = {"result": "error", "reason": "InvalidNonce", "message": "Nonce '1' has not increased"}
    assert refusal_of(dialect.words.said(400, body), dialect.words.create_refusals) is None
    assert refusal_of(dialect.words.said(400, body), dialect.words.cancel_refusals) is Refusal.CLOCK


def test_many_requests_at_once_draw_nonces_that_arrive_in_order() -> None:
    async def story() -> None:
        async with (
            simulated() as venue,
            opened("gemini", venue.url, KEYS, shapes=()) as (gateway, reports),
        ):
            for number in range(1, 31):
                gateway.send(order_of(number=number, quantity="0.001", price="19000"))
                gateway.send(QueryOpenOrders())
            for _ in range(30):
                await reports.next(Acked, within_s=10)
                await reports.next(OpenOrders, within_s=10)
            await venue.server.cut()  # the upgrade of the stream has a nonce too
            await reports.next(StreamUp)
            gateway.send(order_of(number=31, quantity="0.001", price="19000"))
            await reports.next(Acked)
            assert len(venue.orders()) == 31

    run(story())


# --- The stream ---


def test_a_lost_event_breaks_the_stream_and_a_doubled_one_is_heard_once() -> None:
    async def story() -> None:
        async with (
            simulated() as venue,
            opened("gemini", venue.url, KEYS, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            venue.strike(Rule(action="duplicate", kinds=("orders", "fills")))
            gateway.send(order_of(number=1, quantity="0.1", price="19000"))
            await reports.next(Acked)
            venue.strike()
            gateway.send(order_of(number=2, quantity="0.1", price="19000"))
            await reports.next(OrderStatus, lambda status: status.client_order_id == client_id(2))
            first = [one for one in reports.of(OrderStatus) if one.client_order_id == client_id(1)]
            assert len(first) == 2  # accepted and booked, each once
            assert not reports.of(StreamDown)
            venue.strike(Rule(action="lost", kinds=("orders",), count=1))
            gateway.send(order_of(number=3, quantity="0.1", price="19000"))
            down = await reports.next(StreamDown)
            assert "are missing" in down.message
            await reports.next(StreamUp)
            # The new subscription begins with all that is open.
            await reports.next(OrderStatus, lambda status: status.client_order_id == client_id(3))

    run(story())


def test_a_frame_nobody_can_read_breaks_the_stream_in_the_open() -> None:
    async def story() -> None:
        async with (
            simulated() as venue,
            opened("gemini", venue.url, KEYS, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            client = gateway._ccxt.clients[gateway.dialect.stream.url(gateway._ccxt)]
            client.handle_text_or_binary_message('[{"type": "fill", "order_id": "1"}]')
            assert "unreadable" in (await reports.next(StreamDown)).message
            await reports.next(StreamUp)

    run(story())


def test_the_stream_is_where_ccxt_puts_it() -> None:
    async def story() -> None:
        async with (
            simulated() as venue,
            opened("gemini", venue.url, KEYS, shapes=()) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            assert gateway.dialect.stream.url(gateway._ccxt) in gateway._ccxt.clients

    run(story())


# --- Limits ---


def test_our_own_limits_keep_us_within_geminis() -> None:
    async def story() -> None:
        async with (
            simulated(limits=True) as venue,
            opened("gemini", venue.url, KEYS, request_timeout_s=2) as (gateway, reports),
        ):
            await reports.next(StreamUp)
            refused = []
            learn = gateway._learn_from

            def watch(attempt: Any) -> None:
                refused.extend([attempt.url] if attempt.status == 429 else [])
                learn(attempt)

            gateway._ccxt.on_attempt = watch
            began = time.monotonic()
            for number in range(1, 26):
                gateway.send(order_of(number=number, quantity="0.001", price="19000"))
            answers = [
                await reports.next(object, lambda one: isinstance(one, Acked | Rejected), within_s=10)
                for _ in range(25)
            ]
            assert not refused
            assert {type(answer) for answer in answers} <= {Acked, Rejected}
            # Those that would have waited longer than an order's patience were never sent.
            assert all(one.sent is False for one in answers if isinstance(one, Rejected))
            assert len(venue.orders()) == sum(isinstance(one, Acked) for one in answers) >= 20
            assert time.monotonic() - began < 8
            gateway.send(cancel_of(order_of(number=1), str(next(iter(venue.exchange.orders)) * 1000)))
            await reports.next(CancelAcked)

    run(story())


# --- What an answer means ---


def no(reason: str, message: str = "words") -> dict[str, str]:
    return {"result": "error", "reason": reason, "message": message}


@pytest.mark.parametrize(
    ("case", "status", "body", "meaning"),
    [
        ("no money", 406, no("InsufficientFunds"), "INSUFFICIENT_FUNDS"),
        ("too small or off its step", 400, no("InvalidQuantity"), "LOT_TICK"),
        ("a bad price", 400, no("InvalidPrice"), "LOT_TICK"),
        ("not open", 400, no("MarketNotOpen"), "MARKET_CLOSED"),
        ("closed", 400, no("MarketClosed"), "MARKET_CLOSED"),
        ("a bad side", 400, no("InvalidSide"), "PERMANENT"),
        ("two options", 400, no("ConflictingOptions"), "PERMANENT"),
        ("no such symbol", 400, no("InvalidSymbol"), "PERMANENT"),
        ("a wrong signature", 400, no("InvalidSignature"), "AUTH"),
        ("a role is missing", 403, no("MissingRole", "OrderStatus required"), "AUTH"),
        ("too many requests", 429, no("RateLimit"), None),  # a proxy may say it of a repetition
        ("an overtaken nonce", 400, no("InvalidNonce"), None),
        ("a broken system", 500, no("System"), None),
        ("a system that says no", 500, no("InsufficientFunds"), None),
        ("maintenance", 503, no("Maintenance"), None),
        ("new to us", 400, no("SomethingElse"), None),
        ("no such order", 404, no("OrderNotFound"), None),
        ("no reason", 400, {"result": "error"}, None),
        ("a number for a reason", 400, {"result": "error", "reason": 7}, None),
        ("another envelope", 403, {"error": {"code": 1}}, None),
        ("a good answer with a bad status", 400, {"order_id": "1"}, None),
        ("nothing", 400, None, None),
        ("a list", 400, [], None),
    ],
)  # fmt: skip
def test_what_an_answer_to_a_create_means(case: str, status: int, body: object, meaning: str | None) -> None:
    dialect = DIALECTS["gemini"]
    refusal = refusal_of(dialect.words.said(status, body), dialect.words.create_refusals)
    assert refusal == (None if meaning is None else Refusal(meaning))


def test_a_good_answer_says_nothing() -> None:
    said = DIALECTS["gemini"].words.said
    assert said(200, {"order_id": "1", "is_cancelled": True, "reason": "MakerOrCancelWouldTake"}) == ()
    assert said(200, no("InsufficientFunds")) == ()  # a 200 refuses nothing


def test_a_create_waits_longer_where_nothing_ends_it() -> None:
    assert DIALECTS["gemini"].recv_window_s == 30.0
    assert CREATE_PATIENCE_S < 30.0
