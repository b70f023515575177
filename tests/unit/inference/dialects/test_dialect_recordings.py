"""Every recorded output means the same however it is cut, and calls are sealed where they close."""

from __future__ import annotations

import codecs

import pytest

from podium.inference.dialects import DIALECTS
from support.recorded import Fragment, Recording, load, play, summary

RECORDINGS = load()
each_recording = pytest.mark.parametrize("recording", RECORDINGS, ids=str)


def check(recording: Recording, fragments: list[Fragment]) -> None:
    pieces, _ = play(recording, fragments)
    assert summary(pieces) == recording.expected


def test_every_dialect_is_recorded() -> None:
    assert {recording.dialect for recording in RECORDINGS} == set(DIALECTS)


@each_recording
def test_whole_fragments(recording: Recording) -> None:
    check(recording, list(recording.fragments))


@each_recording
def test_single_characters_and_where_calls_are_sealed(recording: Recording) -> None:
    pieces, seals = play(recording, recording.atoms())
    assert summary(pieces) == recording.expected
    assert seals == list(recording.seals)


@each_recording
def test_every_split_into_two(recording: Recording) -> None:
    """Each text is cut at every place, the rest whole."""
    for index, (text, special) in enumerate(recording.fragments):
        if special:
            continue
        for cut in range(1, len(text)):
            halves = [(text[:cut], False), (text[cut:], False)]
            check(recording, [*recording.fragments[:index], *halves, *recording.fragments[index + 1 :]])


@each_recording
def test_every_split_between_bytes(recording: Recording) -> None:
    """One byte at a time, through the incremental decoder that a stream of bytes needs."""
    fragments: list[Fragment] = []
    for text, special in recording.fragments:
        if special:
            fragments.append((text, True))
            continue
        decoder = codecs.getincrementaldecoder("utf-8")()
        fragments += [(decoder.decode(bytes([byte])), False) for byte in text.encode()]
    check(recording, fragments)


@each_recording
def test_every_truncation_makes_no_half_call(recording: Recording) -> None:
    """Cut anywhere, the calls are those that were closed by then, and no text is made up."""
    atoms = recording.atoms()
    calls = [event for event in recording.expected if event[0] == "call"]
    whole = "".join(event[1] for event in recording.expected if event[0] == "text")
    for length in range(len(atoms)):
        cut = Recording(**{**vars(recording), "cut": True})
        pieces, _ = play(cut, atoms[:length])
        events = summary(pieces)
        closed = sum(seal <= length for seal in recording.seals)
        assert [event for event in events if event[0] == "call"] == calls[:closed]
        if recording.dialect in ("llama3_json", "pythonic", "harmony"):
            continue  # an unfinished bare call or header is text while nothing says what it is
        said = "".join(event[1] for event in events if event[0] == "text")
        shared = next(
            (i for i, pair in enumerate(zip(said, whole, strict=False)) if pair[0] != pair[1]),
            min(len(said), len(whole)),
        )
        parser = DIALECTS[recording.dialect].parser
        markers = [*parser.starts, *(mark for pair in parser.thoughts for mark in pair), "</tool_call>"]
        assert any(marker.startswith(said[shared:].strip()) for marker in markers), "only a marker's start is let go"
