"""The examples of docs/tools.md run as they stand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parents[3] / "docs" / "tools.md"


def test_the_examples_run() -> None:
    """The tool and its test, one after the other, print what they say."""
    code = "\n".join(re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "asked by run run_1" in done.stdout
    assert "'mornin' is not allowed (nearest: morning)" in done.stdout


def test_every_core_tool_is_in_the_reference() -> None:
    from podium.packs.core import CorePackConfig, core_pack

    text = DOCS.read_text(encoding="utf-8")
    for made in core_pack(CorePackConfig(http_hosts=("example.com",))):
        assert f"`{made.name}(" in text
