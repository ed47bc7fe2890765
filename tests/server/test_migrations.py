"""The migrated database equals the tables, on both databases, however the server got there."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, inspect, text

from server.store import migrate
from server.store.connect import database_url, open_engine
from server.store.migrate import SchemaTooNew, downgrade, upgrade
from server.store.tables import metadata

ROOT = Path(__file__).resolve().parents[2]
OURS = {*metadata.tables, "alembic_version"}


@pytest.fixture
def engine(any_db_url: str) -> Iterator[Engine]:
    opened = open_engine(database_url(any_db_url), writes=True)
    yield opened
    opened.dispose()


def catalogue(engine: Engine) -> list[tuple[Any, ...]]:
    """Return what the database itself says of its tables, down to precision, collation and condition."""
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            asked = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name"
            rows = connection.execute(text(asked)).all()
            return [tuple(" ".join(str(value).split()) for value in row) for row in rows]
        columns = connection.execute(
            text(
                "SELECT table_name, column_name, data_type, numeric_precision, numeric_scale, collation_name,"
                " is_nullable, column_default FROM information_schema.columns"
                " WHERE table_schema = 'public' ORDER BY table_name, column_name"
            )
        ).all()
        indexes = connection.execute(
            text(
                "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 2"
            )
        ).all()
        constraints = connection.execute(
            text("SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint ORDER BY 1, 2")
        ).all()
        return [tuple(row) for rows in (columns, indexes, constraints) for row in rows]


def tables_only(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    skipped = ("alembic_version", "query_log")
    return [row for row in rows if not any(str(value).startswith(skipped) for value in row[:3])]


def test_the_migrated_database_equals_the_tables(any_db_url: str, engine: Engine) -> None:
    assert upgrade(any_db_url) == upgrade(any_db_url)  # the second finds nothing to do
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    migrated = tables_only(catalogue(engine))
    downgrade(any_db_url)
    with engine.begin() as connection:
        metadata.create_all(connection)
    assert tables_only(catalogue(engine)) == migrated
    assert len(migrated) > 20


def test_up_down_and_up_again_is_the_same_database(any_db_url: str, engine: Engine) -> None:
    head = upgrade(any_db_url)
    first = catalogue(engine)
    assert set(inspect(engine).get_table_names()) == OURS
    assert inspect(engine).get_view_names() == ["query_log"]
    assert downgrade(any_db_url) == "base"
    assert set(inspect(engine).get_table_names()) == {"alembic_version"}
    assert inspect(engine).get_view_names() == []
    assert upgrade(any_db_url) == head
    assert catalogue(engine) == first


def test_a_newer_schema_is_refused_and_not_touched(any_db_url: str, engine: Engine) -> None:
    upgrade(any_db_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    before = catalogue(engine)
    with pytest.raises(SchemaTooNew, match="schema 9999, this server knows up to 0001.*newer server"):
        upgrade(any_db_url)
    assert catalogue(engine) == before


MIGRATE = "import sys; from server.store.migrate import upgrade; print(upgrade(sys.argv[1]))"


def test_servers_that_start_together_migrate_once(any_db_url: str, engine: Engine) -> None:
    starting = [
        subprocess.Popen([sys.executable, "-c", MIGRATE, any_db_url], cwd=ROOT, stdout=subprocess.PIPE)
        for _ in range(3)
    ]
    assert [process.communicate(timeout=60)[0] for process in starting] == [b"0001\n"] * 3
    assert [process.returncode for process in starting] == [0, 0, 0]
    assert set(inspect(engine).get_table_names()) == OURS


BROKEN = '''
"""Fail half way."""
from alembic import op
import sqlalchemy as sa

revision = "0002"
down_revision = "0001"
branch_labels = depends_on = None


def upgrade():
    op.create_table("half_done", sa.Column("a", sa.Integer()))
    with op.batch_alter_table("orders") as batch_op:
        batch_op.add_column(sa.Column("note", sa.Text()))
    raise ZeroDivisionError("the power went")
'''


def test_a_migration_that_fails_leaves_no_trace(
    any_db_url: str, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgrade(any_db_url)
    before = catalogue(engine)
    copied = tmp_path / "copy" / "migrations"
    shutil.copytree(ROOT / "migrations", copied, ignore=shutil.ignore_patterns("__pycache__"))
    (copied / "versions" / "0002_broken.py").write_text(BROKEN)
    monkeypatch.setattr(migrate, "INI", copied / "alembic.ini")
    with pytest.raises(ZeroDivisionError):
        upgrade(any_db_url)
    assert catalogue(engine) == before
    monkeypatch.undo()
    assert upgrade(any_db_url) == "0001"
