"""What models write as arguments, turned into JSON where that is unambiguous.

What cannot be read is passed on as it was written: the tool layer then refuses it with a message
that the model can act on, which is better than a call that silently does not happen.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["arguments_json", "encode_json", "keyword_arguments_json", "typed_value"]

_UNREADABLE: Final = object()
_MAX_DEPTH = 64
_MAX_REFERENCES = 8
_TRAILING_COMMA = re.compile(r'("(?:[^"\\]|\\.)*")|,(\s*[}\]])', re.DOTALL)
_JSON_NAMES: Mapping[str, Any] = {"true": True, "false": False, "null": None}


def arguments_json(raw: str) -> bytes:
    """Return the arguments of a call as JSON.

    Mended are: raw line breaks in strings, commas before a closing bracket, an object written as
    a JSON string, and null for no arguments. All else stays as it was written.
    """
    text = raw.strip()
    if _depth(text) > _MAX_DEPTH:
        return _bytes(text)
    value = _read(text, strict=True)
    if isinstance(value, str) and isinstance(_read(value, strict=True), dict):
        return _bytes(value)
    if value is None:
        return b"{}"
    if value is not _UNREADABLE:
        return _bytes(text)
    value = _read(_TRAILING_COMMA.sub(lambda m: m[1] or m[2], text), strict=False)
    return _bytes(text) if value is _UNREADABLE else encode_json(value)


def keyword_arguments_json(raw: str) -> bytes:
    """Return the arguments of a Python call, as in `a=1, b=[True]`, as JSON; as written if they are not such."""
    values = {} if not raw.strip() else _keywords(raw)
    return _bytes(raw) if values is None else encode_json(values)


def encode_json(value: Any) -> bytes:
    """Return a value as JSON text; characters beyond ASCII stay readable where UTF-8 has them."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return json.dumps(value).encode()


def typed_value(raw: str, schema: Mapping[str, Any], key: str) -> Any:
    """Return a value that was written without quotes, by the type that a tool's schema gives to `key`.

    Without a type, JSON is read as JSON and anything else is a string. Text that does not fit its
    type stays a string, which the tool layer refuses readably.
    """
    properties = schema.get("properties")
    wanted = _types(properties.get(key), schema) if isinstance(properties, Mapping) else frozenset()
    if wanted == {"string"}:
        return raw
    value = _read(raw.strip(), strict=False) if _depth(raw) <= _MAX_DEPTH else _UNREADABLE
    if value is _UNREADABLE and raw.strip().lower() in _JSON_NAMES:
        value = _JSON_NAMES[raw.strip().lower()]
    if value is _UNREADABLE or (wanted and not _fits(value, wanted)):
        return raw
    return value


def _types(schema: Any, root: Mapping[str, Any]) -> frozenset[str]:
    """Return the JSON types that a schema allows; none when it does not say."""
    schema = _resolved(schema, root)
    branches = schema.get("anyOf", schema.get("oneOf"))
    if "type" in schema or not isinstance(branches, list):
        return _own_types(schema)
    # Only one level: a deeper choice says too little to refuse anything.
    found = [_own_types(_resolved(branch, root)) for branch in branches]
    return frozenset().union(*found) if all(found) else frozenset()


def _own_types(schema: Mapping[str, Any]) -> frozenset[str]:
    declared = schema.get("type")
    if isinstance(declared, str):
        return frozenset({declared})
    if isinstance(declared, list):
        return frozenset(map(str, declared))
    if isinstance(schema.get("enum"), list):
        return frozenset(map(_name_of, schema["enum"]))
    return frozenset({_name_of(schema["const"])}) if "const" in schema else frozenset()


def _resolved(schema: Any, root: Mapping[str, Any]) -> Mapping[str, Any]:
    for _ in range(_MAX_REFERENCES):
        if not isinstance(schema, Mapping) or not isinstance(schema.get("$ref"), str):
            break
        schema = _pointed(schema["$ref"], root)
    return schema if isinstance(schema, Mapping) else {}


def _pointed(reference: str, root: Mapping[str, Any]) -> Any:
    node: Any = root
    for part in reference.removeprefix("#").strip("/").split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        node = node.get(name) if isinstance(node, Mapping) else None
    return node


def _name_of(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    names = {str: "string", int: "integer", float: "number", list: "array", dict: "object", type(None): "null"}
    return names.get(type(value), "")


def _fits(value: Any, wanted: frozenset[str]) -> bool:
    name = _name_of(value)
    return name in wanted or (name == "integer" and "number" in wanted)


def _read(text: str, *, strict: bool) -> Any:
    try:
        return json.loads(text, strict=strict)
    except (ValueError, RecursionError):
        return _UNREADABLE


def _depth(text: str) -> int:
    # Brackets in strings count too, which only makes the guard stricter.
    depth = deepest = 0
    for character in text:
        if character in "[{(":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]})":
            depth -= 1
    return deepest


def _keywords(raw: str) -> dict[str, Any] | None:
    if _depth(raw) > _MAX_DEPTH:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a model's odd escapes are not this program's
            call = ast.parse(f"f({raw}\n)", mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
    if not isinstance(call, ast.Call) or call.args or not isinstance(call.func, ast.Name):
        return None
    values: dict[str, Any] = {}
    for keyword in call.keywords:
        if keyword.arg is None or keyword.arg in values:
            return None
        try:
            values[keyword.arg] = ast.literal_eval(_JsonNames().visit(keyword.value))
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            return None
    return values if _is_json(values) else None


class _JsonNames(ast.NodeTransformer):
    """Reads `true`, `false` and `null`, which models mix into Python."""

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Constant(_JSON_NAMES[node.id]) if node.id in _JSON_NAMES else node


def _is_json(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_json(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_json, value))
    return value is None or isinstance(value, str | int | float | bool)


def _bytes(text: str) -> bytes:
    return text.encode(errors="replace")
