"""What a running server does when callers, tools and operators misbehave. Loopback only, bounded."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import psutil
import pytest

from podium.v1 import health_pb2, inference_pb2, orchestrator_pb2, run_pb2, tool_pb2
from podium.v1.health_pb2_grpc import HealthServiceStub
from podium.v1.inference_pb2_grpc import InferenceServiceStub
from podium.v1.orchestrator_pb2_grpc import OrchestratorServiceStub
from podium.v1.tool_pb2_grpc import ToolServiceStub
from support.server import PodiumServer, details, free_port

pytestmark = pytest.mark.timeout(120)

SCRIPT = """
[[scripts]]
match = "quick"
[[scripts.turns]]
events = [{ at_ms = 300, text = "quick answer" }]

[[scripts]]
match = "endless"
[[scripts.turns]]
events = [{ text = "still " }, { at_ms = 45000, text = "here" }]

[[scripts]]
match = "odd"
[[scripts.turns]]
events = [
  { call = "hang_async" }, { call = "hang_in_thread" }, { call = "blow_up" }, { call = "flood" },
  { call = "fine", arguments = { n = 41 } }, { call = "fine", arguments = { n = "many" } },
]
[[scripts.turns]]
events = [{ text = "{{c0_0}} | {{c0_1}} | {{c0_2}} | {{c0_3}} | {{c0_4}} | {{c0_5}}" }]

[[scripts]]
[[scripts.turns]]
events = [{ text = "hello" }]
"""
TOOLS = {"PODIUM_TOOLS_PYTHON": "support.odd_tools"}


def spec(text: str) -> run_pb2.RunSpec:
    return run_pb2.RunSpec(input=text)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PodiumServer]:
    """One server for the tests that leave it as it was."""
    with PodiumServer(tmp_path_factory.mktemp("server"), script=SCRIPT, settings=TOOLS) as running:
        yield running
        assert running.process is not None
        assert running.process.poll() is None, "the server died under the tests"


def test_bad_tools_end_their_own_calls_only(server: PodiumServer) -> None:
    """Tools that hang, raise and flood fail by themselves; the good one's result is kept, the run answers."""
    with server.channel() as channel:
        reply = OrchestratorServiceStub(channel).Execute(orchestrator_pb2.ExecuteRequest(spec=spec("odd")), timeout=20)
    outcomes = [(call.state, call.failure.code) for call in reply.run.calls]
    failed = run_pb2.TOOL_CALL_STATE_FAILED
    assert outcomes == [
        (failed, "TIMEOUT"),
        (failed, "TIMEOUT"),
        (failed, "RAISED"),
        (failed, "TOO_LARGE"),
        (run_pb2.TOOL_CALL_STATE_SUCCEEDED, ""),
        (failed, "INVALID_ARGUMENTS"),
    ]
    assert reply.run.state == run_pb2.RUN_STATE_SUCCEEDED
    assert reply.run.partial
    assert "42" in reply.run.answer
    everything = reply.SerializeToString() + server.log.read_bytes()
    assert b"abcdefghijklmnopqrstuvwxyz0123456789" not in everything


def test_bad_tools_leave_the_event_loop_alone(server: PodiumServer) -> None:
    """While tools hang in threads and on the loop, the loop itself keeps turning."""
    with server.channel() as channel:
        stub = OrchestratorServiceStub(channel)
        futures = [stub.Execute.future(orchestrator_pb2.ExecuteRequest(spec=spec("odd")), timeout=30) for _ in range(5)]
        for future in futures:
            assert future.result().run.state == run_pb2.RUN_STATE_SUCCEEDED
    with urllib.request.urlopen(f"http://{server.ops}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    wanted = 'podium_event_loop_lag_seconds{quantile="0.99"}'
    (lag,) = (float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(wanted))
    # Far above what a healthy loop shows even on a busy machine, far below any of these tools' time.
    assert lag < 0.4


def test_client_that_goes_away_cancels_its_run(server: PodiumServer) -> None:
    """Cancelling the stream after its first text cancels the run on the server."""
    with server.channel() as channel:
        stub = OrchestratorServiceStub(channel)
        stream = stub.ExecuteStream(orchestrator_pb2.ExecuteStreamRequest(spec=spec("endless")), timeout=30)
        run_id = next(stream).event.run_id
        stream.cancel()
        # CancelRun waits for the end of a run that is being cancelled; it changes nothing else.
        run = stub.CancelRun(orchestrator_pb2.CancelRunRequest(run_id=run_id), timeout=10).run
        assert run.state == run_pb2.RUN_STATE_CANCELLED


def test_message_of_20_mib_is_refused_and_harmless(server: PodiumServer) -> None:
    """The transport refuses an over-long message; the next call on the same channel works."""
    with server.channel() as channel:
        stub = ToolServiceStub(channel)
        request = tool_pb2.InvokeToolRequest(name="fine", arguments_json=b" " * (20 << 20))
        with pytest.raises(grpc.RpcError) as refused:
            stub.InvokeTool(request, timeout=20)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        reply = stub.InvokeTool(tool_pb2.InvokeToolRequest(name="fine", arguments_json=b'{"n": 1}'), timeout=10)
        assert json.loads(reply.call.result_json) == 2


@pytest.mark.parametrize(
    "metadata",
    [
        [("x-correlation-id", "no spaces allowed")],
        [("x-correlation-id", "x" * 3000)],
        [("x-correlation-id", "a"), ("x-correlation-id", "b")],
        [("traceparent", "00-zz-zz-01")],
        [("x-podium-tenant", "../../etc")],
        [("authorization", "Bearer")],
        [("authorization", "Basic Og==")],
        [("x-api-key", "pdm_short")],
        [("x-noise-bin", bytes(range(256)))],
        [(f"x-noise-{n}", "y" * 20) for n in range(60)],
    ],
    ids=lambda m: m[0][0] + str(len(m)),
)
def test_odd_metadata_is_survived(server: PodiumServer, metadata: list[tuple[str, str | bytes]]) -> None:
    """Odd metadata is replaced, ignored or refused with a reason; a usable correlation id always comes back."""
    with server.channel() as channel:
        call = HealthServiceStub(channel).Ready
        try:
            _, made = call.with_call(health_pb2.ReadyRequest(), timeout=10, metadata=metadata)
            trailers = dict(made.trailing_metadata())
        except grpc.RpcError as error:
            assert details(error)["reason"] in ("UNAUTHENTICATED", "INVALID_REQUEST")
            trailers = dict(error.trailing_metadata())
        assert trailers["x-correlation-id"].startswith("exec_") or trailers["x-correlation-id"] in ("a", "b")


def test_metadata_beyond_the_hard_limit_is_refused_by_the_transport(server: PodiumServer) -> None:
    """40 KB of metadata never reaches us; the server goes on."""
    with server.channel() as channel:
        stub = HealthServiceStub(channel)
        with pytest.raises(grpc.RpcError) as refused:
            stub.Live(health_pb2.LiveRequest(), timeout=10, metadata=[("x-noise", "z" * 40_000)])
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert stub.Live(health_pb2.LiveRequest(), timeout=10).live


def test_invalid_requests_name_the_field_and_the_rule(server: PodiumServer) -> None:
    """Every broken rule is named; nothing runs."""
    with server.channel() as channel:
        bad = run_pb2.RunSpec(input="", tools=["Not A Name"], labels={"": "x"})
        with pytest.raises(grpc.RpcError) as refused:
            OrchestratorServiceStub(channel).Execute(orchestrator_pb2.ExecuteRequest(spec=bad), timeout=10)
        found = details(refused.value)
        assert (found["code"], found["reason"], found["domain"]) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "INVALID_REQUEST",
            "podium.v1",
        )
        assert set(found["fields"]) >= {"spec.input", "spec.tools[0]"}


def test_a_thousand_idle_connections_leave_room_for_work(server: PodiumServer) -> None:
    """With 1,000 connections open and silent, calls are answered; closing them gives the memory back to use."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    host, port = server.address.split(":")
    assert server.process is not None
    before = psutil.Process(server.process.pid).memory_info().rss
    idle = []
    try:
        for _ in range(1000):
            connection = socket.create_connection((host, int(port)), timeout=10)
            # The HTTP/2 preface and empty settings: a client that connected and then fell silent.
            connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
            idle.append(connection)
        with server.channel() as channel:
            reply = OrchestratorServiceStub(channel).Execute(
                orchestrator_pb2.ExecuteRequest(spec=spec("quick")), timeout=20
            )
            assert reply.run.answer == "quick answer"
        grown = psutil.Process(server.process.pid).memory_info().rss - before
        assert grown < 200 << 20, f"{grown >> 20} MiB for 1,000 idle connections"
    finally:
        for connection in idle:
            connection.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with server.channel() as channel:
        assert HealthServiceStub(channel).Live(health_pb2.LiveRequest(), timeout=10).live


def test_garbage_on_the_port_is_survived(server: PodiumServer) -> None:
    """Bytes that are no HTTP/2 end their own connection only."""
    host, port = server.address.split(":")
    for garbage in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", os.urandom(4096), b"\x16\x03\x01" + bytes(64)):
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.settimeout(10)
            connection.sendall(garbage)
            connection.shutdown(socket.SHUT_WR)
            try:
                while connection.recv(4096):
                    continue
            except ConnectionResetError:
                continue
    with server.channel() as channel:
        assert HealthServiceStub(channel).Live(health_pb2.LiveRequest(), timeout=10).live


def _make_key(folder: Path, server: PodiumServer, *scopes: str) -> str:
    command = [*server.command()[:3], "keys", "create", "--data-dir", str(folder / "data")]
    for scope in scopes:
        command += ["--scope", scope]
    done = subprocess.run(
        command, env=server.environment(), cwd=folder, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PodiumServer]:
    """A server that asks for keys."""
    with PodiumServer(
        tmp_path_factory.mktemp("guarded"), script=SCRIPT, settings={"PODIUM_AUTH__ENABLED": "true"}
    ) as running:
        yield running


@pytest.mark.parametrize(
    "credential",
    [
        None,
        ("authorization", "Bearer pdm_aaaaaaaa_" + "b" * 43),
        ("authorization", "Bearer not-a-key"),
        ("x-api-key", ""),
        ("x-api-key", "pdm_" + "x" * 5000),
    ],
    ids=["none", "unknown", "malformed", "empty", "huge"],
)
def test_bad_tokens_are_refused_alike(guarded: PodiumServer, credential: tuple[str, str] | None) -> None:
    """Whatever is wrong with a credential, the caller learns only that it is not accepted."""
    with guarded.channel() as channel:
        stub = OrchestratorServiceStub(channel)
        with pytest.raises(grpc.RpcError) as refused:
            stub.Execute(
                orchestrator_pb2.ExecuteRequest(spec=spec("quick")),
                timeout=10,
                metadata=[credential] if credential else None,
            )
        found = details(refused.value)
        assert (found["code"], found["reason"]) == (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")
        # Health stays open, so that probes need no key.
        assert HealthServiceStub(channel).Ready(health_pb2.ReadyRequest(), timeout=10).ready


def test_key_works_at_once_and_only_for_its_scopes(guarded: PodiumServer) -> None:
    """A key made while the server runs is accepted; without the scope `run` it may read but not run."""
    key = _make_key(guarded.folder, guarded, "read")
    with guarded.channel() as channel:
        metadata = [("authorization", f"Bearer {key}")]
        tools = ToolServiceStub(channel).ListTools(tool_pb2.ListToolsRequest(), timeout=10, metadata=metadata)
        assert tools.tools
        with pytest.raises(grpc.RpcError) as refused:
            OrchestratorServiceStub(channel).Execute(
                orchestrator_pb2.ExecuteRequest(spec=spec("quick")), timeout=10, metadata=metadata
            )
        assert details(refused.value)["reason"] == "PERMISSION_DENIED"
    assert key.encode() not in guarded.log.read_bytes()


def test_200_calls_over_the_limit_are_refused_with_a_time(guarded: PodiumServer) -> None:
    """Of 260 calls at once by one key 60 pass; each other is told which quota it was and when to return."""
    key = _make_key(guarded.folder, guarded, "read")
    metadata = [("x-api-key", key)]
    with guarded.channel() as channel:
        stub = ToolServiceStub(channel)

        def one(_: int) -> str:
            try:
                stub.GetTool(tool_pb2.GetToolRequest(name="calculate"), timeout=30, metadata=metadata)
            except grpc.RpcError as error:
                found = details(error)
                assert found["code"] is grpc.StatusCode.RESOURCE_EXHAUSTED
                assert found["retry_after"] > 0
                assert found["quota"]
                trailers = dict(error.trailing_metadata())
                assert {"ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"} <= trailers.keys()
                return str(found["reason"])
            return "ok"

        with ThreadPoolExecutor(20) as pool:
            outcomes = Counter(pool.map(one, range(260)))
    # A token a second comes back while the calls are made.
    assert 60 <= outcomes["ok"] <= 75
    assert outcomes["RATE_LIMITED"] == 260 - outcomes["ok"]


def test_sigterm_during_50_streams_ends_each_of_them(tmp_path: Path) -> None:
    """Short streams finish; long ones get UNAVAILABLE with RetryInfo at the limit; new calls are refused so too."""
    settings = {"GRACEFUL_SHUTDOWN_TIMEOUT": "2"}
    with PodiumServer(tmp_path, script=SCRIPT, settings=settings) as server, server.channel() as channel:
        assert server.process is not None
        stub = OrchestratorServiceStub(channel)
        started = threading.Barrier(51)

        def one(number: int) -> tuple[str, float]:
            text = "quick" if number % 2 else "endless"
            stream = stub.ExecuteStream(orchestrator_pb2.ExecuteStreamRequest(spec=spec(text)), timeout=40)
            next(stream)
            started.wait(timeout=30)
            try:
                *_, last = stream
            except grpc.RpcError as error:
                found = details(error)
                assert found["code"] is grpc.StatusCode.UNAVAILABLE
                return str(found["reason"]), found["retry_after"]
            assert last.event.run_finished.state == run_pb2.RUN_STATE_SUCCEEDED
            return "finished", 0.0

        with ThreadPoolExecutor(50) as pool:
            futures = [pool.submit(one, number) for number in range(50)]
            started.wait(timeout=60)
            server.process.send_signal(signal.SIGTERM)
            begun = time.monotonic()
            refused = _first_refusal(stub)
            outcomes = Counter(future.result(timeout=30) for future in futures)
        assert refused["code"] is grpc.StatusCode.UNAVAILABLE
        assert refused["reason"] == "DRAINING"
        assert refused["retry_after"] > 0
        assert outcomes[("finished", 0.0)] == 25
        drained = [(reason, retry) for reason, retry in outcomes.elements() if reason == "DRAINING"]
        assert len(drained) == 25
        assert all(retry > 0 for _, retry in drained)
        assert server.process.wait(timeout=20) == 0
        assert time.monotonic() - begun < 15


def _first_refusal(stub: OrchestratorServiceStub) -> dict[str, object]:
    """Call until the drain shows; the signal needs a moment to arrive."""
    give_up = time.monotonic() + 10
    while time.monotonic() < give_up:
        try:
            stub.ListRuns(orchestrator_pb2.ListRunsRequest(), timeout=5)
        except grpc.RpcError as error:
            return details(error)
    raise AssertionError("the server went on taking calls")


def test_second_signal_forces_the_end(tmp_path: Path) -> None:
    """A second signal does not wait for the drain."""
    with PodiumServer(tmp_path, script=SCRIPT) as server, server.channel() as channel:
        assert server.process is not None
        stub = OrchestratorServiceStub(channel)
        stream = stub.ExecuteStream(orchestrator_pb2.ExecuteStreamRequest(spec=spec("endless")), timeout=60)
        next(stream)
        server.process.send_signal(signal.SIGINT)
        _first_refusal(stub)
        begun = time.monotonic()
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(timeout=15) != 0
        assert time.monotonic() - begun < 10
        with pytest.raises(grpc.RpcError):
            list(stream)


def _failed_start(server: PodiumServer) -> tuple[int, str]:
    done = subprocess.run(
        server.command(),
        env=server.environment(),
        cwd=server.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def test_taken_port_and_used_data_directory_stop_the_start(server: PodiumServer, tmp_path: Path) -> None:
    """A second server says what is in the way and how to get around it."""
    same_port = PodiumServer(tmp_path, script=SCRIPT)
    same_port.address = server.address
    code, said = _failed_start(same_port)
    assert code != 0
    assert server.address.split(":")[1] in said
    same_data = PodiumServer(tmp_path, script=SCRIPT, settings={"PODIUM_DATA_DIR": str(server.folder / "data")})
    command = [part for part in same_data.command() if part != "--data-dir"]
    command.remove(str(tmp_path / "data"))
    same_data.command = lambda: command  # type: ignore[method-assign]
    code, said = _failed_start(same_data)
    assert code != 0
    assert "data" in said
    assert "in use" in said or "another" in said


@pytest.mark.parametrize("address", ["0.0.0.0:{port}", "[::]:{port}"])
def test_open_address_without_credentials_is_refused(tmp_path: Path, address: str) -> None:
    """Nobody serves the world without keys by accident."""
    exposed = PodiumServer(tmp_path, script=SCRIPT)
    exposed.address = address.format(port=free_port())
    code, said = _failed_start(exposed)
    assert code == 2
    assert "auth" in said


def test_ops_port_mirrors_health_and_metrics(server: PodiumServer) -> None:
    """Readiness, liveness and metrics over HTTP; the metrics know the calls made above."""
    with urllib.request.urlopen(f"http://{server.ops}/api/v1/health/ready", timeout=10) as ready:
        assert ready.status == 200
    with urllib.request.urlopen(f"http://{server.ops}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    assert "podium_rpc_handled_total" in text
    assert "podium_runs" in text


def test_model_errors_are_typed(server: PodiumServer) -> None:
    """Unknown models are NOT_FOUND and name the nearest."""
    with server.channel() as channel:
        request = inference_pb2.GenerateRequest(
            model="scriptd", messages=[inference_pb2.ChatMessage(role=inference_pb2.CHAT_ROLE_USER, text="hi")]
        )
        with pytest.raises(grpc.RpcError) as refused:
            list(InferenceServiceStub(channel).Generate(request, timeout=10))
        found = details(refused.value)
        assert (found["code"], found["reason"]) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
        assert "scripted" in str(found["message"])
