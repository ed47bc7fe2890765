"""The machine of one order, and others that the fuzz must tell from it: what a simple bot believes, and
machines broken on purpose, one rule each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from ems.core.child import Child, ChildEvent, Do, Patience, Step, Tick, step
from ems.core.messages import (
    Amended,
    AmendRefused,
    CancelAcked,
    CancelRefused,
    Ending,
    FillReport,
    Found,
    OrderStatus,
    OutcomeUnknown,
    Refusal,
    Rejected,
    TradesAnswer,
)
from ems.core.records import Phase

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)

StepFunction = Callable[[Child, ChildEvent, datetime, Patience], Step]


def naive(child: Child, event: ChildEvent, now: datetime, patience: Patience) -> Step:
    """Believe what a simple bot believes: no answer, a failed cancel and 'not found' all mean not filled."""
    known = child.order.filled_quantity
    match event:
        case OutcomeUnknown(request="create"):
            event = Rejected(order_id=event.order_id, refusal=Refusal.PERMANENT, message=event.message)
        case Tick() if child.order.phase is Phase.PENDING_NEW:
            event = Rejected(order_id=child.order.order_id, refusal=Refusal.PERMANENT, message="no answer")
        case OutcomeUnknown() | CancelRefused() | CancelAcked():
            event = CancelAcked(order_id=event.order_id, filled_quantity=known)
        case OrderStatus(found=Found.NOT_FOUND):
            event = replace(event, found=Found.CLOSED, ending=Ending.CANCELED, filled_quantity=known)
    return step(child, event, now, patience)


def timeout_is_a_refusal(child: Child, event: ChildEvent, now: datetime, patience: Patience) -> Step:
    if isinstance(event, OutcomeUnknown) and event.request == "create":
        event = Rejected(order_id=event.order_id, refusal=Refusal.PERMANENT, message=event.message)
    return step(child, event, now, patience)


def failed_cancel_is_a_cancel(child: Child, event: ChildEvent, now: datetime, patience: Patience) -> Step:
    if isinstance(event, CancelRefused):
        event = CancelAcked(order_id=event.order_id, filled_quantity=child.order.filled_quantity)
    return step(child, event, now, patience)


def silent_cancel_settles(child: Child, event: ChildEvent, now: datetime, patience: Patience) -> Step:
    if isinstance(event, CancelAcked) and event.filled_quantity is None:
        event = replace(event, filled_quantity=child.order.filled_quantity)
    return step(child, event, now, patience)


def time_of_the_answer_counts(child: Child, event: ChildEvent, now: datetime, patience: Patience) -> Step:
    """EXECUTION.md 3: the verdict that gave the only over-fill in fuzzing."""
    if isinstance(event, OrderStatus | TradesAnswer) and event.query_sent_at is not None:
        event = replace(event, query_sent_at=now)
    return step(child, event, now, patience)


def first_not_found_counts(child: Child, event: ChildEvent, now: datetime, patience: Patience) -> Step:
    return step(child, event, now, replace(patience, recv_window_s=0.0, margin_s=0.0, not_founds=1))


def invisible_for_two_seconds_only(
    child: Child, event: ChildEvent, now: datetime, patience: Patience
) -> Step:
    return step(child, event, now, replace(patience, margin_s=2.0))


def history_not_waited_for(child: Child, event: ChildEvent, now: datetime, patience: Patience) -> Step:
    """Rule N without its second half: the trade history is taken for empty as soon as it is asked."""
    done = step(child, event, now, patience)
    if Do.TRADES in done.actions and done.child.lookup.not_founds >= patience.not_founds:
        empty = TradesAnswer(
            order_id=child.order.order_id, fills=(), query_sent_at=now + timedelta(seconds=60)
        )
        after = step(done.child, empty, now, patience)
        return replace(after, entries=done.entries + after.entries, fills=done.fills + after.fills)
    return done


def history_asked_too_early(child: Child, event: ChildEvent, now: datetime, patience: Patience) -> Step:
    """Rule N with any empty history: fills up to the end of the order may still be invisible in it."""
    if child.lookup.gone_by is not None:
        child = replace(child, lookup=replace(child.lookup, gone_by=LONG_AGO))
    return step(child, event, now, patience)


def repeated_fill_is_money_again(child: Child, event: ChildEvent, now: datetime, patience: Patience) -> Step:
    if isinstance(event, FillReport):
        event = replace(event, fill_id=f"{event.fill_id}/{len(child.order.fill_ids)}")
    return step(child, event, now, patience)


def settled_before_every_fill(child: Child, event: ChildEvent, now: datetime, patience: Patience) -> Step:
    """R7: the final quantity of the venue is ignored."""
    if isinstance(event, OrderStatus | CancelAcked) and event.filled_quantity is not None:
        event = replace(event, filled_quantity=child.order.filled_quantity)
        if isinstance(event, OrderStatus) and event.found is Found.CLOSED:
            event = replace(event, ending=Ending.CANCELED)
    return step(child, event, now, patience)


def cancel_only_once(child: Child, event: ChildEvent, now: datetime, patience: Patience) -> Step:
    return step(child, event, now, replace(patience, recancel_s=1e6))


def no_wake_up_in_doubt(child: Child, event: ChildEvent, now: datetime, patience: Patience) -> Step:
    done = step(child, event, now, patience)
    return replace(done, wake_at=None) if done.child.order.phase is Phase.UNKNOWN else done


def lost_amendment_is_refused(child: Child, event: ChildEvent, now: datetime, patience: Patience) -> Step:
    if isinstance(event, OutcomeUnknown) and event.request == "amend":
        event = AmendRefused(order_id=event.order_id, refusal=Refusal.PERMANENT, message=event.message)
    return step(child, event, now, patience)


def refused_amendment_is_made(child: Child, event: ChildEvent, now: datetime, patience: Patience) -> Step:
    if isinstance(event, AmendRefused):
        event = Amended(order_id=event.order_id)
    return step(child, event, now, patience)


def old_terms_prove_that_it_never_came(
    child: Child, event: ChildEvent, now: datetime, patience: Patience
) -> Step:
    """A look-up that may have overtaken the amendment, or does not see it yet, is believed."""
    return step(child, event, now, replace(patience, margin_s=0.0, recv_window_s=0.0))


MUTANTS: dict[str, StepFunction] = {
    f.__name__: f
    for f in (
        timeout_is_a_refusal,
        failed_cancel_is_a_cancel,
        silent_cancel_settles,
        time_of_the_answer_counts,
        first_not_found_counts,
        invisible_for_two_seconds_only,
        history_not_waited_for,
        history_asked_too_early,
        repeated_fill_is_money_again,
        settled_before_every_fill,
        cancel_only_once,
        no_wake_up_in_doubt,
        lost_amendment_is_refused,
        refused_amendment_is_made,
        old_terms_prove_that_it_never_came,
    )
}
MACHINES: dict[str, StepFunction] = {"production": step, "naive": naive, **MUTANTS}
