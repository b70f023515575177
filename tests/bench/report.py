"""How every benchmark ends: raw figures, a report and a picture saved, one JSON object as the last line."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "benchmarks"


def machine() -> str:
    """Describe the machine without naming it."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ),
        platform.processor() or platform.machine(),
    )
    return f"{os.cpu_count()} cores of {model}, {platform.system()}, Python {platform.python_version()}"


def save(
    name: str, title: str, paragraphs: Sequence[str], figures: Mapping[str, Any], *, picture: bool = False
) -> None:
    """Write `NAME.md` and `NAME.json`, and print the figures as the last line."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / f"{name}.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    parts = [
        f"# {title}",
        f"Measured {datetime.now(UTC):%Y-%m-%d} on {machine()}, by `make bench-{name}`.",
        *paragraphs,
    ]
    if picture:
        parts.append(f"![{title}]({name}.png)")
    parts.append(f"Raw figures: [{name}.json]({name}.json).")
    (FOLDER / f"{name}.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    print(json.dumps({key: value for key, value in figures.items() if not isinstance(value, list)}))
