"""What `pip install .` gives a bot: the thin client and nothing of the server."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Build the wheel from a copy of what it is made of, without a network."""
    pytest.importorskip("setuptools", minversion="70.1", reason="older ones cannot build a wheel alone")
    folder = tmp_path_factory.mktemp("packaging")
    for name in ("setup.py", "pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    if (ROOT / "README.md").exists():
        shutil.copy(ROOT / "README.md", folder)
    shutil.copytree(
        ROOT / "client", folder / "client", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
    )
    # What must not slip in, were setup.py to look for packages.
    (folder / "server").mkdir()
    (folder / "server" / "__init__.py").touch()
    build = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", build, folder / "dist"],
        cwd=folder,
        capture_output=True,
        text=True,
        env=clean(),
    )
    assert done.returncode == 0, done.stderr
    (built,) = (folder / "dist").glob("*.whl")
    return zipfile.ZipFile(built)


def clean() -> dict[str, str]:
    """Return the environment without our own folders on Python's path."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def metadata(wheel: zipfile.ZipFile, file: str) -> str:
    (name,) = [name for name in wheel.namelist() if name.endswith(f".dist-info/{file}")]
    return wheel.read(name).decode()


def test_only_the_client_is_inside(wheel: zipfile.ZipFile) -> None:
    names = [name for name in wheel.namelist() if ".dist-info/" not in name]
    sources = {path.relative_to(ROOT / "client").as_posix() for path in (ROOT / "client").rglob("*.py")}
    assert set(names) == sources | {"oms_client/py.typed"}


def test_it_says_what_it_needs(wheel: zipfile.ZipFile) -> None:
    said = metadata(wheel, "METADATA")
    assert re.search(r"^Name: oms-client$", said, re.MULTILINE)
    assert re.search(r"^Requires-Python: >=3\.9$", said, re.MULTILINE)
    needs = re.findall(r"^Requires-Dist: ([A-Za-z-]+)", said, re.MULTILINE)
    assert sorted(needs, key=str.lower) == ["pynacl", "requests", "websocket-client"]


def test_it_brings_the_command(wheel: zipfile.ZipFile) -> None:
    assert "oms = oms_client.cli:main" in metadata(wheel, "entry_points.txt").splitlines()


def test_it_imports_without_the_project(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path)
    asked = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "sys.path[:] = [p for p in sys.path if not p.rstrip('/').endswith('/client')]\n"
        "from oms_client import OMSClient, __version__\n"
        "import oms_client.cli\n"
        f"assert oms_client.__file__.startswith({str(tmp_path)!r})\n"
        "print([m for m in ('ems', 'server', 'ccxt', 'flask', 'sqlalchemy') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", asked], cwd=tmp_path, capture_output=True, text=True, env=clean()
    )
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
