"""Candidates: what in a clause could be the value of a slot, with how well it looks the part.

A candidate's `fit` counts its form only (a date for a date). What stands around it is judged by
`contexts`, and which candidates go together by `assignment`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from podium.inference.guided.lexicon import FUNCTION_WORDS, LIGHT_WORDS, PLEASANTRIES, PREPOSITIONS
from podium.inference.guided.patterns import described_patterns
from podium.inference.guided.slots import Slot, SlotKind
from podium.inference.guided.spans import Span, SpanKind
from podium.inference.guided.utterance import Utterance
from podium.inference.guided.values import VALUE_MAKERS, Candidate

__all__ = ["Candidate", "candidates_for"]

_MAX_CANDIDATES = 48
_MAX_RUN_STARTS = 16
_MAX_RUN_ENDS = 6


# Kinds of span that suit a kind of slot, best first, with their fit.
_SUITS: dict[SlotKind, tuple[tuple[SpanKind, float], ...]] = {
    SlotKind.URL: ((SpanKind.URL, 1.5),),
    SlotKind.EMAIL: ((SpanKind.EMAIL, 1.5),),
    SlotKind.PATH: ((SpanKind.PATH, 1.5), (SpanKind.QUOTED, 0.6)),
    SlotKind.GLOB: ((SpanKind.GLOB, 1.6),),
    SlotKind.QUOTED: ((SpanKind.QUOTED, 1.6),),
    SlotKind.CODE: ((SpanKind.CODE, 1.3), (SpanKind.QUOTED, 0.8), (SpanKind.NUMBER, 0.5), (SpanKind.NAME, 0.5)),
    SlotKind.PLACE: ((SpanKind.PLACE, 1.2), (SpanKind.NAME, 1.0), (SpanKind.QUOTED, 0.4)),
    SlotKind.TIMEZONE: ((SpanKind.PLACE, 1.4), (SpanKind.NAME, 0.9), (SpanKind.QUOTED, 0.3)),
    SlotKind.NAME: ((SpanKind.NAME, 1.0), (SpanKind.PLACE, 0.7), (SpanKind.QUOTED, 0.8), (SpanKind.EMAIL, 0.3)),
    SlotKind.TEXT: ((SpanKind.QUOTED, 1.6), (SpanKind.NAME, 0.3), (SpanKind.PLACE, 0.2), (SpanKind.CODE, 0.1)),
    SlotKind.UNIT: ((SpanKind.UNIT, 1.3),),
}
_RUN_KINDS = {
    SlotKind.TEXT: (0.2, 24),
    SlotKind.QUOTED: (-0.1, 60),
    SlotKind.PLACE: (-0.2, 3),
    SlotKind.TIMEZONE: (-0.2, 3),
    SlotKind.NAME: (-0.2, 3),
    SlotKind.UNIT: (-0.5, 2),
    SlotKind.CODE: (-0.9, 1),
}


def _trim(span: Span) -> tuple[str, int]:
    text = re.sub(r"['’]s?\Z", "", span.text) if span.kind is not SpanKind.QUOTED else span.text  # noqa: RUF001
    return text, span.start + len(text)


def _spans(slot: Slot, clause: Utterance) -> Iterator[Candidate]:
    suits = dict(_SUITS.get(slot.kind, ()))
    for span in clause.spans:
        if span.kind in suits:
            text, end = _trim(span)
            yield Candidate(text, span.start, end, suits[span.kind])
            first, _, rest = text.partition(" ")
            if span.kind is SpanKind.NAME and rest and span.start == clause.body[0]:
                # The capital of a sentence's first word says nothing: "Message Anna".
                yield Candidate(rest, span.start + len(first) + 1, end, suits[span.kind])
    colon = re.search(r":\s+(?=\S)", clause.text[:2000])
    if colon and slot.kind in {SlotKind.TEXT, SlotKind.QUOTED}:
        payload = clause.text[colon.end() :].rstrip()
        if not any(span.kind is SpanKind.QUOTED and span.end > colon.end() for span in clause.spans):
            yield Candidate(payload, colon.end(), colon.end() + len(payload), 1.4)


_CANNOT_BEGIN = (
    FUNCTION_WORDS
    - {
        "no",
        "not",
        "how",
        "what",
        "why",
        "when",
        "where",
        "who",
        "i",
        "we",
        "my",
        "our",
        "the",
        "you",
        "your",
        "it",
        "one",
    }
) - {"good"}
_CANNOT_END = PREPOSITIONS | {"and", "or", "the", "a", "an", "my", "is", "are", "of", "to"}


_PAUSE = re.compile(r"[,;:.!?(]")
_ENDS_RUN = PREPOSITIONS | {"and", "or", "but", "then", "also", "please", "which", "who", "is", "are", "to", "so"}


def _runs(slot: Slot, clause: Utterance) -> Iterator[Candidate]:
    """Stretches of words, for arguments that nothing in their form gives away."""
    base, longest = _RUN_KINDS[slot.kind]
    start_of_body, end_of_body = clause.body
    tokens = [token for token in clause.tokens if start_of_body <= token.start and token.end <= end_of_body][:120]
    starts = [
        index
        for index, token in enumerate(tokens)
        if (index == 0 or tokens[index - 1].text in FUNCTION_WORDS or tokens[index - 1].is_span or not token.is_span)
        and token.text not in _CANNOT_BEGIN
    ]
    # A run begins behind a function word or anywhere near the front; deep inside prose it does not.
    starts.sort(key=lambda index: (not (index and tokens[index - 1].text in FUNCTION_WORDS), index))
    for first in sorted(starts[:_MAX_RUN_STARTS]):
        ends = [
            last
            for last in range(first, min(len(tokens), first + longest))
            if tokens[last].text not in _CANNOT_END
            and (
                last + 1 == len(tokens)
                or tokens[last + 1].text in _ENDS_RUN
                or tokens[last + 1].is_span
                or longest <= 3
                or _PAUSE.search(clause.text[tokens[last].end : tokens[last + 1].start])
            )
        ]
        kept = ends[:_MAX_RUN_ENDS]
        if ends and ends[-1] not in kept:
            kept[-1] = ends[-1]
        for last in kept:
            start, end = tokens[first].start, tokens[last].end
            if all(token.text in LIGHT_WORDS for token in tokens[first : last + 1]):
                continue
            text = clause.text[start:end]
            article = tokens[first].text in {"the", "my", "our", "your", "it", "you", "we", "i"}
            at_end = 0.3 if last + 1 == len(tokens) else 0.0
            pleasant = 0.4 if tokens[last].text in PLEASANTRIES else 0.0
            yield Candidate(text, start, end, base + at_end - (0.15 if article else 0.0) - pleasant, run=True)


def _matches(pattern: str, value: str) -> bool:
    try:
        return re.search(pattern, value) is not None
    except re.error:
        return True  # a pattern of another language, which the tool itself will judge by


def _fits_schema(slot: Slot, value: Any) -> bool:
    if not isinstance(value, str):
        return True
    pattern = slot.schema.get("pattern")
    # Patterns come from the tools' authors; bounding the subject bounds what a bad one can cost.
    if isinstance(pattern, str) and (len(value) > 200 or not _matches(pattern, value)):
        return False
    low, high = slot.schema.get("minLength", 0), slot.schema.get("maxLength")
    return len(value) >= low and (high is None or len(value) <= high)


def candidates_for(slot: Slot, clause: Utterance) -> list[Candidate]:
    """Return the candidates for one slot, best form first, without repeats."""
    found: list[Candidate] = []
    if slot.kind in VALUE_MAKERS:
        found.extend(VALUE_MAKERS[slot.kind](slot, clause))
    else:
        found.extend(_spans(slot, clause))
        if slot.kind is SlotKind.GLOB:
            found.extend(described_patterns(slot, clause))
        if slot.kind in _RUN_KINDS:
            found.extend(_runs(slot, clause))
    unique: dict[tuple[str, int, int], Candidate] = {}
    for made in sorted(found, key=lambda candidate: -candidate.fit):
        # Codes are often typed in lower case where their pattern wants capitals.
        fits = _fits_schema(slot, made.value)
        candidate = made if fits else replace(made, value=str(made.value).upper())
        key = (str(candidate.value), candidate.start, candidate.end)
        if key not in unique and _fits_schema(slot, candidate.value):
            unique[key] = candidate
    return list(unique.values())[:_MAX_CANDIDATES]
