"""Writes one run's log: store first, then the run's view, its readers and the observers."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol

from podium.orchestration.events import EventKind, LoggedEvent
from podium.orchestration.feed import RunFeed
from podium.orchestration.journal import RunHeader, RunStore
from podium.orchestration.view import QuestionView, RunView

__all__ = ["RunLog", "RunObserver"]


class RunObserver(Protocol):
    """Is told of every event of every run; must be quick and must not raise."""

    def observe(self, view: RunView, event: LoggedEvent) -> None:
        """Take note of one event; `view` already includes it and is not to be kept."""
        ...


class RunLog:
    """The one way to write to a run. A reader never sees what the store does not have."""

    def __init__(
        self, header: RunHeader, store: RunStore, observers: Collection[RunObserver], clock_ns: Callable[[], int]
    ) -> None:
        self.feed = RunFeed(header.run_id)
        self._run_id = header.run_id
        self._store = store
        self._view = RunView(header.run_id, header.spec, header.create_ns)
        self._observers = observers
        self._clock_ns = clock_ns

    @property
    def view(self) -> RunView:
        """The run as it stands; the caller's own once the run has ended."""
        return self._view

    @property
    def open_questions(self) -> list[QuestionView]:
        """The run's questions that nobody has settled."""
        return [question for question in self._view.questions.values() if question.settled is None]

    async def append(self, kind: EventKind) -> None:
        """Log one event."""
        event = await self._store.append(self._run_id, kind, self._clock_ns())
        self._view.apply(event)
        self.feed.logged(event)
        for observer in self._observers:
            observer.observe(self._view, event)

    def text(self, chunk: str) -> None:
        """Show more text of the turn in progress; its whole text is logged when the turn ends."""
        self.feed.text(chunk)
