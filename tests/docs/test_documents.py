"""The documents stay true: tables are the code's, calls are documented, examples run and answer as shown."""

from __future__ import annotations

import base64
import inspect
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tomllib
from urllib.parse import unquote

import pytest

from ems.core.errors import CODES
from ems.core.records import Status
from oms_client import OMSClient, errors, signing
from server.settings import VARIABLES
from tests.docs import generate
from tests.docs.generate import ROOT

PAGES = ("README.md", "MANUAL.md", "CHANGELOG.md", "SECURITY.md")
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
URL = "http://127.0.0.1:8888"  # as the documents write it
BLOCK = re.compile(r"^```(?P<kind>[a-z]*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
README_WORDS_MAX = 700
STATUSES = {str(status) for status in Status}


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


MANUAL = text_of("MANUAL.md")


def blocks(page: str) -> list[tuple[str, str, int]]:
    """List the code blocks of a page: kind, text, number of the first line."""
    text = text_of(page)
    return [(m["kind"], m["text"], text.count("\n", 0, m.start("text")) + 1) for m in BLOCK.finditer(text)]


def block_with(kind: str, words: str) -> str:
    (found,) = (text for k, text, _ in blocks("MANUAL.md") if k == kind and words in text)
    return found


# --- What the code knows better


def test_the_generated_tables_are_the_codes():
    assert {m["name"] for m in generate.BLOCK.finditer(MANUAL)} == generate.GENERATED.keys()
    assert generate.refreshed(MANUAL) == MANUAL, "run: .venv/bin/python -m tests.docs.generate"


def test_every_variable_is_documented():
    names = [name for row in VARIABLES for name in row.name.split(", ")]
    used = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "client").rglob("*.py"))
    names += re.findall(r'environ(?:\.get\(|\[)"(OMS_[A-Z_]+)"', used)
    assert len(names) > 20
    assert [name for name in names if f"`{name}`" not in MANUAL] == []


def test_every_error_code_and_exception_is_documented():
    assert [code for code in CODES if f"| `{code}` |" not in MANUAL] == []
    raised = [
        name for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, Exception)
    ]
    tree = block_with("text", "OMSError")
    assert len(raised) > 10 and [name for name in raised if not re.search(rf"\b{name}\b", tree)] == []


CALLS = [name for name in vars(OMSClient) if not name.startswith("_")]
SMALL = ("from_env", "close", "url", "keyid", "patience_s")  # told of in the chapter's first section


@pytest.mark.parametrize("name", ["OMSClient", *CALLS])
def test_every_call_is_documented_with_its_signature(name):
    chapter = MANUAL.partition("\n## 4.")[2].partition("\n## 5.")[0]
    if name in SMALL:
        assert f"`client.{name}" in chapter or f"`OMSClient.{name}(" in chapter
        return
    section = re.search(rf"^### {name}\n(.*?)(?=^### |\Z)", chapter, re.DOTALL | re.MULTILINE)
    assert section, f"MANUAL.md has no section {name}"
    (written,) = re.findall(rf"^```text\n{name}\((.*?)\)\n```$", section[1], re.DOTALL | re.MULTILINE)
    function = OMSClient if name == "OMSClient" else getattr(OMSClient, name)
    expected = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name == "self":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in expected:
            expected.append("*")
        default = "" if parameter.default is parameter.empty else f"={parameter.default!r}".replace("'", '"')
        stars = "**" if parameter.kind is parameter.VAR_KEYWORD else ""
        expected.append(stars + parameter.name + default)
    assert " ".join(written.split()) == ", ".join(expected)


def test_every_dependency_is_named_with_its_reason():
    groups = tomllib.loads(text_of("pyproject.toml"))["dependency-groups"]
    asked = [re.split(r"[<>=]", line)[0] for group in groups.values() for line in group]
    asked += re.findall(r'"([a-z-]+)>=', re.search(r"install_requires=\[(.*?)\]", text_of("setup.py"))[1])
    chapter = MANUAL.partition("\n## 15.")[2].partition("\n## 16.")[0]
    rows = [line.split("|") for line in chapter.splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`([a-z0-9-]+)`", row[1]) if row[3].strip()}
    assert named == set(asked)


def test_every_verb_of_the_launcher_is_documented():
    listed = subprocess.run(
        [sys.executable, str(ROOT / "oms"), "help"], capture_output=True, text=True, check=True
    ).stdout
    verbs = re.findall(r"^  ([a-z]+)\b", listed, re.MULTILINE)
    assert len(verbs) > 8
    assert [verb for verb in verbs if f"./oms {verb}" not in MANUAL + text_of("README.md")] == ["help"]


# --- The pages themselves


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    text = BLOCK.sub("", text_of(page))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        assert (ROOT / (path or page)).exists(), target
        if anchor:
            lines = re.findall(r"^#+ (.*)$", text_of(path or page), re.MULTILINE)
            anchors = [re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines]
            assert unquote(anchor) in anchors, target


def test_the_readme_is_short_and_begins_with_a_command():
    readme = text_of("README.md")
    assert len(readme.split()) <= README_WORDS_MAX
    assert "./oms demo" in "\n".join(readme.splitlines()[:15])
    (diagram,) = (text for kind, text, _ in blocks("README.md") if kind == "mermaid")
    assert len(set(re.findall(r"\b(\w+)[\[({]", diagram))) <= 12


# --- What can be run is run


def shape(value, shown):
    """Say where the fields of an answer differ from those that are shown; lists left empty match any."""
    if isinstance(value, dict) and isinstance(shown, dict):
        if shown.keys() <= STATUSES or not any(re.search("[a-z]", key) for key in shown):
            return []  # counts by status, amounts by currency or symbol: any may be there
        # What the example leaves out is written as null or [].
        differing = sorted(value.keys() ^ shown.keys())
        return differing + [
            each for key in value.keys() & shown.keys() for each in shape(value[key], shown[key])
        ]
    if isinstance(value, list) and isinstance(shown, list) and value and shown:
        return shape(value[0], shown[0])
    known = (value, shown)
    if None in known or all(isinstance(each, (list, dict)) for each in known):
        return []
    return [] if type(value) is type(shown) else [f"{value!r} is not like {shown!r}"]


@pytest.mark.parametrize("page", ["README.md", "MANUAL.md"])
def test_python_blocks_run_and_answer_as_shown(page, world, hurried, monkeypatch, tmp_path):
    monkeypatch.setenv("OMS_KEY", world.private_key)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    ran = compared = 0
    for kind, text, line in blocks(page):
        if kind == "python":
            assert "OMSClient" in names or "OMSClient" in text, f"{page}:{line} comes before its import"
            source = "\n" * (line - 1) + text.replace(URL, world.url)
            names.pop("answer", None)
            exec(compile(source, str(ROOT / page), "exec"), names)
            ran += 1
        elif kind == "json":
            assert "answer" in names, f"{page}:{line}: nothing was answered before"
            assert shape(names["answer"], json.loads(text)) == [], f"{page}:{line}"
            compared += 1
    assert ran and (page == "README.md" or compared > 10)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_examples_run(example, world, tmp_path):
    (simulated,) = (each for each in world.exchanges if each.venue.exchange == "binance")
    assert len(example.read_text(encoding="utf-8").splitlines()) < 40
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT / "client"),
        "OMS_KEY": world.private_key,
        "OMS_URL": world.url,
        "OMS_TIME_LIMIT": "1",
        "OMS_DATABASE": str(world.database),
        "SIMULATOR_URL": simulated.venue.url,
        "SIMULATOR_TOKEN": simulated.server.admin_token,
        "SIMULATOR_KEYS": f"{simulated.venue.keys.public},{simulated.venue.keys.private}",
    }
    for _ in range(2):  # a bot is started more than once
        done = subprocess.run(
            [sys.executable, str(example)],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()


def test_sql_blocks_run(world):
    statements = [sql for kind, sql, _ in blocks("MANUAL.md") if kind == "sql"]
    assert statements
    with sqlite3.connect(f"file:{world.database}?mode=ro", uri=True) as database:
        for statement in ";".join(statements).split(";"):
            database.execute(statement)


NODE = shutil.which("node")
TRY_IT = """
const [text, url, privateKey] = process.argv.slice(2);
const vector = readKey(Buffer.from([...Array(32).keys()]).toString("base64url"));
const nonce = Buffer.alloc(16, 7).toString("base64url");
const headers = signed(vector, "POST", "127.0.0.1:8888", "/api/smart_order?x=%2F", "{}", 1795222286, nonce);
if (headers.Signature !== text) throw new Error(headers.Signature);
const me = readKey(privateKey);
const health = await call(url, me, "GET", "/api/check_health");
const fields = { exchange: "binance", start_currency: "USDT", end_currency: "ETH", start_amount: "60",
                 time_limit: "1" };
const asked = await call(url, me, "POST", "/api/smart_order", fields, "from-node-1");
const target = `/api/get_query?query_id=${asked.data.query_id}&wait_s=5&after_seq=0`;
const found = await call(url, me, "GET", target);
console.log(JSON.stringify([health.data.ready, asked.data.status, found.data.verb]));
"""


@pytest.mark.skipif(NODE is None, reason="needs node")
def test_the_client_in_another_language_signs_and_trades(world, tmp_path):
    script = block_with("javascript", "readKey")
    assert len(script.splitlines()) <= 40
    (vector,) = re.findall(r"^Signature: (oms=:\S+:)$", block_with("text", "+ujfY"), re.MULTILINE)
    file = tmp_path / "bot.mjs"
    file.write_text(script + TRY_IT)
    assert NODE is not None
    done = subprocess.run(
        [NODE, str(file), vector, world.url, world.private_key], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [True, "working", "smart_order"]


def test_the_vector_in_the_manual_is_the_signers():
    base = block_with("text", '"@authority": 127.0.0.1:8888').rstrip("\n")
    (vector,) = re.findall(r"^Signature: oms=:(\S+):$", block_with("text", "+ujfY"), re.MULTILINE)
    assert base64.b64encode(signing.PrivateKey(bytes(range(32))).sign(base.encode())).decode() == vector
