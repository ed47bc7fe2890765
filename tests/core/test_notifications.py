"""Who is told of what and when: rules, digests, quiet hours, suppression, reminders."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from ems.core.messages import OrderType, Problem, Side, TimeInForce
from ems.core.notifications import (
    EVENTS,
    ORDER_EVENTS,
    REPEAT_MAX,
    Channel,
    Happening,
    Message,
    News,
    NotificationRule,
    Severity,
    due_at,
    fits,
    may_see,
    messages_of,
    news_of,
    notification_of,
    of_notice,
    of_order,
    of_query,
    repeat_at,
)
from ems.core.records import HistoryEntry, Notice, Order, Query, QueryStatus, Status
from ems.core.verbs import VERBS

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")
CRITICAL, WARNING, INFO = Severity.CRITICAL, Severity.WARNING, Severity.INFO


def rule(**changes: object) -> NotificationRule:
    made = NotificationRule(user="alice", name="mine", channel=Channel.EMAIL, address="a@b", updated_at=NOON)
    return replace(made, **changes)  # type: ignore[arg-type]


def happening(**changes: object) -> Happening:
    made = Happening(
        event="order_filled",
        key="order o-1 filled",
        at=NOON,
        severity=INFO,
        subject="filled: buy 1 ETH/USDT on kraken",
        user="alice",
        bot="bot-1",
        exchange="kraken",
        group="g",
    )
    return replace(made, **changes)  # type: ignore[arg-type]


FITS = {
    "everything": ({}, {}, True),
    "its event": ({"events": ("halt", "order_filled")}, {}, True),
    "another event": ({"events": ("halt",)}, {}, False),
    "severe enough": ({"severity": WARNING}, {"severity": WARNING}, True),
    "more severe": ({"severity": WARNING}, {"severity": CRITICAL}, True),
    "not severe enough": ({"severity": WARNING}, {"severity": INFO}, False),
    "its exchange": ({"exchange": "kraken"}, {}, True),
    "another exchange": ({"exchange": "okx"}, {}, False),
    "no exchange in particular": ({"exchange": "okx"}, {"exchange": None}, False),
    "its bot": ({"of_bot": "bot-1"}, {}, True),
    "another bot": ({"of_bot": "bot-2"}, {}, False),
}


@pytest.mark.parametrize("name", FITS)
def test_a_rule_fits_what_it_asks_for(name: str) -> None:
    asked, happened, expected = FITS[name]
    assert fits(rule(**asked), happening(**happened)) is expected


SEES = {
    "one's own": ({}, {}, True),
    "another's": ({}, {"user": "bob"}, False),
    "another's, for an admin who wants everybody's": ({"user": "adam", "everyone": True}, {}, True),
    "another's, for an admin who does not": ({"user": "adam"}, {}, False),
    "another's, for one who was an admin when the rule was made": (
        {"everyone": True},
        {"user": "bob"},
        False,
    ),
    "a halt": ({}, {"user": None, "event": "halt"}, True),
    "nobody's, and of no shared kind": ({}, {"user": None, "event": "alert"}, False),
    "the same, for an admin": ({"user": "adam", "everyone": True}, {"user": None, "event": "alert"}, True),
}


@pytest.mark.parametrize("name", SEES)
def test_nobody_is_told_what_they_may_not_see(name: str) -> None:
    asked, happened, expected = SEES[name]
    assert may_see(rule(**asked), happening(**happened), {"adam"}) is expected


def at(text: str, zone: object = BERLIN) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone).astimezone(UTC)  # type: ignore[arg-type]


NIGHT = {"quiet_from": "22:00", "quiet_until": "07:00", "time_zone": "Europe/Berlin"}
# Summer time in Berlin ended on 2026-10-25 at 03:00 and begins on 2027-03-28 at 02:00.
DUE: dict[str, tuple[dict[str, object], Severity, str, str]] = {  # name -> (rule, severity, now, due)
    "at once": ({}, INFO, "2026-11-21 23:00", "2026-11-21 23:00"),
    "by day": (NIGHT, INFO, "2026-11-21 21:59", "2026-11-21 21:59"),
    "the night's first minute": (NIGHT, INFO, "2026-11-21 22:00", "2026-11-22 07:00"),
    "before midnight": (NIGHT, INFO, "2026-11-21 23:59", "2026-11-22 07:00"),
    "after midnight": (NIGHT, INFO, "2026-11-22 00:00", "2026-11-22 07:00"),
    "the night's last minute": (NIGHT, INFO, "2026-11-22 06:59", "2026-11-22 07:00"),
    "the morning": (NIGHT, INFO, "2026-11-22 07:00", "2026-11-22 07:00"),
    "critical at night": (NIGHT, CRITICAL, "2026-11-21 23:00", "2026-11-21 23:00"),
    "the long night": (NIGHT, WARNING, "2026-10-24 23:00", "2026-10-25 07:00"),
    "the short night": (NIGHT, WARNING, "2027-03-27 23:00", "2027-03-28 07:00"),
    "until a time that summer time leaves out": (
        {**NIGHT, "quiet_until": "02:30"},
        INFO,
        "2027-03-28 01:00",
        "2027-03-28 03:30",
    ),
    "quiet over noon": (
        {"quiet_from": "11:00", "quiet_until": "14:00"},
        INFO,
        "2026-11-21 12:30",
        "2026-11-21 14:00",
    ),
    "every quarter": ({"digest_minutes": 15}, INFO, "2026-11-21 12:01", "2026-11-21 12:15"),
    "on the quarter": ({"digest_minutes": 15}, INFO, "2026-11-21 12:15", "2026-11-21 12:30"),
    "critical, with a digest": ({"digest_minutes": 15}, CRITICAL, "2026-11-21 12:01", "2026-11-21 12:01"),
    "every morning": ({"digest_at": "08:00"}, WARNING, "2026-11-21 12:01", "2026-11-22 08:00"),
    "this morning": ({"digest_at": "08:00"}, WARNING, "2026-11-21 07:59", "2026-11-21 08:00"),
    "the morning after the long night": (
        {"digest_at": "08:00"},
        INFO,
        "2026-10-24 23:00",
        "2026-10-25 08:00",
    ),
    "a digest at night": ({"digest_at": "23:00", **NIGHT}, INFO, "2026-11-21 20:00", "2026-11-22 07:00"),
}


@pytest.mark.parametrize("name", DUE)
def test_when_it_is_due(name: str) -> None:
    asked, severity, now, due = DUE[name]
    assert due_at(rule(**asked), severity, at(now), None, BERLIN) == at(due)


def test_the_long_night_is_an_hour_longer_and_the_short_one_shorter() -> None:
    for night, hours in (("2026-10-24 22:00", 10), ("2027-03-27 22:00", 8), ("2026-11-20 22:00", 9)):
        assert due_at(rule(**NIGHT), INFO, at(night), None, BERLIN) - at(night) == timedelta(hours=hours)


def test_an_hour_that_comes_twice_is_quiet_until_it_first_comes() -> None:
    until_half_past_two = rule(**{**NIGHT, "quiet_until": "02:30"})
    due = due_at(until_half_past_two, INFO, at("2026-10-25 01:00"), None, BERLIN)
    assert due == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)


@pytest.mark.parametrize("severity", list(Severity))
def test_a_group_that_was_told_waits_also_when_critical(severity: Severity) -> None:
    told = NOON - timedelta(seconds=59)
    assert due_at(rule(suppress_s=60), severity, NOON, told, UTC) == NOON + timedelta(seconds=1)
    for long_ago in (60, 3600):
        assert due_at(rule(suppress_s=60), severity, NOON, NOON - timedelta(seconds=long_ago), UTC) == NOON
    assert due_at(rule(suppress_s=0), severity, NOON, NOON, UTC) == NOON


def messages(asked: NotificationRule, *told: Happening) -> list[Message]:
    made = [notification_of(asked, one, NOON, None, UTC) for one in told]
    return [message for message, _ in messages_of(made, {(asked.user, asked.name): asked}, NOON)]


def test_alike_events_are_one_message_with_their_number() -> None:
    many = [happening(key=f"k{n}", at=NOON + timedelta(seconds=n), subject=f"s{n}") for n in range(3)]
    (message,) = messages(rule(), *many)
    assert (message.count, message.subject, message.event) == (3, "s2 (3 times)", "order_filled")
    assert "How often:     3 times since 2026-11-21T12:00:00" in message.text


def test_different_events_are_messages_of_their_own_and_one_digest() -> None:
    later = NOON + timedelta(seconds=1)
    two = (happening(), happening(key="k2", group="h", at=later, subject="another", severity=WARNING))
    assert [m.subject for m in messages(rule(), *two)] == [happening().subject, "another"]
    (digest,) = messages(rule(digest_minutes=5), *two)
    assert (digest.subject, digest.event, digest.severity) == ("digest of 2 notifications", "digest", WARNING)
    assert [line.split("  ")[-1].strip() for line in digest.text.splitlines()] == [
        happening().subject,
        "another",
    ]


def test_what_is_critical_is_in_no_digest() -> None:
    asked = rule(digest_minutes=5)
    found = messages(asked, happening(), happening(key="k2", group="h", severity=CRITICAL))
    assert sorted((m.severity, m.count) for m in found) == [(CRITICAL, 1), (INFO, 1)]


def test_a_rule_that_is_gone_tells_nothing() -> None:
    made = notification_of(rule(), happening(), NOON, None, UTC)
    assert messages_of([made], {}, NOON) == []


def test_the_same_event_is_the_same_notification_and_the_same_message() -> None:
    one, two = (messages(rule(), happening(subject=said))[0] for said in ("first told", "read again"))
    assert one.message_id == two.message_id
    assert messages(rule(name="other"), happening())[0].message_id != one.message_id


def test_in_the_app_a_message_has_arrived_at_once() -> None:
    (shown,) = messages(rule(channel=Channel.IN_APP, address=""), happening())
    assert (shown.state, shown.sent_at, shown.next_attempt_at) == ("sent", NOON, None)
    (waits,) = messages(rule(), happening())
    assert (waits.state, waits.sent_at, waits.next_attempt_at) == ("waiting", None, NOON)


def test_a_critical_message_is_repeated_with_growing_waits() -> None:
    (message,) = messages(rule(repeat_s=600), happening(severity=CRITICAL))
    waits = [repeat_at(rule(repeat_s=600), replace(message, repeats=n), NOON) for n in range(7)]
    assert [at and (at - NOON).total_seconds() for at in waits[:4]] == [600, 1200, 2400, 4800]
    assert waits[6] == NOON + REPEAT_MAX


NOT_REPEATED = {
    "a warning": (rule(), WARNING),
    "with repeats turned off": (rule(repeat_s=0), CRITICAL),
    "in the app": (rule(channel=Channel.IN_APP, address=""), CRITICAL),
}


@pytest.mark.parametrize("name", NOT_REPEATED)
def test_what_is_not_repeated(name: str) -> None:
    asked, severity = NOT_REPEATED[name]
    (message,) = messages(asked, happening(severity=severity))
    assert repeat_at(asked, message, NOON) is None


# --- From records


ORDER = Order(
    order_id="o-1",
    query_id="q-1",
    parent_id="p-1",
    user="alice",
    bot="bot-1",
    exchange="kraken",
    account="default",
    symbol="ETH/USDT",
    side=Side.BUY,
    order_type=OrderType.LIMIT,
    time_in_force=TimeInForce.GTC,
    post_only=False,
    quantity=Decimal("0.30"),
    price=Decimal("2450.10"),
    client_order_id="c",
    created_at=NOON,
    status=Status.FILLED,
    filled_quantity=Decimal("0.3"),
    quote_filled=Decimal("735.03"),
    fees={"USDT": Decimal("1.2")},
)


def test_a_filled_order_says_what_and_for_how_much() -> None:
    told = of_order(ORDER, Status.FILLED)
    assert told is not None
    assert (told.event, told.user, told.severity) == ("order_filled", "alice", INFO)
    assert told.subject == "filled: buy 0.3 ETH/USDT on kraken"
    assert told.facts["Filled"] == "0.3 of 0.3, on average at 2450.1"
    assert told.facts["Fees"] == "1.2 USDT"


@pytest.mark.parametrize("status", list(Status))
def test_ends_of_orders_are_news_and_nothing_else_of_them_is(status: Status) -> None:
    entry = HistoryEntry(order_id="o-1", version=1, status=status, timestamp=NOON, message="", report={})
    ended = status in ORDER_EVENTS
    assert news_of(entry) == (News(kind="order", subject="o-1", status=status) if ended else None)
    assert (of_order(ORDER, status) is not None) is ended


def query(**changes: object) -> Query:
    made = Query(
        query_id="q-1",
        user="alice",
        bot="bot-1",
        verb="smart_order",
        exchange="kraken",
        parameters={},
        idempotency_key="k",
        body_digest="",
        record_in_db=True,
        send_fail_email=False,
        mode="paper",
        status=QueryStatus.DONE,
        accepted_at=NOON,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def test_a_failed_query_says_why_and_what_to_do() -> None:
    error = Problem(
        code="FUNDS_INSUFFICIENT", message="only 3 USDT", hint="Deposit.", venue_message="EOrder:Funds"
    )
    told = of_query(query(status=QueryStatus.FAILED, error=error))
    assert (told.event, told.severity) == ("query_failed", WARNING)
    assert told.subject == "smart_order on kraken failed: FUNDS_INSUFFICIENT"
    assert told.facts["What to do"] == "Deposit." and told.facts["Exchange said"] == "EOrder:Funds"


@pytest.mark.parametrize("verb", VERBS)
def test_what_is_asked_is_told_of_unless_it_only_looks_or_arranges(verb: str) -> None:
    quiet = verb == "quote" or "notification" in verb
    assert (news_of(query(verb=verb)) is None) is quiet
    assert news_of(query(verb=verb, status=QueryStatus.WORKING)) is None


@pytest.mark.parametrize("verb", ["get_balances", "get_past_orders", "tca", "check_health"])
def test_looking_is_nothing_to_be_told_of(verb: str) -> None:
    assert news_of(query(verb=verb)) is None


NOTICE = Notice(
    notice_id="n-1",
    query_id="q-1",
    severity="error",
    subject="incident on kraken",
    failed="order o-1",
    why="two ledgers",
    done="",
    todo="Compare.",
    created_at=NOON,
    group="incident/kraken",
    event="incident",
)


def test_a_letter_about_somebodys_query_is_theirs_and_a_halt_is_everybodys() -> None:
    theirs = of_notice(NOTICE, query())
    assert (theirs.user, theirs.severity, theirs.facts["What to do"]) == ("alice", WARNING, "Compare.")
    assert "What was done" not in theirs.facts
    assert of_notice(replace(NOTICE, event="halt", severity="critical"), query()).user is None
    assert of_notice(replace(NOTICE, query_id=None), None).user is None


def test_a_failed_querys_letter_is_no_news_for_the_query_itself_is() -> None:
    assert news_of(NOTICE) == News(kind="notice", subject="n-1")
    assert news_of(replace(NOTICE, event="query_failed")) is None


def test_a_text_of_many_lines_cannot_pass_for_a_fact_of_ours() -> None:
    (message,) = messages(rule(), happening(facts={"Why": "no\nSeverity:      critical"}))
    assert message.text.splitlines()[-1] == " " * 15 + "Severity:      critical"


def test_every_event_is_described() -> None:
    assert set(ORDER_EVENTS.values()) < EVENTS.keys()
    assert all(words.endswith(".") for _, words in EVENTS.values())
