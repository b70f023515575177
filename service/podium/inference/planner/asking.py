"""Asks the model about tools, one a prompt and all of them at once, and makes proposals of what it writes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from podium.inference.engine import Engine
from podium.inference.guided.utterance import Utterance
from podium.inference.planner.call_lines import NO, YES
from podium.inference.planner.choosing import Chooser
from podium.inference.planner.competing import Proposal
from podium.inference.planner.heads import joint_odds
from podium.inference.planner.lines import Detokenizing, Head, Line, LinesEnd, write_lines
from podium.inference.planner.prompt import PromptEncoder
from podium.inference.planner.shown import ShownTool
from podium.orchestration.chat import Usage

__all__ = ["Asker", "Question"]

_CALL_TOKENS = 320


@dataclass(frozen=True, slots=True)
class Question:
    """Whether a tool is meant, and with which values.

    Attributes:
        shown: the tool.
        prompt: the tokens of how it is shown.
        matched: the matcher's log-odds that it is meant.
        clause: the part of the request that is put to it.
        start: where that begins in the request.
        handicap: what its proposals' odds are lowered by.
    """

    shown: ShownTool
    prompt: Sequence[int]
    matched: float
    clause: Utterance
    start: int = 0
    handicap: float = 0.0


class Asker:
    """Puts questions to a model. Safe for many turns at once.

    Args:
        engine, tokenizer: of the model.
        encoder: of its prompts.
    """

    def __init__(self, engine: Engine, tokenizer: Detokenizing, encoder: PromptEncoder) -> None:
        self._engine, self._tokenizer, self._encoder = engine, tokenizer, encoder
        self._chooser = Chooser(engine, tokenizer, encoder)

    async def ask(self, questions: Sequence[Question]) -> tuple[list[Proposal], Usage]:
        """Put all questions at once; return what is proposed of the tools that fit, in the order of the questions.

        Raises:
            InvalidRequest, ResourceExhausted, Unavailable: as `Engine.generate` does.
        """
        try:
            async with asyncio.TaskGroup() as group:
                asked = [group.create_task(self._one(question)) for question in questions]
        except ExceptionGroup as failed:
            # The others were only stopped by the first one, which says what callers know what to do about.
            raise failed.exceptions[0] from None
        found = [task.result() for task in asked]
        proposals = [proposal for proposals, _ in found for proposal in proposals]
        return proposals, sum((usage for _, usage in found), Usage())

    async def _one(self, question: Question) -> tuple[list[Proposal], Usage]:
        prompt = [*question.prompt, *self._encoder.request(question.clause.text)]
        odds: list[float] = []

        def meant(head: Head) -> bool:
            odds.append(joint_odds(head, question.matched))
            # What a "no" that the matcher outvotes would have been is asked for anew.
            return odds[0] >= 0 and head.word != NO

        lines, usage = await self._lines(prompt, meant)
        if not odds:
            return [], usage  # nothing that could be a first word
        if odds[0] >= 0 and not lines:
            lines, more = await self._lines([*prompt, *self._encoder.yes], begun=YES)
            usage += more
        where = (question.clause, question.start)
        lines = [await self._chooser.settled(line, question.shown, prompt, question.clause) for line in lines]
        return [Proposal(question.shown, line, odds[0] - question.handicap, *where) for line in lines], usage

    async def _lines(
        self, prompt: Sequence[int], meant: Callable[[Head], bool] | None = None, *, begun: str = ""
    ) -> tuple[list[Line], Usage]:
        """Return the lines that the model writes; none as soon as `meant` says so of the first word."""
        lines: list[Line] = []
        usage = Usage()
        answer = write_lines(self._engine, self._tokenizer, prompt, max_tokens=_CALL_TOKENS, begun=begun)
        async with aclosing(answer) as items:
            async for item in items:
                match item:
                    case Head() if meant is not None:
                        if not meant(item):
                            break
                    case Line():
                        lines.append(item)
                    case LinesEnd():
                        usage = item.usage
        return lines, usage
