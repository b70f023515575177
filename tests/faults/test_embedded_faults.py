"""The server with its real embedded model: the host dies under it, and nothing leaves the machine."""

from __future__ import annotations

import ipaddress
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from podium.v1 import inference_pb2, orchestrator_pb2, run_pb2
from podium.v1.inference_pb2_grpc import InferenceServiceStub
from podium.v1.orchestrator_pb2_grpc import OrchestratorServiceStub
from support.server import PodiumServer, details

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(240), pytest.mark.xdist_group("embedded")]

WATCHED = Path(__file__).resolve().parents[1] / "support" / "watched"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PodiumServer]:
    """A server with the embedded model, every process of it under watch."""
    settings = {"WATCHED_SOCKETS_LOG": str(tmp_path / "sockets.log")}
    running = PodiumServer(tmp_path, settings=settings)
    environment = running.environment()
    running.environment = lambda: {  # type: ignore[method-assign]
        **environment,
        "PYTHONPATH": f"{WATCHED}:{environment['PYTHONPATH']}",
    }
    with running:
        yield running


def engine_host(server: PodiumServer) -> psutil.Process:
    """Return the engine host, a child of the server."""
    assert server.process is not None
    (host,) = [
        child
        for child in psutil.Process(server.process.pid).children(recursive=True)
        if "podium.engine" in child.cmdline()
    ]
    return host


def is_local(address: str) -> bool:
    """Return whether an address is this machine's own; an IPv4 one may come wrapped in IPv6."""
    parsed = ipaddress.ip_address(address)
    return ((parsed.version == 6 and parsed.ipv4_mapped) or parsed).is_loopback


def story(words: int = 400) -> inference_pb2.GenerateRequest:
    message = inference_pb2.ChatMessage(role=inference_pb2.CHAT_ROLE_USER, text="Write a long story about the sea.")
    return inference_pb2.GenerateRequest(messages=[message], max_tokens=words)


def test_engine_host_killed_in_mid_stream(server: PodiumServer) -> None:
    """Streams in flight end with a retryable error, health tells the truth, and the next request is answered."""
    with server.channel() as channel:
        inference = InferenceServiceStub(channel)
        first = engine_host(server)
        assert first.nice() >= 10
        everyone_reads = threading.Barrier(5)
        ends: list[object] = []

        def read() -> None:
            stream = inference.Generate(story(), timeout=120)
            next(stream)
            everyone_reads.wait(timeout=60)
            try:
                *_, last = stream
                ends.append(last.WhichOneof("part"))
            except grpc.RpcError as error:
                ends.append(details(error))

        readers = [threading.Thread(target=read) for _ in range(4)]
        for reader in readers:
            reader.start()
        everyone_reads.wait(timeout=60)
        watch = health_pb2_grpc.HealthStub(channel).Watch(
            health_pb2.HealthCheckRequest(service="podium.v1.OrchestratorService"), timeout=120
        )
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        first.send_signal(signal.SIGKILL)
        for reader in readers:
            reader.join(timeout=60)
        assert len(ends) == 4
        for end in ends:
            assert isinstance(end, dict), f"a stream ended as if nothing had happened: {end}"
            assert end["code"] is grpc.StatusCode.UNAVAILABLE
            assert end["retry_after"] > 0
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        watch.cancel()
        spec = run_pb2.RunSpec(input="What is 19 * 21?")
        reply = OrchestratorServiceStub(channel).Execute(orchestrator_pb2.ExecuteRequest(spec=spec), timeout=60)
        assert "399" in reply.run.answer
        assert engine_host(server).pid != first.pid


def test_nothing_leaves_the_machine(server: PodiumServer, tmp_path: Path) -> None:
    """While runs and generations are served, every socket of server and host is local."""
    assert server.process is not None
    processes = [psutil.Process(server.process.pid), engine_host(server)]
    done = threading.Event()
    remote: set[str] = set()
    seen: set[str] = set()

    def watch() -> None:
        while not done.wait(0.005):
            for process in processes:
                for connection in process.net_connections("inet"):
                    if connection.raddr:
                        seen.add(connection.raddr.ip)
                        if not is_local(connection.raddr.ip):
                            remote.add(f"{process.pid} {connection}")

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with server.channel() as channel:
            for text in ("What is 19 * 21 and what time is it in Berlin?", "Who wrote Hamlet?"):
                spec = run_pb2.RunSpec(input=text)
                request = orchestrator_pb2.ExecuteRequest(spec=spec)
                reply = OrchestratorServiceStub(channel).Execute(request, timeout=60)
                assert reply.run.state == run_pb2.RUN_STATE_SUCCEEDED
            list(InferenceServiceStub(channel).Generate(story(64), timeout=60))
    finally:
        done.set()
        watcher.join()
    assert seen, "the watcher saw nothing, not even our own connection"
    assert not remote
    log = (tmp_path / "sockets.log").read_text(encoding="utf-8") if (tmp_path / "sockets.log").exists() else ""
    outside = [
        line
        for line in log.splitlines()
        if not any(local in line for local in ("127.0.0.1", "'::1'", "localhost", ".sock", "(b'"))
    ]
    assert not outside, outside
