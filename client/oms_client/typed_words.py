"""Hints in the words of the command line: the server writes them for programs."""

from __future__ import annotations

import re

# What a hint calls it -> what is typed here. A hint is written for programs: it names methods and fields.
_TYPED_WORDS = {
    "; call resolve(), do not send it again under a new key": "",
    "call resolve() or wait(query_id)": "follow it with: oms wait {query_id}",
    "get_balances": "oms balances",
    "get_positions": "oms positions",
    "get_funding": "oms funding",
    "set_leverage": "oms set-leverage",
    "get_past_orders": "oms orders",
    "get_order_stats": "oms stats",
    "get_exchange_orders": "oms exchange-orders",
    "get_order": "oms order",
    "get_query": "oms query",
    "get_fees": "oms fees",
    "get_portfolio": "oms portfolio",
    "get_slices": "oms slices",
    "set_slice": "oms set-slice",
    "get_pnl": "oms pnl",
    "get_snapshots": "oms snapshots",
    "get_withdrawal_deposit_history": "oms history",
    "check_health": "oms health",
    "smart_order": "oms smart-order",
    "market_order": "oms market-order",
    "limit_order": "oms limit-order",
    "cancel_all_orders": "oms cancel-all",
    "cancel_order": "oms cancel",
    "edit_order": "oms edit",
    "get_halts": "oms halt --status",
    "get_limits": "oms limits",
    "get_risk": "oms risk",
    "start_currency": "FROM",
    "startCurrencyAmount": "AMOUNT",
    "start_amount": "AMOUNT",
    "end_amount": "--end-amount",
    "end_currency": "TO",
    "algo_params": "--param",
    "algo": "--algo",
    "time_limit": "--time-limit",
    "on_timeout": "--on-timeout",
    "max_slippage_bps": "--max-slippage",
    "quote_id": "--quote-id",
    "min_trade": "--min-trade",
    "time_in_force": "--tif",
    "post_only": "--post-only",
    "raise_to_minimum": "--raise-to-minimum",
    "dry_run": "--dry-run",
    "client_order_id": "--client-order-id",
    "order_id": "ORDER_ID",
    "Idempotency-Key": "--idempotency-key",
}
_PROGRAM_WORDS = re.compile(
    "|".join(
        re.escape(word) if not word.isidentifier() else rf"(?<![\w-]){word}\b"
        for word in sorted(_TYPED_WORDS, key=len, reverse=True)
    )
)


def in_typed_words(hint: str, query_id: str | None = None) -> str:
    """Say a hint in the words of this command line."""
    return _PROGRAM_WORDS.sub(lambda found: _TYPED_WORDS[found[0]].format(query_id=query_id), hint)
