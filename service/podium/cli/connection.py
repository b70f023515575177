"""Connecting to the server that a command talks to."""

# ruff: noqa: PLC0415  gRPC takes a while to import; `--help` must not

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from podium.cli.failures import CommandFailed, Exit, reported
from podium.cli.options import api_key_from

if TYPE_CHECKING:
    from podium_client import AsyncPodium, Tls

__all__ = ["DEFAULT_ADDRESS", "Server", "ask"]

DEFAULT_ADDRESS = "127.0.0.1:50051"
_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where a server is and how to talk to it."""

    address: str
    api_key: str | None = None
    tls: bool = False
    tls_roots: Path | None = None

    @classmethod
    def of(cls, address: str | None, api_key_env: str | None, tls: bool, tls_roots: Path | None) -> Server:
        """Take a command's options; a missing key is CommandFailed."""
        return cls(
            address=address or DEFAULT_ADDRESS,
            api_key=api_key_from(api_key_env),
            tls=tls,
            tls_roots=tls_roots,
        )

    def security(self) -> Tls | None:
        """Return the transport security, or None for plaintext."""
        from podium_client import Tls

        if self.tls_roots is not None:
            return Tls.from_files(root_certificates=self.tls_roots)
        return Tls() if self.tls else None

    def connect(self) -> AsyncPodium:
        """Return a client; nothing is sent yet."""
        from podium_client import AsyncPodium

        try:
            return AsyncPodium.connect(self.address, api_key=self.api_key, tls=self.security())
        except ValueError as error:
            raise CommandFailed(str(error), code=Exit.USAGE) from error

    async def is_up(self, seconds: float = 2.0) -> bool:
        """Return whether a Podium answers here, whatever it answers."""
        import podium_client

        host, _, port = self.address.rpartition(":")
        try:
            # A closed port says so at once, which spares the client its retries.
            async with asyncio.timeout(seconds):
                _, writer = await asyncio.open_connection(host, int(port))
        except (OSError, TimeoutError):
            return False
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        async with self.connect() as podium:
            try:
                await podium.health(deadline=seconds)
            except (podium_client.Unsupported, podium_client.Internal, podium_client.DeadlineExceeded):
                return False
            except podium_client.Unavailable as error:
                return bool(error.reason)
            except podium_client.PodiumError:
                return True  # it refuses us, in Podium's words
        return True


def ask(server: Server, question: Callable[[AsyncPodium], Awaitable[_Answer]]) -> _Answer:
    """Connect, ask one thing, and return the answer; whatever goes wrong is reported and ends the command."""

    async def answer() -> _Answer:
        async with server.connect() as podium:
            return await question(podium)

    with reported(server.address):
        return asyncio.run(answer())
