"""The way of every write: idempotency key, strict reading, one ticket, the desk, the answer."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from flask import Response, g, request

from ems.core import errors
from ems.core.codec import VERBS, Options, Reading, digest, read_command, read_key
from ems.core.errors import BadMessage, combined, problem
from ems.core.messages import (
    CancelAllOrders,
    CancelOrder,
    Command,
    HaltTrading,
    NonceUse,
    NotificationCommand,
    Problem,
    ResumeTrading,
    SendTestNotification,
    SetLimit,
    Ticket,
)
from ems.core.records import QueryStatus
from ems.core.risk_limits import CONTROLS
from ems.desk import DeskRefused
from server.api.answers import Refused, ok, refused, with_details
from server.api.desk_port import QueryState
from server.api.lanes import place_in
from server.api.routes import Call, Noun, View, house
from server.api.views import query_view
from server.auth import Identity

# What any write that trades may be told, beside what every call may be told.
TRADE_ERRORS = (
    errors.REQUEST_FIELD_MISSING,
    errors.REQUEST_FIELD_INVALID,
    errors.REQUEST_FIELD_UNKNOWN,
    errors.REQUEST_KEY_MISSING,
    errors.IDEMPOTENCY_CONFLICT,
    errors.EXCHANGE_UNKNOWN,
    errors.EXCHANGE_CLOSED,
    errors.EXCHANGE_UNAVAILABLE,
    *(control.code for control in CONTROLS if control.code),
    errors.AMOUNT_TOO_SMALL,
    errors.AMOUNT_TOO_LARGE,
    errors.VENUE_REJECTED,
    errors.VENUE_UNAVAILABLE,
    errors.STORE_UNAVAILABLE,
    errors.ENGINE_BUSY,
    errors.ENGINE_STOPPED,
)


Submit = Callable[[Ticket, Command], QueryState | Problem]


def write(
    noun: Noun,
    verb_name: str,
    *,
    example: object,
    more_errors: tuple[str, ...] = (),
    answer: str = "Query",
    role: str = "trade",
    permit: Callable[[Identity, Command], None] = lambda _identity, _command: None,
    submit: Submit | None = None,
) -> View:
    """Register the call of one command: POST /api/<verb>. `permit` raises AuthError for what needs more than
    the role. `submit` takes what is no order; without it the desk does."""
    verb = VERBS[verb_name]

    def view() -> Response:
        reading = read_command(verb, request.get_data())
        if reading.command is not None:
            permit(g.identity, reading.command)
        return _submit(reading, verb_name, submit or house().desk.submit)

    declared = Call(
        name=verb_name,
        method="POST",
        path=f"/api/{verb_name}",
        role=role,
        summary=verb.summary,
        doc=verb.doc,
        noun=noun.name,
        fields=verb.fields,
        verb=verb,
        answer=answer,
        example=example,
        errors=TRADE_ERRORS + more_errors,
        statuses=(200, 202),
    )
    return noun.call(declared)(view)


def _submit(reading: Reading, verb_name: str, submit: Submit) -> Response:
    identity: Identity = g.identity
    key, problems = _idempotency_key()
    problems += _unfit_for_a_body()
    problems += reading.problems
    problems += _another_key(key, reading.options)
    command = reading.command
    if problems or command is None:
        # Raw bytes stand for a command that could not be read: the same mistake repeated is the same query.
        said = hashlib.sha256(request.get_data()).hexdigest()
        ticket = _ticket(identity, reading.options, key or f"refused-{g.request_id}", said)
        return _refuse(ticket, verb_name, reading, combined(problems))
    ticket = _ticket(identity, reading.options, key, digest(command, reading.options))
    try:
        with _place(command):
            state = submit(ticket, command)
    except DeskRefused as no:
        raise Refused(no.problem, exchange=reading.exchange) from no
    if isinstance(state, Problem):
        return _refuse(ticket, verb_name, reading, state)
    return answer(state)


def _place(command: Command) -> AbstractContextManager[None]:
    """Give new orders their share of the threads; cancels and halts need none. A test message waits for its
    channel, and must hold no place of an order meanwhile."""
    if isinstance(command, SendTestNotification):
        return place_in(house().lanes.channel_tests)
    if isinstance(command, NotificationCommand):
        return nullcontext()
    if isinstance(command, CancelOrder | CancelAllOrders | HaltTrading | ResumeTrading | SetLimit):
        return nullcontext()
    return place_in(house().lanes.new_orders)


def answer(state: QueryState) -> Response:
    """Answer a write with its query: 202 while it works, its error when it failed."""
    query = state.query
    if query.status is QueryStatus.FAILED and query.error is not None:
        failed = with_details(query.error, query_id=query.query_id, duplicate=state.duplicate)
        return refused(failed, mode=query.mode)
    accepted = query.status is QueryStatus.WORKING and not state.duplicate
    return ok(query_view(state), status=202 if accepted else 200, mode=query.mode)


def _refuse(ticket: Ticket, verb_name: str, reading: Reading, said: Problem) -> Response:
    status = 415 if not _is_json() else None
    state = house().desk.refuse(ticket, verb_name, reading.exchange, reading.parameters, said)
    if state is not None:
        said = with_details(said, query_id=state.query.query_id)
    return refused(said, status=status, mode=state.query.mode if state is not None else None)


def _ticket(identity: Identity, options: Options, key: str, body_digest: str) -> Ticket:
    return Ticket(
        user=identity.user,
        bot=options.bot,
        idempotency_key=key,
        body_digest=body_digest,
        record_in_db=options.record_in_db,
        send_fail_email=options.send_fail_email,
        dry_run=options.dry_run,
        role=identity.role,
        nonce=NonceUse(key_id=identity.keyid, nonce=identity.nonce, expires_at=identity.expires),
    )


def _idempotency_key() -> tuple[str, list[Problem]]:
    given = request.headers.get("Idempotency-Key")
    if not given:
        return "", [problem(errors.REQUEST_KEY_MISSING, "the header Idempotency-Key is missing")]
    try:
        return read_key(given, "Idempotency-Key"), []
    except BadMessage as bad:
        return "", [problem(errors.REQUEST_KEY_MISSING, bad.problems[0].message)]


def _another_key(key: str, options: Options) -> list[Problem]:
    """Refuse a header that somebody changed on the way: the signature covers the body, not this header."""
    said = options.idempotency_key
    if said is None or not key or said == key:
        return []
    return [
        problem(
            errors.REQUEST_FIELD_INVALID,
            "idempotency_key: not equal to the header Idempotency-Key",
            hint="Send the same key in both; a difference means that the header was changed on the way.",
            details={"field": "idempotency_key"},
        )
    ]


def _is_json() -> bool:
    return request.mimetype == "application/json"


def _unfit_for_a_body() -> list[Problem]:
    """Refuse what would make a body mean something else than it says."""
    found: list[Problem] = []
    if not _is_json():
        found.append(
            problem(
                errors.REQUEST_MALFORMED,
                f"the content type is {request.mimetype or 'absent'}, not application/json",
                hint="Send the header Content-Type: application/json.",
                details={"field": "Content-Type"},
            )
        )
    if request.query_string:
        found.append(
            problem(
                errors.REQUEST_MALFORMED,
                "a write takes its fields in the body, and this one has a query string",
                hint="Move the fields from the query string into the JSON body.",
            )
        )
    return found
