"""`podium serve`."""

# ruff: noqa: PLC0415  commands import what they need when they run

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from podium.cli.failures import reported
from podium.cli.options import ConfigFile, DataDir

if TYPE_CHECKING:
    from podium.app import Application
    from podium.settings import Loaded

__all__ = ["serve"]

Listen = Annotated[
    list[str] | None,
    typer.Option("--listen", "-l", metavar="ADDRESS", help="Serve gRPC here; may be given several times."),
]
OpsListen = Annotated[
    str | None,
    typer.Option("--ops-listen", metavar="ADDRESS", help="Serve metrics and health over HTTP here."),
]


def serve(
    listen: Listen = None, ops_listen: OpsListen = None, data_dir: DataDir = None, config: ConfigFile = None
) -> None:
    """Run the server until SIGTERM or Ctrl-C; then finish what is in progress (a second signal cuts that short)."""
    with reported():
        from podium.resilience.scheduling import listen_with_poller
        from podium.settings import load_settings

        flags = {
            "server.listen": listen or None,
            "ops.listen": ops_listen,
            "storage.data_dir": data_dir,
        }

        def read() -> Loaded:
            return load_settings(config=config, flags=flags)

        loaded = read()
        if loaded.settings.server.listener == "poller":
            listen_with_poller()
        from podium.app import run_server  # with it comes gRPC, so not sooner

        code = run_server(loaded, started=_announce, reread=read)
    raise typer.Exit(code)


def _announce(application: Application) -> None:
    ops = f"; metrics and health on http://{application.ops_address}" if application.ops_address else ""
    typer.echo(f"Podium serves gRPC on {', '.join(application.addresses)}{ops}. Ctrl-C stops it.", err=True)
