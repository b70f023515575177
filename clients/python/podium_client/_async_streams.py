"""The streams of the client for asyncio. Their twins for threads are in `_sync_streams.py`."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable
from functools import cached_property
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar, cast

import grpc
from grpc import aio

from podium.v1 import inference_pb2, orchestrator_pb2, run_pb2
from podium_client._channel import CallOptions
from podium_client._event_readers import event_of
from podium_client._status import typed_error
from podium_client.errors import Internal
from podium_client.events import RunEvent, RunFinished
from podium_client.generation import ChatResult, Collected, Generation, GenerationPart, ModelCall, TextPart

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")


class _AsyncStream(Generic[_Request, _Response]):
    """A server stream that lives as long as its `async with` block."""

    def __init__(
        self, method: aio.UnaryStreamMultiCallable[_Request, _Response], request: _Request, options: CallOptions
    ) -> None:
        self._open: Callable[[], aio.UnaryStreamCall[_Request, _Response]] = lambda: method(
            request, timeout=options.timeout, metadata=options.metadata, wait_for_ready=options.wait_for_ready
        )
        self._call: aio.UnaryStreamCall[_Request, _Response] | None = None
        self.correlation_id = options.correlation_id

    async def __aenter__(self) -> Self:
        if self._call is not None:
            raise RuntimeError("a stream is entered once; call the method again for another")
        self._call = self._open()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._call is not None:
            self._call.cancel()  # an abandoned call would live until the channel closes

    def __aiter__(self) -> Self:
        return self

    async def _next(self) -> _Response:
        if self._call is None:
            raise RuntimeError("enter the stream first: `async with podium.stream(...) as events`")
        try:
            message = await self._call.read()
        except aio.AioRpcError as error:
            raise typed_error(error, sent_correlation_id=self.correlation_id) from error
        except asyncio.CancelledError:
            self._call.cancel()
            raise
        if message is aio.EOF:
            raise StopAsyncIteration
        return cast("_Response", message)


class _EventResponse(Protocol):
    """What both streams of events send."""

    @property
    def event(self) -> run_pb2.RunEvent:
        """The first event."""

    @property
    def more(self) -> Iterable[run_pb2.RunEvent]:
        """Those that follow it."""


_Events = TypeVar("_Events", bound=_EventResponse)


class _AsyncEventStream(_AsyncStream[_Request, _Events]):
    run_id: str = ""
    last_seq: int = 0
    finished: RunFinished | None = None

    @cached_property
    def _waiting(self) -> deque[run_pb2.RunEvent]:
        """Events that came together with one that was handed out."""
        return deque()

    async def __anext__(self) -> RunEvent:
        while True:
            if not self._waiting:
                message = await self._next()
                self._waiting.extend((message.event, *message.more))
            raw = self._waiting.popleft()
            self.run_id, self.last_seq = raw.run_id, raw.seq
            event = event_of(raw)
            if event is None:
                continue
            if isinstance(event, RunFinished):
                self.finished = event
            return event


class AsyncRunStream(_AsyncEventStream[orchestrator_pb2.ExecuteStreamRequest, orchestrator_pb2.ExecuteStreamResponse]):
    """The events of a run. `run_id` and `last_seq` are known from the first event on, `finished` after the last.

    When the stream breaks off, `watch(run_id, after_seq=last_seq)` goes on with a run that does.
    """


class AsyncRunWatch(_AsyncEventStream[orchestrator_pb2.WatchRunRequest, orchestrator_pb2.WatchRunResponse]):
    """The events of a run that was started elsewhere. Leaving the block does not touch the run."""


class _AsyncGenerateStream(_AsyncStream[inference_pb2.GenerateRequest, inference_pb2.GenerateResponse]):
    """A generation, which collects what it has given so far."""

    def __init__(
        self,
        method: aio.UnaryStreamMultiCallable[inference_pb2.GenerateRequest, inference_pb2.GenerateResponse],
        request: inference_pb2.GenerateRequest,
        options: CallOptions,
    ) -> None:
        super().__init__(method, request, options)
        self._collected = Collected()

    @property
    def finished(self) -> Generation | None:
        """How it ended; None until it has."""
        return self._collected.finished

    async def _take(self) -> GenerationPart | tuple[int, ...] | None:
        return self._collected.take(await self._next())


class AsyncTextStream(_AsyncGenerateStream):
    """A generation. Iterating gives the text, piece by piece; `parts()` gives reasoning and calls, too.

    `text`, `reasoning` and `calls` hold what came so far, `finished` how it ended. It is read once,
    by whichever of the two.
    """

    @property
    def text(self) -> str:
        """The text so far."""
        return self._collected.text

    @property
    def reasoning(self) -> str:
        """What the model has thought so far."""
        return self._collected.reasoning

    @property
    def calls(self) -> tuple[ModelCall, ...]:
        """The tool calls that the model has asked for so far."""
        return self._collected.calls

    def result(self) -> ChatResult:
        """Return the whole answer, after the last piece.

        Raises:
            Internal: the server ended the answer without saying how.
        """
        if self.finished is None:
            raise Internal(
                "the answer has no end; read it to its end, and if you did, this is a fault of the server's",
                code=grpc.StatusCode.INTERNAL,
                correlation_id=self.correlation_id,
            )
        return self._collected.result()

    async def parts(self) -> AsyncGenerator[GenerationPart, None]:
        """Iterate over text, reasoning and calls, in order."""
        while True:
            try:
                part = await self._take()
            except StopAsyncIteration:
                return
            if part is not None and not isinstance(part, tuple):
                yield part

    async def __anext__(self) -> str:
        while True:
            part = await self._take()
            if isinstance(part, TextPart):
                return part.text


class AsyncTokenStream(_AsyncGenerateStream):
    """A generation from token ids. Iterating gives new ids; `token_ids` holds all so far."""

    @property
    def token_ids(self) -> tuple[int, ...]:
        """The ids so far."""
        return tuple(self._collected.token_ids)

    async def __anext__(self) -> tuple[int, ...]:
        while True:
            part = await self._take()
            if isinstance(part, tuple):
                return part
