"""The launcher: what each verb becomes, what set-up does once, and one sentence for whatever goes wrong."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.machinery
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def oms(tmp_path: Path) -> types.ModuleType:
    """Load the launcher as a module that believes the project lies in an empty folder."""
    loader = importlib.machinery.SourceFileLoader("oms_launcher", str(ROOT / "oms"))
    spec = importlib.util.spec_from_loader("oms_launcher", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    module.ROOT, module.VENV = tmp_path, tmp_path / ".venv"
    module.PYTHON = module.VENV / "bin" / "python"
    return module


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Make a project with the real launcher and nothing to install; app.py says how it was called."""
    folder = tmp_path / "a project"  # a space: the usual trap of generated scripts
    folder.mkdir()
    shutil.copy(ROOT / "oms", folder / "oms")
    (folder / "requirements.txt").write_text("# nothing\n")
    (folder / "requirements-dev.txt").write_text("# nothing\n")
    (folder / "client" / "oms_client").mkdir(parents=True)
    (folder / "client" / "oms_client" / "__init__.py").write_text("")
    told = "import os, sys\nprint('CALLED', sys.argv[1:], os.getcwd(), os.environ.get('PYTHONPATH'))\n"
    (folder / "client" / "oms_client" / "__main__.py").write_text(told)
    (folder / "app.py").write_text(told + "sys.exit(7)\n")
    return folder


def launch(
    project: Path, *words: str, cwd: Path | None = None, **env: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, project / "oms", *words],
        cwd=cwd or project,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
    )


VERBS = {
    # words typed -> requirement files, runs in the project, command line after python
    "demo": ("demo --fast", 1, True, "app.py demo --fast"),
    "run": ("run", 1, True, "app.py run"),
    "serve": ("serve --port 1", 1, True, "app.py serve --port 1"),
    "simulator": ("simulator", 1, True, "app.py simulator"),
    "keygen": ("keygen alice", 1, False, "-I -m oms_client keygen alice"),
    "test": ("test -k auth", 2, True, "-m pytest -k auth"),
    "campaign": ("campaign --seeds 5", 2, True, "-m tests.simulation.campaign --seeds 5"),
    "ambiguity": ("ambiguity --cases 9", 2, True, "-m tests.venues.ambiguity --cases 9"),
    "kills": ("kills --n 50", 2, True, "-m tests.e2e.kills --n 50"),
    "fuzz": ("fuzz --runs 10", 2, True, "-m tests.simulation.fuzz --runs 10"),
    "mutants": ("mutants", 2, True, "-m tests.simulation.mutants"),
    "bench": ("bench order-path --n 9", 2, True, "-m tests.bench.order_path --n 9"),
    "client help": ("client --help", 1, False, "-I -m oms_client --help"),
    "a verb of the client": ("balances kraken", 1, False, "-I -m oms_client balances kraken"),
}


@pytest.mark.parametrize("typed, files, in_project, line", VERBS.values(), ids=VERBS.keys())
def test_a_verb_becomes_a_command(
    oms: types.ModuleType, typed: str, files: int, in_project: bool, line: str
) -> None:
    (oms.ROOT / "tests" / "bench").mkdir(parents=True)
    (oms.ROOT / "tests" / "bench" / "order_path.py").touch()
    verb, *rest = typed.split()
    assert oms.command(verb, rest) == (
        ["requirements.txt", "requirements-dev.txt"][:files],
        oms.ROOT if in_project else None,
        [str(oms.PYTHON), *line.split()],
    )


@pytest.mark.parametrize("rest", [[], ["nothing"], ["../../app"]])
def test_an_unknown_bench_is_answered_with_the_known_ones(oms: types.ModuleType, rest: list[str]) -> None:
    (oms.ROOT / "tests" / "bench").mkdir(parents=True)
    (oms.ROOT / "tests" / "bench" / "order_path.py").touch()
    with pytest.raises(oms.CannotSetUp, match="one of these names: order-path"):
        oms.command("bench", rest)


def test_every_verb_is_in_the_help(oms: types.ModuleType) -> None:
    for verb in [*oms.APP, *oms.MODULES, "keygen", "test", "check", "bench", "doctor", "help"]:
        assert re.search(rf"^  {verb}\b", oms.HELP, re.MULTILINE), verb


def test_an_old_python_is_refused_in_one_sentence() -> None:
    # The check reads sys.version_info; an old Python is stood in for by changing only that.
    old = "import sys, runpy; sys.version_info = (3, 9, 2); runpy.run_path(sys.argv[1], run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", old, ROOT / "oms"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        "oms: Python 3.11 or newer is needed and this is 3.9; install it, then run: python3.11 oms\n"
    )


def test_the_first_run_sets_up_and_the_second_only_runs(project: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    trap.mkdir()
    (trap / "venv.py").write_text("raise SystemExit('a module of the caller was imported')\n")
    first = launch(project, "run", "--x", cwd=tmp_path, PYTHONPATH=str(trap))
    called = f"CALLED ['run', '--x'] {project} {project}{os.pathsep}{project / 'client'}\n"
    assert (first.returncode, first.stdout) == (7, called), first.stderr
    assert "setting up" in first.stderr

    second = launch(project, "run", "--x", cwd=tmp_path, PYTHONPATH=str(trap))
    assert (second.returncode, second.stdout, second.stderr) == (7, called, "")

    # The client runs where the caller is, and so does its installed command.
    client = launch(project, "balances", cwd=tmp_path, PYTHONPATH=str(trap))
    assert (client.returncode, client.stdout) == (0, f"CALLED ['balances'] {tmp_path} {trap}\n")
    script = subprocess.run(
        [project / ".venv" / "bin" / "oms", "fees"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(trap)},
    )
    assert script.stdout.startswith("CALLED ['fees']")

    # An interrupted set-up left no stamp: it is made again, whole.
    (project / ".venv" / "requirements.txt.stamp").unlink()
    (project / ".venv" / "left over").touch()
    again = launch(project, "run")
    assert "setting up" in again.stderr
    assert not (project / ".venv" / "left over").exists()

    # A changed list is installed into the environment that is there.
    (project / "requirements.txt").write_text("# still nothing\n")
    changed = launch(project, "run")
    assert "setting up" not in changed.stderr
    assert "installing 0 packages from requirements.txt" in changed.stderr

    # A moved project is set up again: the paths inside .venv are those of the old place.
    moved = project.rename(tmp_path / "moved")
    assert "setting up" in launch(moved, "run").stderr
    assert launch(moved, "run").stderr == ""


def test_a_run_waits_while_another_builds(project: Path) -> None:
    builder = os.open(project, os.O_RDONLY)
    fcntl.flock(builder, fcntl.LOCK_SH)  # shared, so that only a demand for the lock alone has to wait
    run = subprocess.Popen([sys.executable, project / "oms", "run"], stdout=-1, stderr=-1, text=True)
    assert run.stderr is not None
    assert run.stderr.readline() == "oms: another ./oms is setting up; waiting for it\n"
    assert run.poll() is None
    assert not (project / ".venv").exists()
    os.close(builder)
    output, _ = run.communicate(timeout=60)
    assert (run.returncode, output.split()[0]) == (7, "CALLED")


def test_runs_at_once_build_once(project: Path) -> None:
    runs = [
        subprocess.Popen([sys.executable, project / "oms", "run"], stdout=-1, stderr=-1, text=True)
        for _ in range(3)
    ]
    ends = [run.communicate(timeout=60) for run in runs]
    assert [run.returncode for run in runs] == [7, 7, 7], ends
    assert sum("setting up .venv" in errors for _, errors in ends) == 1
    assert all(output.startswith("CALLED") for output, _ in ends)


WORDS = {
    # the installer's last words -> our sentence
    "no network": (
        "WARNING: Retrying: [Errno -3] Temporary failure in name resolution\n"
        "ERROR: No matching distribution found for flask==3.1.3",
        "no network",
    ),
    "a full disk": (
        "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
        "disk is full",
    ),
    "a changed package": (
        "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.",
        "differs from its hash",
    ),
    "an unknown authority": (
        "SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED]'))",
        "not trusted",
    ),
    "an unknown machine": (
        "ERROR: No matching distribution found for uvloop==0.22.1",
        "has no uvloop==0.22.1 for Python",
    ),
    "anything else": (
        "Collecting x\nERROR: the moon\nmore",
        "pip could not install requirements.txt: ERROR: the moon",
    ),
}


@pytest.mark.parametrize("words, sentence", WORDS.values(), ids=WORDS.keys())
def test_trouble_is_one_sentence(oms: types.ModuleType, words: str, sentence: str) -> None:
    said = oms.explain(words.splitlines(), "requirements.txt")
    assert sentence in said
    assert "\n" not in said


def test_trouble_ends_with_a_sentence_and_no_traceback(project: Path, tmp_path: Path) -> None:
    # A package nobody has, no index, and an empty PATH: a test must not install a system package.
    (project / "requirements.txt").write_text("nothing-of-this-name==1 --hash=sha256:" + "0" * 64 + "\n")
    done = launch(project, "run", PIP_NO_INDEX="1", PIP_CONFIG_FILE=os.devnull, PATH=str(tmp_path))
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith("oms: ")
    assert "Traceback" not in done.stderr
    assert not (project / ".venv" / "requirements.txt.stamp").exists()


WHEEL = b"the bytes of a wheel"


def index(folder: Path, oms: types.ModuleType, content: bytes) -> str:
    """Write a package index that holds the pip wheel, and return its address."""
    (folder / "simple" / "pip").mkdir(parents=True)
    (folder / "files").mkdir()
    (folder / "files" / oms.PIP_WHEEL).write_bytes(content)
    page = f'<a href="../../files/pip-1.whl">old</a><a href="../../files/{oms.PIP_WHEEL}#sha256=0">new</a>'
    (folder / "simple" / "pip" / "index.html").write_text(page)
    return (folder / "simple").as_uri()


def test_pip_is_taken_from_the_configured_index(oms: types.ModuleType, tmp_path: Path) -> None:
    oms.PIP_SHA256 = hashlib.sha256(WHEEL).hexdigest()
    here = index(tmp_path / "there", oms, WHEEL)
    nowhere = (tmp_path / "nowhere").as_uri()
    assert oms.pip_from_index({"index-url": nowhere, "extra-index-url": here + "/"}) == WHEEL
    assert oms.pip_from_index({"find-links": str(tmp_path / "there" / "files")}) == WHEEL


def test_another_file_of_the_same_name_is_not_used(oms: types.ModuleType, tmp_path: Path) -> None:
    with pytest.raises(oms.CannotSetUp, match="differs from the one we know"):
        oms.pip_from_index({"index-url": index(tmp_path / "there", oms, WHEEL)})


@pytest.mark.parametrize(
    "settings, sentence",
    [({}, "no index configured: set PIP_INDEX_URL"), ({"index-url": "file:///nowhere"}, "check the network")],
)
def test_no_index_is_said(oms: types.ModuleType, settings: dict[str, str], sentence: str) -> None:
    with pytest.raises(oms.CannotSetUp, match=sentence):
        oms.pip_from_index(settings)


def test_pip_settings_are_read_as_pip_reads_them(
    oms: types.ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    (tmp_path / "xdg" / "pip").mkdir(parents=True)
    (tmp_path / "xdg" / "pip" / "pip.conf").write_text(
        "[global]\nindex_url = http://a%20b/simple\n[install]\ncert = /install.pem\n"
    )
    (tmp_path / "mine.conf").write_text("[global]\nindex-url = http://mine/simple\ncert = /global.pem\n")
    seen = oms.pip_settings()
    assert (seen["index-url"], seen["cert"]) == ("http://a%20b/simple", "/install.pem")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "mine.conf"))
    assert oms.pip_settings()["index-url"] == "http://mine/simple"
    monkeypatch.setenv("PIP_INDEX_URL", "http://variable/simple")
    assert oms.pip_settings()["index-url"] == "http://variable/simple"
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    assert oms.pip_settings() == {"index-url": "http://variable/simple"}


def test_the_lock_files_name_no_host_and_hash_everything() -> None:
    for name in ("requirements.txt", "requirements-dev.txt"):
        text = (ROOT / name).read_text()
        assert "://" not in text
        packages = re.findall(r"^([a-z0-9.-]+)==(\S+)(.*(?:\n +.*)*)", text, re.MULTILINE)
        assert len(packages) > 20
        assert [package for package, _, rest in packages if "--hash=sha256:" not in rest] == []


def test_both_lock_files_agree() -> None:
    def versions(name: str) -> dict[str, str]:
        return dict(re.findall(r"^([a-z0-9.-]+)==(\S+)", (ROOT / name).read_text(), re.MULTILINE))

    server, dev = versions("requirements.txt"), versions("requirements-dev.txt")
    assert server["ccxt"] == "4.5.90"
    assert {
        name: (server[name], dev[name]) for name in server.keys() & dev if server[name] != dev[name]
    } == {}


def test_the_makefile_only_forwards() -> None:
    lines = (ROOT / "Makefile").read_text().splitlines()
    assert [line for line in lines if line.startswith("\t")] == ["\t./oms $@"]
