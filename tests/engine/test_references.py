"""A book that the others contradict is not traded on; a second opinion is never traded at."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from ems.core import errors
from ems.core.depth import CHECKSUM, GAP
from ems.core.messages import BookUpdate, FromFeed, MarketOrder, Problem, Side
from ems.core.records import Query
from tests.builders import at, book, smart_order
from tests.engine.test_legs import Floor, Venue, convert
from tests.engine.world import EngineWorld

D = Decimal


def opinion(world: EngineWorld, bid: str, ask: str, *, exchange: str = "binance", unfit: str = "") -> None:
    one = replace(book(bid, ask, when=world.now), unfit=unfit)
    world.do(lambda now: world.engine.handle(FromFeed(provider="coinapi", exchange=exchange, book=one), now))


def asked(world: EngineWorld, key: str) -> object:
    order = MarketOrder(exchange="binance", side=Side.BUY, symbol="ETH/USDT", quantity=D("0.1"))
    world.submit(order, key=key)
    if world.answer() is None:  # it is held for a better book, for a while
        world.timer("held", str(world.tokens))
    return world.answer()


def test_an_opinion_alone_is_no_book() -> None:
    world = EngineWorld()
    opinion(world, "2000", "2000.5")
    answer = asked(world, "one")
    assert isinstance(answer, Problem) and answer.code == errors.EXCHANGE_UNAVAILABLE
    assert not world.placed() and world.account.books == {}


def test_a_book_that_agrees_is_traded_on_at_its_own_price() -> None:
    world = EngineWorld()
    opinion(world, "1990", "1990.5")  # half a percent
    world.book()
    assert isinstance(asked(world, "one"), Query)
    assert [order.price for order in world.placed()] == [None] or world.placed()[0].price > D(2000)


@pytest.mark.parametrize("bid", ["1900", "2100"])
def test_a_book_far_from_the_others_is_not_traded_on_after_a_moment(bid: str) -> None:
    world = EngineWorld()
    opinion(world, bid, str(D(bid) + 1))
    world.book()
    assert ("opinion", "binance", "default", "ETH/USDT") in world.wakes()
    assert world.account.books["ETH/USDT"].unfit == ""  # one look may be between two messages
    world.now = 1.0
    world.timer("opinion", "binance", "default", "ETH/USDT")
    assert "off what others show" in world.account.books["ETH/USDT"].unfit
    answer = asked(world, "one")
    assert isinstance(answer, Problem) and answer.code == errors.EXCHANGE_UNAVAILABLE
    assert "off what others show" in answer.message
    assert not world.placed()
    world.now = 1.5  # the exchange's book comes back to where the others are
    world.book(bid=bid, ask=str(D(bid) + 1))
    assert isinstance(asked(world, "two"), Query) and len(world.placed()) == 1


def test_the_others_may_come_to_agree() -> None:
    world = EngineWorld()
    opinion(world, "1900", "1901")
    world.book()
    world.now = 2.0
    world.book()
    assert world.account.books["ETH/USDT"].unfit
    opinion(world, "1999", "2000")
    assert world.account.books["ETH/USDT"].unfit == ""
    assert isinstance(asked(world, "one"), Query)


def test_ten_times_the_price_is_not_traded_on_for_a_moment_either() -> None:
    world = EngineWorld()
    opinion(world, "2000", "2001")
    world.book(bid="20000", ask="20001")
    assert isinstance(asked(world, "one"), Problem) and not world.placed()
    assert world.account.tape("ETH/USDT").look(Side.BUY, at(0), since=at(0)) is not None


@pytest.mark.parametrize(("case", "after_s", "unfit"), [("old", 11.0, ""), ("broken", 0.0, GAP)])
def test_an_opinion_that_is_none_says_nothing(case: str, after_s: float, unfit: str) -> None:
    world = EngineWorld()
    opinion(world, "1000", "1001", unfit=unfit)
    world.now = after_s
    world.book()
    world.now += 1.5
    world.book()
    assert world.account.books["ETH/USDT"].unfit == ""


def test_an_opinion_on_another_exchange_alone_proves_nothing() -> None:
    world = EngineWorld()
    opinion(world, "1000", "1001", exchange="kraken")
    world.book()
    world.now = 2.0
    world.book()
    assert world.account.books["ETH/USDT"].unfit == ""


def test_health_tells_every_source_with_its_age_and_its_trouble() -> None:
    world = EngineWorld()
    opinion(world, "1900", "1901")
    world.now = 0.5
    world.book()
    world.now = 2.0
    world.book()
    [shown] = world.engine.references.markets(at(3))
    assert (shown["symbol"], shown["crossed"], shown["mid"]) == ("ETH/USDT", False, "1900.5")
    assert shown["sources"] == [
        {
            "exchange": "binance",
            "source": "account default",
            "age_s": "1.00",
            "problem": "its prices are 5.2 % off what others show",
        },
        {"exchange": "binance", "source": "coinapi", "age_s": "3.00", "problem": ""},
    ]


class Broken(Venue):
    """A venue whose stream of books lost a message."""

    def book(self, symbol: str, now: float) -> BookUpdate:
        return BookUpdate(symbol=symbol, bids=(), asks=(), at=at(now), unfit=CHECKSUM)


def test_a_broken_book_is_left_out_of_a_plan_by_name() -> None:
    money = {"USDT": "1000", "BNB": "10"}
    world = Floor(Broken("alpha", ("ETH/USDT",), money), Venue("beta", ("ETH/USDT",), money))
    answer = world.submit(convert("900"))
    assert isinstance(answer, Query)
    made = world.parent()
    assert made.arrival["left_out"] == {"alpha/default ETH/USDT": CHECKSUM}
    assert {leg.exchange for leg in made.legs} == {"beta"} and not world.placed("alpha")


def test_where_every_book_is_broken_the_answer_says_why() -> None:
    money = {"USDT": "1000", "BNB": "10"}
    world = Floor(Broken("alpha", ("ETH/USDT",), money))
    answer = world.submit(convert("900", exchange="alpha"))
    assert isinstance(answer, Problem) and answer.code == errors.EXCHANGE_UNAVAILABLE
    assert f"ETH/USDT: {CHECKSUM}" in answer.message
    assert not world.placed()


def test_what_is_under_way_waits_for_a_book_it_may_trust() -> None:
    world = EngineWorld()
    world.book()
    world.submit(smart_order("1000"))
    [resting] = world.placed()
    taken_back = BookUpdate(symbol="ETH/USDT", bids=(), asks=(), at=at(0), unfit=CHECKSUM)
    world.ack(resting.order_id)
    world.venue(taken_back)
    assert not world.placed()
    for second in range(1, 5):
        world.now = second
        world.timer("parent", "q1.1")
        assert not world.placed()
