"""Gemini's dialect as ccxt meets it: real ccxt, REST and streams, over loopback sockets.

Where ccxt 4.5.90 is wrong about Gemini, a test says so: when it fails, ccxt has been put right, and what
stands in front of it in `ems.venues.dialects.gemini` can go.
"""

import asyncio
import time

import ccxt.pro
import pytest

from ems.venues.dialects import DIALECTS
from ems.venues.transport import exchange_class
from simulator.dialects.gemini import MARKETS, Gemini
from simulator.wire import SimulatorServer
from tests.simulator.ccxt_world import UUID, WAIT_S, D, World, here, told_of

KEY, SECRET = "account-KEY", "a secret of Gemini's shape"
ETH = "ETH/USDT:USDT"  # as ccxt has it


def connect(server: SimulatorServer, key: str = KEY, made_by: type = ccxt.pro.gemini) -> ccxt.pro.gemini:
    options = {"fetchMarketsFromAPI": {"fetchDetailsForAllSymbols": True}}
    client = made_by({"apiKey": key, "secret": SECRET, "enableRateLimit": False, "options": options})
    client.has["fetchCurrencies"] = False  # it reads a web page
    client.urls["api"] = here(server, client.urls["api"])
    return client


told = told_of("gemini", Gemini, MARKETS, (KEY, SECRET, None), connect)


def test_ccxt_takes_spot_markets_for_perpetuals():
    async def story(world: World, gemini: ccxt.pro.gemini) -> None:
        markets = await gemini.load_markets()
        assert {market["swap"] for market in markets.values()} == {True}
        ours = world.client(made_by=exchange_class("gemini", DIALECTS["gemini"].wire))
        markets = await ours.load_markets()
        assert {market["spot"] for market in markets.values()} == {True}
        assert set(markets) == {market.symbol for market in MARKETS}
        for market in MARKETS:
            told = markets[market.symbol]
            assert (told["precision"]["price"], told["precision"]["amount"]) == (market.tick, market.lot)
            assert told["limits"]["amount"]["min"] == market.min_qty

    told(story)


def test_ccxt_forgets_the_signature_of_the_order_events():
    async def story(world: World, gemini: ccxt.pro.gemini) -> None:
        await gemini.load_markets()
        with pytest.raises(ccxt.NetworkError, match="400"):
            await gemini.watch_orders()

    told(story)


def test_balances_prices_fees_and_transfers():
    async def story(world: World, gemini: ccxt.pro.gemini) -> None:
        await gemini.load_markets()
        balance = await gemini.fetch_balance()
        assert (balance["total"]["USDT"], balance["free"]["ETH"]) == (10_000.0, 2.0)
        book = await gemini.fetch_order_book(ETH, 5)
        shown = world.exchange.depth("ETH/USDT", 5, now=world.server.now())
        assert [tuple(level[:2]) for level in book["bids"]] == [(float(p), float(q)) for p, q in shown.bids]
        ticker = await gemini.fetch_ticker(ETH)
        assert (ticker["bid"], ticker["ask"]) == (book["bids"][0][0], book["asks"][0][0])
        fees = await gemini.fetch_trading_fees()
        assert (fees[ETH]["maker"], fees[ETH]["taker"]) == (0.002, 0.004)
        moved = await gemini.fetch_deposits_withdrawals()
        assert {(row["type"], row["currency"], row["amount"], row["status"]) for row in moved} == {
            ("deposit", "USDT", 10_000.0, "ok"),
            ("deposit", "ETH", 2.0, "ok"),
        }
        world.exchange.public_trade("ETH/USDT", D("2500"), D("0.5"), "sell", world.server.now())
        [*_, last] = await gemini.fetch_trades(ETH)
        assert (last["price"], last["amount"], last["side"]) == (2500.0, 0.5, "sell")
        assert "ETH/USDT:USDT" in await gemini.fetch_tickers()

    told(story)


def test_an_orders_life_found_by_both_ids():
    async def story(world: World, gemini: ccxt.pro.gemini) -> None:
        await gemini.load_markets()
        placed = await gemini.create_order(
            ETH, "limit", "buy", 0.5, 2000, {"clientOrderId": UUID, "postOnly": True}
        )
        assert (placed["status"], placed["clientOrderId"], placed["timeInForce"]) == ("open", UUID, "PO")
        found = await gemini.fetch_order(placed["id"])
        assert (found["status"], found["amount"], found["filled"]) == ("open", 0.5, 0.0)
        named = await gemini.private_post_v1_order_status({"client_order_id": UUID})
        assert named["order_id"] == placed["id"]
        assert [order["id"] for order in await gemini.fetch_open_orders()] == [placed["id"]]
        cancelled = await gemini.cancel_order(placed["id"])
        assert (cancelled["status"], cancelled["info"]["reason"]) == ("canceled", "Requested")
        assert await gemini.fetch_open_orders() == []
        with pytest.raises(ccxt.OrderNotFound):
            await gemini.fetch_order("999")

    told(story)


def test_an_order_that_takes_and_its_trades():
    async def story(world: World, gemini: ccxt.pro.gemini) -> None:
        await gemini.load_markets()
        (price, _) = world.exchange.best("ETH/USDT", "sell", world.server.now())
        placed = await gemini.create_order(ETH, "limit", "buy", 0.5, float(price), {"timeInForce": "IOC"})
        assert (placed["status"], placed["filled"], placed["average"]) == ("closed", 0.5, float(price))
        (trade,) = await gemini.fetch_my_trades(ETH, since=int(time.time() * 1000) - 60_000)
        (truth,) = world.exchange.my_trades(world.account)
        assert (trade["id"], trade["order"], trade["price"], trade["fee"]["cost"]) == (
            str(truth.trade_id),
            placed["id"],
            float(truth.price),
            float(truth.fee),
        )
        with_trades = await gemini.fetch_order(placed["id"], None, {"include_trades": True})
        assert [row["tid"] for row in with_trades["info"]["trades"]] == [truth.trade_id]

    told(story)


@pytest.mark.parametrize(
    ("case", "order", "error"),
    [
        ("a market order is refused by ccxt itself", ("market", "buy", 0.5, None), ccxt.ExchangeError),
        ("no money", ("limit", "buy", 100, 2000), ccxt.InsufficientFunds),
        ("too small", ("limit", "buy", 0.0001, 2000), ccxt.InvalidOrder),
    ],
)
def test_refusals_in_ccxts_classes(case, order, error):
    async def story(world: World, gemini: ccxt.pro.gemini) -> None:
        await gemini.load_markets()
        with pytest.raises(error):
            await gemini.create_order(ETH, *order)
        assert not world.account.orders

    told(story)


def test_a_stop_limit_order():
    async def story(world: World, gemini: ccxt.pro.gemini) -> None:
        await gemini.load_markets()
        placed = await gemini.create_order(ETH, "limit", "sell", 0.5, 2000, {"triggerPrice": 2100})
        assert (placed["status"], placed["info"]["type"], placed["info"]["stop_price"]) == (
            "open",
            "stop-limit",
            "2100.00",
        )
        assert (await gemini.cancel_order(placed["id"]))["status"] == "canceled"

    told(story)


def test_a_wrong_secret_and_a_key_that_does_not_say_what_it_is():
    async def story(world: World, gemini: ccxt.pro.gemini) -> None:
        gemini.secret = "guess"
        await gemini.load_markets()
        with pytest.raises(ccxt.AuthenticationError):
            await gemini.fetch_balance()
        nameless = world.client(key="KEY")
        await nameless.load_markets()
        with pytest.raises(ccxt.AuthenticationError, match="account-key"):
            await nameless.fetch_balance()

    told(story)


def test_too_many_requests():
    async def story(world: World, gemini: ccxt.pro.gemini) -> None:
        await gemini.load_markets()
        with pytest.raises(ccxt.RateLimitExceeded):
            for _ in range(100):
                await gemini.fetch_balance()

    told(story)


def test_a_live_book_and_its_trades():
    async def story(world: World, gemini: ccxt.pro.gemini) -> None:
        await gemini.load_markets()
        seen = set()
        async with asyncio.timeout(WAIT_S):
            while len(seen) < 10:
                book = await gemini.watch_order_book(ETH)
                assert book["bids"][0][0] < book["asks"][0][0]
                seen.add((book["bids"][0][0], book["asks"][0][0], book["bids"][0][1]))
            (await gemini.watch_trades(ETH))[-1]
            world.exchange.public_trade("ETH/USDT", D("2500"), D("0.123"), "sell", world.server.now())
            while True:
                trades = await gemini.watch_trades(ETH)
                if any((one["price"], one["amount"]) == (2500.0, 0.123) for one in trades):
                    break

    told(story, live=True)


def test_order_events_as_our_wire_signs_them():
    async def story(world: World, _: ccxt.pro.gemini) -> None:
        gemini = world.client(made_by=exchange_class("gemini", DIALECTS["gemini"].wire))
        await gemini.load_markets()
        heard: list[object] = []

        def hear(client: object, frame: object) -> bool:
            heard.append(frame)
            return False

        gemini.on_frame = hear
        watching = asyncio.ensure_future(gemini.watch_orders())
        async with asyncio.timeout(WAIT_S):
            while not heard:
                await asyncio.sleep(0.01)
            assert heard[0]["type"] == "subscription_ack"
            placed = await gemini.create_order("ETH/USDT", "limit", "buy", "0.5", "2000", {})
            (order,) = await watching
        assert (order["id"], order["status"], order["symbol"]) == (placed["id"], "open", "ETH/USDT")

    told(story)
