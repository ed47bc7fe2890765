"""How queries, orders and fills look to callers: the shape in JSON, and the same shape as JSON Schema."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, localcontext

from ems.core.codec import jsonable
from ems.core.messages import Problem
from ems.core.positions import result_of
from ems.core.records import ENDED, Fill, HistoryEntry, Order, Transfer
from ems.store import ListedOrder
from server.api.desk_port import ListPage, QueryState

ZERO = Decimal(0)

_AMOUNT: dict[str, object] = {"type": "string", "description": "decimal string", "examples": ["0.25"]}
_MAYBE_AMOUNT: dict[str, object] = {"type": ["string", "null"], "description": "decimal string"}
_TEXT: dict[str, object] = {"type": "string"}
_MAYBE_TEXT: dict[str, object] = {"type": ["string", "null"]}
_TIME: dict[str, object] = {"type": "string", "format": "date-time"}
_MAYBE_TIME: dict[str, object] = {"type": ["string", "null"], "format": "date-time"}
_FLAG: dict[str, object] = {"type": "boolean"}
_WHOLE: dict[str, object] = {"type": "integer"}
_MAYBE_OBJECT: dict[str, object] = {"type": ["object", "null"]}
_OBJECT: dict[str, object] = {"type": "object"}
_BPS: dict[str, object] = {"type": ["string", "null"], "description": "basis points, above zero is a cost"}
_AMOUNTS: dict[str, object] = {
    "type": "object",
    "additionalProperties": {"type": "string"},
    "description": "currency -> amount",
}


def _object(properties: dict[str, object]) -> dict[str, object]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _maybe(properties: dict[str, object], *, required: tuple[str, ...] = ()) -> dict[str, object]:
    """Describe an object of which only some fields are always there."""
    return {"type": "object", "properties": properties, "required": list(required)}


def _list_of(name: str) -> dict[str, object]:
    return {"type": "array", "items": {"$ref": f"#/components/schemas/{name}"}}


_PAGE: dict[str, object] = {
    "next_cursor": _MAYBE_TEXT,
    "since": _TIME,
    "until": _TIME,
    "complete": {"type": "boolean", "description": "all of this time was read at the exchange"},
    "notes": {"type": "array", "items": _TEXT, "description": "what is missing, and why"},
}

SCHEMAS: dict[str, dict[str, object]] = {  # name -> JSON Schema
    "Fill": _object(
        {
            "fill_id": _TEXT,
            "price": _AMOUNT,
            "quantity": _AMOUNT,
            "fee": _AMOUNT,
            "fee_currency": _TEXT,
            "liquidity": {"type": "string", "enum": ["maker", "taker"]},
            "timestamp": _TIME,
        }
    ),
    "Order": _object(
        {
            "order_id": _TEXT,
            "client_order_id": _TEXT,
            "exchange_order_id": _MAYBE_TEXT,
            "query_id": _TEXT,
            "parent_id": _TEXT,
            "exchange": _TEXT,
            "account": _TEXT,
            "symbol": _TEXT,
            "side": {"type": "string", "enum": ["buy", "sell"]},
            "order_type": _TEXT,
            "time_in_force": _TEXT,
            "post_only": _FLAG,
            "reduce_only": _FLAG,
            "price": _MAYBE_AMOUNT,
            "stop_price": _MAYBE_AMOUNT,
            "protection_price": {
                **_MAYBE_AMOUNT,
                "description": "the limit a market order went out with; null: with none",
            },
            "emulated": {
                "type": "boolean",
                "description": "this server waits for its stop price, not the exchange",
            },
            "expires_at": _MAYBE_TIME,
            "expires_by": {"anyOf": [{"enum": ["server"]}, {"type": "null"}]},
            "replaces": _MAYBE_TEXT,
            "cross_id": {
                **_MAYBE_TEXT,
                "description": "joins the two sides of an internal cross; null: an order at an exchange",
            },
            "fee_saved": {**_MAYBE_AMOUNT, "description": "of the quote currency, by crossing inside"},
            "purpose": {
                "type": "string",
                "description": "direct: as asked for; reduce: the same, let pass under a halt; cross: of it, "
                "what met another inside; make or take: an algorithm's; stop_loss or take_profit: attached",
            },
            "quantity": _AMOUNT,
            "filled_quantity": _AMOUNT,
            "remaining_quantity": _AMOUNT,
            "average_price": _MAYBE_AMOUNT,
            "status": _TEXT,
            "reason": _TEXT,
            "fees": {"type": "object", "additionalProperties": _AMOUNT, "description": "currency -> amount"},
            "created_at": _TIME,
            "updated_at": _MAYBE_TIME,
            "closed_at": _MAYBE_TIME,
            "pnl": {
                "type": ["object", "null"],
                "description": "what its fills have earned, in `currency`; final once it is closed",
                "properties": {
                    "currency": _TEXT,
                    "realised": _AMOUNT,
                    "fees": _AMOUNT,
                    "pnl": _AMOUNT,
                    "unvalued_fills": _WHOLE,
                },
            },
            "fills": _list_of("Fill"),
        }
    ),
    "Query": _object(
        {
            "query_id": _TEXT,
            "user": _TEXT,
            "bot": _TEXT,
            "verb": _TEXT,
            "exchange": _MAYBE_TEXT,
            "status": {"type": "string", "enum": ["working", "done", "failed"]},
            "seq": _WHOLE,
            "accepted_at": _TIME,
            "finished_at": _MAYBE_TIME,
            "duplicate": _FLAG,
            "parameters": {"type": "object"},
            "progress": {"anyOf": [{"$ref": "#/components/schemas/Progress"}, {"type": "null"}]},
            "result": _MAYBE_OBJECT,
            "error": {"anyOf": [{"$ref": "#/components/schemas/Error"}, {"type": "null"}]},
            "orders": _list_of("Order"),
        }
    ),
    "Progress": _maybe(
        {
            "phase": _TEXT,
            "percent": _MAYBE_AMOUNT,
            "note": _MAYBE_TEXT,
            "eta_s": _MAYBE_AMOUNT,
            "legs": {
                "type": "array",
                "items": _maybe(
                    {
                        "leg": _WHOLE,
                        "exchange": _TEXT,
                        "symbol": _TEXT,
                        "side": _TEXT,
                        "phase": _TEXT,
                        "percent": _MAYBE_AMOUNT,
                        "filled_quantity": _MAYBE_AMOUNT,
                        "quantity": _MAYBE_AMOUNT,
                        "price": _MAYBE_AMOUNT,
                        "step": {"type": ["integer", "null"]},
                        "steps": {"type": ["integer", "null"]},
                        "note": _MAYBE_TEXT,
                    }
                ),
            },
        },
        required=("phase",),
    ),
    "Plan": _maybe(
        {
            "quote_id": _MAYBE_TEXT,
            "expires_at": _MAYBE_TIME,
            "verb": {"type": "string", "enum": ["smart_order", "liquidate", "rebalance"]},
            "exchange": _TEXT,
            "start_currency": _MAYBE_TEXT,
            "end_currency": _MAYBE_TEXT,
            "algo": _TEXT,
            "time_limit": _AMOUNT,
            "legs": {"type": "array", "items": {"$ref": "#/components/schemas/PlannedLeg"}},
            "spent": _AMOUNTS,
            "expected": _maybe(
                {"received": _MAYBE_AMOUNT, "currency": _MAYBE_TEXT, "average_price": _MAYBE_AMOUNT}
            ),
            "worst_case": _maybe({"received": _MAYBE_AMOUNT}),
            "cost": _maybe({"total_bps": _BPS, "fees_bps": _BPS, "spread_bps": _BPS, "impact_bps": _BPS}),
            "certificate": _maybe(
                {
                    "gap_bp": {"type": ["string", "null"], "description": "no plan can be better by more"},
                    "scope": _MAYBE_TEXT,
                    "arbitrage": {"type": ["boolean", "null"]},
                }
            ),
            "book_ages_s": {
                "type": "object",
                "additionalProperties": {"type": "string"},
                "description": "exchange and symbol -> seconds",
            },
            "left_out": {"type": "object", "description": "currency -> why it is not traded"},
            "dust": _OBJECT,
            "reason": _TEXT,
            "value_before": _MAYBE_AMOUNT,
            "value_after": _MAYBE_AMOUNT,
            "numeraire": _MAYBE_TEXT,
            "turnover": _MAYBE_AMOUNT,
            "unreached": _MAYBE_OBJECT,
        },
        required=("verb", "legs"),
    ),
    "PlannedLeg": _maybe(
        {
            "leg": _WHOLE,
            "exchange": _TEXT,
            "account": _TEXT,
            "symbol": _TEXT,
            "side": {"type": "string", "enum": ["buy", "sell"]},
            "source": {"type": "string", "description": "the currency it spends"},
            "target": {"type": "string", "description": "the currency it receives"},
            "quantity": _AMOUNT,
            "price": {**_MAYBE_AMOUNT, "description": "of the worst level it needs"},
            "limit": {**_MAYBE_AMOUNT, "description": "the worst price allowed"},
            "spend": _MAYBE_AMOUNT,
            "receive": _MAYBE_AMOUNT,
            "level": {"type": ["integer", "null"], "description": "legs of a level need those before it"},
            "share": {**_MAYBE_AMOUNT, "description": "of what is spent of its source, 0 to 1"},
        },
        required=("leg", "exchange", "symbol", "side"),
    ),
    "QuoteQuery": {
        "allOf": [
            {"$ref": "#/components/schemas/Query"},
            {
                "type": "object",
                "properties": {
                    "result": {"anyOf": [{"$ref": "#/components/schemas/Plan"}, {"type": "null"}]}
                },
            },
        ]
    },
    "Costs": _maybe(
        {
            "since": _MAYBE_TIME,
            "until": _MAYBE_TIME,
            "currency": {**_MAYBE_TEXT, "description": "of the notionals, where all share one"},
            "summary": _OBJECT,
            "groups": {"type": "object", "description": "kind of group -> groups, each like the summary"},
            "rows": {"type": "array", "items": _OBJECT, "description": "one for every finished order"},
        },
        required=("summary", "groups", "rows"),
    ),
    "Figures": _object(
        {
            "cost": _AMOUNT,
            "value": _AMOUNT,
            "unrealised": _AMOUNT,
            "realised": _AMOUNT,
            "fees": _AMOUNT,
            "pnl": {**_AMOUNT, "description": "realised + unrealised - fees"},
            "unpriced": {"type": "array", "items": _TEXT, "description": "held, and left out of the value"},
        }
    ),
    "Position": _object(
        {
            "bot": _TEXT,
            "exchange": _TEXT,
            "account": _TEXT,
            "asset": _TEXT,
            "quantity": _AMOUNT,
            "average_price": _MAYBE_AMOUNT,
            "cost": _AMOUNT,
            "price": {**_MAYBE_AMOUNT, "description": "middle price of now; null: no book leads there"},
            "value": _MAYBE_AMOUNT,
            "unrealised": _MAYBE_AMOUNT,
            "realised": _AMOUNT,
            "fees": _AMOUNT,
            "opened": {**_AMOUNT, "description": "quantity, ever, that was given without being bought here"},
            "opened_value": _AMOUNT,
            "unvalued": {**_AMOUNT, "description": "quantity, ever, that moved when nobody knew its worth"},
            "updated_at": _TIME,
        }
    ),
    "Funding": _object(
        {
            "exchange": _TEXT,
            "account": _TEXT,
            "since": _TIME,
            "until": _TIME,
            "totals": {**_AMOUNTS, "description": "currency -> amount, below zero where more was paid"},
            "payments": {
                "type": "array",
                "items": _object(
                    {
                        "id": _TEXT,
                        "symbol": _TEXT,
                        "at": _TIME,
                        "amount": {**_AMOUNT, "description": "below zero: paid"},
                        "currency": _TEXT,
                    }
                ),
            },
        }
    ),
    "ContractPositions": _object(
        {
            "positions": {
                "type": "array",
                "items": _object(
                    {
                        "exchange": _TEXT,
                        "account": _TEXT,
                        "symbol": _TEXT,
                        "side": {"type": "string", "enum": ["long", "short"]},
                        "quantity": {**_AMOUNT, "description": "in base currency; below zero: short"},
                        "entry_price": {**_AMOUNT, "description": "the average, as the exchange keeps it"},
                        "mark_price": {**_AMOUNT, "description": "at which the exchange values it"},
                        "value": {**_AMOUNT, "description": "quantity x mark_price, in `currency`"},
                        "leverage": _AMOUNT,
                        "margin_mode": {"type": "string", "description": "cross, isolated or portfolio"},
                        "margin": {**_MAYBE_AMOUNT, "description": "what it requires; null: not told"},
                        "liquidation_price": {**_MAYBE_AMOUNT, "description": "null: there is none"},
                        "unrealised": {**_AMOUNT, "description": "at the mark price, in `currency`"},
                        "currency": {"type": "string", "description": "in which the contract is settled"},
                    }
                ),
            },
            "accounts": {
                "type": "array",
                "items": _object(
                    {
                        "exchange": _TEXT,
                        "account": _TEXT,
                        "mode": _TEXT,
                        "read": {"type": "boolean", "description": "false: its positions are not known"},
                        "problem": _MAYBE_OBJECT,
                    }
                ),
            },
        }
    ),
    "Portfolio": _object(
        {
            "currency": _TEXT,
            "at": _TIME,
            "total": {"$ref": "#/components/schemas/Figures"},
            "positions": _list_of("Position"),
            "contracts": {
                "type": "array",
                "items": _object(
                    {
                        "bot": _TEXT,
                        "exchange": _TEXT,
                        "account": _TEXT,
                        "symbol": _TEXT,
                        "quantity": {**_AMOUNT, "description": "in base currency; below zero: short"},
                        "average_price": _MAYBE_AMOUNT,
                        "cost": {**_AMOUNT, "description": "what it was entered for, signed as quantity"},
                        "price": {**_MAYBE_AMOUNT, "description": "the exchange's mark, or the middle price"},
                        "unrealised": _MAYBE_AMOUNT,
                        "realised": _AMOUNT,
                        "fees": _AMOUNT,
                        "currency": {"type": "string", "description": "of the amounts: it is settled in it"},
                        "updated_at": _TIME,
                    }
                ),
            },
            **{
                f"by_{kind}": {
                    "type": "object",
                    "additionalProperties": {"$ref": "#/components/schemas/Figures"},
                }
                for kind in ("bot", "exchange", "account", "asset")
            },
            "accounts": {
                "type": "array",
                "items": _object(
                    {
                        "exchange": _TEXT,
                        "account": _TEXT,
                        "mode": _TEXT,
                        "read_at": {**_MAYBE_TIME, "description": "null: its balances were never read"},
                        "value": _AMOUNT,
                        "contracts_unrealised": {
                            **_MAYBE_AMOUNT,
                            "description": "beside `value`; null: its positions could not be read",
                        },
                        "unpriced": {"type": "array", "items": _TEXT},
                    }
                ),
            },
            "total_value": _AMOUNT,
            "total_mode": {"type": "string", "description": "live accounts are never added to paper ones"},
            "exposure": {
                "type": "object",
                "additionalProperties": _object(
                    {"quantity": _AMOUNT, "value": _MAYBE_AMOUNT, "share": _MAYBE_AMOUNT}
                ),
                "description": "asset -> what all these accounts hold of it",
            },
            "contract_exposure": {
                "type": "object",
                "additionalProperties": _object(
                    {"quantity": _AMOUNT, "value": _AMOUNT, "unrealised": _AMOUNT}
                ),
                "description": "contract -> the net position of all these accounts; what is not realised is "
                "in `total_value`",
            },
        }
    ),
    "SnapshotPage": _object(
        {
            "currency": _TEXT,
            "snapshots": {
                "type": "array",
                "items": _object(
                    {
                        "day": {
                            "type": "string",
                            "format": "date",
                            "description": "of UTC, which began then",
                        },
                        "taken_at": {**_TIME, "description": "later than midnight: at the first start after"},
                        "booking": {**_WHOLE, "description": "of the last fill in it"},
                        "total": {"$ref": "#/components/schemas/Figures"},
                        "change": {
                            "anyOf": [{"$ref": "#/components/schemas/DayChange"}, {"type": "null"}],
                            "description": "against the snapshot before; null: there is none",
                        },
                        "positions": _list_of("Position"),
                    }
                ),
            },
            "next_cursor": _MAYBE_TEXT,
        }
    ),
    "DayChange": _object(
        {
            "realised": _AMOUNT,
            "fees": _AMOUNT,
            "price_change": {**_AMOUNT, "description": "of what is not realised"},
            "pnl": {**_AMOUNT, "description": "realised - fees + price_change"},
            "brought_in": {**_AMOUNT, "description": "worth of what was given without being bought here"},
            "unpriced": {"type": "array", "items": _TEXT, "description": "left out of price_change"},
        }
    ),
    "Pnl": _object(
        {
            "currency": _TEXT,
            "by": _TEXT,
            "since": _MAYBE_TIME,
            "until": _MAYBE_TIME,
            "total": _OBJECT,
            "rows": {
                "type": "array",
                "items": _maybe(
                    {
                        "realised": _AMOUNT,
                        "fees": _AMOUNT,
                        "pnl": {**_AMOUNT, "description": "realised - fees"},
                        "turnover": _AMOUNT,
                        "fills": _WHOLE,
                        "unvalued_fills": _WHOLE,
                    },
                    required=("realised", "fees", "pnl", "turnover", "fills", "unvalued_fills"),
                ),
            },
        }
    ),
    "Error": _object(
        {
            "code": _TEXT,
            "message": _TEXT,
            "hint": _TEXT,
            "retry_safe": {"type": "boolean", "description": "the same request may be sent again unchanged"},
            "details": {"type": "object"},
            "venue_code": _MAYBE_TEXT,
            "venue_message": _MAYBE_TEXT,
        }
    ),
    "OrderPage": _object({"orders": _list_of("Order"), "next_cursor": _MAYBE_TEXT}),
    "ExchangeOrder": _object(
        {
            "exchange_order_id": _TEXT,
            "client_order_id": _MAYBE_TEXT,
            "order_id": _MAYBE_TEXT,
            "bot": _MAYBE_TEXT,
            "exchange": _TEXT,
            "account": _TEXT,
            "symbol": _TEXT,
            "side": {"type": "string", "enum": ["buy", "sell"]},
            "order_type": _TEXT,
            "status": _TEXT,
            "price": _MAYBE_AMOUNT,
            "quantity": _MAYBE_AMOUNT,
            "filled_quantity": _AMOUNT,
            "average_price": _MAYBE_AMOUNT,
            "fees": _AMOUNTS,
            "created_at": _TIME,
            "updated_at": _MAYBE_TIME,
        }
    ),
    "ExchangeOrders": _object({"orders": _list_of("ExchangeOrder"), **_PAGE}),
    "Transfer": _object(
        {
            "id": _TEXT,
            "kind": {"type": "string", "enum": ["deposit", "withdrawal"]},
            "currency": _TEXT,
            "amount": _AMOUNT,
            "fee": _MAYBE_AMOUNT,
            "status": _TEXT,
            "txid": _MAYBE_TEXT,
            "at": _TIME,
        }
    ),
    "Transfers": _object({"exchange": _TEXT, "account": _TEXT, "transfers": _list_of("Transfer"), **_PAGE}),
    "Object": {"type": "object"},
    "Alive": _object({"alive": _FLAG, "loop_lag_ms": _WHOLE}),
    "Ready": _object({"ready": _FLAG, "missing": {"type": "array", "items": _TEXT}}),
}


def fill_view(fill: Fill) -> dict[str, object]:
    """Show one execution."""
    return {
        "fill_id": fill.fill_id,
        "price": fill.price,
        "quantity": fill.quantity,
        "fee": fill.fee,
        "fee_currency": fill.fee_currency,
        "liquidity": fill.liquidity,
        "timestamp": fill.timestamp,
    }


def listed_order_view(listed: ListedOrder) -> dict[str, object]:
    """Show an order as its exchange lists it."""
    order = listed.order
    average = None
    if order.quote_filled is not None and order.filled_quantity:
        average = order.quote_filled / order.filled_quantity
    return {
        "exchange_order_id": order.exchange_order_id,
        "client_order_id": order.client_order_id,
        "order_id": listed.order_id,
        "bot": listed.bot,
        "exchange": order.exchange,
        "account": order.account,
        "symbol": order.symbol,
        "side": order.side,
        "order_type": order.order_type,
        "status": order.status,
        "price": order.price,
        "quantity": order.quantity,
        "filled_quantity": order.filled_quantity,
        "average_price": average,
        "fees": order.fees,
        "created_at": order.created_at,
        "updated_at": order.updated_at,
    }


def transfer_view(transfer: Transfer) -> dict[str, object]:
    """Show a deposit or withdrawal as its exchange lists it."""
    return {
        "id": transfer.transfer_id,
        "kind": transfer.kind,
        "currency": transfer.currency,
        "amount": transfer.amount,
        "fee": transfer.fee,
        "status": transfer.status,
        "txid": transfer.txid,
        "at": transfer.at,
    }


def page_view(page: ListPage) -> dict[str, object]:
    """Show what must be known about the rows of an exchange's list."""
    return {
        "next_cursor": page.next_cursor,
        "since": page.since,
        "until": page.until,
        "complete": page.complete,
        "notes": list(page.notes),
    }


def order_view(order: Order, fills: Sequence[Fill]) -> dict[str, object]:
    """Show one order with its fills."""
    return {
        "order_id": order.order_id,
        "client_order_id": order.client_order_id,
        "exchange_order_id": order.exchange_order_id,
        "query_id": order.query_id,
        "parent_id": order.parent_id,
        "exchange": order.exchange,
        "account": order.account,
        "symbol": order.symbol,
        "side": order.side,
        "order_type": order.order_type,
        "time_in_force": order.time_in_force,
        "post_only": order.post_only,
        "reduce_only": order.reduce_only,
        "price": order.price,
        "stop_price": order.stop_price,
        "protection_price": order.protection_price,
        "emulated": order.emulated,
        "expires_at": order.expires_at,
        "expires_by": None if order.expires_at is None else "server",
        "replaces": order.replaces,
        "cross_id": order.cross_id,
        "fee_saved": order.fee_saved,
        "purpose": order.purpose,
        "quantity": order.quantity,
        "filled_quantity": order.filled_quantity,
        "remaining_quantity": remaining_quantity(order),
        "average_price": average_price(order),
        "status": order.status,
        "reason": order.reason,
        "fees": order.fees,
        "created_at": order.created_at,
        "updated_at": order.updated_at,
        "closed_at": order.closed_at,
        "pnl": order_pnl(fills),
        "fills": [fill_view(fill) for fill in fills],
    }


def change_view(entry: HistoryEntry) -> dict[str, object]:
    """Show one change of an order: what it was then, why, whose no it was, and what came of it in the end."""
    return {
        "timestamp": entry.timestamp,
        "status": entry.status,
        "what": entry.report["kind"],
        "message": entry.message,
        "code": entry.code,
        "venue_code": entry.venue_code,
        "venue_message": entry.venue_message,
        "pnl": entry.pnl,
    }


def order_pnl(fills: Sequence[Fill]) -> dict[str, object] | None:
    """Sum up what an order's fills have earned; None while none was booked."""
    booked = [fill for fill in fills if fill.booking]
    if not booked:
        return None
    result = result_of(booked, booked[-1].value_currency)
    return {name: value for name, value in result.items() if name != "fills"}


def remaining_quantity(order: Order) -> Decimal:
    """Return what may still fill: nothing once the order has ended."""
    return ZERO if order.status in ENDED else max(order.quantity - order.filled_quantity, ZERO)


def average_price(order: Order) -> Decimal | None:
    """Return quote per base over all fills, to 28 digits."""
    if order.filled_quantity == ZERO:
        return None
    with localcontext() as context:
        context.prec = 28
        return order.quote_filled / order.filled_quantity


def problem_view(problem: Problem) -> dict[str, object]:
    """Show a refusal in the words of the envelope."""
    return {
        "code": problem.code,
        "message": problem.message,
        "hint": problem.hint,
        "retry_safe": problem.retry_safe,
        "details": jsonable(problem.details),
        "venue_code": problem.venue_code,
        "venue_message": problem.venue_message,
    }


def query_view(state: QueryState) -> dict[str, object]:
    """Show a query with its orders."""
    query = state.query
    return {
        "query_id": query.query_id,
        "user": query.user,
        "bot": query.bot,
        "verb": query.verb,
        "exchange": query.exchange,
        "status": query.status,
        "seq": query.seq,
        "accepted_at": query.accepted_at,
        "finished_at": query.finished_at,
        "duplicate": state.duplicate,
        "parameters": query.parameters,
        "progress": state.progress,
        "result": query.result,
        "error": problem_view(query.error) if query.error is not None else None,
        "orders": [order_view(order, state.fills.get(order.order_id, ())) for order in state.orders],
    }
