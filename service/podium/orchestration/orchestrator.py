"""Owns the runs of this process: accepts, drives, shows and cancels them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from difflib import get_close_matches
from types import TracebackType
from typing import Self

from podium.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    FieldViolation,
    Internal,
    InvalidRequest,
    PermissionDenied,
    PodiumError,
    ResourceExhausted,
)
from podium.orchestration.budget import Amount
from podium.orchestration.chat import ChatModel, ModelCatalog, Usage
from podium.orchestration.core import RunScope, Services
from podium.orchestration.events import (
    Exhaustion,
    LoggedEvent,
    QuestionKind,
    RunEnded,
    RunFailure,
    RunSpec,
    RunStarted,
    RunState,
)
from podium.orchestration.feed import RunFeed
from podium.orchestration.journal import RunHeader, RunStore
from podium.orchestration.questions import Questions
from podium.orchestration.run_log import RunLog, RunObserver
from podium.orchestration.run_reader import RunReader
from podium.orchestration.runner import Runner
from podium.orchestration.spending import top_up
from podium.orchestration.submitter import Submitter
from podium.orchestration.time_plan import TimePlan
from podium.orchestration.tool import ToolCatalog, ToolSpec
from podium.orchestration.view import QuestionView, RunView

__all__ = ["Orchestrator", "OrchestratorLimits", "RunObserver", "Submitter"]

_log = logging.getLogger(__name__)
_GRACE_SECONDS = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class OrchestratorLimits:
    """The server's bounds. `max_active_runs` beyond which submissions are refused; `run_seconds` of one run."""

    max_active_runs: int = 2000
    run_seconds: float = 60.0
    max_input_chars: int = 32768


@dataclass(slots=True)
class _ActiveRun:
    header: RunHeader
    log: RunLog
    scope: RunScope
    task: asyncio.Task[None] | None = None
    started: bool = False
    readers: int = 0
    cancelled_because: str = ""
    done: asyncio.Event = field(default_factory=asyncio.Event)


class Orchestrator(RunReader):
    """Runs requests. An async context manager: leaving it cancels what still runs and waits for it.

    Args:
        models, tools: what there is.
        services: what all runs share.
        store: keeps the runs.
        new_run_id: makes ids.
        limits: the server's bounds.
        references: says of a model's name whether it can be told to write calls that use each other's results.
        observers: told of every event.
        clock: monotonic seconds, on the event loop's own scale.
        clock_ns: nanoseconds since the epoch.
    """

    def __init__(
        self,
        *,
        models: ModelCatalog,
        tools: ToolCatalog,
        services: Services,
        store: RunStore,
        new_run_id: Callable[[], str],
        limits: OrchestratorLimits | None = None,
        references: Callable[[str], bool] = lambda _model: False,
        observers: Collection[RunObserver] = (),
        clock: Callable[[], float] = time.monotonic,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        super().__init__(store, tools, services)
        self._models = models
        self._new_run_id = new_run_id
        self._limits = limits or OrchestratorLimits()
        self._references = references
        self._observers = tuple(observers)
        self._clock, self._clock_ns = clock, clock_ns
        self._shed_because = ""
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
        # What ended the block is not the group's: it would come out wrapped.
        await self._group.__aexit__(None, None, None)

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
            return active.log.view  # the store may have dropped it by now
        return await self._store.view(header.run_id, by.owner)

    async def stream(
        self, spec: RunSpec, by: Submitter, *, seconds: float | None = None
    ) -> AsyncGenerator[LoggedEvent, None]:
        """Run a request and yield its events and its text as they come; the last event is `RunEnded`.

        Closing the iterator early cancels the run, unless another caller follows it. Raises like `execute`.
        """
        async with aclosing(self.stream_together(spec, by, seconds=seconds)) as batches:
            async for batch in batches:
                for event in batch:
                    yield event

    async def stream_together(
        self, spec: RunSpec, by: Submitter, *, seconds: float | None = None
    ) -> AsyncGenerator[Sequence[LoggedEvent], None]:
        """Do as `stream`, but yield together what is there at once."""
        header, active = await self._submit(spec, by, seconds)
        if active is None:
            yield await self._store.events(header.run_id)
            return
        active.readers += 1
        try:
            async with aclosing(active.log.feed.follow()) as batches:
                async for batch in batches:
                    yield batch
        finally:
            self._detach(active)

    def _feed(self, run_id: str) -> RunFeed | None:
        active = self._active.get(run_id)
        return None if active is None else active.log.feed

    def questions(self, by: Submitter) -> list[tuple[str, QuestionView]]:
        """Return the open questions of the caller's runs, each with its run's id."""
        return [
            (run_id, question)
            for run_id, active in self._active.items()
            if active.header.owner == by.owner
            for question in active.log.open_questions
        ]

    async def answer(self, run_id: str, question_id: str, answer_json: bytes, by: Submitter) -> None:
        """Answer a question of a run.

        Raises:
            InvalidRequest: it is no possible answer; names the field.
            NotFound: there is no such run or question.
            FailedPrecondition: the question needs no answer any more.
            PermissionDenied: the question is about a budget that the caller may not raise.
        """
        scope = await self._asking(run_id, by)
        asked, subject, value = scope.questions.check(question_id, answer_json)
        if asked.kind is QuestionKind.BUDGET:
            if subject != "run" and not by.admin:
                raise PermissionDenied(f"the budget of a {subject} can be raised by an administrator only")
            top_up(scope, by.owner, subject, value)
        scope.questions.answer(question_id, value)

    async def skip(self, run_id: str, question_id: str, by: Submitter) -> None:
        """Leave a question without an answer; raises like `answer`."""
        scope = await self._asking(run_id, by)
        scope.questions.skip(question_id)

    @property
    def shedding(self) -> bool:
        """Whether new runs are refused for the time being."""
        return bool(self._shed_because)

    def shed(self, because: str) -> None:
        """Refuse new runs for a reason, until called with ""."""
        self._shed_because = because

    async def _asking(self, run_id: str, by: Submitter) -> RunScope:
        await self._store.view(run_id, by.owner)
        active = self._active.get(run_id)
        if active is None:
            raise FailedPrecondition("the run has ended; its questions need no answer any more")
        return active.scope

    async def cancel(self, run_id: str, by: Submitter) -> RunView:
        """Cancel a run, wait until it has ended, and return it; no change to a run that has ended."""
        await self._store.view(run_id, by.owner)
        active = self._active.get(run_id)
        if active is not None:
            self._cancel(active, "cancelled on request")
            await active.done.wait()
            return active.log.view
        return await self._store.view(run_id, by.owner)

    async def _submit(self, spec: RunSpec, by: Submitter, seconds: float | None) -> tuple[RunHeader, _ActiveRun | None]:
        if len(spec.input) > self._limits.max_input_chars:
            problem = f"is {len(spec.input)} characters long; at most {self._limits.max_input_chars} are allowed"
            raise InvalidRequest(f"spec.input {problem}", violations=[FieldViolation("spec.input", problem)])
        model = self._models.for_tenant(by.tenant).get(spec.model)
        tools = self._choose_tools(spec)
        self._admit()
        wanted = RunHeader(run_id=self._new_run_id(), owner=by.owner, spec=spec, create_ns=self._clock_ns())
        header = await self._store.create(wanted)
        if header is not wanted:
            return header, self._active.get(header.run_id)
        asked = [limit for limit in (seconds, spec.limits.max_seconds) if limit is not None]
        active = self._prepare(header, model, by, min([*asked, self._limits.run_seconds]))
        runner = Runner(active.scope, model, tools, references=self._references(model.name))
        started = RunStarted(spec, model.name, by.correlation_id)
        self._active[header.run_id] = active
        active.task = self._group.create_task(self._drive(active, runner, started), name=header.run_id)
        return header, active

    def _admit(self) -> None:
        if self._shed_because:
            raise ResourceExhausted(self._shed_because, reason="OVERLOADED", quota="memory", retry_after=5.0)
        if len(self._active) >= self._limits.max_active_runs:
            raise ResourceExhausted(
                f"{len(self._active)} runs are in progress, which is this server's limit; try again shortly",
                reason="OVERLOADED",
                quota="max_active_runs",
                retry_after=1.0,
            )

    def _prepare(self, header: RunHeader, model: ChatModel, by: Submitter, seconds: float) -> _ActiveRun:
        """Gather what the parts of a new run share."""
        services, spec = self._services, header.spec
        log = RunLog(header, self._store, self._observers, self._clock_ns)
        clock, now = self._clock, self._clock()
        policy = services.policy
        asks = (spec.limits.on_exhausted or policy.on_exhausted) is Exhaustion.ASK
        budget = Amount(
            cost_micros=_tighter(spec.limits.max_cost_micros, policy.max_cost_micros),
            calls=_tighter(spec.limits.max_calls, policy.max_calls) if asks else 0,
        )
        scope = RunScope(
            run_id=header.run_id,
            tenant=by.tenant,
            correlation_id=by.correlation_id,
            spec=spec,
            services=services,
            log=log,
            share=services.governor.for_run(header.run_id, by.tenant),
            budget=services.budgets.for_run(owner=by.owner, tenant=by.tenant, limit=budget),
            questions=Questions(log, clock, self._clock_ns),
            time=TimePlan(now, now + seconds, model.name, services.turn_times),
            clock=clock,
        )
        return _ActiveRun(header, log, scope)

    async def _drive(self, active: _ActiveRun, runner: Runner, started: RunStarted) -> None:
        """Own one run from start to end. Never raises: whatever happens becomes the run's last event."""
        active.started = True
        try:
            ended = await self._run(active, runner, started)
            await active.log.append(ended)
        except Exception:  # noqa: BLE001  the outermost boundary of a run's task
            _log.exception("run could not be recorded", extra={"run_id": active.header.run_id})
        finally:
            runner.close()
            active.log.feed.end()
            del self._active[active.header.run_id]
            active.done.set()

    async def _run(self, active: _ActiveRun, runner: Runner, started: RunStarted) -> RunEnded:
        scope = active.scope
        try:
            await active.log.append(started)
            if active.cancelled_because:
                raise asyncio.CancelledError
            # The runner keeps to its time by itself; this is for what hangs beyond that.
            async with asyncio.timeout_at(scope.time.deadline + _GRACE_SECONDS):
                answer = await runner.run()
            return RunEnded(RunState.SUCCEEDED, answer.text, answer.partial, answer.usage, degraded=scope.degraded)
        except TimeoutError:
            whole = scope.time.deadline - scope.time.start
            late = DeadlineExceeded(f"the run did not end within {whole:.3g} s; allow more time, or ask for less")
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
        if active.readers == 0 and not active.done.is_set() and not active.header.spec.detach:
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


def _tighter(asked: int | None, allowed: int) -> int:
    """Return the lower of two limits, of which 0 and None are none."""
    return min((limit for limit in (asked, allowed) if limit), default=0)
