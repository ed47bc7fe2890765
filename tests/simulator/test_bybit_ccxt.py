"""Bybit's dialect as ccxt meets it: real ccxt, REST and streams, over loopback sockets."""

import asyncio

import ccxt.pro
import pytest

from simulator.dialects.bybit import MARKETS, Bybit
from simulator.wire import SimulatorServer
from tests.simulator.ccxt_world import ETH, UUID, WAIT_S, D, World, here, told_of, until

SECRET = "a secret of Bybit's shape"


def connect(server: SimulatorServer, key: str = "KEY", **options: object) -> ccxt.pro.bybit:
    """A client that asks Bybit itself which kind of account it has, as ccxt does unless told."""
    wanted = {"defaultType": "spot", "fetchMarkets": {"types": ["spot"]}, **options}
    client = ccxt.pro.bybit({"apiKey": key, "secret": SECRET, "enableRateLimit": False, "options": wanted})
    client.urls["api"] = here(server, client.urls["api"])
    return client


told = told_of("bybit", Bybit, MARKETS, ("KEY", SECRET, None), connect)


def test_markets_balances_and_prices():
    async def story(world: World, bybit: ccxt.pro.bybit) -> None:
        markets = await bybit.load_markets()
        assert set(markets) == {"BTC/USDT", "ETH/USDT", "ETH/BTC"}
        eth = markets[ETH]
        assert (eth["precision"], eth["limits"]["amount"]["min"], eth["limits"]["cost"]["min"]) == (
            {"amount": 1e-5, "price": 0.01},
            1e-5,
            5.0,
        )
        assert (eth["id"], eth["active"], eth["spot"], eth["margin"]) == ("ETHUSDT", True, True, False)
        assert set(bybit.currencies) == {"BTC", "ETH", "USDT"}
        balance = await bybit.fetch_balance()
        assert (balance["total"]["USDT"], balance["free"]["ETH"]) == (10_000.0, 2.0)
        book = await bybit.fetch_order_book(ETH, 5)
        shown = world.exchange.depth(ETH, 5, now=world.server.now())
        assert [tuple(level[:2]) for level in book["bids"]] == [(float(p), float(q)) for p, q in shown.bids]
        ticker = await bybit.fetch_ticker(ETH)
        assert (ticker["bid"], ticker["ask"]) == (book["bids"][0][0], book["asks"][0][0])
        assert set(await bybit.fetch_tickers()) == set(markets)
        fee = await bybit.fetch_trading_fee(ETH)
        assert (fee["maker"], fee["taker"]) == (0.001, 0.001)
        assert abs(await bybit.fetch_time() - world.server.now() * 1000) < 2000
        deposits = await bybit.fetch_deposits()
        assert {(row["currency"], row["amount"], row["status"]) for row in deposits} == {
            ("USDT", 10_000.0, "ok"),
            ("ETH", 2.0, "ok"),
        }
        assert await bybit.fetch_withdrawals() == []
        world.exchange.public_trade(ETH, D("2500"), D("0.5"), "sell", world.server.now())
        [*_, last] = await bybit.fetch_trades(ETH)
        assert (last["price"], last["amount"], last["side"]) == (2500.0, 0.5, "sell")

    told(story)


def test_an_orders_life_over_rest_found_by_link_id():
    async def story(world: World, bybit: ccxt.pro.bybit) -> None:
        placed = await bybit.create_order(
            ETH, "limit", "buy", 0.5, 2000, {"clientOrderId": UUID, "postOnly": True}
        )
        [order] = world.account.open.values()
        assert (order.client_order_id, order.post_only, order.price) == (UUID, True, D(2000))
        # VENUES: the answer to a new order has the two ids and says no more.
        assert (placed["id"], placed["clientOrderId"], placed["status"]) == (placed["id"], UUID, None)
        ours = {"orderLinkId": UUID}
        [found] = await bybit.fetch_open_orders(ETH, params=ours)
        assert (found["id"], found["clientOrderId"], found["status"], found["filled"]) == (
            placed["id"], UUID, "open", 0.0,
        )  # fmt: skip
        assert found["timeInForce"] == "PO" and found["symbol"] == ETH
        assert await bybit.fetch_open_orders(ETH, params={"orderLinkId": "other"}) == []
        with pytest.raises(ccxt.InvalidOrder, match="170141"):
            await bybit.create_order(ETH, "limit", "buy", 0.5, 2000, {"clientOrderId": UUID})
        cancelled = await bybit.cancel_order(None, ETH, ours)
        assert (cancelled["id"], cancelled["clientOrderId"]) == (placed["id"], UUID)
        # By its id an ended order is still told among the open ones, and in the history.
        [again] = await bybit.fetch_open_orders(ETH, params=ours)
        [ended] = await bybit.fetch_canceled_and_closed_orders(ETH, params=ours)
        same = await bybit.fetch_order(placed["id"], ETH, {"acknowledged": True})
        assert {again["status"], ended["status"], same["status"]} == {"canceled"}
        assert await bybit.fetch_open_orders(ETH) == []
        for call in (bybit.cancel_order(placed["id"], ETH), bybit.cancel_order(None, ETH, ours)):
            with pytest.raises(ccxt.OrderNotFound):
                await call
        with pytest.raises(ccxt.OrderNotFound):
            await bybit.fetch_order("1900000000000000099", ETH, {"acknowledged": True})
        # A link id is not free again when its order has ended.
        with pytest.raises(ccxt.InvalidOrder, match="170141"):
            await bybit.create_order(ETH, "limit", "buy", 0.5, 2000, {"clientOrderId": UUID})
        assert len(world.account.orders) == 1

    told(story)


def test_cancelling_all_orders():
    async def story(world: World, bybit: ccxt.pro.bybit) -> None:
        placed = [await bybit.create_order(ETH, "limit", "buy", 0.1, 2000 + step) for step in range(3)]
        cancelled = await bybit.cancel_all_orders(ETH)
        assert {order["id"] for order in cancelled} == {order["id"] for order in placed}
        assert not world.account.open
        history = await bybit.fetch_canceled_orders(ETH)
        assert {order["id"] for order in history} == {order["id"] for order in placed}

    told(story)


@pytest.mark.parametrize(
    "case, order, base, quote",
    [
        ("so much of the base", (ETH, "market", "buy", 1.5, None), "1.5", None),
        ("so much money", (ETH, "market", "buy", 1, None, {"cost": 500}), None, "500"),
        ("a price makes it money", (ETH, "market", "buy", 0.2, 2500), None, "500"),
        ("a sale is of the base", (ETH, "market", "sell", 1.5, None), "1.5", None),
    ],
)
def test_what_a_market_order_is_of(case, order, base, quote):
    async def story(world: World, bybit: ccxt.pro.bybit) -> None:
        placed = await bybit.create_order(*order)
        [truth] = world.account.orders.values()
        assert truth.quote_quantity == (None if quote is None else D(quote))
        if base is not None:
            assert truth.quantity == truth.filled_quantity == D(base)
        else:
            assert 0 <= D(quote) - truth.filled_quote < D("0.1")
        seen = await bybit.fetch_order(placed["id"], ETH, {"acknowledged": True})
        assert (seen["status"], D(str(seen["filled"]))) == ("closed", truth.filled_quantity)

    told(story)


def test_trades_and_their_fees_are_in_what_was_received():
    async def story(world: World, bybit: ccxt.pro.bybit) -> None:
        bought = await bybit.create_order(ETH, "market", "buy", 1.5)
        sold = await bybit.create_order(ETH, "market", "sell", 1)
        for placed, currency in ((bought, "ETH"), (sold, "USDT")):
            trades = await bybit.fetch_order_trades(placed["id"], ETH)
            truth = [fill for fill in world.account.fills if fill.fee_currency == currency]
            assert {(t["order"], t["fee"]["currency"], t["takerOrMaker"]) for t in trades} == {
                (placed["id"], currency, "taker")
            }
            assert sum(D(str(t["fee"]["cost"])) for t in trades) == sum(fill.fee for fill in truth)
            assert sorted(t["id"] for t in trades) == sorted(t["info"]["execId"] for t in trades)
        everything = await bybit.fetch_my_trades(ETH, limit=100)
        assert len(everything) == len(world.account.fills)

    told(story)


@pytest.mark.parametrize(
    "order, error, code",
    [
        ((ETH, "limit", "buy", 50, 2000), ccxt.InsufficientFunds, 170131),
        ((ETH, "limit", "buy", 0.001, 2000), ccxt.InvalidOrder, 170140),
        ((ETH, "limit", "buy", 9000, 2000), ccxt.InvalidOrder, 170135),
        ((ETH, "limit", "buy", 0.1, 9000, {"postOnly": True}), ccxt.InvalidOrder, 170218),
        ((ETH, "limit", "buy", 0.1, 2000, {"clientOrderId": "x" * 37}), ccxt.BadRequest, 170130),
        (
            (ETH, "limit", "buy", 0.1, 2000, {"takeProfit": {"triggerPrice": 4000}}),
            ccxt.ExchangeError,
            170227,
        ),
    ],
)
def test_refusals_arrive_as_the_errors_ccxt_makes_of_them(order, error, code):
    async def story(world: World, bybit: ccxt.pro.bybit) -> None:
        with pytest.raises(error, match=str(code)) as refusal:
            await bybit.create_order(*order)
        assert not isinstance(refusal.value, ccxt.OperationFailed)
        assert not world.account.orders

    told(story)


def test_a_wrong_secret_a_wrong_clock_and_too_many_requests():
    async def story(world: World, bybit: ccxt.pro.bybit) -> None:
        await bybit.fetch_balance()
        late = world.client(timeDifference=6000)
        with pytest.raises(ccxt.InvalidNonce, match="10002"):
            await late.fetch_balance()
        early = world.client(timeDifference=-3000)
        with pytest.raises(ccxt.InvalidNonce, match="10002"):
            await early.fetch_balance()
        with pytest.raises(ccxt.AuthenticationError, match="10003"):
            await world.client("SOMEBODY").fetch_balance()
        forger = world.client()
        forger.secret = "guess"
        with pytest.raises(ccxt.AuthenticationError, match="10004"):
            await forger.fetch_balance()
        with pytest.raises(ccxt.RateLimitExceeded, match="10006"):
            for _ in range(6):
                await bybit.fetch_trading_fee(ETH)

    told(story)


@pytest.mark.parametrize("limit", [None, 50, 200])
def test_the_book_of_the_stream_stays_the_exchanges(limit):
    async def story(world: World, bybit: ccxt.pro.bybit) -> None:
        for _ in range(25):
            book = await bybit.watch_order_book(ETH, limit)
        depth = limit or 50

        def same() -> bool:
            shown = world.exchange.depth(ETH, depth, now=world.server.now())
            kept = bybit.orderbooks[ETH]
            return all(
                [(level[0], level[1]) for level in kept[side]] == [(float(p), float(q)) for p, q in levels]
                for side, levels in (("bids", shown.bids), ("asks", shown.asks))
            )

        # No checksum tells of a mistake here: every level must come to be the exchange's.
        for _ in range(5):
            await until(same)
            await bybit.watch_order_book(ETH, limit)
        assert len(book["bids"]) <= depth

    told(story, live=True)


def test_orders_and_trades_of_the_private_stream_and_orders_by_socket():
    async def story(world: World, bybit: ccxt.pro.bybit) -> None:
        heard: dict[str, list[str]] = {}

        async def listen() -> None:
            while True:
                for order in await bybit.watch_orders():
                    states = heard.setdefault(order["id"], [])
                    if not states or states[-1] != order["info"]["orderStatus"]:
                        states.append(order["info"]["orderStatus"])

        async def trades() -> None:
            while True:
                await bybit.watch_my_trades()

        tasks = [asyncio.create_task(listen()), asyncio.create_task(trades())]
        await until(
            lambda: any(
                "orders" in c.subscriptions and "myTrades" in c.subscriptions for c in bybit.clients.values()
            )
        )
        await asyncio.sleep(0.2)
        ours = {"clientOrderId": "ws-1", "postOnly": True}
        resting = await bybit.create_order_ws(ETH, "limit", "buy", 0.1, 2000, ours)
        assert resting["clientOrderId"] == "ws-1"
        await until(lambda: "New" in heard.get(resting["id"], []))
        cancelled = await bybit.cancel_order_ws(resting["id"], ETH)
        assert cancelled["id"] == resting["id"]
        await until(lambda: "Cancelled" in heard[resting["id"]])
        taken = await bybit.create_order_ws(ETH, "limit", "buy", 0.1, 2900, {"timeInForce": "IOC"})
        await until(lambda: "Filled" in heard.get(taken["id"], []))
        await until(lambda: [t for t in bybit.myTrades or [] if t["order"] == taken["id"]])
        fills = [t for t in bybit.myTrades if t["order"] == taken["id"]]
        assert {(t["symbol"], t["takerOrMaker"], t["fee"]["currency"]) for t in fills} == {
            (ETH, "taker", "ETH")
        }
        with pytest.raises(ccxt.InsufficientFunds, match="170131"):
            await bybit.create_order_ws(ETH, "limit", "buy", 50, 2000)
        with pytest.raises(ccxt.OrderNotFound):
            await bybit.cancel_order_ws(taken["id"], ETH)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    told(story)


def test_balances_of_the_private_stream():
    async def story(world: World, bybit: ccxt.pro.bybit) -> None:
        update = asyncio.create_task(bybit.watch_balance())
        await until(
            lambda: any("balances:unified" in c.subscriptions for c in (bybit.clients or {}).values())
        )
        await asyncio.sleep(0.2)
        await bybit.create_order(ETH, "limit", "sell", 0.5, 9000)
        balance = await asyncio.wait_for(update, WAIT_S)
        assert (balance["total"]["ETH"], balance["used"]["ETH"]) == (2.0, 0.5)

    told(story)


def test_public_trades_and_ticker_of_the_stream():
    async def story(world: World, bybit: ccxt.pro.bybit) -> None:
        trades = await asyncio.wait_for(bybit.watch_trades("BTC/USDT"), WAIT_S)
        assert trades[-1]["side"] in ("buy", "sell") and trades[-1]["price"] > 50_000
        ticker = await asyncio.wait_for(bybit.watch_ticker("BTC/USDT"), WAIT_S)
        assert ticker["last"] > 50_000

    told(story, live=True)


def test_a_socket_that_is_nobodys_hears_nothing():
    async def story(world: World, bybit: ccxt.pro.bybit) -> None:
        forger = world.client()
        forger.secret = "guess"
        forger.options |= {"enableUnifiedMargin": False, "enableUnifiedAccount": True}
        forger.has["fetchCurrencies"] = False
        with pytest.raises(ccxt.AuthenticationError, match="Invalid sign"):
            await asyncio.wait_for(forger.watch_orders(), WAIT_S)
        with pytest.raises(ccxt.ExchangeError, match="Invalid topic"):
            await asyncio.wait_for(bybit.watch_orders(params={"args": ["order", "no such topic"]}), WAIT_S)

    told(story)


def test_pings_are_answered_on_all_three_paths():
    async def story(world: World, bybit: ccxt.pro.bybit) -> None:
        bybit.streaming["keepAlive"] = 100
        await bybit.watch_order_book(ETH)
        listener = asyncio.create_task(bybit.watch_orders())
        await bybit.create_order_ws(ETH, "limit", "buy", 0.1, 2000)
        await until(lambda: len(bybit.clients) == 3)
        started = bybit.milliseconds()
        await until(lambda: all((client.lastPong or 0) > started for client in bybit.clients.values()))
        listener.cancel()
        await asyncio.gather(listener, return_exceptions=True)

    told(story)
