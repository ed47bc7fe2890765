"""Commands that ask, and change nothing."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from ..answers import Answer
from ..client import OMSClient
from ..contracts import funding_text, positions_text
from ..cost_text import KINDS, cost_text
from ..errors import ConfigError
from ..portfolio_text import pnl_text, portfolio_text, snapshots_text
from ..views import (
    show_balances,
    show_facts,
    show_fees,
    show_health,
    show_listed,
    show_order,
    show_orders,
    show_query,
    show_stats,
    show_transfers,
)
from .options import ACCOUNT, Add, page_options, period_options


def add_questions(add: Add) -> None:
    balances = add("balances", "what an account holds", _balances, show_balances)
    balances.add_argument("exchange")

    positions = add("positions", "what accounts hold in contracts", _positions, positions_text)
    positions.add_argument("exchange", nargs="?")
    positions.add_argument("--account", help="only accounts of this name")

    funding = add("funding", "what positions in contracts received and paid", _funding, funding_text)
    funding.add_argument("exchange")
    funding.add_argument("--symbol", help="such as BTC/USDT:USDT")
    funding.add_argument("--account", help="which account there")
    period_options(funding)

    orders = add("orders", "orders, newest first", _orders, show_orders)
    orders.add_argument("exchange", nargs="?")

    stats = add("stats", "counts and volumes of orders", _stats, show_stats)
    stats.add_argument("exchange", nargs="?")
    for command in (orders, stats):
        command.add_argument("--symbol")
        command.add_argument("--of-bot", help="only what this bot asked for")
        period_options(command)
    page_options(orders)
    stats.add_argument(
        "--source", choices=("ledger", "exchange"), help="count the exchange's own list instead of ours"
    )

    listed = add(
        "exchange-orders", "orders as the exchange lists them, by hand too", _exchange_orders, show_listed
    )
    listed.add_argument("exchange")
    listed.add_argument("--symbol")
    period_options(listed)
    page_options(listed)

    history = add("history", "deposits and withdrawals", _history, show_transfers)
    history.add_argument("exchange")
    history.add_argument("--currency")
    period_options(history)
    page_options(history)

    fees = add("fees", "what trading costs", _fees, show_fees)
    fees.add_argument("exchange")
    fees.add_argument("--symbol")

    costs = add("tca", "what trading has cost", _tca, show_facts)
    costs.add_argument("exchange", nargs="?")
    costs.add_argument("--algo", help="only what this algorithm worked")
    period_options(costs)
    costs.add_argument("--limit", type=int, help="at most this many orders, the newest; default 100")
    costs.add_argument(
        "--by",
        metavar="KIND",
        choices=KINDS,
        action="append",
        help=f"{', '.join(KINDS)}; default: the first two",
    )
    costs.add_argument("--png", metavar="FILE", type=Path, help="also write the picture to this file")

    holdings = add("portfolio", "positions, their value and what they earned", _portfolio, portfolio_text)
    earned = add("pnl", "what trading earned", _pnl, pnl_text)
    days = add("snapshots", "how positions stood when each day began", _snapshots, snapshots_text)
    for command in (holdings, earned, days):
        command.add_argument("exchange", nargs="?")
        command.add_argument("--account", help=ACCOUNT)
        command.add_argument("--of-bot", help="only what this bot traded")
    earned.add_argument(
        "--by",
        choices=("day", "bot", "exchange", "account", "symbol"),
        help="what the rows are of; default day",
    )
    period_options(earned)
    period_options(days)
    page_options(days)
    add("health", "how the server and its exchange accounts are", _health, show_health)

    order = add("order", "look at one order with its fills", _order, show_order)
    order.add_argument("order_id")

    query = add("query", "look at a query", _query, show_query)
    wait = add("wait", "wait until a query is over", _wait, show_query)
    for command in (query, wait):
        command.add_argument("query_id")
    wait.add_argument("--timeout", type=float, metavar="SECONDS", help="by default as long as it takes")


def _balances(client: OMSClient, options: argparse.Namespace) -> Answer:
    return client.get_balances(options.exchange)


def _funding(client: OMSClient, options: argparse.Namespace) -> Answer:
    return client.get_funding(
        options.exchange,
        symbol=options.symbol,
        since=options.since,
        until=options.until,
        account=options.account,
    )


def _positions(client: OMSClient, options: argparse.Namespace) -> Answer:
    return client.get_positions(options.exchange, account=options.account)


def _orders(client: OMSClient, options: argparse.Namespace) -> Answer:
    return client.get_past_orders(
        options.exchange,
        symbol=options.symbol,
        bot=options.of_bot,
        since=options.since,
        until=options.until,
        limit=options.limit,
        cursor=options.cursor,
    )


def _stats(client: OMSClient, options: argparse.Namespace) -> Answer:
    return client.get_order_stats(
        options.exchange,
        symbol=options.symbol,
        bot=options.of_bot,
        since=options.since,
        until=options.until,
        source=options.source,
    )


def _exchange_orders(client: OMSClient, options: argparse.Namespace) -> Answer:
    return client.get_exchange_orders(
        options.exchange,
        symbol=options.symbol,
        since=options.since,
        until=options.until,
        limit=options.limit,
        cursor=options.cursor,
    )


def _history(client: OMSClient, options: argparse.Namespace) -> Answer:
    return client.get_withdrawal_deposit_history(
        options.exchange,
        currency=options.currency,
        since=options.since,
        until=options.until,
        limit=options.limit,
        cursor=options.cursor,
    )


def _fees(client: OMSClient, options: argparse.Namespace) -> Answer:
    return client.get_fees(options.exchange, symbol=options.symbol)


def _tca(client: OMSClient, options: argparse.Namespace) -> Answer:
    wanted = {
        "since": options.since,
        "until": options.until,
        "exchange": options.exchange,
        "algo": options.algo,
        "limit": options.limit,
    }
    answer = client.tca(**wanted)
    written = ""
    if options.png is not None:
        picture = client.tca_plot(**wanted)
        try:
            options.png.write_bytes(picture)
        except OSError as error:
            raise ConfigError(f"--png: {options.png} cannot be written: {error.strerror}") from None
        written = f"\n\npicture written to {options.png}"
    kinds = tuple(dict.fromkeys(options.by or KINDS[:2]))
    width = shutil.get_terminal_size((100, 24)).columns
    options.show = lambda costs: cost_text(costs, kinds=kinds, width=width) + written
    return answer


def _portfolio(client: OMSClient, options: argparse.Namespace) -> Answer:
    return client.get_portfolio(options.exchange, account=options.account, bot=options.of_bot)


def _snapshots(client: OMSClient, options: argparse.Namespace) -> Answer:
    width = shutil.get_terminal_size((100, 24)).columns
    options.show = lambda answer: snapshots_text(answer, width=width)
    return client.get_snapshots(
        since=options.since,
        until=options.until,
        bot=options.of_bot,
        exchange=options.exchange,
        account=options.account,
        limit=options.limit,
        cursor=options.cursor,
    )


def _pnl(client: OMSClient, options: argparse.Namespace) -> Answer:
    width = shutil.get_terminal_size((100, 24)).columns
    options.show = lambda answer: pnl_text(answer, width=width)
    return client.get_pnl(
        by=options.by,
        since=options.since,
        until=options.until,
        bot=options.of_bot,
        exchange=options.exchange,
        account=options.account,
    )


def _health(client: OMSClient, options: argparse.Namespace) -> Answer:
    return client.check_health()


def _order(client: OMSClient, options: argparse.Namespace) -> Answer:
    return client.get_order(options.order_id)


def _query(client: OMSClient, options: argparse.Namespace) -> Answer:
    return client.get_query(options.query_id)


def _wait(client: OMSClient, options: argparse.Namespace) -> Answer:
    return client.wait(options.query_id, options.timeout)
