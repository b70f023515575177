"""How well a request suits a tool: words compared with words, with learned weights.

Each word of the request looks for its like among the tool's words, and each word of the tool's name
and description among the request's (late interaction in the manner of ColBERT, Khattab and Zaharia
2020, arXiv 2004.12832, over word vectors without context). Typed spans ("tomorrow", "3 km") count as
words of their kind and find the arguments of that kind. A small layer joins the sums. The vectors are
the language model's own; the rest, some 100 kB, is trained by `training.match` on invented tools.

It costs well under a millisecond a tool, where a language model needs a hundred.
"""

from __future__ import annotations

import logging
import re
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from podium.inference.guided.slots import SlotKind, name_words
from podium.inference.guided.utterance import Utterance, stem
from podium.inference.guided.vectors import WordVectors
from podium.inference.model_files import Manifest
from podium.inference.planner.parameters import parameters_of
from podium.orchestration.tool import ToolSpec

__all__ = [
    "FIELDS",
    "KINDS",
    "MATCHER_FILE",
    "Match",
    "Matcher",
    "Words",
    "request_words",
    "shipped_matcher",
    "tool_words",
]

_log = logging.getLogger(__name__)
Floats = npt.NDArray[np.float32]
# Tells the log-odds that a request asks for each of the tools that it was made for.
Match = Callable[[Utterance], Mapping[str, float]]

MATCHER_FILE = Path(__file__).parent.parent / "models" / "matcher-2.npz"
FIELDS = ("name", "summary", "detail", "argument", "option", "example", "kind")
KINDS = (
    "date", "time", "number", "unit", "url", "email", "path", "glob", "expression", "quoted", "code", "name",
    "timezone", "boolean", "enum", "text",
)  # fmt: skip
_KIND_OF = {
    SlotKind.DATE: "date", SlotKind.TIME: "time", SlotKind.DATETIME: "date", SlotKind.INTEGER: "number",
    SlotKind.NUMBER: "number", SlotKind.UNIT: "unit", SlotKind.URL: "url", SlotKind.EMAIL: "email",
    SlotKind.PATH: "path", SlotKind.GLOB: "glob",
    SlotKind.EXPRESSION: "expression", SlotKind.QUOTED: "quoted", SlotKind.CODE: "code",
    SlotKind.PLACE: "name", SlotKind.NAME: "name", SlotKind.TIMEZONE: "timezone", SlotKind.BOOLEAN: "boolean",
    SlotKind.ENUM: "enum", SlotKind.TEXT: "text", SlotKind.OBJECT: "text",
}  # fmt: skip
_FEATURES = 6
_MOST_WORDS = 48
_MOST_TOOL_WORDS = 120
_EXAMPLES = 6


@dataclass(frozen=True, slots=True)
class Words:
    """Words to compare.

    Attributes:
        texts: lower case; typed spans as `<kind>`.
        stems: what forms of one word share.
        fields: for a tool's, the index in `FIELDS` of each; empty for a request's.
    """

    texts: tuple[str, ...]
    stems: tuple[str, ...]
    fields: tuple[int, ...] = ()


def _symbol(token: str) -> str:
    kind = token[1:-1]
    return token if kind in KINDS else "<name>"


def _request_texts(request: Utterance) -> list[str]:
    texts = []
    for token in request.tokens:
        texts.append(_symbol(token.text) if token.is_span else token.text)
        if token.is_span and token.word:
            texts.append(token.word)
        elif token.is_span and token.text in {"<name>", "<quoted>", "<code>"}:
            # "Reset Password" may be a name, and the very words of the tool.
            texts.extend(re.findall(r"[a-z]+", request.text[token.start : token.end].lower())[:3])
    return texts[:_MOST_WORDS]


def request_words(request: Utterance) -> Words:
    """Return a request's words."""
    texts = _request_texts(request)
    return Words(tuple(texts), tuple(map(stem, texts)))


def _plain(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


def tool_words(spec: ToolSpec) -> Words:
    """Return a tool's words, each with the field that it comes from."""
    summary, _, detail = spec.description.partition(".")
    parts: dict[str, list[str]] = {name: [] for name in FIELDS}
    parts["name"] = name_words(spec.name)
    parts["summary"], parts["detail"] = _plain(summary), _plain(detail)[:24]
    for parameter in parameters_of(spec):
        parts["argument"] += name_words(parameter.name)
        parts["detail"] += _plain(str(parameter.slot.schema.get("description", "")))[:8]
        parts["option"] += [word for option in parameter.options for word in _plain(option.replace("_", " "))]
        parts["kind"].append(f"<{_KIND_OF[parameter.slot.kind]}>")
    for example in spec.examples[:_EXAMPLES]:
        given = {word for value in example.arguments.values() for word in _plain(str(value))}
        parts["example"] += [word for word in _plain(example.request) if word not in given]
    texts: list[str] = []
    fields: list[int] = []
    for index, name in enumerate(FIELDS):
        # In their order, and with their repetitions: a word is read with its neighbours.
        texts += parts[name]
        fields += [index] * len(parts[name])
    texts, fields = texts[:_MOST_TOOL_WORDS], fields[:_MOST_TOOL_WORDS]
    return Words(tuple(texts), tuple(map(stem, texts)), tuple(fields))


@dataclass(frozen=True, slots=True)
class _Side:
    """Words as vectors: `units` of length one, how much each counts, and what it is compared by."""

    units: Floats
    weights: Floats
    stems: tuple[str, ...]
    fields: npt.NDArray[np.int64]


class Matcher:
    """Compares requests with tools.

    Args:
        parameters: as `training.match` writes them.
        vectors: word vectors of the model that they were trained with.
    """

    def __init__(self, parameters: Mapping[str, Floats], vectors: WordVectors) -> None:
        self._held = {name: np.asarray(value, dtype=np.float32) for name, value in parameters.items()}
        self._vectors = vectors

    @classmethod
    def load(cls, path: Path, vectors: WordVectors, *, base_sha256: str | None = None) -> Matcher | None:
        """Read the parameters at `path`; None when they belong to another model's vectors.

        Args:
            path: the file that `training.match` wrote.
            vectors: of the model.
            base_sha256: digest of the model's source file; None trusts that the vectors are the right ones.

        Raises:
            OSError, ValueError: the file is not there, or is something else.
        """
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                held = {name: stored[name] for name in stored.files}
        except (ValueError, TypeError, AttributeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(f"'{path.name}' is no matcher, or it is damaged") from error
        base = held.pop("base_sha256", None)
        if base_sha256 is not None and (base is None or str(base) != base_sha256):
            return None
        if (wrong := _misshapen(held, vectors.rows(["a"]).shape[1])) is not None:
            raise ValueError(f"'{path.name}' is no matcher for these vectors: see {wrong!r}")
        return cls(held, vectors)

    def _side(self, words: Words, weight: str) -> _Side:
        held = self._held
        rows = self._vectors.rows(words.texts) if words.texts else np.zeros((0, len(held["project"])), np.float32)
        kinds = np.array([KINDS.index(t[1:-1]) + 1 if t.startswith("<") else 0 for t in words.texts], dtype=np.int64)
        typed = (kinds > 0)[:, None]
        nothing = np.zeros_like(rows[:1])
        before = np.concatenate([nothing, rows[:-1]])[: len(rows)]
        after = np.concatenate([rows[1:], nothing])[: len(rows)]
        plain = rows @ held["project"] + before @ held["before"] + after @ held["after"]
        raw = np.where(typed, held["kinds"][kinds], plain) + 1e-6
        units = raw / np.maximum(np.linalg.norm(raw, axis=1, keepdims=True), 1e-12)
        known = np.abs(rows).sum(axis=1) > 0
        points = rows @ held[weight] * 4 + np.where(known, 0, held["unknown"])
        points = np.where(kinds > 0, held["kind_weight"][kinds], points)
        return _Side(units, _softplus(points + 0.5), words.stems, np.array(words.fields, dtype=np.int64))

    def tool(self, words: Words) -> _Side:
        """Prepare a tool once."""
        side = self._side(words, "t_weight")
        return _Side(
            side.units, side.weights * _softplus(self._held["field_weight"][side.fields]), side.stems, side.fields
        )

    def request(self, words: Words) -> _Side:
        """Prepare a request."""
        return self._side(words, "q_weight")

    def prepared(self, specs: Sequence[ToolSpec]) -> Match:
        """Prepare a set of tools; what is returned tells the log-odds of each for a request."""
        tools = {spec.name: self.tool(tool_words(spec)) for spec in specs}

        def match(request: Utterance) -> Mapping[str, float]:
            said = self.request(request_words(request))
            return {name: self.logit(said, tool) for name, tool in tools.items()}

        return match

    def logit(self, request: _Side, tool: _Side) -> float:
        """Return the log-odds that a request asks for a tool, by its words alone."""
        held = self._held
        if not len(request.units) or not len(tool.units):
            return -10.0
        like = request.units @ tool.units.T
        marks = {mark: [i for i, other in enumerate(tool.stems) if other == mark] for mark in set(request.stems)}
        gain = _softplus(held["same_gain"])
        for place, mark in enumerate(request.stems):
            like[place, marks[mark]] += gain
        q_best = (like * held["field_gain"][tool.fields]).max(axis=1)
        q, t = request.weights, tool.weights
        features = np.array(
            [
                (q * q_best).sum() / (q.sum() + 1e-6),
                (t * like.max(axis=0)).sum() / (t.sum() + 1e-6),
                float(_unit((request.units * q[:, None]).sum(axis=0)) @ _unit((tool.units * t[:, None]).sum(axis=0))),
                (q * q_best).max() / (q.max() + 1e-6),
                np.log1p(len(q)) - 2,
                np.log1p(q.sum()) - 1,
            ],
            dtype=np.float32,
        )
        return float(np.tanh(features @ held["join"] + held["join_bias"]) @ held["out"] + held["out_bias"])


def _misshapen(held: Mapping[str, npt.NDArray[Any]], width: int) -> str | None:
    """Return the name of a parameter that is missing or not as it must be, or None."""
    project, join = held.get("project", np.zeros(0)), held.get("join", np.zeros(0))
    size, joined = (value.shape[-1] if value.ndim else 0 for value in (project, join))
    shapes: dict[str, tuple[int, ...]] = {
        "project": (width, size), "before": (width, size), "after": (width, size), "kinds": (len(KINDS) + 1, size),
        "kind_weight": (len(KINDS) + 1,), "q_weight": (width,), "t_weight": (width,), "field_gain": (len(FIELDS),),
        "field_weight": (len(FIELDS),), "same_gain": (), "unknown": (), "join": (_FEATURES, joined),
        "join_bias": (joined,), "out": (joined,), "out_bias": (),
    }  # fmt: skip
    for name, shape in shapes.items():
        value = held.get(name)
        if value is None or value.shape != shape or value.dtype.kind != "f" or not np.isfinite(value).all():
            return name
    return next((name for name in held if name not in shapes), None)


def shipped_matcher(model: Path, vectors: WordVectors) -> Matcher | None:
    """Return the matcher that comes with this release, when it was trained with the vectors of this model.

    Args:
        model: the folder that a pull made.
        vectors: of the model.
    """
    manifest = Manifest.read(model)
    if manifest is None or not MATCHER_FILE.is_file():
        return None
    try:
        return Matcher.load(MATCHER_FILE, vectors, base_sha256=manifest.source_sha256)
    except (OSError, ValueError) as error:
        _log.warning("the matcher cannot be read, so planning is poorer: %s", error)
        return None


def _softplus(values: Floats) -> Floats:
    return np.logaddexp(0, values).astype(np.float32)


def _unit(row: Floats) -> Floats:
    return row / max(float(np.linalg.norm(row)), 1e-12)
