"""`podium version`."""

from __future__ import annotations

import platform
from importlib import metadata

import typer

import podium

__all__ = ["version"]

_SHOWN = ("grpcio", "protobuf", "openvino-genai")


def version() -> None:
    """Show the version of Podium and of what it stands on."""
    typer.echo(f"podium {podium.__version__}")
    typer.echo(f"python {platform.python_version()}")
    for name in _SHOWN:
        try:
            typer.echo(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            typer.echo(f"{name} is not installed")
