"""The real server on a real port, spoken to byte by byte: what it must not take, and how it stops."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ems.core import errors
from server import asgi
from tests.server.api_world import HOST, MARKET_ORDER, StubDesk, make_app, signed

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Server:
    port: int
    desk: StubDesk
    lag: asgi.LoopLag

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def send(self, raw: bytes) -> tuple[int, dict[str, str], bytes]:
        """Send bytes as they are; return status, headers and body of the first answer."""
        with self.connect() as connection:
            connection.sendall(raw)
            return read_answer(connection)


def read_answer(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(65536)
        assert piece, f"the server hung up after {received!r}"
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
    while len(body) < int(headers.get("content-length", "0")):
        piece = connection.recv(65536)
        if not piece:
            break
        body += piece
    return int(lines[0].split()[1]), headers, body


def request(
    method: str,
    target: str,
    body: bytes = b"",
    *extra: str,
    user: str = "alice",
    host: str = HOST,
    signed_as: str = "",
) -> bytes:
    """Spell a signed request."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}"]
    lines += [f"{n}: {v}" for n, v in signed(user, method, signed_as or target, body).items()]
    if method == "POST":
        lines += ["Content-Type: application/json", "Idempotency-Key: k-1"]
        if not any(line.lower().startswith(("content-length", "transfer-encoding")) for line in extra):
            lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, *extra, "", ""]).encode("latin-1") + body


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    desk = StubDesk()
    lag = asgi.LoopLag()
    app = make_app(desk, loop_lag_ms=lag.ms)
    port = asgi.Port(
        asgi.build(app, mode=desk.mode, ids=lambda: "r-port"), asgi.listen("127.0.0.1", 0), lag=lag
    )
    thread = threading.Thread(target=port.run)
    thread.start()
    try:
        yield Server(port.address[1], desk, lag)
    finally:
        desk.release.set()
        port.stop()
        thread.join(15)
    assert not thread.is_alive()


@pytest.fixture(autouse=True)
def forgotten(server: Server) -> None:
    server.desk.calls.clear()
    server.desk.keys.clear()


ORDER = json.dumps(MARKET_ORDER).encode()


def test_a_signed_write_goes_all_the_way(server: Server) -> None:
    status, headers, body = server.send(request("POST", "/api/market_order", ORDER))
    assert status == 202
    assert headers["content-type"] == "application/json"
    assert json.loads(body)["data"]["verb"] == "market_order"
    assert "server" not in headers
    assert [call[0] for call in server.desk.calls] == ["submit"]


def test_a_signed_read_with_an_encoded_query(server: Server) -> None:
    target = "/api/get_balances?exchange=kraken&bot=a%2Fb%20c"
    status, _, body = server.send(request("GET", target))
    assert (status, json.loads(body)["data"]["exchange"]) == (200, "kraken")
    assert server.desk.calls[0][1]["bot"] == "a/b c"  # type: ignore[index]


def test_the_signature_is_over_the_very_bytes_of_the_target(server: Server) -> None:
    target, other = "/api/get_balances?exchange=kraken&bot=a%2Fb", "/api/get_balances?exchange=kraken&bot=a/b"
    status, _, body = server.send(request("GET", target, signed_as=other))
    assert (status, json.loads(body)["error"]["code"]) == (401, errors.AUTH_BAD_SIGNATURE)


def test_chunks_make_the_same_body(server: Server) -> None:
    half = len(ORDER) // 2
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(c), c) for c in (ORDER[:half], ORDER[half:])) + b"0\r\n\r\n"
    raw = request("POST", "/api/market_order", ORDER, "Transfer-Encoding: chunked")
    status, _, _ = server.send(raw[: -len(ORDER)] + chunks)
    assert status == 202


def test_a_trailer_is_not_a_header(server: Server) -> None:
    chunks = b"%x\r\n%s\r\n0\r\nIdempotency-Key: other\r\nHost: evil\r\n\r\n" % (len(ORDER), ORDER)
    raw = request("POST", "/api/market_order", ORDER, "Transfer-Encoding: chunked")
    status, _, _ = server.send(raw[: -len(ORDER)] + chunks)
    assert status == 202
    assert server.desk.calls[0][1].idempotency_key == "k-1"  # type: ignore[attr-defined]


def head(*lines: str) -> bytes:
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


GET = request("GET", "/api/get_balances?exchange=kraken")
HOSTILE = {  # name -> (bytes, statuses that are right, words of the message)
    "two Host headers": (request("GET", "/api/check_health", b"", "Host: evil"), 400, "2 Host headers"),
    "no Host header": (head("GET /livez HTTP/1.1"), 400, "0 Host headers"),
    "no Host header, HTTP/1.0": (head("GET /livez HTTP/1.0"), 400, "0 Host headers"),
    "absolute target": (
        head("GET http://evil/livez HTTP/1.1", f"Host: {HOST}"),
        400,
        "does not begin with /",
    ),
    "absolute target, own name": (
        head(f"GET http://{HOST}/livez HTTP/1.1", f"Host: {HOST}"),
        400,
        "begin with /",
    ),
    "asterisk target": (head("OPTIONS * HTTP/1.1", f"Host: {HOST}"), 400, "does not begin with /"),
    "authority target": (head("CONNECT evil:443 HTTP/1.1", f"Host: {HOST}"), 400, ""),
    "encoded slash": (head("GET /api%2Fdocs HTTP/1.1", f"Host: {HOST}"), 404, "no such path"),
    "encoded letter": (head("GET /api/doc%73 HTTP/1.1", f"Host: {HOST}"), 404, "no such path"),
    "dots": (head("GET /x/../livez HTTP/1.1", f"Host: {HOST}"), 404, "no such path"),
    "two slashes": (head("GET //livez HTTP/1.1", f"Host: {HOST}"), 404, "no such path"),
    "semicolon": (head("GET /livez;x=1 HTTP/1.1", f"Host: {HOST}"), 404, "no such path"),
    "trailing slash": (head("GET /livez/ HTTP/1.1", f"Host: {HOST}"), 404, "no such path"),
    "NUL": (head("GET /livez\0 HTTP/1.1", f"Host: {HOST}"), 400, ""),
    "not ASCII": (head("GET /livéz HTTP/1.1", f"Host: {HOST}"), 400, ""),
    "not ASCII in the query": (head("GET /livez?é HTTP/1.1", f"Host: {HOST}"), 400, ""),
    "length and chunks": (
        request(
            "POST", "/api/market_order", ORDER, f"Content-Length: {len(ORDER)}", "Transfer-Encoding: chunked"
        ),
        400,
        "",
    ),
    "two lengths": (
        request("POST", "/api/market_order", ORDER, f"Content-Length: {len(ORDER)}", "Content-Length: 5"),
        400,
        "",
    ),
    "huge length": (
        request("POST", "/api/market_order", b"", "Content-Length: 9999999999"),
        413,
        "65536 bytes",
    ),
    "huge body in chunks": (
        request("POST", "/api/market_order", b"", "Transfer-Encoding: chunked")
        + b"".join(b"4000\r\n" + b"x" * 0x4000 + b"\r\n" for _ in range(5)),
        413,
        "65536 bytes",
    ),
    "bare line feeds": (GET.replace(b"\r\n", b"\n"), 400, ""),
    "space before the colon": (head("GET /livez HTTP/1.1", f"Host : {HOST}"), 400, ""),
    "folded header": (head("GET /livez HTTP/1.1", f"Host: {HOST}", "X-A: b", " c"), 400, ""),
    "underscore in a name": (
        head("GET /livez HTTP/1.1", f"Host: {HOST}", "Signature_Input: x"),
        400,
        "underscore",
    ),
    "large head": (
        head("GET /livez HTTP/1.1", f"Host: {HOST}", "X-A: " + "b" * 20_000),
        400,
        "larger than 16384",
    ),
    "many headers": (
        head("GET /livez HTTP/1.1", f"Host: {HOST}", *["X-A: b"] * 9000),
        400,
        "larger than 16384",
    ),
    "long target": (
        head("GET /livez?" + "a" * 20_000 + " HTTP/1.1", f"Host: {HOST}"),
        400,
        "larger than 16384",
    ),
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 100, 400, ""),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, ""),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bytes_are_refused_in_the_envelope(server: Server, name: str) -> None:
    raw, expected, words = HOSTILE[name]
    started = time.monotonic()
    status, headers, body = server.send(raw)
    assert status == expected
    said = json.loads(body)
    assert set(said) == {"status", "mode", "request_id", "error"}
    assert (said["status"], said["mode"], said["request_id"]) == ("error", "paper", "r-port")
    assert words in said["error"]["message"]
    assert said["error"]["code"] in errors.CODES
    assert headers["connection"] == "close"
    assert server.desk.calls == []
    assert time.monotonic() - started < 2


def test_deep_json_is_a_bad_request_and_not_a_crash(server: Server) -> None:
    body = b'{"quantity": ' + b"[" * 60_000
    status, _, answer = server.send(request("POST", "/api/market_order", body))
    assert (status, json.loads(answer)["error"]["code"]) == (400, errors.REQUEST_MALFORMED)
    assert [call[0] for call in server.desk.calls] == ["refuse"]


def test_a_repeated_signature_header_is_refused(server: Server) -> None:
    value = signed("alice", "GET", "/api/check_health")["Signature"]
    status, _, body = server.send(request("GET", "/api/check_health", b"", f"Signature: {value}"))
    assert (status, json.loads(body)["error"]["code"]) == (401, errors.AUTH_MALFORMED)


def test_the_same_bytes_twice_are_a_replay(server: Server) -> None:
    raw = request("POST", "/api/market_order", ORDER)
    assert server.send(raw)[0] == 202
    status, _, body = server.send(raw)
    assert (status, json.loads(body)["error"]["code"]) == (401, errors.AUTH_REPLAYED)
    assert [call[0] for call in server.desk.calls] == ["submit"]


def test_a_forwarded_address_is_not_believed(server: Server) -> None:
    forged = "X-Forwarded-For: 203.0.113.9"
    for _ in range(25):  # were it believed, each sender below would be another one, with failures of its own
        server.send(head("GET /api/check_health HTTP/1.1", f"Host: {HOST}", "X-Forwarded-For: 198.51.100.7"))
    status, _, body = server.send(head("GET /api/check_health HTTP/1.1", f"Host: {HOST}", forged))
    assert (status, json.loads(body)["error"]["code"]) == (429, errors.RATE_LIMITED)


def test_many_requests_on_one_connection_and_pipelined(server: Server) -> None:
    with server.connect() as connection:
        for _ in range(3):
            connection.sendall(request("GET", "/api/get_fees?exchange=kraken"))
            assert read_answer(connection)[0] == 200
        connection.sendall(head("GET /livez HTTP/1.1", f"Host: {HOST}") * 2)
        time.sleep(0.1)
        assert connection.recv(65536).count(b"HTTP/1.1 200 OK") >= 1


def test_a_websocket_is_turned_away(server: Server) -> None:
    status, _, _ = server.send(
        head(
            "GET /api/stream HTTP/1.1",
            f"Host: {HOST}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        )
    )
    assert status == 404


def test_slow_callers_hold_no_thread(server: Server) -> None:
    slow = [server.connect() for _ in range(asgi.WORKERS + 8)]
    try:
        for connection in slow:
            connection.sendall(request("POST", "/api/market_order", ORDER)[:-5])
        started = time.monotonic()
        assert server.send(head("GET /livez HTTP/1.1", f"Host: {HOST}"))[0] == 200
        assert time.monotonic() - started < 2
    finally:
        for connection in slow:
            connection.close()


def test_a_head_that_never_ends_is_given_up(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asgi, "HEAD_TIMEOUT_S", 0.2)
    for first in (b"", b"\r\n", b"GET /livez HTTP/1.1\r\nHost: x\r\n"):
        with server.connect() as connection:
            connection.sendall(first)
            assert connection.recv(100) == b""
    with server.connect() as connection:  # a line break stops uvicorn's own clock for idle connections
        connection.sendall(head("GET /livez HTTP/1.1", f"Host: {HOST}"))
        assert read_answer(connection)[0] == 200
        connection.sendall(b"\r\n")
        connection.settimeout(3)
        assert connection.recv(100) == b""


def test_a_body_that_never_comes_is_given_up(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asgi, "BODY_TIMEOUT_S", 0.2)
    status, _, body = server.send(request("POST", "/api/market_order", ORDER)[:-5])
    assert (status, json.loads(body)["error"]["message"]) == (408, "the body did not arrive in time")
    assert server.desk.calls == []


def test_waiting_callers_leave_room_for_orders(server: Server) -> None:
    server.desk.release.clear()
    waiting = [server.connect() for _ in range(40)]
    try:
        for connection in waiting:
            connection.sendall(request("GET", "/api/get_query?query_id=q-1&wait_s=25"))
        started = time.monotonic()
        status, _, _ = server.send(request("POST", "/api/market_order", ORDER))
        assert status == 202
        assert time.monotonic() - started < 3
    finally:
        server.desk.release.set()
        for connection in waiting:
            connection.close()


def test_the_lag_of_the_loop_is_measured(server: Server) -> None:
    time.sleep(0.05)
    assert 0 <= server.lag.ms() < 1000
    assert server.lag._loop is not None
    server.lag._loop.call_soon_threadsafe(time.sleep, 0.6)
    time.sleep(0.5)
    late = server.lag.ms()
    time.sleep(0.6)
    assert late >= 100 or server.lag.ms() >= 100


PROGRAM = """
import itertools, sys, threading, time
sys.path[:0] = [{root!r}, {client!r}]
from server import asgi
from tests.server.api_world import *
desk = StubDesk()
app = make_app(desk)
listener = asgi.listen("127.0.0.1", 0)
print(listener.getsockname()[1], flush=True)
asgi.Port(asgi.build(app, mode=desk.mode, ids=lambda: "p"), listener, on_stop=desk.release.set).run()
print("stopped", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_cleanly_and_lets_waiting_callers_go(number: signal.Signals) -> None:
    program = PROGRAM.format(root=str(ROOT), client=str(ROOT / "client"))
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env={**os.environ}
    )
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(request("GET", "/api/get_query?query_id=q-1&wait_s=25"))
            time.sleep(0.5)
            process.send_signal(number)
            assert read_answer(connection)[0] == 404  # it was answered, not cut off
        assert process.stdout.readline() == "stopped\n"
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()


def test_a_taken_port_is_an_error_at_once(server: Server) -> None:
    with pytest.raises(OSError):
        asgi.listen("127.0.0.1", server.port)
