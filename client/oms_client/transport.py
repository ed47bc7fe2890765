"""Signed requests with retries that are safe.

The rules:

1. Every attempt is signed anew (fresh time and nonce); the idempotency key stays the same through all.
2. An attempt is repeated only where that can help: the server was not reached or went away; 429, 502 to 504;
   after each restart of the server, of a few in a row; once after learning that our clock is off, by at most
   a minute.
3. What may have reached the server and was not answered ends as OutcomeUnknown for a write, never as a no.
"""

from __future__ import annotations

import json
import os
import random
import threading
import time
from typing import Any, Callable, NamedTuple
from urllib.parse import urlencode, urlsplit

import requests
from urllib3 import exceptions as urllib3_errors

from . import signing
from .errors import (
    AuthError,
    ConfigError,
    ConnectionFailed,
    NotSent,
    OMSError,
    OutcomeUnknown,
    RateLimited,
    Unavailable,
    from_envelope,
)

CLOCK_SKEW_CORRECTED_S = 60.0
CLOCK_TOLERANCE_S = 5  # how far ahead of its own clock the server accepts a signature
RETRY_AFTER_S_MAX = 30.0
RESTARTS_MET_MAX = 4  # by one call: a server that breaks again while it starts restarts twice within a second
BACKOFF_S = 0.25
ANSWER_BYTES_MAX = 32 * 1024 * 1024
_RETRIED_STATUS = (429, 502, 503, 504)
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Reply(NamedTuple):
    """The good half of the server's envelope, or a picture."""

    data: Any  # of a picture its bytes
    mode: str | None
    request_id: str | None
    http_status: int


class _Again(Exception):
    """One attempt failed in a way that another may mend."""

    def __init__(self, error: OMSError, *, after_s: float | None = None, unsure: bool = False) -> None:
        super().__init__(error.message)
        self.error = error  # what to raise when no attempt is left
        self.after_s = after_s  # how long the server wants us to wait, where it said so
        self.unsure = unsure  # the attempt may have been carried out


class Transport:
    """Send signed requests to one server; safe to use from many threads."""

    def __init__(
        self,
        url: str,
        key: signing.PrivateKey,
        *,
        timeout: tuple[float, float],
        max_retries: int,
        user_agent: str,
        session: requests.Session | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url = url
        self.timeout = timeout
        self._key = key
        self._max_retries = max_retries
        self._user_agent = user_agent
        self._given_session = session
        self._local = threading.local()  # a requests session is not made for several threads at once
        self._opened: list[requests.Session] = []
        self._lock = threading.Lock()
        self._clock = clock
        self._sleep = sleep
        self._skew_s = 0.0  # server's clock minus ours, as far as we had to learn it
        self._created_from = 0  # a server that has just restarted takes nothing signed before this

    def get(self, path: str, parameters: dict[str, Any], *, retries: int | None = None) -> Reply:
        """Ask a question; parameters that are None are left out."""
        query = urlencode({name: _text(value) for name, value in parameters.items() if value is not None})
        return self._call("GET", f"{path}?{query}" if query else path, b"", None, retries)

    def post(self, path: str, body: dict[str, Any], idempotency_key: str) -> Reply:
        """Send a write; raise OutcomeUnknown where it may have arrived and was not answered."""
        content = json.dumps({name: value for name, value in body.items() if value is not None})
        return self._call("POST", path, content.encode("ascii"), idempotency_key, None)

    def close(self) -> None:
        """Close the connections this object opened."""
        with self._lock:
            opened, self._opened = self._opened, []
        for session in opened:
            session.close()
        self._local = threading.local()

    # --- attempts ---

    def _call(
        self, method: str, target: str, body: bytes, idempotency_key: str | None, retries: int | None
    ) -> Reply:
        left = self._max_retries if retries is None else retries
        tried = restarts_met = 0
        unsure = clock_corrected = False
        while True:
            sent_at = self._clock()
            try:
                return self._attempt(method, target, body, idempotency_key)
            except _Again as again:
                unsure = unsure or again.unsure
                if left <= 0:
                    raise _given_up(again.error, idempotency_key, unsure) from again.__cause__
                left, tried = left - 1, tried + 1
                self._sleep(_backoff(tried) if again.after_s is None else again.after_s)
            except AuthError as error:
                if error.code == "AUTH_RESTARTED" and restarts_met < RESTARTS_MET_MAX:
                    restarts_met += 1
                    self._wait_for_restart(error)
                elif not clock_corrected and self._correct_clock(error, sent_at):
                    clock_corrected = True
                else:
                    raise _given_up(error, idempotency_key, unsure) from None
            except ConfigError as error:
                raise _given_up(error, idempotency_key, unsure) from error.__cause__

    def _attempt(self, method: str, target: str, body: bytes, idempotency_key: str | None) -> Reply:
        headers = {"Accept": "application/json, image/png", "User-Agent": self._user_agent}
        if method == "POST":
            headers["Content-Type"] = "application/json"
        if idempotency_key is not None:
            headers["Idempotency-Key"] = idempotency_key
        session = self._session()
        prepared = session.prepare_request(
            requests.Request(method, self.url + target, headers=headers, data=body or None)
        )
        # requests rewrites what it is given (dot segments, a lone question mark): sign what it will send.
        url, raw_target = str(prepared.url), prepared.path_url
        host = signing.authority_of(url)
        now = max(int(self._clock() + self._skew_s), self._created_from)
        nonce = signing.make_nonce(os.urandom(16))
        signed = signing.sign(self._key, method, host, raw_target, body, now=now, nonce=nonce)
        prepared.headers.update(signed)
        settings = session.merge_environment_settings(url, {}, None, None, None)
        if urlsplit(url).hostname in _LOOPBACK:
            settings["proxies"] = {}  # a proxy cannot reach this machine under that name
        try:
            response = session.send(prepared, timeout=self.timeout, allow_redirects=False, **settings)
        except requests.exceptions.SSLError as error:
            if "CERTIFICATE_VERIFY_FAILED" not in str(error):
                raise self._no_answer(error) from error  # a fault of TLS may come after the request went out
            raise ConfigError(
                f"the certificate of {self.url} was not accepted: {_last_words(error)}",
                hint="Use the host name of the certificate; for a private authority set REQUESTS_CA_BUNDLE.",
            ) from error
        except requests.exceptions.RequestException as error:
            raise self._no_answer(error) from error
        base = signing.request_base(
            method,
            host,
            raw_target,
            signed["Content-Digest"],
            signing.parse_signature_input(signed["Signature-Input"]),
        )
        return self._read(response, method, base)

    def _session(self) -> requests.Session:
        if self._given_session is not None:
            return self._given_session
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = requests.Session()
            with self._lock:
                self._opened.append(session)
        return session

    # --- answers ---

    def _read(self, response: requests.Response, method: str, base: bytes) -> Reply:
        """Give the answer's data; raise _Again where another attempt may help, otherwise an OMSError."""
        status = response.status_code
        if 300 <= status < 400:
            raise ConfigError(
                f"{self.url} redirects to {response.headers.get('Location', 'another address')}",
                hint="Use that address as the client's url: a signed request cannot be redirected.",
                http_status=status,
            )
        if status == 200 and response.headers.get("Content-Type") == "image/png":
            return Reply(response.content, None, None, status)
        envelope = _envelope(response)
        if envelope is None:
            raise self._no_envelope(response, method)
        about = {"request_id": envelope.get("request_id"), "mode": envelope.get("mode")}
        if envelope["status"] == "ok":
            return Reply(envelope.get("data"), about["mode"], about["request_id"], status)
        said = envelope.get("error")
        error = from_envelope(said if isinstance(said, dict) else {}, http_status=status, **about)
        if error.code == "AUTH_BAD_SIGNATURE":
            _explain_difference(error, base)
        if error.query_id is not None:
            raise error  # the outcome of a query is final, whatever the status
        if status in _RETRIED_STATUS:
            raise _Again(error, after_s=_retry_after(response), unsure=error.code == "ENGINE_BUSY")
        if status >= 500 and method == "POST":
            raise OutcomeUnknown(
                error.message,
                code=error.code,
                hint=error.hint,
                retry_safe=error.retry_safe,
                details=error.details,
                http_status=status,
                **about,
            )
        raise error

    def _no_envelope(self, response: requests.Response, method: str) -> Exception:
        status, kind = response.status_code, response.headers.get("Content-Type", "no content type")
        text = f"{self.url} answered {status} with {kind}, which is not an answer of this API"
        if status == 429:
            return _Again(RateLimited(text, http_status=status), after_s=_retry_after(response))
        if status in _RETRIED_STATUS:
            error = Unavailable(text, http_status=status, retry_safe=True)
            return _Again(error, after_s=_retry_after(response), unsure=True)
        if method == "POST" and (status < 300 or status >= 500):
            return OutcomeUnknown(text, http_status=status)
        if status >= 500:
            return Unavailable(text, http_status=status, retry_safe=True)
        return ConfigError(text, hint="Check the client's url, and what stands between.", http_status=status)

    def _no_answer(self, error: requests.exceptions.RequestException) -> _Again:
        reason = _last_words(error)
        if not _provably_not_sent(error):
            text = f"no answer from {self.url}: {reason}"
            return _Again(ConnectionFailed(text, retry_safe=True), unsure=True)
        return _Again(
            NotSent(
                f"{self.url} cannot be reached: {reason}",
                hint="Check that the server runs and that the url is right; nothing was sent.",
                retry_safe=True,
            )
        )

    # --- clocks ---

    def _correct_clock(self, error: AuthError, sent_at: float) -> bool:
        """Adopt the server's clock where ours is a little off; say whether another attempt makes sense."""
        server_ms = error.details.get("server_time_ms")
        if error.code not in ("AUTH_CLOCK_AHEAD", "AUTH_EXPIRED") or not isinstance(server_ms, int):
            return False
        skew_s = server_ms / 1000 - (sent_at + self._clock()) / 2  # the answer left about half-way
        if abs(skew_s) > CLOCK_SKEW_CORRECTED_S:
            return False
        self._skew_s = skew_s
        return True

    def _wait_for_restart(self, error: AuthError) -> None:
        """Wait until the restarted server accepts the earliest time it asks for; sign with no earlier one."""
        created_from, server_ms = error.details.get("created_from"), error.details.get("server_time_ms")
        if not isinstance(created_from, int) or not isinstance(server_ms, int):
            return
        wait_s = created_from - CLOCK_TOLERANCE_S - server_ms / 1000
        if wait_s > 0:
            self._sleep(min(wait_s + 0.01, RETRY_AFTER_S_MAX))
        # Another thread may have met a later restart meanwhile.
        self._created_from = max(self._created_from, created_from)


def _given_up(error: OMSError, idempotency_key: str | None, unsure: bool) -> OMSError:
    """Give what to raise after the last attempt: a write that may have arrived has an unknown outcome."""
    if idempotency_key is None or not unsure:
        return error
    return OutcomeUnknown(
        error.message,
        code=error.code,
        hint="The request may have arrived; call resolve(), do not send it again under a new key.",
        retry_safe=True,
        details=error.details,
        request_id=error.request_id,
        http_status=error.http_status,
        idempotency_key=idempotency_key,
    )


def _envelope(response: requests.Response) -> dict[str, Any] | None:
    if len(response.content) > ANSWER_BYTES_MAX:
        return None
    try:
        found = response.json()
    except ValueError:
        return None
    return found if isinstance(found, dict) and found.get("status") in ("ok", "error") else None


def _retry_after(response: requests.Response) -> float | None:
    text = response.headers.get("Retry-After", "")
    return min(float(text), RETRY_AFTER_S_MAX) if text.isascii() and text.isdigit() else None


def _backoff(tried: int) -> float:
    """Give the pause before the next attempt; jitter keeps many bots from returning at the same moment."""
    pause: float = BACKOFF_S * 2 ** (tried - 1)
    return pause * (0.5 + random.random())


def _provably_not_sent(error: Exception) -> bool:
    """Say whether a failure came before any byte of the request left: no connection was ever made."""
    if isinstance(error, (requests.exceptions.ConnectTimeout, requests.exceptions.ProxyError)):
        return True
    if isinstance(error, (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema)):
        return True
    for inner in error.args:
        reason = getattr(inner, "reason", inner)
        if isinstance(reason, (urllib3_errors.NewConnectionError, urllib3_errors.ConnectTimeoutError)):
            return True
    return False


def _last_words(error: Exception) -> str:
    """Give the innermost reason of a failed connection; requests wraps it several times."""
    inner: Any = error
    while True:
        deeper = getattr(inner, "reason", None) or next(
            (a for a in inner.args if isinstance(a, Exception)), None
        )
        if not isinstance(deeper, Exception):
            break
        inner = deeper
    text = str(inner)
    return text.rpartition(": ")[2] if isinstance(inner, urllib3_errors.NewConnectionError) else text


def _explain_difference(error: OMSError, ours: bytes) -> None:
    """Compare the base the server built with ours and say in words what differs."""
    theirs = error.details.get("base")
    if not isinstance(theirs, str) or not theirs:
        return
    for mine, other in zip(ours.decode("ascii").split("\n"), theirs.split("\n")):
        if mine == other:
            continue
        name, _, value = mine.partition(": ")
        if name == '"@authority"':
            here = other.partition(": ")[2]
            error.hint = (
                f"You signed for {value}, the server is {here}: add {value} to OMS_HOSTS on the server."
            )
        else:
            error.hint = f"You signed {mine}; the server received {other}: something in between rewrote it."
        return
    error.hint = (
        "Both sides signed the same text, so OMS_KEY is not the private half of the key the server has."
    )


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
