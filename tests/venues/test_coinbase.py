"""The gateway against a simulated Coinbase: what every exchange is held to, and what only Coinbase does."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.venues import test_on_simulator as contract

STORIES: list[Callable[[str], None]] = [
    contract.test_readings_tell_a_refusal_from_a_silence,
    contract.test_a_halted_market_says_so,
    contract.test_hidden_history_is_not_found_and_fills_still_tell,
    contract.test_a_cut_stream_comes_back_and_says_so,
    contract.test_a_venue_that_falls_over_and_gets_up,
    contract.test_a_book_follows_the_venue,
    contract.test_a_book_comes_back_after_a_cut,
    contract.test_many_changes_become_few_books_and_the_last_one_wins,
]


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__.removeprefix("test_"))
def test_coinbase_is_held_to_what_every_exchange_is(story: Callable[[str], None]) -> None:
    story("coinbase")
