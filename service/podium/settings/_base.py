"""What every group of settings shares: frozen, closed, with types for addresses and folders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

__all__ = ["Address", "Folder", "Group", "is_local", "split_address"]

# sockaddr_un holds 108 bytes on Linux and 104 on macOS; gRPC refuses longer paths.
LONGEST_UNIX_PATH = 100


class Group(BaseModel):
    """A frozen group of settings that refuses names it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, hide_input_in_errors=True)


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of `host:port` or `[v6]:port`.

    Raises:
        ValueError: it is not of that form.
    """
    host, colon, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not host or (":" in host and not bracketed):
        raise ValueError("write host:port, [v6-address]:port or unix:/path/to.sock")
    if not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ValueError("the port is a number from 0 (any free one) to 65535")
    return (host[1:-1] if bracketed else host), int(port)


def is_local(address: str) -> bool:
    """Whether only this machine can reach a server that listens on `address`."""
    if address.startswith("unix:"):
        return True
    host, _ = split_address(address)
    return host in {"localhost", "::1"} or (host.startswith("127.") and host.replace(".", "").isdigit())


def _check_address(address: str) -> str:
    if address.startswith("unix:"):
        path = address.removeprefix("unix:")
        if not path:
            raise ValueError("unix: needs a path after it")
        if len(path.encode()) >= LONGEST_UNIX_PATH:
            raise ValueError(f"the path of a Unix socket has to be under {LONGEST_UNIX_PATH} bytes")
    else:
        split_address(address)
    return address


Address = Annotated[str, AfterValidator(_check_address)]
Folder = Annotated[Path, AfterValidator(Path.expanduser)]
