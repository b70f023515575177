"""The models that can be measured, by the names that the command line takes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from podium.inference.engine_profile import AUTO, GUIDED
from podium.inference.model_store import ModelStore, StoredModel
from podium.orchestration.chat import ChatModel
from podium.orchestration.tool import ToolSpec
from quality.chance import ChanceModel

__all__ = ["MODELS", "Contender", "opened"]

# How a model that was never taught tools is told of them: the commonest of the written forms (JSON between
# <tool_call> marks), with every tool's schema in the prompt.
_GENERIC_DIALECT = "hermes"
_READY_SECONDS = 180.0
_ALIASES = {"embedded-plain": "untrained"}
MODELS = {
    "embedded": "the pulled model as Podium serves it",
    "guided": "the pulled model, planned for by Podium (dialect `guided`)",
    "untrained": "the model as its makers published it, all tools as JSON Schema in its prompt "
    f"(dialect `{_GENERIC_DIALECT}`)",
    "chance": "a random tool or none, each required argument a random part of the request of the right type",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A model in the comparison.

    Attributes:
        name: heads its columns.
        model: what is asked.
        detail: what it is, for the report.
        dated: the prompt tells it what day it is. Podium's own planning knows.
        talk: characters of text without a call after which its turn counts as an answer in words; 0 for a
            model that never calls a tool after having said something.
        max_tokens: limit of an answer.
    """

    name: str
    model: ChatModel
    detail: str
    dated: bool = False
    talk: int = 0
    max_tokens: int = 192


@asynccontextmanager
async def opened(name: str, tools: Sequence[ToolSpec] = ()) -> AsyncIterator[Contender]:
    """Open a model, and close it again.

    Args:
        name: one of `MODELS`, or `FILE.toml:NAME` for the model NAME of a file of Podium's settings.
        tools: to get ready for.

    Raises:
        ValueError: there is no such model.
        PodiumError: it cannot be opened, such as a model that was not pulled.
        SettingsError: the file is wrong.
        TimeoutError: it did not get ready.
    """
    name = _ALIASES.get(name, name)
    file, _, table = name.rpartition(":")
    async with AsyncExitStack() as stack:
        if file.endswith(".toml"):
            yield await _configured(Path(file), table, tools, stack)
        elif name == "chance":
            yield Contender(name=name, model=ChanceModel(), detail=MODELS[name])
        elif name == "untrained":
            stored = await asyncio.to_thread(ModelStore().pull, adapter=False)
            model = await _embedded(name, stored, _GENERIC_DIALECT, tools, stack)
            yield Contender(name=name, model=model, detail=_told(name, stored), dated=True, talk=160)
        elif name in MODELS:
            stored = await asyncio.to_thread(ModelStore().pull)
            model = await _embedded(name, stored, GUIDED if name == "guided" else AUTO, tools, stack)
            yield Contender(name=name, model=model, detail=_told(name, stored))
        else:
            raise ValueError(f"there is no model {name!r}; there are {', '.join(MODELS)} and FILE.toml:NAME")


def _told(name: str, stored: StoredModel) -> str:
    manifest = stored.manifest
    adapter = f", adapter {manifest.adapter}" if manifest.adapter else ""
    return f"{MODELS[name]}: {stored.name}, {manifest.format}{adapter}"


async def _embedded(
    name: str, stored: StoredModel, dialect: str, tools: Sequence[ToolSpec], stack: AsyncExitStack
) -> ChatModel:
    from podium.inference.embedded import EmbeddedModel

    model = EmbeddedModel(name, stored.path, tools=tools, dialect=dialect)
    await stack.enter_async_context(model)
    await _ready(model)
    return model


async def _configured(file: Path, table: str, tools: Sequence[ToolSpec], stack: AsyncExitStack) -> Contender:
    """Open a model as the server would: behind its breaker, with its limits, fitted to its context."""
    from podium.app.model_parts import ModelBuilder
    from podium.resilience.breakers import Breakers
    from podium.settings import load_settings

    settings = load_settings(config=file).settings
    if table not in settings.models:
        raise ValueError(f"{file.name} has no model {table!r}; it has {', '.join(sorted(settings.models)) or 'none'}")
    builder = ModelBuilder(
        tools=lambda: tuple(tools),
        breakers=Breakers(),
        host_changed=lambda _: None,
        model_changed=lambda _: None,
        first_output=lambda _, __: None,
    )
    built = await builder.build(table, settings)
    await stack.enter_async_context(built.stack)
    await _ready(built.model)
    kind = (await built.model.info()).kind
    return Contender(
        name=table,
        model=built.model,
        detail=f"model `{table}` of a settings file (kind `{kind}`)",
        dated=kind != "embedded",
        talk=2000,
        max_tokens=1024,
    )


async def _ready(model: ChatModel) -> None:
    async with asyncio.timeout(_READY_SECONDS):
        while not (await model.info()).ready:  # noqa: ASYNC110  it offers callers no event to wait for
            await asyncio.sleep(0.1)
