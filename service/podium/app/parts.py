"""Builds the parts of the application that have a choice in them: models and tools."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

from podium.errors import FailedPrecondition
from podium.inference.catalog import ConfiguredModels
from podium.inference.embedded import EmbeddedModel
from podium.inference.model_store import ModelStore
from podium.inference.scripted import ScriptedModel, load_script_file
from podium.orchestration.chat import ChatModel
from podium.orchestration.limits import ConcurrencyLimits
from podium.orchestration.orchestrator import OrchestratorLimits
from podium.orchestration.runner import RunnerLimits
from podium.packs.core import CorePackConfig, core_pack
from podium.resilience.breakers import Breakers
from podium.resilience.guarded import GuardedModel
from podium.settings import EmbeddedModel as EmbeddedSettings
from podium.settings import EngineSettings, Settings
from podium.tools.registry import ToolRegistrationError, ToolRegistry, load_registry

__all__ = ["build_models", "build_tools", "concurrency_limits", "model_path", "orchestrator_limits"]


async def build_models(
    settings: Settings,
    registry: ToolRegistry,
    breakers: Breakers,
    stack: AsyncExitStack,
    *,
    on_change: Callable[[EmbeddedModel], None],
    first_output: Callable[[str, float], None],
) -> tuple[ConfiguredModels, Mapping[str, EmbeddedModel]]:
    """Build every configured model; return all of them, and those that have hosts of ours.

    Hosts start loading and are ready later.

    Raises:
        FailedPrecondition: a model's file is missing or wrong; the message says what to do.
    """
    models: dict[str, ChatModel] = {}
    hosted: dict[str, EmbeddedModel] = {}
    for name, table in settings.models.items():
        if isinstance(table, EmbeddedSettings):
            embedded = _embedded(name, table, settings, registry, on_change)
            model: ChatModel = await stack.enter_async_context(embedded)
            hosted[name] = embedded
        else:
            try:
                model = ScriptedModel(name, load_script_file(table.file))
            except ValueError as error:
                raise FailedPrecondition(f"models.{name}: {error}") from error
        models[name] = GuardedModel(model, breakers, first_output=first_output)
    return ConfiguredModels(models, default=settings.default_model or next(iter(models))), hosted


def model_path(name: str, model: str, models_dir: Path | None = None) -> Path:
    """Return where an embedded model lies: a path as it is, a name in the user's cache.

    Raises:
        FailedPrecondition: there is nothing there; the message says how to get it.
    """
    as_path = Path(model).expanduser()
    if as_path.suffix == ".gguf" or len(as_path.parts) > 1:
        if not as_path.exists():
            raise FailedPrecondition(f"models.{name}.model: there is no file or folder {model!r}")
        return as_path
    stored = ModelStore(models_dir).find(model)
    if stored is None:
        raise FailedPrecondition(
            f"models.{name}.model: {model!r} has not been fetched yet; run `podium models pull` "
            "(`podium models pull --from FILE` where the package index is out of reach)"
        )
    return stored.path


async def build_tools(settings: Settings, stack: AsyncExitStack) -> ToolRegistry:
    """Build the registry of all tools.

    Raises:
        FailedPrecondition: tools cannot be loaded, or a setting of theirs is wrong.
    """
    tools = settings.tools
    config = CorePackConfig(
        folders=(tools.workspace, *tools.folders),
        most_file_bytes=tools.max_file_bytes,
        most_query_chars=tools.max_query_chars,
        http_hosts=tools.http_hosts,
        http_internal_hosts=tools.http_internal_hosts,
        http_timeout=settings.deadlines.http_seconds,
    )
    try:
        pack = core_pack(config)
        stack.callback(pack.close)
        # Large libraries are loaded now and off the loop, not when the first call needs them.
        await asyncio.to_thread(pack.warm)
        return load_registry(
            python_modules=tools.python, packs=[pack], default_timeout_seconds=settings.deadlines.tool_seconds
        )
    except (ToolRegistrationError, ValueError) as error:
        raise FailedPrecondition(str(error)) from error


def concurrency_limits(settings: Settings) -> ConcurrencyLimits:
    """Return how many tool calls may work at once, as set."""
    run = settings.run
    return ConcurrencyLimits(per_process=run.parallel_process, per_run=run.parallel, per_type=run.parallel_type)


def orchestrator_limits(settings: Settings) -> OrchestratorLimits:
    """Return the bounds of runs as set."""
    run = settings.run
    return OrchestratorLimits(
        runner=RunnerLimits(max_calls=run.max_calls, max_turns=run.max_turns, max_tokens=run.max_tokens),
        max_active_runs=run.max_active,
        run_seconds=settings.deadlines.run_seconds,
        max_input_chars=run.max_input_chars,
    )


def _embedded(
    name: str,
    table: EmbeddedSettings,
    settings: Settings,
    registry: ToolRegistry,
    on_change: Callable[[EmbeddedModel], None],
) -> EmbeddedModel:
    return EmbeddedModel(
        name,
        model_path(name, table.model, settings.storage.models_dir),
        tools=registry.list(),
        engine=table.engine,
        options=_host_options(settings.engine),
        nice=settings.engine.nice,
        start_seconds=settings.engine.start_seconds,
        turn_seconds=settings.deadlines.llm_seconds,
        on_change=on_change,
    )


def _host_options(engine: EngineSettings) -> tuple[str, ...]:
    return (
        "--threads", str(engine.threads),
        "--max-active", str(engine.max_active),
        "--max-waiting", str(engine.max_waiting),
        "--kv-cache-tokens", str(engine.kv_cache_tokens),
    )  # fmt: skip
