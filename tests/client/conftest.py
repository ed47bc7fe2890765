"""A small real server for the client's tests: HTTP on a free port, signatures checked by the real code."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from oms_client import OMSClient, signing
from server.auth import Authenticator, AuthError, parse_keys

KEY = signing.PrivateKey(b"\x01" * 32)


@dataclass
class Received:
    """One request as it arrived."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def verb(self) -> str:
        return urlsplit(self.target).path.rpartition("/")[2]

    @property
    def query(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(urlsplit(self.target).query).items()}

    @property
    def json(self) -> Any:
        """Return the body without the key, which it says a second time where the signature covers it."""
        said = json.loads(self.body)
        assert said.pop("idempotency_key", self.key) == self.key
        return said

    @property
    def key(self) -> str | None:
        return self.headers.get("Idempotency-Key")


class StubOMS:
    """The wire of the real server with a scripted desk behind it.

    `faults` are taken one per request: "lose" (carry it out, then cut the connection), "cut" (cut it before
    anything is done), (status, body, headers) to answer by itself, None for nothing. `stages` are the changes
    a new query goes through, one for each long-poll.
    """

    def __init__(self, clock=time.time) -> None:
        self.clock = clock
        self.requests: list[Received] = []
        self.faults: deque[Any] = deque()
        self.stages: list[dict[str, Any]] = [{"status": "done", "result": {"outcome": "done", "reason": ""}}]
        self.answers: dict[str, Any] = {}  # verb of a question -> its data
        self.refusals: dict[str, tuple[int, dict[str, Any]]] = {}  # verb -> status and error
        self.queries: dict[str, dict[str, Any]] = {}  # query id -> view
        self.by_key: dict[str, tuple[bytes, str]] = {}  # idempotency key -> body, query id
        self.left: dict[str, deque[dict[str, Any]]] = {}  # query id -> stages still to come
        self.polled = threading.Event()
        self.hold = threading.Event()  # long-polls answer once it is set
        self.hold.set()
        self.restart()
        handler = type("Handler", (_Handler,), {"oms": self})
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.http.daemon_threads = True
        self.port = self.http.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def restart(self, at: float | None = None) -> None:
        boot = self.clock() - 3600 if at is None else at
        self.authenticator = Authenticator(parse_keys(f"alice,{KEY.public}"), (), self.clock, boot)

    def stop(self) -> None:
        self.hold.set()
        self.http.shutdown()
        self.http.server_close()

    @property
    def writes(self) -> list[Received]:
        return [request for request in self.requests if request.method == "POST"]

    # --- the desk ---

    def answer(self, request: Received) -> tuple[int, dict[str, Any], dict[str, Any]]:
        if request.verb in self.refusals:
            status, error = self.refusals[request.verb]
            return status, {"error": error}, {}
        if request.method == "POST":
            return self.submit(request)
        if request.verb == "get_query":
            return self.poll(request)
        return 200, {"data": self.answers.get(request.verb, {})}, {}

    def submit(self, request: Received) -> tuple[int, dict[str, Any], dict[str, Any]]:
        assert request.key
        if request.key in self.by_key:
            body, query_id = self.by_key[request.key]
            if body != request.body:
                return 409, {"error": error_view("IDEMPOTENCY_CONFLICT", "the key was used before")}, {}
            query = {**self.queries[query_id], "duplicate": True}
            if query["status"] == "failed":
                details = {**query["error"]["details"], "query_id": query_id, "duplicate": True}
                return 422, {"error": {**query["error"], "details": details}}, {}
            return 200, {"data": query}, {}
        query_id = f"q-{len(self.queries) + 1}"
        parameters = request.json
        self.queries[query_id] = {
            "query_id": query_id,
            "user": "alice",
            "bot": parameters.get("bot"),
            "verb": request.verb,
            "exchange": parameters.get("exchange"),
            "status": "working",
            "seq": 1,
            "accepted_at": "2026-11-21T06:30:00.100000Z",
            "finished_at": None,
            "duplicate": False,
            "parameters": parameters,
            "progress": None,
            "result": None,
            "error": None,
            "orders": [],
        }
        self.by_key[request.key] = (request.body, query_id)
        self.left[query_id] = deque(self.stages)
        return 202, {"data": self.queries[query_id]}, {}

    def poll(self, request: Received) -> tuple[int, dict[str, Any], dict[str, Any]]:
        query_id = request.query["query_id"]
        if query_id not in self.queries:
            return 404, {"error": error_view("QUERY_NOT_FOUND", "there is no such query")}, {}
        self.polled.set()
        if int(request.query.get("wait_s", 0)):
            self.hold.wait(5)
            if self.left[query_id]:
                query = self.queries[query_id]
                self.queries[query_id] = {**query, "seq": query["seq"] + 1, **self.left[query_id].popleft()}
        return 200, {"data": self.queries[query_id]}, {}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    oms: StubOMS

    def do_GET(self) -> None:
        self.serve()

    def do_POST(self) -> None:
        self.serve()

    def serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        request = Received(self.command, self.path, dict(self.headers.items()), body)
        self.oms.requests.append(request)
        fault = self.oms.faults.popleft() if self.oms.faults else None
        if fault == "cut":
            return self.cut()
        if isinstance(fault, tuple):
            return self.reply(*fault)
        try:
            self.oms.authenticator.authenticate(
                self.command, self.path, list(self.headers.items()), body, self.client_address[0]
            )
        except AuthError as error:
            said = error_view(error.code, error.message, hint=error.hint, details=error.details)
            return self.envelope(error.http_status, {"error": said}, {})
        picture = self.oms.answers.get(request.verb)
        if isinstance(picture, bytes):
            return self.reply(200, picture, {"Content-Type": "image/png"})
        answer = self.oms.answer(request)
        if fault == "lose":
            return self.cut()
        self.envelope(*answer)

    def envelope(self, status: int, content: dict[str, Any], headers: dict[str, Any]) -> None:
        good = "data" in content
        body = {"status": "ok" if good else "error", "mode": "paper", "request_id": "r-1", **content}
        self.reply(status, json.dumps(body), {"Content-Type": "application/json", **headers})

    def reply(self, status: int, body: str | bytes, headers: dict[str, Any]) -> None:
        data = body if isinstance(body, bytes) else body.encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def cut(self) -> None:
        # A reset, not an orderly end: linger of zero.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def log_message(self, *_: Any) -> None:
        pass

    def finish(self) -> None:
        try:
            super().finish()
        except (OSError, ValueError):
            pass  # the connection was cut on purpose


def error_view(code: str, message: str, **fields: Any) -> dict[str, Any]:
    return {
        "code": code,
        "message": message,
        "hint": "",
        "retry_safe": False,
        "details": {},
        "venue_code": None,
        "venue_message": None,
        **fields,
    }


@dataclass
class Heard:
    """What on_event was told."""

    states: list[tuple[str, int]] = field(default_factory=list)

    def __call__(self, query: Any) -> None:
        self.states.append((query["status"], query["seq"]))


@pytest.fixture
def oms(monkeypatch):
    monkeypatch.setattr("oms_client.transport.BACKOFF_S", 0.01)
    monkeypatch.setattr("oms_client.connection.POLL_PAUSE_S", 0.01)
    server = StubOMS()
    yield server
    server.stop()


@pytest.fixture
def client(oms):
    with OMSClient("alice", oms.url, "bot-1", key=KEY.reveal(), timeout=(1, 7), on_event=Heard()) as made:
        yield made
