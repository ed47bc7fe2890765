"""The replay benchmark itself: readers, queue, venue, wire, figures, and that nobody sees the future."""

from __future__ import annotations

import gzip
import json
import math
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest

from ems.algos.params import PROFILES
from ems.algos.walker import decide
from ems.core.records import Phase
from tests.bench import walker as command
from tests.bench.replay import cases, feed, figures
from tests.bench.replay.baselines import BASELINES, Join
from tests.bench.replay.cases import Case, Key, Settings, market_of
from tests.bench.replay.feed import BOOK, ORDERS, QUOTE, SECOND, TOP, TRADE, Event, Recording
from tests.bench.replay.play import Latency, Play
from tests.bench.replay.trader import GRACE, Machine, Outcome, Task
from tests.bench.replay.venue import (
    MODELS,
    OPTIMISTIC,
    PROBABLE,
    RISK_AVERSE,
    Line,
    Trade,
    Venue,
    front_after,
)

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"
BID, ASK = False, True
T0 = 1_700_000_000 * SECOND


def at(seconds: float) -> int:
    return T0 + round(seconds * SECOND)


def recording(events: list[Event], **fields: Any) -> Recording:
    """A recording of these events: one tick is 0.01, one lot 0.001."""
    values: dict[str, Any] = {
        "name": "test-spot_ETHUSDT_20240101T0000Z",
        "venue": "test-spot",
        "symbol": "ETH/USDT",
        "tick": Decimal("0.01"),
        "lot": Decimal("0.001"),
        "min_quantity": Decimal("0.001"),
        "min_notional": Decimal(5),
        "detail": "levels",
        "events": events,
        "volume": 100_000_000,
        "sigma_day": 0.03,
        "touch_size": 500,
        "half_spread": 1,
    }
    return Recording(**{**values, **fields})


def book(seconds: float, bid: int, ask: int, size: int = 1000, levels: int = 30) -> Event:
    """A whole book, levels a tick apart; prices a recording left behind are the caller's to remove."""
    changes = [(BID, bid - step, size) for step in range(levels)]
    changes += [(ASK, ask + step, size) for step in range(levels)]
    return (at(seconds), BOOK, tuple(changes))


def trade(seconds: float, price: int, lots: int, *, buys: bool, maker: int = -1) -> Event:
    return (at(seconds), TRADE, price, lots, buys, maker, at(seconds))


def venue(*events: Event, **fields: Any) -> Venue:
    """A venue that has played these events, of a recording of ten minutes."""
    made = Venue(recording([*events, trade(600, 100, 1, buys=True)], **fields))
    for event in events:
        made.play(event)
    return made


def rest(market: Venue, line: Line, price: int, lots: int, *, is_buy: bool = True, key: str = "1") -> None:
    answer = market.new(
        line, key, is_buy=is_buy, price=price, quantity=lots, rests=True, post_only=True, now=market.now
    )
    assert answer.resting and not answer.trades


def wandering(seconds: float, seed: int = 7) -> list[Event]:
    """A market that wanders: ten books a second, sizes that breathe, trades at and beyond the touch."""
    random = Random(seed)
    bid, spread = 200_000, 2
    shown: dict[tuple[bool, int], int] = {}
    events: list[Event] = []
    for step in range(int(seconds * 10)):
        bid += random.choice((-1, 0, 0, 0, 1))
        spread = random.choice((1, 2, 2, 3))
        wanted = {(BID, bid - k): random.randint(300, 4000) for k in range(25)}
        wanted |= {(ASK, bid + spread + k): random.randint(300, 4000) for k in range(25)}
        changes = [(side, price, 0) for side, price in shown if (side, price) not in wanted]
        changes += [(side, price, size) for (side, price), size in wanted.items()]
        shown = wanted
        events.append((at(step / 10), BOOK, tuple(changes)))
        for _ in range(random.randint(0, 2)):
            buys = random.random() < 0.5
            deep = random.choice((0, 0, 0, 1))
            price = bid + spread + deep if buys else bid - deep
            events.append(trade(step / 10 + 0.05, price, random.randint(100, 3000), buys=buys))
    return events


# --- Readers ----------------------------------------------------------------------------------------


def write(path: Path, text: str) -> Path:
    with gzip.open(path, "wt") as stream:
        stream.write(text)
    return path


def binance(path: Path) -> Path:
    def depth(ms: int, first: int, last: int, bids: list[list[str]], asks: list[list[str]]) -> dict[str, Any]:
        return {
            "stream": "x@depth@100ms",
            "data": {"e": "depthUpdate", "E": ms, "U": first, "u": last, "b": bids, "a": asks},
        }

    def quote(update: int, bid: str, bid_size: str, ask: str, ask_size: str) -> dict[str, Any]:
        return {
            "stream": "x@bookTicker",
            "data": {"u": update, "b": bid, "B": bid_size, "a": ask, "A": ask_size},
        }

    messages = [
        (0, depth(1000, 1, 5, [["9.0", "1"]], [])),  # older than the snapshot: dropped
        (
            1,
            {
                "lastUpdateId": 10,
                "bids": [["10.00", "2.0"], ["9.99", "3.0"]],
                "asks": [["10.02", "1.0"], ["10.03", "5.0"]],
            },
        ),
        (100_000, depth(1100, 11, 12, [["10.00", "1.5"]], [])),
        (130_000, quote(12, "10.00", "9.9", "10.02", "9.9")),  # the difference before it says the same
        (
            150_000,
            {
                "stream": "x@trade",
                "data": {"e": "trade", "E": 1151, "T": 1150, "p": "10.02", "q": "1.0", "m": False},
            },
        ),
        (151_000, quote(14, "10.01", "0.4", "10.03", "5.0")),
        (200_000, depth(1200, 13, 14, [["10.01", "0.4"]], [["10.02", "0"]])),
    ]
    lines = [json.dumps({"recv_us": received, "raw": raw}) for received, raw in messages]
    return write(path / "binance-spot_XUSDT_20240101T0000Z_raw.jsonl.gz", "\n".join(lines) + "\n")


def test_a_binance_capture_is_rebuilt_with_quotes_between_its_differences(tmp_path: Path) -> None:
    binance(tmp_path)
    ((name, files),) = feed.find(tmp_path)
    read = feed.load(name, files, tmp_path / "cache")
    assert (read.symbol, read.tick, read.lot) == ("X/USDT", Decimal("0.01"), Decimal(1))
    kinds = [(event[0], event[1]) for event in read.events]
    quoted = 1100_000 - 100_000 + 151_000 + feed.QUOTE_LATE  # moved as the differences were, and a little
    assert kinds == [
        (1100_000, BOOK),
        (1100_000, BOOK),
        (1150_000, TRADE),
        (quoted, QUOTE),
        (1200_000, BOOK),
    ]
    assert read.events[2][6] == 1151_000  # published a little after it happened
    assert read.events[3][2:] == (1001, 0, 1003, 5)
    again = feed.load(name, files, tmp_path / "cache")
    assert again == read


def test_a_bitstamp_capture_keeps_every_order_and_hides_marketable_ones(tmp_path: Path) -> None:
    head = "id,timestamp,exchange_timestamp,price,volume,action,direction\n"
    rows = [
        "a,1,1000,100000,1.0,created,bid",
        "b,1,1000,100010,2.0,created,ask",
        "c,2,2000,100000,0.5,created,bid",
        "d,3,3000,100020,0.25,created,bid",  # marketable: on its way through the asks
        "b,3,3001,100010,1.75,changed,ask",
        "d,3,3001,100020,0,deleted,bid",
        "a,5,5000,100000,0,deleted,bid",
        "b,9000,9000,100010,1.75,deleted,ask",
    ]
    write(tmp_path / "bitstamp_BTCUSD_x_l3_orders.csv.gz", head + "\n".join(rows) + "\n")
    trades = "trade_id,timestamp,exchange_timestamp,price,amount,buy_order_id,sell_order_id,side\n"
    trades += "1,3,3001,100010,0.25,d,b,buy\n"
    write(tmp_path / "bitstamp_BTCUSD_x_trades.csv.gz", trades)
    ((name, files),) = feed.find(tmp_path)
    read = feed.load(name, files)
    assert read.detail == "orders" and read.tick == 10
    price, one = 10_000, int(1 / read.lot)
    assert read.events == [
        (1_000_000, ORDERS, ((BID, price, one), (ASK, price + 1, 2 * one)), (), 2),
        (2_000_000, ORDERS, ((BID, price, one * 3 // 2),), (), 3),
        (3_001_000, TRADE, price + 1, one // 4, True, 2, 3_001_000),
        (3_001_000, ORDERS, ((ASK, price + 1, one * 7 // 4),), ((ASK, price + 1, one // 4, 2),), 3),
        (5_000_000, ORDERS, ((BID, price, one // 2),), ((BID, price, one, 1),), 3),
    ]


def test_best_prices_by_the_second_are_read_with_their_trades(tmp_path: Path) -> None:
    tops = "time_seconds,bid_price_bid_size,ask_price_ask_size\n10,20.00_1.5,20.10_2\n11,20.01_1.5,20.10_2\n"
    write(tmp_path / "gemini_ETHUSD_20210701_bbo_1s.csv.gz", tops)
    trades = "time_seconds,price,size,is_buyer_maker\n10.5,20.10,0.5,0\n"
    write(tmp_path / "gemini_ETHUSD_20210701_trades.csv.gz", trades)
    ((name, files),) = feed.find(tmp_path)
    read = feed.load(name, files)
    assert [event[:2] for event in read.events] == [
        (10 * SECOND, TOP),
        (10_500_000, TRADE),
        (11 * SECOND, TOP),
    ]
    assert read.events[1][4] is True and read.min_quantity == Decimal("0.001")


def test_tables_of_book_rows_are_read_where_there_is_no_capture(tmp_path: Path) -> None:
    place = tmp_path / "normalized"
    place.mkdir()
    head = (
        "ts_us,last_update_id,bid_px_1,bid_qty_1,bid_px_2,bid_qty_2,ask_px_1,ask_qty_1,ask_px_2,ask_qty_2\n"
    )
    rows = [
        "1000000,1,10.00,1,9.99,2,10.02,3,10.03,4",
        "1250000,2,10.01,5,10.00,1,10.02,2,,",  # 9.99 is out of sight, 10.03 as well
        "1500000,3,9.99,2,9.98,7,10.02,2,10.04,1",
    ]
    stem = "binance-spot_XUSDT_20240101T0000Z"
    write(place / f"{stem}_book20_250ms.csv.gz", head + "\n".join(rows) + "\n")
    write(place / f"{stem}_book10_10s.csv.gz", head + rows[0] + "\n")
    trades = "exch_us,recv_us,trade_id,price,qty,taker_side\n1250000,0,7,10.02,1,buy\n"
    write(place / f"{stem}_trades.csv.gz", trades)
    ((name, files),) = feed.find(tmp_path)
    read = feed.load(name, files)
    assert read.events == [
        (999_999, BOOK, ((BID, 1000, 1), (BID, 999, 2), (ASK, 1002, 3), (ASK, 1003, 4))),
        (1_249_999, BOOK, ((BID, 1001, 5), (ASK, 1002, 2))),
        (1_250_000, TRADE, 1002, 1, True, -1, 1_250_000),
        (
            1_499_999,
            BOOK,
            ((BID, 1000, 0), (BID, 1001, 0), (BID, 998, 7), (ASK, 1003, 0), (ASK, 1004, 1)),
        ),
    ]
    binance(tmp_path)  # the capture itself tells more
    assert [files for _, files in feed.find(tmp_path)] == [[tmp_path / f"{stem}_raw.jsonl.gz"]]


def test_a_folder_without_recordings_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--data", str(tmp_path)]) == 1
    assert "no recording" in capsys.readouterr().out


# --- The queue --------------------------------------------------------------------------------------

FRONTS = [
    # model, front, before, after -> front
    (RISK_AVERSE, 600, 1000, 700, 600),  # all of it may have left behind us
    (RISK_AVERSE, 600, 1000, 500, 500),  # no more is in front of us than there is
    (OPTIMISTIC, 600, 1000, 700, 300),
    (OPTIMISTIC, 100, 1000, 700, 0),
    (PROBABLE, 1000, 1000, 700, 700),  # nobody is behind us: all of it left in front
    (PROBABLE, 500, 1000, 800, 500 - 200 / 8),  # (500 / 1000)**3 of it
    (PROBABLE, 0, 1000, 700, 0),
    (PROBABLE, 950, 1000, 600, 600),  # only 50 could leave behind us
]


@pytest.mark.parametrize(("model", "front", "before", "after", "left"), FRONTS)
def test_what_is_in_front_after_cancellations(
    model: str, front: float, before: int, after: int, left: float
) -> None:
    assert front_after(model, front, before, after) == pytest.approx(left)


def test_a_trade_at_our_price_meets_who_was_there_before_us() -> None:
    market, line = venue(book(0, 100, 102)), Line()
    rest(market, line, 100, 50)
    market.play(trade(1, 100, 1000, buys=False))
    assert line.trades == []
    market.play(trade(2, 100, 30, buys=False))
    market.play(trade(3, 100, 30, buys=False))
    assert [(fill.quantity, fill.price, fill.maker) for fill in line.trades] == [
        (30, 100, True),
        (20, 100, True),
    ]
    assert line.orders == {}


def test_a_trade_that_the_next_book_shows_is_not_also_a_cancellation() -> None:
    for model in MODELS:
        market, line = venue(book(0, 100, 102)), Line(model=model)
        rest(market, line, 100, 50)
        market.play(trade(1, 100, 400, buys=False))
        market.play((at(1.1), BOOK, ((BID, 100, 600),)))
        assert line.orders["1"].front == 600


def test_a_trade_beyond_our_price_fills_up_to_its_size() -> None:
    market, line = venue(book(0, 100, 102)), Line()
    rest(market, line, 100, 50)
    market.play(trade(1, 99, 20, buys=False))
    assert [fill.quantity for fill in line.trades] == [20] and line.trades[0].price == 100


def test_two_orders_of_one_parent_share_a_trade() -> None:
    market, line = venue(book(0, 100, 103)), Line()
    rest(market, line, 101, 50, key="1")
    rest(market, line, 102, 50, key="2")
    market.play(trade(0.1, 90, 60, buys=False))
    assert [(fill.price, fill.quantity) for fill in line.trades] == [(102, 50), (101, 10)]


def test_a_quote_through_our_price_fills_once_for_each_newly_shown_size() -> None:
    market, line = venue(book(0, 100, 102)), Line()
    rest(market, line, 101, 100)
    for seconds, size, filled in ((1, 30, 30), (2, 30, 30), (3, 45, 45), (4, 10, 45), (5, 25, 60)):
        market.play((at(seconds), BOOK, ((BID, 100, 0), (ASK, 101, size))))
        assert sum(fill.quantity for fill in line.trades) == filled


def test_a_post_only_order_that_would_cross_is_refused_and_leaves_nothing() -> None:
    market, line = venue(book(0, 100, 102)), Line()
    answer = market.new(
        line, "1", is_buy=True, price=102, quantity=10, rests=True, post_only=True, now=market.now
    )
    assert answer.crossed and not answer.trades and line.orders == {} and line.trades == []


def test_a_recorded_queue_is_followed_order_by_order() -> None:
    market = venue((at(0), ORDERS, ((BID, 100, 30), (ASK, 102, 30)), (), 3), detail="orders")
    line = Line(model=OPTIMISTIC)  # the model is not asked
    rest(market, line, 100, 10)
    market.play((at(1), ORDERS, ((BID, 100, 50),), (), 4))  # somebody joins behind us
    market.play((at(2), ORDERS, ((BID, 100, 40),), ((BID, 100, 10, 4),), 4))  # and takes a part back
    assert line.orders["1"].front == 30
    market.play(trade(3, 100, 30, buys=False, maker=2))
    assert line.trades == []
    market.play((at(3), ORDERS, ((BID, 100, 10),), ((BID, 100, 30, 2),), 4))
    assert line.orders["1"].front == 0
    market.play(trade(4, 100, 4, buys=False, maker=4))
    assert [fill.quantity for fill in line.trades] == [4]


def test_unseen_levels_are_joined_behind_what_they_show_when_they_are_best() -> None:
    market = venue((at(0), TOP, 100, 500, 102, 500), detail="top", touch_size=40)
    line = Line()
    rest(market, line, 95, 10)
    assert line.orders["1"].front == math.inf
    market.play(trade(1, 95, 1000, buys=False))
    assert line.trades == []
    market.play((at(2), TOP, 95, 70, 102, 500))
    assert line.orders["1"].front == 70
    market.play((at(3), TOP, 94, 70, 102, 500))
    assert line.orders["1"].front == 0


def test_models_are_ordered_for_every_order_of_a_wandering_market() -> None:
    events = wandering(60)
    filled = {}
    for model in MODELS:
        market = venue(events[0])
        lines = []
        for number, event in enumerate(events[1:]):
            market.play(event)
            if number % 10 == 0 and market.usable:
                line = Line(model=model)
                rest(market, line, market.book.bids[-1], 500)
                lines.append(line)
        filled[model] = [sum(fill.quantity for fill in line.trades) for line in lines]
    for averse, probable, optimistic in zip(*(filled[model] for model in MODELS), strict=True):
        assert averse <= probable <= optimistic
    assert sum(filled[RISK_AVERSE]) < sum(filled[OPTIMISTIC])


def test_what_has_filled_us_is_not_there_to_be_taken_as_well() -> None:
    market, line = venue(book(0, 100, 102)), Line()
    rest(market, line, 101, 20)
    market.play((at(1), BOOK, ((BID, 100, 0), (ASK, 101, 30))))
    answer = market.new(
        line, "2", is_buy=True, price=101, quantity=30, rests=False, post_only=False, now=at(1)
    )
    assert [fill.quantity for fill in line.trades] == [20, 10] and answer.trades == line.trades[1:]


def test_what_refills_after_a_take_meets_what_of_it_waits() -> None:
    market, line = venue(book(0, 100, 102)), Line(refill_s=5)
    answer = market.new(
        line, "1", is_buy=True, price=102, quantity=1500, rests=True, post_only=False, now=at(0)
    )
    assert answer.resting and sum(fill.quantity for fill in answer.trades) == 1000
    market.play((at(5), BOOK, ((BID, 90, 1),)))
    refilled = int(1000 * (1 - math.exp(-1)))
    assert sum(fill.quantity for fill in line.trades) == 1500 if refilled > 500 else 1000 + refilled
    assert line.trades[-1].maker and line.trades[-1].price == 102


# --- What we do to the market -----------------------------------------------------------------------


def test_a_take_empties_levels_that_come_back_exponentially() -> None:
    market, line = venue(book(0, 100, 102)), Line(refill_s=5)

    def take(lots: int, seconds: float) -> list[tuple[int, int]]:
        answer = market.new(
            line,
            "t",
            is_buy=True,
            price=102,
            quantity=lots,
            rests=False,
            post_only=False,
            now=at(seconds),
        )
        return [(fill.price, fill.quantity) for fill in answer.trades]

    assert take(1500, 0) == [(102, 1000)]
    assert take(1500, 0) == []
    assert take(1500, 5) == [(102, int(1000 * (1 - math.exp(-1))))]
    other = Line()
    assert (
        market.new(other, "o", is_buy=True, price=102, quantity=9, rests=False, post_only=False, now=at(5))
        .trades[0]
        .quantity
        == 9
    )


def test_a_large_take_moves_the_market_for_good() -> None:
    market, line = venue(book(0, 100, 102), volume=10_000_000), Line()
    day = market.recording.lots_per_day
    for lots in (500, 20_000):  # 0.05 % and 2 % of a minute
        market.new(line, "t", is_buy=True, price=None, quantity=lots, rests=False, post_only=False, now=at(0))
        before = line.shift
    assert before == pytest.approx(0.1 * 0.03 * math.sqrt(20_500 / day))
    assert {fill.shift for fill in line.trades} == {0.0}
    market.new(line, "t", is_buy=True, price=None, quantity=1, rests=False, post_only=False, now=at(1))
    assert line.trades[-1].shift == pytest.approx(before)


def test_a_large_order_is_undercut_where_there_is_room() -> None:
    market, line = venue(book(0, 100, 103)), Line()
    rest(market, line, 101, 50)  # alone at its price
    market.play((at(2), BOOK, ((BID, 90, 1),)))
    market.play(trade(2, 101, 60, buys=False))
    assert [fill.quantity for fill in line.trades] == [10]  # the competitor's 50 went first


# --- Parents ----------------------------------------------------------------------------------------


def task(seconds: float = 60, lots: int = 5000, *, is_buy: bool = True, **fields: Any) -> Task:
    values: dict[str, Any] = {
        "starts_at": at(20),
        "seconds": seconds,
        "is_buy": is_buy,
        "lots": lots,
        "market": market_of(recording([book(0, 100, 102)]), (10, 10)),
        "model": RISK_AVERSE,
        "latency_ms": 100,
        "refill_s": 5.0,
        "seed": 3,
    }
    return Task(**{**values, **fields})


class Noted(Machine):
    """The machine, with a diary of what it sent and when."""

    def begin(self) -> None:
        self.diary: list[tuple[Any, ...]] = []
        super().begin()

    def send_new(self, key: str, price: int | None, lots: int, *, rests: bool, post_only: bool) -> None:
        self.diary.append((self.play.now, key, price, lots, rests, post_only))
        super().send_new(key, price, lots, rests=rests, post_only=post_only)

    def send_cancel(self, key: str) -> None:
        self.diary.append((self.play.now, key, "cancel"))
        super().send_cancel(key)


def played(events: list[Event], wanted: Task, algo: str = "adaptive", **fields: Any) -> Noted:
    play = Play(recording(events, **fields), warm_up_s=20)
    parent = Noted(play, wanted, decide=decide, params=PROFILES[algo])
    play.add(parent)
    play.run()
    return parent


def scrambled(events: list[Event], after: int) -> list[Event]:
    """Give everything after a moment other sizes, and trades other prices and takers."""
    random = Random(11)
    other: list[Event] = []
    for event in events:
        if event[0] <= after:
            other.append(event)
        elif event[1] == TRADE:
            lots = random.randint(1, 9000)
            price = event[2] + random.randint(-9, 9)
            other.append((event[0], TRADE, price, lots, not event[4], *event[5:]))
        elif event[1] == BOOK:
            changes = [(side, price, size and random.randint(1, 9000)) for side, price, size in event[2]]
            other.append((event[0], BOOK, tuple(changes)))
        elif event[1] == QUOTE:
            other.append((event[0], QUOTE, event[2], 7, event[4], 9))
    return other


def elsewhere(events: list[Event], after: int) -> list[Event]:
    """Go on as another wandering market after a moment."""
    other = wandering(100, seed=8)
    now, then = feed.Sides(), feed.Sides()
    for sides, source in ((now, events), (then, other)):
        for event in source:
            if event[0] <= after and event[1] == BOOK:
                for change in event[2]:
                    sides.put(*change)
    gone = [(BID, price, 0) for price in now.bid] + [(ASK, price, 0) for price in now.ask]
    come = [(BID, *level) for level in then.bid.items()] + [(ASK, *level) for level in then.ask.items()]
    jump = (after + 1, BOOK, tuple(gone + come))
    before = [event for event in events if event[0] <= after]
    return [*before, jump, *(event for event in other if event[0] > after)]


@pytest.mark.parametrize("algo", ["classic", "adaptive", "twap"])
def test_what_happens_later_changes_nothing_before_it(algo: str) -> None:
    events = wandering(100)
    wanted = task(lots=100_000)
    as_it_was = played(events, wanted, algo)
    after = as_it_was.diary[len(as_it_was.diary) // 2][0]
    as_it_was_not = played(elsewhere(events, after), wanted, algo)
    before = [entry for entry in as_it_was.diary if entry[0] <= after]
    assert before == [entry for entry in as_it_was_not.diary if entry[0] <= after]
    assert before and as_it_was.diary != as_it_was_not.diary


@pytest.mark.parametrize("algo", [*BASELINES, "classic", "adaptive", "twap"])
@pytest.mark.parametrize("is_buy", [True, False])
def test_everybody_completes_and_trades_what_was_asked_for(algo: str, is_buy: bool) -> None:
    play = Play(recording(wandering(95)), warm_up_s=20)
    wanted = task(is_buy=is_buy)
    parent = (
        BASELINES[algo](play, wanted)
        if algo in BASELINES
        else Machine(play, wanted, decide=decide, params=PROFILES[algo])
    )
    play.add(parent)
    play.run()
    outcome = parent.outcome
    assert outcome is not None and outcome.problem == ""
    assert sum(each.quantity for each in outcome.trades) == wanted.lots and outcome.left == 0
    assert outcome.forced <= cases.dust_lots(play.recording)
    assert outcome.took_s <= 60 + GRACE / SECOND


def test_the_machines_ledger_is_the_venues() -> None:
    parent = played(wandering(95), task(lots=20_000), "classic")
    outcome = parent.outcome
    assert outcome is not None
    orders = [child.order for child in parent._children.values()]
    assert all(order.phase is Phase.SETTLED for order in orders)
    lots = outcome.trades
    tick, lot = parent.play.recording.tick, parent.play.recording.lot
    assert sum(order.filled_quantity for order in orders) == sum(fill.quantity for fill in lots) * lot
    quote = sum(fill.quantity * fill.price for fill in lots) * tick * lot
    assert sum(order.quote_filled for order in orders) == quote
    fees = sum((sum(order.fees.values()) for order in orders), Decimal(0))
    assert fees == sum(fill.quantity for fill in lots) * lot * Decimal("0.001")
    assert all(order.filled_quantity <= order.quantity for order in orders)


def test_a_market_order_costs_what_a_hand_computes() -> None:
    events = [book(0, 9_999, 10_001, size=100), book(100, 9_999, 10_001, size=100)]
    play = Play(recording(events), warm_up_s=20)
    parent = BASELINES["market"](play, task(lots=250))
    play.add(parent)
    play.run()
    assert parent.outcome is not None
    # 100 at 1, 100 at 2, 50 at 3 ticks above a mid of 10,000: 1.8 ticks of 1 bp each.
    assert figures.shortfall(parent.outcome) == pytest.approx(1.8)
    assert 0.04 < parent.outcome.took_s < 0.6


def test_public_data_reaches_us_late_and_shows_our_own_orders() -> None:
    events = [book(second, 9_990, 10_010, size=1000 + second) for second in range(30)]
    seen: list[tuple[int, Any]] = []

    class Onlooker(Join):
        def on_book(self) -> None:
            seen.append((self.play.now, self.levels()))

    play = Play(recording(events), warm_up_s=20)
    play.add(Onlooker(play, task(seconds=5, starts_at=at(20) - 1, latency_ms=300)))
    play.run()
    assert len(seen) >= 5
    for when, (bids, _) in seen:
        price, size = bids[0]
        own = 5000 if size > 5000 else 0
        assert price == 9_990 and own == (5000 if when > at(20.9) else own)
        assert when >= at(size - own - 1000) + 0.8 * 150_000


def test_no_book_we_see_is_crossed_by_our_own_orders() -> None:
    play = Play(recording([book(0, 9_990, 10_010, size=100), book(60, 9_990, 10_010)]), warm_up_s=20)
    parent = BASELINES["limit-twap"](play, task(seconds=24, lots=4800, starts_at=at(10)))
    seen: list[Any] = []

    def look() -> None:
        seen.append(parent.levels())

    play.add(parent)
    for step in range(14):
        play.at(at(10.5 + step / 10), look)
    play.run()
    assert all(levels and levels[0][0][0] < levels[1][0][0] for levels in seen)
    assert max(levels[0][0][0] for levels in seen) == 10_010  # what did not trade at once is the best bid


def test_latency_is_what_it_says_on_average() -> None:
    random, latency = Random(5), Latency(300)
    draws = [latency.draw(random) for _ in range(20_000)]
    assert sum(draws) / len(draws) == pytest.approx(150_000, rel=0.02)
    assert min(draws) >= 0.8 * 150_000 and max(draws) > 200_000


# --- Figures ----------------------------------------------------------------------------------------


def outcome(start: float, is_buy: bool, price: int, *, maker: bool = False, shift: float = 0.0) -> Outcome:
    return Outcome(
        starts_at=at(start),
        is_buy=is_buy,
        lots=10,
        arrival=10_000.0,
        trades=(Trade(at(start), price, 10, maker, shift),),
        requests=1,
        took_s=1.0,
        forced=0,
        left=0,
    )


def test_drift_cancels_in_a_pair_and_impact_costs_both_sides() -> None:
    pair = [outcome(0, True, 10_030), outcome(0, False, 10_020)]
    assert figures.paired(pair) == [(at(0), pytest.approx(5.0))]  # 30 bp lost, 20 bp gained
    pair = [outcome(0, True, 10_000, shift=0.0002), outcome(0, False, 10_000, shift=0.0002)]
    assert figures.paired(pair) == [(at(0), pytest.approx(2.0))]
    assert figures.paired([outcome(0, True, 10_030)]) == []


def test_a_row_says_costs_fees_and_shares() -> None:
    group = [outcome(0, True, 10_010, maker=True), outcome(0, False, 9_990)]
    row = figures.summary(group, seconds=60, dust=0, maker_bp=2, taker_bp=5)
    assert (row.cost, row.maker, row.fee) == (pytest.approx(10), 0.5, 3.5)
    assert row.total == pytest.approx(13.5) and row.complete == 1.0
    late = [replace(each, forced=5) for each in group]
    assert figures.summary(late, seconds=60, dust=4, maker_bp=2, taker_bp=5).complete == 0.0


def test_two_settings_from_the_same_starts_are_compared_start_by_start() -> None:
    random = Random(2)
    ours, theirs = [], []
    for step in range(40):
        luck = random.randint(-20, 20)
        for is_buy in (True, False):
            sign = 1 if is_buy else -1
            theirs.append(outcome(60 * step, is_buy, 10_000 + sign * (40 + luck)))
            ours.append(outcome(60 * step, is_buy, 10_000 + sign * (30 + luck)))
    mean, error = figures.difference(ours, theirs, 60)
    assert mean == pytest.approx(-10) and error == pytest.approx(0, abs=1e-9)
    assert figures.summary(ours, seconds=60, dust=0, maker_bp=0, taker_bp=0).error > 1
    assert figures.ratio_error(theirs, theirs, 60) == pytest.approx(0, abs=1e-12)
    assert 0 < figures.ratio_error(ours, theirs, 60) < 0.05


def test_the_bootstrap_is_seeded_and_its_blocks_span_an_execution() -> None:
    random = Random(9)
    series = [(at(10 * step), random.gauss(0, 1)) for step in range(60)]
    assert figures.resampled(series, 60, seed=4) == figures.resampled(series, 60, seed=4)
    assert figures.resampled(series, 60, seed=4) != figures.resampled(series, 60, seed=5)
    assert figures.longest_overlap(series, 60) == 7
    assert figures.standard_error([(start, 1.0) for start, _ in series], 60) == pytest.approx(0)
    # Neighbours that agree are fewer than they seem.
    smooth = [(at(10 * step), math.sin(step / 8)) for step in range(60)]
    assert figures.standard_error(smooth, 60) > 1.5 * figures.standard_error(smooth, 5)


# --- Whole cases ------------------------------------------------------------------------------------


def test_a_market_without_a_case_gets_sizes_by_its_volume() -> None:
    made = recording(wandering(150), volume=5 * 10_000_000, name="else_ETHUSDT_x")
    (liquid,) = cases.cases_of(made)  # 20,000 ETH a minute at 2,000
    assert (liquid.value, liquid.seconds, liquid.thin) == (100_000, 60, False)
    thin = cases.cases_of(replace(made, volume=25_000))  # 10 ETH a minute
    assert [(case.seconds, case.thin) for case in thin] == [(60, True), (600, True)]
    assert thin[0].value == pytest.approx(1.4 * 20_000, rel=0.02)
    assert thin[1].value == pytest.approx(0.7 * 200_000, rel=0.02)
    assert [case.name for case in cases.cases_of(replace(made, name="binance-spot_NEXOUSDT_x"))] == [
        "nexo 1k",
        "nexo 5k",
    ]


def test_a_case_runs_every_setting_once_and_the_command_tells_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = recording(wandering(150))
    case = Case("test 10k", "test-spot_ETHUSDT", 10_000, 30, thin=True)
    settings = Settings(
        algos=("market", "classic", "adaptive"),
        models=MODELS,
        latencies=(100,),
        fees=((10, 10), (2, 5)),
        starts=4,
    )
    first = cases.run(case, made, settings)
    again = cases.run(case, made, settings)
    assert first == again
    assert {key.model: len(group) for key, group in first.items() if key.algo == "adaptive"} == {
        RISK_AVERSE: 8,
        PROBABLE: 4,
        OPTIMISTIC: 4,
    }
    averse, hopeful = (Key("market", (2, 5), model, 100) for model in (RISK_AVERSE, OPTIMISTIC))
    assert first[averse] == first[hopeful]  # a taker asks no queue
    measured = command.measure(case, made, settings)
    words = command.table_of(measured, settings, RISK_AVERSE, 100)
    assert "market" in words and "total 2/5" in words
    assert "optimistic" in command.overview([measured], settings)
    verdicts = command.verdicts([measured], settings)
    assert any(each.what.startswith("test 10k, 2/5, 100 ms: adaptive / classic, mean") for each in verdicts)
    assert any("regret" in each.what for each in verdicts)
    body = json.loads(json.dumps(command._figures([measured], verdicts, settings)))
    assert len(body["cases"][0]["rows"]) == 18


real = pytest.mark.skipif(not DATA.is_dir(), reason="the real recordings are not at hand")


@real
def test_a_slice_of_a_real_market_shows_nobody_the_future() -> None:
    name, files = next(each for each in feed.find(DATA) if each[0].startswith("binance-spot_NEXOUSDT"))
    read = feed.read(name, files)
    start = read.begins + 1800 * SECOND
    cut = [event for event in read.events if event[0] < start + 80 * SECOND]
    wanted = task(starts_at=start, lots=82_000, market=market_of(read, (2, 5)), is_buy=True)

    def diary(events: list[Event]) -> list[tuple[Any, ...]]:
        play = Play(replace(read, events=events), warm_up_s=300)
        parent = Noted(play, wanted, decide=decide, params=PROFILES["adaptive"])
        play.add(parent)
        play.run()
        return parent.diary

    after = start + 30 * SECOND
    was, was_not = diary(cut), diary(scrambled(cut, after))
    assert [entry for entry in was if entry[0] <= after] == [entry for entry in was_not if entry[0] <= after]
    assert was != was_not
