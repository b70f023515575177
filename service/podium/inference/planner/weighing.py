"""Weighs an option that the model wrote against those that the request's words are nearer to.

A small model names an option where it has learned to, and often the wrong one: `checkup` for an animal whose teeth need
looking at, where `dental` stands beside it. How near the words of a request come to those of an option is told by the
model's own word vectors. Together they name the right option in 0.85 of the calls of the tuning set that have one, the
model alone in 0.71.
"""

from __future__ import annotations

import math
import re

from podium.inference.guided.lexicon import LIGHT_WORDS
from podium.inference.guided.slots import Slot, name_words
from podium.inference.guided.utterance import Utterance
from podium.inference.guided.vectors import WordVectors
from podium.inference.planner.call_lines import WrittenCall
from podium.inference.planner.lines import Line
from podium.inference.planner.shown import ShownTool

__all__ = ["weighed"]

# What a likeness of 1 adds to an option's log-probability; set on the tuning set, where 4 and 8 do hardly worse.
_LIKENESS = 6.0
# Of an option that the model did not write, and of one that it wrote when the engine does not tell.
_LEAST, _UNTOLD = 1e-3, 0.9
_SHORTEST_WORD = 3


def weighed(call: WrittenCall, line: Line, shown: ShownTool, request: Utterance) -> WrittenCall:
    """Return a call with the likeliest options by the model and the request's words.

    Args:
        call: what the line says.
        line: as the model wrote it.
        shown: its tool.
        request: what the model was shown, taken apart.
    """
    vectors = next((one.vectors for one in shown.tool.evidence.values() if one.vectors is not None), None)
    if vectors is None:
        return call
    words = [word for word in re.findall(r"[a-z]+", request.text.lower()) if word not in LIGHT_WORDS]
    values = dict(call.values)
    for name, said in call.values.items():
        slot = shown.parameters[name].slot
        if said in slot.options and not slot.many:
            end = call.parts[name][1]
            sure = line.sure_of(line.text.rindex(said, 0, end) - 1, end)
            values[name] = _likeliest(slot, said, _UNTOLD if sure is None else sure, words, vectors)
    return WrittenCall(values, call.parts)


def _likeliest(slot: Slot, said: str, sure: float, words: list[str], vectors: WordVectors) -> str:
    others = max(1, len(slot.options) - 1)

    def weight(option: str) -> float:
        share = sure if option == said else (1.0 - sure) / others
        return math.log(max(share, _LEAST)) + _LIKENESS * _likeness(option, words, vectors)

    return max((option for option in slot.options if isinstance(option, str)), key=weight)


def _likeness(option: str, words: list[str], vectors: WordVectors) -> float:
    """Return how near the words come to those of an option, 0 to 1: the mean over its words of the nearest one's."""
    parts = name_words(option)
    near = [
        max((vectors.similarity(word, part) for word in words if len(word) >= _SHORTEST_WORD), default=0.0)
        for part in parts
    ]
    return max(0.0, sum(near) / len(near)) if near else 0.0
