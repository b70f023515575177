"""What a run leaves behind, by the model that guesses."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from quality import run
from quality.cases import OPEN_SETS, SETS, evenly, load


def measure(monkeypatch: pytest.MonkeyPatch, *options: str) -> None:
    """Run the command line with the model that guesses."""
    monkeypatch.setattr(sys, "argv", ["quality", "--model", "chance", *options])
    run.main()


def requests(name: str, most: int) -> list[str]:
    return [case.request for case in evenly(load(name, datetime.now(UTC).date()), most)]


def test_the_report_has_every_part_and_no_request(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measure(monkeypatch, "--out", str(tmp_path))

    figures = json.loads((tmp_path / "quality.json").read_text(encoding="utf-8"))
    report = (tmp_path / "quality.md").read_text(encoding="utf-8")
    assert set(figures["models"]["chance"]["sets"]) == set(SETS)
    assert all(title in report for title in ("## Test set", "## Tuning set", "## Held-out set", "## Development set"))
    assert "None of these models says how sure" in report
    assert (tmp_path / "quality.png").read_bytes().startswith(b"\x89PNG")
    shown = capsys.readouterr()
    assert json.loads(shown.out)["chance"]["test"] == figures["models"]["chance"]["sets"]["test"]["all"]
    written = report + json.dumps(figures) + shown.out + shown.err
    assert not any(request in written for name in SETS for request in requests(name, 10_000) if len(request) > 12)


@pytest.mark.parametrize("name", SETS)
def test_misses_are_shown_of_the_development_sets_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    measure(monkeypatch, "--sets", name, "--limit", "12", "--misses", "--no-report")

    shown = "".join(capsys.readouterr())
    assert any(request in shown for request in requests(name, 12)) == (name in OPEN_SETS)


def test_a_part_writes_no_report_unless_it_is_told_where(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(run, "_REPORTS", tmp_path / "usual")

    measure(monkeypatch, "--sets", "dev", "--limit", "3")
    assert not (tmp_path / "usual").exists()

    measure(monkeypatch, "--sets", "dev", "--limit", "3", "--out", str(tmp_path / "there"))
    assert "at most 3 requests" in (tmp_path / "there" / "quality.md").read_text(encoding="utf-8")


def test_models_of_earlier_runs_stand_beside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    measure(monkeypatch, "--sets", "dev", "--limit", "3", "--out", str(tmp_path))
    earlier = tmp_path / "earlier.json"
    figures = json.loads((tmp_path / "quality.json").read_text(encoding="utf-8"))
    earlier.write_text(json.dumps({"models": {"elsewhere": figures["models"]["chance"]}}), encoding="utf-8")

    measure(monkeypatch, "--sets", "dev", "--limit", "3", "--out", str(tmp_path), "--add", str(earlier))

    assert "| chance | elsewhere |" in (tmp_path / "quality.md").read_text(encoding="utf-8")


def test_an_unknown_model_ends_the_run_with_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="no model 'guess'"):
        measure(monkeypatch, "--model", "guess", "--limit", "1")
