"""The file of API keys: `<data_dir>/keys.json`, readable by its owner alone.

The command line writes it while a server reads it. Writers take a lock beside it and replace the
file in one step; a reader looks at the file's identity at most twice a second and reads it again
only when that has changed. POSIX only (`flock`).
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import orjson

from podium.errors import NotFound
from podium.security.api_keys import ApiKey, check_scopes, check_tenant, new_token

__all__ = ["KeyFileError", "KeyStore"]

_VERSION: Final = 1
_SHA256: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_log = logging.getLogger(__name__)


class KeyFileError(Exception):
    """The key file cannot be used; the message says what to do about it. For operators only."""


class KeyStore:
    """The keys of one data directory.

    Args:
        directory: the data directory; must exist.
        clock: seconds since the epoch.
        monotonic: for the pace of looking at the file.
        interval: seconds between looks.

    Raises:
        KeyFileError: the file is there and damaged, or others may read it.
    """

    def __init__(
        self,
        directory: Path,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        interval: float = 0.5,
    ) -> None:
        self.path = directory / "keys.json"
        self._lock_path = directory / "keys.lock"
        self._clock = clock
        self._monotonic = monotonic
        self._interval = interval
        self._next_look = monotonic() + interval
        self._identity = self._look()
        self._keys = self._read()

    def __len__(self) -> int:
        return len(self._keys)

    def now(self) -> float:
        """Return the time that expiry is measured by."""
        return self._clock()

    def find(self, key_id: str) -> ApiKey | None:
        """Return the key of that id, whatever its state, as of at most `interval` seconds ago.

        A key that is not known is looked for in the file as it is now, so that a new key works at once.
        """
        if self._monotonic() >= self._next_look:
            self.refresh(force=True)
        key = self._keys.get(key_id)
        if key is None:
            self.refresh(force=True)
            key = self._keys.get(key_id)
        return key

    @property
    def empty(self) -> bool:
        """Whether no key was ever made here; a revoked one still counts as a key."""
        self.refresh()
        return not self._keys

    def list(self) -> list[ApiKey]:
        """Return all keys, oldest first."""
        self.refresh(force=True)
        return sorted(self._keys.values(), key=lambda key: (key.created, key.id))

    def create(
        self, scopes: frozenset[str], *, tenant: str = "default", name: str = "", valid_seconds: float | None = None
    ) -> tuple[str, ApiKey]:
        """Make a key and return its token, which cannot be had again, and its record.

        Raises:
            InvalidRequest: a scope or the tenant is not one.
        """
        check_scopes(scopes)
        check_tenant(tenant)
        with self._writing() as keys:
            token, key_id, sha256 = new_token()
            while key_id in keys:
                token, key_id, sha256 = new_token()
            now = self._clock()
            expires = None if valid_seconds is None else now + valid_seconds
            record = ApiKey(key_id, sha256, scopes, tenant, name, now, expires)
            keys[key_id] = record
        return token, record

    def revoke(self, key_id: str) -> ApiKey:
        """Withdraw a key for good. Doing it twice changes nothing.

        Raises:
            NotFound: there is no such key.
        """
        with self._writing() as keys:
            record = keys.get(key_id)
            if record is None:
                raise NotFound(f"there is no key {key_id!r}", resource_type="api_key", resource_name=key_id)
            if record.revoked is None:
                record = keys[key_id] = replace(record, revoked=self._clock())
        return record

    def refresh(self, *, force: bool = False) -> None:
        """Read the file again if it has changed. A file that has become unusable leaves the keys as they are."""
        now = self._monotonic()
        if now < self._next_look and not force:
            return
        self._next_look = now + self._interval
        identity = self._look()
        if identity == self._identity:
            return
        self._identity = identity
        try:
            self._keys = self._read()
        except KeyFileError:
            # A server that is up goes on with the keys it knows rather than refuse everybody.
            _log.exception("the key file changed and cannot be used; the keys read before stay in force")

    def _look(self) -> tuple[int, int, int] | None:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size

    def _read(self) -> dict[str, ApiKey]:
        try:
            mode = self.path.stat().st_mode
            content = self.path.read_bytes()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise KeyFileError(f"{self.path} cannot be read: {error.strerror}") from error
        if stat.S_IMODE(mode) & 0o077:
            raise KeyFileError(f"{self.path} may be read by others: run chmod 600 on it")
        try:
            return {key.id: key for key in map(_from_json, orjson.loads(content)["keys"])}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise KeyFileError(
                f"{self.path} is damaged: restore it from a backup, or remove it and make keys anew"
            ) from error

    @contextmanager
    def _writing(self) -> Iterator[dict[str, ApiKey]]:
        """Give the keys as they are in the file, under the lock, and write them back."""
        descriptor = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            keys = self._read()
            yield keys
            self._write(keys)
            self._keys = keys
            self._identity = self._look()
        finally:
            os.close(descriptor)

    def _write(self, keys: dict[str, ApiKey]) -> None:
        document = {"version": _VERSION, "keys": [_to_json(key) for key in keys.values()]}
        fresh = self.path.with_name(f"{self.path.name}.{os.getpid()}.new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(orjson.dumps(document, option=orjson.OPT_INDENT_2))
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self.path)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
        _sync_directory(self.path.parent)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _to_json(key: ApiKey) -> dict[str, Any]:
    return {**asdict(key), "scopes": sorted(key.scopes)}


def _from_json(entry: dict[str, Any]) -> ApiKey:
    key = ApiKey(**{**entry, "scopes": frozenset(entry["scopes"])})
    sane = (
        isinstance(key.id, str)
        and isinstance(key.sha256, str)
        and _SHA256.fullmatch(key.sha256) is not None
        and isinstance(key.tenant, str)
        and isinstance(key.created, int | float)
        and isinstance(key.expires, int | float | None)
        and isinstance(key.revoked, int | float | None)
    )
    if not sane:
        raise ValueError("a key's entry has a field of the wrong type")
    return key
