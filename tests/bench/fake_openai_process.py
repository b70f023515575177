"""An upstream that costs next to nothing: OpenAI's chat completions, one token, whole or streamed, from ready bytes."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

import uvloop

from bench.child import report_and_wait

MODEL = "bench"
ANSWER = "Yes"
_USAGE = {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}
_HEAD: dict[str, Any] = {"id": "chatcmpl-1", "created": 1_700_000_000, "model": MODEL}
_MOST_BYTES = 1 << 20


def _response(body: bytes, kind: str) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _whole() -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": ANSWER}, "finish_reason": "stop"}
    body = {**_HEAD, "object": "chat.completion", "choices": [choice], "usage": _USAGE}
    return _response(json.dumps(body).encode(), "application/json")


def _streamed() -> bytes:
    head = {**_HEAD, "object": "chat.completion.chunk"}
    chunks: list[dict[str, Any]] = [
        {**head, "choices": [{"index": 0, "delta": {"role": "assistant", "content": ANSWER}, "finish_reason": None}]},
        {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {**head, "choices": [], "usage": _USAGE},
    ]
    events = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks)
    events += b"data: [DONE]\n\n"
    chunked = f"{len(events):x}\r\n".encode() + events + b"\r\n0\r\n\r\n"
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked


def _models() -> bytes:
    return _response(
        json.dumps({"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": "bench"}]}).encode(),
        "application/json",
    )


WHOLE, STREAMED, MODELS = _whole(), _streamed(), _models()


class Upstream(asyncio.Protocol):
    """One connection: requests one after another."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end]
            length = _content_length(head)
            if length > _MOST_BYTES:
                self._transport.close()
                return
            if len(self._buffer) < end + 4 + length:
                return
            body = self._buffer[end + 4 : end + 4 + length]
            self._buffer = self._buffer[end + 4 + length :]
            if head.startswith(b"GET "):
                self._transport.write(MODELS)
            else:
                self._transport.write(STREAMED if json.loads(body).get("stream") else WHOLE)


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return int(value)
    return 0


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", 0)
    async with server:
        await report_and_wait({"url": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"})


if __name__ == "__main__":
    uvloop.run(serve())
