"""What a review of the mail outbox has shown."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from server.notify.post import MailServerTrouble, opened
from simulator.mail import MailSink

SENDER = "oms@example.org"


@dataclass(frozen=True)
class Box:
    host: str
    port: int
    ca_file: Path | None
    sender: str = SENDER
    password: str = "pässwort"
    receivers: tuple[str, ...] = ("desk@example.org",)


def test_a_password_that_smtp_cannot_carry_is_trouble_that_is_told() -> None:
    """Else the mailer logs in anew every two seconds, without end, and its health says that all is well."""
    with MailSink(user=SENDER, password="other") as sink:
        box = Box(host=sink.host, port=sink.port, ca_file=Path(sink.ca_file))
        with pytest.raises(MailServerTrouble), opened(box):
            pass
