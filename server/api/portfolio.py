"""Portfolio and P&L: what a user's bots hold and have earned, in one currency."""

from __future__ import annotations

from datetime import datetime
from typing import Any, cast

from flask import Response

from ems.core import errors
from ems.core.fields import ACCOUNT, EXCHANGE, KEY, NAME, Field, choice, whole
from ems.core.verbs import BOT_FIELD
from server.api import examples
from server.api.answers import ok
from server.api.reads import READ_ERRORS, SINCE, UNTIL, asking, from_desk, parameters
from server.api.routes import Call, Noun, house

portfolio = Noun("portfolio", __name__)

FILTERS = (
    Field(
        name="exchange",
        kind=EXCHANGE,
        doc="Only what is at this exchange.",
        required=False,
        example="kraken",
    ),
    Field(name="account", kind=ACCOUNT, doc="Only at accounts of this name.", required=False),
    Field(name="of_bot", kind=NAME, doc="Only what this bot traded.", required=False, example="bot-1"),
    BOT_FIELD,
)

GET_PORTFOLIO = Call(
    name="get_portfolio",
    method="GET",
    path="/api/get_portfolio",
    role="read",
    summary="What your bots hold and have earned, and what all accounts are worth",
    doc="Positions by average cost, valued at the middle prices of now, with sums by bot, exchange, account "
    "and asset. What no book leads to is named under `unpriced` and left out of the sums. `total_value` and "
    "`exposure` are of everything the accounts hold, whoever traded it.",
    noun="portfolio",
    fields=FILTERS,
    answer="Portfolio",
    example=examples.PORTFOLIO,
    errors=(*READ_ERRORS, errors.EXCHANGE_UNKNOWN, errors.EXCHANGE_CLOSED),
)


@portfolio.call(GET_PORTFOLIO)
def get_portfolio() -> Response:
    """Answer with the user's own positions, and with the accounts."""
    values = parameters(GET_PORTFOLIO)
    desk, exchange = house().desk, cast("str | None", values["exchange"])
    found = from_desk(
        lambda: desk.portfolio(
            **asking(values),
            exchange=exchange,
            account=cast("str | None", values["account"]),
            of_bot=cast("str | None", values["of_bot"]),
        )
    )
    return ok(found, mode=desk.mode(exchange))


GET_PNL = Call(
    name="get_pnl",
    method="GET",
    path="/api/get_pnl",
    role="read",
    summary="What your trading earned, by day, bot, exchange, account or symbol",
    doc="Realised gains and fees of the fills of a time, in the reporting currency. Deposits, withdrawals "
    "and what was never sold are no part of it; get_portfolio has what is not realised yet.",
    noun="portfolio",
    fields=(
        Field(
            name="by",
            kind=choice("pnl_by", ("day", "bot", "exchange", "account", "symbol"), str.lower),
            doc="What the rows are of; days are of UTC.",
            required=False,
            default="day",
            example="day",
        ),
        SINCE,
        UNTIL,
        *FILTERS,
    ),
    answer="Pnl",
    example=examples.PNL,
    errors=(*READ_ERRORS, errors.EXCHANGE_UNKNOWN, errors.EXCHANGE_CLOSED, errors.STORE_UNAVAILABLE),
)


@portfolio.call(GET_PNL)
def get_pnl() -> Response:
    """Answer with what the user's own fills have earned."""
    values = parameters(GET_PNL)
    desk, exchange = house().desk, cast("str | None", values["exchange"])
    found = from_desk(
        lambda: desk.pnl(
            **asking(values),
            by=str(values["by"]),
            since=cast("datetime | None", values["since"]),
            until=cast("datetime | None", values["until"]),
            of_bot=cast("str | None", values["of_bot"]),
            exchange=exchange,
            account=cast("str | None", values["account"]),
        )
    )
    return ok(found, mode=desk.mode(exchange))


GET_SNAPSHOTS = Call(
    name="get_snapshots",
    method="GET",
    path="/api/get_snapshots",
    role="read",
    summary="What your bots held and had earned when each day began, and what each day came to",
    doc="Every position as it stood at midnight UTC, newest day first; since and until are of `taken_at`. "
    "`change` is against the snapshot before: its pnl is realised - fees of the fills between the two, and "
    "what prices did. next_cursor, given back as cursor, continues where the page ended.",
    noun="portfolio",
    fields=(
        SINCE,
        UNTIL,
        *FILTERS,
        Field(
            name="limit",
            kind=whole(1, 366),
            doc="At most so many days.",
            required=False,
            default=31,
            example=31,
        ),
        Field(name="cursor", kind=KEY, doc="next_cursor of the page before.", required=False),
    ),
    answer="SnapshotPage",
    example=examples.SNAPSHOTS,
    errors=(*READ_ERRORS, errors.EXCHANGE_UNKNOWN, errors.EXCHANGE_CLOSED, errors.STORE_UNAVAILABLE),
)


@portfolio.call(GET_SNAPSHOTS)
def get_snapshots() -> Response:
    """Answer with a page of the user's own snapshots."""
    values = parameters(GET_SNAPSHOTS)
    names = ("of_bot", "since", "until", "exchange", "account", "limit", "cursor")
    wanted: dict[str, Any] = {name: values[name] for name in names}
    desk = house().desk
    found = from_desk(lambda: desk.snapshots(**asking(values), **wanted))
    return ok(found, mode=desk.mode(wanted["exchange"]))
