"""`find_files` and `read_file`: what lies in the allowed folders."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated

from pydantic import AfterValidator, Field

from podium.orchestration.tool import ToolFailure, ToolFailureCode
from podium.packs.core._folders import AllowedFolders, FoundFile
from podium.packs.core._patterns import MOST_CHARACTERS, canonical_pattern, matcher
from podium.packs.core._texts import decoded
from podium.packs.core.text import unquoted
from podium.tools import Tool, tool, tool_of
from podium.tools._complaints import nearest

__all__ = ["FileContent", "FileEntry", "FoundFiles", "file_tools"]

_MOST_FILES = 100


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file: its path, as `read_file` takes it, its size in bytes, and when it was last changed."""

    path: str
    size: int
    modified: datetime


@dataclass(frozen=True, slots=True)
class FoundFiles:
    """The files that match a pattern, by path; at most a hundred, and how many there are in all."""

    pattern: str
    files: list[FileEntry]
    total: int


@dataclass(frozen=True, slots=True)
class FileContent:
    """A text file. `truncated` says that only its beginning is in `content`."""

    path: str
    size: int
    lines: int
    truncated: bool
    content: str


def file_tools(folders: AllowedFolders, *, most_bytes: int) -> list[Tool]:
    """Return the tools of this module.

    Args:
        folders: what they may see.
        most_bytes: how much of a file is read.
    """
    made = (tool_of(_find_files(folders)), tool_of(_read_file(folders, most_bytes)))
    return [one for one in made if one is not None]


def _find_files(folders: AllowedFolders) -> Callable[..., FoundFiles]:
    pattern_type = Annotated[
        str,
        Field(max_length=MOST_CHARACTERS, json_schema_extra={"x-podium-kind": "glob"}),
        AfterValidator(canonical_pattern),
    ]

    @tool(
        side_effects="none",
        type="files",
        examples=[
            ("find all markdown files", {"pattern": "*.md"}),
            ("Which CSV files are there?", {"pattern": "*.csv"}),
            ("list every file", {"pattern": "*"}),
            ("look for files whose name contains report", {"pattern": "*report*"}),
            ("show me the text files", {"pattern": "*.txt"}),
            ("is there a file called budget.csv", {"pattern": "budget.csv"}),
            ("files starting with meeting", {"pattern": "meeting*"}),
            ("what is in the notes folder", {"pattern": "notes/**"}),
            ("search for .json files", {"pattern": "*.json"}),
            ("any documents about invoices by name?", {"pattern": "*invoice*"}),
            ("which files end with 2026.md", {"pattern": "*2026.md"}),
        ],
    )
    def find_files(pattern: pattern_type) -> FoundFiles:
        """Find or list files by name or kind.

        Args:
            pattern: A glob pattern: *.md for all Markdown files, *report* for names that contain report,
                notes/** for all in a folder.
        """
        matches = matcher(pattern)
        found = [file for file in folders.files() if matches(file.path)]
        found.sort(key=lambda file: file.path.casefold())
        return FoundFiles(pattern, [_entry(file) for file in found[:_MOST_FILES]], len(found))

    return find_files


def _read_file(folders: AllowedFolders, most_bytes: int) -> Callable[..., FileContent]:
    def relative(path: str) -> str:
        return folders.relative(unquoted(path))

    path_type = Annotated[
        str,
        Field(min_length=1, max_length=1_000, json_schema_extra={"x-podium-kind": "filename"}),
        AfterValidator(relative),
    ]

    @tool(
        side_effects="none",
        type="files",
        examples=[
            ("read the file notes/meeting.md", {"path": "notes/meeting.md"}),
            ("What does budget.csv say?", {"path": "budget.csv"}),
            ("open README.md", {"path": "README.md"}),
            ("show me the contents of todo.txt", {"path": "todo.txt"}),
            ("print reports/2026/summary.md", {"path": "reports/2026/summary.md"}),
            ("what's in 'travel plan.txt'", {"path": "travel plan.txt"}),
            ("display the file config/settings.toml", {"path": "config/settings.toml"}),
            ("get me the text of letter_to_bank.md", {"path": "letter_to_bank.md"}),
            ("I want to see what inventory.csv contains", {"path": "inventory.csv"}),
        ],
    )
    def read_file(path: path_type) -> FileContent:
        """Read a text file and return its content.

        Args:
            path: The file's path, such as notes/meeting.md; the name alone is enough when only one file has it.
        """
        path = _existing(folders, path)
        with folders.open(path) as (descriptor, file):
            data = _read(descriptor, most_bytes + 1)
        text = decoded(data[:most_bytes], whole=len(data) <= most_bytes)
        if text is None:
            message = f"read_file: {path!r} is no text file ({file.size:,} bytes); only text can be read"
            raise ToolFailure(ToolFailureCode.INVALID_ARGUMENTS, message)
        return FileContent(path, file.size, len(text.splitlines()), len(data) > most_bytes, text)

    return read_file


def _existing(folders: AllowedFolders, path: str) -> str:
    """Return the path of the file that is meant: `path` itself, or the only file of that name."""
    try:
        with folders.open(path):
            return path
    except ToolFailure as failure:
        if failure.code is not ToolFailureCode.INVALID_ARGUMENTS:
            raise
        known = [file.path for file in islice(folders.files(), 2_000)]
        wanted = path.casefold()
        same = [other for other in known if other.casefold() == wanted]
        same = same or [other for other in known if other.casefold().endswith(f"/{wanted}")]
        if len(same) == 1:
            return same[0]
        message = f"read_file: {failure.message}{_instead(path, same, known)}"
        raise ToolFailure(failure.code, message) from None


def _instead(path: str, same: list[str], known: list[str]) -> str:
    if same:
        return f"; choose one of {', '.join(same[:5])}"
    name = path.rpartition("/")[2]
    by_name = {other.rpartition("/")[2]: other for other in reversed(known)}
    close = list(dict.fromkeys([*nearest(path, known), *(by_name[match] for match in nearest(name, by_name))]))
    return f"; nearest: {', '.join(close[:3])}" if close else "; find_files lists what there is"


def _read(descriptor: int, most: int) -> bytes:
    chunks: list[bytes] = []
    left = most
    while left > 0 and (chunk := os.read(descriptor, min(left, 1 << 16))):
        chunks.append(chunk)
        left -= len(chunk)
    return b"".join(chunks)


def _entry(file: FoundFile) -> FileEntry:
    modified = datetime.fromtimestamp(file.modified_ns // 1_000_000_000, UTC)
    return FileEntry(file.path, file.size, modified)
