"""How a channel is set up: options, retries by service config, transport security. Pure: opens nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Self

import grpc

from podium_client._correlation import CORRELATION_KEY, correlation_id_for

DEFAULT_ADDRESS = "127.0.0.1:50051"
DEFAULT_TIMEOUT = 60.0
MAX_MESSAGE_BYTES = 16 * 1024 * 1024

# Execute and ExecuteStream are here because the client always sends a request_id with them: the same
# id is the same run, so a second attempt before an answer cannot run anything twice.
_RETRIED = (
    {"service": "podium.v1.OrchestratorService"},
    {"service": "podium.v1.ClarificationService", "method": "ListClarifications"},
    {"service": "podium.v1.ClarificationService", "method": "GetClarification"},
    {"service": "podium.v1.ToolService", "method": "ListTools"},
    {"service": "podium.v1.ToolService", "method": "GetTool"},
    {"service": "podium.v1.InferenceService", "method": "ListModels"},
    {"service": "podium.v1.InferenceService", "method": "CountTokens"},
    {"service": "podium.v1.HealthService"},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Transport security: PEM bytes. `Tls()` trusts the well-known roots that gRPC ships with.

    Attributes:
        root_certificates: whom to trust, instead of the well-known roots.
        certificate_chain, private_key: who we are, for servers that ask (mTLS); both or neither.
        server_name: the name to expect in the server's certificate, when it is not the address's.
    """

    root_certificates: bytes | None = None
    certificate_chain: bytes | None = None
    private_key: bytes | None = field(default=None, repr=False)
    server_name: str = ""

    def __post_init__(self) -> None:
        if (self.certificate_chain is None) != (self.private_key is None):
            raise ValueError("mTLS needs both certificate_chain and private_key")

    @classmethod
    def from_files(
        cls,
        *,
        root_certificates: str | Path | None = None,
        certificate_chain: str | Path | None = None,
        private_key: str | Path | None = None,
        server_name: str = "",
    ) -> Self:
        """Read the PEM files, now."""
        return cls(
            root_certificates=_read(root_certificates),
            certificate_chain=_read(certificate_chain),
            private_key=_read(private_key),
            server_name=server_name,
        )

    def credentials(self) -> grpc.ChannelCredentials:
        """Return them as gRPC wants them."""
        return grpc.ssl_channel_credentials(self.root_certificates, self.private_key, self.certificate_chain)


def _read(path: str | Path | None) -> bytes | None:
    return None if path is None else Path(path).read_bytes()


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where to connect and how, checked."""

    address: str
    api_key: str = field(default="", repr=False)
    tls: Tls | None = None
    timeout: float = DEFAULT_TIMEOUT
    wait_for_ready: bool = False

    @classmethod
    def of(
        cls,
        address: str,
        api_key: str | None,
        tls: Tls | bool | None,
        timeout: float | timedelta,
        wait_for_ready: bool,
    ) -> Self:
        """Check what the caller gave; ValueError says what is wrong with it."""
        if not address or address.startswith(("http://", "https://", "grpc://", "grpcs://")):
            raise ValueError(f"an address is HOST:PORT or unix:PATH, without http://, not {address!r}")
        if api_key is not None and not (api_key.isascii() and api_key.isprintable()):
            raise ValueError("an API key is printable ASCII; is there a line break at its end?")
        return cls(
            address=address,
            api_key=api_key or "",
            tls=Tls() if tls is True else tls or None,
            timeout=seconds(timeout, DEFAULT_TIMEOUT),
            wait_for_ready=wait_for_ready,
        )

    def options(self) -> list[tuple[str, str | int]]:
        """Return the channel's options."""
        options: list[tuple[str, str | int]] = [
            ("grpc.service_config", service_config()),
            ("grpc.primary_user_agent", f"podium-python/{_version()}"),
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            # A connection of its own for each client: two clients reach two of a server's processes.
            ("grpc.use_local_subchannel_pool", 1),
            # Servers permit a ping each 20 s; sent only while a call is open.
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.initial_reconnect_backoff_ms", 250),
            ("grpc.max_reconnect_backoff_ms", 10_000),
        ]
        if self.tls is not None and self.tls.server_name:
            options.append(("grpc.ssl_target_name_override", self.tls.server_name))
        return options

    def call(self, deadline: float | timedelta | None, correlation_id: str | None) -> CallOptions:
        """Return what one call is made with."""
        chosen = correlation_id_for(correlation_id)
        metadata: list[tuple[str, str]] = [(CORRELATION_KEY, chosen)]
        if self.api_key:
            metadata.append(("authorization", f"Bearer {self.api_key}"))
        return CallOptions(
            timeout=seconds(deadline, self.timeout),
            metadata=tuple(metadata),
            correlation_id=chosen,
            wait_for_ready=self.wait_for_ready,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOptions:
    """What one call is made with."""

    timeout: float
    metadata: tuple[tuple[str, str], ...] = field(repr=False)
    correlation_id: str
    wait_for_ready: bool


def seconds(value: float | timedelta | None, default: float) -> float:
    """Return a deadline in seconds; ValueError unless it is positive."""
    if value is None:
        return default
    given = value.total_seconds() if isinstance(value, timedelta) else float(value)
    if not 0 < given < float("inf"):
        raise ValueError(f"a deadline is a positive number of seconds, not {given}")
    return given


def service_config(methods: Sequence[dict[str, str]] = _RETRIED) -> str:
    """Return the gRPC service config: UNAVAILABLE is retried for these methods and nothing else is."""
    policy = {
        "maxAttempts": 4,
        "initialBackoff": "0.2s",
        "maxBackoff": "2s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    return json.dumps({"methodConfig": [{"name": list(methods), "retryPolicy": policy}]})


def _version() -> str:
    try:
        return version("podium")
    except PackageNotFoundError:  # used from a source tree that is not installed
        return "0"
