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
from podium.inference.planner.asking import Asker, Question
from podium.inference.planner.competing import clauses
from podium.inference.planner.prompt import PromptEncoder
from podium.inference.planner.shown import ShownTool, shown_tool
from podium.inference.planner.turn import ASK_USER_NAME, PlannedTurn, answers_of
from podium.orchestration.chat import ChatEvent, ChatRequest, TextDelta, ToolChoice, TurnFinished, TurnFinishReason
from podium.orchestration.tool import ToolSpec

__all__ = ["PLANNER_DIALECT", "TrainedChatModel"]

PLANNER_DIALECT = "planner"
# The service's own tools: the model was not taught them, and the planner puts questions itself.
_OWN_TYPES = frozenset({"question", "results"})
# The matcher picks this many tools at most, none that it holds for hopeless, and none so far behind the likeliest (on
# the tuning set no tool that was meant is further behind than 2.5): each costs a share of the batch.
_MOST_TOOLS, _HOPELESS, _FAR_BEHIND = 6, -5.0, 3.5
# "Cancel Monday and book Friday": each clause is asked about as well. A clause says less than all of the request does.
_MOST_CLAUSES, _MOST_CLAUSE_TOOLS, _PART_OF_IT = 4, 4, 1.0
# With this many examples of every likely tool guided planning knows their wording by heart.
_WELL_KNOWN, _LOOKED_AT = 5, 3
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
        self._encoder = PromptEncoder(tokenizer)
        self._asker = Asker(engine, tokenizer, self._encoder)
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

    def _likely(self, tools: ToolSet, said: Utterance, most: int) -> list[tuple[str, float]]:
        """Return the tools to ask the model about, with the matcher's log-odds, the likeliest first."""
        if tools.match is None:
            return [(name, 0.0) for name in shortlist(tools, said, most)]
        found = sorted(tools.match(said).items(), key=lambda pair: -pair[1])
        least = max(_HOPELESS, found[0][1] - _FAR_BEHIND)
        return [(name, odds) for name, odds in found[:most] if odds >= least]

    def _well_known(self, tools: ToolSet, said: Utterance) -> bool:
        """Tell whether guided planning knows all tools that may be meant."""
        likely = self._likely(tools, said, _LOOKED_AT)
        return bool(likely) and all(len(tools.tools[name].examples) >= _WELL_KNOWN for name, _ in likely)

    async def _questions(self, tools: ToolSet, said: Utterance) -> list[Question]:
        """Return what to ask about a request: the likely tools for all of it, and for each of its clauses."""
        parts = clauses(said)
        asked = [(said, 0, await asyncio.to_thread(self._likely, tools, said, _MOST_TOOLS))]
        for start, end in parts if 1 < len(parts) <= _MOST_CLAUSES else ():
            clause = await asyncio.to_thread(tools.analyse, said.text[start:end])
            asked.append((clause, start, await asyncio.to_thread(self._likely, tools, clause, _MOST_CLAUSE_TOOLS)))
        return [
            Question(*await self._shown(tools, name), odds, clause, start, 0.0 if clause is said else _PART_OF_IT)
            for clause, start, likely in asked
            for name, odds in likely
        ]

    def stream(self, request: ChatRequest) -> AsyncIterator[ChatEvent]:
        """Stream one turn; see `ChatModel.stream`."""
        wanted = request.json_schema is None and request.tool_choice is not ToolChoice.NONE
        if wanted and answers_of(request) and _taught(request):
            return self._plan_turn(request)
        return super().stream(request)

    async def _plan_turn(self, request: ChatRequest) -> AsyncGenerator[ChatEvent, None]:
        tools = await self._tools(_plannable(request.tools))
        said = await asyncio.to_thread(tools.analyse, last_request(request))
        answers = answers_of(request)
        if not _taught(request) or (answers is None and await asyncio.to_thread(self._well_known, tools, said)):
            async with aclosing(super()._plan_turn(request)) as events:
                async for event in events:
                    yield event
            return
        turn = PlannedTurn(said, asks=any(spec.name == ASK_USER_NAME for spec in request.tools), answers=answers)
        proposals, usage = await self._asker.ask(await self._questions(tools, said))
        for call in await asyncio.to_thread(lambda: list(turn.calls(proposals))):
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


def _taught(request: ChatRequest) -> bool:
    """Tell whether this is what the model was taught: a short request, and tools that are not the service's own."""
    text = last_request(request)
    return bool(text.strip()) and len(text) <= _LONGEST_REQUEST and bool(_plannable(request.tools))


def _plannable(tools: Sequence[ToolSpec]) -> tuple[ToolSpec, ...]:
    return tuple(spec for spec in tools if spec.type not in _OWN_TYPES)
