"""One process owns the engine's database at a time; a second one is told who has it.

PostgreSQL: a session's advisory lock, taken on the very connection that commits. Who loses the connection
loses the lock, and every commit after that needs it back first: a stale owner cannot write.
SQLite: a lock on a file beside the database, let go by the kernel when the process ends, however it ends.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from sqlalchemy import Connection, text

from ems.store import StoreUnavailable
from server.store.connect import process_name

OWNER_LOCK = 0x6F6D735F6F776E72  # "oms_ownr"; advisory locks are counted per database
STALE_SESSION_WAIT_S = 3.0


class AlreadyOwned(Exception):
    """Another process owns the database; the message names it as far as it is known."""


class OwnershipLost(StoreUnavailable):
    """Another process took the database over while this one had lost its connection."""


class FileOwner:
    """The lock beside an SQLite file."""

    def __init__(self, database: Path) -> None:
        self._path = database.with_name(database.name + ".owner")
        self._file: int | None = None

    def acquire(self) -> None:
        """Take the lock or raise AlreadyOwned."""
        if self._file is not None:
            return
        file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(file, 200).decode(errors="replace").strip() or "another process"
            os.close(file)
            raise AlreadyOwned(f"{holder} has this database ({self._path.name}); stop it first") from None
        os.ftruncate(file, 0)
        os.pwrite(file, process_name().encode(), 0)
        self._file = file

    def release(self) -> None:
        """Let the lock go; the file stays, for removing it would let two processes lock two files."""
        if self._file is not None:
            os.ftruncate(self._file, 0)
            os.close(self._file)
            self._file = None


def lock_session(connection: Connection, former_session: int | None) -> int:
    """Take PostgreSQL's owner lock for this session and return the session's id; raise AlreadyOwned.

    `former_session` is our own last session: the server may still keep it alive after the network has dropped
    it, so it is ended first, and with it whatever commit it was in.
    """
    deadline = time.monotonic() + STALE_SESSION_WAIT_S
    while not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": OWNER_LOCK}):
        halves = {"high": OWNER_LOCK >> 32, "low": OWNER_LOCK & 0xFFFFFFFF}
        holder = connection.execute(_HOLDER, halves).first()
        ours = holder is not None and holder.pid == former_session
        if ours:
            connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": former_session})
        if not ours or time.monotonic() > deadline:
            connection.rollback()
            raise AlreadyOwned(f"{_describe(holder)} has this database; stop it first")
        connection.rollback()
        time.sleep(0.02)
    session = connection.scalar(text("SELECT pg_backend_pid()"))
    connection.commit()
    assert isinstance(session, int)
    return session


# A 64-bit key is shown in two halves: https://www.postgresql.org/docs/current/view-pg-locks.html
_HOLDER = text(
    "SELECT activity.pid, activity.application_name, activity.client_addr, activity.backend_start"
    " FROM pg_locks AS lock JOIN pg_stat_activity AS activity ON activity.pid = lock.pid"
    " WHERE lock.locktype = 'advisory' AND lock.granted AND lock.objsubid = 1"
    " AND lock.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    " AND lock.classid = CAST(:high AS bigint) AND lock.objid = CAST(:low AS bigint)"
)


def _describe(holder: object) -> str:
    if holder is None:
        return "another process"
    name = getattr(holder, "application_name", "") or "another process"
    since = getattr(holder, "backend_start", None)
    address = getattr(holder, "client_addr", None)
    if since is None:
        return name
    return f"{name} (from {address or 'this machine'}, since {since:%Y-%m-%d %H:%M:%S} UTC)"
