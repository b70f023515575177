"""The correlation id: from an argument, from the surrounding `correlation(...)` block, or minted."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

CORRELATION_KEY = "x-correlation-id"

_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
_WELL_FORMED = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_current: ContextVar[str] = ContextVar("podium_correlation_id", default="")


@contextmanager
def correlation(correlation_id: str) -> Iterator[None]:
    """Give every call made inside the block this correlation id (async tasks inherit it).

    Args:
        correlation_id: 1 to 128 of `A-Z a-z 0-9 . _ : -`; ValueError otherwise, as the server would
            replace it without a word.
    """
    token = _current.set(checked(correlation_id))
    try:
        yield
    finally:
        _current.reset(token)


def correlation_id_for(argument: str | None) -> str:
    """Return the id to send: the argument, else the surrounding block's, else a fresh one."""
    if argument is not None:
        return checked(argument)
    return _current.get() or mint("exec")


def checked(correlation_id: str) -> str:
    """Return the id, or raise ValueError if the server would not take it."""
    if not _WELL_FORMED.fullmatch(correlation_id):
        raise ValueError(f"a correlation id is 1 to 128 of A-Z a-z 0-9 . _ : -, not {correlation_id!r}")
    return correlation_id


def mint(prefix: str) -> str:
    """Return `prefix_` and 26 characters that sort by time: 48 bits of milliseconds, 80 random bits."""
    number = (time.time_ns() // 1_000_000 % (1 << 48)) << 80 | secrets.randbits(80)
    return prefix + "_" + "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))
