"""One request's output on the event loop: filled once a step, drained by its call."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from podium.engine.job import JobOutput, TokenLogprob
from podium.engine.stepper import Delivery
from podium.errors import PodiumError
from podium.inference.engine import FinishReason

__all__ = ["JobStreams", "OutputStream", "deliver"]


class OutputStream:
    """Collects token ids between two reads, so that a slow reader gets fewer, larger deltas.

    It holds at most the request's `max_tokens` ids, so it needs no other bound.

    Attributes:
        ids: everything so far.
        finish: set with the last ids.
        matched_stop: the stop token that ended it, if one did.
        cached_tokens: tokens of the prompt that came from the prefix cache.
        logprobs: one for each of `ids` where they were asked for, else empty.
    """

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.finish: FinishReason | None = None
        self.matched_stop: int | None = None
        self.cached_tokens = 0
        self.logprobs: list[TokenLogprob] = []
        self._error: PodiumError | None = None
        self._sent = 0
        self._ready = asyncio.Event()

    def put(self, output: JobOutput) -> None:
        """Take what a step brought."""
        self.ids += output.token_ids
        self.finish = output.finish
        self.matched_stop = output.matched_stop
        self.cached_tokens = max(self.cached_tokens, output.cached_tokens)
        self.logprobs += output.logprobs or ()
        self._error = output.error
        self._ready.set()

    async def read(self) -> tuple[list[int], bool]:
        """Wait for ids, or the end; return the ids not returned before, and whether they are the last.

        Raises:
            PodiumError: what ended the request instead.
        """
        await self._ready.wait()
        self._ready.clear()
        if self._error is not None:
            raise self._error
        new = self.ids[self._sent :]
        self._sent = len(self.ids)
        # Decided here: while the caller sends these, more may come.
        return new, self.finish is not None


class JobStreams:
    """The streams of one job, one for each of its sequences."""

    def __init__(self, sequences: int) -> None:
        self.streams = [OutputStream() for _ in range(sequences)]

    @property
    def finished(self) -> bool:
        """Whether every sequence has come to its end."""
        return all(stream.finish is not None for stream in self.streams)

    def put(self, output: JobOutput) -> None:
        """Hand an output to its sequence, an error to all that have not ended."""
        if output.error is None:
            self.streams[output.sequence].put(output)
            return
        for stream in self.streams:
            if stream.finish is None:
                stream.put(output)


def deliver(batch: Sequence[Delivery]) -> None:
    """Hand out what one step brought; runs on the event loop."""
    for sink, output in batch:
        sink.put(output)
