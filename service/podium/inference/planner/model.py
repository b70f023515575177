"""`TrainedChatModel`: a chat model over a small model that was taught to plan in the forms of `call_lines`.

The model is asked about each likely tool, all in one batch; it tells whether the tool is meant and
points at the values. What they mean is worked out by the readers of guided planning. Answers and
talk are those of `GuidedChatModel`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any
from weakref import WeakKeyDictionary

from podium.inference.engine import Engine, Guide
from podium.inference.guided.answer import last_request, results_of
from podium.inference.guided.model import GuidedChatModel, GuidedProfile
from podium.inference.guided.routing import shortlist
from podium.inference.guided.toolset import ToolSet
from podium.inference.guided.utterance import Utterance
from podium.inference.guided.writing import WriterTokenizer
from podium.inference.planner.heads import Heads
from podium.inference.planner.lines import Head, Line, LinesEnd, write_lines
from podium.inference.planner.prompt import PromptEncoder
from podium.inference.planner.shown import ShownTool, shown_tool
from podium.inference.planner.turn import ASK_USER_NAME, PlannedTurn, answers_of
from podium.orchestration.chat import (
    ChatEvent,
    ChatRequest,
    TextDelta,
    ToolChoice,
    TurnFinished,
    TurnFinishReason,
    Usage,
)
from podium.orchestration.tool import ToolSpec

__all__ = ["PLANNER_DIALECT", "TrainedChatModel"]

PLANNER_DIALECT = "planner"
# The service's own tools: the model was not taught them, and the planner puts questions itself.
_OWN_TYPES = frozenset({"question", "results"})
_CALL_TOKENS = 320
# The matcher picks this many tools at most, and none that it holds for hopeless: each costs a share of the batch.
_MOST_TOOLS, _HOPELESS = 6, -5.0
# Longer requests are an instruction and somebody's text: guided planning does not have to copy that.
_LONGEST_REQUEST = 1200


class TrainedChatModel(GuidedChatModel):
    """A `ChatModel` over an engine whose model was taught `PLANNER_DIALECT`. Safe for many turns at once.

    Args:
        engine, tokenizer, profile, rest: as `GuidedChatModel` takes them.
    """

    def __init__(
        self,
        engine: Engine,
        tokenizer: WriterTokenizer,
        profile: GuidedProfile | None = None,
        **rest: Any,
    ) -> None:
        super().__init__(engine, tokenizer, profile, **rest)
        self._taught_tokenizer = tokenizer
        self._encoder = PromptEncoder(tokenizer)
        self._prompts: WeakKeyDictionary[ToolSet, dict[str, tuple[ShownTool, Sequence[int]]]] = WeakKeyDictionary()

    async def warm(self, tools: Sequence[ToolSpec]) -> Sequence[Guide]:
        """Index `tools` ahead of use and read each once, so that they are in the engine's prefix cache.

        Raises:
            Unavailable: the engine cannot answer.
        """
        if offered := _plannable(tools):
            prepared = await self._tools(offered)
            for name in prepared.tools:
                _, prompt = await self._shown(prepared, name)
                await self._writer.whole([*prompt, *self._encoder.request("hello")], max_tokens=1)
        return await super().warm(tools)

    async def _shown(self, tools: ToolSet, name: str) -> tuple[ShownTool, Sequence[int]]:
        """Return a tool as it is shown, and the tokens of that; kept as long as the set is."""
        kept = self._prompts.setdefault(tools, {})
        if name not in kept:
            shown = await asyncio.to_thread(shown_tool, tools.tools[name], tools.today)
            kept[name] = (shown, self._encoder.tool(shown.line))
        return kept[name]

    def _likely(self, tools: ToolSet, said: Utterance) -> list[tuple[str, float]]:
        """Return the tools to ask the model about, with the matcher's log-odds, the likeliest first."""
        if tools.match is None:
            return [(name, 0.0) for name in shortlist(tools, said, _MOST_TOOLS)]
        found = sorted(tools.match(said).items(), key=lambda pair: -pair[1])
        return [(name, odds) for name, odds in found[:_MOST_TOOLS] if odds > _HOPELESS]

    def stream(self, request: ChatRequest) -> AsyncIterator[ChatEvent]:
        """Stream one turn; see `ChatModel.stream`."""
        wanted = request.json_schema is None and request.tool_choice is not ToolChoice.NONE
        if wanted and answers_of(request) and _taught(request):
            return self._plan_turn(request)
        return super().stream(request)

    async def _plan_turn(self, request: ChatRequest) -> AsyncGenerator[ChatEvent, None]:
        if not _taught(request):
            async with aclosing(super()._plan_turn(request)) as events:
                async for event in events:
                    yield event
            return
        text = last_request(request)
        tools = await self._tools(_plannable(request.tools))
        said = await asyncio.to_thread(tools.analyse, text)
        asks = any(spec.name == ASK_USER_NAME for spec in request.tools)
        turn = PlannedTurn(said, asks=asks, answers=answers_of(request))
        likely = await asyncio.to_thread(self._likely, tools, said)
        usage = Usage()
        async with aclosing(self._ask_about(tools, likely, self._encoder.request(text))) as told:
            async for shown, item in told:
                if isinstance(item, LinesEnd):
                    usage += item.usage
                elif (call := turn.take(shown, item)) is not None:
                    yield call
        for call in turn.rest():
            yield call
        if turn.sealed:
            yield TurnFinished(TurnFinishReason.TOOL_CALLS, usage)
        elif turn.question:
            yield TextDelta(turn.question)
            yield TurnFinished(TurnFinishReason.STOP, usage)
        else:
            # An answered question may lead to no call after all; results of the turn before are told even then.
            results = results_of(request)
            talk = self._answer(request, results) if results else self._chat(request, usage)
            async with aclosing(talk) as events:
                async for event in events:
                    yield event

    async def _ask_about(
        self, tools: ToolSet, likely: Sequence[tuple[str, float]], tail: Sequence[int]
    ) -> AsyncGenerator[tuple[ShownTool, Line | LinesEnd], None]:
        """Ask the model about each tool at once; yield the lines about those that fit, as they are written."""
        # Room for all that can come, a line a token at worst: nobody waits to put. None says that no more comes.
        told: asyncio.Queue[tuple[ShownTool, Line | LinesEnd] | None] = asyncio.Queue(
            len(likely) * (_CALL_TOKENS + 2) + 1
        )
        heads = Heads([odds for _, odds in likely])
        prompts = [await self._shown(tools, name) for name, _ in likely]

        async def one(place: int, shown: ShownTool, prompt: Sequence[int]) -> None:
            answer = write_lines(self._engine, self._taught_tokenizer, [*prompt, *tail], max_tokens=_CALL_TOKENS)
            try:
                async with aclosing(answer) as items:
                    async for item in items:
                        if isinstance(item, Head):
                            if not await heads.fits(place, item):
                                return
                        else:
                            told.put_nowait((shown, item))
            finally:
                heads.done(place)

        async def all_of_them() -> None:
            try:
                async with asyncio.TaskGroup() as group:
                    for place, (shown, prompt) in enumerate(prompts):
                        group.create_task(one(place, shown, prompt))
            except ExceptionGroup as failed:
                # The others were only stopped by the first one, which says what callers know what to do about.
                raise failed.exceptions[0] from None
            finally:
                told.put_nowait(None)

        asking = asyncio.create_task(all_of_them())
        try:
            while (item := await told.get()) is not None:
                yield item
            await asking
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)


def _taught(request: ChatRequest) -> bool:
    """Tell whether this is what the model was taught: a short request, and tools that are not the service's own."""
    text = last_request(request)
    return bool(text.strip()) and len(text) <= _LONGEST_REQUEST and bool(_plannable(request.tools))


def _plannable(tools: Sequence[ToolSpec]) -> tuple[ToolSpec, ...]:
    return tuple(spec for spec in tools if spec.type not in _OWN_TYPES)
