"""Turns of the trained model: what becomes of its answers, and of what fails."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Any

import pytest
from planner_fakes import spec
from planning_fakes import (
    BOOK,
    BOTH,
    MESSAGE,
    ROME,
    SIX,
    SIX_MEANT,
    TABLE,
    TALK,
    TOOLS,
    PlanningEngine,
    Stop,
    about,
    call_of,
    model_on,
    nothing_left,
    text_of,
    told,
    turn,
)

from podium.errors import PodiumError, ResourceExhausted, Unavailable
from podium.inference.engine import FinishReason
from podium.orchestration.ask_user import ASK_USER
from podium.orchestration.chat import (
    AssistantMessage,
    CallRequest,
    ChatRequest,
    TextDelta,
    ToolCallSealed,
    ToolChoice,
    ToolMessage,
    TurnFinished,
    TurnFinishReason,
    Usage,
    UserMessage,
)

LACKING = {"book_table": "yes | restaurant: The Old Mill | guests: ? | day: next Friday", "weather": ROME}
LACKING_REQUEST = "a table at The Old Mill next Friday, and the weather in Rome"


async def test_one_tool_of_several_is_meant() -> None:
    """Its call has typed arguments; what is written about the others is closed after its first word."""
    engine = PlanningEngine({"book_table": SIX}, sure={"book_table": 0.8})
    events = [event async for event in model_on(engine).stream(turn(BOOK))]
    call, end = events
    assert call_of(call) == SIX_MEANT
    assert isinstance(call, ToolCallSealed)
    assert (call.provider_id, call.confidence) == ("$1", pytest.approx(0.8))
    assert sorted(engine.shown) == ["book_table", "send_message", "weather"]
    assert sorted(engine.aborted) == ["send_message", "weather"]
    (asked,) = [request for request in engine.requests if "tool\nbook_table(" in text_of(request)]
    assert text_of(asked).endswith(f"<|im_end|>\n<|im_start|>user {BOOK}<|im_end|>\n<|im_start|>call\n")
    assert all(request.logprobs and request.guide is None for request in engine.requests)
    assert end == TurnFinished(TurnFinishReason.TOOL_CALLS, Usage(len(text_of(asked)), len(SIX)))
    assert nothing_left()


async def test_nobody_is_meant() -> None:
    """Then the model talks."""
    engine = PlanningEngine()
    text, calls, end = await told(model_on(engine).stream(turn("I feel a bit sad today.")))
    assert (text, calls, end.reason) == ("Fine.", [], TurnFinishReason.STOP)
    assert (engine.shown[-1], len(engine.shown), len(engine.aborted)) == (TALK, 4, 3)


async def test_an_engine_that_writes_nothing() -> None:
    """An answer without a word is a no, and keeps nobody waiting."""
    engine = PlanningEngine({"book_table": SIX, "weather": "", "send_message": "\n\n"})
    _, calls, _ = await told(model_on(engine).stream(turn(BOOK)))
    assert calls == [SIX_MEANT]


async def test_two_tools_in_one_request() -> None:
    """In the order of the request."""
    engine = PlanningEngine({"book_table": SIX, "weather": ROME})
    events = [event async for event in model_on(engine).stream(turn(BOTH))]
    calls = [event for event in events if isinstance(event, ToolCallSealed)]
    assert list(map(call_of, calls)) == [SIX_MEANT, ("weather", {"city": "Rome"})]
    assert [call.provider_id for call in calls] == ["$1", "$2"]
    assert set(engine.aborted) == {"send_message"}


async def test_one_tool_twice_and_the_same_line_twice() -> None:
    """Two lines are two calls; a line that was there before is none."""
    answer = about(f"{ROME}\nyes | city: Oslo\n{ROME}\nyes | city: rome", "Rome", "Oslo")
    engine = PlanningEngine({"weather": answer})
    _, calls, _ = await told(model_on(engine).stream(turn("weather in Rome and in Oslo")))
    assert calls == [("weather", {"city": "Rome"}), ("weather", {"city": "Oslo"})]


async def test_calls_are_sealed_when_all_is_written() -> None:
    """Until then another tool may turn out to be meant by the same words."""
    late = Stop(len("yes | city: R"))
    engine = PlanningEngine({"book_table": SIX, "weather": ROME}, stops={"weather": late})
    async with aclosing(model_on(engine).stream(turn(BOTH))) as events:  # type: ignore[type-var]
        first = asyncio.ensure_future(anext(events))
        await late.reached.wait()
        for _ in range(3 * len(SIX)):  # far more steps than the line takes
            await asyncio.sleep(0)
        assert not first.done()
        late.go_on.set()
        assert [call_of(await first), call_of(await anext(events))] == [SIX_MEANT, ("weather", {"city": "Rome"})]
    assert nothing_left()


async def test_a_lacking_value_is_asked_for_in_words() -> None:
    """Where nothing can be asked with a call, and nothing else is to be done, the question is the answer."""
    engine = PlanningEngine({"book_table": "yes | restaurant: The Old Mill | guests: ? | day: ?"})
    text, calls, end = await told(model_on(engine).stream(turn("a table at The Old Mill")))
    assert (text, calls) == ("Book a table in a restaurant: please tell me the guests and day.", [])
    assert end.reason is TurnFinishReason.STOP
    assert TALK not in engine.shown


async def test_a_lacking_value_beside_a_complete_call() -> None:
    """The incomplete call is made as it is, at the end: its tool says what it lacks."""
    engine = PlanningEngine(LACKING)
    _, calls, end = await told(model_on(engine).stream(turn(LACKING_REQUEST)))
    assert calls == [
        ("weather", {"city": "Rome"}),
        ("book_table", {"restaurant": "The Old Mill", "day": "2026-11-27"}),
    ]
    assert end.reason is TurnFinishReason.TOOL_CALLS


def second_turn(calls: Sequence[tuple[str, Any]], results: Sequence[tuple[str, bool]]) -> ChatRequest:
    """Return the turn after the one that made `calls`, with their results."""
    made = tuple(CallRequest(f"c0_{i}", tool, json.dumps(given).encode()) for i, (tool, given) in enumerate(calls))
    said = [ToolMessage(c.call_id, c.tool, content, ok) for c, (content, ok) in zip(made, results, strict=True)]
    messages = [UserMessage(LACKING_REQUEST), AssistantMessage("", made), *said]
    return ChatRequest(messages=messages, tools=(*TOOLS, ASK_USER), turn=1)


@pytest.mark.parametrize(
    ("answer", "ok", "more"),
    [
        ('"six"', True, {"guests": 6}),
        ('"6"', True, {"guests": 6}),
        ("6", True, {"guests": 6}),
        ("six", True, {"guests": 6}),
        ('"as many as come"', True, {"guests": "as many as come"}),
        ("null", True, {}),
        ("the question was skipped", False, {}),
    ],
)
async def test_questions_and_their_answers(answer: str, ok: bool, more: Mapping[str, Any]) -> None:
    """Complete calls are made at once and once; the other one is made in the next turn, with what was answered."""
    model = model_on(PlanningEngine(LACKING))
    _, calls, end = await told(model.stream(turn(LACKING_REQUEST, (*TOOLS, ASK_USER))))
    question = ("ask_user", {"question": "Book a table in a restaurant: which guests?"})
    assert calls == [("weather", {"city": "Rome"}), question]
    assert end.reason is TurnFinishReason.TOOL_CALLS
    _, calls, end = await told(model.stream(second_turn(calls, [('{"sky": "blue"}', True), (answer, ok)])))
    assert calls == [("book_table", {"restaurant": "The Old Mill", "day": "2026-11-27", **more})]
    assert end.reason is TurnFinishReason.TOOL_CALLS


async def test_after_the_answered_call_the_results_are_told() -> None:
    """Nothing is planned again, and the question is no result."""
    engine = PlanningEngine(LACKING)
    model = model_on(engine)
    asked = second_turn(
        [("weather", {"city": "Rome"}), ("ask_user", {"question": "?"})], [('{"sky": "blue"}', True), ('"six"', True)]
    )
    last = CallRequest("c1_0", "book_table", b"{}")
    messages = [*asked.messages, AssistantMessage("", (last,)), ToolMessage("c1_0", "book_table", '{"booking": "A7"}')]
    text, calls, _ = await told(model.stream(ChatRequest(messages=messages, tools=asked.tools, turn=2)))
    assert calls == []
    assert "blue" in text
    assert "A7" in text
    assert "six" not in text


async def test_an_answer_that_leads_to_no_call() -> None:
    """The model may see it otherwise the second time: results that are there are told all the same."""
    calls = [("weather", {"city": "Rome"}), ("ask_user", {"question": "?"})]
    request = second_turn(calls, [('{"sky": "blue"}', True), ('"six"', True)])
    text, made, end = await told(model_on(PlanningEngine({"weather": ROME})).stream(request))
    assert (made, end.reason) == ([], TurnFinishReason.STOP)
    assert "blue" in text


async def test_answers_to_a_request_that_was_not_planned_here() -> None:
    """Another model asked, about a text too long for this one: its calls are not made again."""
    calls = [("weather", {"city": "Rome"}), ("ask_user", {"question": "?"})]
    asked = second_turn(calls, [('{"sky": "blue"}', True), ('"six"', True)])
    messages = [UserMessage(LACKING_REQUEST + " really" * 300), *asked.messages[1:]]
    engine = PlanningEngine(LACKING)
    text, made, _ = await told(model_on(engine).stream(ChatRequest(messages=messages, tools=asked.tools, turn=1)))
    assert made == []
    assert "blue" in text
    assert "book_table" not in engine.shown


async def test_a_value_that_another_calls_result_gives() -> None:
    """The reference names the call and the suiting field, and comes after its source."""
    engine = PlanningEngine({"book_table": SIX, "show_way": "yes | address: $"})
    way = spec({"address": {"type": "string"}}, name="show_way", description="Show the way to an address.")
    events = [event async for event in model_on(engine).stream(turn(f"{BOOK} and the way there", (TABLE, way)))]
    source, linked, _ = events
    assert isinstance(source, ToolCallSealed)
    assert call_of(source) == SIX_MEANT
    assert call_of(linked) == ("show_way", {"address": {"$from": source.provider_id, "path": "/address"}})


async def test_a_reference_with_no_other_call() -> None:
    """The call is made without the value, so that its tool says what it lacks."""
    engine = PlanningEngine({"send_message": "yes | to: $ | text: hello"})
    _, calls, end = await told(model_on(engine).stream(turn("send them hello")))
    assert calls == [("send_message", {"text": "hello"})]
    assert end.reason is TurnFinishReason.TOOL_CALLS


async def test_nothing_is_planned_when_calls_are_not_wanted() -> None:
    """Not even after an answered question."""
    for request in (
        turn(BOOK, tool_choice=ToolChoice.NONE),
        ChatRequest(
            messages=second_turn([("ask_user", {"question": "?"})], [('"six"', True)]).messages,
            tools=(*TOOLS, ASK_USER),
            tool_choice=ToolChoice.NONE,
        ),
    ):
        engine = PlanningEngine({"book_table": SIX})
        text, calls, _ = await told(model_on(engine).stream(request))
        assert (text, calls, engine.shown) == ("Fine.", [], [TALK])


async def test_an_answer_in_json_is_written_without_planning() -> None:
    engine = PlanningEngine({TALK: '{"a": 1}', "book_table": SIX})
    text, calls, _ = await told(model_on(engine).stream(turn(BOOK, json_schema="{}")))
    assert (json.loads(text), calls, engine.shown) == ({"a": 1}, [], [TALK])


async def test_a_line_that_was_cut_off_is_no_call() -> None:
    engine = PlanningEngine({"book_table": f"{SIX}\nyes | restaurant: The O", TALK: ""})
    engine.reason = FinishReason.LENGTH
    _, calls, _ = await told(model_on(engine).stream(turn(BOOK)))
    assert calls == [SIX_MEANT]


@pytest.mark.parametrize("error", [Unavailable("gone", retry_after=1), ResourceExhausted("full", retry_after=2)])
@pytest.mark.parametrize("after", [0, 4, 20], ids=["at once", "behind the first word", "in the line"])
async def test_an_engine_that_fails(error: PodiumError, after: int) -> None:
    """The very error is raised, whatever the others do, and nothing is left running."""
    stops = {"book_table": Stop(after, error), "weather": Stop(6), "send_message": Stop(1)}
    engine = PlanningEngine({"book_table": SIX, "weather": ROME}, stops=stops)
    with pytest.raises(PodiumError) as raised:
        await told(model_on(engine).stream(turn(BOTH)))
    assert raised.value is error
    # Each was asked about the whole request and about either clause.
    assert sorted(engine.aborted) == sorted(["book_table", "send_message", "weather"] * 3)
    assert nothing_left()


async def test_an_engine_that_fails_for_every_tool() -> None:
    """It is one error still."""
    stops = {name: Stop(0, Unavailable("gone")) for name in ("book_table", "weather", "send_message")}
    with pytest.raises(Unavailable):
        await told(model_on(PlanningEngine(stops=stops)).stream(turn(BOTH)))
    assert nothing_left()


async def test_closing_early() -> None:
    """Behind the first call nothing is written any more; talk is aborted."""
    engine = PlanningEngine({"book_table": SIX, "weather": ROME})
    async with aclosing(model_on(engine).stream(turn(BOTH))) as events:  # type: ignore[type-var]
        assert call_of(await anext(events)) == SIX_MEANT
        assert nothing_left()
    engine = PlanningEngine(stops={TALK: Stop(4)})
    async with aclosing(model_on(engine).stream(turn("I feel sad"))) as events:  # type: ignore[type-var]
        assert isinstance(await anext(events), TextDelta)
    assert sorted(engine.aborted) == ["book_table", "send_message", TALK, "weather"]
    assert nothing_left()


@pytest.mark.parametrize(("text", "times"), [("weather in Rome", 1), (BOTH, 3)])
async def test_cancelling_a_turn_that_waits_for_the_model(text: str, times: int) -> None:
    """Whoever reads is cancelled while nothing comes."""
    stop = Stop(8)
    engine = PlanningEngine({"weather": ROME}, stops={"weather": stop})
    reading = asyncio.create_task(told(model_on(engine).stream(turn(text))))
    await stop.reached.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert sorted(engine.aborted) == sorted(["book_table", "send_message", "weather"] * times)
    assert nothing_left()


async def test_fifty_turns_at_once_keep_apart() -> None:
    """They share the tools, the prompts and the engine, nothing else."""

    class Echoing(PlanningEngine):
        """Copies the city out of the request."""

        async def generate(self, request: Any) -> Any:
            city = text_of(request).rpartition("weather in ")[2].partition("<")[0]
            inner = PlanningEngine({"weather": f"yes | city: {city}"})
            self.shown.append(city)
            async with aclosing(inner.generate(request)) as items:
                async for item in items:
                    yield item

    engine = Echoing()
    model = model_on(engine)
    cities = [f"Town{number}" for number in range(50)]
    turns = await asyncio.gather(*(told(model.stream(turn(f"weather in {city}"))) for city in cities))
    assert [calls for _, calls, _ in turns] == [[("weather", {"city": city})] for city in cities]
    assert len(engine.shown) == 150
    assert nothing_left()


async def test_text_that_looks_like_a_call_is_talk(caplog: pytest.LogCaptureFixture) -> None:
    """What stands in for `yes` is not taken for it."""
    engine = PlanningEngine({"weather": "yesterday | city: Rome", "send_message": "perhaps", "book_table": "ye\nyes"})
    events = [event async for event in model_on(engine).stream(turn("weather in Rome"))]
    assert [event.text for event in events if isinstance(event, TextDelta)] == ["Fi", "ne", "."]
    assert MESSAGE.name in engine.shown
