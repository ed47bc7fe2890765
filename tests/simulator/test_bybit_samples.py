"""Every key path of a recorded answer of Bybit is in ours with the same JSON type, or there is a reason."""

import gzip
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlencode

import pytest

from simulator.dialects.bybit import MARKETS, Bybit
from simulator.dialects.bybit_words import PRIVATE_PATH, PUBLIC_PATH, TRADE_PATH, signature
from simulator.dialects.dialect import Request
from simulator.exchange import Exchange

DATA = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
SECRET = "a secret of Bybit's shape"
NOW = 1_700_000_000.0
D = Decimal

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="no recorded answers here")

EMPTY_TEXT = "the page has an empty text, and so have we, where the sample has null"
ORDER_NULLS = {f"result.list[].{name}": EMPTY_TEXT for name in ("blockTradeId", "avgPrice", "orderIv")}
CLIENTS_SPELLING = {"data[].totalPerpUpl": "the page spells it totalPerpUPL, as REST does"}

# sample -> (what we answer, paths whose children are names, {path we leave out: reason})
ANSWERS: dict[str, tuple[str, tuple[str, ...], dict[str, str]]] = {
    "http_get_account_info.json": ("account info", (), {}),
    "http_get_executions.json": ("executions", (), {}),
    "http_get_fee_rate.json": ("fee rate", (), {}),
    "http_get_instruments_spot.json": ("instruments", (), {}),
    "http_get_instruments_spot_xstocks.json": ("instruments", (), {}),
    "http_get_order_partially_filled_rejected.json": (
        "realtime",
        (),
        {path: why for path, why in ORDER_NULLS.items() if not path.endswith("avgPrice")},
    ),
    "http_get_orderbook.json": ("orderbook", (), {}),
    "http_get_orders_history.json": ("history", (), ORDER_NULLS),
    "http_get_orders_realtime.json": ("realtime", (), ORDER_NULLS),
    "http_get_trades_recent.json": ("recent trades", (), {}),
    "http_get_user_query_api.json": (
        "key info",
        ("result.permissions",),
        {},
    ),
    "http_get_wallet_balance.json": ("wallet", (), {}),
    "http_get_wallet_balance_spot_short.json": ("wallet", (), {}),
    "http_get_wallet_balance_with_spot_borrow.json": ("wallet", (), {}),
    "ws_account_execution.json": ("ws execution", (), {}),
    "ws_account_order.json": ("ws order", (), {}),
    "ws_account_order_filled.json": ("ws order", (), {}),
    "ws_account_order_partially_filled_rejected.json": ("ws order", (), {}),
    "ws_account_wallet.json": ("ws wallet", (), CLIENTS_SPELLING),
    "ws_account_wallet_locked_exceeds_total.json": ("ws wallet", (), CLIENTS_SPELLING),
    "ws_account_wallet_small_order.json": ("ws wallet", (), CLIENTS_SPELLING),
    "ws_auth_failure.json": ("ws auth failed", (), {}),
    "ws_auth_success.json": ("ws auth", (), {}),
    "ws_order_response.json": ("ws order placed", (), {}),
    "ws_orderbook_delta.json": ("ws delta", (), {}),
    "ws_orderbook_snapshot.json": ("ws snapshot", (), {}),
    "ws_public_trade.json": ("ws trade", (), {}),
    "ws_subscription_ack.json": ("ws subscribed", (), {}),
    "ws_subscription_failure.json": ("ws subscription failed", (), {}),
}

CONTRACTS = "inverse contracts and options are not simulated"
LINEAR = "compared in test_bybit_linear"
TRIGGERED = "triggered orders and brackets are not simulated"
NOT_SERVED = {
    **dict.fromkeys(
        (
            "http_get_funding_history.json",
            "http_get_instruments_linear.json",
            "http_get_instruments_linear_symbol_type.json",
            "http_get_positions.json",
            "http_get_positions_with_open_time.json",
            "ws_account_execution_adl.json",
            "ws_account_position.json",
            "ws_account_position_short.json",
            "ws_account_position_with_open_time.json",
            "ws_ticker_linear.json",
        ),
        LINEAR,
    ),
    **dict.fromkeys(
        (
            "http_get_instruments_inverse.json",
            "http_get_instruments_inverse_symbol_type.json",
            "http_get_instruments_option.json",
            "http_get_instruments_option_symbol_id.json",
            "ws_ticker_option.json",
        ),
        CONTRACTS,
    ),
    **dict.fromkeys(
        (
            "http_get_orders_realtime_tp_sl.json",
            "ws_account_order_buy_stop_market.json",
            "ws_account_order_limit_if_touched.json",
            "ws_account_order_market_if_touched.json",
            "ws_account_order_sell_market_if_touched.json",
            "ws_account_order_stop_limit.json",
            "ws_account_order_stop_loss.json",
            "ws_account_order_stop_market.json",
            "ws_account_order_take_profit.json",
        ),
        TRIGGERED,
    ),
    **dict.fromkeys(("http_get_klines_linear.json", "ws_kline.json"), "candles are not simulated"),
    **dict.fromkeys(
        (
            "http_get_user_escrow_sub_members.json",
            "http_get_user_sub_apikeys.json",
            "http_get_user_sub_members.json",
            "http_get_user_sub_members_paged.json",
            "http_post_user_update_master_api.json",
            "http_post_user_update_sub_api.json",
        ),
        "there are no sub-accounts, and keys are changed by the admin API",
    ),
    "http_get_orders_history_with_duplicate.json": "the same order twice: no answer of an exchange's",
    "ws_account_execution_fast.json": "the fast channel is not simulated",
    "ws_account_execution_fast_envelope_id.json": "the fast channel is not simulated",
}


def samples() -> dict[str, object]:
    with gzip.open(DATA / "api_samples" / "venue_api_samples.jsonl.gz", "rt") as lines:
        rows = [json.loads(line) for line in lines]
    return {row["name"]: row["payload"] for row in rows if row["venue"] == "bybit"}


def paths(value: object, names: tuple[str, ...], path: str = "") -> Iterator[tuple[str, str]]:
    """Every path in a JSON value with its type; keys that are names become `*`."""
    if isinstance(value, dict):
        for key, item in value.items():
            name = "*" if path in names else key
            yield from paths(item, names, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        yield path, "list"
        for item in value:
            yield from paths(item, names, f"{path}[]")
    else:
        kinds = {bool: "boolean", int: "number", float: "number", str: "string", type(None): "null"}
        yield path, kinds[type(value)]


@pytest.fixture(scope="module")
def answers() -> dict[str, list[object]]:
    """Ours: a few of each kind, so that all states of everything occur."""
    exchange = Exchange("bybit", MARKETS)
    bybit = Bybit(exchange)
    account = exchange.open_account(
        "KEY", SECRET, name="desk", permissions=frozenset(("read", "trade", "withdraw"))
    )
    for currency in ("USDT", "ETH", "BTC"):
        exchange.deposit(account, currency, D(10_000), NOW)
    for symbol in exchange.markets:
        exchange.set_book(symbol, [(D(50), D(5)), (D(40), D(5))], [(D(60), D(5)), (D(70), D(5))], NOW)
    exchange.public_trade("ETH/USDT", D(60), D("0.5"), "buy", NOW)

    def ask(path: str, **fields: str) -> object:
        query = urlencode(fields)
        return request("GET", path, query, b"", query)

    def order(path: str, **fields: str) -> object:
        body = json.dumps({"category": "spot", "symbol": "ETHUSDT", **fields})
        return request("POST", path, "", body.encode(), body)

    def request(method: str, path: str, query: str, body: bytes, signed: str) -> object:
        stamp = str(int(NOW * 1000))
        headers = {
            "x-bapi-api-key": "KEY",
            "x-bapi-timestamp": stamp,
            "x-bapi-recv-window": "5000",
            "x-bapi-sign": signature(SECRET, f"{stamp}KEY5000{signed}"),
        }
        return json.loads(
            json.dumps(
                bybit.handle(
                    Request(
                        method=method, path=path, query=query, headers=headers, body=body, now=NOW, clock=NOW
                    )
                ).body
            )
        )

    heard: list[dict] = []

    def opened(path: str):
        upgrade = Request(method="GET", path=path, query="", headers={}, now=NOW, clock=NOW)
        session = bybit.open_session(upgrade, lambda message, stream: heard.append(message))
        assert session is not None
        exchange.subscribe(session.on_event)
        return lambda **message: session.receive(json.dumps(message), upgrade)

    expires = str(int(NOW * 1000) + 10_000)
    login = ["KEY", expires, signature(SECRET, f"GET/realtime{expires}")]
    public, private, trade = opened(PUBLIC_PATH), opened(PRIVATE_PATH), opened(TRADE_PATH)
    public(
        op="subscribe", req_id="1", args=["orderbook.50.ETHUSDT", "publicTrade.ETHUSDT", "tickers.ETHUSDT"]
    )
    public(op="subscribe", req_id="2", args=["invalid.topic.BTCUSDT"])
    private(op="auth", args=["KEY", expires, "guess"])
    private(op="auth", args=login)
    private(op="subscribe", req_id="3", args=["order", "execution", "wallet"])
    trade(op="auth", args=login)
    limit = {"side": "Buy", "orderType": "Limit", "qty": "0.5", "price": "45"}
    trade(
        op="order.create",
        reqId="4",
        args=[{"category": "spot", "symbol": "ETHUSDT", **limit, "orderLinkId": "mine"}],
        header={"X-BAPI-TIMESTAMP": str(int(NOW * 1000))},
    )
    created = [
        order("/v5/order/create", **limit),
        order("/v5/order/create", **limit | {"price": "60"}),
        order("/v5/order/create", **limit | {"price": "60", "qty": "7"}),
    ]
    cancelled = order("/v5/order/cancel", orderId=created[0]["result"]["orderId"])
    exchange.update_book("ETH/USDT", [(D(51), D(3))], [(D(70), D(9))], NOW)
    exchange.public_trade("ETH/USDT", D(60), D("0.1"), "buy", NOW)
    spot = {"category": "spot"}
    result: dict[str, list[object]] = {
        "created": created,
        "cancelled": [cancelled],
        "realtime": [ask("/v5/order/realtime", **spot)],
        "history": [ask("/v5/order/history", **spot)],
        "executions": [ask("/v5/execution/list", **spot)],
        "wallet": [ask("/v5/account/wallet-balance", accountType="UNIFIED")],
        "fee rate": [ask("/v5/account/fee-rate", **spot)],
        "account info": [ask("/v5/account/info")],
        "key info": [ask("/v5/user/query-api")],
        "instruments": [ask("/v5/market/instruments-info", **spot)],
        "orderbook": [ask("/v5/market/orderbook", symbol="ETHUSDT", limit="50", **spot)],
        "recent trades": [ask("/v5/market/recent-trade", symbol="ETHUSDT", **spot)],
        "tickers": [ask("/v5/market/tickers", **spot)],
    }
    for name, chosen in {
        "ws order": lambda m: m.get("topic") == "order",
        "ws execution": lambda m: m.get("topic") == "execution",
        "ws wallet": lambda m: m.get("topic") == "wallet",
        "ws auth": lambda m: m.get("op") == "auth" and (m.get("success") or m.get("retCode") == 0),
        "ws auth failed": lambda m: m.get("op") == "auth" and m.get("success") is False,
        "ws order placed": lambda m: m.get("op") == "order.create",
        "ws subscribed": lambda m: m.get("op") == "subscribe" and m["success"],
        "ws subscription failed": lambda m: m.get("op") == "subscribe" and not m["success"],
        "ws snapshot": lambda m: "orderbook" in m.get("topic", "") and m["type"] == "snapshot",
        "ws delta": lambda m: "orderbook" in m.get("topic", "") and m["type"] == "delta",
        "ws trade": lambda m: "publicTrade" in m.get("topic", ""),
        "ws ticker": lambda m: "tickers" in m.get("topic", ""),
    }.items():
        result[name] = [json.loads(json.dumps(message)) for message in heard if chosen(message)]
    return result


def missing_from(
    recorded: object, ours: list[object], names: tuple[str, ...], left_out: dict[str, str]
) -> tuple[list[str], set[str]]:
    have: dict[str, set[str]] = {}
    for answer in ours:
        for path, kind in paths(answer, names):
            have.setdefault(path, set()).add(kind)
    seen, missing = set(), []
    for path, kind in paths(recorded, names):
        seen.add(path)
        if path not in left_out and kind not in have.get(path, ()):
            missing.append(f"{path}: {kind} recorded, ours is {sorted(have.get(path, ())) or 'absent'}")
    return missing, seen


@pytest.mark.parametrize("sample", ANSWERS)
def test_our_answer_has_every_key_path_of_the_recorded_one(sample, answers):
    name, names, left_out = ANSWERS[sample]
    assert answers[name], "there is an answer of ours to compare with"
    missing, seen = missing_from(samples()[sample], answers[name], names, left_out)
    assert not missing
    assert set(left_out) <= seen, "an exception that is none"


def test_every_recorded_answer_is_compared_or_has_a_reason():
    assert set(samples()) == set(ANSWERS) | set(NOT_SERVED)


def recorded_spot_frames() -> dict[str, object]:
    """The first frame of each kind that Bybit's spot stream really sent."""
    found: dict[str, object] = {}
    with gzip.open(DATA / "raw_ws" / "bybit.jsonl.gz", "rt") as lines:
        for line in lines:
            row = json.loads(line)
            if row.get("t") == "recv" and row["conn"] == "BYBIT.ws.3":
                frame = json.loads(row["data"])
                kind = str(frame.get("topic", frame.get("op"))).split(".")[0]
                found.setdefault(f"{kind} {frame.get('type', '')}".strip(), frame)
    return found


RECORDED = {
    "orderbook snapshot": "ws snapshot",
    "orderbook delta": "ws delta",
    "publicTrade snapshot": "ws trade",
    "tickers snapshot": "ws ticker",
    "subscribe": "ws subscribed",
}


@pytest.mark.parametrize("kind", RECORDED)
def test_our_frame_has_every_key_path_of_one_that_bybit_sent(kind, answers):
    missing, _ = missing_from(recorded_spot_frames()[kind], answers[RECORDED[kind]], (), {})
    assert not missing


def test_every_kind_of_recorded_frame_is_compared():
    assert set(recorded_spot_frames()) == set(RECORDED) | {"kline snapshot"}  # candles are not simulated


def test_the_markets_rules_are_those_bybit_lists():
    with gzip.open(DATA / "metadata" / "bybit_instruments_spot_20260809.json.gz", "rt") as file:
        listed = {row["symbol"]: row for row in json.load(file)["result"]["list"]}
    for market in MARKETS:
        rules = listed[market.base + market.quote]
        lots = rules["lotSizeFilter"]
        assert (market.tick, market.lot) == (D(rules["priceFilter"]["tickSize"]), D(lots["basePrecision"]))
        assert (market.min_qty, market.min_notional) == (D(lots["minOrderQty"]), D(lots["minOrderAmt"]))
