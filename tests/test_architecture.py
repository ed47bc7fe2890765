"""Keep DESIGN.md 1 true by reading the source: who may import whom, and where the world may come in.

The tables are the rules; a change of one is a change of the design and wants a reason beside it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OURS = ("ems", "server", "simulator", "migrations", "oms_client", "app", "demo", "tests")
SOURCES = ("*.py", "ems", "server", "simulator", "client", "migrations", "tests")

# Room (the longest that fits a file's path) -> what of ours it may import. Imports point towards ems.core.
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "ems/core": ("ems.core",),
    "ems/routing": ("ems.core", "ems.routing"),
    "ems/algos": ("ems.core", "ems.routing", "ems.algos"),
    # What an execution cost is read from the same ledger the algorithms keep.
    "ems/tca": ("ems.core", "ems.routing", "ems.algos", "ems.tca"),
    "ems/engine": (
        "ems.core",
        "ems.routing",
        "ems.algos",
        "ems.tca",
        "ems.engine",
        "ems.store.Unfinished",  # a record of what a restart finds; no Store is called
    ),
    "ems/store.py": ("ems.core",),
    # The runner performs effects through protocols: it sees their shapes, never who fulfils them.
    "ems/runner.py": ("ems.core", "ems.engine", "ems.store", "ems.venues.gateway", "ems.bus"),
    "ems/loop.py": ("ems.runner",),
    # What exchanges list, read through the protocol and kept: no more than a reader.
    "ems/histories.py": ("ems.core", "ems.store", "ems.venues.gateway"),
    # What is held and was earned, as answers.
    "ems/appraisals.py": ("ems.core", "ems.engine", "ems.store"),
    # What is held in contracts, read from the exchanges through the protocol.
    "ems/contracts.py": ("ems.appraisals.Marked", "ems.core", "ems.venues.gateway"),
    "ems/desk.py": (
        "ems.appraisals",
        "ems.contracts",
        "ems.core",
        "ems.engine",
        "ems.runner",
        "ems.loop",
        "ems.histories",
        "ems.store",
        "ems.tca",  # what trading cost, over many
        "ems.venues.gateway",  # the protocol: reads go straight to it, orders never do
    ),
    # The wires do not import one another.
    "ems/venues": ("ems.core", "ems.venues"),
    "ems/feeds": ("ems.core", "ems.feeds"),
    "ems/bus": ("ems.core", "ems.bus"),
    # The face: the rules, the desk, protocols, and the one definition of the signature.
    "server": (
        "ems.core",
        "ems.desk",
        "ems.store",
        "ems.bus",
        "oms_client.signing",
        "server.auth",
        "server.keystore",
        "server.settings",
    ),
    "server/api": (
        "ems.core",
        "ems.desk",
        "ems.store",
        "server.api",
        "server.auth",
        "server.release",
        "server.settings",
        "oms_client.signing",
    ),
    "server/store": ("ems.core", "ems.store", "server.store"),
    "server/notify": ("ems.core", "ems.store", "server.notify"),
    "server/web": ("ems.core", "ems.desk", "server.web", "server.auth", "server.settings"),
    "simulator": ("ems.core", "simulator"),
    "client": ("oms_client",),
    # A migration is a photograph: it must not change when the tables do. env.py alone knows today's tables.
    "migrations": (),
    "migrations/env.py": ("server.store",),
    "setup.py": (),
    # The tour: app.py hands it the builders of a world; it plays a bot in it and reads its mail.
    "demo.py": (
        "oms_client",
        "server.keystore.Redactor",
        "server.settings.read_settings",
        "simulator.mail.MailSink",
    ),
    # The only place where things are built.
    "app.py": OURS,
    "tests": OURS,
}

PURE = (
    "ems/core",
    "ems/routing",
    "ems/algos",
    "ems/tca",
    "ems/engine",
)

# What pure code may use of the standard library: nothing that looks at a clock, a die, a file or a wire.
PURE_LIBRARY = frozenset(
    "__future__ abc base64 binascii bisect collections contextlib copy dataclasses datetime decimal difflib"
    " enum fractions functools hashlib heapq hmac itertools json math numbers operator re string struct"
    " textwrap types typing"
    " unicodedata".split()
)
ROUTING_LIBRARY = frozenset({"numpy", "scipy"})

# Other people's packages -> the rooms that may know them; app.py and tests may know them all.
PACKAGES: dict[str, tuple[str, ...]] = {
    "flask": ("server/api", "server/web"),
    "werkzeug": ("server/api", "server/web"),
    "sqlalchemy": ("server/store", "migrations"),
    "alembic": ("server/store", "migrations"),
    "psycopg2": ("server/store",),
    "ccxt": ("ems/venues", "ems/feeds"),
    "aiohttp": ("ems/venues", "ems/feeds", "simulator"),
    "yarl": ("ems/venues",),
    "aiosmtpd": ("simulator",),
    "cryptography": ("simulator",),  # comes with ccxt: certificates, and the signatures of Coinbase
    "nacl": ("client", "server/auth.py", "server/keystore.py"),
    "requests": ("client",),
    "websocket": ("client", "ems/feeds"),
    "dotenv": ("server/settings.py",),
    "uvicorn": ("server/asgi.py",),
    "a2wsgi": ("server/asgi.py",),
    "urllib3": ("client", "server/notify"),
    "apprise": ("server/notify",),
    "matplotlib": ("server/plots.py",),
    "setuptools": ("setup.py",),
}

# Where the world comes in. What -> the modules and calls that bring it; below, the files that may, and why.
CLOCK, CHANCE, WIRE, DATABASE = "clock", "chance", "wire", "database"
SEAM_MODULES = {
    CLOCK: {"time", "sched"},
    CHANCE: {"random", "secrets", "uuid"},
    WIRE: {
        "socket",
        "socketserver",
        "ssl",
        "select",
        "smtplib",
        "ftplib",
        "http.client",
        "http.server",
        "aiohttp",
    }
    | {"urllib.request", "requests", "urllib3", "apprise", "websocket", "uvicorn", "ccxt"},
    DATABASE: {"sqlite3", "psycopg2", "sqlalchemy", "alembic"},
}
SEAM_CALLS = {
    CLOCK: {"datetime.now", "datetime.utcnow", "datetime.today", "date.today", "datetime.datetime.now"},
    # A seeded Random is handed in; one made without a seed is chance.
    CHANCE: {"os.urandom", "Random"},
    WIRE: {"asyncio.open_connection", "asyncio.start_server", "asyncio.create_server"},
    DATABASE: set[str](),
}
SEAMS: dict[str, dict[str, str]] = {
    CLOCK: {
        "app.py": "hands the clock to everyone else",
        "ems/loop.py": "the production scheduler: the runner's now() and call_at()",
        "ems/venues/ccxt_gateway.py": "when an answer was sent, unless it is handed a clock",
        "server/store/owner.py": "how long to wait for a dead owner's session",
        "simulator/wire.py": "the exchange's own clock, which may be wrong on purpose",
        "demo.py": "shows seconds to a person",
        "simulator/replay.py": "turns wall time into recorded time",
        "simulator/mail.py": "stamps the mail it keeps",
    },
    CHANCE: {
        "app.py": "hands ids and seeds to everyone else",
        "simulator/wire.py": "the token of the admin calls",
    },
    WIRE: {
        "ems/venues": "ccxt's HTTP and WebSocket",
        "app.py": "hands a certificate to the simulator's port",
        "ems/feeds": "CoinAPI's WebSocket",
        "demo.py": "finds a free port for its world",
        "simulator/wire.py": "HTTP and WebSocket of the simulated exchanges",
        "simulator/coinapi.py": "WebSocket of the simulated data provider",
        "simulator/tls.py": "the certificates they show",
        "server/asgi.py": "the production HTTP server",
        "server/notify/post.py": "SMTP",
        "server/notify/webhook.py": "signed POSTs to allowed hosts",
        "server/notify/services.py": "chat and paging, through Apprise",
        "server/store/connect.py": "the host's name, so that a database says who holds a connection",
        "simulator/mail.py": "the SMTP sink",
    },
    DATABASE: {
        "server/store": "all SQL there is",
        "demo.py": "looks into the database from outside, as a doubting person would",
        "migrations": "the tables, step by step",
    },
}
# These are not ours to make deterministic: a bot's machine, the build, the tests.
WITHOUT_SEAMS = ("client", "setup.py", "tests")

HOMELESS = {"utils", "util", "helpers", "helper", "common", "manager", "managers", "base", "misc"}
# Real code does not ask whether it is real: it is given another gateway, clock or store.
PRETENCE = {
    "paper",
    "is_paper",
    "paper_mode",
    "is_test",
    "testing",
    "is_testing",
    "under_test",
    "pytest",
    "mock",
}
SQL = re.compile(
    r"\b(select\s.+\sfrom|insert\s+into|update\s+\S+\s+set|delete\s+from"
    r"|(create|drop|alter|truncate)\s+(table|database|index))\b",
    re.IGNORECASE | re.DOTALL,
)


def findings(path: str, source: str) -> list[str]:
    """Return what a file does that its room may not, as `line: sentence`."""
    tree = ast.parse(source, filename=path)
    checks = (layout, imports, seams, pretence, sql, floats, purity)
    return [f"{path}:{line}: {words}" for check in checks for line, words in check(path, source, tree)]


Findings = Iterator[tuple[int, str]]


def under(path: str, places: tuple[str, ...] | dict[str, str]) -> bool:
    """Say whether a file is one of these files or lies in one of these folders."""
    return any(path == place or path.startswith(place + "/") for place in places)


def room(path: str) -> str | None:
    """Return the room a file belongs to: the longest that fits."""
    rooms = [place for place in MAY_IMPORT if under(path, (place,))]
    return max(rooms, key=len, default=None)


def imported(path: str, tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield every imported name in full, relative ones resolved, also those made inside functions."""
    package = path.removeprefix("client/").removesuffix(".py").split("/")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            start = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                yield node.lineno, f"{start}.{alias.name}"


def within(name: str, prefixes: tuple[str, ...] | set[str] | frozenset[str]) -> bool:
    """Say whether a dotted name is one of these or lies below one."""
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


def layout(path: str, source: str, tree: ast.AST) -> Findings:
    """Names and lines."""
    if Path(path).stem in HOMELESS:
        yield 1, f"a file called {Path(path).name} has no subject"
    if path.startswith("tests/") and path.endswith("__init__.py"):
        yield 1, "tests are imported by path; __init__.py makes two files of one name collide"
    for number, line in enumerate(source.splitlines(), start=1):
        if len(line) > 110:
            yield number, f"{len(line)} columns; 110 are enough"


def imports(path: str, source: str, tree: ast.AST) -> Findings:
    """Who imports whom, ours and others'."""
    here = room(path)
    if here is None:
        yield 1, "belongs to no room of DESIGN.md 1"
        return
    for line, name in imported(path, tree):
        top = name.split(".")[0]
        if top in OURS:
            if not within(name, MAY_IMPORT[here]):
                yield line, f"{here} must not import {name}"
        elif top in PACKAGES and here not in ("app.py", "tests") and not under(path, PACKAGES[top]):
            yield line, f"{top} stays in {', '.join(PACKAGES[top])}"


def seams(path: str, source: str, tree: ast.AST) -> Findings:
    """Clock, chance, wires and database enter in few named files."""
    if under(path, WITHOUT_SEAMS):
        return
    for line, what, name in entered(path, tree):
        if not under(path, SEAMS[what]):
            yield line, f"{name} brings in the {what}; take it as an argument, or name this file as a seam"


def entered(path: str, tree: ast.AST) -> Iterator[tuple[int, str, str]]:
    """Yield each way the world comes into a file: line, what, by which name."""
    for line, name in imported(path, tree):
        for what, modules in SEAM_MODULES.items():
            if within(name, modules) and name != "random.Random":
                yield line, what, name
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            for what, calls in SEAM_CALLS.items():
                if name in calls and not (name == "Random" and node.args):
                    yield node.lineno, what, name + "()"


def pretence(path: str, source: str, tree: ast.AST) -> Findings:
    """No branch on being a test or only paper, outside the place that chooses what is built."""
    if path.startswith("tests/") or path == "app.py":
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.If | ast.IfExp | ast.While):
            for part in ast.walk(node.test):
                asked = (
                    part.id
                    if isinstance(part, ast.Name)
                    else part.attr
                    if isinstance(part, ast.Attribute)
                    else ""
                )
                if asked in PRETENCE:
                    yield node.lineno, f"asks `{asked}`; pass another implementation instead"


def sql(path: str, source: str, tree: ast.AST) -> Findings:
    """SQL is never put together from text: values are bound."""
    for node in ast.walk(tree):
        made = isinstance(node, ast.JoinedStr) and any(isinstance(v, ast.FormattedValue) for v in node.values)
        made |= isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod | ast.Add)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
            # psycopg2's SQL("...").format(Identifier(...)) quotes what it puts in.
            made = not ast.unparse(node.func.value).startswith("SQL(")
        if made and SQL.search(" ".join(texts(node))):
            yield node.lineno, "builds SQL from text; bind the values"


def texts(node: ast.AST) -> Iterator[str]:
    """Yield the literal pieces of an expression."""
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield part.value


def floats(path: str, source: str, tree: ast.AST) -> Findings:
    """Money never meets a float; seconds may, where the name says so."""
    if not under(path, ("ems/core",)):
        return
    seconds = {id(part) for node in ast.walk(tree) if in_seconds(node) for part in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, float) and id(node) not in seconds:
            yield node.lineno, f"{node.value} is a float"
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "float":
            yield node.lineno, "float() makes a float"


def in_seconds(node: ast.AST) -> bool:
    """Say whether this gives a value to a name that ends in _s, or to difflib's cutoff."""
    if isinstance(node, ast.keyword):
        return node.arg is not None and (node.arg.endswith("_s") or node.arg == "cutoff")
    targets = (
        node.targets
        if isinstance(node, ast.Assign)
        else [node.target]
        if isinstance(node, ast.AnnAssign)
        else []
    )
    return bool(targets) and all(ast.unparse(target).lower().endswith("_s") for target in targets)


def purity(path: str, source: str, tree: ast.AST) -> Findings:
    """Pure rooms use the quiet part of the standard library only."""
    if not under(path, PURE):
        return
    library = PURE_LIBRARY | (ROUTING_LIBRARY if path.startswith("ems/routing/") else frozenset())
    for line, name in imported(path, tree):
        if name.split(".")[0] not in library and name.split(".")[0] not in OURS:
            yield line, f"{name} is not for pure code"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in (
            "open",
            "print",
            "input",
            "eval",
            "exec",
            "__import__",
        ):
            yield node.lineno, f"{ast.unparse(node.func)}() is not for pure code"
        elif isinstance(node, ast.AsyncFunctionDef | ast.Await):
            yield node.lineno, "pure code does not wait"


def sources() -> list[str]:
    """Return the paths of all Python files of the project, seen from its root."""
    files: list[Path] = []
    for place in SOURCES:
        files += sorted(ROOT.glob(place)) if "*" in place else sorted((ROOT / place).rglob("*.py"))
    return [file.relative_to(ROOT).as_posix() for file in files]


@pytest.mark.parametrize("path", sources())
def test_every_file_keeps_to_its_room(path: str) -> None:
    assert findings(path, (ROOT / path).read_text(encoding="utf-8")) == []


def test_every_seam_is_still_one() -> None:
    """A file that stopped bringing the world in must leave the list."""
    brought: dict[str, set[str]] = {what: set() for what in SEAMS}
    for path in sources():
        for _, what, _ in entered(path, ast.parse((ROOT / path).read_text(encoding="utf-8"))):
            brought[what].add(path)
    idle = [
        f"{what}: {place}"
        for what, places in SEAMS.items()
        for place in places
        if not any(under(path, (place,)) for path in brought[what])
    ]
    assert idle == []


def test_top_level_folders_are_those_of_the_design() -> None:
    found = {path.name for path in ROOT.iterdir() if path.is_dir() and any(path.rglob("*.py"))}
    known = {"client", "ems", "server", "simulator", "migrations", "tests", "examples", "var", "build"}
    assert {name for name in found if not name.startswith(".")} - known == set()


BROKEN = {
    "core imports an algorithm": (
        "ems/core/order.py",
        "from ems.algos import walker",
        "must not import ems.algos.walker",
    ),
    "core imports a package of others": ("ems/core/order.py", "import yaml", "yaml is not for pure code"),
    "the heart imports the face": (
        "ems/desk.py",
        "from server.settings import Settings",
        "must not import server.settings",
    ),
    "the heart imports the simulator": (
        "ems/venues/gateway.py",
        "import simulator.exchange",
        "must not import simulator",
    ),
    "one wire imports another": (
        "ems/venues/gateway.py",
        "from ems.bus import memory",
        "must not import ems.bus.memory",
    ),
    "the runner picks a gateway": (
        "ems/runner.py",
        "from ems.venues.ccxt import CcxtGateway",
        "must not import ems.venues.ccxt",
    ),
    "the face sees the engine": (
        "server/api/orders.py",
        "from ems.engine import Engine",
        "must not import ems.engine",
    ),
    "the API picks a store": (
        "server/api/orders.py",
        "from server.store.sql import SqlStore",
        "must not import server.store",
    ),
    "the simulator knows the heart": (
        "simulator/exchange.py",
        "from ems import engine",
        "must not import ems.engine",
    ),
    "the client knows the server": (
        "client/oms_client/client.py",
        "from ems.core import errors",
        "must not import ems.core",
    ),
    "relative imports count too": (
        "ems/venues/gateway.py",
        "from ..bus import memory",
        "must not import ems.bus.memory",
    ),
    "imports inside functions count too": (
        "ems/core/book.py",
        "def f():\n    import server.auth",
        ":2: ems/core must not",
    ),
    "flask outside the face": ("ems/desk.py", "import flask", "flask stays in server/api"),
    "SQL outside the store": (
        "server/api/orders.py",
        "from sqlalchemy import select",
        "sqlalchemy stays in server/store",
    ),
    "a migration knows the tables": (
        "migrations/versions/1.py",
        "from server.store import tables",
        "must not import server",
    ),
    "a clock in the pure heart": ("ems/engine.py", "import time", "brings in the clock"),
    "a clock behind a type": ("ems/core/order.py", "datetime.now(UTC)", "brings in the clock"),
    "a die": ("ems/runner.py", "import random", "brings in the chance"),
    "a die without a seed": (
        "simulator/exchange.py",
        "from random import Random\nRandom()",
        ":2: Random() brings in",
    ),
    "an id from nowhere": ("ems/desk.py", "from uuid import uuid4", "brings in the chance"),
    "a socket": ("ems/desk.py", "import socket", "brings in the wire"),
    "a file in the pure heart": ("ems/core/book.py", "open('x')", "open() is not for pure code"),
    "waiting in the pure heart": ("ems/core/book.py", "async def f(): ...", "does not wait"),
    "an operating system in the pure heart": ("ems/algos/x.py", "import os", "os is not for pure code"),
    "numpy in core": ("ems/core/book.py", "import numpy as np", "numpy is not for pure code"),
    "a float literal in core": ("ems/core/book.py", "x = 0.1", "0.1 is a float"),
    "a price beside a duration": ("ems/core/book.py", "wait_s = 0.5\ntick = 0.5", ":2: 0.5 is a float"),
    "a float made in core": ("ems/core/book.py", "x = float('1')", "float() makes a float"),
    "a file without a subject": ("ems/core/utils.py", "", "has no subject"),
    "a wide line": ("ems/core/book.py", "# " + "x" * 109, "111 columns"),
    "a package of tests": ("tests/core/__init__.py", "", "collide"),
    "the demo builds for itself": (
        "demo.py",
        "from server.store.sql import SqlStore",
        "must not import server.store",
    ),
    "a new top folder": ("libs/x.py", "", "belongs to no room"),
    "SQL in an f-string": ("server/store/sql.py", "q = f'select a from {t}'", "builds SQL"),
    "SQL by addition": ("server/store/sql.py", "q = 'delete from ' + t", "builds SQL"),
    "SQL by percent": ("server/store/sql.py", "q = 'insert into t values (%s)' % v", "builds SQL"),
    "SQL by format": ("server/store/sql.py", "q = 'update t set a={}'.format(v)", "builds SQL"),
    "only pretending": ("ems/venues/gateway.py", "if self.paper:\n    pass", "asks `paper`"),
    "asking for a test": ("server/auth.py", "x = 1 if settings.is_test else 2", "asks `is_test`"),
}


@pytest.mark.parametrize("path, source, words", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_rule_is_noticed(path: str, source: str, words: str) -> None:
    found = findings(path, source)
    assert any(words in finding for finding in found), found


SOUND = {
    "core uses the quiet library": (
        "ems/core/order.py",
        "from decimal import Decimal\nfrom datetime import UTC, datetime",
    ),
    "seconds may be floats": ("ems/core/child.py", "wait_s: float = 5.0\nf(cutoff=0.6, gap_s=0.5)"),
    "routing calculates": ("ems/routing/solver.py", "import numpy as np\nfrom ems.core import book\nx = 0.5"),
    "a seeded die is handed in": ("simulator/faults.py", "from random import Random\nr = Random(7)"),
    "the face sees the desk": ("server/api/orders.py", "from ems.desk import Desk\nimport flask"),
    "the signature is defined once": ("server/auth.py", "from oms_client.signing import verify"),
    "the client imports itself": (
        "client/oms_client/client.py",
        "from . import signing\nimport requests\nimport time",
    ),
    "the tables bind their values": ("server/store/sql.py", "q = text('select a from b where c = :c')"),
    "names quoted by the driver": ("tests/services.py", "q = SQL('drop database {}').format(Identifier(n))"),
    "words that look like SQL": ("server/store/sql.py", "raise ValueError(f'select one of {names}')"),
    "app.py builds everything": (
        "app.py",
        "import time\nfrom server.store.sql import S\nfrom ems.venues.ccxt import G",
    ),
}


@pytest.mark.parametrize("path, source", SOUND.values(), ids=SOUND.keys())
def test_what_is_allowed_is_not_reported(path: str, source: str) -> None:
    assert findings(path, source) == []
