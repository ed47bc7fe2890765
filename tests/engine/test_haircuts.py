"""What an exchange teaches us to leave over is written down as it is learned, and known after a restart."""

from decimal import Decimal

import pytest

from ems.core.child import Patience
from ems.core.instrument import HAIRCUTS
from ems.core.messages import Refusal, Rejected, Side
from ems.core.records import Haircut, Status
from ems.engine.account import CLEAN_ORDERS, Account
from server.store.migrate import upgrade
from server.store.sql import SqlStore
from tests.builders import fill, market, smart_order
from tests.engine.world import EngineWorld

D = Decimal


def learned(step: int, clean_orders: int = 0, *, side: Side = Side.BUY, currency: str = "USDT") -> Haircut:
    return Haircut(
        exchange="binance",
        account="default",
        currency=currency,
        side=side,
        step=step,
        clean_orders=clean_orders,
    )


def records(world: EngineWorld) -> list[Haircut]:
    return [record for record in world.turn.records if isinstance(record, Haircut)]


def refused(world: EngineWorld) -> None:
    (request,) = world.placed()
    world.now += 0.1
    report = Rejected(order_id=request.order_id, refusal=Refusal.INSUFFICIENT_FUNDS, message="no funds")
    world.venue(report)


FINE = (market(lot="0.0000001"),)  # so that a share of a ten-thousandth shows


def fresh() -> Account:
    return Account("binance", "default", mode="paper", patience=Patience(), id_style="uuid")


def test_a_refusal_for_funds_is_written_down_in_its_own_turn_for_what_the_order_spent():
    world = EngineWorld()
    world.book()
    world.submit(smart_order("1000"))
    refused(world)
    assert records(world) == [learned(1)]
    assert world.store.load(world.turn.at).haircuts == (learned(1),)
    world.balances()
    refused(world)
    assert records(world) == [learned(2)]
    assert world.account.haircut("USDT", Side.BUY) == HAIRCUTS[2]
    assert world.account.haircut("USDT", Side.SELL) == world.account.haircut("ETH", Side.SELL) == 0


def test_a_step_is_on_record_before_the_next_order_goes_out():
    world = EngineWorld()
    world.book()
    world.submit(smart_order("1000"))
    refused(world)
    assert world.placed() == [] and records(world)


@pytest.mark.parametrize("kept_in", ["memory", "a database"])
def test_after_a_restart_orders_are_sized_as_if_there_had_been_none(kept_in, any_db_url):
    store = None
    if kept_in == "a database":
        upgrade(any_db_url)
        store = SqlStore(any_db_url)
    first = EngineWorld(store=store, markets=FINE)
    first.book()
    first.submit(smart_order("1000"))
    (plain,) = first.placed()
    for _ in range(3):  # then the leg gives up
        refused(first)
        first.balances()
    later = EngineWorld(store=first.store, markets=FINE)
    assert later.account.haircuts == {("USDT", Side.BUY): learned(3)}
    later.book()
    later.submit(smart_order("1000"), key="key-2", query_id="q2")
    (request,) = later.placed()
    assert request.price == plain.price
    spends = FINE[0].floor_quantity(D(1000) * (1 - HAIRCUTS[3]) / request.price)
    assert request.quantity == spends < plain.quantity
    if store is not None:
        store.close()


def test_a_clean_order_counts_on_disk_while_something_is_left_over_and_not_else():
    world = EngineWorld()
    world.book()
    world.submit(smart_order("1000"))
    refused(world)
    world.balances()
    (request,) = world.placed()
    world.ack(request.order_id)
    done = fill("f1", str(request.quantity), price=str(request.price), order_id=request.order_id, fee=D(0))
    world.venue(done)
    assert world.order(request.order_id).status is Status.FILLED
    assert records(world) == [learned(1, 1)]
    other = EngineWorld()
    other.book()
    other.submit(smart_order("1000"))
    (request,) = other.placed()
    other.ack(request.order_id)
    other.venue(fill("f1", str(request.quantity), price=str(request.price), order_id=request.order_id))
    assert other.order(request.order_id).status is Status.FILLED and records(other) == []


def test_fifty_clean_orders_take_one_step_back_also_with_restarts_between():
    account = fresh()
    account.funds_refused("USDT", Side.BUY)
    latest = account.funds_refused("USDT", Side.BUY)
    for number in range(1, CLEAN_ORDERS):
        latest = account.order_was_clean("USDT", Side.BUY)
        assert latest == learned(2, number)
        account = fresh()
        account.haircuts["USDT", Side.BUY] = latest
    assert account.order_was_clean("USDT", Side.BUY) == learned(1)
    for _ in range(CLEAN_ORDERS):
        latest = account.order_was_clean("USDT", Side.BUY)
    assert latest == learned(0), "nothing left to learn, and that is written down too"
    assert account.order_was_clean("USDT", Side.BUY) is None


def test_a_refusal_starts_the_count_anew_and_the_ladder_ends():
    account = fresh()
    account.funds_refused("ETH", Side.SELL)
    account.order_was_clean("ETH", Side.SELL)
    steps = [account.funds_refused("ETH", Side.SELL) for _ in range(len(HAIRCUTS))]
    assert steps[0] == learned(2, side=Side.SELL, currency="ETH")
    assert steps[-1] == learned(len(HAIRCUTS) - 1, side=Side.SELL, currency="ETH")
    assert account.haircut("ETH", Side.SELL) == HAIRCUTS[-1] and account.haircut("ETH", Side.BUY) == 0


def test_haircuts_of_an_account_without_keys_are_left_alone():
    world = EngineWorld()
    stranger = Haircut(exchange="kraken", account="old", currency="USDT", side=Side.BUY, step=4)
    world.store.commit([stranger])
    again = EngineWorld(store=world.store)
    assert again.account.haircuts == {} and again.store.load(again.turn.at).haircuts == (stranger,)
