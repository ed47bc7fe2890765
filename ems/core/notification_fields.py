"""What the calls about notifications take."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ems.core import errors
from ems.core.fields import EXCHANGE, FLAG, KEY, NAME, Field, Kind, choice, invalid, nearest, whole
from ems.core.messages import Problem
from ems.core.notifications import EVENTS, Channel, Severity

_TIME_OF_DAY = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]", re.ASCII)
_ZONE = re.compile(r"[A-Za-z0-9_+-]{1,32}(?:/[A-Za-z0-9_+-]{1,32}){0,2}", re.ASCII)
ADDRESS_MAX = 512


def read_time_of_day(value: object, name: str) -> str:
    """Read HH:MM."""
    if not isinstance(value, str) or not _TIME_OF_DAY.fullmatch(value):
        raise invalid(name, value, "is not a time of day", 'Send hours and minutes, such as "22:30".')
    return value


def read_events(value: object, name: str) -> tuple[str, ...]:
    """Read a list of events, sorted, each once."""
    listed = ", ".join(EVENTS)
    if not isinstance(value, list) or not value:
        fix = f'Send a list such as ["order_filled", "halt"], or leave {name} out for all: {listed}.'
        raise invalid(name, value, "is not a list of events", fix)
    for one in value:
        if one not in EVENTS:
            near = nearest(one, EVENTS) if isinstance(one, str) else None
            meant = f"Did you mean {near}? " if near else ""
            raise invalid(name, one, "is not an event", f"{meant}Use some of {listed}.")
    return tuple(sorted(set(value)))


def read_zone(value: object, name: str) -> str:
    """Read the form of a time zone's name; whether there is one, the server looks up."""
    if not isinstance(value, str) or not _ZONE.fullmatch(value):
        raise invalid(name, value, "is not a time zone", 'Send a name such as "Europe/Berlin" or "UTC".')
    return value


def read_address(value: object, name: str) -> str:
    """Read an address: printable ASCII without a space; what it must look like, its channel knows."""
    if not isinstance(value, str) or not re.fullmatch(rf"[!-~]{{1,{ADDRESS_MAX}}}", value, re.ASCII):
        raise invalid(name, value, "is not an address", "Send a mailbox, an https URL or a service's name.")
    return value


TIME_OF_DAY = Kind(
    name="time_of_day",
    read=read_time_of_day,
    schema={"type": "string", "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$"},
    form="HH:MM",
)
EVENT_LIST = Kind(
    name="events",
    read=read_events,
    schema={"type": "array", "items": {"type": "string", "enum": list(EVENTS)}, "minItems": 1},
    form="list of events",
)
ZONE = Kind(
    name="zone", read=read_zone, schema={"type": "string", "maxLength": 98}, form="name of a time zone"
)
ADDRESS = Kind(
    name="address",
    read=read_address,
    schema={"type": "string", "minLength": 1, "maxLength": ADDRESS_MAX},
    form="mailbox, URL or name",
)
CHANNEL = choice("channel", Channel, str.lower)
SEVERITY = choice("severity", Severity, str.lower)
MINUTES = whole(1, 24 * 60)
SUPPRESS = whole(0, 24 * 3600)
REPEAT = whole(0, 24 * 3600)

RULE_NAME_FIELD = Field(
    name="name", kind=NAME, doc="The name of the rule; the same name replaces it.", example="fills"
)
OF_USER_FIELD = Field(
    name="user",
    kind=NAME,
    doc="Whose rule; another's needs the role admin. The asker's own when absent.",
    required=False,
)
RULE_FIELDS = (
    RULE_NAME_FIELD,
    Field(name="channel", kind=CHANNEL, doc="How it is told.", example="in_app"),
    Field(
        name="address",
        kind=ADDRESS,
        doc="Where the channel leads: a mailbox, an https URL, the name of a service; none in the app.",
        required=False,
    ),
    Field(
        name="events",
        kind=EVENT_LIST,
        doc="Which events; all when absent.",
        required=False,
        default=(),
        example=["order_filled", "query_failed", "halt"],
    ),
    Field(
        name="severity",
        kind=SEVERITY,
        doc="Only events at least as severe.",
        required=False,
        default=Severity.INFO,
        example="info",
    ),
    Field(name="exchange", kind=EXCHANGE, doc="Only what happened there.", required=False, example="kraken"),
    Field(name="of_bot", kind=NAME, doc="Only what this bot asked for.", required=False),
    Field(
        name="everyone",
        kind=FLAG,
        doc="Everybody's events and not only the owner's; needs the role admin, also later.",
        required=False,
        default=False,
        example=False,
    ),
    Field(
        name="digest_minutes",
        kind=MINUTES,
        doc="Collect, and send one message at every full span of so many minutes.",
        required=False,
        unit="minutes",
    ),
    Field(
        name="digest_at",
        kind=TIME_OF_DAY,
        doc="Instead of digest_minutes: collect, and send one message at this time of day.",
        required=False,
        example="08:00",
    ),
    Field(
        name="quiet_from",
        kind=TIME_OF_DAY,
        doc="From then on nothing but what is critical is sent; it waits until quiet_until.",
        required=False,
        example="22:00",
    ),
    Field(name="quiet_until", kind=TIME_OF_DAY, doc="See quiet_from.", required=False, example="07:00"),
    Field(
        name="time_zone",
        kind=ZONE,
        doc="The zone of these three times.",
        required=False,
        default="UTC",
        example="Europe/Berlin",
    ),
    Field(
        name="suppress_s",
        kind=SUPPRESS,
        doc="Alike events within this time are one message with their number.",
        required=False,
        default=60,
        example=60,
        unit="seconds",
    ),
    Field(
        name="repeat_s",
        kind=REPEAT,
        doc="A critical message nobody acknowledges is sent again after this, then after twice as long, and "
        "so on up to six hours; 0: never. In the app nothing is repeated.",
        required=False,
        default=900,
        example=900,
        unit="seconds",
    ),
    OF_USER_FIELD,
)
MESSAGE_ID_FIELD = Field(
    name="message_id",
    kind=KEY,
    doc="Which message; get_notifications lists them.",
    example="m-6d0f3c1a2b7e4f5081923a4b",
)


def check_rule(values: Mapping[str, object]) -> list[Problem]:
    """Find what contradicts itself in a rule whose fields are each well."""
    found: list[Problem] = []

    def wrong(name: str, message: str, fix: str, code: str = errors.REQUEST_FIELD_INVALID) -> None:
        found.append(errors.problem(code, f"{name}: {message}", hint=fix, details={"field": name}))

    channel, address = values.get("channel"), values.get("address")
    if channel is Channel.IN_APP and address is not None:
        wrong("address", "the app has none", "Remove it.")
    if channel not in (None, Channel.IN_APP) and "address" in values and address is None:
        fix = "Add the mailbox, the https URL or the name of the service."
        wrong("address", f"missing, and {channel} needs one", fix, errors.REQUEST_FIELD_MISSING)
    if values.get("digest_minutes") is not None and values.get("digest_at") is not None:
        wrong("digest_at", "given beside digest_minutes; a digest has one time", "Remove one of them.")
    start, end = values.get("quiet_from"), values.get("quiet_until")
    if {"quiet_from", "quiet_until"} <= values.keys() and (start is None) != (end is None):
        name, other = ("quiet_until", "quiet_from") if end is None else ("quiet_from", "quiet_until")
        wrong(name, f"missing beside {other}", f"Add {name}.", errors.REQUEST_FIELD_MISSING)
    if start is not None and start == end:
        wrong("quiet_until", "the same as quiet_from: always quiet, or never?", "Send two different times.")
    return found
