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
from podium.cli.options import Address, ApiKeyEnv, AsJsonLines, TlsRoots, UseTls
from podium.cli.terminal import is_interactive

if TYPE_CHECKING:
    from podium.cli.run_output import RunOutput

__all__ = ["chosen_output", "run"]

_MICROS = 1_000_000


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
    plan_only: Annotated[bool, typer.Option("--plan-only", help="Plan the first calls, and make none.")] = False,
    detach: Annotated[
        bool, typer.Option("--detach", help="Start the run, print its id and leave; `podium watch` finds it again.")
    ] = False,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Take no results from the cache and keep none in it.")
    ] = False,
    no_speculation: Annotated[
        bool, typer.Option("--no-speculation", help="Start no call before the model asks for it.")
    ] = False,
    max_cost: Annotated[
        float | None,
        typer.Option("--max-cost", metavar="AMOUNT", min=0.000001, help="What it may cost, in the server's currency."),
    ] = None,
    may_ask: Annotated[
        bool, typer.Option("--ask", help="The model may ask you things, here or through `podium answer`.")
    ] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Show where the time went when it has ended.")] = False,
    as_json: AsJsonLines = False,
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
        _check_output(explain, as_json, detach)
        from podium.cli.run_output import save_svg as write_svg
        from podium.cli.run_session import RunRequest, run_request

        asked = RunRequest(
            input=text,
            model=model,
            tools=tuple(tool or ()),
            deadline=deadline,
            correlation_id=correlation_id,
            plan_only=plan_only,
            detach=detach,
            bypass_cache=no_cache,
            may_ask=may_ask,
            speculation="off" if no_speculation else None,
            max_cost_micros=None if max_cost is None else round(max_cost * _MICROS),
            explain=explain,
        )
    output = chosen_output(as_json)
    with reported(server.address):
        code = asyncio.run(run_request(asked, server, output, may_start=address is None and not detach))
        if save_svg is not None and output.timeline.finished is not None:
            write_svg(output.timeline, text, save_svg)
    raise typer.Exit(code)


def chosen_output(as_json: bool) -> RunOutput:
    """Return where the events of a run go."""
    from podium.cli.run_output import JsonLines, LivePicture, PlainLines

    if as_json:
        return JsonLines()
    return LivePicture() if is_interactive() else PlainLines()


def _check_output(explain: bool, as_json: bool, detach: bool) -> None:
    if explain and (as_json or detach):
        todo = "`podium explain RUN_ID` explains it afterwards, with --json as JSON"
        raise CommandFailed("--explain goes with neither --json nor --detach", todo=todo, code=Exit.USAGE)


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
