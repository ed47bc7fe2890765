"""Coinbase's wallets: what an account owns, as the newer and older addresses tell it, what came and went.

Each currency has a wallet. The newer address (`/api/v3/brokerage/accounts`) tells what is available and what
is held; the older one (`/v2/accounts`) tells the whole alone, and knows the transactions of each wallet.

https://docs.cdp.coinbase.com/api-reference/advanced-trade-api/rest-api/accounts/list-accounts
https://docs.cdp.coinbase.com/coinbase-app/track-apis/transactions
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from simulator.dialects import coinbase_words as words
from simulator.dialects.coinbase_words import stamp, wallet_name, whole_stamp
from simulator.exchange import Exchange
from simulator.records import ZERO, Account, Transfer, text

FIAT = frozenset(("USD", "EUR", "GBP"))
OPENED = 1_600_000_000.0  # when the wallets were made; nobody asks
V3_DEFAULT, V3_MOST = 49, 250
V2_DEFAULT, V2_MOST = 25, 250

Owned = Mapping[str, tuple[Decimal, Decimal]]  # currency -> (free, locked)


def currencies(exchange: Exchange, owned: Owned) -> list[str]:
    """All currencies there is a wallet for."""
    listed = {name for market in exchange.markets.values() for name in (market.base, market.quote)}
    return sorted(listed | owned.keys())


def wallets(exchange: Exchange, account: Account, owned: Owned, fields: Mapping[str, str]) -> dict[str, Any]:
    """One page of wallets, as the newer address tells them."""
    names = currencies(exchange, owned)
    start = _cursor(fields.get("cursor", ""), len(names))
    limit = _limit(fields.get("limit", str(V3_DEFAULT)), V3_MOST)
    page = names[start : start + limit]
    more = start + limit < len(names)
    return {
        "accounts": [wallet(account, currency, owned) for currency in page],
        "has_next": more,
        "cursor": str(start + limit) if more else "",
        "size": len(page),
    }


def wallet(account: Account, currency: str, owned: Owned) -> dict[str, Any]:
    """One wallet, as the newer address tells it."""
    free, locked = owned.get(currency, (ZERO, ZERO))
    return {
        "uuid": wallet_name(account.name, currency),
        "name": f"{currency} Wallet",
        "currency": currency,
        "available_balance": {"value": text(free), "currency": currency},
        "default": True,
        "active": True,
        "created_at": stamp(OPENED),
        "updated_at": stamp(OPENED),
        "deleted_at": None,
        "type": "ACCOUNT_TYPE_FIAT" if currency in FIAT else "ACCOUNT_TYPE_CRYPTO",
        "ready": True,
        "hold": {"value": text(locked), "currency": currency},
        "retail_portfolio_id": wallet_name(account.name, "portfolio"),
        "platform": "ACCOUNT_PLATFORM_CONSUMER",
    }


def old_wallets(
    exchange: Exchange, account: Account, owned: Owned, fields: Mapping[str, str]
) -> dict[str, Any]:
    """One page of wallets, as the older address tells them."""
    names = currencies(exchange, owned)
    rows = [_old_wallet(account, name, owned) for name in names]
    return _old_page(rows, fields, "/v2/accounts")


def _old_wallet(account: Account, currency: str, owned: Owned) -> dict[str, Any]:
    free, locked = owned.get(currency, (ZERO, ZERO))
    name = wallet_name(account.name, currency)
    fiat = currency in FIAT
    return {
        "id": name,
        "name": f"{currency} Wallet",
        "primary": False,
        "type": "fiat" if fiat else "wallet",
        "currency": {
            "code": currency,
            "name": currency,
            "color": "#000000",
            "sort_index": 100,
            "exponent": 2 if fiat else 8,
            "type": "fiat" if fiat else "crypto",
        },
        "balance": {"amount": text(free + locked), "currency": currency},
        "created_at": whole_stamp(OPENED),
        "updated_at": whole_stamp(OPENED),
        "resource": "account",
        "resource_path": f"/v2/accounts/{name}",
        "allow_deposits": True,
        "allow_withdrawals": True,
    }


def currency_of(exchange: Exchange, account: Account, owned: Owned, name: str) -> str:
    """Which currency a wallet holds; refuses a wallet there is not."""
    for currency in currencies(exchange, owned):
        if name in (currency, wallet_name(account.name, currency)):
            return currency
    raise words.Refused(404, "not_found", "Not found")


def transactions(
    account: Account, currency: str, what: str, fields: Mapping[str, str], path: str
) -> dict[str, Any]:
    """What a wallet received and sent, newest first; `deposits` and `withdrawals` are of money alone."""
    kinds = {"deposits": ("deposit",), "withdrawals": ("withdrawal",)}.get(what, ("deposit", "withdrawal"))
    chosen = [one for one in account.transfers if one.currency == currency and one.kind in kinds]
    chosen.sort(key=lambda one: (one.time, one.transfer_id), reverse=True)
    if what == "transactions":
        rows = [_transaction(account, one) for one in chosen]
    else:
        rows = [_fiat_transfer(account, one) for one in chosen] if currency in FIAT else []
    return _old_page(rows, fields, path)


def _transaction(account: Account, transfer: Transfer) -> dict[str, Any]:
    out = transfer.kind == "withdrawal"
    moved = -(transfer.amount + transfer.fee) if out else transfer.amount
    amount = {"amount": text(moved), "currency": transfer.currency}
    row: dict[str, Any] = {
        "id": transaction_name(transfer),
        "type": ("fiat_withdrawal" if out else "fiat_deposit") if transfer.currency in FIAT else "send",
        "status": "completed",
        "amount": amount,
        "native_amount": {"amount": "0", "currency": "USD"},
        "description": None,
        "created_at": whole_stamp(transfer.time),
        "updated_at": whole_stamp(transfer.time),
        "resource": "transaction",
        "resource_path": f"/v2/accounts/{wallet_name(account.name, transfer.currency)}"
        f"/transactions/{transaction_name(transfer)}",
    }
    if transfer.currency not in FIAT:
        row["network"] = {
            "status": "confirmed",
            "hash": transfer.txid,
            "network_name": transfer.currency.lower(),
        }
        if out:
            row["network"] |= {
                "transaction_fee": {"amount": text(transfer.fee), "currency": transfer.currency},
                "transaction_amount": {"amount": text(transfer.amount), "currency": transfer.currency},
            }
            row["to"] = {"resource": "address", "address": transfer.address}
            row["idem"] = transaction_name(transfer)
    return row


def _fiat_transfer(account: Account, transfer: Transfer) -> dict[str, Any]:
    whole = transfer.amount + (transfer.fee if transfer.kind == "withdrawal" else ZERO)
    name, currency = transaction_name(transfer), transfer.currency
    return {
        "id": name,
        "status": "completed",
        "payment_method": {
            "id": name,
            "resource": "payment_method",
            "resource_path": "/v2/payment-methods/1",
        },
        "transaction": {"id": name, "resource": "transaction", "resource_path": "/v2/accounts/transactions"},
        "user_reference": name[-6:].upper(),
        "created_at": whole_stamp(transfer.time),
        "updated_at": whole_stamp(transfer.time),
        "resource": transfer.kind,
        "resource_path": f"/v2/accounts/{wallet_name(account.name, currency)}/{transfer.kind}s/{name}",
        "committed": True,
        "payout_at": whole_stamp(transfer.time),
        "instant": False,
        "fee": {"amount": text(transfer.fee), "currency": currency},
        "amount": {"amount": text(transfer.amount), "currency": currency},
        "subtotal": {"amount": text(whole), "currency": currency},
        "next_step": None,
    }


def transaction_name(transfer: Transfer) -> str:
    """Coinbase's id of a transaction: a UUID."""
    return f"7c1d9e40-52ab-5f83-9d6e-{transfer.transfer_id:012x}"


def _old_page(rows: list[dict[str, Any]], fields: Mapping[str, str], path: str) -> dict[str, Any]:
    """One page behind the row named `starting_after`."""
    limit = _limit(fields.get("limit", str(V2_DEFAULT)), V2_MOST)
    start, after = 0, fields.get("starting_after")
    if after:
        places = [place for place, row in enumerate(rows) if row["id"] == after]
        if not places:
            raise words.Refused(400, "validation_error", "starting_after is unknown")
        start = places[0] + 1
    page = rows[start : start + limit]
    more = start + limit < len(rows)
    last = page[-1]["id"] if page and more else None
    return {
        "pagination": {
            "ending_before": None,
            "starting_after": after,
            "previous_ending_before": None,
            "next_starting_after": last,
            "limit": limit,
            "order": "desc",
            "previous_uri": None,
            "next_uri": f"{path}?limit={limit}&starting_after={last}" if last else None,
        },
        "data": page,
    }


def _limit(given: str, most: int) -> int:
    if not given.isascii() or not given.isdigit() or not 1 <= int(given) <= most:
        raise words.invalid("limit is invalid")
    return int(given)


def _cursor(given: str, size: int) -> int:
    if not given:
        return 0
    if not given.isascii() or not given.isdigit() or int(given) > size:
        raise words.invalid("cursor is invalid")
    return int(given)
