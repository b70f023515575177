"""`podium doctor gpu` with a made-up machine, and with a made-up `nvidia-smi` on the path."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from podium.cli import doctor
from podium.cli.doctor import Check, Gpu, GpuHost, examine, judge
from podium.engine.tensorrt_llm.probe import ProbeResult
from support.fake_tensorrt_llm import FAKE_PATH

GIB = 1024**3
GOOD = GpuHost(
    gpus=(Gpu("H100", 80 * GIB, 79 * GIB, "PCIe 5 x16"), Gpu("H100", 80 * GIB, 79 * GIB)),
    driver="580.65.06",
    cuda="13.0",
    nvlink=True,
    python="/engine/python",
    python_version="3.12.3",
    shm_bytes=16 * GIB,
    memlock=-1,
    stack=67_108_864,
    caches={"/cache": True},
)
OK = ProbeResult("ok", "1.2.1", "tensorrt_llm 1.2.1 imports and sees 2 GPUs.")
SMI = """#!/bin/sh
case "$1" in
  --query-gpu=*)
    echo 'NVIDIA H100, 580.65.06, 81559, 81000, 5, 16'
    echo 'NVIDIA H100, 580.65.06, 81559, 100, [N/A], 16' ;;
  topo) printf 'GPU0 X NV18\\nGPU1 NV18 X\\n' ;;
  *) printf '| NVIDIA-SMI 580.65.06  Driver Version: 580.65.06  CUDA Version: 13.0 |\\n' ;;
esac
"""


def rows(host: GpuHost, probe: ProbeResult = OK) -> dict[str, Check]:
    return {check.name: check for check in judge(host, probe)}


def test_a_good_machine_is_ok_throughout() -> None:
    checks = rows(GOOD)
    assert {check.state for check in checks.values()} == {"ok"}
    assert not any(check.todo for check in checks.values())
    assert checks["GPU 0"].found == "H100, 79.0 of 80.0 GiB free, PCIe 5 x16"


@pytest.mark.parametrize(
    ("changes", "name", "state", "said"),
    [
        ({"gpus": (), "no_driver": "nvidia-smi is not installed"}, "driver", "fail", "--gpus all"),
        ({"driver": "550.54"}, "driver", "warn", "580"),
        ({"cuda": "12.4"}, "CUDA", "warn", "13"),
        ({"cuda": ""}, "CUDA", "warn", "13"),
        ({"gpus": (Gpu("L4", 24 * GIB, 2 * GIB),)}, "GPU 0", "warn", "nvidia-smi"),
        ({"nvlink": False}, "links", "warn", "NCCL_P2P_DISABLE=1"),
        ({"nvlink": None}, "links", "warn", "replicas"),
        ({"python_version": "3.11.7"}, "Python", "warn", "3.10 and 3.12"),
        ({"python_version": ""}, "Python", "fail", "--python"),
        ({"shm_bytes": 64 * 1024**2}, "shared memory", "fail", "--ipc=host"),
        ({"shm_bytes": GIB}, "shared memory", "warn", "--ipc=host"),
        ({"shm_bytes": None}, "shared memory", "fail", "--ipc=host"),
        ({"memlock": 65536}, "locked memory", "warn", "--ulimit memlock=-1"),
        ({"stack": 8 * 1024**2}, "stack", "warn", "--ulimit stack=67108864"),
        ({"caches": {"/cache": False}}, "cache", "fail", "Mount a volume"),
    ],
)
def test_each_lack_says_what_to_do(changes: dict[str, Any], name: str, state: str, said: str) -> None:
    check = rows(replace(GOOD, **changes))[name]
    assert check.state == state
    assert said in check.todo


def test_the_probe_is_a_row() -> None:
    absent = rows(GOOD, ProbeResult("absent", "", "Install it."))["TensorRT-LLM"]
    assert (absent.state, absent.found, absent.todo) == ("fail", "absent", "Install it.")
    refused = rows(GOOD, ProbeResult("wrong_version", "1.2.0", "Too old."))["TensorRT-LLM"]
    assert refused.found == "1.2.0 (wrong_version)"
    newer = rows(GOOD, replace(OK, warnings=("Newer than known.",)))["TensorRT-LLM"]
    assert (newer.state, newer.todo) == ("warn", "Newer than known.")


def test_examine_reads_the_driver_and_the_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(SMI)
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub" / "cache"))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "file"))
    host = examine(sys.executable)
    assert (host.driver, host.cuda, host.nvlink) == ("580.65.06", "13.0", True)
    assert [one.link for one in host.gpus] == ["PCIe 5 x16", ""]
    assert host.gpus[1].memory_free == 100 * 1024**2
    assert host.python_version == ".".join(map(str, sys.version_info[:3]))
    assert host.caches[str(tmp_path / "hub" / "cache")] is True
    assert host.caches[str(tmp_path / "file")] is False


def test_examine_without_a_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    host = examine(str(tmp_path / "no-python"))
    assert (host.gpus, host.python_version) == ((), "")
    assert "nvidia-smi is not installed" in host.no_driver
    assert "CUDA" not in rows(host)


def invoke(monkeypatch: pytest.MonkeyPatch, host: GpuHost, *arguments: str) -> Result:
    """Run the command on a made-up machine, and the fake TensorRT-LLM in a real child."""
    monkeypatch.setattr(doctor, "examine", lambda _python: host)
    monkeypatch.setenv("PYTHONPATH", str(FAKE_PATH))
    return CliRunner().invoke(doctor.app, ["gpu", *arguments], env={"COLUMNS": None})


def test_the_table_and_exit_code_0(monkeypatch: pytest.MonkeyPatch) -> None:
    result = invoke(monkeypatch, replace(GOOD, stack=1))
    assert result.exit_code == 0, result.output
    lines = {line.split("  ")[0]: line for line in result.stdout.splitlines()}
    assert "tensorrt_llm 1.2.1 imports." in lines["TensorRT-LLM"]
    assert "warn" in lines["stack"]


def test_json_and_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_TRTLLM", json.dumps({"faults": {"import_error": "libmpi.so.40 is missing"}}))
    result = invoke(monkeypatch, GOOD, "--json", "--timeout", "30")
    assert result.exit_code == 1
    shown = json.loads(result.stdout)
    assert shown["ok"] is False
    failed = [check for check in shown["checks"] if check["state"] == "fail"]
    assert [check["name"] for check in failed] == ["TensorRT-LLM"]
    assert failed[0].keys() == {"name", "state", "found", "todo"}
    assert "OpenMPI" in failed[0]["todo"]


def test_text_of_others_cannot_steer_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    result = invoke(monkeypatch, replace(GOOD, driver="580\x1b[2J"))
    assert "\x1b" not in result.stdout
