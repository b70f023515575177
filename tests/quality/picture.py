"""The picture of the report: accuracy by kind of request, reliability of confidence, time to the first call."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl

from quality.curves import QUANTILES

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.layout_engine import ConstrainedLayoutEngine

__all__ = ["AIMS", "draw"]

AIMS: Mapping[str, float] = {"call_exact": 0.85, "none_precision": 0.9, "compound_exact": 0.8}

_KINDS = (
    ("call_exact", "calls exact\n(line: 95 % interval)"),
    ("single_exact", "one call:\nrequest exact"),
    ("compound_exact", "several calls:\nrequest exact"),
    ("none_precision", "no tool:\nprecision"),
    ("none_recall", "no tool:\nrecall"),
    ("clarify_exact", "argument\nunsaid"),
)
_COLOURS = ("#2563eb", "#93b4f0", "#e0a458", "#b9bec7", "#2a9d8f", "#8e6bbf", "#d1495b", "#5c677d")
_INK, _FAINT, _AIM = "#333a45", "#e6e8ec", "#c0392b"
_STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.edgecolor": "#9aa1ac",
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), _INK),
}


def draw(models: Mapping[str, Mapping[str, Any]], title: str, path: Path) -> None:
    """Draw one set's figures, by model, as a PNG."""
    with mpl.rc_context(_STYLE):
        figure, spots = plt.subplot_mosaic(
            [["kinds", "kinds"], ["reliability", "times"]],
            figsize=(10, 7.4),
            layout=ConstrainedLayoutEngine(h_pad=0.08),
            height_ratios=[1.15, 1],
        )
        kinds, reliability, times = spots["kinds"], spots["reliability"], spots["times"]
        colours = {name: _COLOURS[index % len(_COLOURS)] for index, name in enumerate(models)}
        requests = next(iter(models.values()))["all"]["requests"]
        figure.suptitle(f"Planning quality: {title}, {requests} requests", fontsize=12, fontweight="bold")
        _draw_kinds(kinds, models, colours)
        _draw_reliability(reliability, models, colours)
        _draw_times(times, models, colours)
        for axes in (kinds, reliability, times):
            axes.spines[["top", "right"]].set_visible(False)
            axes.set_axisbelow(True)
        figure.savefig(path, dpi=150, metadata={"Software": None})
        plt.close(figure)


def _draw_kinds(axes: Axes, models: Mapping[str, Any], colours: Mapping[str, str]) -> None:
    width = 0.8 / len(models)
    for offset, (name, found) in enumerate(models.items()):
        figures = found["all"]
        places = [index - 0.4 + width * (offset + 0.5) for index in range(len(_KINDS))]
        heights = [figures[key] for key, _ in _KINDS]
        axes.bar(places, [height or 0.0 for height in heights], width * 0.92, color=colours[name], label=name)
        tops = [height or 0.0 for height in heights]
        if figures["call_exact_95"]:
            low, tops[0] = figures["call_exact_95"]
            axes.vlines(places[0], low, tops[0], color=_INK, linewidth=1)
        for place, top, height in zip(places, tops, heights, strict=True):
            text = "-" if height is None else f"{height:.2f}"
            axes.text(place, top + 0.012, text, ha="center", va="bottom", fontsize=7.5)
    for index, (key, _) in enumerate(_KINDS):
        if key in AIMS:
            label = "aim" if index == 0 else None
            axes.plot([index - 0.41, index + 0.41], [AIMS[key]] * 2, "--", color=_AIM, linewidth=1.2, label=label)
            axes.text(index + 0.42, AIMS[key], f"{AIMS[key]:g}", color=_AIM, fontsize=7, va="center")
    axes.set_xticks(range(len(_KINDS)), [label for _, label in _KINDS])
    axes.set_xlim(-0.55, len(_KINDS) - 0.4)
    axes.set_ylim(0, 1.09)
    axes.set_ylabel("share")
    axes.yaxis.grid(visible=True, color=_FAINT)
    axes.tick_params(axis="x", length=0)
    axes.set_title("Accuracy by kind of request", loc="left", fontweight="bold", pad=26)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=len(models) + 1, frameon=False, borderaxespad=0.2)


def _draw_reliability(axes: Axes, models: Mapping[str, Any], colours: Mapping[str, str]) -> None:
    axes.set_title("How often a call is right, by its confidence", loc="left", fontweight="bold")
    axes.plot([0, 1], [0, 1], "--", color="#9aa1ac", linewidth=1, label="perfectly calibrated")
    known = {name: found["reliability"] for name, found in models.items() if found["reliability"]}
    for name, curve in known.items():
        bins = curve["bins"]
        most = max(b["calls"] for b in bins)
        spots = [b["confidence"] for b in bins], [b["right"] for b in bins]
        axes.plot(*spots, color=colours[name], linewidth=1.5, label=f"{name} (error {curve['ece']:.3f})")
        sizes = [12 + 110 * b["calls"] / most for b in bins]
        axes.scatter(*spots, sizes, color=colours[name], edgecolor="white", zorder=3)
    if not known:
        axes.text(0.3, 0.78, "none of these models\ngives a confidence", ha="center", va="center", color="#7b8290")
    axes.set_xlim(-0.02, 1.04)
    axes.set_ylim(-0.02, 1.06)
    axes.set_xlabel("confidence" + (" (size of a spot: number of calls)" if known else ""))
    axes.set_ylabel("share of calls right")
    axes.grid(visible=True, color=_FAINT)
    axes.legend(loc="lower right" if not known else "upper left", frameon=False, fontsize=8)


def _draw_times(axes: Axes, models: Mapping[str, Any], colours: Mapping[str, str]) -> None:
    axes.set_title("Time to the first call", loc="left", fontweight="bold")
    for name, found in models.items():
        # A guess takes no time worth showing, and would stretch the axis by decades.
        if found["first_call_ms"] is None or name == "chance":
            continue
        shares = [quantile / 100 for quantile in QUANTILES]
        median = found["all"]["first_call_p50_ms"]
        axes.plot(found["first_call_ms"], shares, color=colours[name], label=f"{name} (median {median:,.0f} ms)")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())
    axes.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else ""))
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("milliseconds")
    axes.set_ylabel("share of requests with a call")
    axes.grid(visible=True, color=_FAINT)
    if axes.lines:
        axes.legend(loc="lower right", frameon=False, fontsize=8)
