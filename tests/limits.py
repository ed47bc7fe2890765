"""The limits of the risk controls, taken away by an admin where a test is about something else."""

from __future__ import annotations

from typing import TypeVar

from demo import DemoWorld
from ems.core.records import RiskLimit
from ems.core.risk_limits import OFF, SETTINGS
from ems.store import Store
from oms_client import OMSClient
from tests.builders import T0

S = TypeVar("S", bound=Store)


def opened(store: S, *but: str) -> S:
    """Return the store with every limit switched off; those named in `but` are as they are by default."""
    store.commit([one for one in taken_away() if one.setting not in but])
    return store


def take_away(client: OMSClient) -> None:
    """Switch every limit off; the client is an admin's."""
    for setting in SETTINGS:
        client.set_limit(setting.name, OFF)


def without_limits(world: DemoWorld) -> None:
    """Let the admin of a demo world switch every limit off."""
    take_away(OMSClient("adam", world.url, "desk", key=world.admin_key))


def taken_away() -> list[RiskLimit]:
    """Return what an admin's calls that switch every limit off leave in the records."""
    return [
        RiskLimit(
            change_id=f"open-{setting.name}",
            setting=setting.name,
            old="default",
            new=OFF,
            set_by="adam",
            set_at=T0,
        )
        for setting in SETTINGS
    ]
