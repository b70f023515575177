"""Which tool a clause is about: retrieval over names, descriptions, arguments and examples.

Two views are combined. `coverage` asks how much of what the clause talks about the tool's
documentation knows: each content word weighs its inverse document frequency as in BM25
(Robertson and Zaragoza, 2009), and is matched exactly, by likeness of meaning, or, for typing
errors, by the Dice coefficient of character trigrams. `wording` asks how close the clause comes
to one of the tool's example requests once arguments are cut out of both: the cosine of tf-idf
weighted words and word pairs.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from podium.inference.guided.lexicon import LIGHT_WORDS, word_list
from podium.inference.guided.utterance import stem
from podium.inference.guided.vectors import WordVectors

__all__ = ["Document", "RetrievalIndex"]

_FIELD_WEIGHTS = {"name": 1.0, "summary": 0.85, "examples": 0.9, "description": 0.6, "arguments": 0.6, "options": 0.6}
_UNKNOWN = 0.42  # weight of a word that no tool knows, against the rarest word that one does
_LIKE_FLOOR, _LIKE_SPAN = 0.24, 0.45
_TYPO = 0.6
# Verbs that ask for anything at all say little of what is asked for.
_GENERIC_VERBS = frozenset(
    stem(word)
    for word in word_list("find search look get check list create add make set open fetch send turn change put")
)


@dataclass(frozen=True, slots=True)
class Document:
    """One tool for retrieval: its words by field, and its example requests with arguments cut out."""

    name: str
    fields: Mapping[str, Sequence[str]]
    carriers: Sequence[Sequence[str]] = ()


@lru_cache(maxsize=4096)
def _trigrams(word: str) -> frozenset[str]:
    padded = f"^{word}$"
    return frozenset(padded[i : i + 3] for i in range(len(padded) - 2))


def _dice(first: str, second: str) -> float:
    left, right = _trigrams(first), _trigrams(second)
    return 2 * len(left & right) / (len(left) + len(right))


def _features(tokens: Sequence[str]) -> Counter[str]:
    """Count words and pairs of neighbours; function words count in pairs only."""
    shown = ["<arg>" if token.startswith("<") else stem(token) for token in tokens]
    found: Counter[str] = Counter(
        mark for token, mark in zip(tokens, shown, strict=True) if mark != "<arg>" and token not in LIGHT_WORDS
    )
    found.update(f"{first} {second}" for first, second in pairwise(shown))
    found.update(f"~{mark}" for token, mark in zip(tokens, shown, strict=True) if token in LIGHT_WORDS)
    return found


@dataclass
class RetrievalIndex:
    """The searchable form of a set of tools. Built once a set; searching it touches no Python object of theirs."""

    documents: Sequence[Document]
    vectors: WordVectors | None = None
    _weight: dict[str, dict[str, float]] = field(default_factory=dict, init=False)
    _idf: dict[str, float] = field(default_factory=dict, init=False)
    _carrier_idf: dict[str, float] = field(default_factory=dict, init=False)
    _carriers: dict[str, list[tuple[Counter[str], float]]] = field(default_factory=dict, init=False)
    _forms: list[str] = field(default_factory=list, init=False)
    _stems: list[str] = field(default_factory=list, init=False)
    _rows: npt.NDArray[np.float32] | None = field(default=None, init=False)
    _related: dict[str, tuple[tuple[str, float], ...]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        forms: dict[str, str] = {}
        for document in self.documents:
            weights: dict[str, float] = {}
            for name, words in document.fields.items():
                for word in words:
                    if word in LIGHT_WORDS or word.startswith("<"):
                        continue
                    forms.setdefault(word, stem(word))
                    mark = stem(word)
                    weights[mark] = max(weights.get(mark, 0.0), _FIELD_WEIGHTS[name])
            self._weight[document.name] = weights
        count = len(self.documents)
        holders: Counter[str] = Counter(mark for weights in self._weight.values() for mark in weights)
        self._idf = {mark: self._bm25_idf(count, held) for mark, held in holders.items()}
        for verb in _GENERIC_VERBS & self._idf.keys():
            self._idf[verb] *= 0.5
        self._forms, self._stems = list(forms), list(forms.values())
        if self.vectors is not None:
            self._rows = self.vectors.rows(self._forms)
        features = {d.name: [_features(carrier) for carrier in d.carriers] for d in self.documents}
        spread: Counter[str] = Counter(key for each in features.values() for key in {k for c in each for k in c})
        self._carrier_idf = {key: self._bm25_idf(count, held) for key, held in spread.items()}
        self._carriers = {name: [(counted, self._norm(counted)) for counted in each] for name, each in features.items()}

    @staticmethod
    def _bm25_idf(count: int, held: int) -> float:
        return math.log(1 + (count - held + 0.5) / (held + 0.5))

    def _feature_weight(self, key: str) -> float:
        weight = self._carrier_idf.get(key, self._bm25_idf(len(self.documents), 1))
        if key.startswith("~"):
            return 0.15 * weight
        return (0.5 if " " in key else 1.0) * weight

    def _norm(self, counted: Counter[str]) -> float:
        return math.sqrt(sum(self._feature_weight(key) ** 2 for key in counted)) or 1.0

    def _related_stems(self, word: str) -> tuple[tuple[str, float], ...]:
        """Return the indexed stems that `word` may stand for, with how surely."""
        known = self._related.get(word)
        if known is not None:
            return known
        found: dict[str, float] = {}
        mark = stem(word)
        if mark in self._idf:
            found[mark] = 1.0
        if self.vectors is not None and self._rows is not None and word in self.vectors:
            likeness = self._rows @ self.vectors.rows([word])[0]
            for place in np.argsort(-likeness)[:12]:
                value = min(0.9, (float(likeness[place]) - _LIKE_FLOOR) / _LIKE_SPAN)
                if value > 0.08:
                    other = self._stems[place]
                    found[other] = max(found.get(other, 0.0), value)
        elif mark not in self._idf and len(word) > 3:
            for other in self._idf:
                if abs(len(other) - len(mark)) < 4 and (alike := _dice(mark, other)) >= _TYPO:
                    found[other] = max(found.get(other, 0.0), 0.9 * alike)
        result = tuple(found.items())
        if len(self._related) < 4096:
            self._related[word] = result
        return result

    def coverage(self, words: Iterable[str]) -> dict[str, float]:
        """Return for each tool how much of the idf mass of `words` its documentation matches, 0 to 1."""
        unknown = _UNKNOWN * self._bm25_idf(len(self.documents), 1)
        total = 0.0
        scores = dict.fromkeys(self._weight, 0.0)
        for word in words:
            if word in LIGHT_WORDS or word.startswith("<"):
                continue
            related = self._related_stems(word)
            mass = max((self._idf[mark] * sure for mark, sure in related), default=0.0)
            total += max(mass, unknown)
            for name, weights in self._weight.items():
                scores[name] += max(
                    (weights[mark] * self._idf[mark] * sure for mark, sure in related if mark in weights), default=0.0
                )
        return {name: value / total if total else 0.0 for name, value in scores.items()}

    def knows(self, name: str, word: str) -> bool:
        """Tell whether a tool's own documentation uses a word."""
        return stem(word) in self._weight[name]

    def wording(self, name: str, tokens: Sequence[str]) -> float:
        """Return the cosine of a clause, arguments cut out, with the nearest example of a tool."""
        counted = _features(self._corrected(tokens))
        norm = self._norm(counted)
        best = 0.0
        for carrier, other in self._carriers[name]:
            dot = sum(self._feature_weight(key) ** 2 for key in counted if key in carrier)
            best = max(best, dot / (norm * other))
        return best

    def _corrected(self, tokens: Sequence[str]) -> list[str]:
        """Replace a word that no tool uses by the indexed one it is surely a form or misspelling of."""
        result = []
        for token in tokens:
            if token in LIGHT_WORDS or token.startswith("<") or stem(token) in self._idf:
                result.append(token)
                continue
            related = max(self._related_stems(token), key=lambda pair: pair[1], default=None)
            result.append(related[0] if related is not None and related[1] >= 0.55 else token)
        return result
