"""Bodies to commands and back: strict fields, all problems at once, one canonical form."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ems.core import codec, errors
from ems.core.codec import VERBS, Options, digest, encode_command, read_command, read_given
from ems.core.messages import (
    AcknowledgeNotification,
    CancelAllOrders,
    CancelOrder,
    Command,
    DeleteNotificationRule,
    EditOrder,
    Exit,
    HaltTrading,
    LimitOrder,
    Liquidate,
    MarketOrder,
    OrderType,
    PlaceOrder,
    Quote,
    Rebalance,
    ResumeTrading,
    SendTestNotification,
    SetLeverage,
    SetLimit,
    SetNotificationRule,
    SetSlice,
    Share,
    Side,
    SmartOrder,
    Style,
    TimeInForce,
)

MARKET = {"exchange": "kraken", "side": "buy", "symbol": "BTC/USDT", "quantity": "1"}


def read(verb: str, body: object) -> codec.Reading:
    return read_command(VERBS[verb], json.dumps(body).encode())


COMMANDS: dict[str, Command] = {
    "market_order": MarketOrder(
        exchange="kraken", side=Side.SELL, symbol="BTC/USDT", quantity=Decimal("0.1")
    ),
    "limit_order": LimitOrder(
        exchange="okx",
        side=Side.BUY,
        symbol="BTC/USDT",
        quantity=Decimal("12345678901234567890.123456789012345678"),
        price=Decimal("0.000000000000000001"),
        time_in_force=TimeInForce.GTC,
        post_only=True,
        account="two",
    ),
    "order": PlaceOrder(
        exchange="okx",
        side=Side.SELL,
        symbol="BTC/USDT",
        quantity=Decimal(2),
        order_type=OrderType.STOP_LOSS_LIMIT,
        price=Decimal("49000.5"),
        stop_price=Decimal("49001.5"),
        time_in_force=TimeInForce.GTD,
        expires_at=datetime(2026, 12, 24, 18, 30, tzinfo=UTC),
        reduce_only=True,
        stop_loss=Exit(stop_price=Decimal("48000")),
        take_profit=Exit(stop_price=Decimal("52000"), price=Decimal("51999.5")),
        account="two",
    ),
    "smart_order": SmartOrder(
        exchange="kraken", start_currency="USDT", end_currency="ZEN", start_amount=Decimal("1E+3")
    ),
    "liquidate": Liquidate(
        exchange="binance,kraken",
        end_currency="USDT",
        currencies=("BTC", "ETH"),
        exclude=("ZEN",),
        min_trade=Decimal("25.5"),
        style=Style(algo="twap", params={"slots": "12"}, time_limit=Decimal(600), on_timeout="cancel"),
    ),
    "rebalance": Rebalance(
        exchange="all",
        targets={"BTC": Decimal("0.6"), "USDT": Decimal("0.4")},
        keep=("ZEN",),
        tolerance=Decimal("0.01"),
    ),
    "quote": Quote(
        command=SmartOrder(
            exchange="kraken",
            start_currency="USDT",
            end_currency="ZEN",
            start_amount=Share(percent=Decimal("12.5")),
            style=Style(algo="is", max_slippage_bps=Decimal("12.5")),
        )
    ),
    "edit_order": EditOrder(order_id="q-1.1.1", price=Decimal("0.5")),
    "cancel_order": CancelOrder(client_order_id="a key"),
    "cancel_all_orders": CancelAllOrders(symbol="BTC/USDT", scope="user"),
    "halt": HaltTrading(exchange="kraken", symbol="BTC/USDT", reason="a drill", everything=True),
    "set_notification_rule": SetNotificationRule(
        name="night",
        channel="email",
        address="desk@example.org",
        events=("halt", "order_filled"),
        severity="warning",
        exchange="kraken",
        digest_at="08:00",
        quiet_from="22:00",
        quiet_until="07:00",
        time_zone="Europe/Berlin",
        user="bob",
    ),
    "delete_notification_rule": DeleteNotificationRule(name="night"),
    "acknowledge_notification": AcknowledgeNotification(message_id="m-1"),
    "test_notification": SendTestNotification(name="night"),
    "resume": ResumeTrading(halt_id="q-1", reason="the drill is over"),
    "set_slice": SetSlice(of_bot="b", exchange="kraken", amounts={"USDT": Decimal(1000)}),
    "set_leverage": SetLeverage(exchange="okx", symbol="BTC/USDT:USDT", leverage=Decimal("2.5")),
    "set_limit": SetLimit(setting="credit_limit", value="5000", user="alice", of_bot="b", exchange="kraken"),
}


def test_every_command_has_a_verb() -> None:
    assert {type(command) for command in COMMANDS.values()} == {verb.command for verb in VERBS.values()}
    assert set(COMMANDS) == set(VERBS)


@pytest.mark.parametrize("verb", COMMANDS)
def test_a_command_survives_the_way_there_and_back(verb: str) -> None:
    command = COMMANDS[verb]
    written = encode_command(command)
    assert codec.verb_of(command) == verb
    assert read_given(VERBS[verb], json.loads(json.dumps(written))).command == command
    assert codec.canonical_json(written) == json.dumps(written, sort_keys=True, separators=(",", ":"))


def test_decimals_are_written_plainly() -> None:
    assert encode_command(COMMANDS["smart_order"]) == {
        "exchange": "kraken",
        "start_currency": "USDT",
        "end_currency": "ZEN",
        "start_amount": "1000",
        "algo": "adaptive",
        "time_limit": "60",
        "on_timeout": "take",
        "account": "default",
    }


AMOUNTS = st.decimals(min_value="0.000000001", max_value="99999999", places=9)


@given(quantity=AMOUNTS, price=AMOUNTS, side=st.sampled_from(Side), post_only=st.booleans())
def test_any_limit_order_survives(quantity: Decimal, price: Decimal, side: Side, post_only: bool) -> None:
    command = LimitOrder(
        exchange="kraken", side=side, symbol="A/B", quantity=quantity, price=price, post_only=post_only
    )
    assert read_given(VERBS["limit_order"], encode_command(command)).command == command


SAME = {
    "trailing zeros": ({**MARKET, "quantity": "1.00"}, True),
    "an integer": ({**MARKET, "quantity": 1}, True),
    "another order of fields": (dict(reversed(MARKET.items())), True),
    "a default said": ({**MARKET, "account": "default", "dry_run": False}, True),
    "another case": ({**MARKET, "exchange": "KRAKEN", "symbol": "btc/usdt"}, True),
    "another quantity": ({**MARKET, "quantity": "1.01"}, False),
    "another side": ({**MARKET, "side": "sell"}, False),
    "another account": ({**MARKET, "account": "two"}, False),
    "another bot": ({**MARKET, "bot": "other"}, False),
    "a dry run": ({**MARKET, "dry_run": True}, False),
}


@pytest.mark.parametrize("name", SAME)
def test_the_digest_is_of_what_is_meant(name: str) -> None:
    def digest_of(body: object) -> str:
        reading = read("market_order", body)
        assert reading.command is not None
        return digest(reading.command, reading.options)

    body, same = SAME[name]
    assert (digest_of(body) == digest_of(MARKET)) is same


def test_the_digest_stays_what_it_was() -> None:
    # Stored for ever beside the idempotency key: were it to change, every repeat would become a conflict.
    command = MarketOrder(exchange="kraken", side=Side.BUY, symbol="BTC/USDT", quantity=Decimal("1.50"))
    text = (
        '{"command":{"account":"default","exchange":"kraken","quantity":"1.5","side":"buy",'
        '"symbol":"BTC/USDT"},"options":{"bot":"default","dry_run":false,"record_in_db":true,'
        '"send_fail_email":true},"verb":"market_order"}'
    )

    expected = hashlib.sha256(text.encode()).hexdigest()
    assert digest(command, Options()) == expected
    assert digest(command, Options(idempotency_key="key-1")) == expected, "the key is not what is asked"


def test_the_digest_of_a_smart_order_outlived_its_new_fields() -> None:
    command = SmartOrder(
        exchange="kraken", start_currency="USDT", end_currency="ZEN", start_amount=Decimal(1000)
    )
    text = (
        '{"command":{"account":"default","end_currency":"ZEN","exchange":"kraken","start_amount":"1000",'
        '"start_currency":"USDT","time_limit":"60"},"options":{"bot":"default","dry_run":false,'
        '"record_in_db":true,"send_fail_email":true},"verb":"smart_order"}'
    )
    assert digest(command, Options()) == hashlib.sha256(text.encode()).hexdigest()


HINTS = {  # field sent -> hint
    "amount": "Did you mean quantity?",
    "size": "Did you mean quantity?",
    "qty": "Did you mean quantity?",
    "Quantity": "Did you mean quantity?",
    "pair": "Did you mean symbol?",
    "exchnage": "Did you mean exchange?",
    "recordInDb": "Did you mean record_in_db?",
    "sendFailEmail": "Did you mean send_fail_email?",
    "botName": "Did you mean bot?",
    "user": "Remove it: the user is the owner of the key that signed.",
    "userName": "Remove it: the user is the owner of the key that signed.",
}


@pytest.mark.parametrize("name", HINTS)
def test_an_unknown_field_gets_the_nearest_name(name: str) -> None:
    (problem,) = read("market_order", {**MARKET, name: "hunter2"}).problems
    assert (problem.code, problem.hint) == (errors.REQUEST_FIELD_UNKNOWN, HINTS[name])
    assert problem.details == {"field": name}
    assert "hunter2" not in repr(problem)


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ("startCurrency", "start_currency"),
        ("endCurrency", "end_currency"),
        ("startCurrencyAmount", "start_amount"),
    ],
)
def test_the_old_manuals_names_get_a_hint(sent: str, meant: str) -> None:
    problems = read("smart_order", {"exchange": "kraken", sent: "1"}).problems
    assert f"Did you mean {meant}?" in [problem.hint for problem in problems]


def test_a_name_like_no_other_lists_the_fields() -> None:
    (problem,) = read("cancel_order", {"order_id": "o", "zzz": 1}).problems
    assert problem.hint == (
        "Remove it; the fields here are "
        "order_id, client_order_id, bot, record_in_db, send_fail_email, dry_run, idempotency_key."
    )


def test_thousands_of_unknown_fields_get_a_short_answer() -> None:
    reading = read("cancel_order", {f"field{i}": i for i in range(3000)})
    assert len(reading.problems) == codec.MAX_PROBLEMS
    assert len(reading.parameters) <= 2 * codec.MAX_PROBLEMS


BAD_FIELDS: dict[str, tuple[str, str, list[object]]] = {  # name -> (verb, field, values refused)
    "exchange": (
        "market_order",
        "exchange",
        ["", " ", "kra ken", "a" * 41, "kräken", "x\n", 5, ["kraken"], True, "ſ"],
    ),
    "symbol": (
        "market_order",
        "symbol",
        ["", "BTCUSDT", "BTC-USDT", "BTC/", "/USDT", "BTC/USDT/X", "BTC/USDT\n", "ß/X"],
    ),
    "side": ("market_order", "side", ["", "long", "buy ", 1, True, "\u017fell"]),
    "account": ("market_order", "account", ["", "a b", "a/b", "../x", 1]),
    "bot": ("market_order", "bot", ["", " x", "x ", "a" * 65, "a\nb", "a\x00b", "\ud800", "\u202eevil", 1]),
    "dry_run": ("market_order", "dry_run", ["true", 1, 0, "", "yes"]),
    "time_in_force": ("limit_order", "time_in_force", ["", "DAY", 1]),
    "start_currency": ("smart_order", "start_currency", ["", "BT C", "a" * 25, 1, "€", "BTC\n"]),
    "time_limit": ("smart_order", "time_limit", ["0", "-1", "1e9", 0.5, "forever", True]),
    "exchanges": (
        "smart_order",
        "exchange",
        ["", [], [1], ["kraken", ["okx"]], "kraken,", ",", "all,kraken", ["all", "okx"], "a  ,b", {}, True],
    ),
    "too many exchanges": ("smart_order", "exchange", [[f"e{i}" for i in range(21)]]),
    "algo": ("smart_order", "algo", ["", "magic", 1, True, "twap ", []]),
    "on_timeout": ("smart_order", "on_timeout", ["", "wait", True]),
    "max_slippage_bps": ("smart_order", "max_slippage_bps", ["0", "-1", "10000.1", 0.5, "5%", True]),
    "algo_params": (
        "smart_order",
        "algo_params",
        [
            "slots=3",
            ["slots"],
            {"Slots": 1},
            {"": 1},
            {"slots": []},
            {"slots": ""},
            {"slots": "x" * 16385},
            {"slots": "é"},
            {"slots": float("nan")},
            {"slots": "inf"},
            {f"p{i}": 1 for i in range(41)},
        ],
    ),
    "start_amount": (
        "smart_order",
        "start_amount",
        ["0%", "101%", "%", "-5%", "5 %", "35%%", "1e400%", "0", "half", "0.1e-30%", True, 0.35],
    ),
    "currencies": ("liquidate", "currencies", ["BTC", {"BTC": 1}, ["B TC"], [1], [None], ["A"] * 101]),
    "exclude": ("liquidate", "exclude", ["ZEN", [["ZEN"]]]),
    "min_trade": ("liquidate", "min_trade", ["-1", "ten", 0.5]),
    "targets": (
        "rebalance",
        "targets",
        [
            "BTC",
            [],
            {},
            {"BTC": "0.5"},
            {"BTC": "1.5"},
            {"BTC": "60%", "ETH": "60%"},
            {"BTC": "101%"},
            {"BTC": "-1"},
            {"BTC": "1", "btc": "0"},
            {"B TC": "1"},
            {"BTC": 0.5, "ETH": 0.5},
            {"BTC": None},
            {"BTC": "0.5", "ETH": "0.499999998"},
            {f"C{i}": "0" for i in range(101)},
        ],
    ),
    "tolerance": ("rebalance", "tolerance", ["1", "2", "-0.1", "200%", 0.002]),
    "verb": ("quote", "verb", ["", "market_order", "cancel_order", 1]),
    "order_id": ("cancel_order", "order_id", ["", " x", "x" * 256, "é", 5, "a\tb"]),
    "scope": ("cancel_all_orders", "scope", ["", "all", "everyone", 1]),
}


@pytest.mark.parametrize("name", BAD_FIELDS)
def test_a_bad_value_is_refused_by_name(name: str) -> None:
    verb, field, values = BAD_FIELDS[name]
    good = encode_command(COMMANDS[verb])
    good.pop("client_order_id", None)
    for value in values:
        reading = read(verb, {**good, field: value})
        assert reading.command is None, value
        problem = reading.problems[0]
        assert problem.code == errors.REQUEST_FIELD_INVALID, value
        assert problem.details["field"] == field
        assert problem.message.startswith(f"{field}: ")
        assert problem.hint
        assert problem.message.isascii() and problem.message.isprintable()
        json.dumps(reading.parameters).encode("utf-8")


def test_null_counts_as_absent() -> None:
    assert read("market_order", {**MARKET, "account": None, "bot": None}).command == MarketOrder(
        exchange="kraken", side=Side.BUY, symbol="BTC/USDT", quantity=Decimal(1)
    )
    assert read("market_order", {**MARKET, "side": None}).problems[0].code == errors.REQUEST_FIELD_MISSING


def test_what_is_recorded_of_a_refused_body_is_safe_to_keep() -> None:
    body = (
        b'{"exchange": "a\\u0000\\ud800b", "symbol": [1, 2], "quantity": NaN, "side": 5, "x\\ny": "secret"}'
    )
    reading = read_command(VERBS["market_order"], body)
    assert reading.parameters == {
        "exchange": "a\\x00\\ud800b",
        "symbol": "a list",
        "quantity": "NaN",
        "side": "5",
        "x\\ny": "(unknown field)",
    }


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(body: bytes) -> None:
    for verb in VERBS.values():
        reading = read_command(verb, body)
        assert (reading.command is None) == bool(reading.problems)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3)
    ),
    max_leaves=6,
)
NAMES = st.sampled_from([field.name for verb in VERBS.values() for field in (*verb.fields, *codec.COMMON)])


@given(st.dictionaries(NAMES | st.text(max_size=8), JSON, max_size=8))
def test_no_json_breaks_the_reader(body: dict[str, object]) -> None:
    for verb in VERBS.values():
        reading = read_command(verb, json.dumps(body).encode())
        assert (reading.command is None) == bool(reading.problems)
        json.dumps(reading.parameters).encode("utf-8")
        for problem in reading.problems:
            assert problem.hint and problem.code in errors.CODES


EXCHANGES = {  # name -> (code, words of message, words of hint)
    "kraken": None,
    "bittrex": (errors.EXCHANGE_CLOSED, "December 2023", "binance, kraken"),
    "krakn": (errors.EXCHANGE_UNKNOWN, "configured: binance, kraken", "Did you mean kraken?"),
    "gemini": (errors.EXCHANGE_UNKNOWN, "not configured on this server", "keys of gemini"),
}


@pytest.mark.parametrize("name", EXCHANGES)
def test_which_exchanges_can_be_used(name: str) -> None:
    expected = EXCHANGES[name]
    problem = codec.exchange_problem(name, ["kraken", "binance"])
    if expected is None:
        assert problem is None
        return
    assert problem is not None
    assert problem.code == expected[0]
    assert expected[1] in problem.message
    assert expected[2] in problem.hint
    assert problem.details["configured"] == ["binance", "kraken"]


def test_bittrex_exists_on_paper() -> None:
    assert codec.exchange_problem("bittrex", ["bittrex"]) is None


def test_no_exchange_at_all() -> None:
    problem = codec.exchange_problem("kraken", [])
    assert problem is not None
    assert "configured: none" in problem.message


def test_times_are_written_in_utc() -> None:
    at = datetime(2026, 11, 21, 8, 30, 0, 5, tzinfo=timezone(timedelta(hours=2)))
    assert codec.time_text(at) == "2026-11-21T06:30:00.000005Z"
    assert codec.read_time("2026-11-21T08:30:00.000005+02:00", "since") == at
    assert codec.read_time("2026-11-21T06:30Z", "since") == datetime(2026, 11, 21, 6, 30, tzinfo=UTC)
    with pytest.raises(AssertionError):
        codec.time_text(datetime(2026, 11, 21))  # noqa: DTZ001


def test_records_become_json_and_floats_do_not() -> None:
    assert codec.jsonable(
        {Side.BUY: (Decimal("1.50"), frozenset({"b", "a"}), None, True, 3, timedelta(seconds=1.5))}
    ) == {"buy": ["1.5", ["a", "b"], None, True, 3, "1.5"]}
    assert codec.jsonable(Options()) == {
        "bot": "default",
        "record_in_db": True,
        "send_fail_email": True,
        "dry_run": False,
        "idempotency_key": None,
    }
    with pytest.raises(AssertionError):
        codec.jsonable({"price": 0.1})


def test_combined_problems_speak_with_the_first_and_list_all() -> None:
    first = errors.problem(errors.REQUEST_FIELD_MISSING, "a is missing", details={"field": "a"})
    second = errors.problem(errors.REQUEST_FIELD_INVALID, "b is bad", hint="mend b", details={"field": "b"})
    together = errors.combined([first, second])
    assert (together.code, together.hint, together.retry_safe) == (first.code, first.hint, False)
    assert together.message == "a is missing (and 1 more: see details.problems)"
    assert together.details["field"] == "a"
    assert together.details["problems"] == [
        {"code": "REQUEST_FIELD_MISSING", "message": "a is missing", "hint": first.hint, "field": "a"},
        {"code": "REQUEST_FIELD_INVALID", "message": "b is bad", "hint": "mend b", "field": "b"},
    ]
    assert errors.combined([first]).message == "a is missing"
