"""Contracts through the gateway: positions and leverage, read where there are any, refused where not."""

import asyncio
import time
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import ClassVar

import pytest

from ems.core.messages import FillReport, MarketsLoaded
from ems.venues.ccxt_gateway import VenueKeys
from ems.venues.dialects import DIALECTS
from ems.venues.dialects.dialect import CannotSay
from ems.venues.gateway import HedgeMode, NoContracts, Position, VenueRefused, VenueUnavailable
from simulator.dialects import LISTED
from simulator.exchange import Exchange
from simulator.faults import Faults, Rule
from simulator.positions import Positions
from simulator.wire import SimulatorServer
from tests.venues.gateways import opened

BTC, ETH = "BTC/USDT:USDT", "ETH/USDT:USDT"
KEYS = VenueKeys(public="key", private="a secret of theirs", passphrase="some words")
WITH_CONTRACTS = ("bybit", "okx")
D = Decimal


class Venue:
    """A simulated exchange with contracts, books that stand still, and one account."""

    def __init__(self, name: str, swaps: bool = True) -> None:
        listed = LISTED[name]
        self.name = name
        self.exchange = Exchange(name, list(listed.markets))
        self.positions = Positions(self.exchange, listed.swaps) if swaps else None
        self.account = self.exchange.open_account(
            KEYS.public, KEYS.private, name="desk", passphrase=KEYS.passphrase
        )
        self.exchange.deposit(self.account, "USDT", D(10_000), time.time())
        self.server = SimulatorServer(self.exchange, listed.dialect(self.exchange), faults=Faults())

    def show(self, symbol: str, bid: str, ask: str) -> None:
        self.exchange.set_book(symbol, [(D(bid), D(10_000))], [(D(ask), D(10_000))], time.time())

    def trade(self, symbol: str, side: str, base: str) -> None:
        """Take so much of the base currency at the market."""
        quantity = D(base) / self.exchange.markets[symbol].contract_size
        order = self.exchange.create_order(self.account, symbol, side, "market", quantity, now=time.time())
        assert order.status == "filled"


@asynccontextmanager
async def world(name: str, **options):
    venue = Venue(name)
    await venue.server.open()
    venue.show(BTC, "59999", "60001")
    venue.show(ETH, "2999", "3001")
    try:
        async with opened(name, venue.server.url, KEYS, **options) as (gateway, reports):
            yield venue, gateway, reports
    finally:
        await venue.server.close()
    assert (venue.exchange.imbalance(), venue.positions.imbalance()) == ({}, {})


@pytest.mark.parametrize("name", WITH_CONTRACTS)
def test_positions_are_told_in_base_currency_as_the_venue_keeps_them(name):
    async def story():
        async with world(name) as (venue, gateway, _):
            assert await gateway.fetch_positions() == []
            await gateway.set_leverage(BTC, D(20))
            venue.trade(BTC, "buy", "0.5")
            venue.trade(ETH, "sell", "2")
            venue.show(BTC, "60499", "60501")
            venue.show(ETH, "3099", "3101")
            told = {one.symbol: one for one in await gateway.fetch_positions()}
            kept = {one.symbol: one for one in venue.positions.held(venue.account)}
            assert set(told) == set(kept) == {BTC, ETH}
            for symbol, position in kept.items():
                price = venue.positions.liquidation_price(venue.account, symbol)
                liquidation = told[symbol].liquidation_price
                assert (price is None) == (liquidation is None)
                assert price is None or abs(price - liquidation) < D("0.00000001")
                assert told[symbol] == Position(
                    symbol=symbol,
                    quantity=position.quantity * venue.exchange.markets[symbol].contract_size,
                    average_entry_price=venue.positions.entry_price(position),
                    mark_price=venue.positions.mark(symbol),
                    unrealised_pnl=venue.positions.unrealised(position),
                    currency="USDT",
                    leverage=venue.positions.leverage(venue.account, symbol),
                    margin=told[symbol].margin,  # judged by hand below
                    margin_mode="cross",
                    liquidation_price=liquidation,
                )
            # By hand: bought at 60,001, sold at 2,999, and both marks are a middle.
            assert (told[BTC].quantity, told[BTC].leverage) == (D("0.5"), 20)
            assert (told[BTC].average_entry_price, told[BTC].unrealised_pnl) == (60_001, D("249.5"))
            assert (told[ETH].quantity, told[ETH].unrealised_pnl) == (-2, -202)
            assert (told[ETH].mark_price, told[ETH].leverage) == (3_100, 10)
            assert (told[BTC].margin, told[ETH].margin) == (D("1512.5"), 620)  # value over leverage
            venue.trade(BTC, "sell", "0.5")
            assert [one.symbol for one in await gateway.fetch_positions()] == [ETH]

    asyncio.run(story())


@pytest.mark.parametrize("name", WITH_CONTRACTS)
def test_leverage_is_set_and_setting_it_again_is_no_error(name):
    async def story():
        async with world(name) as (venue, gateway, _):
            for wanted in (D(7), D(7), D("12.5")):
                await gateway.set_leverage(BTC, wanted)
                assert venue.positions.leverage(venue.account, BTC) == wanted
            assert venue.positions.leverage(venue.account, ETH) == 10

    asyncio.run(story())


REFUSED = {
    "of a spot market": ("BTC/USDT", "5", None),
    "of an inverse contract": ("BTC/USD:BTC", "5", None),
    "of no contract at all": ("NO/USDT:USDT", "5", {"okx": "51001", "bybit": "10001"}),
    "of nothing": (BTC, "0", None),
    "more than there is": (BTC, "101", {"okx": "59102", "bybit": "110013"}),
    "less than the margin allows": (BTC, "2", {"okx": "59103", "bybit": "110044"}),
}


@pytest.mark.parametrize("name", WITH_CONTRACTS)
@pytest.mark.parametrize("symbol, leverage, codes", REFUSED.values(), ids=REFUSED)
def test_leverage_that_is_refused_changes_nothing(name, symbol, leverage, codes):
    async def story():
        async with world(name) as (venue, gateway, _):
            venue.trade(BTC, "buy", "1")  # 6,000 of 10,000 at 10 times
            with pytest.raises(VenueRefused) as refused:
                await gateway.set_leverage(symbol, D(leverage))
            assert refused.value.code == (None if codes is None else codes[name])
            assert venue.positions.leverage(venue.account, BTC) == 10

    asyncio.run(story())


@pytest.mark.parametrize("name", WITH_CONTRACTS)
def test_contracts_are_no_markets_to_trade_in(name):
    async def story():
        venue = Venue(name)
        await venue.server.open()
        try:
            async with opened(name, venue.server.url, KEYS, wait=False) as (_, reports):
                loaded = await reports.next(MarketsLoaded)
        finally:
            await venue.server.close()
        spot = {market.symbol for market in LISTED[name].markets}
        assert {market.symbol for market in loaded.markets} == spot
        assert set(venue.exchange.markets) == spot | {BTC, ETH}

    asyncio.run(story())


@pytest.mark.parametrize("name", sorted(set(DIALECTS) - set(WITH_CONTRACTS)))
def test_an_exchange_without_contracts_says_so(name):
    assert DIALECTS[name].derivatives is None

    async def story():
        async with opened(name, "http://127.0.0.1:9", KEYS, wait=False) as (gateway, _):
            for asked in (gateway.fetch_positions(), gateway.set_leverage(BTC, D(5))):
                with pytest.raises(NoContracts, match=f"at {name}: only spot is reached; see bybit, okx"):
                    await asked

    if name in ("binance", "kraken"):  # the keys of the others have shapes of their own
        asyncio.run(story())


@pytest.mark.parametrize("name", WITH_CONTRACTS)
def test_an_account_without_contracts_has_no_positions_or_a_refusal(name):
    async def story():
        venue = Venue(name, swaps=False)
        await venue.server.open()
        try:
            async with opened(name, venue.server.url, KEYS) as (gateway, _):
                if name == "okx":
                    assert await gateway.fetch_positions() == []
                else:
                    with pytest.raises(VenueRefused) as refused:
                        await gateway.fetch_positions()
                    assert refused.value.code == "10001"
        finally:
            await venue.server.close()

    asyncio.run(story())


@pytest.mark.parametrize("name", WITH_CONTRACTS)
@pytest.mark.parametrize("action", ["hang", "garbage", "status"])
def test_an_answer_that_is_none_is_neither_no_position_nor_a_refusal(name, action):
    async def story():
        async with world(name) as (venue, gateway, _):
            venue.trade(BTC, "buy", "0.5")
            venue.server.faults.set([Rule(action=action, kinds=("balance",), count=1)])
            with pytest.raises(VenueUnavailable):
                await gateway.fetch_positions()
            assert [one.quantity for one in await gateway.fetch_positions()] == [D("0.5")]
            # Done, and not told: asked again it is so already.
            venue.server.faults.set([Rule(action=action, kinds=("other",), count=1)])
            with pytest.raises(VenueUnavailable):
                await gateway.set_leverage(BTC, D(25))
            await gateway.set_leverage(BTC, D(25))
            assert venue.positions.leverage(venue.account, BTC) == 25

    asyncio.run(story())


def test_a_contract_whose_worth_is_not_read_is_no_shorter_list():
    """An inverse contract beside a linear one: all or nothing."""
    row = {"posSide": "net", "mgnMode": "cross", "lever": "3", "liqPx": ""}
    row |= {"pos": "5", "avgPx": "100", "markPx": "100", "upl": "0", "imr": "1"}
    listed = [
        {"instId": "BTC-USD-SWAP", "ctType": "inverse", "ctVal": "100", "ctMult": "1"},
        {"instId": "BTC-USDT-SWAP", "ctType": "linear", "ctVal": "0.01", "ctMult": "1"}
        | {"instFamily": "BTC-USDT", "settleCcy": "USDT"},
    ]

    async def told(*names: str) -> list[Position]:
        async def ask(what, question):
            held = [row | {"instId": name} for name in names]
            return {"data": held if what == "positions" else listed}

        class Ccxt:
            privateGetAccountPositions = publicGetPublicInstruments = dict  # never called

        return await DIALECTS["okx"].derivatives.positions(ask, Ccxt)

    [position] = asyncio.run(told("BTC-USDT-SWAP"))
    assert (position.symbol, position.quantity, position.liquidation_price) == (BTC, D("0.05"), None)
    with pytest.raises(CannotSay, match="BTC-USD-SWAP"):
        asyncio.run(told("BTC-USDT-SWAP", "BTC-USD-SWAP"))


HEDGED = {
    "okx": [
        {"data": [{"instId": "BTC-USDT-SWAP", "posSide": "long", "pos": "5", "mgnMode": "cross"}]},
        {"data": [{"instId": "BTC-USDT-SWAP", "ctType": "linear"}]},
    ],
    "bybit": [
        {"result": {"list": [{"symbol": "BTCUSDT", "positionIdx": 2, "size": "1"}]}},
        {"result": {"marginMode": "REGULAR_MARGIN"}},
        {"result": {"list": [{"symbol": "BTCUSDT", "contractType": "LinearPerpetual"}]}},
    ],
}


@pytest.mark.parametrize("name", WITH_CONTRACTS)
def test_positions_that_are_not_netted_are_not_told_as_if_they_were(name):
    answers = iter(HEDGED[name])

    async def ask(what, question):
        return next(answers)

    class Ccxt:
        privateGetAccountPositions = publicGetPublicInstruments = dict  # never called
        privateGetV5PositionList = privateGetV5AccountInfo = publicGetV5MarketInstrumentsInfo = dict

    with pytest.raises(HedgeMode, match="netted"):
        asyncio.run(DIALECTS[name].derivatives.positions(ask, Ccxt))


@pytest.mark.parametrize("category, told", [("normal", 1), ("full_liquidation", 0), ("adl", 0)])
def test_what_okx_closes_by_itself_is_no_fill_that_explains_a_position(category, told):
    row = {"instType": "SWAP", "instId": "BTC-USDT-SWAP", "ordId": "1", "side": "sell", "state": "filled"}
    row |= {"tradeId": "7", "fillPx": "60000", "fillSz": "5", "fillFee": "-1", "fillFeeCcy": "USDT"}
    row |= {"execType": "T", "fillTime": "1", "accFillSz": "5", "sz": "5", "px": "", "category": category}

    class Ccxt:
        options: ClassVar = {"oms_swaps": True}
        safe_symbol = staticmethod(lambda *_: BTC)
        safe_currency_code = staticmethod(str)
        market = staticmethod(lambda _: {"contractSize": "0.01"})

    frame = {"arg": {"channel": "orders"}, "data": [row]}
    reports = list(DIALECTS["okx"].stream.read(Ccxt, frame))
    fills = [one for one in reports if isinstance(one, FillReport)]
    assert len(fills) == told and len(reports) == told + 1
    assert all(one.quantity == D("0.05") for one in fills)
