"""A real server in a process of its own, on real loopback ports."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60.0


def free_port() -> int:
    """Return a loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class PodiumServer:
    """`podium serve` as a child. A context manager; entering waits until the server is SERVING.

    Args:
        folder: where its configuration, data and log go.
        script: content of the scripted model's file (TOML); without it the embedded model serves.
        settings: environment variables on top.
        wait: whether to wait until it serves.
    """

    def __init__(
        self, folder: Path, *, script: str = "", settings: Mapping[str, str] | None = None, wait: bool = True
    ) -> None:
        self.folder = folder
        self.address = f"127.0.0.1:{free_port()}"
        self.ops = f"127.0.0.1:{free_port()}"
        self.log = folder / "server.log"
        self._wait = wait
        self._settings = dict(settings or {})
        self._config = folder / "podium.toml"
        if script:
            (folder / "script.toml").write_text(script, encoding="utf-8")
            self._config.write_text('[models.scripted]\nkind = "scripted"\nfile = "script.toml"\n', encoding="utf-8")
        else:
            self._config.write_text("", encoding="utf-8")
        self.process: subprocess.Popen[bytes] | None = None

    def command(self) -> Sequence[str]:
        """Return the command line."""
        return [
            sys.executable, "-m", "podium", "serve",
            "--config", str(self._config),
            "--listen", self.address,
            "--ops-listen", self.ops,
            "--data-dir", str(self.folder / "data"),
        ]  # fmt: skip

    def environment(self) -> dict[str, str]:
        """Return the child's environment: ours without settings of ours."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("PODIUM_")}
        path = os.pathsep.join([str(ROOT / "tests"), inherited.get("PYTHONPATH", "")])
        return {**inherited, "PYTHONPATH": path, **self._settings}

    def __enter__(self) -> Self:
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self.command(), env=self.environment(), cwd=self.folder, stdout=log, stderr=log, start_new_session=True
            )
        if self._wait:
            try:
                self.wait_serving()
            except BaseException:
                self.stop()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End the server, by force if it does not end by itself."""
        process = self.process
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=10)

    def channel(self) -> grpc.Channel:
        """Return a new channel with a connection of its own."""
        return grpc.insecure_channel(self.address, options=[("grpc.use_local_subchannel_pool", 1)])

    def wait_serving(self, seconds: float = START_SECONDS) -> None:
        """Wait until health says SERVING; fails with the server's log when it ends or takes too long."""
        assert self.process is not None
        give_up = time.monotonic() + seconds
        with self.channel() as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            while time.monotonic() < give_up and self.process.poll() is None:
                try:
                    for answer in stub.Watch(health_pb2.HealthCheckRequest(), timeout=1.0, wait_for_ready=True):
                        if answer.status == health_pb2.HealthCheckResponse.SERVING:
                            return
                except grpc.RpcError:
                    continue
        raise AssertionError(f"the server did not come up:\n{self.log.read_text(encoding='utf-8')[-4000:]}")


def details(error: grpc.RpcError) -> dict[str, Any]:
    """Return the code and the google.rpc details of an error: `code`, `reason`, `retry_after`, `quota`, `fields`."""
    found: dict[str, Any] = {"code": error.code(), "message": error.details()}
    status = rpc_status.from_call(error)
    for detail in status.details if status is not None else ():
        info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        quota, bad = error_details_pb2.QuotaFailure(), error_details_pb2.BadRequest()
        if detail.Unpack(info):
            found["reason"], found["domain"] = info.reason, info.domain
        elif detail.Unpack(retry):
            found["retry_after"] = retry.retry_delay.ToTimedelta().total_seconds()
        elif detail.Unpack(quota):
            found["quota"] = [violation.subject for violation in quota.violations]
        elif detail.Unpack(bad):
            found["fields"] = [violation.field for violation in bad.field_violations]
    return found
