"""The stepping thread: the only one that touches the pipeline.

A step holds the interpreter lock from start to end, and a step that raises leaves the pipeline
useless. So one thread owns the pipeline; the event loop talks to it through an inbox, and gets
everything that one step brought in one wake-up.
"""

from __future__ import annotations

import asyncio
import logging
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from podium.engine.backend import EngineState
from podium.engine.job import Job, JobOutput, JobSpec, OutputSink, Pipeline, StepResult, TokenLogprob
from podium.engine.quarantine import Quarantine
from podium.errors import AlreadyExists, Internal, PodiumError, ResourceExhausted, Unavailable
from podium.inference.engine import FinishReason

__all__ = ["Delivery", "Stepper", "StepperState"]

_log = logging.getLogger(__name__)

# One job's output and where it goes.
Delivery = tuple[OutputSink, JobOutput]

# A pipeline that fails this often without one good step between is beyond a rebuild in this process.
_MAX_FAILURES = 3
# Native errors begin with the file and line that raised them.
_SOURCE_PLACE = re.compile(r"[A-Za-z0-9_]+\.(?:cc|cpp|hpp|h):[0-9]+")
_RETRY_AFTER_REBUILD = 2.0
_RETRY_WHEN_FULL = 1.0
_CLOSE_LIMIT = 3.0


# The name that it has here: a stepper is never UNHEALTHY.
StepperState = EngineState


class Stepper:
    """Runs a pipeline in a thread of its own.

    `submit` and `abort` may be called from any thread and never block on a step. `deliver` is
    called in the stepping thread with what a step brought; `on_state` likewise at each change.
    """

    def __init__(
        self,
        build: Callable[[], Pipeline],
        *,
        deliver: Callable[[Sequence[Delivery]], None],
        on_state: Callable[[StepperState], None],
        max_active: int,
        max_waiting: int,
        cache_tokens: int,
        eos_token_ids: frozenset[int] = frozenset(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._build = build
        self._deliver = deliver
        self._on_state = on_state
        self._max_active = max_active
        self._max_in_flight = max_active + max_waiting
        self._cache_tokens = cache_tokens
        self._eos = eos_token_ids
        self._clock = clock
        self._wake = threading.Condition()
        # Under the lock:
        self._state = StepperState.STARTING
        self._inbox: deque[Job] = deque()
        self._aborts: dict[str, FinishReason] = {}
        self._in_flight: set[str] = set()
        self._closing = False
        self._quarantine = Quarantine()
        # Of the stepping thread alone:
        self._waiting: deque[Job] = deque()
        self._active: list[Job] = []
        self._outbox: list[Delivery] = []
        self._reserved = 0
        self._numbers = 0
        self._failures = 0
        self._residue = False
        self._pipeline: Pipeline | None = None
        self._thread = threading.Thread(target=self._run, name="podium-stepper", daemon=True)

    @property
    def state(self) -> StepperState:
        """Whether the engine can generate now."""
        return self._state

    @property
    def in_flight(self) -> int:
        """Requests accepted and not yet ended."""
        return len(self._in_flight)

    def start(self) -> None:
        """Build the pipeline and begin to step, in the stepping thread."""
        self._thread.start()

    async def aclose(self) -> None:
        """Close without blocking the event loop, for at most a few seconds."""
        await asyncio.to_thread(self.close, _CLOSE_LIMIT)

    def close(self, timeout: float) -> bool:
        """End everything in flight as retryable and wait `timeout` seconds for the thread; true when it ended."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def submit(self, spec: JobSpec, sink: OutputSink) -> None:
        """Queue a request; its outputs go to `sink` until one carries `finish` or `error`.

        Raises:
            AlreadyExists: its id is in flight.
            InvalidRequest: its guide is quarantined.
            ResourceExhausted: too many requests are in flight.
            Unavailable: the engine is starting, failed, or closing.
        """
        with self._wake:
            if self._closing or self._state in (StepperState.STARTING, StepperState.FAILED, StepperState.STOPPED):
                raise Unavailable(
                    "The engine is not ready.", reason="MODEL_NOT_READY", retry_after=_RETRY_AFTER_REBUILD
                )
            if spec.request_id in self._in_flight:
                raise AlreadyExists("A request with this id is in flight.")
            self._quarantine.check(spec.guide_digest)
            if len(self._in_flight) >= self._max_in_flight:
                raise ResourceExhausted(
                    "The engine's queue is full.",
                    reason="OVERLOADED",
                    quota="engine_queue",
                    retry_after=_RETRY_WHEN_FULL,
                )
            self._in_flight.add(spec.request_id)
            self._inbox.append(Job(spec, sink))
            self._wake.notify()

    def abort(self, request_id: str, finish: FinishReason = FinishReason.CANCELLED) -> bool:
        """End a request at the next step with `finish`; false when no such request is in flight."""
        with self._wake:
            if request_id not in self._in_flight:
                return False
            self._aborts.setdefault(request_id, finish)
            self._wake.notify()
            return True

    # The stepping thread.

    def _run(self) -> None:
        try:
            self._pipeline = self._build()
            self._set_state(StepperState.READY)
            while self._take_commands():
                self._admit()
                self._step()
                self._flush()
        except Exception as error:  # noqa: BLE001  # the outermost boundary: else clients would wait for ever
            _log.error("the engine failed for good: %s", _kind(error))  # texts may quote a guide
            self._set_state(StepperState.FAILED)
        else:
            self._set_state(StepperState.STOPPED)
        finally:
            self._pipeline = None
            self._fail_everything()

    def _take_commands(self) -> bool:
        """Wait for something to do; false when it is time to leave."""
        with self._wake:
            while not (self._inbox or self._aborts or self._active or self._waiting or self._residue or self._closing):
                self._wake.wait()
            if self._closing:
                return False
            self._waiting.extend(self._inbox)
            self._inbox.clear()
            aborts = self._aborts
            self._aborts = {}
        now = self._clock()
        for job in [*self._active, *self._waiting]:
            reason = aborts.get(job.spec.request_id)
            if reason is None and now >= job.spec.deadline:
                reason = FinishReason.TIMEOUT
            if reason is not None:
                self._end(job, JobOutput([], finish=reason))
        return True

    def _admit(self) -> None:
        while self._waiting and len(self._active) < self._max_active:
            job = self._waiting[0]
            if self._active and self._reserved + job.spec.reserved_tokens > self._cache_tokens:
                return
            try:
                self._quarantine.check(job.spec.guide_digest)
                self._numbers += 1
                handle = self._live().add(self._numbers, job.spec)
            except PodiumError as error:
                self._end(job, JobOutput([], error=error))
                continue
            self._waiting.popleft()
            job.handle = handle
            self._active.append(job)
            self._reserved += job.spec.reserved_tokens

    def _step(self) -> None:
        if not self._active and not self._residue:
            return
        self._residue = False
        try:
            self._live().step()
            results = [(job, job.handle.read()) for job in self._active if job.handle is not None]
        except Exception as error:  # noqa: BLE001  # whatever it is, the pipeline is of no more use
            _log.error("a step raised with %d requests in it: %s", len(self._active), _kind(error))
            self._recover()
            return
        self._failures = 0
        for job, result in results:
            self._collect(job, result)

    def _collect(self, job: Job, result: StepResult) -> None:
        output = self._cut(job.spec, result)
        if result.logprobs is not None:
            # What was cut off loses its own with it.
            output.logprobs = list(map(TokenLogprob, output.token_ids, result.logprobs))
        job.produced += len(output.token_ids)
        if output.finish is not None:
            self._end(job, output)
        elif output.token_ids:
            self._outbox.append((job.sink, output))

    def _cut(self, spec: JobSpec, result: StepResult) -> JobOutput:
        """Apply the stop rules: an end-of-sequence token stays as the last one, a stop token is cut off."""
        ids = result.token_ids
        for index, token in enumerate(ids):
            if token in self._eos and not spec.ignore_eos:
                return JobOutput(ids[: index + 1], finish=FinishReason.STOP)
            if token in spec.stop_token_ids:
                kept = index + 1 if spec.include_stop else index
                return JobOutput(ids[:kept], finish=FinishReason.STOP, matched_stop=token)
        return JobOutput(ids, finish=result.finish)

    def _end(self, job: Job, output: JobOutput) -> None:
        """Take the job off every list and tell its sink; the engine stops working on it at the next step."""
        if job.handle is not None:
            job.handle.cancel()
            job.handle = None
            # The engine lets go of a cancelled request in its next step only.
            self._residue = True
            self._active.remove(job)
            self._reserved -= job.spec.reserved_tokens
        elif job in self._waiting:
            self._waiting.remove(job)
        with self._wake:
            self._in_flight.discard(job.spec.request_id)
            self._aborts.pop(job.spec.request_id, None)
        self._outbox.append((job.sink, output))

    def _recover(self) -> None:
        """Fail what was in the pipeline, find the guide that broke it, and build a new one."""
        self._failures += 1
        suspects = {job.spec.guide_digest: job.spec for job in self._active if job.spec.guide and not job.produced}
        for job in list(self._active):
            job.handle = None if job.handle is None else _DeadHandle()
            self._end(job, JobOutput([], error=_restarted()))
        self._flush()
        if self._failures >= _MAX_FAILURES:
            raise Internal("The engine fails in every step.")
        self._set_state(StepperState.REBUILDING)
        self._rebuild()
        if len(suspects) == 1:
            self._convict(next(iter(suspects)))
        else:
            self._try_each(list(suspects.values()))
        self._set_state(StepperState.READY)

    def _try_each(self, suspects: Sequence[JobSpec]) -> None:
        """Several guides were new: run each alone for one token, and convict those that raise."""
        for spec in suspects:
            trial = JobSpec(
                request_id="", prompt=spec.prompt[-1:], max_tokens=1, guide=spec.guide, deadline=spec.deadline
            )
            self._numbers += 1
            try:
                handle = self._live().add(self._numbers, trial)
                while handle.read().finish is None:
                    self._live().step()
            except Exception as error:  # noqa: BLE001  # any failure of the engine convicts
                _log.warning("a guide broke the engine again on its own: %s", _kind(error))
                self._convict(spec.guide_digest)
                self._rebuild()

    def _convict(self, digest: str) -> None:
        with self._wake:
            self._quarantine.add(digest)
        _log.warning("guide %s quarantined", digest)

    def _rebuild(self) -> None:
        # The old one goes first: two would need twice the memory.
        self._pipeline = None
        self._residue = False
        started = self._clock()
        self._pipeline = self._build()
        _log.warning("engine rebuilt in %.2f s", self._clock() - started)

    def _live(self) -> Pipeline:
        if self._pipeline is None:
            raise Internal("The engine has no pipeline.")
        return self._pipeline

    def _flush(self) -> None:
        if self._outbox:
            batch, self._outbox = self._outbox, []
            self._deliver(batch)

    def _set_state(self, state: StepperState) -> None:
        with self._wake:
            self._state = state
        self._on_state(state)

    def _fail_everything(self) -> None:
        with self._wake:
            self._closing = True
            self._waiting.extend(self._inbox)
            self._inbox.clear()
        for job in [*self._active, *self._waiting]:
            job.handle = None if job.handle is None else _DeadHandle()
            self._end(job, JobOutput([], error=_restarted()))
        self._flush()


class _DeadHandle:
    """Stands for the handle of a request whose pipeline is gone."""

    def read(self) -> StepResult:
        return StepResult([])

    def cancel(self) -> None:
        return


def _kind(error: Exception) -> str:
    """Say what was raised and where, without its text: that may quote a guide, and so a prompt."""
    if isinstance(error, PodiumError):
        return error.message
    place = _SOURCE_PLACE.search(str(error))
    return type(error).__name__ + (f" at {place.group()}" if place else "")


def _restarted() -> Unavailable:
    return Unavailable("The engine restarted under this request; try again.", retry_after=_RETRY_AFTER_REBUILD)
