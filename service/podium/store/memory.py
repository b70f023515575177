"""Runs kept in memory: bounded by number and by size, gone with the process."""

from __future__ import annotations

import base64
import binascii
import copy
from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from podium.errors import AlreadyExists, InvalidRequest, NotFound
from podium.orchestration.events import (
    CallFinished,
    CallSealed,
    CallSucceeded,
    EventKind,
    LoggedEvent,
    RunEnded,
    RunState,
    TurnEnded,
)
from podium.orchestration.journal import RunHeader, RunPage
from podium.orchestration.view import RunView

__all__ = ["MemoryRunStore"]

# A Python object, its header and its place in a list; measured order of magnitude, not a promise.
_EVENT_OVERHEAD_BYTES = 400


@dataclass(slots=True)
class _Kept:
    header: RunHeader
    view: RunView
    events: list[LoggedEvent] = field(default_factory=list)
    size: int = 0


class MemoryRunStore:
    """A `RunStore` in memory.

    Ended runs are dropped, those first that ended first, when there are more than `max_runs` or they take more than
    `max_bytes` (payloads plus an estimate for the rest). Runs in progress are never dropped.
    """

    def __init__(self, *, max_runs: int = 1000, max_bytes: int = 256 * 1024 * 1024) -> None:
        self._max_runs = max_runs
        self._max_bytes = max_bytes
        self._runs: OrderedDict[str, _Kept] = OrderedDict()
        self._ended: OrderedDict[str, None] = OrderedDict()  # in the order of their ends
        self._by_request: dict[tuple[str, str], str] = {}
        self._bytes = 0

    async def create(self, header: RunHeader) -> RunHeader:
        """Add a run; see `RunStore.create`."""
        request = (header.owner, header.spec.request_id)
        if header.spec.request_id and (known := self._by_request.get(request)):
            earlier = self._runs[known].header
            if earlier.spec == header.spec:
                return earlier
            raise AlreadyExists(
                f"request_id {header.spec.request_id!r} was used before with another request; choose a new one",
                reason="REQUEST_ID_REUSED",
                metadata={"run_id": known},
            )
        size = len(header.spec.input) + _EVENT_OVERHEAD_BYTES
        self._runs[header.run_id] = _Kept(header, RunView(header.run_id, header.spec, header.create_ns), size=size)
        self._bytes += size
        if header.spec.request_id:
            self._by_request[request] = header.run_id
        self._evict()
        return header

    async def append(self, run_id: str, kind: EventKind, time_ns: int) -> LoggedEvent:
        """Add an event; see `RunStore.append`."""
        kept = self._find(run_id)
        event = LoggedEvent(run_id, len(kept.events) + 1, time_ns, kind)
        kept.events.append(event)
        kept.view.apply(event)
        size = _EVENT_OVERHEAD_BYTES + _payload_bytes(kind)
        kept.size += size
        self._bytes += size
        if isinstance(kind, RunEnded):
            self._ended[run_id] = None
        return event

    async def events(self, run_id: str, after_seq: int = 0) -> Sequence[LoggedEvent]:
        """Return events; see `RunStore.events`."""
        return self._find(run_id).events[after_seq:]

    async def view(self, run_id: str, owner: str) -> RunView:
        """Return a run; see `RunStore.view`."""
        kept = self._find(run_id)
        if kept.header.owner != owner:
            raise _not_found(run_id)
        return _snapshot(kept.view)

    async def list(self, owner: str, *, page_size: int, page_token: str, states: Collection[RunState]) -> RunPage:
        """Return a page; see `RunStore.list`."""
        before = _decode_token(page_token) if page_token else None
        page: list[RunView] = []
        # Run ids are ordered by time, so the id of the last run shown is a stable cursor.
        for run_id, kept in reversed(self._runs.items()):
            if kept.header.owner != owner or (before is not None and run_id >= before):
                continue
            if states and kept.view.state not in states:
                continue
            if len(page) == page_size:
                return RunPage(page, _encode_token(page[-1].run_id))
            page.append(_snapshot(kept.view))
        return RunPage(page, "")

    def _find(self, run_id: str) -> _Kept:
        try:
            return self._runs[run_id]
        except KeyError:
            raise _not_found(run_id) from None

    def _evict(self) -> None:
        while self._ended and (len(self._runs) > self._max_runs or self._bytes > self._max_bytes):
            run_id, _ = self._ended.popitem(last=False)
            kept = self._runs.pop(run_id)
            self._by_request.pop((kept.header.owner, kept.header.spec.request_id), None)
            self._bytes -= kept.size


def _payload_bytes(kind: EventKind) -> int:
    match kind:
        case CallSealed(arguments_json=arguments):
            return len(arguments)
        case CallFinished(outcome=CallSucceeded(result_json=result)):
            return len(result)
        case TurnEnded(text=text):
            return len(text)
        case _:
            return 0


def _snapshot(view: RunView) -> RunView:
    """Copy what may still change; events and results are immutable and shared."""
    snapshot = copy.copy(view)
    snapshot.calls = {call_id: copy.copy(call) for call_id, call in view.calls.items()}
    return snapshot


def _not_found(run_id: str) -> NotFound:
    return NotFound(
        f"there is no run {run_id!r}; it may have been dropped, or belong to another caller",
        resource_type="podium.v1.Run",
        resource_name=run_id,
    )


def _encode_token(run_id: str) -> str:
    return base64.urlsafe_b64encode(run_id.encode()).decode().rstrip("=")


def _decode_token(token: str) -> str:
    try:
        run_id = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode("ascii")
    except (binascii.Error, ValueError):
        run_id = ""
    if not run_id.startswith("run_"):
        raise InvalidRequest("page_token is not one that this server gave; start again without it")
    return run_id
