"""Accounts compared with their exchange: stories of balances, late, foreign and missing."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from ems.core.messages import (
    FillReport,
    Found,
    LimitOrder,
    Moved,
    OrderStatus,
    QueryBalances,
    QueryTradeHistory,
    QueryTransfers,
    Send,
    Side,
    TradeHistoryRead,
    TransfersRead,
)
from tests.builders import at, fill
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


def restarted(world: World, after: float = 3600, identity: str = "", **held: str) -> World:
    """The server was away for a while; this is what the exchange holds then."""
    free = {**world.free, **{c: D(a) for c, a in held.items()}}
    return World(store=world.store, free=free, start=world.now + after, identity=identity)


def asked_for_trades(world: World) -> list[QueryTradeHistory]:
    requests = (e.request for e in world.turn.effects if isinstance(e, Send))
    return [request for request in requests if isinstance(request, QueryTradeHistory)]


def by_hand(world: World, ago: float = 600, **fields: object) -> FillReport:
    """What somebody bought by hand at the exchange."""
    made = fill("f9", "1", price="2000", when=world.now - ago)
    return replace(made, **{"order_id": None, "exchange_order_id": "X9", "fee": D(0), **fields})


def test_a_trade_by_hand_while_the_server_was_away_is_named() -> None:
    world = World()
    world.minutes(3)
    again = restarted(world, USDT="8000", ETH="3")
    again.minute()
    assert again.ledger()["state"] == "differs" and again.asked_for_transfers()
    (asked,) = asked_for_trades(again)
    assert asked.symbols == ("ETH/USDT",) and asked.since < at(again.now - 3600)
    again.venue(TransfersRead())
    hand = by_hand(again)
    again.venue(TradeHistoryRead(fills=(hand, by_hand(again, 7200, fill_id="f8"), hand)))  # f8 is in the base
    again.minutes(3)
    found = again.ledger()
    assert again.told() == [] and found["state"] == "agrees" and found["mismatches"] == []
    assert [(f["fill_id"], f["side"], f["quantity"]) for f in found["foreign"]] == [("f9", "buy", "1")]
    (explained,) = found["explained"]
    assert explained["by"] == ["others' trade f9 in ETH/USDT"]
    assert {d["currency"] for d in explained["differences"]} == {"ETH", "USDT"}


def test_what_moved_while_the_server_was_away_and_nothing_explains_is_told() -> None:
    world = World()
    world.minutes(3)
    again = restarted(world, USDT="9000")
    again.minute()
    again.venue(TransfersRead(problem="no permission"))
    again.venue(TradeHistoryRead(problem="ETH/USDT: no permission"))
    again.minutes(2)
    (told,) = again.told()
    assert "USDT" in told
    assert "trades: ETH/USDT: no permission" in again.store.notices[-1].why
    assert "deposits and withdrawals: no permission" in again.store.notices[-1].why


def test_our_fills_before_a_restart_are_counted_after_it_and_taken_for_nobody_elses() -> None:
    world = World()
    world.minutes(2)
    order_id = placed(world)
    world.venue(fill("f1", "1", price="1900", when=world.now, order_id=order_id, fee=D(0)))
    again = restarted(world, 60, USDT="8100", ETH="3")
    ours = replace(fill("f1", "1", price="1900", when=world.now), order_id=None, exchange_order_id="X7")
    again.venue(TradeHistoryRead(fills=(ours,)))
    again.venue(ours)  # or the stream, once more
    assert again.ledger()["foreign"] == []
    again.minutes(4)
    assert again.told() == [] and again.ledger()["state"] == "agrees" and again.ledger()["explained"] == []


def test_contact_that_was_lost_hides_nothing() -> None:
    world = World()
    world.minutes(3)
    world.free = {"USDT": D(8000), "ETH": D(3)}
    world.connect()
    world.minute()
    assert world.ledger()["state"] == "differs"
    world.venue(TradeHistoryRead(fills=(by_hand(world, 90),)))
    world.minutes(3)
    assert world.told() == [] and world.ledger()["explained"] != []


@pytest.mark.parametrize("known", [True, False], ids=["known before", "new"])
def test_a_deposit_explains_once_also_over_a_restart(known: bool) -> None:
    world = World()
    came = Moved(
        transfer_id="deposit/1", kind="deposit", currency="USDT", amount=D(500), fee=None, status="ok"
    )
    world.minutes(2)
    if known:
        world.minutes(2, USDT="10500")
        world.venue(TransfersRead(transfers=(came,)))
        world.minutes(3)
    again = restarted(world, USDT="11000" if known else "10500")
    again.minute()
    older = replace(came, transfer_id="deposit/0", amount=D(77))
    again.venue(TransfersRead(transfers=(came, older)))
    again.minutes(3)
    assert len(again.told()) == int(known)
    assert [row["by"] for row in again.ledger()["explained"]] == ([] if known else [["deposit 1"]])


def test_another_account_of_the_same_name_is_compared_with_nothing_of_before() -> None:
    world = World(identity="one")
    world.minutes(3)
    again = restarted(world, identity="two", USDT="50")
    again.minutes(4)
    assert again.told() == [] and again.ledger()["state"] == "agrees"


def test_a_fill_of_ours_that_only_the_history_tells_is_booked() -> None:
    world = World()
    world.minutes(2)
    order_id = placed(world)
    world.minutes(2, USDT="8100", ETH="3")
    unheard = replace(fill("f1", "1", price="1900", when=world.now - 60), order_id=None, fee=D(0))
    world.venue(TradeHistoryRead(fills=(unheard,)))
    assert world.order(order_id).filled_quantity == 1 and world.ledger()["foreign"] == []


def test_nothing_is_told_before_the_lists_have_come() -> None:
    world = World()
    world.minutes(3)
    for _ in range(3):
        world.now += 46
        world.balances(free={**world.free, "USDT": D(9000)})
    assert world.ledger()["state"] == "differs" and world.told() == []
    world.venue(TradeHistoryRead())
    world.venue(TransfersRead())
    world.now += 46
    world.balances()
    assert len(world.told()) == 1


def test_what_was_paid_in_before_the_first_balances_explains_nothing_later() -> None:
    world = World()
    before = Moved(
        transfer_id="deposit/1",
        kind="deposit",
        currency="USDT",
        amount=D(10000),
        fee=None,
        status="ok",
        at=at(world.now - 300),
    )
    on_its_way = replace(before, transfer_id="deposit/2", amount=D(70), status="pending")
    world.venue(TransfersRead(transfers=(before, on_its_way)))
    world.minutes(3)
    world.minutes(2, USDT="10070")
    world.venue(TransfersRead(transfers=(before, replace(on_its_way, status="ok"))))
    world.minutes(3)
    assert world.ledger()["state"] == "agrees" and world.told() == []
    assert [row["by"] for row in world.ledger()["explained"]] == [["deposit 2"]]
    world.minutes(2, USDT="14000")
    world.venue(TransfersRead(transfers=(before, replace(on_its_way, status="ok"))))
    world.venue(TradeHistoryRead())
    world.minutes(3)
    assert len(world.told()) == 1


def test_what_was_paid_in_before_hides_nothing_from_the_start() -> None:
    world = World()
    before = Moved(
        transfer_id="deposit/1",
        kind="deposit",
        currency="USDT",
        amount=D(10000),
        fee=None,
        status="ok",
        at=at(world.now - 300),
    )
    world.venue(TransfersRead(transfers=(before,)))
    world.minutes(2, USDT="13000")
    assert world.ledger()["state"] == "differs"


def test_an_account_that_never_rests_leaves_long_ago_behind_and_still_finds_what_is_missing() -> None:
    world = World(free={"USDT": D(100_000), "ETH": D(2)})
    free = dict(world.free)

    def busy(minutes: int) -> None:
        for _ in range(minutes * 6):
            world.now += 10
            world.book()
            name = f"{world.now:.0f}"
            order = LimitOrder(
                exchange="binance", side=Side.BUY, symbol="ETH/USDT", quantity=D("0.01"), price=D(2000)
            )
            world.submit(order, key=f"key-{name}")
            (sent,) = world.placed()
            world.ack(sent.order_id, f"X{name}")
            bought = fill(f"f{name}", "0.01", price="2000", when=world.now, fee=D(0))
            world.venue(replace(bought, order_id=sent.order_id, exchange_order_id=f"X{name}"))
            free["USDT"], free["ETH"] = free["USDT"] - 20, free["ETH"] + D("0.01")
            if int(name) % 60 == 0:
                world.balances(free=dict(free))

    busy(30)
    known = world.engine.reconciliation.of(world.account)
    assert world.told() == [] and known.differences == []
    assert known.base is not None and known.base.asked_at > at(world.now - 720)
    assert len(known.ours) < 80 and len(known.movements) < 80
    unfinished = world.store.load(at(world.now), at(world.now))
    assert len(unfinished.base_fills) < 80 and unfinished.bases[0].asked_at > at(world.now - 720)
    free["USDT"] -= 500
    busy(4)
    (told,) = world.told()
    assert "USDT" in told and "ETH" not in told


def test_a_base_is_not_brought_forward_over_a_fill_that_may_have_happened() -> None:
    world = World()
    world.minutes(2)
    began = at(world.now)
    order_id = placed(world)  # at 120 s, and nobody tells what happens to it
    for minute in range(20):
        sold = replace(by_hand(world, 0, fill_id=f"h{minute}"), quantity=D("0.001"), price=D(1))
        world.venue(sold)
        world.minute(USDT=str(D(8100) - D("0.001") * (minute + 1)), ETH=str(3 + D("0.001") * (minute + 1)))
    base = world.engine.reconciliation.of(world.account).base
    assert base is not None and base.asked_at <= began
    world.venue(fill("f1", "1", price="1900", when=world.now - 1100, order_id=order_id, fee=D(0)))
    world.minutes(4)
    assert world.told() == [] and world.ledger()["state"] == "agrees"
