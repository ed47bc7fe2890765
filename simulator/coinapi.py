"""A data provider that speaks CoinAPI's Market Data WebSocket V1 on loopback.

It sends what it is shown: books put in by hand, those of a simulated exchange, or a recording in its own
format. What goes wrong is set from outside: silence, cuts, lost messages, a key that is refused, the notice
that the connection will be closed.

`book` alone is served, with its `hello`, `subscribe`, `unsubscribe`, heartbeats and errors:
https://docs.coinapi.io/market-data/websocket/general and .../messages . On the wire `type` comes last.
"""

import asyncio
import contextlib
import gzip
import json
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import WSMsgType, web

from simulator.records import BookChange, Event, Levels
from simulator.wire import SimulatorServer

HEARTBEAT_S = 1.0
DATA_TYPES = ("trade", "quote", "book", "book5", "book20", "book50", "ohlcv", "exrate", "asset", "exchange")
DEPTH = 100  # levels a side that are shown of a simulated exchange

T = TypeVar("T")


class CoinApiServer:
    """One endpoint of the provider. All methods may be called from any thread."""

    def __init__(
        self,
        keys: Iterable[str],
        *,
        clock: Callable[[], float],
        host: str = "127.0.0.1",
        port: int = 0,
        heartbeat_s: float = HEARTBEAT_S,
    ) -> None:
        self.keys = set(keys)
        self.host = host
        self.port = port
        self.hellos: list[dict[str, Any]] = []  # every message that was received, in order
        self.connections = 0  # made so far
        self.silent = False  # nothing is sent any more, not even heartbeats
        self.losing = 0  # so many messages about books are lost next
        self._clock = clock
        self._heartbeat_s = heartbeat_s
        self._books: dict[str, tuple[Levels, Levels]] = {}  # symbol id -> (bids, asks)
        self._sessions: set[_Session] = set()
        self._loop = asyncio.new_event_loop()
        self._thread: threading.Thread | None = None
        self._web: web.Server | None = None
        self._listener: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"ws://{self.host}:{self.port}/v1/"

    def start(self) -> "CoinApiServer":
        self._thread = threading.Thread(target=self._loop.run_forever, name="coinapi-simulator", daemon=True)
        self._thread.start()
        self._await(self._open())
        return self

    def stop(self) -> None:
        if self._thread is None:
            return
        self._await(self._go_down())
        assert self._web is not None
        self._await(self._web.shutdown(1.0))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._thread = None
        self._loop.close()

    def __enter__(self) -> "CoinApiServer":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def go_down(self) -> None:
        """Cut every connection and refuse new ones."""
        self._await(self._go_down())

    def go_up(self) -> None:
        """Accept connections again, on the same port."""
        self._await(self._go_up())

    def cut(self) -> None:
        """Cut every connection without a word."""
        self._call(self._cut)

    def ask_to_reconnect(self, within_s: int) -> None:
        """Send the notice of a restart; the connections are closed when the time is up."""
        self._call(self._announce, within_s)

    def tell(self, message: str) -> None:
        """Send a text to everybody, as it is."""
        self._call(lambda: [session.send(message) for session in self._sessions])

    def show(self, symbol_id: str, bids: Levels, asks: Levels) -> None:
        """Let a book be this from now on."""
        self._call(self._show, symbol_id, list(bids), list(asks))

    def follow(self, server: SimulatorServer, symbol: str, symbol_id: str) -> Callable[[], None]:
        """Show a simulated exchange's book, now and whenever it changes; what is returned ends it."""
        exchange = server.exchange

        def picture() -> None:
            depth = exchange.depth(symbol, DEPTH, now=server.now())
            self._loop.call_soon_threadsafe(self._show, symbol_id, list(depth.bids), list(depth.asks))

        def on_event(event: Event) -> None:
            if isinstance(event, BookChange) and event.symbol == symbol:
                picture()

        def begin() -> Callable[[], None]:
            picture()
            return exchange.subscribe(on_event)

        return partial(server.call, server.call(begin))

    # --- In the loop ---

    async def _open(self) -> None:
        self._web = web.Server(self._handle, access_log=None)
        await self._go_up()

    async def _go_up(self) -> None:
        if self._listener is None:
            assert self._web is not None
            self._listener = await self._loop.create_server(
                self._web, self.host, self.port, reuse_address=True
            )
            self.port = self._listener.sockets[0].getsockname()[1]

    async def _go_down(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        self._cut()

    def _cut(self) -> None:
        for session in list(self._sessions):
            session.cut()

    def _announce(self, within_s: int) -> None:
        before = _written(self._clock() + within_s)
        for session in list(self._sessions):
            session.send(json.dumps({"within_seconds": within_s, "before_time": before, "type": "reconnect"}))
            self._loop.call_later(within_s, session.cut)

    def _show(self, symbol_id: str, bids: Levels, asks: Levels) -> None:
        known = self._books.get(symbol_id)
        self._books[symbol_id] = (bids, asks)
        changes = (bids, asks) if known is None else (_changes(known[0], bids), _changes(known[1], asks))
        if not changes[0] and not changes[1]:
            return
        for session in self._sessions:
            session.book(symbol_id, *changes)

    def book_of(self, symbol_id: str) -> tuple[Levels, Levels] | None:
        return self._books.get(symbol_id)

    def known(self) -> list[str]:
        return list(self._books)

    def now(self) -> str:
        return _written(self._clock())

    async def _handle(self, http: web.BaseRequest) -> web.StreamResponse:
        if http.headers.get("upgrade", "").lower() != "websocket":
            return web.Response(status=404)
        ws = web.WebSocketResponse(autoping=True)
        await ws.prepare(http)
        session = _Session(self, http, self._heartbeat_s)
        self.connections += 1
        self._sessions.add(session)
        try:
            await session.serve(ws)
        finally:
            self._sessions.discard(session)
        return ws

    def _call(self, function: Callable[..., T], *arguments: Any) -> T:
        async def run() -> T:
            return function(*arguments)

        return self._await(run())

    def _await(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)


class _Session:
    """One connection: what it may see, what it has seen."""

    def __init__(self, server: CoinApiServer, http: web.BaseRequest, heartbeat_s: float) -> None:
        self._server = server
        self._http = http
        self._heartbeat_s = heartbeat_s
        self._queue: asyncio.Queue[str | None] = asyncio.Queue()  # None: close after what came before
        self._filters: set[str] = set()
        self._heartbeats = False
        self._sequences: dict[str, int] = {}  # symbol id -> last number
        self._begun: set[str] = set()  # symbol ids whose snapshot went out

    def cut(self) -> None:
        if self._http.transport is not None:
            self._http.transport.abort()

    def send(self, text: str) -> None:
        if not self._server.silent:
            self._queue.put_nowait(text)

    def book(self, symbol_id: str, bids: Levels, asks: Levels) -> None:
        """Send what changed to whoever asked; the whole book where it has not been sent yet."""
        if not self._wants(symbol_id):
            return
        snapshot = symbol_id not in self._begun
        whole = self._server.book_of(symbol_id)
        if snapshot and whole is not None:
            bids, asks = whole
            self._begun.add(symbol_id)
        self._sequences[symbol_id] = self._sequences.get(symbol_id, 0) + 1
        if self._server.losing > 0 and not snapshot:
            self._server.losing -= 1
            return
        now = self._server.now()
        # Sizes go down to 1e-8 and are written as plain decimals.
        self.send(
            f'{{"time_exchange":"{now}","time_coinapi":"{now}","is_snapshot":{str(snapshot).lower()},'
            f'"asks":{_levels(asks)},"bids":{_levels(bids)},'
            f'"symbol_id":"{symbol_id}","sequence":{self._sequences[symbol_id]},"type":"book"}}'
        )

    def _wants(self, symbol_id: str) -> bool:
        return any(
            symbol_id == one[:-1] if one.endswith("$") else symbol_id.startswith(one) for one in self._filters
        )

    async def serve(self, ws: web.WebSocketResponse) -> None:
        tasks = [asyncio.create_task(self._write(ws)), asyncio.create_task(self._beat())]
        try:
            async for frame in ws:
                if frame.type is WSMsgType.TEXT:
                    self._receive(frame.data)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _write(self, ws: web.WebSocketResponse) -> None:
        while True:
            text = await self._queue.get()
            if text is None:
                await ws.close()
                return
            with contextlib.suppress(ConnectionError):
                await ws.send_str(text)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._heartbeat_s)
            if self._heartbeats:
                self.send('{"type":"hearbeat"}')

    def _receive(self, text: str) -> None:
        try:
            asked = json.loads(text)
            kind, types = asked["type"], asked["subscribe_data_type"]
            filters = set(asked.get("subscribe_filter_symbol_id") or ())
        except (ValueError, LookupError, TypeError):
            self._refuse("Invalid message")
            return
        self._server.hellos.append(asked)
        if asked.get("apikey", self._http.headers.get("X-CoinAPI-Key")) not in self._server.keys:
            self._refuse("Invalid API key")
        elif kind not in ("hello", "subscribe", "unsubscribe"):
            self._refuse(f"Invalid message type: {kind}")
        elif not types or any(one not in DATA_TYPES for one in types):
            self._refuse("Invalid subscribe_data_type")
        elif not filters:
            self._refuse("You must define a filter to use book data type")
        else:
            self._heartbeats = asked.get("heartbeat") is True
            if kind == "unsubscribe":
                self._filters -= filters
                self._begun = {one for one in self._begun if self._wants(one)}
                return
            if kind == "hello":
                self._filters, self._begun = set(), set()
            self._filters |= filters
            for symbol_id in self._server.known():
                if self._wants(symbol_id) and symbol_id not in self._begun:
                    self.book(symbol_id, [], [])

    def _refuse(self, words: str) -> None:
        self.send(json.dumps({"message": words, "type": "error"}))
        self._queue.put_nowait(None)


def _changes(known: Levels, shown: Levels) -> Levels:
    """What makes one book of another: a level that went has size zero."""
    before, after = dict(known), dict(shown)
    gone = [(price, Decimal(0)) for price in before if price not in after]
    return [level for level in shown if before.get(level[0]) != level[1]] + gone


def _levels(levels: Levels) -> str:
    return "[" + ",".join(f'{{"price":{price:f},"size":{size:f}}}' for price, size in levels) + "]"


def _written(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "0Z"


def recorded(path: Path, kind: str = "book") -> Iterator[str]:
    """Yield the messages of one type of a recording in the provider's format."""
    ending = f'"type":"{kind}"}}'
    with gzip.open(path, "rt") as lines:
        for line in lines:
            if line.rstrip().endswith(ending):
                yield line.rstrip()
