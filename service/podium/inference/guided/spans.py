"""Typed spans of a request: the pieces of it that could be an argument.

A span is always a substring of the request. `value` is what it means where that differs from its
text (a number, an ISO date, an expression in symbols). Spans of different kinds may overlap;
`dominant` keeps the most telling ones, which is how a request is described to the router.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any

from podium.inference.guided.arithmetic import find_expressions, words_to_number
from podium.inference.guided.lexicon import (
    FILE_EXTENSIONS,
    LIGHT_WORDS,
    MONTHS,
    NUMBER_SCALES,
    NUMBER_WORDS,
    SHORT_UNITS,
    UNIT_PATTERN,
    WEEKDAYS,
    zone_cities,
)
from podium.inference.guided.when import DATE_PATTERN, TIME_PATTERN, resolve_date, resolve_time

__all__ = ["Span", "SpanKind", "Word", "dominant", "find_spans", "words_of"]

# Nobody means more arguments than this; the rest of a very long request is prose.
_MAX_SPANS = 96
# Only quotations are looked for beyond this many characters: the rest is somebody's text, not wording.
_ANALYSED = 2000


class SpanKind(StrEnum):
    """What a span looks like."""

    QUOTED = "quoted"
    URL = "url"
    EMAIL = "email"
    GLOB = "glob"
    PATH = "path"
    DATE = "date"
    TIME = "time"
    EXPRESSION = "expression"
    CODE = "code"
    NUMBER = "number"
    UNIT = "unit"
    PLACE = "place"
    NAME = "name"


# Which kind describes a stretch best when several match it.
_PRECEDENCE = {kind: rank for rank, kind in enumerate(SpanKind)}


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of a request. `text` is `request[start:end]`."""

    start: int
    end: int
    text: str
    kind: SpanKind
    value: Any = None

    def overlaps(self, other: Span) -> bool:
        """Tell whether the two share a character."""
        return self.start < other.end and other.start < self.end


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a request, in lower case, with its place."""

    start: int
    end: int
    text: str


_WORD = re.compile(r"[^\W_]+(?:['’][^\W\d_]+)?(?:[-_][^\W_]+)*")  # noqa: RUF001
_QUOTED = re.compile(r'"([^"]+)"|“([^”]+)”|«([^»]+)»|`([^`]+)`|‘([^’]+)’|(?<!\w)\'([^\']+(?:\'\w+[^\']*)*)\'(?!\w)')  # noqa: RUF001
_URL = re.compile(r"(?:https?|ftp)://[^\s<>\"'`]+|www\.[^\s<>\"'`]+", re.IGNORECASE)
_TOP_LEVEL = "com|org|net|io|dev|edu|gov|info|app|ai|co|uk|de|fr|it|es|nl|eu|us|ca|au|jp|local|test"
_BARE_URL = re.compile(
    rf"(?<![\w@./-])(?:[a-z0-9-]+\.)+(?:{_TOP_LEVEL})(?::\d+)?(?:/[^\s<>\"'`]*)?(?![\w@-])|localhost(?::\d+)?(?:/\S*)?",
    re.IGNORECASE,
)
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_GLOB = re.compile(r"(?<!\S)[\w./-]*(?:\*[\w./*?\[\]{},-]+|[\w./-]+\*|[\w-]*\?[\w?-]*\.\w+)(?=[\s,;!:]|[.?]?(?:\s|\Z))")
_PATH = re.compile(
    r"(?<![\w*/.:@])(?:~?/|\.{1,2}/)?(?:[\w-]+(?:\.[\w-]+)*/)*[\w-]+(?:\.[\w-]+)*(?:\.[A-Za-z][A-Za-z0-9]{0,6}|/(?=\s|\Z))?"
)
_CODE = re.compile(r"(?<![\w/.#-])#?(?=[\w-]*\d)(?:[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*)(?![\w/]|\.\w)")
_NUMBER = re.compile(
    r"(?<![\w.,/:])[-−]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:e[+-]?\d+)?(?![\d:/]|[.,]\d)",  # noqa: RUF001
    re.IGNORECASE,
)
_NUMERAL = "(?:" + "|".join((*sorted(NUMBER_WORDS, key=len, reverse=True), *NUMBER_SCALES, "dozen")) + ")(?![a-z])"
_NUMBER_WORDS = re.compile(
    rf"(?<![\w-])(?:an? )?{_NUMERAL}(?:(?: and |[ -]){_NUMERAL})*"
    r"(?: point (?:zero|one|two|three|four|five|six|seven|eight|nine)(?!\w))?(?: and a half)?(?![\w-])",
    re.IGNORECASE,
)  # fmt: skip
_HALF = re.compile(r"(?<!\w)half an?(?= \w)|(?<!\w)an? half(?!\w)", re.IGNORECASE)
_COUPLE = re.compile(r"(?<!\w)a couple(?: of)?(?= \w)|(?<!\w)(?:a )?pair of(?= \w)", re.IGNORECASE)
# How often something is done: "twice a day", "once daily".
_OFTEN = "(?=,? (?:an?|per|each|every|daily|weekly|monthly|yearly)(?!\\w))"
_TIMES = tuple(
    (re.compile(rf"(?<!\w){word}{_OFTEN}", re.IGNORECASE), count)
    for word, count in (("once", 1.0), ("twice", 2.0), ("thrice", 3.0))
)
_UNIT = re.compile(rf"(?<![^\W\d_])(?:{UNIT_PATTERN.pattern})(?![\w²³])", re.IGNORECASE)
_SHORT_UNIT = re.compile(
    r"(?<=\d)\s?°?\s?([a-zA-Z])(?![\w'/.])|"
    r"(?<=\bto )°?([a-zA-Z])(?=\s*(?:\Z|[?.!,;]|and))|(?<=\bin )([CFK])(?=\s*(?:\Z|[?.!,;]))"
)
_CAPITAL = r"[A-Z][^\W\d_]*(?:['’.-][^\W\d_]+)*\.?"  # noqa: RUF001
_NAME = re.compile(
    rf"{_CAPITAL}(?: (?:(?:of|de|da|do|del|la|le|the|upon|am) )?{_CAPITAL}|(?<=[a-z]), [A-Z]{{2}}(?!\w))*"
)
_ZONE = re.compile(
    r"(?<![\w/])(?:[A-Z][A-Za-z]+/[A-Z][A-Za-z_]+(?:/[A-Z][A-Za-z_]+)?|"
    r"(?:UTC|GMT)(?: ?[+-]\d{1,2}(?::?\d{2})?)?|[ECMP][SD]?T|CES?T|BST|IST|JST|AE[SD]T)(?!\w)"
)
_STREET = re.compile(
    r"(?<![\w.,/-])\d{1,5}[a-zA-Z]? (?:[A-Z][a-z]+ ){1,3}"
    r"(?:Street|St|Road|Rd|Lane|Ln|Avenue|Ave|Drive|Way|Square|Place|Court|Close|Terrace|Boulevard|Blvd)\b"
)
_NOT_NAMES = LIGHT_WORDS | set(MONTHS) | set(WEEKDAYS) | {"i'm", "i'd", "i've", "i'll"}


def words_of(text: str) -> list[Word]:
    """Return the words of `text`, lower case, in order."""
    return [Word(m.start(), m.end(), m[0].lower().replace("’", "'")) for m in _WORD.finditer(text)]  # noqa: RUF001


def _quoted(text: str) -> Iterator[Span]:
    for match in _QUOTED.finditer(text):
        group = next(index for index in range(1, 7) if match[index] is not None)
        if match[group].strip():
            yield Span(match.start(group), match.end(group), match[group], SpanKind.QUOTED)


def _trimmed(match: re.Match[str], kind: SpanKind) -> Span:
    text = match[0].rstrip(".,;:!?")
    while text.endswith(")") and "(" not in text:
        text = text[:-1]
    return Span(match.start(), match.start() + len(text), text, kind)


def _locators(text: str) -> Iterator[Span]:
    """URLs, addresses, patterns and file names."""
    taken: list[Span] = []
    for pattern, kind in ((_URL, SpanKind.URL), (_EMAIL, SpanKind.EMAIL), (_GLOB, SpanKind.GLOB)):
        for match in pattern.finditer(text):
            span = _trimmed(match, kind)
            if kind is SpanKind.GLOB and not re.search(r"[A-Za-z]|\*\.|\.\*|/\*", span.text):
                continue  # "12*12" is a sum
            if span.text and not any(span.overlaps(other) for other in taken):
                taken.append(span)
    for match in _PATH.finditer(text):
        span = (
            _trimmed(match, SpanKind.PATH)
            if not match[0].endswith("/")
            else Span(*match.span(), match[0], SpanKind.PATH)
        )
        ending = span.text.rpartition(".")[2].lower() if "." in span.text else ""
        is_file = ending in FILE_EXTENSIONS and not re.fullmatch(r"[\d.]+[a-z]?", span.text)
        is_path = "/" in span.text and bool(re.search(r"[A-Za-z_]", span.text)) and (
            span.text[0] in "/.~" or span.text.count("/") > 1 or "." in span.text or span.text.endswith("/")
        )  # fmt: skip
        if (is_file or is_path) and not any(span.overlaps(other) for other in taken):
            taken.append(span)
    for match in _BARE_URL.finditer(text):
        span = _trimmed(match, SpanKind.URL)
        if not any(span.overlaps(other) for other in taken):
            taken.append(span)
    yield from taken


_UP_TO = "(?:to|and|until|till|through|-|–|or)"  # noqa: RUF001
_SHARED_MONTH = re.compile(
    rf"(?<![\w.,/:-])(\d{{1,2}})(?:st|nd|rd|th)?"
    rf"(?= ?{_UP_TO} ?(?:the )?\d{{1,2}}(?:st|nd|rd|th)?(?: of)? ([A-Za-z]{{3,9}})(,? \d{{4}})?)"
)
_LATER_DAY = re.compile(
    r"(?<![a-z])(jan|feb|mar|apr|may|jun|jul|aug|sep|sept|oct|nov|dec)[a-z]* (?:the )?\d{1,2}(?:st|nd|rd|th)? ?"
    rf"{_UP_TO} ?(?:the )?(\d{{1,2}})(?:st|nd|rd|th)?(?! ?[\w:/])(,? \d{{4}})?",
    re.IGNORECASE,
)


def _dates(text: str, today: date) -> Iterator[Span]:
    matches = [match for match in DATE_PATTERN.finditer(text) if match[0].lower() not in {"sat", "sun", "mar", "wed"}]
    years = [int(year) for match in matches for year in re.findall(r"(?<!\d)\d{4}(?!\d)", match[0])]
    years += [int(match[3].strip(", ")) for match in _LATER_DAY.finditer(text) if match[3]]
    year = years[-1] if years else None
    for match in matches:
        yield Span(match.start(), match.end(), match[0], SpanKind.DATE, resolve_date(match[0], today, year))
    for match in _SHARED_MONTH.finditer(text):
        if match[2].lower() in MONTHS:
            meant = resolve_date(f"{match[1]} {match[2]}{match[3] or ''}", today, year)
            yield Span(match.start(), match.end(), match[0], SpanKind.DATE, meant)
    for match in _LATER_DAY.finditer(text):
        meant = resolve_date(f"{match[2]} {match[1]}{match[3] or ''}", today, year)
        yield Span(match.start(2), match.end(2), match[2], SpanKind.DATE, meant)


def _numbers(text: str) -> Iterator[Span]:
    for match in _NUMBER.finditer(text):
        following = text[match.end() : match.end() + 3].lower()
        if following[:2] in {"st", "nd", "rd", "th"} and not following[2:].isalpha():
            continue
        yield Span(*match.span(), match[0], SpanKind.NUMBER, float(match[0].replace(",", "").replace("−", "-")))  # noqa: RUF001
    for match in _NUMBER_WORDS.finditer(text):
        if match[0].lower() == "one" and re.match(
            r"\s+(?:of|more|thing|moment|sec|that|which|question)\b", text[match.end() :]
        ):
            continue
        plain = re.sub(r" and a half$", "", match[0], flags=re.IGNORECASE)
        value = words_to_number(plain)
        if value is not None:
            yield Span(*match.span(), match[0], SpanKind.NUMBER, value + (0.5 if plain != match[0] else 0))
    for pattern, value in ((_HALF, 0.5), (_COUPLE, 2.0), *_TIMES):
        yield from (Span(*match.span(), match[0], SpanKind.NUMBER, value) for match in pattern.finditer(text))


def _units(text: str) -> Iterator[Span]:
    for match in _UNIT.finditer(text):
        yield Span(*match.span(), match[0], SpanKind.UNIT)
    for match in _SHORT_UNIT.finditer(text):
        group = next(index for index in (1, 2, 3) if match[index])
        if match[group].lower() in SHORT_UNITS:
            yield Span(match.start(group), match.end(group), match[group], SpanKind.UNIT)


def _codes(text: str) -> Iterator[Span]:
    for match in _CODE.finditer(text):
        token = match[0].lstrip("#")
        letters = any(character.isalpha() for character in token)
        if (letters and len(token) >= 4 and not re.fullmatch(r"\d+(?:[.,]\d+)?[a-zA-Z]{1,4}|\d+-\w+", token)) or (
            token.isdigit() and (len(token) >= 6 or match[0].startswith("#"))
        ):
            yield Span(match.end() - len(token), match.end(), token, SpanKind.CODE)


def _names(text: str) -> Iterator[Span]:
    for match in _ZONE.finditer(text):
        yield Span(*match.span(), match[0], SpanKind.PLACE)
    for match in _NAME.finditer(text):
        start, words = match.start(), match[0].rstrip(".").split(" ")
        while words and words[0].lower().strip(",.") in _NOT_NAMES:
            start += len(words.pop(0)) + 1
        while words and words[-1] == "I":
            words.pop()
        name = " ".join(words)
        begins = not text[:start].rstrip(" \"'“(").strip() or text[:start].rstrip(" \"'“(")[-1:] in ".!?;:\n-"
        known = name.lower() in zone_cities()
        # The first word of a sentence is a name only when something else says so.
        if len(name) > 1 and (not begins or known or (len(words) > 1 and words[1][:1].isupper())):
            yield Span(start, start + len(name), name, SpanKind.PLACE if known else SpanKind.NAME)
    for match in _STREET.finditer(text):
        yield Span(*match.span(), match[0], SpanKind.NAME)
    lowered = text.lower()
    words_found = words_of(text)
    for first in range(len(words_found)):
        for size in (3, 2, 1):
            run = words_found[first : first + size]
            place = lowered[run[0].start : run[-1].end]
            if len(run) == size and place in zone_cities() and (size > 1 or place not in _NOT_NAMES):
                yield Span(run[0].start, run[-1].end, text[run[0].start : run[-1].end], SpanKind.PLACE)
                break


def find_spans(text: str, today: date) -> tuple[Span, ...]:
    """Return every typed span of `text`, by place. `today` gives relative dates their meaning."""
    head = text[:_ANALYSED]
    found = list(_quoted(text))
    # What is quoted is taken whole; digits and names inside it are not arguments of their own,
    # but a quoted file name or address is both.
    masked = _mask(head, found)
    found += [span for span in _locators(head) if not any(q.start < span.start and span.end < q.end for q in found)]
    fixed = [span for span in found if span.kind is not SpanKind.QUOTED]
    masked = _mask(masked, fixed)
    dates = [*_dates(masked, today)]
    times = [Span(*m.span(), m[0], SpanKind.TIME, resolve_time(m[0])) for m in TIME_PATTERN.finditer(masked)]
    found += dates + times
    expressions = find_expressions(_mask(masked, dates + times))
    found += [Span(start, end, text[start:end], SpanKind.EXPRESSION, value) for start, end, value in expressions]
    found += [*_numbers(masked), *_units(_mask(masked, dates)), *_codes(masked), *_names(masked)]
    unique = {(span.start, span.end, span.kind): span for span in found if span.end <= len(text)}
    return tuple(sorted(unique.values(), key=lambda span: (span.start, -span.end, _PRECEDENCE[span.kind]))[:_MAX_SPANS])


def _mask(text: str, spans: Iterable[Span]) -> str:
    """Blank out `spans`, keeping every offset."""
    for span in spans:
        end = min(span.end, len(text))
        if span.start < end:
            text = text[: span.start] + "\x00" * (end - span.start) + text[end:]
    return text


def dominant(spans: Iterable[Span]) -> list[Span]:
    """Keep of overlapping spans the most telling one: by kind, then the longer."""
    kept: list[Span] = []
    for span in sorted(spans, key=lambda span: (_PRECEDENCE[span.kind], span.start - span.end)):
        if not any(span.overlaps(other) for other in kept):
            kept.append(span)
    return sorted(kept, key=lambda span: span.start)
