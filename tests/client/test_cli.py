"""The command `oms`: what a person types, sees and gets as exit status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from oms_client import signing
from oms_client.cli import main
from oms_client.tables import facts, short, table

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
    assert out.splitlines()[1].startswith("2026-11-21T06:30:00  o-1") and "more: --cursor c-2" in out
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

    monkeypatch.setattr("oms_client.client._is_over", interrupt)
    status, _, err = run("smart-order", "kraken", "USDT", "ETH", "5")
    assert status == 130 and "the server goes on with q-1; follow it with: oms wait q-1" in err


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
