"""Vet guides before the engine sees them.

OpenVINO takes any guide in `add_request` and raises in `step()`, after which it is of no more use to
anybody. So only an allowed subset passes; what is refused here costs one request, not the engine.
"""

from __future__ import annotations

from podium.engine.guide_ebnf import check_grammar
from podium.engine.guide_error import GuideError
from podium.engine.guide_json import check_schema
from podium.engine.guide_regex import check_pattern
from podium.errors import FieldViolation, InvalidRequest
from podium.inference.engine import Guide, GuideKind

__all__ = ["MAX_GUIDE_BYTES", "vet"]

MAX_GUIDE_BYTES = 256 * 1024


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
        check = check_pattern if guide.kind is GuideKind.REGEX else check_grammar
        check(guide.text)
    except GuideError as error:
        raise _refusal(guide, str(error)) from error
    except RecursionError as error:
        raise _refusal(guide, "it is nested too deeply") from error
    return guide


def _refusal(guide: Guide, why: str) -> InvalidRequest:
    return InvalidRequest(
        f"The guide is refused: {why}.",
        violations=[FieldViolation(f"guided_decoding.{guide.kind.value}", why, "guide.allowed_subset")],
    )
