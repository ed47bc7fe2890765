"""`./oms simulator` as a process: what it prints, what it refuses, its weather, and TLS."""

from __future__ import annotations

import json
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
import trustme
import websocket

import app
from simulator.dialects import LISTED
from simulator.tls import from_files

ROOT = Path(__file__).resolve().parents[2]


def command(*arguments: str) -> list[str]:
    return [sys.executable, str(ROOT / "app.py"), "simulator", *arguments]


@contextmanager
def running(*arguments: str) -> Iterator[dict[str, str]]:
    """Start a simulator and give what it printed: name -> value."""
    process = subprocess.Popen(command(*arguments), stdout=subprocess.PIPE, text=True)
    told: dict[str, str] = {}
    try:
        assert process.stdout is not None
        for line in process.stdout:
            name, equals, value = line.strip().partition("=")
            if not equals:
                break  # what is replayed comes last
            told[name] = value
        yield told
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert not any(Path(value).exists() for name, value in told.items() if name == "SSL_CERT_FILE")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--swaps"], "--swaps: kraken is simulated without contracts; bybit, okx have them"),
        (["--faults", "stormy"], "--faults stormy: no such file, and no profile of that name"),
        (["--faults", "{rules}"], "--faults {rules}: rule 2: status: use an HTTP status from 200 to 599"),
        (["--tls-cert", "{rules}"], "--tls-cert and --tls-key go together; give both"),
        (["--tls-cert", "absent", "--tls-key", "absent"], "--tls-cert absent: no such file"),
        (
            ["--tls-cert", "{rules}", "--tls-key", "{rules}"],
            "--tls-cert {rules}: not a PEM certificate with the key in {rules}",
        ),
    ],
)
def test_what_is_wrong_stops_the_start_in_one_line(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = tmp_path / "weather.json"
    rules.write_text(json.dumps([{"action": "hang"}, {"action": "status", "status": 99}]))
    given = [argument.replace("{rules}", str(rules)) for argument in arguments]
    assert app.main(["simulator", "--exchange", "kraken", *given]) == 2
    told = capsys.readouterr()
    (line,) = told.err.splitlines()
    assert told.out == "" and line.startswith("oms: " + words.replace("{rules}", str(rules)))


def test_weather_from_a_file_changed_while_it_runs_behind_a_certificate_of_its_own(tmp_path: Path) -> None:
    rules = tmp_path / "weather.json"
    rules.write_text(json.dumps([{"action": "status", "status": 503, "kinds": "time"}]))
    with running("--exchange", "binance", "--faults", str(rules), "--tls") as told:
        assert told["url"].startswith("https://127.0.0.1:")
        clock, faults = f"{told['url']}/api/v3/time", f"{told['url']}/admin/faults"
        with pytest.raises(requests.exceptions.SSLError):
            requests.get(clock, timeout=5)
        person = requests.Session()
        person.trust_env = False
        person.verify = told["REQUESTS_CA_BUNDLE"]
        person.headers["Authorization"] = f"Bearer {told['admin_token']}"
        assert person.get(clock, timeout=5).status_code == 503
        shown = person.get(faults, timeout=5).json()["data"]
        assert [rule["action"] for rule in shown["rules"]] == ["status"]
        assert [(one["action"], one["target"]) for one in shown["struck"]] == [("status", "time")]
        wrong = person.post(faults, json={"rules": [{"action": "rain"}]}, timeout=5)
        assert wrong.status_code == 400
        assert wrong.json()["error"]["message"].startswith("rule 1: action: 'rain' is unknown")
        assert person.get(clock, timeout=5).status_code == 503, "a wrong rule changes nothing"
        assert person.post(faults, json={"profile": "mild"}, timeout=5).ok
        assert person.delete(faults, timeout=5).ok
        assert abs(person.get(clock, timeout=5).json()["serverTime"] / 1000 - time.time()) < 60
        context = ssl.create_default_context(cafile=told["SSL_CERT_FILE"])
        context.verify_flags |= ssl.VERIFY_X509_STRICT  # as newer Pythons check
        address = f"wss://localhost:{urlsplit(told['url']).port}/ws/btcusdt@depth"
        socket = websocket.create_connection(address, timeout=5, sslopt={"context": context})
        assert json.loads(socket.recv())["s"] == "BTCUSDT"
        socket.close()


def test_a_given_certificate_is_shown(tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    files = {name: tmp_path / name for name in ("ca", "certificate", "key")}
    authority.cert_pem.write_to_path(str(files["ca"]))
    issued.private_key_pem.write_to_path(str(files["key"]))
    for part in issued.cert_chain_pems:
        part.write_to_path(str(files["certificate"]), append=True)
    simulated = app.start_simulator("kraken", tls=from_files(files["certificate"], files["key"]))
    try:
        person = requests.Session()
        person.trust_env = False  # the machine may trust others
        answer = person.get(f"{simulated.venue.url}/0/public/Time", timeout=5, verify=str(files["ca"]))
        assert answer.json()["error"] == []
    finally:
        simulated.stop()


def test_every_exchange_can_be_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        app.main(["simulator", "--exchange", "nowhere"])
    told = capsys.readouterr().err
    assert [exchange for exchange in LISTED if exchange not in told] == []
