"""Rules, notifications and messages as SQL. `sql.SqlStore` gives the connections.

Every step from a record to a message that was sent is a row that moves on in one transaction: news becomes
notifications, notifications become a message, a message is sent. A crash in between repeats one step, and the
keys make its repeat the same rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Table, and_, delete, func, literal, or_, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite

from ems.core.notifications import Channel, Message, News, Notification, NotificationRule
from ems.core.records import Notice, Order, Query
from ems.store import list_key, read_list_key
from server.store import mapping
from server.store.tables import (
    NO_MESSAGE_YET,
    WAITING_MESSAGE,
    notices,
    notification_messages,
    notification_news,
    notification_rules,
    notifications,
    orders,
    queries,
)

Work = Callable[[Connection], None]
IDS_PER_STATEMENT = 500


class NotificationRows:
    """What the notifier and the API need of the database."""

    def __init__(
        self, write: Callable[[Work], None], reading: Callable[[], AbstractContextManager[Connection]]
    ) -> None:
        self._write = write
        self._reading = reading

    # --- Rules -----------------------------------------------------------------------------------

    def rules(self, user: str | None) -> list[NotificationRule]:
        """Return a user's rules by name; everybody's for None."""
        asked = select(notification_rules).order_by(notification_rules.c.user_id, notification_rules.c.name)
        if user is not None:
            asked = asked.where(notification_rules.c.user_id == user)
        with self._reading() as connection:
            return [mapping.NOTIFICATION_RULE.record(row) for row in connection.execute(asked)]

    def putting_rule(self, rule: NotificationRule) -> Work:
        """Return the work that makes or replaces a rule."""
        return lambda connection: _put(connection, notification_rules, [mapping.NOTIFICATION_RULE.row(rule)])

    def deleting_rule(self, user: str, name: str) -> Work:
        """Return the work that removes a rule, and what waits because of it."""

        def work(connection: Connection) -> None:
            rules, waiting = notification_rules, notification_messages
            connection.execute(delete(rules).where(rules.c.user_id == user, rules.c.name == name))
            connection.execute(
                delete(notifications).where(
                    notifications.c.user_id == user, notifications.c.rule == name, NO_MESSAGE_YET
                )
            )
            dropped = {"state": "dropped", "answer": "the rule was deleted", "next_attempt_at": None}
            of_rule = and_(waiting.c.user_id == user, waiting.c.rule == name)
            connection.execute(update(waiting).where(of_rule, WAITING_MESSAGE).values(**dropped))
            connection.execute(update(waiting).where(of_rule).values(repeat_at=None))

        return work

    # --- From news to messages ---------------------------------------------------------------------

    def news(self, limit: int) -> list[News]:
        with self._reading() as connection:
            rows = connection.execute(select(notification_news).limit(limit))
            return [News(kind=row.kind, subject=row.subject, status=row.status) for row in rows]

    def order(self, order_id: str) -> Order | None:
        """Return an order, whosesoever; without its fill ids."""
        row = self._one(orders, orders.c.order_id == order_id)
        return None if row is None else mapping.ORDER.record(row, fill_ids=frozenset())

    def query(self, query_id: str) -> Query | None:
        row = self._one(queries, queries.c.query_id == query_id)
        return None if row is None else mapping.QUERY.record(row)

    def notice(self, notice_id: str) -> Notice | None:
        row = self._one(notices, notices.c.notice_id == notice_id)
        return None if row is None else mapping.NOTICE.record(row)

    def _one(self, table: Table, condition: Any) -> Row[Any] | None:
        with self._reading() as connection:
            return connection.execute(select(table).where(condition)).first()

    def told_at(self, user: str, rule: str, group: str) -> datetime | None:
        """Return when a rule last told of a group."""
        parts, messages = notifications, notification_messages
        told = parts.join(messages, parts.c.message_id == messages.c.message_id)
        asked = select(func.max(messages.c.created_at)).select_from(told)
        asked = asked.where(parts.c.user_id == user, parts.c.rule == rule, parts.c.event_group == group)
        with self._reading() as connection:
            found: datetime | None = connection.execute(asked).scalar_one()
        return found

    def looked_at(self, news: Sequence[News], made: Sequence[Notification]) -> None:
        """Put notifications in the place of the news they came of."""
        if not news and not made:
            return

        def work(connection: Connection) -> None:
            if made:
                rows = [mapping.NOTIFICATION.row(one) for one in made]
                connection.execute(_insert(connection, notifications).on_conflict_do_nothing(), rows)
            key = tuple_(notification_news.c.kind, notification_news.c.subject, notification_news.c.status)
            for some in _slices(news):
                names = [(one.kind, one.subject, one.status) for one in some]
                connection.execute(delete(notification_news).where(key.in_(names)))

        self._write(work)

    def due(self, now: datetime, limit: int) -> list[Notification]:
        """Return notifications that are due and part of no message, oldest first."""
        asked = select(notifications).where(NO_MESSAGE_YET, notifications.c.due_at <= now)
        with self._reading() as connection:
            rows = connection.execute(asked.order_by(notifications.c.at).limit(limit))
            return [mapping.NOTIFICATION.record(row) for row in rows]

    def put_together(
        self, messages: Sequence[tuple[Message, Sequence[Notification]]], orphans: Sequence[Notification]
    ) -> None:
        """Make messages of notifications; forget those whose rule is gone."""

        def work(connection: Connection) -> None:
            if messages:
                rows = [mapping.MESSAGE.row(message) for message, _ in messages]
                connection.execute(_insert(connection, notification_messages).on_conflict_do_nothing(), rows)
            for message, parts in messages:
                for some in _slices(parts):
                    ids = [one.notification_id for one in some]
                    told = update(notifications).where(notifications.c.notification_id.in_(ids))
                    connection.execute(told.values(message_id=message.message_id))
            for some in _slices(orphans):
                ids = [one.notification_id for one in some]
                connection.execute(delete(notifications).where(notifications.c.notification_id.in_(ids)))

        self._write(work)

    def put_message(self, message: Message) -> None:
        """Write a message of no notification down: a test."""
        self._write(self.putting_message(message))

    def putting_message(self, message: Message) -> Work:
        return lambda connection: _put(connection, notification_messages, [mapping.MESSAGE.row(message)])

    def repeat(self, now: datetime) -> int:
        """Put messages that nobody has acknowledged in time back into the queue; return how many."""
        due = and_(notification_messages.c.repeat_at <= now, notification_messages.c.state == "sent")
        again = {
            "state": "waiting",
            "attempts": 0,
            "next_attempt_at": now,
            "repeat_at": None,
            "repeats": notification_messages.c.repeats + 1,
        }
        with self._reading() as connection:
            count = connection.execute(select(func.count()).select_from(notification_messages).where(due))
            found = int(count.scalar_one())
        if found:
            self._write(lambda c: _done(c.execute(update(notification_messages).where(due).values(**again))))
        return found

    # --- Sending -----------------------------------------------------------------------------------

    def waiting(self, channel: Channel, now: datetime, limit: int) -> list[Message]:
        """Return messages of a channel whose next attempt is due, oldest first."""
        messages = notification_messages
        asked = select(messages).where(
            WAITING_MESSAGE, messages.c.channel == str(channel), messages.c.next_attempt_at <= now
        )
        with self._reading() as connection:
            rows = connection.execute(asked.order_by(messages.c.created_at).limit(limit))
            return [mapping.MESSAGE.record(row) for row in rows]

    def outcome(self, message_id: str, values: Mapping[str, Any]) -> None:
        """Note what came of an attempt; one that was acknowledged meanwhile is not repeated."""
        mine = notification_messages.c.message_id == message_id
        unseen = notification_messages.c.acknowledged_at.is_(None)
        values = dict(values)
        repeat = values.pop("repeat_at", None)

        def work(connection: Connection) -> None:
            connection.execute(update(notification_messages).where(mine).values(**values))
            again = update(notification_messages).where(mine, unseen)
            connection.execute(again.values(repeat_at=repeat))

        self._write(work)

    def waiting_counts(self) -> dict[str, tuple[int, datetime]]:
        """Return channel -> (how many messages wait, since when the oldest does)."""
        messages = notification_messages
        asked = select(messages.c.channel, func.count(), func.min(messages.c.created_at))
        with self._reading() as connection:
            rows = connection.execute(asked.where(WAITING_MESSAGE).group_by(messages.c.channel))
            return {channel: (int(count), oldest) for channel, count, oldest in rows}

    # --- Reading and acknowledging -----------------------------------------------------------------

    def message(self, user: str, message_id: str) -> Message | None:
        messages = notification_messages
        row = self._one(messages, and_(messages.c.user_id == user, messages.c.message_id == message_id))
        return None if row is None else mapping.MESSAGE.record(row)

    def messages(
        self,
        user: str,
        *,
        unacknowledged: bool,
        channel: str | None,
        after: str | None,
        cursor: str | None,
        limit: int,
    ) -> tuple[list[Message], str | None]:
        """Return a page of a user's messages, newest first, and the cursor of the next; `after` is the cursor
        of one that is known already. Raises ValueError for a cursor that is none of ours."""
        messages = notification_messages
        place = tuple_(messages.c.created_at, messages.c.message_id)
        asked = select(messages).where(messages.c.user_id == user)
        if unacknowledged:
            asked = asked.where(messages.c.acknowledged_at.is_(None))
        if channel is not None:
            asked = asked.where(messages.c.channel == channel)
        if cursor is not None:
            asked = asked.where(place < _place(cursor))
        if after is not None:
            asked = asked.where(place > _place(after))
        asked = asked.order_by(messages.c.created_at.desc(), messages.c.message_id.desc())
        with self._reading() as connection:
            rows = [mapping.MESSAGE.record(row) for row in connection.execute(asked.limit(limit + 1))]
        page = rows[:limit]
        return page, cursor_of(page[-1]) if len(rows) > limit else None

    def acknowledging(self, message: Message, by: str, now: datetime) -> Work:
        """Return the work that acknowledges a message and every other that told its owner of the same."""
        messages, parts = notification_messages, notifications
        keys = select(parts.c.event_key).where(parts.c.message_id == message.message_id)
        same = select(parts.c.message_id).where(parts.c.user_id == message.user, parts.c.event_key.in_(keys))
        which = and_(
            messages.c.user_id == message.user,
            messages.c.acknowledged_at.is_(None),
            or_(messages.c.message_id == message.message_id, messages.c.message_id.in_(same)),
        )
        seen = {"acknowledged_at": now, "acknowledged_by": by, "repeat_at": None}
        again = and_(which, WAITING_MESSAGE, messages.c.repeats > 0)

        def work(connection: Connection) -> None:
            connection.execute(update(messages).where(again).values(state="sent", next_attempt_at=None))
            connection.execute(update(messages).where(which).values(**seen))

        return work

    def purge(self, before: datetime) -> None:
        """Forget messages older than that, unless they wait or are repeated, and what they were made of."""
        messages = notification_messages
        old = and_(
            messages.c.created_at < before, messages.c.state != "waiting", messages.c.repeat_at.is_(None)
        )

        def work(connection: Connection) -> None:
            ids = select(messages.c.message_id).where(old)
            connection.execute(delete(notifications).where(notifications.c.message_id.in_(ids)))
            connection.execute(delete(messages).where(old))

        self._write(work)


def cursor_of(message: Message) -> str:
    """Return the cursor of a message: sorts as (created_at, message_id) does."""
    return list_key(message.created_at, message.message_id)


def _place(cursor: str) -> Any:
    at, message_id = read_list_key(cursor)
    columns = notification_messages.c
    return tuple_(literal(at, columns.created_at.type), literal(message_id, columns.message_id.type))


def _insert(connection: Connection, table: Table) -> Any:
    dialect: Any = postgresql if connection.dialect.name == "postgresql" else sqlite
    return dialect.insert(table)


def _put(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    statement = _insert(connection, table)
    key = [column.name for column in table.primary_key]
    new = {column.name: statement.excluded[column.name] for column in table.c if column.name not in key}
    connection.execute(statement.on_conflict_do_update(index_elements=key, set_=new), rows)


def _done(_: object) -> None:
    """End a piece of work that is one statement."""


def _slices(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(rows), IDS_PER_STATEMENT):
        yield rows[start : start + IDS_PER_STATEMENT]
