"""The engine's side: one thread, one event loop, the only one that submits, iterates and aborts.

The engine wakes all its streams on the loop of one of them, and a fatal error may make it block the
thread that happens to call it. So it has a loop to itself; the serving loop only posts to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from podium.engine.job import JobOutput, JobSpec
from podium.engine.tensorrt_llm.canary import Canary
from podium.engine.tensorrt_llm.iteration import IterationReader
from podium.engine.tensorrt_llm.options import TensorRtOptions
from podium.engine.tensorrt_llm.sampling import RequestBuilder
from podium.engine.tensorrt_llm.session import EngineDeadError, LlmHandle, Session, SessionLimits
from podium.engine.tensorrt_llm.stats import EngineStats
from podium.engine.tensorrt_llm.threads import in_thread
from podium.errors import PodiumError, Unavailable
from podium.inference.engine import FinishReason

__all__ = ["BuiltEngine", "EngineRunner", "RunnerEvents"]

_log = logging.getLogger(__name__)

_BEAT = 0.1
_CANARIES_BEFORE_DEAD = 3
_EMPTY_BEFORE_CANARY = 3
_UNHEALTHY_INTERVAL = 0.5

# One job's output, or None when the engine has let go of it.
Outgoing = tuple[str, JobOutput | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltEngine:
    """An engine that has loaded its model, and how to speak to it."""

    llm: Any
    builder: RequestBuilder
    request_error: type[Exception]
    eos_token_id: int
    stop_token_ids: frozenset[int]


class RunnerEvents(Protocol):
    """Where a runner reports; called in the engine's thread."""

    def outputs(self, batch: Sequence[Outgoing]) -> None:
        """Take what one turn of the loop brought."""
        ...

    def healthy(self, well: bool) -> None:
        """Learn of a canary: the first good one makes the engine ready."""
        ...

    def cache_events(self, events: list[dict[str, Any]]) -> None:
        """Take events of the prefix cache."""
        ...


class _ClosingError(Exception):
    """Ends the runner's tasks."""


class EngineRunner:
    """Builds an engine and runs generations on it, until closed or until the engine dies.

    Attributes:
        llm: the engine once it is built. Whoever drops the last reference runs its blocking shutdown.
        beat: instant at which the loop last turned.
    """

    def __init__(
        self,
        build: Callable[[], BuiltEngine],
        options: TensorRtOptions,
        events: RunnerEvents,
        stats: EngineStats,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._build = build
        self._options = options
        self._events = events
        self._stats = stats
        self._clock = clock
        self.llm: Any = None
        self.beat = clock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._group: asyncio.TaskGroup | None = None
        self._handle: LlmHandle | None = None
        self._sessions: dict[str, Session] = {}
        self._outbox: list[Outgoing] = []
        self._progress_at = clock()
        self._empty_in_a_row = 0

    def post(self, function: Callable[..., None], *arguments: Any) -> None:
        """Call a method of this runner on its loop; from any thread. Harmless before and after its life."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(function, *arguments)

    async def run(self) -> None:
        """Live: load, pass the canary, serve.

        Raises:
            EngineDeadError: the engine died, or never came up; the text says how.
            PodiumError: it cannot be built as it is configured.
        """
        self._loop = asyncio.get_running_loop()
        self._closing = asyncio.Event()
        self._suspicion = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                group.create_task(self._keep_beating(), name="engine-beat")
                group.create_task(self._until_closing(), name="engine-closing")
                group.create_task(self._serve(group), name="engine-serve")
        except BaseExceptionGroup as ended:
            error = _cause(ended)
            if not isinstance(error, _ClosingError):
                raise error from None
        finally:
            self._group = None
            self._flush()

    def close(self) -> None:
        """End everything; on the runner's loop."""
        self._closing.set()

    def begin(self, spec: JobSpec) -> None:
        """Start a generation; on the runner's loop."""
        if self._group is None or self._handle is None:
            self._send(spec.request_id, JobOutput([], error=_gone()))
            self._send(spec.request_id, None)
            return
        session = Session(self._handle, spec, functools.partial(self._send, spec.request_id))
        self._sessions[spec.request_id] = session
        self._stats.requests += 1
        following = self._follow(spec.request_id, session)
        try:
            self._group.create_task(following, name="engine-request")
        except RuntimeError:
            # The group is ending; everything in flight is told so by the serving side.
            following.close()
            del self._sessions[spec.request_id]

    def abort(self, request_id: str, finish: FinishReason) -> None:
        """End a generation; on the runner's loop."""
        session = self._sessions.get(request_id)
        if session is not None:
            self._stats.aborts += 1
            session.abort(finish)

    async def _serve(self, group: asyncio.TaskGroup) -> None:
        try:
            async with asyncio.timeout(self._options.construct_limit):
                built = await in_thread(self._build, "podium-engine-build")
        except TimeoutError as error:
            raise EngineDeadError("it did not load within construct_limit") from error
        except PodiumError:
            raise
        except Exception as error:
            _log.error("the engine cannot be built: %s", type(error).__name__)  # texts hold paths
            raise EngineDeadError(f"it cannot be built ({type(error).__name__})") from error
        self.llm = built.llm
        self._handle = LlmHandle(
            llm=built.llm,
            builder=built.builder,
            request_error=built.request_error,
            eos_token_id=built.eos_token_id,
            stop_token_ids=built.stop_token_ids,
            limits=SessionLimits(
                first_token=self._options.first_token_limit,
                token=self._options.token_limit,
                abort=self._options.abort_limit,
            ),
            progress=self._progressed,
            stalled=self._stalled,
            clock=self._clock,
        )
        if self._options.iteration_stats:
            group.create_task(IterationReader(built.llm, "stats", self._stats.take).run(), name="engine-stats")
        if self._options.kv_event_buffer:
            reader = IterationReader(built.llm, "kv_cache_events", self._events.cache_events)
            group.create_task(reader.run(), name="engine-cache-events")
        await self._watch_health()

    async def _watch_health(self) -> None:
        canary = Canary(
            self._run_canary,
            self._options.canary_prompt,
            limit=self._options.canary_limit,
            clock=self._clock,
            last_progress=lambda: self._progress_at,
        )
        failures = 0
        while True:
            self._suspicion.clear()
            wrong = await canary.check()
            failures = failures + 1 if wrong else 0
            self._stats.canary_failures += bool(wrong)
            if failures >= _CANARIES_BEFORE_DEAD:
                raise EngineDeadError(f"its canary failed {failures} times: {wrong}")
            self._events.healthy(not wrong)
            if wrong:
                await asyncio.sleep(_UNHEALTHY_INTERVAL)
                continue
            # Sooner when something looks wrong.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._options.canary_interval):
                    await self._suspicion.wait()

    async def _run_canary(self, spec: JobSpec, emit: Callable[[JobOutput], None]) -> None:
        if self._handle is None:
            raise EngineDeadError("it is not built")
        # Its own tokens are no sign that others are served, and its stall is reported by its caller.
        limits = SessionLimits(
            first_token=self._options.canary_limit, token=self._options.canary_limit, abort=self._options.abort_limit
        )
        handle = dataclasses.replace(self._handle, limits=limits, progress=_nothing, stalled=_nothing)
        await Session(handle, spec, emit).run()

    async def _follow(self, request_id: str, session: Session) -> None:
        try:
            await session.run()
        finally:
            del self._sessions[request_id]
            self._stats.tokens += session.produced
            self._stats.unanswered_aborts += session.abort_unanswered
        # Not when it raised: then the serving side tells everybody that the engine is gone.
        self._count_empty(session)
        self._send(request_id, None)

    def _count_empty(self, session: Session) -> None:
        """Corruption looks like success: completions that end at once, without a token."""
        if not session.ended_empty:
            self._empty_in_a_row = 0 if session.produced else self._empty_in_a_row
            return
        self._stats.empty_completions += 1
        self._empty_in_a_row += 1
        if self._empty_in_a_row >= _EMPTY_BEFORE_CANARY:
            _log.warning("%d completions in a row had no tokens", self._empty_in_a_row)
            self._empty_in_a_row = 0
            self._suspicion.set()

    def _progressed(self) -> None:
        self._progress_at = self._clock()

    def _stalled(self) -> None:
        self._stats.stalls += 1
        self._suspicion.set()

    async def _keep_beating(self) -> None:
        while True:
            self.beat = self._clock()
            await asyncio.sleep(_BEAT)

    async def _until_closing(self) -> None:
        await self._closing.wait()
        raise _ClosingError

    def _send(self, request_id: str, output: JobOutput | None) -> None:
        if not self._outbox and self._loop is not None:
            self._loop.call_soon(self._flush)
        self._outbox.append((request_id, output))

    def _flush(self) -> None:
        if self._outbox:
            batch, self._outbox = self._outbox, []
            self._events.outputs(batch)


def _nothing() -> None:
    return


def _cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return what ended the runner: a failure rather than the request to close that came with it."""
    errors = [_cause(error) if isinstance(error, BaseExceptionGroup) else error for error in group.exceptions]
    return next((error for error in errors if not isinstance(error, _ClosingError)), errors[0])


def _gone() -> Unavailable:
    return Unavailable("The engine is not ready.", reason="MODEL_NOT_READY", retry_after=2.0)
