"""Binance's account and wallet: what is owned, what a key may do, fees, what came and went.

https://developers.binance.com/docs/binance-spot-api-docs/rest-api/account-endpoints and
https://developers.binance.com/docs/wallet
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from simulator.dialects.binance_words import Call, fixed, ms, plain, utc

if TYPE_CHECKING:
    from simulator.dialects.binance import Binance

ZERO = Decimal(0)


def account(binance: Binance, call: Call) -> Any:
    balances = binance.exchange.balances(call.owner, call.view.balances_as_of)
    if call.parameters.get("omitZeroBalances") == "true":
        balances = {c: amounts for c, amounts in balances.items() if any(amounts)}
    markets = list(binance.exchange.markets.values())
    maker = max((market.maker_fee for market in markets), default=ZERO)
    taker = max((market.taker_fee for market in markets), default=ZERO)
    moved = [entries[-1][0] for entries in call.owner.journal.values() if entries]
    return {
        "makerCommission": int(maker * 10000),
        "takerCommission": int(taker * 10000),
        "buyerCommission": 0,
        "sellerCommission": 0,
        "commissionRates": {
            "maker": fixed(maker),
            "taker": fixed(taker),
            "buyer": fixed(ZERO),
            "seller": fixed(ZERO),
        },
        "canTrade": True,
        "canWithdraw": True,
        "canDeposit": True,
        "brokered": False,
        "requireSelfTradePrevention": False,
        "preventSor": False,
        "updateTime": ms(max(moved, default=0.0)),
        "accountType": "SPOT",
        "balances": [
            {"asset": currency, "free": fixed(free), "locked": fixed(locked)}
            for currency, (free, locked) in balances.items()
        ],
        "permissions": ["SPOT"],
        "uid": 100000001 + list(binance.exchange.accounts).index(call.owner.name),
    }


def api_restrictions(binance: Binance, call: Call) -> Any:
    keys = [key for key in binance.exchange.keys.values() if key.account == call.owner.name]
    permissions = keys[0].permissions if keys else frozenset()
    return {
        "ipRestrict": bool(keys and keys[0].ips),
        "createTime": 1698645219000,
        "enableReading": "read" in permissions,
        "enableWithdrawals": "withdraw" in permissions,
        "enableInternalTransfer": False,
        "enableMargin": False,
        "enableFutures": False,
        "permitsUniversalTransfer": False,
        "enableVanillaOptions": False,
        "enableFixApiTrade": False,
        "enableFixReadOnly": False,
        "enableSpotAndMarginTrading": "trade" in permissions,
        "enablePortfolioMarginTrading": False,
    }


def account_info(binance: Binance, call: Call) -> Any:
    # https://developers.binance.com/docs/wallet/account/account-info
    return {
        "vipLevel": 0,
        "isMarginEnabled": False,
        "isFutureEnabled": False,
        "isOptionsEnabled": False,
        "isPortfolioMarginRetailEnabled": False,
    }


def trade_fee(binance: Binance, call: Call) -> Any:
    markets = [binance.market(call)] if "symbol" in call.parameters else binance.exchange.markets.values()
    return [
        {
            "symbol": binance.name(market.symbol),
            "makerCommission": plain(market.maker_fee),
            "takerCommission": plain(market.taker_fee),
        }
        for market in markets
    ]


def deposits(binance: Binance, call: Call) -> Any:
    return [
        {
            "id": str(transfer.transfer_id),
            "amount": plain(transfer.amount),
            "coin": transfer.currency,
            "network": transfer.currency,
            "status": 1,
            "address": transfer.address,
            "addressTag": "",
            "txId": transfer.txid or f"simulated-{transfer.transfer_id}",
            "insertTime": ms(transfer.time),
            "completeTime": ms(transfer.time),
            "transferType": 0,
            "confirmTimes": "1/1",
            "unlockConfirm": 0,
            "walletType": 0,
        }
        for transfer in _transfers(call, "deposit")
    ]


def withdrawals(binance: Binance, call: Call) -> Any:
    return [
        {
            "id": str(transfer.transfer_id),
            "amount": plain(transfer.amount),
            "transactionFee": plain(transfer.fee),
            "coin": transfer.currency,
            "status": 6,
            "address": transfer.address,
            "txId": transfer.txid or f"simulated-{transfer.transfer_id}",
            "applyTime": utc(transfer.time),
            "network": transfer.currency,
            "transferType": 0,
            "info": "",
            "confirmNo": 1,
            "walletType": 0,
            "txKey": "",
            "completeTime": utc(transfer.time),
        }
        for transfer in _transfers(call, "withdrawal")
    ]


def _transfers(call: Call, kind: str) -> list[Any]:
    start, end = call.whole("startTime"), call.whole("endTime")
    coin, limit = call.parameters.get("coin"), call.limit(1000, 1000)
    offset = call.whole("offset") or 0
    found = [
        transfer
        for transfer in reversed(call.owner.transfers)
        if transfer.kind == kind
        and coin in (None, transfer.currency)
        and (start is None or ms(transfer.time) >= start)
        and (end is None or ms(transfer.time) <= end)
    ]
    return found[offset : offset + limit]


def coins(binance: Binance, call: Call) -> Any:
    markets = binance.exchange.markets.values()
    currencies = sorted({m.base for m in markets} | {m.quote for m in markets} | set(call.owner.free))
    balances = binance.exchange.balances(call.owner, call.view.balances_as_of)
    return [
        {
            "coin": coin,
            "depositAllEnable": True,
            "withdrawAllEnable": True,
            "name": coin,
            "free": plain(balances.get(coin, (ZERO, ZERO))[0]),
            "locked": plain(balances.get(coin, (ZERO, ZERO))[1]),
            "freeze": "0",
            "withdrawing": "0",
            "ipoing": "0",
            "ipoable": "0",
            "storage": "0",
            "isLegalMoney": coin in ("EUR", "USD", "GBP"),
            "trading": True,
            "networkList": [
                {
                    "network": coin,
                    "coin": coin,
                    "withdrawIntegerMultiple": "0.00000001",
                    "isDefault": True,
                    "depositEnable": True,
                    "withdrawEnable": True,
                    "depositDesc": "",
                    "withdrawDesc": "",
                    "name": coin,
                    "resetAddressStatus": False,
                    "withdrawFee": "0",
                    "withdrawMin": "0.00000001",
                    "withdrawMax": "1000000",
                    "minConfirm": 1,
                    "unLockConfirm": 0,
                }
            ],
        }
        for coin in currencies
    ]
