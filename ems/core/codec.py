"""Bytes to commands and commands to text, strictly: what is not understood is refused, never guessed.

1. JSON is read without Python's leniency: no duplicate keys, no NaN, at most 16 levels, 64 KiB, UTF-8.
2. Amounts are decimal strings (or JSON integers). A JSON number with a point has been a float somewhere.
3. Every problem of a body is found and named with its field, value and fix, so that one answer mends it.
4. What a call takes is a table of `Field`s. The same table reads the body and describes it in the docs.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum, StrEnum

from ems.core import errors
from ems.core.errors import BadMessage
from ems.core.messages import (
    CancelAllOrders,
    CancelOrder,
    Command,
    LimitOrder,
    MarketOrder,
    Problem,
    Side,
    SmartOrder,
    TimeInForce,
)

MAX_BODY_BYTES = 64 * 1024
MAX_DEPTH = 16
MAX_INTEGER_DIGITS = 20
MAX_DECIMALS = 18  # the smallest unit of Ether; no exchange quotes finer
MAX_PROBLEMS = 20  # a body of thousands of unknown fields gets a short answer

# other name -> ours. ccxt's names differ from country to country; coinbaseexchange is the former GDAX.
EXCHANGE_ALIASES = {"gdax": "coinbaseexchange"}
# name -> what happened. https://bittrexglobal.com announced the end of trading for 4 December 2023.
CLOSED_EXCHANGES = {"bittrex": "bittrex closed in December 2023"}


# --- JSON ----------------------------------------------------------------------------------------


class JsonNumber(str):
    """A JSON number that is not a plain integer, as it was written; NaN and Infinity included."""


# A string (also an unfinished one, so that the scan never goes back), or a bracket.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)
_COLON = re.compile(r"[ \t\r\n]*:")


def decode_json(body: bytes) -> object:
    """Read one JSON document strictly; what is no plain integer becomes `JsonNumber`. Raises BadMessage."""
    if len(body) > MAX_BODY_BYTES:
        raise BadMessage(
            [
                errors.problem(
                    errors.REQUEST_TOO_LARGE, f"the body has {len(body)} bytes; at most {MAX_BODY_BYTES}"
                )
            ]
        )
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _malformed(
            f"the body is not UTF-8 at byte {error.start}", "Encode the body as UTF-8."
        ) from error
    _refuse_deep(text)
    repeated: list[str] = []

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found: dict[str, object] = {}
        for name, value in pairs:
            if name in found:
                repeated.append(name)
            found[name] = value
        return found

    try:
        value: object = json.loads(
            text,
            object_pairs_hook=unique,
            parse_int=_integer,
            parse_float=JsonNumber,
            parse_constant=JsonNumber,
        )
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise _malformed(f"the body is not JSON: {error.msg} at {where}") from error
    if repeated:
        raise BadMessage(
            [
                errors.problem(
                    errors.REQUEST_MALFORMED,
                    f"the field {shown(name)} appears more than once",
                    hint=f"Send {shown(name)} once.",
                    details={"field": printable(name)},
                )
                for name in sorted(set(repeated))[:MAX_PROBLEMS]
            ]
        )
    return value


def _integer(text: str) -> int | JsonNumber:
    # Python refuses to convert more than 4300 digits; no amount needs more than forty.
    return int(text) if len(text) <= 40 else JsonNumber(text)


def _refuse_deep(text: str) -> None:
    """Count brackets before parsing: the parser itself recurses, and would fall over a deep document."""
    depth = 0
    name = ""
    for token in _TOKEN.finditer(text):
        kind = token[0][0]
        if kind in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                named = f" in the field {shown(name)}" if name else ""
                raise BadMessage(
                    [
                        errors.problem(
                            errors.REQUEST_MALFORMED,
                            f"the body is nested deeper than {MAX_DEPTH} levels{named}",
                            hint="Send a flat object of fields; see /api/docs.",
                            details={"field": printable(name)},
                        )
                    ]
                )
        elif kind in "]}":
            depth -= 1
        elif depth == 1 and _COLON.match(text, token.end()):
            name = token[0][1:-1]


def _malformed(message: str, hint: str | None = None) -> BadMessage:
    return BadMessage([errors.problem(errors.REQUEST_MALFORMED, message, hint=hint)])


# --- Text ----------------------------------------------------------------------------------------


def plain(number: Decimal) -> str:
    """Write a decimal exactly, without exponent or trailing zeros, whatever the context's precision."""
    assert number.is_finite(), "only finite amounts are written"
    text = format(number, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def time_text(at: datetime) -> str:
    """Write an aware time as UTC, RFC 3339 with microseconds and Z."""
    assert at.tzinfo is not None, "times are aware"
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def printable(text: str, length: int = 200) -> str:
    """Return text that is safe in a log, letter and database: no control characters, no lone surrogates."""
    kept = text if len(text) <= length else text[:length] + "..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in kept)


def shown(value: object) -> str:
    """Write a caller's value for an error message: as JSON, short, ASCII."""
    if isinstance(value, JsonNumber):
        text = str.__str__(value)
    elif isinstance(value, str):
        text = json.dumps(value)
    elif isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    else:
        text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


_JSON_ALREADY = frozenset({str, bool, int})  # and not their subclasses


def jsonable(value: object) -> object:
    """Turn records into JSON values: decimals and times to strings, keys to text. A float is our mistake."""
    if value is None or type(value) in _JSON_ALREADY:
        return value
    assert not isinstance(value, float), "floats never reach JSON"
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, datetime):
        return time_text(value)
    if isinstance(value, timedelta):
        return plain(Decimal(value // timedelta(microseconds=1)) / 1_000_000)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: jsonable(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, set | frozenset):
        return sorted((jsonable(item) for item in value), key=str)
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    return value


# --- Kinds of fields -----------------------------------------------------------------------------


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


MAX_SECONDS = Decimal(7 * 24 * 3600)


def read_seconds(value: object, name: str) -> Decimal:
    """Read a duration in seconds above zero, at most a week."""
    seconds = read_positive(value, name)
    if seconds > MAX_SECONDS:
        raise invalid(name, value, "is longer than a week", f"Use at most {plain(MAX_SECONDS)} seconds.")
    return seconds


_CURRENCY = r"[A-Z0-9][A-Z0-9._-]{0,23}"


def read_currency(value: object, name: str) -> str:
    """Read a currency code into upper case."""
    fix = 'Send a currency code such as "BTC".'
    text = _text(value, name, fix)
    if not text.isascii() or not re.fullmatch(_CURRENCY, text.upper()):
        raise invalid(name, value, "is not a currency code", fix)
    return text.upper()


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


def _choice(kind: str, options: type[StrEnum] | tuple[str, ...], case: Callable[[str], str]) -> Kind:
    values = [str(option) for option in options]
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
SYMBOL = Kind(name="symbol", read=read_symbol, schema={"type": "string", "maxLength": 74}, form="BASE/QUOTE")
EXCHANGE = Kind(
    name="exchange", read=read_exchange, schema={"type": "string", "maxLength": 40}, form="exchange name"
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
FLAG = Kind(name="flag", read=read_flag, schema={"type": "boolean"}, form="true or false")
TIME = Kind(
    name="time", read=read_time, schema={"type": "string", "format": "date-time"}, form="UTC time, RFC 3339"
)
SIDE = _choice("side", Side, str.lower)
TIME_IN_FORCE = _choice("time_in_force", TimeInForce, str.upper)
SCOPE = _choice("scope", ("bot", "user"), str.lower)


# --- What each call takes ------------------------------------------------------------------------

EXCHANGE_FIELD = Field(
    name="exchange", kind=EXCHANGE, doc="The exchange to trade at; upper or lower case.", example="kraken"
)
ACCOUNT_FIELD = Field(
    name="account",
    kind=ACCOUNT,
    doc="Which of the server's accounts at the exchange.",
    required=False,
    default="default",
    example="default",
)
BOT_FIELD = Field(
    name="bot",
    kind=NAME,
    doc="The name of the bot that asks; it is recorded with the query.",
    required=False,
    default="default",
    example="bot-1",
)
SIDE_FIELD = Field(name="side", kind=SIDE, doc="Whether to buy or to sell the base currency.", example="buy")
SYMBOL_FIELD = Field(name="symbol", kind=SYMBOL, doc="The market.", example="ETH/USDT")
QUANTITY_FIELD = Field(
    name="quantity", kind=POSITIVE, doc="How much to buy or sell.", example="0.25", unit="base currency"
)

COMMON = (
    BOT_FIELD,
    Field(
        name="record_in_db",
        kind=FLAG,
        doc="Keep the finished query in the archive. Orders and fills are always kept.",
        required=False,
        default=True,
        example=True,
    ),
    Field(
        name="send_fail_email",
        kind=FLAG,
        doc="Send an e-mail when the query fails.",
        required=False,
        default=True,
        example=True,
    ),
    Field(
        name="dry_run",
        kind=FLAG,
        doc="Check and answer in the same shape, and change nothing.",
        required=False,
        default=False,
        example=False,
    ),
    Field(
        name="idempotency_key",
        kind=KEY,
        doc="The Idempotency-Key header once more, where the signature covers it; they must be equal.",
        required=False,
        default=None,
        example="01a1fd0e-4fa6-7205-89fa-b5e33071cd17",
    ),
)


def _no_check(values: Mapping[str, object]) -> list[Problem]:
    return []


@dataclass(frozen=True, kw_only=True, slots=True)
class Verb:
    """One command: what it takes and what it becomes."""

    name: str
    summary: str
    doc: str
    command: type[Command]
    fields: tuple[Field, ...]
    check: Callable[[Mapping[str, object]], list[Problem]] = _no_check  # rules between fields


def _one_name(values: Mapping[str, object]) -> list[Problem]:
    given = [name for name in ("order_id", "client_order_id") if values.get(name) is not None]
    if len(given) == 1:
        return []
    said = "both order_id and client_order_id are given" if given else "order_id is missing"
    return [
        errors.problem(
            errors.REQUEST_FIELD_INVALID if given else errors.REQUEST_FIELD_MISSING,
            f"{said}: name the order by exactly one of the two",
            hint="Send order_id (ours), or client_order_id (the idempotency key the order was asked with).",
            details={"field": "order_id"},
        )
    ]


def _two_currencies(values: Mapping[str, object]) -> list[Problem]:
    start, end = values.get("start_currency"), values.get("end_currency")
    if start is None or start != end:
        return []
    return [
        errors.problem(
            errors.REQUEST_FIELD_INVALID,
            f"end_currency: {shown(end)} is also the start_currency",
            hint="Name two different currencies.",
            details={"field": "end_currency", "value": shown(end)},
        )
    ]


VERBS: dict[str, Verb] = {  # name -> verb
    verb.name: verb
    for verb in (
        Verb(
            name="market_order",
            summary="Buy or sell at once, at the market's price",
            doc="Send one market order. Accepted is not executed: follow the query with get_query.",
            command=MarketOrder,
            fields=(EXCHANGE_FIELD, SIDE_FIELD, SYMBOL_FIELD, QUANTITY_FIELD, ACCOUNT_FIELD),
        ),
        Verb(
            name="limit_order",
            summary="Buy or sell at a price or better",
            doc="Send one limit order. Its query is done once the exchange has it; get_order goes on.",
            command=LimitOrder,
            fields=(
                EXCHANGE_FIELD,
                SIDE_FIELD,
                SYMBOL_FIELD,
                QUANTITY_FIELD,
                Field(
                    name="price",
                    kind=PRICE,
                    doc="The worst price to accept.",
                    example="2450.10",
                    unit="quote currency per base currency",
                ),
                Field(
                    name="time_in_force",
                    kind=TIME_IN_FORCE,
                    doc="GTC lives until canceled; IOC fills what it can now; FOK fills all now or nothing.",
                    required=False,
                    default=TimeInForce.GTC,
                    example="GTC",
                ),
                Field(
                    name="post_only",
                    kind=FLAG,
                    doc="Refuse to trade at once; only wait in the book.",
                    required=False,
                    default=False,
                    example=False,
                ),
                ACCOUNT_FIELD,
            ),
        ),
        Verb(
            name="smart_order",
            summary="Convert one currency into another",
            doc="Convert an amount over the shortest chain of markets, worked in steps to keep the cost low.",
            command=SmartOrder,
            fields=(
                EXCHANGE_FIELD,
                Field(name="start_currency", kind=CURRENCY, doc="The currency to spend.", example="USDT"),
                Field(name="end_currency", kind=CURRENCY, doc="The currency to receive.", example="ETH"),
                Field(
                    name="start_amount",
                    kind=POSITIVE,
                    doc="How much to spend.",
                    example="1000",
                    unit="start_currency",
                ),
                Field(
                    name="time_limit",
                    kind=SECONDS,
                    doc="How long to work each market of the chain before taking what the book offers.",
                    required=False,
                    default=Decimal(60),
                    example="60",
                    unit="seconds",
                ),
                ACCOUNT_FIELD,
            ),
            check=_two_currencies,
        ),
        Verb(
            name="cancel_order",
            summary="Cancel one order",
            doc="Ask the exchange to cancel one open order. What filled before stays filled.",
            command=CancelOrder,
            fields=(
                Field(
                    name="order_id",
                    kind=KEY,
                    doc="Our id of the order.",
                    required=False,
                    example="ord-00000001",
                ),
                Field(
                    name="client_order_id",
                    kind=KEY,
                    doc="Instead of order_id: the idempotency key the order was asked with.",
                    required=False,
                ),
            ),
            check=_one_name,
        ),
        Verb(
            name="cancel_all_orders",
            summary="Cancel every open order of this bot",
            doc="Cancel the open orders of the asking bot, or of the whole user, and name what was left.",
            command=CancelAllOrders,
            fields=(
                Field(
                    name="exchange",
                    kind=EXCHANGE,
                    doc="Only orders at this exchange.",
                    required=False,
                    example="kraken",
                ),
                Field(
                    name="symbol",
                    kind=SYMBOL,
                    doc="Only orders in this market.",
                    required=False,
                    example="ETH/USDT",
                ),
                Field(
                    name="scope",
                    kind=SCOPE,
                    doc='"bot": orders of the asking bot; "user": all orders of the user who signed.',
                    required=False,
                    default="bot",
                    example="bot",
                ),
            ),
        ),
    )
}

VERB_OF: dict[type[Command], str] = {
    verb.command: verb.name for verb in VERBS.values()
}  # command type -> verb


# --- Reading -------------------------------------------------------------------------------------

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


def read_fields(
    known: Sequence[Field], given: Mapping[str, object]
) -> tuple[dict[str, object], list[Problem]]:
    """Read every known field and find every problem. A field sent as null counts as absent."""
    values: dict[str, object] = {}
    problems: list[Problem] = []
    for wanted in known:
        value = given.get(wanted.name)
        if value is None:
            if wanted.required:
                problems.append(_missing(wanted))
            else:
                values[wanted.name] = wanted.default
            continue
        try:
            values[wanted.name] = wanted.kind.read(value, wanted.name)
        except BadMessage as bad:
            problems.extend(bad.problems)
    names = [wanted.name for wanted in known]
    unknown = [name for name in given if name not in names]
    problems.extend(_unknown(name, names) for name in unknown[:MAX_PROBLEMS])
    return values, problems


def _missing(wanted: Field) -> Problem:
    example = f", such as {json.dumps(wanted.example)}" if wanted.example is not None else ""
    unit = f" in {wanted.unit}" if wanted.unit else ""
    return errors.problem(
        errors.REQUEST_FIELD_MISSING,
        f"{wanted.name} is missing",
        hint=f"Add {wanted.name}: {wanted.kind.form}{unit}{example}.",
        details={"field": wanted.name},
    )


def _unknown(name: str, known: Sequence[str]) -> Problem:
    # The value is not repeated: people paste keys into the wrong place.
    if name.lower() in ("user", "user_id", "username"):
        hint = "Remove it: the user is the owner of the key that signed."
    elif (near := nearest(name, known)) is not None:
        hint = f"Did you mean {near}?"
    else:
        hint = f"Remove it; the fields here are {', '.join(known)}."
    return errors.problem(
        errors.REQUEST_FIELD_UNKNOWN,
        f"{shown(name)} is not a field of this call",
        hint=hint,
        details={"field": printable(name, 60)},
    )


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """How the asking itself is to be treated; the fields of COMMON."""

    bot: str = "default"
    record_in_db: bool = True
    send_fail_email: bool = True
    dry_run: bool = False
    idempotency_key: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What a body turned out to be. With problems there is no command, but still something to record."""

    command: Command | None
    options: Options = Options()
    exchange: str | None = None
    parameters: dict[str, object] = field(default_factory=dict)  # safe to record and to mail
    problems: tuple[Problem, ...] = ()


def read_command(verb: Verb, body: bytes) -> Reading:
    """Read the body of a write. Never raises: problems are part of the answer."""
    try:
        given = decode_json(body)
    except BadMessage as bad:
        return Reading(command=None, problems=bad.problems)
    if not isinstance(given, dict):
        what = "a list" if isinstance(given, list) else shown(given)
        wrong = errors.problem(errors.REQUEST_MALFORMED, f"the body is {what}, not a JSON object")
        return Reading(command=None, problems=(wrong,))
    return read_given(verb, given)


def read_given(verb: Verb, given: Mapping[str, object]) -> Reading:
    """Read the fields of a write into its command."""
    known = (*verb.fields, *COMMON)
    values, problems = read_fields(known, given)
    broken = {p.details.get("field") for p in problems}
    problems += [p for p in verb.check(values) if p.details.get("field") not in broken]
    common = {wanted.name: values.get(wanted.name, wanted.default) for wanted in COMMON}
    own = {wanted.name: values[wanted.name] for wanted in verb.fields if wanted.name in values}
    exchange = own.get("exchange")
    options = Options(**common)  # type: ignore[arg-type]  # the kinds of COMMON return these types
    if problems:
        return Reading(
            command=None,
            options=options,
            exchange=exchange if isinstance(exchange, str) else None,
            parameters=_as_asked(known, given),
            problems=tuple(problems[:MAX_PROBLEMS]),
        )
    # The kinds of the table return the types the command wants.
    command: Command = verb.command(**own)  # type: ignore[arg-type]
    return Reading(
        command=command,
        options=options,
        exchange=exchange if isinstance(exchange, str) else None,
        parameters=encode_command(command),
    )


def _as_asked(known: Sequence[Field], given: Mapping[str, object]) -> dict[str, object]:
    """Return what a refused body said, fit to be recorded: short, printable, unknown values left out."""
    names = {wanted.name for wanted in known} - {wanted.name for wanted in COMMON}
    asked: dict[str, object] = {}
    for name, value in list(given.items())[: 2 * MAX_PROBLEMS]:
        if name in names:
            if isinstance(value, bool) or value is None:
                asked[name] = value
            elif isinstance(value, str) and not isinstance(value, JsonNumber):
                asked[name] = printable(value)
            else:
                asked[name] = shown(value)
        elif name not in (wanted.name for wanted in COMMON):
            asked[printable(name, 60)] = "(unknown field)"
    return asked


# --- Writing -------------------------------------------------------------------------------------


def verb_of(command: Command) -> str:
    """Return the name of the call that makes this command."""
    return VERB_OF[type(command)]


def encode_command(command: Command) -> dict[str, object]:
    """Write a command as a flat dictionary of JSON values, absent ones left out; `read_given` reads it."""
    return {
        f.name: jsonable(value) for f in fields(command) if (value := getattr(command, f.name)) is not None
    }


def canonical_json(value: object) -> str:
    """Write JSON in one way only: sorted keys, no spaces, ASCII."""
    return json.dumps(
        jsonable(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )


def digest(command: Command, options: Options) -> str:
    """Return the sha-256 of what was asked; "1.50" and "1.5" ask the same."""
    # The key names the request and is no part of what it asks.
    how = {f.name: jsonable(getattr(options, f.name)) for f in fields(options) if f.name != "idempotency_key"}
    asked = {"verb": verb_of(command), "command": encode_command(command), "options": how}
    return hashlib.sha256(canonical_json(asked).encode("ascii")).hexdigest()


def exchange_problem(exchange: str, configured: Iterable[str]) -> Problem | None:
    """Say why an exchange cannot be used; None when it is configured (a closed one may exist on paper)."""
    names = sorted(set(configured))
    if exchange in names:
        return None
    listed = ", ".join(names) or "none"
    details: dict[str, object] = {"field": "exchange", "value": exchange, "configured": list(names)}
    if exchange in CLOSED_EXCHANGES:
        return errors.problem(
            errors.EXCHANGE_CLOSED,
            f"exchange: {CLOSED_EXCHANGES[exchange]}",
            hint=f"Use another exchange; configured here: {listed}.",
            details=details,
        )
    near = nearest(exchange, names)
    meant = f"Did you mean {near}? " if near else ""
    return errors.problem(
        errors.EXCHANGE_UNKNOWN,
        f"exchange: {shown(exchange)} is not configured on this server; configured: {listed}",
        hint=f"{meant}Use one of {listed}, or ask the operator for keys of {exchange}.",
        details=details,
    )
