"""A webhook's receiver: keeps what is posted to it, and answers as it is told."""

from __future__ import annotations

import hashlib
import hmac
import json
import ssl
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True)
class Posted:
    """One request."""

    path: str
    headers: dict[str, str]  # names in lower case
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def signed_with(self, secret: str) -> bool:
        """Check the signature as MANUAL.md tells receivers to."""
        parts = dict(part.split("=", 1) for part in self.headers["oms-signature"].split(","))
        said = f"{parts['t']}.".encode() + self.body
        return hmac.compare_digest(parts["v1"], hmac.new(secret.encode(), said, hashlib.sha256).hexdigest())


class Receiver:
    """Listens on loopback while it is entered; `tls` makes it https."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.posted: list[Posted] = []
        self.status = 204
        self.location = ""  # of a redirect
        self.answering = threading.Event()  # cleared: every request is kept waiting
        self.answering.set()
        self._news = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                headers = {name.lower(): value for name, value in self.headers.items()}
                with receiver._news:
                    receiver.posted.append(Posted(self.path, headers, body))
                    receiver._news.notify_all()
                receiver.answering.wait()
                self.send_response(receiver.status)
                if receiver.location:
                    self.send_header("Location", receiver.location)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Keep quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.scheme = "http" if tls is None else "https"
        self.port = int(self._server.server_address[1])

    @property
    def origin(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.answering.set()
        self._server.shutdown()
        self._server.server_close()

    def wait_for(self, count: int, timeout_s: float = 30.0) -> list[Posted]:
        """Return what arrived once there are so many."""
        with self._news:
            self._news.wait_for(lambda: len(self.posted) >= count, timeout_s)
            return list(self.posted)
