"""The configured models by name and alias. They may change while requests are served."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from difflib import get_close_matches

from podium.errors import FailedPrecondition, NotFound, PermissionDenied
from podium.inference.routing.latency import LatencyBook
from podium.inference.routing.policy import RemoteAllowed, Route
from podium.inference.routing.router import RoutedModel
from podium.orchestration.chat import ChatEvent, ChatModel, ChatRequest, ModelCatalog, ModelInfo, TokenCount
from podium.resilience.breakers import Breakers

__all__ = ["Allowed", "DynamicModels", "RetiredModel"]

Allowed = Callable[[str, str], bool]
"""Whether a tenant may name a model: `allowed(tenant, name)`, with the model's or route's own name."""


class _Entry:
    """A model with the number of its turns that are going on."""

    def __init__(self, model: ChatModel) -> None:
        self.model = model
        self.name = model.name
        self.turns = 0
        self.retired = False
        self.idle = asyncio.Event()
        self.idle.set()

    async def info(self) -> ModelInfo:
        """Describe the model."""
        return await self.model.info()

    async def count_tokens(self, request: ChatRequest) -> TokenCount:
        """Count a prompt's tokens, as a turn of its own."""
        self._begin()
        try:
            return await self.model.count_tokens(request)
        finally:
            self._end()

    async def stream(self, request: ChatRequest) -> AsyncIterator[ChatEvent]:
        """Stream one turn and count it while it lasts."""
        self._begin()
        try:
            async with aclosing(self.model.stream(request)) as events:  # type: ignore[type-var]
                async for event in events:
                    yield event
        finally:
            self._end()

    def _begin(self) -> None:
        if self.retired and not self.turns:
            raise _removed(self.name)  # its owner may have closed it
        self.turns += 1
        self.idle.clear()

    def _end(self) -> None:
        self.turns -= 1
        if not self.turns:
            self.idle.set()


@dataclass(frozen=True, slots=True)
class RetiredModel:
    """A model that was removed. Its owner closes it once it is idle."""

    model: ChatModel
    _entry: _Entry = field(repr=False)

    @property
    def turns(self) -> int:
        """How many of its turns are still going on."""
        return self._entry.turns

    async def wait_idle(self, seconds: float) -> bool:
        """Wait until its last turn has ended, but no longer than this; say whether it has."""
        try:
            async with asyncio.timeout(seconds):
                await self._entry.idle.wait()
        except TimeoutError:
            return False
        return True


@dataclass(frozen=True, slots=True)
class _Contents:
    """Everything that a request looks up, exchanged as one."""

    entries: Mapping[str, _Entry] = field(default_factory=dict)
    routes: Mapping[str, RoutedModel] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    default: str = ""

    def names(self) -> list[str]:
        """Return the names of models and routes, sorted."""
        return sorted({*self.entries, *self.routes})

    def own_name(self, name: str) -> str:
        """Return the name that an alias stands for."""
        if self.find(name) is not None:
            return name  # also "default", where something is really called so
        wanted = self.default if name in ("", "default") else name
        return self.aliases.get(wanted, wanted)

    def find(self, name: str) -> ChatModel | None:
        """Return the model or route of that very name."""
        route = self.routes.get(name)
        return self.entries.get(name) if route is None else route

    def aliases_of(self, name: str) -> tuple[str, ...]:
        """Return what else the model may be called."""
        others = {alias for alias, target in self.aliases.items() if target == name}
        if name == self.default and self.find("default") is None:
            others.add("default")
        return tuple(sorted(others))


class _Handle:
    """What a request holds: a name, looked up at each turn, so that a run goes on with a replaced model."""

    def __init__(self, catalog: DynamicModels, name: str) -> None:
        self.name = name
        self._catalog = catalog

    async def info(self) -> ModelInfo:
        """Describe the model."""
        contents = self._catalog.contents
        model = contents.find(self.name)
        if model is None:
            return ModelInfo(name=self.name, kind="removed", ready=False, detail="it was removed")
        return replace(await model.info(), aliases=contents.aliases_of(self.name))

    async def count_tokens(self, request: ChatRequest) -> TokenCount:
        """Count a prompt's tokens; see `ChatModel.count_tokens`."""
        return await self._model().count_tokens(request)

    async def stream(self, request: ChatRequest) -> AsyncIterator[ChatEvent]:
        """Stream one turn; see `ChatModel.stream`.

        Raises:
            FailedPrecondition: the model was removed since it was looked up.
        """
        async with aclosing(self._model().stream(request)) as events:  # type: ignore[type-var]
            async for event in events:
                yield event

    def _model(self) -> ChatModel:
        model = self._catalog.contents.find(self.name)
        if model is None:
            raise _removed(self.name)
        return model


class DynamicModels:
    """A `ModelCatalog` whose models, routes and aliases may be exchanged at any time.

    Starts empty. A turn that has begun ends on the model it began with; the next turn of a run looks
    the name up again.

    Args:
        breakers: where the breakers of the models are kept.
        remote_allowed: whether a tenant's requests may leave this machine.
        allowed: which models a tenant may name, for `for_tenant`.
        deadline: the loop time at which the present caller gives up, or None.
    """

    def __init__(
        self,
        breakers: Breakers,
        *,
        remote_allowed: RemoteAllowed = lambda _tenant: True,
        allowed: Allowed = lambda _tenant, _name: True,
        deadline: Callable[[], float | None] = lambda: None,
    ) -> None:
        self._breakers = breakers
        self._remote_allowed = remote_allowed
        self._allowed = allowed
        self._deadline = deadline
        self._latencies = LatencyBook()
        self.contents = _Contents()

    def replace(
        self,
        models: Mapping[str, ChatModel],
        routes: Sequence[Route] = (),
        *,
        default: str,
        aliases: Mapping[str, str] | None = None,
    ) -> Sequence[RetiredModel]:
        """Exchange everything at once. A model object that stays keeps its turns and is not retired.

        Args:
            models: by name, guarded by the catalog's breakers.
            routes: over these models.
            default: name of the model or route for requests that name none.
            aliases: further names of models and routes.

        Returns:
            the models that were removed, for their owner to close when they are idle.

        Raises:
            ValueError: names collide, or name nothing; nothing was changed.
        """
        old = self.contents.entries
        entries = {
            name: old[name] if name in old and old[name].model is model else _Entry(model)
            for name, model in sorted(models.items())
        }
        names = _checked_names(models, routes, aliases or {}, default)
        routed = {route.name: self._routed(route, entries) for route in routes}
        self.contents = _Contents(entries, routed, names, default)
        self._latencies.keep(entries)
        retired = [entry for name, entry in old.items() if entries.get(name) is not entry]
        for entry in retired:
            entry.retired = True
        return [RetiredModel(entry.model, entry) for entry in retired]

    @property
    def default(self) -> str:
        """Name of the model used when a request names none."""
        return self.contents.default

    def get(self, name: str) -> ChatModel:
        """Return a model or route; an empty name or `default` means the default one.

        Raises:
            NotFound: nothing has this name or alias; the message names what exists.
        """
        own = self.contents.own_name(name)
        if self.contents.find(own) is None:
            raise _not_found(name, [*self.contents.names(), *self.contents.aliases])
        return _Handle(self, own)

    def list(self) -> Sequence[ChatModel]:
        """Return every model and route, by name."""
        return [_Handle(self, name) for name in self.contents.names()]

    def for_tenant(self, tenant: str) -> ModelCatalog:
        """Return the catalog as a tenant may use it."""
        return _TenantModels(self, tenant, self._allowed)

    def _routed(self, route: Route, entries: Mapping[str, _Entry]) -> RoutedModel:
        return RoutedModel(
            route,
            [entries[name] for name in route.models],
            breakers=self._breakers,
            latencies=self._latencies,
            remote_allowed=self._remote_allowed,
            deadline=self._deadline,
        )


class _TenantModels:
    """A catalog that shows a tenant what the tenant may name."""

    def __init__(self, catalog: DynamicModels, tenant: str, allowed: Allowed) -> None:
        self._catalog = catalog
        self._tenant = tenant
        self._allowed = allowed

    @property
    def default(self) -> str:
        """Name of the model used when a request names none."""
        return self._catalog.default

    def get(self, name: str) -> ChatModel:
        """Return a model or route.

        Raises:
            NotFound: nothing has this name or alias.
            PermissionDenied: the tenant may not choose this one.
        """
        model = self._catalog.get(name)
        # What the server chooses is for everybody.
        if name not in ("", "default") and not self._allowed(self._tenant, model.name):
            raise PermissionDenied(f"you may not use the model {model.name!r}; leave the choice to the server")
        return model

    def list(self) -> Sequence[ChatModel]:
        """Return what the tenant may name, by name."""
        return [model for model in self._catalog.list() if self._allowed(self._tenant, model.name)]

    def for_tenant(self, tenant: str) -> ModelCatalog:
        """Return the catalog as another tenant may use it."""
        return self._catalog.for_tenant(tenant)


def _checked_names(
    models: Mapping[str, ChatModel], routes: Sequence[Route], aliases: Mapping[str, str], default: str
) -> Mapping[str, str]:
    """Return the aliases when every name is unique and leads somewhere."""
    for name, model in models.items():
        if model.name != name:
            raise ValueError(f"the model under {name!r} calls itself {model.name!r}")
    names = [*models, *(route.name for route in routes), *aliases]
    twice = sorted({name for name in names if names.count(name) > 1 or not name} | ({"default"} & aliases.keys()))
    if twice:
        raise ValueError(f"these names stand for more than one thing: {', '.join(map(repr, twice))}")
    targets = {*models, *(route.name for route in routes)}
    wanted = [name for route in routes for name in route.models if name not in models]
    wanted += [name for name in (*aliases.values(), default) if name not in targets]
    if wanted:
        raise ValueError(f"there is no model {wanted[0]!r}; there are: {', '.join(sorted(targets))}")
    return dict(aliases)


def _not_found(name: str, known: Sequence[str] | Mapping[str, object]) -> NotFound:
    near = get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known)}"
    return NotFound(f"there is no model {name!r}; {hint}", resource_type="podium.v1.Model", resource_name=name)


def _removed(name: str) -> FailedPrecondition:
    return FailedPrecondition(f"the model {name!r} was removed from this server; start again with another one")
