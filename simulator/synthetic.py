"""Made-up markets beside the recorded ones, so that a portfolio of many assets can be traded.

What is here is invented and says so (`Synthetic.describe`). It is good for showing that many markets on
several exchanges are worked at once, and for nothing that measures execution: for that there are recordings.

* The mid price of an asset in USDT is a fixed price times slow waves of a percent together. It depends on the
  asset and the time alone, so two exchanges agree about it up to a basis point of each one's own, and nobody
  has to keep anything in step.
* A price in BTC is the price in USDT divided by what this exchange shows for BTC/USDT now, replayed or drawn:
  around a triangle of markets there is nothing to earn.
* A book is a ladder of 20 levels a side, thin at the touch and thicker further out. What is taken from a
  level refills as everywhere in `simulator.exchange`.
* Others trade at the touch now and then, by a seeded generator: same seed and same calls, same run.

Prices are rounded ones of 2026-08-09 where a recording of that day has the asset (BTC, ETH, SOL, DOGE), and
plausible ones elsewhere. Steps are those of Binance (2024-09) and Kraken (2024-04) where they list the pair.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from random import Random

from simulator.exchange import Exchange
from simulator.records import TRADING, Levels, Market

ZERO = Decimal(0)
LEVELS = 20
GROWTH = 1.2  # size of a level, relative to the one before it
WAVES = ((0.0015, 97.0), (0.003, 613.0), (0.006, 3607.0))  # (largest excursion, period in s)
STEP_S = 1.0  # how often a market is drawn again
TRADES_PER_STEP = 0.3
LATE_MAX_S = 5.0
KRAKEN_LOT = Decimal("0.00000001")


@dataclass(frozen=True, kw_only=True, slots=True)
class Asset:
    """What is made up about an asset, and in which steps two exchanges trade it."""

    name: str
    price: Decimal  # USDT
    half_spread_bp: float
    touch_usdt: int  # worth of the best level
    binance: tuple[str, str, str]  # tick in USDT, tick in BTC, lot
    kraken: tuple[str, str, str]  # tick in USDT, tick in BTC, smallest order


ASSETS = tuple(
    Asset(
        name=name,
        price=Decimal(price),
        half_spread_bp=half_spread_bp,
        touch_usdt=touch_usdt,
        binance=binance,
        kraken=kraken,
    )
    for name, price, half_spread_bp, touch_usdt, binance, kraken in (
        ("BTC", "65100", 0.1, 20_000, ("0.01", "", "0.00001"), ("0.1", "", "0.0001")),
        ("ETH", "1923", 0.3, 15_000, ("0.01", "0.00001", "0.0001"), ("0.01", "0.00001", "0.002")),
        ("SOL", "77.3", 1.0, 12_000, ("0.01", "0.0000001", "0.001"), ("0.01", "0.0000001", "0.05")),
        ("BNB", "580", 1.0, 10_000, ("0.1", "0.000001", "0.001"), ("0.01", "0.0000001", "0.01")),
        ("XRP", "1.05", 1.5, 12_000, ("0.0001", "0.00000001", "0.1"), ("0.00001", "0.00000001", "10")),
        ("DOGE", "0.0705", 2.0, 8_000, ("0.00001", "0.00000001", "1"), ("0.00001", "0.00000001", "60")),
        ("ADA", "0.31", 2.0, 8_000, ("0.0001", "0.00000001", "0.1"), ("0.000001", "0.00000001", "10")),
        ("LTC", "52", 2.0, 7_000, ("0.01", "0.000001", "0.001"), ("0.00001", "0.000001", "0.05")),
        ("LINK", "9.4", 2.0, 7_000, ("0.01", "0.0000001", "0.01"), ("0.00001", "0.00000001", "0.2")),
        ("DOT", "1.9", 2.5, 5_000, ("0.001", "0.0000001", "0.01"), ("0.0001", "0.00000001", "0.6")),
        ("AVAX", "9.8", 2.5, 5_000, ("0.01", "0.0000001", "0.01"), ("0.01", "0.0000001", "0.1")),
        ("ATOM", "2.6", 3.0, 4_000, ("0.001", "0.0000001", "0.01"), ("0.0001", "0.0000001", "0.5")),
        ("UNI", "4.2", 3.0, 4_000, ("0.001", "0.0000001", "0.01"), ("0.001", "0.0000001", "0.5")),
        ("AAVE", "96", 3.0, 4_000, ("0.01", "0.000001", "0.001"), ("0.01", "0.000001", "0.05")),
        ("NEAR", "1.4", 3.5, 3_000, ("0.001", "0.00000001", "0.1"), ("0.0001", "0.00000001", "1")),
        ("BCH", "310", 3.0, 4_000, ("0.1", "0.000001", "0.001"), ("0.01", "0.00001", "0.025")),
        ("NEXO", "0.82", 5.0, 1_500, ("0.001", "0.00000001", "0.01"), ("0.0001", "0.00000001", "5")),
    )
)
BY_NAME = {asset.name: asset for asset in ASSETS}

RULES = {  # exchange -> (maker fee, taker fee, fee mode, least worth in USDT, least worth in BTC)
    "binance": (Decimal("0.001"), Decimal("0.001"), "received", Decimal(5), Decimal("0.0001")),
    "kraken": (Decimal("0.0025"), Decimal("0.004"), "quote", Decimal("0.5"), Decimal("0.00002")),
}


def markets(exchange: str, *, listed: Collection[str] = ()) -> list[Market]:
    """Make each asset's markets in USDT and BTC as `exchange` ("binance" or "kraken") would list them.

    `listed`: symbols that are there already and keep the rules they have.
    """
    maker, taker, fee_mode, least_usdt, least_btc = RULES[exchange]
    made = []
    for asset in ASSETS:
        tick_usdt, tick_btc, last = asset.binance if exchange == "binance" else asset.kraken
        for quote, tick, least in (("USDT", tick_usdt, least_usdt), ("BTC", tick_btc, least_btc)):
            symbol = f"{asset.name}/{quote}"
            if not tick or symbol in listed:
                continue
            market = Market(
                symbol=symbol,
                base=asset.name,
                quote=quote,
                tick=Decimal(tick),
                lot=Decimal(last) if exchange == "binance" else KRAKEN_LOT,
                min_qty=Decimal(last),
                min_notional=least,
                maker_fee=maker,
                taker_fee=taker,
                fee_mode="received" if fee_mode == "received" else "quote",
                max_orders=200 if exchange == "binance" else 80,
            )
            made.append(market)
    return made


def drawable(exchange: Exchange, *, but: Collection[str] = ()) -> list[str]:
    """Name the markets of an exchange that can be made up, `but` those that something else fills."""
    return [
        symbol
        for symbol, market in exchange.markets.items()
        if symbol not in but and market.base in BY_NAME and market.quote in ("USDT", "BTC")
    ]


class Synthetic:
    """Draw markets of an exchange; used like `simulator.replay.Replay`, and beside one.

    The first books stand after `advance(start)`. Times are seconds since 1970. A market in BTC is drawn only
    while BTC/USDT has a book, so play recordings first.
    """

    def __init__(
        self,
        exchange: Exchange,
        symbols: Collection[str],
        *,
        start: float,
        seed: int = 1,
        step_s: float = STEP_S,
    ) -> None:
        for symbol in symbols:
            if symbol not in drawable(exchange):
                raise ValueError(f"{symbol} cannot be made up: there is {', '.join(drawable(exchange))}")
        if not step_s > 0:
            raise ValueError(f"step_s: {step_s} is not greater than 0")
        # Prices in USDT first: those in BTC are made from them.
        self.symbols = tuple(sorted(symbols, key=lambda symbol: symbol.endswith("/BTC")))
        self.drawn = 0  # books and trades so far
        self._exchange = exchange
        self._rng = Random(seed)
        self._step_s = step_s
        self._start = start
        self._steps = 0
        self._shown: dict[str, tuple[Levels, Levels]] = {}  # symbol -> (bids, asks) as last drawn

    def describe(self) -> str:
        """Say in words what a person is looking at."""
        return f"{self._exchange.name}: made up, not recorded: {', '.join(self.symbols)}"

    @property
    def next_at(self) -> float:
        """When the next market is due: they take turns, each once in a step."""
        return self._start + self._steps * self._step_s / max(1, len(self.symbols))

    def advance(self, now: float) -> int:
        """Draw everything due at `now` and return how many books and trades that were."""
        before = self.drawn
        if not self._steps:
            for symbol in self.symbols:
                self._draw(symbol, self._start)
        while self.symbols and (at := self.next_at) <= now:
            self._turn(at)
        return self.drawn - before

    async def run(
        self,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Draw in real time until cancelled; a pause of the process is left out."""
        while self.symbols:
            await sleep(max(0.0, self.next_at - clock()))
            now = clock()
            if now - self.next_at > LATE_MAX_S:
                self._start += now - self.next_at
            self._turn(now)

    def _turn(self, now: float) -> None:
        symbol = self.symbols[self._steps % len(self.symbols)]
        self._steps += 1
        if self._exchange.mode_of(symbol) != TRADING:
            return
        self._draw(symbol, now)
        if symbol in self._shown and self._rng.random() < TRADES_PER_STEP:
            self._trade(symbol, now)

    def _draw(self, symbol: str, now: float) -> None:
        market = self._exchange.markets[symbol]
        asset = BY_NAME[market.base]
        mid = self._mid(market, now)
        if mid is None:
            return
        touch = asset.touch_usdt / float(asset.price)
        if market.quote == "BTC":
            touch /= 2
        book = ladder(market, mid, asset.half_spread_bp, touch)
        if book != self._shown.get(symbol):
            self._shown[symbol] = book
            self._exchange.set_book(symbol, *book, now)
            self.drawn += 1

    def _mid(self, market: Market, now: float) -> float | None:
        price = usdt_price(market.base, self._exchange.name, now)
        if market.quote == "USDT":
            return price
        # What people can trade at is what counts: for recorded markets the recording, else the wave.
        if f"{market.base}/USDT" in self._exchange.markets and f"{market.base}/USDT" not in self.symbols:
            recorded = self._seen(f"{market.base}/USDT", now)
            if recorded is None:
                return None
            price = recorded
        bitcoin = self._seen("BTC/USDT", now)
        return None if bitcoin is None else price / bitcoin

    def _seen(self, symbol: str, now: float) -> float | None:
        if symbol not in self._exchange.markets:
            return None
        bid = self._exchange.best(symbol, "buy", now)
        ask = self._exchange.best(symbol, "sell", now)
        return None if bid is None or ask is None else float(bid[0] + ask[0]) / 2

    def _trade(self, symbol: str, now: float) -> None:
        market = self._exchange.markets[symbol]
        buys = self._rng.random() < 0.5
        share = Decimal(str(round(min(self._rng.expovariate(5.0), 1.0), 6)))
        touch = self._exchange.best(symbol, "sell" if buys else "buy", now)
        if touch is None:
            return
        price, there = touch
        quantity = there * share // market.lot * market.lot
        if quantity >= market.min_qty and quantity * price >= market.min_notional:
            self._exchange.public_trade(symbol, price, quantity, "buy" if buys else "sell", now)
            self.drawn += 1


def usdt_price(asset: str, exchange: str, now: float) -> float:
    """Return the made-up mid price of an asset at a time."""
    factor = 1.0 + 0.0002 * (_fraction(f"{exchange} {asset}") - 0.5)  # within a basis point of the others
    for largest, period_s in WAVES:
        phase = _fraction(f"{asset} {period_s}")
        factor += largest * math.sin(2 * math.pi * (now / period_s + phase))
    return float(BY_NAME[asset].price) * factor


def ladder(market: Market, mid: float, half_spread_bp: float, touch: float) -> tuple[Levels, Levels]:
    """Make a book around `mid`: whole ticks and lots, never crossed; `touch` is the best level's quantity."""
    sides: list[Levels] = []
    tick = float(market.tick)
    for sign, rounding in ((-1, ROUND_FLOOR), (1, ROUND_CEILING)):
        levels: Levels = []
        gap = max(2.5 * half_spread_bp * 1e-4 * mid, tick)
        for level in range(LEVELS):
            exact = mid + sign * (half_spread_bp * 1e-4 * mid + level * gap)
            ticks = Decimal(repr(exact / tick)).to_integral_value(rounding)
            if ticks <= 0:
                break
            wobble = 0.75 + 0.5 * _fraction(f"{market.symbol} {ticks}")
            quantity = Decimal(repr(touch * GROWTH**level * wobble)) // market.lot * market.lot
            price = ticks * market.tick
            if quantity >= market.min_qty and (not levels or levels[-1][0] != price):
                levels.append((price, quantity))
        sides.append(levels)
    bids, asks = sides
    if bids and asks and bids[0][0] >= asks[0][0]:  # the mid itself is on a tick, and the spread is nothing
        asks = [(price + market.tick, quantity) for price, quantity in asks]
    return bids, asks


def _fraction(text: str) -> float:
    """Return a number from 0 to 1, always the same for the same text."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest()) / 2**32
