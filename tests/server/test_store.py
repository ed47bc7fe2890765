"""What only a database can do or suffer: broken connections, locks, other processes, people at a prompt."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import psycopg2
import pytest
from sqlalchemy import text
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import make_url

from ems.core.messages import Liquidity, NonceUse, OrderType, Problem, Side, TimeInForce
from ems.core.records import Fill, HistoryEntry, Notice, Order, Phase, Query, QueryStatus, Record, Status
from ems.store import NonceUsed, OrderFilter, StoreUnavailable
from server.store import connect
from server.store.columns import EXACT, Money, UtcTime, plain
from server.store.connect import BadDatabaseUrl, database_url
from server.store.mapping import Account
from server.store.migrate import upgrade
from server.store.owner import AlreadyOwned, OwnershipLost
from server.store.sql import CommitInDoubt, SqlStore

ROOT = Path(__file__).resolve().parents[2]
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LONG_AGO = NOON - timedelta(days=365)


@pytest.fixture
def store(any_db_url: str) -> Iterator[SqlStore]:
    upgrade(any_db_url)
    opened = SqlStore(any_db_url)
    yield opened
    opened.close()


@pytest.fixture
def file_store(tmp_path: Path) -> Iterator[SqlStore]:
    url = f"sqlite:///{tmp_path / 'oms.sqlite'}"
    upgrade(url)
    opened = SqlStore(url)
    yield opened
    opened.close()


def query(query_id: str = "q1", **changes: object) -> Query:
    made = Query(
        query_id=query_id,
        user="ann",
        bot="bot-1",
        verb="market_order",
        exchange="kraken",
        parameters={},
        idempotency_key=f"key of {query_id}",
        body_digest="",
        record_in_db=True,
        send_fail_email=True,
        mode="paper",
        status=QueryStatus.WORKING,
        accepted_at=NOON,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def order(order_id: str = "o1", **changes: object) -> Order:
    made = Order(
        order_id=order_id,
        query_id="q1",
        parent_id="p1",
        user="ann",
        bot="bot-1",
        exchange="kraken",
        account="default",
        symbol="BTC/USDT",
        side=Side.BUY,
        order_type=OrderType.LIMIT,
        time_in_force=TimeInForce.GTC,
        post_only=False,
        quantity=Decimal("2"),
        price=Decimal("60000"),
        client_order_id=f"c{order_id}",
        created_at=NOON,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def fill(fill_id: str = "f1", order_id: str = "o1", **changes: object) -> Fill:
    made = Fill(
        fill_id=fill_id,
        order_id=order_id,
        query_id="q1",
        parent_id="p1",
        user="ann",
        bot="bot-1",
        exchange="kraken",
        account="default",
        symbol="BTC/USDT",
        side=Side.BUY,
        price=Decimal("60000"),
        quantity=Decimal("1"),
        fee=Decimal("0.1"),
        fee_currency="USDT",
        liquidity=Liquidity.TAKER,
        timestamp=NOON,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def entry(version: int = 0, order_id: str = "o1") -> HistoryEntry:
    return HistoryEntry(
        order_id=order_id, version=version, status=Status.CREATED, timestamp=NOON, message="", report={}
    )


def notice(notice_id: str = "n1", **changes: object) -> Notice:
    made = Notice(
        notice_id=notice_id,
        query_id="q1",
        severity="error",
        subject="a subject",
        failed="a",
        why="b",
        done="c",
        todo="d",
        created_at=NOON,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


# --- DB_URL --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("postgres://u:p@h:5433/n", "postgresql+psycopg2://u:p@h:5433/n"),
        ("postgresql://u@h/n?sslmode=require", "postgresql+psycopg2://u@h/n?sslmode=require"),
        ("sqlite:///some.db", "sqlite:///some.db"),
        ("sqlite:////var/lib/oms.db", "sqlite:////var/lib/oms.db"),
        ("  ", "sqlite:///var/oms.sqlite"),
        (None, "sqlite:///var/oms.sqlite"),
    ],
)
def test_db_url_is_read_as_people_write_it(written: str | None, read: str) -> None:
    assert database_url(written).render_as_string(hide_password=False) == read


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("mysql://u:secret@h/n", "mysql is not supported"),
        ("not a url", "not a database URL"),
        ("postgres://u:secret@h:5432", "name is missing"),
        ("postgres://u:secret@h:port/n", "not a database URL"),
        ("sqlite://", "needs a file"),
        ("sqlite:///:memory:", "needs a file"),
        ("sqlite://oms.sqlite", "three slashes"),
    ],
)
def test_a_wrong_db_url_is_named_with_its_fix_and_without_its_password(wrong: str, says: str) -> None:
    with pytest.raises(BadDatabaseUrl) as refusal:
        database_url(wrong)
    words = str(refusal.value)
    assert words.startswith("DB_URL: ") and says in words
    assert "secret" not in words and "\n" not in words


# --- Columns -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (1.5, TypeError),
        (1, TypeError),
        ("1", TypeError),
        (Decimal("NaN"), ValueError),
        (Decimal("Infinity"), ValueError),
        (Decimal("0.0000000000000000001"), ValueError),
        (Decimal("100000000000000000000"), ValueError),
        (Decimal("1e400"), ValueError),
    ],
)
def test_what_is_no_amount_is_refused_and_nothing_is_written(
    store: SqlStore, wrong: object, error: type[Exception]
) -> None:
    with pytest.raises(error):
        store.commit([query(), order(quantity=wrong), notice()])
    assert store.query("ann", "q1") is None
    assert store.order("ann", "o1") is None
    assert store.unsent_notices(NOON) == []
    store.commit([query(), order()])  # and the store goes on


@pytest.mark.parametrize("digits", ["1e3", "0.10", "-0.0", "1E-18", "5.000", "10", "-7.50"])
def test_plain_digits_mean_the_same_number(digits: str) -> None:
    written = plain(Decimal(digits))
    assert Decimal(written) == Decimal(digits)
    assert "E" not in written and "e" not in written
    assert not (("." in written) and written.endswith(("0", "."))) and written != "-0"


def test_a_naive_time_is_refused(store: SqlStore) -> None:
    with pytest.raises(ValueError, match="aware"):
        store.commit([query(accepted_at=NOON.replace(tzinfo=None))])
    assert store.recent_queries(None) == []


def test_times_sort_as_text() -> None:
    bound = UtcTime().process_bind_param(NOON.replace(microsecond=0), sqlite.dialect())
    assert bound == "2026-03-01T12:00:00.000000+00:00"


def test_text_no_database_takes_is_kept_as_far_as_it_can_be(store: SqlStore) -> None:
    """A bot named with a NUL or half a surrogate pair must not stop the order path."""
    bad = "a\x00b\ud800c"
    error = Problem(code="X_Y", message=bad, details={bad: [bad, {"deep": bad}]})
    store.commit(
        [
            query(bot=bad, parameters={"note": bad, bad: "x"}, error=error, idempotency_key=bad),
            order(reason=bad, exchange_order_id=bad),
            notice(why=bad),
        ]
    )
    good = "a\ufffdb\ufffdc"
    kept = store.query("ann", "q1")
    assert kept is not None and kept.error is not None
    assert (kept.bot, kept.parameters) == (good, {"note": good, good: "x"})
    assert (kept.error.message, kept.error.details) == (good, {good: [good, {"deep": good}]})
    assert store.query_by_key("ann", bad) == kept
    [(letter, _)] = store.unsent_notices(NOON)
    assert letter.why == good


def test_people_at_a_prompt_see_words_and_exact_numbers(file_store: SqlStore) -> None:
    file_store.commit(
        [
            query(parameters={"quantity": "2"}),
            order("o1", price=Decimal("9.5")),
            order("o2", price=Decimal("10")),
            order("o3", price=Decimal("100000000000000000.000000000000000001")),
            fill(),
        ]
    )
    # As the sqlite3 command does it: its own collation is called decimal too.
    with sqlite3.connect(file_store.url.database or "") as prompt:
        prompt.create_collation("decimal", lambda a, b: int(Decimal(a).compare(Decimal(b))))
        prices = prompt.execute("select price from orders where price > '9.6' order by price desc").fetchall()
        assert prices == [("100000000000000000.000000000000000001",), ("10",)]
        [log] = prompt.execute(
            "select accepted_at, query_id, user_id, verb, status, orders, fills, parameters from query_log"
        ).fetchall()
    assert log == (
        "2026-03-01T12:00:00.000000+00:00", "q1", "ann", "market_order", "working", 3, 1, '{"quantity":"2"}'
    )  # fmt: skip


def test_the_file_is_readable_by_its_owner_only(file_store: SqlStore) -> None:
    file_store.commit([query()])
    for file in Path(file_store.url.database or "").parent.iterdir():
        assert file.stat().st_mode & 0o077 == 0, file.name


def test_a_commit_is_on_the_disk_when_it_returns(store: SqlStore) -> None:
    with store._writer.connect() as connection:
        if store.url.drivername == "sqlite":
            assert connection.scalar(text("PRAGMA synchronous")) == 2  # FULL
            assert connection.scalar(text("PRAGMA journal_mode")) == "wal"
        else:
            assert connection.scalar(text("SHOW synchronous_commit")) == "on"


# --- What must never be double -------------------------------------------------------------------

DOUBLES: dict[str, list[Record]] = {
    "a fill": [fill("f1", "o1", quantity=Decimal(9))],
    "a change": [entry(0)],
    "a client order id": [order("o2", client_order_id="co1")],
    "an idempotency key": [query("q9", idempotency_key="key of q1")],
    "a letter": [notice("n1")],
    "a fill of no order": [fill("f9", "nowhere")],
}


@pytest.mark.parametrize("double", DOUBLES.values(), ids=DOUBLES)
def test_what_must_be_single_is_kept_single_by_the_database(store: SqlStore, double: list[Record]) -> None:
    store.commit([query(), order(), fill(), entry(), notice()])
    with pytest.raises(AssertionError, match="promise"):
        store.commit([query(seq=9), *double, order("o9")])
    assert store.query("ann", "q1") == query()  # the whole batch is undone
    assert store.order("ann", "o9") is None
    assert store.fills(["o1"]) == [fill()]
    assert len(store.history("o1")) == 1
    store.commit([query(seq=10)])


def test_both_sides_of_a_trade_with_ourselves_are_booked(store: SqlStore) -> None:
    """A venue gives one trade one id, also where both orders are ours."""
    bought, sold = fill("t1", "o1"), fill("t1", "o2", side=Side.SELL)
    store.commit([order("o1"), order("o2", side=Side.SELL), bought, sold])
    assert store.fills(["o1", "o2"]) == [bought, sold]
    with pytest.raises(AssertionError, match="promise"):
        store.commit([fill("t1", "o2")])  # a side once


def test_the_same_fill_id_in_another_market_is_another_fill(store: SqlStore) -> None:
    store.commit([order(), fill(), fill(symbol="ETH/USDT"), fill(account="second"), fill(exchange="binance")])
    assert len(store.fills(["o1"])) == 4


def test_requests_refused_before_they_had_a_key_do_not_collide(store: SqlStore) -> None:
    store.commit([query("q1", idempotency_key=""), query("q2", idempotency_key="")])
    store.commit([order("o1", client_order_id=""), order("o2", client_order_id="")])
    assert [q.query_id for q in store.recent_queries("ann")] == ["q2", "q1"]


# --- Lists and sums ------------------------------------------------------------------------------


def test_recent_queries_are_the_newest_of_the_user(store: SqlStore) -> None:
    kept = [query(f"q{i}", accepted_at=NOON + timedelta(seconds=i)) for i in range(4)]
    store.commit([*kept, query("other", user="bob")])
    assert store.recent_queries("ann", limit=2) == [kept[3], kept[2]]
    assert {q.query_id for q in store.recent_queries(None)} == {"q0", "q1", "q2", "q3", "other"}


def test_order_stats_are_exact_sums(store: SqlStore) -> None:
    sent = {"sent_at": NOON}
    store.commit(
        [
            order("o1", status=Status.FILLED, quantity=Decimal("3"), filled_quantity=Decimal("3"), **sent),
            order("o2", status=Status.CANCELED, quantity=Decimal("3"), filled_quantity=Decimal("1"), **sent),
            order("o3", status=Status.INVALIDATED, quantity=Decimal("1000")),
            order(
                "o4",
                symbol="ETH/BTC",
                status=Status.FILLED,
                filled_quantity=Decimal("2"),
                quote_filled=Decimal("0.1"),
                cross_id="cross-o4",
                fee_saved=Decimal("0.000000000000000001"),
                **sent,
            ),
            order("o5", user="bob", status=Status.FILLED, **sent),
            fill("f1", "o1", price=Decimal("99999999999.1"), quantity=Decimal("0.000000000000000003")),
            fill(
                "f2",
                "o1",
                price=Decimal("3"),
                quantity=Decimal("1"),
                liquidity=Liquidity.MAKER,
                fee=Decimal("-0.000000000000000001"),
            ),
            fill("f3", "o4", symbol="ETH/BTC", price=Decimal("0.05"), fee=Decimal("7"), fee_currency="BNB"),
            fill("f4", "o5", user="bob", price=Decimal("1000000")),
        ]
    )
    # Sums of money must not depend on the digits a thread happens to compute with.
    notional = plain(
        EXACT.add(EXACT.multiply(Decimal("99999999999.1"), Decimal("0.000000000000000003")), Decimal(3))
    )
    assert store.order_stats("ann", OrderFilter(user="ann")) == {
        "orders": 4,
        "by_status": {"canceled": 1, "filled": 2, "invalidated": 1},
        "fills": 3,
        "notional": {"BTC": "0.05", "USDT": notional},
        "maker_share": {"BTC": "0", "USDT": "1"},
        "fees": {"BNB": "7", "USDT": "0.099999999999999999"},
        "fill_ratio": {"BTC/USDT": "0.666667", "ETH/BTC": "1"},
        "crossed": {
            "orders": 1,
            "notional": {"BTC": "0.1"},
            "fees_saved": {"BTC": "0.000000000000000001"},
        },
    }
    assert notional == "3.0000002999999999973"
    only = store.order_stats("ann", OrderFilter(user="ann", symbol="ETH/BTC", limit=1, cursor="x|y"))
    assert (only["orders"], only["notional"]) == (1, {"BTC": "0.05"})
    assert store.order_stats("eve", OrderFilter(user="ann")) == {
        "orders": 0,
        "by_status": {},
        "fills": 0,
        "notional": {},
        "maker_share": {},
        "fees": {},
        "fill_ratio": {},
        "crossed": {"orders": 0, "notional": {}, "fees_saved": {}},
    }


def test_a_cursor_of_another_make_is_refused_in_words(store: SqlStore) -> None:
    with pytest.raises(ValueError, match="cursor"):
        store.past_orders(OrderFilter(user="ann", cursor="page 2"))


# --- Housekeeping --------------------------------------------------------------------------------


def test_purge_takes_expired_nonces_and_the_words_of_unrecorded_queries_a_day_after_their_end(
    store: SqlStore,
) -> None:
    day = timedelta(hours=24)
    ended = NOON - day - timedelta(seconds=1)
    over = {"record_in_db": False, "status": QueryStatus.DONE}
    words = Problem(code="X_Y", message="m", hint="h", details={"d": "e"}, venue_code="v", venue_message="w")
    store.commit(
        [
            query("old", **over, finished_at=ended, parameters={"a": "b"}, result={"c": "d"}, error=words),
            query("resting", **over, finished_at=LONG_AGO),  # a limit order that still stands in a book
            order("o2", query_id="resting", phase=Phase.LIVE),
            query("young", **over, finished_at=NOON - day),
            query("archived", status=QueryStatus.DONE, finished_at=LONG_AGO),
            query("working", record_in_db=False),
            order("o1", query_id="old", phase=Phase.SETTLED),
            NonceUse(key_id="k", nonce="old", expires_at=NOON - timedelta(seconds=1)),
            NonceUse(key_id="k", nonce="young", expires_at=NOON),
        ]
    )
    assert store.purge(NOON) == (1, 1)
    assert {q.query_id for q in store.recent_queries("ann")} == {"young", "archived", "working", "resting"}
    assert store.order("ann", "o1") is not None  # orders and fills stay
    erased = query("old", **{**over, "error": Problem(code="X_Y", message="", hint="h")}, finished_at=ended)
    assert store.query("ann", "old") == erased
    assert store.query_by_key("ann", "key of old") == erased  # the key stays bound for ever
    store.commit([NonceUse(key_id="k", nonce="old", expires_at=NOON)])
    assert store.purge(NOON) == (0, 0)


def test_an_account_keeps_the_tag_it_was_first_seen_with(store: SqlStore) -> None:
    first = Account(
        exchange="kraken", account="default", mode="paper", client_id_tag="a1", first_seen_at=NOON
    )
    assert store.remember_account(first) == first
    assert store.remember_account(replace(first, client_id_tag="zz", first_seen_at=LONG_AGO)) == first
    live = replace(first, mode="live", client_id_tag="b2")
    assert store.remember_account(live) == live


def test_letters_wait_until_they_are_sent_or_given_up(store: SqlStore) -> None:
    letters = [notice(f"n{i}", created_at=NOON + timedelta(seconds=i)) for i in range(4)]
    store.commit(letters)
    assert store.unsent_notices(NOON - timedelta(seconds=1)) == []
    assert store.unsent_notices(NOON + timedelta(seconds=1)) == [(letters[0], 0), (letters[1], 0)]
    later = NOON + timedelta(minutes=1)
    assert store.unsent_notices(later, limit=2) == [(letters[0], 0), (letters[1], 0)]
    store.notices_sent(["n0"], later)
    store.notices_failed(["n1", "n2"], "refused", later)
    store.notices_failed(["n1"], "refused again", later + timedelta(minutes=1))
    store.notices_undeliverable(["n3"], "no mail configured")
    assert store.unsent_notices(later) == [(letters[2], 1)]
    assert store.unsent_notices(later + timedelta(minutes=1)) == [(letters[1], 2), (letters[2], 1)]
    store.notices_failed(["n0"], "too late", later)  # what was sent stays sent
    assert len(store.unsent_notices(later + timedelta(hours=1))) == 2


# --- Trouble with the database -------------------------------------------------------------------


def test_a_locked_file_is_said_and_leaves_nothing(
    file_store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connect, "BUSY_TIMEOUT_MS", 20)
    other = sqlite3.connect(file_store.url.database or "", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="locked"):
        file_store.commit([query()])
    assert file_store.query("ann", "q1") is None  # reading goes on
    other.execute("ROLLBACK")
    file_store.commit([query()])
    assert file_store.query("ann", "q1") == query()


def test_a_full_disk_is_said_and_leaves_nothing(file_store: SqlStore) -> None:
    with file_store._writing:
        pages = file_store._connect().exec_driver_sql("PRAGMA page_count").scalar()
        file_store._connect().exec_driver_sql(f"PRAGMA max_page_count={pages}")
        file_store._connect().rollback()
    with pytest.raises(StoreUnavailable, match="full"):
        file_store.commit([query(parameters={"long": "x" * 1_000_000})])
    assert file_store.query("ann", "q1") is None
    file_store.commit([query()])
    assert file_store.query("ann", "q1") == query()


def test_a_file_that_is_no_database_is_said(tmp_path: Path) -> None:
    (tmp_path / "oms.sqlite").write_text("this is a letter, not a database\n" * 100)
    with pytest.raises(StoreUnavailable, match="not a database"):
        upgrade(f"sqlite:///{tmp_path / 'oms.sqlite'}")
    with pytest.raises(StoreUnavailable, match="not a database"):
        SqlStore(f"sqlite:///{tmp_path / 'oms.sqlite'}").ping()


def test_an_absent_server_is_said() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"postgres://u@127.0.0.1:{unused.getsockname()[1]}/n"
        store = SqlStore(url)
        with pytest.raises(StoreUnavailable):
            store.commit([query()])
        with pytest.raises(StoreUnavailable):
            store.query("ann", "q1")
        with pytest.raises(StoreUnavailable):
            store.acquire_owner()
        with pytest.raises(StoreUnavailable):
            upgrade(url)


class CutWire:
    """A wire to PostgreSQL that can be cut at a COMMIT: before it arrives, or before its answer does."""

    def __init__(self, server: tuple[str, int]) -> None:
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.cut: str | None = None  # "request" | "answer" | "unnoticed"; once
        self.stay_down = False  # refuse new connections after the cut
        self.cuts = 0
        self._half_open: list[socket.socket] = []  # what the server still believes in
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for end in (self._listener, *self._half_open):
            end.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.stay_down and self.cuts:
                client.close()
                continue
            server = socket.create_connection(self._server)
            threading.Thread(target=self._there, args=(client, server), daemon=True).start()
            threading.Thread(target=self._back, args=(client, server), daemon=True).start()

    def _there(self, client: socket.socket, server: socket.socket) -> None:
        try:
            while data := client.recv(65536):
                if b"COMMIT\x00" in data and self.cut is not None:
                    kind, self.cut = self.cut, None
                    self.cuts += 1
                    if kind == "answer":
                        server.sendall(data)  # while the client hears no more
                    if kind == "unnoticed":
                        self._half_open.append(server)
                        client.shutdown(socket.SHUT_RDWR)
                        return
                    break
                server.sendall(data)
        except OSError:
            pass
        for end in (client, server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _back(self, client: socket.socket, server: socket.socket) -> None:
        try:
            while (data := server.recv(65536)) and client.fileno() >= 0:
                client.sendall(data)
        except OSError:
            pass


@pytest.fixture
def wired(pg_url: str) -> Iterator[tuple[SqlStore, CutWire]]:
    upgrade(pg_url)
    url = make_url(pg_url)
    wire = CutWire((url.host or "127.0.0.1", url.port or 5432))
    through = url.set(host="127.0.0.1", port=wire.port).render_as_string(hide_password=False)
    opened = SqlStore(through)
    yield opened, wire
    opened.close()
    wire.close()


BATCH: list[Record] = [
    query(),
    order(version=1),
    entry(0),
    entry(1),
    fill(),
    NonceUse(key_id="k", nonce="n", expires_at=NOON),
    notice(),
]


def assert_written_once(store: SqlStore) -> None:
    assert store.query("ann", "q1") == query()
    assert store.order("ann", "o1") == order(version=1, fill_ids=frozenset({"f1"}))
    assert [each.version for each in store.history("o1")] == [0, 1]
    assert store.fills(["o1"]) == [fill()]
    assert store.unsent_notices(NOON) == [(notice(), 0)]


@pytest.mark.postgres
@pytest.mark.parametrize("lost", ["request", "answer"])
@pytest.mark.parametrize("owned", [True, False], ids=["owner", "not owner"])
@pytest.mark.parametrize(
    "batch",
    [BATCH, BATCH[:2] + BATCH[5:6] + BATCH[2:5] + BATCH[6:]],
    ids=["facts first", "nonce among them"],
)
def test_a_connection_lost_at_commit_neither_loses_nor_repeats_the_batch(
    wired: tuple[SqlStore, CutWire], lost: str, owned: bool, batch: list[Record]
) -> None:
    store, wire = wired
    if owned:
        store.acquire_owner()
    store.ping()
    wire.cut = lost
    store.commit(batch)
    assert wire.cuts == 1
    assert_written_once(store)


@pytest.mark.postgres
@pytest.mark.parametrize("lost", ["request", "answer"])
def test_a_commit_in_doubt_is_settled_when_it_is_made_again(
    wired: tuple[SqlStore, CutWire], lost: str
) -> None:
    store, wire = wired
    store.ping()
    wire.cut, wire.stay_down = lost, True
    with pytest.raises(CommitInDoubt):
        store.commit(BATCH)
    assert wire.cuts == 1
    with pytest.raises(StoreUnavailable):
        store.commit(BATCH)  # still down
    wire.stay_down = False
    store.ping()  # somebody else's writing settles nothing
    store.commit(BATCH)
    assert_written_once(store)
    with pytest.raises(NonceUsed):
        store.commit(BATCH)  # it is settled: now it is a repetition like any other


@pytest.mark.postgres
def test_a_session_the_server_still_believes_in_does_not_lock_its_own_owner_out(
    wired: tuple[SqlStore, CutWire],
) -> None:
    """The network dropped us and the server has not noticed: the old session holds the lock and the rows."""
    store, wire = wired
    store.acquire_owner()
    wire.cut = "unnoticed"
    store.commit(BATCH)
    assert wire.cuts == 1
    assert_written_once(store)


@pytest.mark.postgres
def test_connections_ended_by_the_server_are_opened_again(pg_url: str) -> None:
    upgrade(pg_url)
    store = SqlStore(pg_url)
    store.commit([query()])
    assert store.query("ann", "q1") is not None
    end_sessions(pg_url)
    store.commit([query("q2")])
    end_sessions(pg_url)
    assert store.query("ann", "q2") is not None
    store.close()


def end_sessions(pg_url: str) -> None:
    admin = psycopg2.connect(pg_url)
    admin.autocommit = True
    admin.cursor().execute(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where datname = current_database() and pid <> pg_backend_pid()"
    )
    admin.close()


# --- One owner -----------------------------------------------------------------------------------


def test_a_second_owner_is_told_who_has_the_database(store: SqlStore, any_db_url: str) -> None:
    store.acquire_owner()
    store.acquire_owner()  # asking twice is no second owner
    second = SqlStore(any_db_url)
    with pytest.raises(AlreadyOwned, match=rf"oms pid {os.getpid()} on "):
        second.acquire_owner()
    second.commit([query()])  # a process that owns nothing may write: `oms keys` does
    store.close()
    second.acquire_owner()
    second.commit([query("q2")])
    second.close()


OWN_AND_WAIT = """
import sys
from server.store.sql import SqlStore
store = SqlStore(sys.argv[1])
store.acquire_owner()
print("mine", flush=True)
sys.stdin.read()
"""


def test_a_killed_owner_leaves_the_database_free(store: SqlStore, any_db_url: str) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", OWN_AND_WAIT, any_db_url],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdin is not None and holder.stdout is not None
    try:
        assert holder.stdout.readline() == "mine\n"
        with pytest.raises(AlreadyOwned, match=f"pid {holder.pid} "):
            store.acquire_owner()
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        holder.stdin.close()
        holder.stdout.close()
    for _ in range(50):  # PostgreSQL notices a dead client within moments
        try:
            store.acquire_owner()
            break
        except AlreadyOwned:
            threading.Event().wait(0.1)
    store.commit([query()])


@pytest.mark.postgres
def test_an_owner_that_lost_its_connection_takes_its_lock_back_before_it_writes(pg_url: str) -> None:
    upgrade(pg_url)
    store, other = SqlStore(pg_url), SqlStore(pg_url)
    store.acquire_owner()
    end_sessions(pg_url)
    store.commit([query()])
    with pytest.raises(AlreadyOwned):
        other.acquire_owner()
    # Now the other is faster: a stale owner must not write any more.
    end_sessions(pg_url)
    other.acquire_owner()
    with pytest.raises(OwnershipLost, match="oms pid"):
        store.commit([query("q2")])
    assert other.query("ann", "q2") is None
    other.commit([query("q3")])
    for each in (store, other):
        each.close()


def test_a_restart_is_as_fast_after_many_past_orders(file_store: SqlStore) -> None:
    """What is over is not looked at: the questions of a start are answered from small indexes."""
    with file_store._reading() as connection:
        for question, index in (
            ("SELECT query_id FROM queries WHERE status = 'working'", "ix_queries_working"),
            (
                "SELECT parent_id FROM parents WHERE state NOT IN ('done', 'dust_done', 'aborted')",
                "ix_parents_working",
            ),
            ("SELECT parent_id FROM orders WHERE phase <> 'settled'", "ix_orders_unsettled"),
            ("SELECT parent_id FROM parents WHERE closed_at >= '2026'", "ix_parents_closed_at"),
        ):
            plan = connection.execute(text(f"EXPLAIN QUERY PLAN {question}")).all()
            assert index in plan[0].detail, plan


def test_money_on_postgresql_is_numeric() -> None:
    from sqlalchemy.dialects import postgresql

    kinds = {decimals: Money(decimals).compile(postgresql.dialect()) for decimals in (18, 36)}
    assert kinds == {18: "NUMERIC(38, 18)", 36: "NUMERIC(56, 36)"}


def test_unsettled_words_match_the_records() -> None:
    """The conditions of the partial indexes are written out in SQL; the records must not drift from them."""
    from ems.core.records import ENDED_PARENT
    from server.store.tables import UNSETTLED_ORDER, WORKING_PARENT, WORKING_QUERY

    assert str(WORKING_QUERY) == f"status = '{QueryStatus.WORKING}'"
    assert str(UNSETTLED_ORDER) == f"phase <> '{Phase.SETTLED}'"
    for state in ENDED_PARENT:
        assert f"'{state}'" in str(WORKING_PARENT)
    assert str(WORKING_PARENT).count("'") == 2 * len(ENDED_PARENT)


def test_letters_of_a_group_are_counted_since_a_moment(store: SqlStore) -> None:
    def letter(number: int, group: str, minutes: int) -> Notice:
        return Notice(
            notice_id=f"n{number}",
            query_id=None,
            severity="critical",
            subject="s",
            failed="f",
            why="w",
            done="d",
            todo="t",
            created_at=NOON + timedelta(minutes=minutes),
            group=group,
        )

    store.commit([letter(1, "broken/a", 0), letter(2, "broken/a", 5), letter(3, "broken/b", 5)])
    assert store.notices_of("broken/a", NOON) == 2
    assert store.notices_of("broken/a", NOON + timedelta(minutes=1)) == 1
    assert store.notices_of("broken", NOON) == 0
