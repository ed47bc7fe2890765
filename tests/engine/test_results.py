"""What orders and days have earned: written down as they end, and equal to the sum of their fills."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

from ems.core.messages import Ending, Found, LimitOrder, OrderStatus, Side
from ems.core.records import Status
from tests.builders import at, fill
from tests.engine.world import EngineWorld

D = Decimal


def limit(quantity: str, price: str, side: Side = Side.BUY) -> LimitOrder:
    return LimitOrder(exchange="binance", side=side, symbol="ETH/USDT", quantity=D(quantity), price=D(price))


def ended(world: EngineWorld, order_id: str) -> list[dict[str, object]]:
    """What the order's history says it earned, oldest first."""
    return [entry.pnl for entry in world.store.history(order_id) if entry.pnl is not None]


def added_up(world: EngineWorld, order_id: str) -> dict[str, Decimal]:
    fills = world.store.fills([order_id])
    realised, fees = sum((f.realised for f in fills), D(0)), sum((f.fee_cost for f in fills), D(0))
    return {"realised": realised, "fees": fees, "pnl": realised - fees}


def figures(result: dict[str, object]) -> dict[str, Decimal]:
    return {name: D(str(result[name])) for name in ("realised", "fees", "pnl")}


def test_an_orders_result_is_written_with_its_end_and_corrected_by_a_late_fill() -> None:
    world = EngineWorld()
    world.book()
    world.submit(limit("3", "1900"))
    world.ack("q1.1.1")
    world.venue(fill("f1", "3", price="1900", when=world.now, order_id="q1.1.1"))
    assert [r["fills"] for r in ended(world, "q1.1.1")] == [1]

    world.submit(limit("2", "2100", Side.SELL), key="key-2", query_id="q2")
    world.ack("q2.1.1", exchange_id="X2")
    sale = replace(fill("f2", "0.5", price="2100", when=world.now), side=Side.SELL, exchange_order_id="X2")
    sale = replace(sale, order_id="q2.1.1", fee=D("0.7"), fee_currency="USDT")
    world.venue(sale)
    assert ended(world, "q2.1.1") == []  # it has not ended yet
    over = OrderStatus(
        order_id="q2.1.1", found=Found.CLOSED, ending=Ending.CANCELED, filled_quantity=D("0.5")
    )
    world.venue(over)
    (result,) = ended(world, "q2.1.1")
    entry = world.store.history("q2.1.1")[-1]
    assert (entry.status, entry.pnl) == (Status.CANCELED, result)
    assert figures(result) == added_up(world, "q2.1.1") and D(str(result["realised"])) > 0
    assert world.store.orders["q2.1.1"].reserved == 0

    world.venue(replace(sale, fill_id="f3", quantity=D("0.25"), price=D(2200)))
    first, corrected = ended(world, "q2.1.1")
    assert first == result and (corrected["fills"], corrected["unvalued_fills"]) == (2, 0)
    assert figures(corrected) == added_up(world, "q2.1.1") != figures(first)


def test_an_order_that_never_traded_has_earned_nothing() -> None:
    world = EngineWorld()
    world.book()
    world.submit(limit("1", "1900"))
    world.ack("q1.1.1")
    world.venue(
        OrderStatus(order_id="q1.1.1", found=Found.CLOSED, ending=Ending.CANCELED, filled_quantity=D(0))
    )
    (result,) = ended(world, "q1.1.1")
    assert (result["pnl"], result["fills"]) == ("0", 0)


TODAY = at(0).date()


def bought(world: EngineWorld) -> None:
    world.book()
    world.submit(limit("1", "1900"))
    world.ack("q1.1.1")
    world.venue(fill("f1", "1", price="1900", when=world.now, order_id="q1.1.1"))


def to_midnight(world: EngineWorld, days: int = 1) -> None:
    midnight = at(0).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=days)
    world.now = (midnight - at(0)).total_seconds()


def kept(world: EngineWorld) -> list[tuple[date, str, Decimal | None]]:
    return [(s.day, s.position.asset, s.price) for s in world.store.snapshots if s.position.quantity]


def test_every_position_is_taken_down_at_midnight_with_its_price_once() -> None:
    world = EngineWorld()
    world.timer("snapshot", "price")
    assert [day for _, day in world.store.snapshot_days] == [TODAY] and kept(world) == []
    bought(world)
    to_midnight(world)
    world.now -= 60
    world.timer("snapshot", "ahead")
    world.book(bid="2000", ask="2002")
    world.now += 60
    world.timer("snapshot", "begin")
    assert {("snapshot", "begin"), ("snapshot", "price")} <= set(world.wakes())
    world.timer("snapshot", "price")
    tomorrow = TODAY + timedelta(days=1)
    assert kept(world) == [(tomorrow, "ETH", D(2001))]
    mark = world.store.snapshot_days["USDT", tomorrow]
    assert (mark.taken_at, mark.booking, mark.positions) == (at(world.now), 1, 2)
    for _ in range(2):  # woken once more, and after a restart: nothing is doubled
        world.timer("snapshot", "begin")
        world.timer("snapshot", "price")
        world = EngineWorld(store=world.store)
        to_midnight(world)
        world.now += 5
        world.do(lambda now, w=world: w.engine.restore(w.store.load(at(-600)), now))
    world.now += 61
    world.timer("snapshot", "price")
    assert kept(world) == [(tomorrow, "ETH", D(2001))]


def test_a_price_is_waited_for_and_what_is_bought_meanwhile_is_the_next_days() -> None:
    world = EngineWorld()
    world.timer("snapshot", "price")
    bought(world)
    to_midnight(world)
    world.timer("snapshot", "begin")
    world.timer("snapshot", "price")
    assert kept(world) == [] and ("snapshot", "price") in world.wakes()
    world.venue(fill("f2", "1", price="1900", when=world.now, order_id="q1.1.1"))
    world.book(bid="2000", ask="2000")
    world.timer("snapshot", "price")
    assert kept(world) == [(TODAY + timedelta(days=1), "ETH", D(2000))]
    (eth,) = [s.position for s in world.store.snapshots if s.position.asset == "ETH"]
    assert eth.quantity < 1


def test_a_price_that_never_comes_is_not_waited_for_for_ever() -> None:
    world = EngineWorld()
    world.timer("snapshot", "price")
    bought(world)
    to_midnight(world)
    world.timer("snapshot", "begin")
    world.now += 61
    world.timer("snapshot", "price")
    assert kept(world) == [(TODAY + timedelta(days=1), "ETH", None)]


def test_a_midnight_that_was_missed_is_made_up_for_at_the_first_start_of_the_day() -> None:
    world = EngineWorld()
    world.timer("snapshot", "price")
    bought(world)
    again = EngineWorld(store=world.store, ready=False)
    to_midnight(again, days=3)
    again.now += 3600
    again.do(lambda now: again.engine.restore(again.store.load(at(-600)), now))
    again.timer("snapshot", "price")
    assert kept(again) == []  # its markets are not known yet: a price may come
    again.now += 61
    again.timer("snapshot", "price")
    assert kept(again) == [(TODAY + timedelta(days=3), "ETH", None)]
    assert again.store.snapshot_days["USDT", TODAY + timedelta(days=3)].taken_at == at(again.now - 61)
