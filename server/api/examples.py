"""Example answers for the documents; a test checks each against its schema."""

from __future__ import annotations

FILL = {
    "fill_id": "81236",
    "price": "2450.1",
    "quantity": "0.25",
    "fee": "0.00025",
    "fee_currency": "ETH",
    "liquidity": "maker",
    "timestamp": "2026-11-21T06:30:01.250000Z",
}

ORDER = {
    "order_id": "o-5f0c2a71",
    "client_order_id": "oms5f0c2a7100",
    "exchange_order_id": "991827",
    "query_id": "q-5f0c2a71",
    "parent_id": "p-5f0c2a71",
    "exchange": "kraken",
    "account": "default",
    "symbol": "ETH/USDT",
    "side": "buy",
    "order_type": "limit",
    "time_in_force": "GTC",
    "post_only": False,
    "price": "2450.1",
    "quantity": "0.25",
    "filled_quantity": "0.25",
    "remaining_quantity": "0",
    "average_price": "2450.1",
    "status": "filled",
    "reason": "",
    "fees": {"ETH": "0.00025"},
    "created_at": "2026-11-21T06:30:00.100000Z",
    "updated_at": "2026-11-21T06:30:01.250000Z",
    "closed_at": "2026-11-21T06:30:01.250000Z",
    "fills": [FILL],
}


def query(verb: str, parameters: dict[str, object], **changes: object) -> dict[str, object]:
    """Return an example of a query that was just accepted."""
    return {
        "query_id": "q-5f0c2a71",
        "user": "alice",
        "bot": "bot-1",
        "verb": verb,
        "exchange": parameters.get("exchange"),
        "status": "working",
        "seq": 1,
        "accepted_at": "2026-11-21T06:30:00.100000Z",
        "finished_at": None,
        "duplicate": False,
        "parameters": parameters,
        "progress": None,
        "result": None,
        "error": None,
        "orders": [],
        **changes,
    }


MARKET_ORDER = query(
    "market_order",
    {"exchange": "kraken", "side": "buy", "symbol": "ETH/USDT", "quantity": "0.25", "account": "default"},
)
LIMIT_ORDER = query(
    "limit_order",
    {
        "exchange": "kraken",
        "side": "buy",
        "symbol": "ETH/USDT",
        "quantity": "0.25",
        "price": "2450.1",
        "time_in_force": "GTC",
        "post_only": False,
        "account": "default",
    },
)
SMART_ORDER = query(
    "smart_order",
    {
        "exchange": "kraken",
        "start_currency": "USDT",
        "end_currency": "ETH",
        "start_amount": "1000",
        "time_limit": "60",
        "account": "default",
    },
)
CANCEL_ORDER = query("cancel_order", {"order_id": "o-5f0c2a71"}, exchange="kraken")
CANCEL_ALL_ORDERS = query("cancel_all_orders", {"exchange": "kraken", "scope": "bot"})
FINISHED = query(
    "limit_order",
    dict(LIMIT_ORDER["parameters"]),  # type: ignore[call-overload]  # a dictionary, see above
    status="done",
    seq=4,
    finished_at="2026-11-21T06:30:01.250000Z",
    orders=[ORDER],
)
ORDERS = {"orders": [ORDER], "next_cursor": None}
ALIVE = {"alive": True, "loop_lag_ms": 0}
READY = {"ready": True, "missing": []}
