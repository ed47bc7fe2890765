"""Halting without a call: by a file that appears, and in the database of a server that does not run.

Rules:
1. The file says halt, its absence says nothing: what it halted is lifted by a person, with a call.
2. While the file is there and no halt of it is in force, everything is halted: also at the start, before
   anything trades.
3. With the server down the halt is a record like any other; the next start finds it and begins halted.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Protocol

from ems.core.codec import Options, digest, encode_command, verb_of
from ems.core.messages import HaltTrading, Ticket
from ems.core.records import Halt, Notice, Query, QueryStatus, Record
from ems.desk import DeskRefused

log = logging.getLogger(__name__)

LOOK_S = 0.5
REASON_MAX = 64
BY = "oms"  # who halts by file


class Door(Protocol):
    """What is needed of the desk."""

    def submit(self, ticket: Ticket, command: HaltTrading, source: str = "api") -> object: ...

    def halted_by(self, source: str) -> bool: ...


class HaltFile:
    """Watches for a file, and halts everything while it is there."""

    def __init__(self, path: Path, desk: Door, new_id: Callable[[], str]):
        self.path = path
        self._desk = desk
        self._new_id = new_id
        self._stop = threading.Event()
        self._blind = False

    def there(self) -> str:
        """Return the name of the file while it is there, else nothing."""
        return str(self.path) if self._exists() else ""

    def start(self) -> None:
        """Look once, here and now; then again and again."""
        self.look()
        threading.Thread(target=self._run, name="halt-file", daemon=True).start()

    def stop(self) -> None:
        self._stop.set()

    def look(self) -> None:
        """Halt if the file says so and nothing it said before is in force."""
        if not self._exists() or self._desk.halted_by("file"):
            return
        command = HaltTrading(all=True, reason=self._words() or None)
        ticket = Ticket(
            user=BY,
            bot="halt-file",
            idempotency_key=f"halt-file-{self._new_id()}",
            body_digest=digest(command, Options(bot="halt-file")),
        )
        log.critical("trading is halted: %s is there", self.path)
        try:
            self._desk.submit(ticket, command, source="file")
        except DeskRefused as refused:
            log.critical("%s: %s", self.path, refused.problem.message)

    def _run(self) -> None:
        while not self._stop.wait(LOOK_S):
            try:
                self.look()
            except Exception:
                log.exception("looking for %s failed; it is looked for again", self.path)

    def _exists(self) -> bool:
        try:
            self.path.stat()
        except FileNotFoundError:
            self._blind = False
            return False
        except OSError as error:
            if not self._blind:
                log.error("OMS_HALT_FILE: %s cannot be looked for: %s", self.path, error.strerror)
            self._blind = True
            return False
        return True

    def _words(self) -> str:
        """Return the first line of the file: why."""
        try:
            with self.path.open(encoding="utf-8", errors="replace") as file:
                line = file.readline(REASON_MAX)
        except OSError:
            return ""
        return "".join(c for c in line if c.isprintable()).strip()


def written_halt(command: HaltTrading, *, query_id: str, by: str, mode: str, now: datetime) -> list[Record]:
    """Return what is to be recorded of a halt that no running server hears of."""
    halt = Halt(
        halt_id=query_id,
        exchange=command.exchange,
        account=command.account,
        user=command.user,
        symbol=command.symbol,
        reason=command.reason or "",
        everything=command.everything,
        source="command",
        set_by=by,
        set_at=now,
    )
    query = Query(
        query_id=query_id,
        user=by,
        bot="app.py",
        verb=verb_of(command),
        exchange=command.exchange,
        parameters=encode_command(command),
        idempotency_key=f"halt-{query_id}",
        body_digest=digest(command, Options(bot="app.py")),
        record_in_db=True,
        send_fail_email=True,
        mode=mode,
        status=QueryStatus.WORKING,
        accepted_at=now,
        seq=1,
    )
    letter = Notice(
        notice_id=f"halt-{query_id}-set",
        query_id=query_id,
        severity="critical",
        subject=f"trading is halted: {halt.where}",
        failed=f"Nothing is placed any more: {halt.where}.",
        why=f"Set by {by} by command, with the server down" + (f": {halt.reason}." if halt.reason else "."),
        done="The next start begins halted, cancels what is open, and proves it.",
        todo=f"Start the server, so that it cancels. An admin lifts it with: oms resume {query_id}",
        created_at=now,
        group=f"halt/{query_id}/set",
        event="halt",
    )
    return [query, halt, letter]
