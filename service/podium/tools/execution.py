"""Runs one tool call to its end, whatever the tool does."""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from types import TracebackType
from typing import Any, Protocol, Self

import orjson

from podium.orchestration.tool import SideEffects, ToolFailure, ToolFailureCode, ToolInvocation, ToolResult
from podium.tools._decorator import Tool
from podium.tools._results import encode_result
from podium.tools._threads import Outcome, PoolClosed, PoolExhausted, ToolThreads
from podium.tools.context import Entered

__all__ = ["LocalToolExecutor"]

_log = logging.getLogger(__name__)
_MOST_TEXT = 200
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


class _Tools(Protocol):
    def tool(self, name: str) -> Tool | None: ...


class LocalToolExecutor:
    """Runs tools in this process: async ones on the event loop, sync ones in threads.

    Each call is held to its tool's own timeout. A call that raises, hangs, floods or returns what
    is no JSON ends as a `ToolFailure`; nothing that a tool does ends the process or another call.
    The one thing it cannot mend is an `async def` that blocks: it holds the event loop itself.

    Use it as an async context manager, in one event loop.

    Args:
        tools: where tools are looked up; a `ToolRegistry`.
        threads: how many sync calls run at once.
        spare_threads: how many hung calls are replaced by further threads. When calls hang in all
            of them, sync calls are refused as UNAVAILABLE until one comes back.
        max_argument_bytes: largest arguments, as JSON.
        max_result_bytes: largest result, as JSON.
        stop_grace: seconds that a cancelled async tool has to clean up before it is left behind.
        most_left_behind: when so many async tools were left behind, async calls are refused as UNAVAILABLE.
        redact: masks secrets in the text of failures.
    """

    def __init__(
        self,
        tools: _Tools,
        *,
        threads: int = 64,
        spare_threads: int = 64,
        max_argument_bytes: int = 1 << 20,
        max_result_bytes: int = 1 << 20,
        stop_grace: float = 0.25,
        most_left_behind: int = 256,
        redact: Callable[[str], str] | None = None,
    ) -> None:
        self._tools = tools
        self._threads = ToolThreads(threads, spare_threads)
        self._max_argument_bytes, self._max_result_bytes = max_argument_bytes, max_result_bytes
        self._stop_grace, self._most_left_behind = stop_grace, most_left_behind
        self._redact = redact or str
        self._left_behind: set[asyncio.Task[Any]] = set()
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Take no more calls, cancel what was left behind, and let the threads end."""
        self._closed = True
        self._threads.close()
        for task in self._left_behind:
            task.cancel()
        if self._left_behind:
            await asyncio.wait(self._left_behind, timeout=self._stop_grace)

    @property
    def hung_calls(self) -> int:
        """Calls that timed out or were cancelled and that still run, in threads or on the loop."""
        return self._threads.hung + len(self._left_behind)

    async def invoke(self, invocation: ToolInvocation) -> ToolResult:
        """Run one call to its end.

        Cancelling stops an async tool, and leaves a sync one to end by itself (it can ask
        `cancel_requested()`); either way this returns promptly.

        Raises:
            ToolFailure: the call did not give a result.
        """
        found = self._tools.tool(invocation.tool)
        if found is None:
            message = f"there is no tool named {self._safe(invocation.tool)}"
            raise ToolFailure(ToolFailureCode.UNKNOWN_TOOL, message)
        if self._closed:
            raise _unavailable(f"{found.name}: the service is stopping")
        arguments = self._decode(found, invocation.arguments_json)
        with Entered(invocation) as call:
            try:
                run = self._run_async if found.is_async else self._run_in_thread
                outcome = await run(found, arguments)
            except TimeoutError:
                call.cancelled = True
                raise _timeout(found) from None
            except asyncio.CancelledError:
                call.cancelled = True
                raise
        return ToolResult(result_json=self._result(found, invocation, outcome))

    def _decode(self, found: Tool, text: bytes) -> Mapping[str, Any]:
        if len(text) > self._max_argument_bytes:
            message = f"{found.name}: the arguments are larger than {self._max_argument_bytes:,} bytes"
            raise ToolFailure(ToolFailureCode.INVALID_ARGUMENTS, message)
        try:
            arguments = orjson.loads(text or b"{}")
        except orjson.JSONDecodeError as error:
            message = f"{found.name}: the arguments are not JSON: {error}"
            raise ToolFailure(ToolFailureCode.INVALID_ARGUMENTS, message) from None
        if not isinstance(arguments, dict):
            message = f"{found.name}: the arguments must be a JSON object, such as {{}}"
            raise ToolFailure(ToolFailureCode.INVALID_ARGUMENTS, message)
        return arguments

    async def _run_in_thread(self, found: Tool, arguments: Mapping[str, Any]) -> Outcome[bytes]:
        limit = found.spec.timeout_seconds

        def work() -> bytes:
            value = found.bind(arguments)()
            if inspect.isawaitable(value):
                _discard(value)
                raise TypeError("it returned something to await; declare the tool with `async def`")
            return encode_result(found.name, value, self._max_result_bytes)

        try:
            await self._threads.acquire(limit)
            async with asyncio.timeout(limit):
                return await self._threads.run(work)
        except PoolExhausted as full:
            raise _unavailable(f"{found.name} was not started: {full}; try again later") from None
        except PoolClosed:
            raise _unavailable(f"{found.name}: the service is stopping") from None

    async def _run_async(self, found: Tool, arguments: Mapping[str, Any]) -> Outcome[bytes]:
        # The tool gets a task of its own, so that what it raises is told apart from what happens to
        # us (a CancelledError of its own making, say), and so that we need not wait for its end.
        async def work() -> Outcome[bytes]:
            try:
                value = await found.bind(arguments)()
                return Outcome(value=encode_result(found.name, value, self._max_result_bytes))
            except BaseException as error:  # noqa: BLE001  SystemExit raised in a task would end the loop
                return Outcome(error=error)

        if len(self._left_behind) >= self._most_left_behind:
            raise _unavailable(f"{found.name} was not started: too many calls would not stop; try again later")
        task = asyncio.create_task(work(), name=found.name)
        # `asyncio.wait` would do the same at three times the memory of a waiting call.
        loop = task.get_loop()
        ended: asyncio.Future[None] = loop.create_future()
        task.add_done_callback(partial(_wake, ended))
        timer = loop.call_later(found.spec.timeout_seconds, _wake, ended)
        try:
            await ended
        except asyncio.CancelledError:
            await self._stop(task)
            raise
        finally:
            timer.cancel()
        if not task.done():
            await self._stop(task)
            raise TimeoutError
        return _ended(task)

    async def _stop(self, task: asyncio.Task[Any]) -> None:
        """Cancel the tool's task and give it a moment to clean up; if it will not end, leave it behind."""
        self._left_behind.add(task)
        task.add_done_callback(self._left_behind.discard)
        task.cancel()
        await asyncio.wait([task], timeout=self._stop_grace)

    def _result(self, found: Tool, invocation: ToolInvocation, outcome: Outcome[bytes]) -> bytes:
        error = outcome.error
        if error is None:
            return outcome.value or b"null"
        if isinstance(error, ToolFailure):
            message = self._safe(error.message, most=2_000)
            raise ToolFailure(error.code, message, retryable=error.retryable) from None
        _log.warning(
            "tool raised",
            exc_info=error,
            extra={"tool": found.name, "run_id": invocation.run_id, "call_id": invocation.call_id},
        )
        raise ToolFailure(ToolFailureCode.RAISED, f"{found.name} failed: {self._described(error)}") from None

    def _described(self, error: BaseException) -> str:
        """Return type and first line of an exception, safe to show."""
        try:
            text = str(error).strip().partition("\n")[0]
        except Exception:  # noqa: BLE001  __str__ is the tool's code too
            text = ""
        name = type(error).__name__
        return f"{name}: {self._safe(text)}" if text else name

    def _safe(self, text: str, *, most: int = _MOST_TEXT) -> str:
        clean = _CONTROL.sub(" ", self._redact(text))
        return clean if len(clean) <= most else clean[: most - 3] + "..."


def _wake(waiting: asyncio.Future[None], _task: object = None) -> None:
    if not waiting.done():
        waiting.set_result(None)


def _ended(task: asyncio.Task[Outcome[bytes]]) -> Outcome[bytes]:
    if task.cancelled():  # by itself, before its first step or from outside: not by us
        return Outcome(error=asyncio.CancelledError())
    return task.result()


def _discard(value: Awaitable[Any]) -> None:
    if inspect.iscoroutine(value):
        value.close()


def _unavailable(message: str) -> ToolFailure:
    return ToolFailure(ToolFailureCode.UNAVAILABLE, message, retryable=True)


def _timeout(found: Tool) -> ToolFailure:
    message = f"{found.name} took longer than {found.spec.timeout_seconds:g} s and was given up; ask it for less"
    repeatable = found.spec.side_effects is not SideEffects.EFFECTFUL
    return ToolFailure(ToolFailureCode.TIMEOUT, message, retryable=repeatable)
