"""A whole run on a tiny model: it can be cut off and go on, and its adapter can be read by the service."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="PyTorch is installed only for training")

import gguf
import torch

from podium.inference.adapter import Adapter
from support.tiny_llama import VOCABULARY, make_gguf
from training import export, train
from training.cards import Domain

RANK = 2
Run = Callable[[str, int], Path]


class Letters:
    """A tokenizer whose few tokens a tiny model has; it is not meant to be read."""

    def encode(self, text: str, *, parse_special: bool = False) -> list[int]:
        return [1 + ord(letter) % (VOCABULARY - 1) for letter in text[::9]] or [1]

    def encode_chat(self, messages: Sequence[Mapping[str, str]], *, add_generation_prompt: bool = True) -> list[int]:
        return self.encode(" ".join(message["content"] for message in messages))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The folder of a tiny model."""
    folder = tmp_path / "model"
    folder.mkdir()
    digest = make_gguf(folder / "model.gguf", gguf.GGMLQuantizationType.F32)
    (folder / "manifest.json").write_text(json.dumps({"source_sha256": digest}), encoding="utf-8")
    return folder


@pytest.fixture
def run(model: Path, tmp_path: Path, domains: Sequence[Domain], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Train into a folder up to so many updates."""
    monkeypatch.setattr(train.Tokenizer, "from_directory", lambda _folder: Letters())
    monkeypatch.setattr(train, "split_domains", lambda: (list(domains[:2]), list(domains[2:3])))
    monkeypatch.setattr(train, "_WINDOW", 2)
    monkeypatch.setattr(train, "_DEV_SCENES", 1)

    def start(name: str, steps: int) -> Path:
        out = tmp_path / name
        options = {"model": model, "out": out, "steps": steps, "requests": 2, "rank": RANK, "first-layer": 1}
        options |= {"workers": 1, "every": 2}
        monkeypatch.setattr(sys, "argv", ["train", *(f"--{key}={value}" for key, value in options.items())])
        threads = torch.get_num_threads()
        train.main()
        torch.set_num_threads(threads)
        return out

    return start


def lines(out: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def test_a_run_that_was_cut_off_goes_on_as_if_it_had_not_been(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run("whole", 3)

    class PowerCut(Exception):
        """What cuts the run off."""

    usual = train._Learner.update

    def failing(learner: train._Learner, *arguments: object) -> object:
        if learner.optimiser.state and max(s["step"] for s in learner.optimiser.state.values()) >= 2:
            raise PowerCut
        return usual(learner, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(train._Learner, "update", failing)
    with pytest.raises(PowerCut):
        run("cut", 3)
    monkeypatch.setattr(train._Learner, "update", usual)
    cut = run("cut", 3)
    expected, found = (torch.load(out / "checkpoint.pt", weights_only=True) for out in (whole, cut))
    assert found["step"] == expected["step"] == 3
    assert set(found["net"]) == set(expected["net"])
    assert all(torch.equal(found["net"][name], value) for name, value in expected["net"].items())
    assert [line["begin"] for line in lines(cut) if "begin" in line] == [0, 2]
    assert [line["step"] for line in lines(cut) if "step" in line] == [1, 2, 3]
    assert [line["step"] for line in lines(cut) if "dev_exact" in line] == [2, 3]
    drifts = [line["drift"] for line in lines(whole) if "drift" in line]
    assert len(drifts) == 3
    # Before the first update the additions do nothing.
    assert drifts[0] == pytest.approx(0.0, abs=1e-3)


def test_training_holds_what_is_not_planning_near_the_untrained_model(model: Path) -> None:
    """Additions that change what is said are drawn back by it, and by nothing else."""
    net = train.Planner(model / "model.gguf", RANK, 2.0 * RANK, seed=1)
    generator = torch.Generator().manual_seed(2)
    for name in net.b:
        net.b[name].data = torch.randn(net.b[name].shape, generator=generator) * 0.3
    texts = [[3, 1, 4, 1, 5, 9, 2, 6], [2, 7, 1]]
    optimiser = torch.optim.Adam(net.parameters(), lr=0.02)
    drifts = []
    for _ in range(30):
        drift, figures = train._drift(net, texts)
        drifts.append(drift.item())
        assert figures[6:].tolist() == pytest.approx([drift.item(), 11])
        drift.backward()
        optimiser.step()
        optimiser.zero_grad()
    assert drifts[0] > 0.05
    assert drifts[-1] < 0.3 * drifts[0]


def test_the_adapter_of_a_run_is_one_that_the_service_reads(
    run: Run, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, file = run("run", 2), tmp_path / "shipped" / "planner-1.npz"
    arguments = ["export", "--run", str(out), "--model", str(model), "--out", str(file)]
    monkeypatch.setattr(sys, "argv", arguments)
    export.main()
    digest = capsys.readouterr().out.split()[0]
    adapter = Adapter.read(file, sha256=digest)
    assert adapter.header.rank == RANK
    assert adapter.header.label == "planner@1"
    assert adapter.header.training["updates"] == 2
    manifest = json.loads((model / "manifest.json").read_text(encoding="utf-8"))
    adapter.check_base(manifest["source_sha256"])
    assert adapter.tensors
    assert all(name.startswith("blk.1.") for name in adapter.tensors)
