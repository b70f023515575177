"""A server inside this process, for `podium run` when no other answers."""

# ruff: noqa: PLC0415  only this command needs the whole server

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from podium.cli.connection import Server
from podium.cli.failures import CommandFailed, Exit
from podium.cli.health import serving_state
from podium.cli.terminal import error_console

if TYPE_CHECKING:
    from podium.settings import Loaded

__all__ = ["local_server"]

# Longer paths of Unix sockets are refused by gRPC.
_LONGEST_SOCKET_PATH = 99


@asynccontextmanager
async def local_server() -> AsyncIterator[str]:
    """Start a server for this one request, wait until it can answer, yield its address, stop it after."""
    with tempfile.TemporaryDirectory(prefix="podium-") as folder:
        loaded = _settings(Path(folder))
        from podium.app import Application
        from podium.observability.logging import LogConfig, configure_logging

        with configure_logging(LogConfig(level="ERROR")) as log:
            async with Application(loaded, log) as application:
                await _wait(application.address, loaded)
                yield application.address


def _settings(folder: Path) -> Loaded:
    from podium.settings import load_settings

    socket = f"unix:{folder / 'grpc.sock'}"
    listen = socket if len(socket) <= _LONGEST_SOCKET_PATH else "127.0.0.1:0"
    return load_settings(
        flags={
            "server.listen": (listen,),
            "ops.enabled": False,
            "auth.enabled": False,
            "storage.data_dir": folder,
        }
    )


async def _wait(address: str, loaded: Loaded) -> None:
    name = loaded.settings.model_name
    said = f"No server answers, so one is started for this request; loading {name} ..."
    seconds = loaded.settings.engine.start_seconds
    console = error_console()
    if console.is_terminal:
        with console.status(said):
            state = await serving_state(Server(address=address), seconds)
    else:
        typer.echo(said, err=True)
        state = await serving_state(Server(address=address), seconds)
    if state != "SERVING":
        raise CommandFailed(
            f"the model {name} did not become ready within {seconds:g} s ({state})",
            todo="`podium serve` shows what it waits for",
            code=Exit.NOT_READY,
        )
