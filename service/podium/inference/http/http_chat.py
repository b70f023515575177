"""What the chat models behind HTTP share: the turn's loop, the cached probe, estimates of tokens."""

from __future__ import annotations

import asyncio
import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, Protocol

import orjson

from podium.errors import InvalidRequest, PodiumError, Unavailable
from podium.inference.http.client import HttpEndpoint
from podium.inference.http.http_errors import cut_short, not_understood
from podium.inference.http.sse import ServerEvent
from podium.orchestration.chat import (
    AssistantMessage,
    ChatEvent,
    ChatRequest,
    ModelInfo,
    TokenCount,
    ToolMessage,
)

__all__ = ["HttpChatModel", "Probe", "TurnReader", "decoded_event", "estimated_tokens", "estimated_tokens_of_text"]

_FRESH_SECONDS = 10.0
_FAILED_FRESH_SECONDS = 2.0
# English has about four bytes a token, other scripts fewer: a little too many is better than too few.
_BYTES_PER_TOKEN = 3.5
_TOKENS_PER_MESSAGE = 4
# Only the usage can still come; it is not worth a long wait, nor the failure of a turn that is complete.
_TAIL_SECONDS = 2.0
_END_SECONDS = 0.05


class TurnReader(Protocol):
    """Turns one turn's events into ours. Pure: it does no input or output and keeps no time."""

    @property
    def answered(self) -> bool:
        """Whether the answer is complete; only usage may still come."""
        ...

    @property
    def ended(self) -> bool:
        """Whether nothing more comes."""
        ...

    def feed(self, event: ServerEvent) -> list[ChatEvent]:
        """Take one event.

        Raises:
            PodiumError: the event is an error, or is not what the protocol says.
        """
        ...

    def finish(self) -> list[ChatEvent]:
        """Return the last events of a complete answer, `TurnFinished` at the end."""
        ...


class Probe:
    """The cached word of a server on whether a model is ready.

    Asked at most every 10 s, or 2 s while it fails; callers at the same time share one request.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._info: ModelInfo | None = None
        self._until = 0.0

    async def get(self, model: HttpChatModel) -> ModelInfo:
        """Return what is known, asking the server when that is too old."""
        async with self._lock:
            if self._info is None or time.monotonic() >= self._until:
                try:
                    self._info = await model.probe()
                except PodiumError as error:
                    self._info = model.describe(ready=False, detail=error.message)
                self._until = time.monotonic() + (_FRESH_SECONDS if self._info.ready else _FAILED_FRESH_SECONDS)
            return self._info


class HttpChatModel(ABC):
    """A chat model behind an `HttpEndpoint`. Safe for many turns at once on one event loop."""

    path: str

    def __init__(self, name: str, endpoint: HttpEndpoint) -> None:
        self.name = name
        self._endpoint = endpoint
        self._probe = Probe()
        self._samples = True

    @abstractmethod
    async def probe(self) -> ModelInfo:
        """Ask the server what the model is.

        Raises:
            PodiumError: it does not answer as it should.
        """

    @abstractmethod
    def describe(
        self, *, ready: bool, detail: str = "", context_length: int = 0, max_output_tokens: int = 0
    ) -> ModelInfo:
        """Describe the model."""

    @abstractmethod
    def body(self, request: ChatRequest) -> dict[str, Any]:
        """Return the turn as the provider wants it.

        Raises:
            InvalidRequest: the provider cannot be asked for this.
        """

    @abstractmethod
    def reader(self, request: ChatRequest) -> TurnReader:
        """Return what reads the turn's events."""

    @abstractmethod
    async def count_tokens(self, request: ChatRequest) -> TokenCount:
        """Count the tokens of the prompt that `request` would send."""

    async def aclose(self) -> None:
        """Close the connections."""
        await self._endpoint.aclose()

    async def info(self) -> ModelInfo:
        """Describe the model, with whether its server can answer now, as of some seconds ago at most."""
        return await self._probe.get(self)

    async def stream(self, request: ChatRequest) -> AsyncGenerator[ChatEvent, None]:
        """Stream one turn; see `ChatModel.stream`. Closing it early closes the connection.

        Raises:
            FailedPrecondition: the egress policy, the key or the settings do not allow it.
            NotFound: the provider does not have the model.
            DeadlineExceeded: the turn took longer than a turn may.
            InvalidRequest, ResourceExhausted, Unavailable: as for any model. `Unavailable` has a
                `retry_after` only when nothing was put out yet.
        """
        silent = True
        try:
            try:
                async with aclosing(self._turn(request)) as events:
                    async for event in events:
                        silent = False
                        yield event
            except InvalidRequest as error:
                if not silent or not self._samples or error.metadata.get("parameter") not in ("temperature", "top_p"):
                    raise
                # Some models choose by themselves how to sample and refuse to be told. Ask again, once.
                self._samples = False
                try:
                    async with aclosing(self._turn(request)) as events:
                        async for event in events:
                            silent = False
                            yield event
                except InvalidRequest:
                    self._samples = True  # it was about something else
                    raise
        except Unavailable as error:
            if not silent:
                error.retry_after = None
            raise

    async def _turn(self, request: ChatRequest) -> AsyncGenerator[ChatEvent, None]:
        reader = self.reader(request)
        headers = {"x-correlation-id": request.correlation_id}
        async with aclosing(self._endpoint.events(self.path, self.body(request), headers=headers)) as events:
            while not reader.answered:
                event = await anext(events, None)
                if event is None:
                    break
                for found in reader.feed(event):
                    yield found
            if reader.answered:
                await self._tail(reader, events)
        if not reader.answered:
            raise cut_short(self.name)
        for found in reader.finish():
            yield found

    async def _tail(self, reader: TurnReader, events: AsyncGenerator[ServerEvent, None]) -> None:
        """Read on to the usage, and to the end of the body, so that the connection can be used again.

        The answer is complete: whatever goes wrong now does not spoil it.
        """
        with contextlib.suppress(PodiumError, TimeoutError):
            async with asyncio.timeout(_TAIL_SECONDS):
                while not reader.ended and (event := await anext(events, None)) is not None:
                    reader.feed(event)
            async with asyncio.timeout(_END_SECONDS):
                while await anext(events, None) is not None:
                    pass


def decoded_event(model: str, event: ServerEvent) -> dict[str, Any]:
    """Return an event's JSON object.

    Raises:
        Unavailable: it is not one.
    """
    try:
        payload = orjson.loads(event.data)
    except orjson.JSONDecodeError:
        raise not_understood(model, "something that is not JSON") from None
    if not isinstance(payload, dict):
        raise not_understood(model, "something that is not an event")
    return payload


def estimated_tokens(request: ChatRequest) -> int:
    """Estimate a prompt's tokens from its length, a little above what English takes."""
    texts: list[str | bytes] = []
    for message in request.messages:
        if isinstance(message, AssistantMessage):
            texts.append(message.text)
            for call in message.calls:
                texts += [call.tool, call.arguments_json]
        else:
            texts.append(message.content if isinstance(message, ToolMessage) else message.text)
    for tool in request.tools:
        schema = orjson.dumps(tool.input_schema, default=dict, option=orjson.OPT_NON_STR_KEYS)
        texts += [tool.name, tool.description, schema]
    texts.append(request.json_schema or "")
    return estimated_tokens_of_text(texts) + _TOKENS_PER_MESSAGE * (len(request.messages) + len(request.tools))


def estimated_tokens_of_text(texts: Sequence[str | bytes]) -> int:
    """Estimate the tokens of some texts."""
    size = sum(len(t) if isinstance(t, bytes) else len(t.encode(errors="replace")) for t in texts)
    return int(size / _BYTES_PER_TOKEN + 0.999)
