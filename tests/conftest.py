"""Give tests their databases and say in the header what was found.

On a laptop a test whose service is missing is skipped with the reason; where CI=true it fails, because a
check that skips in silence checks nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import services

CI = os.environ.get("CI", "").lower() in ("1", "true", "yes")
# Files are shared out whole and in order: the longest begin first, so that no core waits for one at the end.
LONGEST = (
    "tests/simulation/test_campaign.py",
    "tests/e2e/test_processes.py",
    "tests/e2e/test_halts.py",
    "tests/venues/test_books.py",
    "tests/engine/test_ten_thousand_fills.py",
    "tests/e2e/",
    "tests/venues/test_ambiguity.py",
    "tests/docs/",
)
RECORDED = Path(__file__).resolve().parents[1] / ".." / "shared" / "data"


def pytest_report_header() -> list[str]:
    """Say what was found, so that a skip is never silent."""
    try:
        found = services.postgres()[1]
    except services.Absent as absent:
        found = str(absent)
    return [
        f"services: {found}" + (" (CI: what is missing fails)" if CI else ""),
        f"recorded samples: {'found' if RECORDED.is_dir() else 'absent, their tests are skipped'}",
    ]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first."""
    items.sort(key=lambda item: next((n for n, at in enumerate(LONGEST) if item.nodeid.startswith(at)), 99))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Repeat what tests want told, such as seeds: those that ran in another process cannot print it."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, words in getattr(report, "user_properties", ()):
                if name == "told" and report.when == "call":
                    terminalreporter.write_line(f"{report.nodeid}: {words}")


def postgres_database() -> Iterator[str]:
    """Hand out a fresh PostgreSQL database, or skip, or fail in CI."""
    try:
        services.postgres()
    except services.Absent as absent:
        if CI:
            pytest.fail(f"{absent} (CI=true: a missing service is a failure)", pytrace=False)
        pytest.skip(str(absent))
    with services.postgres_database() as url:
        yield url


@pytest.fixture
def pg_url() -> Iterator[str]:
    """Return the URL of a fresh PostgreSQL database, dropped afterwards."""
    yield from postgres_database()


@pytest.fixture(scope="module")
def pg_module_url() -> Iterator[str]:
    """Return the URL of a PostgreSQL database the tests of one file share, dropped afterwards."""
    yield from postgres_database()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def any_db_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Return the URL of a fresh database, once for each kind we support."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'oms.db'}"
    else:
        yield from postgres_database()
