"""Accounts at exchanges: balances, transfers, fees."""

from __future__ import annotations

from datetime import datetime
from typing import cast

from flask import Response

from ems.core import errors
from ems.core.codec import ACCOUNT_FIELD, BOT_FIELD, CURRENCY, EXCHANGE, SYMBOL, Field
from server.api.answers import ok
from server.api.reads import EXCHANGE_ERRORS, LIMIT, READ_ERRORS, SINCE, asking, from_venue, parameters
from server.api.routes import Call, Noun, house

accounts = Noun("accounts", __name__)

EXCHANGE_FIELD = Field(
    name="exchange", kind=EXCHANGE, doc="The exchange; upper or lower case.", example="kraken"
)

GET_BALANCES = Call(
    name="get_balances",
    method="GET",
    path="/api/get_balances",
    role="read",
    summary="What an account holds",
    noun="accounts",
    fields=(EXCHANGE_FIELD, ACCOUNT_FIELD, BOT_FIELD),
    answer="Object",
    errors=(*READ_ERRORS, *EXCHANGE_ERRORS),
)


@accounts.call(GET_BALANCES)
def get_balances() -> Response:
    """Answer with the desk's balances of one account."""
    values = parameters(GET_BALANCES)
    exchange, account = str(values["exchange"]), str(values["account"])
    desk = house().desk
    found = from_venue(lambda: desk.balances(**asking(values), exchange=exchange, account=account), exchange)
    return ok(found, mode=desk.mode(exchange))


GET_TRANSFERS = Call(
    name="get_withdrawal_deposit_history",
    method="GET",
    path="/api/get_withdrawal_deposit_history",
    role="read",
    summary="Deposits and withdrawals of an account",
    doc="Nothing of this API can withdraw or transfer.",
    noun="accounts",
    fields=(
        EXCHANGE_FIELD,
        ACCOUNT_FIELD,
        Field(name="currency", kind=CURRENCY, doc="Only this currency.", required=False, example="USDT"),
        SINCE,
        LIMIT,
        BOT_FIELD,
    ),
    answer="Object",
    errors=(*READ_ERRORS, *EXCHANGE_ERRORS, errors.CURRENCY_UNKNOWN),
)


@accounts.call(GET_TRANSFERS)
def get_withdrawal_deposit_history() -> Response:
    """Answer with what moved in and out of one account."""
    values = parameters(GET_TRANSFERS)
    exchange, desk = str(values["exchange"]), house().desk
    found = from_venue(
        lambda: desk.transfers(
            **asking(values),
            exchange=exchange,
            account=str(values["account"]),
            currency=cast("str | None", values["currency"]),
            since=cast("datetime | None", values["since"]),
            limit=cast(int, values["limit"]),
        ),
        exchange,
    )
    return ok(found, mode=desk.mode(exchange))


GET_FEES = Call(
    name="get_fees",
    method="GET",
    path="/api/get_fees",
    role="read",
    summary="What trading costs this account",
    noun="accounts",
    fields=(
        EXCHANGE_FIELD,
        ACCOUNT_FIELD,
        Field(name="symbol", kind=SYMBOL, doc="Only this market.", required=False, example="ETH/USDT"),
        BOT_FIELD,
    ),
    answer="Object",
    errors=(*READ_ERRORS, *EXCHANGE_ERRORS, errors.SYMBOL_UNKNOWN),
)


@accounts.call(GET_FEES)
def get_fees() -> Response:
    """Answer with maker and taker fees as fractions."""
    values = parameters(GET_FEES)
    exchange, desk = str(values["exchange"]), house().desk
    found = from_venue(
        lambda: desk.fees(
            **asking(values),
            exchange=exchange,
            account=str(values["account"]),
            symbol=cast("str | None", values["symbol"]),
        ),
        exchange,
    )
    return ok(found, mode=desk.mode(exchange))
