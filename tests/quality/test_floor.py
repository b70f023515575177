"""A floor under planning quality: a few requests of every kind, through the real model."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from quality.cases import evenly, load, packs
from quality.harness import ask_all
from quality.models import opened
from quality.scoring import match, right

_REQUESTS = 20
# Well under what is measured on these samples (0.95 and 0.6), so that only a real fall fails.
_FLOORS = {"dev": 0.75, "tuning": 0.4}


@pytest.mark.embedded
@pytest.mark.timeout(240)
async def test_samples_of_the_development_sets_are_planned_right() -> None:
    """So many of each sample's requests get exactly the calls that they ask for."""
    offered = packs()
    specs = {name: {spec.name: spec for spec in tools} for name, tools in offered.items()}
    today = datetime.now(UTC).date()
    async with opened("embedded", offered["core"]) as contender:
        for name, floor in _FLOORS.items():
            outcomes = await ask_all(contender, evenly(load(name, today), _REQUESTS), offered, today)
            wrong = [o.case.request for o in outcomes if not right(o, match(o, specs[o.case.pack]))]
            assert 1 - len(wrong) / len(outcomes) >= floor, f"{name}: {wrong}"
