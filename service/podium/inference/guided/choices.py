"""Arguments with few possible values: enums and booleans.

A value is chosen on evidence: its own words in the clause, the argument's name, words that the
tool's examples use with that value and no other, or a word of nearly the same meaning. Without
evidence nothing is chosen; the planner then leaves the argument out, or lets the model choose.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from podium.inference.guided.lexicon import LIGHT_WORDS, NEGATIONS, word_set
from podium.inference.guided.slots import Slot, SlotKind, name_words
from podium.inference.guided.utterance import Utterance, stem
from podium.inference.guided.vectors import WordVectors

__all__ = ["Choice", "Evidence", "choose", "choose_many", "learn_options"]

_ALIKE = 0.4
_RELATED = 0.3
_GENERIC = word_set("is has have with include only use enable enabled allow want need the of a be show")


@dataclass(frozen=True, slots=True)
class Choice:
    """A chosen value, where the clause says so, and how sure that is."""

    value: Any
    places: tuple[tuple[int, int], ...]
    points: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """Stems that the examples use with one value and no other; and vectors for likeness."""

    words: Mapping[Any, frozenset[str]]
    vectors: WordVectors | None = None


def _content(clause: Utterance) -> dict[str, tuple[int, int]]:
    return {
        stem(token.text): (token.start, token.end)
        for token in clause.tokens
        if not token.is_span and token.text not in LIGHT_WORDS
    }


def learn_options(
    slot: Slot, examples: Iterable[tuple[Utterance, Mapping[str, Any]]], vectors: WordVectors | None
) -> Evidence:
    """Find what wording the examples use for each value of an enum or boolean."""
    with_value: dict[Any, Counter[str]] = {}
    counts: dict[str, set[Any]] = {}
    for clause, arguments in examples:
        value = arguments.get(slot.name)
        if isinstance(value, (list, dict)):
            continue
        for word in _content(clause):
            with_value.setdefault(value, Counter())[word] += 1
            counts.setdefault(word, set()).add(value)
    named = [word for word in name_words(slot.name) if word not in _GENERIC]

    def tells(value: Any, word: str, times: int) -> bool:
        # One example proves little: its words count only when they mean something like the value.
        likes = [*named, *(name_words(value) if isinstance(value, str) else [])]
        alike = vectors is not None and any(vectors.similarity(word, like) >= _RELATED for like in likes)
        return len(counts[word]) == 1 and (times > 1 or alike)

    telling = {
        value: frozenset(word for word, times in words.items() if tells(value, word, times))
        for value, words in with_value.items()
        if value is not None
    }
    return Evidence(telling if len(with_value) > 1 else {}, vectors)


def _named(option: Any, clause: Utterance) -> tuple[tuple[int, int], ...]:
    """Return where the clause says an option's own words, or nothing."""
    words = [stem(word) for word in re.findall(r"[a-z]+|\d+", str(option).lower())]
    said = {stem(word.text): (word.start, word.end) for word in reversed(clause.words)}
    if words and all(word in said for word in words):
        return tuple(said[word] for word in words)
    whole = str(option).lower().replace("_", " ")
    at = re.search(rf"(?<!\w){re.escape(whole)}(?!\w)", clause.text[:4000].lower())
    joined = re.search(rf"(?<!\w){re.escape(whole.replace(' ', ''))}(?!\w)", clause.text[:4000].lower())
    found = at or joined
    return ((found.start(), found.end()),) if found else ()


def _alike(option: Any, clause: Utterance, vectors: WordVectors | None) -> tuple[float, tuple[tuple[int, int], ...]]:
    if vectors is None or not isinstance(option, str):
        return 0.0, ()
    best = 0.0
    place: tuple[tuple[int, int], ...] = ()
    for word in name_words(option):
        for token in clause.tokens:
            if not token.is_span and token.text not in LIGHT_WORDS:
                likeness = vectors.similarity(word, token.text)
                if likeness > best:
                    best, place = likeness, ((token.start, token.end),)
    return best, place


def _choose_option(slot: Slot, clause: Utterance, evidence: Evidence | None) -> Choice | None:
    ranked: list[tuple[float, int, Choice]] = []
    content = _content(clause)
    for rank, option in enumerate(slot.options):
        places = _named(option, clause)
        if places:
            ranked.append((2.0 + 0.1 * len(places), -rank, Choice(option, places, 1.4)))
            continue
        telling = (evidence.words.get(option, frozenset()) if evidence else frozenset()) & set(content)
        if telling:
            ranked.append((1.0 + 0.1 * len(telling), -rank, Choice(option, (), 0.8)))
            continue
        likeness, where = _alike(option, clause, evidence.vectors if evidence else None)
        if likeness >= _ALIKE:
            ranked.append((likeness, -rank, Choice(option, where, 0.6)))
    return max(ranked)[2] if ranked else None


def _choose_boolean(slot: Slot, clause: Utterance, evidence: Evidence | None) -> Choice | None:
    names = [word for word in name_words(slot.name) if word not in _GENERIC]
    stems = {stem(word) for word in names}
    vectors = evidence.vectors if evidence else None
    for index, token in enumerate(clause.tokens):
        if token.is_span or token.text in LIGHT_WORDS:
            continue
        alike = vectors is not None and any(vectors.similarity(name, token.text) >= 0.5 for name in names)
        if stem(token.text) in stems or alike:
            before = {earlier.text for earlier in clause.tokens[max(0, index - 3) : index]}
            after = {later.text for later in clause.tokens[index + 1 : index + 2]}
            denied = bool((before | (after & {"free"})) & NEGATIONS) or "free" in after
            return Choice(not denied, ((token.start, token.end),), 1.0)
    content = _content(clause)
    for value in (True, False):
        telling = (evidence.words.get(value, frozenset()) if evidence else frozenset()) & set(content)
        if telling:
            return Choice(value, (), 0.6)
    return None


def choose(slot: Slot, clause: Utterance, evidence: Evidence | None) -> Choice | None:
    """Choose the value of an enum or boolean slot, or None when the clause gives no ground for one."""
    if slot.kind is SlotKind.BOOLEAN:
        return _choose_boolean(slot, clause, evidence)
    if len(slot.options) == 1 and slot.required:
        return Choice(slot.options[0], (), 0.0)
    return _choose_option(slot, clause, evidence)


def choose_many(slot: Slot, clause: Utterance) -> list[Choice]:
    """Choose every option that the clause names, for a list of enum values."""
    return [Choice(option, places, 1.2) for option in slot.options if (places := _named(option, clause))]
