"""Commands about one order, and about all that are open."""

from __future__ import annotations

import argparse

from ..answers import Answer
from ..client import OMSClient
from ..views import show_canceled, show_facts, show_order
from .options import Add, style, style_options, trading, trading_options

ORDER_TYPES = ("market", "limit", "stop_loss", "stop_loss_limit", "take_profit", "take_profit_limit")


def add_orders(add: Add) -> None:
    market = add("market-order", "buy or sell at once", _market_order, show_order)
    limit = add("limit-order", "buy or sell at a price or better", _limit_order, show_order)
    for order in (market, limit):
        order.add_argument("exchange")
        order.add_argument("side", choices=("buy", "sell"))
        order.add_argument("symbol", help="such as ETH/USDT")
        order.add_argument("quantity", help="in the base currency")
        order.add_argument(
            "--raise-to-minimum", action="store_true", help="make a quantity that is too small the smallest"
        )
        order.add_argument(
            "--resubmit", action="store_true", help="send it once more if the exchange's rules have changed"
        )
        style_options(order)
        trading_options(order)
    limit.add_argument("price")
    for order in (market, limit):
        order.add_argument(
            "--allow-duplicate", action="store_true", help="though the same was sent a moment ago"
        )
    limit.add_argument("--post-only", action="store_true", help="never trade at once, only wait in the book")
    limit.add_argument(
        "--tif", default="GTC", choices=("GTC", "IOC", "FOK"), help="time in force; default GTC"
    )

    place = add("place", "one order of any type and time in force", _place, show_order)
    place.add_argument("order_type", choices=ORDER_TYPES)
    place.add_argument("exchange")
    place.add_argument("side", choices=("buy", "sell"))
    place.add_argument("symbol", help="such as ETH/USDT")
    place.add_argument("quantity", help="in the base currency")
    place.add_argument("--price", help="the worst to accept; of the types with limit in their name")
    place.add_argument("--stop-price", help="what the types that wait are waiting for")
    place.add_argument(
        "--tif",
        default="GTC",
        choices=("GTC", "IOC", "FOK", "GTD", "DAY"),
        help="time in force; default GTC",
    )
    place.add_argument("--expires-at", metavar="TIME", help="with GTD, such as 2026-11-21T00:00:00Z")
    place.add_argument("--post-only", action="store_true", help="never trade at once, only wait in the book")
    place.add_argument(
        "--stop-loss", metavar="PRICE", help="attach a stop loss: STOP_PRICE, or STOP_PRICE:PRICE for a limit"
    )
    place.add_argument("--take-profit", metavar="PRICE", help="attach a take profit likewise")
    place.add_argument("--reduce-only", action="store_true", help="sell no more than is held")
    place.add_argument(
        "--raise-to-minimum", action="store_true", help="make a quantity that is too small the smallest"
    )
    place.add_argument(
        "--resubmit", action="store_true", help="send it once more if the exchange's rules have changed"
    )
    place.add_argument("--allow-duplicate", action="store_true", help="though the same was sent a moment ago")
    trading_options(place)

    edit = add("edit", "change an open order", _edit, show_facts)
    which = edit.add_mutually_exclusive_group(required=True)
    which.add_argument("order_id", nargs="?", help="our id of the order")
    which.add_argument("--client-order-id", help="instead: the idempotency key the order was asked with")
    edit.add_argument("--quantity", help="the whole of it, with what is filled")
    edit.add_argument("--price")
    edit.add_argument("--stop-price")
    edit.add_argument("--dry-run", action="store_true", help="say how it would be done, and change nothing")

    cancel = add("cancel", "cancel one order", _cancel, show_canceled)
    which = cancel.add_mutually_exclusive_group(required=True)
    which.add_argument("order_id", nargs="?", help="our id of the order")
    which.add_argument("--client-order-id", help="instead: the idempotency key the order was asked with")

    cancel_all = add("cancel-all", "cancel the open orders of this bot", _cancel_all, show_canceled)
    cancel_all.add_argument("--exchange")
    cancel_all.add_argument("--symbol")
    cancel_all.add_argument(
        "--scope", choices=("bot", "user"), default="bot", help="of this bot (--bot), or of all your bots"
    )


def _market_order(client: OMSClient, options: argparse.Namespace) -> Answer:
    return client.market_order(
        options.exchange,
        options.side,
        options.symbol,
        options.quantity,
        raise_to_minimum=options.raise_to_minimum,
        resubmit=options.resubmit,
        allow_duplicate=options.allow_duplicate,
        **style(options),
        **trading(options),
    )


def _limit_order(client: OMSClient, options: argparse.Namespace) -> Answer:
    return client.limit_order(
        options.exchange,
        options.side,
        options.symbol,
        options.quantity,
        options.price,
        post_only=options.post_only,
        time_in_force=options.tif,
        raise_to_minimum=options.raise_to_minimum,
        resubmit=options.resubmit,
        allow_duplicate=options.allow_duplicate,
        **style(options),
        **trading(options),
    )


def _exit(typed: str | None) -> dict[str, str] | None:
    if typed is None:
        return None
    stop_price, _, price = typed.partition(":")
    return {"stop_price": stop_price, **({"price": price} if price else {})}


def _place(client: OMSClient, options: argparse.Namespace) -> Answer:
    return client.order(
        options.exchange,
        options.side,
        options.symbol,
        options.quantity,
        options.order_type,
        price=options.price,
        stop_price=options.stop_price,
        time_in_force=options.tif,
        expires_at=options.expires_at,
        post_only=options.post_only,
        reduce_only=options.reduce_only,
        stop_loss=_exit(options.stop_loss),
        take_profit=_exit(options.take_profit),
        raise_to_minimum=options.raise_to_minimum,
        resubmit=options.resubmit,
        allow_duplicate=options.allow_duplicate,
        **trading(options),
    )


def _edit(client: OMSClient, options: argparse.Namespace) -> Answer:
    return client.edit_order(
        options.order_id,
        client_order_id=options.client_order_id,
        quantity=options.quantity,
        price=options.price,
        stop_price=options.stop_price,
        dry_run=options.dry_run,
    )


def _cancel(client: OMSClient, options: argparse.Namespace) -> Answer:
    return client.cancel_order(options.order_id, client_order_id=options.client_order_id)


def _cancel_all(client: OMSClient, options: argparse.Namespace) -> Answer:
    return client.cancel_all_orders(options.exchange, symbol=options.symbol, scope=options.scope)
