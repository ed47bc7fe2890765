"""A second look, at what was mended."""

from dataclasses import replace
from decimal import Decimal

from ems.core.messages import (
    CancelAcked,
    CancelAllOrders,
    CancelOrder,
    LimitOrder,
    QueryOrder,
    Refusal,
    Rejected,
    Side,
)
from ems.core.records import QueryStatus
from tests.builders import at, book, fill, market, smart_order
from tests.engine.world import EngineWorld

D = Decimal


def test_a_refused_remainder_of_the_first_hop_does_not_strand_what_it_bought():
    world = EngineWorld(
        markets=(market("ETH/USDT"), market("ETH/BTC", min_notional="0.0001", tick="0.00001")),
        free={"USDT": D(10000)},
    )
    world.book("ETH/USDT")
    tight = book("0.04", "0.04001", symbol="ETH/BTC")
    world.venue(replace(tight, bids=((D("0.04"), D(500)),), asks=((D("0.04001"), D(500)),), at=at(world.now)))
    world.submit(
        smart_order("1000", end_currency="BTC", time_limit=D(20)),
    )
    world.ack("q1.1.1")
    order = world.order("q1.1.1")
    quantity = (D(992) / order.price).quantize(D("0.0001"))
    world.venue(fill("f1", str(quantity), price=str(order.price), order_id="q1.1.1", when=1, fee=D(0)))
    world.now = 1.6
    world.timer("parent", "q1.1")
    world.book("ETH/USDT")
    world.venue(CancelAcked(order_id="q1.1.1", filled_quantity=quantity))
    if "q1.1.3" not in world.engine.work.children:
        world.timer("parent", "q1.1")
    assert world.order("q1.1.2").symbol == "ETH/BTC"  # what was bought is already on its way
    world.ack("q1.1.2", "X2")
    # 8 USDT are left; another bot has taken 4 of them in the meantime.
    world.venue(
        Rejected(
            order_id="q1.1.3",
            refusal=Refusal.INSUFFICIENT_FUNDS,
            message="insufficient balance",
            venue_code="-2010",
        )
    )
    world.balances(free={"USDT": D(4), "ETH": quantity})
    assert world.query().status is QueryStatus.WORKING, world.query().error
    first, second = world.engine.work.parents["q1.1"].legs
    assert first.closed_at is not None and second.closed_at is None  # 0.49 ETH go on to BTC


def test_a_submission_that_is_being_judged_can_be_cancelled_by_its_key():
    world = EngineWorld()
    world.now = 60
    world.submit(smart_order("1000"), "key-1")  # held: no book yet
    assert world.answer() is None
    world.submit(CancelOrder(client_order_id="key-1"), "key-2")
    world.book()
    assert world.placed() == []


def test_the_dry_run_of_cancel_all_names_the_parents_it_would_stop():
    world = EngineWorld()
    world.book()
    world.submit(smart_order("1000", time_limit=D(10)), "key-1")
    world.ack("q1.1.1")
    world.venue(CancelAcked(order_id="q1.1.1", filled_quantity=D(0)))  # between two tries: nothing is out
    answer = world.submit(CancelAllOrders(exchange="binance"), "key-2", dry_run=True)
    assert answer.result["would_stop"] == ["q1.1"]


def test_one_number_for_two_orders_is_an_answer_meant_for_the_other():
    """Kraken's answer to a create echoes no name of ours; after a restart the gateway knows no numbers."""
    world = EngineWorld()
    for number in (1, 2):
        world.submit(
            LimitOrder(
                exchange="binance", side=Side.BUY, symbol="ETH/USDT", quantity=Decimal(1), price=Decimal(1900)
            ),
            key=f"key-{number}",
        )
    first, second = "q1.1.1", "q2.1.1"
    world.ack(first, "X1")
    world.ack(second, "X1")
    assert (world.order(first).status, world.order(first).exchange_order_id) == ("submitted", "X1")
    assert (world.order(second).status, world.order(second).exchange_order_id) == ("unknown", None)
    assert [type(request) for request in world.sent()] == [QueryOrder]
    world.ack(second, "X2")
    assert (world.order(second).status, world.order(second).exchange_order_id) == ("submitted", "X2")
