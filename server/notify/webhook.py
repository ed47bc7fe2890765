"""Webhooks: a signed POST to hosts the operator has allowed, and to no address inside of any house.

Rules:
1. The host, with its port, stands on the operator's list. Only https; plain http only where the operator has
   written that loopback origin out.
2. The name is looked up once, every address it has must be public, and the connection goes to the address
   that was checked: a name that changes its mind in between (DNS rebinding) leads nowhere else.
3. No redirects, no proxies, no answer's body is read, and an end to every wait.
4. The body is signed: `OMS-Signature: t=<seconds>,v1=<hex of HMAC-SHA256 of "<t>." and the body>`.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import socket
import ssl
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import SplitResult, urlsplit

import urllib3

from ems.core.jsontext import jsonable
from ems.core.notifications import Message
from server.notify.channels import Undelivered, delivery_id
from server.notify.letter import one_line

CONNECT_S, READ_S = 5.0, 10.0
PORTS = {"https": 443, "http": 80}
FIELDS = (
    "message_id",
    "user",
    "rule",
    "event",
    "severity",
    "subject",
    "text",
    "count",
    "order_id",
    "query_id",
    "created_at",
    "repeats",
)

Resolve = Callable[..., Sequence[tuple[Any, ...]]]  # as socket.getaddrinfo


class WebhookSender:
    """Posts messages as JSON."""

    def __init__(
        self,
        origins: Sequence[str],
        secret: str,
        clock: Callable[[], datetime],
        *,
        resolve: Resolve = socket.getaddrinfo,
        trusted: ssl.SSLContext | None = None,
    ) -> None:
        """`origins` are as `origin_of` writes them; `trusted` None: the system's authorities."""
        self._origins = frozenset(origins)
        self._secret = secret.encode()
        self._clock = clock
        self._resolve = resolve
        self._trusted = trusted or ssl.create_default_context()

    def refusal(self, address: str) -> str | None:
        parts = _split(address)
        if parts is None:
            return f"{one_line(address)} is not a URL such as https://hooks.example.com/oms"
        origin = origin_of(parts)
        if origin not in self._origins:
            return f"{one_line(origin)} is not among those that OMS_WEBHOOK_HOSTS allows"
        return None

    def send(self, message: Message) -> str:
        refused = self.refusal(message.address)
        parts = _split(message.address)
        if refused is not None or parts is None:
            raise Undelivered(refused or "no URL")
        host, port = parts.hostname or "", parts.port or PORTS[parts.scheme]
        address = self._checked_address(host, port)
        body = json.dumps({name: jsonable(getattr(message, name)) for name in FIELDS}).encode()
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            with self._pool(parts.scheme, address, host, port) as pool:
                response = pool.urlopen(
                    "POST",
                    target,
                    body=body,
                    headers=self._headers(parts.netloc, message, body),
                    redirect=False,
                    retries=False,
                    preload_content=False,
                )
                response.close()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Undelivered(one_line(f"{type(error).__name__}: {error}")[:300]) from error
        said = f"{response.status} {one_line(response.reason or '')[:60]}".strip()
        if not 200 <= response.status < 300:
            raise Undelivered(f"{host} answered {said}")
        return said

    def _headers(self, netloc: str, message: Message, body: bytes) -> dict[str, str]:
        at = int(self._clock().timestamp())
        signature = hmac.new(self._secret, b"%d." % at + body, hashlib.sha256).hexdigest()
        return {
            "Host": netloc,
            "Content-Type": "application/json",
            "User-Agent": "oms-notifier",
            "Idempotency-Key": delivery_id(message),
            "OMS-Signature": f"t={at},v1={signature}",
        }

    def _checked_address(self, host: str, port: int) -> str:
        """Look a name up and return one of its addresses; all of them must be fit to be connected to."""
        try:
            found = self._resolve(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise Undelivered(f"{host} is not found: {error}") from error
        addresses = [str(row[4][0]) for row in found]
        fit = is_loopback if is_loopback_name(host) else is_public
        for address in addresses:
            if not fit(address):
                raise Undelivered(f"{host} leads to {address}, which is not a public address")
        if not addresses:
            raise Undelivered(f"{host} has no address")
        return addresses[0]

    def _pool(self, scheme: str, address: str, host: str, port: int) -> urllib3.HTTPConnectionPool:
        waits = urllib3.Timeout(connect=CONNECT_S, read=READ_S)
        if scheme == "http":
            return urllib3.HTTPConnectionPool(address, port, timeout=waits, maxsize=1)
        return urllib3.HTTPSConnectionPool(
            address,
            port,
            timeout=waits,
            maxsize=1,
            ssl_context=self._trusted,
            server_hostname=host,
            assert_hostname=host,
        )


def _split(url: str) -> SplitResult | None:
    """Take a URL apart; None for what is none, or says more than host, port, path and query."""
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        return None
    try:
        parts = urlsplit(url)
        _ = parts.port  # a port that is none raises
    except ValueError:
        return None
    more = parts.username is not None or parts.password is not None or "#" in url
    return None if parts.scheme not in PORTS or not parts.hostname or more else parts


def origin_of(parts: SplitResult) -> str:
    """Write scheme, host and port in one way only."""
    host = parts.hostname or ""
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}:{parts.port or PORTS[parts.scheme]}"


def is_loopback_name(host: str) -> bool:
    return host == "localhost" or is_loopback(host)


def is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def is_public(address: str) -> bool:
    """Say whether an address is out on the Internet; one that carries another inside is what it carries."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        if found in _NAT64:
            found = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        elif found.teredo is not None or found.scope_id is not None:
            return False
        else:
            found = found.ipv4_mapped or found.sixtofour or found
    return found.is_global and not found.is_multicast and not found.is_reserved
