"""Checks that no linter makes: what must never be committed, and that locks carry no addresses."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MAX_BYTES = 1_000_000
# The trained adapter is package data: what everybody gets without asking.
MAX_ADAPTER_BYTES, ADAPTERS = 5_000_000, "service/podium/inference/models/"
FORBIDDEN = {
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----\n[A-Za-z0-9+/=]{20}"),
    "a path of one machine": re.compile(
        r"/(?:home|Users|root)/(?!someone/)[a-z][a-z0-9_-]*/|" + re.escape(str(ROOT.parent)) + "/"
    ),
    "an unfinished mark": re.compile(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X)\b"),
}
# Vendored and generated files are not ours to mend. The paths and marks in training's cards are what invented
# people talk about.
SKIPPED = ("third_party/", "service/buf/", "service/podium/v1/", "training/cards/")


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [Path(line) for line in listed.stdout.splitlines() if (ROOT / line).is_file()]


def problems(path: Path) -> list[str]:
    raw = (ROOT / path).read_bytes()
    found = []
    most = MAX_ADAPTER_BYTES if str(path).startswith(ADAPTERS) else MAX_BYTES
    if len(raw) > most:
        found.append(f"{path}: {len(raw):,} bytes; nothing over {most:,} is committed")
    if b"\0" in raw or str(path).startswith(SKIPPED):
        return found
    text = raw.decode("utf-8", "replace")
    for what, pattern in FORBIDDEN.items():
        for match in pattern.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            found.append(f"{path}:{line}: {what}")
    if path.parent.name == "requirements" and "://" in text:
        found.append(f"{path}: a lock must carry no address")
    return found


def main() -> int:
    found = [problem for path in tracked() for problem in problems(path)]
    print("\n".join(found) if found else "The repository holds nothing that it must not.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
