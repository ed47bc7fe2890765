"""Exchanges' own Python clients, unmodified but for their base URL, served by our simulators.

They know nothing of ours: what they can do with the simulator, a bot written with them can. Compared with the
exchange's ledger.
"""

from __future__ import annotations

import json
import queue
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from binance.error import ClientError, ServerError
from binance.spot import Spot
from binance.websocket.spot.websocket_api import SpotWebsocketAPIClient
from binance.websocket.spot.websocket_stream import SpotWebsocketStreamClient
from pybit.exceptions import FailedRequestError, InvalidRequestError
from pybit.unified_trading import HTTP

from simulator.faults import Rule
from simulator.tls import certificate_file, self_signed
from simulator.wire import SimulatorServer
from tests.venues.listed import ListedVenue

D = Decimal


@contextmanager
def served(exchange: str, **options: Any) -> Iterator[ListedVenue]:
    venue = ListedVenue(exchange, limits=True)
    if options:
        venue.server = SimulatorServer(venue.exchange, venue.server.dialect, **options)
    with venue.server:
        yield venue


def held(venue: ListedVenue) -> dict[str, tuple[Decimal, Decimal]]:
    """currency -> (free, locked), as the ledger has it."""
    return venue.server.call(lambda: venue.exchange.balances(venue.account))


# --- binance-connector: https://github.com/binance/binance-connector-python ---


@pytest.fixture
def binance() -> Iterator[tuple[ListedVenue, Spot]]:
    with served("binance") as venue:
        yield venue, Spot(venue.keys.public, venue.keys.private, base_url=venue.url, timeout=5)


def limit(side: str = "BUY", price: str = "19000", **more: str) -> dict[str, str]:
    return {
        "symbol": "BTCUSDT",
        "side": side,
        "type": "LIMIT",
        "timeInForce": "GTC",
        "quantity": "0.1",
        "price": price,
        **more,
    }


def test_binances_client_reads_the_market(binance: tuple[ListedVenue, Spot]) -> None:
    venue, client = binance
    assert client.ping() == {}
    assert abs(client.time()["serverTime"] / 1000 - venue.server.now()) < 30
    (listed,) = client.exchange_info(symbol="BTCUSDT")["symbols"]
    filters = {row["filterType"]: row for row in listed["filters"]}
    assert (D(filters["PRICE_FILTER"]["tickSize"]), D(filters["LOT_SIZE"]["stepSize"])) == (
        venue.market.tick,
        venue.market.lot,
    )
    book = client.depth("BTCUSDT", limit=5)
    assert [D(price) for price, _ in book["bids"]] == [20000, 19999, 19998, 19997, 19996]
    assert [D(quantity) for _, quantity in book["asks"]] == [5] * 5
    assert client.trades("BTCUSDT") == []
    assert D(client.book_ticker("BTCUSDT")["askPrice"]) == 20010


def test_binances_client_trades(binance: tuple[ListedVenue, Spot]) -> None:
    venue, client = binance
    placed = client.new_order(**limit(newClientOrderId="mine-1"))
    assert (placed["status"], placed["clientOrderId"]) == ("NEW", "mine-1")
    (order,) = venue.orders()
    assert (order.client_order_id, order.price, order.quantity, order.open) == (
        "mine-1",
        19000,
        D("0.1"),
        True,
    )
    found = client.get_order("BTCUSDT", origClientOrderId="mine-1")
    assert (found["orderId"], found["status"]) == (placed["orderId"], "NEW")
    assert [one["orderId"] for one in client.get_open_orders("BTCUSDT")] == [placed["orderId"]]
    balances = {row["asset"]: (D(row["free"]), D(row["locked"])) for row in client.account()["balances"]}
    assert balances["USDT"] == held(venue)["USDT"] == (198_100, 1_900)

    gone = client.cancel_order("BTCUSDT", orderId=placed["orderId"])
    assert (gone["status"], gone["origClientOrderId"]) == ("CANCELED", "mine-1")
    assert (order.status, held(venue)["USDT"]) == ("canceled", (200_000, 0))

    taken = client.new_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.5")
    assert (taken["status"], D(taken["executedQty"])) == ("FILLED", D("0.5"))
    (fill,) = client.my_trades("BTCUSDT")
    assert (fill["orderId"], D(fill["price"]), D(fill["qty"])) == (taken["orderId"], 20010, D("0.5"))
    assert D(fill["commission"]) == D("0.5") * venue.market.taker_fee
    assert held(venue)["BTC"][0] == 5 + D("0.5") - D(fill["commission"])


def test_binances_client_understands_errors_and_limits(binance: tuple[ListedVenue, Spot]) -> None:
    venue, client = binance
    with pytest.raises(ClientError) as refused:
        client.new_order(**limit(price="19000.001"))
    assert (refused.value.status_code, refused.value.error_code) == (400, -1013)
    with pytest.raises(ClientError) as refused:
        client.get_order("BTCUSDT", origClientOrderId="absent")
    assert (refused.value.error_code, refused.value.error_message) == (-2013, "Order does not exist.")
    stranger = Spot(venue.keys.public, "not the secret", base_url=venue.url, timeout=5)
    with pytest.raises(ClientError) as refused:
        stranger.account()
    assert refused.value.error_code == -1022
    assert venue.orders() == []

    told = Spot(
        venue.keys.public, venue.keys.private, base_url=venue.url, timeout=5, show_limit_usage=True
    ).new_order(**limit())
    used = told["limit_usage"]
    assert int(used["x-mbx-used-weight-1m"]) > 0 and int(used["x-mbx-order-count-10s"]) > 0

    venue.strike(Rule(action="rate_limit", kinds=("balance",)))
    with pytest.raises(ClientError) as refused:
        client.account()
    assert (refused.value.status_code, refused.value.error_code) == (429, -1003)
    assert int(refused.value.header["Retry-After"]) > 0
    venue.strike(Rule(action="failure", status=503, kinds=("create",), when="after"))
    with pytest.raises(ServerError) as unclear:
        client.new_order(**limit(newClientOrderId="in-doubt"))
    assert unclear.value.status_code == 503
    venue.strike()
    assert client.get_order("BTCUSDT", origClientOrderId="in-doubt")["status"] == "NEW"


def test_binances_websocket_clients(binance: tuple[ListedVenue, Spot]) -> None:
    venue, _ = binance
    heard: queue.Queue[dict[str, Any]] = queue.Queue()

    def next_of(wanted: Any) -> dict[str, Any]:
        while True:
            message = heard.get(timeout=15)
            if wanted(message):
                return message

    stream = SpotWebsocketStreamClient(
        stream_url=venue.server.ws_url, on_message=lambda _, text: heard.put(json.loads(text))
    )
    stream.trade(symbol="btcusdt", id=1)
    assert next_of(lambda message: message.get("id") == 1)["result"] is None
    venue.server.call(venue.sell_into, D(20000), D("0.25"))
    trade = next_of(lambda message: message.get("e") == "trade")
    assert (trade["s"], D(trade["p"]), D(trade["q"])) == ("BTCUSDT", 20000, D("0.25"))
    stream.stop()

    wire = SpotWebsocketAPIClient(
        stream_url=f"{venue.server.ws_url}/ws-api/v3",
        api_key=venue.keys.public,
        api_secret=venue.keys.private,
        on_message=lambda _, text: heard.put(json.loads(text)),
    )
    wire.new_order(**limit(newClientOrderId="by-socket"), id="a")
    assert next_of(lambda message: message.get("id") == "a")["result"]["clientOrderId"] == "by-socket"
    (order,) = venue.orders()
    assert order.open and order.client_order_id == "by-socket"
    wire.cancel_order("BTCUSDT", origClientOrderId="by-socket", id="b")
    assert next_of(lambda message: message.get("id") == "b")["result"]["status"] == "CANCELED"
    assert order.status == "canceled"
    wire.stop()


# --- pybit: https://github.com/bybit-exchange/pybit, which speaks TLS only ---


@pytest.fixture
def bybit(tmp_path: Path) -> Iterator[tuple[ListedVenue, HTTP]]:
    tls = self_signed(tmp_path, "127.0.0.1", datetime.now(UTC))
    with served("bybit", tls=tls) as venue:
        client = HTTP(
            api_key=venue.keys.public,
            api_secret=venue.keys.private,
            max_retries=1,
            return_response_headers=True,
        )
        client.endpoint = venue.url
        client.client.verify = str(
            certificate_file(tmp_path)
        )  # it prepares its requests past the environment
        yield venue, client


def test_bybits_client_trades_over_tls(bybit: tuple[ListedVenue, HTTP]) -> None:
    venue, client = bybit
    assert venue.url.startswith("https://")

    headers: dict[str, str] = {}  # of the latest answer

    def asked(method: str, **fields: Any) -> Any:
        answer, _, told = getattr(client, method)(**fields)
        assert answer["retCode"] == 0
        headers.update(told)
        return answer["result"]

    assert abs(int(asked("get_server_time")["timeSecond"]) - venue.server.now()) < 30
    (listed,) = asked("get_instruments_info", category="spot", symbol="BTCUSDT")["list"]
    assert D(listed["priceFilter"]["tickSize"]) == venue.market.tick
    book = asked("get_orderbook", category="spot", symbol="BTCUSDT", limit=5)
    assert ([D(p) for p, _ in book["b"]][:2], D(book["a"][0][1])) == ([20000, 19999], 5)

    order = {"category": "spot", "symbol": "BTCUSDT"}
    placed = asked(
        "place_order",
        **order,
        side="Buy",
        orderType="Limit",
        qty="0.1",
        price="19000",
        orderLinkId="mine-1",
    )
    assert placed["orderLinkId"] == "mine-1"
    assert int(headers["X-Bapi-Limit-Status"]) < int(headers["X-Bapi-Limit"])
    (ours,) = venue.orders()
    assert (ours.client_order_id, ours.price, ours.quantity, ours.open) == ("mine-1", 19000, D("0.1"), True)
    (found,) = asked("get_open_orders", **order, orderLinkId="mine-1")["list"]
    assert (found["orderId"], found["orderStatus"]) == (placed["orderId"], "New")
    (wallet,) = asked("get_wallet_balance", accountType="UNIFIED", coin="USDT")["list"]
    (usdt,) = (row for row in wallet["coin"] if row["coin"] == "USDT")
    assert (D(usdt["walletBalance"]), D(usdt["locked"])) == (200_000, 1_900)
    assert held(venue)["USDT"] == (198_100, 1_900)
    asked("cancel_order", **order, orderId=placed["orderId"])
    assert (ours.status, held(venue)["USDT"]) == ("canceled", (200_000, 0))

    taken = asked("place_order", **order, side="Sell", orderType="Market", qty="0.5", marketUnit="baseCoin")
    (fill,) = asked("get_executions", **order, orderId=taken["orderId"])["list"]
    assert (D(fill["execPrice"]), D(fill["execQty"])) == (20000, D("0.5"))
    assert held(venue)["USDT"][0] == 200_000 + D("0.5") * 20000 - D(fill["execFee"])


def test_bybits_client_understands_errors(bybit: tuple[ListedVenue, HTTP]) -> None:
    venue, client = bybit
    order = {"category": "spot", "symbol": "BTCUSDT", "side": "Buy", "orderType": "Limit"}
    with pytest.raises(InvalidRequestError) as refused:
        client.place_order(**order, qty="11", price="19000")
    assert refused.value.status_code == 170131
    with pytest.raises(InvalidRequestError) as refused:
        client.cancel_order(category="spot", symbol="BTCUSDT", orderId="1")
    assert refused.value.status_code == 170213
    assert venue.orders() == []
    venue.strike(Rule(action="rate_limit", kinds=("balance",)))
    with pytest.raises((FailedRequestError, InvalidRequestError)):
        client.get_wallet_balance(accountType="UNIFIED")
    venue.strike(Rule(action="reset", kinds=("create",), when="after"))
    with pytest.raises(Exception, match="reset|aborted|closed"):
        client.place_order(**order, qty="0.1", price="19000", orderLinkId="in-doubt")
    venue.strike()
    answer, _, _ = client.get_open_orders(category="spot", symbol="BTCUSDT", orderLinkId="in-doubt")
    assert [row["orderStatus"] for row in answer["result"]["list"]] == ["New"]
