"""One engine host as a child process: start it, forward its log, end it within a bound."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping, Sequence
from typing import Protocol, Self

__all__ = ["ChildProcess", "HostProcess"]

# The child's lines, already free of prompts and tokens, join the server's own log under this name.
_child_log = logging.getLogger("podium.engine_host")

_LEVELS = {"DEBUG": logging.DEBUG, "INFO": logging.INFO, "WARNING": logging.WARNING, "ERROR": logging.ERROR}
_MAX_LINE = 2000
_KILL_LIMIT = 5.0


class ChildProcess(Protocol):
    """What the supervisor needs of a child."""

    @property
    def pid(self) -> int:
        """Its process id."""
        ...

    async def wait(self) -> int:
        """Wait for its end and return the exit status, negative for a signal."""
        ...

    async def terminate(self, limit: float) -> None:
        """End it: politely, and after `limit` seconds by force. Harmless when it has ended."""
        ...


class HostProcess:
    """A child in a process group of its own, that ends when this process does."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._forwarder = asyncio.create_task(self._forward_log(), name=f"engine-host-log-{process.pid}")

    @classmethod
    async def start(cls, command: Sequence[str], environment: Mapping[str, str]) -> Self:
        """Start `command`. Its standard input stays open as long as this process lives."""
        process = await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=DEVNULL, stderr=PIPE, env=dict(environment), start_new_session=True
        )
        return cls(process)

    @property
    def pid(self) -> int:
        """Its process id, also that of its group."""
        return self._process.pid

    async def wait(self) -> int:
        """Wait for its end and return the exit status, negative for a signal."""
        return await self._process.wait()

    async def terminate(self, limit: float) -> None:
        """Send SIGTERM, wait `limit` seconds, then SIGKILL to the whole group."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limit):
                    await self._process.wait()
            if self._process.returncode is None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self._process.pid, signal.SIGKILL)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_KILL_LIMIT):
                await self._process.wait()
                await self._forwarder
        self._forwarder.cancel()
        if self._process.stdin is not None:
            self._process.stdin.close()

    async def _forward_log(self) -> None:
        stream = self._process.stderr
        if stream is None:
            return
        while True:
            try:
                line = await stream.readline()
            except ValueError:
                # Longer than the reader's limit: that much was dropped, go on with the next.
                continue
            if not line:
                return
            text = line.decode(errors="replace").rstrip()[:_MAX_LINE]
            level, _, rest = text.partition(" ")
            if level in _LEVELS:
                _child_log.log(_LEVELS[level], "%s", rest)
            elif text:
                # Native libraries write where and how they like.
                _child_log.warning("%s", text)
