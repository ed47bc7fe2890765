"""Turn what a bot gives into what the wire carries: exact decimal text, UTC times."""

from __future__ import annotations

import operator
from datetime import datetime, timezone
from decimal import Decimal, InvalidOperation
from typing import Union

from .errors import InvalidRequest

Amount = Union[str, int, float, Decimal]
Time = Union[str, datetime]

_DIGITS_MAX = 100  # beyond this an exponent is not written out; the server refuses it with its own words


def amount_text(name: str, value: Amount) -> str:
    """Write an amount as exact decimal text; raise InvalidRequest naming the argument if that is impossible.

    A float means the shortest decimal that reads back as the same float, which is what its owner typed:
    0.1 is 0.1. Text goes to the server as it is, which knows best what is wrong with it.
    """
    if isinstance(value, bool) or value is None:
        raise _invalid(name, value, "is not an amount")
    if isinstance(value, str):
        try:
            finite = Decimal(value.strip()).is_finite()
        except InvalidOperation:
            finite = True  # not a number at all
        if not finite:
            raise _invalid(name, value, "is not a finite number")
        return value
    if isinstance(value, float):
        number = Decimal(float.__repr__(value))  # the class's own: a subclass may print itself differently
    elif isinstance(value, Decimal):
        number = value
    else:
        try:
            number = Decimal(operator.index(value))
        except TypeError:
            raise _invalid(name, value, f"is a {type(value).__name__}, not an amount") from None
    if not number.is_finite():
        raise _invalid(name, value, "is not a finite number")
    return f"{number:f}" if abs(number.adjusted()) < _DIGITS_MAX else str(number)


def time_text(name: str, value: Time | None) -> str | None:
    """Write a time as UTC text; one without a zone is refused, it means another moment elsewhere."""
    if value is None or isinstance(value, str):
        return value
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise InvalidRequest(
            f"{name}: {value!r} is not a time with a zone",
            code="REQUEST_FIELD_INVALID",
            hint="Give datetime.now(timezone.utc) or a text such as 2026-11-21T06:30:00Z.",
            details={"field": name},
        )
    return value.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")


def _invalid(name: str, value: object, why: str) -> InvalidRequest:
    return InvalidRequest(
        f"{name}: {value!r} {why}",
        code="REQUEST_FIELD_INVALID",
        hint='Give a str, int, Decimal or float, such as "0.25".',
        details={"field": name, "value": str(value)},
    )
