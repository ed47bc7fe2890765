"""Bytes to commands and commands to text, strictly: what is not understood is refused, never guessed.

1. Every problem of a body is found and named with its field, value and fix, so that one answer mends it.
2. Fields are flat. What belongs together in a command (`Style`, `Share`) is put together here, and taken
   apart again by `encode_command`, so that `read_given(encode_command(c))` is c.
3. How JSON is read stands in `jsontext`, what a value may be in `fields`, what a call takes in `verbs`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

from ems.core import errors
from ems.core.errors import BadMessage
from ems.core.fields import (
    ACCOUNT,
    ALGO,
    ALGO_ALIASES,
    ALGOS,
    CURRENCY,
    EXCHANGE,
    EXCHANGE_ALIASES,
    KEY,
    MAX_DECIMALS,
    MAX_INTEGER_DIGITS,
    NAME,
    SOURCE,
    SYMBOL,
    TIME,
    Field,
    Kind,
    invalid,
    nearest,
    read_amount,
    read_key,
    read_positive,
    read_price,
    read_seconds,
    read_time,
    whole,
)
from ems.core.jsontext import (
    MAX_BODY_BYTES,
    MAX_DEPTH,
    MAX_PROBLEMS,
    JsonNumber,
    canonical_json,
    decode_json,
    jsonable,
    plain,
    printable,
    shown,
    time_text,
)
from ems.core.messages import ADAPTIVE, Command, ExecuteQuote, Problem, Quote, Share, Style
from ems.core.verbs import (
    ACCOUNT_FIELD,
    BOT_FIELD,
    COMMON,
    PLANNED_VERBS,
    QUOTE_ID_FIELD,
    STYLE_NAMES,
    VERBS,
    Verb,
)

__all__ = [
    "ACCOUNT",
    "ACCOUNT_FIELD",
    "ALGO",
    "ALGOS",
    "ALGO_ALIASES",
    "BOT_FIELD",
    "CLOSED_EXCHANGES",
    "COMMON",
    "CURRENCY",
    "EXCHANGE",
    "EXCHANGE_ALIASES",
    "Field",
    "JsonNumber",
    "KEY",
    "Kind",
    "MAX_BODY_BYTES",
    "MAX_DECIMALS",
    "MAX_DEPTH",
    "MAX_INTEGER_DIGITS",
    "MAX_PROBLEMS",
    "NAME",
    "Options",
    "QUOTE_ID_FIELD",
    "Reading",
    "SOURCE",
    "SYMBOL",
    "TIME",
    "VERBS",
    "Verb",
    "canonical_json",
    "decode_json",
    "digest",
    "encode_command",
    "exchange_problem",
    "invalid",
    "jsonable",
    "nearest",
    "plain",
    "printable",
    "read_amount",
    "read_command",
    "read_fields",
    "read_given",
    "read_key",
    "read_positive",
    "read_price",
    "read_seconds",
    "read_time",
    "shown",
    "time_text",
    "verb_of",
    "whole",
]

# name -> what happened. https://bittrexglobal.com announced the end of trading for 4 December 2023.
CLOSED_EXCHANGES = {"bittrex": "bittrex closed in December 2023"}


# --- Reading -------------------------------------------------------------------------------------


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
    if verb.command is Quote:
        return _read_quote(verb, given)
    if verb.by_quote and given.get(QUOTE_ID_FIELD.name) is not None:
        return _read_execution(verb, given)
    return _read_plainly(verb, [f for f in verb.fields if f is not QUOTE_ID_FIELD], given)


def _read_plainly(verb: Verb, own: Sequence[Field], given: Mapping[str, object]) -> Reading:
    known = (*own, *COMMON)
    # Absent and null are the same; here only quote_id is known and not among the fields.
    given = {name: value for name, value in given.items() if (name, value) != (QUOTE_ID_FIELD.name, None)}
    values, problems = read_fields(known, given)
    broken = {p.details.get("field") for p in problems}
    problems += [p for p in verb.check(values) if p.details.get("field") not in broken]
    if problems:
        return _refused(known, given, values, problems)
    return _accepted(_command(verb, {wanted.name: values[wanted.name] for wanted in own}), values)


def _command(verb: Verb, values: dict[str, object]) -> Command:
    """Make the command of values that keep every rule."""
    given = {name: value for name, value in values.items() if value is not None}
    if "algo" in values:
        named = {name: given.pop(name) for name in STYLE_NAMES if name in given}
        if named:
            params = named.pop("algo_params", {})
            given["style"] = Style(params=params, **named)  # type: ignore[arg-type]  # see below
    # The kinds of the table return the types the command wants.
    command: Command = verb.command(**given)  # type: ignore[arg-type]
    return command


def _read_execution(verb: Verb, given: Mapping[str, object]) -> Reading:
    """Read a call that names a quote: the quote holds everything else."""
    known = (QUOTE_ID_FIELD, *COMMON)
    planning = [f.name for f in verb.fields if f is not QUOTE_ID_FIELD and given.get(f.name) is not None]
    rest = {name: value for name, value in given.items() if name not in {f.name for f in verb.fields[:-1]}}
    values, problems = read_fields(known, rest)
    problems += [
        errors.problem(
            errors.REQUEST_FIELD_INVALID,
            f"{name}: not together with quote_id: the quote has settled it",
            hint=f"Send quote_id without {name}, or leave quote_id out to plan anew.",
            details={"field": name},
        )
        for name in planning
    ]
    if problems:
        return _refused((*verb.fields, *COMMON), given, values, problems)
    return _accepted(ExecuteQuote(verb=verb.name, quote_id=str(values[QUOTE_ID_FIELD.name])), values)


def _read_quote(verb: Verb, given: Mapping[str, object]) -> Reading:
    """Read a quote: the name of a call, and that call's own fields."""
    wanted = verb.fields[0]
    values, problems = read_fields((wanted,), {wanted.name: given.get(wanted.name)})
    if problems:
        return _refused((*verb.fields, *COMMON), given, values, problems)
    planned = VERBS[str(values[wanted.name])]
    rest = {name: value for name, value in given.items() if name != wanted.name}
    own = [f for f in planned.fields if f is not QUOTE_ID_FIELD]
    reading = _read_plainly(planned, own, rest)
    if reading.command is None:
        elsewhere = {f.name for f in verb.fields}
        found = tuple(
            _of_another_call(p) if p.details.get("field") in elsewhere else p for p in reading.problems
        )
        asked = {wanted.name: planned.name, **reading.parameters}
        return replace(reading, parameters=asked, problems=found)
    command = Quote(command=reading.command)  # type: ignore[arg-type]  # PLANNED_VERBS make these only
    return replace(reading, command=command, parameters=encode_command(command))


def _of_another_call(problem: Problem) -> Problem:
    """Name the call that a field is of, where a quote of another one was asked."""
    if problem.code != errors.REQUEST_FIELD_UNKNOWN:
        return problem
    takers = [v.name for v in PLANNED_VERBS if problem.details["field"] in {f.name for f in v.fields}]
    listed = " or ".join(f'"{name}"' for name in takers)
    return replace(problem, hint=f"Remove it, or ask with verb {listed}.")


def _accepted(command: Command, values: Mapping[str, object]) -> Reading:
    exchange = values.get("exchange")
    return Reading(
        command=command,
        options=_options(values),
        exchange=exchange if isinstance(exchange, str) else None,
        parameters=encode_command(command),
    )


def _refused(
    known: Sequence[Field],
    given: Mapping[str, object],
    values: Mapping[str, object],
    problems: Sequence[Problem],
) -> Reading:
    exchange = values.get("exchange")
    return Reading(
        command=None,
        options=_options(values),
        exchange=exchange if isinstance(exchange, str) else None,
        parameters=_as_asked(known, given),
        problems=tuple(problems[:MAX_PROBLEMS]),
    )


def _options(values: Mapping[str, object]) -> Options:
    common = {wanted.name: values.get(wanted.name, wanted.default) for wanted in COMMON}
    return Options(**common)  # type: ignore[arg-type]  # the kinds of COMMON return these types


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


_VERB_OF = {verb.command: verb.name for verb in VERBS.values()}  # command type -> verb


def verb_of(command: Command) -> str:
    """Return the name of the call that makes this command."""
    return command.verb if isinstance(command, ExecuteQuote) else _VERB_OF[type(command)]


def encode_command(command: Command) -> dict[str, object]:
    """Write a command as a flat dictionary of JSON values, absent ones left out; `read_given` reads it."""
    if isinstance(command, Quote):
        return {"verb": verb_of(command.command), **encode_command(command.command)}
    if isinstance(command, ExecuteQuote):
        return {"quote_id": command.quote_id}
    written: dict[str, object] = {}
    for f in fields(command):
        value = getattr(command, f.name)
        if isinstance(value, Style):
            written.update(_flat(value))
        elif isinstance(value, Share):
            written[f.name] = "all" if value.percent == 100 else f"{plain(value.percent)}%"
        elif value is not None and value != ():
            written[f.name] = jsonable(value)
    return written


def _flat(style: Style) -> dict[str, object]:
    flat: dict[str, object] = {"algo": style.algo}
    if style.params:
        flat["algo_params"] = dict(style.params)
    flat |= {"time_limit": plain(style.time_limit), "on_timeout": style.on_timeout}
    if style.max_slippage_bps is not None:
        flat["max_slippage_bps"] = plain(style.max_slippage_bps)
    return flat


# Fields a call gained after its first digests were stored, with the value that means what their absence
# meant: left out of the digest, so that a repeat from before the change is still a repeat. verb -> fields
_NOT_CORRECTED = {"raise_to_minimum": False, "resubmit": False, "allow_duplicate": False}
_GAINED: dict[str, Mapping[str, object]] = {
    "smart_order": {"algo": ADAPTIVE.algo, "on_timeout": ADAPTIVE.on_timeout},
    "market_order": _NOT_CORRECTED,
    "limit_order": _NOT_CORRECTED,
    "order": _NOT_CORRECTED,
}


def digest(command: Command, options: Options) -> str:
    """Return the sha-256 of what was asked; "1.50" and "1.5" ask the same."""
    # The key names the request and is no part of what it asks.
    how = {f.name: jsonable(getattr(options, f.name)) for f in fields(options) if f.name != "idempotency_key"}
    gained = _GAINED.get(verb_of(command), {})
    said = {name: value for name, value in encode_command(command).items() if gained.get(name) != value}
    asked = {"verb": verb_of(command), "command": said, "options": how}
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
