"""The client for threads and scripts. Its twin for asyncio is `_async.py`; they share only pure helpers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Literal, Self

import grpc

from podium.v1 import (
    clarification_pb2_grpc,
    health_pb2,
    health_pb2_grpc,
    inference_pb2,
    inference_pb2_grpc,
    orchestrator_pb2_grpc,
    tool_pb2,
    tool_pb2_grpc,
)
from podium_client import _requests
from podium_client._channel import DEFAULT_ADDRESS, DEFAULT_TIMEOUT, Endpoint, Tls
from podium_client._sync_runs import RunCalls, unary
from podium_client._sync_streams import TextStream, TokenStream
from podium_client.calls import ToolCall
from podium_client.catalog import ModelInfo, ToolInfo
from podium_client.generation import ChatResult, Message, TokenCount, ToolDefinition
from podium_client.health import HealthReport


class Podium(RunCalls):
    """A connection to a Podium server, for use from any number of threads. Make it with `connect`.

    Every method takes `deadline` (seconds from now, or a timedelta; the connection's `timeout`
    otherwise) and `correlation_id`, and raises a `PodiumError`.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        options = endpoint.options()
        if endpoint.tls is None:
            self._channel = grpc.insecure_channel(endpoint.address, options=options)
        else:
            self._channel = grpc.secure_channel(endpoint.address, endpoint.tls.credentials(), options=options)
        self._orchestrator = orchestrator_pb2_grpc.OrchestratorServiceStub(self._channel)
        self._clarifications = clarification_pb2_grpc.ClarificationServiceStub(self._channel)
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

    def close(self) -> None:
        """Cancel what is in progress and close the connection."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def generate(
        self,
        prompt: str | Sequence[Message],
        *,
        model: str | None = None,
        tools: Iterable[ToolDefinition | str] = (),
        tool_choice: Literal["auto", "none", "required"] | None = None,
        max_tokens: int | None = None,
        temperature: float = 0.0,
        top_p: float | None = None,
        seed: int | None = None,
        json_schema: Mapping[str, Any] | str | None = None,
        stop: Iterable[str] = (),
        deadline: float | timedelta | None = None,
        correlation_id: str | None = None,
    ) -> TextStream:
        """Stream one turn of a model, without planning. Calls that it asks for are not run.

        Use it as `with podium.generate(...) as texts: for text in texts: ...`, or
        `for part in texts.parts()` for reasoning and calls as they come. Leaving the block early
        stops the generation; `texts.finished` is set at the end.

        Args:
            prompt: what the user says, or a whole conversation.
            model: name or alias; the server's default otherwise.
            tools: what the model may ask for: `ToolDefinition`s of your own, names of the server's.
            tool_choice: whether it may, must not or must ask for calls; `auto` otherwise.
            max_tokens: most tokens to write; the model's own limit otherwise.
            temperature: 0 always takes the likeliest token; up to 2.
            top_p: only the likeliest tokens that together have this probability.
            seed: makes sampling repeatable where the model can.
            json_schema: what the answer must follow.
            stop: texts that end the answer and are not part of it.
            deadline: seconds for the whole generation.
            correlation_id: found again in the server's logs.
        """
        request = _requests.generate_request(
            prompt,
            model=model,
            tools=tools,
            tool_choice=tool_choice,
            max_tokens=max_tokens,
            temperature=temperature,
            top_p=top_p,
            seed=seed,
            json_schema=json_schema,
            stop=stop,
        )
        return TextStream(self._inference.Generate, request, self._endpoint.call(deadline, correlation_id))

    def chat(
        self,
        prompt: str | Sequence[Message],
        *,
        model: str | None = None,
        tools: Iterable[ToolDefinition | str] = (),
        tool_choice: Literal["auto", "none", "required"] | None = None,
        max_tokens: int | None = None,
        temperature: float = 0.0,
        top_p: float | None = None,
        seed: int | None = None,
        json_schema: Mapping[str, Any] | str | None = None,
        stop: Iterable[str] = (),
        deadline: float | timedelta | None = None,
        correlation_id: str | None = None,
    ) -> ChatResult:
        """Return one whole turn of a model: text, reasoning, calls; arguments as for `generate`."""
        stream = self.generate(
            prompt,
            model=model,
            tools=tools,
            tool_choice=tool_choice,
            max_tokens=max_tokens,
            temperature=temperature,
            top_p=top_p,
            seed=seed,
            json_schema=json_schema,
            stop=stop,
            deadline=deadline,
            correlation_id=correlation_id,
        )
        with stream as texts:
            for _ in texts:
                continue
        return stream.result()

    def generate_tokens(
        self,
        token_ids: Sequence[int],
        *,
        model: str | None = None,
        max_tokens: int | None = None,
        temperature: float = 0.0,
        top_p: float | None = None,
        seed: int | None = None,
        json_schema: Mapping[str, Any] | str | None = None,
        stop_token_ids: Iterable[int] = (),
        deadline: float | timedelta | None = None,
        correlation_id: str | None = None,
    ) -> TokenStream:
        """Stream a generation from token ids, as token ids; for models with `token_input`.

        Use it as `with podium.generate_tokens(...) as deltas: for ids in deltas: ...`.
        No template is applied. Arguments as for `generate`, but for:

        Args:
            token_ids: the prompt, in the model's own vocabulary.
            stop_token_ids: ids that end the answer and are not part of it.
        """
        request = _requests.tokens_request(
            token_ids,
            model=model,
            max_tokens=max_tokens,
            temperature=temperature,
            top_p=top_p,
            seed=seed,
            json_schema=json_schema,
            stop_token_ids=stop_token_ids,
        )
        return TokenStream(self._inference.Generate, request, self._endpoint.call(deadline, correlation_id))

    def count_tokens(
        self,
        prompt: str | Sequence[Message],
        *,
        model: str | None = None,
        tools: Iterable[ToolDefinition | str] = (),
        deadline: float | timedelta | None = None,
        correlation_id: str | None = None,
    ) -> TokenCount:
        """Return how many tokens a prompt has for a model, with its template and tools."""
        options = self._endpoint.call(deadline, correlation_id)
        request = _requests.count_request(prompt, model=model, tools=tools)
        return TokenCount.of(unary(self._inference.CountTokens, request, options))

    def list_tools(
        self, *, deadline: float | timedelta | None = None, correlation_id: str | None = None
    ) -> tuple[ToolInfo, ...]:
        """Return all tools that the caller may use, by name."""
        options = self._endpoint.call(deadline, correlation_id)
        tools: list[ToolInfo] = []
        request = tool_pb2.ListToolsRequest()
        while True:
            page = unary(self._tools.ListTools, request, options)
            tools.extend(ToolInfo.of(tool) for tool in page.tools)
            if not page.next_page_token:
                return tuple(tools)
            request = tool_pb2.ListToolsRequest(page_token=page.next_page_token)

    def get_tool(
        self, name: str, *, deadline: float | timedelta | None = None, correlation_id: str | None = None
    ) -> ToolInfo:
        """Return one tool."""
        options = self._endpoint.call(deadline, correlation_id)
        return ToolInfo.of((unary(self._tools.GetTool, tool_pb2.GetToolRequest(name=name), options)).tool)

    def invoke_tool(
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
        response = unary(self._tools.InvokeTool, request, options)
        return ToolCall.of(response.call, correlation_id=options.correlation_id)

    def list_models(
        self, *, deadline: float | timedelta | None = None, correlation_id: str | None = None
    ) -> tuple[ModelInfo, ...]:
        """Return the configured models, by name."""
        options = self._endpoint.call(deadline, correlation_id)
        response = unary(self._inference.ListModels, inference_pb2.ListModelsRequest(), options)
        return tuple(ModelInfo.of(model) for model in response.models)

    def health(self, *, deadline: float | timedelta | None = None, correlation_id: str | None = None) -> HealthReport:
        """Return how the server and everything it depends on is."""
        options = self._endpoint.call(deadline, correlation_id)
        return HealthReport.of(unary(self._health.Check, health_pb2.CheckRequest(), options))
