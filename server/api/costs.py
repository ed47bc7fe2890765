"""Transaction cost analysis: what the user's trading has cost, as figures and as a picture."""

from __future__ import annotations

from datetime import datetime
from typing import TypedDict, cast

from flask import Response

from ems.core import errors
from ems.core.codec import ALGO, BOT_FIELD, EXCHANGE, Field
from server.api import examples
from server.api.answers import ok
from server.api.lanes import place_in
from server.api.reads import LIMIT, READ_ERRORS, SINCE, UNTIL, asking, from_desk, parameters
from server.api.routes import Call, Noun, house

costs = Noun("costs", __name__)

FILTERS = (
    SINCE,
    UNTIL,
    Field(
        name="exchange",
        kind=EXCHANGE,
        doc="Only what traded at this exchange.",
        required=False,
        example="kraken",
    ),
    Field(name="algo", kind=ALGO, doc="Only what this algorithm worked.", required=False, example="adaptive"),
    LIMIT,
    BOT_FIELD,
)


class Wanted(TypedDict):
    """Which costs: of whom, and the filters as the desk takes them."""

    user: str
    bot: str
    since: datetime | None
    until: datetime | None
    exchange: str | None
    algo: str | None
    limit: int


TCA = Call(
    name="tca",
    method="GET",
    path="/api/tca",
    role="read",
    summary="What trading has cost",
    doc="Every finished order that was worked, newest first up to the limit, with its cost against the "
    "middle price at the decision: delay, timing, spread, depth, fees and opportunity add up to the "
    "total, in basis points (above zero is a cost). The same by exchange, algorithm, pair, size and spread.",
    noun="costs",
    fields=FILTERS,
    answer="Costs",
    example=examples.COSTS,
    errors=(*READ_ERRORS, errors.STORE_UNAVAILABLE),
)


@costs.call(TCA)
def tca() -> Response:
    """Answer with the desk's report over the filtered costs."""
    wanted = _wanted(parameters(TCA))
    return ok(from_desk(lambda: house().desk.costs(**wanted)))


TCA_PLOT = Call(
    name="tca_plot",
    method="GET",
    path="/api/tca.png",
    role="read",
    summary="What trading has cost, as a picture",
    doc="The report of /api/tca drawn: parts of the cost, their spread, what was saved, markouts.",
    noun="costs",
    fields=FILTERS,
    media="image/png",
    errors=(*READ_ERRORS, errors.STORE_UNAVAILABLE),
)


@costs.call(TCA_PLOT)
def tca_plot() -> Response:
    """Answer with the picture of the report."""
    wanted = _wanted(parameters(TCA_PLOT))

    def draw() -> bytes:
        with place_in(house().lanes.pictures):
            return house().desk.cost_plot(**wanted)

    return Response(from_desk(draw), mimetype="image/png")


def _wanted(values: dict[str, object]) -> Wanted:
    who = asking(values)
    return Wanted(
        user=who["user"],
        bot=who["bot"],
        since=cast("datetime | None", values["since"]),
        until=cast("datetime | None", values["until"]),
        exchange=cast("str | None", values["exchange"]),
        algo=cast("str | None", values["algo"]),
        limit=cast(int, values["limit"]),
    )
