"""`GenerationResult` and `CompletionOutput` (section 2.5; `executor/result.py@277cbbe` [B])."""

from __future__ import annotations

import queue
import weakref
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tensorrt_llm.disaggregated_params import DisaggregatedParams
from tensorrt_llm.executor.request import GenerationRequest
from tensorrt_llm.executor.utils import AsyncQueue, ErrorResponse, FinishReason, Response, has_event_loop

if TYPE_CHECKING:
    from tensorrt_llm.executor.executor import GenerationExecutorProxy

__all__ = ["CompletionOutput", "GenerationResult", "Logprob"]

_ENDED = {
    FinishReason.END_ID: "stop",
    FinishReason.STOP_WORDS: "stop",
    FinishReason.LENGTH: "length",
    FinishReason.TIMED_OUT: "timeout",
    FinishReason.CANCELLED: "cancelled",
}


@dataclass(slots=True)
class Logprob:
    """A token's log probability and its rank in the vocabulary, from 1."""

    logprob: float
    rank: int | None = None


@dataclass(slots=True, weakref_slot=True)
class CompletionOutput:
    """One sequence of a request; `text`, `token_ids` and `logprobs` are cumulative (rule 4)."""

    index: int
    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    cumulative_logprob: float | None = None
    logprobs: list[Any] = field(default_factory=list)
    prompt_logprobs: list[Any] = field(default_factory=list)
    finish_reason: str | None = None
    stop_reason: int | str | None = None
    generation_logits: Any = None
    additional_context_outputs: Any = None
    additional_generation_outputs: Any = None
    disaggregated_params: DisaggregatedParams | None = None
    request_perf_metrics: Any = None
    _last_text_len: int = field(default=0, init=False, repr=False)
    _last_token_ids_len: int = field(default=0, init=False, repr=False)
    _last_logprobs_len: int = field(default=0, init=False, repr=False)

    @property
    def length(self) -> int:
        """How many ids there are."""
        return len(self.token_ids)

    @property
    def text_diff(self) -> str:
        """The text of the last step."""
        return self.text[self._last_text_len :]

    @property
    def token_ids_diff(self) -> list[int]:
        """The ids of this sequence's last step: stale while other sequences step (rule 5)."""
        return self.token_ids[self._last_token_ids_len :]

    @property
    def logprobs_diff(self) -> list[Any]:
        """The log probabilities of the last step, stale likewise."""
        return self.logprobs[self._last_logprobs_len :]


class GenerationResult:
    """A request's result: awaitable, iterable and async-iterable; every step returns this same object."""

    def __init__(
        self,
        request: GenerationRequest,
        background_error_handler: Callable[..., None],
        executor: GenerationExecutorProxy,
        tokenizer: Any,
        prompt: str | None,
    ) -> None:
        self._generation_request = request
        self.sampling_params = request.sampling_params
        self.prompt = prompt
        self.disaggregated_params = request.disaggregated_params
        self.decoding_iter = 0
        self.cached_tokens = 0
        self.context_logits: Any = None
        self.metrics_dict: dict[str, float] = {}
        self.tokenizer = tokenizer
        self._streaming = request.streaming
        self._done = False
        self._aborted = False
        # Rule 17: the queue belongs to the loop that runs now; without one only the blocking calls work.
        self.aqueue = AsyncQueue() if has_event_loop() else None
        self.queue: queue.Queue[Any] = queue.Queue()
        self._outputs = [CompletionOutput(index) for index in range(request.sampling_params.best_of or 1)]
        self._background_error_handler = weakref.WeakMethod(background_error_handler)
        # Rule 15: weak, so that `abort()` after the shutdown meets None.
        self._executor = weakref.ref(executor)

    @property
    def outputs(self) -> list[CompletionOutput]:
        """The `n` sequences; with best_of > n those of the highest log probability."""
        wanted, everything = self.sampling_params.n, self._outputs
        if len(everything) != wanted and not self.sampling_params.use_beam_search:
            worst = float("-inf")
            everything = sorted(everything, key=lambda output: -(output.cumulative_logprob or worst))
        return everything[:wanted]

    @property
    def request_id(self) -> int:
        """The engine's own number of the request."""
        return self._generation_request.id

    @property
    def prompt_token_ids(self) -> list[int]:
        """The prompt's ids."""
        return self._generation_request.prompt_token_ids

    @property
    def finished(self) -> bool:
        """Whether the last item has been taken. Stays False after an error (rule 16)."""
        return self._done

    @property
    def avg_decoded_tokens_per_iter(self) -> float | None:
        """Ids per decode step: more than 1 with speculative decoding."""
        return sum(output.length for output in self._outputs) / self.decoding_iter if self.decoding_iter else None

    def abort(self) -> None:
        """Ask the engine to stop; returns at once, and the last item says `cancelled` (rule 15)."""
        # None after the executor has gone: AttributeError, as in the real one.
        self._executor().abort_request(self.request_id)  # type: ignore[union-attr]
        self._aborted = True

    def aborted(self) -> bool:
        """Whether `abort()` was called."""
        return self._aborted

    def result(self, timeout: float | None = None) -> GenerationResult:
        """Block until the end."""
        while not self._done:
            self._handle_response(self.queue.get(timeout=timeout))
        return self

    async def aresult(self) -> GenerationResult:
        """Wait for the end."""
        while not self._done:
            await self._aresult_step()
        return self

    def __await__(self) -> Generator[Any, None, GenerationResult]:
        return self.aresult().__await__()

    def __iter__(self) -> Iterator[GenerationResult]:
        return self

    def __next__(self) -> GenerationResult:
        if self._done:
            raise StopIteration
        self._handle_response(self.queue.get())
        return self

    def __aiter__(self) -> AsyncIterator[GenerationResult]:
        return self

    async def __anext__(self) -> GenerationResult:
        # Rule 14: nothing here aborts the request when the task is cancelled.
        if self._done:
            raise StopAsyncIteration
        await self._aresult_step()
        return self

    def __repr__(self) -> str:
        return f"RequestOutput(request_id={self.request_id}, outputs={self.outputs}, finished={self.finished})"

    async def _aresult_step(self) -> None:
        assert self.aqueue is not None, (
            "The asyncio event loop was not present during initialization, so async operations are not available."
        )
        self._handle_response(await self.aqueue.get())

    def _handle_response(self, response: Response | ErrorResponse) -> None:
        handler = self._background_error_handler()
        if isinstance(response, ErrorResponse):
            # Rule 16: raises RequestError and leaves `_done` False ([A], [B]); iterating again waits for ever.
            if handler is not None:
                handler(response.error_msg)
            return
        self._done = response.is_final
        self.decoding_iter = response.decoding_iter
        self.cached_tokens = response.cached_tokens
        self._handle_sequence(self._outputs[response.sequence_index], response)
        if self.sampling_params.detokenize and self.tokenizer is not None:
            for output in self.outputs:
                self._detokenize(output)
        # Rule 2: each response may raise somebody else's fatal error.
        if handler is not None:
            handler()

    def _handle_sequence(self, output: CompletionOutput, response: Response) -> None:
        output._last_token_ids_len = len(output.token_ids)
        output.token_ids.extend(response.tokens)  # rule 4: in place
        if response.logprobs is not None:
            output._last_logprobs_len = len(output.logprobs)
            output.logprobs = response.logprobs
            output.cumulative_logprob = sum(map(_value, response.logprobs))
        output.request_perf_metrics = response.metrics
        if not response.is_sequence_final:
            return
        if isinstance(response.finish, str):
            if response.finish != "not_finished":
                raise ValueError(f"Unknown finish reason: {response.finish}")
            output.finish_reason = response.finish
            return
        output.finish_reason = _ENDED[response.finish]
        if response.context_only:
            output.finish_reason = "not_finished"
            output.disaggregated_params = DisaggregatedParams(
                request_type="context_only",
                first_gen_tokens=list(output.token_ids),
                ctx_request_id=self.request_id,
                opaque_state=b"kv",
            )
        if response.finish is FinishReason.STOP_WORDS:
            self._cut_stop_word(output)

    def _cut_stop_word(self, output: CompletionOutput) -> None:
        """Cut the matched ids off: the list shrinks (rule 6). A match across the prompt border finds nothing (30)."""
        for reason, ids in self.sampling_params._get_stop_reasons_and_words():
            if output.token_ids[-len(ids) :] == ids:
                output.stop_reason = reason
                if not self.sampling_params.include_stop_str_in_output:
                    output.token_ids = output.token_ids[: -len(ids)]
                    output.logprobs = output.logprobs[: -len(ids)]
                return

    def _detokenize(self, output: CompletionOutput) -> None:
        params = self.sampling_params
        output._last_text_len = len(output.text)
        if output.finish_reason == "stop" and isinstance(output.stop_reason, str) and not self._done:
            return
        output.text = self.tokenizer.decode(output.token_ids, skip_special_tokens=params.skip_special_tokens)
        if params.stop is None:
            return
        for reason in [params.stop] if isinstance(params.stop, str) else params.stop:
            found = output.text.find(reason)
            if found >= 0:
                end = found + (len(reason) if params.include_stop_str_in_output else 0)
                output.text = output.text[:end]
                output.finish_reason, output.stop_reason = "stop", reason
                # Rule 11: [B] and [C] only set `_done`; the engine decodes on. Rule 12: `token_ids` is not cut.
                self._done = True
                return


def _value(logprob: Any) -> float:
    if isinstance(logprob, float):
        return logprob
    first: Logprob = next(iter(logprob.values()))
    return first.logprob
