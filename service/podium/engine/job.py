"""One generation as the host knows it: what was asked, what came out, where the output goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from podium.errors import PodiumError
from podium.inference.engine import FinishReason, Guide

__all__ = ["Job", "JobOutput", "JobSpec", "OutputSink", "Retention", "SamplingSpec", "TokenLogprob"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingSpec:
    """How tokens are drawn, with every default of the wire contract filled in."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is always taken."""
        return self.temperature == 0.0 or self.top_p == 0.0 or self.top_k == 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long a part of the prompt's cache is worth keeping: priority 0 to 100, `end` None for its end."""

    start: int
    end: int | None
    priority: int
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A generated token's log probability (natural), and those of the likeliest `(token, logprob)` in its place."""

    token_id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """A vetted request. `deadline` is an instant of the host's monotonic clock.

    Fields from `sequences` on are set only for backends whose capabilities name them.
    """

    request_id: str
    prompt: tuple[int, ...]
    max_tokens: int
    min_tokens: int = 0
    sampling: SamplingSpec = SamplingSpec()
    guide: Guide | None = None
    guide_digest: str = ""
    stop_token_ids: frozenset[int] = frozenset()
    ignore_eos: bool = False
    include_stop: bool = False
    deadline: float
    sequences: int = 1
    logprobs: int | None = None
    lora_id: int | None = None
    cache_salt: str = ""
    bad_token_ids: tuple[int, ...] = ()
    retention: tuple[Retention, ...] = ()

    @property
    def reserved_tokens(self) -> int:
        """Cache tokens that it may come to need."""
        return len(self.prompt) + self.max_tokens


@dataclass(slots=True)
class JobOutput:
    """What one step added to one sequence of a job.

    `finish` is set on a sequence's last one; `error` ends all of the job's sequences. Never both.
    `logprobs` is as long as `token_ids` where they were asked for.
    """

    token_ids: list[int]
    finish: FinishReason | None = None
    matched_stop: int | None = None
    error: PodiumError | None = None
    sequence: int = 0
    cached_tokens: int = 0
    logprobs: list[TokenLogprob] | None = None


class OutputSink(Protocol):
    """Takes a job's outputs, in order, on the event loop."""

    def put(self, output: JobOutput) -> None:
        """Accept one output; must not block."""
        ...


@dataclass(slots=True)
class Job:
    """A spec on its way through the stepper; touched only by the stepping thread once submitted."""

    spec: JobSpec
    sink: OutputSink
    handle: PipelineHandle | None = None
    produced: int = 0


@dataclass(slots=True)
class StepResult:
    """New tokens of one handle, stop token included, and how it ended if it did.

    `logprobs` has one natural logarithm for each of `token_ids` where they were asked for.
    """

    token_ids: list[int]
    finish: FinishReason | None = None
    logprobs: list[float] | None = None


class PipelineHandle(Protocol):
    """One request inside a pipeline."""

    def read(self) -> StepResult:
        """Return what came since the last read; never blocks."""
        ...

    def cancel(self) -> None:
        """Stop it at the next step; harmless when it has ended."""
        ...


class Pipeline(Protocol):
    """An engine that is stepped from one thread."""

    def add(self, number: int, spec: JobSpec) -> PipelineHandle:
        """Admit a request.

        Raises:
            InvalidRequest: the engine refuses it.
        """
        ...

    def step(self) -> None:
        """Advance every admitted request by one step. After it raises, the pipeline is of no more use."""
        ...
