"""An engine that costs nothing to run: `trtllm.TrtllmService` that writes real text at a fixed speed.

Each stream is given its tokens by the clock, as a GPU would, whether or not anybody has read the ones
before; like our engine host it sends the first one at once and then lets ids gather for a few
milliseconds, so that a slow reader gets fewer, larger deltas. The text is the repository's licence in
ids of the embedded model's own tokenizer, which it hands out, too.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import io
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import uvloop
from smg_grpc_proto.generated import common_pb2, trtllm_service_pb2_grpc
from smg_grpc_proto.generated import trtllm_service_pb2 as pb

from bench.child import report_and_wait
from podium.inference.model_files import CONFIG_FILE, TOKENIZER_FILE
from podium.inference.model_store import DEFAULT_MODEL, ModelStore
from podium.inference.tokenizer import Tokenizer

ROOT = Path(__file__).resolve().parents[2]
CONTEXT_LENGTH = 8192


def stored_model() -> Path:
    """Return the folder of the embedded model; `make model` puts it there."""
    stored = ModelStore().find(DEFAULT_MODEL)
    if stored is None:
        raise SystemExit("The embedded model's tokenizer is needed: run `make model` first.")
    return stored.path


def output_ids(tokenizer: Tokenizer, count: int) -> list[int]:
    """Return what the engine answers to a request for `count` tokens: a piece of the licence."""
    licence = tokenizer.encode((ROOT / "LICENSE").read_text(encoding="utf-8"))
    start = count * 97 % len(licence)
    repeated = licence * (2 + count // len(licence))
    return repeated[start : start + count]


def tokenizer_archive(folder: Path) -> bytes:
    """Pack the tokenizer as engines send it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in (TOKENIZER_FILE, CONFIG_FILE):
            archive.write(folder / name, name)
    return buffer.getvalue()


class FakeEngine(trtllm_service_pb2_grpc.TrtllmServiceServicer):  # type: ignore[misc]  # untyped stubs
    """Writes the licence.

    Args:
        rate: tokens a second of each stream.
        flush_seconds: how long ids gather between two messages of a stream.
    """

    def __init__(self, folder: Path, *, rate: float, flush_seconds: float) -> None:
        self._archive = tokenizer_archive(folder)
        self._tokenizer = Tokenizer.from_directory(folder)
        self._rate = rate
        self._flush = flush_seconds
        self._outputs: dict[int, list[int]] = {}

    async def Generate(self, request: Any, context: Any) -> None:  # noqa: N802 - gRPC's name
        loop = asyncio.get_running_loop()
        ids = self._outputs.get(request.max_tokens) or output_ids(self._tokenizer, request.max_tokens)
        self._outputs[request.max_tokens] = ids
        prompt = len(request.tokenized.input_token_ids)
        begun, sent, due = loop.time(), 0, 1
        while True:
            chunk = pb.GenerateStreamChunk(token_ids=ids[sent:due], prompt_tokens=prompt, completion_tokens=due)
            written = loop.time()
            await context.write(pb.GenerateResponse(request_id=request.request_id, chunk=chunk))
            sent = due
            if sent == len(ids):
                break
            last = begun + (len(ids) - 1) / self._rate
            await asyncio.sleep(max(0.0, min(written + self._flush, last) - loop.time()))
            due = min(len(ids), max(sent + 1, 1 + int((loop.time() - begun) * self._rate)))
        complete = pb.GenerateComplete(
            output_token_ids=ids, finish_reason="length", prompt_tokens=prompt, completion_tokens=len(ids)
        )
        await context.write(pb.GenerateResponse(request_id=request.request_id, complete=complete))

    async def Abort(self, request: Any, context: Any) -> Any:  # noqa: N802
        return pb.AbortResponse(success=False, message="generations end with their call")

    async def HealthCheck(self, request: Any, context: Any) -> Any:  # noqa: N802
        return pb.HealthCheckResponse(status="OK")

    async def GetModelInfo(self, request: Any, context: Any) -> Any:  # noqa: N802
        return pb.GetModelInfoResponse(
            model_id="licence",
            max_input_len=CONTEXT_LENGTH - 1,
            max_seq_len=CONTEXT_LENGTH,
            vocab_size=self._tokenizer.vocab_size,
            supported_features=("abort", "tokenizer"),
        )

    async def GetServerInfo(self, request: Any, context: Any) -> Any:  # noqa: N802
        return pb.GetServerInfoResponse(version="0", backend="benchmark", world_size=1)

    async def GetTokenizer(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        for start in range(0, len(self._archive), 1 << 20):
            last = start + (1 << 20) >= len(self._archive)
            yield common_pb2.GetTokenizerChunk(
                data=self._archive[start : start + (1 << 20)],
                sha256=hashlib.sha256(self._archive).hexdigest() if last else "",
            )


async def serve(listen: str, rate: float, flush_seconds: float) -> None:
    server = grpc.aio.server()
    engine = FakeEngine(stored_model(), rate=rate, flush_seconds=flush_seconds)
    trtllm_service_pb2_grpc.add_TrtllmServiceServicer_to_server(engine, server)
    server.add_insecure_port(listen)
    await server.start()
    try:
        await report_and_wait({"address": listen})
    finally:
        await server.stop(None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listen", required=True, metavar="unix:PATH")
    parser.add_argument("--rate", type=float, required=True, help="tokens a second of each stream")
    parser.add_argument("--flush-seconds", type=float, required=True)
    arguments = parser.parse_args()
    uvloop.run(serve(arguments.listen, arguments.rate, arguments.flush_seconds))


if __name__ == "__main__":
    main()
