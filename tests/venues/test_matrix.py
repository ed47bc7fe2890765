"""Every capability at every exchange: what works is tried, what does not is refused in words, and listed."""

from __future__ import annotations

import asyncio

import pytest

from tests.venues.listed import EXCHANGES
from tests.venues.matrix import CAPABILITIES, LACKING, Cell, lines, matrix_of, wrong


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_every_capability(exchange: str) -> None:
    found = {exchange: asyncio.run(matrix_of(exchange))}
    print(lines(found))
    assert wrong(found) == []
    assert list(found[exchange]) == list(CAPABILITIES)


def test_the_tables_speak_of_what_there_is() -> None:
    assert [place for place in LACKING if place[0] not in EXCHANGES or place[1] not in CAPABILITIES] == []
    assert all(lack.why and lack.words for lack in LACKING.values())


def test_a_lie_in_the_table_is_found_out() -> None:
    assert wrong({"kraken": {"balances": Cell("refused", "no")}}) == ["kraken, balances: refused (no)"]
    assert wrong({"gemini": {"market order": Cell("works")}}) == ["gemini, market order: works ()"]
    (told,) = wrong({"gemini": {"market order": Cell("absent", "other words")}})
    assert told.startswith("gemini, market order: said 'other words'")
