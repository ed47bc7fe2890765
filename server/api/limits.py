"""The risk controls: what limits orders, who set it, and what is used of it."""

from __future__ import annotations

from flask import Response, g

from ems.core import errors
from ems.core.codec import BOT_FIELD
from server.api import examples
from server.api.answers import ok
from server.api.reads import LIMIT, READ_ERRORS, asking, from_desk, parameters
from server.api.routes import Call, Noun, house
from server.api.writes import write

limits = Noun("limits", __name__)

write(limits, "set_limit", example=examples.SET_LIMIT, more_errors=(errors.AUTH_FORBIDDEN,))

GET_LIMITS = Call(
    name="get_limits",
    method="GET",
    path="/api/get_limits",
    role="read",
    summary="The risk controls, the limits in force, and who changed what",
    doc="Limits of everybody and your own; an admin sees all. Changes newest first.",
    noun="limits",
    fields=(LIMIT, BOT_FIELD),
    answer="Object",
    example=examples.LIMITS,
    errors=READ_ERRORS,
)


@limits.call(GET_LIMITS)
def get_limits() -> Response:
    """Answer with what is set, and by whom."""
    values = parameters(GET_LIMITS)
    count = int(str(values[LIMIT.name]))
    return ok(from_desk(lambda: house().desk.limits(**asking(values), everybody=_all(), limit=count)))


GET_RISK = Call(
    name="get_risk",
    method="GET",
    path="/api/get_risk",
    role="read",
    summary="What of each counted limit is used, and what is left",
    doc="Counts of yours and of everybody together; an admin sees those of others, too. "
    "`cancels` counts those asked for within 60 s; nothing throttles them.",
    noun="limits",
    fields=(BOT_FIELD,),
    answer="Object",
    example=examples.RISK,
    errors=READ_ERRORS,
)


@limits.call(GET_RISK)
def get_risk() -> Response:
    """Answer with what is counted just now."""
    values = parameters(GET_RISK)
    return ok(from_desk(lambda: house().desk.risk(**asking(values), everybody=_all())))


def _all() -> bool:
    return bool(g.identity.role == "admin")
