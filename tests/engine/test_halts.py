"""The kill switch: what it stops, what it never stops, and that it says only what was read."""

from dataclasses import replace
from decimal import Decimal

import pytest

from ems.core import errors
from ems.core.child import Patience
from ems.core.messages import (
    Acked,
    AmendRequest,
    Balances,
    CancelAcked,
    CancelAllOrders,
    CancelEverything,
    CancelRequest,
    EditOrder,
    Ending,
    EverythingCancelled,
    FillReport,
    Found,
    FromVenue,
    HaltTrading,
    LimitOrder,
    Liquidity,
    LookupFailed,
    MarketOrder,
    MarketsLoaded,
    NewOrder,
    OpenOrders,
    OrderStatus,
    OrderType,
    OutcomeUnknown,
    PlaceOrder,
    Problem,
    QueryOpenOrders,
    Refusal,
    Rejected,
    ResumeTrading,
    Side,
    SmartOrder,
    StreamUp,
    Style,
    TimeInForce,
    Withdraw,
)
from ems.core.records import Halt, Parent, Query, QueryStatus
from ems.engine import Engine
from ems.engine.account import Account
from ems.store import MemoryStore
from tests.builders import at, book, market
from tests.engine.test_risk import set_limit
from tests.engine.world import EngineWorld
from tests.limits import opened

D = Decimal
EVERYTHING = HaltTrading(all=True, reason="prices look wrong")


def limit(price="1900", **fields):
    given = {"exchange": "binance", "symbol": "ETH/USDT", "side": Side.BUY, "quantity": D("0.5"), **fields}
    return LimitOrder(price=D(price), **given)


def smart(exchange="binance", amount="1000"):
    return SmartOrder(
        exchange=exchange,
        start_currency="USDT",
        end_currency="ETH",
        start_amount=D(amount),
        style=Style(algo="classic", time_limit=D(60)),
    )


def listing(world, *statuses):
    return world.venue(OpenOrders(orders=statuses, query_sent_at=at(world.now)))


def listed(world, order_id, symbol="ETH/USDT"):
    order = world.order(order_id)
    return OrderStatus(
        order_id=None,
        found=Found.OPEN,
        exchange_order_id=order.exchange_order_id,
        client_order_id=order.client_order_id,
        symbol=symbol,
    )


STRANGER = OrderStatus(
    order_id=None, found=Found.OPEN, exchange_order_id="F9", client_order_id="by-hand", symbol="ETH/USDT"
)


def resting(world, *keys):
    """Place one resting order per key."""
    for number, key in enumerate(keys, 1):
        query_id = world.submit(limit(), key=key).query_id
        world.ack(f"{query_id}.1.1", f"X{number}")


def halt(world, command=EVERYTHING, key="halt-1", **fields):
    answer = world.submit(command, key=key, **fields)
    assert isinstance(answer, Query), answer
    return answer


def report(world, query_id):
    return world.query(query_id).result


def row(world, query_id):
    (found,) = report(world, query_id)["accounts"]
    return found


# --- What it refuses


SCOPES = {  # what is halted -> (halt, what alice is refused on binance then)
    "everything": (HaltTrading(all=True), True),
    "this exchange": (HaltTrading(exchange="binance"), True),
    "this account": (HaltTrading(exchange="binance", account="default"), True),
    "this user": (HaltTrading(user="alice"), True),
    "another user": (HaltTrading(user="bob"), False),
    "this market": (HaltTrading(symbol="ETH/USDT"), True),
    "this market at this exchange": (HaltTrading(exchange="binance", symbol="ETH/USDT"), True),
    "this user in this market": (HaltTrading(user="alice", symbol="ETH/USDT"), True),
    "another user in this market": (HaltTrading(user="bob", symbol="ETH/USDT"), False),
}


@pytest.mark.parametrize("name", SCOPES)
@pytest.mark.parametrize("ask", [limit, smart, lambda: replace(limit(), style=Style(algo="classic"))])
def test_new_work_is_refused_exactly_where_the_halt_holds(name, ask):
    world = EngineWorld()
    world.book()
    command, refused = SCOPES[name]
    halted = halt(world, command)
    answer = world.submit(ask(), key="key-2")
    if not refused:
        assert isinstance(answer, Query) and answer.status is not QueryStatus.FAILED
        return
    problem = world.problem()
    assert problem.code == errors.TRADING_HALTED and not problem.retry_safe
    assert halted.query_id in problem.message and "alice" in problem.message
    assert "resume" in problem.hint
    assert world.placed() == [] and world.engine.work.children == {}


@pytest.mark.parametrize("name", [n for n, (_, refused) in SCOPES.items() if refused])
def test_what_rests_is_canceled_and_the_proof_is_a_list_read_afterwards(name):
    world = EngineWorld()
    resting(world, "key-1")
    query = halt(world, SCOPES[name][0])
    assert [r.order_id for r in world.sent(CancelRequest)] == ["q1.1.1"]
    assert world.sent(QueryOpenOrders) == [QueryOpenOrders(urgent=True)]
    world.now = 1
    listing(world, listed(world, "q1.1.1"))  # the cancel has not got there
    assert row(world, query.query_id)["state"] == "open"
    assert row(world, query.query_id)["still_open"] == ["q1.1.1"]
    world.now = 2
    world.venue(CancelAcked(order_id="q1.1.1", filled_quantity=D(0)))
    assert world.sent(QueryOpenOrders), "settled: read again at once"
    assert world.query(query.query_id).status == "working", "an acknowledgement is no proof"
    world.now = 3
    listing(world)
    assert world.query(query.query_id).status == "done"
    assert report(world, query.query_id)["flat"] is True
    assert row(world, query.query_id)["canceled"] == ["q1.1.1"]
    assert row(world, query.query_id)["still_open"] == []
    subjects = [n.subject for n in world.store.notices if n.severity == "critical"]
    assert (
        len(subjects) == 2 and subjects[0].startswith("trading is halted") and subjects[1].startswith("flat")
    )


def test_what_another_user_has_out_goes_on():
    world = EngineWorld()
    resting(world, "key-1")
    query = halt(world, HaltTrading(user="bob"))
    assert world.sent(CancelRequest) == []
    listing(world, listed(world, "q1.1.1"))
    assert world.query(query.query_id).status == "done" and report(world, query.query_id)["flat"]
    assert world.order("q1.1.1").asked == "nothing"


def test_a_list_asked_for_before_the_last_order_ended_proves_nothing():
    world = EngineWorld()
    resting(world, "key-1")
    query = halt(world)
    world.now = 2
    world.venue(CancelAcked(order_id="q1.1.1", filled_quantity=D(0)))
    world.venue(OpenOrders(orders=(), query_sent_at=at(1)))
    assert world.query(query.query_id).status == "working"
    listing(world)
    assert world.query(query.query_id).status == "done"


def test_work_in_progress_ends_with_the_reason_and_never_places_again():
    world = EngineWorld()
    world.book()
    world.submit(smart())
    (first,) = world.placed()
    world.ack(first.order_id)
    query = halt(world)
    assert [r.order_id for r in world.sent(CancelRequest)] == [first.order_id]
    assert report(world, query.query_id)["stopped"] == ["q1.1"]
    world.now = 1
    world.venue(CancelAcked(order_id=first.order_id, filled_quantity=D(0)))
    ended = world.query("q1")
    assert ended.status == "failed" and ended.error.code == errors.TRADING_HALTED
    assert query.query_id in ended.error.message
    for second in range(2, 90, 7):
        world.now = second
        world.book()
        assert world.placed() == []
        world.timer("parent", "q1.1")
        assert world.placed() == []


def test_a_plain_order_canceled_by_it_says_so_and_one_that_filled_first_is_done():
    world = EngineWorld()
    world.book()
    world.submit(limit(), key="key-1")  # pending: no answer yet
    world.submit(limit(), key="key-2")
    halt(world)
    world.ack("q1.1.1", "X1")
    assert world.query("q1").status == "working", "it is being canceled: that it stands is not its answer"
    world.venue(CancelAcked(order_id="q1.1.1", filled_quantity=D(0)))
    assert world.query("q1").status == "failed" and world.query("q1").error.code == errors.TRADING_HALTED
    fill = FillReport(
        fill_id="f1",
        exchange_order_id="X2",
        symbol="ETH/USDT",
        side=Side.BUY,
        price=D(1900),
        quantity=D("0.5"),
        fee=D(0),
        fee_currency="ETH",
        liquidity=Liquidity.MAKER,
        at=at(0),
        order_id="q2.1.1",
    )
    world.ack("q2.1.1", "X2", filled_quantity=D("0.5"), ending=Ending.FILLED, fills=(fill,))
    assert world.query("q2").status == "done" and world.query("q2").result["status"] == "filled"
    listing(world)
    told = row(world, "q3")
    assert (told["canceled"], told["filled"]) == (["q1.1.1"], ["q2.1.1"])
    assert told["filled_meanwhile"] == {"q2.1.1": "0.5"}


def test_an_order_in_doubt_is_looked_up_and_is_not_flat_until_it_is_known():
    world = EngineWorld()
    world.submit(limit())
    world.venue(OutcomeUnknown(order_id="q1.1.1", request="create", message="timeout"))
    query = halt(world)
    listing(world)
    assert world.query(query.query_id).status == "working"
    assert row(world, query.query_id)["still_open"] == ["q1.1.1"]


def test_an_order_that_has_not_left_is_called_back_and_one_that_rests_is_canceled():
    world = EngineWorld()
    world.book()
    resting(world, "a")
    waiting = f"{world.submit(limit(), key='b').query_id}.1.1"
    query = halt(world)
    assert Withdraw(order_id=waiting) in world.sent(Withdraw)
    (cancel,) = world.sent(CancelRequest)
    assert cancel.exchange_order_id == "X1"
    world.venue(Rejected(order_id=waiting, refusal=Refusal.RATE_LIMIT, message="withdrawn", sent=False))
    assert world.order(waiting).status == "rejected"
    assert world.sent(NewOrder) == [], "and it is not sent again"
    world.venue(CancelAcked(order_id=cancel.order_id, filled_quantity=D(0)))
    world.now = 1
    listing(world)
    assert row(world, query.query_id)["other"] == [waiting]
    assert report(world, query.query_id)["flat"] is True


def test_an_order_in_doubt_may_not_have_left_either():
    world = EngineWorld()
    world.book()
    waiting = f"{world.submit(limit(), key='a').query_id}.1.1"
    world.venue(StreamUp())
    assert world.order(waiting).status == "unknown"
    halt(world)
    assert world.sent(Withdraw) == [Withdraw(order_id=waiting)]


def test_an_amendment_on_its_way_is_called_back_and_its_order_canceled_at_once():
    world = EngineWorld(markets=(market(amends=frozenset({"price", "quantity"})),))
    world.book()
    resting(world, "a")
    world.submit(EditOrder(client_order_id="a", quantity=D("0.7")), key="e")
    (amendment,) = world.sent(AmendRequest)
    halt(world)
    assert world.sent(Withdraw) == [Withdraw(order_id=amendment.order_id)]
    assert [r.exchange_order_id for r in world.sent(CancelRequest)] == ["X1"]


def test_cancels_go_on_under_a_halt():
    world = EngineWorld()
    resting(world, "key-1")
    world.engine.work.halts["h"] = Halt(halt_id="h", reason="", set_by="adam", set_at=at(0))
    answer = world.submit(CancelAllOrders(exchange="binance"), key="key-2")
    assert isinstance(answer, Query) and [r.order_id for r in world.sent(CancelRequest)] == ["q1.1.1"]


def sell(order_type=OrderType.MARKET, duration=None, *, price=None, reduces=True):
    return PlaceOrder(
        exchange="binance",
        symbol="ETH/USDT",
        side=Side.SELL,
        quantity=D("0.5"),
        order_type=order_type,
        price=price,
        time_in_force=duration or TimeInForce.GTC,
        reduce_only=reduces,
    )


def by_limit(duration):
    return sell(OrderType.LIMIT, duration, price=D(1990))


@pytest.mark.parametrize(
    ("role", "command", "passes"),
    [
        ("admin", sell(), True),
        ("admin", by_limit(TimeInForce.IOC), True),
        ("admin", by_limit(TimeInForce.FOK), True),
        ("admin", by_limit(TimeInForce.GTC), False),
        ("admin", sell(reduces=False), False),
        ("trade", sell(), False),
        ("trade", by_limit(TimeInForce.IOC), False),
    ],
)
def test_what_reduces_and_does_not_rest_passes_for_an_admin_and_the_account_stays_flat(role, command, passes):
    world = EngineWorld()
    world.book()
    query = halt(world)
    answer = world.submit(command, key="way-out", role=role)
    assert isinstance(answer, Query) is passes
    sent = world.sent(NewOrder)
    assert [(o.side, o.quantity) for o in sent] == ([(Side.SELL, D("0.5"))] if passes else [])
    if not passes:
        assert answer.code == "TRADING_HALTED"
        return
    world.now = 1
    world.timer("halt", query.query_id)
    assert world.sent(CancelRequest) == world.sent(Withdraw) == [], "it is not called back again"
    listing(world)
    assert not report(world, query.query_id)["flat"], "not before it has ended"
    order_id = f"{answer.query_id}.1.1"
    fill = FillReport(
        fill_id="f1",
        exchange_order_id="X1",
        symbol="ETH/USDT",
        side=Side.SELL,
        price=D(2000),
        quantity=D("0.2"),
        fee=D(0),
        fee_currency="USDT",
        liquidity=Liquidity.TAKER,
        at=at(1),
        order_id=order_id,
    )
    world.ack(order_id, "X1", filled_quantity=D("0.2"), ending=Ending.EXPIRED, fills=(fill,))
    world.now = 2
    listing(world)
    assert world.query(answer.query_id).status == "done"
    assert report(world, query.query_id)["flat"] is True


@pytest.mark.parametrize("role", ["trade", "admin"])
def test_what_was_asked_for_before_a_halt_is_called_back_though_it_only_reduces(role):
    world = EngineWorld()
    world.book()
    order_id = f"{world.submit(by_limit(TimeInForce.IOC), role=role).query_id}.1.1"
    halt(world)
    assert world.engine.halted(order_id) and world.sent(Withdraw) == [Withdraw(order_id=order_id)]
    world.venue(Rejected(order_id=order_id, refusal=Refusal.RATE_LIMIT, message="withdrawn", sent=False))
    assert world.query().error.code == errors.TRADING_HALTED


def test_what_was_let_pass_may_leave_under_another_halt_and_after_a_restart():
    world = EngineWorld()
    world.book()
    halt(world)
    order_id = f"{world.submit(sell(), key='way-out', role='admin').query_id}.1.1"
    assert not world.engine.halted(order_id) and world.order(order_id).purpose == "reduce"
    second = world.submit(HaltTrading(exchange="binance", reason="more"), key="halt-2", role="admin")
    for one in (world, EngineWorld(store=world.store)):
        one.timer("halt", second.query_id)
        assert one.sent(Withdraw) == one.sent(CancelRequest) == [] and not one.engine.halted(order_id)


def test_what_was_let_pass_is_suspected_when_it_comes_twice():
    world = EngineWorld()
    set_limit(world, "duplicate_window", "2")
    world.book()
    halt(world)
    world.submit(sell(), key="one", role="admin")
    for one in (world, EngineWorld(store=world.store)):
        one.book()
        assert one.submit(sell(), key="two", role="admin").code == errors.DUPLICATE_SUSPECTED


def test_what_is_still_being_judged_is_refused_at_once():
    world = EngineWorld()
    assert (
        world.submit(MarketOrder(exchange="binance", side=Side.BUY, symbol="ETH/USDT", quantity=D(1))) is None
    )
    world.submit(EVERYTHING, key="halt-1")
    answers = [e.answer for e in world.turn.effects if hasattr(e, "answer")]
    assert [a.code for a in answers if isinstance(a, Problem)] == [errors.TRADING_HALTED]
    world.book()
    assert world.placed() == []


# --- Orders that are not ours


def test_orders_that_are_not_ours_are_named_and_left_alone():
    world = EngineWorld()
    query = halt(world)
    listing(world, STRANGER)
    assert world.sent(CancelEverything) == [] and world.sent(CancelRequest) == []
    assert world.query(query.query_id).status == "done"
    assert row(world, query.query_id)["not_ours"] == [{"symbol": "ETH/USDT", "exchange_order_id": "F9"}]


def test_everything_empties_the_account_and_reads_again():
    world = EngineWorld()
    query = halt(world, HaltTrading(all=True, everything=True))
    listing(world, STRANGER)
    assert world.sent(CancelEverything) == [CancelEverything(symbol=None)]
    assert world.query(query.query_id).status == "working"
    world.now = 1
    world.venue(EverythingCancelled(cancelled=0, problems=("refused",)))
    assert world.sent(QueryOpenOrders) == [], "what failed is not repeated at once"
    world.now = 3
    world.timer("halt", query.query_id)
    assert world.sent(QueryOpenOrders)
    listing(world, STRANGER)
    assert world.sent(CancelEverything)
    world.venue(EverythingCancelled(cancelled=1, problems=()))
    listing(world)
    assert world.query(query.query_id).status == "done"


# --- Twice, lifted, mistyped, repeated


def test_two_halts_are_lifted_one_by_one():
    world = EngineWorld()
    one, two = halt(world), halt(world, HaltTrading(symbol="ETH/USDT"), key="halt-2")
    listing(world)
    answer = world.submit(ResumeTrading(halt_id=one.query_id), key="resume-1", user="adam")
    assert answer.result["still_halted"] == [{"halt_id": two.query_id, "where": "symbol ETH/USDT"}]
    world.submit(limit(), key="key-1")
    assert world.problem().code == errors.TRADING_HALTED
    world.submit(ResumeTrading(halt_id=two.query_id, reason="all well"), key="resume-2", user="adam")
    world.submit(limit(), key="key-2")
    assert world.placed()
    kept = {k.halt.halt_id: k for k in world.store.halts(10)}
    assert kept[two.query_id].lift.lifted_by == "adam" and kept[two.query_id].lift.reason == "all well"
    world.submit(ResumeTrading(halt_id=two.query_id), key="resume-3")
    assert world.problem().code == errors.HALT_NOT_FOUND


def test_what_is_lifted_before_it_was_proven_is_not_called_flat():
    world = EngineWorld()
    resting(world, "key-1")
    query = halt(world)
    world.submit(ResumeTrading(halt_id=query.query_id), key="resume-1")
    assert world.query(query.query_id).status == "done"
    assert report(world, query.query_id)["flat"] is False
    assert world.order("q1.1.1").asked == "cancel", "what was asked for goes on"


def test_the_same_key_halts_once():
    world = EngineWorld()
    first, again = halt(world), halt(world)
    assert again.query_id == first.query_id and len(world.engine.work.halts) == 1


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (HaltTrading(exchange="krakne"), errors.EXCHANGE_UNKNOWN),
        (HaltTrading(exchange="binance", account="second"), errors.EXCHANGE_UNKNOWN),
        (HaltTrading(symbol="EHT/USDT"), errors.SYMBOL_UNKNOWN),
    ],
)
def test_a_halt_of_nothing_is_refused(command, code):
    world = EngineWorld()
    world.submit(command)
    assert world.problem().code == code and world.engine.work.halts == {}


def test_a_dry_run_halts_nothing():
    world = EngineWorld()
    resting(world, "key-1")
    answer = world.submit(EVERYTHING, key="halt-1", dry_run=True)
    assert answer.result["would_cancel"] == ["q1.1.1"]
    assert world.engine.work.halts == {} and world.sent(CancelRequest) == []


# --- An exchange that does not answer


def test_an_exchange_that_cannot_be_reached_is_named_told_once_and_asked_until_it_answers():
    world = EngineWorld()
    resting(world, "key-1")
    query = halt(world)
    for _ in range(3):
        world.now += 2
        world.venue(LookupFailed(request="open_orders", order_id=None, message="connection refused"))
        assert ("ask", "open_orders", "binance", "default") in world.wakes()
    assert row(world, query.query_id)["state"] == "unreachable"
    assert row(world, query.query_id)["why"] == "connection refused"
    assert sum("cannot be reached" in n.subject for n in world.store.notices) == 1
    world.venue(CancelAcked(order_id="q1.1.1", filled_quantity=D(0)))
    assert world.query(query.query_id).status == "working"
    listing(world)
    assert world.query(query.query_id).status == "done" and row(world, query.query_id)["state"] == "flat"


def test_one_that_says_nothing_at_all_is_unreachable_too():
    world = EngineWorld()
    query = halt(world)
    asked = 0
    for second in range(2, 40, 2):
        world.now = second
        world.timer("halt", query.query_id)
        asked += len(world.sent(QueryOpenOrders))
    assert row(world, query.query_id)["state"] == "unreachable"
    assert asked == 2, "asked anew now and then, not piled up"


# --- Restarts


def test_a_restart_begins_halted_and_goes_on_with_the_proof():
    world = EngineWorld()
    resting(world, "key-1")
    world.book()
    world.submit(smart(), key="key-2")
    (working,) = world.placed()
    query = halt(world)
    again = EngineWorld(store=world.store, ready=False)
    assert list(again.engine.work.halts) == [query.query_id]
    assert again.sent() == [], "nothing is sent before the gateways are open"
    again.now = 1
    again.venue(MarketsLoaded(markets=(market("ETH/USDT"),)))
    again.venue(StreamUp())
    again.timer("halt", query.query_id)
    assert again.sent(NewOrder) == []
    for order_id in ("q1.1.1", working.order_id):
        exchange_id = again.order(order_id).exchange_order_id or "X7"
        closed = OrderStatus(
            order_id=order_id,
            found=Found.CLOSED,
            exchange_order_id=exchange_id,
            filled_quantity=D(0),
            ending=Ending.CANCELED,
            query_sent_at=at(1),
        )
        again.venue(closed)
    again.now = 2
    listing(again)
    again.balances()
    again.book()
    assert again.placed() == []
    assert again.query("q2").status == "failed" and again.query("q2").error.code == errors.TRADING_HALTED
    assert again.query(query.query_id).status == "done"
    assert row(again, query.query_id)["canceled"] == ["q1.1.1", working.order_id]
    again.submit(limit(), key="key-9")
    assert again.problem().code == errors.TRADING_HALTED


def test_a_halt_written_while_the_server_was_down_is_found_and_carried_out():
    world = EngineWorld()
    resting(world, "key-1")
    written = Halt(halt_id="h1", reason="", source="command", set_by="operator", set_at=at(5))
    query = replace(world.query("q1"), query_id="h1", idempotency_key="h1", user="operator", verb="halt")
    query = replace(query, status=QueryStatus.WORKING, result=None, finished_at=None)
    world.store.commit([written, query])
    again = EngineWorld(store=world.store)
    again.timer("halt", "h1")
    assert again.order("q1.1.1").asked == "cancel"
    again.submit(limit(), key="key-2")
    assert again.problem().code == errors.TRADING_HALTED and "operator" in again.problem().message


@pytest.mark.parametrize(
    ("source", "event"), [("api", "halt"), ("file", "halt"), ("VENUE_BREAKER", "breaker")]
)
def test_who_is_told_of_halts_is_told_apart_what_people_and_what_limits_have_stopped(source, event):
    world = EngineWorld()
    world.store.commit([Halt(halt_id="h1", reason="", source=source, set_by="x", set_at=at(5))])
    again = EngineWorld(store=world.store)
    again.submit(ResumeTrading(halt_id="h1"), key="resume-1")
    assert [notice.event for notice in again.store.notices] == [event]


def test_nothing_is_placed_by_a_parent_that_was_ended_by_a_halt_lifted_before_the_restart():
    world = EngineWorld()
    world.book()
    world.submit(smart())
    (working,) = world.placed()
    world.ack(working.order_id)
    query = halt(world)
    world.submit(ResumeTrading(halt_id=query.query_id), key="resume-1")
    again = EngineWorld(store=world.store)
    again.book()
    again.timer("parent", "q1.1")
    assert again.placed() == []
    again.venue(CancelAcked(order_id=working.order_id, filled_quantity=D(0)))
    assert again.query("q1").status == "failed" and again.query("q1").error.code == errors.TRADING_HALTED


def test_a_halt_during_reconciliation_cancels_and_the_account_stays_shut():
    world = EngineWorld()
    resting(world, "key-1")
    world.venue(StreamUp())
    assert world.account.readiness == "reconciling"
    halt(world)
    assert world.order("q1.1.1").asked == "cancel"
    listing(world, listed(world, "q1.1.1"))
    world.balances()
    assert world.account.readiness == "ready" and world.placed() == []
    world.submit(limit(), key="key-2")
    assert world.problem().code == errors.TRADING_HALTED


# --- Several exchanges


class TwoExchanges:
    def __init__(self):
        names = ("binance", "kraken")
        accounts = [Account(n, "default", mode="paper", patience=Patience(), id_style="uuid") for n in names]
        self.world = EngineWorld()
        self.world.engine = Engine(accounts, mark="0e5a51b2")
        self.world.store = opened(MemoryStore())
        self.world.do(lambda now: self.world.engine.restore(self.world.store.load(at(-600)), now))
        for name in names:
            self.venue(name, MarketsLoaded(markets=(market("ETH/USDT"),)))
            self.venue(name, StreamUp())
            self.venue(name, OpenOrders(orders=(), query_sent_at=at(0)))
            self.venue(name, Balances(free={"USDT": D(10000)}, used={}, query_sent_at=at(0)))
            self.venue(name, book(when=0))

    def venue(self, exchange, report):
        event = FromVenue(exchange=exchange, account="default", report=report)
        return self.world.do(lambda now: self.world.engine.handle(event, now))

    def placed_at(self):
        return {
            e.exchange for e in self.world.turn.effects if isinstance(getattr(e, "request", None), NewOrder)
        }


def test_all_goes_around_an_exchange_that_is_halted_and_naming_it_is_refused():
    two = TwoExchanges()
    halt(two.world, HaltTrading(exchange="kraken"))
    two.world.submit(smart("binance,kraken"), key="key-1")
    assert two.world.problem().code == errors.TRADING_HALTED
    two.world.submit(smart("all"), key="key-2")
    assert two.placed_at() == {"binance"}
    (parent,) = [p for p in two.world.engine.work.parents.values() if isinstance(p, Parent)]
    assert "trading is halted" in parent.arrival["left_out"]["kraken"]


def test_each_exchange_is_proven_by_itself():
    two = TwoExchanges()
    query = halt(two.world)
    two.world.now = 1
    two.venue("binance", OpenOrders(orders=(), query_sent_at=at(1)))
    two.venue("kraken", LookupFailed(request="open_orders", order_id=None, message="down"))
    states = {r["exchange"]: r["state"] for r in report(two.world, query.query_id)["accounts"]}
    assert states == {"binance": "flat", "kraken": "unreachable"}
    assert not report(two.world, query.query_id)["flat"]
    two.world.now = 60
    two.venue("kraken", OpenOrders(orders=(), query_sent_at=at(60)))
    assert two.world.query(query.query_id).status == "done"


def test_a_halt_at_one_exchange_leaves_the_orders_of_the_other():
    two = TwoExchanges()
    for name, key in (("binance", "key-1"), ("kraken", "key-2")):
        two.world.submit(limit(exchange=name), key=key)
    two.venue("binance", Acked(order_id="q1.1.1", exchange_order_id="X1"))
    two.venue("kraken", Acked(order_id="q2.1.1", exchange_order_id="X2"))
    halt(two.world, HaltTrading(exchange="kraken"))
    assert [r.order_id for r in two.world.sent(CancelRequest)] == ["q2.1.1"]
    assert two.world.order("q1.1.1").asked == "nothing"
