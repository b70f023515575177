"""What becomes of the lines of a turn."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import permutations
from typing import Any

import pytest
from planner_fakes import asked, proposed, shown, spec

from podium.inference.planner.competing import Proposal
from podium.inference.planner.lines import Line
from podium.inference.planner.shown import ShownTool
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


def calls_of(events: Iterable[ToolCallSealed]) -> list[tuple[str, Any]]:
    return [(event.tool, json.loads(event.arguments_json)) for event in events]


def turn_of(request: str, *, asks: bool = False, answers: Sequence[Any] | None = None) -> PlannedTurn:
    return PlannedTurn(asked(request), asks=asks, answers=answers)


def taken(
    request: str, *lines: tuple[ShownTool, str], asks: bool = False, answers: Sequence[Any] | None = None
) -> list[tuple[str, Any]]:
    """Return the calls of a whole turn; all lines are sure of their tools."""
    proposals = [proposed(tool, line, request, 6.0) for tool, line in lines]
    return calls_of(turn_of(request, asks=asks, answers=answers).calls(proposals))


BOOK = shown(spec({"place": TEXT, "day": DATE}, name="book", description="Book a table."))
REQUEST = "book The Old Mill tomorrow and Luigi's on Friday, then tell Ann"
MILL, LUIGI = "yes | place: The Old Mill | day: tomorrow", "yes | place: Luigi's | day: Friday"


@pytest.mark.parametrize("line", ["no", "nothing", "", "yes|place: x", "yesterday | place: The Old Mill"])
def test_lines_that_are_no_call(line: str) -> None:
    turn = turn_of(REQUEST)
    assert list(turn.calls([proposed(BOOK, line, REQUEST)])) == []
    assert (turn.sealed, turn.question) == (0, "")


def test_no_more_than_sixteen_calls() -> None:
    """A model that goes round in circles ends somewhere."""
    assert len(taken(REQUEST, *((BOOK, f"yes | place: p{n} | day: tomorrow") for n in range(30)))) == 16


def test_calls_come_in_the_order_of_the_request() -> None:
    """Whichever was proposed first; and the same call once, wherever else it was proposed."""
    wanted = [
        ("book", {"place": "The Old Mill", "day": "2026-11-22"}),
        ("book", {"place": "Luigi's", "day": "2026-11-27"}),
    ]
    for lines in permutations([MILL, LUIGI, MILL]):
        assert taken(REQUEST, *((BOOK, line) for line in lines)) == wanted
    clause = proposed(BOOK, LUIGI, REQUEST, 2.0, part="Luigi's on Friday")
    first = proposed(BOOK, MILL, REQUEST, 3.0)
    for proposals in ([first, clause], [clause, first], [first, clause, proposed(BOOK, LUIGI, REQUEST, 3.0)]):
        assert calls_of(turn_of(REQUEST).calls(proposals)) == wanted


def test_neighbours_are_not_made_together() -> None:
    """A tool that copies another one's words is not meant, nor asked about, when that one lacks nothing."""
    move = shown(spec({"place": TEXT, "code": TEXT}, name="move", description="Move a booking."))
    likely, other = proposed(BOOK, MILL, REQUEST, 4.0), proposed(move, "yes | place: The Old Mill", REQUEST, 5.0)
    assert calls_of(turn_of(REQUEST, asks=True).calls([other, likely])) == taken(REQUEST, (BOOK, MILL))


def test_what_is_open_is_filled_from_the_request_and_else_from_another_call() -> None:
    """The day that the second call stopped before; else the first one's, where the model left it out."""
    first, second = "yes | place: The Old Mill | day: tomorrow", "yes | place: Luigi's"
    request = "book The Old Mill tomorrow and Luigi's on Friday"
    assert taken(request, (BOOK, second), (BOOK, first))[1] == ("book", {"place": "Luigi's", "day": "2026-11-27"})
    request = "book The Old Mill tomorrow and Luigi's"
    assert taken(request, (BOOK, second), (BOOK, first))[1] == ("book", {"place": "Luigi's", "day": "2026-11-22"})
    calls = taken(request, (BOOK, f"{second} | day: ?"), (BOOK, first), asks=True)
    assert calls[1:] == [("ask_user", {"question": "Book a table: which day?"})]


def test_a_clause_inherits_what_the_request_says_elsewhere() -> None:
    """Though the model found it unsaid there: of the tool's own line about the whole request, or of another clause."""
    request = "book The Old Mill tomorrow and then Luigi's"
    clauses = [
        proposed(BOOK, MILL, request, 4.0, part="book The Old Mill tomorrow"),
        proposed(BOOK, "yes | place: Luigi's | day: ?", request, 4.0, part="Luigi's"),
    ]
    wanted = [
        ("book", {"place": "The Old Mill", "day": "2026-11-22"}),
        ("book", {"place": "Luigi's", "day": "2026-11-22"}),
    ]
    assert calls_of(turn_of(request).calls(clauses)) == wanted
    whole = proposed(BOOK, "yes | place: The Old Mill | day: Friday", request, 1.0)
    assert calls_of(turn_of(request).calls([*clauses[1:], whole]))[-1][1]["place"] == "Luigi's"


def test_a_call_that_still_lacks_something_is_made_with_what_it_has() -> None:
    """Beside others, so that its tool says what is missing: it is not filled with another call's values."""
    request = "book The Old Mill tomorrow, then weigh"
    weigh = shown(spec({"grams": {"type": "integer"}, "note": TEXT}, name="weigh", required=["grams"]))
    assert taken(request, (BOOK, MILL), (weigh, "yes | grams: ?"))[1:] == [("weigh", {})]


def test_a_clause_is_filled_from_its_own_words() -> None:
    """Where its places are counted from is no matter."""
    clause = proposed(BOOK, "yes | place: Luigi's", REQUEST, 2.0, part="Luigi's on Friday")
    whole = proposed(BOOK, MILL, REQUEST, 3.0)
    assert calls_of(turn_of(REQUEST).calls([clause, whole])) == taken(REQUEST, (BOOK, MILL), (BOOK, LUIGI))


def test_an_optional_value_that_nobody_said() -> None:
    tool = shown(spec({"place": TEXT, "note": TEXT}, required=["place"]))
    text = "yes | place: Luigi's | note: birthday"
    for logprob, more in ((-3.0, {}), (-0.1, {"note": "birthday"})):
        line = Line(text, 0.5, ((20, 0.0), (len(text), logprob)))
        (call,) = turn_of(REQUEST).calls([Proposal(tool, line, 3.0, asked(REQUEST))])
        assert json.loads(call.arguments_json) == {"place": "Luigi's", **more}


def test_a_line_without_a_value_is_the_same_as_one_that_says_so() -> None:
    """Either lacks the day; it is asked for once."""
    lines = [(BOOK, "yes | place: The Old Mill | day: ?"), (BOOK, "yes | place: The Old Mill")]
    calls = taken("book The Old Mill", *lines, asks=True)
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
    calls = taken("a room", (shown(KINDS), "yes"), asks=True)
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

    calls = taken("do it", (shown(tool), "yes"), asks=True)
    assert calls
    for _, arguments in calls:
        Draft202012Validator(dict(ASK_USER.input_schema)).validate(arguments)
        assert "choices" not in arguments or len(arguments["choices"]) < 50


def test_answers_are_read_as_the_tool_wants_them() -> None:
    """In the order of the questions; what can not be read is given as it is, what nobody answered is left out."""
    line = (shown(KINDS), "yes")
    assert taken("a room", line, asks=True, answers=["garden", "2", False, " Ann "]) == [
        ("room", {"room": "garden", "floor": 2, "with_balcony": False, "guest_name": "Ann"})
    ]
    assert taken("a room", line, asks=True, answers=["roof", None]) == [("room", {"room": "roof"})]


def test_answers_find_their_calls_whichever_line_came_first() -> None:
    """The model is asked about all tools at once, so the order of the lines is not that of the turn before."""
    hotel = shown(spec({"day": DATE}, name="hotel", description="Book a hotel."))
    lines = [
        (BOOK, "yes | place: The Old Mill | day: ?"),
        (hotel, "yes | day: ?"),
        (BOOK, "yes | place: Luigi's | day: ?"),
    ]
    request = "a hotel and The Old Mill and Luigi's"
    questions = taken(request, *lines, asks=True)
    assert [call["question"][:12] for _, call in questions] == ["Book a table", "Book a table", "Book a hotel"]
    for order in permutations(lines):
        assert taken(request, *order, asks=True, answers=["tomorrow", "Friday", "2026-11-28"]) == [
            ("book", {"place": "The Old Mill", "day": "2026-11-22"}),
            ("book", {"place": "Luigi's", "day": "2026-11-27"}),
            ("hotel", {"day": "2026-11-28"}),
        ]


def test_complete_calls_are_not_made_again() -> None:
    """The turn before made them; only what waited for answers is left."""
    lines = [(BOOK, MILL), (BOOK, "yes | place: Luigi's | day: ?")]
    calls = taken("book The Old Mill tomorrow and Luigi's", *lines, asks=True, answers=["Friday"])
    assert calls == [("book", {"place": "Luigi's", "day": "2026-11-27"})]


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
    """Of the call with the best suiting field; sealed last, under the numbers of the request's order."""
    lines = [(source, f"yes | name: {name}") for source, name in zip(sources, ("Ann", "Ben"), strict=False)]
    last = (tell(argument), f"yes | {argument}: $ | text: tomorrow")
    for order in permutations([*lines, last]):
        calls = taken("find Ann and look up Ben, then tell them tomorrow", *order)
        assert [name for name, _ in calls] == [*(source.name for source in sources), "tell"]
        assert calls[-1][1] == {argument: reference, "text": "tomorrow"}


def test_a_reference_to_a_call_whose_words_come_later() -> None:
    """It is made after it all the same, and names it by its number."""
    lines = [(FIND, "yes | name: Ann"), (tell("phone"), "yes | phone: $ | text: hello")]
    find, told = turn_of(text := "say hello and find Ann").calls([proposed(*line, text, 6.0) for line in lines])
    assert (find.tool, find.provider_id, told.provider_id) == ("find", "$2", "$1")
    assert json.loads(told.arguments_json)["phone"] == {"$from": "$2", "path": "/phone_number"}


def test_references_with_nothing_to_refer_to() -> None:
    """Nor do two calls refer to one another."""
    told = tell("phone")
    lines = [(told, "yes | phone: $ | text: tomorrow"), (told, "yes | phone: $ | text: Friday")]
    assert taken(REQUEST, *lines, asks=True) == [("tell", {"text": "tomorrow"}), ("tell", {"text": "Friday"})]


LINKED_REQUEST = "book The Old Mill tomorrow, then look it up and say hello"
LINKED = [(FIND, "yes | name: ?"), (tell("phone"), "yes | phone: $ | text: hello")]
LINKED_MEANT = ("tell", {"phone": {"$from": "$2", "path": "/phone_number"}, "text": "hello"})


def test_what_needs_the_result_of_a_lacking_call_waits_with_it() -> None:
    """Its reference would point nowhere in this turn; in the next it names the call as that turn does."""
    first = taken(LINKED_REQUEST, *LINKED, asks=True)
    assert first == [("ask_user", {"question": "Find a person: which name?"})]
    second = taken(LINKED_REQUEST, *LINKED, asks=True, answers=["Ann"])
    assert second == [("find", {"name": "Ann"}), LINKED_MEANT]


def test_a_lacking_call_and_what_needs_it_without_questions() -> None:
    """Alone they are a question in words; beside others they are made, the source first."""
    alone = turn_of(LINKED_REQUEST)
    assert list(alone.calls([proposed(*line, LINKED_REQUEST, 6.0) for line in LINKED])) == []
    assert alone.question == "Find a person: please tell me the name."
    calls = taken(LINKED_REQUEST, (BOOK, MILL), *LINKED)
    wanted = {"phone": {"$from": "$3", "path": "/phone_number"}, "text": "hello"}
    assert calls[1:] == [("find", {}), ("tell", wanted)]


def test_a_linked_call_is_made_once_though_another_lacks_something() -> None:
    """It needed the complete call, and was made with it."""
    request = "find Ann and say hello and book Luigi's"
    lines = [(FIND, "yes | name: Ann"), (BOOK, "yes | place: Luigi's | day: ?"), LINKED[1]]
    assert [name for name, _ in taken(request, *lines, asks=True)] == ["find", "tell", "ask_user"]
    assert [name for name, _ in taken(request, *lines, asks=True, answers=["Friday"])] == ["book"]


def test_a_call_that_lacks_one_value_and_is_given_another() -> None:
    """Made beside others, it keeps its reference."""
    calls = taken("find Ann and tell her", (FIND, "yes | name: Ann"), (tell("phone"), "yes | phone: $ | text: ?"))
    assert calls[1] == ("tell", {"phone": {"$from": "$1", "path": "/phone_number"}})


def normalise(arguments: Mapping[str, Any]) -> dict[str, Any]:
    if arguments["place"] != "Luigi's":
        raise ToolFailure(ToolFailureCode.INVALID_ARGUMENTS, "no such place")
    return {**arguments, "place": "LUIGI"}


def test_a_tool_that_refuses() -> None:
    """It gets its canonical form where it has one, and else what was said, to complain of it itself."""
    tool = shown(spec({"place": TEXT, "day": DATE}, normalise=normalise))
    assert taken(REQUEST, (tool, LUIGI), (tool, MILL)) == [
        ("book", {"place": "The Old Mill", "day": "2026-11-22"}),
        ("book", {"place": "LUIGI", "day": "2026-11-27"}),
    ]


def test_a_reference_is_not_shown_to_the_tool_as_a_value() -> None:
    tool = shown(spec({"place": TEXT, "day": DATE}, name="tell", normalise=normalise))
    calls = taken(REQUEST, (FIND, "yes | name: Ann"), (tool, "yes | place: $ | day: tomorrow"))
    assert calls[1] == ("tell", {"place": {"$from": "$2", "path": "/id"}, "day": "2026-11-22"})


def test_how_sure_and_under_which_number() -> None:
    """What lacks something is sealed last and keeps its number."""
    request = "book The Old Mill tomorrow and Rosa's and Luigi's on Friday"
    lines = [Line(LUIGI), Line("yes | place: Rosa's | day: ?", 0.5), Line(MILL, 0.25)]
    turn = turn_of(request)
    calls = list(turn.calls([Proposal(BOOK, line, 3.0, asked(request)) for line in lines]))
    assert [(call.provider_id, call.confidence) for call in calls] == [("$1", 0.25), ("$3", None), ("$2", 0.5)]
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
