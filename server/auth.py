"""Decide who sent a request. The scheme is oms_client.signing; this file holds the server's side of it.

The rules:

1. Cheap checks first, the nonce last: a forger can neither burn a nonce nor fill the memory of nonces.
2. The Host header is never trusted. The signature must fit a name this server knows itself by, so a proxy may
   rewrite Host, and a request captured here is worth nothing at another server.
3. A nonce is good once. The memory of nonces dies with the process, so a process refuses whatever an
   earlier one could have accepted (the boot floor). Writes also insert (keyid, nonce, expires) in the
   transaction of the intent; that is done elsewhere, from the Identity given here.
4. Every refusal says what is wrong and how to put it right, and counts against the sender.
"""

from __future__ import annotations

import hashlib
import heapq
import hmac
import re
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from typing import Any

from ems.core import errors as codes
from oms_client import signing
from oms_client.signing import BadKey, MalformedSignature, PublicKey, SignatureInput

ROLES = ("read", "trade", "admin")  # each may do what those before it may

CLOCK_TOLERANCE_S = 5
NONCE_KEPT_AFTER_EXPIRY_S = 10
FAILURES_FREE = 20
FAILURES_WINDOW_S = 60.0
FAILURE_INTERVAL_S = 1.0
SENDERS_REMEMBERED = 10_000

_USER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")
_HOST = re.compile(r"[a-z0-9._-]+(:[0-9]{1,5})?|\[[0-9a-f:.]+\](:[0-9]{1,5})?")
_LOOPBACK = re.compile(r"(localhost|127(\.[0-9]{1,3}){3}|\[::1\])(:[0-9]{1,5})?")
_TARGET = re.compile(r"/[\x21-\x7e]*")


class KeysError(ValueError):
    """OMS_KEYS or OMS_HOSTS holds a wrong value; the message is one line that names it and the fix."""


class AuthError(Exception):
    """A request is refused; the fields are those of the error envelope."""

    def __init__(
        self,
        code: str,
        message: str,
        hint: str,
        *,
        http_status: int = 401,
        server_time_ms: int = 0,
        **details: Any,
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.hint = hint
        self.http_status = http_status
        self.retry_safe = codes.CODES[code].retry_safe
        self.server_time_ms = server_time_ms  # lets a client whose clock is wrong correct itself
        self.details: dict[str, Any] = {**details, "server_time_ms": server_time_ms}

    @property
    def retry_after_s(self) -> int | None:
        """Give the value of a Retry-After header, where there should be one."""
        return self.details.get("retry_after_s")


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """One entry of OMS_KEYS."""

    user: str
    public: PublicKey
    role: str = "trade"
    expires: datetime | None = None  # refused from this moment on


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Who sent a request, and the nonce a write must insert with its intent."""

    user: str
    role: str
    keyid: str
    nonce: str
    expires: datetime  # the nonce may be forgotten NONCE_KEPT_AFTER_EXPIRY_S after this

    def may(self, role: str) -> bool:
        """Say whether this identity may do what `role` may."""
        return ROLES.index(self.role) >= ROLES.index(role)

    def require(self, role: str) -> None:
        """Raise AUTH_FORBIDDEN unless this identity may do what `role` may."""
        if not self.may(role):
            raise AuthError(
                codes.AUTH_FORBIDDEN,
                f"this call needs the role {role!r}; the key {self.keyid} of {self.user!r} has {self.role!r}",
                f"in the server's OMS_KEYS give this key the role: {self.user},<PUBLIC KEY>,{role}",
                http_status=403,
                role=self.role,
                needs=role,
                keyid=self.keyid,
            )


# --- what the environment says -----------------------------------------------------------------------------


def parse_keys(text: str) -> dict[str, ApiKey]:
    """Read OMS_KEYS, `<USER>,<PUBLIC KEY>[,<ROLE>[,<EXPIRES>]]` by `;` or lines, into keyid -> key."""
    keys: dict[str, ApiKey] = {}
    entries = [entry.strip() for entry in re.split(r"[;\n]", text)]
    for number, entry in enumerate((entry for entry in entries if entry), start=1):
        key = _parse_entry(entry, number)
        known = keys.get(key.public.keyid)
        if known is not None:
            raise KeysError(
                f"OMS_KEYS entry {number}: the key {key.public.keyid} is already given to "
                f"{known.user!r}; every entry needs a key of its own (`oms keygen {key.user}`)"
            )
        keys[key.public.keyid] = key
    return keys


def _parse_entry(entry: str, number: int) -> ApiKey:
    fields = [part.strip() for part in entry.split(",")]
    # Until its user name is known to be one, an entry is not repeated: it may be a private key.
    if not 2 <= len(fields) <= 4:
        raise KeysError(
            f"OMS_KEYS entry {number}: write <USER>,<PUBLIC KEY>[,<ROLE>[,<EXPIRES>]], "
            f"this one has {len(fields)} field{'s' if len(fields) > 1 else ''}"
        )
    user, public_text, role, expires_text = (*fields, "", "")[:4]
    if user.startswith((signing.PRIVATE_PREFIX, signing.PUBLIC_PREFIX)):
        raise KeysError(
            f"OMS_KEYS entry {number}: starts with a key; the user name comes first: <USER>,<PUBLIC KEY>"
        )
    if not _USER.fullmatch(user):
        raise KeysError(f"OMS_KEYS entry {number}: the user name must be 1 to 64 of A-Z a-z 0-9 . _ @ + -")
    try:
        public = signing.parse_public_key(public_text)
    except BadKey as error:
        raise KeysError(f"OMS_KEYS entry {number} ({user}): {error}") from None
    if role and role not in ROLES:
        raise KeysError(
            f"OMS_KEYS entry {number} ({user}): the role {role!r} is not one of {', '.join(ROLES)}"
        )
    return ApiKey(
        user=user,
        public=public,
        role=role or "trade",
        expires=_parse_expiry(expires_text, f"OMS_KEYS entry {number} ({user})") if expires_text else None,
    )


def _parse_expiry(text: str, where: str) -> datetime:
    try:
        if len(text) == len("2027-01-01"):
            return datetime.combine(date.fromisoformat(text), time(0), UTC)
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise KeysError(
            f"{where}: the expiry {text!r} is not a date like 2027-01-01 or a time like 2027-01-01T12:00:00Z"
        ) from None
    if moment.tzinfo is None:
        raise KeysError(f"{where}: the expiry {text!r} needs a time zone, as in 2027-01-01T12:00:00Z")
    return moment.astimezone(UTC)


def parse_hosts(text: str) -> tuple[str, ...]:
    """Read OMS_HOSTS: the names (with port, where it is not the default) that clients call this server by."""
    hosts: list[str] = []
    for name in re.split(r"[\s,;]+", text.strip().lower()):
        if not name:
            continue
        if "/" in name:
            raise KeysError(
                f"OMS_HOSTS: {name!r} is not a host name; "
                f"write {signing.authority_of(name) or 'host:port'!r} (no scheme, no path)"
            )
        if not _HOST.fullmatch(name):
            raise KeysError(f"OMS_HOSTS: {name!r} is not a host name like oms.example.com or 10.0.0.5:8888")
        if name not in hosts:
            hosts.append(name)
    return tuple(hosts)


def raw_target(environ: Mapping[str, Any]) -> str:
    """Give the request target as it stood on the request line, undecoded, whichever server runs us.

    PATH_INFO is percent-decoded and cannot be verified against. The places to look were found by measuring
    the servers: those for ASGI leave the scope (through a2wsgi), gunicorn RAW_URI, waitress REQUEST_URI.
    """
    scope = environ.get("asgi.scope")
    if scope is not None and scope.get("raw_path"):
        target: str = scope["raw_path"].decode("latin-1")
        query = scope.get("query_string") or b""
        if query and "?" not in target:
            target += "?" + query.decode("latin-1")
    else:
        target = environ.get("RAW_URI") or environ.get("REQUEST_URI") or ""
    _check_target(target)
    return target


def _check_target(target: str) -> None:
    if not _TARGET.fullmatch(target):
        raise AuthError(
            codes.AUTH_MALFORMED,
            "the request target must start with / and hold printable ASCII only",
            "put path and query on the request line, percent-encoded: GET /api/get_balances?exchange=kraken",
        )


# --- authentication ----------------------------------------------------------------------------------------


@dataclass
class _Failures:
    """The recent failures of one sender."""

    times: deque[float] = field(default_factory=lambda: deque(maxlen=FAILURES_FREE))

    def wait_s(self, now: float) -> float:
        """Say how long this sender has to wait before the next attempt is looked at."""
        if len(self.times) < FAILURES_FREE or self.times[0] <= now - FAILURES_WINDOW_S:
            return 0.0
        return max(0.0, self.times[-1] + FAILURE_INTERVAL_S - now)


class Authenticator:
    """Verify signed requests; safe to call from many threads.

    `keys` maps keyid -> ApiKey (parse_keys); `hosts` are the names of OMS_HOSTS (parse_hosts), empty meaning
    loopback names only; `clock` gives seconds since 1970 UTC (time.time); `boot_time` is that clock when this
    process became the only one that may accept requests: read it after the lock that keeps a second one out.
    """

    def __init__(
        self, keys: Mapping[str, ApiKey], hosts: Iterable[str], clock: Callable[[], float], boot_time: float
    ) -> None:
        self.keys = dict(keys)
        self.hosts = tuple(hosts)
        self._clock = clock
        # An earlier process accepted `created` up to CLOCK_TOLERANCE_S ahead of its last moment, and its
        # memory of nonces is gone. Beginning just after that makes the memory of this process complete.
        self._created_from = int(boot_time) + CLOCK_TOLERANCE_S + 1
        self._lock = threading.Lock()
        self._nonces: set[tuple[str, str]] = set()  # (keyid, nonce)
        self._nonces_by_expiry: list[tuple[int, tuple[str, str]]] = []
        self._failures: OrderedDict[tuple[str, str], _Failures] = (
            OrderedDict()
        )  # (ip, known keyid or "") -> failures

    def authenticate(
        self, method: str, raw_target: str, headers: Any, body: bytes, remote_ip: str, *, role: str = "read"
    ) -> Identity:
        """Say who sent this request, or raise AuthError.

        `headers` are (name, value) pairs, duplicates included, or anything whose items() gives them. `role`
        is what the called verb needs. A nonce is spent even where the role does not suffice.
        """
        now = self._clock()
        pairs = list(headers.items() if hasattr(headers, "items") else headers)
        sender = (remote_ip, self._claimed_keyid(pairs))
        self._check_throttle(sender, now)
        try:
            identity = self._authenticate(method, raw_target, pairs, body, now)
        except AuthError as error:
            error.server_time_ms = error.details["server_time_ms"] = int(now * 1000)
            if error.code != codes.AUTH_RESTARTED:  # our restart is not the sender's mistake
                self._count_failure(sender, now)
            raise
        identity.require(role)
        return identity

    def _authenticate(
        self, method: str, target: str, pairs: list[tuple[str, str]], body: bytes, now: float
    ) -> Identity:
        signed, signature, digest_header, digest = self._read(target, pairs, body)
        self._check_time(signed, now)
        key = self._key(signed, now)
        self._check_signature(key, method, target, pairs, signed, signature, digest_header)
        if not hmac.compare_digest(hashlib.sha256(body).digest(), digest):
            raise AuthError(
                codes.AUTH_BAD_DIGEST,
                "the body is not the one that was signed",
                "sign the very bytes you send: serialise once, then sign and send that; "
                "a proxy must not rewrite the body",
                received=signing.content_digest(body),
            )
        self._spend_nonce(signed, now)
        return Identity(
            user=key.user,
            role=key.role,
            keyid=signed.keyid,
            nonce=signed.nonce,
            expires=datetime.fromtimestamp(signed.expires, UTC),
        )

    @staticmethod
    def _read(
        target: str, pairs: list[tuple[str, str]], body: bytes
    ) -> tuple[SignatureInput, bytes, str, bytes]:
        found: dict[str, list[str]] = {
            name: [] for name in ("signature-input", "signature", "content-digest", "content-encoding")
        }
        for name, value in pairs:
            if name.lower() in found:
                found[name.lower()].append(value)
        missing = [
            name for name in ("Signature-Input", "Signature", "Content-Digest") if not found[name.lower()]
        ]
        if missing:
            raise AuthError(
                codes.AUTH_MISSING,
                f"the request is not signed: no {' and no '.join(missing)} header",
                "use OMSClient with OMS_KEY set, or sign as MANUAL.md describes",
                missing=missing,
            )
        doubled = [name for name, values in found.items() if len(values) > 1]
        if doubled:
            raise _malformed(f"there is more than one {doubled[0]} header")
        encoding = found["content-encoding"]
        if encoding and encoding[0].strip().lower() not in ("", "identity"):
            raise _malformed("a compressed body is not accepted; the digest is over the bytes on the wire")
        _check_target(target)
        if len(body) > signing.BODY_BYTES_MAX:
            raise AuthError(
                codes.REQUEST_TOO_LARGE,
                f"the body has {len(body)} bytes; at most {signing.BODY_BYTES_MAX} are read",
                "send a smaller request",
                http_status=413,
            )
        try:
            signed = signing.parse_signature_input(found["signature-input"][0])
            signature = signing.parse_signature(found["signature"][0])
            digest = signing.parse_content_digest(found["content-digest"][0])
        except MalformedSignature as error:
            raise _malformed(str(error)) from None
        return signed, signature, found["content-digest"][0], digest

    def _check_time(self, signed: SignatureInput, now: float) -> None:
        if signed.created > int(now) + CLOCK_TOLERANCE_S:
            ahead = f"{signed.created - now:.1f}"
            raise AuthError(
                codes.AUTH_CLOCK_AHEAD,
                f"your clock is {ahead} s ahead of the server's",
                "run NTP on both machines",
                created=signed.created,
                seconds=ahead,
            )
        if signed.expires < now - CLOCK_TOLERANCE_S:
            late, age = f"{now - signed.expires:.1f}", f"{now - signed.created:.1f}"
            raise AuthError(
                codes.AUTH_EXPIRED,
                f"the signature expired {late} s ago; by the server's clock it was made {age} s ago",
                f"if you signed just now, your clock is {age} s behind the server's: run NTP; "
                "otherwise sign each attempt anew",
                created=signed.created,
                expires=signed.expires,
                seconds=age,
            )
        if signed.created < self._created_from:
            raise AuthError(
                codes.AUTH_RESTARTED,
                "the server has restarted and accepts only requests signed after that",
                f"sign again, with created not before {self._created_from}",
                created=signed.created,
                created_from=self._created_from,
            )

    def _key(self, signed: SignatureInput, now: float) -> ApiKey:
        key = self.keys.get(signed.keyid)
        if key is None:
            raise AuthError(
                codes.AUTH_UNKNOWN_KEY,
                f"no key {signed.keyid} is known here",
                "add <USER>,<PUBLIC KEY> to OMS_KEYS on the server and restart it; "
                "`oms keygen <USER>` prints both environment lines",
                keyid=signed.keyid,
            )
        if key.expires is not None and now >= key.expires.timestamp():
            raise AuthError(
                codes.AUTH_KEY_EXPIRED,
                f"the key {signed.keyid} expired at {key.expires.isoformat()}",
                "make a new pair (`oms keygen <USER>`) and put its public key into OMS_KEYS on the server",
                keyid=signed.keyid,
            )
        return key

    def _check_signature(
        self,
        key: ApiKey,
        method: str,
        target: str,
        pairs: list[tuple[str, str]],
        signed: SignatureInput,
        signature: bytes,
        digest_header: str,
    ) -> None:
        said = [value.strip().lower() for name, value in pairs if name.lower() == "host"]
        host = said[0] if len(said) == 1 and len(said[0]) <= 255 and _HOST.fullmatch(said[0]) else ""
        if self.hosts:
            accepted = self.hosts
        else:
            accepted = (host,) if _LOOPBACK.fullmatch(host) else ()
        base = b""
        for name in accepted:
            base = signing.request_base(method, name, target, digest_header, signed)
            if signing.verify(key.public, base, signature):
                return
        if host and host not in accepted:
            hint = (
                f"the request came to {host!r}; this server answers to "
                f"{', '.join(self.hosts) or 'loopback names only'}: "
                f"add {host!r} to OMS_HOSTS on the server, or use one of its names in the client's url"
            )
        else:
            hint = (
                "compare details.base with the base you signed, line by line: method, host, path, query and "
                "body digest must be the ones sent; a proxy must not rewrite the path"
            )
        raise AuthError(
            codes.AUTH_BAD_SIGNATURE,
            "the signature does not fit this request",
            hint,
            base=base.decode("ascii"),
            hosts=list(accepted),
            host=host,
            keyid=signed.keyid,
        )

    def _spend_nonce(self, signed: SignatureInput, now: float) -> None:
        spent = (signed.keyid, signed.nonce)
        with self._lock:
            while self._nonces_by_expiry and self._nonces_by_expiry[0][0] + NONCE_KEPT_AFTER_EXPIRY_S < now:
                self._nonces.discard(heapq.heappop(self._nonces_by_expiry)[1])
            if spent not in self._nonces:
                self._nonces.add(spent)
                heapq.heappush(self._nonces_by_expiry, (signed.expires, spent))
                return
        raise AuthError(
            codes.AUTH_REPLAYED,
            "this signed request was already received",
            "sign every attempt anew with a new nonce, and keep the Idempotency-Key",
            nonce=signed.nonce,
        )

    # --- failures ---

    def _claimed_keyid(self, pairs: list[tuple[str, str]]) -> str:
        """Give the known key a request claims: one bot's wrong key must not lock out its neighbours."""
        for name, value in pairs:
            if name.lower() == "signature-input":
                try:
                    keyid = signing.parse_signature_input(value).keyid
                except MalformedSignature:
                    return ""
                return keyid if keyid in self.keys else ""
        return ""

    def _check_throttle(self, sender: tuple[str, str], now: float) -> None:
        with self._lock:
            failures = self._failures.get(sender)
            wait_s = failures.wait_s(now) if failures is not None else 0.0
        if wait_s > 0:
            raise AuthError(
                codes.RATE_LIMITED,
                f"{FAILURES_FREE} requests failed authentication within a minute; "
                "now one attempt per second is looked at",
                "stop the sender and read the first error it got",
                http_status=429,
                server_time_ms=int(now * 1000),
                retry_after_s=1,
            )

    def _count_failure(self, sender: tuple[str, str], now: float) -> None:
        with self._lock:
            failures = self._failures.setdefault(sender, _Failures())
            failures.times.append(now)
            self._failures.move_to_end(sender)
            while len(self._failures) > SENDERS_REMEMBERED:
                self._failures.popitem(last=False)


def _malformed(message: str) -> AuthError:
    return AuthError(
        codes.AUTH_MALFORMED, message, "sign in the one form MANUAL.md gives; OMSClient does it for you"
    )
