"""What orders and days have earned: written down as they end, and equal to the sum of their fills."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from ems.core.messages import Ending, Found, LimitOrder, OrderStatus, Side
from ems.core.records import Status
from tests.builders import fill
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
