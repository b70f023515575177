"""Whether TensorRT-LLM can be used, found out in a process of its own.

Importing the package loads CUDA libraries and initialises MPI: it can fail, hang for ever or abort the
process. So a child does it, and the version is read beforehand, without importing anything.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from podium.engine.tensorrt_llm.versions import check_version
from podium.errors import FailedPrecondition

__all__ = ["ProbeResult", "ProbeStatus", "probe_tensorrt_llm"]

ProbeStatus = Literal["ok", "absent", "wrong_version", "import_error", "hang", "no_gpu", "crash"]

_MARK = "podium-probe:"
_READ_VERSION = f"""
import importlib.metadata, json
found = None
for name in ("tensorrt_llm", "tensorrt-llm"):
    try:
        found = importlib.metadata.version(name)
        break
    except importlib.metadata.PackageNotFoundError:
        pass
print("{_MARK}" + json.dumps({{"version": found}}), flush=True)
"""
# `os._exit`, because hooks that the import registers may hang at the end (they stop MPI).
_IMPORT = f"""
import json, os, sys
try:
    import tensorrt_llm
    torch = sys.modules.get("torch")
    answer = {{"gpus": torch.cuda.device_count() if torch is not None else None}}
except BaseException as error:
    answer = {{"error": type(error).__name__ + ": " + str(error)[:2000]}}
print("\\n{_MARK}" + json.dumps(answer), flush=True)
sys.stderr.flush()
os._exit(0)
"""
_NO_GPU = re.compile(r"libcuda\.so|libnvidia-ml|nvidia driver|cuda driver|no cuda-capable|no nvidia", re.IGNORECASE)
_HINTS = (
    (re.compile(r"libmpi|mpi4py|MPI_", re.IGNORECASE), "Install OpenMPI's libraries and mpi4py 4."),
    (re.compile(r"libnvinfer|No module named 'tensorrt'"), "Install the TensorRT runtime libraries."),
    (re.compile(r"libcudart|libcublas|libnvrtc"), "Install the CUDA 13 toolkit."),
    (re.compile(r"libnccl|undefined symbol"), "Check that its libraries are of the versions that it pins."),
)
_TAIL = 16_384
_DETAIL = 300
_END_LIMIT = 5.0
_POLL = 0.02


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What the probe found.

    Attributes:
        status: `ok` if the engine can be started with it.
        version: the installed version; empty if there is none.
        detail: what is wrong and what to do, in a sentence or two; for `ok`, what was found.
        warnings: what does not prevent its use.
    """

    status: ProbeStatus
    version: str
    detail: str
    warnings: tuple[str, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether the engine can be started with it."""
        return self.status == "ok"


@dataclass(frozen=True, slots=True)
class _Child:
    """How a child ended: None for one that had to be killed at the limit."""

    exit_status: int | None
    answer: dict[str, Any] | None
    last_line: str


def probe_tensorrt_llm(python: str = sys.executable, timeout: float = 120.0) -> ProbeResult:
    """Find out whether an interpreter has a TensorRT-LLM that can be used. Blocks: call it in a thread.

    Args:
        python: The interpreter of the engine host, which need not be ours.
        timeout: Seconds that everything may take; a cold import takes up to two minutes.
    """
    if sys.platform != "linux":
        return ProbeResult("absent", "", "TensorRT-LLM runs on Linux only.")
    end = time.monotonic() + timeout
    # The children start in another folder, so a relative path is made absolute; symbolic links stay, as venvs use them.
    python = os.path.abspath(shutil.which(python) or python)  # noqa: PTH100
    version = _installed_version(python, timeout)
    if isinstance(version, ProbeResult):
        return version
    try:
        number = check_version(version)
    except FailedPrecondition as refused:
        return ProbeResult("wrong_version", version, refused.message)
    child = _run((python, "-c", _IMPORT), max(end - time.monotonic(), 0.0))
    if child.answer is None:
        return _without_answer(child, version, timeout, "Importing tensorrt_llm")
    warnings = () if number[:2] == (1, 2) else (f"{version} is newer than what this release was made for (1.2.x).",)
    return _judge(child.answer, version, warnings)


def _installed_version(python: str, timeout: float) -> str | ProbeResult:
    if sys.platform != "linux":
        return ProbeResult("absent", "", "TensorRT-LLM runs on Linux only.")
    try:
        child = _run((python, "-c", _READ_VERSION), timeout)
    except OSError as error:
        return ProbeResult("absent", "", f"{python} does not run ({error.strerror}); name the engine's interpreter.")
    if child.answer is None:
        return _without_answer(child, "", timeout, f"Starting {python}")
    version = child.answer.get("version")
    if not version:
        return ProbeResult("absent", "", f"tensorrt_llm is not installed for {python}; install 1.2.1 there.")
    return str(version)


def _judge(answer: dict[str, Any], version: str, warnings: tuple[str, ...]) -> ProbeResult:
    error = answer.get("error")
    if error is not None and _NO_GPU.search(error):
        todo = "Install driver 580 or newer and pass the GPU into the container."
        return ProbeResult("no_gpu", version, f"No GPU can be used. {todo} ({_short(error)})")
    if error is not None:
        hint = next((hint for pattern, hint in _HINTS if pattern.search(error)), "Reinstall it as its guide says.")
        return ProbeResult("import_error", version, f"tensorrt_llm does not import: {_short(error)}. {hint}")
    gpus = answer.get("gpus")
    if gpus == 0:
        return ProbeResult("no_gpu", version, "tensorrt_llm imports but sees no GPU; check CUDA_VISIBLE_DEVICES.")
    seen = f" and sees {gpus} GPU{'' if gpus == 1 else 's'}" if gpus else ""
    return ProbeResult("ok", version, f"tensorrt_llm {version} imports{seen}.", warnings)


def _without_answer(child: _Child, version: str, timeout: float, what: str) -> ProbeResult:
    if child.exit_status is None:
        return ProbeResult(
            "hang",
            version,
            f"{what} took longer than {timeout:g} s. If it is not just cold, MPI does not start: check that mpi4py 4"
            " and OpenMPI fit together.",
        )
    if child.exit_status < 0:
        how = f"was ended by {_signal_name(-child.exit_status)}"
    else:
        how = f"ended the process with status {child.exit_status}"
    slurm = " MPI aborts under Slurm's variables; unset SLURM_* for the engine." if _under_slurm() else ""
    said = f" ({_short(child.last_line)})" if child.last_line else ""
    return ProbeResult("crash", version, f"{what} {how}{said}.{slurm}")


def _run(command: Sequence[str], timeout: float) -> _Child:
    """Run a child in a session of its own, and end all of that session's group by the limit.

    Its output goes to a file: a pipe would stay open for as long as any grandchild lives.
    """
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(  # noqa: S603  the operator names the interpreter, the rest is ours
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # `python -c` looks for modules in the current folder first; there must be none.
            cwd=os.sep,
            start_new_session=True,
        )
        try:
            status = _wait(process, timeout)
        finally:
            # MPI's helpers may outlive the child; they are in its group.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(_END_LIMIT)
        output.seek(0, os.SEEK_END)
        output.seek(max(0, output.tell() - _TAIL))
        lines = [line for line in output.read().decode(errors="replace").splitlines() if line.strip()]
    answers = [line.removeprefix(_MARK) for line in lines if line.startswith(_MARK)]
    said = [line for line in lines if not line.startswith(_MARK)]
    return _Child(status, _parsed(answers[-1]) if answers else None, said[-1] if said else "")


def _wait(process: subprocess.Popen[bytes], timeout: float) -> int | None:
    """Wait for the child's end without reaping it, so that its group's number cannot be another's when killed."""
    end = time.monotonic() + timeout
    while True:
        ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is not None:
            return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
        if time.monotonic() >= end:
            return None
        time.sleep(_POLL)


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        answer = json.loads(text)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _DETAIL else line[: _DETAIL - 3] + "..."


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _under_slurm() -> bool:
    return any(name.startswith("SLURM_") for name in os.environ)
