"""OKX's perpetual contracts: through real ccxt over loopback, and in OKX's own codes and fields."""

import asyncio
import gzip
import json
import time
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path

import ccxt.pro
import pytest

from simulator.dialects.okx import MARKETS, Okx
from simulator.dialects.okx_swaps import MAX_MARKET, SWAPS
from simulator.dialects.okx_words import PUBLIC_PATH
from simulator.exchange import Exchange
from simulator.positions import Positions
from simulator.wire import SimulatorServer
from tests.simulator.okx_client import Desk
from tests.simulator.test_okx_samples import paths, recorded, samples_here

SWAP, NAME = "BTC/USDT:USDT", "BTC-USDT-SWAP"
METADATA = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "metadata"
HOUR = 3600.0
WAIT_S = 10.0
D = Decimal


class World:
    """An OKX with contracts on a port, a book that stands still, and a ccxt client."""

    def __init__(self, exchange: Exchange, server: SimulatorServer, okx: ccxt.pro.okx) -> None:
        self.exchange = exchange
        self.server = server
        self.okx = okx
        self.positions: Positions = exchange.contracts
        self.account = exchange.accounts["desk"]

    def show(self, bid: str, ask: str, size: str = "1000") -> None:
        self.exchange.set_book(SWAP, [(D(bid), D(size))], [(D(ask), D(size))], time.time())

    def margin(self):
        return self.positions.margin(self.account, "USDT")


def told(story: Callable[[World, ccxt.pro.okx], Awaitable[None]]) -> None:
    """Run a story in a world of its own."""

    async def run() -> None:
        exchange = Exchange("okx", MARKETS)
        positions = Positions(exchange, SWAPS)
        account = exchange.open_account("KEY", "a secret", name="desk", passphrase="some words")
        exchange.deposit(account, "USDT", D(10_000), time.time())
        server = SimulatorServer(exchange, Okx(exchange))
        await server.open()
        okx = ccxt.pro.okx(
            {
                "apiKey": "KEY",
                "secret": "a secret",
                "password": "some words",
                "enableRateLimit": False,
                "newUpdates": False,
                "options": {"fetchMarkets": {"types": ["spot", "swap"]}, "defaultType": "swap"},
            }
        )
        okx.urls["api"] |= {"rest": server.url, "ws": f"{server.ws_url}/ws/v5"}
        world = World(exchange, server, okx)
        world.show("59999", "60001")
        try:
            await asyncio.wait_for(story(world, okx), 3 * WAIT_S)
            assert (exchange.imbalance(), positions.imbalance()) == ({}, {})
        finally:
            await okx.close()
            await server.close()

    asyncio.run(run())


def near(value: float | None, truth: Decimal, places: int = 8) -> bool:
    return value is not None and round(D(str(value)) - truth, places) == 0


def test_contracts_are_listed_beside_spot_with_their_size_and_steps():
    async def story(world: World, okx: ccxt.pro.okx) -> None:
        markets = await okx.load_markets()
        assert set(markets) == {"BTC/USDT", "ETH/USDT", "ETH/BTC", SWAP, "ETH/USDT:USDT"}
        btc = markets[SWAP]
        assert (btc["id"], btc["swap"], btc["linear"], btc["settle"]) == (NAME, True, True, "USDT")
        assert (btc["contractSize"], btc["limits"]["leverage"]["max"]) == (0.01, 100)
        assert btc["precision"] == {"amount": 0.01, "price": 0.1}
        assert markets["BTC/USDT"]["spot"] and markets["BTC/USDT"]["contractSize"] is None
        book = await okx.fetch_order_book(SWAP)
        assert (book["bids"][0][:2], book["asks"][0][:2]) == ([59_999.0, 1000.0], [60_001.0, 1000.0])
        mark = await okx.fetch_mark_price(SWAP)
        assert mark["markPrice"] == 60_000
        rate = await okx.fetch_funding_rate(SWAP)
        assert (rate["fundingRate"], rate["interval"]) == (0.0001, "8h")
        assert rate["fundingTimestamp"] == world.positions.next_funding(SWAP, time.time()) * 1000
        fee = await okx.fetch_trading_fee(SWAP)
        assert (fee["maker"], fee["taker"]) == (0.0002, 0.0005)
        ticker = await okx.fetch_ticker(SWAP)
        assert (ticker["symbol"], ticker["bid"], ticker["ask"]) == (SWAP, 59_999, 60_001)
        assert set(await okx.fetch_tickers(params={"instType": "SWAP"})) == {SWAP, "ETH/USDT:USDT"}

    told(story)


def test_leverage_a_position_its_figures_and_its_end():
    async def story(world: World, okx: ccxt.pro.okx) -> None:
        await okx.load_markets()
        await okx.set_leverage(20, SWAP)
        assert (await okx.fetch_leverage(SWAP))["longLeverage"] == 20
        assert world.positions.leverage(world.account, SWAP) == 20
        assert await okx.fetch_positions() == []
        placed = await okx.create_order(SWAP, "market", "buy", 50)  # 0.5 BTC at 60,001
        order = await okx.fetch_order(placed["id"], SWAP)
        assert (order["status"], order["filled"], order["average"]) == ("closed", 50, 60_001)
        assert (order["fee"]["cost"], order["fee"]["currency"]) == (15.00025, "USDT")
        world.show("60499", "60501")
        [position] = await okx.fetch_positions()
        # (60,500 - 60,001) x 0.5; 30,250 at 20 times, and 0.4 % of it.
        assert (position["side"], position["contracts"], position["contractSize"]) == ("long", 50, 0.01)
        assert (position["entryPrice"], position["markPrice"]) == (60_001, 60_500)
        assert (position["unrealizedPnl"], position["notional"]) == (249.5, 30_250)
        assert (position["leverage"], position["marginMode"], position["hedged"]) == (20, "cross", False)
        assert (position["initialMargin"], position["maintenanceMargin"]) == (1512.5, 121)
        # 10,000 - 15.00025 + 0.5 x (p - 60,001) = 0.004 x 0.5 x p
        by_hand = (D("30000.5") - D("9984.99975")) / D("0.498")
        assert near(position["liquidationPrice"], by_hand)
        assert position["liquidationPrice"] == float(
            round(world.positions.liquidation_price(world.account, SWAP), 12)
        )
        balance = await okx.fetch_balance()
        assert (balance["USDT"]["total"], balance["USDT"]["free"]) == (10_234.49975, 8721.99975)
        [detail] = balance["info"]["data"][0]["details"]
        assert (detail["cashBal"], detail["upl"]) == ("9984.99975", "249.5")
        assert (detail["imr"], detail["mmr"]) == ("1512.5", "121")
        truth = world.margin()
        assert (D(detail["eq"]), D(detail["availEq"])) == (truth.equity, truth.available)
        # Half of it is closed, the rest by more than there is.
        await okx.create_order(SWAP, "market", "sell", 25)
        [trade] = await okx.fetch_my_trades(SWAP, params={"ordId": (await last(okx))["id"]})
        assert (trade["amount"], trade["price"], trade["info"]["fillPnl"]) == (25, 60_499, "124.5")
        await okx.create_order(SWAP, "market", "sell", 70, params={"reduceOnly": True})
        closing = await last(okx)
        assert (closing["amount"], closing["filled"], closing["reduceOnly"]) == (25, 25, True)
        assert closing["info"]["pnl"] == "124.5"
        assert await okx.fetch_positions() == []
        # Fees: 0.0005 x (30,000.5 + 2 x 0.25 x 60,499).
        assert world.account.free["USDT"] == 10_000 + 249 - D("15.00025") - D("15.12475")
        assert (await okx.fetch_balance())["USDT"]["free"] == float(world.account.free["USDT"])

    async def last(okx):
        return (await okx.fetch_closed_orders(SWAP))[-1]

    told(story)


def test_waiting_orders_require_margin_until_they_are_cancelled():
    async def story(world: World, okx: ccxt.pro.okx) -> None:
        await okx.load_markets()
        placed = await okx.create_order(SWAP, "limit", "sell", 100, 62_000, {"clientOrderId": "short1"})
        assert world.margin().order_initial == 6200
        [detail] = (await okx.fetch_balance())["info"]["data"][0]["details"]
        assert (detail["availEq"], detail["ordFrozen"], detail["frozenBal"]) == ("3800", "6200", "6200")
        [found] = await okx.fetch_open_orders(SWAP)
        assert (found["id"], found["clientOrderId"], found["amount"]) == (placed["id"], "short1", 100)
        assert (found["info"]["instType"], found["info"]["tdMode"]) == ("SWAP", "cross")
        with pytest.raises(ccxt.InsufficientFunds, match="51008"):
            await okx.create_order(SWAP, "limit", "sell", 100, 62_000)
        size = (await okx.private_get_account_max_size({"instId": NAME, "tdMode": "cross", "px": "62000"}))[
            "data"
        ][0]
        assert size["maxSell"] == text_of(world.positions.largest(world.account, SWAP, "sell", D(62_000)))
        await okx.create_order(SWAP, "limit", "sell", size["maxSell"], 62_000)
        assert await okx.fetch_open_orders("BTC/USDT") == []
        for order in await okx.fetch_open_orders(SWAP):
            await okx.cancel_order(order["id"], SWAP)
        assert (world.margin().order_initial, world.margin().available) == (0, 10_000)
        assert {one["status"] for one in await okx.fetch_canceled_orders(SWAP)} == {"canceled"}

    def text_of(value: Decimal) -> str:
        return format(value.normalize(), "f")

    told(story)


def test_a_stop_that_closes_one_that_finds_nothing_to_close_and_an_amended_order():
    async def story(world: World, okx: ccxt.pro.okx) -> None:
        await okx.load_markets()
        await okx.create_order(SWAP, "market", "buy", 10)
        stop = {"stopLossPrice": 59_500, "reduceOnly": True}
        first = await okx.create_order(SWAP, "market", "sell", 50, None, stop)
        second = await okx.create_order(SWAP, "limit", "sell", 50, 59_000, stop)
        resting = await okx.create_order(SWAP, "limit", "buy", 1, 50_000)
        await okx.edit_order(resting["id"], SWAP, "limit", "buy", 2, 50_500)
        [order] = [one for one in world.account.open.values() if not one.waiting]
        assert (order.quantity, order.price) == (2, 50_500)
        assert world.margin().order_initial == 101  # 0.02 BTC at 50,500 and 10 times; what waits needs none
        world.show("59498", "59502")
        world.exchange.public_trade(SWAP, D(59_499), D(1), "sell", time.time())
        assert world.positions.held(world.account) == []
        history = (
            await okx.private_get_trade_orders_algo_history({"ordType": "conditional", "algoId": first["id"]})
        )["data"]
        assert [(row["state"], row["actualSz"], row["reduceOnly"]) for row in history] == [
            ("effective", "10", "true")
        ]
        history = (
            await okx.private_get_trade_orders_algo_history(
                {"ordType": "conditional", "algoId": second["id"]}
            )
        )["data"]
        assert [(row["state"], row["failCode"]) for row in history] == [("order_failed", "51169")]
        assert [fill.price for fill in world.account.fills] == [60_001, 59_498]

    told(story)


REFUSED = {
    "reduce-only without a position": (
        (SWAP, "limit", "sell", 1, 70_000, {"reduceOnly": True}),
        ccxt.ExchangeError,
        "51169",
    ),
    "less than a lot": ((SWAP, "limit", "buy", 0.01, 50_000.05), ccxt.BadRequest, "51000"),
    "isolated margin": ((SWAP, "limit", "buy", 1, 50_000, {"tdMode": "isolated"}), ccxt.BadRequest, "51000"),
    "long/short mode": ((SWAP, "limit", "buy", 1, 50_000, {"posSide": "long"}), ccxt.BadRequest, "51000"),
    "without the margin": ((SWAP, "market", "buy", 5000), ccxt.InsufficientFunds, "51008"),
}


@pytest.mark.parametrize("order, error, code", REFUSED.values(), ids=REFUSED)
def test_refusals_have_okxs_code_and_the_class_ccxt_knows(order, error, code):
    async def story(world: World, okx: ccxt.pro.okx) -> None:
        await okx.load_markets()
        okx.price_to_precision = lambda symbol, price: str(price)
        with pytest.raises(error, match=code):
            await okx.create_order(*order)
        assert not world.account.orders

    told(story)


def test_leverage_out_of_bounds_is_refused_and_changes_nothing():
    async def story(world: World, okx: ccxt.pro.okx) -> None:
        await okx.load_markets()
        with pytest.raises(ccxt.ExchangeError, match="59102"):
            await okx.set_leverage(125, SWAP)
        await okx.create_order(SWAP, "market", "buy", 100)  # 1 BTC: 6,000 at 10 times
        with pytest.raises(ccxt.InsufficientFunds, match="59103"):
            await okx.set_leverage(5, SWAP)
        assert world.positions.leverage(world.account, SWAP) == 10
        assert (await okx.fetch_leverage(SWAP))["longLeverage"] == 10
        with pytest.raises(ccxt.BadRequest, match="51000"):
            await okx.set_leverage(5, SWAP, {"marginMode": "isolated"})

    told(story)


def test_orders_trades_positions_and_balances_on_the_stream():
    async def story(world: World, okx: ccxt.pro.okx) -> None:
        await okx.load_markets()
        watching = {
            name: asyncio.create_task(one)
            for name, one in {
                "orders": okx.watch_orders(SWAP),
                "trades": okx.watch_my_trades(SWAP),
                "positions": okx.watch_positions(),
            }.items()
        }
        session = await until(lambda: next(iter(world.server.dialect.listeners), None))
        await until(lambda: len(session._subscribed) >= 2)
        balance = await okx.watch_balance()
        assert balance["USDT"]["total"] == 10_000
        placed = await okx.create_order(SWAP, "market", "sell", 10)
        await asyncio.wait_for(asyncio.gather(watching["orders"], watching["trades"]), WAIT_S)
        assert {one["id"] for one in watching["orders"].result()} == {placed["id"]}
        [trade] = watching["trades"].result()
        [fill] = world.account.fills
        assert (trade["id"], trade["amount"], trade["price"]) == (str(fill.trade_id), 10, 59_999)
        assert D(str(trade["fee"]["cost"])) == -fill.fee  # of a stream ccxt leaves the sign as OKX has it
        held = await until(lambda: [one for one in okx.positions or [] if one["contracts"]])
        assert (held[-1]["symbol"], held[-1]["side"], held[-1]["contracts"]) == (SWAP, "short", 10)
        assert held[-1]["entryPrice"] == 59_999
        await until(lambda: okx.balance["USDT"]["total"] == float(world.margin().equity))
        await okx.create_order(SWAP, "market", "buy", 10, params={"reduceOnly": True})
        await until(lambda: not [one for one in okx.positions if one["contracts"]])
        for task in watching.values():
            task.cancel()

    async def until(said):
        async with asyncio.timeout(WAIT_S):
            while not (found := said()):
                await asyncio.sleep(0.01)
        return found

    told(story)


def test_books_trades_and_marks_on_the_public_stream():
    async def story(world: World, okx: ccxt.pro.okx) -> None:
        await okx.load_markets()
        book = await okx.watch_order_book(SWAP)
        assert book["asks"][0][:2] == [60_001, 1000]
        mark = await okx.watch_mark_price(SWAP)
        assert mark["markPrice"] == 60_000
        rate = await okx.watch_funding_rate(SWAP)
        assert (rate["symbol"], rate["fundingRate"]) == (SWAP, 0.0001)
        trades = asyncio.create_task(okx.watch_trades(SWAP))
        while not trades.done():
            world.exchange.public_trade(SWAP, D(60_001), D(3), "buy", time.time())
            await asyncio.sleep(0.05)
        assert (trades.result()[0]["symbol"], trades.result()[0]["amount"]) == (SWAP, 3)

    told(story)


def test_funding_is_in_the_bills():
    async def story(world: World, okx: ccxt.pro.okx) -> None:
        await okx.load_markets()
        await okx.create_order(SWAP, "market", "buy", 50)
        due = world.positions.next_funding(SWAP, time.time())
        world.positions.set_funding_rate(SWAP, D("0.0003"))
        world.positions.wake(due)
        [payment] = world.positions.payments
        [told_of] = await okx.fetch_funding_history(SWAP)
        # 0.5 BTC at 60,000, three per ten thousand, paid by the long side.
        assert (told_of["amount"], told_of["code"], told_of["symbol"]) == (-9, "USDT", SWAP)
        assert (payment.amount, told_of["timestamp"]) == (-9, due * 1000)
        assert D(told_of["info"]["bal"]) == world.account.free["USDT"] == D("9975.99975")
        [past] = await okx.fetch_funding_rate_history(SWAP)
        assert (past["fundingRate"], past["timestamp"]) == (0.0003, due * 1000)
        [position] = await okx.fetch_positions([SWAP])
        assert position["info"]["fundingFee"] == "-9"

    told(story)


def test_a_liquidation_is_told_as_one():
    async def story(world: World, okx: ccxt.pro.okx) -> None:
        await okx.load_markets()
        await okx.set_leverage(100, SWAP)
        await okx.create_order(SWAP, "market", "buy", 1000)  # 10 BTC: 600,010 of 10,000
        await okx.create_order(SWAP, "limit", "buy", 1, 50_000)
        world.show("59200", "59202")  # 8,000 lost on paper, 300 paid, 2,368 needed
        forced, waiting = sorted(
            await okx.fetch_closed_orders(SWAP) + await okx.fetch_canceled_orders(SWAP),
            key=lambda order: order["info"]["category"],
        )[:2]
        assert (forced["info"]["category"], forced["side"], forced["filled"]) == (
            "full_liquidation",
            "sell",
            1000,
        )
        assert waiting["info"]["category"] == "normal"
        [canceled] = await okx.fetch_canceled_orders(SWAP)
        assert canceled["info"]["cancelSource"] == "3"
        assert await okx.fetch_positions() == []
        # 59,200 - 60,001 on 10 BTC, and both fees.
        assert world.account.free["USDT"] == 10_000 - 8010 - D("300.005") - 296

    told(story)


def test_without_contracts_an_okx_is_as_it_was():
    desk = Desk()
    assert desk.public("public/instruments", instType="SWAP")[1]["data"] == []
    assert desk.get("account/positions")[1] == {"code": "0", "data": [], "msg": ""}
    assert desk.get("account/config")[1]["data"][0]["acctLv"] == "1"
    assert desk.public("public/mark-price", instType="SWAP", instId=NAME)[1]["code"] == "51001"
    body = {"instId": "BTC-USDT", "lever": "5", "mgnMode": "cross"}
    assert desk.post("account/set-leverage", body)[1]["code"] == "51010"
    [detail] = desk.get("account/balance", ccy="USDT")[1]["data"][0]["details"]
    assert (detail["imr"], detail["mmr"], detail["availBal"]) == ("0", "0", "100000")


class SwapDesk(Desk):
    """The same with contracts."""

    def __init__(self):
        super().__init__()
        self.positions = Positions(self.exchange, SWAPS)
        self.show(SWAP, ((50, 500),), ((60, 500),))


def test_wrong_requests_have_codes_of_their_own():
    desk = SwapDesk()
    assert desk.get("account/config")[1]["data"][0]["acctLv"] == "2"
    cross = {"instId": NAME, "mgnMode": "cross"}
    for path, values, code in (
        ("account/set-leverage", cross, "50014"),
        ("account/set-leverage", {"lever": "5", "mgnMode": "cross"}, "50014"),
        ("account/set-leverage", cross | {"lever": "0.5"}, "59105"),
        ("account/set-leverage", cross | {"lever": "5", "posSide": "long"}, "51000"),
        ("account/set-leverage", cross | {"lever": "5", "instId": "BTC-USDT"}, "51001"),
        ("account/set-position-mode", {"posMode": "long_short_mode"}, "51000"),
        ("account/set-position-mode", {"posMode": "net_mode"}, "0"),
    ):
        assert desk.post(path, values)[1]["code"] == code, (path, values)
    for path, query, code in (
        ("account/leverage-info", {"instId": NAME, "mgnMode": "isolated"}, "51000"),
        ("account/max-size", {"instId": NAME, "tdMode": "cash"}, "51000"),
        ("account/bills", {"type": "2"}, "51000"),
        ("account/positions", {"instId": "NO-SUCH"}, "51001"),
    ):
        assert desk.get(path, **query)[1]["code"] == code, (path, query)
    for path, query, code in (
        ("public/mark-price", {}, "50014"),
        ("public/funding-rate", {"instId": "BTC-USDT"}, "51001"),
        ("public/funding-rate-history", {}, "50014"),
    ):
        assert desk.public(path, **query)[1]["code"] == code, (path, query)
    # Spot is still ordered as cash, and contracts are not.
    order = {"side": "buy", "ordType": "limit", "px": "45", "sz": "1"}
    for name, mode, code in (
        ("BTC-USDT", "cross", "51010"),
        ("BTC-USDT", "cash", "0"),
        (NAME, "cash", "51000"),
        (NAME, "cross", "0"),
    ):
        row = desk.post("trade/order", order | {"instId": name, "tdMode": mode})[1]["data"][0]
        assert row["sCode"] == code, (name, mode)
    spot = desk.get("trade/orders-pending", instType="SPOT")[1]["data"]
    assert [row["instId"] for row in spot] == ["BTC-USDT"]
    swaps = desk.get("trade/orders-pending", instType="SWAP")[1]["data"]
    assert [row["instId"] for row in swaps] == [NAME]


# sample -> (what we answer, {path we leave out: reason})
ANSWERS: dict[str, tuple[str, dict[str, str]]] = {
    "http_get_account_balance.json": ("account/balance", {}),
    "http_get_funding_rate_history.json": ("public/funding-rate-history", {}),
    "http_get_instruments_swap.json": ("public/instruments", {}),
    "http_get_mark_price.json": ("public/mark-price", {}),
    "http_get_positions.json": ("account/positions", {}),
    "http_set_position_mode_response.json": ("account/set-position-mode", {}),
    "ws_funding_rate.json": ("ws funding-rate", {}),
    "ws_orders_adl.json": ("ws orders", {}),
    "ws_orders_liquidation.json": ("ws orders", {}),
    "ws_orders_optimal_limit_ioc.json": ("ws orders", {}),
}


@pytest.fixture(scope="module")
def answers() -> dict[str, list[object]]:
    desk = SwapDesk()
    private, public = desk.socket(), desk.socket(PUBLIC_PATH)
    private.login()
    private.subscribe(channel="orders", instType="SWAP")
    private.subscribe(channel="positions", instType="ANY")
    public.subscribe(channel="funding-rate", instId=NAME)
    public.subscribe(channel="mark-price", instId=NAME)
    order = {"instId": NAME, "tdMode": "cross", "side": "buy", "ordType": "market", "sz": "1"}
    desk.post("trade/order", order)
    desk.positions.wake(desk.now)
    desk.positions.wake(desk.now + 9 * HOUR)
    result: dict[str, list[object]] = {
        "account/balance": [desk.get("account/balance")[1]],
        "account/positions": [desk.get("account/positions")[1]],
        "account/set-position-mode": [desk.post("account/set-position-mode", {"posMode": "net_mode"})[1]],
        "public/instruments": [desk.public("public/instruments", instType="SWAP")[1]],
        "public/mark-price": [desk.public("public/mark-price", instType="SWAP")[1]],
        "public/funding-rate-history": [desk.public("public/funding-rate-history", instId=NAME)[1]],
    }
    heard = [message for socket in (private, public) for _, message in socket.heard if "data" in message]
    for channel in ("orders", "positions", "funding-rate", "mark-price"):
        result[f"ws {channel}"] = [one for one in heard if one["arg"]["channel"] == channel]
    return result


@samples_here
@pytest.mark.parametrize("sample", ANSWERS)
def test_our_answer_has_every_key_path_of_the_recorded_one(sample, answers):
    what, left_out = ANSWERS[sample]
    ours = {path for answer in answers[what] for path in paths(answer)}
    assert ours, f"nothing to compare with {sample}"
    missing = {one for one in set(paths(recorded()[sample])) - ours if one[0] not in left_out}
    assert missing == set()


@samples_here
def test_the_contracts_rules_are_those_okx_lists(answers):
    listed = {row["instId"]: row for row in recorded()["http_get_instruments_swap.json"]["data"]}
    ours = {row["instId"]: row for row in answers["public/instruments"][0]["data"]}
    for name in (NAME, "ETH-USDT-SWAP"):
        for field in (
            "tickSz", "lotSz", "minSz", "ctVal", "ctValCcy", "ctType", "ctMult", "settleCcy", "uly", "lever",
            "instFamily", "maxLmtSz", "maxMktSz", "baseCcy", "quoteCcy",
        ):  # fmt: skip
            assert ours[name][field] == listed[name][field], (name, field)
        assert MAX_MARKET[name] == D(listed[name]["maxMktSz"])


@pytest.mark.skipif(not METADATA.is_dir(), reason="no recorded metadata here")
def test_sizes_and_ticks_were_the_same_in_2022():
    with gzip.open(METADATA / "okx_instruments_SWAP_20220513.json.gz", "rt") as file:
        listed = {row["instId"]: row for row in json.load(file)["data"]}
    for market in SWAPS:
        rules = listed[f"{market.base}-USDT-SWAP"]
        assert (market.contract_size, market.tick) == (D(rules["ctVal"]), D(rules["tickSz"]))
