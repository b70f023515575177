"""Reading the lines that the model writes, while it writes them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import aclosing

import pytest
from planner_fakes import PieceTokenizer, PlayingEngine

from podium.inference.engine import FinishReason, TokenDelta
from podium.inference.planner.lines import Head, Line, LinesEnd, write_lines
from podium.orchestration.chat import Usage

USAGE = Usage(7, 5, 3)
_Pieces = Sequence[tuple[str, float]]


def deltas(tokenizer: PieceTokenizer, pieces: _Pieces, *, size: int = 1, told: bool = True) -> list[TokenDelta]:
    """Return pieces and their probabilities as deltas of `size` tokens."""
    made = []
    for at in range(0, len(pieces), size):
        part = pieces[at : at + size]
        logprobs = tuple(math.log(sure) for _, sure in part) if told else ()
        made.append(TokenDelta(tuple(tokenizer.token(piece) for piece, _ in part), logprobs))
    return made


async def written(
    pieces: _Pieces,
    *,
    size: int = 1,
    told: bool = True,
    reason: FinishReason = FinishReason.STOP,
    begun: str = "",
) -> list[Head | Line | LinesEnd]:
    tokenizer = PieceTokenizer()
    engine = PlayingEngine(deltas(tokenizer, pieces, size=size, told=told), reason)
    return [item async for item in write_lines(engine, tokenizer, [1, 2], max_tokens=9, begun=begun)]


def rounded(items: Sequence[Head | Line | LinesEnd]) -> list[tuple[str, float | None]]:
    """Return words and lines with how sure they are."""
    found: list[tuple[str, float | None]] = []
    for item in items:
        if not isinstance(item, LinesEnd):
            text = item.word if isinstance(item, Head) else item.text
            found.append((text, None if item.sure is None else round(item.sure, 6)))
    return found


TWO = (("yes", 0.5), (" | a:", 1.0), (" six", 0.5), ("\n", 1.0), ("yes", 0.8), (" | a: two", 0.5))


@pytest.mark.parametrize("size", [1, 2, 3, 6])
async def test_lines_with_how_sure_the_model_was(size: int) -> None:
    """The same however the tokens are bundled: first the head, then each line with its own probability."""
    items = await written(TWO, size=size)
    assert rounded(items) == [("yes", 0.5), ("yes | a: six", 0.25), ("yes | a: two", 0.4)]
    assert items[-1] == LinesEnd(FinishReason.STOP, USAGE)
    assert isinstance(items[0], Head)


async def test_an_engine_that_does_not_tell_how_sure_it_was() -> None:
    items = await written(TWO, told=False)
    assert items == [
        Head("yes", None),
        Line("yes | a: six"),
        Line("yes | a: two"),
        LinesEnd(FinishReason.STOP, USAGE),
    ]


@pytest.mark.parametrize(
    ("pieces", "lines"),
    [
        ((("yes", 0.5), (" a\nyes", 0.5), (" b", 0.5)), [("yes a", 0.25), ("yes b", 0.5)]),
        ((("yes\nyes\nno", 0.5), ("\n", 0.5)), [("yes", 0.5), ("yes", 1.0), ("no", 0.5)]),
        ((("yes", 0.5), ("\n\n", 0.5), ("no", 0.25)), [("yes", 0.25), ("no", 0.25)]),
        ((("yes a\nyes b\nyes c", 0.5),), [("yes a", 0.5), ("yes b", 1.0), ("yes c", 1.0)]),
        ((("\n", 0.5), ("no", 0.25)), [("no", 0.25)]),
        ((("yes\r\n", 1.0), ("no", 1.0)), [("yes", 1.0), ("no", 1.0)]),
        ((("no", 0.5), ("\n", 0.5), (" ", 0.5)), [("no", 0.25)]),
    ],
)
async def test_line_ends_inside_tokens(pieces: _Pieces, lines: list[tuple[str, float]]) -> None:
    """None is missed or delayed, and a line's probability is that of its own tokens."""
    items = [item for item in await written(pieces) if isinstance(item, Line)]
    assert rounded(items) == lines


@pytest.mark.parametrize("size", [1, 3])
async def test_how_sure_the_model_was_of_a_part(size: int) -> None:
    """The tokens that end in it count; it is not known of a part where none ends."""
    first, second = (item for item in await written(TWO, size=size) if isinstance(item, Line))
    assert [at for at, _ in first.tokens] == [3, 8, 12, 13]
    assert [round(first.sure_of(*part) or 0, 6) for part in ((0, 3), (3, 12), (3, 8), (0, 12))] == [0.5, 0.5, 1.0, 0.25]
    assert second.sure_of(8, 12) == pytest.approx(0.5)
    assert first.sure_of(4, 7) is None
    assert Line("yes | a: six", 0.5).sure_of(0, 12) is None


async def test_the_tokens_of_a_line_with_space_before_it() -> None:
    """Their ends are counted in the line as it is told."""
    (line,) = (item for item in await written((("  no", 0.5), (" more", 0.25))) if isinstance(item, Line))
    assert (line.text, [at for at, _ in line.tokens]) == ("no more", [2, 7])
    assert line.sure_of(2, 7) == pytest.approx(0.25)


async def test_going_on_from_a_forced_beginning() -> None:
    """There is no head; the first line begins with it, and its probability is that of what was written."""
    items = await written(((" | a: six", 0.5), ("\n", 1.0), ("yes | a: two", 0.25)), begun="yes")
    assert rounded(items) == [("yes | a: six", 0.5), ("yes | a: two", 0.25)]
    assert not any(isinstance(item, Head) for item in items)
    first = items[0]
    assert isinstance(first, Line)
    assert first.sure_of(3, 12) == pytest.approx(0.5)
    assert rounded(await written((), begun="yes")) == [("yes", 1.0)]


async def test_a_character_that_comes_in_two_tokens() -> None:
    """What the decoder holds back is there at the end."""
    assert rounded(await written((("no", 1.0), (" Z~", 1.0), ("ürich", 1.0), (" é~", 1.0))))[-1] == ("no Zürich é", 1.0)


@pytest.mark.parametrize(
    "reason", [FinishReason.LENGTH, FinishReason.CANCELLED, FinishReason.TIMEOUT, FinishReason.ERROR]
)
async def test_a_line_that_was_cut_off_is_not_told(reason: FinishReason) -> None:
    items = await written(TWO, reason=reason)
    assert rounded(items) == [("yes", 0.5), ("yes | a: six", 0.25)]
    assert items[-1] == LinesEnd(reason, USAGE)


async def test_nothing_written() -> None:
    assert await written(()) == [LinesEnd(FinishReason.STOP, USAGE)]


@pytest.mark.parametrize(("eos", "stops"), [(0, (0,)), (None, ())])
async def test_what_the_engine_is_asked(eos: int | None, stops: tuple[int, ...]) -> None:
    tokenizer, engine = PieceTokenizer(), PlayingEngine([])
    tokenizer.eos_token_id = eos
    for _ in range(2):
        assert [item async for item in write_lines(engine, tokenizer, [1, 2], max_tokens=9)]
    first, second = engine.requests
    assert (list(first.token_ids), first.max_tokens, first.stop_token_ids, first.logprobs) == ([1, 2], 9, stops, True)
    assert first.request_id != second.request_id
    assert engine.aborted == []


async def test_closing_early_aborts_the_generation() -> None:
    """At the first word already, and at once."""
    tokenizer = PieceTokenizer()
    engine = PlayingEngine(deltas(tokenizer, TWO))
    async with aclosing(write_lines(engine, tokenizer, [1], max_tokens=9)) as items:
        assert await anext(items) == Head("yes", pytest.approx(0.5))
        assert engine.aborted == []
    assert engine.aborted == [engine.requests[0].request_id]
