"""A call that a provider is still writing, and its sealing."""

from __future__ import annotations

from dataclasses import dataclass, field

from podium.inference.http.http_errors import not_understood
from podium.orchestration.chat import ToolCallSealed

__all__ = ["OpenCall", "Sealer"]

_MOST_CALLS = 1024


@dataclass(slots=True)
class OpenCall:
    """What was received of a call so far."""

    index: int | None
    call_id: str
    name: str
    parts: list[str] = field(default_factory=list)
    size: int = 0

    @property
    def arguments(self) -> bytes:
        """The arguments so far; an empty object when there are none."""
        text = "".join(self.parts).strip()
        return (text or "{}").encode(errors="replace")


class Sealer:
    """Seals the calls of one turn, within limits.

    Args:
        model: name of the model, for messages.
        most_bytes: the most that the arguments of one call may hold.
    """

    def __init__(self, model: str, most_bytes: int) -> None:
        self._model = model
        self._most_bytes = most_bytes
        self._ids: set[str] = set()
        self.count = 0

    def grow(self, call: OpenCall, text: str, *, name: str = "", call_id: str = "") -> None:
        """Add to a call what came of it.

        Raises:
            Unavailable: its arguments are too long.
        """
        call.name = call.name or name
        call.call_id = call.call_id or call_id
        call.parts.append(text)
        call.size += len(text)
        if call.size > self._most_bytes:
            raise not_understood(self._model, "a call with more arguments than one may have")

    def seal(self, call: OpenCall) -> ToolCallSealed:
        """Return a complete call. An id that another call of the turn has is dropped.

        Raises:
            Unavailable: it names no tool, or there are too many calls.
        """
        self.count += 1
        if self.count > _MOST_CALLS:
            raise not_understood(self._model, f"more than {_MOST_CALLS} calls in one turn")
        if not call.name:
            raise not_understood(self._model, "a call without the name of a tool")
        provider_id = "" if call.call_id in self._ids else call.call_id
        self._ids.add(provider_id)
        return ToolCallSealed(call.name, call.arguments, provider_id)
