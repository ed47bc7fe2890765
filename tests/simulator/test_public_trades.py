"""Whatever is executed is seen by everybody: quantity, price, the taker's side, the time."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simulator.dialects.binance import Binance
from simulator.dialects.dialect import Request
from simulator.dialects.kraken import Kraken
from simulator.dialects.kraken_words import PUBLIC_PATH
from simulator.exchange import Exchange
from simulator.records import HALT, TRADING, PublicTrade
from simulator.replay import Replay, Track, find
from tests.simulator.builders import START, SYMBOL, D, account, exchange, order, show

BIDS = (("99", "10"), ("98", "20"))
ASKS = (("101", "10"), ("102", "20"))
LATER = START + 5


def others_trade(price: str, quantity: str, taker_side: str) -> Callable[[Exchange, Any], None]:
    return lambda made, other: made.public_trade(SYMBOL, D(price), D(quantity), taker_side, LATER)


def other_takes(side: str, quantity: str, price: str | None = None) -> Callable[[Exchange, Any], None]:
    return lambda made, other: order(made, other, side, quantity, price, now=LATER)


def quote_reaches_us(made: Exchange, other: Any) -> None:
    show(made, (("97", "1"),), (("99.5", "1.5"),), LATER)


CASES = [
    # name, what happens while we wait with a bid for 2 at 99.5, what is seen: (price, quantity, taker)
    ("others trade elsewhere", others_trade("101", "3", "buy"), [("101", "3", "buy")]),
    ("others sell at our price", others_trade("99.5", "1", "sell"), [("99.5", "1", "sell")]),
    (
        "others sell through our price, and the rest is theirs",
        others_trade("99", "5", "sell"),
        [("99.5", "2", "sell"), ("99", "3", "sell")],
    ),
    ("another account sells to us", other_takes("sell", "1", "99.5"), [("99.5", "1", "sell")]),
    (
        "another account sells to us and to the displayed book",
        other_takes("sell", "3"),
        [("99.5", "2", "sell"), ("99", "1", "sell")],
    ),
    ("another account buys from the displayed book", other_takes("buy", "1"), [("101", "1", "buy")]),
    ("a newly shown quote reaches us", quote_reaches_us, [("99.5", "1.5", "sell")]),
]


@pytest.mark.parametrize(("happens", "seen"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_every_execution_is_seen_once(happens: Callable[[Exchange, Any], None], seen: list[Any]) -> None:
    made = exchange(bids=BIDS, asks=ASKS)
    bot, other = account(made, USDT="10000"), account(made, "other", USDT="10000", BTC="10")
    order(made, bot, "buy", "2", "99.5")
    told: list[PublicTrade] = []
    made.subscribe(lambda event: told.append(event) if isinstance(event, PublicTrade) else None)
    happens(made, other)
    assert [(one.price, one.quantity, one.taker_side) for one in told] == [
        (D(price), D(quantity), side) for price, quantity, side in seen
    ]
    assert {one.now for one in told} == {LATER}
    assert len({one.trade_id for one in told}) == len(told)
    # A fill is known to everybody by the number by which its owner knows it.
    fills = {(fill.trade_id, fill.price, fill.quantity) for fill in bot.fills + other.fills}
    assert fills <= {(one.trade_id, one.price, one.quantity) for one in told}
    assert made.recent_trades(SYMBOL) == told


def request(path: str) -> Request:
    return Request(method="GET", path=path, query="", headers={}, now=START, clock=START)


@pytest.mark.parametrize(
    ("dialect", "path", "subscribe"),
    [
        (Binance, "/ws/1", '{"method": "SUBSCRIBE", "params": ["btcusdt@trade"], "id": 1}'),
        (Kraken, PUBLIC_PATH, '{"method":"subscribe","params":{"channel":"trade","symbol":["BTC/USDT"]}}'),
    ],
)
def test_the_wire_tells_trades_of_the_recording_and_between_accounts(
    dialect: Any, path: str, subscribe: str
) -> None:
    made = exchange(bids=BIDS, asks=ASKS)
    bot, other = account(made, USDT="10000"), account(made, "other", USDT="10000", BTC="10")
    streams: list[str] = []
    session = dialect(made).open_session(request(path), lambda message, stream: streams.append(stream))
    made.subscribe(session.on_event)
    order(made, bot, "buy", "1", "99.5")
    made.public_trade(SYMBOL, D("101"), D("1"), "buy", LATER)
    assert "trades" not in streams  # nobody has asked
    session.receive(subscribe, request(path))
    order(made, other, "sell", "1", "99.5", now=LATER)
    made.public_trade(SYMBOL, D("101"), D("1"), "buy", LATER)
    assert streams.count("trades") == 2


def test_a_halted_market_is_not_played_and_goes_on_with_the_book_of_the_moment(tmp_path: Path) -> None:
    rows = {
        "book20_250ms": ["ts_us,bid_px_1,bid_qty_1,ask_px_1,ask_qty_1"]
        + [f"{second}000000,{99 - second},1,101,1" for second in (0, 2, 4)],
        "trades": ["exch_us,trade_id,price,qty,taker_side"]
        + [f"{second}000000,{second},101,1,buy" for second in (1, 3, 5)],
    }
    for kind, lines in rows.items():
        path = tmp_path / f"acme-spot_BTCUSDT_20260102T0304Z_{kind}.csv.gz"
        path.write_bytes(gzip.compress("\n".join(lines).encode()))
    made = exchange()
    track = Track(exchange="acme", symbol=SYMBOL, recording=find(SYMBOL, folder=tmp_path))
    replay = Replay(made, [track], start=START, loop=False)
    told: list[Any] = []
    made.subscribe(told.append)
    replay.advance(START + 1.5)
    assert [one.price for one in told if isinstance(one, PublicTrade)] == [D("101")]
    made.set_mode(HALT, START + 1.5, SYMBOL)
    told.clear()
    replay.advance(START + 3.5)
    assert told == [] and made.best(SYMBOL, "buy", START) == (D("99"), D("1"))
    made.set_mode(TRADING, START + 3.6, SYMBOL)
    replay.advance(START + 5.5)
    assert made.best(SYMBOL, "buy", START) == (D("95"), D("1"))
    assert [one.price for one in told if isinstance(one, PublicTrade)] == [D("101")]
    assert replay.played == 6
