"""How Alembic reaches the database: on the connection the server hands over, or by DB_URL for people."""

from __future__ import annotations

import os
from typing import Any, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlalchemy import Connection

from server.store.columns import JsonDoc, Key, Money, UtcTime, Words
from server.store.connect import database_url, open_engine
from server.store.tables import metadata


def render_type(kind: str, item: Any, _context: AutogenContext) -> str | Literal[False]:
    """Write our column types as the functions of a migration file, which imports nothing of ours."""
    if kind == "type":
        if isinstance(item, Money):
            return f"money({item.decimals})"
        for known, name in ((UtcTime, "utc_time"), (JsonDoc, "json_doc"), (Key, "key"), (Words, "sa.Text")):
            if isinstance(item, known):
                return f"{name}()"
    return False


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        render_as_batch=True,
        compare_type=True,
        render_item=render_type,
        transactional_ddl=True,  # SQLite can do it too, when the driver is kept from committing by itself
    )
    with context.begin_transaction():
        context.run_migrations()


given: Connection | None = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    engine = open_engine(database_url(os.environ.get("DB_URL")), writes=True)
    with engine.begin() as opened:
        run(opened)
    engine.dispose()
