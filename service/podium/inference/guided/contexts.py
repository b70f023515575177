"""What stands around an argument: learned from the tool's own examples, and from its name.

In "Fly from Rome to Oslo" the examples of a tool teach that `origin` follows "from"; where there
are no examples the argument's name does (`from_unit`, `end_date`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from podium.inference.guided.candidates import Candidate, candidates_for
from podium.inference.guided.lexicon import FUNCTION_WORDS, LIGHT_WORDS, PREPOSITIONS, word_set
from podium.inference.guided.slots import Slot, SlotKind, name_words
from podium.inference.guided.utterance import END, START, Utterance, stem
from podium.inference.guided.vectors import WordVectors

__all__ = ["NO_PROFILE", "Carrier", "Profile", "introduced", "learn", "score"]

_SAME_WORD = 0.5

# Words that introduce an argument, by a word of its name.
_CUES: dict[str, str] = {
    "from": "from between convert change turn leaving",
    "origin": "from leaving departing between",
    "source": "from in of",
    "start": "from between since starting on beginning",
    "begin": "from between since starting on",
    "first": "from between",
    "checkin": "from on",
    "departure": "from on leaving departing",
    "since": "since from",
    "to": "to into in and as towards",
    "pickup": "from at",
    "dropoff": "to",
    "base": "from",
    "quote": "to in into and",
    "destination": "to for into reaching",
    "target": "to into in as",
    "end": "to and until till through ending",
    "until": "until till to",
    "second": "and to",
    "return": "returning back until to and",
    "into": "into to in",
    "language": "in into to",
    "recipient": "to for message text email tell",
    "person": "to for with",
    "name": "called named for titled name",
    "title": "called titled named saying",
    "subject": "about titled subject",
    "topic": "about on regarding for",
    "query": "for about on regarding mention mentions mentioning search find",
    "keyword": "for about on",
    "search": "for about",
    "city": "in at for to of",
    "place": "in at for near to",
    "location": "in at for near to",
    "country": "in of for",
    "timezone": "in at for of",
    "zone": "in at for of",
    "room": "in room for the",
    "message": "that saying say says message",
    "body": "that saying say",
    "text": "that saying to text of in",
    "task": "to about",
    "reminder": "to about",
    "content": "saying with that",
    "people": "for of",
    "guests": "for with",
    "passengers": "for with",
    "seats": "for",
    "time": "at by",
    "hour": "at",
    "date": "on for by",
    "day": "on for",
    "limit": "top first only most",
    "count": "top first only",
    "max": "under within below most than up",
    "maximum": "under within below most than up",
    "min": "least over above than",
    "minimum": "least over above than",
    "temperature": "to at",
    "price": "under for below at",
    "budget": "under for below of",
    "path": "read open file show of in",
    "file": "read open file show of in",
    "url": "from fetch get open at",
}
Sameness = Callable[[str, Any, Any], bool]
_ARTICLES = ("the ", "my ", "our ", "your ")
_SPEECH = word_set("that saying says say")
_PERSONS = word_set("people persons person guests passengers travellers adults attendees participants us heads")
_BREAK = re.compile(r"[,;:!?(]")
_NAMED = {SlotKind.NAME, SlotKind.PLACE, SlotKind.TIMEZONE}
_BOUNDARY = PREPOSITIONS | word_set("and or but then also please top")
_DESCRIBED = dict.fromkeys(("begins", "starts", "departure", "leaves", "sell"), "from leaving at") | dict.fromkeys(
    ("ends", "arrival", "arrives", "buy"), "to for into in"
)
_TYPED = {SlotKind.INTEGER, SlotKind.NUMBER, SlotKind.DATE, SlotKind.TIME, SlotKind.DATETIME}


class Carrier:
    """A set of words that knows a word by its forms and by its meaning.

    Those that requests of a tool use around its arguments are unlikely inside of one; those of an
    argument's name and description are likely beside it.
    """

    def __init__(
        self, words: Iterable[str] = (), vectors: WordVectors | None = None, likeness: float = _SAME_WORD
    ) -> None:
        self._words = sorted({word for word in words if word not in FUNCTION_WORDS and len(word) > 2})
        self._likeness = likeness
        self._stems = {stem(word) for word in self._words}
        self._vectors = vectors
        self._rows = vectors.rows(self._words) if vectors is not None and self._words else None
        self._known: dict[str, bool] = {}

    def __contains__(self, word: str) -> bool:
        known = self._known.get(word)
        if known is None:
            known = stem(word) in self._stems
            if not known and self._vectors is not None and self._rows is not None and word in self._vectors:
                known = bool((self._rows @ self._vectors.rows([word])[0]).max() >= self._likeness)
            if len(self._known) < 4096:
                self._known[word] = known
        return known


@dataclass(frozen=True, slots=True)
class Profile:
    """What the examples say of one slot's surroundings.

    Attributes:
        left: how often a token stood right before the value.
        left2: how often the two tokens before it stood there together.
        right: how often a token stood right behind it.
        seen: in how many examples the value was found in the request.
        given: in how many examples the argument was given at all.
        cues: words that may introduce the value, from the slot's name.
        near: words of the slot's name and description.
        carrier: words that requests of this tool use around arguments.
        articles: whether example values begin with an article.
    """

    left: Counter[str]
    left2: Counter[tuple[str, ...]]
    right: Counter[str]
    seen: int
    given: int
    cues: frozenset[str]
    near: Carrier
    carrier: Carrier
    articles: bool


NO_PROFILE = Profile(Counter(), Counter(), Counter(), 0, 0, frozenset(), Carrier(), Carrier(), articles=False)


def _matching(slot: Slot, wanted: Any, clause: Utterance, same_as: Sameness) -> Candidate | None:
    """Find where in an example's request the example's value stands."""
    text = str(wanted).lower()
    best: Candidate | None = None
    for candidate in candidates_for(slot, clause):
        same = candidate.value == wanted or str(candidate.value).lower() == text
        if not same and best is None and not candidate.run and candidate.end > candidate.start:
            same = same_as(slot.name, candidate.value, wanted)
        if same and candidate.end > candidate.start and (best is None or candidate.fit > best.fit):
            best = candidate
    if best is None and isinstance(wanted, str) and len(text) > 1:
        at = clause.text.lower().find(text)
        if at >= 0:
            return Candidate(wanted, at, at + len(text), 0.0)
    return best


def learn(
    slot: Slot,
    examples: Iterable[tuple[Utterance, Mapping[str, Any]]],
    same_as: Sameness,
    carrier: Carrier,
    near: Carrier,
) -> Profile:
    """Read a slot's profile off the tool's examples (their requests, taken apart, and arguments).

    `same_as(name, value, other)` tells whether two values of an argument mean the same to the tool.
    """
    left: Counter[str] = Counter()
    left2: Counter[tuple[str, ...]] = Counter()
    right: Counter[str] = Counter()
    seen = given = articles = 0
    for clause, arguments in examples:
        if slot.name not in arguments:
            continue
        given += 1
        value = arguments[slot.name]
        for wanted in value if isinstance(value, list) else [value]:
            place = _matching(slot, wanted, clause, same_as)
            if place is None:
                continue
            seen += 1
            articles += clause.text[place.start : place.end].lower().startswith(_ARTICLES)
            before = clause.left_of(place.start)
            left[before[0]] += 1
            left2[before] += 1
            right[clause.right_of(place.end)] += 1
    words = name_words(slot.name)
    cues = {cue for word in words for cue in _CUES.get(word, "").split()} | (set(words) & PREPOSITIONS)
    cues |= {cue for word in slot.words[len(words) :][:8] for cue in _DESCRIBED.get(word, "").split()}
    return Profile(left, left2, right, seen, given, frozenset(cues), near, carrier, articles > 0)


def _share(counter: Counter[Any], key: Any, seen: int) -> float:
    """Return how much of the examples agree, between 0 and 1; one agreement already counts for much."""
    return min(1.0, 0.5 + counter[key] / seen) if counter[key] else 0.0


def introduced(profile: Profile, before: tuple[str, ...]) -> bool:
    """Tell whether a word that the argument's name goes with stands before, an article between or not."""
    return before[0] in profile.cues or (before[0] in {"the", "a", "an", "my"} and before[1] in profile.cues)


def score(slot: Slot, profile: Profile, candidate: Candidate, clause: Utterance) -> float:
    """Return how well a candidate's surroundings suit the slot; about 0 when they say nothing."""
    if candidate.end == candidate.start:
        return 0.0
    before = clause.left_of(candidate.start)
    behind = clause.right_of(candidate.end)
    if (candidate.run or slot.kind is SlotKind.TEXT) and _only_carrier(candidate.end, clause, profile):
        behind = END  # "in the documents", behind what is to be searched for in them
    points = 0.0
    if profile.seen:
        points += 1.0 * _share(profile.left, before[0], profile.seen)
        points += 0.5 * _share(profile.left2, before, profile.seen)
        points += 0.4 * _share(profile.right, behind, profile.seen)
    if introduced(profile, before):
        points += 0.6
    points += _of_kind(slot, profile, before, behind)
    inside = [word.text for word in clause.words if candidate.start <= word.start < candidate.end]
    if candidate.run or slot.kind in _NAMED:
        points -= min(1.2, 0.45 * sum(word in profile.carrier for word in inside[:12]))
    if candidate.run:
        points += _boundaries(before[0], behind, profile)
        points -= 0.25 * min(2, len(_BREAK.findall(clause.text[candidate.start : candidate.end])))
        if slot.kind is SlotKind.TEXT:
            points += 0.04 * min(8, len(inside))
        if inside and inside[0] in {"the", "my", "your", "our"}:
            points += 0.15 if profile.articles or before[0] in _SPEECH else -0.15
    return points


def _of_kind(slot: Slot, profile: Profile, before: tuple[str, ...], behind: str) -> float:
    """Judge what only units and counted things have beside them."""
    words = set(name_words(slot.name))
    if slot.kind is SlotKind.UNIT and before[0] == "<number>":
        return 0.8 if words & {"from", "source"} else -0.8 if words & {"to", "target", "into"} else 0.0
    if slot.kind not in _TYPED:
        return 0.0
    around = [word for word in (behind, *before) if not word.startswith("<")]
    counted = any(word in profile.near for word in around)
    if not counted and _PERSONS & set(around):
        counted = any(person in profile.near for person in _PERSONS)
    return 0.6 if counted else 0.0


def _only_carrier(end: int, clause: Utterance, profile: Profile) -> bool:
    """Tell whether nothing but small words and the tool's own follow."""
    rest = [token for token in clause.tokens if token.start >= end]
    return 0 < len(rest) <= 5 and all(
        not token.is_span and (token.text in LIGHT_WORDS or token.text in profile.carrier) for token in rest
    )


def _boundaries(before: str, behind: str, profile: Profile) -> float:
    """Judge where a stretch of words begins and ends."""
    points = 0.0
    if before not in FUNCTION_WORDS and before != START and not before.startswith("<"):
        points -= 0.3 if not profile.left[before] else 0.0
    if before == START and not profile.left[START]:
        points -= 0.5
    if before == "<number>":
        points -= 0.3  # what is counted, not what is named
    if behind == END:
        return points + 0.5
    if behind in profile.carrier:
        return points
    return points + (0.1 if behind in _BOUNDARY or behind.startswith("<") else -0.3)
