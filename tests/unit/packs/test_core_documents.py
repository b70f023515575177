"""`search_documents`: finds, ranks, and follows what changes in the folders."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from podium.orchestration.tool import ToolFailure, ToolFailureCode
from podium.packs.core import create_workspace
from podium.packs.core._folders import AllowedFolders
from podium.packs.core._index import DocumentIndex
from podium.packs.core.documents import document_tools


class Documents:
    """A workspace with an index over it."""

    def __init__(self, root: Path, **options: int) -> None:
        self.root = root
        create_workspace(root)
        self.index = DocumentIndex(AllowedFolders([root]), **options)  # type: ignore[arg-type]
        self.tool = document_tools(self.index)[0]

    def search(self, query: str, limit: int = 5) -> list[str]:
        return [match.path for match in self.tool.bind({"query": query, "limit": limit})().matches]


@pytest.fixture
def documents(tmp_path: Path) -> Iterator[Documents]:
    made = Documents(tmp_path / "workspace")
    yield made
    made.index.close()


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("vacation days", "handbook/vacation.md"),
        ("How many days of vacation do we have?", "handbook/vacation.md"),
        ("refunds", "handbook/expenses.md"),
        ("harbour authority approved", "notes/2026-05-review.md"),
        ("'invoice'", "finance/invoice-0417.md"),
        ("whiteboard", "inventory.csv"),
        ("PASSWORDS", "handbook/onboarding.md"),
        ("hotel", "notes/travel plan.txt"),
    ],
)
def test_the_best_document_comes_first(documents: Documents, query: str, first: str) -> None:
    assert documents.search(query)[0] == first


def test_matches_carry_snippet_and_score(documents: Documents) -> None:
    made = documents.tool.bind({"query": "vacation days"})()
    assert made.searched == 11
    assert "28 vacation days" in made.matches[0].snippet
    scores = [match.score for match in made.matches]
    assert scores == sorted(scores, reverse=True)
    assert scores[-1] > 0


def test_the_limit_holds(documents: Documents) -> None:
    assert len(documents.search("the", limit=2)) == 2
    with pytest.raises(ToolFailure, match="limit"):
        documents.search("the", limit=21)


def test_changes_are_seen(documents: Documents) -> None:
    assert documents.search("zeppelin") == []
    added = documents.root / "new.md"
    added.write_text("A zeppelin lands.")
    assert documents.search("zeppelin") == ["new.md"]
    added.write_text("An airship lands.")
    assert documents.search("zeppelin") == []
    assert documents.search("airship") == ["new.md"]
    added.write_text("An aeropl lands.")  # same length as before: told by its time
    os.utime(added, ns=(0, 0))
    assert documents.search("airship") == []
    added.unlink()
    assert documents.search("aeropl") == []
    assert documents.tool.bind({"query": "x"})().searched == 11


def test_only_what_changed_is_read_again(documents: Documents, monkeypatch: pytest.MonkeyPatch) -> None:
    documents.search("first")
    opened: list[str] = []
    real = DocumentIndex._put

    def noting(self: DocumentIndex, database: object, file: object) -> int:
        opened.append(file.path)  # type: ignore[attr-defined]
        return real(self, database, file)  # type: ignore[arg-type]

    monkeypatch.setattr(DocumentIndex, "_put", noting)
    (documents.root / "todo.txt").write_text("changed")
    assert documents.search("changed") == ["todo.txt"]
    assert opened == ["todo.txt"]


def test_binary_files_and_links_are_not_searched(documents: Documents) -> None:
    (documents.root / "a.bin").write_bytes(b"zeppelin\x00")
    (documents.root.parent / "outside.txt").write_text("zeppelin")
    (documents.root / "link.txt").symlink_to(documents.root.parent / "outside.txt")
    assert documents.search("zeppelin") == []
    assert documents.tool.bind({"query": "x"})().searched == 11


def test_files_are_found_by_their_names_too(documents: Documents) -> None:
    (documents.root / "zeppelin_report-2026.txt").write_text("nothing about it")
    assert documents.search("zeppelin report") == ["zeppelin_report-2026.txt"]


@pytest.mark.parametrize(
    "query", ['"', 'a" OR "b', "NEAR(x y)", "body:x", "*", "x*", "-x", "(((", "AND", "'; DROP TABLE"]
)
def test_no_query_is_an_expression(documents: Documents, query: str) -> None:
    try:
        documents.search(query)
    except ToolFailure as failure:
        assert failure.code is ToolFailureCode.INVALID_ARGUMENTS


def test_a_query_without_words_is_refused(documents: Documents) -> None:
    with pytest.raises(ToolFailure, match="no word to look for"):
        documents.search("?!")
    assert documents.search("who is it") != []


def test_bounds_hold(tmp_path: Path) -> None:
    documents = Documents(tmp_path / "w", most_files=3, most_bytes=20, most_total_bytes=30)
    try:
        made = documents.tool.bind({"query": "x"})()
        assert made.searched == 2  # the third exceeds what one refresh reads; the next goes on
        assert documents.tool.bind({"query": "x"})().searched == 3
    finally:
        documents.index.close()


def test_threads_take_turns(documents: Documents) -> None:
    found: list[list[str]] = []
    threads = [threading.Thread(target=lambda: found.append(documents.search("vacation"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(found) == 8
    assert all(paths == found[0] for paths in found)


def test_an_index_on_disk_is_kept(tmp_path: Path) -> None:
    create_workspace(tmp_path / "w")
    for _ in range(2):
        index = DocumentIndex(AllowedFolders([tmp_path / "w"]), tmp_path / "index.sqlite")
        matches, searched = index.search('"vacation"', 3)
        assert (matches[0].path, searched) == ("handbook/vacation.md", 11)
        index.close()


def test_a_closed_index_is_unavailable(documents: Documents) -> None:
    documents.index.close()
    documents.index.close()
    with pytest.raises(ToolFailure) as caught:
        documents.search("x")
    assert caught.value.code is ToolFailureCode.UNAVAILABLE


def test_a_failed_refresh_leaves_the_index_usable(documents: Documents, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> int:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(DocumentIndex, "_put", broken)
        with pytest.raises(MemoryError):
            documents.search("vacation")
    assert documents.search("vacation")[0] == "handbook/vacation.md"
