"""A full-text index over the allowed folders, kept up to date as it is asked."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from podium.orchestration.tool import ToolFailure, ToolFailureCode
from podium.packs.core._folders import AllowedFolders, FoundFile
from podium.packs.core._texts import decoded
from podium.tools import cancel_requested

__all__ = ["DocumentIndex", "IndexedMatch"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (id INTEGER PRIMARY KEY, path TEXT UNIQUE, size INTEGER, modified INTEGER,
    text INTEGER);
CREATE VIRTUAL TABLE IF NOT EXISTS texts USING fts5(name, body, tokenize = "porter unicode61 remove_diacritics 2");
"""
_FIND = """
SELECT files.path, snippet(texts, 1, '', '', '…', 24), -bm25(texts, 3.0, 1.0) AS score
FROM texts JOIN files ON files.id = texts.rowid WHERE texts MATCH ? ORDER BY score DESC, files.path LIMIT ?
"""


@dataclass(frozen=True, slots=True)
class IndexedMatch:
    """A file that matches, the place that matches best, and how well it does (higher is better)."""

    path: str
    snippet: str
    score: float


class DocumentIndex:
    """SQLite FTS5 over the text files of some folders.

    Every search first looks at what was added, changed (by size and time) or removed, and indexes
    just that. Safe to use from several threads; they take turns.

    Args:
        folders: what is indexed.
        database: where the index is kept; in memory when None.
        most_files: how many files are indexed.
        most_bytes: how much of each is.
        most_total_bytes: how much text is read in one refresh; the next search goes on from there.
    """

    def __init__(
        self,
        folders: AllowedFolders,
        database: Path | None = None,
        *,
        most_files: int = 5_000,
        most_bytes: int = 1 << 20,
        most_total_bytes: int = 64 << 20,
    ) -> None:
        self._folders = folders
        self._target = ":memory:" if database is None else str(database)
        self._most_files, self._most_bytes, self._most_total = most_files, most_bytes, most_total_bytes
        self._lock = threading.Lock()
        self._database: sqlite3.Connection | None = None
        self._closed = False

    def search(self, expression: str, limit: int) -> tuple[list[IndexedMatch], int]:
        """Return the best matches of an FTS5 expression, and how many files are indexed.

        Raises:
            ToolFailure: UNAVAILABLE when another search holds the index too long, or it is closed.
        """
        with self._connected() as database:
            self._refresh(database)
            rows = database.execute(_FIND, (expression, limit)).fetchall()
            (count,) = database.execute("SELECT count(*) FROM files WHERE text").fetchone()
        return [IndexedMatch(path, " ".join(snippet.split()), round(score, 3)) for path, snippet, score in rows], count

    def close(self) -> None:
        """Close the database. Searches are refused from now on."""
        with self._lock:
            self._closed = True
            if self._database is not None:
                self._database.close()
                self._database = None

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        if not self._lock.acquire(timeout=30):
            raise ToolFailure(
                ToolFailureCode.UNAVAILABLE, "the document index is busy; try again later", retryable=True
            )
        try:
            if self._closed:
                raise ToolFailure(ToolFailureCode.UNAVAILABLE, "the document index is closed")
            if self._database is None:
                self._database = sqlite3.connect(self._target, check_same_thread=False, isolation_level=None)
                self._database.executescript(_SCHEMA)
            yield self._database
        finally:
            self._lock.release()

    def _refresh(self, database: sqlite3.Connection) -> None:
        known = {
            path: (size, modified)
            for path, size, modified in database.execute("SELECT path, size, modified FROM files")
        }
        database.execute("BEGIN IMMEDIATE")
        try:
            read = seen = 0
            for file in self._folders.files():
                if seen >= self._most_files or cancel_requested():
                    break
                seen += 1
                if known.pop(file.path, None) == (file.size, file.modified_ns):
                    continue
                if read < self._most_total:
                    read += self._put(database, file)
            else:
                for path in known:
                    _remove(database, path)
            database.execute("COMMIT")
        except BaseException:
            database.execute("ROLLBACK")
            raise

    def _put(self, database: sqlite3.Connection, file: FoundFile) -> int:
        try:
            with self._folders.open(file.path) as (descriptor, _):
                data = os.read(descriptor, self._most_bytes)
        except (ToolFailure, OSError):
            return 0  # gone since it was listed; the next search sees it or not
        text = decoded(data, whole=file.size <= len(data))
        _remove(database, file.path)
        row = (file.path, file.size, file.modified_ns, text is not None)
        key = database.execute("INSERT INTO files (path, size, modified, text) VALUES (?, ?, ?, ?)", row).lastrowid
        if text is not None:
            database.execute("INSERT INTO texts (rowid, name, body) VALUES (?, ?, ?)", (key, _words(file.path), text))
        return len(data)


def _remove(database: sqlite3.Connection, path: str) -> None:
    database.execute("DELETE FROM texts WHERE rowid = (SELECT id FROM files WHERE path = ?)", (path,))
    database.execute("DELETE FROM files WHERE path = ?", (path,))


def _words(path: str) -> str:
    return path.replace("/", " ").replace("_", " ").replace("-", " ").replace(".", " ")
