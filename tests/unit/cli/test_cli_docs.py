"""docs/cli.md says everything that `--help` says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from podium.cli.program import app

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "cli.md").read_text(encoding="utf-8")
HIDDEN = {"--help", "--traceback"}


def commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    children = getattr(command, "commands", {})
    for name, child in children.items():
        yield from commands(child, f"{path} {name}")
    if not children:
        yield path, command


@pytest.mark.parametrize(("path", "command"), list(commands(typer.main.get_command(app), "podium")), ids=str)
def test_every_command_and_option_is_described(path: str, command: Any) -> None:
    *group, name = path.split()
    assert path in PAGE or (" ".join(group) in PAGE and f"`{name}`" in PAGE)
    options = {option for parameter in command.params for option in parameter.opts if option.startswith("--")}
    assert {option for option in options - HIDDEN if f"`{option}" not in PAGE} == set()
