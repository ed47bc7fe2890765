"""How a read takes its parameters: strictly, each once, none unknown."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from flask import g, request

from ems.core import errors
from ems.core.codec import (
    BOT_FIELD,
    TIME,
    Field,
    printable,
    read_fields,
    shown,
    whole,
)
from ems.core.errors import combined, problem
from ems.core.messages import Problem
from ems.desk import DeskRefused
from server.api.answers import Refused
from server.api.lanes import Lane, place_in
from server.api.routes import Call, house
from server.auth import Identity

T = TypeVar("T")

SINCE = Field(
    name="since",
    kind=TIME,
    doc="Only what was created at or after this time.",
    required=False,
    example="2026-11-21T00:00:00Z",
)
UNTIL = Field(
    name="until",
    kind=TIME,
    doc="Only what was created before this time.",
    required=False,
    example="2026-11-22T00:00:00Z",
)
LIMIT = Field(
    name="limit", kind=whole(1, 1000), doc="At most this many.", required=False, default=100, example=100
)

READ_ERRORS = (
    errors.REQUEST_FIELD_MISSING,
    errors.REQUEST_FIELD_INVALID,
    errors.REQUEST_FIELD_UNKNOWN,
    errors.ENGINE_BUSY,
    errors.ENGINE_STOPPED,
)
EXCHANGE_ERRORS = (
    errors.EXCHANGE_UNKNOWN,
    errors.EXCHANGE_CLOSED,
    errors.EXCHANGE_UNAVAILABLE,
    errors.VENUE_UNAVAILABLE,
)


def parameters(call: Call) -> dict[str, object]:
    """Read the query string of a read. Raises Refused with every problem."""
    problems: list[Problem] = []
    given: dict[str, object] = {}
    for name, sent in request.args.lists():
        given[name] = sent[0]
        if len(sent) > 1:
            problems.append(
                problem(
                    errors.REQUEST_FIELD_INVALID,
                    f"{shown(name)} is given {len(sent)} times",
                    hint="Give every parameter once.",
                    details={"field": printable(name, 60)},
                )
            )
    if request.get_data():
        problems.append(
            problem(errors.REQUEST_MALFORMED, "a read takes no body", hint="Use the query string.")
        )
    values, found = read_fields(call.fields, given)
    problems += found
    if problems:
        raise Refused(combined(problems))
    return values


def asking(values: dict[str, object]) -> dict[str, str]:
    """Return who asks, as the desk wants it: the user of the signature, the bot as it names itself."""
    identity: Identity = g.identity
    return {"user": identity.user, "bot": str(values[BOT_FIELD.name])}


def from_desk(ask: Callable[[], T]) -> T:
    """Ask the desk and pass its refusal on."""
    try:
        return ask()
    except DeskRefused as no:
        raise Refused(no.problem) from no


def from_venue(ask: Callable[[], T], exchange: str | None = None) -> T:
    """Ask the desk for what it asks an exchange for, which may take long."""
    return _in_lane(house().lanes.venue_reads, ask, exchange)


def from_list(ask: Callable[[], T], exchange: str) -> T:
    """Ask the desk for a list of an exchange's past, which takes long where much was never read."""
    return _in_lane(house().lanes.list_reads, ask, exchange)


def _in_lane(lane: Lane, ask: Callable[[], T], exchange: str | None) -> T:
    try:
        with place_in(lane):
            return ask()
    except DeskRefused as no:
        raise Refused(no.problem, exchange=exchange) from no
