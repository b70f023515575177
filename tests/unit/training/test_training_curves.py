"""The picture of a run: what it is made of, and that it is made."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from training.curves import figures, main, read_run, smoothed


def update(step: int, loss: float, **more: float) -> dict[str, Any]:
    line = {"step": step, "loss": loss, "decided": 0.5, "exact": 0.25, "pairs": 40, "rate": 0.001, "norm": 1.0}
    return {**line, "seconds": 8.0, **more}


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A run that was cut off after its third update and went on from its checkpoint at the second."""
    held_out = {"dev_loss": 0.9, "dev_decided": 0.75, "dev_exact": 0.5}
    lines = [
        {"begin": 0, "cards": 5, "steps": 4, "model": "/somewhere", "out": "/elsewhere", "every": 2},
        *(update(1, 4.0), update(2, 2.0, **held_out), update(3, 99.0)),
        {"begin": 2, "cards": 5, "steps": 4, "model": "/somewhere", "out": "/elsewhere", "every": 2},
        *(update(3, 1.0), update(4, 1.0, **held_out)),
    ]
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def test_what_a_resumed_run_did_again_counts_once(log: Path) -> None:
    found = figures(read_run(log))
    assert found["updates"] == 4
    assert found["pairs"] == 160
    assert found["pairs_per_second"] == 5.0
    assert [line["update"] for line in found["held_out"]] == [2, 4]
    assert found["held_out"][0] == {"update": 2, "loss": 0.9, "decided": 0.75, "exact": 0.5}
    assert max(line["loss"] for line in found["training"]) == 4.0


def test_figures_name_no_folder(log: Path) -> None:
    assert figures(read_run(log))["options"] == {"cards": 5, "steps": 4}


def test_a_log_without_updates_is_an_error(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text('{"begin": 0}\n', encoding="utf-8")
    with pytest.raises(ValueError, match=r"log\.jsonl holds no update"):
        read_run(log)


def test_smoothing_begins_at_the_first_value_and_stays_between() -> None:
    assert smoothed([]) == []
    assert smoothed([3.0, 3.0]) == pytest.approx([3.0, 3.0])
    one, two, three = smoothed([4.0, 2.0, 2.0])
    assert one == pytest.approx(4.0)
    assert 2.0 < three < two < 4.0


def test_the_command_writes_picture_and_figures(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["curves", str(log), "--out", str(tmp_path)])
    main()
    assert (tmp_path / "training.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / "training.json").read_text(encoding="utf-8"))["updates"] == 4
    assert capsys.readouterr().out.startswith("4 updates, 160 pairs")
