"""From a record to a message at its channel, over a real database, a real mail server and a real receiver."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ems.core import errors
from ems.core.messages import (
    AcknowledgeNotification,
    DeleteNotificationRule,
    NonceUse,
    NotificationCommand,
    Problem,
    SendTestNotification,
    SetNotificationRule,
    Ticket,
)
from ems.core.notifications import Channel, Message
from ems.core.records import Notice, Query, QueryStatus
from server.notify.channels import EmailSender, Sender, Undelivered
from server.notify.desk import NotificationDesk, Written
from server.notify.notifier import GIVE_UP, KEEP, Notifier
from server.notify.services import ServiceSender
from server.notify.streams import StreamWatch
from server.notify.webhook import WebhookSender, is_public
from server.store.migrate import upgrade
from server.store.sql import SqlStore
from simulator import tls
from simulator.mail import MailSink
from tests.receiver import Receiver

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
SENDER, PASSWORD, SECRET = "oms@example.org", "s3cret", "a-secret-of-the-house"
DESK, RISK = "desk@example.org", "risk@example.org"


@dataclass(frozen=True)
class Box:
    host: str
    port: int
    ca_file: Path | None
    sender: str = SENDER
    password: str = PASSWORD
    receivers: tuple[str, ...] = (DESK,)


class House:
    """The notifier of one server, and what surrounds it; `restart` leaves only the database."""

    def __init__(self, url: str, sink: MailSink, receiver: Receiver) -> None:
        self.now = NOON
        self.admins = {"adam"}
        upgrade(url)
        self._url = url
        self._numbers = iter(range(1, 10_000))
        self.senders: dict[Channel, Sender] = {
            Channel.EMAIL: EmailSender(
                Box(sink.host, sink.port, Path(sink.ca_file)), [DESK, RISK], lambda: self.now
            ),
            Channel.WEBHOOK: WebhookSender([receiver.origin], SECRET, lambda: self.now),
            Channel.SERVICE: ServiceSender({"chat": f"json://127.0.0.1:{receiver.port}/chat"}),
        }
        self.store = SqlStore(url)
        self._build()

    def _build(self) -> None:
        self.notifier = Notifier(
            self.store.notifications, self.senders, lambda: self.now, lambda: self.admins, poll_s=0.05
        )
        self.desk = NotificationDesk(
            self.store, self.notifier, self.senders, lambda: self.now, self._id, lambda: "paper"
        )

    def _id(self) -> str:
        return f"id-{next(self._numbers)}"

    def restart(self) -> None:
        self.store.close()
        self.store = SqlStore(self._url)
        self._build()

    def forward(self, **span: float) -> None:
        self.now += timedelta(**span)

    def ask(self, command: NotificationCommand, user: str = "alice", **ticket: Any) -> Written | Problem:
        number = next(self._numbers)
        given = {"idempotency_key": f"key-{number}", "body_digest": "d", "bot": "cli", **ticket}
        given.setdefault("nonce", NonceUse(key_id="k", nonce=f"n-{number}", expires_at=NOON))
        return self.desk.submit(Ticket(user=user, **given), command)

    def rule(self, name: str, channel: str, user: str = "alice", **more: Any) -> None:
        done = self.ask(SetNotificationRule(name=name, channel=channel, **more), user)
        assert isinstance(done, Written), done

    def happen(self, *notices: Notice) -> None:
        self.store.commit(notices)
        self.run()

    def run(self) -> None:
        self.notifier.look()
        self.notifier.deliver()

    def told(self, user: str = "alice", **wanted: Any) -> list[dict[str, Any]]:
        asked = {"unacknowledged": False, "channel": None, "after": None, "cursor": None, "limit": 100}
        answer = self.desk.messages(user, wait_s=0, **{**asked, **wanted})
        return list(answer["notifications"])  # type: ignore[call-overload]


@pytest.fixture
def sink() -> Iterator[MailSink]:
    with MailSink(user=SENDER, password=PASSWORD) as running:
        yield running


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture
def house(tmp_path: Path, sink: MailSink, receiver: Receiver) -> Iterator[House]:
    built = House(f"sqlite:///{tmp_path / 'oms.sqlite'}", sink, receiver)
    yield built
    built.store.close()


@pytest.fixture
def any_house(any_db_url: str, sink: MailSink, receiver: Receiver) -> Iterator[House]:
    """A house on each kind of database."""
    built = House(any_db_url, sink, receiver)
    yield built
    built.store.close()


def halt(number: int = 1, **changes: object) -> Notice:
    made = Notice(
        notice_id=f"halt-{number}",
        query_id=None,
        severity="critical",
        subject="trading is halted: everything",
        failed="Nothing is placed any more: everything.",
        why="prices look wrong",
        done="Open orders are being canceled.",
        todo="An admin lifts it.",
        created_at=NOON + timedelta(seconds=number),
        group="halt/h",
        event="halt",
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def query(query_id: str = "q-1", **changes: object) -> Query:
    made = Query(
        query_id=query_id,
        user="alice",
        bot="bot-1",
        verb="smart_order",
        exchange="kraken",
        parameters={},
        idempotency_key=f"key of {query_id}",
        body_digest="",
        record_in_db=True,
        send_fail_email=False,
        mode="paper",
        status=QueryStatus.DONE,
        accepted_at=NOON,
        finished_at=NOON,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def test_one_event_reaches_every_channel_that_a_rule_names(
    any_house: House, sink: MailSink, receiver: Receiver
) -> None:
    house = any_house
    house.rule("app", "in_app")
    house.rule("mail", "email", address=DESK)
    house.rule("hook", "webhook", address=f"{receiver.origin}/oms?team=1")
    house.rule("chat", "service", address="chat")
    house.happen(halt())
    assert [(one["channel"], one["state"]) for one in house.told()] == [
        (one["channel"], "sent") for one in house.told()
    ]
    assert sorted(one["channel"] for one in house.told()) == ["email", "in_app", "service", "webhook"]

    (letter,) = sink.messages
    assert letter["To"] == DESK
    assert letter["Subject"] == "[OMS critical] trading is halted: everything"
    words = letter.get_content()
    (mine,) = house.told(channel="email")
    for expected in ("Severity:      critical", "What to do:    An admin lifts it.", mine["message_id"]):
        assert expected in words

    by_path = {posted.path: posted for posted in receiver.posted}
    hook = by_path["/oms?team=1"]
    assert hook.signed_with(SECRET) and not hook.signed_with("another secret")
    (sent,) = house.told(channel="webhook")
    assert hook.headers["idempotency-key"] == f"{sent['message_id']}.0"
    assert (hook.json["event"], hook.json["severity"], hook.json["user"]) == ("halt", "critical", "alice")
    assert by_path["/chat"].json["title"] == "critical: trading is halted: everything"


def test_a_query_is_told_to_its_owner_alone_and_to_an_admin_who_wants_everybodys(house: House) -> None:
    for user in ("alice", "bob"):
        house.rule("app", "in_app", user, suppress_s=0)
    house.rule("all", "in_app", "adam", everyone=True)
    house.rule("own", "in_app", "adam")
    house.store.commit([query()])
    house.run()
    assert [one["subject"] for one in house.told()] == ["smart_order on kraken is done"]
    assert house.told("bob") == []
    assert [one["rule"] for one in house.told("adam")] == ["all"]

    house.admins.clear()  # no admin any more: the rule is there, and tells nothing of others
    house.store.commit([query("q-2")])
    house.run()
    assert len(house.told("adam")) == 1 and len(house.told("alice")) == 2


def test_repeated_alerts_are_one_with_their_number_after_the_window(any_house: House, sink: MailSink) -> None:
    house = any_house
    house.rule("mail", "email", address=DESK, suppress_s=60, repeat_s=0)
    house.happen(halt(1))
    house.forward(seconds=10)
    house.happen(halt(2), halt(3))
    house.forward(seconds=30)
    house.happen(halt(4))
    assert [one["count"] for one in house.told()] == [1]
    house.forward(seconds=19)
    house.run()
    assert len(sink.messages) == 1
    house.forward(seconds=1)
    house.run()
    assert [letter["Subject"] for letter in sink.messages] == [
        "[OMS critical] trading is halted: everything",
        "[OMS critical] trading is halted: everything (3 times)",
    ]


def test_a_digest_is_one_message_also_over_a_restart(house: House, sink: MailSink) -> None:
    house.rule("mail", "email", address=DESK, digest_minutes=15, repeat_s=0)
    house.store.commit([query("q-1"), query("q-2", verb="liquidate")])
    house.run()
    house.happen(halt())  # critical: not in the digest
    assert len(sink.messages) == 1
    house.restart()
    house.forward(minutes=14, seconds=59)
    house.run()
    assert len(sink.messages) == 1
    house.forward(seconds=1)
    house.run()
    assert sink.messages[1]["Subject"] == "[OMS info] digest of 2 notifications"
    house.forward(hours=1)
    house.run()
    assert len(sink.messages) == 2


def test_a_quiet_night_waits_for_the_morning(house: House, sink: MailSink) -> None:
    house.now = datetime(2026, 11, 21, 22, 30, tzinfo=UTC)  # 23:30 in Berlin
    night = {"quiet_from": "22:00", "quiet_until": "07:00", "time_zone": "Europe/Berlin"}
    house.rule("mail", "email", address=DESK, **night)
    house.store.commit([query()])
    house.run()
    assert sink.messages == []
    house.now = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
    house.run()
    assert len(sink.messages) == 1


def test_a_critical_message_is_repeated_until_it_is_acknowledged(any_house: House, sink: MailSink) -> None:
    house = any_house
    house.rule("mail", "email", address=DESK, repeat_s=600)
    house.rule("app", "in_app")
    house.happen(halt())
    for minutes in (10, 20):
        house.forward(minutes=minutes)
        house.restart()
        house.run()
    assert [letter["Subject"].rpartition("everything")[2] for letter in sink.messages] == [
        "",
        " (reminder 1)",
        " (reminder 2)",
    ]
    assert len({letter["Message-ID"] for letter in sink.messages}) == 3  # meant to be read again
    (shown,) = house.told(channel="in_app")
    done = house.ask(AcknowledgeNotification(message_id=shown["message_id"]))
    assert isinstance(done, Written)
    house.forward(days=1)
    house.run()
    assert len(sink.messages) == 3
    assert [one["acknowledged_by"] for one in house.told()] == ["alice", "alice"]
    assert house.told(unacknowledged=True) == []


def test_acknowledged_while_a_reminder_waits_it_is_not_sent(house: House, sink: MailSink) -> None:
    house.rule("mail", "email", address=DESK, repeat_s=600)
    house.happen(halt())
    sink.down = True
    house.forward(minutes=10)
    house.run()
    (waiting,) = house.told()
    assert (waiting["state"], waiting["repeats"]) == ("waiting", 1)
    house.ask(AcknowledgeNotification(message_id=waiting["message_id"]))
    sink.down = False
    house.forward(hours=1)
    house.run()
    assert len(sink.messages) == 1


def test_acknowledged_before_it_was_sent_it_is_sent_and_not_repeated(house: House, sink: MailSink) -> None:
    house.rule("mail", "email", address=DESK, repeat_s=600)
    house.store.commit([halt()])
    house.notifier.look()
    (waiting,) = house.told()
    house.ask(AcknowledgeNotification(message_id=waiting["message_id"]))
    house.notifier.deliver()
    house.forward(hours=1)
    house.run()
    assert len(sink.messages) == 1


def test_an_address_in_trouble_is_not_tried_for_every_message(house: House, receiver: Receiver) -> None:
    house.rule("hook", "webhook", address=receiver.origin, suppress_s=0)
    receiver.status = 503
    house.happen(halt(1))
    house.forward(seconds=1)
    house.happen(halt(2))
    assert len(receiver.posted) == 1
    receiver.status = 204
    house.forward(seconds=1)
    house.run()
    assert {posted.json["message_id"] for posted in receiver.posted} == {
        one["message_id"] for one in house.told()
    }


def test_a_dead_mail_server_delays_only_mail_and_loses_nothing(
    house: House, sink: MailSink, receiver: Receiver
) -> None:
    house.rule("mail", "email", address=DESK)
    house.rule("hook", "webhook", address=receiver.origin)
    sink.down = True
    house.happen(halt())
    assert len(receiver.posted) == 1
    (waiting,) = house.told(channel="email")
    assert waiting["state"] == "waiting" and "refused" in waiting["answer"]
    health = house.desk.health()
    assert health["trouble"] == {DESK: waiting["answer"]}
    assert health["waiting"]["email"]["messages"] == 1  # type: ignore[index]
    house.restart()
    sink.down = False
    house.forward(seconds=2)
    house.run()
    assert len(sink.messages) == 1 and len(receiver.posted) == 1
    assert house.desk.health()["trouble"] == {} and house.desk.health()["waiting"] == {}


def test_an_address_in_trouble_is_left_alone_longer_each_time(house: House, receiver: Receiver) -> None:
    house.rule("hook", "webhook", address=receiver.origin, repeat_s=0)
    receiver.status = 503
    house.happen(halt())
    for tries, seconds in enumerate((2, 6, 14, 30, 62, 126, 254, 510, 810, 1110), start=1):
        house.now = NOON + timedelta(seconds=seconds - 1)
        house.run()
        assert len(receiver.posted) == tries
        house.forward(seconds=1)
        house.run()
        assert len(receiver.posted) == tries + 1
    assert {posted.headers["idempotency-key"] for posted in receiver.posted} == {
        f"{house.told()[0]['message_id']}.0"
    }
    assert house.told()[0]["answer"] == "127.0.0.1 answered 503 Service Unavailable"
    house.forward(seconds=GIVE_UP.total_seconds())
    house.run()
    assert house.told()[0]["state"] == "dropped"


class Crash(Exception):
    """The process ends here."""


@pytest.mark.parametrize("step", ["looked_at", "put_together", "outcome"])
@pytest.mark.parametrize("after", [False, True])
def test_a_crash_at_any_step_neither_loses_nor_doubles(
    house: House, sink: MailSink, monkeypatch: pytest.MonkeyPatch, step: str, after: bool
) -> None:
    """Sent and not noted is sent again, alike to its Message-ID: nobody can know whether it arrived."""
    house.rule("mail", "email", address=DESK)
    house.rule("app", "in_app")
    house.store.commit([halt()])
    real = getattr(house.store.notifications, step)

    def crash(*given: Any) -> None:
        if after:
            real(*given)
        raise Crash

    monkeypatch.setattr(house.store.notifications, step, crash)
    with pytest.raises(Crash):
        house.run()
    house.restart()
    house.run()
    house.forward(hours=2)
    house.restart()
    house.run()
    assert len(house.told()) == 2
    first = [letter for letter in sink.messages if "reminder" not in letter["Subject"]]
    assert len({letter["Message-ID"] for letter in first}) == 1
    assert len(first) == (2 if step == "outcome" and not after else 1)


def test_a_rule_that_is_deleted_takes_what_waits_with_it(any_house: House, sink: MailSink) -> None:
    house = any_house
    house.rule("mail", "email", address=DESK, digest_minutes=60)
    sink.down = True
    house.happen(halt())
    house.store.commit([query()])
    house.run()
    done = house.ask(DeleteNotificationRule(name="mail"))
    assert isinstance(done, Written) and done.query.result == {"deleted": "mail", "user": "alice"}
    sink.down = False
    house.forward(days=1)
    house.run()
    assert sink.messages == []
    assert [(one["state"], one["answer"]) for one in house.told()] == [("dropped", "the rule was deleted")]
    missing = house.ask(DeleteNotificationRule(name="mail"))
    assert isinstance(missing, Problem) and missing.code == errors.NOTIFICATION_RULE_NOT_FOUND


def test_old_messages_are_forgotten_and_news_without_rules_too(any_house: House) -> None:
    house = any_house
    house.happen(halt(1))
    assert house.told() == [] and house.store.notifications.news(10) == []
    house.rule("app", "in_app")
    house.happen(halt(2))
    assert len(house.told()) == 1
    house.forward(seconds=KEEP.total_seconds() + 1)
    house.run()
    assert house.told() == []


def test_pages_and_what_is_new(any_house: House) -> None:
    house = any_house
    house.rule("app", "in_app", suppress_s=0)
    for number in range(5):
        house.forward(seconds=1)
        house.happen(halt(number))
    asked = {"unacknowledged": False, "channel": None, "after": None, "cursor": None, "limit": 2}
    seen: list[str] = []
    while True:
        page: Any = house.desk.messages("alice", wait_s=0, **asked)
        seen += [one["message_id"] for one in page["notifications"]]
        if page["next_cursor"] is None:
            break
        asked["cursor"] = page["next_cursor"]
    assert len(seen) == len(set(seen)) == 5
    first: Any = house.desk.messages("alice", wait_s=0, **{**asked, "cursor": None})
    after = {**asked, "cursor": None, "after": first["latest"]}
    nothing: Any = house.desk.messages("alice", wait_s=0, **after)
    assert (nothing["notifications"], nothing["latest"]) == ([], first["latest"])
    house.forward(seconds=1)
    house.happen(halt(9))
    fresh: Any = house.desk.messages("alice", wait_s=0, **after)
    assert len(fresh["notifications"]) == 1


def test_a_stream_that_stays_away_is_told_once_and_so_is_its_return() -> None:
    up = {("kraken", "default"): True, ("okx", "default"): True}
    watch = StreamWatch(lambda: up)
    told = []
    for second, kraken in enumerate([True, *[False] * 29, True, *[False] * 40, True, True]):
        up["kraken", "default"] = kraken
        told += [(second, h.subject) for h in watch(NOON + timedelta(seconds=second))]
    assert told == [
        (61, "the stream of kraken/default is down"),
        (71, "the stream of kraken/default is back"),
    ]


def test_what_a_watch_sees_reaches_whoever_asks_for_it(house: House) -> None:
    up = {("kraken", "default"): False}
    watch = StreamWatch(lambda: up)
    house.notifier = Notifier(house.store.notifications, {}, lambda: house.now, lambda: (), watches=[watch])
    house.rule("app", "in_app", events=("stream_down",))
    for _ in range(3):
        house.run()
        house.forward(seconds=20)
    assert [one["subject"] for one in house.told()] == ["the stream of kraken/default is down"]


# --- The desk


def test_a_key_is_carried_out_once(any_house: House) -> None:
    house = any_house
    command = SetNotificationRule(name="app", channel="in_app")
    first = house.ask(command, idempotency_key="once")
    again = house.ask(command, idempotency_key="once")
    assert isinstance(first, Written) and isinstance(again, Written)
    assert again.duplicate and again.query.query_id == first.query.query_id
    other = house.ask(command, idempotency_key="once", body_digest="other")
    assert isinstance(other, Problem) and other.code == errors.IDEMPOTENCY_CONFLICT
    # The same key of an order is another key: the engine must never meet one of these.
    assert house.store.query_by_key("alice", "once") is None


def test_a_signed_request_is_good_once(house: House) -> None:
    nonce = NonceUse(key_id="k", nonce="n", expires_at=NOON)
    house.ask(SetNotificationRule(name="app", channel="in_app"), nonce=nonce)
    again = house.ask(DeleteNotificationRule(name="app"), nonce=nonce)
    assert isinstance(again, Problem) and again.code == errors.AUTH_REPLAYED
    assert len(house.desk.rules("alice")) == 1


def test_a_dry_run_changes_nothing(house: House) -> None:
    done = house.ask(SetNotificationRule(name="app", channel="in_app"), dry_run=True)
    assert isinstance(done, Written) and (done.query.result or {})["dry_run"] is True
    assert house.desk.rules("alice") == []


REFUSED = {
    "an address the operator has not allowed": (
        {"channel": "email", "address": "spam@example.com"},
        errors.NOTIFICATION_ADDRESS_REFUSED,
    ),
    "a host the operator has not allowed": (
        {"channel": "webhook", "address": "https://evil.example/"},
        errors.NOTIFICATION_ADDRESS_REFUSED,
    ),
    "a service there is not": (
        {"channel": "service", "address": "pager"},
        errors.NOTIFICATION_ADDRESS_REFUSED,
    ),
    "a zone there is not": (
        {"channel": "in_app", "time_zone": "Europe/Atlantis"},
        errors.REQUEST_FIELD_INVALID,
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_rule_may_not_say(house: House, name: str) -> None:
    given, code = REFUSED[name]
    no = house.ask(SetNotificationRule(name="x", **given))  # type: ignore[arg-type]
    assert isinstance(no, Problem) and no.code == code
    assert DESK not in no.message and house.desk.rules("alice") == []


def test_a_channel_that_is_off_says_which_are_on(house: House) -> None:
    del house.senders[Channel.EMAIL]
    no = house.ask(SetNotificationRule(name="x", channel="email", address=DESK))
    assert isinstance(no, Problem) and no.code == errors.NOTIFICATION_CHANNEL_OFF
    assert no.details["on"] == ["in_app", "webhook", "service"]


def test_anothers_message_does_not_exist(house: House) -> None:
    house.rule("app", "in_app")
    house.happen(halt())
    (mine,) = house.told()
    no = house.ask(AcknowledgeNotification(message_id=mine["message_id"]), "bob")
    assert isinstance(no, Problem) and no.code == errors.NOTIFICATION_NOT_FOUND
    assert house.told()[0]["acknowledged_at"] is None


TESTED = {
    "in_app": ("", "sent", "shown in get_notifications"),
    "email": (DESK, "sent", "taken by 127.0.0.1"),
    "webhook": ("{origin}", "sent", "204 No Content"),
    "service": ("chat", "sent", "taken"),
}


@pytest.mark.parametrize("channel", TESTED)
def test_a_test_message_answers_in_the_channels_own_words(
    house: House, receiver: Receiver, channel: str
) -> None:
    address, state, answer = TESTED[channel]
    given = {"address": address.format(origin=receiver.origin)} if address else {}
    house.rule("mine", channel, **given)
    house.notifier.start()
    try:
        done = house.ask(SendTestNotification(name="mine"))
        assert isinstance(done, Written)
        result = done.query.result or {}
        assert (result["state"], result["answer"]) == (state, answer)
        if channel == "webhook":
            receiver.status = 418
            failed = house.ask(SendTestNotification(name="mine"))
            assert isinstance(failed, Written)
            assert (failed.query.result or {})["answer"] == "127.0.0.1 answered 418 I'm a Teapot"
    finally:
        house.notifier.stop()


def test_test_messages_are_few_and_each_user_has_their_own(house: House) -> None:
    for user in ("alice", "bob"):
        house.rule("app", "in_app", user)
    for _ in range(5):
        house.forward(seconds=10)
        assert isinstance(house.ask(SendTestNotification(name="app"), dry_run=True), Written)
        assert isinstance(house.ask(SendTestNotification(name="app")), Written)
    no = house.ask(SendTestNotification(name="app"))
    assert isinstance(no, Problem) and (no.code, no.details["retry_after_s"]) == (errors.RATE_LIMITED, "20.0")
    assert isinstance(house.ask(SendTestNotification(name="app"), "bob"), Written)
    house.forward(seconds=20)
    assert isinstance(house.ask(SendTestNotification(name="app")), Written)
    assert isinstance(house.ask(SendTestNotification(name="app")), Problem)
    assert len(house.told()) == 6


# --- Webhooks and addresses


NOT_PUBLIC = """
    0.0.0.0 10.0.0.1 10.255.255.255 100.64.0.1 127.0.0.1 127.8.8.8 169.254.169.254 172.16.0.1 172.31.255.255
    192.0.0.1 192.0.2.1 192.168.0.1 198.18.0.1 198.51.100.1 203.0.113.9 224.0.0.1 240.0.0.1 255.255.255.255
    :: ::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 64:ff9b::10.0.0.1 64:ff9b::a9fe:a9fe
    2002:7f00:1:: 2002:a00:1:: 2001:0:4136:e378:8000:63bf:3fff:fdd2 fc00::1 fd00:ec2::254 fe80::1 fe80::1%eth0
    ff02::1 2001:db8::1 100::1 nonsense 0x7f.1 2130706433
""".split()


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_no_webhook_leads_into_a_house(address: str) -> None:
    assert not is_public(address)

    def resolve(*_: Any, **__: Any) -> Sequence[tuple[Any, ...]]:
        return [(socket.AF_INET, 1, 6, "", (address, 443))]

    sender = WebhookSender(["https://hooks.example.com:443"], SECRET, lambda: NOON, resolve=resolve)
    with pytest.raises(Undelivered, match="not a public address"):
        sender.send(message("https://hooks.example.com/"))


@pytest.mark.parametrize(
    "address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "64:ff9b::8.8.8.8"]
)
def test_the_internet_is_public(address: str) -> None:
    assert is_public(address)


def test_one_inner_address_among_many_is_enough_to_refuse() -> None:
    def resolve(*_: Any, **__: Any) -> Sequence[tuple[Any, ...]]:
        return [(2, 1, 6, "", (address, 443)) for address in ("93.184.215.14", "10.0.0.1")]

    sender = WebhookSender(["https://hooks.example.com:443"], SECRET, lambda: NOON, resolve=resolve)
    with pytest.raises(Undelivered, match=r"10\.0\.0\.1"):
        sender.send(message("https://hooks.example.com/"))


BAD_URLS = [
    "http://hooks.example.com/",  # not https
    "https://hooks.example.com:8443/",  # another port
    "https://hooks.example.com.evil.net/",
    "https://evil.net/hooks.example.com",
    "https://hooks.example.com@evil.net/",
    "https://user:pass@hooks.example.com/",
    "https://evil.net#@hooks.example.com/",
    "https://evil.net\\@hooks.example.com/",
    "https://hooks.example.com\\.evil.net/",
    "https://127.0.0.1/",
    "https://[::1]/",
    "https://0x7f000001/",
    "https://2130706433/",
    "https://hooks.example.com:99999/",
    "https:///path",
    "//hooks.example.com/",
    "ftp://hooks.example.com/",
    "file:///etc/passwd",
    "gopher://hooks.example.com/",
    "https://hooks.example.com/a b",
    "https://hooks.example.com/\r\nHost: evil.net",
    "https://hooks.exämple.com/",
    "javascript:alert(1)",
    "",
]


@pytest.mark.parametrize("url", BAD_URLS)
def test_only_urls_of_allowed_hosts_are_taken(url: str) -> None:
    def resolve(*_: Any, **__: Any) -> Sequence[tuple[Any, ...]]:
        raise AssertionError("a refused URL is not even looked up")

    sender = WebhookSender(["https://hooks.example.com:443"], SECRET, lambda: NOON, resolve=resolve)
    assert sender.refusal(url) is not None
    with pytest.raises(Undelivered):
        sender.send(message(url))


@pytest.mark.parametrize("url", ["https://hooks.example.com/oms", "https://HOOKS.example.com:443/a?b=c"])
def test_urls_of_allowed_hosts(url: str) -> None:
    assert WebhookSender(["https://hooks.example.com:443"], SECRET, lambda: NOON).refusal(url) is None


def message(address: str) -> Message:
    return Message(
        message_id="m-1",
        user="alice",
        rule="hook",
        channel=Channel.WEBHOOK,
        address=address,
        severity="info",  # type: ignore[arg-type]
        event="test",
        subject="a test",
        text="text",
        group="g",
        count=1,
        order_id=None,
        query_id=None,
        created_at=NOON,
    )


def test_a_name_is_looked_up_once_and_the_checked_address_is_connected_to(receiver: Receiver) -> None:
    """DNS rebinding: the second answer would lead elsewhere."""
    answers = ["127.0.0.1", "10.0.0.1"]

    def resolve(host: str, port: int, **_: Any) -> Sequence[tuple[Any, ...]]:
        assert host == "127.0.0.2"  # where nobody listens
        return [(socket.AF_INET, 1, 6, "", (answers.pop(0), port))]

    origin = f"http://127.0.0.2:{receiver.port}"
    sender = WebhookSender([origin], SECRET, lambda: NOON, resolve=resolve)
    assert sender.send(message(f"{origin}/x")) == "204 No Content"
    assert answers == ["10.0.0.1"]
    assert receiver.posted[0].headers["host"] == f"127.0.0.2:{receiver.port}"


def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    receiver.status, receiver.location = 307, f"{receiver.origin}/elsewhere"
    sender = WebhookSender([receiver.origin], SECRET, lambda: NOON)
    with pytest.raises(Undelivered, match="307"):
        sender.send(message(f"{receiver.origin}/first"))
    assert [posted.path for posted in receiver.posted] == ["/first"]


def test_https_is_checked_against_the_name(tmp_path: Path) -> None:
    context = tls.self_signed(tmp_path, "127.0.0.1", datetime.now(UTC))
    trusted = ssl.create_default_context(cafile=str(tls.certificate_file(tmp_path)))
    with Receiver(context) as receiver:
        trusting = WebhookSender([receiver.origin], SECRET, lambda: NOON, trusted=trusted)
        assert trusting.send(message(receiver.origin)) == "204 No Content"
        with pytest.raises(Undelivered, match="certificate"):
            WebhookSender([receiver.origin], SECRET, lambda: NOON).send(message(receiver.origin))
        wrong_name = f"https://127.0.0.2:{receiver.port}"
        here = [(socket.AF_INET, 1, 6, "", ("127.0.0.1", receiver.port))]
        misled = WebhookSender(
            [wrong_name], SECRET, lambda: NOON, trusted=trusted, resolve=lambda *_, **__: here
        )
        with pytest.raises(Undelivered, match=r"127\.0\.0\.2"):
            misled.send(message(wrong_name))
        assert len(receiver.posted) == 1


def test_a_service_that_fails_says_so_without_its_password(receiver: Receiver) -> None:
    receiver.status = 500
    sender = ServiceSender({"chat": f"json://user:hidden@127.0.0.1:{receiver.port}/"})
    with pytest.raises(Undelivered) as failed:
        sender.send(replace(message("chat"), channel=Channel.SERVICE))
    assert "500" in str(failed.value) and "hidden" not in str(failed.value)
    assert json.loads(receiver.posted[0].body)["message"] == "text"
