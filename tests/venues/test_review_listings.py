"""What a second look at exchanges' own lists found: rows that were lost, or kept as what they were once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ems.core.messages import Side
from ems.core.records import VenueOrder
from ems.histories import FIRST, UNSETTLED, Histories
from ems.store import MemoryStore, Subject, VenueFilter
from ems.venues.dialects import DIALECTS
from ems.venues.gateway import Offer, TooMuch, VenueUnavailable
from ems.venues.limiter import Limiter, Priority, TooBusy
from ems.venues.translation import Unreadable, listed_order
from server.store.migrate import upgrade
from server.store.sql import SqlStore
from simulator.faults import Rule
from tests.venues.test_listings import HOUR, lists_orders, place, run, told, world_of

D = Decimal
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
LATER = UNSETTLED + timedelta(seconds=1)
ended_apart = pytest.mark.parametrize(
    "exchange",
    sorted(name for name, one in DIALECTS.items() if one.past_orders and one.past_orders.ended_apart),
)


# --- Against the simulated exchanges -------------------------------------------------------------


@ended_apart
def test_an_order_that_ended_just_before_it_was_looked_for_is_not_lost_for_ever(exchange: str) -> None:
    """It was open no more and not yet among those that ended: lists lag (RELIABILITY.md R5)."""

    async def story() -> None:
        async with world_of(exchange) as world:
            place(world.venue, 3 * HOUR, side="sell", price="20000", quantity="0.1")
            until = datetime.now(UTC) - HOUR
            world.venue.strike(Rule(action="hide_closed"))
            assert (await world.orders(until=until)).rows == []
            world.venue.strike()
            world.ahead = LATER
            assert [one[4] for one in told(await world.orders(until=until))] == ["filled"]
            world.venue.strike(Rule(action="status", status=503))
            world.ahead = 2 * LATER
            kept = await world.orders(until=until)  # read twice, it is believed
            assert kept.complete and len(kept.rows) == 1

    run(story())


@lists_orders
def test_an_order_the_exchange_has_forgotten_is_not_open_for_ever(exchange: str) -> None:
    async def story() -> None:
        async with world_of(exchange) as world:
            order = place(world.venue, 3 * HOUR)
            assert [one[4] for one in told(await world.orders())] == ["submitted"]
            venue = world.venue
            venue.exchange.cancel_order(venue.account, order.order_id, now=venue.server.now())
            venue.strike(
                Rule(action="hide_closed")
            )  # as some do for good with what was canceled without a fill
            await world.orders()
            world.ahead = LATER
            page = await world.orders()
            assert [(one.order.status, one.order.final) for one in page.rows] == [("unknown", True)]

    run(story())


@lists_orders
def test_a_row_that_cannot_be_read_is_the_exchanges_trouble_and_not_an_internal_error(
    exchange: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        async with world_of(exchange) as world:
            place(world.venue, HOUR, side="sell", price="20000", quantity="0.1")
            parse = world.gateway._ccxt.parse_order

            def without_side(row: Any, market: Any = None) -> Any:
                return {**parse(row, market), "side": None}

            monkeypatch.setattr(world.gateway._ccxt, "parse_order", without_side)
            with pytest.raises(VenueUnavailable, match="cannot be read"):
                await world.orders()

    run(story())


def test_krakens_list_of_too_many_orders_is_not_read_to_be_thrown_away() -> None:
    """A page costs three seconds of the key's counter: twenty of them are more than anybody waits."""

    async def story() -> None:
        async with world_of("kraken") as world:
            for number in range(1, 1004):
                place(world.venue, number * timedelta(minutes=7), cancel=True)
            now = datetime.now(UTC)
            world.venue.strike(Rule(action="status", status=503, kinds=("closed_orders",), skip=1))
            with pytest.raises(TooMuch, match="1003 orders"):
                await world.gateway.fetch_past_orders(None, now - 7 * DAY, now)

    run(story())


def test_what_an_order_for_money_cost_is_what_the_exchange_says_to_the_last_digit() -> None:
    """774.495089999999999999999999883 was shown for 774.49509."""

    async def story() -> None:
        async with world_of("coinbase") as world:
            venue, ccxt = world.venue, world.gateway._ccxt
            venue.set_book(ask="20011.7", size="0.0123")
            await ccxt.v3PrivatePostBrokerageOrders(
                {
                    "client_order_id": "by-hand",
                    "product_id": ccxt.market_id(venue.symbol),
                    "side": "BUY",
                    "order_configuration": {"market_market_ioc": {"quote_size": "777.7"}},
                }
            )
            (filled,) = venue.exchange.orders.values()
            world.ahead = timedelta(seconds=2)
            (one,) = (await world.orders()).rows
            assert one.order.quote_filled == sum(fill.quote_quantity for fill in filled.fills)

    run(story())


LISTED: dict[str, Any] = {
    "id": "1",
    "symbol": "BTC/USDT",
    "timestamp": 1_772_366_400_000,
    "side": "buy",
    "type": "market",
    "status": "closed",
    "amount": D("0.01"),
    "filled": D("0.01"),
}


def test_an_old_order_whose_cost_binance_does_not_know_hides_no_others() -> None:
    """It says so with a cost of minus one, which was an error for the whole day."""
    unknown = {"cost": D(-1), "average": D(-100), "price": D(-100)}
    order = listed_order("binance", "default", "paper", {**LISTED, **unknown})
    assert (order.quote_filled, order.price, order.filled_quantity) == (None, None, D("0.01"))
    with pytest.raises(Unreadable):
        listed_order("binance", "default", "paper", {**LISTED, "filled": D(-1)})


def test_an_amount_with_more_digits_than_can_be_kept_hides_no_others(tmp_path: Path) -> None:
    """The database refused it, and the caller was told that the cursor was wrong."""
    third = D(1) / 3
    row = {**LISTED, "amount": third, "filled": third, "average": D("0.00001") / 7, "price": D("0.00001") / 7}
    order = listed_order("binance", "default", "paper", row)
    assert order.quantity == order.filled_quantity == D("0.333333333333333333")
    upgrade(url := f"sqlite:///{tmp_path / 'oms.sqlite'}")
    store = SqlStore(url)
    subject = Subject(exchange="binance", account="default", mode="paper", what="orders")
    store.keep(subject, [order], [])
    span = (order.created_at, order.created_at + HOUR)
    wanted = VenueFilter(
        exchange="binance", account="default", mode="paper", user=None, since=span[0], until=span[1]
    )
    assert [one.order for one in store.listed_orders(wanted)[0]] == [order]
    store.close()
    with pytest.raises(Unreadable):
        listed_order("binance", "default", "paper", {**LISTED, "amount": D("1e20")})


@lists_orders
def test_a_long_past_is_not_read_at_the_cost_of_looking_up_an_order(exchange: str) -> None:
    """At Kraken a look-up waited three seconds for each page that stood before it."""

    async def story() -> None:
        dialect = DIALECTS[exchange]
        budget = Limiter(dialect.limits.shapes).of("key")
        listed = "past_orders" if "past_orders" in dialect.limits.costs else "closed_orders"
        pages = 0
        with pytest.raises(TooBusy):
            while pages < 1000:
                turn = await budget.acquire(Priority.HISTORY, dialect.limits.costs_of(listed), 0)
                turn.over(sent=True)
                pages += 1
        assert pages > 0
        for what in ("order", "order"):
            (await budget.acquire(Priority.QUERY, dialect.limits.costs_of(what), 0)).over(sent=True)

    run(story())


# --- Against a list that is written by hand ------------------------------------------------------


class List:
    """A gateway's list of orders; each is (placed at, ended at or None), its number its place."""

    exchange, account, mode = "okx", "default", "paper"

    def __init__(self, *orders: tuple[datetime, datetime | None], page: int = 10**6, apart: bool = True):
        self.now = NOON
        self.orders, self.page = list(orders), page
        self.past_orders_offer = Offer(
            at_once=30 * DAY, reach=None, per_market=False, misses="", ended_apart=apart
        )
        self.asked: list[timedelta] = []
        self.fails: list[Exception] = []
        self.store = MemoryStore()
        self.histories = Histories(
            self.store,
            {(self.exchange, self.account): self},  # type: ignore[dict-item]
            self.wait,
            lambda: self.now,
        )

    def wait(self, work: Any, timeout_s: float) -> Any:
        try:
            work.send(None)
        except StopIteration as done:
            return done.value
        raise AssertionError("it waits")

    async def fetch_past_orders(
        self, symbol: str | None, since: datetime, until: datetime
    ) -> list[VenueOrder]:
        self.asked.append(until - since)
        if self.fails:
            raise self.fails.pop(0)
        rows = [
            VenueOrder(
                exchange=self.exchange,
                account=self.account,
                mode=self.mode,
                symbol="BTC/USDT",
                exchange_order_id=str(number),
                client_order_id=None,
                side=Side.BUY,
                order_type="limit",
                status="submitted" if ended is None or ended > self.now else "filled",
                price=D(1),
                quantity=D(1),
                filled_quantity=D(0),
                quote_filled=None,
                created_at=placed,
                final=ended is not None and ended <= self.now,
            )
            for number, (placed, ended) in enumerate(self.orders)
            if since <= placed < until
        ]
        if len(rows) > self.page:
            raise TooMuch(f"more than {self.page}")
        return rows

    def ask(self, **wanted: Any) -> Any:
        given = {"user": None, "symbol": None, "since": None, "until": None, "limit": 1000, "cursor": None}
        return self.histories.orders(self.exchange, self.account, **{**given, **wanted})

    def covered(self) -> list[Any]:
        return self.store.covered(Subject(exchange="okx", account="default", mode="paper", what="orders"))


def test_reading_goes_on_where_it_stopped_though_nothing_is_believed_yet() -> None:
    """What was read once is not read again before it has to be: else a long past would never be through."""
    venue = List((NOON - 50 * DAY, NOON - 50 * DAY))
    venue.fails = [VenueUnavailable("busy")]
    with pytest.raises(VenueUnavailable):
        venue.ask(since=NOON - 60 * DAY)
    page = venue.ask(since=NOON - 60 * DAY)
    assert page.complete and len(page.rows) == 1 and venue.asked == [30 * DAY] * 3
    venue.now += timedelta(minutes=1)
    assert venue.ask(since=NOON - 60 * DAY).complete
    assert venue.asked[3:] == [UNSETTLED + timedelta(minutes=1)] and venue.covered() == []
    venue.now += LATER
    venue.ask(since=NOON - 60 * DAY)
    assert venue.covered() == [(NOON - 60 * DAY, NOON + timedelta(minutes=1) - UNSETTLED)]


def test_an_order_that_rested_long_is_read_until_it_has_ended_twice() -> None:
    placed = NOON - 5 * DAY
    venue = List((placed, NOON + HOUR))
    for _ in range(5):
        assert [one.order.status for one in venue.ask().rows] == ["submitted"]
        venue.now += LATER
    assert all(until <= placed for _, until in venue.covered())
    venue.now = NOON + HOUR + LATER
    hidden, venue.orders = venue.orders, []
    venue.ask()
    assert all(until <= placed for _, until in venue.covered())
    venue.orders = hidden
    venue.now += LATER
    assert [one.order.status for one in venue.ask().rows] == ["filled"]


def test_a_time_that_takes_too_long_is_asked_for_in_shorter_pieces_the_next_time() -> None:
    """It gave up after fifteen seconds, began with the same month when asked again, and so for ever."""
    venue = List((NOON - 2 * DAY, NOON - 2 * DAY), apart=False)
    venue.fails = [TimeoutError(), TimeoutError()]
    for _ in range(2):
        with pytest.raises(VenueUnavailable):
            venue.ask(since=NOON - 8 * DAY)
    assert venue.ask(since=NOON - 8 * DAY).complete
    assert venue.asked == [8 * DAY, 4 * DAY, 2 * DAY, 4 * DAY, 2 * DAY]


def test_full_pages_are_not_run_into_again_and_again() -> None:
    venue = List(*((NOON - number * HOUR, NOON) for number in range(1, 24 * 8)), page=48, apart=False)
    page = venue.ask(since=NOON - 8 * DAY)
    assert page.complete and len(page.rows) == 24 * 8 - 1
    assert len(venue.asked) < 16


def test_the_beginning_of_time_is_asked_for_no_earlier_than_there_was_anything() -> None:
    venue = List((NOON - HOUR, NOON - HOUR))
    long_ago = datetime.min.replace(tzinfo=UTC)
    page = venue.ask(since=long_ago)
    assert (page.since, page.complete, len(page.rows)) == (FIRST, True, 1)
    nothing = venue.ask(until=long_ago)
    assert (nothing.rows, nothing.complete) == ([], True)
    in_the_future = venue.ask(since=NOON + DAY)
    assert (in_the_future.rows, in_the_future.complete) == ([], True)
    turned_round = venue.ask(since=NOON, until=NOON - DAY)
    assert (turned_round.rows, turned_round.complete) == ([], True)


def test_statistics_with_a_gap_do_not_call_themselves_complete() -> None:
    """The newest stretch failed, and went well when the second page was wanted."""
    venue = List(*((NOON - DAY - number * timedelta(minutes=1), NOON - DAY) for number in range(1500)))
    venue.ask(until=NOON - HOUR)
    venue.fails = [VenueUnavailable("busy")]
    stats = venue.histories.stats("okx", "default", user=None, symbol=None, since=None, until=None)
    assert (stats["orders"], stats["complete"]) == (1500, False)
    assert len(venue.asked) == 2  # and the exchange is not asked once more for every page
