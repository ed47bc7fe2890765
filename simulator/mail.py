"""A mail server that keeps what it is sent: for the demo and for tests.

It speaks real SMTP with TLS and passwords, on its own thread, and delivers nothing to anybody. It can also
play the two bad days a mail server has: down (nobody listens) and refusing (it answers, but says no).

    sink = MailSink(tls="starttls", user="oms@example.org", password="secret")
    with sink:
        ...                      # send to sink.host, sink.port, trusting sink.ca_file
        sink.messages            # parsed, oldest first
"""

from __future__ import annotations

import asyncio
import ssl
import tempfile
import threading
import time
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from hmac import compare_digest
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from simulator import tls as certificates

Tls = Literal["starttls", "implicit"]

ANY_PORT = 0
SIZE_MAX = 10 * 1024 * 1024  # bytes of one message


@dataclass(frozen=True, kw_only=True, slots=True)
class Received:
    """One delivery: whom the envelope named, and what was in it."""

    sender: str
    recipients: tuple[str, ...]
    message: EmailMessage
    encrypted: bool
    user: str | None  # who had logged in


class MailSink:
    """Take mail in and keep it. `start` and `stop`, or use it as a context manager."""

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = ANY_PORT,
        tls: Tls | None = "starttls",
        user: str | None = None,
        password: str | None = None,
    ) -> None:
        if tls not in ("starttls", "implicit", None):
            raise ValueError(f"tls: {tls!r} is not understood; use 'starttls', 'implicit' or None")
        if (user is None) != (password is None):
            raise ValueError("user, password: give both or neither")
        self.host = host
        self.port = port
        self.tls = tls
        self.refuse: str | None = None  # a reply such as "451 4.3.0 Try again later" given to every sender
        self.received: list[Received] = []
        self._credentials = None if user is None or password is None else (user.encode(), password.encode())
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._context: ssl.SSLContext | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.BaseTransport] = set()
        self._news = threading.Condition()

    @property
    def messages(self) -> list[EmailMessage]:
        """What has arrived, oldest first."""
        with self._news:
            return [each.message for each in self.received]

    @property
    def ca_file(self) -> str:
        """The certificate a client has to trust; made anew for every sink."""
        if self._folder is None:
            raise RuntimeError(
                "the mail sink has no certificate: it was not started, or it was told to use no TLS"
            )
        return str(Path(self._folder.name) / "certificate.pem")

    @property
    def down(self) -> bool:
        """Whether nobody listens; set it to take the server down or to bring it back on the same port."""
        return self._server is None

    @down.setter
    def down(self, down: bool) -> None:
        if down != self.down:
            self._run(self._close() if down else self._listen())

    def start(self) -> MailSink:
        """Listen; the port is known afterwards."""
        if self._thread is not None:
            return self
        if self.tls is not None and self._context is None:
            self._folder = tempfile.TemporaryDirectory(prefix="mail-sink-")
            self._context = certificates.self_signed(Path(self._folder.name), self.host, datetime.now(UTC))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="mail-sink", daemon=True)
        self._thread.start()
        try:
            self._run(self._listen())
        except OSError:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Close every connection and end the thread; what arrived stays readable."""
        if self._loop is None or self._thread is None:
            return
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._loop = self._thread = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = self._context = None

    def wait_for(self, count: int, timeout_s: float = 5.0) -> list[EmailMessage]:
        """Wait until `count` messages have arrived; raises TimeoutError."""
        deadline = time.monotonic() + timeout_s
        with self._news:
            while len(self.received) < count:
                if not self._news.wait(deadline - time.monotonic()):
                    raise TimeoutError(f"{len(self.received)} of {count} messages arrived in {timeout_s} s")
            return [each.message for each in self.received]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _keep(self, received: Received) -> None:
        with self._news:
            self.received.append(received)
            self._news.notify_all()

    def _authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, auth_data: object
    ) -> AuthResult:
        known = self._credentials
        right = (
            known is not None
            and isinstance(auth_data, LoginPassword)
            and compare_digest(auth_data.login, known[0])
            and compare_digest(auth_data.password, known[1])
        )
        # handled=False lets aiosmtpd answer 535 itself.
        return AuthResult(success=right, handled=False, auth_data=auth_data)

    # --- The thread ---

    def _protocol(self) -> SMTP:
        with warnings.catch_warnings():
            # aiosmtpd counts only STARTTLS as TLS and warns about passwords outside it. Implicit TLS is
            # encrypted from the first byte; plain SMTP is what a test of a bad configuration asks for.
            warnings.simplefilter("ignore", UserWarning)
            return _Connection(
                self._open,
                _Handler(self),
                hostname="mail-sink",
                ident="mail sink",
                data_size_limit=SIZE_MAX,
                enable_SMTPUTF8=True,
                tls_context=self._context if self.tls == "starttls" else None,
                require_starttls=self.tls == "starttls",
                authenticator=self._authenticate if self._credentials else None,
                auth_required=self._credentials is not None,
                auth_require_tls=self.tls == "starttls",
                loop=self._loop,
            )

    async def _listen(self) -> None:
        assert self._loop is not None
        context = self._context if self.tls == "implicit" else None
        self._server = await self._loop.create_server(self._protocol, self.host, self.port, ssl=context)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for transport in tuple(self._open):
            # Python 3.11.2, Debian's, cannot abort a TLS transport that is closing already.
            if isinstance(transport, asyncio.WriteTransport) and not transport.is_closing():
                transport.abort()
        self._open.clear()
        await asyncio.sleep(0)

    def _run(self, work: object) -> None:
        assert self._loop is not None and asyncio.iscoroutine(work), "start the mail sink first"
        asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=10)


class _Connection(SMTP):
    """Keeps its transport where the sink finds it: going down also drops those who are connected."""

    def __init__(self, open_transports: set[asyncio.BaseTransport], *arguments: Any, **settings: Any) -> None:
        self._open_transports = open_transports
        super().__init__(*arguments, **settings)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._open_transports.add(transport)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        if self.transport is not None:
            self._open_transports.discard(self.transport)
        super().connection_lost(error)


class _Handler:
    """What aiosmtpd calls, on the sink's thread. It reads every attribute, hence not MailSink itself."""

    def __init__(self, sink: MailSink) -> None:
        self._sink = sink

    async def handle_MAIL(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self._sink.refuse is not None:
            return self._sink.refuse
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if self._sink.refuse is not None:
            return self._sink.refuse
        content = (
            envelope.content if isinstance(envelope.content, bytes) else (envelope.content or "").encode()
        )
        login = session.auth_data
        content = content.replace(b"\r\n", b"\n")  # the wire's line ends are not the message's
        self._sink._keep(
            Received(
                sender=envelope.mail_from or "",
                recipients=tuple(envelope.rcpt_tos),
                message=message_from_bytes(content, policy=policy.default),
                encrypted=session.ssl is not None or self._sink.tls == "implicit",
                user=login.login.decode() if isinstance(login, LoginPassword) else None,
            )
        )
        return "250 OK: kept"
