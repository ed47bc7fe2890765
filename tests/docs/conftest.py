"""The world the documents speak of: two simulated exchanges and a server on a free port."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import pytest

import app
import demo
from oms_client import OMSClient


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[demo.DemoWorld]:
    opened = demo.open_world(app, tmp_path_factory.mktemp("docs"), more={"OMS_INTERNAL_MATCHING": "kraken"})
    # A person takes longer to read from one example to the next.
    OMSClient("adam", opened.url, "desk", key=opened.admin_key).set_limit("duplicate_window", "off")
    yield opened
    opened.close()


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a smart order that names no time limit take a second instead of a minute."""
    call = OMSClient.smart_order

    @functools.wraps(call)
    def hurry(self: OMSClient, *arguments: Any, **named: Any) -> Any:
        if named.get("quote_id") is None:
            named.setdefault("time_limit", "1")
        return call(self, *arguments, **named)

    monkeypatch.setattr(OMSClient, "smart_order", hurry)
