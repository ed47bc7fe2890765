"""Quotes: told without trading, carried out within what they named or not at all."""

from __future__ import annotations

from decimal import Decimal

import pytest

from ems.core import errors
from ems.core.messages import (
    ExecuteQuote,
    Liquidate,
    NewOrder,
    Problem,
    Quote,
    Rebalance,
    Share,
    Side,
    Style,
)
from ems.core.records import Query, QueryStatus
from tests.engine.test_legs import Floor, Venue, adds_up, convert, floor, plain_json

D = Decimal


def quoted(world, command=None, **fields):
    answer = world.submit(Quote(command=command or convert("1500")), **fields)
    assert isinstance(answer, Query) and answer.status is QueryStatus.DONE, answer
    assert plain_json(answer.result), answer.result
    return answer.result


def execute(world, quote, verb="smart_order", **fields):
    return world.submit(ExecuteQuote(verb=verb, quote_id=quote["quote_id"]), **fields)


def nothing_traded(world):
    return world.placed() == [] and world.engine.work.parents == {}


def test_a_quote_trades_nothing_and_tells_route_cost_and_worst_case():
    world = floor()
    quote = quoted(world)
    world.run(20)
    assert nothing_traded(world) and world.store.parents == {}
    assert [leg["exchange"] for leg in quote["legs"]] == ["alpha", "beta"]
    assert D(quote["spent"]["USDT"]) == D(1500)
    assert D(quote["worst_case"]["received"]) < D(quote["expected"]["received"])
    cost = {k: D(v) for k, v in quote["cost"].items()}
    parts = cost["fees_bps"] + cost["spread_bps"] + cost["impact_bps"]
    assert abs(cost["total_bps"] - parts) <= D("0.002") and cost["total_bps"] > 10
    assert D(quote["certificate"]["gap_bp"]) < D("0.01")


@pytest.mark.parametrize("algo", ["market", "classic", "adaptive", "twap"])
def test_a_quote_is_carried_out_and_gives_no_less_than_its_worst_case(algo):
    world = floor()
    quote = quoted(world, convert("1500", algo=algo))
    answer = execute(world, quote)
    assert isinstance(answer, Query), answer
    world.run(100)
    result = adds_up(world, answer.query_id)
    assert D(result["received"]) >= D(quote["worst_case"]["received"])
    assert world.store.queries[answer.query_id].verb == "smart_order"


@pytest.mark.parametrize(
    ("how", "code"),
    [
        (lambda q: ExecuteQuote(verb="smart_order", quote_id="q99"), errors.QUOTE_UNKNOWN),
        (lambda q: ExecuteQuote(verb="liquidate", quote_id=q["quote_id"]), errors.REQUEST_FIELD_INVALID),
    ],
    ids=["unknown", "of another verb"],
)
def test_a_quote_that_is_not_this_one_is_refused(how, code):
    world = floor()
    answer = world.submit(how(quoted(world)))
    assert answer.code == code and nothing_traded(world)


def test_a_quote_belongs_to_its_user():
    world = floor()
    answer = execute(world, quoted(world), user="bob")
    assert answer.code == errors.QUOTE_UNKNOWN and nothing_traded(world)


def test_a_quote_ends_after_a_minute():
    world = floor()
    quote = quoted(world)
    world.run(61)
    answer = execute(world, quote)
    assert answer.code == errors.QUOTE_EXPIRED and nothing_traded(world)


def test_a_restart_forgets_quotes_and_says_so():
    world = floor()
    quote = quoted(world)
    answer = execute(world.reborn(), quote)
    assert answer.code == errors.QUOTE_UNKNOWN


@pytest.mark.parametrize("change", ["worse", "gone"])
def test_moved_books_refuse_a_quote_and_nothing_is_sent(change):
    world = floor()
    quote = quoted(world)
    for venue in world.venues.values():
        if change == "worse":
            venue.mids["ETH/USDT"] = D(2100)
        else:
            venue.size["ETH/USDT"] = D("0.0001")
    world.run(3)
    answer = execute(world, quote)
    assert isinstance(answer, Problem) and answer.code == errors.QUOTE_MOVED, answer
    assert nothing_traded(world)


def test_a_better_price_is_no_reason_to_refuse():
    world = floor()
    quote = quoted(world)
    for venue in world.venues.values():
        venue.mids["ETH/USDT"] = D(1990)
    world.run(3)
    assert isinstance(execute(world, quote), Query)


def test_orders_of_a_quote_keep_the_limits_it_named():
    world = floor(symbols=("ETH/USDT", "BTC/USDT", "ETH/BTC"))
    quote = quoted(world, convert("1500", algo="adaptive"))
    limits = {(x["exchange"], x["symbol"]): D(x["limit"]) for x in quote["legs"]}
    for venue in world.venues.values():
        venue.mids["ETH/USDT"] = D(2004)
    world.run(3)
    execute(world, quote)

    def up():
        for venue in world.venues.values():
            venue.mids["ETH/USDT"] += D("0.3")
            venue.size["ETH/USDT"] = D("0.003")

    world.run(200, up)
    for _, exchange, request in world.sent:
        if isinstance(request, NewOrder) and request.symbol == "ETH/USDT" and request.side is Side.BUY:
            assert request.price <= limits[exchange, "ETH/USDT"]


def test_the_same_key_carries_a_quote_out_once():
    world = floor(usdt=("5000", "5000"))
    quote = quoted(world)
    first = execute(world, quote, key="once")
    again = execute(world, quote, key="once")
    assert first.query_id == again.query_id
    world.run(80)
    assert len(world.store.parents) == 1


def test_another_key_does_not_carry_a_quote_out_again():
    world = floor(usdt=("1500", "1500"))
    quote = quoted(world)
    execute(world, quote, key="once")
    answer = execute(world, quote, key="twice")
    assert isinstance(answer, Problem) and answer.code == errors.QUOTE_EXPIRED
    assert "carried out already" in answer.message
    assert len(world.store.parents) == 1


def test_a_quote_of_a_liquidation_does_not_sell_what_came_later():
    world = Floor(Venue("alpha", ("ETH/USDT",), {"ETH": "1"}))
    quote = quoted(world, Liquidate(exchange="alpha", end_currency="USDT"))
    world.venues["alpha"].move("ETH", D(5))
    world.connect("alpha")
    answer = execute(world, quote, "liquidate")
    assert isinstance(answer, Problem) and answer.code == errors.QUOTE_MOVED and nothing_traded(world)


def test_a_quote_of_all_there_is_does_not_take_what_came_later():
    world = floor()
    quote = quoted(world, convert(Share(percent=D(100))))
    assert D(quote["spent"]["USDT"]) == 2000
    for venue in world.venues.values():
        venue.move("USDT", D(5000))
    world.run(65 - 10)
    for name in world.venues:
        world.connect(name)
    answer = execute(world, quote)
    assert isinstance(answer, Query | Problem)
    world.run(130)
    assert world.total("USDT") >= 10000


def test_a_quote_of_an_end_amount_does_not_spend_much_more_than_it_named():
    world = Floor(
        Venue("alpha", ("ETH/USDT",), {"USDT": "5000"}), Venue("beta", ("ETH/USDT",), {"USDT": "5000"})
    )
    world.venues["beta"].mids["ETH/USDT"] = D(2200)
    quote = quoted(world, convert(None, end_amount=D("0.5"), max_slippage_bps=D(20)))
    assert [leg["exchange"] for leg in quote["legs"]] == ["alpha"]
    world.venues["alpha"].mids["ETH/USDT"] = D(2300)
    world.run(3)
    answer = execute(world, quote)
    world.run(80)
    assert isinstance(answer, Problem) or D(10000) - world.total("USDT") <= D("1010")


def test_a_quote_of_an_end_amount_tells_what_it_will_spend_and_bears_a_small_move():
    world = floor(usdt=("3000", "3000"))
    quote = quoted(world, convert(None, end_amount=D("0.5")))
    assert D(1000) < D(quote["spent"]["USDT"]) < D(1003)
    assert D("0.49") < D(quote["worst_case"]["received"]) <= D("0.5")
    for venue in world.venues.values():
        venue.mids["ETH/USDT"] = D(2001)
    world.run(3)
    assert isinstance(execute(world, quote), Query)
    world.run(80)
    assert D("0.5") <= world.total("ETH") < D("0.5003")


def test_a_quote_of_nothing_has_no_id_and_a_reason():
    world = floor()
    quote = quoted(world, Liquidate(exchange="all", end_currency="USDT"))
    assert quote["quote_id"] is None and quote["reason"] and quote["legs"] == []


@pytest.mark.parametrize(
    ("verb", "command"),
    [
        ("liquidate", Liquidate(exchange="all", end_currency="ETH", style=Style(algo="market"))),
        (
            "rebalance",
            Rebalance(
                exchange="all", targets={"ETH": D("0.5"), "USDT": D("0.5")}, style=Style(algo="market")
            ),
        ),
    ],
    ids=["liquidate", "rebalance"],
)
def test_portfolio_quotes_are_carried_out(verb, command):
    world = floor()
    quote = quoted(world, command)
    answer = execute(world, quote, verb)
    assert isinstance(answer, Query), answer
    world.run(80)
    assert world.query(answer.query_id).status is QueryStatus.DONE
    assert world.total("ETH") > D("0.4")


def test_a_dry_run_of_a_quote_and_of_its_execution_keeps_nothing():
    world = floor()
    quote = quoted(world)
    stored = dict(world.store.queries)
    answer = execute(world, quote, dry_run=True)
    assert answer.result["dry_run"] is True and plain_json(answer.result)
    assert nothing_traded(world) and world.store.queries == stored
    dry = world.submit(Quote(command=convert("100")), dry_run=True)
    assert world.store.queries == stored and plain_json(dry.result)


def test_an_account_that_is_not_ready_refuses_a_quote_by_name():
    world = Floor(
        Venue("alpha", ("ETH/USDT",), {"USDT": "1000"}),
        Venue("beta", ("ETH/USDT",), {"USDT": "1000"}),
        ready=False,
    )
    world.connect("alpha")
    answer = world.submit(Quote(command=convert("500")))
    assert isinstance(answer, Problem) and answer.code == errors.EXCHANGE_UNAVAILABLE
    quote = quoted(world, convert("500", exchange="all"))
    assert "beta" in quote["left_out"]


def test_two_quotes_of_the_same_money_cannot_both_be_carried_out():
    world = floor()
    one, two = quoted(world, convert("1500", algo="twap")), quoted(world, convert("1500", algo="twap"))
    assert isinstance(execute(world, one), Query)
    answer = execute(world, two)
    assert isinstance(answer, Problem) and answer.code == errors.FUNDS_INSUFFICIENT
