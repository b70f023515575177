"""The command line `podium`: one module a command group, thin over the client and the server.

Nothing here decides anything about runs, tools or models. Commands import what they need when they
run, so that `podium --help` answers at once.
"""

# ruff: noqa: PLC0415  see above

from __future__ import annotations

import io
import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line of this process and exit with its code."""
    try:
        import rich  # noqa: F401
        import typer  # noqa: F401
    except ModuleNotFoundError as missing:
        sys.stderr.write(f"podium: the command line needs {missing.name}: pip install 'podium[server]'\n")
        sys.exit(2)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # an answer may hold what this terminal cannot show
    try:
        from podium.cli.program import app
    except KeyboardInterrupt:  # later ones are the commands' to handle
        sys.exit(130)
    app(prog_name="podium")
