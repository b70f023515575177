"""`GuidedChatModel`: a chat model that plans tool calls with a model too small to plan by itself.

Retrieval and typed spans do what can be done exactly; the model decides what they leave open,
under a guide; its wording of results is checked and otherwise replaced by a plain rendering.
"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from podium.errors import InvalidRequest, ResourceExhausted, Unavailable
from podium.inference.engine import Engine, FinishReason, Guide, GuideKind, Sampling
from podium.inference.guided.answer import last_request, results_of, simple, truthful
from podium.inference.guided.filling import accepted_arguments, parse_answer, question_for, settled
from podium.inference.guided.judging import verdict_question
from podium.inference.guided.planner import Plan, PlannedCall, plan_request
from podium.inference.guided.rendering import ResultView, joined, render
from podium.inference.guided.toolset import ToolMatcher, ToolSet
from podium.inference.guided.vectors import WordVectors
from podium.inference.guided.wording import same_fact, wordable, wording_messages
from podium.inference.guided.writing import Finished, Writer, WriterTokenizer
from podium.orchestration.chat import (
    AssistantMessage,
    ChatEvent,
    ChatRequest,
    Message,
    ModelInfo,
    SystemMessage,
    TextDelta,
    TokenCount,
    ToolCallSealed,
    ToolChoice,
    ToolMessage,
    TurnFinished,
    TurnFinishReason,
    Usage,
    UserMessage,
)
from podium.orchestration.tool import ToolSpec

__all__ = ["GuidedChatModel", "GuidedProfile"]

_KEPT_TOOL_SETS = 8
_ANSWER_TOKENS = 96
_WORDING_TOKENS = 64
_WORDING_SECONDS = 3.0
_PIECE = 24  # characters of a rendered answer sent at once


@dataclass(frozen=True, slots=True, kw_only=True)
class GuidedProfile:
    """How one small model is best used.

    Attributes:
        system: standing instructions for direct chat, when the request has none.
        max_tokens: limit of an answer when the request sets none.
        context_length: tokens of prompt and answer together.
        repetition_penalty: keeps small models from going round in circles; 1 for none.
        words_results: whether to let the model put wordy results into an answer (checked).
    """

    system: str = "You are a helpful assistant. Answer briefly and plainly."
    max_tokens: int = 256
    context_length: int = 8192
    repetition_penalty: float = 1.0
    words_results: bool = True


def _today() -> date:
    return datetime.now(UTC).date()


class GuidedChatModel:
    """A `ChatModel` over an engine. Safe for many turns at once on one event loop.

    Args:
        engine: writes tokens.
        tokenizer: of the engine's model.
        profile: how the model is used.
        name: the model's name in the catalog.
        vectors: word vectors from the same model (`WordVectors.from_gguf`); planning is better with them.
        matcher: trained to tell how well requests suit tools, with these very vectors.
        aliases: other names of it.
        today: the day from which "tomorrow" counts.
    """

    def __init__(
        self,
        engine: Engine,
        tokenizer: WriterTokenizer,
        profile: GuidedProfile | None = None,
        *,
        name: str = "embedded",
        vectors: WordVectors | None = None,
        matcher: ToolMatcher | None = None,
        aliases: Sequence[str] = (),
        today: Callable[[], date] = _today,
    ) -> None:
        self.name = name
        self._engine = engine
        self._profile = profile or GuidedProfile()
        self._writer = Writer(engine, tokenizer, context_length=self._profile.context_length)
        self._vectors = vectors
        self._matcher = matcher
        self._aliases = tuple(aliases)
        self._today = today
        self._tool_sets: OrderedDict[tuple[int, ...], tuple[Sequence[ToolSpec], ToolSet]] = OrderedDict()

    async def info(self) -> ModelInfo:
        """Describe the model, with whether it can answer now. Never raises for an unready model."""
        try:
            seen = await self._engine.probe()
        except Unavailable as error:
            return self._described(ready=False, detail=error.message)
        return self._described(ready=True, context_length=seen.max_seq_len)

    def _described(self, *, ready: bool, detail: str = "", context_length: int = 0) -> ModelInfo:
        return ModelInfo(
            name=self.name,
            kind="embedded",
            ready=ready,
            detail=detail,
            context_length=min(context_length, self._profile.context_length) or self._profile.context_length,
            tools=True,
            json_schema=True,
            aliases=self._aliases,
        )

    async def count_tokens(self, request: ChatRequest) -> TokenCount:
        """Count the conversation as direct chat sends it. Tools add nothing: planning reads them outside the model."""
        ids = await asyncio.to_thread(self._writer.prompt_ids, self._messages(request.messages))
        return TokenCount(len(ids), exact=True)

    async def warm(self, tools: Sequence[ToolSpec]) -> Sequence[Guide]:
        """Index `tools` ahead of use, run one short generation, and return the guides worth compiling.

        Raises:
            Unavailable: the engine cannot answer.
        """
        await self._tools(tools)
        ids = self._writer.chat_ids(self._messages([UserMessage("Hello")]), 1)
        await self._writer.whole(ids, max_tokens=1)
        # Guides are made of a request's own words, so only their common parts could be compiled
        # early; each takes a few milliseconds.
        return ()

    def stream(self, request: ChatRequest) -> AsyncIterator[ChatEvent]:
        """Stream one turn; see `ChatModel.stream`."""
        if request.json_schema is not None:
            return self._structured(request, request.json_schema)
        if results := results_of(request):
            return self._answer(request, results)
        if request.tools and request.tool_choice is not ToolChoice.NONE:
            return self._plan_turn(request)
        return self._chat(request)

    # --- planning -------------------------------------------------------------------------

    async def plan(self, text: str, tools: Sequence[ToolSpec]) -> Plan:
        """Plan the calls that `text` asks for."""
        # In a thread: a long request takes longer than the loop may stand still.
        return await asyncio.to_thread(plan_request, await self._tools(tools), text)

    async def _tools(self, specs: Sequence[ToolSpec]) -> ToolSet:
        key = tuple(id(spec) for spec in specs)
        today = self._today()
        held = self._tool_sets.get(key)
        if held is not None and held[1].today == today:
            self._tool_sets.move_to_end(key)
            return held[1]
        made = await asyncio.to_thread(ToolSet, tuple(specs), today, self._vectors, self._matcher)
        # The specs are kept beside the index, so that an id in a key cannot be given to another object.
        self._tool_sets[key] = (tuple(specs), made)
        while len(self._tool_sets) > _KEPT_TOOL_SETS:
            self._tool_sets.popitem(last=False)
        return made

    async def _plan_turn(self, request: ChatRequest) -> AsyncGenerator[ChatEvent, None]:
        plan = await self.plan(last_request(request), request.tools)
        calls, usage = await self._decided(plan, last_request(request))
        sealed = 0
        asked: list[PlannedCall] = []
        for call in calls:
            if not settled(call):
                asked.append(call)
                continue
            ways = _ways(call)
            sealed += 1
            # What the tool refuses is sent as it was understood: the refusal is then the result.
            yield _sealed(call, accepted_arguments(call.reading.tool, ways) or ways[0])
        tasks = [asyncio.create_task(self._ask(call)) for call in asked]
        try:
            for done in asyncio.as_completed(tasks):
                event, used = await done
                usage += used
                sealed += 1
                yield event
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if sealed:
            yield TurnFinished(TurnFinishReason.TOOL_CALLS, usage)
            return
        async with aclosing(self._chat(request, usage)) as talk:
            async for said in talk:
                yield said

    async def _decided(self, plan: Plan, text: str) -> tuple[tuple[PlannedCall, ...], Usage]:
        """Let the model speak on a call that retrieval is in doubt of."""
        if plan.doubt is None:
            return plan.calls, Usage()
        question = verdict_question(text, plan.likely)
        told, end = await self._writer.whole(
            self._writer.text_ids(question.prompt), max_tokens=question.max_tokens, guide=question.guide
        )
        return ((plan.doubt,) if told.strip() == plan.doubt.tool else ()), end.usage

    async def _ask(self, call: PlannedCall) -> tuple[ToolCallSealed, Usage]:
        """Let the model settle one call's arguments; fall back on the best guess when it does no better."""
        question = question_for(call)
        text, end = await self._writer.whole(
            self._writer.text_ids(question.prompt), max_tokens=question.max_tokens, guide=question.guide
        )
        told = parse_answer(call, text)
        ways: list[Mapping[str, Any]] = [told, *_ways(call)] if told is not None else _ways(call)
        return _sealed(call, accepted_arguments(call.reading.tool, ways) or ways[0]), end.usage

    # --- answers --------------------------------------------------------------------------

    async def _answer(self, request: ChatRequest, results: Sequence[ResultView]) -> AsyncGenerator[ChatEvent, None]:
        usage = Usage()
        if self._profile.words_results and not simple(results):
            text, end = await self._worded(request, results)
            usage = end.usage
            if end.reason is FinishReason.STOP and truthful(text, last_request(request), results):
                yield TextDelta(text.strip())
                yield TurnFinished(TurnFinishReason.STOP, usage)
                return
        facts = [render(view) for view in results]
        async with asyncio.TaskGroup() as group:
            wordings = [group.create_task(self._wording(view, fact)) for view, fact in zip(results, facts, strict=True)]
        usage = sum((used for _, used in map(asyncio.Task.result, wordings)), usage)
        told = joined([wording.result()[0] for wording in wordings])
        for start in range(0, len(told), _PIECE):
            yield TextDelta(told[start : start + _PIECE])
            await asyncio.sleep(0)
        yield TurnFinished(TurnFinishReason.STOP, usage)

    async def _wording(self, view: ResultView, fact: str) -> tuple[str, Usage]:
        """Return the model's sentence for a fact, when it says the same, and else the fact as it is rendered."""
        if not (self._profile.words_results and view.ok and view.template is not None and wordable(fact)):
            return fact, Usage()
        ids = self._writer.chat_ids(wording_messages(fact), _WORDING_TOKENS)
        try:
            async with asyncio.timeout(_WORDING_SECONDS):
                sentence, end = await self._writer.whole(ids, max_tokens=_WORDING_TOKENS)
        except (TimeoutError, ResourceExhausted, Unavailable):
            # The results are here: an answer that reads a little drier is better than none.
            return fact, Usage()
        good = end.reason is FinishReason.STOP and same_fact(sentence, fact)
        return (sentence.strip() if good else fact), end.usage

    async def _worded(self, request: ChatRequest, results: Sequence[ResultView]) -> tuple[str, Finished]:
        facts = "\n".join(f"{view.tool} {json.dumps(dict(view.arguments))}: {view.content}" for view in results)
        asked = f"{last_request(request)}\n\nFacts:\n{facts}\n\nAnswer in one or two sentences, with these facts only."
        ids = self._writer.chat_ids(self._messages([UserMessage(asked)]), _ANSWER_TOKENS)
        return await self._writer.whole(ids, max_tokens=min(_ANSWER_TOKENS, request.max_tokens or _ANSWER_TOKENS))

    # --- direct chat ----------------------------------------------------------------------

    def _messages(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        told = [] if any(isinstance(m, SystemMessage) for m in messages) else [_role("system", self._profile.system)]
        for message in messages:
            match message:
                case SystemMessage(text):
                    told.append(_role("system", text))
                case UserMessage(text):
                    told.append(_role("user", text))
                case AssistantMessage(text) if text:
                    told.append(_role("assistant", text))
                case ToolMessage(content=content):
                    told.append(_role("user", content))
        return told

    async def _chat(self, request: ChatRequest, used: Usage | None = None) -> AsyncGenerator[ChatEvent, None]:
        room = request.max_tokens or self._profile.max_tokens
        ids = self._writer.chat_ids(self._messages(request.messages), room)
        sampling = Sampling(
            temperature=request.temperature,
            top_p=request.top_p,
            seed=request.seed,
            repetition_penalty=self._profile.repetition_penalty if self._profile.repetition_penalty != 1 else None,
        )
        pieces = self._writer.write(ids, max_tokens=room, sampling=sampling, stop=request.stop)
        async with aclosing(pieces) as items:
            async for item in items:
                if isinstance(item, str):
                    yield TextDelta(item)
                else:
                    yield _finished(item, used)

    async def _structured(self, request: ChatRequest, schema: str) -> AsyncGenerator[ChatEvent, None]:
        """Write JSON that a schema allows. It is sent whole, when it has been read back."""
        room = request.max_tokens or self._profile.max_tokens
        ids = self._writer.chat_ids(self._messages(request.messages), room)
        try:
            json.loads(schema)
        except ValueError:
            raise InvalidRequest("json_schema is not JSON.") from None
        text, end = await self._writer.whole(ids, max_tokens=room, guide=Guide(GuideKind.JSON_SCHEMA, schema))
        try:
            value = json.loads(text)
        except ValueError:
            if end.reason is not FinishReason.LENGTH:
                raise Unavailable("The model's output was not whole; try again.", retry_after=1) from None
            yield TextDelta(text)
        else:
            yield TextDelta(json.dumps(value, ensure_ascii=False))
        yield _finished(end, None)


def _role(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "content": text}


def _finished(end: Finished, used: Usage | None) -> TurnFinished:
    if end.reason not in {FinishReason.STOP, FinishReason.LENGTH}:
        raise Unavailable(f"The model stopped early ({end.reason}); try again.", retry_after=1)
    reason = TurnFinishReason.LENGTH if end.reason is FinishReason.LENGTH else TurnFinishReason.STOP
    return TurnFinished(reason, end.usage + (used or Usage()))


def _ways(call: PlannedCall) -> list[Mapping[str, Any]]:
    """Return the argument sets worth trying, best first, with what is borrowed filled in."""
    return [{**call.borrowed, **assignment.values} for assignment in call.reading.assignments]


def _sealed(call: PlannedCall, arguments: Mapping[str, Any]) -> ToolCallSealed:
    return ToolCallSealed(call.tool, json.dumps(arguments, ensure_ascii=False, default=str).encode())
