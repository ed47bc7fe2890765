"""Turn what happened into messages, and take them to their channels: never in the way of an order.

Rules:
1. The database is the truth; every step moves rows on in one transaction (`server/store/notifications.py`).
   A crash repeats a step: a message may be sent twice, alike to its id, and is never lost.
2. One thread makes messages, and one for every channel sends them: a dead webhook delays no e-mail.
3. An address in trouble is left alone for a while, longer each time, up to five minutes. A message is given
   up after three days.
4. Whose event it is, and who may see it, is decided in `ems.core.notifications.may_see`, also for admins who
   no longer are.
"""

from __future__ import annotations

import functools
import logging
import threading
import zoneinfo
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Protocol

from ems.core import notifications as core
from ems.core.notifications import Channel, Happening, Message, News, Notification, NotificationRule
from ems.core.records import Notice, Order, Query, Status
from ems.store import StoreUnavailable
from server.notify.channels import Sender, Undelivered

log = logging.getLogger(__name__)

POLL_S = 1.0
BATCH = 200
DELAY_FIRST_S = 2.0
DELAY_MAX_S = 300.0
GIVE_UP = timedelta(days=3)
KEEP = timedelta(days=90)
PURGE_EVERY = timedelta(hours=1)


class Rows(Protocol):
    """Where rules, news, notifications and messages are; see `server.store.notifications`."""

    def rules(self, user: str | None) -> list[NotificationRule]: ...
    def news(self, limit: int) -> list[News]: ...
    def order(self, order_id: str) -> Order | None: ...
    def query(self, query_id: str) -> Query | None: ...
    def notice(self, notice_id: str) -> Notice | None: ...
    def told_at(self, user: str, rule: str, group: str) -> datetime | None: ...
    def looked_at(self, news: Sequence[News], made: Sequence[Notification]) -> None: ...
    def due(self, now: datetime, limit: int) -> list[Notification]: ...
    def put_together(
        self, messages: Sequence[tuple[Message, Sequence[Notification]]], orphans: Sequence[Notification]
    ) -> None: ...
    def repeat(self, now: datetime) -> int: ...
    def waiting(self, channel: Channel, now: datetime, limit: int) -> list[Message]: ...
    def outcome(self, message_id: str, values: Mapping[str, Any]) -> None: ...
    def purge(self, before: datetime) -> None: ...


@functools.cache
def zone_named(name: str) -> tzinfo | None:
    """Return a time zone of the IANA database, or None."""
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return None


class Worker:
    """A thread that does its work, waits a moment or until it is poked, and does it again."""

    def __init__(self, name: str, work: Callable[[], object], poll_s: float) -> None:
        self._name = name
        self._work = work
        self._poll_s = poll_s
        self._wake = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self.trouble = ""

    def start(self) -> None:
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def poke(self) -> None:
        self._wake.set()

    def end(self) -> None:
        """Begin nothing more; `join` waits for what is under way."""
        self._stopping = True
        self._wake.set()

    def join(self, timeout_s: float) -> None:
        if self._thread is not None:
            self._thread.join(timeout_s)
            self._thread = None

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._work()
                self.trouble = ""
            except StoreUnavailable as error:
                self.trouble = f"the database cannot be used: {error}"
            except Exception as error:  # the last border of this thread: no message may end it
                log.exception("%s stumbled; it goes on", self._name)
                self.trouble = f"{type(error).__name__}, see the log"
            self._wake.wait(self._poll_s)
            self._wake.clear()


class Courier:
    """Sends the messages of one channel."""

    def __init__(self, channel: Channel, sender: Sender, rows: Rows, clock: Callable[[], datetime]) -> None:
        self._channel = channel
        self._sender = sender
        self._rows = rows
        self._clock = clock
        # address -> (failures in a row, left alone until, what it said)
        self._trouble: dict[str, tuple[int, datetime, str]] = {}

    @property
    def troubles(self) -> dict[str, str]:
        """Return address -> why it was not reached."""
        return {address: said for address, (_, _, said) in self._trouble.copy().items()}

    def deliver(self) -> int:
        """Send what is due; return how many were sent."""
        sent = 0
        for message in self._rows.waiting(self._channel, self._clock(), BATCH):
            sent += self._deliver_one(message)
        return sent

    def _deliver_one(self, message: Message) -> int:
        now = self._clock()
        failures, until, said = self._trouble.get(message.address, (0, now, ""))
        if now < until:
            self._rows.outcome(message.message_id, {"next_attempt_at": until})
            return 0
        try:
            refused = self._sender.refusal(message.address)  # what is allowed may have changed
            if refused is not None:
                raise Undelivered(refused)
            answer = self._sender.send(message)
        except Undelivered as error:
            self._failed(message, failures, str(error))
            return 0
        self._trouble.pop(message.address, None)
        sent_at = self._clock()
        rules = {rule.name: rule for rule in self._rows.rules(message.user)}
        rule = rules.get(message.rule)
        repeat_at = None if rule is None else core.repeat_at(rule, message, sent_at)
        self._rows.outcome(
            message.message_id,
            {
                "state": "sent",
                "sent_at": sent_at,
                "answer": answer,
                "attempts": message.attempts + 1,
                "next_attempt_at": None,
                "repeat_at": repeat_at,
            },
        )
        return 1

    def _failed(self, message: Message, failures: int, said: str) -> None:
        now = self._clock()
        until = now + timedelta(seconds=min(DELAY_MAX_S, DELAY_FIRST_S * 2 ** min(failures, 20)))
        if message.address not in self._trouble:
            log.warning("%s %s is not reached: %s", self._channel, message.address, said)
        self._trouble[message.address] = (failures + 1, until, said)
        failed: dict[str, Any] = {"attempts": message.attempts + 1, "answer": said, "next_attempt_at": until}
        if now - message.created_at > GIVE_UP:
            failed |= {"state": "dropped", "next_attempt_at": None}
        self._rows.outcome(message.message_id, failed)


Watch = Callable[[datetime], Iterable[Happening]]  # asked at every look: what is there to tell now?


class Notifier:
    """Makes messages of what happened, and has them sent. `start` it, `stop` it."""

    def __init__(
        self,
        rows: Rows,
        senders: Mapping[Channel, Sender],
        clock: Callable[[], datetime],
        admins: Callable[[], Collection[str]],
        *,
        watches: Sequence[Watch] = (),
        poll_s: float = POLL_S,
    ) -> None:
        self._rows = rows
        self._clock = clock
        self._admins = admins
        self._watches = watches
        self._couriers = {
            channel: Courier(channel, sender, rows, clock) for channel, sender in senders.items()
        }
        self._maker = Worker("notifier", self.look, poll_s)
        self._workers = {
            channel: Worker(f"{channel} courier", courier.deliver, poll_s)
            for channel, courier in self._couriers.items()
        }
        self._purge_at = clock()
        self._new = threading.Condition()

    def start(self) -> None:
        for worker in (self._maker, *self._workers.values()):
            worker.start()

    def stop(self, timeout_s: float = 20.0) -> None:
        """End the threads; what has not been sent is sent after the next start."""
        with self._new:
            self._new.notify_all()
        workers = (self._maker, *self._workers.values())
        for worker in workers:
            worker.end()
        for worker in workers:
            worker.join(timeout_s / len(workers))

    def poke(self, channel: Channel | None = None) -> None:
        """Look now: into a channel's queue, or for what is new."""
        worker = self._maker if channel is None else self._workers.get(channel)
        if worker is not None:
            worker.poke()

    def wait_for_new(self, timeout_s: float) -> None:
        """Return when there may be new messages, or after a while."""
        with self._new:
            self._new.wait(timeout_s)

    @property
    def trouble(self) -> dict[str, str]:
        """Return what is wrong, worker or address -> why; nothing when all is well."""
        found = {worker._name: worker.trouble for worker in (self._maker, *self._workers.values())}
        for courier in self._couriers.values():
            found |= courier.troubles
        return {name: why for name, why in found.items() if why}

    # --- The work ----------------------------------------------------------------------------------

    def look(self) -> None:
        """Make notifications of news, messages of what is due, and repeat what nobody acknowledged."""
        now = self._clock()
        self.tell([happening for watch in self._watches for happening in watch(now)])
        while self._route(now) == BATCH:
            pass
        while self._put_together(now) == BATCH:
            pass
        if self._rows.repeat(now):
            self._poke_all()
        if now >= self._purge_at:
            self._rows.purge(now - KEEP)
            self._purge_at = now + PURGE_EVERY

    def deliver(self) -> int:
        """Send what is due over every channel, in this thread; return how many were sent."""
        return sum(courier.deliver() for courier in self._couriers.values())

    def _route(self, now: datetime) -> int:
        news = self._rows.news(BATCH)
        if not news:
            return 0
        rules = self._rows.rules(None)
        happenings = filter(None, map(self._happening, news)) if rules else ()
        self._rows.looked_at(news, self._notifications(happenings, rules, now))
        return len(news)

    def tell(self, happenings: Sequence[Happening]) -> None:
        """Write down whom it concerns; of what is no record of the engine's."""
        if happenings:
            made = self._notifications(happenings, self._rows.rules(None), self._clock())
            self._rows.looked_at([], made)

    def _notifications(
        self, happenings: Iterable[Happening], rules: Sequence[NotificationRule], now: datetime
    ) -> list[Notification]:
        admins = frozenset(self._admins())
        made = []
        for happening in happenings:
            for rule in rules:
                if core.fits(rule, happening) and core.may_see(rule, happening, admins):
                    told_at = self._rows.told_at(rule.user, rule.name, happening.group)
                    zone = zone_named(rule.time_zone) or UTC
                    made.append(core.notification_of(rule, happening, now, told_at, zone))
        return made

    def _happening(self, news: News) -> Happening | None:
        if news.kind == "order":
            order = self._rows.order(news.subject)
            return None if order is None else core.of_order(order, Status(news.status))
        if news.kind == "query":
            query = self._rows.query(news.subject)
            return None if query is None else core.of_query(query)
        notice = self._rows.notice(news.subject)
        if notice is None:
            return None
        return core.of_notice(notice, self._rows.query(notice.query_id) if notice.query_id else None)

    def _put_together(self, now: datetime) -> int:
        due = self._rows.due(now, BATCH)
        if not due:
            return 0
        rules = {(rule.user, rule.name): rule for rule in self._rows.rules(None)}
        orphans = [one for one in due if (one.user, one.rule) not in rules]
        self._rows.put_together(core.messages_of(due, rules, now), orphans)
        self._poke_all()
        with self._new:
            self._new.notify_all()
        return len(due)

    def _poke_all(self) -> None:
        for worker in self._workers.values():
            worker.poke()
