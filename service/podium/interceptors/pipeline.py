"""The way of a call through the concerns to its handler and back, for one method.

Each of the four entry points below is what gRPC runs in place of the handler. All decide the
status in one place, `_fail`, and all live with these facts of grpc.aio (measured on 1.85.1):

- `AbortError` has already been sent, and must go on;
- cancellation by the client, its deadline and a lost connection look alike: `CancelledError` in
  an await, but `InternalError` in a write, after which the next await is cancelled;
- a `CancelledError` that nobody asked for, once it leaves the handler, leaves the client hanging;
- the text of any other exception would be sent to the client.

Requests are parsed and replies serialised here and not by gRPC: so a refused caller's bytes are
never parsed, and bytes or replies that are not what they should be end like any other error.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, NoReturn

import grpc

from podium.interceptors import status
from podium.interceptors.call import OK, Call, Method, Outcome
from podium.interceptors.concern import Hooks
from podium.interceptors.correlation import CORRELATION_KEY
from podium.interceptors.ending import GoneError, absorb_cancellation, check_ended, ids_settled, outcome_of, trailers_of
from podium.interceptors.streams import Requests, SlowReader

if TYPE_CHECKING:
    from podium.interceptors.chain import Chain

__all__ = ["Pipeline"]

Context = grpc.aio.ServicerContext[Any, Any]

_log = logging.getLogger(__name__)
_CANCEL_FOLLOWS: Final = 0.05  # seconds within which the cancellation after a failed write arrives
_ABORT_SECONDS: Final = 5.0  # a reader that has stopped may never take the status


class Pipeline:
    """Composed once per method.

    Args:
        chain: whose calls these are.
        method: the method.
        handler: as it was registered.
        hooks: of the concerns, from the outside in.
    """

    def __init__(
        self, chain: Chain, method: Method, handler: grpc.RpcMethodHandler[Any, Any], hooks: Sequence[Hooks]
    ) -> None:
        self._chain = chain
        self._method = method
        self._ids_at_once = chain.ids_at_once(method)
        self._streams_requests = method.kind.streams_requests
        self._behaviour = _behaviour(handler, method)
        self._generator = inspect.isasyncgenfunction(self._behaviour)
        self._parse: Callable[[bytes], Any] | None = handler.request_deserializer
        self._serialise: Callable[[Any], bytes] | None = handler.response_serializer
        self._admits = tuple(each.admit for each in hooks if each.admit is not None)
        self._receives = tuple(each.receive for each in hooks if each.receive is not None)
        (self._translate,) = (each.translate for each in hooks if each.translate is not None)
        self._unwinds = _unwinds(hooks)

    def wrap(self, handler: grpc.RpcMethodHandler[Any, Any]) -> grpc.RpcMethodHandler[Any, Any]:
        """Return the handler that gRPC runs."""
        entry = self._stream if self._method.kind.streams_responses else self._unary
        # A coroutine that writes to the stream itself needs gRPC to serialise for it.
        own_writes = self._method.kind.streams_responses and not self._generator
        serialise = self._serialise if own_writes else None
        replaced: Any = handler
        return replaced._replace(  # type: ignore[no-any-return]  # a named tuple, which the stubs do not tell
            request_deserializer=None, response_serializer=serialise, **{self._method.kind.value: entry}
        )

    async def _unary(self, incoming: Any, context: Context) -> Any:
        """Serve one call whose reply is one message."""
        call = self._chain.begin(self._method, context)
        try:
            step = self._admit(call)
            if step is not None:
                await step
            request = self._request(call, incoming)
            await self._send_ids(call)
            response = await self._behaviour(request, context)
            if call.ended_by is not None:
                await check_ended(call)
            if call.ids_sending is not None:
                await ids_settled(call)
            payload = self._reply(call, response)
        except BaseException as error:  # noqa: BLE001 - the outermost boundary of a call; `_fail` always raises
            await self._fail(call, error)
        self._succeed(call)
        return payload

    async def _stream(self, incoming: Any, context: Context) -> None:
        """Serve one call whose reply is a stream. A coroutine, so that it sees the true end."""
        call = self._chain.begin(self._method, context)
        try:
            step = self._admit(call)
            if step is not None:
                await step
            request = self._request(call, incoming)
            await self._send_ids(call)
            await self._pump(call, request)
        except BaseException as error:  # noqa: BLE001 - the outermost boundary of a call; `_fail` always raises
            await self._fail(call, error)
        self._succeed(call)

    # --- in ---------------------------------------------------------------------------------

    def _admit(self, call: Call) -> Awaitable[None] | None:
        passed = 0
        try:
            for admit in self._admits:
                step = admit(call)
                if step is not None:
                    return self._admit_rest(call, step)
                passed += 1
        finally:
            call.admitted = passed
        call.context.set_trailing_metadata(call.trailers)
        return None

    async def _admit_rest(self, call: Call, step: Awaitable[None] | None) -> None:
        if step is not None:
            await step
        call.admitted += 1
        for admit in self._admits[call.admitted :]:
            following = admit(call)
            if following is not None:
                await following
            call.admitted += 1
        call.context.set_trailing_metadata(call.trailers)

    def _request(self, call: Call, incoming: Any) -> Any:
        if self._streams_requests:
            return Requests(lambda raw: self._received(call, raw), incoming)
        return self._received(call, incoming)

    def _received(self, call: Call, raw: Any) -> Any:
        message = raw if self._parse is None else self._parse(raw)
        for receive in self._receives:
            receive(call, message)
        call.received += 1
        return message

    async def _send_ids(self, call: Call) -> None:
        if not self._ids_at_once and CORRELATION_KEY not in call.metadata:
            self._chain.ids_later(call)
            return
        try:
            await call.context.send_initial_metadata(call.ids)
        except grpc.aio.AbortError:
            raise
        except grpc.aio.BaseError as error:
            raise GoneError(error) from error

    # --- out --------------------------------------------------------------------------------

    def _reply(self, call: Call, response: Any) -> Any:
        code = call.context.code()
        if code is not None and code is not grpc.StatusCode.OK:
            return b""  # gRPC sends no message with an error
        if response is None:
            raise TypeError(f"{self._method.rpc} returned None instead of a message")
        payload = response if self._serialise is None else self._serialise(response)
        call.sent = 1
        return payload

    async def _pump(self, call: Call, request: Any) -> None:
        """Send what the handler yields; its generator is closed here, in the call's own task."""
        if not self._generator:
            await self._behaviour(request, call.context)
            await check_ended(call)
            return
        watch = SlowReader(call, self._chain.send_seconds, self._chain.clock)
        try:
            async with aclosing(self._behaviour(request, call.context)) as messages:
                async for message in messages:
                    await self._send(call, message)
        finally:
            watch.cancel()
        await check_ended(call)

    async def _send(self, call: Call, message: Any) -> None:
        payload = message if self._serialise is None else self._serialise(message)
        call.writing_since = self._chain.clock()
        try:
            await call.context.write(payload)
        except grpc.aio.AbortError:
            raise
        except grpc.aio.BaseError as error:
            # The cancellation that follows would strike the first await of the handler's `finally`.
            await absorb_cancellation(_CANCEL_FOLLOWS)
            raise GoneError(error) from error
        call.writing_since = None
        if call.first_sent is None:
            call.first_sent = self._chain.clock()
        call.sent += 1

    # --- the end ----------------------------------------------------------------------------

    def _succeed(self, call: Call) -> None:
        context = call.context
        code = context.code()
        outcome = OK if code is None or code is grpc.StatusCode.OK else Outcome(code, message=context.details() or "")
        self._end(call, outcome)
        if context.trailing_metadata() is not call.trailers:
            context.set_trailing_metadata(trailers_of(call))

    async def _fail(self, call: Call, error: BaseException) -> NoReturn:
        """Decide what the caller is told, report it, and tell."""
        outcome = outcome_of(call, error, self._translate)
        self._end(call, outcome)
        if outcome.details is None:
            raise error.cause if isinstance(error, GoneError) else error
        if call.ended_by is not None:
            if not isinstance(error, asyncio.CancelledError):
                await absorb_cancellation(0)
            call.task.uncancel()
        await ids_settled(call)
        await self._abort(call, outcome)
        raise error  # not reached: abort raises

    async def _abort(self, call: Call, outcome: Outcome) -> None:
        trailers = (*trailers_of(call), (status.DETAILS_KEY, outcome.details or b""))
        try:
            async with asyncio.timeout(_ABORT_SECONDS if self._method.kind.streams_responses else None):
                await call.context.abort(outcome.code, outcome.message, trailers)
        except TimeoutError:
            # The status is queued behind what the client has not read; it goes out if it ever reads.
            raise asyncio.CancelledError from None

    def _end(self, call: Call, outcome: Outcome) -> None:
        self._chain.end(call)
        for finish in self._unwinds[call.admitted]:
            try:
                finish(call, outcome)
            except Exception:  # noqa: BLE001 - one concern's fault must not cost the call, nor the other concerns
                _log.exception("a concern failed at the end of %s", self._method.rpc)


def _behaviour(handler: grpc.RpcMethodHandler[Any, Any], method: Method) -> Callable[..., Any]:
    behaviour: Callable[..., Any] = getattr(handler, method.kind.value)
    good = inspect.iscoroutinefunction(behaviour)
    if method.kind.streams_responses:
        good = good or inspect.isasyncgenfunction(behaviour)
    if not good:
        # gRPC would run it in a thread or, worse, leave it un-awaited.
        raise TypeError(f"the handler of {method.rpc} must be an async function, or an async generator to stream")
    return behaviour


def _unwinds(hooks: Sequence[Hooks]) -> tuple[tuple[Callable[[Call, Outcome], None], ...], ...]:
    """Return what to call at the end, innermost first, for each number of admissions passed."""
    finishes: list[Callable[[Call, Outcome], None]] = []
    found: list[tuple[Callable[[Call, Outcome], None], ...]] = [()]
    for each in hooks:
        if each.finish is not None:
            finishes.append(each.finish)
        if each.admit is not None:
            found.append(tuple(reversed(finishes)))
        elif each.finish is not None:
            found[-1] = tuple(reversed(finishes))
    return tuple(found)
