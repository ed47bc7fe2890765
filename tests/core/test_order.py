"""The order's two tables: every legal transition is a row, every illegal one raises and changes nothing."""

from dataclasses import replace
from decimal import Decimal
from typing import get_args

import pytest

from ems.core.child import (
    PHASES,
    AskCancel,
    AskReplace,
    Child,
    ChildEvent,
    Crossed,
    Doubted,
    Drop,
    Saw,
    Sent,
    Tick,
    step,
)
from ems.core.messages import (
    Acked,
    Amended,
    AmendRefused,
    CancelAcked,
    CancelRefused,
    Found,
    LookupFailed,
    OrderStatus,
    OrderType,
    OutcomeUnknown,
    Refusal,
    Rejected,
    TradesAnswer,
)
from ems.core.order import (
    ASKED,
    ASKING,
    BESIDE,
    LIFE,
    SENT,
    Change,
    IllegalTransition,
    Kind,
    apply,
    change_from_json,
    change_to_json,
    created,
    fold,
    remaining_quantity,
)
from ems.core.records import ENDED, Asked, Edit, Phase, Status
from tests.builders import PATIENCE, at, fill, order

FILLS = {Kind.FILL, Kind.LAST_FILL, Kind.LATE_FILL}


def change(kind, **fields):
    if kind in FILLS:
        fields.setdefault("fill", fill())
    return Change(kind=kind, phase=Phase.LIVE, **fields)


# The table of RELIABILITY.md C.2 in the words of DESIGN.md 3, written down a second time on purpose.
LEGAL = {
    ("created", "invalidate"): "invalidated",
    ("created", "intend"): "pending",
    ("created", "cancel"): "canceled",
    ("created", "expire"): "expired",
    ("created", "edit"): "created",
    ("pending", "ack"): "submitted",
    ("pending", "reject"): "rejected",
    ("pending", "doubt"): "unknown",
    ("pending", "fill"): "partially_filled",
    ("pending", "last_fill"): "filled",
    ("unknown", "ack"): "submitted",
    ("unknown", "reject"): "rejected",
    ("unknown", "fill"): "partially_filled",
    ("unknown", "last_fill"): "filled",
    ("unknown", "cancel"): "canceled",
    ("unknown", "expire"): "expired",
    ("submitted", "fill"): "partially_filled",
    ("submitted", "last_fill"): "filled",
    ("submitted", "cancel"): "canceled",
    ("submitted", "expire"): "expired",
    ("partially_filled", "fill"): "partially_filled",
    ("partially_filled", "last_fill"): "filled",
    ("partially_filled", "full"): "filled",
    ("partially_filled", "cancel"): "canceled",
    ("partially_filled", "expire"): "expired",
    ("filled", "late_fill"): "filled",
    ("canceled", "late_fill"): "canceled",
    ("expired", "late_fill"): "expired",
    ("rejected", "late_fill"): "rejected",
}
LEGAL_ASKED = {
    ("nothing", "ask_cancel"): "cancel",
    ("nothing", "ask_expire"): "expire",
    ("nothing", "ask_replace"): "replace",
    ("cancel", "ask_cancel"): "cancel",
    ("replace", "ask_replace"): "replace",
    ("replace", "amend"): "nothing",
    ("replace", "no_amend"): "nothing",
    ("replace", "ask_cancel"): "cancel",
    ("replace", "ask_expire"): "expire",
}
# What is asked for must fit, where the change is of that kind; the first that does.
FITTING = {kind: asked for asked, kind in reversed(LEGAL_ASKED)}
ALL = [(status, kind) for status in Status for kind in Kind]


@pytest.mark.parametrize(("status", "kind"), ALL, ids=lambda word: str(word))
def test_every_pair_of_status_and_change(status, kind):
    before = order(status=status, phase=Phase.LIVE, asked=Asked(FITTING.get(str(kind), "nothing")))
    expected = LEGAL.get((str(status), str(kind)))
    if kind in BESIDE and status in SENT:
        expected = str(status)
    if expected is None:
        with pytest.raises(IllegalTransition):
            apply(before, change(kind), at(1))
        assert before == order(status=status, phase=Phase.LIVE, asked=before.asked)
        return
    after, entry = apply(before, change(kind), at(1))
    assert str(after.status) == expected
    assert entry.status is after.status
    assert (entry.order_id, entry.version, entry.timestamp) == (before.order_id, 1, at(1))


def test_the_tables_hold_nothing_but_these_rows():
    assert {(str(s), str(k)): str(v) for (s, k), v in LIFE.items()} == LEGAL
    assert {(str(a), str(k)): str(v) for (a, k), v in ASKED.items()} == LEGAL_ASKED


def test_a_word_that_is_new_asks_for_its_rows_here():
    """A status, kind, asking, phase or event without a row of its own fails by its name."""
    told = {str(k) for k in ASKING | {Kind.FINAL, Kind.PHASE}}
    assert {kind for _, kind in LEGAL} | told == {str(kind) for kind in Kind}
    assert {kind for _, kind in LEGAL_ASKED} == {str(kind) for kind in ASKING}
    assert {"created", *LEGAL.values()} == {str(s) for s in Status}, "each is reached, or where orders begin"
    assert {s for (s, kind), after in LEGAL.items() if s != after} == {
        str(s) for s in Status if s not in ENDED
    }
    assert {"nothing", *LEGAL_ASKED.values()} == {str(a) for a in Asked}
    assert {str(s) for s in SENT} == {str(s) for s in Status} - {"created"} - {str(s) for s in ENDED}
    assert LEGAL_PHASES.keys() == {(str(p), str(s)) for p in Phase for s in Saw}
    assert {type(event) for event in OF_ONE_THAT_WAITS} == set(get_args(ChildEvent))


# The table of EXECUTION.md 3, written down a second time. N: rule N decides, and the phase stays until then.
COLUMNS = "ack fill cancel_final cancel_ack cancel_refused trouble open closed not_found reject".split()
NAMES = {
    "new": "pending_new",
    "live": "live",
    "leaves": "pending_cancel",
    "doubt": "unknown",
    "over": "settled",
}
GRID = """
new     live    live    over  doubt  doubt  doubt  live    over  N     over
live    live    live    over  doubt  doubt  doubt  live    over  N     live
leaves  leaves  leaves  over  doubt  doubt  doubt  leaves  over  N     leaves
doubt   live    doubt   over  doubt  doubt  doubt  live    over  N     over
over    over    over    over  over   over   over   over    over  over  over
"""
LEGAL_PHASES = {
    (NAMES[row[0]], column): NAMES.get(word)
    for row in (line.split() for line in GRID.strip().splitlines())
    for column, word in zip(COLUMNS, row[1:], strict=True)
}


def test_the_table_of_phases_holds_nothing_but_these_rows():
    known = {(str(p), str(saw)): None if after is None else str(after) for (p, saw), after in PHASES.items()}
    assert known == LEGAL_PHASES


# --- One that waits with us: emulated, or attached to another -----------------------------------------------

ID, NO = "q1.1.1", Refusal.PERMANENT
SMALLER = Edit(query_id="q2", asked_at=at(1), in_place=True, quantity=Decimal(1))
# What happens to it -> (its status then, whether it is over); None: it cannot be, and nothing changes.
OF_ONE_THAT_WAITS = {
    Sent(message="triggered"): ("pending", False),
    AskCancel(): ("canceled", True),
    AskCancel(expired=True): ("expired", True),
    AskReplace(edit=Edit(query_id="q2", asked_at=at(1), in_place=True, quantity=Decimal(1))): (
        "created",
        False,
    ),
    Drop(message="too little"): ("invalidated", True),
    Tick(): ("created", False),
    Doubted(): ("created", False),
    LookupFailed(request="order", order_id=ID, message="502"): ("created", False),
    # No exchange knows of it: what one says of it is about no order of ours.
    Crossed(fill=fill()): None,
    Acked(order_id=ID, exchange_order_id="X1"): None,
    Rejected(order_id=ID, refusal=NO, message="no"): None,
    CancelAcked(order_id=ID, filled_quantity=Decimal(0)): None,
    fill(): None,
    OrderStatus(order_id=ID, found=Found.OPEN, exchange_order_id="X1", query_sent_at=at(0.9)): None,
    CancelRefused(order_id=ID, refusal=NO, message="no"): ("created", False),
    OutcomeUnknown(order_id=ID, request="create", message="timeout"): ("created", False),
    Amended(order_id=ID): ("created", False),
    AmendRefused(order_id=ID, refusal=NO, message="no"): ("created", False),
    TradesAnswer(order_id=ID, fills=(), query_sent_at=at(0.9)): ("created", False),
}


@pytest.mark.parametrize("event", OF_ONE_THAT_WAITS, ids=lambda event: type(event).__name__)
@pytest.mark.parametrize("purpose", ["direct", "stop_loss", "take_profit"])
def test_every_event_of_one_that_waits_with_us(purpose, event):
    waits = order(
        order_type=OrderType.STOP_LOSS, stop_price=Decimal(1900), price=1890, emulated=True, purpose=purpose
    )
    expected = OF_ONE_THAT_WAITS[event]
    if expected is None:
        with pytest.raises(IllegalTransition):
            step(Child(order=waits), event, at(1), PATIENCE)
        return
    done = step(Child(order=waits), event, at(1), PATIENCE)
    after = done.child.order
    assert (str(after.status), after.phase is Phase.SETTLED) == expected
    assert done.actions == (), "nobody is asked about it"
    assert (done.wake_at is None) == (after.status is not Status.PENDING)


@pytest.mark.parametrize("kind", sorted(ASKING), ids=str)
@pytest.mark.parametrize("asked", Asked, ids=str)
def test_every_pair_of_what_is_asked_for_and_a_further_asking(asked, kind):
    before = order(status=Status.SUBMITTED, phase=Phase.LIVE, asked=asked)
    expected = LEGAL_ASKED.get((str(asked), str(kind)))
    if expected is None:
        with pytest.raises(IllegalTransition):
            apply(before, change(kind), at(1))
        return
    assert str(apply(before, change(kind), at(1))[0].asked) == expected


@pytest.mark.parametrize("asked", Asked, ids=str)
def test_what_is_asked_for_ends_with_the_order(asked):
    before = order(status=Status.SUBMITTED, phase=Phase.LIVE, asked=asked)
    assert apply(before, change(Kind.CANCEL), at(1))[0].asked is Asked.NOTHING


def test_terminal_statuses_are_left_by_nothing():
    for (status, _), after in LIFE.items():
        if status in ENDED:
            assert after is status


def test_a_fill_moves_quantity_cost_and_fees():
    before = order(status=Status.SUBMITTED)
    after, _ = apply(before, change(Kind.FILL, fill=fill("f1", "0.5", price="1999")), at(1))
    after, _ = apply(after, change(Kind.FILL, fill=fill("f2", "0.25", price="2001")), at(2))
    assert after.filled_quantity == Decimal("0.75")
    assert after.quote_filled == Decimal("0.5") * 1999 + Decimal("0.25") * 2001
    assert after.fees == {"ETH": Decimal("0.002")}
    assert after.fill_ids == {"f1", "f2"}
    assert remaining_quantity(after) == Decimal("1.25")
    assert after.closed_at is None


def test_an_end_releases_the_reservation_and_forgets_what_was_asked():
    before = order(status=Status.SUBMITTED, asked=Asked.CANCEL, phase=Phase.PENDING_CANCEL)
    after, _ = apply(before, change(Kind.CANCEL), at(3))
    assert (after.reserved, after.asked, after.phase, after.closed_at) == (
        0,
        Asked.NOTHING,
        Phase.SETTLED,
        at(3),
    )
    assert remaining_quantity(after) == 0


def test_a_late_fill_is_booked_and_the_end_stays_where_it_was():
    before, _ = apply(order(status=Status.SUBMITTED), change(Kind.CANCEL), at(3))
    after, _ = apply(before, change(Kind.LATE_FILL, fill=fill("late", "1")), at(9))
    assert (after.status, after.filled_quantity, after.closed_at) == (Status.CANCELED, 1, at(3))


def test_the_same_fill_twice_is_a_broken_promise():
    after, _ = apply(order(status=Status.SUBMITTED), change(Kind.FILL), at(1))
    with pytest.raises(AssertionError):
        apply(after, change(Kind.FILL), at(2))


def test_an_order_is_the_fold_of_its_history():
    start = order()
    history = [created(start)]
    now = start
    story = [
        change(Kind.INTEND),
        change(Kind.DOUBT, message="timeout"),
        change(Kind.ACK, exchange_order_id="X1"),
        change(Kind.FILL, fill=fill("f1", "0.5")),
        change(Kind.ASK_CANCEL),
        change(Kind.FINAL, ending=Status.CANCELED, final_quantity=Decimal("0.75")),
        change(Kind.FILL, fill=fill("f2", "0.25")),
        change(Kind.CANCEL),
    ]
    for number, happens in enumerate(story):
        now, entry = apply(now, happens, at(number))
        history.append(entry)
    assert fold(history) == now
    assert now.status is Status.CANCELED and now.version == len(story)


def test_a_change_survives_json():
    full = Change(
        kind=Kind.FILL,
        phase=Phase.UNKNOWN,
        message="m",
        exchange_order_id="X1",
        fill=fill(price="2000.123456789012345678", order_id=None),
        ending=Status.EXPIRED,
        final_quantity=Decimal("1.10"),
    )
    assert change_from_json(change_to_json(full)) == full
    assert change_from_json(
        change_to_json(replace(full, fill=None, ending=None, final_quantity=None))
    ) == replace(full, fill=None, ending=None, final_quantity=None)
