"""The only door to files: folders that are allowed, opened so that nothing outside can be reached.

A path is walked one component at a time from the open folder, each step with `O_NOFOLLOW`
relative to the last (`openat`). So `..`, links and a folder swapped for a link between check and
use all fail: there is no check to race against. Links are never followed, not even inside.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from podium.orchestration.tool import ToolFailure, ToolFailureCode
from podium.tools import cancel_requested

__all__ = ["AllowedFolders", "FoundFile"]

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # not to wait for a pipe's writer
_DEEPEST = 32


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A regular file: its path as tools name it, and what tells one version from the next."""

    path: str
    size: int
    modified_ns: int


class AllowedFolders:
    """Lists and opens regular files below some folders.

    With one folder, paths are relative to it. With several, they begin with the folder's name.

    Args:
        folders: the folders; those that do not exist are empty.
        most_entries: how many directory entries one listing looks at.
    """

    def __init__(self, folders: Sequence[Path], *, most_entries: int = 20_000) -> None:
        self._roots = _named([Path(folder).resolve() for folder in folders])
        self._most_entries = most_entries

    @property
    def names(self) -> list[str]:
        """The folders' names, for messages."""
        return list(self._roots)

    def files(self) -> Iterator[FoundFile]:
        """Yield the files below the folders, by name; hidden ones are left out.

        Stops at the limit of entries, and when the call that asks is cancelled.
        """
        budget = [self._most_entries]
        for name, root in self._roots.items():
            try:
                descriptor = os.open(root, _DIRECTORY)
            except OSError:
                continue  # not there, or not ours to read: an empty folder
            yield from _walk(descriptor, f"{name}/" if len(self._roots) > 1 else "", budget, 0)

    @contextmanager
    def open(self, path: str) -> Iterator[tuple[int, FoundFile]]:
        """Open a regular file by the path that tools name it by; yields its descriptor.

        Raises:
            ToolFailure: NOT_ALLOWED outside of the folders or through a link; INVALID_ARGUMENTS
                when there is no such file.
        """
        root, parts = self._located(path)
        descriptor = _descend(root, parts, path)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                kind = "a folder" if stat.S_ISDIR(status.st_mode) else "no regular file"
                raise _invalid(f"{path!r} is {kind}; name a file")
            yield descriptor, FoundFile(self.relative(path), status.st_size, status.st_mtime_ns)
        finally:
            os.close(descriptor)

    def relative(self, path: str) -> str:
        """Return `path` as tools name files: relative, with `/`, without the only folder's own name.

        Raises:
            ToolFailure: NOT_ALLOWED when it is outside of the folders.
        """
        if "\x00" in path:
            raise _invalid("a path holds no zero characters")
        text = path.strip().replace("\\", "/")
        if text.startswith("/"):
            text = self._below_a_root(text)
        parts = [part for part in text.split("/") if part not in ("", ".")]
        if ".." in parts:
            raise _outside(path)
        if len(self._roots) == 1 and len(parts) > 1 and parts[0] in self._roots and not self._has(parts[0]):
            parts = parts[1:]
        return "/".join(parts)

    def _below_a_root(self, text: str) -> str:
        for name, root in self._roots.items():
            try:
                inner = PurePosixPath(text).relative_to(root.as_posix())
            except ValueError:
                continue
            return inner.as_posix() if len(self._roots) == 1 else f"{name}/{inner.as_posix()}"
        raise _outside(text)

    def _has(self, name: str) -> bool:
        root = next(iter(self._roots.values()))
        return (root / name).is_dir()

    def _located(self, path: str) -> tuple[Path, list[str]]:
        parts = self.relative(path).split("/")
        if parts == [""]:
            raise _invalid(f"{path!r} is a folder; name a file")
        if len(self._roots) == 1:
            return next(iter(self._roots.values())), parts
        root = self._roots.get(parts[0])
        if root is None or len(parts) < 2:
            raise _invalid(
                f"there is no file {path!r}; paths begin with one of {', '.join(self._roots) or 'no folder'}"
            )
        return root, parts[1:]


def _named(folders: Sequence[Path]) -> dict[str, Path]:
    names: dict[str, Path] = {}
    for folder in folders:
        name, number = folder.name or "root", 2
        while name in names:
            name, number = f"{folder.name}-{number}", number + 1
        if folder not in names.values():
            names[name] = folder
    return names


def _walk(descriptor: int, prefix: str, budget: list[int], depth: int) -> Iterator[FoundFile]:
    try:
        with os.scandir(descriptor) as listing:
            entries = sorted((entry.name for entry in listing if not entry.name.startswith(".")), key=str.casefold)
        for name in entries:
            budget[0] -= 1
            if budget[0] < 0 or cancel_requested():
                return
            yield from _entry(descriptor, name, prefix, budget, depth)
    finally:
        os.close(descriptor)


def _entry(parent: int, name: str, prefix: str, budget: list[int], depth: int) -> Iterator[FoundFile]:
    try:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if stat.S_ISREG(status.st_mode):
            yield FoundFile(prefix + name, status.st_size, status.st_mtime_ns)
        elif stat.S_ISDIR(status.st_mode) and depth < _DEEPEST:
            child = os.open(name, _DIRECTORY, dir_fd=parent)
            yield from _walk(child, f"{prefix}{name}/", budget, depth + 1)
    except OSError:
        return  # gone or replaced since it was listed, or not ours to read: as if it were not there


def _descend(root: Path, parts: list[str], path: str) -> int:
    try:
        descriptor = os.open(root, _DIRECTORY)
    except OSError:
        raise _invalid(f"the folder {root.name!r} does not exist or cannot be read") from None
    for index, part in enumerate(parts):
        flags = _FILE if index == len(parts) - 1 else _DIRECTORY
        try:
            child = os.open(part, flags, dir_fd=descriptor)
        except (OSError, ValueError) as error:
            raise _not_opened(path, error, descriptor, part) from None
        finally:
            os.close(descriptor)
        descriptor = child
    return descriptor


def _not_opened(path: str, error: Exception, parent: int, name: str) -> ToolFailure:
    code = error.errno if isinstance(error, OSError) else None
    if code == errno.ELOOP or (code == errno.ENOTDIR and _is_link(parent, name)):
        return ToolFailure(ToolFailureCode.NOT_ALLOWED, f"{path!r} leads through a link; links are not followed")
    if code in (errno.EACCES, errno.EPERM):
        return ToolFailure(ToolFailureCode.NOT_ALLOWED, f"{path!r} may not be read")
    return _invalid(f"there is no file {path!r}")


def _is_link(parent: int, name: str) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
    except OSError:
        return False


def _invalid(message: str) -> ToolFailure:
    return ToolFailure(ToolFailureCode.INVALID_ARGUMENTS, message)


def _outside(path: str) -> ToolFailure:
    return ToolFailure(ToolFailureCode.NOT_ALLOWED, f"{path[:100]!r} is outside of the folders that tools may see")
