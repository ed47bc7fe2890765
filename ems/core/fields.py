"""The kinds of values a call takes: how each is read strictly, and how it is described.

Amounts are decimal strings (or JSON integers). A JSON number with a point has been a float somewhere.
What is refused is refused with the name of the field, its value and how to mend it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum

from ems.core import errors
from ems.core.errors import BadMessage
from ems.core.jsontext import JsonNumber, plain, printable, shown
from ems.core.messages import Exit, OrderType, Share, Side, TimeInForce

MAX_INTEGER_DIGITS = 20
MAX_DECIMALS = 18  # the smallest unit of Ether; no exchange quotes finer

# other name -> ours. ccxt's names differ from country to country; coinbaseexchange is the former GDAX.
EXCHANGE_ALIASES = {"gdax": "coinbaseexchange"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """How one kind of value is read, and how it is described."""

    name: str
    read: Callable[[object, str], object]  # (value as sent, field name) -> value; raises BadMessage
    schema: dict[str, object]  # JSON Schema of the value as sent
    form: str  # for people


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """One field of a body or one parameter of a query string."""

    name: str
    kind: Kind
    doc: str
    required: bool = True
    default: object = None  # of an optional field
    example: object = None
    unit: str = ""


def invalid(
    name: str, value: object, why: str, fix: str, *, code: str = errors.REQUEST_FIELD_INVALID
) -> BadMessage:
    """Make the refusal of one field: its name, its value, what is wrong and how to mend it."""
    return BadMessage(
        [
            errors.problem(
                code,
                f"{name}: {shown(value)} {why}",
                hint=fix,
                details={"field": name, "value": printable(shown(value))},
            )
        ]
    )


def _text(value: object, name: str, fix: str) -> str:
    if not isinstance(value, str) or isinstance(value, JsonNumber):
        raise invalid(name, value, "is not a string", fix)
    return value


_AMOUNT = re.compile(r"(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,6})?", re.ASCII)
_AMOUNT_FIX = 'Send amounts as strings of plain digits, such as "1000" or "0.25".'


def read_amount(value: object, name: str) -> Decimal:
    """Read an amount of zero or more."""
    if isinstance(value, JsonNumber):
        if value.lstrip("-") in ("NaN", "Infinity"):
            raise invalid(name, value, "is not a finite number", _AMOUNT_FIX)
        if value.lstrip("-").isdigit():
            raise invalid(name, value, f"has more than {MAX_INTEGER_DIGITS} digits", _AMOUNT_FIX)
        fix = f'Send amounts as strings: "{value}".' if len(value) <= 40 else _AMOUNT_FIX
        raise invalid(name, value, "is a JSON number with a fraction or exponent, which loses digits", fix)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise invalid(name, value, "is not an amount", _AMOUNT_FIX)
    text = str(value)
    if not _AMOUNT.fullmatch(text):
        why, fix = _why_no_amount(text)
        raise invalid(name, value, why, fix)
    if len(text) > 100:
        raise invalid(name, value, "is longer than any amount can be", _limits())
    return _within_limits(Decimal(text), value, name)


def _within_limits(number: Decimal, value: object, name: str) -> Decimal:
    _, digits, exponent = number.as_tuple()
    assert isinstance(exponent, int), "the pattern lets only finite numbers through"
    if not any(digits):
        return Decimal(0)
    while digits[-1] == 0:  # 1.50 has one decimal
        digits, exponent = digits[:-1], exponent + 1
    if len(digits) + exponent > MAX_INTEGER_DIGITS:
        raise invalid(name, value, f"has more than {MAX_INTEGER_DIGITS} digits before the point", _limits())
    if -exponent > MAX_DECIMALS:
        raise invalid(name, value, f"has more than {MAX_DECIMALS} digits after the point", _limits())
    return Decimal(plain(Decimal((0, digits, exponent))))


def _limits() -> str:
    return f"Use at most {MAX_INTEGER_DIGITS} digits before and {MAX_DECIMALS} after the point."


def _why_no_amount(text: str) -> tuple[str, str]:
    """Say what is wrong with a text that is no amount, and how to mend it."""
    lower = text.lower()
    if text == "":
        return "is empty", _AMOUNT_FIX
    if any(c.isspace() for c in text):
        return "contains white space", "Remove the white space."
    if not text.isascii():
        return "contains characters other than ASCII digits", "Use the digits 0 to 9 and a point."
    if lower.lstrip("+-") in ("nan", "snan", "inf", "infinity"):
        return "is not a finite number", _AMOUNT_FIX
    if text.startswith("-"):
        return "is negative", "Send an amount above zero; the direction is said by side or by the currencies."
    if text.startswith("+"):
        return "has a sign", "Leave the plus sign out."
    if "," in text or "_" in text or "'" in text:
        return "contains a separator", "Use a point for decimals and nothing between thousands."
    if lower.startswith(("0x", "0o", "0b")):
        return "is not a decimal number", _AMOUNT_FIX
    if text.startswith(".") or text.endswith("."):
        return "has nothing on one side of the point", f'Write "{("0" + text).rstrip(".")}" or similar.'
    if re.fullmatch(r"0[0-9.]+", text, re.ASCII):
        return "starts with superfluous zeros", f'Write "{text.lstrip("0") or "0"}".'
    if text.endswith("%") or lower == "all":
        return "is not a number", "Send an amount; only start_amount understands a share or all."
    if re.search(r"[eE][+-]?[0-9]{7,}$", text, re.ASCII):
        return "has an exponent beyond reason", _limits()
    return "is not a number", _AMOUNT_FIX


def read_positive(value: object, name: str) -> Decimal:
    """Read an amount above zero."""
    amount = read_amount(value, name)
    if amount == 0:
        raise invalid(name, value, "is zero", "Send an amount above zero.")
    return amount


def read_price(value: object, name: str) -> Decimal:
    """Read a price above zero."""
    return read_positive(value, name)


_EXIT_FIX = 'Send an object such as {"stop_price": "2300"}, with a price for a limit order.'


def read_exit(value: object, name: str) -> Exit:
    """Read the prices of an order that is attached to another."""
    if not isinstance(value, dict):
        raise invalid(name, value, "is not an object", _EXIT_FIX)
    given = {key: one for key, one in value.items() if one is not None}
    unknown = sorted(given.keys() - {"stop_price", "price"})
    if unknown:
        raise invalid(name, unknown[0], "is none of its fields", _EXIT_FIX)
    if "stop_price" not in given:
        raise invalid(name, value, "has no stop_price", _EXIT_FIX)
    return Exit(**{key: read_price(one, name) for key, one in given.items()})


MAX_SECONDS = Decimal(7 * 24 * 3600)


def read_seconds(value: object, name: str) -> Decimal:
    """Read a duration in seconds above zero, at most a week."""
    seconds = read_positive(value, name)
    if seconds > MAX_SECONDS:
        raise invalid(name, value, "is longer than a week", f"Use at most {plain(MAX_SECONDS)} seconds.")
    return seconds


MAX_BPS = Decimal(10_000)


def read_bps(value: object, name: str) -> Decimal:
    """Read basis points above zero, at most 10000."""
    bps = read_positive(value, name)
    if bps > MAX_BPS:
        raise invalid(name, value, "is more than 10000 basis points, the whole price", "25 are 0.25 %.")
    return bps


HUNDRED = Decimal(100)


def read_spending(value: object, name: str) -> Decimal | Share:
    """Read an amount above zero, a percentage of what is free such as "35%", or "all" of it."""
    if isinstance(value, str) and not isinstance(value, JsonNumber):
        if value.lower() == "all":
            return Share(percent=HUNDRED)
        if value.endswith("%"):
            return Share(percent=_percent(value, name))
    return read_positive(value, name)


def read_fraction(value: object, name: str) -> Decimal:
    """Read a part of a whole from zero to one, written as "0.25" or "25%"."""
    if isinstance(value, str) and not isinstance(value, JsonNumber) and value.endswith("%"):
        percent = _percent(value, name, zero=True)
        return _within_limits(percent.scaleb(-2), value, name)
    fraction = read_amount(value, name)
    if fraction > 1:
        fix = f'Send a part of one: "0.25" or "25%", not "{shown(value).strip(chr(34))}".'
        raise invalid(name, value, "is more than the whole", fix)
    return fraction


def _percent(text: str, name: str, *, zero: bool = False) -> Decimal:
    """Read "35%"; the number before the sign follows the rules of every amount."""
    percent = read_amount(text[:-1], name)
    if percent > HUNDRED:
        raise invalid(name, text, "is more than the whole", 'Use at most "100%".')
    if percent == 0 and not zero:
        raise invalid(name, text, "is zero", 'Use more than "0%".')
    return percent


_CURRENCY = r"[A-Z0-9][A-Z0-9._-]{0,23}"


def read_currency(value: object, name: str) -> str:
    """Read a currency code into upper case."""
    fix = 'Send a currency code such as "BTC".'
    text = _text(value, name, fix)
    if not text.isascii() or not re.fullmatch(_CURRENCY, text.upper()):
        if ":" in text:
            fix = "Contracts are traded by market_order, limit_order and order alone."
        raise invalid(name, value, "is not a currency code", fix)
    return text.upper()


CURRENCIES_MAX = 100
_CURRENCIES_FIX = 'Send a list of currency codes, such as ["BTC", "ETH"].'


def read_currencies(value: object, name: str) -> tuple[str, ...]:
    """Read a list of currency codes, sorted, each once."""
    if not isinstance(value, list):
        raise invalid(name, value, "is not a list", _CURRENCIES_FIX)
    if len(value) > CURRENCIES_MAX:
        raise invalid(name, value, f"has more than {CURRENCIES_MAX} currencies", _CURRENCIES_FIX)
    return tuple(sorted({read_currency(one, name) for one in value}))


_TARGETS_FIX = 'Send an object of currency and part of the whole, such as {"BTC": "60%", "USDT": "0.4"}.'
# Written with a few decimals, a third has no exact form.
_TARGETS_SLACK = Decimal("1e-9")


def read_targets(value: object, name: str) -> dict[str, Decimal]:
    """Read target weights; they sum to one within 1e-9. The result is sorted by currency."""
    if not isinstance(value, dict):
        raise invalid(name, value, "is not an object", _TARGETS_FIX)
    if not 1 <= len(value) <= CURRENCIES_MAX:
        raise invalid(name, value, f"has not 1 to {CURRENCIES_MAX} currencies", _TARGETS_FIX)
    targets: dict[str, Decimal] = {}
    for sent, weight in value.items():
        currency = read_currency(sent, name)
        if currency in targets:
            raise invalid(name, sent, "appears twice", f"Send {currency} once.")
        try:
            targets[currency] = read_fraction(weight, f"{name}: {currency}")
        except BadMessage as bad:
            # The field is the whole object; which of its entries is wrong stands in the message.
            wrong = [replace(p, details={**p.details, "field": name}) for p in bad.problems]
            raise BadMessage(wrong) from bad
    total = sum(targets.values(), Decimal(0))
    if abs(total - 1) > _TARGETS_SLACK:
        raise _wrong_sum(name, total)
    return dict(sorted(targets.items()))


def _wrong_sum(name: str, total: Decimal) -> BadMessage:
    off = abs(total - 1)
    amount = f'"{plain(off)}" ({plain(off.scaleb(2))}%)'
    if total < 1:
        fix = f"Add {amount}: raise a target, or add the currency that is to hold the rest."
    else:
        fix = f"Take {amount} away from one of them."
    return BadMessage(
        [
            errors.problem(
                errors.REQUEST_FIELD_INVALID,
                f"{name}: the targets sum to {plain(total)} ({plain(total.scaleb(2))}%), not to 1 (100%)",
                hint=f"{fix} What is to stay untouched belongs under keep, not here.",
                details={"field": name, "sum": plain(total)},
            )
        ]
    )


# The algorithms of ems.algos.params, as data: core knows none of them. A test keeps the two equal.
ALGOS = (
    "adaptive",
    "classic",
    "market",
    "twap",
    "vwap",
    "pov",
    "is",
    "iceberg",
    "sniper",
    "pegged",
    "chase",
)
ALGO_ALIASES = {"now": "market", "walker": "adaptive"}  # other name -> ours


def read_algo(value: object, name: str) -> str:
    """Read the name of an algorithm into our spelling of it."""
    listed = ", ".join(ALGOS)
    text = _text(value, name, f"Use one of {listed}.")
    algo = ALGO_ALIASES.get(text.lower(), text.lower())
    if algo not in ALGOS:
        near = nearest(text, ALGOS)
        meant = f"Did you mean {near}? " if near else ""
        raise invalid(name, value, "is not an algorithm", f"{meant}Use one of {listed}.")
    return algo


PARAMS_MAX = 40
_PARAM_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}", re.ASCII)
# A curve of a volume for every five minutes of a week is long; nothing else is.
_PARAM_TEXT = re.compile(r"[!-~](?:[ -~]{0,16382}[!-~])?", re.ASCII)
_PARAMS_FIX = 'Send an object of names and values, such as {"slots": 12}.'


def read_params(value: object, name: str) -> dict[str, str]:
    """Read an algorithm's own numbers as text; what each may be, the algorithm knows."""
    if not isinstance(value, dict):
        raise invalid(name, value, "is not an object", _PARAMS_FIX)
    if len(value) > PARAMS_MAX:
        raise invalid(name, value, f"has more than {PARAMS_MAX} entries", _PARAMS_FIX)
    found: dict[str, str] = {}
    for param, setting in value.items():
        if not _PARAM_NAME.fullmatch(param):
            fix = "Names are lower-case letters, digits and _, such as tail_slices."
            raise invalid(name, param, "is not the name of a parameter", fix)
        if setting is not None:
            found[param] = _setting(setting, f"{name}: {param}", name)
    return dict(sorted(found.items()))


def _setting(value: object, said: str, name: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    fix = 'Send a string, a number or true or false, such as "0.35".'
    text = str.__str__(value) if isinstance(value, str) else str(value) if isinstance(value, int) else ""
    finite = text.lower().lstrip("+-") not in ("nan", "snan", "inf", "infinity")
    if not _PARAM_TEXT.fullmatch(text) or not finite:
        bad = invalid(said, value, "is not a setting", fix)
        raise BadMessage([replace(p, details={**p.details, "field": name}) for p in bad.problems])
    if _AMOUNT.fullmatch(text):  # 5, "5" and "5.0" ask the same
        try:
            return plain(read_amount(text, said))
        except BadMessage as bad:
            raise BadMessage(
                [replace(p, details={**p.details, "field": name}) for p in bad.problems]
            ) from bad
    return text


def read_symbol(value: object, name: str) -> str:
    """Read a symbol BASE/QUOTE into upper case."""
    fix = 'Send a symbol as BASE/QUOTE, such as "BTC/USDT".'
    text = _text(value, name, fix)
    if not text.isascii() or not re.fullmatch(f"{_CURRENCY}/{_CURRENCY}(:{_CURRENCY})?", text.upper()):
        raise invalid(name, value, "is not a symbol", fix)
    return text.upper()


def read_exchange(value: object, name: str) -> str:
    """Read an exchange name into our spelling of it; whether it is configured is the desk's question."""
    fix = 'Send the name of an exchange, such as "kraken".'
    text = _text(value, name, fix)
    if not text.isascii() or not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,39}", text.lower()):
        raise invalid(name, value, "is not an exchange name", fix)
    return EXCHANGE_ALIASES.get(text.lower(), text.lower())


EXCHANGES_MAX = 20
_EXCHANGES_FIX = 'Send a name such as "kraken", a list of names such as ["binance", "kraken"], or "all".'


def read_exchanges(value: object, name: str) -> str:
    """Read one exchange, several, or "all" into one text: names sorted, each once, joined by commas."""
    if isinstance(value, list):
        asked: list[object] = list(value)
    else:
        asked = list(re.split(", ?", _text(value, name, _EXCHANGES_FIX)))
    if not asked:
        raise invalid(name, value, "names no exchange", _EXCHANGES_FIX)
    if len(asked) > EXCHANGES_MAX:
        raise invalid(name, value, f"names more than {EXCHANGES_MAX} exchanges", _EXCHANGES_FIX)
    names = sorted({read_exchange(one, name) for one in asked})
    if "all" in names and len(names) > 1:
        raise invalid(name, ",".join(names), 'names exchanges beside "all"', _EXCHANGES_FIX)
    return ",".join(names)


def read_account(value: object, name: str) -> str:
    """Read the name of an account into lower case."""
    fix = 'Send an account name of letters, digits, - and _, such as "default".'
    text = _text(value, name, fix)
    if not text.isascii() or not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,39}", text.lower()):
        raise invalid(name, value, "is not an account name", fix)
    return text.lower()


def read_name(value: object, name: str) -> str:
    """Read a name people gave something: 1 to 64 printable characters, no spaces around."""
    fix = "Send 1 to 64 printable characters without spaces around them."
    text = _text(value, name, fix)
    if not 1 <= len(text) <= 64 or not text.isprintable() or text != text.strip():
        raise invalid(name, value, "is not a name", fix)
    return text


_KEY = re.compile(r"[!-~](?:[ -~]{0,253}[!-~])?", re.ASCII)


def read_key(value: object, name: str) -> str:
    """Read an id or idempotency key: 1 to 255 printable ASCII characters."""
    fix = "Send 1 to 255 printable ASCII characters without spaces around them."
    text = _text(value, name, fix)
    if not _KEY.fullmatch(text):
        raise invalid(name, value, "is not an id", fix)
    return text


def read_flag(value: object, name: str) -> bool:
    """Read true or false, and nothing that only resembles them."""
    if not isinstance(value, bool):
        raise invalid(
            name, value, "is neither true nor false", "Send the JSON value true or false, without quotes."
        )
    return value


_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?(?:Z|[+-][0-9]{2}:[0-9]{2})",
    re.ASCII,
)


def read_time(value: object, name: str) -> datetime:
    """Read an RFC 3339 time with its zone; the result is UTC."""
    fix = 'Send a time in UTC such as "2026-11-21T06:30:00Z" (in a query string a + must be written %2B).'
    text = _text(value, name, fix)
    if not _TIME.fullmatch(text):
        raise invalid(name, value, "is not a time with a zone", fix)
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise invalid(name, value, "is not a time that exists", fix) from error


def choice(
    kind: str,
    options: type[StrEnum] | tuple[str, ...],
    case: Callable[[str], str],
    only: tuple[StrEnum, ...] | None = None,
) -> Kind:
    """Return the kind of a few words; `case` turns what is sent into our spelling."""
    values = [str(option) for option in (options if only is None else only)]
    form = " or ".join(f'"{value}"' for value in values)

    def read(value: object, name: str) -> object:
        text = _text(value, name, f"Send {form}.")
        if case(text) not in values:
            raise invalid(name, value, "is not one of the choices", f"Send {form}.")
        return options(case(text)) if isinstance(options, type) else case(text)

    return Kind(name=kind, read=read, schema={"type": "string", "enum": values}, form=form)


def whole(low: int, high: int) -> Kind:
    """Return the kind of whole numbers from `low` to `high`; digits in a query string are read too."""

    def read(value: object, name: str) -> int:
        fix = f"Send a whole number from {low} to {high}."
        if isinstance(value, str) and not isinstance(value, JsonNumber):
            if not re.fullmatch(r"0|[1-9][0-9]{0,18}", value, re.ASCII):
                raise invalid(name, value, "is not a whole number", fix)
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise invalid(name, value, "is not a whole number", fix)
        if not low <= value <= high:
            raise invalid(name, value, f"is not between {low} and {high}", fix)
        return value

    schema: dict[str, object] = {"type": "integer", "minimum": low, "maximum": high}
    return Kind(name="whole", read=read, schema=schema, form=f"whole number, {low} to {high}")


_AMOUNT_PATTERN = r"^(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,2})?$"
_AMOUNT_SCHEMA: dict[str, object] = {
    "anyOf": [{"type": "string", "pattern": _AMOUNT_PATTERN}, {"type": "integer", "minimum": 0}]
}

AMOUNT = Kind(name="amount", read=read_amount, schema=_AMOUNT_SCHEMA, form="decimal string, zero or more")
POSITIVE = Kind(name="positive", read=read_positive, schema=_AMOUNT_SCHEMA, form="decimal string above zero")
PRICE = Kind(name="price", read=read_price, schema=_AMOUNT_SCHEMA, form="decimal string above zero")
SECONDS = Kind(name="seconds", read=read_seconds, schema=_AMOUNT_SCHEMA, form="seconds, at most a week")
CURRENCY = Kind(
    name="currency", read=read_currency, schema={"type": "string", "maxLength": 24}, form="currency code"
)
BPS = Kind(name="bps", read=read_bps, schema=_AMOUNT_SCHEMA, form="basis points above zero, at most 10000")
EXIT = Kind(
    name="exit",
    read=read_exit,
    schema={
        "type": "object",
        "properties": {"stop_price": {"type": "string"}, "price": {"type": ["string", "null"]}},
        "required": ["stop_price"],
        "additionalProperties": False,
    },
    form='object such as {"stop_price": "2300"}',
)
SPENDING = Kind(
    name="spending",
    read=read_spending,
    schema={
        "anyOf": [
            {
                "type": "string",
                "pattern": r"^((0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,2})?%?|[aA][lL]{2})$",
            },
            {"type": "integer", "minimum": 1},
        ]
    },
    form='decimal string above zero, a percentage such as "35%", or "all"',
)
_FRACTION_SCHEMA: dict[str, object] = {
    "anyOf": [
        {"type": "string", "pattern": r"^(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,2})?%?$"},
        {"type": "integer", "minimum": 0, "maximum": 1},
    ]
}
FRACTION = Kind(name="fraction", read=read_fraction, schema=_FRACTION_SCHEMA, form='"0.25" or "25%"')
CURRENCIES = Kind(
    name="currencies",
    read=read_currencies,
    schema={"type": "array", "items": {"type": "string", "maxLength": 24}, "maxItems": CURRENCIES_MAX},
    form="list of currency codes",
)
TARGETS = Kind(
    name="targets",
    read=read_targets,
    schema={
        "type": "object",
        "additionalProperties": _FRACTION_SCHEMA,
        "minProperties": 1,
        "maxProperties": CURRENCIES_MAX,
    },
    form='object of currency and part of the whole ("0.25" or "25%"); together they are 1',
)
ALGO = Kind(
    name="algo",
    read=read_algo,
    schema={"type": "string", "enum": list(ALGOS)},
    form=f"one of {', '.join(ALGOS)}",
)
PARAMS = Kind(
    name="params",
    read=read_params,
    schema={
        "type": "object",
        "additionalProperties": {"type": ["string", "number", "boolean", "null"]},
        "maxProperties": PARAMS_MAX,
    },
    form="object of names and values",
)
SYMBOL = Kind(name="symbol", read=read_symbol, schema={"type": "string", "maxLength": 74}, form="BASE/QUOTE")
EXCHANGE = Kind(
    name="exchange", read=read_exchange, schema={"type": "string", "maxLength": 40}, form="exchange name"
)
EXCHANGES = Kind(
    name="exchanges",
    read=read_exchanges,
    schema={
        "anyOf": [
            {"type": "string", "maxLength": 41 * EXCHANGES_MAX},
            {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": EXCHANGES_MAX},
        ]
    },
    form='exchange name, list of names, or "all"',
)
ACCOUNT = Kind(
    name="account", read=read_account, schema={"type": "string", "maxLength": 40}, form="account name"
)
NAME = Kind(
    name="name",
    read=read_name,
    schema={"type": "string", "minLength": 1, "maxLength": 64},
    form="1 to 64 printable characters",
)
KEY = Kind(
    name="key",
    read=read_key,
    schema={"type": "string", "minLength": 1, "maxLength": 255},
    form="1 to 255 printable ASCII characters",
)
SOURCE = choice("source", ("ledger", "exchange"), str.lower)
FLAG = Kind(name="flag", read=read_flag, schema={"type": "boolean"}, form="true or false")
TIME = Kind(
    name="time", read=read_time, schema={"type": "string", "format": "date-time"}, form="UTC time, RFC 3339"
)
SIDE = choice("side", Side, str.lower)
ORDER_TYPE = choice("order_type", OrderType, str.lower)
ORDER_TIME_IN_FORCE = choice("order_time_in_force", TimeInForce, str.upper)
TIME_IN_FORCE = choice(
    "time_in_force", TimeInForce, str.upper, only=(TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK)
)
SCOPE = choice("scope", ("bot", "user"), str.lower)
ON_TIMEOUT = choice("on_timeout", ("take", "cancel"), str.lower)
PLANNED = choice("planned", ("smart_order", "liquidate", "rebalance"), str.lower)


# --- Names nearly right ---------------------------------------------------------------------------

# What other systems call our fields. Only hints: nothing but our own names is accepted.
_OTHER_NAMES = {
    "amount": ("quantity", "start_amount"),
    "size": ("quantity",),
    "qty": ("quantity",),
    "volume": ("quantity",),
    "startcurrencyamount": ("start_amount",),
    "pair": ("symbol",),
    "market": ("symbol",),
    "instrument": ("symbol",),
    "venue": ("exchange",),
    "type": ("order_type",),
    "timeout": ("time_limit", "wait_s"),
    "id": ("order_id", "query_id"),
    "botname": ("bot",),
}


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that was probably meant."""
    names = list(known)
    short = name[:40]
    for other in _OTHER_NAMES.get(short.lower().replace("_", ""), ()):
        if other in names:
            return other
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", short).lower()
    found = difflib.get_close_matches(snake, names, n=1, cutoff=0.6)
    return found[0] if found else None
