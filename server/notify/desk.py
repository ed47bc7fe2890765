"""What callers may do with notifications: arrange, read, acknowledge and test them.

A write is recorded as a query with its idempotency key, in one transaction with what it changes. The engine
has no part in it: its orders do not wait for this, and this does not wait for its orders.
"""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

from ems.core import errors
from ems.core.codec import encode_command, jsonable, verb_of
from ems.core.messages import (
    AcknowledgeNotification,
    DeleteNotificationRule,
    NonceUse,
    NotificationCommand,
    Problem,
    SendTestNotification,
    SetNotificationRule,
    Ticket,
)
from ems.core.notifications import Channel, Message, NotificationRule, Severity
from ems.core.records import Fill, Order, Query, QueryStatus, Record
from ems.store import NonceUsed, list_key
from server.notify.channels import Sender
from server.notify.notifier import Notifier, zone_named

RULES_MAX = 100  # of one user
TEST_PATIENCE_S = 20.0
POLL_S = 1.0
TESTS_MAX = 5  # test messages of one user within the time below: they leave the house at once
TESTS_WITHIN = timedelta(seconds=60)
# Keys and nonces stand in one table with those of orders, under names that no order's can have: the engine
# knows nothing of these, and must never meet one.
OURS = "notification: "

Work = Callable[[Any], None]  # on a connection


class Rows(Protocol):
    """The part of `server.store.notifications` that callers reach."""

    def rules(self, user: str | None) -> list[NotificationRule]: ...
    def putting_rule(self, rule: NotificationRule) -> Work: ...
    def deleting_rule(self, user: str, name: str) -> Work: ...
    def putting_message(self, message: Message) -> Work: ...
    def acknowledging(self, message: Message, by: str, now: datetime) -> Work: ...
    def message(self, user: str, message_id: str) -> Message | None: ...
    def messages(
        self,
        user: str,
        *,
        unacknowledged: bool,
        channel: str | None,
        after: str | None,
        cursor: str | None,
        limit: int,
    ) -> tuple[list[Message], str | None]: ...
    def waiting_counts(self) -> dict[str, tuple[int, datetime]]: ...


class Store(Protocol):
    """Where queries are written down beside what they change."""

    @property
    def notifications(self) -> Rows: ...
    def commit(self, records: Sequence[Record], beside: Work) -> None: ...
    def query_by_key(self, user: str, idempotency_key: str) -> Query | None: ...


@dataclass(frozen=True, kw_only=True)
class Written:
    """A query that was carried out: it has neither orders nor a future."""

    query: Query
    duplicate: bool = False
    orders: Sequence[Order] = ()
    fills: Mapping[str, Sequence[Fill]] = field(default_factory=dict)
    progress: Mapping[str, object] | None = None


class NotificationDesk:
    """Notifications as the API sees them. Every call may come from any thread."""

    def __init__(
        self,
        store: Store,
        notifier: Notifier,
        senders: Mapping[Channel, Sender],
        clock: Callable[[], datetime],
        new_id: Callable[[], str],
        mode: Callable[[], str],
        letters: Callable[[], str] = str,
    ) -> None:
        """`letters` says why the operators' letters wait; nothing when they do not."""
        self._store = store
        self._rows = store.notifications
        self._notifier = notifier
        self._senders = senders
        self._clock = clock
        self._new_id = new_id
        self._mode = mode
        self._letters = letters
        self._tested: defaultdict[str, deque[datetime]] = defaultdict(deque)  # user -> test messages of late
        self._writing = threading.Lock()  # looking a key up and binding it are one step

    # --- Writing -----------------------------------------------------------------------------------

    def submit(self, ticket: Ticket, command: NotificationCommand) -> Written | Problem:
        """Carry a command out, once for every idempotency key."""
        with self._writing:
            done = self._carry_out(ticket, command)
        if isinstance(done, Written) and isinstance(command, SendTestNotification) and not ticket.dry_run:
            return self._with_answer(done)
        return done

    def _carry_out(self, ticket: Ticket, command: NotificationCommand) -> Written | Problem:
        key = OURS + ticket.idempotency_key
        known = None if ticket.dry_run else self._store.query_by_key(ticket.user, key)
        if known is not None:
            if known.body_digest != ticket.body_digest:
                text = "this idempotency key was used for a different request"
                return errors.problem(errors.IDEMPOTENCY_CONFLICT, text)
            return Written(query=known, duplicate=True)
        query_id = self._new_id()
        done = self._judge(ticket, command, query_id)
        if isinstance(done, Problem):
            return done
        result, work = done
        now = self._clock()
        query = Query(
            query_id=query_id,
            user=ticket.user,
            bot=ticket.bot,
            verb=verb_of(command),
            exchange=None,
            parameters=encode_command(command),
            idempotency_key=key,
            body_digest=ticket.body_digest,
            record_in_db=ticket.record_in_db,
            send_fail_email=ticket.send_fail_email,
            mode=self._mode(),
            status=QueryStatus.DONE,
            accepted_at=now,
            finished_at=now,
            result={**result, "dry_run": True} if ticket.dry_run else result,
            seq=int(now.timestamp() * 1_000_000),
        )
        if not ticket.dry_run:
            try:
                self._store.commit([*_nonce(ticket), query], work)
            except NonceUsed:
                return errors.problem(errors.AUTH_REPLAYED, "this signed request was received before")
        return Written(query=query)

    def _judge(
        self, ticket: Ticket, command: NotificationCommand, query_id: str
    ) -> tuple[dict[str, object], Work] | Problem:
        """Return what a command results in, and the work that makes it so."""
        match command:
            case SetNotificationRule():
                return self._set(ticket, command)
            case DeleteNotificationRule():
                owner = command.user or ticket.user
                if self._rule(owner, command.name) is None:
                    return _no_rule(command.name)
                return {"deleted": command.name, "user": owner}, self._rows.deleting_rule(owner, command.name)
            case AcknowledgeNotification():
                message = self._rows.message(ticket.user, command.message_id)
                if message is None:
                    text = f"there is no message {command.message_id!r} of yours"
                    return errors.problem(errors.NOTIFICATION_NOT_FOUND, text)
                now = self._clock()
                result = {"message_id": message.message_id, "acknowledged_at": message.acknowledged_at or now}
                return _plain(result), self._rows.acknowledging(message, ticket.user, now)
            case SendTestNotification():
                rule = self._rule(ticket.user, command.name)
                if rule is None:
                    return _no_rule(command.name)
                now = self._clock()
                too_soon = self._too_many_tests(ticket, now)
                if too_soon is not None:
                    return too_soon
                made = _test_message(rule, query_id, now)
                result = {"message_id": made.message_id, "channel": made.channel, "address": made.address}
                return _plain(result), self._rows.putting_message(made)

    def _too_many_tests(self, ticket: Ticket, now: datetime) -> Problem | None:
        """Count a test message, unless the user had enough of them lately."""
        tested = self._tested[ticket.user]
        while tested and tested[0] <= now - TESTS_WITHIN:
            tested.popleft()
        if len(tested) < TESTS_MAX:
            if not ticket.dry_run:
                tested.append(now)
            return None
        wait_s = (tested[0] + TESTS_WITHIN - now).total_seconds()
        return errors.problem(
            errors.RATE_LIMITED,
            f"{TESTS_MAX} test messages of {ticket.user} left within {TESTS_WITHIN.total_seconds():.0f} s",
            details={"limit": TESTS_MAX, "retry_after_s": f"{wait_s:.1f}"},
        )

    def _set(self, ticket: Ticket, command: SetNotificationRule) -> tuple[dict[str, object], Work] | Problem:
        given = {
            name: getattr(command, name)
            for name in names_of(SetNotificationRule)
            if name not in ("user", "channel", "severity", "address")
        }
        rule = NotificationRule(
            user=command.user or ticket.user,
            channel=Channel(command.channel),
            severity=Severity(command.severity),
            address=command.address or "",
            updated_at=self._clock(),
            **given,
        )
        problems = [*self._unreachable(rule), *_no_zone(rule)]
        others = [other for other in self._rows.rules(rule.user) if other.name != rule.name]
        if len(others) >= RULES_MAX:
            text = f"{rule.user} has {len(others)} rules already"
            problems.append(errors.problem(errors.NOTIFICATION_RULES_FULL, text))
        if problems:
            return errors.combined(problems)
        return rule_view(rule), self._rows.putting_rule(rule)

    def _unreachable(self, rule: NotificationRule) -> list[Problem]:
        if rule.channel is Channel.IN_APP:
            return []
        sender = self._senders.get(rule.channel)
        details: dict[str, object] = {"field": "channel", "value": str(rule.channel)}
        if sender is None:
            on = [str(channel) for channel in (Channel.IN_APP, *self._senders)]
            text = f"channel: {rule.channel} is not set up on this server; set up: {', '.join(on)}"
            return [errors.problem(errors.NOTIFICATION_CHANNEL_OFF, text, details={**details, "on": on})]
        refused = sender.refusal(rule.address)
        if refused is None:
            return []
        details = {"field": "address", "value": rule.address}
        return [errors.problem(errors.NOTIFICATION_ADDRESS_REFUSED, f"address: {refused}", details=details)]

    def _with_answer(self, done: Written) -> Written:
        """Wait until the channel has said something about a test message."""
        result = dict(done.query.result or {})
        self._notifier.poke(Channel(str(result["channel"])))
        message_id, patience = str(result["message_id"]), int(TEST_PATIENCE_S / 0.1)
        pause = threading.Event()
        message = self._rows.message(done.query.user, message_id)
        while message is not None and message.state == "waiting" and not message.answer and patience > 0:
            pause.wait(0.1)
            patience -= 1
            message = self._rows.message(done.query.user, message_id)
        if message is not None:
            result |= {"state": message.state, "answer": message.answer or "no answer yet"}
        return replace(done, query=replace(done.query, result=result))

    def _rule(self, user: str, name: str) -> NotificationRule | None:
        return next((rule for rule in self._rows.rules(user) if rule.name == name), None)

    # --- Reading -----------------------------------------------------------------------------------

    def rules(self, user: str | None) -> list[dict[str, object]]:
        """Return a user's rules; everybody's for None."""
        return [rule_view(rule) for rule in self._rows.rules(user)]

    def messages(self, user: str, *, wait_s: float, **wanted: Any) -> Mapping[str, object]:
        """Return a page of a user's messages; wait a while for one where there is none.

        Raises ValueError for a cursor that is none of ours.
        """
        page, cursor = self._rows.messages(user, **wanted)
        waited = 0.0
        while not page and waited < wait_s:
            self._notifier.wait_for_new(POLL_S)
            waited += POLL_S
            page, cursor = self._rows.messages(user, **wanted)
        latest = list_key(page[0].created_at, page[0].message_id) if page else wanted["after"]
        return {
            "notifications": [message_view(message) for message in page],
            "next_cursor": cursor,
            "latest": latest,
        }

    def health(self) -> dict[str, object]:
        """Say what waits, and which channels and addresses are in trouble."""
        waiting = {
            channel: {"messages": count, "since": since}
            for channel, (count, since) in self._rows.waiting_counts().items()
        }
        channels = [str(channel) for channel in (Channel.IN_APP, *self._senders)]
        trouble = dict(self._notifier.trouble)
        if letters := self._letters():
            trouble["letters"] = letters
        return {"channels": channels, "waiting": waiting, "trouble": trouble}


def rule_view(rule: NotificationRule) -> dict[str, object]:
    """Write a rule as its owner gave it."""
    return _plain({name: getattr(rule, name) for name in names_of(NotificationRule)})


def message_view(message: Message) -> dict[str, object]:
    """Write a message as its owner may read it."""
    hidden = ("group", "next_attempt_at")
    return _plain({name: getattr(message, name) for name in names_of(Message) if name not in hidden})


def names_of(record: Any) -> list[str]:
    return [each.name for each in fields(record)]


def _plain(values: Mapping[str, object]) -> dict[str, object]:
    return {name: jsonable(value) for name, value in values.items()}


def _nonce(ticket: Ticket) -> list[NonceUse]:
    return [] if ticket.nonce is None else [replace(ticket.nonce, key_id=OURS + ticket.nonce.key_id)]


def _no_rule(name: str) -> Problem:
    return errors.problem(errors.NOTIFICATION_RULE_NOT_FOUND, f"there is no rule {name!r}")


def _no_zone(rule: NotificationRule) -> list[Problem]:
    if zone_named(rule.time_zone) is not None:
        return []
    return [
        errors.problem(
            errors.REQUEST_FIELD_INVALID,
            f'time_zone: "{rule.time_zone}" is not a zone of the IANA database',
            hint='Send a name such as "Europe/Berlin" or "UTC".',
            details={"field": "time_zone", "value": rule.time_zone},
        )
    ]


def _test_message(rule: NotificationRule, query_id: str, now: datetime) -> Message:
    shown = rule.channel is Channel.IN_APP
    return Message(
        message_id=f"t-{query_id}",
        user=rule.user,
        rule=rule.name,
        channel=rule.channel,
        address=rule.address,
        severity=Severity.INFO,
        event="test",
        subject="a test message",
        text=f"Somebody with the key of {rule.user} asked for this test of the rule {rule.name!r}.",
        group="test",
        count=1,
        order_id=None,
        query_id=query_id,
        created_at=now,
        state="sent" if shown else "waiting",
        sent_at=now if shown else None,
        answer="shown in get_notifications" if shown else "",
        next_attempt_at=None if shown else now,
    )
