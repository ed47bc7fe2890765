"""How a call is declared: its role, its fields and its answer, in one record beside the view.

A view without a declared role cannot be registered: forgetting it would be an open door. The same records
make the OpenAPI document, so what is served and what is described cannot differ.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from flask import Blueprint, Flask, Response, current_app

from ems.core.codec import Field, Verb
from server.api.desk_port import Desk, Notifications
from server.api.lanes import Lanes
from server.auth import ROLES, Authenticator
from server.settings import Settings

PUBLIC = "public"  # needs no signature

View = Callable[[], Response]


class RoleMissing(Exception):
    """A view was registered without saying who may call it."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One operation of the API."""

    name: str
    method: str  # "GET" | "POST"
    path: str
    role: str  # PUBLIC, or one of server.auth.ROLES
    summary: str
    doc: str = ""
    noun: str = ""  # the heading it stands under
    fields: tuple[Field, ...] = ()  # of the query string, or of the body
    verb: Verb | None = None  # a write: takes a body and an idempotency key
    answer: str = ""  # name of the schema of `data`; empty: not an envelope
    example: object = None  # of `data`
    media: str = "application/json"
    errors: tuple[str, ...] = ()  # codes it answers with, beside those every call shares
    statuses: tuple[int, ...] = (200,)


@dataclass(frozen=True, kw_only=True)
class House:
    """What the views work with."""

    desk: Desk
    authenticator: Authenticator
    settings: Settings
    clock: Callable[[], datetime]
    ids: Callable[[], str]
    loop_lag_ms: Callable[[], int]
    notifications: Notifications
    lanes: Lanes = field(default_factory=Lanes)


def house() -> House:
    """Return what this application was built with."""
    found: House = current_app.extensions["oms"]
    return found


class Noun(Blueprint):
    """The calls about one noun."""

    def call(self, declared: Call) -> Callable[[View], View]:
        """Register a view together with what it declares."""

        def register(view: View) -> View:
            view.call = declared  # type: ignore[attr-defined]
            self.add_url_rule(declared.path, declared.name, view, methods=[declared.method])
            return view

        return register


class Api(Flask):
    """A Flask application in which every route says who may call it, and none redirects."""

    def __init__(self, name: str) -> None:
        self.declared: dict[str, Call] = {}  # endpoint -> call
        super().__init__(name, static_folder=None)
        # A redirect would make clients send again without signing again.
        self.url_map.merge_slashes = False
        self.url_map.redirect_defaults = False

    def add_url_rule(
        self,
        rule: str,
        endpoint: str | None = None,
        view_func: Callable[..., Any] | None = None,
        provide_automatic_options: bool | None = None,
        **options: Any,
    ) -> None:
        declared = getattr(view_func, "call", None)
        if not isinstance(declared, Call) or declared.role not in (PUBLIC, *ROLES):
            raise RoleMissing(f"{rule}: declare the role of this route with @noun.call(Call(role=...))")
        assert endpoint is not None, "a declared call has a name"
        super().add_url_rule(rule, endpoint, view_func, False, **options)
        self.declared[endpoint] = declared

    def calls(self) -> list[Call]:
        """List every call this application answers."""
        return list(self.declared.values())
