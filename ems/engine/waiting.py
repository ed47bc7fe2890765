"""Submissions that wait for a look at balances or books before they are judged."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from ems.core import errors
from ems.core.messages import (
    CancelAllOrders,
    CancelOrder,
    Submit,
    Ticket,
)
from ems.engine.sight import Need
from ems.engine.turn import Out

ZERO = Decimal(0)


@dataclass
class Held:
    """A submission waiting for a look at balances or books."""

    event: Submit
    until: datetime
    asked_at: datetime
    need: Need
    times: int = 1  # how often it has been held


class Waiting:
    """What is still being judged; a cancel reaches it here."""

    def __init__(self, out: Out):
        self._out = out
        self.held: dict[int, Held] = {}  # token -> submission
        self.times: dict[int, int] = {}  # token -> how often it has been held, while it is judged again

    def drop_key(self, ticket: Ticket, command: CancelOrder) -> bool:
        """Refuse the submission of this key while it is still being judged; say whether there was one."""
        for token, held in list(self.held.items()):
            waiting = held.event.ticket
            if (waiting.user, waiting.idempotency_key) == (ticket.user, command.client_order_id):
                if not ticket.dry_run:
                    del self.held[token]
                    text = "cancel_order came before this had started"
                    self._out.reply(token, errors.problem(errors.QUERY_CANCELED, text))
                return True
        return False

    def drop(self, ticket: Ticket, command: CancelAllOrders) -> None:
        """Refuse what is still being judged: nothing asked for before a cancel-all starts after it."""
        for token, held in list(self.held.items()):
            waiting, asked = held.event.ticket, held.event.command
            mine = waiting.user == ticket.user and (command.scope == "user" or waiting.bot == ticket.bot)
            here = command.exchange is None or command.exchange in exchanges_of(asked)
            if mine and here and command.symbol in (None, getattr(asked, "symbol", command.symbol)):
                del self.held[token]
                text = "cancel_all_orders came before this had started"
                self._out.reply(token, errors.problem(errors.QUERY_CANCELED, text))


def exchanges_of(command: object) -> tuple[str, ...]:
    """Return the exchanges a command names; "all" is none of them by name."""
    named = getattr(command, "exchange", None)
    return tuple(named.split(",")) if isinstance(named, str) else ()
