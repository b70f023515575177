"""A real server on a real port with the standard chain around raw-bytes handlers of all four kinds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from prometheus_client import CollectorRegistry

from podium.interceptors import (
    Chain,
    Drain,
    MethodClass,
    MethodPolicy,
    default_policies,
    standard_chain,
)
from podium.resilience.breakers import Breakers

SERVICE = "podium.v1.TestService"
KINDS = {
    "UnaryUnary": grpc.unary_unary_rpc_method_handler,
    "UnaryStream": grpc.unary_stream_rpc_method_handler,
    "StreamUnary": grpc.stream_unary_rpc_method_handler,
    "StreamStream": grpc.stream_stream_rpc_method_handler,
}


class Lines:
    """Stands in for a structlog logger and keeps what is written."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def _take(self, level: str) -> Callable[..., None]:
        def write(event: str, **fields: Any) -> None:
            self.lines.append({"level": level, "event": event, **fields})

        return write

    def __getattr__(self, name: str) -> Any:
        return self._take(name)


@dataclass
class Running:
    """A server under test and what it shows."""

    server: grpc.aio.Server
    channel: grpc.aio.Channel
    chain: Chain
    drain: Drain
    breakers: Breakers
    registry: CollectorRegistry
    port: int
    access: Lines
    errors: Lines = field(default_factory=Lines)

    def method(self, name: str) -> Any:
        """Return the client's callable for `UnaryUnary` or another kind, raw bytes both ways."""
        kind = name.partition("_")[0]
        make = {
            "UnaryUnary": self.channel.unary_unary,
            "UnaryStream": self.channel.unary_stream,
            "StreamUnary": self.channel.stream_unary,
            "StreamStream": self.channel.stream_stream,
        }[kind]
        return make(f"/{SERVICE}/{name}")

    def sample(self, name: str, **labels: str) -> float:
        """Return a metric's value."""
        value = self.registry.get_sample_value(name, labels)
        assert value is not None, (name, labels)
        return value

    async def line(self, rpc: str = "") -> dict[str, Any]:
        """Return the last line of the access log once the call has ended."""
        await self.chain.wait_idle()
        self.chain.close()
        found = [line for line in self.access.lines if not rpc or line["rpc"].endswith(rpc)]
        return found[-1]


async def echo(request: bytes, context: Any) -> bytes:
    return request


async def count(request: bytes, context: Any) -> AsyncIterator[bytes]:
    for number in range(int(request or b"3")):
        yield b"%d" % number


async def join(requests: AsyncIterator[bytes], context: Any) -> bytes:
    return b",".join([message async for message in requests])


async def mirror(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
    async for message in requests:
        yield message


BEHAVIOURS: Mapping[str, Any] = {"UnaryUnary": echo, "UnaryStream": count, "StreamUnary": join, "StreamStream": mirror}


def policies(names: Mapping[str, Any], **changes: Any) -> dict[str, MethodPolicy]:
    settings = {"scope": "read", "method_class": MethodClass.READ, "max_seconds": 30.0, **changes}
    return {**default_policies(), **{f"/{SERVICE}/{name}": MethodPolicy(**settings) for name in names}}


@asynccontextmanager
async def serving(
    behaviours: Mapping[str, Any] = BEHAVIOURS,
    *,
    policy: Mapping[str, Any] | None = None,
    extra_handlers: tuple[Any, ...] = (),
    handlers: Mapping[str, Any] | None = None,
    **options: Any,
) -> AsyncIterator[Running]:
    """Serve handlers, named by kind with an optional `_suffix`, behind the standard chain."""
    made = {name: KINDS[name.partition("_")[0]](behaviour) for name, behaviour in behaviours.items()}
    made.update(handlers or {})
    registry, drain, breakers = CollectorRegistry(), Drain(), options.pop("breakers", None) or Breakers()
    chain = standard_chain(
        policies(made, **(policy or {})), registry=registry, breakers=breakers, drain=drain, **options
    )
    access, errors = Lines(), Lines()
    reporting, mapping = chain._concerns[1], chain._concerns[2]
    reporting._sinks[0]._log = access  # type: ignore[attr-defined]
    mapping._log = errors  # type: ignore[attr-defined]
    server = grpc.aio.server(interceptors=[chain])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, made), *extra_handlers))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            yield Running(server, channel, chain, drain, breakers, registry, port, access, errors)
        finally:
            chain.close()
            await server.stop(None)


async def refused(call: Any) -> grpc.aio.AioRpcError:
    """Await a call that must fail and return its error."""
    try:
        if hasattr(call, "__aiter__"):
            async for _ in call:
                pass
        else:
            await call
    except grpc.aio.AioRpcError as error:
        return error
    raise AssertionError("the call went well")


def details(error: grpc.aio.AioRpcError) -> dict[str, Message]:
    """Return the rich status's details by type name."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    assert status is not None, "no rich status"
    found: dict[str, Message] = {}
    for packed in status.details:
        message: Message = getattr(error_details_pb2, packed.TypeName().rpartition(".")[2])()
        assert packed.Unpack(message)
        found[type(message).__name__] = message
    return found


def reason(error: grpc.aio.AioRpcError) -> str:
    info: Any = details(error)["ErrorInfo"]
    assert info.domain == "podium.v1"
    return str(info.reason)


class Latch:
    """Lets a test and a handler wait for each other."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.go_on = asyncio.Event()
        self.left = asyncio.Event()
        self.notes: list[Any] = []
