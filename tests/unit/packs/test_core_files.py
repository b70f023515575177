"""File tools: they find and read what is in the folders, and nothing else, whoever races them."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from podium.orchestration.tool import ToolFailure, ToolFailureCode
from podium.packs.core import create_workspace
from podium.packs.core._folders import AllowedFolders
from podium.packs.core._patterns import canonical_pattern, matcher
from podium.packs.core.files import file_tools
from podium.tools import Tool

SECRET = "the secret outside"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A folder of documents, with a secret beside it."""
    root = tmp_path / "workspace"
    create_workspace(root)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.txt").write_text(SECRET)
    return root


def tools(*folders: Path, most_bytes: int = 1_000_000) -> tuple[Tool, Tool]:
    find, read = file_tools(AllowedFolders(folders), most_bytes=most_bytes)
    return find, read


def found(find: Tool, pattern: str) -> list[str]:
    return [file.path for file in find.bind({"pattern": pattern})().files]


def read(tool: Tool, path: str) -> Any:
    return tool.bind({"path": path})()


def refused(tool: Tool, path: str) -> ToolFailure:
    with pytest.raises(ToolFailure) as caught:
        read(tool, path)
    return caught.value


class TestFinding:
    @pytest.mark.parametrize(
        ("pattern", "paths"),
        [
            ("*.csv", ["finance/budget.csv", "inventory.csv"]),
            ("CSV files", ["finance/budget.csv", "inventory.csv"]),
            ("notes/**", ["notes/2026-03-kickoff.md", "notes/2026-05-review.md", "notes/travel plan.txt"]),
            ("notes/*.md", ["notes/2026-03-kickoff.md", "notes/2026-05-review.md"]),
            ("budget.csv", ["finance/budget.csv"]),
            ("BUDGET*", ["finance/budget.csv"]),
            ("invoice", ["finance/invoice-0417.md"]),
            ("*.pdf", []),
            ("**/2026-0[35]*", ["notes/2026-03-kickoff.md", "notes/2026-05-review.md"]),
            ("*.{csv,txt}", ["finance/budget.csv", "inventory.csv", "notes/travel plan.txt", "todo.txt"]),
        ],
    )
    def test_by_pattern(self, workspace: Path, pattern: str, paths: list[str]) -> None:
        assert found(tools(workspace)[0], pattern) == paths

    def test_tells_size_and_time_and_hides_hidden_files(self, workspace: Path) -> None:
        (workspace / ".hidden").write_text("x")
        (workspace / ".git").mkdir()
        (workspace / ".git" / "config").write_text("x")
        made = tools(workspace)[0].bind({"pattern": "*"})()
        assert made.total == len(made.files) == 11
        todo = next(file for file in made.files if file.path == "todo.txt")
        assert todo.size == (workspace / "todo.txt").stat().st_size
        assert todo.modified.tzinfo is not None

    def test_gives_a_hundred_and_counts_all(self, tmp_path: Path) -> None:
        for number in range(150):
            (tmp_path / f"{number:03}.txt").touch()
        made = tools(tmp_path)[0].bind({"pattern": "*"})()
        assert (made.total, len(made.files), made.files[0].path) == (150, 100, "000.txt")

    def test_looks_at_a_bounded_number_of_entries(self, tmp_path: Path) -> None:
        for number in range(50):
            (tmp_path / f"{number:03}.txt").touch()
        assert len(list(AllowedFolders([tmp_path], most_entries=10).files())) == 10

    def test_several_folders_go_by_their_names(self, tmp_path: Path) -> None:
        for name in ("a/docs", "b/docs", "c"):
            (tmp_path / name).mkdir(parents=True)
            (tmp_path / name / "x.txt").write_text(name)
        find, reader = tools(tmp_path / "a/docs", tmp_path / "b/docs", tmp_path / "c", tmp_path / "c")
        assert found(find, "*") == ["c/x.txt", "docs-2/x.txt", "docs/x.txt"]
        assert read(reader, "docs-2/x.txt").content == "b/docs"
        assert read(reader, str(tmp_path / "c" / "x.txt")).path == "c/x.txt"
        assert "choose one of" in refused(reader, "x.txt").message

    def test_a_folder_that_is_missing_is_empty(self, tmp_path: Path) -> None:
        find, reader = tools(tmp_path / "nowhere")
        assert found(find, "*") == []
        assert refused(reader, "x.txt").code is ToolFailureCode.INVALID_ARGUMENTS

    def test_no_folder_at_all_is_empty(self) -> None:
        find, reader = tools()
        assert found(find, "*") == []
        assert refused(reader, "x.txt").code is ToolFailureCode.INVALID_ARGUMENTS


class TestPatterns:
    @pytest.mark.parametrize(
        ("written", "pattern"),
        [
            ("*.md", "*.md"),
            ("**/*.md", "*.md"),
            ("./*.md", "*.md"),
            ("/notes/*.md", "notes/*.md"),
            ("markdown files", "*.md"),
            ("all the markdown documents", "*.md"),
            ("text files", "*.txt"),
            ("txt", "*.txt"),
            (".json", "*.json"),
            ("PDFs", "*.pdf"),
            ("python files", "*.py"),
            ("images", "*.{png,jpg,jpeg,gif,webp,svg}"),
            ("report", "*report*"),
            ("files named report", "*report*"),
            ("report.md", "report.md"),
            ("'budget.csv'", "budget.csv"),
            ("notes/", "notes/**"),
            ("everything", "*"),
            ("all files", "*"),
            ("*.*", "*"),
            ("", "*"),
        ],
    )
    def test_are_canonical(self, written: str, pattern: str) -> None:
        assert canonical_pattern(written) == pattern
        assert canonical_pattern(pattern) == pattern

    @pytest.mark.parametrize("written", ["../*", "a/../b*", "*\x00", "*.{md", "*.md}", "{a,b}" * 10, "x" * 199])
    def test_others_are_refused(self, written: str) -> None:
        with pytest.raises(ValueError, match="pattern"):
            canonical_pattern(written)

    @pytest.mark.parametrize(
        ("pattern", "path", "matches"),
        [
            ("a/**/b", "a/b", True),
            ("a/**/b", "a/x/y/b", True),
            ("a/**/b", "a/x/y/c", False),
            ("a/**", "a/x/y", True),
            ("a/*", "a/x/y", False),
            ("**/x/**/y", "1/x/2/x/3/y", True),
            ("**/x/z", "x/x/y", False),
            ("?.txt", "a.txt", True),
            ("?.txt", "ab.txt", False),
            ("[!a]*", "b", True),
            ("[!a]*", "a", False),
        ],
    )
    def test_match_part_by_part(self, pattern: str, path: str, matches: bool) -> None:
        assert matcher(pattern)(path) is matches

    def test_stars_do_not_take_exponential_time(self) -> None:
        started = time.process_time()
        for pattern in ("*a" * 60 + "b", "/".join(["**", "a*a*a*"] * 20) + "/b"):
            assert not matcher(pattern)("/".join(["a" * 200] * 30))
        assert time.process_time() - started < 2


class TestReading:
    def test_gives_the_content(self, workspace: Path) -> None:
        made = read(tools(workspace)[1], "todo.txt")
        assert (made.path, made.lines, made.truncated) == ("todo.txt", 5, False)
        assert made.content == (workspace / "todo.txt").read_text()
        assert made.size == len(made.content)

    @pytest.mark.parametrize(
        "path",
        ["finance/budget.csv", "./finance/budget.csv", "workspace/finance/budget.csv", "finance\\budget.csv",
         "'finance/budget.csv'", "budget.csv", "Budget.CSV", "finance//budget.csv"],
    )  # fmt: skip
    def test_takes_paths_as_people_write_them(self, workspace: Path, path: str) -> None:
        assert read(tools(workspace)[1], path).path == "finance/budget.csv"

    def test_takes_an_absolute_path_inside(self, workspace: Path) -> None:
        reader = tools(workspace)[1]
        assert reader.arguments.normalise({"path": str(workspace / "todo.txt")}) == {"path": "todo.txt"}

    def test_large_files_are_cut(self, workspace: Path) -> None:
        (workspace / "big.txt").write_text("é" * 1_000)
        made = read(tools(workspace, most_bytes=101)[1], "big.txt")
        assert (made.truncated, made.size, made.content) == (True, 2_000, "é" * 50)

    def test_binary_files_are_refused(self, workspace: Path) -> None:
        (workspace / "photo.png").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00")
        failure = refused(tools(workspace)[1], "photo.png")
        assert (failure.code, "no text file (10 bytes)" in failure.message) == (ToolFailureCode.INVALID_ARGUMENTS, True)

    def test_a_missing_file_is_answered_with_the_nearest(self, workspace: Path) -> None:
        reader = tools(workspace)[1]
        assert "nearest: finance/budget.csv" in refused(reader, "bugdet.csv").message
        assert "find_files lists" in refused(reader, "zzzzzzzz").message

    def test_a_name_that_several_files_have_is_asked_back(self, workspace: Path) -> None:
        (workspace / "handbook" / "todo.txt").write_text("x")
        (workspace / "notes" / "plan.md").write_text("x")
        (workspace / "handbook" / "plan.md").write_text("x")
        reader = tools(workspace)[1]
        assert read(reader, "todo.txt").lines == 5
        assert "choose one of handbook/plan.md, notes/plan.md" in refused(reader, "plan.md").message

    @pytest.mark.parametrize("path", ["notes", "notes/", ".", "workspace/notes"])
    def test_a_folder_is_no_file(self, workspace: Path, path: str) -> None:
        failure = refused(tools(workspace)[1], path)
        assert failure.code is ToolFailureCode.INVALID_ARGUMENTS
        assert "folder" in failure.message

    def test_a_pipe_does_not_block(self, workspace: Path) -> None:
        os.mkfifo(workspace / "pipe")
        assert "no regular file" in refused(tools(workspace)[1], "pipe").message


class TestEscaping:
    @pytest.mark.parametrize(
        "path",
        [
            "../outside/secret.txt",
            "notes/../../outside/secret.txt",
            "notes/..",
            "..\\outside\\secret.txt",
            "/etc/passwd",
            "//etc/passwd",
            "/",
            "{tmp}/outside/secret.txt",
            "{tmp}/workspace/../outside/secret.txt",
            "{tmp}/workspace-other/x",
        ],
    )
    def test_paths_that_lead_outside_are_not_allowed(self, workspace: Path, path: str) -> None:
        failure = refused(tools(workspace)[1], path.replace("{tmp}", str(workspace.parent)))
        assert failure.code is ToolFailureCode.NOT_ALLOWED
        assert "{tmp}" in path or str(workspace.parent) not in failure.message

    def test_zero_characters_are_refused(self, workspace: Path) -> None:
        assert refused(tools(workspace)[1], "todo.txt\x00.png").code is ToolFailureCode.INVALID_ARGUMENTS

    def test_links_are_neither_listed_nor_followed(self, workspace: Path) -> None:
        outside = workspace.parent / "outside"
        (workspace / "file-link.txt").symlink_to(outside / "secret.txt")
        (workspace / "folder-link").symlink_to(outside, target_is_directory=True)
        (workspace / "inner-link.txt").symlink_to(workspace / "todo.txt")
        (workspace / "loop").symlink_to(workspace / "loop")
        find, reader = tools(workspace)
        assert found(find, "*link*") == found(find, "secret.txt") == []
        for path in ("file-link.txt", "folder-link/secret.txt", "inner-link.txt", "loop", "loop/x"):
            failure = refused(reader, path)
            assert failure.code is ToolFailureCode.NOT_ALLOWED, path
            assert SECRET not in failure.message

    def test_a_file_in_place_of_a_folder_is_just_missing(self, workspace: Path) -> None:
        assert refused(tools(workspace)[1], "todo.txt/x").code is ToolFailureCode.INVALID_ARGUMENTS

    @pytest.mark.parametrize("swapped_at", range(1, 10))
    def test_a_folder_swapped_for_a_link_between_any_two_steps_leads_nowhere(
        self, workspace: Path, monkeypatch: pytest.MonkeyPatch, swapped_at: int
    ) -> None:
        """However late the swap comes, the outside file is never read."""
        outside = workspace.parent / "outside"
        (workspace / "docs").mkdir()
        (workspace / "docs" / "secret.txt").write_text("harmless")
        real_open, steps = os.open, [0]

        def swapping_open(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
            steps[0] += 1
            if steps[0] == swapped_at:
                (workspace / "docs").rename(workspace / "gone")
                (workspace / "docs").symlink_to(outside, target_is_directory=True)
            return real_open(path, flags, *args, **kwargs)

        monkeypatch.setattr(os, "open", swapping_open)
        try:
            content = read(tools(workspace)[1], "docs/secret.txt").content
        except ToolFailure as failure:
            content = failure.message
        assert SECRET not in content

    @pytest.mark.parametrize("swapped_at", range(1, 6))
    def test_a_file_swapped_for_a_link_is_not_followed(
        self, workspace: Path, monkeypatch: pytest.MonkeyPatch, swapped_at: int
    ) -> None:
        real_open, steps = os.open, [0]

        def swapping_open(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
            steps[0] += 1
            if steps[0] == swapped_at:
                (workspace / "todo.txt").unlink()
                (workspace / "todo.txt").symlink_to(workspace.parent / "outside" / "secret.txt")
            return real_open(path, flags, *args, **kwargs)

        monkeypatch.setattr(os, "open", swapping_open)
        try:
            content = read(tools(workspace)[1], "todo.txt").content
        except ToolFailure as failure:
            content = failure.message
        assert SECRET not in content

    def test_listing_does_not_walk_into_a_folder_swapped_for_a_link(
        self, workspace: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real_open = os.open

        def swapping_open(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
            if path == "notes":
                (workspace / "notes").rename(workspace.parent / "moved")
                (workspace / "notes").symlink_to(workspace.parent / "outside", target_is_directory=True)
            return real_open(path, flags, *args, **kwargs)

        monkeypatch.setattr(os, "open", swapping_open)
        assert "notes/secret.txt" not in found(tools(workspace)[0], "*")

    def test_no_descriptor_is_left_open(self, workspace: Path) -> None:
        (workspace / "link").symlink_to(workspace.parent)
        find, reader = tools(workspace)
        before = len(list(Path("/proc/self/fd").iterdir()))
        found(find, "*")
        next(AllowedFolders([workspace]).files())
        for path in ("todo.txt", "notes", "none/x", "link/x", "../x", "finance/none"):
            try:
                read(reader, path)
            except ToolFailure:
                continue
        assert len(list(Path("/proc/self/fd").iterdir())) == before


class TestSamples:
    def test_are_written_once(self, tmp_path: Path) -> None:
        assert create_workspace(tmp_path / "deep" / "workspace")
        assert not create_workspace(tmp_path / "deep" / "workspace")

    def test_leave_a_folder_that_exists_alone(self, tmp_path: Path) -> None:
        assert not create_workspace(tmp_path)
        assert list(tmp_path.iterdir()) == []
