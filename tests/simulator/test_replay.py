"""Recordings: read as they are, played in order, again and again."""

import asyncio
import csv
import gzip
import json
from decimal import Decimal
from itertools import islice, pairwise
from pathlib import Path

import pytest

from simulator.dialects import LISTED
from simulator.exchange import Exchange
from simulator.positions import Positions
from simulator.records import BookChange, Market, PublicTrade
from simulator.replay import (
    SHIPPED,
    BadRecording,
    BookState,
    Replay,
    TradePrint,
    find,
    on_tick,
    track,
    tracks,
)

DATA = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
START = 1_700_000_000.0
LENGTH_S = 300.0  # of the recordings that ship
needs_data = pytest.mark.skipif(not (DATA / "normalized").is_dir(), reason="no shared recordings here")


def exchange(name: str = "kraken", symbols: str = "BTC/USDT ETH/USDT", tick: str = "0.01") -> Exchange:
    return Exchange(
        name,
        [
            Market(
                symbol=symbol,
                base=symbol.split("/")[0],
                quote=symbol.split("/")[1],
                tick=Decimal(tick),
                lot=Decimal("0.00001"),
            )
            for symbol in symbols.split()
        ],
    )


def heard(market_place: Exchange) -> list:
    events: list = []
    market_place.subscribe(events.append)
    return events


def table(folder: Path, name: str, rows: str) -> Path:
    path = folder / name
    path.write_bytes(gzip.compress("\n".join(line.strip() for line in rows.strip().splitlines()).encode()))
    return path


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Two books and three trades of an imaginary venue; one trade comes before the first book."""
    table(
        tmp_path,
        "acme-spot_ETHUSDT_20240808T2354Z_book20_250ms.csv.gz",
        """ts_us,last_update_id,bid_px_1,bid_qty_1,bid_px_2,bid_qty_2,ask_px_1,ask_qty_1,ask_px_2,ask_qty_2
           1000000,7,10.00,1,9.99,2,10.01,3,10.02,4
           1250000,8,10.00,1.5,,,10.02,4,,""",
    )
    table(
        tmp_path,
        "acme-spot_ETHUSDT_20240808T2354Z_trades.csv.gz",
        """exch_us,trade_id,price,qty,taker_side
           900000,40,10.00,0.1,sell
           1000000,41,10.01,0.20000000,buy
           1300000,43,10.00,0.5,sell""",
    )
    return tmp_path


# --- Recordings ---


def test_a_recording_is_read_as_written(tiny):
    recording = find("ETH/USDT", folder=tiny)
    assert (recording.venue, recording.symbol, recording.began.isoformat()) == (
        "acme-spot",
        "ETHUSDT",
        "2024-08-08T23:54:00+00:00",
    )
    d = Decimal
    assert list(recording.events()) == [
        TradePrint(at_us=900000, trade_id=40, price=d("10.00"), quantity=d("0.1"), taker_side="sell"),
        BookState(
            at_us=1000000,
            bids=((d("10.00"), d("1")), (d("9.99"), d("2"))),
            asks=((d("10.01"), d("3")), (d("10.02"), d("4"))),
        ),
        # A book row is the state before its time, so it comes before a trade of that time.
        TradePrint(at_us=1000000, trade_id=41, price=d("10.01"), quantity=d("0.20000000"), taker_side="buy"),
        BookState(at_us=1250000, bids=((d("10.00"), d("1.5")),), asks=((d("10.02"), d("4")),)),
        TradePrint(at_us=1300000, trade_id=43, price=d("10.00"), quantity=d("0.5"), taker_side="sell"),
    ]


@pytest.mark.parametrize("symbol, trades", [("BTCUSDT", 8842), ("ETHUSDT", 5167)])
def test_what_ships_is_five_sane_minutes(symbol, trades):
    recording = find(symbol)
    events = list(recording.events())
    books = [event for event in events if isinstance(event, BookState)]
    prints = [event for event in events if isinstance(event, TradePrint)]
    assert (len(books), len(prints)) == (1200, trades)
    assert all(later.at_us - earlier.at_us == 250_000 for earlier, later in pairwise(books))
    assert all(earlier.at_us <= later.at_us for earlier, later in pairwise(events))
    assert events[-1].at_us - events[0].at_us < LENGTH_S * 1_000_000
    for book in books:
        assert len(book.bids) == len(book.asks) == 20
        assert list(book.bids) == sorted(book.bids, reverse=True)
        assert list(book.asks) == sorted(book.asks)
        assert book.bids[0][0] < book.asks[0][0]
    assert all(later.trade_id == earlier.trade_id + 1 for earlier, later in pairwise(prints))


def test_what_ships_is_small_and_carries_its_licence():
    files = [path for path in SHIPPED.iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 500_000
    licence = (SHIPPED / "LICENSE-hftbacktest.txt").read_text()
    assert "MIT License" in licence and "Copyright (c) 2022 nkaz001" in licence
    assert "nkaz001/hftbacktest" in (SHIPPED / "README.md").read_text()


@needs_data
@pytest.mark.parametrize("symbol", ["BTCUSDT", "ETHUSDT"])
@pytest.mark.parametrize("kind", ["book20_250ms", "trades"])
def test_what_ships_is_what_was_recorded(symbol, kind):
    name = f"binance-spot_{symbol}_20240808T2354Z_{kind}.csv.gz"

    def rows(path: Path) -> dict[str, dict[str, str]]:
        with gzip.open(path, "rt", newline="") as lines:
            key = "ts_us" if kind.startswith("book") else "trade_id"
            return {row[key]: row for row in csv.DictReader(lines)}

    ours, theirs = rows(SHIPPED / name), rows(DATA / "normalized" / name)
    assert ours
    for key, row in ours.items():
        assert row.items() <= theirs[key].items()


@needs_data
def test_other_recordings_are_read_too():
    nexo = find("NEXOUSDT", folder=DATA / "normalized")
    assert nexo.book.name.endswith("book10_10s.csv.gz") and nexo.trades is not None
    assert sum(1 for _ in islice(nexo.events(), 1000)) == 1000
    bitstamp = find("BTC/USD", folder=DATA / "normalized", venue="bitstamp")
    assert bitstamp.trades is None
    assert next(bitstamp.events()).bids[0][0] > 70_000


@needs_data
def test_a_raw_capture_rebuilds_the_book_that_was_tabulated():
    tabulated = find("ETHUSDT", folder=DATA / "normalized")
    tops = {
        e.at_us: (e.bids[0], e.asks[0]) for e in islice(tabulated.events(), 400) if isinstance(e, BookState)
    }
    latest, agreed = None, 0
    for event in islice(find("ETHUSDT", folder=DATA / "recordings", raw=True).events(), 1500):
        # The table says what stood just before its time.
        for at in [at for at in tops if at <= event.at_us]:
            top = tops.pop(at)
            if latest is not None:
                assert (latest.bids[0], latest.asks[0]) == top
                agreed += 1
        if isinstance(event, BookState):
            latest = event
    assert agreed > 20


def test_a_raw_capture_is_rebuilt_from_its_snapshot_and_what_is_newer(tmp_path):
    def depth(last: int, bids: list, asks: list = ()) -> dict:
        return {
            "data": {"e": "depthUpdate", "E": 1000 + last, "U": last, "u": last, "b": bids, "a": list(asks)}
        }

    def trade(number: int, maker_bought: bool) -> dict:
        data = {"e": "trade", "E": 1100, "T": 1099, "t": number, "p": "9", "q": "1", "m": maker_bought}
        return {"data": data}

    messages = [
        depth(4, [["8", "1"]]),  # in the snapshot already
        depth(6, [["7", "3"]]),  # newer than it, though it came before
        trade(1, True),  # before there is a book
        {"lastUpdateId": 5, "bids": [["9", "1"]], "asks": [["10", "1"], ["11", "2"]]},
        depth(5, [["9", "99"]]),  # late, and no news
        depth(7, [["9", "4"]], [["10", "0"]]),
        {"data": {"e": None, "u": 9, "b": "9", "B": "4", "a": "11", "A": "2"}},  # bookTicker
        trade(2, True),
        trade(3, False),
    ]
    lines = "\n".join(json.dumps({"recv_us": 0, "raw": message}) for message in messages)
    (tmp_path / "acme-spot_ETHUSDT_20240808T2354Z_raw.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    d = Decimal
    assert list(find("ETHUSDT", folder=tmp_path, raw=True).events()) == [
        BookState(at_us=1_007_000, bids=((d(9), d(4)), (d(7), d(3))), asks=((d(11), d(2)),)),
        TradePrint(at_us=1_099_000, trade_id=2, price=d(9), quantity=d(1), taker_side="sell"),
        TradePrint(at_us=1_099_000, trade_id=3, price=d(9), quantity=d(1), taker_side="buy"),
    ]


@pytest.mark.parametrize(
    "wanted, says",
    [
        ({"symbol": "DOGE/USDT"}, "no recording of DOGE/USDT .*binance-spot BTCUSDT"),
        ({"symbol": "BTCUSDT", "venue": "kraken-spot"}, "no recording of kraken-spot of BTCUSDT"),
        ({"symbol": "BTCUSDT", "raw": True}, "no raw recording of BTCUSDT"),
    ],
)
def test_a_missing_recording_says_what_there_is(wanted, says):
    with pytest.raises(BadRecording, match=says):
        find(**wanted)


def test_a_broken_recording_says_which(tmp_path):
    table(tmp_path, "acme_ETHUSDT_20240808T2354Z_book20_250ms.csv.gz", "ts_us,last_update_id")
    with pytest.raises(BadRecording, match="acme_ETHUSDT.*there is no book in it"):
        Replay(exchange(), [track("acme", "ETH/USDT", folder=tmp_path)], start=START)
    cut = tmp_path / "acme_BTCUSDT_20240808T2354Z_book20_250ms.csv.gz"
    cut.write_bytes((SHIPPED / "binance-spot_BTCUSDT_20240808T2354Z_book20_250ms.csv.gz").read_bytes()[:5000])
    with pytest.raises(BadRecording, match="acme_BTCUSDT"):
        list(find("BTCUSDT", folder=tmp_path).events())


# --- Tracks ---


def test_a_borrowed_recording_is_said_to_be_one():
    borrowed = track("kraken", "ETH/USDT")
    assert borrowed.describe() == (
        "kraken ETH/USDT: replaying binance-spot ETHUSDT 2024-08-08 (no recording of kraken ships)"
    )
    own = track("binance", "ETH/USDT")
    assert own.describe() == "binance ETH/USDT: replaying binance-spot ETHUSDT 2024-08-08"


def test_an_exchange_prefers_its_own_recording(tiny):
    for kind in ("book20_250ms", "trades"):
        source = tiny / f"acme-spot_ETHUSDT_20240808T2354Z_{kind}.csv.gz"
        (tiny / f"kraken-spot_ETHUSDT_20250101T0000Z_{kind}.csv.gz").write_bytes(source.read_bytes())
    assert not track("kraken", "ETH/USDT", folder=tiny).borrowed
    assert track("gemini", "ETH/USDT", folder=tiny).borrowed


def test_only_markets_with_a_recording_are_replayed():
    found = tracks(exchange(symbols="BTC/USDT DOGE/USDT ETH/USDT", tick="0.1"))
    assert [(each.symbol, each.tick) for each in found] == [
        ("BTC/USDT", Decimal("0.1")),
        ("ETH/USDT", Decimal("0.1")),
    ]


def test_a_coarser_tick_moves_prices_apart_and_adds_up_their_sizes():
    d = Decimal
    book = BookState(
        at_us=0,
        bids=((d("10.09"), d(1)), (d("10.01"), d(2)), (d("9.99"), d(4))),
        asks=((d("10.10"), d(1)), (d("10.11"), d(2)), (d("10.20"), d(4))),
    )
    coarse = on_tick(book, d("0.1"))
    assert coarse.bids == ((d("10.0"), d(3)), (d("9.9"), d(4)))
    assert coarse.asks == ((d("10.1"), d(1)), (d("10.2"), d(6)))
    for side, price in (("buy", "10.1"), ("sell", "10.0")):
        trade = TradePrint(at_us=0, trade_id=1, price=d("10.05"), quantity=d(1), taker_side=side)
        assert on_tick(trade, d("0.1")).price == d(price)


def test_no_book_of_the_borrowed_recording_is_crossed_or_locked():
    for event in track("kraken", "BTC/USDT", tick=Decimal("0.1")).events():
        prices = [event.price] if isinstance(event, TradePrint) else [event.bids[0][0], event.asks[0][0]]
        assert all(price % Decimal("0.1") == 0 for price in prices)
        if isinstance(event, BookState):
            assert event.bids[0][0] < event.asks[0][0]


# --- Playing ---


def test_events_come_when_they_are_due_and_not_before(tiny):
    place = exchange(symbols="ETH/USDT")
    events = heard(place)
    replay = Replay(place, [track("kraken", "ETH/USDT", folder=tiny)], start=START, loop=False)
    assert replay.next_at == START
    assert replay.advance(START - 0.001) == 0 and events == []
    assert replay.advance(START) == 2  # the first book, and the trade of the same time
    assert [type(event) for event in events] == [BookChange, PublicTrade]
    assert [event.now for event in events] == [START, START]
    assert replay.advance(START + 0.249) == 0
    assert replay.advance(START + 10) == 2
    assert [event.now for event in events[2:]] == [START + 0.25, START + 0.3]
    depth = place.depth("ETH/USDT", now=START + 10)
    assert (depth.bids, depth.asks) == (
        [(Decimal("10.00"), Decimal("1.5"))],
        [(Decimal("10.02"), Decimal("4"))],
    )
    assert replay.next_at is None
    assert replay.advance(START + 1000) == 0


def test_a_loop_goes_on_where_it_ended_with_growing_times_and_ids(tiny):
    from simulator.replay import _from_zero

    once = [e for e in find("ETHUSDT", folder=tiny).events() if e.at_us >= 1_000_000]
    events = list(islice(_from_zero(track("kraken", "ETH/USDT", folder=tiny), True), 3 * len(once)))
    # The last book stands for another 250 ms, then the first one comes again.
    assert [e.at_us for e in events] == [
        at + round_ * 500_000 for round_ in range(3) for at in (0, 0, 250_000, 300_000)
    ]
    ids = [e.trade_id for e in events if isinstance(e, TradePrint)]
    assert ids == sorted(set(ids))
    strip = [(type(e), getattr(e, "bids", None) or e.price) for e in events]
    assert strip == 3 * strip[: len(once)]


def test_the_shipped_loop_is_seamless_and_keeps_two_markets_in_step():
    place = exchange()
    books: list[BookChange] = []
    place.subscribe(lambda event: books.append(event) if isinstance(event, BookChange) else None)
    replay = Replay(place, tracks(place), start=START)
    replay.advance(START + LENGTH_S - 0.3)
    books.clear()
    replay.advance(START + LENGTH_S + 0.3)
    times = [(round(book.now - START, 3), book.symbol) for book in books]
    assert times == [(at, symbol) for at in (299.75, 300.0, 300.25) for symbol in ("BTC/USDT", "ETH/USDT")]
    assert all(earlier.now <= later.now for earlier, later in pairwise(books))
    assert place.imbalance() == {}


def test_the_same_calls_give_the_same_run():
    def run(steps: list[float]) -> tuple:
        place = exchange()
        account = place.open_account("key", "c2VjcmV0")
        place.deposit(account, "USDT", Decimal(100_000), START)
        events = heard(place)
        replay = Replay(place, tracks(place), start=START)
        replay.advance(START)
        best = place.best("ETH/USDT", "buy", START)
        place.create_order(account, "ETH/USDT", "buy", "limit", Decimal(1), best[0], now=START)
        for step in steps:
            replay.advance(START + step)
        return place.ledger(account), [e for e in events if not isinstance(e, BookChange)], replay.played

    assert run([20.0]) == run([20.0])
    # How often time is given does not matter either.
    assert run([20.0]) == run([0.5 * n for n in range(1, 41)])


def test_speed_stretches_time_and_is_said():
    place = exchange(symbols="ETH/USDT")
    fast = Replay(place, tracks(place), start=START, speed=10)
    fast.advance(START)
    fast.advance(START + 1)
    slow = Replay(exchange(symbols="ETH/USDT"), tracks(place), start=START)
    slow.advance(START + 10)
    assert fast.played == slow.played > 40
    assert fast.describe().splitlines()[1] == "at 10 times the recorded speed"
    assert "\n" not in slow.describe()
    with pytest.raises(ValueError, match="speed"):
        Replay(place, tracks(place), start=START, speed=0)


def test_in_real_time_the_clock_is_followed_and_a_pause_is_skipped(tiny):
    place = exchange(symbols="ETH/USDT")
    events = heard(place)
    clock = [START]
    naps: list[float] = []

    async def sleep(seconds: float) -> None:
        naps.append(round(seconds, 6))
        # The machine is suspended for an hour during the second nap.
        clock[0] += seconds + (3600.0 if len(naps) == 2 else 0.0)

    replay = Replay(place, [track("kraken", "ETH/USDT", folder=tiny)], start=START, loop=False)
    asyncio.run(replay.run(lambda: clock[0], sleep))
    assert replay.played == 4
    # The third event was due in the pause and came right after it; the fourth kept its distance of 50 ms.
    assert naps == [0.0, 0.25, 0.05]
    assert [round(event.now - START, 3) for event in events] == [0.0, 0.0, 3600.25, 3600.3]


@pytest.mark.parametrize("name", ["okx", "bybit"])
def test_a_contract_follows_the_spot_recording_in_whole_lots_and_says_so(name):
    listed = LISTED[name]
    exchange = Exchange(name, list(listed.markets))
    Positions(exchange, listed.swaps)
    played = {track.symbol: track for track in tracks(exchange)}
    assert set(played) == {"BTC/USDT", "ETH/USDT", "BTC/USDT:USDT", "ETH/USDT:USDT"}
    size = {"okx": "0.01", "bybit": "1"}[name]
    assert played["BTC/USDT:USDT"].describe() == (
        f"{name} BTC/USDT:USDT: replaying binance-spot BTCUSDT 2024-08-08 in contracts of {size} BTC "
        "(no recording of swaps ships: this is spot's)"
    )
    replay = Replay(exchange, list(played.values()), start=0.0)
    replay.advance(20.0)
    market = exchange.markets["BTC/USDT:USDT"]
    spot, swap = (exchange.depth(symbol, now=20.0) for symbol in ("BTC/USDT", "BTC/USDT:USDT"))
    sizes = dict(spot.bids)
    for price, quantity in swap.bids:
        assert quantity > 0 and quantity % market.lot == 0
        assert quantity == sizes[price] / market.contract_size // market.lot * market.lot
    assert exchange.recent_trades("BTC/USDT:USDT")
    assert all(trade.quantity % market.lot == 0 for trade in exchange.recent_trades("BTC/USDT:USDT"))
