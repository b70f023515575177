"""Training and tests are apart: nothing of what quality is measured on is trained on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import pytest

from podium.orchestration.tool import ToolSpec
from quality.cases import SETS, load, packs
from training.cards import Domain

# Development packs, whose plain tools ("translate") anybody would name and describe alike.
DEVELOPMENT = frozenset({"second", "third", "fourth"})


def plain(text: str) -> str:
    """Return a text's first paragraph without its case, line ends and final mark."""
    return " ".join(text.split("\n\n", 1)[0].split()).lower().rstrip(".!? ")


@pytest.fixture(scope="module")
def tested() -> dict[str, Sequence[ToolSpec]]:
    """The tools of the core pack and of the packs that nobody tuned for."""
    return {name: specs for name, specs in packs().items() if name not in DEVELOPMENT}


def test_no_tested_tool_is_among_the_cards(domains: Sequence[Domain], tested: dict[str, Sequence[ToolSpec]]) -> None:
    said = {plain(text) for domain in domains for card in domain.cards for text in card.says}
    assert len(tested) >= 13
    assert sum(map(len, tested.values())) >= 90
    # A description alone is enough: names alone ("cancel_booking") may agree by chance.
    assert not [
        f"{pack}.{spec.name}" for pack, specs in tested.items() for spec in specs if plain(spec.description) in said
    ]


def test_no_field_is_trained_and_tested(domains: Sequence[Domain], tested: dict[str, Sequence[ToolSpec]]) -> None:
    assert not {domain.name for domain in domains} & set(tested)


@pytest.mark.parametrize("name", SETS)
def test_no_tested_request_for_a_tool_is_a_template(domains: Sequence[Domain], name: str) -> None:
    templates = {
        plain(template)
        for domain in domains
        for card in domain.cards
        for template in (*card.requests, *card.twice, *card.partial)
    } | {plain(template) for domain in domains for chain in domain.chains for template in chain.requests}
    cases = [case for case in load(name, date(2026, 5, 4)) if case.calls]
    assert len(cases) >= 20
    assert not [case.request for case in cases if plain(case.request) in templates]
