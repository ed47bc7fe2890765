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
from collections.abc import Sequence
from typing import Any

from . import __version__, signing
from .answers import Query, Quote
from .client import OMSClient
from .commands.controls import add_controls
from .commands.notifications import add_notifications
from .commands.options import Add, connection_options, day
from .commands.orders import add_orders
from .commands.plans import NotCarriedOut, add_plans
from .commands.questions import add_questions
from .connection import DEFAULT_URL
from .errors import AuthError, ConfigError, ConnectionFailed, OMSError, OutcomeUnknown, QueryFailed
from .progress import LiveProgress, ProgressPrinter, wanted
from .typed_words import in_typed_words
from .views import order_table, show_halt

DONE, FAILED, MISUSED, MISCONFIGURED, NOT_AUTHENTICATED, NOT_REACHED, UNKNOWN = 0, 1, 2, 3, 4, 5, 6
INTERRUPTED = 130

_USER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")  # as the server reads it in OMS_KEYS


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
    except NotCarriedOut as no:
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="oms",
        description="Talk to the order and execution management system.",
        epilog="The private key is read from OMS_KEY; `oms keygen USER` makes one. "
        "Exit status: 0 done, 1 refused or failed, 3 wrongly set up, 4 signature not accepted, "
        "5 server not reached, 6 outcome unknown.",
    )
    parser.add_argument("--version", action="version", version=f"oms-client {__version__}")
    connection_options(parser)
    parser.set_defaults(
        url=os.environ.get("OMS_URL", DEFAULT_URL),
        user=os.environ.get("OMS_USER", ""),
        bot=os.environ.get("OMS_BOT", "cli"),
    )
    add = Add(parser)
    keygen = add.bare("keygen", "make a key pair", more="Make a key pair for a user.")
    keygen.add_argument("user", metavar="USER")
    keygen.add_argument("--role", choices=("read", "trade", "admin"), help="default: trade")
    keygen.add_argument(
        "--expires", metavar="DATE", type=day, help="the key ends as this day begins (UTC); default: never"
    )
    keygen.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print as JSON")
    for subject in (add_plans, add_orders, add_controls, add_questions, add_notifications):
        subject(add)
    return parser


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
