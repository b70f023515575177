"""Which tools described elsewhere may be guessed, started early, or neither."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import MethodOptions

from podium.orchestration.prediction import may_be_predicted, may_start_when_sealed
from podium.orchestration.tool import SideEffects
from podium.tools.effects import effects_of_idempotency_level, effects_of_mcp_hints

READ, IDEM, DESTROY, OPEN = "readOnlyHint", "idempotentHint", "destructiveHint", "openWorldHint"

HINTS: list[tuple[dict[str, Any] | None, SideEffects]] = [
    (None, SideEffects.EFFECTFUL),
    ({}, SideEffects.EFFECTFUL),
    ({READ: True}, SideEffects.NONE),
    ({READ: True, OPEN: True}, SideEffects.NONE),
    ({READ: True, DESTROY: True, IDEM: False}, SideEffects.NONE),
    ({READ: False}, SideEffects.EFFECTFUL),
    ({READ: False, DESTROY: False}, SideEffects.EFFECTFUL),
    ({DESTROY: False, OPEN: False}, SideEffects.EFFECTFUL),
    ({IDEM: True}, SideEffects.IDEMPOTENT),
    ({READ: False, IDEM: True, DESTROY: True}, SideEffects.IDEMPOTENT),
    ({IDEM: True, DESTROY: False, OPEN: False}, SideEffects.IDEMPOTENT),
    ({READ: None, IDEM: None}, SideEffects.EFFECTFUL),
]


@pytest.mark.parametrize(("hints", "effects"), HINTS)
def test_hints_count_from_a_trusted_server_alone(hints: dict[str, Any] | None, effects: SideEffects) -> None:
    trusted, untrusted = effects_of_mcp_hints(hints, trusted=True), effects_of_mcp_hints(hints, trusted=False)
    assert trusted is effects
    assert untrusted is SideEffects.EFFECTFUL
    assert may_be_predicted(trusted) is (hints is not None and hints.get(READ) is True)
    assert may_start_when_sealed(trusted) is (effects is not SideEffects.EFFECTFUL)
    assert not may_be_predicted(untrusted)
    assert not may_start_when_sealed(untrusted)


@pytest.mark.parametrize("odd", ["true", 1, "yes", [True], {"value": True}])
def test_only_true_is_true(odd: Any) -> None:
    assert effects_of_mcp_hints({READ: odd, IDEM: odd}, trusted=True) is SideEffects.EFFECTFUL


@pytest.mark.parametrize(
    ("level", "effects", "predicted", "early"),
    [
        (MethodOptions.NO_SIDE_EFFECTS, SideEffects.NONE, True, True),
        ("NO_SIDE_EFFECTS", SideEffects.NONE, True, True),
        (MethodOptions.IDEMPOTENT, SideEffects.IDEMPOTENT, False, True),
        ("IDEMPOTENT", SideEffects.IDEMPOTENT, False, True),
        (MethodOptions.IDEMPOTENCY_UNKNOWN, SideEffects.EFFECTFUL, False, False),
        ("IDEMPOTENCY_UNKNOWN", SideEffects.EFFECTFUL, False, False),
        (None, SideEffects.EFFECTFUL, False, False),
        (7, SideEffects.EFFECTFUL, False, False),
        ("idempotent", SideEffects.EFFECTFUL, False, False),
    ],
)
def test_idempotency_levels(level: str | int | None, effects: SideEffects, predicted: bool, early: bool) -> None:
    found = effects_of_idempotency_level(level)
    assert found is effects
    assert may_be_predicted(found) is predicted
    assert may_start_when_sealed(found) is early
