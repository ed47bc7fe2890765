"""The kill switch: halt, resume, and what stands still."""

from __future__ import annotations

from flask import Response

from ems.core import errors
from ems.core.codec import BOT_FIELD
from ems.core.messages import Command, HaltTrading
from server.api import examples
from server.api.answers import ok
from server.api.reads import LIMIT, READ_ERRORS, asking, from_desk, parameters
from server.api.routes import Call, Noun, house
from server.api.writes import write
from server.auth import Identity

halts = Noun("halts", __name__)


def _may_empty(identity: Identity, command: Command) -> None:
    """Leave orders that are not ours to those who may do everything here."""
    if isinstance(command, HaltTrading) and command.everything:
        identity.require("admin")


write(
    halts,
    "halt",
    example=examples.HALT,
    more_errors=(errors.SYMBOL_UNKNOWN, errors.AUTH_FORBIDDEN),
    permit=_may_empty,
)
write(halts, "resume", example=examples.RESUME, role="admin", more_errors=(errors.HALT_NOT_FOUND,))

GET_HALTS = Call(
    name="get_halts",
    method="GET",
    path="/api/get_halts",
    role="read",
    summary="What stands still, since when, by whose word, and what is proven flat",
    doc="Halts in force first, then those that were lifted, newest first; of every user.",
    noun="halts",
    fields=(LIMIT, BOT_FIELD),
    answer="Object",
    example=examples.HALTS,
    errors=READ_ERRORS,
)


@halts.call(GET_HALTS)
def get_halts() -> Response:
    """Answer with every halt; they concern everybody."""
    values = parameters(GET_HALTS)
    limit = int(str(values[LIMIT.name]))
    return ok(from_desk(lambda: house().desk.halts(**asking(values), limit=limit)))
