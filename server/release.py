"""What runs: the version and a hash of the settings, so that every order says what sent it (control 21)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import fields

from server.settings import Settings

VERSION = "0.1.0"  # of server and client alike


def configuration(settings: Settings) -> str:
    """Return a hash of the settings, without the secret ones: another one means another setting."""
    said = [
        f"{one.name}={_in_order(getattr(settings, one.name))}"
        for one in fields(settings)
        if one.repr and one.name not in ("vault", "warnings")
    ]
    return hashlib.sha256("\n".join(said).encode()).hexdigest()[:12]


def release(settings: Settings) -> str:
    """Return what is written into every order."""
    return f"{VERSION}+{configuration(settings)}"


def _in_order(value: object) -> str:
    if isinstance(value, frozenset):
        return repr(sorted(value))
    return repr(sorted(value.items()) if isinstance(value, Mapping) else value)
