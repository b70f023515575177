"""What a request says apart from its particulars: its shape, and the spans that fill it.

"Weather in Paris for 3 days" and "Weather in Oslo for 5 days" have one shape with two spans each.
Similar requests tend to need the same plan with other particulars (plan templates: arXiv 2506.14852).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

__all__ = ["LONGEST_REQUEST", "RequestShape", "Span", "after_word", "shape_of", "word_before"]

LONGEST_REQUEST: Final = 4_000  # characters looked at
_MOST_SPANS: Final = 32
_LONGEST_TAIL: Final = 256  # characters
_CLOSING: Final = " \t\r\n.?!"

_CAPITAL = "[A-ZÀ-ÖØ-ÞА-ЯΑ-Ω]"
# Every alternative starts where no word goes on and is of bounded length, so that matching is linear.
_SPANS = re.compile(
    r"""(?P<url>(?<!\w)https?://[^\s"'<>`]{1,2048})"""
    r"""|(?P<address>(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8})"""
    r"""|"(?P<double>[^"\n]{1,256})"|“(?P<curly>[^”\n]{1,256})”|`(?P<tick>[^`\n]{1,256})`"""
    r"""|(?<!\w)'(?P<single>[^'\n]{1,256})'(?!\w)"""
    r"""|(?P<date>(?<![\w.-])\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d)?Z?)?(?![\w-]))"""
    r"""|(?P<code>(?<![\w-])[A-Za-z]{1,32}[-_]?\d[\w-]{0,62})"""
    r"""|(?P<number>(?<![\w.])-?\d{1,15}(?:\.\d{1,15})?)"""
    rf"""|(?P<name>(?<!\w){_CAPITAL}\w{{0,63}}(?:[ -]{_CAPITAL}\w{{0,63}}){{0,7}})"""
)
_QUOTED = frozenset({"double", "curly", "tick", "single"})
_SENTENCE_END = ".!?:\n"


@dataclass(frozen=True, slots=True)
class Span:
    """A particular of a request: the `index`-th of its `kind`, from 0. `number` is its value, if it is one."""

    kind: str
    index: int
    text: str
    number: int | float | None = None


@dataclass(frozen=True, slots=True)
class RequestShape:
    """A request taken apart. Equal digests mean requests that differ in their spans alone."""

    text: str
    digest: bytes
    spans: tuple[Span, ...]

    def span(self, kind: str, index: int) -> Span | None:
        """Return the `index`-th span of a kind."""
        for span in self.spans:
            if span.index == index and span.kind == kind:
                return span
        return None


def shape_of(request: str) -> RequestShape:
    """Take a request apart; only its first 4,000 characters and 32 spans count."""
    text = request[:LONGEST_REQUEST]
    spans: list[Span] = []
    counts: dict[str, int] = {}
    pieces: list[str] = []
    end = 0
    for kind, start, stop, inner in _found(text):
        index = counts.get(kind, 0)
        counts[kind] = index + 1
        number = _number(inner) if kind == "number" else None
        spans.append(Span(kind, index, inner, number))
        pieces += (text[end:start], f"\0{kind}\0")
        end = stop
        if len(spans) == _MOST_SPANS:
            break
    pieces.append(text[end:])
    plain = " ".join("".join(pieces).lower().split()).rstrip(_CLOSING)
    return RequestShape(text, blake2b(plain.encode(errors="replace"), digest_size=8).digest(), tuple(spans))


def after_word(request: str, word: str) -> str | None:
    """Return what follows the first `word` (in lower case) of a request, up to its end, or None."""
    if word.isascii() and request.isascii():
        lowered = request.lower()
    else:
        # Lowering may change the length of other letters, and with it every offset.
        lowered = "".join(low if len(low := letter.lower()) == 1 else letter for letter in request)
    start = lowered.find(word)
    while start >= 0:
        end = start + len(word)
        if (start == 0 or not request[start - 1].isalnum()) and request[end : end + 1].isspace():
            return request[end:].strip(_CLOSING) or None
        start = lowered.find(word, end)
    return None


def word_before(request: str, tail: str) -> str | None:
    """Return the word, in lower case, after which a request ends with just `tail`; None if it does not."""
    if not 0 < len(tail) <= _LONGEST_TAIL:
        return None
    closed = request.strip(_CLOSING)
    if not closed.endswith(tail) or len(closed) == len(tail):
        return None
    before = closed[-len(tail) - 65 : -len(tail)]
    if not before[-1].isspace() or not (words := before.split()):
        return None
    word = words[-1].lower()
    return word if after_word(request, word) == tail else None


def _found(text: str) -> Iterator[tuple[str, int, int, str]]:
    """Yield kind, start, end and inner text of each span."""
    for match in _SPANS.finditer(text):
        kind = match.lastgroup or ""
        start, end, inner = match.start(), match.end(), match[kind]
        if kind in _QUOTED:
            kind = "quoted"
        elif kind == "url":
            inner = inner.rstrip(".,;:!?)")
            end = start + len(inner)
        elif kind == "name" and _opens_sentence(text, start):
            # The first word is capitalised whatever it is: only what follows it can be told to be a name.
            first = re.split("[ -]", inner, maxsplit=1)[0]
            start += len(first) + 1
            inner = text[start:end]
            if not inner:
                continue
        yield kind, start, end, inner


def _opens_sentence(text: str, start: int) -> bool:
    before = text[:start].rstrip(" \t\"'“`(")
    return not before or before[-1] in _SENTENCE_END


def _number(text: str) -> int | float:
    return float(text) if "." in text else int(text)
