"""`podium explain`."""

# ruff: noqa: PLC0415  commands import what they need when they run

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from podium.cli.connection import Server, ask
from podium.cli.failures import CommandFailed, Exit, reported
from podium.cli.options import Address, ApiKeyEnv, AsJson, RunId, TlsRoots, UseTls
from podium.cli.terminal import output_console, print_table

if TYPE_CHECKING:
    from podium_client import RunExplanation

__all__ = ["explain", "show_explanation"]


def explain(
    run_id: RunId,
    *,
    simulate: Annotated[
        bool, typer.Option("--simulate", help="Show what it would take instead, under the options that follow.")
    ] = False,
    within: Annotated[
        float | None,
        typer.Option("--within", metavar="SECONDS", min=0.001, help="Would it end within this time?"),
    ] = None,
    takes: Annotated[
        list[str] | None,
        typer.Option("--takes", metavar="TOOL=SECONDS", help="What if this tool took so long? Several times, too."),
    ] = None,
    parallel: Annotated[
        int | None, typer.Option("--parallel", metavar="N", min=1, help="What if so many calls ran at once?")
    ] = None,
    as_json: AsJson = False,
    address: Address = None,
    api_key_env: ApiKeyEnv = None,
    tls: UseTls = False,
    tls_ca: TlsRoots = None,
) -> None:
    """Show where the time of a run went: what waited for what, and the path that decided when it ended.

    With --simulate, or one of its options, it shows what the run would take under other circumstances;
    nothing is run.
    """
    with reported():
        server = Server.of(address, api_key_env, tls, tls_ca)
        durations = _durations(takes or ())
    if not (simulate or within or durations or parallel):
        explained = ask(server, lambda podium: podium.explain_run(run_id))
        _print_json(explained.raw) if as_json else show_explanation(explained)
        return
    simulation = ask(
        server,
        lambda podium: podium.simulate_run(run_id, run_deadline=within, durations=durations, parallel_calls=parallel),
    )
    if as_json:
        _print_json(simulation.raw)
        return
    from podium.cli.explain_view import draw_simulation

    console = output_console()
    print_table(draw_simulation(simulation, width=console.width, ascii_only=console.options.ascii_only))


def show_explanation(explained: RunExplanation) -> None:
    """Print the picture of an explanation."""
    from podium.cli.explain_view import draw_explanation

    console = output_console()
    print_table(draw_explanation(explained, width=console.width, ascii_only=console.options.ascii_only))


def _print_json(raw: object) -> None:
    from google.protobuf.message import Message

    from podium.cli.event_json import message_object

    if isinstance(raw, Message):
        sys.stdout.write(json.dumps(message_object(raw), ensure_ascii=False, indent=2) + "\n")


def _durations(given: list[str] | tuple[str, ...]) -> dict[str, float]:
    durations = {}
    for each in given:
        tool, _, text = each.partition("=")
        try:
            durations[tool] = float(text)
        except ValueError:
            raise CommandFailed(
                f"--takes {each!r} is not TOOL=SECONDS", todo="such as --takes calculate=0.5", code=Exit.USAGE
            ) from None
    return durations
