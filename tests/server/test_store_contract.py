"""One set of cases for every store: in memory, SQLite, PostgreSQL. They must not be told apart."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pytest

from ems.core import errors
from ems.core.messages import Liquidity, NonceUse, OrderType, Problem, Side, TimeInForce
from ems.core.order import Change, Kind, apply, created, fold
from ems.core.records import (
    Asked,
    Cost,
    Fill,
    Grant,
    Haircut,
    Halt,
    HaltLift,
    HistoryEntry,
    Leg,
    Notice,
    Order,
    Parent,
    ParentState,
    Phase,
    Query,
    QueryStatus,
    Record,
    RiskLimit,
    Status,
    Transfer,
    VenueOrder,
)
from ems.core.risk_ledger import place_of
from ems.store import MemoryStore, NonceUsed, OrderFilter, Store, Subject, VenueFilter
from server.store.migrate import upgrade
from server.store.sql import SqlStore

NOON = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
LONG_AGO = NOON - timedelta(days=365)
SOON = NOON + timedelta(days=1)
BIG = "12345678901234567890.123456789012345678"  # 20 + 18 digits
SMALL = "0.000000000000000001"

Reopen = Callable[[], Store]


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Store, Reopen]]:
    """Give a store, and a way to open the same records again as a restart does."""
    if request.param == "memory":
        memory = MemoryStore()
        yield memory, lambda: memory
        return
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'oms.sqlite'}"
    else:
        url = request.getfixturevalue("pg_url")
    upgrade(url)
    stores = [SqlStore(url)]

    def reopen() -> Store:
        stores[-1].close()
        stores.append(SqlStore(url))
        return stores[-1]

    yield stores[0], reopen
    stores[-1].close()


@pytest.fixture
def store(opened: tuple[Store, Reopen]) -> Store:
    return opened[0]


@pytest.fixture
def sql_store(any_db_url: str) -> Iterator[SqlStore]:
    """Give a store for threads; the one in memory serves a single thread."""
    upgrade(any_db_url)
    opened_store = SqlStore(any_db_url)
    yield opened_store
    opened_store.close()


# --- Builders: only what matters to a test is said there -----------------------------------------


def query(query_id: str = "q1", **changes: object) -> Query:
    made = Query(
        query_id=query_id,
        user="ann",
        bot="bot-1",
        verb="smart_order",
        exchange="kraken",
        parameters={"start_amount": "1000", "path": ["USDT", "ZEN"], "nested": {"deep": None, "yes": True}},
        idempotency_key=f"key of {query_id}",
        body_digest="d" * 64,
        record_in_db=True,
        send_fail_email=True,
        mode="paper",
        status=QueryStatus.WORKING,
        accepted_at=NOON,
        seq=1_772_366_400_123_456,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def leg(symbol: str = "BTC/USDT", **changes: object) -> Leg:
    base, quote = symbol.split("/")
    made = Leg(
        exchange="kraken",
        account="default",
        symbol=symbol,
        side=Side.BUY,
        source=quote,
        target=base,
        amount=Decimal("1000"),
        started_at=NOON,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def parent(parent_id: str = "q1-p", **changes: object) -> Parent:
    made = Parent(
        parent_id=parent_id,
        query_id=parent_id.partition("-")[0],
        user="ann",
        bot="bot-1",
        exchange="kraken",
        account="default",
        algo="classic",
        legs=(leg(), leg("ZEN/BTC", level=1, started_at=None)),
        grants=(Grant(exchange="kraken", account="default", currency="USDT", amount=Decimal("1000.10")),),
        start_amount=Decimal("1000"),
        time_limit=Decimal("60"),
        state=ParentState.WORKING,
        created_at=NOON,
        arrival={"mid": "60000.5", "at": "2026-03-01T12:00:00+00:00"},
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def order(order_id: str = "q1-p-0", **changes: object) -> Order:
    made = Order(
        order_id=order_id,
        query_id=order_id.partition("-")[0],
        parent_id=order_id.rpartition("-")[0],
        user="ann",
        bot="bot-1",
        exchange="kraken",
        account="default",
        symbol="BTC/USDT",
        side=Side.BUY,
        order_type=OrderType.LIMIT,
        time_in_force=TimeInForce.GTC,
        post_only=True,
        quantity=Decimal("2"),
        price=Decimal("60000"),
        client_order_id=f"c{order_id}",
        created_at=NOON,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def fill(fill_id: str = "f1", order_id: str = "q1-p-0", **changes: object) -> Fill:
    made = Fill(
        fill_id=fill_id,
        order_id=order_id,
        query_id="q1",
        parent_id="q1-p",
        user="ann",
        bot="bot-1",
        exchange="kraken",
        account="default",
        symbol="BTC/USDT",
        side=Side.BUY,
        price=Decimal("60000"),
        quantity=Decimal("0.5"),
        fee=Decimal("-0.0001"),
        fee_currency="BTC",
        liquidity=Liquidity.MAKER,
        timestamp=NOON,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def entry(version: int = 0, order_id: str = "q1-p-0", **changes: object) -> HistoryEntry:
    made = HistoryEntry(
        order_id=order_id,
        version=version,
        status=Status.CREATED,
        timestamp=NOON,
        message="",
        report={"kind": "created", "quantity": "2", "price": None},
        pnl={"currency": "USDT", "pnl": "-0.3", "fills": 2},
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def notice(notice_id: str = "q1-failed") -> Notice:
    return Notice(
        notice_id=notice_id,
        query_id="q1",
        severity="error",
        subject="smart_order on kraken failed",
        failed="smart_order",
        why="no funds",
        done="nothing",
        todo="deposit",
        created_at=NOON,
        group="ann/bot-1",
    )


def cost(parent_id: str = "q1-p", **changes: object) -> Cost:
    made = Cost(
        parent_id=parent_id,
        query_id=parent_id.partition("-")[0],
        user="ann",
        bot="bot-1",
        verb="smart_order",
        exchange="kraken",
        algo="adaptive",
        pair="USDT>ETH",
        mode="paper",
        started_at=NOON - timedelta(seconds=30),
        ended_at=NOON,
        body={"notional": "1000", "cost": {"total_bps": "-1.5"}, "saved_bps": None, "markouts": []},
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def haircut(currency: str = "USDT", **changes: object) -> Haircut:
    made = Haircut(exchange="kraken", account="default", currency=currency, side=Side.BUY, step=2)
    return replace(made, **changes)  # type: ignore[arg-type]


def nonce(text: str = "n1") -> NonceUse:
    return NonceUse(key_id="key-1", nonce=text, expires_at=SOON)


# --- Records come back as they were --------------------------------------------------------------

PROBLEM = Problem(
    code="FUNDS_INSUFFICIENT",
    message="only 3 USDT are free",
    hint="deposit",
    retry_safe=True,
    details={"free": "3", "currencies": ["USDT"]},
    venue_code="EOrder:Insufficient funds",
    venue_message="no",
)

QUERIES = {
    "working": query(),
    "done, with a result": query(
        status=QueryStatus.DONE, finished_at=SOON, result={"received": "1.5", "orders": []}, seq=2**53
    ),
    "failed, with every word of the problem": query(
        status=QueryStatus.FAILED, finished_at=SOON, error=PROBLEM, exchange=None
    ),
    "failed, with a bare problem": query(
        status=QueryStatus.FAILED, error=Problem(code="X_Y", message="no"), send_fail_email=False
    ),
    "an empty result is a result": query(status=QueryStatus.DONE, result={}, record_in_db=False, mode="live"),
    "strange but legal words": query(
        bot="Bö'\"; DROP TABLE orders; -- 🤖", parameters={"α": "\u2028\\u0000"}
    ),
}


@pytest.mark.parametrize("kept", QUERIES.values(), ids=QUERIES)
def test_a_query_comes_back_as_it_was(store: Store, kept: Query) -> None:
    store.commit([kept])
    assert store.query("ann", "q1") == kept
    assert store.query_by_key("ann", "key of q1") == kept
    assert store.query("bob", "q1") is None
    assert store.query_by_key("bob", "key of q1") is None
    assert store.query_by_key("ann", "") is None


ORDERS = {
    "just made": order(),
    "a market order": order(order_type=OrderType.MARKET, price=None, side=Side.SELL, post_only=False),
    "the largest and the smallest amount": order(quantity=Decimal(BIG), price=Decimal(SMALL)),
    "many digits of a product": order(
        quote_filled=Decimal("0." + "0" * 17 + "123456789012345678"), reserved=Decimal("1." + "9" * 36)
    ),
    "ended": order(
        status=Status.CANCELED,
        asked=Asked.CANCEL,
        phase=Phase.SETTLED,
        purpose="make",
        leg=3,
        attempt=7,
        exchange_order_id="OABC-1",
        time_in_force=TimeInForce.IOC,
        final_quantity=Decimal("0"),
        ending=Status.CANCELED,
        fees={"BTC": Decimal("0.00001"), "KFEE": Decimal("-1.5")},
        reason="canceled by us",
        sent_at=NOON,
        updated_at=SOON,
        closed_at=SOON,
        version=12,
    ),
    "protected": order(order_type=OrderType.MARKET, price=None, protection_price=Decimal("20020.505")),
    "crossed": order(
        status=Status.FILLED,
        phase=Phase.SETTLED,
        purpose="cross",
        cross_id="cross-q2-p-0",
        fee_saved=Decimal("0." + "0" * 30 + "1"),
    ),
}


@pytest.mark.parametrize("kept", ORDERS.values(), ids=ORDERS)
def test_an_order_comes_back_as_it_was(store: Store, kept: Order) -> None:
    store.commit([query(), parent(), kept])
    assert store.order("ann", "q1-p-0") == kept
    assert store.order("bob", "q1-p-0") is None
    assert store.orders_of_query("q1") == [kept]
    assert store.order_by_venue_id("kraken", "default", "cq1-p-0") == kept
    assert store.order_by_venue_id("kraken", "other", "cq1-p-0") is None
    assert store.past_orders(OrderFilter(user="ann")) == ([kept], None)


PARENTS = {
    "just planned": parent(),
    "one plain order": parent(algo="direct", legs=(leg(quantity=Decimal(BIG)),), grants=(), goal={}),
    "with every field of a leg": parent(
        legs=(
            leg(closed_at=SOON, why="filled"),
            leg(
                side=Side.SELL,
                source="BTC",
                target="USDT",
                amount=Decimal(BIG),
                receive=Decimal("0." + "0" * 35 + "1"),
                level=2,
                generation=3,
                capped=True,
                limit=Decimal(SMALL),
                quantity=Decimal("1E+3"),
                goal=Decimal("5"),
                ends_at=SOON,
                started_at=datetime(2026, 3, 1, 23, 30, 0, 1, tzinfo=timezone(timedelta(hours=-7))),
                closed_at=SOON,
                blocked=True,
                code="MARKET_HALTED",
                why="kraken: \u0142 'halted'",
            ),
        ),
        generation=3,
    ),
    "with every field of its own": parent(
        exchange="kraken,binance",
        algo="twap",
        params={"slots": "12", "seed": "7"},
        grants=(
            Grant(exchange="kraken", account="default", currency="USDT", amount=Decimal(BIG)),
            Grant(exchange="binance", account="second", currency="BTC", amount=Decimal("0." + "3" * 36)),
        ),
        generation=2,
        start_amount=Decimal("12345678901234567890." + "9" * 36),
        on_timeout="cancel",
        max_slippage_bps=Decimal("50.5"),
        goal={"kind": "rebalance", "weights": {"BTC": "0.4"}, "accounts": [["kraken", "default"]]},
        planned_at=SOON,
        reason="price",
        state=ParentState.WAITING,
    ),
}


@pytest.mark.parametrize("kept", PARENTS.values(), ids=PARENTS)
def test_a_parent_comes_back_as_it_was(opened: tuple[Store, Reopen], kept: Parent) -> None:
    store, reopen = opened
    store.commit([query(), kept])
    assert reopen().load(LONG_AGO).parents == (kept,)


@pytest.mark.parametrize(
    "digits", [BIG, SMALL, "-" + SMALL, "0", "1e3", "1.10", "-0", "99999999999999999999"]
)
def test_amounts_lose_no_digit_and_gain_none(store: Store, digits: str) -> None:
    store.commit([order(quantity=Decimal("1")), fill(quantity=Decimal(digits), price=Decimal(digits))])
    [kept] = store.fills(["q1-p-0"])
    assert (kept.quantity, kept.price) == (Decimal(digits), Decimal(digits))


def test_times_keep_their_microseconds_whatever_their_zone(store: Store) -> None:
    abroad = datetime(2026, 3, 1, 23, 30, 0, 1, tzinfo=timezone(timedelta(hours=-7)))
    store.commit([query(accepted_at=abroad)])
    kept = store.query("ann", "q1")
    assert kept is not None
    assert kept.accepted_at == abroad == datetime(2026, 3, 2, 6, 30, 0, 1, tzinfo=UTC)


def test_history_and_fills_come_back_in_order(store: Store) -> None:
    late = fill("f2", timestamp=NOON + timedelta(seconds=2), liquidity=Liquidity.TAKER)
    early = fill("f1", timestamp=NOON + timedelta(seconds=1))
    entries = [entry(version, message=f"change {version}") for version in (2, 0, 1)]
    store.commit([order(fill_ids=frozenset({"f1", "f2"})), late, early, *entries])
    assert store.fills(["q1-p-0", "none"]) == [early, late]
    assert store.fills([]) == []
    assert [each.version for each in store.history("q1-p-0")] == [0, 1, 2]
    assert store.history("q1-p-0")[1] == entry(1, message="change 1")
    assert store.history("none") == []
    kept = store.order("ann", "q1-p-0")
    assert kept is not None and kept.fill_ids == {"f1", "f2"}


@pytest.mark.parametrize(
    "seen",
    [
        {"mid": Decimal("60000.25"), "touch": Decimal("60000.5")},
        {"mid": Decimal("0." + "0" * 18 + "5"), "touch": None},  # half a step of eighteen decimals
        {"mid": None, "touch": Decimal("60000")},
        {"mid": Decimal("60000.25"), "touch": Decimal("60000"), "cross_id": "cross-q2-p-0"},
    ],
    ids=["both", "a mid finer than any price", "only the touch", "a fill inside"],
)
def test_the_book_a_fill_met_comes_back(store: Store, seen: dict[str, Decimal | None]) -> None:
    store.commit([order(), fill(**seen)])
    assert store.fills(["q1-p-0"]) == [fill(**seen)]


def test_a_cost_is_kept_whole_and_completed_later(opened: tuple[Store, Reopen]) -> None:
    store, reopen = opened
    store.commit([query(), parent(), cost()])
    assert store.costs("ann") == [cost()]
    whole = cost(complete=True, body={**cost().body, "markouts": [{"tau_s": "1", "maker_bps": "0.5"}]})
    store.commit([whole])
    assert reopen().costs("ann") == [whole]


COSTS = [
    cost("q1-p", exchange="kraken", ended_at=NOON),
    cost("q2-p", exchange="binance,kraken", algo="twap", ended_at=NOON + timedelta(seconds=1)),
    cost("q3-p", exchange="krakenfutures", ended_at=NOON + timedelta(seconds=2)),
    cost("q4-p", exchange="binance", ended_at=NOON + timedelta(seconds=2)),
    cost("q5-p", user="bob", ended_at=NOON),
]
WANTED_COSTS = {
    "all of a user, newest first": ({}, "q4 q3 q2 q1"),
    "the newest": ({"limit": 2}, "q4 q3"),
    "since, that moment included": ({"since": NOON + timedelta(seconds=1)}, "q4 q3 q2"),
    "until, that moment excluded": ({"until": NOON + timedelta(seconds=1)}, "q1"),
    "what traded at an exchange, also beside others": ({"exchange": "kraken"}, "q2 q1"),
    "an exchange of no letters but signs": ({"exchange": "%"}, ""),
    "an algorithm": ({"algo": "twap"}, "q2"),
    "both": ({"exchange": "binance", "algo": "adaptive"}, "q4"),
}


@pytest.mark.parametrize("name", WANTED_COSTS)
def test_costs_are_found(store: Store, name: str) -> None:
    wanted, expected = WANTED_COSTS[name]
    store.commit(COSTS)
    assert [each.query_id for each in store.costs("ann", **wanted)] == expected.split()


def test_halts_are_in_force_until_they_are_lifted_and_both_stay_on_record(
    opened: tuple[Store, Reopen],
) -> None:
    store, reopen = opened
    everywhere = Halt(halt_id="q-1", reason="", set_by="alice", set_at=NOON)
    narrow = Halt(
        halt_id="h-2",
        exchange="kraken",
        account="second",
        user="bob",
        symbol="ETH/USDT",
        reason="runs amok",
        everything=True,
        source="file",
        set_by="oms",
        set_at=NOON + timedelta(seconds=1),
    )
    store.commit([query(query_id="q-1"), everywhere, narrow])
    later = reopen()
    assert later.load(SOON).halts == (everywhere, narrow)
    lift = HaltLift(halt_id="h-2", lifted_by="adam", lifted_at=NOON + timedelta(hours=1), reason="mended")
    later.commit([lift])
    again = reopen()
    assert again.load(SOON).halts == (everywhere,)
    first, second = again.halts(10)
    assert (first.halt, first.lift) == (everywhere, None) and first.query is not None
    assert first.query.query_id == "q-1"
    assert (second.halt, second.lift, second.query) == (narrow, lift, None)
    assert again.halts(1) == [first]


def test_a_haircut_is_kept_for_each_account_currency_and_side_as_it_was_last(
    opened: tuple[Store, Reopen],
) -> None:
    store, reopen = opened
    others = [
        haircut(exchange="binance"),
        haircut(account="second"),
        haircut("ETH", side=Side.SELL, clean_orders=49),
        haircut(side=Side.SELL, step=1),
    ]
    store.commit([haircut(step=1), *others, haircut()])
    assert set(reopen().load(SOON).haircuts) == {haircut(), *others}
    later = store if isinstance(store, MemoryStore) else reopen()
    later.commit([haircut(step=1, clean_orders=7)])
    later.commit([haircut("ETH", side=Side.SELL, step=0)])
    assert set(later.load(SOON).haircuts) == {
        haircut(step=1, clean_orders=7),
        *others[:2],
        haircut("ETH", side=Side.SELL, step=0),
        others[3],
    }


def test_an_order_is_the_fold_of_its_stored_history(store: Store) -> None:
    made = order()
    records: list[Record] = [created(made)]
    for step, kind in enumerate((Kind.INTEND, Kind.ACK, Kind.ASK_CANCEL, Kind.CANCEL), start=1):
        ended = kind is Kind.CANCEL
        change = Change(
            kind=kind,
            phase=Phase.LIVE,
            message=f"step {step}",
            exchange_order_id="O1" if kind is Kind.ACK else None,
            final_quantity=Decimal(0) if ended else None,
        )
        made, written = apply(made, change, NOON + timedelta(seconds=step))
        records.append(written)
    store.commit([*records, made])
    assert fold(store.history("q1-p-0")) == store.order("ann", "q1-p-0") == made


# --- One transaction or none ---------------------------------------------------------------------


def test_of_several_versions_in_one_batch_the_last_is_kept(store: Store) -> None:
    final = order(status=Status.SUBMITTED, version=2)
    store.commit([order(), query(), order(status=Status.PENDING, version=1), query(seq=5), final, parent()])
    store.commit([parent(state=ParentState.DONE, closed_at=NOON), query(seq=6)])
    assert store.order("ann", "q1-p-0") == final
    assert store.query("ann", "q1") == query(seq=6)
    assert store.load(LONG_AGO).parents == (parent(state=ParentState.DONE, closed_at=NOON),)


def test_nothing_is_written_by_an_empty_commit(store: Store) -> None:
    store.commit([])
    assert store.load(LONG_AGO).queries == ()


def test_a_replayed_nonce_takes_its_whole_batch_with_it(store: Store) -> None:
    store.commit([nonce("n0"), nonce("n1"), query()])
    with pytest.raises(NonceUsed) as clash:
        store.commit(
            [query("q2"), nonce("fresh"), nonce("n1"), order("q2-p-0"), entry(0, "q2-p-0"), notice()]
        )
    assert str(clash.value) == "n1"  # the runner finds the replayed request by it
    assert store.query("ann", "q2") is None
    assert store.order("ann", "q2-p-0") is None
    assert store.history("q2-p-0") == []
    store.commit([nonce("fresh")])  # was not spent
    store.commit([NonceUse(key_id="key-2", nonce="n1", expires_at=SOON)])  # another key's nonce is another


# --- Pages ---------------------------------------------------------------------------------------


def test_past_orders_are_paged_newest_first_without_gap_or_repeat(store: Store) -> None:
    # Two orders share each moment, so that the id has to decide; ids differ in case and sign.
    ids = ["q1-p-0", "q1-P-1", "q1-p-10", "q1-p-2", "q1-p_3", "q1-p-a", "q1-p-B"]
    kept = [
        order(order_id, created_at=NOON + timedelta(microseconds=i // 2)) for i, order_id in enumerate(ids)
    ]
    store.commit([*kept, order("q9-x-0", user="bob")])
    expected = sorted(kept, key=lambda o: (o.created_at, o.order_id), reverse=True)
    seen: list[Order] = []
    cursor: str | None = None
    pages = 0
    while True:
        page, cursor = store.past_orders(OrderFilter(user="ann", limit=2, cursor=cursor))
        seen += page
        pages += 1
        if cursor is None:
            break
    assert seen == expected
    assert pages == 4
    assert store.past_orders(OrderFilter(user="ann", limit=7)) == (expected, None)


FILTERS: dict[str, tuple[OrderFilter, set[str]]] = {
    "the user's": (OrderFilter(user="ann"), {"q1-p-0", "q1-p-1", "q2-p-0"}),
    "another user's": (OrderFilter(user="bob"), {"q3-p-0"}),
    "of a bot": (OrderFilter(user="ann", bot="bot-2"), {"q2-p-0"}),
    "at an exchange": (OrderFilter(user="ann", exchange="binance"), {"q1-p-1"}),
    "in a market": (OrderFilter(user="ann", symbol="ETH/USDT"), {"q2-p-0"}),
    "since, included": (OrderFilter(user="ann", since=NOON + timedelta(seconds=1)), {"q1-p-1", "q2-p-0"}),
    "until, excluded": (OrderFilter(user="ann", until=NOON + timedelta(seconds=1)), {"q1-p-0"}),
    "all at once": (
        OrderFilter(user="ann", bot="bot-1", exchange="kraken", symbol="BTC/USDT", since=NOON, until=SOON),
        {"q1-p-0"},
    ),
    "nobody's": (OrderFilter(user="eve"), set()),
}


@pytest.mark.parametrize(("wanted", "expected"), FILTERS.values(), ids=FILTERS)
def test_past_orders_are_filtered(store: Store, wanted: OrderFilter, expected: set[str]) -> None:
    store.commit(
        [
            order("q1-p-0"),
            order("q1-p-1", exchange="binance", created_at=NOON + timedelta(seconds=1)),
            order("q2-p-0", bot="bot-2", symbol="ETH/USDT", created_at=NOON + timedelta(seconds=2)),
            order("q3-p-0", user="bob"),
        ]
    )
    page, cursor = store.past_orders(wanted)
    assert {each.order_id for each in page} == expected
    assert cursor is None


def test_orders_of_a_query_are_in_the_order_of_their_attempts(store: Store) -> None:
    store.commit([order("q1-p-1", attempt=1), order("q1-p-10", attempt=10), order("q1-p-2", attempt=2)])
    assert [each.attempt for each in store.orders_of_query("q1")] == [1, 2, 10]
    assert store.orders_of_query("q2") == []


# --- A restart -----------------------------------------------------------------------------------


def test_a_restart_finds_what_is_unfinished_and_nothing_else(opened: tuple[Store, Reopen]) -> None:
    store, reopen = opened
    settled = {"phase": Phase.SETTLED, "status": Status.FILLED, "closed_at": LONG_AGO}
    ended = {"state": ParentState.DONE, "closed_at": LONG_AGO}
    done = {"status": QueryStatus.DONE, "finished_at": LONG_AGO}
    store.commit(
        [
            # Working: everything of it, also the order that is over.
            query("q1"),
            parent("q1-p"),
            order("q1-p-0", **settled, fill_ids=frozenset({"f1", "f2"})),
            order("q1-p-1"),
            fill("f1"),
            fill("f2"),
            # Long over: nothing.
            query("q2", **done),
            parent("q2-p", **ended),
            order("q2-p-0", **settled, fill_ids=frozenset({"f3"})),
            fill("f3", "q2-p-0"),
            # Over, yet an order's fate is not known: all of it.
            query("q3", **done),
            parent("q3-p", **{**ended, "state": ParentState.ABORTED}),
            order("q3-p-0", phase=Phase.UNKNOWN, status=Status.UNKNOWN),
            order("q3-p-1", **settled),
            # Over a moment ago: late news may still come.
            query("q4", **done),
            parent("q4-p", state=ParentState.DUST_DONE, closed_at=NOON),
            order("q4-p-0", **settled),
            # A query that works without trading.
            query("q5"),
        ]
    )
    found = reopen().load(NOON)
    assert {q.query_id for q in found.queries} == {"q1", "q3", "q4", "q5"}
    assert {p.parent_id for p in found.parents} == {"q1-p", "q3-p", "q4-p"}
    assert {o.order_id for o in found.orders} == {"q1-p-0", "q1-p-1", "q3-p-0", "q3-p-1", "q4-p-0"}
    assert {f.fill_id for f in found.fills} == {"f1", "f2"}
    by_id = {o.order_id: o for o in found.orders}
    assert by_id["q1-p-0"] == order("q1-p-0", **settled, fill_ids=frozenset({"f1", "f2"}))
    assert len(found.queries) == 4 and len(found.parents) == 3 and len(found.orders) == 5
    later = store if isinstance(store, MemoryStore) else reopen()
    assert {p.parent_id for p in later.load(SOON).parents} == {"q1-p", "q3-p"}


def test_after_a_restart_everything_is_as_it_was(opened: tuple[Store, Reopen]) -> None:
    store, reopen = opened
    kept: list[Record] = [
        query(),
        parent(),
        order(fill_ids=frozenset({"f1"}), filled_quantity=Decimal("0.5")),
    ]
    store.commit([*kept, fill(), entry(), nonce(), notice(), haircut()])
    before = store.load(LONG_AGO)
    again = reopen()
    after = again.load(LONG_AGO)
    assert after == before
    assert (after.queries, after.parents, after.orders) == ((kept[0],), (kept[1],), (kept[2],))
    assert after.fills == (fill(),)
    assert after.nonces == (nonce(),)
    assert after.haircuts == (haircut(),)
    assert again.load(SOON).nonces == (nonce(),)
    assert again.load(SOON + timedelta(seconds=1)).nonces == ()
    assert again.history("q1-p-0") == [entry()]
    with pytest.raises(NonceUsed):
        again.commit([nonce()])


# --- Threads -------------------------------------------------------------------------------------


def test_readers_see_whole_commits_while_they_are_written(sql_store: SqlStore) -> None:
    """An order's fill ids, its filled quantity and its version are of one moment, at every look."""
    store = sql_store
    rounds, stop = 40, threading.Event()
    wrong: list[str] = []
    looks = 0

    def look() -> None:
        nonlocal looks
        while not stop.is_set():
            seen = store.order("ann", "q1-p-0")
            if seen is None:
                continue
            looks += 1
            if len(seen.fill_ids) != seen.version or seen.filled_quantity != Decimal(seen.version) / 100:
                wrong.append(f"version {seen.version}, {len(seen.fill_ids)} fills, {seen.filled_quantity}")
            page, _ = store.past_orders(OrderFilter(user="ann"))
            if len(page) != 1 or len(store.history("q1-p-0")) < seen.version:
                wrong.append("a page or a history fell behind")

    readers = [threading.Thread(target=look) for _ in range(3)]
    store.commit([order()])
    for reader in readers:
        reader.start()
    ids: set[str] = set()
    try:
        for version in range(1, rounds + 1):
            ids.add(f"f{version}")
            changed = order(version=version, filled_quantity=Decimal(version) / 100, fill_ids=frozenset(ids))
            store.commit([changed, fill(f"f{version}", quantity=Decimal("0.01")), entry(version)])
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert wrong == []
    assert looks > 0
    kept = store.order("ann", "q1-p-0")
    assert kept is not None and (kept.version, len(kept.fill_ids)) == (rounds, rounds)


def test_many_writers_lose_nothing(sql_store: SqlStore) -> None:
    store = sql_store

    def write(writer: int) -> None:
        for i in range(10):
            store.commit([order(f"q{writer}-p-{i}"), entry(0, f"q{writer}-p-{i}")])

    writers = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    page, cursor = store.past_orders(OrderFilter(user="ann", limit=100))
    assert len(page) == 40 and cursor is None
    assert all(len(store.history(each.order_id)) == 1 for each in page)


# --- Copies of exchanges' own lists ---

LISTS = Subject(exchange="kraken", account="default", mode="paper", what="orders")


def listed(number: int, **changes: object) -> VenueOrder:
    given: dict[str, object] = {
        "exchange": "kraken",
        "account": "default",
        "mode": "paper",
        "symbol": "ETH/USDT",
        "exchange_order_id": f"O{number}",
        "client_order_id": None,
        "side": Side.BUY,
        "order_type": "limit",
        "status": "filled",
        "price": Decimal("2500.5"),
        "quantity": Decimal("0.5"),
        "filled_quantity": Decimal("0.5"),
        "quote_filled": Decimal("1250.25"),
        "fees": {"USDT": Decimal("1.25")},
        "created_at": NOON + timedelta(minutes=number),
        "updated_at": None,
        "final": True,
    }
    return VenueOrder(**(given | changes))  # type: ignore[arg-type]


def moved(number: int, **changes: object) -> Transfer:
    given: dict[str, object] = {
        "exchange": "kraken",
        "account": "default",
        "mode": "paper",
        "kind": "deposit",
        "transfer_id": f"T{number}",
        "currency": "USDT",
        "amount": Decimal(SMALL),
        "fee": None,
        "status": "ok",
        "txid": None,
        "at": NOON + timedelta(minutes=number),
        "final": True,
    }
    return Transfer(**(given | changes))  # type: ignore[arg-type]


def wanting(**changes: object) -> VenueFilter:
    given: dict[str, object] = {
        "exchange": "kraken",
        "account": "default",
        "mode": "paper",
        "user": None,
        "since": LONG_AGO,
        "until": SOON,
    }
    return VenueFilter(**(given | changes))  # type: ignore[arg-type]


def test_a_listed_order_comes_back_as_it_was_and_is_replaced_by_later_news(
    opened: tuple[Store, Reopen],
) -> None:
    store, reopen = opened
    waiting = listed(
        1, status="submitted", final=False, filled_quantity=Decimal(0), quantity=None, price=None
    )
    store.keep(LISTS, [waiting, listed(2)], [(LONG_AGO, NOON)])
    assert [one.order for one in reopen().listed_orders(wanting())[0]] == [listed(2), waiting]
    store.keep(LISTS, [listed(1)], [(LONG_AGO, SOON)])
    again = reopen()
    assert [one.order for one in again.listed_orders(wanting())[0]] == [listed(2), listed(1)]
    assert again.covered(LISTS) == [(LONG_AGO, SOON)]


def test_what_was_read_is_kept_apart_by_account_mode_and_list(store: Store) -> None:
    others = [
        replace(LISTS, account="two"),
        replace(LISTS, mode="live"),
        replace(LISTS, what="transfers"),
        replace(LISTS, symbol="BTC/USDT"),
    ]
    store.keep(LISTS, [listed(1)], [(LONG_AGO, NOON), (SOON, SOON + timedelta(days=1))])
    for other in others:
        assert store.covered(other) == []
        store.keep(other, [], [(NOON, SOON)])
    assert store.covered(LISTS) == [(LONG_AGO, NOON), (SOON, SOON + timedelta(days=1))]
    for changes in ({"account": "two"}, {"mode": "live"}, {"exchange": "okx"}, {"symbol": "BTC/USDT"}):
        assert store.listed_orders(wanting(**changes))[0] == []


def test_listed_orders_are_paged_and_say_whose_they_are(store: Store) -> None:
    ours = order("o1", user="ann", client_order_id="c-1", exchange="kraken")
    theirs = order("o2", user="bob", client_order_id="c-2", exchange="kraken")
    store.commit([query("q1"), parent("p1"), ours, theirs])
    rows = [listed(n, client_order_id=f"c-{n}" if n < 3 else None) for n in range(1, 6)]
    same_time = listed(6, created_at=rows[-1].created_at)
    store.keep(LISTS, [*rows, same_time], [])
    found: list[tuple[str, str | None]] = []
    cursor = None
    for _ in range(4):
        page, cursor = store.listed_orders(wanting(limit=2, cursor=cursor))
        found += [(one.order.exchange_order_id, one.user) for one in page]
        if cursor is None:
            break
    assert found == [("O6", None), ("O5", None), ("O4", None), ("O3", None), ("O2", "bob"), ("O1", "ann")]
    seen = store.listed_orders(wanting(user="ann"))[0]
    assert [one.order.exchange_order_id for one in seen] == ["O6", "O5", "O4", "O3", "O1"]
    for wrong in ("page two", "|O1", "2026-03-01T12:00:00|O1"):
        with pytest.raises(ValueError, match="cursor"):
            store.listed_orders(wanting(cursor=wrong))


def test_what_was_still_open_is_found_again(store: Store) -> None:
    open_ones = [listed(n, status="submitted", final=False) for n in (1, 2, 3)]
    elsewhere = [listed(2, final=False, account="two"), listed(2, final=False, mode="live")]
    store.keep(LISTS, [*open_ones, listed(4), *elsewhere], [])
    span = (open_ones[0].created_at, open_ones[2].created_at)
    found = sorted(store.unended_orders(LISTS, span), key=lambda one: one.created_at)
    assert found == open_ones[:2]
    assert store.unended_orders(replace(LISTS, symbol="ETH/EUR"), span) == []
    store.keep(LISTS, [replace(open_ones[0], status="unknown", final=True)], [])
    assert store.unended_orders(LISTS, span) == [open_ones[1]]


def test_transfers_are_kept_filtered_and_paged(store: Store) -> None:
    moves = replace(LISTS, what="transfers")
    rows = [moved(1), moved(2, currency="BTC", fee=Decimal("0.1")), moved(3, kind="withdrawal", txid="x")]
    store.keep(moves, rows, [])
    store.keep(moves, [moved(1, status="failed")], [])
    expected = [rows[2], rows[1], moved(1, status="failed")]
    page, cursor = store.listed_transfers(wanting(limit=2))
    rest, end = store.listed_transfers(wanting(limit=2, cursor=cursor))
    assert (page + rest, end) == (expected, None)
    assert store.listed_transfers(wanting(currency="BTC"))[0] == [rows[1]]
    some = wanting(since=NOON + timedelta(minutes=2), until=NOON + timedelta(minutes=3))
    assert store.listed_transfers(some)[0] == [rows[1]]


def test_limits_of_the_risk_controls_and_what_they_count_are_read_back(
    opened: tuple[Store, Reopen],
) -> None:
    store, reopen = opened
    first = RiskLimit(
        change_id="c-2", setting="credit_limit", old="default", new="50000", set_by="adam", set_at=NOON
    )
    second = RiskLimit(
        change_id="c-1",
        setting="max_open_orders",
        user="bob",
        bot="b",
        exchange="kraken",
        account="default",
        symbol="ETH/USDT",
        old="default",
        new="3",
        set_by="bob",
        set_at=NOON + timedelta(seconds=1),
        reason="a drill",
    )
    ended = replace(
        order("o-1"),
        closed_at=NOON,
        filled_quantity=Decimal("0.5"),
        quantity=Decimal(2),
        usd_value=Decimal("4000.5"),
        release="0.1.0+abc",
    )
    older = replace(ended, order_id="o-2", client_order_id="c2", closed_at=NOON - timedelta(days=2))
    inside = replace(ended, order_id="o-3", client_order_id="c3", cross_id="x")
    trips = [
        Halt(
            halt_id=n, source=source, reason="reject_share: 11", exchange="kraken", set_by="oms", set_at=NOON
        )
        for n, source in (("h-1", errors.VENUE_BREAKER), ("h-2", errors.LOSS_LIMIT))
    ]
    changes = [entry(n, order_id) for order_id in ("o-1", "o-2", "o-3") for n in range(2)]
    store.commit(
        [query(query_id="q1"), parent(), first, second, ended, older, inside, *changes[::-1], *trips]
    )
    later = reopen()
    found = later.load(SOON, NOON + timedelta(hours=1))
    assert found.risk_limits == (first, second)
    assert later.risk_changes(1) == [second]
    assert found.breaker_halts == (trips[0],)
    assert {(where, e.order_id, e.version) for where, e in found.changes} == {
        (place_of(ended), order_id, n) for order_id in ("o-1", "o-2") for n in range(2)
    }
    assert [(t.where.symbol, t.usd) for t in found.traded] == [(ended.symbol, Decimal("1000.125"))] * 2
    kept = later.order(ended.user, "o-1")
    assert kept is not None and (kept.usd_value, kept.release) == (Decimal("4000.5"), "0.1.0+abc")
