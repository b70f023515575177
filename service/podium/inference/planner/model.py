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
from podium.inference.guided.answer import last_request
from podium.inference.guided.model import GuidedChatModel, GuidedProfile
from podium.inference.guided.routing import shortlist
from podium.inference.guided.toolset import ToolSet
from podium.inference.guided.utterance import Utterance
from podium.inference.guided.vectors import WordVectors
from podium.inference.guided.writing import WriterTokenizer
from podium.inference.planner.heads import Heads
from podium.inference.planner.lines import Head, Line, LinesEnd, write_lines
from podium.inference.planner.matcher import MATCHER_FILE, Match, Matcher
from podium.inference.planner.prompt import PromptEncoder
from podium.inference.planner.shown import ShownTool, shown_tool
from podium.inference.planner.turn import ASK_USER_NAME, PlannedTurn, answers_of
from podium.orchestration.chat import ChatEvent, ChatRequest, TextDelta, TurnFinished, TurnFinishReason, Usage
from podium.orchestration.tool import ToolSpec

__all__ = ["PLANNER_DIALECT", "TrainedChatModel"]

PLANNER_DIALECT = "planner"
# The service's own tools: the model was not taught them, and the planner puts questions itself.
_OWN_TYPES = frozenset({"question", "results"})
_CALL_TOKENS = 320
_QUEUED = 64
# The matcher picks this many tools at most, and none that it holds for hopeless: each costs a share of the batch.
_MOST_TOOLS, _HOPELESS = 6, -5.0
# Longer requests are an instruction and somebody's text: guided planning does not have to copy that.
_LONGEST_REQUEST = 1200


class TrainedChatModel(GuidedChatModel):
    """A `ChatModel` over an engine whose model was taught `PLANNER_DIALECT`. Safe for many turns at once.

    Args:
        engine, tokenizer, profile, name, vectors, aliases, rest: as `GuidedChatModel` takes them.
    """

    def __init__(
        self,
        engine: Engine,
        tokenizer: WriterTokenizer,
        profile: GuidedProfile | None = None,
        *,
        name: str = "embedded",
        vectors: WordVectors | None = None,
        aliases: Sequence[str] = (),
        **rest: Any,
    ) -> None:
        super().__init__(engine, tokenizer, profile, name=name, vectors=vectors, aliases=aliases, **rest)
        self._taught_tokenizer = tokenizer
        self._encoder = PromptEncoder(tokenizer)
        self._prompts: WeakKeyDictionary[ToolSet, dict[str, tuple[ShownTool, Sequence[int]]]] = WeakKeyDictionary()
        self._matches: WeakKeyDictionary[ToolSet, Match] = WeakKeyDictionary()
        self._matcher = None if vectors is None else Matcher.load(MATCHER_FILE, vectors)

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
        if self._matcher is None:
            return [(name, 0.0) for name in shortlist(tools, said, _MOST_TOOLS)]
        match = self._matches.get(tools)
        if match is None:
            match = self._matches[tools] = self._matcher.prepared([tool.spec for tool in tools.tools.values()])
        found = sorted(match(said).items(), key=lambda pair: -pair[1])
        return [(name, odds) for name, odds in found[:_MOST_TOOLS] if odds > _HOPELESS]

    def stream(self, request: ChatRequest) -> AsyncIterator[ChatEvent]:
        """Stream one turn; see `ChatModel.stream`."""
        if request.json_schema is None and answers_of(request):
            return self._plan_turn(request)
        return super().stream(request)

    async def _plan_turn(self, request: ChatRequest) -> AsyncGenerator[ChatEvent, None]:
        text = last_request(request)
        offered = _plannable(request.tools)
        if not offered or not text.strip() or len(text) > _LONGEST_REQUEST:
            async with aclosing(super()._plan_turn(request)) as events:
                async for event in events:
                    yield event
            return
        tools = await self._tools(offered)
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
            async with aclosing(self._chat(request, usage)) as talk:
                async for event in talk:
                    yield event

    async def _ask_about(
        self, tools: ToolSet, likely: Sequence[tuple[str, float]], tail: Sequence[int]
    ) -> AsyncGenerator[tuple[ShownTool, Line | LinesEnd], None]:
        """Ask the model about each tool at once; yield the lines about those that fit, as they are written."""
        told: asyncio.Queue[tuple[ShownTool, Line | LinesEnd] | None] = asyncio.Queue(_QUEUED)
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
                            await told.put((shown, item))
            finally:
                heads.done(place)

        async def all_of_them() -> None:
            async with asyncio.TaskGroup() as group:
                for place, (shown, prompt) in enumerate(prompts):
                    group.create_task(one(place, shown, prompt))
            await told.put(None)

        asking = asyncio.create_task(all_of_them())
        try:
            while True:
                item = asyncio.ensure_future(told.get())
                await asyncio.wait({item, asking}, return_when=asyncio.FIRST_COMPLETED)
                if not item.done():
                    item.cancel()
                    await asking  # it can only have failed: what it did well ends with None
                    return
                if (got := item.result()) is None:
                    return
                yield got
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)


def _plannable(tools: Sequence[ToolSpec]) -> tuple[ToolSpec, ...]:
    return tuple(spec for spec in tools if spec.type not in _OWN_TYPES)
