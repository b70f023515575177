"""`podium.v1.InferenceService` over the configured models."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Literal, Protocol

from podium.errors import FailedPrecondition, Unavailable
from podium.inference.engine import EngineRequest, FinishReason, TokenDelta, TokensFinished
from podium.inference.token_model import TokenModel
from podium.orchestration.chat import (
    ChatEvent,
    ChatModel,
    ChatRequest,
    ModelCatalog,
    ModelInfo,
    ReasoningDelta,
    TextDelta,
    ToolCallSealed,
    TurnFinished,
    TurnFinishReason,
    Usage,
)
from podium.rpc.caller import CallerSource
from podium.rpc.inference_messages import (
    CallIds,
    FindTool,
    chat_request,
    count_request,
    engine_request,
    finished_part,
    model_message,
)
from podium.rpc.times import duration_message
from podium.v1 import inference_pb2 as pb
from podium.v1.inference_pb2_grpc import InferenceServiceServicer

__all__ = ["InferenceServicer", "TurnReporter"]

_REASONS = {FinishReason.STOP: TurnFinishReason.STOP, FinishReason.LENGTH: TurnFinishReason.LENGTH}


class TurnReporter(Protocol):
    """Is told of every model turn that has ended; `ModelMetrics` is one."""

    def finished(
        self,
        model: str,
        outcome: Literal["ok", "failed", "cancelled"],
        *,
        seconds: float,
        prompt_tokens: int = 0,
        completion_tokens: int = 0,
        cached_tokens: int = 0,
    ) -> None:
        """Take note of one turn."""
        ...


class InferenceServicer(InferenceServiceServicer):
    """Gives direct access to models; see the proto for what each method promises.

    Args:
        models: the configured models.
        caller: who makes the call at hand.
        find_tool: returns the server's own tools by name, for `tool_names`.
        token_model: returns what takes token ids for the model of a name, or None.
        turns: told of every turn that has ended.
    """

    def __init__(
        self,
        models: ModelCatalog,
        caller: CallerSource,
        *,
        find_tool: FindTool = lambda _name: None,
        token_model: Callable[[str], TokenModel | None] = lambda _name: None,
        turns: TurnReporter | None = None,
    ) -> None:
        self._models = models
        self._caller = caller
        self._find_tool = find_tool
        self._token_model = token_model
        self._turns = turns

    async def Generate(self, request: pb.GenerateRequest, context: object) -> AsyncIterator[pb.GenerateResponse]:
        """Stream one answer."""
        turn = _Turn(self._allowed().get(request.model).name)
        parts = self._from_tokens(request, turn) if request.token_ids else self._from_messages(request, turn)
        async with aclosing(parts) as stream:  # type: ignore[type-var]
            async for part in stream:
                yield part

    async def CountTokens(self, request: pb.CountTokensRequest, context: object) -> pb.CountTokensResponse:
        """Count the tokens of a prompt."""
        model = self._allowed().get(request.model)
        counted = await model.count_tokens(count_request(request, self._find_tool, self._caller().submitter))
        info = await model.info()
        return pb.CountTokensResponse(
            tokens=counted.tokens, exact=counted.exact, context_length=info.context_length, model=model.name
        )

    async def ListModels(self, request: pb.ListModelsRequest, context: object) -> pb.ListModelsResponse:
        """Return the models, by name."""
        # At once: a model that is elsewhere may take a while to say how it is.
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(model.info()) for model in self._allowed().list()]
        default = self._models.get("").name
        return pb.ListModelsResponse(models=[self._listed(task.result(), default) for task in asked])

    def _allowed(self) -> ModelCatalog:
        """The models that the caller at hand may name."""
        return self._models.for_tenant(self._caller().submitter.tenant)

    def _listed(self, info: ModelInfo, default: str) -> pb.Model:
        token_input = self._token_model(info.name) is not None
        return model_message(info, default=info.name == default, token_input=token_input)

    async def _from_messages(self, request: pb.GenerateRequest, turn: _Turn) -> AsyncIterator[pb.GenerateResponse]:
        model: ChatModel = self._models.get(request.model)
        asked: ChatRequest = chat_request(request, self._find_tool, self._caller().submitter)
        ids = CallIds(asked)
        with self._reported(turn):
            async with aclosing(model.stream(asked)) as events:  # type: ignore[type-var]
                async for event in events:
                    yield _part(event, turn, ids)

    async def _from_tokens(self, request: pb.GenerateRequest, turn: _Turn) -> AsyncIterator[pb.GenerateResponse]:
        model = self._token_model(turn.model)
        if model is None:
            raise FailedPrecondition(
                f"model {turn.model!r} does not take token ids; send messages, or choose a model that ListModels "
                "shows with token_input"
            )
        info = await self._models.get(request.model).info()
        asked: EngineRequest = engine_request(request, info.context_length, self._caller().submitter)
        with self._reported(turn):
            async with aclosing(model.generate_tokens(asked)) as items:  # type: ignore[type-var]
                async for item in items:
                    if isinstance(item, TokenDelta):
                        turn.output()
                        yield pb.GenerateResponse(tokens=pb.GeneratedTokens(ids=item.token_ids))
                    else:
                        yield turn.finished(_turn_end(item))

    @contextmanager
    def _reported(self, turn: _Turn) -> Iterator[None]:
        """Report the turn when it has ended, however it did."""
        outcome: Literal["ok", "failed", "cancelled"] = "failed"
        try:
            yield
            if turn.end is None:
                raise Unavailable(f"model {turn.model!r} broke off its answer; try again", retry_after=1.0)
        except (asyncio.CancelledError, GeneratorExit):
            outcome = "cancelled"
            raise
        finally:
            if self._turns is not None:
                used = turn.end.usage if turn.end else Usage()
                self._turns.finished(
                    turn.model,
                    "ok" if turn.end else outcome,
                    seconds=turn.seconds(),
                    prompt_tokens=used.prompt_tokens,
                    completion_tokens=used.completion_tokens,
                    cached_tokens=used.cached_tokens,
                )


class _Turn:
    """One generation: which model, its clock, and how it ended."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.end: TurnFinished | None = None
        self._now = asyncio.get_running_loop().time
        self._arrival = self._now()
        self._first_output: float | None = None
        self._first_text: float | None = None

    def seconds(self) -> float:
        """Return the time since the request arrived."""
        return self._now() - self._arrival

    def output(self, *, text: bool = False) -> None:
        """Take note of some output."""
        if self._first_output is None:
            self._first_output = self.seconds()
        if text and self._first_text is None:
            self._first_text = self.seconds()

    def finished(self, event: TurnFinished) -> pb.GenerateResponse:
        """End the turn and return its last part."""
        self.end = event
        self.model = event.model or self.model
        return finished_part(
            event.reason,
            event.usage,
            self._timings(event.usage.completion_tokens),
            model=self.model,
            attempts=event.attempts,
        )

    def _timings(self, tokens: int) -> pb.GenerateTimings:
        total = self.seconds()
        timings = pb.GenerateTimings(total=duration_message(total))
        if self._first_text is not None:
            timings.first_text.CopyFrom(duration_message(self._first_text))
        if self._first_output is not None:
            timings.first_output.CopyFrom(duration_message(self._first_output))
            if tokens > 1:
                timings.per_token.CopyFrom(duration_message((total - self._first_output) / (tokens - 1)))
        return timings


def _part(event: ChatEvent, turn: _Turn, ids: CallIds) -> pb.GenerateResponse:
    match event:
        case TextDelta(text):
            turn.output(text=True)
            return pb.GenerateResponse(text=text)
        case ReasoningDelta(text):
            turn.output()
            return pb.GenerateResponse(reasoning=text)
        case ToolCallSealed():
            turn.output()
            return pb.GenerateResponse(tool_call=ids.message(event))
        case TurnFinished():
            return turn.finished(event)


def _turn_end(item: TokensFinished) -> TurnFinished:
    reason = _REASONS.get(item.reason)
    if reason is None:
        raise Unavailable(f"the model stopped early ({item.reason}); try again", retry_after=1.0)
    return TurnFinished(reason, Usage(item.prompt_tokens, item.completion_tokens, item.cached_tokens))
