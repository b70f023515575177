"""The client for asyncio. Its twin for threads is `_sync.py`; they share only pure helpers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, cast

from grpc import aio

from podium.v1 import (
    health_pb2,
    health_pb2_grpc,
    inference_pb2,
    inference_pb2_grpc,
    orchestrator_pb2,
    orchestrator_pb2_grpc,
    tool_pb2,
    tool_pb2_grpc,
)
from podium_client import _requests
from podium_client._channel import DEFAULT_ADDRESS, DEFAULT_TIMEOUT, CallOptions, Endpoint, Tls
from podium_client._status import typed_error
from podium_client.catalog import ModelInfo, ToolInfo
from podium_client.events import RunEvent, RunFinished, event_of
from podium_client.generation import Generation, Message
from podium_client.health import HealthReport
from podium_client.runs import RunLimits, RunPage, RunResult, RunState, ToolCall

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")


class AsyncPodium:
    """A connection to a Podium server. Make it with `connect` inside a running event loop.

    Every method takes `deadline` (seconds from now, or a timedelta; the connection's `timeout`
    otherwise) and `correlation_id`, and raises a `PodiumError`. Cancelling the awaiting task cancels
    the call on the server.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        options = endpoint.options()
        if endpoint.tls is None:
            self._channel = aio.insecure_channel(endpoint.address, options=options)
        else:
            self._channel = aio.secure_channel(endpoint.address, endpoint.tls.credentials(), options=options)
        self._orchestrator = orchestrator_pb2_grpc.OrchestratorServiceStub(self._channel)
        self._inference = inference_pb2_grpc.InferenceServiceStub(self._channel)
        self._tools = tool_pb2_grpc.ToolServiceStub(self._channel)
        self._health = health_pb2_grpc.HealthServiceStub(self._channel)

    @classmethod
    def connect(
        cls,
        address: str = DEFAULT_ADDRESS,
        *,
        api_key: str | None = None,
        tls: Tls | bool | None = None,
        timeout: float | timedelta = DEFAULT_TIMEOUT,
        wait_for_ready: bool = False,
    ) -> Self:
        """Return a connection; nothing is sent before the first call.

        Args:
            address: `HOST:PORT`, `unix:PATH`, or any gRPC target.
            api_key: sent with every call. Over a network, use it with `tls`.
            tls: None or False for none, True for the well-known roots, or a `Tls`.
            timeout: the deadline of calls that name none, in seconds.
            wait_for_ready: let calls wait (within their deadline) for a server that cannot be
                reached, instead of failing at once.
        """
        return cls(Endpoint.of(address, api_key, tls, timeout, wait_for_ready))

    async def close(self) -> None:
        """Cancel what is in progress and close the connection."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def run(
        self,
        input: str,  # noqa: A002  the contract's name
        *,
        model: str | None = None,
        tools: Iterable[str] = (),
        request_id: str | None = None,
        limits: RunLimits | None = None,
        labels: Mapping[str, str] | None = None,
        deadline: float | timedelta | None = None,
        correlation_id: str | None = None,
    ) -> RunResult:
        """Run a request to its end and return the run. A run that fails is returned too.

        Args:
            input: the request in plain language.
            model: name or alias; the server's default otherwise.
            tools: names of the tools that may be used; all that the caller may use otherwise.
            request_id: the same id with the same request is the same run, however often it is sent.
                Minted when not given, so that a lost connection can be retried safely.
            limits: bounds of this run, within the server's own.
            labels: free marks, kept with the run.
            deadline: seconds for the whole run.
            correlation_id: found again in the server's logs and on the result.
        """
        spec = _requests.run_spec(input, model=model, tools=tools, request_id=request_id, limits=limits, labels=labels)
        options = self._endpoint.call(deadline, correlation_id)
        request = orchestrator_pb2.ExecuteRequest(spec=spec)
        response = await _unary(self._orchestrator.Execute, request, options)
        return RunResult.of(response.run, correlation_id=options.correlation_id)

    def stream(
        self,
        input: str,  # noqa: A002  the contract's name
        *,
        model: str | None = None,
        tools: Iterable[str] = (),
        request_id: str | None = None,
        limits: RunLimits | None = None,
        labels: Mapping[str, str] | None = None,
        deadline: float | timedelta | None = None,
        correlation_id: str | None = None,
    ) -> AsyncRunStream:
        """Run a request and stream its events; arguments as for `run`.

        Use it as `async with podium.stream(...) as events: async for event in events: ...`. Leaving
        the block before the run has ended cancels the run.
        """
        spec = _requests.run_spec(input, model=model, tools=tools, request_id=request_id, limits=limits, labels=labels)
        request = orchestrator_pb2.ExecuteStreamRequest(spec=spec)
        return AsyncRunStream(self._orchestrator.ExecuteStream, request, self._endpoint.call(deadline, correlation_id))

    def generate(
        self,
        prompt: str | Sequence[Message],
        *,
        model: str | None = None,
        max_tokens: int | None = None,
        temperature: float = 0.0,
        top_p: float | None = None,
        seed: int | None = None,
        json_schema: Mapping[str, Any] | str | None = None,
        stop: Iterable[str] = (),
        deadline: float | timedelta | None = None,
        correlation_id: str | None = None,
    ) -> AsyncTextStream:
        """Stream a model's answer, without tools or planning.

        Use it as `async with podium.generate(...) as texts: async for text in texts: ...`. Leaving
        the block early stops the generation; `texts.finished` is set at the end.
        """
        request = _requests.generate_request(
            prompt,
            model=model,
            max_tokens=max_tokens,
            temperature=temperature,
            top_p=top_p,
            seed=seed,
            json_schema=json_schema,
            stop=stop,
        )
        return AsyncTextStream(self._inference.Generate, request, self._endpoint.call(deadline, correlation_id))

    async def get_run(
        self, run_id: str, *, deadline: float | timedelta | None = None, correlation_id: str | None = None
    ) -> RunResult:
        """Return one run as it stands."""
        options = self._endpoint.call(deadline, correlation_id)
        request = orchestrator_pb2.GetRunRequest(run_id=run_id)
        return RunResult.of((await _unary(self._orchestrator.GetRun, request, options)).run)

    async def list_runs(
        self,
        *,
        page_size: int | None = None,
        page_token: str = "",
        states: Iterable[RunState] = (),
        deadline: float | timedelta | None = None,
        correlation_id: str | None = None,
    ) -> RunPage:
        """Return a page of the caller's runs, newest first."""
        options = self._endpoint.call(deadline, correlation_id)
        request = _requests.list_runs_request(page_size, page_token, states)
        return RunPage.of(await _unary(self._orchestrator.ListRuns, request, options))

    async def cancel_run(
        self, run_id: str, *, deadline: float | timedelta | None = None, correlation_id: str | None = None
    ) -> RunResult:
        """Cancel a run and return it as it then stands. One that has ended is left as it is."""
        options = self._endpoint.call(deadline, correlation_id)
        request = orchestrator_pb2.CancelRunRequest(run_id=run_id)
        return RunResult.of((await _unary(self._orchestrator.CancelRun, request, options)).run)

    async def list_tools(
        self, *, deadline: float | timedelta | None = None, correlation_id: str | None = None
    ) -> tuple[ToolInfo, ...]:
        """Return all tools that the caller may use, by name."""
        options = self._endpoint.call(deadline, correlation_id)
        tools: list[ToolInfo] = []
        request = tool_pb2.ListToolsRequest()
        while True:
            page = await _unary(self._tools.ListTools, request, options)
            tools.extend(ToolInfo.of(tool) for tool in page.tools)
            if not page.next_page_token:
                return tuple(tools)
            request = tool_pb2.ListToolsRequest(page_token=page.next_page_token)

    async def get_tool(
        self, name: str, *, deadline: float | timedelta | None = None, correlation_id: str | None = None
    ) -> ToolInfo:
        """Return one tool."""
        options = self._endpoint.call(deadline, correlation_id)
        return ToolInfo.of((await _unary(self._tools.GetTool, tool_pb2.GetToolRequest(name=name), options)).tool)

    async def invoke_tool(
        self,
        name: str,
        arguments: Mapping[str, Any] | bytes | None = None,
        *,
        deadline: float | timedelta | None = None,
        correlation_id: str | None = None,
    ) -> ToolCall:
        """Run one call of one tool. A call that fails is returned too; it is never retried."""
        options = self._endpoint.call(deadline, correlation_id)
        request = _requests.invoke_request(name, arguments)
        response = await _unary(self._tools.InvokeTool, request, options)
        return ToolCall.of(response.call, correlation_id=options.correlation_id)

    async def list_models(
        self, *, deadline: float | timedelta | None = None, correlation_id: str | None = None
    ) -> tuple[ModelInfo, ...]:
        """Return the configured models, by name."""
        options = self._endpoint.call(deadline, correlation_id)
        response = await _unary(self._inference.ListModels, inference_pb2.ListModelsRequest(), options)
        return tuple(ModelInfo.of(model) for model in response.models)

    async def health(
        self, *, deadline: float | timedelta | None = None, correlation_id: str | None = None
    ) -> HealthReport:
        """Return how the server and everything it depends on is."""
        options = self._endpoint.call(deadline, correlation_id)
        return HealthReport.of(await _unary(self._health.Check, health_pb2.CheckRequest(), options))


async def _unary(
    method: aio.UnaryUnaryMultiCallable[_Request, _Response], request: _Request, options: CallOptions
) -> _Response:
    call = method(request, timeout=options.timeout, metadata=options.metadata, wait_for_ready=options.wait_for_ready)
    try:
        return await call
    except aio.AioRpcError as error:
        raise typed_error(error, sent_correlation_id=options.correlation_id) from error


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


class AsyncRunStream(_AsyncStream[orchestrator_pb2.ExecuteStreamRequest, orchestrator_pb2.ExecuteStreamResponse]):
    """The events of a run. `run_id` is known from the first event on, `finished` after the last."""

    run_id: str = ""
    finished: RunFinished | None = None

    async def __anext__(self) -> RunEvent:
        while True:
            event = event_of((await self._next()).event)
            if event is None:
                continue
            self.run_id = event.run_id
            if isinstance(event, RunFinished):
                self.finished = event
            return event


class AsyncTextStream(_AsyncStream[inference_pb2.GenerateRequest, inference_pb2.GenerateResponse]):
    """The text of a generation, piece by piece. `finished` is set after the last piece."""

    finished: Generation | None = None

    async def __anext__(self) -> str:
        while True:
            part = await self._next()
            match part.WhichOneof("part"):
                case "text":
                    return part.text
                case "finished":
                    self.finished = Generation.of(part.finished)
                case _:  # a kind of part that came after this client
                    continue
