"""Perpetual contracts: what accounts hold of them."""

from __future__ import annotations

from datetime import datetime
from typing import cast

from flask import Response

from ems.core import errors
from ems.core.codec import ACCOUNT, ACCOUNT_FIELD, BOT_FIELD, EXCHANGE, SYMBOL, Field
from ems.core.verbs import EXCHANGE_FIELD
from server.api import examples
from server.api.answers import ok
from server.api.reads import EXCHANGE_ERRORS, READ_ERRORS, SINCE, UNTIL, asking, from_venue, parameters
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


GET_FUNDING = Call(
    name="get_funding",
    method="GET",
    path="/api/get_funding",
    role="read",
    summary="What positions in contracts received and paid as funding",
    doc="Of one account, as the exchange tells it: of the last seven days unless `since` says otherwise, and "
    "of at most 89 days. Newest first; `totals` is by currency, below zero where more was paid.",
    noun="contracts",
    fields=(
        EXCHANGE_FIELD,
        ACCOUNT_FIELD,
        Field(name="symbol", kind=SYMBOL, doc="Only this contract.", required=False, example="BTC/USDT:USDT"),
        SINCE,
        UNTIL,
        BOT_FIELD,
    ),
    answer="Funding",
    example=examples.FUNDING,
    errors=(*READ_ERRORS, *EXCHANGE_ERRORS, errors.EXCHANGE_OFFERS_NONE, errors.VENUE_REJECTED),
)


@contracts.call(GET_FUNDING)
def get_funding() -> Response:
    """Answer with one account's funding."""
    values = parameters(GET_FUNDING)
    exchange, desk = str(values["exchange"]), house().desk
    found = from_venue(
        lambda: desk.funding(
            **asking(values),
            exchange=exchange,
            account=str(values["account"]),
            symbol=cast("str | None", values["symbol"]),
            since=cast("datetime | None", values["since"]),
            until=cast("datetime | None", values["until"]),
        ),
        exchange,
    )
    return ok(found, mode=desk.mode(exchange))


@contracts.call(GET_POSITIONS)
def get_positions() -> Response:
    """Answer with the positions of all accounts that are asked for."""
    values = parameters(GET_POSITIONS)
    exchange, desk = cast("str | None", values["exchange"]), house().desk
    account = cast("str | None", values["account"])
    found = from_venue(lambda: desk.positions(**asking(values), exchange=exchange, account=account), exchange)
    return ok(found, mode=desk.mode(exchange))
