"""`podium watch`."""

# ruff: noqa: PLC0415  commands import what they need when they run

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from podium.cli.connection import Server
from podium.cli.failures import reported
from podium.cli.options import Address, ApiKeyEnv, AsJsonLines, RunId, TlsRoots, UseTls
from podium.cli.run import chosen_output

__all__ = ["watch"]


def watch(
    run_id: RunId,
    *,
    after_seq: Annotated[
        int, typer.Option("--after-seq", metavar="N", min=0, help="Only events after this one; for --json.")
    ] = 0,
    deadline: Annotated[
        float, typer.Option("--deadline", "-d", metavar="SECONDS", min=0.001, help="How long to watch it.")
    ] = 86400.0,
    as_json: AsJsonLines = False,
    address: Address = None,
    api_key_env: ApiKeyEnv = None,
    tls: UseTls = False,
    tls_ca: TlsRoots = None,
) -> None:
    """Watch a run that was started elsewhere, or that has ended, from its beginning on.

    Ctrl-C leaves; the run goes on. Exit codes as for `podium run`.
    """
    with reported():
        server = Server.of(address, api_key_env, tls, tls_ca)
        from podium.cli.run_session import watch_run
    with reported(server.address):
        code = asyncio.run(watch_run(run_id, after_seq, deadline, server, chosen_output(as_json)))
    raise typer.Exit(code)
