"""Commands that plan over many markets: smart-order, liquidate, rebalance, quote."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from ..answers import Answer, Quote
from ..client import OMSClient
from ..plan_text import plan_text
from ..views import show_plan, show_result
from .options import (
    ACCOUNT,
    EXCHANGES,
    Add,
    conversion_options,
    names,
    pair,
    style,
    style_options,
    trading,
    trading_options,
)


def add_plans(add: Add) -> None:
    smart = add("smart-order", "convert one currency into another", _smart_order, show_result)
    conversion_options(smart, "?")

    liquidate = add("liquidate", "turn what is held into one currency", _liquidate, show_result)
    liquidate.add_argument("exchange", nargs="?", help=EXCHANGES)
    liquidate.add_argument("end_currency", metavar="TO", nargs="?", help="the currency to hold in the end")
    liquidate.add_argument("--only", metavar="BTC,ETH", type=names, help="sell only these")
    liquidate.add_argument("--exclude", metavar="ZEN", type=names, help="never sell these")

    rebalance = add("rebalance", "bring what is held to target weights", _rebalance, show_result)
    rebalance.add_argument("exchange", nargs="?", help=EXCHANGES)
    rebalance.add_argument(
        "targets", metavar="BTC=60%", nargs="*", type=pair, help="parts of the whole, together 100%%"
    )
    rebalance.add_argument("--keep", metavar="ZEN", type=names, help="leave these as they are")
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
        style_options(planned)
        trading_options(planned)
        planned.set_defaults(parser=planned)

    quote = add("quote", "plan a smart order without trading", _quote, show_plan)
    conversion_options(quote, None)
    quote.add_argument("--account", help=ACCOUNT)
    style_options(quote)
    quote.set_defaults(parser=quote, quote_id=None)


class NotCarriedOut(Exception):
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
    how = {**trading(options), "wait": not options.no_wait}
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
        raise NotCarriedOut(quote)
    if not options.yes and not _agreed():
        raise NotCarriedOut(quote)
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


def _converted(options: argparse.Namespace) -> dict[str, Any]:
    arguments = {
        "exchange": options.exchange,
        "startCurrency": options.start_currency,
        "endCurrency": options.end_currency,
        "startCurrencyAmount": options.amount,
        "end_amount": options.end_amount,
        **style(options),
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
        **style(options),
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
        **style(options),
    }
    return _planned(client, options, "rebalance", arguments, ("exchange", "targets"))
