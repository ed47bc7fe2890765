"""Stories of the router: what it proposes, and why."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from ems.core.messages import Side
from ems.routing.graph import Books, build
from ems.routing.plan import Listing, Node, Proposal
from ems.routing.route import route
from ems.routing.solver import bound, solve
from tests.builders import T0, market

ROOT = Path(__file__).resolve().parents[2]
HOME: Node = ("binance", "main", "USDT")


def levels(*pairs: str) -> tuple[tuple[Decimal, Decimal], ...]:
    """Read levels from "price x quantity"."""
    return tuple((Decimal(p), Decimal(q)) for p, q in (pair.split("x") for pair in pairs))


def listing(
    symbol: str,
    bids: tuple[str, ...] = (),
    asks: tuple[str, ...] = (),
    *,
    exchange: str = "binance",
    account: str = "main",
    when: float = 0,
    **rules: object,
) -> Listing:
    """Return a market whose rules get in nobody's way unless a test says so."""
    rules = {"lot": "1e-12", "min_quantity": "0", "min_notional": "0", "max_quantity": None} | rules
    return Listing(
        exchange=exchange,
        account=account,
        market=replace(market(symbol, **rules), exchange=exchange),
        bids=levels(*bids),
        asks=levels(*asks),
        at=T0 + timedelta(seconds=when),
    )


GOLDEN = [
    listing("ZEN/USDT", asks=("10.0x20", "10.2x50", "10.6x500")),
    listing("BTC/USDT", asks=("50000x.008", "50010x1")),
    listing("ZEN/BTC", asks=(".0002x30", ".000203x100", ".00022x1000")),
]


def direct(proposal: Proposal, symbol: str = "ZEN/USDT") -> Decimal:
    return sum((leg.spend for leg in proposal.legs if leg.symbol == symbol), Decimal(0))


@pytest.mark.parametrize(
    "amount, received, over_the_direct_market",
    [
        ("100", "9.99", "100"),
        ("500", "49.92003", "200"),
        ("1000", "99.075219", "200"),
        ("2000", "197.204600", "683.50042"),
    ],
)
def test_the_golden_example_of_the_design(amount: str, received: str, over_the_direct_market: str) -> None:
    """EXECUTION.md 2.2."""
    found = route(GOLDEN, {HOME: Decimal(amount)}, "ZEN")
    assert abs(found.continuous - Decimal(received)) < Decimal("1e-6")
    assert abs(found.received - Decimal(received)) < Decimal("1e-6")
    assert abs(direct(found) - Decimal(over_the_direct_market)) < Decimal("1e-5")
    assert found.gap_bp < Decimal("1e-6")


def test_the_curve_says_what_any_smaller_amount_would_bring() -> None:
    curve = route(GOLDEN, {HOME: Decimal(2000)}, "ZEN").curve
    assert curve[-1][0] == 2000
    rates = [b[1] / b[0] for b in curve]
    assert rates == sorted(rates, reverse=True)
    for amount, received in (("600", "59.7529950738916"), ("200", "19.98")):
        assert (Decimal(amount), Decimal(received)) in curve
        assert abs(route(GOLDEN, {HOME: Decimal(amount)}, "ZEN").continuous - Decimal(received)) < Decimal(
            "1e-9"
        )


def test_an_early_choice_is_taken_back_when_it_stands_in_the_way() -> None:
    """The best path goes by A and B; later B is wanted for itself, and A's money must go out directly."""
    free = {"taker_fee": "0"}
    books = [
        listing("A/USDT", asks=("1x10",), **free),
        listing("A/B", bids=("1x10",), **free),
        listing("B/T", bids=("1x10",), **free),
        listing("USDT/B", bids=("0.9x10",), **free),
        listing("A/T", bids=("0.9x10",), **free),
    ]
    found = route(books, {HOME: Decimal(20)}, "T", scope="all")
    # 10 by A and B; then 10 make 9 B, which push 9 A out of the way, to T at 0.9. Without: 10 in all.
    assert abs(found.continuous - Decimal("18.1")) < Decimal("1e-12")
    sold = {leg.symbol: leg.spend for leg in found.legs}
    for symbol, spend in {"A/USDT": 10, "USDT/B": 10, "A/B": 1, "A/T": 9, "B/T": 10}.items():
        assert abs(sold[symbol] - spend) < Decimal("1e-9")


FEES = {
    # fee mode -> (spent and received buying 10 at 2, the same selling 10 at 2), taker fee 1 %
    "received": (("20", "9.90"), ("10", "19.80")),
    "quote": (("20.20", "10"), ("10", "19.80")),
    "base": (("20", "9.90"), ("10.10", "20")),
    "third": (("20", "9.90"), ("10", "19.80")),
}


@pytest.mark.parametrize("mode", FEES)
@pytest.mark.parametrize("side", [Side.BUY, Side.SELL])
def test_each_way_of_charging_fees_is_counted_exactly(mode: str, side: Side) -> None:
    spend, receive = map(Decimal, FEES[mode][side is Side.SELL])
    book = listing("ZEN/USDT", ("2x10",), ("2x10",), taker_fee="0.01", fee_mode=mode)
    start, end = ("USDT", "ZEN") if side is Side.BUY else ("ZEN", "USDT")
    node = ("binance", "main", start)
    found = route([book], {node: spend}, end)
    (leg,) = found.legs
    assert (leg.side, leg.quantity, leg.price) == (side, 10, 2)
    assert (leg.spend, leg.receive) == (spend, receive)
    assert found.spent == {node: spend} and found.received == receive
    assert abs(found.continuous - receive) < Decimal("1e-12")


def test_a_leg_spends_what_the_legs_before_it_really_delivered() -> None:
    rules = {"lot": "0.001", "min_quantity": "0.001"}
    books = [
        listing("BTC/USDT", asks=("50000x5",), **rules),
        listing("ETH/BTC", asks=("0.03x50",), **rules),
    ]
    found = route(books, {HOME: Decimal(1234)}, "ETH")
    first, second = found.legs
    assert (first.level, second.level) == (0, 1)
    assert first.quantity == Decimal("0.024")  # 1200 of 1234: the rest is less than a lot
    assert second.spend <= first.receive
    assert second.quantity == Decimal("0.799")  # of 0.023976 BTC, not of the 0.02465 the flow had
    assert found.spent == {HOME: first.spend} and found.received == second.receive


def test_the_order_limit_is_the_worst_level_it_sweeps() -> None:
    (leg,) = route([GOLDEN[0]], {HOME: Decimal(500)}, "ZEN").legs
    assert leg.price == Decimal("10.2")
    assert 0 <= 500 - leg.spend < Decimal("1e-10")


def test_money_on_several_venues_is_spent_where_it_buys_most() -> None:
    books = [
        listing("ZEN/USDT", asks=("10x5", "12x100"), exchange="binance"),
        listing("ZEN/USDT", asks=("11x5", "13x100"), exchange="kraken"),
    ]
    held = {(exchange, "main", "USDT"): Decimal(1000) for exchange in ("binance", "kraken")}
    found = route(books, held, "ZEN", amount=Decimal(105))
    assert {leg.exchange: leg.spend for leg in found.legs} == {"binance": 50, "kraken": 55}
    assert sum(found.spent.values()) == 105
    found = route(books, held, "ZEN", amount=Decimal(225))
    assert {leg.exchange: leg.spend for leg in found.legs} == {"binance": 170, "kraken": 55}


def test_a_supply_is_never_overdrawn_to_reach_the_amount() -> None:
    books = [
        listing("ZEN/USDT", asks=("10x100",), exchange="binance"),
        listing("ZEN/USDT", asks=("11x100",), exchange="kraken"),
    ]
    held = {("binance", "main", "USDT"): Decimal("100.5"), ("kraken", "main", "USDT"): Decimal(55)}
    found = route(books, held, "ZEN", amount=Decimal(500))
    assert found.spent == held


def test_accounts_of_one_exchange_do_not_share_money() -> None:
    books = [
        listing("BTC/USDT", asks=("50000x1",), account="one"),
        listing("ZEN/BTC", asks=("0.0002x1000",), account="two"),
    ]
    found = route(books, {("binance", "one", "USDT"): Decimal(100)}, "ZEN")
    assert found.legs == () and "ZEN" in found.reason


def test_what_rounding_leaves_at_one_account_is_spent_at_the_other() -> None:
    books = [
        listing("ZEN/USDT", asks=("10x8.7", "30x1"), exchange="binance", lot="1"),
        listing("ZEN/USDT", asks=("11x100",), exchange="kraken", lot="0.01"),
    ]
    held = {(exchange, "main", "USDT"): Decimal(500) for exchange in ("binance", "kraken")}
    found = route(books, held, "ZEN", amount=Decimal(200))
    assert {leg.exchange: leg.spend for leg in found.legs} == {"binance": 80, "kraken": Decimal("119.9")}


SMALL = {"lot": "0.01", "min_quantity": "0.01", "min_notional": "5"}


def test_a_branch_that_is_mostly_rounding_is_dropped() -> None:
    books = [
        listing("ZEN/USDT", asks=("10x20", "10.2x1000"), **SMALL),
        listing("ZEN/USDC", asks=("10.15x0.6",), **SMALL),
        listing("USDC/USDT", asks=("1x1000",), **SMALL, taker_fee="0"),
    ]
    found = route(books, {HOME: Decimal(1000)}, "ZEN", usd={"USDT": Decimal(1)})
    assert [leg.symbol for leg in found.legs] == ["ZEN/USDT"]
    assert found.continuous > found.received
    assert set(found.left_out.values()) == {"below 1.5 times the smallest order"}


def test_a_small_branch_with_nowhere_else_to_go_stays() -> None:
    books = [
        listing("ZEN/USDT", asks=("10x1000",), exchange="binance", **SMALL),
        listing("ZEN/USDT", asks=("10x1000",), exchange="kraken", **SMALL),
    ]
    held = {HOME: Decimal(1000), ("kraken", "main", "USDT"): Decimal(8)}
    found = route(books, held, "ZEN", usd={"USDT": Decimal(1)})
    assert found.spent == held


def test_two_halves_too_small_for_an_order_become_one_that_is_not() -> None:
    rules = {"lot": "0.01", "min_quantity": "0.01", "min_notional": "50"}
    books = [
        listing("ZEN/USDT", asks=("10x4", "10.5x100"), exchange="binance", **rules),
        listing("ZEN/USDT", asks=("10.1x4", "10.6x100"), exchange="kraken", **rules),
    ]
    held = {(exchange, "main", "USDT"): Decimal(80) for exchange in ("binance", "kraken")}
    found = route(books, held, "ZEN", amount=Decimal(80))
    assert [leg.exchange for leg in found.legs] == ["binance"]
    assert found.spent[HOME] > 79


def test_an_account_gives_way_so_that_another_can_send_a_legal_order() -> None:
    rules = {"lot": "0.01", "min_quantity": "0.01", "min_notional": "50"}
    books = [
        listing("ZEN/USDT", asks=("10x1000",), exchange="binance", **rules),
        listing("ZEN/USDT", asks=("10.1x1000",), exchange="kraken", **rules),
    ]
    held = {HOME: Decimal(200), ("kraken", "main", "USDT"): Decimal(200)}
    found = route(books, held, "ZEN", amount=Decimal(230))
    assert len(found.legs) == 2 and sum(found.spent.values()) > 229
    assert all(leg.quantity * leg.price >= 51 for leg in found.legs)


@pytest.mark.parametrize("rules", [{"min_notional": "0.01"}, {"lot": "50"}], ids=["notional", "lot"])
def test_nothing_is_bought_that_cannot_be_sold_on(rules: dict[str, object]) -> None:
    bridge = [listing("BTC/USDT", asks=("50000x1",)), listing("ZEN/BTC", asks=(".00019x5000",), **rules)]
    found = route(bridge, {HOME: Decimal(100)}, "ZEN")
    assert (found.legs, found.spent) == ((), {}) and "below the smallest order" in found.reason
    found = route([*bridge, listing("ZEN/USDT", asks=("10x5000",))], {HOME: Decimal(100)}, "ZEN")
    assert {leg.symbol: leg.spend for leg in found.legs} == {"ZEN/USDT": 100}


REASONS = {
    "nothing held": ({}, "ZEN", "nothing is held that could become ZEN"),
    "only the end currency is held": ({("binance", "main", "ZEN"): "5"}, "ZEN", "nothing is held"),
    "unknown end": ({HOME: "100"}, "XRP", "no market of these accounts trades XRP"),
    "unknown start": ({("binance", "main", "DOGE"): "100"}, "ZEN", "no market of these accounts trades DOGE"),
    "unknown account": ({("kraken", "main", "USDT"): "100"}, "ZEN", "no market of these accounts trades ZEN"),
    "no book that way": ({("binance", "main", "ZEN"): "100"}, "USDT", "no way from ZEN to USDT"),
    "less than a lot": ({HOME: "1e-13"}, "ZEN", "below the smallest order"),
}


@pytest.mark.parametrize("held, end, reason", REASONS.values(), ids=REASONS.keys())
def test_no_plan_says_why(held: dict[Node, str], end: str, reason: str) -> None:
    found = route(GOLDEN, {node: Decimal(amount) for node, amount in held.items()}, end)
    assert found.legs == () and found.received == 0 and found.spent == {}
    assert reason in found.reason


@pytest.mark.parametrize(
    "wrong", [{"scope": "some"}, {"max_hops": 0}, {"amount": Decimal(0)}, {"end_amount": Decimal(-1)}]
)
def test_nonsense_is_refused_by_name(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        route(GOLDEN, {HOME: Decimal(100)}, "ZEN", **wrong)  # type: ignore[arg-type]


def test_books_that_end_say_how_much_they_take() -> None:
    found = route([GOLDEN[0]], {HOME: Decimal(10_000)}, "ZEN")
    assert found.spent == {HOME: Decimal("6010")}
    assert "end after 6010" in found.left_out["USDT"]


@pytest.mark.parametrize("wanted", ["9.99", "50", "99.1", "150", "197"])
@pytest.mark.parametrize("lot", ["1e-12", "0.01"])
def test_the_least_is_spent_that_reaches_an_output(wanted: str, lot: str) -> None:
    books = [replace(one, market=replace(one.market, lot=Decimal(lot))) for one in GOLDEN]
    found = route(books, {HOME: Decimal(5000)}, "ZEN", end_amount=Decimal(wanted))
    assert found.received >= Decimal(wanted)
    assert found.left_out.get("ZEN") is None
    (spent,) = found.spent.values()
    # A lot of each market less would not have been enough.
    less = route(books, {HOME: spent - Decimal(33) * Decimal(lot) - Decimal("0.001")}, "ZEN")
    assert less.received < Decimal(wanted)


def test_an_output_out_of_reach_is_said_to_be_short() -> None:
    found = route(GOLDEN, {HOME: Decimal(100)}, "ZEN", end_amount=Decimal(50))
    assert found.received == Decimal("9.99")
    assert found.left_out["ZEN"] == "40.01 short of 50: the supplies end"
    found = route([GOLDEN[0]], {HOME: Decimal(10_000)}, "ZEN", end_amount=Decimal(1000))
    assert "the displayed books end" in found.left_out["ZEN"]


def test_a_halted_market_is_not_used() -> None:
    halted = replace(GOLDEN[0], market=replace(GOLDEN[0].market, active=False))
    found = route([halted, *GOLDEN[1:]], {HOME: Decimal(100)}, "ZEN")
    assert {leg.symbol for leg in found.legs} == {"BTC/USDT", "ZEN/BTC"}


def test_hubs_that_are_not_enough_are_noticed_and_all_edges_tried() -> None:
    """A coin nobody quotes in is a better bridge than any hub: the proof over all edges shows it."""
    hubs = ["USDT", "USDC", "BTC", "ETH", "EUR", "BNB"]
    books = [listing(f"C{n}/{hub}", ("1x1000",), ("1.01x1000",)) for hub in hubs for n in range(4)]
    books += [
        listing("ZEN/USDT", asks=("10x100",)),
        listing("GOLD/USDT", asks=("5x1000",)),
        listing("GOLD/ZEN", bids=("0.52x1000",)),
    ]
    found = route(books, {HOME: Decimal(500)}, "ZEN")
    assert found.scope == "all" and found.gap_bp < Decimal("1e-6")
    assert {leg.symbol for leg in found.legs} == {"GOLD/USDT", "GOLD/ZEN"}
    assert route(books, {HOME: Decimal(500)}, "ZEN", max_hops=1).scope == "hub"


def test_two_currencies_can_be_turned_into_a_third_together() -> None:
    books = [
        listing("ZEN/USDT", asks=("10x50", "20x1000")),
        listing("ZEN/BTC", asks=("0.0002x100",)),
        listing("BTC/USDT", ("49900x1",), ("50000x1",)),
    ]
    held = {HOME: Decimal(600), ("binance", "main", "BTC"): Decimal("0.01")}
    found = route(books, held, "ZEN")
    assert found.spent == held
    # 500 for 50 directly, 50 by BTC at 10 in all, and 50 more for the BTC that were there.
    assert {leg.symbol for leg in found.legs} == {"ZEN/USDT", "ZEN/BTC", "BTC/USDT"}
    assert found.continuous > 109
    assert found.gap_bp < Decimal("1e-6")
    for name in ("amount", "end_amount"):
        with pytest.raises(ValueError, match=name):
            route(books, held, "ZEN", **{name: Decimal(1)})  # type: ignore[arg-type]


def test_a_dear_currency_is_not_lost_beside_a_cheap_one() -> None:
    books = [
        listing("SHIB/USDT", bids=("0.00001x1e12",)),
        listing("BTC/USDT", bids=("50000x1",)),
        listing("DUST/USDT", bids=("1x3",)),
    ]
    held = {
        ("binance", "main", "SHIB"): Decimal("1e10"),
        ("binance", "main", "BTC"): Decimal("0.00001"),
        ("binance", "main", "DUST"): Decimal(5),
    }
    found = route(books, held, "USDT")
    assert found.spent == held | {("binance", "main", "DUST"): Decimal(3)}
    assert found.left_out == {"DUST": "the displayed books end after 3 of 5"}
    assert found.received == (100_000 + Decimal("0.5") + 3) * Decimal("0.999")


def test_the_heavy_libraries_wait_until_a_circle_needs_them() -> None:
    ask = "import sys, ems.routing.route; print({'numpy', 'scipy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", ask], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_the_same_question_has_the_same_answer_in_any_order_of_books() -> None:
    mirrored = [
        replace(one, exchange="kraken", market=replace(one.market, exchange="kraken")) for one in GOLDEN
    ]
    held = {(exchange, "main", "USDT"): Decimal(700) for exchange in ("binance", "kraken")}
    first = route([*GOLDEN, *mirrored], held, "ZEN")
    assert first == route([*GOLDEN, *mirrored], held, "ZEN")
    other = route([*mirrored, *GOLDEN], dict(reversed(held.items())), "ZEN")
    assert (other.received, other.continuous) == (first.received, first.continuous)


# --- books that are wrong -------------------------------------------------------------------------------


def test_a_circle_that_makes_money_is_left_out_of_the_orders() -> None:
    books = [
        listing("X/A", ("1x1000",), ("1.01x1000",)),
        listing("Y/X", ("2x30",), ("1.9x40",)),  # crossed: buy Y for 1.9 X, sell it for 2
        listing("X/T", bids=("1x1000",)),
        listing("Y/T", bids=("1.5x1000",)),
    ]
    held = {("binance", "main", "A"): Decimal(100)}
    found = route(books, held, "T", scope="all", max_hops=4, now=T0)
    assert found.arbitrage and found.scope == "all"
    assert {leg.symbol for leg in found.legs} == {"X/A", "X/T"}
    assert 0 <= 100 - sum(leg.spend for leg in found.legs if leg.source == "A") < Decimal("1e-9")
    assert found.continuous <= 100


def test_an_old_book_is_refused_only_where_it_promises_profit_in_a_circle() -> None:
    def books(age: float, bid: str) -> list[Listing]:
        return [
            listing("X/A", ("1x1000",), ("1.01x1000",)),
            listing("Y/X", (f"{bid}x30",), ("1.9x40",), when=-age),
            listing("X/T", bids=("1x1000",)),
            listing("Y/T", bids=("1.5x1000",)),
        ]

    held = {("binance", "main", "A"): Decimal(100)}
    calm = route(books(60, "1.8"), held, "T", scope="all", max_hops=4, now=T0)
    assert not calm.arbitrage and calm.left_out == {}
    old = route(books(1.6, "2"), held, "T", scope="all", max_hops=4, now=T0)
    assert not old.arbitrage
    assert old.left_out == {"binance/main Y/X": "its book is older than 1.5 s"}
    behind = route(books(1.1, "2"), held, "T", scope="all", max_hops=4, now=T0)
    assert not behind.arbitrage
    assert behind.left_out == {"binance/main Y/X": "its book is more than 1 s behind the newest"}
    fresh = route(books(0.9, "2"), held, "T", scope="all", max_hops=4, now=T0)
    assert fresh.arbitrage and fresh.left_out == {}


# --- books kept between calls ----------------------------------------------------------------------------


def test_kept_books_answer_like_new_ones_after_any_change() -> None:
    books = Books(GOLDEN)
    held = {HOME: Decimal(1000)}
    assert route(books, held, "ZEN") == route(GOLDEN, held, "ZEN")
    moved = listing("ZEN/USDT", asks=("9.5x30", "10.1x500"))
    books.update(moved)
    assert route(books, held, "ZEN") == route([moved, *GOLDEN[1:]], held, "ZEN")
    books.update(replace(moved, asks=()))
    assert {leg.symbol for leg in route(books, held, "ZEN").legs} == {"BTC/USDT", "ZEN/BTC"}
    books.update(replace(moved, market=replace(moved.market, active=False)))
    assert {leg.symbol for leg in route(books, held, "ZEN").legs} == {"BTC/USDT", "ZEN/BTC"}
    books.update(moved)
    assert route(books, held, "ZEN").received == route([*GOLDEN[1:], moved], held, "ZEN").received
    books.remove("binance", "main", "ZEN/BTC")
    assert {leg.symbol for leg in route(books, held, "ZEN").legs} == {"ZEN/USDT"}


def test_a_book_out_of_order_is_believed_up_to_there() -> None:
    wild = listing("ZEN/USDT", asks=("10x20", "9x1000"))
    found = solve(build(Books([wild]), {HOME: Decimal(500)}, "ZEN", scope="all", max_hops=1), 500.0)
    assert found is not None and found.exhausted and abs(found.pushed - 200) < 1e-9


def test_the_bound_holds_for_labels_that_know_nothing() -> None:
    graph = build(Books(GOLDEN), {HOME: Decimal(1000)}, "ZEN", scope="all", max_hops=3)
    flow = solve(graph, 1000.0)
    assert flow is not None
    ignorant = replace(flow, labels=[0.0 if node in graph.ends else float("-inf") for node in range(9)])
    assert bound(graph, ignorant, 1000.0) >= flow.received
