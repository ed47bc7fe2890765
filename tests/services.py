"""Find the real services tests may use; conftest.py turns an absent one into a skip or a failure."""

from __future__ import annotations

import getpass
import os
import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from urllib.parse import urlsplit

import psycopg2
from psycopg2.sql import SQL, Composed, Identifier

# Tried in this order where OMS_TEST_PG_URL is not set: the usual local server with trust authentication.
USUAL_PLACES = (
    "postgresql://postgres@127.0.0.1:5432/postgres",
    f"postgresql://{getpass.getuser()}@127.0.0.1:5432/postgres",
)


class Absent(Exception):
    """No usable server; the text says where we looked and what it answered."""


@cache
def postgres() -> tuple[str, str]:
    """Return the URL of a PostgreSQL server where we may create databases, and words without its password."""
    asked = os.environ.get("OMS_TEST_PG_URL")
    reason = ""
    for url in (asked,) if asked else USUAL_PLACES:
        # libpq does not know SQLAlchemy's names of drivers.
        plain = urlsplit(url)._replace(scheme="postgresql").geturl()
        try:
            with (
                closing(psycopg2.connect(plain, connect_timeout=3)) as connection,
                connection.cursor() as cursor,
            ):
                cursor.execute("select rolcreatedb or rolsuper from pg_roles where rolname = current_user")
                row = cursor.fetchone()
                version = connection.server_version // 10_000
        except psycopg2.Error as error:
            reason = str(error).strip().partition("\n")[0]
            continue
        if row is not None and row[0]:
            return plain, f"PostgreSQL {version} at {plain.rsplit('@', 1)[-1]}"
        reason = "the user may not create databases"
    where = "OMS_TEST_PG_URL" if asked else "127.0.0.1:5432"
    raise Absent(f"no PostgreSQL for tests at {where} ({reason}); start one, or set OMS_TEST_PG_URL")


@contextmanager
def postgres_database() -> Iterator[str]:
    """Create an empty database, hand out its URL, and drop it with whoever is still connected."""
    server, _ = postgres()
    name = f"oms_test_{secrets.token_hex(6)}"
    _run(server, SQL("create database {}").format(Identifier(name)))
    try:
        yield urlsplit(server)._replace(path="/" + name).geturl()
    finally:
        _run(server, SQL("drop database if exists {} with (force)").format(Identifier(name)))


def _run(server: str, statement: Composed) -> None:
    with closing(psycopg2.connect(server, connect_timeout=3)) as connection:
        connection.autocommit = True  # a database cannot be created inside a transaction
        with connection.cursor() as cursor:
            cursor.execute(statement)
