"""Contracts in the engine: looked at before an order, leverage proven by reading, positions compared."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from ems.core.messages import (
    ChooseLeverage,
    ContractRead,
    FillReport,
    LeverageAnswered,
    LimitOrder,
    MarketOrder,
    OrderType,
    PlaceOrder,
    Problem,
    QueryContract,
    SetLeverage,
    SetLimit,
    SetSlice,
    Side,
    StreamUp,
)
from ems.core.records import QueryStatus
from ems.engine.standing import known_now
from tests.builders import at, fill, market
from tests.engine.world import EngineWorld

D = Decimal
ETH = "ETH/USDT:USDT"
CONTRACT = market(
    "ETH/USDT", contract_size=D("0.1"), fee_mode="quote", lot="0.1", min_quantity="0.1", min_notional="0"
)
CONTRACT = replace(CONTRACT, symbol=ETH)
CHOICE = SetLeverage(exchange="binance", symbol=ETH, leverage=D(2))
BUY = LimitOrder(exchange="binance", side=Side.BUY, symbol=ETH, quantity=D(1), price=D(2000))


class World(EngineWorld):
    """An account that trades contracts."""

    def __init__(self, **options) -> None:
        super().__init__(ready=False, **options)
        self.account.swaps = True
        self.account.list_markets([CONTRACT, market("ETH/USDT")])
        self.connect()

    def stands(self, quantity: str, leverage: str = "2", problem: str = "") -> None:
        self.venue(
            ContractRead(
                symbol=ETH,
                quantity=D(quantity),
                leverage=D(leverage),
                query_sent_at=None if problem else at(self.now),
                problem=problem,
            )
        )

    def minute(self, quantity: str) -> None:
        self.now += 60
        self.stands(quantity)

    def foreign(self, fill_id: str, side: str, quantity: str) -> FillReport:
        return fill(
            fill_id,
            quantity,
            when=self.now,
            symbol=ETH,
            side=Side(side),
            order_id=None,
            client_order_id=None,
            exchange_order_id="theirs",
            fee_currency="USDT",
        )

    def told(self) -> list[str]:
        return [n.failed for n in self.store.notices if "LEDGER_MISMATCH" in n.subject]

    def trips(self) -> list[tuple[str, ...]]:
        return [key for key in self.wakes() if key[0] == "trip"]


# --- Orders look first -----------------------------------------------------------------------------------


def test_an_order_waits_until_it_is_known_how_the_contract_stands() -> None:
    world = World()
    world.book(symbol=ETH)
    assert world.submit(BUY) is None and world.sent() == [QueryContract(symbol=ETH)]
    world.now += 0.1
    world.stands("0")
    [sent] = world.placed()
    assert (sent.symbol, sent.quantity, sent.reduce_only) == (ETH, 1, False)
    # 1 at 2,000 with leverage 2, and a fee of 0.1 %.
    assert world.order(sent.order_id).reserved == 1002
    assert world.engine.work.claims(world.account) == {"USDT": 1002}


def test_what_was_read_a_minute_ago_is_not_read_again_and_older_is() -> None:
    world = World()
    world.book(symbol=ETH)
    world.stands("0")
    world.now = 60
    world.book(symbol=ETH)
    world.submit(BUY)
    assert world.placed()
    world.now = 60.1
    world.book(symbol=ETH)
    world.submit(replace(BUY, price=D(1999)), key="key-2")
    assert not world.placed() and world.sent() == [QueryContract(symbol=ETH)]


def test_an_order_is_refused_where_nobody_says_how_the_contract_stands() -> None:
    world = World()
    world.book(symbol=ETH)
    assert world.submit(BUY) is None
    world.stands("0", problem="the exchange is away")
    problem = world.problem()
    assert problem.code == "VENUE_UNAVAILABLE" and "the exchange is away" in problem.message
    assert not world.placed()


def test_fills_since_the_last_reading_count() -> None:
    world = World(free={"USDT": D(10_000)})
    world.book(symbol=ETH)
    world.stands("0", leverage="1")
    world.submit(BUY)
    world.now = 1
    world.ack("q1.1.1")
    world.venue(fill("f1", "1", when=1, symbol=ETH, fee_currency="USDT"))
    known = known_now(world.account, ETH, at(1))
    assert (known.least, known.most, known.unsure) == (1, 1, False)
    # 3 more close 1 and open 2: 4,000 at leverage 1, and 6 of fees.
    world.submit(replace(BUY, side=Side.SELL, quantity=D(3)), key="key-2")
    [sent] = world.placed()
    assert world.order(sent.order_id).reserved == 4006


def test_without_the_setting_contracts_are_refused_with_the_way_to_allow_them() -> None:
    world = World()
    world.account.swaps = False
    problem = world.submit(MarketOrder(exchange="binance", side=Side.BUY, symbol=ETH, quantity=D(1)))
    assert isinstance(problem, Problem) and problem.code == "EXCHANGE_OFFERS_NONE"
    assert "OMS_SWAPS" in problem.hint
    assert world.submit(CHOICE, key="key-2").code == "EXCHANGE_OFFERS_NONE"


def test_plans_see_no_contracts() -> None:
    world = World()
    assert set(world.account.spot) == {"ETH/USDT"} and world.account.currencies() == {"ETH", "USDT"}


# --- A fill that overtakes a reading ----------------------------------------------------------------------


def raced(read: str, *, told_first: bool, side: Side = Side.BUY) -> World:
    """Trade one by a fill at 30.02; what was asked at 30 came at 30.1, with that fill or without it."""
    world = World(free={"USDT": D(10_000)})
    world.book(symbol=ETH)
    world.stands("0", leverage="1")
    world.submit(replace(BUY, side=side))
    world.now = 1
    world.ack("q1.1.1")
    told = fill("f1", "1", when=30.02, symbol=ETH, side=side, fee_currency="USDT")
    answer = ContractRead(symbol=ETH, quantity=D(read), leverage=D(1), query_sent_at=at(30))
    world.now = 30.1
    world.book(symbol=ETH)
    for report in (told, answer) if told_first else (answer, told):
        world.venue(report)
    return world


RACES = [("0", True), ("0", False), ("1", True), ("1", False)]


@pytest.mark.parametrize("read, told_first", RACES)
def test_a_position_is_unsure_while_a_fill_may_be_in_its_reading_and_is_read_again(read, told_first) -> None:
    world = raced(read, told_first=told_first)
    known = known_now(world.account, ETH, at(30.1))
    assert (known.least, known.most) == (int(read), int(read) + 1)
    assert ("contract", "binance", "default", ETH) in world.wakes()
    world.now = 32.1
    world.sent()
    world.timer("contract", "binance", "default", ETH)
    assert world.sent() == [QueryContract(symbol=ETH)]
    world.stands("1", leverage="1")
    known = known_now(world.account, ETH, at(32.1))
    assert (known.least, known.most) == (1, 1)
    assert ("contract", "binance", "default", ETH) not in world.wakes()


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("read, told_first", RACES)
def test_an_unsure_position_never_bars_the_way_out(read, told_first, side) -> None:
    world = raced(read, told_first=told_first)
    out = PlaceOrder(
        exchange="binance",
        side=side,
        symbol=ETH,
        quantity=D(1),
        order_type=OrderType.MARKET,
        reduce_only=True,
    )
    world.submit(out, key="key-2")
    [sent] = world.placed()
    assert (sent.quantity, sent.reduce_only) == (1, True)


@pytest.mark.parametrize("side, read", [(Side.BUY, "1"), (Side.SELL, "-1")])
def test_an_order_on_an_unsure_position_is_judged_at_the_worst(side, read) -> None:
    world = raced(read, told_first=False, side=side)  # 1 or 2, long or short
    back = Side.SELL if side is Side.BUY else Side.BUY
    world.submit(replace(BUY, side=back, quantity=D(2)), key="key-2")
    [sent] = world.placed()
    assert world.order(sent.order_id).reserved == 2004, "one of them may open"


@pytest.mark.parametrize("side, read", [(Side.BUY, "1"), (Side.SELL, "-1")])
def test_reduce_only_on_an_unsure_position_is_cut_to_the_most_that_may_be_held(side, read) -> None:
    world = raced(read, told_first=False, side=side)  # 1 or 2, long or short
    back = Side.SELL if side is Side.BUY else Side.BUY
    out = PlaceOrder(
        exchange="binance",
        side=back,
        symbol=ETH,
        quantity=D(3),
        order_type=OrderType.MARKET,
        reduce_only=True,
    )
    world.submit(out, key="key-2")
    [sent] = world.placed()
    assert sent.quantity == 2


def test_a_fill_of_an_order_that_followed_a_reading_is_surely_not_in_it() -> None:
    world = World(free={"USDT": D(10_000)})
    world.book(symbol=ETH)
    world.stands("0", leverage="1")
    world.submit(BUY)
    world.now = 0.01
    world.ack("q1.1.1")
    world.venue(fill("f1", "1", when=0.005, symbol=ETH, fee_currency="USDT"))
    known = known_now(world.account, ETH, at(0.01))
    assert (known.least, known.most) == (1, 1)


def test_a_fill_that_was_heard_of_before_the_question_is_surely_in_the_answer() -> None:
    world = World(free={"USDT": D(10_000)})
    world.book(symbol=ETH)
    world.stands("0", leverage="1")
    world.submit(BUY)
    world.now = 1
    world.ack("q1.1.1")
    world.venue(fill("f1", "1", when=1, symbol=ETH, fee_currency="USDT"))
    world.now = 1.01
    world.stands("1", leverage="1")
    known = known_now(world.account, ETH, at(1.01))
    assert (known.least, known.most) == (1, 1)


# --- Slices ----------------------------------------------------------------------------------------------


def test_a_bot_with_a_slice_opens_no_contracts_and_may_close_them() -> None:
    world = World(free={"USDT": D(10_000)})
    world.book(symbol=ETH)
    world.stands("1")
    given = SetSlice(exchange="binance", of_bot="bot1", amounts={"USDT": D(5_000)})
    assert not isinstance(world.submit(given, key="slice", role="admin"), Problem)
    market_order = MarketOrder(exchange="binance", side=Side.BUY, symbol=ETH, quantity=D(1))
    for number, command in enumerate((BUY, replace(BUY, side=Side.SELL), market_order)):
        problem = world.submit(command, key=f"open-{number}")
        assert isinstance(problem, Problem) and "set_slice" in problem.hint and world.placed() == []
    out = PlaceOrder(
        exchange="binance",
        side=Side.SELL,
        symbol=ETH,
        quantity=D(1),
        order_type=OrderType.MARKET,
        reduce_only=True,
    )
    world.submit(out, key="out")
    assert [sent.reduce_only for sent in world.placed()] == [True]
    world.book(symbol=ETH)
    world.submit(BUY, key="other", bot="bot2")
    assert len(world.placed()) == 1, "it has no slice"


# --- Leverage --------------------------------------------------------------------------------------------


def test_a_choice_of_leverage_is_believed_when_it_was_read_back() -> None:
    world = World()
    query = world.submit(CHOICE)
    assert query.status is QueryStatus.WORKING
    assert world.sent() == [ChooseLeverage(query_id="q1", symbol=ETH, leverage=D(2))]
    world.stands("0", leverage="2")  # asked before the answer came would be too early to prove it
    world.now = 1
    world.venue(LeverageAnswered(query_id="q1", symbol=ETH))
    assert world.sent() == [QueryContract(symbol=ETH)]
    world.now = 2
    world.stands("0", leverage="2")
    assert world.query().status is QueryStatus.DONE and world.query().result["leverage"] == "2"


def test_a_choice_of_before_a_restart_is_looked_up_and_never_sent_again() -> None:
    world = World()
    world.submit(CHOICE)
    again = World(store=world.store)
    again.now = 2
    again.timer("contract", "binance", "default", ETH)
    assert again.sent() == [QueryContract(symbol=ETH)]
    again.stands("0", leverage="10")
    query = again.query()
    assert (query.status, query.result["leverage"]) == (QueryStatus.FAILED, "10")
    assert "it is 10" in query.error.message


@pytest.mark.parametrize("after_s, status", [(59, QueryStatus.WORKING), (60, QueryStatus.FAILED)])
def test_a_choice_that_nobody_can_prove_is_given_up_after_a_minute(after_s, status) -> None:
    world = World()
    world.submit(CHOICE)
    world.venue(LeverageAnswered(query_id="q1", symbol=ETH))
    world.stands("0", problem="no answer")
    assert ("contract", "binance", "default", ETH) in world.wakes()
    world.now = after_s
    world.timer("contract", "binance", "default", ETH)
    assert world.query().status is status


# --- Positions are compared --------------------------------------------------------------------------------


def test_a_position_that_nothing_explains_is_told_once_and_halts_the_account() -> None:
    world = World(limited=True)
    world.minute("1")  # held before we came
    world.minute("3")
    assert world.told() == [] and world.trips() == []
    world.minute("3")
    [told] = world.told()
    assert f"2 {ETH}" in told
    [trip] = world.trips()
    assert trip[1:4] == ("LEDGER_MISMATCH", "binance", "default")
    for _ in range(3):
        world.minute("3")
    assert len(world.told()) == 1 and world.trips() == []


def test_our_fills_and_those_of_others_explain_a_position() -> None:
    world = World()
    world.book(symbol=ETH)
    world.minute("0")
    world.venue(world.foreign("t1", "sell", "2"))
    world.venue(world.foreign("t1", "sell", "2"))  # told twice
    for _ in range(3):
        world.minute("-2")
    assert world.told() == []


def test_a_reading_near_a_fill_says_nothing() -> None:
    world = World()
    world.minute("0")
    world.now += 30
    world.venue(world.foreign("t1", "buy", "2"))
    for _ in range(3):
        world.now += 5
        world.stands("0")  # it lags
    assert world.told() == [] and world.trips() == []
    for _ in range(2):
        world.minute("0")
    assert world.told()  # the fill was told, and never came


def traded_all_the_time(wrong_from_s: int) -> tuple[World, Decimal]:
    """Fill 0.1 every 15 s for two hours, and read every minute: 5 too much from a moment on.

    Return what is held by the fills too.
    """
    world = World()
    world.minute("0")
    held = D(0)
    for second in range(75, 7200, 15):
        world.now = second
        if second % 60 == 0:
            world.stands(str(held + (5 if second >= wrong_from_s else 0)))
        side = "sell" if second % 45 == 0 else "buy"
        world.venue(world.foreign(f"t{second}", side, "0.1"))
        held += D("0.1") if side == "buy" else D("-0.1")
    return world, held


def test_a_contract_that_is_always_traded_is_compared_all_the_same_and_keeps_no_old_fills() -> None:
    assert traded_all_the_time(wrong_from_s=9999)[0].told() == []
    world, _ = traded_all_the_time(wrong_from_s=3600)
    assert len(world.told()) == 1
    comparison = world.engine.positions._of["binance", "default", ETH]
    assert len(comparison.moves) < 20 and len(comparison.names) <= 250


def test_a_fill_that_is_told_after_the_reading_that_has_it_is_no_difference() -> None:
    world = World()
    world.minute("0")
    for number in range(3):
        world.now += 60
        world.stands(str(number + 1))
        late = replace(world.foreign(f"t{number}", "buy", "1"), at=at(world.now - 30))
        world.now += 5
        world.venue(late)
    assert world.told() == []


def test_a_fill_told_again_counts_once() -> None:
    world, held = traded_all_the_time(wrong_from_s=9999)
    again = replace(world.foreign("t6600", "buy", "5"), at=at(6600))
    world.venue(again)
    for _ in range(3):
        world.minute(str(held))
    assert world.told() == []


# --- The way out -----------------------------------------------------------------------------------------


def test_what_only_closes_needs_no_money_and_one_lot_more_does() -> None:
    world = World(free={"USDT": D(0)})
    world.book(symbol=ETH)
    world.stands("1")
    sell = replace(BUY, side=Side.SELL)
    assert world.submit(replace(sell, quantity=D("1.1"))).code == "FUNDS_INSUFFICIENT"
    world.submit(sell, key="key-2")
    [sent] = world.placed()
    assert (sent.quantity, world.order(sent.order_id).reserved) == (1, 0)


def test_reduce_only_goes_out_where_nobody_says_what_is_held() -> None:
    world = World(free={"USDT": D(0)})
    world.book(symbol=ETH)
    way_out = PlaceOrder(
        exchange="binance",
        side=Side.SELL,
        symbol=ETH,
        quantity=D(5),
        order_type=OrderType.MARKET,
        reduce_only=True,
    )
    assert world.submit(way_out) is None
    world.stands("0", problem="the exchange is away")
    [sent] = world.placed()
    assert (sent.quantity, sent.reduce_only) == (5, True)


def test_positions_of_before_a_restart_are_read_on_contact_and_compared_again() -> None:
    world = World()
    world.book(symbol=ETH)
    world.stands("0", leverage="1")
    world.submit(BUY)
    world.now = 1
    world.ack("q1.1.1")
    world.venue(fill("f1", "1", when=1, symbol=ETH, fee_currency="USDT"))
    again = World(store=world.store)
    again.now = 60
    again.venue(StreamUp())
    assert QueryContract(symbol=ETH) in again.sent()
    again.connect()
    again.stands("1")
    again.minute("1.5")
    again.timer("account", "binance", "default")
    assert QueryContract(symbol=ETH) in again.sent()  # every minute from then on
    again.minute("1.5")
    assert again.told()


def test_many_orders_ask_once_and_are_judged_together() -> None:
    world = World()
    world.book(symbol=ETH)
    world.submit(BUY)
    assert world.sent() == [QueryContract(symbol=ETH)]
    world.now = 1.9
    world.submit(replace(BUY, price=D(1999)), key="key-2")
    assert world.sent() == []
    world.now = 2
    world.submit(replace(BUY, price=D(1998)), key="key-3")
    assert world.sent() == [QueryContract(symbol=ETH)]  # the first one may be lost
    world.stands("0")
    assert sorted(sent.price for sent in world.placed()) == [1998, 1999, 2000]


# --- The day's loss --------------------------------------------------------------------------------------


def lost(world: World) -> Decimal | None:
    rows = world.engine.risk.used("alice", at(world.now))
    return next((row["used"] for row in rows if row["setting"] == "daily_loss"), None)


def test_the_days_loss_counts_open_contracts_survives_a_restart_and_waits_for_their_book() -> None:
    world = World(free={"USDT": D(10_000)})
    world.book(symbol=ETH)
    world.stands("0", leverage="1")
    world.submit(SetLimit(setting="daily_loss", value="500"), key="limit", user="adam", role="admin")
    world.submit(BUY, key="key-2", query_id="q2")
    world.now = 1
    world.ack("q2.1.1")
    world.venue(fill("f1", "1", when=1, symbol=ETH, order_id="q2.1.1", fee=D(1), fee_currency="USDT"))
    world.book(symbol=ETH, bid="1899", ask="1901")
    assert lost(world) == 101
    again = World(store=world.store, free={"USDT": D(10_000)})
    again.tokens = 90
    again.now = 2
    again.book(symbol=ETH, bid="1499", ask="1501")
    assert lost(again) == 501
    del again.account.books[ETH]
    assert lost(again) is None
    spot = LimitOrder(exchange="binance", side=Side.BUY, symbol="ETH/USDT", quantity=D(1), price=D(2000))
    assert again.submit(spot, key="spot") is None and again.placed() == []
    again.book(symbol=ETH, bid="1499", ask="1501")
    assert again.problem().code == "LOSS_LIMIT"


# --- The balance they are settled in ---------------------------------------------------------------------


def held(world: World, usdt: str, times: int = 1, used: str = "0") -> None:
    for _ in range(times):
        world.now += 60
        world.balances(free={**world.free, "USDT": D(usdt)}, used={"USDT": D(used)})


def test_money_that_vanishes_where_no_contract_is_open_is_told() -> None:
    world = World(free={"USDT": D(50_000)})
    held(world, "50000", 3)
    held(world, "20000", 4)
    (told,) = world.told()
    assert "-29999.99" in told and "USDT" in told


def test_what_an_open_contract_moves_is_no_mismatch_and_what_goes_after_it_is_one() -> None:
    world = World(free={"USDT": D(50_000)})
    held(world, "50000", 3)
    world.book(symbol=ETH)
    world.stands("0")
    world.submit(BUY)
    assert world.placed()
    world.ack("q1.1.1")
    bought = fill("f1", "1", when=world.now, symbol=ETH, fee_currency="USDT", fee=D(1))
    world.venue(replace(bought, order_id="q1.1.1"))
    world.stands("1")
    for paid in range(1, 5):  # funding, and what the position is worth
        held(world, str(49_999 - paid))
    world.stands("0")  # somebody closed it at a profit, and no stream told
    held(world, "50700", 4)
    assert world.told() == []
    held(world, "50600", 4)
    (told,) = world.told()
    assert "-99.99" in told and "USDT" in told


def test_what_is_held_for_a_position_that_nobody_told_of_counts_as_one() -> None:
    world = World(free={"USDT": D(50_000)})
    held(world, "50000", 3)
    held(world, "49000", 1, used="1000")
    for paid in range(1, 5):
        held(world, str(49_000 - paid), used="1000")
    assert world.told() == []


@pytest.mark.parametrize("gone", [0, 500])
def test_after_contracts_a_busy_account_is_compared_anew(gone: int) -> None:
    world = World(free={"USDT": D(50_000), "ETH": D(1)})
    world.stands("0")
    held(world, "50000", 3)
    world.venue(replace(world.foreign("c1", "buy", "1"), fee=D(0)))
    world.venue(replace(world.foreign("c2", "sell", "1"), fee=D(0)))  # it has earned 300
    for step in range(150):  # others trade each ten seconds: it never rests
        world.now += 10
        theirs = fill(f"o{step}", "0.001", price="1000", when=world.now, fee=D(0))
        world.venue(replace(theirs, order_id=None, client_order_id=None, exchange_order_id=f"O{step}"))
        if step % 6 == 5:
            lost = gone if step > 120 else 0
            world.balances(free={"USDT": D(50_299 - step - lost), "ETH": 1 + D("0.001") * (step + 1)})
    assert len(world.told()) == bool(gone)


def test_a_position_that_was_gone_before_balances_were_read_has_moved_them_too() -> None:
    world = World(free={"USDT": D(50_000)})
    held(world, "50000", 3)
    world.book(symbol=ETH)
    world.stands("0")
    world.submit(BUY)
    bought = fill("f1", "1", when=world.now, symbol=ETH, fee_currency="USDT", fee=D(1))
    world.ack(world.placed()[0].order_id)
    world.venue(replace(bought, order_id="q1.1.1"))
    world.stands("0")  # liquidated
    held(world, "49000", 5)
    assert world.told() == []


def test_contracts_may_have_moved_what_is_different_after_contact_was_lost() -> None:
    world = World(free={"USDT": D(50_000)})
    held(world, "50000", 3)
    world.free = {"USDT": D(49_000)}
    world.connect()
    held(world, "49000", 4)
    assert world.told() == []
