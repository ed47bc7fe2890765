"""Perpetual contracts: what accounts hold of them."""

from __future__ import annotations

from typing import cast

from flask import Response

from ems.core import errors
from ems.core.codec import ACCOUNT, BOT_FIELD, EXCHANGE, Field
from server.api import examples
from server.api.answers import ok
from server.api.reads import EXCHANGE_ERRORS, READ_ERRORS, asking, from_venue, parameters
from server.api.routes import Call, Noun, house
from server.api.writes import write

contracts = Noun("contracts", __name__)

write(
    contracts,
    "set_leverage",
    example=examples.SET_LEVERAGE,
    more_errors=(errors.LEVERAGE_LIMIT, errors.EXCHANGE_OFFERS_NONE),
)

GET_POSITIONS = Call(
    name="get_positions",
    method="GET",
    path="/api/get_positions",
    role="read",
    summary="What accounts hold in contracts",
    doc="Perpetual contracts by net position, as the exchange tells them, whoever traded them. `accounts` "
    "names every account that has contracts; what could not be read has a `problem` there, and is an error "
    "where it was the only one asked for.",
    noun="contracts",
    fields=(
        Field(
            name="exchange",
            kind=EXCHANGE,
            doc="Only accounts of this exchange.",
            required=False,
            example="okx",
        ),
        Field(name="account", kind=ACCOUNT, doc="Only accounts of this name.", required=False),
        BOT_FIELD,
    ),
    answer="ContractPositions",
    example=examples.POSITIONS,
    errors=(
        *READ_ERRORS,
        *EXCHANGE_ERRORS,
        errors.EXCHANGE_OFFERS_NONE,
        errors.POSITION_MODE_UNSUPPORTED,
        errors.VENUE_REJECTED,
    ),
)


@contracts.call(GET_POSITIONS)
def get_positions() -> Response:
    """Answer with the positions of all accounts that are asked for."""
    values = parameters(GET_POSITIONS)
    exchange, desk = cast("str | None", values["exchange"]), house().desk
    account = cast("str | None", values["account"])
    found = from_venue(lambda: desk.positions(**asking(values), exchange=exchange, account=account), exchange)
    return ok(found, mode=desk.mode(exchange))
