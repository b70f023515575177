"""The report of a quality run: tables, a picture and the raw figures, the models side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.report import machine
from quality.picture import AIMS, draw

__all__ = ["headline", "write_report"]

_ROWS = (
    ("call_exact", "calls exactly right (tool and every argument)"),
    ("call_exact_95", "95 % interval of that"),
    ("tool", "calls of the right tool"),
    ("request_exact", "requests entirely right (no call missing, wrong or too many)"),
    ("single_exact", "requests with one call, entirely right"),
    ("compound_exact", "requests with several calls, entirely right"),
    ("compound_call_exact", "calls exactly right in these"),
    ("none_precision", "precision of answering without a tool"),
    ("none_recall", "recall of answering without a tool"),
    ("clarify_exact", "an argument is not said: asked back, or called with the others alone"),
    ("clarify_call", "of these by the call with the others alone"),
    ("surplus_calls", "calls too many"),
    ("errors", "turns that failed"),
)
_TIMES = (
    ("first_call_p50_ms", "first call, median"),
    ("first_call_p95_ms", "first call, 95th percentile"),
    ("last_call_p50_ms", "last call, median"),
    ("last_call_p95_ms", "last call, 95th percentile"),
    ("first_word_p50_ms", "first word where no tool is called, median"),
    ("first_word_p95_ms", "the same, 95th percentile"),
)
_SETS = {
    "test": ("test set", "eight packs that nothing was written or trained on; nobody looks into its requests"),
    "tuning": ("tuning set", "ten packs with which training was steered; no model was trained on them"),
    "holdout": ("held-out set", "worded differently from the development set, looked at only as figures"),
    "dev": ("development set", "looked at while the planner was written"),
}
_PACKS = {
    "core": "the shipped core pack",
    "second": "eight invented tools with two or three examples each",
    "third": "seven invented tools without examples",
    "fourth": "eight invented tools, further argument types",
}
_METHOD = """## How it is measured

- A call is exact when the tool and all of its arguments are right after the tool's own normalisation, and each expected
  call counts once. Where a request can be read in two ways that are equally right, either counts. An argument that
  refers to another call's result is compared by that call's tool and the pointer into its result.
- Calls, tools and whole requests are counted over requests with one call, with several and with none. Precision of
  answering without a tool: of the answers without a call, those to requests that need none. A request that leaves a
  required argument unsaid counts in its own rows only. It is right when the model asks back (in words, or with
  `ask_user`), or makes just the call that was meant with just the arguments that were said. A model that never calls
  a tool is always right there: read it beside the calls.
- The interval is where 95 of 100 resamplings of the requests fall (bootstrap); none where all or none are right.
- One request at a time, greedy, with all tools of its pack on offer. Each pack is asked something else first, so that
  what is kept between requests with the same tools is warm."""

Models = Mapping[str, Mapping[str, Any]]


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return " to ".join(map(_cell, value))
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _milliseconds(value: Any) -> str:
    return "-" if value is None else f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "|---|" + "---:|" * (len(heads) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def _having(models: Models, part: str) -> dict[str, Mapping[str, Any]]:
    """Return a set's figures by model, for the models that were asked it."""
    return {name: model["sets"][part] for name, model in models.items() if part in model["sets"]}


def _sets(models: Models) -> list[str]:
    return [part for part in _SETS if _having(models, part)]


def headline(models: Models) -> str:
    """Return the most telling figures as lines of text, for a terminal."""
    lines = []
    for part in _sets(models):
        for name, found in _having(models, part).items():
            figures = found["all"]
            shown = "  ".join(f"{key} {_cell(figures[key])}" for key in (*AIMS, "clarify_exact", "errors"))
            lines.append(f"{part:8} {name:16} {shown}")
    return "\n".join(lines)


def _glance(models: Models) -> str:
    part = _sets(models)[0]
    found = _having(models, part)
    titles = dict(_ROWS)
    rows = [[titles[key], str(aim), *(_cell(f["all"][key]) for f in found.values())] for key, aim in AIMS.items()]
    return f"The aims, and the {_SETS[part][0]}:\n\n" + _table(["", "aim", *found], rows)


def _set_section(models: Models, part: str) -> str:
    found = _having(models, part)
    title, what = _SETS[part]
    first = next(iter(found.values()))["all"]
    kinds = ", ".join(f"{number} {kind}" for kind, number in first["kinds"].items() if number)
    rows = [[text, *(_cell(f["all"][key]) for f in found.values())] for key, text in _ROWS]
    names = sorted({pack for figures in found.values() for pack in figures["packs"]})
    packs = [[pack, *(_pack_cell(f["packs"].get(pack)) for f in found.values())] for pack in names]
    return "\n\n".join(
        (
            f"## {title.capitalize()}",
            f"{what.capitalize()}: {first['requests']} requests ({kinds}).",
            _table(["", *found], rows),
            "By pack: calls exactly right, and requests entirely right.",
            _table(["pack", *found], packs),
        )
    )


def _pack_cell(figures: Mapping[str, Any] | None) -> str:
    return "-" if figures is None else f"{_cell(figures['call_exact'])} / {_cell(figures['request_exact'])}"


def _reliability_section(models: Models) -> str:
    part = _sets(models)[0]
    known = {name: f["reliability"] for name, f in _having(models, part).items() if f["reliability"]}
    if not known:
        return "## Confidence\n\nNone of these models says how sure it is of a call."
    parts = [
        "## Confidence",
        f"How often calls are right that a model gives this confidence ({_SETS[part][0]}). The expected calibration "
        "error is the mean distance of confidence from the share that is right.",
    ]
    for name, curve in known.items():
        rows = [
            [f"{b['from']:.1f} to {b['to']:.1f}", str(b["calls"]), _cell(b["confidence"]), _cell(b["right"])]
            for b in curve["bins"]
        ]
        parts.append(f"`{name}`: {curve['calls']} calls, expected calibration error {curve['ece']:.3f}.")
        parts.append(_table(["confidence", "calls", "mean confidence", "share right"], rows))
    return "\n\n".join(parts)


def _times_section(models: Models) -> str:
    part = _sets(models)[0]
    found = _having(models, part)
    rows = [[text, *(_milliseconds(f["all"][key]) for f in found.values())] for key, text in _TIMES]
    return f"## Time\n\nFrom the request on, in milliseconds ({_SETS[part][0]}).\n\n{_table(['', *found], rows)}"


def _text(models: Models, limit: int | None) -> str:
    parts = [
        "# Planning quality",
        *([f"**A part only: at most {limit} requests of each set.**"] if limit else []),
        f"Measured {datetime.now(UTC):%Y-%m-%d} on {machine()}, by `make quality`. Shares are of 1.",
        _glance(models),
        "![Accuracy by kind of request, reliability of confidence, and time to the first call](quality.png)",
        "The models:",
        "\n".join(f"- `{name}`: {model['detail']}." for name, model in models.items()),
        *(_set_section(models, part) for part in _sets(models)),
        _reliability_section(models),
        _times_section(models),
        _METHOD,
        "Packs of the first sets: " + "; ".join(f"`{name}` is {what}" for name, what in _PACKS.items()) + ". The "
        "others are named by their domain, and have eight tools each, some with examples.",
        "Raw figures: [quality.json](quality.json).",
    ]
    return "\n\n".join(parts) + "\n"


def write_report(models: Models, folder: Path, *, limit: int | None = None) -> None:
    """Write `quality.md`, `quality.png` and `quality.json`.

    Args:
        models: figures by model, as in that file.
        folder: where to.
        limit: how many requests of each set were asked, when not all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    figures = {"measured": f"{datetime.now(UTC):%Y-%m-%d}", "machine": machine(), "limit": limit, "models": models}
    (folder / "quality.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    part = _sets(models)[0]
    draw(_having(models, part), _SETS[part][0], folder / "quality.png")
    (folder / "quality.md").write_text(_text(models, limit), encoding="utf-8")
