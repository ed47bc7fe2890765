"""Copies of exchanges' own lists, as SQL. `sql.SqlStore` gives the connections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, literal, or_, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite

from ems.core.records import Transfer, VenueOrder
from ems.core.spans import Span
from ems.store import ListedOrder, Subject, VenueFilter, list_key, read_list_key
from server.store import mapping
from server.store.tables import history_spans, orders, transfers, venue_orders


def covered(connection: Connection, subject: Subject) -> list[Span]:
    asked = select(history_spans.c.since, history_spans.c.until).where(*_of(subject))
    return [(since, until) for since, until in connection.execute(asked.order_by(history_spans.c.since))]


def keep(
    connection: Connection,
    subject: Subject,
    rows: Sequence[VenueOrder | Transfer],
    spans: Sequence[Span],
) -> None:
    insert: Any = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    for table, values in (
        (venue_orders, [mapping.VENUE_ORDER.row(row) for row in rows if isinstance(row, VenueOrder)]),
        (transfers, [mapping.TRANSFER.row(row) for row in rows if isinstance(row, Transfer)]),
    ):
        if values:
            statement = insert(table)
            key = [column.name for column in table.primary_key]
            new = {
                column.name: statement.excluded[column.name] for column in table.c if column.name not in key
            }
            connection.execute(statement.on_conflict_do_update(index_elements=key, set_=new), values)
    connection.execute(delete(history_spans).where(*_of(subject)))
    named = {
        "exchange": subject.exchange,
        "account": subject.account,
        "mode": subject.mode,
        "what": subject.what,
        "symbol": subject.symbol,
    }
    if spans:
        values = [{**named, "since": since, "until": until} for since, until in spans]
        connection.execute(history_spans.insert(), values)


def unended_orders(connection: Connection, subject: Subject, span: Span) -> list[VenueOrder]:
    asked = select(venue_orders).where(
        venue_orders.c.exchange == subject.exchange,
        venue_orders.c.account == subject.account,
        venue_orders.c.mode == subject.mode,
        venue_orders.c.timestamp >= span[0],
        venue_orders.c.timestamp < span[1],
        venue_orders.c.final.is_(False),
    )
    if subject.symbol:
        asked = asked.where(venue_orders.c.symbol == subject.symbol)
    return [mapping.VENUE_ORDER.record(row) for row in connection.execute(asked)]


def listed_orders(connection: Connection, wanted: VenueFilter) -> tuple[list[ListedOrder], str | None]:
    ours = and_(
        orders.c.exchange == venue_orders.c.exchange,
        orders.c.account == venue_orders.c.account,
        orders.c.client_order_id == venue_orders.c.client_order_id,
    )
    asked = select(venue_orders, orders.c.order_id, orders.c.user_id, orders.c.bot).select_from(
        venue_orders.outerjoin(orders, ours)
    )
    asked = asked.where(*_between(venue_orders, venue_orders.c.exchange_order_id, wanted))
    if wanted.symbol is not None:
        asked = asked.where(venue_orders.c.symbol == wanted.symbol)
    if wanted.user is not None:
        asked = asked.where(or_(orders.c.user_id.is_(None), orders.c.user_id == wanted.user))
    newest_first = (venue_orders.c.timestamp.desc(), venue_orders.c.exchange_order_id.desc())
    rows = connection.execute(asked.order_by(*newest_first).limit(wanted.limit + 1)).all()
    page = [
        ListedOrder(
            order=mapping.VENUE_ORDER.record(row), order_id=row.order_id, user=row.user_id, bot=row.bot
        )
        for row in rows[: wanted.limit]
    ]
    more = len(rows) > wanted.limit
    return page, list_key(page[-1].order.created_at, page[-1].order.exchange_order_id) if more else None


def listed_transfers(connection: Connection, wanted: VenueFilter) -> tuple[list[Transfer], str | None]:
    asked = select(transfers).where(*_between(transfers, transfers.c.transfer_id, wanted))
    if wanted.currency is not None:
        asked = asked.where(transfers.c.currency == wanted.currency)
    newest_first = (transfers.c.timestamp.desc(), transfers.c.transfer_id.desc())
    rows = connection.execute(asked.order_by(*newest_first).limit(wanted.limit + 1)).all()
    page = [mapping.TRANSFER.record(row) for row in rows[: wanted.limit]]
    more = len(rows) > wanted.limit
    return page, list_key(page[-1].at, page[-1].transfer_id) if more else None


def _of(subject: Subject) -> list[ColumnElement[bool]]:
    return [
        history_spans.c.exchange == subject.exchange,
        history_spans.c.account == subject.account,
        history_spans.c.mode == subject.mode,
        history_spans.c.what == subject.what,
        history_spans.c.symbol == subject.symbol,
    ]


def _between(table: Any, number: Any, wanted: VenueFilter) -> list[ColumnElement[bool]]:
    conditions = [
        table.c.exchange == wanted.exchange,
        table.c.account == wanted.account,
        table.c.mode == wanted.mode,
        table.c.timestamp >= wanted.since,
        table.c.timestamp < wanted.until,
    ]
    if wanted.cursor is not None:
        at, after = read_list_key(wanted.cursor)
        page_end = tuple_(literal(at, table.c.timestamp.type), literal(after, number.type))
        conditions.append(tuple_(table.c.timestamp, number) < page_end)
    return conditions
