"""Derived figures and stored documents, read back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Context, Decimal

SHOWN = Context(prec=18)


def short_number(number: Decimal) -> Decimal:
    """Return a derived figure to 18 digits; amounts of money are never rounded."""
    return SHOWN.plus(number)


def mapping(value: object) -> Mapping[str, object]:
    assert isinstance(value, Mapping)
    return value


def sequence(value: object) -> Sequence[object]:
    assert isinstance(value, Sequence)
    return value
