"""JSON and text at the border: read strictly, written in one way only.

JSON is read without Python's leniency: no duplicate keys, no NaN, at most 16 levels, 64 KiB, UTF-8.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum

from ems.core import errors
from ems.core.errors import BadMessage

MAX_BODY_BYTES = 64 * 1024
MAX_DEPTH = 16
MAX_PROBLEMS = 20  # a body of thousands of unknown fields gets a short answer


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


def canonical_json(value: object) -> str:
    """Write JSON in one way only: sorted keys, no spaces, ASCII."""
    return json.dumps(
        jsonable(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )
