"""Turns of the trained model: which tools it is asked about, and what becomes of its answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Any

import pytest
from planner_fakes import TODAY, spec
from planning_fakes import (
    MESSAGE,
    NO,
    TABLE,
    TALK,
    TOOLS,
    WEATHER,
    CharacterTokenizer,
    PlanningEngine,
    Stop,
    call_of,
    model_on,
    nothing_left,
    text_of,
    told,
    turn,
)

from podium.errors import PodiumError, ResourceExhausted, Unavailable
from podium.inference.engine import FinishReason
from podium.inference.guided import GuidedChatModel
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

SIX = "yes | restaurant: The Old Mill | guests: six | day: next Friday"
SIX_MEANT = ("book_table", {"restaurant": "The Old Mill", "guests": 6, "day": "2026-11-27"})
ROME = "yes | city: Rome"
BOOK = "a table for six at The Old Mill next Friday"
BOTH = f"{BOOK}, and the weather in Rome"


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
    engine = PlanningEngine({"book_table": SIX, "weather": ROME})
    events = [event async for event in model_on(engine).stream(turn(BOTH))]
    calls = [event for event in events if isinstance(event, ToolCallSealed)]
    assert sorted(map(call_of, calls), key=str) == [SIX_MEANT, ("weather", {"city": "Rome"})]
    assert {call.provider_id for call in calls} == {"$1", "$2"}
    assert engine.aborted == ["send_message"]


async def test_one_tool_twice_and_the_same_line_twice() -> None:
    """Two lines are two calls; a line that was there before is none."""
    engine = PlanningEngine({"weather": f"{ROME}\nyes | city: Oslo\n{ROME}\nyes | city: rome"})
    _, calls, _ = await told(model_on(engine).stream(turn("weather in Rome and in Oslo")))
    assert calls == [("weather", {"city": "Rome"}), ("weather", {"city": "Oslo"})]


async def test_a_call_is_sealed_while_the_model_still_writes() -> None:
    """Nobody waits for another tool's line, nor for the next line of the same tool."""
    other = Stop(len("yes | city: R"))
    more = Stop(len(ROME) + 3)
    engine = PlanningEngine({"book_table": SIX, "weather": ROME}, stops={"weather": other})
    async with aclosing(model_on(engine).stream(turn(BOTH))) as events:  # type: ignore[type-var]
        assert call_of(await anext(events)) == SIX_MEANT
        assert not other.go_on.is_set()
        other.go_on.set()
        assert call_of(await anext(events)) == ("weather", {"city": "Rome"})
    engine = PlanningEngine({"weather": f"{ROME}\nyes | city: Oslo"}, stops={"weather": more})
    async with aclosing(model_on(engine).stream(turn("weather in Rome and in Oslo"))) as events:  # type: ignore[type-var]
        assert call_of(await anext(events)) == ("weather", {"city": "Rome"})
        more.go_on.set()
        assert call_of(await anext(events)) == ("weather", {"city": "Oslo"})


async def test_first_words_are_waited_for() -> None:
    """No line is written out before every tool's first word is there."""
    late = Stop(0)
    engine = PlanningEngine({"book_table": SIX, "weather": ROME}, stops={"weather": late})
    async with aclosing(model_on(engine).stream(turn(BOTH))) as events:  # type: ignore[type-var]
        first = asyncio.ensure_future(anext(events))
        await late.reached.wait()
        for _ in range(3 * len(SIX)):  # far more steps than the line would take
            await asyncio.sleep(0)
        assert not first.done()
        late.go_on.set()
        calls = [call_of(await first), call_of(await anext(events))]
        assert sorted(calls) == [SIX_MEANT, ("weather", {"city": "Rome"})]


async def test_a_lacking_value_is_asked_for_in_words() -> None:
    """Where nothing can be asked with a call, and nothing else is to be done, the question is the answer."""
    engine = PlanningEngine({"book_table": "yes | restaurant: The Old Mill | guests: ? | day: ?"})
    text, calls, end = await told(model_on(engine).stream(turn("a table at The Old Mill")))
    assert (text, calls) == ("Book a table in a restaurant: please tell me the guests and day.", [])
    assert end.reason is TurnFinishReason.STOP
    assert TALK not in engine.shown


async def test_a_lacking_value_beside_a_complete_call() -> None:
    """The incomplete call is made as it is, at the end: its tool says what it lacks."""
    engine = PlanningEngine({"book_table": "yes | restaurant: The Old Mill | guests: ?", "weather": ROME})
    _, calls, end = await told(model_on(engine).stream(turn("a table at The Old Mill, and the weather in Rome")))
    assert calls == [("weather", {"city": "Rome"}), ("book_table", {"restaurant": "The Old Mill"})]
    assert end.reason is TurnFinishReason.TOOL_CALLS


LACKING = {"book_table": "yes | restaurant: The Old Mill | guests: ? | day: next Friday", "weather": ROME}
LACKING_REQUEST = "a table at The Old Mill next Friday, and the weather in Rome"


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


LONG = "What will the weather in Rome be? " + "It was fine there last year, as everybody says. " * 30


@pytest.mark.parametrize(
    ("text", "tools"), [(LONG, TOOLS), ("weather in Rome", [ASK_USER]), ("weather in Rome", []), ("  ", TOOLS)]
)
async def test_what_the_model_was_not_taught_is_planned_as_by_guided_planning(text: str, tools: Sequence[Any]) -> None:
    """Long requests, and requests with no tool that it may plan."""
    taught, guided = PlanningEngine(), PlanningEngine()
    events = [event async for event in model_on(taught).stream(turn(text, tools))]
    model = GuidedChatModel(guided, CharacterTokenizer(), today=lambda: TODAY)
    assert events == [event async for event in model.stream(turn(text, tools))]
    assert list(map(text_of, taught.requests)) == list(map(text_of, guided.requests))
    assert set(taught.shown) <= {TALK}


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
    if after:
        del stops["send_message"]  # or no first word but one would ever be there
    engine = PlanningEngine({"book_table": SIX, "weather": ROME}, stops=stops)
    with pytest.raises(PodiumError) as raised:
        await told(model_on(engine).stream(turn(BOTH)))
    assert raised.value is error
    assert sorted(engine.aborted) == ["book_table", "send_message", "weather"]
    assert nothing_left()


async def test_an_engine_that_fails_for_every_tool() -> None:
    """It is one error still."""
    stops = {name: Stop(0, Unavailable("gone")) for name in ("book_table", "weather", "send_message")}
    with pytest.raises(Unavailable):
        await told(model_on(PlanningEngine(stops=stops)).stream(turn(BOTH)))
    assert nothing_left()


async def test_what_was_sealed_before_a_failure_is_told() -> None:
    engine = PlanningEngine({"book_table": SIX, "weather": ROME}, stops={"book_table": Stop(60, Unavailable("gone"))})
    async with aclosing(model_on(engine).stream(turn(BOTH))) as events:  # type: ignore[type-var]
        assert call_of(await anext(events)) == ("weather", {"city": "Rome"})
        with pytest.raises(Unavailable):
            await anext(events)
    assert nothing_left()


async def test_closing_early_aborts_every_generation() -> None:
    stops = {"weather": Stop(8), "send_message": Stop(8)}
    engine = PlanningEngine(
        {"book_table": SIX + "\n" + NO, "weather": ROME, "send_message": "yes | to: Ann"}, stops=stops
    )
    async with aclosing(model_on(engine).stream(turn(BOTH))) as events:  # type: ignore[type-var]
        assert call_of(await anext(events)) == SIX_MEANT
        await asyncio.gather(*(stop.reached.wait() for stop in stops.values()))
    assert sorted(engine.aborted) == ["book_table", "send_message", "weather"]
    assert nothing_left()


async def test_cancelling_a_turn_that_waits_for_the_model() -> None:
    """Whoever reads is cancelled while nothing comes."""
    stop = Stop(8)
    engine = PlanningEngine({"weather": ROME}, stops={"weather": stop})
    reading = asyncio.create_task(told(model_on(engine).stream(turn("weather in Rome"))))
    await stop.reached.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert sorted(engine.aborted) == ["book_table", "send_message", "weather"]
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


class Odds:
    """Stands in for the matcher: fixed log-odds, and how often it was prepared."""

    def __init__(self, odds: Mapping[str, float]) -> None:
        self.odds = odds
        self.prepared_for: list[list[str]] = []

    def prepared(self, specs: Sequence[Any]) -> Any:
        self.prepared_for.append([tool.name for tool in specs])
        return lambda request: self.odds


@pytest.fixture
def matched() -> Any:
    """Return a function that makes a model whose matcher says what it is told."""

    def make(engine: PlanningEngine, odds: Odds) -> Any:
        return model_on(engine, matcher=odds)

    return make


async def test_the_matcher_chooses_whom_the_model_is_asked_about(matched: Any) -> None:
    """The six likeliest, none that is hopeless; and it is prepared once for a set of tools."""
    tools = [spec({"x": {"type": "string"}}, name=f"tool_{number}") for number in range(9)]
    odds = Odds({f"tool_{number}": 3.0 - number for number in range(9)})
    engine = PlanningEngine()
    model = matched(engine, odds)
    for _ in range(2):
        await told(model.stream(turn("do x", tools)))
    assert engine.shown[:6] == [f"tool_{number}" for number in range(6)]
    assert engine.shown[6] == TALK
    assert len(odds.prepared_for) == 1
    odds.odds = {f"tool_{number}": -6.0 for number in range(9)} | {"tool_8": -4.0}
    engine.shown.clear()
    await told(model.stream(turn("do x", tools)))
    assert engine.shown == ["tool_8", TALK]
    odds.odds = {f"tool_{number}": -6.0 for number in range(9)}
    engine.shown.clear()
    await told(model.stream(turn("do x", tools)))
    assert engine.shown == [TALK]


@pytest.mark.parametrize(("sure", "odds", "meant"), [(0.6, -2.0, False), (0.9, -2.0, True), (0.6, 2.0, True)])
async def test_the_matcher_has_a_say(matched: Any, sure: float, odds: float, meant: bool) -> None:
    """A doubtful "yes" about a tool that does not look like the request is none."""
    engine = PlanningEngine({"weather": ROME}, sure={"weather": sure})
    _, calls, _ = await told(matched(engine, Odds({"weather": odds})).stream(turn("weather in Rome", [WEATHER])))
    assert bool(calls) is meant


async def test_warming_reads_every_tool_once() -> None:
    """What is read is what each request to the tool begins with."""
    engine = PlanningEngine({"weather": ROME})
    model = model_on(engine)
    assert await model.warm([*TOOLS, ASK_USER]) == ()
    assert sorted(engine.shown) == ["book_table", "send_message", TALK, "weather"]
    assert all(request.max_tokens == 1 for request in engine.requests)
    (warmed,) = [text_of(request) for request in engine.requests if "tool\nweather(" in text_of(request)]
    engine.requests.clear()
    await told(model.stream(turn("weather in Rome")))
    (asked,) = [text_of(request) for request in engine.requests if "tool\nweather(" in text_of(request)]
    prefix = warmed.partition("<|im_end|>")[0]
    assert asked.startswith(prefix)
    assert prefix.endswith("Tell the weather in a city")


async def test_text_that_looks_like_a_call_is_talk(caplog: pytest.LogCaptureFixture) -> None:
    """What stands in for `yes` is not taken for it."""
    engine = PlanningEngine({"weather": "yesterday | city: Rome", "send_message": "y", "book_table": "ye\nyes"})
    events = [event async for event in model_on(engine).stream(turn("weather in Rome"))]
    assert [event.text for event in events if isinstance(event, TextDelta)] == ["Fi", "ne", "."]
    assert MESSAGE.name in engine.shown
