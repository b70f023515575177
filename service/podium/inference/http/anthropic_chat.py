"""Chat models behind Anthropic's Messages API."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from podium.inference.http.anthropic_stream import MessageReader
from podium.inference.http.anthropic_wire import prompt_body, turn_body
from podium.inference.http.client import HttpEndpoint
from podium.inference.http.http_chat import HttpChatModel
from podium.inference.http.http_errors import not_understood
from podium.orchestration.chat import ChatRequest, ModelInfo, TokenCount

__all__ = ["AnthropicChatModel", "anthropic_endpoint"]

_MOST_THOUGHTS = 512


class AnthropicChatModel(HttpChatModel):
    """A `ChatModel` over `/v1/messages`.

    Thinking that led to calls has to be sent back with their results. It is kept here, for the last few
    hundred turns; another process that takes a run over goes on without it.

    Args:
        name: of the model in Podium.
        model: the provider's name of it.
        endpoint: the provider, made by `anthropic_endpoint`.
        max_output_tokens: of a turn that asks for no limit of its own; the API wants one.
        context_length: in tokens, where the provider does not tell; 0 when unknown.
        thinking: the API's `thinking` object, such as `{"type": "adaptive"}`; None leaves it off.
    """

    path = "/v1/messages"

    def __init__(
        self,
        name: str,
        model: str,
        endpoint: HttpEndpoint,
        *,
        max_output_tokens: int = 8192,
        context_length: int = 0,
        thinking: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(name, endpoint)
        self._model = model
        self._max_output_tokens = max_output_tokens
        self._context_length = context_length
        self._thinking = dict(thinking) if thinking is not None else None
        self._thoughts: OrderedDict[str, Sequence[dict[str, Any]]] = OrderedDict()

    def body(self, request: ChatRequest) -> dict[str, Any]:
        """Return the turn as the provider wants it; see `HttpChatModel.body`."""
        return turn_body(
            request,
            model=self._model,
            max_tokens=self._max_output_tokens,
            thinking=self._thinking,
            thoughts=self._thought,
            sampling=self._samples,
        )

    def reader(self, request: ChatRequest) -> MessageReader:  # noqa: ARG002 - others need the request
        """Return what reads the turn's events."""
        most = self._endpoint.limits.event_bytes
        return MessageReader(self._endpoint.upstream, most_call_bytes=most, keep_thoughts=self._keep)

    async def probe(self) -> ModelInfo:
        """Ask the provider for the model; see `HttpChatModel.probe`."""
        found = await self._endpoint.call("GET", f"/v1/models/{self._model}")
        if not isinstance(found, dict):
            raise not_understood(self.name, "no description of the model")
        length = found.get("max_input_tokens")
        return self.describe(ready=True, context_length=length if isinstance(length, int) else 0)

    def describe(
        self, *, ready: bool, detail: str = "", context_length: int = 0, max_output_tokens: int = 0
    ) -> ModelInfo:
        """Describe the model; see `HttpChatModel.describe`."""
        return ModelInfo(
            name=self.name,
            kind="anthropic",
            ready=ready,
            detail=detail,
            context_length=self._context_length or context_length,
            json_schema=True,
            reasoning=self._thinking is not None,
            remote=self._endpoint.remote,
            max_output_tokens=max_output_tokens or self._max_output_tokens,
        )

    async def count_tokens(self, request: ChatRequest) -> TokenCount:
        """Count a prompt's tokens, exactly, at the provider.

        Raises:
            InvalidRequest: the provider cannot take the messages.
            Unavailable: it does not answer just now.
        """
        body = prompt_body(request, model=self._model, thinking=self._thinking, thoughts=self._thought)
        answer = await self._endpoint.call("POST", "/v1/messages/count_tokens", body)
        count = answer.get("input_tokens") if isinstance(answer, dict) else None
        if not isinstance(count, int) or count < 0:
            raise not_understood(self.name, "no count of tokens")
        return TokenCount(count, exact=True)

    def _keep(self, call_id: str, blocks: Sequence[dict[str, Any]]) -> None:
        self._thoughts[call_id] = blocks
        if len(self._thoughts) > _MOST_THOUGHTS:
            self._thoughts.popitem(last=False)

    def _thought(self, call_id: str) -> Sequence[dict[str, Any]]:
        return self._thoughts.get(call_id, ())


def anthropic_endpoint(model: str, base_url: str = "https://api.anthropic.com", **options: Any) -> HttpEndpoint:
    """Return an endpoint with the headers that the API wants.

    Args:
        model: name of the model in Podium, for messages.
        base_url: what stands before `/v1`.
        options: of `HttpEndpoint`.
    """
    headers = {"anthropic-version": "2023-06-01"}
    return HttpEndpoint(model, base_url, key_header="x-api-key", key_prefix="", headers=headers, **options)
