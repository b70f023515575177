"""The client and its example against a real server."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import podium_client
from podium_client import AsyncPodium, HealthStatus, Podium, RunFinished, RunLimits, RunState, ToolCallSealed
from support.server import ROOT, PodiumServer

SCRIPT = """
[[scripts]]
match = "19 * 21"
[[scripts.turns]]
events = [
  { at_ms = 5, call = "calculate", arguments = { expression = "19 * 21" } },
  { at_ms = 10, call = "current_time", arguments = { timezone = "Europe/Berlin" } },
]
[[scripts.turns]]
events = [{ text = "19 * 21 is {{c0_0/result}}, and Berlin has {{c0_1/local_time}}." }]

[[scripts]]
match = "hello"
[[scripts.turns]]
events = [{ text = "Hello." }]

[[scripts]]
match = "wait"
[[scripts.turns]]
events = [{ at_ms = 60000, text = "at last" }]
"""
QUESTION = "What is 19 * 21 and what time is it in Berlin?"
# Every example in the documentation runs as it stands.
PAGES = (ROOT / "docs" / "python-client.md", ROOT / "clients" / "python" / "README.md")
DOCUMENTED = [
    pytest.param(code, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL))
]
EXAMPLE = ROOT / "clients" / "python" / "examples" / "ask.py"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PodiumServer]:
    with PodiumServer(tmp_path_factory.mktemp("client"), script=SCRIPT) as running:
        yield running


async def test_the_example_runs(server: PodiumServer) -> None:
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, str(EXAMPLE), QUESTION, "--address", server.address],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "-> calculate {'expression': '19 * 21'}"
    assert any("399" in line and "Berlin" in line for line in lines)
    assert lines[-1].startswith("succeeded in ")


async def test_the_example_says_when_there_is_no_server() -> None:
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, str(EXAMPLE), QUESTION, "--address", "127.0.0.1:1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert done.stderr.startswith("no server: ")


async def test_a_run_and_everything_about_it(server: PodiumServer) -> None:
    async with AsyncPodium.connect(server.address) as podium:
        run = (await podium.run(QUESTION, labels={"team": "a"}, correlation_id="job-1")).raise_for_state()
        assert run.correlation_id == "job-1"
        assert [call.tool for call in run.calls] == ["calculate", "current_time"]
        assert run.calls[0].result["result"] == 399
        assert "399" in run.answer
        assert run.labels == {"team": "a"}
        again = await podium.get_run(run.run_id)
        assert (again.answer, again.state, again.correlation_id) == (run.answer, RunState.SUCCEEDED, "job-1")
        page = await podium.list_runs(page_size=1, states=[RunState.SUCCEEDED])
        assert len(page.runs) == 1
        assert (await podium.health()).status is HealthStatus.HEALTHY
        assert [model.name for model in await podium.list_models()] == ["scripted"]
        tools = await podium.list_tools()
        assert tools[0].input_schema["type"] == "object"
        assert (await podium.get_tool("calculate")).examples
        call = await podium.invoke_tool("calculate", {"expression": "1 / 0"})
        assert not call.ok
        assert call.failure is not None


async def test_the_same_request_id_is_the_same_run(server: PodiumServer) -> None:
    async with AsyncPodium.connect(server.address) as podium:
        first = await podium.run(QUESTION, request_id="order-66")
        assert (await podium.run(QUESTION, request_id="order-66")).run_id == first.run_id
        with pytest.raises(podium_client.AlreadyExists) as raised:
            await podium.run("something else", request_id="order-66")
    assert raised.value.reason == "REQUEST_ID_REUSED"


async def test_leaving_the_stream_cancels_the_run(server: PodiumServer) -> None:
    async with AsyncPodium.connect(server.address) as podium:
        async with podium.stream("wait for it") as events:
            await anext(events)
        async with asyncio.timeout(10):
            while not (run := await podium.get_run(events.run_id)).state.ended:
                continue
    assert run.state is RunState.CANCELLED


async def test_cancelling_a_run_ends_its_stream(server: PodiumServer) -> None:
    async with AsyncPodium.connect(server.address) as podium, podium.stream("wait for it") as events:
        first = await anext(events)
        await podium.cancel_run(first.run_id)
        rest = [event async for event in events]
    assert isinstance(rest[-1], RunFinished)
    assert rest[-1].state is RunState.CANCELLED


async def test_refusals_are_typed(server: PodiumServer) -> None:
    async with AsyncPodium.connect(server.address) as podium:
        with pytest.raises(podium_client.InvalidRequest) as invalid:
            await podium.run("")
        assert [violation.field for violation in invalid.value.violations] == ["spec.input"]
        assert invalid.value.correlation_id.startswith("exec_")
        with pytest.raises(podium_client.NotFound):
            await podium.get_run("run_01h455vb4pex5vsknk084sn02q")
        with pytest.raises(podium_client.NotFound) as tool:
            await podium.get_tool("no_such_tool")
        assert tool.value.resource_name == "no_such_tool"
        with pytest.raises(podium_client.InvalidRequest):
            await podium.run("x", limits=RunLimits(max_calls=-1))


async def test_the_sync_client(server: PodiumServer) -> None:
    def script() -> list[str]:
        with Podium.connect(server.address) as podium:
            assert podium.run(QUESTION).ok
            with podium.stream(QUESTION) as events:
                return [event.tool for event in events if isinstance(event, ToolCallSealed)]

    assert await asyncio.to_thread(script) == ["calculate", "current_time"]


async def test_a_unix_socket(tmp_path: Path) -> None:
    socket = Path(f"/tmp/podium-test-{tmp_path.name[-20:]}.sock")

    class OnSocket(PodiumServer):
        def __init__(self) -> None:
            super().__init__(tmp_path, script=SCRIPT)
            self.address = f"unix:{socket}"

    with OnSocket() as server:
        async with AsyncPodium.connect(server.address) as podium:
            assert (await podium.run(QUESTION)).ok


@pytest.mark.parametrize("code", DOCUMENTED)
async def test_a_documented_example_runs(code: str, server: PodiumServer) -> None:
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-W", "error", "-c", code.replace("127.0.0.1:50051", server.address)],
        capture_output=True,
        text=True,
        check=False,
        timeout=40,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
