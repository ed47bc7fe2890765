"""Turn what a bot gives into what the wire carries: exact decimal text, UTC times."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from decimal import Decimal, InvalidOperation
from typing import Union

from .errors import InvalidRequest

Amount = Union[str, int, float, Decimal]
Time = Union[str, datetime]
Exchanges = Union[str, Iterable[str]]  # a name, several, or "all"

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


def exchanges(exchange: Exchanges) -> str | list[str]:
    """Write where to trade: one name, "all", or a list of names."""
    return exchange if isinstance(exchange, str) else [str(name) for name in exchange]


def weights(targets: Mapping[str, Amount]) -> dict[str, str]:
    """Write target weights as exact text; raise InvalidRequest naming the currency that has none."""
    if not isinstance(targets, Mapping):
        raise InvalidRequest(
            f"targets: {targets!r} is not a dictionary",
            code="REQUEST_FIELD_INVALID",
            hint='Give currency and part of the whole, such as {"BTC": "60%", "USDT": 0.4}.',
            details={"field": "targets"},
        )
    return {str(currency): amount_text(f"targets: {currency}", part) for currency, part in targets.items()}


def settings(params: Mapping[str, str | int | float | Decimal | bool]) -> dict[str, str | bool]:
    """Write an algorithm's own numbers; a float means what its owner typed, as everywhere."""
    return {
        str(name): value if isinstance(value, (str, bool)) else amount_text(f"algo_params: {name}", value)
        for name, value in params.items()
    }


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
