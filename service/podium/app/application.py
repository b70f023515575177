"""Builds a whole Podium and runs it inside one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from functools import partial
from types import TracebackType
from typing import Self

import grpc.aio
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
from grpc_reflection.v1alpha import reflection

import podium
from podium.app.chain import build_breakers, build_chain, current_caller
from podium.app.core_parts import build_services, core_figures
from podium.app.drain import drain
from podium.app.fleet import FleetChange, ModelFleet
from podium.app.grpc_server import bind, server_options
from podium.app.memory import watch_memory
from podium.app.model_parts import ModelBuilder
from podium.app.parts import build_tools, orchestrator_limits
from podium.app.run_observer import RunReporter
from podium.errors import FailedPrecondition, Unavailable
from podium.ids import Ids
from podium.inference.embedded import EmbeddedModel
from podium.inference.supervisor import HostState
from podium.inference.tool_results import KeptResults
from podium.interceptors.drain import Drain
from podium.observability.checks import HealthChecks, HealthReport, Outcome, Status
from podium.observability.logging import LogPipeline, get_logger
from podium.observability.loop_lag import LoopLag
from podium.observability.metrics import EngineState, Metrics
from podium.observability.ops_http import OpsHttp
from podium.orchestration.chat import ChatModel
from podium.orchestration.core import Services
from podium.orchestration.orchestrator import Orchestrator
from podium.resilience.breakers import Breakers
from podium.resilience.guarded import GuardedExecutor
from podium.rpc.clarification_service import ClarificationServicer
from podium.rpc.health_service import HealthServicer
from podium.rpc.inference_service import InferenceServicer
from podium.rpc.orchestrator_service import OrchestratorServicer
from podium.rpc.standard_health import ServingBoard, StandardHealthServicer
from podium.rpc.tool_service import ToolServicer
from podium.settings import Loaded, Settings
from podium.store.memory import MemoryRunStore
from podium.tools.execution import LocalToolExecutor
from podium.tools.registry import ToolRegistry
from podium.v1 import clarification_pb2, health_pb2, inference_pb2, orchestrator_pb2, tool_pb2
from podium.v1.clarification_pb2_grpc import add_ClarificationServiceServicer_to_server
from podium.v1.health_pb2_grpc import add_HealthServiceServicer_to_server
from podium.v1.inference_pb2_grpc import add_InferenceServiceServicer_to_server
from podium.v1.orchestrator_pb2_grpc import add_OrchestratorServiceServicer_to_server
from podium.v1.tool_pb2_grpc import add_ToolServiceServicer_to_server

__all__ = ["Application"]

_log = get_logger("podium.app")

_SERVICES = tuple(
    module.DESCRIPTOR.services_by_name[name].full_name
    for module, name in (
        (orchestrator_pb2, "OrchestratorService"),
        (clarification_pb2, "ClarificationService"),
        (inference_pb2, "InferenceService"),
        (tool_pb2, "ToolService"),
        (health_pb2, "HealthService"),
    )
)
# These answer whether or not the default model can.
_ALWAYS_SERVING = frozenset({"podium.v1.HealthService", "podium.v1.ToolService"})
_HOST_STATES = {
    HostState.STARTING: EngineState.STARTING,
    HostState.READY: EngineState.READY,
    HostState.RESTARTING: EngineState.BACKOFF,
    HostState.FAILED: EngineState.BACKOFF,
    HostState.STOPPED: EngineState.STOPPED,
}


class Application:
    """A server with all its parts. An async context manager; entering starts everything.

    After entering, the server takes calls; `OrchestratorService` and `InferenceService` are SERVING
    once the default model can answer.

    Args:
        loaded: the settings.
        log: the log pipeline, whose masker serves the whole process.

    Raises:
        FailedPrecondition: (on entering) something it needs is missing or taken; says what to do.
    """

    def __init__(self, loaded: Loaded, log: LogPipeline) -> None:
        self.settings: Settings = loaded.settings
        self._log_pipeline = log
        self._stack = AsyncExitStack()
        self._restarts: dict[str, int] = {}
        self.addresses: list[str] = []
        self.ops_address = ""

    @property
    def address(self) -> str:
        """The first gRPC address, as a client writes it."""
        return self.addresses[0]

    async def __aenter__(self) -> Self:
        try:
            await self._build()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def wait_ready(self, seconds: float) -> None:
        """Wait until the default model can answer.

        Raises:
            Unavailable: it cannot within that time; the message says what is the matter.
        """
        try:
            async with asyncio.timeout(seconds):
                while not self._board.serving(""):
                    await self._board.changed()
        except TimeoutError:
            reasons = "; ".join(self._checks.report().reasons)
            raise Unavailable(f"the server is not ready after {seconds:g} s: {reasons}") from None

    @property
    def embedded(self) -> Mapping[str, EmbeddedModel]:
        """The models whose engine hosts are ours, by name."""
        return self._fleet.hosts

    async def reload(self, loaded: Loaded) -> FleetChange:
        """Take over the models, routes and default model of new settings; everything else needs a restart.

        Raises:
            FailedPrecondition: a model cannot be built as set; everything is left as it was.
        """
        change = await self._fleet.apply(loaded.settings)
        self._metrics.models.declare(loaded.settings.models)
        self._check_models()
        await self._checks.check_now()
        return change

    async def drain(self, *, force: asyncio.Event) -> bool:
        """End the service gracefully; see `podium.app.drain`. Returns whether every call ended by itself."""
        return await drain(
            board=self._board,
            checks=self._checks,
            draining=self._draining,
            chain=self._chain,
            server=self._server,
            seconds=self.settings.shutdown.seconds,
            force=force,
        )

    async def _build(self) -> None:
        """Build every part in order; each that has an end is closed in reverse."""
        settings, stack = self.settings, self._stack
        ids = Ids()
        self._metrics = Metrics.create(
            version=podium.__version__,
            environment=settings.environment,
            max_label_values=settings.metrics.max_label_values,
        )
        lag = await stack.enter_async_context(LoopLag())
        self._metrics.watch(lag=lag, log=self._log_pipeline)
        self._board = ServingBoard(_SERVICES)
        self._checks = HealthChecks(
            version=podium.__version__,
            interval=settings.health.interval_seconds,
            lag=lag,
            stuck_after=settings.health.stuck_seconds,
        )

        registry = await build_tools(settings, stack)
        self._metrics.tools.declare(spec.name for spec in registry.list())
        breakers = build_breakers(settings, self._metrics.breakers)
        local = await stack.enter_async_context(
            LocalToolExecutor(
                registry,
                threads=settings.tools.threads,
                max_result_bytes=settings.tools.max_result_bytes,
                redact=self._log_pipeline.masker.mask,
            )
        )
        executor = GuardedExecutor(local, breakers, seconds_of=partial(_own_limit, registry))
        await self._build_models(registry, breakers)
        long_results = KeptResults(settings.tools.shown_result_chars)
        services = await build_services(
            settings, executor, long_results, stack, models_behind=self._fleet.models_behind
        )
        self._metrics.watch(core=partial(core_figures, services))
        orchestrator = await stack.enter_async_context(
            Orchestrator(
                models=self.models,
                tools=registry,
                services=services,
                store=MemoryRunStore(max_runs=settings.run.retained),
                new_run_id=ids.run_id,
                limits=orchestrator_limits(settings),
                references=self._fleet.writes_references,
                observers=[RunReporter(self._metrics)],
            )
        )
        await stack.enter_async_context(watch_memory(settings, services, orchestrator, self._metrics))
        self._draining = Drain()
        self._chain = build_chain(
            settings,
            ids=ids,
            metrics=self._metrics,
            breakers=breakers,
            drain=self._draining,
            log=self._log_pipeline,
        )
        stack.callback(self._chain.close)
        self._server = self._build_server(orchestrator, registry, services, ids)
        self.addresses = bind(self._server, settings.server)
        await self._watch_health(stack)
        self._serve_ops(stack)
        await self._server.start()
        # Whatever way the application is left, calls do not outlive the parts that they use.
        stack.push_async_callback(self._server.stop, 0)

    async def _build_models(self, registry: ToolRegistry, breakers: Breakers) -> None:
        builder = ModelBuilder(
            tools=lambda: tuple(registry.list()),
            breakers=breakers,
            host_changed=self._host_changed,
            model_changed=self._model_changed,
            first_output=self._metrics.models.first_token,
        )
        self._fleet = await self._stack.enter_async_context(ModelFleet(builder))
        await self._fleet.apply(self.settings)
        self.models = self._fleet.catalog
        self._metrics.models.declare(self.settings.models)

    def _build_server(
        self,
        orchestrator: Orchestrator,
        registry: ToolRegistry,
        services: Services,
        ids: Ids,
    ) -> grpc.aio.Server:
        server = grpc.aio.server(
            interceptors=[self._chain],
            options=server_options(self.settings.server),
            maximum_concurrent_rpcs=self.settings.server.maximum_concurrent_rpcs,
        )
        caller = current_caller
        inference = InferenceServicer(
            self.models, caller, find_tool=registry.get, token_model=self._fleet.token_model, turns=self._metrics.models
        )
        currency = self.settings.budgets.currency
        servicer = OrchestratorServicer(orchestrator, caller, currency=currency)
        add_OrchestratorServiceServicer_to_server(servicer, server)
        add_ClarificationServiceServicer_to_server(ClarificationServicer(orchestrator, caller), server)
        add_InferenceServiceServicer_to_server(inference, server)
        add_ToolServiceServicer_to_server(ToolServicer(registry, services, caller, ids.run_id), server)
        add_HealthServiceServicer_to_server(HealthServicer(self._checks), server)
        add_HealthServicer_to_server(StandardHealthServicer(self._board), server)
        if self.settings.server.reflection:
            names = (*_SERVICES, "grpc.health.v1.Health", reflection.SERVICE_NAME)
            reflection.enable_server_reflection(names, server)
        return server

    async def _watch_health(self, stack: AsyncExitStack) -> None:
        """Check the models now and then, and show on the board whether the default one can answer."""
        self._check_models()
        self._checks.on_change(self._show_health)
        for service in _ALWAYS_SERVING:
            self._board.set(service, True)
        await self._checks.check_now()
        await stack.enter_async_context(self._checks)

    def _check_models(self) -> None:
        """Let health know every model and route that there is now, and which of them it needs."""
        models = {f"model:{model.name}": model for model in self.models.list()}
        needed = f"model:{self.models.default}"
        for gone in [name for name in self._checks.components if name.startswith("model:") and name not in models]:
            self._checks.remove(gone)
        for name, model in models.items():
            if name not in self._checks.components:
                self._checks.add(name, partial(_model_outcome, model), optional=name != needed)
            self._checks.require(name, optional=name != needed)

    def _show_health(self, report: HealthReport) -> None:
        for service in ("", *_SERVICES):
            if service not in _ALWAYS_SERVING:
                self._board.set(service, report.ready)

    def _host_changed(self, model: EmbeddedModel) -> None:
        name, status = model.name, model.host
        self._metrics.engines.changed(name, _HOST_STATES[status.state])
        for _ in range(status.restarts - self._restarts.get(name, 0)):
            self._metrics.engines.restarted(name)
        self._restarts[name] = status.restarts
        component = f"model:{name}"
        if component in self._checks.components:
            outcome = Outcome() if model.ready else Outcome(Status.UNHEALTHY, model.why_not_ready())
            self._checks.set(component, outcome.status, outcome.detail)
            self._checks.check_soon()  # routes over it

    def _model_changed(self, name: str) -> None:
        _log.info("model ready", model=name)
        self._checks.check_soon()

    def _serve_ops(self, stack: AsyncExitStack) -> None:
        ops = self.settings.ops
        if not ops.enabled:
            return
        host, _, port = ops.listen.rpartition(":")
        try:
            http = OpsHttp(host=host.strip("[]"), port=int(port), registry=self._metrics.registry, health=self._checks)
        except OSError as error:
            raise FailedPrecondition(
                f"cannot listen on {ops.listen} for metrics and health: {error.strerror}; "
                "stop what uses it, or choose another address (--ops-listen)"
            ) from error
        stack.enter_context(http)
        self.ops_address = "{}:{}".format(*http.address)


def _own_limit(registry: ToolRegistry, tool: str) -> float | None:
    spec = registry.get(tool)
    return None if spec is None else spec.timeout_seconds


async def _model_outcome(model: ChatModel) -> Outcome:
    info = await model.info()
    return Outcome() if info.ready else Outcome(Status.UNHEALTHY, info.detail)
