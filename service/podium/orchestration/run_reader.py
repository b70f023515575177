"""What callers may see of runs: as they stand, as they go on, and why they took as long as they did."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import aclosing

from podium.orchestration.core import Services
from podium.orchestration.events import LoggedEvent, RunState
from podium.orchestration.explain import explain
from podium.orchestration.explanation import RunExplanation
from podium.orchestration.feed import RunFeed
from podium.orchestration.journal import RunPage, RunStore
from podium.orchestration.plan import plan_from_log
from podium.orchestration.simulate import Simulation, SlotLimits, simulate
from podium.orchestration.submitter import Submitter
from podium.orchestration.tool import ToolCatalog
from podium.orchestration.view import RunView

__all__ = ["RunReader"]


class RunReader(ABC):
    """Reads runs, those that go on and those that have ended; changes nothing about any.

    Args:
        store: keeps the runs.
        tools: their descriptions.
        services: knows how long tools and models usually take.
    """

    def __init__(self, store: RunStore, tools: ToolCatalog, services: Services) -> None:
        self._store, self._tools, self._services = store, tools, services

    @abstractmethod
    def _feed(self, run_id: str) -> RunFeed | None:
        """Return the live side of a run that goes on in this process."""

    async def get(self, run_id: str, by: Submitter) -> RunView:
        """Return a run as it stands, or raise NotFound."""
        return await self._store.view(run_id, by.owner)

    async def list(
        self, by: Submitter, *, page_size: int = 50, page_token: str = "", states: Collection[RunState] = ()
    ) -> RunPage:
        """Return the caller's runs, newest first."""
        return await self._store.list(by.owner, page_size=page_size, page_token=page_token, states=states)

    async def watch(self, run_id: str, by: Submitter, *, after_seq: int = 0) -> AsyncGenerator[LoggedEvent, None]:
        """Yield what is logged of a run beyond `after_seq`, then what follows, until it ends.

        Closing the iterator changes nothing about the run.

        Raises:
            NotFound: there is no such run, or it is somebody else's.
        """
        async with aclosing(self.watch_together(run_id, by, after_seq=after_seq)) as batches:
            async for batch in batches:
                for event in batch:
                    yield event

    async def watch_together(
        self, run_id: str, by: Submitter, *, after_seq: int = 0
    ) -> AsyncGenerator[Sequence[LoggedEvent], None]:
        """Do as `watch`, but yield together what is there at once."""
        await self._store.view(run_id, by.owner)
        feed = self._feed(run_id)
        if feed is None:
            yield await self._store.events(run_id, after_seq)
            return
        async with aclosing(feed.follow(after_seq)) as batches:
            async for batch in batches:
                yield batch

    async def explain(self, run_id: str, by: Submitter) -> RunExplanation:
        """Say where a run's time and money went; raises NotFound."""
        view = await self._store.view(run_id, by.owner)
        services = self._services
        return explain(
            await self._store.events(run_id),
            tools=self._tools.get,
            durations=services.tool_times.usual,
            answer_seconds=services.turn_times.p90(view.model),
        )

    async def simulate(
        self,
        run_id: str,
        by: Submitter,
        *,
        deadline_seconds: float | None = None,
        durations: Mapping[str, float] | None = None,
        parallel: int | None = None,
    ) -> Simulation:
        """Work out what a run that ran, or was only planned, would take; no model or tool is called.

        Args:
            run_id: the run.
            by: who asks.
            deadline_seconds: judged against; None for none.
            durations: what if: seconds by tool.
            parallel: calls of the run at once; None for the server's limit.

        Raises:
            NotFound: there is no such run, or it is somebody else's.
            InvalidRequest: it cannot be played.
        """
        view = await self._store.view(run_id, by.owner)
        services, slots = self._services, self._services.governor.limits
        times = services.tool_times
        plan = plan_from_log(
            await self._store.events(run_id),
            tools=self._tools.get,
            answer_seconds=services.turn_times.p90(view.model),
        )
        return simulate(
            plan,
            durations=durations,
            usual=times.usual,
            limits=SlotLimits(per_run=parallel or slots.per_run, per_type=slots.per_type, tools=slots.tools),
            deadline_seconds=deadline_seconds,
            budget=view.spec.limits,
        )
