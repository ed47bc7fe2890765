"""The calls of routing and planning: one canonical form, rules between fields, quotes and their execution."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ems.algos import params
from ems.core import codec, errors
from ems.core.codec import ALGO_ALIASES, ALGOS, VERBS, Options, digest, encode_command, read_given
from ems.core.messages import (
    Command,
    ExecuteQuote,
    LimitOrder,
    Liquidate,
    MarketOrder,
    Quote,
    Rebalance,
    Share,
    Side,
    SmartOrder,
    Style,
)

SMART = {"exchange": "kraken", "start_currency": "USDT", "end_currency": "ETH", "start_amount": "1000"}
LIQUIDATE = {"exchange": "kraken", "end_currency": "USDT"}
REBALANCE = {"exchange": "kraken", "targets": {"BTC": "60%", "USDT": "0.4"}}
MARKET = {"exchange": "kraken", "side": "buy", "symbol": "BTC/USDT", "quantity": "1"}
LIMIT = {**MARKET, "price": "50000"}
BASIS = {
    "smart_order": SMART,
    "liquidate": LIQUIDATE,
    "rebalance": REBALANCE,
    "quote": SMART,
    "market_order": MARKET,
    "limit_order": LIMIT,
}


def read(verb: str, /, **changes: object) -> codec.Reading:
    return read_given(VERBS[verb], {**BASIS[verb], **changes})


def refusals(verb: str, /, **changes: object) -> list[tuple[str, object, str, str]]:
    reading = read(verb, **changes)
    assert reading.command is None
    return [(p.code, p.details["field"], p.message, p.hint) for p in reading.problems]


CANONICAL: dict[str, tuple[str, str, object, object]] = {  # name -> (verb, field, as sent, as written)
    "one exchange": ("smart_order", "exchange", "Kraken", "kraken"),
    "a list of one": ("smart_order", "exchange", ["KRAKEN"], "kraken"),
    "a list": ("smart_order", "exchange", ["okx", "binance"], "binance,okx"),
    "a list with one twice": ("smart_order", "exchange", ["okx", "OKX", "binance"], "binance,okx"),
    "a text of several": ("smart_order", "exchange", "okx,binance", "binance,okx"),
    "a text with spaces": ("smart_order", "exchange", "okx, binance", "binance,okx"),
    "an old name": ("smart_order", "exchange", "kraken,gdax", "coinbaseexchange,kraken"),
    "all": ("smart_order", "exchange", "ALL", "all"),
    "a list of all": ("smart_order", "exchange", ["all"], "all"),
    "an amount": ("smart_order", "start_amount", "1000.0", "1000"),
    "a share": ("smart_order", "start_amount", "35.0%", "35%"),
    "a small share": ("smart_order", "start_amount", "0.5%", "0.5%"),
    "all of it": ("smart_order", "start_amount", "All", "all"),
    "a hundred percent": ("smart_order", "start_amount", "100%", "all"),
    "an algorithm": ("smart_order", "algo", "TWAP", "twap"),
    "another name of an algorithm": ("smart_order", "algo", "now", "market"),
    "numbers of an algorithm": (
        "smart_order",
        "algo_params",
        {"slots": 12, "seed": "0.50", "post_only": True, "curve": "flat", "off": None},
        {"curve": "flat", "post_only": "true", "seed": "0.5", "slots": "12"},
    ),
    "slippage": ("smart_order", "max_slippage_bps", "12.50", "12.5"),
    "what happens in the end": ("smart_order", "on_timeout", "CANCEL", "cancel"),
    "only these": ("liquidate", "currencies", ["eth", "BTC", "ETH"], ["BTC", "ETH"]),
    "never these": ("liquidate", "exclude", ["zen"], ["ZEN"]),
    "any size": ("liquidate", "min_trade", 0, "0"),
    "weights": (
        "rebalance",
        "targets",
        {"usdt": "40%", "BTC": "0.6"},
        {"BTC": "0.6", "USDT": "0.4"},
    ),
    "one weight": ("rebalance", "targets", {"BTC": 1}, {"BTC": "1"}),
    "a weight of zero": ("rebalance", "targets", {"BTC": "1", "ZEN": "0%"}, {"BTC": "1", "ZEN": "0"}),
    "thirds": (
        "rebalance",
        "targets",
        dict.fromkeys("ABC", "33.33333333%"),
        dict.fromkeys("ABC", "0.3333333333"),
    ),
    "tolerance in percent": ("rebalance", "tolerance", "0.5%", "0.005"),
    "what is quoted": ("quote", "verb", "smart_order", "smart_order"),
}


@pytest.mark.parametrize("name", CANONICAL)
def test_one_meaning_is_written_in_one_way(name: str) -> None:
    verb, field, sent, written = CANONICAL[name]
    reading = read(verb, **{field: sent})
    assert reading.problems == ()
    assert reading.parameters[field] == written
    again = read(verb, **{field: written})
    assert again.command == reading.command
    assert again.command is not None and reading.command is not None
    assert digest(again.command, Options()) == digest(reading.command, Options())


def test_the_algorithms_are_those_there_are() -> None:
    assert set(ALGOS) == set(params.PROFILES) == set(params.ALGOS)
    assert params.ALIASES == ALGO_ALIASES


def test_a_smart_order_with_everything() -> None:
    reading = read(
        "smart_order",
        exchange=["okx", "kraken"],
        start_amount=None,
        end_amount="0.5",
        algo="pov",
        algo_params={"rate": "0.1"},
        time_limit="600",
        on_timeout="cancel",
        max_slippage_bps="25",
        account="two",
    )
    assert reading.command == SmartOrder(
        exchange="kraken,okx",
        start_currency="USDT",
        end_currency="ETH",
        end_amount=Decimal("0.5"),
        style=Style(
            algo="pov",
            params={"rate": "0.1"},
            time_limit=Decimal(600),
            on_timeout="cancel",
            max_slippage_bps=Decimal(25),
        ),
        account="two",
    )
    assert reading.exchange == "kraken,okx"


def test_what_is_not_said_is_the_default() -> None:
    assert read("smart_order").command == SmartOrder(
        exchange="kraken", start_currency="USDT", end_currency="ETH", start_amount=Decimal(1000)
    )
    assert read("liquidate").command == Liquidate(exchange="kraken", end_currency="USDT")
    assert read("rebalance").command == Rebalance(
        exchange="kraken", targets={"BTC": Decimal("0.6"), "USDT": Decimal("0.4")}
    )


def test_an_order_at_one_market_is_plain_unless_an_algorithm_is_named() -> None:
    plain, worked = read("market_order").command, read("market_order", algo="iceberg").command
    assert isinstance(plain, MarketOrder) and isinstance(worked, MarketOrder)
    assert plain.style is None
    assert worked.style == Style(algo="iceberg")
    # The default algorithm of a smart order is not what an order without one is.
    adaptive = read("market_order", algo="adaptive").command
    assert adaptive is not None
    assert digest(adaptive, Options()) != digest(plain, Options())
    limit = read("limit_order", algo="twap", time_in_force="GTC", post_only=False, time_limit="5").command
    assert isinstance(limit, LimitOrder)
    assert limit.style == Style(algo="twap", time_limit=Decimal(5))


INVALID, MISSING, UNKNOWN = (
    errors.REQUEST_FIELD_INVALID,
    errors.REQUEST_FIELD_MISSING,
    errors.REQUEST_FIELD_UNKNOWN,
)
RULES: dict[str, tuple[str, dict[str, object], str, str, str, str]] = {
    # name -> (verb, changes, code, field, words of the message, words of the hint)
    "no amount": ("smart_order", {"start_amount": None}, MISSING, "start_amount", "missing", "or end_amount"),
    "two amounts": (
        "smart_order",
        {"end_amount": "1"},
        INVALID,
        "end_amount",
        "beside start_amount",
        "Remove",
    ),
    "an amount to receive in percent": (
        "smart_order",
        {"start_amount": None, "end_amount": "35%"},
        INVALID,
        "end_amount",
        "is not a number",
        "only start_amount understands a share",
    ),
    "more than is free": ("smart_order", {"start_amount": "120%"}, INVALID, "start_amount", "whole", "100%"),
    "the same currency": (
        "smart_order",
        {"end_currency": "usdt"},
        INVALID,
        "end_currency",
        "also the start_currency",
        "two different",
    ),
    "an algorithm nearly named": (
        "smart_order",
        {"algo": "iceburg"},
        INVALID,
        "algo",
        "is not an algorithm",
        f"Did you mean iceberg? Use one of {', '.join(ALGOS)}.",
    ),
    "all beside a name": (
        "smart_order",
        {"exchange": "all,okx"},
        INVALID,
        "exchange",
        'beside "all"',
        '"all"',
    ),
    "one name is not one": (
        "smart_order",
        {"exchange": ["okx", "kra ken"]},
        INVALID,
        "exchange",
        '"kra ken" is not an exchange name',
        "kraken",
    ),
    "sold and kept": (
        "liquidate",
        {"currencies": ["BTC", "ETH"], "exclude": ["ETH"]},
        INVALID,
        "exclude",
        "ETH also stands under currencies",
        "not under both",
    ),
    "the end is excluded": (
        "liquidate",
        {"exclude": ["usdt"]},
        INVALID,
        "exclude",
        "USDT is the end_currency",
        "Remove USDT",
    ),
    "nothing to sell": (
        "liquidate",
        {"currencies": ["USDT"]},
        INVALID,
        "currencies",
        "only USDT",
        "Name the currencies to be sold",
    ),
    "no currency named": (
        "liquidate",
        {"currencies": []},
        INVALID,
        "currencies",
        "the list is empty",
        "leave currencies out to sell everything",
    ),
    "a quote of no currency named": (
        "quote",
        {"verb": "liquidate", "start_currency": None, "start_amount": None, "currencies": []},
        INVALID,
        "currencies",
        "the list is empty",
        "leave currencies out to sell everything",
    ),
    "one currency as a text": (
        "liquidate",
        {"currencies": "BTC"},
        INVALID,
        "currencies",
        "not a list",
        '["BTC"',
    ),
    "too little": (
        "rebalance",
        {"targets": {"BTC": "60%", "USDT": "0.35"}},
        INVALID,
        "targets",
        "the targets sum to 0.95 (95%), not to 1 (100%)",
        'Add "0.05" (5%)',
    ),
    "too much": (
        "rebalance",
        {"targets": {"BTC": "0.60000001", "USDT": "0.4"}},
        INVALID,
        "targets",
        "the targets sum to 1.00000001 (100.000001%), not to 1 (100%)",
        'Take "0.00000001" (0.000001%) away',
    ),
    "a percentage without its sign": (
        "rebalance",
        {"targets": {"BTC": "60", "USDT": "40"}},
        INVALID,
        "targets",
        'targets: BTC: "60" is more than the whole',
        '"0.25" or "25%"',
    ),
    "a weight as a float": (
        "rebalance",
        {"targets": {"BTC": codec.JsonNumber("0.6"), "USDT": "0.4"}},
        INVALID,
        "targets",
        "targets: BTC: 0.6 is a JSON number",
        '"0.6"',
    ),
    "kept and divided": (
        "rebalance",
        {"keep": ["BTC"]},
        INVALID,
        "keep",
        "BTC also has a target",
        "Give BTC a target, or keep it",
    ),
    "a tolerance of everything": (
        "rebalance",
        {"tolerance": "100%"},
        INVALID,
        "tolerance",
        "no weight",
        "0.002",
    ),
    "a time without an algorithm": (
        "market_order",
        {"time_limit": "60"},
        INVALID,
        "time_limit",
        "algo is missing",
        "remove time_limit",
    ),
    "slippage without an algorithm": (
        "limit_order",
        {"max_slippage_bps": "5"},
        INVALID,
        "max_slippage_bps",
        "algo is missing",
        "Add algo",
    ),
    "an algorithm at once": (
        "limit_order",
        {"algo": "twap", "time_in_force": "IOC"},
        INVALID,
        "time_in_force",
        "time_limit",
        "remove algo",
    ),
    "waiting at once": (
        "limit_order",
        {"post_only": True, "time_in_force": "IOC"},
        INVALID,
        "post_only",
        "time_in_force IOC only trades at once",
        "set time_in_force to GTC",
    ),
    "waiting, all or nothing": (
        "limit_order",
        {"post_only": True, "time_in_force": "FOK"},
        INVALID,
        "post_only",
        "time_in_force FOK only trades at once",
        "set time_in_force to GTC",
    ),
    "an algorithm told to wait": (
        "limit_order",
        {"algo": "twap", "post_only": True},
        INVALID,
        "post_only",
        "decides itself",
        "remove algo",
    ),
    "a field of another quote": (
        "quote",
        {"targets": {"BTC": "1"}},
        UNKNOWN,
        "targets",
        '"targets" is not a field',
        'ask with verb "rebalance"',
    ),
    "a field of two other quotes": (
        "quote",
        {"min_trade": "5"},
        UNKNOWN,
        "min_trade",
        "is not a field",
        'ask with verb "liquidate" or "rebalance"',
    ),
    "a quote of a quote": ("quote", {"quote_id": "qt-1"}, UNKNOWN, "quote_id", "is not a field", "Remove it"),
    "a quote of an order": ("quote", {"verb": "limit_order"}, INVALID, "verb", "choices", '"rebalance"'),
    "a quote without an amount": ("quote", {"start_amount": None}, MISSING, "start_amount", "missing", "Add"),
    "a plan with an empty quote": (
        "smart_order",
        {"quote_id": ""},
        INVALID,
        "quote_id",
        "is not an id",
        "255",
    ),
}


@pytest.mark.parametrize("name", RULES)
def test_what_does_not_fit_together_is_refused(name: str) -> None:
    verb, changes, *expected = RULES[name]
    found = refusals(verb, **changes)
    code, field, words, fix = expected
    fitting = [row for row in found if row[:2] == (code, field)]
    assert fitting, found
    assert words in fitting[0][2]
    assert fix in fitting[0][3]


@pytest.mark.parametrize(("verb", "name"), [("liquidate", "exclude"), ("rebalance", "keep")])
def test_an_empty_list_of_exceptions_is_none(verb: str, name: str) -> None:
    assert read(verb, **{name: []}).command == read(verb).command is not None


def test_a_field_that_cannot_be_read_breaks_no_second_rule() -> None:
    assert [row[1] for row in refusals("smart_order", start_amount=None, end_amount="x")] == ["end_amount"]
    assert [row[1] for row in refusals("market_order", algo="x", time_limit="5")] == ["algo"]


def test_every_field_without_its_algorithm_is_named() -> None:
    found = refusals(
        "market_order", time_limit="5", on_timeout="take", algo_params={"a": 1}, max_slippage_bps=1
    )
    assert [row[1] for row in found] == ["algo_params", "time_limit", "on_timeout", "max_slippage_bps"]


@pytest.mark.parametrize("verb", ["smart_order", "liquidate", "rebalance"])
def test_a_quote_is_of_a_call_and_is_carried_out_by_it(verb: str) -> None:
    planned = read(verb).command
    quote = read_given(VERBS["quote"], {"verb": verb, **BASIS[verb], "bot": "bot-7"})
    assert quote.problems == ()
    assert quote.command == Quote(command=planned)  # type: ignore[arg-type]
    assert quote.options.bot == "bot-7"
    assert quote.parameters["verb"] == verb

    execution = read_given(VERBS[verb], {"quote_id": "qt-1", "dry_run": True})
    assert execution.command == ExecuteQuote(verb=verb, quote_id="qt-1")
    assert execution.options.dry_run is True
    assert execution.parameters == {"quote_id": "qt-1"}
    assert codec.verb_of(execution.command) == verb
    assert digest(execution.command, Options()) != digest(planned, Options())  # type: ignore[arg-type]


def test_a_quote_carried_out_takes_nothing_else() -> None:
    found = refusals("smart_order", quote_id="qt-1", amount="5")
    assert [row[1] for row in found] == [
        "amount",
        "exchange",
        "start_currency",
        "end_currency",
        "start_amount",
    ]
    assert found[1][2] == "exchange: not together with quote_id: the quote has settled it"
    assert found[1][3] == "Send quote_id without exchange, or leave quote_id out to plan anew."
    # Null is absent, here as everywhere.
    reading = read_given(VERBS["smart_order"], {**dict.fromkeys(SMART), "quote_id": "qt-1"})
    assert reading.command == ExecuteQuote(verb="smart_order", quote_id="qt-1")
    assert read("smart_order", quote_id=None).problems == ()


def test_what_a_refused_quote_said_is_recorded() -> None:
    reading = read("quote", start_amount="-1", targets="x")
    assert reading.command is None
    assert reading.exchange == "kraken"
    assert reading.parameters["verb"] == "smart_order"
    assert reading.parameters["start_amount"] == "-1"


AMOUNTS = st.decimals(min_value="0.000000001", max_value="99999999", places=9)
CODES = st.lists(
    st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=2, max_size=5), unique=True, min_size=2, max_size=8
)
STYLES = st.builds(
    Style,
    algo=st.sampled_from(ALGOS),
    params=st.dictionaries(st.sampled_from(["slots", "band", "seed"]), st.sampled_from(["1", "0.5", "true"])),
    time_limit=st.decimals(min_value=1, max_value=604800, places=3),
    on_timeout=st.sampled_from(["take", "cancel"]),
    max_slippage_bps=st.none() | st.decimals(min_value="0.01", max_value=10000, places=2),
)
EXCHANGES = st.just("all") | st.lists(
    st.sampled_from(["binance", "kraken", "okx"]), unique=True, min_size=1
).map(lambda names: ",".join(sorted(names)))
SPENDING = AMOUNTS | st.builds(Share, percent=st.decimals(min_value="0.001", max_value=100, places=3))


@st.composite
def commands(draw: st.DrawFn) -> Command:
    style, names = draw(STYLES), draw(CODES)
    kind = draw(st.sampled_from(["smart", "liquidate", "rebalance", "market", "quote", "execute"]))
    exchange = draw(EXCHANGES)
    if kind == "market":
        some = draw(st.none() | STYLES)
        return MarketOrder(exchange="okx", side=Side.BUY, symbol="A/B", quantity=draw(AMOUNTS), style=some)
    if kind == "execute":
        return ExecuteQuote(verb=draw(st.sampled_from(["smart_order", "rebalance"])), quote_id="qt-1")
    if kind == "liquidate":
        return Liquidate(
            exchange=exchange,
            end_currency=names[0],
            currencies=tuple(sorted(names[1:3])),
            exclude=tuple(sorted(names[3:])),
            min_trade=draw(AMOUNTS),
            style=style,
        )
    if kind == "rebalance":
        weights = [Decimal(draw(st.integers(0, 1000 // len(names)))) / 1000 for _ in names[1:]]
        targets = dict(zip(names, [1 - sum(weights, Decimal(0)), *weights], strict=True))
        return Rebalance(exchange=exchange, targets=targets, keep=("ZZZZZZ",), style=style)
    smart = SmartOrder(
        exchange=exchange,
        start_currency=names[0],
        end_currency=names[1],
        start_amount=None if kind == "quote" else draw(SPENDING),
        end_amount=draw(AMOUNTS) if kind == "quote" else None,
        style=style,
    )
    return Quote(command=smart) if kind == "quote" else smart


@given(commands())
def test_any_command_survives_the_way_there_and_back(command: Command) -> None:
    written = json.loads(json.dumps(encode_command(command)))
    reading = read_given(VERBS[codec.verb_of(command)], written)
    assert reading.problems == ()
    assert reading.command == command
    assert digest(reading.command, Options()) == digest(command, Options())
    assert "style" not in written
