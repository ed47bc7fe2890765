"""Coinbase Advanced Trade, spot: what ccxt is told, what an answer means, how an order is found again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

from ems.core.depth import Change, Row
from ems.core.instrument import MarketStatus, Rules
from ems.core.messages import (
    AmendRequest,
    Ending,
    FillReport,
    Found,
    NewOrder,
    OrderStatus,
    OrderType,
    PublicTrade,
    Refusal,
    Side,
    TimeInForce,
)
from ems.venues.dialects.dialect import (
    PAGES_MAX,
    Amending,
    Ask,
    BookFeed,
    CannotSay,
    Dialect,
    Fees,
    FillsRead,
    KeyPowers,
    Listing,
    PrivateStream,
    RateLimits,
    Tape,
    Tier,
    Told,
    Triggers,
    Words,
    coinbase_status,
    each,
    has,
    named,
    stop_word,
    stop_words,
    terms,
)
from ems.venues.errors import Refusals, Said, of_orders
from ems.venues.gateway import VenueUnavailable
from ems.venues.limiter import Scope, Shape, Window
from ems.venues.translation import from_ms, plain
from ems.venues.transport import Wire

# --- The wire ------------------------------------------------------------------------------------

TOKEN_LIFE_S = 120  # ccxt's; the most that Coinbase takes
REQUEST_LIFE_S = 10  # what we let one of our requests live
MESSAGE_EVERY_S = 0.2  # eight a second are the most from an address that is not signed in
_USER = "user"


class CoinbaseWire(Wire):
    """What Coinbase and ccxt make of each other, set right.

    1. A token is good for ten seconds, not two minutes: what arrives later than that is refused, so that an
       order that was not found may soon be held to be none.
    2. Each subscription that is signed gets a token of its own; ccxt would use one again when it is stale.
    3. The account's stream has its own connection, at the host that Coinbase has for it.
    4. Every connection is kept awake by heartbeats. No more is said on it than is allowed: what waits for its
       turn is said for many products at once.
    5. Unsubscribing waits for no answer: ccxt waits for a frame that says that nothing is left.
    6. A token that opens nothing is answered with one word that is not JSON.

    https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/websocket/websocket-overview and
    .../websocket-rate-limits
    """

    def describe(self) -> Any:
        ours = {"urls": {"api": {"ws_user": "wss://advanced-trade-ws-user.coinbase.com/"}}}
        ex: Any = super()
        return self.deep_extend(ex.describe(), ours)  # type: ignore[attr-defined]

    def read_body(self, text: str) -> Any:
        return {"error": text, "message": text} if text == "Unauthorized" else super().read_body(text)

    def create_auth_token(self, seconds: int, method: Any = None, url: Any = None, *more: Any) -> str:
        if url is not None:
            seconds -= TOKEN_LIFE_S - REQUEST_LIFE_S
        token: str = super().create_auth_token(seconds, method, url, *more)  # type: ignore[misc]
        return token

    def create_ws_auth(self, name: str, product_ids: Any) -> Any:
        ex: Any = self
        ex.options["wsToken"] = None
        return super().create_ws_auth(name, product_ids)  # type: ignore[misc]

    def watch(
        self,
        url: str,
        message_hash: str,
        message: Any = None,
        subscribe_hash: Any = None,
        subscription: Any = None,
    ) -> Any:
        ex: Any = self
        ccxts: Any = super()
        client = ex.client(ex.urls["api"]["ws_user"] if message_hash == _USER else url)
        new = subscribe_hash not in client.subscriptions
        future = ccxts.watch(client.url, message_hash, None, subscribe_hash, subscription)
        if new:
            self._say(client, message)
        return future

    def watch_multiple(
        self,
        url: str,
        message_hashes: Any,
        message: Any = None,
        subscribe_hashes: Any = None,
        subscription: Any = None,
    ) -> Any:
        ex: Any = self
        client = ex.client(url)
        new = any(name not in client.subscriptions for name in subscribe_hashes)
        future = super().watch_multiple(url, message_hashes, None, subscribe_hashes, subscription)
        if new:
            self._say(client, message)
        return future

    async def un_watch_order_book(self, symbol: str, params: Any = None) -> None:
        self._unsubscribe("level2", symbol)

    async def un_watch_trades(self, symbol: str, params: Any = None) -> None:
        self._unsubscribe("market_trades", symbol)

    def _unsubscribe(self, channel: str, symbol: str) -> None:
        ex: Any = self
        client = (ex.clients or {}).get(ex.urls["api"]["ws"])
        if client is not None:
            name = f"{channel}::{symbol}"
            ex.clean_unsubscription(client, name, f"unsubscribe:{name}")
            products = [ex.market(symbol)["id"]]
            self._say(client, {"type": "unsubscribe", "product_ids": products, "channel": channel})

    def _say(self, client: Any, message: Any) -> None:
        """Queue a message; what waits for the same channel becomes one with it."""
        if "waiting" not in vars(client):
            client.waiting = [{"type": "subscribe", "channel": "heartbeats", "product_ids": []}]
            client.talking = asyncio.ensure_future(self._talk(client))
        for earlier in reversed(client.waiting):
            if earlier["channel"] == message["channel"]:
                if earlier["type"] != message["type"]:
                    break
                earlier["product_ids"] += message["product_ids"]
                return
        client.waiting.append({**message, "product_ids": list(message["product_ids"])})
        if client.talking.done():
            client.talking = asyncio.ensure_future(self._talk(client))

    async def _talk(self, client: Any) -> None:
        try:
            await asyncio.shield(client.connected)
            while client.waiting:
                await client.send(client.waiting.pop(0))
                await asyncio.sleep(MESSAGE_EVERY_S)
        except Exception as error:  # whoever waits for a frame of this connection is told
            client.on_error(error)


# --- What an answer means ------------------------------------------------------------------------

_VAGUE = frozenset(
    (
        *("", "UNKNOWN_FAILURE_REASON"),
        *("UNKNOWN_EDIT_ORDER_FAILURE_REASON", "UNKNOWN_PREVIEW_FAILURE_REASON"),
    )
)


def coinbase_said(status: int, body: object) -> tuple[Said, ...]:
    """Read the five ways in which Coinbase says no.

    `{"success": false, "error_response": {...}}` of an order, `{"success": false, "errors": [...]}` of a
    change and `{"results": [{"success": false, ...}]}` of a cancel come with a 200; `{"error", "message"}`
    and, from the older addresses, `{"errors": [{"id"}]}` with a status of their own.
    https://docs.cdp.coinbase.com/api-reference/advanced-trade-api/rest-api/orders/create-order
    """
    if not (200 <= status < 300 or 400 <= status < 500) or not isinstance(body, dict):
        return ()
    if body.get("success") is False and isinstance(body.get("error_response"), dict):
        if body.get("order_id") or body.get("success_response"):
            return ()  # an error that names an order: something was done, so this is no clean no
        return (_failure(body["error_response"]),)
    errors = body.get("errors")
    if body.get("success") is False and isinstance(errors, list) and 200 <= status < 300:
        edits = [one for one in errors if isinstance(one, dict) and "edit_failure_reason" in one]
        return tuple(_failure({**one, "error": one["edit_failure_reason"]}) for one in edits)
    results = body.get("results")
    if isinstance(results, list):
        bad = [one for one in results if isinstance(one, dict) and one.get("success") is False]
        reasons = [str(one.get("failure_reason")) for one in bad]
        return tuple(Said(reason, reason) for reason in reasons)
    error = body.get("error")
    if isinstance(error, str) and error and status >= 400:
        return (Said(error, str(body.get("message") or body.get("error_details") or error)),)
    if isinstance(errors, list) and status >= 400:
        rows = [one for one in errors if isinstance(one, dict) and isinstance(one.get("id"), str)]
        return tuple(Said(one["id"], str(one.get("message"))) for one in rows)
    return ()


def _failure(response: Mapping[str, Any]) -> Said:
    """Take the most telling reason: the general one may only say that there is another."""
    reasons = [response.get(name) for name in ("error", "preview_failure_reason", "new_order_failure_reason")]
    told = [str(one) for one in reasons if one and str(one) not in _VAGUE]
    code = told[0] if told else "UNKNOWN_FAILURE_REASON"
    return Said(code, str(response.get("message") or response.get("error_details") or code))


def _named(*codes: str) -> list[tuple[str, str | None]]:
    return [(code, None) for code in codes]


# Too little to call an order refused: see `errors.of_orders`.
_OF_THE_FRONT = frozenset({"rate_limit_exceeded", "resource_exhausted", "RESOURCE_EXHAUSTED"})

COINBASE_ANY: Refusals = {
    **dict.fromkeys(
        _named(
            *("Unauthorized", "UNAUTHENTICATED", "PERMISSION_DENIED", "authentication_error"),
            *("invalid_token", "expired_token", "revoked_token", "invalid_scope", "unauthorized"),
        ),
        Refusal.AUTH,
    ),
    **dict.fromkeys(_named(*_OF_THE_FRONT), Refusal.RATE_LIMIT),
    **dict.fromkeys(
        _named("INVALID_ARGUMENT", "invalid_request", "validation_error", "param_required"), Refusal.PERMANENT
    ),
}

# The reasons that the page of the call lists, and those of its preview, which say the same in other words.
# Not here, so unknown: UNKNOWN_FAILURE_REASON without another, COMMANDER_REJECTED_NEW_ORDER (the engine said
# no, after the front had said yes), whatever speaks of a duplicate, and risk services that failed.
COINBASE_CREATE: Refusals = {
    **of_orders(COINBASE_ANY, _OF_THE_FRONT),
    **dict.fromkeys(
        _named(
            *("INSUFFICIENT_FUND", "INSUFFICIENT_FUNDS", "INVALID_LEDGER_BALANCE"),
            *("PREVIEW_INSUFFICIENT_FUND", "PREVIEW_INVALID_LEDGER_BALANCE"),
            "PREVIEW_INSUFFICIENT_LEDGER_BALANCE",
        ),
        Refusal.INSUFFICIENT_FUNDS,
    ),
    **dict.fromkeys(
        _named("PREVIEW_INVALID_BASE_SIZE_TOO_SMALL", "PREVIEW_INVALID_QUOTE_SIZE_TOO_SMALL"),
        Refusal.MIN_SIZE,
    ),
    **dict.fromkeys(
        _named(
            *("INVALID_SIZE_PRECISION", "INVALID_PRICE_PRECISION", "PREVIEW_INVALID_SIZE_PRECISION"),
            *("PREVIEW_INVALID_PRICE_PRECISION", "PREVIEW_INVALID_QUOTE_SIZE_PRECISION"),
            *("PREVIEW_INVALID_LIMIT_PRICE_PRECISION", "PREVIEW_INVALID_STOP_PRICE_PRECISION"),
        ),
        Refusal.LOT_TICK,
    ),
    **dict.fromkeys(
        _named("INVALID_LIMIT_PRICE_POST_ONLY", "PREVIEW_INVALID_LIMIT_PRICE_POST_ONLY"),
        Refusal.POST_ONLY_WOULD_CROSS,
    ),
    **dict.fromkeys(
        _named(
            *("ORDER_ENTRY_DISABLED", "UNTRADABLE_PRODUCT", "PREVIEW_UNTRADABLE_PRODUCT"),
            *("INVALID_NO_LIQUIDITY", "PREVIEW_INVALID_NO_LIQUIDITY"),
        ),
        Refusal.MARKET_CLOSED,
    ),
    **dict.fromkeys(
        _named(
            *("UNSUPPORTED_ORDER_CONFIGURATION", "INVALID_SIDE", "INVALID_PRODUCT_ID", "INELIGIBLE_PAIR"),
            *("INVALID_LIMIT_PRICE", "INVALID_REQUEST", "GEOFENCING_RESTRICTION", "FOK_DISABLED"),
            *("LIMIT_PRICE_TOO_FAR_FROM_MARKET", "END_TIME_TOO_FAR_IN_FUTURE"),
            *("PREVIEW_INVALID_SIDE", "PREVIEW_INVALID_ORDER_CONFIG", "PREVIEW_INVALID_PRODUCT_ID"),
            *("PREVIEW_INVALID_LIMIT_PRICE", "PREVIEW_INVALID_STOP_PRICE", "PREVIEW_INVALID_END_TIME"),
            *("PREVIEW_INVALID_BASE_SIZE_TOO_LARGE", "PREVIEW_INVALID_QUOTE_SIZE_TOO_LARGE"),
            *("PREVIEW_INVALID_PRICE_TOO_LARGE", "PREVIEW_BREACHED_PRICE_LIMIT"),
            *("PREVIEW_STOP_PRICE_ABOVE_LAST_TRADE_PRICE", "PREVIEW_STOP_PRICE_BELOW_LAST_TRADE_PRICE"),
            *("PREVIEW_STOP_PRICE_ABOVE_LIMIT_PRICE", "PREVIEW_STOP_PRICE_BELOW_LIMIT_PRICE"),
        ),
        Refusal.PERMANENT,
    ),
}

# https://docs.cdp.coinbase.com/api-reference/advanced-trade-api/rest-api/orders/edit-order
# Not here, so unknown: COMMANDER_REJECTED_EDIT_ORDER, ORDER_IS_ALREADY_BEING_REPLACED (an earlier change is
# under way), CANNOT_EDIT_ORDER_PENDING_CANCEL.
COINBASE_AMEND: Refusals = {
    **COINBASE_CREATE,
    **dict.fromkeys(
        _named("ORDER_NOT_FOUND", "CALLER_ID_MISMATCH", "ONLY_OPEN_ORDERS_CAN_BE_EDITED"),
        Refusal.UNKNOWN_ORDER,
    ),
    **dict.fromkeys(_named("INVALID_EDITED_SIZE", "INVALID_EDITED_PRICE"), Refusal.LOT_TICK),
    **dict.fromkeys(
        _named(
            *("CANNOT_EDIT_TO_BELOW_FILLED_SIZE", "ONLY_LIMIT_ORDER_EDITS_SUPPORTED"),
            *("EDIT_REQUEST_EQUAL_TO_ORIGINAL_REQUEST", "SIZE_IN_QUOTE_EDITS_NOT_ALLOWED"),
            *("PORTFOLIO_NOT_ALLOWED_FOR_EDITS", "STRATEGY_NOT_SUPPORTED", "FIELD_STOPPRICE_NOT_SUPPORTED"),
            *("INSUFFICIENT_TIME_TO_EDIT", "EXCEEDED_MAX_ALLOWED_EDIT_REQUEST_COUNT"),
        ),
        Refusal.PERMANENT,
    ),
}

# https://docs.cdp.coinbase.com/api-reference/advanced-trade-api/rest-api/orders/cancel-orders
# Not here, so unknown: UNKNOWN_CANCEL_FAILURE_REASON, COMMANDER_REJECTED_CANCEL_ORDER,
# ORDER_IS_BEING_REPLACED and DUPLICATE_CANCEL_REQUEST (the first one is under way).
COINBASE_CANCEL: Refusals = {
    **COINBASE_ANY,
    **dict.fromkeys(
        _named("UNKNOWN_CANCEL_ORDER", "INVALID_CANCEL_REQUEST", "ORDER_IS_FULLY_FILLED"),
        Refusal.UNKNOWN_ORDER,
    ),
}

_NO_ORDER = "order with this orderID was not found"
COINBASE_ABSENT = frozenset((code, _NO_ORDER) for code in ("NOT_FOUND", "not_found", "unknown"))


def _coinbase_cancelled(body: object) -> bool:
    """Read `{"results": [{"success": true, "order_id"}]}`: one was asked for, and it is under way."""
    return (
        has(body, results=list)
        and len(body["results"]) == 1  # type: ignore[index]
        and has(body["results"][0], success=bool, order_id=str)  # type: ignore[index]
        and body["results"][0]["success"] is True  # type: ignore[index]
    )


_CANCELS_AT_ONCE = 100


async def _coinbase_cancel_all(
    ask: Ask, ccxt_exchange: Any, orders: tuple[OrderStatus, ...], symbol: str | None
) -> None:
    """Cancel them by their numbers, a hundred at a time: there is no call for all of them."""
    method = ccxt_exchange.v3PrivatePostBrokerageOrdersBatchCancel
    names = [one.exchange_order_id for one in orders]
    batches = [names[start : start + _CANCELS_AT_ONCE] for start in range(0, len(names), _CANCELS_AT_ONCE)]
    await each(ask("cancel_all", partial(method, {"order_ids": some})) for some in batches)


# --- Reading orders, fills, money ----------------------------------------------------------------

_ORDERS_PAGE = 250
_FILLS_PAGE = 250
_IDS_AT_ONCE = 50
_MOVES_PAGE = 100
_WALLETS_READ = 60  # each is a question of its own
_KINDS_OF_MOVES = frozenset(
    ("send", "receive", "fiat_deposit", "fiat_withdrawal", "exchange_deposit", "exchange_withdrawal")
)


def _stamp(milliseconds: int) -> str:
    return from_ms(milliseconds).astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def _coinbase_pages(
    question: Callable[[dict[str, object]], Awaitable[Any]],
    part: str,
    request: Mapping[str, object],
    until: Callable[[list[Any]], bool] = lambda rows: False,
) -> list[Any]:
    """Read to the last page, or to the one with what is looked for; the rows are raw.

    Orders say whether there is more. Fills do not: a cursor may lead to an empty page.
    """
    rows: list[Any] = []
    cursor: dict[str, object] = {}
    for _ in range(PAGES_MAX):
        body = await question({**request, **cursor})
        if not has(body, **{part: list}):
            raise CannotSay(f"no list of {part} in {body!r:.200}")
        found, after, more = body[part], body.get("cursor"), body.get("has_next")
        rows.extend(found)
        if until(found) or not found or not after or more is False:
            return rows
        cursor = {"cursor": after}
    raise CannotSay(f"more than {len(rows)} {part}")


async def _coinbase_find(
    ask: Ask, ccxt_exchange: Any, symbol: str, client_order_id: str, since_ms: int | None
) -> list[Any]:
    """Read the open orders, then all orders since it was sent, newest first.

    An order that ends in between is in the second list; one that is created then is too. A list with orders
    that were not asked for answers another question and proves nothing.
    """
    market = ccxt_exchange.market(symbol)

    def ours(rows: list[Any]) -> bool:
        return any(row.get("client_order_id") == client_order_id for row in rows)

    async def orders(what: str, request: dict[str, object]) -> list[Any]:
        async def page(request: dict[str, object]) -> Any:
            return await ask(what, partial(ccxt_exchange.v3PrivateGetBrokerageOrdersHistoricalBatch, request))

        request |= {"product_ids": [market["id"]], "limit": _ORDERS_PAGE}
        rows = await _coinbase_pages(page, "orders", request, ours)
        if not ours(rows) and any(row.get("product_id") != market["id"] for row in rows):
            raise CannotSay(f"asked for orders of {market['id']}, told of others: {rows!r:.200}")
        return rows

    rows = await orders("open_orders", {"order_status": "OPEN"})
    if not ours(rows):
        since: dict[str, object] = {} if since_ms is None else {"start_date": _stamp(since_ms)}
        rows = await orders("closed_orders", since)
        created = [ccxt_exchange.parse8601(row.get("created_time")) for row in rows]
        if since_ms is not None and not ours(rows) and any(at is None or at < since_ms for at in created):
            raise CannotSay(f"asked for orders since {since['start_date']}, told of earlier ones")
    parsed: list[Any] = ccxt_exchange.parse_orders([row for row in rows if ours([row])], market)
    return parsed


async def _coinbase_open_orders(ccxt_exchange: Any) -> list[Any]:
    rows = await _coinbase_pages(
        ccxt_exchange.v3PrivateGetBrokerageOrdersHistoricalBatch,
        "orders",
        {"order_status": "OPEN", "limit": _ORDERS_PAGE},
    )
    orders: list[Any] = ccxt_exchange.parse_orders(rows)
    return orders


async def _fills(ask: Ask, what: str, ccxt_exchange: Any, request: Mapping[str, object]) -> list[Any]:
    async def page(request: dict[str, object]) -> Any:
        return await ask(what, partial(ccxt_exchange.v3PrivateGetBrokerageOrdersHistoricalFills, request))

    rows = await _coinbase_pages(page, "fills", {**request, "limit": _FILLS_PAGE})
    # A row may be on two pages when something traded meanwhile; corrections and reversals are no fills.
    return list({row["entry_id"]: row for row in rows if row.get("trade_type", "FILL") == "FILL"}.values())


async def _coinbase_fills(
    ask: Ask, ccxt_exchange: Any, symbol: str, exchange_order_id: str
) -> FillsRead | None:
    """Read the order for what is filled, then its fills."""
    order = await ask("order", partial(ccxt_exchange.fetch_order, exchange_order_id, symbol))
    if order is None:
        return None
    rows = await _fills(ask, "fills", ccxt_exchange, {"order_ids": [exchange_order_id]})
    trades = ccxt_exchange.parse_trades(rows, ccxt_exchange.market(symbol))
    # The size of an order by quote amount is in quote; what that is in base does not divide evenly.
    exact = not any(row.get("size_in_quote") for row in rows)
    return FillsRead(trades=trades, expected=order["filled"] if exact else None)


async def _coinbase_history(
    ask: Ask, ccxt_exchange: Any, symbol: str, since_ms: int, now_ms: int
) -> list[Any]:
    market = ccxt_exchange.market(symbol)
    request = {
        "product_ids": [market["id"]],
        "start_sequence_timestamp": _stamp(since_ms),
        "end_sequence_timestamp": _stamp(now_ms),
    }
    trades: list[Any] = ccxt_exchange.parse_trades(
        await _fills(ask, "history", ccxt_exchange, request), market
    )
    return trades


async def _coinbase_names(
    ask: Ask, ccxt_exchange: Any, symbol: str, exchange_order_ids: Collection[str]
) -> dict[str, str | None]:
    async def page(request: dict[str, object]) -> Any:
        return await ask(
            "closed_orders", partial(ccxt_exchange.v3PrivateGetBrokerageOrdersHistoricalBatch, request)
        )

    wanted = sorted(exchange_order_ids)[: PAGES_MAX * _IDS_AT_ONCE]
    names: dict[str, str | None] = {}
    for start in range(0, len(wanted), _IDS_AT_ONCE):
        some = wanted[start : start + _IDS_AT_ONCE]
        rows = await _coinbase_pages(page, "orders", {"order_ids": some, "limit": _ORDERS_PAGE})
        names.update((row["order_id"], row.get("client_order_id") or None) for row in rows)
    return names


async def _coinbase_fees(ccxt_exchange: Any) -> Fees:
    """Ask for the account's tier, which holds for all pairs but those of stable coins.

    https://docs.cdp.coinbase.com/api-reference/advanced-trade-api/rest-api/fees/get-transaction-summary
    """
    answer = await ccxt_exchange.v3PrivateGetBrokerageTransactionSummary({"product_type": "SPOT"})
    tier = answer["fee_tier"]
    ours = (Decimal(tier["maker_fee_rate"]), Decimal(tier["taker_fee_rate"]))
    return {
        market["symbol"]: ours
        for market in ccxt_exchange.markets.values()
        if market["spot"] and market["id"] not in ccxt_exchange.options["stablePairs"]
    }


async def _coinbase_past_orders(
    ask: Ask, ccxt_exchange: Any, symbol: str | None, since: int, until: int
) -> list[Any]:
    """Read the open orders, then all of this time; what ends in between is in both."""
    market = None if symbol is None else ccxt_exchange.market(symbol)
    asked: dict[str, object] = {"limit": _ORDERS_PAGE}
    if market is not None:
        asked["product_ids"] = [market["id"]]
    rows: dict[str, Any] = {}
    for what, request in (
        ("open_orders", {"order_status": "OPEN"}),
        ("closed_orders", {"start_date": _stamp(since), "end_date": _stamp(until)}),
    ):

        async def page(request: dict[str, object], what: str = what) -> Any:
            return await ask(what, partial(ccxt_exchange.v3PrivateGetBrokerageOrdersHistoricalBatch, request))

        found = await _coinbase_pages(page, "orders", {**asked, **request})
        rows.update((row["order_id"], row) for row in found)
    orders: list[Any] = ccxt_exchange.parse_orders(list(rows.values()), market)
    # ccxt takes no notice of what it cost, and multiplies it out of a quotient.
    # Fees are taken in the quote currency, which ccxt leaves out.
    return [
        {
            **one,
            "cost": Decimal(one["info"].get("filled_value") or 0),
            "fees": [{**one["fee"], "currency": one["symbol"].partition("/")[2]}],
        }
        for one in orders
    ]


async def _coinbase_transfers(
    ask: Ask, ccxt_exchange: Any, symbol: str | None, since: int, until: int
) -> list[Any]:
    """Read the transactions of each wallet; trades and conversions are among them, and left out.

    https://docs.cdp.coinbase.com/coinbase-app/track-apis/transactions
    """

    async def wallets(request: dict[str, object]) -> Any:
        return await ask("wallets", partial(ccxt_exchange.v3PrivateGetBrokerageAccounts, request))

    rows = await _coinbase_pages(wallets, "accounts", {"limit": 250})
    if len(rows) > _WALLETS_READ:
        raise VenueUnavailable(f"the account has {len(rows)} wallets, and each would have to be asked for")
    found: list[Any] = []
    for wallet in rows:
        found.extend(await _moves_of(ask, ccxt_exchange, wallet["uuid"], since))
    return found


async def _moves_of(ask: Ask, ccxt_exchange: Any, wallet: str, since: int) -> list[Any]:
    """Read a wallet's transactions, newest first, back to a time."""
    found: list[Any] = []
    request: dict[str, object] = {"account_id": wallet, "limit": _MOVES_PAGE, "order": "desc"}
    for _ in range(PAGES_MAX):
        body = await ask(
            "transfers", partial(ccxt_exchange.v2PrivateGetAccountsAccountIdTransactions, dict(request))
        )
        for row in body["data"]:
            parsed = ccxt_exchange.parse_transaction(row)
            if parsed["timestamp"] < since:
                return found
            if row["type"] in _KINDS_OF_MOVES:
                # ccxt looks at the amount without its fee, which has no sign.
                kind = "withdrawal" if row["amount"]["amount"].startswith("-") else "deposit"
                found.append({**parsed, "type": kind})
        after = (body.get("pagination") or {}).get("next_starting_after")
        if not after:
            return found
        request["starting_after"] = after
    raise VenueUnavailable(f"a wallet with more than {PAGES_MAX * _MOVES_PAGE} transactions since then")


async def _coinbase_tier(ccxt_exchange: Any) -> Tier:
    """https://docs.cdp.coinbase.com/api-reference/advanced-trade-api/rest-api/fees/get-transaction-summary"""
    told = await ccxt_exchange.v3PrivateGetBrokerageTransactionSummary({"product_type": "SPOT"})
    volume = told.get("advanced_trade_only_volume")
    return Tier(
        name=told["fee_tier"].get("pricing_tier") or None,
        volume_30d=None if volume is None else Decimal(str(volume)),
        currency="USD",
    )


async def _coinbase_powers(ccxt_exchange: Any) -> KeyPowers:
    """Ask what the key may do: `get-api-key-permissions` beside the pages of the other calls."""
    told = await ccxt_exchange.v3PrivateGetBrokerageKeyPermissions()
    return KeyPowers(trade=told["can_trade"], withdraw=told["can_transfer"])


def _coinbase_create_words(order: NewOrder) -> Mapping[str, object]:
    """Buy at market by the base quantity; ccxt knows the quote amount alone and asks for a price.

    https://docs.cdp.coinbase.com/api-reference/advanced-trade-api/rest-api/orders/create-order
    """
    if order.order_type is not OrderType.MARKET or order.side is not Side.BUY:
        return {}
    return {"order_configuration": {"market_market_ioc": {"base_size": plain(order.quantity)}}}


async def _coinbase_amend(ccxt_exchange: Any, request: AmendRequest) -> Any:
    """Edit an order: it keeps its number, its name and its fills, and lists what it was (`edit_history`).

    A size or price that is left out is read as nothing.
    https://docs.cdp.coinbase.com/api-reference/advanced-trade-api/rest-api/orders/edit-order and
    https://nautilustrader.io/docs/latest/integrations/coinbase (order modification)
    """
    asked = {
        **named(request, "client_order_id", "order_id"),
        **terms(request, quantity="size", price="price"),
    }
    return await ccxt_exchange.v3PrivatePostBrokerageOrdersEdit(asked)


def _coinbase_amended(body: object, request: AmendRequest) -> bool:
    """Read `{"success": true}`; the answer may name the order, and its page does not say that it does."""
    if not isinstance(body, dict) or body.get("success") is not True:
        return False
    order = body.get("success_response")
    return order is None or (isinstance(order, dict) and order.get("order_id") == request.exchange_order_id)


# --- The streams ---------------------------------------------------------------------------------

_COINBASE_ENDINGS = {
    "FILLED": Ending.FILLED,
    "CANCELLED": Ending.CANCELED,
    "EXPIRED": Ending.EXPIRED,
    "FAILED": Ending.REJECTED,
}
_COINBASE_OPEN = {"PENDING", "OPEN", "QUEUED", "CANCEL_QUEUED", "EDIT_QUEUED"}


def _channel(frame: Any) -> Any:
    return frame.get("channel") if isinstance(frame, dict) else None


def _coinbase_sequence(frame: Any) -> int | None:
    number = frame.get("sequence_num") if isinstance(frame, dict) else None
    return number if isinstance(number, int) and not isinstance(number, bool) else None


def _coinbase_stream(ccxt_exchange: Any, frame: Any) -> Iterator[FillReport | OrderStatus]:
    """Read the rows of `user`: cumulative figures and no fill, which is asked for where they grew.

    https://docs.cdp.coinbase.com/api-reference/advanced-trade-api/websocket/user
    """
    for event in frame["events"]:
        for row in event.get("orders") or ():
            if row.get("product_type", "SPOT") != "SPOT":
                continue
            status = row["status"]
            ending = _COINBASE_ENDINGS.get(status)
            if ending is None and status not in _COINBASE_OPEN:
                continue
            filled = Decimal(row["cumulative_quantity"] or "0")
            left = Decimal(row["leaves_quantity"] or "0")
            # What is left is nothing as soon as it is over, so that only a filled order tells its quantity.
            whole = filled + left if ending in (None, Ending.FILLED) else None
            reason = row.get("reject_reason") or row.get("cancel_reason")
            yield OrderStatus(
                order_id=None,
                found=Found.OPEN if ending is None else Found.CLOSED,
                exchange_order_id=row["order_id"],
                client_order_id=row.get("client_order_id") or None,
                symbol=ccxt_exchange.safe_symbol(row["product_id"], None, "-", "spot"),
                filled_quantity=filled,
                ending=ending,
                side=Side(row["order_side"].lower()),
                quantity=whole,
                reason=reason or None,
            )


def _symbols(ccxt_exchange: Any, product: str) -> list[str]:
    """Return whose book this is: products of USDC share that of USD, and are told under its name."""
    market = ccxt_exchange.safe_market(product, None, "-", "spot")
    others = (market.get("info") or {}).get("alias_to") or ()
    return [ccxt_exchange.safe_symbol(name, None, "-", "spot") for name in (product, *others)]


_SIDES = {"bid": "bids", "offer": "asks"}


def _coinbase_book(ccxt_exchange: Any, frame: Any, url: str) -> Iterator[tuple[str, Change]]:
    """Read `l2_data`; what numbers there are count the frames of the connection: see `_coinbase_sequence`.

    https://docs.cdp.coinbase.com/api-reference/advanced-trade-api/websocket/level2
    """
    told_at = datetime.fromisoformat(frame["timestamp"])
    for event in frame["events"]:
        levels: dict[str, list[Row]] = {"bids": [], "asks": []}
        for row in event["updates"]:
            levels[_SIDES[row["side"]]].append((row["price_level"], row["new_quantity"]))
        change = Change(
            bids=tuple(levels["bids"]),
            asks=tuple(levels["asks"]),
            snapshot=event["type"] == "snapshot",
            told_at=told_at,
        )
        for symbol in _symbols(ccxt_exchange, event["product_id"]):
            yield symbol, change


def _coinbase_trades(ccxt_exchange: Any, frame: Any, now: datetime) -> Iterator[PublicTrade]:
    """Read `market_trades`; a snapshot is the past. The side is the maker's.

    (In a recording of 9 August 2026 the trades at the best ask say SELL.)
    https://docs.cdp.coinbase.com/api-reference/advanced-trade-api/websocket/market-trades
    """
    for event in frame["events"]:
        if event.get("type") != "update":
            continue
        for row in event["trades"]:
            for symbol in _symbols(ccxt_exchange, row["product_id"]):
                yield PublicTrade(
                    symbol=symbol,
                    price=Decimal(row["price"]),
                    quantity=Decimal(row["size"]),
                    side=Side.SELL if row["side"] == "BUY" else Side.BUY,
                    at=now,
                )


def _coinbase_subscribed(frame: Any) -> bool:
    return _channel(frame) == "subscriptions" and any(
        _USER in (event.get("subscriptions") or {}) for event in frame.get("events") or ()
    )


def _coinbase_rules(info: Mapping[str, Any]) -> Rules:
    """Read a product.

    https://docs.cdp.coinbase.com/api-reference/advanced-trade-api/rest-api/products/list-products
    """
    # `quote_max_size` is for orders that name an amount of money; ours name a quantity.
    return Rules(status=MarketStatus.HALTED if info.get("is_disabled") else coinbase_status(info))


COINBASE = Dialect(
    exchange="coinbase",
    ccxt_id="coinbase",
    options={
        "fetchBalance": "v3PrivateGetBrokerageAccounts",  # the older address tells nothing of what is held
        "fetchTime": "v3PublicGetBrokerageTime",
        "createMarketBuyOrderRequiresPrice": False,
    },
    wire=CoinbaseWire,
    fetches_currencies=False,
    fee_mode="quote",
    rules=_coinbase_rules,
    client_id_style="uuid",
    create_parameter="client_order_id",
    create_words=_coinbase_create_words,
    cancel_parameter=None,
    # A request is signed up to two seconds after `send`, lives ten from there, and Coinbase's clock is in
    # whole seconds.
    recv_window_s=2.0 + REQUEST_LIFE_S + 1.0,
    expiry=lambda venue_now, seconds: {},
    words=Words(
        said=coinbase_said,
        refusals=COINBASE_ANY,
        create_refusals=COINBASE_CREATE,
        cancel_refusals=COINBASE_CANCEL,
        absent=COINBASE_ABSENT,
    ),
    by_client_id=(),
    find=_coinbase_find,
    open_orders=_coinbase_open_orders,
    whole={
        "order": lambda body: has(body, order=dict),
        **dict.fromkeys(("open_orders", "closed_orders"), lambda body: has(body, orders=list)),
        **dict.fromkeys(("fills", "history"), lambda body: has(body, fills=list)),
        **dict.fromkeys(("balances", "wallets"), lambda body: has(body, accounts=list)),
        "markets": lambda body: has(body, products=list) or has(body, fee_tier=dict),
        **dict.fromkeys(("fees", "tier"), lambda body: has(body, fee_tier=dict)),
        "transfers": lambda body: has(body, data=list),
        "powers": lambda body: has(body, can_trade=bool, can_transfer=bool),
        "book": lambda body: has(body, pricebook=dict) and has(body["pricebook"], bids=list, asks=list),
        "time": lambda body: has(body, epochSeconds=str),
        "cancel_all": lambda body: has(body, results=list),
    },
    cancelled=_coinbase_cancelled,
    # `stop_limit_stop_limit_gtc`; what is on the wrong side of the last trade is refused.
    triggers=Triggers(
        types=frozenset({OrderType.STOP_LOSS_LIMIT, OrderType.TAKE_PROFIT_LIMIT}),
        times_in_force=frozenset({TimeInForce.GTC}),
        words=stop_words,
        features=stop_word,
    ),
    amending=Amending(
        terms=frozenset({"quantity", "price"}),
        send=_coinbase_amend,
        done=_coinbase_amended,
        refusals=COINBASE_AMEND,
        whole=True,
    ),
    cancel_all=_coinbase_cancel_all,
    fills_of=_coinbase_fills,
    history_of=_coinbase_history,
    names_of=_coinbase_names,
    fees=_coinbase_fees,
    past_orders=Listing(read=_coinbase_past_orders, at_once=timedelta(days=30)),
    # Each wallet is read back from now: the longer the time, the fewer questions.
    transfers=Listing(read=_coinbase_transfers, at_once=timedelta(days=3650)),
    tier=_coinbase_tier,
    powers=_coinbase_powers,
    stream=PrivateStream(
        read=_coinbase_stream,
        is_private=lambda frame: _channel(frame) == _USER,
        subscribed=_coinbase_subscribed,
        over=lambda frame: False,  # an error ends it: ccxt raises what it says
        url=lambda ccxt_exchange: ccxt_exchange.urls["api"]["ws_user"],
        heartbeat_s=10.0,  # one a second: https://docs.cdp.coinbase.com/.../websocket/heartbeats
    ),
    tape=Tape(
        is_trades=lambda frame: _channel(frame) == "market_trades",
        read=_coinbase_trades,
        apart=False,
    ),
    book=BookFeed(
        is_book=lambda frame: _channel(frame) == "l2_data",
        read=_coinbase_book,
        unsubscribe=lambda ccxt_exchange, symbol: ccxt_exchange.un_watch_order_book(symbol),
    ),
    sequence=_coinbase_sequence,
    book_depth=250,
    time_resolution_s=1.0,
    limits=RateLimits(
        # Thirty in any second of a user, ten from an address. The older addresses: 10,000 an hour.
        # https://docs.cdp.coinbase.com/coinbase-app/advanced-trade-apis/rest-api
        shapes=(
            Window(name="private", capacity=30, window_s=1, reserve=2, reserve_orders=8),
            # Of our own: thirty orders at once would leave a cancel a second to wait.
            Shape(name="pace", capacity=8, per_s=28),
            Window(name="public", capacity=10, window_s=1, scope=Scope.IP),
            Shape(name="old", capacity=100, per_s=2.7),
        ),
        costs={
            "create": {"private": 1, "pace": 1},
            "cancel": {"private": 1},
            "cancel_all": {"private": 1},
            "amend": {"private": 1, "pace": 1},
            "order": {"private": 1},
            "open_orders": {"private": 1},
            "closed_orders": {"private": 1},
            "fills": {"private": 1},
            "history": {"private": 1},
            "balances": {"private": 2},
            "wallets": {"private": 1},
            "fees": {"private": 1},
            "tier": {"private": 1},
            "powers": {"private": 1},
            "transfers": {"old": 1},
            "markets": {"public": 2, "private": 1},
            "time": {"public": 1},
            "book": {"public": 1},
        },
        # The headers are those that the official client knows.
        told=(Told(header="x-ratelimit-remaining", counts="left", limit="x-ratelimit-limit"),),
        words=dict.fromkeys(_OF_THE_FRONT, ""),
    ),
)
