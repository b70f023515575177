"""From examples to tensors: what is read, what is learned, and how much it weighs."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="PyTorch is installed only for training")

from podium.inference.planner.prompt import PromptEncoder
from support.byte_tokenizer import byte_tokenizer
from training.examples import Block, Item
from training.packing import pack, read_only

NOTHING = -100
YES = Item("single", "wake me at six", ("yes | time: six",))
NO_ITEM = Item("not", "what a nice and sunny day", ("no",))
LINE = "wake(time): Set an alarm"


@pytest.fixture(scope="module")
def encoder() -> PromptEncoder:
    """Of a tokenizer whose tokens are bytes."""
    return PromptEncoder(byte_tokenizer())


def test_segments_go_on_from_the_tool_and_teach_only_the_answer(encoder: PromptEncoder) -> None:
    items = (YES, NO_ITEM)
    packed = pack([Block(LINE, list(items)), Block(LINE, [YES])], encoder)
    prefix = encoder.tool(LINE)
    assert [(length, len(segments)) for _, length, segments in packed.blocks] == [(len(prefix), 2), (len(prefix), 1)]
    by_length = sorted(items, key=lambda item: len(encoder.request(item.request)) + len(encoder.answer(item.lines)))
    for (first, _, lengths), told in zip(packed.blocks, (by_length, [YES]), strict=True):
        assert lengths == sorted(lengths)
        assert packed.tokens[first : first + len(prefix)].tolist() == prefix
        assert packed.positions[first : first + len(prefix)].tolist() == list(range(len(prefix)))
        assert set(packed.targets[first : first + len(prefix)].tolist()) == {NOTHING}
        start = first + len(prefix)
        for item, length in zip(told, lengths, strict=True):
            here = slice(start, start + length)
            asked, answer = encoder.request(item.request), encoder.answer(item.lines)
            assert packed.tokens[here].tolist() == [*asked, *answer[:-1]]
            assert packed.positions[here].tolist() == list(range(len(prefix), len(prefix) + length))
            # The last token of the request is followed by the answer, and every other by the next.
            assert packed.targets[here].tolist() == [NOTHING] * (len(asked) - 1) + answer
            start += length


def test_what_is_not_learned_weighs_nothing_and_the_decision_most(encoder: PromptEncoder) -> None:
    packed = pack([Block(LINE, [YES])], encoder)
    learned = packed.targets != NOTHING
    assert packed.weights[~learned].sum() == 0
    weights = packed.weights[learned].tolist()
    assert weights[0] > 1.0
    assert set(weights[1:]) == {1.0}
    assert len(packed.tokens) == len(packed.positions) == len(packed.targets) == len(packed.weights)


def test_a_request_that_is_too_long_is_left_out(encoder: PromptEncoder) -> None:
    long = Item("single", "wake me at six " * 20, ("yes | time: six",))
    packed = pack([Block(LINE, [long, YES])], encoder)
    assert [len(lengths) for _, _, lengths in packed.blocks] == [1]


def test_a_tool_that_is_too_long_goes_without_its_examples(encoder: PromptEncoder) -> None:
    packed = pack([Block(LINE + "\n  " + "wake me => yes" * 40, [YES])], encoder)
    assert packed.blocks[0][1] == len(encoder.tool(LINE))


def test_texts_with_nothing_to_learn() -> None:
    """Each is a beginning of its own, counted from nought."""
    packed = read_only([[5, 6, 7], [8], [9, 10]])
    assert packed.tokens.tolist() == [5, 6, 7, 8, 9, 10]
    assert packed.positions.tolist() == [0, 1, 2, 0, 0, 1]
    assert packed.blocks == [(0, 3, []), (3, 1, []), (4, 2, [])]
    assert set(packed.targets.tolist()) == {NOTHING}
    assert not packed.weights.any()
