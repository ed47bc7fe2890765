"""Our payloads have every key of the recorded ones, with the same JSON type."""

import gzip
import json
from pathlib import Path

import pytest

from tests.simulator.builders import START, D, account, exchange, market
from tests.simulator.wire_client import frames, order_parameters, served

SAMPLES = (
    Path(__file__).resolve().parents[2]
    / ".."
    / "shared"
    / "data"
    / "api_samples"
    / "venue_api_samples.jsonl.gz"
)
pytestmark = pytest.mark.skipif(not SAMPLES.exists(), reason="recorded samples are not at hand")

ORDER_LIST = ("contingencyType", "listStatusType", "listOrderStatus", "listClientOrderId", "transactionTime")
ORDER_REPORT = (
    "symbol origClientOrderId orderId orderListId clientOrderId transactTime price origQty executedQty "
    "origQuoteOrderQty cummulativeQuoteQty status timeInForce type side stopPrice icebergQty "
    "selfTradePreventionMode"
).split()

# Key paths of a sample that our payload may lack, with the reason.
EXCEPTIONS = {
    "exchange_info_response": {
        "sors[].baseAsset": "smart order routing is not simulated: the list is empty",
        "sors[].symbols[]": "smart order routing is not simulated: the list is empty",
    },
    "cancel_open_orders_response": dict.fromkeys(
        [f"[].{key}" for key in ORDER_LIST]
        + [f"[].orders[].{key}" for key in ("symbol", "orderId", "clientOrderId")]
        + [f"[].orderReports[].{key}" for key in ORDER_REPORT],
        "the sample holds an order list (OCO), which is not simulated",
    ),
}

# Samples of calls and events that are not simulated.
NOT_SERVED = {
    "klines_response": "candles are not simulated",
    "list_status_wrapped": "order lists are not simulated",
    "execution_report_stop_loss": "stop orders are not simulated; same keys as an ordinary report",
}


def kinds(value, path=""):
    """{key path: JSON types found there}"""
    name = {bool: "boolean", int: "number", float: "number", str: "text", type(None): "null"}.get(type(value))
    if name:
        return {path: {name}}
    found = {}
    parts = (
        ((f"{path}.{key}" if path else key, part) for key, part in value.items())
        if isinstance(value, dict)
        else ((f"{path}[]", part) for part in value)
    )
    for inner, part in parts:
        for at, names in kinds(part, inner).items():
            found.setdefault(at, set()).update(names)
    return found


@pytest.fixture(scope="module")
def ours():
    """name of a sample -> our payload"""
    made = exchange(market(taker_fee="0.001", maker_fee="0.001"), bids=(("99", "1"),), asks=(("101", "1"),))
    bot = account(made, USDT="10000", BTC="10")
    made.withdraw(bot, "BTC", D("0.5"), START)
    with served(made=made) as client:

        def get(path, **parameters):
            return client.get(path, symbol="BTCUSDT", **parameters)[1]

        def call(method, path, **parameters):
            status, answer = client.call(method, path, **{"symbol": "BTCUSDT"} | parameters)
            assert status == 200, answer
            return answer

        stream = client.user_stream()
        full = call("POST", "/api/v3/order", **order_parameters(price="101", client_id="c-1"))
        new, trade, moved = frames(stream, 3)
        client.place(client_id="c-2")
        canceled = call("DELETE", "/api/v3/order", origClientOrderId="c-2")
        client.place(price="101", quantity="5", client_id="c-3", timeInForce="IOC")
        for number in range(3):
            client.place(client_id=f"o-{number}")
        reports = frames(stream, 14, 0.4)
        client.server.call(made.deposit, bot, "BTC", D("0.001"), client.server.now())
        deposited = frames(stream, 2)[0]

        def report(kind):
            return next(r for r in reports if r["event"].get("x") == kind)["event"]

        yield {
            "account_response": client.call("GET", "/api/v3/account")[1],
            "account_trades_response": call("GET", "/api/v3/myTrades"),
            "all_orders_response": call("GET", "/api/v3/allOrders"),
            "avg_price_response": get("/api/v3/avgPrice"),
            "book_ticker_response": get("/api/v3/ticker/bookTicker"),
            "cancel_order_response": canceled,
            "depth_response": get("/api/v3/depth"),
            "exchange_info_response": get("/api/v3/exchangeInfo"),
            "new_order_full_response": full,
            "open_orders_response": call("GET", "/api/v3/openOrders"),
            "order_response": call("GET", "/api/v3/order", orderId=1),
            "cancel_open_orders_response": call("DELETE", "/api/v3/openOrders"),
            "ping_response": get("/api/v3/ping"),
            "server_time_response": get("/api/v3/time"),
            "ticker_24hr_response": get("/api/v3/ticker/24hr"),
            "ticker_price_response": get("/api/v3/ticker/price"),
            "trades_response": get("/api/v3/trades"),
            "account_position": moved["event"],
            "account_position_wrapped": moved,
            "balance_update": deposited["event"],
            "balance_update_wrapped": deposited,
            "execution_report_new": new["event"],
            "execution_report_wrapped": new,
            "execution_report_trade": trade["event"],
            "execution_report_canceled": report("CANCELED"),
            "execution_report_expired": report("EXPIRED"),
        }


def samples():
    """name -> recorded payload, of Binance spot in JSON"""
    if not SAMPLES.exists():
        return {}
    with gzip.open(SAMPLES, "rt") as lines:
        recorded = [json.loads(line) for line in lines]
    return {
        Path(sample["name"]).stem: sample["payload"]
        for sample in recorded
        if sample["venue"] == "binance"
        and sample["name"].startswith(("spot/http_json/", "spot/user_data_json/"))
    }


@pytest.mark.parametrize("name", samples())
def test_every_key_of_a_recorded_payload_is_there_with_its_type(name, ours):
    if name in NOT_SERVED:
        assert name not in ours
        return
    have, lacks = kinds(ours[name]), []
    excused = EXCEPTIONS.get(name, {})
    for path, types in kinds(samples()[name]).items():
        if path not in have:
            if path not in excused:
                lacks.append(f"{path} is missing")
        elif not types & have[path]:
            lacks.append(f"{path} is {have[path]}, recorded {types}")
    assert lacks == []
    needless = [path for path in excused if path in have]
    assert needless == [], "these exceptions are not needed any more"


def test_amounts_are_written_as_binance_writes_them(ours):
    for name in ("new_order_full_response", "open_orders_response", "account_trades_response"):
        payload = ours[name][0] if isinstance(ours[name], list) else ours[name]
        for key in ("price", "origQty", "executedQty", "qty", "quoteQty", "commission"):
            if key in payload:
                assert len(payload[key].partition(".")[2]) == 8, (name, key, payload[key])
