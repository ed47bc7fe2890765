"""One child order against one venue that may lie, stall or forget: EXECUTION.md 3, sans-io.

`step(child, event, now)` returns the child afterwards, the changes to write down, and what to do next.
There are no clocks, sockets or random numbers in here.

Rules:
1. `settled` means the order has ended AND its final filled quantity is known AND every fill of it is booked.
2. A failed cancel proves nothing; a timeout proves nothing; both are resolved by looking, never by resending.
3. Rule N: *not found* counts only when the query was SENT after the venue could no longer accept or hide
   the order, three times at least two seconds apart, and the trade history since the send shows nothing
   either, asked once nothing can be hidden in it: the order may have filled until the first of these
   answers, and fills may stay invisible for the margin after that. (A verdict on the time of the answer
   instead of the time of the query gave the only over-fill in fuzzing; a history asked too early gave the
   only wrong ledgers.)
4. Every unsettled child has a pending wake-up, but one that the venue has never heard of: such an order is
   ours alone, waits for its price, and ends by our word.

`PHASES` is the table of EXECUTION.md 3: (phase, event) -> next phase. `SEE` is resolved by what the answer
says.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from ems.core import errors
from ems.core.messages import (
    Acked,
    Amended,
    AmendRefused,
    CancelAcked,
    CancelRefused,
    Ending,
    FillReport,
    Found,
    LookupFailed,
    OrderStatus,
    OutcomeUnknown,
    Rejected,
    TradesAnswer,
)
from ems.core.order import Change, Kind, apply, fill_kind
from ems.core.records import ENDED, Asked, Edit, HistoryEntry, Order, Phase, Status

ZERO = Decimal(0)

NEVER_ARRIVED = "never arrived at the venue"  # the reason of an order that provably is not there

# Waits between look-ups of an order in doubt, in seconds; the last one repeats.
BACKOFF_S = (0.25, 0.5, 1.0, 2.0, 4.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How long a venue may take to make up its mind. Seconds."""

    recv_window_s: float = 5.0  # a create arriving later than this is refused by the venue itself
    margin_s: float = 15.0  # on top: longest time a live order or its fills may stay invisible (R5)
    not_founds: int = 3
    not_found_gap_s: float = 2.0
    answer_s: float = 12.0  # a gateway answers within this, or we look for ourselves
    poll_s: float = 10.0  # live orders are looked at this often even while the stream is healthy (R11)
    recancel_s: float = 1.0


class Saw(StrEnum):
    """What an event means to a child: the columns of the table."""

    ACK = "ack"
    FILL = "fill"
    CANCEL_FINAL = "cancel_final"  # cancel acknowledged, final filled quantity given
    CANCEL_ACK = "cancel_ack"  # cancel acknowledged, nothing said about fills
    CANCEL_REFUSED = "cancel_refused"
    TROUBLE = "trouble"  # timeout, 5xx, disconnect
    OPEN = "open"
    CLOSED = "closed"
    NOT_FOUND = "not_found"
    REJECT = "reject"


# PHASES[phase, saw] -> next phase. None: rule N decides, the phase stays until it does.
PHASES: dict[tuple[Phase, Saw], Phase | None] = {
    (Phase.PENDING_NEW, Saw.ACK): Phase.LIVE,
    (Phase.PENDING_NEW, Saw.FILL): Phase.LIVE,
    (Phase.PENDING_NEW, Saw.CANCEL_FINAL): Phase.SETTLED,
    (Phase.PENDING_NEW, Saw.CANCEL_ACK): Phase.UNKNOWN,
    (Phase.PENDING_NEW, Saw.CANCEL_REFUSED): Phase.UNKNOWN,
    (Phase.PENDING_NEW, Saw.TROUBLE): Phase.UNKNOWN,
    (Phase.PENDING_NEW, Saw.OPEN): Phase.LIVE,
    (Phase.PENDING_NEW, Saw.CLOSED): Phase.SETTLED,
    (Phase.PENDING_NEW, Saw.NOT_FOUND): None,
    (Phase.PENDING_NEW, Saw.REJECT): Phase.SETTLED,
    (Phase.LIVE, Saw.ACK): Phase.LIVE,
    (Phase.LIVE, Saw.FILL): Phase.LIVE,
    (Phase.LIVE, Saw.CANCEL_FINAL): Phase.SETTLED,
    (Phase.LIVE, Saw.CANCEL_ACK): Phase.UNKNOWN,
    (Phase.LIVE, Saw.CANCEL_REFUSED): Phase.UNKNOWN,
    (Phase.LIVE, Saw.TROUBLE): Phase.UNKNOWN,
    (Phase.LIVE, Saw.OPEN): Phase.LIVE,
    (Phase.LIVE, Saw.CLOSED): Phase.SETTLED,
    (Phase.LIVE, Saw.NOT_FOUND): None,
    (Phase.LIVE, Saw.REJECT): Phase.LIVE,  # a refusal of an order the venue has shown us proves nothing
    (Phase.PENDING_CANCEL, Saw.ACK): Phase.PENDING_CANCEL,
    (Phase.PENDING_CANCEL, Saw.FILL): Phase.PENDING_CANCEL,
    (Phase.PENDING_CANCEL, Saw.CANCEL_FINAL): Phase.SETTLED,
    (Phase.PENDING_CANCEL, Saw.CANCEL_ACK): Phase.UNKNOWN,
    (Phase.PENDING_CANCEL, Saw.CANCEL_REFUSED): Phase.UNKNOWN,
    (Phase.PENDING_CANCEL, Saw.TROUBLE): Phase.UNKNOWN,
    (Phase.PENDING_CANCEL, Saw.OPEN): Phase.PENDING_CANCEL,  # and cancel again after a second
    (Phase.PENDING_CANCEL, Saw.CLOSED): Phase.SETTLED,
    (Phase.PENDING_CANCEL, Saw.NOT_FOUND): None,
    (Phase.PENDING_CANCEL, Saw.REJECT): Phase.PENDING_CANCEL,
    (Phase.UNKNOWN, Saw.ACK): Phase.LIVE,
    (Phase.UNKNOWN, Saw.FILL): Phase.UNKNOWN,
    (Phase.UNKNOWN, Saw.CANCEL_FINAL): Phase.SETTLED,
    (Phase.UNKNOWN, Saw.CANCEL_ACK): Phase.UNKNOWN,
    (Phase.UNKNOWN, Saw.CANCEL_REFUSED): Phase.UNKNOWN,
    (Phase.UNKNOWN, Saw.TROUBLE): Phase.UNKNOWN,
    (Phase.UNKNOWN, Saw.OPEN): Phase.LIVE,  # or PENDING_CANCEL, when a cancel was asked for
    (Phase.UNKNOWN, Saw.CLOSED): Phase.SETTLED,
    (Phase.UNKNOWN, Saw.NOT_FOUND): None,
    (Phase.UNKNOWN, Saw.REJECT): Phase.SETTLED,
    (Phase.SETTLED, Saw.ACK): Phase.SETTLED,
    (Phase.SETTLED, Saw.FILL): Phase.SETTLED,  # a new one: late, booked, an incident
    (Phase.SETTLED, Saw.CANCEL_FINAL): Phase.SETTLED,
    (Phase.SETTLED, Saw.CANCEL_ACK): Phase.SETTLED,
    (Phase.SETTLED, Saw.CANCEL_REFUSED): Phase.SETTLED,
    (Phase.SETTLED, Saw.TROUBLE): Phase.SETTLED,
    (Phase.SETTLED, Saw.OPEN): Phase.SETTLED,  # an incident
    (Phase.SETTLED, Saw.CLOSED): Phase.SETTLED,
    (Phase.SETTLED, Saw.NOT_FOUND): Phase.SETTLED,
    (Phase.SETTLED, Saw.REJECT): Phase.SETTLED,
}


class Do(StrEnum):
    """What a child wants done."""

    LOOK = "look"  # QueryOrder
    TRADES = "trades"  # QueryTrades
    CANCEL = "cancel"
    AMEND = "amend"


@dataclass(frozen=True, kw_only=True, slots=True)
class Lookup:
    """What looking has shown so far. Not recorded: after a restart we simply look again."""

    seen_at: datetime | None = None  # when the venue last showed us the order alive
    tries: int = 0
    not_founds: int = 0
    not_found_sent_at: datetime | None = None  # the last counted one
    gone_by: datetime | None = None  # when the first counted one was answered: it cannot fill later
    empty_sent_at: datetime | None = None  # a trade query sent then showed nothing new
    cancel_at: datetime | None = None  # do not send another cancel before
    amend_answer_by: datetime | None = None  # one that was asked for may still be answered until then
    haunted: bool = False  # an order we had ended was seen alive: followed until it is gone


@dataclass(frozen=True, kw_only=True, slots=True)
class Child:
    order: Order
    lookup: Lookup = Lookup()


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    child: Child
    entries: tuple[HistoryEntry, ...] = ()
    fills: tuple[FillReport, ...] = ()  # newly booked
    actions: tuple[Do, ...] = ()
    wake_at: datetime | None = None  # always set while it is sent and unsettled
    incidents: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Sent:
    """Our own report: the intent is on disk and the create goes out now."""

    message: str = ""
    price: Decimal | None = None  # None of these: as it was made
    quantity: Decimal | None = None
    reserved: Decimal | None = None  # of the source currency


@dataclass(frozen=True, kw_only=True, slots=True)
class Crossed:
    """Our own report: it met another order of ours inside, and has all it was made for."""

    fill: FillReport


@dataclass(frozen=True, kw_only=True, slots=True)
class AskCancel:
    """Somebody wants the order gone, or its time is over."""

    expired: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class AskReplace:
    """Somebody wants it to have other terms."""

    edit: Edit


@dataclass(frozen=True, kw_only=True, slots=True)
class Drop:
    """An order that waits with us cannot be sent as it is meant."""

    message: str
    code: str | None = None  # a constant of ems.core.errors


@dataclass(frozen=True, kw_only=True, slots=True)
class Tick:
    """The wake-up of this child."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Doubted:
    """Contact was lost (restart, reconnect): what we know of this order may be old."""


ChildEvent = (
    Sent
    | Crossed
    | AskCancel
    | AskReplace
    | Drop
    | Tick
    | Doubted
    | Acked
    | Rejected
    | CancelAcked
    | CancelRefused
    | Amended
    | AmendRefused
    | OutcomeUnknown
    | OrderStatus
    | FillReport
    | TradesAnswer
    | LookupFailed
)


class _Work:
    """The scratch pad of one step: collects changes, actions and incidents in order."""

    __slots__ = ("actions", "entries", "fills", "incidents", "lookup", "now", "order", "patience", "wait_s")

    def __init__(self, child: Child, now: datetime, patience: Patience):
        self.order = child.order
        self.lookup = child.lookup
        self.now = now
        self.patience = patience
        self.entries: list[HistoryEntry] = []
        self.fills: list[FillReport] = []
        self.actions: list[Do] = []
        self.incidents: list[str] = []
        self.wait_s: float | None = None

    def change(self, kind: Kind, phase: Phase, **fields: object) -> None:
        change = Change(kind=kind, phase=phase, **fields)  # type: ignore[arg-type]
        self.order, entry = apply(self.order, change, self.now)
        self.entries.append(entry)

    def go(self, phase: Phase, message: str = "", **said: str | None) -> None:
        """Change only how well we know the order; nothing is written when nothing changed."""
        if self.order.status not in ENDED and self.order.phase is not phase:
            self.change(Kind.PHASE, phase, message=message, **said)

    def do(self, action: Do) -> None:
        if action not in self.actions:
            self.actions.append(action)

    def seen(self) -> None:
        """The venue showed the order: every earlier 'not found' is void."""
        self.lookup = replace(
            self.lookup,
            seen_at=self.now,
            not_founds=0,
            not_found_sent_at=None,
            gone_by=None,
            empty_sent_at=None,
        )

    def done(self) -> Step:
        order = self.order
        wake_at = None
        if order.status is Status.CREATED:
            pass  # nobody is to be asked
        elif order.phase is not Phase.SETTLED:
            wake_at = self.now + timedelta(seconds=self._wait())
        elif self.lookup.haunted:
            wake_at = self.now + timedelta(seconds=self.patience.not_found_gap_s)
        return Step(
            child=Child(order=order, lookup=self.lookup),
            entries=tuple(self.entries),
            fills=tuple(self.fills),
            actions=tuple(self.actions),
            wake_at=wake_at,
            incidents=tuple(self.incidents),
        )

    def _wait(self) -> float:
        if self.wait_s is not None:
            return self.wait_s
        if self.order.phase is Phase.UNKNOWN:
            return BACKOFF_S[min(self.lookup.tries, len(BACKOFF_S) - 1)]
        if self.order.phase is Phase.PENDING_NEW:
            return self.patience.answer_s
        if self.order.phase is Phase.PENDING_CANCEL:
            return self.patience.recancel_s
        return self.patience.poll_s


def step(child: Child, event: ChildEvent, now: datetime, patience: Patience) -> Step:
    """Let one thing happen to a child order."""
    work = _Work(child, now, patience)
    match event:
        case Sent():
            work.change(
                Kind.INTEND,
                Phase.PENDING_NEW,
                message=event.message,
                price=event.price,
                quantity=event.quantity,
                reserved=event.reserved,
            )
        case Crossed():
            work.change(Kind.ACK, Phase.LIVE, message="crossed inside")
            _book(work, event.fill)
        case AskCancel():
            _ask_cancel(work, event)
        case AskReplace():
            _ask_replace(work, event.edit)
        case Amended():
            work.lookup = replace(work.lookup, amend_answer_by=None)
            _amended(work)
        case AmendRefused():
            work.lookup = replace(work.lookup, amend_answer_by=None)
            _not_amended(work, event.message, event)
        case Drop():
            work.change(Kind.INVALIDATE, Phase.SETTLED, message=event.message, code=event.code)
        case Tick():
            _tick(work)
        case Doubted():
            _doubt(work, "contact lost")
        case Acked():
            _acked(work, event)
        case Rejected():
            _rejected(work, event)
        case FillReport():
            _book(work, event)
            _complete(work)
        case CancelAcked():
            _cancel_acked(work, event)
        case CancelRefused():
            _in_doubt(work, Saw.CANCEL_REFUSED, f"cancel refused: {event.message}", **_said(event))
        case OutcomeUnknown():
            if event.request == "amend":
                work.lookup = replace(work.lookup, amend_answer_by=None)
            _in_doubt(work, Saw.TROUBLE, f"{event.request}: {event.message}")
        case OrderStatus():
            _status(work, event)
        case TradesAnswer():
            _trades(work, event)
        case LookupFailed():
            pass  # nothing is known; the wake-up asks again
    return work.done()


def exposure(order: Order) -> Decimal:
    """Return how much more may still fill, as far as we can prove: the Knight guard counts this (R10)."""
    if order.phase is Phase.SETTLED:
        return ZERO
    limit = order.most if order.final_quantity is None else order.final_quantity
    return max(limit - order.filled_quantity, ZERO)


def _acked(work: _Work, event: Acked) -> None:
    order = work.order
    if order.phase is Phase.SETTLED:
        if order.status is Status.REJECTED and event.ending is None:
            _haunt(work, "the venue accepted an order that we had given up as never arrived")
        for fill in event.fills:
            _book(work, fill)
        return
    work.seen()
    if order.status in (Status.PENDING, Status.UNKNOWN):
        work.change(Kind.ACK, _alive(work.order, Saw.ACK), exchange_order_id=event.exchange_order_id)
    elif order.final_quantity is None:
        work.go(_alive(order, Saw.ACK))
    for fill in event.fills:
        _book(work, fill)
    if event.ending is not None:
        _closed(work, event.ending, event.filled_quantity)
    elif work.order.phase is Phase.PENDING_CANCEL:
        _send_cancel(work)  # it was asked for before the venue had the order


def _rejected(work: _Work, event: Rejected) -> None:
    order = work.order
    if order.phase is Phase.SETTLED or PHASES[order.phase, Saw.REJECT] is not Phase.SETTLED:
        return
    if order.filled_quantity > ZERO or order.exchange_order_id is not None:
        _in_doubt(work, Saw.TROUBLE, f"refused after it was seen: {event.message}")
        return
    work.change(
        Kind.REJECT,
        Phase.SETTLED,
        message=event.message,
        **_said(event),
    )


def _ask_cancel(work: _Work, event: AskCancel) -> None:
    order = work.order
    if order.phase is Phase.SETTLED:
        return
    if order.status is Status.CREATED:
        work.change(Kind.EXPIRE if event.expired else Kind.CANCEL, Phase.SETTLED)
        return
    if order.asked in (Asked.NOTHING, Asked.REPLACE):
        phase = Phase.PENDING_CANCEL if order.phase is Phase.LIVE else order.phase
        work.change(Kind.ASK_EXPIRE if event.expired else Kind.ASK_CANCEL, phase)
    if work.order.phase is Phase.PENDING_CANCEL:
        _send_cancel(work)
    # PENDING_NEW and UNKNOWN: the venue may not have it yet; the cancel goes out when it shows up.


def _ask_replace(work: _Work, edit: Edit) -> None:
    """Ask the venue for other terms, or let it go first: its rest is placed once it has settled."""
    order = work.order
    if order.status is Status.CREATED:
        work.change(
            Kind.EDIT,
            order.phase,
            price=edit.price,
            quantity=edit.quantity,
            stop_price=edit.stop_price,
            reserved=edit.reserved,
        )
        return
    assert order.phase is Phase.LIVE and order.asked is Asked.NOTHING, "only what stands can be changed"
    if edit.in_place:
        # Either of the two may be what it stands for, until it is known: the larger one is held.
        reserved = max(order.reserved, edit.reserved)
        work.change(Kind.ASK_REPLACE, order.phase, edit=replace(edit, sent=True), reserved=reserved)
        answer_by = work.now + timedelta(seconds=work.patience.answer_s)
        work.lookup = replace(work.lookup, amend_answer_by=answer_by)
        work.do(Do.AMEND)
    else:
        work.change(Kind.ASK_REPLACE, Phase.PENDING_CANCEL, edit=edit)
        _send_cancel(work)


def _amending(order: Order) -> Edit | None:
    """Return the amendment that is on its way, if any."""
    edit = order.edit
    return edit if order.asked is Asked.REPLACE and edit is not None and edit.in_place else None


def _amended(work: _Work) -> None:
    """The order has its new terms: never less than what has filled."""
    order, edit = work.order, _amending(work.order)
    if edit is None:
        return
    quantity = edit.quantity if edit.quantity is None else max(edit.quantity, order.filled_quantity)
    work.change(
        Kind.AMEND,
        order.phase,
        message="amended",
        price=edit.price,
        quantity=quantity,
        stop_price=edit.stop_price,
        reserved=edit.reserved,
    )
    if work.order.filled_quantity >= work.order.quantity:
        work.do(Do.LOOK)  # nothing is left of it: the venue ends it, if it has not


def _not_amended(work: _Work, why: str, refused: AmendRefused | None = None) -> None:
    """The order has its old terms, or is over."""
    if _amending(work.order) is None:
        return
    work.change(
        Kind.NO_AMEND,
        work.order.phase,
        message=why,
        **({} if refused is None else _said(refused)),
    )
    work.do(Do.LOOK)


def _judge_amendment(work: _Work, event: OrderStatus) -> None:
    """Say what became of an amendment by what the venue shows of the order.

    New terms prove that it arrived. Old ones prove that it did not once the question was asked so late that
    it could neither be on its way any more nor hidden. Where the venue does not tell the terms nobody can
    say: the order is let go instead, and its rest placed anew.
    """
    edit = _amending(work.order)
    if edit is None or work.order.final_quantity is not None:
        return
    pairs = (
        (edit.quantity, event.quantity),
        (edit.price, event.price),
        (edit.stop_price, event.stop_price),
    )
    shown = [(wanted, told) for wanted, told in pairs if wanted is not None]
    patience = work.patience
    proof_from = edit.asked_at + timedelta(seconds=patience.recv_window_s + patience.margin_s)
    early = event.query_sent_at is None or event.query_sent_at < proof_from
    # A picture of before an earlier change may show, by chance, the very terms that are asked for now.
    old = edit.quantity is None and event.quantity not in (None, work.order.quantity)
    if all(wanted == told for wanted, told in shown) and not (early and old):
        _amended(work)
        return
    if early:
        work.wait_s = patience.recancel_s
        return
    if all(told is not None for _, told in shown):
        _not_amended(work, "the exchange shows it unchanged")
        return
    work.change(Kind.ASK_REPLACE, Phase.PENDING_CANCEL, edit=replace(edit, in_place=False))
    _send_cancel(work)


def _send_cancel(work: _Work) -> None:
    due = work.lookup.cancel_at
    if due is None or work.now >= due:
        work.do(Do.CANCEL)
        recancel = timedelta(seconds=work.patience.recancel_s)
        work.lookup = replace(work.lookup, cancel_at=work.now + recancel)


def _cancel_acked(work: _Work, event: CancelAcked) -> None:
    if work.order.phase is Phase.SETTLED:
        return
    if event.filled_quantity is not None:
        _closed(work, Ending.CANCELED, event.filled_quantity)
    else:
        _in_doubt(work, Saw.CANCEL_ACK, "cancel acknowledged, final quantity not said")


def _said(event: Rejected | AmendRefused | CancelRefused) -> dict[str, str | None]:
    """Return whose no it was, in our code and in the exchange's own words; these only if it was asked."""
    sent = not isinstance(event, Rejected | AmendRefused) or event.sent
    return {
        "code": errors.refusal_code(event.refusal),
        "venue_code": event.venue_code,
        "venue_message": event.message if sent else None,
        "refusal": str(event.refusal) if sent else None,
    }


def _in_doubt(work: _Work, saw: Saw, why: str, **said: str | None) -> None:
    order = work.order
    if order.phase is Phase.SETTLED:
        return
    phase = PHASES[order.phase, saw]
    assert phase is Phase.UNKNOWN
    _doubt(work, why, **said)


def _doubt(work: _Work, why: str, **said: str | None) -> None:
    order = work.order
    if order.phase is Phase.SETTLED or order.status is Status.CREATED:
        return
    if order.phase is not Phase.UNKNOWN:
        work.lookup = replace(work.lookup, tries=0)
    if order.status is Status.PENDING:
        work.change(Kind.DOUBT, Phase.UNKNOWN, message=why, **said)
    else:
        work.go(Phase.UNKNOWN, why, **said)
    work.do(Do.LOOK)


def _tick(work: _Work) -> None:
    order = work.order
    if order.phase is Phase.SETTLED:
        if work.lookup.haunted:
            work.do(Do.LOOK)
        return
    if order.status is Status.CREATED:
        return
    if order.phase is Phase.PENDING_NEW:
        _in_doubt(work, Saw.TROUBLE, "create: no answer in time")
        return
    if order.phase is Phase.UNKNOWN:
        work.lookup = replace(work.lookup, tries=work.lookup.tries + 1)
        if order.final_quantity is not None:
            work.do(Do.TRADES)  # it has ended; only fills are missing
            return
        if work.lookup.not_founds > 0:
            work.do(Do.TRADES)
    work.do(Do.LOOK)


def _status(work: _Work, event: OrderStatus) -> None:
    order = work.order
    if event.found is Found.NOT_FOUND:
        _not_found(work, event)
        return
    if order.phase is Phase.SETTLED:
        if event.found is Found.OPEN and event.query_sent_at is not None:
            closed_at = order.closed_at
            # A snapshot asked for before the end may still show it open: old news, not an incident.
            if closed_at is not None and event.query_sent_at > closed_at + timedelta(
                seconds=work.patience.margin_s
            ):
                _haunt(work, "the venue shows an order open that we had closed")
        elif event.found is Found.CLOSED:
            if event.filled_quantity is not None and event.filled_quantity > order.filled_quantity:
                work.do(Do.TRADES)
            else:
                work.lookup = replace(work.lookup, haunted=False)
        return
    work.seen()
    if order.status in (Status.PENDING, Status.UNKNOWN):
        work.change(Kind.ACK, _alive(work.order, Saw.OPEN), exchange_order_id=event.exchange_order_id)
    if event.found is Found.CLOSED:
        _closed(work, event.ending or Ending.CANCELED, event.filled_quantity, quantity=event.quantity)
        return
    if order.final_quantity is not None:
        return  # an old snapshot: we already have the venue's last word
    work.go(_alive(work.order, Saw.OPEN))
    _judge_amendment(work, event)
    if event.filled_quantity is not None and event.filled_quantity > work.order.filled_quantity:
        work.do(Do.TRADES)  # it says more has filled than we have booked
    if work.order.phase is Phase.PENDING_CANCEL:
        _send_cancel(work)


def _haunt(work: _Work, incident: str) -> None:
    """An ended order lives: tell people once, and cancel it until the venue shows it closed (R5)."""
    if not work.lookup.haunted:
        work.incidents.append(incident)
        work.lookup = replace(work.lookup, haunted=True)
    work.seen()
    _send_cancel(work)
    work.do(Do.TRADES)


def _alive(order: Order, saw: Saw) -> Phase:
    phase = PHASES[order.phase, saw]
    assert phase is not None
    return Phase.PENDING_CANCEL if order.leaving else phase


def _closed(work: _Work, ending: Ending, filled: Decimal | None, *, quantity: Decimal | None = None) -> None:
    """The venue says it is over. Settle once every fill of the final quantity is booked.

    `quantity` is how large the order was, where the venue tells that as well.
    """
    order = work.order
    if order.phase is Phase.SETTLED:
        return
    if filled is None:
        if ending is not Ending.FILLED:
            _doubt(work, "ended, final quantity not said")
            return
        filled = _whole(order, quantity)
        if filled is None:
            _doubt(work, "filled, and not said of how much: an amendment may have arrived")
            return
    edit = _amending(order)
    if edit is not None and ending is Ending.FILLED and filled == edit.quantity:
        _amended(work)
        order = work.order
    final = max(filled, order.filled_quantity, order.final_quantity or ZERO)
    status = Status(str(ending))
    if status is Status.FILLED and final < order.quantity:
        status = Status.CANCELED  # filled for less than asked: the venue dropped the rest
    if status is Status.REJECTED and (final > ZERO or order.status not in (Status.PENDING, Status.UNKNOWN)):
        status = Status.CANCELED
    if order.final_quantity != final or order.ending is not status:
        work.change(Kind.FINAL, Phase.UNKNOWN, ending=status, final_quantity=final)
        work.lookup = replace(work.lookup, tries=0)
    _complete(work)
    if work.order.phase is not Phase.SETTLED:
        work.do(Do.TRADES)


def _whole(order: Order, told: Decimal | None) -> Decimal | None:
    """Return how much a filled order has filled; None where an amendment leaves that open."""
    edit = order.edit
    if edit is None or not edit.sent or edit.quantity is None:
        return order.quantity
    return told


def _complete(work: _Work) -> None:
    """Settle an order whose end and whole quantity are known."""
    order = work.order
    if order.phase is Phase.SETTLED or order.final_quantity is None or order.ending is None:
        return
    if order.filled_quantity < order.final_quantity:
        return
    if order.status is Status.PENDING:
        work.change(Kind.ACK, Phase.UNKNOWN)
    kind = {Status.EXPIRED: Kind.EXPIRE, Status.REJECTED: Kind.REJECT}.get(order.ending, Kind.CANCEL)
    if order.ending is Status.FILLED and order.status is Status.PARTIALLY_FILLED:
        kind = Kind.FULL
    if kind is Kind.CANCEL and order.asked is Asked.EXPIRE:
        kind = Kind.EXPIRE  # the venue was only told to cancel it
    work.change(kind, Phase.SETTLED)


def _book(work: _Work, fill: FillReport) -> None:
    """Book a fill once: dedupe by fill id (R7)."""
    order = work.order
    if fill.fill_id in order.fill_ids:
        return
    if order.filled_quantity + fill.quantity > order.quantity:
        _amended(work)  # an amendment on its way has arrived, or there is none
        order = work.order
    kind = fill_kind(order, fill)
    if order.phase is Phase.SETTLED:
        work.incidents.append(f"late fill {fill.fill_id} of {fill.quantity} after {order.status}")
    elif order.filled_quantity + fill.quantity > order.most:
        work.incidents.append(f"fill {fill.fill_id} goes beyond the quantity of the order")
    phase = PHASES[order.phase, Saw.FILL]
    assert phase is not None
    if order.phase is Phase.PENDING_NEW and order.leaving:
        phase = Phase.PENDING_CANCEL
    work.change(kind, phase, fill=fill, exchange_order_id=fill.exchange_order_id or None)
    work.fills.append(fill)
    work.seen()


def _trades(work: _Work, event: TradesAnswer) -> None:
    order = work.order
    fresh = [fill for fill in event.fills if fill.fill_id not in order.fill_ids]
    for fill in fresh:
        _book(work, fill)
    _complete(work)
    if fresh or (work.order.phase is Phase.SETTLED and not work.lookup.haunted):
        return
    work.lookup = replace(work.lookup, empty_sent_at=event.query_sent_at)
    _give_up(work)


def _not_found(work: _Work, event: OrderStatus) -> None:
    """Count a 'not found', if the query was sent late enough for it to mean anything (rule N)."""
    order, lookup = work.order, work.lookup
    if event.query_sent_at is None or (order.phase is Phase.SETTLED and not lookup.haunted):
        return
    if order.phase not in (Phase.UNKNOWN, Phase.SETTLED):
        _doubt(work, "not found at the venue")
        work.actions.clear()  # we have just looked; the wake-up looks again
    if order.final_quantity is not None and order.phase is not Phase.SETTLED:
        return
    if event.query_sent_at < _proof_from(order, lookup, work.patience):
        work.lookup = replace(work.lookup, empty_sent_at=None)
        return
    last = lookup.not_found_sent_at
    gap = timedelta(seconds=work.patience.not_found_gap_s)
    if last is None or event.query_sent_at >= last + gap:
        work.lookup = replace(
            work.lookup,
            not_founds=work.lookup.not_founds + 1,
            not_found_sent_at=event.query_sent_at,
            gone_by=work.lookup.gone_by or work.now,
        )
    work.do(Do.TRADES)
    _give_up(work)


def _proof_from(order: Order, lookup: Lookup, patience: Patience) -> datetime:
    """Return the earliest sending time of a query whose 'not found' proves something."""
    sent_at = order.sent_at or order.created_at
    proof = sent_at + timedelta(seconds=patience.recv_window_s + patience.margin_s)
    if lookup.seen_at is not None:
        proof = max(proof, lookup.seen_at + timedelta(seconds=patience.margin_s))
    return proof


def _give_up(work: _Work) -> None:
    """End an order the venue provably does not have, or stop following one that had ended before."""
    order, lookup = work.order, work.lookup
    if not _proven_gone(lookup, work.patience):
        return
    if order.phase is Phase.SETTLED:
        work.lookup = replace(lookup, haunted=False)
        work.actions.clear()
        return
    if order.phase is not Phase.UNKNOWN or order.final_quantity is not None:
        return  # the venue has said how it ended: nothing found now can overrule that
    if order.exchange_order_id is None and order.filled_quantity == ZERO:
        why = f"{NEVER_ARRIVED}, and was to go anyway" if order.leaving else NEVER_ARRIVED
        work.change(Kind.REJECT, Phase.SETTLED, message=why)
        work.actions.clear()
    else:
        # Acknowledged once and gone since; every fill the venue knows of is booked.
        work.change(
            Kind.FINAL,
            Phase.UNKNOWN,
            ending=Status.CANCELED,
            final_quantity=order.filled_quantity,
            message="gone from the venue",
        )
        work.actions.clear()
        _complete(work)


def _proven_gone(lookup: Lookup, patience: Patience) -> bool:
    """Say whether rule N holds: not found often enough, and no fill that may still be invisible."""
    if lookup.not_founds < patience.not_founds or lookup.gone_by is None or lookup.empty_sent_at is None:
        return False
    return lookup.empty_sent_at >= lookup.gone_by + timedelta(seconds=patience.margin_s)
