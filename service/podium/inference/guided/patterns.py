"""File patterns that people describe instead of writing them: "all markdown files", "names ending in .log"."""

from __future__ import annotations

import re
from collections.abc import Iterator

from podium.inference.guided.lexicon import FILE_TYPES
from podium.inference.guided.slots import Slot
from podium.inference.guided.spans import SpanKind
from podium.inference.guided.utterance import Utterance
from podium.inference.guided.values import Candidate

__all__ = ["described_patterns"]

_ENDING = re.compile(
    r"(?:(?:ending|end|ends|finishing) (?:in|with)|with (?:the |an? )?(?:extension|suffix|ending)) [\"'`]?\*?(\.?\w+)",
    re.IGNORECASE,
)
_OF_TYPE = re.compile(
    r"(?<![\w*])(\.?[a-z]+(?: text)?)(?:[ -](?:source|config|data|script|code))?[ -]"
    r"(?:files?|documents?|docs|scripts|images|sources)\b|\b(pdfs|logs|csvs|jsons)\b",
    re.IGNORECASE,
)
_BEGINNING = re.compile(
    r"(?:starting|starts?|beginning|begins?|prefixed) with (?:the )?(?:word |prefix |letters? )?[\"'`]?([\w.-]+)",
    re.IGNORECASE,
)
_HOLDING = re.compile(
    r"(?:containing|contains?|with|having|including) (?:the )?(?:word |text )?[\"'`]?([\w.-]+)[\"'`]? in "
    r"(?:the|their|its) (?:file ?)?names?|(?:names?|called|named) (?:that )?"
    r"(?:contain|contains|containing|include|including|with) (?:the )?(?:word )?[\"'`]?([\w.-]+)",
    re.IGNORECASE,
)
_CALLED = re.compile(r"(?:called|named) [\"'`]?([\w.*-]+)", re.IGNORECASE)


def described_patterns(slot: Slot, clause: Utterance) -> Iterator[Candidate]:
    """Yield the patterns that a clause describes, as candidates of a slot that takes one."""
    text = clause.text[:2000]
    endings = [
        (FILE_TYPES.get(match[1].lower(), match[1].lower().lstrip(".")), match) for match in _ENDING.finditer(text)
    ]
    for match in _OF_TYPE.finditer(text):
        name = (match[1] or match[2]).lower()
        plain = FILE_TYPES.get(name) or FILE_TYPES.get(name.removesuffix("s"))
        ending = name[1:] if name.startswith(".") else plain
        if ending:
            endings.append((ending, match))
    ending = endings[0][0] if endings else ""
    suffix = f".{ending}" if ending else ""
    for pattern, form in ((_BEGINNING, "{}*"), (_HOLDING, "*{}*"), (_CALLED, "{}")):
        for match in pattern.finditer(text):
            word = next(group for group in match.groups() if group)
            if pattern is _CALLED and word.lower() in {"contain", "contains", "containing", "like"}:
                continue
            value = word if pattern is _CALLED and ("." in word or not suffix) else form.format(word) + suffix
            yield Candidate(value, match.start(), match.end(), 1.5)
    for ending, match in endings:
        yield Candidate(f"*.{ending}", match.start(), match.end(), 1.4)
    for span in clause.spans:
        if span.kind is SpanKind.PATH:
            yield Candidate(span.text, span.start, span.end, 0.6)
        elif span.kind is SpanKind.QUOTED:
            yield Candidate(span.text, span.start, span.end, 0.3)
    if slot.required and re.search(
        r"\b(?:all|every|any|what|which|the|list) (?:the |of the |my )*files\b", text, re.IGNORECASE
    ):
        yield Candidate("*", 0, 0, 0.3)
