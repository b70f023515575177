"""`podium doctor`: what this machine lacks for an engine, and what to do about it."""

# ruff: noqa: PLC0415  commands import what they need when they run

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from podium.cli.failures import Exit, reported
from podium.cli.terminal import clean, error_console, print_table

if TYPE_CHECKING:
    from podium.engine.tensorrt_llm.probe import ProbeResult

__all__ = ["Check", "Gpu", "GpuHost", "app", "examine", "judge"]

app = typer.Typer(help="Say what this machine lacks, and what to do about it.", no_args_is_help=True)

_GIB = 1024**3
_MIB = 1024**2
# What TensorRT-LLM 1.2.1 asks for: CUDA 13, so driver 580; a stack of 64 MiB and unlimited locked memory, as its
# containers are run with; wheels for two Pythons.
_OLDEST_DRIVER = 580
_OLDEST_CUDA = 13
_STACK_BYTES = 67_108_864
_SHM = "/dev/shm"  # noqa: S108  it is only measured
_SHM_ENOUGH = 4 * _GIB
_SHM_LEAST = 256 * _MIB
_FREE_ENOUGH = 0.8
_WHEELS = ("3.10", "3.12")
_QUERY = "name,driver_version,memory.total,memory.free,pcie.link.gen.max,pcie.link.width.max"
_TOOL_LIMIT = 15.0

State = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Check:
    """One row: what was found, and what to do unless it is `ok`."""

    name: str
    state: State
    found: str
    todo: str = ""


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU; memory in bytes, `link` as the driver names it."""

    name: str
    memory_total: int
    memory_free: int
    link: str = ""


@dataclass(frozen=True, slots=True)
class GpuHost:
    """What was seen of a machine. Limits are in bytes, -1 for no limit, None where there is no such thing."""

    gpus: tuple[Gpu, ...] = ()
    driver: str = ""
    cuda: str = ""
    no_driver: str = ""
    """Why the driver could not be asked."""
    nvlink: bool | None = None
    """Whether the GPUs are linked directly; None where there is one, or it could not be found out."""
    python: str = ""
    python_version: str = ""
    shm_bytes: int | None = None
    memlock: int | None = None
    stack: int | None = None
    caches: Mapping[str, bool] = field(default_factory=dict)
    """Folders that must be writable, and whether they are."""


@app.callback()
def doctor() -> None:
    """Say what this machine lacks, and what to do about it."""


@app.command()
def gpu(
    *,
    python: Annotated[
        str, typer.Option("--python", metavar="PATH", help="The interpreter that the TensorRT-LLM engine runs under.")
    ] = sys.executable,
    timeout: Annotated[
        float, typer.Option("--timeout", min=1.0, metavar="SECONDS", help="How long importing TensorRT-LLM may take.")
    ] = 120.0,
    as_json: Annotated[bool, typer.Option("--json", help="Write one JSON document.")] = False,
) -> None:
    """Check driver, GPUs, TensorRT-LLM and the limits it needs; the exit code is 1 if something is missing."""
    with reported():
        from podium.engine.tensorrt_llm.probe import probe_tensorrt_llm

        with error_console().status(f"Asking the driver and importing tensorrt_llm (at most {timeout:g} s)"):
            checks = list(judge(examine(python), probe_tensorrt_llm(python, timeout)))
    missing = any(check.state == "fail" for check in checks)
    if as_json:
        typer.echo(json.dumps({"ok": not missing, "checks": [asdict(check) for check in checks]}, indent=2))
    else:
        _show(checks)
    if missing:
        raise typer.Exit(Exit.FAILED)


def _show(checks: Sequence[Check]) -> None:
    from rich.table import Table
    from rich.text import Text

    styles = {"ok": "green", "warn": "yellow", "fail": "bold red"}
    table = Table("check", "", "found", "what to do", box=None, pad_edge=False)
    for check in checks:
        state = Text(check.state, styles[check.state])
        table.add_row(Text(check.name, "bold"), state, Text(clean(check.found)), Text(clean(check.todo)))
    print_table(table)


def judge(host: GpuHost, probe: ProbeResult) -> Iterator[Check]:
    """Yield the rows for what was seen."""
    yield _driver(host)
    if host.gpus:
        yield _cuda(host)
        yield from _memory(host.gpus)
        if len(host.gpus) > 1:
            yield _links(host)
    yield _package(probe)
    yield _python(host)
    yield from _limits(host)
    for folder, writable in host.caches.items():
        todo = "" if writable else "Mount a volume there, or name another folder with the cache's variable."
        yield Check("cache", "ok" if writable else "fail", f"{folder}{'' if writable else ' is not writable'}", todo)


def _driver(host: GpuHost) -> Check:
    if not host.gpus:
        found = host.no_driver or "the driver sees no GPU"
        return Check("driver", "fail", found, "Install NVIDIA driver 580 or newer; run containers with --gpus all.")
    if _number(host.driver) < _OLDEST_DRIVER:
        return Check("driver", "warn", host.driver, f"TensorRT-LLM 1.2.1 asks for {_OLDEST_DRIVER} or newer.")
    return Check("driver", "ok", host.driver)


def _cuda(host: GpuHost) -> Check:
    if not host.cuda:
        return Check("CUDA", "warn", "the driver did not say", f"It should be {_OLDEST_CUDA} or newer.")
    if _number(host.cuda) < _OLDEST_CUDA:
        return Check("CUDA", "warn", host.cuda, f"TensorRT-LLM 1.2.1 is built for {_OLDEST_CUDA}; update the driver.")
    return Check("CUDA", "ok", host.cuda)


def _memory(gpus: Sequence[Gpu]) -> Iterator[Check]:
    for index, one in enumerate(gpus):
        found = f"{one.name}, {one.memory_free / _GIB:.1f} of {one.memory_total / _GIB:.1f} GiB free"
        found += f", {one.link}" if one.link else ""
        if one.memory_free < _FREE_ENOUGH * one.memory_total:
            todo = "Another process holds its memory, perhaps an engine's leftover: look with nvidia-smi and end it."
            yield Check(f"GPU {index}", "warn", found, todo)
        else:
            yield Check(f"GPU {index}", "ok", found)


def _links(host: GpuHost) -> Check:
    if host.nvlink:
        return Check("links", "ok", "NVLink between GPUs")
    found = "no NVLink between GPUs" if host.nvlink is False else "not known"
    todo = "Prefer replicas or pipeline parallelism; if it hangs, set NCCL_P2P_DISABLE=1."
    return Check("links", "warn", found, todo)


def _package(probe: ProbeResult) -> Check:
    if not probe.usable:
        found = f"{probe.version} ({probe.status})" if probe.version else probe.status
        return Check("TensorRT-LLM", "fail", found, probe.detail)
    return Check("TensorRT-LLM", "warn" if probe.warnings else "ok", probe.detail, " ".join(probe.warnings))


def _python(host: GpuHost) -> Check:
    if not host.python_version:
        return Check("Python", "fail", f"{host.python} does not run", "Name the engine's interpreter with --python.")
    found = f"{host.python_version} ({host.python})"
    if host.python_version.rpartition(".")[0] in _WHEELS:
        return Check("Python", "ok", found)
    todo = f"TensorRT-LLM 1.2.1 has wheels for {' and '.join(_WHEELS)}; run the engine under one of them."
    return Check("Python", "warn", found, todo)


def _limits(host: GpuHost) -> Iterator[Check]:
    if host.shm_bytes is None:
        yield Check("shared memory", "fail", f"{_SHM} is not mounted", "Run the container with --ipc=host.")
    else:
        least, enough = host.shm_bytes >= _SHM_LEAST, host.shm_bytes >= _SHM_ENOUGH
        todo = "" if enough else "Run the container with --ipc=host, or mount several GiB of memory there."
        state: State = "ok" if enough else "warn" if least else "fail"
        yield Check("shared memory", state, f"{host.shm_bytes / _GIB:.2f} GiB", todo)
    for name, value, wanted, option in (
        ("locked memory", host.memlock, None, "--ulimit memlock=-1"),
        ("stack", host.stack, _STACK_BYTES, f"--ulimit stack={_STACK_BYTES}"),
    ):
        enough = value == -1 or (value is not None and wanted is not None and value >= wanted)
        found = "not known" if value is None else "unlimited" if value == -1 else f"{value / _MIB:.1f} MiB"
        yield Check(name, "ok" if enough else "warn", found, "" if enough else f"Run the container with {option}.")


def _number(version: str) -> int:
    digits = re.match(r"\d+", version)
    return int(digits[0]) if digits else 0


def examine(python: str) -> GpuHost:
    """Look at this machine. Every tool that is asked has a limit, and one that is absent is an answer."""
    gpus, driver, problem = _gpus()
    return GpuHost(
        gpus=gpus,
        driver=driver,
        cuda=_matched(r"CUDA Version:\s*([\d.]+)", _said(("nvidia-smi",))) if gpus else "",
        no_driver=problem,
        nvlink=_nvlink() if len(gpus) > 1 else None,
        python=python,
        python_version=_said((python, "-I", "-c", "import platform; print(platform.python_version())")).strip(),
        shm_bytes=_shm(),
        memlock=_limit("RLIMIT_MEMLOCK"),
        stack=_limit("RLIMIT_STACK"),
        caches={str(folder): _writable(folder) for folder in _cache_folders(os.environ)},
    )


def _gpus() -> tuple[tuple[Gpu, ...], str, str]:
    """Return the GPUs, the driver's version, and why there are none."""
    if shutil.which("nvidia-smi") is None:
        return (), "", "nvidia-smi is not installed, so there is no NVIDIA driver"
    said = _said(("nvidia-smi", f"--query-gpu={_QUERY}", "--format=csv,noheader,nounits"))
    found, driver = [], ""
    for line in said.splitlines():
        parts = [part.strip() for part in line.split(",")]
        # A value that the driver does not have is "[N/A]" or the like.
        if len(parts) != len(_QUERY.split(",")) or not (parts[2].isdigit() and parts[3].isdigit()):
            continue
        link = f"PCIe {parts[4]} x{parts[5]}" if parts[4].isdigit() and parts[5].isdigit() else ""
        driver = parts[1]
        found.append(Gpu(parts[0], int(parts[2]) * _MIB, int(parts[3]) * _MIB, link))
    return tuple(found), driver, "" if found else "nvidia-smi names no GPU; the driver may not be loaded"


def _nvlink() -> bool | None:
    topology = _said(("nvidia-smi", "topo", "-m"))
    return re.search(r"\bNV\d+\b", topology) is not None if topology else None


def _said(command: Sequence[str]) -> str:
    """Return what a tool writes; nothing if it is absent, fails or takes too long."""
    try:
        done = subprocess.run(  # noqa: S603  fixed commands, and the interpreter that the operator names
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TOOL_LIMIT, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace") if done.returncode == 0 else ""


def _matched(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    return match[1] if match else ""


def _shm() -> int | None:
    try:
        found = os.statvfs(_SHM)
    except OSError:
        return None
    return found.f_blocks * found.f_frsize


def _limit(name: str) -> int | None:
    try:
        import resource
    except ImportError:  # not a Unix
        return None
    soft, _ = resource.getrlimit(getattr(resource, name))
    return -1 if soft == resource.RLIM_INFINITY else soft


def _cache_folders(environment: Mapping[str, str]) -> list[Path]:
    """Return where the model hub, FlashInfer, Triton and torch keep what they fetch and compile."""
    home = Path.home()
    flashinfer = Path(environment.get("FLASHINFER_WORKSPACE_BASE") or home)
    return [
        Path(environment.get("HF_HOME") or home / ".cache" / "huggingface"),
        flashinfer / ".cache" / "flashinfer",
        Path(environment.get("TRITON_CACHE_DIR") or home / ".triton"),
    ]


def _writable(folder: Path) -> bool:
    """Whether the folder is writable, or could be made."""
    existing = next((path for path in (folder, *folder.parents) if path.exists()), folder)
    return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)
