"""Turn what a bot gives into what the wire carries: exact decimal text, UTC times."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from decimal import Decimal, InvalidOperation
from typing import Union

from .errors import InvalidRequest

Amount = Union[str, int, float, Decimal]
Time = Union[str, datetime]
Exchanges = Union[str, Iterable[str]]  # a name, several, or "all"

_EXCHANGE_FIX = 'Give a name, several in a list, or "all".'
_CURRENCIES_FIX = 'Give a list of currency codes, such as ["BTC", "ETH"].'
_KEY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?")  # as the server reads it
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
    return exchange if isinstance(exchange, str) else _texts("exchange", exchange, _EXCHANGE_FIX)


def one_exchange(exchange: str) -> str:
    """Give the one exchange of an order as it is; what is no text is refused."""
    if not isinstance(exchange, str):
        raise _refused("exchange", exchange, "is not a name", "Give the name of one exchange.")
    return exchange


def currency_codes(name: str, value: Iterable[str]) -> list[str]:
    """Write a list of currencies; an empty one is no way to say that all are meant."""
    codes = [value] if isinstance(value, str) else _texts(name, value, _CURRENCIES_FIX)
    if name == "currencies" and not codes:
        fix = "Name the currencies to be sold, or leave currencies out to sell everything."
        raise _refused(name, value, "is an empty list", fix)
    return codes


def checked_key(key: str) -> str:
    """Give an idempotency key as it is; one that no header can carry is refused, an empty one is none."""
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        fix = (
            "Give 1 to 255 printable ASCII characters without spaces around them, "
            "or leave idempotency_key out to have one made."
        )
        raise _refused("idempotency_key", key, "is not a key", fix)
    return key


def _texts(name: str, values: Iterable[str], fix: str) -> list[str]:
    if not isinstance(values, Iterable) or isinstance(values, (bytes, Mapping)):
        raise _refused(name, values, "is neither a name nor a list of names", fix)
    listed = list(values)
    if wrong := [one for one in listed if not isinstance(one, str)]:
        raise _refused(name, wrong[0], "is not a name", fix)
    return listed


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
    if not isinstance(params, Mapping):
        fix = 'Give names and values, such as {"participation": 0.1}.'
        raise _refused("algo_params", params, "is not a dictionary", fix)
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
    return _refused(name, value, why, 'Give a str, int, Decimal or float, such as "0.25".')


def _refused(name: str, value: object, why: str, fix: str) -> InvalidRequest:
    return InvalidRequest(
        f"{name}: {value!r} {why}",
        code="REQUEST_FIELD_INVALID",
        hint=fix,
        details={"field": name, "value": str(value)},
    )
