"""Remove one rule at a time and see whether the simulation notices: a simulator that lets a broken rule
live proves nothing. Each mutant must be killed within 200 seeds; the last line is `mutants=N killed=N`.
"""

from __future__ import annotations

import argparse
import decimal
import os
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from types import SimpleNamespace

from ems.algos import ledger, walker
from ems.core import child, order
from ems.core.messages import (
    AmendRefused,
    CancelRefused,
    Ending,
    FillReport,
    NewOrder,
    OutcomeUnknown,
    Refusal,
    Rejected,
    Send,
    Wake,
    Withdraw,
)
from ems.core.order import Kind
from ems.core.records import Asked, Fill, Halt, Phase, Status
from ems.core.rest import Rest, rest_of
from ems.engine import Engine, crossings, reducing, successors
from ems.engine import attached as attached_module
from ems.engine import halts as halts_module
from ems.engine import orders as orders_module
from ems.engine import parents as parents_module
from ems.engine import submissions as submissions_module
from ems.engine import triggers as triggers_module
from ems.engine.attached import Attached
from ems.engine.halts import Halts
from ems.engine.orders import Orders
from ems.engine.parents import Parents
from ems.engine.replans import Replans
from ems.engine.triggers import Triggers
from ems.engine.turn import Out
from ems.engine.work import Work
from ems.runner import Runner
from tests.simulation.campaign import play

SEEDS = 200


def send_before_commit() -> None:
    """R1: requests leave before their intent is on disk."""
    commit = Runner._commit

    def hasty(self, records, turns):
        for turn in turns:
            for effect in [e for e in turn.effects if isinstance(e, Send)]:
                self.gateways[effect.exchange, effect.account].send(effect.request)
                turn.effects.remove(effect)
        commit(self, records, turns)

    Runner._commit = hasty


def doubt_is_no() -> None:
    """R4: no usable answer to a create is taken for a refusal."""
    from_venue = Engine._from_venue

    def sure(self, account, report, now):
        if isinstance(report, OutcomeUnknown) and report.request == "create":
            report = Rejected(order_id=report.order_id, refusal=Refusal.PERMANENT, message=report.message)
        from_venue(self, account, report, now)

    Engine._from_venue = sure


def one_not_found_is_enough() -> None:
    """R5: the first 'not found' is believed, whenever it was asked."""
    child._proof_from = lambda order, lookup, patience: order.created_at
    child._proven_gone = lambda lookup, patience: lookup.not_founds >= 1


def resend_in_doubt() -> None:
    """R5: an order in doubt is sent again, with the same id, instead of being looked up."""
    request = Orders._request

    def again(order, action):
        if action is child.Do.LOOK and order.status is Status.UNKNOWN:
            return NewOrder(
                order_id=order.order_id,
                client_order_id=order.client_order_id,
                symbol=order.symbol,
                side=order.side,
                order_type=order.order_type,
                quantity=order.quantity,
                price=order.price,
                time_in_force=order.time_in_force,
                post_only=order.post_only,
            )
        return request(order, action)

    Orders._request = staticmethod(again)


def lost_update() -> None:
    """R6: a second writer: every third fill is applied to an old copy of the order."""
    after_step = Orders._after_step
    count = [0]

    def stale(self, account, done, now):
        before = self._work.children[done.child.order.order_id]
        after_step(self, account, done, now)
        if done.fills:
            count[0] += 1
            if count[0] % 3 == 0:
                self._work.children[done.child.order.order_id] = before

    Orders._after_step = stale


def count_fills_twice() -> None:
    """R7: a repeated fill is money again."""
    book = child._book

    def twice(work, fill):
        book(work, replace(fill, fill_id=f"{fill.fill_id}/{len(work.order.fill_ids)}"))

    child._book = twice


def forget_fills_at_the_end() -> None:
    """R7: an order is settled with the fills that happen to be known."""

    def complete(work):
        current = work.order
        if current.phase is not Phase.SETTLED and current.final_quantity is not None:
            if current.status is Status.PENDING:
                work.change(Kind.ACK, Phase.UNKNOWN)
            work.change(Kind.CANCEL, Phase.SETTLED)

    child._complete = complete


def failed_cancel_is_canceled() -> None:
    """R8: 'unknown order' as the answer to a cancel is taken for 'canceled'."""
    step = child.step

    def trusting(c, event, now, patience):
        if isinstance(event, CancelRefused):
            event = child.CancelAcked(order_id=event.order_id, filled_quantity=c.order.filled_quantity)
        return step(c, event, now, patience)

    orders_module.step = trusting


def replace_without_settlement() -> None:
    """R9: the next order goes out while the cancel of the last one is still a question."""
    decide = walker.decide

    def eager(view, now):
        kept = [o for o in view.orders if o.phase is Phase.SETTLED or o.asked is Asked.NOTHING]
        return decide(replace(view, orders=kept), now)

    walker.decide = eager


def no_looking_around() -> None:
    """R11: streams are believed to be complete: no reconciliation, no polling."""
    step = child.step

    def trusting(c, event, now, patience):
        if isinstance(event, child.Doubted):
            return child.Step(child=c, wake_at=now + timedelta(days=1))
        return step(c, event, now, replace(patience, poll_s=1e6))

    orders_module.step = trusting


def float_money() -> None:
    """R13: amounts pass through a float."""
    book = child._book

    def careless(work, fill: FillReport):
        book(work, replace(fill, fee=Decimal(float(fill.fee))))

    child._book = careless


def cancel_once() -> None:
    """A lost cancel is not asked again."""
    step = child.step
    orders_module.step = lambda c, event, now, patience: step(
        c, event, now, replace(patience, recancel_s=1e6)
    )


def early_settlement() -> None:
    """EXECUTION 3: a cancel acknowledged without a quantity settles the order at what we know."""
    step = child.step

    def hasty(c, event, now, patience):
        if isinstance(event, child.CancelAcked) and event.filled_quantity is None:
            event = replace(event, filled_quantity=c.order.filled_quantity)
        return step(c, event, now, patience)

    orders_module.step = hasty


def closed_means_canceled_empty() -> None:
    """R7: the final quantity of the venue is ignored."""
    closed = child._closed
    child._closed = lambda work, ending, filled: closed(work, Ending.CANCELED, work.order.filled_quantity)


def forget_keys() -> None:
    """I7: an idempotency key is not remembered across the answer."""
    remember = Work.remember

    def forgetful(self, query):
        remember(self, query)
        self.keys.clear()

    Work.remember = forgetful


def keep_everything() -> None:
    """Ended work is never let go of: memory grows for ever."""
    Work.evict = lambda self, now: None


def every_leg_has_it_all() -> None:
    """Two legs that leave one node each spend all of its money."""
    ledger.allotment = lambda parent, index, money: max(money, Decimal(0))


def spend_before_it_is_there() -> None:
    """A leg spends what the legs before it are planned to bring in."""
    ledger.inflow = ledger.expected


def new_plans_forget_what_was_spent() -> None:
    """A new plan starts with the old one's money, not with what is left of it."""
    totals = ledger.pools

    def forgetful(parent, own):
        return totals(parent, [[] for _ in own])

    ledger.pools = forgetful


def plan_anew_at_once() -> None:
    """A new plan starts while orders of the old one are still out, at the drop of a hat."""
    Parents._cancel_open = lambda self, orders, now: False
    Replans.better = lambda self, parent, orders, now: True
    parents_module.REVIEW_S = 2.0


def triggered_by_nothing() -> None:
    """What waits with us is sent by the first book that comes."""
    triggers_module.met = lambda order_type, side, stop_price, price: True


def never_triggered() -> None:
    """What waits with us is forgotten."""
    Triggers.work = lambda self, order, run, now: None


def time_forgotten_by_a_restart() -> None:
    """Orders of before a restart have no end any more."""
    restore = Engine.restore

    def forgetful(self, unfinished, now):
        turn = restore(self, unfinished, now)
        turn.effects = [e for e in turn.effects if not (isinstance(e, Wake) and e.key[0] == "expiry")]
        return turn

    Engine.restore = forgetful


def expired_is_canceled() -> None:
    """The cancel at the end of an order's time is taken for anybody's."""
    order.ASKED[Asked.NOTHING, Kind.ASK_EXPIRE] = Asked.CANCEL


def edit_beside_the_old_one() -> None:
    """What is left is placed while the cancel of the old order is still a question."""

    def hasty(orders):
        order, rest = orders[-1], rest_of(orders)
        if rest is not None or order.edit is None or order.edit.in_place or not order.leaving:
            return rest
        left = (order.edit.quantity or order.quantity) - order.filled_quantity
        return Rest(order=order, last=order, edit=order.edit, quantity=left)

    work = Parents._work_direct

    def at_once(self, parent, orders, run, now):
        leaving = orders[-1].leaving and orders[-1].phase is not Phase.SETTLED
        if not (leaving and self._successors.take_over(parent, run, now)):
            work(self, parent, orders, run, now)

    successors.rest_of = hasty
    Parents._work_direct = at_once


def edit_places_it_all_again() -> None:
    """What takes an order's place forgets what that has filled."""

    def whole(orders):
        rest = rest_of(orders)
        return rest and replace(rest, quantity=rest.edit.quantity or rest.order.quantity)

    successors.rest_of = whole


def lost_amendment_is_refused() -> None:
    """No answer to an amendment is taken for a no."""
    step = child.step

    def sure(c, event, now, patience):
        if isinstance(event, OutcomeUnknown) and event.request == "amend":
            event = AmendRefused(order_id=event.order_id, refusal=Refusal.PERMANENT, message=event.message)
        return step(c, event, now, patience)

    orders_module.step = sure


def attached_all_out_at_once() -> None:
    """When the price of one has come, the other goes as well."""

    def hasty(self, scene):
        orders = self._work.orders_of_parent(scene.parent.parent_id)
        waiting = [o for o in orders if o.status is Status.CREATED]
        if any(self._triggers.due(one, scene.run, scene.now) for one in waiting):
            for one in waiting:
                self._orders.send(one.order_id, scene.now)

    Attached._send_due = hasty


def attached_forgets_what_was_sold() -> None:
    """What one of them has sold is still there for the other."""
    attached_module.ledger = SimpleNamespace(received=ledger.received, spent=lambda orders, currency: 0)


def attached_forgets_fees() -> None:
    """The fee in what was bought is there to be sold."""

    def gross(orders, currency):
        return sum((o.filled_quantity for o in orders), Decimal(0))

    attached_module.ledger = SimpleNamespace(received=gross, spent=ledger.spent)


def halt_forgotten_by_a_restart() -> None:
    """A restart begins as if nobody had halted."""
    Halts.restore = lambda self, halts, now: None


def flat_by_a_list_of_before() -> None:
    """A list that was asked for before the last order ended proves that nothing is open."""

    def trusting(self, pursuit, key, known):
        return known.read_at is not None and not known.failed and not known.listed

    Halts._is_flat = trusting


def flat_is_what_we_think() -> None:
    """When all that we know of is over, nothing is read again."""

    def trusting(self, pursuit, key, known):
        return not self._unsettled(pursuit, key)

    Halts._is_flat = trusting


def silence_is_flat() -> None:
    """An exchange that cannot be reached counts as flat."""
    is_flat = Halts._is_flat

    def trusting(self, pursuit, key, known):
        return bool(known.failed) or is_flat(self, pursuit, key, known)

    Halts._is_flat = trusting


def halt_stops_new_work_only() -> None:
    """What rests when the halt comes stays."""
    Halts._each_open_of = lambda self, halt: iter(())


def halted_and_sent_all_the_same() -> None:
    """What waits for its turn goes out under the halt: nothing is called back."""
    send = Out.send

    def deaf(self, account, request):
        if not isinstance(request, Withdraw):
            send(self, account, request)

    Out.send = deaf


def halt_looked_at_once() -> None:
    """A halt is asked about when work comes in, and no more."""
    Work.halted = lambda self, exchange, account, symbol=None, user=None: None
    Engine.halted = lambda self, order_id: False


def halt_without_its_user() -> None:
    """A halt of one user holds for nobody."""
    covers = Halt.covers

    def blind(self, exchange, account, symbol, user):
        return self.user is None and covers(self, exchange, account, symbol, user)

    Halt.covers = blind


def lifted_by_the_last_proof() -> None:
    """Once it is proven flat, trading goes on by itself."""
    judge = Halts._judge

    def forgetful(self, pursuit, now):
        judge(self, pursuit, now)
        if pursuit.halt.halt_id not in self._pursuits:
            self._work.halts.pop(pursuit.halt.halt_id, None)

    Halts._judge = forgetful


def anybody_reduces() -> None:
    """What reduces passes a halt, whoever asks for it."""
    may_reduce = reducing.may_reduce

    def lax(command, role):
        return may_reduce(command, "admin")

    halts_module.may_reduce = submissions_module.may_reduce = lax


def letter_left_out() -> None:
    """Nobody is told that all is flat."""
    tell = Halts._tell

    def mute(self, halt, what, subject, **words):
        if what != "flat":
            tell(self, halt, what, subject, **words)

    Halts._tell = mute


def guard_not_waited_for() -> None:
    """The take profit goes as soon as the guard at the exchange is to go."""
    is_out = attached_module._is_out
    attached_module._is_out = lambda order: is_out(order) and not order.leaving


def guard_never_grows() -> None:
    """A guard at the exchange keeps the size it was placed with."""
    Attached._resize = lambda self, scene, order: None


def guard_let_go_for_good() -> None:
    """A guard that made way for the take profit does not come back when the price has gone again."""
    attached_module._comes_back = lambda parent, last: last.emulated and last.status is Status.FILLED


def guard_waits_here_for_good() -> None:
    """A guard that had to wait here for a moment is never given to the exchange."""
    may_rest = Attached._may_rest

    def once(self, scene, *given):
        orders = self._work.orders_of_parent(scene.parent.parent_id)
        return not orders and may_rest(self, scene, *given)

    Attached._may_rest = once


def without_row(table: dict, row: tuple) -> Callable[[], None]:
    """Return a mutant that takes one row out of a transition table."""

    def cut() -> None:
        del table[row]

    return cut


def with_row(table: dict, row: tuple, value: object) -> Callable[[], None]:
    """Return a mutant that changes one row of a transition table."""

    def change() -> None:
        table[row] = value

    return change


def meet_what_may_be_out() -> None:
    """Internal crossing: what is called back meets another before its end is proven."""

    def hasty(orders):
        rest = rest_of(orders)
        order = orders[-1]
        if rest is not None or order.edit is None or order.phase is Phase.SETTLED:
            return rest
        left = order.quantity - order.filled_quantity
        return Rest(order=order, last=order, edit=order.edit, quantity=left)

    crossings.rest_of = hasty


def forget_what_met_inside() -> None:
    """Internal crossing: the rest goes out again with what has met another inside."""

    def whole(orders):
        rest = rest_of(orders)
        return rest and replace(rest, quantity=rest.order.quantity - rest.order.filled_quantity)

    successors.rest_of = whole


def one_side_is_enough() -> None:
    """Internal crossing: what one side did is not written down."""
    meet = crossings.Crossings.meet

    def halves(self, matches, parent, index, account, now):
        told = meet(self, matches, parent, index, account, now)
        fills = [r for r in self._out.turn.records if isinstance(r, Fill) and r.cross_id is not None]
        self._out.turn.records.remove(fills[-1])
        return told

    crossings.Crossings.meet = lambda *given: halves(*given) if given[1] else meet(*given)


MUTANTS: dict[str, Callable[[], None]] = {
    "T1 triggered by nothing": triggered_by_nothing,
    "T never triggered": never_triggered,
    "T2 time forgotten by a restart": time_forgotten_by_a_restart,
    "T2 expired is canceled": expired_is_canceled,
    "A all out at once": attached_all_out_at_once,
    "A what was sold is there again": attached_forgets_what_was_sold,
    "A fees forgotten": attached_forgets_fees,
    "A guard not waited for": guard_not_waited_for,
    "A guard never grows": guard_never_grows,
    "A guard let go for good": guard_let_go_for_good,
    "A guard waits here for good": guard_waits_here_for_good,
    "E the rest beside the old order": edit_beside_the_old_one,
    "E the rest is all of it": edit_places_it_all_again,
    "E no answer is a no": lost_amendment_is_refused,
    "H forgotten by a restart": halt_forgotten_by_a_restart,
    "H flat by a list of before": flat_by_a_list_of_before,
    "H flat is what we think": flat_is_what_we_think,
    "H silence is flat": silence_is_flat,
    "H stops new work only": halt_stops_new_work_only,
    "H what waits is not called back": halted_and_sent_all_the_same,
    "H looked at once": halt_looked_at_once,
    "H of one user holds for nobody": halt_without_its_user,
    "H lifted by its proof": lifted_by_the_last_proof,
    "H reduced by anybody": anybody_reduces,
    "H no letter when flat": letter_left_out,
    "R1 send before commit": send_before_commit,
    "R4 doubt taken for a refusal": doubt_is_no,
    "R5 one not-found is enough": one_not_found_is_enough,
    "R5 resend in doubt": resend_in_doubt,
    "R6 lost update": lost_update,
    "R7 fills counted twice": count_fills_twice,
    "R7 settled before every fill is in": forget_fills_at_the_end,
    "R7 final quantity ignored": closed_means_canceled_empty,
    "R8 failed cancel taken for canceled": failed_cancel_is_canceled,
    "R8 silent cancel settles at once": early_settlement,
    "R9 replace without settlement": replace_without_settlement,
    "R11 streams trusted": no_looking_around,
    "R13 float money": float_money,
    "cancel sent only once": cancel_once,
    "I7 keys forgotten": forget_keys,
    "memory never let go of": keep_everything,
    "what is called back meets before it has ended": meet_what_may_be_out,
    "the rest forgets what met inside": forget_what_met_inside,
    "one side of a cross is lost": one_side_is_enough,
    "every leg has it all": every_leg_has_it_all,
    "spent before it is there": spend_before_it_is_there,
    "new plans forget what was spent": new_plans_forget_what_was_spent,
    "a new plan beside the old one": plan_anew_at_once,
    "LIFE pending+doubt -> rejected": with_row(order.LIFE, (Status.PENDING, Kind.DOUBT), Status.REJECTED),
    "LIFE without unknown+reject": without_row(order.LIFE, (Status.UNKNOWN, Kind.REJECT)),
    "LIFE without unknown+fill": without_row(order.LIFE, (Status.UNKNOWN, Kind.FILL)),
    "LIFE without unknown+ack": without_row(order.LIFE, (Status.UNKNOWN, Kind.ACK)),
    "LIFE without pending+last_fill": without_row(order.LIFE, (Status.PENDING, Kind.LAST_FILL)),
    "LIFE without submitted+expire": without_row(order.LIFE, (Status.SUBMITTED, Kind.EXPIRE)),
    "LIFE without partially_filled+cancel": without_row(order.LIFE, (Status.PARTIALLY_FILLED, Kind.CANCEL)),
    "LIFE submitted+fill -> canceled": with_row(order.LIFE, (Status.SUBMITTED, Kind.FILL), Status.CANCELED),
    "PHASES unknown+open -> settled": with_row(child.PHASES, (Phase.UNKNOWN, child.Saw.OPEN), Phase.SETTLED),
    "PHASES pending_cancel+cancel_refused -> settled": with_row(
        child.PHASES, (Phase.PENDING_CANCEL, child.Saw.CANCEL_REFUSED), Phase.SETTLED
    ),
}


def hunt(name: str) -> tuple[str, int | None, str]:
    """Play seeds against one mutant until one notices; runs in a process of its own."""
    decimal.getcontext().prec = 50
    MUTANTS[name]()
    for seed in range(SEEDS):
        outcome = play(seed)
        if outcome.violation:
            return name, seed, outcome.violation
    return name, None, ""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="oms mutants", description=__doc__)
    parser.add_argument("--only", help="hunt only the mutants whose name contains this")
    chosen = parser.parse_args(arguments)
    names = [name for name in MUTANTS if chosen.only is None or chosen.only in name]
    killed = 0
    # A process for each mutant: what is broken in one must not leak into the next.
    with ProcessPoolExecutor(os.cpu_count(), max_tasks_per_child=1) as pool:
        for name, seed, violation in pool.map(hunt, names):
            killed += seed is not None
            verdict = f"killed by seed {seed}: {violation[:90]}" if seed is not None else "SURVIVED"
            print(f"{name:40} {verdict}", flush=True)
    print(f"mutants={len(names)} killed={killed}")
    return 0 if killed == len(names) else 1


if __name__ == "__main__":
    sys.exit(main())
