"""Empty the mail outbox: notices become letters, at least once each, never in the way of an order.

Rules:
1. The outbox is the truth. A notice leaves it only after the mail server has said yes; a crash in between
   sends the letter twice, alike to its Message-ID.
2. A server in trouble makes everything wait, longer each time, up to five minutes. Nothing is given up.
3. A letter the server will not take waits by itself; the others go.
4. Notices of one group that wait together are one letter, and a group gets at most one letter a minute:
   a bot that fails every second must not cost the mailbox its good name.
5. With a digest every notice that is not critical waits for the next full span of so many minutes (UTC), and
   all that wait are one letter. It waits in its table: a restart changes nothing.
6. Without a mailbox notices stay in their table, marked once.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol

from ems.core.records import Notice, Query
from ems.store import StoreUnavailable
from server.notify.letter import letter
from server.notify.post import LetterRefused, Mailbox, MailServerTrouble, Post, opened

log = logging.getLogger(__name__)

POLL_S = 2.0
GROUP_GAP_S = 60.0
DELAY_FIRST_S = 2.0
DELAY_MAX_S = 300.0
NO_MAILBOX = "no mail configured"
DIGEST = "digest"


class Outbox(Protocol):
    """Where notices wait."""

    def unsent_notices(self, due_before: datetime, limit: int = 200) -> list[tuple[Notice, int]]:
        """Return notices that wait and are due, oldest first, each with its number of failed attempts."""

    def query_of_notice(self, query_id: str) -> Query | None: ...

    def notices_sent(self, notice_ids: Sequence[str], now: datetime, remark: str | None = None) -> None: ...

    def notices_failed(self, notice_ids: Sequence[str], error: str, next_attempt_at: datetime) -> None: ...

    def notices_put_off(self, until: Mapping[str, datetime]) -> None:
        """Say when letters are due: notice id -> when. It is no failed attempt."""

    def notices_undeliverable(self, notice_ids: Sequence[str], error: str) -> None: ...


class Mailer:
    """A thread of its own beside the engine; `start` it, `poke` it when something is new, `stop` it."""

    def __init__(
        self,
        outbox: Outbox,
        mailbox: Mailbox | None,
        clock: Callable[[], datetime],
        *,
        poll_s: float = POLL_S,
        group_gap_s: float = GROUP_GAP_S,
        digest_minutes: int | None = None,
        implicit_tls: bool | None = None,
    ) -> None:
        self.trouble = ""  # why letters wait; empty when all is well
        self._outbox = outbox
        self._mailbox = mailbox
        self._clock = clock
        self._poll_s = poll_s
        self._group_gap = timedelta(seconds=group_gap_s)
        self._digest_s = None if digest_minutes is None else digest_minutes * 60
        self._implicit_tls = implicit_tls
        self._failures = 0  # of the server, in a row
        self._not_before: datetime | None = None  # the server's own waiting time
        self._group_sent: dict[str, datetime] = {}  # group -> when its last letter left
        self._fresh = True  # a new start tries everything at once: what was wrong may have been put right
        self._wake = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="mailer", daemon=True)
        self._thread.start()

    def poke(self) -> None:
        """Look into the outbox now; a server in trouble is still left alone."""
        self._wake.set()

    def stop(self, timeout_s: float = 20.0) -> None:
        """End the thread; what has not been sent is sent after the next start."""
        self._stopping = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout_s)
            self._thread = None

    def _run(self) -> None:
        while not self._stopping:
            try:
                self.deliver()
            except StoreUnavailable as error:
                self._say(f"the outbox cannot be read: {error}")
            except Exception:  # the last border of this thread: no letter may end it
                log.exception("the mailer stumbled; it goes on")
            self._wake.wait(self._poll_s)
            self._wake.clear()

    def deliver(self) -> int:
        """Send what is due and return the number of letters sent."""
        now = self._clock()
        if self._not_before is not None and now < self._not_before:
            return 0
        due_before = now + timedelta(seconds=DELAY_MAX_S) if self._fresh else now
        waiting = self._outbox.unsent_notices(due_before)
        self._fresh = False
        if not waiting:
            return 0
        if self._mailbox is None:
            log.warning(
                "%d notices are not mailed: SENDER_EMAIL and RECEIVE_EMAILS are not set", len(waiting)
            )
            self._outbox.notices_undeliverable([notice.notice_id for notice, _ in waiting], NO_MAILBOX)
            return 0
        groups = self._ready(self._due(waiting, now), now)
        return self._send(groups, self._mailbox, now) if groups else 0

    def _due(self, waiting: Sequence[tuple[Notice, int]], now: datetime) -> list[tuple[Notice, int]]:
        """Put off what belongs to a digest that is not due; return the rest."""
        early = {
            notice.notice_id: due
            for notice, _ in waiting
            if self._is_collected(notice) and (due := self._digest_of(notice)) > now
        }
        if early:
            self._outbox.notices_put_off(early)
        return [(notice, tries) for notice, tries in waiting if notice.notice_id not in early]

    def _is_collected(self, notice: Notice) -> bool:
        return self._digest_s is not None and notice.severity != "critical"

    def _digest_of(self, notice: Notice) -> datetime:
        """Return the first full span after a notice was written."""
        span = self._digest_s or 1
        return datetime.fromtimestamp((int(notice.created_at.timestamp()) // span + 1) * span, UTC)

    def _ready(self, waiting: Sequence[tuple[Notice, int]], now: datetime) -> list[list[tuple[Notice, int]]]:
        """Put notices of one group together, and leave out the groups that had a letter a moment ago."""
        recent = {group: at for group, at in self._group_sent.items() if now - at < self._group_gap}
        self._group_sent = recent
        groups: dict[str, list[tuple[Notice, int]]] = {}
        for notice, attempts in waiting:
            if self._is_collected(notice):
                groups.setdefault(DIGEST, []).append((notice, attempts))
            elif notice.group not in recent:
                key = f"group {notice.group}" if notice.group else f"notice {notice.notice_id}"
                groups.setdefault(key, []).append((notice, attempts))
        return list(groups.values())

    def _send(self, groups: list[list[tuple[Notice, int]]], mailbox: Mailbox, now: datetime) -> int:
        sent = 0
        unsettled = list(groups)
        try:
            with opened(mailbox, implicit_tls=self._implicit_tls) as post:
                while unsettled and not self._stopping:
                    sent += self._send_one(unsettled[0], mailbox, post, now)
                    unsettled.pop(0)
        except MailServerTrouble as error:
            again = now + _delay(self._failures)
            self._failures += 1
            self._not_before = again
            rest = [notice.notice_id for group in unsettled for notice, _ in group]
            self._outbox.notices_failed(rest, str(error), again)
            self._say(f"the mail server {mailbox.host}:{mailbox.port} is in trouble: {error}")
            return sent
        self._failures, self._not_before = 0, None
        if self.trouble:
            log.info("letters leave again")
            self.trouble = ""
        return sent

    def _send_one(self, group: list[tuple[Notice, int]], mailbox: Mailbox, post: Post, now: datetime) -> int:
        notices = [notice for notice, _ in group]
        ids = [notice.notice_id for notice in notices]
        known = {
            query_id: query
            for query_id in {notice.query_id for notice in notices if notice.query_id is not None}
            if (query := self._outbox.query_of_notice(query_id)) is not None
        }
        try:
            written = letter(notices, known, sender=mailbox.sender, receivers=mailbox.receivers, now=now)
            remark = post.send(written)
        except (LetterRefused, ValueError) as error:  # ValueError: a text that no letter can carry
            log.error("the letter %r was not taken: %s", notices[0].subject, error)
            self._outbox.notices_failed(ids, str(error), now + _delay(max(tries for _, tries in group)))
            return 0
        self._outbox.notices_sent(ids, now, remark)
        if notices[0].group and not self._is_collected(notices[0]):
            self._group_sent[notices[0].group] = now
        return 1

    def _say(self, trouble: str) -> None:
        if not self.trouble:
            log.error("letters wait: %s", trouble)
        self.trouble = trouble


def _delay(failures: int) -> timedelta:
    return timedelta(seconds=min(DELAY_MAX_S, DELAY_FIRST_S * 2 ** min(failures, 20)))
