"""`podium config`: what is set, where it comes from, and whether a server could start with it."""

# ruff: noqa: PLC0415  commands import what they need when they run

from __future__ import annotations

from typing import Annotated

import typer

from podium.cli.failures import reported
from podium.cli.options import ConfigFile
from podium.cli.terminal import clean, print_table

__all__ = ["app"]

app = typer.Typer(help="Check and show the settings.", no_args_is_help=True)


@app.command()
def check(config: ConfigFile = None) -> None:
    """Check the settings and list everything that is wrong with them; exit code 2 if anything is."""
    with reported():
        from podium.settings import check_bind, load_settings

        loaded = load_settings(config=config)
        check_bind(loaded.settings)
    for notice in loaded.notices:
        typer.echo(f"note: {clean(notice)}", err=True)
    read = f"{loaded.config_file} and the environment" if loaded.config_file else "the environment"
    typer.echo(f"The settings from {read} are good.")


@app.command()
def show(
    config: ConfigFile = None,
    changed: Annotated[bool, typer.Option("--changed", help="Only what was given, not the defaults.")] = False,
) -> None:
    """Show every setting, its value and where that came from; secrets are hidden."""
    from rich.table import Table
    from rich.text import Text

    with reported():
        from podium.settings import load_settings
        from podium.settings.rendering import render

        rows = [row for row in render(load_settings(config=config)) if row.given or not changed]
    table = Table("setting", "value", "from", box=None, pad_edge=False)
    table.columns[0].no_wrap = True
    for row in rows:
        style = "bold" if row.given else "dim"
        table.add_row(Text(row.path, style), Text(clean(row.value), style), Text(clean(row.origin), style))
    print_table(table)
