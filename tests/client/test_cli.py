"""The command `oms`: what a person types, sees and gets as exit status."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from oms_client import signing
from oms_client.cli import main
from oms_client.commands.options import moment
from oms_client.tables import facts, short, table
from oms_client.typed_words import in_typed_words
from server.api import examples
from server.auth import parse_keys

KEY = signing.PrivateKey(b"\x01" * 32)
CLIENT = Path(__file__).resolve().parents[2] / "client"

ORDER = {
    "order_id": "o-1",
    "exchange": "kraken",
    "symbol": "ETH/USDT",
    "side": "buy",
    "order_type": "limit",
    "quantity": "0.25",
    "filled_quantity": "0.1",
    "price": "2450.1",
    "average_price": "2450.1",
    "status": "canceled",
    "created_at": "2026-11-21T06:30:00.100000Z",
    "fees": {"ETH": "0.0001"},
    "fills": [],
}
RESULT = {
    "exchange": "kraken",
    "start_currency": "USDT",
    "end_currency": "ETH",
    "path": [{"symbol": "ETH/USDT", "side": "buy"}],
    "spent": "999.9",
    "received": "0.40771",
    "average_price": "2452.4785",
    "fees": {"ETH": "0.00040771"},
    "taking_at_once": {"received": "0.4071", "average_price": "2456.39"},
    "saved_bps": "15.4",
    "outcome": "done",
    "reason": "",
}


def error_view(code, message, **fields):
    return {"code": code, "message": message, "hint": "", "retry_safe": False, "details": {}, **fields}


@pytest.fixture
def run(oms, monkeypatch, capsys):
    monkeypatch.setenv("OMS_KEY", KEY.reveal())
    for name in ("OMS_URL", "OMS_USER", "OMS_BOT", "OMS_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)

    def call(*words):
        status = main([*words, "--url", oms.url])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


def test_keygen_prints_the_two_lines_of_the_environment(capsys):
    assert main(["keygen", "alice", "--role", "read"]) == 0
    lines = dict(
        line.split("=", 1) for line in capsys.readouterr().out.splitlines() if not line.startswith("#")
    )
    user, public, role = lines["OMS_KEYS"].split(",")
    assert (user, role) == ("alice", "read")
    assert signing.parse_private_key(lines["OMS_KEY"]).public == signing.parse_public_key(public)


def test_keygen_writes_the_day_a_key_ends_as_the_server_reads_it(capsys):
    assert main(["keygen", "alice", "--expires", "2027-06-30"]) == 0
    entry = next(
        line for line in capsys.readouterr().out.splitlines() if line.startswith("OMS_KEYS=")
    ).removeprefix("OMS_KEYS=")
    (key,) = parse_keys(entry).values()
    assert (key.role, key.expires) == ("trade", datetime(2027, 6, 30, tzinfo=UTC))
    with pytest.raises(SystemExit):
        main(["keygen", "alice", "--expires", "tomorrow"])
    assert "such as 2027-06-30" in capsys.readouterr().err


def test_keygen_refuses_a_name_the_server_would_not_read(capsys):
    assert main(["keygen", "al,ice"]) == 2
    assert "USER is" in capsys.readouterr().err


def test_a_smart_order(oms, run):
    oms.stages = [
        {"progress": {"phase": "making", "try": 1, "tries": 6}},
        {"status": "done", "result": RESULT},
    ]
    status, out, err = run("smart-order", "kraken", "USDT", "ETH", "1000")
    assert status == 0
    assert "spent           999.9 USDT\nreceived        0.40771 ETH\n" in out
    assert (
        "path            buy ETH/USDT" in out
        and "taking at once  would have brought 0.4071 ETH; you saved 15.4 bp" in out
    )
    assert "query id        q-1" in out and "(paper trading)" in out
    assert "accepted as q-1" in err and "making, try 1/6" in err
    assert oms.writes[0].json["start_amount"] == "1000" and oms.writes[0].json["bot"] == "cli"


def test_a_smart_order_as_json_leaves_standard_output_to_json(oms, run):
    oms.stages = [{"status": "done", "result": RESULT}]
    status, out, _ = run("smart-order", "kraken", "USDT", "ETH", "1000", "--json")
    assert status == 0 and json.loads(out) == RESULT


def test_options_may_stand_before_the_command(oms, run, capsys):
    oms.answers = {"get_fees": {"fees": []}}
    assert main(["--json", "--url", oms.url, "fees", "kraken"]) == 0
    assert json.loads(capsys.readouterr().out) == {"fees": []}
    status, out, _ = run("--json", "fees", "kraken")
    assert status == 0 and json.loads(out) == {"fees": []}
    assert main(["--json", "keygen", "alice"]) == 0 and "OMS_KEY" in json.loads(capsys.readouterr().out)


def test_a_dry_run_shows_the_plan_and_no_query(oms, run):
    plan = {
        "dry_run": True,
        "path": [{"symbol": "ETH/USDT", "side": "buy"}],
        "amount": "100",
        "price": None,
        "taking_at_once": {"spent": "100", "received": "0.0371", "mid_rate": "0.00037"},
        "outcome": "nothing",
        "reason": "dry run: nothing was recorded or sent",
    }
    oms.stages = [{"status": "done", "result": plan}]
    for words in (
        ("smart-order", "kraken", "USDT", "ETH", "100"),
        ("limit-order", "kraken", "buy", "ETH/USDT", "100", "2500"),
    ):
        status, out, _ = run(*words, "--dry-run")
        assert status == 0 and "path            buy ETH/USDT" in out and "0.0371 for 100" in out
        assert "query id" not in out and "outcome" not in out


def test_a_cancel_names_one_order(oms, run):
    for words in (("cancel",), ("cancel", "o-1", "--client-order-id", "k-1")):
        with pytest.raises(SystemExit) as stopped:
            run(*words)
        assert stopped.value.code == 2
    assert not oms.writes


def test_shares_of_the_stats_are_percentages(oms, run):
    oms.answers = {
        "get_order_stats": {"orders": 8, "fill_ratio": {"ETH/USDT": "0.119596"}, "maker_share": {}}
    }
    assert "fill ratio  ETH/USDT 12.0 %" in run("stats")[1]


def test_a_query_that_is_not_there_is_not_advised(oms, run):
    oms.refusals["get_query"] = (404, error_view("QUERY_NOT_FOUND", "none", details={"query_id": "xx"}))
    status, _, err = run("query", "xx")
    assert status == 1 and "oms query" not in err


def test_a_quotient_is_rounded_for_the_eye():
    assert short("2688.225020595299") == "2688.225021"
    assert short("0.00000037218829123") == "0.0000003721882912" and short("1200") == "1200"
    assert short("2450.10") == "2450.1"


def test_without_waiting(oms, run):
    status, out, _ = run(
        "smart-order", "kraken", "USDT", "ETH", "1000", "--no-wait", "--idempotency-key", "k-7"
    )
    assert status == 0 and "accepted as q-1; follow it with: oms wait q-1" in out
    assert oms.writes[0].key == "k-7"
    status, out, _ = run("wait", "q-1")
    assert status == 0 and "smart_order kraken: done" in out


def test_options_of_trading(oms, run):
    oms.stages = [{"status": "done", "orders": [ORDER]}]
    status, out, _ = run(
        *("limit-order", "kraken", "sell", "ETH/USDT", "0.25", "2450.1", "--post-only", "--tif", "IOC"),
        *("--no-record", "--no-email", "--dry-run", "--account", "arb", "--bot", "b9"),
    )
    assert status == 0 and "order id         o-1" in out and "fees             0.0001 ETH" in out
    assert oms.writes[0].json == {
        "exchange": "kraken",
        "side": "sell",
        "symbol": "ETH/USDT",
        "quantity": "0.25",
        "price": "2450.1",
        "post_only": True,
        "time_in_force": "IOC",
        "account": "arb",
        "bot": "b9",
        "record_in_db": False,
        "send_fail_email": False,
        "dry_run": True,
    }


def test_market_order_and_cancels(oms, run):
    oms.stages = [{"status": "done", "orders": [ORDER], "result": {"canceled": ["o-1"], "left": []}}]
    assert run("market-order", "kraken", "buy", "ETH/USDT", "1")[0] == 0
    status, out, _ = run("cancel", "o-1")
    assert status == 0 and "canceled  o-1" in out
    assert run("cancel-all", "--exchange", "kraken", "--scope", "user")[0] == 0
    assert [write.verb for write in oms.writes] == ["market_order", "cancel_order", "cancel_all_orders"]
    assert oms.writes[2].json["scope"] == "user"


def test_halting_and_what_it_shows(oms, run):
    oms.stages = [{"status": "done", "result": examples.HALTS["halts"][0]["report"]}]
    status, out, _ = run("halt", "--all", "--reason", "odd fills")
    assert status == 0 and "FLAT: nothing of ours is open" in out and "kraken/default" in out
    assert run("halt", "--user", "bob", "--symbol", "ETH/USDT", "--no-wait")[0] == 0
    first, second = oms.writes
    assert (first.json["all"], first.json["reason"]) == (True, "odd fills")
    assert (second.json["all"], second.json["user"], second.json["symbol"]) == (False, "bob", "ETH/USDT")
    oms.answers = {"get_halts": examples.HALTS}
    status, out, _ = run("halt", "--status")
    assert status == 0 and "HALTED everything, flat, by alice" in out and "oms resume q-5f0c2a71" in out
    oms.stages = [{"status": "done", "result": examples.RESUME["result"]}]
    status, out, _ = run("resume", "q-5f0c2a71")
    assert status == 0 and "resumed: everything" in out


@pytest.mark.parametrize("words", [[], ["--status", "--all"]])
def test_a_halt_says_what_it_halts(oms, run, words):
    with pytest.raises(SystemExit) as left:
        run("halt", *words)
    assert left.value.code == 2 and oms.writes == []


def test_tables(oms, run):
    oms.answers = {
        "get_balances": {
            "balances": {
                "USDT": {"free": "10.5", "used": "0", "total": "10.5"},
                "BTC": {"free": "0.25", "used": "1", "total": "1.25"},
            }
        },
        "get_past_orders": {"orders": [ORDER], "next_cursor": "c-2"},
        "get_fees": {"fees": [{"symbol": "ETH/USDT", "maker": "0.0016", "taker": "0.0026"}]},
        "get_withdrawal_deposit_history": {"transfers": []},
        "get_order_stats": {"orders": 3, "by_exchange": {"kraken": {"orders": 3, "filled": 2}}},
        "check_health": {
            "ready": True,
            "missing": [],
            "accounts": [{"exchange": "kraken", "account": "default", "mode": "paper", "readiness": "ready"}],
        },
    }
    assert run("balances", "kraken")[1].splitlines()[:3] == [
        "currency  free  used  total",
        "BTC       0.25     1   1.25",
        "USDT      10.5     0   10.5",
    ]
    out = run("orders", "kraken", "--since", "2026-11-21T00:00:00Z")[1]
    assert out.splitlines()[1].startswith("2026-11-21T06:30:00  o-1") and "more: --cursor 'c-2'" in out
    assert "ETH/USDT  0.0016  0.0026" in run("fees", "kraken")[1]
    assert "no transfers" in run("history", "kraken")[1]
    assert "BY EXCHANGE\n        orders  filled\nkraken       3       2" in run("stats")[1]
    assert "kraken    default  paper  ready" in run("health")[1]


@pytest.mark.parametrize(
    ("answer", "status", "says"),
    [
        (
            (422, error_view("AMOUNT_TOO_SMALL", "too small", hint="Ask for at least 5 USDT.")),
            1,
            "Ask for at least 5",
        ),
        (
            (422, error_view("VENUE_REJECTED", "refused", venue_code="-1013", venue_message="LOT_SIZE")),
            1,
            "the exchange said: -1013 LOT_SIZE",
        ),
        ((403, error_view("AUTH_FORBIDDEN", "no role", details={"query_id": "q-3"})), 4, "oms query q-3"),
        ((500, error_view("INTERNAL_ERROR", "a mistake")), 6, "--idempotency-key"),
    ],
)
def test_what_goes_wrong(oms, run, answer, status, says):
    oms.refusals["market_order"] = answer
    got, out, err = run("market-order", "kraken", "buy", "ETH/USDT", "1")
    assert got == status and out == ""
    assert err.startswith(f"oms: {answer[1]['message']} [{answer[1]['code']}]\n") and says in err


def test_every_problem_is_shown_each_with_its_remedy(oms, run):
    rows = [
        {"code": "PRICE_INVALID", "message": "price: too high", "hint": "At most 3000."},
        {"code": "AMOUNT_TOO_SMALL", "message": "quantity: too small", "hint": "Allow raise_to_minimum."},
    ]
    first = error_view("PRICE_INVALID", "price: too high", hint="At most 3000.", details={"problems": rows})
    oms.refusals["limit_order"] = (422, first)
    err = run("limit-order", "kraken", "buy", "ETH/USDT", "1", "4000")[2]
    assert err.count("too high") == 1
    assert "also: quantity: too small [AMOUNT_TOO_SMALL]\n    Allow --raise-to-minimum." in err


def test_a_failed_query_shows_its_orders(oms, run):
    oms.stages = [{"status": "failed", "error": error_view("VENUE_REJECTED", "refused"), "orders": [ORDER]}]
    status, _, err = run("smart-order", "kraken", "USDT", "ETH", "5")
    assert status == 1 and "oms query q-1" in err and "o-1" in err and "canceled" in err


def test_errors_as_json(oms, run):
    oms.refusals["check_health"] = (422, error_view("AMOUNT_TOO_SMALL", "too small", hint="More."))
    status, out, _ = run("health", "--json")
    assert status == 1 and json.loads(out)["error"]["code"] == "AMOUNT_TOO_SMALL"


def test_no_server_and_no_key(oms, run, monkeypatch):
    oms.stop()
    status, _, err = run("health")
    assert status == 5 and "cannot be reached" in err
    monkeypatch.delenv("OMS_KEY")
    status, _, err = run("health")
    assert status == 3 and "OMS_KEY is not set" in err


def test_interrupted_while_waiting(oms, run, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("oms_client.connection.is_over", interrupt)
    status, _, err = run("smart-order", "kraken", "USDT", "ETH", "5")
    assert status == 130 and "the server goes on with q-1; follow it with: oms wait q-1" in err


def test_a_day_is_a_time_too_and_begins_in_utc():
    assert moment("2026-11-21").isoformat() == "2026-11-21T00:00:00+00:00"
    assert moment("2026-11-21T06:00:00Z") == "2026-11-21T06:00:00Z", "the server reads it"


def test_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "oms_client", "--help"],
        env={**os.environ, "PYTHONPATH": str(CLIENT)},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    for command in ("smart-order", "balances", "keygen", "wait"):
        assert command in done.stdout


def test_a_hostile_name_cannot_command_the_terminal():
    text = table(("a",), [["\x1b[2Jgone\n"]]) + facts({"b": "\x1b]0;x\x07"})
    assert "\x1b" not in text and "\x07" not in text and text.count("\n") == 1


# --- plans, quotes and costs ---

QUOTED = {**examples.PLAN, "quote_id": "qt-7"}
DONE = {**RESULT, "algo": "twap"}


class Person(io.StringIO):
    """Somebody at the keyboard."""

    def isatty(self):
        return True


@pytest.fixture
def quoting(oms):
    """Answer a quote with its plan, and what comes after it with a result."""
    submit = oms.submit

    def answer(request):
        result = {**QUOTED, "verb": request.json["verb"]} if request.verb == "quote" else DONE
        oms.stages = [{"status": "done", "result": result}]
        return submit(request)

    oms.submit = answer
    return oms


SENT = {  # name -> (words typed, verb, fields sent)
    "a smart order with everything": (
        "smart-order okx,kraken USDT ETH 35% --algo TWAP --param slots=12 --param curve=3,1 --time-limit 600"
        " --on-timeout cancel --max-slippage 25",
        "smart_order",
        {
            "exchange": "okx,kraken",
            "start_currency": "USDT",
            "end_currency": "ETH",
            "start_amount": "35%",
            "algo": "TWAP",
            "algo_params": {"slots": "12", "curve": "3,1"},
            "time_limit": "600",
            "on_timeout": "cancel",
            "max_slippage_bps": "25",
        },
    ),
    "an amount to receive": (
        "smart-order all USDT ETH --end-amount 0.5",
        "smart_order",
        {
            "exchange": "all",
            "start_currency": "USDT",
            "end_currency": "ETH",
            "end_amount": "0.5",
            "time_limit": "60",
        },
    ),
    "a quote carried out": ("smart-order --quote-id qt-7", "smart_order", {"quote_id": "qt-7"}),
    "a liquidation": (
        "liquidate kraken USDT --only BTC,ETH --exclude ZEN --min-trade 25",
        "liquidate",
        {
            "exchange": "kraken",
            "end_currency": "USDT",
            "currencies": ["BTC", "ETH"],
            "exclude": ["ZEN"],
            "min_trade": "25",
        },
    ),
    "a rebalance": (
        "rebalance kraken USDT=0.4 BTC=60% --keep ZEN --tolerance 0.5%",
        "rebalance",
        {
            "exchange": "kraken",
            "targets": {"USDT": "0.4", "BTC": "60%"},
            "keep": ["ZEN"],
            "tolerance": "0.5%",
        },
    ),
    "a rebalance carried out": ("rebalance --quote-id qt-7", "rebalance", {"quote_id": "qt-7"}),
    "an order worked": (
        "market-order kraken buy ETH/USDT 1 --algo iceberg",
        "market_order",
        {"exchange": "kraken", "side": "buy", "symbol": "ETH/USDT", "quantity": "1", "algo": "iceberg"},
    ),
    "a quote": (
        "quote kraken USDT ETH 1000 --algo is",
        "quote",
        {
            "verb": "smart_order",
            "exchange": "kraken",
            "start_currency": "USDT",
            "end_currency": "ETH",
            "start_amount": "1000",
            "algo": "is",
        },
    ),
}


@pytest.mark.parametrize("name", SENT)
def test_what_is_typed_is_what_is_sent(quoting, run, name):
    words, verb, fields = SENT[name]
    assert run(*words.split())[0] == 0
    [write] = quoting.writes
    common = {"bot": "cli", "record_in_db": True, "send_fail_email": True, "dry_run": False}
    assert (write.verb, write.json) == (verb, {**common, **fields})


MISTYPED = {
    "smart-order kraken USDT": "required: TO",
    "smart-order kraken USDT ETH": "how much?",
    "smart-order kraken USDT ETH 5 --end-amount 1": "not both",
    "smart-order kraken USDT ETH 5 --quote-id q": "the quote has settled exchange, startCurrency",
    "liquidate kraken": "required: TO",
    "rebalance kraken": "required: BTC=60%",
    "rebalance kraken BTC": "NAME=VALUE",
    "rebalance kraken BTC=1 BTC=0": "BTC has two targets",
    "tca --by day": "invalid choice",
}


@pytest.mark.parametrize("words", MISTYPED)
def test_what_cannot_be_meant_is_not_sent(oms, run, capsys, words):
    with pytest.raises(SystemExit) as stopped:
        run(*words.split())
    assert stopped.value.code == 2 and oms.requests == []
    assert MISTYPED[words] in capsys.readouterr().err


def test_a_quote_says_how_to_carry_it_out(quoting, run):
    status, out, _ = run("quote", "kraken", "USDT", "ETH", "1000")
    assert status == 0 and out.startswith("smart order USDT -> ETH on binance,kraken: quote qt-7")
    assert "carry it out with: oms smart-order --quote-id qt-7" in out


@pytest.mark.parametrize(("typed", "sent"), [("y\n", 2), ("YES\n", 2), ("n\n", 1), ("\n", 1), ("", 1)])
def test_the_quote_is_shown_before_and_asked_about(quoting, run, monkeypatch, typed, sent):
    monkeypatch.setattr("sys.stdin", Person(typed))
    status, out, err = run("liquidate", "kraken", "USDT", "--quote", "--account", "arb")
    assert "62 %  USDT -> ETH" in err and "Carry it out? [y/N]" in err
    assert [write.verb for write in quoting.writes] == ["quote", "liquidate"][:sent]
    assert quoting.writes[0].json["account"] == "arb"
    if sent == 2:
        assert status == 0 and "received        0.40771 ETH" in out
        assert quoting.writes[1].json["quote_id"] == "qt-7"  # and so says no account
    else:
        assert status == 1 and out == ""
        assert "nothing was sent; to carry this quote out: oms liquidate --quote-id qt-7" in err


def test_without_anybody_to_ask_only_yes_carries_a_quote_out(quoting, run):
    assert run("rebalance", "kraken", "BTC=1", "--quote")[0] == 1
    status, out, _ = run("rebalance", "kraken", "BTC=1", "--quote", "--json")
    assert status == 1 and json.loads(out)["quote_id"] == "qt-7"
    assert run("rebalance", "kraken", "BTC=1", "--quote", "--yes")[0] == 0
    assert [write.verb for write in quoting.writes] == ["quote", "quote", "quote", "rebalance"]


def test_a_quote_of_nothing_to_do_asks_nothing(oms, run):
    oms.stages = [{"status": "done", "result": {"verb": "rebalance", "legs": [], "reason": "in tolerance"}}]
    status, _, err = run("rebalance", "kraken", "BTC=1", "--quote", "--yes")
    assert status == 0 and "reason  in tolerance" in err and "nothing to do" in err
    assert len(oms.writes) == 1


def test_costs_are_drawn_and_written_to_a_file(oms, run, tmp_path):
    oms.answers = {"tca": examples.COSTS, "tca.png": b"\x89PNG"}
    file = tmp_path / "costs.png"
    before = datetime.now(UTC)
    words = ("tca", "kraken", "--since", "7d", "--algo", "twap", "--by", "pair", "--png", str(file))
    status, out, _ = run(*words)
    assert status == 0 and "COST BY PAIR" in out and "COST BY ALGO" not in out
    assert f"picture written to {file}" in out and file.read_bytes() == b"\x89PNG"
    figures, picture = (request.query for request in oms.requests)
    assert figures == picture
    ago = before - datetime.fromisoformat(figures["since"])
    assert abs(ago - timedelta(days=7)) < timedelta(minutes=1)
    assert (figures["exchange"], figures["algo"]) == ("kraken", "twap")
    status, _, err = run("tca", "--png", str(tmp_path / "nowhere" / "x.png"))
    assert status == 3 and "cannot be written" in err


def test_a_time_is_an_age_or_goes_as_it_is(oms, run):
    oms.answers = {"get_past_orders": {"orders": []}}
    run("orders", "--since", "2026-11-21T00:00:00Z", "--until", "90m")
    assert oms.requests[0].query["since"] == "2026-11-21T00:00:00Z"
    age = datetime.now(UTC) - datetime.fromisoformat(oms.requests[0].query["until"])
    assert abs(age - timedelta(minutes=90)) < timedelta(minutes=1)


def test_an_order_with_its_fills(oms, run):
    fill = {"timestamp": "2026-11-21T06:30:01Z", "price": "2450.1", "quantity": "0.1", "liquidity": "maker"}
    oms.answers = {"get_order": {**ORDER, "fills": [fill]}}
    status, out, _ = run("order", "o-1")
    assert status == 0 and "status           canceled" in out
    assert out.splitlines()[-2].startswith("2026-11-21T06:30:01Z  2450.1       0.1")


def test_a_finished_query_shows_its_result_and_a_quote_its_plan(oms, run):
    oms.stages = [{"status": "done", "result": {**DONE, "cost": {"total_bps": "9.4", "fees_bps": "9.4"}}}]
    run("smart-order", "kraken", "USDT", "ETH", "1", "--no-wait")
    assert "cost            9.4 bp = fees 9.4" in run("wait", "q-1")[1]
    oms.stages = [{"status": "done", "result": QUOTED}]
    run("quote", "kraken", "USDT", "ETH", "1000")
    assert "62 %  USDT -> ETH" in run("query", "q-2")[1]


HINTS = {  # a hint as the server or the client writes it -> as it is shown
    "get_balances shows what is free.": "oms balances shows what is free.",
    "get_past_orders lists your orders.": "oms orders lists your orders.",
    "Use smart_order, which splits by itself.": "Use oms smart-order, which splits by itself.",
    "At most details.reachable, or use start_amount.": "At most details.reachable, or use AMOUNT.",
    "Send the call without quote_id.": "Send the call without --quote-id.",
    "Nothing is wrong; call resolve() or wait(query_id).": "Nothing is wrong; follow it with: oms wait q-1.",
    "It may have arrived; call resolve(), do not send it again under a new key.": "It may have arrived.",
    "Did you mean algo?": "Did you mean --algo?",
    "The algorithms are twap and pov.": "The algorithms are twap and pov.",
    "Use cancel_order or cancel_all_orders.": "Use oms cancel or oms cancel-all.",
}


@pytest.mark.parametrize("hint", HINTS)
def test_hints_speak_of_what_is_typed(hint):
    assert in_typed_words(hint, "q-1") == HINTS[hint]


def test_every_word_of_a_hint_is_a_command_or_option_there_is(capsys):
    for word in ("get_balances", "get_order", "get_query", "smart_order", "cancel_order", "check_health"):
        command = in_typed_words(word).removeprefix("oms ")
        with pytest.raises(SystemExit) as stopped:
            main([command, "--help"])
        assert stopped.value.code == 0
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["smart-order", "--help"])
    text = capsys.readouterr().out
    for word in (
        "time_limit",
        "on_timeout",
        "algo",
        "algo_params",
        "max_slippage_bps",
        "quote_id",
        "end_amount",
    ):
        assert in_typed_words(word) in text


@pytest.mark.parametrize(("choice", "lines"), [("", 1), ("1", 1), ("0", 0)])
@pytest.mark.parametrize("draws", [False, True])
def test_progress_is_shown_unless_it_is_not_wanted(oms, run, monkeypatch, choice, lines, draws):
    monkeypatch.setenv("OMS_PROGRESS", choice)
    monkeypatch.setattr("oms_client.cli._redraws", lambda stream: draws)
    oms.stages = [
        {"progress": {"phase": "working", "percent": "50"}},
        {"status": "done", "result": RESULT},
    ]
    status, out, err = run("smart-order", "kraken", "USDT", "ETH", "1000")
    assert status == 0 and "received        0.40771 ETH" in out
    assert err.count("working") == lines and (lines or err == "")


def test_a_terminal_gets_a_block_that_is_drawn_over(oms, run, monkeypatch, capsys):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("oms_client.cli._redraws", lambda stream: True)
    leg = {
        "leg": 1,
        "exchange": "kraken",
        "symbol": "ETH/USDT",
        "side": "buy",
        "percent": "50",
        "phase": "making",
    }
    oms.stages = [
        {"progress": {"phase": "working", "percent": "50", "legs": [leg]}},
        {"status": "done", "result": RESULT},
    ]
    status, out, err = run("smart-order", "kraken", "USDT", "ETH", "1000")
    assert status == 0 and "received        0.40771 ETH" in out
    assert "  kraken buy ETH/USDT  ██████████░░░░░░░░░░  50 %" in err
    assert err.endswith("\x1b[2F\x1b[J")  # erased: what is left on the screen is the result
