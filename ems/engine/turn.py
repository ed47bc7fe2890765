"""The turn: what one event leads to, collected while the engine decides.

`Out` is handed to every part of the engine; nothing else leaves it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from ems.core.messages import (
    Publish,
    QueryDay,
    Reply,
    Request,
    Send,
    Wake,
    WatchBook,
)
from ems.core.records import (
    Record,
)
from ems.engine.account import Account

ZERO = Decimal(0)
DAY_AGAIN = timedelta(minutes=5)  # what was traded in 24 hours is read anew this long after it was asked for


@dataclass
class Turn:
    """What one event leads to. `records` go to disk in one transaction, then `effects` happen in order."""

    at: datetime
    records: list[Record] = field(default_factory=list)
    effects: list[Send | Wake | Reply | Publish] = field(default_factory=list)
    touched: set[str] = field(default_factory=set)  # ids of queries whose picture changed


class Out:
    """Collects the turn being made."""

    def __init__(self) -> None:
        self.turn = Turn(at=datetime.min.replace(tzinfo=UTC))

    def begin(self, now: datetime) -> Turn:
        self.turn = Turn(at=now)
        return self.turn

    def watch(self, account: Account, symbol: str, now: datetime) -> None:
        if symbol not in account.watched:
            self.send(account, WatchBook(symbol=symbol))
        account.watched[symbol] = now

    def follow_day(self, account: Account, symbol: str, now: datetime) -> None:
        """Ask what was traded in a market within 24 hours, unless that was asked lately."""
        asked = account.days_asked.get(symbol)
        if asked is None or now - asked >= DAY_AGAIN:
            account.days_asked[symbol] = now
            self.send(account, QueryDay(symbol=symbol))

    def record(self, record: Record) -> None:
        self.turn.records.append(record)

    def send(self, account: Account, request: Request) -> None:
        self.turn.effects.append(Send(exchange=account.exchange, account=account.account, request=request))

    def wake(self, key: tuple[str, ...], at: datetime) -> None:
        self.turn.effects.append(Wake(key=key, at=at))

    def reply(self, token: int | None, answer: object) -> None:
        if token is None:
            return  # nobody waits
        self.turn.effects.append(Reply(token=token, answer=answer))

    def publish(self, topic: str, key: str, body: dict[str, object]) -> None:
        self.turn.effects.append(Publish(topic=topic, key=key, body=body))
