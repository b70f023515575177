"""Every configuration in the guides is one that the settings take."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from podium.settings import load_settings

DOCS = Path(__file__).resolve().parents[3] / "docs"
GUIDES = ("backends.md", "gpu.md")
BACKENDS = {"embedded", "trtllm", "openai", "anthropic", "scripted"}


def recipes() -> Iterator[tuple[str, str]]:
    for guide in GUIDES:
        text = (DOCS / guide).read_text(encoding="utf-8")
        for match in re.finditer(r"^```toml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            line = text.count("\n", 0, match.start()) + 1
            yield f"{guide}:{line}", match.group(1)


RECIPES = dict(recipes())


@pytest.mark.parametrize("where", sorted(RECIPES))
def test_a_recipe_is_a_configuration(where: str, tmp_path: Path) -> None:
    file = tmp_path / "podium.toml"
    file.write_text(RECIPES[where], encoding="utf-8")
    settings = load_settings(config=file, environ={}).settings
    assert set(settings.models) & set(re.findall(r"^\[models\.([^]]+)\]$", RECIPES[where], re.MULTILINE))
    if re.search(r'https://|addresses = \["10', RECIPES[where]):
        assert settings.llm.remote_enabled, "a recipe for another machine has to say so"


def test_there_is_a_recipe_for_every_kind_of_model_and_vendor(tmp_path: Path) -> None:
    kinds, vendors = set(), set()
    for text in RECIPES.values():
        kinds |= set(re.findall(r'^kind = "(\w+)"', text, re.MULTILINE))
        vendors |= set(re.findall(r'^vendor = "(\w+)"', text, re.MULTILINE))
    assert kinds == BACKENDS
    assert vendors == {"trtllm_serve", "vllm", "ollama", "lm_studio", "openai"}


@pytest.mark.parametrize("guide", GUIDES)
def test_links_between_the_guides_lead_somewhere(guide: str) -> None:
    text = (DOCS / guide).read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)
    assert targets
    missing = [target for target in targets if not (DOCS / target).exists()]
    # The benchmark's report is made by running it.
    assert [target for target in missing if target != "benchmarks/inference.md"] == []
