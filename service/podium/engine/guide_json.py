"""The allowed subset of JSON Schema: what the engine's compiler takes without raising.

Assertions that the compiler does not enforce (`multipleOf`, `uniqueItems`, an unknown `format`,
`contains`) pass: output is then a superset, and callers validate it always. Anything that would
change the meaning when ignored (`not`, `if`, a remote `$ref`) is refused.

The compiler is strict: an object without `additionalProperties` has only its `properties`, and an
array without `items` only its `prefixItems`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from podium.engine.guide_error import GuideError
from podium.engine.guide_regex import MAX_EFFORT, check_pattern

__all__ = ["check_schema"]

_TYPES = frozenset({"string", "integer", "number", "boolean", "null", "array", "object"})
_MAX_DEPTH = 32
_MAX_NODES = 5000
_MAX_CHOICES = 5000
_MAX_COUNT = 1000
_MAX_PROPERTIES = 256
# Objects that count their properties take time by properties times count.
_MAX_COUNTED = 4000
# Lengths of strings cost by their largest count, and equal ones together once.
_ENFORCED_LENGTH = 64
_ENFORCED_LENGTHS = 150
_MAX_NUMBER = 2**53

_ANNOTATIONS = frozenset(
    {
        "title", "description", "default", "examples", "example", "deprecated", "readOnly", "writeOnly",
        "$comment", "$schema", "$id", "$anchor", "contentEncoding", "contentMediaType", "discriminator",
    }
)  # fmt: skip
_UNENFORCED = frozenset({"multipleOf", "uniqueItems", "contains", "minContains", "maxContains", "format"})
_REFUSED = frozenset(
    {
        "not", "if", "then", "else", "patternProperties", "propertyNames", "dependentRequired", "dependentSchemas",
        "dependencies", "unevaluatedProperties", "unevaluatedItems", "$dynamicRef", "$dynamicAnchor", "$recursiveRef",
    }
)  # fmt: skip
_DEFINITIONS = ("$defs", "definitions")


def check_schema(text: str) -> str:
    """Vet a schema given as JSON text, and return what the engine should get.

    That is the same text, but for limits on the length of strings that would take long to compile:
    those are left out, and the output is a superset once more.

    Raises:
        GuideError: it is not JSON, not a schema, outside the subset or too large; the text says where.
    """
    try:
        root = json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise GuideError(f"it is not JSON (line {error.lineno}, column {error.colno})") from error
    except ValueError as error:
        # Python refuses to read integers of thousands of digits.
        raise GuideError("it holds a number that is too large") from error
    if not isinstance(root, dict):
        raise GuideError("the schema must be an object")
    checker = _Checker(root)
    checker.run()
    return json.dumps(root, ensure_ascii=False) if checker.relaxed else text


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise GuideError("an object of the schema has the same key twice")
    return result


def _no_constant(name: str) -> Any:
    raise GuideError(f"'{name}' is not JSON")


class _Checker:
    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._nodes = 0
        self._choices = 0
        self._effort = 0.0
        self._lengths: set[int] = set()
        # Whether a limit was left out of the schema.
        self.relaxed = False
        # Definition -> definitions that it leads to without consuming anything.
        self._direct: dict[str, set[str]] = {}

    def run(self) -> None:
        for section in _DEFINITIONS:
            definitions = self._root.get(section, {})
            if not isinstance(definitions, dict):
                raise GuideError(f"'{section}' must be an object")
            for name, schema in definitions.items():
                pointer = f"#/{section}/{name}"
                self._direct[pointer] = set()
                self._schema(schema, pointer, 0, self._direct[pointer])
        start: set[str] = set()
        self._direct["#"] = start
        self._schema(self._root, "#", 0, start)
        self._refuse_empty_loops()

    def _schema(self, schema: Any, path: str, depth: int, direct: set[str]) -> None:
        if schema is True:
            return
        if not isinstance(schema, dict):
            raise GuideError(f"{path} must be a schema object")
        self._nodes += 1
        if depth > _MAX_DEPTH or self._nodes > _MAX_NODES:
            raise GuideError(f"the schema is deeper than {_MAX_DEPTH} or larger than {_MAX_NODES} parts")
        for key in schema:
            if key in _REFUSED:
                raise GuideError(f"{path} uses '{key}', which is not supported")
        self._reference(schema, path, direct)
        self._type(schema, path)
        self._enum(schema, path)
        self._numbers(schema, path)
        self._string(schema, path)
        self._array(schema, path, depth)
        self._object(schema, path, depth)
        for key in ("anyOf", "oneOf", "allOf"):
            if key in schema:
                self._combination(schema, key, path, depth, direct)
        self._unknown(schema, path)

    def _reference(self, schema: dict[str, Any], path: str, direct: set[str]) -> None:
        if "$ref" not in schema:
            return
        target = schema["$ref"]
        known = target == "#" or any(
            isinstance(target, str)
            and target.startswith(f"#/{section}/")
            and target.removeprefix(f"#/{section}/") in self._root.get(section, {})
            for section in _DEFINITIONS
        )
        if not known or "~" in target or "%" in target:
            raise GuideError(f"{path}/$ref must name an entry of this schema's $defs")
        if set(schema) - {"$ref"} - _ANNOTATIONS - set(_DEFINITIONS):
            raise GuideError(f"{path} has more beside '$ref', which the engine would ignore")
        direct.add(target)

    def _type(self, schema: dict[str, Any], path: str) -> None:
        if "type" not in schema:
            return
        types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        if not types or any(not isinstance(name, str) or name not in _TYPES for name in types):
            raise GuideError(f"{path}/type must be one or more of {', '.join(sorted(_TYPES))}")

    def _enum(self, schema: dict[str, Any], path: str) -> None:
        if "enum" in schema:
            values = schema["enum"]
            if not isinstance(values, list) or not values:
                raise GuideError(f"{path}/enum must be a list that is not empty")
            self._choices += len(values)
            for value in values:
                _literal(value, path)
        if "const" in schema:
            self._choices += 1
            _literal(schema["const"], path)
        if self._choices > _MAX_CHOICES:
            raise GuideError(f"the schema has more than {_MAX_CHOICES} enum values")

    def _numbers(self, schema: dict[str, Any], path: str) -> None:
        types = schema.get("type", [])
        whole = types == "integer" or (isinstance(types, list) and "integer" in types)
        limits = {}
        for key in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
            if key not in schema:
                continue
            value = schema[key]
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise GuideError(f"{path}/{key} must be a number")
            # Infinity and not-a-number fail the comparison.
            if not abs(value) <= _MAX_NUMBER or (whole and value != int(value)):
                raise GuideError(f"{path}/{key} must be a whole number within 2^53")
            limits[key] = value
        lows = [limits[key] for key in ("minimum", "exclusiveMinimum") if key in limits]
        highs = [limits[key] for key in ("maximum", "exclusiveMaximum") if key in limits]
        if not lows or not highs:
            return
        low, high = max(lows), min(highs)
        open_low = limits.get("exclusiveMinimum") == low
        open_high = limits.get("exclusiveMaximum") == high
        room = (low + (1 if whole and open_low else 0)) - (high - (1 if whole and open_high else 0))
        if room > 0 or (room == 0 and not whole and (open_low or open_high)):
            raise GuideError(f"{path} leaves no number between its limits")

    def _string(self, schema: dict[str, Any], path: str) -> None:
        self._bounds(schema, path, "minLength", "maxLength", _MAX_NUMBER)
        for key in ("minLength", "maxLength"):
            if key in schema:
                self._enforce_or_drop(schema, key)
        if "pattern" in schema:
            if not isinstance(schema["pattern"], str) or not schema["pattern"]:
                raise GuideError(f"{path}/pattern must be text that is not empty")
            try:
                self._effort += check_pattern(schema["pattern"]).effort
            except GuideError as error:
                raise GuideError(f"{path}: {error}") from error
            if self._effort > MAX_EFFORT:
                raise GuideError("the schema's patterns take too long to compile together")
        if "format" in schema and not isinstance(schema["format"], str):
            raise GuideError(f"{path}/format must be text")

    def _enforce_or_drop(self, schema: dict[str, Any], key: str) -> None:
        lengths = self._lengths | {schema[key]}
        if schema[key] <= _ENFORCED_LENGTH and sum(lengths) <= _ENFORCED_LENGTHS:
            self._lengths = lengths
        else:
            del schema[key]
            self.relaxed = True

    def _array(self, schema: dict[str, Any], path: str, depth: int) -> None:
        low, high = self._bounds(schema, path, "minItems", "maxItems", _MAX_COUNT)
        prefix = schema.get("prefixItems", [])
        if not isinstance(prefix, list) or ("prefixItems" in schema and not prefix):
            raise GuideError(f"{path}/prefixItems must be a list that is not empty")
        for index, item in enumerate(prefix):
            self._schema(item, f"{path}/prefixItems/{index}", depth + 1, set())
        items = schema.get("items")
        if items is not None and items is not False:
            self._schema(items, f"{path}/items", depth + 1, set())
        if items in (None, False) and low > len(prefix):
            raise GuideError(f"{path} asks for items beyond those that it describes; give it 'items'")
        if high is not None and high < len(prefix):
            raise GuideError(f"{path} has fewer maxItems than prefixItems")

    def _object(self, schema: dict[str, Any], path: str, depth: int) -> None:
        properties = schema.get("properties", {})
        if not isinstance(properties, dict):
            raise GuideError(f"{path}/properties must be an object")
        for name, child in properties.items():
            _property_name(name, path)
            if child is False:
                raise GuideError(f"{path}/properties/{name} must be a schema object")
            self._schema(child, f"{path}/properties/{name}", depth + 1, set())
        required = schema.get("required", [])
        if not isinstance(required, list) or any(not isinstance(name, str) for name in required):
            raise GuideError(f"{path}/required must be a list of names")
        missing = [name for name in required if name not in properties]
        if missing:
            raise GuideError(f"{path}/required names '{missing[0]}', which is not among its properties")
        extra = schema.get("additionalProperties")
        if extra is not None and extra is not False:
            self._schema(extra, f"{path}/additionalProperties", depth + 1, set())
        low, high = self._bounds(schema, path, "minProperties", "maxProperties", _MAX_COUNT)
        if len(properties) > _MAX_PROPERTIES or len(properties) * max(low, high or 0) > _MAX_COUNTED:
            raise GuideError(f"{path} has too many properties, or counts too many")
        if high is not None and high < len(required):
            raise GuideError(f"{path} has fewer maxProperties than required ones")
        if low > len(properties) and extra in (None, False):
            raise GuideError(f"{path} has more minProperties than properties; give it 'additionalProperties'")

    def _combination(self, schema: dict[str, Any], key: str, path: str, depth: int, direct: set[str]) -> None:
        options = schema[key]
        if not isinstance(options, list) or not options:
            raise GuideError(f"{path}/{key} must be a list that is not empty")
        if key == "allOf" and len(options) > 1:
            raise GuideError(f"{path}/allOf with several schemas is not supported")
        for index, option in enumerate(options):
            self._schema(option, f"{path}/{key}/{index}", depth + 1, direct)

    def _bounds(
        self, schema: Mapping[str, Any], path: str, low_key: str, high_key: str, most: int
    ) -> tuple[int, int | None]:
        for key in (low_key, high_key):
            value = schema.get(key)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most):
                raise GuideError(f"{path}/{key} must be a whole number from 0 to {most}")
        low, high = int(schema.get(low_key, 0)), schema.get(high_key)
        if high is not None and low > high:
            raise GuideError(f"{path}/{low_key} is above {high_key}")
        return low, high

    def _unknown(self, schema: dict[str, Any], path: str) -> None:
        unknown = set(schema) - _KNOWN
        for key in sorted(unknown):
            if not key.startswith("x-"):
                raise GuideError(f"{path} uses '{key}', which is not known")

    def _refuse_empty_loops(self) -> None:
        """A definition that leads back to itself without consuming a character can never be expanded."""
        for start in self._direct:
            seen: set[str] = set()
            todo = list(self._direct[start])
            while todo:
                name = todo.pop()
                if name == start:
                    raise GuideError(f"{start} refers to itself without anything in between")
                if name not in seen:
                    seen.add(name)
                    todo.extend(self._direct.get(name, ()))


def _literal(value: Any, path: str, depth: int = 0) -> None:
    """Check a value of an enum or const."""
    if depth > _MAX_DEPTH:
        raise GuideError(f"{path} has a value that is nested too deeply")
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not abs(value) <= _MAX_NUMBER:
            raise GuideError(f"{path} has a number beyond 2^53")
    elif isinstance(value, str):
        _text(value, path)
    elif isinstance(value, dict):
        for name, item in value.items():
            _text(name, path)
            _literal(item, path, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _literal(item, path, depth + 1)


def _property_name(name: str, path: str) -> None:
    """The compiler does not escape names, so these would end the text of its own grammar."""
    if any(char in '"\\' or not char.isprintable() for char in name):
        raise GuideError(f"{path}/properties has a name with a quote, a backslash or a control character")


def _text(value: str, path: str) -> None:
    if any("\ud800" <= char <= "\udfff" or char == "\0" for char in value):
        raise GuideError(f"{path} has text with a NUL or half of a surrogate pair")


_KNOWN = (
    _ANNOTATIONS
    | _UNENFORCED
    | frozenset(_DEFINITIONS)
    | frozenset(
        {
            "$ref", "type", "enum", "const", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum",
            "minLength", "maxLength", "pattern", "minItems", "maxItems", "prefixItems", "items",
            "properties", "required", "additionalProperties", "minProperties", "maxProperties",
            "anyOf", "oneOf", "allOf",
        }
    )
)  # fmt: skip
