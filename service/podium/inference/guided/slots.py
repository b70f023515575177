"""A tool's arguments as slots to be filled: what kind of value each takes, and how people introduce it.

Kinds come, in this order, from the schema (`type`, `enum`, `format`, `x-podium-kind`), from the
values in the tool's own examples, and from the words of the argument's name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from podium.inference.guided.lexicon import FILE_EXTENSIONS, word_set

__all__ = ["Slot", "SlotKind", "name_words", "slots_of"]


class SlotKind(StrEnum):
    """What kind of value an argument takes."""

    ENUM = "enum"
    BOOLEAN = "boolean"
    INTEGER = "integer"
    NUMBER = "number"
    DATE = "date"
    TIME = "time"
    DATETIME = "datetime"
    TIMEZONE = "timezone"
    UNIT = "unit"
    EXPRESSION = "expression"
    URL = "url"
    EMAIL = "email"
    PATH = "path"
    GLOB = "glob"
    QUOTED = "quoted"
    CODE = "code"
    PLACE = "place"
    NAME = "name"
    TEXT = "text"
    OBJECT = "object"


@dataclass(frozen=True, slots=True)
class Slot:
    """One argument.

    Attributes:
        name: the argument's name.
        kind: of the value, or of an item when `many`.
        required: whether the schema demands it.
        many: whether it takes a list.
        iso: for dates and times: whether the ISO form is wanted rather than the person's words.
        options: the values of an enum.
        schema: the (resolved) schema of the argument; of an item when `many`.
        words: the words of its name and description, lower case.
        values: the values that the tool's examples give it.
        children: the slots of a nested object.
    """

    name: str
    kind: SlotKind
    required: bool
    schema: Mapping[str, Any]
    many: bool = False
    iso: bool = True
    options: tuple[Any, ...] = ()
    words: tuple[str, ...] = ()
    values: tuple[Any, ...] = ()
    children: tuple[Slot, ...] = ()


_FORMATS = {
    "date": SlotKind.DATE,
    "date-time": SlotKind.DATETIME,
    "time": SlotKind.TIME,
    "uri": SlotKind.URL,
    "url": SlotKind.URL,
    "email": SlotKind.EMAIL,
    "iana-timezone": SlotKind.TIMEZONE,
    "timezone": SlotKind.TIMEZONE,
    "path": SlotKind.PATH,
    "file-path": SlotKind.PATH,
    "uuid": SlotKind.CODE,
}
_HINTS = {
    "expression": SlotKind.EXPRESSION,
    "unit": SlotKind.UNIT,
    "timezone": SlotKind.TIMEZONE,
    "date": SlotKind.DATE,
    "time": SlotKind.TIME,
    "quoted": SlotKind.QUOTED,
    "filename": SlotKind.PATH,
    "path": SlotKind.PATH,
    "glob": SlotKind.GLOB,
    "query": SlotKind.TEXT,
    "url": SlotKind.URL,
    "email": SlotKind.EMAIL,
    "place": SlotKind.PLACE,
    "name": SlotKind.NAME,
    "code": SlotKind.CODE,
}
# For strings about which neither the schema nor an example says more. The last words of a name
# decide: a `start_date` is a date.
_NAMES: tuple[tuple[frozenset[str], SlotKind], ...] = (
    (word_set("date day birthday deadline checkin checkout departure arrival"), SlotKind.DATE),
    (word_set("timezone tz zone"), SlotKind.TIMEZONE),
    (word_set("time hour clock at"), SlotKind.TIME),
    (word_set("url uri link website address_url webpage site"), SlotKind.URL),
    (word_set("email mail"), SlotKind.EMAIL),
    (word_set("path file filename filepath document"), SlotKind.PATH),
    (word_set("glob"), SlotKind.GLOB),
    (word_set("expression formula equation"), SlotKind.EXPRESSION),
    (word_set("unit units"), SlotKind.UNIT),
    (
        word_set(
            "city place location country origin destination town region airport station venue street address "
            "pickup dropoff"
        ),
        SlotKind.PLACE,
    ),
    (word_set("id code number reference ref ticket sku isbn barcode symbol ticker serial"), SlotKind.CODE),
    (
        word_set(
            "name person recipient contact guest customer attendee user assignee author artist company room word term "
            "product item device brand team language color colour genre category label currency animal sport payee"
        ),
        SlotKind.NAME,
    ),
)
_FREE_TEXT = word_set("text message content body query note title subject description task reason comment phrase")
_KNOWN_NAMES = frozenset(name for names, _ in _NAMES for name in names)
_DATE_VALUE = re.compile(r"\d{4}-\d{2}-\d{2}")
_TIME_VALUE = re.compile(r"\d{2}:\d{2}(?::\d{2})?")


def name_words(name: str) -> list[str]:
    """Split an identifier (`from_unit`, `fromUnit`) into lower-case words."""
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", name)]


def _resolve(schema: Any, root: Mapping[str, Any]) -> dict[str, Any]:
    """Follow a local `$ref`, and take the one alternative of `anyOf` that is not null."""
    merged = dict(schema) if isinstance(schema, Mapping) else {}
    for _ in range(4):
        reference = merged.pop("$ref", None)
        if isinstance(reference, str) and reference.startswith("#/$defs/"):
            merged = {**root.get("$defs", {}).get(reference[8:], {}), **merged}
        options = merged.get("anyOf") or merged.get("oneOf") or merged.get("allOf")
        if isinstance(options, list):
            kept = [option for option in options if isinstance(option, Mapping) and option.get("type") != "null"]
            merged.pop("anyOf", None), merged.pop("oneOf", None), merged.pop("allOf", None)
            if kept:
                merged = {**kept[0], **merged}
        elif reference is None:
            break
    kind = merged.get("type")
    if isinstance(kind, list):
        merged["type"] = next((name for name in kind if name != "null"), "string")
    return merged


# What the values of a kind look like, all of them; the first that fits the examples wins.
_LOOKS: tuple[tuple[SlotKind, re.Pattern[str]], ...] = (
    (SlotKind.DATE, _DATE_VALUE),
    (SlotKind.TIME, _TIME_VALUE),
    (SlotKind.URL, re.compile(r"(?:https?://|www\.).*")),
    (SlotKind.GLOB, re.compile(r"[^*?]*[*?].*")),
    (SlotKind.PATH, re.compile(rf"[\w./-]+\.(?:{'|'.join(sorted(FILE_EXTENSIONS))})")),
    (SlotKind.EMAIL, re.compile(r"[\w.+-]+@[\w.-]+")),
    (SlotKind.EXPRESSION, re.compile(r"[(\s]*\d[\d\s.]*[+*/%^-][\d\s.+*/%^()-]*")),
    (SlotKind.CODE, re.compile(r"#?[A-Za-z-]*\d[A-Za-z0-9-]*")),
)


def _of_values(values: Iterable[Any]) -> SlotKind | None:
    texts = [value[:200] for value in values if isinstance(value, str)]
    if not texts:
        return None
    return next((kind for kind, look in _LOOKS if all(look.fullmatch(text) for text in texts)), None)


def _short(values: Iterable[Any]) -> SlotKind | None:
    """Values of a word or two are somebody's or something's name, not free text."""
    texts = [value for value in values if isinstance(value, str)]
    return SlotKind.NAME if len(texts) > 1 and all(len(text.split()) < 3 for text in texts) else None


def _of_name(name: str, description: str) -> SlotKind | None:
    words = name_words(name)
    # The name decides, its last word first; then what its description begins with ("Name of ...").
    begins = re.findall(r"[a-z]+", description.lower().split(",", 1)[0])[:5]
    for word in [*reversed(words), *begins]:
        single = word if word in _KNOWN_NAMES else word.removesuffix("s")
        for names, kind in _NAMES:
            if single in names and not (kind is SlotKind.CODE and single == "number" and "phone" in words):
                return kind
    if re.search(r"YYYY-MM-DD|ISO 8601 date", description):
        return SlotKind.DATE
    if re.search(r"HH:MM", description):
        return SlotKind.TIME
    return None


def _string_kind(name: str, schema: Mapping[str, Any], values: Iterable[Any]) -> SlotKind:
    declared = _HINTS.get(str(schema.get("x-podium-kind", ""))) or _FORMATS.get(str(schema.get("format", "")))
    return (
        declared
        or _of_values(values)
        or _of_name(name, str(schema.get("description", "")))
        or (_short(values) if not set(name_words(name)) & _FREE_TEXT else None)
        or (SlotKind.CODE if schema.get("pattern") and re.search(r"\\d|0-9", str(schema["pattern"])) else SlotKind.TEXT)
    )


def _slot(  # noqa: PLR0917  # one call, beside the schema's own recursion
    name: str, schema: Mapping[str, Any], root: Mapping[str, Any], required: bool, values: list[Any], depth: int
) -> Slot:
    resolved = _resolve(schema, root)
    words = tuple(name_words(name) + re.findall(r"[a-z]+", str(resolved.get("description", "")).lower()))
    many = resolved.get("type") == "array"
    if many:
        item = _resolve(resolved.get("items", {}), root)
        hint = {key: resolved[key] for key in ("x-podium-kind",) if key in resolved}
        resolved = {**hint, **item}
        values = [entry for value in values if isinstance(value, list) for entry in value]
    options = tuple(resolved["enum"]) if isinstance(resolved.get("enum"), list) else ()
    if "const" in resolved:
        options = (resolved["const"],)
    children: tuple[Slot, ...] = ()
    match resolved.get("type", "string"):
        case _ if options:
            kind = SlotKind.ENUM
        case "boolean":
            kind = SlotKind.BOOLEAN
        case "integer":
            kind = SlotKind.INTEGER
        case "number":
            kind = SlotKind.NUMBER
        case "object":
            kind = SlotKind.OBJECT
            objects = [value for value in values if isinstance(value, Mapping)]
            children = _children(resolved, root, objects, depth + 1) if depth < _DEEPEST else ()
        case _:
            kind = _string_kind(name, resolved, values)
    iso = "x-podium-kind" not in resolved
    return Slot(name, kind, required, resolved, many, iso, options, words, tuple(values), children)


# A schema may hold itself ("a folder has folders"); nobody says more than this in a sentence.
_DEEPEST = 4


def _children(
    schema: Mapping[str, Any], root: Mapping[str, Any], examples: list[Mapping[str, Any]], depth: int = 0
) -> tuple[Slot, ...]:
    demanded = set(schema.get("required", ()))
    return tuple(
        _slot(name, part, root, name in demanded, [example[name] for example in examples if name in example], depth)
        for name, part in schema.get("properties", {}).items()
    )


def slots_of(schema: Mapping[str, Any], examples: Iterable[Mapping[str, Any]] = ()) -> tuple[Slot, ...]:
    """Return the slots of an arguments schema, in its order, informed by example arguments."""
    return _children(schema, schema, list(examples))
