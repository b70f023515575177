"""The worker: a thread that decodes, in the place of the real one's processes with the GPUs."""

from __future__ import annotations

import datetime as dt
import hashlib
import math
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

from tensorrt_llm._control import Script, fake
from tensorrt_llm.executor.kv_cache import KvCache
from tensorrt_llm.executor.request import CancellingRequest, GenerationRequest
from tensorrt_llm.executor.result import Logprob
from tensorrt_llm.executor.utils import ErrorResponse, FinishReason, Response
from tensorrt_llm.tokenizer import byte_ids

__all__ = ["Worker", "answer_to"]

_IDLE = 0.05
_WAITING = 0.001
_PRINTABLE = range(32, 127)


def answer_to(prompt: Sequence[int], index: int = 0) -> Iterator[int]:
    """Yield the endless ids that an unscripted prompt leads to: printable text, a function of the prompt alone."""
    seed = hashlib.sha256(repr((tuple(prompt), index)).encode()).digest()
    for block in _counter():
        for value in hashlib.sha256(seed + block.to_bytes(8, "big")).digest():
            yield byte_ids(chr(_PRINTABLE[value % len(_PRINTABLE)]))[0]


def natural_length(prompt: Sequence[int], index: int = 0) -> int:
    """Return how many ids come before EOS: 8 to 39, by the prompt, unless the settings say."""
    if fake.settings.natural_length is not None:
        return fake.settings.natural_length
    return 8 + hashlib.sha256(repr((index, tuple(prompt))).encode()).digest()[0] % 32


def _counter() -> Iterator[int]:
    number = 0
    while True:
        yield number
        number += 1


class _Sequence:
    """One output of a request as it is decoded."""

    def __init__(self, request: GenerationRequest, index: int, script: Script | None) -> None:
        self.index = index
        self.made: list[int] = []
        self.unsent: list[int] = []
        self.logprobs: list[Any] = []
        self.ended = False
        self.hangs = False
        prompt = request.prompt_token_ids
        wrong = fake.faults.wrong_tokens
        self._endless = answer_to([token + 1 for token in prompt] if wrong else prompt, index)
        self.finish = script.finish if script is not None and request.guide is None else "eos"
        self._planned: Sequence[int] = ()
        if not wrong and request.guide is not None:
            self._planned = request.guide
        elif not wrong and script is not None:
            self._planned = script.of(index)
        self._length = len(self._planned)
        if wrong or (request.guide is None and script is None):
            self._length = natural_length(prompt, index)

    def next_token(self, eos: int, eos_allowed: bool) -> int | None:
        """Return the next id, or None if the script ends here without EOS."""
        made = len(self.made)
        if made < len(self._planned):
            return self._planned[made]
        if made < self._length:
            return next(self._endless)
        if self.finish != "eos":
            return None
        # `ignore_eos` and `min_tokens` keep the model from ending: it goes on.
        return eos if eos_allowed else next(self._endless)


class _Active:
    """A request in the batch."""

    def __init__(self, request: GenerationRequest, max_tokens: int, cached: int) -> None:
        self.request = request
        self.params = request.sampling_params
        self.script = fake.scripts.get(tuple(request.prompt_token_ids))
        self.max_tokens = max_tokens
        self.cached = cached
        self.iteration = 0
        self.arrival = time.monotonic()
        self.first_token: float | None = None
        self.starts_at = self.arrival + fake.faults.prefill_seconds
        self.sequences = [_Sequence(request, index, self.script) for index in range(self.params.best_of or 1)]
        # Rule 9: `ignore_eos` drops every stop word too (`base_worker.py` `_enqueue_request`).
        self.stop_words = [] if self.params.ignore_eos else self.params._get_stop_words()

    @property
    def made(self) -> int:
        return sum(len(sequence.made) for sequence in self.sequences)

    def metrics(self) -> Any:
        """Return `request_perf_metrics`, in time since an unknown start, as the bindings give it."""
        if not self.params.return_perf_metrics:
            return None
        since = [dt.timedelta(seconds=at) for at in (self.arrival, self.first_token or self.arrival)]
        return SimpleNamespace(
            timing_metrics=SimpleNamespace(
                arrival_time=since[0],
                first_scheduled_time=since[0],
                first_token_time=since[1],
                last_token_time=dt.timedelta(seconds=time.monotonic()),
            ),
            kv_cache_metrics=SimpleNamespace(num_reused_blocks=self.cached),
            first_iter=1,
            last_iter=self.iteration,
        )


class Worker:
    """Decodes what is asked on its own thread and puts responses on `responses`."""

    def __init__(self, args: dict[str, Any], responses: queue.Queue[Any], errors: queue.Queue[Exception]) -> None:
        self.requests: queue.Queue[GenerationRequest | CancellingRequest | None] = queue.Queue()
        self.kv = KvCache(args["kv_cache_config"])
        self.stats: list[dict[str, Any]] = []
        self._args = args
        self._responses = responses
        self._errors = errors
        self._active: dict[int, _Active] = {}
        self._calls = fake.calls
        self._dead = threading.Event()
        self._iteration = 0
        self._made = 0
        self._failed = False
        self.thread = threading.Thread(target=self._run, name="fake-trtllm-worker", daemon=True)
        self.thread.start()

    def die(self) -> None:
        """End without a word (rule 18): what is live stays live, and its KV cache with it."""
        self._dead.set()
        self.requests.put(None)

    def stop(self) -> None:
        """End as in a shutdown: what is live is dropped."""
        self.die()
        for request_id in list(self._active):
            self._calls.live.pop(request_id, None)

    @property
    def max_seq_len(self) -> int:
        """Prompt and output together."""
        return self._args["max_seq_len"] or fake.settings.max_seq_len

    def _run(self) -> None:
        due = time.monotonic()
        while not self._dead.is_set():
            self._take_requests(block=not self._active)
            if self._dead.is_set():
                return
            made = self._made
            self._step()
            if self._made == made and self._active:
                # Everything waits: in prefill, in a stall, at the end of a script that hangs.
                self._dead.wait(_WAITING)
            speed = fake.settings.tokens_per_second
            if self._active and speed > 0:
                # Steps keep their average rate: a late wake-up is made up for, at most a hundred steps of it.
                due = max(due + 1 / speed, time.monotonic() - 100 / speed)
                pause = due - time.monotonic()
                if pause > 0:
                    self._dead.wait(pause)
            else:
                due = time.monotonic()

    def _take_requests(self, *, block: bool) -> None:
        try:
            item = self.requests.get(block=block, timeout=_IDLE if block else None)
            while True:
                if isinstance(item, CancellingRequest):
                    self._cancel(item.id)
                elif item is not None:
                    self._admit(item)
                item = self.requests.get_nowait()
        except queue.Empty:
            return

    def _admit(self, request: GenerationRequest) -> None:
        try:
            max_tokens = self._deduce_max_tokens(request)
            reused = self.kv.allocate(request.prompt_token_ids, request.cache_salt)
            active = _Active(request, max_tokens, reused)
        except (RuntimeError, ValueError) as error:
            # Raised in the worker, so it arrives at iteration as a RequestError (rules 7, 8, 25).
            self._responses.put(ErrorResponse(request.id, str(error)))
            return
        self._active[request.id] = active
        with fake.changed:
            self._calls.live[request.id] = len(request.prompt_token_ids)
            fake.changed.notify_all()

    def _deduce_max_tokens(self, request: GenerationRequest) -> int:
        """Rule 7: None fills max_seq_len, more is clamped with a log line, no room is an error (`base_worker.py`)."""
        room = self.max_seq_len - len(request.prompt_token_ids)
        if room <= 0:
            raise ValueError(
                f"`default_max_tokens` ({room}) must be greater than 0, `default_max_tokens` ({room}) = max_seq_len"
                f" ({self.max_seq_len}) - `splited_prompt_len` ({len(request.prompt_token_ids)})"
            )
        asked = request.sampling_params.max_tokens
        if asked is None:
            return room
        if asked <= 0:
            raise ValueError(f"`max_tokens` ({asked}) must be greater than 0")
        return min(asked, room)

    def _cancel(self, request_id: int) -> None:
        active = self._active.get(request_id)
        if active is None:
            return  # rule 15: an unknown or finished id only logs
        open_sequences = [sequence for sequence in active.sequences if not sequence.ended]
        for sequence in open_sequences:
            self._send(active, sequence, FinishReason.CANCELLED)
        self._forget(active)
        with fake.changed:
            self._calls.cancelled.append(request_id)
            fake.changed.notify_all()

    def _forget(self, active: _Active) -> None:
        self._active.pop(active.request.id, None)
        with fake.changed:
            self._calls.live.pop(active.request.id, None)
            fake.changed.notify_all()

    def _step(self) -> None:
        now = time.monotonic()
        self._iteration += 1
        for active in list(self._active.values()):
            if now >= active.starts_at and not self._dead.is_set():
                self._step_request(active)
        self._die_when_due()
        if self._args["enable_iter_perf_stats"] and self._active:
            self._note_stats()

    def _step_request(self, active: _Active) -> None:
        message = fake.faults.request_error
        after = fake.faults.request_error_after
        if not message and active.script is not None and active.script.error:
            message, after = active.script.error, len(active.script.tokens)
        if message and active.made >= after:
            self._forget(active)
            self._responses.put(ErrorResponse(active.request.id, message))
            return
        stall = fake.faults.stall_after
        if stall is not None and active.made >= stall:
            return
        active.iteration += 1
        for sequence in active.sequences:
            if not sequence.ended and not sequence.hangs:
                self._step_sequence(active, sequence)
        if all(sequence.ended for sequence in active.sequences):
            self._forget(active)

    def _step_sequence(self, active: _Active, sequence: _Sequence) -> None:
        finish: FinishReason | str = FinishReason.NOT_FINISHED
        for _ in range(max(1, fake.settings.tokens_per_step)):
            finish = self._decode(active, sequence)
            if finish is not FinishReason.NOT_FINISHED or sequence.hangs:
                break
        interval = active.params._stream_interval or 1
        streams = active.request.streaming and bool(sequence.unsent)
        if finish is not FinishReason.NOT_FINISHED:
            self._send(active, sequence, finish)
        elif streams and (active.iteration == 1 or active.iteration % interval == 0):
            # Rule 24: at the first iteration, at every multiple of the interval, and at the end.
            self._send(active, sequence, finish)

    def _decode(self, active: _Active, sequence: _Sequence) -> FinishReason | str:
        """Make one id; test EOS, then length, then stop words (rule 30, `sampler.py` `_handle_stop_criteria`)."""
        if fake.faults.zero_tokens:
            return FinishReason.END_ID
        params = active.params
        eos = params.end_id if params.end_id is not None else fake.settings.eos_id
        eos_allowed = not params.ignore_eos and len(sequence.made) >= (params.min_tokens or 0)
        token = sequence.next_token(eos, eos_allowed)
        if token is None:
            sequence.hangs = sequence.finish == "hang"
            timed_out = FinishReason.TIMED_OUT if sequence.finish == "timeout" else sequence.finish
            return FinishReason.NOT_FINISHED if sequence.hangs else timed_out
        self._append(active, sequence, token)
        if token == eos and eos_allowed:
            return FinishReason.END_ID
        if len(sequence.made) >= active.max_tokens:
            return FinishReason.LENGTH
        context = active.request.prompt_token_ids + sequence.made
        for word in active.stop_words:
            # A multi-token word is compared with prompt and output, so it may match across the border.
            if (context if len(word) > 1 else sequence.made)[-len(word) :] == word:
                return FinishReason.STOP_WORDS
        return FinishReason.NOT_FINISHED

    def _append(self, active: _Active, sequence: _Sequence, token: int) -> None:
        sequence.made.append(token)
        sequence.unsent.append(token)
        if active.params.logprobs is not None:
            value = -math.log1p(len(sequence.made) % 7 + sequence.index)
            dicts = fake.settings.logprobs_form == "dict"
            sequence.logprobs.append({token: Logprob(value, 1)} if dicts else value)
        active.first_token = active.first_token or time.monotonic()
        self._made += 1
        self._fail_when_due()
        with fake.changed:
            self._calls.tokens_made += 1
            if active.request.id in self._calls.live:
                self._calls.live[active.request.id] += 1
            fake.changed.notify_all()

    def _send(self, active: _Active, sequence: _Sequence, finish: FinishReason | str) -> None:
        sequence.ended = finish is not FinishReason.NOT_FINISHED
        self._responses.put(
            Response(
                client_id=active.request.id,
                sequence_index=sequence.index,
                tokens=sequence.unsent,
                finish=finish,
                is_final=all(other.ended for other in active.sequences),
                decoding_iter=active.iteration,
                cached_tokens=active.cached,
                logprobs=list(sequence.logprobs) if active.params.logprobs is not None else None,
                context_only=getattr(active.request.disaggregated_params, "request_type", None) == "context_only",
                metrics=active.metrics() if sequence.ended else None,
            )
        )
        sequence.unsent = []

    def _fail_when_due(self) -> None:
        """Queue the fatal error before the response of this step, which then surfaces it, or a submit does (rule 2)."""
        faults = fake.faults
        if faults.fatal_error and self._made >= faults.fatal_after and not self._failed:
            from tensorrt_llm.executor.executor import CppExecutorError

            self._failed = True
            self._errors.put(CppExecutorError(faults.fatal_error))

    def _die_when_due(self) -> None:
        limit = fake.faults.dead_after
        if self._failed or (limit is not None and self._made >= limit):
            self._dead.set()

    def _note_stats(self) -> None:
        """Key names as documented for the C++ runtime; not confirmed for 1.2.1 (section 2.6)."""
        self.stats.append(
            {
                "iter": self._iteration,
                "iterLatencyMS": 1000 / (fake.settings.tokens_per_second or 1000),
                "numActiveRequests": len(self._active),
                "numQueuedRequests": self.requests.qsize(),
                "kvCacheStats": self.kv.stats(),
                "inflightBatchingStats": {
                    "numScheduledRequests": len(self._active),
                    "numContextRequests": sum(active.iteration <= 1 for active in self._active.values()),
                    "numGenRequests": sum(active.iteration > 1 for active in self._active.values()),
                    "numPausedRequests": 0,
                },
            }
        )
        limit = self._args["iter_stats_max_iterations"] if fake.settings.stats_form == "rpc" else None
        if limit:
            # Only the RPC form has a bound; the queue form's deque leaks when nobody reads (rule 26).
            del self.stats[:-limit]
