"""Write the tables of MANUAL.md that the code knows better: `python -m tests.docs.generate` refreshes them.

A table stands between `<!-- generated: NAME -->` and `<!-- end -->`; what is written there by hand is lost.
A test compares the tables with the code, so that they cannot fall behind.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from ems.algos.params import ALIASES, PROFILES, USER_PARAMETERS
from ems.core.errors import GROUPS
from ems.core.notifications import EVENTS
from ems.core.risk_limits import CONTROLS, SETTINGS
from ems.venues.dialects import DIALECTS
from oms_client import cli
from server.api.answers import HTTP_STATUS
from server.settings import VARIABLES
from server.store import tables
from tests.venues.listed import EXCHANGES
from tests.venues.matrix import CAPABILITIES, LACKING, expected

ROOT = Path(__file__).resolve().parents[2]
MANUAL = ROOT / "MANUAL.md"

BLOCK = re.compile(r"(<!-- generated: (?P<name>[a-z]+) -->\n).*?(<!-- end -->)", re.DOTALL)

# What each table is for; the columns come from the code.
TABLES = {
    "queries": "What was asked, by whom, and what came of it; refused requests too.",
    "parents": "What a query wants to achieve and how far it is.",
    "orders": "One order at one exchange: its latest state.",
    "order_history": "Every change of every order, only added to; `orders` is its sum.",
    "fills": "Every execution, once.",
    "portfolio": "What each bot holds of each asset and has earned with it; the sum of `fills`.",
    "balance_bases": "The last balances of each account that agreed, or were taken as true.",
    "snapshot_days": "On which days (UTC) all positions were taken down, once each; only added to.",
    "snapshots": "How each position stood then; only added to.",
    "slices": "The part of an account that is one bot's own, as its fills have moved it.",
    "slice_changes": "Who set which slice to what, only added to.",
    "costs": "What every finished parent cost; `complete` once its markouts are in.",
    "haircuts": "What each exchange taught us to leave over for its rounding.",
    "venue_orders": "Orders as exchanges list them, ours or not, as far as they were asked for.",
    "transfers": "Deposits and withdrawals as exchanges list them, likewise.",
    "history_spans": "Which times of these lists were read whole and need not be read again.",
    "notices": "The mail outbox, and the letters that have left.",
    "notification_rules": "Who is told of what, where and when.",
    "notification_news": "What happened of late and the notifier has yet to look at; mostly empty.",
    "notifications": "One event for one rule; part of a message once it was due.",
    "notification_messages": "What people were sent, how that went, and who acknowledged it; for 90 days.",
    "accounts": "Exchange accounts as first seen; never their keys.",
    "halts": "Where people stopped trading, only added to; in force until it has a row in `halt_lifts`.",
    "halt_lifts": "Who let it go on, when and why.",
    "risk_limits": "Limits of the risk controls as they were set, only added to; the last of a scope holds.",
    "nonces": "Signatures seen lately, against replay; emptied as they expire.",
}


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table of Markdown."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def code(text: str) -> str:
    return f"`{text}`"


def variables() -> str:
    """List what the server reads from the environment."""
    return table(
        ("variable", "form", "unset", "meaning"),
        (
            (
                ", ".join(code(name) for name in row.name.split(", ")),
                _quoted(row.form),
                _quoted(row.default),
                # Angle brackets outside of code would be taken for HTML.
                re.sub(r"((?:<[A-Z]+>\w*)+)", r"`\1`", row.meaning),
            )
            for row in VARIABLES
        ),
    )


def _quoted(text: str) -> str:
    return code(text) if "<" in text or "://" in text else text


def errors() -> str:
    """List every error code, by whose fault it is."""
    parts = []
    for heading, rows in GROUPS.items():
        listed = (
            (
                code(row.code),
                str(HTTP_STATUS.get(row.code, 500)),
                "yes" if row.retry_safe else "no",
                row.meaning,
                row.hint,
            )
            for row in rows
        )
        parts.append(
            f"**{heading}**\n\n" + table(("code", "HTTP", "retry safe", "meaning", "what to do"), listed)
        )
    return "\n".join(parts)


def events() -> str:
    """List what notification rules can name."""
    rows = ((code(name), str(severity), words) for name, (severity, words) in EVENTS.items())
    return table(("event", "severity", "what happened"), rows)


def commands() -> str:
    """List the commands of the client's command line."""
    (commands,) = (action for action in cli._parser()._actions if action.dest == "command")
    rows = []
    for choice in commands._choices_actions:  # type: ignore[attr-defined]
        parser: argparse.ArgumentParser = commands.choices[choice.dest]  # type: ignore[index]
        given = [
            f"[{a.metavar or a.dest}]" if a.nargs == "?" else str(a.metavar or a.dest).upper()
            for a in parser._get_positional_actions()
        ]
        shared = {"-h", "--url", "--user", "--bot", "--key-file", "--json"}
        options = [
            a.option_strings[-1] for a in parser._get_optional_actions() if not shared & set(a.option_strings)
        ]
        rows.append(
            (
                code(" ".join(["oms", choice.dest, *given])),
                str(choice.help),
                " ".join(code(option) for option in options),
            )
        )
    return table(("command", "what it does", "options"), rows)


def records() -> str:
    """List the tables of the database and their columns."""
    found = {
        t.name: ", ".join(code(column.name) for column in t.columns) for t in tables.metadata.sorted_tables
    }
    assert found.keys() == TABLES.keys(), "a table has come or gone: describe it in TABLES"
    return table(("table", "what it holds", "columns"), ((code(n), TABLES[n], found[n]) for n in TABLES))


def exchanges() -> str:
    """List what the gateway knows of each exchange."""
    rows = []
    for name in sorted(DIALECTS):
        dialect = DIALECTS[name]
        fee = {"received": "the currency received", "quote": "the quote currency"}.get(
            dialect.fee_mode, dialect.fee_mode
        )
        through = code(dialect.ccxt_id) + (", on paper only" if dialect.paper_only else "")
        rows.append((code(name), through, fee, f"{dialect.recv_window_s:g} s"))
    return table(("exchange", "through ccxt's", "fee is taken from", "refuses an order older than"), rows)


def algorithms() -> str:
    """List every algorithm with what a caller may set of it, and its own values."""
    words = {algo: [word for word, meant in ALIASES.items() if meant == algo] for algo in PROFILES}
    rows = []
    for algo, params in PROFILES.items():
        named = code(algo) + "".join(f", also {code(word)}" for word in words[algo])
        settable = (
            code(name) + (f" {row.default}" if row.default else "")
            for name, row in USER_PARAMETERS[algo].items()
        )
        rows.append((named, params.meaning, ", ".join(settable)))
    return table(("`algo`", "what it does", "`algo_params`, with its own values"), rows)


def parameters() -> str:
    """List what `algo_params` may hold."""
    found = {name: row for rows in USER_PARAMETERS.values() for name, row in rows.items()}
    rows = []
    for name, row in found.items():
        low, high = row.range
        kind = {"numbers": "numbers separated by commas", "integer": "whole number"}.get(row.type, row.type)
        rows.append((code(name), f"{kind}, {low:f} to {high:f}", row.meaning))
    return table(("parameter", "value", "meaning"), rows)


def matrix() -> str:
    """List what was tried at which exchange: `tests/venues/test_matrix.py` asserts every cell."""
    shown = {"works": "yes", "refused": "no", "absent": "-"}
    rows = []
    notes: dict[str, int] = {}  # reason -> its number
    for capability in CAPABILITIES:
        cells = []
        for exchange in EXCHANGES:
            lack = LACKING.get((exchange, capability))
            note = "" if lack is None else f" ({notes.setdefault(lack.why, len(notes) + 1)})"
            cells.append(shown[expected(exchange, capability)] + note)
        rows.append((capability, *cells))
    listed = "\n".join(f"{number}. {why[0].upper()}{why[1:]}." for why, number in notes.items())
    return table(("", *(code(exchange) for exchange in EXCHANGES)), rows) + "\n" + listed + "\n"


def controls() -> str:
    """List the risk controls with their settings."""
    rows = []
    for control in CONTROLS:
        settings = [setting for setting in SETTINGS if setting.control == control.number]
        limits = (
            f"{code(s.name)} {s.default} {s.unit}"
            + (f" per {' and '.join(s.per)}" if s.per else "")
            + f": {s.doc[0].lower()}{s.doc[1:-1]}"
            for s in settings
        )
        refusal = code(control.code) if control.code else "-"
        rows.append((str(control.number), control.name, control.does, refusal, "; ".join(limits) or "-"))
    return table(("#", "control", "what it stops or does", "code", "settings with their defaults"), rows)


GENERATED: dict[str, Callable[[], str]] = {  # name of the block -> its content
    "variables": variables,
    "algorithms": algorithms,
    "parameters": parameters,
    "errors": errors,
    "commands": commands,
    "records": records,
    "events": events,
    "exchanges": exchanges,
    "matrix": matrix,
    "controls": controls,
}


def refreshed(text: str) -> str:
    """Return a document with every generated block written anew."""
    return BLOCK.sub(lambda found: found[1] + "\n" + GENERATED[found["name"]]() + "\n" + found[3], text)


def main() -> None:
    """Refresh MANUAL.md in place."""
    before = MANUAL.read_text(encoding="utf-8")
    after = refreshed(before)
    MANUAL.write_text(after, encoding="utf-8")
    print(f"{MANUAL.name}: {'refreshed' if after != before else 'already true'}")


if __name__ == "__main__":
    main()
