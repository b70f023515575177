"""Keeps one engine host running: starts it, watches it, restarts it with backoff, ends it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

from podium.errors import FailedPrecondition, PodiumError, ResourceExhausted, Unavailable
from podium.inference.engine import EngineRequest
from podium.inference.engine_client import TrtllmEngine
from podium.inference.host_process import ChildProcess, HostProcess

__all__ = ["EngineHostSupervisor", "HostState", "HostStatus", "SupervisorTimings"]

_log = logging.getLogger(__name__)

# The exit status of a host that cannot run as it was asked to: wrong model, engine not installed.
_EXIT_MISCONFIGURED = 2
_MAX_SOCKET_PATH = 99
_DIRECTORY_PREFIX = "podium-engine-"
_SECRET_NAME = re.compile(r"(API_?KEY|SECRET|TOKEN|PASSWORD|PASSWD|CREDENTIALS)$", re.IGNORECASE)


class HostState(StrEnum):
    """Where the host is. FAILED means that it keeps failing; it is still tried, at the longest backoff."""

    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostStatus:
    """A snapshot. `last_error` says why it last went down, and is safe to show; `restarts` counts from the start."""

    state: HostState
    last_error: str = ""
    restarts: int = 0
    pid: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorTimings:
    """All in seconds.

    Attributes:
        start_limit: for a host to answer its canary; loading a large model takes long.
        poll_interval: between two looks at a starting host.
        health_interval: between two checks of a running one.
        health_timeout: for one check; a step of the engine delays its answer.
        first_backoff: before the first restart; doubles with each failure.
        max_backoff: the longest wait between two starts.
        stable_after: a host that ran this long is forgiven earlier failures.
        stop_limit: between SIGTERM and SIGKILL.
    """

    start_limit: float = 120.0
    poll_interval: float = 0.1
    health_interval: float = 5.0
    health_timeout: float = 10.0
    first_backoff: float = 0.25
    max_backoff: float = 30.0
    stable_after: float = 60.0
    stop_limit: float = 7.0


class _HostDownError(Exception):
    """The host ended or had to be ended; the text says why."""


class EngineHostSupervisor:
    """Runs `podium engine` as a child for as long as the context is open.

    Entering starts the host and returns at once, so that a server can answer health checks while
    the model loads; `wait_ready` waits. The address stays the same over restarts.

    Args:
        model: what `podium engine --model` takes.
        options: further flags of the host, such as `("--threads", "2")`.
        python: interpreter of the host, which has podium and the engine; this process's own when None.
        nice: added to the host's niceness, so that the server's event loop comes first.
        on_change: called on the event loop at every change of state.
        maximum_failures: failures in a row after which the state is FAILED.
        check: waits until the host can generate, or raises; by default a probe, with a canary at the start.
        spawn: starts the child; tests put fakes here.
        sleep, clock: tests put fakes here.
    """

    _CHECKS_BEFORE_HUNG = 3

    def __init__(
        self,
        model: Path,
        *,
        engine: str = "openvino",
        options: Sequence[str] = (),
        python: Path | None = None,
        nice: int = 10,
        on_change: Callable[[HostStatus], None] = lambda _: None,
        timings: SupervisorTimings | None = None,
        maximum_failures: int = 3,
        check: Callable[[bool], Awaitable[None]] | None = None,
        spawn: Callable[[Sequence[str], Mapping[str, str]], Awaitable[ChildProcess]] = HostProcess.start,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._model = model
        self._engine_name = engine
        self._options = tuple(options)
        self._python = str(python or sys.executable)
        self._nice = nice
        self._on_change = on_change
        self._timings = timings or SupervisorTimings()
        self._maximum_failures = maximum_failures
        self._check = check or self._ask_host
        self._spawn = spawn
        self._sleep = sleep
        self._clock = clock
        self._status = HostStatus(state=HostState.STARTING)
        self._changed = asyncio.Event()
        self._directory: Path | None = None
        self._client: TrtllmEngine | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def status(self) -> HostStatus:
        """Where the host is now."""
        return self._status

    @property
    def address(self) -> str:
        """The host's address, the same over restarts. Only inside the context.

        Raises:
            FailedPrecondition: the context is not open.
        """
        if self._directory is None:
            raise FailedPrecondition("The engine host is not started.")
        return f"unix:{self._directory / 'engine.sock'}"

    async def __aenter__(self) -> Self:
        self._directory = await asyncio.to_thread(_make_directory)
        self._client = TrtllmEngine(self.address, control_timeout=self._timings.health_timeout)
        self._task = asyncio.create_task(self._supervise(), name="engine-host-supervisor")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop the host and wait for its end; takes at most `stop_limit` and a few seconds."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()
        if self._directory is not None:
            await asyncio.to_thread(shutil.rmtree, self._directory, ignore_errors=True)
        if self._status.state is not HostState.STOPPED:
            self._set(HostState.STOPPED)

    async def wait_ready(self, timeout: float) -> None:  # noqa: ASYNC109  # the bound is part of the question
        """Wait until the host can generate.

        Raises:
            Unavailable: it cannot within `timeout` seconds, or keeps failing; says why.
        """
        # Running out of time is reported below, with what is known.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self._status.state is not HostState.READY:
                    if self._status.state in (HostState.FAILED, HostState.STOPPED):
                        break
                    self._changed.clear()
                    await self._changed.wait()
        if self._status.state is not HostState.READY:
            reason = self._status.last_error or "it is still loading the model"
            raise Unavailable(f"The engine host is not ready: {reason}.", reason="MODEL_NOT_READY", retry_after=1.0)

    async def _supervise(self) -> None:
        failures = 0
        while True:
            started = self._clock()
            try:
                await self._run_once()
            except _HostDownError as down:
                failures = 1 if self._clock() - started >= self._timings.stable_after else failures + 1
                self._down(str(down), failures)
            delay = min(self._timings.max_backoff, self._timings.first_backoff * 2 ** min(failures - 1, 16))
            if self._status.state is HostState.FAILED:
                delay = self._timings.max_backoff
            await self._sleep(delay)

    async def _run_once(self) -> None:
        """Start a host and stay with it to its end, which always comes as `_HostDownError`."""
        try:
            child = await self._spawn(self._command(), _environment())
        except OSError as error:
            raise _HostDownError("it cannot be started") from error
        ended = asyncio.create_task(child.wait(), name=f"engine-host-{child.pid}")
        try:
            await self._until_ready(ended)
            self._set(HostState.READY, pid=child.pid)
            await self._watch(ended)
        finally:
            # Shielded, for closing cancels this task while the child still lives.
            ending = asyncio.create_task(child.terminate(self._timings.stop_limit))
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(ending)
            await ending
            ended.cancel()

    async def _until_ready(self, ended: asyncio.Task[int]) -> None:
        give_up = self._clock() + self._timings.start_limit
        while True:
            self._raise_if_ended(ended)
            try:
                await self._check(True)  # the canary, see _ask_host
            except PodiumError as error:
                if self._clock() >= give_up:
                    raise _HostDownError("it did not become ready in time") from error
                await self._pause(self._timings.poll_interval, ended)
            else:
                return

    async def _watch(self, ended: asyncio.Task[int]) -> None:
        missed = 0
        while True:
            await self._pause(self._timings.health_interval, ended)
            self._raise_if_ended(ended)
            try:
                await self._check(False)  # no canary while others generate
            except PodiumError as error:
                missed += 1
                _log.warning("engine host missed a health check", extra={"missed": missed})
                if missed >= self._CHECKS_BEFORE_HUNG:
                    raise _HostDownError("it stopped answering") from error
            else:
                missed = 0

    async def _pause(self, seconds: float, ended: asyncio.Task[int]) -> None:
        """Sleep, but wake at the child's end."""
        nap = asyncio.ensure_future(self._sleep(seconds))
        try:
            await asyncio.wait([nap, ended], return_when=asyncio.FIRST_COMPLETED)
        finally:
            nap.cancel()

    def _raise_if_ended(self, ended: asyncio.Task[int]) -> None:
        if not ended.done():
            return
        status = ended.result()
        if status == _EXIT_MISCONFIGURED:
            raise _HostDownError("it cannot run as configured; its log says why")
        how = f"signal {-status}" if status < 0 else f"status {status}"
        raise _HostDownError(f"it ended with {how}")

    async def _ask_host(self, canary: bool) -> None:  # one of two questions
        """Probe the host; at its start also let it generate one token, which a wrong model cannot."""
        if self._client is None:
            raise Unavailable("The engine host is not started.")
        await self._client.probe()
        if not canary:
            return
        request = EngineRequest(request_id=f"canary_{os.urandom(8).hex()}", token_ids=(0,), max_tokens=1)
        try:
            async with asyncio.timeout(self._timings.health_timeout):
                async for _ in self._client.generate(request):
                    continue
        except ResourceExhausted:
            # Too busy for a canary is alive.
            return
        except TimeoutError as error:
            raise Unavailable("The engine host did not generate in time.") from error

    def _down(self, why: str, failures: int) -> None:
        _log.error("engine host down: %s", why, extra={"failures": failures})
        misconfigured = "as configured" in why
        state = HostState.FAILED if misconfigured or failures >= self._maximum_failures else HostState.RESTARTING
        self._set(state, error=why, restarts=self._status.restarts + 1)

    def _set(
        self, state: HostState, *, error: str | None = None, restarts: int | None = None, pid: int | None = None
    ) -> None:
        self._status = HostStatus(
            state=state,
            last_error=self._status.last_error if error is None else error,
            restarts=self._status.restarts if restarts is None else restarts,
            pid=pid,
        )
        self._changed.set()
        self._on_change(self._status)

    def _command(self) -> list[str]:
        return [
            self._python, "-m", "podium.engine",
            "--engine", self._engine_name,
            "--model", str(self._model),
            "--listen", self.address,
            "--nice", str(self._nice),
            "--exit-with-stdin",
            *self._options,
        ]  # fmt: skip


def _environment() -> dict[str, str]:
    """The child's environment: ours without our settings and without keys, which the host has no use for."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PODIUM_") and _SECRET_NAME.search(name) is None
    }


def _make_directory() -> Path:
    """Make a private folder for the socket, with a path short enough for one, and sweep those of dead servers."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    for base in (Path(runtime), Path(tempfile.gettempdir()), Path("/tmp")):  # noqa: S108  # a 0700 folder inside
        if not base.is_absolute() or not os.access(base, os.W_OK):
            continue
        _sweep(base)
        directory = Path(tempfile.mkdtemp(prefix=f"{_DIRECTORY_PREFIX}{os.getpid()}-", dir=base))
        if len(str(directory / "engine.sock")) <= _MAX_SOCKET_PATH:
            return directory
        directory.rmdir()
    raise FailedPrecondition("No folder for the engine's socket has a path under 100 characters; set TMPDIR.")


def _sweep(base: Path) -> None:
    """Remove socket folders of ours whose server was killed before it could."""
    for entry in base.glob(f"{_DIRECTORY_PREFIX}*-*"):
        pid = entry.name.removeprefix(_DIRECTORY_PREFIX).split("-", 1)[0]
        with contextlib.suppress(OSError):
            if pid.isdigit() and entry.stat().st_uid == os.getuid() and not _alive(int(pid)):
                shutil.rmtree(entry, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
