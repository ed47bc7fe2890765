"""Orders at one market: place, cancel, look at."""

from __future__ import annotations

from datetime import datetime
from typing import cast

from flask import Response, g

from ems.core import errors
from ems.core.codec import ACCOUNT_FIELD, BOT_FIELD, EXCHANGE, KEY, NAME, SOURCE, SYMBOL, Field, shown
from ems.core.errors import problem
from ems.store import OrderFilter
from server.api import examples
from server.api.answers import Refused, ok
from server.api.reads import (
    EXCHANGE_ERRORS,
    LIMIT,
    READ_ERRORS,
    SINCE,
    UNTIL,
    asking,
    from_desk,
    from_list,
    parameters,
)
from server.api.routes import Call, Noun, house
from server.api.views import change_view, order_view
from server.api.writes import write

orders = Noun("orders", __name__)

PLAIN_ERRORS = (errors.SYMBOL_UNKNOWN, errors.MARKET_NOT_OPEN, errors.ORDER_LIMIT_REACHED)

write(
    orders,
    "market_order",
    example=examples.MARKET_ORDER,
    more_errors=PLAIN_ERRORS,
)
write(
    orders,
    "limit_order",
    example=examples.LIMIT_ORDER,
    more_errors=(*PLAIN_ERRORS, errors.PRICE_INVALID),
)
write(
    orders,
    "order",
    example=examples.PLACE_ORDER,
    more_errors=(*PLAIN_ERRORS, errors.PRICE_INVALID),
)
write(
    orders,
    "edit_order",
    example=examples.EDIT_ORDER,
    more_errors=(
        errors.ORDER_NOT_FOUND,
        errors.ORDER_CLOSED,
        errors.ORDER_NOT_EDITABLE,
        errors.ORDER_IN_FLIGHT,
        errors.PRICE_INVALID,
    ),
)
write(
    orders,
    "cancel_order",
    example=examples.CANCEL_ORDER,
    more_errors=(errors.ORDER_NOT_FOUND, errors.ORDER_CLOSED),
)
write(orders, "cancel_all_orders", example=examples.CANCEL_ALL_ORDERS)

GET_ORDER = Call(
    name="get_order",
    method="GET",
    path="/api/get_order",
    role="read",
    summary="One order with its fills and all its changes",
    noun="orders",
    fields=(Field(name="order_id", kind=KEY, doc="Our id of the order.", example="o-5f0c2a71"),),
    answer="Order",
    example=examples.ORDER_WITH_HISTORY,
    errors=(*READ_ERRORS, errors.ORDER_NOT_FOUND),
)


@orders.call(GET_ORDER)
def get_order() -> Response:
    """Answer with one order of the user; another user's order does not exist."""
    order_id = str(parameters(GET_ORDER)["order_id"])
    found = from_desk(lambda: house().desk.order(g.identity.user, order_id))
    if found is None:
        raise Refused(
            problem(
                errors.ORDER_NOT_FOUND, f"there is no order {shown(order_id)}", details={"order_id": order_id}
            )
        )
    order, fills, history = found
    view = order_view(order, fills) | {"history": [change_view(entry) for entry in history]}
    return ok(view, mode=house().desk.mode(order.exchange))


FILTERS = (
    Field(
        name="exchange", kind=EXCHANGE, doc="Only orders at this exchange.", required=False, example="kraken"
    ),
    Field(name="symbol", kind=SYMBOL, doc="Only orders in this market.", required=False, example="ETH/USDT"),
    Field(name="of_bot", kind=NAME, doc="Only orders this bot asked for.", required=False, example="bot-1"),
    SINCE,
    UNTIL,
    BOT_FIELD,
)

GET_PAST_ORDERS = Call(
    name="get_past_orders",
    method="GET",
    path="/api/get_past_orders",
    role="read",
    summary="Orders of the user, newest first",
    doc="Open orders are included. next_cursor, given back as cursor, continues where the page ended.",
    noun="orders",
    fields=(
        *FILTERS,
        LIMIT,
        Field(name="cursor", kind=KEY, doc="next_cursor of the page before.", required=False),
    ),
    answer="OrderPage",
    example=examples.ORDERS,
    errors=(*READ_ERRORS, errors.STORE_UNAVAILABLE),
)


@orders.call(GET_PAST_ORDERS)
def get_past_orders() -> Response:
    """Answer with one page of the user's orders."""
    values = parameters(GET_PAST_ORDERS)
    wanted = _wanted(values)
    page, fills, cursor = from_desk(lambda: house().desk.past_orders(**asking(values), wanted=wanted))
    return ok(
        {
            "orders": [order_view(order, fills.get(order.order_id, ())) for order in page],
            "next_cursor": cursor,
        }
    )


SOURCE_FIELD = Field(
    name="source", kind=SOURCE, doc="Whose list is counted.", required=False, default="ledger"
)

GET_ORDER_STATS = Call(
    name="get_order_stats",
    method="GET",
    path="/api/get_order_stats",
    role="read",
    summary="Counts and volumes of the user's orders",
    noun="orders",
    doc="Of what this server placed; with source=exchange of all that an exchange lists, whoever placed it.",
    fields=(*FILTERS, SOURCE_FIELD, ACCOUNT_FIELD),
    answer="Object",
    errors=(
        *READ_ERRORS,
        *EXCHANGE_ERRORS,
        errors.SYMBOL_UNKNOWN,
        errors.EXCHANGE_OFFERS_NONE,
        errors.STORE_UNAVAILABLE,
    ),
)


@orders.call(GET_ORDER_STATS)
def get_order_stats() -> Response:
    """Answer with the desk's statistics over the filtered orders."""
    values = parameters(GET_ORDER_STATS)
    wanted = _wanted(values)
    if values["source"] == "ledger":
        return ok(from_desk(lambda: house().desk.order_stats(**asking(values), wanted=wanted)))
    if wanted.exchange is None or wanted.bot is not None:
        text = "exchange: say which exchange's list is to be counted"
        if wanted.bot is not None:
            text = "of_bot: an exchange knows no bots; count the ledger's orders instead"
        raise Refused(problem(errors.REQUEST_FIELD_INVALID, text, details={"field": text.split(":")[0]}))
    found = from_list(
        lambda: house().desk.exchange_stats(
            **asking(values),
            everyone=g.identity.may("admin"),
            account=str(values["account"]),
            wanted=wanted,
        ),
        wanted.exchange,
    )
    return ok(found, mode=house().desk.mode(wanted.exchange))


def _wanted(values: dict[str, object]) -> OrderFilter:
    return OrderFilter(
        user=g.identity.user,
        bot=cast("str | None", values["of_bot"]),
        exchange=cast("str | None", values["exchange"]),
        symbol=cast("str | None", values["symbol"]),
        since=cast("datetime | None", values["since"]),
        until=cast("datetime | None", values["until"]),
        limit=cast(int, values.get("limit", LIMIT.default)),
        cursor=cast("str | None", values.get("cursor")),
    )
