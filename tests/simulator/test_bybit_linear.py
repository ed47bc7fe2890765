"""Bybit's perpetual contracts: through real ccxt over loopback, and in Bybit's own codes and fields."""

import asyncio
import gzip
import json
import time
from collections.abc import Awaitable, Callable
from decimal import Decimal
from urllib.parse import urlencode

import ccxt.pro
import pytest

from simulator.dialects.bybit import MARKETS, Bybit
from simulator.dialects.bybit_linear import LIMITS, SWAPS
from simulator.dialects.bybit_words import LINEAR_PATH, PRIVATE_PATH, signature
from simulator.dialects.dialect import Request
from simulator.exchange import Exchange
from simulator.positions import Positions
from simulator.wire import SimulatorServer
from tests.simulator.test_bybit_samples import DATA, missing_from, samples

SPOT, SWAP = "BTC/USDT", "BTC/USDT:USDT"
SECRET = "a secret of Bybit's shape"
NOW = 1_700_000_000.0
HOUR = 3600.0
WAIT_S = 10.0
D = Decimal

samples_here = pytest.mark.skipif(not DATA.is_dir(), reason="no recorded answers here")


class World:
    """A Bybit with contracts on a port, a book that stands still, and what ccxt is checked against."""

    def __init__(self, exchange: Exchange, server: SimulatorServer) -> None:
        self.exchange = exchange
        self.server = server
        self.positions: Positions = exchange.contracts
        self.account = exchange.accounts["desk"]

    def show(self, bid: str, ask: str, size: str = "100") -> None:
        self.exchange.set_book(SWAP, [(D(bid), D(size))], [(D(ask), D(size))], time.time())

    def margin(self):
        return self.positions.margin(self.account, "USDT")


def told(story: Callable[[World, ccxt.pro.bybit], Awaitable[None]]) -> None:
    """Run a story in a world of its own."""

    async def run() -> None:
        exchange = Exchange("bybit", MARKETS)
        positions = Positions(exchange, SWAPS)
        account = exchange.open_account("KEY", SECRET, name="desk")
        exchange.deposit(account, "USDT", D(10_000), time.time())
        server = SimulatorServer(exchange, Bybit(exchange))
        await server.open()
        bybit = ccxt.pro.bybit(
            {
                "apiKey": "KEY",
                "secret": SECRET,
                "enableRateLimit": False,
                "newUpdates": False,
                "options": {
                    "defaultType": "swap",
                    "fetchMarkets": {"types": ["spot", "linear"]},
                    "enableUnifiedMargin": False,
                    "enableUnifiedAccount": True,
                    "unifiedMarginStatus": 6,
                    "fetchOrder": {"acknowledged": True},
                },
            }
        )
        bybit.urls["api"] = _repointed(bybit.urls["api"], server.url, server.ws_url)
        world = World(exchange, server)
        world.show("59999", "60001")
        try:
            await asyncio.wait_for(story(world, bybit), 3 * WAIT_S)
            assert (exchange.imbalance(), positions.imbalance()) == ({}, {})
        finally:
            await bybit.close()
            await server.close()

    asyncio.run(run())


def _repointed(urls, base, ws):
    if isinstance(urls, dict):
        return {name: _repointed(url, base, ws) for name, url in urls.items()}
    scheme, _, rest = urls.partition("://")
    path = rest.partition("/")[2]
    return (ws if scheme.startswith("ws") else base) + (f"/{path}" if path else "")


def test_contracts_are_listed_beside_spot():
    async def story(world: World, bybit: ccxt.pro.bybit) -> None:
        markets = await bybit.load_markets()
        assert set(markets) == {"BTC/USDT", "ETH/USDT", "ETH/BTC", SWAP, "ETH/USDT:USDT"}
        btc = markets[SWAP]
        assert (btc["id"], btc["swap"], btc["linear"], btc["settle"]) == ("BTCUSDT", True, True, "USDT")
        assert (btc["contractSize"], btc["limits"]["leverage"]["max"]) == (1, 100)
        assert btc["precision"] == {"amount": 0.001, "price": 0.1}
        assert markets[SPOT]["spot"] and markets[SPOT]["id"] == "BTCUSDT"
        world.exchange.set_book(SPOT, [(D(50_000), D(1))], [(D(50_001), D(1))], time.time())
        assert (await bybit.fetch_order_book(SWAP))["bids"][0] == [59_999, 100]
        assert (await bybit.fetch_order_book(SPOT))["bids"][0] == [50_000, 1]
        ticker = await bybit.fetch_ticker(SWAP)
        assert (ticker["bid"], ticker["ask"], ticker["markPrice"]) == (59_999, 60_001, 60_000)
        rate = (await bybit.fetch_funding_rates([SWAP]))[SWAP]
        assert (rate["fundingRate"], rate["markPrice"], rate["interval"]) == (0.0001, 60_000, "8h")
        assert rate["fundingTimestamp"] == world.positions.next_funding(SWAP, time.time()) * 1000
        fee = await bybit.fetch_trading_fee(SWAP)
        assert (fee["maker"], fee["taker"]) == (0.0002, 0.00055)

    told(story)


def test_leverage_a_position_its_figures_and_its_end():
    async def story(world: World, bybit: ccxt.pro.bybit) -> None:
        await bybit.load_markets()
        await bybit.set_leverage(20, SWAP)
        assert world.positions.leverage(world.account, SWAP) == 20
        assert (await bybit.fetch_leverage(SWAP))["longLeverage"] == 20
        with pytest.raises(ccxt.BadRequest, match="110043"):
            await bybit.set_leverage(20, SWAP)
        assert await bybit.fetch_positions() == []
        placed = await bybit.create_order(SWAP, "market", "sell", 0.5)
        order = await bybit.fetch_order(placed["id"], SWAP)
        assert (order["status"], order["filled"], order["average"]) == ("closed", 0.5, 59_999)
        # 0.5 x 59,999 x 0.00055
        assert (order["fee"]["cost"], order["fee"]["currency"]) == (16.499725, "USDT")
        world.show("60499", "60501")
        [position] = await bybit.fetch_positions()
        # 0.5 x (59,999 - 60,500); 30,250 at 20 times, and half a percent of it.
        assert (position["symbol"], position["side"], position["contracts"]) == (SWAP, "short", 0.5)
        assert (position["entryPrice"], position["markPrice"]) == (59_999, 60_500)
        assert (position["unrealizedPnl"], position["leverage"]) == (-250.5, 20)
        assert (position["initialMargin"], position["maintenanceMargin"]) == (1512.5, 151.25)
        # 10,000 - 16.499725 - 0.5 x (p - 59,999) = 0.005 x 0.5 x p
        by_hand = (D("9983.500275") + D("29999.5")) / D("0.5025")
        assert abs(D(str(position["liquidationPrice"])) - by_hand) < D("0.00000001")
        assert position["info"]["curRealisedPnl"] == "-16.499725"
        balance = await bybit.fetch_balance()
        assert (balance["USDT"]["total"], balance["USDT"]["used"]) == (9983.500275, 1512.5)
        [wallet] = balance["info"]["result"]["list"]
        truth = world.margin()
        assert (wallet["totalPerpUPL"], wallet["totalInitialMargin"]) == ("-250.5", "1512.5")
        assert wallet["totalMaintenanceMargin"] == "151.25"
        assert D(wallet["totalMarginBalance"]) == truth.equity == D("9733.000275")
        assert D(wallet["totalAvailableBalance"]) == truth.available == D("8220.500275")
        [coin] = wallet["coin"]
        assert (coin["equity"], coin["unrealisedPnl"]) == ("9733.000275", "-250.5")
        assert (coin["totalPositionIM"], coin["totalOrderIM"]) == ("1512.5", "0")
        await bybit.create_order(SWAP, "market", "buy", 0.9, params={"reduceOnly": True})
        closing = (await bybit.fetch_closed_orders(SWAP))[-1]
        assert (closing["amount"], closing["filled"], closing["reduceOnly"]) == (0.5, 0.5, True)
        trade = (await bybit.fetch_my_trades(SWAP))[-1]
        assert (trade["price"], trade["info"]["closedSize"]) == (60_501, "0.5")
        assert await bybit.fetch_positions() == []
        [nothing] = await bybit.fetch_positions([SWAP])
        assert (nothing["contracts"], nothing["side"]) == (0, None)
        # -0.5 x (60,501 - 59,999), and 0.5 x 60,501 x 0.00055
        assert world.account.free["USDT"] == D("9983.500275") - 251 - D("16.637775")

    told(story)


def test_waiting_orders_require_margin_until_they_are_cancelled():
    async def story(world: World, bybit: ccxt.pro.bybit) -> None:
        await bybit.load_markets()
        placed = await bybit.create_order(SWAP, "limit", "buy", 1, 50_000, {"clientOrderId": "long-1"})
        [coin] = (await bybit.fetch_balance())["info"]["result"]["list"][0]["coin"]
        assert (coin["totalOrderIM"], coin["locked"], coin["equity"]) == ("5000", "0", "10000")
        [found] = await bybit.fetch_open_orders(SWAP)
        assert (found["id"], found["clientOrderId"], found["amount"]) == (placed["id"], "long-1", 1)
        assert len(placed["id"]) == 36
        assert await bybit.fetch_open_orders(SPOT) == []
        with pytest.raises(ccxt.InsufficientFunds, match="110007"):
            await bybit.create_order(SWAP, "limit", "buy", 1, 50_000)
        with pytest.raises(ccxt.InvalidOrder, match="110072"):
            await bybit.create_order(SWAP, "limit", "buy", 0.1, 50_000, {"clientOrderId": "long-1"})
        await bybit.cancel_order(placed["id"], SWAP)
        assert (world.margin().order_initial, world.margin().available) == (0, 10_000)
        with pytest.raises(ccxt.OrderNotFound, match="110001"):
            await bybit.cancel_order(placed["id"], SWAP)
        [gone] = await bybit.fetch_canceled_orders(SWAP)
        assert (gone["id"], gone["info"]["orderStatus"]) == (placed["id"], "Cancelled")

    told(story)


def test_cancelling_all_contracts_leaves_spot():
    async def story(world: World, bybit: ccxt.pro.bybit) -> None:
        await bybit.load_markets()
        for symbol in (SWAP, SPOT):
            await bybit.create_order(symbol, "limit", "buy", 0.01, 50_000)
        await bybit.cancel_all_orders(SWAP)
        assert [order.symbol for order in world.account.open.values()] == [SPOT]
        await bybit.create_order(SWAP, "limit", "buy", 0.01, 50_000)
        await bybit.private_post_v5_order_cancel_all({"category": "linear", "settleCoin": "USDT"})
        assert [order.symbol for order in world.account.open.values()] == [SPOT]

    told(story)


def test_a_stop_that_closes_and_one_that_is_amended_and_cancelled():
    async def story(world: World, bybit: ccxt.pro.bybit) -> None:
        await bybit.load_markets()
        await bybit.create_order(SWAP, "market", "buy", 0.1)
        stop = {"triggerPrice": 59_000, "triggerDirection": "descending", "reduceOnly": True}
        placed = await bybit.create_order(SWAP, "market", "sell", 0.5, None, stop)
        gone = await bybit.create_order(SWAP, "limit", "sell", 0.1, 58_000, stop)
        await bybit.cancel_order(gone["id"], SWAP)
        resting = await bybit.create_order(SWAP, "limit", "buy", 0.1, 50_000)
        await bybit.edit_order(resting["id"], SWAP, "limit", "buy", 0.2, 50_500)
        [order] = [one for one in world.account.open.values() if not one.waiting]
        assert (order.quantity, order.price) == (D("0.2"), 50_500)
        assert world.positions.position(world.account, SWAP).quantity == D("0.1")
        world.show("58998", "59002")
        world.exchange.public_trade(SWAP, D(58_999), D("0.01"), "sell", time.time())
        assert world.positions.held(world.account) == []
        fired = await bybit.fetch_order(placed["id"], SWAP)
        assert (fired["status"], fired["filled"], fired["average"]) == ("closed", 0.1, 58_998)
        wrong = {"triggerPrice": 59_000, "triggerDirection": "descending"}
        with pytest.raises(ccxt.InvalidOrder, match="110093"):
            await bybit.create_order(SWAP, "market", "sell", 0.1, None, wrong)

    told(story)


def test_a_post_only_order_that_would_take_is_accepted_and_cancelled():
    async def story(world: World, bybit: ccxt.pro.bybit) -> None:
        await bybit.load_markets()
        placed = await bybit.create_order(SWAP, "limit", "buy", 0.01, 60_001, {"postOnly": True})
        found = await bybit.fetch_order(placed["id"], SWAP)
        assert (found["status"], found["filled"]) == ("canceled", 0)
        assert found["info"]["rejectReason"] == "EC_PostOnlyWillTakeLiquidity"
        assert not world.account.orders and not world.account.fills

    told(story)


REFUSED = {
    "reduce-only without a position": (
        (SWAP, "limit", "sell", 0.1, 70_000, {"reduceOnly": True}),
        ccxt.InvalidOrder,
        "110017",
    ),
    "less than it is worth it": ((SWAP, "limit", "buy", 0.001, 4_000), ccxt.InvalidOrder, "110094"),
    "hedge mode": ((SWAP, "limit", "buy", 0.1, 50_000, {"positionIdx": 1}), ccxt.BadRequest, "10001"),
    "without the margin": ((SWAP, "market", "buy", 50), ccxt.InsufficientFunds, "110007"),
    "too large at market": ((SWAP, "market", "buy", 151), ccxt.BadRequest, "10001"),
}


@pytest.mark.parametrize("order, error, code", REFUSED.values(), ids=REFUSED)
def test_refusals_have_bybits_code_and_the_class_ccxt_knows(order, error, code):
    async def story(world: World, bybit: ccxt.pro.bybit) -> None:
        await bybit.load_markets()
        with pytest.raises(error, match=code):
            await bybit.create_order(*order)
        assert not world.account.orders

    told(story)


def test_leverage_out_of_bounds_is_refused_and_changes_nothing():
    async def story(world: World, bybit: ccxt.pro.bybit) -> None:
        await bybit.load_markets()
        for wrong, code in ((101, "110013"), (0.5, "10001")):
            with pytest.raises(ccxt.BadRequest, match=code):
                await bybit.set_leverage(wrong, SWAP)
        await bybit.create_order(SWAP, "market", "buy", 1)  # 6,000 at 10 times
        with pytest.raises(ccxt.InsufficientFunds, match="110044"):
            await bybit.set_leverage(5, SWAP)
        assert world.positions.leverage(world.account, SWAP) == 10
        with pytest.raises(ccxt.NoChange, match="110025"):
            await bybit.set_position_mode(False, SWAP)

    told(story)


def test_orders_trades_positions_and_balances_on_the_stream():
    async def story(world: World, bybit: ccxt.pro.bybit) -> None:
        await bybit.load_markets()
        watching = {
            "orders": asyncio.create_task(bybit.watch_orders(SWAP)),
            "trades": asyncio.create_task(bybit.watch_my_trades(SWAP)),
            "balance": asyncio.create_task(bybit.watch_balance()),
        }
        assert await bybit.watch_positions() == []  # what there is, asked for
        positions = asyncio.create_task(bybit.watch_positions())
        await until(lambda: len(topics(world)) >= 4)
        placed = await bybit.create_order(SWAP, "market", "sell", 0.1)
        orders, trades, balance = await asyncio.wait_for(asyncio.gather(*watching.values()), WAIT_S)
        assert {one["id"] for one in orders} == {placed["id"]}
        [trade], [fill] = trades, world.account.fills
        assert (trade["amount"], trade["price"], trade["takerOrMaker"]) == (0.1, 59_999, "taker")
        assert D(str(trade["fee"]["cost"])) == fill.fee
        await asyncio.wait_for(positions, WAIT_S)
        held = [one for one in bybit.positions if one["contracts"]]
        assert (held[-1]["symbol"], held[-1]["side"], held[-1]["contracts"]) == (SWAP, "short", 0.1)
        assert held[-1]["entryPrice"] == 59_999
        assert balance["USDT"]["total"] == float(world.margin().equity)
        again = asyncio.create_task(bybit.watch_positions())
        await bybit.create_order(SWAP, "market", "buy", 0.1, params={"reduceOnly": True})
        await asyncio.wait_for(again, WAIT_S)
        await until(lambda: world.positions.held(world.account) == [])

    def topics(world: World) -> set[str]:
        return {
            topic
            for connection in world.server._sockets
            for topic in getattr(getattr(connection, "session", None), "_topics", ())
        }

    async def until(said):
        async with asyncio.timeout(WAIT_S):
            while not (found := said()):
                await asyncio.sleep(0.01)
        return found

    told(story)


def test_an_order_by_the_stream_in_contracts():
    async def story(world: World, bybit: ccxt.pro.bybit) -> None:
        await bybit.load_markets()
        placed = await bybit.create_order_ws(SWAP, "limit", "buy", 0.1, 50_000)
        [order] = world.account.open.values()
        assert (order.symbol, order.quantity, order.price) == (SWAP, D("0.1"), 50_000)
        gone = await bybit.cancel_order_ws(placed["id"], SWAP)
        assert gone["id"] == placed["id"] and not world.account.open

    told(story)


def test_books_trades_and_tickers_on_the_linear_stream():
    async def story(world: World, bybit: ccxt.pro.bybit) -> None:
        await bybit.load_markets()
        book = await bybit.watch_order_book(SWAP)
        assert book["asks"][0] == [60_001, 100]
        ticker = await bybit.watch_ticker(SWAP)
        assert (ticker["markPrice"], ticker["bid"]) == (60_000, 59_999)
        trades = asyncio.create_task(bybit.watch_trades(SWAP))
        while not trades.done():
            world.exchange.public_trade(SWAP, D(60_001), D("0.3"), "buy", time.time())
            await asyncio.sleep(0.05)
        assert (trades.result()[0]["symbol"], trades.result()[0]["amount"]) == (SWAP, 0.3)

    told(story)


def test_funding_is_an_execution():
    async def story(world: World, bybit: ccxt.pro.bybit) -> None:
        await bybit.load_markets()
        await bybit.create_order(SWAP, "market", "sell", 0.5)
        due = world.positions.next_funding(SWAP, NOW)
        world.positions._funding_at[SWAP] = due = time.time() - 1
        world.positions.set_funding_rate(SWAP, D("0.0003"))
        world.positions.wake(time.time())
        [payment] = world.positions.payments
        [told_of] = await bybit.fetch_funding_history(SWAP)
        # Short 0.5 BTC at 60,000, three per ten thousand: received.
        assert payment.amount == 9
        assert (told_of["amount"], told_of["code"], told_of["symbol"]) == (-9, "USDT", SWAP)
        assert told_of["timestamp"] == round(due * 1000)
        trades = await bybit.fetch_my_trades(SWAP)
        assert [one["amount"] for one in trades] == [0.5]
        [past] = await bybit.fetch_funding_rate_history(SWAP)
        assert (past["fundingRate"], past["timestamp"]) == (0.0003, round(due * 1000))
        [position] = await bybit.fetch_positions()
        assert D(position["info"]["curRealisedPnl"]) == 9 - D("16.499725")

    told(story)


def test_a_liquidation_is_told_as_one():
    async def story(world: World, bybit: ccxt.pro.bybit) -> None:
        await bybit.load_markets()
        await bybit.set_leverage(100, SWAP)
        await bybit.create_order(SWAP, "market", "buy", 10)  # 600,010 of 10,000
        await bybit.create_order(SWAP, "limit", "buy", 0.01, 50_000)
        world.show("59300", "59302")  # 7,000 lost on paper, 330 paid, 2,965 needed
        [forced] = [one for one in await bybit.fetch_closed_orders(SWAP) if one["side"] == "sell"]
        assert (forced["info"]["createType"], forced["filled"]) == ("CreateByLiq", 10)
        [gone] = await bybit.fetch_canceled_orders(SWAP)
        assert gone["info"]["cancelType"] == "CancelByPrepareLiq"
        rows = (await bybit.private_get_v5_execution_list({"category": "linear", "execType": "BustTrade"}))[
            "result"
        ]["list"]
        assert [(row["execQty"], row["closedSize"]) for row in rows] == [("10", "10")]
        assert await bybit.fetch_positions() == []
        # 59,300 - 60,001 on 10 BTC, and both fees.
        assert world.account.free["USDT"] == 10_000 - 7010 - D("330.0055") - D("326.15")

    told(story)


class Desk:
    """Requests to the dialect without a socket, signed as Bybit wants them."""

    def __init__(self, contracts=True):
        self.exchange = Exchange("bybit", MARKETS)
        self.positions = Positions(self.exchange, SWAPS) if contracts else None
        self.bybit = Bybit(self.exchange)
        self.account = self.exchange.open_account("KEY", SECRET, name="desk")
        self.exchange.deposit(self.account, "USDT", D(10_000), NOW)
        for symbol in self.exchange.markets:
            self.exchange.set_book(symbol, [(D(5000), D(5))], [(D(6000), D(5))], NOW)
        self.now = NOW
        self.heard: list[dict] = []

    def ask(self, path, **fields):
        query = urlencode(fields)
        return self._request("GET", path, query, b"", query)

    def post(self, path, **fields):
        body = json.dumps(fields)
        return self._request("POST", path, "", body.encode(), body)

    def _request(self, method, path, query, body, signed):
        stamp = str(int(self.now * 1000))
        headers = {
            "x-bapi-api-key": "KEY",
            "x-bapi-timestamp": stamp,
            "x-bapi-recv-window": "5000",
            "x-bapi-sign": signature(SECRET, f"{stamp}KEY5000{signed}"),
        }
        request = Request(
            method=method, path=path, query=query, headers=headers, body=body, now=self.now, clock=self.now
        )
        return json.loads(json.dumps(self.bybit.handle(request).body))

    def socket(self, path):
        upgrade = Request(method="GET", path=path, query="", headers={}, now=self.now, clock=self.now)
        session = self.bybit.open_session(upgrade, lambda message, stream: self.heard.append(message))
        if session is None:
            return None
        self.exchange.subscribe(session.on_event)
        return lambda **message: session.receive(json.dumps(message), upgrade)


def test_without_contracts_a_bybit_is_as_it_was():
    desk = Desk(contracts=False)
    for path in ("/v5/position/list", "/v5/market/instruments-info", "/v5/order/realtime"):
        assert desk.ask(path, category="linear", settleCoin="USDT")["retCode"] == 10001
    leverage = {"symbol": "BTCUSDT", "buyLeverage": "5", "sellLeverage": "5"}
    assert desk.post("/v5/position/set-leverage", category="linear", **leverage)["retCode"] == 10001
    assert desk.socket(LINEAR_PATH) is None
    granted = desk.ask("/v5/user/query-api")["result"]["permissions"]
    assert (granted["Spot"], granted["ContractTrade"]) == (["SpotTrade"], [])


def test_wrong_requests_have_codes_of_their_own():
    desk = Desk()
    linear = {"category": "linear", "symbol": "BTCUSDT"}
    order = linear | {"side": "Buy", "orderType": "Limit", "qty": "0.1", "price": "5000"}
    for path, fields, code in (
        ("/v5/position/set-leverage", linear | {"buyLeverage": "5", "sellLeverage": "6"}, 10001),
        ("/v5/position/set-leverage", linear | {"buyLeverage": "5.001", "sellLeverage": "5.001"}, 10001),
        (
            "/v5/position/set-leverage",
            linear | {"category": "spot", "buyLeverage": "5", "sellLeverage": "5"},
            10001,
        ),
        ("/v5/position/switch-mode", linear | {"mode": 3}, 10001),
        ("/v5/order/cancel", linear | {"orderId": "no-such"}, 110001),
        ("/v5/order/create", order | {"qty": "0.0001"}, 10001),
        ("/v5/order/create", order | {"price": "5000.01"}, 10001),
    ):
        assert desk.post(path, **fields)["retCode"] == code, (path, fields)
    for path, fields, code in (
        ("/v5/position/list", {"category": "linear"}, 10001),
        ("/v5/position/list", {"category": "spot", "symbol": "BTCUSDT"}, 10001),
        ("/v5/position/list", {"category": "linear", "symbol": "NOSUCH"}, 10001),
        ("/v5/position/list", {"category": "inverse"}, 0),
    ):
        assert desk.ask(path, **fields)["retCode"] == code, (path, fields)
    assert not desk.account.orders
    desk.exchange.set_mode("halted", NOW, SWAP)
    assert desk.post("/v5/order/create", **order)["retCode"] == 110066


# sample -> (what we answer, {path we leave out: reason})
EMPTY_TEXT = "no next page is an empty text, as in the other sample"
ANSWERS: dict[str, tuple[str, dict[str, str]]] = {
    "http_get_funding_history.json": ("funding history", {}),
    "http_get_instruments_linear.json": ("instruments", {"result.nextPageCursor": EMPTY_TEXT}),
    "http_get_instruments_linear_symbol_type.json": ("instruments", {}),
    "http_get_positions.json": ("positions", {}),
    "http_get_positions_with_open_time.json": ("positions", {}),
    "http_get_wallet_balance.json": ("wallet", {}),
    "ws_account_execution.json": ("ws execution", {}),
    "ws_account_execution_adl.json": ("ws execution", {}),
    "ws_account_position.json": ("ws position", {}),
    "ws_account_position_short.json": ("ws position", {}),
    "ws_ticker_linear.json": ("ws ticker", {}),
}


@pytest.fixture(scope="module")
def answers() -> dict[str, list[object]]:
    desk = Desk()
    public, private = desk.socket(LINEAR_PATH), desk.socket(PRIVATE_PATH)
    expires = str(int(NOW * 1000) + 10_000)
    private(op="auth", args=["KEY", expires, signature(SECRET, f"GET/realtime{expires}")])
    private(op="subscribe", req_id="1", args=["execution.linear", "position", "execution"])
    topics = ["orderbook.50.BTCUSDT", "publicTrade.BTCUSDT", "tickers.BTCUSDT"]
    public(op="subscribe", req_id="2", args=topics)
    linear = {"category": "linear", "symbol": "BTCUSDT"}
    order = linear | {"side": "Buy", "orderType": "Market", "qty": "0.5"}
    assert desk.post("/v5/order/create", **order)["retCode"] == 0
    desk.exchange.update_book(SWAP, [(D(5001), D(3))], [], NOW)
    desk.positions.wake(NOW)
    desk.positions.wake(NOW + 9 * HOUR)
    result: dict[str, list[object]] = {
        "funding history": [desk.ask("/v5/market/funding/history", **linear)],
        "instruments": [desk.ask("/v5/market/instruments-info", category="linear")],
        "positions": [desk.ask("/v5/position/list", category="linear", settleCoin="USDT")],
        "wallet": [desk.ask("/v5/account/wallet-balance", accountType="UNIFIED")],
    }
    for name, chosen in {
        "ws execution": lambda m: m.get("topic") == "execution",
        "ws position": lambda m: m.get("topic") == "position",
        "ws ticker": lambda m: "tickers" in m.get("topic", ""),
        "ws trade": lambda m: "publicTrade" in m.get("topic", ""),
        "ws snapshot": lambda m: "orderbook" in m.get("topic", "") and m["type"] == "snapshot",
        "ws delta": lambda m: "orderbook" in m.get("topic", "") and m["type"] == "delta",
    }.items():
        result[name] = [json.loads(json.dumps(message)) for message in desk.heard if chosen(message)]
    return result


@samples_here
@pytest.mark.parametrize("sample", ANSWERS)
def test_our_answer_has_every_key_path_of_the_recorded_one(sample, answers):
    name, left_out = ANSWERS[sample]
    assert answers[name], "there is an answer of ours to compare with"
    missing, seen = missing_from(samples()[sample], answers[name], (), left_out)
    assert not missing
    assert set(left_out) <= seen, "an exception that is none"


@samples_here
def test_the_rows_of_a_position_are_those_of_the_third_sample(answers):
    row = samples()["ws_account_position_with_open_time.json"]
    missing, _ = missing_from(row, [message["data"][0] for message in answers["ws position"]], (), {})
    assert not missing


def recorded_linear_frames() -> dict[str, object]:
    """The first frame of each kind that Bybit's linear stream really sent."""
    found: dict[str, object] = {}
    with gzip.open(DATA / "raw_ws" / "bybit.jsonl.gz", "rt") as lines:
        for line in lines:
            row = json.loads(line)
            if row.get("t") == "recv" and row["conn"] == "BYBIT.ws.2":
                frame = json.loads(row["data"])
                kind = str(frame.get("topic", frame.get("op"))).split(".")[0]
                found.setdefault(f"{kind} {frame.get('type', '')}".strip(), frame)
    return found


@samples_here
@pytest.mark.parametrize(
    "kind, ours",
    [
        ("orderbook snapshot", "ws snapshot"),
        ("orderbook delta", "ws delta"),
        ("publicTrade snapshot", "ws trade"),
        ("tickers snapshot", "ws ticker"),
    ],
)
def test_our_frame_has_every_key_path_of_one_that_bybit_sent(kind, ours, answers):
    missing, _ = missing_from(recorded_linear_frames()[kind], answers[ours], (), {})
    assert not missing


@samples_here
def test_the_contracts_rules_are_those_bybit_lists():
    with gzip.open(DATA / "metadata" / "bybit_instruments_linear_20260809.json.gz", "rt") as file:
        listed = {row["symbol"]: row for row in json.load(file)["result"]["list"]}
    for market in SWAPS:
        rules = listed[market.base + market.quote]
        lots, prices = rules["lotSizeFilter"], rules["priceFilter"]
        assert (market.tick, market.lot) == (D(prices["tickSize"]), D(lots["qtyStep"]))
        assert (market.min_qty, market.max_qty) == (D(lots["minOrderQty"]), D(lots["maxOrderQty"]))
        assert (market.min_notional, market.settled_in) == (D(lots["minNotionalValue"]), rules["settleCoin"])
        assert market.max_leverage == D(rules["leverageFilter"]["maxLeverage"])
        assert market.funding_interval_s == rules["fundingInterval"] * 60
        at_market, lowest, highest, risk = LIMITS[rules["symbol"]]
        assert D(at_market) == D(lots["maxMktOrderQty"])
        assert (D(lowest), D(highest)) == (D(prices["minPrice"]), D(prices["maxPrice"]))
        assert set(risk) == set(rules["riskParameters"].values())
