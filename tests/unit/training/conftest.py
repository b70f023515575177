"""The cards that training uses, read once."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from training.cards import Domain, load_domains


@pytest.fixture(scope="session")
def domains() -> Sequence[Domain]:
    """The real cards."""
    return load_domains()
