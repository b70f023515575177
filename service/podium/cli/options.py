"""Options that several commands share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from podium.cli.failures import CommandFailed, Exit

__all__ = [
    "Address",
    "ApiKeyEnv",
    "AsJson",
    "AsJsonLines",
    "ConfigFile",
    "DataDir",
    "RunId",
    "TlsRoots",
    "UseTls",
    "api_key_from",
]

Address = Annotated[
    str | None,
    typer.Option(
        "--address", "-a", metavar="HOST:PORT", help="The server; also unix:PATH.", show_default="127.0.0.1:50051"
    ),
]
ApiKeyEnv = Annotated[
    str | None,
    typer.Option("--api-key-env", metavar="NAME", help="Environment variable that holds the API key."),
]
UseTls = Annotated[bool, typer.Option("--tls", help="Connect with TLS, trusting the well-known roots.")]
TlsRoots = Annotated[
    Path | None,
    typer.Option("--tls-ca", metavar="FILE", help="Connect with TLS, trusting the roots in this PEM file."),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", "-c", metavar="FILE", help="Configuration file.", show_default="podium.toml, if there"),
]
DataDir = Annotated[Path | None, typer.Option("--data-dir", metavar="DIR", help="Where keys and state are kept.")]

RunId = Annotated[str, typer.Argument(help="The run, such as run_01m7...", metavar="RUN_ID")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
AsJsonLines = Annotated[bool, typer.Option("--json", help="Print one JSON object a line, one line an event.")]


def api_key_from(variable: str | None) -> str | None:
    """Return the API key in the named environment variable; None when none was named."""
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise CommandFailed(
            f"--api-key-env names {variable}, which is not set", todo=f"export {variable}=pdm_...", code=Exit.USAGE
        )
    return key
