"""Facts of the venue that the database refuses: each one halts the server, and again after each restart."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from ems.core.messages import (
    Acked,
    CancelRequest,
    Found,
    LimitOrder,
    OpenOrders,
    OrderStatus,
    OutcomeUnknown,
    QueryOrder,
    QueryTrades,
    Side,
    TradesAnswer,
)
from ems.core.order import fold
from ems.core.records import Status
from server.store.migrate import upgrade
from server.store.sql import CommitInDoubt, SqlStore, _fact_of, _sort
from tests.builders import fill
from tests.engine.test_review_runner import House
from tests.limits import opened

D = Decimal


@pytest.fixture
def disk(tmp_path):
    url = f"sqlite:///{tmp_path / 'oms.sqlite'}"
    upgrade(url)
    store = opened(SqlStore(url))
    yield store
    store.close()


def limit(side=Side.BUY, price="1900"):
    return LimitOrder(exchange="binance", symbol="ETH/USDT", side=side, quantity=D(1), price=D(price))


def closed(house, order_id, exchange_id, filled="0", **fields):
    return OrderStatus(
        order_id=order_id,
        found=Found.CLOSED,
        exchange_order_id=exchange_id,
        symbol="ETH/USDT",
        filled_quantity=D(filled),
        query_sent_at=house.clock.now(),
        **fields,
    )


def test_two_late_fills_in_one_frame_are_booked(disk):
    house = House(disk)
    house.submit(limit())
    house.run(0)
    house.report(Acked(order_id="q1.1.1", exchange_order_id="X1"))
    house.run(1)
    house.report(closed(house, "q1.1.1", "X1"))  # canceled, nothing filled
    house.run(1)
    assert disk.order("alice", "q1.1.1").status is Status.CANCELED
    for name in ("f1", "f2"):  # one frame of the private stream with two late fills
        house.report(replace(fill(name, "0.1", price="1900"), at=house.clock.now()))
    house.run(1)
    assert house.broken is None, house.broken
    assert len(disk.fills(["q1.1.1"])) == 2


def test_both_fills_of_a_self_trade_are_booked(disk):
    house = House(disk)
    house.submit(limit(Side.BUY), "key-1")
    # Two that would meet are refused (selfmatch); an exchange that matches them all the same is believed.
    house.submit(limit(Side.SELL, price="1901"), "key-2", bot="bot2")
    house.run(0)
    for number in (1, 2):
        house.report(Acked(order_id=f"q{number}.1.1", exchange_order_id=f"X{number}"))
    house.run(1)
    for number, side in ((1, Side.BUY), (2, Side.SELL)):  # Binance: one trade, one id, both orders ours
        house.report(
            replace(
                fill("777", "1", price="1900", side=side, order_id=f"q{number}.1.1"),
                exchange_order_id=f"X{number}",
                at=house.clock.now(),
            )
        )
        house.run(1)
    assert house.broken is None, house.broken
    assert {f.order_id for f in disk.fills(["q1.1.1", "q2.1.1"])} == {"q1.1.1", "q2.1.1"}


def test_an_order_evicted_long_ago_that_shows_up_open_is_cancelled(disk):
    house = House(disk)
    house.submit(limit())
    house.run(0)
    client_id = house.engine.work.children["q1.1.1"].order.client_order_id
    house.report(OutcomeUnknown(order_id="q1.1.1", request="create", message="timeout"))
    house.run(0)
    for _ in range(4):
        house.run(21)
        house.report(
            OrderStatus(
                order_id="q1.1.1",
                found=Found.NOT_FOUND,
                symbol="ETH/USDT",
                query_sent_at=house.clock.now(),
            )
        )
        house.report(TradesAnswer(order_id="q1.1.1", fills=(), query_sent_at=house.clock.now()))
        house.run(0)
    assert disk.order("alice", "q1.1.1").status is Status.REJECTED
    house.engine.work.runs.clear()  # another defect halts the runner before we get here
    house.run(800)
    assert "q1.1.1" not in house.engine.work.children and house.broken is None
    house.report(
        OpenOrders(
            orders=(
                OrderStatus(
                    order_id=None,
                    found=Found.OPEN,
                    exchange_order_id="X1",
                    client_order_id=client_id,
                    symbol="ETH/USDT",
                    side=Side.BUY,
                    quantity=D(1),
                    filled_quantity=D(0),
                ),
            ),
            query_sent_at=house.clock.now(),
        )
    )
    house.run(1)
    assert house.broken is None, house.broken
    assert len(house.venue.of(CancelRequest)) == 1


def test_a_key_is_bound_for_ever_also_without_an_archive(disk):
    house = House(disk)
    house.submit(limit(), "key-1", record_in_db=False)
    house.run(0)
    house.report(Acked(order_id="q1.1.1", exchange_order_id="X1"))
    house.run(1)
    house.report(closed(house, "q1.1.1", "X1"))
    house.run(1)
    disk.purge(house.clock.now() + timedelta(hours=25))
    # What `Desk.submit` asks first, after the query has left the engine's memory (ten minutes):
    assert disk.query_by_key("alice", "key-1") is not None


def test_a_resting_order_outlives_the_purge_of_its_query(disk):
    house = House(disk)
    house.submit(limit(), "key-1", record_in_db=False)  # rests: its query is done, the order is open
    house.run(0)
    house.report(Acked(order_id="q1.1.1", exchange_order_id="X1"))
    house.run(1)
    disk.purge(house.clock.now() + timedelta(hours=25))
    reborn = House(disk)
    reborn.run(20)
    assert reborn.broken is None, reborn.broken
    assert len(reborn.venue.of(QueryOrder)) >= 1


def test_what_happens_after_a_commit_in_doubt_is_written_too(disk):
    house = House(disk)
    house.submit(limit(), "key-1")
    house.run(0)
    commit = disk.commit

    def lost_answer(records):
        """The COMMIT arrives, its answer does not, and the database cannot be asked for a moment."""
        commit(records)
        disk._doubtful.add(_fact_of(_sort(records)))
        disk.commit = unreachable
        raise CommitInDoubt("the connection was lost during a commit")

    def unreachable(records):
        raise CommitInDoubt("the database cannot be asked")

    disk.commit = lost_answer
    house.report(Acked(order_id="q1.1.1", exchange_order_id="X1"))
    house.run(0)
    house.report(replace(fill("f1", "0.4", price="1900"), at=house.clock.now()))
    house.submit(limit(price="1800"), "key-2")
    house.run(0.1)
    disk.commit = commit  # the database is back
    house.run(1)
    assert house.broken is None and not house.runner.trouble
    assert [f.fill_id for f in disk.fills(["q1.1.1"])] == ["f1"]
    assert [o.order_id for o in disk.orders_of_query("q2")] == ["q2.1.1"]  # it was sent: R1
    assert fold(disk.history("q1.1.1")).filled_quantity == D("0.4")


def shown_open(house, client_id, filled):
    order = OrderStatus(
        order_id=None,
        found=Found.OPEN,
        exchange_order_id="X1",
        client_order_id=client_id,
        symbol="ETH/USDT",
        side=Side.BUY,
        quantity=D(1),
        filled_quantity=D(filled),
    )
    house.report(OpenOrders(orders=(order,), query_sent_at=house.clock.now()))
    house.run(0)


def test_an_evicted_order_with_fills_that_shows_up_open_is_cancelled(disk):
    house = House(disk)
    house.submit(limit())
    house.run(0)
    client_id = house.engine.work.children["q1.1.1"].order.client_order_id
    house.report(Acked(order_id="q1.1.1", exchange_order_id="X1"))
    first = replace(fill("f1", "0.4", price="1900"), at=house.clock.now())
    house.report(first)
    house.report(closed(house, "q1.1.1", "X1", "0.4"))
    house.run(800)
    assert disk.order("alice", "q1.1.1").status is Status.CANCELED
    assert "q1.1.1" not in house.engine.work.children and house.broken is None
    shown_open(house, client_id, "0.4")
    (asked,) = {request.order_id for _, request in house.venue.of(QueryTrades)}
    house.report(
        TradesAnswer(
            order_id=asked,
            fills=(replace(first, order_id=asked),),
            query_sent_at=house.clock.now(),
        )
    )
    house.run(1)
    assert house.broken is None, house.broken
    assert [f.fill_id for f in disk.fills(["q1.1.1", asked])] == ["f1"]


def test_an_order_that_is_adopted_twice_is_cancelled_twice(disk):
    house = House(disk)
    client_id = "0e5a51b2-0000-4000-a000-000000000001"
    for _ in range(2):
        shown_open(house, client_id, "0")
        (adopted,) = {o for o in house.engine.work.children if o.startswith("adopted")}
        house.report(closed(house, adopted, "X1"))
        house.run(800)
        assert house.broken is None, house.broken
        assert adopted not in house.engine.work.children
    assert len(house.venue.of(CancelRequest)) == 2
