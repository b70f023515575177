"""Models that take prompts as token ids and answer in token ids."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from podium.inference.engine import EngineRequest, TokenDelta, TokensFinished

__all__ = ["TokenModel"]


class TokenModel(Protocol):
    """A model whose engine may be asked directly: no template, no planning, no stop texts."""

    def generate_tokens(self, request: EngineRequest) -> AsyncIterator[TokenDelta | TokensFinished]:
        """Stream one generation; see `Engine.generate`.

        Raises:
            InvalidRequest: the engine cannot serve the request as it is.
            ResourceExhausted: the engine's queue is full; has `retry_after`.
            Unavailable: the model cannot answer just now; retryable.
        """
        ...
