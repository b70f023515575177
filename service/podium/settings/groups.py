"""The groups of settings. Each field's description states its meaning and unit, for people.

The descriptions are the source of `.env.example`, `podium.example.toml` and `docs/settings.md`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, SecretStr, model_validator

from podium.settings._base import Address, Folder, Group

__all__ = [
    "AuthSettings",
    "BreakerSettings",
    "DeadlineSettings",
    "HealthSettings",
    "LimitSettings",
    "LogSettings",
    "MetricSettings",
    "OpsSettings",
    "PreflightSettings",
    "RunSettings",
    "ServerSettings",
    "ShutdownSettings",
    "StorageSettings",
    "ToolSettings",
]

_MODULE = r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$"
_HOST = r"^(\*\.)?[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?$"

Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]


class ServerSettings(Group):
    """The gRPC server."""

    listen: tuple[Address, ...] = Field(
        default=("127.0.0.1:50051",),
        min_length=1,
        description="Addresses to serve gRPC on: host:port, [v6]:port or unix:/path (under 100 bytes). Anything but"
        " loopback and Unix sockets needs auth.enabled or server.tls_client_ca_file.",
    )
    max_message_bytes: int = Field(
        default=16 * 1024 * 1024, ge=64 * 1024, le=1024**3, description="Largest message taken or sent, in bytes."
    )
    maximum_concurrent_rpcs: int = Field(
        default=4096,
        ge=1,
        le=1_000_000,
        description="Calls open at once before gRPC itself refuses more; a far guard behind limits.max_in_flight.",
    )
    keepalive_seconds: Seconds = Field(
        default=60.0, description="Idle time after which the server pings a connection, in seconds."
    )
    keepalive_timeout_seconds: Seconds = Field(
        default=20.0, description="How long a ping may stay unanswered before the connection is closed, in seconds."
    )
    min_ping_interval_seconds: Seconds = Field(
        default=20.0, description="Clients that ping more often than this lose their connection, in seconds."
    )
    max_connection_idle_seconds: float = Field(
        default=900.0,
        ge=0,
        le=86_400,
        description="Connections without a call for this long are closed, in seconds; 0 keeps them.",
    )
    max_connection_age_seconds: float = Field(
        default=1800.0,
        ge=0,
        le=86_400 * 7,
        description="Age at which a connection is asked to close, so that clients spread over new replicas, in"
        " seconds; 0 never.",
    )
    connection_age_jitter: float = Field(
        default=0.1,
        ge=0,
        le=0.5,
        description="Share by which the age differs from process to process, so that they do not all close at once.",
    )
    max_connection_age_grace_seconds: Seconds = Field(
        default=300.0,
        description="How long calls of an aged connection may go on, in seconds; longer than the longest stream.",
    )
    scheduling: Literal["batch", "default"] = Field(
        default="batch",
        description="How the kernel schedules the server (Linux): batch takes about a fifth less CPU a call on a busy"
        " core, default may answer a little sooner beside other busy processes.",
    )
    listener: Literal["poller", "event_engine"] = Field(
        default="poller",
        description="Which of gRPC's threads read the server's sockets: poller takes about a tenth less CPU a call,"
        " event_engine is gRPC's own default. GRPC_EXPERIMENTS, when it names event_engine_listener, decides.",
    )
    reflection: bool = Field(default=True, description="Whether the server describes its services to grpcurl and such.")
    tls_cert_file: Folder | None = Field(
        default=None, description="PEM file with the server's certificate chain.", examples=["/etc/podium/tls/tls.crt"]
    )
    tls_key_file: Folder | None = Field(
        default=None, description="PEM file with the certificate's private key.", examples=["/etc/podium/tls/tls.key"]
    )
    tls_client_ca_file: Folder | None = Field(
        default=None,
        description="PEM file with the authorities that client certificates must come from (mutual TLS).",
        examples=["/etc/podium/tls/client-ca.crt"],
    )

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Self:
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise ValueError("set tls_cert_file and tls_key_file together, or neither")
        if self.tls_client_ca_file is not None and self.tls_cert_file is None:
            raise ValueError("tls_client_ca_file needs tls_cert_file and tls_key_file")
        return self


class OpsSettings(Group):
    """The HTTP port for operators: metrics and health."""

    enabled: bool = Field(default=True, description="Whether to serve metrics and health over HTTP.")
    listen: Address = Field(
        default="127.0.0.1:8000", description="Address of the ops HTTP port; the rule of server.listen applies to it."
    )

    @model_validator(mode="after")
    def _tcp_only(self) -> Self:
        if self.listen.startswith("unix:"):
            raise ValueError("the ops HTTP port listens on TCP only: write host:port")
        return self


class AuthSettings(Group):
    """Who may call."""

    enabled: bool = Field(
        default=False,
        description="Whether every call needs an API key (`podium keys create`); needed to listen beyond loopback.",
    )
    health_open: bool = Field(default=True, description="Whether health answers without a credential.")
    reflection_open: bool = Field(default=True, description="Whether reflection answers without a credential.")


class LimitSettings(Group):
    """How much one caller, and all together, may ask."""

    requests_per_minute: int = Field(
        default=60, ge=1, le=10_000_000, description="Calls a minute of one principal in one class (run, read, admin)."
    )
    requests_per_hour: int = Field(
        default=1000, ge=1, le=100_000_000, description="Calls an hour of one principal in one class."
    )
    burst: int = Field(default=60, ge=1, le=1_000_000, description="Calls one principal may make at once.")
    service_limits: tuple[
        Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}=[0-9]{1,8}(/[0-9]{1,12})?$")], ...
    ] = Field(
        default=("openai=50/150000", "anthropic=30/100000"),
        description="Turns and tokens a minute of each model: NAME=TURNS or NAME=TURNS/TOKENS, NAME being a model, the"
        " vendor of an OpenAI-compatible one, or another kind; a model's own requests_per_minute and"
        " tokens_per_minute win.",
    )
    max_memory_gb: float = Field(
        default=4.0,
        ge=0.1,
        le=4096,
        description="Memory of the server in GiB: near it, caches and background work give way, then new runs are"
        " refused. A container's own limit counts when three quarters of it are less.",
    )
    global_per_second: int = Field(default=100, ge=1, le=1_000_000, description="Calls a second of all principals.")
    exempt_local: bool = Field(
        default=True, description="Whether the local callers of a server without credentials are exempt from the rates."
    )
    max_in_flight: int = Field(
        default=2048,
        ge=1,
        le=1_000_000,
        description="Calls handled at once; more are refused at once with UNAVAILABLE. Health is never refused.",
    )


class BreakerSettings(Group):
    """Circuit breakers, one per dependency."""

    failure_threshold: int = Field(default=5, ge=1, le=1000, description="Failures in a row that open a breaker.")
    recovery_seconds: Seconds = Field(default=60.0, description="How long it stays open before a trial, in seconds.")
    success_threshold: int = Field(default=2, ge=1, le=100, description="Trials that must succeed to close it.")
    call_timeout_seconds: Seconds = Field(
        default=30.0, description="Longest call under a breaker, in seconds; models use deadlines.llm_seconds."
    )


class DeadlineSettings(Group):
    """How long work may take. A caller's own deadline counts when it is shorter."""

    run_seconds: Seconds = Field(default=60.0, description="Longest run (Execute, ExecuteStream), in seconds.")
    generate_seconds: Seconds = Field(default=120.0, description="Longest InferenceService.Generate call, in seconds.")
    llm_seconds: Seconds = Field(default=120.0, description="Longest model turn inside a run, in seconds.")
    tool_seconds: Seconds = Field(
        default=5.0, description="Longest call of a tool that names no limit of its own, in seconds."
    )
    http_seconds: Seconds = Field(default=30.0, description="Longest HTTP request to the outside, in seconds.")
    read_seconds: Seconds = Field(default=10.0, description="Longest read (GetRun, ListTools, ...), in seconds.")


class RunSettings(Group):
    """Bounds of runs and of the tool calls inside them."""

    parallel: int = Field(default=30, ge=1, le=10_000, description="Tool calls of one run at once.")
    parallel_process: int = Field(default=50, ge=1, le=100_000, description="Tool calls of the whole process at once.")
    parallel_type: int = Field(default=10, ge=1, le=10_000, description="Tool calls of one type at once, process-wide.")
    max_active: int = Field(default=1024, ge=1, le=100_000, description="Runs going on at once; more are refused.")
    max_turns: int = Field(default=8, ge=1, le=1000, description="Model turns of one run.")
    max_calls: int = Field(default=64, ge=1, le=10_000, description="Tool calls of one run.")
    max_tokens: int = Field(default=4096, ge=1, le=1_000_000, description="Tokens the model may write in one run.")
    max_input_chars: int = Field(default=32_768, ge=1, le=32_768, description="Longest request, in characters.")
    max_retries: int = Field(
        default=3, ge=0, le=20, description="Additional attempts of a tool call that may be repeated."
    )
    max_each: int = Field(
        default=100, ge=1, le=10_000, description="Items of a call that the model makes for each item of a list."
    )
    max_repeats: int = Field(
        default=3,
        ge=2,
        le=100,
        description="A run that makes the same call with the same result so often goes in circles, and has to answer.",
    )
    references: bool = Field(
        default=True,
        description="Whether capable models are told how to write calls that use each other's results in one turn.",
    )
    question_seconds: Seconds = Field(
        default=300.0, description="How long a question to the caller waits for its answer, in seconds."
    )
    retained: int = Field(
        default=1000, ge=1, le=1_000_000, description="Ended runs kept in memory for GetRun and ListRuns."
    )


class ToolSettings(Group):
    """Which tools there are, and what they may touch."""

    python: tuple[Annotated[str, Field(pattern=_MODULE)], ...] = Field(
        default=(), description="Python modules whose tools are registered, besides the core pack and entry points."
    )
    workspace: Folder = Field(
        default=Path("workspace"), description="The folder whose files the file tools see; relative paths start there."
    )
    folders: tuple[Folder, ...] = Field(default=(), description="Further folders that the file tools may read.")
    http_hosts: tuple[Annotated[str, Field(pattern=_HOST)], ...] = Field(
        default=(),
        description="Hosts that http_get may reach (name, *.domain, name:port); empty: the tool does not exist.",
    )
    http_internal_hosts: tuple[Annotated[str, Field(pattern=_HOST)], ...] = Field(
        default=(),
        description="Hosts or addresses that http_get may also reach by plain http and at private addresses.",
    )
    threads: int = Field(default=32, ge=1, le=1000, description="Threads for tools that are plain functions.")
    max_query_chars: int = Field(default=1000, ge=1, le=32_768, description="Longest search query, in characters.")
    max_file_bytes: int = Field(
        default=1024 * 1024, ge=1, le=1024**3, description="Largest file that a tool reads, in bytes."
    )
    shown_result_chars: int = Field(
        default=32_000,
        ge=200,
        le=16 * 1024 * 1024,
        description="Longest result that a model is shown whole, in characters; of a longer one it sees the beginning"
        " and may read on.",
    )
    max_result_bytes: int = Field(
        default=256 * 1024, ge=64, le=16 * 1024 * 1024, description="Largest result of a tool, as JSON in bytes."
    )


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


class LogSettings(Group):
    """The log, on standard error."""

    level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(_upper)] = Field(
        default="INFO", description="Lowest level that is written; in any case of letters."
    )
    format: Annotated[Literal["auto", "json", "console"], BeforeValidator(_lower)] = Field(
        default="auto",
        description="json, console, or auto: console on a terminal outside production, else json.",
    )
    mask: bool = Field(default=True, description="Whether keys, tokens and passwords are masked in every line.")
    correlation: bool = Field(default=True, description="Whether every line carries the correlation id.")


class MetricSettings(Group):
    """Metrics in the Prometheus format, on the ops HTTP port."""

    max_label_values: int = Field(
        default=100, ge=1, le=10_000, description="Distinct tools, models or breakers that get series of their own."
    )


class HealthSettings(Group):
    """Health checks."""

    interval_seconds: Seconds = Field(
        default=30.0, description="How often dependencies are checked, in seconds; probes get the last result."
    )
    stuck_seconds: Seconds = Field(
        default=10.0, description="Liveness fails when the event loop has not turned for this long, in seconds."
    )


class ShutdownSettings(Group):
    """The end of the process."""

    seconds: float = Field(
        default=60.0, ge=0, le=3600, description="How long calls may go on after SIGTERM or SIGINT, in seconds."
    )


class StorageSettings(Group):
    """Where Podium keeps its data."""

    data_dir: Folder = Field(
        default=Path("var"), description="The data directory: keys and other state; one server uses it at a time."
    )
    encrypt_at_rest: bool = Field(
        default=True,
        description="Whether what leaves the process to be kept elsewhere (results in cache.redis_url) is encrypted.",
    )
    secret_key: SecretStr | None = Field(
        default=None,
        min_length=32,
        description="The service's secret, 32 characters or more, that encryption derives its keys from.",
        examples=["put the output of openssl rand -base64 32 here"],
    )
    privacy_salt: SecretStr | None = Field(
        default=None,
        min_length=8,
        description="Salt of the derived keys, the same on every server of a fleet.",
        examples=["put the output of openssl rand -base64 16 here"],
    )
    models_dir: Folder | None = Field(
        default=None,
        description="Where fetched models are kept; the user's cache when it is not set.",
        examples=["/var/cache/podium/models"],
    )


class PreflightSettings(Group):
    """What the machine must offer before the server starts. 0 switches a check off."""

    min_memory_mb: int = Field(default=512, ge=0, description="Memory that must be available, in MiB.")
    min_disk_mb: int = Field(default=256, ge=0, description="Free space that the data directory needs, in MiB.")
    min_open_files: int = Field(
        default=1024, ge=0, description="Open files the process must be allowed; the soft limit is raised if it can be."
    )
