"""Draws a training run: `python -m training.curves FOLDER/log.jsonl`.

Writes `docs/benchmarks/training.png` and the figures behind it, `training.json`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

__all__ = ["Run", "draw", "figures", "main", "read_run", "smoothed"]

_DOCS = Path(__file__).resolve().parent.parent / "docs" / "benchmarks"
_MEMORY = 0.9  # of the running mean: about the last ten updates
_TRAINED, _HELD_OUT, _APART, _INK, _FAINT = "#93b4f0", "#2563eb", "#d97706", "#333a45", "#e6e8ec"
_STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.edgecolor": "#9aa1ac",
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), _INK),
}
# Options that are folders of one machine, or that change nothing that is learned.
_UNTOLD = frozenset({"begin", "model", "out", "every"})


@dataclass(frozen=True, slots=True)
class Run:
    """What a log says.

    Attributes:
        options: of the run as it was last begun.
        updates: a line each, in their order; see `training.train`.
    """

    options: Mapping[str, Any]
    updates: Sequence[Mapping[str, Any]]

    @property
    def evaluations(self) -> list[Mapping[str, Any]]:
        """The updates after which the held-out fields were looked at."""
        return [line for line in self.updates if "dev_loss" in line]


def read_run(log: Path) -> Run:
    """Read a log. What a resumed run did again counts once, as it was done last.

    Raises:
        ValueError: it holds no update.
    """
    options: dict[str, Any] = {}
    updates: dict[int, dict[str, Any]] = {}
    for text in log.read_text(encoding="utf-8").splitlines():
        line = json.loads(text)
        if "begin" in line:
            options = {name: value for name, value in line.items() if name not in _UNTOLD}
        else:
            updates[line["step"]] = line
    if not updates:
        raise ValueError(f"{log.name} holds no update")
    return Run(options, [updates[step] for step in sorted(updates)])


def smoothed(values: Sequence[float]) -> list[float]:
    """Return the running mean that forgets a tenth at each value, without a bias to its beginning."""
    made: list[float] = []
    mean = weight = 0.0
    for value in values:
        mean = _MEMORY * mean + (1 - _MEMORY) * value
        weight = _MEMORY * weight + (1 - _MEMORY)
        made.append(mean / weight)
    return made


def figures(run: Run) -> dict[str, Any]:
    """Return what `training.json` holds: the options, what the run took, and its curves. Times are in seconds."""
    seconds = sum(line["seconds"] for line in run.updates)
    pairs = sum(line["pairs"] for line in run.updates)
    means = smoothed([line["loss"] for line in run.updates])
    return {
        "options": dict(run.options),
        "updates": run.updates[-1]["step"],
        "pairs": pairs,
        "seconds": round(seconds),
        "pairs_per_second": round(pairs / seconds, 2),
        "held_out": [
            {"update": line["step"], **{name: round(line[f"dev_{name}"], 4) for name in ("loss", "decided", "exact")}}
            for line in run.evaluations
        ],
        "training": [
            {"update": line["step"], "loss": round(mean, 4), "rate": round(line["rate"], 8)}
            | ({"drift": round(line["drift"], 4)} if "drift" in line else {})
            for line, mean in zip(run.updates, means, strict=True)
        ],
    }


def draw(run: Run, path: Path) -> None:
    """Draw a run as a PNG: losses, what was right on fields never trained on, learning rate."""
    steps = [line["step"] for line in run.updates]
    seen = [line["step"] for line in run.evaluations]
    with mpl.rc_context(_STYLE):
        figure, (losses, right, rate) = plt.subplots(1, 3, figsize=(10, 3.4), layout="constrained")
        _draw_losses(losses, run, steps, seen)
        _draw_right(right, run, seen)
        rate.plot(steps, [line["rate"] for line in run.updates], color=_INK)
        rate.set_ylim(bottom=0)
        rate.yaxis.set_major_formatter(mpl.ticker.FormatStrFormatter("%g"))
        rate.set_title("Learning rate", loc="left", fontweight="bold")
        for axes in (losses, right, rate):
            axes.spines[["top", "right"]].set_visible(False)
            axes.set_xlim(0, max(steps[-1], int(run.options.get("steps", 0))))
            axes.set_xlabel("updates")
            axes.set_axisbelow(True)
            axes.grid(visible=True, color=_FAINT)
        figure.savefig(path, dpi=150, metadata={"Software": None})
        plt.close(figure)


def _draw_losses(axes: Axes, run: Run, steps: Sequence[int], seen: Sequence[int]) -> None:
    losses = [line["loss"] for line in run.updates]
    axes.plot(steps, losses, color=_TRAINED, linewidth=0.6, alpha=0.6)
    axes.plot(steps, smoothed(losses), color=_TRAINED, linewidth=1.8, label="training (faint: each update)")
    held_out = [line["dev_loss"] for line in run.evaluations]
    axes.plot(seen, held_out, "o-", color=_HELD_OUT, markersize=4, label="fields never trained on")
    drift = [(line["step"], line["drift"]) for line in run.updates if line.get("drift", 0) > 0]
    if drift:
        at, nats = zip(*drift, strict=True)
        axes.plot(at, smoothed(nats), color=_APART, linewidth=1.2, label="drift on texts that are not planning")
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_locator(mpl.ticker.NullLocator())
    axes.yaxis.set_major_formatter(mpl.ticker.FormatStrFormatter("%g"))
    axes.set_title("Loss of a token", loc="left", fontweight="bold")
    axes.set_ylabel("nats")
    axes.legend(loc="lower left", frameon=False, fontsize=7)


def _draw_right(axes: Axes, run: Run, seen: Sequence[int]) -> None:
    for name, label, colour in (("decided", "yes or no", _TRAINED), ("exact", "calls, every token", _HELD_OUT)):
        shares = [line[f"dev_{name}"] for line in run.evaluations]
        axes.plot(seen, shares, "o-", color=colour, markersize=4, label=label)
        for spot in zip(seen[-1:], shares[-1:], strict=True):
            axes.annotate(f"{spot[1]:.2f}", spot, (0, 5), textcoords="offset points", ha="center")
    axes.set_ylim(0, 1.09)
    axes.set_title("Right on held-out fields", loc="left", fontweight="bold")
    axes.set_ylabel("share")
    axes.legend(loc="lower right", frameon=False, fontsize=8)


def main() -> None:
    """Draw the run and write its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=Path, help="the run's log.jsonl")
    parser.add_argument("--out", type=Path, default=_DOCS, help="folder for training.png and training.json")
    options = parser.parse_args()
    run = read_run(options.log)
    found = figures(run)
    draw(run, options.out / "training.png")
    (options.out / "training.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    last = found["held_out"][-1] if found["held_out"] else {}
    print(f"{found['updates']} updates, {found['pairs']:,} pairs of tool and request, held out: {last}")


if __name__ == "__main__":
    main()
