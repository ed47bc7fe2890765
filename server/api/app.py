"""The Flask application: who is asking, then the view, then one envelope for whatever comes of it."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable
from datetime import datetime
from typing import cast

from flask import Response, current_app, g, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound, RequestEntityTooLarge

from ems.core import errors
from ems.core.codec import MAX_BODY_BYTES, printable, shown
from ems.core.errors import problem
from ems.core.messages import Problem
from ems.desk import DeskRefused
from server.api.accounts import accounts
from server.api.answers import Refused, mode_of, refused
from server.api.contracts import contracts
from server.api.costs import costs
from server.api.desk_port import Desk, Notifications
from server.api.docs import docs
from server.api.halts import halts
from server.api.health import health
from server.api.limits import limits
from server.api.notifications import notifications as notification_calls
from server.api.orders import orders
from server.api.plans import plans
from server.api.portfolio import portfolio
from server.api.queries import queries
from server.api.routes import PUBLIC, Api, House, house
from server.api.slices import slices
from server.auth import Authenticator, AuthError, raw_target
from server.settings import Settings

log = logging.getLogger("server.api")

SECURITY_HEADERS = {  # name -> value, unless the view set its own
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def create_app(
    desk: Desk,
    authenticator: Authenticator,
    settings: Settings,
    *,
    clock: Callable[[], datetime],
    ids: Callable[[], str],
    notifications: Notifications,
    loop_lag_ms: Callable[[], int] = lambda: 0,
) -> Api:
    """Build the application. `clock` gives aware UTC times, `ids` an unguessable id for each request."""
    app = Api("oms")
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.extensions["oms"] = House(
        desk=desk,
        authenticator=authenticator,
        settings=settings,
        clock=clock,
        ids=ids,
        loop_lag_ms=loop_lag_ms,
        notifications=notifications,
    )
    app.before_request(_admit)
    app.after_request(_protect)
    app.register_error_handler(Exception, _explain)
    reads = (accounts, contracts, portfolio, slices, costs, notification_calls, health, docs)
    for noun in (orders, plans, halts, limits, queries, *reads):
        app.register_blueprint(noun)
    return app


def _admit() -> None:
    """Let nobody past who may not call this: the role stands at the route, the identity in the signature."""
    g.request_id = house().ids()
    if request.routing_exception is not None:
        return  # answered by _explain; says nothing that the public documents do not
    call = _app().declared[str(request.endpoint)]
    if call.role == PUBLIC:
        return
    g.identity = house().authenticator.authenticate(
        request.method,
        raw_target(request.environ),
        list(request.headers.items()),
        request.get_data(),
        request.remote_addr or "",
        role=call.role,
    )


def _protect(response: Response) -> Response:
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)
    identity = g.get("identity")
    log.info(
        "%s %s %s %s %s",
        g.request_id,
        identity.user if identity is not None else "-",
        request.method,
        printable(request.path, 100),
        response.status_code,
    )
    return response


def _explain(error: Exception) -> Response:
    """Translate whatever went wrong into the envelope, once."""
    match error:
        case Refused():
            mode = mode_of(error.exchange) if error.exchange else None
            return refused(error.problem, status=error.status, mode=mode)
        case DeskRefused():
            return refused(error.problem)
        case AuthError():
            said = Problem(
                code=error.code,
                message=error.message,
                hint=error.hint,
                retry_safe=error.retry_safe,
                details=dict(error.details),
            )
            return refused(said, status=error.http_status)
        case NotFound():
            return refused(_no_such_path(request.path))
        case MethodNotAllowed():
            allowed = sorted(set(error.valid_methods or ()))
            response = refused(
                problem(
                    errors.REQUEST_METHOD,
                    f"{printable(request.path, 100)} does not answer {printable(request.method, 20)}",
                    hint=f"Use {' or '.join(allowed)}.",
                    details={"allowed": list(allowed)},
                )
            )
            response.headers["Allow"] = ", ".join(allowed)
            return response
        case RequestEntityTooLarge():
            return refused(
                problem(errors.REQUEST_TOO_LARGE, f"the body is larger than {MAX_BODY_BYTES} bytes")
            )
        case HTTPException():
            said = problem(errors.REQUEST_MALFORMED, error.description or error.name)
            return refused(said, status=error.code or 400)
    log.error("request %s failed", g.get("request_id"), exc_info=error)
    return refused(
        problem(errors.INTERNAL_ERROR, "a mistake in this server; it is in the log under the request_id")
    )


def _no_such_path(path: str) -> Problem:
    known = [call.path for call in _app().calls()]
    near = difflib.get_close_matches(path[:100], known, n=1)
    hint = f"Did you mean {near[0]}?" if near else None
    return problem(errors.REQUEST_NOT_FOUND, f"there is no {shown(path)}", hint=hint)


def _app() -> Api:
    return cast(Api, current_app)
