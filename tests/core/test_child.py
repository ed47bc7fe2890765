"""The child machine of EXECUTION.md 3: its table, and the stories behind the odd rows."""

from dataclasses import replace
from decimal import Decimal

import pytest

from ems.core.child import (
    PHASES,
    AskCancel,
    AskReplace,
    Child,
    Do,
    Doubted,
    Lookup,
    Saw,
    Sent,
    Tick,
    exposure,
    step,
)
from ems.core.messages import (
    Acked,
    CancelAcked,
    CancelRefused,
    Ending,
    Found,
    LookupFailed,
    OrderStatus,
    OutcomeUnknown,
    Refusal,
    Rejected,
    TradesAnswer,
)
from ems.core.records import Asked, Edit, Phase, Status
from tests.builders import PATIENCE, at, fill, order

ID = "q1.1.1"
STATUS_OF = {
    Phase.PENDING_NEW: Status.PENDING,
    Phase.LIVE: Status.SUBMITTED,
    Phase.PENDING_CANCEL: Status.SUBMITTED,
    Phase.UNKNOWN: Status.SUBMITTED,
    Phase.SETTLED: Status.CANCELED,
}


def child_in(phase, **fields):
    asked = Asked.CANCEL if phase is Phase.PENDING_CANCEL else Asked.NOTHING
    closed = {"closed_at": at(0), "reserved": Decimal(0)} if phase is Phase.SETTLED else {}
    exchange_id = None if phase is Phase.PENDING_NEW else "X1"
    values = {
        "phase": phase,
        "status": STATUS_OF[phase],
        "asked": asked,
        "exchange_order_id": exchange_id,
        "sent_at": at(0),
        "version": 5,
        **closed,
        **fields,
    }
    return Child(order=order(**values))


def do(child, event, seconds=1.0):
    return step(child, event, at(seconds), PATIENCE)


EVENTS = {
    Saw.ACK: Acked(order_id=ID, exchange_order_id="X1"),
    Saw.FILL: fill(),
    Saw.CANCEL_FINAL: CancelAcked(order_id=ID, filled_quantity=Decimal(0)),
    Saw.CANCEL_ACK: CancelAcked(order_id=ID),
    Saw.CANCEL_REFUSED: CancelRefused(order_id=ID, refusal=Refusal.UNKNOWN_ORDER, message="unknown order"),
    Saw.TROUBLE: OutcomeUnknown(order_id=ID, request="create", message="timeout"),
    Saw.OPEN: OrderStatus(order_id=ID, found=Found.OPEN, exchange_order_id="X1", query_sent_at=at(0.9)),
    Saw.CLOSED: OrderStatus(
        order_id=ID,
        found=Found.CLOSED,
        exchange_order_id="X1",
        filled_quantity=Decimal(0),
        ending=Ending.CANCELED,
        query_sent_at=at(0.9),
    ),
    Saw.REJECT: Rejected(order_id=ID, refusal=Refusal.PERMANENT, message="no"),
}
ROWS = [(phase, saw) for phase in Phase for saw in EVENTS]


@pytest.mark.parametrize(("phase", "saw"), ROWS, ids=str)
def test_every_row_of_the_table(phase, saw):
    expected = PHASES[phase, saw]
    if phase is Phase.UNKNOWN and saw is Saw.REJECT:
        child = child_in(phase, status=Status.UNKNOWN, exchange_order_id=None)  # never seen by the venue
    else:
        child = child_in(phase)
    done = do(child, EVENTS[saw])
    assert done.child.order.phase is expected
    assert (done.wake_at is None) == (expected is Phase.SETTLED), (
        "every unsettled child has a pending wake-up"
    )


def test_the_table_is_complete():
    assert set(PHASES) == {(phase, saw) for phase in Phase for saw in Saw}


@pytest.mark.parametrize("phase", [Phase.PENDING_NEW, Phase.LIVE, Phase.PENDING_CANCEL, Phase.UNKNOWN])
def test_trouble_is_resolved_by_looking(phase):
    done = do(child_in(phase), EVENTS[Saw.TROUBLE])
    assert done.actions == (Do.LOOK,)


def test_intent_comes_before_anything():
    done = do(Child(order=order()), Sent())
    assert (done.child.order.status, done.child.order.sent_at) == (Status.PENDING, at(1))
    assert done.actions == () and done.wake_at == at(1 + PATIENCE.answer_s)


def test_a_create_without_any_answer_becomes_unknown_and_is_looked_up():
    done = do(child_in(Phase.PENDING_NEW), Tick(), 13)
    assert (done.child.order.status, done.actions) == (Status.UNKNOWN, (Do.LOOK,))


def test_looking_backs_off():
    child, waits = child_in(Phase.UNKNOWN), []
    now = 1.0
    for _ in range(7):
        done = do(child, Tick(), now)
        waits.append((done.wake_at - at(now)).total_seconds())
        child, now = done.child, now + waits[-1]
    assert waits == [0.5, 1, 2, 4, 4, 4, 4]


def test_fill_before_ack():
    done = do(child_in(Phase.PENDING_NEW), fill("f1", "0.5"))
    assert (done.child.order.status, done.child.order.phase) == (Status.PARTIALLY_FILLED, Phase.LIVE)
    done = do(done.child, EVENTS[Saw.ACK], 2)
    assert (done.child.order.status, done.entries) == (Status.PARTIALLY_FILLED, ())


def test_the_last_fill_settles_from_any_phase():
    for phase in (Phase.PENDING_NEW, Phase.LIVE, Phase.PENDING_CANCEL, Phase.UNKNOWN):
        done = do(child_in(phase), fill("f1", "2"))
        assert (done.child.order.status, done.child.order.phase) == (Status.FILLED, Phase.SETTLED), phase


def test_a_fill_seen_twice_changes_nothing():
    once = do(child_in(Phase.LIVE), fill())
    twice = do(once.child, fill(), 2)
    assert (twice.child.order, twice.entries, twice.fills) == (once.child.order, (), ())


def test_cancel_loses_the_race():
    child = do(child_in(Phase.LIVE), AskCancel()).child
    done = do(child, fill("f1", "2"), 2)
    assert done.child.order.status is Status.FILLED
    done = do(done.child, EVENTS[Saw.CANCEL_REFUSED], 3)
    assert (done.child.order.status, done.entries, done.incidents) == (Status.FILLED, (), ())


def test_a_cancel_waits_until_the_venue_has_the_order():
    done = do(child_in(Phase.PENDING_NEW), AskCancel())
    assert done.actions == () and done.child.order.asked is Asked.CANCEL
    done = do(done.child, EVENTS[Saw.ACK], 2)
    assert done.actions == (Do.CANCEL,) and done.child.order.phase is Phase.PENDING_CANCEL


def test_a_cancel_is_asked_again_after_a_second_and_not_before():
    child = do(child_in(Phase.LIVE), AskCancel(), 1).child
    early = do(child, replace(EVENTS[Saw.OPEN], query_sent_at=at(1.4)), 1.5)
    assert early.actions == ()
    late = do(early.child, replace(EVENTS[Saw.OPEN], query_sent_at=at(2.4)), 2.5)
    assert late.actions == (Do.CANCEL,)


def test_settled_means_every_fill_is_in():
    closed = replace(EVENTS[Saw.CLOSED], filled_quantity=Decimal("1.5"))
    done = do(child_in(Phase.LIVE), closed)
    assert (done.child.order.phase, done.child.order.status) == (Phase.UNKNOWN, Status.SUBMITTED)
    assert done.actions == (Do.TRADES,)
    assert exposure(done.child.order) == Decimal("1.5"), "only what is known to have filled may still come"
    done = do(done.child, TradesAnswer(order_id=ID, fills=(fill("f1", "1"),), query_sent_at=at(2)), 2)
    assert done.child.order.phase is Phase.UNKNOWN
    done = do(
        done.child,
        TradesAnswer(order_id=ID, fills=(fill("f1", "1"), fill("f2", "0.5")), query_sent_at=at(3)),
        3,
    )
    assert (done.child.order.status, done.child.order.filled_quantity) == (Status.CANCELED, Decimal("1.5"))


def test_an_old_snapshot_does_not_reopen_what_has_ended():
    closed = replace(EVENTS[Saw.CLOSED], filled_quantity=Decimal(1))
    child = do(child_in(Phase.LIVE), closed).child
    done = do(child, EVENTS[Saw.OPEN], 2)
    assert done.child.order.final_quantity == 1 and done.child.order.phase is Phase.UNKNOWN


def test_a_venue_showing_more_filled_than_booked_is_asked_for_trades():
    done = do(child_in(Phase.LIVE), replace(EVENTS[Saw.OPEN], filled_quantity=Decimal(1)))
    assert done.actions == (Do.TRADES,)


def test_a_late_fill_is_booked_and_told():
    done = do(child_in(Phase.SETTLED), fill("late"), 5)
    assert (done.child.order.status, done.child.order.filled_quantity) == (Status.CANCELED, 1)
    assert len(done.fills) == 1 and "late fill" in done.incidents[0]


def test_a_fill_beyond_the_quantity_is_booked_and_told():
    done = do(child_in(Phase.LIVE), fill("big", "3"))
    assert done.child.order.filled_quantity == 3 and "beyond" in done.incidents[0]


def test_an_order_given_up_that_shows_up_open_is_cancelled_and_told():
    child = child_in(Phase.SETTLED, status=Status.REJECTED, exchange_order_id=None)
    done = do(child, replace(EVENTS[Saw.OPEN], query_sent_at=at(20)), 21)
    assert Do.CANCEL in done.actions and done.incidents


def test_a_refusal_after_the_venue_has_shown_the_order_is_doubted():
    done = do(child_in(Phase.UNKNOWN), EVENTS[Saw.REJECT])
    assert done.child.order.phase is Phase.UNKNOWN and done.child.order.status is Status.SUBMITTED


# --- Rule N -------------------------------------------------------------------------------------------

PROOF = PATIENCE.recv_window_s + PATIENCE.margin_s  # seconds after sending


def not_found(sent):
    return OrderStatus(order_id=ID, found=Found.NOT_FOUND, query_sent_at=at(sent))


def no_trades(sent):
    return TradesAnswer(order_id=ID, fills=(), query_sent_at=at(sent))


def unknown():
    return child_in(Phase.UNKNOWN, status=Status.UNKNOWN, exchange_order_id=None)


def play(child, *events):
    for seconds, event in events:
        done = do(child, event, seconds)
        child = done.child
    return done


def test_not_found_too_early_proves_nothing_however_often():
    events = [(n, not_found(n - 0.1)) for n in (1, 4, 7, 10, 13, 16, 19)]
    done = play(unknown(), *events, (19.5, no_trades(19.4)))
    assert done.child.order.status is Status.UNKNOWN


def test_the_time_that_counts_is_when_the_query_was_sent():
    late = PROOF + 30
    events = [(late + n, not_found(PROOF - 1)) for n in (0, 3, 6)]
    done = play(unknown(), *events, (late + 7, no_trades(late)))
    assert done.child.order.status is Status.UNKNOWN


def test_three_late_not_founds_and_an_empty_history_end_it():
    events = [(PROOF + n, not_found(PROOF + n)) for n in (1, 4, 7)]
    done = play(unknown(), *events)
    assert done.child.order.status is Status.UNKNOWN and Do.TRADES in done.actions
    done = do(done.child, no_trades(PROOF + 1 + PATIENCE.margin_s), PROOF + 17)
    assert (done.child.order.status, done.child.order.reason) == (
        Status.REJECTED,
        "never arrived at the venue",
    )
    assert exposure(done.child.order) == 0 and done.child.order.reserved == 0


def test_not_founds_closer_than_two_seconds_count_once():
    events = [(PROOF + n, not_found(PROOF + n)) for n in (1, 1.5, 2, 2.5)]
    done = play(unknown(), *events, (PROOF + 4, no_trades(PROOF + 3)))
    assert done.child.order.status is Status.UNKNOWN


def test_seeing_the_order_voids_every_not_found():
    events = [(PROOF + n, not_found(PROOF + n)) for n in (1, 4)]
    seen = replace(EVENTS[Saw.OPEN], query_sent_at=at(PROOF + 5))
    done = play(
        unknown(),
        *events,
        (PROOF + 5, seen),
        (PROOF + 7, not_found(PROOF + 7)),
        (PROOF + 8, no_trades(PROOF + 8)),
    )
    assert done.child.order.status is Status.SUBMITTED and done.child.lookup.not_founds == 0


def test_an_acknowledged_order_gone_from_the_venue_ends_with_its_fills():
    child = child_in(
        Phase.UNKNOWN, status=Status.PARTIALLY_FILLED, filled_quantity=Decimal(1), fill_ids=frozenset({"f1"})
    )
    child = replace(child, lookup=Lookup(seen_at=at(0)))
    events = [(PROOF + n, not_found(PROOF + n)) for n in (1, 4, 7)]
    asked = PROOF + 1 + PATIENCE.margin_s
    known = TradesAnswer(order_id=ID, fills=(fill("f1", "1"),), query_sent_at=at(asked))
    done = play(child, *events, (asked + 1, known))
    assert (done.child.order.status, done.child.order.filled_quantity) == (Status.CANCELED, 1)


def test_fills_still_invisible_when_the_order_is_gone_are_waited_for():
    """Found by fuzzing: filled and forgotten while nobody could look, an order ended without its fills."""
    child = replace(child_in(Phase.LIVE), lookup=Lookup(seen_at=at(0)))
    gone = 40.0  # it filled just before, and its fills show in the history only 15 s later
    events = [(gone + n, not_found(gone + n)) for n in (0, 3, 6)]
    early = gone + PATIENCE.margin_s - 0.001
    done = play(child, *events, (gone + 8, no_trades(gone + 7)), (early + 1, no_trades(early)))
    assert done.child.order.phase is Phase.UNKNOWN and exposure(done.child.order) == 2
    shown = TradesAnswer(order_id=ID, fills=(fill("f1", "2"),), query_sent_at=at(gone + 16))
    done = do(done.child, shown, gone + 17)
    assert (done.child.order.status, done.child.order.filled_quantity) == (Status.FILLED, 2)


def test_fills_are_waited_for_from_the_answer_of_the_first_not_found():
    """A query may travel: its 'not found' is of any moment until the answer came."""
    sent, answered = PROOF + 1, PROOF + 12
    events = [
        (answered, not_found(sent)),
        (answered + 1, not_found(sent + 3)),
        (answered + 2, not_found(sent + 6)),
    ]
    asked = answered + PATIENCE.margin_s
    done = play(unknown(), *events, (asked, no_trades(asked - 0.001)))
    assert done.child.order.status is Status.UNKNOWN
    done = do(done.child, no_trades(asked), asked + 1)
    assert done.child.order.status is Status.REJECTED


def test_an_order_risen_again_is_followed_until_its_fills_must_have_shown():
    child = child_in(Phase.SETTLED, status=Status.REJECTED, exchange_order_id=None)
    risen = do(child, replace(EVENTS[Saw.OPEN], query_sent_at=at(20)), 21)
    events = [(60.0 + n, not_found(60.0 + n)) for n in (0, 3, 6)]
    done = play(risen.child, *events, (67, no_trades(67)))
    assert done.child.lookup.haunted and done.wake_at is not None
    done = do(done.child, no_trades(60 + PATIENCE.margin_s), 76)
    assert (done.child.lookup.haunted, done.wake_at, done.actions) == (False, None, ())


def test_a_failed_lookup_is_no_news():
    done = do(unknown(), LookupFailed(request="order", order_id=ID, message="502"))
    assert (done.child, done.entries, done.actions) == (unknown(), (), ())
    assert done.wake_at is not None


def test_lost_contact_makes_every_open_order_doubtful():
    for phase in (Phase.PENDING_NEW, Phase.LIVE, Phase.PENDING_CANCEL):
        done = do(child_in(phase), Doubted())
        assert (done.child.order.phase, done.actions) == (Phase.UNKNOWN, (Do.LOOK,)), phase


@pytest.mark.parametrize(
    ("told", "settled"), [("0.4", Status.CANCELED), (None, None)], ids=["says how large it was", "does not"]
)
def test_filled_to_terms_that_may_have_changed_is_believed_only_with_the_quantity(told, settled):
    """Found by the fuzz: it waited for ever for the fills of the old quantity."""
    smaller = Edit(
        query_id="e1",
        asked_at=at(1),
        in_place=True,
        quantity=Decimal("0.4"),
        reserved=Decimal(800),
    )
    child = child_in(Phase.LIVE)
    assert child.order.quantity > Decimal("0.4")
    nobody_knows = OutcomeUnknown(order_id=ID, request="amend", message="502")
    filled = OrderStatus(
        order_id=ID,
        found=Found.CLOSED,
        exchange_order_id="X1",
        ending=Ending.FILLED,
        quantity=None if told is None else Decimal(told),
        query_sent_at=at(5),
    )
    done = play(child, (1, AskReplace(edit=smaller)), (2, nobody_knows), (3, AskCancel()), (5.1, filled))
    done = do(done.child, TradesAnswer(order_id=ID, fills=(fill("f1", "0.4"),), query_sent_at=at(25)), 26)
    after = done.child.order
    assert after.filled_quantity == Decimal("0.4")
    if settled is None:
        assert (after.phase, after.final_quantity) == (Phase.UNKNOWN, None), "it is asked again"
        assert done.wake_at is not None
    else:
        assert (after.phase, after.status) == (Phase.SETTLED, settled)
