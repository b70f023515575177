"""Long results of tools: cut for the model, kept for a while, and handed out piece by piece on demand."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import orjson

from podium.orchestration.tool import (
    SideEffects,
    ToolFailure,
    ToolFailureCode,
    ToolInvocation,
    ToolResult,
    ToolSpec,
)
from podium.packed_json import packed

__all__ = ["FETCH_RESULT", "CutResult", "KeptResults", "Piece", "ToolResultStore", "cut", "fetch_result"]

_LONGEST_PIECE: Final = 20_000
_USUAL_PIECE: Final = 4_000
_BORDERS: Final = ("\n\n", "\n", ". ", "; ", ", ", " ")
_BORDER_SHARE: Final = 0.8  # a border before this share of the text would waste too much of it

FETCH_RESULT: Final = ToolSpec(
    name="fetch_result",
    description=(
        "Read more of a long tool result that was cut. Give the handle that stands in the cut result, and the offset "
        "to read from."
    ),
    input_schema={
        "type": "object",
        "properties": {
            "handle": {"type": "string", "minLength": 1, "maxLength": 64, "description": "From the cut result."},
            "offset": {"type": "integer", "minimum": 0, "default": 0, "description": "First character to read."},
            "limit": {
                "type": "integer",
                "minimum": 1,
                "maximum": _LONGEST_PIECE,
                "default": _USUAL_PIECE,
                "description": "Most characters to read.",
            },
        },
        "required": ["handle"],
        "additionalProperties": False,
    },
    side_effects=SideEffects.NONE,
    type="results",
)
"""Offer it to the model once a result of the run was cut; `fetch_result` runs it."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Part of a kept result, in characters. `next_offset` is None at its end."""

    text: str
    offset: int
    total: int
    next_offset: int | None


@dataclass(frozen=True, slots=True)
class CutResult:
    """A result as the model gets it. `handle` is "" when it is whole, or could not be kept."""

    text: str
    handle: str = ""
    missing: int = 0


@dataclass(frozen=True, slots=True)
class _Kept:
    text: str
    size: int
    until: float


class ToolResultStore:
    """Keeps long results in memory. A handle opens its result only in its own run and tenant.

    Args:
        ttl_seconds: how long a result is kept.
        max_bytes: of all results; the oldest go first.
        max_bytes_per_tenant: likewise of one tenant, so that none pushes out the others'.
        clock: monotonic seconds.
        new_handle: makes handles that cannot be guessed.
    """

    def __init__(
        self,
        *,
        ttl_seconds: float = 900.0,
        max_bytes: int = 64 * 1024 * 1024,
        max_bytes_per_tenant: int = 16 * 1024 * 1024,
        clock: Callable[[], float] = time.monotonic,
        new_handle: Callable[[], str] = lambda: f"res_{secrets.token_hex(8)}",
    ) -> None:
        if ttl_seconds <= 0 or max_bytes <= 0 or max_bytes_per_tenant <= 0:
            raise ValueError("the limits of kept results must be above zero")
        self._ttl = ttl_seconds
        self._most = max_bytes
        self._most_of_tenant = max_bytes_per_tenant
        self._clock = clock
        self._new_handle = new_handle
        self._kept: OrderedDict[tuple[str, str, str], _Kept] = OrderedDict()  # oldest first
        self._bytes = 0
        self._bytes_of: dict[str, int] = {}

    @property
    def bytes_kept(self) -> int:
        """Size of everything kept, in bytes."""
        return self._bytes

    def put(self, tenant: str, run_id: str, text: str) -> str:
        """Keep a result and return its handle; "" when it is larger than may be kept at all."""
        size = len(text.encode())
        self._expire()
        if size > min(self._most, self._most_of_tenant):
            return ""
        while self._bytes_of.get(tenant, 0) + size > self._most_of_tenant:
            self._drop(next(key for key in self._kept if key[0] == tenant))
        while self._bytes + size > self._most:
            self._drop(next(iter(self._kept)))
        handle = self._new_handle()
        self._kept[tenant, run_id, handle] = _Kept(text, size, self._clock() + self._ttl)
        self._bytes += size
        self._bytes_of[tenant] = self._bytes_of.get(tenant, 0) + size
        return handle

    def read(self, tenant: str, run_id: str, handle: str, offset: int = 0, limit: int = _USUAL_PIECE) -> Piece | None:
        """Return part of a kept result; None when nothing (or nothing any more) is kept under the handle."""
        self._expire()
        kept = self._kept.get((tenant, run_id, handle))
        if kept is None:
            return None
        start = min(max(0, offset), len(kept.text))
        end = min(len(kept.text), start + max(1, min(limit, _LONGEST_PIECE)))
        return Piece(kept.text[start:end], start, len(kept.text), end if end < len(kept.text) else None)

    def forget_run(self, tenant: str, run_id: str) -> None:
        """Drop everything kept for a run that has ended."""
        for key in [key for key in self._kept if key[:2] == (tenant, run_id)]:
            self._drop(key)

    def _expire(self) -> None:
        now = self._clock()
        while self._kept:
            key, kept = next(iter(self._kept.items()))
            if kept.until > now:
                return
            self._drop(key)

    def _drop(self, key: tuple[str, str, str]) -> None:
        size = self._kept.pop(key).size
        self._bytes -= size
        left = self._bytes_of.pop(key[0], 0) - size
        if left:  # results of no bytes may be left without an entry
            self._bytes_of[key[0]] = left


def cut(
    text: str, limit: int, *, store: ToolResultStore | None = None, tenant: str = "", run_id: str = ""
) -> CutResult:
    """Cut a result to about `limit` characters at the end of a line, sentence or word, and say what is missing.

    Args:
        text: the result as text.
        limit: most characters of it to show; the marker comes on top.
        store: keeps the whole, when there is one.
        tenant: whose result it is.
        run_id: of which run.
    """
    if limit < 1:
        raise ValueError("the limit must be above zero")
    if len(text) <= limit:
        return CutResult(text)
    shown = text[: _border(text, limit)]
    missing = len(text) - len(shown)
    handle = store.put(tenant, run_id, text) if store is not None else ""
    more = f'; read on with {FETCH_RESULT.name}(handle="{handle}", offset={len(shown)})' if handle else ""
    return CutResult(f"{shown}\n[cut here: {missing} of {len(text)} characters are missing{more}]", handle, missing)


def _border(text: str, limit: int) -> int:
    earliest = int(limit * _BORDER_SHARE)
    for border in _BORDERS:
        kept = len(border.rstrip(" "))
        place = text.rfind(border, earliest, limit + len(border) - kept)
        if place >= 0 and place + kept > 0:
            return place + kept
    return limit


async def fetch_result(store: ToolResultStore, invocation: ToolInvocation) -> ToolResult:
    """Run one call of `FETCH_RESULT`.

    Raises:
        ToolFailure: the arguments are wrong, or nothing is kept under the handle.
    """
    handle, offset, limit = _arguments(invocation.arguments_json)
    piece = store.read(invocation.tenant, invocation.run_id, handle, offset, limit)
    if piece is None:
        message = (
            f"nothing is kept under {handle!r}: results are kept for a while and in their own run; call the tool again"
        )
        raise ToolFailure(ToolFailureCode.INVALID_ARGUMENTS, message)
    value = {"text": piece.text, "offset": piece.offset, "total": piece.total, "next_offset": piece.next_offset}
    return ToolResult(result_json=packed(value))


def _arguments(raw: bytes) -> tuple[str, int, int]:
    try:
        given: Any = orjson.loads(raw)
    except orjson.JSONDecodeError:
        given = None
    if isinstance(given, dict) and not given.keys() - {"handle", "offset", "limit"}:
        handle, offset, limit = given.get("handle"), given.get("offset", 0), given.get("limit", _USUAL_PIECE)
        whole = all(isinstance(number, int) and not isinstance(number, bool) for number in (offset, limit))
        if isinstance(handle, str) and 0 < len(handle) <= 64 and whole and offset >= 0 and limit >= 1:
            return handle, offset, limit
    raise ToolFailure(
        ToolFailureCode.INVALID_ARGUMENTS,
        f"{FETCH_RESULT.name} takes a handle, an offset of 0 or more and a limit of 1 to {_LONGEST_PIECE}",
    )


class KeptResults:
    """`LongResults` for the runner: results over `limit` characters are cut, and kept in a store."""

    tool = FETCH_RESULT

    def __init__(self, limit: int, store: ToolResultStore | None = None) -> None:
        self._limit = limit
        self._store = store or ToolResultStore()

    def cut(self, text: str, *, tenant: str, run_id: str) -> str | None:
        """Return what the model is shown in place of a result; None when that is short enough as it is."""
        found = cut(text, self._limit, store=self._store, tenant=tenant, run_id=run_id)
        return found.text if found.missing else None

    async def fetch(self, invocation: ToolInvocation) -> ToolResult:
        """Run a call of `FETCH_RESULT`; see `fetch_result`."""
        return await fetch_result(self._store, invocation)

    def forget(self, tenant: str, run_id: str) -> None:
        """Drop what is kept for a run that has ended."""
        self._store.forget_run(tenant, run_id)
