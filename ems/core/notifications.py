"""Who is told what, where and when: the decisions, without a clock, a database or a wire.

1. An event becomes a `Notification` for every rule that it fits and whose owner may see it.
2. A notification falls due at once, or when its rule's digest, quiet hours or suppression let it. What is
   critical waits for neither digest nor quiet hours.
3. Notifications of one rule that are due together become one `Message`: all of a digest, else those of one
   group.
4. A critical message that nobody acknowledges is sent again, after twice the wait each time.

Ids are made of what they name, so the same event read twice is the same notification, and a message sent
twice after a crash is the same message to its receiver.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta, tzinfo
from enum import StrEnum
from typing import Any

from ems.core.jsontext import plain, time_text
from ems.core.records import HistoryEntry, Notice, Order, Query, QueryStatus, Record, Status


class Severity(StrEnum):
    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


RANK = {severity: rank for rank, severity in enumerate(Severity)}


class Channel(StrEnum):
    IN_APP = "in_app"  # read with get_notifications
    EMAIL = "email"  # the address is a mailbox
    WEBHOOK = "webhook"  # the address is a URL
    SERVICE = "service"  # the address is the name of one of the operator's services


EVENTS: dict[str, tuple[Severity, str]] = {  # name -> its usual severity, and what it says
    "order_filled": (Severity.INFO, "An order filled whole."),
    "order_canceled": (Severity.INFO, "An order was canceled; what filled before stays filled."),
    "order_expired": (Severity.INFO, "An order's time was over."),
    "order_rejected": (Severity.WARNING, "The exchange refused an order."),
    "query_done": (Severity.INFO, "What was asked is done."),
    "query_failed": (Severity.WARNING, "What was asked failed or was refused."),
    "not_triggered": (Severity.CRITICAL, "An order that waited here was not placed when its price came."),
    "edit_refused": (Severity.CRITICAL, "The new stop of an edit was refused when the old one had gone."),
    "guard_not_resting": (Severity.WARNING, "An attached order waits here that was to rest at its exchange."),
    "incident": (Severity.CRITICAL, "An exchange and our ledger disagreed over an order."),
    "ledger_mismatch": (Severity.CRITICAL, "Balances and our ledger disagree."),
    "concentration": (Severity.WARNING, "One asset is more of what the accounts hold than is wanted."),
    "halt": (Severity.CRITICAL, "Trading was halted, proven flat, or resumed."),
    "breaker": (Severity.CRITICAL, "A limit was broken so often that trading stopped."),
    "account_barred": (Severity.CRITICAL, "An exchange account does not trade."),
    "stream_down": (Severity.WARNING, "An account's live stream is gone or back."),
    "server_started": (Severity.INFO, "The server started."),
    "server_stopped": (Severity.CRITICAL, "The server stopped itself."),
    "alert": (Severity.WARNING, "Anything else that people should know."),
}
# What everybody who may sign can read in get_halts and check_health anyway; the rest is its owner's.
SHARED = frozenset(
    {
        "halt",
        "breaker",
        "account_barred",
        "stream_down",
        "server_started",
        "server_stopped",
        "ledger_mismatch",
    }
)
# An order's end -> the event. Other changes of an order are no event.
ORDER_EVENTS = {
    Status.FILLED: "order_filled",
    Status.CANCELED: "order_canceled",
    Status.EXPIRED: "order_expired",
    Status.REJECTED: "order_rejected",
}
LETTERS = {  # a letter's severity -> ours
    "info": Severity.INFO,
    "warning": Severity.WARNING,
    "error": Severity.WARNING,
    "critical": Severity.CRITICAL,
}
REPEAT_MAX = timedelta(hours=6)


@dataclass(frozen=True, kw_only=True, slots=True)
class NotificationRule:
    """Which events reach whom, where and when. Named by its owner; the same name replaces it."""

    user: str
    name: str
    channel: Channel
    address: str = ""  # of the channel; none in the app
    events: tuple[str, ...] = ()  # none: all of them
    severity: Severity = Severity.INFO  # the least
    exchange: str | None = None  # only what happened there
    of_bot: str | None = None  # only what this bot asked
    everyone: bool = False  # everybody's events, as long as its owner is an admin
    digest_minutes: int | None = None  # collect, and send at every full span of so many minutes
    digest_at: str | None = None  # collect, and send at this time of day; HH:MM, as the two below
    quiet_from: str | None = None
    quiet_until: str | None = None
    time_zone: str = "UTC"  # of the three times above; a name of the IANA database
    suppress_s: int = 60  # a group is told again no sooner than this
    repeat_s: int = 900  # until a critical message is repeated for the first time; 0: never
    updated_at: datetime

    @property
    def collects(self) -> bool:
        return self.digest_minutes is not None or self.digest_at is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class Happening:
    """Something that happened, in words, and whose it is."""

    event: str
    key: str  # the same happening read twice has the same
    at: datetime
    severity: Severity
    subject: str
    user: str | None = None  # None: nobody's in particular
    bot: str | None = None
    exchange: str | None = None
    order_id: str | None = None
    query_id: str | None = None
    group: str = ""  # alike happenings, of which one is told and the others counted
    facts: Mapping[str, str] = field(default_factory=dict)  # label -> text, for the message


@dataclass(frozen=True, kw_only=True, slots=True)
class Notification:
    """A happening that a rule wants told."""

    notification_id: str
    rule: str
    due_at: datetime
    user: str  # who is told
    happening: Happening


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """What is sent to one address, or shown in the app: one notification or several."""

    message_id: str
    user: str
    rule: str
    channel: Channel
    address: str
    severity: Severity  # the highest of its notifications
    event: str  # of the newest
    subject: str
    text: str
    group: str
    count: int
    order_id: str | None
    query_id: str | None
    created_at: datetime
    state: str = "waiting"  # "waiting" | "sent" | "dropped"
    attempts: int = 0
    next_attempt_at: datetime | None = None
    sent_at: datetime | None = None
    answer: str = ""  # the channel's last words
    repeats: int = 0  # how often it was sent again for want of an acknowledgement
    repeat_at: datetime | None = None
    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class News:
    """A record that may be an event, until it was looked at: what it is, and which."""

    kind: str  # "order" | "query" | "notice"
    subject: str  # its id
    status: str = ""  # of an order or query then


# Looking, planning and arranging one's notifications are nothing to be told of.
QUIET_VERBS = re.compile(r"get_\w+|check_health|tca|quote|\w+_notification(_rule)?")


def news_of(record: Record) -> News | None:
    """Say whether a record that is being written may be an event."""
    if isinstance(record, HistoryEntry) and record.status in ORDER_EVENTS:
        return News(kind="order", subject=record.order_id, status=record.status)
    if isinstance(record, Query) and record.status is not QueryStatus.WORKING:
        if not QUIET_VERBS.fullmatch(record.verb):
            return News(kind="query", subject=record.query_id, status=record.status)
    if isinstance(record, Notice) and record.event != "query_failed":  # the query itself is news
        return News(kind="notice", subject=record.notice_id)
    return None


# --- What happened, from our records -----------------------------------------------------------------


def of_order(order: Order, status: Status) -> Happening | None:
    """Tell how an order ended; None where that is no event."""
    event = ORDER_EVENTS.get(status)
    if event is None:
        return None
    word = event.removeprefix("order_")
    price = "" if order.price is None else f" at {plain(order.price)}"
    filled = f"{plain(order.filled_quantity)} of {plain(order.quantity)}"
    if order.filled_quantity:
        # Nine digits are for people; the exact sums stand in the ledger.
        filled += f", on average at {order.quote_filled / order.filled_quantity:.9g}"
    facts = {
        "Order": order.order_id,
        "What": f"{order.side} {plain(order.quantity)} {order.symbol}{price} on {order.exchange}",
        "Filled": filled,
    }
    if order.fees:
        facts["Fees"] = ", ".join(f"{plain(fee)} {currency}" for currency, fee in sorted(order.fees.items()))
    if order.reason:
        facts["Why"] = order.reason
    if event == "order_rejected":
        facts["What to do"] = (
            f"Read the exchange's words with get_order {order.order_id}; nothing was traded."
        )
    return Happening(
        event=event,
        key=f"order {order.order_id} {status}",
        at=order.closed_at or order.updated_at or order.created_at,
        severity=EVENTS[event][0],
        subject=f"{word}: {order.side} {plain(order.quantity)} {order.symbol} on {order.exchange}",
        user=order.user,
        bot=order.bot,
        exchange=order.exchange,
        order_id=order.order_id,
        query_id=order.query_id,
        group=f"{event} {order.bot} {order.exchange} {order.symbol}",
        facts=facts,
    )


def of_query(query: Query) -> Happening:
    """Tell how a query ended."""
    done = query.status is QueryStatus.DONE
    event = "query_done" if done else "query_failed"
    where = f" on {query.exchange}" if query.exchange else ""
    facts = {"Query": query.query_id, "Asked": f"{query.verb}{where} by {query.bot}, {query.mode}"}
    code = ""
    if query.error is not None:
        code = query.error.code
        facts |= {"Why": f"{code}: {query.error.message}", "What to do": query.error.hint}
        if query.error.venue_message:
            facts["Exchange said"] = f"{query.error.venue_code or ''} {query.error.venue_message}".strip()
    outcome = (query.result or {}).get("outcome")
    if isinstance(outcome, str):
        facts["Outcome"] = outcome
    return Happening(
        event=event,
        key=f"query {query.query_id} {query.status}",
        at=query.finished_at or query.accepted_at,
        severity=EVENTS[event][0],
        subject=f"{query.verb}{where} is done" if done else f"{query.verb}{where} failed: {code}",
        user=query.user,
        bot=query.bot,
        exchange=query.exchange,
        query_id=query.query_id,
        group=f"{event} {query.bot} {query.verb} {code}",
        facts=facts,
    )


def of_notice(notice: Notice, owner: Query | None) -> Happening:
    """Tell what a letter to the operators tells; `owner` is the query it is about."""
    facts = {
        "What": notice.failed,
        "Why": notice.why,
        "What was done": notice.done,
        "What to do": notice.todo or "Nothing is needed of you.",
    }
    shared = notice.event in SHARED
    return Happening(
        event=notice.event,
        key=f"notice {notice.notice_id}",
        at=notice.created_at,
        severity=LETTERS.get(notice.severity, Severity.WARNING),
        subject=notice.subject,
        user=owner.user if owner is not None and not shared else None,
        bot=owner.bot if owner is not None else None,
        exchange=owner.exchange if owner is not None else None,
        query_id=notice.query_id,
        group=f"{notice.event} {notice.group}",
        facts={label: text for label, text in facts.items() if text},
    )


# --- Whom it concerns --------------------------------------------------------------------------------


def may_see(rule: NotificationRule, happening: Happening, admins: Iterable[str]) -> bool:
    """Say whether the rule's owner may know of it. An event of nobody that is not shared is the admins'."""
    if happening.user == rule.user:
        return True
    if happening.user is None and happening.event in SHARED:
        return True
    return rule.everyone and rule.user in admins


def fits(rule: NotificationRule, happening: Happening) -> bool:
    """Say whether the rule asks for it."""
    return (
        (not rule.events or happening.event in rule.events)
        and RANK[happening.severity] >= RANK[rule.severity]
        and rule.exchange in (None, happening.exchange)
        and rule.of_bot in (None, happening.bot)
    )


def notification_of(
    rule: NotificationRule, happening: Happening, now: datetime, told_at: datetime | None, zone: tzinfo
) -> Notification:
    """Make the notification of a rule; `told_at` is when the rule last told of this group."""
    return Notification(
        notification_id=_id("n", rule.user, rule.name, happening.key),
        rule=rule.name,
        due_at=due_at(rule, happening.severity, now, told_at, zone),
        user=rule.user,
        happening=happening,
    )


# --- When --------------------------------------------------------------------------------------------


def due_at(
    rule: NotificationRule, severity: Severity, now: datetime, told_at: datetime | None, zone: tzinfo
) -> datetime:
    """Return when a notification is to be sent: now, or as soon as suppression, digest and quiet allow."""
    due = now
    if told_at is not None:
        due = max(due, told_at + timedelta(seconds=rule.suppress_s))
    if severity is Severity.CRITICAL:
        return due
    if rule.digest_minutes is not None:
        span = rule.digest_minutes * 60
        due = datetime.fromtimestamp((int(due.timestamp()) // span + 1) * span, UTC)
    elif rule.digest_at is not None:
        due = next_time(due, rule.digest_at, zone)
    if rule.quiet_from is not None and rule.quiet_until is not None:
        if is_quiet(due, rule.quiet_from, rule.quiet_until, zone):
            due = next_time(due, rule.quiet_until, zone)
    return due


def is_quiet(at: datetime, start: str, end: str, zone: tzinfo) -> bool:
    """Say whether the clock on the wall of a zone is between two times, over midnight where end < start."""
    there = f"{at.astimezone(zone):%H:%M}"
    return start <= there < end if start < end else there >= start or there < end


def next_time(after: datetime, at: str, zone: tzinfo) -> datetime:
    """Return when the clock on the wall of a zone shows a time next, later than `after`.

    A time that the change to summer time leaves out is the moment it would have been; one that comes twice is
    the first.
    """
    day = after.astimezone(zone).date() - timedelta(days=1)
    while True:
        moment = datetime.combine(day, time.fromisoformat(at), zone).astimezone(UTC)
        if moment > after:
            return moment
        day += timedelta(days=1)


def repeat_at(rule: NotificationRule, message: Message, sent_at: datetime) -> datetime | None:
    """Return when a message that was sent now is sent again if nobody acknowledges it."""
    if message.severity is not Severity.CRITICAL or rule.repeat_s == 0 or rule.channel is Channel.IN_APP:
        return None
    wait = min(REPEAT_MAX, timedelta(seconds=rule.repeat_s * 2 ** min(message.repeats, 20)))
    return sent_at + wait


# --- What is said ------------------------------------------------------------------------------------


def messages_of(
    due: Sequence[Notification], rules: Mapping[tuple[str, str], NotificationRule], now: datetime
) -> list[tuple[Message, list[Notification]]]:
    """Put notifications that are due together; those of a rule that is gone are left out."""
    heaps: dict[tuple[str, ...], list[Notification]] = {}
    for one in due:
        rule = rules.get((one.user, one.rule))
        if rule is None:
            continue
        told = one.happening
        alone = not rule.collects or told.severity is Severity.CRITICAL
        heaps.setdefault((one.user, one.rule, told.group if alone else ""), []).append(one)
    return [
        (_message(heap, rules[user, name], group, now), heap) for (user, name, group), heap in heaps.items()
    ]


def _message(heap: list[Notification], rule: NotificationRule, group: str, now: datetime) -> Message:
    heap.sort(key=lambda one: (one.happening.at, one.notification_id))
    newest = heap[-1].happening
    alike = len({one.happening.group for one in heap}) == 1
    count = len(heap)
    subject = newest.subject + (f" ({count} times)" if count > 1 else "")
    if not alike:
        subject = f"digest of {count} notifications"
    message_id = _id("m", *(one.notification_id for one in heap))
    return Message(
        message_id=message_id,
        user=rule.user,
        rule=rule.name,
        channel=rule.channel,
        address=rule.address,
        severity=max((one.happening.severity for one in heap), key=RANK.__getitem__),
        event=newest.event if alike else "digest",
        subject=subject,
        text=text_of([one.happening for one in heap]),
        group=group,
        count=count,
        order_id=newest.order_id if alike else None,
        query_id=newest.query_id if alike else None,
        created_at=now,
        **_on_its_way(rule.channel, now),
    )


def _on_its_way(channel: Channel, now: datetime) -> dict[str, Any]:
    """What is shown in the app has arrived once it is written down; the rest waits for its channel."""
    if channel is Channel.IN_APP:
        return {"state": "sent", "sent_at": now}
    return {"next_attempt_at": now}


LABEL = 15  # characters before the text of a fact
OTHERS_MAX = 50


def text_of(happenings: Sequence[Happening]) -> str:
    """Tell the newest in full where all are alike, else each in a line; oldest first in `happenings`."""
    newest = happenings[-1]
    if len({one.group for one in happenings}) > 1:
        shown = happenings[-OTHERS_MAX:]
        lines = [f"{time_text(one.at)}  {one.severity:<8}  {one.subject}" for one in shown]
        if len(happenings) > OTHERS_MAX:
            lines.append(f"and {len(happenings) - OTHERS_MAX} earlier ones")
        return "\n".join(lines)
    facts = {"Severity": str(newest.severity), "Event": newest.event, "At": time_text(newest.at)}
    facts |= {"Order": newest.order_id or "", "Query": newest.query_id or "", **newest.facts}
    if len(happenings) > 1:
        facts["How often"] = (
            f"{len(happenings)} times since {time_text(happenings[0].at)}; this is the newest"
        )
    # Texts come from bots and exchanges: a further line of one must not pass for a fact of ours.
    below = "\n" + " " * LABEL
    return "\n".join(
        f"{label + ':':<{LABEL}}{below.join(text.splitlines())}" for label, text in facts.items() if text
    )


def _id(kind: str, *parts: str) -> str:
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    return f"{kind}-{digest[:24]}"
