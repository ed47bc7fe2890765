"""Hand letters to a mail server: real SMTP, always encrypted, certificate checked.

Port 465 is TLS from the first byte, every other port STARTTLS (RFC 8314 3.3); a server that offers neither
gets nothing, the password least of all.
"""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from email.message import EmailMessage
from pathlib import Path
from typing import Protocol

IMPLICIT_TLS_PORT = 465
TIMEOUT_S = 15.0


class Mailbox(Protocol):
    """Where letters are sent from, and to whom."""

    @property
    def sender(self) -> str: ...  # an address, also the name to log in with
    @property
    def password(self) -> str: ...
    @property
    def receivers(self) -> tuple[str, ...]: ...
    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def ca_file(self) -> Path | None: ...  # whom to trust instead of the system's authorities


class MailServerTrouble(Exception):
    """The server is away, not to be trusted, or takes nothing from us: every letter has to wait."""


class LetterRefused(Exception):
    """The server does not take this letter; others may fare better."""


class Post:
    """An open connection to the mail server."""

    def __init__(self, connection: smtplib.SMTP, mailbox: Mailbox) -> None:
        self._connection = connection
        self._mailbox = mailbox

    def send(self, letter: EmailMessage, receivers: Sequence[str] | None = None) -> str | None:
        """Send a letter, to those of the mailbox unless others are named.

        Returns which receivers were refused while others were not. Raises as above.
        """
        try:
            refused = self._connection.send_message(
                letter, from_addr=self._mailbox.sender, to_addrs=list(receivers or self._mailbox.receivers)
            )
        except smtplib.SMTPDataError as error:
            raise LetterRefused(_words(error)) from error
        except (smtplib.SMTPException, OSError) as error:
            # Sender and receivers are the same for every letter, so their refusal concerns them all.
            raise MailServerTrouble(_words(error)) from error
        if not refused:
            return None
        return "not taken for " + ", ".join(f"{who} ({code})" for who, (code, _) in sorted(refused.items()))


@contextmanager
def opened(mailbox: Mailbox, *, implicit_tls: bool | None = None) -> Iterator[Post]:
    """Connect, encrypt and log in; raise MailServerTrouble. `implicit_tls` None: as the port says."""
    if implicit_tls is None:
        implicit_tls = mailbox.port == IMPLICIT_TLS_PORT
    try:
        connection = _connect(mailbox, implicit_tls)
    except (smtplib.SMTPException, OSError, UnicodeError) as error:  # smtplib logs in with ASCII only
        raise MailServerTrouble(_words(error)) from error
    try:
        yield Post(connection, mailbox)
    finally:
        try:
            connection.quit()
        except (smtplib.SMTPException, OSError):
            connection.close()  # what was sent was answered already


def _connect(mailbox: Mailbox, implicit_tls: bool) -> smtplib.SMTP:
    trusted = ssl.create_default_context(cafile=mailbox.ca_file and str(mailbox.ca_file))
    # Named by address: looking our own host name up can take seconds and tells the server our network.
    name = "[127.0.0.1]"
    connection: smtplib.SMTP
    if implicit_tls:
        connection = smtplib.SMTP_SSL(
            mailbox.host, mailbox.port, local_hostname=name, timeout=TIMEOUT_S, context=trusted
        )
    else:
        connection = smtplib.SMTP(mailbox.host, mailbox.port, local_hostname=name, timeout=TIMEOUT_S)
    try:
        if not implicit_tls:
            connection.starttls(context=trusted)
        connection.login(mailbox.sender, mailbox.password)
    except BaseException:
        connection.close()
        raise
    return connection


def _words(error: Exception) -> str:
    """Say what the server said, on one line; never what we said to it."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        reasons = (f"{who}: {code} {_text(said)}" for who, (code, said) in sorted(error.recipients.items()))
        return "every receiver was refused: " + "; ".join(reasons)
    if isinstance(error, smtplib.SMTPResponseException):
        kind = "the login was refused: " if isinstance(error, smtplib.SMTPAuthenticationError) else ""
        return f"{kind}{error.smtp_code} {_text(error.smtp_error)}"
    return " ".join(f"{type(error).__name__}: {error}".split())


def _text(said: bytes | str) -> str:
    return " ".join((said.decode(errors="replace") if isinstance(said, bytes) else said).split())
