"""How likely a tool is meant, by the first word about it and the matcher."""

from __future__ import annotations

import math

import pytest

from podium.inference.planner.heads import joint_odds, log_odds
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


@pytest.mark.parametrize(
    ("word", "sure", "matched", "odds"),
    [
        ("yes", 0.5, 0.0, 1.5),
        ("yes", 0.5, 2.0, 2.3),
        ("yes", 0.8, -4.0, 1.1 * math.log(4) - 0.1),
        ("no", 0.8, 0.0, -1.1 * math.log(4) + 1.5),
        ("perhaps", 0.8, 5.0, -9.7),
    ],
)
def test_both_judges_are_added_up(word: str, sure: float, matched: float, odds: float) -> None:
    """Weighted, and with a bias towards yes: what is not meant loses against what is."""
    assert joint_odds(Head(word, sure), matched) == pytest.approx(odds)


def test_either_judge_can_outvote_the_other() -> None:
    assert joint_odds(Head("no", 0.9), 0.0) < 0 < joint_odds(Head("no", 0.9), 3.0)
    assert joint_odds(Head("yes", 0.6), -5.0) < 0 < joint_odds(Head("yes", 0.6), 0.0)
