"""The side effects of tools that are described elsewhere: by MCP servers and in protobuf services."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from podium.orchestration.tool import SideEffects

__all__ = ["effects_of_idempotency_level", "effects_of_mcp_hints"]

# google.protobuf.MethodOptions.IdempotencyLevel
_LEVELS: Final[Mapping[str | int, SideEffects]] = {
    "NO_SIDE_EFFECTS": SideEffects.NONE,
    1: SideEffects.NONE,
    "IDEMPOTENT": SideEffects.IDEMPOTENT,
    2: SideEffects.IDEMPOTENT,
}


def effects_of_mcp_hints(hints: Mapping[str, Any] | None, *, trusted: bool) -> SideEffects:
    """Return what an MCP tool's annotations say of its side effects.

    Missing hints have the protocol's defaults: `readOnlyHint` and `idempotentHint` false, and so the worst.
    Only a JSON `true` counts as true. `idempotentHint` matters only without `readOnlyHint`; `destructiveHint`
    and `openWorldHint` change nothing here: how bad an effect is, and where, does not tell whether a call may
    be repeated. The protocol has clients distrust annotations unless the server is trusted, so those of other
    servers change nothing at all.

    Args:
        hints: the tool's `annotations`, if it has any.
        trusted: whether whoever set the server up trusts what it says of its tools.
    """
    if not trusted or hints is None:
        return SideEffects.EFFECTFUL
    if hints.get("readOnlyHint") is True:
        return SideEffects.NONE
    return SideEffects.IDEMPOTENT if hints.get("idempotentHint") is True else SideEffects.EFFECTFUL


def effects_of_idempotency_level(level: str | int | None) -> SideEffects:
    """Return what a protobuf method's `idempotency_level` says; by name or number, None where it is not set."""
    return SideEffects.EFFECTFUL if level is None else _LEVELS.get(level, SideEffects.EFFECTFUL)
