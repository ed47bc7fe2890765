"""Accounts at exchanges: balances, transfers, fees."""

from __future__ import annotations

from datetime import datetime
from typing import cast

from flask import Response, g

from ems.core import errors
from ems.core.codec import ACCOUNT_FIELD, BOT_FIELD, CURRENCY, EXCHANGE, KEY, SYMBOL, Field
from server.api import examples
from server.api.answers import ok
from server.api.reads import (
    EXCHANGE_ERRORS,
    LIMIT,
    READ_ERRORS,
    SINCE,
    UNTIL,
    asking,
    from_list,
    from_venue,
    parameters,
)
from server.api.routes import Call, Noun, house
from server.api.views import listed_order_view, page_view, transfer_view

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


CURSOR = Field(name="cursor", kind=KEY, doc="next_cursor of the page before.", required=False)

GET_EXCHANGE_ORDERS = Call(
    name="get_exchange_orders",
    method="GET",
    path="/api/get_exchange_orders",
    role="read",
    summary="Orders of an account as the exchange lists them, newest first",
    doc="Also those placed by hand or by other programs; those that other users placed here are left out, "
    "except for an admin. What was read is kept and not asked for again. `complete` says whether all of this "
    "time was read, `notes` what the exchange does not list.",
    noun="accounts",
    fields=(
        EXCHANGE_FIELD,
        ACCOUNT_FIELD,
        Field(name="symbol", kind=SYMBOL, doc="Only this market.", required=False, example="ETH/USDT"),
        SINCE,
        UNTIL,
        LIMIT,
        CURSOR,
        BOT_FIELD,
    ),
    answer="ExchangeOrders",
    example=examples.EXCHANGE_ORDERS,
    errors=(
        *READ_ERRORS,
        *EXCHANGE_ERRORS,
        errors.SYMBOL_UNKNOWN,
        errors.EXCHANGE_OFFERS_NONE,
        errors.STORE_UNAVAILABLE,
    ),
)


@accounts.call(GET_EXCHANGE_ORDERS)
def get_exchange_orders() -> Response:
    """Answer with one page of an exchange's own list of orders."""
    values = parameters(GET_EXCHANGE_ORDERS)
    exchange, desk = str(values["exchange"]), house().desk
    page = from_list(
        lambda: desk.exchange_orders(
            **asking(values),
            everyone=g.identity.may("admin"),
            exchange=exchange,
            account=str(values["account"]),
            symbol=cast("str | None", values["symbol"]),
            since=cast("datetime | None", values["since"]),
            until=cast("datetime | None", values["until"]),
            limit=cast(int, values["limit"]),
            cursor=cast("str | None", values["cursor"]),
        ),
        exchange,
    )
    return ok(
        {"orders": [listed_order_view(row) for row in page.rows], **page_view(page)}, mode=desk.mode(exchange)
    )


GET_TRANSFERS = Call(
    name="get_withdrawal_deposit_history",
    method="GET",
    path="/api/get_withdrawal_deposit_history",
    role="read",
    summary="Deposits and withdrawals of an account, newest first",
    doc="Nothing of this API can withdraw or transfer. What was read is kept and not asked for again.",
    noun="accounts",
    fields=(
        EXCHANGE_FIELD,
        ACCOUNT_FIELD,
        Field(name="currency", kind=CURRENCY, doc="Only this currency.", required=False, example="USDT"),
        SINCE,
        UNTIL,
        LIMIT,
        CURSOR,
        BOT_FIELD,
    ),
    answer="Transfers",
    example=examples.TRANSFERS,
    errors=(
        *READ_ERRORS,
        *EXCHANGE_ERRORS,
        errors.EXCHANGE_OFFERS_NONE,
        errors.CURRENCY_UNKNOWN,
        errors.STORE_UNAVAILABLE,
    ),
)


@accounts.call(GET_TRANSFERS)
def get_withdrawal_deposit_history() -> Response:
    """Answer with one page of what moved in and out of one account."""
    values = parameters(GET_TRANSFERS)
    exchange, desk = str(values["exchange"]), house().desk
    account = str(values["account"])
    page = from_list(
        lambda: desk.transfers(
            **asking(values),
            exchange=exchange,
            account=account,
            currency=cast("str | None", values["currency"]),
            since=cast("datetime | None", values["since"]),
            until=cast("datetime | None", values["until"]),
            limit=cast(int, values["limit"]),
            cursor=cast("str | None", values["cursor"]),
        ),
        exchange,
    )
    rows = [transfer_view(row) for row in page.rows]
    body = {"exchange": exchange, "account": account, "transfers": rows, **page_view(page)}
    return ok(body, mode=desk.mode(exchange))


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
