"""Bots' slices: parts of accounts that are one bot's own."""

from __future__ import annotations

from flask import Response, g

from ems.core.verbs import BOT_FIELD
from server.api import examples
from server.api.answers import ok
from server.api.reads import READ_ERRORS, asking, from_desk, parameters
from server.api.routes import Call, Noun, house
from server.api.writes import write

slices = Noun("slices", __name__)

write(slices, "set_slice", example=examples.SET_SLICE, role="admin")

GET_SLICES = Call(
    name="get_slices",
    method="GET",
    path="/api/get_slices",
    role="read",
    summary="Which bots have a part of an account for their own",
    doc="Your bots' slices, everybody's to an admin; and for each account with slices what they come to, "
    "what is left, and what is `missing` at the exchange.",
    noun="slices",
    fields=(BOT_FIELD,),
    answer="Object",
    example=examples.SLICES,
    errors=READ_ERRORS,
)


@slices.call(GET_SLICES)
def get_slices() -> Response:
    """Answer with slices, and how each account comes out."""
    values = parameters(GET_SLICES)
    everyone = bool(g.identity.may("admin"))
    return ok(from_desk(lambda: house().desk.slices(**asking(values), everyone=everyone)))
