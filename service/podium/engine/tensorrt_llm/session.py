"""One generation at the engine: submit, follow within deadlines, abort, drain.

A session lives on the engine's event loop, in one task. What it brings goes to `emit`; when `run`
returns, the engine has let go of the request or was given its time to.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from podium.engine.job import JobOutput, JobSpec
from podium.engine.tensorrt_llm.cursor import SequenceCursor, unexpected_finish
from podium.engine.tensorrt_llm.sampling import RequestBuilder
from podium.errors import Internal, InvalidRequest, PodiumError, Unavailable
from podium.inference.engine import FinishReason

__all__ = ["EngineDeadError", "LlmHandle", "Session", "SessionLimits"]

_log = logging.getLogger(__name__)

# What a submit raises for a request that it refuses.
_REFUSALS = (ValueError, TypeError, AssertionError, IndexError)


class EngineDeadError(Exception):
    """The engine is of no more use to anybody; the text names the kind of error, never its words."""


class _UnreadableError(Exception):
    """The engine's own code could not make sense of one message; the engine itself goes on."""

    def __init__(self, finish_reason: str) -> None:
        super().__init__()
        self.finish_reason = finish_reason


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLimits:
    """In seconds: for the first token, for each further one, and for an aborted request to end."""

    first_token: float
    token: float
    abort: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LlmHandle:
    """An engine as its sessions see it."""

    llm: Any
    builder: RequestBuilder
    request_error: type[Exception]
    eos_token_id: int
    stop_token_ids: frozenset[int]
    limits: SessionLimits
    progress: Callable[[], None]
    stalled: Callable[[], None]
    clock: Callable[[], float]

    def shut_down(self) -> bool:
        """Whether the engine has shut itself down, as it does when it meets a fatal error."""
        check = getattr(self.llm, "_check_health", None)
        return check is None or not check()


class Session:
    """Follows one request.

    Args:
        emit: takes each output; called on the engine's event loop, must not block.

    Attributes:
        abort_unanswered: whether the engine was given up on after an abort.
    """

    def __init__(self, engine: LlmHandle, spec: JobSpec, emit: Callable[[JobOutput], None]) -> None:
        self._engine = engine
        self._spec = spec
        self._emit = emit
        self._cursors = [
            SequenceCursor(index, spec, engine.eos_token_id, engine.stop_token_ids) for index in range(spec.sequences)
        ]
        self._result: Any = None
        self._engine_done = False
        self._aborted_at: float | None = None
        self._first = True
        self._failed = False
        self.abort_unanswered = False
        self._timer: asyncio.Timeout | None = None

    def abort(self, finish: FinishReason) -> None:
        """End it for the client at once, and at the engine as soon as that reacts."""
        self._end(finish)
        self._abort_engine()

    async def run(self) -> None:
        """Generate to the end.

        Raises:
            EngineDeadError: the engine is gone; the request has not been told.
        """
        if self._over:
            return  # aborted before it began
        try:
            result = self._submit()
        except PodiumError as error:
            self._fail(error)
            return
        self._result = result
        try:
            await self._follow(result)
        except self._engine.request_error as error:
            # Iterating again would wait for ever.
            self._engine_done = True
            _log.warning("the engine failed one request: %s", type(error).__name__)
            self._fail(Internal("The engine failed this request."))
        except _UnreadableError as unreadable:
            _log.warning("the engine could not read its own output for one request")
            self._fail(unexpected_finish(unreadable.finish_reason))
        finally:
            if not self._engine_done:
                self._abort_engine()
            # The object holds token lists and settings; nothing may keep it alive.
            self._result = None

    @property
    def produced(self) -> int:
        """Tokens handed out, over all sequences."""
        return sum(cursor.produced for cursor in self._cursors)

    @property
    def ended_empty(self) -> bool:
        """Whether the engine itself ended it, without an error and without a token."""
        return self._engine_done and self._aborted_at is None and not self._failed and self.produced == 0

    @property
    def _over(self) -> bool:
        return all(cursor.ended for cursor in self._cursors)

    def _submit(self) -> Any:
        """Call `generate_async`, which works on this thread and may raise anybody's error."""
        try:
            return self._engine.llm.generate_async(**self._engine.builder.arguments(self._spec))
        except PodiumError:
            raise
        except self._engine.request_error as error:
            raise Internal("The engine failed this request.") from error
        except _REFUSALS as error:
            if self._engine.shut_down():
                raise EngineDeadError(type(error).__name__) from error
            _log.warning("the engine refused a request: %s", type(error).__name__)
            raise InvalidRequest("The engine refuses this request: its settings or lengths do not fit.") from error
        except Exception as error:
            raise EngineDeadError(type(error).__name__) from error

    async def _follow(self, result: Any) -> None:
        while not self._engine_done:
            try:
                item = await self._next(result)
            except TimeoutError:
                if self._aborted_at is not None:
                    self.abort_unanswered = True
                    _log.warning("the engine did not answer an abort")
                    return
                self._out_of_time()
                continue
            if item is None:
                self._engine_done = True
                # An end without a reason must not leave anybody waiting.
                self._fail(Internal("The engine ended a generation without its result."))
                return
            self._first = False
            self._engine.progress()
            self._take(item)

    async def _next(self, result: Any) -> Any:
        """Wait for the next item within the limit that holds now; None at the end of the stream."""
        try:
            # A wait that is cut off loses nothing: the item is taken after it.
            async with asyncio.timeout_at(self._until()) as self._timer:
                return await anext(result)
        except StopAsyncIteration:
            return None
        except (TimeoutError, asyncio.CancelledError, self._engine.request_error):
            raise
        except ValueError as error:
            if self._engine.shut_down():
                raise EngineDeadError(type(error).__name__) from error
            raise _UnreadableError(_finish_reason(error)) from error
        except Exception as error:
            raise EngineDeadError(type(error).__name__) from error
        finally:
            self._timer = None

    def _until(self) -> float:
        """The loop's instant at which waiting ends."""
        now = asyncio.get_running_loop().time()
        limits = self._engine.limits
        if self._aborted_at is not None:
            return self._aborted_at + limits.abort
        left = self._spec.deadline - self._engine.clock()
        return now + max(0.0, min(left, limits.first_token if self._first else limits.token))

    def _take(self, item: Any) -> None:
        outputs = list(item.outputs)
        cached = int(getattr(item, "cached_tokens", 0) or 0)
        for cursor, output in zip(self._cursors, outputs, strict=False):
            try:
                made = cursor.take(output, cached)
            except Internal as error:
                self._fail(error)
                break
            if made is None:
                continue
            if made.error is not None:
                self._fail(made.error)
                break
            self._emit(made)
        if bool(getattr(item, "finished", False)) or all(output.finish_reason is not None for output in outputs):
            self._engine_done = True
            self._end(FinishReason.ERROR)
        elif self._over:
            # We saw the stop before the engine did: it must not decode on.
            self._abort_engine()

    def _out_of_time(self) -> None:
        if self._engine.clock() >= self._spec.deadline:
            self._end(FinishReason.TIMEOUT)
        else:
            self._fail(Unavailable("The engine stopped producing tokens.", retry_after=1.0))
            self._engine.stalled()
        self._abort_engine()

    def _end(self, finish: FinishReason) -> None:
        for cursor in self._cursors:
            made = cursor.finish(finish)
            if made is not None:
                self._emit(made)

    def _fail(self, error: PodiumError) -> None:
        if self._over:
            return
        self._failed = True
        for cursor in self._cursors:
            cursor.finish(FinishReason.ERROR)
        self._emit(JobOutput([], error=error))

    def _abort_engine(self) -> None:
        if self._aborted_at is not None:
            return
        loop = asyncio.get_running_loop()
        self._aborted_at = loop.time()
        if self._timer is not None and not self._timer.expired():
            self._timer.reschedule(self._until())
        if self._result is None or self._engine_done:
            return
        try:
            self._result.abort()
        except AttributeError:
            # After a shutdown the engine behind the result is gone.
            _log.info("an abort came after the engine's end")


def _finish_reason(error: ValueError) -> str:
    """Return the word that the engine did not know, if it was that; other texts might quote a prompt."""
    start = "Unknown finish reason: "
    text = str(error)
    return text.removeprefix(start) if text.startswith(start) else "unreadable"
