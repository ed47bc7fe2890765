"""Queries: what was asked and what became of it."""

from __future__ import annotations

from typing import cast

from flask import Response, g

from ems.core import errors
from ems.core.codec import KEY, Field, shown, whole
from ems.core.errors import problem
from server.api import examples
from server.api.answers import Refused, ok
from server.api.lanes import place_if_free
from server.api.reads import READ_ERRORS, from_desk, parameters
from server.api.routes import Call, Noun, house
from server.api.views import query_view

queries = Noun("queries", __name__)

MAX_WAIT_S = 25  # below the 30 s after which many proxies give up

GET_QUERY = Call(
    name="get_query",
    method="GET",
    path="/api/get_query",
    role="read",
    summary="A query with its orders, now or as soon as it changes",
    doc="With wait_s the answer waits until seq is greater than after_seq. When many wait, it comes at once.",
    noun="queries",
    fields=(
        Field(name="query_id", kind=KEY, doc="The id that the write answered with.", example="q-5f0c2a71"),
        Field(
            name="wait_s",
            kind=whole(0, MAX_WAIT_S),
            doc="Wait at most this long for a change.",
            required=False,
            default=0,
            example=25,
            unit="seconds",
        ),
        Field(
            name="after_seq",
            kind=whole(0, 2**63 - 1),
            doc="The seq of the answer already seen.",
            required=False,
            default=0,
            example=1,
        ),
    ),
    answer="Query",
    example=examples.FINISHED,
    errors=(*READ_ERRORS, errors.QUERY_NOT_FOUND, errors.STORE_UNAVAILABLE),
)


@queries.call(GET_QUERY)
def get_query() -> Response:
    """Answer with one query of the user; another user's query does not exist."""
    values = parameters(GET_QUERY)
    query_id = str(values["query_id"])
    wait_s, after_seq = cast(int, values["wait_s"]), cast(int, values["after_seq"])
    desk, user = house().desk, g.identity.user
    with place_if_free(house().lanes.long_polls) as may_wait:
        timeout_s = float(wait_s) if may_wait else 0.0
        state = from_desk(lambda: desk.wait(user, query_id, after_seq, timeout_s))
    if state is None:
        raise Refused(
            problem(
                errors.QUERY_NOT_FOUND, f"there is no query {shown(query_id)}", details={"query_id": query_id}
            )
        )
    return ok(query_view(state), mode=state.query.mode)
