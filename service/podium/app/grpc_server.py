"""The gRPC server as such: options, credentials, addresses."""

from __future__ import annotations

import random
import stat
from collections.abc import Sequence
from pathlib import Path

import grpc
import grpc.aio

from podium.errors import FailedPrecondition
from podium.settings import ServerSettings

__all__ = ["bind", "server_options"]


def server_options(settings: ServerSettings) -> list[tuple[str, int]]:
    """Return the channel arguments of the server.

    Connections age out with jitter, so that long-lived clients behind a plain balancer spread over
    new replicas; `so_reuseport` is off, so that a second server on the same port fails to start.
    """
    options = [
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        ("grpc.keepalive_time_ms", _ms(settings.keepalive_seconds)),
        ("grpc.keepalive_timeout_ms", _ms(settings.keepalive_timeout_seconds)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", _ms(settings.min_ping_interval_seconds)),
        ("grpc.max_connection_age_grace_ms", _ms(settings.max_connection_age_grace_seconds)),
    ]
    if settings.max_connection_idle_seconds:
        options.append(("grpc.max_connection_idle_ms", _ms(settings.max_connection_idle_seconds)))
    if settings.max_connection_age_seconds:
        spread = random.uniform(1 - settings.connection_age_jitter, 1 + settings.connection_age_jitter)  # noqa: S311
        options.append(("grpc.max_connection_age_ms", _ms(settings.max_connection_age_seconds * spread)))
    return options


def bind(server: grpc.aio.Server, settings: ServerSettings) -> list[str]:
    """Bind every address and return each as a client would write it, with real ports.

    Raises:
        FailedPrecondition: an address cannot be bound, or a certificate cannot be read.
    """
    credentials = _credentials(settings)
    return [_bind_one(server, address, credentials) for address in settings.listen]


def _bind_one(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None) -> str:
    unix = address.startswith("unix:")
    if unix:
        _remove_stale_socket(Path(address.removeprefix("unix:")))
    try:
        if credentials is not None and not unix:
            port = server.add_secure_port(address, credentials)
        else:
            port = server.add_insecure_port(address)
    except RuntimeError:
        port = 0
    if not port:
        raise FailedPrecondition(
            f"cannot listen on {address}: it is in use or not an address of this machine; "
            "stop the other server or choose another address (--listen)"
        )
    if unix:
        # Whoever may connect to the socket may call: the owner only.
        Path(address.removeprefix("unix:")).chmod(stat.S_IRUSR | stat.S_IWUSR)
        return address
    return f"{address.rpartition(':')[0]}:{port}"


def _remove_stale_socket(path: Path) -> None:
    """Remove a socket file that nobody answers on; preflight has made sure that nobody does."""
    try:
        if stat.S_ISSOCK(path.stat().st_mode):
            path.unlink()
    except FileNotFoundError:
        return


def _credentials(settings: ServerSettings) -> grpc.ServerCredentials | None:
    """Return TLS credentials that are read anew when the files change, or None for plaintext."""
    if settings.tls_cert_file is None or settings.tls_key_file is None:
        return None
    files = [settings.tls_key_file, settings.tls_cert_file, settings.tls_client_ca_file]
    loader = _CertificateLoader([path for path in files if path is not None], settings.tls_client_ca_file is not None)
    first = loader.load()
    return grpc.dynamic_ssl_server_credentials(
        first,
        loader.reload,  # type: ignore[arg-type]  # None, which the stubs forget, means "no change"
        require_client_authentication=settings.tls_client_ca_file is not None,
    )


class _CertificateLoader:
    """Reads certificates; gRPC asks at every handshake, from threads of its own."""

    def __init__(self, files: Sequence[Path], with_client_ca: bool) -> None:
        self._files = files
        self._with_client_ca = with_client_ca
        self._seen: tuple[int, ...] = ()

    def load(self) -> grpc.ServerCertificateConfiguration:
        """Read the files; raise FailedPrecondition naming the one that cannot be read."""
        contents = []
        for path in self._files:
            try:
                contents.append(path.read_bytes())
            except OSError as error:
                raise FailedPrecondition(f"the TLS file {path} cannot be read: {error.strerror}") from error
        self._seen = self._versions()
        client_ca = contents[2] if self._with_client_ca else None
        return grpc.ssl_server_certificate_configuration([(contents[0], contents[1])], root_certificates=client_ca)

    def reload(self) -> grpc.ServerCertificateConfiguration | None:
        """Return new certificates when a file changed; keep the old ones when a file is being replaced."""
        try:
            return None if self._versions() == self._seen else self.load()
        except (OSError, FailedPrecondition):
            return None

    def _versions(self) -> tuple[int, ...]:
        return tuple(path.stat().st_mtime_ns for path in self._files)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
