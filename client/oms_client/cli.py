"""The command `oms`: every call of the API from a terminal.

Exit status: 0 done, 1 refused or failed, 2 wrong usage, 3 wrongly set up, 4 signature not accepted,
5 server not reached, 6 outcome unknown, 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Callable

from . import __version__, signing
from .answers import Answer, Query, Quote
from .client import OMSClient
from .connection import DEFAULT_URL
from .contracts import positions_text
from .cost_text import KINDS, cost_text
from .errors import AuthError, ConfigError, ConnectionFailed, OMSError, OutcomeUnknown, QueryFailed
from .plan_text import plan_text
from .portfolio_text import pnl_text, portfolio_text, snapshots_text
from .progress import LiveProgress, ProgressPrinter, wanted
from .views import (
    order_table,
    show_balances,
    show_canceled,
    show_facts,
    show_fees,
    show_halt,
    show_halts,
    show_health,
    show_limit,
    show_limits,
    show_listed,
    show_notifications,
    show_order,
    show_orders,
    show_plan,
    show_query,
    show_result,
    show_resumed,
    show_risk,
    show_rule,
    show_rules,
    show_stats,
    show_transfers,
)

DONE, FAILED, MISUSED, MISCONFIGURED, NOT_AUTHENTICATED, NOT_REACHED, UNKNOWN = 0, 1, 2, 3, 4, 5, 6
INTERRUPTED = 130

_USER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")  # as the server reads it in OMS_KEYS

Command = Callable[[OMSClient, argparse.Namespace], Answer]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit status."""
    options = _parser().parse_args(arguments)
    if options.command == "keygen":
        return _keygen(options)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without bars shows question marks, not a trace
    watcher = _Watcher()
    try:
        with _client(options, watcher) as client:
            answer = options.run(client, options)
    except _NotCarriedOut as no:
        return _left_alone(no.quote, options)
    except OMSError as error:
        return _explain(error, options)
    except KeyboardInterrupt:
        return _interrupted(watcher)
    if options.json:
        print(json.dumps(answer, indent=2))
    else:
        text = options.show(answer)
        note = "paper trading" if answer.mode == "paper" else ""
        print("\n".join(part for part in (text, f"({note})" if note else "") if part))
    return DONE


# --- what can be typed -------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    # The same options before and behind the command; absent behind it, an option keeps what was said before.
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    _connection(common)

    parser = argparse.ArgumentParser(
        prog="oms",
        description="Talk to the order and execution management system.",
        epilog="The private key is read from OMS_KEY; `oms keygen USER` makes one. "
        "Exit status: 0 done, 1 refused or failed, 3 wrongly set up, 4 signature not accepted, "
        "5 server not reached, 6 outcome unknown.",
    )
    parser.add_argument("--version", action="version", version=f"oms-client {__version__}")
    _connection(parser)
    parser.set_defaults(
        url=os.environ.get("OMS_URL", DEFAULT_URL),
        user=os.environ.get("OMS_USER", ""),
        bot=os.environ.get("OMS_BOT", "cli"),
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def add(name: str, text: str, run: Command, show: Callable[[Any], str]) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text, parents=[common])
        command.set_defaults(run=run, show=show)
        return command

    keygen = commands.add_parser("keygen", help="make a key pair", description="Make a key pair for a user.")
    keygen.add_argument("user", metavar="USER")
    keygen.add_argument("--role", choices=("read", "trade", "admin"), help="default: trade")
    keygen.add_argument(
        "--expires", metavar="DATE", type=_day, help="the key ends as this day begins (UTC); default: never"
    )
    keygen.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print as JSON")

    smart = add("smart-order", "convert one currency into another", _smart_order, show_result)
    _conversion(smart, "?")
    liquidate = add("liquidate", "turn what is held into one currency", _liquidate, show_result)
    liquidate.add_argument("exchange", nargs="?", help=EXCHANGES)
    liquidate.add_argument("end_currency", metavar="TO", nargs="?", help="the currency to hold in the end")
    liquidate.add_argument("--only", metavar="BTC,ETH", type=_listed, help="sell only these")
    liquidate.add_argument("--exclude", metavar="ZEN", type=_listed, help="never sell these")
    rebalance = add("rebalance", "bring what is held to target weights", _rebalance, show_result)
    rebalance.add_argument("exchange", nargs="?", help=EXCHANGES)
    rebalance.add_argument(
        "targets", metavar="BTC=60%", nargs="*", type=_pair, help="parts of the whole, together 100%%"
    )
    rebalance.add_argument("--keep", metavar="ZEN", type=_listed, help="leave these as they are")
    rebalance.add_argument(
        "--tolerance", metavar="0.2%", help="leave a weight alone that is this close; default 0.2%%"
    )
    for portfolio in (liquidate, rebalance):
        portfolio.add_argument("--min-trade", metavar="USD", help="make no smaller trades; default 10")
    for planned in (smart, liquidate, rebalance):
        planned.add_argument("--quote", action="store_true", help="show the plan first and ask")
        planned.add_argument("--yes", action="store_true", help="with --quote: do not ask")
        planned.add_argument(
            "--quote-id", metavar="ID", help="instead of everything else: carry this quote out"
        )
        planned.add_argument("--no-wait", action="store_true", help="return as soon as it is accepted")
        _style_options(planned)
        _trading_options(planned)
        planned.set_defaults(parser=planned)
    quote = add("quote", "plan a smart order without trading", _quote, show_plan)
    _conversion(quote, None)
    quote.add_argument("--account", help=ACCOUNT)
    _style_options(quote)
    quote.set_defaults(parser=quote, quote_id=None)

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
        _style_options(order)
        _trading_options(order)
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
    _trading_options(place)

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

    # `--user` is whose work is halted here, and not who asks.
    unnamed = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    _connection(unnamed, names_user=False)
    halt = commands.add_parser(
        "halt",
        help="stop trading, cancel what is open, and prove it",
        description="Stop trading where all that is named fits, cancel what is open, and read it again until "
        "nothing is. Without a server: python app.py halt, or make the file OMS_HALT_FILE names.",
        parents=[unnamed],
    )
    halt.set_defaults(run=_halt, show=show_halt, parser=halt)
    halt.add_argument("--all", action="store_true", help="everything")
    halt.add_argument("--exchange")
    halt.add_argument("--account", help="with --exchange: only this account there")
    halt.add_argument("--user", dest="of_user", help="the work of this user")
    halt.add_argument("--symbol", help="such as ETH/USDT")
    halt.add_argument("--reason", metavar="WORDS", help="why; it is recorded")
    halt.add_argument(
        "--everything", action="store_true", help="cancel orders that are not ours as well; needs admin"
    )
    halt.add_argument("--no-wait", action="store_true", help="return as soon as the halt is in force")
    halt.add_argument(
        "--timeout", type=float, metavar="SECONDS", help="wait no longer for the proof; the halt holds"
    )
    halt.add_argument("--dry-run", action="store_true", help="say what it would end, and change nothing")
    halt.add_argument("--status", action="store_true", help="only show what is halted and what is proven")
    limited = commands.add_parser(
        "set-limit",
        help="set a limit of the risk controls",
        description="Set a limit for every order that fits all that is named; with nothing named, for all. "
        "Tightening your own holds at once, everything else needs an admin. oms limits lists the settings.",
        parents=[unnamed],
    )
    limited.set_defaults(run=_set_limit, show=show_limit)
    limited.add_argument("setting", help="such as credit_limit")
    limited.add_argument("value", help='in the setting\'s unit, "off", or "default" to take it back')
    limited.add_argument("--user", dest="of_user", help="only orders of this user")
    limited.add_argument("--of-bot", help="only orders of this bot")
    limited.add_argument("--exchange")
    limited.add_argument("--account", help="with --exchange: only this account there")
    limited.add_argument("--symbol", help="such as ETH/USDT")
    limited.add_argument("--reason", metavar="WORDS", help="why; it is recorded")
    limited.add_argument("--dry-run", action="store_true", help="check it, and change nothing")
    add("limits", "the risk controls, their limits and the latest changes", _limits, show_limits)
    add("risk", "what of each limit is used", _risk, show_risk)
    resume = add("resume", "lift a halt (admin)", _resume, show_resumed)
    resume.add_argument("halt_id")
    resume.add_argument("--reason", metavar="WORDS", help="why; it is recorded")

    balances = add("balances", "what an account holds", _balances, show_balances)
    balances.add_argument("exchange")
    positions = add("positions", "what accounts hold in contracts", _positions, positions_text)
    positions.add_argument("exchange", nargs="?")
    positions.add_argument("--account", help="only accounts of this name")
    leverage = add("set-leverage", "choose the leverage of a contract", _set_leverage, show_facts)
    leverage.add_argument("exchange")
    leverage.add_argument("symbol", help="such as BTC/USDT:USDT")
    leverage.add_argument("leverage", help="how many times its margin a position may be worth")
    leverage.add_argument("--account", help="which account there")
    leverage.add_argument("--dry-run", action="store_true", help="check it, and change nothing")
    orders = add("orders", "orders, newest first", _orders, show_orders)
    orders.add_argument("exchange", nargs="?")
    stats = add("stats", "counts and volumes of orders", _stats, show_stats)
    stats.add_argument("exchange", nargs="?")
    for command in (orders, stats):
        command.add_argument("--symbol")
        command.add_argument("--of-bot", help="only what this bot asked for")
        _period(command)
    _page(orders)
    stats.add_argument(
        "--source", choices=("ledger", "exchange"), help="count the exchange's own list instead of ours"
    )
    listed = add(
        "exchange-orders", "orders as the exchange lists them, by hand too", _exchange_orders, show_listed
    )
    listed.add_argument("exchange")
    listed.add_argument("--symbol")
    _period(listed)
    _page(listed)
    history = add("history", "deposits and withdrawals", _history, show_transfers)
    history.add_argument("exchange")
    history.add_argument("--currency")
    _period(history)
    _page(history)
    fees = add("fees", "what trading costs", _fees, show_fees)
    fees.add_argument("exchange")
    fees.add_argument("--symbol")
    costs = add("tca", "what trading has cost", _tca, show_facts)
    costs.add_argument("exchange", nargs="?")
    costs.add_argument("--algo", help="only what this algorithm worked")
    _period(costs)
    costs.add_argument("--limit", type=int, help="at most this many orders, the newest; default 100")
    costs.add_argument(
        "--by",
        metavar="KIND",
        choices=KINDS,
        action="append",
        help=f"{', '.join(KINDS)}; default: the first two",
    )
    costs.add_argument("--png", metavar="FILE", type=Path, help="also write the picture to this file")
    rules = add("notification-rules", "your notification rules", _rules, show_rules)
    rules.add_argument("--everyone", action="store_true", help="everybody's; needs admin")
    rule = add("set-notification-rule", "have yourself told of events", _set_rule, show_rule)
    rule.add_argument("name", help="the same name replaces a rule")
    rule.add_argument("channel", choices=("in_app", "email", "webhook", "service"))
    rule.add_argument("--address", help="a mailbox, an https URL, the name of a service")
    rule.add_argument("--events", metavar="order_filled,halt", type=_listed, help="default: all")
    rule.add_argument("--severity", choices=("info", "warning", "critical"), help="the least; default info")
    rule.add_argument("--exchange", help="only what happened there")
    rule.add_argument("--of-bot", help="only what this bot asked for")
    rule.add_argument("--everyone", action="store_true", help="everybody's events; needs admin")
    rule.add_argument("--digest-minutes", type=int, metavar="N", help="one message for so many minutes")
    rule.add_argument("--digest-at", metavar="HH:MM", help="one message a day, at this time")
    rule.add_argument("--quiet-from", metavar="HH:MM", help="only what is critical from then on")
    rule.add_argument("--quiet-until", metavar="HH:MM")
    rule.add_argument("--time-zone", metavar="ZONE", help="of these times, such as Europe/Berlin")
    rule.add_argument("--suppress-s", type=int, metavar="SECONDS", help="tell of alike events no sooner")
    rule.add_argument("--repeat-s", type=int, metavar="SECONDS", help="repeat what is critical; 0: never")
    rule.add_argument("--of-user", help="whose rule; another's needs admin")
    rule.add_argument("--dry-run", action="store_true", help="check it, and change nothing")
    forget = add("delete-notification-rule", "forget a notification rule", _delete_rule, show_facts)
    forget.add_argument("name")
    forget.add_argument("--of-user", help="whose rule; another's needs admin")
    told = add("notifications", "what you were told, newest first", _notifications, show_notifications)
    told.add_argument("--unacknowledged", action="store_true", help="only what you have not acknowledged")
    told.add_argument("--channel", choices=("in_app", "email", "webhook", "service"))
    told.add_argument("--after", help="latest of an earlier answer: only what is newer")
    told.add_argument("--wait-s", type=int, metavar="SECONDS", help="wait while there is nothing to show")
    _page(told)
    seen = add("acknowledge", "say that you have seen a message", _acknowledge, show_facts)
    seen.add_argument("message_id")
    tried = add("test-notification", "send a test message as a rule says", _test_rule, show_facts)
    tried.add_argument("name")
    own = add("set-slice", "give a bot a part of an account for its own (admin)", _set_slice, show_facts)
    own.add_argument("of_bot", metavar="BOT")
    own.add_argument("exchange")
    own.add_argument("amounts", metavar="USDT=1000", nargs="*", type=_pair, help="all it has; none ends it")
    own.add_argument("--account", help=ACCOUNT)
    own.add_argument("--of-user", help="whose bot; yours unless said")
    own.add_argument("--reason", metavar="WORDS", help="why; it is recorded")
    own.add_argument("--dry-run", action="store_true", help="check it, and change nothing")
    add("slices", "which bots have a part of an account for their own", _slices, show_facts)
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
    _period(earned)
    _period(days)
    _page(days)
    add("health", "how the server and its exchange accounts are", _health, show_health)
    order = add("order", "look at one order with its fills", _order, show_order)
    order.add_argument("order_id")
    query = add("query", "look at a query", _query, show_query)
    wait = add("wait", "wait until a query is over", _wait, show_query)
    for command in (query, wait):
        command.add_argument("query_id")
    wait.add_argument("--timeout", type=float, metavar="SECONDS", help="by default as long as it takes")
    return parser


def _connection(parser: argparse.ArgumentParser, names_user: bool = True) -> None:
    about = parser.add_argument_group("connection")
    about.add_argument("--url", help="the server (OMS_URL)")
    if names_user:
        about.add_argument("--user", help="your user name (OMS_USER)")
    about.add_argument("--bot", help="recorded as the asker (OMS_BOT; cli unless set)")
    about.add_argument(
        "--key-file", help="file with the private key; by default OMS_KEY or OMS_KEY_FILE is used"
    )
    # Its default would be False, not absent, were it not said.
    absent = parser.argument_default or False
    parser.add_argument(
        "--json", action="store_true", default=absent, help="print the answer as the server sent it"
    )


def _trading_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--account", help=ACCOUNT)
    command.add_argument("--dry-run", action="store_true", help="check and plan, and change nothing")
    command.add_argument(
        "--idempotency-key", metavar="KEY", help="a second call with the same key does nothing new"
    )
    command.add_argument(
        "--no-record", action="store_true", help="do not keep the finished query in the archive"
    )
    command.add_argument("--no-email", action="store_true", help="send no e-mail when it fails")


def _conversion(command: argparse.ArgumentParser, nargs: str | None) -> None:
    command.add_argument("exchange", nargs=nargs, help=EXCHANGES)
    command.add_argument("start_currency", metavar="FROM", nargs=nargs)
    command.add_argument("end_currency", metavar="TO", nargs=nargs)
    command.add_argument("amount", nargs="?", help="how much of FROM to spend: 1000, 35%% or all")
    command.add_argument("--end-amount", metavar="AMOUNT", help="instead: how much of TO to receive")


def _style_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--algo", help="how to work it: adaptive, classic, market, twap, vwap, pov, is, ...")
    command.add_argument(
        "--param",
        metavar="NAME=VALUE",
        type=_pair,
        action="append",
        help="a number of the algorithm; repeat it",
    )
    command.add_argument("--time-limit", metavar="SECONDS", help="for the whole of it; default 60")
    command.add_argument(
        "--on-timeout", choices=("take", "cancel"), help="what is left then: take it (default) or leave it"
    )
    command.add_argument(
        "--max-slippage", metavar="BP", help="trade no market further than this from its middle price"
    )


ORDER_TYPES = ("market", "limit", "stop_loss", "stop_loss_limit", "take_profit", "take_profit_limit")
EXCHANGES = 'a name, several separated by commas, or "all"'
ACCOUNT = "which of the server's accounts at the exchange"
SINCE = "such as 7d, 12h, 30m or 2026-11-21T00:00:00Z"
_AGO = re.compile(r"([0-9]{1,6})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def _moment(text: str) -> datetime | str:
    """Read how long ago, such as 7d; anything else goes to the server as it is."""
    found = _AGO.fullmatch(text)
    if found is None:
        return text
    try:
        return datetime.now(timezone.utc) - timedelta(**{_UNITS[found[2]]: int(found[1])})
    except OverflowError:
        raise argparse.ArgumentTypeError(f"{text} is longer ago than time itself") from None


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _day(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a day such as 2027-06-30") from None


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals or not value:
        raise argparse.ArgumentTypeError(f"{text!r} has not the form NAME=VALUE")
    return name, value


def _period(command: argparse.ArgumentParser) -> None:
    command.add_argument("--since", metavar="TIME", type=_moment, help=SINCE)
    command.add_argument("--until", metavar="TIME", type=_moment)


def _page(command: argparse.ArgumentParser) -> None:
    command.add_argument("--limit", type=int)
    command.add_argument("--cursor", help="next_cursor of the page before")


# --- doing it ----------------------------------------------------------------------------------------------


class _Watcher:
    """Show progress on standard error, and remember what is under way."""

    def __init__(self) -> None:
        self.query: Query | None = None
        self._states: list[tuple[Any, ...]] = []  # of the accounts of a halt
        self._wanted = wanted(unset=True)
        self._live = LiveProgress(sys.stderr) if _redraws(sys.stderr) else None
        self._print = ProgressPrinter(sys.stderr)

    def __call__(self, query: Query) -> None:
        self.query = query
        if query["verb"] == "halt":
            self._halted(query)
            return
        if not self._wanted or query["verb"] == "quote":
            return  # a quote is over at once; the plan is what is to be seen
        if self._live is not None:
            self._live(query)
        elif not query.is_over:
            self._print(query)

    def _halted(self, query: Query) -> None:
        """Show the accounts of a halt whenever one of them changes."""
        report = query.get("result") or {}
        states = [
            (row.get("exchange"), row.get("state"), row.get("why")) for row in report.get("accounts") or ()
        ]
        if self._wanted and not query.is_over and states and states != self._states:
            print(show_halt(query), file=sys.stderr)
        self._states = states


def _redraws(stream: Any) -> bool:
    """Say whether lines can be drawn over: a terminal, and one that knows how."""
    return bool(stream.isatty()) and os.environ.get("TERM", "dumb") != "dumb"


def _client(options: argparse.Namespace, watcher: _Watcher) -> OMSClient:
    key_file = options.key_file
    if key_file is None and "OMS_KEY" not in os.environ:
        key_file = os.environ.get("OMS_KEY_FILE")
    return OMSClient(options.user, options.url, options.bot, key_file=key_file, on_event=watcher)


def _trading(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "account": options.account,
        "dry_run": options.dry_run,
        "idempotency_key": options.idempotency_key,
        "record_in_db": False if options.no_record else None,
        "send_fail_email": False if options.no_email else None,
    }


def _style(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "algo": options.algo,
        "algo_params": dict(options.param) if options.param else None,
        "time_limit": options.time_limit,
        "on_timeout": options.on_timeout,
        "max_slippage_bps": options.max_slippage,
    }


class _NotCarriedOut(Exception):
    """The quote was shown, and nobody said yes."""

    def __init__(self, quote: Quote) -> None:
        super().__init__(quote)
        self.quote = quote


def _planned(
    client: OMSClient,
    options: argparse.Namespace,
    verb: str,
    arguments: Mapping[str, Any],
    needed: Sequence[str],
) -> Answer:
    """Carry out a planned call; with --quote after its plan was shown and agreed to."""
    call = getattr(client, verb)
    how = {**_trading(options), "wait": not options.no_wait}
    if options.quote_id is not None:
        said = {name: value for name, value in arguments.items() if value not in (None, {}, [])}
        if said:
            options.parser.error(f"--quote-id stands alone: the quote has settled {', '.join(said)}")
        answer: Answer = call(quote_id=options.quote_id, **how)
        return answer
    _check_needed(options, arguments, needed)
    if not options.quote:
        answer = call(**arguments, **how)
        return answer
    quote = client.quote(verb, **arguments, account=how.pop("account"))
    print(plan_text(quote), file=sys.stderr)
    if not quote.get("legs") or not quote.get("quote_id"):
        raise _NotCarriedOut(quote)
    if not options.yes and not _agreed():
        raise _NotCarriedOut(quote)
    return client.execute(quote, **how)


def _check_needed(options: argparse.Namespace, arguments: Mapping[str, Any], needed: Sequence[str]) -> None:
    missing = [_TYPED.get(name, name) for name in needed if arguments.get(name) in (None, {}, [])]
    if missing:
        options.parser.error(f"the following arguments are required: {', '.join(missing)}")


_TYPED = {"startCurrency": "FROM", "endCurrency": "TO", "end_currency": "TO", "targets": "BTC=60%"}


def _agreed() -> bool:
    """Ask; without anybody to ask, or without an answer, the answer is no."""
    if not sys.stdin.isatty():
        return False
    print("Carry it out? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _left_alone(quote: Quote, options: argparse.Namespace) -> int:
    """Say that nothing was sent, and how it still can be."""
    if options.json:
        print(json.dumps(quote, indent=2))
    if quote.get("legs") and quote.get("quote_id"):
        command = f"oms {options.command} --quote-id {quote['quote_id']}"
        print(f"nothing was sent; to carry this quote out: {command}", file=sys.stderr)
        return FAILED
    print("nothing was sent; there is nothing to do", file=sys.stderr)
    return DONE


def _converted(options: argparse.Namespace) -> dict[str, Any]:
    arguments = {
        "exchange": options.exchange,
        "startCurrency": options.start_currency,
        "endCurrency": options.end_currency,
        "startCurrencyAmount": options.amount,
        "end_amount": options.end_amount,
        **_style(options),
    }
    if options.amount is not None and options.end_amount is not None:
        options.parser.error("give how much to spend, or --end-amount, not both")
    if options.quote_id is None:
        _check_needed(options, arguments, ("exchange", "startCurrency", "endCurrency"))
        if options.amount is None and options.end_amount is None:
            options.parser.error("how much? give AMOUNT (1000, 35% or all) or --end-amount")
    return arguments


def _smart_order(client: OMSClient, options: argparse.Namespace) -> Answer:
    return _planned(client, options, "smart_order", _converted(options), ())


def _quote(client: OMSClient, options: argparse.Namespace) -> Answer:
    return client.quote("smart_order", **_converted(options), account=options.account)


def _liquidate(client: OMSClient, options: argparse.Namespace) -> Answer:
    arguments = {
        "exchange": options.exchange,
        "end_currency": options.end_currency,
        "currencies": options.only,
        "exclude": options.exclude,
        "min_trade": options.min_trade,
        **_style(options),
    }
    return _planned(client, options, "liquidate", arguments, ("exchange", "end_currency"))


def _rebalance(client: OMSClient, options: argparse.Namespace) -> Answer:
    twice = sorted({name for name, _ in options.targets if [n for n, _ in options.targets].count(name) > 1})
    if twice:
        options.parser.error(f"{', '.join(twice)} has two targets")
    arguments = {
        "exchange": options.exchange,
        "targets": dict(options.targets) or None,
        "keep": options.keep,
        "tolerance": options.tolerance,
        "min_trade": options.min_trade,
        **_style(options),
    }
    return _planned(client, options, "rebalance", arguments, ("exchange", "targets"))


def _market_order(client: OMSClient, options: argparse.Namespace) -> Answer:
    return client.market_order(
        options.exchange,
        options.side,
        options.symbol,
        options.quantity,
        raise_to_minimum=options.raise_to_minimum,
        resubmit=options.resubmit,
        allow_duplicate=options.allow_duplicate,
        **_style(options),
        **_trading(options),
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
        **_style(options),
        **_trading(options),
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
        **_trading(options),
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


def _halt(client: OMSClient, options: argparse.Namespace) -> Answer:
    scope = {
        "all": options.all,
        "exchange": options.exchange,
        "account": options.account,
        "user": options.of_user,
        "symbol": options.symbol,
    }
    if options.status:
        if any(scope.values()):
            options.parser.error("--status shows every halt; leave the rest out")
        options.show = show_halts
        return client.get_halts()
    if not any(scope.values()):
        options.parser.error("say what is to be halted: --all, --exchange, --user or --symbol")
    return client.halt(
        **scope,
        reason=options.reason,
        everything=options.everything,
        wait=not options.no_wait,
        timeout=options.timeout,
        dry_run=options.dry_run,
    )


def _set_limit(client: OMSClient, options: argparse.Namespace) -> Answer:
    return client.set_limit(
        options.setting,
        options.value,
        user=options.of_user,
        of_bot=options.of_bot,
        exchange=options.exchange,
        account=options.account,
        symbol=options.symbol,
        reason=options.reason,
        dry_run=options.dry_run,
    )


def _limits(client: OMSClient, options: argparse.Namespace) -> Answer:
    return client.get_limits()


def _risk(client: OMSClient, options: argparse.Namespace) -> Answer:
    return client.get_risk()


def _resume(client: OMSClient, options: argparse.Namespace) -> Answer:
    return client.resume(options.halt_id, reason=options.reason)


def _balances(client: OMSClient, options: argparse.Namespace) -> Answer:
    return client.get_balances(options.exchange)


def _set_leverage(client: OMSClient, options: argparse.Namespace) -> Answer:
    return client.set_leverage(
        options.exchange,
        options.symbol,
        options.leverage,
        account=options.account,
        dry_run=options.dry_run,
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


def _rules(client: OMSClient, options: argparse.Namespace) -> Answer:
    return client.get_notification_rules(everyone=options.everyone)


def _set_rule(client: OMSClient, options: argparse.Namespace) -> Answer:
    return client.set_notification_rule(
        options.name,
        options.channel,
        address=options.address,
        events=options.events,
        severity=options.severity,
        exchange=options.exchange,
        of_bot=options.of_bot,
        everyone=options.everyone,
        digest_minutes=options.digest_minutes,
        digest_at=options.digest_at,
        quiet_from=options.quiet_from,
        quiet_until=options.quiet_until,
        time_zone=options.time_zone,
        suppress_s=options.suppress_s,
        repeat_s=options.repeat_s,
        user=options.of_user,
        dry_run=options.dry_run,
    )


def _delete_rule(client: OMSClient, options: argparse.Namespace) -> Answer:
    return client.delete_notification_rule(options.name, user=options.of_user)


def _notifications(client: OMSClient, options: argparse.Namespace) -> Answer:
    return client.get_notifications(
        unacknowledged=options.unacknowledged,
        channel=options.channel,
        limit=options.limit,
        cursor=options.cursor,
        after=options.after,
        wait_s=options.wait_s,
    )


def _acknowledge(client: OMSClient, options: argparse.Namespace) -> Answer:
    return client.acknowledge_notification(options.message_id)


def _test_rule(client: OMSClient, options: argparse.Namespace) -> Answer:
    return client.test_notification(options.name)


def _history(client: OMSClient, options: argparse.Namespace) -> Answer:
    return client.get_withdrawal_deposit_history(
        options.exchange,
        currency=options.currency,
        since=options.since,
        until=options.until,
        limit=options.limit,
        cursor=options.cursor,
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


def _fees(client: OMSClient, options: argparse.Namespace) -> Answer:
    return client.get_fees(options.exchange, symbol=options.symbol)


def _set_slice(client: OMSClient, options: argparse.Namespace) -> Answer:
    return client.set_slice(
        options.of_bot,
        options.exchange,
        dict(options.amounts),
        account=options.account,
        of_user=options.of_user,
        reason=options.reason,
        dry_run=options.dry_run,
    )


def _slices(client: OMSClient, options: argparse.Namespace) -> Answer:
    return client.get_slices()


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


def _order(client: OMSClient, options: argparse.Namespace) -> Answer:
    return client.get_order(options.order_id)


def _health(client: OMSClient, options: argparse.Namespace) -> Answer:
    return client.check_health()


def _query(client: OMSClient, options: argparse.Namespace) -> Answer:
    return client.get_query(options.query_id)


def _wait(client: OMSClient, options: argparse.Namespace) -> Answer:
    return client.wait(options.query_id, options.timeout)


def _keygen(options: argparse.Namespace) -> int:
    if not _USER.fullmatch(options.user):
        print(
            "oms: USER is 1 to 64 of A-Z a-z 0-9 . _ @ + -, beginning with a letter or digit", file=sys.stderr
        )
        return MISUSED
    pair = signing.generate_keys()
    role = options.role or ("trade" if options.expires else None)
    entry = ",".join(part for part in (options.user, pair.public, role, options.expires) if part)
    if options.json:
        print(json.dumps({"OMS_KEYS": entry, "OMS_KEY": pair.private, "keyid": pair.keyid}, indent=2))
        return DONE
    print(f"# On the server (several entries are separated by ;). keyid {pair.keyid}")
    print(f"OMS_KEYS={entry}")
    print("# On the bot's machine, and nowhere else.")
    print(f"OMS_KEY={pair.private}")
    return DONE


# --- when it does not work ---------------------------------------------------------------------------------


# What a hint calls it -> what is typed here. A hint is written for programs: it names methods and fields.
_TYPED_WORDS = {
    "; call resolve(), do not send it again under a new key": "",
    "call resolve() or wait(query_id)": "follow it with: oms wait {query_id}",
    "get_balances": "oms balances",
    "get_positions": "oms positions",
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


def _further(error: OMSError) -> list[str]:
    """Show every problem after the first one, each with what to do about it."""
    listed = error.details.get("problems")
    rows = listed[1:] if isinstance(listed, list) else []
    return [
        f"  also: {row['message']} [{row['code']}]\n    {in_typed_words(row['hint'], error.query_id)}"
        for row in rows
    ]


def _explain(error: OMSError, options: argparse.Namespace) -> int:
    if options.json:
        about = {
            "code": error.code,
            "message": error.message,
            "hint": error.hint,
            "retry_safe": error.retry_safe,
            "details": error.details,
            "venue_code": error.venue_code,
            "venue_message": error.venue_message,
            "request_id": error.request_id,
            "query_id": error.query_id,
        }
        print(json.dumps({"error": about}, indent=2))
    lines = [f"oms: {error.message}" + (f" [{error.code}]" if error.code else "")]
    if error.venue_message:
        lines.append(f"  the exchange said: {error.venue_code or ''} {error.venue_message}")
    if error.hint:
        lines.append(f"  {in_typed_words(error.hint, error.query_id)}")
    lines += _further(error)
    if error.query_id and error.code != "QUERY_NOT_FOUND":
        lines.append(f"  query: oms query {error.query_id}")
    elif error.request_id:
        lines.append(f"  request id: {error.request_id}")
    if isinstance(error, OutcomeUnknown) and error.idempotency_key and not error.query_id:
        lines.append(
            f"  to find out and do nothing twice, repeat with --idempotency-key {error.idempotency_key}"
        )
    if isinstance(error, OutcomeUnknown) and error.query and error.query.get("verb") == "halt":
        lines += ["  the halt holds; what is known:", show_halt(error.query)]
    if isinstance(error, ConnectionFailed) and getattr(options, "command", "") == "halt":
        lines.append(
            "  on the server's machine: python app.py halt --all, or make the file OMS_HALT_FILE names"
        )
    if isinstance(error, QueryFailed) and error.query.get("orders") and not options.json:
        lines += ["", order_table(error.query["orders"])]
    print("\n".join(lines), file=sys.stderr)
    if isinstance(error, ConfigError):
        return MISCONFIGURED
    if isinstance(error, AuthError):
        return NOT_AUTHENTICATED
    if isinstance(error, ConnectionFailed):
        return NOT_REACHED
    return UNKNOWN if isinstance(error, OutcomeUnknown) else FAILED


def _interrupted(watcher: _Watcher) -> int:
    query = watcher.query
    if query is not None and not query.is_over:
        query_id = query["query_id"]
        print(
            f"\noms: the server goes on with {query_id}; follow it with: oms wait {query_id}", file=sys.stderr
        )
    return INTERRUPTED
