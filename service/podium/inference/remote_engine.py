"""A chat model whose engines are run by others."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from types import TracebackType
from typing import Self

from podium.errors import PodiumError, Unavailable
from podium.inference.engine import EngineRequest, TokenDelta, TokensFinished
from podium.inference.engine_client import TrtllmEngine
from podium.inference.engine_endpoint import EndpointStatus, PoolPolicy
from podium.inference.engine_pool import EnginePool
from podium.inference.engine_profile import AUTO, chat_model
from podium.inference.tokenizer import Tokenizer
from podium.orchestration.chat import ChatEvent, ChatModel, ChatRequest, ModelInfo, TokenCount

__all__ = ["RemoteEngineModel"]

_log = logging.getLogger(__name__)
_FIRST_PAUSE = 0.25
_LONGEST_PAUSE = 10.0


class RemoteEngineModel:
    """A `ChatModel` over engines that speak `trtllm.TrtllmService`. An async context manager.

    Entering returns at once; the model is ready when an engine has answered and its tokenizer is
    there. Turns asked for before that are refused with a retryable error.

    Args:
        name: its name in the settings.
        addresses: of the engines, all with the same model.
        tokenizer: folder of the tokenizer, for engines that do not hand theirs out.
        dialect: how the model writes calls, as `engine_profile.chat_model` takes it.
        context_length: in tokens; 0 for what the engines say.
        policy: how requests are spread over the engines.
        remote: whether requests leave this machine.
        on_change: called on the event loop when the model has become ready.
    """

    def __init__(
        self,
        name: str,
        addresses: Sequence[str],
        *,
        tokenizer: Path | None = None,
        dialect: str = AUTO,
        context_length: int = 0,
        policy: PoolPolicy | None = None,
        remote: bool = False,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self._folder = tokenizer
        self._dialect = dialect
        self._context_length = context_length
        self._remote = remote
        self._on_change = on_change
        policy = policy or PoolPolicy()
        self._pool = EnginePool(
            addresses,
            policy=policy,
            # So that a request that one engine keeps waiting still has time for another.
            connect=lambda address: TrtllmEngine(
                address,
                request_timeout=policy.request_timeout,
                first_token_timeout=policy.first_token_timeout / min(policy.max_attempts, len(addresses)),
            ),
        )
        self._stack = AsyncExitStack()
        self._model: ChatModel | None = None
        self._why = "its engines have not answered yet"

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self._pool)
        preparing = asyncio.create_task(self._prepare(), name=f"prepare-{self.name}")
        self._stack.push_async_callback(_ended, preparing)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    @property
    def engines(self) -> Sequence[EndpointStatus]:
        """How each engine is."""
        return self._pool.status()

    async def info(self) -> ModelInfo:
        """Describe the model, with why it is not ready."""
        if self._model is None:
            return ModelInfo(name=self.name, kind="trtllm", ready=False, detail=self._why, remote=self._remote)
        return await self._model.info()

    async def count_tokens(self, request: ChatRequest) -> TokenCount:
        """Count a prompt's tokens with the model's tokenizer, once that is there."""
        return await self._ready().count_tokens(request)

    async def stream(self, request: ChatRequest) -> AsyncIterator[ChatEvent]:
        """Stream one turn; see `ChatModel.stream`."""
        async with aclosing(self._ready().stream(request)) as events:  # type: ignore[type-var]
            async for event in events:
                yield event

    async def generate_tokens(self, request: EngineRequest) -> AsyncIterator[TokenDelta | TokensFinished]:
        """Stream one generation from token ids; see `TokenModel.generate_tokens`."""
        async with aclosing(self._pool.generate(request)) as items:
            async for item in items:
                yield item

    def _ready(self) -> ChatModel:
        if self._model is None:
            raise Unavailable(
                f"model {self.name!r} is not ready: {self._why}; try again shortly",
                reason="MODEL_NOT_READY",
                retry_after=1.0,
            )
        return self._model

    async def _prepare(self) -> None:
        """Make the chat model as soon as an engine says what it is and a tokenizer is at hand."""
        pause = _FIRST_PAUSE
        while self._model is None:
            try:
                info = await self._pool.probe()
                tokenizer = await self._tokenizer()
                self._model = chat_model(
                    self._pool,
                    tokenizer,
                    info,
                    name=self.name,
                    kind="trtllm",
                    dialect=self._dialect,
                    context_length=self._context_length,
                    remote=self._remote,
                )
            except PodiumError as error:
                self._why = error.message.rstrip(".")
                _log.info("model %s is not ready yet: %s", self.name, error.message)
            except Exception:  # noqa: BLE001  this task must outlive any fault, or the model is never ready
                self._why = "it could not be made ready; the server's log says why"
                _log.exception("model %s could not be made ready", self.name)
            if self._model is None:
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
        self._on_change()

    async def _tokenizer(self) -> Tokenizer:
        if self._folder is not None:
            return await asyncio.to_thread(Tokenizer.from_directory, self._folder)
        return await self._pool.tokenizer()


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
