"""The program: every command in its place."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from podium.cli import (
    chat,
    config,
    doctor,
    engine,
    explain,
    health,
    keys,
    models,
    questions,
    run,
    serve,
    tools,
    version,
    watch,
)
from podium.cli.failures import show_traceback

__all__ = ["app"]

app = typer.Typer(
    help="Podium plans, runs and streams the tool calls behind a plain-language request.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(run.run)
app.command()(watch.watch)
app.command()(explain.explain)
app.command()(questions.questions)
app.command()(questions.answer)
app.command()(chat.chat)
app.command()(serve.serve)
app.command()(health.health)
app.add_typer(tools.app, name="tools")
app.add_typer(models.app, name="models")
app.add_typer(keys.app, name="keys")
app.add_typer(config.app, name="config")
app.add_typer(doctor.app, name="doctor")
app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    options_metavar="--engine NAME --model PATH --listen ADDRESS ...",
)(engine.engine)
app.command()(version.version)


@app.callback()
def program(
    traceback: Annotated[
        bool, typer.Option("--traceback", help="Show where an error was raised.", hidden=True)
    ] = False,
) -> None:
    """Podium plans, runs and streams the tool calls behind a plain-language request."""
    show_traceback.set(traceback)
    # gRPC writes to standard error by itself, such as a line for each connection that a server ends, and
    # reads this when it is imported, which is later.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
