"""The models of a running server: built from the settings, exchanged when these change."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from podium.app.model_parts import BuiltModel, ModelBuilder
from podium.errors import FailedPrecondition
from podium.inference.catalog import DynamicModels, RetiredModel
from podium.inference.embedded import EmbeddedModel
from podium.inference.routing.policy import Order, Route
from podium.inference.token_model import TokenModel
from podium.interceptors.call import current_call
from podium.observability.logging import get_logger
from podium.settings import ModelTable, RouteTable, Settings

__all__ = ["FleetChange", "ModelFleet"]

_log = get_logger("podium.models")
_CAPABLE_KINDS = frozenset({"openai", "anthropic", "trtllm"})


@dataclass(frozen=True, slots=True)
class FleetChange:
    """What an exchange did, by name."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Held:
    """A model and what it was built from: it is built anew when that has changed."""

    built: BuiltModel
    table: ModelTable
    source: tuple[Any, ...]


class ModelFleet:
    """Every configured model and route. An async context manager; leaving it closes all of them.

    Args:
        builder: makes models.
    """

    def __init__(self, builder: ModelBuilder) -> None:
        self._builder = builder
        self.catalog = DynamicModels(builder.breakers, allowed=self._may_name, deadline=_callers_deadline)
        self._held: dict[str, _Held] = {}
        self._retiring: set[asyncio.Task[None]] = set()
        self._exchange = asyncio.Lock()
        self._referencing: frozenset[str] = frozenset()
        self._routes: Mapping[str, Sequence[str]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._retiring:
            task.cancel()
        await asyncio.gather(*self._retiring, return_exceptions=True)
        held, self._held = self._held, {}
        await asyncio.gather(*(each.built.stack.aclose() for each in held.values()))

    @property
    def hosts(self) -> Mapping[str, EmbeddedModel]:
        """The models with engine hosts of ours, by name."""
        return {name: each.built.host for name, each in self._held.items() if each.built.host is not None}

    def token_model(self, name: str) -> TokenModel | None:
        """Return what takes token ids for the model of a name; None when it is no engine, or there is none."""
        held = self._held.get(name)
        return None if held is None else held.built.tokens

    def models_behind(self, name: str) -> Sequence[str]:
        """Return the names of the models that may answer for a model or route."""
        return self._routes.get(name, (name,))

    def writes_references(self, name: str) -> bool:
        """Return whether the model, or every model of the route, can be told to write dependent calls at once.

        Small models that are planned for are not told, and scripts are not read by anybody.
        """
        return name in self._referencing

    def _may_name(self, tenant: str, name: str) -> bool:
        held = self._held.get(name)
        tenants = () if held is None else held.table.tenants
        return not tenants or tenant in tenants

    async def apply(self, settings: Settings) -> FleetChange:
        """Make the models what the settings say. Turns that are going on end on the model they began with.

        Raises:
            FailedPrecondition: a model cannot be built as set; everything is left as it was.
        """
        async with self._exchange:
            wanted = {name: _source(name, settings) for name in settings.models}
            keep = {name: each for name, each in self._held.items() if wanted.get(name) == each.source}
            made = await self._made([name for name in wanted if name not in keep], settings, wanted)
            before = self._held
            after = {name: keep.get(name) or made[name] for name in wanted}
            try:
                retired = self.catalog.replace(
                    {name: each.built.model for name, each in after.items()},
                    [_route(name, table, settings) for name, table in settings.routes.items()],
                    default=settings.model_name,
                )
            except ValueError as error:
                await asyncio.gather(*(each.built.stack.aclose() for each in made.values()))
                raise FailedPrecondition(str(error)) from error
            self._held = after
            self._referencing = _referencing(settings)
            self._routes = {name: table.models for name, table in settings.routes.items()}
            self._retire(retired, before, settings.shutdown.seconds)
            return FleetChange(
                added=tuple(name for name in made if name not in before),
                changed=tuple(name for name in made if name in before),
                removed=tuple(name for name in before if name not in after),
            )

    async def _made(
        self, names: Sequence[str], settings: Settings, sources: Mapping[str, tuple[Any, ...]]
    ) -> dict[str, _Held]:
        made: dict[str, _Held] = {}
        async with AsyncExitStack() as undo:
            for name in names:
                built = await self._builder.build(name, settings)
                undo.push_async_callback(built.stack.aclose)
                made[name] = _Held(built, settings.models[name], sources[name])
            undo.pop_all()
        return made

    def _retire(self, retired: Sequence[RetiredModel], before: Mapping[str, _Held], seconds: float) -> None:
        for each in retired:
            held = before[each.model.name]
            task = asyncio.create_task(self._close(each, held.built, seconds), name=f"retire-{each.model.name}")
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)

    async def _close(self, retired: RetiredModel, built: BuiltModel, seconds: float) -> None:
        """Close a model after its last turn, or when that takes too long."""
        try:
            if not await retired.wait_idle(seconds):
                _log.warning("a removed model is closed with turns going on", model=retired.model.name)
        finally:
            await built.stack.aclose()


def _referencing(settings: Settings) -> frozenset[str]:
    if not settings.run.references:
        return frozenset()
    models = {name for name, table in settings.models.items() if table.kind in _CAPABLE_KINDS}
    routes = {name for name, table in settings.routes.items() if models.issuperset(table.models)}
    return frozenset(models | routes)


def _source(name: str, settings: Settings) -> tuple[Any, ...]:
    """Return everything that a model is built from."""
    table = settings.models[name]
    return (
        table,
        settings.llm,
        settings.engine,
        settings.tensorrt,
        settings.deadlines,
        settings.limits.service_limits,
        settings.storage.models_dir,
    )


def _route(name: str, table: RouteTable, settings: Settings) -> Route:
    try:
        return Route(
            name=name,
            models=table.models,
            order=Order(table.order),
            first_output_seconds=table.first_output_seconds,
            total_seconds=settings.deadlines.llm_seconds,
        )
    except ValueError as error:
        raise FailedPrecondition(f"routes.{name}: {error}") from error


def _callers_deadline() -> float | None:
    call = current_call.get()
    return None if call is None else call.deadline
