"""The file that halts: seen, heeded once, and never a way to go on."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from pathlib import Path

from ems.core import errors
from ems.core.messages import HaltTrading, Ticket
from ems.desk import DeskRefused
from server.halting import HaltFile


@dataclass
class Door:
    halted: bool = False
    broken: bool = False
    asked: list[tuple[Ticket, HaltTrading, str]] = field(default_factory=list)

    def submit(self, ticket: Ticket, command: HaltTrading, source: str = "api") -> object:
        self.asked.append((ticket, command, source))
        self.halted = True
        if self.broken:
            raise DeskRefused(errors.problem(errors.STORE_UNAVAILABLE, "no database"))
        return None

    def halted_by(self, source: str) -> bool:
        assert source == "file"
        return self.halted


def watcher(path: Path, door: Door) -> HaltFile:
    numbers = itertools.count(1)
    return HaltFile(path, door, lambda: str(next(numbers)))


def test_it_halts_when_it_appears_and_says_why_and_only_once(tmp_path: Path) -> None:
    path, door = tmp_path / "HALT", Door()
    file = watcher(path, door)
    file.look()
    assert door.asked == [] and file.there() == ""
    path.write_text("fire in the\x1b[31m desk\nsecond line")
    file.look()
    file.look()
    ((ticket, command, source),) = door.asked
    assert command == HaltTrading(all=True, reason="fire in the[31m desk") and source == "file"
    assert ticket.user == "oms" and file.there() == str(path)


def test_an_empty_one_halts_and_its_absence_does_nothing(tmp_path: Path) -> None:
    path, door = tmp_path / "HALT", Door()
    path.touch()
    file = watcher(path, door)
    file.look()
    assert door.asked[0][1] == HaltTrading(all=True, reason=None)
    path.unlink()
    file.look()
    assert len(door.asked) == 1


def test_lifted_while_it_is_still_there_it_halts_again(tmp_path: Path) -> None:
    path, door = tmp_path / "HALT", Door()
    path.touch()
    file = watcher(path, door)
    file.look()
    door.halted = False
    file.look()
    assert len(door.asked) == 2
    assert len({ticket.idempotency_key for ticket, _, _ in door.asked}) == 2


def test_without_the_database_it_is_heeded_all_the_same(tmp_path: Path) -> None:
    path, door = tmp_path / "HALT", Door(broken=True)
    path.touch()
    watcher(path, door).look()
    assert len(door.asked) == 1


def test_a_path_that_cannot_be_looked_at_halts_nothing_and_breaks_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    door = Door()
    watcher(tmp_path / "file" / "HALT", door).look()
    assert door.asked == []
