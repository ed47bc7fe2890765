"""An order's life: the two literal tables, and the one place where an order changes.

Rules:
1. An order changes only by a `Change`, through `apply`; each change becomes one history entry, and the
   order is the fold of its history.
2. A (status, kind) that is not a row of `LIFE` is an `IllegalTransition`: it raises and changes nothing.
3. A fill is money that moved: it is booked whatever the status, even late, even too large, and people are
   told.
4. Terminal statuses never leave. Filled quantity is the sum of unique fills and never decreases.

Sources: DESIGN.md 3 for the words, RELIABILITY.md C.2 for the transitions, FIX 4.4 order state change
matrices.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from ems.core.messages import FillReport, Liquidity, OrderType, Side, TimeInForce
from ems.core.records import ENDED, Asked, Edit, Fill, HistoryEntry, Order, Phase, Status

ZERO = Decimal(0)
USD_STEP = Decimal("1e-8")


class IllegalTransition(Exception):
    """A change that the tables do not know: a promise inside our code is broken."""


class Kind(StrEnum):
    """What a change says happened."""

    INVALIDATE = "invalidate"  # refused by us
    INTEND = "intend"  # intent on disk; a byte may be sent from now on
    ACK = "ack"
    REJECT = "reject"
    DOUBT = "doubt"  # a create got no usable answer
    FILL = "fill"
    LAST_FILL = "last_fill"
    LATE_FILL = "late_fill"  # after the end, or beyond the quantity
    CANCEL = "cancel"
    EXPIRE = "expire"
    ASK_CANCEL = "ask_cancel"
    ASK_EXPIRE = "ask_expire"  # a cancel because its time is over
    ASK_REPLACE = "ask_replace"
    AMEND = "amend"  # it has the terms of its edit now
    NO_AMEND = "no_amend"  # it has its old terms
    EDIT = "edit"  # other terms for an order that no venue knows of
    FULL = "full"  # made no larger than what is filled
    FINAL = "final"  # the venue's last word on how it ended and how much filled; fills may still be missing
    PHASE = "phase"  # only how well we know it changed


LIFE: dict[tuple[Status, Kind], Status] = {
    (Status.CREATED, Kind.INVALIDATE): Status.INVALIDATED,
    (Status.CREATED, Kind.INTEND): Status.PENDING,
    (Status.CREATED, Kind.CANCEL): Status.CANCELED,  # it waited with us, and no venue knows of it
    (Status.CREATED, Kind.EXPIRE): Status.EXPIRED,
    (Status.CREATED, Kind.EDIT): Status.CREATED,
    (Status.PENDING, Kind.ACK): Status.SUBMITTED,
    (Status.PENDING, Kind.REJECT): Status.REJECTED,
    (Status.PENDING, Kind.DOUBT): Status.UNKNOWN,
    (Status.PENDING, Kind.FILL): Status.PARTIALLY_FILLED,  # the fill overtook the ack
    (Status.PENDING, Kind.LAST_FILL): Status.FILLED,
    (Status.UNKNOWN, Kind.ACK): Status.SUBMITTED,
    (Status.UNKNOWN, Kind.REJECT): Status.REJECTED,  # looked up long enough: it never arrived
    (Status.UNKNOWN, Kind.FILL): Status.PARTIALLY_FILLED,
    (Status.UNKNOWN, Kind.LAST_FILL): Status.FILLED,
    (Status.UNKNOWN, Kind.CANCEL): Status.CANCELED,
    (Status.UNKNOWN, Kind.EXPIRE): Status.EXPIRED,
    (Status.SUBMITTED, Kind.FILL): Status.PARTIALLY_FILLED,
    (Status.SUBMITTED, Kind.LAST_FILL): Status.FILLED,
    (Status.SUBMITTED, Kind.CANCEL): Status.CANCELED,
    (Status.SUBMITTED, Kind.EXPIRE): Status.EXPIRED,
    (Status.PARTIALLY_FILLED, Kind.FILL): Status.PARTIALLY_FILLED,
    (Status.PARTIALLY_FILLED, Kind.LAST_FILL): Status.FILLED,
    (Status.PARTIALLY_FILLED, Kind.FULL): Status.FILLED,
    (Status.PARTIALLY_FILLED, Kind.CANCEL): Status.CANCELED,
    (Status.PARTIALLY_FILLED, Kind.EXPIRE): Status.EXPIRED,
    # Late money: booked and alerted, the status stays.
    (Status.FILLED, Kind.LATE_FILL): Status.FILLED,
    (Status.CANCELED, Kind.LATE_FILL): Status.CANCELED,
    (Status.EXPIRED, Kind.LATE_FILL): Status.EXPIRED,
    (Status.REJECTED, Kind.LATE_FILL): Status.REJECTED,
}

# Kinds that say something beside where the order is; they are legal while it is sent and not ended.
ASKING = frozenset({Kind.ASK_CANCEL, Kind.ASK_EXPIRE, Kind.ASK_REPLACE, Kind.AMEND, Kind.NO_AMEND})
BESIDE = ASKING | {Kind.FINAL, Kind.PHASE}
SENT = frozenset({Status.PENDING, Status.UNKNOWN, Status.SUBMITTED, Status.PARTIALLY_FILLED})

ASKED: dict[tuple[Asked, Kind], Asked] = {
    (Asked.NOTHING, Kind.ASK_CANCEL): Asked.CANCEL,
    (Asked.CANCEL, Kind.ASK_CANCEL): Asked.CANCEL,  # asked again: the first may have been lost
    (Asked.NOTHING, Kind.ASK_EXPIRE): Asked.EXPIRE,
    (Asked.NOTHING, Kind.ASK_REPLACE): Asked.REPLACE,
    (Asked.REPLACE, Kind.ASK_REPLACE): Asked.REPLACE,  # nobody can say whether it was amended: by a new one
    (Asked.REPLACE, Kind.AMEND): Asked.NOTHING,
    (Asked.REPLACE, Kind.NO_AMEND): Asked.NOTHING,
    (Asked.REPLACE, Kind.ASK_CANCEL): Asked.CANCEL,  # to go is asked last, and counts
    (Asked.REPLACE, Kind.ASK_EXPIRE): Asked.EXPIRE,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One thing that happened to an order."""

    kind: Kind
    phase: Phase  # how well we know the order afterwards
    message: str = ""
    exchange_order_id: str | None = None
    fill: FillReport | None = None
    ending: Status | None = None
    final_quantity: Decimal | None = None
    price: Decimal | None = None  # these three: what it is from now on; None: as it was
    quantity: Decimal | None = None
    stop_price: Decimal | None = None
    reserved: Decimal | None = None  # the same, of the source currency
    edit: Edit | None = None
    code: str | None = None  # a constant of ems.core.errors, where somebody said no
    venue_code: str | None = None  # the exchange's own words for it
    venue_message: str | None = None
    refusal: str | None = None  # the kind of an exchange's no


def next_status(order: Order, kind: Kind) -> Status:
    """Look the transition up; raise IllegalTransition when the table has no such row."""
    if kind in BESIDE:
        if order.status in SENT:
            return order.status
    elif (order.status, kind) in LIFE:
        return LIFE[order.status, kind]
    raise IllegalTransition(f"order {order.order_id}: {kind} while {order.status}")


def next_asked(order: Order, kind: Kind) -> Asked:
    """Look up what we have asked for then; raise IllegalTransition when the table has no such row."""
    if kind not in ASKING:
        return order.asked
    if (order.asked, kind) in ASKED:
        return ASKED[order.asked, kind]
    raise IllegalTransition(f"order {order.order_id}: {kind} while {order.asked} is asked for")


def fill_kind(order: Order, fill: FillReport) -> Kind:
    """Say which row of the table a new fill is."""
    filled = order.filled_quantity + fill.quantity
    if order.status in ENDED:
        return Kind.LATE_FILL
    return Kind.LAST_FILL if filled >= order.most else Kind.FILL


def apply(order: Order, change: Change, now: datetime) -> tuple[Order, HistoryEntry]:
    """Change the order: the only function that does."""
    status, asked = next_status(order, change.kind), next_asked(order, change.kind)
    fill = change.fill
    filled, quote, fees, fill_ids = order.filled_quantity, order.quote_filled, order.fees, order.fill_ids
    if fill is not None:
        assert fill.fill_id not in fill_ids, "a fill counts once"
        filled = filled + fill.quantity
        quote = quote + fill.quantity * fill.price
        fill_ids = fill_ids | {fill.fill_id}
        fees = {**fees, fill.fee_currency: fees.get(fill.fee_currency, ZERO) + fill.fee}
    ended = status in ENDED
    reserved = order.reserved if change.reserved is None else change.reserved
    changed = replace(
        order,
        status=status,
        asked=Asked.NOTHING if ended else asked,
        phase=Phase.SETTLED if ended else change.phase,
        filled_quantity=filled,
        quote_filled=quote,
        fees=fees,
        fill_ids=fill_ids,
        exchange_order_id=order.exchange_order_id or change.exchange_order_id,
        ending=change.ending or order.ending,
        final_quantity=order.final_quantity if change.final_quantity is None else change.final_quantity,
        price=order.price if change.price is None else change.price,
        quantity=order.quantity if change.quantity is None else change.quantity,
        stop_price=order.stop_price if change.stop_price is None else change.stop_price,
        reserved=ZERO if ended else reserved,
        edit=_edit_after(order, change),
        reason=change.message or order.reason,
        sent_at=now if change.kind is Kind.INTEND else order.sent_at,
        updated_at=now,
        closed_at=(order.closed_at or now) if ended else None,
        version=order.version + 1,
    )
    changed = replace(changed, usd_value=worth(order, changed.quantity, changed.price, changed.stop_price))
    entry = HistoryEntry(
        order_id=order.order_id,
        version=changed.version,
        status=status,
        timestamp=now,
        message=change.message,
        report=change_to_json(change),
        code=change.code,
        venue_code=change.venue_code,
        venue_message=change.venue_message,
    )
    return changed, entry


def worth(order: Order, quantity: Decimal, price: Decimal | None, stop_price: Decimal | None) -> Decimal:
    """Return what an order is worth in USD with other terms, from what it was worth when it was sent."""
    before, after = order.price or order.stop_price, price or stop_price
    if (quantity, after) == (order.quantity, before):
        return order.usd_value
    scaled = order.usd_value * quantity / order.quantity
    if before is not None and after is not None:
        scaled = scaled * after / before
    return scaled.quantize(USD_STEP)


def _edit_after(order: Order, change: Change) -> Edit | None:
    """Return the edit that is still to come; one that may have arrived is kept in mind to the end."""
    edit = change.edit or order.edit
    if edit is None or change.kind in (Kind.AMEND, Kind.NO_AMEND):
        return None
    if change.kind in (Kind.ASK_CANCEL, Kind.ASK_EXPIRE):
        return replace(edit, in_place=True) if edit.sent else None  # no rest is placed any more
    return edit


def created(order: Order) -> HistoryEntry:
    """Return the first entry of an order's history: the order as it was made."""
    assert order.version == 0 and order.status is Status.CREATED
    return HistoryEntry(
        order_id=order.order_id,
        version=0,
        status=Status.CREATED,
        timestamp=order.created_at,
        message="",
        report=_created_to_json(order),
    )


def fold(history: Iterable[HistoryEntry]) -> Order:
    """Rebuild an order from its history alone."""
    entries = iter(history)
    order = _created_from_json(next(entries).report)
    for entry in entries:
        order, _ = apply(order, change_from_json(entry.report), entry.timestamp)
    return order


def fill_record(order: Order, fill: FillReport) -> Fill:
    """Return the record of a fill of this order."""
    return Fill(
        fill_id=fill.fill_id,
        order_id=order.order_id,
        query_id=order.query_id,
        parent_id=order.parent_id,
        user=order.user,
        bot=order.bot,
        exchange=order.exchange,
        account=order.account,
        symbol=order.symbol,
        side=fill.side,
        price=fill.price,
        quantity=fill.quantity,
        fee=fill.fee,
        fee_currency=fill.fee_currency,
        liquidity=fill.liquidity,
        timestamp=fill.at,
        cross_id=order.cross_id,
    )


def remaining_quantity(order: Order) -> Decimal:
    """Return what may still fill: FIX's LeavesQty, zero once the order has ended."""
    return ZERO if order.status in ENDED else max(order.quantity - order.filled_quantity, ZERO)


# --- History as JSON: decimals as strings, times as ISO 8601 -------------------------------------


_TERMS = ("price", "quantity", "stop_price", "reserved")
_AMOUNTS_OF_A_CHANGE = ("final_quantity", *_TERMS)
_WORDS_OF_A_NO = ("code", "venue_code", "venue_message")


def change_to_json(change: Change) -> dict[str, object]:
    body: dict[str, object] = {"kind": str(change.kind), "phase": str(change.phase)}
    if change.message:
        body["message"] = change.message
    if change.exchange_order_id is not None:
        body["exchange_order_id"] = change.exchange_order_id
    if change.ending is not None:
        body["ending"] = str(change.ending)
    for name in _AMOUNTS_OF_A_CHANGE:
        if (amount := getattr(change, name)) is not None:
            body[name] = str(amount)
    for name in (*_WORDS_OF_A_NO, "refusal"):
        if (words := getattr(change, name)) is not None:
            body[name] = words
    if change.edit is not None:
        body["edit"] = edit_to_json(change.edit)
    if change.fill is not None:
        fill = change.fill
        body["fill"] = {
            "fill_id": fill.fill_id,
            "exchange_order_id": fill.exchange_order_id,
            "symbol": fill.symbol,
            "side": str(fill.side),
            "price": str(fill.price),
            "quantity": str(fill.quantity),
            "fee": str(fill.fee),
            "fee_currency": fill.fee_currency,
            "liquidity": str(fill.liquidity),
            "at": fill.at.isoformat(),
        }
    return body


def change_from_json(body: dict[str, object]) -> Change:
    fill, edit = body.get("fill"), body.get("edit")
    ending = body.get("ending")
    amounts: dict[str, Any] = {
        name: Decimal(str(body[name])) for name in _AMOUNTS_OF_A_CHANGE if name in body
    }
    words: dict[str, Any] = {name: str(body[name]) for name in (*_WORDS_OF_A_NO, "refusal") if name in body}
    return Change(
        kind=Kind(str(body["kind"])),
        phase=Phase(str(body["phase"])),
        message=str(body.get("message", "")),
        exchange_order_id=_text_or_none(body.get("exchange_order_id")),
        ending=None if ending is None else Status(str(ending)),
        fill=None if not isinstance(fill, dict) else _fill_from_json(fill),
        edit=None if not isinstance(edit, dict) else edit_from_json(edit),
        **amounts,
        **words,
    )


def edit_to_json(edit: Edit) -> dict[str, object]:
    body: dict[str, object] = {
        "query_id": edit.query_id,
        "asked_at": edit.asked_at.isoformat(),
        "in_place": edit.in_place,
        "sent": edit.sent,
    }
    body.update({name: str(amount) for name in _TERMS if (amount := getattr(edit, name)) is not None})
    return body


def edit_from_json(body: dict[str, object]) -> Edit:
    amounts: dict[str, Any] = {name: Decimal(str(body[name])) for name in _TERMS if name in body}
    return Edit(
        query_id=str(body["query_id"]),
        asked_at=datetime.fromisoformat(str(body["asked_at"])),
        in_place=bool(body["in_place"]),
        sent=bool(body["sent"]),
        **amounts,
    )


def _fill_from_json(body: dict[str, object]) -> FillReport:
    return FillReport(
        fill_id=str(body["fill_id"]),
        exchange_order_id=str(body["exchange_order_id"]),
        symbol=str(body["symbol"]),
        side=Side(str(body["side"])),
        price=Decimal(str(body["price"])),
        quantity=Decimal(str(body["quantity"])),
        fee=Decimal(str(body["fee"])),
        fee_currency=str(body["fee_currency"]),
        liquidity=Liquidity(str(body["liquidity"])),
        at=datetime.fromisoformat(str(body["at"])),
    )


_TEXTS = (
    "order_id",
    "query_id",
    "parent_id",
    "user",
    "bot",
    "exchange",
    "account",
    "symbol",
    "client_order_id",
    "purpose",
)


def _created_to_json(order: Order) -> dict[str, object]:
    body: dict[str, object] = {name: getattr(order, name) for name in _TEXTS}
    body.update(
        kind="created",
        side=str(order.side),
        order_type=str(order.order_type),
        time_in_force=str(order.time_in_force),
        post_only=order.post_only,
        quantity=str(order.quantity),
        price=None if order.price is None else str(order.price),
        leg=order.leg,
        attempt=order.attempt,
        reserved=str(order.reserved),
        created_at=order.created_at.isoformat(),
        usd_value=str(order.usd_value),
        release=order.release,
    )
    # What most orders lack is left out: so were these before they existed.
    if order.stop_price is not None:
        body["stop_price"] = str(order.stop_price)
    if order.protection_price is not None:
        body["protection_price"] = str(order.protection_price)
    if order.expires_at is not None:
        body["expires_at"] = order.expires_at.isoformat()
    if order.replaces is not None:
        body["replaces"] = order.replaces
    if order.cross_id is not None:
        body["cross_id"] = order.cross_id
    if order.fee_saved is not None:
        body["fee_saved"] = str(order.fee_saved)
    body.update({name: True for name in ("reduce_only", "emulated") if getattr(order, name)})
    return body


def _created_from_json(body: dict[str, object]) -> Order:
    price, stop_price, expires_at = body["price"], body.get("stop_price"), body.get("expires_at")
    fee_saved, protection_price = body.get("fee_saved"), body.get("protection_price")
    texts = {name: str(body[name]) for name in _TEXTS}
    return Order(
        **texts,  # type: ignore[arg-type]
        side=Side(str(body["side"])),
        order_type=OrderType(str(body["order_type"])),
        time_in_force=TimeInForce(str(body["time_in_force"])),
        post_only=bool(body["post_only"]),
        quantity=Decimal(str(body["quantity"])),
        price=None if price is None else Decimal(str(price)),
        leg=int(str(body.get("leg", body.get("hop", 0)))),
        attempt=int(str(body["attempt"])),
        reserved=Decimal(str(body["reserved"])),
        created_at=datetime.fromisoformat(str(body["created_at"])),
        stop_price=None if stop_price is None else Decimal(str(stop_price)),
        protection_price=None if protection_price is None else Decimal(str(protection_price)),
        expires_at=None if expires_at is None else datetime.fromisoformat(str(expires_at)),
        reduce_only=bool(body.get("reduce_only", False)),
        emulated=bool(body.get("emulated", False)),
        replaces=_text_or_none(body.get("replaces")),
        cross_id=_text_or_none(body.get("cross_id")),
        fee_saved=None if fee_saved is None else Decimal(str(fee_saved)),
        usd_value=Decimal(str(body.get("usd_value", "0"))),
        release=str(body.get("release", "")),
    )


def _text_or_none(value: object) -> str | None:
    return None if value is None else str(value)
