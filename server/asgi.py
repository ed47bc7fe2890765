"""The port: uvicorn in front, Flask behind it on threads, and a guard between the two.

Rules:
1. One process, one port. HTTP is parsed on the event loop; only whole requests reach a thread, and only whole
   answers leave one, so that a slow or silent caller never holds a thread.
2. uvicorn's parser takes more than a signed API may: an absolute target and a second Host are refused here.
3. What a forwarded header claims about the caller is not believed.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import re
import signal
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any

import uvicorn
from a2wsgi import WSGIMiddleware
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ems.core import errors
from ems.core.codec import MAX_BODY_BYTES

log = logging.getLogger("server.asgi")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

WORKERS = 96  # threads at most, started as needed; server/api/lanes.py says who may hold them
BODY_TIMEOUT_S = 10.0
HEAD_TIMEOUT_S = 10.0
HEAD_BYTES_MAX = 16 * 1024  # nginx takes 8 KiB a line, gunicorn 8 KiB a field; ours need under 2 KiB in all
CONNECTIONS_MAX = 512
STOP_TIMEOUT_S = 10
LAG_EVERY_S = 0.25

# No path of this API has anything to decode; `%2F`, `//`, `;` and `..` are how paths are made to lie.
_PATH = re.compile(rb"(?:/[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*)+|/", re.ASCII)
_QUERY = re.compile(rb"[!-~]*")


class StrictProtocol(HttpToolsProtocol):
    """uvicorn's parser, with a deadline and a size for the head, and origin-form targets only."""

    def __init__(self, *args: Any, envelope: Callable[[int, str, str], bytes], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._envelope = envelope
        self._head_bytes = 0
        self._in_head = False
        self._head_deadline: asyncio.TimerHandle | None = None
        self._refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_came()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return  # what follows a refused head is not read
        if self.cycle is None or self.cycle.response_complete:
            self._expect_head()
        super().data_received(data)

    def on_message_begin(self) -> None:
        self._head_bytes = 0
        self._in_head = True
        self._expect_head()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(name + value)
        # Trailers come by this way too. They are not headers: the head has been judged without them.
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_came()
        # uvicorn would strip `http://other-host` and go on; only proxies may send it (RFC 9112 3.2.2).
        if not self._refused and not self.url.startswith(b"/"):
            self.send_400_response("the request target does not begin with /")
        if not self._refused:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if not self._refused:
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what the parser refuses in the API's own words, and hang up."""
        self._refused = True
        if self.transport.is_closing():
            return
        body = self._envelope(400, errors.REQUEST_MALFORMED, msg)
        head = (
            f"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
            "cache-control: no-store\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode("ascii") + body)
        self.transport.close()

    def _count(self, data: bytes) -> None:
        self._head_bytes += len(data)
        if self._head_bytes > HEAD_BYTES_MAX and not self._refused:
            self.send_400_response(f"the head of the request is larger than {HEAD_BYTES_MAX} bytes")

    def _expect_head(self) -> None:
        if self._head_deadline is None:
            self._head_deadline = self.loop.call_later(HEAD_TIMEOUT_S, self.transport.close)

    def _head_came(self) -> None:
        if self._head_deadline is not None:
            self._head_deadline.cancel()
            self._head_deadline = None


class Guard:
    """Let only whole, plain requests through to the application; answer the rest in its envelope."""

    def __init__(self, app: Any, *, mode: Callable[[], str], ids: Callable[[], str]) -> None:
        self._app = app
        self._mode = mode
        self._ids = ids

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": "there are no streams here yet"})
            return
        if scope["type"] != "http":
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            await self._answer(send, *refusal)
            return
        try:
            body = await asyncio.wait_for(_whole_body(receive), BODY_TIMEOUT_S)
        except TimeoutError:
            await self._answer(send, 408, errors.REQUEST_MALFORMED, "the body did not arrive in time")
            return
        if body is None:
            await self._answer(
                send, 413, errors.REQUEST_TOO_LARGE, f"the body is larger than {MAX_BODY_BYTES} bytes"
            )
            return
        if body is _GONE:
            return
        await self._run(scope, body, send)

    def _refusal(self, scope: Scope) -> tuple[int, str, str] | None:
        """Say what is wrong with the head of a request: HTTP status, code, message."""
        names = [name for name, _ in scope["headers"]]
        if names.count(b"host") != 1:
            return (
                400,
                errors.REQUEST_MALFORMED,
                f"there are {names.count(b'host')} Host headers; there must be one",
            )
        if any(b"_" in name for name in names):
            # Flask reads X_Y and X-Y as one header; so do proxies that strip one and forget the other.
            return 400, errors.REQUEST_MALFORMED, "a header name contains an underscore"
        if names.count(b"content-length") + names.count(b"transfer-encoding") > 1:
            return 400, errors.REQUEST_MALFORMED, "the length of the body is said more than once"
        if not _QUERY.fullmatch(scope["query_string"]):
            return (
                400,
                errors.REQUEST_MALFORMED,
                "the query string contains characters that must be percent-encoded",
            )
        if not _PATH.fullmatch(scope["raw_path"]):
            return 404, errors.REQUEST_NOT_FOUND, "there is no such path"
        for name, value in scope["headers"]:
            if name == b"content-length" and (not value.isdigit() or int(value[:20]) > MAX_BODY_BYTES):
                return 413, errors.REQUEST_TOO_LARGE, f"the body is larger than {MAX_BODY_BYTES} bytes"
        return None

    async def _run(self, scope: Scope, body: bytes, send: Send) -> None:
        """Run the application on a thread over a body that is here, and send its answer when it is whole."""
        # The body is here and counted; how it travelled no longer matters.
        headers = [
            (name, value)
            for name, value in scope["headers"]
            if name not in (b"content-length", b"transfer-encoding", b"expect")
        ]
        headers.append((b"content-length", str(len(body)).encode("ascii")))
        whole: list[Message] = []

        async def receive_whole() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async def keep(message: Message) -> None:
            whole.append(message)

        await self._app({**scope, "headers": headers}, receive_whole, keep)
        for message in whole:
            await send(message)

    async def _answer(self, send: Send, status: int, code: str, message: str) -> None:
        body = self.envelope(status, code, message)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode("ascii")),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
            (b"connection", b"close"),  # the rest of what the caller sends is not worth reading
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def envelope(self, status: int, code: str, message: str) -> bytes:
        """Write a refusal as the API writes its own, and note it in the log."""
        row = errors.CODES[code]
        request_id = self._ids()
        log.info("%s - refused at the port: %s %s", request_id, status, message)
        error = {
            "code": code,
            "message": message,
            "hint": row.hint,
            "retry_safe": row.retry_safe,
            "details": {},
            "venue_code": None,
            "venue_message": None,
        }
        said = {"status": "error", "mode": self._mode(), "request_id": request_id, "error": error}
        return json.dumps(said).encode("utf-8")


_GONE = b"the caller hung up"  # compared by identity


async def _whole_body(receive: Receive) -> bytes | None:
    """Return the body, None when it is too large, _GONE when the caller left before its end."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return _GONE
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            return None
        if not message.get("more_body", False):
            return bytes(body)


class LoopLag:
    """How late the event loop comes to its work, in milliseconds: a blocked loop must be seen."""

    def __init__(self) -> None:
        self._due: float | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._last_ms = 0

    async def measure(self) -> None:
        """Look at the clock of the loop again and again; runs until cancelled."""
        self._loop = asyncio.get_running_loop()
        while True:
            self._due = self._loop.time() + LAG_EVERY_S
            await asyncio.sleep(LAG_EVERY_S)
            self._last_ms = max(0, round((self._loop.time() - self._due) * 1000))

    def ms(self) -> int:
        """Return the lag last seen, or the lag so far of a loop that is late right now."""
        if self._loop is None or self._due is None:
            return 0
        return max(self._last_ms, round((self._loop.time() - self._due) * 1000))


def build(wsgi_app: Any, *, mode: Callable[[], str], ids: Callable[[], str], workers: int = WORKERS) -> Guard:
    """Put a Flask application behind the guard."""
    return Guard(WSGIMiddleware(wsgi_app, workers=workers), mode=mode, ids=ids)


def listen(host: str, port: int) -> socket.socket:
    """Open the port; raises OSError. Port 0 takes a free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(CONNECTIONS_MAX)
    except OSError:
        listener.close()
        raise
    return listener


class _Server(uvicorn.Server):
    """uvicorn's server without its signal handlers: those raise the signal again when all is done."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Port:
    """The running server: `run` blocks until SIGTERM, SIGINT or `stop`, and then returns."""

    def __init__(
        self,
        app: Guard,
        listener: socket.socket,
        *,
        lag: LoopLag | None = None,
        on_stop: Callable[[], None] = lambda: None,
    ) -> None:
        self._listener = listener
        self.address: tuple[str, int] = listener.getsockname()[:2]
        self._lag = lag or LoopLag()
        self._on_stop = on_stop
        self._server = _Server(
            uvicorn.Config(
                app,
                http=functools.partial(StrictProtocol, envelope=app.envelope),  # type: ignore[arg-type]
                ws="none",
                loop="uvloop",
                lifespan="off",
                log_config=None,
                access_log=False,  # the application writes its own line, with the user and the request id
                proxy_headers=False,
                server_header=False,
                limit_concurrency=CONNECTIONS_MAX,
                timeout_keep_alive=30,
                timeout_graceful_shutdown=STOP_TIMEOUT_S,
            )
        )

    def run(self) -> None:
        """Serve until told to stop; requests in work are finished first, for at most ten seconds."""
        with asyncio.Runner(loop_factory=self._server.config.get_loop_factory()) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, self.stop)
        measuring = asyncio.create_task(self._lag.measure())
        try:
            await self._server.serve(sockets=[self._listener])
        finally:
            measuring.cancel()
            self._listener.close()

    def stop(self) -> None:
        """Stop, from any thread; asked twice, without waiting for requests in work."""
        if self._server.should_exit:
            self._server.force_exit = True
            return
        self._server.should_exit = True
        self._on_stop()


def serve(
    app: Guard,
    host: str,
    port: int,
    *,
    lag: LoopLag | None = None,
    on_stop: Callable[[], None] = lambda: None,
) -> None:
    """Open the port and serve until SIGTERM or SIGINT. `on_stop` lets waiting readers go, at once."""
    Port(app, listen(host, port), lag=lag, on_stop=on_stop).run()
