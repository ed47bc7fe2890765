"""Streams that are cut, silent, doubled or out of order change no money; an exchange that is down is alone.

Judged by the exchanges' own ledgers, to the last unit.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import app
import demo
from ems.core.records import Phase
from oms_client.errors import OMSError
from simulator.faults import Rule
from tests.e2e.test_portfolios import World as Ledgers
from tests.limits import without_limits
from tests.venues.ambiguity import PART, QUANTITY, RESTING, World
from tests.venues.listed import EXCHANGES

D = Decimal
OWN = ("orders", "fills", "balances")
WAIT_S = 60.0

STREAMS = {
    "cut": (Rule(action="cut", kinds=OWN, count=3),),
    "silent": (Rule(action="silence", kinds=OWN, seconds=(4, 4), count=2),),
    "lost": (Rule(action="lost", kinds=OWN, probability=0.5),),
    "doubled": (Rule(action="duplicate", kinds=OWN),),
    "out of order": (Rule(action="reorder", kinds=OWN, probability=0.5),),
    "late": (Rule(action="late", kinds=OWN, seconds=(0.5, 3.0)),),
}


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_a_bad_stream_changes_no_balance_and_loses_no_fill(exchange: str) -> None:
    async def all_of_them() -> dict[str, BaseException | None]:
        ends = await asyncio.gather(
            *(_trade_on_a_bad_stream(exchange, rules) for rules in STREAMS.values()), return_exceptions=True
        )
        return dict(zip(STREAMS, ends, strict=True))

    ended = asyncio.run(all_of_them())
    assert ended == dict.fromkeys(STREAMS)


async def _trade_on_a_bad_stream(exchange: str, rules: tuple[Rule, ...]) -> None:
    async with World(exchange) as world:
        venue = world.venue
        venue.strike(*rules)
        partly = await world.place("partly filled")
        venue.sell_into(RESTING, PART)
        taken = await world.place("", taken=True)
        wholly = await world.place("")
        await world.until(
            lambda: bool(world.truth(wholly)) and world.truth(taken), WAIT_S, "the orders did not arrive"
        )
        venue.sell_into(RESTING, PART + QUANTITY)  # more of the first, and of the last what is left
        venue.sell_into(RESTING, QUANTITY)
        for order_id in (partly, taken, wholly):
            await world.until(
                lambda one=order_id: world.order(one).phase is Phase.SETTLED,
                WAIT_S,
                f"{order_id} was not settled while the stream was bad",
            )
        assert any(strike.target in OWN for strike in venue.server.faults.log), "nothing went wrong"
        venue.strike()
        for order_id in (partly, taken, wholly):
            assert world.order(order_id).status == "filled"
            (kept,) = world.truth(order_id)
            booked = sorted((f.fill_id, f.price, f.quantity, f.fee) for f in world.store.fills([order_id]))
            assert sorted((p, q, fee) for _, p, q, fee in booked) == sorted(
                (f.price, f.quantity, f.fee) for f in kept.fills
            )
            assert len({fill_id for fill_id, *_ in booked}) == len(booked)
        assert world.witness.wrong == []
        fills = world.store.fills(list(world.store.orders))
        base, quote = venue.market.base, venue.market.quote
        ours = {base: D(5), quote: D(200_000)}
        for fill in fills:
            ours[base] += fill.quantity
            ours[quote] -= fill.price * fill.quantity
            ours[fill.fee_currency] -= fill.fee
        held = venue.exchange.balances(venue.account)
        assert {currency: sum(held[currency]) for currency in ours} == ours
        deadline = time.monotonic() + WAIT_S
        while not (await world.gateway.fetch_health())["stream_up"]:
            assert time.monotonic() < deadline, "the stream did not come back"
            await asyncio.sleep(0.2)


# --- One exchange of three falls over ---

THREE = ("binance", "kraken", "okx")


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Ledgers]:
    opened = demo.open_world(app, tmp_path, names=THREE)
    without_limits(opened)
    yield Ledgers(opened, dict.fromkeys(THREE, app.PAPER_DEPOSITS))
    opened.close()


def test_an_outage_of_one_exchange_leaves_the_others_trading(three: Ledgers) -> None:
    client = three.client("bot")

    def told(exchange: str) -> dict[str, Any]:
        (account,) = (one for one in client.check_health()["accounts"] if one["exchange"] == exchange)
        return account

    down = three.exchanges["kraken"]
    resting = client.limit_order("kraken", "buy", "ETH/USDT", "0.01", "1500")
    down.await_(down.go_down())
    for exchange in ("binance", "okx"):
        done = client.smart_order(exchange, "USDT", "ETH", "100", time_limit="2")
        assert (done.outcome, done["exchange"]) == ("done", exchange), done
    with pytest.raises(OMSError) as refused:
        client.smart_order("kraken", "USDT", "ETH", "100", time_limit="2")
    assert refused.value.code in ("EXCHANGE_UNAVAILABLE", "VENUE_UNAVAILABLE"), refused.value
    there = told("kraken")
    assert not there["venue"]["reachable"] and there["venue"]["problems"], there
    assert all(told(exchange)["venue"]["reachable"] for exchange in ("binance", "okx"))
    assert not down.exchange.accounts["paper"].fills, "nothing was sent there"

    down.await_(down.go_up())
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            done = client.smart_order("kraken", "USDT", "ETH", "100", time_limit="2")
            break
        except OMSError as error:
            assert error.code in ("EXCHANGE_UNAVAILABLE", "VENUE_UNAVAILABLE"), error
            assert time.monotonic() < deadline
            time.sleep(0.5)
    assert done.outcome == "done"
    assert client.get_order(resting.order_id).status == "submitted", "what rested is found again"
    client.cancel_all_orders()
    deadline = time.monotonic() + WAIT_S
    while client.get_order(resting.order_id).status != "canceled":
        assert time.monotonic() < deadline
        time.sleep(0.2)
    three.the_ledgers_agree()
