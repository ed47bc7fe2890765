"""How each exchange says things on the wire, one file per exchange, and the list of those that can be run.

A new dialect is one file beside this one and its row in `LISTED`.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from simulator.dialects import (
    binance,
    bybit,
    bybit_linear,
    coinbase,
    coinbase_tokens,
    coinbaseexchange,
    gemini,
    kraken,
    okx,
    okx_swaps,
)
from simulator.dialects.dialect import Dialect
from simulator.positions import SwapMarket
from simulator.records import Market

# What an API key consists of: public part, secret, passphrase where the exchange has one.
KeyParts = tuple[str, str, str | None]
RandomBytes = Callable[[int], bytes]


def plain_keys(random: RandomBytes) -> KeyParts:
    """Make a key of letters and digits; the secret is base64, as Kraken's are."""
    return random(16).hex(), base64.b64encode(random(64)).decode(), None


def _of_an_account(random: RandomBytes) -> KeyParts:
    """Make a key that says by its name that it is an account's, and not a master key."""
    public, secret, _ = plain_keys(random)
    return f"account-{public}", secret, None


def _with_passphrase(random: RandomBytes) -> KeyParts:
    public, secret, _ = plain_keys(random)
    return public, secret, random(8).hex()


@dataclass(frozen=True, kw_only=True)
class Listed:
    """An exchange that can be simulated."""

    dialect: Callable[..., Dialect]  # (exchange, **options)
    markets: Sequence[Market]
    unlimited: Mapping[str, object]  # options of the dialect that lift the rate limits
    keys: Callable[[RandomBytes], KeyParts] = field(default=plain_keys)
    swaps: Sequence[SwapMarket] = ()  # perpetual contracts that can be listed beside the markets


LISTED: dict[str, Listed] = {  # exchange -> how it is simulated
    "binance": Listed(
        dialect=binance.Binance,
        markets=binance.MARKETS,
        unlimited={"weight_per_minute": 10**9, "orders_per_10s": 10**9, "orders_per_day": 10**9},
    ),
    "kraken": Listed(
        dialect=kraken.Kraken,
        markets=kraken.MARKETS,
        unlimited={"tier": "unlimited"},
    ),
    "bybit": Listed(
        dialect=bybit.Bybit,
        markets=bybit.MARKETS,
        unlimited={"limited": False},
        swaps=bybit_linear.SWAPS,
    ),
    "gemini": Listed(
        dialect=gemini.Gemini,
        markets=gemini.MARKETS,
        unlimited={"limited": False},
        keys=_of_an_account,
    ),
    "coinbaseexchange": Listed(
        dialect=coinbaseexchange.CoinbaseExchange,
        markets=coinbaseexchange.MARKETS,
        unlimited={"limited": False},
        keys=_with_passphrase,
    ),
    # It closed in December 2023 and its own wire no longer exists anywhere: it speaks Coinbase Exchange's.
    "bittrex": Listed(
        dialect=coinbaseexchange.CoinbaseExchange,
        markets=coinbaseexchange.MARKETS,
        unlimited={"limited": False},
        keys=_with_passphrase,
    ),
    "coinbase": Listed(
        dialect=coinbase.Coinbase,
        markets=coinbase.MARKETS,
        unlimited={"limited": False},
        keys=coinbase_tokens.new_keys,
    ),
    "okx": Listed(
        dialect=okx.Okx,
        markets=okx.MARKETS,
        unlimited={"limited": False},
        keys=_with_passphrase,
        swaps=okx_swaps.SWAPS,
    ),
}
