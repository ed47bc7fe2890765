"""Accounts compared with their exchange: stories of balances, late, foreign and missing."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from ems.core.messages import (
    Found,
    LimitOrder,
    Moved,
    OrderStatus,
    QueryBalances,
    QueryTransfers,
    Send,
    Side,
    TransfersRead,
)
from tests.builders import fill
from tests.engine.world import EngineWorld

D = Decimal


class World(EngineWorld):
    """An engine whose exchange is asked every minute."""

    def minute(self, **held: str) -> None:
        self.now += 60
        self.balances(free={**self.free, **{c: D(a) for c, a in held.items()}})

    def minutes(self, count: int, **held: str) -> None:
        for _ in range(count):
            self.minute(**held)

    def told(self) -> list[str]:
        return [n.failed for n in self.store.notices if "LEDGER_MISMATCH" in n.subject]

    def ledger(self) -> dict[str, object]:
        return self.engine.reconciliation.view(self.account)

    def asked_for_transfers(self) -> bool:
        return any(isinstance(e, Send) and isinstance(e.request, QueryTransfers) for e in self.turn.effects)


def test_an_account_that_holds_what_it_should_agrees() -> None:
    world = World()
    assert world.ledger()["state"] == "not compared yet"
    world.minutes(3)
    assert world.ledger()["state"] == "agrees" and world.told() == []


def test_what_nothing_explains_is_told_after_it_was_seen_twice_and_once_only() -> None:
    world = World()
    world.minutes(2)
    world.minutes(2, USDT="9900")
    assert world.ledger()["state"] == "differs" and world.told() == [] and world.asked_for_transfers()
    world.minute()
    (told,) = world.told()
    assert "-99.99" in told and "USDT" in told
    (mismatch,) = world.ledger()["mismatches"]
    assert mismatch["differences"][0]["currency"] == "USDT"
    world.minutes(4)
    assert len(world.told()) == 1 and world.ledger()["state"] == "agrees"


def test_a_deposit_explains_what_came_in() -> None:
    world = World()
    world.minutes(2)
    world.minutes(2, USDT="10500")
    assert world.asked_for_transfers()
    came = Moved(
        transfer_id="deposit/1", kind="deposit", currency="USDT", amount=D(500), fee=None, status="ok"
    )
    world.venue(TransfersRead(transfers=(came,)))
    world.minutes(3)
    assert world.told() == [] and world.ledger()["state"] == "agrees"
    world.minutes(3, USDT="11000")  # the same deposit does not explain another 500
    world.venue(TransfersRead(transfers=(came,)))
    world.minutes(2)
    assert len(world.told()) == 1


def test_fills_of_others_that_the_stream_tells_of_are_no_mismatch() -> None:
    world = World()
    world.minutes(2)
    theirs = replace(fill("f9", "1", when=world.now + 5), order_id=None, exchange_order_id="X9", fee=D(0))
    world.venue(theirs)
    world.venue(theirs)  # told again after a reconnect
    world.minutes(4, USDT="8000", ETH="3")
    assert world.told() == [] and world.ledger()["others_fills"] == 1


def placed(world: World) -> str:
    world.book()
    world.submit(
        LimitOrder(exchange="binance", side=Side.BUY, symbol="ETH/USDT", quantity=D(2), price=D(1900))
    )
    (order,) = world.placed()
    world.ack(order.order_id)
    return order.order_id


def test_a_fill_that_is_heard_of_late_is_no_mismatch() -> None:
    world = World()
    world.minutes(2)
    order_id = placed(world)
    for minute in range(5):  # the exchange has filled it; nobody tells us, and look-ups fail
        world.minute(USDT="8100", ETH="3.999")
        assert world.told() == [], minute
    assert world.ledger()["unsure"] == ["ETH", "USDT"]
    world.venue(fill("f1", "1", price="1900", when=world.now - 290, order_id=order_id))
    world.minutes(3)
    assert world.told() == []


def test_an_order_that_rests_and_was_looked_at_hides_nothing() -> None:
    world = World()
    world.minutes(2)
    order_id = placed(world)
    for _ in range(4):
        world.now += 40
        open_now = OrderStatus(order_id=order_id, found=Found.OPEN, filled_quantity=D(0))
        world.venue(open_now)
        world.now -= 40
        world.minute(USDT="9000")
    assert len(world.told()) == 1


def test_balances_are_read_once_after_fills_that_come_together() -> None:
    world = World()
    world.minutes(2)
    order_id = placed(world)
    world.venue(fill("f1", "1", price="1900", when=world.now, order_id=order_id))
    assert ("reconcile", "binance", "default") in world.wakes()
    world.venue(fill("f2", "0.5", price="1900", when=world.now, order_id=order_id))
    assert ("reconcile", "binance", "default") not in world.wakes()
    world.timer("reconcile", "binance", "default")
    assert len(world.sent(QueryBalances)) == 1
