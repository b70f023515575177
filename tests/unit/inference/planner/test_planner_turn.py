"""What becomes of the lines of a turn."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytest
from planner_fakes import TODAY, asked, spec

from podium.inference.guided.toolset import ToolSet
from podium.inference.planner.lines import Line
from podium.inference.planner.shown import ShownTool, shown_tool
from podium.inference.planner.turn import PlannedTurn, answers_of
from podium.orchestration.ask_user import ASK_USER
from podium.orchestration.chat import (
    AssistantMessage,
    CallRequest,
    ChatRequest,
    Message,
    ToolCallSealed,
    ToolMessage,
    UserMessage,
)
from podium.orchestration.tool import ToolFailure, ToolFailureCode, ToolSpec

TEXT = {"type": "string"}
DATE = {"type": "string", "format": "date"}


def shown(tool: ToolSpec) -> ShownTool:
    return shown_tool(ToolSet([tool], TODAY).tools[tool.name], TODAY)


def calls_of(events: Iterable[ToolCallSealed | None]) -> list[tuple[str, Any]]:
    return [(event.tool, json.loads(event.arguments_json)) for event in events if event is not None]


def taken(turn: PlannedTurn, *lines: tuple[ShownTool, str]) -> list[tuple[str, Any]]:
    """Return the calls of a whole turn."""
    return calls_of([*(turn.take(tool, Line(line)) for tool, line in lines), *turn.rest()])


BOOK = shown(spec({"place": TEXT, "day": DATE}, name="book", description="Book a table."))
REQUEST = asked("book The Old Mill tomorrow and Luigi's on Friday, then tell Ann")


@pytest.mark.parametrize("line", ["no", "nothing", "", "yes|place: x", "yesterday | place: The Old Mill"])
def test_lines_that_are_no_call(line: str) -> None:
    turn = PlannedTurn(REQUEST, asks=False)
    assert taken(turn, (BOOK, line)) == []
    assert (turn.sealed, turn.question) == (0, "")


def test_no_more_than_sixteen_calls() -> None:
    """A model that goes round in circles ends somewhere."""
    turn = PlannedTurn(REQUEST, asks=False)
    assert len(taken(turn, *((BOOK, f"yes | place: p{n} | day: tomorrow") for n in range(30)))) == 16


def test_a_line_without_a_value_is_the_same_as_one_that_says_so() -> None:
    """Either lacks the day; it is asked for once."""
    turn = PlannedTurn(REQUEST, asks=True)
    calls = taken(turn, (BOOK, "yes | place: The Old Mill | day: ?"), (BOOK, "yes | place: The Old Mill"))
    assert calls == [("ask_user", {"question": "Book a table: which day?"})]


KINDS = spec(
    {
        "room": {"enum": ["sea", "garden"]},
        "floor": {"enum": [1, 2, 3]},
        "with_balcony": {"type": "boolean"},
        "guest_name": TEXT,
        "late": {"type": "boolean"},
    },
    name="room",
    description="Book a room.\nAnd more of it.",
)


def test_the_kinds_of_questions() -> None:
    """Choices for an enum, yes or no for a boolean, else words; no more than four about one call."""
    turn = PlannedTurn(asked("a room"), asks=True)
    calls = taken(turn, (shown(KINDS), "yes"))
    assert calls == [
        ("ask_user", {"question": "Book a room: which room?", "kind": "choice", "choices": ["sea", "garden"]}),
        ("ask_user", {"question": "Book a room: which floor?", "kind": "choice", "choices": ["1", "2", "3"]}),
        ("ask_user", {"question": "Book a room: with balcony?", "kind": "confirm"}),
        ("ask_user", {"question": "Book a room: which guest name?"}),
    ]


@pytest.mark.parametrize(
    "tool",
    [
        KINDS,
        spec({"x": TEXT}, description="A very long line. " * 200),
        spec({"x": {"enum": [f"value {n}" for n in range(200)]}}),
        spec({"x": {"type": "array", "items": {"enum": ["a", "b"]}}}),
    ],
)
def test_questions_are_such_as_ask_user_takes(tool: ToolSpec) -> None:
    """A choice among more values than it can offer is asked in words."""
    from jsonschema import Draft202012Validator

    turn = PlannedTurn(asked("do it"), asks=True)
    calls = taken(turn, (shown(tool), "yes"))
    assert calls
    for _, arguments in calls:
        Draft202012Validator(dict(ASK_USER.input_schema)).validate(arguments)
        assert "choices" not in arguments or len(arguments["choices"]) < 50


def test_answers_are_read_as_the_tool_wants_them() -> None:
    """In the order of the questions; what can not be read is given as it is, what nobody answered is left out."""
    turn = PlannedTurn(asked("a room"), asks=True, answers=["garden", "2", False, " Ann "])
    assert taken(turn, (shown(KINDS), "yes")) == [
        ("room", {"room": "garden", "floor": 2, "with_balcony": False, "guest_name": "Ann"})
    ]
    turn = PlannedTurn(asked("a room"), asks=True, answers=["roof", None])
    assert taken(turn, (shown(KINDS), "yes")) == [("room", {"room": "roof"})]


def test_answers_find_their_calls_whichever_line_came_first() -> None:
    """The model is asked about all tools at once, so the order of the lines is not that of the turn before."""
    hotel = shown(spec({"day": DATE}, name="hotel", description="Book a hotel."))
    book, stay = (BOOK, "yes | place: The Old Mill | day: ?"), (hotel, "yes | day: ?")
    second = (BOOK, "yes | place: Luigi's | day: ?")
    questions = taken(PlannedTurn(REQUEST, asks=True), stay, book, second)
    assert [call["question"][:12] for _, call in questions] == ["Book a table", "Book a table", "Book a hotel"]
    wanted = [
        ("book", {"place": "The Old Mill", "day": "2026-11-22"}),
        ("book", {"place": "Luigi's", "day": "2026-11-27"}),
        ("hotel", {"day": "2026-11-28"}),
    ]
    for lines in ([stay, book, second], [book, stay, second], [book, second, stay]):
        turn = PlannedTurn(REQUEST, asks=True, answers=["tomorrow", "Friday", "2026-11-28"])
        assert taken(turn, *lines) == wanted


def test_complete_calls_are_not_made_again() -> None:
    """The turn before made them; only what waited for answers is left."""
    turn = PlannedTurn(REQUEST, asks=True, answers=["Friday"])
    lines = [(BOOK, "yes | place: The Old Mill | day: tomorrow"), (BOOK, "yes | place: Luigi's | day: ?")]
    assert taken(turn, *lines) == [("book", {"place": "Luigi's", "day": "2026-11-27"})]


OUTPUT = {"properties": {"id": TEXT, "phone_number": TEXT, "a/b": TEXT}}
FIND = shown(spec({"name": TEXT}, name="find", description="Find a person.", output_schema=OUTPUT))
ROOT = shown(spec({"name": TEXT}, name="other", description="Find another.", output_schema={"type": "string"}))
SINGLE = shown(spec({"name": TEXT}, name="single", output_schema={"properties": {"value": TEXT}}))


def tell(name: str, **more: Any) -> ShownTool:
    return shown(spec({name: TEXT, "text": TEXT}, name="tell", description="Tell somebody.", **more))


@pytest.mark.parametrize(
    ("sources", "argument", "reference"),
    [
        ([FIND], "phone", {"$from": "$1", "path": "/phone_number"}),
        ([ROOT, FIND], "phone", {"$from": "$2", "path": "/phone_number"}),
        ([FIND, ROOT], "phone", {"$from": "$1", "path": "/phone_number"}),
        ([FIND], "colour", {"$from": "$1", "path": "/id"}),
        ([FIND], "b", {"$from": "$1", "path": "/a~1b"}),
        ([ROOT], "phone", {"$from": "$1"}),
        ([SINGLE], "phone", {"$from": "$1", "path": "/value"}),
    ],
)
def test_a_value_from_another_calls_result(
    sources: Sequence[ShownTool], argument: str, reference: Mapping[str, str]
) -> None:
    """Of the call with the best suiting field; sealed last, under the numbers of the lines."""
    lines = [(source, "yes | name: Ann") for source in sources]
    last = (tell(argument), f"yes | {argument}: $ | text: tomorrow")
    for order in ([*lines, last], [last, *lines]):
        turn = PlannedTurn(REQUEST, asks=False)
        calls = taken(turn, *order)
        assert [name for name, _ in calls] == [*(source.name for source in sources), "tell"]
        number = int(reference["$from"][1:]) + (order[0] is last)
        assert calls[-1][1] == {argument: {**reference, "$from": f"${number}"}, "text": "tomorrow"}


def test_references_with_nothing_to_refer_to() -> None:
    """Nor do two calls refer to one another."""
    told = tell("phone")
    turn = PlannedTurn(REQUEST, asks=True)
    lines = [(told, "yes | phone: $ | text: tomorrow"), (told, "yes | phone: $ | text: Friday")]
    assert taken(turn, *lines) == [("tell", {"text": "tomorrow"}), ("tell", {"text": "Friday"})]


LINKED = [(FIND, "yes | name: ?"), (tell("phone"), "yes | phone: $ | text: tomorrow")]


def test_what_needs_the_result_of_a_lacking_call_waits_with_it() -> None:
    """Its reference would point nowhere in this turn; in the next it names the call as that turn does."""
    first = PlannedTurn(REQUEST, asks=True)
    assert taken(first, *LINKED) == [("ask_user", {"question": "Find a person: which name?"})]
    second = PlannedTurn(REQUEST, asks=True, answers=["Ann"])
    wanted = {"phone": {"$from": "$1", "path": "/phone_number"}, "text": "tomorrow"}
    assert taken(second, *LINKED) == [("find", {"name": "Ann"}), ("tell", wanted)]


def test_a_lacking_call_and_what_needs_it_without_questions() -> None:
    """Alone they are a question in words; beside others they are made, the source first."""
    alone = PlannedTurn(REQUEST, asks=False)
    assert taken(alone, *LINKED) == []
    assert alone.question == "Find a person: please tell me the name."
    beside = PlannedTurn(REQUEST, asks=False)
    calls = taken(beside, (BOOK, "yes | place: The Old Mill | day: tomorrow"), *LINKED)
    wanted = {"phone": {"$from": "$2", "path": "/phone_number"}, "text": "tomorrow"}
    assert calls[1:] == [("find", {}), ("tell", wanted)]


def test_a_linked_call_is_made_once_though_another_lacks_something() -> None:
    """It needed the complete call, and was made with it."""
    lines = [(FIND, "yes | name: Ann"), (BOOK, "yes | place: Luigi's | day: ?"), LINKED[1]]
    first, second = PlannedTurn(REQUEST, asks=True), PlannedTurn(REQUEST, asks=True, answers=["Friday"])
    assert [name for name, _ in taken(first, *lines)] == ["find", "tell", "ask_user"]
    assert [name for name, _ in taken(second, *lines)] == ["book"]


def test_a_call_that_lacks_one_value_and_is_given_another() -> None:
    """Made beside others, it keeps its reference."""
    turn = PlannedTurn(REQUEST, asks=False)
    calls = taken(turn, (FIND, "yes | name: Ann"), (tell("phone"), "yes | phone: $ | text: ?"))
    assert calls[1] == ("tell", {"phone": {"$from": "$1", "path": "/phone_number"}})


def normalise(arguments: Mapping[str, Any]) -> dict[str, Any]:
    if arguments["place"] != "Luigi's":
        raise ToolFailure(ToolFailureCode.INVALID_ARGUMENTS, "no such place")
    return {**arguments, "place": "LUIGI"}


def test_a_tool_that_refuses() -> None:
    """It gets its canonical form where it has one, and else what was said, to complain of it itself."""
    tool = shown(spec({"place": TEXT, "day": DATE}, normalise=normalise))
    turn = PlannedTurn(REQUEST, asks=False)
    lines = [(tool, "yes | place: Luigi's | day: Friday"), (tool, "yes | place: The Old Mill | day: tomorrow")]
    assert taken(turn, *lines) == [
        ("book", {"place": "LUIGI", "day": "2026-11-27"}),
        ("book", {"place": "The Old Mill", "day": "2026-11-22"}),
    ]


def test_a_reference_is_not_shown_to_the_tool_as_a_value() -> None:
    tool = shown(spec({"place": TEXT, "day": DATE}, name="tell", normalise=normalise))
    turn = PlannedTurn(REQUEST, asks=False)
    calls = taken(turn, (FIND, "yes | name: Ann"), (tool, "yes | place: $ | day: tomorrow"))
    assert calls[1] == ("tell", {"place": {"$from": "$1", "path": "/id"}, "day": "2026-11-22"})


def test_how_sure_and_under_which_number() -> None:
    turn = PlannedTurn(REQUEST, asks=False)
    first = turn.take(BOOK, Line("yes | place: The Old Mill | day: tomorrow", 0.25))
    assert turn.take(BOOK, Line("yes | place: The Old Mill | day: ?", 0.5)) is None
    third = turn.take(BOOK, Line("yes | place: Luigi's | day: Friday"))
    assert first is not None
    assert third is not None
    assert (first.provider_id, first.confidence) == ("$1", 0.25)
    assert (third.provider_id, third.confidence) == ("$3", None)
    assert [call.confidence for call in turn.rest()] == [0.5]
    assert turn.sealed == 3


def ask(call_id: str, tool: str = "ask_user") -> CallRequest:
    return CallRequest(call_id, tool, b"{}")


USER = UserMessage("do it")


@pytest.mark.parametrize(
    ("messages", "answers"),
    [
        ([USER], None),
        ([], None),
        ([USER, AssistantMessage("", (ask("a"),)), ToolMessage("a", "ask_user", '"x"')], ["x"]),
        ([USER, AssistantMessage("", (ask("a"),)), ToolMessage("a", "ask_user", "true")], [True]),
        ([USER, AssistantMessage("", (ask("a"),)), ToolMessage("a", "ask_user", "not JSON")], ["not JSON"]),
        ([USER, AssistantMessage("", (ask("a"),)), ToolMessage("a", "ask_user", "skipped", ok=False)], [None]),
        ([USER, AssistantMessage("", (ask("a"),))], [None]),
        (
            [
                USER,
                AssistantMessage("", (ask("a"), ask("b", "find"), ask("c"))),
                ToolMessage("c", "ask_user", "3"),
                ToolMessage("b", "find", "2"),
                ToolMessage("a", "ask_user", "1"),
            ],
            [1, 3],
        ),
        ([USER, AssistantMessage("", (ask("b", "find"),)), ToolMessage("b", "find", "2")], None),
        (
            [
                USER,
                AssistantMessage("", (ask("a"),)),
                ToolMessage("a", "ask_user", "1"),
                AssistantMessage("", (ask("b", "find"),)),
                ToolMessage("b", "find", "2"),
            ],
            None,
        ),
        ([USER, AssistantMessage("", (ask("a"),)), ToolMessage("a", "ask_user", "1"), USER], None),
    ],
)
def test_the_answers_of_the_turn_before(messages: Sequence[Message], answers: list[Any] | None) -> None:
    """In the order of the questions; those of an earlier turn or request count no more."""
    assert answers_of(ChatRequest(messages=messages)) == answers
