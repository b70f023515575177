"""The `Engine` protocol: token ids in, token deltas out.

An engine knows nothing of text, messages or tools. What it means by each field follows
`trtllm.TrtllmService`, the one wire contract for engines.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

__all__ = [
    "Engine",
    "EngineInfo",
    "EngineRequest",
    "FinishReason",
    "Guide",
    "GuideKind",
    "Sampling",
    "TokenDelta",
    "TokensFinished",
]


class GuideKind(StrEnum):
    """What language a guide is written in."""

    JSON_SCHEMA = "json_schema"
    REGEX = "regex"
    EBNF = "ebnf"
    STRUCTURAL_TAG = "structural_tag"


class FinishReason(StrEnum):
    """Why a generation ended."""

    STOP = "stop"
    LENGTH = "length"
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Guide:
    """A grammar that the output must follow. The output may still be cut by `max_tokens`."""

    kind: GuideKind
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How the next token is chosen. The default is greedy and so repeatable."""

    temperature: float = 0.0
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    min_p: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRequest:
    """One generation.

    Engines match stops by token id only: stop texts are the caller's to find.

    Attributes:
        request_id: unique among requests in flight.
        max_tokens: counts generated tokens only and is always sent.
        stop_token_ids: end the output and are not part of it, unless `include_stop_token`.
        cache_salt: cached prefixes are shared only between requests with the same one.
        priority: 0 to 1, for engines that queue by it; a hint.
        retain_seconds: how long the prompt's cache is worth keeping; a hint.
        logprobs: whether to tell the log-probability of each generated token; see `TokenDelta`.
        seconds_left: how long anybody waits for the whole output; None without limit.
    """

    request_id: str
    token_ids: Sequence[int]
    max_tokens: int
    sampling: Sampling = Sampling()
    guide: Guide | None = None
    stop_token_ids: Sequence[int] = ()
    include_stop_token: bool = False
    ignore_eos: bool = False
    cache_salt: str = ""
    priority: float | None = None
    retain_seconds: float | None = None
    seconds_left: float | None = None
    logprobs: bool = False


@dataclass(frozen=True, slots=True)
class TokenDelta:
    """New token ids since the last delta, never empty.

    Attributes:
        logprobs: natural logarithm of each token's probability, finite and at most 0.0; one for each
            of `token_ids`, or empty: not asked for, or the engine cannot tell. The embedded OpenVINO
            engine tells what the model itself gave the token among its whole vocabulary, before a
            guide's mask, temperature, penalties, `top_k`, `top_p` and `min_p`: a token that a guide
            forced may be very unlikely, and the tokens that a guide leaves do not add up to 1. Where
            the processor computes in bfloat16, two alternatives differ by steps of about 1/8. Other
            engines may tell it after some of these.
    """

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TokensFinished:
    """The last item of every generation that did not raise.

    `cached_tokens` of the prompt came from the prefix cache. `stop_token_id` is the stop that
    ended the output, where the engine tells.
    """

    reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    stop_token_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineInfo:
    """What an engine says of itself."""

    model_id: str
    max_seq_len: int
    vocab_size: int
    version: str = ""
    backend: str = ""
    features: frozenset[str] = frozenset()


class Engine(Protocol):
    """Generates tokens. Safe for many requests at once on one event loop."""

    def generate(self, request: EngineRequest) -> AsyncIterator[TokenDelta | TokensFinished]:
        """Stream one generation; the last item is `TokensFinished`.

        Closing the iterator early aborts the generation at the engine.

        Raises:
            InvalidRequest: the request cannot be served as it is (lengths, a refused guide).
            ResourceExhausted: the engine's queue is full; has `retry_after`.
            Unavailable: the engine is not there, or restarted under the request; retryable.
        """
        ...

    async def abort(self, request_id: str) -> None:
        """Stop a generation at its next step. Harmless when it is unknown or has ended."""
        ...

    async def probe(self) -> EngineInfo:
        """Return what the engine is, when it is ready to generate.

        Raises:
            Unavailable: it is not ready.
        """
        ...
