"""Chat, paging and push services of the operator's choice, through Apprise (github.com/caronc/apprise).

People name a service; its URL, which holds a password, is the operator's setting and never theirs.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from ems.core.notifications import Message, Severity
from server.notify.channels import Undelivered
from server.notify.letter import one_line

KINDS = {Severity.INFO: "info", Severity.WARNING: "warning", Severity.CRITICAL: "failure"}  # Apprise's words


class ServiceSender:
    """Sends over services by name."""

    def __init__(self, urls: Mapping[str, str]) -> None:
        """`urls` is name -> Apprise's URL."""
        self._urls = dict(urls)

    def refusal(self, address: str) -> str | None:
        if address in self._urls:
            return None
        return f"{one_line(address)} is not among OMS_NOTIFY_SERVICES: {', '.join(sorted(self._urls))}"

    def send(self, message: Message) -> str:
        refused = self.refusal(message.address)
        if refused is not None:
            raise Undelivered(refused)
        import apprise  # takes a quarter of a second, which a server without services need not wait for

        service = apprise.Apprise()
        if not service.add(self._urls[message.address]):
            raise Undelivered(f"Apprise does not understand the URL of {message.address}")
        with apprise.LogCapture(level=logging.WARNING, fmt="%(message)s") as said:
            sent = service.notify(
                body=message.text,
                title=f"{message.severity}: {one_line(message.subject)}",
                notify_type=KINDS[message.severity],
            )
            words = one_line(said.getvalue())[:300]
        if not sent:
            raise Undelivered(words or f"{message.address} did not take it")
        return "taken"
