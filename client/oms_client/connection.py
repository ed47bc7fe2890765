"""A signed connection to the server: write, wait through its restarts, read.

A call that works on something returns when it is finished. The work itself happens at the server: when this
process dies it goes on; `wait(query_id)` or the same call with the same idempotency key takes it up again.
"""

from __future__ import annotations

import logging
import os
import platform
import stat
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Callable, TypeVar
from urllib.parse import urlsplit

import requests

from . import __version__, progress, signing
from .amounts import checked_key
from .answers import Answer, Query
from .arguments import flag
from .errors import (
    ConfigError,
    ConnectionFailed,
    OMSError,
    OutcomeUnknown,
    RateLimited,
    Unavailable,
    from_query,
)
from .naming import both_spellings
from .outcomes import is_over
from .pending import PendingCalls
from .transport import Reply, Transport

DEFAULT_URL = "http://127.0.0.1:8888"
POLL_S = 20  # one long-poll; servers and proxies give up after 30
POLL_PAUSE_S = 0.5  # between answers that came at once and said nothing new

A = TypeVar("A", bound=Answer)
C = TypeVar("C", bound="Connection")
OnEvent = Callable[[Query], None]
log = logging.getLogger("oms_client")


class Connection:
    """What all calls share: who signs, how a write is sent, and how its end is waited for."""

    patience_s = 120.0  # how long waiting goes on while the server cannot be reached

    @both_spellings
    def __init__(
        self,
        userName: str = "",
        url: str = DEFAULT_URL,
        botName: str = "default",
        recordInDb: bool = True,
        sendFailEmail: bool = True,
        *,
        key: str | None = None,
        key_file: str | os.PathLike[str] | None = None,
        timeout: float | tuple[float, float] = (3.05, 30),
        max_retries: int = 2,
        session: requests.Session | None = None,
        on_event: OnEvent | None = None,
        idempotency_store: str | os.PathLike[str] | PendingCalls | None = None,
    ) -> None:
        self.user_name = userName
        self.bot_name = botName
        self.record_in_db = flag("recordInDb", recordInDb)
        self.send_fail_email = flag("sendFailEmail", sendFailEmail)
        self._key = _private_key(key, key_file)
        timeouts = _timeouts(timeout)
        self._poll_s = max(1, min(POLL_S, int(timeouts[1]) - 5))
        self._transport = Transport(
            _checked_url(url),
            self._key,
            timeout=timeouts,
            max_retries=max_retries,
            user_agent=f"oms-client/{__version__} Python/{platform.python_version()}",
            session=session,
        )
        if on_event is None and progress.wanted():
            on_event = progress.ProgressPrinter()
        self._on_event = on_event
        if idempotency_store is None or isinstance(idempotency_store, PendingCalls):
            self._pending = idempotency_store
        else:
            self._pending = PendingCalls(idempotency_store)

    @classmethod
    def from_env(cls: type[C], **options: Any) -> C:
        """Make a client from OMS_KEY or OMS_KEY_FILE, OMS_URL, OMS_USER and OMS_BOT; `options` go on top."""
        found = {
            "url": os.environ.get("OMS_URL"),
            "userName": os.environ.get("OMS_USER"),
            "botName": os.environ.get("OMS_BOT"),
            "key_file": os.environ.get("OMS_KEY_FILE") if "OMS_KEY" not in os.environ else None,
        }
        return cls(**{**{name: value for name, value in found.items() if value}, **options})

    @property
    def url(self) -> str:
        """Give the address of the server."""
        return self._transport.url

    @property
    def keyid(self) -> str:
        """Name the key that signs, as the server's messages do."""
        return self._key.keyid

    def close(self) -> None:
        """Close the connections; queries under way go on at the server."""
        self._transport.close()

    def __enter__(self: C) -> C:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"OMSClient({self.user_name!r}, {self.url!r}, {self.bot_name!r}, keyid={self.keyid!r})"

    def get_query(self, query_id: str) -> Query:
        """Look at a query: its state, result and orders."""
        return self._ask(Query, "get_query", query_id=query_id)

    def wait(self, query_id: str, timeout: float | None = None) -> Query:
        """Wait until a query is over; raises QueryFailed, or OutcomeUnknown after `timeout` seconds."""
        deadline = deadline_in(timeout)
        return self._finished(self._follow(self.get_query(query_id), is_over, deadline, None))

    def _options(
        self, record_in_db: bool | None, send_fail_email: bool | None, dry_run: bool
    ) -> dict[str, Any]:
        record = self.record_in_db if record_in_db is None else flag("record_in_db", record_in_db)
        email = self.send_fail_email if send_fail_email is None else flag("send_fail_email", send_fail_email)
        return {
            "bot": self.bot_name,
            "record_in_db": record,
            "send_fail_email": email,
            "dry_run": flag("dry_run", dry_run),
        }

    def _work(
        self,
        verb: str,
        body: dict[str, Any],
        idempotency_key: str | None,
        result: Callable[[Query], A],
        wait: bool,
    ) -> A | Query:
        if not wait:
            return self._write(verb, body, idempotency_key, lambda query: query, until=None)
        return self._write(verb, body, idempotency_key, result, until=is_over)

    def _write(
        self,
        verb: str,
        body: dict[str, Any],
        idempotency_key: str | None,
        result: Callable[[Query], A],
        *,
        until: Callable[[Query], bool] | None,
        deadline: float | None = None,
    ) -> A:
        key = new_idempotency_key() if idempotency_key is None else checked_key(idempotency_key)
        # A quote is asked for anew: a remembered one would be old when it is found again.
        lasting = verb != "quote" and not body.get("dry_run")
        remembered = self._pending is not None and idempotency_key is None and lasting
        if remembered:
            assert self._pending is not None
            key = self._pending.claim({"verb": verb, **body}, key)
        try:
            answer = self._carry_out(verb, body, key, result, until, deadline)
        except OutcomeUnknown:
            if remembered and self._pending is not None:
                self._pending.release(key)
            raise
        except (OMSError, ValueError):
            if remembered and self._pending is not None:
                self._pending.forget(key)
            raise
        if remembered and self._pending is not None:
            self._pending.forget(key)
        return answer

    def _carry_out(
        self,
        verb: str,
        body: dict[str, Any],
        key: str,
        result: Callable[[Query], A],
        until: Callable[[Query], bool] | None,
        deadline: float | None,
    ) -> A:
        """Send a write under its key, wait for its end and give its result; can be done again at any time."""

        def again(timeout: float | None) -> A:
            return self._resolve(verb, body, key, result, until, timeout)

        try:
            try:
                # The signature covers the body and not the header: said twice, the key cannot be changed.
                signed = {**body, "idempotency_key": key}
                query = self._read(Query, self._transport.post(f"/api/{verb}", signed, key))
            except OMSError as error:
                stored = self._stored_failure(error)
                if stored is None:
                    raise
                query = stored
            self._check_user(query)
            if until is None:
                self._tell(query)
            else:
                query = self._follow(query, until, deadline, key)
            if query["status"] == "failed":
                raise from_query(query)
            return result(query)
        except OutcomeUnknown as unknown:
            unknown.idempotency_key = key
            unknown._resume = again
            raise

    def _resolve(
        self,
        verb: str,
        body: dict[str, Any],
        key: str,
        result: Callable[[Query], A],
        until: Callable[[Query], bool] | None,
        timeout: float | None,
    ) -> A:
        """Find out what came of a write: the same key gives the same query, so nothing is done twice."""
        deadline = deadline_in(timeout)
        pause_s = POLL_PAUSE_S
        while True:
            try:
                return self._carry_out(verb, body, key, result, until, deadline)
            except (OutcomeUnknown, ConnectionFailed, RateLimited, Unavailable) as error:
                if isinstance(error, Unavailable) and error.query_id is not None:
                    raise
                if seconds_left(deadline) <= pause_s:
                    if isinstance(error, OutcomeUnknown):
                        raise
                    raise OutcomeUnknown(
                        f"still unknown: {error.message}",
                        idempotency_key=key,
                        resume=lambda more: self._resolve(verb, body, key, result, until, more),
                    ) from error
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, 5.0)

    def _stored_failure(self, error: OMSError) -> Query | None:
        """Give the failed query behind the answer to a repeat, so that it raises what the first one did."""
        if not error.details.get("duplicate") or error.query_id is None:
            return None
        try:
            return self.get_query(error.query_id)
        except OMSError:
            return None

    def _follow(
        self, query: Query, until: Callable[[Query], bool], deadline: float | None, key: str | None
    ) -> Query:
        """Wait by long-poll until `until` holds, through restarts of the server; tell every change."""
        self._tell(query)
        heard_at = time.monotonic()
        pause_s = POLL_PAUSE_S
        missed = False  # changes may have passed while the server could not be reached
        while not until(query):
            if seconds_left(deadline) <= 0:
                text = f"query {query['query_id']} is still being worked on"
                raise self._unknown(query, key, text, "Nothing is wrong")
            asked_at = time.monotonic()
            wait_s = 0 if missed else max(0, min(self._poll_s, int(seconds_left(deadline))))
            try:
                parameters = {"query_id": query["query_id"], "wait_s": wait_s, "after_seq": query["seq"]}
                newer = self._read(Query, self._transport.get("/api/get_query", parameters, retries=0))
            except (ConnectionFailed, RateLimited, Unavailable) as error:
                if not missed:
                    self._tell(marked(query, _unreachable=error.message))
                if time.monotonic() - heard_at > self.patience_s:
                    text = f"the server has not answered for {self.patience_s:.0f} s: {error.message}"
                    raise self._unknown(query, key, text, "The work goes on there") from error
                time.sleep(min(pause_s, max(seconds_left(deadline), 0)))
                pause_s, missed = min(pause_s * 2, 5.0), True
                continue
            except OMSError as error:  # asking failed, which says nothing about the work
                raise self._unknown(query, key, error.message, error.hint or "The work goes on") from error
            back = marked(newer, _silent_s=time.monotonic() - heard_at) if missed else newer
            heard_at, pause_s, missed = time.monotonic(), POLL_PAUSE_S, False
            if newer != query or back is not newer:
                query = newer
                self._tell(back)
            elif heard_at - asked_at < POLL_PAUSE_S:
                time.sleep(POLL_PAUSE_S)  # a server with many waiting callers answers at once
        return query

    def _unknown(self, query: Query, key: str | None, message: str, hint: str) -> OutcomeUnknown:
        return OutcomeUnknown(
            message,
            hint=f"{hint.rstrip('.')}; call resolve() or wait(query_id).",
            idempotency_key=key,
            query=query,
            resume=lambda timeout: self.wait(str(query["query_id"]), timeout),
        )

    @staticmethod
    def _finished(query: Query) -> Query:
        if query["status"] == "failed":
            raise from_query(query)
        return query

    def _tell(self, query: Query) -> None:
        if self._on_event is None:
            return
        try:
            self._on_event(query)
        except Exception:  # the bot's own code; an order must not be lost to a mistake in showing it
            log.exception("on_event failed for query %s", query.get("query_id"))

    def _check_user(self, query: Query) -> None:
        user = query.get("user")
        if self.user_name and user and user != self.user_name:
            log.warning("OMS_KEY is a key of user %s; userName says %s and is ignored", user, self.user_name)

    def _ask(self, kind: type[A], verb: str, **parameters: Any) -> A:
        return self._read(kind, self._transport.get(f"/api/{verb}", parameters))

    @staticmethod
    def _read(kind: type[A], reply: Reply) -> A:
        if not isinstance(reply.data, dict):
            raise OMSError(
                f"the server sent {type(reply.data).__name__} instead of an object",
                request_id=reply.request_id,
            )
        answer = kind(reply.data)
        answer._from(reply.mode, reply.request_id)
        return answer


def marked(query: Query, **marks: Any) -> Query:
    """Copy a query with what is known of the connection beside it."""
    copy = Query(query)
    copy.__dict__.update(query.__dict__, **marks)
    return copy


def new_idempotency_key() -> str:
    """Make a UUID of version 7 (RFC 9562 5.7): it sorts by time, which makes logs and indexes readable."""
    milliseconds = time.time_ns() // 1_000_000
    value = milliseconds << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _private_key(key: str | None, key_file: str | os.PathLike[str] | None) -> signing.PrivateKey:
    if key is not None and key_file is not None:
        raise ConfigError("key and key_file are both given", hint="Give one of the two.")
    if key is not None:
        source, text = "key", key
    elif key_file is not None:
        source, text = f"key_file {os.fspath(key_file)}", _read_key_file(Path(key_file))
    else:
        source, text = "OMS_KEY", os.environ.get("OMS_KEY", "")
    if not text.strip():
        raise ConfigError(
            f"{source} is empty" if source != "OMS_KEY" else "OMS_KEY is not set",
            hint="`oms keygen <USER>` makes a pair: the private key goes to OMS_KEY here, "
            "the public one to OMS_KEYS on the server.",
        )
    try:
        return signing.parse_private_key(text)
    except signing.BadKey as error:
        raise ConfigError(f"{source}: {error}") from None


def _read_key_file(path: Path) -> str:
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ConfigError(f"key_file: {path} cannot be read: {reason}") from None
    if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
        log.warning("others can read the key file %s; run: chmod 600 %s", path, path)
    for line in text.splitlines():
        if line.startswith("OMS_KEY="):  # the line `oms keygen` prints
            return line[len("OMS_KEY=") :]
    return text


def _checked_url(url: str) -> str:
    parts = urlsplit(url.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"url: {url!r} is not an address", hint=f"Write it like {DEFAULT_URL}.")
    if parts.username or parts.query or parts.fragment:
        raise ConfigError(f"url: {url!r} holds more than scheme, host, port and path")
    return url.strip().rstrip("/")


def _timeouts(timeout: float | tuple[float, float]) -> tuple[float, float]:
    pair = timeout if isinstance(timeout, (tuple, list)) else (timeout, timeout)
    if len(pair) != 2 or any(isinstance(s, bool) or not isinstance(s, (int, float)) or s <= 0 for s in pair):
        raise ConfigError(
            f"timeout: {timeout!r} is not a number of seconds above zero, nor a pair of them",
            hint="Give (seconds to connect, seconds to wait for an answer), such as (3.05, 30).",
        )
    return float(pair[0]), float(pair[1])


def deadline_in(timeout: float | None) -> float | None:
    return None if timeout is None else time.monotonic() + timeout


def seconds_left(deadline: float | None) -> float:
    return float(POLL_S) if deadline is None else deadline - time.monotonic()
