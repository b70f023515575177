"""Which tools the trained model is asked about, and about which parts of a request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from planner_fakes import TODAY, spec
from planning_fakes import (
    BOOK,
    BOTH,
    NO,
    ROME,
    SIX,
    SIX_MEANT,
    TALK,
    TOOLS,
    WEATHER,
    CharacterTokenizer,
    PlanningEngine,
    about,
    call_of,
    clause_of,
    model_on,
    text_of,
    told,
    turn,
)

from podium.inference.guided import GuidedChatModel
from podium.orchestration.ask_user import ASK_USER
from podium.orchestration.chat import (
    AssistantMessage,
    CallRequest,
    ChatRequest,
    ToolCallSealed,
    ToolMessage,
    UserMessage,
)


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


@pytest.mark.parametrize(
    ("text", "clauses"),
    [
        (BOOK, [BOOK]),
        (BOTH, [BOTH, BOOK, "the weather in Rome"]),
        ("Book it. Then tell Ann; thanks", ["Book it. Then tell Ann; thanks", "Book it.", "Then tell Ann", "thanks"]),
        ('tell Ann "wait and see"', ['tell Ann "wait and see"']),
        ("a and b and c and d and e", ["a and b and c and d and e"]),
        ("a cat and a dog and a cow and a pig", [None, "a cat", "a dog", "a cow", "a pig"]),
    ],
)
async def test_which_parts_of_a_request_are_asked_about(text: str, clauses: Sequence[str | None]) -> None:
    """All of it, and each of its clauses unless there are too many; every tool each time."""
    engine = PlanningEngine()
    await told(model_on(engine).stream(turn(text)))
    planned = [clause_of(request) for request, name in zip(engine.requests, engine.shown, strict=True) if name != TALK]
    assert sorted(planned) == sorted([clause or text for clause in clauses] * len(TOOLS))


async def test_a_call_that_is_only_seen_in_its_clause() -> None:
    """About the whole request the model is silent; the values are found where they stand in it."""
    engine = PlanningEngine({"book_table": SIX, "weather": lambda clause: NO if "table" in clause else ROME})
    events = [event async for event in model_on(engine).stream(turn(f"the weather in Rome and {BOOK}"))]
    calls = [event for event in events if isinstance(event, ToolCallSealed)]
    assert [(call.provider_id, call_of(call)) for call in calls] == [
        ("$1", ("weather", {"city": "Rome"})),
        ("$2", SIX_MEANT),
    ]


async def test_a_neighbour_that_says_yes_to_the_same_words() -> None:
    """It is asked about as well, and is the less likely one."""
    answer = about(ROME, "Rome")
    engine = PlanningEngine({"weather": answer, "climate": answer}, sure={"weather": 0.9, "climate": 0.8})
    climate = spec({"city": {"type": "string"}}, name="climate", description="Tell the climate of a city.")
    for text in ("the weather in Rome", "the weather in Rome and nothing else"):
        _, calls, _ = await told(model_on(engine).stream(turn(text, (climate, WEATHER))))
        assert calls == [("weather", {"city": "Rome"})]


def known(name: str, count: int) -> Any:
    """Return a tool with some examples."""
    told = [(f"weather in {city}", {"city": city}) for city in ("Oslo", "Bern", "Prague", "Vienna", "Dublin")]
    return spec({"city": {"type": "string"}}, *told[:count], name=name, description="Tell the weather in a city.")


@pytest.mark.parametrize(("counts", "asks"), [((5, 5), False), ((5, 4), True), ((4, 5), True), ((0, 0), True)])
async def test_well_known_tools_are_planned_by_guided_planning(counts: Sequence[int], asks: bool) -> None:
    """When all likely ones have five examples; the model is not asked about them then."""
    tools = [known(name, count) for name, count in zip(("weather", "forecast"), counts, strict=True)]
    engine, guided = PlanningEngine({"weather": ROME}), PlanningEngine()
    events = [event async for event in model_on(engine).stream(turn("weather in Rome", tools))]
    assert ("weather" in engine.shown) is asks
    if not asks:
        model = GuidedChatModel(guided, CharacterTokenizer(), today=lambda: TODAY)
        assert events == [event async for event in model.stream(turn("weather in Rome", tools))]
        assert any(isinstance(event, ToolCallSealed) for event in events)


async def test_only_the_likely_tools_must_be_well_known(matched: Any) -> None:
    """The matcher's first three."""
    tools = [*(known(f"tool_{number}", 5) for number in range(3)), known("tool_3", 0)]
    for last, asks in ((0.0, False), (2.5, True)):
        engine = PlanningEngine()
        odds = Odds({"tool_0": 3.0, "tool_1": 2.0, "tool_2": 1.0, "tool_3": last})
        await told(matched(engine, odds).stream(turn("weather in Rome", tools)))
        assert ("tool_0" in engine.shown) is asks


async def test_answers_about_a_well_known_tool_are_planned_here() -> None:
    """Questions of the turn before were put here, so guided planning does not know of them."""
    engine = PlanningEngine({"weather": "yes | city: ?"})
    asked = CallRequest("c0_0", "ask_user", b"{}")
    messages = [
        UserMessage("what is the weather?"),
        AssistantMessage("", (asked,)),
        ToolMessage("c0_0", "ask_user", '"Rome"'),
    ]
    request = ChatRequest(messages=messages, tools=(known("weather", 5), ASK_USER), turn=1)
    _, calls, _ = await told(model_on(engine).stream(request))
    assert calls == [("weather", {"city": "Rome"})]


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


async def test_a_tool_far_behind_the_likeliest_is_not_asked_about(matched: Any) -> None:
    """However well it would stand alone."""
    tools = [spec({"x": {"type": "string"}}, name=f"tool_{number}") for number in range(3)]
    engine = PlanningEngine()
    await told(matched(engine, Odds({"tool_0": 4.0, "tool_1": 0.6, "tool_2": 0.4})).stream(turn("do x", tools)))
    assert engine.shown[:2] == ["tool_0", "tool_1"]
    assert "tool_2" not in engine.shown


async def test_the_matcher_chooses_whom_the_model_is_asked_about(matched: Any) -> None:
    """The six likeliest, none that is hopeless; and it is prepared once for a set of tools."""
    tools = [spec({"x": {"type": "string"}}, name=f"tool_{number}") for number in range(9)]
    odds = Odds({f"tool_{number}": 2.0 - number / 2 for number in range(9)})
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


@pytest.mark.parametrize(("sure", "odds", "meant"), [(0.6, -4.9, False), (0.9, -4.9, True), (0.6, 2.0, True)])
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
