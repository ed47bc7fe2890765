"""Remember the idempotency keys of calls that are not over, so that a bot started again finds its query.

A key is written to disk before the request is sent and forgotten when its outcome is known. A bot that died
in between and makes the same call again gets the same key, hence the same query, hence nothing is done twice.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from pathlib import Path
from typing import Any

from .errors import ConfigError


class PendingCalls:
    """Keep the keys of unfinished calls in one small file, for one process at a time.

    Two threads that make the same call at once mean two orders: a key in use in this process is not shared.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._lock = threading.Lock()
        self._in_use: set[str] = set()
        self._keys: dict[str, list[str]] = (
            self._load()
        )  # fingerprint of a call -> keys not over, oldest first

    def claim(self, call: dict[str, Any], new_key: str) -> str:
        """Give the key of an equal call that is not over, or keep `new_key` for this one."""
        fingerprint = _fingerprint(call)
        with self._lock:
            keys = self._keys.setdefault(fingerprint, [])
            for key in keys:
                if key not in self._in_use:
                    self._in_use.add(key)
                    return key
            keys.append(new_key)
            self._in_use.add(new_key)
            self._save()
            return new_key

    def release(self, key: str) -> None:
        """Let go of a key whose outcome is still unknown; the next equal call takes it up."""
        with self._lock:
            self._in_use.discard(key)

    def forget(self, key: str) -> None:
        """Drop a key whose outcome is known."""
        with self._lock:
            self._in_use.discard(key)
            for fingerprint, keys in list(self._keys.items()):
                if key in keys:
                    keys.remove(key)
                    if not keys:
                        del self._keys[fingerprint]
                    self._save()

    def _load(self) -> dict[str, list[str]]:
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise ConfigError(f"idempotency_store: {self._path} cannot be read: {error.strerror}") from None
        try:
            found = json.loads(text)
            return {str(call): [str(key) for key in keys] for call, keys in found.items()}
        except (ValueError, AttributeError, TypeError):
            raise ConfigError(
                f"idempotency_store: {self._path} is not a file of this client",
                hint="Name another file, or move this one away after checking what its bot had under way.",
            ) from None

    def _save(self) -> None:
        # Written beside and moved into place: a crash leaves the old file or the new one, never half of one.
        beside = self._path.with_name(self._path.name + ".new")
        try:
            with open(beside, "w", encoding="utf-8") as file:
                json.dump(self._keys, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, self._path)
        except OSError as error:
            raise ConfigError(
                f"idempotency_store: {self._path} cannot be written: {error.strerror}",
                hint="Name a file in a folder this bot may write to; nothing was sent.",
            ) from None


def _fingerprint(call: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(call, sort_keys=True).encode("ascii")).hexdigest()[:32]
