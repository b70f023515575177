"""The prefix cache as far as it can be seen from outside: reused tokens, events and statistics."""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

from tensorrt_llm._control import fake

__all__ = ["KvCache"]


class KvCache:
    """Full blocks of prompts by chained hash and salt; events as in section 2.6, in a bounded buffer."""

    def __init__(self, config: Any) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._blocks: dict[int, Sequence[int]] = {}
        self._reused = self._missed = self._next_event = 0
        self.events: deque[dict[str, Any]] = deque()
        self._note({"type": "created", "num_blocks_per_cache_level": [fake.settings.kv_blocks, 0]})

    def allocate(self, prompt: Sequence[int], salt: str | None) -> int:
        """Store the prompt's full blocks and return how many tokens of it were there already under this salt."""
        size = self._config.tokens_per_block
        parent = _digest((salt,)) if salt is not None else 0
        reused, first_parent = 0, None
        stored: list[dict[str, Any]] = []
        with self._lock:
            # The last token is always computed: its logits are needed.
            for start in range(0, len(prompt) - size, size):
                tokens = tuple(prompt[start : start + size])
                block = _digest((parent, tokens))
                if self._config.enable_block_reuse and block in self._blocks and not stored:
                    reused += size
                else:
                    first_parent = parent if first_parent is None else first_parent
                    stored.append(_stored(block, tokens))
                    self._blocks[block] = tokens
                parent = block
            self._reused += reused // size
            self._missed += len(stored)
            if stored:
                self._note({"type": "stored", "parent_hash": first_parent or None, "blocks": stored})
            self._shrink(fake.settings.kv_blocks)
        return reused

    def evict(self) -> None:
        """Drop every cached block."""
        with self._lock:
            self._shrink(0)

    def stats(self) -> dict[str, Any]:
        """Return the `kvCacheStats` of an iteration."""
        used, total = len(self._blocks), fake.settings.kv_blocks
        seen = self._reused + self._missed
        return {
            "maxNumBlocks": total,
            "freeNumBlocks": total - used,
            "usedNumBlocks": used,
            "tokensPerBlock": self._config.tokens_per_block,
            "reusedBlocks": self._reused,
            "missedBlocks": self._missed,
            "cacheHitRate": self._reused / seen if seen else 0.0,
        }

    def take_events(self) -> list[dict[str, Any]]:
        """Return the events so far and forget them: one consumer (rule 26)."""
        with self._lock:
            events = list(self.events)
            self.events.clear()
        return events

    def _shrink(self, limit: int) -> None:
        gone = list(self._blocks)[: max(0, len(self._blocks) - limit)]
        for block in gone:
            del self._blocks[block]
        if gone:
            self._note({"type": "removed", "block_hashes": gone})

    def _note(self, data: dict[str, Any]) -> None:
        if self._config.event_buffer_max_size <= 0:
            return
        self.events.append({"event_id": self._next_event, "data": data})
        self._next_event += 1
        while len(self.events) > self._config.event_buffer_max_size:
            # The reader sees a gap in `event_id` and must start over (T38).
            self.events.popleft()


def _stored(block: int, tokens: Sequence[int]) -> dict[str, Any]:
    return {
        "type": "stored_block",
        "block_hash": block,
        "tokens": [{"type": "unique_token", "token_id": token, "token_extra_id": 0} for token in tokens],
        "cache_level": 0,
        "priority": 35,
    }


def _digest(value: object) -> int:
    """Return an unsigned 64-bit hash."""
    return int.from_bytes(hashlib.sha256(repr(value).encode()).digest()[:8], "big")
