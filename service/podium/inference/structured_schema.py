"""The JSON Schema of an answer: checked before it is used, and bounded in what checking an answer costs.

Draft 2020-12, formats off. A schema comes from a caller and is not trusted: it is limited in size,
depth and work, refers only to itself, and its patterns run on an engine that takes linear time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any, Final
from urllib.parse import unquote

import orjson
from jsonschema import Draft202012Validator, FormatChecker, SchemaError, ValidationError
from jsonschema.exceptions import best_match
from jsonschema.validators import extend
from pydantic_core import SchemaError as PatternError
from pydantic_core import SchemaValidator, core_schema
from referencing import Registry

from podium.errors import InvalidRequest

__all__ = ["AnswerSchema", "SchemaLimits", "parse_schema"]

_ONE: Final = frozenset(
    {
        "additionalProperties", "contains", "else", "if", "items", "not", "propertyNames", "then",
        "unevaluatedItems", "unevaluatedProperties",
    }
)  # fmt: skip
_BY_NAME: Final = frozenset({"$defs", "definitions", "dependentSchemas", "properties"})
_SEVERAL: Final = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_REFUSED: Final = {
    "$id": "leave it out",
    "$anchor": "refer by #/$defs/NAME",
    "$dynamicAnchor": "refer by #/$defs/NAME",
    "$dynamicRef": "use $ref with #/$defs/NAME",
    "patternProperties": "name the properties",
}
_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_MOST_PATTERNS: Final = 32
_LONGEST_PATTERN: Final = 512
_MOST_ERRORS: Final = 50
_LONGEST_PROBLEM: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaLimits:
    """How large a schema and an answer may be, and how many keywords are looked at for one answer."""

    max_bytes: int = 64 * 1024
    max_depth: int = 32
    max_answer_chars: int = 1_000_000
    max_steps: int = 100_000


class _TooMuchWorkError(Exception):
    """An answer takes more steps to check than are allowed."""


class AnswerSchema:
    """A checked schema. Make it with `parse_schema`; it may be used by several threads.

    Attributes:
        text: as it was given.
        refers: whether it refers to itself, so that checking may take more work than its size suggests.
    """

    def __init__(self, text: str, schema: Mapping[str, Any] | bool, walk: _Walk, max_steps: int) -> None:
        self.text = text
        self.refers = bool(walk.references)
        self._schema = schema
        self._patterns = walk.patterns
        self._max_steps = max_steps

    def problem(self, answer: Any) -> str:
        """Return what is wrong with an answer, in words, "" when nothing is.

        Raises:
            InvalidRequest: the schema takes too much work to check.
        """
        validator = self._validator()
        try:
            error = best_match(islice(validator.iter_errors(answer), _MOST_ERRORS))
        except _TooMuchWorkError:
            raise InvalidRequest("json_schema takes too long to check; make it simpler") from None
        except RecursionError:
            raise InvalidRequest("json_schema refers to itself without end; mend the $ref") from None
        if error is None:
            return ""
        problem = f"{error.json_path}: {error.message}"
        return problem if len(problem) <= _LONGEST_PROBLEM else f"{problem[:_LONGEST_PROBLEM]}…"

    def _validator(self) -> Draft202012Validator:
        # A class for each answer: the keywords share the count of steps of this one check.
        steps = iter(range(self._max_steps))

        def counted(check: Callable[..., Any]) -> Callable[..., Iterator[ValidationError]]:
            def keyword(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
                if next(steps, None) is None:
                    raise _TooMuchWorkError
                yield from check(validator, value, instance, schema) or ()

            return keyword

        checks = {**Draft202012Validator.VALIDATORS, "pattern": self._pattern, "uniqueItems": _unique_items}
        counting = {name: counted(check) for name, check in checks.items()}
        cls = extend(Draft202012Validator, counting)  # type: ignore[no-untyped-call]
        validator: Draft202012Validator = cls(self._schema, registry=Registry())
        return validator

    def _pattern(self, _validator: Any, pattern: str, instance: Any, _schema: Any) -> Iterator[ValidationError]:
        if isinstance(instance, str) and not self._patterns[pattern].isinstance_python(instance):
            yield ValidationError(f"{instance!r} does not match {pattern!r}")


@lru_cache(maxsize=64)
def parse_schema(text: str, limits: SchemaLimits) -> AnswerSchema:
    """Check a schema.

    Raises:
        InvalidRequest: it is no JSON Schema, too large, or uses what is not supported; says what to change.
    """
    if len(text) > limits.max_bytes or len(text.encode("utf-8", "replace")) > limits.max_bytes:
        raise InvalidRequest(f"json_schema has more than {limits.max_bytes} bytes; make it smaller")
    try:
        schema = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"json_schema is not valid JSON: {error.msg} at character {error.pos}") from None
    walk = _Walk(limits)
    walk.schema(schema, "#", 0)
    walk.check_references()
    try:
        Draft202012Validator.check_schema(schema, format_checker=FormatChecker(formats=()))
    except SchemaError as error:
        raise InvalidRequest(f"json_schema is not a JSON Schema (2020-12): {_clip(error)}") from None
    return AnswerSchema(text, schema, walk, limits.max_steps)


class _Walk:
    """Goes through a schema, and no further than the limits allow."""

    def __init__(self, limits: SchemaLimits) -> None:
        self._limits = limits
        self._places: set[str] = set()
        self.references: list[str] = []
        self.patterns: dict[str, SchemaValidator] = {}

    def schema(self, schema: Any, place: str, depth: int) -> None:
        """Look at one schema and at those in it."""
        if depth > self._limits.max_depth:
            raise InvalidRequest(f"json_schema is nested more than {self._limits.max_depth} deep; make it flatter")
        self._places.add(place)
        if isinstance(schema, bool):
            return
        if not isinstance(schema, dict):
            raise InvalidRequest(f"json_schema has something else than a schema at {place}; put an object there")
        for keyword, value in schema.items():
            self._keyword(keyword, value, f"{place}/{_escaped(keyword)}", depth)

    def check_references(self) -> None:
        """Refuse references to anything but schemas in this one."""
        for reference in self.references:
            if unquote(reference).rstrip("/") not in self._places:
                raise InvalidRequest(
                    f"json_schema refers to {reference[:100]!r}, which is no schema in it; use #/$defs/NAME"
                )

    def _keyword(self, keyword: str, value: Any, place: str, depth: int) -> None:
        if keyword in _REFUSED:
            raise InvalidRequest(f"json_schema uses {keyword} at {place}, which is not supported; {_REFUSED[keyword]}")
        if keyword == "$schema" and (not isinstance(value, str) or value.rstrip("#") != _DIALECT):
            raise InvalidRequest(f"json_schema must be of {_DIALECT}; change $schema or leave it out")
        if keyword == "$ref":
            self.references.append(value if isinstance(value, str) else "")
        elif keyword == "pattern" and isinstance(value, str):
            self._add_pattern(value)
        elif keyword in _ONE:
            self.schema(value, place, depth + 1)
        elif keyword in _BY_NAME and isinstance(value, dict):
            for name, schema in value.items():
                self.schema(schema, f"{place}/{_escaped(name)}", depth + 1)
        elif keyword in _SEVERAL and isinstance(value, list):
            for index, schema in enumerate(value):
                self.schema(schema, f"{place}/{index}", depth + 1)

    def _add_pattern(self, pattern: str) -> None:
        if pattern in self.patterns:
            return
        if len(self.patterns) >= _MOST_PATTERNS or len(pattern) > _LONGEST_PATTERN:
            raise InvalidRequest(
                f"json_schema may have {_MOST_PATTERNS} patterns of {_LONGEST_PATTERN} characters; use fewer or shorter"
            )
        try:
            # Linear time, and so without look-around and back-references.
            self.patterns[pattern] = SchemaValidator(
                core_schema.str_schema(pattern=pattern, strict=True, regex_engine="rust-regex")
            )
        except PatternError:
            raise InvalidRequest(
                f"json_schema has the pattern {pattern[:100]!r}, which is wrong or not supported; write it without "
                "look-around and back-references"
            ) from None


def _unique_items(_validator: Any, wanted: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    """Check uniqueItems in linear time."""
    if wanted and isinstance(instance, list):
        seen = {orjson.dumps(_canonical(item), option=orjson.OPT_SORT_KEYS) for item in instance}
        if len(seen) != len(instance):
            yield ValidationError("the items are not unique")


def _canonical(value: Any) -> Any:
    """Write equal values alike: 1.0 is 1."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, list):
        return [_canonical(item) for item in value]
    if isinstance(value, dict):
        return {key: _canonical(item) for key, item in value.items()}
    return value


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _clip(error: SchemaError) -> str:
    text = f"{error.json_path}: {error.message}"
    return text if len(text) <= _LONGEST_PROBLEM else f"{text[:_LONGEST_PROBLEM]}…"
