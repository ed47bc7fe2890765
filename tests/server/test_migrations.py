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
from sqlalchemy import Column, Engine, Integer, MetaData, Table, inspect, select, text

from ems.core.messages import BookUpdate, Liquidity, Side
from ems.core.records import Fill, Grant, Leg, Parent, ParentState, Phase, Status
from server.store import mapping, migrate
from server.store.columns import EXACT, JsonDoc, UtcTime
from server.store.connect import database_url, open_engine
from server.store.migrate import SchemaTooNew, downgrade, upgrade
from server.store.sql import SqlStore
from server.store.tables import metadata
from tests import builders
from tests.engine.world import TRIANGLE, EngineWorld
from tests.limits import opened

ROOT = Path(__file__).resolve().parents[2]
OURS = {*metadata.tables, "alembic_version"}
HEAD = "0019"


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


# Columns that today's tables do not have, or under another name.
OLD_COLUMNS = {
    "orders": (Column("hop", Integer),),
    "parents": (Column("hops", JsonDoc), Column("hop", Integer), Column("hop_started_at", UtcTime)),
}


def as_it_is(engine: Engine, name: str) -> Table:
    """Return a table with the columns the database has now, and our types for them."""
    there = {column["name"] for column in inspect(engine).get_columns(name)}
    known = (*metadata.tables[name].c, *OLD_COLUMNS.get(name, ()))
    return Table(name, MetaData(), *(Column(c.name, c.type) for c in known if c.name in there))


def write(engine: Engine, name: str, rows: list[dict[str, Any]]) -> None:
    """Write rows as a server of the database's own age would: without the columns it does not have yet."""
    table = as_it_is(engine, name)
    known = [{key: value for key, value in row.items() if key in table.c} for row in rows]
    with engine.begin() as connection:
        connection.execute(table.insert(), known)


def read(engine: Engine, name: str) -> list[dict[str, Any]]:
    table = as_it_is(engine, name)
    with engine.begin() as connection:
        return [dict(row) for row in connection.execute(select(table).order_by(*table.c[:1])).mappings()]


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
        write(engine, "orders", [{**mapping.ORDER.row(made), "hop": 0}])
        write(engine, "fills", [mapping.FILL.row(fill) for fill in fills])
        for revision in path[1:]:
            (upgrade if revision == "head" else downgrade)(any_db_url, revision)
        store = SqlStore(any_db_url)
        assert store.fills(["o1"]) == fills
        kept = store.order(made.user, "o1")
        assert kept is not None and kept.fill_ids == {"f0", "f1", "f2"}
        store.close()


# --- Chains become legs --------------------------------------------------------------------------

OLD_PARENT = {
    "query_id": "q1",
    "user_id": "ann",
    "bot": "bot-1",
    "exchange": "binance",
    "account": "default",
    "algo": "classic",
    "hops": [
        {"symbol": "BTC/USDT", "side": "buy", "source": "USDT", "target": "BTC"},
        {"symbol": "ETH/BTC", "side": "buy", "source": "BTC", "target": "ETH"},
    ],
    "start_amount": Decimal("1000.5"),
    "time_limit": Decimal(60),
    "state": "working",
    "created_at": builders.at(0),
    "hop": 1,
    "hop_started_at": builders.at(40),
    "reason": "",
    "arrival": {"spent": "1000", "received": "0.4", "mid_rate": "0.0004"},
    "closed_at": None,
}
OLD_PARENTS = [
    {**OLD_PARENT, "parent_id": "q1.1"},
    {**OLD_PARENT, "parent_id": "q1.2", "hop": 0, "hop_started_at": None, "state": "init"},
    {
        **OLD_PARENT,
        "parent_id": "q1.3",
        "algo": "direct",
        "hops": [{"symbol": "ETH/USDT", "side": "sell", "source": "ETH", "target": "USDT"}],
        "start_amount": Decimal("2.5"),
        "hop": 0,
        "hop_started_at": builders.at(0),
    },
    {**OLD_PARENT, "parent_id": "q1.4", "state": "done", "closed_at": builders.at(90)},
]


def as_legs(old: dict[str, Any], *legs: Leg) -> Parent:
    """Return what an old parent is expected to become."""
    direct = old["algo"] == "direct"
    account = {"exchange": "binance", "account": "default"}
    return Parent(
        **{name: old[name] for name in ("parent_id", "query_id", "bot", "algo", "reason", "arrival")},
        **{name: old[name] for name in ("start_amount", "time_limit", "created_at", "closed_at")},
        **account,
        user="ann",
        state=ParentState(old["state"]),
        legs=legs,
        grants=() if direct else (Grant(**account, currency="USDT", amount=Decimal("1000.5")),),
        goal={}
        if direct
        else {"kind": "convert", "start": "USDT", "end": "ETH", "accounts": [["binance", "default"]]},
        planned_at=builders.at(0),
    )


def chain(first: dict[str, Any], second: dict[str, Any]) -> tuple[Leg, Leg]:
    common = {"ends_at": None}
    return (
        builders.leg("BTC/USDT", amount=Decimal("1000.5"), **common, **first),
        builders.leg("ETH/BTC", amount=Decimal(0), level=1, **common, **second),
    )


EXPECTED = [
    as_legs(
        OLD_PARENTS[0],
        *chain(
            {"started_at": builders.at(40), "closed_at": builders.at(40)}, {"started_at": builders.at(40)}
        ),
    ),
    as_legs(OLD_PARENTS[1], *chain({"started_at": builders.at(0)}, {"started_at": None})),
    as_legs(
        OLD_PARENTS[2],
        builders.leg(side=Side.SELL, amount=Decimal(0), quantity=Decimal("2.5"), ends_at=None),
    ),
    as_legs(
        OLD_PARENTS[3],
        *chain(
            {"started_at": builders.at(40), "closed_at": builders.at(40)}, {"started_at": builders.at(40)}
        ),
    ),
]


def loaded(url: str) -> tuple[Parent, ...]:
    store = SqlStore(url)
    try:
        return tuple(sorted(store.load(builders.at(-600)).parents, key=lambda parent: parent.parent_id))
    finally:
        store.close()


def test_chains_become_legs_and_chains_again(any_db_url: str, engine: Engine) -> None:
    upgrade(any_db_url, "0003")
    write(engine, "parents", OLD_PARENTS)
    before = read(engine, "parents")
    upgrade(any_db_url)
    assert list(loaded(any_db_url)) == EXPECTED
    downgrade(any_db_url, "0003")
    # A parent that had not started says now that it started when it was made, which is when its leg did.
    assert read(engine, "parents") == [
        {**row, "hop_started_at": old["hop_started_at"] or old["created_at"]}
        for row, old in zip(before, OLD_PARENTS, strict=True)
    ]
    upgrade(any_db_url)
    assert [each.legs for each in loaded(any_db_url)] == [each.legs for each in EXPECTED]


def test_an_order_of_a_second_hop_is_one_of_the_second_leg(any_db_url: str, engine: Engine) -> None:
    upgrade(any_db_url, "0003")
    orders = [builders.order(order_id=f"o{hop}", client_order_id=f"c{hop}") for hop in (0, 1)]
    write(engine, "orders", [{**mapping.ORDER.row(made), "hop": hop} for hop, made in enumerate(orders)])
    upgrade(any_db_url)
    store = SqlStore(any_db_url)
    assert [(order.order_id, order.leg) for order in store.orders_of_query("q1")] == [("o0", 0), ("o1", 1)]
    store.close()
    downgrade(any_db_url, "0003")
    assert [(row["order_id"], row["hop"]) for row in read(engine, "orders")] == [("o0", 0), ("o1", 1)]


def test_an_unfinished_chain_goes_on_after_the_upgrade(any_db_url: str, engine: Engine) -> None:
    """Its first hop is done: the second one spends what that brought, and nothing is bought twice."""
    upgrade(any_db_url, "0003")
    bought = builders.order(
        order_id="o1",
        symbol="BTC/USDT",
        client_order_id="c1",
        quantity=Decimal("0.02"),
        filled_quantity=Decimal("0.02"),
        quote_filled=Decimal(1000),
        fees={"BTC": Decimal("0.00002")},
        phase=Phase.SETTLED,
        status=Status.FILLED,
        reserved=Decimal(0),
        closed_at=builders.at(39),
        version=0,
    )
    asked = {
        "query_id": "q1",
        "user_id": "ann",
        "bot": "bot-1",
        "verb": "smart_order",
        "exchange": "binance",
        "parameters": {},
        "mode": "paper",
        "status": "working",
        "accepted_at": builders.at(0),
        "idempotency_key": "key-1",
        "body_digest": "d",
        "record_in_db": True,
        "send_fail_email": True,
        "seq": 1,
    }
    write(engine, "queries", [asked])
    write(engine, "parents", [{**OLD_PARENTS[0], "hop_started_at": builders.at(0)}])
    write(engine, "orders", [{**mapping.ORDER.row(bought), "hop": 0}])
    upgrade(any_db_url)
    store = opened(SqlStore(any_db_url))
    world = EngineWorld(
        free={"USDT": Decimal("0.5"), "BTC": Decimal("0.01998")}, store=store, markets=TRIANGLE
    )
    [key] = world.wakes()
    world.venue(thin_book())
    world.now = 1
    world.timer(*key)
    store.close()
    [order] = world.placed()
    assert (order.symbol, order.side) == ("ETH/BTC", Side.BUY)
    assert Decimal("0.019") < order.quantity * order.price <= Decimal("0.01998")


def thin_book() -> BookUpdate:
    """Return a book around 0.05, where a step of half a unit would be none."""
    levels = [(Decimal("0.05") - Decimal("0.00001") * k, Decimal(50)) for k in range(1, 4)]
    return BookUpdate(
        symbol="ETH/BTC",
        bids=tuple(levels),
        asks=tuple((Decimal("0.1") - price, size) for price, size in levels),
        at=builders.at(0),
    )
