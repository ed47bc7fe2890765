"""An account that must not trade: nothing is placed, cancels go, and people are told."""

from decimal import Decimal

from ems.core import errors
from ems.core.messages import (
    Barred,
    CancelAllOrders,
    CancelRequest,
    LimitOrder,
    OpenOrders,
    QueryBalances,
    Side,
    StreamDown,
)
from ems.engine.account import BLIND_POLL_S
from tests.builders import at, book
from tests.engine.world import EngineWorld

D = Decimal
WHY = "the key may withdraw"


def limit(price="1900"):
    return LimitOrder(exchange="binance", symbol="ETH/USDT", side=Side.BUY, quantity=D(1), price=D(price))


def reconcile(world):
    world.venue(OpenOrders(orders=(), query_sent_at=at(world.now)))
    world.balances()


def test_nothing_is_placed_and_the_caller_is_told_why():
    world = EngineWorld()
    world.venue(Barred(reason=WHY))
    world.venue(book(symbol="ETH/USDT"))
    problem = world.submit(limit())
    assert problem.code == errors.EXCHANGE_UNAVAILABLE and WHY in problem.message
    assert world.placed() == []


def test_one_letter_tells_people_and_says_what_to_do():
    world = EngineWorld()
    world.venue(Barred(reason=WHY))
    world.venue(Barred(reason=WHY + ", still"))
    (letter,) = world.store.notices
    assert (letter.severity, letter.why) == ("critical", WHY)
    assert "binance/default" in letter.subject and "restart" in letter.todo


def test_what_rests_can_be_canceled():
    world = EngineWorld()
    world.submit(limit())
    world.ack("q1.1.1", "X1")
    world.venue(Barred(reason=WHY))
    world.submit(CancelAllOrders(exchange="binance"), key="key-2")
    assert [request.order_id for request in world.sent(CancelRequest)] == ["q1.1.1"]


def test_contact_does_not_lift_it_but_the_gateway_does_and_only_after_reconciling():
    world = EngineWorld()
    world.venue(Barred(reason=WHY))
    world.venue(StreamDown(message="cut"))
    assert world.account.trouble == WHY
    world.connect()
    assert (world.account.readiness, world.account.trouble) == ("barred", WHY)
    world.venue(Barred(reason=""))
    assert world.account.readiness == "reconciling" and world.sent(QueryBalances)
    reconcile(world)
    assert world.account.readiness == "ready"


def test_lifted_while_the_stream_is_down_live_orders_are_still_looked_at_often():
    world = EngineWorld()
    world.venue(StreamDown(message="cut"))
    world.venue(Barred(reason=WHY))
    world.venue(Barred(reason=""))
    assert (world.account.streaming, world.account.patience_now.poll_s) == (False, BLIND_POLL_S)
    reconcile(world)
    assert world.account.readiness == "ready"
    world.connect()
    assert (world.account.streaming, world.account.patience_now.poll_s) == (
        True,
        world.account.patience.poll_s,
    )


def test_barred_before_contact_it_stays_so_through_the_first_one():
    world = EngineWorld(ready=False)
    world.venue(Barred(reason=WHY))
    assert world.account.readiness == "barred"
    world.connect()
    assert world.account.readiness == "barred"


def test_balances_are_still_read_while_it_lasts():
    world = EngineWorld()
    world.venue(Barred(reason=WHY))
    world.now = 60
    world.timer("account", "binance", "default")
    assert world.sent(QueryBalances)
