"""Threads for sync tools: a fixed number that do work, and spares for those that hang.

`concurrent.futures` would not do: it joins its threads when the interpreter ends, so that one
hung tool would keep a stopped server alive for ever, and it cannot replace a thread that hangs.
These threads are daemons, and a call that nobody waits for any more gives its place back.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import queue
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

__all__ = ["Outcome", "PoolClosed", "PoolExhausted", "ToolThreads"]

T = TypeVar("T")


class PoolExhausted(Exception):
    """Every thread is taken by a call that hangs, or none came free in time."""


class PoolClosed(Exception):
    """The pool takes no more work."""


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """What a call ended with: a value, or whatever it raised."""

    value: T | None = None
    error: BaseException | None = None


@dataclass(slots=True, eq=False)
class _Job:
    work: Callable[[], Any]
    future: asyncio.Future[Outcome[Any]]
    context: contextvars.Context
    abandoned: bool = False
    finished: bool = False


class ToolThreads:
    """Runs functions in threads for one event loop.

    Args:
        size: how many calls run at once.
        spare: how many further threads may stand in for hung ones.
        name: prefix of the threads' names.
    """

    def __init__(self, size: int, spare: int, *, name: str = "podium-tool") -> None:
        if size < 1 or spare < 0:
            raise ValueError("a pool needs at least one thread, and no less than zero spares")
        self._size, self._most, self._name = size, size + spare, name
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._numbers = itertools.count(1)
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._started = self._active = self._hung = 0
        self._closed = False

    @property
    def active(self) -> int:
        """Calls that run and are waited for."""
        return self._active

    @property
    def hung(self) -> int:
        """Calls that nobody waits for any more, and that still hold their thread."""
        return self._hung

    @property
    def capacity(self) -> int:
        """How many calls can run at once, now."""
        return min(self._size, self._most - self._hung)

    async def acquire(self, timeout: float) -> None:  # noqa: ASYNC109  a limit of waiting, not of the work
        """Take a place, first come first served. Each acquire is followed by one `run`.

        Raises:
            PoolExhausted: hung calls hold every thread, or no place came free within `timeout` seconds.
            PoolClosed: the pool is closed.
        """
        if self._closed:
            raise PoolClosed
        if self.capacity < 1:
            raise PoolExhausted(f"all {self._most} threads hang")
        if self._active < self.capacity and not self._waiting:
            self._active += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(timeout):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._release()  # the place was given just as we stopped waiting for it
            elif turn in self._waiting:
                self._waiting.remove(turn)
            if isinstance(error, TimeoutError):
                raise PoolExhausted(f"all {self.capacity} threads are busy") from None
            raise

    async def run(self, work: Callable[[], T]) -> Outcome[T]:
        """Run `work` in a thread, in a copy of this context, on the place that was acquired.

        When this is cancelled it returns at once; the thread goes on, and counts as hung until
        its work ends.

        Raises:
            PoolExhausted: the system gives no further thread.
            PoolClosed: the pool was closed in between.
        """
        future: asyncio.Future[Outcome[Any]] = asyncio.get_running_loop().create_future()
        job = _Job(work, future, contextvars.copy_context())
        try:
            self._start_thread()
            self._jobs.put(job)
            return await future
        except asyncio.CancelledError:
            if not job.finished:
                job.abandoned = True
                self._hung += 1
            raise
        finally:
            self._release()

    def close(self) -> None:
        """Take no more work and let idle threads end. Hung ones are left behind; they are daemons."""
        if self._closed:
            return
        self._closed = True
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_exception(PoolClosed())
        for _ in range(self._started):
            self._jobs.put(None)

    def _release(self) -> None:
        self._active -= 1
        self._admit()

    def _admit(self) -> None:
        while self._waiting and (self._active < self.capacity or self.capacity < 1):
            turn = self._waiting.popleft()
            if turn.done():
                continue
            if self.capacity < 1:
                turn.set_exception(PoolExhausted(f"all {self._most} threads hang"))
            else:
                self._active += 1
                turn.set_result(None)

    def _start_thread(self) -> None:
        # Called with the job's place already counted in _active, so this many threads are needed.
        if self._closed:
            raise PoolClosed
        if self._started < self._active + self._hung:
            name = f"{self._name}-{next(self._numbers)}"
            try:
                threading.Thread(target=self._work, name=name, daemon=True).start()
            except RuntimeError as error:
                raise PoolExhausted("the system gives no further thread") from error
            self._started += 1

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            outcome: Outcome[Any] = Outcome() if job.abandoned else _call(job)
            try:
                job.future.get_loop().call_soon_threadsafe(self._finished, job, outcome)
            except RuntimeError:
                return  # the loop has closed: nobody is left to tell
            del job, outcome

    def _finished(self, job: _Job, outcome: Outcome[Any]) -> None:
        job.finished = True
        if job.abandoned:
            self._hung -= 1
            self._admit()
        if not job.future.done():
            job.future.set_result(outcome)


def _call(job: _Job) -> Outcome[Any]:
    try:
        return Outcome(value=job.context.run(job.work))
    except BaseException as error:  # noqa: BLE001  whatever a tool raises is its outcome, SystemExit too
        return Outcome(error=error)
