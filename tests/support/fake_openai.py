"""A local HTTP server that plays scripted answers byte by byte, and the shapes of OpenAI-compatible servers."""

from __future__ import annotations

import asyncio
import itertools
import json
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

__all__ = [
    "CUT",
    "STALL",
    "FakeServer",
    "Reply",
    "Request",
    "Step",
    "call_delta",
    "chunk",
    "completion",
    "finish",
    "json_reply",
    "models",
    "role",
    "say",
    "sse",
    "usage",
]


@dataclass(frozen=True)
class _Mark:
    name: str


CUT = _Mark("cut")
"""Break the connection off."""
STALL = _Mark("stall")
"""Be silent until the client is gone."""

Step = bytes | _Mark | asyncio.Event
"""Bytes are one chunk of the body; an event is waited for."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the client sent. Header names are lower-case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer. `drip` is the seconds between two chunks, for servers that are slow on purpose."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    steps: Iterable[Step] = ()
    drip: float = 0.0


Answer = Callable[[Request], Reply]


class FakeServer:
    """Answers on loopback. A context manager.

    Args:
        answer: gives the reply to each request; a `Reply` answers every request alike.
        tls: serves https.
        path: a Unix socket instead of a port.
    """

    def __init__(self, answer: Answer | Reply, *, tls: ssl.SSLContext | None = None, path: str = "") -> None:
        self._answer: Answer = (lambda _request: answer) if isinstance(answer, Reply) else answer
        self._tls = tls
        self._path = path
        self._server: asyncio.Server | None = None
        self.requests: list[Request] = []
        self.connections = 0
        self.disconnected = asyncio.Event()
        """Set when a client left before its answer was complete."""
        self.silent = asyncio.Event()
        """Set when a `STALL` was reached."""
        self._tasks: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        if self._path:
            self._server = await asyncio.start_unix_server(self._serve, self._path)
        else:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5)
        await self._server.wait_closed()

    def hang_up(self) -> None:
        """Close every connection from our side."""
        for task in self._tasks:
            task.cancel()

    async def all_closed(self) -> None:
        """Wait until every client has closed its connection."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def origin(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.origin}/v1"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.set_name("backend connection")
        self._tasks.add(task)
        self.connections += 1
        try:
            while (request := await _read(reader)) is not None:
                self.requests.append(request)
                if not await self._play(self._answer(request), reader, writer):
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            self.disconnected.set()
        except asyncio.CancelledError:
            pass  # the test is over; asyncio.start_server would report it as an error
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _play(self, reply: Reply, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Send a reply; return whether the connection can go on."""
        lines = [f"HTTP/1.1 {reply.status} X", "transfer-encoding: chunked"]
        lines += [f"{name}: {value}" for name, value in reply.headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        for step in reply.steps:
            if step is CUT:
                writer.transport.abort()
                return False
            if isinstance(step, bytes):
                if reply.drip and await _left(reader, reply.drip):
                    self.disconnected.set()
                    return False
                if step:
                    writer.write(b"%x\r\n%s\r\n" % (len(step), step))
                await writer.drain()
                continue
            self.silent.set()
            if await _left(reader, 30, step if isinstance(step, asyncio.Event) else None):
                self.disconnected.set()
                return False
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True


async def _left(reader: asyncio.StreamReader, seconds: float, event: asyncio.Event | None = None) -> bool:
    """Wait for the client to leave, or for the event; return whether it left."""
    gone = asyncio.create_task(reader.read(1), name="backend wait")
    waits: set[asyncio.Task[Any]] = {gone}
    if event is not None:
        waits.add(asyncio.create_task(event.wait(), name="backend wait"))
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        return gone.done()
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.wait(waits)
        if gone.done() and not gone.cancelled():
            gone.exception()


async def _read(reader: asyncio.StreamReader) -> Request | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *rest = head.split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method=method, path=path, headers=headers, body=body)


# --- shapes -----------------------------------------------------------------------------------------------------------

_ids = itertools.count(1)


def chunk(delta: Mapping[str, Any] | None = None, reason: str | None = None, **more: Any) -> dict[str, Any]:
    """Return one `chat.completion.chunk`; without a delta its `choices` are empty."""
    choices = [] if delta is None else [{"index": 0, "delta": dict(delta), "logprobs": None, "finish_reason": reason}]
    body = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_790_000_000, "model": "m"}
    return {**body, "choices": choices, **more}


def role() -> dict[str, Any]:
    return chunk({"role": "assistant", "content": ""})


def say(text: str) -> dict[str, Any]:
    return chunk({"content": text})


def call_delta(
    arguments: Any = None, *, index: int | None = 0, call_id: str | None = None, name: str | None = None
) -> dict[str, Any]:
    """Return a delta with one part of a call; None leaves a field out."""
    function = {k: v for k, v in {"name": name, "arguments": arguments}.items() if v is not None}
    part: dict[str, Any] = {"type": "function", "function": function}
    if index is not None:
        part["index"] = index
    if call_id is not None:
        part["id"] = call_id
    return chunk({"tool_calls": [part]})


def finish(reason: str) -> dict[str, Any]:
    return chunk({}, reason)


def usage(prompt: int = 11, completion: int = 7, cached: int = 0) -> dict[str, Any]:
    counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return chunk(None, usage={**counts, "prompt_tokens_details": {"cached_tokens": cached}})


def sse(*payloads: Mapping[str, Any], done: bool = True) -> list[bytes]:
    """Return payloads as the chunks of a body."""
    events = [f"data: {json.dumps(payload, ensure_ascii=False)}\n\n".encode() for payload in payloads]
    return [*events, b"data: [DONE]\n\n"] if done else events


def completion(*payloads: Mapping[str, Any], done: bool = True, then: Sequence[Step] = ()) -> Reply:
    """Return a streamed reply."""
    headers = {"content-type": "text/event-stream; charset=utf-8"}
    return Reply(headers=headers, steps=[*sse(*payloads, done=done), *then])


def json_reply(body: Any, status: int = 200, **headers: str) -> Reply:
    """Return a plain JSON reply; underscores in header names become dashes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(
        status=status, headers={"content-type": "application/json", **named}, steps=[json.dumps(body).encode()]
    )


def models(*names: str, **more: Any) -> Reply:
    """Return a list of models."""
    return json_reply({"object": "list", "data": [{"id": name, "object": "model", **more} for name in names]})
