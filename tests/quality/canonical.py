"""Calls as text that can be compared: the tool's canonical form, whatever the model's way of writing it."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from datetime import date, time
from typing import Any

from podium.orchestration.tool import ToolFailure, ToolSpec

__all__ = ["alternatives", "canonical", "named_references"]

_MOMENTS: Mapping[str, type[date] | type[time]] = {"date": date, "time": time}
_INDEXED = re.compile(r"c(?:\d+_)?(\d+)")


def alternatives(value: Any) -> list[Any]:
    """Return every value that `value` allows: `{"$any": [a, b]}` at any depth stands for a or b."""
    if isinstance(value, Mapping):
        if set(value) == {"$any"}:
            return [plain for option in value["$any"] for plain in alternatives(option)]
        choices = itertools.product(*(alternatives(item) for item in value.values()))
        return [dict(zip(value, chosen, strict=True)) for chosen in choices]
    if isinstance(value, list):
        return [list(chosen) for chosen in itertools.product(*map(alternatives, value))]
    return [value]


def named_references(value: Any, ids: Sequence[str], tools: Sequence[str]) -> Any:
    """Return arguments whose references name the tool of the call that they refer to, instead of the call.

    Args:
        value: the arguments.
        ids: the names that the model gave its calls, in their order; "" for calls without one.
        tools: the calls' tools, in the same order.
    """
    if isinstance(value, list):
        return [named_references(item, ids, tools) for item in value]
    if not isinstance(value, Mapping):
        return value
    if isinstance(value.get("$from"), str):
        return {"$from": _tool_of(value["$from"], ids, tools), "path": value.get("path") or ""}
    each = value.get("$each")
    if isinstance(each, Mapping) and isinstance(each.get("from"), str):
        return {"$each": {"from": _tool_of(each["from"], ids, tools), "path": each.get("path") or ""}}
    return {key: named_references(item, ids, tools) for key, item in value.items()}


def _tool_of(source: str, ids: Sequence[str], tools: Sequence[str]) -> str:
    if source in ids:
        return tools[ids.index(source)]
    match = _INDEXED.fullmatch(source)
    return tools[int(match[1])] if match and int(match[1]) < len(tools) else source


def canonical(spec: ToolSpec | None, arguments: Mapping[str, Any]) -> str:
    """Return arguments in the tool's canonical form, as text.

    Arguments that the tool refuses, because some are missing or refer to another call's result, are
    brought into the form that their own schemas allow; they never equal accepted ones.
    """
    values: Any = dict(arguments)
    if spec is not None:
        values = _with_defaults(values, spec.input_schema, spec.input_schema)
        if spec.normalise is not None:
            try:
                values = spec.normalise(values)
            except ToolFailure:
                values = {"refused": _by_schema(values, spec.input_schema, spec.input_schema)}
    return json.dumps(values, sort_keys=True, default=str, ensure_ascii=False)


def _resolved(schema: Any, root: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow a `$ref` into `$defs`, and take the part of an optional that is not null."""
    if not isinstance(schema, Mapping):
        return {}
    if isinstance(schema.get("$ref"), str):
        return _resolved(root.get("$defs", {}).get(schema["$ref"].rpartition("/")[2]), root)
    parts = [part for part in schema.get("anyOf", ()) if part.get("type") != "null"]
    return _resolved(parts[0], root) if len(parts) == 1 else schema


def _with_defaults(value: Any, schema: Any, root: Mapping[str, Any]) -> Any:
    schema = _resolved(schema, root)
    if isinstance(value, list):
        return [_with_defaults(item, schema.get("items"), root) for item in value]
    if not isinstance(value, Mapping) or "$from" in value or "$each" in value:
        return value
    properties = schema.get("properties", {})
    filled = {key: _with_defaults(item, properties.get(key), root) for key, item in value.items()}
    for name, part in properties.items():
        if "default" in part:
            filled.setdefault(name, part["default"])
    return filled


def _by_schema(value: Any, schema: Any, root: Mapping[str, Any]) -> Any:
    schema = _resolved(schema, root)
    if isinstance(value, Mapping):
        properties = schema.get("properties", {})
        return {key: _by_schema(item, properties.get(key), root) for key, item in value.items()}
    if isinstance(value, list):
        return [_by_schema(item, schema.get("items"), root) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    kind = _MOMENTS.get(str(schema.get("format")))
    if kind is None or not isinstance(value, str):
        return value
    try:
        return kind.fromisoformat(value).isoformat()
    except ValueError:  # no day, no time: it is compared as it stands
        return value
