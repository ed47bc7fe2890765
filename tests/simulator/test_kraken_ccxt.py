"""Kraken's dialect as ccxt meets it: real ccxt, REST and streams, over loopback sockets."""

import asyncio
import base64
import json
from collections.abc import Callable
from contextlib import suppress

import aiohttp
import ccxt.pro
import pytest

from simulator.dialects.kraken import MARKETS, Kraken
from simulator.dialects.kraken_streams import checksum
from simulator.dialects.kraken_words import PRIVATE_PATH, PUBLIC_PATH
from simulator.wire import SimulatorServer
from tests.simulator.ccxt_world import ETH, UUID, WAIT_S, D, World, told_of

SECRET = base64.b64encode(b"a secret of Kraken's shape").decode()


class CheckingKraken(ccxt.pro.kraken):
    """Checks every book against its checksum, which ccxt 4.5.90 cannot: it takes floats for text."""

    checked = 0

    def handle_order_book(self, client, message):
        super().handle_order_book(client, message)
        [data] = message["data"]
        market = self.market(data["symbol"])
        places = {"price": market["info"]["pair_decimals"], "amount": market["info"]["lot_decimals"]}
        book = self.orderbooks[data["symbol"]]
        sides = [
            [
                (f"{price:.{places['price']}f}", f"{size:.{places['amount']}f}")
                for price, size, *_ in book[side]
            ]
            for side in ("asks", "bids")
        ]
        assert checksum(*sides) == data["checksum"], "the book is not the exchange's"
        self.checked += 1


def connect(server: SimulatorServer, key: str = "KEY") -> CheckingKraken:
    client = CheckingKraken({"apiKey": key, "secret": SECRET, "enableRateLimit": False, "newUpdates": False})
    streams = {"publicV2": server.ws_url + PUBLIC_PATH, "privateV2": server.ws_url + PRIVATE_PATH}
    client.urls["api"] |= {
        "public": server.url,
        "private": server.url,
        "ws": client.urls["api"]["ws"] | streams | {"private": server.ws_url + "/auth"},
    }
    return client


told = told_of("kraken", Kraken, MARKETS, ("KEY", SECRET, None), connect)


def test_markets_balances_and_prices():
    async def story(world: World, kraken: CheckingKraken) -> None:
        markets = await kraken.load_markets()
        assert set(markets) == {"BTC/USDT", "ETH/USDT", "ETH/BTC"}
        eth = markets[ETH]
        assert (eth["precision"], eth["limits"]["amount"]["min"], eth["limits"]["cost"]["min"]) == (
            {"amount": 1e-8, "price": 0.01},
            0.002,
            0.5,
        )
        assert (eth["maker"], eth["taker"], eth["active"]) == (0.0025, 0.004, True)
        assert markets["BTC/USDT"]["id"] == "XBTUSDT" and markets["ETH/BTC"]["id"] == "XETHXXBT"
        balance = await kraken.fetch_balance()
        assert (balance["total"]["USDT"], balance["free"]["ETH"]) == (10_000.0, 2.0)
        book = await kraken.fetch_order_book(ETH, 5)
        shown = world.exchange.depth(ETH, 5, now=world.server.now())
        assert [tuple(level[:2]) for level in book["bids"]] == [(float(p), float(q)) for p, q in shown.bids]
        ticker = await kraken.fetch_ticker(ETH)
        assert (ticker["bid"], ticker["ask"]) == (book["bids"][0][0], book["asks"][0][0])
        fee = await kraken.fetch_trading_fee(ETH)
        assert (fee["maker"], fee["taker"]) == (0.0025, 0.004)
        assert abs(await kraken.fetch_time() - world.server.now() * 1000) < 2000
        assert (await kraken.fetch_status())["status"] == "ok"
        deposits = await kraken.fetch_deposits()
        assert {(row["currency"], row["amount"], row["status"]) for row in deposits} == {
            ("USDT", 10_000.0, "ok"),
            ("ETH", 2.0, "ok"),
        }
        assert await kraken.fetch_withdrawals() == []

    told(story)


def test_an_orders_life_over_rest_found_by_client_id():
    async def story(world: World, kraken: CheckingKraken) -> None:
        ours = {"clientOrderId": UUID}
        placed = await kraken.create_order(ETH, "limit", "buy", 0.5, 2000, {**ours, "postOnly": True})
        [order] = world.account.open.values()
        assert (order.client_order_id, order.post_only, order.price) == (UUID, True, D(2000))
        # VENUES: the answer to a new order names it and says no more.
        assert placed["id"] and (placed["clientOrderId"], placed["status"]) == (None, None)
        [found] = await kraken.fetch_open_orders(params=ours)
        assert (found["id"], found["clientOrderId"], found["status"], found["filled"]) == (
            placed["id"], UUID, "open", 0.0,
        )  # fmt: skip
        assert await kraken.fetch_open_orders(params={"clientOrderId": "other"}) == []
        # ccxt knows no class for this refusal: only its words say what it is.
        with pytest.raises(ccxt.ExchangeError, match="cl_ord_id not unique"):
            await kraken.create_order(ETH, "limit", "buy", 0.5, 2000, ours)
        await kraken.cancel_order(None, ETH, ours)
        assert await kraken.fetch_open_orders(params=ours) == []
        [found] = await kraken.fetch_closed_orders(params=ours)
        assert (found["id"], found["status"]) == (placed["id"], "canceled")
        with pytest.raises(ccxt.OrderNotFound):
            await kraken.cancel_order(None, ETH, ours)
        with pytest.raises(ccxt.OrderNotFound):
            await kraken.cancel_order(placed["id"], ETH)
        assert len(world.account.orders) == 1

    told(story)


def test_a_market_order_its_trades_and_its_fee():
    async def story(world: World, kraken: CheckingKraken) -> None:
        placed = await kraken.create_order(ETH, "market", "buy", 1.5, None, {"clientOrderId": "a" * 32})
        order = await kraken.fetch_order(placed["id"], ETH)
        [truth] = world.account.orders.values()
        assert (order["status"], order["filled"], order["clientOrderId"]) == ("closed", 1.5, "a" * 32)
        assert D(str(order["cost"])) == truth.filled_quote
        assert order["fee"]["currency"] == "USDT"
        trades = await kraken.fetch_my_trades(ETH)
        assert [t["id"] for t in order["trades"]] == [t["id"] for t in trades][: len(order["trades"])]
        assert {t["order"] for t in trades} == {placed["id"]}
        assert sum(D(str(t["fee"]["cost"])) for t in trades) == sum(fill.fee for fill in truth.fills)
        again = await kraken.fetch_order_trades(placed["id"], ETH, params={"trades": order["trades"]})
        assert [(t["order"], t["price"], t["amount"]) for t in again] == [
            (t["order"], t["price"], t["amount"]) for t in trades
        ]
        balance = await kraken.fetch_balance()
        assert D(str(balance["total"]["ETH"])) == D("3.5")
        assert balance["used"]["USDT"] == 0

    told(story)


@pytest.mark.parametrize(
    "order, error",
    [
        ((ETH, "limit", "buy", 50, 2000), ccxt.InsufficientFunds),
        ((ETH, "limit", "buy", 0.001, 2000), ccxt.InvalidOrder),
        ((ETH, "limit", "buy", 0.1, 9000, {"postOnly": True}), ccxt.ExchangeError),
        ((ETH, "limit", "buy", 0.1, 2000, {"clientOrderId": "x" * 19}), ccxt.ExchangeError),
        ((ETH, "limit", "buy", 0.1, 2000, {"deadline": "2020-01-01T00:00:00Z"}), ccxt.ExchangeError),
    ],
)
def test_refusals_arrive_as_the_errors_ccxt_makes_of_them(order, error):
    async def story(world: World, kraken: CheckingKraken) -> None:
        with pytest.raises(error) as refusal:
            await kraken.create_order(*order)
        assert not isinstance(refusal.value, ccxt.OperationFailed)
        assert not world.account.orders

    told(story)


def test_a_wrong_secret_an_old_nonce_and_a_full_counter():
    async def story(world: World, kraken: CheckingKraken) -> None:
        await kraken.fetch_balance()
        behind = world.client()
        behind.nonce = lambda: 5
        with pytest.raises(ccxt.InvalidNonce):
            await behind.fetch_balance()
        stranger = world.client("SOMEBODY")
        with pytest.raises(ccxt.AuthenticationError):
            await stranger.fetch_balance()
        forger = world.client()
        forger.secret = base64.b64encode(b"guess").decode()
        with pytest.raises(ccxt.ExchangeError, match="EAPI:Invalid signature"):
            await forger.fetch_balance()
        with pytest.raises(ccxt.DDoSProtection, match="EAPI:Rate limit exceeded"):
            for _ in range(21):
                await kraken.fetch_balance()

    told(story)


@pytest.mark.parametrize("limit", [None, 25])
def test_the_book_of_the_stream_stays_the_exchanges(limit):
    async def story(world: World, kraken: CheckingKraken) -> None:
        for _ in range(25):
            book = await kraken.watch_order_book(ETH, limit)
        assert kraken.checked >= 25
        assert len(book["bids"]) == (limit or 10) or len(book["bids"]) == 20
        shown = world.exchange.depth(ETH, 1, now=world.server.now())
        assert abs(D(str(book["bids"][0][0])) - shown.bids[0][0]) < 5

    told(story, live=True)


def test_ccxts_own_checksum_option_cannot_be_used():
    # Should this fail one day, ccxt has learnt it, and its users may switch the option on.
    client = ccxt.pro.kraken()
    with pytest.raises(AttributeError):
        client.format_number(45285.2)


def test_raw_frames_carry_all_digits():
    async def story(world: World, kraken: CheckingKraken) -> None:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(world.server.ws_url + PUBLIC_PATH) as stream,
        ):
            await stream.send_json(
                {"method": "subscribe", "params": {"channel": "book", "symbol": ["BTC/USDT"], "depth": 10}}
            )
            while True:
                message = json.loads(await stream.receive_str(), parse_float=str, parse_int=str)
                if message.get("channel") == "book":
                    break
        [book] = message["data"]
        sides = [[(level["price"], level["qty"]) for level in book[side]] for side in ("asks", "bids")]
        assert all(
            len(price.split(".")[1]) == 1 and len(size.split(".")[1]) == 8 for s in sides for price, size in s
        )
        assert checksum(*sides) == int(book["checksum"])

    told(story)


def test_orders_and_trades_of_the_private_stream():
    async def story(world: World, kraken: CheckingKraken) -> None:
        heard: dict[str, list[str]] = {}

        async def listen() -> None:
            while True:
                for order in await kraken.watch_orders():
                    states = heard.setdefault(order["id"], [])
                    if order["info"]["exec_type"] not in states:
                        states.append(order["info"]["exec_type"])

        async def until(condition: Callable[[], bool]) -> None:
            async with asyncio.timeout(WAIT_S):
                while not condition():
                    await asyncio.sleep(0.01)

        first = await kraken.create_order(ETH, "limit", "buy", 0.1, 1900)
        listener = asyncio.create_task(listen())
        await until(lambda: first["id"] in heard)  # in the snapshot
        ours = {"clientOrderId": "ws-1", "postOnly": True}
        resting = await kraken.create_order_ws(ETH, "limit", "buy", 0.1, 2000, ours)
        assert resting["clientOrderId"] == "ws-1"
        await until(lambda: "new" in heard.get(resting["id"], []))
        cached = [order for order in kraken.orders if order["id"] == resting["id"]]
        # ccxt has no clientOrderId on this stream; the raw report has.
        assert {order["info"]["cl_ord_id"] for order in cached} == {"ws-1"}
        answer = await kraken.cancel_order_ws(resting["id"])
        assert answer["success"] is True
        await until(lambda: "canceled" in heard[resting["id"]])
        taken = await kraken.create_order_ws(ETH, "limit", "buy", 0.1, 2900, {"timeInForce": "ioc"})
        await until(lambda: "filled" in heard.get(taken["id"], []))
        trades = [trade for trade in kraken.myTrades or [] if trade["order"] == taken["id"]]
        assert [(t["amount"], t["takerOrMaker"], t["fee"]["currency"]) for t in trades] == [
            (0.1, "taker", "USDT")
        ]
        with pytest.raises(ccxt.ExchangeError, match="EOrder:Insufficient funds"):
            await kraken.create_order_ws(ETH, "limit", "buy", 50, 2000)
        with pytest.raises(ccxt.OrderNotFound):
            await kraken.cancel_order_ws(taken["id"])
        listener.cancel()
        with suppress(asyncio.CancelledError):
            await listener

    told(story)


def test_balances_of_the_private_stream():
    async def story(world: World, kraken: CheckingKraken) -> None:
        balance = await kraken.watch_balance()
        assert balance["total"] == {"USDT": 10_000.0, "ETH": 2.0}
        update = asyncio.create_task(kraken.watch_balance())
        await asyncio.sleep(0)
        await kraken.create_order(ETH, "market", "sell", 1)
        assert (await asyncio.wait_for(update, WAIT_S))["total"]["ETH"] in (1.0, 2.0)
        assert world.exchange.balances(world.account)["ETH"] == (D(1), D(0))

    told(story)


def test_public_trades_and_ticker_of_the_stream():
    async def story(world: World, kraken: CheckingKraken) -> None:
        trades = await asyncio.wait_for(kraken.watch_trades("BTC/USDT"), WAIT_S)
        assert trades[-1]["side"] in ("buy", "sell") and trades[-1]["price"] > 50_000
        ticker = await asyncio.wait_for(kraken.watch_ticker("BTC/USDT"), WAIT_S)
        assert ticker["bid"] < ticker["ask"]

    told(story, live=True)
