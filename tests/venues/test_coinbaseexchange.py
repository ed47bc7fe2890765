"""The gateway against a simulated Coinbase Exchange: what all are held to, and what only this one does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from decimal import Decimal
from typing import Any

import pytest

from ems.core.messages import (
    Refusal,
)
from ems.venues.dialects import DIALECTS
from tests.venues import test_on_simulator as contract

NAME = "coinbaseexchange"
COINBASE = DIALECTS[NAME]


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(story)


def D(text: str) -> Decimal:
    return Decimal(text)


# --- What every exchange is held to ---

STORIES: list[Callable[[str], None]] = [
    contract.test_markets_come_with_rules_and_the_accounts_own_fees,
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
def test_it_is_held_to_what_every_exchange_is(story: Callable[[str], None]) -> None:
    story(NAME)


def test_a_silent_book_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    contract.test_a_silent_book_is_asked_for(NAME, monkeypatch)


@pytest.mark.parametrize(
    ("case", "options", "refusal"),
    [
        ("more than there is", {"quantity": "5", "price": "19000"}, Refusal.INSUFFICIENT_FUNDS),
        ("worth too little", {"quantity": "0.0002", "price": "19000"}, Refusal.MIN_SIZE),
        ("post only that would take", {"price": "20010", "post_only": True}, Refusal.POST_ONLY_WOULD_CROSS),
        ("off the tick", {"quantity": "0.1", "price": "19000.05"}, Refusal.LOT_TICK),
        ("off the lot", {"quantity": "0.10005", "price": "19000"}, Refusal.LOT_TICK),
    ],
)
def test_a_venues_own_no(case: str, options: dict[str, Any], refusal: Refusal) -> None:
    contract.test_a_venues_own_no(NAME, case, options, refusal)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("fault", contract.CREATE_FAULTS)
def test_a_create_that_goes_wrong(when: Any, fault: str) -> None:
    contract.test_a_create_that_goes_wrong(NAME, when, fault)


@pytest.mark.parametrize("kind", ["orders", "trades", "open_orders"])
@pytest.mark.parametrize(
    "fault", ["refuse", "hang", "empty", "html", "null", "object", "half", "status 503", "rate_limit"]
)
def test_a_question_that_goes_wrong_is_never_an_answer(kind: str, fault: str) -> None:
    contract.test_a_question_that_goes_wrong_is_never_an_answer(NAME, kind, fault)
