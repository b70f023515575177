"""Which endpoint has seen the beginning of a prompt: its prefix cache is worth going back to."""

from __future__ import annotations

import hashlib
from array import array
from collections import OrderedDict
from collections.abc import Sequence

__all__ = ["PrefixAffinity"]


class PrefixAffinity:
    """Remembers endpoints by the first tokens of the prompts they were given.

    A prompt has one key for each of its first `block`, 2 `block`, 4 `block` ... tokens, so few keys
    find the longest beginning that two prompts share to within a factor of two. Prompts with
    different salts share nothing, as in the engines' own caches.

    Args:
        capacity: keys remembered; the one not used for longest goes first.
        block: tokens of the shortest beginning; the size of an engine's cache block.
        depth: how many keys a prompt has at most.
    """

    def __init__(self, *, capacity: int = 16_384, block: int = 32, depth: int = 10) -> None:
        if min(capacity, block, depth) < 1:
            raise ValueError("capacity, block and depth must be at least 1")
        self._capacity = capacity
        self._block = block
        self._depth = depth
        self._endpoints: OrderedDict[bytes, str] = OrderedDict()

    def __len__(self) -> int:
        return len(self._endpoints)

    def keys(self, token_ids: Sequence[int], salt: str = "") -> tuple[bytes, ...]:
        """Return the keys of a prompt, the longest beginning first; none for a short prompt."""
        digest = hashlib.blake2b(salt.encode(), digest_size=16)
        keys: list[bytes] = []
        done, size = 0, self._block
        while size <= len(token_ids) and len(keys) < self._depth:
            try:
                digest.update(array("q", token_ids[done:size]).tobytes())
            except (OverflowError, TypeError):
                # No token id: whoever builds the message refuses it with what to do.
                break
            keys.append(digest.digest())
            done, size = size, size * 2
        return tuple(reversed(keys))

    def find(self, keys: Sequence[bytes]) -> str | None:
        """Return the endpoint that was given the longest of these beginnings."""
        for key in keys:
            endpoint = self._endpoints.get(key)
            if endpoint is not None:
                self._endpoints.move_to_end(key)
                return endpoint
        return None

    def remember(self, keys: Sequence[bytes], endpoint: str) -> None:
        """Note that `endpoint` is given a prompt with these keys."""
        # The shortest beginnings are the most shared, so they are the last to go.
        for key in keys:
            self._endpoints[key] = endpoint
            self._endpoints.move_to_end(key)
        while len(self._endpoints) > self._capacity:
            self._endpoints.popitem(last=False)

    def forget(self, endpoint: str) -> None:
        """Forget an endpoint, because it is gone or its cache is."""
        for key in [key for key, value in self._endpoints.items() if value == endpoint]:
            del self._endpoints[key]
