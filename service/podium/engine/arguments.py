"""What `podium engine` is told: one dataclass, and its command line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from podium.errors import InvalidRequest

__all__ = ["ENGINES", "MAX_SOCKET_PATH", "HostArguments", "check_address", "parse_arguments"]

ENGINES = ("openvino", "tensorrt_llm")
MAX_SOCKET_PATH = 99
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})


@dataclass(frozen=True, slots=True, kw_only=True)
class HostArguments:
    """How to run one engine host.

    Attributes:
        model: a folder made by `podium models pull`, a .gguf file, or an OpenVINO model folder; for
            TensorRT-LLM a folder with the model in Hugging Face's format.
        listen: `unix:/path` (under 100 characters) or `127.0.0.1:port`.
        max_active: requests stepped together; more wait in a queue.
        max_waiting: length of that queue; beyond it requests are refused with RESOURCE_EXHAUSTED.
        kv_cache_tokens: tokens that the key-value cache holds, prompts and outputs together; TensorRT-LLM
            sizes its own, see `kv_cache_fraction` of its options.
        max_seq_len: longest prompt plus output; 0 takes the model's own.
        threads: threads for inference; 0 leaves it to the engine.
        flush_interval: seconds between two deltas of one stream under load.
        request_limit: seconds after which a generation ends with finish reason `timeout`.
        stall_limit: seconds that a client may leave a delta unread before its request is aborted.
        drain_limit: seconds that running requests get to finish after SIGTERM.
        nice: added to the process's niceness at the start.
        exit_with_stdin: leave when standard input closes, which is when the parent is gone.
        options_json: further options of TensorRT-LLM, a JSON object or the path of a file that holds one.
        metrics_listen: `127.0.0.1:port` for Prometheus metrics of TensorRT-LLM; empty for none.
    """

    model: Path
    listen: str
    engine: str = "openvino"
    device: str = "CPU"
    max_active: int = 32
    max_waiting: int = 256
    kv_cache_tokens: int = 32_768
    max_seq_len: int = 0
    threads: int = 0
    flush_interval: float = 0.01
    request_limit: float = 600.0
    stall_limit: float = 30.0
    drain_limit: float = 5.0
    nice: int = 0
    exit_with_stdin: bool = False
    options_json: str = ""
    metrics_listen: str = ""

    def __post_init__(self) -> None:
        check_address(self.listen)
        if self.metrics_listen:
            if self.metrics_listen.startswith("unix:"):
                raise InvalidRequest("Metrics are served on loopback, such as '127.0.0.1:8001'.")
            check_address(self.metrics_listen)
        if self.engine not in ENGINES:
            raise InvalidRequest(f"Unknown engine '{self.engine}'; there are {' and '.join(ENGINES)}.")
        for name in ("max_active", "kv_cache_tokens"):
            if getattr(self, name) < 1:
                raise InvalidRequest(f"{name} must be at least 1.")


def check_address(address: str) -> None:
    """Refuse an address that cannot or must not be listened on.

    The host has no credentials of its own, so it is only ever reached from this machine.

    Raises:
        InvalidRequest: it is neither a short Unix socket path nor loopback.
    """
    if address.startswith("unix:"):
        path = address.removeprefix("unix:")
        if not path or len(path) > MAX_SOCKET_PATH:
            raise InvalidRequest(f"The socket path must have 1 to {MAX_SOCKET_PATH} characters.")
        return
    host, _, port = address.rpartition(":")
    if host not in _LOOPBACK or not port.isdigit():
        raise InvalidRequest("The engine host listens on 'unix:PATH' or on loopback, such as '127.0.0.1:50052'.")


def parse_arguments(argv: Sequence[str] | None = None) -> HostArguments:
    """Read the command line of `python -m podium.engine`; wrong usage exits with status 2."""
    defaults = {name: field.default for name, field in HostArguments.__dataclass_fields__.items()}
    parser = argparse.ArgumentParser(prog="podium engine", description="Serve trtllm.TrtllmService around an engine.")
    parser.add_argument("--engine", choices=ENGINES, default=defaults["engine"])
    parser.add_argument("--model", type=Path, required=True, metavar="PATH")
    parser.add_argument("--listen", required=True, metavar="ADDRESS", help="unix:PATH or 127.0.0.1:PORT")
    parser.add_argument("--device", default=defaults["device"], help="CPU, GPU or NPU")
    for name, kind in (
        ("max_active", int),
        ("max_waiting", int),
        ("kv_cache_tokens", int),
        ("max_seq_len", int),
        ("threads", int),
        ("nice", int),
        ("flush_interval", float),
        ("request_limit", float),
        ("stall_limit", float),
        ("drain_limit", float),
    ):
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, default=defaults[name])
    parser.add_argument("--options-json", default="", metavar="FILE_OR_JSON", help="options of TensorRT-LLM")
    parser.add_argument("--metrics-listen", default="", metavar="ADDRESS", help="Prometheus metrics, 127.0.0.1:PORT")
    parser.add_argument("--exit-with-stdin", action="store_true")
    values = vars(parser.parse_args(argv))
    try:
        return HostArguments(**values)
    except InvalidRequest as error:
        parser.error(error.message)
