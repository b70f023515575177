"""`podium run`."""

# ruff: noqa: PLC0415  commands import what they need when they run

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from podium.cli.connection import Server
from podium.cli.failures import CommandFailed, Exit, reported
from podium.cli.options import Address, ApiKeyEnv, TlsRoots, UseTls
from podium.cli.terminal import is_interactive

if TYPE_CHECKING:
    from podium.cli.run_output import RunOutput

__all__ = ["run"]


def run(
    request: Annotated[str, typer.Argument(help="What to do, in plain language; - reads it from standard input.")],
    *,
    address: Address = None,
    model: Annotated[str | None, typer.Option("--model", "-m", metavar="NAME", help="The model to use.")] = None,
    deadline: Annotated[
        float | None,
        typer.Option("--deadline", "-d", metavar="SECONDS", min=0.001, help="How long it may take.", show_default="60"),
    ] = None,
    tool: Annotated[
        list[str] | None,
        typer.Option("--tool", "-t", metavar="NAME", help="Allow only this tool; may be given several times."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line, one line an event.")] = False,
    save_svg: Annotated[
        Path | None, typer.Option("--save-svg", metavar="FILE", help="Save a picture of the run when it has ended.")
    ] = None,
    correlation_id: Annotated[
        str | None, typer.Option("--correlation-id", metavar="ID", help="To find the run again in the server's log.")
    ] = None,
    api_key_env: ApiKeyEnv = None,
    tls: UseTls = False,
    tls_ca: TlsRoots = None,
) -> None:
    """Have a request answered, and watch the tool calls happen.

    Talks to the server at --address. When none is named and none answers at the default address, one is
    started inside this command. Ctrl-C cancels the run.

    Exit codes: 0 succeeded, 1 failed, 2 usage or configuration, 3 not ready or unreachable, 130 or 143 interrupted.
    """
    with reported():
        server = Server.of(address, api_key_env, tls, tls_ca)
        text = _checked(request)
        _check_correlation(correlation_id)
        from podium.cli.run_output import save_svg as write_svg
        from podium.cli.run_session import RunRequest, run_request

        asked = RunRequest(
            input=text, model=model, tools=tuple(tool or ()), deadline=deadline, correlation_id=correlation_id
        )
    output = _output(as_json)
    with reported(server.address):
        code = asyncio.run(run_request(asked, server, output, may_start=address is None))
        if save_svg is not None and output.timeline.finished is not None:
            write_svg(output.timeline, text, save_svg)
    raise typer.Exit(code)


def _output(as_json: bool) -> RunOutput:
    from podium.cli.run_output import JsonLines, LivePicture, PlainLines

    if as_json:
        return JsonLines()
    return LivePicture() if is_interactive() else PlainLines()


def _checked(request: str) -> str:
    text = (sys.stdin.read() if request == "-" else request).strip()
    if not text:
        raise CommandFailed("the request is empty", todo='say what to do: podium run "..."', code=Exit.USAGE)
    return text


def _check_correlation(correlation_id: str | None) -> None:
    if correlation_id is None:
        return
    from podium_client import correlation

    try:
        with correlation(correlation_id):
            return
    except ValueError as error:
        raise CommandFailed(f"--correlation-id: {error}", code=Exit.USAGE) from error
