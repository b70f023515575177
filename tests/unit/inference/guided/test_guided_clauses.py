from __future__ import annotations

from datetime import date
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from podium.inference.guided.clauses import split
from podium.inference.guided.spans import find_spans

TODAY = date(2026, 11, 21)
TEXTS = st.one_of(
    st.text(max_size=300),
    st.lists(
        st.sampled_from(["read a.txt", "and", ",", ".", "then", "\n-", "'x and y'", "3 + 4", ";", "?"]), max_size=40
    ).map(" ".join),
)


def pieces(text: str) -> list[str]:
    return [text[piece.start : piece.end] for piece in split(text, find_spans(text, TODAY))]


@given(TEXTS)
def test_pieces_are_substrings_in_order_and_only_joints_are_lost(text: str) -> None:
    """The splitter is total: between its pieces there are joining words and punctuation, nothing else."""
    found = split(text, find_spans(text, TODAY))
    assert 1 <= len(found) <= 12
    assert found[0].start == 0
    assert found[-1].end == len(text)
    for before, after in pairwise(found):
        assert before.start <= before.end <= after.start
        joint = text[before.end : after.start].lower()
        for word in (
            "and",
            "then",
            "also",
            "plus",
            "as well as",
            "along with",
            "after that",
            "afterwards",
            "besides",
            "but",
        ):
            joint = joint.replace(word, " ")
        assert not any(character.isalpha() for character in joint)


def test_joints_are_sentences_commas_and_joining_words() -> None:
    """A request is cut wherever a new clause may begin."""
    assert pieces("Read a.txt. Then add 3 + 4, and tell me the time") == [
        "Read a.txt.", "Then add 3 + 4", "tell me the time",
    ]  # fmt: skip


def test_what_belongs_together_is_never_cut() -> None:
    """Quotations, sums over lists, and file names stay whole."""
    assert pieces('count "one, two and three"') == ['count "one, two and three"']
    assert pieces("the sum of 1, 2 and 3") == ["the sum of 1, 2 and 3"]
    assert pieces("meet Dr. Weber, e.g. at noon")[0] == "meet Dr. Weber"
