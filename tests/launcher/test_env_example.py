"""The example of an .env file names what the server reads, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

from ems.venues.dialects import DIALECTS
from server.settings import VARIABLES

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = (ROOT / ".env.example").read_text(encoding="utf-8")


def test_every_variable_is_there_and_no_other() -> None:
    known = {name for variable in VARIABLES for name in variable.name.split(", ")}
    exchanges = "|".join(name.upper() for name in DIALECTS)
    shown = {
        re.sub(rf"^(?:{exchanges})(?:__[A-Z]+)?(_TRADE_KEYS)", r"<EXCHANGE>\1", name)
        for name in re.findall(r"^#?([A-Z][A-Z0-9_]+)=", EXAMPLE, re.MULTILINE)
    }
    assert shown == known


def test_nothing_is_set_by_copying_it() -> None:
    assert [line for line in EXAMPLE.splitlines() if line and not line.startswith("#")] == []
