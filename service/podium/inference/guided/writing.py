"""Text from an engine: prompts in, text and usage out, with stop strings and a budget of tokens."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Protocol

from podium.errors import InvalidRequest
from podium.inference.engine import Engine, EngineRequest, FinishReason, Guide, Sampling, TokenDelta, TokensFinished
from podium.orchestration.chat import Usage

__all__ = ["Finished", "Writer", "WriterTokenizer"]


class _Detokenizer(Protocol):
    def push(self, ids: Sequence[int], /) -> str: ...
    def finish(self) -> str: ...


class WriterTokenizer(Protocol):
    """What is needed of a tokenizer; `podium.inference.tokenizer.Tokenizer` is one."""

    eos_token_id: int | None

    def encode(self, text: str, *, parse_special: bool = False) -> list[int]:
        """Turn text into ids; control tokens only when asked for."""
        ...

    def encode_chat(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        """Render messages with the model's template and encode them."""
        ...

    def detokenizer(self) -> _Detokenizer:
        """Start decoding a stream of ids."""
        ...


@dataclass(frozen=True, slots=True)
class Finished:
    """How a piece of writing ended."""

    reason: FinishReason
    usage: Usage = field(default_factory=Usage)


class Writer:
    """Writes with one engine. Closing a stream early aborts its generation."""

    def __init__(self, engine: Engine, tokenizer: WriterTokenizer, *, context_length: int) -> None:
        self._engine = engine
        self._tokenizer = tokenizer
        self._context_length = context_length

    def prompt_ids(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        """Encode a conversation, however long it is."""
        return self._tokenizer.encode_chat(messages)

    def chat_ids(self, messages: Sequence[Mapping[str, Any]], room: int) -> list[int]:
        """Encode a conversation; its oldest turns go when it does not fit beside `room` tokens of answer.

        Raises:
            InvalidRequest: the last message alone is too long for the model.
        """
        kept = list(messages)
        while True:
            ids = self._tokenizer.encode_chat(kept)
            if len(ids) + room <= self._context_length:
                return ids
            droppable = [index for index, message in enumerate(kept[:-1]) if message["role"] != "system"]
            if not droppable:
                raise InvalidRequest(
                    f"The request has {len(ids)} tokens; with {room} for the answer it does not fit the model's "
                    f"{self._context_length}. Shorten it.",
                    metadata={"limit": "context_length"},
                )
            del kept[droppable[0]]

    def text_ids(self, prompt: str) -> list[int]:
        """Encode a prompt that goes on as plain text; control tokens in it are text."""
        return self._tokenizer.encode(prompt)

    async def write(
        self,
        token_ids: Sequence[int],
        *,
        max_tokens: int,
        sampling: Sampling | None = None,
        guide: Guide | None = None,
        stop: Sequence[str] = (),
    ) -> AsyncGenerator[str | Finished, None]:
        """Yield text as it comes, then `Finished`. A stop string ends the text and is not part of it."""
        eos = self._tokenizer.eos_token_id
        request = EngineRequest(
            request_id=f"guided-{secrets.token_hex(8)}",
            token_ids=token_ids,
            max_tokens=max_tokens,
            sampling=sampling or Sampling(),
            guide=guide,
            stop_token_ids=() if eos is None else (eos,),
        )
        decoder = self._tokenizer.detokenizer()
        held, generated = "", 0
        stream = self._engine.generate(request)
        async with aclosing(stream) as items:  # type: ignore[type-var]  # engines return async generators
            async for item in items:
                if isinstance(item, TokenDelta):
                    generated += len(item.token_ids)
                    held += decoder.push(item.token_ids)
                    text, held, stopped = _until_stop(held, stop)
                    if text:
                        yield text
                    if stopped:
                        yield Finished(FinishReason.STOP, Usage(len(token_ids), generated))
                        return
                elif isinstance(item, TokensFinished):
                    text, held, _ = _until_stop(held + decoder.finish(), stop)
                    if text + held:
                        yield text + held
                    yield Finished(item.reason, Usage(item.prompt_tokens, item.completion_tokens, item.cached_tokens))
                    return

    async def whole(
        self, token_ids: Sequence[int], *, max_tokens: int, guide: Guide | None = None, stop: Sequence[str] = ()
    ) -> tuple[str, Finished]:
        """Return the whole text and how it ended."""
        text, end = "", Finished(FinishReason.ERROR)
        async with aclosing(self.write(token_ids, max_tokens=max_tokens, guide=guide, stop=stop)) as items:
            async for item in items:
                if isinstance(item, Finished):
                    end = item
                else:
                    text += item
        return text, end


def _until_stop(held: str, stop: Sequence[str]) -> tuple[str, str, bool]:
    """Return `(text to show, text to hold back, stopped)`: a stop string may be only half there."""
    at = min((place for mark in stop if mark and (place := held.find(mark)) >= 0), default=-1)
    if at >= 0:
        return held[:at], "", True
    longest = max((len(mark) for mark in stop), default=0)
    for size in range(min(longest - 1, len(held)), 0, -1):
        if any(mark.startswith(held[-size:]) for mark in stop):
            return held[:-size], held[-size:], False
    return held, "", False
