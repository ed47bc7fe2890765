"""Our reading of an exchange's rules against the simulated exchange itself, over its wire.

What we take is never refused there for a rule; what we refuse is refused there too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from dataclasses import replace
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from ems.core.instrument import Market, MarketStatus
from ems.core.messages import (
    BookUpdate,
    MarketsLoaded,
    NewOrder,
    OrderType,
    PriceBounds,
    QueryMarkets,
    Refusal,
    Rejected,
    Side,
    WatchBook,
)
from ems.core.validation import Picture, Terms, judge
from ems.venues.dialects import DIALECTS
from simulator.records import CANCEL_ONLY_MODE, HALT, POST_ONLY_ONLY_MODE, TRADING
from tests.venues.gateways import cancel_of, new_order, opened
from tests.venues.listed import ASK, BID, EXCHANGES, listed

D = Decimal
MID = (BID + ASK) / 2
ORDERS = 60  # of each exchange
NO_RULE = (Refusal.INSUFFICIENT_FUNDS, Refusal.POST_ONLY_WOULD_CROSS)

each_exchange = pytest.mark.parametrize("exchange", EXCHANGES)


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(story)


def market_in(loaded: MarketsLoaded, symbol: str) -> Market:
    (found,) = [m for m in loaded.markets if isinstance(m, Market) and m.symbol == symbol]
    return found


async def picture_of(gateway: Any, reports: Any, venue: Any) -> Picture:
    """Return what prices are judged in: the middle, and what the exchange tells of its own bounds."""
    if DIALECTS[venue.name].bounds is None:
        return Picture(mid=MID)
    gateway.send(WatchBook(symbol=venue.symbol))
    told = await reports.next(PriceBounds)
    assert told.query_sent_at is not None and told.reference or (told.highest_buy and told.lowest_sell)
    return Picture(
        mid=MID, reference=told.reference, highest_buy=told.highest_buy, lowest_sell=told.lowest_sell
    )


def bounds_of(market: Market, picture: Picture) -> Iterator[Terms]:
    """Make orders at the moving bounds and a step beyond them; post-only, for these meet the book."""
    tick = market.tick
    for side, bound, beyond in (
        (Side.BUY, picture.highest_buy, tick),
        (Side.SELL, picture.lowest_sell, -tick),
    ):
        for price in () if bound is None else (bound, bound + beyond):
            yield Terms(
                side=side, order_type=OrderType.LIMIT, quantity=D("0.01"), price=price, post_only=True
            )


def orders_about(market: Market, picture: Picture, dice: Random) -> Iterator[Terms]:
    """Make orders on both sides of every rule that never meet the book."""
    rules, lot, tick = market.rules, market.lot, market.tick
    yield from bounds_of(market, picture)
    low, high = rules.band.of(Side.BUY) if rules.band else (D("0.3"), D(4))
    base = picture.reference or MID
    buys = [base * low, base * low - tick, rules.min_price or tick, tick * D("0.9"), D(19_990), D(12_000)]
    sells = [base * high, base * high + tick, rules.max_price or D(90_000), D(20_020), D(30_000)]
    if rules.max_price is not None:
        sells.append(rules.max_price + tick)
    largest = market.max_quantity or D(5)
    for _ in range(ORDERS):
        side = dice.choice(tuple(Side))
        price = dice.choice(buys if side is Side.BUY else sells)
        worth = market.min_notional / max(price, tick)
        if rules.max_notional is not None and dice.random() < 0.2:
            worth = rules.max_notional / max(price, tick)
        size = dice.choice([market.min_quantity, worth, D("0.01"), D(1), largest])
        yield Terms(
            side=side,
            order_type=OrderType.LIMIT,
            quantity=max(size + dice.choice([-lot, D(0), lot, lot / 2]), lot / 2),
            price=price,
            post_only=dice.random() < 0.3,
        )


def as_sent(market: Market, exchange: str, number: int, terms: Terms) -> NewOrder:
    order = new_order(exchange, number, side=terms.side, post_only=terms.post_only, symbol=market.symbol)
    price = None if terms.price is None else market.passive_price(terms.side, terms.price)
    quantity = market.floor_quantity(terms.quantity)
    return replace(order, quantity=quantity, price=price, order_type=terms.order_type)


@each_exchange
def test_what_we_take_is_taken_and_what_we_refuse_is_refused(exchange: str) -> None:
    async def story() -> None:
        async with (
            listed(exchange) as venue,
            opened(exchange, venue.url, venue.keys, wait=False, shapes=()) as (gateway, reports),
        ):
            market = market_in(await reports.next(MarketsLoaded), venue.symbol)
            venue.sell_into(BID - 500, D(1))  # bands are drawn around trades, not around the book
            picture = await picture_of(gateway, reports, venue)
            taken = refused = 0
            for number, asked in enumerate(orders_about(market, picture, Random(exchange)), 1):
                judged = judge(market, asked, picture)
                order = as_sent(market, exchange, number, asked)
                if order.quantity <= 0 or (order.price is not None and order.price <= 0):
                    assert judged.problems
                    continue  # there is no such order to be sent
                gateway.send(order)
                answer = await reports.answer_to(order.order_id)
                said = (asked, judged.problems, answer)
                if judged.problems:
                    refused += 1
                    assert isinstance(answer, Rejected), said
                    continue
                taken += 1
                if isinstance(answer, Rejected):
                    assert answer.refusal in NO_RULE, said
                    continue
                gateway.send(cancel_of(order, answer.exchange_order_id))
                await reports.answer_to(order.order_id)
            assert taken >= 8 and refused >= 4, (taken, refused)

    run(story())


@each_exchange
def test_market_orders_too(exchange: str) -> None:
    async def story() -> None:
        async with (
            listed(exchange) as venue,
            opened(exchange, venue.url, venue.keys, wait=False, shapes=()) as (gateway, reports),
        ):
            market = market_in(await reports.next(MarketsLoaded), venue.symbol)
            if not market.market_orders:
                return
            # Just above what we take at least, and well below it: 2 % between them are left alone.
            least = judge(market, market_order(D("1e-9")), Picture(mid=MID, taken_at=BID)).terms.quantity
            for number, quantity in enumerate((least, least + market.lot, least * D("0.9") - market.lot), 1):
                judged = judge(market, market_order(quantity), Picture(mid=MID, taken_at=BID))
                order = as_sent(market, exchange, number, market_order(quantity))
                gateway.send(order)
                answer = await reports.answer_to(order.order_id)
                assert isinstance(answer, Rejected) == bool(judged.problems), (quantity, answer)

    run(story())


@each_exchange
def test_the_largest_market_order_is_told_in_money(exchange: str) -> None:
    async def story() -> None:
        async with (
            listed(exchange) as venue,
            opened(exchange, venue.url, venue.keys, wait=False, shapes=()) as (gateway, reports),
        ):
            market = market_in(await reports.next(MarketsLoaded), venue.symbol)
            most = market.rules.max_market_notional
            assert (most is not None) == (exchange == "okx")
            if most is None:
                return
            for number, share in enumerate((D("0.9"), D("1.1")), 1):
                asked = market_order(market.floor_quantity(most * share / ASK))
                judged = judge(market, asked, Picture(mid=MID, taken_at=BID))
                order = as_sent(market, exchange, number, asked)
                gateway.send(order)
                answer = await reports.answer_to(order.order_id)
                assert isinstance(answer, Rejected), "nobody here has so much"
                assert (answer.refusal in NO_RULE) == (not judged.problems), (share, answer)

    run(story())


@each_exchange
def test_so_many_orders_wait_in_a_market_and_no_more(exchange: str) -> None:
    async def story() -> None:
        async with (
            listed(exchange) as venue,
            opened(exchange, venue.url, venue.keys, wait=False, shapes=()) as (gateway, reports),
        ):
            market = market_in(await reports.next(MarketsLoaded), venue.symbol)
            most = market.rules.max_waiting_orders
            assert most == {"binance": 5, "bybit": 30}.get(exchange)
            if most is None:
                return
            venue.sell_into(BID, D("0.1"))  # a last price, which some compare a stop with
            asked = Terms(
                side=Side.SELL, order_type=OrderType.STOP_LOSS, quantity=D("0.01"), stop_price=BID - 4000
            )
            for number in range(most + 1):
                judged = judge(market, asked, Picture(mid=MID, waiting_orders=number, open_orders=number))
                plain = new_order(exchange, number, side=Side.SELL, symbol=market.symbol)
                order = replace(
                    plain,
                    order_type=asked.order_type,
                    quantity=asked.quantity,
                    price=None,
                    stop_price=asked.stop_price,
                )
                gateway.send(order)
                answer = await reports.answer_to(order.order_id)
                assert isinstance(answer, Rejected) == bool(judged.problems) == (number == most), answer

    run(story())


def market_order(quantity: Decimal) -> Terms:
    return Terms(side=Side.BUY, order_type=OrderType.MARKET, quantity=quantity)


@each_exchange
def test_the_status_of_a_market_is_read(exchange: str) -> None:
    async def story() -> None:
        async with (
            listed(exchange) as venue,
            opened(exchange, venue.url, venue.keys, wait=False, shapes=()) as (gateway, reports),
        ):
            await reports.next(MarketsLoaded)
            gateway.send(WatchBook(symbol=venue.symbol))  # Gemini is asked at once only about those in use
            await reports.next(BookUpdate)
            limit = Terms(side=Side.BUY, order_type=OrderType.LIMIT, quantity=D(1), price=D(19_000))
            for number, mode in enumerate((HALT, CANCEL_ONLY_MODE, POST_ONLY_ONLY_MODE, TRADING), 1):
                venue.exchange.set_mode(mode, venue.server.now(), venue.symbol)
                gateway.send(QueryMarkets())
                market = market_in(await reports.next(MarketsLoaded), venue.symbol)
                assert (market.status is MarketStatus.OPEN) == market.active
                judged = judge(market, limit, Picture(mid=MID))
                order = as_sent(market, exchange, number, limit)
                gateway.send(order)
                answer = await reports.answer_to(order.order_id)
                if mode is POST_ONLY_ONLY_MODE and market.status is MarketStatus.OPEN:
                    continue  # OKX and Bybit do not tell this of spot markets
                assert isinstance(answer, Rejected) == bool(judged.problems), (mode, market.status, answer)

    run(story())
