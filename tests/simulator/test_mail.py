"""The mail sink, spoken to with the standard library's own SMTP client."""

import smtplib
import ssl
from email.message import EmailMessage

import pytest

from simulator.mail import MailSink

USER, PASSWORD = "oms@example.org", "s3cret, with a comma"


def letter(
    subject: str = "Query failed", body: str = "Grüße, 1000 USDT were not converted.\n"
) -> EmailMessage:
    message = EmailMessage()
    message["From"] = USER
    message["To"] = "desk@example.org, risk@example.org"
    message["Subject"] = subject
    message.set_content(body)
    return message


def client(sink: MailSink, *, trust: bool = True) -> smtplib.SMTP:
    context = ssl.create_default_context(cafile=sink.ca_file if trust and sink.tls else None)
    if sink.tls == "implicit":
        return smtplib.SMTP_SSL(sink.host, sink.port, context=context, timeout=5)
    connection = smtplib.SMTP(sink.host, sink.port, timeout=5)
    if sink.tls == "starttls":
        connection.starttls(context=context)
    return connection


@pytest.mark.parametrize("tls", ["starttls", "implicit", None])
@pytest.mark.parametrize("credentials", [(USER, PASSWORD), None])
def test_a_letter_arrives_whole(tls, credentials):
    user, password = credentials or (None, None)
    with MailSink(tls=tls, user=user, password=password) as sink:
        assert sink.port > 0
        with client(sink) as connection:
            if credentials:
                connection.login(USER, PASSWORD)
            connection.send_message(letter())
        [message] = sink.wait_for(1)
    assert message["Subject"] == "Query failed"
    assert message.get_content() == "Grüße, 1000 USDT were not converted.\n"
    [received] = sink.received
    assert received.sender == USER
    assert received.recipients == ("desk@example.org", "risk@example.org")
    assert received.encrypted is (tls is not None)
    assert received.user == (USER if credentials else None)


@pytest.mark.parametrize("user, password", [(USER, "wrong"), ("somebody@example.org", PASSWORD)])
def test_a_wrong_login_is_refused_and_nothing_is_kept(user, password):
    with MailSink(user=USER, password=PASSWORD) as sink, client(sink) as connection:
        with pytest.raises(smtplib.SMTPAuthenticationError) as refusal:
            connection.login(user, password)
        assert refusal.value.smtp_code == 535
        with pytest.raises(smtplib.SMTPException):
            connection.send_message(letter())
        assert sink.messages == []


def test_without_a_login_nothing_is_taken():
    with MailSink(user=USER, password=PASSWORD) as sink, client(sink) as connection:
        with pytest.raises(smtplib.SMTPSenderRefused) as refusal:
            connection.send_message(letter())
        assert refusal.value.smtp_code == 530
        assert sink.messages == []


def test_without_starttls_nothing_is_taken():
    with MailSink(tls="starttls") as sink, smtplib.SMTP(sink.host, sink.port, timeout=5) as connection:
        with pytest.raises(smtplib.SMTPException):
            connection.send_message(letter())
        assert sink.messages == []


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
def test_a_client_that_does_not_trust_the_certificate_turns_away(tls):
    with MailSink(tls=tls) as sink:
        with pytest.raises(ssl.SSLCertVerificationError):
            client(sink, trust=False)
        assert sink.messages == []


def test_a_server_that_is_down_comes_back_on_the_same_port():
    with MailSink(tls=None) as sink:
        port = sink.port
        connected = client(sink)
        sink.down = True
        with pytest.raises(OSError):
            client(sink)
        with pytest.raises((smtplib.SMTPServerDisconnected, OSError)):
            connected.send_message(letter())
        sink.down = False
        assert sink.port == port
        with client(sink) as connection:
            connection.send_message(letter("Back again"))
        assert [message["Subject"] for message in sink.wait_for(1)] == ["Back again"]


def test_a_refusing_server_says_so_until_it_relents():
    with MailSink(tls=None) as sink:
        sink.refuse = "451 4.3.0 Try again later"
        with client(sink) as connection:
            with pytest.raises(smtplib.SMTPSenderRefused) as refusal:
                connection.send_message(letter())
            assert refusal.value.smtp_code == 451
        assert sink.messages == []
        sink.refuse = None
        with client(sink) as connection:
            connection.send_message(letter())
        assert len(sink.wait_for(1)) == 1


def test_waiting_for_a_letter_that_never_comes_ends():
    with MailSink(tls=None) as sink, pytest.raises(TimeoutError, match="0 of 1"):
        sink.wait_for(1, timeout_s=0.05)


@pytest.mark.parametrize(
    "wrong, says",
    [({"tls": "ssl"}, "tls"), ({"user": "a"}, "give both"), ({"password": "a"}, "give both")],
)
def test_settings_that_make_no_sense_are_refused(wrong, says):
    with pytest.raises(ValueError, match=says):
        MailSink(**wrong)
