"""Bots' slices: what each may spend, whatever the order in which they ask."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from ems.core.messages import (
    CancelAllOrders,
    Ending,
    LimitOrder,
    Liquidate,
    MarketOrder,
    Problem,
    SetSlice,
    Side,
)
from ems.core.records import Query, QueryStatus
from tests.builders import at, fill
from tests.engine.world import EngineWorld

D = Decimal


def limit(quantity: str, price: str = "1000", side: Side = Side.BUY) -> LimitOrder:
    return LimitOrder(exchange="binance", side=side, symbol="ETH/USDT", quantity=D(quantity), price=D(price))


class World(EngineWorld):
    def __init__(self, **options):
        super().__init__(**options)
        self.keys = 0
        self.book()

    def slice(self, bot: str, **amounts: str):
        return self.ask("desk", SetSlice(of_bot=bot, exchange="binance", amounts=sized(amounts)))

    def ask(self, bot: str, command):
        self.keys += 1
        return self.submit(command, key=f"k{self.keys}", query_id=f"q{self.keys}", bot=bot)

    def amounts(self, bot: str) -> dict[str, Decimal]:
        return self.engine.work.slices["alice", bot, "binance", "default"].amounts

    def seen(self, bot: str) -> dict[str, Decimal]:
        found = self.engine.slices.balances("alice", bot, "binance", "default")
        return {currency: row["free"] for currency, row in found.items()}


def sized(amounts: dict[str, str]) -> dict[str, Decimal]:
    return {currency: D(amount) for currency, amount in amounts.items()}


def code(answer) -> str:
    return answer.code if isinstance(answer, Problem) else ""


def test_a_bot_spends_its_slice_and_no_more() -> None:
    world = World()
    world.slice("bot1", USDT="3000")
    assert code(world.ask("bot1", limit("2"))) == "" and world.seen("bot1") == {"USDT": D(1000)}
    refused = world.ask("bot1", limit("1.5"))
    assert code(refused) == "FUNDS_INSUFFICIENT" and refused.details["available"] == "1000"
    assert code(world.ask("bot1", limit("1"))) == ""


def test_a_bot_without_a_slice_spends_only_what_is_in_none() -> None:
    world = World()
    world.slice("bot1", USDT="3000")
    world.slice("bot2", USDT="5000")
    assert code(world.ask("free", limit("2.5"))) == "FUNDS_INSUFFICIENT"
    assert code(world.ask("free", limit("2"))) == ""
    assert code(world.ask("free", limit("0.1"))) == "FUNDS_INSUFFICIENT"
    assert code(world.ask("bot1", limit("3"))) == "" and code(world.ask("bot2", limit("5"))) == ""


def test_fills_move_the_slice_of_their_bot_fees_and_all() -> None:
    world = World()
    world.slice("bot1", USDT="3000", ETH="1")
    world.ask("bot1", limit("2"))
    (order,) = world.placed()
    world.ack(order.order_id)
    world.venue(fill("f1", "2", price="990", when=world.now, order_id=order.order_id))
    assert world.amounts("bot1") == {"USDT": D(1020), "ETH": D("2.999")}
    assert world.store.slices["alice", "bot1", "binance", "default"].amounts == world.amounts("bot1")


def test_what_a_slice_cannot_have_is_refused_with_what_it_can() -> None:
    world = World()
    world.ask("free", limit("4"))
    refused = world.slice("bot1", USDT="7000")
    assert code(refused) == "FUNDS_INSUFFICIENT" and refused.details["limit"] == "6000"
    assert code(world.slice("bot1", USDT="6000")) == ""
    assert code(world.slice("bot2", USDT="1")) == "FUNDS_INSUFFICIENT"
    world.ask("bot1", limit("5"))
    assert code(world.slice("bot1", USDT="4999")) == "REQUEST_FIELD_INVALID"
    assert code(world.slice("bot1", USDT="5000")) == "" and code(world.slice("bot2", USDT="1000")) == ""


def test_a_slice_ended_is_the_rest_again_and_every_change_is_on_record() -> None:
    world = World()
    world.slice("bot1", USDT="9000")
    answer = world.slice("bot1")
    assert isinstance(answer, Query) and answer.status is QueryStatus.DONE
    assert not world.engine.work.slices and code(world.ask("free", limit("9"))) == ""
    assert [(c.in_force, c.amounts) for c in world.store.slice_changes] == [
        (True, {"USDT": D(9000)}),
        (False, {}),
    ]


def test_slices_are_there_after_a_restart() -> None:
    world = World()
    world.slice("bot1", USDT="3000")
    world.slice("bot2", ETH="1")
    world.slice("bot2")
    again = World(store=world.store)
    assert again.amounts("bot1") == {"USDT": D(3000)} and len(again.engine.work.slices) == 1
    assert code(again.ask("free", limit("7.5"))) == "FUNDS_INSUFFICIENT"


def test_a_bot_with_a_slice_liquidates_and_cancels_its_own_only() -> None:
    world = World()
    world.slice("bot1", ETH="0.5", USDT="1000")
    world.ask("free", limit("0.5", "1999"))
    world.ask("bot1", limit("0.2", "1999"))
    canceled = world.ask("bot1", CancelAllOrders(scope="user"))
    assert isinstance(canceled, Query)
    asked = [o.bot for c in world.engine.work.children.values() if (o := c.order).asked == "cancel"]
    assert asked in ([], ["bot1"]) and "free" not in asked
    world.ask("bot1", Liquidate(exchange="binance", end_currency="USDT"))
    (parent,) = [p for p in world.engine.work.parents.values() if p.goal.get("kind") == "liquidate"]
    assert sum(g.amount for g in parent.grants if g.currency == "ETH") <= D("0.5")


def test_slices_that_come_to_more_than_the_exchange_holds_are_told() -> None:
    world = World()
    world.slice("bot1", USDT="9000")
    world.now += 60
    world.balances(free={"USDT": D(8500)})
    listed = world.engine.slices.listed("alice")
    assert listed["accounts"][0]["missing"] == {"USDT": D(500)}
    assert world.engine.slices.view(world.account) == {"bots": 1, "missing": {"USDT": "500"}}
    assert world.engine.slices.listed("bob")["slices"] == []


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["buy", "sell", "market", "fill", "end", "slice"]),
        st.sampled_from(["bot1", "bot2", "free"]),
        st.integers(1, 60),
    ),
    max_size=30,
)


@given(STEPS)
@settings(max_examples=60, deadline=None)
def test_no_interleaving_lets_one_bot_spend_what_is_anothers(steps) -> None:
    """A model beside the engine: what each may spend is what it was given, moved by its own fills."""
    world = World()
    world.slice("bot1", USDT="4000", ETH="0.5")
    world.slice("bot2", USDT="3000", ETH="0.7")
    own = {
        "bot1": {"USDT": D(4000), "ETH": D("0.5")},
        "bot2": {"USDT": D(3000), "ETH": D("0.7")},
        "free": {"USDT": D(3000), "ETH": D("0.8")},
    }
    placed: list[tuple[str, object]] = []
    filled = 0
    for step, bot, size in steps:
        world.now += 0.1
        world.balances(free=total(own))
        world.book()
        quantity = D(size) / 20
        if step in ("buy", "sell", "market"):
            side = Side.SELL if step == "sell" else Side.BUY
            price = "2500" if side is Side.SELL else "1900"
            command = limit(str(quantity), price, side)
            if step == "market":
                command = MarketOrder(exchange="binance", side=side, symbol="ETH/USDT", quantity=quantity)
            world.ask(bot, command)
            for order in world.placed():
                world.ack(order.order_id, exchange_id=f"X{order.order_id}")
                placed.append((bot, order))
        elif step == "slice" and bot != "free":
            mine = own[bot]
            answer = world.slice(bot, USDT=str(mine["USDT"] + size), ETH=str(mine["ETH"]))
            if not isinstance(answer, Problem):
                own[bot]["USDT"] += size
                own["free"]["USDT"] -= size
        elif placed:
            owner, order = placed.pop(size % len(placed))
            child = world.order(order.order_id)
            if child.status in ("filled", "canceled", "expired"):
                continue
            filled += 1
            price = order.price or D("2000.5")
            report = fill(
                f"f{filled}",
                str(order.quantity),
                price=str(price),
                when=world.now,
                order_id=order.order_id,
                exchange_order_id=f"X{order.order_id}",
                side=order.side,
                fee=D(0),
            )
            world.ack(
                order.order_id,
                exchange_id=f"X{order.order_id}",
                filled_quantity=order.quantity,
                ending=Ending.FILLED,
                fills=(report,),
            )
            sign = 1 if order.side is Side.BUY else -1
            own[owner]["ETH"] += sign * order.quantity
            own[owner]["USDT"] -= sign * order.quantity * price
        for name, holds in own.items():
            assert all(amount >= 0 for amount in holds.values()), (name, own)
        for name in ("bot1", "bot2"):
            assert world.amounts(name) == {c: a for c, a in own[name].items() if a}
    assert at(0) <= at(world.now)


def total(own: dict[str, dict[str, Decimal]]) -> dict[str, Decimal]:
    return {c: sum((holds[c] for holds in own.values()), D(0)) for c in ("USDT", "ETH")}
