# ruff: noqa: RUF001  DeepSeek's markers have a full-width bar
"""Whatever a model writes and however it is cut: the same events, no half call, no lost text, no exception."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium.inference.dialects import DIALECTS
from podium.orchestration.chat import ToolCallSealed
from support.recorded import TOOLS, Fragment, Recording, load, play, start, summary

RECORDINGS = load()
MARKED = [r for r in RECORDINGS if r.dialect not in ("llama3_json", "pythonic", "harmony", "plain")]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(st.text(max_size=6), json_values, max_size=4)
# Values that can be read before they end: each is the start of a longer one.
growing = st.sampled_from(["12", "123456", "1.5e10", "-10", "true", "nullable", '"a" "b"', "1 2"])


def regrouped(atoms: list[Fragment], cuts: list[int]) -> list[Fragment]:
    """Join characters into fragments of the given sizes, in turn; special tokens stay alone."""
    fragments: list[Fragment] = []
    text, index = "", 0
    for piece, special in atoms:
        if special:
            fragments += [(text, False)] if text else []
            fragments.append((piece, True))
            text = ""
            continue
        text += piece
        if len(text) >= cuts[index % len(cuts)]:
            fragments.append((text, False))
            text, index = "", index + 1
    return [*fragments, (text, False)] if text else fragments


cut_sizes = st.lists(st.integers(1, 12), min_size=1, max_size=6)


@settings(max_examples=200, deadline=None)
@given(recording=st.sampled_from(RECORDINGS), cuts=cut_sizes)
def test_any_fragments_mean_the_same(recording: Recording, cuts: list[int]) -> None:
    pieces, _ = play(recording, regrouped(recording.atoms(), cuts))
    assert summary(pieces) == recording.expected


@st.composite
def mutated(draw: st.DrawFn) -> tuple[Recording, list[Fragment]]:
    recording = draw(st.sampled_from(RECORDINGS))
    atoms = recording.atoms()
    others = draw(st.sampled_from(RECORDINGS)).atoms()
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(atoms)))
        until = min(len(atoms), at + draw(st.integers(0, 20)))
        kind = draw(st.sampled_from(["delete", "repeat", "special", "text", "splice"]))
        if kind == "delete":
            del atoms[at:until]
        elif kind == "repeat":
            atoms[at:at] = atoms[at:until]
        elif kind == "special":
            atoms.insert(at, (draw(st.sampled_from(recording.control)), True))
        elif kind == "text":
            written = draw(
                st.text(alphabet="{}[]()<>|\"'\\,:; \n=aé1", max_size=8) | st.sampled_from(recording.control)
            )
            atoms[at:at] = [(character, False) for character in written]
        else:
            start_at = draw(st.integers(0, len(others)))
            atoms[at:at] = others[start_at : start_at + 15]
    return recording, atoms


@settings(max_examples=600, deadline=None)
@given(case=mutated(), cuts=cut_sizes)
def test_damaged_output_means_the_same_however_it_is_cut(
    case: tuple[Recording, list[Fragment]], cuts: list[int]
) -> None:
    recording, atoms = case
    one_by_one, _ = play(recording, atoms)
    in_groups, _ = play(recording, regrouped(atoms, cuts))
    assert summary(one_by_one) == summary(in_groups)


@settings(max_examples=400, deadline=None)
@given(case=mutated(), share=st.floats(0, 1))
def test_what_is_sealed_stays_and_what_is_not_is_never_made(
    case: tuple[Recording, list[Fragment]], share: float
) -> None:
    """The calls of an output that is cut are the first of the whole one's, those sealed by then."""
    recording, atoms = case
    whole = Recording(**{**vars(recording), "cut": False})
    part = Recording(**{**vars(recording), "cut": True})
    position = int(len(atoms) * share)
    pieces, seals = play(whole, atoms)
    calls = [piece for piece in pieces if isinstance(piece, ToolCallSealed)]
    cut_pieces, _ = play(part, atoms[:position])
    sealed = sum(seal <= position for seal in seals)
    assert [piece for piece in cut_pieces if isinstance(piece, ToolCallSealed)] == calls[:sealed]


def bare(text: str, recording: Recording) -> str:
    parser = DIALECTS[recording.dialect].parser
    markers = {*parser.starts, *(mark for pair in parser.thoughts for mark in pair)}
    return re.sub(r"\s+", "", re.sub("|".join(map(re.escape, sorted(markers))), "", text))


@settings(max_examples=400, deadline=None)
@given(case=mutated())
def test_no_text_is_lost_where_there_was_no_call(case: tuple[Recording, list[Fragment]]) -> None:
    """Markers and white space aside, all that was written is said when it was no call and nothing was cut."""
    recording, atoms = case
    if recording.dialect == "harmony":
        return  # its headers are structure, and have a test of their own
    pieces, _ = play(Recording(**{**vars(recording), "cut": False}), atoms)
    if any(isinstance(piece, ToolCallSealed) for piece in pieces):
        return
    in_text = DIALECTS[recording.dialect].parser.transparent_tokens
    written = "".join(text for text, special in atoms if not special or text in in_text)
    said = "".join(piece.text for piece in pieces if not isinstance(piece, ToolCallSealed))
    assert bare(said, recording) == bare(written, recording)


@settings(max_examples=200, deadline=None)
@given(recording=st.sampled_from(MARKED), before=st.text(alphabet="abc <[{`é日", min_size=1, max_size=20))
def test_text_before_is_said_before(recording: Recording, before: str) -> None:
    """Text in front of a whole output changes nothing but that it is said, and that thoughts come first or never."""
    if recording.reasoning or any(event[0] == "reasoning" for event in recording.expected) or not before.strip():
        return
    pieces, _ = play(recording, [(before + "x. ", False), *recording.fragments])
    events = summary(pieces)
    calls = [event for event in events if event[0] == "call"]
    assert calls == [event for event in recording.expected if event[0] == "call"]
    assert "".join(event[1] for event in events if event[0] == "text").startswith(before + "x.")


JSON_CALLS: dict[str, Callable[[str], tuple[str, str]]] = {
    "hermes": lambda a: ('<tool_call>\n{"name": "add", "arguments": ' + a, "}\n</tool_call>"),
    "deepseek_v31": lambda a: (
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>add<｜tool▁sep｜>" + a,
        "<｜tool▁call▁end｜>",
    ),
    "deepseek_v3": lambda a: (
        "⟦<｜tool▁calls▁begin｜>⟧⟦<｜tool▁call▁begin｜>⟧function⟦<｜tool▁sep｜>⟧add\n```json\n" + a,
        "\n```⟦<｜tool▁call▁end｜>⟧",
    ),
    "mistral": lambda a: ("⟦[TOOL_CALLS]⟧add⟦[ARGS]⟧" + a, "⟦[TOOL_CALLS]⟧"),
    "harmony": lambda a: ("⟦<|channel|>⟧commentary to=functions.add⟦<|message|>⟧" + a, "⟦<|call|>⟧"),
    "kimi_k2": lambda a: (
        "⟦<|tool_calls_section_begin|>⟧⟦<|tool_call_begin|>⟧functions.add:0⟦<|tool_call_argument_begin|>⟧" + a,
        "⟦<|tool_call_end|>⟧",
    ),
}


def fragments_of(text: str) -> list[Fragment]:
    parts = re.split(r"(⟦.*?⟧)", text)
    return [(part[1:-1], True) if part.startswith("⟦") else (part, False) for part in parts if part]


def recording_of(dialect: str) -> Recording:
    return next(recording for recording in RECORDINGS if recording.dialect == dialect)


def sealed_after(dialect: str, fragments: list[Fragment]) -> list[tuple[int, ToolCallSealed]]:
    """Return each call with the number of atoms after which it was sealed."""
    parser = start(Recording(**{**vars(recording_of(dialect)), "reasoning": False}))
    atoms = [
        atom for text, special in fragments for atom in ([(text, True)] if special else [(c, False) for c in text])
    ]
    return [
        (number, piece)
        for number, (text, special) in enumerate(atoms, 1)
        for piece in parser.feed(text, special)
        if isinstance(piece, ToolCallSealed)
    ]


def length(fragments: list[Fragment]) -> int:
    return sum(1 if special else len(text) for text, special in fragments)


@pytest.mark.parametrize("dialect", sorted(JSON_CALLS))
@settings(max_examples=60, deadline=None)
@given(arguments=objects, ascii_only=st.booleans())
def test_objects_are_sealed_at_their_last_bracket(dialect: str, arguments: dict[str, Any], ascii_only: bool) -> None:
    """Not before it, although starts of an object may look complete, and not after it."""
    written = json.dumps(arguments, ensure_ascii=ascii_only)
    if "⟦" in written:
        return
    begin, end = JSON_CALLS[dialect](written)
    found = sealed_after(dialect, fragments_of(begin + end))
    assert [(number, json.loads(call.arguments_json)) for number, call in found] == [
        (length(fragments_of(begin)), arguments)
    ]


@pytest.mark.parametrize("dialect", sorted(JSON_CALLS))
@settings(max_examples=30, deadline=None)
@given(value=growing)
def test_values_that_grow_are_not_sealed_early(dialect: str, value: str) -> None:
    """`1` may become `12`: only what closes the structure seals it, and the tool layer gets all of it."""
    if dialect == "hermes" and " " in value:
        return  # inside an object a space or a quote ends such a value
    begin, end = JSON_CALLS[dialect](value)
    found = sealed_after(dialect, fragments_of(begin + end))
    assert [call.arguments_json.decode() for _, call in found] == [value]
    assert found[0][0] > length(fragments_of(begin))


@pytest.mark.parametrize("dialect", ["qwen_xml", "glm45", "deepseek_dsml"])
@settings(max_examples=60, deadline=None)
@given(
    query=st.text(alphabet=st.characters(blacklist_characters="<｜⟦", codec="utf-8"), max_size=20), limit=st.integers()
)
def test_tagged_calls_stay_open_until_their_closing_tag(dialect: str, query: str, limit: int) -> None:
    """Arguments that are complete may still be followed by another one."""
    query = query.strip("\n")
    whole = {
        "qwen_xml": f"<tool_call>\n<function=search>\n<parameter=query>\n{query}\n</parameter>\n"
        f"<parameter=limit>\n{limit}\n</parameter>\n</function>",
        "glm45": f"<tool_call>search\n<arg_key>query</arg_key>\n<arg_value>{query}</arg_value>\n"
        f"<arg_key>limit</arg_key>\n<arg_value>{limit}</arg_value>\n</tool_call>",
        "deepseek_dsml": '<｜DSML｜tool_calls>\n<｜DSML｜invoke name="search">\n'
        f'<｜DSML｜parameter name="query" string="true">{query}</｜DSML｜parameter>\n'
        f'<｜DSML｜parameter name="limit" string="false">{limit}</｜DSML｜parameter>\n</｜DSML｜invoke>',
    }[dialect]
    found = sealed_after(dialect, [(whole, False)])
    assert [(number, json.loads(call.arguments_json)) for number, call in found] == [
        (len(whole), {"query": query, "limit": limit})
    ]


@settings(max_examples=300, deadline=None)
@given(dialect=st.sampled_from(sorted(DIALECTS)), texts=st.lists(st.text(max_size=10), max_size=8), cut=st.booleans())
def test_anything_at_all_is_survived(dialect: str, texts: list[str], cut: bool) -> None:
    recording = recording_of(dialect)
    parser = DIALECTS[dialect].start(TOOLS, recording.control)
    for index, text in enumerate(texts):
        parser.feed(text)
        parser.feed(recording.control[index % len(recording.control)], True)
    parser.finish(cut)
    assert parser.finish(cut) == []
