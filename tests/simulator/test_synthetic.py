"""Made-up markets: legal, coherent among themselves and between exchanges, the same every time."""

import asyncio
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from simulator.dialects.binance import MARKETS as BINANCE
from simulator.dialects.kraken import MARKETS as KRAKEN
from simulator.exchange import Exchange
from simulator.records import HALT, TRADING, BookChange, PublicTrade
from simulator.replay import Replay, tracks
from simulator.synthetic import ASSETS, LEVELS, Synthetic, drawable, markets

D = Decimal
START = 1_790_000_000.0
LISTED = {"binance": BINANCE, "kraken": KRAKEN}
each_exchange = pytest.mark.parametrize("name", ["binance", "kraken"])


class World:
    """An exchange with two replayed markets and many made-up ones."""

    def __init__(self, name: str, *, seed: int = 1, recorded: bool = True) -> None:
        listed = LISTED[name] if recorded else []
        self.exchange = Exchange(
            name, listed + markets(name, listed={market.symbol for market in listed}), refill_s=5.0
        )
        played = tracks(self.exchange) if recorded else []
        self.replay = Replay(self.exchange, played, start=START) if played else None
        symbols = drawable(self.exchange, but={track.symbol for track in played})
        self.drawn = Synthetic(self.exchange, symbols, start=START, seed=seed)
        self.advance(START)

    def advance(self, now: float) -> None:
        if self.replay is not None:
            self.replay.advance(now)
        self.drawn.advance(now)

    def touch(self, symbol: str) -> tuple[Decimal, Decimal]:
        bid = self.exchange.best(symbol, "buy", START)
        ask = self.exchange.best(symbol, "sell", START)
        assert bid is not None and ask is not None, symbol
        return bid[0], ask[0]


@each_exchange
def test_there_is_a_book_in_every_market_of_every_asset(name: str) -> None:
    world = World(name)
    assert len(ASSETS) >= 15
    for asset in ASSETS:
        for quote in ("USDT", "BTC") if asset.name != "BTC" else ("USDT",):
            bid, ask = world.touch(f"{asset.name}/{quote}")
            assert 0 < bid < ask
    assert "BTC/USDT" not in world.drawn.describe() and "made up, not recorded" in world.drawn.describe()


@each_exchange
@pytest.mark.parametrize("recorded", [True, False])
def test_books_are_legal_whenever_one_looks(name: str, recorded: bool) -> None:
    world = World(name, recorded=recorded)
    for second in range(0, 100, 9):
        world.advance(START + second)
        for symbol in world.drawn.symbols:
            market = world.exchange.markets[symbol]
            depth = world.exchange.depth(symbol, now=START + second)
            assert len(depth.bids) == len(depth.asks) == LEVELS, symbol
            assert depth.bids[0][0] < depth.asks[0][0], symbol
            for levels, falling in ((depth.bids, True), (depth.asks, False)):
                prices = [price for price, _ in levels]
                assert all((a > b) == falling for a, b in pairwise(prices)), symbol
                assert not any(price % market.tick or quantity % market.lot for price, quantity in levels)
                assert all(quantity > 0 for _, quantity in levels)


def test_two_exchanges_agree_about_prices() -> None:
    """Within their own basis point each, the tick, and what the recordings they replay allow."""
    one, other = World("binance", recorded=False), World("kraken", recorded=False)
    for second in (0, 20, 60):
        for world in (one, other):
            world.advance(START + second)
        for symbol in one.drawn.symbols:
            coarse = max(world.exchange.markets[symbol].tick for world in (one, other))
            (bid, ask), (other_bid, other_ask) = one.touch(symbol), other.touch(symbol)
            apart = abs((bid + ask) - (other_bid + other_ask)) / 2
            assert apart <= coarse + bid * D("0.0005"), symbol


@each_exchange
def test_around_a_triangle_there_is_nothing_to_earn(name: str) -> None:
    world = World(name)
    for second in range(1, 40):
        world.advance(START + second)
        bitcoin_bid, bitcoin_ask = world.touch("BTC/USDT")
        for asset in ASSETS[1:]:
            bid, ask = world.touch(f"{asset.name}/USDT")
            in_bitcoin_bid, in_bitcoin_ask = world.touch(f"{asset.name}/BTC")
            there, back = in_bitcoin_bid * bitcoin_bid / ask, bid / (in_bitcoin_ask * bitcoin_ask)
            # A book in BTC is a second old at most, and BTC moves meanwhile: well below one exchange's fees.
            assert max(there, back) < D("1.001"), (asset.name, second)


def run_of(seed: int) -> list[Any]:
    world = World("binance", seed=seed, recorded=False)
    told: list[Any] = []
    world.exchange.subscribe(told.append)
    for second in range(30):
        world.advance(START + second)
    return told


def test_the_same_seed_is_the_same_run_and_another_one_is_not() -> None:
    first = run_of(1)
    assert first == run_of(1)
    assert first != run_of(2)
    trades = [event for event in first if isinstance(event, PublicTrade)]
    assert {trade.taker_side for trade in trades} == {"buy", "sell"}
    assert len({trade.symbol for trade in trades}) > 15
    assert any(isinstance(event, BookChange) for event in first)


def test_what_is_taken_comes_back() -> None:
    world = World("binance", recorded=False)
    account = world.exchange.open_account("key", "secret", name="bot")
    world.exchange.deposit(account, "USDT", D(100_000), START)
    price, there = world.exchange.best("LTC/USDT", "sell", START) or (D(0), D(0))
    order = world.exchange.create_order(account, "LTC/USDT", "buy", "limit", there, price, now=START)
    assert order.status == "filled"
    after = world.exchange.best("LTC/USDT", "sell", START)
    assert after is not None and after[0] > price
    later = world.exchange.best("LTC/USDT", "sell", START + 60)
    assert later == (price, there)


@each_exchange
def test_twelve_holdings_are_sold_and_nothing_is_lost(name: str) -> None:
    world = World(name)
    account = world.exchange.open_account("key", "secret", name="bot")
    for asset in ASSETS[:12]:
        market = world.exchange.markets[f"{asset.name}/USDT"]
        quantity = D(3000) / asset.price // market.lot * market.lot
        world.exchange.deposit(account, asset.name, quantity, START)
        sold = world.exchange.create_order(account, market.symbol, "sell", "market", quantity, now=START)
        assert sold.status == "filled"
    world.advance(START + 30)
    assert account.free["USDT"] > 25_000
    assert world.exchange.imbalance() == {}


def test_a_halted_market_stands_still_and_no_other() -> None:
    world = World("kraken", recorded=False)
    told: list[Any] = []
    world.exchange.set_mode(HALT, START, "LTC/USDT")
    world.exchange.subscribe(told.append)
    world.advance(START + 60)
    seen = {event.symbol for event in told if isinstance(event, BookChange | PublicTrade)}
    assert "LTC/USDT" not in seen and len(seen) > 25
    world.exchange.set_mode(TRADING, START + 60, "LTC/USDT")
    world.advance(START + 120)
    assert "LTC/USDT" in {event.symbol for event in told if isinstance(event, BookChange)}


def test_in_real_time_the_clock_is_followed() -> None:
    world = World("binance", recorded=False)
    now = START

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        if now > START + 5:
            raise asyncio.CancelledError

    before = world.drawn.next_at
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(world.drawn.run(clock=lambda: now, sleep=sleep))
    assert before <= START + 1 and START + 5 <= world.drawn.next_at <= START + 6


@pytest.mark.parametrize("symbol", ["XYZ/USDT", "BTC/EUR"])
def test_a_market_nobody_knows_is_refused(symbol: str) -> None:
    with pytest.raises(ValueError, match=symbol):
        Synthetic(Exchange("binance", markets("binance")), [symbol], start=START)
