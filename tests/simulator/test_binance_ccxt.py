"""The real ccxt, asynchronous REST and pro, trades on the simulated Binance over loopback."""

import asyncio

import pytest

from simulator.dialects.binance import MARKETS, Binance
from simulator.exchange import Exchange
from simulator.faults import Faults, Rule
from simulator.wire import SimulatorServer
from tests.simulator.builders import D, account
from tests.simulator.ccxt_world import here

ccxt = pytest.importorskip("ccxt.pro")
errors = pytest.importorskip("ccxt.base.errors")

WAIT_S = 5
SYMBOL = "BTC/USDT"


def repointed(kind, server):
    """ccxt with every address turned to the simulator; its paths stay."""
    exchange = kind({"apiKey": "key-bot", "secret": "secret-bot", "enableRateLimit": False, "timeout": 1000})
    exchange.urls["api"] = here(server, exchange.urls["api"])
    return exchange


def run(story, *rules):
    """Serve a Binance with a book, and tell the story to a ccxt pro instance (it has async REST too)."""
    made = Exchange("binance", MARKETS)
    account(made, USDT="100000")
    server = SimulatorServer(made, Binance(made), faults=Faults([Rule.read(rule) for rule in rules]))

    async def tell():
        await server.open()
        now = server.now()
        made.set_book(
            SYMBOL,
            [(D(60000) - step, D("0.5")) for step in range(20)],
            [(D(60001) + step, D("0.5")) for step in range(20)],
            now,
        )
        client = repointed(ccxt.binance, server)
        try:
            await asyncio.wait_for(story(client, made, server), 30)
        finally:
            await client.close()
            await server.close()
        assert made.imbalance() == {}

    asyncio.run(tell())


def test_markets_balances_and_fees():
    async def story(client, made, server):
        markets = await client.load_markets()
        assert set(markets) == {market.symbol for market in MARKETS}
        btc = markets[SYMBOL]
        assert (btc["precision"]["price"], btc["precision"]["amount"]) == (0.01, 0.00001)
        assert (btc["limits"]["cost"]["min"], btc["limits"]["amount"]["min"]) == (5, 0.00001)
        balance = await client.fetch_balance()
        assert balance["USDT"] == {"free": 100000.0, "used": 0.0, "total": 100000.0}
        fee = await client.fetch_trading_fee(SYMBOL)
        assert (fee["maker"], fee["taker"]) == (0.001, 0.001)
        deposits = await client.fetch_deposits()
        assert [(d["currency"], d["amount"], d["status"]) for d in deposits] == [("USDT", 100000.0, "ok")]
        assert await client.fetch_withdrawals() == []
        assert abs(await client.fetch_time() / 1000 - server.now()) < 5
        book = await client.fetch_order_book(SYMBOL, 5)
        assert (book["bids"][0], book["asks"][0], len(book["asks"])) == ([60000, 0.5], [60001, 0.5], 5)
        ticker = await client.fetch_ticker(SYMBOL)
        assert (ticker["bid"], ticker["ask"]) == (60000, 60001)

    run(story)


def test_an_order_from_creation_to_cancellation_by_client_id():
    async def story(client, made, server):
        await client.load_markets()
        by_id = {"clientOrderId": "e8c3ef01-6b2c-4f40-9a3e-5d0f0c1b2a3d"}
        placed = await client.create_order(SYMBOL, "limit", "buy", 0.01, 50000, by_id)
        assert (placed["status"], placed["clientOrderId"], placed["filled"]) == ("open", *by_id.values(), 0)
        assert (await client.fetch_balance())["USDT"]["used"] == 500
        fetched = await client.fetch_order(None, SYMBOL, by_id)
        assert (fetched["id"], fetched["status"]) == (placed["id"], "open")
        assert [o["id"] for o in await client.fetch_open_orders(SYMBOL)] == [placed["id"]]
        with pytest.raises(errors.InvalidOrder, match="Duplicate order sent"):
            await client.create_order(SYMBOL, "limit", "buy", 0.01, 50000, by_id)
        canceled = await client.cancel_order(None, SYMBOL, by_id)
        assert (canceled["id"], canceled["status"]) == (placed["id"], "canceled")
        with pytest.raises(errors.OrderNotFound):
            await client.cancel_order(None, SYMBOL, by_id)
        assert [o["status"] for o in await client.fetch_orders(SYMBOL)] == ["canceled"]

    run(story)


def test_a_market_order_and_its_trades():
    async def story(client, made, server):
        await client.load_markets()
        bought = await client.create_order(SYMBOL, "market", "buy", 0.1)
        assert (bought["status"], bought["filled"], bought["average"]) == ("closed", 0.1, 60001)
        trades = await client.fetch_my_trades(SYMBOL)
        assert [(t["order"], t["amount"], t["price"], t["takerOrMaker"], t["fee"]) for t in trades] == [
            (bought["id"], 0.1, 60001, "taker", {"cost": 0.0001, "currency": "BTC"})
        ]
        assert (await client.fetch_balance())["BTC"]["free"] == 0.0999

    run(story)


@pytest.mark.parametrize(
    ("order", "error"),
    [
        ((SYMBOL, "limit", "buy", 2, 60000), "InsufficientFunds"),
        # ccxt's finer classes for Binance spot need the real host name; elsewhere -1013 is a BadRequest.
        ((SYMBOL, "limit", "buy", 0.00001, 50000), "BadRequest"),
        ((SYMBOL, "limit", "buy", 0.01, 60001, {"postOnly": True}), "OrderImmediatelyFillable"),
    ],
)
def test_refusals_become_the_classes_of_ccxt(order, error):
    async def story(client, made, server):
        await client.load_markets()
        with pytest.raises(getattr(errors, error)):
            await client.create_order(*order)
        assert made.orders == {}

    run(story)


def test_a_wrong_signature_and_a_revoked_key():
    async def story(client, made, server):
        client.secret = "wrong"
        with pytest.raises(errors.AuthenticationError):
            await client.fetch_balance()
        client.secret = "secret-bot"
        made.revoke_key("key-bot")
        with pytest.raises(errors.AuthenticationError):
            await client.fetch_balance()

    run(story)


def test_a_lost_answer_is_found_by_client_id():
    async def story(client, made, server):
        await client.load_markets()
        with pytest.raises(errors.RequestTimeout):
            await client.create_order(SYMBOL, "limit", "buy", 0.01, 50000, {"clientOrderId": "lost-1"})
        found = await client.fetch_order(None, SYMBOL, {"clientOrderId": "lost-1"})
        assert (found["status"], len(made.orders)) == ("open", 1)

    run(story, {"action": "hang", "when": "after", "kinds": ["create"], "count": 1})


def test_the_streams_of_a_trader():
    async def story(client, made, server):
        async def within(awaitable):
            return await asyncio.wait_for(awaitable, WAIT_S)

        await client.load_markets()
        book = await within(client.watch_order_book(SYMBOL))
        assert (book["bids"][0], book["asks"][0]) == ([60000, 0.5], [60001, 0.5])
        orders = asyncio.ensure_future(client.watch_orders(SYMBOL))
        fills = asyncio.ensure_future(client.watch_my_trades(SYMBOL))
        balances = asyncio.ensure_future(client.watch_balance())
        trades = asyncio.ensure_future(client.watch_trades(SYMBOL))
        quotes = asyncio.ensure_future(client.watch_bids_asks([SYMBOL]))
        await asyncio.sleep(0.3)
        placed = await within(
            client.create_order_ws(SYMBOL, "limit", "buy", 0.6, 60001, {"newClientOrderId": "w-1"})
        )
        assert (placed["status"], placed["filled"], placed["clientOrderId"]) == ("open", 0.5, "w-1")
        assert {o["clientOrderId"] for o in await within(orders)} == {"w-1"}
        fill = (await within(fills))[-1]
        assert (fill["amount"], fill["price"], fill["takerOrMaker"], fill["order"]) == (
            0.5,
            60001,
            "taker",
            placed["id"],
        )
        assert fill["fee"] == {"cost": 0.0005, "currency": "BTC"}
        assert (await within(balances))["BTC"]["free"] == 0.4995
        assert (await within(trades))[-1]["side"] == "buy"
        assert (await within(quotes))[SYMBOL]["bid"] == 60001
        # Then another trader fills the rest, and the stream tells.
        orders = asyncio.ensure_future(client.watch_orders(SYMBOL))
        made.public_trade(SYMBOL, D(60000), D(1), "sell", server.now())
        last = (await within(orders))[-1]
        assert (last["status"], last["filled"]) == ("closed", 0.6)
        canceled = await within(
            client.create_order_ws(SYMBOL, "limit", "buy", 0.01, 50000, {"newClientOrderId": "w-2"})
        )
        await within(client.cancel_order_ws(canceled["id"], SYMBOL))
        assert made.orders[2].status == "canceled"

    run(story)


def test_the_book_of_ccxt_follows_ours():
    async def story(client, made, server):
        await client.load_markets()
        await asyncio.wait_for(client.watch_order_book(SYMBOL), WAIT_S)
        bot = made.accounts["bot"]
        for step in range(10):
            made.set_book(
                SYMBOL,
                [(D(60000) - step - i, D("0.1") + i) for i in range(5)],
                [(D(60002) - step + i, D("0.2") + i) for i in range(5)],
                server.now(),
            )
            made.create_order(bot, SYMBOL, "buy", "limit", D("0.001"), D(59000) + step, now=server.now())
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.3)
        truth = made.depth(SYMBOL, now=server.now())
        followed = client.orderbooks[SYMBOL]
        assert followed["nonce"] == truth.sequence
        for side, levels in (("bids", truth.bids), ("asks", truth.asks)):
            assert [(float(p), float(q)) for p, q in levels] == [(p, q) for p, q in followed[side]]

    run(story)
