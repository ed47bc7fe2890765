"""The documents: the OpenAPI description and the page for people, both made from the routes."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from pathlib import Path
from typing import cast

from flask import Response, current_app, render_template

from ems.core import errors
from ems.core.codec import COMMON
from server.api import openapi
from server.api.answers import HTTP_STATUS
from server.api.routes import PUBLIC, Api, Call, Noun

docs = Noun("docs", __name__, template_folder="templates")


@functools.cache
def _style() -> tuple[str, str]:
    """Return the style sheet, and the policy that allows it and nothing else: no script, no other host."""
    style = Path(__file__).with_name("templates").joinpath("docs.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; frame-ancestors 'none'"
    return style, policy


def _calls() -> list[Call]:
    return cast(Api, current_app).calls()


@docs.call(
    Call(
        name="openapi",
        method="GET",
        path="/api/openapi.json",
        role=PUBLIC,
        summary="This API as OpenAPI 3.1",
        noun="docs",
    )
)
def openapi_document() -> Response:
    """Answer with the OpenAPI document."""
    return Response(json.dumps(openapi.document(_calls()), indent=1), mimetype="application/json")


@docs.call(
    Call(
        name="docs",
        method="GET",
        path="/api/docs",
        role=PUBLIC,
        summary="This API as a page to read",
        noun="docs",
        media="text/html",
    )
)
def docs_page() -> Response:
    """Answer with the page."""
    calls = sorted(_calls(), key=lambda call: (call.role == PUBLIC, call.noun, call.path))
    style, policy = _style()
    page = render_template(
        "docs.html",
        style=style,
        calls=calls,
        common=COMMON,
        groups=errors.GROUPS,
        http_status=HTTP_STATUS,
        error_codes={call.name: openapi.error_codes(call) for call in calls},
        bodies={c.name: json.dumps(openapi.body_example(c), indent=2) for c in calls if c.verb is not None},
        answers={c.name: json.dumps(c.example, indent=2) for c in calls if c.example is not None},
        public=PUBLIC,
    )
    response = Response(page, mimetype="text/html")
    response.headers["Content-Security-Policy"] = policy
    return response
