"""Coinbase Exchange's dialect as ccxt meets it: real ccxt, REST and streams, over loopback sockets.

There are no recorded answers of this exchange. The rows of `SHAPES` are those that ccxt's own tests
(ts/src/test/static/response/coinbaseexchange.json) and the comments of its parser show, by name and kind.
"""

import asyncio
import base64

import ccxt.pro
import pytest

from simulator.dialects.coinbaseexchange import MARKETS, CoinbaseExchange
from simulator.wire import SimulatorServer
from tests.simulator.ccxt_world import ETH, UUID, WAIT_S, D, World, here, told_of
from tests.simulator.test_coinbaseexchange import Desk

SECRET = base64.b64encode(b"a secret of Coinbase's shape").decode()


def connect(server: SimulatorServer, **changes: object) -> ccxt.pro.coinbaseexchange:
    keys = {"apiKey": "KEY", "secret": SECRET, "password": "phrase", **changes}
    client = ccxt.pro.coinbaseexchange({**keys, "enableRateLimit": False})
    client.urls["api"] = here(server, client.urls["api"])
    return client


told = told_of("coinbaseexchange", CoinbaseExchange, MARKETS, ("KEY", SECRET, "phrase"), connect)


def test_markets_balances_and_prices():
    async def story(world: World, coinbase: ccxt.pro.coinbaseexchange) -> None:
        markets = await coinbase.load_markets()
        assert set(markets) == {"BTC/USDT", "ETH/USDT", "ETH/BTC"}
        eth = markets[ETH]
        assert (eth["id"], eth["active"], eth["precision"]) == (
            "ETH-USDT",
            True,
            {"amount": 1e-8, "price": 0.01},
        )
        assert eth["limits"]["cost"]["min"] == 1.0
        assert set(coinbase.currencies) >= {"BTC", "ETH", "USDT"}
        balance = await coinbase.fetch_balance()
        assert (balance["total"]["USDT"], balance["free"]["ETH"]) == (10_000.0, 2.0)
        book = await coinbase.fetch_order_book(ETH)
        shown = world.exchange.depth(ETH, 5, now=world.server.now())
        assert [tuple(level[:2]) for level in book["bids"][:5]] == [
            (float(p), float(q)) for p, q in shown.bids
        ]
        fees = await coinbase.fetch_trading_fees()
        assert (fees[ETH]["maker"], fees[ETH]["taker"]) == (0.004, 0.006)
        assert abs(await coinbase.fetch_time() - world.server.now() * 1000) < 2000
        deposits = await coinbase.fetch_deposits()
        assert {(row["currency"], row["amount"], row["status"]) for row in deposits} == {
            ("USDT", 10_000.0, "ok"),
            ("ETH", 2.0, "ok"),
        }
        world.exchange.withdraw(world.account, "ETH", D("0.5"), world.server.now(), fee=D("0.01"))
        [away] = await coinbase.fetch_withdrawals("ETH")
        assert (away["amount"], away["fee"]["cost"], away["type"]) == (0.5, 0.01, "withdrawal")
        world.exchange.public_trade(ETH, D("2500"), D("0.5"), "sell", world.server.now())
        last = max(await coinbase.fetch_trades(ETH), key=lambda trade: trade["timestamp"])
        assert (last["price"], last["amount"], last["side"]) == (2500.0, 0.5, "sell")
        ticker = await coinbase.fetch_ticker(ETH)
        assert (ticker["last"], ticker["bid"]) == (2500.0, book["bids"][0][0])

    told(story)


def test_an_orders_life_over_rest_found_by_our_id():
    async def story(world: World, coinbase: ccxt.pro.coinbaseexchange) -> None:
        placed = await coinbase.create_order(
            ETH, "limit", "buy", 0.5, 2000, {"clientOrderId": UUID, "postOnly": True}
        )
        assert (placed["status"], placed["clientOrderId"], placed["filled"]) == ("open", UUID, 0.0)
        [theirs] = world.exchange.open_orders(world.account)
        assert (theirs.client_order_id, theirs.post_only, theirs.price) == (UUID, True, D(2000))
        found = await coinbase.fetch_order(None, None, {"clientOrderId": UUID})
        assert (found["id"], found["status"], found["remaining"]) == (placed["id"], "open", 0.5)
        assert [one["id"] for one in await coinbase.fetch_open_orders(ETH)] == [placed["id"]]
        # ccxt sends its own symbol as the product, in a body: signed, and otherwise not looked at.
        await coinbase.cancel_order(None, ETH, {"clientOrderId": UUID})
        assert not theirs.open
        with pytest.raises(ccxt.OrderNotFound):
            await coinbase.fetch_order(placed["id"])
        with pytest.raises(ccxt.OrderNotFound):
            await coinbase.cancel_order(placed["id"], ETH)
        assert await coinbase.fetch_orders(ETH) == []

    told(story)


def test_an_order_that_takes_and_its_trades():
    async def story(world: World, coinbase: ccxt.pro.coinbaseexchange) -> None:
        placed = await coinbase.create_order(ETH, "market", "buy", 0.1)
        order = await coinbase.fetch_order(placed["id"])
        assert (order["status"], order["filled"]) == ("closed", 0.1)
        trades = await coinbase.fetch_order_trades(placed["id"], ETH)
        [theirs] = world.exchange.all_orders(world.account)
        assert sorted((t["price"], t["amount"], t["fee"]["cost"]) for t in trades) == sorted(
            (float(f.price), float(f.quantity), float(f.fee)) for f in theirs.fills
        )
        assert {(t["takerOrMaker"], t["side"], t["fee"]["currency"]) for t in trades} == {
            ("taker", "buy", "USDT")
        }
        spent = await coinbase.create_order(ETH, "market", "buy", 1, None, {"cost": 100})
        order = await coinbase.fetch_order(spent["id"])
        assert 99 < order["cost"] + order["fee"]["cost"] <= 100
        assert len(await coinbase.fetch_my_trades(ETH)) == len(world.account.fills)

    told(story)


def test_the_classes_of_errors_that_ccxt_makes_of_them():
    async def story(world: World, coinbase: ccxt.pro.coinbaseexchange) -> None:
        with pytest.raises(ccxt.InsufficientFunds):
            await coinbase.create_order(ETH, "limit", "buy", 10, 2000)
        with pytest.raises(ccxt.InvalidOrder):  # "size is too small"
            await coinbase.create_order(ETH, "limit", "buy", 0.0001, 2000)
        done = await coinbase.create_order(ETH, "market", "buy", 0.1)
        with pytest.raises(ccxt.OrderNotFound):  # "Order already done"
            await coinbase.cancel_order(done["id"])
        for changes in ({"apiKey": "OTHER"}, {"secret": "b3RoZXI="}, {"password": "other"}):
            with pytest.raises(ccxt.AuthenticationError):
                await world.client(**changes).fetch_balance()
        with pytest.raises(ccxt.RateLimitExceeded):
            for _ in range(40):
                await coinbase.fetch_balance()

    told(story)


def test_a_live_book_is_followed():
    async def story(world: World, coinbase: ccxt.pro.coinbaseexchange) -> None:
        for _ in range(20):
            book = await coinbase.watch_order_book(ETH)
            assert book["bids"][0][0] < book["asks"][0][0]
        ticker = await coinbase.watch_ticker(ETH)
        assert ticker["bid"] and ticker["last"]
        trades = await coinbase.watch_trades(ETH)
        assert trades[-1]["price"] and trades[-1]["side"] in ("buy", "sell")

    told(story, live=True)


def test_the_accounts_orders_are_watched():
    async def story(world: World, coinbase: ccxt.pro.coinbaseexchange) -> None:
        await coinbase.load_markets()
        watching = asyncio.ensure_future(coinbase.watch_orders(ETH))
        async with asyncio.timeout(WAIT_S):
            while not any(url.endswith("?") for url in coinbase.clients or ()):
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.3)
        placed = await coinbase.create_order(ETH, "limit", "buy", 0.5, 2000, {"clientOrderId": UUID})
        order = (await watching)[-1]
        assert (order["id"], order["clientOrderId"], order["status"]) == (placed["id"], UUID, "open")
        watching = asyncio.ensure_future(coinbase.watch_my_trades(ETH))
        await asyncio.sleep(0.2)
        world.exchange.public_trade(ETH, D("2000"), D("0.5"), "sell", world.server.now())
        trade = (await watching)[-1]
        assert (trade["order"], trade["amount"], trade["takerOrMaker"]) == (placed["id"], 0.5, "maker")
        # ccxt makes the fee of the rate that it is told.
        assert (trade["fee"]["cost"], trade["fee"]["currency"]) == (4.0, "USDT")

    told(story)


# path -> fields of an answer (or of its first row) and their kinds
SHAPES = {
    "/products": {
        **dict.fromkeys(
            (
                *("id", "base_currency", "quote_currency", "quote_increment", "base_increment"),
                *("display_name", "min_market_funds", "status", "status_message"),
                "max_slippage_percentage",
            ),
            str,
        ),
        **dict.fromkeys(
            (
                *("margin_enabled", "fx_stablecoin", "post_only", "limit_only", "cancel_only"),
                *("trading_disabled", "auction_mode"),
            ),
            bool,
        ),
    },
    "/products/ETH-USDT/ticker": {
        **dict.fromkeys(("ask", "bid", "volume", "price", "size", "time", "rfq_volume"), str),
        "trade_id": int,
    },
    "/products/ETH-USDT/trades": {**dict.fromkeys(("side", "size", "price", "time"), str), "trade_id": int},
    "/products/ETH-USDT/book?level=2": {"sequence": int, "bids": list, "asks": list},
    "/time": {"iso": str, "epoch": float},
    "/currencies": {
        **dict.fromkeys(
            ("id", "name", "min_size", "status", "message", "max_precision", "default_network"), str
        ),
        "convertible_to": list,
        "details": dict,
        "supported_networks": list,
    },
    "/accounts": dict.fromkeys(("id", "currency", "balance", "available", "hold", "profile_id"), str),
    "/fees": dict.fromkeys(("maker_fee_rate", "taker_fee_rate", "usd_volume"), str),
    "/fills?product_id=ETH-USDT": {
        **dict.fromkeys(
            (
                *("product_id", "order_id", "user_id", "profile_id", "liquidity", "price", "size"),
                *("fee", "created_at", "side", "usd_volume"),
            ),
            str,
        ),
        "trade_id": int,
        "settled": bool,
    },
    "/orders?status=all": {
        **dict.fromkeys(
            (
                *("id", "product_id", "side", "type", "created_at", "fill_fees", "filled_size"),
                *("executed_value", "status", "client_oid", "price", "size", "time_in_force"),
            ),
            str,
        ),
        "post_only": bool,
        "settled": bool,
    },
    "/transfers": {
        **dict.fromkeys(
            ("id", "type", "created_at", "completed_at", "account_id", "user_id", "amount", "profile_id"), str
        ),
        "currency": str,
        "details": dict,
        "canceled_at": type(None),
        "user_nonce": type(None),
    },
}


@pytest.mark.parametrize("path", SHAPES)
def test_answers_have_the_fields_that_ccxts_samples_and_parser_show(path):
    desk = Desk()
    desk.place(price="2000.10", client_oid=UUID)
    body = desk.call("GET", path).body
    rows = body if isinstance(body, list) else [body]
    assert rows
    for row in rows:
        for name, kind in SHAPES[path].items():
            assert type(row[name]) is kind, name
