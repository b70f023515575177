"""Whether what references brought into a call's arguments fits the tool's JSON Schema."""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import unquote

from jsonschema import Draft202012Validator, SchemaError, ValidationError
from referencing import Registry
from referencing.exceptions import Unresolvable

from podium.orchestration.reference_text import describe, place, short
from podium.orchestration.references import (
    Reference,
    ReferenceProblem,
    References,
    join_pointer,
    look_up,
    origin_of,
    split_pointer,
)

__all__ = ["check_types"]

_SHOWN_SCHEMA = 160
_VALIDATORS = 1_024
_TYPE_WORDS = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "an integer",
    "null": "null",
    "number": "a number",
    "object": "an object",
    "string": "a string",
}


def check_types(arguments: Any, schema: Mapping[str, Any], found: References) -> None:
    """Check what references brought in against a tool's JSON Schema (2020-12).

    Only places that a reference filled count, and what is inside them; whoever runs the tool checks the
    whole. A schema that is itself wrong, or refers to another document, is left to them as well.

    Raises:
        ReferenceProblem: a value does not fit; names the place, what is expected and what came.
    """
    validator = _validators.get(schema)
    if validator is None:
        return
    for reference in (*found.plain, *([found.each] if found.each else ())):
        value, parts = _schemas_at(arguments, schema, split_pointer(reference.at))
        for part in parts:
            try:
                error = next(validator.evolve(schema=part).iter_errors(value), None)
            except (RecursionError, Unresolvable):
                continue
            if error is not None:
                raise ReferenceProblem(_mismatch(error, reference, found))


class _Validators:
    """Validators of the schemas used last. A schema is known by identity: tools keep theirs for life."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        # The schema is kept beside its validator, or its id could come to mean another one.
        self._kept: OrderedDict[int, tuple[Mapping[str, Any], Draft202012Validator | None]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, schema: Mapping[str, Any]) -> Draft202012Validator | None:
        """Return the validator; None when the schema is not valid."""
        if (kept := self._kept.get(id(schema))) is not None:
            self._kept.move_to_end(id(schema))
            return kept[1]
        validator: Draft202012Validator | None
        try:
            Draft202012Validator.check_schema(schema)
            # An empty registry: the default one would fetch other documents over the network.
            validator = Draft202012Validator(schema, registry=Registry())
        except SchemaError:
            validator = None
        self._kept[id(schema)] = (schema, validator)
        if len(self._kept) > _VALIDATORS:
            self._kept.popitem(last=False)
        return validator


_validators = _Validators()


def _schemas_at(arguments: Any, schema: Mapping[str, Any], steps: list[str]) -> tuple[Any, list[Mapping[str, Any]]]:
    """Return the value at a place, and the parts of the schema that apply there whatever else holds.

    So the alternatives of `anyOf` and the like on the way to the place are not among them.
    """
    node, parts = arguments, [schema]
    for step in steps:
        whole = _with_included(parts, schema)
        if isinstance(node, list):
            parts = [part for one in whole for part in _of_index(one, int(step))]
            node = node[int(step)]
        else:
            parts = [part for one in whole for part in _of_key(one, step)]
            node = node[step]
    return node, parts


def _with_included(parts: list[Mapping[str, Any]], root: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the schemas together with those that they include by `$ref` (within the document) and `allOf`."""
    whole = list(parts)
    seen = set(map(id, whole))
    for part in whole:
        included = list(part.get("allOf", ()))
        target = part.get("$ref")
        if isinstance(target, str) and target.startswith("#"):
            with suppress(ReferenceProblem):
                included.append(look_up(root, unquote(target[1:])))
        for one in included:
            if isinstance(one, dict) and id(one) not in seen:
                seen.add(id(one))
                whole.append(one)
    return whole


def _of_key(schema: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    named = schema.get("properties", {})
    found = [named[key]] if key in named else []
    found += [part for pattern, part in schema.get("patternProperties", {}).items() if re.search(pattern, key)]
    found = found or [schema.get("additionalProperties")]
    return [part for part in found if isinstance(part, dict)]


def _of_index(schema: Mapping[str, Any], index: int) -> list[Mapping[str, Any]]:
    first = schema.get("prefixItems", ())
    part = first[index] if index < len(first) else schema.get("items")
    return [part] if isinstance(part, dict) else []


def _mismatch(error: ValidationError, reference: Reference, found: References) -> str:
    rest = join_pointer(map(str, error.absolute_path))
    if str(error.validator) == "None":  # the schema `false`; such an error does not say where
        origin, value = origin_of(reference, found), describe(error.instance)
        return f"{place(reference.at)}: {origin} holds what is not allowed there: {value}"
    return (
        f"{place(reference.at + rest)}: must be {_expected(error)}; "
        f"{origin_of(reference, found, rest)} is {describe(error.instance)}"
    )


def _expected(error: ValidationError) -> str:
    keyword = str(error.validator)
    rule: Any = error.validator_value
    if keyword in ("anyOf", "oneOf") and all(map(_only_type, rule)):
        return " or ".join(_type_words(one["type"]) for one in rule)
    if keyword == "type":
        return _type_words(rule)
    text = json.dumps({keyword: rule}, ensure_ascii=False, default=str)
    return f"such that {short(text, _SHOWN_SCHEMA)}"


def _only_type(schema: Any) -> bool:
    return isinstance(schema, dict) and "type" in schema and schema.keys() <= {"type", "title", "description"}


def _type_words(types: str | list[str]) -> str:
    return " or ".join(_TYPE_WORDS.get(one, one) for one in ([types] if isinstance(types, str) else types))
