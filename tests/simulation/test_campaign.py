"""The seeded simulation of every test run: 2,000 seeds, nothing lost, nothing doubled."""

import pytest

from tests.simulation.campaign import campaign, play, summary

SEEDS = 2000


@pytest.mark.timeout(600)
def test_two_thousand_seeds_hold_every_invariant(record_property):
    outcomes = campaign(0, SEEDS, report=lambda line: None)
    record_property("told", summary(outcomes))
    assert len(outcomes) == SEEDS
    assert [o for o in outcomes if o.violation] == []
    assert sum(o.crashes for o in outcomes) > 2 * SEEDS // 2, "the weather was too calm to prove anything"
    assert sum(o.fills for o in outcomes) > SEEDS


def test_the_same_seed_gives_the_same_run():
    assert play(7) == play(7)
