"""No name of a setting disappears in silence, and none comes back with another meaning.

Knight, 1 August 2012: a flag that was used again woke code that had been dead for years.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from ems.core.risk_limits import SETTINGS, TOMBSTONES
from server.settings import RETIRED, VARIABLES

ROOT = Path(__file__).resolve().parents[1]
SUBJECTS = {  # where names are given -> (a name there, those in use, those retired)
    "ems/core/risk_limits.py": (r'\bname="([a-z_]+)"', {s.name for s in SETTINGS}, TOMBSTONES),
    "server/settings.py": (r'\bname="([A-Z][A-Z0-9_]+)"', {v.name for v in VARIABLES}, RETIRED),
}


def ever(path: str, pattern: str) -> set[str]:
    """Return every name that a line ever added to a file has given, by the history at hand."""
    log = ("git", "-C", str(ROOT), "log", "--format=", "-p", "--follow", "--", path)
    try:
        told = subprocess.run(log, capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("there is no history here to compare with")
    added = (line for line in told.splitlines() if line.startswith("+") and not line.startswith("+++"))
    return {name for line in added for name in re.findall(pattern, line)}


def gone(before: set[str], used: set[str], retired: set[str]) -> list[str]:
    return sorted(before - used - retired)


@pytest.mark.parametrize("path", SUBJECTS)
def test_every_name_that_ever_was_is_in_use_or_retired(path: str) -> None:
    pattern, used, retired = SUBJECTS[path]
    before = ever(path, pattern)
    assert gone(before, used, set(retired)) == [], (
        "these were names of settings: list them as retired, with what took their place"
    )
    assert not used & retired.keys(), "a retired name never comes back"


def test_a_name_that_went_is_found() -> None:
    pattern, used, _ = SUBJECTS["server/settings.py"]
    before = ever("server/settings.py", pattern)
    assert {"OMS_KEYS", "OMS_HOSTS"} <= before
    assert gone(before, used - {"OMS_HOSTS"}, set()) == ["OMS_HOSTS"]
    assert gone(before, used - {"OMS_HOSTS"}, {"OMS_HOSTS"}) == []
