"""One simulated exchange on one port: HTTP and WebSocket around a dialect, with faults in between.

The exchange, the dialect and all sockets live on one event loop, so nothing needs a lock. `start()` gives
that loop a thread of its own; other threads reach the exchange with `call`. Inside a running loop use
`open()` and `close()` instead. The exchange's time never goes back, whatever `clock` does.

What a fault does to a WebSocket frame that is a request: `delay` as for HTTP; `refuse` and `reset` close the
connection; `half` and `truncate` break the answer in the middle; every other one loses the frame (before) or
the answer (after).
"""

import asyncio
import contextlib
import json
import math
import secrets
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, TypeVar

from aiohttp import WSMsgType, web

from simulator.admin import Admin
from simulator.dialects.dialect import REPLY, Cut, Dialect, Request, Response, Session
from simulator.exchange import Exchange
from simulator.faults import BODIES, Channel, Faults, Strike
from simulator.records import Event

TICK_S = 0.1
T = TypeVar("T")


class SimulatorServer:
    """Serves one exchange until stopped."""

    def __init__(
        self,
        exchange: Exchange,
        dialect: Dialect,
        host: str = "127.0.0.1",
        port: int = 0,
        faults: Faults | None = None,
        clock: Callable[[], float] = time.time,
        admin_token: str | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.exchange = exchange
        self.dialect = dialect
        self.faults = faults if faults is not None else Faults()
        self.host = host
        self.port = port
        self.admin_token = admin_token or secrets.token_urlsafe(24)
        self._clock = clock
        self._tls = tls
        self._latest = 0.0
        self._answered: dict[str, Response] = {}  # kind -> the latest good answer, for the fault `other`
        self._admin = Admin(exchange, self.faults, self.admin_token)
        self._sockets: set[_Socket] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._listener: asyncio.Server | None = None
        self._web: web.Server | None = None
        self._ticker: asyncio.Task[None] | None = None
        self._stopping: asyncio.Event | None = None
        self._unsubscribe: Callable[[], None] | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://{self.host}:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"{'wss' if self._tls else 'ws'}://{self.host}:{self.port}"

    def now(self) -> float:
        """Exchange time in seconds since 1970."""
        self._latest = max(self._latest, self._clock())
        return self._latest

    # A thread of its own

    def start(self) -> "SimulatorServer":
        """Serve from a background thread; returns when the port accepts connections."""
        assert self._thread is None, "started already"
        loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=loop.run_forever, name=f"simulator-{self.exchange.name}", daemon=True
        )
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self.open(), loop).result(10)
        except BaseException:
            self._end_thread(loop)
            raise
        return self

    def stop(self) -> None:
        """Close every connection and end the thread."""
        loop = self._loop
        if loop is None or self._thread is None:
            return
        asyncio.run_coroutine_threadsafe(self.close(), loop).result(10)
        self._end_thread(loop)

    def call(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run a function where the exchange lives, from another thread, and return its result."""

        async def run() -> T:
            return function(*args, **kwargs)

        return self.await_(run())

    def await_(self, coroutine: Coroutine[Any, Any, T], timeout_s: float = 30.0) -> T:
        """Run a coroutine where the exchange lives, from another thread, and return its result."""
        assert self._loop is not None, "start the server first"
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout_s)

    def __enter__(self) -> "SimulatorServer":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _end_thread(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.call_soon_threadsafe(loop.stop)
        assert self._thread is not None
        self._thread.join(10)
        self._thread = None
        loop.close()

    # Inside a loop

    async def open(self) -> None:
        """Begin to serve on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._web = web.Server(self._handle, access_log=None)
        await self.go_up()
        self._unsubscribe = self.exchange.subscribe(self._on_event)
        self._ticker = asyncio.create_task(self._tick())

    async def close(self) -> None:
        """Close every connection and stop serving."""
        assert self._stopping is not None and self._web is not None and self._ticker is not None
        self._stopping.set()
        if self._unsubscribe is not None:
            self._unsubscribe()
        self._ticker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._ticker
        await self.go_down()
        await self._web.shutdown(1.0)

    async def go_down(self) -> None:
        """Refuse new connections and cut the open WebSockets, as an exchange does when it falls over."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        await self.cut()

    async def go_up(self) -> None:
        """Accept connections, on the same port as before."""
        if self._listener is None:
            assert self._loop is not None and self._web is not None
            self._listener = await self._loop.create_server(
                self._web, self.host, self.port, reuse_address=True, ssl=self._tls
            )
            self.port = self._listener.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Close all WebSockets without a word."""
        for connection in list(self._sockets):
            connection.abort()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            now = self.now()
            self.exchange.wake(now)
            for symbol in self.exchange.markets:
                self.exchange.advance(symbol, now)
            for connection in list(self._sockets):
                connection.tick(now)

    def _on_event(self, event: Event) -> None:
        for connection in list(self._sockets):
            connection.session.on_event(event)

    # Requests

    async def _handle(self, http: web.BaseRequest) -> web.StreamResponse:
        path, _, query = http.raw_path.partition("?")
        now = self.now()
        request = Request(
            method=http.method,
            path=path,
            query=query,
            headers={name.lower(): value for name, value in http.headers.items()},
            body=await http.read(),
            remote=http.remote or "",
            now=now,
            clock=now,
        )
        if path == "/admin" or path.startswith("/admin/"):
            return _written(self._admin.handle(request))
        if request.headers.get("upgrade", "").lower() == "websocket":
            return await self._serve_socket(http, request)
        kind = self.dialect.kind(request)
        for strike in self.faults.before(kind, now):
            if strike.action == "delay":
                await asyncio.sleep(strike.seconds)
            else:
                return await self._strike(http, request, strike, None)
        response = self.dialect.handle(self.dressed(request, kind))
        for strike in self.faults.after(kind, self.now()):
            if strike.action == "delay":
                await asyncio.sleep(strike.seconds)
            else:
                return await self._strike(http, request, strike, response)
        if response.status == 200:
            self._answered[kind] = response
        return _written(response)

    def dressed(self, request: Request, kind: str) -> Request:
        """The request as it meets the exchange now: time, view and wall clock. What was due is done first."""
        now = self.now()
        self.exchange.wake(now)
        return replace(request, now=now, clock=self.faults.clock(kind, now), view=self.faults.view(kind, now))

    async def _strike(
        self, http: web.BaseRequest, request: Request, strike: Strike, response: Response | None
    ) -> web.StreamResponse:
        action = strike.action
        if action in BODIES:
            kind = "text/html" if action == "html" else "application/json"
            return web.Response(text=BODIES[action], content_type=kind)
        if action == "rate_limit" or action == "ban":
            return _written(self.dialect.rate_limited(request, action == "ban"))
        if action == "failure":
            return _written(self.dialect.failure(strike.rule.status))
        if action == "status":
            status = strike.rule.status
            headers = {"Location": "/"} if 300 <= status < 400 else {}
            return web.Response(
                status=status, text=f"<html>{status}</html>", content_type="text/html", headers=headers
            )
        if action == "other" and strike.target in self._answered:
            return _written(self._answered[strike.target])
        if action in ("hang", "other"):
            await self._hang(http)
        if action == "header" and http.transport is not None:
            http.transport.write(b"HTTP/1.1 200 OK\r\nContent-Type: appl")
        if action == "twice" and response is not None:
            return await _twice(http, response)
        if action in ("half", "truncate", "slow"):
            body = _body(response) if response is not None else b'{"symbol":"'
            half = body[: max(1, len(body) // 2)]
            if action == "half":
                return web.Response(body=half, content_type="application/json")
            status = 200 if response is None else response.status
            broken = web.StreamResponse(status=status, headers={"Content-Type": "application/json"})
            broken.content_length = len(body) + (action == "truncate")
            await broken.prepare(http)
            await broken.write(half)
            if action == "slow":
                await self._wait(http, strike.seconds)
                await broken.write(body[len(half) :])
                return broken
            _close(http.transport)
            return broken
        if action == "reset":
            _reset(http.transport)
        else:
            _close(http.transport)
        return web.Response()

    async def _hang(self, http: web.BaseRequest) -> None:
        await self._wait(http, math.inf)

    async def _wait(self, http: web.BaseRequest, seconds: float) -> None:
        """Wait while the caller does, at most so long."""
        assert self._stopping is not None
        until = asyncio.get_running_loop().time() + seconds
        while http.transport is not None and not http.transport.is_closing() and not self._stopping.is_set():
            left = until - asyncio.get_running_loop().time()
            if left <= 0:
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), min(left, 0.2))

    # WebSockets

    async def _serve_socket(self, http: web.BaseRequest, request: Request) -> web.StreamResponse:
        connection = _Socket(self, request)
        session = self.dialect.open_session(request, connection.send)
        if isinstance(session, Response):
            return _written(session)
        if session is None:
            return web.Response(status=404, text=f"the simulator has no WebSocket at {request.path}")
        connection.session = session
        ws = web.WebSocketResponse(autoping=True)
        await ws.prepare(http)
        self._sockets.add(connection)
        try:
            await connection.serve(ws, http.transport)
        finally:
            self._sockets.discard(connection)
        return ws


class _Socket:
    """One open WebSocket: its session, its faults, its queue of outgoing messages."""

    session: Session

    def __init__(self, server: SimulatorServer, request: Request) -> None:
        self._server = server
        self._request = request
        self._channel = Channel(server.faults)
        self._queue: asyncio.Queue[Any] = asyncio.Queue()
        self._transport: asyncio.Transport | None = None
        self._reply_fault: str | None = None  # what befalls the answers sent during the present frame

    def send(self, message: Any, stream: str) -> None:
        """Queue a message, past the faults."""
        if stream == REPLY and self._reply_fault is not None:
            if self._reply_fault not in ("half", "truncate"):
                return
            text = _text(message)
            message = text[: max(1, len(text) // 2)]
        now = self._server.now()
        for at, item in self._channel.push(message, stream, now):
            if at <= now:
                self._queue.put_nowait(item)
            else:
                asyncio.get_running_loop().call_later(at - now, self._queue.put_nowait, item)

    def tick(self, now: float) -> None:
        self.session.tick(now)
        for message in self._channel.due(now):
            self._queue.put_nowait(message)

    def abort(self) -> None:
        _close(self._transport)

    async def serve(self, ws: web.WebSocketResponse, transport: asyncio.Transport | None) -> None:
        self._transport = transport
        writer = asyncio.create_task(self._write(ws))
        try:
            async for frame in ws:
                if frame.type is WSMsgType.TEXT:
                    self._receive(frame.data)
        finally:
            writer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await writer

    async def _write(self, ws: web.WebSocketResponse) -> None:
        while True:
            message = await self._queue.get()
            if isinstance(message, Cut):
                self.abort()
                return
            try:
                await ws.send_str(_text(message))
            except ConnectionError:
                return

    def _receive(self, text: str) -> None:
        kind = self.session.kind(text)
        delay = 0.0
        for strike in self._server.faults.before(kind, self._server.now()):
            if strike.action == "delay":
                delay += strike.seconds
            else:
                if strike.action == "reset":
                    _reset(self._transport)
                elif strike.action == "refuse":
                    self.abort()
                return
        if delay:
            asyncio.get_running_loop().call_later(delay, self._act, text, kind)
        else:
            self._act(text, kind)

    def _act(self, text: str, kind: str) -> None:
        faults = self._server.faults
        strikes = [s for s in faults.after(kind, self._server.now()) if s.action != "delay"]
        self._reply_fault = strikes[0].action if strikes else None
        try:
            self.session.receive(text, self._server.dressed(self._request, kind))
        finally:
            fault, self._reply_fault = self._reply_fault, None
        if fault == "reset":
            _reset(self._transport)
        elif fault == "refuse":
            self.abort()


def _text(message: Any) -> str:
    return message if isinstance(message, str) else json.dumps(message, separators=(",", ":"))


def _body(response: Response) -> bytes:
    if isinstance(response.body, bytes):
        return response.body
    return _text(response.body).encode() if response.body is not None else b""


def _written(response: Response) -> web.Response:
    headers = dict(response.headers)
    headers.setdefault("Content-Type", "application/json;charset=UTF-8")
    return web.Response(status=response.status, body=_body(response), headers=headers)


async def _twice(http: web.BaseRequest, response: Response) -> web.StreamResponse:
    """Answer, and write the same bytes again, as a proxy does that mixes up its connections."""
    once = _written(response)
    body = _body(response)
    head = f"HTTP/1.1 {response.status} OK\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(body)}\r\n\r\n"
    await once.prepare(http)
    await once.write_eof()
    if http.transport is not None:
        http.transport.write(head.encode() + body)
    return once


def _close(transport: asyncio.Transport | None) -> None:
    if transport is not None:
        transport.close()


def _reset(transport: asyncio.Transport | None) -> None:
    if transport is None:
        return
    raw = transport.get_extra_info("socket")
    if raw is not None:
        # Linger of zero makes the kernel send RST instead of FIN: man 7 socket, SO_LINGER.
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def serve_forever(server: SimulatorServer) -> None:
    """Serve in this thread until interrupted."""

    async def run() -> None:
        await server.open()
        try:
            await asyncio.Event().wait()
        finally:
            await server.close()

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run())
