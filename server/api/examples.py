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
    "reduce_only": False,
    "stop_price": None,
    "protection_price": None,
    "emulated": False,
    "expires_at": None,
    "expires_by": None,
    "replaces": None,
    "cross_id": None,
    "fee_saved": None,
    "purpose": "make",
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
    "pnl": {
        "currency": "USDT",
        "realised": "0",
        "fees": "0.612525",
        "pnl": "-0.612525",
        "unvalued_fills": 0,
    },
    "fills": [FILL],
}

_CHANGE: dict[str, object] = {
    "message": "",
    "code": None,
    "venue_code": None,
    "venue_message": None,
    "pnl": None,
}
ORDER_WITH_HISTORY: dict[str, object] = {
    **ORDER,
    "history": [
        {**_CHANGE, "timestamp": "2026-11-21T06:30:00.100000Z", "status": "created", "what": "created"},
        {**_CHANGE, "timestamp": "2026-11-21T06:30:00.100000Z", "status": "pending", "what": "intend"},
        {**_CHANGE, "timestamp": "2026-11-21T06:30:00.190000Z", "status": "submitted", "what": "ack"},
        {
            **_CHANGE,
            "timestamp": "2026-11-21T06:30:01.250000Z",
            "status": "filled",
            "what": "last_fill",
            "pnl": {
                "currency": "USDT",
                "realised": "0",
                "fees": "0.612525",
                "pnl": "-0.612525",
                "fills": 1,
                "unvalued_fills": 0,
            },
        },
    ],
}

_FIGURES = {
    "cost": "611.912475",
    "value": "612.387",
    "unrealised": "0.474525",
    "realised": "0",
    "fees": "0.612525",
    "pnl": "-0.138",
    "unpriced": [],
}

POSITIONS = {
    "positions": [
        {
            "exchange": "okx",
            "account": "default",
            "symbol": "BTC/USDT:USDT",
            "side": "short",
            "quantity": "-0.05",
            "entry_price": "60001",
            "mark_price": "60500",
            "value": "-3025",
            "leverage": "3",
            "margin_mode": "cross",
            "margin": "1008.33333333",
            "liquidation_price": "255721.39303482",
            "unrealised": "-24.95",
            "currency": "USDT",
        }
    ],
    "accounts": [
        {"exchange": "okx", "account": "default", "mode": "paper", "read": True, "problem": None},
    ],
}

PORTFOLIO = {
    "currency": "USDT",
    "at": "2026-11-21T06:31:00.000000Z",
    "total": _FIGURES,
    "positions": [
        {
            "bot": "bot-1",
            "exchange": "kraken",
            "account": "default",
            "asset": "ETH",
            "quantity": "0.24975",
            "average_price": "2450.1",
            "cost": "611.912475",
            "price": "2452",
            "value": "612.387",
            "unrealised": "0.474525",
            "realised": "0",
            "fees": "0.612525",
            "opened": "0",
            "opened_value": "0",
            "unvalued": "0",
            "updated_at": "2026-11-21T06:30:01.250000Z",
        }
    ],
    "contracts": [
        {
            "bot": "bot-1",
            "exchange": "okx",
            "account": "default",
            "symbol": "BTC/USDT:USDT",
            "quantity": "-0.05",
            "average_price": "60001",
            "cost": "-3000.05",
            "price": "60500",
            "unrealised": "-24.95",
            "realised": "0",
            "fees": "1.500025",
            "currency": "USDT",
            "updated_at": "2026-11-21T06:30:01.250000Z",
        }
    ],
    "by_bot": {"bot-1": _FIGURES},
    "by_exchange": {"kraken": _FIGURES},
    "by_account": {"kraken/default": _FIGURES},
    "by_asset": {"ETH": _FIGURES},
    "accounts": [
        {
            "exchange": "kraken",
            "account": "default",
            "mode": "paper",
            "read_at": "2026-11-21T06:30:02.000000Z",
            "value": "9999.862",
            "contracts_unrealised": "0",
            "unpriced": [],
        }
    ],
    "total_value": "9999.862",
    "total_mode": "paper",
    "exposure": {
        "ETH": {"quantity": "0.24975", "value": "612.387", "share": "0.06124"},
        "USDT": {"quantity": "9387.475", "value": "9387.475", "share": "0.93876"},
    },
    "contract_exposure": {"BTC/USDT:USDT": {"quantity": "-0.05", "value": "-3025", "unrealised": "-24.95"}},
}

SNAPSHOTS: dict[str, object] = {
    "currency": "USDT",
    "snapshots": [
        {
            "day": "2026-11-22",
            "taken_at": "2026-11-22T00:00:00.000412Z",
            "booking": 1,
            "total": _FIGURES,
            "change": {
                "realised": "0",
                "fees": "0.612525",
                "price_change": "0.474525",
                "pnl": "-0.138",
                "brought_in": "612.525",
                "unpriced": [],
            },
            "positions": PORTFOLIO["positions"],
        }
    ],
    "next_cursor": None,
}

_EARNED = {
    "realised": "41.25",
    "fees": "6.125",
    "pnl": "35.125",
    "turnover": "12250.5",
    "fills": 14,
    "unvalued_fills": 0,
}

PNL = {
    "currency": "USDT",
    "by": "day",
    "since": "2026-11-20T00:00:00Z",
    "until": None,
    "total": _EARNED,
    "rows": [{"day": "2026-11-21", **_EARNED}],
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
STYLE: dict[str, object] = {"algo": "adaptive", "time_limit": "60", "on_timeout": "take"}
SMART_ORDER = query(
    "smart_order",
    {
        "exchange": "kraken",
        "start_currency": "USDT",
        "end_currency": "ETH",
        "start_amount": "1000",
        **STYLE,
        "account": "default",
    },
)
LIQUIDATE = query(
    "liquidate",
    {
        "exchange": "binance,kraken",
        "end_currency": "USDT",
        "exclude": ["ZEN"],
        "min_trade": "10",
        **STYLE,
        "account": "default",
    },
)
REBALANCE = query(
    "rebalance",
    {
        "exchange": "all",
        "targets": {"BTC": "0.6", "USDT": "0.4"},
        "tolerance": "0.002",
        "min_trade": "10",
        **STYLE,
        "account": "default",
    },
)
PLAN = {
    "quote_id": "qt-5f0c2a71",
    "expires_at": "2026-11-21T06:30:30.100000Z",
    "verb": "smart_order",
    "exchange": "binance,kraken",
    "start_currency": "USDT",
    "end_currency": "ETH",
    "algo": "adaptive",
    "time_limit": "60",
    "legs": [
        {
            "leg": 1,
            "exchange": "binance",
            "account": "default",
            "symbol": "ETH/USDT",
            "side": "buy",
            "source": "USDT",
            "target": "ETH",
            "quantity": "0.253",
            "price": "2450.3",
            "limit": "2451.5",
            "spend": "619.92",
            "receive": "0.252747",
            "level": 0,
            "share": "0.62",
        },
        {
            "leg": 2,
            "exchange": "kraken",
            "account": "default",
            "symbol": "ETH/USDT",
            "side": "buy",
            "source": "USDT",
            "target": "ETH",
            "quantity": "0.155",
            "price": "2450.6",
            "limit": "2451.8",
            "spend": "379.84",
            "receive": "0.154752",
            "level": 0,
            "share": "0.38",
        },
    ],
    "spent": {"USDT": "999.76"},
    "expected": {"received": "0.407499", "currency": "ETH", "average_price": "2453.4"},
    "worst_case": {"received": "0.407301"},
    "cost": {"total_bps": "13.4", "fees_bps": "12.3", "spread_bps": "0.7", "impact_bps": "0.4"},
    "certificate": {"gap_bp": "0.0000001", "scope": "hub", "arbitrage": False},
    "book_ages_s": {"binance ETH/USDT": "0.12", "kraken ETH/USDT": "0.31"},
    "left_out": {},
    "dust": {"USDT": "0.24"},
    "reason": "",
}
QUOTE = query(
    "quote",
    {
        "verb": "smart_order",
        "exchange": "binance,kraken",
        "start_currency": "USDT",
        "end_currency": "ETH",
        "start_amount": "1000",
        **STYLE,
        "account": "default",
    },
    status="done",
    seq=2,
    finished_at="2026-11-21T06:30:00.104000Z",
    result=PLAN,
)
PLACE_ORDER = query(
    "order",
    {
        "exchange": "kraken",
        "side": "sell",
        "symbol": "ETH/USDT",
        "quantity": "0.25",
        "order_type": "stop_loss",
        "stop_price": "2300",
        "time_in_force": "GTC",
        "post_only": False,
        "reduce_only": False,
        "account": "default",
    },
)
EDIT_ORDER = query("edit_order", {"order_id": "o-5f0c2a71", "price": "2440"}, exchange="kraken")
CANCEL_ORDER = query("cancel_order", {"order_id": "o-5f0c2a71"}, exchange="kraken")
CANCEL_ALL_ORDERS = query("cancel_all_orders", {"exchange": "kraken", "scope": "bot"})
HALT = query("halt", {"all": True, "reason": "prices look wrong"})
_FLAT = {
    "halt_id": "q-5f0c2a71",
    "where": "everything",
    "flat": True,
    "accounts": [
        {
            "exchange": "kraken",
            "account": "default",
            "state": "flat",
            "why": "",
            "read_at": "2026-11-21T06:30:00.900000Z",
            "canceled": ["o-5f0c2a70"],
            "filled": [],
            "other": [],
            "still_open": [],
            "filled_meanwhile": {},
            "not_ours": [],
            "not_ours_count": 0,
            "problems": [],
        }
    ],
    "stopped": [],
    "orders": {"o-5f0c2a70": "0"},
}
RESUME = query(
    "resume",
    {"halt_id": "q-5f0c2a71"},
    status="done",
    finished_at="2026-11-21T06:40:00Z",
    result={"halt_id": "q-5f0c2a71", "lifted": "everything", "still_halted": []},
)
SET_SLICE = query(
    "set_slice",
    {"of_bot": "bot-1", "exchange": "kraken", "account": "default", "amounts": {"USDT": "1000"}},
    status="done",
    seq=2,
    finished_at="2026-11-21T06:30:00.100000Z",
    result={
        "user": "alice",
        "of_bot": "bot-1",
        "exchange": "kraken",
        "account": "default",
        "amounts": {"USDT": "1000"},
        "in_force": True,
    },
)

SLICES = {
    "slices": [
        {
            "user": "alice",
            "of_bot": "bot-1",
            "exchange": "kraken",
            "account": "default",
            "amounts": {"ETH": "0.0998", "USDT": "731.72"},
            "claimed": {"USDT": "268.28"},
            "set_by": "adam",
            "set_at": "2026-11-21T06:30:00.100000Z",
            "updated_at": "2026-11-21T06:30:01.250000Z",
        }
    ],
    "accounts": [
        {
            "exchange": "kraken",
            "account": "default",
            "read_at": "2026-11-21T06:30:02.000000Z",
            "sliced": {"ETH": "0.0998", "USDT": "731.72"},
            "rest": {"ETH": "2", "USDT": "9000"},
            "missing": {},
        }
    ],
}

FUNDING = {
    "exchange": "okx",
    "account": "default",
    "since": "2026-11-14T06:30:00.000000Z",
    "until": "2026-11-21T06:30:00.000000Z",
    "totals": {"USDT": "-0.30025"},
    "payments": [
        {
            "id": "2510000000000000001",
            "symbol": "BTC/USDT:USDT",
            "at": "2026-11-21T00:00:00.000000Z",
            "amount": "-0.30025",
            "currency": "USDT",
        }
    ],
}

SET_LEVERAGE = query(
    "set_leverage",
    {"exchange": "okx", "symbol": "BTC/USDT:USDT", "leverage": "2", "account": "default"},
    status="done",
    finished_at="2026-11-21T06:30:00.250000Z",
    result={
        "exchange": "okx",
        "account": "default",
        "symbol": "BTC/USDT:USDT",
        "asked": "2",
        "leverage": "2",
    },
)
SET_LIMIT = query(
    "set_limit",
    {"setting": "credit_limit", "value": "50000", "user": "alice", "exchange": "kraken"},
    status="done",
    finished_at="2026-11-21T06:30:00Z",
    result={
        "setting": "credit_limit",
        "scope": "user alice, exchange kraken",
        "old": "default",
        "new": "50000",
        "default": "100000",
        "unit": "USD",
        "loosened": False,
    },
)
LIMITS = {
    "controls": [
        {
            "number": 6,
            "name": "Credit threshold",
            "code": "CREDIT_LIMIT",
            "settings": [
                {
                    "setting": "credit_limit",
                    "default": "100000",
                    "unit": "USD",
                    "per": ["user", "exchange"],
                    "set": [{"scope": "user alice, exchange kraken", "value": "50000", "set_by": "alice"}],
                }
            ],
        }
    ],
    "changes": [
        {
            "change_id": "q-7d10be42",
            "setting": "credit_limit",
            "scope": "user alice, exchange kraken",
            "old": "default",
            "new": "50000",
            "set_by": "alice",
            "set_at": "2026-11-21T06:30:00Z",
            "reason": "",
        }
    ],
}
RISK = {
    "limits": [
        {
            "setting": "credit_limit",
            "scope": "user alice, exchange kraken",
            "limit": "50000",
            "used": "12400.5",
            "remaining": "37599.5",
            "unit": "USD",
        }
    ],
    "cancels": [{"scope": "user alice", "used": 3, "unit": "cancels", "seconds": 60}],
}

HALTS = {
    "halts": [
        {
            "halt_id": "q-5f0c2a71",
            "in_force": True,
            "where": "everything",
            "exchange": None,
            "account": None,
            "user": None,
            "symbol": None,
            "reason": "prices look wrong",
            "everything": False,
            "source": "api",
            "set_by": "alice",
            "set_at": "2026-11-21T06:30:00.100000Z",
            "lifted_by": None,
            "lifted_at": None,
            "lift_reason": None,
            "recorded": True,
            "proof": "done",
            "report": _FLAT,
        }
    ],
    "complete": True,
}
FINISHED = query(
    "limit_order",
    dict(LIMIT_ORDER["parameters"]),  # type: ignore[call-overload]  # a dictionary, see above
    status="done",
    seq=4,
    finished_at="2026-11-21T06:30:01.250000Z",
    orders=[ORDER],
)
ORDERS = {"orders": [ORDER], "next_cursor": None}
_FIGURE = {
    "n": 2,
    "mean": "9.4",
    "weighted_mean": "9.1",
    "median": "9.4",
    "sd": "1.2",
    "p5": "8.3",
    "p95": "10.5",
    "ci_low": "8.2",
    "ci_high": "10.6",
}
_PARTS = {
    "delay": "0.1",
    "timing": "-0.4",
    "spread": "-0.9",
    "depth": "0.2",
    "fees": "10.4",
    "opportunity": "0",
}
_GROUP: dict[str, object] = {
    "name": "all",
    "n": 2,
    "notional": {"USDT": "2000"},
    "total_bps": _FIGURE,
    **{f"{part}_bps": {**_FIGURE, "mean": mean} for part, mean in _PARTS.items()},
    "saved_bps": {**_FIGURE, "mean": "3.1"},
    "saved": {"USDT": "0.62"},
    "maker_share": "0.71",
    "participation": "0.02",
    "fill_time_s": "48.2",
    "requests": "14",
    "completion": "1",
    "markouts": [{"tau_s": "5", "maker_bps": "-0.4", "taker_bps": "0.6"}],
}
COSTS = {
    "since": "2026-11-21T06:30:00.000000Z",
    "until": "2026-11-21T06:45:00.000000Z",
    "currency": "USDT",
    "summary": _GROUP,
    "groups": {
        "exchange": [{**_GROUP, "name": "kraken"}],
        "algo": [{**_GROUP, "name": "adaptive"}],
        "pair": [{**_GROUP, "name": "USDT>ETH"}],
        "size": [{**_GROUP, "name": "1k - 10k USDT"}],
        "spread": [{**_GROUP, "name": "< 1 bp"}],
    },
    "rows": [
        {
            "parent_id": "p-5f0c2a71",
            "query_id": "q-5f0c2a71",
            "bot": "bot-1",
            "verb": "smart_order",
            "exchange": "kraken",
            "algo": "adaptive",
            "pair": "USDT>ETH",
            "mode": "paper",
            "started_at": "2026-11-21T06:30:00.100000Z",
            "ended_at": "2026-11-21T06:30:48.300000Z",
            "complete": True,
            "notional": "1000",
            "currency": "USDT",
            "size": "1k - 10k USDT",
            "spread": "< 1 bp",
            "total_bps": "9.4",
            **{f"{part}_bps": mean for part, mean in _PARTS.items()},
            "saved_bps": "3.1",
            "maker_share": "0.71",
            "fill_time_s": "48.2",
            "requests": "14",
        }
    ],
}
ALIVE = {"alive": True, "loop_lag_ms": 0}
READY = {"ready": True, "missing": []}
VERSION = {"version": "0.1.0", "configuration": "5f0c2a71d204", "release": "0.1.0+5f0c2a71d204"}

_READ = {
    "next_cursor": None,
    "since": "2026-11-14T06:30:00Z",
    "until": "2026-11-21T06:30:00Z",
    "complete": True,
    "notes": [],
}
EXCHANGE_ORDERS = {
    "orders": [
        {
            "exchange_order_id": "OQCLML-BW3P3-BUCMWZ",
            "client_order_id": None,
            "order_id": None,
            "bot": None,
            "exchange": "kraken",
            "account": "default",
            "symbol": "ETH/USDT",
            "side": "buy",
            "order_type": "limit",
            "status": "filled",
            "price": "2600",
            "quantity": "0.5",
            "filled_quantity": "0.5",
            "average_price": "2599.5",
            "fees": {"USDT": "3.2"},
            "created_at": "2026-11-20T06:30:00Z",
            "updated_at": "2026-11-20T06:31:00Z",
        }
    ],
    **_READ,
}
TRANSFERS = {
    "exchange": "kraken",
    "account": "default",
    "transfers": [
        {
            "id": "QGBDXT5-3NRTQB-WYGJVZ",
            "kind": "deposit",
            "currency": "USDT",
            "amount": "10000",
            "fee": "0",
            "status": "ok",
            "txid": "0xa2a5",
            "at": "2026-11-19T06:30:00Z",
        }
    ],
    **_READ,
}
NOTIFICATION_RULE = {
    "user": "alice",
    "name": "fills",
    "channel": "in_app",
    "address": "",
    "events": ["order_filled"],
    "severity": "info",
    "exchange": None,
    "of_bot": None,
    "everyone": False,
    "digest_minutes": None,
    "digest_at": None,
    "quiet_from": None,
    "quiet_until": None,
    "time_zone": "UTC",
    "suppress_s": 60,
    "repeat_s": 900,
    "updated_at": "2026-11-21T06:30:00.000000Z",
}
SET_NOTIFICATION_RULE = query(
    "set_notification_rule",
    {"name": "fills", "channel": "in_app", "events": ["order_filled"]},
    status="done",
    finished_at="2026-11-21T06:30:00Z",
    result=NOTIFICATION_RULE,
)
DELETE_NOTIFICATION_RULE = query(
    "delete_notification_rule",
    {"name": "fills"},
    status="done",
    finished_at="2026-11-21T06:30:00Z",
    result={"deleted": "fills", "user": "alice"},
)
ACKNOWLEDGE_NOTIFICATION = query(
    "acknowledge_notification",
    {"message_id": "m-6d0f3c1a2b7e4f5081923a4b"},
    status="done",
    finished_at="2026-11-21T06:30:00Z",
    result={
        "message_id": "m-6d0f3c1a2b7e4f5081923a4b",
        "acknowledged_at": "2026-11-21T06:30:00.000000Z",
    },
)
TEST_NOTIFICATION = query(
    "test_notification",
    {"name": "desk"},
    status="done",
    finished_at="2026-11-21T06:30:00Z",
    result={
        "message_id": "t-5f0c2a71",
        "channel": "email",
        "address": "desk@example.com",
        "state": "sent",
        "answer": "taken by smtp.example.com",
    },
)
NOTIFICATION_RULES = {"rules": [NOTIFICATION_RULE], "channels": ["in_app", "email"]}
NOTIFICATIONS = {
    "notifications": [
        {
            "message_id": "m-6d0f3c1a2b7e4f5081923a4b",
            "user": "alice",
            "rule": "fills",
            "channel": "in_app",
            "address": "",
            "severity": "info",
            "event": "order_filled",
            "subject": "filled: buy 0.25 ETH/USDT on kraken",
            "text": "Severity:      info\nEvent:         order_filled",
            "count": 1,
            "order_id": "o-1",
            "query_id": "q-1",
            "created_at": "2026-11-21T06:30:01.000000Z",
            "state": "sent",
            "attempts": 0,
            "sent_at": "2026-11-21T06:30:01.000000Z",
            "answer": "",
            "repeats": 0,
            "repeat_at": None,
            "acknowledged_at": None,
            "acknowledged_by": None,
        }
    ],
    "next_cursor": None,
    "latest": "2026-11-21T06:30:01.000000+00:00|m-6d0f3c1a2b7e4f5081923a4b",
}
