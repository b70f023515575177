"""Standard output and error as the commands use them: consoles, and texts that are safe to print."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

__all__ = ["clean", "error_console", "is_interactive", "output_console", "print_table"]

# Everything that could steer a terminal: C0 but tab and newline, DEL, C1, and what reorders text.
_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def clean(text: str) -> str:
    """Return text of a model, a tool or a server such that printing it cannot steer the terminal."""
    return _STEERING.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n"))


def is_interactive() -> bool:
    """Whether somebody watches standard output on a terminal that can redraw lines."""
    return sys.stdout.isatty() and os.environ.get("TERM", "") != "dumb"


def output_console() -> Console:
    """Return the console for results. Without a terminal it writes plain text of any width."""
    from rich.console import Console  # noqa: PLC0415  not needed for `--help`

    if is_interactive():
        return Console(highlight=False)
    return Console(highlight=False, color_system=None, force_terminal=False, width=_columns(), soft_wrap=False)


def print_table(table: RenderableType) -> None:
    """Print a table to standard output; without a terminal, without blanks at the ends of lines."""
    console = output_console()
    if console.is_terminal:
        console.print(table)
        return
    with console.capture() as capture:
        console.print(table)
    sys.stdout.write("".join(line.rstrip() + "\n" for line in capture.get().splitlines()))
    sys.stdout.flush()


def error_console() -> Console:
    """Return the console for what is said beside the result."""
    from rich.console import Console  # noqa: PLC0415  not needed for `--help`

    return Console(stderr=True, highlight=False)


def _columns() -> int:
    """Return how wide tables may be without a terminal: COLUMNS if set, else enough not to cut anything."""
    given = os.environ.get("COLUMNS", "")
    return int(given) if given.isdigit() and int(given) > 0 else 200
