"""What fills earned, positions and slices, kept and read back on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from ems.core.messages import Liquidity, Side
from ems.core.records import BalanceBase, Fill, Position, PositionSnapshot, Slice, SliceChange, SnapshotDay
from ems.store import SnapshotFilter
from server.store.migrate import upgrade
from server.store.sql import SqlStore
from tests import builders

D = Decimal
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
FINE = D("0.123456789012345678901234567890123456")
THRICE = D("0.370370367037037036703703703670370368")


@pytest.fixture
def store(any_db_url: str) -> Iterator[SqlStore]:
    upgrade(any_db_url)
    opened = SqlStore(any_db_url)
    yield opened
    opened.close()


def fill(number: int, **changes: object) -> Fill:
    made = Fill(
        fill_id=f"f{number}",
        order_id="q1.1.1",
        query_id="q1",
        parent_id="q1.1",
        user="alice",
        bot="bot1",
        exchange="binance",
        account="default",
        symbol="ETH/USDT",
        side=Side.BUY,
        price=D(2000),
        quantity=D(1),
        fee=D("0.001"),
        fee_currency="ETH",
        liquidity=Liquidity.TAKER,
        timestamp=NOON,
        booking=number,
        value_currency="USDT",
        value=D(2000),
        fee_value=D(2),
        fee_cost=D(2),
        realised=FINE,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def position(**changes: object) -> Position:
    made = Position(
        user="alice",
        bot="bot1",
        exchange="binance",
        account="default",
        asset="ETH",
        currency="USDT",
        quantity=D(3),
        cost=FINE,
        realised=FINE.copy_negate(),
        fees=D("-0.5"),
        opened=D(1),
        opened_value=D(2000),
        unvalued=D("0.1"),
        updated_at=NOON,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def test_what_fills_earned_is_added_up_by_day_bot_account_and_symbol(store: SqlStore) -> None:
    late = NOON + timedelta(hours=12)
    fills = [
        fill(1),
        fill(2, timestamp=NOON + timedelta(seconds=1)),
        fill(3, timestamp=late - timedelta(microseconds=1), value=None),
        fill(4, timestamp=late, bot="bot2", realised=D(-7)),
        fill(5, user="bob"),
        fill(6, value_currency="EUR"),
        fill(7, booking=0, value_currency="", value=None, fee_value=None, fee_cost=D(0), realised=D(0)),
    ]
    store.commit([builders.order(), *fills])
    first, second = store.earned("alice", "USDT")
    assert (first.day, first.bot, first.fills, first.unvalued_fills) == (date(2026, 11, 21), "bot1", 4, 2)
    assert (first.realised, first.fees, first.turnover) == (THRICE, 6, 4000)
    assert (second.day, second.bot, second.realised) == (date(2026, 11, 22), "bot2", -7)
    assert store.earned("alice", "USDT", since=late) == [second]
    assert store.earned("alice", "USDT", until=late, bot="bot1", exchange="binance") == [first]
    assert store.earned("alice", "USDT", account="other") == [] == store.earned("eve", "USDT")
    assert store.load(NOON).booking == 6
    assert {f.fill_id: f for f in store.fills(["q1.1.1"])} == {f.fill_id: f for f in fills}


def test_a_position_is_kept_as_it_was_last(store: SqlStore) -> None:
    others = [position(asset="BTC"), position(bot="bot2"), position(currency="EUR", quantity=D(0))]
    store.commit([position(quantity=D(1)), *others, position()])
    assert set(store.load(NOON).positions) == {position(), *others}
    store.commit([position(quantity=D(0), cost=D(0))])
    assert position(quantity=D(0), cost=D(0)) in store.load(NOON).positions


def test_slices_in_force_are_loaded_and_every_change_stays(store: SqlStore) -> None:
    one = Slice(
        user="alice",
        bot="bot1",
        exchange="kraken",
        account="default",
        amounts={"ETH": FINE, "USDT": D(-1)},
        set_by="adam",
        set_at=NOON,
        updated_at=NOON,
    )
    change = SliceChange(
        change_id="q1",
        user="alice",
        bot="bot1",
        exchange="kraken",
        account="default",
        amounts=one.amounts,
        in_force=True,
        reason="",
        set_by="adam",
        set_at=NOON,
        booking=3,
    )
    store.commit([change, replace(one, amounts={}), one])
    assert store.load(NOON).slices == (one,)
    ended = replace(change, change_id="q2", amounts={}, in_force=False)
    store.commit([ended, replace(one, amounts={}, ended_at=NOON)])
    assert store.load(NOON).slices == ()
    with pytest.raises(AssertionError):
        store.commit([ended])


def snapshot(day: int, *held: Position, currency: str = "USDT") -> list[SnapshotDay | PositionSnapshot]:
    """A snapshot of these positions, ETH at 2500 and a third."""
    price = D("2500.333333333333333333")
    when = NOON.replace(day=day)
    mark = SnapshotDay(day=when.date(), currency=currency, taken_at=when, booking=day, positions=len(held))
    return [mark, *(PositionSnapshot(day=mark.day, position=p, price=price) for p in held)]


def test_snapshots_are_read_by_page_each_with_the_one_before(store: SqlStore) -> None:
    mine, others = position(), position(user="bob")
    second = position(bot="bot2", exchange="kraken", quantity=D(0))
    for day in (21, 22, 24):  # the server was down on the 23rd
        store.commit(snapshot(day, replace(mine, realised=D(day)), second, others))
    store.commit(snapshot(25, position(currency="EUR"), currency="EUR"))
    assert store.load(NOON).snapshot_days == {"USDT": date(2026, 11, 24), "EUR": date(2026, 11, 25)}

    asked = SnapshotFilter(user="alice", currency="USDT", limit=2)
    page, before, cursor = store.snapshots(asked)
    assert [one.day.day.day for one in page] == [24, 22] and before.day.day.day == 21
    assert [row.position for row in page[0].positions] == [replace(mine, realised=D(24)), second]
    assert page[0].positions[0].price == D("2500.333333333333333333") and page[0].day.booking == 24
    page, before, cursor = store.snapshots(replace(asked, cursor=cursor))
    assert [one.day.day.day for one in page] == [21] and (before, cursor) == (None, None)

    page, before, _ = store.snapshots(replace(asked, bot="bot2", since=NOON.replace(day=24)))
    assert [[row.position for row in one.positions] for one in (*page, before)] == [[second], [second]]
    page, _, _ = store.snapshots(replace(asked, user="eve", until=NOON.replace(day=22)))
    assert [(one.day.day.day, one.positions) for one in page] == [(21, ())]
    with pytest.raises(ValueError, match="cursor"):
        store.snapshots(replace(asked, cursor="yesterday"))


def test_a_day_is_taken_once(store: SqlStore) -> None:
    store.commit(snapshot(21, position()))
    for again in (snapshot(21), snapshot(21, position())[1:]):
        with pytest.raises(AssertionError, match="promise"):
            store.commit(again)
    assert len(store.snapshots(SnapshotFilter(user="alice", currency="USDT"))[0]) == 1


def test_balances_compared_with_are_kept_with_what_traded_since(store: SqlStore) -> None:
    base = BalanceBase(
        exchange="binance",
        account="default",
        identity="a1",
        totals={"USDT": FINE, "ETH": D(0)},
        asked_at=NOON,
        came_at=NOON + timedelta(seconds=1),
        transfers=("deposit/1",),
    )
    fills = [
        fill(1, timestamp=NOON - timedelta(seconds=61)),
        fill(2, timestamp=NOON - timedelta(seconds=60)),
        fill(3, timestamp=NOON + timedelta(days=3)),
        fill(4, cross_id="c1"),
        fill(5, exchange="kraken"),
        fill(6, account="other"),
    ]
    store.commit([builders.order(), *fills, replace(base, totals={}), replace(base, account="other")])
    later = replace(base, account="other", asked_at=NOON + timedelta(days=1), transfers=())
    store.commit([base, later])
    found = store.load(NOON)
    assert sorted(found.bases, key=lambda one: one.account) == [base, later]
    assert sorted(f.fill_id for f in found.base_fills) == ["f2", "f3"]
