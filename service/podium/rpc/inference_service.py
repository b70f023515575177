"""`podium.v1.InferenceService` over the configured models."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

from podium.orchestration.chat import (
    AssistantMessage,
    ChatModel,
    ChatRequest,
    Message,
    ModelCatalog,
    ModelInfo,
    SystemMessage,
    TextDelta,
    TurnFinished,
    UserMessage,
)
from podium.rpc.caller import CallerSource
from podium.rpc.run_messages import FINISH_REASONS, usage_message
from podium.rpc.times import duration_message
from podium.v1 import inference_pb2 as pb
from podium.v1.inference_pb2_grpc import InferenceServiceServicer

__all__ = ["InferenceServicer"]

_MESSAGES: dict[int, type[SystemMessage | UserMessage | AssistantMessage]] = {
    pb.CHAT_ROLE_SYSTEM: SystemMessage,
    pb.CHAT_ROLE_USER: UserMessage,
    pb.CHAT_ROLE_ASSISTANT: AssistantMessage,
}


class InferenceServicer(InferenceServiceServicer):
    """Gives direct access to models; see the proto for what each method promises."""

    def __init__(self, models: ModelCatalog, caller: CallerSource) -> None:
        self._models = models
        self._caller = caller

    async def Generate(self, request: pb.GenerateRequest, context: object) -> AsyncIterator[pb.GenerateResponse]:
        """Stream one answer."""
        model = self._models.get(request.model)
        loop = asyncio.get_running_loop()
        arrival = loop.time()
        first_text: float | None = None
        async with aclosing(model.stream(self._chat_request(request))) as events:  # type: ignore[type-var]
            async for event in events:
                if isinstance(event, TextDelta):
                    if first_text is None:
                        first_text = loop.time() - arrival
                    yield pb.GenerateResponse(text=event.text)
                elif isinstance(event, TurnFinished):
                    yield _finished(event, model, first_text, loop.time() - arrival)

    async def ListModels(self, request: pb.ListModelsRequest, context: object) -> pb.ListModelsResponse:
        """Return the models, by name."""
        infos = [await model.info() for model in self._models.list()]
        default = self._models.get("").name
        return pb.ListModelsResponse(models=[_model_message(info, default) for info in infos])

    def _chat_request(self, request: pb.GenerateRequest) -> ChatRequest:
        sampling = request.sampling
        messages: list[Message] = [_MESSAGES[message.role](message.text) for message in request.messages]
        return ChatRequest(
            messages=messages,
            max_tokens=request.max_tokens or None,
            temperature=sampling.temperature,
            top_p=sampling.top_p or None,
            seed=sampling.seed if sampling.HasField("seed") else None,
            stop=tuple(request.stop),
            json_schema=request.json_schema or None,
            correlation_id=self._caller().submitter.correlation_id,
        )


def _finished(event: TurnFinished, model: ChatModel, first_text: float | None, total: float) -> pb.GenerateResponse:
    timings = pb.GenerateTimings(
        first_text=None if first_text is None else duration_message(first_text), total=duration_message(total)
    )
    return pb.GenerateResponse(
        finished=pb.GenerateFinished(
            finish_reason=FINISH_REASONS[event.reason],
            usage=usage_message(event.usage),
            timings=timings,
            model=model.name,
        )
    )


def _model_message(info: ModelInfo, default: str) -> pb.Model:
    return pb.Model(
        name=info.name,
        kind=info.kind,
        ready=info.ready,
        detail=info.detail,
        context_length=info.context_length,
        tools=info.tools,
        json_schema=info.json_schema,
        default=info.name == default,
    )
