"""Which tools fit, by the first words about all of them."""

from __future__ import annotations

import asyncio
import math

import pytest

from podium.inference.planner.heads import Heads, log_odds
from podium.inference.planner.lines import Head


@pytest.mark.parametrize(
    ("word", "sure", "odds"),
    [
        ("yes", 0.8, math.log(4)),
        ("no", 0.8, -math.log(4)),
        ("yes", 0.2, -math.log(4)),
        ("no", 0.2, math.log(4)),
        ("yes", 0.5, 0.0),
        ("yes", 1.0, 12.0),
        ("no", 1.0, -12.0),
        ("yes", 0.0, -12.0),
        ("yes", None, math.log(999)),
        ("no", None, -math.log(999)),
        ("perhaps", 0.01, -12.0),
        ("perhaps", None, -12.0),
    ],
)
def test_what_the_first_word_tells(word: str, sure: float | None, odds: float) -> None:
    """The model's probability as log-odds of "yes", within bounds; any other word is a no, however doubtful."""
    assert log_odds(Head(word, sure)) == pytest.approx(odds, abs=1e-6)


async def steps() -> None:
    """Let every task go as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_both_judges_are_added_up() -> None:
    """The matcher counts half; the model's word that it does not fit can be outweighed, and its yes too."""
    heads = Heads([2.0, -4.0, -2.0, 0.0])
    words = [Head("yes", 0.5), Head("yes", 0.8), Head("yes", 0.8), Head("no", 0.5)]
    fits = await asyncio.gather(*(heads.fits(place, word) for place, word in enumerate(words)))
    assert fits == [True, False, True, True]
    odds = [heads.odds(place) for place in range(4)]
    assert odds == pytest.approx([1.0, math.log(4) - 2, math.log(4) - 1, 0.0])


async def test_everybody_waits_for_the_last() -> None:
    heads = Heads([0.0, 0.0, 0.0])
    first = asyncio.create_task(heads.fits(0, Head("yes", 0.9)))
    second = asyncio.create_task(heads.fits(2, Head("no", 0.9)))
    await steps()
    assert not first.done()
    assert not second.done()
    assert await heads.fits(1, Head("yes", 0.9))
    assert (await first, await second) == (True, False)


async def test_an_answer_that_ends_without_a_word_is_a_no() -> None:
    """And keeps nobody waiting. What ends behind its word changes nothing, and none counts twice."""
    heads = Heads([0.0, 30.0, 0.0])
    first = asyncio.create_task(heads.fits(0, Head("yes", 0.9)))
    await steps()
    heads.done(0)
    heads.done(1)
    heads.done(1)
    await steps()
    assert not first.done()
    assert heads.odds(1) == -12.0
    assert heads.odds(2) == -12.0
    heads.done(2)
    assert await first
    assert heads.odds(0) == pytest.approx(math.log(9))


async def test_one_that_does_not_wait_any_more() -> None:
    """A cancelled answer has told its word."""
    heads = Heads([0.0, 0.0])
    gone = asyncio.create_task(heads.fits(0, Head("yes", 0.9)))
    await steps()
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    heads.done(0)
    assert await heads.fits(1, Head("yes", 0.9))
