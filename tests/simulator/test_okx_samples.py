"""Every key path of a recorded answer of OKX is in ours with the same JSON type, or there is a reason."""

import gzip
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from simulator.dialects.okx_streams import checksum
from simulator.dialects.okx_words import BUSINESS_PATH, PUBLIC_PATH
from tests.simulator.okx_client import ETH, Desk

DATA = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
SAMPLES = DATA / "api_samples"
D = Decimal

samples_here = pytest.mark.skipif(not SAMPLES.is_dir(), reason="no recorded answers here")

OLDER = "an older name of another field of the same sample's successor"

# sample -> (what we answer, {path we leave out: reason})
ANSWERS: dict[str, tuple[str, dict[str, str]]] = {
    "http_balance_detail_new_fields.json": ("balance detail", {}),
    "http_balance_detail_old_fields.json": (
        "balance detail",
        {"clSpotInUse": OLDER, "maxSpotInUse": OLDER, "spotInUse": OLDER},
    ),
    "http_get_account_balance.json": ("account/balance", {}),
    "http_get_instruments_spot.json": ("public/instruments", {}),
    "http_get_order_book.json": ("market/books", {}),
    "http_get_orders_history.json": ("trade/orders-history", {}),
    "http_get_orders_pending.json": ("trade/orders-pending", {}),
    "http_get_trade_fee_response.json": ("account/trade-fee", {}),
    "http_get_trades.json": ("market/trades", {}),
    "http_place_order_response.json": ("order row", {}),
    "http_transaction_detail.json": ("fill", {}),
    "http_transaction_detail_empty_fee.json": ("fill", {}),
    "ws_account.json": ("ws account", {}),
    "ws_account_empty.json": ("ws account", {}),
    "ws_bbo_tbt.json": ("ws bbo-tbt", {}),
    "ws_books_snapshot.json": ("ws snapshot", {}),
    "ws_books_update.json": ("ws update", {}),
    "ws_orders.json": ("ws orders", {}),
    "ws_orders_fok.json": ("ws orders", {}),
    "ws_orders_ioc.json": ("ws orders", {}),
    "ws_tickers.json": ("ws tickers", {}),
    "ws_trades.json": ("ws trades", {}),
    "http_place_algo_order_response.json": ("trade/order-algo", {}),
    "http_place_algo_order_rejected.json": ("trade/order-algo", {}),
    "http_cancel_algo_order_response.json": ("trade/cancel-algos", {}),
    "http_get_orders_algo_pending.json": ("trade/orders-algo-pending", {}),
    "http_get_orders_algo_history.json": ("trade/orders-algo-history", {}),
    "ws_orders_algo.json": ("ws orders-algo", {}),
    "ws_orders_trigger.json": ("ws orders", {}),
    # Answers of the real exchange, kept by ccxt for its own tests.
    "POST /api/v5/trade/order accepted": ("trade/order", {}),
    "GET /api/v5/asset/balances": ("asset/balances", {}),
}

NO_DERIVATIVES = "futures and options are not simulated"
NO_CLOSED_POSITIONS = "positions that ended are not listed"
CONTRACTS = "compared in test_okx_swaps"
NO_ALGO = "algo orders of two triggers, and attached ones, are not simulated"
NO_SPREADS = "spreads are not simulated"
NO_CANDLES = "candles are not simulated"
NOT_SERVED = {
    "common_optional_string_to_u64.json": "no answer of the exchange",
    "http_get_account_positions-history.json": NO_CLOSED_POSITIONS,
    "http_get_candlesticks.json": NO_CANDLES,
    "http_get_candlesticks_full.json": NO_CANDLES,
    "http_get_funding_rate_history.json": CONTRACTS,
    "http_get_index_price.json": "indices are not simulated",
    "http_get_instruments_futures.json": NO_DERIVATIVES,
    "http_get_instruments_margin.json": "margin is not simulated",
    "http_get_instruments_option.json": NO_DERIVATIVES,
    "http_get_instruments_swap.json": CONTRACTS,
    "http_get_mark_price.json": CONTRACTS,
    "http_get_option_summary.json": NO_DERIVATIVES,
    "http_get_orders_algo_pending_attached_oco.json": NO_ALGO,
    "http_get_orders_algo_pending_close_fraction.json": NO_ALGO,
    "http_get_orders_pending_with_attached_tp_sl.json": NO_ALGO,
    "http_get_position_tiers.json": "tiers of margin are not simulated",
    "http_get_positions.json": CONTRACTS,
    "http_get_spread_orders.json": NO_SPREADS,
    "http_get_spread_trades.json": NO_SPREADS,
    "http_get_spreads.json": NO_SPREADS,
    "http_set_position_mode_response.json": CONTRACTS,
    "ws_candle.json": NO_CANDLES,
    "ws_funding_rate.json": CONTRACTS,
    "ws_instruments.json": "this channel is not simulated",
    "ws_opt_summary.json": NO_DERIVATIVES,
    "ws_orders_adl.json": CONTRACTS,
    "ws_orders_liquidation.json": CONTRACTS,
    "ws_orders_optimal_limit_ioc.json": CONTRACTS,
    "ws_orders_option.json": NO_DERIVATIVES,
    "ws_sprd_orders.json": NO_SPREADS,
}


def recorded() -> dict[str, object]:
    """name -> payload of OKX's samples."""
    with gzip.open(SAMPLES / "venue_api_samples.jsonl.gz", "rt") as lines:
        found = [json.loads(line) for line in lines]
    found += [json.loads(line) for line in (SAMPLES / "venue_live_responses.jsonl").read_text().splitlines()]
    return {each["name"]: each["payload"] for each in found if each["venue"] == "okx"}


def paths(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    """(path, JSON type) of everything in it."""
    if isinstance(value, dict):
        yield path, "object"
        for key, item in value.items():
            yield from paths(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        yield path, "list"
        for item in value:
            yield from paths(item, f"{path}[]")
    else:
        kinds = {bool: "boolean", int: "number", float: "number", str: "string", type(None): "null"}
        yield path, kinds[type(value)]


@pytest.fixture(scope="module")
def answers() -> dict[str, list[object]]:
    """Ours: a few of each kind, so that both states of everything occur."""
    desk = Desk()
    desk.exchange.public_trade("ETH/USDT", D(60), D("0.5"), "buy", desk.now)
    private, public = desk.socket(), desk.socket(PUBLIC_PATH)
    private.login()
    private.subscribe(channel="orders", instType="ANY")
    private.subscribe(channel="account")
    for channel in ("books", "bbo-tbt", "tickers", "trades"):
        public.subscribe(channel=channel, instId=ETH)
    order = {"instId": ETH, "tdMode": "cash", "side": "buy", "ordType": "limit", "px": "45", "sz": "1"}
    placed = [
        desk.post("trade/order", order | change)[1] for change in ({}, {"px": "60"}, {"clOrdId": "mine"})
    ]
    desk.post("trade/cancel-order", {"instId": ETH, "clOrdId": "mine"})
    business = desk.socket(BUSINESS_PATH)
    business.login()
    business.subscribe(channel="orders-algo", instType="ANY")
    algo = {"instId": ETH, "tdMode": "cash", "side": "sell", "ordType": "trigger", "sz": "1", "orderPx": "-1"}
    algos = [
        desk.post("trade/order-algo", algo | change)[1]
        for change in ({"triggerPx": "55"}, {"triggerPx": "30", "algoClOrdId": "waits"}, {"triggerPx": ""})
    ]
    desk.exchange.public_trade("ETH/USDT", D(54), D("0.5"), "buy", desk.now)
    public.tick()
    desk.show("ETH/USDT", bids=((51, 1), (50, 5)))
    public.tick()
    gets = {
        "account/balance": {},
        "account/trade-fee": {"instType": "SPOT"},
        "asset/balances": {},
        "trade/orders-history": {"instType": "SPOT"},
        "trade/orders-pending": {},
        "trade/orders-algo-pending": {"ordType": "trigger"},
        "trade/orders-algo-history": {"ordType": "trigger", "state": "effective"},
    }
    result: dict[str, list[object]] = {path: [desk.get(path, **query)[1]] for path, query in gets.items()}
    result["public/instruments"] = [desk.public("public/instruments", instType="SPOT")[1]]
    result["market/books"] = [desk.public("market/books", instId=ETH, sz=5)[1]]
    result["market/trades"] = [desk.public("market/trades", instId=ETH)[1]]
    result["trade/order"] = placed
    result["trade/order-algo"] = algos
    waits = {"instId": ETH, "algoClOrdId": "waits"}
    result["trade/cancel-algos"] = [desk.post("trade/cancel-algos", [waits])[1]]
    result["order row"] = [row for answer in placed for row in answer["data"]]
    result["fill"] = desk.get("trade/fills-history", instType="SPOT")[1]["data"]
    result["balance detail"] = result["account/balance"][0]["data"][0]["details"]
    heard = [
        message for socket in (private, public, business) for _, message in socket.heard if "data" in message
    ]
    for channel in ("account", "bbo-tbt", "orders", "orders-algo", "tickers", "trades"):
        result[f"ws {channel}"] = [one for one in heard if one["arg"]["channel"] == channel]
    for action in ("snapshot", "update"):
        result[f"ws {action}"] = [one for one in heard if one.get("action") == action]
    return result


@samples_here
@pytest.mark.parametrize("sample", ANSWERS)
def test_our_answer_has_every_key_path_of_the_recorded_one(sample, answers):
    what, left_out = ANSWERS[sample]
    ours = {path for answer in answers[what] for path in paths(answer)}
    assert ours, f"nothing to compare with {sample}"
    theirs = set(paths(recorded()[sample]))
    missing = {
        (path, kind)
        for path, kind in theirs - ours
        if not any(path == left or path.startswith((f"{left}.", f"{left}[")) for left in left_out)
    }
    assert missing == set()
    assert all(any(path.startswith(left) for path, _ in theirs) for left in left_out), "a reason for nothing"


@samples_here
def test_every_recorded_answer_is_compared_or_left_out_for_a_reason():
    assert set(recorded()) == set(ANSWERS) | set(NOT_SERVED)
    assert not set(ANSWERS) & set(NOT_SERVED)


@pytest.mark.skipif(not (DATA / "raw_ws" / "okx.jsonl.gz").is_file(), reason="no recorded streams here")
def test_recorded_books_have_the_checksum_we_would_give_them():
    """290 messages of three markets, of 2022."""
    books: dict[str, dict[str, dict[Decimal, list[str]]]] = {}
    checked = 0
    with gzip.open(DATA / "raw_ws" / "okx.jsonl.gz", "rt") as lines:
        for line in lines:
            record = json.loads(line)
            message = json.loads(record["data"]) if record["t"] == "recv" else {}
            if message.get("arg", {}).get("channel") != "books" or "data" not in message:
                continue
            market = message["arg"]["instId"]
            for row in message["data"]:
                if message["action"] == "snapshot":
                    books[market] = {"bids": {}, "asks": {}}
                for side in ("bids", "asks"):
                    for level in row[side]:
                        books[market][side][D(level[0])] = level
                        if not D(level[1]):
                            del books[market][side][D(level[0])]
                bids = [level for _, level in sorted(books[market]["bids"].items(), reverse=True)]
                asks = [level for _, level in sorted(books[market]["asks"].items())]
                assert checksum(bids, asks) == row["checksum"]
                checked += 1
    assert checked == 290
