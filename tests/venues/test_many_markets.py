"""Thirty-odd markets on each of two exchanges: watched, and twelve holdings sold on both."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from ems.core.instrument import Market
from ems.core.messages import (
    Acked,
    Balances,
    BookUpdate,
    Ending,
    MarketsLoaded,
    PublicTrade,
    QueryBalances,
    Side,
    StreamUp,
    TimeInForce,
    WatchBook,
)
from ems.venues.ccxt_gateway import CcxtGateway, VenueKeys
from simulator.dialects.binance import MARKETS as BINANCE_MARKETS
from simulator.dialects.binance import Binance
from simulator.dialects.kraken import MARKETS as KRAKEN_MARKETS
from simulator.dialects.kraken import Kraken
from simulator.exchange import Exchange
from simulator.records import Account
from simulator.replay import Replay, tracks
from simulator.synthetic import ASSETS, Synthetic, drawable, markets
from simulator.wire import SimulatorServer
from tests.venues.gateways import Reports, new_order, opened

KEYS = VenueKeys(public="trader-key", private=base64.b64encode(b"trader secret").decode())
D = Decimal
SIMULATED: dict[str, tuple[Any, Any]] = {
    "binance": (Binance, BINANCE_MARKETS),
    "kraken": (Kraken, KRAKEN_MARKETS),
}
HELD = ASSETS[:12]


@dataclass(frozen=True, kw_only=True)
class Venue:
    exchange: Exchange
    account: Account
    gateway: CcxtGateway
    reports: Reports


@asynccontextmanager
async def venue_of(name: str) -> AsyncIterator[Venue]:
    dialect, listed = SIMULATED[name]
    exchange = Exchange(name, listed + markets(name, listed={market.symbol for market in listed}))
    account = exchange.open_account(KEYS.public, KEYS.private, name="trader")
    server = SimulatorServer(exchange, dialect(exchange))
    await server.open()
    played = tracks(exchange)
    replay = Replay(exchange, played, start=server.now())
    drawn = Synthetic(
        exchange, drawable(exchange, but={track.symbol for track in played}), start=server.now()
    )
    replay.advance(server.now())
    drawn.advance(server.now())
    for asset in HELD:
        lot = exchange.markets[f"{asset.name}/USDT"].lot
        exchange.deposit(account, asset.name, D(2000) / asset.price // lot * lot, server.now())
    playing = [asyncio.create_task(one.run(clock=server.now)) for one in (replay, drawn)]
    try:
        async with opened(name, server.url, KEYS, wait=False, shapes=(), request_timeout_s=5) as (
            gateway,
            reports,
        ):
            yield Venue(exchange=exchange, account=account, gateway=gateway, reports=reports)
    finally:
        for task in playing:
            task.cancel()
        await server.close()


async def sell_all(venue: Venue) -> None:
    loaded = await venue.reports.next(MarketsLoaded, within_s=15)
    await venue.reports.next(StreamUp, within_s=15)
    told = {market.symbol: market for market in loaded.markets if isinstance(market, Market)}
    assert told.keys() == venue.exchange.markets.keys() and len(told) >= 33
    assert all(market.active for market in told.values())
    symbols = [f"{asset.name}/USDT" for asset in HELD]
    for symbol in symbols:
        venue.gateway.send(WatchBook(symbol=symbol))
    books: dict[str, BookUpdate] = {}
    while len(books) < len(symbols):
        book = await venue.reports.next(BookUpdate, within_s=15)
        books[book.symbol] = book
    for number, symbol in enumerate(symbols):
        market, book = told[symbol], books[symbol]
        order = new_order(
            venue.exchange.name,
            number,
            side=Side.SELL,
            symbol=symbol,
            quantity=str(venue.account.free[market.base]),
            price=str(market.taker_price(Side.SELL, book.bids[0][0] * D("0.98"))),
            time_in_force=TimeInForce.IOC,
        )
        venue.gateway.send(order)
        answer = await venue.reports.answer_to(order.order_id, within_s=10)
        assert isinstance(answer, Acked), (symbol, answer)
        assert answer.ending in (None, Ending.FILLED)
    await venue.reports.next(PublicTrade, within_s=15)
    venue.gateway.send(QueryBalances())
    balances = await venue.reports.next(Balances, within_s=10)
    assert not any(balances.used.values())
    assert balances.free.keys() == {"USDT"}
    assert D(18_000) < balances.free["USDT"] < D(30_000)
    assert venue.exchange.imbalance() == {}


def test_twelve_holdings_are_sold_on_two_exchanges_of_many_markets() -> None:
    async def story() -> None:
        async with venue_of("binance") as binance, venue_of("kraken") as kraken:
            await asyncio.gather(sell_all(binance), sell_all(kraken))

    asyncio.run(story())
