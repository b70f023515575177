"""`python -m podium.engine --engine tensorrt_llm` as a process, with the fake package on its path."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

import engine_fixtures
from engine_fixtures import collect, request
from podium.errors import Unavailable
from podium.inference.engine_client import TrtllmEngine
from unit.engine.tensorrt_llm.trtllm_harness import FAKE_PARENT, FAST, write_model

short_directory = engine_fixtures.short_directory


@dataclass
class Process:
    """A host and its log."""

    process: subprocess.Popen[str]
    address: str
    log: list[str] = field(default_factory=list)
    ready: threading.Event = field(default_factory=threading.Event)

    def follow(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)
            if "engine ready" in line:
                self.ready.set()

    def wait_ready(self, limit: float = 40.0) -> None:
        end = time.monotonic() + limit
        while not self.ready.wait(0.05):
            if self.process.poll() is not None or time.monotonic() > end:
                raise AssertionError("".join(self.log)[-2000:])

    def wait(self, limit: float = 20.0) -> int:
        return self.process.wait(limit)


class Hosts:
    """Starts hosts, and ends those that a test leaves running."""

    def __init__(self, directory: Path, model: Path) -> None:
        self._directory = directory
        self._model = model
        self._started: list[Process] = []

    def start(self, *arguments: str, fake: dict[str, Any] | None = None, **options: Any) -> Process:
        address = f"unix:{self._directory}/host.sock"
        environment = {name: value for name, value in os.environ.items() if name != "FAKE_TRTLLM"}
        environment["PYTHONPATH"] = str(FAKE_PARENT)
        if fake is not None:
            environment["FAKE_TRTLLM"] = json.dumps(fake)
        command = [sys.executable, "-m", "podium.engine", "--engine", "tensorrt_llm", "--model", str(self._model)]
        command += ["--listen", address, "--drain-limit", "0.3"]
        process = subprocess.Popen(
            [*command, "--options-json", json.dumps({**FAST, **options}), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            start_new_session=True,
        )
        made = Process(process, address)
        threading.Thread(target=made.follow, daemon=True).start()
        self._started.append(made)
        return made

    def close(self) -> None:
        for made in self._started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(made.process.pid, signal.SIGKILL)
            made.process.wait(10)
            assert made.process.stderr is not None
            made.process.stderr.close()


@pytest.fixture
def hosts(short_directory: Path, tmp_path: Path) -> Iterator[Hosts]:
    made = Hosts(short_directory, write_model(tmp_path / "model"))
    yield made
    made.close()


async def test_it_serves_and_stops_on_sigterm(hosts: Hosts) -> None:
    host = hosts.start()
    await asyncio.to_thread(host.wait_ready)
    async with TrtllmEngine(host.address) as engine:
        ids, finished = await collect(engine, request("a", max_tokens=5, ignore_eos=True))
        assert len(ids) == finished.completion_tokens == 5
    host.process.terminate()
    assert await asyncio.to_thread(host.wait) == 0
    assert not os.path.lexists(host.address.removeprefix("unix:"))  # noqa: ASYNC240  # it does not block
    assert "Traceback" not in "".join(host.log)


def test_it_stops_although_the_engine_hangs_in_its_shutdown_and_kills_what_is_left(hosts: Hosts) -> None:
    host = hosts.start(fake={"faults": {"shutdown_hang": True}})
    host.wait_ready()
    started = time.monotonic()
    host.process.terminate()
    assert host.wait() == 0
    assert time.monotonic() - started < 10
    assert "did not shut down in time" in "".join(host.log)


async def test_a_dead_engine_ends_the_process_with_1(hosts: Hosts) -> None:
    fake = {"faults": {"fatal_error": "CUDA error", "fatal_after": 30}, "settings": {"tokens_per_second": 200}}
    host = hosts.start(fake=fake)
    await asyncio.to_thread(host.wait_ready)
    async with TrtllmEngine(host.address) as engine:
        with pytest.raises(Unavailable):
            await collect(engine, request("a", max_tokens=200, ignore_eos=True))
    assert await asyncio.to_thread(host.wait) == 1


@pytest.mark.parametrize(
    ("faults", "settings", "words"),
    [
        ({"import_error": "libcuda.so.1: cannot open shared object file"}, {}, "no_gpu"),
        ({"import_signal": int(signal.SIGABRT)}, {}, "crash"),
        ({"import_hang": True}, {}, "hang"),
    ],
    ids=["no gpu", "crash", "hang"],
)
def test_t29_a_package_that_cannot_be_used_is_one_line_and_status_2(
    hosts: Hosts, faults: dict[str, Any], settings: dict[str, Any], words: str
) -> None:
    host = hosts.start(fake={"faults": faults, "settings": settings}, probe_limit=6.0)
    assert host.wait(30) == 2
    errors = [line for line in host.log if line.startswith("ERROR")]
    assert len(errors) == 1
    assert words in errors[0]
    assert "Traceback" not in "".join(host.log)


@pytest.mark.parametrize("options", ['{"no_such": 1}', "{"], ids=["unknown", "broken"])
def test_a_wrong_option_is_one_line_and_status_2(hosts: Hosts, options: str) -> None:
    host = hosts.start("--options-json", options)
    assert host.wait(30) == 2
    assert sum(line.startswith("ERROR") for line in host.log) == 1


def test_an_adapter_that_is_not_there_is_status_2(hosts: Hosts, tmp_path: Path) -> None:
    host = hosts.start(lora={"legal": str(tmp_path / "gone")})
    assert host.wait(30) == 2
    assert "legal" in "".join(host.log)


def test_metrics_are_served_beside_it(hosts: Hosts) -> None:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    host = hosts.start("--metrics-listen", f"127.0.0.1:{port}")
    host.wait_ready()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        assert b"podium_tensorrt_llm_canary_failures_total 0.0" in answer.read()


def test_t30_neither_the_server_nor_the_openvino_host_imports_the_package() -> None:
    code = "import sys, podium.engine, podium.engine.host, podium.inference.supervisor\n"
    code += "bad = {'tensorrt_llm', 'torch', 'mpi4py', 'openvino', 'numpy'} & set(sys.modules)\n"
    done = subprocess.run([sys.executable, "-c", code + "sys.exit(str(bad) if bad else 0)"], timeout=30, check=False)
    assert done.returncode == 0


WORKER = "import subprocess, sys, time; child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])"


def test_t27_what_the_engine_leaves_behind_is_killed_with_its_group(hosts: Hosts) -> None:
    code = "from podium.engine.tensorrt_llm.processes import kill_workers\n" + WORKER
    code += "\nprint(child.pid, kill_workers(), flush=True); child.wait(5); sys.exit(7)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False, start_new_session=True
    )
    pid, killed = map(int, done.stdout.split())
    assert (killed, done.returncode) == (1, 7), "the process itself ends with a status of its own"
    assert not psutil.pid_exists(pid)
