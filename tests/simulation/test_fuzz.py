"""The fuzz of every test run: a few thousand runs hold, broken machines are found, the same run repeats."""

import re

import pytest

from ems.core.child import PHASES, Saw, Sent, step
from ems.core.messages import (
    Acked,
    CancelAcked,
    CancelRefused,
    FillReport,
    Found,
    OrderStatus,
    OutcomeUnknown,
    Rejected,
)
from ems.core.records import Phase
from tests.simulation.fuzz import FAULTS, Run, fuzz, main
from tests.simulation.machines import MUTANTS, naive

RUNS = 2500
CANCEL_ANSWERS = (Saw.CANCEL_ACK, Saw.CANCEL_FINAL, Saw.CANCEL_REFUSED)
# Rows no run can meet: a cancel is sent from PENDING_CANCEL on, a look-up from LIVE on, and a venue that has
# refused a create has nothing to show of it.
NEVER_MET = {
    *((phase, column) for phase in (Phase.PENDING_NEW, Phase.LIVE) for column in CANCEL_ANSWERS),
    (Phase.PENDING_NEW, Saw.NOT_FOUND),
    (Phase.LIVE, Saw.REJECT),
    (Phase.PENDING_CANCEL, Saw.REJECT),
}
FOUND_WITHIN = 4000  # runs; the two about the last seconds of rule N take thousands, the others dozens


def saw(event):
    """Return the column of the child's table that an event belongs to, or None."""
    match event:
        case CancelAcked():
            return Saw.CANCEL_ACK if event.filled_quantity is None else Saw.CANCEL_FINAL
        case OrderStatus():
            return {Found.OPEN: Saw.OPEN, Found.CLOSED: Saw.CLOSED}.get(event.found, Saw.NOT_FOUND)
    columns = {
        Acked: Saw.ACK,
        FillReport: Saw.FILL,
        CancelRefused: Saw.CANCEL_REFUSED,
        OutcomeUnknown: Saw.TROUBLE,
        Rejected: Saw.REJECT,
    }
    return columns.get(type(event))


def quiet(line):
    pass


def test_thousands_of_runs_hold_and_meet_every_row_of_the_table():
    met = set()

    def watched(child, event, now, patience):
        if not isinstance(event, Sent):
            met.add((child.order.phase, saw(event)))
        return step(child, event, now, patience)

    tally = fuzz(RUNS, 11, machine=watched, report=quiet)
    assert (tally.runs, dict(tally.faults)) == (RUNS, {}), tally.first
    assert {row for row in PHASES if row not in met} == NEVER_MET


def test_the_same_run_repeats_and_another_differs():
    for run in range(30):
        assert Run(5, run).play() == Run(5, run).play()
    assert Run(5, 0).play() != Run(6, 0).play()


def test_naive_handling_shows_what_is_at_stake():
    tally = fuzz(RUNS, 11, machine=naive, report=quiet)
    assert {kind: tally.faults[kind] > RUNS // 50 for kind in ("overfills", "ledger", "orphans")} == {
        "overfills": True,
        "ledger": True,
        "orphans": True,
    }
    assert len(tally.excess) == tally.faults["overfills"] and min(tally.excess) > 0


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_machine_is_found(name):
    tally = fuzz(FOUND_WITHIN, 1, machine=MUTANTS[name], until_found=True, report=quiet)
    assert tally.faults.keys() & set(FAULTS), f"{name} survived {tally.runs} runs"


def test_a_broken_promise_of_the_machine_is_told_and_the_fuzz_goes_on():
    def breaks(child, event, now, patience):
        assert not isinstance(event, Acked), "acks are too much for this one"
        return step(child, event, now, patience)

    tally = fuzz(20, 1, machine=breaks, report=quiet)
    assert tally.runs == 20 and "too much" in tally.first["invariants"].faults["invariants"]


def test_what_is_found_can_be_replayed(capsys):
    assert main(["--runs", "300", "--seed", "3", "--naive"]) == 1
    kind, seed, run, words = re.search(
        r"first of (\w+): --seed (\d+) --run (\d+) --machine naive: (.*)", capsys.readouterr().out
    ).groups()
    assert main(["--seed", seed, "--run", run, "--machine", "naive"]) == 1
    told = capsys.readouterr().out
    assert f"{kind}: {words}" in told and "Sent" in told


def test_nothing_found_says_so(capsys):
    assert main(["--runs", "50", "--seed", "3"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert "runs=50 overfills=0 ledger=0 orphans=0 unterminated=0 invariants=0" in last
    assert re.search(r"step_p50_us=\d+\.\d step_p99_us=\d+\.\d$", last)
