"""What the command line shows of each answer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from .answers import Answer, Order, Query
from .plan_text import plan_text
from .progress import progress_line
from .result_text import result_text
from .tables import facts, table


def show_facts(answer: Mapping[str, Any]) -> str:
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


def show_result(answer: Answer) -> str:
    """Show what a write achieved, or that it was accepted, or its plan."""
    if isinstance(answer, Query):
        return f"accepted as {answer['query_id']}; follow it with: oms wait {answer['query_id']}"
    query = getattr(answer, "query", None)
    if not answer.get("dry_run"):
        return result_text(answer, query["query_id"] if query is not None else None)
    if answer.get("legs") is not None:
        return plan_text(answer)
    shown = dict(answer)
    shown["path"] = [f"{step['side']} {step['symbol']}" for step in shown.get("path") or []]
    at_once = shown.pop("taking_at_once", None) or {}
    if at_once.get("received"):
        shown["taking_at_once"] = f"{at_once['received']} for {at_once.get('spent')}, fees included"
    for name in ("dry_run", "outcome", "corrections"):
        shown.pop(name, None)
    return facts(shown) + _changes(answer)


def _changes(answer: Mapping[str, Any]) -> str:
    """Show what was changed before an order was sent, one change to a line."""
    return "".join(
        f"\nchanged: {row['field']} {row['asked']} -> {row['used']} ({row['why']})"
        for row in answer.get("corrections") or ()
    )


def show_plan(answer: Answer) -> str:
    """Show a quote and how to carry it out."""
    text = plan_text(answer)
    if answer.get("quote_id"):
        command = str(answer.get("verb") or "smart_order").replace("_", "-")
        text += f"\n\ncarry it out with: oms {command} --quote-id {answer['quote_id']}"
    return text


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


def show_order(answer: Answer) -> str:
    """Show one order with its fills."""
    if answer.get("dry_run") or not isinstance(answer, Order):
        return show_result(answer)
    apart = ("fills", "parent_id", "corrections")
    text = facts({name: value for name, value in answer.items() if name not in apart}) + _changes(answer)
    columns = ("timestamp", "price", "quantity", "fee", "fee_currency", "liquidity", "fill_id")
    if answer.get("fills"):
        rows = [[fill.get(name) for name in columns] for fill in answer["fills"]]
        text += "\n\n" + table([name.replace("_", " ") for name in columns], rows)
    return text


def order_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Lay orders out, one to a line."""
    titles = [name.replace("_", " ") for name in _ORDER_COLUMNS]
    return table(
        titles,
        [[str(row.get("created_at"))[:19], *(row.get(name) for name in _ORDER_COLUMNS[1:])] for row in rows],
        empty="no orders",
    )


def show_orders(answer: Mapping[str, Any]) -> str:
    """Show a page of orders."""
    text = order_table(answer.get("orders") or [])
    if answer.get("next_cursor"):
        text += f"\nmore: --cursor '{answer['next_cursor']}'"
    return text


def show_canceled(answer: Mapping[str, Any]) -> str:
    """Show what became of the orders that were to be canceled."""
    return facts(answer) or "nothing to cancel"


def show_halt(answer: Mapping[str, Any]) -> str:
    """Show what came of a halt: each account, and whether it is proven flat."""
    report = answer.get("result") if "verb" in answer else answer
    if not report or "accounts" not in report:
        return facts(report or {"halt_id": answer.get("query_id"), "status": answer.get("status")})
    said = "FLAT: nothing of ours is open" if report.get("flat") else "NOT PROVEN FLAT"
    lines = [f"halt {report.get('halt_id')}: {report.get('where')}. {said}", ""]
    return "\n".join([*lines, halted_accounts(report)])


def halted_accounts(report: Mapping[str, Any]) -> str:
    """Show the accounts of a halt's report, a row each."""
    rows = [
        [
            f"{row.get('exchange')}/{row.get('account')}",
            row.get("state"),
            len(row.get("canceled") or ()),
            len(row.get("filled") or ()),
            len(row.get("still_open") or ()),
            row.get("not_ours_count"),
            row.get("read_at"),
            "; ".join([*filter(None, [row.get("why")]), *(row.get("problems") or ())]),
        ]
        for row in report.get("accounts") or ()
    ]
    titles = ("account", "state", "canceled", "filled", "still open", "not ours", "read at", "why")
    return table(titles, rows)


def show_halts(answer: Mapping[str, Any]) -> str:
    """Show what stands still, by whose word, and how it is lifted."""
    parts = []
    for halt in answer.get("halts") or ():
        why = f": {halt.get('reason')}" if halt.get("reason") else ""
        report = halt.get("report") or {}
        if halt.get("in_force"):
            flat = "flat" if report.get("flat") else "NOT PROVEN FLAT"
            lines = [
                f"HALTED {halt.get('where')}, {flat}, by {halt.get('set_by')} at {halt.get('set_at')}{why}"
            ]
            if not halt.get("recorded"):
                lines.append("  not on record: the database cannot be written")
            if report.get("accounts"):
                lines += [halted_accounts(report)]
            lines.append(f"lift it with: oms resume {halt.get('halt_id')}")
        else:
            lines = [
                f"lifted {halt.get('where')}, set by {halt.get('set_by')} at {halt.get('set_at')}{why}; "
                f"lifted by {halt.get('lifted_by')} at {halt.get('lifted_at')} ({halt.get('halt_id')})"
            ]
        parts.append("\n".join(lines))
    if not answer.get("complete", True):
        parts.append("the database cannot be read: older halts are missing")
    return "\n\n".join(parts) or "nothing is halted"


def show_limit(answer: Mapping[str, Any]) -> str:
    """Show a limit that was set."""
    dry = "would be set" if answer.get("dry_run") else "set"
    return (
        f"{answer.get('setting')} {dry} for {answer.get('scope')}: "
        f"{answer.get('old')} -> {answer.get('new')} ({answer.get('unit')}; default {answer.get('default')})"
    )


def show_limits(answer: Mapping[str, Any]) -> str:
    """Show the controls with their limits, and the latest changes."""
    rows = []
    for control in answer.get("controls") or ():
        for setting in control.get("settings") or [{}]:
            held = "; ".join(f"{row.get('scope')}: {row.get('value')}" for row in setting.get("set") or ())
            about = [control.get(name) for name in ("number", "name", "code")]
            rows.append([*about, *(setting.get(name) for name in ("setting", "default", "unit")), held])
    changes = [
        f"{row.get('set_at')} {row.get('set_by')}: {row.get('setting')} of {row.get('scope')} "
        f"{row.get('old')} -> {row.get('new')}" + (f" ({row.get('reason')})" if row.get("reason") else "")
        for row in answer.get("changes") or ()
    ]
    titles = ("#", "control", "code", "setting", "default", "unit", "set")
    return "\n".join([table(titles, rows), *changes])


def show_risk(answer: Mapping[str, Any]) -> str:
    """Show what is used of each counted limit."""
    names = ("setting", "scope", "used", "limit", "remaining", "unit")
    rows = [[row.get(name) for name in names] for row in answer.get("limits") or ()]
    rows += [
        ["(cancels in 60 s)", row.get("scope"), row.get("used"), "none", "", row.get("unit")]
        for row in answer.get("cancels") or ()
    ]
    return table(names, rows) if rows else "nothing is counted yet"


def show_resumed(answer: Mapping[str, Any]) -> str:
    """Show what was lifted, and what still stands."""
    still = answer.get("still_halted") or ()
    lines = [f"resumed: {answer.get('lifted')}"]
    lines += [f"still halted: {other.get('where')} (oms resume {other.get('halt_id')})" for other in still]
    return "\n".join(lines)


def show_rules(answer: Mapping[str, Any]) -> str:
    """Show rules, a row each, and the channels there are."""
    rows = [
        [
            rule.get("user"),
            rule.get("name"),
            rule.get("channel"),
            rule.get("address"),
            ",".join(rule.get("events") or ("all",)),
            rule.get("severity"),
            "everybody's" if rule.get("everyone") else "own",
            _when(rule),
        ]
        for rule in answer.get("rules") or ()
    ]
    titles = ("user", "rule", "channel", "address", "events", "from", "of", "when")
    on = ", ".join(answer.get("channels") or ())
    return f"{table(titles, rows, empty='no rules')}\nchannels: {on}"


def show_rule(answer: Mapping[str, Any]) -> str:
    """Show one rule, and what a write about it did."""
    return facts({**answer, "when": _when(answer)})


def _when(rule: Mapping[str, Any]) -> str:
    parts = []
    if rule.get("digest_minutes"):
        parts.append(f"every {rule['digest_minutes']} min")
    if rule.get("digest_at"):
        parts.append(f"at {rule['digest_at']}")
    if rule.get("quiet_from"):
        parts.append(f"quiet {rule['quiet_from']}-{rule.get('quiet_until')}")
    return ", ".join(parts) + (f" {rule.get('time_zone')}" if parts else "at once")


def show_notifications(answer: Mapping[str, Any]) -> str:
    """Show messages, newest first, each with its text."""
    parts = []
    for one in answer.get("notifications") or ():
        seen = f", acknowledged by {one['acknowledged_by']}" if one.get("acknowledged_at") else ""
        where = f"{one.get('channel')} {one.get('address') or ''}".strip()
        said = f" ({one['answer']})" if one.get("answer") else ""
        text = "\n".join(f"  {line}" for line in str(one.get("text")).splitlines())
        parts.append(
            f"{one.get('created_at')}  {str(one.get('severity')).upper()}  {one.get('subject')}\n"
            f"  {one.get('message_id')} by {where}: {one.get('state')}{said}{seen}\n{text}"
        )
    if answer.get("next_cursor"):
        parts.append(f"older ones: --cursor '{answer['next_cursor']}'")
    return "\n\n".join(parts) or "nothing to tell"


def show_stats(answer: Mapping[str, Any]) -> str:
    """Show counts and volumes; shares as percentages."""
    shown = dict(answer)
    for name in ("maker_share", "fill_ratio"):  # shares, not amounts of something
        shares = shown.get(name) or {}
        shown[name] = [f"{key} {Decimal(share) * 100:.1f} %" for key, share in shares.items()]
    return show_facts(shown)


def show_balances(answer: Mapping[str, Any]) -> str:
    """Show what an account holds."""
    held = answer.get("balances") or {}
    return table(
        ("currency", "free", "used", "total"),
        [[name, row.get("free"), row.get("used"), row.get("total")] for name, row in sorted(held.items())],
        empty="the account is empty",
    )


def show_listed(answer: Mapping[str, Any]) -> str:
    """Show a page of an exchange's own list of orders."""
    columns = ("created_at", "exchange_order_id", "side", "symbol", "quantity", "price", "filled_quantity")
    columns += ("average_price", "status", "order_id", "bot")
    rows = [[row.get(name) for name in columns] for row in answer.get("orders") or []]
    return _with_notes(table(columns, rows, empty="no orders"), answer)


def show_transfers(answer: Mapping[str, Any]) -> str:
    """Show deposits and withdrawals."""
    columns = ("at", "kind", "currency", "amount", "fee", "status", "id")
    rows = [[row.get(name) for name in columns] for row in answer.get("transfers") or []]
    return _with_notes(table(columns, rows, empty="no transfers"), answer)


def _with_notes(text: str, answer: Mapping[str, Any]) -> str:
    """Add what an exchange does not list or was not read, and how to go on."""
    lines = [text, *(f"note: {note}" for note in answer.get("notes") or [])]
    if answer.get("next_cursor"):
        lines.append(f"more: --cursor '{answer['next_cursor']}'")
    return "\n".join(lines)


def show_fees(answer: Mapping[str, Any]) -> str:
    """Show what trading costs, and where the account stands in the schedule."""
    columns = ("symbol", "maker", "taker")
    rows = [[row.get(name) for name in columns] for row in answer.get("fees") or []]
    text = table(columns, rows, empty="no fees")
    tier = answer.get("tier") or {}
    told = [tier["name"]] if tier.get("name") else []
    if tier.get("volume_30d") is not None:
        told.append(f"{tier['volume_30d']} {tier.get('currency') or ''} traded in 30 days")
    return f"{text}\ntier: {', '.join(told)}" if told else text


def show_health(answer: Mapping[str, Any]) -> str:
    """Show the server and its exchange accounts."""
    accounts = [
        [
            row.get("exchange"),
            row.get("account"),
            row.get("mode"),
            row.get("readiness"),
            (row.get("venue") or {}).get("latency_ms"),
            (row.get("ledger") or {}).get("state"),
            row.get("trouble"),
        ]
        for row in answer.get("accounts") or []
    ]
    data = answer.get("market_data") or {}
    feeds = [
        [row.get("source"), row.get("connected"), row.get("endpoint"), row.get("problem")]
        for row in data.get("feeds") or []
    ]
    books = [
        [market.get("symbol"), *(row.get(name) for name in ("exchange", "source", "age_s", "problem"))]
        for market in data.get("markets") or []
        for row in market.get("sources") or []
    ]
    text = facts({name: value for name, value in answer.items() if name not in ("accounts", "market_data")})
    if accounts:
        text += "\n\n" + table(
            ("exchange", "account", "mode", "state", "latency ms", "ledger", "trouble"), accounts
        )
    told = [
        [row.get("exchange"), row.get("account"), words]
        for row in answer.get("accounts") or []
        for part in ("problems", "advice")
        for words in (row.get("venue") or {}).get(part) or []
    ]
    if told:
        text += "\n\n" + table(("exchange", "account", "to see to"), told)
    if feeds:
        text += "\n\n" + table(("feed", "connected", "endpoint", "problem"), feeds)
    if books:
        text += "\n\n" + table(("book", "exchange", "source", "age s", "problem"), books)
    return text


def show_query(answer: Mapping[str, Any]) -> str:
    """Show a query with its orders."""
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
    result = query.get("result") or {}
    if query.get("verb") == "quote" and result:
        parts += ["", plan_text(result)]
    elif query.get("status") == "done" and (result.get("cost") or result.get("weights")):
        parts += ["", result_text(result)]
    if query.get("orders"):
        parts += ["", order_table(query["orders"])]
    return "\n".join(parts)
