"""Reading the daily snapshots: which days there are, and how a user's positions stood."""

from __future__ import annotations

from datetime import date

from sqlalchemy import Connection, func, select

from ems.core.snapshots import Snapshot
from ems.store import SnapshotFilter
from server.store.mapping import POSITION_SNAPSHOT, SNAPSHOT_DAY
from server.store.tables import snapshot_days, snapshots


def last_days(connection: Connection) -> dict[str, date]:
    """Return the last day that was taken, by reporting currency."""
    asked = select(snapshot_days.c.currency, func.max(snapshot_days.c.day)).group_by(snapshot_days.c.currency)
    return {currency: date.fromisoformat(day) for currency, day in connection.execute(asked)}


def page(
    connection: Connection, wanted: SnapshotFilter
) -> tuple[list[Snapshot], Snapshot | None, str | None]:
    """Return a page, newest first, the snapshot before its oldest, and the cursor of the next page."""
    days = select(snapshot_days).where(snapshot_days.c.currency == wanted.currency)
    asked = days
    if wanted.cursor is not None:
        asked = asked.where(snapshot_days.c.day < _day(wanted.cursor))
    if wanted.since is not None:
        asked = asked.where(snapshot_days.c.taken_at >= wanted.since)
    if wanted.until is not None:
        asked = asked.where(snapshot_days.c.taken_at < wanted.until)
    newest_first = snapshot_days.c.day.desc()
    rows = connection.execute(asked.order_by(newest_first).limit(wanted.limit + 1)).all()
    found = [SNAPSHOT_DAY.record(row) for row in rows[: wanted.limit]]
    if not found:
        return [], None, None
    oldest = found[-1].day.isoformat()
    before = connection.execute(days.where(snapshot_days.c.day < oldest).order_by(newest_first).limit(1))
    found += [SNAPSHOT_DAY.record(row) for row in before]
    held = select(snapshots).where(
        snapshots.c.user_id == wanted.user,
        snapshots.c.currency == wanted.currency,
        snapshots.c.day.between(found[-1].day.isoformat(), found[0].day.isoformat()),
    )
    for column, value in (
        (snapshots.c.bot, wanted.bot),
        (snapshots.c.exchange, wanted.exchange),
        (snapshots.c.account, wanted.account),
    ):
        if value is not None:
            held = held.where(column == value)
    in_order = (snapshots.c.exchange, snapshots.c.account, snapshots.c.asset, snapshots.c.bot)
    kept = [POSITION_SNAPSHOT.record(row) for row in connection.execute(held.order_by(*in_order))]
    taken = [Snapshot(day=day, positions=tuple(p for p in kept if p.day == day.day)) for day in found]
    shown = len(rows[: wanted.limit])
    return (
        taken[:shown],
        taken[shown] if len(taken) > shown else None,
        oldest if len(rows) > wanted.limit else None,
    )


def _day(cursor: str) -> str:
    try:
        return date.fromisoformat(cursor).isoformat()
    except ValueError:
        raise ValueError("cursor: not one of ours; send the previous page's back as it is") from None
