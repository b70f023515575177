"""Health by generating: an engine says that it is well long after its workers have died.

A canary is one token of a fixed prompt under a cache salt of its own. Its token is compared with the
first one: an engine with a corrupted cache answers promptly, with the wrong tokens or none.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from podium.engine.job import JobOutput, JobSpec, SamplingSpec
from podium.errors import Unavailable

__all__ = ["Canary"]

_log = logging.getLogger(__name__)

_TRIES = 2


class Canary:
    """Asks the engine for one token and says what is wrong with the answer.

    Args:
        generate: runs a spec to its end at the engine.
        limit: seconds for one answer.
        clock: the clock of `last_progress` and of deadlines.
        last_progress: when the engine last made a token for anybody.
    """

    def __init__(
        self,
        generate: Callable[[JobSpec, Callable[[JobOutput], None]], Awaitable[None]],
        prompt: tuple[int, ...],
        *,
        limit: float,
        clock: Callable[[], float],
        last_progress: Callable[[], float],
    ) -> None:
        self._generate = generate
        self._prompt = prompt
        self._limit = limit
        self._clock = clock
        self._last_progress = last_progress
        self._expected: list[int] | None = None

    async def check(self) -> str:
        """Return what is wrong, or an empty text."""
        wrong = ""
        for _ in range(_TRIES):
            # Batched arithmetic may tip a close decision once; a corrupted engine stays wrong.
            wrong = await self._ask()
            if not wrong or "time" in wrong:
                break
        if wrong:
            _log.warning("canary: %s", wrong)
        return wrong

    async def _ask(self) -> str:
        started = self._clock()
        outputs: list[JobOutput] = []
        spec = JobSpec(
            request_id="",
            prompt=self._prompt,
            max_tokens=1,
            sampling=SamplingSpec(temperature=0.0),
            ignore_eos=True,
            cache_salt="canary",
            deadline=started + self._limit,
        )
        try:
            async with asyncio.timeout(self._limit * 2):
                await self._generate(spec, outputs.append)
        except TimeoutError:
            return "no answer in time"
        ids = [token for output in outputs for token in output.token_ids]
        failed = next((output.error for output in outputs if output.error is not None), None)
        if ids or (outputs and failed is None and self._clock() < spec.deadline):
            return self._compare(ids)
        if failed is not None and not isinstance(failed, Unavailable):
            return f"the engine failed it ({failed.reason})"
        # Where others were served meanwhile, the engine is busy, not dead.
        return "" if self._last_progress() > started else "no answer in time"

    def _compare(self, ids: list[int]) -> str:
        if not ids:
            return "an answer without tokens"
        if self._expected is None:
            self._expected = ids
        return "" if ids == self._expected else "an answer with other tokens than before"
