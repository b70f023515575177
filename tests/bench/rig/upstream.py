"""The scripted upstream: OpenAI's chat completions, every chunk at its planned time, and a log of when it really went.

`POST /v1/chat/completions` plays the script that the last user message names (see `workloads`), streamed or whole.
`GET /log` gives what has ended since the last time, one entry per request. Steps are written from ready bytes; the
loop waits with `select`, whose timeouts are exact to the microsecond, unless there are many connections.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import selectors
import time
from collections.abc import Mapping
from functools import cache
from typing import Any, cast

import orjson

from bench.child import report_and_wait
from bench.rig.workloads import EVERY_SCRIPT, Script, Turn, script

MODEL = "bench"
_HEAD: dict[str, Any] = {"id": "chatcmpl-1", "created": 1_700_000_000, "model": MODEL}
_STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_SHOWN = ("raise", "hang")  # scripts of which it matters what the model is told

LOG: list[dict[str, Any]] = []


@cache
def stream_bytes(name: str, number: int) -> list[tuple[float, bytes]]:
    """Return the time and the bytes of each step of a turn."""
    steps = []
    turn = script(name).turns[number]
    for index, step in enumerate(turn.steps):
        events = b"".join(
            b"data: " + orjson.dumps({**_HEAD, "object": "chat.completion.chunk", **chunk}) + b"\n\n"
            for chunk in step.chunks
        )
        last = index == len(turn.steps) - 1
        if last:
            events += b"data: [DONE]\n\n"
        sent = b"%x\r\n" % len(events) + events + b"\r\n" + (b"0\r\n\r\n" if last else b"")
        steps.append((step.at_ms / 1000, (_STREAM_HEAD if index == 0 else b"") + sent))
    return steps


@cache
def whole_bytes(name: str, number: int) -> list[tuple[float, bytes]]:
    """Return a turn as one answer, which comes when the stream would have ended."""
    turn = script(name).turns[number]
    message: dict[str, Any] = {"role": "assistant", "content": None}
    calls: dict[int, dict[str, Any]] = {}
    reason = "stop"
    for chunk in (chunk for step in turn.steps for chunk in step.chunks):
        for choice in chunk["choices"]:
            reason = choice["finish_reason"] or reason
            _grow(message, calls, choice["delta"])
    if calls:
        message["tool_calls"] = [calls[index] for index in sorted(calls)]
    choice = {"index": 0, "message": message, "finish_reason": reason}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    body = orjson.dumps({**_HEAD, "object": "chat.completion", "choices": [choice], "usage": usage})
    return [(turn.end_ms / 1000, _json_response(body))]


def _grow(message: dict[str, Any], calls: dict[int, dict[str, Any]], delta: Mapping[str, Any]) -> None:
    if delta.get("content"):
        message["content"] = (message["content"] or "") + delta["content"]
    for part in delta.get("tool_calls", ()):
        if "id" in part:
            calls[part["index"]] = {"id": part["id"], "type": "function", "function": dict(part["function"])}
        else:
            calls[part["index"]]["function"]["arguments"] += part["function"]["arguments"]


def _json_response(body: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


def script_name(messages: list[dict[str, Any]]) -> str:
    """Return what the last user message says."""
    content = next((m["content"] for m in reversed(messages) if m["role"] == "user"), "")
    if isinstance(content, list):
        content = "".join(part.get("text", "") for part in content)
    return str(content).strip()


class Connection(asyncio.Protocol):
    """One connection: requests one after another."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._buffer = b""
        self._timer: asyncio.TimerHandle | None = None
        self._entry: dict[str, Any] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._entry is not None:
            self._entry["disconnected_ns"] = time.monotonic_ns()
            LOG.append(self._entry)

    def data_received(self, data: bytes) -> None:
        arrived = time.monotonic()
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end]
            length = _content_length(head)
            if len(self._buffer) < end + 4 + length:
                return
            body = self._buffer[end + 4 : end + 4 + length]
            self._buffer = self._buffer[end + 4 + length :]
            if head.startswith(b"GET "):
                self._transport.write(_json_response(_get(head)))
            else:
                self._answer(body, arrived)

    def _answer(self, body: bytes, arrived: float) -> None:
        request = orjson.loads(body)
        messages = request["messages"]
        name = script_name(messages)
        number = sum(message["role"] == "assistant" for message in messages)
        try:
            found: Script = script(name)
            turn: Turn = found.turns[number]
        except (KeyError, IndexError):
            text = orjson.dumps({"error": {"message": f"no turn {number} of script {name!r}"}})
            self._transport.write(_json_response(text, b"400 Bad Request"))
            return
        self._entry = entry = {
            "script": name,
            "turn": number,
            "arrived_ns": int(arrived * 1e9),
            "bytes": len(body),
            "late_ms": [],
            "sealed_ns": [],
        }
        if name in _SHOWN:
            entry["told"] = [str(m["content"]) for m in messages if m["role"] == "tool"]
        streamed = bool(request.get("stream"))
        steps = (stream_bytes if streamed else whole_bytes)(name, number)
        self._step(turn, steps, 0, arrived, streamed)

    def _step(self, turn: Turn, steps: list[tuple[float, bytes]], index: int, arrived: float, streamed: bool) -> None:
        """Send every step that is due; come back for the next."""
        entry = self._entry
        assert entry is not None
        while index < len(steps):
            planned = arrived + steps[index][0]
            now = time.monotonic()
            if now < planned:
                self._timer = self._loop.call_at(planned, self._step, turn, steps, index, arrived, streamed)
                return
            self._transport.write(steps[index][1])
            entry["late_ms"].append(round((now - planned) * 1e3, 3))
            if streamed and planned > arrived:
                entry["sealed_ns"] += [int(now * 1e9)] * len(turn.steps[index].seals)
            index += 1
        self._timer, self._entry = None, None
        entry["end_ns"] = time.monotonic_ns()
        LOG.append(entry)


def _get(head: bytes) -> bytes:
    if head.startswith(b"GET /log"):
        body = orjson.dumps(LOG)
        LOG.clear()
        return body
    return orjson.dumps({"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": "bench"}]})


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return int(value)
    return 0


def keep_time() -> None:
    """Go before the load generator on the same core, where the kernel allows it; collect no garbage meanwhile."""
    gc.disable()
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


def prepare() -> None:
    """Make the bytes of every script, so that no first request is late for it."""
    for name in EVERY_SCRIPT:
        for number in range(len(script(name).turns)):
            stream_bytes(name, number)


async def serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(loop), "127.0.0.1", 0, backlog=2048)
    async with server:
        await report_and_wait({"url": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--many", action="store_true", help="hundreds of connections: wait with epoll")
    many = parser.parse_args().many
    prepare()
    keep_time()

    def make_loop() -> asyncio.AbstractEventLoop:
        return asyncio.SelectorEventLoop(None if many else selectors.SelectSelector())

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(serve())


if __name__ == "__main__":
    main()
