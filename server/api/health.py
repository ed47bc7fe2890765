"""Health: alive and ready without a signature and without detail; the detail to those who sign."""

from __future__ import annotations

import json

from flask import Response, g

from ems.store import StoreUnavailable
from server.api import examples
from server.api.answers import ok
from server.api.reads import READ_ERRORS, from_venue, parameters
from server.api.routes import PUBLIC, Call, Noun, house
from server.release import VERSION, configuration, release

health = Noun("health", __name__)

# A loop that answers later than this cannot watch orders.
LOOP_LAG_MS_MAX = 1000


@health.call(
    Call(
        name="livez",
        method="GET",
        path="/livez",
        role=PUBLIC,
        summary="Is the process alive?",
        doc="503 when the event loop lags more than a second: restart it then, not when an exchange is down.",
        noun="health",
        answer="Alive",
        example=examples.ALIVE,
        statuses=(200, 503),
    )
)
def livez() -> Response:
    """Answer without asking anything of the desk."""
    lag_ms = house().loop_lag_ms()
    alive = lag_ms <= LOOP_LAG_MS_MAX
    return _plain({"alive": alive, "loop_lag_ms": lag_ms}, alive)


@health.call(
    Call(
        name="readyz",
        method="GET",
        path="/readyz",
        role=PUBLIC,
        summary="Does the server take orders?",
        doc="503 until the database can be written and every exchange account is reconciled.",
        noun="health",
        answer="Ready",
        example=examples.READY,
        statuses=(200, 503),
    )
)
def readyz() -> Response:
    """Answer what is missing, by name only."""
    # Of "kraken/default: why it is not ready" strangers get the name; the reason is for those who sign.
    missing = [item.partition(":")[0] for item in house().desk.not_ready()]
    return _plain({"ready": not missing, "missing": missing}, not missing)


VERSION_CALL = Call(
    name="version",
    method="GET",
    path="/version",
    role="read",
    summary="What runs: the version and a hash of the settings",
    doc="release is written into every order. Another configuration means that some setting is another.",
    noun="health",
    answer="Object",
    example=examples.VERSION,
    errors=READ_ERRORS,
)


@health.call(VERSION_CALL)
def version() -> Response:
    """Answer with what this process was started with."""
    parameters(VERSION_CALL)
    settings = house().settings
    return ok(
        {"version": VERSION, "configuration": configuration(settings), "release": release(settings)},
    )


CHECK_HEALTH = Call(
    name="check_health",
    method="GET",
    path="/api/check_health",
    role="read",
    summary="The state of the server and of every exchange account",
    noun="health",
    answer="Object",
    errors=READ_ERRORS,
)


@health.call(CHECK_HEALTH)
def check_health() -> Response:
    """Answer with the desk's health and the clock of this server."""
    parameters(CHECK_HEALTH)
    state = dict(from_venue(house().desk.health))
    return ok(
        {
            **state,
            "notifications": _notifications(),
            "server_time": house().clock(),
            "loop_lag_ms": house().loop_lag_ms(),
        }
    )


def _notifications() -> object:
    try:
        told = house().notifications.health()
    except StoreUnavailable as error:
        return {"trouble": {"database": str(error)}}
    if g.identity.may("admin"):
        return told
    # Addresses are people's; who is no admin learns only that something is wrong.
    return {**told, "trouble": {"channels": "in trouble"} if told["trouble"] else {}}


def _plain(state: dict[str, object], good: bool) -> Response:
    # Probes of supervisors read the status and one word; an envelope would only be in their way.
    response = Response(json.dumps(state), status=200 if good else 503, mimetype="application/json")
    if not good:
        response.headers["Retry-After"] = "1"
    return response
