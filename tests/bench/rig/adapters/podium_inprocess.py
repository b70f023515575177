"""Podium in process: the orchestrator built from the product's own parts, on the same event loop as the libraries."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path

from bench.rig.adapters.serving import cancel_task, main
from bench.rig.podium_settings import MODEL, TOOLS_MODULE, flags
from bench.rig.workloads import tools_of
from podium.app.chain import build_breakers
from podium.app.core_parts import build_services
from podium.app.model_parts import ModelBuilder
from podium.app.parts import orchestrator_limits
from podium.ids import Ids
from podium.inference.tool_results import KeptResults
from podium.observability.metrics import Metrics
from podium.orchestration.chat import ChatModel
from podium.orchestration.events import RunEnded, RunSpec
from podium.orchestration.orchestrator import Orchestrator, Submitter
from podium.resilience.guarded import GuardedExecutor
from podium.settings import load_settings
from podium.store.memory import MemoryRunStore
from podium.tools.execution import LocalToolExecutor
from podium.tools.registry import load_registry


class _OneModel:
    """A catalogue of one model."""

    def __init__(self, model: ChatModel) -> None:
        self._model = model
        self.default = model.name

    def get(self, name: str) -> ChatModel:
        return self._model

    def list(self) -> list[ChatModel]:
        return [self._model]

    def for_tenant(self, tenant: str) -> _OneModel:
        return self


async def build(base_url: str, directory: Path, stack: AsyncExitStack) -> Orchestrator:
    """Build the orchestrator as the application does, without what belongs to the server."""
    settings = load_settings(environ={}, flags=flags(base_url, directory)).settings
    metrics = Metrics.create(version="bench", environment="bench", max_label_values=100)
    breakers = build_breakers(settings, metrics.breakers)
    registry = load_registry(python_modules=[TOOLS_MODULE], entry_points=False)
    local = LocalToolExecutor(registry, max_result_bytes=settings.tools.max_result_bytes)
    executor = GuardedExecutor(await stack.enter_async_context(local), breakers)
    builder = ModelBuilder(
        tools=lambda: tuple(registry.list()),
        breakers=breakers,
        host_changed=lambda _: None,
        model_changed=lambda _: None,
        first_output=lambda _name, _seconds: None,
    )
    built = await builder.build(MODEL, settings)
    stack.push_async_callback(built.stack.aclose)
    services = await build_services(
        settings,
        executor,
        KeptResults(settings.tools.shown_result_chars),
        stack,
        models_behind=lambda name: (name,),
    )
    orchestrator = Orchestrator(
        models=_OneModel(built.model),
        tools=registry,
        services=services,
        store=MemoryRunStore(max_runs=settings.run.retained),
        new_run_id=Ids().run_id,
        limits=orchestrator_limits(settings),
        references=lambda _model: settings.run.references,
    )
    return await stack.enter_async_context(orchestrator)


class InProcess:
    """The orchestrator and one submitter."""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self._orchestrator = orchestrator
        self._by = Submitter(owner="bench", tenant="bench")

    async def run(self, script: str) -> str:
        spec = RunSpec(input=script, tools=tools_of(script))
        ended = None
        async with aclosing(self._orchestrator.stream(spec, self._by)) as events:
            async for event in events:
                if isinstance(event.kind, RunEnded):
                    ended = event.kind
        if ended is None or ended.failure is not None:
            raise RuntimeError(f"the run failed: {ended and ended.failure}")
        return ended.answer

    async def cancelled(self, script: str, seconds: float) -> tuple[int, int]:
        return await cancel_task(self.run(script), seconds)


@asynccontextmanager
async def opened(base_url: str) -> AsyncIterator[InProcess]:
    with tempfile.TemporaryDirectory() as folder:
        async with AsyncExitStack() as stack:
            yield InProcess(await build(base_url, Path(folder), stack))


if __name__ == "__main__":
    main(opened, "podium")
