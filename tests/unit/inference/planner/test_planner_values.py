"""From the model's words to arguments."""

from __future__ import annotations

from typing import Any

import pytest
from planner_fakes import asked, parameters, slot

from podium.inference.planner.call_lines import WrittenCall
from podium.inference.planner.values import ReadCall, Unreadable, read_call, read_value

TEXT, INTEGER, NUMBER = {"type": "string"}, {"type": "integer"}, {"type": "number"}
DATE = {"type": "string", "format": "date"}
TIME = {"type": "string", "format": "time"}
MOMENT = {"type": "string", "format": "date-time"}
SEAT = {"enum": ["window", "aisle", "middle_row"]}
ZONES = [
    "Europe/Berlin",
    "Europe/Paris",
    "America/New_York",
    "US Dollar",
    "Swiss franc",
    "Yen",
    "Euro",
    "Pound sterling",
]
LONG = {"enum": [*ZONES, "Turkish lira", "Rand", "Real", "Won", "Yuan", "Rupee"]}
CODE = {"type": "string", "pattern": r"^[A-Z]{2}\d{3}$"}
ROW = {"type": "object", "properties": {"a": TEXT}}


def many(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": item}


def value(schema: dict[str, Any], said: str, request: str | None = None, name: str = "x") -> Any:
    return read_value(slot(schema, name), said, asked(f"please do {said} now" if request is None else request))


@pytest.mark.parametrize(
    ("schema", "said", "meant"),
    [
        (INTEGER, "1,200", 1200),
        (INTEGER, "three", 3),
        (INTEGER, "twenty-five", 25),
        (INTEGER, "two hundred and five", 205),
        (INTEGER, "a dozen", 12),
        (INTEGER, "2 dozen eggs", 24),
        (INTEGER, "half a dozen", 6),
        (INTEGER, "500k", 500_000),
        (NUMBER, "1.5 million", 1_500_000),
        (NUMBER, "1,200.50", 1200.5),
        (NUMBER, "two and a half", 2.5),
        (NUMBER, "3.0", 3),
        (NUMBER, "$30", 30),
        (INTEGER, "30 euros", 30),
        (INTEGER, "-3", -3),
        (INTEGER, "3rd", 3),
        (INTEGER, "the second", 2),
        (INTEGER, "an", 1),
        (INTEGER, "twice", 2),
        (INTEGER, "12345678901234567891", 12345678901234567891),
        ({"type": "integer", "minimum": 1, "maximum": 10}, "50", 50),
        ({"type": "integer", "minimum": 1, "maximum": 10}, "fifty", 50),
        (DATE, "2026-12-01", "2026-12-01"),
        (DATE, "tomorrow", "2026-11-22"),
        (DATE, "next Friday", "2026-11-27"),
        (DATE, "Fri", "2026-11-27"),
        (DATE, "tomorow", "2026-11-22"),
        (DATE, "wendesday", "2026-11-25"),
        (DATE, "in two weeks", "2026-12-05"),
        (DATE, "the 3rd of May 2027", "2027-05-03"),
        (DATE, "24.12.2026", "2026-12-24"),
        (DATE, "tonight", "2026-11-21"),
        (TIME, "half past six", "06:30"),
        (TIME, "quarter to nine", "08:45"),
        (TIME, "6:30pm", "18:30"),
        (TIME, "noon", "12:00"),
        (TIME, "8 in the evening", "20:00"),
        (TIME, "2 at night", "02:00"),
        (TIME, "tomorrow at 5 pm", "17:00"),
        (MOMENT, "tomorrow at 5pm", "2026-11-22T17:00:00"),
        (MOMENT, "tomorrow at 8 in the evening", "2026-11-22T20:00:00"),
        (MOMENT, "next Friday", "2026-11-27T00:00:00"),
        (MOMENT, "2026-12-01T10:00:00Z", "2026-12-01T10:00:00Z"),
        ({"type": "boolean"}, "Yes", True),
        ({"type": "boolean"}, "no", False),
        ({"type": "boolean"}, "true.", True),
        (SEAT, "Window", "window"),
        (SEAT, "middle row", "middle_row"),
        (SEAT, "Middle-Row", "middle_row"),
        (SEAT, "aisel", "aisle"),
        (SEAT, "by the window", "window"),
        (LONG, "us dollars", "US Dollar"),
        (LONG, "europe/paris", "Europe/Paris"),
        (LONG, "new york", "America/New_York"),
        ({"enum": [1, 2, 3]}, "two", 2),
        ({"enum": [True, False]}, "no", False),
        ({"enum": ["€", "$"]}, "$", "$"),
        ({"type": "object"}, '{"a": [1]}', {"a": [1]}),
        ({"type": "string", "x-podium-kind": "glob"}, "markdown files", "*.md"),
        ({"type": "string", "x-podium-kind": "glob"}, "*.txt", "*.txt"),
        ({"type": "string", "format": "email"}, "anna@example.com", "anna@example.com"),
    ],
)
def test_words_and_what_they_mean(schema: dict[str, Any], said: str, meant: Any) -> None:
    read = value(schema, said)
    assert read == meant
    assert type(read) is type(meant)


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (INTEGER, "many"),
        (INTEGER, "3.5"),
        (INTEGER, "two and a half"),
        (INTEGER, "1,2"),
        (NUMBER, "1e999"),
        (NUMBER, "9" * 400),
        (INTEGER, "next Friday"),
        (DATE, "someday"),
        (DATE, "31 February"),
        (DATE, "2026-02-31"),
        (TIME, "soon"),
        (TIME, "25:00"),
        (MOMENT, "later"),
        ({"type": "boolean"}, "perhaps"),
        (SEAT, "roof"),
        (SEAT, "!"),
        (LONG, "europe"),
        ({"enum": ["+", "-"]}, "*"),
        ({"type": "object"}, "city Rome"),
        ({"type": "object"}, "[1]"),
        ({"type": "object"}, '{"a": NaN}'),
        ({"type": "object"}, "[" * 100_000),
        (many(TEXT), ", ,"),
        (many(SEAT), "window, roof"),
        (many(ROW), "1, 2"),
    ],
)
def test_words_that_mean_nothing_there(schema: dict[str, Any], said: str) -> None:
    with pytest.raises(Unreadable):
        value(schema, said, "x")


@pytest.mark.parametrize(
    ("schema", "said", "meant"),
    [
        (many(TEXT), "milk, eggs; bread and butter", ["milk", "eggs", "bread and butter"]),
        (many(TEXT), "milk, eggs, and bread", ["milk", "eggs", "bread"]),
        (many(TEXT), "Android", ["Android"]),
        (many(INTEGER), "1, two,3", [1, 2, 3]),
        (many(INTEGER), "one and two", [1, 2]),
        (many(INTEGER), "1,200, 300", [1200, 300]),
        (many(NUMBER), "two hundred and five, 1.5", [205, 1.5]),
        (many(DATE), "tomorrow, next Friday", ["2026-11-22", "2026-11-27"]),
        (many(DATE), "May 3, 2027, 4 June 2027", ["2027-05-03", "2027-06-04"]),
        (many(SEAT), "window & aisle", ["window", "aisle"]),
        (many({"enum": ["salt and pepper", "oil"]}), "Salt and pepper, oil", ["salt and pepper", "oil"]),
        (many(ROW), '{"a": "1", "b": 2}, {"a": "3"}', [{"a": "1", "b": 2}, {"a": "3"}]),
        (many(ROW), '[{"a": "1"}]', [{"a": "1"}]),
    ],
)
def test_lists(schema: dict[str, Any], said: str, meant: list[Any]) -> None:
    assert value(schema, said) == meant


@pytest.mark.parametrize(
    ("schema", "said", "request_text", "meant"),
    [
        (DATE, "3", "from 3 to 17 May", "2026-05-03"),
        (DATE, "17", "from May 3 to 17", "2026-05-17"),
        (DATE, "3", "room 13, from 3 to 17 May", "2026-05-03"),
        (DATE, "3 May", "from 3 May to 17 May 2027", "2027-05-03"),
        (DATE, "17 May", "the 17 May 2027 please", "2027-05-17"),
        (DATE, "Monday", "Monday next week", "2026-11-30"),
        (TIME, "6", "a table for 6 at 6 pm", "18:00"),
        (TIME, "six", "at six please", "06:00"),
        (TIME, "8", "at 8 in the evening", "20:00"),
        (MOMENT, "5pm", "tomorrow at 5pm", "2026-11-22T17:00:00"),
        (MOMENT, "tomorrow at 5pm", "on Monday at 3pm and tomorrow at 5pm", "2026-11-22T17:00:00"),
        (many(DATE), "3, 17 May", "on 3 and 17 May", ["2026-05-03", "2026-05-17"]),
    ],
)
def test_what_stands_around_a_copy_tells_more_than_it(
    schema: dict[str, Any], said: str, request_text: str, meant: Any
) -> None:
    assert value(schema, said, request_text) == meant


@pytest.mark.parametrize(
    ("said", "request_text", "minutes"),
    [
        ("2", "a timer of 2 hours", 120),
        ("two", "a timer of two hours", 120),
        ("2 hours", "a timer of 2 hours", 120),
        ("half an hour", "a timer of half an hour", 30),
        ("20", "a timer of 20 minutes", 20),
        ("2", "2 timers of 2 hours", 2),
        ("2", "a timer of 12 hours", 2),
    ],
)
def test_lengths_of_time_come_in_the_unit_that_the_parameter_counts(said: str, request_text: str, minutes: int) -> None:
    assert value(INTEGER, said, request_text, name="minutes") == minutes


def test_without_a_unit_in_its_name_a_number_stays() -> None:
    assert value(INTEGER, "2", "a timer of 2 hours", name="count") == 2


@pytest.mark.parametrize(
    ("said", "request_text", "meant"),
    [
        ("Portlnad", "weather in Portland, please", "Portland"),
        ("portland", "weather in Portland", "Portland"),
        ("New York", "flights to new york", "new york"),
        ("The Old Mil", "a table at The Old Mill!", "The Old Mil"),
        ("The Olld Mill", "a table at The Old Mill!", "The Old Mill"),
        ("call Anna back", "note: call\nAnna  back", "call\nAnna  back"),
        ("Paris", "weather in Portland", "Paris"),
        ("x", "İİİİ X y", "X"),
        ("a.c", "abc A.C", "A.C"),
        ('"hello there"', 'say "hello there" to Bob', "hello there"),
        ("hello there", 'say "hello there" to Bob', "hello there"),
        ("“hi”", "say “hi”", "hi"),
        ("'tis", "'tis", "'tis"),
        ('"a" and "b"', 'put "a" and "b"', '"a" and "b"'),
        ('""', 'put ""', '""'),
        ("5' by 6'", "a rug of 5' by 6'", "5' by 6'"),
    ],
)
def test_text_is_put_back_to_what_the_request_says(said: str, request_text: str, meant: str) -> None:
    """A copy's slips are mended; what the request does not say stays as the model has it."""
    assert value(TEXT, said, request_text) == meant


@pytest.mark.parametrize(
    ("schema", "said", "meant"),
    [
        (CODE, "ab123", "AB123"),
        (CODE, "AB123", "AB123"),
        (CODE, "a-1", "a-1"),
        (CODE, "a" * 300, "a" * 300),
        ({"type": "string", "pattern": "^[a-z]+$"}, "ab", "ab"),
        ({"type": "string", "pattern": "("}, "ab", "ab"),
        ({"type": "string", "pattern": r"^\p{Lu}+$"}, "ab", "ab"),
    ],
)
def test_codes_in_small_letters(schema: dict[str, Any], said: str, meant: str) -> None:
    """Capitals come only where a pattern wants them, and a pattern of another dialect does no harm."""
    assert value(schema, said) == meant


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("date", "next Friday"),
        ("time", "half past six"),
        ("expression", "twelve times (3 plus 4)"),
        ("unit", "feet"),
        ("timezone", "Rome"),
    ],
)
def test_a_declared_kind_gets_the_persons_own_words(kind: str, said: str) -> None:
    schema = {"type": "string", "x-podium-kind": kind}
    assert value(schema, said) == said
    slipped = f"{said[0]}{said[2]}{said[1]}{said[3:]}"
    assert value(schema, slipped, f"please do {said} now") == said


def test_arithmetic_for_a_tool_that_wants_symbols() -> None:
    """The name tells the kind here, and nothing that the tool reads words."""
    assert value(TEXT, "12 times (3 plus 4)", name="expression") == "12 * (3 + 4)"


class TestReadCall:
    TOOL = parameters(
        {
            "guests": INTEGER,
            "day": DATE,
            "to": {"type": "object", "properties": {"city": TEXT, "zip": TEXT}, "required": ["city"]},
            "a.b": TEXT,
            "note": TEXT,
        },
        required=["guests", "day", "to"],
    )
    REQUEST = asked("a table for six next Friday in Rome")

    def read(self, **values: str) -> ReadCall:
        return read_call(
            WrittenCall({name.replace("__", "."): said for name, said in values.items()}), self.TOOL, self.REQUEST
        )

    def test_all_of_it(self) -> None:
        """Objects are built; a name's own dot builds none."""
        assert self.read(guests="six", day="next Friday", to__city="Rome", to__zip="00100", a__b="x") == ReadCall(
            {"guests": 6, "day": "2026-11-27", "to": {"city": "Rome", "zip": "00100"}, "a.b": "x"}
        )

    def test_what_is_lacking(self) -> None:
        """Left out, or `?`; the optional ones are not missed."""
        assert self.read(guests="?", note="?", to__zip="1") == ReadCall(
            {"to": {"zip": "1"}}, unsaid=("guests", "day", "to.city")
        )

    def test_what_cannot_be_read(self) -> None:
        """It is left out, and missed where it is required."""
        assert self.read(guests="many", day="tomorrow", to__city="Rome") == ReadCall(
            {"day": "2026-11-22", "to": {"city": "Rome"}}, unsaid=("guests",), unreadable=("guests",)
        )

    def test_what_another_call_gives(self) -> None:
        assert self.read(guests="$", day="tomorrow", to__city="Rome") == ReadCall(
            {"day": "2026-11-22", "to": {"city": "Rome"}}, linked=("guests",)
        )

    def test_parameters_that_the_tool_has_not(self) -> None:
        assert self.read(guests="1", day="tomorrow", to__city="Rome", other="x", more="$").arguments == {
            "guests": 1,
            "day": "2026-11-22",
            "to": {"city": "Rome"},
        }

    def test_a_request_without_a_day_of_its_own(self) -> None:
        """Words are then read where they stand."""
        from dataclasses import replace

        assert read_value(slot(DATE), "next Friday", replace(self.REQUEST, today=None)) == "2026-11-27"
