"""A chat model whose engine is a host process of ours."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from podium.errors import PodiumError, Unavailable
from podium.inference.engine import EngineRequest, TokenDelta, TokensFinished
from podium.inference.engine_chat import EngineChatModel
from podium.inference.engine_client import TrtllmEngine
from podium.inference.engine_profile import AUTO, chat_model
from podium.inference.guided import GuidedChatModel
from podium.inference.model_files import Manifest, taught_dialect
from podium.inference.model_store import outdated
from podium.inference.planner.matcher import shipped_matcher
from podium.inference.supervisor import EngineHostSupervisor, HostState, HostStatus, SupervisorTimings
from podium.inference.word_vectors import word_vectors
from podium.orchestration.chat import ChatEvent, ChatRequest, ModelInfo, TokenCount
from podium.orchestration.tool import ToolSpec

__all__ = ["EmbeddedModel"]

_log = logging.getLogger(__name__)
_AFTER_A_FAULT_SECONDS = 10.0


class EmbeddedModel:
    """A `ChatModel` around a supervised engine host. An async context manager.

    Entering returns at once; the model is ready when the host is up and the planner is warm. Turns
    asked for before that, or while the host restarts, are refused with a retryable error.

    Args:
        name: its name in the settings.
        path: the model's folder, as `podium engine --model` takes it.
        tools: the tools that most requests may use, to get ready for.
        engine, options, python, nice, start_seconds, stop_seconds: of the host; see `EngineHostSupervisor`.
        dialect: how the model writes calls, as `engine_profile.chat_model` takes it; `auto` plans for
            models that were not taught tools, and takes the dialect that a shipped adapter taught.
        turn_seconds: longest generation.
        on_change: called on the event loop whenever readiness may have changed.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        *,
        tools: Sequence[ToolSpec] = (),
        engine: str = "openvino",
        options: Sequence[str] = (),
        python: Path | None = None,
        dialect: str = AUTO,
        nice: int = 10,
        start_seconds: float = 120.0,
        stop_seconds: float = 7.0,
        turn_seconds: float = 120.0,
        on_change: Callable[[EmbeddedModel], None] = lambda _: None,
    ) -> None:
        self.name = name
        self._path = path
        self._tools = tuple(tools)
        self._turn_seconds = turn_seconds
        self._dialect = dialect
        self._on_change = on_change
        self._supervisor = EngineHostSupervisor(
            path,
            engine=engine,
            options=options,
            python=python,
            nice=nice,
            on_change=self._host_changed,
            timings=SupervisorTimings(start_limit=start_seconds, stop_limit=stop_seconds),
        )
        self._stack = contextlib.AsyncExitStack()
        self._engine: TrtllmEngine | None = None
        self._model: GuidedChatModel | EngineChatModel | None = None
        self._described = ModelInfo(name=name, kind="embedded", ready=False)
        self._warm = False
        self._host_up = asyncio.Event()
        self._preparing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._say_if_outdated()
        await self._stack.enter_async_context(self._supervisor)
        self._engine = TrtllmEngine(self._supervisor.address, request_timeout=self._turn_seconds)
        self._stack.push_async_callback(self._engine.aclose)
        self._preparing = asyncio.create_task(self._prepare(self._engine), name=f"prepare-{self.name}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._preparing is not None:
            self._preparing.cancel()
            await asyncio.gather(self._preparing, return_exceptions=True)
        await self._stack.aclose()

    @property
    def host(self) -> HostStatus:
        """Where the engine host is."""
        return self._supervisor.status

    @property
    def engine_address(self) -> str:
        """Where the engine host listens."""
        return self._supervisor.address

    @property
    def ready(self) -> bool:
        """Whether a turn asked for now would be taken."""
        return self._warm and self._supervisor.status.state is HostState.READY

    async def info(self) -> ModelInfo:
        """Describe the model, with why it is not ready."""
        return replace(self._described, ready=self.ready, detail="" if self.ready else self.why_not_ready())

    async def count_tokens(self, request: ChatRequest) -> TokenCount:
        """Count a prompt's tokens with the model's tokenizer, once the host has handed it out."""
        if self._model is None:
            raise self._not_ready()
        return await self._model.count_tokens(request)

    async def stream(self, request: ChatRequest) -> AsyncIterator[ChatEvent]:
        """Stream one turn; see `ChatModel.stream`."""
        if self._model is None or not self.ready:
            raise self._not_ready()
        async with aclosing(self._model.stream(request)) as events:  # type: ignore[type-var]
            async for event in events:
                yield event

    async def generate_tokens(self, request: EngineRequest) -> AsyncIterator[TokenDelta | TokensFinished]:
        """Stream one generation from token ids; see `TokenModel.generate_tokens`."""
        if self._engine is None or not self.ready:
            raise self._not_ready()
        async with aclosing(self._engine.generate(request)) as items:
            async for item in items:
                yield item

    def _not_ready(self) -> Unavailable:
        return Unavailable(
            f"model {self.name!r} is not ready: {self.why_not_ready()}; try again shortly",
            reason="MODEL_NOT_READY",
            retry_after=1.0,
        )

    def why_not_ready(self) -> str:
        """Return what keeps the model from taking turns, for people."""
        status = self._supervisor.status
        if status.state in (HostState.RESTARTING, HostState.FAILED):
            return f"its engine host went down ({status.last_error}) and is being restarted"
        return "it is still loading"

    def _say_if_outdated(self) -> None:
        manifest = Manifest.read(self._path)
        if manifest is not None and outdated(manifest):
            _log.warning(
                "the pulled model is not the one of this release and is served as it is: run `podium models pull`",
                extra={"model": self.name, "adapter": manifest.adapter or "none"},
            )

    def _host_changed(self, status: HostStatus) -> None:
        if status.state is HostState.READY:
            self._host_up.set()
        else:
            # A new host has an empty cache: what was warm is not any more.
            self._warm = False
        self._on_change(self)

    async def _prepare(self, engine: TrtllmEngine) -> None:
        """Make the planner once, and warm it whenever a host has come up."""
        while True:
            await self._host_up.wait()
            self._host_up.clear()
            try:
                await self._get_ready(engine)
            except PodiumError as error:
                # The host went down again, and its next start sets the event; or it is too slow for
                # the moment, and a later look will do.
                _log.warning("the model could not be made ready", extra={"model": self.name, "why": error.message})
                await self._look_again()
            except Exception:  # noqa: BLE001  this task must outlive any fault, or the model is never ready again
                _log.exception("the model could not be made ready", extra={"model": self.name})
                await self._look_again(_AFTER_A_FAULT_SECONDS)

    async def _get_ready(self, engine: TrtllmEngine) -> None:
        if self._model is None:
            vectors = await word_vectors(self._path)
            self._model = chat_model(
                engine,
                await engine.tokenizer(),
                await engine.probe(),
                name=self.name,
                kind="embedded",
                dialect=self._dialect,
                taught=taught_dialect(self._path),
                vectors=vectors,
                matcher=None if vectors is None else await asyncio.to_thread(shipped_matcher, self._path, vectors),
                guide_plain=True,
            )
            # Asked once: nothing of it changes while the same model is served.
            self._described = await self._model.info()
        if isinstance(self._model, GuidedChatModel):
            await engine.warm(await self._model.warm(self._tools))
        self._warm = self._supervisor.status.state is HostState.READY
        self._on_change(self)

    async def _look_again(self, seconds: float = 1.0) -> None:
        await asyncio.sleep(seconds)
        if self._supervisor.status.state is HostState.READY:
            self._host_up.set()
