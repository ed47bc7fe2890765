"""What every channel is: it takes a message to its address, or says in its own words why it could not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Protocol

from ems.core.notifications import Message
from server.notify.letter import SUBJECT_MAX, one_line, printable_lines
from server.notify.post import LetterRefused, Mailbox, MailServerTrouble, opened


class Undelivered(Exception):
    """The channel did not take the message; another attempt may fare better."""


class Sender(Protocol):
    """One channel to the outside. Only the notifier's threads send."""

    def refusal(self, address: str) -> str | None:
        """Say why this address cannot be written to, and what could; None when it can. Asks nobody."""

    def send(self, message: Message) -> str:
        """Send, and return the channel's answer. Raises Undelivered."""


def delivery_id(message: Message) -> str:
    """Name one sending of a message: the same after a crash, another one for every reminder."""
    return f"{message.message_id}.{message.repeats}"


class EmailSender:
    """Mail, from the mailbox that the operators' letters come from."""

    def __init__(
        self,
        mailbox: Mailbox,
        allowed: Sequence[str],
        clock: Callable[[], datetime],
        *,
        implicit_tls: bool | None = None,
    ) -> None:
        """`allowed` are addresses, or domains such as @example.com."""
        self._mailbox = mailbox
        self._allowed = frozenset(each.lower() for each in allowed)
        self._clock = clock
        self._implicit_tls = implicit_tls

    def refusal(self, address: str) -> str | None:
        box, at, domain = address.lower().rpartition("@")
        if not box or not at or not {address.lower(), f"@{domain}"} & self._allowed:
            # Whose addresses are allowed is nobody's business.
            return f"{one_line(address)} is not among those that OMS_NOTIFY_EMAILS allows"
        return None

    def send(self, message: Message) -> str:
        letter = self._letter(message)
        try:
            with opened(self._mailbox, implicit_tls=self._implicit_tls) as post:
                post.send(letter, [message.address])
        except (LetterRefused, MailServerTrouble, ValueError) as error:  # ValueError: no letter can carry it
            raise Undelivered(str(error)) from error
        return f"taken by {self._mailbox.host}"

    def _letter(self, message: Message) -> EmailMessage:
        letter = EmailMessage(policy=SMTP)
        letter["From"] = one_line(self._mailbox.sender)
        letter["To"] = one_line(message.address)
        again = f" (reminder {message.repeats})" if message.repeats else ""
        letter["Subject"] = f"[OMS {message.severity}] {one_line(message.subject)[:SUBJECT_MAX]}{again}"
        letter["Date"] = format_datetime(self._clock().astimezone(UTC))
        domain = one_line(self._mailbox.sender).rpartition("@")[2]
        letter["Message-ID"] = f"<{delivery_id(message)}@{domain}>"
        letter["Auto-Submitted"] = "auto-generated"
        letter.set_content(
            f"{printable_lines(message.text)}\n\n"
            f"Acknowledge with: oms acknowledge {message.message_id}\n"
            f"Your rule {one_line(message.rule)!r} asked for this.\n"
        )
        return letter
