"""The report of a quality run: a table and a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["write_report"]

_ROWS = (
    ("requests", "requests"),
    ("call_exact", "calls exactly right (tool and every argument)"),
    ("tool", "calls of the right tool"),
    ("request_exact", "requests entirely right (no call missing, wrong or surplus)"),
    ("single_exact", "of these with one call"),
    ("compound_exact", "of these with several calls"),
    ("none_exact", "of these that need no tool"),
    ("none_precision", "precision of answering without a tool"),
    ("none_recall", "recall of answering without a tool"),
    ("surplus_calls", "calls too many"),
    ("p50_ms", "time to the last call or first word, median, ms"),
    ("p95_ms", "the same, 95th percentile, ms"),
)
_SETS = {"dev": "development set", "holdout": "held-out set"}
_PACKS = {
    "core": "the shipped core pack",
    "second": "eight invented tools with two or three examples each",
    "third": "seven invented tools without examples",
    "fourth": "eight invented tools, further argument types",
}


def _cell(value: object) -> str:
    return "–" if value is None else str(value)  # noqa: RUF001


def _table(columns: Mapping[str, Mapping[str, Any]]) -> str:
    lines = ["| | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    for key, title in _ROWS:
        lines.append(f"| {title} | " + " | ".join(_cell(figures.get(key)) for figures in columns.values()) + " |")
    return "\n".join(lines)


def _draw(results: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    bars = [
        (f"{_SETS.get(name, name)}\n{pack}", figures)
        for name, result in results.items()
        for pack, figures in result["packs"].items()
    ]
    figure, axes = plt.subplots(figsize=(9, 4.2))
    for offset, (key, label, colour) in enumerate(
        (("tool", "right tool", "#9db8d9"), ("call_exact", "tool and arguments", "#2f5d8c"))
    ):
        places = [index + (offset - 0.5) * 0.38 for index in range(len(bars))]
        drawn = axes.bar(places, [figures[key] or 0.0 for _, figures in bars], 0.36, label=label, color=colour)
        axes.bar_label(drawn, fmt="%.2f", fontsize=8)
    axes.axhline(0.8, color="#888888", linewidth=0.8, linestyle="--")
    axes.set_xticks(range(len(bars)), [label for label, _ in bars], fontsize=8)
    axes.set_ylim(0, 1.08)
    axes.set_ylabel("share of expected calls")
    axes.set_title("Planning quality of the embedded model (dashed: the aim)")
    axes.legend(loc="lower right", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=120, metadata={"Software": None})
    plt.close(figure)


def write_report(results: Mapping[str, Mapping[str, Any]], model: str, folder: Path) -> None:
    """Write `quality.md` and `quality.png` into `folder`. `results` has a summary and one per pack for each set."""
    folder.mkdir(parents=True, exist_ok=True)
    _draw(results, folder / "quality.png")
    parts = [
        "# Planning quality",
        "",
        f"Made by `make quality` with the model `{model}`. A call counts as exact when the tool and all",
        "of its arguments are right after the tool's own normalisation. The development set was looked at while the",
        "planner was written; the held-out set, worded differently, only as figures (a few times). Times are of one",
        "request at a time.",
        "",
        "![Share of calls right, by set and pack](quality.png)",
        "",
    ]
    for name, result in results.items():
        columns = {"all": result["all"], **result["packs"]}
        parts += [f"## {_SETS.get(name, name).capitalize()}", "", _table(columns), ""]
    parts += ["Packs: " + "; ".join(f"`{name}` is {what}" for name, what in _PACKS.items()) + ".", ""]
    (folder / "quality.md").write_text("\n".join(parts), encoding="utf-8")
