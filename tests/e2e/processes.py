"""Real processes for end-to-end tests: simulated exchanges and servers, started, killed and restarted."""

from __future__ import annotations

import base64
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from oms_client import OMSClient, signing
from tests.limits import take_away

ROOT = Path(__file__).resolve().parents[2]
START_S = 60.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class SimulatorProcess:
    """One simulated exchange in a process of its own: it outlives every kill of the server."""

    exchange: str
    log: Path
    unlimited: bool = True
    port: int = field(default_factory=free_port)
    public: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    private: str = field(default_factory=lambda: base64.b64encode(secrets.token_bytes(64)).decode())
    passphrase: str = ""
    admin_token: str = ""
    process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def keys(self) -> str:
        return ",".join(part for part in (self.public, self.private, self.passphrase) if part)

    def start(self) -> SimulatorProcess:
        command = [
            sys.executable,
            "app.py",
            "simulator",
            "--exchange",
            self.exchange,
            "--port",
            str(self.port),
            f"--keys={self.keys}",  # a key may start with a dash
        ]
        if self.unlimited:
            command.append("--unlimited")
        with self.log.open("a") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self.process.stdout is not None
        for line in self.process.stdout:
            name, _, value = line.strip().partition("=")
            if name == "admin_token":
                self.admin_token = value
                return self
        raise RuntimeError(f"the {self.exchange} simulator did not start; see {self.log}")

    def admin(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Call the admin API and return its data."""
        headers = {"Authorization": f"Bearer {self.admin_token}"}
        method = "GET" if body is None else "POST"
        answer = requests.request(method, f"{self.url}/admin/{path}", json=body, headers=headers, timeout=20)
        answer.raise_for_status()
        return answer.json()["data"]

    def stop(self) -> None:
        _end(self.process)


@dataclass
class ServerProcess:
    """The order server as a process: what `python app.py serve` is."""

    simulators: list[SimulatorProcess]
    db_url: str
    log: Path
    unlimited: bool = True
    environment: dict[str, str] = field(default_factory=dict)
    arguments: list[str] = field(default_factory=list)
    keys: signing.KeyPair = field(default_factory=signing.generate_keys)
    admin: signing.KeyPair = field(default_factory=signing.generate_keys)
    limited: bool = False  # with limits as they are by default, or as they were set
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> float:
        """Start and wait until it is ready; return how long that took in seconds."""
        started = time.monotonic()
        self.spawn()
        self.wait_ready(started + START_S)
        took = time.monotonic() - started
        if not self.limited:
            take_away(OMSClient("adam", self.url, "desk", key=self.admin.private))
            self.limited = True  # as an admin set them: they are on record
        return took

    def spawn(self) -> None:
        command = [sys.executable, "app.py", "serve", *self.arguments]
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "OMS_KEYS": f"alice,{self.keys.public};adam,{self.admin.public},admin",
            "OMS_PORT": str(self.port),
            "DB_URL": self.db_url,
            **self.environment,
        }
        for simulator in self.simulators:
            command += ["--paper", f"{simulator.exchange}={simulator.url}"]
            name = f"{simulator.exchange.upper()}_TRADE_KEYS"
            environment[name] = simulator.keys
        if self.unlimited:
            command.append("--unlimited")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)

    def wait_ready(self, deadline: float) -> None:
        assert self.process is not None
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended with {self.process.returncode}; see {self.log}")
            try:
                if requests.get(f"{self.url}/readyz", timeout=2).status_code == 200:
                    return
            except requests.RequestException:
                pass
            time.sleep(0.02)
        raise RuntimeError(f"the server was not ready in time; see {self.log}")

    def kill(self) -> None:
        """SIGKILL: no handler runs, nothing is flushed."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> int | None:
        """SIGTERM; return the exit status."""
        return _end(self.process)


def _end(process: subprocess.Popen[Any] | None) -> int | None:
    if process is None:
        return None
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
    return process.returncode
