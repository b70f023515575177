"""The composed server in this process, on real addresses, through generated stubs."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import trustme
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status

from podium.app import Application
from podium.observability.logging import LogConfig, configure_logging
from podium.settings import load_settings
from podium.v1 import health_pb2 as podium_health
from podium.v1 import inference_pb2, orchestrator_pb2, run_pb2, tool_pb2
from podium.v1.health_pb2_grpc import HealthServiceStub
from podium.v1.inference_pb2_grpc import InferenceServiceStub
from podium.v1.orchestrator_pb2_grpc import OrchestratorServiceStub
from podium.v1.tool_pb2_grpc import ToolServiceStub

SCRIPT = """
[[scripts]]
match = "sum"
[[scripts.turns]]
events = [{ text = "Let me see. " }, { call = "calculate", arguments = { expression = "19 * 21" } }]
[[scripts.turns]]
events = [{ text = "It is {{c0_0/result}}." }]

[[scripts]]
match = "hello"
[[scripts.turns]]
events = [{ text = "Hello " }, { text = "there." }]
"""


@asynccontextmanager
async def running(folder: Path, **flags: Any) -> AsyncIterator[Application]:
    (folder / "script.toml").write_text(SCRIPT, encoding="utf-8")
    config = folder / "podium.toml"
    config.write_text('[models.scripted]\nkind = "scripted"\nfile = "script.toml"\n', encoding="utf-8")
    base = {"server.listen": ("127.0.0.1:0",), "ops.listen": "127.0.0.1:0", "storage.data_dir": folder / "data"}
    base["tools.workspace"] = folder / "workspace"
    (folder / "data").mkdir(exist_ok=True)
    loaded = load_settings(config=config, environ={}, flags={**base, **flags})
    with (folder / "log").open("wb") as stream, configure_logging(LogConfig(), stream=stream) as log:
        async with Application(loaded, log) as application:
            await application.wait_ready(10)
            yield application


@pytest.fixture
async def channel(tmp_path: Path) -> AsyncIterator[grpc.aio.Channel]:
    async with running(tmp_path) as application, grpc.aio.insecure_channel(application.address) as channel:
        yield channel


def reason(error: grpc.aio.AioRpcError) -> str:
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in status.details)
    assert info.domain == "podium.v1"
    return info.reason


def spec(text: str, **fields: Any) -> run_pb2.RunSpec:
    return run_pb2.RunSpec(input=text, **fields)


async def test_execute_and_its_stream_tell_the_same(channel: grpc.aio.Channel) -> None:
    """The unary reply is the fold of what the stream shows; the same request_id is the same run."""
    stub: Any = OrchestratorServiceStub(channel)
    wanted = spec("the sum?", request_id="r-1", labels={"team": "blue"})
    stream = stub.ExecuteStream(orchestrator_pb2.ExecuteStreamRequest(spec=wanted), timeout=10)
    events = [response.event async for response in stream]
    kinds = [event.WhichOneof("kind") for event in events]
    assert kinds[0] == "run_started"
    assert kinds[-1] == "run_finished"
    logged = [event.seq for event, kind in zip(events, kinds, strict=True) if kind != "text_delta"]
    assert logged == list(range(1, len(logged) + 1))
    run = (await stub.Execute(orchestrator_pb2.ExecuteRequest(spec=wanted), timeout=10)).run
    assert run.run_id == events[0].run_id
    assert (run.answer, run.last_seq, run.spec.labels["team"]) == ("It is 399.", logged[-1], "blue")
    assert run.calls[0].result_json == b'{"expression":"19 * 21","result":399}' or b"399" in run.calls[0].result_json
    again = (await stub.GetRun(orchestrator_pb2.GetRunRequest(run_id=run.run_id), timeout=10)).run
    assert again == run
    with pytest.raises(grpc.aio.AioRpcError) as reused:
        await stub.Execute(orchestrator_pb2.ExecuteRequest(spec=spec("hello", request_id="r-1")), timeout=10)
    assert (reused.value.code(), reason(reused.value)) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")


async def test_events_come_together_only_where_the_caller_allows_it(channel: grpc.aio.Channel) -> None:
    """The same events in the same order, in fewer messages; of a watched run all at once."""
    stub: Any = OrchestratorServiceStub(channel)
    request = orchestrator_pb2.ExecuteStreamRequest(spec=spec("sum"), together=True)
    messages = [message async for message in stub.ExecuteStream(request, timeout=10)]
    events = [event for message in messages for event in (message.event, *message.more)]
    run_id = events[0].run_id
    logged = [event for event in events if event.WhichOneof("kind") != "text_delta"]
    watched = [m async for m in stub.WatchRun(orchestrator_pb2.WatchRunRequest(run_id=run_id), timeout=10)]
    assert [message.event for message in watched] == logged
    assert not any(message.more for message in watched)
    (whole,) = [
        m async for m in stub.WatchRun(orchestrator_pb2.WatchRunRequest(run_id=run_id, together=True), timeout=10)
    ]
    assert [whole.event, *whole.more] == logged
    assert len(messages) < len(events)


async def test_runs_are_listed_without_payloads(channel: grpc.aio.Channel) -> None:
    """Pages go from newest to oldest; lists leave arguments and results out; a forged token is refused."""
    stub: Any = OrchestratorServiceStub(channel)
    for _ in range(3):
        await stub.Execute(orchestrator_pb2.ExecuteRequest(spec=spec("sum")), timeout=10)
    first = await stub.ListRuns(orchestrator_pb2.ListRunsRequest(page_size=2), timeout=10)
    second = await stub.ListRuns(
        orchestrator_pb2.ListRunsRequest(page_size=2, page_token=first.next_page_token), timeout=10
    )
    ids = [run.run_id for run in (*first.runs, *second.runs)]
    assert ids == sorted(ids, reverse=True)
    assert len(set(ids)) == 3
    assert not second.next_page_token
    assert all(not call.arguments_json and not call.result_json for run in first.runs for call in run.calls)
    with pytest.raises(grpc.aio.AioRpcError) as forged:
        await stub.ListRuns(orchestrator_pb2.ListRunsRequest(page_token="forged"), timeout=10)
    assert reason(forged.value) == "INVALID_REQUEST"


async def test_tools_are_described_and_run(channel: grpc.aio.Channel) -> None:
    """ListTools pages by name; InvokeTool gives a result, or a failure that is no error of the RPC."""
    stub: Any = ToolServiceStub(channel)
    names, token = [], ""
    while True:
        page = await stub.ListTools(tool_pb2.ListToolsRequest(page_size=4, page_token=token), timeout=10)
        names += [tool.name for tool in page.tools]
        token = page.next_page_token
        if not token:
            break
    assert names == sorted(names)
    assert {"calculate", "convert_units", "current_time", "days_between", "read_file", "system_status"} <= set(names)
    assert "http_get" not in names
    request = tool_pb2.InvokeToolRequest(name="calculate", arguments_json=b'{"expression": "2 + 2"}')
    assert (await stub.InvokeTool(request, timeout=10)).call.state == run_pb2.TOOL_CALL_STATE_SUCCEEDED
    bad = tool_pb2.InvokeToolRequest(name="calculate", arguments_json=b"[1")
    assert (await stub.InvokeTool(bad, timeout=10)).call.failure.code == "INVALID_ARGUMENTS"
    with pytest.raises(grpc.aio.AioRpcError) as missing:
        await stub.GetTool(tool_pb2.GetToolRequest(name="nope"), timeout=10)
    assert (missing.value.code(), reason(missing.value)) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")


async def test_generate_streams_text_usage_and_timings(channel: grpc.aio.Channel) -> None:
    """The last message has the reason, the usage and the model; models are listed with the default marked."""
    stub: Any = InferenceServiceStub(channel)
    message = inference_pb2.ChatMessage(role=inference_pb2.CHAT_ROLE_USER, text="hello")
    parts = [p async for p in stub.Generate(inference_pb2.GenerateRequest(messages=[message]), timeout=10)]
    assert "".join(p.text for p in parts) == "Hello there."
    finished = parts[-1].finished
    assert (finished.finish_reason, finished.model) == (run_pb2.TURN_FINISH_REASON_STOP, "scripted")
    assert finished.usage.completion_tokens == 2
    models = (await stub.ListModels(inference_pb2.ListModelsRequest(), timeout=10)).models
    assert [(m.name, m.kind, m.ready, m.default) for m in models] == [("scripted", "scripted", True, True)]


async def test_health_in_every_form(channel: grpc.aio.Channel) -> None:
    """Check, List and Watch of the standard service, and our own report, agree."""
    standard: Any = health_pb2_grpc.HealthStub(channel)
    listed = (await standard.List(health_pb2.HealthListRequest(), timeout=10)).statuses
    serving = health_pb2.HealthCheckResponse.SERVING
    ours = ("Orchestrator", "Clarification", "Inference", "Tool", "Health")
    assert {name: status.status for name, status in listed.items()} == dict.fromkeys(
        ["", *(f"podium.v1.{name}Service" for name in ours)], serving
    )
    for name in listed:
        answer = await standard.Check(health_pb2.HealthCheckRequest(service=name), timeout=10)
        assert answer.status == serving
    with pytest.raises(grpc.aio.AioRpcError) as unknown:
        await standard.Check(health_pb2.HealthCheckRequest(service="nope"), timeout=10)
    assert unknown.value.code() is grpc.StatusCode.NOT_FOUND
    watch = standard.Watch(health_pb2.HealthCheckRequest(service="nope"), timeout=10)
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    watch.cancel()
    report_of: Any = HealthServiceStub(channel)
    report = await report_of.Check(podium_health.CheckRequest(), timeout=10)
    assert report.status == podium_health.HEALTH_STATUS_HEALTHY
    assert [component.name for component in report.components] == ["model:scripted"]
    assert (await report_of.Ready(podium_health.ReadyRequest(), timeout=10)).ready
    assert (await report_of.Live(podium_health.LiveRequest(), timeout=10)).live


async def test_drain_tells_watchers_and_ends_the_server(tmp_path: Path) -> None:
    """A watcher sees NOT_SERVING and its stream ends; a drain without calls takes no time."""
    async with running(tmp_path) as application, grpc.aio.insecure_channel(application.address) as channel:
        standard: Any = health_pb2_grpc.HealthStub(channel)
        watch = standard.Watch(health_pb2.HealthCheckRequest(), timeout=30)
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        draining = asyncio.ensure_future(application.drain(force=asyncio.Event()))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert await watch.read() is grpc.aio.EOF
        async with asyncio.timeout(5):
            assert await draining


async def test_reflection_names_our_services(channel: grpc.aio.Channel) -> None:
    """grpcurl and its like can discover everything."""
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    call = stub.ServerReflectionInfo(timeout=10)
    await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
    names = {service.name for service in (await call.read()).list_services_response.service}
    assert {"podium.v1.OrchestratorService", "grpc.health.v1.Health"} <= names
    await call.write(reflection_pb2.ServerReflectionRequest(file_containing_symbol="podium.v1.RunEvent"))
    assert (await call.read()).file_descriptor_response.file_descriptor_proto
    await call.done_writing()
    call.cancel()


async def test_unix_socket_is_for_its_owner(tmp_path: Path) -> None:
    """A Unix socket works like a port, and nobody else may connect to it."""
    path = tmp_path / "podium.sock"
    async with running(tmp_path, **{"server.listen": (f"unix:{path}",)}) as application:
        assert path.stat().st_mode & 0o077 == 0
        async with grpc.aio.insecure_channel(application.address) as channel:
            stub: Any = HealthServiceStub(channel)
            assert (await stub.Live(podium_health.LiveRequest(), timeout=10)).live


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def write_tls(folder: Path, authority: trustme.CA) -> dict[str, Any]:
    server = authority.issue_cert("127.0.0.1", "localhost")
    server.private_key_pem.write_to_path(folder / "tls.key")
    (folder / "tls.crt").write_bytes(b"".join(blob.bytes() for blob in server.cert_chain_pems))
    authority.cert_pem.write_to_path(folder / "ca.crt")
    return {"server.tls_cert_file": folder / "tls.crt", "server.tls_key_file": folder / "tls.key"}


async def test_tls_and_new_certificates_without_a_restart(tmp_path: Path, authority: trustme.CA) -> None:
    """TLS by settings; a replaced certificate serves the next handshake."""
    flags = write_tls(tmp_path, authority)
    async with running(tmp_path, **flags) as application:
        port = application.address.rpartition(":")[2]
        trusting = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
        async with grpc.aio.secure_channel(f"localhost:{port}", trusting) as channel:
            stub: Any = HealthServiceStub(channel)
            assert (await stub.Live(podium_health.LiveRequest(), timeout=10)).live
        before = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", int(port)))
        write_tls(tmp_path, authority)
        after = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", int(port)))
        assert before != after


async def test_mutual_tls_identifies_the_caller(tmp_path: Path, authority: trustme.CA) -> None:
    """With a client authority set, a caller needs a certificate of it, and runs belong to its identity."""
    flags = {**write_tls(tmp_path, authority), "server.tls_client_ca_file": tmp_path / "ca.crt"}
    async with running(tmp_path, **flags) as application:
        target = f"localhost:{application.address.rpartition(':')[2]}"

        def credentials(name: str) -> grpc.ChannelCredentials:
            cert = authority.issue_cert(f"{name}.example", common_name=name)
            chain = b"".join(blob.bytes() for blob in cert.cert_chain_pems)
            return grpc.ssl_channel_credentials(authority.cert_pem.bytes(), cert.private_key_pem.bytes(), chain)

        async with grpc.aio.secure_channel(target, credentials("alice")) as channel:
            alice: Any = OrchestratorServiceStub(channel)
            run = (await alice.Execute(orchestrator_pb2.ExecuteRequest(spec=spec("hello")), timeout=10)).run
            assert run.answer == "Hello there."
        async with grpc.aio.secure_channel(target, credentials("bob")) as channel:
            bob: Any = OrchestratorServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as hidden:
                await bob.GetRun(orchestrator_pb2.GetRunRequest(run_id=run.run_id), timeout=10)
            assert hidden.value.code() is grpc.StatusCode.NOT_FOUND
        nobody = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
        async with grpc.aio.secure_channel(target, nobody) as channel:
            stranger: Any = HealthServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stranger.Live(podium_health.LiveRequest(), timeout=10)
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


def test_container_files_are_what_the_linter_accepts() -> None:
    """hadolint has nothing to say about the Dockerfile."""
    root = Path(__file__).resolve().parents[2]
    subprocess.run([root / ".venv/bin/hadolint", root / "Dockerfile"], check=True, timeout=60)
