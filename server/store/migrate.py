"""Bring a database to the schema this server knows: at every start, all of it or nothing.

Both databases can change tables inside a transaction, so a migration that fails or is killed leaves no trace,
and two servers starting together wait for each other.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy import exc as sql_errors

from ems.store import StoreUnavailable
from server.store.connect import database_url, open_engine

INI = Path(__file__).resolve().parents[2] / "migrations" / "alembic.ini"
MIGRATION_LOCK = 0x6F6D735F6D696772  # "oms_migr"
WAIT_S = 60


class SchemaTooNew(Exception):
    """The database was written by a newer server; this one would not understand it."""


def upgrade(url: str | None, revision: str = "head") -> str:
    """Migrate the database and return its revision. Raises SchemaTooNew and StoreUnavailable."""
    return _run(url, revision, down=False)


def downgrade(url: str | None, revision: str = "base") -> str:
    """Take migrations back, for those who return to an older server; "base" drops every table."""
    return _run(url, revision, down=True)


def _run(url: str | None, revision: str, *, down: bool) -> str:
    config = Config(INI)
    engine = open_engine(database_url(url), writes=True)
    try:
        with engine.connect() as connection:
            _prepare(connection)
            with connection.begin():
                if connection.dialect.name == "postgresql":
                    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
                _refuse_newer(connection, ScriptDirectory.from_config(config))
                config.attributes["connection"] = connection
                (command.downgrade if down else command.upgrade)(config, revision)
                return _current(connection) or "base"
    except sql_errors.DBAPIError as error:
        raise StoreUnavailable(f"the database could not be migrated: {error.orig}") from error
    finally:
        engine.dispose()


def _prepare(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        with connection.begin():
            connection.exec_driver_sql(f"SET lock_timeout = '{WAIT_S}s'; SET statement_timeout = 0")
        return
    driver = connection.connection.dbapi_connection
    assert driver is not None
    # SQLite changes a table by copying it, and foreign keys would follow the old one.
    # They cannot be switched inside a transaction.
    for setting in (f"busy_timeout={WAIT_S * 1000}", "foreign_keys=OFF"):
        driver.cursor().execute(f"PRAGMA {setting}")


def _current(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _refuse_newer(connection: Connection, known: ScriptDirectory) -> None:
    current = _current(connection)
    if current is not None and current not in {script.revision for script in known.walk_revisions()}:
        raise SchemaTooNew(
            f"the database has schema {current}, this server knows up to {known.get_current_head()};"
            " start the newer server, or point DB_URL at another database"
        )
