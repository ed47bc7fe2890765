"""The mail outbox against a real SMTP server with TLS: what leaves, what waits, what is never said."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session

from ems.core.messages import Problem
from ems.core.records import Notice, Query, QueryStatus
from ems.store import StoreUnavailable
from server.notify.letter import body, letter, subject
from server.notify.mailer import DELAY_MAX_S, NO_MAILBOX, Mailer
from server.notify.post import MailServerTrouble, opened
from server.store.migrate import upgrade
from server.store.sql import SqlStore
from simulator import mail
from simulator.mail import MailSink

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SENDER, PASSWORD = "oms@example.org", "s3cret, with a comma"
RECEIVERS = ("desk@example.org", "risk@example.org")


@dataclass(frozen=True)
class Box:
    """What the settings give."""

    host: str
    port: int
    ca_file: Path | None
    sender: str = SENDER
    password: str = PASSWORD
    receivers: tuple[str, ...] = RECEIVERS


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    url = f"sqlite:///{tmp_path / 'oms.sqlite'}"
    upgrade(url)
    opened_store = SqlStore(url)
    yield opened_store
    opened_store.close()


@pytest.fixture
def sink() -> Iterator[MailSink]:
    with MailSink(user=SENDER, password=PASSWORD) as running:
        yield running


def box(sink: MailSink) -> Box:
    return Box(host=sink.host, port=sink.port, ca_file=Path(sink.ca_file))


def notice(notice_id: str = "q1-failed", **changes: object) -> Notice:
    made = Notice(
        notice_id=notice_id,
        query_id="q1",
        severity="error",
        subject="smart_order on kraken failed: FUNDS_INSUFFICIENT",
        failed="smart_order on kraken of bot bot-1 (user ann)",
        why="only 3 USDT are free, 1000 were asked",
        done="No order was sent.",
        todo="Deposit USDT, or ask for less.",
        created_at=NOON,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def query(query_id: str = "q1", **changes: object) -> Query:
    made = Query(
        query_id=query_id,
        user="ann",
        bot="bot-1",
        verb="smart_order",
        exchange="kraken",
        parameters={"start_currency": "USDT", "start_amount": "1000", "path": ["USDT", "ZEN"]},
        idempotency_key=f"key of {query_id}",
        body_digest="",
        record_in_db=True,
        send_fail_email=True,
        mode="paper",
        status=QueryStatus.FAILED,
        accepted_at=NOON,
        finished_at=NOON + timedelta(seconds=1),
        error=Problem(code="FUNDS_INSUFFICIENT", message="only 3 USDT are free", venue_code="EOrder:Funds"),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def waiting(store: SqlStore) -> list[tuple[str, int]]:
    """Return (notice, failed attempts) of everything that has not left, due or not."""
    found = store.unsent_notices(NOON + timedelta(days=365))
    return [(each.notice_id, attempts) for each, attempts in found]


def rows(store: SqlStore) -> dict[str, tuple[object, object]]:
    """Return what the table says: notice -> (sent_at, last_error)."""
    with store._reading() as connection:
        found = connection.exec_driver_sql("SELECT notice_id, sent_at, last_error FROM notices")
        return {row[0]: (row[1], row[2]) for row in found}


# --- Letters leave -------------------------------------------------------------------------------


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
def test_a_failed_query_is_told_to_everybody_with_all_that_is_needed(
    store: SqlStore, clock: Clock, tls: str
) -> None:
    store.commit([query(), notice()])
    with MailSink(tls=tls, user=SENDER, password=PASSWORD) as sink:  # type: ignore[arg-type]
        mailer = Mailer(store, box(sink), clock, implicit_tls=tls == "implicit")
        assert mailer.deliver() == 1
        assert mailer.deliver() == 0
        [received] = sink.received
    assert received.encrypted and received.user == SENDER
    assert (received.sender, received.recipients) == (SENDER, RECEIVERS)
    message = received.message
    assert message["From"] == SENDER
    assert message["To"] == ", ".join(RECEIVERS)
    assert message["Subject"] == "[OMS] smart_order on kraken failed: FUNDS_INSUFFICIENT"
    assert message["Date"] == "Sun, 01 Mar 2026 12:00:00 +0000"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Message-ID"].endswith("@example.org>")
    assert message.get_content_type() == "text/plain"
    assert message.get_content().replace("\r\n", "\n") == (
        "What failed:   smart_order on kraken of bot bot-1 (user ann)\n"
        "Why:           only 3 USDT are free, 1000 were asked\n"
        "What was done: No order was sent.\n"
        "What to do:    Deposit USDT, or ask for less.\n"
        "\n"
        "Severity:      error\n"
        "Noticed:       2026-03-01 12:00:00 UTC\n"
        "Query:         q1\n"
        "User and bot:  ann, bot-1\n"
        "Asked:         smart_order on kraken, mode paper\n"
        "Asked at:      2026-03-01 12:00:00 UTC\n"
        "Ended at:      2026-03-01 12:00:01 UTC\n"
        "Parameters:    start_currency = USDT\n"
        "               start_amount = 1000\n"
        '               path = ["USDT", "ZEN"]\n'
        "Error:         FUNDS_INSUFFICIENT: only 3 USDT are free\n"
        "Exchange said: EOrder:Funds\n"
        "\n"
        "-- \n"
        "Sent by your order management system. Answers to this letter are not read.\n"
    )
    assert waiting(store) == []
    assert rows(store) == {"q1-failed": ("2026-03-01T12:00:00.000000+00:00", None)}


def test_a_query_that_is_not_archived_is_told_all_the_same(
    store: SqlStore, clock: Clock, sink: MailSink
) -> None:
    store.commit([notice("n1", query_id=None), notice("n2", query_id="purged", subject="another")])
    assert Mailer(store, box(sink), clock).deliver() == 2
    first, second = sink.messages
    assert (
        "Why:           only 3 USDT are free" in first.get_content() and "Query:" not in first.get_content()
    )
    assert "Query:         purged" in second.get_content()


def test_the_thread_sends_when_it_is_poked_and_ends_when_it_is_told(store: SqlStore, sink: MailSink) -> None:
    mailer = Mailer(store, box(sink), lambda: datetime.now(UTC), poll_s=600)
    mailer.start()
    store.commit([notice(created_at=datetime.now(UTC))])
    mailer.poke()
    assert len(sink.wait_for(1)) == 1
    mailer.stop()
    assert waiting(store) == []


# --- Groups --------------------------------------------------------------------------------------


def test_notices_of_one_group_that_wait_together_are_one_letter(
    store: SqlStore, clock: Clock, sink: MailSink
) -> None:
    alike = [
        notice(f"n{i}", group="ann/bot-1", query_id=f"q{i}", created_at=NOON + timedelta(seconds=i))
        for i in range(3)
    ]
    store.commit([*alike, notice("n8", group="bob/bot-9"), notice("n9"), query("q2", bot="the newest")])
    clock.forward(2)
    assert Mailer(store, box(sink), clock).deliver() == 3
    together, other, alone = sink.messages
    assert together["Subject"] == "[OMS] smart_order on kraken failed: FUNDS_INSUFFICIENT (3 times)"
    text = together.get_content()
    assert "This happened 3 times, from 2026-03-01 12:00:00 UTC to 2026-03-01 12:00:02 UTC." in text
    assert "User and bot:  ann, the newest" in text
    assert "  2026-03-01 12:00:01 UTC  q1  only 3 USDT" in text
    assert "  2026-03-01 12:00:00 UTC  q0  only 3 USDT" in text
    for single in (other, alone):
        assert single["Subject"] == "[OMS] smart_order on kraken failed: FUNDS_INSUFFICIENT"
        assert "times" not in single.get_content()
    assert waiting(store) == []


def test_a_bot_that_fails_every_second_costs_one_letter_a_minute(
    store: SqlStore, clock: Clock, sink: MailSink
) -> None:
    mailer = Mailer(store, box(sink), clock)
    sent = 0
    for i in range(120):
        store.commit([notice(f"n{i}", group="ann/bot-1", created_at=clock.now)])
        sent += mailer.deliver()
        clock.forward(1)
    store.commit([notice("other", created_at=clock.now)])  # others do not wait for it
    assert mailer.deliver() == 2
    assert sent == 2
    counts = [message["Subject"].rpartition("FUNDS_INSUFFICIENT")[2] for message in sink.messages]
    assert counts == ["", " (60 times)", " (59 times)", ""]
    assert waiting(store) == []


# --- Letters wait --------------------------------------------------------------------------------


def test_a_digest_is_one_letter_at_the_full_span_and_what_is_critical_waits_for_none(
    store: SqlStore, clock: Clock, sink: MailSink
) -> None:
    mailer = Mailer(store, box(sink), clock, digest_minutes=15)
    clock.forward(60)
    store.commit(
        [
            notice("n1", query_id=None, group="a", created_at=clock.now),
            notice("n2", query_id=None, group="b", created_at=clock.now, subject="a stream is gone"),
            notice(
                "n3", query_id=None, group="c", created_at=clock.now, severity="critical", subject="halted"
            ),
        ]
    )
    assert mailer.deliver() == 1 and sink.messages[-1]["Subject"] == "[OMS] halted"
    clock.forward(13 * 60)
    store.commit([notice("n4", query_id=None, group="a", created_at=clock.now)])
    assert mailer.deliver() == 0
    clock.forward(59)
    assert Mailer(store, box(sink), clock, digest_minutes=15).deliver() == 0  # nor after a restart
    clock.forward(1)
    assert mailer.deliver() == 1 and mailer.deliver() == 0
    told = sink.messages[-1]
    assert told["Subject"] == "[OMS] digest of 3 letters" and "a stream is gone" in told.get_content()
    assert told.get_content().count("Deposit USDT, or ask for less.") == 3
    clock.forward(60)
    store.commit([notice(f"m{n}", query_id=None, group="a", created_at=clock.now) for n in range(2)])
    clock.forward(14 * 60)
    assert mailer.deliver() == 1
    assert sink.messages[-1]["Subject"].endswith("FUNDS_INSUFFICIENT (2 times)")


def test_a_server_that_is_down_delays_and_loses_nothing(
    store: SqlStore, clock: Clock, sink: MailSink, caplog: pytest.LogCaptureFixture
) -> None:
    mailer = Mailer(store, box(sink), clock)
    sink.down = True
    store.commit([notice("n1"), notice("n2", subject="two")])
    assert mailer.deliver() == 0
    assert "ConnectionRefusedError" in mailer.trouble
    assert waiting(store) == [("n1", 1), ("n2", 1)]
    store.commit([notice("n3", subject="three")])
    clock.forward(1)
    mailer.poke()
    assert mailer.deliver() == 0
    assert waiting(store) == [("n1", 1), ("n2", 1), ("n3", 0)]  # left alone until its time has come
    clock.forward(1.1)
    assert mailer.deliver() == 0
    assert waiting(store) == [("n1", 2), ("n2", 2), ("n3", 1)]
    sink.down = False
    clock.forward(4.1)
    assert mailer.deliver() == 3
    assert sorted(str(message["Subject"]) for message in sink.messages) == [
        "[OMS] smart_order on kraken failed: FUNDS_INSUFFICIENT",
        "[OMS] three",
        "[OMS] two",
    ]
    assert mailer.trouble == "" and waiting(store) == []
    clock.forward(1000)
    assert mailer.deliver() == 0 and len(sink.messages) == 3  # exactly one each
    assert len([r for r in caplog.records if r.levelno >= logging.ERROR]) == 1  # said once, not every time


def test_the_waiting_grows_up_to_five_minutes_and_no_further(
    store: SqlStore, clock: Clock, sink: MailSink
) -> None:
    mailer = Mailer(store, box(sink), clock)
    sink.refuse = "451 4.3.0 try again later"
    store.commit([notice()])
    waits = []
    for attempt in range(1, 13):
        start = clock.now
        while waiting(store)[0][1] < attempt:
            mailer.deliver()
            clock.forward(1)
        waits.append((clock.now - start).total_seconds())
    assert waits[1:] == [2, 4, 8, 16, 32, 64, 128, 256, DELAY_MAX_S, DELAY_MAX_S, DELAY_MAX_S]
    sink.refuse = None
    clock.forward(DELAY_MAX_S)
    assert mailer.deliver() == 1


def test_a_new_start_tries_at_once_what_may_have_been_put_right(
    store: SqlStore, clock: Clock, sink: MailSink
) -> None:
    sink.down = True
    store.commit([notice()])
    Mailer(store, box(sink), clock).deliver()
    store.notices_failed(["q1-failed"], "down", NOON + timedelta(minutes=4))
    sink.down = False
    assert Mailer(store, box(sink), clock).deliver() == 1


def test_a_crash_before_the_note_sends_the_same_letter_again(
    store: SqlStore, clock: Clock, sink: MailSink
) -> None:
    class Crashing:
        """The process ends between the server's yes and our note of it."""

        def __getattr__(self, name: str) -> object:
            if name == "notices_sent":
                raise StoreUnavailable("the power went")
            return getattr(store, name)

    store.commit([query(), notice("n1", group="g"), notice("n2", group="g")])
    with pytest.raises(StoreUnavailable):
        Mailer(Crashing(), box(sink), clock).deliver()  # type: ignore[arg-type]
    clock.forward(5)
    assert Mailer(store, box(sink), clock).deliver() == 1
    first, again = sink.messages
    assert first["Message-ID"] == again["Message-ID"]
    assert first.get_content() == again.get_content()
    store.commit([notice("n3", group="h")])
    Mailer(store, box(sink), clock).deliver()
    assert sink.messages[2]["Message-ID"] != first["Message-ID"]


def test_one_letter_that_is_refused_does_not_hold_up_the_others(
    store: SqlStore, clock: Clock, sink: MailSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Narrow(mail._Handler):
        async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
            if narrow and "Subject: [OMS] long" in str(envelope.content):
                return "552 5.3.4 too long for us"
            return await super().handle_DATA(server, session, envelope)

    narrow = True
    monkeypatch.setattr(mail, "_Handler", Narrow)
    store.commit([notice("long", subject="long", created_at=NOON - timedelta(seconds=1))])
    store.commit([notice("n2", subject="two")])
    mailer = Mailer(store, box(sink), clock)
    assert mailer.deliver() == 1
    assert [message["Subject"] for message in sink.messages] == ["[OMS] two"]
    assert waiting(store) == [("long", 1)]
    assert rows(store)["long"] == (None, "552 5.3.4 too long for us")
    assert mailer.deliver() == 0  # not due yet
    assert waiting(store) == [("long", 1)]
    narrow = False
    clock.forward(2.1)
    assert mailer.deliver() == 1
    assert waiting(store) == []


def test_a_receiver_that_is_refused_does_not_cost_the_others_their_letter(
    store: SqlStore, clock: Clock, sink: MailSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Choosy(mail._Handler):
        async def handle_RCPT(
            self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
        ) -> str:
            if address.startswith("risk@"):
                return "550 5.1.1 no such person"
            envelope.rcpt_tos.append(address)
            return "250 OK"

    monkeypatch.setattr(mail, "_Handler", Choosy)
    store.commit([notice()])
    assert Mailer(store, box(sink), clock).deliver() == 1
    assert [received.recipients for received in sink.received] == [("desk@example.org",)]
    assert rows(store)["q1-failed"][1] == "not taken for risk@example.org (550)"


def test_the_outbox_out_of_reach_is_survived_by_the_thread(
    store: SqlStore, sink: MailSink, caplog: pytest.LogCaptureFixture
) -> None:
    class Away:
        calls = 0

        def __getattr__(self, name: str) -> object:
            self.calls += 1
            if self.calls < 3:
                raise StoreUnavailable("locked")
            if self.calls < 4:
                raise RuntimeError("a mistake of ours")
            return getattr(store, name)

    store.commit([notice(created_at=NOON)])
    mailer = Mailer(Away(), box(sink), lambda: datetime.now(UTC), poll_s=0.01)  # type: ignore[arg-type]
    mailer.start()
    assert len(sink.wait_for(1)) == 1
    mailer.stop()


# --- Nothing leaves ------------------------------------------------------------------------------


def test_without_a_mailbox_notices_stay_in_their_table_marked_once(
    store: SqlStore, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    mailer = Mailer(store, None, clock)
    store.commit([notice("n1"), notice("n2")])
    for _ in range(3):
        assert mailer.deliver() == 0
        clock.forward(10)
    assert rows(store) == {"n1": (None, NO_MAILBOX), "n2": (None, NO_MAILBOX)}
    assert len(caplog.records) == 1
    assert waiting(store) == []


BAD_SERVERS = {
    "a wrong password": ({"password": "guess"}, "the login was refused: 535"),
    "a certificate of somebody else": ({"ca_file": None}, "CERTIFICATE_VERIFY_FAILED"),
}


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
@pytest.mark.parametrize(("change", "says"), BAD_SERVERS.values(), ids=BAD_SERVERS)
def test_a_server_that_is_not_ours_gets_no_letter_and_no_password(
    store: SqlStore, clock: Clock, tls: str, change: dict[str, object], says: str
) -> None:
    store.commit([notice()])
    with MailSink(tls=tls, user=SENDER, password=PASSWORD) as sink:  # type: ignore[arg-type]
        theirs = replace(box(sink), **change)  # type: ignore[arg-type]
        mailer = Mailer(store, theirs, clock, implicit_tls=tls == "implicit")
        assert mailer.deliver() == 0
        assert sink.received == []
    assert says in mailer.trouble
    assert waiting(store) == [("q1-failed", 1)]
    kept = str(rows(store)["q1-failed"][1])
    assert says in kept and PASSWORD not in kept and "guess" not in kept and "\n" not in kept


def test_a_certificate_for_another_name_is_refused(store: SqlStore, clock: Clock) -> None:
    store.commit([notice()])
    with MailSink(host="127.0.0.2", user=SENDER, password=PASSWORD) as sink:
        # The certificate names 127.0.0.2 and localhost; the settings say another name of the same machine.
        mailer = Mailer(store, replace(box(sink), host="127.2"), clock)
        assert mailer.deliver() == 0
        assert sink.received == []
    assert "CERTIFICATE_VERIFY_FAILED" in mailer.trouble


def test_a_server_without_encryption_gets_neither_password_nor_letter(store: SqlStore, clock: Clock) -> None:
    store.commit([notice()])
    with MailSink(tls=None) as sink:
        mailer = Mailer(store, Box(host=sink.host, port=sink.port, ca_file=None), clock)
        assert mailer.deliver() == 0
        assert sink.received == []
    assert "STARTTLS" in mailer.trouble


def test_port_465_is_tls_from_the_first_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[str, int]] = []

    def refuse(context: ssl.SSLContext, *_: object, **__: object) -> None:
        made.append(("TLS", 465))
        raise ConnectionError("far enough")

    monkeypatch.setattr("smtplib.socket.create_connection", lambda *_, **__: object())
    monkeypatch.setattr(ssl.SSLContext, "wrap_socket", refuse)
    with pytest.raises(MailServerTrouble, match="far enough"), opened(Box("mail.example.org", 465, None)):
        pass
    assert made == [("TLS", 465)]


# --- What a letter may carry ---------------------------------------------------------------------

ODD = "a\r\nBcc: eve@example.org\x1b[31m\u202e\u2028\x00\ud800b"


def test_no_word_of_a_bot_or_exchange_can_add_a_header(store: SqlStore, clock: Clock, sink: MailSink) -> None:
    store.commit(
        [
            query(bot=ODD, verb=ODD, parameters={ODD: ODD}, error=Problem(code="X", message=ODD)),
            notice(subject=ODD, failed=ODD, why="line one\nWhat to do:    send eve your coins", todo=ODD),
        ]
    )
    assert Mailer(store, box(sink), clock).deliver() == 1
    [received] = sink.received
    message = received.message
    assert received.recipients == RECEIVERS
    assert set(message.keys()) == {
        "From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted",
        "Content-Type", "Content-Transfer-Encoding", "MIME-Version",
    }  # fmt: skip
    assert message["Subject"].startswith("[OMS] a Bcc: eve@example.org [31m")
    assert not set(str(message["Subject"])) & set("\r\n\x00\x1b\u202e\u2028")
    text = message.get_content().replace("\r\n", "\n")
    assert not set(text) & set("\r\x00\x1b\u202e\u2028")
    # A second line of a foreign text stands indented: it is no section of ours.
    assert "\n               What to do:    send eve your coins\n" in text
    assert sum(line.startswith("What to do:") for line in text.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "count", "expected"),
    [
        ("x" * 400, 1, "[OMS] " + "x" * 150 + "..."),
        ("two\nlines", 7, "[OMS] two lines (7 times)"),
        ("\x00", 1, "[OMS] something went wrong"),
        ("Grüße 🤖", 1, "[OMS] Grüße 🤖"),
    ],
)
def test_a_subject_is_one_short_line(words: str, count: int, expected: str) -> None:
    assert subject(notice(subject=words), count) == expected


def test_long_and_many_words_are_cut() -> None:
    others = [notice(f"n{i}", query_id=f"q{i}") for i in range(80)]
    text = body(notice(why="y" * 10_000), others, {})
    assert "y" * 4000 + "..." in text and "y" * 4001 not in text
    assert "and 30 more; the table notices has them all" in text
    assert len(text.splitlines()) < 80


def test_a_letter_with_empty_words_still_says_something() -> None:
    written = letter(
        [notice(done="", todo="", query_id=None)], {}, sender=SENDER, receivers=RECEIVERS, now=NOON
    )
    text = written.get_content()
    assert "What was done: Nothing." in text
    assert "What to do:    Nothing is needed of you." in text
