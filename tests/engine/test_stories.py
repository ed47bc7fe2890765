"""The engine, event after event: what it asks for each time, and what it must not ask for."""

from dataclasses import replace
from decimal import Decimal

import pytest

from ems.algos import walker
from ems.algos.view import Place
from ems.core import errors
from ems.core.messages import (
    Balances,
    CancelAcked,
    CancelAllOrders,
    CancelOrder,
    CancelRequest,
    Ending,
    ExecuteQuote,
    Found,
    LimitOrder,
    Liquidate,
    MarketOrder,
    MarketsLoaded,
    NewOrder,
    OpenOrders,
    OrderStatus,
    OutcomeUnknown,
    Problem,
    QueryBalances,
    QueryOpenOrders,
    QueryOrder,
    Quote,
    Rebalance,
    Refusal,
    Rejected,
    Side,
    StreamUp,
    Style,
    WatchBook,
)
from ems.core.records import HistoryEntry, Notice, Order, ParentState, Phase, Query, QueryStatus, Status
from tests.builders import at, fill, market, smart_order
from tests.engine.world import MARKETS, EngineWorld

D = Decimal
MARKETS_TWO_HOPS = (market("ETH/USDT"), market("BTC/USDT"))
MARKETS_WITH_ISLAND = (market("ETH/USDT"), market("ISL/SEA"))


def limit(side=Side.BUY, quantity="1", price="1900", **fields):
    return LimitOrder(
        exchange="binance", symbol="ETH/USDT", side=side, quantity=D(quantity), price=D(price), **fields
    )


def market_buy(quantity="1", **fields):
    return MarketOrder(exchange="binance", symbol="ETH/USDT", side=Side.BUY, quantity=D(quantity), **fields)


def my_fill(world, order_id, fill_id, quantity, price, **fields):
    order = world.order(order_id)
    return fill(
        fill_id,
        quantity,
        price=price,
        when=world.now,
        order_id=order_id,
        side=order.side,
        symbol=order.symbol,
        **fields,
    )


# --- Intent, idempotency ---------------------------------------------------------------------------------


def test_an_order_goes_out_in_the_turn_that_records_its_intent():
    world = EngineWorld()
    answer = world.submit(limit())
    kinds = [type(r).__name__ for r in world.turn.records]
    assert {"Query", "Parent", "Order", "HistoryEntry"} <= set(kinds)
    assert isinstance(answer, Query) and answer.status is QueryStatus.WORKING
    (request,) = world.placed()
    assert request == NewOrder(
        order_id="q1.1.1",
        client_order_id=world.order("q1.1.1").client_order_id,
        symbol="ETH/USDT",
        side=Side.BUY,
        order_type=request.order_type,
        quantity=D(1),
        price=D(1900),
        time_in_force=request.time_in_force,
        post_only=False,
    )
    assert request.client_order_id.startswith("0e5a51b2-")
    assert world.order("q1.1.1").status is Status.PENDING


def test_the_same_key_and_body_is_the_same_query_and_nothing_is_sent_again():
    world = EngineWorld()
    first = world.submit(limit())
    again = world.submit(limit())
    assert again.query_id == first.query_id
    assert (world.turn.records, world.sent()) == ([], [])


def test_the_same_key_with_another_body_is_a_conflict():
    world = EngineWorld()
    world.submit(limit())
    answer = world.submit(limit(quantity="2"), body_digest="other")
    assert answer.code == errors.IDEMPOTENCY_CONFLICT
    assert world.sent() == []


def test_keys_belong_to_users():
    world = EngineWorld()
    first = world.submit(limit())
    other = world.submit(limit(), user="bob")
    assert other.query_id != first.query_id


def test_a_key_survives_a_restart():
    world = EngineWorld()
    first = world.submit(limit())
    reborn = EngineWorld(store=world.store)
    again = reborn.submit(limit(), query_id="q99")
    assert again.query_id == first.query_id and reborn.placed() == []


def test_a_dry_run_changes_nothing():
    world = EngineWorld()
    answer = world.submit(limit(), dry_run=True)
    assert answer.result["dry_run"] is True
    assert (world.turn.records, world.sent(), world.engine.work.queries) == ([], [], {})


# --- Refusals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (smart_order(exchange="coinbase"), errors.EXCHANGE_UNKNOWN, "binance"),
        (smart_order(exchange="bittrex"), errors.EXCHANGE_CLOSED, "December 2023"),
        (smart_order(end_currency="ETHH"), errors.CURRENCY_UNKNOWN, "ETHH"),
        (smart_order(start_currency="XYZ"), errors.CURRENCY_UNKNOWN, "XYZ"),
        (limit(quantity="0.0001"), errors.AMOUNT_TOO_SMALL, "below the smallest"),
        (limit(quantity="100000"), errors.AMOUNT_TOO_LARGE, "above the largest"),
        (limit(price="0.001"), errors.PRICE_INVALID, "price step"),
        (replace(limit(), symbol="ETH/EUR"), errors.SYMBOL_UNKNOWN, "ETH/EUR"),
        (replace(limit(), account="other"), errors.EXCHANGE_UNKNOWN, "account"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refusals_name_their_reason_and_trade_nothing(command, code, words):
    world = EngineWorld()
    world.book()
    answer = world.submit(command)
    assert isinstance(answer, Problem) and answer.code == code
    assert words in answer.message and answer.hint
    assert world.placed() == [] and world.store.orders == {}
    (query,) = world.store.queries.values()
    assert (query.status, query.error.code) == (QueryStatus.FAILED, code)
    (notice,) = world.store.notices
    assert code in notice.why and notice.todo == answer.hint


def test_a_refusal_does_not_bind_its_key():
    world = EngineWorld()
    assert world.submit(limit(quantity="0.0001")).code == errors.AMOUNT_TOO_SMALL
    assert isinstance(world.submit(limit()), Query)


def test_send_fail_email_false_sends_none():
    world = EngineWorld()
    world.submit(limit(quantity="0.0001"), send_fail_email=False)
    assert world.store.notices == [] and len(world.store.queries) == 1


def test_record_in_db_false_keeps_a_refusal_out_of_the_archive():
    world = EngineWorld()
    world.submit(limit(quantity="0.0001"), record_in_db=False)
    assert world.store.queries == {} and len(world.store.notices) == 1


def test_an_exchange_that_is_not_ready_is_told_so_and_the_same_request_may_be_sent_again():
    world = EngineWorld(ready=False)
    answer = world.submit(limit())
    assert (answer.code, answer.retry_safe) == (errors.EXCHANGE_UNAVAILABLE, True)
    assert world.store.queries == {} and world.placed() == []


def test_too_small_a_smart_order_names_the_smallest():
    world = EngineWorld()
    world.book()
    answer = world.submit(smart_order("4"))
    assert answer.code == errors.AMOUNT_TOO_SMALL
    smallest = D(answer.details["limit"])
    assert isinstance(world.submit(smart_order(str(smallest))), Query)


def test_no_way_between_two_currencies_is_a_result_not_an_error():
    world = EngineWorld(markets=MARKETS_WITH_ISLAND)
    answer = world.submit(smart_order(end_currency="ISL"))
    assert (answer.status, answer.result["outcome"]) == (QueryStatus.DONE, "nothing")
    assert "no chain" in answer.result["reason"]


def test_funds_are_looked_at_before_they_are_refused():
    world = EngineWorld(free={"USDT": D(10)})
    world.now = 10
    answer = world.submit(limit())
    assert answer is None and world.sent(QueryBalances), "an old balance refuses nothing"
    world.balances({"USDT": D(50000)})
    assert isinstance(world.answer(), Query) and len(world.placed()) == 1


def test_funds_that_are_really_missing_are_refused_with_the_figures():
    world = EngineWorld(free={"USDT": D(10)})
    world.now = 10
    world.submit(limit())
    world.balances()
    assert world.problem().code == errors.FUNDS_INSUFFICIENT
    assert (world.problem().details["needed"], world.problem().details["available"]) == ("1900", "10")
    assert world.store.orders == {}


def test_what_is_claimed_by_work_in_progress_is_not_spent_twice():
    world = EngineWorld(free={"USDT": D(2000)})
    world.book()
    world.submit(smart_order("1500"), "key-1")
    answer = world.submit(smart_order("600"), "key-2")
    assert answer.code == errors.FUNDS_INSUFFICIENT and answer.details["claimed"] == "1500"


def test_a_submission_waits_for_a_book_but_not_for_ever():
    world = EngineWorld()
    assert world.submit(smart_order()) is None
    assert world.sent(WatchBook) == [WatchBook(symbol="ETH/USDT")]
    world.now = 5
    world.timer("held", "1")
    assert world.problem().code == errors.EXCHANGE_UNAVAILABLE


# --- Direct orders
# -------------------------------------------------------------------------------------------


def test_a_limit_order_is_answered_when_the_venue_has_it():
    world = EngineWorld()
    world.submit(limit())
    world.ack("q1.1.1")
    assert (world.query().status, world.query().result["status"]) == (QueryStatus.DONE, "submitted")
    world.now = 4
    world.venue(my_fill(world, "q1.1.1", "f1", "1", "1900"))
    assert world.order("q1.1.1").status is Status.FILLED
    assert world.engine.work.parents["q1.1"].state is ParentState.DONE


def test_a_market_order_is_answered_when_it_is_over():
    world = EngineWorld()
    world.book()
    world.submit(market_buy())
    report = my_fill(world, "q1.1.1", "f1", "1", "2000.5")
    world.ack("q1.1.1", filled_quantity=D(1), ending=Ending.FILLED, fills=(report,))
    query = world.query()
    assert (query.status, query.result["average_price"]) == (QueryStatus.DONE, "2000.5")


def test_quantities_are_floored_and_prices_go_to_the_passive_side():
    world = EngineWorld()
    world.submit(limit(quantity="1.00009", price="1900.019"))
    (request,) = world.placed()
    assert (request.quantity, request.price) == (D("1.0000"), D("1900.01"))


def test_a_refusal_by_the_venue_fails_the_query_in_its_own_words_and_mails():
    world = EngineWorld()
    world.submit(limit())
    world.venue(
        Rejected(order_id="q1.1.1", refusal=Refusal.PERMANENT, message="market is closed", venue_code="-1013")
    )
    query = world.query()
    assert (query.status, query.error.code) == (QueryStatus.FAILED, errors.VENUE_REJECTED)
    assert (query.error.venue_code, query.error.venue_message) == ("-1013", "market is closed")
    assert [n.severity for n in world.turn.records if isinstance(n, Notice)] == ["error"]


def test_no_usable_answer_is_neither_yes_nor_no():
    world = EngineWorld()
    world.submit(limit())
    world.venue(OutcomeUnknown(order_id="q1.1.1", request="create", message="504"))
    assert (world.order("q1.1.1").status, world.query().status) == (Status.UNKNOWN, QueryStatus.WORKING)
    assert [type(r) for r in world.sent()] == [QueryOrder], "looked up, not sent again"


# --- Smart orders
# --------------------------------------------------------------------------------------------


def started(amount="1000", **fields):
    world = EngineWorld(**fields)
    world.book()
    world.submit(smart_order(amount))
    return world


def test_a_smart_order_rests_then_moves_closer_once_the_cancel_has_settled():
    world = started()
    (first,) = world.placed()
    assert (first.post_only, first.price) == (True, D("1999.00"))
    world.ack(first.order_id)
    world.now = 9.1
    world.book()  # a new book wakes the leg
    assert world.sent() == [
        CancelRequest(
            order_id="q1.1.1",
            client_order_id=first.client_order_id,
            exchange_order_id="X1",
            symbol="ETH/USDT",
        )
    ]
    world.venue(CancelAcked(order_id="q1.1.1", filled_quantity=D(0)))
    (second,) = world.placed()
    assert (second.order_id, second.price) == ("q1.1.2", D("1999.20"))
    assert second.client_order_id != first.client_order_id


def test_a_smart_order_ends_with_its_cost_against_taking_at_once():
    world = started("999.5")
    (request,) = world.placed()
    bought = request.quantity
    report = my_fill(world, "q1.1.1", "f1", str(bought), "1999", fee=bought / 1000, fee_currency="ETH")
    world.ack("q1.1.1")
    world.venue(report)
    result = world.query().result
    assert world.query().status is QueryStatus.DONE and result["outcome"] == "done"
    assert D(result["received"]) == bought * D("0.999")
    assert D(result["spent"]) == bought * 1999
    assert D(result["spent"]) + D(result["unspent"]) == D("999.5")
    at_once = D("999.5") / D("2000.5") * D("0.999")
    assert abs(D(result["taking_at_once"]["received"]) - at_once) < D("1e-11")
    mid = D("2000.25")
    lost = {"ours": D(result["spent"]) - bought * D("0.999") * mid, "at once": D("999.5") - at_once * mid}
    cost = {name: money / D("999.5") * 10000 for name, money in lost.items()}
    assert abs(D(result["cost"]["total_bps"]) - cost["ours"]) < D("0.001")
    assert abs(D(result["saved_bps"]) - (cost["at once"] - cost["ours"])) < D("0.001")
    assert world.sent(QueryBalances)


def test_two_hops_spend_only_what_the_first_has_received():
    world = EngineWorld(free={"ETH": D(2)}, markets=MARKETS_TWO_HOPS)
    for symbol, bid, ask in (("ETH/USDT", "2000", "2000.5"), ("BTC/USDT", "50000", "50001")):
        world.book(symbol, bid=bid, ask=ask)
    world.submit(smart_order("1", start_currency="ETH", end_currency="BTC"))
    (sell,) = world.placed()
    assert (sell.symbol, sell.side) == ("ETH/USDT", Side.SELL)
    world.ack(sell.order_id)
    world.venue(my_fill(world, sell.order_id, "f1", "1", "2001.51", fee=D("2.00151"), fee_currency="USDT"))
    (buy,) = world.placed()
    assert (buy.symbol, buy.side) == ("BTC/USDT", Side.BUY)
    assert buy.quantity * buy.price <= D("1999.50849") < (buy.quantity + D("0.0001")) * buy.price


def test_selling_everything_sells_99999_hundred_thousandths():
    world = EngineWorld(free={"ETH": D(10)})
    world.book()
    world.submit(smart_order("10", start_currency="ETH", end_currency="USDT"))
    assert world.placed()[0].quantity == D("9.9999")


def test_a_refusal_for_funds_takes_a_fresh_balance_and_a_smaller_order_and_gives_up_after_three():
    world = started("1000")
    quantities = []
    for n in range(1, 4):
        (request,) = world.placed()
        quantities.append(request.quantity)
        world.now += 0.1
        world.venue(
            Rejected(order_id=request.order_id, refusal=Refusal.INSUFFICIENT_FUNDS, message="no funds")
        )
        if n < 3:
            assert world.placed() == [] and world.sent(QueryBalances), (
                "nothing goes out before a fresh balance"
            )
            world.balances({"USDT": D(1000)})
    assert quantities == sorted(quantities, reverse=True) and len(set(quantities)) == 3
    assert (world.query().status, world.query().error.code) == (QueryStatus.FAILED, errors.FUNDS_INSUFFICIENT)


def test_the_guard_stops_an_order_beyond_what_was_asked(monkeypatch):
    decide = walker.decide

    def greedy(seen, now):
        decision = decide(seen, now)
        return replace(decision, quantity=decision.quantity * 2) if isinstance(decision, Place) else decision

    monkeypatch.setattr(walker, "decide", greedy)
    world = started()
    assert world.placed() == []
    assert world.query().error.code == errors.OVEREXECUTION_GUARD


# --- Cancels
# ----------------------------------------------------------------------------------------------------


def resting(world, key="key-1", **fields):
    answer = world.submit(limit(), key, **fields)
    order_id = f"{answer.query_id}.1.1"
    world.ack(order_id, f"X-{answer.query_id}")
    return order_id


def test_cancel_by_our_id_and_by_the_bots_key():
    for command in (CancelOrder(order_id="q1.1.1"), CancelOrder(client_order_id="key-1")):
        world = EngineWorld()
        resting(world)
        world.submit(command, "key-2")
        assert [r.order_id for r in world.sent(CancelRequest)] == ["q1.1.1"]
        assert world.query("q2").status is QueryStatus.WORKING, "a cancel is a question until it has settled"
        world.venue(CancelAcked(order_id="q1.1.1", filled_quantity=D(0)))
        assert world.query("q2").result["canceled"] == ["q1.1.1"]


def test_another_users_order_is_not_found():
    world = EngineWorld()
    resting(world)
    answer = world.submit(CancelOrder(order_id="q1.1.1"), "key-2", user="bob")
    assert answer.code == errors.ORDER_NOT_FOUND and world.sent() == []


def test_a_closed_order_cannot_be_cancelled():
    world = EngineWorld()
    resting(world)
    world.venue(my_fill(world, "q1.1.1", "f1", "1", "1900"))
    assert world.submit(CancelOrder(order_id="q1.1.1"), "key-2").code == errors.ORDER_CLOSED


def test_cancel_all_takes_the_bots_own_and_names_what_it_left():
    world = EngineWorld()
    mine, other = resting(world, "k1"), resting(world, "k2", bot="bot2")
    foreign = resting(world, "k3", user="bob")
    world.submit(CancelAllOrders(), "k4")
    assert [r.order_id for r in world.sent(CancelRequest)] == [mine]
    world.venue(CancelAcked(order_id=mine, filled_quantity=D(0)))
    result = world.query("q4").result
    assert (result["canceled"], result["left"]) == ([mine], [other])
    assert world.order(foreign).phase is Phase.LIVE


def test_cancelling_a_smart_orders_order_stops_the_smart_order():
    world = started()
    world.ack("q1.1.1")
    world.submit(CancelOrder(order_id="q1.1.1"), "key-2")
    world.venue(CancelAcked(order_id="q1.1.1", filled_quantity=D(0)))
    assert world.placed() == [] and world.query("q1").result["outcome"] == "nothing"
    assert world.query("q2").status is QueryStatus.DONE


def test_cancel_all_with_nothing_open_is_done_at_once():
    world = EngineWorld()
    answer = world.submit(CancelAllOrders())
    assert (answer.status, answer.result["canceled"]) == (QueryStatus.DONE, [])


# --- Restart and reconciliation
# -----------------------------------------------------------------------------------


def test_a_restart_looks_before_it_trades():
    world = started()
    reborn = EngineWorld(store=world.store, ready=False)
    assert reborn.sent() == []
    reborn.now = 1
    reborn.venue(MarketsLoaded(markets=MARKETS))
    reborn.venue(StreamUp())
    kinds = {type(r) for r in reborn.sent()}
    assert kinds == {QueryOpenOrders, QueryBalances, QueryOrder}
    assert reborn.order("q1.1.1").status is Status.UNKNOWN
    reborn.connect()
    assert reborn.placed() == [], "its order is unknown: nothing new before that is resolved"


def test_after_a_restart_progress_is_what_the_orders_say():
    world = started()
    world.ack("q1.1.1")
    world.venue(my_fill(world, "q1.1.1", "f1", "0.2", "1999"))
    reborn = EngineWorld(store=world.store)
    open_order = OrderStatus(
        order_id="q1.1.1",
        found=Found.OPEN,
        exchange_order_id="X1",
        filled_quantity=D("0.2"),
        query_sent_at=at(0),
    )
    reborn.venue(open_order)
    reborn.now = 9.5
    reborn.book()
    assert [r.order_id for r in reborn.sent(CancelRequest)] == ["q1.1.1"]
    reborn.venue(CancelAcked(order_id="q1.1.1", filled_quantity=D("0.2")))
    (second,) = reborn.placed()
    assert second.order_id == "q1.1.2"
    left = D(1000) - D("0.2") * 1999
    assert second.quantity * second.price <= left < (second.quantity + D("0.0001")) * second.price


def test_an_order_with_our_mark_that_the_ledger_lacks_is_adopted_and_cancelled():
    world = EngineWorld()
    world.now = 61
    stranger = OrderStatus(
        order_id=None,
        found=Found.OPEN,
        exchange_order_id="77",
        client_order_id="0e5a51b2-1111-4111-a111-111111111111",
        symbol="ETH/USDT",
        side=Side.SELL,
        quantity=D(1),
        filled_quantity=D(0),
    )
    foreign = replace(stranger, exchange_order_id="78", client_order_id="someone-elses")
    world.venue(OpenOrders(orders=(stranger, foreign), query_sent_at=at(61)))
    assert [r.exchange_order_id for r in world.sent(CancelRequest)] == ["77"], "others' orders are left alone"
    assert [n.severity for n in world.turn.records if isinstance(n, Notice)] == ["critical"]
    (order,) = world.store.orders.values()
    assert (order.user, order.side) == ("oms", Side.SELL)
    world.venue(OpenOrders(orders=(stranger,), query_sent_at=at(62)))
    assert len(world.store.orders) == 1, "seen twice, adopted once"


def test_balances_and_open_orders_are_compared_every_minute():
    world = EngineWorld()
    world.now = 60
    world.timer("account", "binance", "default")
    assert {type(r) for r in world.sent()} == {QueryBalances, QueryOpenOrders}
    assert world.wakes()["account", "binance", "default"] == at(120)


def test_what_others_hold_is_not_ours_to_spend():
    world = EngineWorld(free={"USDT": D(100)})
    world.now = 10
    world.submit(limit(quantity="0.1"))
    world.venue(Balances(free={"USDT": D(100)}, used={"USDT": D(5000)}, query_sent_at=at(10)))
    assert world.problem().details["available"] == "100"


# --- The records
# ----------------------------------------------------------------------------------------------------


def test_each_change_of_an_order_is_one_history_entry():
    world = EngineWorld()
    world.submit(limit())
    world.ack("q1.1.1")
    world.venue(my_fill(world, "q1.1.1", "f1", "1", "1900"))
    history = world.store.history("q1.1.1")
    assert [str(e.status) for e in history] == ["created", "pending", "submitted", "filled"]
    assert [e.version for e in history] == [0, 1, 2, 3]
    assert all(isinstance(e, HistoryEntry) for e in history)
    assert isinstance(world.store.orders["q1.1.1"], Order)


def test_a_wrong_parameter_of_an_algorithm_is_refused_where_it_is_asked_and_stops_nothing():
    world = EngineWorld()
    world.book()
    for params in ({"slots": "3"}, {"urgency": "many"}, {"urgency": "1e9"}):
        style = Style(algo="adaptive", params=params)
        for command in (
            smart_order(style=style),
            market_buy(style=style),
            Quote(command=smart_order(style=style)),
        ):
            answer = world.submit(command, key=f"{params}{type(command).__name__}")
            assert (answer.code, answer.details["field"]) == (errors.REQUEST_FIELD_INVALID, "algo_params")
    assert world.placed() == [] and world.engine.work.parents == {}


def test_a_quote_is_carried_out_once():
    world = EngineWorld()
    world.book()
    quoted = world.submit(Quote(command=smart_order("1000")), key="ask").result
    first = world.submit(ExecuteQuote(verb="smart_order", quote_id=quoted["quote_id"]), key="go")
    assert first.status is QueryStatus.WORKING and world.placed()
    again = world.submit(ExecuteQuote(verb="smart_order", quote_id=quoted["quote_id"]), key="go")
    assert again.query_id == first.query_id and world.placed() == []  # the same request again
    other = world.submit(ExecuteQuote(verb="smart_order", quote_id=quoted["quote_id"]), key="once more")
    assert other.code == errors.QUOTE_EXPIRED and first.query_id in other.message
    assert world.placed() == []


def test_a_sniper_without_a_price_does_not_take_the_slippage_allowed_for_a_price():
    world = EngineWorld()
    world.book(ask="2004")  # 10 bp from the mid: within the 50 allowed, dearer than the 5 it waits for
    world.submit(smart_order("1000", style=Style(algo="sniper")))
    assert world.placed() == []
    world.now = 1.0
    world.book(ask="2000.01")
    (taken,) = world.placed()
    assert taken.time_in_force.value == "IOC"


@pytest.mark.parametrize("amount", ["12", "20", "100.03"])
def test_a_quote_of_few_lots_can_be_carried_out_at_once(amount):
    world = EngineWorld(markets=(market("ETH/USDT", lot="0.001"),))
    world.book()
    quoted = world.submit(Quote(command=smart_order(amount)), key="ask").result
    assert D(quoted["worst_case"]["received"]) <= D(quoted["expected"]["received"])
    world.submit(ExecuteQuote(verb="smart_order", quote_id=quoted["quote_id"]), key="go")
    assert world.placed()


@pytest.mark.parametrize(
    ("command", "field"),
    [
        (Liquidate(exchange="binance", end_currency="USDT", currencies=("XYZ",)), "currencies"),
        (Liquidate(exchange="binance", end_currency="USDT", exclude=("ETHH",)), "exclude"),
        (Rebalance(exchange="binance", targets={"USDT": D(1)}, keep=("XXX",)), "keep"),
    ],
)
def test_a_mistyped_currency_of_a_portfolio_is_told(command, field):
    world = EngineWorld()
    world.book()
    answer = world.submit(command)
    assert (answer.code, answer.details["field"]) == (errors.CURRENCY_UNKNOWN, field)
    assert world.placed() == []


def test_too_small_an_end_amount_is_not_called_too_large():
    world = EngineWorld()
    world.book()
    answer = world.submit(smart_order(start_amount=None, end_amount=D("0.0001")))
    assert (answer.code, answer.details["field"]) == (errors.AMOUNT_TOO_SMALL, "end_amount")
