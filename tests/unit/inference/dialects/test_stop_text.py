"""Stop texts are found across every border, and what only looks like one is kept."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from podium.inference.stop_text import StopText

short = st.text(alphabet="ab", min_size=1, max_size=4)


@given(pieces=st.lists(st.text(alphabet="abc", max_size=5), max_size=12), stops=st.lists(short, max_size=3))
def test_the_text_before_the_first_stop_however_it_is_cut(pieces: list[str], stops: list[str]) -> None:
    """Matching a stream is matching the whole, at the place where a stop first becomes complete."""
    scanner = StopText(stops)
    shown = "".join(scanner.push(piece) for piece in pieces) + scanner.flush()
    whole = "".join(pieces)
    found = [whole.find(stop) for stop in stops if stop in whole]
    assert scanner.found is bool(found)
    if not found:
        assert shown == whole
        return
    assert whole.startswith(shown)
    assert any(whole[len(shown) :].startswith(stop) for stop in stops)
    assert not any(stop in shown for stop in stops)


def test_nothing_is_held_back_that_cannot_be_a_stop() -> None:
    scanner = StopText(["END"])
    assert scanner.push("The E") == "The "
    assert scanner.push("x") == "Ex"
    assert scanner.push("EN") == ""
    assert scanner.push("D more") == ""
    assert scanner.found
    assert scanner.push("after") == ""
