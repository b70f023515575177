"""`podium health`: whether a server can answer, by the standard health protocol."""

# ruff: noqa: PLC0415  commands import what they need when they run

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Annotated

import typer

from podium.cli.connection import Server
from podium.cli.failures import Exit, reported
from podium.cli.options import Address, ApiKeyEnv, TlsRoots, UseTls
from podium.cli.terminal import clean, error_console

if TYPE_CHECKING:
    import grpc.aio

    from podium_client import HealthReport

__all__ = ["health"]

_PAUSE = 0.25
_ATTEMPT = 3.0


def health(
    *,
    address: Address = None,
    wait: Annotated[
        float, typer.Option("--wait", "-w", metavar="SECONDS", min=0, help="Wait so long for it to become ready.")
    ] = 0.0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing; the exit code says it.")] = False,
    api_key_env: ApiKeyEnv = None,
    tls: UseTls = False,
    tls_ca: TlsRoots = None,
) -> None:
    """Exit with 0 once the server can answer requests (SERVING), with 3 if it cannot."""
    with reported(address or ""):
        server = Server.of(address, api_key_env, tls, tls_ca)
        state = asyncio.run(_with_spinner(server, wait, quiet))
    serving = state == "SERVING"
    if not quiet:
        typer.echo(f"{server.address}: {clean(state)}", err=not serving)
        if serving:
            _details(server)
    raise typer.Exit(Exit.OK if serving else Exit.NOT_READY)


async def _with_spinner(server: Server, wait: float, quiet: bool) -> str:
    console = error_console()
    if quiet or not wait or not console.is_terminal:
        return await serving_state(server, wait)
    with console.status(f"Waiting for {server.address} ..."):
        return await serving_state(server, wait)


async def serving_state(server: Server, wait: float) -> str:
    """Return SERVING as soon as the server says so, or what it says (or why it does not) after `wait` seconds."""
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    give_up = time.monotonic() + wait
    async with _channel(server) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        metadata = (("authorization", f"Bearer {server.api_key}"),) if server.api_key else ()
        while True:
            left = give_up - time.monotonic()
            limit = max(min(_ATTEMPT, left), 1.0)
            try:
                reply = await stub.Check(health_pb2.HealthCheckRequest(), timeout=limit, metadata=metadata)
                state = str(health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status))
            except grpc.aio.AioRpcError as error:
                state = f"{error.code().name}: {(error.details() or '').rpartition(': ')[2]}"
            left = give_up - time.monotonic()
            if state == "SERVING" or left <= 0:
                return state
            await asyncio.sleep(min(_PAUSE, left))


def _channel(server: Server) -> grpc.aio.Channel:
    import grpc.aio

    # Look again soon after a refused connection: the server is probably just starting.
    options = [
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.min_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 1000),
        ("grpc.enable_retries", 0),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    security = server.security()
    if security is None:
        return grpc.aio.insecure_channel(server.address, options=options)
    return grpc.aio.secure_channel(server.address, security.credentials(), options=options)


def _details(server: Server) -> None:
    """Print each thing the server depends on, if it is a Podium and lets us ask."""
    report = asyncio.run(_report(server))
    if report is None:
        return
    for part in report.components:
        # Of something healthy the last error is history.
        detail = "" if part.status == "HEALTHY" else part.detail or part.last_error
        typer.echo(clean(f"  {part.name}: {part.status.lower()}" + (f", {detail}" if detail else "")))


async def _report(server: Server) -> HealthReport | None:
    import podium_client

    async with server.connect() as podium:
        try:
            return await podium.health(deadline=_ATTEMPT)
        except podium_client.PodiumError:
            return None  # the question was whether it serves, and that is answered
