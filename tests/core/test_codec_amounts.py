"""Amounts: every bad form of a number is refused with its field, its value and a fix."""

import json
from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ems.core import codec, errors
from ems.core.errors import BadMessage

ACCEPTED = {  # as in JSON -> plain text
    '"1000"': "1000",
    "1000": "1000",
    '"0.25"': "0.25",
    '"0.250"': "0.25",
    '"1e3"': "1000",
    '"1E-8"': "0.00000001",  # str(Decimal("0.00000001"))
    '"1.5e+2"': "150",
    '"12345678901234567890.123456789012345678"': "12345678901234567890.123456789012345678",
    "12345678901234567890": "12345678901234567890",
    '"0.0000000000000000010"': "0.000000000000000001",
    '"1.00000000000000000000000000000"': "1",
}

REFUSED = {  # as in JSON -> words of the message
    '"1e400"': "more than 20 digits before the point",
    "1e400": "JSON number",
    '"1e-400"': "more than 18 digits after the point",
    '"1e9999999"': "exponent beyond reason",
    '"1e21"': "more than 20 digits",
    '"1e-19"': "more than 18 digits",
    '"123456789012345678901"': "more than 20 digits",
    "123456789012345678901": "more than 20 digits",
    "1" * 50: "more than 20 digits",
    '"0.1234567890123456789"': "more than 18 digits after the point",
    '"' + "1" * 5000 + '"': "longer than any amount",
    "0.1": "JSON number with a fraction",
    "1.0": "JSON number with a fraction",
    "NaN": "not a finite number",
    "Infinity": "not a finite number",
    "-Infinity": "not a finite number",
    '"NaN"': "not a finite number",
    '"-inf"': "not a finite number",
    '"Infinity"': "not a finite number",
    '"sNaN"': "not a finite number",
    '"-1"': "is negative",
    "-1": "is negative",
    '"-0"': "is negative",
    "-0.0": "JSON number with a fraction",
    '"0"': "is zero",
    "0": "is zero",
    '"0.000"': "is zero",
    '"0e5"': "is zero",
    '"+1"': "has a sign",
    '""': "is empty",
    '" 1"': "white space",
    '"1 "': "white space",
    '"1\\n"': "white space",
    '"1\\u00a0"': "white space",
    '"１２"': "other than ASCII",
    '"٣"': "other than ASCII",
    '"½"': "other than ASCII",
    '"1\\u0000"': "not a number",
    '"1,5"': "separator",
    '"1,000.00"': "separator",
    '"1_000"': "separator",
    '"0x10"': "not a decimal number",
    '".5"': "one side of the point",
    '"5."': "one side of the point",
    '"007"': "superfluous zeros",
    '"1e"': "not a number",
    '"e5"': "not a number",
    '"1.2.3"': "not a number",
    '"ten"': "not a number",
    '"35%"': "not a number",
    "true": "not an amount",
    "[1]": "not an amount",
    "{}": "not an amount",
}


def read(text: str) -> codec.Reading:
    body = f'{{"exchange": "kraken", "side": "buy", "symbol": "BTC/USDT", "quantity": {text}}}'
    return codec.read_command(codec.VERBS["market_order"], body.encode())


@pytest.mark.parametrize("text", ACCEPTED)
def test_accepted_amount(text: str) -> None:
    reading = read(text)
    assert reading.problems == ()
    assert reading.parameters["quantity"] == ACCEPTED[text]


@pytest.mark.parametrize("text", REFUSED)
def test_refused_amount(text: str) -> None:
    reading = read(text)
    assert reading.command is None
    (problem,) = reading.problems
    assert problem.code == errors.REQUEST_FIELD_INVALID
    assert problem.message.startswith("quantity: ")
    assert REFUSED[text] in problem.message
    assert problem.details["field"] == "quantity"
    assert str(problem.details["value"]) in problem.message
    assert problem.hint.endswith(".")
    assert len(problem.message) < 200


def test_a_float_is_told_how_to_be_sent() -> None:
    (problem,) = read("0.1").problems
    assert problem.hint == 'Send amounts as strings: "0.1".'


@pytest.mark.parametrize("text", ["null", None])
def test_an_absent_amount_is_missing(text: str | None) -> None:
    fields = {"exchange": "kraken", "side": "buy", "symbol": "BTC/USDT"}
    body = json.dumps(fields if text is None else {**fields, "quantity": None})
    (problem,) = codec.read_command(codec.VERBS["market_order"], body.encode()).problems
    assert problem.code == errors.REQUEST_FIELD_MISSING
    assert problem.message == "quantity is missing"
    assert 'such as "0.25"' in problem.hint
    assert "base currency" in problem.hint


def test_zero_is_an_amount_where_zero_is_allowed() -> None:
    assert codec.read_amount("0.00", "fee") == Decimal(0)


@pytest.mark.parametrize(("text", "words"), [("0", "zero"), ("604801", "a week"), ("-1", "negative")])
def test_refused_seconds(text: str, words: str) -> None:
    with pytest.raises(BadMessage, match=words):
        codec.read_seconds(text, "time_limit")


PLAIN = {
    "1E+3": "1000",
    "1E-8": "0.00000001",
    "-0": "0",
    "0.000": "0",
    "1.500": "1.5",
    "100": "100",
    "-2.50": "-2.5",
    "12345678901234567890.123456789012345678": "12345678901234567890.123456789012345678",
}


@pytest.mark.parametrize("text", PLAIN)
def test_plain_text_of_a_decimal(text: str) -> None:
    assert codec.plain(Decimal(text)) == PLAIN[text]


def test_plain_text_does_not_depend_on_the_precision_of_the_thread() -> None:
    with localcontext() as context:
        context.prec = 5
        amount = codec.read_amount("12345678901234567890.123456789012345678", "quantity")
        assert codec.plain(amount) == "12345678901234567890.123456789012345678"


@given(st.decimals(min_value=0, max_value=10**19, places=18, allow_nan=False, allow_infinity=False))
def test_an_amount_survives_the_way_there_and_back(number: Decimal) -> None:
    assert codec.read_amount(codec.plain(number), "quantity") == number


@given(st.text(max_size=30))
def test_no_text_is_ever_read_wrongly(text: str) -> None:
    try:
        amount = codec.read_amount(text, "quantity")
    except BadMessage as bad:
        assert bad.problems[0].hint
    else:
        assert amount == Decimal(text)
        assert amount.is_finite() and amount >= 0
