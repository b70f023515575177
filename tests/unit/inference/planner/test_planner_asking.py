"""Asking the model about tools."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
from planner_fakes import asked, shown
from planning_fakes import MESSAGE, NO, TABLE, WEATHER, CharacterTokenizer, PlanningEngine, Stop, nothing_left, text_of

from podium.errors import PodiumError, ResourceExhausted, Unavailable
from podium.inference.engine import FinishReason
from podium.inference.planner.asking import Asker, Question
from podium.inference.planner.competing import Proposal
from podium.inference.planner.prompt import PromptEncoder
from podium.orchestration.chat import Usage

ENCODER = PromptEncoder(CharacterTokenizer())
SHOWN = {tool.name: shown(tool) for tool in (TABLE, WEATHER, MESSAGE)}
ROME = "yes | city: Rome"
TEXT = "the weather in Rome"


def question(name: str = "weather", matched: float = 0.0, text: str = TEXT, **more: Any) -> Question:
    return Question(SHOWN[name], ENCODER.tool(SHOWN[name].line), matched, asked(text), **more)


def asker(engine: PlanningEngine) -> Asker:
    return Asker(engine, CharacterTokenizer(), ENCODER)


async def lines(engine: PlanningEngine, *questions: Question) -> list[tuple[str, str]]:
    """Return the tools and lines that are proposed."""
    proposals, _ = await asker(engine).ask(questions)
    assert nothing_left()
    return [(proposal.shown.name, proposal.line.text) for proposal in proposals]


async def test_nothing_asked() -> None:
    assert await asker(PlanningEngine()).ask([]) == ([], Usage())


async def test_a_proposal_tells_what_was_asked() -> None:
    """The tool, the line, the joint odds less the handicap, and of which part of the request."""
    engine = PlanningEngine({"weather": ROME}, sure={"weather": 0.8})
    put = question(matched=2.0, start=7, handicap=1.0)
    (proposal,), usage = await asker(engine).ask([put])
    assert isinstance(proposal, Proposal)
    assert (proposal.shown, proposal.clause, proposal.start) == (put.shown, put.clause, 7)
    assert (proposal.line.text, proposal.line.sure) == (ROME, pytest.approx(0.8))
    assert proposal.odds == pytest.approx(1.1 * math.log(4) + 0.8 + 1.5 - 1.0)
    (request,) = engine.requests
    assert text_of(request).endswith(f"user {TEXT}<|im_end|>\n<|im_start|>call\n")
    assert usage == Usage(len(text_of(request)), len(ROME))


async def test_proposals_come_in_the_order_of_the_questions() -> None:
    """However long each takes; several lines are several proposals."""
    late = Stop(4)
    engine = PlanningEngine(
        {"weather": f"{ROME}\nyes | city: Oslo", "send_message": "yes | to: Ann"}, stops={"weather": late}
    )
    questions = [question(), question("book_table"), question("send_message")]
    asking = asyncio.create_task(asker(engine).ask(questions))
    await late.reached.wait()
    assert engine.shown == ["weather", "book_table", "send_message"]
    late.go_on.set()
    proposals, _ = await asking
    told = [("weather", ROME), ("weather", "yes | city: Oslo"), ("send_message", "yes | to: Ann")]
    assert [(proposal.shown.name, proposal.line.text) for proposal in proposals] == told


async def test_an_answer_is_closed_behind_its_first_word() -> None:
    """When the tool is not meant: a "no", or a "yes" that the matcher outvotes."""
    engine = PlanningEngine({"weather": ROME, "book_table": NO}, sure={"weather": 0.6})
    assert await lines(engine, question(matched=-8.0), question("book_table")) == []
    assert sorted(engine.aborted) == ["book_table", "weather"]
    assert len(engine.requests) == 2


@pytest.mark.parametrize("answer", ["", "\n\n", "perhaps", "ye\nyes"])
async def test_answers_that_the_model_was_not_taught(answer: str) -> None:
    """They are no proposals, and are not asked for again, however well the words suit."""
    engine = PlanningEngine({"weather": answer})
    assert await lines(engine, question(matched=3.0)) == []
    assert len(engine.requests) == 1


@pytest.mark.parametrize("answer", ["y", "ye", "n"])
async def test_answers_that_end_within_their_first_word(answer: str) -> None:
    assert await lines(PlanningEngine({"weather": answer}), question()) == []


async def test_a_no_that_the_matcher_outvotes_is_asked_anew() -> None:
    """The model goes on from a "yes" that was put before it; either answer is paid for."""

    class Doubting(PlanningEngine):
        """Says no at first."""

        async def generate(self, request: Any) -> Any:
            forced = text_of(request).endswith("call\nyes")
            self.answers["weather"] = ROME if forced else NO
            async for item in super().generate(request):
                yield item

    engine = Doubting(sure={"weather": 0.6})
    (proposal,), usage = await asker(engine).ask([question(matched=3.0)])
    assert (proposal.line.text, proposal.odds) == (ROME, pytest.approx(-1.1 * math.log(1.5) + 1.2 + 1.5))
    first, second = map(text_of, engine.requests)
    assert second == first + "yes"
    assert usage == Usage(len(second), len(ROME) - 3)
    assert engine.aborted == ["weather"]
    assert nothing_left()


async def test_a_no_that_stands() -> None:
    engine = PlanningEngine({"weather": "no"}, sure={"weather": 0.99})
    assert await lines(engine, question(matched=3.0)) == []
    assert len(engine.requests) == 1


async def test_a_line_that_was_cut_off_is_no_proposal() -> None:
    engine = PlanningEngine({"weather": f"{ROME}\nyes | city: Os"})
    engine.reason = FinishReason.LENGTH
    assert await lines(engine, question()) == [("weather", ROME)]


@pytest.mark.parametrize("error", [Unavailable("gone", retry_after=1), ResourceExhausted("full", retry_after=2)])
async def test_the_engines_error_is_raised_as_it_is(error: PodiumError) -> None:
    """And the other answers are stopped."""
    engine = PlanningEngine({"weather": ROME}, stops={"weather": Stop(5, error), "send_message": Stop(0)})
    with pytest.raises(PodiumError) as raised:
        await asker(engine).ask([question(), question("send_message")])
    assert raised.value is error
    assert raised.value.__cause__ is None
    assert sorted(engine.aborted) == ["send_message", "weather"]
    assert nothing_left()


async def test_several_errors_are_one() -> None:
    stops = {name: Stop(0, Unavailable("gone")) for name in SHOWN}
    with pytest.raises(Unavailable):
        await asker(PlanningEngine(stops=stops)).ask([question(name) for name in SHOWN])
    assert nothing_left()


async def test_cancelling_stops_every_answer() -> None:
    stops = {name: Stop(0) for name in SHOWN}
    engine = PlanningEngine(stops=stops)
    asking = asyncio.create_task(asker(engine).ask([question(name) for name in SHOWN]))
    await asyncio.gather(*(stop.reached.wait() for stop in stops.values()))
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert sorted(engine.aborted) == sorted(SHOWN)
    assert nothing_left()
