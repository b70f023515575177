"""The host's command line, its addresses, and what the package exports."""

from __future__ import annotations

from pathlib import Path

import pytest

import podium.engine
from podium.engine.arguments import HostArguments, parse_arguments
from podium.engine.host import run_host
from podium.errors import FailedPrecondition, InvalidRequest


def test_the_package_exports_exactly_this() -> None:
    assert podium.engine.__all__ == ["HostArguments", "parse_arguments", "run_host"]


def test_flags_become_arguments_and_the_rest_are_defaults() -> None:
    got = parse_arguments(
        ["--engine", "openvino", "--model", "/m", "--listen", "unix:/s", "--max-active", "4", "--exit-with-stdin"]
    )
    assert got == HostArguments(model=Path("/m"), listen="unix:/s", max_active=4, exit_with_stdin=True)


@pytest.mark.parametrize("address", ["unix:/run/e.sock", "127.0.0.1:50052", "localhost:1", "[::1]:50052"])
def test_local_addresses_are_taken(address: str) -> None:
    assert HostArguments(model=Path("/m"), listen=address).listen == address


@pytest.mark.parametrize(
    "address", ["", "unix:", "unix:/" + "x" * 99, "0.0.0.0:50052", "10.0.0.1:1", ":50052", "127.0.0.1", "127.0.0.1:x"]
)
def test_addresses_that_others_can_reach_or_that_grpc_refuses_are_refused(
    address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InvalidRequest):
        HostArguments(model=Path("/m"), listen=address)
    with pytest.raises(SystemExit) as left:
        parse_arguments(["--model", "/m", f"--listen={address}"])
    assert left.value.code == 2
    assert "usage" in capsys.readouterr().err


@pytest.mark.parametrize("change", [{"engine": "other"}, {"max_active": 0}, {"kv_cache_tokens": 0}])
def test_values_out_of_range_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest):
        HostArguments(model=Path("/m"), listen="unix:/s", **change)  # type: ignore[arg-type]


def test_an_engine_that_is_not_there_yet_says_so() -> None:
    with pytest.raises(FailedPrecondition, match="tensorrt_llm"):
        run_host(HostArguments(model=Path("/m"), listen="unix:/s", engine="tensorrt_llm"))
