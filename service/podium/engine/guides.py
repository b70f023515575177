"""Vet guides before the engine sees them.

OpenVINO takes any guide in `add_request` and raises in `step()`, after which it is of no more use to
anybody. So only an allowed subset passes; what is refused here costs one request, not the engine.
"""

from __future__ import annotations

import json

from podium.engine.guide_ebnf import check_grammar
from podium.engine.guide_error import GuideError
from podium.engine.guide_json import check_schema
from podium.engine.guide_regex import check_pattern
from podium.errors import FieldViolation, InvalidRequest
from podium.inference.engine import Guide, GuideKind

__all__ = ["MAX_GUIDE_BYTES", "unwrap_schema", "vet"]

MAX_GUIDE_BYTES = 256 * 1024
_WRAPPER = frozenset({"name", "schema", "strict", "description"})


def vet(guide: Guide) -> Guide:
    """Refuse a guide that is malformed, outside the allowed subset, or costly to compile.

    Returns the guide for the engine: the same, or for a schema one that leaves out costly limits
    on lengths. What follows a guide is to be validated in any case.

    Raises:
        InvalidRequest: with one violation that names the place and the reason.
    """
    if not guide.text:
        raise _refusal(guide, "it is empty")
    if len(guide.text.encode("utf-8", "surrogatepass")) > MAX_GUIDE_BYTES:
        raise _refusal(guide, f"it is larger than {MAX_GUIDE_BYTES >> 10} KiB")
    if any("\ud800" <= char <= "\udfff" for char in guide.text):
        raise _refusal(guide, "it holds half of a surrogate pair")
    try:
        if guide.kind is GuideKind.JSON_SCHEMA:
            return Guide(guide.kind, check_schema(guide.text))
        if guide.kind is GuideKind.STRUCTURAL_TAG:
            _check_structural_tag(guide.text)
            return guide
        check = check_pattern if guide.kind is GuideKind.REGEX else check_grammar
        check(guide.text)
    except GuideError as error:
        raise _refusal(guide, str(error)) from error
    except RecursionError as error:
        raise _refusal(guide, "it is nested too deeply") from error
    return guide


def unwrap_schema(text: str) -> str:
    """Return the schema inside a `{"name": ..., "schema": {...}}` wrapper, or the text as it is.

    An engine takes the wrapper for a schema without any constraint.
    """
    if len(text) > MAX_GUIDE_BYTES or '"schema"' not in text:
        return text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text  # refused by `vet`, which says where it is wrong
    if isinstance(value, dict) and value.keys() <= _WRAPPER and isinstance(value.get("schema"), dict):
        return json.dumps(value["schema"], ensure_ascii=False)
    return text


def _check_structural_tag(text: str) -> None:
    """Let through structures with triggers whose schemas are inside the allowed subset."""
    try:
        tag = json.loads(text)
        structures, triggers = tag["structures"], tag["triggers"]
        schemas = [entry["schema"] for entry in structures]
        texts = [*triggers, *(entry[end] for entry in structures for end in ("begin", "end"))]
    except (ValueError, TypeError, KeyError) as error:
        raise GuideError("it must hold 'structures' of begin, schema and end, and 'triggers'") from error
    if not schemas or not triggers or not all(isinstance(each, str) for each in texts):
        raise GuideError("its structures and triggers must not be empty, and begins, ends and triggers must be text")
    if not all(any(entry["begin"].startswith(trigger) for trigger in triggers) for entry in structures):
        raise GuideError("each structure must begin with one of the triggers")
    for schema in schemas:
        check_schema(json.dumps(schema))


def _refusal(guide: Guide, why: str) -> InvalidRequest:
    return InvalidRequest(
        f"The guide is refused: {why}.",
        violations=[FieldViolation(f"guided_decoding.{guide.kind.value}", why, "guide.allowed_subset")],
    )
