"""Runs that ask while their other calls go on, in virtual time.

Runs end with their process until they are stored durably, so no question here outlives a restart.
"""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from podium.errors import FailedPrecondition, InvalidRequest, NotFound
from podium.orchestration.core import RunPolicy
from podium.orchestration.events import (
    AnswerSource,
    CallFailed,
    CallFinished,
    CallSkipped,
    CallSucceeded,
    LoggedEvent,
    QuestionAsked,
    QuestionKind,
    QuestionSettled,
    RunEnded,
    RunLimits,
    RunSpec,
    RunState,
)
from podium.orchestration.orchestrator import Orchestrator, Submitter
from podium.orchestration.tool import ToolFailureCode
from support.fakes import FakeTools, call, loop_time, make_orchestrator, scripted, sleeping, text
from support.runs import collect, kinds, outcome_of, ref, seconds_of
from support.virtual_time import run_virtual

ME = Submitter(owner="me", tenant="acme")
SPEC = RunSpec(input="go", may_ask=True)


async def started(orchestrator: Orchestrator, spec: RunSpec = SPEC, **options: Any) -> asyncio.Task[list[LoggedEvent]]:
    """Start a run, and return its events to be."""
    task = asyncio.ensure_future(collect(orchestrator.stream(spec, ME, **options)))
    await asyncio.sleep(0)
    return task


async def asked(orchestrator: Orchestrator, number: int = 1) -> list[tuple[str, QuestionAsked]]:
    """Wait until so many questions are open."""
    async with asyncio.timeout(100):
        while len(found := orchestrator.questions(ME)) < number:  # noqa: ASYNC110 - a step of the clock
            await asyncio.sleep(0.01)
    return [(run_id, question.asked) for run_id, question in found]


def six_nodes(asks: str) -> tuple[Any, FakeTools, list[str]]:
    """Four independent calls, one that may ask, and one that uses the answer; return what ran, too."""
    ran: list[str] = []

    def body(name: str, seconds: float) -> Any:
        async def work(arguments: dict[str, Any]) -> Any:
            ran.append(name)
            await asyncio.sleep(seconds)
            return arguments.get("city", name)

        return work

    tools = FakeTools(a=body("a", 0.1), b=body("b", 0.2), c=body("c", 0.4), d=body("d", 0.3), w=body("w", 0.2))
    first = call(asks, 10, **({"question": "Which city?"} if asks == "ask_user" else {}))
    calls = [
        first,
        call("a", 20),
        call("b", 30),
        call("c", 40),
        call("d", 50, x=ref("c1")),
        call("w", 60, city=ref("c0")),
    ]
    return scripted({"events": calls, "end_ms": 70}, {"events": [text("{{c0_5}}", 10)]}), tools, ran


def test_the_other_branches_go_on_while_one_asks() -> None:
    """The four independent calls end when they do without a question; each tool's body runs once."""

    async def main(asks: str) -> tuple[dict[str, float], list[str], list[LoggedEvent]]:
        model, tools, ran = six_nodes(asks)
        async with make_orchestrator(model, tools) as orchestrator:
            task = await started(orchestrator)
            if asks == "ask_user":
                ((run_id, question),) = await asked(orchestrator)
                assert (question.kind, question.call_id, question.prompt) == (QuestionKind.TEXT, "c0_0", "Which city?")
                await asyncio.sleep(7)
                assert (await orchestrator.get(run_id, ME)).state is RunState.WAITING
                await orchestrator.answer(run_id, question.question_id, b'"Oslo"', ME)
            events = await task
        return seconds_of(events, CallFinished), ran, events

    without, ran_without, _ = run_virtual(main("b"))
    with_question, ran, events = run_virtual(main("ask_user"))
    for call_id in ("c0_1", "c0_2", "c0_3", "c0_4"):
        assert with_question[call_id] == pytest.approx(without[call_id], abs=0.005)
    assert sorted(ran) == ["a", "b", "c", "d", "w"]
    assert sorted(ran_without) == ["a", "b", "b", "c", "d", "w"]
    end = events[-1].kind
    assert isinstance(end, RunEnded)
    assert (end.answer, end.partial) == ("Oslo", False)
    waits = {finished.call_id: finished.waits for finished in kinds(events, CallFinished)}
    assert waits["c0_0"].question == pytest.approx(7.0, abs=0.02)
    assert waits["c0_5"].parents == pytest.approx(7.0 - 0.05, abs=0.02)


def test_two_questions_are_answered_in_reverse_order() -> None:
    """Each answer lets only its own branch go on."""

    async def main() -> None:
        tools = FakeTools(work=lambda arguments: sleeping(0.5, arguments["x"])(arguments))
        questions = [call("ask_user", question=f"{n}?", kind="choice", choices=["x", "y"]) for n in (0, 1)]
        model = scripted(
            {"events": [*questions, call("work", x=ref("c0")), call("work", x=ref("c1"))]},
            {"events": [text("{{c0_2}} {{c0_3}}")]},
        )
        async with make_orchestrator(model, tools) as orchestrator:
            task = await started(orchestrator)
            (run_id, first), (_, second) = await asked(orchestrator, 2)
            assert [first.prompt, second.prompt] == ["0?", "1?"]
            assert orjson.loads(first.schema_json) == {"enum": ["x", "y"]}
            await orchestrator.answer(run_id, second.question_id, b'"y"', ME)
            await asyncio.sleep(2)
            view = await orchestrator.get(run_id, ME)
            assert view.state is RunState.WAITING, "the other one is still open"
            assert [view.calls[c].end_ns > 0 for c in ("c0_2", "c0_3")] == [False, True]
            await orchestrator.answer(run_id, first.question_id, b'"x"', ME)
            events = await task
        end = events[-1].kind
        assert isinstance(end, RunEnded)
        assert end.answer == "x y"
        settled = [(each.question_id, each.source) for each in kinds(events, QuestionSettled)]
        assert settled == [("q1", AnswerSource.ANSWERED), ("q0", AnswerSource.ANSWERED)]
        assert len(tools.invocations) == 2

    run_virtual(main())


SCHEMA = {
    "type": "object",
    "properties": {"stops": {"type": "array", "items": {"type": "object", "properties": {"day": {"type": "integer"}}}}},
    "required": ["stops"],
}


def test_an_answer_against_the_schema_is_refused_with_its_field() -> None:
    """Nothing is settled by it; then a good one is taken, and a second one refused."""

    async def main() -> None:
        model = scripted(
            {"events": [call("ask_user", question="Trip?", kind="value", schema=SCHEMA)]},
            {"events": [text("{{c0_0}}")]},
        )
        async with make_orchestrator(model, FakeTools()) as orchestrator:
            task = await started(orchestrator)
            ((run_id, question),) = await asked(orchestrator)
            for wrong, field in (
                (b'{"stops": [{"day": 1}, {"day": "two"}]}', "answer_json.stops[1].day"),
                (b"{}", "answer_json"),
                (b"{", "answer_json"),
            ):
                with pytest.raises(InvalidRequest) as refused:
                    await orchestrator.answer(run_id, question.question_id, wrong, ME)
                assert [violation.field for violation in refused.value.violations] == [field]
            with pytest.raises(NotFound):
                await orchestrator.answer(run_id, "q7", b"{}", ME)
            with pytest.raises(NotFound):
                await orchestrator.answer(run_id, question.question_id, b"{}", Submitter(owner="you"))
            assert len(orchestrator.questions(ME)) == 1
            assert not orchestrator.questions(Submitter(owner="you"))
            good = b'{"stops":[{"day":1}]}'
            await orchestrator.answer(run_id, question.question_id, good, ME)
            with pytest.raises(FailedPrecondition):
                await orchestrator.answer(run_id, question.question_id, good, ME)
            events = await task
            with pytest.raises(FailedPrecondition):
                await orchestrator.answer(run_id, question.question_id, good, ME)
        (settled,) = kinds(events, QuestionSettled)
        assert (settled.source, settled.answer_json) == (AnswerSource.ANSWERED, good)
        assert outcome_of(events, "c0_0") == CallSucceeded(good, "application/json")

    run_virtual(main())


@pytest.mark.parametrize("default", ["Rome", None])
@pytest.mark.parametrize("limit", ["its own", "the run's"])
def test_without_an_answer_the_default_counts_or_the_call_is_skipped(default: str | None, limit: str) -> None:
    """At the question's own limit, and at the end of the run's time for work."""
    seconds = 30.0 if limit == "its own" else 3.0

    async def main() -> None:
        given: dict[str, Any] = {"question": "Where?", **({"default": default} if default else {})}
        model = scripted(
            {"events": [call("ask_user", **given), call("work", x=ref("c0")), call("free")]},
            {"events": [text("{{c0_0}}")]},
        )
        tools = FakeTools(work=sleeping(0.01), free=sleeping(0.1))
        policy = RunPolicy(question_seconds=5.0)
        async with make_orchestrator(model, tools, policy=policy) as orchestrator:
            task = await started(orchestrator, seconds=seconds)
            ((_, question),) = await asked(orchestrator)
            began = loop_time()
            events = await task
        (settled,) = kinds(events, QuestionSettled)
        at = next(event.time_ns for event in events if event.kind is settled)
        assert at == question.expire_ns, "the limit that callers were told"
        if limit == "its own":
            assert at / 1e9 == pytest.approx(5.0, abs=0.02)
        else:
            assert began < at / 1e9 < seconds * 0.8
        first, second = outcome_of(events, "c0_0"), outcome_of(events, "c0_1")
        end = events[-1].kind
        assert isinstance(end, RunEnded)
        if default:
            assert (settled.source, settled.answer_json) == (AnswerSource.DEFAULT, b'"Rome"')
            assert isinstance(first, CallSucceeded)
            assert isinstance(second, CallSucceeded)
            assert (end.answer, end.partial) == ('"Rome"', False) or (end.answer, end.partial) == ("Rome", False)
            assert tools.invocations[-1].arguments_json == b'{"x":"Rome"}'
        else:
            assert settled.source is AnswerSource.EXPIRED
            assert first == CallSkipped("nobody answered")
            assert isinstance(second, CallFailed)
            assert second.code is ToolFailureCode.DEPENDENCY_FAILED
            assert end.partial
        assert isinstance(outcome_of(events, "c0_2"), CallSucceeded)

    run_virtual(main())


def test_a_skipped_question_skips_its_call() -> None:
    async def main() -> None:
        model = scripted(
            {"events": [call("ask_user", question="Sure?", kind="confirm")]}, {"events": [text("{{c0_0}}")]}
        )
        async with make_orchestrator(model, FakeTools()) as orchestrator:
            task = await started(orchestrator)
            ((run_id, question),) = await asked(orchestrator)
            assert orjson.loads(question.schema_json) == {"type": "boolean"}
            await orchestrator.skip(run_id, question.question_id, ME)
            events = await task
        assert outcome_of(events, "c0_0") == CallSkipped("the question was skipped")
        assert [each.source for each in kinds(events, QuestionSettled)] == [AnswerSource.SKIPPED]

    run_virtual(main())


def test_null_is_an_answer_too() -> None:
    async def main() -> None:
        model = scripted({"events": [call("ask_user", question="?", kind="value")]}, {"events": [text("{{c0_0}}")]})
        async with make_orchestrator(model, FakeTools()) as orchestrator:
            task = await started(orchestrator)
            ((run_id, question),) = await asked(orchestrator)
            await orchestrator.answer(run_id, question.question_id, b"null", ME)
            events = await task
        assert kinds(events, QuestionSettled) == [QuestionSettled("q0", AnswerSource.ANSWERED, b"null")]
        assert outcome_of(events, "c0_0") == CallSucceeded(b"null", "application/json")

    run_virtual(main())


def test_a_cancelled_run_leaves_no_question_open() -> None:
    async def main() -> None:
        model = scripted({"events": [call("ask_user", question="?")]}, {"events": []})
        async with make_orchestrator(model, FakeTools()) as orchestrator:
            task = await started(orchestrator)
            ((run_id, _),) = await asked(orchestrator)
            view = await orchestrator.cancel(run_id, ME)
            await task
            assert view.state is RunState.CANCELLED
            assert not orchestrator.questions(ME)
            settled = [question.settled for question in view.questions.values()]
            assert settled == [QuestionSettled("q0", AnswerSource.SKIPPED)]

    run_virtual(main())


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({}, "'question' is a required property"),
        ({"question": "?", "kind": "choice"}, "needs choices"),
        ({"question": "?", "kind": "budget"}, "is not one of"),
        ({"question": "?", "kind": "confirm", "default": "yes"}, "default is no possible answer"),
        ({"question": "?", "kind": "value", "schema": {"type": "nonsense"}}, "schema"),
        ({"question": "?", "kind": "value", "schema": {"$ref": "http://127.0.0.1:9/x"}, "default": 1}, "schema"),
        ({"question": "?", "kind": "value", "schema": {"anyOf": [{"$ref": "#"}]}}, "schema"),
    ],
)
def test_what_is_no_question_is_told_to_the_model(arguments: dict[str, Any], problem: str) -> None:
    """Nobody is asked; in particular nothing is fetched that the model names in a schema."""

    async def main() -> None:
        model = scripted({"events": [call("ask_user", **arguments)]}, {"events": [text("{{c0_0}}")]})
        async with make_orchestrator(model, FakeTools()) as orchestrator:
            events = await collect(orchestrator.stream(SPEC, ME))
        outcome = outcome_of(events, "c0_0")
        assert isinstance(outcome, CallFailed)
        assert outcome.code is ToolFailureCode.INVALID_ARGUMENTS
        assert problem in outcome.message
        assert not kinds(events, QuestionAsked)

    run_virtual(main())


def test_only_runs_that_may_ask_are_offered_to() -> None:
    """Else the tool does not exist; and asking needs no slot and no budget of calls that tools need."""

    async def main() -> None:
        model = scripted({"events": [call("ask_user", question="?")]}, {"events": [text("{{c0_0}}")]})
        async with make_orchestrator(model, FakeTools()) as orchestrator:
            view = await orchestrator.execute(RunSpec(input="go", limits=RunLimits(max_calls=5)), ME)
        assert view.answer.startswith("UNKNOWN_TOOL")
        assert not view.questions

    run_virtual(main())
