"""What several commands have in common: their options, and how these are read."""

from __future__ import annotations

import argparse
import re
from datetime import date, datetime, time, timedelta, timezone
from typing import Any, Callable

from ..answers import Answer
from ..client import OMSClient

Command = Callable[[OMSClient, argparse.Namespace], Answer]

EXCHANGES = 'a name, several separated by commas, or "all"'
ACCOUNT = "which of the server's accounts at the exchange"
SINCE = "such as 7d, 12h, 30m, 2026-11-21 or 2026-11-21T06:00:00Z"
_AGO = re.compile(r"([0-9]{1,6})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Add:
    """Add commands to a parser, each with the options of the connection before and behind it."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        # Absent behind the command, an option keeps what was said before it.
        self._common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
        connection_options(self._common)
        # There `--user` is whose work is meant, and not who asks.
        self._unnamed = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
        connection_options(self._unnamed, names_user=False)
        self._commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def __call__(
        self,
        name: str,
        text: str,
        run: Command,
        show: Callable[[Any], str],
        *,
        more: str = "",
        names_user: bool = True,
    ) -> argparse.ArgumentParser:
        """Add one; `more` is what its own help says instead of `text`."""
        parents = [self._common if names_user else self._unnamed]
        command = self.bare(name, text, more=more, parents=parents)
        command.set_defaults(run=run, show=show)
        return command

    def bare(self, name: str, text: str, *, more: str = "", parents: Any = ()) -> argparse.ArgumentParser:
        """Add one that talks to no server."""
        return self._commands.add_parser(name, help=text, description=more or text, parents=parents)


def connection_options(parser: argparse.ArgumentParser, names_user: bool = True) -> None:
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


def trading_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--account", help=ACCOUNT)
    command.add_argument("--dry-run", action="store_true", help="check and plan, and change nothing")
    command.add_argument(
        "--idempotency-key", metavar="KEY", help="a second call with the same key does nothing new"
    )
    command.add_argument(
        "--no-record", action="store_true", help="do not keep the finished query in the archive"
    )
    command.add_argument("--no-email", action="store_true", help="send no e-mail when it fails")


def conversion_options(command: argparse.ArgumentParser, nargs: str | None) -> None:
    command.add_argument("exchange", nargs=nargs, help=EXCHANGES)
    command.add_argument("start_currency", metavar="FROM", nargs=nargs)
    command.add_argument("end_currency", metavar="TO", nargs=nargs)
    command.add_argument("amount", nargs="?", help="how much of FROM to spend: 1000, 35%% or all")
    command.add_argument("--end-amount", metavar="AMOUNT", help="instead: how much of TO to receive")


def style_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--algo", help="how to work it: adaptive, classic, market, twap, vwap, pov, is, ...")
    command.add_argument(
        "--param",
        metavar="NAME=VALUE",
        type=pair,
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


def moment(text: str) -> datetime | str:
    """Read how long ago, such as 7d, or a day, which begins in UTC; the server reads anything else."""
    found = _AGO.fullmatch(text)
    if found is None:
        try:
            return datetime.combine(date.fromisoformat(text), time(), timezone.utc)
        except ValueError:
            return text
    try:
        return datetime.now(timezone.utc) - timedelta(**{_UNITS[found[2]]: int(found[1])})
    except OverflowError:
        raise argparse.ArgumentTypeError(f"{text} is longer ago than time itself") from None


def names(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def day(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a day such as 2027-06-30") from None


def pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals or not value:
        raise argparse.ArgumentTypeError(f"{text!r} has not the form NAME=VALUE")
    return name, value


def period_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--since", metavar="TIME", type=moment, help=SINCE)
    command.add_argument("--until", metavar="TIME", type=moment)


def page_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--limit", type=int)
    command.add_argument("--cursor", help="next_cursor of the page before")


def trading(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "account": options.account,
        "dry_run": options.dry_run,
        "idempotency_key": options.idempotency_key,
        "record_in_db": False if options.no_record else None,
        "send_fail_email": False if options.no_email else None,
    }


def style(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "algo": options.algo,
        "algo_params": dict(options.param) if options.param else None,
        "time_limit": options.time_limit,
        "on_timeout": options.on_timeout,
        "max_slippage_bps": options.max_slippage,
    }
