"""Tell when an account's live stream is gone for a while, and when it is back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta

from ems.core.notifications import EVENTS, Happening

# Exchanges end every stream once a day or oftener, and it is back within seconds.
PATIENCE = timedelta(seconds=30)


class StreamWatch:
    """Compares what is with what was told. Called by the notifier alone."""

    def __init__(self, streams: Callable[[], Mapping[tuple[str, str], bool]]) -> None:
        """`streams` gives (exchange, account) -> whether its stream is up."""
        self._streams = streams
        self._down_since: dict[tuple[str, str], datetime] = {}
        self._told: set[tuple[str, str]] = set()

    def __call__(self, now: datetime) -> Iterator[Happening]:
        """Yield what is to be told now."""
        for place, up in self._streams().items():
            if not up:
                since = self._down_since.setdefault(place, now)
                if now - since >= PATIENCE and place not in self._told:
                    self._told.add(place)
                    yield _happening(place, since, now, up=False)
                continue
            gone_since = self._down_since.pop(place, now)
            if place in self._told:
                self._told.discard(place)
                yield _happening(place, gone_since, now, up=True)


def _happening(place: tuple[str, str], since: datetime, now: datetime, *, up: bool) -> Happening:
    where = "/".join(place)
    word = "back" if up else "down"
    facts = {
        "What": f"The live stream of {where} is {word}; it went at {since:%Y-%m-%d %H:%M:%S} UTC.",
        "What was done": "Orders are looked up again and again instead; none is in doubt for it."
        if not up
        else "The account was reconciled.",
        "What to do": "Nothing; look at the exchange's status page if it stays." if not up else "Nothing.",
    }
    return Happening(
        event="stream_down",
        key=f"stream {where} {word} {since.isoformat()}",
        at=now,
        severity=EVENTS["stream_down"][0],
        subject=f"the stream of {where} is {word}",
        exchange=place[0],
        group=f"stream {where} {word}",
        facts=facts,
    )
