"""Which of the proposed calls are made."""

from __future__ import annotations

import math

import pytest
from planner_fakes import asked, proposed, settled_line, shown, spec

from podium.inference.planner.competing import Candidate, Proposal, chosen, clauses
from podium.inference.planner.lines import Line

TEXT, DATE = {"type": "string"}, {"type": "string", "format": "date"}
BOOK = shown(spec({"place": TEXT, "day": DATE}, name="book", description="Book a table."))
MOVE = shown(spec({"place": TEXT, "day": DATE}, name="move", description="Move a booking."))
REQUEST_OF_TWO = "book The Old Mill tomorrow and Luigi's on Friday"
NOTE = shown(spec({"text": TEXT}, name="note", description="Write a note.", required=[]))


def candidate(proposal: Proposal, lacks: int = 0) -> Candidate:
    return Candidate(proposal, settled_line(proposal.shown, proposal.line.text, proposal.clause), lacks)


def names(candidates: list[Candidate], request: str) -> list[str]:
    """Return the tools of the calls that are made."""
    return [one.proposal.shown.name for one in chosen(candidates, asked(request))]


@pytest.mark.parametrize(
    ("request_", "parts"),
    [
        ("cancel Monday and book Friday", ["cancel Monday", "book Friday"]),
        ("Book Friday. Then tell Ann", ["Book Friday.", "Then tell Ann"]),
        ("do this; do that", ["do this", "do that"]),
        ("one line\nanother line", ["one line", "another line"]),
        ("book Friday, please", ["book Friday, please"]),
        ("play this, that and those", ["play this, that", "those"]),
        ('tell Ann "wait and see"', ['tell Ann "wait and see"']),
        ("hello", ["hello"]),
    ],
)
def test_the_clauses_of_a_request(request_: str, parts: list[str]) -> None:
    """Parted by sentence ends and joining words; not by commas, nor within quotations."""
    assert [request_[start:end] for start, end in clauses(asked(request_))] == parts


TWO = "book The Old Mill tomorrow and move Luigi's to Friday"
MILL, LUIGI = "yes | place: The Old Mill | day: tomorrow", "yes | place: Luigi's | day: Friday"


def test_neighbours_that_copy_the_same_words() -> None:
    """The likeliest is made, the others are not, joint or none."""
    both = [candidate(proposed(BOOK, MILL, TWO, 2.0)), candidate(proposed(MOVE, MILL, TWO, 3.0))]
    for order in (both, both[::-1]):
        assert names(order, TWO) == ["move"]


def test_a_second_wish_with_words_of_its_own() -> None:
    """Both are made, in the order in which the request has their words."""
    both = [candidate(proposed(MOVE, LUIGI, TWO, 5.0)), candidate(proposed(BOOK, MILL, TWO, 2.0))]
    for order in (both, both[::-1]):
        assert names(order, TWO) == ["book", "move"]


def test_a_second_wish_that_is_unlikely() -> None:
    both = [candidate(proposed(MOVE, LUIGI, TWO, 5.0)), candidate(proposed(BOOK, MILL, TWO, -0.1))]
    assert names(both, TWO) == ["move"]


def test_half_of_a_second_wishs_words_may_be_shared_but_not_more() -> None:
    """The day of both may be said once, but then one of two values is not its own."""
    half = "yes | place: Luigi's | day: tomorrow"
    both = [candidate(proposed(MOVE, half, TWO, 2.0)), candidate(proposed(BOOK, MILL, TWO, 3.0))]
    assert names(both, TWO) == ["book"]


def test_no_second_tool_without_a_joint() -> None:
    request = "book The Old Mill tomorrow, move Luigi's to Friday"
    both = [candidate(proposed(BOOK, MILL, request, 3.0)), candidate(proposed(MOVE, LUIGI, request, 2.9))]
    assert names(both, request) == ["book"]
    quoted = 'note "cats and dogs" for Friday'
    lines = [proposed(NOTE, "yes | text: cats and dogs", quoted), proposed(BOOK, "yes | day: Friday", quoted, 2.0)]
    assert names(list(map(candidate, lines)), quoted) == ["note"]


def test_several_lines_about_one_tool_are_several_calls() -> None:
    """With or without a joint: the model meant them together. Which comes first is told by the request."""
    for request in (TWO, TWO.replace(" and", ",")):
        both = [candidate(proposed(BOOK, LUIGI, request)), candidate(proposed(BOOK, MILL, request))]
        assert [one.proposal.line.text for one in chosen(both, asked(request))] == [MILL, LUIGI]


def test_a_lacking_call_loses_against_a_complete_one() -> None:
    """One lacking value costs two, more than two cost no more."""
    complete = candidate(proposed(BOOK, MILL, TWO, 2.0))
    lacking = proposed(MOVE, "yes | place: The Old Mill", TWO, 3.9)
    assert names([candidate(lacking, 1), complete], TWO) == ["book"]
    assert names([candidate(lacking), complete], TWO) == ["move"]
    assert candidate(lacking, 1).odds == pytest.approx(1.9)
    assert candidate(lacking, 2).odds == candidate(lacking, 9).odds == pytest.approx(-0.1)


def test_what_the_model_was_sure_of_is_likelier_meant() -> None:
    """The whole line's probability counts, not only the first word's; never seen ones count as none that are tiny."""
    sure = proposed(BOOK, Line(MILL, 0.9), TWO, 3.0)
    unsure = proposed(MOVE, Line("yes | place: The Old Mill", 0.1), TWO, 3.5)
    assert names([candidate(unsure), candidate(sure)], TWO) == ["book"]
    assert candidate(sure).odds == pytest.approx(3.0 + 0.6 * math.log(0.9))
    assert candidate(proposed(BOOK, Line(MILL, 0.0), TWO, 3.0)).odds == pytest.approx(3.0 + 0.6 * math.log(1e-4))
    assert candidate(proposed(BOOK, Line(MILL), TWO, 3.0)).odds == 3.0


@pytest.mark.parametrize(("odds", "made"), [(2.9, ["book"]), (3.1, ["book", "note"])])
def test_a_call_that_takes_no_words(odds: float, made: list[str]) -> None:
    """Beside another it must be likely by itself; it comes last."""
    both = [candidate(proposed(NOTE, "yes", TWO, odds)), candidate(proposed(BOOK, MILL, TWO, 5.0))]
    assert names(both, TWO) == made
    assert names(both[:1], TWO) == ["note"]


def test_a_clauses_proposal_is_told_in_the_requests_places() -> None:
    part = "move Luigi's to Friday"
    whole, clause = proposed(MOVE, LUIGI, TWO), proposed(MOVE, LUIGI, TWO, 2.0, part=part)
    assert clause.start == 31
    assert candidate(clause).stretches == candidate(whole).stretches
    assert [TWO[start:end] for start, end in candidate(clause).stretches] == ["Luigi's", "Friday"]
    # The same call, asked about as a whole and in its clause, is made once.
    assert names([candidate(whole), candidate(clause)], TWO) == ["move"]


def test_a_clause_finds_what_the_whole_request_hid() -> None:
    """Each tool was seen in its own clause only."""
    first = proposed(BOOK, MILL, TWO, 1.0, part="book The Old Mill tomorrow")
    second = proposed(MOVE, LUIGI, TWO, 2.0, part="move Luigi's to Friday")
    assert names([candidate(second), candidate(first)], TWO) == ["book", "move"]


def test_nothing_proposed() -> None:
    assert chosen([], asked(TWO)) == []


def test_each_clause_is_a_wish_where_each_has_a_likely_tool() -> None:
    """Then what is written of the whole request, where the model mixes things up more easily, is not heard."""
    part = candidate(proposed(BOOK, MILL, REQUEST_OF_TWO, 3.1, part="book The Old Mill tomorrow"))
    other = candidate(proposed(BOOK, LUIGI, REQUEST_OF_TWO, 3.1, part="Luigi's on Friday"))
    mixed = candidate(proposed(BOOK, "yes | place: The Old Mill | day: Friday", REQUEST_OF_TWO, 9.0))
    rival = candidate(proposed(MOVE, LUIGI, REQUEST_OF_TWO, 3.0, part="Luigi's on Friday"))
    lines = [one.proposal.line.text for one in chosen([mixed, other, rival, part], asked(REQUEST_OF_TWO))]
    assert lines == [MILL, LUIGI]
    unlikely = candidate(proposed(BOOK, LUIGI, REQUEST_OF_TWO, 2.9, part="Luigi's on Friday"))
    assert chosen([mixed, unlikely, part], asked(REQUEST_OF_TWO))[0] is mixed
