"""Notifications: who is told of what, and what they were told."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from flask import Response, g

from ems.core import errors
from ems.core.codec import KEY, Field, whole
from ems.core.errors import problem
from ems.core.fields import choice
from ems.core.messages import (
    Command,
    DeleteNotificationRule,
    NotificationCommand,
    Problem,
    SetNotificationRule,
    Ticket,
)
from ems.core.notifications import Channel
from ems.store import StoreUnavailable
from server.api import examples
from server.api.answers import Refused, ok
from server.api.desk_port import QueryState
from server.api.lanes import place_if_free
from server.api.queries import MAX_WAIT_S
from server.api.reads import LIMIT, READ_ERRORS, parameters
from server.api.routes import Call, Noun, house
from server.api.writes import write
from server.auth import Identity

T = TypeVar("T")

notifications = Noun("notifications", __name__)


def _may_arrange(identity: Identity, command: Command) -> None:
    """Leave other people's rules, and rules about other people, to admins."""
    if isinstance(command, SetNotificationRule | DeleteNotificationRule):
        if command.user not in (None, identity.user) or getattr(command, "everyone", False):
            identity.require("admin")


def _submit(ticket: Ticket, command: Command) -> QueryState | Problem:
    assert isinstance(command, NotificationCommand)
    return _from_store(lambda: house().notifications.submit(ticket, command))


def _from_store(ask: Callable[[], T]) -> T:
    try:
        return ask()
    except StoreUnavailable as error:
        raise Refused(
            problem(errors.STORE_UNAVAILABLE, f"the database does not answer as it should: {error}")
        ) from error


write(
    notifications,
    "set_notification_rule",
    example=examples.SET_NOTIFICATION_RULE,
    permit=_may_arrange,
    submit=_submit,
    more_errors=(
        errors.AUTH_FORBIDDEN,
        errors.NOTIFICATION_CHANNEL_OFF,
        errors.NOTIFICATION_ADDRESS_REFUSED,
        errors.NOTIFICATION_RULES_FULL,
    ),
)
write(
    notifications,
    "delete_notification_rule",
    example=examples.DELETE_NOTIFICATION_RULE,
    permit=_may_arrange,
    submit=_submit,
    more_errors=(errors.AUTH_FORBIDDEN, errors.NOTIFICATION_RULE_NOT_FOUND),
)
write(
    notifications,
    "acknowledge_notification",
    role="read",  # whoever was told may say so: it changes nothing of anybody else's, and trades nothing
    example=examples.ACKNOWLEDGE_NOTIFICATION,
    submit=_submit,
    more_errors=(errors.NOTIFICATION_NOT_FOUND,),
)
write(
    notifications,
    "test_notification",
    example=examples.TEST_NOTIFICATION,
    submit=_submit,
    more_errors=(errors.NOTIFICATION_RULE_NOT_FOUND, errors.RATE_LIMITED),
)

GET_NOTIFICATION_RULES = Call(
    name="get_notification_rules",
    method="GET",
    path="/api/get_notification_rules",
    role="read",
    summary="Your notification rules, and the channels there are",
    noun="notifications",
    fields=(
        Field(
            name="of",
            kind=choice("of", ("own", "everyone"), str.lower),
            doc='"everyone": everybody\'s rules; needs the role admin.',
            required=False,
            default="own",
            example="own",
        ),
    ),
    answer="Object",
    example=examples.NOTIFICATION_RULES,
    errors=(*READ_ERRORS, errors.AUTH_FORBIDDEN, errors.STORE_UNAVAILABLE),
)
GET_NOTIFICATIONS = Call(
    name="get_notifications",
    method="GET",
    path="/api/get_notifications",
    role="read",
    summary="What you were told, over every channel, newest first",
    doc="With wait_s the answer waits until there is something to show; give the latest of the previous "
    "answer as after to be told of what is new. When many wait, it comes at once.",
    noun="notifications",
    fields=(
        Field(
            name="only",
            kind=choice("only", ("all", "unacknowledged"), str.lower),
            doc='"unacknowledged": leave out what you have acknowledged.',
            required=False,
            default="all",
            example="all",
        ),
        Field(
            name="channel",
            kind=choice("channel", Channel, str.lower),
            doc="Only what went over this channel.",
            required=False,
            example="in_app",
        ),
        LIMIT,
        Field(
            name="cursor",
            kind=KEY,
            doc="next_cursor of the previous page: what is older.",
            required=False,
        ),
        Field(
            name="after",
            kind=KEY,
            doc="latest of an earlier answer: only what is newer.",
            required=False,
        ),
        Field(
            name="wait_s",
            kind=whole(0, MAX_WAIT_S),
            doc="Wait at most this long while there is nothing to show.",
            required=False,
            default=0,
            example=0,
            unit="seconds",
        ),
    ),
    answer="Object",
    example=examples.NOTIFICATIONS,
    errors=(*READ_ERRORS, errors.STORE_UNAVAILABLE),
)


@notifications.call(GET_NOTIFICATION_RULES)
def get_notification_rules() -> Response:
    """Answer with the user's rules; with everybody's to an admin who asks for them."""
    values = parameters(GET_NOTIFICATION_RULES)
    identity: Identity = g.identity
    everyone = values["of"] == "everyone"
    if everyone:
        identity.require("admin")
    desk = house().notifications
    rules = _from_store(lambda: desk.rules(None if everyone else identity.user))
    return ok({"rules": rules, "channels": _from_store(desk.health)["channels"]})


@notifications.call(GET_NOTIFICATIONS)
def get_notifications() -> Response:
    """Answer with the user's messages; nobody sees another's."""
    values = parameters(GET_NOTIFICATIONS)
    user = g.identity.user
    wanted = {
        "unacknowledged": values["only"] == "unacknowledged",
        "channel": None if values["channel"] is None else str(values["channel"]),
        "after": values["after"],
        "cursor": values["cursor"],
        "limit": int(str(values["limit"])),
    }
    with place_if_free(house().lanes.long_polls) as may_wait:
        wait_s = float(str(values["wait_s"])) if may_wait else 0.0
        try:
            return ok(_from_store(lambda: house().notifications.messages(user, wait_s=wait_s, **wanted)))
        except ValueError as wrong:
            said = problem(
                errors.REQUEST_FIELD_INVALID,
                str(wrong),
                hint="Send next_cursor or latest of an earlier answer back as it is.",
                details={"field": "cursor"},
            )
            raise Refused(said) from wrong
