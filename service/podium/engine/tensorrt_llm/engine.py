"""TensorRT-LLM as a backend of the host: admission, delivery, watching; on the serving event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from podium.engine.backend import EngineState
from podium.engine.job import JobOutput, JobSpec, OutputSink
from podium.engine.tensorrt_llm.kv_events import KvEventPublisher
from podium.engine.tensorrt_llm.options import TensorRtOptions
from podium.engine.tensorrt_llm.runner import BuiltEngine, EngineRunner, Outgoing
from podium.engine.tensorrt_llm.session import EngineDeadError
from podium.engine.tensorrt_llm.stats import EngineStats
from podium.engine.tensorrt_llm.threads import in_thread
from podium.errors import AlreadyExists, PodiumError, ResourceExhausted, Unavailable
from podium.inference.engine import FinishReason

__all__ = ["StallMeter", "TensorRtEngine"]

_log = logging.getLogger(__name__)

_WATCH = 0.1
_STATS_INTERVAL = 60.0
_RETRY_AFTER_RESTART = 5.0
_RETRY_WHEN_FULL = 1.0
_THREAD_LIMIT = 2.0
# Dropping the last reference to an engine runs its shutdown, which may hang: it goes with the process.
_pinned: list[Any] = []


class StallMeter:
    """Measures for how long another loop has stood still while this one turned.

    Time in which this loop stood still too does not count: native code that loads libraries holds the interpreter
    lock for seconds, and nobody can turn meanwhile.
    """

    def __init__(self, now: float) -> None:
        self._last = now
        self._beat = -1.0
        self._stalled = 0.0

    def tick(self, now: float, beat: float) -> float:
        """Return the seconds that the other loop has stood still, as of `now`, with its last beat."""
        passed, self._last = now - self._last, now
        if beat != self._beat:
            self._beat, self._stalled = beat, 0.0
        else:
            self._stalled += min(passed, 2 * _WATCH)
        return self._stalled


class TensorRtEngine:
    """One `tensorrt_llm.LLM`, in a thread with an event loop of its own.

    An engine that dies is not rebuilt: its state is FAILED, everything in flight ends as retryable, and the host's
    process is to end, for only that frees the devices.

    Args:
        build: makes the engine; called in a thread, may take minutes.
        max_in_flight: requests that are accepted at once; more are refused.
        on_state: called on the serving loop at each change of state.

    Attributes:
        stats: counts and the engine's last report.
        kv_events: the publisher of cache events, or None when the engine's event buffer is off.
        failure: how the engine failed, if it did.
        misconfigured: whether it failed because it cannot be built as it is configured.
    """

    def __init__(
        self,
        build: Callable[[], BuiltEngine],
        options: TensorRtOptions,
        *,
        max_in_flight: int,
        on_state: Callable[[EngineState], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options = options
        self._max_in_flight = max_in_flight
        self._on_state = on_state
        self._clock = clock
        self._state = EngineState.STARTING
        self._sinks: dict[str, OutputSink] = {}
        self._closing = False
        self.stats = EngineStats()
        self.kv_events = KvEventPublisher() if options.kv_event_buffer else None
        self.failure = ""
        self.misconfigured = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._runner = EngineRunner(build, options, self, self.stats, clock=clock)
        self._thread = threading.Thread(target=self._run, name="podium-engine", daemon=True)
        self._ended = asyncio.Event()
        self._watcher: asyncio.Task[None] | None = None

    @property
    def state(self) -> EngineState:
        """Whether the engine can generate now."""
        return self._state

    @property
    def in_flight(self) -> int:
        """Requests that the engine has not let go of yet."""
        return len(self._sinks)

    def start(self) -> None:
        """Begin to load the model in the engine's thread."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()
        self._watcher = asyncio.create_task(self._watch(), name="engine-watch")

    def submit(self, spec: JobSpec, sink: OutputSink) -> None:
        """Begin a generation; its outputs go to `sink` until each sequence has ended.

        Raises:
            AlreadyExists: its id is in flight.
            ResourceExhausted: too many requests are in flight.
            Unavailable: the engine is starting, unhealthy, failed, or closing.
        """
        if self._closing or self._state is not EngineState.READY:
            raise Unavailable("The engine is not ready.", reason="MODEL_NOT_READY", retry_after=_RETRY_AFTER_RESTART)
        if spec.request_id in self._sinks:
            raise AlreadyExists("A request with this id is in flight.")
        if len(self._sinks) >= self._max_in_flight:
            raise ResourceExhausted(
                "The engine's queue is full.", reason="OVERLOADED", quota="engine_queue", retry_after=_RETRY_WHEN_FULL
            )
        self._sinks[spec.request_id] = sink
        self._runner.post(self._runner.begin, spec)

    def abort(self, request_id: str, finish: FinishReason = FinishReason.CANCELLED) -> bool:
        """End a generation with `finish`; false when no such request is in flight."""
        if request_id not in self._sinks:
            return False
        self._runner.post(self._runner.abort, request_id, finish)
        return True

    async def aclose(self) -> None:
        """End everything in flight as retryable and shut the engine down; bounded in time."""
        self._closing = True
        self._fail_everything()
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
            self._runner.post(self._runner.close)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_THREAD_LIMIT):
                    await self._ended.wait()
        await self._shut_down()
        if self._state is not EngineState.FAILED:
            self._set_state(EngineState.STOPPED)

    async def _shut_down(self) -> None:
        llm = self._runner.llm
        if llm is None:
            return
        _pinned.append(llm)
        try:
            async with asyncio.timeout(self._options.shutdown_limit):
                await in_thread(llm.shutdown, "podium-engine-shutdown")
        except TimeoutError:
            _log.error("the engine did not shut down in time; its processes are killed")  # expected
        except Exception as error:  # noqa: BLE001  # it is going away in any case
            _log.warning("the engine's shutdown failed: %s", type(error).__name__)

    # Events of the runner, in the engine's thread.

    def outputs(self, batch: Sequence[Outgoing]) -> None:
        """Take outputs to the serving loop."""
        self._post(self._deliver, batch)

    def healthy(self, well: bool) -> None:
        """Take a canary's verdict to the serving loop."""
        self._post(self._judge, well)

    def cache_events(self, events: list[dict[str, Any]]) -> None:
        """Take cache events to the serving loop."""
        if self.kv_events is not None:
            self._post(self.kv_events.publish, events)

    def _run(self) -> None:
        why = ""
        try:
            asyncio.run(self._runner.run())
        except EngineDeadError as dead:
            why = str(dead)
        except PodiumError as error:
            why = error.message
            self.misconfigured = True
        except Exception as error:  # noqa: BLE001  # the outermost boundary: else clients would wait for ever
            why = type(error).__name__
        self._post(self._engine_ended, why)

    def _post(self, function: Callable[..., None], *arguments: Any) -> None:
        # The serving loop may be gone while a slow engine still winds down.
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(function, *arguments)

    # On the serving loop.

    def _deliver(self, batch: Sequence[Outgoing]) -> None:
        for request_id, output in batch:
            if output is None:
                self._sinks.pop(request_id, None)
                continue
            sink = self._sinks.get(request_id)
            if sink is not None:
                sink.put(output)

    def _judge(self, well: bool) -> None:
        if self._state in (EngineState.STARTING, EngineState.READY, EngineState.UNHEALTHY) and not self._closing:
            unwell = EngineState.STARTING if self._state is EngineState.STARTING else EngineState.UNHEALTHY
            self._set_state(EngineState.READY if well else unwell)

    def _engine_ended(self, why: str) -> None:
        self._ended.set()
        if not self._closing:
            self._fail(why or "it ended")

    async def _watch(self) -> None:
        """Find an engine whose loop stands still, which only another loop can see."""
        logged = self._clock()
        meter = StallMeter(logged)
        while self._state not in (EngineState.FAILED, EngineState.STOPPED):
            await asyncio.sleep(_WATCH)
            now = self._clock()
            if meter.tick(now, self._runner.beat) > self._options.loop_stall_limit:
                self._fail("its event loop stands still")
            if now - logged >= _STATS_INTERVAL:
                logged = now
                _log.info("engine stats: %s", self.stats.snapshot())

    def _fail(self, why: str) -> None:
        if self._state is EngineState.FAILED:
            return
        self.failure = why
        _log.error("the engine failed for good: %s", why)
        self._set_state(EngineState.FAILED)
        self._fail_everything()

    def _fail_everything(self) -> None:
        sinks, self._sinks = self._sinks, {}
        for sink in sinks.values():
            error = Unavailable("The engine restarted under this request; try again.", retry_after=_RETRY_AFTER_RESTART)
            sink.put(JobOutput([], error=error))

    def _set_state(self, state: EngineState) -> None:
        if state is not self._state:
            self._state = state
            self._on_state(state)
