"""Invented markets for the router: three venues of five hundred markets with fifty levels a side.

What is imitated: a few majors and many small coins (worth and depth fall with rank); six quote currencies,
most markets in USDT; ticks and lots in powers of ten; spreads from a tenth of a basis point to thirty;
level sizes log-normal, growing away from the touch; a fee schedule and way of charging per venue. Prices
differ between venues and between ways to the same coin by a few basis points, but never by as much as the
fees around a circle cost, so that no arbitrage is left. Everything comes from one seed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from random import Random

import numpy as np

from ems.core.instrument import Market
from ems.routing.plan import Levels, Listing, Node

AT = datetime(2026, 1, 1, tzinfo=UTC)
QUOTES = {"USDT": 0.56, "BTC": 0.17, "USDC": 0.11, "ETH": 0.07, "EUR": 0.05, "BNB": 0.04}
WORTH = {"USDT": 1.0, "USDC": 0.9998, "EUR": 1.08, "BTC": 65000.0, "ETH": 1920.0, "BNB": 610.0}
# Venue -> (taker fee, how it is charged). The sum of any three exceeds what the noise below could offer.
VENUES = {
    "north": (Decimal("0.001"), "received"),
    "east": (Decimal("0.0008"), "quote"),
    "west": (Decimal("0.00075"), "third"),
}
NOISE_BP = 4.0  # a market's mid is at most this far from the worth of its two currencies
SIZES_USD = (300.0, 1_000_000.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One thing asked of the router."""

    supplies: dict[Node, Decimal]
    amount: Decimal
    end: str
    size_usd: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Universe:
    """Markets with books, and what a coin is worth in USD."""

    listings: list[Listing]
    worth: dict[str, float]


def power_of_ten(value: float) -> Decimal:
    """Return the power of ten at or below a value."""
    return Decimal(1).scaleb(math.floor(math.log10(value)))


def side_of_book(
    chance: np.random.Generator,
    touch: float,
    sign: int,
    tick: Decimal,
    lot: Decimal,
    depth: float,
    levels: int,
) -> Levels:
    """Return levels away from the touch: one to a few ticks apart, sizes log-normal and growing."""
    step = float(tick)
    gap = max(1.0, touch * 1e-4 / step)  # about a basis point between levels
    ticks = round(touch / step) + sign * np.concatenate(
        ([0], np.cumsum(1 + chance.poisson(gap * chance.uniform(0.3, 2.0), levels - 1)))
    )
    sizes = depth / touch * chance.lognormal(0.0, 0.9, levels) * (1 + 0.06 * np.arange(levels))
    lots = np.maximum(1, (sizes / float(lot)).astype(np.int64))
    return tuple(
        (tick * int(p), lot * int(q)) for p, q in zip(ticks.tolist(), lots.tolist(), strict=True) if p > 0
    )


def universe(seed: int, *, venues: int = 3, markets: int = 500, levels: int = 50) -> Universe:
    """Return a universe of this size; the same for the same seed."""
    random = Random(seed)
    chance = np.random.default_rng(seed)
    worth = dict(WORTH)
    coins = [f"C{n:03d}" for n in range(int(markets * 0.62))]
    for coin in coins:
        worth[coin] = 10 ** random.uniform(-4, 3)
    ranks = {coin: 8 + n for n, coin in enumerate(coins)} | {major: n for n, major in enumerate(WORTH)}
    listings = []
    for exchange, (fee, mode) in list(VENUES.items())[:venues]:
        pairs = [(a, b) for a in WORTH for b in QUOTES if a != b and pair_order(a) > pair_order(b)]
        pairs = pairs[: markets // 4]
        known = set(pairs)
        while len(pairs) < markets:
            # Small coins trade in one or two currencies, large ones in several, most in USDT.
            coin = coins[min(int(random.expovariate(1 / (0.35 * len(coins)))), len(coins) - 1)]
            quote = random.choices(list(QUOTES), weights=list(QUOTES.values()))[0]
            if (coin, quote) not in known:
                known.add((coin, quote))
                pairs.append((coin, quote))
        for base, quote in pairs:
            rank = max(ranks[base], 4 * (ranks[quote] - 1))
            listings.append(
                made(random, chance, exchange, base, quote, worth, rank, fee, mode, levels=levels)
            )
    return Universe(listings=listings, worth=worth)


def pair_order(currency: str) -> int:
    """Say who is the base: the dearer coin against the nearer to money."""
    return ["USDT", "USDC", "EUR", "BTC", "ETH", "BNB"].index(currency)


def made(
    random: Random,
    chance: np.random.Generator,
    exchange: str,
    base: str,
    quote: str,
    worth: dict[str, float],
    rank: int,
    fee: Decimal,
    mode: str,
    *,
    levels: int,
) -> Listing:
    """Return one market with its book."""
    noise = max(-NOISE_BP, min(NOISE_BP, random.gauss(0, NOISE_BP / 2)))
    mid = worth[base] / worth[quote] * (1 + noise * 1e-4)
    half = mid * 1e-4 * min(0.05 + 0.06 * rank * random.lognormvariate(0, 0.5), 15.0)
    tick = power_of_ten(max(half, mid * 2e-6))
    lot = power_of_ten(random.choice((0.02, 0.2, 2.0)) / worth[base])
    depth_quote = 40_000 / (1 + rank) ** 0.75 * random.lognormvariate(0, 0.6) / worth[quote]
    step = float(tick)
    bid = math.floor((mid - half) / step) * step
    ask = math.ceil((mid + half) / step) * step
    if round(bid / step) >= round(ask / step):
        ask = bid + step
    return Listing(
        exchange=exchange,
        account="main",
        market=Market(
            exchange=exchange,
            symbol=f"{base}/{quote}",
            base=base,
            quote=quote,
            tick=tick,
            lot=lot,
            min_quantity=lot,
            max_quantity=None,
            min_notional=power_of_ten(9.9 / worth[quote]) * 5,
            maker_fee=fee,
            taker_fee=fee,
            fee_mode=mode,
        ),
        bids=side_of_book(chance, bid, -1, tick, lot, depth_quote, levels),
        asks=side_of_book(chance, ask, +1, tick, lot, depth_quote, levels),
        at=AT,
    )


def case(random: Random, world: Universe) -> Case:
    """Return an order: any two currencies, log-uniform size, held at one venue or split over several."""
    places: dict[str, set[str]] = {}
    for listing in world.listings:
        for currency in (listing.market.base, listing.market.quote):
            places.setdefault(currency, set()).add(listing.exchange)
    money = [quote for quote in QUOTES if quote in places]
    coins = sorted(set(places) - set(money))
    while True:
        start = random.choice(money) if random.random() < 0.6 else random.choice(coins)
        end = random.choice(money) if random.random() < 0.3 else random.choice(coins)
        both = sorted(places[start] & places[end])
        if start != end and both:
            break
    size = math.exp(random.uniform(*map(math.log, SIZES_USD)))
    held_at = both if random.random() < 0.7 else [random.choice(both)]
    amount = Decimal(f"{size / world.worth[start]:.9g}")
    supplies: dict[Node, Decimal] = {}
    for exchange in held_at:
        share = 1.0 if len(held_at) == 1 else random.uniform(0.2, 1.2)
        supplies[exchange, "main", start] = amount * Decimal(f"{share:.4f}")
    total = sum(supplies.values(), Decimal(0))
    return Case(supplies=supplies, amount=min(amount, total), end=end, size_usd=size)


def resized(asked: Case, size_usd: float) -> Case:
    """Return the same order in another size."""
    factor = Decimal(repr(round(size_usd / asked.size_usd, 9)))
    return Case(
        supplies={node: held * factor for node, held in asked.supplies.items()},
        amount=asked.amount * factor,
        end=asked.end,
        size_usd=size_usd,
    )
