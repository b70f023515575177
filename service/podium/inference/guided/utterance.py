"""A clause taken apart: its words, its typed spans, and both as one row of tokens."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from podium.inference.guided.lexicon import ABBREVIATIONS, PLEASANTRIES
from podium.inference.guided.spans import Span, SpanKind, Word, dominant, find_spans, words_of

__all__ = ["END", "START", "Token", "Utterance", "analyse", "stem"]

START = "<start>"
END = "<end>"
_SHOWN = {kind: f"<{kind}>" for kind in SpanKind} | {SpanKind.PLACE: "<name>", SpanKind.CODE: "<code>"}
_TAIL = re.compile(
    r"(?:[\s,]*(?:\b(?:please|pls|plz|thanks|thank you|thx|cheers|for me|right now|asap|if you can|if possible|"
    r"would you|could you|will you|can you)\b)|[\s.?!,;]+)+\Z",
    re.IGNORECASE,
)
_HEAD = re.compile(r"\A(?:(?:" + "|".join(sorted(PLEASANTRIES)) + r")\b[\s,.!:-]*)+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Token:
    """A word, or a typed span standing for all of its words.

    `text` is `<kind>` for a span; `word` is then what it says, where that may be ordinary wording
    ("days", which is a unit in one request and the subject of another).
    """

    start: int
    end: int
    text: str
    is_span: bool = False
    word: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Utterance:
    """A clause and what was found in it.

    Attributes:
        text: the clause.
        words: its words, lower case.
        spans: every typed span, overlapping ones too.
        leading: the spans that describe it best, without overlap.
        tokens: `leading` and the words between them.
        today: the day from which relative dates count.
        body: `(start, end)` of the clause without pleasantries and final punctuation.
    """

    text: str
    words: tuple[Word, ...]
    spans: tuple[Span, ...]
    leading: tuple[Span, ...]
    tokens: tuple[Token, ...]
    body: tuple[int, int]
    today: date | None = None

    def left_of(self, start: int, count: int = 2) -> tuple[str, ...]:
        """Return the texts of the `count` tokens before `start`, nearest first."""
        index = bisect_right([token.end for token in self.tokens], start)
        texts = [token.text for token in self.tokens[max(0, index - count) : index]][::-1]
        return tuple(texts + [START] * (count - len(texts)))

    def right_of(self, end: int) -> str:
        """Return the text of the token behind `end`."""
        index = bisect_left([token.start for token in self.tokens], end)
        return self.tokens[index].text if index < len(self.tokens) else END

    def wording(self, stretches: Iterable[tuple[int, int]]) -> list[str]:
        """Return the token texts outside `stretches`; each stretch and each other span once as `<arg>`."""
        kept: list[str] = []
        cut = sorted(stretches)
        for token in self.tokens:
            inside = any(start < token.end and token.start < end for start, end in cut)
            if not inside and (not token.is_span or token.word):
                kept.append(token.word or token.text)
            elif not kept or kept[-1] != "<arg>":
                kept.append("<arg>")
        return kept


def _wordlike(span: Span) -> bool:
    return span.kind is SpanKind.UNIT and span.text.isalpha() and len(span.text) > 3


def analyse(text: str, today: date) -> Utterance:
    """Take a clause apart. Linear in its length up to a bound, beyond which only quotations are seen."""
    spans = find_spans(text, today)
    leading = tuple(dominant(spans))
    words = tuple(words_of(text[:2000]))
    tokens = [
        Token(span.start, span.end, _SHOWN[span.kind], True, span.text.lower() if _wordlike(span) else "")
        for span in leading
    ]
    ends = [span.end for span in leading]
    for word in words:
        index = bisect_right(ends, word.start)
        if index == len(leading) or leading[index].start >= word.end:
            tokens.append(Token(word.start, word.end, word.text))
    tokens.sort(key=lambda token: token.start)
    head = _HEAD.match(text)
    tail = _TAIL.search(text, max(0, len(text) - 80))
    start, end = head.end() if head else 0, tail.start() if tail else len(text)
    return Utterance(text, words, spans, leading, tuple(tokens), (start, end) if start < end else (0, len(text)), today)


_ENDINGS = (
    ("ications", "ic"), ("ication", "ic"), ("ations", ""), ("ation", ""), ("ings", ""), ("ing", ""), ("ies", "y"),
    ("edly", ""),
    ("ers", ""), ("ed", ""),
    ("er", ""), ("ions", ""), ("ion", ""), ("es", ""), ("ly", ""), ("s", ""), ("e", ""),
)  # fmt: skip


def stem(word: str) -> str:
    """Cut an English word to a stem: a light suffix stripper in the manner of Porter (1980).

    It only has to make the forms of one word meet ("convert", "converting", "conversions").
    """
    word = word.removesuffix("'s").replace("'", "")
    word = ABBREVIATIONS.get(word, word)
    if word.startswith("<"):
        return word
    for ending, instead in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) + len(instead) >= 3 and not word.endswith("ss"):
            word = word[: len(word) - len(ending)] + instead
            break
    if len(word) > 4 and word[-1] == word[-2] and word[-1] not in "aeiousl":
        word = word[:-1]
    return word.removesuffix("e") if len(word) > 3 else word
