"""A chat model that plays a file: exact text, calls and timings, for tests, demos and load.

A script file is TOML (or JSON of the same shape):

    [[scripts]]
    match = "weather"            # found in the request, upper and lower case alike; "" matches all
    [[scripts.turns]]
    events = [
      { at_ms = 100, text = "Let me look. " },
      { at_ms = 150, call = "get_weather", arguments = { city = "Rome" } },
    ]
    end_ms = 200
    [[scripts.turns]]
    events = [{ at_ms = 20, text = "In Rome: {{c0_0/sky}}." }]

Times are milliseconds from the start of the turn, so delays do not add up. The first script whose
`match` is found in the latest request plays; the turn is the number of turns the model has had. In
texts, `{{CALL_ID}}` is that call's result and `{{CALL_ID/KEY/0}}` a part of it (JSON Pointer).
"""

from __future__ import annotations

import asyncio
import json
import re
import tomllib
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from podium.errors import InvalidRequest
from podium.orchestration.chat import (
    AssistantMessage,
    ChatEvent,
    ChatRequest,
    ModelInfo,
    TextDelta,
    TokenCount,
    ToolCallSealed,
    ToolMessage,
    TurnFinished,
    TurnFinishReason,
    Usage,
    UserMessage,
)
from podium.packed_json import packed

__all__ = ["Script", "ScriptFile", "ScriptedModel", "ScriptedTurn", "load_script_file"]

_REFERENCE = re.compile(r"\{\{(c\d+_\d+)((?:/[^{}/]*)*)\}\}")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ScriptedEvent(_Strict):
    """Either some text or one call, `at_ms` after the turn's start."""

    at_ms: float = Field(default=0, ge=0)
    text: str | None = None
    call: str | None = None
    arguments: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_of(self) -> ScriptedEvent:
        if (self.text is None) == (self.call is None):
            raise ValueError("an event needs either `text` or `call`")
        return self


class ScriptedTurn(_Strict):
    """One model turn. `end_ms` is when it finishes, at the last event by default."""

    events: tuple[ScriptedEvent, ...] = ()
    end_ms: float | None = None


class Script(_Strict):
    """Turns for the requests that contain `match`."""

    match: str = ""
    turns: tuple[ScriptedTurn, ...] = Field(min_length=1)


class ScriptFile(_Strict):
    """A whole file."""

    scripts: tuple[Script, ...] = Field(min_length=1)


def load_script_file(path: Path) -> ScriptFile:
    """Read a script file.

    Raises:
        ValueError: it cannot be read or is not a script file; the message says what is wrong and where.
    """
    try:
        raw = path.read_bytes()
        data = orjson.loads(raw) if path.suffix == ".json" else tomllib.loads(raw.decode())
        return ScriptFile.model_validate(data)
    except OSError as error:
        raise ValueError(f"the script file {path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:5])
        raise ValueError(f"the script file {path} is not valid: {problems}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, orjson.JSONDecodeError) as error:
        raise ValueError(f"the script file {path} is not valid TOML or JSON: {error}") from error


class ScriptedModel:
    """A `ChatModel` that plays a `ScriptFile`. Usage counts words as tokens."""

    def __init__(self, name: str, scripts: ScriptFile) -> None:
        self.name = name
        self._scripts = scripts.scripts

    async def info(self) -> ModelInfo:
        """Describe the model; it is always ready."""
        return ModelInfo(name=self.name, kind="scripted", ready=True)

    async def count_tokens(self, request: ChatRequest) -> TokenCount:
        """Count words, which is what its usage counts."""
        return TokenCount(_words(request), exact=True)

    async def stream(self, request: ChatRequest) -> AsyncIterator[ChatEvent]:
        """Play the turn that the request calls for; a script that is played out answers with no text.

        Raises:
            InvalidRequest: no script matches.
        """
        turn = self._turn(request)
        results = {m.call_id: m.content for m in request.messages if isinstance(m, ToolMessage)}
        loop = asyncio.get_running_loop()
        start = loop.time()
        calls, words = 0, 0
        for event in turn.events:
            await _until(start + event.at_ms / 1000)
            if event.call is not None:
                calls += 1
                yield ToolCallSealed(event.call, packed(_fill(event.arguments, results)))
            elif event.text is not None:
                text = _fill_text(event.text, results)
                words += len(text.split())
                yield TextDelta(text)
        if turn.end_ms is not None:
            await _until(start + turn.end_ms / 1000)
        reason = TurnFinishReason.TOOL_CALLS if calls else TurnFinishReason.STOP
        yield TurnFinished(reason, Usage(prompt_tokens=_words(request), completion_tokens=words + calls))

    def _turn(self, request: ChatRequest) -> ScriptedTurn:
        users = [m.text for m in request.messages if isinstance(m, UserMessage)]
        latest = users[-1] if users else ""
        for script in self._scripts:
            if script.match.casefold() in latest.casefold():
                index = sum(isinstance(m, AssistantMessage) for m in request.messages)
                return script.turns[index] if index < len(script.turns) else ScriptedTurn()
        raise InvalidRequest(f"model {self.name!r} plays a file, and no script in it matches this request")


async def _until(when: float) -> None:
    # Absolute, so that time spent by the consumer does not push later events back.
    delay = when - asyncio.get_running_loop().time()
    if delay > 0:
        await asyncio.sleep(delay)


def _words(request: ChatRequest) -> int:
    return sum(len(m.text.split()) for m in request.messages if not isinstance(m, ToolMessage))


def _fill(value: Any, results: Mapping[str, str]) -> Any:
    """Resolve references inside arguments; a string that is one reference becomes the value itself."""
    if isinstance(value, str):
        whole = _REFERENCE.fullmatch(value)
        return _look_up(whole, results) if whole else _fill_text(value, results)
    if isinstance(value, Mapping):
        return {key: _fill(item, results) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [_fill(item, results) for item in value]
    return value


def _fill_text(text: str, results: Mapping[str, str]) -> str:
    def replace(match: re.Match[str]) -> str:
        found = _look_up(match, results)
        return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)

    return _REFERENCE.sub(replace, text)


def _look_up(match: re.Match[str], results: Mapping[str, str]) -> Any:
    """Return what a reference points at, or say in its place that it is missing."""
    call_id, pointer = match.groups()
    missing = f"[no {match.group(0).strip('{}')}]"
    if call_id not in results:
        return missing
    try:
        value: Any = orjson.loads(results[call_id])
    except orjson.JSONDecodeError:
        return missing if pointer else results[call_id]
    for raw in pointer.split("/")[1:]:
        key = raw.replace("~1", "/").replace("~0", "~")
        if isinstance(value, Mapping) and key in value:
            value = value[key]
        elif isinstance(value, list) and key.isdigit() and int(key) < len(value):
            value = value[int(key)]
        else:
            return missing
    return value
