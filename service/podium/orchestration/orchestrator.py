"""Owns the runs of this process: accepts, drives, shows and cancels them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from difflib import get_close_matches
from types import TracebackType
from typing import Self

from podium.errors import (
    DeadlineExceeded,
    FieldViolation,
    Internal,
    InvalidRequest,
    PodiumError,
    ResourceExhausted,
)
from podium.orchestration.chat import ModelCatalog, Usage
from podium.orchestration.events import LoggedEvent, RunEnded, RunFailure, RunSpec, RunStarted, RunState
from podium.orchestration.journal import RunHeader, RunPage, RunStore
from podium.orchestration.limits import CallGate
from podium.orchestration.long_results import LongResults
from podium.orchestration.run_log import RunLog, RunObserver
from podium.orchestration.runner import Runner, RunnerLimits
from podium.orchestration.tool import ToolCatalog, ToolExecutor, ToolSpec
from podium.orchestration.tool_times import ToolTimes
from podium.orchestration.view import RunView

__all__ = ["Orchestrator", "OrchestratorLimits", "RunObserver", "Submitter"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrchestratorLimits:
    """The server's bounds. `max_active_runs` beyond which submissions are refused; `run_seconds` of one run."""

    runner: RunnerLimits = field(default_factory=RunnerLimits)
    max_active_runs: int = 2000
    run_seconds: float = 60.0
    max_input_chars: int = 32768


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitter:
    """Who asks: `owner` may see the run afterwards; the rest is passed on to tools and logs."""

    owner: str
    tenant: str = ""
    correlation_id: str = ""


@dataclass(slots=True)
class _ActiveRun:
    header: RunHeader
    log: RunLog
    task: asyncio.Task[None] | None = None
    started: bool = False
    readers: int = 0
    cancelled_because: str = ""
    done: asyncio.Event = field(default_factory=asyncio.Event)


class Orchestrator:
    """Runs requests. An async context manager: leaving it cancels what still runs and waits for it."""

    def __init__(
        self,
        *,
        models: ModelCatalog,
        tools: ToolCatalog,
        executor: ToolExecutor,
        store: RunStore,
        new_run_id: Callable[[], str],
        gate: CallGate,
        limits: OrchestratorLimits | None = None,
        long_results: LongResults | None = None,
        observers: Collection[RunObserver] = (),
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._models = models
        self._tools = tools
        self._executor = executor
        self._store = store
        self._new_run_id = new_run_id
        self._limits = limits or OrchestratorLimits()
        self._times = ToolTimes()
        self._long_results = long_results
        self._observers = tuple(observers)
        self._clock_ns = clock_ns
        self._gate = gate
        self._active: dict[str, _ActiveRun] = {}
        self._group = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for active in list(self._active.values()):
            self._cancel(active, "the server is shutting down")
        await self._group.__aexit__(exc_type, exc, traceback)

    @property
    def active_runs(self) -> int:
        """How many runs are in progress."""
        return len(self._active)

    async def execute(self, spec: RunSpec, by: Submitter, *, seconds: float | None = None) -> RunView:
        """Run a request to its end and return the run; a run that fails is a result, not an error.

        Cancelling this cancels the run, unless another caller with the same `request_id` waits for it.

        Raises:
            InvalidRequest, NotFound, AlreadyExists, ResourceExhausted: the run was not accepted.
        """
        header, active = await self._submit(spec, by, seconds)
        if active is not None:
            active.readers += 1
            try:
                await active.done.wait()
            finally:
                self._detach(active)
        return await self._store.view(header.run_id, by.owner)

    async def stream(
        self, spec: RunSpec, by: Submitter, *, seconds: float | None = None
    ) -> AsyncGenerator[LoggedEvent, None]:
        """Run a request and yield its events and its text as they come; the last event is `RunEnded`.

        Closing the iterator early cancels the run, unless another caller follows it. Raises like `execute`.
        """
        header, active = await self._submit(spec, by, seconds)
        if active is None:
            for event in await self._store.events(header.run_id):
                yield event
            return
        active.readers += 1
        try:
            async with aclosing(active.log.feed.follow()) as events:
                async for event in events:
                    yield event
        finally:
            self._detach(active)

    async def get(self, run_id: str, by: Submitter) -> RunView:
        """Return a run as it stands, or raise NotFound."""
        return await self._store.view(run_id, by.owner)

    async def list(
        self, by: Submitter, *, page_size: int = 50, page_token: str = "", states: Collection[RunState] = ()
    ) -> RunPage:
        """Return the caller's runs, newest first."""
        return await self._store.list(by.owner, page_size=page_size, page_token=page_token, states=states)

    async def cancel(self, run_id: str, by: Submitter) -> RunView:
        """Cancel a run, wait until it has ended, and return it; no change to a run that has ended."""
        await self._store.view(run_id, by.owner)
        active = self._active.get(run_id)
        if active is not None:
            self._cancel(active, "cancelled on request")
            await active.done.wait()
        return await self._store.view(run_id, by.owner)

    async def _submit(self, spec: RunSpec, by: Submitter, seconds: float | None) -> tuple[RunHeader, _ActiveRun | None]:
        if len(spec.input) > self._limits.max_input_chars:
            problem = f"is {len(spec.input)} characters long; at most {self._limits.max_input_chars} are allowed"
            raise InvalidRequest(f"spec.input {problem}", violations=[FieldViolation("spec.input", problem)])
        model = self._models.for_tenant(by.tenant).get(spec.model)
        tools = self._choose_tools(spec)
        if len(self._active) >= self._limits.max_active_runs:
            raise ResourceExhausted(
                f"{len(self._active)} runs are in progress, which is this server's limit; try again shortly",
                reason="OVERLOADED",
                quota="max_active_runs",
                retry_after=1.0,
            )
        wanted = RunHeader(run_id=self._new_run_id(), owner=by.owner, spec=spec, create_ns=self._clock_ns())
        header = await self._store.create(wanted)
        if header is not wanted:
            return header, self._active.get(header.run_id)
        active = _ActiveRun(header, RunLog(header, self._store, self._observers, self._clock_ns))
        runner = Runner(
            run_id=header.run_id,
            spec=spec,
            tenant=by.tenant,
            correlation_id=by.correlation_id,
            model=model,
            tools=tools,
            executor=self._executor,
            gate=self._gate.for_run(),
            log=active.log,
            limits=self._limits.runner,
            times=self._times,
            long_results=self._long_results,
        )
        limit = min(seconds, self._limits.run_seconds) if seconds is not None else self._limits.run_seconds
        started = RunStarted(spec, model.name, by.correlation_id)
        self._active[header.run_id] = active
        active.task = self._group.create_task(self._drive(active, runner, started, limit), name=header.run_id)
        return header, active

    async def _drive(self, active: _ActiveRun, runner: Runner, started: RunStarted, seconds: float) -> None:
        """Own one run from start to end. Never raises: whatever happens becomes the run's last event."""
        active.started = True
        try:
            ended = await self._run(active, runner, started, seconds)
            await active.log.append(ended)
        except Exception:  # noqa: BLE001  the outermost boundary of a run's task
            _log.exception("run could not be recorded", extra={"run_id": active.header.run_id})
        finally:
            runner.close()
            active.log.feed.end()
            del self._active[active.header.run_id]
            active.done.set()

    async def _run(self, active: _ActiveRun, runner: Runner, started: RunStarted, seconds: float) -> RunEnded:
        time_limit = asyncio.timeout(seconds)
        try:
            async with time_limit:
                await active.log.append(started)
                if active.cancelled_because:
                    raise asyncio.CancelledError
                answer = await runner.run()
            return RunEnded(RunState.SUCCEEDED, answer.text, answer.partial, answer.usage)
        except TimeoutError:
            if not time_limit.expired():
                raise
            late = DeadlineExceeded(f"the run did not end within {seconds:.3g} s; allow more time, or ask for less")
            return _failed(late, runner.usage)
        except PodiumError as error:
            return _failed(error, runner.usage)
        except asyncio.CancelledError:
            because = active.cancelled_because or "cancelled"
            return RunEnded(RunState.CANCELLED, "", False, runner.usage, RunFailure("CANCELLED", because))
        except Exception:  # noqa: BLE001  likewise: a fault becomes the run's last event
            _log.exception("run failed", extra={"run_id": active.header.run_id})
            return _failed(Internal("the server failed; quote the correlation id to its operator"), runner.usage)

    def _choose_tools(self, spec: RunSpec) -> Mapping[str, ToolSpec]:
        available = {tool.name: tool for tool in self._tools.list()}
        if not spec.tools:
            return available
        violations = []
        for index, name in enumerate(spec.tools):
            if name not in available:
                near = get_close_matches(name, available, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                violations.append(FieldViolation(f"spec.tools[{index}]", f"there is no tool {name!r}{hint}"))
        if violations:
            raise InvalidRequest("spec.tools names tools that do not exist", violations=violations)
        return {name: available[name] for name in spec.tools}

    def _detach(self, active: _ActiveRun) -> None:
        active.readers -= 1
        if active.readers == 0 and not active.done.is_set():
            self._cancel(active, "the caller left")

    def _cancel(self, active: _ActiveRun, because: str) -> None:
        if active.cancelled_because:
            return
        active.cancelled_because = because
        # A task that is cancelled before its first step never runs at all, and so could not record
        # its end; it looks at `cancelled_because` itself when it starts.
        if active.started and active.task is not None:
            active.task.cancel()


def _failed(error: PodiumError, usage: Usage) -> RunEnded:
    return RunEnded(RunState.FAILED, "", False, usage, RunFailure(error.reason, error.message))
