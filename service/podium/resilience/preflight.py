"""Checks before the start: whether this machine can serve, and what to do when it cannot.

`preflight` asks everything and reports all that is wrong at once. What it reads of the machine
comes through `Machine`, so tests can put any machine before it. Only two things change: the soft
limit on open files is raised when it can be, and the data directory is made.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol, Self

import psutil

if sys.platform != "win32":  # which has neither: those checks are left out
    import fcntl
    import resource

__all__ = ["DataDirectory", "DataDirectoryInUse", "LocalMachine", "Machine", "Problem", "Requirements", "preflight"]

OLDEST_PYTHON = (3, 11)
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Problem:
    """One reason not to start: what is wrong, and what to do."""

    what: str
    todo: str

    def __str__(self) -> str:
        return f"{self.what}; {self.todo}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirements:
    """What the server is about to need. A limit of 0 is not checked.

    Attributes:
        addresses: `host:port`, `[v6]:port` or `unix:/path`, each with the setting that names it.
        data_dir: the data directory.
        min_memory_mb, min_disk_mb: what must be free, in MiB.
        min_open_files: how many files the process must be allowed to hold open.
    """

    addresses: tuple[tuple[str, str], ...] = ()
    data_dir: Path | None = None
    min_memory_mb: int = 0
    min_disk_mb: int = 0
    min_open_files: int = 0


class Machine(Protocol):
    """What preflight reads of the machine."""

    def python(self) -> tuple[int, int]:
        """Return Python's major and minor version."""
        ...

    def try_bind(self, address: str) -> OSError | None:
        """Return why `address` cannot be listened on; None when it can."""
        ...

    def open_files(self, wanted: int) -> tuple[int, int]:
        """Raise the soft limit towards `wanted` as far as it goes; return soft and hard limit."""
        ...

    def available_memory(self) -> int:
        """Return the bytes of memory that can still be used, the container's limit included."""
        ...

    def free_disk(self, folder: Path) -> int:
        """Return the free bytes where `folder` is."""
        ...


class LocalMachine:
    """The machine we run on."""

    def python(self) -> tuple[int, int]:
        """Return Python's major and minor version."""
        return sys.version_info[:2]

    def try_bind(self, address: str) -> OSError | None:
        """Return why `address` cannot be listened on; None when it can."""
        try:
            if address.startswith("unix:"):
                _try_unix(Path(address.removeprefix("unix:")))
            else:
                _try_tcp(address)
        except OSError as error:
            return error
        return None

    def open_files(self, wanted: int) -> tuple[int, int]:
        """Raise the soft limit towards `wanted` as far as it goes; return soft and hard limit."""
        if sys.platform == "win32":
            return wanted, wanted
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        unlimited = resource.RLIM_INFINITY
        ceiling = wanted if hard == unlimited else hard
        if soft != unlimited and soft < ceiling:
            with suppress(OSError, ValueError):  # macOS names a hard limit that it then refuses
                resource.setrlimit(resource.RLIMIT_NOFILE, (ceiling, hard))
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        return (max(wanted, 1) if soft == unlimited else soft), (max(wanted, 1) if hard == unlimited else hard)

    def available_memory(self) -> int:
        """Return the bytes of memory that can still be used, the container's limit included."""
        return min([psutil.virtual_memory().available, *_container_memory(Path("/sys/fs/cgroup"))])

    def free_disk(self, folder: Path) -> int:
        """Return the free bytes where `folder` is."""
        return int(psutil.disk_usage(str(folder)).free)


def _container_memory(cgroup: Path) -> Iterator[int]:
    """Yield what a control group (version 2) leaves, where there is one with a limit."""
    with suppress(OSError, ValueError):
        limit = (cgroup / "memory.max").read_text(encoding="ascii").strip()
        if limit != "max":
            used = int((cgroup / "memory.current").read_text(encoding="ascii"))
            yield max(0, int(limit) - used)


def _try_tcp(address: str) -> None:
    host, _, port = address.rpartition(":")
    found = socket.getaddrinfo(
        host.removeprefix("[").removesuffix("]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    for family, kind, protocol, _, target in found[:1]:
        with closing(socket.socket(family, kind, protocol)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(target)
            probe.listen(1)


def _try_unix(path: Path) -> None:
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "its folder does not exist", str(path))
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(errno.EACCES, "its folder cannot be written to", str(path))
    if not path.exists():
        return
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return  # left behind by a server that is gone: gRPC replaces it
    raise OSError(errno.EADDRINUSE, "somebody listens there", str(path))


def preflight(requirements: Requirements, machine: Machine | None = None) -> list[Problem]:
    """Return everything that keeps the server from starting here; an empty list when nothing does."""
    asked = machine or LocalMachine()
    problems = [*_python(asked), *_addresses(requirements.addresses, asked), *_open_files(requirements, asked)]
    problems += _memory(requirements, asked)
    if requirements.data_dir is not None:
        problems += _data_dir(requirements.data_dir) or _disk(requirements.data_dir, requirements.min_disk_mb, asked)
    return problems


def _python(machine: Machine) -> Iterator[Problem]:
    version = machine.python()
    if version < OLDEST_PYTHON:
        wanted = ".".join(map(str, OLDEST_PYTHON))
        yield Problem(f"Python {version[0]}.{version[1]} is too old", f"run Podium with Python {wanted} or newer")


def _addresses(addresses: Iterable[tuple[str, str]], machine: Machine) -> Iterator[Problem]:
    for setting, address in addresses:
        if address.endswith(":0"):
            continue
        error = machine.try_bind(address)
        if error is not None:
            yield _address_problem(setting, address, error)


def _address_problem(setting: str, address: str, error: OSError) -> Problem:
    if error.errno == errno.EADDRINUSE:
        who = f"`lsof {address.removeprefix('unix:')}`" if address.startswith("unix:") else _who_has(address)
        return Problem(
            f"{address} is already in use", f"see who has it with {who}, or set {setting} to another address"
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return Problem(
            f"{address} may not be listened on", f"set {setting} to a port above 1023 or a folder of your own"
        )
    if error.errno == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
        return Problem(f"{address} is no address of this machine", f"set {setting} to one it has, such as 127.0.0.1")
    reason = error.strerror or type(error).__name__
    return Problem(
        f"{address} cannot be listened on ({reason.lower()})", f"mend that or set {setting} to another address"
    )


def _who_has(address: str) -> str:
    port = address.rpartition(":")[2]
    return f"`ss -ltnp 'sport = :{port}'` or `lsof -i :{port}`"


def _open_files(requirements: Requirements, machine: Machine) -> Iterator[Problem]:
    if not requirements.min_open_files:
        return
    soft, hard = machine.open_files(requirements.min_open_files)
    if soft < requirements.min_open_files:
        yield Problem(
            f"this process may open {soft} files, and {requirements.min_open_files} are needed",
            f"raise the limit (`ulimit -n`, LimitNOFILE=; the hard limit is {hard}) or lower preflight.min_open_files",
        )


def _memory(requirements: Requirements, machine: Machine) -> Iterator[Problem]:
    if not requirements.min_memory_mb:
        return
    available = machine.available_memory() // MIB
    if available < requirements.min_memory_mb:
        yield Problem(
            f"{available} MiB of memory are available, and {requirements.min_memory_mb} are needed",
            "end other programs, give the container more, or lower preflight.min_memory_mb",
        )


def _data_dir(folder: Path) -> list[Problem]:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=folder):
            return []
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        return [
            Problem(
                f"the data directory {folder} cannot be written to ({reason})",
                "give this user the right to, or set storage.data_dir (--data-dir) to another folder",
            )
        ]


def _disk(folder: Path, wanted: int, machine: Machine) -> list[Problem]:
    free = machine.free_disk(folder) // MIB if wanted else 0
    if free >= wanted:
        return []
    todo = "make room, set storage.data_dir to another disk, or lower preflight.min_disk_mb"
    return [Problem(f"the data directory {folder} has {free} MiB of free space, and {wanted} are needed", todo)]


class DataDirectoryInUse(Exception):
    """Another server holds the data directory; `problem` says which and what to do."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


class DataDirectory:
    """The data directory, held for one server. A context manager around the server's whole life.

    The lock is the kernel's, on a file with our process id in it, so a crash leaves nothing that
    has to be cleared away: a file from a dead server is simply taken over.

    Args:
        folder: the directory; it is made, readable for this user only, when it does not exist.
    """

    LOCK_NAME = "podium.lock"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file: IO[str] | None = None

    def __enter__(self) -> Self:
        """Take the directory.

        Raises:
            DataDirectoryInUse: another server holds it.
            OSError: it cannot be made or written to.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self.folder / self.LOCK_NAME
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+", encoding="ascii")
        try:
            if sys.platform != "win32":
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = file.read(32).strip()
            file.close()
            raise DataDirectoryInUse(_held_by(self.folder, holder)) from None
        except BaseException:
            file.close()
            raise
        file.seek(0)
        file.truncate()
        file.write(f"{os.getpid()}\n")
        file.flush()
        self._file = file
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.truncate(0)
            self._file.close()  # and with it the lock; the file stays, or two could lock two files
            self._file = None


def _held_by(folder: Path, holder: str) -> Problem:
    who = f"process {holder}" if holder.isdigit() else "another process"
    look = f" (`ps -p {holder}`)" if holder.isdigit() else ""
    return Problem(
        f"the data directory {folder} is in use by {who}",
        f"stop that server{look}, or set storage.data_dir (--data-dir) to another folder",
    )
