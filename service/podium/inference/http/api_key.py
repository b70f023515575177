"""Where a provider's key comes from. The key itself is read at use and shown nowhere."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from podium.errors import FailedPrecondition

__all__ = ["ApiKeySource"]

_MOST_BYTES = 16 << 10


class ApiKeySource:
    """Reads a key from an environment variable or from a file, each time that it is needed.

    A file is read again when it has changed, so a mounted secret can be rotated without a restart.
    Make one with `from_env` or `from_file`.
    """

    def __init__(
        self, setting: str, *, environ: Mapping[str, str], variable: str = "", path: Path | None = None
    ) -> None:
        self.setting = setting
        self._environ = environ
        self._variable = variable
        self._path = path
        self._stamp: tuple[int, int, int] | None = None
        self._cached = ""

    @classmethod
    def from_env(cls, name: str, *, environ: Mapping[str, str] | None = None) -> Self:
        """Return a source that reads the environment variable `name`."""
        return cls(
            f"the environment variable {name}", environ=os.environ if environ is None else environ, variable=name
        )

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Return a source that reads the file at `path`."""
        return cls("the file that `api_key_file` names", environ={}, path=path)

    def __repr__(self) -> str:
        return f"ApiKeySource({self.setting})"

    async def read(self) -> str:
        """Return the key, without the white space around it.

        Raises:
            FailedPrecondition: there is none, or it cannot be a key; names the setting, not the value.
        """
        if self._path is None:
            text = self._environ.get(self._variable, "")
        else:
            try:
                text = await asyncio.to_thread(self._read_file, self._path)
            except (OSError, UnicodeDecodeError):
                raise FailedPrecondition(f"the API key cannot be read: check {self.setting}") from None
        key = text.strip()
        if not key:
            raise FailedPrecondition(f"there is no API key: set {self.setting}")
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise FailedPrecondition(f"the API key holds characters that no key has: check {self.setting}")
        return key

    def _read_file(self, path: Path) -> str:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
            if stamp != self._stamp:
                self._cached = file.read(_MOST_BYTES).decode()
                self._stamp = stamp
        return self._cached
