"""Texts that are not planning: every form that the service asks the model for, and none that it is taught."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from training.cards import Domain
from training.talk import talks

COUNT = 400


class Written:
    """Stands in for a tokenizer: its tokens are characters, and it keeps what it was given."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def encode(self, text: str) -> list[int]:
        self.texts.append(text)
        return [ord(letter) for letter in text]

    def encode_chat(self, messages: Sequence[Mapping[str, Any]], *, add_generation_prompt: bool = True) -> list[int]:
        assert not add_generation_prompt
        assert all(message["content"].strip() for message in messages)
        assert messages[-1]["role"] == "assistant"
        return self.encode("\n".join(f"<{message['role']}> {message['content']}" for message in messages))


def written(domains: Sequence[Domain], seed: int = 5) -> list[str]:
    encoder = Written()
    texts = list(itertools.islice(talks(domains, seed, encoder), COUNT))
    assert all(0 < len(text) <= 220 for text in texts)
    return encoder.texts


def test_the_forms(domains: Sequence[Domain]) -> None:
    """Talk, results in words with and without a request, arguments; hardly one twice."""
    texts = written(domains)
    assert sum("Say the fact in one natural sentence." in text for text in texts) > COUNT // 10
    assert sum("\nFacts:\n" in text for text in texts) > COUNT // 30
    assert sum(text.startswith("<") and "Facts:" not in text for text in texts) > COUNT // 3
    assert sum("\nArguments: {" in text for text in texts) > COUNT // 10
    assert len(set(texts)) > 0.95 * COUNT
    assert not any("<|im_start|>" in text or "=> yes" in text for text in texts)


def test_the_same_seed_gives_the_same_texts_and_another_seed_others(domains: Sequence[Domain]) -> None:
    assert written(domains) == written(domains)
    assert written(domains) != written(domains, 6)
