"""An order fills at an exchange, and the news arrives: by mail, webhook, in the app; after a kill too."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from oms_client import OMSClient, signing
from oms_client.errors import OMSError
from simulator.mail import MailSink
from tests.e2e.processes import ROOT, ServerProcess, SimulatorProcess
from tests.receiver import Receiver

SECRET = "a-secret-of-the-house"
DESK = "desk@example.org"
PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def sink():
    with MailSink(user="oms@example.org", password="s3cret") as running:
        yield running


@pytest.fixture(scope="module")
def receiver():
    with Receiver() as running:
        yield running


@pytest.fixture(scope="module")
def house(tmp_path_factory, sink, receiver):
    folder = tmp_path_factory.mktemp("notifications")
    simulators = [SimulatorProcess(name, folder / f"{name}.log").start() for name in ("binance", "kraken")]
    server = ServerProcess(simulators, f"sqlite:///{folder / 'oms.sqlite'}", folder / "server.log")
    others = {"bob": signing.generate_keys(), "adam": server.admin, "phone": signing.generate_keys()}
    server.others = others  # type: ignore[attr-defined]
    bob, adam, phone = (others[name].public for name in ("bob", "adam", "phone"))
    server.environment = {
        "OMS_KEYS": f"alice,{server.keys.public};alice,{phone},read;bob,{bob};adam,{adam},admin",
        "SENDER_EMAIL": "oms@example.org,s3cret",
        "RECEIVE_EMAILS": DESK,
        "SMTP_HOST": sink.host,
        "SMTP_PORT": str(sink.port),
        "SMTP_CA_FILE": sink.ca_file,
        "OMS_START_MAIL": "yes",
        "OMS_WEBHOOK_HOSTS": receiver.origin,
        "OMS_WEBHOOK_KEY": SECRET,
    }
    server.start()
    yield server
    server.stop()
    for simulator in simulators:
        simulator.stop()


def client(house, user="alice"):
    keys = house.keys if user == "alice" else house.others[user]
    return OMSClient(user, house.url, "bot-1", key=keys.private)


def eventually(look):
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.1)
    raise AssertionError("it did not happen in time")


def about(letters, words):
    return [letter for letter in letters if words in letter["Subject"]]


@pytest.mark.parametrize("exchange", ["binance", "kraken"])
def test_a_fill_arrives_everywhere_and_only_at_its_owner(house, sink, receiver, exchange):
    alice = client(house)
    told = {"events": ["order_filled"], "suppress_s": 0, "exchange": exchange}
    alice.set_notification_rule(f"mail {exchange}", "email", address=DESK, **told)
    alice.set_notification_rule(
        f"hook {exchange}", "webhook", address=f"{receiver.origin}/{exchange}", **told
    )
    alice.set_notification_rule(f"app {exchange}", "in_app", **told)
    client(house, "bob").set_notification_rule("mine", "in_app")
    client(house, "adam").set_notification_rule("all", "in_app", everyone=True, events=["order_filled"])
    known = alice.get_notifications(channel="in_app").latest

    order = alice.market_order(exchange, "buy", "ETH/USDT", "0.05")
    (shown,) = alice.get_notifications(channel="in_app", after=known, wait_s=20).notifications
    assert (shown.event, shown.order_id, shown.severity) == ("order_filled", order.order_id, "info")
    subject = f"filled: buy 0.05 ETH/USDT on {exchange}"
    assert shown.subject == subject

    (letter,) = eventually(lambda: about(sink.messages, subject))
    assert letter["To"] == DESK and letter["Subject"] == f"[OMS info] {subject}"
    assert order.order_id in letter.get_content()
    (posted,) = eventually(lambda: [p for p in receiver.posted if p.path == f"/{exchange}"])
    assert posted.signed_with(SECRET) and posted.json["order_id"] == order.order_id
    assert not [one for one in client(house, "bob").get_notifications().notifications if one.order_id]
    assert subject in [one.subject for one in client(house, "adam").get_notifications().notifications]


def test_a_webhook_that_never_answers_holds_up_neither_orders_nor_mail(house, sink, receiver):
    alice = client(house)
    told = {"events": ["order_filled"], "suppress_s": 0}
    alice.set_notification_rule("slow", "webhook", address=f"{receiver.origin}/slow", **told)
    alice.set_notification_rule("quick", "email", address=DESK, **told)
    receiver.answering.clear()
    try:
        alice.market_order("kraken", "sell", "ETH/USDT", "0.02")
        eventually(lambda: [posted for posted in receiver.posted if posted.path == "/slow"])
        order = alice.market_order("binance", "sell", "ETH/USDT", "0.03")
        assert order.status == "filled"
        eventually(lambda: about(sink.messages, "filled: sell 0.03 ETH/USDT on binance"))
        waiting = alice.get_notifications(channel="webhook").notifications
        assert "waiting" in {one.state for one in waiting if one.address.endswith("/slow")}
    finally:
        receiver.answering.set()
        alice.delete_notification_rule("slow")
        alice.delete_notification_rule("quick")


def test_a_killed_server_tells_what_happened_once(house, sink):
    alice = client(house)
    alice.set_notification_rule("mail", "email", address=DESK, events=["query_failed"], suppress_s=0)
    sink.down = True
    with pytest.raises(OMSError):
        alice.market_order("kraken", "buy", "ETH/USDT", "100000")
    (waiting,) = eventually(
        lambda: [one for one in alice.get_notifications().notifications if one.event == "query_failed"]
    )
    eventually(lambda: alice.check_health()["notifications"]["trouble"])
    house.kill()
    sink.down = False
    house.start()
    eventually(lambda: about(sink.messages, "[OMS warning] market_order"))
    (sent,) = (one for one in alice.get_notifications().notifications if one.message_id == waiting.message_id)
    assert eventually(lambda: sent.state == "sent" or not time.sleep(1)) and sent.attempts >= 1
    assert len(about(sink.messages, "[OMS warning] market_order")) == 1
    operators = eventually(lambda: about(sink.messages, "[OMS] market_order on kraken failed"))
    assert len(operators) == 1  # the letter to RECEIVE_EMAILS is as it ever was


@pytest.mark.parametrize("exchange", ["binance", "kraken"])
def test_a_halt_is_told_to_everybody_who_asked(house, sink, exchange):
    adam, bob = client(house, "adam"), client(house, "bob")
    bob.set_notification_rule(
        f"halt {exchange}", "email", address=DESK, events=["halt"], severity="critical", suppress_s=0
    )
    report = client(house).halt(exchange=exchange, reason="a drill")
    adam.resume(report.halt_id)
    subjects = [f"[OMS critical] trading is {word}: exchange {exchange}" for word in ("halted", "resumed")]
    letters = [eventually(lambda words=words: about(sink.messages, words))[0] for words in subjects]
    assert "Why:           Set by alice: a drill." in letters[0].get_content()
    for one in bob.get_notifications(channel="email").notifications:
        bob.acknowledge_notification(one.message_id)
    assert bob.get_notifications(channel="email", unacknowledged=True).notifications == []
    bob.delete_notification_rule(f"halt {exchange}")


@pytest.mark.parametrize("exchange", ["binance", "kraken"])
def test_a_canceled_order_and_a_done_query_are_told(house, exchange):
    alice = client(house)
    events = ["order_canceled", "query_done"]
    alice.set_notification_rule("ends", "in_app", events=events, exchange=exchange, suppress_s=0)
    order = alice.limit_order(exchange, "buy", "ETH/USDT", "0.02", "1000")
    alice.cancel_order(order.order_id)

    def told():
        rows = [one for one in alice.get_notifications().notifications if one.rule == "ends"]
        return {(one.event, one.order_id) for one in rows} >= {
            ("order_canceled", order.order_id),
            ("query_done", None),
        }

    assert eventually(told)


def test_every_start_is_told_by_letter_and_to_who_asked(house, sink):
    first = eventually(lambda: about(sink.messages, "[OMS] the server started"))
    assert "What was done: Every account is being reconciled" in first[0].get_content()
    bob = client(house, "bob")
    bob.set_notification_rule("starts", "in_app", events=["server_started", "halt"], suppress_s=0)
    house.stop()
    house.start()
    eventually(lambda: [one for one in bob.get_notifications().notifications if one.rule == "starts"])


def test_what_a_key_may_not_arrange(house):
    bob = client(house, "bob")
    for refused in (
        lambda: bob.set_notification_rule("x", "in_app", everyone=True),
        lambda: bob.set_notification_rule("x", "in_app", user="alice"),
        lambda: bob.get_notification_rules(everyone=True),
        lambda: bob.delete_notification_rule("mail", user="alice"),
    ):
        with pytest.raises(OMSError) as no:
            refused()
        assert no.value.code == "AUTH_FORBIDDEN"
    with pytest.raises(OMSError) as no:
        bob.set_notification_rule("x", "webhook", address="https://169.254.169.254/latest/meta-data")
    assert no.value.code == "NOTIFICATION_ADDRESS_REFUSED"
    assert "x" not in [rule.name for rule in bob.get_notification_rules().rules]
    seen = client(house, "adam").get_notification_rules(everyone=True).rules
    assert {"alice", "bob", "adam"} <= {rule.user for rule in seen}


def test_whoever_was_told_acknowledges_it_also_with_a_key_that_may_only_read(house):
    phone = OMSClient("alice", house.url, "phone", key=house.others["phone"].private)
    client(house).set_notification_rule("calls", "in_app", events=["order_filled"], suppress_s=0)
    client(house).market_order("kraken", "buy", "ETH/USDT", "0.05")
    told = eventually(lambda: [m for m in phone.get_notifications().notifications if m.rule == "calls"])[0]
    with pytest.raises(OMSError) as no:
        client(house, "bob").acknowledge_notification(told.message_id)
    assert no.value.code == "NOTIFICATION_NOT_FOUND"
    assert told.message_id not in [
        m.message_id for m in client(house, "bob").get_notifications().notifications
    ]
    phone.acknowledge_notification(told.message_id)
    waiting = phone.get_notifications(unacknowledged=True).notifications
    assert told.message_id not in [message.message_id for message in waiting]
    with pytest.raises(OMSError) as no:
        phone.delete_notification_rule("calls")
    assert no.value.code == "AUTH_FORBIDDEN"
    client(house).delete_notification_rule("calls")


def test_the_command_line_arranges_tests_and_acknowledges(house):
    def oms(*words):
        environment = {
            "OMS_URL": house.url,
            "OMS_KEY": house.keys.private,
            "PYTHONPATH": str(ROOT / "client"),
        }
        command = [sys.executable, "-m", "oms_client", *words]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=60, check=True
        )

    oms(
        "set-notification-rule", "cli", "email", "--address", DESK, "--events", "halt", "--digest-at", "08:00"
    )
    assert "at 08:00 UTC" in oms("notification-rules").stdout
    assert "taken by 127.0.0.1" in oms("test-notification", "cli").stdout
    shown = oms("notifications", "--channel", "email").stdout
    assert "a test message" in shown
    message_id = shown.split("\n")[1].split()[0]
    assert message_id in oms("acknowledge", message_id).stdout
    assert message_id not in oms("notifications", "--unacknowledged").stdout
    assert "cli" in oms("delete-notification-rule", "cli").stdout
