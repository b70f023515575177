"""Ids: unique, ordered by time as strings, and cheap to make.

Two shapes, both 26 characters of Crockford's base 32 (lower case) behind a prefix:

- *run ids* are UUIDv7 (RFC 9562): 48 bits of milliseconds, 74 bits of randomness, monotonic
  within a process. They are handed out as names, so they must not be guessable.
- *call ids* (`exec_`, `req_`) share the 48-bit time and then carry 40 random bits drawn once per
  process and a 40-bit counter: unique and ordered, though not secret, and about ten times
  cheaper, because a gRPC call makes two of them.

The first ten characters of either are the time alone (3 + 9 * 5 = 48 bits), so they are worked
out once a millisecond.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Final

__all__ = ["ALPHABET", "Ids", "decode", "encode"]

ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32: no i, l, o, u."""

_PAIRS: Final = tuple(high + low for high in ALPHABET for low in ALPHABET)
_VALUES: Final = {character: value for value, character in enumerate(ALPHABET)}
_TIME_MASK: Final = (1 << 48) - 1
_RANDOM_BITS: Final = 74
_COUNTER_MASK: Final = (1 << 40) - 1


def encode(value: int, length: int) -> str:
    """Write the lowest `5 * length` bits of `value` as `length` characters; `length` is even."""
    return "".join([_PAIRS[(value >> shift) & 1023] for shift in range(5 * length - 10, -1, -10)])


def decode(text: str) -> int:
    """Read what `encode` wrote.

    Raises:
        ValueError: a character outside the alphabet.
    """
    value = 0
    for character in text:
        if character not in _VALUES:
            raise ValueError(f"{character!r} is not a character of Crockford's base 32")
        value = value << 5 | _VALUES[character]
    return value


class Ids:
    """Makes ids for one process. Not for use from several threads at once.

    Args:
        clock: nanoseconds since the epoch.
        entropy: returns that many random bytes.
    """

    __slots__ = ("_clock", "_counter", "_entropy", "_high", "_prefix", "_prefix_ms", "_process", "_run_ms", "_run_rest")

    def __init__(
        self, *, clock: Callable[[], int] = time.time_ns, entropy: Callable[[int], bytes] = os.urandom
    ) -> None:
        self._clock = clock
        self._entropy = entropy
        self._process = encode(int.from_bytes(entropy(5), "big"), 8)
        self._counter = 0
        self._high = encode(0, 4)
        self._prefix_ms = -1
        self._prefix = ""
        self._run_ms = -1
        self._run_rest = 0

    def correlation_id(self) -> str:
        """Return a new `exec_...` id."""
        return "exec_" + self._call_id()

    def request_id(self) -> str:
        """Return a new `req_...` id."""
        return "req_" + self._call_id()

    def call_ids(self) -> tuple[str, str]:
        """Return a new correlation id and a new request id, for the price of little more than one."""
        request = self._call_id()
        counter = self._counter = (self._counter + 1) & _COUNTER_MASK
        low = counter & 0xFFFFF
        if not low:
            self._high = encode(counter >> 20, 4)
        return f"exec_{self._prefix}{self._high}{_PAIRS[low >> 10]}{_PAIRS[low & 1023]}", "req_" + request

    def run_id(self) -> str:
        """Return a new `run_...` id: a UUIDv7, greater than every one this object made before."""
        millis = self._clock() // 1_000_000
        if millis > self._run_ms:
            self._run_ms = millis
            # The topmost random bit starts clear, so the steps below cannot run over.
            self._run_rest = self._random(10) & ((1 << (_RANDOM_BITS - 1)) - 1)
        else:
            # Same millisecond, or the clock was set back: a random step up from the last id.
            self._run_rest += 1 + (self._random(4) & 0x7FFF_FFFF)
        rest = self._run_rest
        tail = 7 << 76 | (rest >> 62) << 64 | 2 << 62 | rest & ((1 << 62) - 1)
        return "run_" + encode(self._run_ms & _TIME_MASK, 10) + encode(tail, 16)

    def _call_id(self) -> str:
        millis = self._clock() // 1_000_000
        # A clock set back must not reorder the ids, so the time never falls.
        if millis > self._prefix_ms:
            self._prefix_ms = millis
            self._prefix = encode(millis & _TIME_MASK, 10) + self._process
        counter = self._counter = (self._counter + 1) & _COUNTER_MASK
        low = counter & 0xFFFFF
        if not low:
            self._high = encode(counter >> 20, 4)
        return self._prefix + self._high + _PAIRS[low >> 10] + _PAIRS[low & 1023]

    def _random(self, size: int) -> int:
        return int.from_bytes(self._entropy(size), "big")
