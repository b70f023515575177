"""The probe against fakes in other processes (T29), and that the service itself imports no native package (T30)."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from podium.engine.tensorrt_llm.probe import ProbeResult, probe_tensorrt_llm
from support.fake_tensorrt_llm import FAKE_PATH

Probe = Callable[..., ProbeResult]


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> Probe:
    """Probe this interpreter with the fake installed, and these faults."""

    def run(timeout: float = 30.0, python: str = sys.executable, **faults: Any) -> ProbeResult:
        monkeypatch.setenv("PYTHONPATH", str(FAKE_PATH))
        monkeypatch.setenv("FAKE_TRTLLM", json.dumps({"faults": faults}))
        return probe_tensorrt_llm(python, timeout)

    return run


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Make another `tensorrt_llm`, of a version and with a body, importable for children."""

    def make(version: str, body: str) -> None:
        metadata = tmp_path / f"tensorrt_llm-{version}.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: tensorrt_llm\nVersion: {version}\n")
        (tmp_path / "tensorrt_llm").mkdir()
        (tmp_path / "tensorrt_llm" / "__init__.py").write_text(body)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    return make


def test_the_pinned_version_is_ok(probe: Probe) -> None:
    result = probe()
    assert (result.status, result.version, result.warnings) == ("ok", "1.2.1", ())
    assert result.usable


def test_absent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    result = probe_tensorrt_llm()
    assert (result.status, result.version) == ("absent", "")
    assert "install 1.2.1" in result.detail
    missing = probe_tensorrt_llm(str(tmp_path / "python"))
    assert missing.status == "absent"
    assert "does not run" in missing.detail


@pytest.mark.parametrize("version", ["1.2.0", "1.1.0", "1.2.1rc1", "nightly"])
def test_other_versions_are_refused_without_an_import(install: Callable[[str, str], None], version: str) -> None:
    install(version, "raise SystemExit('imported')")
    result = probe_tensorrt_llm()
    assert (result.status, result.version) == ("wrong_version", version)
    assert "1.2.1" in result.detail


@pytest.mark.parametrize(("version", "warned"), [("1.2.2", False), ("1.3.0", True), ("1.3.0rc25", True)])
def test_newer_versions(install: Callable[[str, str], None], version: str, warned: bool) -> None:
    install(version, "")
    result = probe_tensorrt_llm()
    assert (result.status, bool(result.warnings)) == ("ok", warned)


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        ("libmpi.so.40: cannot open shared object file", "import_error", "OpenMPI"),
        ("libnvinfer.so.10: cannot open shared object file", "import_error", "TensorRT runtime"),
        ("something odd", "import_error", "something odd"),
        ("libcuda.so.1: cannot open shared object file", "no_gpu", "driver 580"),
        ("Found no NVIDIA driver on your system", "no_gpu", "driver 580"),
    ],
)
def test_import_errors(probe: Probe, error: str, status: str, said: str) -> None:
    result = probe(import_error=error)
    assert (result.status, result.version) == (status, "1.2.1")
    assert said in result.detail
    assert len(result.detail) < 600


def test_no_gpu_seen_after_the_import(install: Callable[[str, str], None], tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("class cuda:\n    device_count = staticmethod(lambda: 0)\n")
    install("1.2.1", "import torch\nprint('a greeting on standard output')\n")
    assert probe_tensorrt_llm().status == "no_gpu"


def test_a_hang_ends_at_the_limit_with_the_whole_group(install: Callable[[str, str], None], tmp_path: Path) -> None:
    # A helper process of the hanging one, as MPI starts them.
    body = f"""
import os, pathlib, subprocess, sys, threading
helper = subprocess.Popen([sys.executable, "-c", "import threading; threading.Event().wait()"])
pathlib.Path({str(tmp_path / "pids")!r}).write_text(f"{{os.getpid()}} {{helper.pid}}")
threading.Event().wait()
"""
    install("1.2.1", body)
    started = time.monotonic()
    result = probe_tensorrt_llm(timeout=3.0)
    assert time.monotonic() - started < 20
    assert result.status == "hang"
    assert "mpi4py" in result.detail
    for pid in (tmp_path / "pids").read_text().split():
        assert ends(int(pid))


def ends(pid: int) -> bool:
    """Whether a process that was killed has ended, reaped by its new parent or not."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], 10)[0])
    finally:
        os.close(handle)


def test_the_limit_covers_the_fakes_hang(probe: Probe) -> None:
    assert probe(timeout=1.0, import_hang=True).status == "hang"


def test_a_slow_import_is_ok(probe: Probe) -> None:
    assert probe(import_seconds=0.3).status == "ok"


def test_a_crash_names_the_signal(probe: Probe, monkeypatch: pytest.MonkeyPatch) -> None:
    result = probe(import_signal=6)
    assert result.status == "crash"
    assert "SIGABRT" in result.detail
    assert "SLURM" not in result.detail
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    assert "SLURM_*" in probe(import_signal=6).detail


def test_a_process_that_ends_by_itself_is_a_crash(install: Callable[[str, str], None]) -> None:
    install("1.2.1", "import os, sys\nprint('MPI_ABORT was invoked', file=sys.stderr, flush=True)\nos._exit(3)\n")
    result = probe_tensorrt_llm()
    assert result.status == "crash"
    assert "status 3 (MPI_ABORT was invoked)" in result.detail


def test_standard_input_is_closed(install: Callable[[str, str], None]) -> None:
    install("1.2.1", "import sys\nassert sys.stdin.read() == ''\n")
    assert probe_tensorrt_llm(timeout=30).status == "ok"


def test_a_package_in_the_current_folder_is_not_imported(
    probe: Probe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tensorrt_llm.py").write_text("raise RuntimeError('the wrong one')")
    monkeypatch.chdir(tmp_path)
    assert probe().status == "ok"


def test_a_relative_path_of_an_interpreter(probe: Probe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "python").symlink_to(sys.executable)
    monkeypatch.chdir(tmp_path)
    assert probe(python="./python").status == "ok"


def test_the_service_imports_no_native_package() -> None:  # T30
    code = """
import importlib, pkgutil, sys
import podium.app.serve, podium.cli.program, podium.cli.doctor
import podium.engine, podium.engine.host
import podium.engine.tensorrt_llm as package
for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
    importlib.import_module(module.name)
print(sorted({"tensorrt_llm", "torch", "mpi4py"} & set(sys.modules)))
"""
    environment = {**os.environ, "PYTHONPATH": str(FAKE_PATH)}  # importable, and yet not imported
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=50, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
