"""Guides that leave a model no other way than a well-formed call."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from podium.inference.engine import Guide, GuideKind
from podium.orchestration.tool import ToolSpec

__all__ = ["JSON_GUIDE_FEATURES", "STRUCTURAL_TAG_FEATURE", "ToolTag", "call_schema_guide", "structural_tag_guide"]

STRUCTURAL_TAG_FEATURE = "structural_tag"
JSON_GUIDE_FEATURES: frozenset[str] = frozenset({"guided_decoding", "json_schema"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolTag:
    """What stands around the arguments of a call. `{name}` in `begin` is the tool's name."""

    trigger: str
    begin: str
    end: str


def structural_tag_guide(tag: ToolTag, tools: Sequence[ToolSpec]) -> Guide:
    """Force at least one call in the dialect's own form, with arguments by the tool's schema."""
    tags = [
        {
            "type": "tag",
            "begin": tag.begin.replace("{name}", tool.name),
            "content": {"type": "json_schema", "json_schema": tool.input_schema},
            "end": tag.end,
        }
        for tool in tools
    ]
    form = {"type": "triggered_tags", "triggers": [tag.trigger], "tags": tags, "at_least_one": True}
    return Guide(GuideKind.STRUCTURAL_TAG, json.dumps({"type": "structural_tag", "format": form}, default=dict))


def call_schema_guide(tools: Sequence[ToolSpec]) -> Guide:
    """Force one object that names a tool and its arguments, in place of the dialect's own form."""
    calls = [
        {
            "type": "object",
            "properties": {"name": {"type": "string", "enum": [tool.name]}, "parameters": _nested(tool.input_schema)},
            "required": ["name", "parameters"],
            "additionalProperties": False,
        }
        for tool in tools
    ]
    schema = calls[0] if len(calls) == 1 else {"anyOf": calls}
    return Guide(GuideKind.JSON_SCHEMA, json.dumps(schema, default=dict))


def _nested(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    # References count from the root, which is another one here; the tool layer still checks all of it.
    return {"type": "object"} if '"$ref"' in json.dumps(schema, default=dict) else schema
