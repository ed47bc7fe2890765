"""Every control at its limit, one unit below and one above; which limits hold; and counting."""

import itertools
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from ems.core import errors, risk
from ems.core.messages import OrderType, SetLimit, Side
from ems.core.order import fill_record
from ems.core.records import Phase, RiskLimit, Status
from ems.core.risk import Picture, Proposal, Question
from ems.core.risk_ledger import RiskLedger, Traded
from ems.core.risk_limits import (
    CONTROLS,
    DEFAULT,
    EVERYWHERE,
    OFF,
    SETTING,
    SETTINGS,
    TOMBSTONES,
    Limits,
    Scope,
    no_looser,
    read_limit,
    write_limit,
)
from tests.builders import at, order
from tests.builders import fill as fill_report
from tests.engine.world import EngineWorld
from tests.limits import taken_away

D = Decimal
ROOT = Path(__file__).resolve().parents[2]
WHERE = Scope("alice", "bot1", "binance", "default", "ETH/USDT")
PICTURE = Picture(
    tick=D("0.01"),
    lot=D("0.0001"),
    mid=D(2000),
    age_s=D(0),
    best=D(2000),
    last=D(2000),
    depth=D(1000),
    usd=D(1),
)
PROPOSAL = Proposal(
    where=WHERE,
    parent_id="q9.1",
    side=Side.BUY,
    order_type=OrderType.LIMIT,
    quantity=D(1),
    price=D(2000),
    at=at(100),
)


CHANGES = itertools.count()


def row(setting, new, scope=EVERYWHERE):
    return RiskLimit(
        change_id=f"c{next(CHANGES)}",
        setting=setting,
        **scope._asdict(),
        old="",
        new=new,
        set_by="adam",
        set_at=at(0),
    )


def only(**settings):
    """Return limits of which only these hold."""
    rows = [one for one in taken_away() if one.setting not in settings]
    return Limits(rows + [row(name, value) for name, value in settings.items() if value != DEFAULT])


def ledger_of(limits, *, orders=(), traded="0", executions=0, flow=None):
    ledger = RiskLedger(limits)
    ledger.restored(
        orders,
        [Traded(where=WHERE, usd=D(traded), closed_at=at(50))] if D(traded) else [],
        [],
        [],
        at(100),
    )
    for number in range(executions):
        ledger.filled(booked(f"p{number}"), "ETH", "USDT", at(90))
    if flow is not None:
        ledger.filled(booked("day", price=flow), "ETH", "USDT", at(90))
    return ledger


def booked(parent, price="2000", **fields):
    placed = order(parent_id=parent, order_id=f"{parent}.1")
    report = fill_report(parent, "1", price=price, when=90, fee=D(0), **fields)
    return fill_record(placed, report)


def resting(count, **fields):
    return [
        order(order_id=f"r{n}", phase=Phase.LIVE, created_at=at(0), usd_value=D(100), **fields)
        for n in range(count)
    ]


def sent(count, seconds=99.0):
    """Return so many orders that were sent at this second and have ended."""
    return [
        order(
            order_id=f"s{n}",
            phase=Phase.SETTLED,
            status=Status.CANCELED,
            purpose="make",
            created_at=at(seconds),
        )
        for n in range(count)
    ]


def asked(limits, ledger=None, picture=None, usd=None, **fields):
    proposal = replace(PROPOSAL, **fields)
    return Question(
        proposal=proposal,
        picture=replace(PICTURE, **(picture or {})),
        rules=limits.rules(proposal.where),
        counts=ledger if ledger is not None else RiskLedger(limits),
        usd=usd or (lambda currency: D(1)),
    )


def judged(settings, *, ledger=None, **fields):
    limits = only(**settings)
    kept = ledger_of(limits, **(ledger or {}))
    return risk.check(asked(limits, kept, **fields))


MARKET = {"order_type": OrderType.MARKET, "price": None}
TWIN = [order(order_id="t1", quantity="1", price="2000", phase=Phase.LIVE, created_at=at(98), usd_value=D(0))]

# control -> (code, the limit as it is by default or set, one unit below, at the limit, one unit above)
BOUNDARIES = {
    "2 price collar, above": (
        errors.PRICE_COLLAR,
        {"price_collar": DEFAULT},
        {"price": D("2099.99")},
        {"price": D("2100.00")},
        {"price": D("2100.01")},
    ),
    "2 price collar, below": (
        errors.PRICE_COLLAR,
        {"price_collar": DEFAULT},
        {"price": D("1900.01")},
        {"price": D("1900.00")},
        {"price": D("1899.99")},
    ),
    "2 price collar of a volatile market": (
        errors.PRICE_COLLAR,
        {"price_collar": DEFAULT, "price_collar_volatile": DEFAULT},
        *({"price": D(p), "picture": {"range_24h": D("20.01")}} for p in ("2199.99", "2200", "2200.01")),
    ),
    "3 market-order protection": (
        errors.SLIPPAGE_LIMIT,
        {"slippage_limit": DEFAULT},
        *({**MARKET, "picture": {"last": D(p)}} for p in ("2019.99", "2020", "2020.01")),
    ),
    "4 maximum order value": (
        errors.NOTIONAL_EXCEEDS_MAX_PER_ORDER,
        {"max_order_value": DEFAULT},
        *({"quantity": D(q)} for q in ("4.9999", "5", "5.0001")),
    ),
    "4 maximum order value in another currency": (
        errors.NOTIONAL_EXCEEDS_MAX_PER_ORDER,
        {"max_order_value": DEFAULT},
        *(
            {"price": D("0.05"), "quantity": D(q), "picture": {"usd": D(50000)}}
            for q in ("3.9999", "4", "4.0001")
        ),
    ),
    "5 maximum order volume, depth": (
        errors.QUANTITY_EXCEEDS_MAXIMUM,
        {"max_depth_share": DEFAULT},
        *({"quantity": D(q), "picture": {"depth": D(8)}} for q in ("1.9999", "2", "2.0001")),
    ),
    "5 maximum order volume, 24 hours": (
        errors.QUANTITY_EXCEEDS_MAXIMUM,
        {"max_volume_share": DEFAULT},
        *({"quantity": D(q), "picture": {"volume_24h": D(40)}} for q in ("1.9999", "2", "2.0001")),
    ),
    "6 credit threshold, open and traded": (
        errors.CREDIT_LIMIT,
        {"credit_limit": DEFAULT},
        *(
            {"quantity": D(q), "ledger": {"orders": resting(5), "traded": "97500"}}
            for q in ("0.9999", "1", "1.0001")
        ),
    ),
    "6 credit threshold of everybody": (
        errors.CREDIT_LIMIT,
        {"global_credit_limit": DEFAULT},
        *({"quantity": D(q), "ledger": {"traded": "248000"}} for q in ("0.9999", "1", "1.0001")),
    ),
    "7 position limit": (
        errors.POSITION_LIMIT,
        {"max_position": "5000"},
        *({"quantity": D(q), "picture": {"position": D(3000)}} for q in ("0.9999", "1", "1.0001")),
    ),
    "8 maximum open orders": (
        errors.MAX_OPEN_ORDERS,
        {"max_open_orders": DEFAULT},
        *({"ledger": {"orders": resting(n, symbol="BTC/USDT")}} for n in (48, 49, 50)),
    ),
    "8 maximum open orders of a market": (
        errors.MAX_OPEN_ORDERS,
        {"max_open_orders_per_symbol": DEFAULT},
        *({"ledger": {"orders": resting(n)}} for n in (8, 9, 10)),
    ),
    "9 message throttle, burst": (
        errors.RATE_LIMIT_EXCEEDED,
        {"orders_per_second": DEFAULT, "order_burst": DEFAULT},
        *({"ledger": {"orders": sent(n, 100)}} for n in (8, 9, 10)),
    ),
    "9 message throttle, rate": (
        errors.RATE_LIMIT_EXCEEDED,
        {"orders_per_second": DEFAULT, "order_burst": DEFAULT},
        *({"ledger": {"orders": sent(10, t)}} for t in (99.799999, 99.8, 99.800001)),
    ),
    "9 message throttle, minute": (
        errors.RATE_LIMIT_EXCEEDED,
        {"orders_per_minute": DEFAULT},
        *({"ledger": {"orders": sent(n)}} for n in (118, 119, 120)),
    ),
    "10 execution throttle": (
        errors.EXECUTION_THROTTLE,
        {"executions_per_minute": DEFAULT},
        *({"ledger": {"executions": n}} for n in (18, 19, 20)),
    ),
    "11 duplicate-order check": (
        errors.DUPLICATE_SUSPECTED,
        {"duplicate_window": DEFAULT},
        *({"ledger": {"orders": TWIN}, "at": at(t)} for t in (100.000002, 100.000001, 100.0)),
    ),
    "15 daily loss limit": (
        errors.LOSS_LIMIT,
        {"daily_loss": "10"},
        *(
            {"ledger": {"flow": paid}, "usd": {"ETH": D(2000), "USDT": D(1)}.get}
            for paid in ("2009.99", "2010", "2010.01")
        ),
    ),
    "17 stale data gate": (
        errors.MARKET_DATA_STALE,
        {"max_quote_age": DEFAULT},
        *({"picture": {"age_s": D(a)}} for a in ("9.999999", "10", "10.000001")),
    ),
    "18 restricted list, hours": (
        errors.RESTRICTED,
        {"allowed_hours": "00:01-00:03"},
        {"at": at(60)},
        {"at": at(179.999999)},
        {"at": at(180)},
    ),
}


# Controls without a row above: number -> where they are tried, at their limits where they have any
ELSEWHERE = {
    1: ("tests/engine/test_halts.py", "test_new_work_is_refused_exactly_where_the_halt_holds"),
    12: (
        "tests/engine/test_risk.py",
        "test_an_order_of_all_that_its_parent_may_spend_passes_and_one_lot_more_is_stopped",
    ),
    13: (
        "tests/engine/test_risk.py",
        "test_an_order_up_to_a_tick_before_our_own_passes_and_one_tick_further_does_not",
    ),
    14: ("tests/engine/test_risk.py", "test_an_order_of_all_the_money_passes_and_one_lot_more_does_not"),
    16: ("tests/engine/test_risk.py", "test_refusals_halt_the_exchange"),
    19: ("tests/venues/test_safety.py", "test_when_we_fall_silent_the_exchange_cancels_what_rests"),
    20: ("tests/engine/test_risk.py", "test_what_is_missing_halts_the_account_and_what_is_too_much_does_not"),
    21: ("tests/test_retired_names.py", "test_every_name_that_ever_was_is_in_use_or_retired"),
    22: ("tests/server/test_notifier.py", "test_a_critical_message_is_repeated_until_it_is_acknowledged"),
}


def test_every_control_is_tried_at_its_limit():
    here = {int(name.split()[0]) for name in BOUNDARIES}
    assert sorted(here | ELSEWHERE.keys()) == [control.number for control in CONTROLS]
    assert not here & ELSEWHERE.keys()
    for path, name in ELSEWHERE.values():
        assert f"def {name}(" in (ROOT / path).read_text(), (path, name)


@pytest.mark.parametrize("name", BOUNDARIES)
def test_a_value_at_its_limit_passes_and_one_unit_more_does_not(name):
    code, settings, below, reached, above = BOUNDARIES[name]
    assert judged(settings, **below) == []
    assert judged(settings, **reached) == []
    (breach,) = judged(settings, **above)
    assert breach.code == code
    assert breach.setting in settings and breach.limit and breach.value and breach.scope
    told = risk.problem_of([breach])
    assert told.code == code and told.details["setting"] == breach.setting
    assert told.details["limit"] == breach.limit and told.details["value"] == breach.value


@pytest.mark.parametrize(
    "setting, value, allowed",
    [
        ("allowed_symbols", "ETH/USDT,BTC/USDT", True),
        ("allowed_symbols", "BTC/USDT", False),
        ("allowed_exchanges", "binance", True),
        ("allowed_exchanges", "kraken", False),
        ("allowed_order_types", "limit", True),
        ("allowed_order_types", "market", False),
    ],
)
def test_only_what_is_listed_is_allowed(setting, value, allowed):
    found = judged({setting: value})
    assert [b.code for b in found] == ([] if allowed else [errors.RESTRICTED])


def test_the_book_must_hold_a_market_order():
    (breach,) = judged({"slippage_limit": DEFAULT}, **MARKET, picture={"last": None})
    assert breach.code == errors.SLIPPAGE_LIMIT


UNKNOWN = {  # what is not known -> (settings, picture, refused)
    "no book and a collar": ({"price_collar": DEFAULT}, {"mid": None}, True),
    "no book and nothing that needs one": ({"max_open_orders": DEFAULT}, {"mid": None}, False),
    "no price in dollars and a value": ({"max_order_value": DEFAULT}, {"usd": None}, True),
    "no price in dollars and a credit": ({"credit_limit": DEFAULT}, {"usd": None}, True),
    "no price in dollars and no limit of value": ({"price_collar": DEFAULT}, {"usd": None}, False),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_is_needed_and_not_known_refuses(name):
    settings, picture, refused = UNKNOWN[name]
    codes = [b.code for b in judged(settings, picture=picture)]
    assert codes == ([errors.MARKET_DATA_STALE] if refused else [])


def test_a_loss_that_cannot_be_told_refuses():
    (breach,) = judged({"daily_loss": "10"}, ledger={"flow": "2000"}, usd={"USDT": D(1)}.get)
    assert breach.code == errors.MARKET_DATA_STALE and breach.setting == "daily_loss"


def test_everything_that_is_breached_is_said_at_once_and_the_first_gives_the_code():
    found = judged(
        {"price_collar": DEFAULT, "max_order_value": DEFAULT, "max_depth_share": DEFAULT},
        price=D(2300),
        quantity=D(300),
    )
    told = risk.problem_of(found)
    assert told.code == errors.PRICE_COLLAR
    assert [p["code"] for p in told.details["problems"]] == [
        errors.PRICE_COLLAR,
        errors.NOTIONAL_EXCEEDS_MAX_PER_ORDER,
        errors.QUANTITY_EXCEEDS_MAXIMUM,
    ]
    assert told.details["nearest"] == "2100"


@pytest.mark.parametrize("fields", [{"allow_duplicate": True}, {"worked": True}, {"quantity": D("1.0001")}])
def test_what_is_no_duplicate(fields):
    assert judged({"duplicate_window": DEFAULT}, ledger={"orders": TWIN}, **fields) == []


def test_more_orders_of_what_has_executed_are_no_further_execution():
    assert judged({"executions_per_minute": "5"}, ledger={"executions": 5}, parent_id="p1") == []
    assert judged({"executions_per_minute": "5"}, ledger={"executions": 5}, side=Side.SELL) == []


def test_the_largest_quantity_that_passes_passes():
    limits = only(max_order_value="1000", max_depth_share="10")
    question = asked(limits, picture={"depth": D(3)})
    assert risk.largest(question) == D("0.3")
    assert risk.check(replace(question, proposal=replace(PROPOSAL, quantity=D("0.3")))) == []


# --- Which limits hold


def effective(limits, setting, where=WHERE):
    return sorted(write_limit(rule.limit) for rule in limits.rules(where)[setting])


ALICE = Scope(user="alice")
SCOPES = {  # rows -> the limits of max_order_value that hold for alice's order
    "nothing set": ([], ["10000"]),
    "everybody": ([("2000", EVERYWHERE)], ["2000"]),
    "alice": ([("50000", ALICE)], ["50000"]),
    "another user": ([("2000", Scope(user="bob"))], ["10000"]),
    "alice and everybody: both hold": ([("50000", ALICE), ("2000", EVERYWHERE)], ["2000", "50000"]),
    "bot, account and symbol": (
        [("1", Scope(bot="bot1")), ("2", Scope(exchange="binance")), ("3", Scope(symbol="ETH/USDT"))],
        ["1", "2", "3"],
    ),
    "all five": ([("7", WHERE)], ["7"]),
    "taken back": ([("2000", EVERYWHERE), (DEFAULT, EVERYWHERE)], ["10000"]),
    "off": ([(OFF, EVERYWHERE)], []),
}


@pytest.mark.parametrize("name", SCOPES)
def test_where_several_limits_fit_all_of_them_hold(name):
    rows, expected = SCOPES[name]
    limits = Limits([row("max_order_value", value, scope) for value, scope in rows])
    assert effective(limits, "max_order_value") == sorted(expected)


def test_what_is_counted_apart_takes_no_default_away():
    limits = Limits([row("credit_limit", "500", Scope(bot="bot1"))])
    assert effective(limits, "credit_limit") == ["100000", "500"]
    limits = Limits([row("credit_limit", "200000", Scope(user="alice", exchange="binance"))])
    assert effective(limits, "credit_limit") == ["200000"]


LOOSENS = {  # (setting, rows before, scope, new) -> does it loosen?
    "below the default": ("max_order_value", [], ALICE, "9999.99", False),
    "at the default": ("max_order_value", [], ALICE, "10000", False),
    "above the default": ("max_order_value", [], ALICE, "10000.01", True),
    "off": ("max_order_value", [], ALICE, OFF, True),
    "below what everybody has": ("max_order_value", [("2000", EVERYWHERE)], ALICE, "2000", False),
    "above what everybody has": ("max_order_value", [("2000", EVERYWHERE)], ALICE, "3000", True),
    "above one's own": ("max_order_value", [("500", ALICE)], ALICE, "501", True),
    "taking one's own back": ("max_order_value", [("500", ALICE)], ALICE, DEFAULT, True),
    "taking nothing back": ("max_order_value", [], ALICE, DEFAULT, False),
    "a count of its own": ("credit_limit", [], Scope(user="alice", bot="b"), "999999", False),
    "taking a count of its own back": (
        "credit_limit",
        [("5", Scope(user="alice", bot="b"))],
        Scope(user="alice", bot="b"),
        DEFAULT,
        True,
    ),
    "in place of the default": ("credit_limit", [], Scope(user="alice", exchange="kraken"), "100001", True),
    "a shorter window for duplicates": ("duplicate_window", [], ALICE, "1", True),
    "a longer window for duplicates": ("duplicate_window", [], ALICE, "3", False),
    "fewer markets": ("allowed_symbols", [("A/B,C/D", ALICE)], ALICE, "A/B", False),
    "other markets": ("allowed_symbols", [("A/B,C/D", ALICE)], ALICE, "A/B,E/F", True),
    "shorter hours": ("allowed_hours", [("08:00-18:00", ALICE)], ALICE, "09:00-12:00", False),
    "longer hours": ("allowed_hours", [("08:00-18:00", ALICE)], ALICE, "07:59-12:00", True),
}


@pytest.mark.parametrize("name", LOOSENS)
def test_what_loosens(name):
    setting, before, scope, new, expected = LOOSENS[name]
    limits = Limits([row(setting, value, where) for value, where in before])
    assert limits.loosens(SETTING[setting], scope, new) is expected


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: s.name)
def test_every_default_can_be_read_and_written(setting):
    limit = read_limit(setting, setting.default)
    assert read_limit(setting, write_limit(limit)) == limit
    assert no_looser(setting, limit, limit) and no_looser(setting, limit, None)


@pytest.mark.parametrize(
    "setting, text",
    [
        ("credit_limit", "a lot"),
        ("credit_limit", "-1"),
        ("credit_limit", "1e5"),
        ("credit_limit", "NaN"),
        ("max_open_orders", "1.5"),
        ("price_collar", "101"),
        ("allowed_hours", "18:00-08:00"),
        ("allowed_hours", "8-18"),
    ],
)
def test_what_is_no_limit_is_refused(setting, text):
    with pytest.raises(ValueError, match="is "):
        read_limit(SETTING[setting], text)


def test_no_name_of_a_setting_comes_back_from_the_dead():
    names = {setting.name for setting in SETTINGS}
    assert len(names) == len(SETTINGS) and not names & TOMBSTONES.keys()


def test_a_retired_setting_is_refused_and_says_what_took_its_place(monkeypatch):
    monkeypatch.setitem(TOMBSTONES, "order_value", "Set max_order_value instead.")
    world = EngineWorld(limited=True)
    answer = world.submit(SetLimit(setting="order_value", value="1"), user="adam", role="admin")
    assert (answer.code, answer.hint) == (errors.REQUEST_FIELD_INVALID, "Set max_order_value instead.")


@pytest.mark.parametrize("value, refused", [("999.9999", False), ("1000", False), ("1000.0001", True)])
def test_a_whole_plan_is_measured_against_what_is_left(value, refused):
    (rule,) = only(credit_limit=DEFAULT).rules(WHERE)["credit_limit"]
    need = risk.Need(rule=rule, used=D(99000), value=D(value))
    assert [b.code for b in risk.without_room([need])] == ([errors.CREDIT_LIMIT] if refused else [])
    assert need.share == (D(1) if not refused else 1000 / D(value))


def test_what_is_being_bought_is_counted_again_from_records():
    orders = [*resting(2, quantity=D(2), filled_quantity=D("0.5")), order(order_id="s", side=Side.SELL)]
    ledger = ledger_of(only(), orders=[*orders, *sent(1)])
    assert ledger.buying("binance", "default", "ETH") == D(3)
    assert ledger.buying("kraken", "default", "ETH") == ledger.buying("binance", "default", "BTC") == D(0)


def test_the_table_of_controls_is_whole():
    assert [control.number for control in CONTROLS] == list(range(1, 23))
    assert {setting.control for setting in SETTINGS} <= set(range(1, 23))


# --- Counting


def test_traded_money_counts_for_24_hours_and_open_money_for_as_long_as_it_is_open():
    limits = only(credit_limit=DEFAULT)
    ledger = RiskLedger(limits)
    key = Scope(user="alice", exchange="binance")
    placed = order(order_id="o1", quantity="2", usd_value=D(4000))
    ledger.placed(placed, D(4000), worked=False)
    other = order(order_id="o2", quantity="2", usd_value=D(600))
    ledger.placed(other, D(600), worked=False)
    assert ledger.credit("credit_limit", key) == D(4600)
    ledger.ended(replace(placed, filled_quantity=D("0.5"), closed_at=at(30)), D(4000))
    assert ledger.credit("credit_limit", key) == D(1600)
    ledger.expire(at(24 * 3600 + 59.999999))
    assert ledger.credit("credit_limit", key) == D(1600)
    ledger.expire(at(24 * 3600 + 60))
    assert ledger.credit("credit_limit", key) == D(600)
    ledger.ended(replace(other, closed_at=at(40)), D(600))
    assert ledger.credit("credit_limit", key) == D(0)


def test_a_limit_set_later_counts_what_was_before():
    limits = only()
    ledger = ledger_of(limits, orders=resting(3), traded="700")
    scope = Scope(bot="bot1")
    limits.put(row("credit_limit", "5000", scope))
    limits.put(row("max_open_orders", "4", scope))
    ledger.recount(at(100))
    assert ledger.credit("credit_limit", scope) == D(1000)
    assert ledger.open_orders("max_open_orders", scope) == 3


def test_a_throttle_says_exactly_when_the_next_one_passes():
    limits = only(orders_per_second="3", order_burst="1")
    ledger = ledger_of(limits, orders=sent(1, 100))
    (breach,) = risk.check(asked(limits, ledger))
    assert breach.retry_at == at(100) + timedelta(microseconds=333334)
    assert risk.check(asked(limits, ledger, at=breach.retry_at)) == []
    assert risk.check(asked(limits, ledger, at=breach.retry_at - timedelta(microseconds=1))) != []
    limits = only(orders_per_minute="2")
    ledger = ledger_of(limits, orders=sent(1, 70) + sent(2, 80))
    (breach,) = risk.check(asked(limits, ledger))
    assert risk.check(asked(limits, ledger, at=breach.retry_at - timedelta(microseconds=1))) != []
    assert risk.check(asked(limits, ledger, at=breach.retry_at)) == []


# --- The day of a contract


SWAP = "ETH/USDT:USDT"


def contract_fill(side, price, quantity="1", *, realised="0", known=True, fee="0"):
    """Fill a contract; `known`: the books know what it was worth."""
    fill = replace(
        booked("swap", price=price, side=side, symbol=SWAP),
        side=side,
        symbol=SWAP,
        quantity=D(quantity),
        fee=D(fee),
        fee_currency="USDT",
    )
    if not known:
        return fill
    return replace(
        fill, value_currency="USDT", value=D(0), fee_value=D(fee), fee_cost=D(fee), realised=D(realised)
    )


def day_of(*fills, held, mid):
    """Return what a day of fills has earned with so much held at its end."""
    ledger, prices = RiskLedger(Limits()), {"USDT": D(1)}
    for fill in fills:
        ledger.filled(fill, "ETH", "USDT", at(90), D(held))
    if mid is not None:
        prices[SWAP] = D(mid)
    return ledger.result(Scope(), at(95), prices.get)


DAYS = {  # name -> (fills, held after them, mid, earned)
    "long, and it fell": ([contract_fill(Side.BUY, "2000", fee="2")], "1", "1900", "-102"),
    "short, and it rose": ([contract_fill(Side.SELL, "2000", "2")], "-2", "2100", "-200"),
    "closed, at no loss": (
        [contract_fill(Side.BUY, "2000"), contract_fill(Side.SELL, "2000")],
        "0",
        None,
        "0",
    ),
    "of unknown worth, closed at another price": (
        [
            contract_fill(Side.BUY, "2000", known=False),
            contract_fill(Side.SELL, "1900", known=False, fee="1"),
        ],
        "0",
        None,
        "-101",
    ),
    "opened when nobody knew its worth": (
        [contract_fill(Side.BUY, "2000", known=False)],
        "1",
        "1900",
        "-100",
    ),
    "yesterday's long closed, at a loss": (
        [contract_fill(Side.SELL, "2000", realised="-300")],
        "0",
        "2500",
        "-300",
    ),
    "yesterday's long turned": ([contract_fill(Side.SELL, "2000", "3")], "-2", "2100", "-200"),
    "yesterday's long of which some is left": ([contract_fill(Side.SELL, "2000")], "1", "2500", "0"),
    "open, and no book": ([contract_fill(Side.BUY, "2000")], "1", None, None),
}


@pytest.mark.parametrize("name", DAYS)
def test_a_day_of_contracts_counts_what_was_realised_and_what_of_it_is_open(name):
    fills, held, mid, earned = DAYS[name]
    assert day_of(*fills, held=held, mid=mid) == (None if earned is None else D(earned))
