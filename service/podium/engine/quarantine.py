"""Guides that broke the engine once, by digest."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

from podium.errors import InvalidRequest
from podium.inference.engine import Guide

__all__ = ["Quarantine", "guide_digest"]


def guide_digest(guide: Guide) -> str:
    """Name a guide without keeping its text: SHA-256 over kind and text, in hex."""
    return hashlib.sha256(f"{guide.kind.value}\0{guide.text}".encode()).hexdigest()


class Quarantine:
    """The digests of guides under which a step raised; the oldest go first when it is full."""

    def __init__(self, capacity: int = 1024) -> None:
        self._digests: OrderedDict[str, None] = OrderedDict()
        self._capacity = capacity

    def add(self, digest: str) -> None:
        """Refuse this guide from now on."""
        self._digests[digest] = None
        self._digests.move_to_end(digest)
        while len(self._digests) > self._capacity:
            self._digests.popitem(last=False)

    def __contains__(self, digest: str) -> bool:
        return digest in self._digests

    def check(self, digest: str) -> None:
        """Refuse a quarantined guide.

        Raises:
            InvalidRequest: a step raised under this guide before.
        """
        if digest and digest in self._digests:
            raise InvalidRequest(
                "This guide made the engine fail before and is refused; simplify it.",
                metadata={"guide_sha256": digest},
            )
