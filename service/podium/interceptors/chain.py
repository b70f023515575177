"""The interceptor chain: one gRPC interceptor that wraps each method's handler once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Final, Literal

import grpc

from podium.errors import PodiumError
from podium.interceptors.call import Call, Kind, Method, MethodPolicy, current_call
from podium.interceptors.concern import Concern, check_order
from podium.interceptors.ending import send_ids_aside
from podium.interceptors.pipeline import Pipeline

__all__ = ["Chain", "InitialIds"]

InitialIds = Literal["always", "on demand"]

_WAITING: Final = 0.02

# Set by the interceptor and read by the handler: gRPC runs both in one task, and building the
# metadata a second time from the context costs as much as several concerns.
_arrival: Final[ContextVar[tuple[Any, float]]] = ContextVar("podium_arrival")


class Chain(grpc.aio.ServerInterceptor):
    """Composes the concerns around every handler.

    Args:
        concerns: from the outside in; checked against `podium.interceptors.concern.ORDER`.
        policies: by wire path; a method without one is denied to everybody.
        send_seconds: how long a client may take over one message of a response stream.
        initial_ids: which calls send their ids as initial metadata too, before the handler runs;
            in the trailers all have them. "always": all. "on demand": streams, and calls that came
            with an `x-correlation-id`; others once their handler has been working for 20 ms. That
            spares quick calls of callers who do not correlate a write of its own, which costs a
            seventh of a bare call (docs/decisions/0006).
        clock: monotonic seconds.

    Raises:
        ValueError: the concerns are out of order, repeated, unknown, or lack what every chain has.
    """

    def __init__(
        self,
        concerns: Sequence[Concern],
        policies: Mapping[str, MethodPolicy],
        *,
        send_seconds: float = 30.0,
        initial_ids: InitialIds = "on demand",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        check_order([concern.name for concern in concerns])
        self._concerns = tuple(concerns)
        self._policies = dict(policies)
        self._initial_ids: InitialIds = initial_ids
        self._sweeping: asyncio.TimerHandle | None = None
        self._handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        self._calls: set[Call] = set()
        self._open = 0
        self._waiters: list[asyncio.Future[None]] = []
        self.send_seconds = send_seconds
        self.clock = clock

    @property
    def order(self) -> tuple[str, ...]:
        """The names of the concerns, from the outside in."""
        return tuple(concern.name for concern in self._concerns)

    @property
    def active(self) -> int:
        """The calls in progress, without those of open methods such as health watches."""
        return len(self._calls) - self._open

    def end_active(self, error: PodiumError) -> int:
        """End every call in progress, open methods included, with this error; return how many."""
        calls = list(self._calls)
        for call in calls:
            call.interrupt(error)
        return len(calls)

    async def wait_idle(self) -> None:
        """Wait until no call is in progress, those of open methods not counted."""
        while self.active:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            finally:
                self._waiters.remove(waiter)

    def close(self) -> None:
        """Let the concerns finish what they put off, such as lines of the log. Call it after the server has stopped."""
        for concern in self._concerns:
            close = getattr(concern, "close", None)
            if close is not None:
                close()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Return the wrapped handler; None, as it came, for a method that nobody serves."""
        _arrival.set((handler_call_details.invocation_metadata, self.clock()))
        path = handler_call_details.method
        wrapped = self._handlers.get(path)
        if wrapped is None:
            handler = await continuation(handler_call_details)
            if handler is None:
                return None
            wrapped = self._handlers[path] = self.wrap(path, handler)
        return wrapped

    def wrap(self, path: str, handler: grpc.RpcMethodHandler[Any, Any]) -> grpc.RpcMethodHandler[Any, Any]:
        """Return the handler with the chain around it.

        Raises:
            TypeError: the handler is not asynchronous.
        """
        method = Method.parse(path, Kind.of(handler), self._policies.get(path))
        bound = (concern.bind(method) for concern in self._concerns)
        return Pipeline(self, method, handler, [hooks for hooks in bound if hooks is not None]).wrap(handler)

    # --- for pipelines ----------------------------------------------------------------------

    def begin(self, method: Method, context: grpc.aio.ServicerContext[Any, Any]) -> Call:
        """Start a call."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("gRPC runs every handler in a task")
        metadata, started = _arrival.get()
        call = Call(method, dict(metadata or ()), started, context, task)
        self._calls.add(call)
        if method.open:
            self._open += 1
        return call

    def end(self, call: Call) -> None:
        """Forget a call, and stop its timers."""
        self._calls.discard(call)
        call.ids_due = False
        # The task's context would hold the call, which holds the task: a cycle, and with it
        # gRPC's native call, that only the garbage collector would free.
        current_call.set(None)
        if call.timers:
            for timer in call.timers:
                timer.cancel()
            call.timers = ()  # a cancelled timer keeps its context, and so the call
        if call.method.open:
            self._open -= 1
        if self._waiters and not self.active:
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_result(None)

    def ids_at_once(self, method: Method) -> bool:
        """Return whether the ids of all calls of a method go out before their handlers run."""
        return self._initial_ids == "always" or method.kind.streams_responses

    def ids_later(self, call: Call) -> None:
        """Send the call's ids if it is still going on in a moment."""
        call.ids_due = True
        # One timer for all calls: a timer each would cost more than it saves.
        if self._sweeping is None:
            self._sweeping = call.task.get_loop().call_later(_WAITING, self._sweep)

    def _sweep(self) -> None:
        self._sweeping = None
        oldest = self.clock() - _WAITING
        again = False
        for call in self._calls:
            if not call.ids_due:
                continue
            if call.started <= oldest:
                call.ids_due = False
                call.ids_sending = asyncio.create_task(send_ids_aside(call))
            else:
                again = True
        if again:
            self._sweeping = asyncio.get_running_loop().call_later(_WAITING, self._sweep)
