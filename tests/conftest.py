"""What holds for every test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from podium import context


@pytest.fixture(autouse=True)
def _outside_any_call() -> Iterator[None]:
    """Start every test outside any call, whatever context variables an earlier one has set."""
    variables = (context.correlation_id, context.request_id, context.run_id, context.rpc)
    tokens = [(variable, variable.set("")) for variable in variables]
    yield
    for variable, token in tokens:
        variable.reset(token)
