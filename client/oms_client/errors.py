"""Every exception of this client. Ask whose fault it is and what is known.

    OMSError
     +-- ConfigError          the client is set up wrongly: url, key, timeout; nothing was sent
     +-- ConnectionFailed     a question got no answer; asking again is harmless
     |    +-- NotSent         the server was never reached; nothing can have happened
     +-- AuthError            the signature was not accepted; nothing was done
     +-- RateLimited          too many requests; wait `retry_after` seconds
     +-- Rejected             a definite no, from the OMS or the exchange
     |    +-- InvalidRequest       a field is wrong (`field` names it); also a ValueError
     |    +-- InsufficientFunds
     |    +-- NotFound             no such order, query or path
     |    +-- IdempotencyConflict  the key was used before for something else
     |    +-- QuoteLapsed          the quote has expired, or the books no longer allow it; nothing was sent
     |    +-- Unavailable          the server or exchange takes nothing new at the moment
     +-- QueryFailed          accepted, worked on, and failed; `query` shows what was done until then
     |    +-- FundsRanOut     the same, and also an InsufficientFunds
     |    +-- QuoteFell       the same, and also a QuoteLapsed
     +-- OutcomeUnknown       sent but not answered, or not finished; `resolve()` finds out, never twice

An unknown outcome is not a no: never send the order again with a new key, call `resolve()`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable

if TYPE_CHECKING:
    from .answers import Query

_UNAVAILABLE = ("EXCHANGE_UNAVAILABLE", "VENUE_UNAVAILABLE", "STORE_UNAVAILABLE", "ENGINE_STOPPED")


class OMSError(Exception):
    """Anything that can go wrong; the fields are those of the server's error where it sent one."""

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        hint: str = "",
        retry_safe: bool = False,
        details: dict[str, Any] | None = None,
        venue_code: str | None = None,
        venue_message: str | None = None,
        request_id: str | None = None,
        mode: str | None = None,
        http_status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code  # a constant such as FUNDS_INSUFFICIENT; empty where the server said nothing
        self.hint = hint  # what to do about it
        self.retry_safe = retry_safe  # the same request may be sent again unchanged
        self.details = details or {}
        self.venue_code = venue_code
        self.venue_message = venue_message
        self.request_id = request_id
        self.mode = mode
        self.http_status = http_status

    @property
    def query_id(self) -> str | None:
        """Name the query that recorded this failure, where there is one."""
        return self.details.get("query_id")

    def __str__(self) -> str:
        text = f"{self.code}: {self.message}" if self.code else self.message
        if self.venue_message and self.venue_message not in text:
            text += f" (the exchange: {self.venue_message})"
        return f"{text.rstrip('.')}. {self.hint}" if self.hint else text


class ConfigError(OMSError):
    """The client is set up wrongly; nothing was sent."""


class ConnectionFailed(OMSError):
    """The server gave no usable answer to a question."""


class NotSent(ConnectionFailed):
    """The server was never reached, so nothing can have happened."""


class AuthError(OMSError):
    """The server did not accept the signature, or the key's role does not suffice."""


class RateLimited(OMSError):
    """Too many requests."""

    def __init__(self, message: str, *, retry_after: float = 1.0, **fields: Any) -> None:
        super().__init__(message, **fields)
        self.retry_after = retry_after  # seconds


class Rejected(OMSError):
    """A definite no."""

    @property
    def field(self) -> str | None:
        """Name the field that is wrong, where it is one."""
        return self.details.get("field")


class InvalidRequest(Rejected, ValueError):
    """A field has a value that cannot be meant."""


class InsufficientFunds(Rejected):
    """The account does not have that much free."""


class NotFound(Rejected):
    """There is no such order, query or path, or it is somebody else's."""


class IdempotencyConflict(Rejected):
    """The idempotency key was used before for a different request."""


class QuoteLapsed(Rejected):
    """The quote has expired, or what it promised is no longer possible; nothing was sent. Quote again."""


class Unavailable(Rejected):
    """The server, its database or the exchange takes nothing new at the moment; nothing was done."""


class QueryFailed(OMSError):
    """The query was accepted and failed later; `query` has its orders and whatever was traded."""

    def __init__(self, message: str, *, query: Query, **fields: Any) -> None:
        super().__init__(message, **fields)
        self.query = query

    @property
    def query_id(self) -> str | None:
        """Name the query."""
        return self.query.get("query_id")


class FundsRanOut(QueryFailed, InsufficientFunds):
    """The query failed because the account did not have enough."""


class QuoteFell(QueryFailed, QuoteLapsed):
    """The query failed because its quote no longer held; nothing was sent."""


class OutcomeUnknown(OMSError):
    """Nobody here knows yet what came of a request that may have reached the server."""

    def __init__(
        self,
        message: str,
        *,
        idempotency_key: str | None = None,
        query: Query | None = None,
        resume: Callable[[float | None], Any] | None = None,
        **fields: Any,
    ) -> None:
        super().__init__(message, **fields)
        self.idempotency_key = idempotency_key
        self.query = query  # the last known state, where the query is known
        self._resume = resume

    @property
    def query_id(self) -> str | None:
        """Name the query, where it is known."""
        return self.query.get("query_id") if self.query is not None else super().query_id

    def resolve(self, timeout: float | None = 120) -> Any:
        """Find out: return what the call would have returned, or raise what it would have raised.

        The request goes out again under the same idempotency key, so it is never done twice. Raises
        OutcomeUnknown again when `timeout` seconds did not suffice; None waits for as long as it takes.
        """
        if self._resume is None:
            raise self
        return self._resume(timeout)


def from_envelope(error: dict[str, Any], **fields: Any) -> OMSError:
    """Make the exception for an error the server sent."""
    kind, known = _kind(str(error.get("code") or ""), fields.get("http_status")), _fields(error)
    if kind is RateLimited:
        fields["retry_after"] = float(known["details"].get("retry_after_s", 1))
    return kind(str(error.get("message") or "the server gave no reason"), **known, **fields)


def from_query(query: Query) -> QueryFailed:
    """Make the exception for a query that failed."""
    error = query.get("error") or {}
    kind = _FAILED_AS.get(str(error.get("code")), QueryFailed)
    message = str(error.get("message") or "the query failed")
    return kind(message, query=query, mode=query.mode, request_id=query.request_id, **_fields(error))


_FAILED_AS = {  # code -> what a query that failed with it raises
    "FUNDS_INSUFFICIENT": FundsRanOut,
    "QUOTE_EXPIRED": QuoteFell,
    "QUOTE_MOVED": QuoteFell,
}


def _fields(error: dict[str, Any]) -> dict[str, Any]:
    return {
        "code": str(error.get("code") or ""),
        "hint": str(error.get("hint") or ""),
        "retry_safe": bool(error.get("retry_safe")),
        "details": error.get("details") if isinstance(error.get("details"), dict) else {},
        "venue_code": error.get("venue_code"),
        "venue_message": error.get("venue_message"),
    }


def _kind(code: str, http_status: int | None) -> type[OMSError]:
    if code.startswith("AUTH_"):
        return AuthError
    if code == "RATE_LIMITED" or http_status == 429:
        return RateLimited
    if code == "FUNDS_INSUFFICIENT":
        return InsufficientFunds
    if code == "IDEMPOTENCY_CONFLICT":
        return IdempotencyConflict
    if code in ("QUOTE_EXPIRED", "QUOTE_MOVED"):
        return QuoteLapsed
    if code in _UNAVAILABLE:
        return Unavailable
    if code.endswith("_NOT_FOUND") or code == "QUOTE_UNKNOWN":
        return NotFound
    if code.startswith("REQUEST_"):
        return InvalidRequest
    if http_status is not None and http_status >= 500:
        return Unavailable
    return Rejected
