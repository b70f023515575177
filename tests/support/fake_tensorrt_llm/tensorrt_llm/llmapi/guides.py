"""What a guide makes the fake write: the smallest text that a simple JSON Schema allows."""

from __future__ import annotations

import json
from typing import Any

from tensorrt_llm._control import fake
from tensorrt_llm.sampling_params import GuidedDecodingParams
from tensorrt_llm.tokenizer import byte_ids

__all__ = ["forced_ids"]


def forced_ids(guide: GuidedDecodingParams | None, backend: str | None) -> list[int] | None:
    """Return the ids that the guide forces, or None for free text.

    None without a backend: the guide is dropped without a word (rule 22). None, too, for the `{"name", "schema"}`
    wrapper of an HTTP request, which is accepted and constrains nothing.
    """
    if guide is None or backend is None:
        return None
    if guide.json is not None:
        schema = _schema(guide.json)
        return None if "schema" in schema and "type" not in schema else byte_ids(json.dumps(_instance(schema)))
    if guide.json_object:
        return byte_ids("{}")
    if guide.structural_tag is not None and backend != "xgrammar":
        raise ValueError(f"structural_tag is not supported by the {backend} backend")
    text = guide.regex or guide.grammar or guide.structural_tag
    return fake.settings.guides.get(text) if text else None


def _schema(given: Any) -> dict[str, Any]:
    if isinstance(given, str):
        loaded = json.loads(given)
    elif isinstance(given, dict):
        loaded = given
    else:
        loaded = given.model_json_schema()
    return dict(loaded)


def _instance(schema: dict[str, Any]) -> Any:
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    kind = schema.get("type")
    if kind == "object":
        parts = schema.get("properties", {})
        return {name: _instance(parts.get(name, {})) for name in schema.get("required", parts)}
    if kind == "array":
        return [_instance(schema.get("items", {})) for _ in range(schema.get("minItems", 0))]
    if kind in {"integer", "number"}:
        return schema.get("minimum", 0)
    return {"string": "x" * schema.get("minLength", 0), "boolean": True}.get(str(kind))
