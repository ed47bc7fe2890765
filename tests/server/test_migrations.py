"""The migrated database equals the tables, on both databases, however the server got there."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, inspect, text

from ems.core.messages import Liquidity
from ems.core.records import Fill
from server.store import migrate, tables
from server.store.columns import EXACT
from server.store.connect import database_url, open_engine
from server.store.migrate import SchemaTooNew, downgrade, upgrade
from server.store.sql import SqlStore
from server.store.tables import metadata
from tests import builders

ROOT = Path(__file__).resolve().parents[2]
OURS = {*metadata.tables, "alembic_version"}
HEAD = "0003"


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
            return [(kind, name, table, parts(sql or "")) for kind, name, table, sql in rows]
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


def parts(sql: str) -> list[str]:
    """Split a definition at its commas, in any order: where a later column stands means nothing."""
    words = " ".join(sql.replace('"', "").split())
    head, _, inside = words.partition("(")
    return [head, *sorted(part.strip() for part in re.split(r",(?![^()]*\))", inside.rstrip(") ")))]


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
    with pytest.raises(SchemaTooNew, match=f"schema 9999, this server knows up to {HEAD}.*newer server"):
        upgrade(any_db_url)
    assert catalogue(engine) == before


MIGRATE = "import sys; from server.store.migrate import upgrade; print(upgrade(sys.argv[1]))"


def test_servers_that_start_together_migrate_once(any_db_url: str, engine: Engine) -> None:
    starting = [
        subprocess.Popen([sys.executable, "-c", MIGRATE, any_db_url], cwd=ROOT, stdout=subprocess.PIPE)
        for _ in range(3)
    ]
    assert [process.communicate(timeout=60)[0] for process in starting] == [f"{HEAD}\n".encode()] * 3
    assert [process.returncode for process in starting] == [0, 0, 0]
    assert set(inspect(engine).get_table_names()) == OURS


BROKEN = f'''
"""Fail half way."""
from alembic import op
import sqlalchemy as sa

revision = "9999"
down_revision = "{HEAD}"
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
    (copied / "versions" / "9999_broken.py").write_text(BROKEN)
    monkeypatch.setattr(migrate, "INI", copied / "alembic.ini")
    with pytest.raises(ZeroDivisionError):
        upgrade(any_db_url)
    assert catalogue(engine) == before
    monkeypatch.undo()
    assert upgrade(any_db_url) == HEAD


def write(engine: Engine, table: str, rows: list[dict[str, Any]]) -> None:
    """Write rows as a server of the database's own age would: without the columns it does not have yet."""
    there = {column["name"] for column in inspect(engine).get_columns(table)}
    known = [{name: value for name, value in row.items() if name in there} for row in rows]
    with engine.begin() as connection:
        connection.execute(metadata.tables[table].insert(), known)


def test_each_step_keeps_what_was_written_before_it(any_db_url: str, engine: Engine) -> None:
    """The fills of an older server are all there, with their digits, their moments and their side."""
    price = Decimal("12345678901234567890.000000000000000001")
    made = builders.order(order_id="o1")
    fills = [
        Fill(
            fill_id=f"f{i}",
            order_id="o1",
            query_id=made.query_id,
            parent_id=made.parent_id,
            user=made.user,
            bot=made.bot,
            exchange=made.exchange,
            account=made.account,
            symbol=made.symbol,
            side=made.side,
            price=EXACT.subtract(price, Decimal(i)),
            quantity=Decimal("0.000000000000000001"),
            fee=Decimal("-0.5"),
            fee_currency="BNB",
            liquidity=Liquidity.MAKER,
            timestamp=builders.at(i),
        )
        for i in range(3)
    ]
    for path in (("0001", "head"), ("0002", "head"), ("head", "0001", "head")):
        downgrade(any_db_url)
        upgrade(any_db_url, path[0])
        write(engine, "orders", [tables.order_to_row(made)])
        write(engine, "fills", [tables.fill_to_row(fill) for fill in fills])
        for revision in path[1:]:
            (upgrade if revision == "head" else downgrade)(any_db_url, revision)
        store = SqlStore(any_db_url)
        assert store.fills(["o1"]) == fills
        kept = store.order(made.user, "o1")
        assert kept is not None and kept.fill_ids == {"f0", "f1", "f2"}
        store.close()
