"""Every check before the start: what it refuses, and that it says what to do."""

from __future__ import annotations

import errno
import os
import resource
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from podium.resilience import preflight as module
from podium.resilience.preflight import (
    MIB,
    DataDirectory,
    DataDirectoryInUse,
    LocalMachine,
    Machine,
    Problem,
    Requirements,
    preflight,
)


class PlentifulMachine:
    """Has everything, but for what a test takes away."""

    def __init__(
        self,
        *,
        python: tuple[int, int] = (3, 12),
        bind: OSError | None = None,
        open_files: tuple[int, int] | None = None,
        memory: int = 10**12,
        disk: int = 10**12,
    ) -> None:
        self._python, self._bind, self._open_files, self._memory, self._disk = python, bind, open_files, memory, disk

    def python(self) -> tuple[int, int]:
        return self._python

    def try_bind(self, address: str) -> OSError | None:
        return self._bind

    def open_files(self, wanted: int) -> tuple[int, int]:
        return self._open_files or (wanted, wanted)

    def available_memory(self) -> int:
        return self._memory

    def free_disk(self, folder: Path) -> int:
        return self._disk


def only(requirements: Requirements, machine: Machine) -> str:
    (problem,) = preflight(requirements, machine)
    return str(problem)


def test_a_good_machine_has_no_problems(tmp_path: Path) -> None:
    requirements = Requirements(
        addresses=(("server.listen", "127.0.0.1:50051"),),
        data_dir=tmp_path / "new" / "var",
        min_memory_mb=512,
        min_disk_mb=256,
        min_open_files=1024,
    )
    assert preflight(requirements, PlentifulMachine()) == []
    assert (tmp_path / "new" / "var").stat().st_mode & 0o077 == 0


def test_everything_is_reported_at_once(tmp_path: Path) -> None:
    machine = PlentifulMachine(
        python=(3, 10), bind=OSError(errno.EADDRINUSE, "x"), open_files=(64, 64), memory=MIB, disk=MIB
    )
    requirements = Requirements(
        addresses=(("server.listen", "127.0.0.1:1"), ("ops.listen", "127.0.0.1:2")),
        data_dir=tmp_path,
        min_memory_mb=2,
        min_disk_mb=2,
        min_open_files=65,
    )
    assert len(preflight(requirements, machine)) == 6


def test_python_too_old() -> None:
    text = only(Requirements(), PlentifulMachine(python=(3, 10)))
    assert text == "Python 3.10 is too old; run Podium with Python 3.11 or newer"


@pytest.mark.parametrize(
    ("error", "address", "expected"),
    [
        (
            OSError(errno.EADDRINUSE, ""),
            "127.0.0.1:50051",
            "already in use; see who has it with `ss -ltnp 'sport = :50051'`",
        ),
        (OSError(errno.EADDRINUSE, ""), "unix:/run/p.sock", "already in use; see who has it with `lsof /run/p.sock`"),
        (PermissionError(errno.EACCES, ""), "127.0.0.1:80", "a port above 1023"),
        (OSError(errno.EADDRNOTAVAIL, ""), "10.9.9.9:1", "is no address of this machine"),
        (socket.gaierror(-2, "unknown"), "nowhere:1", "is no address of this machine"),
        (OSError(errno.ENOENT, "Its folder does not exist"), "unix:/no/p.sock", "(its folder does not exist)"),
    ],
)
def test_an_address_that_cannot_be_had(error: OSError, address: str, expected: str) -> None:
    text = only(Requirements(addresses=(("server.listen", address),)), PlentifulMachine(bind=error))
    assert address in text
    assert expected in text
    assert "server.listen" in text


def test_any_free_port_needs_no_check() -> None:
    machine = PlentifulMachine(bind=OSError(errno.EADDRINUSE, ""))
    assert preflight(Requirements(addresses=(("server.listen", "127.0.0.1:0"),)), machine) == []


def test_too_few_open_files() -> None:
    text = only(Requirements(min_open_files=1024), PlentifulMachine(open_files=(256, 512)))
    assert "may open 256 files, and 1024 are needed" in text
    assert "the hard limit is 512" in text


def test_too_little_memory() -> None:
    text = only(Requirements(min_memory_mb=512), PlentifulMachine(memory=100 * MIB))
    assert "100 MiB of memory are available, and 512 are needed" in text


def test_too_little_disk(tmp_path: Path) -> None:
    text = only(Requirements(data_dir=tmp_path, min_disk_mb=256), PlentifulMachine(disk=5 * MIB))
    assert f"{tmp_path} has 5 MiB of free space, and 256 are needed" in text


def test_limits_of_zero_are_not_checked(tmp_path: Path) -> None:
    machine = PlentifulMachine(memory=0, disk=0, open_files=(1, 1))
    assert preflight(Requirements(data_dir=tmp_path), machine) == []


def test_a_data_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    text = only(Requirements(data_dir=tmp_path / "file" / "var"), PlentifulMachine())
    assert "cannot be written to (not a directory)" in text
    assert "--data-dir" in text


def test_a_data_directory_that_cannot_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    assert "(permission denied)" in only(Requirements(data_dir=tmp_path), PlentifulMachine())


class TestLocalMachine:
    def test_this_machine_can_serve(self, tmp_path: Path) -> None:
        requirements = Requirements(
            addresses=(("a", "127.0.0.1:0"), ("b", f"unix:{tmp_path}/s")),
            data_dir=tmp_path,
            min_memory_mb=1,
            min_disk_mb=1,
        )
        assert preflight(requirements) == []

    def test_a_tcp_port_that_is_taken_and_then_free(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            error = LocalMachine().try_bind(address)
            assert error is not None
            assert error.errno == errno.EADDRINUSE
        assert LocalMachine().try_bind(address) is None

    @pytest.mark.parametrize("address", ["[::1]:0", "localhost:0", "0.0.0.0:0"])
    def test_forms_of_addresses(self, address: str) -> None:
        assert LocalMachine().try_bind(address) is None

    @pytest.mark.parametrize("address", ["192.0.2.1:0", "no-such-host.invalid:1"])
    def test_addresses_of_others(self, address: str) -> None:
        text = only(Requirements(addresses=(("server.listen", address + "5"),)), LocalMachine())
        assert "is no address of this machine" in text

    def test_a_unix_socket_in_use_and_one_left_behind(self, tmp_path: Path) -> None:
        path = tmp_path / "p.sock"
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
            server.listen()
            error = LocalMachine().try_bind(f"unix:{path}")
            assert error is not None
            assert error.errno == errno.EADDRINUSE
        assert path.exists()
        assert LocalMachine().try_bind(f"unix:{path}") is None

    def test_a_unix_socket_without_a_folder(self, tmp_path: Path) -> None:
        error = LocalMachine().try_bind(f"unix:{tmp_path}/no/p.sock")
        assert isinstance(error, FileNotFoundError)

    def test_memory_and_disk(self, tmp_path: Path) -> None:
        assert LocalMachine().available_memory() > 0
        assert LocalMachine().free_disk(tmp_path) > 0
        assert LocalMachine().python() == sys.version_info[:2]

    @pytest.mark.parametrize(("limit", "left"), [("1000\n", [400]), ("500\n", [0]), ("max\n", []), ("odd\n", [])])
    def test_the_limit_of_a_container_counts(self, limit: str, left: list[int], tmp_path: Path) -> None:
        (tmp_path / "memory.max").write_text(limit)
        (tmp_path / "memory.current").write_text("600\n")
        assert list(module._container_memory(tmp_path)) == left
        assert list(module._container_memory(tmp_path / "none")) == []


class TestOpenFiles:
    @pytest.fixture(autouse=True)
    def limits(self, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
        state = [(256, 4096)]

        def change(_what: int, limits: tuple[int, int]) -> None:
            if limits[0] > state[-1][1] and state[-1][1] != resource.RLIM_INFINITY:
                raise ValueError("above the hard limit")
            state.append(limits)

        monkeypatch.setattr(resource, "getrlimit", lambda _what: state[-1])
        monkeypatch.setattr(resource, "setrlimit", change)
        return state

    def test_the_soft_limit_is_raised_to_the_hard_one(self, limits: list[tuple[int, int]]) -> None:
        assert LocalMachine().open_files(1024) == (4096, 4096)
        assert limits[-1] == (4096, 4096)

    def test_a_hard_limit_below_what_is_wanted(self, limits: list[tuple[int, int]]) -> None:
        assert LocalMachine().open_files(100_000) == (4096, 4096)

    def test_without_a_hard_limit_what_is_wanted_is_set(self, limits: list[tuple[int, int]]) -> None:
        limits.append((256, resource.RLIM_INFINITY))
        assert LocalMachine().open_files(1024) == (1024, 1024)

    def test_no_limit_at_all(self, limits: list[tuple[int, int]]) -> None:
        limits.append((resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert LocalMachine().open_files(1024) == (1024, 1024)

    def test_a_system_that_refuses_is_survived(
        self, limits: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object) -> None:
            raise ValueError("not allowed to raise maximum limit")

        monkeypatch.setattr(resource, "setrlimit", refuse)
        assert LocalMachine().open_files(1024) == (256, 4096)


class TestDataDirectory:
    def test_it_is_made_and_locked_with_our_process_id(self, tmp_path: Path) -> None:
        with DataDirectory(tmp_path / "var") as held:
            lock = held.folder / DataDirectory.LOCK_NAME
            assert lock.read_text().strip() == str(os.getpid())
            assert lock.stat().st_mode & 0o077 == 0
        assert lock.read_text() == ""

    def test_a_second_server_is_refused_and_told_who_has_it(self, tmp_path: Path) -> None:
        with DataDirectory(tmp_path):
            with pytest.raises(DataDirectoryInUse) as caught:
                DataDirectory(tmp_path).__enter__()
            assert f"{tmp_path} is in use by process {os.getpid()}" in str(caught.value)
            assert f"ps -p {os.getpid()}" in caught.value.problem.todo
        with DataDirectory(tmp_path):
            pass

    def test_a_lock_left_by_a_dead_server_is_taken_over(self, tmp_path: Path) -> None:
        code = (
            "import os, sys, pathlib\n"
            "from podium.resilience.preflight import DataDirectory\n"
            "DataDirectory(pathlib.Path(sys.argv[1])).__enter__()\n"
            "os.kill(os.getpid(), 9)\n"
        )
        done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False, timeout=50)
        assert done.returncode == -9
        assert (tmp_path / "podium.lock").read_text().strip().isdigit()
        with DataDirectory(tmp_path):
            assert (tmp_path / "podium.lock").read_text().strip() == str(os.getpid())

    def test_a_holder_without_a_process_id(self, tmp_path: Path) -> None:
        with DataDirectory(tmp_path):
            (tmp_path / "podium.lock").write_text("")
            with pytest.raises(DataDirectoryInUse, match="in use by another process"):
                DataDirectory(tmp_path).__enter__()

    def test_a_directory_that_cannot_be_used_leaves_nothing_open(self, tmp_path: Path) -> None:
        (tmp_path / "podium.lock").mkdir()
        with pytest.raises(IsADirectoryError):
            DataDirectory(tmp_path).__enter__()

    def test_leaving_without_entering_does_nothing(self, tmp_path: Path) -> None:
        DataDirectory(tmp_path).__exit__(None, None, None)
        assert list(tmp_path.iterdir()) == []


def test_a_problem_reads_as_one_sentence() -> None:
    assert str(Problem("a is b", "do c")) == "a is b; do c"
