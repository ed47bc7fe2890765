"""What a letter says: pure text from notices and the queries they are about.

Words in it come from bots and exchanges. They can neither add a header nor pass for a section of ours:
control characters are taken out, and every further line of such a text is indented.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from ems.core.records import Notice, Query

SUBJECT_MAX = 150  # characters
TEXT_MAX = 4000  # characters of one value
OTHERS_MAX = 50  # lines for the other notices of a group

_FOOTER = ("-- ", "Sent by your order management system. Answers to this letter are not read.")
_ODD = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})  # control, format (bidi), surrogates, separators


def letter(
    notices: Sequence[Notice],
    queries: Mapping[str, Query],
    *,
    sender: str,
    receivers: Sequence[str],
    now: datetime,
) -> EmailMessage:
    """Write one letter for notices of one group, or of several, newest first; `queries` holds what is known:
    id -> query."""
    newest, *others = sorted(notices, key=lambda notice: (notice.created_at, notice.notice_id), reverse=True)
    # Sent twice after a crash between the server's yes and our note of it, the copies are alike.
    identity = hashlib.sha256("\n".join(sorted(notice.notice_id for notice in notices)).encode()).hexdigest()
    message = EmailMessage(policy=SMTP)
    message["From"] = one_line(sender)
    message["To"] = ", ".join(one_line(receiver) for receiver in receivers)
    alike = len({notice.group for notice in notices}) == 1
    message["Subject"] = subject(newest, len(notices)) if alike else f"[OMS] digest of {len(notices)} letters"
    message["Date"] = format_datetime(now.astimezone(UTC))
    message["Message-ID"] = f"<oms-{identity[:40]}@{one_line(sender).rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers, please
    message.set_content(body(newest, others, queries) if alike else digest([newest, *others]))
    return message


def subject(newest: Notice, count: int) -> str:
    words = one_line(newest.subject) or "something went wrong"
    if len(words) > SUBJECT_MAX:
        words = words[:SUBJECT_MAX] + "..."
    return f"[OMS] {words}" + (f" ({count} times)" if count > 1 else "")


def body(newest: Notice, others: Sequence[Notice], queries: Mapping[str, Query]) -> str:
    """Tell the newest notice in full, and of the others when, which and why."""
    lines: list[str] = []
    if others:
        oldest = others[-1]
        lines += [
            f"This happened {len(others) + 1} times, from {_time(oldest.created_at)} to"
            f" {_time(newest.created_at)}. The newest:",
            "",
        ]
    lines += [
        *_entry("What failed", newest.failed),
        *_entry("Why", newest.why),
        *_entry("What was done", newest.done or "Nothing."),
        *_entry("What to do", newest.todo or "Nothing is needed of you."),
        "",
        *_entry("Severity", newest.severity),
        *_entry("Noticed", _time(newest.created_at)),
    ]
    query = queries.get(newest.query_id or "")
    if query is not None:
        lines += _about(query)
    elif newest.query_id is not None:
        lines += _entry("Query", newest.query_id)
    if others:
        lines += ["", "The others, newest first:", ""]
        lines += [
            f"  {_time(each.created_at)}  {one_line(each.query_id or each.notice_id)}  "
            + one_line(each.why)[:200]
            for each in others[:OTHERS_MAX]
        ]
        if len(others) > OTHERS_MAX:
            lines.append(f"  and {len(others) - OTHERS_MAX} more; the table notices has them all")
    lines += ["", *_FOOTER]
    return "\n".join(lines) + "\n"


def digest(notices: Sequence[Notice]) -> str:
    """Tell of each notice what failed, why and what to do, newest first."""
    lines = []
    for notice in notices[:OTHERS_MAX]:
        lines += [
            f"{_time(notice.created_at)}  {notice.severity}  {one_line(notice.subject)[:SUBJECT_MAX]}",
            *_entry("Why", notice.why),
            *_entry("What to do", notice.todo or "Nothing is needed of you."),
            *(_entry("Query", notice.query_id) if notice.query_id is not None else []),
            "",
        ]
    if len(notices) > OTHERS_MAX:
        lines += [f"and {len(notices) - OTHERS_MAX} more; the table notices has them all", ""]
    return "\n".join([*lines, *_FOOTER]) + "\n"


def _about(query: Query) -> list[str]:
    lines = [
        *_entry("Query", query.query_id),
        *_entry("User and bot", f"{query.user}, {query.bot}"),
        *_entry("Asked", f"{query.verb} on {query.exchange or 'no exchange'}, mode {query.mode}"),
        *_entry("Asked at", _time(query.accepted_at)),
    ]
    if query.finished_at is not None:
        lines += _entry("Ended at", _time(query.finished_at))
    parameters = "\n".join(f"{name} = {_value(value)}" for name, value in query.parameters.items())
    lines += _entry("Parameters", parameters or "none")
    if query.error is not None:
        lines += _entry("Error", f"{query.error.code}: {query.error.message}")
        venue = " ".join(word for word in (query.error.venue_code, query.error.venue_message) if word)
        if venue:
            lines += _entry("Exchange said", venue)
    return lines


def _entry(label: str, text: str) -> list[str]:
    """Put a label before a text; further lines of the text are indented below it."""
    if len(text) > TEXT_MAX:
        text = text[:TEXT_MAX] + "..."
    first, *more = [_printable(line) for line in text.splitlines()] or [""]
    return [f"{label + ':':<15}{first}".rstrip(), *(" " * 15 + line for line in more)]


def _value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _time(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def one_line(text: str) -> str:
    """Return text without line ends, control characters and repeated spaces: safe in a header."""
    return " ".join(_printable(text).split())


def printable_lines(text: str) -> str:
    """Return text line by line without control characters."""
    return "\n".join(_printable(line) for line in text.splitlines())


def _printable(text: str) -> str:
    return "".join(" " if unicodedata.category(each) in _ODD else each for each in text)
