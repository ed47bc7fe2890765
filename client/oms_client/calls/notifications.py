"""Who is told of what, how: rules, messages, acknowledgements."""

from __future__ import annotations

from collections.abc import Iterable

from ..amounts import one_exchange
from ..answers import NotificationDone, NotificationRule, NotificationRules, Notifications
from ..arguments import flag
from ..connection import Connection
from ..outcomes import is_over, result_of


class NotificationCalls(Connection):
    """Notification rules and the messages they made."""

    def get_notification_rules(self, *, everyone: bool = False) -> NotificationRules:
        """List your notification rules, and the channels there are; everybody's needs the role admin."""
        return self._ask(NotificationRules, "get_notification_rules", of="everyone" if everyone else None)

    def set_notification_rule(
        self,
        name: str,
        channel: str,
        *,
        address: str | None = None,
        events: Iterable[str] | None = None,
        severity: str | None = None,
        exchange: str | None = None,
        of_bot: str | None = None,
        everyone: bool = False,
        digest_minutes: int | None = None,
        digest_at: str | None = None,
        quiet_from: str | None = None,
        quiet_until: str | None = None,
        time_zone: str | None = None,
        suppress_s: int | None = None,
        repeat_s: int | None = None,
        user: str | None = None,
        dry_run: bool = False,
    ) -> NotificationRule:
        """Have events told over a channel: "in_app", "email", "webhook" or "service"; the same name replaces
        a rule."""
        said = {
            "name": name,
            "channel": channel,
            "address": address,
            "events": None if events is None else list(events),
            "severity": severity,
            "exchange": None if exchange is None else one_exchange(exchange),
            "of_bot": of_bot,
            "everyone": flag("everyone", everyone),
            "digest_minutes": digest_minutes,
            "digest_at": digest_at,
            "quiet_from": quiet_from,
            "quiet_until": quiet_until,
            "time_zone": time_zone,
            "suppress_s": suppress_s,
            "repeat_s": repeat_s,
            "user": user,
        }
        body = {field: value for field, value in said.items() if value is not None}
        body |= self._options(None, None, dry_run)
        return self._write("set_notification_rule", body, None, result_of(NotificationRule), until=is_over)

    def delete_notification_rule(self, name: str, *, user: str | None = None) -> NotificationDone:
        """Forget a rule, and what waits because of it."""
        body = {"name": name, "user": user, **self._options(None, None, False)}
        return self._write("delete_notification_rule", body, None, result_of(NotificationDone), until=is_over)

    def get_notifications(
        self,
        *,
        unacknowledged: bool = False,
        channel: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        after: str | None = None,
        wait_s: int | None = None,
    ) -> Notifications:
        """List what you were told, newest first. With `wait_s` wait for something to show; `after` is the
        `latest` of an earlier answer, and leaves out what you know."""
        return self._ask(
            Notifications,
            "get_notifications",
            only="unacknowledged" if unacknowledged else None,
            channel=channel,
            limit=limit,
            cursor=cursor,
            after=after,
            wait_s=wait_s,
        )

    def acknowledge_notification(self, message_id: str) -> NotificationDone:
        """Say that you have seen a message: neither it nor another about the same is repeated any more."""
        body = {"message_id": message_id, **self._options(None, None, False)}
        return self._write("acknowledge_notification", body, None, result_of(NotificationDone), until=is_over)

    def test_notification(self, name: str) -> NotificationDone:
        """Send a test message the way a rule says, at once; `answer` is the channel's own."""
        body = {"name": name, **self._options(None, None, False)}
        return self._write("test_notification", body, None, result_of(NotificationDone), until=is_over)
