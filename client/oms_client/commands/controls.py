"""Commands that keep trading within bounds: halts, limits, leverage, slices."""

from __future__ import annotations

import argparse

from ..answers import Answer
from ..client import OMSClient
from ..views import show_facts, show_halt, show_halts, show_limit, show_limits, show_resumed, show_risk
from .options import ACCOUNT, Add, pair


def add_controls(add: Add) -> None:
    halt = add(
        "halt",
        "stop trading, cancel what is open, and prove it",
        _halt,
        show_halt,
        names_user=False,
        more="Stop trading where all that is named fits, cancel what is open, and read it again until "
        "nothing is. Without a server: python app.py halt, or make the file OMS_HALT_FILE names.",
    )
    halt.set_defaults(parser=halt)
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

    limited = add(
        "set-limit",
        "set a limit of the risk controls",
        _set_limit,
        show_limit,
        names_user=False,
        more="Set a limit for every order that fits all that is named; with nothing named, for all. "
        "Tightening your own holds at once, everything else needs an admin. oms limits lists the settings.",
    )
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

    leverage = add("set-leverage", "choose the leverage of a contract", _set_leverage, show_facts)
    leverage.add_argument("exchange")
    leverage.add_argument("symbol", help="such as BTC/USDT:USDT")
    leverage.add_argument("leverage", help="how many times its margin a position may be worth")
    leverage.add_argument("--account", help="which account there")
    leverage.add_argument("--dry-run", action="store_true", help="check it, and change nothing")

    own = add("set-slice", "give a bot a part of an account for its own (admin)", _set_slice, show_facts)
    own.add_argument("of_bot", metavar="BOT")
    own.add_argument("exchange")
    own.add_argument("amounts", metavar="USDT=1000", nargs="*", type=pair, help="all it has; none ends it")
    own.add_argument("--account", help=ACCOUNT)
    own.add_argument("--of-user", help="whose bot; yours unless said")
    own.add_argument("--reason", metavar="WORDS", help="why; it is recorded")
    own.add_argument("--dry-run", action="store_true", help="check it, and change nothing")
    add("slices", "which bots have a part of an account for their own", _slices, show_facts)


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


def _set_leverage(client: OMSClient, options: argparse.Namespace) -> Answer:
    return client.set_leverage(
        options.exchange,
        options.symbol,
        options.leverage,
        account=options.account,
        dry_run=options.dry_run,
    )


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
