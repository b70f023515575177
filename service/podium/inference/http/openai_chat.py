"""Chat models behind servers that speak the Chat Completions API."""

from __future__ import annotations

from typing import Any

from podium.errors import PodiumError
from podium.inference.http.client import HttpEndpoint
from podium.inference.http.http_chat import HttpChatModel, estimated_tokens
from podium.inference.http.http_errors import not_understood
from podium.inference.http.openai_quirks import QUIRKS, Vendor
from podium.inference.http.openai_stream import ChatCompletionReader
from podium.inference.http.openai_wire import chat_body, chat_messages, chat_tools
from podium.orchestration.chat import ChatRequest, ModelInfo, TokenCount

__all__ = ["OpenAIChatModel"]

_CONTEXT_FIELDS = ("max_model_len", "context_length", "max_context_length", "context_window")


class OpenAIChatModel(HttpChatModel):
    """A `ChatModel` over `/chat/completions`: trtllm-serve, vLLM, Ollama, LM Studio, OpenAI and others.

    Args:
        name: of the model in Podium.
        model: the server's name of it.
        endpoint: the server; its base URL ends in `/v1`, or whatever stands before `/chat/completions`.
        vendor: which server it is.
        context_length: in tokens, where the server does not tell; 0 when unknown.
        max_output_tokens: of one turn; 0 for the server's own limit.
        reasoning: whether it is known to reason before it answers.
    """

    path = "/chat/completions"

    def __init__(
        self,
        name: str,
        model: str,
        endpoint: HttpEndpoint,
        *,
        vendor: Vendor = Vendor.GENERIC,
        context_length: int = 0,
        max_output_tokens: int = 0,
        reasoning: bool = False,
    ) -> None:
        super().__init__(name, endpoint)
        self._model = model
        self._quirks = QUIRKS[vendor]
        self._context_length = context_length
        self._max_output_tokens = max_output_tokens
        self._reasoning = reasoning

    def body(self, request: ChatRequest) -> dict[str, Any]:
        """Return the turn as the server wants it; see `HttpChatModel.body`."""
        body = chat_body(request, model=self._model, quirks=self._quirks, sampling=self._samples)
        if self._max_output_tokens:
            body.setdefault(self._quirks.max_tokens, self._max_output_tokens)
        return body

    def reader(self, request: ChatRequest) -> ChatCompletionReader:
        """Return what reads the turn's events."""
        most = self._endpoint.limits.event_bytes
        return ChatCompletionReader(self._endpoint.upstream, self._quirks, request, most_call_bytes=most)

    async def list_models(self) -> list[str]:
        """Return the server's names of its models.

        Raises:
            PodiumError: the server does not answer as it should.
        """
        return sorted(await self._listed())

    async def probe(self) -> ModelInfo:
        """Ask the server for its models; see `HttpChatModel.probe`."""
        listed = await self._listed()
        entry = listed.get(self._model) or listed.get(f"{self._model}:latest")
        if entry is None and self._quirks.lists_models:
            some = ", ".join(sorted(listed)[:5]) or "none"
            return self.describe(ready=False, detail=f"the server has no model {self._model!r}; it has: {some}")
        lengths = [v for f in _CONTEXT_FIELDS if isinstance(v := (entry or {}).get(f), int) and v > 0]
        return self.describe(ready=True, context_length=lengths[0] if lengths else 0)

    def describe(
        self, *, ready: bool, detail: str = "", context_length: int = 0, max_output_tokens: int = 0
    ) -> ModelInfo:
        """Describe the model; see `HttpChatModel.describe`."""
        return ModelInfo(
            name=self.name,
            kind="openai",
            ready=ready,
            detail=detail,
            context_length=self._context_length or context_length,
            json_schema=True,
            reasoning=self._reasoning,
            remote=self._endpoint.remote,
            max_output_tokens=self._max_output_tokens or max_output_tokens,
        )

    async def count_tokens(self, request: ChatRequest) -> TokenCount:
        """Count a prompt's tokens: exactly where the server has an endpoint for it, else by length.

        The estimate takes 3.5 bytes for a token, a little more than English needs.

        Raises:
            InvalidRequest: the server cannot render the messages.
        """
        if not self._quirks.tokenize:
            return TokenCount(estimated_tokens(request), exact=False)
        body: dict[str, Any] = {
            "model": self._model,
            "messages": chat_messages(request.messages, self._quirks),
            "add_generation_prompt": True,
        }
        if request.tools:
            body["tools"] = chat_tools(request.tools)
        answer = await self._endpoint.call("POST", self._quirks.tokenize, body, outside=True)
        count = answer.get("count") if isinstance(answer, dict) else None
        if not isinstance(count, int) or count < 0:
            raise not_understood(self.name, "no count of tokens")
        return TokenCount(count, exact=True)

    async def _listed(self) -> dict[str, dict[str, Any]]:
        try:
            answer = await self._endpoint.call("GET", "/models")
        except PodiumError as error:
            if error.reason == "NOT_FOUND" and not self._quirks.lists_models:
                return {}  # not every server lists its models; turns will tell
            raise
        data = answer.get("data") if isinstance(answer, dict) else None
        if data is not None and not isinstance(data, list):
            raise not_understood(self.name, "no list of models")
        return {str(entry["id"]): entry for entry in data or () if isinstance(entry, dict) and "id" in entry}
