"""The engine over long times, changing markets and bad news: what a seed of two minutes cannot see."""

from decimal import Decimal

from ems.core.messages import (
    Acked,
    CancelAcked,
    CancelAllOrders,
    CancelRequest,
    Ending,
    Found,
    LimitOrder,
    MarketsLoaded,
    OrderStatus,
    OutcomeUnknown,
    Refusal,
    Rejected,
    Side,
    TradesAnswer,
)
from ems.core.records import Phase, QueryStatus, Status
from tests.builders import at, fill, market, smart_order
from tests.engine.world import MARKETS, EngineWorld

D = Decimal


def limit(side=Side.BUY, quantity="1", price="1900", **fields):
    return LimitOrder(
        exchange="binance", symbol="ETH/USDT", side=side, quantity=D(quantity), price=D(price), **fields
    )


def status(world, order_id, found, **fields):
    return OrderStatus(
        order_id=order_id, found=found, symbol="ETH/USDT", query_sent_at=at(world.now), **fields
    )


def give_up(world, order_id):
    """Let rule N find that an order never arrived."""
    world.venue(OutcomeUnknown(order_id=order_id, request="create", message="timeout"))
    for _ in range(4):
        world.now += 21
        world.venue(status(world, order_id, Found.NOT_FOUND))
        world.venue(TradesAnswer(order_id=order_id, fills=(), query_sent_at=at(world.now)))
    assert world.order(order_id).status is Status.REJECTED


# --- Long times -------------------------------------------------------------------------------


def test_balances_are_read_after_the_first_direct_order_was_evicted():
    world = EngineWorld()
    world.submit(limit())
    world.ack("q1.1.1")
    world.venue(status(world, "q1.1.1", Found.CLOSED, ending=Ending.CANCELED, filled_quantity=D(0)))
    world.now = 700
    world.timer("account", "binance", "default")  # evicts
    assert "q1.1" not in world.engine.work.parents
    world.balances()  # KeyError: runs still names the parent
    assert world.account.holdings.as_of == at(700)


# --- Restart ----------------------------------------------------------------------------------


def test_a_restart_after_three_minutes_goes_on_with_a_parent():
    world = EngineWorld()
    world.book()
    world.submit(smart_order("1000"))
    world.ack("q1.1.1")
    world.venue(fill("f1", "0.25", order_id="q1.1.1", when=1))
    # Three minutes later a new process starts; the venue is well and shows the order cancelled.
    reborn = EngineWorld(store=world.store, ready=False)
    reborn.now = 200
    reborn.venue(MarketsLoaded(markets=MARKETS))
    reborn.connect()
    reborn.venue(status(reborn, "q1.1.1", Found.CLOSED, ending=Ending.CANCELED, filled_quantity=D("0.25")))
    reborn.now = 201
    reborn.book()  # the first book, a second after contact
    assert reborn.query().status is QueryStatus.WORKING, reborn.query().error


def test_a_resting_order_outlives_the_purge_of_its_query():
    world = EngineWorld()
    world.submit(limit(), record_in_db=False)
    world.ack("q1.1.1")
    assert world.query().status is QueryStatus.DONE
    del world.store.queries["q1"]  # SqlStore.purge does this 24 h after the query was done
    reborn = EngineWorld(store=world.store)
    reborn.venue(fill("f1", "0.4", price="1900", order_id="q1.1.1", when=reborn.now))
    assert reborn.store.orders["q1.1.1"].filled_quantity == D("0.4")


# --- An order that appears after it was given up (R5) -----------------------------------------


def test_a_parent_does_not_spend_twice_when_an_order_given_up_turns_out_to_be_alive():
    world = EngineWorld()
    world.book()
    world.submit(smart_order("1000", time_limit=D(600)))
    give_up(world, "q1.1.1")
    world.book()
    world.ack("q1.1.2", "X2")  # the walker went on with the whole amount
    world.now += 20
    # The create arrived after all: twice 1000 USDT rest at the venue now.
    world.venue(status(world, "q1.1.1", Found.OPEN, exchange_order_id="X1", filled_quantity=D(0)))
    assert {r.order_id for r in world.sent(CancelRequest)} == {"q1.1.1", "q1.1.2"}


def test_the_cancel_of_an_order_that_appears_late_is_followed_until_it_is_gone():
    world = EngineWorld()
    world.submit(limit())
    give_up(world, "q1.1.1")
    world.now += 1
    world.venue(Acked(order_id="q1.1.1", exchange_order_id="X1"))
    assert len(world.sent(CancelRequest)) == 1
    world.venue(OutcomeUnknown(order_id="q1.1.1", request="cancel", message="timeout"))
    assert world.sent() != [] or ("order", "q1.1.1") in world.wakes()


# --- Refusals ---------------------------------------------------------------------------------


def test_a_parent_refused_for_lack_of_funds_fails_and_says_so():
    world = EngineWorld()
    world.book()
    world.submit(smart_order("1000"))
    world.venue(
        Rejected(
            order_id="q1.1.1",
            refusal=Refusal.INSUFFICIENT_FUNDS,
            message="Account has insufficient balance",
            venue_code="-2010",
        )
    )
    world.balances(free={"USDT": D(0)}, used={"USDT": D(10000)})
    query = world.query()
    assert query.status is QueryStatus.FAILED, (query.status, query.result)
    assert query.error.code == "FUNDS_INSUFFICIENT"


def test_a_refusal_told_twice_counts_once():
    world = EngineWorld()
    world.book()
    world.submit(smart_order("1000"))
    refused = Rejected(
        order_id="q1.1.1", refusal=Refusal.INSUFFICIENT_FUNDS, message="no", venue_code="-2010"
    )
    for _ in range(3):
        world.venue(refused)
    assert world.engine.work.runs["q1.1"].leg(0).funds_refusals == 1


# --- The venue's last word --------------------------------------------------------------------


def test_not_found_never_overrules_the_final_quantity_the_venue_told():
    world = EngineWorld()
    world.submit(limit())
    world.ack("q1.1.1")
    world.now = 1
    world.submit(CancelAllOrders(exchange="binance"), "key-2")
    world.venue(OutcomeUnknown(order_id="q1.1.1", request="cancel", message="timeout"))
    for _ in range(3):
        world.now += 20
        world.venue(status(world, "q1.1.1", Found.NOT_FOUND))  # its closed order is hidden; trades are slow
    world.venue(CancelAcked(order_id="q1.1.1", filled_quantity=D("0.7")))
    world.now += 1
    world.venue(TradesAnswer(order_id="q1.1.1", fills=(), query_sent_at=at(world.now)))
    order = world.order("q1.1.1")
    assert order.final_quantity == D("0.7")
    assert order.phase is not Phase.SETTLED  # 0.7 has filled and is not booked


# --- Whose fill is it -------------------------------------------------------------------------


def test_a_foreign_fill_of_another_symbol_with_the_same_venue_id_is_not_ours():
    # Binance: order ids are unique per symbol only.
    world = EngineWorld()
    world.submit(limit())
    world.ack("q1.1.1", "123456")
    world.venue(
        fill(
            "f1",
            "0.5",
            price="50000",
            symbol="BTC/USDT",
            exchange_order_id="123456",
            order_id=None,
            client_order_id="web_somebody-else",
        )
    )
    assert world.order("q1.1.1").filled_quantity == 0


# --- cancel_all -------------------------------------------------------------------------------


def test_nothing_submitted_before_cancel_all_starts_after_it():
    world = EngineWorld()
    world.now = 60
    world.submit(smart_order("1000"), "key-1")  # no book yet: held
    assert world.answer() is None
    world.submit(CancelAllOrders(exchange="binance", scope="user"), "key-2")
    world.book()  # the book arrives
    assert world.placed() == []


# --- Answers ----------------------------------------------------------------------------------


def test_a_half_done_parent_is_never_called_safe_to_send_again():
    world = EngineWorld()
    world.book()
    world.submit(smart_order("1000"))
    world.ack("q1.1.1")
    world.venue(fill("f1", "0.25", price="1999", order_id="q1.1.1", when=world.now))
    world.now = 200  # no book for longer than T + 60 s
    world.venue(status(world, "q1.1.1", Found.CLOSED, ending=Ending.CANCELED, filled_quantity=D("0.25")))
    query = world.query()
    assert query.status is QueryStatus.FAILED and query.result["outcome"] == "partial"
    assert query.error.retry_safe is False


def test_a_parent_whose_fees_come_out_of_its_source_spends_no_more_than_asked():
    # Binance with BNB fees: selling BNB pays its fee in BNB on top.
    world = EngineWorld(markets=(market("BNB/USDT", fee_mode="third"),), free={"BNB": D(10)})
    world.book("BNB/USDT", bid="600", ask="600.5")
    world.submit(smart_order("1", start_currency="BNB", end_currency="USDT"))
    world.ack("q1.1.1")
    order = world.order("q1.1.1")
    world.venue(
        fill(
            "f1",
            str(order.quantity),
            price=str(order.price),
            symbol="BNB/USDT",
            side=Side.SELL,
            fee=order.quantity * D("0.00075"),
            fee_currency="BNB",
            order_id="q1.1.1",
            when=1,
        )
    )
    assert D(world.query().result["spent"]) <= 1
