"""What the orchestrator needs of a store: an append-only log of events for each run.

Implementations live in `podium.store`. All of them pass `tests/contract/test_run_store.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from podium.orchestration.events import EventKind, LoggedEvent, RunSpec, RunState
from podium.orchestration.view import RunView

__all__ = ["RunHeader", "RunPage", "RunStore"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunHeader:
    """What is known of a run before its first event. `owner` is whoever may see it."""

    run_id: str
    owner: str
    spec: RunSpec
    create_ns: int


@dataclass(frozen=True, slots=True)
class RunPage:
    """Some runs, newest first, and the token of the next page, empty at the end."""

    runs: Sequence[RunView]
    next_page_token: str


class RunStore(Protocol):
    """Keeps runs. Every write is visible to the next read of the same process."""

    async def create(self, header: RunHeader) -> RunHeader:
        """Add a run, or return the header of the run that has its owner and `request_id` already.

        A header without `request_id` is always added.

        Raises:
            AlreadyExists: the owner used this `request_id` with another spec.
        """
        ...

    async def append(self, run_id: str, kind: EventKind, time_ns: int) -> LoggedEvent:
        """Add an event to a run's log and give it the next `seq`.

        Raises:
            NotFound: there is no such run.
        """
        ...

    async def events(self, run_id: str, after_seq: int = 0) -> Sequence[LoggedEvent]:
        """Return a run's events beyond `after_seq`.

        Raises:
            NotFound: there is no such run.
        """
        ...

    async def view(self, run_id: str, owner: str) -> RunView:
        """Return a run as it stands. The result is the caller's own.

        Raises:
            NotFound: there is no such run, or it is somebody else's.
        """
        ...

    async def list(self, owner: str, *, page_size: int, page_token: str, states: Collection[RunState]) -> RunPage:
        """Return the owner's runs, newest first; no `states` means all.

        Raises:
            InvalidRequest: the page token is not one of ours.
        """
        ...
