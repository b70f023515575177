"""Faults of the real engine host: a poisonous guide, a kill, a hang, a parent that dies."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest

import engine_fixtures
from engine_fixtures import RunningHost, collect, request, start_host, stop_host, wait_for_host
from podium.errors import Cancelled, InvalidRequest, ResourceExhausted, Unavailable
from podium.inference.engine import FinishReason, Guide, GuideKind, TokensFinished
from podium.inference.engine_client import TrtllmEngine
from podium.inference.supervisor import EngineHostSupervisor, HostState, SupervisorTimings

pytestmark = [pytest.mark.embedded, pytest.mark.timeout(120)]

embedded_model = engine_fixtures.embedded_model
short_directory = engine_fixtures.short_directory

# A host whose vetting lets everything through, as if it had a hole.
UNVETTED_HOST = """
import sys
from podium.engine import requests
requests.vet = lambda guide: guide
from podium.engine.__main__ import main
sys.exit(main())
"""
POISON = Guide(GuideKind.REGEX, "(?=a)b")


async def until(condition: Callable[[], bool], limit: float = 40.0) -> None:
    async with asyncio.timeout(limit):
        while not condition():  # noqa: ASYNC110  # states of other processes
            await asyncio.sleep(0.02)


@pytest.fixture
async def unvetted(embedded_model: Path, short_directory: Path) -> AsyncIterator[RunningHost]:
    host = start_host(embedded_model, short_directory, command=(sys.executable, "-c", UNVETTED_HOST))
    try:
        await asyncio.to_thread(wait_for_host, host)
        yield host
    finally:
        await asyncio.to_thread(stop_host, host)


async def test_a_poisonous_guide_beside_good_streams(unvetted: RunningHost) -> None:
    """They finish or fail retryable, the next request works, and the guide is refused from then on."""
    async with TrtllmEngine(unvetted.address) as engine:
        good = [
            asyncio.create_task(
                collect(engine, request(f"good{n}", tokens=(504, n + 100), max_tokens=200, ignore_eos=True))
            )
            for n in range(8)
        ]
        await asyncio.sleep(0.5)
        with pytest.raises(Unavailable) as failed:
            await collect(engine, request("bad", guide=POISON))
        assert failed.value.retry_after
        for outcome in await asyncio.gather(*good, return_exceptions=True):
            assert isinstance(outcome, tuple | Unavailable), outcome
        started = time.monotonic()
        ids, _ = await collect(engine, request("next", max_tokens=4, ignore_eos=True))
        assert len(ids) == 4
        assert time.monotonic() - started < 20, "a request during the rebuild waits for it"
        with pytest.raises(InvalidRequest, match="refused"):
            await collect(engine, request("again", guide=POISON))
    log = "".join(unvetted.log)
    assert "quarantined" in log
    assert POISON.text not in log
    assert unvetted.process.poll() is None, "the same process goes on"


async def test_of_two_new_guides_only_the_poisonous_one_is_quarantined(unvetted: RunningHost) -> None:
    fine = Guide(GuideKind.REGEX, "(cat|dog)")
    async with TrtllmEngine(unvetted.address) as engine:
        await asyncio.gather(
            collect(engine, request("bad", guide=POISON)),
            collect(engine, request("fine", guide=fine)),
            return_exceptions=True,
        )
        _, finished = await collect(engine, request("fine", guide=fine))
        assert finished.reason is FinishReason.STOP
        with pytest.raises(InvalidRequest):
            await collect(engine, request("bad", guide=POISON))


async def test_a_host_killed_mid_stream_fails_what_is_in_flight_and_comes_back(embedded_model: Path) -> None:
    states: list[HostState] = []
    async with EngineHostSupervisor(embedded_model, on_change=lambda status: states.append(status.state)) as supervisor:
        await supervisor.wait_ready(50)
        pid = supervisor.status.pid
        assert pid is not None
        async with TrtllmEngine(supervisor.address) as engine:
            streams = [
                asyncio.create_task(
                    collect(engine, request(f"s{n}", tokens=(504, n), max_tokens=2000, ignore_eos=True))
                )
                for n in range(4)
            ]
            await asyncio.sleep(0.5)
            os.kill(pid, signal.SIGKILL)
            for outcome in await asyncio.gather(*streams, return_exceptions=True):
                assert isinstance(outcome, Unavailable)
                assert outcome.retry_after
            await until(lambda: supervisor.status.state is HostState.RESTARTING)
            await supervisor.wait_ready(50)
            ids, _ = await collect(engine, request("next", max_tokens=3, ignore_eos=True))
            assert len(ids) == 3
        assert supervisor.status.restarts == 1
        assert "signal 9" in supervisor.status.last_error
        assert supervisor.status.pid != pid
    assert states == [HostState.READY, HostState.RESTARTING, HostState.READY, HostState.STOPPED]


async def test_a_host_that_hangs_is_replaced(embedded_model: Path) -> None:
    timings = SupervisorTimings(health_interval=0.3, health_timeout=0.7, stop_limit=0.5)
    async with EngineHostSupervisor(embedded_model, timings=timings) as supervisor:
        await supervisor.wait_ready(50)
        pid = supervisor.status.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        await until(lambda: supervisor.status.restarts == 1)
        assert supervisor.status.last_error == "it stopped answering"
        await supervisor.wait_ready(50)
        assert not psutil.pid_exists(pid)


SERVER = """
import asyncio, sys
from pathlib import Path
from podium.inference.supervisor import EngineHostSupervisor
async def main():
    async with EngineHostSupervisor(Path(sys.argv[1])) as supervisor:
        await supervisor.wait_ready(50)
        print(supervisor.status.pid, flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""


@pytest.mark.parametrize("stopped", [False, True], ids=["running", "stuck"])
def test_a_host_does_not_outlive_a_killed_server(embedded_model: Path, stopped: bool) -> None:
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(embedded_model)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert server.stdout is not None
    host = psutil.Process(int(server.stdout.readline()))
    if stopped:
        host.suspend()
    server.kill()
    server.wait(10)
    server.stdout.close()
    with contextlib.suppress(psutil.NoSuchProcess):
        host.wait(10)
    assert not host.is_running() or host.status() == psutil.STATUS_ZOMBIE


async def test_a_client_that_goes_away_frees_the_engine(embedded_model: Path, short_directory: Path) -> None:
    host = start_host(embedded_model, short_directory, "--max-active", "1", "--max-waiting", "0")
    try:
        await asyncio.to_thread(wait_for_host, host)
        gone = TrtllmEngine(host.address)
        items = gone.generate(request("a", max_tokens=5000, ignore_eos=True))
        await anext(items)
        await gone.aclose()
        async with TrtllmEngine(host.address) as engine:
            last: object = None
            for _ in range(100):
                try:
                    _, last = await collect(engine, request("b", max_tokens=2, ignore_eos=True))
                    break
                except (Unavailable, ResourceExhausted):
                    await asyncio.sleep(0.05)
            assert isinstance(last, TokensFinished), "the only place was freed"
        with contextlib.suppress(Cancelled):
            await items.aclose()
    finally:
        await asyncio.to_thread(stop_host, host)
