"""What a trader reads: plans, progress, results and costs as text, each from a dictionary of the wire."""

from __future__ import annotations

import copy
import io
from decimal import Decimal

import pytest

from oms_client.answers import Costs, Order, PortfolioResult, Query, Quote, SmartOrderResult
from oms_client.charts import bar, basis_points, percent, stacked
from oms_client.cost_text import cost_text, drawing
from oms_client.plan_text import cost_sum, plan_text, route_lines
from oms_client.progress import LiveProgress, ProgressPrinter, duration, progress_block, progress_line
from oms_client.result_text import result_text
from oms_client.views import show_health, show_order
from server.api import examples


def leg(number, exchange, symbol, source, target, share="1", **fields):
    return {
        "leg": number,
        "exchange": exchange,
        "account": "default",
        "symbol": symbol,
        "side": "buy",
        "source": source,
        "target": target,
        "quantity": "1",
        "share": share,
        **fields,
    }


# --- orders ---


@pytest.mark.parametrize("dry_run", [False, True])
def test_what_was_changed_of_an_order_is_one_line_each(dry_run):
    changed = {"field": "price", "asked": "2500.005", "used": "2500", "limit": "0.01", "why": "steps of 0.01"}
    order = Order({"order_id": "o-1", "dry_run": dry_run, "corrections": [changed]})
    assert "\nchanged: price 2500.005 -> 2500 (steps of 0.01)" in show_order(order)
    assert "changed" not in show_order(Order({"order_id": "o-1", "dry_run": dry_run, "corrections": []}))


# --- plans ---


def test_a_quote_is_a_table_to_read():
    assert plan_text(examples.PLAN).splitlines() == [
        "smart order USDT -> ETH on binance,kraken: quote qt-5f0c2a71, good until 06:30:30 UTC",
        "",
        "  62 %  USDT -> ETH  binance  ETH/USDT",
        "  38 %  USDT -> ETH  kraken   ETH/USDT",
        "",
        "leg  exchange  side  market    quantity      at   limit  share  spends       receives      book age",
        "  1  binance   buy   ETH/USDT     0.253  2450.3  2451.5   62 %  619.92 USDT  0.252747 ETH     0.1 s",
        "  2  kraken    buy   ETH/USDT     0.155  2450.6  2451.8   38 %  379.84 USDT  0.154752 ETH     0.3 s",
        "",
        "spends       999.76 USDT",
        "expected     0.407499 ETH at 2453.4",
        "at worst     0.407301 ETH (4.9 bp less)",
        "cost         13.4 bp = fees 12.3 + spread 0.7 + impact 0.4",
        "certificate  no plan on these books is better by even 0.0001 bp (searched: hub)",
        "dust         0.24 USDT",
    ]
    quote = Quote(examples.PLAN)
    assert str(quote) == repr(quote) == plan_text(examples.PLAN)
    assert quote.legs[0].share == Decimal("0.62") and quote.expected.received == Decimal("0.407499")


ROUTES = {  # name -> (legs, start currency, lines)
    "one market": (
        [leg(1, "kraken", "ETH/USDT", "USDT", "ETH")],
        "USDT",
        ["  100 %  USDT -> ETH  kraken  ETH/USDT"],
    ),
    "two hops beside one": (
        [
            leg(1, "binance", "ETH/USDT", "USDT", "ETH", "0.62"),
            leg(2, "kraken", "BTC/USDT", "USDT", "BTC", "0.38"),
            leg(3, "kraken", "ETH/BTC", "BTC", "ETH"),
        ],
        "USDT",
        [
            "  62 %  USDT -> ETH         binance  ETH/USDT",
            "  38 %  USDT -> BTC -> ETH  kraken   BTC/USDT -> ETH/BTC",
        ],
    ),
    "a path that forks": (
        [
            leg(1, "okx", "BTC/USDT", "USDT", "BTC", "0.5"),
            leg(2, "okx", "ETH/BTC", "BTC", "ETH", "0.25"),
            leg(3, "okx", "SOL/BTC", "BTC", "SOL", "0.75"),
            leg(4, "okx", "SOL/ETH", "SOL", "ETH"),
            leg(5, "okx", "ETH/USDT", "USDT", "ETH", "0.5"),
        ],
        "USDT",
        [
            "    50 %  USDT -> ETH                okx  ETH/USDT",
            "  37.5 %  USDT -> BTC -> SOL -> ETH  okx  BTC/USDT -> SOL/BTC -> SOL/ETH",
            "  12.5 %  USDT -> BTC -> ETH         okx  BTC/USDT -> ETH/BTC",
        ],
    ),
    "currencies sold into one": (
        [
            leg(1, "kraken", "BTC/USDT", "BTC", "USDT"),
            leg(2, "kraken", "ZEN/BTC", "ZEN", "BTC"),
            leg(3, "okx", "ETH/USDT", "ETH", "USDT"),
        ],
        None,
        [
            "  100 %  ZEN -> BTC -> USDT  kraken  ZEN/BTC -> BTC/USDT",
            "  100 %  ETH -> USDT         okx     ETH/USDT",
        ],
    ),
    "a circle": (
        [leg(1, "okx", "A/B", "A", "B"), leg(2, "okx", "B/A", "B", "A")],
        None,
        ["  100 %  A -> B -> A  okx  A/B -> B/A", "  100 %  B -> A -> B  okx  B/A -> A/B"],
    ),
    "shares unknown": ([leg(1, "okx", "A/B", "A", "B", None)], "A", ["    A -> B  okx  A/B"]),
}


@pytest.mark.parametrize("name", ROUTES)
def test_a_route_is_drawn_as_arrows(name):
    legs, start, lines = ROUTES[name]
    assert route_lines(legs, start) == lines


def test_a_long_route_is_cut():
    lines = route_lines([leg(n, f"e{n}", "A/B", "A", "B", "0.01") for n in range(30)], "A")
    assert len(lines) == 21 and lines[-1] == "  and 10 more paths"


def test_a_plan_of_a_portfolio():
    text = plan_text(
        {
            "verb": "liquidate",
            "exchange": "all",
            "start_currency": None,
            "end_currency": "USDT",
            "quote_id": "qt-2",
            "expires_at": None,
            "legs": [leg(1, "kraken", "BTC/USDT", "BTC", "USDT")],
            "spent": {"BTC": "0.1"},
            "cost": {"total_bps": "10", "fees_bps": "10", "spread_bps": "0.5", "impact_bps": "-0.5"},
            "certificate": {"gap_bp": "0.25", "scope": None, "arbitrage": True},
            "left_out": {"ZEN": "below min_trade"},
            "unreached": {"BTC": "0.01"},
            "value_before": "5500.12",
            "value_after": "5494",
            "numeraire": "USDT",
            "turnover": "5000",
        }
    )
    assert text.startswith("liquidate into USDT on all: quote qt-2\n")
    for line in (
        "value        5500.12 USDT -> 5494 USDT",
        "turnover     5000 USDT",
        "cost         10.0 bp = fees 10.0 + spread 0.5 - impact 0.5",
        "certificate  no plan on these books is better by more than 0.25 bp; "
        "the books contradict one another (arbitrage)",
        "left out     ZEN: below min_trade",
        "unreached    1 % BTC",
    ):
        assert line in text.splitlines()


def test_nothing_to_do_says_why():
    text = plan_text({"verb": "rebalance", "exchange": "all", "legs": [], "reason": "within the tolerance"})
    assert text == "rebalance on all\n\nreason  within the tolerance"


def test_a_hostile_plan_cannot_command_the_terminal():
    plan = copy.deepcopy(examples.PLAN)
    plan["legs"][0].update(symbol="\x1b[2JX", exchange="\x07")
    plan.update(exchange="\x1b]0;x", reason="\x1b[1m")
    query = Query(
        verb="x", query_id="q", status="working", progress={"phase": "\x1b", "symbol": "\x1b", "percent": "5"}
    )
    texts = (plan_text(plan), *progress_block(query), progress_line(query), result_text({"reason": "\x1b"}))
    assert not any("\x1b" in text or "\x07" in text for text in texts)


SUMS = {
    "nothing known": ({}, ""),
    "a total alone": ({"total_bps": "3"}, "3.0 bp"),
    "a gain first": ({"total_bps": "-1.24", "a_bps": "-2.24", "b_bps": "1"}, "-1.2 bp = -a 2.2 + b 1.0"),
    "parts of nothing": ({"total_bps": "0", "a_bps": "0", "b_bps": None}, "0.0 bp"),
}


@pytest.mark.parametrize("name", SUMS)
def test_a_cost_is_written_as_its_sum(name):
    cost, text = SUMS[name]
    assert cost_sum(cost, ("a_bps", "b_bps")) == text


# --- progress ---

WORKING = {
    "query_id": "q-1",
    "verb": "smart_order",
    "exchange": "binance,kraken",
    "status": "working",
    "seq": 3,
}
LEGS = {
    "phase": "working",
    "percent": "45.2",
    "note": None,
    "eta_s": "32.4",
    "legs": [
        {
            "leg": 1,
            "exchange": "binance",
            "symbol": "ETH/USDT",
            "side": "buy",
            "phase": "making",
            "percent": "62.5",
            "filled_quantity": "0.157",
            "quantity": "0.253",
            "price": "2450.3",
            "step": 2,
            "steps": 6,
            "note": None,
        },
        {
            "leg": 2,
            "exchange": "kraken",
            "symbol": "BTC/USDT",
            "side": "buy",
            "phase": "waiting",
            "percent": None,
            "filled_quantity": None,
            "quantity": "0.01",
            "price": None,
            "step": None,
            "steps": None,
            "note": "for the proceeds of leg 1",
        },
    ],
}


def test_work_on_two_markets_is_a_block_of_bars():
    query = Query({**WORKING, "progress": LEGS})
    assert progress_block(query) == [
        "smart_order binance,kraken  █████████░░░░░░░░░░░  45 %  working, 32 s left",
        "  binance buy ETH/USDT  ████████████▌░░░░░░░  62 %  0.157 of 0.253 at 2450.3, making 2/6",
        "  kraken buy BTC/USDT   ░░░░░░░░░░░░░░░░░░░░        0 of 0.01, waiting, for the proceeds of leg 1",
    ]
    assert progress_line(query) == (
        "smart_order binance,kraken: working, 45.2 %, binance buy ETH/USDT 62.5 % making, "
        "kraken buy BTC/USDT waiting"
    )


LINES = {  # name -> (progress, line behind the head)
    "before anything": (None, "accepted as q-1"),
    "one market, as ever": (
        {
            "phase": "making",
            "hop": 1,
            "hops": 2,
            "try": 2,
            "tries": 6,
            "symbol": "ETH/USDT",
            "side": "buy",
            "price": "2450.1",
            "filled_quantity": "0.1",
            "quantity": "0.4",
            "percent": "25",
        },
        "making, try 2/6, market 1/2, buy ETH/USDT at 2450.1, filled 0.1 of 0.4, 25 %",
    ),
    "one leg": (
        {"phase": "making", "percent": "40", "eta_s": "65", "legs": [{**LEGS["legs"][0], "percent": "40"}]},
        "making, try 2/6, buy ETH/USDT at 2450.3, filled 0.157 of 0.253, 40 %",
    ),
    "a note that says more": ({"phase": "waiting", "note": "waiting for a book"}, "waiting for a book"),
    "a note beside": ({"phase": "making", "note": "the spread is wide"}, "making, the spread is wide"),
    "nothing but a phase": ({"phase": "settling", "legs": []}, "settling"),
}


@pytest.mark.parametrize("name", LINES)
def test_work_in_one_line(name):
    progress, line = LINES[name]
    query = Query({**WORKING, "exchange": "kraken", "progress": progress})
    assert progress_line(query) == f"smart_order kraken: {line}"
    assert all(len(drawn) <= 40 for drawn in progress_block(query, 40))


def test_an_end_in_one_line():
    done = {**WORKING, "status": "done"}
    assert progress_line(Query({**done, "verb": "quote", "result": examples.PLAN})) == (
        "quote binance,kraken: quote qt-5f0c2a71, expected 0.407499 ETH, cost 13.4 bp"
    )
    portfolio = {"outcome": "done", "value_before": "10", "value_after": "9.9", "numeraire": "USDT"}
    assert progress_line(Query({**done, "verb": "liquidate", "result": portfolio})) == (
        "liquidate binance,kraken: done: value 10 -> 9.9 USDT"
    )


def test_a_server_that_is_away_and_back_is_told():
    away, back = Query({**WORKING, "progress": {"phase": "making"}}), Query({**WORKING, "progress": None})
    away.__dict__["_unreachable"] = "connection refused"
    back.__dict__["_silent_s"] = 12.7
    assert progress_line(away) == (
        "smart_order binance,kraken: no news from the server (connection refused); "
        "q-1 goes on there, asking again"
    )
    assert progress_line(back) == (
        "smart_order binance,kraken: the server answers again after 12 s: accepted as q-1"
    )
    out = io.StringIO()
    LiveProgress(out, width=60)(away)
    assert "no news from the server" in out.getvalue().splitlines()[-1]


def test_the_block_is_drawn_over_and_erased():
    out = io.StringIO()
    live = LiveProgress(out, width=80)
    query = Query({**WORKING, "progress": LEGS})
    live(query)
    first = out.getvalue()
    assert "\x1b" not in first and first.count("\n") == 3
    live(query)
    assert out.getvalue() == first + "\x1b[3F\x1b[J" + first
    live(Query({**WORKING, "status": "done", "result": {}}))
    assert out.getvalue().endswith(first + "\x1b[3F\x1b[J")


def test_lines_are_printed_once():
    out = io.StringIO()
    printer = ProgressPrinter(out)
    for _ in range(3):
        printer(Query({**WORKING, "progress": LEGS}))
    assert out.getvalue().count("\n") == 1 and "\x1b" not in out.getvalue()


DURATIONS = {
    "0": "0 s",
    "59.9": "59 s",
    "60": "1 min",
    "125": "2 min 5 s",
    "3600": "1 h",
    "4210": "1 h 10 min",
    "-3": "0 s",
}


@pytest.mark.parametrize("seconds", DURATIONS)
def test_durations(seconds):
    assert duration(seconds) == DURATIONS[seconds]


# --- results ---

RESULT = {
    "exchange": "binance,kraken",
    "start_currency": "USDT",
    "end_currency": "ETH",
    "path": [],
    "spent": "999.9",
    "received": "0.40771",
    "average_price": "2452.478512345678",
    "fees": {"ETH": "0.0004"},
    "unspent": "0.1",
    "dust": {"USDT": "0.1"},
    "taking_at_once": {"spent": "1000", "received": "0.4071", "average_price": "2456.39", "cost_bps": "15.4"},
    "cost_bps": "9.4",
    "saved_bps": "6",
    "tries": 3,
    "duration_s": "14.2",
    "outcome": "partial",
    "reason": "the time was over",
    "algo": "adaptive",
    "cost": {
        "total_bps": "9.4",
        "delay_bps": "0.1",
        "timing_bps": "-0.4",
        "spread_bps": "-0.9",
        "depth_bps": "0.2",
        "fees_bps": "10.4",
        "opportunity_bps": "0",
    },
    "maker_share": "0.71",
    "participation": "0.02",
    "legs": [
        {
            "exchange": exchange,
            "account": "default",
            "symbol": "ETH/USDT",
            "side": "buy",
            "quantity": quantity,
            "average_price": "2452.5",
            "spent": "1",
            "received": "1",
            "fees": {"ETH": "0.0002"},
            "cost": {"total_bps": cost},
        }
        for exchange, quantity, cost in (("binance", "0.25", "9.04"), ("kraken", "0.158", "10.06"))
    ],
}


def test_a_result_is_a_summary_to_read():
    assert result_text(RESULT, "q-1").splitlines() == [
        "exchange        binance,kraken",
        "spent           999.9 USDT",
        "received        0.40771 ETH",
        "average price   2452.478512",
        "cost            9.4 bp = delay 0.1 - timing 0.4 - spread 0.9 + depth 0.2 + fees 10.4",
        "taking at once  would have cost 15.4 bp; you saved 6.0 bp",
        "fees            0.0004 ETH",
        "unspent         0.1 USDT",
        "dust            0.1 USDT",
        "how             adaptive, 14.2 s, 3 orders, 71 % as maker, 2 % of the market's volume",
        "outcome         partial: the time was over",
        "query id        q-1",
        "",
        "exchange  side  market    quantity  average price  adds bp  fees",
        "binance   buy   ETH/USDT      0.25         2452.5      9.0  0.0002 ETH",
        "kraken    buy   ETH/USDT     0.158         2452.5     10.1  0.0002 ETH",
    ]
    result = SmartOrderResult(RESULT)
    assert str(result) == result_text(RESULT)
    assert result.cost.fees_bps == Decimal("10.4") and result.legs[1].cost.total_bps == Decimal("10.06")
    assert repr(result).startswith("SmartOrderResult({")


AT_ONCE = {  # name -> (what of the result is different, what is said)
    "worse than at once": ({"saved_bps": "-2.5"}, "would have cost 15.4 bp, 2.5 bp less than this did"),
    "an older server": (
        {"taking_at_once": {"received": "0.4071"}, "saved_bps": "15.4"},
        "would have brought 0.4071 ETH; you saved 15.4 bp",
    ),
    "only what was saved": ({"taking_at_once": None}, "you saved 6.0 bp"),
}


@pytest.mark.parametrize("name", AT_ONCE)
def test_what_taking_at_once_would_have_cost(name):
    changes, said = AT_ONCE[name]
    assert f"taking at once  {said}" in result_text({**RESULT, **changes}).splitlines()
    assert "taking at once" not in result_text({**RESULT, "saved_bps": None})


def test_a_result_of_a_portfolio():
    text = result_text(
        {
            "exchange": "all",
            "value_before": "1000",
            "value_after": "998.9",
            "numeraire": "USDT",
            "weights": {
                "USDT": {"target": "0.4", "before": "0.1", "after": "0.3988"},
                "BTC": {"target": "0.6", "before": "0.9", "after": "0.6012"},
            },
            "unreached": {"ZEN": "0.0123"},
            "spent": "0.087",  # of several currencies: no figure to show
            "received": "4349.7",
            "unspent": "0",
            "outcome": "done",
            "reason": "",
        }
    )
    assert text.splitlines() == [
        "exchange   all",
        "value      1000 USDT -> 998.9 USDT",
        "unreached  1.2 % ZEN",
        "outcome    done",
        "",
        "currency  before   after  target",
        "BTC         90 %  60.1 %    60 %",
        "USDT        10 %  39.9 %    40 %",
    ]


# --- costs ---


def group(name, **means):
    figures = {f"{part}_bps": {"mean": mean} for part, mean in means.items()}
    return {"name": name, "n": 3, "maker_share": "0.5", **figures}


def test_costs_are_drawn_around_one_axis():
    groups = [
        group("adaptive", total="8", fees="10", spread="-2", timing="0"),
        group("market", total="15", fees="10", depth="5"),
    ]
    assert drawing(groups, width=38).splitlines() == [
        "adaptive      8.0 ▓▓│███████████",
        "market       15.0   │███████████▒▒▒▒▒▒",
        "",
        "█ fees  ▓ spread  ▒ depth   earned │ paid, 0.9 bp a character",
    ]
    # Whatever the width: the axis stands in one column, and no line is wider than asked.
    for width in (40, 60, 100, 160):
        lines = drawing(groups, width).splitlines()[:2]
        assert len({line.index("│") for line in lines}) == 1
        assert max(map(len, lines)) <= width
        paid = [len(line) - line.index("│") - 1 for line in lines]
        assert paid[0] / paid[1] == pytest.approx(10 / 15, abs=0.1)


def test_a_report_shows_what_was_asked_for():
    text = cost_text(examples.COSTS, kinds=("pair",))
    assert text.startswith(
        "2 finished orders over 2000 USDT, 2026-11-21T06:30 to 2026-11-21T06:45\n"
        "cost 9.1 bp of that; saved 0.62 USDT (9.1 bp) against taking at once\n"
    )
    assert "COST BY PAIR" in text and "COST BY ALGO" not in text
    assert "USDT>ETH  2   9.4  8.2 to 10.6  10.5  10.4" in text
    assert str(Costs(examples.COSTS)) == cost_text(examples.COSTS)


def test_no_costs_and_costs_unknown():
    assert (
        cost_text({"summary": {"n": 0}, "groups": {}, "rows": []}) == "nothing has been traded in that time"
    )
    unknown = [group("x", total=None, fees=None)]
    assert cost_text({"summary": {"n": 1}, "groups": {"algo": unknown}, "rows": []})


def test_bars_and_figures():
    assert bar("0", 4) == "░░░░" and bar("100", 4) == "████" and bar("50", 4) == "██░░"
    assert bar("37.5", 2) == "▊░" and bar("250", 2) == "██" and bar(None, 2) == "░░" and bar("-1", 2) == "░░"
    assert [basis_points(x) for x in ("9.44", "0.04", "-0.04", "0", "-0.001", None, "x", "NaN", True)] == [
        "9.4",
        "0.04",
        "-0.04",
        "0.0",
        "0.00",
        "",
        "",
        "",
        "",
    ]
    assert [percent(x) for x in ("0.62", "0.375", "1", "0", None)] == ["62 %", "37.5 %", "100 %", "0 %", ""]
    parts = [("a", Decimal("0.4")), ("b", Decimal("0.4")), ("c", Decimal(-1))]
    assert stacked(parts, per_character=Decimal(1), left=2, right=3) == " c│b"


def test_a_dry_run_prints_its_plan():
    plan = {"dry_run": True, "verb": "smart_order", "legs": [], "reason": "dry run"}
    for kind in (SmartOrderResult, PortfolioResult):
        assert str(kind(plan)) == plan_text(plan)


def test_health_shows_the_feed_and_every_book_with_its_trouble() -> None:
    shown = show_health(
        {
            "ready": True,
            "accounts": [],
            "market_data": {
                "feeds": [
                    {
                        "source": "coinapi",
                        "connected": False,
                        "endpoint": None,
                        "problem": "refused: Invalid API key",
                    }
                ],
                "markets": [
                    {
                        "symbol": "ETH/USDT",
                        "sources": [
                            {
                                "exchange": "kraken",
                                "source": "account default",
                                "age_s": "7.10",
                                "problem": "its book is 7 s old; 5 s is the most",
                            }
                        ],
                    }
                ],
            },
        }
    )
    feed, book = (
        next(line for line in shown.splitlines() if word in line) for word in ("coinapi", "ETH/USDT")
    )
    assert "refused: Invalid API key" in feed
    assert book.split()[:5] == ["ETH/USDT", "kraken", "account", "default", "7.10"]
    assert "its book is 7 s old" in book and "market_data" not in shown
