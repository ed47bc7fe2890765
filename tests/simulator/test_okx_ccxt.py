"""OKX's dialect as ccxt meets it: real ccxt, REST and streams, over loopback sockets."""

import asyncio

import ccxt.pro
import pytest

from simulator.dialects.okx import MARKETS, Okx
from simulator.dialects.okx_streams import checksum
from simulator.faults import Rule
from simulator.wire import SimulatorServer
from tests.simulator.ccxt_world import ETH, WAIT_S, D, World, told_of


class CheckingOkx(ccxt.pro.okx):
    """Checks every book against its checksum, which ccxt 4.5.90 does not look at."""

    def __init__(self, config):
        super().__init__(config)
        self.checked = 0
        self._texts = {}

    def handle_order_book(self, client, message):
        super().handle_order_book(client, message)
        symbol = message["arg"]["instId"]
        for row in message["data"]:
            if message["action"] == "snapshot":
                self._texts[symbol] = {"bids": {}, "asks": {}}
            for side, known in self._texts[symbol].items():
                for level in row[side]:
                    known[D(level[0])] = level
                    if not D(level[1]):
                        del known[D(level[0])]
            bids = [level for _, level in sorted(self._texts[symbol]["bids"].items(), reverse=True)]
            asks = [level for _, level in sorted(self._texts[symbol]["asks"].items())]
            assert checksum(bids, asks) == row["checksum"], "the book is not the exchange's"
            self.checked += 1


def connect(server: SimulatorServer, **changes: str) -> CheckingOkx:
    keys = {"apiKey": "KEY", "secret": "a secret", "password": "some words"} | changes
    options = {"fetchMarkets": {"types": ["spot"]}}
    client = CheckingOkx({**keys, "enableRateLimit": False, "newUpdates": False, "options": options})
    client.urls["api"] |= {"rest": server.url, "ws": f"{server.ws_url}/ws/v5"}
    return client


told = told_of("okx", Okx, MARKETS, ("KEY", "a secret", "some words"), connect)


def test_markets_balances_and_prices():
    async def story(world: World, okx: CheckingOkx) -> None:
        markets = await okx.load_markets()
        assert set(markets) == {"BTC/USDT", "ETH/USDT", "ETH/BTC"}
        eth = markets[ETH]
        assert (eth["id"], eth["precision"], eth["limits"]["amount"]["min"], eth["active"]) == (
            "ETH-USDT",
            {"amount": 1e-6, "price": 0.01},
            0.0001,
            True,
        )
        assert set(okx.currencies) >= {"BTC", "ETH", "USDT"}
        balance = await okx.fetch_balance()
        assert (balance["total"]["USDT"], balance["free"]["ETH"]) == (10_000.0, 2.0)
        book = await okx.fetch_order_book(ETH, 5)
        shown = world.exchange.depth(ETH, 5, now=world.server.now())
        assert [tuple(level[:2]) for level in book["bids"]] == [(float(p), float(q)) for p, q in shown.bids]
        ticker = await okx.fetch_ticker(ETH)
        assert (ticker["bid"], ticker["ask"]) == (book["bids"][0][0], book["asks"][0][0])
        assert set(await okx.fetch_tickers()) == set(markets)
        fee = await okx.fetch_trading_fee(ETH)
        assert (fee["maker"], fee["taker"]) == (0.0008, 0.001)
        assert abs(await okx.fetch_time() - world.server.now() * 1000) < 2000
        world.exchange.withdraw(world.account, "ETH", D("0.5"), world.server.now(), fee=D("0.01"), txid="0x1")
        deposits, withdrawals = await okx.fetch_deposits(), await okx.fetch_withdrawals("ETH")
        assert {(row["currency"], row["amount"], row["status"]) for row in deposits} == {
            ("USDT", 10_000.0, "ok"),
            ("ETH", 2.0, "ok"),
        }
        assert [(row["amount"], row["fee"]["cost"], row["txid"]) for row in withdrawals] == [
            (0.5, 0.01, "0x1")
        ]

    told(story)


def test_an_orders_life_over_rest_found_by_client_id():
    async def story(world: World, okx: CheckingOkx) -> None:
        ours = {"clientOrderId": "a" * 32}
        placed = await okx.create_order(ETH, "limit", "buy", 0.5, 2000, {**ours, "postOnly": True})
        [order] = world.account.open.values()
        assert (order.client_order_id, order.post_only, order.price) == ("a" * 32, True, D(2000))
        # VENUES: the answer to a new order names it and says no more.
        assert (placed["clientOrderId"], placed["status"]) == ("a" * 32, None)
        found = await okx.fetch_order(None, ETH, ours)
        assert (found["id"], found["status"], found["filled"], found["postOnly"]) == (
            placed["id"],
            "open",
            0.0,
            True,
        )
        assert [one["id"] for one in await okx.fetch_open_orders(ETH)] == [placed["id"]]
        # VENUES: a client id in use has no class of its own.
        with pytest.raises(ccxt.InvalidOrder, match="51016"):
            await okx.create_order(ETH, "limit", "buy", 0.5, 2000, ours)
        await okx.cancel_order(None, ETH, ours)
        assert await okx.fetch_open_orders(ETH) == []
        [found] = await okx.fetch_canceled_orders(ETH)
        assert (found["id"], found["status"]) == (placed["id"], "canceled")
        with pytest.raises(ccxt.OrderNotFound):
            await okx.cancel_order(placed["id"], ETH)
        with pytest.raises(ccxt.OrderNotFound):
            await okx.fetch_order("1", ETH)
        with pytest.raises(ccxt.OrderNotFound, match="51509"):
            await okx.edit_order(placed["id"], ETH, "limit", "buy", 0.4, 2000)
        assert len(world.account.orders) == 1

    told(story)


def test_the_switch_of_those_who_fall_silent():
    async def story(world: World, okx: CheckingOkx) -> None:
        await okx.create_order(ETH, "limit", "buy", 0.5, 2000)
        answer = await okx.cancel_all_orders_after(10_000)
        assert int(answer["data"][0]["triggerTime"]) == int(answer["data"][0]["ts"]) + 10_000
        world.exchange.wake(world.server.now() + 11)
        assert await okx.fetch_open_orders(ETH) == []

    told(story)


def test_a_market_order_its_trades_and_its_fee():
    async def story(world: World, okx: CheckingOkx) -> None:
        placed = await okx.create_order(ETH, "market", "buy", 1.5)
        order = await okx.fetch_order(placed["id"], ETH)
        [truth] = world.account.orders.values()
        assert (order["status"], order["filled"], order["amount"]) == ("closed", 1.5, 1.5)
        trades = await okx.fetch_order_trades(placed["id"], ETH)
        assert sorted(one["id"] for one in trades) == sorted(str(fill.trade_id) for fill in truth.fills)
        assert sum(D(str(one["fee"]["cost"])) for one in trades) == sum(fill.fee for fill in truth.fills)
        assert {(one["fee"]["currency"], one["takerOrMaker"]) for one in trades} == {("ETH", "taker")}
        for_cost = await okx.create_market_buy_order_with_cost(ETH, 100)
        order = await okx.fetch_order(for_cost["id"], ETH)
        assert order["status"] == "closed" and 90 < order["filled"] * order["average"] <= 100
        [base, cost] = await okx.fetch_closed_orders(ETH)
        assert (cost["id"], base["id"]) == (for_cost["id"], placed["id"])

    told(story)


@pytest.mark.parametrize(
    "order, error",
    [
        ((ETH, "limit", "buy", 50, 2000), ccxt.InsufficientFunds),
        ((ETH, "limit", "buy", 0.00001, 2000), ccxt.InvalidOrder),
        ((ETH, "limit", "buy", 0.1, 2000, {"clientOrderId": "a-b"}), ccxt.BadRequest),
        ((ETH, "limit", "buy", 0.1, 2000, {"tdMode": "cross"}), ccxt.AccountNotEnabled),
        ((ETH, "limit", "buy", 0.1, 2000, {"trailingPercent": "1"}), ccxt.ExchangeError),
    ],
)
def test_refusals_have_the_class_ccxt_knows(order, error):
    async def story(world: World, okx: CheckingOkx) -> None:
        with pytest.raises(error):
            await okx.create_order(*order)
        assert not world.account.orders

    told(story)


@pytest.mark.parametrize(
    "changes, error",
    [
        ({"secret": "another"}, ccxt.AuthenticationError),
        ({"password": "other words"}, ccxt.AuthenticationError),
        ({"apiKey": "NOBODY"}, ccxt.AuthenticationError),
    ],
)
def test_a_wrong_key_gets_nothing(changes, error):
    async def story(world: World, okx: CheckingOkx) -> None:
        stranger = world.client(**changes)
        stranger.has["fetchCurrencies"] = False
        with pytest.raises(error):
            await stranger.fetch_balance()
        with pytest.raises(error):
            await stranger.watch_orders()

    told(story)


def test_a_clock_that_is_wrong_is_refused():
    async def story(world: World, okx: CheckingOkx) -> None:
        with pytest.raises(ccxt.InvalidNonce):
            await okx.create_order(ETH, "limit", "buy", 0.5, 2000)
        assert not world.account.orders

    told(story, rules=(Rule(action="skew", kinds=("create",), seconds=(31.0, 31.0)),))


def test_books_follow_the_exchange_by_sequence_and_checksum():
    async def story(world: World, okx: CheckingOkx) -> None:
        deadline = asyncio.get_running_loop().time() + WAIT_S
        while okx.checked < 12 and asyncio.get_running_loop().time() < deadline:
            book = await okx.watch_order_book(ETH)
            assert book["bids"][0][0] < book["asks"][0][0]
        assert okx.checked >= 12

    told(story, live=True)


def test_a_lost_book_message_is_an_error_and_the_next_watch_begins_anew():
    async def story(world: World, okx: CheckingOkx) -> None:
        await okx.watch_order_book(ETH)
        world.server.faults.add(Rule(action="lost", kinds=("book",), count=1))
        okx.checked = -1_000_000  # what was lost is not in the texts either

        async def stumble() -> None:
            while True:
                await okx.watch_order_book(ETH)

        okx.handle_order_book = super(CheckingOkx, okx).handle_order_book
        with pytest.raises(ccxt.InvalidNonce):
            await asyncio.wait_for(stumble(), WAIT_S)
        del okx.handle_order_book
        okx.checked = 0
        await okx.watch_order_book(ETH)
        assert okx.checked >= 1

    told(story, live=True)


def test_orders_trades_and_balances_on_the_stream():
    async def story(world: World, okx: CheckingOkx) -> None:
        await okx.load_markets()
        watching = [asyncio.create_task(one) for one in (okx.watch_orders(), okx.watch_my_trades())]
        while len(world.server.dialect.listeners) < 1:
            await asyncio.sleep(0.01)
        balance = await okx.watch_balance()
        assert balance["ETH"]["total"] == 2.0
        placed = await okx.create_order_ws(ETH, "market", "sell", 0.5)
        orders, trades = await asyncio.wait_for(asyncio.gather(*watching), WAIT_S)
        assert {one["id"] for one in orders} == {placed["id"]} == {one["order"] for one in trades}
        while okx.balance["ETH"]["total"] != 1.5:
            await asyncio.sleep(0.01)
        resting = await okx.create_order_ws(ETH, "limit", "buy", 0.5, 2000, {"clientOrderId": "mine"})
        gone = await okx.cancel_order_ws(resting["id"], ETH)
        assert gone["id"] == resting["id"] and not world.account.open
        with pytest.raises(ccxt.OrderNotFound):
            await okx.cancel_order_ws(resting["id"], ETH)

    told(story)


def test_public_trades_on_the_stream():
    async def story(world: World, okx: CheckingOkx) -> None:
        trades = await okx.watch_trades(ETH)
        assert {one["symbol"] for one in trades} == {ETH}
        assert {one["side"] for one in trades} <= {"buy", "sell"}

    told(story, live=True)
