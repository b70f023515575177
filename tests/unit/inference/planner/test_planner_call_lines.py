"""How the trained model writes calls."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from podium.inference.planner.call_lines import FROM_RESULT, NO, UNSAID, parse_call, write_call

NAMES = ("day", "guests", "day_after", "to.city")
# Values as like the form itself as can be.
_value = st.one_of(
    st.text(st.characters(exclude_characters="\n\r", exclude_categories=("Cs",)), max_size=20),
    st.lists(st.sampled_from([" | ", "|", ":", ": ", " ", *NAMES, "yes", "no", "?", "$", "six"]), max_size=8).map(
        "".join
    ),
)


def read(line: str) -> dict[str, str] | None:
    call = parse_call(line, NAMES)
    return None if call is None else dict(call.values)


@given(st.dictionaries(st.sampled_from(NAMES), _value, max_size=4))
@settings(max_examples=150, deadline=None)
def test_a_written_call_reads_back(values: dict[str, str]) -> None:
    """Whatever is in a value, unless it holds the separator and a parameter's name behind it."""
    assume(not any(f" | {name}:" in f": {value} |" for value in values.values() for name in NAMES))
    assert read(write_call(values)) == {name: value.strip() for name, value in values.items() if value.strip()}


def test_the_form_itself() -> None:
    """The model was taught just this."""
    line = write_call({"guests": "six", "day": "next Friday"})
    assert line == "yes | guests: six | day: next Friday"
    assert write_call({}) == "yes"


@pytest.mark.parametrize("line", [NO, "", "no | day: Friday", "yesterday | day: x", "maybe", "Yes", "yes: day", "?"])
def test_what_is_no_call(line: str) -> None:
    assert read(line) is None


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("yes", {}),
        ("  yes | day: Friday  ", {"day": "Friday"}),
        ("yes | day:Friday", {"day": "Friday"}),
        ("yes | day: tea | cake | guests: 2", {"day": "tea | cake", "guests": "2"}),
        ("yes | day: at 6: 30", {"day": "at 6: 30"}),
        ("yes | day: guests: 2", {"day": "guests: 2"}),
        ("yes | day_after: x | day: y", {"day_after": "x", "day": "y"}),
        ("yes | to.city: Rome", {"to.city": "Rome"}),
        ("yes | toXcity: Rome", {}),
        ("yes | day: x | day: y", {"day": "x"}),
        ("yes | day: | day: y", {"day": "y"}),
        ("yes | day: | guests: 2", {"guests": "2"}),
        ("yes | day:  | guests: 2", {"guests": "2"}),
        ("yes | unknown: z", {}),
        ("yes | unknown: z | day: x", {"day": "x"}),
        ("yes | day: x | unknown: z", {"day": "x | unknown: z"}),
        ("yes |", None),
        ("yes | day: | x", {"day": "| x"}),
    ],
)
def test_lines_taken_apart(line: str, values: dict[str, str] | None) -> None:
    assert read(line) == values


def test_a_tool_without_parameters_takes_no_values() -> None:
    call = parse_call("yes | day: x", ())
    assert call is not None
    assert call.values == {}


def test_names_are_taken_to_the_letter() -> None:
    """A name is no pattern."""
    call = parse_call("yes | a+b: x | aab: y", ("a+b",))
    assert call is not None
    assert call.values == {"a+b": "x | aab: y"}


def test_what_the_request_does_not_hold() -> None:
    call = parse_call(f"yes | day: {UNSAID} | guests: {FROM_RESULT} | to.city: why?", NAMES)
    assert call is not None
    assert call.unsaid == ("day",)


@pytest.mark.parametrize(
    ("line", "names", "values"),
    [
        ("yes | phone: 1", ("owner.phone", "pet"), {"owner.phone": "1"}),
        ("yes | pet: Rex | phone: 1", ("owner.phone", "pet"), {"pet": "Rex", "owner.phone": "1"}),
        ("yes | owner.phone: 1 | phone: 2", ("owner.phone",), {"owner.phone": "1"}),
        ("yes | phone: 1", ("owner.phone", "phone"), {"phone": "1"}),
        ("yes | phone: 1", ("owner.phone", "vet.phone"), {}),
        ("yes | b.c: 1 | c: 2", ("a.b.c",), {"a.b.c": "2"}),
    ],
)
def test_the_end_of_a_dotted_name(line: str, names: tuple[str, ...], values: dict[str, str]) -> None:
    """It stands for the whole where nothing else ends so."""
    call = parse_call(line, names)
    assert call is not None
    assert call.values == values


@pytest.mark.parametrize("line", ["yes | day: Friday | guests: six", "yes | guests: x | unknown: z | day: y | day: z"])
def test_where_each_part_stands(line: str) -> None:
    """From the separator before a name to the end of its value."""
    call = parse_call(line, NAMES)
    assert call is not None
    assert call.parts.keys() == call.values.keys()
    for name, (start, end) in call.parts.items():
        assert line[start:end] == f" | {name}: {call.values[name]}"
