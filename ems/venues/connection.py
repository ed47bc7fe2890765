"""ccxt's object for one account: its keys, where it reaches, and that it repeats nothing by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ems.venues.dialects.dialect import SWAPS, Dialect
from ems.venues.transport import exchange_class, repoint


@dataclass(frozen=True, kw_only=True, slots=True)
class VenueKeys:
    """What an exchange knows us by; `repr` shows nothing."""

    public: str
    private: str
    passphrase: str | None = None

    def __repr__(self) -> str:
        return "VenueKeys(...)"


def connection(
    dialect: Dialect, keys: VenueKeys, base_url: str | None, ws_url: str | None, *, swaps: bool = False
) -> Any:
    """Return it; nothing is sent before it is asked something. `swaps`: contracts are traded, too."""
    options = dict(dialect.options)
    if swaps and dialect.derivatives is not None:
        options |= dialect.derivatives.options | {SWAPS: True}
    config: dict[str, object] = {
        "apiKey": keys.public,
        "secret": keys.private,
        "enableRateLimit": False,
        "options": options,
    }
    if keys.passphrase is not None:
        config["password"] = keys.passphrase
    exchange = exchange_class(dialect.ccxt_id, dialect.wire)(config)
    # A silent stream shows itself by two unanswered pings.
    exchange.streaming = {**exchange.streaming, "keepAlive": 10_000, "maxPingPongMisses": 2}
    if not dialect.fetches_currencies:
        exchange.has["fetchCurrencies"] = False
    if base_url is not None:
        repoint(exchange, base_url, ws_url, dialect.ws_paths)
    assert not exchange.enableRateLimit
    # ccxt would repeat a create after a lost answer (RELIABILITY R16).
    assert exchange.options.get("maxRetriesOnFailure", 0) == 0, "ccxt must not retry writes"
    return exchange
