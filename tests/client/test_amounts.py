"""Amounts reach the wire exactly as they were meant."""

from __future__ import annotations

import random
from decimal import Decimal

import pytest

from oms_client.amounts import amount_text
from oms_client.errors import InvalidRequest


class Loud(float):
    """A float that prints itself in its own way, as numpy's does."""

    def __repr__(self):
        return f"Loud({float(self)})"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1000, "1000"),
        (0.1, "0.1"),
        (0.1 + 0.2, "0.30000000000000004"),
        (1e-7, "0.0000001"),
        (1e22, "10000000000000000000000"),
        (5e-324, "5E-324"),
        (2450.10, "2450.1"),
        (Loud(0.25), "0.25"),
        (Decimal("0.250"), "0.250"),
        (Decimal("1E+3"), "1000"),
        (Decimal("1E-8"), "0.00000001"),
        (Decimal("1e400"), "1E+400"),
        ("0.250", "0.250"),
        ("1e400", "1e400"),
        ("-5", "-5"),
        ("35%", "35%"),
        ("", ""),
        (-5, "-5"),
        (10**30, "1" + "0" * 30),
    ],
)
def test_exact_text(value, text):
    assert amount_text("quantity", value) == text


def test_any_float_reads_back_as_itself():
    rng = random.Random(7)
    for _ in range(2000):
        number = rng.uniform(-1, 1) * 10 ** rng.randint(-12, 12)
        text = amount_text("quantity", number)
        assert float(text) == number and "e" not in text.lower()


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("-inf"),
        Decimal("NaN"),
        Decimal("sNaN"),
        Decimal("Infinity"),
        "nan",
        " Infinity ",
        True,
        False,
        None,
        b"1",
        1j,
        [],
    ],
)
def test_what_is_no_amount_names_the_argument(value):
    with pytest.raises(InvalidRequest, match="^REQUEST_FIELD_INVALID: quantity: ") as caught:
        amount_text("quantity", value)
    assert caught.value.field == "quantity"
