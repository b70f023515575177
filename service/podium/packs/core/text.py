"""`text_statistics`: counts over a piece of text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, Field

from podium.tools import Tool, tool, tool_of

__all__ = ["TextStatistics", "text_tools", "unquoted"]

_MOST_CHARACTERS = 200_000
_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "«": "»", "„": "“", "`": "`"}  # noqa: RUF001
_WORD = re.compile(r"\w+(?:['’\-]\w+)*")  # noqa: RUF001
_SENTENCE_END = re.compile(r"(?<![.!?…])[.!?…]++(?=[\s\"'”’)\]]|$)")  # noqa: RUF001


@dataclass(frozen=True, slots=True)
class TextStatistics:
    """Counts over a text. The average length of a word is in characters."""

    characters: int
    characters_without_spaces: int
    words: int
    unique_words: int
    sentences: int
    lines: int
    paragraphs: int
    average_word_length: float


def unquoted(text: str) -> str:
    """Return `text` without the pair of quotation marks around it, if there is one."""
    text = text.strip()
    if len(text) >= 2 and _QUOTES.get(text[0]) == text[-1]:
        inner = text[1:-1]
        if text[0] not in inner and text[-1] not in inner:
            return inner
    return text


Quoted = Annotated[
    str,
    Field(max_length=_MOST_CHARACTERS, json_schema_extra={"x-podium-kind": "quoted"}),
    AfterValidator(unquoted),
]


@tool(
    answer=(
        "Words: {words} ({unique_words} different); characters: {characters} ({characters_without_spaces} without "
        "spaces); sentences: {sentences}; lines: {lines}."
    ),
    side_effects="none",
    type="compute",
    cache_ttl=3600,
    examples=[
        ("How many words are in 'the quick brown fox'?", {"text": "the quick brown fox"}),
        ('count the characters of "Hello, world!"', {"text": "Hello, world!"}),
        (
            'text statistics for "To be or not to be, that is the question."',
            {"text": "To be or not to be, that is the question."},
        ),
        ('How long is the sentence "She sells sea shells"?', {"text": "She sells sea shells"}),
        ('how many letters does "onomatopoeia" have', {"text": "onomatopoeia"}),
        ("count words: 'one two three four'", {"text": "one two three four"}),
        (
            'Number of sentences in "It rained. We stayed in. Nobody minded."',
            {"text": "It rained. We stayed in. Nobody minded."},
        ),
        ('analyse this text: "Simple is better than complex."', {"text": "Simple is better than complex."}),
        ("How many different words does 'row row row your boat' use?", {"text": "row row row your boat"}),
    ],
)
def text_statistics(text: Quoted) -> TextStatistics:
    """Count the characters, words, different words, sentences, lines and paragraphs of a text.

    Args:
        text: The text to count, word for word, without the quotation marks around it.
    """
    words = _WORD.findall(text)
    sentences = len(_SENTENCE_END.findall(text))
    tail = _SENTENCE_END.split(text)[-1]
    return TextStatistics(
        characters=len(text),
        characters_without_spaces=sum(not char.isspace() for char in text),
        words=len(words),
        unique_words=len({word.casefold() for word in words}),
        sentences=sentences + bool(_WORD.search(tail)),
        lines=len(text.splitlines()),
        paragraphs=sum(bool(part.strip()) for part in re.split(r"\n\s*\n", text)),
        average_word_length=round(sum(map(len, words)) / len(words), 2) if words else 0.0,
    )


def text_tools() -> list[Tool]:
    """Return the tools of this module."""
    return [made for made in (tool_of(text_statistics),) if made is not None]
