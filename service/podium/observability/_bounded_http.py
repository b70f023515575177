"""A small HTTP server that cannot be held up: bounded connections, time and header size.

Each request has a thread of its own from a limited number; a client gets a few seconds to send a
header of a few kilobytes, one answer, and the connection is closed. GET only, bodies are ignored.
"""

from __future__ import annotations

import io
import socket
import sys
import threading
import time
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from podium.observability.logging import get_logger

__all__ = ["BoundedHandler", "BoundedServer"]

log = get_logger(__name__)

MAX_HEADER_BYTES = 16 * 1024
BUSY = b"HTTP/1.0 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
TOO_LARGE = b"HTTP/1.0 431 Request Header Fields Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class BoundedServer(ThreadingMixIn, WSGIServer):
    """A threading WSGI server with a limit on the connections it handles at once."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    allow_reuse_address = True

    max_connections = 32
    request_seconds = 5.0

    def __init__(self, address: tuple[str, int], handler: type[BoundedHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._slots = threading.BoundedSemaphore(self.max_connections)
        super().__init__(address, handler)

    def server_bind(self) -> None:
        """Bind without asking the name service who we are."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give the connection a thread, or refuse it at once when all are taken."""
        if not self._slots.acquire(blocking=False):
            request.setblocking(False)
            _send_last(request, BUSY)
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no more threads: the machine is at its limit
            self._slots.release()
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Handle one connection and give its slot back."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002  the library's signature
        """Log what went wrong; a client that went away is no news."""
        log.debug("ops HTTP connection failed", exc_info=sys.exc_info())


class BoundedHandler(WSGIRequestHandler):
    """Reads one bounded header within a total time, then lets WSGI answer it."""

    server_version = "podium"
    sys_version = ""

    def handle(self) -> None:
        """Read the header, whole, before anything is parsed; then answer it."""
        assert isinstance(self.server, BoundedServer)  # noqa: S101  nothing else makes handlers
        header = read_header(self.connection, self.server.request_seconds)
        if header is None:
            return
        if len(header) > MAX_HEADER_BYTES:
            _send_last(self.connection, TOO_LARGE)
            return
        self.connection.settimeout(self.server.request_seconds)
        self.rfile = io.BytesIO(header)
        super().handle()

    def address_string(self) -> str:
        """Return the peer without asking the name service."""
        return str(self.client_address[0])

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the library's signature
        """Write the access line where all lines go."""
        log.debug("ops HTTP request", line=format % args)

    def get_stderr(self) -> Any:
        """Send what WSGI complains about to the log."""
        return _LogStream()


class _LogStream(io.TextIOBase):
    def write(self, text: str) -> int:
        if text.strip():
            log.error("ops HTTP handler failed", detail=text.strip())
        return len(text)


def _send_last(connection: socket.socket, answer: bytes) -> None:
    try:
        connection.sendall(answer)
        connection.shutdown(socket.SHUT_WR)
    except OSError:
        log.debug("ops HTTP client is gone")


def read_header(connection: socket.socket, seconds: float) -> bytes | None:
    """Return what precedes the body, or more than `MAX_HEADER_BYTES`; None when it does not come in time."""
    deadline = time.monotonic() + seconds
    received = bytearray()
    while len(received) <= MAX_HEADER_BYTES:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            return None
        connection.settimeout(remaining)
        try:
            chunk = connection.recv(4096)
        except OSError:
            return None
        if not chunk:
            return None
        received += chunk
        end = received.find(b"\r\n\r\n")
        if 0 <= end <= MAX_HEADER_BYTES:
            return bytes(received[: end + 4])
    return bytes(received)
