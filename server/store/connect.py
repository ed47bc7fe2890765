"""Open a database the way every part of the store needs it: URL, engines, settings of a connection.

SQLite: write-ahead log, `synchronous=FULL` (a commit that returned survives a power cut), BEGIN IMMEDIATE.
PostgreSQL: UTC, bounded waits, and reads that each see one moment (repeatable read).
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from server.store.columns import DecimalSum, DecimalSumProduct, compare_amounts, to_json

DEFAULT_URL = "sqlite:///var/oms.sqlite"
EXPECTED = "use postgres://user:password@host:port/name or sqlite:///file"

BUSY_TIMEOUT_MS = 5000
STATEMENT_TIMEOUT_MS = 30_000
LOCK_TIMEOUT_MS = 5000


class BadDatabaseUrl(ValueError):
    """DB_URL holds a wrong value; the message is one line that names it and the fix, and no password."""


def database_url(text: str | None) -> URL:
    """Read DB_URL as people write it; nothing at all means SQLite in ./var."""
    try:
        url = make_url(text.strip() if text and text.strip() else DEFAULT_URL)
    except (ArgumentError, ValueError):
        raise BadDatabaseUrl(f"DB_URL: not a database URL; {EXPECTED}") from None
    if url.drivername in ("postgres", "postgresql", "postgresql+psycopg2"):
        if not url.database:
            raise BadDatabaseUrl(f"DB_URL: the database's name is missing; {EXPECTED}")
        # SQLAlchemy 2.1 takes psycopg 3 for a bare postgresql://; the required driver is psycopg2.
        return url.set(drivername="postgresql+psycopg2")
    if url.drivername in ("sqlite", "sqlite+pysqlite"):
        if url.host:
            raise BadDatabaseUrl("DB_URL: sqlite needs three slashes and a file: sqlite:///var/oms.sqlite")
        if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
            raise BadDatabaseUrl(
                "DB_URL: SQLite needs a file, for a restart to find: sqlite:///var/oms.sqlite"
            )
        return url.set(drivername="sqlite")
    raise BadDatabaseUrl(f"DB_URL: {url.drivername} is not supported; {EXPECTED}")


def sqlite_file(url: URL) -> Path:
    assert url.drivername == "sqlite" and url.database
    return Path(url.database)


def process_name() -> str:
    """Say who we are, for the process that finds the database taken."""
    return f"oms pid {os.getpid()} on {socket.gethostname()}"[:63]  # PostgreSQL cuts application_name at 63


def open_engine(url: URL, *, writes: bool) -> Engine:
    """Return an engine for writing (one connection, held by the store) or for reading (a pool)."""
    if url.drivername == "sqlite":
        return _open_sqlite(url, writes=writes)
    options = [
        "-c timezone=UTC",
        f"-c statement_timeout={STATEMENT_TIMEOUT_MS}",
        f"-c lock_timeout={LOCK_TIMEOUT_MS}",
    ]
    if not writes:
        options.append("-c default_transaction_read_only=on")
    return create_engine(
        url,
        isolation_level="READ COMMITTED" if writes else "REPEATABLE READ",
        json_serializer=to_json,
        pool_size=8,
        max_overflow=16,
        pool_timeout=10,
        # A reader may ask first; the writer finds out by writing, and knows how to recover.
        pool_pre_ping=not writes,
        connect_args={
            "application_name": process_name(),
            "connect_timeout": 5,
            "options": " ".join(options),
            # A server that vanished is noticed in seconds, not after the kernel's two hours.
            "keepalives": 1,
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            "tcp_user_timeout": 10_000,
        },
    )


def _open_sqlite(url: URL, *, writes: bool) -> Engine:
    make_private(sqlite_file(url))
    # isolation_level None: the driver begins no transactions of its own, `begin` below does.
    arguments = {"isolation_level": None, "check_same_thread": False}
    engine = create_engine(url, connect_args=arguments, pool_timeout=10)

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        connection.create_collation("DECIMAL", compare_amounts)
        connection.create_aggregate("dec_sum", 1, DecimalSum)
        connection.create_aggregate("dec_sum_product", 2, DecimalSumProduct)
        connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        if not writes:
            connection.execute("PRAGMA query_only=ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def make_private(file: Path) -> None:
    """Make the file and its folder, readable by this user only: it says what somebody owns."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))
