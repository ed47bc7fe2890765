"""The command `oms`: every call of the API from a terminal.

Exit status: 0 done, 1 refused or failed, 2 wrong usage, 3 wrongly set up, 4 signature not accepted,
5 server not reached, 6 outcome unknown, 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Callable

from . import __version__, signing
from .answers import Answer, Query
from .client import DEFAULT_URL, OMSClient
from .errors import AuthError, ConfigError, ConnectionFailed, OMSError, OutcomeUnknown, QueryFailed
from .progress import ProgressPrinter, progress_line
from .tables import facts, short, table

DONE, FAILED, MISUSED, MISCONFIGURED, NOT_AUTHENTICATED, NOT_REACHED, UNKNOWN = 0, 1, 2, 3, 4, 5, 6
INTERRUPTED = 130

_USER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")  # as the server reads it in OMS_KEYS

Command = Callable[[OMSClient, argparse.Namespace], Answer]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit status."""
    options = _parser().parse_args(arguments)
    if options.command == "keygen":
        return _keygen(options)
    watcher = _Watcher()
    try:
        with _client(options, watcher) as client:
            answer = options.run(client, options)
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
    keygen.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print as JSON")

    smart = add("smart-order", "convert one currency into another", _smart_order, _show_result)
    smart.add_argument("exchange")
    smart.add_argument("start_currency", metavar="FROM")
    smart.add_argument("end_currency", metavar="TO")
    smart.add_argument("amount", help="how much of FROM to spend")
    smart.add_argument("--time-limit", default="60", metavar="SECONDS", help="per market; default 60")
    smart.add_argument("--no-wait", action="store_true", help="return as soon as it is accepted")
    _trading_options(smart)

    market = add("market-order", "buy or sell at once", _market_order, _show_order)
    limit = add("limit-order", "buy or sell at a price or better", _limit_order, _show_order)
    for order in (market, limit):
        order.add_argument("exchange")
        order.add_argument("side", choices=("buy", "sell"))
        order.add_argument("symbol", help="such as ETH/USDT")
        order.add_argument("quantity", help="in the base currency")
        _trading_options(order)
    limit.add_argument("price")
    limit.add_argument("--post-only", action="store_true", help="never trade at once, only wait in the book")
    limit.add_argument(
        "--tif", default="GTC", choices=("GTC", "IOC", "FOK"), help="time in force; default GTC"
    )

    cancel = add("cancel", "cancel one order", _cancel, _show_canceled)
    which = cancel.add_mutually_exclusive_group(required=True)
    which.add_argument("order_id", nargs="?", help="our id of the order")
    which.add_argument("--client-order-id", help="instead: the idempotency key the order was asked with")
    cancel_all = add("cancel-all", "cancel the open orders of this bot", _cancel_all, _show_canceled)
    cancel_all.add_argument("--exchange")
    cancel_all.add_argument("--symbol")
    cancel_all.add_argument(
        "--scope", choices=("bot", "user"), default="bot", help="of this bot (--bot), or of all your bots"
    )

    balances = add("balances", "what an account holds", _balances, _show_balances)
    balances.add_argument("exchange")
    orders = add("orders", "orders, newest first", _orders, _show_orders)
    orders.add_argument("exchange", nargs="?")
    stats = add("stats", "counts and volumes of orders", _stats, _show_stats)
    stats.add_argument("exchange", nargs="?")
    for command in (orders, stats):
        command.add_argument("--symbol")
        command.add_argument("--of-bot", help="only what this bot asked for")
        _period(command)
    _page(orders)
    history = add("history", "deposits and withdrawals", _history, _show_transfers)
    history.add_argument("exchange")
    history.add_argument("--currency")
    history.add_argument("--since", metavar="TIME", help=SINCE)
    history.add_argument("--limit", type=int)
    fees = add("fees", "what trading costs", _fees, _show_fees)
    fees.add_argument("exchange")
    fees.add_argument("--symbol")
    add("health", "how the server and its exchange accounts are", _health, _show_health)
    query = add("query", "look at a query", _query, _show_query)
    wait = add("wait", "wait until a query is over", _wait, _show_query)
    for command in (query, wait):
        command.add_argument("query_id")
    wait.add_argument("--timeout", type=float, metavar="SECONDS", help="by default as long as it takes")
    return parser


def _connection(parser: argparse.ArgumentParser) -> None:
    about = parser.add_argument_group("connection")
    about.add_argument("--url", help="the server (OMS_URL)")
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
    command.add_argument("--account", help="which of the server's accounts at the exchange")
    command.add_argument("--dry-run", action="store_true", help="check and plan, and change nothing")
    command.add_argument(
        "--idempotency-key", metavar="KEY", help="a second call with the same key does nothing new"
    )
    command.add_argument(
        "--no-record", action="store_true", help="do not keep the finished query in the archive"
    )
    command.add_argument("--no-email", action="store_true", help="send no e-mail when it fails")


SINCE = "such as 2026-11-21T00:00:00Z"


def _period(command: argparse.ArgumentParser) -> None:
    command.add_argument("--since", metavar="TIME", help=SINCE)
    command.add_argument("--until", metavar="TIME")


def _page(command: argparse.ArgumentParser) -> None:
    command.add_argument("--limit", type=int)
    command.add_argument("--cursor", help="next_cursor of the page before")


# --- doing it ----------------------------------------------------------------------------------------------


class _Watcher:
    """Show progress on standard error, and remember what is under way."""

    def __init__(self) -> None:
        self.query: Query | None = None
        self._print = ProgressPrinter(sys.stderr)

    def __call__(self, query: Query) -> None:
        self.query = query
        if not query.is_over:
            self._print(query)


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


def _smart_order(client: OMSClient, options: argparse.Namespace) -> Answer:
    return client.smart_order(
        options.exchange,
        options.start_currency,
        options.end_currency,
        options.amount,
        time_limit=options.time_limit,
        wait=not options.no_wait,
        **_trading(options),
    )


def _market_order(client: OMSClient, options: argparse.Namespace) -> Answer:
    return client.market_order(
        options.exchange, options.side, options.symbol, options.quantity, **_trading(options)
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
        **_trading(options),
    )


def _cancel(client: OMSClient, options: argparse.Namespace) -> Answer:
    return client.cancel_order(options.order_id, client_order_id=options.client_order_id)


def _cancel_all(client: OMSClient, options: argparse.Namespace) -> Answer:
    return client.cancel_all_orders(options.exchange, symbol=options.symbol, scope=options.scope)


def _balances(client: OMSClient, options: argparse.Namespace) -> Answer:
    return client.get_balances(options.exchange)


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
        options.exchange, symbol=options.symbol, bot=options.of_bot, since=options.since, until=options.until
    )


def _history(client: OMSClient, options: argparse.Namespace) -> Answer:
    return client.get_withdrawal_deposit_history(
        options.exchange,
        currency=options.currency,
        since=options.since,
        limit=options.limit,
    )


def _fees(client: OMSClient, options: argparse.Namespace) -> Answer:
    return client.get_fees(options.exchange, symbol=options.symbol)


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
    entry = f"{options.user},{pair.public}{',' + options.role if options.role else ''}"
    if options.json:
        print(json.dumps({"OMS_KEYS": entry, "OMS_KEY": pair.private, "keyid": pair.keyid}, indent=2))
        return DONE
    print(f"# On the server (several entries are separated by ;). keyid {pair.keyid}")
    print(f"OMS_KEYS={entry}")
    print("# On the bot's machine, and nowhere else.")
    print(f"OMS_KEY={pair.private}")
    return DONE


# --- showing it --------------------------------------------------------------------------------------------


def _show_facts(answer: Mapping[str, Any]) -> str:
    """Show any answer: single values one to a line, lists of records as tables below."""
    plain = {name: value for name, value in answer.items() if not _is_records(value)}
    parts = [facts(plain)]
    for name, value in answer.items():
        if _is_records(value):
            rows = value if isinstance(value, list) else [{"": key, **row} for key, row in value.items()]
            titles = list(dict.fromkeys(title for row in rows for title in row))
            parts += [
                "",
                name.replace("_", " ").upper(),
                table(titles, [[row.get(t) for t in titles] for row in rows]),
            ]
    return "\n".join(parts).strip("\n")


def _is_records(value: Any) -> bool:
    rows = list(value.values()) if isinstance(value, dict) else value
    return isinstance(rows, list) and bool(rows) and all(isinstance(row, dict) for row in rows)


def _show_result(answer: Answer) -> str:
    if isinstance(answer, Query):
        return f"accepted as {answer['query_id']}; follow it with: oms wait {answer['query_id']}"
    shown = dict(answer)
    for name, currency in (
        ("spent", "start_currency"),
        ("unspent", "start_currency"),
        ("received", "end_currency"),
    ):
        if shown.get(name) is not None and shown.get(currency):
            shown[name] = f"{shown[name]} {shown[currency]}"
    shown["path"] = [f"{step['side']} {step['symbol']}" for step in shown.get("path") or []]
    if shown.get("average_price"):
        shown["average_price"] = short(shown["average_price"])
    at_once = shown.pop("taking_at_once", None) or {}
    shown["taking_at_once"] = at_once.get("average_price") and (
        f"{at_once.get('received')} {shown.get('end_currency', '')} at {short(at_once['average_price'])}"
    )
    if shown.pop("dry_run", False):
        if at_once.get("received"):
            shown["taking_at_once"] = f"{at_once['received']} for {at_once.get('spent')}, fees included"
        shown.pop("outcome", None)
        return facts(shown)
    for name in ("start_currency", "end_currency"):
        shown.pop(name, None)
    query = getattr(answer, "query", None)
    if query is not None:
        shown["query_id"] = query["query_id"]
    return facts(shown)


_ORDER_COLUMNS = (
    "created_at",
    "order_id",
    "exchange",
    "symbol",
    "side",
    "order_type",
    "quantity",
    "filled_quantity",
    "price",
    "average_price",
    "status",
)


def _show_order(answer: Answer) -> str:
    if answer.get("dry_run"):
        return _show_result(answer)
    return facts({name: value for name, value in answer.items() if name not in ("fills", "parent_id")})


def _order_table(rows: Sequence[Mapping[str, Any]]) -> str:
    titles = [name.replace("_", " ") for name in _ORDER_COLUMNS]
    return table(
        titles,
        [[str(row.get("created_at"))[:19], *(row.get(name) for name in _ORDER_COLUMNS[1:])] for row in rows],
        empty="no orders",
    )


def _show_orders(answer: Mapping[str, Any]) -> str:
    text = _order_table(answer.get("orders") or [])
    if answer.get("next_cursor"):
        text += f"\nmore: --cursor {answer['next_cursor']}"
    return text


def _show_canceled(answer: Mapping[str, Any]) -> str:
    return facts(answer) or "nothing to cancel"


def _show_stats(answer: Mapping[str, Any]) -> str:
    shown = dict(answer)
    for name in ("maker_share", "fill_ratio"):  # shares, not amounts of something
        shares = shown.get(name) or {}
        shown[name] = [f"{key} {Decimal(share) * 100:.1f} %" for key, share in shares.items()]
    return _show_facts(shown)


def _show_balances(answer: Mapping[str, Any]) -> str:
    held = answer.get("balances") or {}
    return table(
        ("currency", "free", "used", "total"),
        [[name, row.get("free"), row.get("used"), row.get("total")] for name, row in sorted(held.items())],
        empty="the account is empty",
    )


def _show_transfers(answer: Mapping[str, Any]) -> str:
    columns = ("at", "kind", "currency", "amount", "fee", "status", "id")
    rows = answer.get("transfers") or []
    return table(columns, [[row.get(name) for name in columns] for row in rows], empty="no transfers")


def _show_fees(answer: Mapping[str, Any]) -> str:
    columns = ("symbol", "maker", "taker")
    return table(
        columns, [[row.get(name) for name in columns] for row in answer.get("fees") or []], empty="no fees"
    )


def _show_health(answer: Mapping[str, Any]) -> str:
    accounts = [
        [
            row.get("exchange"),
            row.get("account"),
            row.get("mode"),
            row.get("readiness"),
            (row.get("venue") or {}).get("latency_ms"),
            row.get("trouble"),
        ]
        for row in answer.get("accounts") or []
    ]
    rest = {name: value for name, value in answer.items() if name != "accounts"}
    text = facts(rest)
    if accounts:
        text += "\n\n" + table(("exchange", "account", "mode", "state", "latency ms", "trouble"), accounts)
    return text


def _show_query(answer: Mapping[str, Any]) -> str:
    query = Query(answer)
    parts = [
        facts(
            {
                "query_id": query.get("query_id"),
                "state": progress_line(query),
                "bot": query.get("bot"),
                "asked": json.dumps(query.get("parameters")),
                "accepted_at": query.get("accepted_at"),
                "finished_at": query.get("finished_at"),
            }
        )
    ]
    if query.get("orders"):
        parts += ["", _order_table(query["orders"])]
    return "\n".join(parts)


# --- when it does not work ---------------------------------------------------------------------------------


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
        lines.append(f"  {error.hint}")
    if error.query_id and error.code != "QUERY_NOT_FOUND":
        lines.append(f"  query: oms query {error.query_id}")
    elif error.request_id:
        lines.append(f"  request id: {error.request_id}")
    if isinstance(error, OutcomeUnknown) and error.idempotency_key and not error.query_id:
        lines.append(
            f"  to find out and do nothing twice, repeat with --idempotency-key {error.idempotency_key}"
        )
    if isinstance(error, QueryFailed) and error.query.get("orders") and not options.json:
        lines += ["", _order_table(error.query["orders"])]
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
