"""Coinbase's dialect as ccxt meets it: real ccxt, REST and streams, over loopback sockets."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from random import Random

import ccxt
import ccxt.pro
import pytest

from simulator.dialects.coinbase import MARKETS, Coinbase
from simulator.dialects.coinbase_tokens import new_keys
from simulator.exchange import Exchange
from simulator.wire import SimulatorServer
from tests.simulator.ccxt_world import ETH, UUID, WAIT_S, D, World

NAME, PEM, _ = new_keys(Random(1).randbytes)


def connect(server: SimulatorServer, **keys: str) -> ccxt.pro.coinbase:
    client = ccxt.pro.coinbase({"apiKey": NAME, "secret": PEM, "enableRateLimit": False, **keys})
    client.urls["api"] = {"rest": server.url, "ws": server.ws_url}
    return client


def told(story: Callable[[World, ccxt.pro.coinbase], Awaitable[None]]) -> None:
    """Run a story in a world of its own."""

    async def run() -> None:
        exchange = Exchange("coinbase", MARKETS)
        account = exchange.open_account(NAME, PEM, name="desk")
        now = time.time()
        for currency, amount in (("USDT", 10_000), ("ETH", 10), ("BTC", 1)):
            exchange.deposit(account, currency, D(amount), now, txid="0xabc", address="0xdef")
        exchange.set_book(ETH, [(D(1999), D(5)), (D(1998), D(5))], [(D(2001), D(5)), (D(2002), D(5))], now)
        exchange.public_trade(ETH, D(2000), D("0.5"), "buy", now)
        server = SimulatorServer(exchange, Coinbase(exchange, limited=False))
        await server.open()
        world = World(exchange, server, connect)
        try:
            await story(world, world.client())
        finally:
            await world.close()
            await server.close()

    asyncio.run(run())


def test_markets_currencies_books_and_time() -> None:
    async def story(world: World, client: ccxt.pro.coinbase) -> None:
        markets = await client.load_markets()
        assert set(markets) == set(world.exchange.markets)
        eth = markets[ETH]
        assert (eth["precision"]["price"], eth["precision"]["amount"], eth["active"]) == (0.01, 1e-8, True)
        assert (eth["limits"]["cost"]["min"], eth["taker"], eth["maker"]) == (1, 0.012, 0.006)
        assert {"ETH", "USDT", "BTC"} <= set(client.currencies)
        for method in ("v2PublicGetTime", "v3PublicGetBrokerageTime"):
            assert abs(await client.fetch_time({"method": method}) / 1000 - time.time()) < 3
        book = await client.fetch_order_book(ETH, 1)
        assert (book["bids"], book["asks"]) == ([[1999, 5]], [[2001, 5]])
        assert (await client.fetch_ticker(ETH))["last"] == 2000
        assert set(await client.fetch_bids_asks([ETH])) == {ETH}
        (trade,) = await client.fetch_trades(ETH)
        assert (trade["price"], trade["amount"]) == (2000, 0.5)

    told(story)


def test_an_order_from_beginning_to_end() -> None:
    async def story(world: World, client: ccxt.pro.coinbase) -> None:
        params = {"client_order_id": UUID}
        placed = await client.create_order(ETH, "limit", "buy", 0.5, 1990, params)
        assert placed["clientOrderId"] == UUID
        order_id = placed["id"]
        order = await client.fetch_order(order_id, ETH)
        assert (order["status"], order["clientOrderId"], order["amount"], order["price"]) == (
            "open", UUID, 0.5, 1990,
        )  # fmt: skip
        assert [one["id"] for one in await client.fetch_open_orders(ETH)] == [order_id]
        await client.edit_order(order_id, ETH, "limit", "buy", 0.4, 1991)
        assert (await client.fetch_order(order_id))["price"] == 1991
        balance = await client.fetch_balance({"v3": True})
        assert balance["USDT"]["used"] == pytest.approx(0.4 * 1991 * 1.012)
        assert (await client.fetch_balance())["USDT"]["total"] == 10_000  # the older address knows no more
        await client.cancel_order(order_id, ETH)
        assert [one["id"] for one in await client.fetch_canceled_orders(ETH)] == [order_id]
        with pytest.raises(ccxt.BadRequest):
            await client.cancel_order(order_id, ETH)
        bought = await client.create_market_buy_order_with_cost(ETH, 1000)
        sold = await client.create_order(ETH, "market", "sell", 0.25)
        closed = {one["id"]: one for one in await client.fetch_closed_orders(ETH)}
        assert set(closed) == {bought["id"], sold["id"]}
        fills = await client.fetch_my_trades(ETH)
        cost = closed[bought["id"]]["filled"] * 2001
        assert cost * 1.012 == pytest.approx(1000, rel=1e-5)  # the fee is in it
        (fill,) = [one for one in fills if one["order"] == sold["id"]]
        assert (fill["amount"], fill["price"], fill["takerOrMaker"]) == (0.25, 1999, "taker")
        assert (fill["fee"]["currency"], fill["fee"]["cost"]) == ("USDT", pytest.approx(0.25 * 1999 * 0.012))

    told(story)


@pytest.mark.parametrize(
    ("case", "arguments", "error"),
    [
        ("no money", (ETH, "limit", "buy", 1000, 1000), ccxt.InsufficientFunds),
        ("no key", (ETH, "limit", "buy", 1, 1000), ccxt.AuthenticationError),
    ],
)
def test_a_refusal_is_what_ccxt_knows(case: str, arguments: tuple, error: type[Exception]) -> None:
    async def story(world: World, client: ccxt.pro.coinbase) -> None:
        await client.load_markets()
        if case == "no key":
            world.exchange.revoke_key(NAME)
        with pytest.raises(error):
            await client.create_order(*arguments)
        assert not world.exchange.orders

    told(story)


def test_fees_accounts_deposits_and_withdrawals() -> None:
    async def story(world: World, client: ccxt.pro.coinbase) -> None:
        world.exchange.withdraw(world.account, "ETH", D(1), world.server.now(), fee=D("0.01"), txid="0x1")
        fees = await client.fetch_trading_fees()
        assert (fees[ETH]["maker"], fees[ETH]["taker"]) == (0.006, 0.012)
        assert {one["code"] for one in await client.fetch_accounts()} == {"BTC", "ETH", "USDT"}
        moved = await client.fetch_deposits_withdrawals("ETH")
        assert sorted((one["amount"], one["fee"]["cost"], one["status"]) for one in moved) == [
            (1, 0.01, "ok"), (10, None, "ok"),
        ]  # fmt: skip
        assert {one["txid"] for one in moved} == {"0xabc", "0x1"}
        assert await client.fetch_deposits("ETH") == []  # money alone, says ccxt
        assert (await client.v3PrivateGetBrokerageKeyPermissions())["can_trade"] is True
        (portfolio,) = await client.fetch_portfolios()
        assert portfolio["type"] == "DEFAULT"

    told(story)


def test_streams_of_books_trades_tickers_and_orders() -> None:
    async def story(world: World, client: ccxt.pro.coinbase) -> None:
        async def soon(awaitable: Awaitable) -> object:
            return await asyncio.wait_for(awaitable, WAIT_S)

        book = await soon(client.watch_order_book(ETH))
        assert (book["bids"][0], book["asks"][0]) == ([1999, 5], [2001, 5])
        world.exchange.update_book(ETH, [(D(2000), D(1))], [(D(2001), D(0))], world.server.now())
        book = await soon(client.watch_order_book(ETH))
        assert (book["bids"][0], book["asks"][0]) == ([2000, 1], [2002, 5])
        (trade,) = await soon(client.watch_trades(ETH))
        assert trade["price"] == 2000
        ticker = await soon(client.watch_ticker(ETH))
        assert (ticker["last"], ticker["bid"], ticker["ask"]) == (2000, 2000, 2002)
        # The first frame is a snapshot without orders, which ccxt takes for news.
        await soon(client.watch_orders())
        waiting = asyncio.ensure_future(client.watch_orders())
        await asyncio.sleep(0.1)
        await client.create_order(ETH, "limit", "buy", 0.5, 1990, {"client_order_id": UUID})
        (order,) = await soon(waiting)
        assert (order["clientOrderId"], order["status"], order["remaining"]) == (UUID, "open", 0.5)

    told(story)
