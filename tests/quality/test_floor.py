"""A floor under planning quality: a few requests of every kind, through the real model."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from quality.cases import load, packs
from quality.harness import ask_all, embedded_model
from quality.scoring import matched, summarise

# Every fourteenth case of the development set: about twenty, of all kinds and packs.
_EVERY = 14
# Well under what is measured there, so that only a real fall fails.
_FLOOR = 0.75


@pytest.mark.embedded
@pytest.mark.timeout(180)
async def test_a_sample_of_the_development_set_is_planned_right() -> None:
    """At least three quarters of the sample's requests get exactly the calls that they ask for."""
    offered = packs()
    specs = {name: {spec.name: spec for spec in tools} for name, tools in offered.items()}
    cases = load("dev", datetime.now(UTC).date())[::_EVERY]
    async with embedded_model() as model:
        outcomes = await ask_all(model, cases, offered)
    wrong = [
        o.case.request for o in outcomes if not matched(o, specs[o.case.pack])[0] == len(o.case.calls) == len(o.calls)
    ]
    assert summarise(outcomes, specs)["request_exact"] >= _FLOOR, wrong
