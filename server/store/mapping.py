"""How each record becomes a row of its table, and back.

Columns are called as fields are, but for `user` (USER is a reserved word of SQL) and what a record below says
itself. Enums are kept as their words, amounts by currency as strings. A field without a column is an error at
import, unless the record names it under `without`: nothing is forgotten by writing a new field down once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Generic, NamedTuple, TypeVar, get_args, get_type_hints

from sqlalchemy import Row, Table

from ems.core import notifications as noted
from ems.core.messages import NonceUse, Problem, Side
from ems.core.order import edit_from_json, edit_to_json
from ems.core.records import (
    BalanceBase,
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
    Position,
    PositionSnapshot,
    Query,
    RiskLimit,
    Slice,
    SliceChange,
    SnapshotDay,
    Transfer,
    VenueOrder,
)
from ems.core.snapshots import worth_of
from server.store import tables
from server.store.columns import plain

Values = dict[str, Any]
R = TypeVar("R")


class Form(NamedTuple):
    """How one field is written into its column, and read from it."""

    write: Callable[[Any], Any]
    read: Callable[[Any], Any]


class Rows(Generic[R]):
    """Turn records of one kind into rows of a table, and rows into records."""

    def __init__(
        self,
        kind: type[R],
        table: Table,
        *,
        called: Mapping[str, str] | None = None,
        forms: Mapping[str, Form] | None = None,
        without: Iterable[str] = (),
    ) -> None:
        """Raise ValueError for a field that has no column.

        Args:
            kind: the record, a dataclass.
            table: where it is kept; columns beyond the fields are left to the database.
            called: field -> column, where the two differ.
            forms: field -> how it is kept, where its type does not say it.
            without: fields that are kept elsewhere; `record` wants them from its caller.
        """
        names = {"user": "user_id", **(called or {})}
        types = get_type_hints(kind)
        apart = frozenset(without)
        whole: Any = kind  # the type checker knows no bound for dataclasses
        self._kind = kind
        kept = [f.name for f in fields(whole) if f.name not in apart]
        self._columns = [(field, names.get(field, field)) for field in kept]
        missing = [field for field, column in self._columns if column not in table.c]
        if missing:
            raise ValueError(f"{kind.__name__} has no column in {table.name} for {', '.join(missing)}")
        found = {field: _form_of(types[field]) for field in kept} | dict(forms or {})
        self._forms = [(field, names.get(field, field), form) for field, form in found.items() if form]

    def row(self, record: R, **more: Any) -> Values:
        """Return a record's columns, with `more` beside or instead of them."""
        values = {column: getattr(record, field) for field, column in self._columns}
        for _, column, form in self._forms:
            if values[column] is not None:
                values[column] = form.write(values[column])
        values.update(more)
        return values

    def record(self, row: Row[Any], **more: Any) -> R:
        """Return the record of a row, with `more` for the fields that are kept elsewhere."""
        values = {field: getattr(row, column) for field, column in self._columns}
        for field, _, form in self._forms:
            values[field] = form.read(values[field])
        values.update(more)
        return self._kind(**values)


def _amounts_to_json(amounts: Mapping[str, Decimal]) -> dict[str, str]:
    return {currency: plain(amount) for currency, amount in amounts.items()}


def _amounts_from_json(texts: Mapping[str, str]) -> dict[str, Decimal]:
    return {currency: Decimal(amount) for currency, amount in texts.items()}


AMOUNTS = Form(_amounts_to_json, _amounts_from_json)


def _form_of(hint: Any) -> Form | None:
    """Say how a field of this type is kept, None where the column type does it."""
    kinds = [one for one in get_args(hint) if one is not NoneType] if isinstance(hint, UnionType) else [hint]
    if len(kinds) == 1 and isinstance(kinds[0], type) and issubclass(kinds[0], Enum):
        enum = kinds[0]
        return Form(lambda member: member.value, lambda word: None if word is None else enum(word))
    if get_args(kinds[0]) == (str, Decimal):
        return AMOUNTS
    return None


def _null_is(value: object) -> Form:
    """Read NULL, which rows from before the column was there have, as this value."""
    return Form(lambda given: given, lambda kept: value if kept is None else kept)


def _null_means(value: object) -> Form:
    """Keep this value as NULL, and read it back."""
    return Form(lambda given: None if given == value else given, lambda kept: value if kept is None else kept)


ZERO = Decimal(0)

# --- queries, parents, orders, fills ----------------------------------------------------------------

_PROBLEM = tuple(f.name for f in fields(Problem))


class _Queries(Rows[Query]):
    """A query's error is spread over columns of its own."""

    def row(self, record: Query, **more: Any) -> Values:
        error = record.error
        spread = {f"error_{name}": error and getattr(error, name) for name in _PROBLEM}
        return super().row(record, **spread, **more)

    def record(self, row: Row[Any], **more: Any) -> Query:
        spread = {name: getattr(row, f"error_{name}") for name in _PROBLEM}
        return super().record(row, error=None if row.error_code is None else Problem(**spread), **more)


QUERY = _Queries(Query, tables.queries, without=["error"])


def _leg_to_json(leg: Leg) -> dict[str, object]:
    return {f.name: _to_json(getattr(leg, f.name)) for f in fields(Leg)}


def _to_json(value: Any) -> object:
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime):
        return value.isoformat()
    return value.value if isinstance(value, Enum) else value


_LEG_AMOUNTS = ("amount", "receive", "limit", "quantity", "goal")
_LEG_TIMES = ("ends_at", "started_at", "closed_at")


def _leg_from_json(body: Mapping[str, Any]) -> Leg:
    values = {f.name: body[f.name] for f in fields(Leg)}
    for name in _LEG_AMOUNTS:
        values[name] = None if body[name] is None else Decimal(body[name])
    for name in _LEG_TIMES:
        values[name] = None if body[name] is None else datetime.fromisoformat(body[name])
    return Leg(**{**values, "side": Side(body["side"])})


def _grant_to_json(grant: Grant) -> dict[str, object]:
    return {f.name: _to_json(getattr(grant, f.name)) for f in fields(Grant)}


def _grant_from_json(body: Mapping[str, Any]) -> Grant:
    return Grant(**{**body, "amount": Decimal(body["amount"])})


PARENT = Rows(
    Parent,
    tables.parents,
    forms={
        "legs": Form(
            lambda legs: [_leg_to_json(leg) for leg in legs],
            lambda bodies: tuple(_leg_from_json(body) for body in bodies),
        ),
        "grants": Form(
            lambda grants: [_grant_to_json(grant) for grant in grants],
            lambda bodies: tuple(_grant_from_json(body) for body in bodies),
        ),
    },
)

# An order's fill ids are the rows of `fills`.
ORDER = Rows(
    Order,
    tables.orders,
    called={"created_at": "timestamp"},
    without=["fill_ids"],
    forms={
        "edit": Form(edit_to_json, lambda body: None if body is None else edit_from_json(body)),
        "usd_value": _null_is(ZERO),
        "release": _null_is(""),
    },
)

HISTORY = Rows(HistoryEntry, tables.order_history)


class _Fills(Rows[Fill]):
    """What a fill cost and realised is known from its booking on."""

    def row(self, record: Fill, **more: Any) -> Values:
        return super().row(record, **({} if record.booking else {"fee_cost": None, "realised": None}), **more)


FILL = _Fills(
    Fill,
    tables.fills,
    forms={
        "booking": _null_means(0),
        "value_currency": _null_means(""),
        "fee_cost": _null_is(ZERO),
        "realised": _null_is(ZERO),
    },
)

# --- books, limits, letters -------------------------------------------------------------------------


class _Positions(Rows[Position]):
    """The average price is a column for people who read the table; the record works it out."""

    def row(self, record: Position, **more: Any) -> Values:
        return super().row(record, average_price=record.average_price, **more)


class _PositionSnapshots(Rows[PositionSnapshot]):
    """A row of a snapshot holds its position; what that was worth is a column for people, as its price is."""

    def row(self, record: PositionSnapshot, **more: Any) -> Values:
        held, price = record.position, record.price
        value = worth_of(held.quantity, price) if price is not None else None if held.quantity else ZERO
        return super().row(record, **POSITION.row(held), value=value, **more)

    def record(self, row: Row[Any], **more: Any) -> PositionSnapshot:
        return super().record(row, position=POSITION.record(row), **more)


class _Notices(Rows[Notice]):
    """A letter begins its life in the outbox as due at once."""

    def row(self, record: Notice, **more: Any) -> Values:
        return super().row(record, attempts=0, next_attempt_at=record.created_at, **more)


SLICE = Rows(Slice, tables.slices)
SLICE_CHANGE = Rows(SliceChange, tables.slice_changes)
POSITION = _Positions(Position, tables.portfolio)
BALANCE_BASE = Rows(BalanceBase, tables.balance_bases, forms={"transfers": Form(list, tuple)})
_DAY = {"day": Form(date.isoformat, date.fromisoformat)}
SNAPSHOT_DAY = Rows(SnapshotDay, tables.snapshot_days, forms=_DAY)
POSITION_SNAPSHOT = _PositionSnapshots(PositionSnapshot, tables.snapshots, without=["position"], forms=_DAY)
COST = Rows(Cost, tables.costs)
HAIRCUT = Rows(Haircut, tables.haircuts)
HALT = Rows(Halt, tables.halts)
HALT_LIFT = Rows(HaltLift, tables.halt_lifts, called={"reason": "lift_reason"})
RISK_LIMIT = Rows(RiskLimit, tables.risk_limits, called={"old": "old_value", "new": "new_value"})
NONCE = Rows(NonceUse, tables.nonces)
NOTICE = _Notices(
    Notice, tables.notices, called={"group": "letter_group"}, forms={"event": _null_is("alert")}
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """A named set of keys at an exchange, as first seen; the keys themselves are never stored."""

    exchange: str
    account: str
    mode: str  # "live" | "paper"
    client_id_tag: str
    first_seen_at: datetime


ACCOUNT = Rows(Account, tables.accounts)

# --- what exchanges list ------------------------------------------------------------------------------

VENUE_ORDER = Rows(VenueOrder, tables.venue_orders, called={"created_at": "timestamp"})
TRANSFER = Rows(Transfer, tables.transfers, called={"at": "timestamp"})

# --- notifications ------------------------------------------------------------------------------------

NOTIFICATION_RULE = Rows(
    noted.NotificationRule, tables.notification_rules, forms={"events": Form(list, tuple)}
)
MESSAGE = Rows(noted.Message, tables.notification_messages, called={"group": "event_group", "count": "times"})
_HAPPENING = Rows(
    noted.Happening,
    tables.notifications,
    called={"group": "event_group", "key": "event_key", "user": "owner"},
    forms={"facts": Form(dict, lambda facts: facts)},
)


class _Notifications(Rows[noted.Notification]):
    """A notification's row holds its happening too."""

    def row(self, record: noted.Notification, **more: Any) -> Values:
        return super().row(record, **_HAPPENING.row(record.happening), **more)

    def record(self, row: Row[Any], **more: Any) -> noted.Notification:
        return super().record(row, happening=_HAPPENING.record(row), **more)


NOTIFICATION = _Notifications(noted.Notification, tables.notifications, without=["happening"])
