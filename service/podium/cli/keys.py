"""`podium keys`: the API keys of one data directory. A running server sees a change within a second."""

# ruff: noqa: PLC0415  commands import what they need when they run

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from podium.cli.failures import CommandFailed, Exit, reported
from podium.cli.options import ConfigFile, DataDir
from podium.cli.terminal import print_table

if TYPE_CHECKING:
    from podium.security.key_store import KeyStore

__all__ = ["app"]

app = typer.Typer(help="Create, list and revoke API keys.", no_args_is_help=True)

Scope = Annotated[
    list[str] | None,
    typer.Option(
        "--scope",
        "-s",
        metavar="NAME",
        help="run, infer, tools, read or admin; may be given several times.",
        show_default="run, read",
    ),
]
DEFAULT_SCOPES = ("run", "read")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@app.command()
def create(
    *,
    scope: Scope = None,
    name: Annotated[str, typer.Option("--name", help="A note for yourself, such as who uses it.")] = "",
    tenant: Annotated[str, typer.Option("--tenant", help="The tenant that its holder works for.")] = "default",
    expires: Annotated[
        str | None, typer.Option("--expires", metavar="30d", help="How long it is good for: a number and s, m, h or d.")
    ] = None,
    data_dir: DataDir = None,
    config: ConfigFile = None,
) -> None:
    """Create a key and print it on standard output; it cannot be shown again."""
    with reported():
        token, key = _store(data_dir, config, make=True).create(
            frozenset(scope or DEFAULT_SCOPES), tenant=tenant, name=name, valid_seconds=_seconds(expires)
        )
        typer.echo(token)
        until = f"until {_day(key.expires)}" if key.expires is not None else "for ever"
        typer.echo(
            f"Key {key.id} may do {', '.join(sorted(key.scopes))}, for tenant {key.tenant}, {until}."
            " Keep it safe: this is the only time it is shown.",
            err=True,
        )


@app.command("list")
def list_keys(data_dir: DataDir = None, config: ConfigFile = None) -> None:
    """List the keys; their secrets are not kept."""
    from rich.table import Table

    with reported():
        store = _store(data_dir, config)
        table = Table("id", "state", "scopes", "tenant", "name", "created", "expires", box=None, pad_edge=False)
        for key in store.list():
            table.add_row(
                key.id,
                key.state(store.now()),
                " ".join(sorted(key.scopes)),
                key.tenant,
                key.name,
                _day(key.created),
                _day(key.expires) if key.expires is not None else "never",
            )
    if table.row_count:
        print_table(table)
    else:
        typer.echo("There are no keys yet; `podium keys create` makes one.", err=True)


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The 8 characters between the underscores.")],
    data_dir: DataDir = None,
    config: ConfigFile = None,
) -> None:
    """Withdraw a key for good."""
    with reported():
        whole = re.fullmatch(r"pdm_([0-9A-Za-z]{8})_.*", key_id)
        key = _store(data_dir, config).revoke(whole[1] if whole else key_id)
        typer.echo(f"Key {key.id} is revoked.")


def _store(data_dir: Path | None, config: Path | None, *, make: bool = False) -> KeyStore:
    from podium.security.key_store import KeyFileError, KeyStore
    from podium.settings import load_settings

    loaded = load_settings(config=config, flags={"storage.data_dir": data_dir})
    directory = loaded.settings.storage.data_dir
    if make:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not directory.is_dir():
        raise CommandFailed(
            f"there is no data directory {directory}", todo="name the server's with --data-dir", code=Exit.USAGE
        )
    try:
        return KeyStore(directory)
    except KeyFileError as error:
        raise CommandFailed(str(error), code=Exit.USAGE) from error


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,6})([smhd])", text.strip())
    if match is None or int(match[1]) == 0:
        raise CommandFailed("--expires is a number and s, m, h or d, such as 30d", code=Exit.USAGE)
    return float(int(match[1]) * _UNITS[match[2]])


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
