"""What recordings do not show: when text is let go, what control tokens are, and real tokenizers."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.inference.dialects import DIALECTS, detect
from podium.inference.model_store import ModelStore
from podium.inference.tokenizer import Tokenizer
from podium.orchestration.chat import TextDelta, ToolCallSealed
from support.recorded import TOOLS, Recording, load, summary

CONTROL = ("<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|constrain|>", "<|return|>", "<|call|>")


def test_text_is_let_go_as_soon_as_it_cannot_be_a_marker() -> None:
    """Only the start of a marker waits, and no longer than it may be one."""
    parser = DIALECTS["hermes"].start(TOOLS, ())
    assert parser.feed("Hello <tool") == [TextDelta("Hello ")]
    assert parser.feed("box>") == [TextDelta("<toolbox>")]
    assert parser.feed("<<tool_call") == [TextDelta("<")]
    assert parser.finish(False) == [TextDelta("<tool_call")]


def test_a_json_answer_is_let_go_at_its_first_other_key() -> None:
    parser = DIALECTS["llama3_json"].start(TOOLS, ())
    assert parser.feed('{"city"') == []
    assert parser.feed(': "Rome"') == [TextDelta('{"city": "Rome"')]
    assert parser.feed(', "name": "add"}') == [TextDelta(', "name": "add"}')]


def test_bare_calls_need_offered_tools() -> None:
    written = '{"name": "add", "parameters": {}}'
    parser = DIALECTS["llama3_json"].start((), ())
    assert parser.feed(written) == [TextDelta(written)]


def test_bare_objects_that_name_another_tool_are_text() -> None:
    """And so as soon as the name is known."""
    parser = DIALECTS["llama3_json"].start(TOOLS, ())
    assert parser.feed('{"name": "other"') == [TextDelta('{"name": "other"')]
    assert parser.feed(', "parameters": {}}') == [TextDelta(', "parameters": {}}')]


def test_a_marker_that_is_a_control_token_matches_only_as_one() -> None:
    """The same characters in text are text, where the tokenizer has a token for them."""
    text = '<tool_call>{"name": "add", "arguments": {}}'
    parser = DIALECTS["hermes"].start(TOOLS, ("<tool_call>", "</tool_call>"))
    assert parser.feed(text) == [TextDelta(text)]
    assert parser.feed("<tool_call>", True) == []
    assert parser.feed('{"name": "now", "arguments": {}}') == [ToolCallSealed("now", b"{}")]
    assert parser.feed("</tool_call>", True) == []


def test_other_control_tokens_are_not_text() -> None:
    parser = DIALECTS["hermes"].start(TOOLS, ("<|im_start|>",))
    assert [*parser.feed("a"), *parser.feed("<|im_start|>", True), *parser.feed("b")] == [
        TextDelta("a"),
        TextDelta("b"),
    ]


def test_a_control_token_ends_thoughts_that_were_not_closed() -> None:
    """Models that forget the closing mark still mean their call."""
    kimi = load("kimi_k2")[0]
    parser = DIALECTS["kimi_k2"].start(TOOLS, kimi.control, reasoning=True)
    pieces = [piece for text, special in kimi.fragments for piece in parser.feed(text, special)]
    kinds = [event[0] for event in summary(pieces)]
    assert kinds == ["reasoning", "call", "call"]


def test_repeated_arguments_do_not_make_a_second_call() -> None:
    """The first complete ones are sealed, and nothing that follows can change that."""
    parser = DIALECTS["hermes"].start(TOOLS, ())
    pieces = parser.feed(
        '<tool_call>{"name": "add", "arguments": {"a": 1}, "arguments": {"a": 2}, "name": "now"}</tool_call>'
    )
    assert pieces == [ToolCallSealed("add", b'{"a": 1}')]


@given(
    messages=st.lists(
        st.tuples(st.sampled_from(["analysis", "final", "commentary"]), st.text(max_size=20)), min_size=1, max_size=6
    )
)
def test_harmony_says_all_of_every_channel(messages: list[tuple[str, str]]) -> None:
    parser = DIALECTS["harmony"].start(TOOLS, CONTROL)
    pieces = []
    for index, (channel, text) in enumerate(messages):
        if index:
            pieces += [*parser.feed("<|start|>", True), *parser.feed("assistant")]
        pieces += [*parser.feed("<|channel|>", True), *parser.feed(channel), *parser.feed("<|message|>", True)]
        pieces += [*parser.feed(text), *parser.feed("<|end|>", True)]
    pieces += parser.finish(False)
    said = [(event[0], event[1]) for event in summary(pieces)]
    thoughts = "".join(text for channel, text in messages if channel == "analysis")
    answer = "".join(text for channel, text in messages if channel != "analysis")
    assert "".join(text for kind, text in said if kind == "reasoning") == thoughts
    assert "".join(text for kind, text in said if kind == "text") == answer


@pytest.fixture(scope="module")
def real_tokenizer() -> Tokenizer:
    """The embedded model's, where it has been pulled."""
    stored = ModelStore().find()
    if stored is None:
        pytest.skip("the embedded model is not here: run `podium models pull`")
    return Tokenizer.from_directory(stored.path)


# Those without control tokens, which are another model's.
PLAIN_TEXT = [found for found in load() if not any(special for _, special in found.fragments)]


@pytest.mark.embedded
@pytest.mark.parametrize("found", PLAIN_TEXT, ids=str)
def test_recordings_through_a_real_tokenizer(real_tokenizer: Tokenizer, found: Recording) -> None:
    """One real token at a time, with characters that several tokens share."""
    text = "".join(fragment for fragment, _ in found.fragments)
    control = (*real_tokenizer.special_ids, *found.control)
    parser = DIALECTS[found.dialect].start(TOOLS, control, reasoning=found.reasoning)
    decoder = real_tokenizer.fragment_detokenizer()
    fragments = [piece for index in real_tokenizer.encode(text) for piece in decoder.push([index])]
    assert "".join(fragment for fragment, _ in fragments) + "".join(f for f, _ in decoder.finish()) == text
    pieces = [piece for fragment, special in fragments for piece in parser.feed(fragment, special)]
    assert summary([*pieces, *parser.finish(found.cut)]) == found.expected


@pytest.mark.embedded
async def test_fragments_of_a_real_tokenizer_mark_control_tokens(real_tokenizer: Tokenizer) -> None:
    """A control token ends the text before it, even in the middle of a character."""
    ids = real_tokenizer.encode("größe 🎼<|im_end|>next", parse_special=True)
    decoder = real_tokenizer.fragment_detokenizer()
    fragments = await asyncio.to_thread(decoder.push, ids)
    assert ("<|im_end|>", True) in fragments
    assert "".join(text for text, special in fragments if not special) == "größe 🎼next"
    note = real_tokenizer.encode("🎼")
    assert len(note) > 1, "the character takes several tokens"
    decoder = real_tokenizer.fragment_detokenizer()
    assert decoder.push(note[:-1]) == []
    assert decoder.push([real_tokenizer.special_ids["<|im_end|>"]])[-1] == ("<|im_end|>", True)
    assert real_tokenizer.chat_template is not None
    assert detect(real_tokenizer.chat_template.source).name == "plain"
    assert json.dumps(decoder.finish()) == "[]"
